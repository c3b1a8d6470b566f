//! Rewrites answers before a student learns from them: what a suspect may do to shake off a mark of tokens.

use std::collections::HashSet;
use std::path::Path;
use taggant::score::Exchange;
use taggant::source::model::{END, embedded};
use taggant_model::generate::{Options, Sampler, Sampling, generate};
use taggant_model::gguf::Gguf;
use taggant_model::llama::Llama;
use taggant_model::tokenizer::Tokenizer;

use crate::corpus::{Result, SYSTEM};
use crate::students::stream;

const REQUEST: &str = "Rewrite this text in your own words. Keep its meaning. Write nothing else.\n\n";
/// Longest rewritten answer, in the real model's tokens.
const MAX_TOKENS: usize = 90;
/// Rows in the model at once.
const BATCH: usize = 64;

/// A real model that rewrites the small ones' answers.
pub(crate) struct Rewriter {
    model: Llama,
    real: Tokenizer,
    small: Tokenizer,
}

impl Rewriter {
    /// The real model of `path`, a GGUF file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut gguf = Gguf::open(path).map_err(|error| {
            format!("{}: {error}; it is the file that `taggant model fetch smollm2` leaves", path.display())
        })?;
        let real = Tokenizer::from_gguf(&gguf)?;
        Ok(Self { model: Llama::from_gguf(&mut gguf)?, real, small: embedded()?.tokenizer })
    }

    /// Puts a rewritten text in the place of each answer. Returns the share of the answers' pairs of neighbouring tokens
    /// that is still in them: what a mark of width 1 could live on.
    pub(crate) fn rewrite(&self, answers: &mut [Exchange], purpose: &str) -> Result<f64> {
        let system = self.real.encode_markup(SYSTEM)?;
        let end = self.small.id(END).ok_or("the embedded tokenizer has no end of text")?;
        let request = |answer: &Exchange| {
            let text = self.small.decode(answer.response.strip_suffix(&[end]).unwrap_or(&answer.response))?;
            Ok([system.clone(), self.real.chat(&format!("{REQUEST}{text}"))?].concat())
        };
        let requests = answers.iter().map(request).collect::<Result<Vec<_>>>()?;
        let stop = vec![self.real.id("<|im_end|>").ok_or("the vocabulary has no <|im_end|>")?];
        let options = Options { max_tokens: MAX_TOKENS, stop, batch: BATCH };
        let mut sampler = Sampler::new(Sampling { temperature: 0.7, top_k: 0, top_p: 0.9 }, stream(purpose))?;
        let mut pick =
            |row: usize, context: &[u32], logits: &mut [f32]| sampler.pick(row as u64, context.len(), logits);
        let mut rewritten = vec![Vec::new(); answers.len()];
        let mut finished = |row: usize, text: &[u32]| rewritten[row] = text.to_vec();
        generate(&self.model, &requests, &options, &mut pick, &mut finished)?;
        let (mut kept, mut pairs) = (0, 0);
        for (answer, text) in answers.iter_mut().zip(rewritten) {
            let text = self.real.decode(text.strip_suffix(&options.stop[..]).unwrap_or(&text))?;
            let mut response = self.small.encode(&text)?;
            response.push(end);
            let before: HashSet<&[u32]> = answer.response.windows(2).collect();
            let after: HashSet<&[u32]> = response.windows(2).collect();
            pairs += before.len();
            kept += before.intersection(&after).count();
            answer.response = response;
        }
        Ok(kept as f64 / pairs as f64)
    }
}
