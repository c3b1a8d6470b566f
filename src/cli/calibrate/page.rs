//! The dated table as one self-contained page, for somebody who is asked for the known error rate.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::report::{Line, Mean, RealKey, Report, Together, UnderReal};
use super::trial::Trial;
use crate::case::figure::{grouped, minus, p_quantiles};
use crate::stat::calibration::Level;
use crate::stat::math::{exp, ln, log10_from_ln, sqrt, to_f64};

/// Columns of one width in every table of levels, so that they can be read down the page.
const STYLE: &str = "table.levels { table-layout: fixed; min-width: 42rem; }\
                     .levels th:nth-child(5) { width: 12rem; } .levels th:nth-child(n + 6) { width: 6rem; }";

/// The page, without anything from outside it.
pub(super) fn render(report: &Report, trials: &[Trial]) -> String {
    let title = format!("Known error rate: {}, {}", report.words(), report.spec);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (title) }
                style { (PreEscaped(include_str!("../../case/report/style.css"))) (PreEscaped(STYLE)) }
            }
            body { main {
                (first(report))
                (rates(report))
                @if let Some(together) = &report.together { (all_together(report, together)) }
                @if let Some(real) = &report.real { (under_real(report, real)) }
                (meaning(report))
                (plots(report, trials))
                (innocents(report))
                (method(report))
            } }
        }
    };
    page.into_string()
}

fn first(report: &Report) -> Markup {
    let (class, word) = if report.valid {
        ("verdict found", "No rate is above its limit")
    } else {
        ("verdict unclear", "A test rejected too often")
    };
    html! {
        p.kind { "Calibration: an exploration, not a finding about anybody" }
        h1 { "Known error rate" }
        p.meta { (report.date) " · taggant " (report.version) }
        p.question {
            "How often does this test reject the evidence of " (report.innocents.len())
            @if report.innocents.len() == 1 { " innocent" } @else { " innocents" }
            ", under " (count(report.keys)) " keys that marked nothing?"
        }
        div class=(class) {
            p.word { (word) }
            p {
                @if report.valid {
                    "Under keys drawn at random, this test keeps its levels on this evidence, as far as " (count(report.keys))
                    " keys show."
                } @else {
                    "Do not use this test on such evidence, and report this as a defect: the rows marked below reject more "
                    "often than chance allows."
                }
            }
        }
        dl {
            dt { "Mark" } dd { code { (report.spec) } }
            dt { "Statistic" } dd { (report.words()) }
            dt { "Keys" } dd { (count(report.keys)) " throwaway keys, from seed " (report.seed) }
            dt { "Limits" } dd { "99.9 % over all " (report.cells) " comparisons of this table together (Bonferroni)" }
        }
    }
}

fn rates(report: &Report) -> Markup {
    html! {
        h2 { "Rejections of each innocent" }
        @for line in &report.innocents {
            h3 { (line.name) }
            p.small { (scored(line)) }
            (levels("level", &line.calibration.levels, line.calibration.keys))
            @if let Some(anytime) = &line.anytime {
                p.small { "The same draws bet on answer by answer: how often 1/max E comes to a level, whenever one stops." }
                (levels("1/max E", &anytime.levels, anytime.keys))
            }
        }
    }
}

fn scored(line: &Line) -> String {
    let released = line.released.as_ref().map_or(String::new(), |day| format!(", released {day}"));
    format!("{} from {} rows{released}", line.draws(), count(line.rows as u64))
}

fn levels(what: &str, levels: &[Level], keys: u64) -> Markup {
    html! {
        div.scroll { table.levels {
            thead { tr {
                th { (what) } th.n { "attainable" } th.n { "rejected of " (count(keys)) } th.n { "rate" }
                th.n { "95 % interval" } th.n { "limit" } th { "" }
            } }
            tbody { @for level in levels { (row(level)) } }
        } }
    }
}

fn row(level: &Level) -> Markup {
    html! { tr {
        th { (small(level.level)) }
        td.n { (small(level.attainable)) }
        td.n { (count(level.rejected)) }
        td.n { (format!("{:.5}", level.rate)) }
        td.n { (format!("{:.5} – {:.5}", level.interval[0], level.interval[1])) }
        td.n { (count(level.limit)) }
        td { @if level.is_valid() { "within" } @else { strong { "TOO OFTEN" } } }
    } }
}

fn all_together(report: &Report, together: &Together) -> Markup {
    html! {
        h2 { "All of them, key by key" }
        p {
            "The same keys were put to all " (report.innocents.len()) " innocents, and they share words, so under one key "
            "their results go together. Only keys are independent. So the first table counts keys under which at least one "
            "innocent is rejected, against the sum of their attainable levels; the second gives the mean share of innocents "
            "rejected, with an interval that treats a key as one observation."
        }
        (levels("any of them", &together.any, u64::from(report.keys)))
        div.scroll { table {
            thead { tr { th { "level" } th.n { "mean share rejected" } th.n { "95 % interval, clustered by key" } } }
            tbody { @for Mean { level, rate, interval } in &together.mean { tr {
                th { (small(*level)) }
                td.n { (format!("{rate:.5}")) }
                td.n { (interval.map_or("–".to_owned(), |[low, high]| format!("{low:.5} – {high:.5}"))) }
            } } }
        } }
    }
}

fn under_real(report: &Report, real: &RealKey) -> Markup {
    let stand_out =
        report.innocents.iter().filter_map(|line| line.real.as_ref()).any(|under| under.stands_out);
    html! {
        h2 { "Under the key that matters" }
        p {
            "Key " code { (real.key_id) } ", epoch " code { (real.epoch) }
            @if let Some(day) = &real.served_since { ", which began to mark on " (day) }
            ". A key may be unlucky for everybody; many keys do not show that, this line does. With p at or below "
            (small(real.threshold)) " (0.01 over the number of innocents) an innocent stands out."
        }
        div.scroll { table {
            thead { tr { th { "innocent" } th { "released" } th.n { "z" } th.n { "log" sub { "10" } " p" } th { "" } } }
            tbody { @for line in &report.innocents {
                @if let Some(under) = &line.real { (one_real(line, under)) }
            } }
        } }
        p {
            @if stand_out {
                strong { "An innocent stands out under this key: no finding under it is better than inconclusive." }
            } @else {
                "No innocent stands out under this key."
            }
        }
    }
}

fn one_real(line: &Line, under: &UnderReal) -> Markup {
    html! { tr {
        th { (line.name) }
        td {
            (line.released.as_deref().unwrap_or("not said"))
            @match under.predates_key {
                Some(true) => ", before the key marked",
                Some(false) => { ", " strong { "not before the key marked" } }
                None => {}
            }
        }
        td.n { (minus(&format!("{:.2}", under.z))) }
        td.n { (minus(&format!("{:.2}", under.log10_p))) }
        td { @if under.stands_out { strong { "stands out" } } }
    } }
}

fn meaning(report: &Report) -> Markup {
    html! {
        h2 { "What these figures mean, and what they do not" }
        ul {
            li {
                "They are rates over " strong { "keys drawn at random" } ", for the evidence of these innocents. That the rate "
                "does not exceed the level follows from the keyed function and needs no table; the table checks that this "
                "program does what the argument says."
            }
            li {
                "They are not the chance that a finding is wrong, and not the luck of " strong { "the one real key" }
                ": what that key does to innocents is shown under that key"
                @if report.real.is_none() { " (give --key and --epoch)" } "."
            }
            li {
                "They are not a sample of models or of texts. Another innocent has another text; the argument covers it, this "
                "table does not show it."
            }
            li {
                "No level below about " (small(1.0 / f64::from(report.keys))) " is seen with " (count(report.keys))
                " keys: where no key rejects, the interval's upper end is what is known."
            }
            li {
                "The attainable level is what the test can reject at: p-values of counts come in steps, and the largest step at "
                "or below the level is often well below it. A rate is held against that, not against the level. For bounds and "
                "for sums that do not come in steps it is the level itself."
            }
            li {
                "An innocent is innocent by its date or by its making. The day of release is the word of whoever made the "
                "line-up; the SHA-256 says which file was scored."
            }
        }
    }
}

fn plots(report: &Report, trials: &[Trial]) -> Markup {
    html! {
        h2 { "p-values by rank" }
        p { "Points above the upper dashed line would be p-values that come too often. Steps below the line are counts." }
        @for (line, trial) in report.innocents.iter().zip(trials) {
            figure {
                div.scroll { (p_quantiles(&trial.ln_p)) }
                figcaption { (line.name) ": the smallest p has log" sub { "10" } " "
                    (format!("{:.2}", log10_from_ln(line.least_ln_p)).replace('-', "−")) }
            }
        }
    }
}

fn innocents(report: &Report) -> Markup {
    let band = 3.3 / sqrt(2.0 * f64::from(report.keys));
    html! {
        h2 { "The innocents" }
        p.small {
            "z over the keys has mean 0 and standard deviation 1 but for chance (1 ± " (format!("{band:.3}"))
            " but once in a thousand). The distance is how far the share of p-values at or below p exceeds p at its worst."
        }
        @for line in &report.innocents {
            h3 { (line.name) }
            dl.fields {
                dt { "Rows" } dd { code { (line.file) } }
                dt { "SHA-256" } dd { code.hash { (line.sha256) } }
                dt { "Released" } dd { @match &line.released {
                    Some(day) => (day),
                    None => span.absent { "not said" },
                } }
                dt { "z over the keys" }
                dd { "mean " (minus(&format!("{:.3}", line.mean_z))) ", standard deviation " (format!("{:.3}", line.sd_z)) }
                dt { "Distance" }
                dd { (format!("{:.4} (limit {:.4})", line.calibration.above, line.calibration.above_limit))
                    @if line.calibration.above > line.calibration.above_limit { " " strong { "TOO OFTEN" } } }
            }
        }
    }
}

fn method(report: &Report) -> Markup {
    html! {
        h2 { "How it was made" }
        p {
            "Each innocent's evidence was counted once, without a key. Then " (count(report.keys)) " secrets were derived from the seed, "
            "SHA-256(" code { "taggant calibration, never for service" } " ‖ 0x00 ‖ seed ‖ number), the epoch "
            code { "calibration" } " was opened, and the tail computed that would be the verdict for a suspect. Intervals are exact (Clopper "
            "and Pearson 1934). A limit is the largest count that a test of the attainable level passes with chance at most "
            "0.001 over the " (report.cells) " comparisons. The distance is held against √(ln(1000 · comparisons) / 2n) (Massart 1990)."
        }
        p.small { "The JSON file beside this page holds every number." }
    }
}

/// A whole number as people read it.
fn count(n: impl Into<u64>) -> String {
    grouped(to_f64(n.into()))
}

/// A number above 0 as a power of ten.
fn small(x: f64) -> Markup {
    if x <= 0.0 {
        return html! { "0" };
    }
    let power = (log10_from_ln(ln(x)) + 1e-9).floor();
    let mantissa = format!("{:.2}", exp(ln(x) - power * ln(10.0)));
    let power = minus(&power.to_string());
    html! {
        @if mantissa == "1.00" { "10" sup { (power) } } @else { (mantissa) " × 10" sup { (power) } }
    }
}
