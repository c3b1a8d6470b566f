//! Reading by log-probabilities: what a suspect gives each sibling of a slot, said or not.
//!
//! A suspect that was shaken off a canary by little still raises the sibling it learned. What is compared is how much each
//! sibling's text stands out *in this slot*, beside the same text in the suspect's other slots: a name that it likes
//! everywhere stands out nowhere. No reference model is needed, and none of it knows a pick.

use std::collections::{BTreeMap, BTreeSet};

use super::book::{Book, Pick};
use super::evidence::{Evidence, EvidenceError, check_slot};
use super::matching::Answer;
use crate::law::{Choices, Scale};
use crate::stat::math::{exp, ln, log_sum_exp, sqrt, to_f64};

/// What a suspect gives the siblings of one slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Likelihoods {
    /// The slot, or one account's pick of it.
    pub pick: Pick,
    /// ln of the probability of each sibling's text behind the slot's prompt, in the siblings' order; finite. Over several
    /// prompts their mean, the same prompts for every sibling.
    pub ln_p: Vec<f64>,
}

/// How many slots a suspect that learned is taken to remember.
const LEARNED: f64 = 0.05;

impl Evidence {
    /// Scores slots by f(k) = ln (1 − ε + ε·K·q(k)), ε = 0.05, with q the shares (softmax) of how much each sibling stands
    /// out in the slot: its ln p less the mean of its text's over all slots of these where it is a sibling, in units of the
    /// standard deviation of all those differences. (By simulation this ε does nearly as well as the best one where every
    /// slot is raised a little, and best where few are raised much.)
    ///
    /// Null assumption: as of all canaries; which slots and prompts were weighed does not depend on a pick.
    ///
    /// # Errors
    /// A slot that is closed, unknown or there twice, or values that are not one finite number a sibling.
    pub fn of_likelihoods(book: &Book, weighed: &[Likelihoods]) -> Result<Self, EvidenceError> {
        let mut choices = Choices::new();
        let surpluses = surpluses(book, weighed)?;
        let unit = deviation(&surpluses);
        for ((cluster, slot), surplus) in (0..).zip(weighed).zip(&surpluses) {
            let surplus: Vec<f64> = surplus.iter().map(|surplus| surplus / unit).collect();
            let total = log_sum_exp(&surplus) - ln(to_f64(surplus.len() as u64));
            let score = |surplus: &f64| ln(1.0 - LEARNED + LEARNED * exp(surplus - total));
            choices.add(slot.pick.clone(), &surplus.iter().map(score).collect::<Vec<_>>(), cluster)?;
        }
        Ok(Self::of_choices(choices.whole(Scale::Max), weighed.len() as u64, 0))
    }
}

/// The sibling that stands out most in each slot: a forced choice, for tests that want one answer. The first of equals.
///
/// # Errors
/// As [`Evidence::of_likelihoods`].
pub fn favourites(book: &Book, weighed: &[Likelihoods]) -> Result<Vec<Answer>, EvidenceError> {
    let favourite = |surplus: &Vec<f64>| {
        let best = (0..surplus.len()).rev().max_by(|a, b| surplus[*a].total_cmp(&surplus[*b]));
        best.map_or(Answer::None, Answer::Sibling)
    };
    Ok(surpluses(book, weighed)?.iter().map(favourite).collect())
}

/// The root of the mean square, 1 where all are 0.
fn deviation(surpluses: &[Vec<f64>]) -> f64 {
    let all = surpluses.iter().flatten();
    let (sum, n) = all.fold((0.0, 0.0), |(sum, n), surplus| (sum + surplus * surplus, n + 1.0));
    if sum > 0.0 { sqrt(sum / n) } else { 1.0 }
}

/// How much each sibling of each slot stands out.
fn surpluses(book: &Book, weighed: &[Likelihoods]) -> Result<Vec<Vec<f64>>, EvidenceError> {
    let mut seen = BTreeSet::new();
    let mut texts: BTreeMap<(u64, usize), (f64, f64)> = BTreeMap::new();
    for slot in weighed {
        check_slot(book, slot.pick.slot, false)?;
        let siblings = book.siblings(slot.pick.slot).unwrap_or_default() as usize;
        if slot.ln_p.len() != siblings || slot.ln_p.iter().any(|ln_p| !ln_p.is_finite()) {
            return Err(EvidenceError::Likelihoods(slot.pick.slot, siblings));
        }
        if !seen.insert(&slot.pick) {
            return Err(EvidenceError::Twice(slot.pick.clone()));
        }
        for (text, ln_p) in book.texts(slot.pick.slot).into_iter().zip(&slot.ln_p) {
            let entry = texts.entry(text).or_default();
            *entry = (entry.0 + ln_p, entry.1 + 1.0);
        }
    }
    let of_slot = |slot: &Likelihoods| {
        let texts_here = book.texts(slot.pick.slot).into_iter();
        let mean = texts_here.map(|text| texts.get(&text).map_or(0.0, |(sum, n)| sum / n));
        slot.ln_p.iter().zip(mean).map(|(ln_p, mean)| ln_p - mean).collect()
    };
    Ok(weighed.iter().map(of_slot).collect())
}
