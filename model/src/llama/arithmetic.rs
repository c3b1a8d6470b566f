//! What a Llama computes with its numbers: products, SwiGLU, attention.

use super::Config;
use super::session::KeyValues;
use crate::ModelError;
use crate::math::exp;
use candle_core::{Device, Tensor};
use pulp::Arch;

/// Rows of `x` times the transpose of `weight` (output × input).
///
/// The matrix library takes other paths, with other rounding, for a single row and for results of up to 256 numbers. A
/// row's logits should not depend on its company, so rows of zeros fill up to the common path.
pub(super) fn product(mut x: Vec<f32>, weight: &Tensor) -> Result<Vec<f32>, ModelError> {
    let (outputs, inputs) = weight.dims2()?;
    let rows = x.len() / inputs;
    let padded = rows.max(256 / outputs + 1).max(2);
    x.resize(padded * inputs, 0.0);
    let x = Tensor::from_vec(x, (padded, inputs), &Device::Cpu)?;
    let mut y: Vec<f32> = x.matmul(&weight.t()?)?.flatten_all()?.to_vec1()?;
    y.truncate(rows * outputs);
    Ok(y)
}

/// SwiGLU: `silu(gate) * up`, where every token holds its gates, then its ups.
pub(super) fn gate(gate_up: &[f32], width: usize) -> Vec<f32> {
    let mut gated = vec![0.0; gate_up.len() / 2];
    Arch::new().dispatch(|| {
        for (token, gated) in gate_up.chunks_exact(2 * width).zip(gated.chunks_exact_mut(width)) {
            let (gates, ups) = token.split_at(width);
            for ((out, g), up) in gated.iter_mut().zip(gates).zip(ups) {
                *out = g / (1.0 + exp(-g)) * up;
            }
        }
    });
    gated
}

pub(super) fn add(stream: &mut [f32], change: &[f32]) {
    stream.iter_mut().zip(change).for_each(|(x, change)| *x += change);
}

/// Attention of one token over everything its row holds. `scores` has room for one number per head and key.
#[inline(always)]
pub(super) fn attend_token(
    config: &Config,
    cache: &KeyValues,
    queries: &[f32],
    scores: &mut [f32],
    output: &mut [f32],
) {
    let (width, kv_width) = (config.head_dim, config.kv_width());
    let group = config.heads / config.kv_heads;
    let length = cache.keys.len() / kv_width;
    let scale = (width as f32).sqrt().recip();
    output.fill(0.0);
    // The heads of a group read the same keys and values.
    let groups = queries.chunks_exact(group * width).zip(output.chunks_exact_mut(group * width));
    for (kv_head, (queries, output)) in groups.enumerate() {
        let scores = &mut scores[kv_head * group * length..(kv_head + 1) * group * length];
        let part = kv_head * width..(kv_head + 1) * width;
        for (at, key) in cache.keys.chunks_exact(kv_width).enumerate() {
            for (head, query) in queries.chunks_exact(width).enumerate() {
                scores[head * length + at] = dot(query, &key[part.clone()]) * scale;
            }
        }
        scores.chunks_exact_mut(length).for_each(normalise);
        for (at, value) in cache.values.chunks_exact(kv_width).enumerate() {
            for (head, output) in output.chunks_exact_mut(width).enumerate() {
                add_scaled(output, &value[part.clone()], scores[head * length + at]);
            }
        }
    }
}

/// Softmax in place.
#[inline(always)]
fn normalise(scores: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = exp(*score - max);
    }
    for score in scores.iter() {
        sum += score;
    }
    let norm = sum.recip();
    for score in scores.iter_mut() {
        *score *= norm;
    }
}

#[inline(always)]
fn add_scaled(sums: &mut [f32], values: &[f32], weight: f32) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += weight * value;
    }
}

/// Inner product, in eight sums that run side by side.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let mut sum = (sums[0] + sums[4]) + (sums[2] + sums[6]) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
    for (a, b) in a_rest.iter().zip(b_rest) {
        sum += a * b;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::dot;

    #[test]
    fn dot_takes_any_length() {
        let numbers: Vec<f32> = (0..21).map(|i| i as f32).collect();
        for length in 0..21 {
            let expected: f32 = numbers[..length].iter().map(|x| x * x).sum();
            assert_eq!(dot(&numbers[..length], &numbers[..length]), expected);
        }
    }
}
