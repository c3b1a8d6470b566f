//! Several tests at once.
//!
//! Draws under different keys are independent and pool into one sum: they need nothing from here. Tests on the
//! *same* draws, or of several suspects, do. Accusations control the chance of even one false one (Bonferroni,
//! Holm); e-values may also be averaged with weights that were planned, and multiplied when they are
//! independent. The false discovery rate is for screening only.

use super::math::{Sum, ln, ln_1m_exp, log_sum_exp, to_f64};
use super::rate::Rate;
use super::tail::binomial_ln_sf;

/// ln p corrected for `tests` tests: min(0, ln p + ln m). Valid under any dependence. 0 tests count as 1.
#[must_use]
pub fn bonferroni(ln_p: f64, tests: u64) -> f64 {
    (ln_p + ln(to_f64(tests.max(1)))).min(0.0)
}

/// Holm's adjusted ln p-values, in the order given: rejecting all with an adjusted p ≤ α makes a false
/// rejection among them with probability at most α, under any dependence (Holm 1979).
///
/// The i-th smallest of m is multiplied by m − i + 1 and is never below its predecessor. Every p-value that was
/// looked at belongs in.
#[must_use]
pub fn holm(ln_p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..ln_p.len()).collect();
    order.sort_by(|&a, &b| ln_p[a].total_cmp(&ln_p[b]));
    let mut adjusted = vec![0.0; ln_p.len()];
    let mut least = f64::NEG_INFINITY;
    for (&index, left) in order.iter().zip((1..).take(ln_p.len()).collect::<Vec<u64>>().into_iter().rev()) {
        least = bonferroni(ln_p[index], left).max(least);
        adjusted[index] = least;
    }
    adjusted
}

/// ln of the average of e-values given as (weight, ln e): an e-value again, under any dependence, when the
/// weights were planned. Weights are scaled to add to 1; −∞ without any weight.
#[must_use]
pub fn mean_ln_e(weighted: &[(f64, f64)]) -> f64 {
    let weights: f64 = weighted.iter().map(|(weight, _)| weight).sum();
    let terms: Vec<f64> = weighted.iter().map(|&(weight, ln_e)| ln(weight / weights) + ln_e).collect();
    if weights > 0.0 { log_sum_exp(&terms) } else { f64::NEG_INFINITY }
}

/// ln of the product of e-values given as ln e: an e-value again when they belong to *unrelated* keys, or when each
/// was made with draws and bets that knew only those before it. 0 without any; an e-value of 0 stays 0.
///
/// Broken by e-values on the same draws: the square of an e-value has a mean above 1. Those are averaged, by
/// [`mean_ln_e`].
#[must_use]
pub fn product_ln_e(ln_e: &[f64]) -> f64 {
    if ln_e.contains(&f64::NEG_INFINITY) {
        f64::NEG_INFINITY
    } else {
        ln_e.iter().copied().collect::<Sum>().value()
    }
}

/// Which of many suspects to look at more closely: e-BH, in the order given. **For screening, never for an
/// accusation**: it bounds the *share* of false ones among those marked, on average, by e^`ln_level`, and at 5 %
/// that is one false accusation in twenty. What it marks is then tested on fresh draws under [`holm`].
///
/// The k largest of m are marked for the largest k with e₍ₖ₎ ≥ m / (k × level). Valid under any dependence of
/// the e-values, which must be fixed in number beforehand; a NaN is never marked. Source: Wang and Ramdas 2022,
/// *False discovery rate control with e-values*.
#[must_use]
pub fn screen_e_bh(ln_e: &[f64], ln_level: f64) -> Vec<bool> {
    let mut falling: Vec<f64> = ln_e.iter().copied().filter(|ln_e| !ln_e.is_nan()).collect();
    falling.sort_by(|a, b| b.total_cmp(a));
    let threshold = |k: u64| ln(to_f64(ln_e.len() as u64) / to_f64(k)) - ln_level;
    let least = (1..).zip(&falling).filter(|&(k, ln_e)| *ln_e >= threshold(k)).last().map(|(_, ln_e)| *ln_e);
    ln_e.iter().map(|ln_e| least.is_some_and(|least| *ln_e >= least)).collect()
}

/// The smallest c with P(X > c) ≤ 1 − `confidence` for X ~ Binomial(`n`, `level`).
///
/// For calibration tests: a correct test of attainable level `level`, run with `n` keys, rejects more than c
/// times with probability at most 1 − `confidence`. `confidence` is clamped to [0, 1).
#[must_use]
pub fn binomial_upper_limit(n: u64, level: Rate, confidence: f64) -> u64 {
    let ln_rest = ln_1m_exp(ln(confidence.clamp(0.0, 1.0 - f64::EPSILON)));
    let (mut low, mut high) = (0, n);
    while low < high {
        let c = low + (high - low) / 2;
        if binomial_ln_sf(n, c + 1, level) <= ln_rest { high = c } else { low = c + 1 }
    }
    low
}
