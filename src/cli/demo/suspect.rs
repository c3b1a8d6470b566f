//! Suspects: small models that answer prompts and show their next-token distributions.

use std::collections::HashMap;

use taggant_model::ModelError;
use taggant_model::generate::{Options, Sampler, Sampling, softmax};
use taggant_model::small::SmallModel;

use super::super::serve::{Serving, serve};
use crate::case::material::{
    Answer, Content, Distributions, Material, ReadingMaterial, ReadingRow, Rows, Table,
};
use crate::case::plan::{Role, contexts};
use crate::key::Commitment;
use crate::scheme::Spec;
use crate::token::TokenId;

/// A model under test.
#[derive(Debug)]
pub(super) struct Suspect {
    pub(super) name: &'static str,
    pub(super) role: Role,
    pub(super) model: SmallModel,
    pub(super) vocabulary: Vocabulary,
}

/// How a suspect's columns stand for token ids.
#[derive(Clone, Debug)]
pub(super) enum Vocabulary {
    /// Column = id.
    Whole,
    /// A column for each id that the suspect was trained on, and a last one for all others.
    Seen { ids: Vec<TokenId>, columns: HashMap<TokenId, u32> },
}

impl Vocabulary {
    /// The ids that occur in `texts`.
    pub(super) fn seen(texts: &[Vec<TokenId>], separator: TokenId) -> Self {
        let mut ids: Vec<TokenId> = texts.iter().flatten().copied().chain([separator]).collect();
        ids.sort_unstable();
        ids.dedup();
        let columns = ids.iter().copied().zip(0..).collect();
        Self::Seen { ids, columns }
    }

    /// The number of columns, where that is not the whole vocabulary.
    pub(super) fn columns(&self) -> Option<usize> {
        match self {
            Self::Whole => None,
            Self::Seen { ids, .. } => Some(ids.len() + 1),
        }
    }

    /// Ids as columns; unknown ids share the last one.
    pub(super) fn encode(&self, tokens: &[TokenId]) -> Vec<u32> {
        match self {
            Self::Whole => tokens.to_vec(),
            Self::Seen { ids, columns } => {
                let unknown = u32::try_from(ids.len()).unwrap_or(u32::MAX);
                tokens.iter().map(|token| columns.get(token).copied().unwrap_or(unknown)).collect()
            }
        }
    }

    /// A column as an id; none for the column of unknown ids.
    fn decode(&self, column: usize) -> Option<TokenId> {
        match self {
            Self::Whole => u32::try_from(column).ok(),
            Self::Seen { ids, .. } => ids.get(column).copied(),
        }
    }
}

impl Suspect {
    /// The suspect's unmarked answers to `prompts` at temperature 1.
    pub(super) fn answer(
        &self,
        prompts: &[Vec<TokenId>],
        end: TokenId,
        max_tokens: usize,
        seed: u64,
        finished: &mut dyn FnMut(usize),
    ) -> Result<Vec<Answer>, ModelError> {
        let encoded: Vec<Vec<u32>> = prompts.iter().map(|prompt| self.vocabulary.encode(prompt)).collect();
        let mut stop = self.vocabulary.encode(&[end]);
        // The column of unknown ids has no text: an answer that reaches it ends.
        stop.extend(self.vocabulary.columns().and_then(|columns| u32::try_from(columns - 1).ok()));
        let mut serving = Serving {
            embedder: None,
            sampler: Sampler::new(Sampling::default(), seed)?,
            first_stream: 0,
            options: Options { max_tokens, stop, batch: 64 },
        };
        let answers = serve(&self.model, &encoded, &mut serving, finished)?;
        let decode = |(prompt, answer): (&Vec<TokenId>, Answer)| Answer {
            prompt: prompt.clone(),
            response: answer
                .response
                .iter()
                .filter_map(|column| self.vocabulary.decode(*column as usize))
                .collect(),
        };
        Ok(prompts.iter().zip(answers).map(decode).collect())
    }

    /// Text material.
    pub(super) fn text(&self, answers: Vec<Answer>) -> Material {
        Material { suspect: self.name.to_owned(), content: Content::Text(answers) }
    }

    /// The suspect's distributions at random contexts of its own answers, with the reference's beside them.
    pub(super) fn distributions(
        &self,
        answers: Vec<Answer>,
        reference: &SmallModel,
        pool: &Commitment,
    ) -> Result<Material, ModelError> {
        let contexts = contexts(pool, &answers);
        let columns = u32::try_from(self.model.config().vocab).unwrap_or(u32::MAX);
        let table = |model: &SmallModel| -> Result<Table, ModelError> {
            Ok(Table::pack(columns, rows_at(model, &answers, &contexts)?))
        };
        let (q, b) = (Rows::Whole(table(&self.model)?), Some(Rows::Whole(table(reference)?)));
        let content = Content::Distributions(Distributions { answers, contexts, q, b, exposure: None });
        Ok(Material { suspect: self.name.to_owned(), content })
    }

    /// The suspect's predictions while it reads marked documents: a row where a window is new.
    pub(super) fn reading(
        &self,
        documents: &[Answer],
        separator: TokenId,
        spec: Spec,
        read: &mut dyn FnMut(),
    ) -> Result<Material, ModelError> {
        let mut seen = std::collections::HashSet::new();
        let mut rows = Vec::new();
        for (document, number) in documents.iter().zip(0..) {
            let tokens = document.tokens();
            let new = (0..tokens.len()).filter(|at| {
                let window = spec.width().window(&tokens, *at);
                window.is_some_and(|window| seen.insert(window.to_vec())) && *at >= document.prompt.len()
            });
            rows.extend(self.reading_rows(document, number, &new.collect::<Vec<_>>(), separator)?);
            read();
        }
        let content = Content::Reading(ReadingMaterial { documents: documents.to_vec(), rows });
        Ok(Material { suspect: self.name.to_owned(), content })
    }

    /// The rows of one document at `positions` (tokens of prompt and answer before them). The suspect sees the answer so
    /// far behind a separator, cut into stretches as long as its context.
    fn reading_rows(
        &self,
        document: &Answer,
        number: u32,
        positions: &[usize],
        separator: TokenId,
    ) -> Result<Vec<ReadingRow>, ModelError> {
        let stream = self.vocabulary.encode(&[&[separator][..], &document.response[..]].concat());
        let context = self.model.config().context;
        let mut rows = Vec::new();
        for (stretch, tokens) in stream.chunks(context).enumerate() {
            self.model.read(&[tokens], &mut |_, at, logits| {
                // Logits at stream position s score answer token s.
                let position = document.prompt.len() + stretch * context + at;
                if positions.contains(&position) {
                    softmax(logits, 1.0);
                    let position = u32::try_from(position).unwrap_or(u32::MAX);
                    let mut row = ReadingRow::new(number, position, logits, |column| {
                        self.vocabulary.decode(column).unwrap_or(TokenId::MAX)
                    });
                    row.coefficients.retain(|(token, _)| *token != TokenId::MAX);
                    rows.push(row);
                }
            })?;
        }
        Ok(rows)
    }
}

/// A model's distributions at contexts of answers, in the order of the contexts.
fn rows_at(
    model: &SmallModel,
    answers: &[Answer],
    contexts: &[(u32, u32)],
) -> Result<Vec<Vec<f32>>, ModelError> {
    let tokens: Vec<Vec<TokenId>> = contexts
        .iter()
        .map(|(answer, before)| {
            let answer = &answers[*answer as usize];
            [&answer.prompt[..], &answer.response[..*before as usize]].concat()
        })
        .collect();
    let mut rows = vec![Vec::new(); contexts.len()];
    let slices: Vec<&[TokenId]> = tokens.iter().map(Vec::as_slice).collect();
    model.read(&slices, &mut |row, position, logits| {
        if position + 1 == tokens[row].len() {
            softmax(logits, 1.0);
            rows[row] = logits.to_vec();
        }
    })?;
    Ok(rows)
}
