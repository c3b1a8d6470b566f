//! The forward pass over whole rows, and its backward pass.
//!
//! The gradients are written out by hand and checked against finite differences. With candle's autograd a training is
//! four times slower alone and ten times slower beside another, and some of its fused operations have no gradient.

use super::matrix::{Matrix, add, dot, exp_shifted, product, product_into};
use super::{Block, Config, Params};
use std::ops::Range;

/// Added to the mean square before its root.
const EPSILON: f32 = 1e-5;

/// Equally long rows of tokens, one after another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) rows: usize,
}

impl Batch<'_> {
    /// Tokens in a row.
    fn len(&self) -> usize {
        self.tokens.len() / self.rows
    }
}

/// What the backward pass needs from the forward pass.
#[derive(Debug)]
struct Tape {
    blocks: Vec<BlockTape>,
    last: Matrix,
    hidden: Matrix,
}

#[derive(Debug)]
struct BlockTape {
    input: Matrix,
    normed: Matrix,
    qkv: Matrix,
    /// A square for each row of the batch and head.
    attention: Vec<Matrix>,
    mixed: Matrix,
    middle: Matrix,
    middle_normed: Matrix,
    up: Matrix,
    active: Matrix,
}

/// The logits at every position of every row.
pub(crate) fn logits(config: &Config, params: &Params, batch: Batch<'_>) -> Matrix {
    let hidden = forward(config, params, batch, false).hidden;
    product(hidden.view(), params.embedding.t())
}

/// The cross-entropy of `targets`, summed over the batch, in nats.
pub(crate) fn loss(config: &Config, params: &Params, batch: Batch<'_>, targets: &[u32]) -> f64 {
    let mut logits = logits(config, params, batch);
    let rows = logits.iter_rows_mut().zip(targets);
    rows.map(|(row, &target)| cross_entropy(row, target).0).sum()
}

/// As [`loss`]; adds `scale` times its gradients to `grads`.
pub(crate) fn add_gradients(
    config: &Config,
    params: &Params,
    batch: Batch<'_>,
    targets: &[u32],
    scale: f32,
    grads: &mut Params,
) -> f64 {
    let tape = forward(config, params, batch, true);
    let mut dlogits = product(tape.hidden.view(), params.embedding.t());
    let mut total = 0.0;
    for (row, &target) in dlogits.iter_rows_mut().zip(targets) {
        let (loss, norm) = cross_entropy(row, target);
        total += loss;
        row.iter_mut().for_each(|value| *value *= norm * scale);
        row[target as usize] -= scale;
    }
    grads.embedding.add_product(dlogits.t(), tape.hidden.view());
    let dhidden = product(dlogits.view(), params.embedding.view());
    let mut dx = normalise_backward(&tape.last, &params.norm, &dhidden, &mut grads.norm);
    let blocks = params.blocks.iter().zip(&mut grads.blocks).zip(&tape.blocks);
    for ((block, grads), tape) in blocks.rev() {
        dx = block_backward(config, block, tape, dx, batch, grads);
    }
    for (index, (&token, dx)) in batch.tokens.iter().zip(dx.iter_rows()).enumerate() {
        add(grads.embedding.row_mut(token as usize), dx);
        add(grads.positions.row_mut(index % batch.len()), dx);
    }
    total
}

/// The sum of each token's embedding and its position's.
pub(crate) fn embed(params: &Params, tokens: &[u32], positions: impl Iterator<Item = usize>) -> Matrix {
    let mut x = Matrix::zeros(tokens.len(), params.embedding.cols());
    for ((x, &token), position) in x.iter_rows_mut().zip(tokens).zip(positions) {
        x.copy_from_slice(params.embedding.row(token as usize));
        add(x, params.positions.row(position));
    }
    x
}

/// Replaces logits by `exp(logits - max)`; returns the cross-entropy of the target, and what to multiply the row by to
/// get probabilities.
fn cross_entropy(row: &mut [f32], target: u32) -> (f64, f32) {
    let logit = row[target as usize];
    let (sum, max) = exp_shifted(row);
    (f64::from(sum).ln() + f64::from(max) - f64::from(logit), sum.recip())
}

/// `keep` says whether the tape is complete, or just has the hidden states.
fn forward(config: &Config, params: &Params, batch: Batch<'_>, keep: bool) -> Tape {
    let positions = (0..batch.rows).flat_map(|_| 0..batch.len());
    let mut x = embed(params, batch.tokens, positions);
    let mut blocks = Vec::new();
    for block in &params.blocks {
        let (output, tape) = block_forward(config, block, x, batch);
        x = output;
        if keep {
            blocks.push(tape);
        }
    }
    let hidden = normalise(&x, &params.norm);
    Tape { blocks, last: x, hidden }
}

fn block_forward(config: &Config, block: &Block, input: Matrix, batch: Batch<'_>) -> (Matrix, BlockTape) {
    let normed = normalise(&input, &block.attention_norm);
    let qkv = product(normed.view(), block.qkv.view());
    let (mixed, attention) = attend(config, &qkv, batch);
    let mut middle = input.clone();
    middle.add_product(mixed.view(), block.projection.view());
    let middle_normed = normalise(&middle, &block.mlp_norm);
    let up = product(middle_normed.view(), block.up.view());
    let mut active = up.clone();
    square_positive(&mut active);
    let mut output = middle.clone();
    output.add_product(active.view(), block.down.view());
    let tape = BlockTape { input, normed, qkv, attention, mixed, middle, middle_normed, up, active };
    (output, tape)
}

/// Adds to the block's gradients, and returns that of its input.
fn block_backward(
    config: &Config,
    block: &Block,
    tape: &BlockTape,
    mut dx: Matrix,
    batch: Batch<'_>,
    grads: &mut Block,
) -> Matrix {
    grads.down.add_product(tape.active.t(), dx.view());
    let mut dup = product(dx.view(), block.down.t());
    for (dup, &up) in dup.values_mut().iter_mut().zip(tape.up.values()) {
        *dup *= 2.0 * positive(up);
    }
    grads.up.add_product(tape.middle_normed.t(), dup.view());
    let dnormed = product(dup.view(), block.up.t());
    let dmiddle = normalise_backward(&tape.middle, &block.mlp_norm, &dnormed, &mut grads.mlp_norm);
    dx.add(&dmiddle);
    grads.projection.add_product(tape.mixed.t(), dx.view());
    let dmixed = product(dx.view(), block.projection.t());
    let dqkv = attend_backward(config, tape, &dmixed, batch);
    grads.qkv.add_product(tape.normed.t(), dqkv.view());
    let dnormed = product(dqkv.view(), block.qkv.t());
    let norm = &block.attention_norm;
    dx.add(&normalise_backward(&tape.input, norm, &dnormed, &mut grads.attention_norm));
    dx
}

fn positive(x: f32) -> f32 {
    if x > 0.0 { x } else { 0.0 }
}

/// Squares what is positive, and puts zero elsewhere.
pub(crate) fn square_positive(x: &mut Matrix) {
    for x in x.values_mut() {
        *x = positive(*x) * positive(*x);
    }
}

/// Root-mean-square normalisation of every row, times `gain`.
pub(crate) fn normalise(x: &Matrix, gain: &Matrix) -> Matrix {
    let mut y = x.zeros_like();
    for (y, x) in y.iter_rows_mut().zip(x.iter_rows()) {
        let scale = inverse_root_mean_square(x);
        for ((y, &x), &gain) in y.iter_mut().zip(x).zip(gain.values()) {
            *y = x * scale * gain;
        }
    }
    y
}

fn normalise_backward(x: &Matrix, gain: &Matrix, dy: &Matrix, dgain: &mut Matrix) -> Matrix {
    let mut dx = x.zeros_like();
    for ((dx, x), dy) in dx.iter_rows_mut().zip(x.iter_rows()).zip(dy.iter_rows()) {
        let scale = inverse_root_mean_square(x);
        for ((dgain, dy), x) in dgain.values_mut().iter_mut().zip(dy).zip(x) {
            *dgain += dy * x * scale;
        }
        for ((dx, dy), gain) in dx.iter_mut().zip(dy).zip(gain.values()) {
            *dx = dy * gain;
        }
        let back = dot(dx, x) * scale * scale / x.len() as f32;
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = (*dx - x * back) * scale;
        }
    }
    dx
}

fn inverse_root_mean_square(x: &[f32]) -> f32 {
    (dot(x, x) / x.len() as f32 + EPSILON).sqrt().recip()
}

/// Causal attention: what every position takes from itself and those before it, and the attention weights.
fn attend(config: &Config, qkv: &Matrix, batch: Batch<'_>) -> (Matrix, Vec<Matrix>) {
    let mut mixed = Matrix::zeros(qkv.rows(), config.width);
    let mut attention = Vec::new();
    for (rows, head) in squares(config, batch) {
        let [queries, keys, values] = columns(config, head).map(|cols| qkv.block(rows.clone(), cols));
        let mut weights = product(queries, keys.reversed_axes());
        causal_softmax(&mut weights, config.score_scale());
        let [cols, ..] = columns(config, head);
        product_into(weights.view(), values, mixed.block_mut(rows, cols));
        attention.push(weights);
    }
    (mixed, attention)
}

fn attend_backward(config: &Config, tape: &BlockTape, dmixed: &Matrix, batch: Batch<'_>) -> Matrix {
    let mut dqkv = tape.qkv.zeros_like();
    for ((rows, head), weights) in squares(config, batch).zip(&tape.attention) {
        let [q, k, v] = columns(config, head);
        let part = |cols: &Range<usize>| tape.qkv.block(rows.clone(), cols.clone());
        let (queries, keys, values) = (part(&q), part(&k), part(&v));
        let dtaken = dmixed.block(rows.clone(), q.clone());
        product_into(weights.t(), dtaken, dqkv.block_mut(rows.clone(), v));
        let mut dscores = product(dtaken, values.reversed_axes());
        softmax_backward(&mut dscores, weights, config.score_scale());
        product_into(dscores.view(), keys, dqkv.block_mut(rows.clone(), q));
        product_into(dscores.t(), queries, dqkv.block_mut(rows.clone(), k));
    }
    dqkv
}

/// Each row's positions in the batch, with each head.
fn squares(config: &Config, batch: Batch<'_>) -> impl Iterator<Item = (Range<usize>, usize)> {
    let (heads, len) = (config.heads, batch.len());
    (0..batch.rows).flat_map(move |row| (0..heads).map(move |head| (row * len..(row + 1) * len, head)))
}

/// The columns of a head's queries, keys and values.
pub(crate) fn columns(config: &Config, head: usize) -> [Range<usize>; 3] {
    let width = config.head_width();
    [0, 1, 2].map(|part| {
        let start = part * config.width + head * width;
        start..start + width
    })
}

/// Turns the scores of one row into attention weights.
fn causal_softmax(scores: &mut Matrix, scale: f32) {
    for (index, row) in scores.iter_rows_mut().enumerate() {
        let (seen, unseen) = row.split_at_mut(index + 1);
        seen.iter_mut().for_each(|score| *score *= scale);
        let norm = exp_shifted(seen).0.recip();
        seen.iter_mut().for_each(|weight| *weight *= norm);
        unseen.fill(0.0);
    }
}

/// Turns the gradient of the weights into that of the scores.
fn softmax_backward(dscores: &mut Matrix, weights: &Matrix, scale: f32) {
    for (dscores, weights) in dscores.iter_rows_mut().zip(weights.iter_rows()) {
        let mean = dot(dscores, weights);
        for (dscore, weight) in dscores.iter_mut().zip(weights) {
            *dscore = (*dscore - mean) * weight * scale;
        }
    }
}
