//! Canaries: what the key did there, how answers were read, and some of them to look at.

use maud::{Markup, html};

use super::number::{count, percent};
use super::why::visible;
use super::{View, role};
use crate::canary::{Book, Matcher, OpenedKeys, SiblingSet, second_reading};
use crate::case::Finding;
use crate::case::canaries::Probe;
use crate::case::material::Content;
use crate::case::plan::{Access, Canaries, Planned};
use crate::stat::math::to_f64;

/// Slots shown of the first suspect, and of a control.
const SLOTS: [usize; 2] = [4, 2];
/// Characters shown of an answer.
const CHARACTERS: usize = 600;

pub(super) fn what_the_key_did(view: &View<'_>) -> Markup {
    html! {
        p {
            "Canaries are places where an answer is equally right in several ways: a name, an order, a format. The alternatives, a "
            em { "sibling set" } ", were written and hashed in a book first; then the key picked one of each set (ChaCha20 under a key "
            "of that slot alone). Only that one was served, the others were withheld for good. "
            @if super::route::division(view).is_some_and(|division| division.per_account) {
                "Accounts under suspicion had picks of their own, each under a key of slot and account. "
            }
            @if let Some(canaries) = planned(view) {
                "The book is " code.hash { (canaries.book) } "; its hash is part of every slot's key, so a book that was changed "
                "afterwards would have other picks."
            }
        }
    }
}

pub(super) fn weaknesses(view: &View<'_>) -> Markup {
    html! {
        li {
            strong { "What was planted is not shown here." } " Every open slot of the plan's ranges "
            @if super::route::division(view).is_some() { "that was to be served to anybody outside " }
            "is tested, whether its sibling was ever served or not. That weakens a finding of exposure and cannot make one; that answers with it were served at all (claim P2) is for "
            "the provider's records to show."
        }
        @if view.registered().iter().any(|finding| metered(finding)) {
            li {
                strong { "Metered probing." } " It ended when the tester chose; the e-value allows for that."
            }
        }
    }
}

fn metered(finding: &Finding) -> bool {
    finding.is_of_canaries() && finding.summary.method == crate::stat::verdict::TailMethod::EProcess
}

fn planned<'a>(view: &'a View<'_>) -> Option<&'a Canaries> {
    match &view.plan.canaries {
        Planned::Set { value } => Some(value),
        Planned::Absent { .. } => None,
    }
}

pub(super) fn section(view: &View<'_>) -> Markup {
    let Some(canaries) = planned(view).filter(|_| view.has(Access::Canary)) else {
        return html! {};
    };
    html! {
        section {
            h2 { "Canaries" }
            p {
                @if super::route::division(view).is_some() { "Slots probed: all of " } @else { "Slots tested: all of " }
                @for (at, range) in canaries.slots.iter().enumerate() {
                    @if at > 0 { "; " }
                    code { (range.class) } " from " (range.from) " below " (range.below)
                }
                ", but those that the book keeps closed for a court's own replication. Answers to each slot: " (canaries.probes)
                ", to the book's prompts in turn. They were read before any key was opened."
            }
            (readings(view))
            (looked_at(view, canaries))
        }
    }
}

/// One row a finding: what was asked, what was named, and how far the two readers agree.
fn readings(view: &View<'_>) -> Markup {
    let findings = view.findings().iter().filter_map(|finding| Some((finding, finding.readings?)));
    html! {
        div.scroll { table {
            thead { tr {
                th { "Test" } th { "Role" } th.n { "Slots asked" } th.n { "None named" } th.n { "Draws" } th.n { "Answers" }
                th.n { "Read twice" } th.n { "Reader disagreement" }
            } }
            tbody { @for (finding, read) in findings {
                tr {
                    th scope="row" { (finding.test) }
                    td { (role(finding.role)) }
                    td.n { (count(read.slots)) }
                    td.n { (count(read.silent)) }
                    td.n { (count(finding.summary.draws)) }
                    td.n { (count(read.answers)) }
                    td.n { (count(read.read_twice)) }
                    td.n {
                        (count(read.disagreements))
                        @if read.read_twice > 0 { " (" (percent(to_f64(read.disagreements) / to_f64(read.read_twice), 1)) ")" }
                    }
                }
            } }
        } }
        p.small {
            "Reader disagreement: how often a second reader, which looks at letters in threes instead of patterns and knows neither the "
            "first reading nor the pick, takes an answer for something else. It says how clear the answers are; no number uses it. "
            "“None named” counts for no sibling and is not left out."
        }
    }
}

fn looked_at(view: &View<'_>, canaries: &Canaries) -> Markup {
    let book = view.input.bundle.canaries.as_ref().and_then(|open| Book::new("book", open.book.clone()).ok());
    let Some(book) = book.filter(|book| book.sha256() == canaries.book) else {
        return html! { p { "The book is not in the bundle, or not the plan's: no answer can be shown." } };
    };
    let of = |registered: bool| {
        let fits = |finding: &&Finding| {
            finding.access == Access::Canary && finding.role.is_registered() == registered
        };
        view.findings().iter().find(fits)
    };
    html! {
        h3 { "The first slots in plan order, not chosen" }
        @for (finding, slots) in [of(true), of(false)].into_iter().zip(SLOTS) {
            @if let Some(finding) = finding { (shown(view, &book, canaries, finding, slots)) }
        }
    }
}

fn shown(view: &View<'_>, book: &Book, canaries: &Canaries, finding: &Finding, slots: usize) -> Markup {
    let mut material = view.input.bundle.material.iter();
    let probes = material.find_map(|material| match &material.content {
        Content::Canary(probes) if material.suspect == finding.suspect => Some(probes.as_slice()),
        _ => None,
    });
    let key = view.planned(finding).and_then(|test| test.keys.first());
    let (Some(probes), Some(key)) = (probes, key) else { return html! {} };
    let opened = OpenedKeys::new(&key.epoch, &view.keys);
    let picks = book.opened_picks(&opened);
    html! {
        h3 { (finding.suspect) " " span.small { "(" (role(finding.role)) "; picks of epoch " (key.epoch) ")" } }
        @for rows in probes.chunks(canaries.probes.max(1) as usize).take(slots) {
            @if let Some(set) = book.set(rows[0].slot) {
                @let pick = picks.sibling(&rows[0].slot.into()).and_then(|at| set.siblings.get(at as usize));
                (slot(&set, pick.map(|sibling| sibling.says.as_str()), rows))
            }
        }
    }
}

fn slot(set: &SiblingSet, pick: Option<&str>, rows: &[Probe]) -> Markup {
    let matcher = Matcher::new(set).ok();
    let says = |answer: crate::canary::Answer| {
        answer.sibling().and_then(|at| set.siblings.get(at)).map_or("none of them", |one| one.says.as_str())
    };
    html! {
        div.answer {
            p.prompt { span.small { "Slot " (rows[0].slot) ": " } (visible(&rows[0].prompt)) }
            p.small {
                "Siblings: "
                @for (at, sibling) in set.siblings.iter().enumerate() {
                    @if at > 0 { ", " }
                    @if pick == Some(sibling.says.as_str()) { strong { (visible(&sibling.says)) } " (the slot's pick)" }
                    @else { (visible(&sibling.says)) }
                }
            }
            @for row in rows {
                @match &row.response {
                    None => p { em { "No answer came back." } },
                    Some(text) => {
                        p.tokens { (visible(&cut(text))) }
                        p.small {
                            "Read as: " (visible(matcher.as_ref().map_or("unreadable", |matcher| says(matcher.answer(text)))))
                            @if let Some(second) = second_reading(set, text) { "; by the second reader: " (visible(says(second))) }
                        }
                    }
                }
            }
        }
    }
}

fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(CHARACTERS).collect();
    if shown.len() < text.len() {
        shown.push_str(" …");
    }
    shown
}
