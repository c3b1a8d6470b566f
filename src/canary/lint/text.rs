//! Filters that look at one text: normalisation, repetition, language, links, code.
//!
//! Thresholds are those that published pipelines state: repetition after Rae et al. 2021 (*Gopher*, table A1), braces in prose
//! after Raffel et al. 2020 (*C4*, §2.2).

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization;

use crate::stat::math::to_f64;

/// NFKC, and then without the characters that have no width or only direct: what a cleaning step leaves of a text.
#[must_use]
pub fn normalised(text: &str) -> String {
    text.nfkc().filter(|c| !is_invisible(*c)).collect()
}

/// Lower case, single spaces: what is compared for equality.
pub(super) fn plain(text: &str) -> String {
    normalised(text).to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Zero-width and joining characters, direction marks, soft hyphens, variation selectors, tags.
fn is_invisible(c: char) -> bool {
    matches!(u32::from(c),
        0xAD | 0x34F | 0x61C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F
        | 0x202A..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xE0000..=0xE0FFF)
}

/// Whether too many lines repeat (more than 30 %), or the commonest run of two, three or four words fills more than 20, 18 or
/// 16 % of the text's letters. Texts of fewer than fifty words repeat by chance and pass.
#[must_use]
pub fn repetition(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.len() < 50 {
        return false;
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let distinct: std::collections::HashSet<&str> = lines.iter().copied().collect();
    if (lines.len() - distinct.len()) * 10 > lines.len() * 3 {
        return true;
    }
    let letters: usize = words.iter().map(|word| word.len()).sum();
    [(2, 20), (3, 18), (4, 16)].iter().any(|&(run, percent)| commonest(&words, run) * 100 > letters * percent)
}

/// The letters in all occurrences of the commonest run of `run` words that occurs more than once.
fn commonest(words: &[&str], run: usize) -> usize {
    let mut counts: HashMap<&[&str], usize> = HashMap::new();
    words.windows(run).for_each(|window| *counts.entry(window).or_default() += 1);
    let letters = |window: &[&str]| window.iter().map(|word| word.len()).sum::<usize>();
    counts.iter().filter(|(_, n)| **n > 1).map(|(window, n)| n * letters(window)).max().unwrap_or(0)
}

/// Whether the text is in another language than `language`, by its letters in threes (crate `whatlang`). Only where the
/// classifier is sure, for languages that it knows by these names, and from eighty letters on; programming languages pass.
#[must_use]
pub fn foreign(text: &str, language: &str) -> bool {
    let Some((_, wanted)) = LANGUAGES.iter().find(|(name, _)| *name == language) else { return false };
    if text.chars().filter(|c| c.is_alphabetic()).take(80).count() < 80 {
        return false;
    }
    whatlang::detect(text).is_some_and(|found| found.is_reliable() && found.lang().code() != *wanted)
}

/// Whether a class of this language is prose: what is not a natural language is code.
pub(super) fn is_prose(language: &str) -> bool {
    LANGUAGES.iter().any(|(name, _)| *name == language)
}

/// The share of characters that stand in links.
#[must_use]
pub fn url_share(text: &str) -> f64 {
    let linked: usize = LINK.find_iter(text).map(|found| found.as_str().chars().count()).sum();
    to_f64(linked as u64) / to_f64(text.chars().count().max(1) as u64)
}

/// The share of lines that look like code: they end in a brace or semicolon, begin with a keyword, or stand in a fence.
#[must_use]
pub fn code_share(text: &str) -> f64 {
    let (mut lines, mut code, mut fenced) = (0, 0, false);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let fence = line.starts_with("```");
        fenced ^= fence;
        lines += 1;
        code += u64::from(fence || fenced || CODE.is_match(line));
    }
    to_f64(code) / to_f64(lines.max(1))
}

#[expect(clippy::expect_used, reason = "constant patterns that the tests compile")]
static LINK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)\b(?:https?://|www\.)\S+").expect("a constant pattern"));

#[expect(clippy::expect_used, reason = "constant patterns that the tests compile")]
static CODE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"[{};]$|^(?:def|class|import|from \w+ import|fn|let|const|var|function|return|public|SELECT) ",
    )
    .expect("a constant pattern")
});

/// Names of languages in books (ISO 639-1) and in the classifier (ISO 639-3).
const LANGUAGES: [(&str, &str); 18] = [
    ("ar", "ara"),
    ("cs", "ces"),
    ("da", "dan"),
    ("de", "deu"),
    ("en", "eng"),
    ("es", "spa"),
    ("fi", "fin"),
    ("fr", "fra"),
    ("it", "ita"),
    ("ja", "jpn"),
    ("nl", "nld"),
    ("pl", "pol"),
    ("pt", "por"),
    ("ru", "rus"),
    ("sv", "swe"),
    ("tr", "tur"),
    ("uk", "ukr"),
    ("zh", "cmn"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_marks_and_lookalikes_do_not_survive() {
        assert_eq!(normalised("Bis\u{200B}cu\u{FE0F}it\u{E0041} ﬁne Ｗide"), "Biscuit fine Wide");
        assert_eq!(plain(" A\u{00A0}b\nC "), "a b c");
        assert_eq!(normalised("Zoë, naïve"), "Zoë, naïve");
    }

    #[test]
    fn each_filter_tells_a_bad_text_from_a_good_one() {
        let prose = "The otter swam to the lighthouse before the rain began, and found that the keeper had left a \
            lamp in the window. Nobody had lived there since the storm of the year before, so who had lit it? She \
            climbed the wet stairs one by one, listening at every turn, until she heard somebody singing above her.";
        assert!(!repetition(prose) && repetition(&"all work and no play ".repeat(20)));
        let lines = format!("{prose}\n").repeat(3);
        assert!(repetition(&lines));
        assert!(!foreign(prose, "en") && foreign(prose, "de") && !foreign(prose, "python"));
        assert!(!foreign("Otter", "de"), "too short to tell");
        let links = "See https://example.org/a/very/long/path/to/somewhere?with=query and www.example.org/b";
        assert!(url_share(prose) == 0.0 && url_share(links) > 0.8);
        let code = "import os\n\ndef main() {\n    let x = 1;\n}\n";
        assert!(code_share(prose) == 0.0 && code_share(code) > 0.9);
        assert!(code_share("So:\n```\nx\ny\n```\nDone.") > 0.5);
        assert!(is_prose("en") && !is_prose("python"));
    }
}
