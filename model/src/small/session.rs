//! Generation with a cache of keys and values.

use super::matrix::{Matrix, add_scaled, dot, exp_shifted, product};
use super::network::{embed, normalise, square_positive};
use super::{Config, SmallModel};
use crate::ModelError;
use crate::generate::{Session, check_tokens};

#[derive(Debug)]
pub(super) struct SmallSession<'a> {
    model: &'a SmallModel,
    rows: Vec<Row>,
    logits: Vec<f32>,
}

/// The tokens a row has seen.
#[derive(Debug)]
struct Row {
    len: usize,
    blocks: Vec<Cache>,
}

/// The keys and values of a row in one block, one token after another.
#[derive(Clone, Debug)]
struct Cache {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl<'a> SmallSession<'a> {
    pub(super) fn new(model: &'a SmallModel) -> Self {
        Self { model, rows: Vec::new(), logits: Vec::new() }
    }

    fn check(&self, inputs: &[&[u32]]) -> Result<(), ModelError> {
        let config = &self.model.config;
        let live = self.rows.len();
        if inputs.len() < live {
            let reason = "there are fewer entries than rows";
            return Err(ModelError::Rows { live, reason });
        }
        for (row, input) in inputs.iter().enumerate() {
            if input.is_empty() {
                let reason = "an entry is empty";
                return Err(ModelError::Rows { live, reason });
            }
            let tokens = self.rows.get(row).map_or(0, |row| row.len) + input.len();
            if tokens > config.context {
                let context = config.context;
                return Err(ModelError::RowTooLong { row, tokens, context });
            }
            check_tokens(input, config.vocab)?;
        }
        Ok(())
    }

    fn open_rows(&mut self, count: usize) {
        let config = &self.model.config;
        let size = config.width * config.context;
        self.rows.resize_with(count, || Row {
            len: 0,
            blocks: (0..config.layers)
                .map(|_| Cache { keys: Vec::with_capacity(size), values: Vec::with_capacity(size) })
                .collect(),
        });
    }

    /// The hidden states of the new tokens.
    fn hidden(&mut self, inputs: &[&[u32]]) -> Matrix {
        let params = &self.model.params;
        let rows = self.rows.iter().zip(inputs);
        let positions = rows.flat_map(|(row, input)| row.len..row.len + input.len());
        let mut x = embed(params, &inputs.concat(), positions);
        for (index, block) in params.blocks.iter().enumerate() {
            let normed = normalise(&x, &block.attention_norm);
            let qkv = product(normed.view(), block.qkv.view());
            let mixed = self.attend(index, &qkv, inputs);
            x.add_product(mixed.view(), block.projection.view());
            let normed = normalise(&x, &block.mlp_norm);
            let mut active = product(normed.view(), block.up.view());
            square_positive(&mut active);
            x.add_product(active.view(), block.down.view());
        }
        x
    }

    /// Appends keys and values in one block, and mixes the values for every new token.
    fn attend(&mut self, block: usize, qkv: &Matrix, inputs: &[&[u32]]) -> Matrix {
        let Config { width, heads, context, .. } = self.model.config;
        let mut mixed = Matrix::zeros(qkv.rows(), width);
        let mut new = mixed.iter_rows_mut().zip(qkv.iter_rows());
        let mut scores = vec![0.0; heads * context];
        for (row, input) in self.rows.iter_mut().zip(inputs) {
            let positions = row.len..row.len + input.len();
            for (position, (mixed, qkv)) in positions.zip(new.by_ref()) {
                let cache = &mut row.blocks[block];
                cache.push(qkv, width);
                cache.mix(self.model, &mut scores, position, qkv, mixed);
            }
        }
        mixed
    }
}

impl Cache {
    fn push(&mut self, qkv: &[f32], width: usize) {
        self.keys.extend_from_slice(&qkv[width..2 * width]);
        self.values.extend_from_slice(&qkv[2 * width..]);
    }

    /// Attention of the token at `position` to itself and those before it. The cache is read from front to back, all
    /// heads at once: it is larger than the processor's own, and memory is fastest in order.
    fn mix(&self, model: &SmallModel, scores: &mut [f32], position: usize, qkv: &[f32], mixed: &mut [f32]) {
        let config = &model.config;
        let tokens = |cache| <[f32]>::chunks_exact(cache, config.width).take(position + 1);
        let heads = |token| <[f32]>::chunks_exact(token, config.head_width());
        for (at, keys) in tokens(&self.keys).enumerate() {
            for (head, (query, key)) in heads(&qkv[..config.width]).zip(heads(keys)).enumerate() {
                scores[head * config.context + at] = config.score_scale() * dot(query, key);
            }
        }
        for scores in scores.chunks_exact_mut(config.context) {
            let scores = &mut scores[..=position];
            let norm = exp_shifted(scores).0.recip();
            scores.iter_mut().for_each(|score| *score *= norm);
        }
        for (at, values) in tokens(&self.values).enumerate() {
            let mixed = mixed.chunks_exact_mut(config.head_width());
            for (head, (mixed, value)) in mixed.zip(heads(values)).enumerate() {
                add_scaled(mixed, value, scores[head * config.context + at]);
            }
        }
    }
}

impl Session for SmallSession<'_> {
    fn feed(&mut self, inputs: &[&[u32]]) -> Result<&mut [f32], ModelError> {
        self.check(inputs)?;
        self.open_rows(inputs.len());
        let x = self.hidden(inputs);
        let mut last = Matrix::zeros(inputs.len(), x.cols());
        let mut end = 0;
        for ((row, input), last) in self.rows.iter_mut().zip(inputs).zip(last.iter_rows_mut()) {
            row.len += input.len();
            end += input.len();
            last.copy_from_slice(x.row(end - 1));
        }
        let params = &self.model.params;
        let hidden = normalise(&last, &params.norm);
        self.logits = product(hidden.view(), params.embedding.t()).into_values();
        Ok(&mut self.logits)
    }

    fn retain(&mut self, keep: &[bool]) {
        let mut keep = keep.iter();
        self.rows.retain(|_| keep.next().copied().unwrap_or(false));
    }
}
