//! Whether the prompts of a plan carry the mark themselves: rule 3 of validity, as far as it can be checked.
//!
//! A plan attests that its prompts derive from nothing marked, and the easiest mistake is to let the served model write
//! them with its mark on. Then an innocent that takes up their words takes up their green tokens, and its answers show a
//! mark that it never learned. But such prompts are marked text like any other: read as if they were answers, they are
//! tested under each key that the plan scores. Prompts that have nothing to do with the key are refused one time in a
//! million; an error and not a verdict, because no answer to such prompts says anything.

use super::CaseError;
use super::material::{Answer, Content, Material};
use super::plan::{PlannedTest, SealedPlan};
use crate::scheme::Scheme;
use crate::score::{Counted, Exchange, Provenance, TextStatistic};
use crate::stat::math::{ln, log10_from_ln};
use crate::stat::verdict::{TestError, verdict_tail};

/// Prompts with a smaller p than this are refused.
const MARKED: f64 = 1e-6;

/// Refuses prompts that carry a mark which `test` looks for, `schemes` opened by its keys in their order. Those of a plan that calls them marked are dropped anyway.
///
/// # Errors
/// Prompts that carry the mark.
pub(super) fn check(
    plan: &SealedPlan,
    test: &PlannedTest,
    material: &Material,
    schemes: &[Scheme],
) -> Result<(), CaseError> {
    let answers: &[Answer] = match &material.content {
        Content::Text(answers) => answers,
        Content::Beside(beside) => &beside.answers,
        Content::Distributions(rows) => &rows.answers,
        // Readings are of marked text on purpose, and probes of canaries are the book's.
        Content::Canary(_) | Content::Likelihoods(_) | Content::Reading(_) => &[],
    };
    if plan.plan().pool.provenance == Provenance::Marked || answers.is_empty() {
        return Ok(());
    }
    for (scheme, key) in schemes.iter().zip(&test.keys) {
        let ln_p = ln_p(test, answers, scheme)?;
        if ln_p <= ln(MARKED) {
            let (test, epoch) = (test.name.clone(), key.epoch.to_string());
            return Err(CaseError::MarkedPrompts { test, epoch, log10_p: log10_from_ln(ln_p) });
        }
    }
    Ok(())
}

/// ln p of the prompts as a text, each distinct draw once.
fn ln_p(test: &PlannedTest, answers: &[Answer], scheme: &Scheme) -> Result<f64, CaseError> {
    let as_answer = |answer: &Answer| Exchange {
        prompt: Vec::new(),
        response: answer.prompt.clone(),
        whole_context: true,
        provenance: Provenance::Fresh,
    };
    let prompts: Vec<Exchange> = answers.iter().map(as_answer).collect();
    let draws = Counted::text(*scheme.spec(), (0..).zip(&prompts), TextStatistic::Distinct)
        .and_then(|counted| counted.open(scheme))
        .map_err(|error| CaseError::Score { test: test.name.clone(), error })?;
    match verdict_tail(draws) {
        Ok((ln_p, _)) => Ok(ln_p),
        Err(TestError::NoDraws) => Ok(0.0),
        Err(error) => Err(CaseError::Test { test: test.name.clone(), error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::plan::{Access, prompts_sha256};
    use crate::case::{Analysis, analyse, fixture};

    /// Text tests, their prompts taken from the answers of `author`.
    fn prompted_by(author: &str) -> Result<Analysis, CaseError> {
        let mut draft = fixture::draft();
        draft.plan.tests.retain(|test| test.access == Access::Text);
        draft.material.retain(|material| material.access() == Access::Text);
        let written = draft.material.iter().find(|material| material.suspect == author).unwrap();
        let Content::Text(written) = &written.content else { panic!("text") };
        let prompts: Vec<Vec<u32>> = written.iter().map(|answer| answer.response.clone()).collect();
        for material in &mut draft.material {
            let Content::Text(answers) = &mut material.content else { panic!("text") };
            answers.iter_mut().zip(&prompts).for_each(|(answer, prompt)| answer.prompt.clone_from(prompt));
        }
        draft.plan.pool.sha256 = prompts_sha256(&prompts);
        let plan = draft.plan.clone().seal("2026-11-23T09:00:00Z").unwrap();
        analyse(&plan, &draft.material, None, &draft.keys())
    }

    #[test]
    fn prompts_that_carry_the_mark_are_refused_and_others_are_not() {
        let refused = prompted_by("student");
        assert!(matches!(refused, Err(CaseError::MarkedPrompts { log10_p, .. }) if log10_p < -6.0));
        assert!(prompted_by("control").is_ok());
    }
}
