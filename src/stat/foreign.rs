//! Tails of foreign draws: numbers for an exploration, never for a finding.
//!
//! What is assumed of an engine's generator stands beside each number; given that, these are upper bounds:
//!
//! | draws | tail |
//! |---|---|
//! | races | Gamma: X never exceeds Exp(1) |
//! | fair bits | binomial |
//! | in green lists | binomial at a rate no list exceeds, from one above its mean on; 1 below |
//! | offsets into a public table | exact over uniform offsets |
//!
//! # Several tokens under one green list
//!
//! A list is made by steps that each pick one entry. Of k tokens that are looked up in it, let a step with m entries left
//! pick each with a chance of at most h = 1/m + 2⁻³². The number picked is below that of a pure birth chain which jumps
//! with a chance (k − N) h exactly (both jump by one: a coupling keeps them in order). Written as a polynomial in
//! y = z − 1, the law of the tokens not yet picked goes through f ↦ f − h y f′ at each step, which keeps all roots real
//! (Rolle's theorem for y^(−1/h) f, as 1/h ≥ k), so the chain's end is a sum of k independent coins of unequal chances
//! with mean k γ, γ = 1 − Π(1 − h). (`score` counts no more tokens of a list than there are entries left at its end.) Over seeds that is again such a sum, of n coins with mean n γ; and among those the
//! binomial has the heaviest tail from n γ + 1 on (Hoeffding 1956, theorem 4: P(S ≤ c) ≥ P(Bin(n, γ) ≤ c) for c ≥ n γ).
//! Below n γ + 1 nothing is claimed: p = 1. The same holds where the entries *not* picked are green.
//!
//! No e-process is offered: given that a list's other tokens missed, the next hits more often than γ.

use serde::Serialize;

use super::lattice::{LatticeError, LatticeLaw, LatticeTerm, lattice_ln_sf, lattice_spread};
use super::math::{Sum, ln_1p, log10_from_ln, sqrt, to_f64};
use super::tail::{binomial_ln_sf, gamma_ln_sf};
use super::{Rate, RateError};
use crate::law::{Foreign, ForeignLaw, Gamma, Law, Offsets};

/// How a foreign tail was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForeignTail {
    /// The binomial tail of fair bits.
    Binomial,
    /// A binomial tail that bounds that of green lists.
    BinomialBound,
    /// The Gamma tail.
    Gamma,
    /// The exact tail over uniform offsets.
    Offsets,
}

/// What a text shows of a foreign mark.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ForeignSummary {
    /// Distinct draws; of a table the layers.
    pub draws: u64,
    /// S.
    pub statistic: f64,
    /// E S under H0, or a bound of it.
    pub expected: f64,
    /// (S − E S)/sd S as if draws were independent: for comparison.
    pub z: f64,
    /// ln P(S ≥ s) under H0, from above.
    pub ln_p: f64,
    /// The same to base 10.
    pub log10_p: f64,
    /// How it was computed.
    pub method: ForeignTail,
}

impl ForeignSummary {
    /// The tail of foreign draws. H0: text and key are independent, and the engine's generator makes independent words
    /// of distinct inputs. No draw gives p = 1.
    ///
    /// # Errors
    /// A rate that is no probability.
    pub fn of(draws: Foreign) -> Result<Self, ForeignError> {
        let words = draws.words();
        let n = words.len() as u64;
        let ones = words.iter().map(|word| u64::from(*word > 0)).sum();
        Ok(match draws.law() {
            ForeignLaw::Exponential => {
                let sum: Sum = words.iter().map(|word| Law::Exponential.value(*word)).collect();
                let ln_p = if n == 0 { 0.0 } else { gamma_ln_sf(n, sum.value()) };
                Self::new(n, sum.value(), to_f64(n), to_f64(n), ln_p, ForeignTail::Gamma)
            }
            ForeignLaw::Fair => {
                let half = Rate::new(1, 2)?;
                Self::count(n, ones, half, binomial_ln_sf(n, ones, half), ForeignTail::Binomial)
            }
            ForeignLaw::Listed(gamma) => {
                let rate = rate(gamma)?;
                Self::count(n, ones, rate, listed_ln_sf(n, ones, rate), ForeignTail::BinomialBound)
            }
        })
    }

    /// The exact tail over uniform offsets. H0: the offsets are uniform, independent of each other and of the text.
    ///
    /// Layers that shared an offset were merged. Given that the m that are left differ, the tail is at most that of m
    /// independent ones divided by their chance to differ.
    ///
    /// # Errors
    /// A sum beyond what is exact.
    pub fn of_offsets(offsets: &Offsets<'_>) -> Result<Self, ForeignError> {
        let (layers, size) = (offsets.layers(), to_f64(offsets.sums().len() as u64));
        let terms = [LatticeTerm { law: LatticeLaw::Scores(offsets.sums().to_vec()), count: layers }];
        let spread = lattice_spread(&terms)?;
        let differ: Sum = (0..layers).map(|before| ln_1p(-to_f64(before) / size)).collect();
        let ln_p = lattice_ln_sf(&terms, offsets.statistic())?.ln_p - differ.value();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let statistic = offsets.statistic() as f64;
        Ok(Self::new(layers, statistic, spread.mean, spread.sd * spread.sd, ln_p, ForeignTail::Offsets))
    }

    fn count(n: u64, ones: u64, rate: Rate, ln_p: f64, method: ForeignTail) -> Self {
        let n = (n, to_f64(n));
        Self::new(n.0, to_f64(ones), n.1 * rate.p(), n.1 * rate.p() * rate.complement().p(), ln_p, method)
    }

    fn new(draws: u64, statistic: f64, expected: f64, variance: f64, ln_p: f64, method: ForeignTail) -> Self {
        let z = if variance > 0.0 { (statistic - expected) / sqrt(variance) } else { 0.0 };
        let ln_p = ln_p.min(0.0);
        Self { draws, statistic, expected, z, ln_p, log10_p: log10_from_ln(ln_p), method }
    }
}

/// ln of a bound of P(S ≥ `hits`) for `n` tokens looked up in green lists; see this module.
fn listed_ln_sf(n: u64, hits: u64, rate: Rate) -> f64 {
    // hits − 1 ≥ n γ, in whole numbers.
    let covered =
        hits > 0 && u128::from(hits - 1) * u128::from(rate.den()) >= u128::from(n) * u128::from(rate.num());
    if covered { binomial_ln_sf(n, hits, rate) } else { 0.0 }
}

fn rate(gamma: Gamma) -> Result<Rate, RateError> {
    Rate::dyadic(u64::from(gamma.threshold()), u32::from(gamma.bits()))
}

/// Why foreign draws have no number.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignError {
    /// A probability that is none.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// A sum beyond what is exact.
    #[error(transparent)]
    Lattice(#[from] LatticeError),
}

#[cfg(test)]
mod tests {
    use super::super::math::{exp, ln};
    use super::*;
    use crate::law::{Scale, Tally};

    /// P(H ≥ s) for H hits of k tokens, list of g of v.
    fn hypergeometric(v: u64, g: u64, k: u64) -> Vec<f64> {
        let choose = |n: u64, k: u64| -> f64 {
            if k > n { 0.0 } else { (0..k).map(|i| to_f64(n - i) / to_f64(k - i)).product() }
        };
        (0..=k).map(|h| choose(g, h) * choose(v - g, k - h) / choose(v, k)).collect()
    }

    /// Sums of hypergeometric counts over several lists, by convolution, against the bound at every value.
    #[test]
    fn the_binomial_bounds_sums_of_hypergeometric_counts() {
        for (v, g, sizes) in [
            (8, 4, vec![8, 3, 1]),
            (20, 5, vec![20, 10, 10, 4]),
            (12, 3, vec![2, 2, 2, 2]),
            (40, 10, vec![39, 1, 1, 17]),
            (6, 5, vec![6, 5, 4]),
        ] {
            let mut law = vec![1.0];
            for k in &sizes {
                let one = hypergeometric(v, g, *k);
                let mut next = vec![0.0; law.len() + one.len() - 1];
                law.iter().enumerate().for_each(|(i, a)| {
                    one.iter().enumerate().for_each(|(j, b)| next[i + j] += a * b);
                });
                law = next;
            }
            let n: u64 = sizes.iter().sum();
            let rate = Rate::new(g, v).unwrap();
            for s in 0..law.len() {
                let exact: f64 = law[s..].iter().sum();
                let bound = exp(listed_ln_sf(n, s as u64, rate));
                assert!(bound >= exact * (1.0 - 1e-12), "{v} {g} {sizes:?} at {s}: {bound} and {exact}");
            }
            // Nothing may be claimed up to the mean plus one, and something is above it.
            let above = n * g / v + 2;
            assert!(above > n || listed_ln_sf(n, above, rate) < 0.0);
        }
    }

    /// Every pair of different offsets of a small table: the tail is never below their share, and close to it.
    #[test]
    fn a_tables_tail_is_that_of_all_its_offsets() {
        let bits = [
            true, false, true, true, false, false, false, true, true, false, true, false, true, true, false,
            false,
        ];
        let mut tally = Tally::new();
        [(0, 1.0), (3, 2.0), (9, 1.0), (10, 1.0)].iter().for_each(|(r, n)| tally.add(*r, *n, 0));
        let correlation = tally.whole(Scale::Unit).correlate(&bits);
        let pairs: Vec<[u32; 2]> =
            (0..16).flat_map(|a| (0..16).filter(move |b| *b != a).map(move |b| [a, b])).collect();
        let statistics: Vec<i64> = pairs.iter().map(|pair| correlation.open(pair).statistic()).collect();
        for pair in &pairs {
            let opened = correlation.open(pair);
            let above = statistics.iter().filter(|s| **s >= opened.statistic()).count() as u64;
            let exact = to_f64(above) / to_f64(pairs.len() as u64);
            let p = exp(ForeignSummary::of_offsets(&opened).unwrap().ln_p);
            assert!(p >= exact * (1.0 - 1e-9) && p <= 2.0 * exact, "{pair:?}: {p} and {exact}");
        }
    }

    /// Below the mean plus one the binomial tail is no bound: why the clamp is there.
    #[test]
    fn without_the_clamp_the_bound_fails() {
        let exact = hypergeometric(8, 4, 8)[4..].iter().sum::<f64>();
        let (rate, hits) = (Rate::new(1, 2).unwrap(), 4);
        assert!(binomial_ln_sf(8, hits, rate) < ln(exact) - 0.1);
        assert!(listed_ln_sf(8, hits, rate) >= ln(exact));
    }
}
