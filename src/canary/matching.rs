//! From an answer to the sibling it chose, or to none: without knowing which was served.
//!
//! Patterns decide first. Where siblings are phrases of several words, an answer may say one in words of its own; then
//! shared words decide, if they do so clearly. A second, different reader ([`second_reading`]) sees the same answer and
//! not the first one's result: how often the two disagree is printed with every result, and never used to choose.

use std::collections::{BTreeMap, BTreeSet};

use regex::{Regex, RegexSet};

use super::fault::Problem;
use super::set::{Sibling, SiblingSet};
use super::words::words;

/// What an answer chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// One sibling, from 0.
    Sibling(usize),
    /// None of them: another choice, no choice, a refusal.
    None,
    /// Several at once, which is no choice.
    Several,
}

impl Answer {
    /// The sibling, if it is one.
    pub fn sibling(self) -> Option<usize> {
        match self {
            Self::Sibling(at) => Some(at),
            Self::None | Self::Several => None,
        }
    }
}

/// The reader of answers to one slot.
#[derive(Clone, Debug)]
pub struct Matcher {
    patterns: RegexSet,
    /// The sibling of each pattern.
    owners: Vec<usize>,
    /// How many patterns each sibling has; 0 for one that is told by order.
    needed: Vec<usize>,
    orders: Vec<(usize, Vec<Regex>)>,
    /// The sibling of all answers that are no other's.
    otherwise: Option<usize>,
    phrases: Phrases,
}

impl Matcher {
    /// Compiles the matchers of a set.
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn new(set: &SiblingSet) -> Result<Self, Problem> {
        let broken = |error: regex::Error| Problem::Pattern(error.to_string());
        let mut owners = Vec::new();
        for (at, sibling) in set.siblings.iter().enumerate() {
            owners.extend(sibling.all.iter().map(|_| at));
        }
        let patterns = RegexSet::new(set.siblings.iter().flat_map(|sibling| &sibling.all)).map_err(broken)?;
        // Siblings are orders of the same words: each is compiled once.
        let mut words: BTreeMap<&str, Regex> = BTreeMap::new();
        for word in set.siblings.iter().flat_map(|sibling| &sibling.order) {
            if !words.contains_key(word.as_str()) {
                let pattern = Regex::new(&format!(r"(?i)\b{}\b", regex::escape(word))).map_err(broken)?;
                words.insert(word, pattern);
            }
        }
        let compiled = |sibling: &Sibling| {
            sibling.order.iter().filter_map(|word| words.get(word.as_str()).cloned()).collect()
        };
        let ordered = set.siblings.iter().enumerate().filter(|(_, sibling)| !sibling.order.is_empty());
        let orders = ordered.map(|(at, sibling)| (at, compiled(sibling))).collect();
        let needed = set.siblings.iter().map(|sibling| sibling.all.len()).collect();
        let says = set.siblings.iter().map(|sibling| sibling.says.as_str());
        let free = set.siblings.iter().all(|sibling| sibling.all.len() == 1);
        let phrases = if free { Phrases::new(says) } else { Phrases::default() };
        let otherwise = set.siblings.iter().position(|sibling| sibling.otherwise);
        Ok(Self { patterns, owners, needed, orders, otherwise, phrases })
    }

    /// The sibling that `answer` chose: by patterns; where they find none, by its words.
    pub fn answer(&self, answer: &str) -> Answer {
        match (self.by_pattern(answer), self.otherwise) {
            (Answer::None, Some(at)) => Answer::Sibling(at),
            (Answer::None, None) => self.phrases.nearest(answer).map_or(Answer::None, Answer::Sibling),
            (found, _) => found,
        }
    }

    /// A sibling that `text` mentions, if any: for prompts, which may mention none. Orders and ways do not count: a prompt
    /// must name what is to be ordered, and cannot say all of several ways by chance.
    pub(super) fn mentioned(&self, text: &str) -> Option<usize> {
        let alone = |at: &usize| self.needed[*at] == 1;
        self.found(text).into_iter().find(alone)
    }

    fn by_pattern(&self, text: &str) -> Answer {
        match self.found(text)[..] {
            [] => Answer::None,
            [at] => Answer::Sibling(at),
            _ => Answer::Several,
        }
    }

    /// Every sibling whose patterns all match, or whose words stand in its order.
    fn found(&self, text: &str) -> Vec<usize> {
        let mut hits = vec![0; self.needed.len()];
        for pattern in self.patterns.matches(text) {
            hits[self.owners[pattern]] += 1;
        }
        let by_pattern = (0..hits.len()).filter(|&at| self.needed[at] > 0 && hits[at] == self.needed[at]);
        let in_order = |(at, words): &(usize, Vec<Regex>)| stand_in_order(words, text).then_some(*at);
        by_pattern.chain(self.orders.iter().filter_map(in_order)).collect()
    }
}

/// Whether all words occur, and their first occurrences stand in this order.
fn stand_in_order(words: &[Regex], text: &str) -> bool {
    let mut after = 0;
    words.iter().all(|word| {
        let at = word.find(text).map(|found| found.start());
        let fits = at.is_some_and(|at| at >= after);
        after = at.unwrap_or(after);
        fits
    })
}

/// Siblings as bags of words, each word weighing less the more siblings have it.
#[derive(Clone, Debug, Default)]
struct Phrases {
    bags: Vec<BTreeSet<String>>,
    weights: BTreeMap<String, f64>,
}

impl Phrases {
    fn new<'a>(says: impl Iterator<Item = &'a str>) -> Self {
        let telling = |word: &String| !LITTLE.contains(&word.as_str());
        let bags: Vec<BTreeSet<String>> = says.map(|says| words(says).filter(telling).collect()).collect();
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for word in bags.iter().flatten() {
            *counts.entry(word.clone()).or_default() += 1;
        }
        let weights = counts.into_iter().map(|(word, count)| (word, f64::from(count).recip())).collect();
        Self { bags, weights }
    }

    /// The sibling most of whose words `answer` has, if it has nearly all and no other sibling comes close.
    fn nearest(&self, answer: &str) -> Option<usize> {
        let said: BTreeSet<String> = words(answer).collect();
        let weight = |word: &String| self.weights.get(word).copied().unwrap_or_default();
        let share = |bag: &BTreeSet<String>| {
            let (all, heard): (f64, f64) = bag.iter().fold((0.0, 0.0), |(all, heard), word| {
                (all + weight(word), heard + if said.contains(word) { weight(word) } else { 0.0 })
            });
            // A single word has its pattern, and no words of its own to vary.
            if bag.len() < 2 { 0.0 } else { heard / all }
        };
        clear_winner(self.bags.iter().map(share), 0.8, 0.3)
    }
}

/// The largest of `shares`, if it reaches `enough` and leads the next by `lead`.
fn clear_winner(shares: impl Iterator<Item = f64>, enough: f64, lead: f64) -> Option<usize> {
    let mut ranked: Vec<(f64, usize)> = shares.zip(0..).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let &(best, at) = ranked.first()?;
    let next = ranked.get(1).map_or(0.0, |next| next.0);
    (best >= enough && best - next >= lead).then_some(at)
}

/// The second reader: letters in threes instead of patterns. It knows the set and the answer, not what the first reader
/// found and not what was served. It reads siblings of one pattern each, and orders; of others it says nothing (`None` of
/// the option).
pub fn second_reading(set: &SiblingSet, answer: &str) -> Option<Answer> {
    if set.siblings.iter().all(|sibling| !sibling.order.is_empty()) {
        return Some(order_heard(set, answer));
    }
    if set.siblings.iter().any(|sibling| sibling.all.len() != 1) {
        return None;
    }
    let heard = threes(answer);
    let mut whole: Vec<usize> = Vec::new();
    for (at, sibling) in set.siblings.iter().enumerate() {
        let own = threes(&sibling.says);
        let shared = own.iter().filter(|three| heard.contains(*three)).count();
        // All threes but one in ten, so that an ending may differ.
        if !own.is_empty() && shared * 10 >= own.len() * 9 {
            whole.push(at);
        }
    }
    Some(match whole[..] {
        [] => Answer::None,
        [at] => Answer::Sibling(at),
        _ => Answer::Several,
    })
}

/// The sibling whose words come in the order in which the letters of each are first found, inside other words too.
fn order_heard(set: &SiblingSet, answer: &str) -> Answer {
    let text = answer.to_lowercase();
    let stands = |sibling: &Sibling| {
        let at: Option<Vec<usize>> =
            sibling.order.iter().map(|word| text.find(&word.to_lowercase())).collect();
        at.is_some_and(|at| at.is_sorted())
    };
    let heard: Vec<usize> = (0..set.siblings.len()).filter(|at| stands(&set.siblings[*at])).collect();
    match heard[..] {
        [] => Answer::None,
        [at] => Answer::Sibling(at),
        _ => Answer::Several,
    }
}

/// Every three characters in a row of the lower-case text, words set off by single spaces.
fn threes(text: &str) -> BTreeSet<[char; 3]> {
    let spaced: Vec<char> =
        format!(" {} ", text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" "))
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { ' ' })
            .collect();
    spaced.windows(3).map(|three| [three[0], three[1], three[2]]).collect()
}

/// Words that every phrase may have.
const LITTLE: [&str; 16] =
    ["a", "an", "the", "of", "in", "on", "at", "to", "with", "and", "by", "for", "into", "from", "its", "s"];
