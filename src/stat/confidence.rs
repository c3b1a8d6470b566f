//! A confidence sequence for an effect: intervals that all hold at once, so one may look after every exchange.
//!
//! [`super::estimate`] gives a 95 % interval for a number of exchanges that was fixed beforehand, by a normal
//! approximation. Watched while answers come in, it misses the truth sooner or later far more often than that.
//! Here the interval consists of the ratios m that no bet has refuted yet. Against each m runs a fair game
//!
//! ```text
//! Π (1 + c (Aᵢ − m Wᵢ) / (m W_max)),      A and W the sum and the weight of an exchange, 0 ≤ A ≤ W ≤ W_max,
//! ```
//!
//! averaged over planned stakes c < 1, and its mirror image from above. At the true ratio both are nonnegative
//! martingales that start at 1, so each *ever* reaches 2/α with chance at most α/2 (Ville 1939). No approximation,
//! no variance, no number of exchanges to plan. (Waudby-Smith and Ramdas 2024, *Estimating means of bounded random
//! variables by betting*, §4.) What it costs: with few exchanges it is one and a half to five times as wide as the
//! normal interval, because all that it knows of an exchange are its bounds.

use super::estimate::Cluster;
use super::math::to_f64;

/// What is known of every exchange before it is seen: the width of the interval is in units of these.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// `sum` / `weight` lies in here: [0, 1] for a green rate with coefficients that are not negative, [−1, 1] for
    /// Σ a (X − E X) / Σ |a|.
    pub ratio: [f64; 2],
    /// The largest `weight`: that of the longest answer the plan allows.
    pub weight: f64,
}

/// The ratio E `sum` / E `weight` of exchanges, at any time.
///
/// *The quantity*: the R with E(sumᵢ − R weightᵢ | exchanges before) = 0 for each exchange i. For exchanges that
/// are independent draws from one population of prompts, R is the ratio of the expectations, to which
/// [`super::estimate::ratio_estimate`] tends; for exchangeable ones it is the limit of that estimate. Fed with
/// (rate, 1) it is the mean of the exchanges' own rates. It describes this suspect under this key, and says
/// nothing about chance: whether R differs from the rate under H0 is tested on draws.
///
/// *Assumption*: exchanges, in plan order, share one R. Draws *within* an exchange may depend on each other in
/// any way. Broken by exchanges that continue each other, by feeding draws as if they were exchanges, by an
/// order chosen by outcome, and by a rate that drifts, as it may when only first occurrences count.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfidenceSequence {
    bounds: Bounds,
    refuted_at: f64,
    below: Games,
    above: Games,
}

/// Why a sequence cannot start or go on. A refused exchange leaves it as it was.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfidenceError {
    /// A level outside (0, 1).
    #[error("{0} is no level strictly between 0 and 1")]
    Level(f64),
    /// Bounds that bound nothing.
    #[error("the bounds {0:?} do not enclose a range of finite numbers and a positive weight")]
    Bounds(Bounds),
    /// An exchange outside the bounds: leaving it out would be choosing by outcome.
    #[error("the exchange {0:?} lies outside the planned bounds")]
    Unplanned(Cluster),
}

impl ConfidenceSequence {
    /// Nothing seen: the whole range. All intervals together miss R with probability at most `alpha`.
    ///
    /// # Errors
    /// A level outside (0, 1); bounds that are empty or infinite.
    pub fn new(alpha: f64, bounds: Bounds) -> Result<Self, ConfidenceError> {
        let [low, high] = bounds.ratio;
        let enclosing =
            low < high && (high - low).is_finite() && bounds.weight > 0.0 && bounds.weight.is_finite();
        if !(alpha > 0.0 && alpha < 1.0) {
            return Err(ConfidenceError::Level(alpha));
        }
        if !enclosing {
            return Err(ConfidenceError::Bounds(bounds));
        }
        // A billion factors are rounded by less than the last term.
        let refuted_at = 2.0 / alpha * (1.0 + 1e-6);
        Ok(Self { bounds, refuted_at, below: Games::new(), above: Games::new() })
    }

    /// Takes the next exchange; one without weight says nothing.
    ///
    /// # Errors
    /// A weight or a ratio outside the bounds.
    pub fn add(&mut self, exchange: Cluster) -> Result<(), ConfidenceError> {
        let [low, high] = self.bounds.ratio;
        let Cluster { sum, weight } = exchange;
        let (hits, slack) = ((sum - low * weight) / (high - low), 1e-9 * weight);
        let possible =
            0.0 <= weight && weight <= self.bounds.weight && -slack <= hits && hits <= weight + slack;
        if !possible {
            return Err(ConfidenceError::Unplanned(exchange));
        }
        let (hits, weight) = (hits / self.bounds.weight, weight / self.bounds.weight);
        let hits = hits.clamp(0.0, weight);
        self.below.play(hits, weight, self.refuted_at);
        self.above.play(weight - hits, weight, self.refuted_at);
        Ok(())
    }

    /// The ratios that were never refuted, rounded outwards to a thousandth of the range. None when there are no
    /// such: then the exchanges do not share one ratio.
    #[must_use]
    pub fn interval(&self) -> Option<[f64; 2]> {
        let [low, high] = self.bounds.ratio;
        let (below, above) = (self.below.refuted, self.above.refuted);
        let step = (high - low) / to_f64(STEPS);
        let end = |refuted: u64| to_f64(refuted) * step;
        (below + above < STEPS).then(|| [low + end(below), high - end(above)])
    }
}

/// One side: a game for each m = 1/N, 2/N, …, all of which bet that the ratio is above m.
///
/// Every factor falls with m, so at any time those that were won are the first few.
#[derive(Clone, Debug, PartialEq)]
struct Games {
    capital: Vec<[f64; STAKES.len()]>,
    refuted: u64,
}

impl Games {
    fn new() -> Self {
        Self { capital: (1..STEPS).map(|_| [1.0; STAKES.len()]).collect(), refuted: 0 }
    }

    fn play(&mut self, hits: f64, weight: f64, refuted_at: f64) {
        let before = self.refuted;
        let mut won_all_below = true;
        for (step, capital) in (1..).zip(&mut self.capital).skip_while(|(step, _)| *step <= before) {
            let gain = hits * to_f64(STEPS) / to_f64(step) - weight;
            capital.iter_mut().zip(STAKES).for_each(|(capital, stake)| *capital *= 1.0 + stake * gain);
            won_all_below &= mean(capital) >= refuted_at;
            if won_all_below {
                self.refuted = step;
            }
        }
    }
}

fn mean(capital: &[f64; STAKES.len()]) -> f64 {
    capital.iter().sum::<f64>() / STAKES.iter().fold(0.0, |n, _| n + 1.0)
}

/// The shares of the most that can be staked without ruin; each plays its own game.
const STAKES: [f64; 10] =
    [0.95, 0.5, 0.25, 0.125, 0.0625, 0.031_25, 0.015_625, 0.007_812_5, 0.003_906_25, 0.001_953_125];

/// How finely the range is divided.
const STEPS: u64 = 1024;
