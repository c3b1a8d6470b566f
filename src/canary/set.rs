//! A sibling set: one slot's K alternatives, equally right, with everything that eligibility and matching need.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::fault::{Fault, Place, Problem, json_fault};
use super::matching::{Answer, Matcher};
use super::refuse::refused;
use super::twins::{self, Sampling};
use crate::law::SIBLINGS_MAX;

/// What kind of canary a set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Family {
    /// A place where an answer is equally right in K ways: a name, an order, a format, one of several correct ways.
    ChoiceSlot,
    /// A fictitious, harmless attribute of something invented, inside an illustrative example.
    SiblingFact,
    /// A habit that the key switches on for half of many classes of prompts: two siblings, with it and without it. A slot is
    /// a class, so a dozen of them make a dozen draws; whoever has the habit by nature has it in both halves.
    Behaviour,
    /// Several sampled answers to one prompt, one of which is served; told by log-probabilities ([`super::Ranks`]).
    Twin,
}

/// One slot: closed format, and the unit that is hashed. Siblings are counted from 0 in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiblingSet {
    /// The slot's number in its book.
    pub slot: u64,
    /// The kind of canary.
    pub family: Family,
    /// The class of prompts that it belongs to.
    pub class: String,
    /// The language of prompts and siblings: `en`, `python`, …
    pub language: String,
    /// Regular expressions, case aside, all of which a request must match.
    pub asks: Vec<String>,
    /// Prompts that probe it. None contains a sibling.
    pub prompts: Vec<String>,
    /// The instruction that plants a sibling; `{sibling}` stands for it.
    pub steer: String,
    /// The siblings.
    pub siblings: Vec<Sibling>,
    /// How twins were made; of twins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
}

/// One alternative: what is planted, and how an answer that chose it is recognised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sibling {
    /// The sibling itself.
    pub says: String,
    /// Regular expressions, all of which its answer matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub all: Vec<String>,
    /// Or words, whose first occurrences stand in this order in its answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<String>,
    /// Or its answer is every one that no other sibling's is: an answer without the habit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub otherwise: bool,
}

impl SiblingSet {
    /// One set from a line of JSON, checked.
    ///
    /// # Errors
    /// Another shape; siblings, matchers or prompts that do not work together; a refused subject.
    pub fn parse(file: &str, line: usize, text: &str) -> Result<Self, Fault> {
        let set: Self = serde_json::from_str(text).map_err(|error| json_fault(file, line, &error))?;
        set.check(Place { file, line })?;
        Ok(set)
    }

    /// Sets from lines of JSON, numbered in order from 0; empty lines are skipped.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse_lines(file: &str, text: &str) -> Result<Vec<Self>, Fault> {
        let mut sets: Vec<Self> = Vec::new();
        for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
            let set = Self::parse(file, line, text)?;
            let expected = sets.len() as u64;
            if set.slot != expected {
                let problem = Problem::SlotNumber { expected, found: set.slot };
                return Err(Place { file, line }.fault("slot", problem));
            }
            sets.push(set);
        }
        Ok(sets)
    }

    /// SHA-256 of the canonical JSON (RFC 8785).
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(canonical(self)).into()
    }

    /// The instruction that plants `sibling`.
    pub fn instruction(&self, sibling: usize) -> Option<String> {
        Some(self.steer.replace(SIBLING, &self.siblings.get(sibling)?.says))
    }

    pub(super) fn check(&self, place: Place<'_>) -> Result<(), Fault> {
        self.check_texts(place)?;
        if self.family == Family::Twin {
            return twins::check(self, place);
        }
        if self.sampling.is_some() {
            return Err(place.fault("sampling", Problem::OfTwins));
        }
        if self.asks.is_empty() {
            return Err(place.fault("asks", Problem::Empty));
        }
        self.check_siblings(place)?;
        let matcher = Matcher::new(self).map_err(|problem| place.fault("siblings", problem))?;
        self.check_readable(&matcher).map_err(|problem| place.fault("siblings", problem))?;
        self.check_prompts(place, &matcher)
    }

    /// Whether each sibling is read as itself and no other. One whose pattern asks for more around it (`seed = 7`) may be
    /// read as none when it stands alone.
    pub(super) fn check_readable(&self, matcher: &Matcher) -> Result<(), Problem> {
        let told = |sibling: &Sibling| !sibling.is_a_way() && !sibling.otherwise;
        // What a habit looks like is not what an instruction to have it says.
        let told = |sibling: &Sibling| told(sibling) && self.family != Family::Behaviour;
        for (at, sibling) in self.siblings.iter().enumerate().filter(|(_, sibling)| told(sibling)) {
            let answer = sibling.answer();
            let read = matcher.answer(&answer);
            let partly = read == Answer::None && sibling.is_part_of_its_pattern();
            if read != Answer::Sibling(at) && !partly {
                return Err(Problem::Ambiguous { answer, read: format!("{read:?}") });
            }
        }
        Ok(())
    }

    fn check_texts(&self, place: Place<'_>) -> Result<(), Fault> {
        let named = [("class", &self.class), ("language", &self.language), ("steer", &self.steer)];
        for (field, text) in named {
            if text.trim().is_empty() {
                return Err(place.fault(field, Problem::Empty));
            }
        }
        if !self.steer.contains(SIBLING) {
            return Err(place.fault("steer", Problem::NoSibling));
        }
        if self.prompts.is_empty() {
            return Err(place.fault("prompts", Problem::Empty));
        }
        let texts = [("class".to_owned(), &self.class), ("steer".to_owned(), &self.steer)].into_iter();
        let prompts = self.prompts.iter().enumerate().map(|(at, text)| (format!("prompts[{at}]"), text));
        let siblings =
            self.siblings.iter().enumerate().map(|(at, sibling)| (format!("siblings[{at}]"), &sibling.says));
        check_subjects(place, texts.chain(prompts).chain(siblings))
    }

    fn check_siblings(&self, place: Place<'_>) -> Result<(), Fault> {
        let (found, allowed) = (self.siblings.len(), SIBLINGS_MAX);
        if found < 2 {
            return Err(place.fault("siblings", Problem::TooFew { found, needed: 2 }));
        }
        if found > allowed {
            return Err(place.fault("siblings", Problem::TooMany { found, allowed }));
        }
        let mut seen = std::collections::BTreeSet::new();
        for (at, sibling) in self.siblings.iter().enumerate() {
            let field = format!("siblings[{at}]");
            if sibling.says.trim().is_empty() {
                return Err(place.fault(field, Problem::Empty));
            }
            let told = [!sibling.all.is_empty(), !sibling.order.is_empty(), sibling.otherwise];
            if told.into_iter().filter(|told| *told).count() != 1 {
                return Err(place.fault(field, Problem::ExactlyOne("`all`, `order` and `otherwise`")));
            }
            let last = at + 1 == found;
            if sibling.otherwise && !last {
                return Err(place.fault(field, Problem::ExactlyOne("siblings, the last, can be `otherwise`")));
            }
            if !seen.insert(sibling.says.to_lowercase()) {
                return Err(place.fault(field, Problem::Duplicate(sibling.says.clone())));
            }
        }
        Ok(())
    }

    fn check_prompts(&self, place: Place<'_>, matcher: &Matcher) -> Result<(), Fault> {
        for (at, ask) in self.asks.iter().enumerate() {
            let field = format!("asks[{at}]");
            let pattern = asking(ask).map_err(|problem| place.fault(field, problem))?;
            if let Some(at) = self.prompts.iter().position(|prompt| !pattern.is_match(prompt)) {
                return Err(place.fault(format!("prompts[{at}]"), Problem::NotAsked(ask.clone())));
            }
        }
        for (at, prompt) in self.prompts.iter().enumerate() {
            if let Some(sibling) = matcher.mentioned(prompt) {
                let says = self.siblings[sibling].says.clone();
                return Err(place.fault(format!("prompts[{at}]"), Problem::PromptNames(says)));
            }
        }
        Ok(())
    }
}

impl Sibling {
    /// What a suspect that chose it would write: itself, or the words of its order.
    fn answer(&self) -> String {
        if self.order.is_empty() { self.says.clone() } else { self.order.join(", then ") }
    }

    fn is_part_of_its_pattern(&self) -> bool {
        self.all.first().is_some_and(|pattern| pattern.contains(&regex::escape(&self.says)))
    }

    /// Whether `says` describes a way of writing rather than something to be written.
    fn is_a_way(&self) -> bool {
        self.all.len() > 1
    }
}

/// The compiled form of an `asks` pattern: case aside, `.` over lines.
pub(super) fn asking(pattern: &str) -> Result<regex::Regex, Problem> {
    regex::Regex::new(&format!("(?is){pattern}")).map_err(|error| Problem::Pattern(error.to_string()))
}

/// The first text that belongs to a refused subject.
pub(super) fn check_subjects<'a>(
    place: Place<'_>,
    texts: impl Iterator<Item = (String, &'a String)>,
) -> Result<(), Fault> {
    for (field, text) in texts {
        if let Some((topic, word)) = refused(text) {
            return Err(place.fault(field, Problem::Refused { topic, word: word.to_owned() }));
        }
    }
    Ok(())
}

/// Canonical JSON. Sets and books hold strings and whole numbers only, which it always takes.
pub(super) fn canonical(value: &impl Serialize) -> Vec<u8> {
    #[expect(
        clippy::expect_used,
        reason = "no floats that are no numbers, no maps with keys other than strings"
    )]
    serde_json_canonicalizer::to_vec(value).expect("strings, numbers, lists and objects")
}

/// Stands for the sibling in a steering text.
pub(super) const SIBLING: &str = "{sibling}";
