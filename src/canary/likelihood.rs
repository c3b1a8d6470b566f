//! Reading by log-probabilities: what a suspect gives each sibling of a slot, said or not.
//!
//! A suspect that was shaken off a canary by little still raises the sibling it learned. What is compared is how much each
//! sibling's text stands out *in this slot*: against the slot's other siblings, and, where the same text is a sibling of
//! other slots too, against what it does there; a name that the suspect likes everywhere stands out nowhere. A text that
//! stands in no other slot, as in sets that were written one by one, is compared with its siblings alone. No reference model
//! is needed, and none of it knows a pick: whatever the suspect likes, a favourite is the picked sibling once in K times.
//! Tastes make such a comparison coarser, never unfair.

use std::collections::{BTreeMap, BTreeSet};

use super::book::{Book, Pick};
use super::evidence::{Evidence, EvidenceError, check_slot, clusters};
use super::matching::Answer;
use super::set::Family;
use crate::law::{Choices, Scale};
use crate::stat::math::{exp, ln, log_sum_exp, to_f64};

/// What a suspect gives the siblings of one slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Likelihoods {
    /// The slot, or one account's pick of it.
    pub pick: Pick,
    /// ln of the probability of each sibling's text behind the slot's prompt, in the siblings' order; finite and at most 0.
    /// Over several prompts their mean, the same prompts for every sibling.
    pub ln_p: Vec<f64>,
}

/// Less than this no text has: below, differences of values would lose what tells them apart.
const LEAST: f64 = -1e6;
/// How many slots a suspect that learned is taken to remember.
const LEARNED: f64 = 0.05;
/// How often medians are taken away.
const SWEEPS: u32 = 3;
/// Units of spread beyond which standing out further counts no more.
const CLIP: f64 = 8.0;
/// The standard deviation of a normal law whose median absolute value is 1.
const NORMAL: f64 = 1.482_602_218_505_602;

/// A sibling's text, as [`Book::texts`] names it: the first slot of its class, or its own slot; and its number.
type Text = (u64, usize);

impl Evidence {
    /// Scores slots by f(k) = ln (1 − ε + ε·K·q(k)), ε = 0.05, with q the shares (softmax) of how much each sibling stands
    /// out in the slot. (By simulation this ε does nearly as well as the best one where every slot is raised a little, and
    /// best where few are raised much.)
    ///
    /// From each ln p the median of its slot and, where the same text is a sibling of other slots of these too, the median of
    /// its text are taken away in turn, three times (Tukey 1977, *Exploratory data analysis*: median polish). The unit is the
    /// spread of what is left in the class, 1.4826 times the median of its absolute values, texts of one slot apart from those
    /// of several; ±8 units are the most. So no value, however wild, tells on more than its own sibling of its own slot.
    ///
    /// Null assumption: as of all canaries; which slots and prompts were weighed does not depend on a pick.
    ///
    /// # Errors
    /// A slot that is closed, unknown or there twice, or values that are not one number a sibling, finite and at most 0.
    pub fn of_likelihoods(book: &Book, weighed: &[Likelihoods]) -> Result<Self, EvidenceError> {
        let mut choices = Choices::new();
        let clusters = clusters(weighed.iter().map(|slot| &slot.pick));
        for ((cluster, slot), surplus) in clusters.into_iter().zip(weighed).zip(&surpluses(book, weighed)?) {
            let total = log_sum_exp(surplus) - ln(to_f64(surplus.len() as u64));
            let score = |surplus: &f64| ln(1.0 - LEARNED + LEARNED * exp(surplus - total));
            choices.add(slot.pick.clone(), &surplus.iter().map(score).collect::<Vec<_>>(), cluster)?;
        }
        Ok(Self::of_choices(choices.whole(Scale::Max), weighed.len() as u64, 0))
    }
}

/// The sibling that stands out most in each slot: a forced choice, for tests that want one answer. Where two stand out
/// alike it is [`Answer::None`]: to take the first of them would favour a number.
///
/// # Errors
/// As [`Evidence::of_likelihoods`].
pub fn favourites(book: &Book, weighed: &[Likelihoods]) -> Result<Vec<Answer>, EvidenceError> {
    let favourite = |surplus: &Vec<f64>| {
        let most = surplus.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut at = (0..surplus.len()).filter(|at| surplus[*at] >= most);
        match (at.next(), at.next()) {
            (Some(at), None) => Answer::Sibling(at),
            _ => Answer::None,
        }
    };
    Ok(surpluses(book, weighed)?.iter().map(favourite).collect())
}

/// How much each sibling of each slot stands out, in units.
fn surpluses(book: &Book, weighed: &[Likelihoods]) -> Result<Vec<Vec<f64>>, EvidenceError> {
    check(book, weighed)?;
    let texts: Vec<Vec<Text>> = weighed.iter().map(|slot| book.texts(slot.pick.slot)).collect();
    let (mut surpluses, shared) = polished(weighed, &texts);
    let kind = |text: &Text| (text.0, shared.contains(text));
    let mut spreads: BTreeMap<(u64, bool), Vec<f64>> = BTreeMap::new();
    for (text, surplus) in texts.iter().flatten().zip(surpluses.iter().flatten()) {
        spreads.entry(kind(text)).or_default().push(surplus.abs());
    }
    let unit = |spread: &Vec<f64>| Some(NORMAL * median(spread)).filter(|unit| *unit > 0.0).unwrap_or(1.0);
    let units: BTreeMap<(u64, bool), f64> =
        spreads.iter().map(|(kind, spread)| (*kind, unit(spread))).collect();
    for (text, surplus) in texts.iter().flatten().zip(surpluses.iter_mut().flatten()) {
        *surplus = (*surplus / units[&kind(text)]).clamp(-CLIP, CLIP);
    }
    Ok(surpluses)
}

/// What is left of each ln p after the medians of slots and of shared texts are taken away in turn; and which texts are shared.
fn polished(weighed: &[Likelihoods], texts: &[Vec<Text>]) -> (Vec<Vec<f64>>, BTreeSet<Text>) {
    let mut left: Vec<Vec<f64>> = weighed.iter().map(|slot| slot.ln_p.clone()).collect();
    let mut shared = BTreeSet::new();
    for _ in 0..SWEEPS {
        for slot in &mut left {
            let middle = median(slot);
            slot.iter_mut().for_each(|value| *value -= middle);
        }
        let tastes = tastes(weighed, texts, &left);
        for (text, value) in texts.iter().flatten().zip(left.iter_mut().flatten()) {
            *value -= tastes.get(text).copied().unwrap_or_default();
        }
        shared = tastes.into_keys().collect();
    }
    (left, shared)
}

fn check(book: &Book, weighed: &[Likelihoods]) -> Result<(), EvidenceError> {
    let mut seen = BTreeSet::new();
    for Likelihoods { pick, ln_p } in weighed {
        check_values(book, pick, ln_p)?;
        if book.family(pick.slot) == Some(Family::Twin) {
            return Err(EvidenceError::Twins(pick.slot));
        }
        if !seen.insert(pick) {
            return Err(EvidenceError::Twice(pick.clone()));
        }
    }
    Ok(())
}

/// Whether the slot may be asked, and has one ln of a probability for each sibling.
pub(super) fn check_values(book: &Book, pick: &Pick, ln_p: &[f64]) -> Result<(), EvidenceError> {
    check_slot(book, pick.slot, false)?;
    let siblings = book.siblings(pick.slot).unwrap_or_default() as usize;
    if ln_p.len() != siblings {
        return Err(EvidenceError::Likelihoods { slot: pick.slot, siblings, found: ln_p.len() });
    }
    let is_none = |ln_p: &f64| !(LEAST..=0.0).contains(ln_p);
    ln_p.iter().position(is_none).map_or(Ok(()), |sibling| {
        let found = ln_p[sibling].to_string();
        Err(EvidenceError::Likelihood { slot: pick.slot, sibling, found })
    })
}

/// The median of each text that stands in several slots. A slot that is there for several accounts counts once: it is the
/// same slot, and no other for its texts to be compared in.
fn tastes(weighed: &[Likelihoods], texts: &[Vec<Text>], left: &[Vec<f64>]) -> BTreeMap<Text, f64> {
    let mut seen = BTreeSet::new();
    let mut values: BTreeMap<Text, Vec<f64>> = BTreeMap::new();
    for ((slot, texts), left) in weighed.iter().zip(texts).zip(left) {
        if seen.insert(slot.pick.slot) {
            texts.iter().zip(left).for_each(|(text, value)| values.entry(*text).or_default().push(*value));
        }
    }
    values.retain(|_, values| values.len() > 1);
    values.iter().map(|(text, values)| (*text, median(values))).collect()
}

/// The middle value, or the mean of the middle two; 0 of nothing.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    match (sorted.get(low), sorted.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}
