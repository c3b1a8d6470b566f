//! Two arms within strata: the exact tail of a sum of hypergeometric counts.
//!
//! In each stratum a coin of the key put some items into one arm and the rest into the other; then some of all items
//! turned out to be hits. If nothing but the coin tells the arms apart, the hits in the first arm are hypergeometric
//! given the totals, strata are independent, and what is tested is T = Σ (hits in the first arm).
//!
//! As everywhere, the tail is found under a tilted law, where it is a number of ordinary size: with weights
//! w(x) = P(X = x) e^{λx} of each stratum and λ such that the tilted mean is k,
//!
//! ```text
//! P(T ≥ k) = e^{K(λ) − λk} Σ_{j≥0} e^{−λj} P_λ(T = k + j),      K(λ) = Σ ln Σ_x w(x).
//! ```
//!
//! Weights are kept as logarithms until they are tilted, so nothing underflows; all terms are positive, so nothing
//! cancels. Source: Fisher 1935 for one table; Cox 1958, Gart 1970 for the sum over strata.

use super::math::{Sum, exp, ln, log_sum_exp, to_f64};
use super::tail::{HypergeometricError, hypergeometric_ln_pmf, hypergeometric_ln_sf};

/// One stratum: items that differ in nothing but the coin that chose their arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stratum {
    /// All its items.
    pub items: u64,
    /// Those that are hits.
    pub hits: u64,
    /// Those in the first arm.
    pub first: u64,
    /// Those in the first arm that are hits.
    pub first_hits: u64,
}

/// ln P(T ≥ observed), T the hits in the first arm over all `strata`, given each stratum's totals. Never below the true
/// value: a bound of the rounding, 10⁻⁹ (1 + |ln p|), is added. No strata, or none that could have come out otherwise: 0.
///
/// *Null assumption*: within a stratum every choice of the first arm's items is equally likely, whatever the hits are.
/// Broken by arms that were assigned with a look at anything, by a different exposure of the arms, by strata made from
/// what happened after the assignment, and by an item that enters twice.
///
/// Time grows as the product of the strata's spreads with the sum's: a hundred strata of a thousand items take
/// hundredths of a second.
///
/// # Errors
/// A stratum that does not exist: more hits or first items than items, or more first hits than either.
pub fn stratified_ln_sf(strata: &[Stratum]) -> Result<f64, HypergeometricError> {
    strata.iter().try_for_each(Stratum::check)?;
    let open: Vec<&Stratum> = strata.iter().filter(|stratum| stratum.least() < stratum.most()).collect();
    let estimate = match open[..] {
        [] => return Ok(0.0),
        [one] => hypergeometric_ln_sf(one.items, one.hits, one.first, one.first_hits)?,
        _ => several(&open),
    };
    Ok((estimate + 1e-9 * (1.0 + estimate.abs())).min(0.0))
}

impl Stratum {
    /// The fewest hits that the first arm can have.
    fn least(&self) -> u64 {
        (self.hits + self.first).saturating_sub(self.items)
    }

    /// The most.
    fn most(&self) -> u64 {
        self.hits.min(self.first)
    }

    fn check(&self) -> Result<(), HypergeometricError> {
        let exists = self.hits <= self.items
            && self.first <= self.items
            && self.items <= 1 << 53
            && (self.least()..=self.most()).contains(&self.first_hits);
        let &Self { items: population, hits: marked, first: drawn, .. } = self;
        if exists { Ok(()) } else { Err(HypergeometricError { population, marked, drawn }) }
    }

    /// ln P(X = least + i).
    fn ln_weights(&self) -> Vec<f64> {
        let ln_pmf = |x| hypergeometric_ln_pmf(self.items, self.hits, self.first, x);
        (self.least()..=self.most()).map(ln_pmf).collect()
    }
}

/// ln P(T ≥ k), counted from the smallest value that T can have.
fn several(strata: &[&Stratum]) -> f64 {
    let laws: Vec<Vec<f64>> = strata.iter().map(|stratum| stratum.ln_weights()).collect();
    let k: u64 = strata.iter().map(|stratum| stratum.first_hits - stratum.least()).sum();
    if k == 0 {
        return 0.0;
    }
    let lambda = tilt_to(&laws, to_f64(k));
    let (mut law, mut cumulant, mut dropped) = (vec![1.0], Sum::default(), 0.0);
    let mut from = 0;
    for ln_weights in &laws {
        let tilted = Tilted::of(ln_weights, lambda);
        cumulant.add(tilted.cumulant);
        dropped += tilted.dropped;
        from += tilted.from;
        law = convolve(&law, &tilted.law);
    }
    let beyond = |(s, p): (u64, &f64)| (s >= k).then(|| p * exp(-lambda * to_f64(s - k)));
    let sum: Sum = (from..).zip(&law).filter_map(beyond).collect();
    cumulant.value() - lambda * to_f64(k) + ln((sum.value() + dropped).min(1.0))
}

/// λ ≥ 0 with a tilted mean of k; 0 where the mean is above k already. At the top there is none, and a large one does.
fn tilt_to(laws: &[Vec<f64>], k: f64) -> f64 {
    let mean = |lambda: f64| laws.iter().map(|law| mean(law, lambda)).sum::<f64>();
    let (mut low, mut high) = (0.0, 1.0);
    if mean(0.0) >= k {
        return 0.0;
    }
    while mean(high) < k && high < 64.0 {
        (low, high) = (high, 2.0 * high);
    }
    // Any λ is valid; one that is right to a millionth leaves nothing to gain.
    for _ in 0..40 {
        let middle = 0.5 * (low + high);
        if mean(middle) < k { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

fn mean(ln_weights: &[f64], lambda: f64) -> f64 {
    let tilted: Vec<f64> = tilted(ln_weights, lambda).collect();
    let total = log_sum_exp(&tilted);
    (0_u64..).zip(&tilted).map(|(x, w)| to_f64(x) * exp(w - total)).sum()
}

fn tilted(ln_weights: &[f64], lambda: f64) -> impl Iterator<Item = f64> {
    (0_u64..).zip(ln_weights).map(move |(x, w)| w + lambda * to_f64(x))
}

/// One stratum's law under P_λ.
struct Tilted {
    /// The first value that is kept.
    from: u64,
    /// Probabilities from there.
    law: Vec<f64>,
    /// ln Σ w.
    cumulant: f64,
    /// The mass of values that are not kept.
    dropped: f64,
}

impl Tilted {
    fn of(ln_weights: &[f64], lambda: f64) -> Self {
        let all: Vec<f64> = tilted(ln_weights, lambda).collect();
        let cumulant = log_sum_exp(&all);
        let kept = |w: &f64| w - cumulant > NEGLIGIBLE;
        // The law has one peak, so what is kept is one run.
        let from = all.iter().take_while(|w| !kept(w)).fold(0, |n, _| n + 1);
        let law: Vec<f64> = all.iter().filter(|w| kept(w)).map(|w| exp(w - cumulant)).collect();
        let dropped = all.iter().filter(|w| !kept(w)).map(|w| exp(w - cumulant)).sum();
        Self { from, law, cumulant, dropped }
    }
}

fn convolve(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; a.len() + b.len() - 1];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            sum[i + j] += x * y;
        }
    }
    sum
}

/// Values with less than e^−80 of a stratum's tilted mass are not convolved; their mass is added to the tail.
const NEGLIGIBLE: f64 = -80.0;

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a test may stop where it stands, and its numbers are no evidence"
)]
mod tests {
    use super::*;

    fn stratum(items: u64, hits: u64, first: u64, first_hits: u64) -> Stratum {
        Stratum { items, hits, first, first_hits }
    }

    /// C(n, k) by the whole-number recursion.
    fn choose(n: u64, k: u64) -> u128 {
        if k > n { 0 } else { (0..k).fold(1, |c, i| c * u128::from(n - i) / u128::from(i + 1)) }
    }

    /// P(T ≥ observed) by adding all tables in whole numbers.
    fn by_tables(strata: &[Stratum]) -> f64 {
        let mut tables = vec![1_u128];
        let mut all = 1_u128;
        for s in strata {
            let of = |x: u64| {
                choose(s.hits, x) * if s.first < x { 0 } else { choose(s.items - s.hits, s.first - x) }
            };
            let mut next = vec![0; tables.len() + s.first as usize];
            for (t, tables) in tables.iter().enumerate() {
                (0..=s.first).for_each(|x| next[t + x as usize] += tables * of(x));
            }
            (tables, all) = (next, all * choose(s.items, s.first));
        }
        let k: u64 = strata.iter().map(|s| s.first_hits).sum();
        tables[k as usize..].iter().sum::<u128>() as f64 / all as f64
    }

    #[test]
    fn the_tail_is_that_of_all_tables() {
        let cases = [
            vec![stratum(12, 5, 6, 4), stratum(10, 3, 4, 2)],
            vec![stratum(20, 10, 10, 10), stratum(6, 1, 3, 1), stratum(9, 4, 2, 0)],
            vec![stratum(14, 7, 7, 7), stratum(14, 7, 7, 7), stratum(4, 0, 2, 0)],
            vec![stratum(15, 6, 5, 1), stratum(11, 2, 6, 0), stratum(8, 8, 3, 3)],
            vec![stratum(16, 9, 8, 5)],
        ];
        for strata in cases {
            let (ln_p, p) = (stratified_ln_sf(&strata).unwrap(), by_tables(&strata));
            let apart = ln_p - p.ln();
            assert!((0.0..3e-9 * (1.0 + ln_p.abs())).contains(&apart) || p == 1.0, "{strata:?}: {ln_p} {p}");
        }
    }

    #[test]
    fn two_halves_of_one_urn_far_out_and_nothing_underflows() {
        // Every hit of 4,000 in the first arm: ln p = Σ ln of products, far below 1e-308.
        let strata = vec![stratum(8_000, 2_000, 4_000, 2_000); 2];
        let one = hypergeometric_ln_sf(8_000, 2_000, 4_000, 2_000).unwrap();
        let ln_p = stratified_ln_sf(&strata).unwrap();
        assert!(one < -1_000.0 && (ln_p / (2.0 * one) - 1.0).abs() < 1e-8, "{ln_p} {one}");
    }

    #[test]
    fn certain_and_impossible_strata() {
        assert_eq!(stratified_ln_sf(&[]), Ok(0.0));
        assert_eq!(stratified_ln_sf(&[stratum(5, 0, 2, 0), stratum(5, 5, 2, 2)]), Ok(0.0));
        assert_eq!(stratified_ln_sf(&[stratum(9, 4, 5, 0), stratum(9, 4, 5, 0)]), Ok(0.0));
        assert!(stratified_ln_sf(&[stratum(5, 6, 2, 2)]).is_err());
        assert!(stratified_ln_sf(&[stratum(5, 5, 2, 1)]).is_err());
        assert!(stratified_ln_sf(&[stratum(5, 2, 3, 3)]).is_err());
    }
}
