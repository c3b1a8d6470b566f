//! Students of the embedded teacher: marked and unmarked answers, training, fresh text.

use crate::corpus::Result;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use taggant::embed::Embedder;
use taggant::key::{EpochKey, Secret};
use taggant::scheme::{Scheme, Spec};
use taggant::score::{Exchange, Provenance};
use taggant::source::model::{END, Embedded, embedded};
use taggant::token::TokenId;
use taggant_model::generate::{Options, Sampler, Sampling, generate, softmax};
use taggant_model::small::{Config, SmallModel};
use taggant_model::train::{self, distil};

/// Tokens of an answer's opening that are its prompt, behind the end token.
const OPENING: usize = 4;
/// Longest answer.
pub(crate) const ANSWER: usize = 60;

/// What a student starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Start {
    /// The embedded student's starting point: a model of the same size, trained on other text.
    FineTuned,
    /// Random weights.
    Scratch,
}

/// The embedded models, and a stream of randomness of one's own for each purpose.
pub(crate) struct Lab {
    pub(crate) teacher: SmallModel,
    pub(crate) base: SmallModel,
    end: TokenId,
}

impl Lab {
    pub(crate) fn open() -> Result<Self> {
        let Embedded { teacher, student, tokenizer, .. } = embedded()?;
        let end = tokenizer.id(END).ok_or("the embedded tokenizer has no end of text")?;
        Ok(Self { teacher, base: student, end })
    }

    /// `count` prompts: how unmarked answers of the teacher begin.
    pub(crate) fn prompts(&self, count: usize, purpose: &str) -> Result<Vec<Vec<TokenId>>> {
        let mut prompts = Vec::new();
        let mut round = 0;
        while prompts.len() < count {
            let seed = stream(&format!("{purpose}, prompts, round {round}"));
            let sampler = Sampler::new(Sampling::default(), seed)?;
            let openings = self.write(&self.teacher, &vec![vec![self.end]; count], OPENING, None, sampler)?;
            prompts.extend(
                openings
                    .into_iter()
                    .filter(|opening| opening.response.len() == OPENING)
                    .map(|opening| [&[self.end][..], &opening.response].concat()),
            );
            round += 1;
        }
        prompts.truncate(count);
        Ok(prompts)
    }

    /// The answers of `model` to `prompts`, with a mark or without.
    pub(crate) fn answers(
        &self,
        model: &SmallModel,
        prompts: &[Vec<TokenId>],
        embedder: Option<&Embedder>,
        sampling: Sampling,
        purpose: &str,
    ) -> Result<Vec<Exchange>> {
        self.write(model, prompts, ANSWER, embedder, Sampler::new(sampling, stream(purpose))?)
    }

    /// Answers of at most `max_tokens` tokens.
    pub(crate) fn write(
        &self,
        model: &SmallModel,
        prompts: &[Vec<TokenId>],
        max_tokens: usize,
        embedder: Option<&Embedder>,
        mut sampler: Sampler,
    ) -> Result<Vec<Exchange>> {
        let mut marking = HashMap::new();
        let mut pick = |row: usize, context: &[TokenId], logits: &mut [f32]| {
            if let Some(embedder) = embedder {
                let _ = marking.entry(row).or_insert_with(|| embedder.answer()).step(context, logits);
            }
            sampler.pick(row as u64, context.len(), logits)
        };
        let options = Options { max_tokens, stop: vec![self.end], batch: 256 };
        let responses = generate(model, prompts, &options, &mut pick, &mut |_, _| {})?;
        let exchange = |(prompt, response): (&Vec<TokenId>, Vec<TokenId>)| Exchange {
            prompt: prompt.clone(),
            response,
            whole_context: true,
            provenance: Provenance::Fresh,
        };
        Ok(prompts.iter().zip(responses).map(exchange).collect())
    }

    /// A student of `answers`: three passes from the base, six from scratch.
    pub(crate) fn distil(&self, start: Start, answers: &[Exchange], purpose: &str) -> Result<SmallModel> {
        match start {
            Start::FineTuned => self.tune(&self.base, answers, purpose),
            Start::Scratch => {
                let random = SmallModel::random(Config::default(), stream(purpose))?;
                self.train(&random, answers, 6, 3e-3, purpose)
            }
        }
    }

    /// The same model after three passes over `answers`.
    pub(crate) fn tune(&self, model: &SmallModel, answers: &[Exchange], purpose: &str) -> Result<SmallModel> {
        self.train(model, answers, 3, 1e-3, purpose)
    }

    fn train(
        &self,
        model: &SmallModel,
        answers: &[Exchange],
        passes: usize,
        rate: f32,
        purpose: &str,
    ) -> Result<SmallModel> {
        let texts: Vec<Vec<TokenId>> =
            answers.iter().map(|answer| [&answer.prompt[1..], &answer.response].concat()).collect();
        let options = train::Options { seed: stream(purpose), rate, ..train::Options::default() };
        Ok(distil(model, &texts, self.end, passes, &options, &mut |_| {})?)
    }
}

/// For each exchange a model's distributions before each token of the answer, one after the other.
pub(crate) fn rows(model: &SmallModel, exchanges: &[&Exchange]) -> Result<Vec<Vec<f32>>> {
    let whole = |exchange: &&Exchange| [&exchange.prompt[..], &exchange.response].concat();
    let tokens: Vec<Vec<TokenId>> = exchanges.iter().map(whole).collect();
    let shown: Vec<&[TokenId]> = tokens.iter().map(|tokens| &tokens[..tokens.len() - 1]).collect();
    let size = |exchange: &&Exchange| Vec::with_capacity(exchange.response.len() * model.config().vocab);
    let mut rows: Vec<Vec<f32>> = exchanges.iter().map(size).collect();
    model.read(&shown, &mut |row, position, logits| {
        if position + 1 >= exchanges[row].prompt.len() {
            softmax(logits, 1.0);
            rows[row].extend_from_slice(logits);
        }
    })?;
    Ok(rows)
}

/// A spec under a key of the lab's.
pub(crate) fn scheme(spec: Spec, purpose: &str) -> Result<Scheme> {
    Ok(spec.open(&epoch_key(purpose)?))
}

/// A key of the lab's, which never serves anybody.
pub(crate) fn epoch_key(purpose: &str) -> Result<EpochKey> {
    let secret = Sha256::new().chain_update("taggant lab, never for service\0").chain_update(purpose);
    Ok(Secret::from_bytes(secret.finalize().into()).epoch_key(&"lab".parse()?))
}

/// A seed for each purpose.
pub(crate) fn stream(purpose: &str) -> u64 {
    Sha256::digest(purpose).iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}
