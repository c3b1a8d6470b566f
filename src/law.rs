//! Laws and draws: the seam between schemes, which make randomness, and statistics, which sum it.
//!
//! A *draw* is one input of the keyed function. Its law under H0 is known because we made it; its coefficient was
//! fixed without it. [`Tally`] sums the coefficients of equal inputs *before* anything is rounded or opened, so one
//! coin is one draw; [`Draws`] can be consumed once. Neither knows a scheme, a text or a model.

mod candidates;
mod choice;
mod foreign;
mod layers;
mod streamed;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use candidates::{Candidates, Unlike, Weighted};
pub use choice::{Choices, SIBLINGS_MAX, Scores, ScoresError, WholeChoice, WholeChoices};
pub use foreign::{Correlation, Foreign, ForeignLaw, Offsets};
pub use layers::{Layers, LayersError};
pub use streamed::{Rounding, StreamError, Streamed};

/// γ as a whole number of lanes: P(lane < threshold) = threshold / 2ᵇ exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Gamma {
    threshold: u32,
    bits: u8,
}

impl Gamma {
    /// threshold / 2^bits, strictly between 0 and 1, `bits` at most 32.
    ///
    /// # Errors
    /// A probability of 0 or 1, or more than 32 bits.
    pub fn new(threshold: u32, bits: u8) -> Result<Self, GammaError> {
        let inside = (1..=32).contains(&bits) && threshold > 0 && u64::from(threshold) < 1 << bits;
        if inside { Ok(Self { threshold, bits }) } else { Err(GammaError { threshold, bits }) }
    }

    /// The numerator.
    pub fn threshold(self) -> u32 {
        self.threshold
    }

    /// The denominator's logarithm to base 2.
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// The nearest `f64`: exact, because the denominator is a power of two.
    pub fn value(self) -> f64 {
        f64::from(self.threshold) / f64::from(2_u32).powi(i32::from(self.bits))
    }
}

/// A probability that is not strictly between 0 and 1 on its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a threshold of {threshold} on {bits} bits is no probability strictly between 0 and 1")]
pub struct GammaError {
    threshold: u32,
    bits: u8,
}

/// The distribution of a draw under H0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Law {
    /// X = 1 with probability γ exactly, else 0.
    Bernoulli(Gamma),
    /// X = f(J), J uniform on K siblings, f fixed without J: one pick of the key, however often the slot was probed.
    Choice(Scores),
    /// X = −ln((c+1)/2³²) with c = 2³² − 1 − word: never above Exp(1), so an Exp(1) tail is an upper bound.
    Exponential,
    /// X = Σ w g over fair bits g of one word: Binomial(m, ½) for m equal weights.
    Layers(Layers),
}

impl Law {
    /// X as a whole number, given the draw's word; none for an exponential draw, whose X is real.
    pub fn whole(self, word: u32) -> Option<i32> {
        match self {
            Self::Bernoulli(_) => Some(i32::from(word > 0)),
            Self::Choice(scores) => Some(scores.value(word)),
            Self::Exponential => None,
            Self::Layers(layers) => i32::try_from(layers.sum(word)).ok(),
        }
    }

    /// X, given the draw's word: 0 or 1 for a Bernoulli draw, the sibling picked (from 0) for a choice, the 32-bit lane
    /// for the others.
    pub fn value(self, word: u32) -> f64 {
        match self {
            Self::Bernoulli(_) => f64::from(word),
            Self::Choice(scores) => f64::from(scores.value(word)),
            Self::Layers(layers) => f64::from(layers.sum(word)),
            // ln((c+1)/2³²) with c+1 = 2³² − word: near 1 by log1p, else directly.
            Self::Exponential => {
                let w = f64::from(word) / 4_294_967_296.0;
                if w < 0.5 { -libm::log1p(-w) } else { -libm::log(1.0 - w) }
            }
        }
    }

    /// E X under the law the tail is computed with.
    pub fn mean(self) -> f64 {
        match self {
            Self::Bernoulli(gamma) => gamma.value(),
            Self::Choice(scores) => scores.mean(),
            Self::Exponential => 1.0,
            Self::Layers(layers) => layers.mean(),
        }
    }

    /// Var X under the law the tail is computed with.
    pub fn variance(self) -> f64 {
        match self {
            Self::Bernoulli(gamma) => gamma.value() * (1.0 - gamma.value()),
            Self::Choice(scores) => scores.variance(),
            Self::Exponential => 1.0,
            Self::Layers(layers) => layers.variance(),
        }
    }

    /// What one draw adds to the denominator of a rate: 1, or Σ|f| of a choice, so that a choice's rate is the share of
    /// its scores that fell on the sibling picked (1/K under H0).
    pub fn weight(self) -> f64 {
        match self {
            Self::Choice(scores) => f64::from(scores.total()),
            Self::Bernoulli(_) | Self::Exponential | Self::Layers(_) => 1.0,
        }
    }

    /// What bets on a draw are scaled by: 1, the largest |f| of a choice, the heaviest layer.
    pub fn reach(self) -> f64 {
        match self {
            Self::Choice(scores) => f64::from(scores.reach()),
            Self::Layers(layers) => f64::from(layers.weights().iter().copied().max().unwrap_or(1)),
            Self::Bernoulli(_) | Self::Exponential => 1.0,
        }
    }
}

/// How real coefficients become whole numbers, fixed in the plan before the key is touched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Coefficients are whole already.
    Unit,
    /// 127 / max |a|: for count statistics such as √n.
    Max,
    /// 127 / the 99.9 % quantile of |a|: the default for residuals, whose largest values are outliers.
    Quantile,
}

/// The largest coefficient of a lattice statistic.
pub const COEFFICIENT_MAX: i32 = 127;

/// Real coefficients by draw, equal inputs summed.
///
/// `I` identifies a draw: one input of the keyed function (for foreign formats, the collapsed input).
#[derive(Clone, Debug)]
pub struct Tally<I> {
    entries: Vec<Tallied<I>>,
    /// Whether they are sorted, each input once.
    merged: bool,
}

#[derive(Clone, Copy, Debug)]
struct Tallied<I> {
    input: I,
    coefficient: f64,
    cluster: u32,
}

impl<I: Ord> Tally<I> {
    /// A tally of nothing.
    pub fn new() -> Self {
        Self { entries: Vec::new(), merged: true }
    }

    /// Adds `coefficient` to the draw of `input`. The draw belongs to the first `cluster` (exchange) that names it.
    pub fn add(&mut self, input: I, coefficient: f64, cluster: u32) {
        self.merged &= self.entries.last().is_none_or(|last| last.input < input);
        self.entries.push(Tallied { input, coefficient, cluster });
    }

    /// Replaces each summed coefficient by a function of it, such as 1 (*distinct*) or √n.
    #[must_use]
    pub fn map(mut self, f: impl Fn(f64) -> f64) -> Self {
        self.merge();
        self.entries.iter_mut().for_each(|entry| entry.coefficient = f(entry.coefficient));
        self
    }

    /// Rounds the summed coefficients to whole numbers, half to even, clipped to ±127. Looks at no key.
    pub fn whole(mut self, scale: Scale) -> Whole<I> {
        self.merge();
        let factor = scale_factor(scale, self.magnitudes());
        self.rounded(factor)
    }

    /// Rounds the coefficients of several unrelated keys, each times its key's weight, by one scale. So the weights say how
    /// the keys' coefficients compare, whatever the largest of each key happens to be. Looks at no key.
    pub fn whole_together(weighed: Vec<(Self, u8)>, scale: Scale) -> Vec<Whole<I>> {
        let weighed = weighed.into_iter().map(|(tally, weight)| tally.map(|a| a * f64::from(weight)));
        let tallies: Vec<Self> = weighed.collect();
        let factor = scale_factor(scale, tallies.iter().flat_map(Self::magnitudes));
        tallies.into_iter().map(|tally| tally.rounded(factor)).collect()
    }

    /// Distinct inputs.
    pub fn distinct(&mut self) -> usize {
        self.merge();
        self.entries.len()
    }

    fn magnitudes(&self) -> impl Iterator<Item = f64> + '_ {
        self.entries.iter().map(|entry| entry.coefficient.abs())
    }

    /// Of merged entries.
    fn rounded(self, factor: f64) -> Whole<I> {
        let kept = Kept::of(&self.entries, factor);
        let entry = |Tallied { input, coefficient, cluster }| WholeEntry {
            input,
            coefficient: round_clipped(coefficient * factor),
            cluster,
        };
        Whole { entries: self.entries.into_iter().map(entry).collect(), kept }
    }

    /// Sorts by input and sums the coefficients of equal ones, in the order in which they were added.
    fn merge(&mut self) {
        if std::mem::replace(&mut self.merged, true) {
            return;
        }
        self.entries.sort_by(|a, b| a.input.cmp(&b.input));
        self.entries.dedup_by(|later, first| {
            let same = later.input == first.input;
            if same {
                first.coefficient += later.coefficient;
            }
            same
        });
    }
}

impl<I: Ord> Default for Tally<I> {
    fn default() -> Self {
        Self::new()
    }
}

/// Whole-number coefficients by draw: what a plan or a bundle stores. No draw has been opened yet.
#[derive(Clone, Debug)]
pub struct Whole<I> {
    entries: Vec<WholeEntry<I>>,
    kept: Kept,
}

/// One draw's input, its coefficient and the exchange it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct WholeEntry<I> {
    /// The keyed function's input.
    pub input: I,
    /// The coefficient.
    pub coefficient: i32,
    /// The exchange of its first occurrence.
    pub cluster: u32,
}

impl<I> Whole<I> {
    /// The coefficients, sorted by input; zeros included.
    pub fn entries(&self) -> &[WholeEntry<I>] {
        &self.entries
    }

    /// The share of z that rounding kept: (Σ a r)/√(Σa² Σr²), r the real coefficients.
    pub fn share_of_z_kept(&self) -> f64 {
        self.kept.share()
    }

    /// Opens every draw with a coefficient other than zero. `word` is the keyed function, `origin` names its key.
    pub fn open(&self, law: Law, origin: Origin, mut word: impl FnMut(&I) -> u32) -> Draws {
        let nonzero = self.entries.iter().filter(|entry| entry.coefficient != 0);
        let draw =
            |entry: &WholeEntry<I>| Draw::new(law, entry.coefficient, word(&entry.input), entry.cluster);
        Draws { draws: nonzero.map(draw).collect(), kept: self.kept, origins: BTreeSet::from([origin]) }
    }
}

/// The keyed function that made a draw: a commitment to its key. Draws of one origin are coins of one set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub [u8; 32]);

/// One opened draw. Neither `Clone` nor `Copy`: it enters one statistic, once.
#[derive(Debug)]
pub struct Draw {
    law: Law,
    coefficient: i32,
    word: u32,
    cluster: u32,
}

impl Draw {
    /// A Bernoulli draw is 0 or 1, and a choice one of its siblings, whatever the word.
    fn new(law: Law, coefficient: i32, word: u32, cluster: u32) -> Self {
        let word = match law {
            Law::Bernoulli(_) => word.min(1),
            Law::Choice(scores) => word.min(scores.last()),
            Law::Exponential | Law::Layers(_) => word,
        };
        Self { law, coefficient, word, cluster }
    }

    /// The law under H0.
    pub fn law(&self) -> Law {
        self.law
    }

    /// The coefficient.
    pub fn coefficient(&self) -> i32 {
        self.coefficient
    }

    /// The word: 0 or 1 for a Bernoulli draw, the sibling picked (from 0) for a choice, the lane for the others.
    pub fn word(&self) -> u32 {
        self.word
    }

    /// X as a whole number, where it is one.
    pub fn whole(&self) -> Option<i32> {
        self.law.whole(self.word)
    }

    /// X.
    pub fn value(&self) -> f64 {
        self.law.value(self.word)
    }

    /// The exchange of its first occurrence.
    pub fn cluster(&self) -> u32 {
        self.cluster
    }
}

/// Draws of *key-independent* evidence: distinct inputs, coefficients fixed without the key, opened together.
///
/// Valid under H0 if nothing that entered them (answers, prompts, coefficients, order, choice) depends on the key.
/// Only [`Whole::open`], [`WholeChoices::open`] and [`Draws::pool`] make them, so equal inputs of one key have been summed.
#[derive(Debug)]
#[must_use]
pub struct Draws {
    draws: Vec<Draw>,
    kept: Kept,
    origins: BTreeSet<Origin>,
}

impl Draws {
    /// The draws.
    pub fn as_slice(&self) -> &[Draw] {
        &self.draws
    }

    /// The share of z that rounding kept.
    pub fn share_of_z_kept(&self) -> f64 {
        self.kept.share()
    }

    /// Adds draws made under an *unrelated* key (another epoch, arm or width): independent, so they pool.
    ///
    /// # Errors
    /// A key whose draws are in already: its coins would count twice.
    pub fn pool(mut self, other: Self) -> Result<Self, SameOrigin> {
        if !self.origins.is_disjoint(&other.origins) {
            return Err(SameOrigin);
        }
        self.kept = self.kept.with(other.kept);
        self.draws.extend(other.draws);
        self.origins.extend(other.origins);
        Ok(self)
    }
}

/// Draws of one key that were to be pooled with draws of the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("draws of one key cannot be pooled with each other: the same coins would count twice")]
pub struct SameOrigin;

/// One step of *adaptive* evidence: coefficients fixed from the past, then the draws of one unseen window opened.
///
/// Its only verdict is an e-process. There is no way from here to [`Draws`].
#[derive(Debug)]
#[must_use]
pub struct Step {
    draws: Vec<Draw>,
}

impl Step {
    /// Opens the draws of one window. `coefficients` (token or sibling, whole number) were fixed beforehand; those of
    /// equal inputs are summed: one coin is one draw.
    pub fn open<I: Ord>(
        law: Law,
        cluster: u32,
        coefficients: &[(I, i32)],
        mut word: impl FnMut(&I) -> u32,
    ) -> Self {
        let mut sums: BTreeMap<&I, i32> = BTreeMap::new();
        for (input, coefficient) in coefficients {
            let sum = sums.entry(input).or_default();
            *sum = sum.saturating_add(*coefficient);
        }
        let nonzero = sums.into_iter().filter(|(_, coefficient)| *coefficient != 0);
        Self { draws: nonzero.map(|(input, a)| Draw::new(law, a, word(input), cluster)).collect() }
    }

    /// The draws of the step.
    pub fn as_slice(&self) -> &[Draw] {
        &self.draws
    }
}

fn scale_factor(scale: Scale, magnitudes: impl Iterator<Item = f64>) -> f64 {
    let mut magnitudes: Vec<f64> = match scale {
        Scale::Unit => return 1.0,
        Scale::Max | Scale::Quantile => magnitudes.filter(|a| *a > 0.0).collect(),
    };
    if magnitudes.is_empty() {
        return 1.0;
    }
    let last = magnitudes.len() - 1;
    let at = if scale == Scale::Quantile { last - last / 1000 } else { last };
    let (_, magnitude, _) = magnitudes.select_nth_unstable_by(at, f64::total_cmp);
    f64::from(COEFFICIENT_MAX) / *magnitude
}

/// Half to even, and what lies within 10⁻⁹ of a half is one: 127·√(3/12) is 63.5, whatever the last bit of a floating
/// number says, and another implementation must come to the same coefficient.
#[expect(clippy::cast_possible_truncation, reason = "clipped to ±127 first")]
fn round_clipped(real: f64) -> i32 {
    let limit = f64::from(COEFFICIENT_MAX);
    let half = (real * 2.0).round() / 2.0;
    let real = if (real - half).abs() < 1e-9 { half } else { real };
    real.round_ties_even().clamp(-limit, limit) as i32
}

/// What rounding kept: sums over draws, a the whole coefficients and r the scaled real ones.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    ar: f64,
    aa: f64,
    rr: f64,
}

impl Kept {
    fn of<I>(entries: &[Tallied<I>], factor: f64) -> Self {
        entries.iter().fold(Self::default(), |sums, entry| {
            let r = entry.coefficient * factor;
            sums.with(Self::of_one(round_clipped(r), r))
        })
    }

    fn of_one(a: i32, r: f64) -> Self {
        let a = f64::from(a);
        Self { ar: a * r, aa: a * a, rr: r * r }
    }

    fn with(self, other: Self) -> Self {
        Self { ar: self.ar + other.ar, aa: self.aa + other.aa, rr: self.rr + other.rr }
    }

    /// (Σ a r)/√(Σa² Σr²).
    fn share(self) -> f64 {
        if self.aa > 0.0 && self.rr > 0.0 { self.ar / (self.aa * self.rr).sqrt() } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_inputs_are_one_draw() {
        let mut tally = Tally::new();
        for (input, a) in [(7, 1.0), (9, 2.0), (7, 1.0)] {
            tally.add(input, a, 0);
        }
        let whole = tally.whole(Scale::Unit);
        let pairs: Vec<_> = whole.entries().iter().map(|e| (e.input, e.coefficient)).collect();
        assert_eq!(pairs, [(7, 2), (9, 2)]);
    }

    #[test]
    fn a_step_sums_equal_inputs_and_draws_of_one_key_never_pool() {
        let law = Law::Bernoulli(Gamma::new(1, 2).unwrap());
        let step = Step::open(law, 0, &[(7, 256), (7, 256), (8, 1)], |_| 1);
        let draws: Vec<_> = step.as_slice().iter().map(Draw::coefficient).collect();
        assert_eq!(draws, [512, 1]);
        let whole = |input| {
            let mut tally = Tally::new();
            tally.add(input, 1.0, 0);
            tally.whole(Scale::Unit)
        };
        let open = |input, key| whole(input).open(law, Origin([key; 32]), |_| 7);
        assert_eq!(open(1, 1).as_slice()[0].word(), 1);
        assert!(open(1, 1).pool(open(2, 1)).is_err());
        let pooled = open(1, 1).pool(open(1, 2)).unwrap();
        assert!(pooled.pool(open(3, 2)).is_err());
    }

    #[test]
    fn scales_round_half_to_even_and_clip() {
        let mut tally = Tally::new();
        for (input, a) in [(0, 254.0), (1, 5.0), (2, 1.0), (3, -254.0)] {
            tally.add(input, a, 0);
        }
        let whole = tally.whole(Scale::Max);
        let a: Vec<_> = whole.entries().iter().map(|e| e.coefficient).collect();
        assert_eq!(a, [127, 2, 0, -127]);
        assert!(whole.share_of_z_kept() > 0.999);
    }

    #[test]
    fn what_rounding_kept_is_summed_over_pooled_keys() {
        let of = |key: u8, coefficients: &[f64]| {
            let mut tally = Tally::new();
            coefficients.iter().zip(0..).for_each(|(a, input)| tally.add(input, *a, 0));
            let law = Law::Bernoulli(Gamma::new(1, 2).unwrap());
            tally.whole(Scale::Unit).open(law, Origin([key; 32]), |_| 1)
        };
        let (rough, fine) = ([1.4, 2.6, 0.4], [100.0]);
        // a = (1, 3, 0) and (100); r as given.
        let (ar, aa, rr) = (1.4 + 3.0 * 2.6 + 1e4, 1.0 + 9.0 + 1e4, 1.96 + 6.76 + 0.16 + 1e4);
        let pooled = of(1, &rough).pool(of(2, &fine)).unwrap();
        assert!((pooled.share_of_z_kept() - ar / f64::sqrt(aa * rr)).abs() < 1e-12);
        assert!(of(1, &rough).share_of_z_kept() < pooled.share_of_z_kept());
    }

    #[test]
    fn exact_ties_are_ties_whatever_the_last_bit_says() {
        for (n, max) in [(3.0, 12.0), (7.0, 28.0), (10.0, 40.0), (1.0, 4.0)] {
            let mut tally = Tally::new();
            tally.add(0, max, 0);
            tally.add(1, n, 0);
            let whole = tally.map(f64::sqrt).whole(Scale::Max);
            assert_eq!(whole.entries()[1].coefficient, 64, "127 √({n}/{max}) = 63.5");
        }
    }

    #[test]
    fn gamma_is_strictly_between_0_and_1() {
        for (threshold, bits) in [(0, 2), (4, 2), (1, 0), (1, 33)] {
            assert!(Gamma::new(threshold, bits).is_err(), "{threshold}/2^{bits}");
        }
        assert!((Gamma::new(1, 2).unwrap().value() - 0.25).abs() < 1e-300);
        assert!(Gamma::new(u32::MAX, 32).is_ok());
    }
}
