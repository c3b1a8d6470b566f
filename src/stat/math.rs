//! The one place where transcendental functions are evaluated.
//!
//! Every number that reaches a report must be the same on every machine, so nothing here calls the platform's
//! mathematics library: [`libm`] is a fixed implementation in Rust. `sqrt`, `abs`, `floor` and the four
//! operations are exact by IEEE 754 and may be used anywhere.
//!
//! Tails are kept as logarithms, and a logarithm of a probability near 1 is itself near 0 and must keep its
//! leading digits: that is what [`ln_1m_exp`] is for.

/// The unit roundoff of `f64`, 2⁻⁵³: one rounded operation changes a result by at most this share of it.
pub const UNIT: f64 = f64::EPSILON / 2.0;

/// The natural logarithm.
#[must_use]
pub fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// ln(1 + x), accurate for small x.
#[must_use]
pub fn ln_1p(x: f64) -> f64 {
    libm::log1p(x)
}

/// The base-10 logarithm of a number whose natural logarithm is `ln_x`, for display.
#[must_use]
pub fn log10_from_ln(ln_x: f64) -> f64 {
    ln_x * std::f64::consts::LOG10_E
}

/// eˣ.
#[must_use]
pub fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// eˣ − 1, accurate for small x.
#[must_use]
pub fn exp_m1(x: f64) -> f64 {
    libm::expm1(x)
}

/// The square root.
#[must_use]
pub fn sqrt(x: f64) -> f64 {
    libm::sqrt(x)
}

/// Sine and cosine of x.
#[must_use]
pub fn sin_cos(x: f64) -> (f64, f64) {
    libm::sincos(x)
}

/// The angle of the point (x, y), in (−π, π].
#[must_use]
pub fn atan2(y: f64, x: f64) -> f64 {
    libm::atan2(y, x)
}

/// The complementary error function.
#[must_use]
pub fn erfc(x: f64) -> f64 {
    libm::erfc(x)
}

/// ln(1 − eˣ) for x ≤ 0: the complement of a probability given and returned as a logarithm.
///
/// −∞ for x = 0 and 0 for x = −∞. The branch at −ln 2 keeps full relative accuracy on both sides (Mächler 2012,
/// *Accurately computing log(1 − exp(−|a|))*).
#[must_use]
pub fn ln_1m_exp(x: f64) -> f64 {
    if x > -std::f64::consts::LN_2 { ln(-exp_m1(x)) } else { ln_1p(-exp(x)) }
}

/// ln Σ exp(xᵢ) without overflow; −∞ for an empty sequence.
#[must_use]
pub fn log_sum_exp(xs: &[f64]) -> f64 {
    let top = xs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top.is_infinite() {
        return top;
    }
    top + ln(xs.iter().map(|x| exp(x - top)).collect::<Sum>().value())
}

/// A compensated sum (Neumaier 1974): its error is about one rounding of the result plus n u² Σ|xᵢ|, so long
/// sums lose nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    total: f64,
    lost: f64,
}

impl Sum {
    /// Adds one number.
    pub fn add(&mut self, x: f64) {
        let total = self.total + x;
        self.lost +=
            if self.total.abs() >= x.abs() { (self.total - total) + x } else { (x - total) + self.total };
        self.total = total;
    }

    /// The sum so far. An infinite sum stays infinite.
    #[must_use]
    pub fn value(self) -> f64 {
        if self.total.is_finite() { self.total + self.lost } else { self.total }
    }
}

impl FromIterator<f64> for Sum {
    fn from_iter<I: IntoIterator<Item = f64>>(numbers: I) -> Self {
        let mut sum = Self::default();
        for x in numbers {
            sum.add(x);
        }
        sum
    }
}

/// ln n! − [(n + ½) ln n − n + ½ ln 2π], the remainder of Stirling's formula; 0 < n.
///
/// Whole numbers up to 15 are tabulated, above that the asymptotic series is exact to the last digit (Loader
/// 2000, *Fast and accurate computation of binomial probabilities*, §4).
#[must_use]
pub fn stirling_remainder(n: u64) -> f64 {
    if let Some(&tabulated) = usize::try_from(n).ok().and_then(|n| STIRLING.get(n)) {
        return tabulated;
    }
    let n = to_f64(n);
    let n2 = n * n;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / n2) / n2) / n2) / n2) / n
}

/// x ln(x / m) + m − x for x ≥ 0, m > 0: how far x lies from the mean m, in units of ln p (Loader's `bd0`).
///
/// `difference` is x − m, given by the caller because he often knows it exactly; near the mean everything
/// depends on it.
#[must_use]
pub fn deviance(x: f64, m: f64, difference: f64) -> f64 {
    if x == 0.0 {
        return m;
    }
    let v = difference / (x + m);
    if v.abs() >= 0.1 {
        return x * ln(x / m) - difference;
    }
    // 2x artanh(v) − difference, without the leading terms that cancel.
    let mut sum = difference * v;
    let mut power = 2.0 * x * v;
    let mut odd = 3.0;
    loop {
        power *= v * v;
        let next = sum + power / odd;
        if next == sum {
            return sum;
        }
        (sum, odd) = (next, odd + 2.0);
    }
}

/// ln P(Z ≥ z) of a standard normal Z. For display and planning only.
#[must_use]
pub fn normal_ln_sf(z: f64) -> f64 {
    if z < 10.0 {
        return ln(0.5 * erfc(z * std::f64::consts::FRAC_1_SQRT_2));
    }
    // Laplace's continued fraction for Mills' ratio, which erfc cannot reach once it underflows.
    let mills = (1..=60).rev().fold(z, |below, i| z + f64::from(i) / below);
    -0.5 * z * z - LN_SQRT_2PI - ln(mills)
}

/// The z with ln P(Z ≥ z) = `ln_p`, for any `ln_p` < 0: −∞ at 0, +∞ at −∞, else found by Newton's method. For
/// display and planning only.
#[must_use]
pub fn normal_z(ln_p: f64) -> f64 {
    if ln_p >= 0.0 {
        return f64::NEG_INFINITY;
    }
    if ln_p == f64::NEG_INFINITY {
        return f64::INFINITY;
    }
    if ln_p > -std::f64::consts::LN_2 {
        return -normal_z(ln_1m_exp(ln_p).min(-std::f64::consts::LN_2));
    }
    // ln P(Z ≥ z) is concave, so from a start to the right of the root every step stays to its right.
    let mut z = sqrt(-2.0 * ln_p);
    for _ in 0..60 {
        let tail = normal_ln_sf(z);
        let hazard = exp(-0.5 * z * z - LN_SQRT_2PI - tail);
        let step = (tail - ln_p) / hazard;
        z += step;
        if step.abs() <= 1e-14 * z.abs().max(1.0) {
            break;
        }
    }
    z
}

/// A count as a real number: exact up to 2⁵³, above that rounded to the nearest.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "one rounding is what the caller asks for")]
pub fn to_f64(n: u64) -> f64 {
    n as f64
}

/// A signed whole number as a real number, rounded to the nearest.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "one rounding is what the caller asks for")]
pub fn signed_to_f64(n: i128) -> f64 {
    n as f64
}

/// The smallest whole number that is at least x: 0 for a negative x or NaN, the largest `u64` when x is beyond
/// it.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, which is the documented result"
)]
pub fn ceil_to_u64(x: f64) -> u64 {
    x.ceil() as u64
}

/// ½ ln 2π.
pub const LN_SQRT_2PI: f64 = 0.918_938_533_204_672_8;

/// [`stirling_remainder`] of 0 to 15; the entry at 0 is never used by the formulas, which treat it apart.
const STIRLING: [f64; 16] = [
    0.0,
    0.081_061_466_795_327_26,
    0.041_340_695_955_409_3,
    0.027_677_925_684_998_34,
    0.020_790_672_103_765_093,
    0.016_644_691_189_821_193,
    0.013_876_128_823_070_748,
    0.011_896_709_945_891_77,
    0.010_411_265_261_972_096,
    0.009_255_462_182_712_733,
    0.008_330_563_433_362_87,
    0.007_573_675_487_951_841,
    0.006_942_840_107_209_53,
    0.006_408_994_188_004_207,
    0.005_951_370_112_758_847_5,
    0.005_554_733_551_962_801,
];
