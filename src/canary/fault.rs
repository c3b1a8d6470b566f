//! What is wrong with a file of canaries, where, and what to do.

use std::fmt;

/// A fault in a file of canaries: file, line, field, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, as the caller names it.
    pub file: String,
    /// The line, from 1; 0 where the fault has none.
    pub line: usize,
    /// The field, such as `classes[3].prompts[0]`.
    pub field: String,
    /// What is wrong, and what to do.
    pub problem: Problem,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ", line {}", self.line)?;
        }
        if !self.field.is_empty() {
            write!(f, ", {}", self.field)?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for Fault {}

/// What is wrong with a field, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Not JSON, or not of the documented shape.
    #[error("{0}; see corpora/canaries/README.md for the fields")]
    Json(String),
    /// Another format.
    #[error("the format is {found:?}; write {expected:?}")]
    Format {
        /// What the file says.
        found: String,
        /// What is read here.
        expected: &'static str,
    },
    /// A class of more slots than a book can hold.
    #[error("the class {class:?} has more than {most} slots: take values out of the lists of its facets")]
    TooManySlots {
        /// The class.
        class: String,
        /// The most.
        most: u64,
    },
    /// An empty text or list.
    #[error("empty; fill it or remove it")]
    Empty,
    /// A name that nothing bears.
    #[error("there is no {kind} {name:?}; define it or correct the name")]
    Unknown {
        /// What was looked for: list, pool, forms, facet.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Two things of one name, or two siblings that are the same.
    #[error("{0:?} is there twice; keep one")]
    Duplicate(String),
    /// Not enough entries.
    #[error("{found} where at least {needed} are needed; add some")]
    TooFew {
        /// The number found.
        found: usize,
        /// The number needed.
        needed: usize,
    },
    /// Too many entries.
    #[error("{found} where at most {allowed} are possible; remove some")]
    TooMany {
        /// The number found.
        found: usize,
        /// The number allowed.
        allowed: usize,
    },
    /// A regular expression that does not compile.
    #[error("not a regular expression of the crate `regex`: {0}; correct it")]
    Pattern(String),
    /// Not exactly one source of siblings or one kind of matcher.
    #[error("give exactly one of {0}")]
    ExactlyOne(&'static str),
    /// A template names a facet that its class does not have, or leaves one out.
    #[error("the facet {0:?} is missing or unknown here; use each facet of the class in every prompt")]
    Placeholder(String),
    /// A steering text without the place where the sibling goes.
    #[error("write {{sibling}} where the sibling goes")]
    NoSibling,
    /// Facet values that a reader of prompts could not tell apart.
    #[error("{first:?} stands within {second:?}; use words that do not contain each other in one class")]
    Contained {
        /// The shorter phrase.
        first: String,
        /// The longer one.
        second: String,
    },
    /// A sibling that its own matcher does not find, or that another's finds too.
    #[error("the answer {answer:?} is read as {read}; siblings must be told apart by their matchers")]
    Ambiguous {
        /// What a suspect would say.
        answer: String,
        /// What the matchers make of it.
        read: String,
    },
    /// Medicine, law, money, or a fact of the world.
    #[error("{word:?} belongs to {topic}, where no canary may be; choose another subject")]
    Refused {
        /// The subject.
        topic: &'static str,
        /// The words found.
        word: String,
    },
    /// A prompt that says one of the siblings.
    #[error("the prompt contains the sibling {0:?}; a prompt may favour none")]
    PromptNames(String),
    /// A prompt that its own class would not recognise.
    #[error("the matcher {0:?} does not find this prompt; change either")]
    NotAsked(String),
    /// Slots that are not numbered 0, 1, 2, …
    #[error("slot {found} where {expected} comes next; number the sets in order, from 0")]
    SlotNumber {
        /// The number that comes next.
        expected: u64,
        /// The number found.
        found: u64,
    },
    /// Twins that are not all that was sampled, or of which there are not two.
    #[error(
        "{found} of {sampled} sampled answers: give all that were sampled, at least two; twins are never a selection"
    )]
    NotAllSampled {
        /// The number found.
        found: usize,
        /// The number sampled, as the line says.
        sampled: u32,
    },
    /// A field that twins do not have, or that only twins have.
    #[error(
        "twins have one prompt, `sampling`, the steer \"{{sibling}}\", no `asks` and no matchers; other sets have no `sampling`"
    )]
    OfTwins,
    /// A share outside [0, 1].
    #[error("the share {0} is not between 0 and 1")]
    Share(String),
    /// A salt that is not 64 hexadecimal digits.
    #[error("the salt must be 64 hexadecimal digits from the system's generator")]
    Salt,
}

/// Where faults are looked for: a file, and its text for line numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) file: &'a str,
    pub(super) line: usize,
}

impl Place<'_> {
    pub(super) fn fault(self, field: impl Into<String>, problem: Problem) -> Fault {
        Fault { file: self.file.to_owned(), line: self.line, field: field.into(), problem }
    }
}

/// A reader's complaint with its line: serde's own line numbers where there are any, else `line`.
pub(super) fn json_fault(file: &str, line: usize, error: &serde_json::Error) -> Fault {
    let text = error.to_string();
    let words = text.split(" at line ").next().unwrap_or_default().to_owned();
    let line = if line > 0 { line } else { error.line() };
    Place { file, line }.fault("", Problem::Json(words))
}
