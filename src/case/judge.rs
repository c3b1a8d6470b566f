//! From numbers to verdicts: correction, controls and power.

use super::plan::{Access, PlannedTest, Role, SealedPlan};
use super::{Finding, Verdict};
use crate::stat::math::{exp, ln, normal_ln_sf, normal_z, to_f64};
use crate::stat::multiple::holm;

/// Correction, power and verdicts: Holm over the registered suspects. A negative control that rejects, or the lack of an
/// innocent that could have, leaves nothing better than inconclusive; so do slots that nobody was served and that agree with
/// the key. A control is never accused, and a route (P4) is claimed of nobody whose exposure (P3) is not.
pub(super) fn judge(plan: &SealedPlan, findings: &mut [Finding]) {
    let family: Vec<usize> = (0..findings.len()).filter(|at| findings[*at].role.is_registered()).collect();
    let raw: Vec<f64> = family.iter().map(|at| findings[*at].verdict_ln_p).collect();
    for (at, adjusted) in family.iter().zip(holm(&raw)) {
        findings[*at].adjusted_ln_p = adjusted;
    }
    let ln_level = ln(plan.level());
    let strictest = ln_level - ln(to_f64((family.len() as u64).max(1)));
    let spoilt = !standing_out(findings, ln_level).is_empty() || findings.iter().any(Finding::is_blocked);
    let uncontrolled: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.is_uncontrolled())
        .map(|finding| finding.suspect.as_str())
        .collect();
    let judged: Vec<(Option<f64>, Verdict)> = (0..findings.len())
        .map(|at| {
            let finding = &findings[at];
            let power = least_power(plan, findings, at, strictest);
            let accused = finding.role.is_registered() && finding.adjusted_ln_p <= ln_level;
            let controlled = !finding.is_of_canaries() || !uncontrolled.contains(&finding.suspect.as_str());
            let sound = !spoilt && controlled && has_innocent(plan, findings, at);
            let stands_out = finding.verdict_ln_p <= ln_level;
            let verdict = match (accused && sound, power) {
                (true, _) => Verdict::EvidenceFound,
                (false, Some(power)) if power >= 0.9 && !accused && !stands_out => Verdict::NoEvidence,
                _ => Verdict::Inconclusive,
            };
            (power, verdict)
        })
        .collect();
    for (finding, (power, verdict)) in findings.iter_mut().zip(judged) {
        (finding.power, finding.verdict) = (power, verdict);
    }
    withdraw_lone_routes(plan, findings);
}

/// A route is claimed beside exposure of the same suspect in the same epoch, and of nobody else.
fn withdraw_lone_routes(plan: &SealedPlan, findings: &mut [Finding]) {
    let tests = plan.tests();
    let exposed: Vec<(String, &PlannedTest)> = findings
        .iter()
        .zip(tests)
        .filter(|(finding, _)| finding.access != Access::Route && finding.verdict == Verdict::EvidenceFound)
        .map(|(finding, test)| (finding.suspect.clone(), test))
        .collect();
    let routes = findings.iter_mut().zip(tests).filter(|(finding, _)| finding.access == Access::Route);
    for (finding, test) in routes.filter(|(finding, _)| finding.verdict == Verdict::EvidenceFound) {
        let beside = |(suspect, other): &(String, &PlannedTest)| {
            *suspect == finding.suspect && other.epochs().is_superset(&test.epochs())
        };
        if !exposed.iter().any(beside) {
            finding.verdict = Verdict::Inconclusive;
        }
    }
}

/// What the test of finding `at` could see, by the students tested as it was (access, statistic, keys): the least of them,
/// because which one the suspect is like is not known. None without such a student, and for students. Under a wrong key the
/// students of the served one count: it shows what a mark would look like.
fn least_power(plan: &SealedPlan, findings: &[Finding], at: usize, ln_level: f64) -> Option<f64> {
    let (tests, finding) = (plan.tests(), &findings[at]);
    let students = findings.iter().zip(tests).filter(|(other, test)| {
        other.role == Role::Student
            && test.looks_as(&tests[at], plan.plan())
            && (test.sorted_keys() == tests[at].sorted_keys() || finding.role == Role::WrongKey)
    });
    let least = students.map(|(student, _)| power(student, finding, ln_level)).reduce(f64::min);
    least.filter(|_| finding.role != Role::Student)
}

/// Whether an innocent was tested as finding `at` was (access, statistic, keys), with at least a quarter as many draws
/// (the same effect gives half the z): an unlucky key hits everyone, and only an innocent that could have rejected shows
/// that this one does not.
fn has_innocent(plan: &SealedPlan, findings: &[Finding], at: usize) -> bool {
    let (tests, finding) = (plan.tests(), &findings[at]);
    findings.iter().zip(tests).any(|(other, test)| {
        other.role == Role::Innocent
            && test.looks_as(&tests[at], plan.plan())
            && test.sorted_keys() == tests[at].sorted_keys()
            && other.summary.draws * 4 >= finding.summary.draws
            && can_reach(other, ln(0.01))
    })
}

fn can_reach(finding: &Finding, ln_p: f64) -> bool {
    finding.summary.draws > 0 && finding.summary.ln_p_min.is_none_or(|least| least <= ln_p)
}

/// The negative controls with p ≤ 0.01/m, or at the plan's level; m that could get there. No finding stands beside one,
/// whatever it looked at: a key or an analysis that accuses one innocent accuses others.
pub(super) fn standing_out(findings: &[Finding], ln_level: f64) -> Vec<&Finding> {
    let controls = || findings.iter().filter(|finding| finding.role.is_negative_control());
    let able = controls().map(|control| tails(control).len() as u64).sum::<u64>();
    let least = ln(0.01 / to_f64(able.max(1))).max(ln_level);
    controls().filter(|control| tails(control).into_iter().any(|ln_p| ln_p <= least)).collect()
}

/// The tails of a control, of those that could reach 0.01: one, or those of both halves of a route. The larger of two hardly
/// ever rejects, and would hide a key that hits half of everybody.
fn tails(control: &Finding) -> Vec<f64> {
    let keyed = control.route.as_ref().map_or(control.verdict_ln_p, |route| route.keyed.ln_p);
    let arms = control.route.as_ref().map(|route| &route.arms).filter(|arms| arms.strata > 0);
    can_reach(control, ln(0.01)).then_some(keyed).into_iter().chain(arms.map(|arms| arms.ln_p)).collect()
}

/// The chance that the test of `finding` would pass `ln_level` if its suspect were as the positive control is: a normal
/// statistic with the control's z, scaled to the suspect's effective draws. Planning arithmetic, not evidence.
fn power(control: &Finding, finding: &Finding, ln_level: f64) -> f64 {
    if !can_reach(finding, ln_level) || control.summary.n_eff <= 0.0 {
        return 0.0;
    }
    let share = (finding.summary.n_eff / control.summary.n_eff).min(1.0);
    let z = normal_z(control.verdict_ln_p) * share.sqrt();
    exp(normal_ln_sf(normal_z(ln_level) - z))
}
