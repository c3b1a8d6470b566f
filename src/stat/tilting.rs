//! The exact tail of a sum on a lattice, by tilting, with an error bound.
//!
//! S = Σ Xᵢ takes whole values from 0 to its top. With the cumulant K(λ) = ln E e^{λS}, the *tilted* law
//! P_λ(S = s) = e^{λs − K(λ)} P(S = s) is for any λ ≥ 0 again the law of an independent sum, and
//!
//! ```text
//! P(S ≥ k) = e^{K(λ) − λk} T,      T = Σ_{j≥0} e^{−λj} P_λ(S = k + j).
//! ```
//!
//! With λ such that the tilted mean is k, T is a number of ordinary size and everything small sits in the
//! exponent: no underflow, however far the tail. T is found in one of two ways, chosen by the amount of work:
//! by convolution, whose terms are all positive, or by Fourier inversion. Both look at a window around k
//! outside which the tilted law has next to no mass (Chernoff's bound).
//!
//! What separates the computed from the true value is bounded, term by term: mass outside the window, the error
//! of T that either way states, and the rounding of K(λ) − λk.

use super::cumulant::{Cumulant, finite, saddle, total};
use super::math::{Sum, UNIT, ceil_to_u64, exp, ln, ln_1m_exp, ln_1p, to_f64};
use super::{convolution, inversion};

/// `count` independent copies of a finite law on whole numbers: atoms (value, probability), ascending, the
/// first at 0.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) atoms: Vec<(u64, f64)>,
    pub(super) count: u64,
}

/// A logarithm that lies between `estimate − below` and `estimate + above`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Enclosed {
    pub(super) estimate: f64,
    pub(super) below: f64,
    pub(super) above: f64,
}

/// The window would have this many values.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooWide(pub(super) u64);

/// ln P(S ≥ k) for 0 < k ≤ top.
pub(super) fn ln_upper(groups: &[Group], k: u64) -> Result<Enclosed, TooWide> {
    let top = top(groups);
    if k == top {
        return Ok(top_atom(groups));
    }
    let direct = if to_f64(k) > cumulant(groups, 0.0).mean { Some(tilted_upper(groups, k)?) } else { None };
    if let Some(tail) = direct
        && tail.estimate < -std::f64::consts::LN_2
    {
        return Ok(tail);
    }
    // Above ½ the digits of ln p are those of the complement; its error then counts in the other direction.
    let flipped: Vec<Group> = groups.iter().map(Group::flipped).collect();
    let k = top - k + 1;
    let q = if k == top { top_atom(&flipped) } else { tilted_upper(&flipped, k)? };
    let estimate = ln_1m_exp(q.estimate.min(0.0));
    // Near 0 doubles stand no closer than the smallest of them.
    let rounding = 8.0 * UNIT * estimate.abs() + f64::MIN_POSITIVE;
    Ok(Enclosed {
        estimate,
        above: ln_1m_exp((q.estimate - q.below).min(0.0)) - estimate + rounding,
        below: estimate - ln_1m_exp((q.estimate + q.above).min(0.0)) + rounding,
    })
}

/// The largest value of the sum.
pub(super) fn top(groups: &[Group]) -> u64 {
    groups.iter().map(|group| group.span() * group.count).sum()
}

/// ln P(S = top): every draw at its largest value.
pub(super) fn top_atom(groups: &[Group]) -> Enclosed {
    let sum: Sum = groups.iter().map(|group| to_f64(group.count) * group.ln_top_probability()).collect();
    let estimate = sum.value();
    let error = 8.0 * UNIT * estimate.abs();
    Enclosed { estimate, below: error, above: error }
}

impl Group {
    /// The largest value of one copy.
    fn span(&self) -> u64 {
        self.atoms.last().map_or(0, |atom| atom.0)
    }

    fn ln_top_probability(&self) -> f64 {
        let Some((&(_, p), rest)) = self.atoms.split_last() else {
            return 0.0;
        };
        if p > 0.5 { ln_1p(-rest.iter().map(|atom| atom.1).collect::<Sum>().value()) } else { ln(p) }
    }

    /// Mean and variance of one copy.
    pub(super) fn moments(&self) -> (f64, f64) {
        let one = self.cumulant(0.0);
        (one.mean, one.variance)
    }

    /// The law of (largest value − X).
    fn flipped(&self) -> Self {
        let span = self.span();
        Self { atoms: self.atoms.iter().rev().map(|&(x, p)| (span - x, p)).collect(), count: self.count }
    }

    /// The variance of all copies under P_λ, and their law.
    fn tilted(&self, lambda: f64) -> (f64, TiltedGroup) {
        let one = self.cumulant(lambda);
        let atoms = self.atoms.iter().map(|&(x, p)| (x, p * exp(lambda * to_f64(x) - one.value))).collect();
        let error = one.rounding + UNIT * (2.0 * lambda * to_f64(self.span()) + 2.0 * one.value.abs() + 8.0);
        let count = to_f64(self.count);
        (count * one.variance, TiltedGroup { atoms, count, error })
    }

    fn cumulant(&self, lambda: f64) -> Cumulant {
        finite(self.atoms.iter().map(|&(x, p)| (to_f64(x), p)), lambda)
    }
}

/// K(λ) and its derivatives for the whole sum.
fn cumulant(groups: &[Group], lambda: f64) -> Cumulant {
    total(groups.iter().map(|group| (group.count, group.cumulant(lambda))))
}

/// ln P(S ≥ k) for 0 < k < top, by the identity of this module.
fn tilted_upper(groups: &[Group], k: u64) -> Result<Enclosed, TooWide> {
    let tilted = Tilted::to_mean(groups, k)?;
    let small = convolution::work(&tilted) <= SMALL;
    let (sum, error) = if small { convolution::sum(&tilted) } else { inversion::sum(&tilted) };
    let error = error + tilted.outside;

    let (lambda, at) = (tilted.lambda, tilted.cumulant);
    let exponent = at.value - lambda * to_f64(k);
    let rounding = at.rounding + UNIT * (2.0 * lambda * to_f64(k) + 4.0 * exponent.abs() + 8.0);
    let estimate = (exponent + ln(sum.max(f64::MIN_POSITIVE))).min(0.0);
    // T ≤ 1, which is Chernoff's bound.
    let above = (exponent + ln((sum.max(0.0) + error).min(1.0)) + rounding).min(0.0) - estimate;
    let below = if error < sum { rounding - ln_1p(-error / sum) } else { f64::INFINITY };
    Ok(Enclosed { estimate, below, above: above.max(0.0) })
}

/// The sum under P_λ, seen through a window around k.
#[derive(Clone, Debug)]
pub(super) struct Tilted {
    pub(super) k: u64,
    pub(super) lambda: f64,
    cumulant: Cumulant,
    /// Largest variance first.
    pub(super) groups: Vec<TiltedGroup>,
    /// The window reaches up to k + `after` …
    pub(super) after: u64,
    /// … and has so many values, rounded up to an odd number.
    pub(super) width: u64,
    /// A bound of the mass outside.
    outside: f64,
}

/// As [`Group`], tilted.
#[derive(Clone, Debug)]
pub(super) struct TiltedGroup {
    pub(super) atoms: Vec<(u64, f64)>,
    pub(super) count: f64,
    /// The largest relative error of a probability in `atoms`.
    pub(super) error: f64,
}

impl Tilted {
    /// Tilts so far upwards that the mean is k, or not at all when it is above.
    pub(super) fn to_mean(groups: &[Group], k: u64) -> Result<Self, TooWide> {
        let lambda = saddle(|lambda| cumulant(groups, lambda), to_f64(k), f64::INFINITY);
        let at = cumulant(groups, lambda);
        let (after, before) = window(groups, k, lambda, at);
        let width = (after + before + 1) | 1;
        if width > MAX_WIDTH {
            return Err(TooWide(width));
        }
        let sides = f64::from(u8::from(after < top(groups) - k) + u8::from(before < k));
        let outside = sides * exp(-NEGLIGIBLE) * 1.001;
        let mut tilted: Vec<_> = groups.iter().map(|group| group.tilted(lambda)).collect();
        tilted.sort_by(|a, b| b.0.total_cmp(&a.0));
        let groups = tilted.into_iter().map(|(_, group)| group).collect();
        Ok(Self { k, lambda, cumulant: at, groups, after, width, outside })
    }
}

/// How far above and below k the tilted law has more than e^−NEGLIGIBLE of mass on either side.
fn window(groups: &[Group], k: u64, lambda: f64, at: Cumulant) -> (u64, u64) {
    let (above, below) = (top(groups) - k, k);
    let (mut after, mut before) = (to_f64(above), to_f64(below));
    // P_λ(S > k + d) ≤ exp(K(λ+t) − K(λ) − t(k + d)) for every t > 0, so d may be taken where this is
    // e^−NEGLIGIBLE; the same with −t below k. Any t is valid; these find the best within a few per cent.
    for i in -12..=8 {
        let t = 10.0 / at.variance.sqrt() * exp(f64::from(i) * 0.35);
        let reach = |t: f64| {
            let there = cumulant(groups, lambda + t);
            let rounding = there.rounding + at.rounding + 4.0 * UNIT * (t * to_f64(k)).abs();
            there.value - at.value - t * to_f64(k) + rounding + NEGLIGIBLE
        };
        after = after.min(reach(t) / t);
        before = before.min(reach(-t) / t);
    }
    (ceil_to_u64(after).min(above), ceil_to_u64(before).min(below))
}

/// Up to this many multiplications a convolution takes a few hundredths of a second.
const SMALL: f64 = 3e7;

/// Mass below e^−56 = 5e-25 is bounded, not computed: T is seldom below 1e-8.
pub(super) const NEGLIGIBLE: f64 = 56.0;

/// Beyond this inversion would take minutes.
const MAX_WIDTH: u64 = 1 << 27;
