//! Quantile plots: what many keys gave, in order, against what chance gives.

use maud::{Markup, html};

use super::{Axis, BLUE, GREY, WIDTH, decimals, minus, px, svg, text};
use crate::stat::math::{exp, ln, ln_1p, log10_from_ln, normal_z, sqrt, to_f64};

/// Points of a long series that are drawn between its ends, and at each end.
const SHOWN: usize = 300;
const ENDS: usize = 40;

/// z under unrelated keys against the quantiles of the normal law, with the lines that a standard deviation of
/// 1 ± 3.3/√(2B) gives: that of a correct test lies between them but once in a thousand times.
pub fn z_quantiles(z: &[f64]) -> Markup {
    let expected = |ln_share: f64| -normal_z(ln_share);
    let half = 3.3 / sqrt(2.0 * to_f64(z.len() as u64));
    let band = |x: f64| [(1.0 - half) * x, (1.0 + half) * x];
    plot(&points(z, expected), band, "Decoy keys by rank", ["z by the normal law", "z found"])
}

/// −log10 p under unrelated keys against uniform p-values, with the standard error of each rank times 3.3. Points above
/// the upper line are p-values that come too often.
pub fn p_quantiles(ln_p: &[f64]) -> Markup {
    let minus_log10: Vec<f64> = ln_p.iter().map(|ln_p| -log10_from_ln(*ln_p)).collect();
    // The share of keys with a larger −log10 p is p itself.
    let expected = |ln_share: f64| -log10_from_ln(ln_1p(-exp(ln_share)));
    let n = to_f64(ln_p.len() as u64);
    // A rank's p has standard error √(p/n), about 1/√(np) of itself.
    let half = move |x: f64| {
        let spread = 3.3 / sqrt(n * exp(-x * ln(10.0)));
        log10_from_ln(ln_1p(spread))
    };
    let band = |x: f64| [x + half(x), x - half(x)];
    plot(&points(&minus_log10, expected), band, "p-values by rank", ["−log₁₀ p if uniform", "−log₁₀ p found"])
}

/// (expected, found) in ascending order, thinned in the middle. `expected` takes ln of the share that lies below.
fn points(found: &[f64], expected: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    let mut found = found.to_vec();
    found.sort_by(f64::total_cmp);
    let n = found.len();
    let every = n / SHOWN + 1;
    let kept = |at: &usize| *at < ENDS || *at + ENDS >= n || at.is_multiple_of(every);
    let share = |at: usize| ln((to_f64(at as u64) + 0.5) / to_f64(n as u64));
    (0..n).filter(kept).map(|at| (expected(share(at)), found[at])).collect()
}

fn plot(
    points: &[(f64, f64)],
    band: impl Fn(f64) -> [f64; 2],
    title: &str,
    [along, up]: [&str; 2],
) -> Markup {
    let (top, bottom, left, right) = (26.0, 350.0, 52.0, WIDTH - 190.0);
    let x = Axis::over(points.iter().map(|(x, _)| *x), [left, right]);
    let y = Axis::over(points.iter().flat_map(|(x, y)| [*x, *y]), [bottom, top]);
    let ends = [x.low, x.high];
    let steps: Vec<f64> =
        (0..=60_u32).map(|at| ends[0] + (ends[1] - ends[0]) * f64::from(at) / 60.0).collect();
    let line = |f: &dyn Fn(f64) -> f64| {
        let inside = steps.iter().map(|at| (*at, f(*at))).filter(|(_, at)| (y.low..=y.high).contains(at));
        inside
            .map(|(at, value)| format!("{},{}", px(x.at(at)), px(y.at(value))))
            .collect::<Vec<_>>()
            .join(" ")
    };
    svg(
        398.0,
        title,
        &format!("{up}, against {along}: on the line where chance alone is at work."),
        html! {
            (text(0.0, 12.0, "start", up))
            (y.along_y(left, right))
            (x.along_x(bottom, top, |at| minus(&decimals(at, x.step))))
            (text((left + right) / 2.0, 390.0, "middle", along))
            @for side in [0, 1] {
                polyline points=(line(&|at| band(at)[side])) fill="none" stroke=(GREY) stroke-width="1.5" stroke-dasharray="5 3" {}
            }
            polyline points=(line(&|at| at)) fill="none" stroke="currentColor" stroke-width="1.5" {}
            @for (expected, found) in points {
                circle cx=(px(x.at(*expected))) cy=(px(y.at(*found))) r="2.2" fill=(BLUE) fill-opacity="0.7" {}
            }
            (legend(right + 18.0))
        },
    )
}

fn legend(left: f64) -> Markup {
    html! {
        circle cx=(px(left + 13.0)) cy="40" r="3" fill=(BLUE) {}
        (text(left + 34.0, 44.5, "start", "a key"))
        line x1=(px(left)) x2=(px(left + 26.0)) y1="62" y2="62" stroke="currentColor" stroke-width="1.5" {}
        (text(left + 34.0, 66.5, "start", "chance"))
        line x1=(px(left)) x2=(px(left + 26.0)) y1="84" y2="84" stroke=(GREY) stroke-width="1.5" stroke-dasharray="5 3" {}
        (text(left + 34.0, 88.5, "start", "1 in 1,000"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_values_lie_on_the_line() {
        let n = 1_000;
        let share = |at: usize| (to_f64(at as u64) + 0.5) / to_f64(n as u64);
        let z: Vec<f64> = (0..n).rev().map(|at| -normal_z(ln(share(at)))).collect();
        for (expected, found) in points(&z, |ln_share| -normal_z(ln_share)) {
            assert!((expected - found).abs() < 1e-9);
        }
        // Thinned in the middle, whole at the ends.
        let drawn = points(&z, |ln_share| -normal_z(ln_share)).len();
        assert!((2 * ENDS..2 * ENDS + SHOWN).contains(&drawn), "{drawn}");
        let figure = z_quantiles(&z).into_string();
        assert_eq!(figure.matches("<circle").count(), drawn + 1);
    }

    #[test]
    fn uniform_p_values_lie_on_the_line() {
        let n = 1_000;
        let ln_p: Vec<f64> = (0..n).map(|at| ln((to_f64(at) + 0.5) / to_f64(n))).collect();
        let figure = p_quantiles(&ln_p).into_string();
        assert!(
            figure.contains("p-values by rank") && !figure.contains("NaN") && !figure.contains("inf"),
            "{figure}"
        );
    }
}
