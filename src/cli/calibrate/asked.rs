//! Innocent models at hand: asked without a mark, and read where they answered.

use std::path::PathBuf;

use clap::Args;
use serde_json::Map;
use taggant_model::generate::{Options, Sampler, Sampling, softmax};

use super::super::contexts::{Context, cut};
use super::super::output::Stages;
use super::super::serve::{Serving, serve};
use super::super::{Failure, rows};
use crate::case::material::Answer;
use crate::case::plan::{contexts, prompts_sha256};
use crate::source::model::{Loaded, embedded};
use crate::source::text::{BadLines, Content, Distribution, Format, Kind, Prompt, Row};
use crate::token::TokenId;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// An innocent model at hand: embedded, student, smollm2 or a GGUF file; it answers prompts without a mark. Give it once
    /// for each
    #[arg(long, value_name = "MODEL")]
    pub(super) model: Vec<String>,
    /// What models are asked, as JSON lines [default: built-in openings]
    #[arg(long, value_name = "PROMPTS.jsonl")]
    prompts: Option<PathBuf>,
    /// Answers of a model; prompts come round again where there are fewer
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    answers: u32,
    /// Longest answer of a model, in tokens
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub(super) max_tokens: usize,
}

/// A model's answers at temperature 1, in the order of the prompts.
pub(super) fn answers(
    loaded: &Loaded,
    arguments: &Arguments,
    seed: u64,
    stages: &mut Stages,
    name: &str,
) -> Result<Vec<Answer>, Failure> {
    let prompts = match &arguments.prompts {
        Some(file) => {
            let rows = rows::read(file, Kind::Prompts, BadLines::Refuse)?.rows;
            rows.into_iter().filter_map(|row| row.prompt).collect()
        }
        None => embedded()?
            .openings
            .into_iter()
            .map(|opening| Prompt::Text(opening.to_owned()))
            .collect::<Vec<_>>(),
    };
    let contexts: Vec<Vec<TokenId>> =
        prompts.iter().map(|prompt| loaded.context(prompt)).collect::<Result<_, _>>()?;
    let number = usize::try_from(arguments.answers).unwrap_or(usize::MAX);
    let contexts: Vec<Vec<TokenId>> = contexts.into_iter().cycle().take(number).collect();
    stages.start(&format!("{name} answers {number} prompts"), u64::from(arguments.answers));
    let mut serving = Serving {
        embedder: None,
        sampler: Sampler::new(Sampling::default(), seed)?,
        first_stream: 0,
        options: Options { max_tokens: arguments.max_tokens, stop: vec![loaded.end], batch: 64 },
    };
    let mut done = 0;
    Ok(serve(loaded.model.as_ref(), &contexts, &mut serving, &mut |_| {
        done += 1;
        stages.at(done);
    })?)
}

/// Answers as rows: of token ids, or as text where `as_text`, to be cut by another tokenizer.
pub(super) fn as_rows(loaded: &Loaded, answers: &[Answer], as_text: bool) -> Result<Vec<Row>, Failure> {
    let row = |(line, answer): (usize, &Answer)| {
        let (prompt, response) = if as_text {
            let text = |tokens: &[TokenId]| loaded.tokenizer.decode(tokens);
            (Prompt::Text(text(&answer.prompt)?), Content::Text(text(&answer.response)?))
        } else {
            (Prompt::Tokens(answer.prompt.clone()), Content::Tokens(answer.response.clone()))
        };
        Ok(Row {
            id: line.to_string(),
            prompt: Some(prompt),
            response,
            logprobs: None,
            q: None,
            epoch: None,
            audience: None,
            fields: Map::new(),
            line,
            format: Format::default(),
        })
    };
    (1..).zip(answers).map(row).collect()
}

/// The model's distributions along its answers: whole rows, one an answer where a plan would draw it; or the `top` likeliest
/// tokens at every position, as an API returns them.
pub(super) fn distributions(
    loaded: &Loaded,
    answers: &[Answer],
    top: Option<usize>,
    stages: &mut Stages,
    name: &str,
) -> Result<Vec<Context>, Failure> {
    stages.start(&format!("{name}: its distributions there"), answers.len() as u64);
    let prompts: Vec<Vec<TokenId>> = answers.iter().map(|answer| answer.prompt.clone()).collect();
    let drawn: Vec<(u32, u32)> = match top {
        None => contexts(&prompts_sha256(&prompts), answers),
        Some(_) => (0..).zip(answers).flat_map(|(number, answer)| every(number, answer)).collect(),
    };
    let mut found = Vec::with_capacity(drawn.len());
    for of_answer in drawn.chunk_by(|a, b| a.0 == b.0) {
        found.extend(behind(loaded, answers, of_answer, top)?);
        stages.at(u64::from(of_answer[0].0) + 1);
    }
    Ok(found)
}

fn every(number: u32, answer: &Answer) -> impl Iterator<Item = (u32, u32)> + use<> {
    let length = u32::try_from(answer.response.len()).unwrap_or(u32::MAX);
    (0..length).map(move |before| (number, before))
}

/// Contexts of one answer, (answer, tokens of it before) by ascending position.
fn behind(
    loaded: &Loaded,
    answers: &[Answer],
    contexts: &[(u32, u32)],
    top: Option<usize>,
) -> Result<Vec<Context>, Failure> {
    let Some((cluster, last)) = contexts.last().copied() else { return Ok(Vec::new()) };
    let answer = &answers[cluster as usize];
    let tokens = [&answer.prompt[..], &answer.response[..last as usize]].concat();
    let size = loaded.model.vocab_size();
    let mut logits = loaded.model.logits_all(&tokens)?;
    let context = |(_, before): &(u32, u32)| {
        let before = *before as usize;
        let row = &mut logits[(answer.prompt.len() + before - 1) * size..][..size];
        softmax(row, 1.0);
        let q = cut(Distribution::Whole(row.to_vec()), top);
        Context { cluster, prompt: answer.prompt.clone(), before: answer.response[..before].to_vec(), q }
    };
    Ok(contexts.iter().map(context).collect())
}
