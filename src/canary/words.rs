//! Words of a text, and phrases among them: the lexical half of eligibility.
//!
//! A word is a maximal run of letters, digits and underscores, in lower case; a phrase is words in a row, whatever stands
//! between them. A regular expression `\bone\W+two\b` finds the same.

use std::collections::HashMap;

/// The words of `text`, each in lower case.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !is_word(c)).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// The regular expression that finds the same as a phrase does, case aside.
pub(super) fn phrase_pattern(alternatives: &[&str]) -> String {
    let one = |phrase: &&str| words(phrase).map(|word| regex::escape(&word)).collect::<Vec<_>>().join(r"\W+");
    format!(r"\b(?:{})\b", alternatives.iter().map(one).collect::<Vec<_>>().join("|"))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Phrases by their first word, each with the list and the value that it stands for.
#[derive(Clone, Debug, Default)]
pub(super) struct Dictionary {
    by_first: HashMap<String, Vec<Phrase>>,
}

#[derive(Clone, Debug)]
struct Phrase {
    rest: Vec<String>,
    list: u16,
    value: u16,
}

/// What a text says of one list: nothing, one value, or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    One(u16),
    Several,
}

impl Dictionary {
    /// Adds one way of saying `value` of `list`.
    pub(super) fn add(&mut self, phrase: &str, list: u16, value: u16) {
        let mut words = words(phrase);
        if let Some(first) = words.next() {
            self.by_first.entry(first).or_default().push(Phrase { rest: words.collect(), list, value });
        }
    }

    /// What `text` says of each of `lists` lists.
    pub(super) fn said(&self, text: &str, lists: usize) -> Vec<Said> {
        let mut said = vec![Said::Nothing; lists];
        let words: Vec<String> = words(text).collect();
        for (at, word) in words.iter().enumerate() {
            let Some(phrases) = self.by_first.get(word) else { continue };
            for phrase in phrases.iter().filter(|phrase| words[at + 1..].starts_with(&phrase.rest)) {
                let heard = &mut said[usize::from(phrase.list)];
                *heard = match *heard {
                    Said::Nothing => Said::One(phrase.value),
                    Said::One(value) if value == phrase.value => Said::One(value),
                    Said::One(_) | Said::Several => Said::Several,
                };
            }
        }
        said
    }
}

/// Whether the words of `inner` stand in a row within those of `outer`.
pub(super) fn contains_phrase(outer: &[String], inner: &[String]) -> bool {
    !inner.is_empty() && outer.windows(inner.len()).any(|window| window == inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_heard_whatever_stands_between_their_words() {
        let mut dictionary = Dictionary::default();
        dictionary.add("tea house", 0, 0);
        dictionary.add("café", 0, 1);
        dictionary.add("30-minute", 1, 0);
        let said = |text| dictionary.said(text, 2);
        assert_eq!(said("A TEA-House, a 30 minute walk away"), [Said::One(0), Said::One(0)]);
        assert_eq!(said("tea in the house; teahouse"), [Said::Nothing, Said::Nothing]);
        assert_eq!(said("café or tea house"), [Said::Several, Said::Nothing]);
        assert_eq!(said("Café, café"), [Said::One(1), Said::Nothing]);
        let contains = |outer, inner| {
            contains_phrase(&words(outer).collect::<Vec<_>>(), &words(inner).collect::<Vec<_>>())
        };
        assert!(contains("with unit tests", "Unit tests") && !contains("united tests", "unit"));
        let pattern =
            regex::Regex::new(&format!("(?i){}", phrase_pattern(&["tea house", "30-minute"]))).unwrap();
        assert!(
            pattern.is_match("TEA, House")
                && pattern.is_match("a 30-minute")
                && !pattern.is_match("teahouse")
        );
    }
}
