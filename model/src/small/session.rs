//! Generation with a cache of keys and values.

use super::SmallModel;
use super::matrix::{Matrix, add_all, exp_shifted, product};
use super::network::{columns, embed, normalise, square_positive};
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

/// The keys and values of a row in one block.
#[derive(Clone, Debug)]
struct Cache {
    /// One column of keys after another, each as long as the context, so that scores are sums of columns.
    keys: Vec<f32>,
    /// One token after another.
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
                .map(|_| Cache { keys: vec![0.0; size], values: vec![0.0; size] })
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
        let mut mixed = Matrix::zeros(qkv.rows(), self.model.config.width);
        let mut new = mixed.iter_rows_mut().zip(qkv.iter_rows());
        let mut scores = vec![0.0; self.model.config.context];
        for (row, input) in self.rows.iter_mut().zip(inputs) {
            let positions = row.len..row.len + input.len();
            for (position, (mixed, qkv)) in positions.zip(new.by_ref()) {
                let cache = &mut row.blocks[block];
                cache.push(self.model, position, qkv);
                cache.mix(self.model, &mut scores[..=position], qkv, mixed);
            }
        }
        mixed
    }
}

impl Cache {
    fn push(&mut self, model: &SmallModel, position: usize, qkv: &[f32]) {
        let (width, context) = (model.config.width, model.config.context);
        let (keys, values) = qkv[width..].split_at(width);
        for (column, key) in self.keys.chunks_exact_mut(context).zip(keys) {
            column[position] = *key;
        }
        self.values[position * width..][..width].copy_from_slice(values);
    }

    /// Attention of one token to as many as `scores` is long.
    fn mix(&self, model: &SmallModel, scores: &mut [f32], qkv: &[f32], mixed: &mut [f32]) {
        let config = &model.config;
        let len = scores.len();
        for head in 0..config.heads {
            let [head_columns, ..] = columns(config, head);
            scores.fill(0.0);
            let query = &qkv[head_columns.clone()];
            let keys = self.keys.chunks_exact(config.context).skip(head_columns.start);
            add_all(scores, query.iter().copied().zip(keys.map(|column| &column[..len])));
            scores.iter_mut().for_each(|score| *score *= config.score_scale());
            let norm = exp_shifted(scores).0.recip();
            let mixed = &mut mixed[head_columns.clone()];
            let values = self.values.chunks_exact(config.width);
            add_all(mixed, scores.iter().copied().zip(values.map(|token| &token[head_columns.clone()])));
            mixed.iter_mut().for_each(|value| *value *= norm);
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
