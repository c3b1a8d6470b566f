//! Whether a test keeps its word: how often it rejects under H0, run under many keys that marked nothing.
//!
//! A valid test rejects at level α with probability at most α. It may reject less often: on a lattice only some levels
//! can be attained ([`attainable`](super::attainable)), and a bound attains less than it says. So a rate above the
//! *attainable* level is a fault and one below α is a price, and both are printed.
//!
//! Many tests, innocents and levels make a table, and of enough cells some stand out by chance: limits are those of the
//! whole table, each cell's share of one error in a thousand (Bonferroni).
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
    /// The chance of p ≤ α for these draws: at most α.
    pub attainable: f64,
    /// Keys with p ≤ α.
    pub rejected: u64,
    /// Their share of all keys.
    pub rate: f64,
    /// The 95 % interval of the true rate (Clopper and Pearson 1934).
    pub interval: [f64; 2],
    /// The most rejections at the attainable level that any cell of the table shows but once in a thousand tables.
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
    /// What `above` exceeds in any cell but once in a thousand tables of valid tests: √(ln(1000 cells) / 2n) (Massart 1990).
    pub above_limit: f64,
}

impl Calibration {
    /// Compares ln p-values under H0 with the uniform law, at levels given as (level, the level attainable), in a table of
    /// `cells` such comparisons: each level is one, the distance another.
    ///
    /// # Errors
    /// A level that is not strictly between 0 and 1.
    pub fn of(ln_p: &[f64], levels: &[(f64, f64)], cells: u64) -> Result<Self, RateError> {
        let keys = ln_p.len() as u64;
        let n = to_f64(keys.max(1));
        let level = |&(level, attainable): &(f64, f64)| {
            let rejected = ln_p.iter().filter(|p| **p <= ln(level)).count() as u64;
            Level::of(level, attainable, rejected, keys, cells)
        };
        let levels = levels.iter().map(level).collect::<Result<_, _>>()?;
        let mut p: Vec<f64> = ln_p.iter().map(|ln_p| exp(*ln_p)).collect();
        p.sort_by(f64::total_cmp);
        let (mut above, mut below) = (0.0_f64, 0.0_f64);
        for (p, rank) in p.iter().zip(0_u64..) {
            above = above.max(to_f64(rank + 1) / n - p);
            below = below.max(p - to_f64(rank) / n);
        }
        Ok(Self {
            keys,
            levels,
            above,
            below,
            above_limit: sqrt(ln(1_000.0 * to_f64(cells.max(1))) / (2.0 * n)),
        })
    }

    /// Whether nothing rejected more often than a valid test would.
    pub fn is_valid(&self) -> bool {
        self.levels.iter().all(Level::is_valid) && self.above <= self.above_limit
    }
}

impl Level {
    /// `rejected` of `keys`, which are independent, in a table of `cells`. `attainable` is P(p ≤ `level`), or more.
    ///
    /// # Errors
    /// A level that is not strictly between 0 and 1.
    pub fn of(level: f64, attainable: f64, rejected: u64, keys: u64, cells: u64) -> Result<Self, RateError> {
        let confidence = 1.0 - 1e-3 / to_f64(cells.max(1));
        Rate::nearest(level)?;
        let limit = match Rate::nearest(attainable) {
            Ok(rate) => binomial_upper_limit(keys, rate, confidence),
            // Certain, or attained with a chance below 2⁻⁵⁴.
            Err(_) => {
                if attainable >= 0.5 {
                    keys
                } else {
                    0
                }
            }
        };
        let rate = to_f64(rejected) / to_f64(keys.max(1));
        Ok(Self { level, attainable, rejected, rate, interval: interval(rejected, keys, 0.05), limit })
    }

    /// Whether a valid test shows as many rejections.
    pub fn is_valid(&self) -> bool {
        self.rejected <= self.limit
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
        let levels = [(0.1, 0.1), (0.01, 0.01)];
        let fair = Calibration::of(&uniform, &levels, 1).unwrap();
        assert!(fair.is_valid() && fair.levels[0].rejected == 100 && fair.levels[1].rejected == 10);
        assert!((fair.above - 0.000_5).abs() < 1e-9 && (fair.below - 0.000_5).abs() < 1e-9);
        let squared: Vec<f64> = uniform.iter().map(|ln_p| 2.0 * ln_p).collect();
        let unfair = Calibration::of(&squared, &levels, 1).unwrap();
        assert!(!unfair.is_valid() && (unfair.above - 0.25).abs() < 0.01);
        let cautious: Vec<f64> = uniform.iter().map(|ln_p| ln_p / 2.0).collect();
        assert!(Calibration::of(&cautious, &levels, 1).unwrap().is_valid());
        assert!(Calibration::of(&uniform, &[(0.0, 0.0)], 1).is_err());
    }

    #[test]
    fn a_rate_is_held_against_the_level_that_can_be_attained() {
        // 200 fair coins attain 7.008e-4 at 1e-3 (the next level up is 1.14e-3). A test that rejects one hit too early has
        // rate 1.14e-3: of 100,000 keys 114, which the nominal level would let pass.
        let keys = 100_000;
        let of = |attainable, rejected| Level::of(1e-3, attainable, rejected, keys, 1).unwrap();
        let (exact, nominal) = (of(7.008e-4, 114), of(1e-3, 114));
        assert!(!exact.is_valid() && nominal.is_valid(), "{exact:?} {nominal:?}");
        // The smallest c with P(Bin(100,000, rate) > c) ≤ 0.001, by adding the terms.
        assert_eq!((exact.limit, nominal.limit), (97, 132));
        assert_eq!(of(0.0, 0).limit, 0);
    }

    #[test]
    fn the_more_cells_a_table_has_the_wider_is_each_of_them() {
        let of = |cells| Level::of(1e-2, 1e-2, 0, 1_000, cells).unwrap().limit;
        assert!(of(1) < of(40) && of(40) < of(4_000), "{} {} {}", of(1), of(40), of(4_000));
        let distance = |cells| Calibration::of(&[-1.0; 100], &[], cells).unwrap().above_limit;
        assert!((distance(1) - 0.185_846_1).abs() < 1e-6 && (distance(10) - 0.214_596_6).abs() < 1e-6);
    }
}
