//! The route (claim P4): who was served which canaries, what both halves and the control found, and what would explain it.

use maud::{Markup, html};

use super::number::{count, percent, probability, stated_log10_p};
use super::{View, role, verdict, verdict_class};
use crate::attribute::{ArmRate, Keyed, Ratio, Route};
use crate::case::plan::{Division, Planned, Role};
use crate::case::{Finding, Verdict};
use crate::stat::math::ln;

/// Suspects of whom the route is claimed; a student of ours is none.
pub(super) fn found<'v>(view: &'v View<'_>) -> Vec<&'v Finding> {
    let claimed = |finding: &&Finding| {
        finding.route.is_some() && finding.verdict == Verdict::EvidenceFound && finding.role != Role::Student
    };
    view.findings().iter().filter(claimed).collect()
}

pub(super) fn division<'v>(view: &'v View<'_>) -> Option<&'v Division> {
    let Planned::Set { value: canaries } = &view.plan.canaries else { return None };
    match &canaries.route {
        Planned::Set { value } => Some(value),
        Planned::Absent { .. } => None,
    }
}

/// What is claimed besides exposure.
pub(super) fn claimed(view: &View<'_>) -> Markup {
    let claims: Vec<(&Finding, &Route)> =
        found(view).into_iter().filter_map(|finding| Some((finding, finding.route.as_ref()?))).collect();
    html! {
        @if !claims.is_empty() { h3 { "What is claimed of the route" } }
        @for (finding, route) in claims { p {
            strong { "Route (claim P4)." } " That “" (finding.suspect) "” learned from answers that were served to the "
            (accounts(view)) " accounts that the plan commits to, more than from as many that were served to others: p ≤ "
            (probability(finding.adjusted_ln_p)) ", counted over all registered tests. "
            (leak(view, route))
            " Not that it learned from them directly: whether they, or anybody, published the answers first is not tested."
        } }
    }
}

/// How often answers would have to leak to explain the arms.
fn leak(view: &View<'_>, route: &Route) -> Markup {
    let least = division(view).and_then(|division| route.arms.least_leak(division.serve_cap));
    html! {
        @match (least, route.arms.leak_ratio.at_least) {
            (Some(least), Some(in_proportion)) if in_proportion > 0.0 => {
                "Leakage alone explains it only if copies of their answers got out at least " (format!("{least:.1}")) " times as often as "
                "those of other accounts (95 % limit; " (format!("{in_proportion:.1}")) " times where recall grows in proportion to copies), "
                "taking answers of both for as easily learned."
            }
            _ => "How much more often their answers would have had to get out to explain it is not bounded from below.",
        }
    }
}

/// What the arms stand on besides arithmetic.
pub(super) fn weaknesses(view: &View<'_>) -> Markup {
    let Some(division) = division(view) else { return html! {} };
    let requests = view.input.bundle.canaries.as_ref().and_then(|open| open.requests.as_ref());
    let slots = requests.map_or(&[][..], |requests| &requests.traffic);
    let nobody =
        slots.iter().filter(|slot| slot.ordinary == 0 && slot.campaign.values().all(|asked| *asked == 0));
    html! { li {
        strong { "Who was served what is the operator's word." } " The plan commits to the accounts and to who asked for which slot before the "
        "first probe, and a bundle cannot show that it was so: that arms, rates and the cap of " (division.serve_cap) " were kept, that these accounts "
        "were in the set when they were served, and that a request counted is one that could have been planted. An ordinary arm that was served less "
        "than stated makes a route where there is none. " (count(nobody.count() as u64)) " of " (count(slots.len() as u64))
        " slots are said to have been asked for by nobody."
    } }
}

fn accounts(view: &View<'_>) -> String {
    let requests = view.input.bundle.canaries.as_ref().and_then(|open| open.requests.as_ref());
    requests.map_or_else(|| "unknown".to_owned(), |requests| count(requests.accounts.ids.len() as u64))
}

/// Controls that reject, said first.
pub(super) fn leaks(view: &View<'_>) -> Markup {
    html! { @for finding in view.findings().iter().filter(|finding| finding.is_uncontrolled() && finding.role.is_registered()) {
        li.alarm {
            strong { "The control could not have rejected." } " " (finding.test) ": there are too few slots that nobody was served. "
            "Neither exposure by canaries nor a route is claimed of this suspect."
        }
    }
    @for finding in view.findings().iter().filter(|finding| finding.is_blocked()) {
        li.alarm {
            strong { "Slots that nobody was served agree with the key." } " " (finding.test) ": p ≤ "
            (probability(finding.route.as_ref().map_or(0.0, |route| route.sentinels.ln_p)))
            " on the sentinels. Keys, the book or picks leaked, or the analysis is wrong: neither exposure nor a route is claimed of anybody."
        }
    } }
}

pub(super) fn section(view: &View<'_>) -> Markup {
    let Some(division) = division(view) else { return html! {} };
    let routes = || view.findings().iter().filter_map(|finding| Some((finding, finding.route.as_ref()?)));
    html! {
        section {
            h2 { "Route" }
            p {
                "A coin of the key put each slot into one of three arms before anybody asked: " (percent(division.arms.campaign, 1))
                " of the slots were for the accounts under suspicion alone, " (percent(division.arms.sentinel, 1)) " for nobody outside "
                "(sentinels), the rest for ordinary accounts. The operator says that each was planted at most " (division.serve_cap) " times. The plan commits to "
                (accounts(view)) " accounts " code.hash { (division.accounts) } " and to who asked for which slot "
                code.hash { (division.traffic) } ", before the first probe. Where a plan divides slots, exposure (P3) is tested on those that "
                "anybody outside was to be served, each under the pick of its arm."
            }
            @if routes().next().is_some() {
                (halves(view))
                (ratios(view))
            } @else {
                p { "No route was tested." }
            }
        }
    }
}

fn halves(view: &View<'_>) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th { "Test" } th { "Role" } th { "Slots of the accounts: hits, by chance" } th.n { "log₁₀\u{a0}p" }
                th { "Arms: theirs, others'" } th.n { "log₁₀\u{a0}p" } th { "Sentinels: hits, by chance" } th.n { "log₁₀\u{a0}p" } th { "Verdict" }
            } }
            tbody { @for finding in view.findings() { @if let Some(route) = &finding.route {
                tr {
                    th scope="row" { (finding.test) }
                    td { (role(finding.role)) }
                    td { (keyed(&route.keyed)) }
                    td.n { (stated_log10_p(route.keyed.ln_p)) }
                    td { (arm(&route.arms.campaign)) "; " (arm(&route.arms.ordinary)) }
                    td.n { (stated_log10_p(route.arms.ln_p)) }
                    td { (keyed(&route.sentinels)) }
                    td.n { (stated_log10_p(route.sentinels.ln_p)) }
                    td { span class=(verdict_class(finding.verdict)) { (verdict(finding.verdict)) } }
                }
            } } }
        } }
        p.small {
            "Both halves must reject, so the larger p counts. The first asks whether the suspect names what the key picked for these "
            "accounts; a suspect that read what they published does too. The second compares their arm with the ordinary one on slots that both "
            "asked for at least as often as the cap in the period in which the slot was asked for first, within class and period: a suspect that learned from everybody's answers alike names as "
            "many in either. A sentinel that agrees blocks every claim (level 0.01 over all tests of a route)."
        }
    }
}

fn keyed(keyed: &Keyed) -> Markup {
    html! { (count(keyed.hits)) " of " (count(keyed.draws)) ", " (format!("{:.1}", keyed.expected)) }
}

fn arm(arm: &ArmRate) -> Markup {
    html! { (count(arm.hits)) " of " (count(arm.slots)) }
}

fn ratios(view: &View<'_>) -> Markup {
    html! {
        ul { @for finding in view.findings() { @if let Some(route) = &finding.route {
            li {
                (finding.test) ": hits per slot, theirs to others' " (ratio(&route.arms.rate_ratio)) "; above chance "
                (ratio(&route.arms.leak_ratio)) ", which is how many times as often copies of theirs would have had to leak to explain the difference "
                "if recall grows in proportion to copies."
            }
        } } }
        p.small { "Each with its 95 % interval; ∞ where the other arm shows nothing above chance. Level α = " (probability(ln(view.plan.level()))) "." }
    }
}

fn ratio(ratio: &Ratio) -> Markup {
    let end = |end: Option<f64>| end.map_or_else(|| "∞".to_owned(), |end| format!("{end:.1}"));
    html! { (end(ratio.estimate)) " (" (end(ratio.at_least)) " to " (end(ratio.at_most)) ")" }
}
