//! The first sheet: question, verdict, registered tests, what is claimed and what is not.

use maud::{Markup, html};

use super::number::{self, count, probability, rate};
use super::{View, results, verdict, verdict_class, weaknesses};
use crate::case::plan::{Access, Role};
use crate::case::{Finding, Verdict};
use crate::stat::math::ln;

pub(super) fn page(view: &View<'_>) -> Markup {
    let bundle = view.input.bundle;
    html! {
        header {
            p.kind { "Taggant · evidence report" }
            h1 { (view.input.title) }
            p.meta {
                "Plan " (view.plan.number) " sealed " (bundle.seal.time) " · bundle " code { (view.input.bundle_file) }
                " made " (bundle.created) " by " (bundle.program)
            }
        }
        section.finding {
            h2 { "The finding" }
            @if let Some(primary) = view.findings().first() { (headline(view, primary)) }
            h3 { "Registered tests, all of them" }
            (results(view, &view.registered()))
            p.small {
                @if view.has_marks() {
                    (view.rate_name()) ": " (view.rate_words(Access::Text)) "; chance gives "
                    @match view.law() {
                        Some(law) => (rate(law.mean(), view.law())),
                        None => "each test a mean of its own, because the draws of the two parts have different laws",
                    }
                    ". "
                }
                @if view.has_canaries() {
                    @if view.has_marks() { "For canaries the same column has " } @else { (view.rate_name()) ": " }
                    (view.rate_words(Access::Canary)) "; chance gives one in as many as a slot has siblings. "
                }
                "log₁₀ p: −6 is one in a million; below −38.5 (2" sup { "−128" } ") no more is stated. log₁₀ e: what a stake of 1 has become by "
                "betting against chance. Level α = " (probability(ln(view.plan.level()))) " for all registered tests together. "
                "Positive control: trained by us on marked answers; clean control: trained by us on unmarked ones."
            }
            div.columns {
                div { (claimed(view)) (super::route::claimed(view)) }
                (not_claimed(view))
            }
            (weaknesses::list(view))
        }
    }
}

fn headline(view: &View<'_>, primary: &Finding) -> Markup {
    let epochs: Vec<&str> = view
        .planned(primary)
        .map_or_else(Vec::new, |test| test.epochs().into_iter().map(|epoch| epoch.as_str()).collect());
    html! {
        p.question {
            "Was “" (primary.suspect) "” exposed to answers that were served with the mark of key "
            code { (view.plan.key_id) } @if epochs.len() == 1 { " in epoch " } @else { " in epochs " } code { (epochs.join(", ")) } "?"
        }
        div class=(verdict_class(primary.verdict)) {
            p.word { "Verdict: " (verdict(primary.verdict)) }
            p { (in_plain_words(view, primary)) }
        }
    }
}

fn in_plain_words(view: &View<'_>, primary: &Finding) -> Markup {
    let summary = &primary.summary;
    let suspect = &primary.suspect;
    html! {
        @match primary.verdict {
            Verdict::EvidenceFound => {
                "“" (suspect) "” was exposed to marked answers, by a route this test does not identify. "
                "The secret key decided " (count(summary.draws)) " draws that its " (material_words(primary.access))
                " bear on; " (view.rate_words(primary.access)) " is " (view.rate(primary, summary.estimate)) ", where chance gives "
                (view.rate(primary, summary.expected))
                ". Had the suspect nothing to do with the key, agreement this strong would have a probability of at most "
                (probability(primary.adjusted_ln_p)) ", counted over all registered tests."
            }
            Verdict::NoEvidence => {
                "The test shows no sign that “" (suspect) "” was exposed to marked answers. It would have found the effect that the "
                "plan names with a probability of " (number::percent(primary.power.unwrap_or(0.0), 0))
                ". A weaker exposure, or one that left no trace, is not excluded."
            }
            Verdict::Inconclusive => {
                "The test decides nothing about “" (suspect) "”. "
                @if primary.adjusted_ln_p <= ln(view.plan.level()) {
                    "Its numbers would be evidence, but a control that cannot have seen a marked answer stands out under the same "
                    "key as well: the key, the material or the procedure is not what it should be."
                } @else {
                    "Agreement with the key is within what chance gives, and the test was not shown to be strong enough for its "
                    "silence to mean anything."
                }
            }
        }
        @if matches!(primary.role, Role::Student) {
            " This suspect is a positive control: we trained it ourselves on marked answers, and nobody is accused."
        }
    }
}

fn material_words(access: Access) -> &'static str {
    match access {
        Access::Canary | Access::Route => "answers to canaries' prompts",
        Access::Likelihoods => "log-probabilities of canaries' siblings",
        Access::Distributions => "next-token probabilities",
        Access::Reading => "predictions while reading",
        Access::Text => "answers",
    }
}

fn claimed(view: &View<'_>) -> Markup {
    let found = view.findings().first().is_some_and(|primary| primary.verdict == Verdict::EvidenceFound);
    html! {
        div {
            h3 { @if found { "What is claimed" } @else { "What would be claimed, and is not" } }
            p {
                strong { "Exposure (claim P3)." }
                " That the suspect was exposed to marked answers, by a route this test does not identify: training on the answers, on "
                "copies that others made of them, or on another model that learned from them. A suspect with search or other tools "
                "may also have read them while it answered."
            }
        }
    }
}

fn not_claimed(view: &View<'_>) -> Markup {
    html! {
        div {
            h3 { "What is not claimed" }
            ul {
                @if super::route::found(view).is_empty() {
                    li { strong { "Route (claim P4)." } " Not that it learned from answers served to particular accounts." }
                }
                li { strong { "Republication." } " Not that nobody published or passed on the answers in between." }
                li { strong { "Intent." } " Nothing about what anybody knew or wanted, or whether a rule was broken." }
                li {
                    strong { "Guilt." } " p is not the probability of innocence. Mistakes in operation (mixed files, another model "
                    "behind the address, a leaked key) are a larger risk than p, which does not measure them."
                }
            }
        }
    }
}
