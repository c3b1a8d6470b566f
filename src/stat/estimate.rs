//! How large an effect is: a ratio with an interval that respects clusters.

use super::Rate;
use super::math::{Sum, to_f64};
use super::tail::binomial_ln_sf;

/// What one exchange contributes: it is the unit that is independent, because draws within an answer are not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cluster {
    /// The numerator: hits, or Σ a (X − E X).
    pub sum: f64,
    /// The denominator: draws scored, or Σ |a|.
    pub weight: f64,
}

/// A ratio Σ sum / Σ weight with its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The ratio.
    pub value: f64,
    /// Its 95 % interval; none when fewer than two clusters have weight or they do not vary, since nothing then
    /// says how far it is off.
    pub interval: Option<[f64; 2]>,
}

/// Σ sum / Σ weight over `clusters`, with the 95 % interval of the linearised ratio variance
///
/// ```text
/// var = m / (m − 1) · Σ (sumᵢ − R weightᵢ)² / (Σ weight)²,      m clusters with weight > 0.
/// ```
///
/// None without any weight. The interval is a normal approximation for a description of the suspect: it is no
/// test of H0, whose law is known exactly, and with fewer than about 30 clusters it is too narrow. It is not
/// cut at 0 or 1.
///
/// *Assumption*: clusters are independent. A draw counts in the exchange of its first occurrence. Source:
/// Cochran 1977, *Sampling Techniques*, §6.3.
#[must_use]
pub fn ratio_estimate(clusters: &[Cluster]) -> Option<Estimate> {
    let clusters = || clusters.iter().filter(|cluster| cluster.weight > 0.0);
    let weight = clusters().map(|cluster| cluster.weight).collect::<Sum>().value();
    let m = to_f64(clusters().fold(0, |m, _| m + 1));
    if m == 0.0 {
        return None;
    }
    let value = clusters().map(|cluster| cluster.sum).collect::<Sum>().value() / weight;
    let residual = |cluster: &Cluster| cluster.sum - value * cluster.weight;
    let squares = clusters().map(|cluster| residual(cluster) * residual(cluster)).collect::<Sum>().value();
    let sd = (m / (m - 1.0) * squares).sqrt() / weight;
    let interval = (m > 1.0 && sd > 0.0).then_some([value - Z95 * sd, value + Z95 * sd]);
    Some(Estimate { value, interval })
}

/// The interval of a chance of which `hits` of `n` independent trials are known: each end is wrong with probability at
/// most e^`ln_miss`, so an interval of 95 % has ln 0.025. [0, 1] without a trial; `hits` above `n` count as `n`.
///
/// Exact (Clopper and Pearson 1934), and wide enough also where the trials have different chances and their mean is
/// meant (Hoeffding 1956), as long as they are independent.
#[must_use]
pub fn exact_limits(n: u64, hits: u64, ln_miss: f64) -> [f64; 2] {
    let low = if hits == 0 { 0.0 } else { smallest_chance(n, hits.min(n), ln_miss) };
    let misses = n - hits.min(n);
    [low, if misses == 0 { 1.0 } else { 1.0 - smallest_chance(n, misses, ln_miss) }]
}

/// The largest chance under which `hits` or more of `n` have at most the probability e^`ln_miss`.
fn smallest_chance(n: u64, hits: u64, ln_miss: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        let rare = Rate::nearest(middle).is_ok_and(|rate| binomial_ln_sf(n, hits, rate) <= ln_miss);
        // Below 2⁻⁵⁴ no hit is likely, above its complement all are.
        if rare || middle < 1e-15 { low = middle } else { high = middle }
    }
    low
}

/// The 97.5 % point of the standard normal law.
const Z95: f64 = 1.959_963_984_540_054;

#[cfg(test)]
mod tests {
    use super::super::math::ln;
    use super::*;

    #[test]
    fn limits_are_those_of_clopper_and_pearson() {
        // Beta quantiles: 2 of 10 [0.0252, 0.5561]; 0 of 20 up to 1 − 0.025^(1/20).
        let found = exact_limits(10, 2, ln(0.025));
        assert!((found[0] - 0.025_210_7).abs() < 1e-6 && (found[1] - 0.556_095_4).abs() < 1e-6, "{found:?}");
        let none = exact_limits(20, 0, ln(0.025));
        assert!(none[0] == 0.0 && (none[1] - 0.168_433_5).abs() < 1e-6, "{none:?}");
        assert_eq!(exact_limits(20, 20, ln(0.025)), [1.0 - none[1], 1.0]);
        assert_eq!(exact_limits(0, 0, ln(0.025)), [0.0, 1.0]);
    }
}
