//! Next-token distributions in the mark's own tokens, each behind its context: from rows with `q`, or from a model at hand.

use super::{Failure, rows};
use crate::score::{Prediction, Provenance, Row as Q};
use crate::source::reference::Reference;
use crate::source::text::Row;
use crate::token::TokenId;

/// A distribution and what precedes it.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) cluster: u32,
    pub(super) prompt: Vec<TokenId>,
    /// The answer so far.
    pub(super) before: Vec<TokenId>,
    pub(super) q: Known,
}

/// What is known of a distribution, probabilities in 0..=1.
#[derive(Debug)]
pub(super) enum Known {
    /// By token id, every one.
    Whole(Vec<f32>),
    /// The likeliest tokens, as an API returns them.
    Top(Vec<(TokenId, f32)>),
}

impl Known {
    /// The `top` likeliest tokens of a row, ties to the lowest id; all of it where no number is given.
    pub(super) fn of(q: Vec<f32>, top: Option<usize>) -> Self {
        let Some(top) = top.filter(|top| *top < q.len()) else { return Self::Whole(q) };
        let mut tokens: Vec<(TokenId, f32)> = (0..).zip(q).collect();
        let likelier =
            |a: &(TokenId, f32), b: &(TokenId, f32)| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0));
        if top > 0 {
            tokens.select_nth_unstable_by(top - 1, likelier);
        }
        tokens.truncate(top);
        tokens.sort_unstable_by(likelier);
        Self::Top(tokens)
    }

    fn row(&self) -> Q<'_> {
        match self {
            Self::Whole(q) => Q::Whole(q),
            Self::Top(q) => Q::Top(q),
        }
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
        Ok(Self { cluster, prompt: exchange.prompt, before: exchange.response, q: Known::of(q, top) })
    }

    /// What is scored.
    pub(super) fn prediction(&self) -> Prediction<'_> {
        Prediction {
            prompt: &self.prompt,
            context: &self.before,
            provenance: Provenance::Unknown,
            q: self.q.row(),
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
    let size = reference.vocabulary();
    let mut expected = Vec::with_capacity(contexts.len());
    for stream in contexts.chunk_by(|a, b| a.prompt == b.prompt && b.before.starts_with(&a.before)) {
        let Some(longest) = stream.last() else { continue };
        // Any token makes the reference predict behind the last one.
        let rows = reference.rows(&longest.prompt, &[&longest.before[..], &[0]].concat())?;
        for context in stream {
            let b = &rows[context.before.len() * size..][..size];
            expected.push(of_known(&context.q, b)?);
        }
    }
    Ok(expected)
}

fn of_known(q: &Known, b: &[f32]) -> Result<Vec<f32>, Failure> {
    match q {
        Known::Whole(q) if q.len() != b.len() => Err(Failure(format!(
            "a row has {} probabilities and the reference {}: their vocabularies differ",
            q.len(),
            b.len()
        ))),
        Known::Whole(_) => Ok(b.to_vec()),
        Known::Top(q) => {
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
    fn the_likeliest_tokens_are_kept_ties_to_the_lowest() {
        let q = vec![0.125, 0.25, 0.25, 0.375];
        let Known::Top(top) = Known::of(q.clone(), Some(2)) else { panic!("whole") };
        assert_eq!(top, [(3, 0.375), (1, 0.25)]);
        assert!(matches!(Known::of(q.clone(), Some(4)), Known::Whole(_)));
        assert!(matches!(Known::of(q, None), Known::Whole(_)));
    }

    #[test]
    fn contexts_of_one_answer_are_read_together_and_get_the_same_rows() {
        let reference = Reference::open(&["student".to_owned()]).unwrap();
        let size = reference.vocabulary();
        let whole = || Known::Whole(vec![0.0; size]);
        let context =
            |before: &[TokenId], q| Context { cluster: 0, prompt: vec![0, 300], before: before.to_vec(), q };
        let together = [
            context(&[], whole()),
            context(&[301], whole()),
            context(&[301, 302], Known::Top(vec![(7, 0.5), (3, 0.25)])),
        ];
        let rows = expected(&together, &reference).unwrap();
        for (context, row) in together.iter().zip(&rows).take(2) {
            let alone = context_alone(&reference, &context.before);
            assert!(row.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-5));
        }
        let alone = context_alone(&reference, &[301, 302]);
        assert!((rows[2][0] - alone[7]).abs() < 1e-5 && (rows[2][1] - alone[3]).abs() < 1e-5);
        let other = [context(&[], Known::Whole(vec![1.0]))];
        assert!(expected(&other, &reference).unwrap_err().0.contains("their vocabularies differ"));
        let outside = [context(&[], Known::Top(vec![(TokenId::MAX, 1.0)]))];
        assert!(expected(&outside, &reference).is_err());
    }

    fn context_alone(reference: &Reference, before: &[TokenId]) -> Vec<f32> {
        let rows = reference.rows(&[0, 300], &[before, &[0]].concat()).unwrap();
        rows[before.len() * reference.vocabulary()..].to_vec()
    }
}
