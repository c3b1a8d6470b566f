//! The Llama family: RMS norm, rotary positions, grouped-query attention, SwiGLU.
//!
//! Weights are `f32` and the big products go through candle's matrix multiplication, so that many rows share one pass
//! over the weights. Rows may have any lengths: new tokens of all rows are stacked into one matrix, and only attention
//! looks at rows one by one.

mod arithmetic;
mod session;

use crate::ModelError;
use crate::generate::{CausalModel, Session};
use crate::gguf::Gguf;
use arithmetic::{add, attend_token, dot, gate, product};
use candle_core::{Device, Tensor};
use pulp::Arch;
use rayon::prelude::*;
use session::{Cache, KeyValues, LlamaSession, check_inputs};
use std::collections::HashSet;
use std::fmt;
use std::path::Path;

/// No size of a real model comes near this, and products of two still fit.
const LARGEST_SIZE: usize = 1 << 24;

/// The sizes of a Llama model, from a GGUF file's metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Transformer blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    /// Token ids.
    pub vocab: usize,
    /// The most tokens in a row.
    pub context: usize,
    /// Base of the rotary frequencies.
    pub rope_base: f64,
    /// Added to the mean square before its root.
    pub norm_epsilon: f32,
}

impl Config {
    /// Reads the sizes from the metadata of `gguf`.
    ///
    /// # Errors
    ///
    /// When a size is missing or makes no model, or the file asks for a variant that is not supported (rotary scaling,
    /// partial rotation, experts).
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, ModelError> {
        let positive = |key: &str| match gguf.count(key)? {
            n @ 1..=LARGEST_SIZE => Ok(n),
            _ => Err(metadata(key, "a size from 1 to 2^24")),
        };
        let optional = |key: &str, default| if gguf.has(key) { positive(key) } else { Ok(default) };
        let heads = positive("llama.attention.head_count")?;
        let width = positive("llama.embedding_length")?;
        let config = Self {
            layers: positive("llama.block_count")?,
            width,
            heads,
            kv_heads: optional("llama.attention.head_count_kv", heads)?,
            head_dim: optional("llama.attention.key_length", width / heads)?,
            feed_forward: positive("llama.feed_forward_length")?,
            vocab: gguf.texts("tokenizer.ggml.tokens")?.len(),
            context: positive("llama.context_length")?,
            rope_base: if gguf.has(ROPE_BASE) { gguf.float(ROPE_BASE)? } else { 10_000.0 },
            norm_epsilon: gguf.float("llama.attention.layer_norm_rms_epsilon")? as f32,
        };
        config.check(gguf)?;
        Ok(config)
    }

    /// Refuses what the forward pass does not compute.
    fn check(&self, gguf: &Gguf) -> Result<(), ModelError> {
        if self.head_dim == 0 || self.head_dim % 2 == 1 {
            return Err(metadata("llama.attention.key_length", "an even number above zero"));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(metadata("llama.attention.head_count_kv", "a divisor of the head count"));
        }
        let rotated = "llama.rope.dimension_count";
        if gguf.has(rotated) && gguf.count(rotated)? != self.head_dim {
            return Err(metadata(rotated, "the width of a head: partial rotation is not supported"));
        }
        let scaling = "llama.rope.scaling.type";
        if gguf.has(scaling) && gguf.text(scaling)? != "none" {
            return Err(metadata(scaling, "`none`: rotary scaling is not supported"));
        }
        Ok(())
    }

    fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

const ROPE_BASE: &str = "llama.rope.freq_base";

fn metadata(key: &str, expected: &'static str) -> ModelError {
    ModelError::Metadata { key: key.to_owned(), expected }
}

/// A Llama model in memory.
pub struct Llama {
    config: Config,
    embedding: Tensor,
    blocks: Vec<Block>,
    norm: Vec<f32>,
    /// The output layer; the embedding again where the file has none of its own.
    head: Tensor,
    /// Angle per position of each rotated pair.
    frequencies: Vec<f64>,
}

/// The weights of one transformer block; matrices are output × input.
struct Block {
    attention_norm: Vec<f32>,
    /// Queries, keys and values, one under the other.
    qkv: Tensor,
    output: Tensor,
    feed_forward_norm: Vec<f32>,
    /// Gate and up projections, one under the other.
    gate_up: Tensor,
    down: Tensor,
}

impl fmt::Debug for Llama {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Llama").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Llama {
    /// Loads the model of the GGUF file at `path`.
    ///
    /// # Errors
    ///
    /// See [`Gguf::open`] and [`Llama::from_gguf`].
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        Self::from_gguf(&mut Gguf::open(path)?)
    }

    /// Reads all weights of `gguf` as `f32`.
    ///
    /// # Errors
    ///
    /// When the metadata describe an unsupported model, or a tensor is missing, unknown, or of another shape.
    pub fn from_gguf(gguf: &mut Gguf) -> Result<Self, ModelError> {
        let config = Config::from_gguf(gguf)?;
        let (width, vocab) = (config.width, config.vocab);
        let mut loader = Loader { unread: gguf.tensor_names().map(str::to_owned).collect(), gguf };
        let embedding = loader.tensor("token_embd.weight", &[vocab, width])?;
        let own_head = loader.unread.contains("output.weight");
        let head =
            if own_head { loader.tensor("output.weight", &[vocab, width])? } else { embedding.clone() };
        let norm = loader.vector("output_norm.weight", width)?;
        let divisors = loader.rope_divisors(config.head_dim / 2)?;
        let blocks =
            (0..config.layers).map(|index| loader.block(&config, index)).collect::<Result<_, _>>()?;
        if let Some(name) = loader.unread.into_iter().next() {
            return Err(ModelError::UnknownTensor { name });
        }
        let frequencies = frequencies(&config, &divisors);
        Ok(Self { config, embedding, blocks, norm, head, frequencies })
    }

    /// The model's sizes.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Runs the new tokens of every row through the blocks and the final norm: `width` values per new token, rows one
    /// after the other. The caches grow by the new tokens.
    fn forward(&self, caches: &mut [Cache], inputs: &[&[u32]]) -> Result<Vec<f32>, ModelError> {
        let tokens = inputs.concat();
        let rotations = self.rotations(caches, inputs);
        let ids =
            Tensor::from_vec(tokens, inputs.iter().map(|input| input.len()).sum::<usize>(), &Device::Cpu)?;
        let mut stream: Vec<f32> = self.embedding.index_select(&ids, 0)?.flatten_all()?.to_vec1()?;
        for (index, block) in self.blocks.iter().enumerate() {
            let normed = self.rms_norm(&stream, &block.attention_norm);
            let mut qkv = product(normed, &block.qkv)?;
            self.rotate(&mut qkv, &rotations);
            let attended = self.attend(index, caches, inputs, &qkv);
            add(&mut stream, &product(attended, &block.output)?);
            let normed = self.rms_norm(&stream, &block.feed_forward_norm);
            let gated = gate(&product(normed, &block.gate_up)?, self.config.feed_forward);
            add(&mut stream, &product(gated, &block.down)?);
        }
        Ok(self.rms_norm(&stream, &self.norm))
    }

    /// Cosine and sine of every rotated pair, per new token.
    fn rotations(&self, caches: &[Cache], inputs: &[&[u32]]) -> Vec<(f32, f32)> {
        let positions =
            caches.iter().zip(inputs).flat_map(|(cache, input)| cache.len..cache.len + input.len());
        let rotation = |angle: f64| (angle.cos() as f32, angle.sin() as f32);
        positions.flat_map(|at| self.frequencies.iter().map(move |f| rotation(at as f64 * f))).collect()
    }

    /// Turns queries and keys by their positions. GGUF files of this family store the two halves of a pair side by side.
    fn rotate(&self, qkv: &mut [f32], rotations: &[(f32, f32)]) {
        let Config { head_dim, .. } = self.config;
        let rotated = self.config.query_width() + self.config.kv_width();
        let tokens = qkv.chunks_exact_mut(rotated + self.config.kv_width());
        for (token, rotations) in tokens.zip(rotations.chunks_exact(head_dim / 2)) {
            for head in token[..rotated].chunks_exact_mut(head_dim) {
                for (pair, &(cos, sin)) in head.chunks_exact_mut(2).zip(rotations) {
                    let (x, y) = (pair[0], pair[1]);
                    pair[0] = x * cos - y * sin;
                    pair[1] = x * sin + y * cos;
                }
            }
        }
    }

    /// Stores the new keys and values of one block, and gives what every new token reads from its row.
    fn attend(&self, block: usize, caches: &mut [Cache], inputs: &[&[u32]], qkv: &[f32]) -> Vec<f32> {
        let (query_width, kv_width) = (self.config.query_width(), self.config.kv_width());
        let mut output = vec![0.0; qkv.len() / (query_width + 2 * kv_width) * query_width];
        let (mut qkv_left, mut output_left) = (qkv, output.as_mut_slice());
        let mut rows = Vec::with_capacity(inputs.len());
        for (cache, input) in caches.iter_mut().zip(inputs) {
            let (qkv, rest) = qkv_left.split_at(input.len() * (query_width + 2 * kv_width));
            let (output, output_rest) = output_left.split_at_mut(input.len() * query_width);
            (qkv_left, output_left) = (rest, output_rest);
            rows.push((&mut cache.blocks[block], qkv, output));
        }
        rows.into_par_iter()
            .with_min_len(8)
            .for_each(|(cache, qkv, output)| self.attend_row(cache, qkv, output));
        output
    }

    /// Attention within one row.
    fn attend_row(&self, cache: &mut KeyValues, qkv: &[f32], output: &mut [f32]) {
        let (query_width, kv_width) = (self.config.query_width(), self.config.kv_width());
        let mut scores = Vec::new();
        let tokens = qkv.chunks_exact(query_width + 2 * kv_width);
        for (token, output) in tokens.zip(output.chunks_exact_mut(query_width)) {
            let (queries, kv) = token.split_at(query_width);
            cache.keys.extend_from_slice(&kv[..kv_width]);
            cache.values.extend_from_slice(&kv[kv_width..]);
            scores.resize(self.config.heads * cache.keys.len() / kv_width, 0.0);
            Arch::new().dispatch(|| attend_token(&self.config, cache, queries, &mut scores, output));
        }
    }

    /// Scales every token's vector to root mean square 1, then by `weight`.
    fn rms_norm(&self, stream: &[f32], weight: &[f32]) -> Vec<f32> {
        let mut normed = Vec::with_capacity(stream.len());
        for token in stream.chunks_exact(weight.len()) {
            let mean_square = dot(token, token) / weight.len() as f32;
            let scale = (mean_square + self.config.norm_epsilon).sqrt().recip();
            normed.extend(token.iter().zip(weight).map(|(x, w)| x * scale * w));
        }
        normed
    }
}

impl CausalModel for Llama {
    fn vocab_size(&self) -> usize {
        self.config.vocab
    }

    fn context_len(&self) -> usize {
        self.config.context
    }

    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(LlamaSession { model: self, caches: Vec::new(), logits: Vec::new() })
    }

    fn logits_all(&self, tokens: &[u32]) -> Result<Vec<f32>, ModelError> {
        check_inputs(&[], &[tokens], &self.config)?;
        let mut cache = [Cache::new(self.blocks.len())];
        product(self.forward(&mut cache, &[tokens])?, &self.head)
    }
}

/// Reads tensors and remembers which are left.
struct Loader<'a> {
    gguf: &'a mut Gguf,
    unread: HashSet<String>,
}

impl Loader<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        self.unread.remove(name);
        self.gguf.tensor(name, shape)
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, ModelError> {
        Ok(self.tensor(name, &[length])?.to_vec1()?)
    }

    /// Per-frequency divisors, which some files carry for long contexts.
    fn rope_divisors(&mut self, pairs: usize) -> Result<Vec<f32>, ModelError> {
        let name = "rope_freqs.weight";
        if self.unread.contains(name) { self.vector(name, pairs) } else { Ok(vec![1.0; pairs]) }
    }

    fn block(&mut self, config: &Config, index: usize) -> Result<Block, ModelError> {
        let Config { width, feed_forward, .. } = *config;
        let (query_width, kv_width) = (config.query_width(), config.kv_width());
        let mut matrix =
            |part: &str, out, input| self.tensor(&format!("blk.{index}.{part}.weight"), &[out, input]);
        let queries = matrix("attn_q", query_width, width)?;
        let keys = matrix("attn_k", kv_width, width)?;
        let values = matrix("attn_v", kv_width, width)?;
        let output = matrix("attn_output", width, query_width)?;
        let gate = matrix("ffn_gate", feed_forward, width)?;
        let up = matrix("ffn_up", feed_forward, width)?;
        let down = matrix("ffn_down", width, feed_forward)?;
        Ok(Block {
            attention_norm: self.vector(&format!("blk.{index}.attn_norm.weight"), width)?,
            qkv: Tensor::cat(&[queries, keys, values], 0)?,
            output,
            feed_forward_norm: self.vector(&format!("blk.{index}.ffn_norm.weight"), width)?,
            gate_up: Tensor::cat(&[gate, up], 0)?,
            down,
        })
    }
}

/// The angle that each rotated pair turns by from one position to the next.
fn frequencies(config: &Config, divisors: &[f32]) -> Vec<f64> {
    let frequency = |pair: usize| config.rope_base.powf(-2.0 * pair as f64 / config.head_dim as f64);
    divisors.iter().enumerate().map(|(pair, &divisor)| frequency(pair) / f64::from(divisor)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Config, Llama};
    use crate::ModelError;
    use crate::generate::CausalModel;
    use crate::gguf::{Gguf, fixture};
    use std::fs;

    fn tiny(name: &str) -> Llama {
        let path = fixture::file(name, &fixture::metadata(), &fixture::shapes());
        let model = Llama::open(&path).expect("the fixture is a model");
        fs::remove_file(path).expect("the temporary file is there");
        model
    }

    /// Token ids that look random.
    fn row(length: usize, seed: usize) -> Vec<u32> {
        (0..length).map(|i| ((i * i * 31 + seed * 17 + 5) % 260) as u32).collect()
    }

    #[test]
    fn logits_agree_with_the_formulas() {
        let model = tiny("formulas");
        let tokens = row(9, 1);
        let logits = model.logits_all(&tokens).expect("logits");
        let expected = reference::logits(model.config(), &tokens);
        assert_eq!(logits.len(), expected.len());
        for (found, expected) in logits.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} against {expected}");
        }
    }

    #[test]
    fn a_row_gets_the_same_bits_in_any_company() {
        let model = tiny("company");
        let rows: Vec<Vec<u32>> = (0..40).map(|i| row(1 + i % 13, i)).collect();
        let inputs: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        let mut session = model.session();
        let together = session.feed(&inputs).expect("logits").to_vec();
        for (tokens, together) in rows.iter().zip(together.chunks_exact(model.vocab_size())) {
            let mut alone = model.session();
            let (start, last) = tokens.split_at(tokens.len() - 1);
            if !start.is_empty() {
                alone.feed(&[start]).expect("logits");
            }
            assert!(alone.feed(&[last]).expect("logits") == together, "{} tokens", tokens.len());
        }
    }

    #[test]
    fn dropped_rows_leave_the_others_alone() {
        let model = tiny("dropped");
        let rows = [row(4, 1), row(6, 2), row(3, 3)];
        let mut session = model.session();
        session.feed(&[&rows[0], &rows[1], &rows[2]]).expect("logits");
        session.retain(&[false, true, false]);
        let found = session.feed(&[&[9], &rows[0]]).expect("logits").to_vec();
        let mut longer = rows[1].clone();
        longer.push(9);
        let expected = model.session().feed(&[&longer, &rows[0]]).expect("logits").to_vec();
        assert!(found == expected);
    }

    #[test]
    fn wrong_inputs_are_refused() {
        let model = tiny("inputs");
        let mut session = model.session();
        assert!(matches!(session.feed(&[&[]]), Err(ModelError::Rows { live: 0, .. })));
        assert!(matches!(session.feed(&[&[260], &[261]]), Err(ModelError::Token { token: 261, vocab: 261 })));
        assert!(matches!(
            session.feed(&[&[1; 33]]),
            Err(ModelError::RowTooLong { tokens: 33, context: 32, .. })
        ));
        session.feed(&[&[1; 32]]).expect("a full row");
        assert!(matches!(session.feed(&[]), Err(ModelError::Rows { live: 1, .. })));
        assert!(matches!(session.feed(&[&[1]]), Err(ModelError::RowTooLong { tokens: 33, .. })));
    }

    #[test]
    #[ignore = "needs TAGGANT_GGUF, the path of SmolLM2-135M-Instruct"]
    fn a_real_model_knows_a_capital() {
        let path = std::env::var("TAGGANT_GGUF").expect("TAGGANT_GGUF");
        let mut gguf = Gguf::open(path.as_ref()).expect("the model's file");
        let tokenizer = crate::tokenizer::Tokenizer::from_gguf(&gguf).expect("its tokenizer");
        let model = Llama::from_gguf(&mut gguf).expect("its weights");
        let tokens = tokenizer.encode("The capital of France is").expect("tokens");
        let logits = model.logits_all(&tokens).expect("logits");
        let last = &logits[logits.len() - model.vocab_size()..];
        let best = crate::generate::argmax(last) as u32;
        assert_eq!(tokenizer.decode(&[best]).expect("text"), " Paris");
    }

    /// The model's formulas in `f64`, every position from scratch, straight from the fixture's weights.
    mod reference {
        use super::{Config, fixture};

        type Vector = Vec<f64>;

        pub(super) fn logits(config: &Config, tokens: &[u32]) -> Vector {
            let mut stream: Vec<Vector> = tokens.iter().map(|&token| embedding(config, token)).collect();
            for layer in 0..config.layers {
                let part = |part: &str| format!("blk.{layer}.{part}.weight");
                let normed: Vec<Vector> = stream.iter().map(|x| norm(x, &part("attn_norm"))).collect();
                for (at, x) in stream.iter_mut().enumerate() {
                    add(x, &times(&part("attn_output"), &attention(config, &part, &normed[..=at])));
                    let normed = norm(x, &part("ffn_norm"));
                    let up = times(&part("ffn_up"), &normed);
                    let gate = times(&part("ffn_gate"), &normed);
                    let gated: Vector =
                        gate.iter().zip(up).map(|(g, up)| g / (1.0 + (-g).exp()) * up).collect();
                    add(x, &times(&part("ffn_down"), &gated));
                }
            }
            let output = |x: &Vector| times("token_embd.weight", &norm(x, "output_norm.weight"));
            stream.iter().flat_map(output).collect()
        }

        /// What the last position reads from all of them.
        fn attention(config: &Config, part: &dyn Fn(&str) -> String, normed: &[Vector]) -> Vector {
            let (width, group) = (config.head_dim, config.heads / config.kv_heads);
            let last = normed.len() - 1;
            let head = |x: &Vector, index: usize| x[index * width..(index + 1) * width].to_vec();
            let query = times(&part("attn_q"), &normed[last]);
            let mut output = Vector::new();
            for index in 0..config.heads {
                let query = turn(config, head(&query, index), last);
                let score = |at: usize| {
                    let key = turn(config, head(&times(&part("attn_k"), &normed[at]), index / group), at);
                    (inner(&query, &key) / (width as f64).sqrt()).exp()
                };
                let scores: Vector = (0..normed.len()).map(score).collect();
                let mut sum = vec![0.0; width];
                for (at, score) in scores.iter().enumerate() {
                    let value = head(&times(&part("attn_v"), &normed[at]), index / group);
                    add(&mut sum, &value.iter().map(|v| v * score / scores.iter().sum::<f64>()).collect());
                }
                output.extend(sum);
            }
            output
        }

        /// Rotates neighbouring pairs, as a product of complex numbers.
        fn turn(config: &Config, x: Vector, position: usize) -> Vector {
            let angle = |pair: usize| {
                position as f64 / config.rope_base.powf(2.0 * pair as f64 / config.head_dim as f64)
            };
            let turn = |(pair, x): (usize, &[f64])| {
                let (sin, cos) = angle(pair).sin_cos();
                [x[0] * cos - x[1] * sin, x[0] * sin + x[1] * cos]
            };
            x.chunks_exact(2).enumerate().flat_map(turn).collect()
        }

        fn embedding(config: &Config, token: u32) -> Vector {
            weights("token_embd.weight", config.vocab * config.width)
                .chunks_exact(config.width)
                .nth(token as usize)
                .expect("a row per token")
                .to_vec()
        }

        fn norm(x: &Vector, name: &str) -> Vector {
            let root = (inner(x, x) / x.len() as f64 + 1e-5).sqrt();
            x.iter().zip(weights(name, x.len())).map(|(x, w)| x / root * w).collect()
        }

        fn times(name: &str, x: &Vector) -> Vector {
            let (_, shape) =
                fixture::shapes().into_iter().find(|(found, _)| found == name).expect("a tensor");
            weights(name, shape.iter().product()).chunks_exact(x.len()).map(|row| inner(row, x)).collect()
        }

        fn weights(name: &str, length: usize) -> Vector {
            fixture::weights(name, length).into_iter().map(f64::from).collect()
        }

        fn inner(a: &[f64], b: &[f64]) -> f64 {
            a.iter().zip(b).map(|(a, b)| a * b).sum()
        }

        fn add(sum: &mut Vector, x: &Vector) {
            sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
        }
    }
}
