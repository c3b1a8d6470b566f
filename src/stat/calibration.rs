//! Whether a test keeps its word: how often it rejects under H0, run under many keys that marked nothing.
//!
//! A valid test rejects at level α with probability at most α. It may reject less often: on a lattice only some levels
//! can be attained, and a bound attains less than it says. So a rate above the level is a fault and one below is a price,
//! and both are printed.
//!
//! *Assumes* that the p-values come from unrelated keys over evidence that none of them touched, so that they are
//! independent given the evidence. Broken by evidence that was chosen by looking at one of the keys.

use serde::Serialize;

use super::math::{exp, ln, ln_1m_exp, sqrt, to_f64};
use super::multiple::binomial_upper_limit;
use super::rate::{Rate, RateError};
use super::tail::binomial_ln_sf;

/// Rejections at one level.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Level {
    /// The nominal level α.
    pub level: f64,
    /// Keys with p ≤ α.
    pub rejected: u64,
    /// Their share of all keys.
    pub rate: f64,
    /// The 95 % interval of the true rate (Clopper and Pearson 1934).
    pub interval: [f64; 2],
    /// The most rejections that a valid test shows but once in a thousand times.
    pub limit: u64,
}

/// The p-values of one test under many keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// The number of keys.
    pub keys: u64,
    /// Rejections at each level asked for.
    pub levels: Vec<Level>,
    /// sup (F̂(p) − p), F̂ the share of p-values at or below p: how far the test rejects too often at its worst.
    pub above: f64,
    /// sup (p − F̂(p)): how far it rejects too rarely at its most cautious.
    pub below: f64,
    /// What `above` exceeds but once in a thousand times for a valid test: √(ln 1000 / 2n) (Massart 1990).
    pub above_limit: f64,
}

impl Calibration {
    /// Compares ln p-values under H0 with the uniform law, at `levels`.
    ///
    /// # Errors
    /// A level that is not strictly between 0 and 1.
    pub fn of(ln_p: &[f64], levels: &[f64]) -> Result<Self, RateError> {
        let keys = ln_p.len() as u64;
        let n = to_f64(keys.max(1));
        let level = |&level: &f64| {
            let rejected = ln_p.iter().filter(|p| **p <= ln(level)).count() as u64;
            Ok(Level {
                level,
                rejected,
                rate: to_f64(rejected) / n,
                interval: interval(rejected, keys, 0.05),
                limit: binomial_upper_limit(keys, Rate::nearest(level)?, 0.999),
            })
        };
        let levels = levels.iter().map(level).collect::<Result<_, _>>()?;
        let mut p: Vec<f64> = ln_p.iter().map(|ln_p| exp(*ln_p)).collect();
        p.sort_by(f64::total_cmp);
        let (mut above, mut below) = (0.0_f64, 0.0_f64);
        for (p, rank) in p.iter().zip(0_u64..) {
            above = above.max(to_f64(rank + 1) / n - p);
            below = below.max(p - to_f64(rank) / n);
        }
        Ok(Self { keys, levels, above, below, above_limit: sqrt(ln(1_000.0) / (2.0 * n)) })
    }

    /// Whether nothing rejected more often than a valid test would.
    pub fn is_valid(&self) -> bool {
        self.levels.iter().all(|level| level.rejected <= level.limit) && self.above <= self.above_limit
    }
}

/// The exact two-sided interval for a rate after `hits` of `n`: each end leaves half of `error` beyond it.
///
/// Clopper and Pearson 1934. [0, 1] for no trials.
pub fn interval(hits: u64, n: u64, error: f64) -> [f64; 2] {
    let half = ln(error / 2.0);
    let tail = |p: f64, upper: bool| match Rate::nearest(p) {
        Ok(rate) if upper => binomial_ln_sf(n, hits, rate),
        Ok(rate) => ln_1m_exp(binomial_ln_sf(n, hits + 1, rate)),
        Err(_) => f64::NEG_INFINITY,
    };
    // P(X ≥ hits) rises with p, P(X ≤ hits) falls.
    let low = if hits == 0 { 0.0 } else { bisect(|p| tail(p, true) >= half) };
    let high = if hits >= n { 1.0 } else { bisect(|p| tail(p, false) < half) };
    [low, high]
}

/// The place in (0, 1) where `is_above` turns true.
fn bisect(is_above: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if is_above(middle) { high = middle } else { low = middle }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_clopper_and_pearson() {
        // Known answers: 5 of 100 (R's binom.test), none of 10 (1 − 0.025^(1/10)), all of 10.
        let close = |found: [f64; 2], wanted: [f64; 2]| {
            found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-6)
        };
        assert!(
            close(interval(5, 100, 0.05), [0.016_431_879, 0.112_834_914]),
            "{:?}",
            interval(5, 100, 0.05)
        );
        let top = 1.0 - exp(ln(0.025) / 10.0);
        assert!(close(interval(0, 10, 0.05), [0.0, top]));
        assert!(close(interval(10, 10, 0.05), [1.0 - top, 1.0]));
        assert!(close(interval(0, 0, 0.05), [0.0, 1.0]));
    }

    #[test]
    fn uniform_p_values_are_valid_and_too_small_ones_are_not() {
        let uniform: Vec<f64> = (0..1_000).map(|i| ln((f64::from(i) + 0.5) / 1_000.0)).collect();
        let levels = [0.1, 0.01];
        let fair = Calibration::of(&uniform, &levels).unwrap();
        assert!(fair.is_valid() && fair.levels[0].rejected == 100 && fair.levels[1].rejected == 10);
        assert!((fair.above - 0.000_5).abs() < 1e-9 && (fair.below - 0.000_5).abs() < 1e-9);
        let squared: Vec<f64> = uniform.iter().map(|ln_p| 2.0 * ln_p).collect();
        let unfair = Calibration::of(&squared, &levels).unwrap();
        assert!(!unfair.is_valid() && (unfair.above - 0.25).abs() < 0.01);
        let cautious: Vec<f64> = uniform.iter().map(|ln_p| ln_p / 2.0).collect();
        assert!(Calibration::of(&cautious, &levels).unwrap().is_valid());
        assert!(Calibration::of(&uniform, &[0.0]).is_err());
    }
}
