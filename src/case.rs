//! Evidence: a sealed plan, raw material, findings, verdicts; report and bundle.
//!
//! ```text
//! Plan ──seal──▶ SealedPlan ┐
//! Material (raw answers) ───┼─ analyse ─▶ Analysis { findings, verdicts } ─▶ Bundle, report
//! opened keys ──────────────┘
//! ```
//!
//! [`analyse`] is the only maker of [`Finding`]s, and it takes a [`SealedPlan`]. `case check` runs the same function
//! over the bundle's raw material and compares. A verdict is a value; a negative one is never an error.

pub mod bundle;
pub mod canaries;
pub mod decoys;
mod error;
pub mod figure;
mod judge;
pub mod likelihoods;
pub mod material;
pub mod plan;
mod prompts;
pub mod report;
pub mod route;

use serde::{Deserialize, Serialize};

use crate::attribute::{Route, RouteOutcome};
use crate::key::{Label, SchemeKey};
use crate::scheme::Scheme;
use crate::score::Skipped;
use crate::stat::verdict::{Summary, TailMethod};
use canaries::{Disclosed, LaidOpen, Readings, Tested};
pub use error::CaseError;
use judge::{judge, standing_out};
use material::{Content, Material};
use plan::{Access, PlannedTest, Role, ScoredKey, SealedPlan};

/// What a reader is told. Never "guilty".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The verdict p is at most α after correction, and no innocent under the same key comes near.
    EvidenceFound,
    /// p above α, and the plan's power for the effect it names is at least 0.9.
    NoEvidence,
    /// Everything else.
    Inconclusive,
}

/// One planned test's result under its sealed plan. Only [`analyse`] makes one, and nothing changes it.
///
/// One that is read from a bundle says what the bundle claims: [`bundle::check`] makes it again and compares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    test: String,
    suspect: String,
    role: Role,
    access: Access,
    #[serde(flatten)]
    summary: Summary,
    skipped: Skipped,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    readings: Option<Readings>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    route: Option<Route>,
    verdict_ln_p: f64,
    adjusted_ln_p: f64,
    power: Option<f64>,
    verdict: Verdict,
}

impl Finding {
    /// The planned test's name.
    pub fn test(&self) -> &str {
        &self.test
    }

    /// Whose answers.
    pub fn suspect(&self) -> &str {
        &self.suspect
    }

    /// Why it is tested.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What the test looked at.
    pub fn access(&self) -> Access {
        self.access
    }

    /// The numbers.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Positions that gave no draw of their own.
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// How answers to canaries were read; none for other accesses.
    pub fn readings(&self) -> Option<Readings> {
        self.readings
    }

    /// Both halves of a route and its control; none for other accesses.
    pub fn route(&self) -> Option<&Route> {
        self.route.as_ref()
    }

    /// Whether it looks at answers to canaries.
    pub fn is_of_canaries(&self) -> bool {
        self.access.is_of_canaries()
    }

    /// Whether slots that nobody outside was served are too few to say whether keys, books or picks leaked.
    pub fn is_uncontrolled(&self) -> bool {
        self.route.as_ref().is_some_and(|route| route.outcome == RouteOutcome::Uncontrolled)
    }

    /// Whether slots that nobody outside was served agree with the key: then keys, books or picks leaked.
    pub fn is_blocked(&self) -> bool {
        self.route.as_ref().is_some_and(|route| route.outcome == RouteOutcome::Blocked)
    }

    /// The verdict tail: of S for key-independent evidence, of the e-process for adaptive evidence, the larger one of both
    /// halves for a route.
    pub fn verdict_ln_p(&self) -> f64 {
        self.verdict_ln_p
    }

    /// The same after Holm's correction over the registered suspects; as it is for controls.
    pub fn adjusted_ln_p(&self) -> f64 {
        self.adjusted_ln_p
    }

    /// Power that this test had for the plan's effect, from the positive control; none for the control itself.
    pub fn power(&self) -> Option<f64> {
        self.power
    }

    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }
}

/// Every planned test's result, in plan order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    findings: Vec<Finding>,
}

impl Analysis {
    /// The findings.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The primary test's verdict, or inconclusive where a negative control rejected.
    pub fn primary(&self) -> Verdict {
        self.findings.first().map_or(Verdict::Inconclusive, |finding| finding.verdict)
    }
}

/// Runs every test of `plan` over its material with the opened `keys`. `disclosed` is what the operator lays open of its
/// canaries: nothing where the plan has none.
///
/// # Errors
/// Material or a key is missing, does not fit the plan, or a source breaks independence. A negative verdict is none.
pub fn analyse(
    plan: &SealedPlan,
    material: &[Material],
    disclosed: Option<&Disclosed>,
    keys: &[SchemeKey],
) -> Result<Analysis, CaseError> {
    let laid_open = canaries::laid_open(plan, disclosed)?;
    let found = |test| found(plan, test, material, laid_open.as_ref(), keys);
    let findings = plan.tests().iter().map(found).collect::<Result<_, _>>()?;
    let mut analysis = Analysis { findings };
    judge(plan, &mut analysis.findings);
    Ok(analysis)
}

/// One test's numbers, before correction and verdict.
fn found(
    plan: &SealedPlan,
    test: &PlannedTest,
    material: &[Material],
    laid_open: Option<&LaidOpen<'_>>,
    keys: &[SchemeKey],
) -> Result<Finding, CaseError> {
    plan.check_sources(test)?;
    let material = material_of(test, material)?;
    let (summary, skipped, readings, route) = match &material.content {
        Content::Canary(probes) => {
            let Tested { summary, readings, route } = canaries::test(plan, test, probes, laid_open, keys)?;
            (summary, Skipped::default(), Some(readings), route)
        }
        Content::Likelihoods(rows) => {
            let (summary, route) = likelihoods::test(plan, test, rows, laid_open, keys)?;
            (summary, Skipped::default(), None, route)
        }
        _ => {
            let schemes = schemes(test, keys)?;
            prompts::check(plan, test, material, &schemes)?;
            let (summary, skipped) = material.test(plan, test, &schemes)?;
            (summary, skipped, None, None)
        }
    };
    let verdict_ln_p = match (&route, summary.method) {
        (Some(route), _) => route.ln_p,
        (None, TailMethod::EProcess) => (-summary.ln_e_max).min(0.0),
        (None, _) => summary.ln_p,
    };
    Ok(Finding {
        test: test.name.clone(),
        suspect: test.suspect.clone(),
        role: test.role,
        access: test.access,
        summary,
        skipped,
        readings,
        route,
        verdict_ln_p,
        adjusted_ln_p: verdict_ln_p,
        power: None,
        verdict: Verdict::Inconclusive,
    })
}

/// What the test's suspect gave in its access.
fn material_of<'m>(test: &PlannedTest, material: &'m [Material]) -> Result<&'m Material, CaseError> {
    let mut mine = material
        .iter()
        .filter(|material| material.suspect == test.suspect && material.access() == test.material());
    match (mine.next(), mine.next()) {
        (Some(material), None) => Ok(material),
        (None, _) => Err(CaseError::NoMaterial(test.name.clone())),
        (Some(_), Some(_)) => Err(CaseError::MaterialTwice(test.name.clone())),
    }
}

/// The schemes that a test's keys open, in the order of the keys.
fn schemes(test: &PlannedTest, keys: &[SchemeKey]) -> Result<Vec<Scheme>, CaseError> {
    test.keys.iter().filter_map(|scored| scheme(test, scored, keys).transpose()).collect()
}

/// The scheme of one of a test's keys; none for canaries.
fn scheme(test: &PlannedTest, scored: &ScoredKey, keys: &[SchemeKey]) -> Result<Option<Scheme>, CaseError> {
    let Some(spec) = scored.mark.spec() else { return Ok(None) };
    let key = |label: &Label| {
        let found = keys.iter().find(|key| *key.epoch() == scored.epoch && key.label() == label);
        found.cloned().ok_or_else(|| CaseError::NoKey {
            test: test.name.clone(),
            label: label.to_string(),
            epoch: scored.epoch.to_string(),
        })
    };
    let opened = scored.mark.labels().iter().map(key).collect::<Result<_, _>>()?;
    Ok(Some(spec.open_with(opened)?))
}

#[cfg(test)]
mod fixture;

#[cfg(test)]
mod tests {
    use super::material::MaterialError;
    use super::*;
    use crate::score::ScoreError;
    use crate::stat::math::ln;

    fn primary(change: impl FnOnce(&mut fixture::Draft)) -> Verdict {
        let mut draft = fixture::draft();
        change(&mut draft);
        draft.sealed().analysis.primary()
    }

    #[test]
    fn a_student_of_marked_answers_is_found_and_nobody_else() {
        let findings = fixture::fixture().analysis.findings;
        for finding in findings {
            let wanted =
                if finding.role == Role::Student { Verdict::EvidenceFound } else { Verdict::NoEvidence };
            assert_eq!(finding.verdict, wanted, "{}", finding.test);
        }
    }

    #[test]
    fn no_evidence_needs_a_student_tested_in_the_same_way() {
        let of_text = |draft: fixture::Draft| {
            let findings = draft.sealed().analysis.findings;
            let mut others =
                findings.into_iter().filter(|f| f.role == Role::Suspect || f.role == Role::Innocent);
            others.find(|finding| finding.access == Access::Text).unwrap()
        };
        assert_eq!(of_text(fixture::draft()).verdict, Verdict::NoEvidence);
        let mut draft = fixture::draft();
        for test in draft.plan.tests.iter_mut().filter(|test| test.access == Access::Text) {
            if test.role == Role::Student {
                assert_eq!(test.statistic, plan::Statistic::RootCount);
                test.statistic = plan::Statistic::Distinct;
            }
        }
        let finding = of_text(draft);
        assert_eq!((finding.verdict, finding.power), (Verdict::Inconclusive, None));
    }

    #[test]
    fn text_beside_a_reference_is_tested_like_any_other() {
        let mut draft = fixture::draft();
        draft.beside_a_flat_reference();
        for finding in draft.sealed().analysis.findings {
            let wanted =
                if finding.role == Role::Student { Verdict::EvidenceFound } else { Verdict::NoEvidence };
            assert_eq!(finding.verdict, wanted, "{}", finding.test);
        }
        let mut draft = fixture::draft();
        draft.beside_a_flat_reference();
        let plan = draft.plan.clone().seal("2026-11-23T09:00:00Z").unwrap();
        let Content::Beside(student) = &mut draft.material[0].content else { panic!("student") };
        student.expectation = crate::score::Expectation::default();
        let refused = analyse(&plan, &draft.material, None, &draft.keys());
        assert!(matches!(refused, Err(CaseError::Score { error: ScoreError::Expectation, .. })));
        draft.material[0].content = Content::Text(Vec::new());
        assert!(analyse(&plan, &draft.material, None, &draft.keys()).is_err());
    }

    #[test]
    fn a_position_that_was_read_twice_is_refused() {
        let mut draft = fixture::draft();
        for material in &mut draft.material {
            if let Content::Reading(reading) = &mut material.content {
                let mut again = reading.rows[0].clone();
                again.coefficients.pop();
                reading.rows.push(again);
            }
        }
        let plan = draft.plan.clone().seal("2026-11-23T09:00:00Z").unwrap();
        let refused = analyse(&plan, &draft.material, None, &draft.keys());
        assert!(matches!(refused, Err(CaseError::Material { error: MaterialError::RowTwice { .. }, .. })));
    }

    #[test]
    fn windows_may_be_weighed_by_the_plans_traffic() {
        let z = |draft: fixture::Draft| {
            let findings = draft.sealed().analysis.findings;
            let student = findings.iter().filter(|finding| finding.role == Role::Student);
            student.map(|finding| (finding.access, finding.summary.z)).collect::<Vec<_>>()
        };
        let beside = || {
            let mut draft = fixture::draft();
            draft.beside_a_flat_reference();
            draft
        };
        let mut exposed = beside();
        exposed.exposed();
        let other_weights =
            z(exposed).into_iter().zip(z(beside())).filter(|(weighed, plain)| weighed != plain);
        assert_eq!(
            other_weights.map(|((access, _), _)| access).collect::<Vec<_>>(),
            [Access::Text, Access::Distributions]
        );
        // Counts that the plan does not ask for, none where it does, and traffic that is no source of the test.
        let error = MaterialError::Exposure;
        let changed = |change: fn(&mut fixture::Draft)| {
            let mut draft = beside();
            draft.exposed();
            change(&mut draft);
            draft
        };
        let refused = |change| {
            let draft = changed(change);
            let plan = draft.plan.clone().seal("2026-11-23T09:00:00Z").unwrap();
            analyse(&plan, &draft.material, None, &draft.keys())
        };
        let unasked = refused(|draft| draft.plan.exposure = plan::Planned::absent("windows weigh alike"));
        assert!(matches!(unasked, Err(CaseError::Material { error: found, .. }) if found == error));
        let missing = refused(|draft| {
            let Content::Beside(beside) = &mut draft.material[0].content else { panic!("student") };
            beside.exposure = None;
        });
        assert!(matches!(missing, Err(CaseError::Material { error: found, .. }) if found == error));
        let unlisted = changed(|draft| draft.plan.tests.iter_mut().for_each(|test| drop(test.sources.pop())));
        let unlisted = unlisted.plan.seal("2026-11-23T09:00:00Z");
        assert!(unlisted.unwrap_err().to_string().contains("traffic among its sources"));
    }

    #[test]
    fn whatever_control_stands_out_nothing_is_found() {
        for control in ["control", "innocent-1", "innocent-2"] {
            let verdict = primary(|draft| draft.copy(Access::Text, "student", control));
            assert_eq!(verdict, Verdict::Inconclusive, "{control}");
        }
        // The primary test looks at text: an innocent whose distributions stand out spoils it too.
        let verdict = primary(|draft| draft.copy(Access::Distributions, "student", "innocent-1"));
        assert_eq!(verdict, Verdict::Inconclusive);
        let marked = |draft: &mut fixture::Draft| {
            let keys = draft.plan.tests[0].keys.clone();
            draft
                .plan
                .tests
                .iter_mut()
                .filter(|test| test.role == Role::WrongKey)
                .for_each(|test| test.keys.clone_from(&keys));
        };
        assert_eq!(primary(marked), Verdict::Inconclusive);
    }

    #[test]
    fn a_finding_needs_an_innocent_that_could_have_rejected_under_the_same_key() {
        let innocent = |test: &&mut PlannedTest| test.role == Role::Innocent && test.access == Access::Text;
        let none = |draft: &mut fixture::Draft| draft.plan.tests.retain(|test| test.role != Role::Innocent);
        assert_eq!(primary(none), Verdict::Inconclusive);
        let elsewhere = |draft: &mut fixture::Draft| {
            let unused =
                draft.plan.tests.iter().find(|test| test.role == Role::WrongKey).unwrap().keys.clone();
            draft.plan.tests.iter_mut().filter(innocent).for_each(|test| test.keys.clone_from(&unused));
        };
        assert_eq!(primary(elsewhere), Verdict::Inconclusive);
        let other_statistic = |draft: &mut fixture::Draft| {
            let tests = draft.plan.tests.iter_mut().filter(innocent);
            tests.for_each(|test| test.statistic = plan::Statistic::Distinct);
        };
        assert_eq!(primary(other_statistic), Verdict::Inconclusive);
        let silent = |draft: &mut fixture::Draft| {
            for material in
                draft.material.iter_mut().filter(|material| material.suspect.starts_with("innocent"))
            {
                if let Content::Text(answers) = &mut material.content {
                    answers.iter_mut().for_each(|answer| answer.response.truncate(1));
                }
            }
        };
        assert_eq!(primary(silent), Verdict::Inconclusive);
    }

    #[test]
    fn an_innocent_is_never_found_whatever_the_level() {
        let mut draft = fixture::draft();
        draft.plan.alpha = 0.9;
        draft.copy(Access::Text, "student", "innocent-1");
        for finding in draft.sealed().analysis.findings {
            let accused = finding.verdict == Verdict::EvidenceFound;
            assert!(!accused || finding.role.is_registered(), "{}", finding.test);
            assert!(!accused || finding.access != Access::Text, "{}", finding.test);
        }
    }

    #[test]
    fn a_suspect_that_says_nothing_is_inconclusive_and_the_others_keep_their_results() {
        let mut draft = fixture::draft();
        for material in draft.material.iter_mut().filter(|material| material.suspect == "control") {
            if let Content::Text(answers) = &mut material.content {
                answers.iter_mut().for_each(|answer| answer.response.clear());
            }
        }
        let findings = draft.sealed().analysis.findings;
        assert_eq!(findings[0].verdict, Verdict::EvidenceFound);
        let control = findings.iter().find(|finding| finding.test == "control, text").unwrap();
        assert_eq!((control.verdict, control.verdict_ln_p), (Verdict::Inconclusive, 0.0));
    }

    #[test]
    fn what_is_chosen_after_the_key_is_refused() {
        let refused = |change: &dyn Fn(&mut fixture::Draft)| {
            let mut draft = fixture::draft();
            change(&mut draft);
            let keys = draft.keys();
            let plan = draft.plan.seal("2026-11-23T10:00:00Z").unwrap();
            analyse(&plan, &draft.material, None, &keys).unwrap_err().to_string()
        };
        let contents = |draft: &mut fixture::Draft, change: &dyn Fn(&mut Content)| {
            draft.material.iter_mut().for_each(|material| change(&mut material.content));
        };
        let contexts = refused(&|draft| {
            contents(draft, &|content| {
                if let Content::Distributions(rows) = content {
                    rows.contexts[0].1 ^= 1;
                }
            });
        });
        assert!(contexts.contains("the plan's rule"), "{contexts}");
        let documents = refused(&|draft| {
            contents(draft, &|content| {
                if let Content::Reading(reading) = content {
                    let moved = reading.documents[0].response.remove(0);
                    reading.documents[0].prompt.push(moved);
                }
            });
        });
        assert!(documents.contains("not those that the plan commits to"), "{documents}");
        let twice = refused(&|draft| {
            contents(draft, &|content| {
                if let Content::Reading(reading) = content {
                    let first = reading.rows[0].coefficients[0];
                    reading.rows[0].coefficients.push(first);
                }
            });
        });
        assert!(twice.contains("names a token twice"), "{twice}");
        let longer = refused(&|draft| draft.plan.pool.answer_tokens = 5);
        assert!(longer.contains("longer than the plan"), "{longer}");
        let two = refused(&|draft| {
            let again = draft.material[0].clone();
            draft.material.push(again);
        });
        assert!(two.contains("two pieces of material"), "{two}");
    }

    #[test]
    fn a_plan_that_this_version_would_not_follow_is_not_sealed() {
        let refused = |change: &dyn Fn(&mut plan::Plan)| {
            let mut draft = fixture::draft();
            change(&mut draft.plan);
            draft.plan.seal("2026-11-23T10:00:00Z").unwrap_err().to_string()
        };
        assert!(refused(&|plan| plan.lambda_grid = vec![0]).contains("lambda_grid"));
        assert!(refused(&|plan| plan.number = 0).contains("number"));
        assert!(refused(&|plan| plan.alpha = 1.0).contains("alpha"));
        let unlisted = refused(&|plan| plan.tests.iter_mut().for_each(|test| test.sources.clear()));
        assert!(
            unlisted.contains("its reference") || unlisted.contains("reference among its sources"),
            "{unlisted}"
        );
    }

    #[test]
    fn silence_from_far_fewer_draws_than_the_positive_control_had_is_inconclusive() {
        let control = |tokens: usize| {
            let mut draft = fixture::draft();
            for material in draft.material.iter_mut().filter(|material| material.suspect == "control") {
                if let Content::Text(answers) = &mut material.content {
                    answers.iter_mut().for_each(|answer| answer.response.truncate(tokens));
                }
            }
            let findings = draft.sealed().analysis.findings;
            findings.into_iter().find(|finding| finding.test == "control, text").unwrap()
        };
        let (all, few) = (control(usize::MAX), control(3));
        assert_eq!(all.verdict, Verdict::NoEvidence);
        // So few draws could still have rejected; the test would only have had little chance to.
        assert!(few.summary.ln_p_min.unwrap() < ln(1e-7), "{:?}", few.summary);
        assert_eq!(few.verdict, Verdict::Inconclusive, "power {:?}", few.power);
    }

    #[test]
    fn silence_without_a_positive_control_is_inconclusive() {
        let verdict = primary(|draft| draft.plan.tests.retain(|test| test.role == Role::Control));
        assert_eq!(verdict, Verdict::Inconclusive);
    }
}
