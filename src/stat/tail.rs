//! Upper tails with a closed form, as ln P(X ≥ k).
//!
//! Each is computed in the tail that is reported: above the mean the terms of the tail itself are added, below
//! it those of the opposite tail, whose complement keeps the digits of ln p near 0. The leading term comes from
//! Loader's deviance form, in which nothing large cancels, so ln p is accurate to a relative 1e-9 (measured:
//! better than 1e-12) from p = 1 − 1e-300 down to far below 1e-308.

use super::math::{LN_SQRT_2PI, UNIT, deviance, exp_m1, ln, ln_1m_exp, stirling_remainder, to_f64};
use super::rate::Rate;

/// ln P(X ≥ `k`) for X ~ Binomial(`n`, `rate`): 0 for `k` = 0, −∞ for `k` > `n`.
///
/// *Null assumption*: n independent draws, each a hit with exactly this chance. Broken by the same coin counted
/// twice (equal PRF inputs must be one draw) and by anything that chooses draws by their outcome.
///
/// Time grows as √n. Source: Loader 2000, *Fast and accurate computation of binomial probabilities*.
#[must_use]
pub fn binomial_ln_sf(n: u64, k: u64, rate: Rate) -> f64 {
    if k == 0 {
        return 0.0;
    }
    if k > n {
        return f64::NEG_INFINITY;
    }
    if k == n || rate.above_mean(n, k) > 0.0 {
        binomial_upper(n, k, rate)
    } else {
        ln_1m_exp(binomial_upper(n, n - k + 1, rate.complement()))
    }
}

/// ln P(X = `k`) for X ~ Binomial(`n`, `rate`); −∞ for `k` > `n`.
#[must_use]
pub fn binomial_ln_pmf(n: u64, k: u64, rate: Rate) -> f64 {
    if k > n {
        return f64::NEG_INFINITY;
    }
    if k == 0 {
        return to_f64(n) * rate.complement().ln_p();
    }
    if k == n {
        return to_f64(n) * rate.ln_p();
    }
    let (nf, hits, misses) = (to_f64(n), to_f64(k), to_f64(n - k));
    let excess = rate.above_mean(n, k);
    let remainder = stirling_remainder(n) - stirling_remainder(k) - stirling_remainder(n - k);
    let distance =
        deviance(hits, nf * rate.p(), excess) + deviance(misses, nf * rate.complement().p(), -excess);
    remainder - distance - LN_SQRT_2PI - 0.5 * ln(hits * (misses / nf))
}

/// ln P(G ≥ `sum`) for G ~ Gamma(`n`, 1), the sum of `n` independent Exp(1): 0 for `sum` ≤ 0, −∞ for `sum` = ∞.
///
/// `n` = 0 is the constant 0. NaN gives NaN.
///
/// *Null assumption*: `sum` adds n independent draws, none of which ever exceeds an Exp(1) variable made from
/// the same coin; then P(sum ≥ s) ≤ P(G ≥ s). A midpoint rule instead of the draw's upper edge would break it.
///
/// Evaluated as the Poisson tail P(N < n), N ~ Poisson(`sum`); time grows as √n.
#[must_use]
pub fn gamma_ln_sf(n: u64, sum: f64) -> f64 {
    if sum.is_nan() || sum <= 0.0 {
        return if sum.is_nan() { sum } else { 0.0 };
    }
    if n == 0 || sum == f64::INFINITY {
        return f64::NEG_INFINITY;
    }
    if sum >= to_f64(n) {
        let below = |i: u64| to_f64(n - 1 - i) / sum;
        poisson_ln_pmf(n - 1, sum) + ln(series(n - 1, below))
    } else {
        let above = |i: u64| sum / to_f64(n + 1 + i);
        ln_1m_exp(poisson_ln_pmf(n, sum) + ln(series(u64::MAX, above)))
    }
}

/// ln P(X ≥ `k`), where X counts the marked items among `drawn` taken without replacement from `population`
/// items of which `marked` are marked.
///
/// *Null assumption*: every set of `drawn` items is equally likely (arms assigned by a keyed coin, conditioned
/// on the total). Broken when the groups differ in anything but the coin.
///
/// # Errors
/// When `marked` or `drawn` exceeds `population`, or `population` exceeds 2⁵³.
pub fn hypergeometric_ln_sf(
    population: u64,
    marked: u64,
    drawn: u64,
    k: u64,
) -> Result<f64, HypergeometricError> {
    let urn = Urn { population, marked, drawn };
    if marked > population || drawn > population || population > 1 << 53 {
        return Err(HypergeometricError { population, marked, drawn });
    }
    if k <= (marked + drawn).saturating_sub(population) {
        return Ok(0.0);
    }
    if k > marked.min(drawn) {
        return Ok(f64::NEG_INFINITY);
    }
    let mean_side = u128::from(k) * u128::from(population) > u128::from(marked) * u128::from(drawn);
    let direct = if mean_side { urn.ln_upper(k) } else { 0.0 };
    // Also above the mean the probability can be near 1 when the law is skewed; then the complement keeps the
    // digits.
    Ok(if direct > -std::f64::consts::LN_2 {
        ln_1m_exp(urn.opposite().ln_upper(drawn - k + 1))
    } else {
        direct
    })
}

/// ln P(X = `k`) of the same law, for an urn that exists; −∞ beyond its values.
pub(super) fn hypergeometric_ln_pmf(population: u64, marked: u64, drawn: u64, k: u64) -> f64 {
    if k > marked || k > drawn || k + population < marked + drawn {
        return f64::NEG_INFINITY;
    }
    Urn { population, marked, drawn }.ln_pmf(k)
}

/// An urn that does not exist.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("cannot draw {drawn} of {population} items of which {marked} are marked (at most 2^53 items)")]
pub struct HypergeometricError {
    /// Items in the urn.
    pub population: u64,
    /// Marked items in the urn.
    pub marked: u64,
    /// Items drawn.
    pub drawn: u64,
}

/// How far a value of [`binomial_ln_sf`] can lie from the truth.
pub(super) fn binomial_rounding(n: u64, ln_p: f64) -> f64 {
    // The deviance is rounded relatively, the rest absolutely. Term i of the series carries 4i roundings, and
    // the mean index under its weights stays below the standard deviation √n / 2.
    let error = |ln_p: f64| UNIT * (64.0 * ln_p.abs() + 64.0 + 2.0 * to_f64(n).sqrt());
    if ln_p < -std::f64::consts::LN_2 {
        return error(ln_p);
    }
    // Computed from the complement q: an error of ln q moves ln p by q / p times as much.
    error(ln_1m_exp(ln_p).max(-1e9)) * exp_m1(-ln_p) + 4.0 * UNIT * ln_p.abs()
}

/// ln P(X ≥ k) for k above the mean, by adding the terms of the tail itself.
fn binomial_upper(n: u64, k: u64, rate: Rate) -> f64 {
    let odds = rate.odds();
    let ratio = |i: u64| to_f64(n - k - i) / to_f64(k + 1 + i) * odds;
    binomial_ln_pmf(n, k, rate) + ln(series(n - k, ratio))
}

/// ln P(N = k) for N ~ Poisson(mean), mean > 0.
fn poisson_ln_pmf(k: u64, mean: f64) -> f64 {
    if k == 0 {
        return -mean;
    }
    let x = to_f64(k);
    -stirling_remainder(k) - deviance(x, mean, x - mean) - LN_SQRT_2PI - 0.5 * ln(x)
}

/// 1 + r₀ + r₀r₁ + … of at most `terms` ratios, each below the one before and the first below 1 or nearly so.
fn series(terms: u64, ratio: impl Fn(u64) -> f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for i in 0..terms {
        term *= ratio(i);
        sum += term;
        // What is left is at most term × (standard deviation), so this stops with an error below one rounding.
        if term < 1e-24 * sum {
            break;
        }
    }
    sum
}

#[derive(Clone, Copy)]
struct Urn {
    population: u64,
    marked: u64,
    drawn: u64,
}

impl Urn {
    /// The urn in which the unmarked items are the marked ones.
    fn opposite(self) -> Self {
        Self { marked: self.population - self.marked, ..self }
    }

    fn ln_upper(self, k: u64) -> f64 {
        let Self { population, marked, drawn } = self;
        let unmarked = population - marked;
        let ratio = |i: u64| {
            let x = k + i;
            // x + 1 + unmarked ≥ drawn because x lies in the support, and the sum is formed before the
            // difference.
            to_f64(marked - x) / to_f64(x + 1) * (to_f64(drawn - x) / to_f64(x + 1 + unmarked - drawn))
        };
        self.ln_pmf(k) + ln(series(marked.min(drawn) - k, ratio))
    }

    /// The three binomials of Loader 2000, §5: C(m,k) C(u,d−k) / C(m+u,d) with the common p = drawn /
    /// population.
    fn ln_pmf(self, k: u64) -> f64 {
        let Self { population, marked, drawn } = self;
        let Ok(p) = Rate::new(drawn, population) else {
            // Nothing or everything is drawn: the count is certain, and the callers have answered already.
            return 0.0;
        };
        binomial_ln_pmf(marked, k, p) + binomial_ln_pmf(population - marked, drawn - k, p)
            - binomial_ln_pmf(population, drawn, p)
    }
}
