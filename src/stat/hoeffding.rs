//! Hoeffding's bound: what published tests of green mass report. A named baseline, never a verdict of ours.
//!
//! It knows of each cluster only how far its sum can range, not its variance, so that it is far above the exact tail.
//! Source: Hoeffding 1963, theorem 2.

use std::collections::BTreeMap;

use super::math::Sum;
use crate::law::{Draws, Law};

/// ln of Hoeffding's bound of P(S ≥ s), each cluster of the draws one bounded variable:
/// −2 (S − E S)² / Σ c², c the range of a cluster's sum; 0 where S is not above its mean.
///
/// None for draws without an upper bound. What a cluster's draws have to do with each other plays no part.
pub fn hoeffding_ln_sf(draws: Draws) -> Option<f64> {
    let mut excess = Sum::default();
    let mut ranges: BTreeMap<u32, f64> = BTreeMap::new();
    for draw in draws.as_slice() {
        let a = f64::from(draw.coefficient());
        excess.add(a * (draw.value() - draw.law().mean()));
        *ranges.entry(draw.cluster()).or_default() += a.abs() * range(draw.law())?;
    }
    let squares: Sum = ranges.values().map(|range| range * range).collect();
    let excess = excess.value().max(0.0);
    Some(if excess > 0.0 { -2.0 * excess * excess / squares.value() } else { 0.0 })
}

/// How far a draw can range.
fn range(law: Law) -> Option<f64> {
    match law {
        Law::Bernoulli(_) => Some(1.0),
        Law::Choice(scores) => {
            let scores = scores.as_slice().iter().map(|score| f64::from(*score));
            Some(scores.clone().fold(f64::MIN, f64::max) - scores.fold(f64::MAX, f64::min))
        }
        Law::Exponential => None,
        Law::Layers(layers) => Some(f64::from(layers.sum(u32::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{Gamma, Origin, Scale, Tally};
    use crate::stat::math::exp;

    fn draws(law: Law, coefficients: &[(f64, u32)], word: impl Fn(u32) -> u32) -> Draws {
        let mut tally = Tally::new();
        for (input, (coefficient, cluster)) in (0_u32..).zip(coefficients) {
            tally.add(input, *coefficient, *cluster);
        }
        tally.whole(Scale::Unit).open(law, Origin([0; 32]), |input| word(*input))
    }

    #[test]
    fn windows_of_mass_one_give_the_published_form() {
        // Two windows of mass 4: a green share of 0.75 and 0.25 where ¼ is expected: −2 n (mean − γ)².
        let quarter = Law::Bernoulli(Gamma::new(1, 2).unwrap());
        let of = draws(quarter, &[(3.0, 0), (1.0, 0), (1.0, 1), (3.0, 1)], |input| u32::from(input % 2 == 0));
        let expected = -2.0 * 2.0 * 0.25_f64 * 0.25;
        assert!((hoeffding_ln_sf(of).unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn it_is_never_below_the_exact_tail_and_does_not_know_unbounded_draws() {
        let quarter = Law::Bernoulli(Gamma::new(1, 2).unwrap());
        let a = [(5.0, 0), (-3.0, 0), (2.0, 1), (7.0, 2), (1.0, 2), (4.0, 3), (-6.0, 3), (3.0, 4)];
        let chance = |outcome: u32| -> (f64, f64) {
            let hit = |at: usize| outcome >> at & 1 == 1;
            let sum = (0..a.len()).filter(|at| hit(*at)).map(|at| a[at].0).sum();
            (sum, (0..a.len()).map(|at| if hit(at) { 0.25 } else { 0.75 }).product())
        };
        let outcomes: Vec<(f64, f64)> = (0..256).map(chance).collect();
        for outcome in 0..256_u32 {
            let bound = hoeffding_ln_sf(draws(quarter, &a, |input| outcome >> input & 1)).unwrap();
            let sum = chance(outcome).0;
            let exact: f64 = outcomes.iter().filter(|(other, _)| *other >= sum).map(|(_, p)| p).sum();
            assert!(exp(bound) >= exact - 1e-12, "{outcome}: {bound}, {exact}");
        }
        assert_eq!(hoeffding_ln_sf(draws(Law::Exponential, &[(1.0, 0)], |_| 7)), None);
    }
}
