//! A tilted tail by Fourier inversion.
//!
//! The characteristic function φ of the tilted law at N equidistant angles gives
//!
//! ```text
//! T = 1/N Σ_f φ(θ_f) e^{−iθ_f k} G(θ_f),   θ_f = 2πf/N,   G(θ) = Σ_{j<J} e^{−(λ+iθ)j}, a geometric sum,
//! ```
//!
//! up to the mass that lies outside a window of N values around k. One tail needs no transform of the whole
//! law, and |φ| falls so fast that a few dozen angles decide the sum; at the others the product of the factors
//! seen so far already bounds what is left out. (Davies 1973, *Numerical inversion of a characteristic
//! function*; Abate and Whitt 1992 for the window.)

use super::math::{Sum, UNIT, atan2, exp, exp_m1, ln, ln_1p, sin_cos, to_f64};
use super::tilting::{NEGLIGIBLE, Tilted, TiltedGroup};

/// T over the window, and a bound of its rounding and of the angles left out.
pub(super) fn sum(tilted: &Tilted) -> (f64, f64) {
    let circle = Circle { angles: tilted.width };
    let geometric = Geometric { lambda: tilted.lambda, terms: tilted.after + 1 };
    let at_zero = geometric.at_zero();
    let (mut sum, mut error) = (Sum::default(), Sum::default());
    // N is odd, so all angles but 0 come in pairs.
    for f in 1..=circle.angles / 2 {
        match tilted.factor(circle, f) {
            Factor::Negligible(bound) => error.add(bound * at_zero),
            Factor::Known { ln_size, phase, ln_error } => {
                let (re, im) = geometric.at(circle, f);
                let (sin, cos) = sin_cos(phase - circle.angle(f, tilted.k));
                let size = exp(ln_size);
                sum.add(size * (re * cos - im * sin));
                error.add(size * (re.abs() + im.abs()) * (exp_m1(ln_error) + 48.0 * UNIT));
            }
        }
    }
    let angles = to_f64(circle.angles);
    let total = (at_zero + 2.0 * sum.value()) / angles;
    (total, (2.0 * error.value() + 32.0 * UNIT * at_zero) / angles + 8.0 * UNIT * total.abs())
}

impl Tilted {
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
        let (mut re, mut im, mut spread, mut atoms) = (0.0, 0.0, 0.0, 0.0);
        for &(x, p) in self.atoms.iter().filter(|atom| atom.0 != 0) {
            let (sin, cos) = sin_cos(0.5 * circle.angle(f, x));
            re -= p * 2.0 * sin * sin;
            im += p * 2.0 * sin * cos;
            spread += p * 2.0 * sin.abs();
            atoms += 1.0;
        }
        let error = (self.error + UNIT * (32.0 + atoms)) * spread;
        let excess = 2.0 * re + (re * re + im * im);
        let ln_size =
            if excess > -0.5 { 0.5 * ln_1p(excess) } else { 0.5 * ln((1.0 + re) * (1.0 + re) + im * im) };
        let size = exp(ln_size);
        if size < 8.0 * error {
            // Anything down to 0 is possible: |φ̂ − φ| ≤ 17 error = size (e^1.2 − 1) at least, see
            // `Factor::Known`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stat::convolution;
    use crate::stat::tilting::Group;

    #[test]
    fn convolution_and_inversion_agree_within_what_both_promise() {
        let coin = |x: u64, p: f64, count: u64| Group { atoms: vec![(0, 1.0 - p), (x, p)], count };
        let choice = Group { atoms: vec![(0, 0.25), (3, 0.5), (11, 0.125), (40, 0.125)], count: 9 };
        let sums = [
            vec![coin(1, 0.25, 200), coin(7, 0.5, 40), coin(19, 0.01, 25), choice.clone()],
            vec![coin(2, 0.9, 30), coin(127, 0.3, 20)],
            vec![coin(1, 0.5, 3), coin(64, 1e-4, 5), choice],
        ];
        for groups in sums {
            let top: u64 =
                groups.iter().map(|group| group.count * group.atoms[group.atoms.len() - 1].0).sum();
            for k in (1..top).step_by(13) {
                let tilted = Tilted::to_mean(&groups, k).unwrap();
                let ((added, little), (inverted, much)) = (convolution::sum(&tilted), sum(&tilted));
                // What lies outside the window is folded back by one way and missed by the other.
                let apart = (added - inverted).abs();
                assert!(apart <= little + much + 3.0 * exp(-NEGLIGIBLE), "{added} and {inverted} at {k}");
                assert!(little <= 1e-10 * added, "{added} ± {little} at {k}");
            }
        }
    }
}
