//! Keyed twins: several sampled answers to one prompt, of which the key picks the one to serve.
//!
//! Nothing is written into an answer: each twin is what the model said. So there is nothing to filter out and nothing to
//! read in a suspect's answers; what is asked later is how likely the suspect finds each twin, and the draw is the rank of
//! the one that was served ([`crate::stat::rank`]). That needs log-probabilities.
//!
//! # What makes it valid
//!
//! - *One generator, one mark state.* All answers of a set were sampled alike: same model, settings, prompt and token mark.
//! - *All that were sampled.* A twin is never the best of n: what a judge likes an innocent may like too, and it would be
//!   served more often than once in m times. So the file says how many were sampled, and all of them are there.
//! - *Duplicates are merged before the pick.* An answer that was sampled twice is likelier, to an innocent as well; drawn
//!   among all samples it would be served more often too.
//! - *A tie counts as lost.* Otherwise a suspect that likes all twins alike would look as if it knew the served one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::book::{Book, Pick, Picks};
use super::evidence::{EvidenceError, clusters};
use super::fault::{Fault, Place, Problem, json_fault};
use super::likelihood::check_values;
use super::set::{Family, SIBLING, Sibling, SiblingSet};
use crate::law::{Choices, Draws, SIBLINGS_MAX, Scale, WholeChoices};
use crate::stat::math::to_f64;
use crate::stat::rank::RankScores;

/// The class of all twins.
const CLASS: &str = "twin";

/// How the answers of a set of twins were made: alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// The model and its settings, in the operator's words.
    pub generator: String,
    /// The token mark that all of them carry: its label, or `none`.
    pub mark: String,
    /// How many were sampled; as many as there are siblings, or more where some were the same.
    pub sampled: u32,
}

/// A line of an operator's file: a prompt and everything that was sampled for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    prompt: String,
    language: String,
    generator: String,
    mark: String,
    sampled: u32,
    answers: Vec<String>,
}

/// Sets of twins from lines of JSON, numbered from 0, and how many prompts were left out because all their answers are the
/// same. Exact duplicates among the answers are merged, the first is kept.
///
/// # Errors
/// The first line that is wrong: not all sampled answers, more than 32 that differ, a prompt that is there twice, a refused
/// subject.
pub fn twins(file: &str, text: &str) -> Result<(Vec<SiblingSet>, u64), Fault> {
    let (mut sets, mut same, mut prompts) = (Vec::new(), 0, BTreeSet::new());
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let row: Row = serde_json::from_str(text).map_err(|error| json_fault(file, line, &error))?;
        let place = Place { file, line };
        if !prompts.insert(row.prompt.trim().to_owned()) {
            return Err(place.fault("prompt", Problem::Duplicate(row.prompt)));
        }
        let found = row.answers.len();
        if u32::try_from(found) != Ok(row.sampled) || found < 2 {
            return Err(place.fault("answers", Problem::NotAllSampled { found, sampled: row.sampled }));
        }
        let set = row.set(sets.len() as u64);
        if set.siblings.len() < 2 {
            same += 1;
            continue;
        }
        set.check(place)?;
        sets.push(set);
    }
    Ok((sets, same))
}

impl Row {
    fn set(self, slot: u64) -> SiblingSet {
        let mut seen = BTreeSet::new();
        let first = |answer: &String| seen.insert(answer.clone());
        let plain = |says| Sibling { says, all: Vec::new(), order: Vec::new(), otherwise: false };
        SiblingSet {
            slot,
            family: Family::Twin,
            class: CLASS.to_owned(),
            language: self.language,
            asks: Vec::new(),
            prompts: vec![self.prompt],
            steer: SIBLING.to_owned(),
            siblings: self.answers.into_iter().filter(first).map(plain).collect(),
            sampling: Some(Sampling { generator: self.generator, mark: self.mark, sampled: self.sampled }),
        }
    }
}

/// Checks what a set of twins has of its own: no matchers, one prompt, answers that differ, and how they were made.
pub(super) fn check(set: &SiblingSet, place: Place<'_>) -> Result<(), Fault> {
    let Some(sampling) = &set.sampling else {
        return Err(place.fault("sampling", Problem::Empty));
    };
    if !set.asks.is_empty() {
        return Err(place.fault("asks", Problem::OfTwins));
    }
    if set.prompts.len() != 1 || set.steer != SIBLING {
        let field = if set.steer == SIBLING { "prompts" } else { "steer" };
        return Err(place.fault(field, Problem::OfTwins));
    }
    let texts =
        [("generator", &sampling.generator), ("mark", &sampling.mark), ("prompts[0]", &set.prompts[0])];
    if let Some((field, _)) = texts.into_iter().find(|(_, text)| text.trim().is_empty()) {
        return Err(place.fault(field, Problem::Empty));
    }
    let (found, allowed) = (set.siblings.len(), SIBLINGS_MAX);
    if found < 2 {
        return Err(place.fault("siblings", Problem::TooFew { found, needed: 2 }));
    }
    if found > allowed {
        return Err(place.fault("siblings", Problem::TooMany { found, allowed }));
    }
    if u64::from(sampling.sampled) < found as u64 {
        return Err(place.fault("siblings", Problem::NotAllSampled { found, sampled: sampling.sampled }));
    }
    let mut seen = BTreeSet::new();
    for (at, sibling) in set.siblings.iter().enumerate() {
        let problem = match sibling {
            Sibling { says, .. } if says.trim().is_empty() => Problem::Empty,
            Sibling { says, .. } if !seen.insert(says) => Problem::Duplicate(says.clone()),
            Sibling { all, order, otherwise: false, .. } if all.is_empty() && order.is_empty() => continue,
            _ => Problem::OfTwins,
        };
        return Err(place.fault(format!("siblings[{at}]"), problem));
    }
    Ok(())
}

/// How likely a suspect finds the twins of one slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Liked {
    /// The slot, or one account's pick of it.
    pub pick: Pick,
    /// ln of the probability of each twin behind the prompt, in the siblings' order; finite and at most 0.
    pub ln_p: Vec<f64>,
    /// The same of a reference that predates the key or was never near it, such as the suspect's declared base; power only.
    pub reference: Option<Vec<f64>>,
}

/// Ranks of twins, ready to be opened. No pick has been.
#[derive(Clone, Debug)]
pub struct Ranks {
    choices: WholeChoices<Pick>,
    values: BTreeMap<Pick, (RankScores, Vec<f64>)>,
}

impl Ranks {
    /// Ranks the twins of each slot by ln p a character, less the reference's where there is one: a long answer is not
    /// disliked for its length. The score of rank r among m is m + 1 − 2r ([`RankScores::linear`]).
    ///
    /// Null assumption: as of all canaries, and what [`crate::stat::rank`] says; the values were made without a pick.
    ///
    /// # Errors
    /// A slot that is closed, unknown, there twice or none of twins; values that are not one number a twin, finite and at
    /// most 0.
    pub fn new(book: &Book, liked: &[Liked]) -> Result<Self, EvidenceError> {
        let (mut choices, mut values) = (Choices::new(), BTreeMap::new());
        for (cluster, slot) in clusters(liked.iter().map(|slot| &slot.pick)).into_iter().zip(liked) {
            check_values(book, &slot.pick, &slot.ln_p)?;
            let set = book.set(slot.pick.slot).filter(|set| set.family == Family::Twin);
            let set = set.ok_or(EvidenceError::NoTwins(slot.pick.slot))?;
            if let Some(reference) = &slot.reference {
                check_values(book, &slot.pick, reference)?;
            }
            let ranks = RankScores::linear(u16::try_from(set.siblings.len()).unwrap_or_default())?;
            let scores: Vec<f64> = ranks.as_slice().iter().map(|score| f64::from(*score)).collect();
            if values.insert(slot.pick.clone(), (ranks, slot.values(&set))).is_some() {
                return Err(EvidenceError::Twice(slot.pick.clone()));
            }
            choices.add(slot.pick.clone(), &scores, cluster)?;
        }
        Ok(Self { choices: choices.whole(Scale::Unit), values })
    }

    /// Opens the picks under an epoch's key: one draw a slot, the score of the served twin's rank, ties lost. Its law is the
    /// planned one, each of the m scores once in m times; with ties the served twin can only rank worse.
    ///
    /// # Errors
    /// As [`super::Evidence::open`].
    pub fn open(&self, picks: &Picks<'_>) -> Result<Draws, EvidenceError> {
        let mut missing = None;
        let draws = self.choices.open(picks.origin(), |pick| {
            let ranked = picks.sibling(pick).zip(self.values.get(pick));
            let rank = ranked.and_then(|(served, (ranks, values))| ranks.rank(values, served as usize).ok());
            rank.and_then(|rank| u32::try_from(rank - 1).ok()).unwrap_or_else(|| {
                missing.get_or_insert_with(|| pick.clone());
                u32::MAX
            })
        });
        missing.map_or(Ok(draws), |pick| Err(EvidenceError::NoKey(pick)))
    }
}

impl Liked {
    fn values(&self, set: &SiblingSet) -> Vec<f64> {
        let reference = self.reference.iter().flatten().copied().chain(std::iter::repeat(0.0));
        let value = |((ln_p, reference), sibling): ((&f64, f64), &Sibling)| {
            (ln_p - reference) / to_f64(sibling.says.chars().count() as u64)
        };
        self.ln_p.iter().zip(reference).zip(&set.siblings).map(value).collect()
    }
}
