//! From raw material to the coefficients of a planned test: no key is touched.
//!
//! A statistic looks at windows, so keys of one width share its coefficients; those of all keys are then weighed and
//! rounded together ([`Pooled`]).

use std::collections::BTreeMap;

use super::rows::References;
use super::{Answer, Beside, Content, Distributions, MaterialError, exchanges, fault, unscored};
use crate::case::CaseError;
use crate::case::plan::{Planned, PlannedTest, SealedPlan, Statistic};
use crate::scheme::Spec;
use crate::score::{Counted, Exposures, Pooled, RowStatistic, SHRINK, Text, Unrounded, Weight};
use crate::token::Width;

/// The coefficients of a key-independent test.
///
/// # Errors
/// Material that does not fit the plan; readings, whose coefficients have no meaning without their key's text.
pub(super) fn of(content: &Content, plan: &SealedPlan, test: &PlannedTest) -> Result<Pooled, CaseError> {
    let specs: Vec<Spec> = test.keys.iter().filter_map(|key| key.mark.spec()).collect();
    match content {
        Content::Beside(beside) if test.statistic == Statistic::TextResidual => {
            of_beside(beside, plan, test, &specs)
        }
        Content::Beside(Beside { answers, .. }) | Content::Text(answers) => {
            of_text(answers, plan, test, &specs)
        }
        Content::Distributions(rows) => of_rows(rows, plan, test, &specs),
        Content::Canary(_) | Content::Likelihoods(_) | Content::Reading(_) => {
            Err(fault(test, MaterialError::Statistic))
        }
    }
}

fn of_text(
    answers: &[Answer],
    plan: &SealedPlan,
    test: &PlannedTest,
    specs: &[Spec],
) -> Result<Pooled, CaseError> {
    let statistic = test.statistic.text().ok_or_else(|| fault(test, MaterialError::Statistic))?;
    let exchanges = exchanges(plan, answers).map_err(|error| fault(test, error))?;
    if let [spec @ Spec::Mix(_)] = specs {
        let mixed = Counted::text(*spec, (0..).zip(&exchanges), statistic);
        return mixed.map(Pooled::from).map_err(|error| unscored(test, error));
    }
    let of_width = |width| Unrounded::text(width, (0..).zip(&exchanges), statistic);
    pooled(test, specs, |width| of_width(width).map_err(|error| unscored(test, error)))
}

fn of_beside(
    Beside { answers, expectation, exposure }: &Beside,
    plan: &SealedPlan,
    test: &PlannedTest,
    specs: &[Spec],
) -> Result<Pooled, CaseError> {
    let exchanges = exchanges(plan, answers).map_err(|error| fault(test, error))?;
    let exposed = exposed(plan, test, exposure.as_ref())?;
    pooled(test, specs, |width| {
        let exposure = exposed.map(|listed| listed.of_width(width, []));
        Text::count(width, (0..).zip(&exchanges))
            .and_then(|text| text.residuals(expectation, SHRINK, exposure.as_ref()))
            .map_err(|error| unscored(test, error))
    })
}

fn of_rows(
    rows: &Distributions,
    plan: &SealedPlan,
    test: &PlannedTest,
    specs: &[Spec],
) -> Result<Pooled, CaseError> {
    let fault = |error| fault(test, error);
    rows.check(plan).map_err(fault)?;
    let q = rows.q.read().map_err(fault)?;
    let predictions = rows.predictions(&q, plan.plan().pool.provenance).map_err(fault)?;
    let scored = |width, statistic: RowStatistic<'_>| {
        statistic.coefficients(width, &predictions).map_err(|error| unscored(test, error))
    };
    match (test.statistic, &rows.b) {
        (Statistic::Argmax, _) => pooled(test, specs, |width| scored(width, RowStatistic::Argmax)),
        (Statistic::GreenMass, _) => pooled(test, specs, |width| scored(width, RowStatistic::Mass)),
        (Statistic::Residual, Some(b)) => {
            let b = References::of(&q, b.read().map_err(fault)?, &plan.plan().pool.rows).map_err(fault)?;
            let exposed = exposed(plan, test, rows.exposure.as_ref())?;
            pooled(test, specs, |width| {
                let exposure = exposed.map(|listed| listed.of_width(width, []));
                let weight = exposure.as_ref().map_or(Weight::HalfNorm, Weight::Exposed);
                scored(width, b.residual(weight))
            })
        }
        _ => Err(fault(MaterialError::Statistic)),
    }
}

/// One statistic's coefficients for all keys: counted once for each width.
fn pooled(
    test: &PlannedTest,
    specs: &[Spec],
    count: impl Fn(Width) -> Result<Unrounded, CaseError>,
) -> Result<Pooled, CaseError> {
    let mut by_width: BTreeMap<Width, Unrounded> = BTreeMap::new();
    let mut weighed = Vec::new();
    for ((spec, key), later) in specs.iter().zip(&test.keys).zip(1..) {
        let width = spec.width();
        let counted = match by_width.remove(&width) {
            Some(counted) => counted,
            None => count(width)?,
        };
        if specs[later..].iter().any(|other| other.width() == width) {
            by_width.insert(width, counted.clone());
        }
        weighed.push((counted, key.weight));
    }
    Ok(Pooled::new(weighed))
}

/// What weighs a residual's windows, where the plan names traffic to count them in. (That no scored key marked any of it is
/// checked in the plan's sources.)
fn exposed<'m>(
    plan: &SealedPlan,
    test: &PlannedTest,
    listed: Option<&'m Exposures>,
) -> Result<Option<&'m Exposures>, CaseError> {
    if matches!(plan.plan().exposure, Planned::Set { .. }) != listed.is_some() {
        return Err(fault(test, MaterialError::Exposure));
    }
    let widths: Vec<Width> = plan.plan().specs().iter().map(Spec::width).collect();
    let checked = listed.map(|listed| listed.check(&widths)).transpose();
    checked.map(|_| listed).map_err(|error| unscored(test, error))
}

#[cfg(test)]
mod tests {
    use crate::case::fixture::{self, Draft};
    use crate::case::plan::{Access, Role, Statistic};
    use crate::case::{Finding, Verdict};
    use crate::stat::verdict::TailMethod;

    const GREEN: &str = "green/1/w1/b2/t1";
    const WIDE: &str = "green/1/w2/b1/t1";

    /// The first finding of a role and access.
    fn found(role: Role, access: Access, change: impl FnOnce(&mut Draft)) -> Finding {
        let mut draft = fixture::draft();
        change(&mut draft);
        let findings = draft.sealed().analysis.findings;
        findings.into_iter().find(|finding| finding.role == role && finding.access == access).unwrap()
    }

    fn student(statistic: Statistic, marks: &[(&str, u8)]) -> Finding {
        found(Role::Student, Access::Text, |draft| {
            draft.pool(Access::Text, marks);
            draft.plan.tests.iter_mut().filter(|test| test.access == Access::Text).for_each(|test| {
                test.statistic = statistic;
            });
        })
    }

    #[test]
    fn keys_pool_into_one_sum_with_their_weights() {
        let alone = [GREEN, WIDE].map(|mark| student(Statistic::Distinct, &[(mark, 1)]).summary);
        let pooled = student(Statistic::Distinct, &[(GREEN, 2), (WIDE, 3)]);
        let summary = &pooled.summary;
        assert_eq!(summary.statistic, 2.0 * alone[0].statistic + 3.0 * alone[1].statistic);
        assert_eq!(summary.draws, alone[0].draws + alone[1].draws);
        assert_eq!(summary.method, TailMethod::ExactLattice);
        assert_eq!((summary.gamma, summary.green), (None, None));
        // Var S and Σ (a² Var X)² by hand: coins of ¼ and ½.
        let [n, m] = alone.each_ref().map(|summary| crate::stat::math::to_f64(summary.draws));
        let (a, b) = (4.0 * 3.0 / 16.0, 9.0 / 4.0);
        let variance = n * a + m * b;
        let mean = 2.0 * n / 4.0 + 3.0 * m / 2.0;
        assert!((summary.z - (summary.statistic - mean) / variance.sqrt()).abs() < 1e-9);
        let n_eff = variance * variance / (n * a * a + m * b * b);
        assert!(
            (summary.n_eff / n_eff - 1.0).abs() < 1e-12
                && (summary.largest_share * variance / b - 1.0).abs() < 1e-12
        );
        assert_eq!(summary.share_of_z_kept, 1.0);
        // The null's own tail at z: a normal one is near it where so many coins are summed.
        let normal = crate::stat::math::normal_ln_sf(summary.z);
        assert!((summary.ln_p / normal - 1.0).abs() < 0.05, "{} and {normal}", summary.ln_p);
    }

    #[test]
    fn one_scale_keeps_the_weights_whatever_the_commonest_pair_of_a_width_is() {
        let coefficients = |marks: &[(&str, u8)]| {
            let mut draft = fixture::draft();
            draft.pool(Access::Text, marks);
            let plan = draft.plan.seal("2026-11-23T09:00:00Z").unwrap();
            let pooled = draft.material[0].evidence(&plan, &plan.tests()[0]).unwrap();
            let of = |counted: &crate::score::Counted| {
                let evidence = counted.plain().unwrap().coefficients();
                let most = evidence.entries().iter().map(|entry| entry.coefficient).max();
                (most.unwrap(), evidence.entries().iter().map(|entry| entry.coefficient).min().unwrap())
            };
            pooled.keys().iter().map(of).collect::<Vec<_>>()
        };
        // Pairs of width 1 occur more often than those of width 2, and both have some that occur once.
        let equal = coefficients(&[(GREEN, 1), (WIDE, 1)]);
        assert_eq!(equal[0].0, 127);
        assert!(equal[1].0 < 127 && equal[0].1 == equal[1].1, "{equal:?}");
        let weighed = coefficients(&[(GREEN, 1), (WIDE, 2)]);
        assert!((weighed[1].1 - 2 * weighed[0].1).abs() <= 1, "{weighed:?}");
        assert_eq!(coefficients(&[(GREEN, 1)]), coefficients(&[(WIDE, 1), (GREEN, 127)])[1..]);
    }

    #[test]
    fn a_student_is_found_under_pooled_keys_and_nobody_else() {
        for access in [Access::Text, Access::Distributions, Access::Reading] {
            let mut draft = fixture::draft();
            draft.pool(access, &[(GREEN, 4), (WIDE, 1)]);
            for finding in draft.sealed().analysis.findings.into_iter().filter(|found| found.access == access)
            {
                let student = finding.role == Role::Student;
                assert_eq!(finding.verdict == Verdict::EvidenceFound, student, "{}", finding.test);
            }
        }
    }

    #[test]
    fn coins_pool_with_exponential_draws_by_a_bound() {
        let pooled = student(Statistic::RootCount, &[(GREEN, 1), ("gumbel/1/w1", 1)]).summary;
        assert_eq!(pooled.method, TailMethod::ChernoffBound);
        let layers = student(Statistic::RootCount, &[(GREEN, 5), ("tournament/1/w1/d3", 1)]).summary;
        assert_eq!(layers.method, TailMethod::ExactLattice);
        assert!(layers.ln_p < -10.0 && pooled.ln_p <= 0.0, "{} {}", layers.ln_p, pooled.ln_p);
    }

    #[test]
    fn what_was_skipped_is_counted_under_each_key() {
        let skipped = |marks: &[(&str, u8)]| student(Statistic::Distinct, marks);
        let [narrow, wide, pooled] = [&[(GREEN, 1)][..], &[(WIDE, 1)], &[(GREEN, 1), (WIDE, 1)]].map(skipped);
        for (all, one, other) in [
            (pooled.skipped.repeated, narrow.skipped.repeated, wide.skipped.repeated),
            (pooled.skipped.total(), narrow.skipped.total(), wide.skipped.total()),
        ] {
            assert_eq!(all, one + other);
        }
        // 40 answers of 90 tokens, whose prompts hold the first windows, under each of two keys.
        assert_eq!(pooled.summary.draws + pooled.skipped.total(), 2 * 40 * 90);
    }

    #[test]
    fn a_reading_opens_a_window_where_it_is_new_under_its_key() {
        let read = |marks: &[(&str, u8)]| {
            found(Role::Student, Access::Reading, |draft| draft.pool(Access::Reading, marks))
        };
        let [narrow, wide, pooled] = [&[(GREEN, 1)][..], &[(WIDE, 1)], &[(GREEN, 1), (WIDE, 1)]].map(read);
        assert!(wide.skipped.repeated < narrow.skipped.repeated);
        assert_eq!(pooled.skipped.repeated, narrow.skipped.repeated + wide.skipped.repeated);
        assert_eq!(pooled.summary.draws, narrow.summary.draws + wide.summary.draws);
        // Games of one bet on unrelated keys multiply; their averages need not.
        assert!(pooled.summary.method == TailMethod::EProcess && pooled.verdict == Verdict::EvidenceFound);
    }
}
