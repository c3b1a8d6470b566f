//! One test under several unrelated keys: epochs, widths, schemes.
//!
//! Draws under different keys are independent given evidence that depends on none of them, even where they are read off
//! the same text: the keys are derived by a PRF under names of their own. So they pool into one S without a correction,
//! with weights that a plan fixed. What would break it: a key that is in twice, or coefficients that one of the keys
//! marked.
//!
//! The weighted coefficients of all keys are rounded by *one* scale. A scale for each key would let the commonest pair of
//! its windows, which no plan knows beforehand, decide how the keys compare; and the sum stays on one lattice with
//! coefficients up to 127, whose tail is exact as that of a single key is.

use std::collections::BTreeSet;

use super::{Bulk, Coin, Counted, Evidence, Exchange, ScoreError, Skipped, TextStatistic, Windows};
use crate::law::{Draws, Origin, Scale, Tally};
use crate::scheme::Scheme;
use crate::token::Width;

/// Coefficients of one key before they are rounded.
#[derive(Clone, Debug)]
pub struct Unrounded {
    pub(super) width: Width,
    pub(super) windows: Windows,
    pub(super) tally: Tally<Coin>,
    pub(super) scale: Scale,
    pub(super) marked_under: BTreeSet<Origin>,
    pub(super) skipped: Skipped,
    pub(super) positions: u64,
}

impl Unrounded {
    /// Counts text, given with the numbers of its clusters, for windows of `width`: as [`super::count`].
    ///
    /// # Errors
    /// As [`super::count`].
    pub fn text<'e>(
        width: Width,
        exchanges: impl IntoIterator<Item = (u32, &'e Exchange)>,
        statistic: TextStatistic,
    ) -> Result<Self, ScoreError> {
        let mut bulk = Bulk::new(width, statistic);
        for (cluster, exchange) in exchanges {
            bulk.add(exchange, cluster)?;
        }
        Ok(bulk.unrounded())
    }

    /// Rounds them by the scale of their own.
    pub fn round(self) -> Evidence {
        let Self { width, windows, tally, scale, marked_under, skipped, positions } = self;
        Evidence { width, windows, whole: tally.whole(scale), marked_under, skipped, positions }
    }
}

/// What one test counted for each of its keys, before any key was touched.
#[derive(Clone, Debug)]
pub struct Pooled {
    keys: Vec<Counted>,
}

impl Pooled {
    /// The coefficients of one statistic for several keys, each with the weight of its key, in the order of the keys.
    pub fn new(weighed: Vec<(Unrounded, u8)>) -> Self {
        let scale = weighed.first().map_or(Scale::Unit, |(first, _)| first.scale);
        let (mut tallies, mut rests) = (Vec::new(), Vec::new());
        for (Unrounded { width, windows, tally, marked_under, skipped, positions, .. }, weight) in weighed {
            tallies.push((tally, weight));
            rests.push((width, windows, marked_under, skipped, positions));
        }
        let evidence = |((width, windows, marked_under, skipped, positions), whole)| {
            Counted::from(Evidence { width, windows, whole, marked_under, skipped, positions })
        };
        Self { keys: rests.into_iter().zip(Tally::whole_together(tallies, scale)).map(evidence).collect() }
    }

    /// What was counted for each key.
    pub fn keys(&self) -> &[Counted] {
        &self.keys
    }

    /// Opens all draws, each key's under its scheme, `schemes` in the order of the keys.
    ///
    /// # Errors
    /// As [`Evidence::open`]; a key that is in twice; another number of schemes than of keys.
    pub fn open(&self, schemes: &[Scheme]) -> Result<Draws, ScoreError> {
        if schemes.len() != self.keys.len() {
            return Err(ScoreError::Keys { counted: self.keys.len(), schemes: schemes.len() });
        }
        let opened = self.keys.iter().zip(schemes).map(|(counted, scheme)| counted.open(scheme));
        let pool = |pooled: Option<Draws>, draws: Result<Draws, ScoreError>| match (pooled, draws?) {
            (None, draws) => Ok(Some(draws)),
            (Some(pooled), draws) => Ok::<_, ScoreError>(Some(pooled.pool(draws)?)),
        };
        opened.into_iter().try_fold(None, pool)?.ok_or(ScoreError::NoArm)
    }

    /// What gave no draw of its own, counted under each key.
    pub fn skipped(&self) -> Skipped {
        self.keys.iter().fold(Skipped::default(), |mut all, key| {
            all += key.skipped();
            all
        })
    }
}

impl From<Counted> for Pooled {
    /// One key.
    fn from(counted: Counted) -> Self {
        Self { keys: vec![counted] }
    }
}
