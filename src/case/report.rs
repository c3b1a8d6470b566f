//! The report: one self-contained HTML page, its first sheet for somebody who decides, the rest for somebody who checks.
//!
//! It states what a [`Bundle`] holds and adds no number of its own but two that no verdict uses: what of p survives 2⁶⁴
//! hidden tries, and where decoy keys lie. All registered tests appear, the failures too; controls, checks and
//! explorations stand under headings of their own. Answers are text from outside: everything is escaped, and a content
//! policy forbids scripts besides.

mod canaries;
mod detail;
mod first;
mod method;
mod number;
mod record;
mod route;
mod weaknesses;
mod why;

use std::borrow::Cow;
use std::fmt;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::bundle::Bundle;
use super::decoys::Decoys;
use super::plan::{Access, Plan, PlannedTest, Role, SealedPlan};
use super::{Analysis, Finding, Verdict, analyse};
use crate::key::SchemeKey;
use crate::law::Law;
use crate::stat::math::ln;
use crate::stat::verdict::TailMethod;
use crate::token::TokenId;
use number::{count, log10_e, rate, stated_log10_p};

/// What a report is made from.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The page's title.
    pub title: &'a str,
    /// The evidence.
    pub bundle: &'a Bundle,
    /// The bundle's file name, for the line that says how to re-run it.
    pub bundle_file: &'a str,
    /// The decoy checks that were made.
    pub decoys: &'a [Decoys],
    /// Token ids to text.
    pub decode: &'a dyn Fn(&[TokenId]) -> String,
    /// Remarks of whoever made the report, shown as such: explorations, never evidence.
    pub notes: &'a [String],
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("title", &self.title)
            .field("bundle_file", &self.bundle_file)
            .finish_non_exhaustive()
    }
}

/// The report as HTML, without anything from outside the page.
///
/// A bundle that was read back from its file has no e-process paths: its analysis is then run again to draw them.
pub fn render(input: &Input<'_>) -> String {
    let view = View::of(input);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (input.title) }
                style { (PreEscaped(include_str!("report/style.css"))) }
            }
            body { main {
                (first::page(&view))
                (detail::figures(&view))
                (method::section(&view))
                (detail::validity(&view))
                (detail::controls(&view))
                (canaries::section(&view))
                (route::section(&view))
                (why::section(&view))
                (record::plan(&view))
                (record::hashes(&view))
                (explorations(&view))
                (method::glossary())
            } }
        }
    };
    page.into_string()
}

/// A bundle with what the sections need of it.
struct View<'a> {
    input: &'a Input<'a>,
    plan: &'a Plan,
    analysis: Cow<'a, Analysis>,
    keys: Vec<SchemeKey>,
    sealed: Option<SealedPlan>,
}

impl<'a> View<'a> {
    fn of(input: &'a Input<'a>) -> Self {
        let bundle = input.bundle;
        let verified =
            bundle.openings.iter().filter_map(|opening| bundle.genesis.verify(opening).ok().flatten());
        let keys: Vec<SchemeKey> = verified.collect();
        let sealed =
            SealedPlan::reopen(bundle.plan.clone(), bundle.seal.time.clone(), bundle.seal.sha256).ok();
        let read_back = bundle.analysis.findings.iter().all(|finding| finding.summary.path.is_empty());
        let again = sealed
            .as_ref()
            .filter(|_| read_back)
            .and_then(|plan| analyse(plan, &bundle.material, bundle.canaries.as_ref(), &keys).ok());
        let analysis = again.map_or(Cow::Borrowed(&bundle.analysis), Cow::Owned);
        Self { input, plan: &bundle.plan, analysis, keys, sealed }
    }

    fn findings(&self) -> &[Finding] {
        &self.analysis.findings
    }

    fn registered(&self) -> Vec<&Finding> {
        self.findings().iter().filter(|finding| finding.role.is_registered()).collect()
    }

    /// What was tested only to see that nothing comes of it.
    fn controls(&self) -> Vec<&Finding> {
        self.findings().iter().filter(|finding| !finding.role.is_registered()).collect()
    }

    fn planned(&self, finding: &Finding) -> Option<&PlannedTest> {
        self.plan.tests.iter().find(|test| test.name == finding.test)
    }

    /// The law of every draw of a mark; none where there are several.
    fn law(&self) -> Option<Law> {
        let mut laws = self.plan.specs().into_iter().map(|spec| spec.law());
        let first = laws.next()?;
        first.filter(|_| laws.all(|law| law == first))
    }

    /// The mean of a finding's draws: per cent where they are coins, and the share on the pick where they are canaries.
    fn rate(&self, finding: &Finding, mean: f64) -> String {
        if finding.is_of_canaries() { number::percent(mean, 1) } else { rate(mean, self.law()) }
    }

    fn has(&self, access: Access) -> bool {
        self.findings().iter().any(|finding| finding.access == access)
    }

    fn has_canaries(&self) -> bool {
        self.findings().iter().any(Finding::is_of_canaries)
    }

    /// Whether any test looks at token marks.
    fn has_marks(&self) -> bool {
        self.findings().iter().any(|finding| !finding.is_of_canaries())
    }

    fn rate_name(&self) -> &'static str {
        match (self.law(), self.has_marks()) {
            (_, false) => "Scores on the pick",
            (Some(Law::Bernoulli(_)), true) => "Green rate",
            (_, true) => "Mean draw",
        }
    }

    fn rate_words(&self, access: Access) -> &'static str {
        match (self.law(), access) {
            (_, Access::Canary | Access::Likelihoods | Access::Route) => {
                "the share of scores on the siblings that the key picked"
            }
            (Some(Law::Bernoulli(_)), _) => "the weighted share of draws on the key's side",
            _ => "the weighted mean of the draws",
        }
    }

    /// The registered tests whose corrected p is at most α, whatever became of their verdict.
    fn rejecting(&self) -> Vec<&Finding> {
        let ln_alpha = ln(self.plan.level());
        self.registered().into_iter().filter(|finding| finding.adjusted_ln_p <= ln_alpha).collect()
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::EvidenceFound => "evidence found",
        Verdict::Inconclusive => "inconclusive",
        Verdict::NoEvidence => "no evidence",
    }
}

fn verdict_class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::EvidenceFound => "verdict found",
        Verdict::Inconclusive => "verdict unclear",
        Verdict::NoEvidence => "verdict none",
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Control => "clean control",
        Role::Innocent => "innocent",
        Role::Student => "positive control",
        Role::Suspect => "suspect",
        Role::WrongKey => "wrong key",
    }
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Canary => "canaries",
        Access::Distributions => "distributions",
        Access::Likelihoods => "canaries, by log-probabilities",
        Access::Reading => "reading",
        Access::Route => "canaries, by who was served (P4)",
        Access::Text => "text",
    }
}

/// One row a finding.
fn results(view: &View<'_>, findings: &[&Finding]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th { "Suspect" } th { "Role" } th { "Access" } th.n { "Distinct draws" } th.n { (view.rate_name()) }
                th.n { "95\u{a0}% interval" } th.n { "log₁₀\u{a0}p" } th.n { "log₁₀\u{a0}e" } th { "Verdict" }
            } }
            tbody { @for finding in findings {
                tr {
                    th scope="row" { (finding.suspect) }
                    td { (role(finding.role)) }
                    td { (access(finding.access)) }
                    td.n { (count(finding.summary.draws)) }
                    td.n { (view.rate(finding, finding.summary.estimate)) }
                    td.n { (number::interval(finding.summary.interval, |end| view.rate(finding, end))) }
                    td.n { (stated_log10_p(finding.verdict_ln_p)) }
                    td.n { (log10_e(best_ln_e(finding))) }
                    td { span class=(verdict_class(finding.verdict)) { (verdict(finding.verdict)) } }
                }
            } }
        } }
    }
}

/// The e-value a reader sees: the last one; where the e-process is the verdict, the largest.
fn best_ln_e(finding: &Finding) -> f64 {
    match finding.summary.method {
        TailMethod::EProcess => finding.summary.ln_e_max,
        _ => finding.summary.ln_e,
    }
}

fn explorations(view: &View<'_>) -> Markup {
    html! {
        section {
            h2 { "Explorations and remarks: not evidence" }
            @if view.input.notes.is_empty() {
                p { "None." }
            } @else {
                p { "What follows was not registered, or says how this was made. No verdict uses it." }
                ul { @for note in view.input.notes { li { (note) } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::decoys::decoys;
    use crate::case::fixture::{self, Fixture};
    use crate::case::plan::Planned;

    fn page(bundle: &Bundle, decoys: &[Decoys]) -> String {
        render(&Input {
            title: "Student & control",
            bundle,
            bundle_file: "bundle.json",
            decoys,
            decode: &fixture::decode,
            notes: &["Made by a <b>test</b>.".to_owned()],
        })
    }

    fn fixture_page() -> String {
        let Fixture { plan, material, .. } = fixture::fixture();
        let checked = decoys(&plan, &material, &plan.tests()[0], 400).unwrap();
        page(&fixture::fixture().bundle(), &[checked])
    }

    /// Where a claim is made about the page, its markup and line ends do not matter.
    fn words(page: &str) -> String {
        let body = page.split("<body>").nth(1).unwrap();
        let text: String =
            body.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text).collect();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_registered_test_and_control_is_on_the_page() {
        let page = words(&fixture_page());
        for finding in fixture::fixture().analysis.findings {
            assert!(
                page.contains(&finding.test) && page.contains(verdict(finding.verdict)),
                "{}",
                finding.test
            );
        }
        for said in [
            "Verdict: evidence found",
            "by a route this test does not identify",
            "Not that it learned from answers served to particular accounts",
            "EXPLORATORY for outsiders.",
            "The key is not bound to a beacon.",
            "student, reading 0.081 (more than α)",
            "Earlier plans cannot be excluded.",
            "Where an answer ends is the tester's word. The plan asks for at most 90 tokens",
            "The key is burned.",
            "No independent time stamp.",
            "The real key ranks 1 of 401",
            "taggant case check bundle.json",
        ] {
            assert!(page.contains(said), "{said:?} is missing from: {page}");
        }
    }

    #[test]
    fn the_lack_of_an_innocent_is_said() {
        let mut draft = fixture::draft();
        draft.plan.tests.retain(|test| test.role != Role::Innocent || test.access == Access::Text);
        let page = words(&page(&draft.sealed().bundle(), &[]));
        assert!(page.contains("No innocent under the same key was tested for distributions, reading"));
    }

    #[test]
    fn a_beacon_that_nobody_verified_silences_no_warning() {
        let mut draft = fixture::draft_in("2026-q4@drand:1234:9f3c");
        draft.plan.pool.beacon = Planned::Set { value: "drand round 1240".to_owned() };
        let page = words(&page(&draft.sealed().bundle(), &[]));
        for said in [
            "EXPLORATORY for outsiders.",
            "the plan names “drand round 1240”, which this version cannot verify",
            "The key is not bound to a beacon.",
            "its epoch names no public random number that this version could verify",
        ] {
            assert!(page.to_lowercase().contains(&said.to_lowercase()), "{said:?} is missing from: {page}");
        }
    }

    #[test]
    fn every_plan_field_is_on_the_page() {
        let (page, bundle) = (fixture_page(), fixture::fixture().bundle());
        for field in serde_json::to_value(&bundle.plan).unwrap().as_object().unwrap().keys() {
            assert!(page.contains(&format!("<dt><code>{field}</code></dt>")), "{field}");
        }
        assert!(page.contains("this case runs offline"));
    }

    #[test]
    fn nothing_comes_from_outside_and_nothing_runs() {
        let page = fixture_page();
        assert!(
            page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
            "the fixture's hostile token is not shown"
        );
        assert!(page.contains("⟨202E⟩"), "the fixture's override of direction is not shown");
        for forbidden in ["<script", "<b>test", "src=", "href=", "url(", "@import", "\u{202e}"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert_eq!(page.matches("http").count(), page.matches("http://www.w3.org/2000/svg").count() + 1);
    }

    #[test]
    fn a_control_that_stands_out_is_said_first() {
        let mut draft = fixture::draft();
        draft.copy(Access::Text, "student", "innocent-1");
        let page = words(&page(&draft.sealed().bundle(), &[]));
        for said in [
            "Verdict: inconclusive",
            "A control stands out. innocent-1, text",
            "What would be claimed, and is not",
        ] {
            assert!(page.contains(said), "{said:?} is missing from: {page}");
        }
    }

    #[test]
    fn a_bundle_from_its_file_gives_the_same_page() {
        let bundle = fixture::fixture().bundle();
        let again: Bundle = serde_json::from_value(serde_json::to_value(&bundle).unwrap()).unwrap();
        assert_eq!(page(&again, &[]), page(&bundle, &[]));
    }

    #[test]
    fn a_bundle_that_does_not_verify_says_so() {
        let mut bundle = fixture::fixture().bundle();
        bundle.openings[0].key.0[0] ^= 1;
        assert!(words(&page(&bundle, &[])).contains("This bundle does not verify."));
    }
}
