//! Figures as inline SVG: pure functions from numbers to markup, without scripts, colours of their own background or
//! anything from outside.
//!
//! Ink is `currentColor`, so a figure follows the page into dark mode and into print; hues are mid-tones that hold on
//! both, and nothing is told by hue alone. Each figure has a title and a description for those who cannot see it.

mod quantiles;

use maud::{Markup, html};

use crate::stat::math::{LN_SQRT_2PI, exp, to_f64};

pub use quantiles::{p_quantiles, z_quantiles};

/// What kind of thing a bar or line stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// A registered test: full colour, solid.
    Registered,
    /// A negative control: grey, dashed.
    Control,
}

/// How rates are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Shares, as per cent.
    Percent,
    /// Plain numbers.
    Plain,
}

/// One rate with its interval.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What it belongs to.
    pub label: String,
    /// The kind.
    pub tone: Tone,
    /// The estimate.
    pub estimate: f64,
    /// Its 95 % interval.
    pub interval: Option<[f64; 2]>,
}

/// One path of log10 e.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it belongs to.
    pub label: String,
    /// The kind.
    pub tone: Tone,
    /// (amount read, log10 e), in order.
    pub points: Vec<(f64, f64)>,
}

/// Horizontal bars from the rate that chance gives to the rate found, with 95 % intervals.
pub fn rates(bars: &[Bar], expected: f64, unit: Unit) -> Markup {
    let ends = bars
        .iter()
        .flat_map(|bar| bar.interval.unwrap_or([bar.estimate; 2]).into_iter().chain([bar.estimate]));
    let axis = Axis::over(ends.chain([expected]), [LABELS, WIDTH - 176.0]);
    let bottom = 34.0 + to_f64(bars.len() as u64) * ROW;
    let middle = axis.at(expected);
    let written = |x: f64| unit.text(x, axis.step / unit.finer());
    svg(
        bottom + 44.0,
        "What was found, with 95 % intervals",
        &format!(
            "One bar for each test, from what is expected by chance, {}, to what was found.",
            written(expected)
        ),
        html! {
            (axis.along_x(bottom, 24.0, |x| unit.text(x, axis.step)))
            @for (bar, row) in bars.iter().zip(0_u64..) {
                @let y = 34.0 + (to_f64(row) + 0.5) * ROW;
                (rate(bar, &axis, middle, y))
                (text(LABELS - 14.0, y + 4.5, "end", &shortened(&bar.label, 28)))
                (text(WIDTH - 164.0, y + 4.5, "start", &value(bar, &written)))
            }
            line x1=(px(middle)) x2=(px(middle)) y1="22" y2=(px(bottom)) stroke="currentColor" stroke-width="1.5" {}
            (text(middle, 14.0, "middle", &format!("by chance {}", unit.text(expected, 0.01))))
        },
    )
}

/// log10 e against what was read, one line a finding, with the line at 1/α.
pub fn e_values(lines: &[Line], log10_alpha: f64, read: &str) -> Markup {
    let (top, bottom, right) = (26.0, 310.0, WIDTH - 232.0);
    let points = || lines.iter().flat_map(|line| &line.points);
    let x = Axis::over(points().map(|(x, _)| *x).chain([0.0]), [52.0, right]);
    let y = Axis::around(points().map(|(_, y)| *y).chain([0.0, -log10_alpha]), [bottom, top]);
    let threshold = y.at(-log10_alpha);
    let ends = lines.iter().map(|line| line.points.last().map_or(y.at(0.0), |(_, e)| y.at(*e)));
    let places = spread(&ends.chain([threshold]).collect::<Vec<_>>(), 18.0, [top, bottom]);
    svg(
        356.0,
        "Evidence while reading",
        "The e-value of each test, to base 10, against the amount read. Evidence is found where a line passes 1/alpha.",
        html! {
            (text(0.0, 12.0, "start", "log₁₀ e"))
            (y.along_y(52.0, right))
            (x.along_x(bottom, top, grouped))
            (text((52.0 + right) / 2.0, 350.0, "middle", read))
            line x1="52" x2=(px(right)) y1=(px(y.at(0.0))) y2=(px(y.at(0.0))) stroke="currentColor" stroke-width="1" {}
            line x1="52" x2=(px(right)) y1=(px(threshold)) y2=(px(threshold)) stroke="currentColor"
                stroke-width="1.5" stroke-dasharray="2 4" {}
            @for ((line, ink), place) in lines.iter().zip(inks(lines)).zip(&places) {
                polyline points=(path(&line.points, &x, &y)) fill="none" stroke=(ink.0) stroke-width="2"
                    stroke-dasharray=(ink.1) stroke-linejoin="round" {}
                @let end = line.points.last().map_or([right, y.at(0.0)], |(last, e)| [x.at(*last), y.at(*e)]);
                (key(end, [right, *place], ink, &shortened(&line.label, 25)))
            }
            @if let Some(place) = places.last() {
                @let label = format!("1/α = 10{}", superscript(-log10_alpha));
                (key([right, threshold], [right, *place], ("currentColor", "2 4"), &label))
            }
        },
    )
}

/// How often each z occurred among decoy keys, the normal law beside it, and the real key's z.
pub fn decoys(z: &[f64], real: f64) -> Markup {
    let width = 0.5;
    let extreme = z.iter().fold(4.0_f64, |extreme, z| extreme.max(z.abs()).ceil());
    // A real key far out gets a place of its own beyond a break in the axis, or the bell would be a needle.
    let broken = real.abs() > extreme + 4.0;
    let end = if broken { extreme } else { extreme.max(real.abs().ceil()) };
    let (left, right) = (40.0, if broken { WIDTH - 150.0 } else { WIDTH - 20.0 });
    let (left, right) = if real < 0.0 { (WIDTH - right, WIDTH - left) } else { (left, right) };
    let axis = Axis { low: -end, high: end, step: if end > 6.0 { 2.0 } else { 1.0 }, place: [left, right] };
    let bins = bins(z, width, end);
    let normal = |x: f64| to_f64(z.len() as u64) * width * exp(-0.5 * x * x - LN_SQRT_2PI);
    let most = bins.iter().map(|(_, n)| *n).chain([normal(0.0)]).fold(1.0, f64::max);
    let (top, bottom) = (44.0, 250.0);
    let height = |n: f64| bottom - (bottom - top) * n / most;
    let curve: Vec<String> = (0..=160_u64)
        .map(|i| -end + 2.0 * end * to_f64(i) / 160.0)
        .map(|x| format!("{},{}", px(axis.at(x)), px(height(normal(x)))))
        .collect();
    let aside = |x: f64| if real < 0.0 { WIDTH - x } else { x };
    let mark = if broken { aside(WIDTH - 70.0) } else { axis.at(real) };
    let note = format!("real key: z = {}", minus(&format!("{real:.1}")));
    svg(
        300.0,
        "Decoy keys and the real key",
        &format!(
            "A histogram of z under {} unrelated keys, with the normal law; the real key has z = {real:.2}.",
            z.len()
        ),
        html! {
            (axis.along_x(bottom, bottom, |x| minus(&format!("{x:.0}"))))
            @for (from, n) in &bins {
                @if *n > 0.0 {
                    rect x=(px(axis.at(*from) + 0.5)) y=(px(height(*n))) width=(px(axis.at(width) - axis.at(0.0) - 1.0))
                        height=(px(bottom - height(*n))) fill=(GREY) fill-opacity="0.55" {}
                }
            }
            polyline points=(curve.join(" ")) fill="none" stroke="currentColor" stroke-width="1.5" stroke-dasharray="5 3" {}
            line x1=(px(mark)) x2=(px(mark)) y1="26" y2=(px(bottom)) stroke=(BLUE) stroke-width="3" {}
            @let (anchor, at) = beside(mark);
            (text(at, 20.0, anchor, &note))
            @if broken {
                line x1=(px(aside(WIDTH - 150.0))) x2=(px(aside(WIDTH - 20.0))) y1=(px(bottom)) y2=(px(bottom))
                    stroke="currentColor" {}
                (axis_break(aside(WIDTH - 126.0), bottom))
                (text(mark, bottom + 20.0, "middle", &minus(&format!("{real:.1}"))))
                (text(mark, 292.0, "middle", "not to scale"))
            }
            rect x=(px(left)) y="30" width="18" height="10" fill=(GREY) fill-opacity="0.55" {}
            (text(left + 26.0, 40.0, "start", "decoy keys"))
            line x1=(px(left)) x2=(px(left + 18.0)) y1="56" y2="56" stroke="currentColor" stroke-width="1.5"
                stroke-dasharray="5 3" {}
            (text(left + 26.0, 60.0, "start", "normal law"))
            (text((left + right) / 2.0, 292.0, "middle", "z"))
        },
    )
}

const WIDTH: f64 = 720.0;
const LABELS: f64 = 214.0;
const ROW: f64 = 30.0;
const BLUE: &str = "#2f74c0";
const GREY: &str = "#8a8f98";
/// Hues that people with any colour vision tell apart (after Okabe and Ito), each with a dash of its own.
const INKS: [(&str, &str); 5] =
    [(BLUE, "none"), ("#c8641b", "9 3"), ("#1f8f6b", "9 3 2 3"), ("#a8568f", "4 2"), ("#7d7a1f", "14 3")];
const DASHES: [&str; 5] = ["5 3", "2 3", "8 3 2 3", "10 3", "1 2"];

/// A linear axis with round steps.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
    place: [f64; 2],
}

impl Axis {
    /// An axis that holds all `values` and ends on round numbers.
    fn over(values: impl Iterator<Item = f64>, place: [f64; 2]) -> Self {
        let (low, high) = ends(values);
        let step = round_step((high - low) / 5.0);
        Self { low: (low / step).floor() * step, high: (high / step).ceil() * step, step, place }
    }

    /// An axis that holds all `values` with a little room, and need not end on round numbers.
    fn around(values: impl Iterator<Item = f64> + Clone, place: [f64; 2]) -> Self {
        let (low, high) = ends(values.clone());
        let room = 0.04 * (high - low);
        Self { low: low - room, high: high + room, ..Self::over(values, place) }
    }

    fn at(&self, x: f64) -> f64 {
        self.place[0] + (self.place[1] - self.place[0]) * (x - self.low) / (self.high - self.low)
    }

    fn ticks(&self) -> Vec<f64> {
        let first = (self.low / self.step).ceil();
        let tick = |i: u64| (first + to_f64(i)) * self.step;
        (0..=40).map(tick).take_while(|x| *x <= self.high + 1e-9 * self.step).collect()
    }

    /// The axis along the bottom, with grid lines up to `top`.
    fn along_x(&self, bottom: f64, top: f64, label: impl Fn(f64) -> String) -> Markup {
        html! {
            line x1=(px(self.place[0])) x2=(px(self.place[1])) y1=(px(bottom)) y2=(px(bottom)) stroke="currentColor" {}
            @for x in self.ticks() {
                line x1=(px(self.at(x))) x2=(px(self.at(x))) y1=(px(top)) y2=(px(bottom)) stroke="currentColor"
                    stroke-opacity="0.13" {}
                line x1=(px(self.at(x))) x2=(px(self.at(x))) y1=(px(bottom)) y2=(px(bottom + 5.0)) stroke="currentColor" {}
                (text(self.at(x), bottom + 20.0, "middle", &label(x)))
            }
        }
    }

    /// The axis along the left side, with grid lines to `right`.
    fn along_y(&self, left: f64, right: f64) -> Markup {
        html! {
            @for y in self.ticks() {
                line x1=(px(left)) x2=(px(right)) y1=(px(self.at(y))) y2=(px(self.at(y))) stroke="currentColor"
                    stroke-opacity="0.13" {}
                (text(left - 8.0, self.at(y) + 4.5, "end", &minus(&decimals(y, self.step))))
            }
        }
    }
}

impl Unit {
    /// How much finer than the axis' steps a value is written.
    fn finer(self) -> f64 {
        match self {
            Self::Percent => 25.0,
            Self::Plain => 10.0,
        }
    }

    /// A rate, to as many digits as steps of `step` need.
    fn text(self, x: f64, step: f64) -> String {
        match self {
            Self::Percent => format!("{}\u{a0}%", minus(&decimals(100.0 * x, 100.0 * step))),
            Self::Plain => minus(&decimals(x, step)),
        }
    }
}

/// The smallest and the largest of the finite values, with room where they are one.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|x| x.is_finite());
    let (low, high) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    if low < high { (low, high) } else { (low.min(1.0) - 0.5, low.min(1.0) + 0.5) }
}

/// The smallest of 1, 2, 5 · 10ᵏ that is at least `least`.
fn round_step(least: f64) -> f64 {
    let mut power = 1.0;
    while power > least {
        power /= 10.0;
    }
    while power * 10.0 <= least {
        power *= 10.0;
    }
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(power)
}

fn decimals(x: f64, step: f64) -> String {
    let digits = (0..9_usize).zip(std::iter::successors(Some(step), |s| Some(s * 10.0)));
    let digits = digits.take_while(|(_, scaled)| *scaled < 0.999_999).count();
    let written = format!("{x:.digits$}");
    // Rounding may leave a zero with a sign.
    if written.trim_start_matches(['-', '0', '.']).is_empty() { written.replace('-', "") } else { written }
}

/// A whole number with its thousands apart.
pub(crate) fn grouped(x: f64) -> String {
    let digits = format!("{:.0}", x.abs());
    let mut written = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            written.push(',');
        }
        written.push(digit);
    }
    if x < 0.0 { format!("−{written}") } else { written }
}

/// A number with a real minus sign.
pub(crate) fn minus(written: &str) -> String {
    written.replace('-', "−")
}

/// A whole number as an exponent.
pub(super) fn superscript(x: f64) -> String {
    let raised = |c: char| match c {
        '-' => '⁻',
        '.' => '·',
        digit => digit.to_digit(10).and_then(|d| "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(d as usize)).unwrap_or(digit),
    };
    let written = if x.fract().abs() < 1e-9 { format!("{x:.0}") } else { format!("{x:.1}") };
    written.chars().map(raised).collect()
}

fn px(x: f64) -> String {
    format!("{x:.1}")
}

fn text(x: f64, y: f64, anchor: &str, words: &str) -> Markup {
    html! { text x=(px(x)) y=(px(y)) text-anchor=(anchor) { (words) } }
}

fn shortened(label: &str, longest: usize) -> String {
    if label.chars().count() <= longest {
        return label.to_owned();
    }
    label.chars().take(longest - 1).chain(['…']).collect()
}

fn svg(height: f64, title: &str, description: &str, body: Markup) -> Markup {
    html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(title)
            font-size="13" fill="currentColor" {
            title { (title) }
            desc { (description) }
            (body)
        }
    }
}

fn rate(bar: &Bar, axis: &Axis, middle: f64, y: f64) -> Markup {
    let end = axis.at(bar.estimate);
    let fill = if bar.tone == Tone::Registered { BLUE } else { GREY };
    let whisker = bar.interval.map(|ends| ends.map(|end| axis.at(end)));
    html! {
        rect x=(px(end.min(middle))) y=(px(y - 8.0)) width=(px((end - middle).abs())) height="16" fill=(fill)
            fill-opacity="0.55" {}
        @if let Some([low, high]) = whisker {
            line x1=(px(low)) x2=(px(high)) y1=(px(y)) y2=(px(y)) stroke="currentColor" stroke-width="1.5" {}
            @for end in [low, high] {
                line x1=(px(end)) x2=(px(end)) y1=(px(y - 5.0)) y2=(px(y + 5.0)) stroke="currentColor" stroke-width="1.5" {}
            }
        }
        circle cx=(px(end)) cy=(px(y)) r="3.5" fill="currentColor" {}
    }
}

fn value(bar: &Bar, written: &impl Fn(f64) -> String) -> String {
    match bar.interval {
        None => written(bar.estimate),
        Some([low, high]) => {
            format!(
                "{} ({}–{})",
                written(bar.estimate),
                written(low).trim_end_matches("\u{a0}%"),
                written(high)
            )
        }
    }
}

/// A colour and a dash for each line, controls in grey.
fn inks(lines: &[Line]) -> Vec<(&'static str, &'static str)> {
    let (mut registered, mut controls) = (INKS.iter().cycle(), DASHES.iter().cycle());
    let ink = |line: &Line| match line.tone {
        Tone::Registered => registered.next().copied(),
        Tone::Control => controls.next().map(|dash| (GREY, *dash)),
    };
    lines.iter().filter_map(ink).collect()
}

/// The points as SVG coordinates, at most about three hundred of them, the last one included.
fn path(points: &[(f64, f64)], x: &Axis, y: &Axis) -> String {
    let every = points.len() / 300 + 1;
    let last = points.len().saturating_sub(1);
    let kept =
        points.iter().enumerate().filter(|(at, _)| at % every == 0 || *at == last).map(|(_, point)| point);
    let coordinates: Vec<String> =
        kept.map(|point| format!("{},{}", px(x.at(point.0)), px(y.at(point.1)))).collect();
    coordinates.join(" ")
}

/// A path's label in the margin: a hair line from where the path ends, a sample of its ink, its name.
fn key(end: [f64; 2], [right, y]: [f64; 2], (colour, dash): (&str, &str), label: &str) -> Markup {
    html! {
        polyline points=(format!("{},{} {},{} {},{}", px(end[0]), px(end[1]), px(right), px(end[1]), px(right + 16.0), px(y)))
            fill="none" stroke="currentColor" stroke-opacity="0.35" stroke-width="0.8" {}
        line x1=(px(right + 18.0)) x2=(px(right + 44.0)) y1=(px(y)) y2=(px(y)) stroke=(colour) stroke-width="2"
            stroke-dasharray=(dash) {}
        (text(right + 50.0, y + 4.5, "start", label))
    }
}

/// Places near `wanted` that lie at least `gap` apart and within the range, in the order given.
fn spread(wanted: &[f64], gap: f64, [low, high]: [f64; 2]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut places = wanted.to_vec();
    let mut least = low;
    for at in &order {
        places[*at] = places[*at].max(least);
        least = places[*at] + gap;
    }
    let mut most = high;
    for at in order.iter().rev() {
        places[*at] = places[*at].min(most);
        most = places[*at] - gap;
    }
    places
}

/// (from, number) of each bin of `width` between −`end` and `end`.
fn bins(z: &[f64], width: f64, end: f64) -> Vec<(f64, f64)> {
    let starts = (0_u64..400).map(|i| -end + to_f64(i) * width).take_while(|from| *from < end);
    let inside = |from: f64| z.iter().filter(|z| (from..from + width).contains(*z)).count() as u64;
    starts.map(|from| (from, to_f64(inside(from)))).collect()
}

/// Where a mark's label goes: beside it, away from the nearer edge.
fn beside(mark: f64) -> (&'static str, f64) {
    if mark > 0.7 * WIDTH {
        ("end", mark + 40.0)
    } else if mark < 0.2 * WIDTH {
        ("start", mark - 4.0)
    } else {
        ("middle", mark)
    }
}

/// Two strokes across an axis: what lies beyond is not to scale.
fn axis_break(x: f64, y: f64) -> Markup {
    html! {
        @for shift in [-3.0, 4.0] {
            line x1=(px(x + shift - 4.0)) x2=(px(x + shift + 4.0)) y1=(px(y + 7.0)) y2=(px(y - 7.0)) stroke="currentColor"
                stroke-width="1.5" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        for (values, ticks) in [
            (vec![0.243, 0.38], vec!["24", "26", "28", "30", "32", "34", "36", "38"]),
            (vec![0.0, 1.0], vec!["0", "20", "40", "60", "80", "100"]),
        ] {
            let axis = Axis::over(values.into_iter(), [0.0, 100.0]);
            let written: Vec<String> =
                axis.ticks().iter().map(|x| decimals(100.0 * x, 100.0 * axis.step)).collect();
            let wanted: Vec<&str> = ticks;
            assert!(written.first().map(String::as_str) <= wanted.first().copied(), "{written:?}");
            assert!(written.len() <= 9, "{written:?}");
            let round = |x: &f64| (x / axis.step - (x / axis.step).round()).abs() < 1e-9;
            assert!(axis.ticks().iter().all(round));
        }
        let one_value = Axis::over([0.25].into_iter(), [0.0, 100.0]);
        assert!((0.0..=100.0).contains(&one_value.at(0.25)));
    }

    #[test]
    fn labels_keep_their_distance_and_stay_inside() {
        let places = spread(&[100.0, 99.0, 101.0, 20.0, 300.0], 18.0, [10.0, 300.0]);
        let mut sorted = places.clone();
        sorted.sort_by(f64::total_cmp);
        assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] > 17.99), "{places:?}");
        assert!(sorted[0] >= 10.0 && sorted[4] <= 300.0);
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([grouped(13_902.0), grouped(-1_000.0), grouped(7.0)], ["13,902", "−1,000", "7"]);
        assert_eq!([superscript(-6.0), superscript(6.0), superscript(6.3)], ["⁻⁶", "⁶", "⁶·³"]);
        assert_eq!([decimals(-0.001, 0.1), decimals(0.25, 0.05)], ["0.0", "0.25"]);
    }

    #[test]
    fn figures_are_svg_that_escapes_its_labels() {
        let hostile = "<script>".to_owned();
        let bar =
            Bar { label: hostile.clone(), tone: Tone::Control, estimate: 0.3, interval: Some([0.2, 0.4]) };
        let line = Line { label: hostile, tone: Tone::Registered, points: vec![(10.0, 1.0), (20.0, 250.0)] };
        let figures = [
            rates(&[bar], 0.25, Unit::Percent),
            e_values(&[line], -6.0, "tokens"),
            decoys(&[0.1, -1.0], 41.0),
        ];
        for figure in figures.map(Markup::into_string) {
            assert!(figure.starts_with("<svg") && figure.contains("<title>") && figure.contains("<desc>"));
            assert!(
                !figure.contains("<script") && !figure.contains("NaN") && !figure.contains("inf"),
                "{figure}"
            );
        }
    }
}
