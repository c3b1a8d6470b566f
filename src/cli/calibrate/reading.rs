//! An innocent that reads: text that the embedded teacher marks anew under every key.
//!
//! What is read depends on the key, so that it cannot be made once: under each key the teacher answers the same prompts with
//! that key's mark, and the innocent predicts them. The e-process is the only verdict.

use taggant_model::generate::{Options, Sampler, Sampling, softmax};
use taggant_model::small::SmallModel;

use super::super::Failure;
use super::super::serve::{Serving, serve};
use super::Arguments;
use super::trial::Throwaway;
use crate::case::material::{Answer, ReadingRow};
use crate::embed::Embedder;
use crate::scheme::{Scheme, Spec};
use crate::score::Reading;
use crate::source::model::{Embedded, Loaded, embedded};
use crate::source::text::Prompt;
use crate::stat::verdict::{Summary, TestError};
use crate::token::TokenId;

/// What a green token's logit gains in the text that is read: strong, so that what a rule lets through shows.
const DELTA: f32 = 2.0;

/// An innocent with what it is given to read.
#[derive(Debug)]
pub(super) struct Reader {
    model: Loaded,
    teacher: SmallModel,
    prompts: Vec<Vec<TokenId>>,
    max_tokens: usize,
    seed: u64,
}

impl Reader {
    /// # Errors
    /// A mark that has no reading, or a model with other tokens than the teacher's.
    pub(super) fn new(model: Loaded, name: &str, arguments: &Arguments) -> Result<Self, Failure> {
        let Embedded { teacher, tokenizer, openings, .. } = embedded()?;
        if model.tokenizer.digest() != tokenizer.digest() {
            return Err(Failure(format!(
                "--reads: {name} has other tokens than the embedded teacher, which marks the text: embedded and student read it"
            )));
        }
        if matches!(arguments.spec, Spec::Mix(_) | Spec::Payload(_)) || arguments.spec.width().tokens() == 0 {
            return Err(Failure(
                "--reads: marked text is read under one key and one width of at least 1".to_owned(),
            ));
        }
        let number = usize::try_from(arguments.documents).unwrap_or(usize::MAX);
        let context = |opening: &str| model.context(&Prompt::Text(opening.to_owned()));
        let prompts = openings.into_iter().cycle().take(number).map(context).collect::<Result<_, _>>()?;
        Ok(Self { model, teacher, prompts, max_tokens: arguments.asked.max_tokens, seed: arguments.seed })
    }

    pub(super) fn documents(&self) -> usize {
        self.prompts.len()
    }

    /// The e-process over text marked under key `number`.
    pub(super) fn read(&self, keys: Throwaway, number: u32) -> Result<Summary, Failure> {
        let documents = self.marked(keys.scheme(number)?, number)?;
        let scheme = keys.scheme(number)?;
        let mut reading = Reading::new(&scheme)?;
        let mut steps = Vec::new();
        for document in &documents {
            let tokens = document.tokens();
            let predictions = self.predictions(document)?;
            let predict = |at: usize| predictions[at - document.prompt.len()].clone();
            steps.extend(reading.document(&tokens, document.prompt.len(), predict));
        }
        match Summary::of_reading(&steps, 1_024.0, &[1.0]) {
            Err(TestError::NoDraws) => Ok(Summary::without_draws(scheme.spec().law())),
            other => Ok(other?),
        }
    }

    /// The teacher's answers with the mark.
    fn marked(&self, scheme: Scheme, number: u32) -> Result<Vec<Answer>, Failure> {
        let embedder = Embedder::new(scheme, DELTA)?;
        let mut serving = Serving {
            embedder: Some(&embedder),
            sampler: Sampler::new(Sampling::default(), self.seed)?,
            first_stream: u64::from(number) * self.prompts.len() as u64,
            options: Options { max_tokens: self.max_tokens, stop: vec![self.model.end], batch: 64 },
        };
        Ok(serve(&self.teacher, &self.prompts, &mut serving, &mut |_| ())?)
    }

    /// What the innocent expects before each token of the answer, as coefficients.
    fn predictions(&self, document: &Answer) -> Result<Vec<Vec<(TokenId, i32)>>, Failure> {
        let (tokens, first) = (document.tokens(), document.prompt.len());
        let size = self.model.model.vocab_size();
        let mut logits = self.model.model.logits_all(&tokens)?;
        let before = |row: &mut [f32]| {
            softmax(row, 1.0);
            ReadingRow::new(0, 0, row, |column| u32::try_from(column).unwrap_or(TokenId::MAX)).coefficients
        };
        Ok(logits.chunks_exact_mut(size).skip(first - 1).take(document.response.len()).map(before).collect())
    }
}
