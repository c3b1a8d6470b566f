//! The exact tail of a sum on a lattice, by tilting and Fourier inversion, with an error bound.
//!
//! S = Σ Xᵢ takes whole values from 0 to its top. For any λ ≥ 0 the *tilted* law P_λ(S = s) = e^{λs − K(λ)} P(S = s), with the
//! cumulant K(λ) = ln E e^{λS}, is again the law of an independent sum, and
//!
//! ```text
//! P(S ≥ k) = e^{K(λ) − λk} T,      T = Σ_{j≥0} e^{−λj} P_λ(S = k + j).
//! ```
//!
//! With λ such that the tilted mean is k, T is a number of ordinary size and everything small sits in the exponent: no underflow, no
//! cancellation, however far the tail. T itself follows from the characteristic function φ of the tilted law at N equidistant angles,
//!
//! ```text
//! T = 1/N Σ_f φ(θ_f) e^{−iθ_f k} G(θ_f),   θ_f = 2πf/N,   G(θ) = Σ_{j<J} e^{−(λ+iθ)j}, a geometric sum.
//! ```
//!
//! One tail needs no transform of the whole law, and |φ| falls so fast that a few dozen angles decide the sum; at the others the
//! product of the factors seen so far already bounds what is left out. (Davies 1973; Abate and Whitt 1992.)
//!
//! Four things separate the computed T from the true one, and each is bounded here: mass of the tilted law outside the window of N
//! values, which folds back or is missed (Chernoff's bound); left-out angles; rounding of φ; rounding of K(λ) − λk.

use super::cumulant::{Cumulant, finite, saddle, total};
use super::math::{Sum, UNIT, atan2, ceil_to_u64, exp, exp_m1, ln, ln_1m_exp, ln_1p, sin_cos, sqrt, to_f64};

/// `count` independent copies of a finite law on whole numbers: atoms (value, probability), ascending, the first at 0.
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

/// The lattice would need this many angles.
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
    let rounding = 8.0 * UNIT * estimate.abs();
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
    let lambda = saddle(|lambda| cumulant(groups, lambda), to_f64(k), f64::INFINITY);
    let at = cumulant(groups, lambda);
    let window = Window::around(groups, k, lambda, at)?;
    let tilt = Tilt::new(groups, lambda);
    let (sum, error) = tilt.sum(k, &window);
    let error = error + window.outside;

    let exponent = at.value - lambda * to_f64(k);
    let rounding = at.rounding + UNIT * (2.0 * lambda * to_f64(k) + 4.0 * exponent.abs() + 8.0);
    let estimate = (exponent + ln(sum.max(f64::MIN_POSITIVE))).min(0.0);
    // T ≤ 1, which is Chernoff's bound.
    let above = (exponent + ln((sum.max(0.0) + error).min(1.0)) + rounding).min(0.0) - estimate;
    let below = if error < sum { rounding - ln_1p(-error / sum) } else { f64::INFINITY };
    Ok(Enclosed { estimate, below, above: above.max(0.0) })
}

/// The values k − before … k + after outside which the tilted law has next to no mass.
struct Window {
    after: u64,
    angles: u64,
    outside: f64,
}

impl Window {
    fn around(groups: &[Group], k: u64, lambda: f64, at: Cumulant) -> Result<Self, TooWide> {
        let sd = sqrt(at.variance);
        let (above, below) = (top(groups) - k, k);
        let (mut after, mut before) = (to_f64(above), to_f64(below));
        // P_λ(S > k + d) ≤ exp(K(λ+t) − K(λ) − t(k + d)) for every t > 0, so d may be taken where this is e^−NEGLIGIBLE; the same
        // with −t below k. Any t is valid; these find the best within a few per cent.
        for i in -12..=8 {
            let t = 10.0 / sd * exp(f64::from(i) * 0.35);
            let reach = |t: f64| {
                let there = cumulant(groups, lambda + t);
                let rounding = there.rounding + at.rounding + 4.0 * UNIT * (t * to_f64(k)).abs();
                there.value - at.value - t * to_f64(k) + rounding + NEGLIGIBLE
            };
            after = after.min(reach(t) / t);
            before = before.min(reach(-t) / t);
        }
        let (after, before) = (ceil_to_u64(after).min(above), ceil_to_u64(before).min(below));
        // Odd, so that all angles but 0 come in pairs.
        let angles = (after + before + 1) | 1;
        if angles > MAX_ANGLES {
            return Err(TooWide(angles));
        }
        let sides = f64::from(u8::from(after < above) + u8::from(before < below));
        Ok(Self { after, angles, outside: sides * exp(-NEGLIGIBLE) * 1.001 })
    }
}

/// The tilted law, ready for its characteristic function.
struct Tilt {
    lambda: f64,
    groups: Vec<TiltedGroup>,
}

struct TiltedGroup {
    atoms: Vec<(u64, f64)>,
    count: f64,
    /// Roundings in a factor of φ, per unit of Σ p |e^{iθx} − 1|.
    roundings: f64,
}

impl Tilt {
    fn new(groups: &[Group], lambda: f64) -> Self {
        let mut tilted: Vec<_> = groups
            .iter()
            .map(|group| {
                let one = group.cumulant(lambda);
                let tilted = |&(x, p): &(u64, f64)| (x, p * exp(lambda * to_f64(x) - one.value));
                let atoms: Vec<_> = group.atoms.iter().map(tilted).collect();
                let roundings = 40.0 + 4.0 * lambda * to_f64(group.span()) + to_f64_len(atoms.len());
                let count = to_f64(group.count);
                (count * one.variance, TiltedGroup { atoms, count, roundings })
            })
            .collect();
        // The group that shrinks φ most comes first, so that hopeless angles end early.
        tilted.sort_by(|a, b| b.0.total_cmp(&a.0));
        Self { lambda, groups: tilted.into_iter().map(|(_, group)| group).collect() }
    }

    /// T over the window, and a bound of its rounding and of the angles left out.
    fn sum(&self, k: u64, window: &Window) -> (f64, f64) {
        let circle = Circle { angles: window.angles };
        let geometric = Geometric { lambda: self.lambda, terms: window.after + 1 };
        let at_zero = geometric.at_zero();
        let (mut sum, mut error) = (Sum::default(), Sum::default());
        for f in 1..=window.angles / 2 {
            match self.factor(circle, f) {
                Factor::Negligible(bound) => error.add(bound * at_zero),
                Factor::Known { ln_size, phase, ln_error } => {
                    let (re, im) = geometric.at(circle, f);
                    let (sin, cos) = sin_cos(phase - circle.angle(f, k));
                    let size = exp(ln_size);
                    sum.add(size * (re * cos - im * sin));
                    error.add(size * (re.abs() + im.abs()) * (exp_m1(ln_error) + 48.0 * UNIT));
                }
            }
        }
        let angles = to_f64(window.angles);
        let total = (at_zero + 2.0 * sum.value()) / angles;
        (total, (2.0 * error.value() + 32.0 * UNIT * at_zero) / angles + 8.0 * UNIT * total.abs())
    }

    /// φ at angle f.
    fn factor(&self, circle: Circle, f: u64) -> Factor {
        let (mut ln_size, mut phase, mut ln_error) = (Sum::default(), Sum::default(), 0.0);
        for group in &self.groups {
            let one = group.factor(circle, f);
            ln_size.add(group.count * one.ln_size);
            phase.add(group.count * one.phase);
            ln_error += group.count * one.ln_error;
            if ln_size.value() + ln_error < -NEGLIGIBLE {
                return Factor::Negligible(exp(ln_size.value() + ln_error));
            }
        }
        let (ln_size, phase) = (ln_size.value(), phase.value());
        let ln_error = ln_error + 4.0 * UNIT * (ln_size.abs() + phase.abs());
        Factor::Known { ln_size, phase, ln_error }
    }
}

impl TiltedGroup {
    /// ln of one copy's characteristic function at angle f.
    fn factor(&self, circle: Circle, f: u64) -> LnFactor {
        // φ − 1 = Σ p (e^{iθx} − 1) = Σ p (−2 sin² + 2i sin cos) of the half angle: nothing cancels near θ = 0.
        let (mut re, mut im, mut spread) = (0.0, 0.0, 0.0);
        for &(x, p) in self.atoms.iter().filter(|atom| atom.0 != 0) {
            let (sin, cos) = sin_cos(0.5 * circle.angle(f, x));
            re -= p * 2.0 * sin * sin;
            im += p * 2.0 * sin * cos;
            spread += p * 2.0 * sin.abs();
        }
        let error = UNIT * self.roundings * spread;
        let excess = 2.0 * re + (re * re + im * im);
        let ln_size =
            if excess > -0.5 { 0.5 * ln_1p(excess) } else { 0.5 * ln((1.0 + re) * (1.0 + re) + im * im) };
        let size = exp(ln_size);
        if size < 8.0 * error {
            // Anything down to 0 is possible: |φ̂ − φ| ≤ 17 error = size (e^1.2 − 1) at least, see `Factor::Known`.
            return LnFactor { ln_size: ln(8.0 * error), phase: 0.0, ln_error: 1.2 };
        }
        LnFactor { ln_size, phase: atan2(im, 1.0 + re), ln_error: 4.0 * error / size }
    }
}

/// ln |φ| and arg φ of one copy; the true φ is φ̂ e^ε with |ε| ≤ `ln_error`.
struct LnFactor {
    ln_size: f64,
    phase: f64,
    ln_error: f64,
}

/// φ of the whole sum at one angle.
enum Factor {
    /// |φ| is at most this, which is below e^−NEGLIGIBLE.
    Negligible(f64),
    /// As [`LnFactor`]: |φ̂ − φ| ≤ |φ̂| (e^ε − 1).
    Known { ln_size: f64, phase: f64, ln_error: f64 },
}

/// The N equidistant angles θ_f = 2πf/N.
#[derive(Clone, Copy)]
struct Circle {
    angles: u64,
}

impl Circle {
    /// θ_f x, reduced exactly in whole numbers to (−π, π].
    fn angle(self, f: u64, x: u64) -> f64 {
        let turns = f * (x % self.angles) % self.angles;
        let opposite = self.angles - turns;
        let share = if turns <= opposite { to_f64(turns) } else { -to_f64(opposite) };
        2.0 * std::f64::consts::PI * share / to_f64(self.angles)
    }
}

/// G(θ) = Σ_{j < terms} e^{−(λ+iθ)j} = (1 − e^{−(λ+iθ) terms}) / (1 − e^{−(λ+iθ)}).
struct Geometric {
    lambda: f64,
    terms: u64,
}

impl Geometric {
    fn at_zero(&self) -> f64 {
        let terms = to_f64(self.terms);
        if self.lambda == 0.0 { terms } else { exp_m1(-self.lambda * terms) / exp_m1(-self.lambda) }
    }

    fn at(&self, circle: Circle, f: u64) -> (f64, f64) {
        let (a, b) = self.one_minus(circle, f, self.terms);
        let (c, d) = self.one_minus(circle, f, 1);
        let norm = c * c + d * d;
        ((a * c + b * d) / norm, (b * c - a * d) / norm)
    }

    /// 1 − e^{−(λ+iθ)j}, real part as a sum of positive terms.
    fn one_minus(&self, circle: Circle, f: u64, j: u64) -> (f64, f64) {
        let decay = self.lambda * to_f64(j);
        let (sin, cos) = sin_cos(0.5 * circle.angle(f, j));
        (2.0 * sin * sin * exp(-decay) - exp_m1(-decay), 2.0 * sin * cos * exp(-decay))
    }
}

fn to_f64_len(n: usize) -> f64 {
    u64::try_from(n).map_or(f64::INFINITY, to_f64)
}

/// Mass and factors below e^−56 = 5e-25 are bounded, not computed: T is seldom below 1e-8.
const NEGLIGIBLE: f64 = 56.0;

/// More angles than this would take minutes.
const MAX_ANGLES: u64 = 1 << 27;
