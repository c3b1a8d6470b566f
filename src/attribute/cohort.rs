//! Cohorts: at most sixteen groups of accounts, each with a key of its own, drawn anew in every epoch.
//!
//! A suspect's text gives one score for each cohort's key. If it learned from an account set F, the scores are high where
//! F's traffic was. What makes that a test is that the *key* put F's accounts where they were:
//!
//! ```text
//! T = Σ_{epoch, account of F} weight · score[epoch][cohort(epoch, account)]
//! ```
//!
//! is a sum of keyed choices, one a seat, each uniform on the cohorts. Its null is every other assignment that the key
//! could have made of F's accounts, and its tail is exact ([`Choices`]).
//!
//! It is *not* a permutation of accounts: other sets of the same size are not exchangeable with F, whose accounts are
//! heavier and earlier than others, and such a test rejects innocents.

use std::collections::BTreeMap;

use crate::key::{Audience, EpochKey, Label};
use crate::law::{Choices, Draws, Origin, SameOrigin, Scale, ScoresError};
use crate::stat::math::{ceil_to_u64, to_f64};

/// The most cohorts that are live at a time: n of them cost a factor n² in one's tokens.
pub const COHORTS_MAX: u32 = 16;

/// The heaviest weight of an account. Scores have up to 15, so that products stay within what a draw can count.
pub const WEIGHT_MAX: u8 = 8;

/// How far a rounded score goes.
const SCORE_MAX: f64 = 15.0;

/// How many cohorts an operator runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cohorts(u32);

/// What cannot be tested over cohorts.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CohortError {
    /// Fewer than two or more than sixteen.
    #[error("{0} cohorts; 2 to {COHORTS_MAX} can be live at a time")]
    Number(u32),
    /// An epoch with another number of scores.
    #[error("epoch {epoch} has {scores} scores where there are {cohorts} cohorts")]
    Scores {
        /// The epoch, counted from 0.
        epoch: usize,
        /// Its scores.
        scores: usize,
        /// The cohorts.
        cohorts: u32,
    },
    /// A score that is no number.
    #[error("epoch {0} has a score that is not a finite number")]
    NotFinite(usize),
    /// One epoch that is there twice.
    #[error("one epoch is there twice: its assignments would count twice")]
    Twice(#[from] SameOrigin),
    /// Scores that no draw has.
    #[error(transparent)]
    Draw(#[from] ScoresError),
}

/// One epoch: its key, the suspect's score for each cohort's key, and the traffic of the accounts under suspicion.
#[derive(Clone, Debug)]
pub struct Period<'a> {
    /// The epoch's key.
    pub key: &'a EpochKey,
    /// One score for each cohort, such as the z of a [`crate::stat::verdict::Summary`] under its key.
    pub scores: Vec<f64>,
    /// Requests of each account of F in the epoch.
    pub requests: BTreeMap<String, u64>,
}

impl Cohorts {
    /// `number` cohorts.
    ///
    /// # Errors
    /// Not 2 to 16.
    pub fn new(number: u32) -> Result<Self, CohortError> {
        if (2..=COHORTS_MAX).contains(&number) { Ok(Self(number)) } else { Err(CohortError::Number(number)) }
    }

    /// How many.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The cohort of `account` in the key's epoch, from 0: the pick of `cohort/1/c<number>/for/account/<hash>`. Another
    /// epoch has another key, so accounts are drawn anew.
    pub fn of(self, key: &EpochKey, account: &str) -> u32 {
        key.scheme_key(&self.label().audience(Audience::Account, account)).pick(self.0)
    }

    /// The label of one cohort's own key for a scheme: `<scheme>/for/cohort/<hash of its number>`.
    pub fn scheme_label(scheme: &Label, cohort: u32) -> Label {
        scheme.audience(Audience::Cohort, &cohort.to_string())
    }

    /// The draws of T: one for each account of F in each epoch.
    ///
    /// *Null assumption*: the scores do not depend on which cohorts the accounts of F were put into. They may depend on
    /// everybody else's, so a suspect that learned from other accounts is no rejection. Broken by accounts that joined F
    /// because of their cohort's score, and by traffic that was steered by cohort.
    ///
    /// # Errors
    /// An epoch twice, or scores that are not one finite number for each cohort.
    pub fn draws(self, periods: &[Period<'_>]) -> Result<Draws, CohortError> {
        for (epoch, period) in periods.iter().enumerate() {
            let (scores, cohorts) = (period.scores.len(), self.0);
            if scores != cohorts as usize {
                return Err(CohortError::Scores { epoch, scores, cohorts });
            }
            if period.scores.iter().any(|score| !score.is_finite()) {
                return Err(CohortError::NotFinite(epoch));
            }
        }
        let largest = periods.iter().flat_map(|period| &period.scores).fold(0.0, |a: f64, b| a.max(b.abs()));
        let most = periods.iter().flat_map(|period| period.requests.values()).copied().max().unwrap_or(0);
        let mut clusters: BTreeMap<&String, u32> = BTreeMap::new();
        let mut pooled: Option<Draws> = None;
        for period in periods {
            let draws = self.seats(period, largest, most, &mut clusters)?;
            pooled = Some(match pooled {
                Some(pooled) => pooled.pool(draws)?,
                None => draws,
            });
        }
        Ok(pooled
            .unwrap_or_else(|| Choices::<&String>::new().whole(Scale::Unit).open(Origin([0; 32]), |_| 0)))
    }

    /// The seats of one epoch, opened.
    fn seats<'a>(
        self,
        period: &'a Period<'_>,
        largest: f64,
        most: u64,
        clusters: &mut BTreeMap<&'a String, u32>,
    ) -> Result<Draws, CohortError> {
        let mut choices = Choices::new();
        for (account, requests) in period.requests.iter().filter(|(_, requests)| **requests > 0) {
            let next = u32::try_from(clusters.len()).unwrap_or(u32::MAX);
            let cluster = *clusters.entry(account).or_insert(next);
            let weight = weight(*requests, most);
            let scores: Vec<f64> =
                period.scores.iter().map(|score| weight * rounded(*score, largest)).collect();
            choices.add(account, &scores, cluster)?;
        }
        let origin = Origin(period.key.scheme_key(&self.label()).commitment().0);
        Ok(choices.whole(Scale::Unit).open(origin, |account| self.of(period.key, account)))
    }

    fn label(self) -> Label {
        Label::known(format!("cohort/1/c{}", self.0))
    }
}

/// 1 to 8, by traffic: few weights keep the tail of many accounts quick.
fn weight(requests: u64, most: u64) -> f64 {
    let weight = to_f64(u64::from(WEIGHT_MAX)) * to_f64(requests) / to_f64(most.max(1));
    to_f64(ceil_to_u64(weight).clamp(1, WEIGHT_MAX.into()))
}

/// −15 to 15.
fn rounded(score: f64, largest: f64) -> f64 {
    if largest > 0.0 { (SCORE_MAX * score / largest).round_ties_even() } else { 0.0 }
}
