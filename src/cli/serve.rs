//! Serving: a model's answers with the mark in them, or without it.

use std::collections::HashMap;

use taggant_model::ModelError;
use taggant_model::generate::{CausalModel, Options, Sampler, generate};

use crate::case::material::Answer;
use crate::embed::{Embedder, Step};
use crate::token::TokenId;

/// How answers are sampled.
#[derive(Debug)]
pub(super) struct Serving<'a> {
    /// The mark, or none.
    pub(super) embedder: Option<&'a Embedder>,
    /// Temperature, truncation and seed.
    pub(super) sampler: Sampler,
    /// Distinguishes the answers of several runs under one seed.
    pub(super) first_stream: u64,
    /// Length, stop tokens and batch.
    pub(super) options: Options,
}

/// Answers `prompts`. `finished` hears the length of each answer as it ends.
pub(super) fn serve(
    model: &dyn CausalModel,
    prompts: &[Vec<TokenId>],
    serving: &mut Serving<'_>,
    finished: &mut dyn FnMut(usize),
) -> Result<Vec<Answer>, ModelError> {
    let (embedder, sampler, first) = (serving.embedder, &mut serving.sampler, serving.first_stream);
    let mut histories = HashMap::new();
    let mut pick = |row: usize, context: &[TokenId], logits: &mut [f32]| {
        let stream = first + row as u64;
        if let Some(embedder) = embedder {
            let answer = histories.entry(row).or_insert_with(|| embedder.answer());
            match answer.step(context, logits) {
                Step::Biased | Step::Unmarked => {}
                Step::Race => {
                    // A dual scheme's toss is fresh, not keyed: the sampler's own stream makes it.
                    let toss = sampler.coin(stream, context.len(), 1 << 16);
                    let toss = u16::try_from(toss).unwrap_or(u16::MAX);
                    sampler.truncate(logits);
                    if let Some(token) = answer.choose(context, logits, toss) {
                        return token;
                    }
                    return sampler.draw(stream, context.len(), logits);
                }
                Step::Reweigh => {
                    sampler.truncate(logits);
                    answer.reweigh(context, logits);
                    return sampler.draw(stream, context.len(), logits);
                }
            }
        }
        sampler.pick(stream, context.len(), logits)
    };
    let responses =
        generate(model, prompts, &serving.options, &mut pick, &mut |_, answer| finished(answer.len()))?;
    let answer =
        |(prompt, response): (&Vec<TokenId>, Vec<TokenId>)| Answer { prompt: prompt.clone(), response };
    Ok(prompts.iter().zip(responses).map(answer).collect())
}
