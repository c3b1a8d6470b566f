//! How much is needed to see an effect: normal approximations, for planning only. No verdict uses them.

use super::math::{exp, ln, normal_ln_sf, normal_z};

/// The chance that a test at level e^`ln_alpha` rejects when its standardised statistic has mean `expected_z`
/// and unit variance: P(Z ≥ z_α − `expected_z`).
#[must_use]
pub fn power(expected_z: f64, ln_alpha: f64) -> f64 {
    exp(normal_ln_sf(normal_z(ln_alpha) - expected_z))
}

/// The mean standardised statistic that a test at level e^`ln_alpha` needs to reject with probability `power`:
/// z_α + z_{1−power}.
///
/// `power` lies strictly between 0 and 1. z grows as the square root of the number of draws: with an observed z₁ from n₁ draws, n₁ (z / z₁)² are
/// needed.
#[must_use]
pub fn z_needed(ln_alpha: f64, power: f64) -> f64 {
    normal_z(ln_alpha) - normal_z(ln(power))
}
