//! Keyed choices: one draw among K siblings, scored without knowing which of them the key picked.
//!
//! A slot has K siblings that were made, hashed and committed first; then the key picks J, uniform on them. Whatever
//! the suspect answers, however often it is asked, becomes one vector f(1..K), made without J, and the draw is
//! X = f(J). There is one draw a slot, because there was one pick.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Draw, Draws, Kept, Law, Origin, Scale, Step, round_clipped, scale_factor};

/// The most siblings that a slot can have.
pub const SIBLINGS_MAX: usize = 32;

/// What each of K siblings counts: whole numbers f(1..K) with |f| ≤ 127, fixed without the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<i32>", into = "Vec<i32>")]
pub struct Scores {
    siblings: u8,
    values: [i8; SIBLINGS_MAX],
}

impl Scores {
    /// Scores of 2 to 32 siblings.
    ///
    /// # Errors
    /// Another number of siblings, or a score beyond ±127.
    pub fn new(scores: &[i32]) -> Result<Self, ScoresError> {
        let siblings = check_siblings(scores.len())?;
        let mut values = [0; SIBLINGS_MAX];
        for (value, &score) in values.iter_mut().zip(scores) {
            *value = i8::try_from(score)
                .ok()
                .filter(|score| *score != i8::MIN)
                .ok_or(ScoresError::TooLarge { score })?;
        }
        Ok(Self { siblings, values })
    }

    /// f(1..K).
    pub fn as_slice(&self) -> &[i8] {
        &self.values[..usize::from(self.siblings)]
    }

    /// f(J) for the sibling `pick`, from 0; one beyond the last counts as the last.
    pub fn value(&self, pick: u32) -> i32 {
        i32::from(self.as_slice()[pick.min(self.last()) as usize])
    }

    /// The last sibling, counted from 0.
    pub(super) fn last(&self) -> u32 {
        u32::from(self.siblings) - 1
    }

    /// Whether all siblings count the same: such a slot says nothing, as after "none of them" or a refusal.
    pub fn is_constant(&self) -> bool {
        self.as_slice().iter().all(|score| *score == self.values[0])
    }

    /// The largest |f|.
    pub fn reach(&self) -> u32 {
        self.as_slice().iter().map(|score| u32::from(score.unsigned_abs())).max().unwrap_or(0)
    }

    /// Σ |f|.
    pub fn total(&self) -> u32 {
        self.as_slice().iter().map(|score| u32::from(score.unsigned_abs())).sum()
    }

    /// E f(J) = Σf / K.
    pub fn mean(&self) -> f64 {
        f64::from(self.sum()) / f64::from(self.siblings)
    }

    /// Var f(J) = (K Σf² − (Σf)²) / K², a fraction of whole numbers.
    pub fn variance(&self) -> f64 {
        let squares: i32 = self.as_slice().iter().map(|score| i32::from(*score) * i32::from(*score)).sum();
        let siblings = i32::from(self.siblings);
        f64::from(siblings * squares - self.sum() * self.sum()) / f64::from(siblings * siblings)
    }

    fn sum(&self) -> i32 {
        self.as_slice().iter().map(|score| i32::from(*score)).sum()
    }
}

impl TryFrom<Vec<i32>> for Scores {
    type Error = ScoresError;

    fn try_from(scores: Vec<i32>) -> Result<Self, ScoresError> {
        Self::new(&scores)
    }
}

impl From<Scores> for Vec<i32> {
    fn from(scores: Scores) -> Self {
        scores.as_slice().iter().map(|score| i32::from(*score)).collect()
    }
}

/// Scores that no slot can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScoresError {
    /// Not 2 to 32 siblings.
    #[error("a slot has 2 to {SIBLINGS_MAX} siblings, not {siblings}")]
    Siblings {
        /// The number of scores given.
        siblings: usize,
    },
    /// A score beyond ±127.
    #[error("the score {score} lies beyond ±127")]
    TooLarge {
        /// The score given.
        score: i32,
    },
    /// One slot with two numbers of siblings.
    #[error("a slot of {first} siblings cannot have {siblings} scores")]
    Unequal {
        /// Siblings when the slot was named first.
        first: usize,
        /// The number of scores given later.
        siblings: usize,
    },
}

fn check_siblings(siblings: usize) -> Result<u8, ScoresError> {
    let fits = (2..=SIBLINGS_MAX).contains(&siblings);
    u8::try_from(siblings).ok().filter(|_| fits).ok_or(ScoresError::Siblings { siblings })
}

/// Real score vectors by slot; those of equal slots are summed, because a slot has one pick.
///
/// `I` identifies a pick: one input of the keyed function.
#[derive(Clone, Debug)]
pub struct Choices<I> {
    slots: BTreeMap<I, (Vec<f64>, u32)>,
}

impl<I: Ord> Choices<I> {
    /// No slot yet.
    pub fn new() -> Self {
        Self { slots: BTreeMap::new() }
    }

    /// Adds `scores` to the slot of `input`. The slot belongs to the first `cluster` that names it.
    ///
    /// # Errors
    /// Not 2 to 32 scores, or another number than before.
    pub fn add(&mut self, input: I, scores: &[f64], cluster: u32) -> Result<(), ScoresError> {
        check_siblings(scores.len())?;
        let (sums, _) = self.slots.entry(input).or_insert_with(|| (vec![0.0; scores.len()], cluster));
        if sums.len() != scores.len() {
            return Err(ScoresError::Unequal { first: sums.len(), siblings: scores.len() });
        }
        sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score);
        Ok(())
    }

    /// Rounds the summed scores to whole numbers as [`super::Tally::whole`] does. Looks at no key.
    pub fn whole(self, scale: Scale) -> WholeChoices<I> {
        let magnitudes = self.slots.values().flat_map(|(scores, _)| scores.iter().map(|score| score.abs()));
        let factor = scale_factor(scale, magnitudes);
        let mut kept = Kept::default();
        let slot = |(input, (scores, cluster)): (I, (Vec<f64>, u32))| {
            let real: Vec<f64> = scores.iter().map(|score| score * factor).collect();
            let whole: Vec<i32> = real.iter().map(|score| round_clipped(*score)).collect();
            kept = kept.with(kept_of(&real, &whole));
            Scores::new(&whole).ok().map(|scores| WholeChoice { input, scores, cluster })
        };
        WholeChoices { slots: self.slots.into_iter().filter_map(slot).collect(), kept }
    }
}

impl<I: Ord> Default for Choices<I> {
    fn default() -> Self {
        Self::new()
    }
}

/// What rounding kept of one slot, about its means: a shift of all scores tests nothing.
fn kept_of(real: &[f64], whole: &[i32]) -> Kept {
    let siblings: f64 = real.iter().map(|_| 1.0).sum();
    let (r_mean, a_mean) =
        (real.iter().sum::<f64>() / siblings, whole.iter().map(|a| f64::from(*a)).sum::<f64>() / siblings);
    real.iter().zip(whole).fold(Kept::default(), |sums, (r, a)| {
        let (r, a) = (r - r_mean, f64::from(*a) - a_mean);
        sums.with(Kept { ar: a * r, aa: a * a, rr: r * r })
    })
}

/// Whole score vectors by slot: what a plan or a bundle stores. No pick has been opened yet.
#[derive(Clone, Debug)]
pub struct WholeChoices<I> {
    slots: Vec<WholeChoice<I>>,
    kept: Kept,
}

/// One slot's input, its scores and the exchange it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct WholeChoice<I> {
    /// The keyed function's input.
    pub input: I,
    /// f(1..K).
    pub scores: Scores,
    /// The exchange of its first occurrence.
    pub cluster: u32,
}

impl<I> WholeChoices<I> {
    /// The slots, sorted by input; those that say nothing included.
    pub fn slots(&self) -> &[WholeChoice<I>] {
        &self.slots
    }

    /// The share of z that rounding kept.
    pub fn share_of_z_kept(&self) -> f64 {
        self.kept.share()
    }

    /// Opens every slot whose scores differ. `pick` is the keyed function, from 0; `origin` names its key.
    pub fn open(&self, origin: Origin, pick: impl FnMut(&I) -> u32) -> Draws {
        self.open_weighed(1, origin, pick)
    }

    /// The same for one of several unrelated keys, whose scores count `weight` times.
    pub fn open_weighed(&self, weight: u8, origin: Origin, mut pick: impl FnMut(&I) -> u32) -> Draws {
        let telling = self.slots.iter().filter(|slot| !slot.scores.is_constant());
        let draw = |slot: &WholeChoice<I>| {
            Draw::new(Law::Choice(slot.scores), i32::from(weight), pick(&slot.input), slot.cluster)
        };
        Draws { draws: telling.map(draw).collect(), kept: self.kept, origins: [origin].into() }
    }
}

impl Step {
    /// Opens the pick of one slot that was not opened before; `scores` were fixed beforehand. Consumes nothing that
    /// could be opened again, so the caller keeps count of closed slots.
    pub fn choice(scores: Scores, cluster: u32, pick: u32) -> Self {
        Self::choice_weighed(1, scores, cluster, pick)
    }

    /// The same for one of several unrelated keys, whose scores count `weight` times.
    pub fn choice_weighed(weight: u8, scores: Scores, cluster: u32, pick: u32) -> Self {
        let draws = if scores.is_constant() {
            Vec::new()
        } else {
            vec![Draw::new(Law::Choice(scores), i32::from(weight), pick, cluster)]
        };
        Self { draws }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_fair_pick() {
        let scores = Scores::new(&[3, 0, 0, -1]).unwrap();
        assert_eq!((scores.mean(), scores.variance()), (0.5, 2.25));
        assert_eq!((scores.reach(), scores.total()), (3, 4));
        assert_eq!([0, 3, 9].map(|pick| scores.value(pick)), [3, -1, -1]);
        assert!(Scores::new(&[5, 5]).unwrap().is_constant() && !scores.is_constant());
    }

    #[test]
    fn scores_that_no_slot_has_are_refused() {
        assert_eq!(Scores::new(&[1]), Err(ScoresError::Siblings { siblings: 1 }));
        assert_eq!(Scores::new(&[0; 33]), Err(ScoresError::Siblings { siblings: 33 }));
        assert_eq!(Scores::new(&[0, -128]), Err(ScoresError::TooLarge { score: -128 }));
        assert!(serde_json::from_str::<Scores>("[127,-127]").is_ok());
        assert!(serde_json::from_str::<Scores>("[128,0]").is_err());
    }

    #[test]
    fn equal_slots_are_one_draw_and_slots_that_say_nothing_are_none() {
        let mut choices = Choices::new();
        for (slot, scores) in [(7, [1.0, 0.0]), (9, [0.0, 0.0]), (7, [1.0, 0.0])] {
            choices.add(slot, &scores, 0).unwrap();
        }
        assert!(choices.add(7, &[1.0, 0.0, 0.0], 0).is_err());
        let whole = choices.whole(Scale::Unit);
        assert_eq!(whole.slots()[0].scores.as_slice(), [2, 0]);
        let draws = whole.open(Origin([0; 32]), |_| 0);
        let values: Vec<f64> = draws.as_slice().iter().map(Draw::value).collect();
        assert_eq!(values, [2.0]);
        assert!(draws.pool(whole.open(Origin([0; 32]), |_| 1)).is_err());
    }

    #[test]
    fn a_shift_of_all_scores_keeps_all_of_z() {
        let mut choices = Choices::new();
        choices.add(1, &[100.0, 99.0, 99.0], 0).unwrap();
        assert!((choices.whole(Scale::Unit).share_of_z_kept() - 1.0).abs() < 1e-12);
    }
}
