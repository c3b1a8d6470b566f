//! Subjects where no canary may be: medicine, law, money, facts of the world.
//!
//! The same words are looked for in the data of a book, which is then refused, and in every request, which is then left
//! alone. They are a net, not a judgement: whoever writes a canary answers for it being harmless and no statement about
//! the world.

use std::sync::LazyLock;

use regex::Regex;

/// A refused subject and the words that give it away.
struct Topic {
    name: &'static str,
    words: Regex,
}

/// The refused subject of `text`, and the words that show it.
pub fn refused(text: &str) -> Option<(&'static str, &str)> {
    let first = |topic: &Topic| topic.words.find(text).map(|found| (topic.name, found.as_str()));
    if !ANY.is_match(text) {
        return None;
    }
    TOPICS.iter().find_map(first)
}

/// (subject, alternatives without word boundaries).
const WORDS: [(&str, &str); 4] = [
    (
        "medicine",
        "medic(?:al|ation|ations|ine|ines)|doctors?|symptoms?|diagnos(?:is|e|ed)|dos(?:e|es|age)|drugs?|pregnan(?:t|cy)|surgery|therap(?:y|ist|ies)|vaccin(?:e|es|ation)|diseases?|illness(?:es)?|cancer|diabetes|depress(?:ed|ion)|anxiety|suicid(?:e|al)|allerg(?:y|ies|ic)|prescriptions?|pills?|overdose|blood pressure|first aid",
    ),
    (
        "law",
        "lawyers?|attorneys?|lawsuits?|legal(?:ly)?|illegal|eviction|evicted|tenanc(?:y|ies)|immigration|visas?|custody|divorce|liabilit(?:y|ies)|statutes?|su(?:e|ed|ing)|defamation|arrest(?:ed)?|parole|inheritance|copyright",
    ),
    (
        "money",
        "invest(?:ing|ment|ments|or|ors)?|mortgages?|tax(?:es|ation)?|pensions?|crypto(?:currency|currencies)?|bitcoin|interest rates?|credit (?:card|score)s?|insurance|dividends?|stock market|retirement savings|bankruptcy|debts?|401k",
    ),
    (
        "facts of the world",
        "capital of|population of|president|prime minister|elections?|who (?:was|is|were|invented|wrote|won)|when (?:did|was|were)|in which year|what year|how many people|is it true|history of|breaking news",
    ),
];

static TOPICS: LazyLock<Vec<Topic>> = LazyLock::new(|| {
    let topic = |(name, words): (&'static str, &str)| Some(Topic { name, words: bounded(words)? });
    WORDS.into_iter().filter_map(topic).collect()
});

static ANY: LazyLock<Regex> = LazyLock::new(|| {
    let all: Vec<&str> = WORDS.iter().map(|(_, words)| *words).collect();
    #[expect(clippy::expect_used, reason = "a constant pattern that the tests compile")]
    bounded(&all.join("|")).expect("a constant pattern")
});

fn bounded(words: &str) -> Option<Regex> {
    Regex::new(&format!(r"(?i)\b(?:{words})\b")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_is_recognised_and_ordinary_requests_are_not() {
        assert_eq!(TOPICS.len(), WORDS.len());
        for (text, topic) in [
            ("Which dose is right for a child?", "medicine"),
            ("Can my landlord do that? I want to sue.", "law"),
            ("Should I refinance my mortgage?", "money"),
            ("What is the capital of France?", "facts of the world"),
        ] {
            assert_eq!(refused(text).map(|found| found.0), Some(topic), "{text}");
        }
        for text in
            ["Write a story about an otter", "A SQL query for library loans", "Our suede shoes and the lawn"]
        {
            assert_eq!(refused(text), None, "{text}");
        }
    }
}
