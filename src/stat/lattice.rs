//! The exact tail of a weighted sum with whole coefficients.
//!
//! Coefficients are whole numbers fixed before the key is touched, so S = Σ aᵢXᵢ lives on a lattice and its tail
//! P(S ≥ k) has one exact value: nothing here is an approximation whose quality depends on the data. What is
//! reported is that value plus a bound of the rounding error, so it is *never below the truth* and, for any sum
//! met in practice, within 1e-6 of it.
//!
//! *Null assumption*: the draws are independent and each has exactly the stated law. Broken by a coin that
//! enters twice (equal PRF inputs must be summed into one coefficient first) and by a coefficient that was
//! chosen with a look at the key.

use std::collections::BTreeMap;

use super::math::{Sum, to_f64};
use super::rate::{Rate, gcd};
use super::tail::{binomial_ln_sf, binomial_rounding};
use super::tilting::{self, Group, TooWide, ln_upper};

/// The law of one term aX of the sum.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum LatticeLaw {
    /// `coefficient` with probability `rate`, else 0: one keyed bit or lane.
    Bernoulli {
        /// Any whole number; 0 is a draw that does not count.
        coefficient: i32,
        /// The chance of a hit.
        rate: Rate,
    },
    /// Each of these scores with the same probability 1/K: a keyed choice among K siblings, scored without
    /// knowing it.
    Scores(Vec<i32>),
}

/// `count` independent terms of the same law.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LatticeTerm {
    /// The law of each.
    pub law: LatticeLaw,
    /// How many.
    pub count: u64,
}

/// How a tail was computed: fixed by the type of the statistic, never by which number is smaller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Method {
    /// k is at or below the smallest value (p = 1) or above the largest (p = 0).
    Certain,
    /// All terms are multiples of one coin: the binomial tail.
    Binomial,
    /// Tilting, then convolution or Fourier inversion; at the largest value the product of the top
    /// probabilities.
    Inversion,
}

/// ln P(S ≥ k), from above.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatticeTail {
    /// The number to report: the estimate plus its bound, never below the true ln p and never above 0.
    pub ln_p: f64,
    /// The estimate itself.
    pub estimate: f64,
    /// `ln_p − estimate`: how far the truth can lie above the estimate.
    pub bound: f64,
    /// How it was computed.
    pub method: Method,
}

/// Why a tail has no number.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LatticeError {
    /// A number that is not a probability.
    #[error("{0} is not a probability")]
    NoChance(f64),
    /// A score vector without scores.
    #[error("a score vector is empty")]
    NoScores,
    /// The sum of the coefficients is beyond what is exact.
    #[error("the largest value of the sum exceeds 2^53")]
    Overflow,
    /// The coefficients are too coarse and too large for a common lattice.
    #[error("the sum spreads over {angles} lattice points; use smaller coefficients")]
    TooWide {
        /// The number of points needed.
        angles: u64,
    },
}

/// ln P(S ≥ `k`) for the sum S of all `terms`.
///
/// Terms may come in any order and need not be grouped. No terms is the constant 0. Time is dominated by the
/// standard deviation of S in units of the lattice: a million draws with |a| ≤ 127 take well below a second.
///
/// # Errors
/// An empty score vector, or a lattice too large to compute on; never for |a| ≤ 127 and up to 10⁹ draws.
pub fn lattice_ln_sf(terms: &[LatticeTerm], k: i64) -> Result<LatticeTail, LatticeError> {
    let lattice = Lattice::of(terms)?;
    let k = lattice.index(k);
    if k <= 0 {
        return Ok(LatticeTail::exact(0.0));
    }
    let Some(k) = u64::try_from(k).ok().filter(|&k| k <= lattice.top) else {
        return Ok(LatticeTail::exact(f64::NEG_INFINITY));
    };
    if let Some((n, rate)) = lattice.as_binomial() {
        let estimate = binomial_ln_sf(n, k, rate);
        return Ok(LatticeTail::new(estimate, binomial_rounding(n, estimate), Method::Binomial));
    }
    let tail = ln_upper(&lattice.groups(), k).map_err(|TooWide(angles)| LatticeError::TooWide { angles })?;
    Ok(LatticeTail::new(tail.estimate, tail.above, Method::Inversion))
}

/// ln P(X ≥ `k`), where X counts the hits of independent draws with chances `p`: 0 for `k` = 0, −∞ when fewer
/// than `k` can hit.
///
/// An estimate with a relative error far below 1e-9, for chances that are real numbers; a verdict over keyed
/// draws uses [`lattice_ln_sf`], whose chances are exact.
///
/// # Errors
/// A chance that is not in [0, 1], or more than 10⁸ chances or so.
pub fn poisson_binomial_ln_sf(p: &[f64], k: u64) -> Result<f64, LatticeError> {
    if let Some(&p) = p.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        return Err(LatticeError::NoChance(p));
    }
    let sure = p.iter().filter(|&&p| p == 1.0).fold(0, |n: u64, _| n + 1);
    let open = p.iter().filter(|&&p| p > 0.0 && p < 1.0);
    let groups: Vec<Group> = open.map(|&p| Group { atoms: vec![(0, 1.0 - p), (1, p)], count: 1 }).collect();
    let Some(k) = k.checked_sub(sure).filter(|&k| k > 0) else {
        return Ok(0.0);
    };
    if k > tilting::top(&groups) {
        return Ok(f64::NEG_INFINITY);
    }
    let tail = ln_upper(&groups, k).map_err(|TooWide(angles)| LatticeError::TooWide { angles })?;
    Ok(tail.estimate)
}

impl LatticeTail {
    fn new(estimate: f64, bound: f64, method: Method) -> Self {
        let ln_p = (estimate + bound).min(0.0);
        Self { ln_p, estimate, bound: ln_p - estimate, method }
    }

    fn exact(ln_p: f64) -> Self {
        Self { ln_p, estimate: ln_p, bound: 0.0, method: Method::Certain }
    }
}

/// One draw's law with its smallest value moved to 0: (value, weight) ascending, P = weight / total, in lowest
/// terms.
type Shape = Vec<(u64, u64)>;

/// S = offset + step × (a sum of laws on 0, 1, 2, …).
struct Lattice {
    offset: i128,
    step: u64,
    shapes: BTreeMap<Shape, u64>,
    top: u64,
}

impl Lattice {
    fn of(terms: &[LatticeTerm]) -> Result<Self, LatticeError> {
        // Equal laws are merged before anything is allocated for them: a million draws have few different
        // coefficients.
        let mut counts: BTreeMap<&LatticeLaw, u64> = BTreeMap::new();
        for term in terms.iter().filter(|term| term.count > 0) {
            let count = counts.entry(&term.law).or_default();
            *count = count.checked_add(term.count).ok_or(LatticeError::Overflow)?;
        }
        let (mut offset, mut step, mut top) = (0_i128, 0, 0_u128);
        let mut shapes: BTreeMap<Shape, u64> = BTreeMap::new();
        for (law, count) in counts {
            let (low, shape) = law.shape()?;
            offset += i128::from(low) * i128::from(count);
            let span = shape.last().map_or(0, |atom| atom.0);
            top += u128::from(span) * u128::from(count);
            step = shape.iter().fold(step, |step, atom| gcd(step, atom.0));
            if span > 0 {
                // Beyond u64 the sum is beyond 2⁵³ too, which is refused below.
                let merged = shapes.entry(shape).or_default();
                *merged = merged.saturating_add(count);
            }
        }
        let step = step.max(1);
        let top = u64::try_from(top).ok().filter(|&top| top < 1 << 53).ok_or(LatticeError::Overflow)? / step;
        Ok(Self { offset, step, shapes, top })
    }

    /// The smallest index of the lattice at or above the value k.
    fn index(&self, k: i64) -> i128 {
        let step = i128::from(self.step);
        let above = i128::from(k) - self.offset;
        above.div_euclid(step) + i128::from(above.rem_euclid(step) != 0)
    }

    /// n and the rate, when S is a shifted multiple of one binomial count.
    fn as_binomial(&self) -> Option<(u64, Rate)> {
        let (shape, &n) = self.shapes.first_key_value().filter(|_| self.shapes.len() == 1)?;
        let [(_, misses), (_, hits)] = shape[..] else {
            return None;
        };
        Rate::new(hits, misses + hits).ok().map(|rate| (n, rate))
    }

    fn groups(&self) -> Vec<Group> {
        let group = |(shape, &count): (&Shape, &u64)| {
            let total = to_f64(shape.iter().map(|atom| atom.1).sum());
            let atoms = shape.iter().map(|&(x, weight)| (x / self.step, to_f64(weight) / total)).collect();
            Group { atoms, count }
        };
        self.shapes.iter().map(group).collect()
    }
}

impl LatticeLaw {
    /// The smallest value, and the law counted from there.
    fn shape(&self) -> Result<(i32, Shape), LatticeError> {
        let mut weights: BTreeMap<i32, u64> = BTreeMap::new();
        match self {
            Self::Bernoulli { coefficient, rate } => {
                *weights.entry(0).or_default() += rate.den() - rate.num();
                *weights.entry(*coefficient).or_default() += rate.num();
            }
            Self::Scores(scores) => scores.iter().for_each(|&score| *weights.entry(score).or_default() += 1),
        }
        let (&low, _) = weights.first_key_value().ok_or(LatticeError::NoScores)?;
        let common = weights.values().copied().fold(0, gcd);
        let shape = weights.iter().map(|(&x, &w)| (x.abs_diff(low).into(), w / common)).collect();
        Ok((low, shape))
    }
}

impl LatticeTerm {
    /// `count` keyed coins of the same chance and coefficient.
    #[must_use]
    pub fn coins(coefficient: i32, rate: Rate, count: u64) -> Self {
        Self { law: LatticeLaw::Bernoulli { coefficient, rate }, count }
    }

    /// One keyed choice among siblings with these scores.
    #[must_use]
    pub fn choice(scores: Vec<i32>) -> Self {
        Self { law: LatticeLaw::Scores(scores), count: 1 }
    }
}

/// What a reader asks first of a weighted sum: how many equal draws it is worth, and whether one draw dominates
/// it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// E S under H0.
    pub mean: f64,
    /// The standard deviation of S under H0.
    pub sd: f64,
    /// (Σ v)² / Σ v², v the variance of each draw: for equal laws (Σa²)² / Σa⁴.
    pub n_eff: f64,
    /// The largest share of the variance that one draw has.
    pub largest_share: f64,
    /// ln of the smallest attainable p: every draw at its largest value.
    pub ln_p_min: f64,
}

/// The moments of the sum of `terms` under H0, and how evenly they are spread over its draws.
///
/// Without any variance `n_eff` is 0 and `largest_share` is 1.
///
/// # Errors
/// As [`lattice_ln_sf`].
pub fn lattice_spread(terms: &[LatticeTerm]) -> Result<Spread, LatticeError> {
    let lattice = Lattice::of(terms)?;
    let (mut mean, mut variance, mut squares, mut largest) =
        (Sum::default(), Sum::default(), Sum::default(), 0.0_f64);
    for group in lattice.groups() {
        let count = to_f64(group.count);
        let (m, v) = group.moments();
        mean.add(count * m);
        variance.add(count * v);
        squares.add(count * v * v);
        largest = largest.max(v);
    }
    let (step, variance) = (to_f64(lattice.step), variance.value());
    let ln_p_min = if lattice.top == 0 { 0.0 } else { tilting::top_atom(&lattice.groups()).estimate };
    Ok(Spread {
        mean: super::math::signed_to_f64(lattice.offset) + step * mean.value(),
        sd: step * variance.sqrt(),
        n_eff: if variance > 0.0 { variance * variance / squares.value() } else { 0.0 },
        largest_share: if variance > 0.0 { largest / variance } else { 1.0 },
        ln_p_min,
    })
}
