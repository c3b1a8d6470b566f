//! From a suspect's answers to draws: one score vector a slot, made without the key.
//!
//! Whether a plant succeeded, how often a sibling was served and what the pick is have no place here: slots are tested
//! as they were planned.

use std::collections::{BTreeMap, BTreeSet};

use super::book::{Book, Pick, Picks};
use super::matching::Answer;
use crate::law::{Choices, Draws, Origin, SameOrigin, Scale, Scores, ScoresError, Step, WholeChoices};
use crate::stat::math::{exp, ln, ln_1p, to_f64};
use crate::stat::rank::RankError;
use crate::stat::verdict::{Summary, TestError};

/// All answers of a suspect to one slot, in plan order; a refusal or a missing answer is [`Answer::None`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The slot, or one account's pick of it.
    pub pick: Pick,
    /// What each probe gave.
    pub answers: Vec<Answer>,
}

/// How answers become scores f(1..K). Fixed in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// 1 for the sibling that the first answer names: S counts hits, and its tail is binomial.
    First,
    /// How many answers name the sibling.
    Counts,
    /// The default: ln (1 − ε + ε·L), L the likelihood ratio of a suspect that remembers the sibling and gives it in half
    /// of its answers, against what it answers in general; ε = 0.05.
    ///
    /// What it answers in general is counted over all slots of the class, for each sibling's text where it was to be had.
    /// So a name that the suspect likes anyway counts little, and one that it gives nowhere else counts much.
    Remembered,
}

/// Scores of all slots of a plan. No pick has been opened.
#[derive(Clone, Debug)]
pub struct Evidence {
    choices: WholeChoices<Pick>,
    /// Slots asked.
    pub slots: u64,
    /// Slots none of whose answers names a sibling.
    pub silent: u64,
}

/// Why answers are no evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// A slot that stays closed for a court's replication.
    #[error("slot {0} stays closed for a court's replication: leave it out")]
    Closed(u64),
    /// In a replication, a slot that was not kept for one.
    #[error("slot {0} is not among those kept for a replication: leave it out")]
    NotKept(u64),
    /// A pick that was scored before.
    #[error("slot {} was scored before: a slot has one pick, and counts once", .0.slot)]
    Twice(Pick),
    /// Another number of answers than planned.
    #[error("slot {} has {answers} answers where the plan says {planned}: record refusals and missing answers as none", .pick.slot)]
    Probes {
        /// The slot.
        pick: Pick,
        /// The number of its answers.
        answers: usize,
        /// The planned number.
        planned: usize,
    },
    /// A slot or sibling that the book does not have.
    #[error("slot {0} is not in the book, or an answer names a sibling that it does not have")]
    Unknown(u64),
    /// A slot whose pick cannot be opened.
    #[error("slot {}: the key of its pick was not handed over; hand over those of all slots that were asked", .0.slot)]
    NoKey(Pick),
    /// Nothing to open.
    #[error("no epoch is there to open the picks of")]
    NoPicks,
    /// One key there twice.
    #[error(transparent)]
    SameOrigin(#[from] SameOrigin),
    /// Log-probabilities that are not one a sibling.
    #[error(
        "slot {slot} has {found} log-probabilities where one for each of its {siblings} siblings is needed"
    )]
    Likelihoods {
        /// The slot.
        slot: u64,
        /// The number of its siblings.
        siblings: usize,
        /// The number of values given.
        found: usize,
    },
    /// A value that is the logarithm of no probability.
    #[error(
        "slot {slot}, sibling {sibling} (from 0): {found} is the logarithm of no probability that a text has: give ln p, from \
         -1,000,000 to 0"
    )]
    Likelihood {
        /// The slot.
        slot: u64,
        /// The sibling, from 0.
        sibling: usize,
        /// The value given.
        found: String,
    },
    /// A slot that is none of twins.
    #[error("slot {0} is no set of twins: ranks are theirs alone; weigh other slots in a file of their own")]
    NoTwins(u64),
    /// A set of twins among other slots.
    #[error("slot {0} is a set of twins: they are ranked; weigh them in a file of their own")]
    Twins(u64),
    /// Ranks that cannot be scored.
    #[error(transparent)]
    Rank(#[from] RankError),
    /// Scores that no slot has.
    #[error(transparent)]
    Scores(#[from] ScoresError),
}

impl Evidence {
    /// Scores slots of `probes` answers each. Slots that are kept for a replication are refused.
    ///
    /// # Errors
    /// A slot that is closed, unknown, there twice, or with another number of answers.
    pub fn new(book: &Book, asked: &[Asked], probes: usize, scoring: Scoring) -> Result<Self, EvidenceError> {
        Self::of(book, asked, probes, scoring, false)
    }

    /// The same for a court's replication: only slots that were kept for it.
    ///
    /// # Errors
    /// As [`Evidence::new`], with a slot that was not kept in place of one that was.
    pub fn replication(
        book: &Book,
        asked: &[Asked],
        probes: usize,
        scoring: Scoring,
    ) -> Result<Self, EvidenceError> {
        Self::of(book, asked, probes, scoring, true)
    }

    fn of(
        book: &Book,
        asked: &[Asked],
        probes: usize,
        scoring: Scoring,
        kept: bool,
    ) -> Result<Self, EvidenceError> {
        let mut seen = BTreeSet::new();
        for slot in asked {
            check(book, slot, probes, kept)?;
            if !seen.insert(&slot.pick) {
                return Err(EvidenceError::Twice(slot.pick.clone()));
            }
        }
        let habits = Habits::of(book, asked);
        let mut choices = Choices::new();
        let mut silent = 0;
        for (cluster, slot) in clusters(asked.iter().map(|slot| &slot.pick)).into_iter().zip(asked) {
            let counts = counts(book, slot, if scoring == Scoring::First { 1 } else { probes })?;
            silent += u64::from(counts.iter().all(|count| *count == 0));
            let scores = match scoring {
                Scoring::First | Scoring::Counts => counts.iter().map(|count| to_f64(*count)).collect(),
                Scoring::Remembered => {
                    remembered(&counts, probes as u64, &habits.of_slot(book, slot.pick.slot))
                }
            };
            choices.add(slot.pick.clone(), &scores, cluster)?;
        }
        let scale = if scoring == Scoring::Remembered { Scale::Max } else { Scale::Unit };
        Ok(Self { choices: choices.whole(scale), slots: asked.len() as u64, silent })
    }

    pub(super) fn of_choices(choices: WholeChoices<Pick>, slots: u64, silent: u64) -> Self {
        Self { choices, slots, silent }
    }

    /// The scores, slot by slot.
    pub fn choices(&self) -> &WholeChoices<Pick> {
        &self.choices
    }

    /// Opens the picks under an epoch's key, one draw a slot.
    ///
    /// # Errors
    /// A slot whose key was not handed over. Any pick in its place would be known beforehand, and slots that are left out
    /// because their keys are not at hand would be a choice after the fact.
    pub fn open(&self, picks: &Picks<'_>) -> Result<Draws, EvidenceError> {
        self.open_weighed(picks, 1)
    }

    /// Opens the picks under the unrelated keys of several epochs, each with its weight, as one set of draws.
    ///
    /// # Errors
    /// As [`Evidence::open`]; no epoch, or one that is there twice.
    pub fn open_pooled(&self, picks: &[(Picks<'_>, u8)]) -> Result<Draws, EvidenceError> {
        let mut pooled: Option<Draws> = None;
        for (picks, weight) in picks {
            let draws = self.open_weighed(picks, *weight)?;
            pooled = Some(match pooled {
                None => draws,
                Some(earlier) => earlier.pool(draws)?,
            });
        }
        pooled.ok_or(EvidenceError::NoPicks)
    }

    fn open_weighed(&self, picks: &Picks<'_>, weight: u8) -> Result<Draws, EvidenceError> {
        let mut missing = None;
        let draws = self.choices.open_weighed(weight, picks.origin(), |pick| {
            picks.sibling(pick).unwrap_or_else(|| {
                missing.get_or_insert_with(|| pick.clone());
                0
            })
        });
        missing.map_or(Ok(draws), |pick| Err(EvidenceError::NoKey(pick)))
    }
}

/// A test that goes slot by slot: which slot comes next, and whether one does, may depend on those opened so far. Its only
/// verdict is the e-process.
#[derive(Debug)]
pub struct Sequence<'a> {
    book: &'a Book,
    probes: usize,
    opened: BTreeSet<Pick>,
    heaviest: u8,
    steps: Vec<Step>,
}

impl<'a> Sequence<'a> {
    /// Nothing opened yet; each slot gets `probes` answers.
    pub fn new(book: &'a Book, probes: usize) -> Self {
        Self { book, probes, opened: BTreeSet::new(), heaviest: 1, steps: Vec::new() }
    }

    /// Scores one slot by its counts, opens its pick and closes it.
    ///
    /// # Errors
    /// As [`Evidence::new`]; a slot that was opened before stays as it was scored then.
    pub fn open(&mut self, asked: &Asked, picks: &Picks<'_>) -> Result<(), EvidenceError> {
        self.open_pooled(asked, &[(*picks, 1)])
    }

    /// The same under the unrelated keys of several epochs, each with its weight: one draw a key.
    ///
    /// # Errors
    /// As [`Sequence::open`], and a key that is there twice.
    pub fn open_pooled(&mut self, asked: &Asked, picks: &[(Picks<'_>, u8)]) -> Result<(), EvidenceError> {
        let keys: BTreeSet<Origin> = picks.iter().map(|(picks, _)| picks.origin()).collect();
        if keys.len() != picks.len() {
            return Err(SameOrigin.into());
        }
        check(self.book, asked, self.probes, false)?;
        let sibling = |(picks, weight): &(Picks<'_>, u8)| {
            let sibling =
                picks.sibling(&asked.pick).ok_or_else(|| EvidenceError::NoKey(asked.pick.clone()))?;
            Ok((sibling, *weight))
        };
        let siblings: Vec<(u32, u8)> = picks.iter().map(sibling).collect::<Result<_, EvidenceError>>()?;
        if !self.opened.insert(asked.pick.clone()) {
            return Err(EvidenceError::Twice(asked.pick.clone()));
        }
        let counts: Result<Vec<i32>, _> =
            counts(self.book, asked, self.probes)?.into_iter().map(i32::try_from).collect();
        let scores = Scores::new(&counts.unwrap_or_default())?;
        let cluster = u32::try_from(self.opened.len() - 1).unwrap_or(u32::MAX);
        for (sibling, weight) in siblings {
            self.steps.push(Step::choice_weighed(weight, scores, cluster, sibling));
            self.heaviest = self.heaviest.max(weight);
        }
        Ok(())
    }

    /// The e-process over the slots in their order, with bets on `shares` of them being remembered.
    ///
    /// # Errors
    /// No slot whose answers named a sibling; shares that are none.
    pub fn summary(&self, shares: &[f64]) -> Result<Summary, TestError> {
        let a_max = to_f64(self.probes.max(1) as u64) * f64::from(self.heaviest);
        Summary::of_reading(&self.steps, a_max, shares)
    }
}

fn check(book: &Book, asked: &Asked, probes: usize, kept: bool) -> Result<(), EvidenceError> {
    check_slot(book, asked.pick.slot, kept)?;
    let answers = asked.answers.len();
    if answers == probes {
        Ok(())
    } else {
        Err(EvidenceError::Probes { pick: asked.pick.clone(), answers, planned: probes })
    }
}

/// Picks of one slot, by several accounts, are one cluster: they share its answers.
pub(super) fn clusters<'p>(picks: impl Iterator<Item = &'p Pick>) -> Vec<u32> {
    let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
    let number = |pick: &Pick| {
        let next = u32::try_from(seen.len()).unwrap_or(u32::MAX);
        *seen.entry(pick.slot).or_insert(next)
    };
    picks.map(number).collect()
}

/// A slot of the book, of those kept for a replication or of the others.
pub(super) fn check_slot(book: &Book, slot: u64, kept: bool) -> Result<(), EvidenceError> {
    if book.siblings(slot).is_none() {
        return Err(EvidenceError::Unknown(slot));
    }
    match (book.is_closed(slot), kept) {
        (true, false) => Err(EvidenceError::Closed(slot)),
        (false, true) => Err(EvidenceError::NotKept(slot)),
        _ => Ok(()),
    }
}

/// How many of the first `answers` name each sibling.
fn counts(book: &Book, asked: &Asked, answers: usize) -> Result<Vec<u64>, EvidenceError> {
    let slot = asked.pick.slot;
    let mut counts = vec![0; book.siblings(slot).unwrap_or_default() as usize];
    for sibling in asked.answers.iter().take(answers).filter_map(|answer| answer.sibling()) {
        *counts.get_mut(sibling).ok_or(EvidenceError::Unknown(slot))? += 1;
    }
    Ok(counts)
}

/// f(k) of [`Scoring::Remembered`], less its smallest value, so that a slot without a named sibling is all zeros.
fn remembered(counts: &[u64], answers: u64, habits: &[f64]) -> Vec<f64> {
    let score = |(count, habit): (&u64, &f64)| {
        let named = ln((FOLLOWED + (1.0 - FOLLOWED) * habit) / habit);
        let ratio = to_f64(*count) * named + to_f64(answers - count) * ln_1p(-FOLLOWED);
        ln(1.0 - LEARNED + LEARNED * exp(ratio))
    };
    let scores: Vec<f64> = counts.iter().zip(habits).map(score).collect();
    if counts.iter().all(|count| *count == 0) {
        return vec![0.0; scores.len()];
    }
    let least = scores.iter().copied().fold(f64::INFINITY, f64::min);
    scores.iter().map(|score| score - least).collect()
}

/// How many slots a suspect that learned is taken to remember.
const LEARNED: f64 = 0.05;
/// How many of its answers to such a slot are taken to give the sibling.
const FOLLOWED: f64 = 0.5;

/// How often each text is named where it is a sibling, over all slots of its class.
struct Habits {
    /// Text → (times named, answers where it could have been).
    texts: BTreeMap<(u64, usize), (u64, u64)>,
}

impl Habits {
    fn of(book: &Book, asked: &[Asked]) -> Self {
        let mut texts: BTreeMap<(u64, usize), (u64, u64)> = BTreeMap::new();
        for slot in asked {
            for (sibling, text) in book.texts(slot.pick.slot).into_iter().enumerate() {
                let named = slot.answers.iter().filter(|answer| answer.sibling() == Some(sibling)).count();
                let entry = texts.entry(text).or_default();
                *entry = (entry.0 + named as u64, entry.1 + slot.answers.len() as u64);
            }
        }
        Self { texts }
    }

    /// The habit of each sibling of a slot: (named + 1) / (asked + K).
    fn of_slot(&self, book: &Book, slot: u64) -> Vec<f64> {
        let texts = book.texts(slot);
        let siblings = texts.len() as u64;
        let habit = |text: &(u64, usize)| {
            let (named, asked) = self.texts.get(text).copied().unwrap_or_default();
            to_f64(named + 1) / to_f64(asked + siblings)
        };
        texts.iter().map(habit).collect()
    }
}
