//! A probability that is an exact fraction.

use super::math::{ceil_to_u64, ln, ln_1p, signed_to_f64, to_f64};

/// A probability strictly between 0 and 1 that is a fraction of two whole numbers, in lowest terms.
///
/// Laws under H0 are known *because we made them*: a green lane hits with threshold / 2ᵇ exactly, a canary with
/// 1/K exactly. Held as a fraction, p and 1 − p are both known to the last digit, and so is how far a count
/// lies from its mean.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Rate {
    num: u64,
    den: u64,
}

impl Rate {
    /// `num / den`, for 0 < `num` < `den` ≤ 2⁵³.
    ///
    /// # Errors
    /// When the fraction is not strictly between 0 and 1, or its denominator is too large to be a real number
    /// exactly.
    pub fn new(num: u64, den: u64) -> Result<Self, RateError> {
        if num == 0 || num >= den || den > 1 << 53 {
            return Err(RateError { num, den });
        }
        let g = gcd(num, den);
        Ok(Self { num: num / g, den: den / g })
    }

    /// `threshold` / 2^`bits`: the chance that a lane of `bits` bits lies below the threshold.
    ///
    /// # Errors
    /// As [`Rate::new`]; `bits` is at most 53.
    pub fn dyadic(threshold: u64, bits: u32) -> Result<Self, RateError> {
        Self::new(threshold, 1_u64.checked_shl(bits).unwrap_or(0))
    }

    /// The fraction with denominator 2⁵³ nearest to `p`: for levels and other numbers that are not exact to
    /// begin with.
    ///
    /// # Errors
    /// When `p` is not strictly between 0 and 1, or within 2⁻⁵⁴ of either.
    pub fn nearest(p: f64) -> Result<Self, RateError> {
        let den = 1_u64 << 53;
        Self::new(ceil_to_u64(p * to_f64(den) - 0.5), den)
    }

    /// The numerator in lowest terms.
    #[must_use]
    pub fn num(self) -> u64 {
        self.num
    }

    /// The denominator in lowest terms.
    #[must_use]
    pub fn den(self) -> u64 {
        self.den
    }

    /// The probability, rounded once.
    #[must_use]
    pub fn p(self) -> f64 {
        to_f64(self.num) / to_f64(self.den)
    }

    /// The probability of the opposite.
    #[must_use]
    pub fn complement(self) -> Self {
        Self { num: self.den - self.num, den: self.den }
    }

    /// ln p, accurate also when p is near 1.
    #[must_use]
    pub fn ln_p(self) -> f64 {
        if self.p() > 0.5 { ln_1p(-self.complement().p()) } else { ln(self.p()) }
    }

    /// p / (1 − p).
    #[must_use]
    pub fn odds(self) -> f64 {
        to_f64(self.num) / to_f64(self.den - self.num)
    }

    /// k − n p: how far a count of n trials lies above its mean. Rounded only at the end.
    pub(super) fn above_mean(self, n: u64, k: u64) -> f64 {
        // With counts below 2⁶⁴ and a denominator of at most 2⁵³ the products stay below 2¹¹⁷.
        let excess = i128::from(k) * i128::from(self.den) - i128::from(n) * i128::from(self.num);
        signed_to_f64(excess) / to_f64(self.den)
    }
}

/// A fraction that is not a probability strictly between 0 and 1, or not an exact one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{num}/{den} is not a fraction strictly between 0 and 1 with a denominator of at most 2^53")]
pub struct RateError {
    /// The numerator given.
    pub num: u64,
    /// The denominator given (0 when 2^bits does not fit).
    pub den: u64,
}

/// The greatest common divisor; that of 0 and n is n.
pub(super) fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
