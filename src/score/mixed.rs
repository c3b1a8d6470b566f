//! Text under `mix/1`: two parts with windows of their own, and a keyed coin that says which of them marked a position.
//!
//! # Why the coin may choose
//!
//! A position's draw under part A's key has its law under H0 whether A marked the position or not, so every position
//! could be scored under both parts. But only those of the coin's part carry the mark; the others add noise. Counting
//! them alone is a choice made *with a key*, and valid because it is another key:
//!
//! Let C be the coin's key, K₀ and K₁ those of the parts, E the text and all else. The three keys are derived by a PRF
//! under labels of their own, so they are independent; under H0 E is independent of the three together. A part's
//! coefficients are a function of (E, C) alone: of which (window, token) occur at positions whose coin falls on that
//! part. Given (E, C) the draws under K₀ and under K₁ are therefore still independent with their stated laws, and so
//! P(S ≥ s | E, C) is the exact tail, whatever E and C are. The order matters and is kept by the types: [`Mixed`] is
//! counted without a key, the coin is opened next, and only then are coefficients rounded and handed to a part's key. (So does
//! [`Bulk`](super::Bulk), which sorts text of any size.)
//!
//! What would break it: a coin under a part's own key, or a share that was chosen after a look at draws.
//!
//! The coin belongs to the wider window. A narrow (window, token) occurs at positions with different coins; it counts by
//! its occurrences where the coin falls on its part.

use std::collections::BTreeMap;

use super::walk::{check_input, looked_up, windows_of_prompt};
use super::{
    Coin, Counter, Evidence, Exchange, Numbering, Position, ScoreError, Skipped, TextStatistic, Unrounded,
    Windows, of_arms,
};
use crate::law::{Draws, Tally};
use crate::scheme::{Arm, Scheme, Spec, mix};
use crate::token::Width;

/// Text counted for any spec, before any key was touched.
#[derive(Clone, Debug)]
pub enum Counted {
    /// Draws of one width, or from something else than text.
    Plain(Evidence),
    /// Draws of a mix.
    Mixed(Mixed),
}

impl Counted {
    /// Counts the draws of `exchanges` for `spec`. No key is involved.
    ///
    /// # Errors
    /// As [`super::count`].
    pub fn text<'e>(
        spec: Spec,
        exchanges: impl IntoIterator<Item = (u32, &'e Exchange)>,
        statistic: TextStatistic,
    ) -> Result<Self, ScoreError> {
        match spec {
            Spec::Mix(parameters) => Mixed::count(parameters, exchanges, statistic).map(Self::Mixed),
            _ => Ok(Self::Plain(Unrounded::text(spec.width(), exchanges, statistic)?.round())),
        }
    }

    /// Opens the draws under a key, every arm of it.
    ///
    /// # Errors
    /// As [`Evidence::open`] and [`Mixed::open`].
    pub fn open(&self, scheme: &Scheme) -> Result<Draws, ScoreError> {
        match self {
            Self::Plain(evidence) => evidence.open(scheme),
            Self::Mixed(mixed) => mixed.open(scheme),
        }
    }

    /// Distinct draws with a coefficient other than zero. Of a mix (wider window, token) pairs: how many distinct draws
    /// they make depends on the coin.
    pub fn distinct(&self) -> u64 {
        match self {
            Self::Plain(evidence) => {
                evidence.whole.entries().iter().filter(|entry| entry.coefficient != 0).count() as u64
            }
            Self::Mixed(mixed) => mixed.counts.len() as u64,
        }
    }

    /// The evidence, where it is not a mix's.
    pub fn plain(&self) -> Option<&Evidence> {
        match self {
            Self::Plain(evidence) => Some(evidence),
            Self::Mixed(_) => None,
        }
    }

    /// What gave no draw of its own.
    pub fn skipped(&self) -> Skipped {
        match self {
            Self::Plain(evidence) => evidence.skipped,
            Self::Mixed(mixed) => mixed.skipped,
        }
    }

    /// Answer positions, or rows, looked at.
    pub fn positions(&self) -> u64 {
        match self {
            Self::Plain(evidence) => evidence.positions,
            Self::Mixed(mixed) => mixed.positions,
        }
    }
}

impl From<Evidence> for Counted {
    fn from(evidence: Evidence) -> Self {
        Self::Plain(evidence)
    }
}

/// Text counted for a mix: how often each token follows each *wider* window, before any key was touched.
#[derive(Clone, Debug)]
pub struct Mixed {
    parameters: mix::Parameters,
    statistic: TextStatistic,
    windows: Windows,
    counts: BTreeMap<Coin, Count>,
    /// What gave no draw of its own, at the wider window.
    pub skipped: Skipped,
    /// Answer positions looked at.
    pub positions: u64,
}

/// Occurrences of one (wider window, token).
#[derive(Clone, Copy, Debug)]
struct Count {
    /// By part: those whose window, of that part's width, does not lie in the prompt.
    seen: [u32; 2],
    /// The exchange of the first.
    cluster: u32,
}

impl Mixed {
    /// Counts the draws of `exchanges`, given with the number of their cluster, for a mix: the rules of [`super::count`], each
    /// part's prompt rule at its own width. A position needs the wider window, because the coin does.
    ///
    /// # Errors
    /// Marked inputs where a part has width 0.
    pub fn count<'e>(
        parameters: mix::Parameters,
        exchanges: impl IntoIterator<Item = (u32, &'e Exchange)>,
        statistic: TextStatistic,
    ) -> Result<Self, ScoreError> {
        let widths = parameters.parts.map(mix::Part::width);
        let mut counter = Counter::new(parameters.width());
        let mut counts: BTreeMap<Coin, Count> = BTreeMap::new();
        for (cluster, exchange) in exchanges {
            widths.iter().try_for_each(|width| check_input(*width, exchange))?;
            let context = [&exchange.prompt[..], &exchange.response[..]].concat();
            let excluded = widths.map(|width| windows_of_prompt(width, exchange));
            let positions = counter.exchange(exchange, cluster)?;
            for (at, position) in (exchange.prompt.len()..).zip(positions) {
                let Position::Draw(coin, _) = position else { continue };
                let count = counts.entry(coin).or_insert(Count { seen: [0; 2], cluster });
                for part in 0..2 {
                    let looked_up = looked_up(widths[part], &context, at);
                    count.seen[part] += u32::from(!excluded[part].contains(looked_up));
                }
            }
        }
        let Counter { windows: Numbering { windows, .. }, skipped, positions, .. } = counter;
        Ok(Self { parameters, statistic, windows, counts, skipped, positions })
    }

    /// Opens the coin, then each part's draws at the positions that the coin gives it; their keys are unrelated, so they
    /// pool. (`skipped` and the draws add up to `positions` only where no narrow window repeats.)
    ///
    /// # Errors
    /// A scheme that is not this mix.
    pub fn open(&self, scheme: &Scheme) -> Result<Draws, ScoreError> {
        let coin = scheme.coin().filter(|_| *scheme.spec() == Spec::Mix(self.parameters));
        let coin = coin.ok_or(ScoreError::OtherMix)?;
        let parts: Vec<usize> = self.windows.iter().map(|window| coin.part(window)).collect();
        let opened = |(part, arm): (usize, &Arm)| self.evidence(part, arm.width(), &parts).open_arm(arm);
        of_arms(scheme.arms().iter().enumerate().map(opened), Draws::pool)
    }

    /// The coefficients of one part: by its own windows, of the positions that the coin gives it.
    fn evidence(&self, part: usize, width: Width, parts: &[usize]) -> Evidence {
        let mut windows = Numbering::default();
        let mut counts: BTreeMap<Coin, (u32, u32)> = BTreeMap::new();
        for (wide, count) in &self.counts {
            let window = self.windows.get(wide.window);
            if parts[wide.window as usize] == part && count.seen[part] > 0 {
                let narrow = windows.number(&window[window.len() - width.tokens()..]);
                let sum =
                    counts.entry(Coin { window: narrow, token: wide.token }).or_insert((0, count.cluster));
                *sum = (sum.0 + count.seen[part], sum.1.min(count.cluster));
            }
        }
        let mut tally = Tally::new();
        for (coin, (seen, cluster)) in counts {
            tally.add(coin, f64::from(seen), cluster);
        }
        let (coefficients, scale) = self.statistic.coefficients(tally);
        Evidence {
            width,
            windows: windows.windows,
            whole: coefficients.whole(scale),
            marked_under: std::collections::BTreeSet::new(),
            skipped: Skipped::default(),
            positions: 0,
        }
    }
}
