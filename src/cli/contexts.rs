//! Next-token distributions in the mark's own tokens, each behind its context: from rows with `q`, or from a model at hand.

use super::{Failure, rows};
use crate::score::{Prediction, Provenance, Row as Q};
use crate::source::reference::Reference;
use crate::source::text::{Distribution, Row};
use crate::token::TokenId;

/// A distribution and what precedes it.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) cluster: u32,
    pub(super) prompt: Vec<TokenId>,
    /// The answer so far.
    pub(super) before: Vec<TokenId>,
    pub(super) q: Distribution,
}

/// A distribution, or its `top` likeliest tokens.
pub(super) fn cut(q: Distribution, top: Option<usize>) -> Distribution {
    match top {
        Some(top) => q.likeliest(top),
        None => q,
    }
}

/// A distribution as it is scored.
fn row(q: &Distribution) -> Q<'_> {
    match q {
        Distribution::Whole(q) => Q::Whole(q),
        Distribution::Top(q) => Q::Top(q),
    }
}

impl Context {
    /// The row's `q` behind its prompt and answer, cut to the `top` likeliest tokens.
    pub(super) fn of_row(cluster: u32, row: &Row, top: Option<usize>) -> Result<Self, Failure> {
        let at = |field: &str, what: &str| Failure(format!("line {}, field \"{field}\": {what}", row.line));
        let q = row.q.clone().ok_or_else(|| {
            at("q", "is missing, and other rows have it; a file gives one kind of distribution")
        })?;
        let exchange = rows::exchange(row, None)?;
        if !exchange.whole_context {
            let what =
                "is needed beside \"q\" and \"response_tokens\": the whole context as the model saw it";
            return Err(at("prompt_tokens", what));
        }
        Ok(Self { cluster, prompt: exchange.prompt, before: exchange.response, q: cut(q, top) })
    }

    /// What is scored.
    pub(super) fn prediction(&self) -> Prediction<'_> {
        Prediction {
            prompt: &self.prompt,
            context: &self.before,
            provenance: Provenance::Unknown,
            q: row(&self.q),
            cluster: self.cluster,
        }
    }
}

/// The reference's probability of each known token of each context. Contexts of one answer that follow each other are read
/// in one go.
///
/// # Errors
/// A whole row over another vocabulary than the reference's, or a token outside it.
pub(super) fn expected(contexts: &[Context], reference: &Reference) -> Result<Vec<Vec<f32>>, Failure> {
    at_each(contexts, reference, of_known)
}

/// The reference's whole distribution at each context.
///
/// # Errors
/// As [`expected`].
pub(super) fn whole(contexts: &[Context], reference: &Reference) -> Result<Vec<Vec<f32>>, Failure> {
    at_each(contexts, reference, |q, b| of_known(q, b).map(|_| b.to_vec()))
}

fn at_each(
    contexts: &[Context],
    reference: &Reference,
    of: impl Fn(&Distribution, &[f32]) -> Result<Vec<f32>, Failure>,
) -> Result<Vec<Vec<f32>>, Failure> {
    let size = reference.vocabulary();
    let mut expected = Vec::with_capacity(contexts.len());
    for stream in contexts.chunk_by(|a, b| a.prompt == b.prompt && b.before.starts_with(&a.before)) {
        let Some(longest) = stream.last() else { continue };
        // Any token makes the reference predict behind the last one.
        let rows = reference.rows(&longest.prompt, &[&longest.before[..], &[0]].concat())?;
        for context in stream {
            let b = &rows[context.before.len() * size..][..size];
            expected.push(of(&context.q, b)?);
        }
    }
    Ok(expected)
}

fn of_known(q: &Distribution, b: &[f32]) -> Result<Vec<f32>, Failure> {
    match q {
        Distribution::Whole(q) if q.len() != b.len() => Err(Failure(format!(
            "a row has {} probabilities and the reference {}: their vocabularies differ",
            q.len(),
            b.len()
        ))),
        Distribution::Whole(_) => Ok(b.to_vec()),
        Distribution::Top(q) => {
            let of = |(token, _): &(TokenId, f32)| b.get(*token as usize).copied();
            let all: Option<Vec<f32>> = q.iter().map(of).collect();
            all.ok_or_else(|| Failure("a token is outside the reference's vocabulary".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_of_one_answer_are_read_together_and_get_the_same_rows() {
        let reference = Reference::open(&["student".to_owned()]).unwrap();
        let size = reference.vocabulary();
        let whole = || Distribution::Whole(vec![0.0; size]);
        let context =
            |before: &[TokenId], q| Context { cluster: 0, prompt: vec![0, 300], before: before.to_vec(), q };
        let together = [
            context(&[], whole()),
            context(&[301], whole()),
            context(&[301, 302], Distribution::Top(vec![(7, 0.5), (3, 0.25)])),
        ];
        let rows = expected(&together, &reference).unwrap();
        for (context, row) in together.iter().zip(&rows).take(2) {
            let alone = context_alone(&reference, &context.before);
            assert!(row.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-5));
        }
        let alone = context_alone(&reference, &[301, 302]);
        assert!((rows[2][0] - alone[7]).abs() < 1e-5 && (rows[2][1] - alone[3]).abs() < 1e-5);
        let other = [context(&[], Distribution::Whole(vec![1.0]))];
        assert!(expected(&other, &reference).unwrap_err().0.contains("their vocabularies differ"));
        let outside = [context(&[], Distribution::Top(vec![(TokenId::MAX, 1.0)]))];
        assert!(expected(&outside, &reference).is_err());
    }

    fn context_alone(reference: &Reference, before: &[TokenId]) -> Vec<f32> {
        let rows = reference.rows(&[0, 300], &[before, &[0]].concat()).unwrap();
        rows[before.len() * reference.vocabulary()..].to_vec()
    }
}
