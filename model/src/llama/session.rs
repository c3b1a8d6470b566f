//! Rows that a Llama continues together, and what their tokens left behind.

use super::arithmetic::product;
use super::{Config, Llama};
use crate::ModelError;
use crate::generate::{Session, check_tokens};

/// The most new tokens in one pass, so that intermediate values stay small however long the prompts are.
const TOKENS_PER_PASS: usize = 2048;

/// Rows being continued by a [`Llama`].
pub(super) struct LlamaSession<'a> {
    pub(super) model: &'a Llama,
    pub(super) caches: Vec<Cache>,
    pub(super) logits: Vec<f32>,
}

impl Session for LlamaSession<'_> {
    fn feed(&mut self, inputs: &[&[u32]]) -> Result<&mut [f32], ModelError> {
        check_inputs(&self.caches, inputs, &self.model.config)?;
        self.caches.resize_with(inputs.len(), || Cache::new(self.model.blocks.len()));
        let width = self.model.config.width;
        let mut last = Vec::with_capacity(inputs.len() * width);
        let mut start = 0;
        while start < inputs.len() {
            let end = start + rows_in_pass(&inputs[start..]);
            let hidden = self.model.forward(&mut self.caches[start..end], &inputs[start..end])?;
            let mut after = 0;
            for (cache, input) in self.caches[start..end].iter_mut().zip(&inputs[start..end]) {
                cache.len += input.len();
                after += input.len() * width;
                last.extend_from_slice(&hidden[after - width..after]);
            }
            start = end;
        }
        self.logits = product(last, &self.model.head)?;
        Ok(&mut self.logits)
    }

    fn retain(&mut self, keep: &[bool]) {
        let mut keep = keep.iter();
        self.caches.retain(|_| keep.next().copied().unwrap_or(true));
    }
}

/// How many of the next rows go through the blocks together.
fn rows_in_pass(inputs: &[&[u32]]) -> usize {
    let mut tokens = 0;
    let rows = inputs.iter().take_while(|input| {
        tokens += input.len();
        tokens <= TOKENS_PER_PASS
    });
    rows.count().max(1)
}

pub(super) fn check_inputs(caches: &[Cache], inputs: &[&[u32]], config: &Config) -> Result<(), ModelError> {
    let live = caches.len();
    if inputs.len() < live {
        return Err(ModelError::Rows { live, reason: "there are fewer inputs" });
    }
    if inputs.iter().any(|input| input.is_empty()) {
        return Err(ModelError::Rows { live, reason: "an input has no tokens" });
    }
    let held = caches.iter().map(|cache| cache.len).chain(std::iter::repeat(0));
    for (row, (input, held)) in inputs.iter().zip(held).enumerate() {
        let tokens = held + input.len();
        if tokens > config.context {
            return Err(ModelError::RowTooLong { row, tokens, context: config.context });
        }
        check_tokens(input, config.vocab)?;
    }
    Ok(())
}

/// What a row's tokens left behind for later ones.
pub(super) struct Cache {
    /// Tokens seen.
    pub(super) len: usize,
    pub(super) blocks: Vec<KeyValues>,
}

/// Keys and values of one block, token after token.
#[derive(Clone, Default)]
pub(super) struct KeyValues {
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
}

impl Cache {
    pub(super) fn new(blocks: usize) -> Self {
        Self { len: 0, blocks: vec![KeyValues::default(); blocks] }
    }
}
