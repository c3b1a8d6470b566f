//! What weakens the evidence, said on the first sheet.

use maud::{Markup, html};

use super::number::{self, probability};
use super::{View, access};
use crate::case::plan::{Access, Planned, Role, statistic_sha256};
use crate::case::{Finding, standing_out};
use crate::score::Provenance;
use crate::stat::math::ln;

/// What a hostile reader would say, said first.
pub(super) fn list(view: &View<'_>) -> Markup {
    html! {
        div.weak {
            h3 { "What weakens this" }
            ul {
                (about_controls(view))
                (about_prompts(view))
                @if view.has_marks() { li {
                    strong { "Where an answer ends is the tester's word." } " The plan asks for at most " (view.plan.pool.answer_tokens)
                    " tokens; a shorter answer may have ended by itself or have been cut where that suits, and nothing here tells which."
                } }
                (super::route::weaknesses(view))
                @if view.has_canaries() { (super::canaries::weaknesses(view)) }
                (about_keys(view))
                li {
                    strong { "Earlier plans cannot be excluded." } " This calls itself plan " (view.plan.number)
                    ", and no witnessed log shows whether others were tried and dropped."
                }
                li {
                    strong { "The key is burned." } " This bundle opens it, so anyone can forge its mark from now on: what was acquired "
                    "from a suspect after the opening proves nothing under this key."
                }
                li {
                    strong { "No independent time stamp." } " The time of the seal is that of the sealing machine's own clock."
                }
                (about_numbers(view))
            }
        }
    }
}

fn about_controls(view: &View<'_>) -> Markup {
    let near = standing_out(view.findings(), ln(view.plan.level()));
    let tested = |access| {
        let innocent = |finding: &&Finding| finding.role == Role::Innocent && finding.access == access;
        view.findings().iter().any(|finding| innocent(&finding))
    };
    let untested: Vec<&str> = [
        Access::Text,
        Access::Distributions,
        Access::Reading,
        Access::Canary,
        Access::Likelihoods,
        Access::Route,
    ]
    .into_iter()
    .filter(|at| view.registered().iter().any(|finding| finding.access == *at) && !tested(*at))
    .map(access)
    .collect();
    html! {
        (super::route::leaks(view))
        @if !near.is_empty() {
            li.alarm {
                strong { "A control stands out." } " "
                (near.iter().map(|finding| finding.test.as_str()).collect::<Vec<_>>().join("; "))
                ": this cannot have seen a marked answer and still agrees with the key. No finding counts."
            }
        }
        @if !untested.is_empty() {
            li {
                strong { "No innocent under the same key" } " was tested for " (untested.join(", "))
                ": an unlucky key, which would convict every model alike, is not excluded there."
            }
        }
    }
}

fn about_prompts(view: &View<'_>) -> Markup {
    let why = match &view.plan.pool.beacon {
        Planned::Absent { reason, .. } => format!("the plan says: “{reason}”"),
        Planned::Set { value } => format!("the plan names “{value}”, which this version cannot verify"),
    };
    html! {
        {
            li.alarm {
                strong { "EXPLORATORY for outsiders." } " No verified public beacon drew the prompts after the plan was sealed ("
                (why) "). Whoever holds the key could have tried prompts in private and kept those that suit: take the numbers "
                "as they stand only if you trust the party that ran the test."
            }
        }
        @match view.plan.pool.provenance {
            Provenance::Fresh => {}
            Provenance::Unknown => li {
                strong { "Prompts of unknown origin." } " Nobody attests that they do not derive from marked text."
            }
            Provenance::Marked => li.alarm {
                strong { "Prompts derived from marked text." } " Their exchanges were dropped."
            }
        }
    }
}

/// Whether the keys could have been picked to fit, and what is left of p if they were.
fn about_keys(view: &View<'_>) -> Markup {
    let rejecting = view.rejecting();
    html! {
        {
            li.alarm {
                strong { "The key is not bound to a beacon." } " Its epoch names no public random number that this version could verify, so it could have been "
                "picked, before service, to fit text that a rival had already published."
                @if !rejecting.is_empty() {
                    " If 2" sup { "64" } " keys had been tried in secret, this would be left of p: "
                    @for (at, finding) in rejecting.iter().enumerate() {
                        @if at > 0 { "; " }
                        @let left = number::after_hidden_tries(finding.adjusted_ln_p);
                        (finding.test) " " (probability(left))
                        @if left <= ln(view.plan.level()) { " (still at most α)" } @else { " (more than α)" }
                    }
                    "."
                }
            }
        }
    }
}

fn about_numbers(view: &View<'_>) -> Markup {
    let registered = view.registered();
    let few = registered.iter().filter(|finding| (1..30).contains(&finding.summary.path.len()));
    let few: Vec<&str> = few.map(|finding| finding.test.as_str()).collect();
    html! {
        @if let Planned::Set { value: reference } = &view.plan.reference {
            li {
                strong { "The reference's probabilities are taken as given." } " No model travels with the bundle: who doubts them runs “"
                (reference) "”, whose SHA-256 the plan names, over the same answers."
            }
        }
        @if view.rejecting().iter().any(|finding| finding.adjusted_ln_p < number::LN_LIMIT) {
            li {
                strong { "No p below 2" sup { "−128" } " is stated." } " That is the limit of the assumption that HMAC-SHA256 is a pseudo-random "
                "function; the arithmetic goes further."
            }
        }
        @if !few.is_empty() {
            li { strong { "Few answers" } " (" (few.join("; ")) "): with fewer than 30, a 95\u{a0}% interval is too narrow." }
        }
        @if view.plan.statistic_sha256 != statistic_sha256() {
            li { strong { "Another version of the statistics" } " than the plan names wrote this report." }
        }
        @if view.keys.len() != view.input.bundle.openings.len() || view.sealed.is_none() {
            li.alarm {
                strong { "This bundle does not verify." } " A key or the plan is not the one that was committed to. Run "
                code { "taggant case check " (view.input.bundle_file) } "."
            }
        }
    }
}
