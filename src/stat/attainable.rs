//! The level that a test attains: on a lattice not every p-value can occur.
//!
//! A test at level α rejects where p ≤ α. For draws on a lattice the largest p at or below α is a single number, below α
//! more often than not: 200 fair coins attain 7.0e-4 at 1e-3. A test that rejects at more than *that* rate is wrong, and
//! whoever holds its rate against α would not see it.
//!
//! *Assumes* what the verdict tail assumes: independent draws of exactly the stated laws.

use super::gathered::Gathered;
use super::lattice::{LatticeLaw, LatticeTerm, lattice_ln_sf};
use super::math::{exp, ln};
use super::verdict::{TestError, lattice_terms};
use crate::law::Draws;

/// P(p ≤ `level`) under H0 for the verdict tail of draws with these laws and coefficients, one for each level, from above.
/// What the draws came to plays no part.
///
/// Exact on a lattice: the tail at the smallest sum that rejects, 0 where none does. Sums of exponential draws have a
/// tail that is continuous but for 2⁻³², or a bound: then the level itself, which is an upper bound.
///
/// # Errors
/// As [`Summary::of`](super::verdict::Summary::of), but for draws that are none: those attain nothing.
pub fn attainable(draws: &Draws, levels: &[f64]) -> Result<Vec<f64>, TestError> {
    let mut all = Gathered::default();
    for draw in draws.as_slice() {
        all.add(draw);
    }
    if all.whole_sum().is_none() {
        return Ok(levels.to_vec());
    }
    let mut terms = Vec::new();
    for group in all.groups() {
        terms.extend(lattice_terms(group.law, group.coefficient, group.count)?);
    }
    levels.iter().map(|level| Ok(exp(largest_below(&terms, ln(*level))?))).collect()
}

/// The largest verdict ln p that is at most `ln_level`; −∞ where the largest sum's is above.
fn largest_below(terms: &[LatticeTerm], ln_level: f64) -> Result<f64, TestError> {
    let (mut low, mut high) = ends(terms);
    high += 1;
    // ln p falls as the sum grows; beyond the largest sum it is −∞.
    while low < high {
        let middle = low + (high - low) / 2;
        if lattice_ln_sf(terms, middle)?.ln_p <= ln_level { high = middle } else { low = middle + 1 }
    }
    Ok(lattice_ln_sf(terms, low)?.ln_p)
}

/// The smallest and the largest sum.
fn ends(terms: &[LatticeTerm]) -> (i64, i64) {
    let of_term = |LatticeTerm { law, count }: &LatticeTerm| {
        let (low, high) = match law {
            LatticeLaw::Bernoulli { coefficient, .. } => (0.min(*coefficient), 0.max(*coefficient)),
            LatticeLaw::Scores(scores) => {
                (scores.iter().copied().min().unwrap_or(0), scores.iter().copied().max().unwrap_or(0))
            }
        };
        let all = |one: i32| i64::from(one).saturating_mul(i64::try_from(*count).unwrap_or(i64::MAX));
        (all(low), all(high))
    };
    terms
        .iter()
        .map(of_term)
        .fold((0, 0), |sum, term| (i64::saturating_add(sum.0, term.0), i64::saturating_add(sum.1, term.1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{Gamma, Law, Origin, Scale, Tally};
    use crate::stat::Rate;
    use crate::stat::tail::binomial_ln_sf;

    fn draws(law: Law, coefficients: impl IntoIterator<Item = f64>) -> Draws {
        let mut tally = Tally::new();
        for (input, coefficient) in (0_u32..).zip(coefficients) {
            tally.add(input, coefficient, 0);
        }
        tally.whole(Scale::Unit).open(law, Origin([0; 32]), |_| 0)
    }

    fn coin(threshold: u32, bits: u8) -> Law {
        Law::Bernoulli(Gamma::new(threshold, bits).unwrap())
    }

    #[test]
    fn two_hundred_fair_coins_attain_seven_in_ten_thousand() {
        // Known answer: Σ_{k ≥ 123} C(200, k) / 2²⁰⁰ = 7.008e-4, while k ≥ 122 has 0.00114.
        let found = attainable(&draws(coin(1, 1), [1.0; 200]), &[1e-1, 1e-3]).unwrap();
        let tail = |k| exp(binomial_ln_sf(200, k, Rate::new(1, 2).unwrap()));
        assert!((found[1] - tail(123)).abs() < 1e-12 && tail(122) > 1e-3, "{found:?}");
        assert!((found[1] - 7.008_452_893e-4).abs() < 1e-12, "{found:?}");
        assert!(found[0] <= 1e-1 && found[0] > 0.08, "{found:?}");
    }

    #[test]
    fn weighted_coins_attain_what_counting_every_outcome_says() {
        // Brute force over 2¹² outcomes of coins with signs, at γ = ¼.
        let a = [5, -3, 2, 7, 1, -1, 4, 6, -2, 3, 9, -8];
        let chance = |outcome: u32| -> (i32, f64) {
            let hit = |at: usize| outcome >> at & 1 == 1;
            let sum = (0..a.len()).filter(|at| hit(*at)).map(|at| a[at]).sum();
            (sum, (0..a.len()).map(|at| if hit(at) { 0.25 } else { 0.75 }).product())
        };
        let outcomes: Vec<(i32, f64)> = (0..1 << a.len()).map(chance).collect();
        let tail = |k: i32| outcomes.iter().filter(|(sum, _)| *sum >= k).map(|(_, p)| p).sum::<f64>();
        let draws = draws(coin(1, 2), a.map(f64::from));
        for level in [0.5, 0.1, 0.03, 1e-2, 1e-4, 1e-9] {
            let wanted = (-20..40).map(tail).filter(|p| *p <= level).fold(0.0, f64::max);
            let found = attainable(&draws, &[level]).unwrap()[0];
            assert!((found - wanted).abs() <= 1e-6 * wanted, "{level}: {found}, not {wanted}");
        }
    }

    #[test]
    fn exponential_draws_are_held_to_the_level_itself() {
        assert_eq!(attainable(&draws(Law::Exponential, [1.0; 9]), &[0.1, 1e-4]).unwrap(), [0.1, 1e-4]);
    }
}
