//! For somebody who checks: figures, validity, controls.

use maud::{Markup, html};

use super::number::{count, log10_e, log10_p, percent, probability, real, stated_log10_p};
use super::{View, access, results};
use crate::case::bundle::Bundle;
use crate::case::canaries::Probe;
use crate::case::decoys::Decoys;
use crate::case::figure::{self, Bar, Line, Tone, Unit};
use crate::case::material::{Beside, Content, Material};
use crate::case::plan::{Access, Role, Statistic};
use crate::case::{Finding, standing_out};
use crate::law::Law;
use crate::stat::math::{ln, log10_from_ln, to_f64};
use crate::stat::verdict::TailMethod;

pub(super) fn figures(view: &View<'_>) -> Markup {
    let marks = view.findings().iter().filter(|finding| !finding.is_of_canaries());
    let bars: Vec<Bar> = marks.map(bar).collect();
    let unit = if matches!(view.law(), Some(Law::Bernoulli(_))) { Unit::Percent } else { Unit::Plain };
    html! {
        section {
            h2 { "Figures" }
            // Of a mix of two laws chance gives every test a mean of its own: bars from one line would mislead.
            @if let Some(law) = view.law().filter(|_| view.has_marks()) {
                figure {
                    div.scroll { (figure::rates(&bars, law.mean(), unit)) }
                    figcaption {
                        strong { (view.rate_name()) ", test by test." } " Each bar goes from what chance gives to what was found; the "
                        "whisker is the 95 % interval, clustered by answer. Blue: registered tests; grey: negative controls."
                    }
                }
            }
            @for at in [Access::Text, Access::Distributions, Access::Reading, Access::Canary, Access::Likelihoods] { (e_values(view, at)) }
        }
    }
}

fn bar(finding: &Finding) -> Bar {
    let (estimate, interval) = (finding.summary.estimate, finding.summary.interval);
    Bar { label: finding.test.clone(), tone: tone(finding), estimate, interval }
}

fn tone(finding: &Finding) -> Tone {
    if finding.role.is_registered() { Tone::Registered } else { Tone::Control }
}

fn e_values(view: &View<'_>, at: Access) -> Markup {
    let findings = view.findings().iter().filter(|finding| finding.access == at);
    let is_verdict = findings.clone().any(|finding| finding.summary.method == TailMethod::EProcess);
    let lines: Vec<Line> = findings.map(|finding| line(view.input.bundle, finding)).collect();
    let read = match at {
        Access::Canary | Access::Route => "answers to probes",
        Access::Likelihoods => "slots weighed",
        Access::Distributions => "tokens of the answers at whose positions distributions were read",
        Access::Reading => "tokens of marked answers read",
        Access::Text => "tokens of answers read",
    };
    html! {
        @if lines.iter().any(|line| line.points.len() > 1) {
            figure {
                div.scroll { (figure::e_values(&lines, log10_from_ln(ln(view.plan.level())), read)) }
                figcaption {
                    strong { "Evidence as it came in: " (access(at)) "." } " The e-value is what a stake of 1 has become by betting, "
                    "at fair odds, that draws fall on the key's side. Chance lets it pass 1/α with a probability of at most α, however "
                    "long one reads. "
                    @if is_verdict { "Here it is the verdict." }
                    @else { "Here it is shown beside the verdict, which is the exact tail p." }
                }
            }
        }
    }
}

/// log10 e of a finding against the tokens read, from (0, 0).
fn line(bundle: &Bundle, finding: &Finding) -> Line {
    let lengths = bundle
        .material
        .iter()
        .find(|material| material.suspect == finding.suspect && material.access() == finding.access)
        .map(lengths)
        .unwrap_or_default();
    let mut read = 0;
    let until: Vec<u64> = lengths
        .iter()
        .map(|length| {
            read += length;
            read
        })
        .collect();
    let point =
        |(exchange, ln_e): &(u32, f64)| Some((to_f64(*until.get(*exchange as usize)?), log10_from_ln(*ln_e)));
    let points = std::iter::once((0.0, 0.0)).chain(finding.summary.path.iter().filter_map(point)).collect();
    Line { label: finding.test.clone(), tone: tone(finding), points }
}

fn lengths(material: &Material) -> Vec<u64> {
    let answers = match &material.content {
        Content::Distributions(rows) => &rows.answers,
        Content::Reading(reading) => &reading.documents,
        Content::Beside(Beside { answers, .. }) | Content::Text(answers) => answers,
        Content::Canary(probes) => return slot_lengths(probes),
        Content::Likelihoods(rows) => return vec![1; rows.len()],
    };
    answers.iter().map(|answer| answer.response.len() as u64).collect()
}

/// Answers of each slot, in order.
fn slot_lengths(probes: &[Probe]) -> Vec<u64> {
    probes.chunk_by(|a, b| a.slot == b.slot).map(|slot| slot.len() as u64).collect()
}

pub(super) fn validity(view: &View<'_>) -> Markup {
    html! {
        section {
            h2 { "Validity figures" }
            p {
                "What a statistician asks of each number. z, n" sub { "eff" } " and the share of variance describe the sum; no verdict uses them."
            }
            (draws(view))
            (tails(view))
            (skipped(view))
        }
    }
}

fn draws(view: &View<'_>) -> Markup {
    html! {
        h3 { "The draws" }
        div.scroll { table {
            thead { tr {
                th { "Test" } th { "Statistic" } th.n { "Distinct draws" } th.n { "of them green" } th.n { "S" } th.n { "z" }
                th.n { "n" sub { "eff" } } th.n { "Largest share of variance" } th.n { "Share of z kept" }
            } }
            tbody { @for finding in view.findings() {
                @let summary = &finding.summary;
                tr {
                    th scope="row" { (finding.test) }
                    td { (view.planned(finding).map_or("", |test| statistic(test.statistic))) }
                    td.n { (count(summary.draws)) }
                    td.n { (summary.green.map_or("–".to_owned(), count)) }
                    td.n { (if summary.statistic.fract() == 0.0 { figure::grouped(summary.statistic) } else { real(summary.statistic, 2) }) }
                    td.n { (real(summary.z, 2)) }
                    td.n { (figure::grouped(summary.n_eff)) }
                    td.n { (percent(summary.largest_share, 2)) }
                    td.n { (percent(summary.share_of_z_kept, 2)) }
                }
            } }
        } }
        p.small {
            "n" sub { "eff" } " = (Σa²)²/Σa⁴: as many equal draws would have this variance structure. Share of z kept: what rounding the "
            "coefficients to whole numbers left, (Σ a r)/√(Σa² Σr²)."
        }
    }
}

pub(super) fn statistic(statistic: Statistic) -> &'static str {
    match statistic {
        Statistic::Argmax => "argmax",
        Statistic::CanaryCounts => "canaries, counts",
        Statistic::CanaryFirst => "canaries, first answers",
        Statistic::CanaryLikelihood => "canaries, what stands out",
        Statistic::CanaryMetered => "canaries, metered",
        Statistic::CanaryRemembered => "canaries, remembered",
        Statistic::CanaryRoute => "canaries, both halves of a route",
        Statistic::Distinct => "distinct",
        Statistic::GreenMass => "green mass",
        Statistic::LikelihoodRoute => "canaries, both halves of a route by what stands out",
        Statistic::ReadingMass => "reading mass",
        Statistic::Residual => "residual",
        Statistic::RootCount => "root count",
        Statistic::TextResidual => "text residual",
        Statistic::TwinRank => "twins, rank of the one served",
    }
}

fn tails(view: &View<'_>) -> Markup {
    html! {
        h3 { "The tails" }
        div.scroll { table {
            thead { tr {
                th { "Test" } th { "Verdict by" } th.n { "log₁₀\u{a0}p as computed" } th.n { "Smallest that these draws could give" }
                th.n { "Corrected (Holm), as stated" } th.n { "log₁₀\u{a0}e, last" } th.n { "log₁₀\u{a0}e, largest" } th.n { "Power" }
            } }
            tbody { @for finding in view.findings() {
                @let summary = &finding.summary;
                tr {
                    th scope="row" { (finding.test) }
                    td { (method(summary.method)) }
                    td.n { (log10_p(finding.verdict_ln_p)) }
                    td.n { (summary.ln_p_min.map_or("–".to_owned(), log10_p)) }
                    td.n { @if finding.role.is_registered() { (stated_log10_p(finding.adjusted_ln_p)) } @else { "not counted" } }
                    td.n { (log10_e(summary.ln_e)) }
                    td.n { (log10_e(summary.ln_e_max)) }
                    td.n { (finding.power.map_or("–".to_owned(), |power| percent(power, 1))) }
                }
            } }
        } }
        p.small {
            "The exact tail is rounded outwards: never below the true value. “As computed” says what the arithmetic gives; below "
            "log₁₀ p = −38.5 (2" sup { "−128" } ") no more than that is stated. Power: the chance that a suspect as strong as the positive control "
            "of the same access passes α; by normal approximation, for planning."
        }
    }
}

pub(super) fn method(method: TailMethod) -> &'static str {
    match method {
        TailMethod::Binomial => "exact binomial tail",
        TailMethod::Certain => "certain: the sum cannot be smaller, or larger",
        TailMethod::ChernoffBound => "Chernoff's bound",
        TailMethod::EProcess => "e-process",
        TailMethod::ExactLattice => "exact lattice tail",
        TailMethod::Gamma => "Gamma tail",
    }
}

fn skipped(view: &View<'_>) -> Markup {
    let marks: Vec<&Finding> = view.findings().iter().filter(|finding| !finding.is_of_canaries()).collect();
    if marks.is_empty() {
        return html! {};
    }
    html! {
        h3 { "Positions that gave no draw of their own, by rule" }
        div.scroll { table {
            thead { tr {
                th { "Test" } th.n { "Same draw as before" } th.n { "Window in the prompt" } th.n { "Window too short" }
                th.n { "Input may be marked" } th.n { "All" }
            } }
            tbody { @for finding in marks {
                @let by = finding.skipped;
                tr {
                    th scope="row" { (finding.test) }
                    @for n in [by.repeated, by.prompt_window, by.short_window, by.marked_input, by.total()] {
                        td.n { (count(n)) @if finding.access == Access::Text { (of_all(n, finding)) } }
                    }
                }
            } }
        } }
        p.small { "Per cent of the answer positions looked at; for text, where each position shows one draw." }
    }
}

/// The share of text positions; draws with a coefficient of 0 are too few to matter here.
fn of_all(n: u64, finding: &Finding) -> Markup {
    let positions = finding.summary.draws + finding.skipped.total();
    html! { @if n > 0 { span.small { " (" (percent(to_f64(n) / to_f64(positions), 1)) ")" } } }
}

pub(super) fn controls(view: &View<'_>) -> Markup {
    let near = standing_out(view.findings(), ln(view.plan.level()));
    let negative = view.findings().iter().filter(|finding| finding.role.is_negative_control()).count();
    html! {
        section {
            h2 { "Controls" }
            h3 { "Negative controls: nothing may come of them" }
            p {
                "The wrong key marked nothing; innocents cannot have seen a marked answer, and share the language and the luck of "
                "this key. A control with p ≤ 0.01/m, m of them that could, leaves nothing better than inconclusive. "
                @if negative == 0 {
                    strong { "There were none." }
                } @else if near.is_empty() {
                    "None of the " (negative) " (the clean control counts as one) came near."
                } @else {
                    strong { (near.len()) " of " (negative) " did: " }
                    (near.iter().map(|finding| finding.test.as_str()).collect::<Vec<_>>().join("; ")) "."
                }
            }
            @if !view.controls().is_empty() { (results(view, &view.controls())) }
            h3 { "Positive control and power" }
            (positive(view))
            @for decoys in view.input.decoys { (decoy(view, decoys)) }
        }
    }
}

fn positive(view: &View<'_>) -> Markup {
    let students: Vec<&Finding> =
        view.findings().iter().filter(|finding| finding.role == Role::Student).collect();
    html! {
        p { "The effect that the plan names: " (view.plan.effect) ". Planned power: " (plain(&view.plan.power)) "." }
        @if students.is_empty() {
            p { strong { "There was no positive control" } ": what the test would have found is not known, and silence says nothing." }
        } @else {
            ul { @for student in students {
                li {
                    (student.test) ": p ≤ " (probability(student.verdict_ln_p)) " – "
                    @if student.adjusted_ln_p <= ln(view.plan.level()) { "the test finds what we put there." }
                    @else { strong { "the test does not find what we put there." } }
                }
            } }
        }
    }
}

fn plain(planned: &crate::case::plan::Planned<f64>) -> String {
    match planned {
        crate::case::plan::Planned::Absent { reason, .. } => format!("none stated ({reason})"),
        crate::case::plan::Planned::Set { value } => percent(*value, 0),
    }
}

fn decoy(view: &View<'_>, decoys: &Decoys) -> Markup {
    let real =
        view.findings().iter().find(|finding| finding.test == decoys.test).map(|finding| finding.summary.z);
    let [low, high] = decoys.sd_band();
    let [_, most] = decoys.mean_band();
    html! {
        h3 { "Decoy keys: " (decoys.test) }
        p {
            "The same answers and coefficients under " (count(decoys.count())) " unrelated keys. Their z must have mean 0 ± "
            (real_number(most)) " and standard deviation between " (real_number(low)) " and " (real_number(high)) "; they have "
            (real_number(decoys.mean)) " and " (real_number(decoys.sd)) ": "
            @if decoys.is_inside() { "inside." } @else { strong { "outside; the arithmetic or its assumptions are in doubt." } }
            @if let Some(z) = real {
                " The real key ranks " (count(decoys.rank(z))) " of " (count(decoys.count() + 1)) "; no rank among so many can be "
                "rarer than " (probability(ln(decoys.floor()))) ". This is a check and a display, never a verdict."
            }
        }
        @if let Some(z) = real {
            figure {
                div.scroll { (figure::decoys(&decoys.z, z)) }
                figcaption { strong { "Decoy keys and the real key." } " z of the planned statistic; no verdict uses it." }
            }
            figure {
                div.scroll { (figure::z_quantiles(&decoys.z)) }
                figcaption { strong { "Decoy keys by rank." } " On the line where the variance is what the test says it is." }
            }
        }
    }
}

fn real_number(x: f64) -> String {
    real(x, 3)
}
