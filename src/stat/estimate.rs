//! How large an effect is: a ratio with an interval that respects clusters.

use super::math::{Sum, to_f64};

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

/// The 97.5 % point of the standard normal law.
const Z95: f64 = 1.959_963_984_540_054;
