//! Numbers as people read them. p is rounded up and e down: never in favour of the finding.

use maud::{Markup, html};

use crate::case::figure::{grouped, minus};
use crate::law::Law;
use crate::stat::math::{exp, log10_from_ln, to_f64};

/// ln 2⁻¹²⁸: below it p is stated as that.
pub(super) const LN_LIMIT: f64 = -128.0 * std::f64::consts::LN_2;

/// ln min(1, 2⁶⁴ p).
pub(super) fn after_hidden_tries(ln_p: f64) -> f64 {
    (ln_p + 64.0 * std::f64::consts::LN_2).min(0.0)
}

pub(super) fn count(n: u64) -> String {
    grouped(to_f64(n))
}

/// A real number with so many digits after the point.
pub(super) fn real(x: f64, digits: usize) -> String {
    minus(&format!("{x:.digits$}"))
}

pub(super) fn percent(share: f64, digits: usize) -> String {
    format!("{}\u{a0}%", real(100.0 * share, digits))
}

/// The mean of draws: per cent where they are coins.
pub(super) fn rate(mean: f64, law: Option<Law>) -> String {
    match law {
        Some(Law::Bernoulli(_)) => percent(mean, 1),
        _ => real(mean, 3),
    }
}

/// An interval of means written by `rate`, or a dash where there is none.
pub(super) fn interval(ends: Option<[f64; 2]>, rate: impl Fn(f64) -> String) -> String {
    let [low, high] = match ends {
        None => return "–".to_owned(),
        Some(ends) => ends.map(rate),
    };
    format!("{}–{high}", low.trim_end_matches("\u{a0}%"))
}

/// log10 of a p-value given by its ln, rounded up.
pub(super) fn log10_p(ln_p: f64) -> String {
    let (digits, unit) = precision(ln_p);
    // −0 is 0.
    real((log10_from_ln(ln_p) * unit - 1e-9).ceil() / unit + 0.0, digits)
}

/// log10 of an e-value given by its ln, rounded down.
pub(super) fn log10_e(ln_e: f64) -> String {
    let (digits, unit) = precision(ln_e);
    real((log10_from_ln(ln_e) * unit + 1e-9).floor() / unit + 0.0, digits)
}

/// One digit after the point for what is beyond 10^±10, else two; and the unit that this keeps.
fn precision(ln_x: f64) -> (usize, f64) {
    if ln_x.abs() > 10.0 * std::f64::consts::LN_10 { (1, 10.0) } else { (2, 100.0) }
}

/// [`log10_p`] with the limit where it applies.
pub(super) fn stated_log10_p(ln_p: f64) -> String {
    if ln_p < LN_LIMIT { "below\u{a0}−38.5".to_owned() } else { log10_p(ln_p) }
}

/// A probability in words and digits: 0.37, or 3.2 × 10⁻⁹; rounded up, and never below 2⁻¹²⁸.
pub(super) fn probability(ln_p: f64) -> Markup {
    let power = log10_from_ln(ln_p).floor();
    let mantissa = (exp(ln_p - power * std::f64::consts::LN_10) * 10.0 - 1e-6).ceil() / 10.0;
    let (mantissa, power) = if mantissa >= 10.0 { (1.0, power + 1.0) } else { (mantissa, power) };
    html! {
        @if ln_p < LN_LIMIT {
            "2" sup { "−128" } " (3 × 10" sup { "−39" } ")"
        } @else if power >= -2.0 {
            (real((exp(ln_p) * 1000.0 - 1e-6).ceil() / 1000.0, 3))
        } @else {
            @if mantissa > 1.0 { (real(mantissa, 1)) " × " }
            "10" sup { (real(power, 0)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stat::math::ln;

    #[test]
    fn probabilities_are_rounded_up() {
        let written = |p: f64| probability(ln(p)).into_string();
        assert_eq!(written(1e-6), "10<sup>−6</sup>");
        assert_eq!(written(3.11e-9), "3.2 × 10<sup>−9</sup>");
        assert_eq!(written(9.96e-9), "10<sup>−8</sup>");
        assert_eq!(written(0.3701), "0.371");
        assert_eq!(probability(-500.0).into_string(), "2<sup>−128</sup> (3 × 10<sup>−39</sup>)");
    }

    #[test]
    fn logarithms_are_rounded_towards_less_evidence() {
        assert_eq!(log10_p(-6.004 * std::f64::consts::LN_10), "−6.00");
        assert_eq!(log10_p(-20.19 * std::f64::consts::LN_10), "−20.1");
        assert_eq!(log10_e(6.009 * std::f64::consts::LN_10), "6.00");
        assert_eq!([log10_p(0.0), log10_e(0.0)], ["0.00", "0.00"]);
        assert_eq!(stated_log10_p(-400.0), "below\u{a0}−38.5");
    }

    #[test]
    fn hidden_tries_cost_their_number_and_no_p_exceeds_1() {
        let left = after_hidden_tries(-100.0);
        assert!((left - (-100.0 + 44.361_419_555_836_5)).abs() < 1e-9);
        assert!(after_hidden_tries(-10.0).abs() < 1e-300);
    }
}
