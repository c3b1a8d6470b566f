//! What a plan asks of a suspect's distributions: contexts of its answers, and where its documents have a window that was not
//! seen before. One row of `taggant plan contexts` or `taggant plan documents` each, to which the suspect's `q` is added.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Value, json};

use super::super::contexts::Context;
use super::super::{Failure, rows};
use crate::case::material::Answer;
use crate::case::plan::{Access, Planned, RowRule, SealedPlan, contexts, documents_sha256, prompts_sha256};
use crate::key::Secret;
use crate::scheme::{Scheme, Spec};
use crate::score::Reading;
use crate::source::text::{BadLines, Distribution, Kind, Row};
use crate::token::TokenId;

/// A distribution that is due.
#[derive(Debug)]
pub(in super::super) struct Due {
    /// The answer or document, from 0.
    pub(super) number: u32,
    /// Tokens of the answer before the row.
    pub(super) before: usize,
}

/// Exchanges whose tokens are known, in the file's order.
pub(in super::super) fn answers(file: &Path) -> Result<Vec<Answer>, Failure> {
    let found = rows::read(file, Kind::Exchanges, BadLines::Refuse)?.rows;
    found.iter().map(|row| answer(file, row)).collect()
}

fn answer(file: &Path, row: &Row) -> Result<Answer, Failure> {
    let exchange = rows::exchange(row, None)?;
    if !exchange.whole_context {
        return Err(Failure(format!(
            "{}, line {}: a plan's answers need \"prompt_tokens\" and \"response_tokens\"",
            file.display(),
            row.line
        )));
    }
    Ok(Answer { prompt: exchange.prompt, response: exchange.response })
}

/// The contexts that the plan's rule draws from these answers.
///
/// # Errors
/// A plan without contexts, or answers to other prompts than its pool's.
pub(in super::super) fn of_answers(plan: &SealedPlan, answers: &[Answer]) -> Result<Vec<Due>, Failure> {
    let pool = &plan.plan().pool;
    if let Planned::Absent { .. } = pool.contexts {
        return Err(Failure(
            "the plan draws no contexts: none of its tests looks at distributions".to_owned(),
        ));
    }
    let prompts: Vec<Vec<TokenId>> = answers.iter().map(|answer| answer.prompt.clone()).collect();
    if prompts_sha256(&prompts) != pool.sha256 {
        return Err(Failure(
            "the answers are not to the prompts of the plan's pool, in its order".to_owned(),
        ));
    }
    let due = |(number, before): (u32, u32)| Due { number, before: before as usize };
    Ok(contexts(&pool.sha256, answers).into_iter().map(due).collect())
}

/// Where the plan's documents have a window that no earlier position had.
///
/// # Errors
/// A plan without documents, or others than it commits to.
pub(in super::super) fn of_documents(plan: &SealedPlan, documents: &[Answer]) -> Result<Vec<Due>, Failure> {
    match plan.plan().pool.documents {
        Planned::Absent { .. } => {
            return Err(Failure("the plan commits to no documents: none of its tests reads".to_owned()));
        }
        Planned::Set { value } if value != documents_sha256(documents) => {
            let what = format!(
                "these are not the documents that the plan commits to (SHA-256 {value}), in their order"
            );
            return Err(Failure(what));
        }
        Planned::Set { .. } => {}
    }
    // A reading asks for a prediction where a window is new, whatever the key: the test itself asks at the same places.
    let epoch = Secret::from_bytes([0; 32]).epoch_key(&"unused".parse()?);
    let reads = plan.tests().iter().filter(|test| test.access == Access::Reading);
    let specs: HashSet<Spec> = reads.flat_map(|test| &test.keys).filter_map(|key| key.mark.spec()).collect();
    let schemes: Vec<Scheme> = specs.iter().map(|spec| spec.open(&epoch)).collect();
    let mut reading = Reading::pooled(schemes.iter().map(|scheme| (scheme, 1)))?;
    let mut due = Vec::new();
    for (number, document) in (0..).zip(documents) {
        let first = document.prompt.len();
        // (The steps are of no use: nothing was predicted.)
        drop(reading.document(&document.tokens(), first, |at| {
            due.push(Due { number, before: at - first });
            Vec::new()
        }));
    }
    Ok(due)
}

/// What is asked, a row each.
pub(in super::super) fn asked(due: &[Due], answers: &[Answer]) -> impl Iterator<Item = Value> {
    due.iter().map(|Due { number, before }| {
        let answer = &answers[*number as usize];
        json!({
            "id": format!("{number}:{before}"),
            "prompt_tokens": answer.prompt,
            "response_tokens": answer.response[..*before],
        })
    })
}

/// The distributions that came back, in the order that was asked, each as much as `rule` says.
///
/// # Errors
/// The line whose context is not the one that is due there, whose `q` is missing, has another length than the first one's or
/// more tokens than the rule; fewer rows than are due, or more.
pub(super) fn rows_of(
    file: &Path,
    due: &[Due],
    answers: &[Answer],
    rule: RowRule,
) -> Result<Vec<Context>, Failure> {
    let found = rows::read(file, Kind::Exchanges, BadLines::Refuse)?.rows;
    let at = |line: usize, field: &str, what: String| {
        Failure(format!("{}, line {line}, field \"{field}\": {what}", file.display()))
    };
    if found.len() != due.len() {
        return Err(Failure(format!(
            "{}: {} rows, and {} are due: a row for each line of `taggant plan contexts` or `taggant plan documents`",
            file.display(),
            found.len(),
            due.len()
        )));
    }
    let mut contexts: Vec<Context> = Vec::with_capacity(due.len());
    for (row, Due { number, before }) in found.iter().zip(due) {
        let named = |Failure(what)| Failure(format!("{}, {what}", file.display()));
        let context = Context::of_row(*number, row, None).map_err(named)?;
        let answer = &answers[*number as usize];
        let field = if context.prompt != answer.prompt { "prompt_tokens" } else { "response_tokens" };
        if context.prompt != answer.prompt || context.before != answer.response[..*before] {
            let what = format!("the row that is due here is {number}:{before}: its context is another one");
            return Err(at(row.line, field, what));
        }
        check(&context.q, rule).map_err(|what| at(row.line, "q", what))?;
        let (length, first) = (size(&context), contexts.first().map(size));
        if first.is_some_and(|first| first != length) {
            return Err(at(
                row.line,
                "q",
                format!("has {length} probabilities, and earlier rows another number"),
            ));
        }
        contexts.push(context);
    }
    Ok(contexts)
}

/// Whether a distribution is of the kind, and no longer than, the plan asks for.
fn check(q: &Distribution, rule: RowRule) -> Result<(), String> {
    match (q, rule) {
        (Distribution::Whole(_), RowRule::Whole) => Ok(()),
        (Distribution::Top(_), RowRule::Whole) => {
            Err("holds some tokens, and the plan asks for every token's probability".to_owned())
        }
        (Distribution::Whole(_), RowRule::Known(most) | RowRule::Top(most)) => Err(format!(
            "holds every token's probability, and the plan asks for pairs of {most} tokens at most"
        )),
        (Distribution::Top(q), RowRule::Known(most) | RowRule::Top(most)) if q.len() > most as usize => {
            Err(format!("holds {} tokens, and the plan asks for {most} at most", q.len()))
        }
        (Distribution::Top(_), RowRule::Known(_) | RowRule::Top(_)) => Ok(()),
    }
}

/// The number of probabilities of a whole row.
fn size(context: &Context) -> usize {
    whole(context).len()
}

/// The tokens of a context that was read from a row of some.
pub(super) fn listed(context: &Context) -> &[(TokenId, f32)] {
    match &context.q {
        Distribution::Top(q) => q,
        Distribution::Whole(_) => &[],
    }
}

/// The probabilities of a context that was read from a row.
pub(super) fn whole(context: &Context) -> &[f32] {
    match &context.q {
        Distribution::Whole(q) => q,
        Distribution::Top(_) => &[],
    }
}
