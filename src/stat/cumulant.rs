//! Cumulant functions ψ(λ) = ln E e^{λX}: all that tilting, Chernoff's bound and e-processes need of a law.

use super::math::{Sum, UNIT, exp, exp_m1, ln, ln_1p, to_f64};
use super::rate::Rate;

/// The law of one term aX under H0, with a real coefficient.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RealLaw {
    /// `coefficient` with probability `rate`, else 0; ψ(λ) = ln(1 + p (e^{λa} − 1)).
    Bernoulli {
        /// Any finite number.
        coefficient: f64,
        /// The chance of a hit.
        rate: Rate,
    },
    /// `coefficient` times a variable that never exceeds the Exp(1) variable made from the same coin;
    /// ψ(λ) ≤ −ln(1 − λa) for 0 ≤ λa < 1, and this bound is what is used.
    Exponential {
        /// Not negative: for a negative one the bound would be on the wrong side.
        coefficient: f64,
    },
    /// Several independent coins of one chance that make one draw, as a tournament's layers do:
    /// ψ(λ) = Σ ln(1 + p (e^{λa} − 1)).
    Coins {
        /// What each coin counts.
        coefficients: Vec<f64>,
        /// The chance of a hit.
        rate: Rate,
    },
    /// Each of these scores with the same probability 1/K; ψ(λ) = ln (1/K) Σ e^{λf}.
    Scores(Vec<f64>),
}

/// `count` independent terms of the same law.
#[derive(Clone, Debug, PartialEq)]
pub struct RealTerm {
    /// The law of each.
    pub law: RealLaw,
    /// How many.
    pub count: u64,
}

impl RealTerm {
    /// One keyed coin.
    #[must_use]
    pub fn coin(coefficient: f64, rate: Rate) -> Self {
        Self { law: RealLaw::Bernoulli { coefficient, rate }, count: 1 }
    }

    /// One draw that never exceeds `coefficient` times Exp(1).
    #[must_use]
    pub fn exponential(coefficient: f64) -> Self {
        Self { law: RealLaw::Exponential { coefficient }, count: 1 }
    }

    /// One keyed choice among siblings with these scores.
    #[must_use]
    pub fn choice(scores: Vec<f64>) -> Self {
        Self { law: RealLaw::Scores(scores), count: 1 }
    }
}

/// A law that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LawError {
    /// A coefficient or score is infinite or not a number.
    #[error("the coefficient {0} is not a finite number")]
    NotFinite(f64),
    /// An exponential draw cannot count against the statistic: its bound holds only upwards.
    #[error("the coefficient {0} of an exponential draw is negative")]
    Negative(f64),
    /// A score vector without scores, or a draw of no coin.
    #[error("a draw has no score")]
    NoScores,
}

impl RealLaw {
    /// Whether this is a law at all; everything below assumes it.
    pub(super) fn check(&self) -> Result<(), LawError> {
        let coefficients = match self {
            Self::Bernoulli { coefficient, .. } | Self::Exponential { coefficient } => {
                std::slice::from_ref(coefficient)
            }
            Self::Coins { coefficients, .. } | Self::Scores(coefficients) => coefficients,
        };
        if coefficients.is_empty() {
            return Err(LawError::NoScores);
        }
        if let Some(&a) = coefficients.iter().find(|a| !a.is_finite()) {
            return Err(LawError::NotFinite(a));
        }
        match self {
            Self::Exponential { coefficient } if *coefficient < 0.0 => Err(LawError::Negative(*coefficient)),
            _ => Ok(()),
        }
    }

    /// The largest |a|.
    pub(super) fn size(&self) -> f64 {
        match self {
            Self::Bernoulli { coefficient, .. } | Self::Exponential { coefficient } => coefficient.abs(),
            Self::Coins { coefficients: scores, .. } | Self::Scores(scores) => {
                scores.iter().fold(0.0, |size, f| f.abs().max(size))
            }
        }
    }

    /// The smallest and the largest value of one term.
    pub(super) fn range(&self) -> (f64, f64) {
        match self {
            Self::Bernoulli { coefficient, .. } => (coefficient.min(0.0), coefficient.max(0.0)),
            Self::Coins { coefficients, .. } => {
                coefficients.iter().fold((0.0, 0.0), |(low, high), &a| (low + a.min(0.0), high + a.max(0.0)))
            }
            Self::Exponential { coefficient } => (0.0, if *coefficient > 0.0 { f64::INFINITY } else { 0.0 }),
            Self::Scores(scores) => scores
                .iter()
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &f| (low.min(f), high.max(f))),
        }
    }

    /// The λ below which ψ is finite.
    pub(super) fn domain(&self) -> f64 {
        match self {
            Self::Exponential { coefficient } if *coefficient > 0.0 => coefficient.recip(),
            _ => f64::INFINITY,
        }
    }

    /// ψ and its derivatives at a λ inside the domain.
    pub(super) fn cumulant(&self, lambda: f64) -> Cumulant {
        match self {
            &Self::Bernoulli { coefficient, rate } => coin(coefficient, rate, lambda),
            Self::Coins { coefficients, rate } => {
                total(coefficients.iter().map(|&a| (1, coin(a, *rate, lambda))))
            }
            &Self::Exponential { coefficient } => {
                let value = -ln_1p(-lambda * coefficient);
                let mean = coefficient / (1.0 - lambda * coefficient);
                let rounding = UNIT * (8.0 * value.abs() + 8.0 * lambda * mean);
                Cumulant { value, mean, variance: mean * mean, rounding }
            }
            Self::Scores(scores) => {
                let p = to_f64(scores.iter().fold(0, |n, _| n + 1)).recip();
                finite(scores.iter().map(|&f| (f, p)), lambda)
            }
        }
    }
}

/// The cumulant of one coin.
fn coin(coefficient: f64, rate: Rate, lambda: f64) -> Cumulant {
    finite([(0.0, rate.complement().p()), (coefficient, rate.p())].into_iter(), lambda)
}

/// ψ(λ), ψ′(λ) = the mean and ψ″(λ) = the variance of the tilted law; `rounding` bounds the error of ψ(λ).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cumulant {
    pub(super) value: f64,
    pub(super) mean: f64,
    pub(super) variance: f64,
    pub(super) rounding: f64,
}

/// The cumulant of a sum of independent terms, given each one's and its count.
pub(super) fn total(terms: impl Iterator<Item = (u64, Cumulant)>) -> Cumulant {
    let mut sums = [Sum::default(); 4];
    for (count, one) in terms {
        let parts = [one.value, one.mean, one.variance, one.rounding];
        sums.iter_mut().zip(parts).for_each(|(sum, part)| sum.add(to_f64(count) * part));
    }
    let [value, mean, variance, rounding] = sums.map(Sum::value);
    Cumulant { value, mean, variance, rounding: rounding + 4.0 * UNIT * value.abs() }
}

/// The cumulant of a law with finitely many atoms (value, probability).
pub(super) fn finite(atoms: impl Iterator<Item = (f64, f64)> + Clone, lambda: f64) -> Cumulant {
    let highest = atoms.clone().map(|(x, _)| lambda * x).fold(f64::NEG_INFINITY, f64::max);
    let growth: f64 = atoms.clone().map(|(x, p)| p * exp_m1(lambda * x)).sum();
    // E e^{λX} is 1 + growth; near 0 that would lose its digits, and beyond e^700 it overflows.
    let (value, shift, norm) = if highest <= 700.0 && growth > -0.5 {
        let value = ln_1p(growth);
        (value, value, 1.0)
    } else {
        let norm = atoms.clone().map(|(x, p)| p * exp(lambda * x - highest)).sum();
        (highest + ln(norm), highest, norm)
    };
    // Where λx is so large that adding ln p no longer changes it, the shares still add to 1, and the mean rises
    // with λ: a search for λ may start that far out.
    let tilted = atoms.clone().map(|(x, p)| (x, p * exp(lambda * x - shift) / norm));
    let mean: f64 = tilted.clone().map(|(x, p)| p * x).sum();
    let variance = tilted.clone().map(|(x, p)| p * (x - mean) * (x - mean)).sum();
    // An atom x enters with at most 10 roundings of its share, one of them in λx; below 1 + growth = ½ all of
    // it counts in full.
    let moved: f64 = tilted.zip(atoms).map(|((x, t), (_, p))| (t + p) * (lambda * x).abs()).sum();
    Cumulant { value, mean, variance, rounding: UNIT * (12.0 * value.abs() + 16.0 * moved) }
}

/// The λ in [0, domain) at which the tilted mean reaches `target`, or nearly; 0 when it does so untilted.
///
/// Newton's method within a shrinking bracket. Where the target is at or beyond the largest value of the sum
/// there is no such λ, and the search ends once more tilting changes nothing.
pub(super) fn saddle(at: impl Fn(f64) -> Cumulant, target: f64, domain: f64) -> f64 {
    let start = at(0.0);
    if start.mean >= target || target.is_nan() || start.variance == 0.0 {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, domain);
    let mut lambda = ((target - start.mean) / start.variance).min(0.5 * domain).min(f64::MAX);
    // A chance of 1e-300 puts the first guess at 1e300, a thousand halvings away.
    for _ in 0..1200 {
        let here = at(lambda);
        let miss = target - here.mean;
        let out_of_reach = miss > 0.0 && lambda > 1e60;
        if miss.abs() <= 1e-6 * here.variance.sqrt() || lambda * miss.abs() <= 1e-12 || out_of_reach {
            break;
        }
        if miss > 0.0 {
            low = lambda
        } else {
            high = lambda
        }
        let newton = lambda + miss / here.variance;
        lambda = match (low < newton && newton < high.min(4.0 * lambda), high.is_finite()) {
            (true, _) => newton,
            (false, true) => 0.5 * (low + high),
            (false, false) => 2.0 * lambda,
        };
    }
    lambda
}
