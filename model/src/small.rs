//! A small transformer that reads, writes and learns on one processor core.
//!
//! Learned positions, causal attention, a squared-ReLU layer four times as wide, root-mean-square normalisation before
//! each, and one embedding for input and output. With the default [`Config`] it has 0.67 million parameters, and its
//! weights file 1.3 MB. [`crate::train`] trains it.
//!
//! Logits depend on the processor in their last bits (matrix products use what vector instructions there are); on one
//! machine they are reproducible.

mod matrix;
mod network;
mod session;

use crate::ModelError;
use crate::generate::{CausalModel, Session, check_tokens};
use candle_core::{DType, Device, Tensor};
use matrix::Matrix;
pub(crate) use network::{Batch, add_gradients};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use safetensors::{SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use session::SmallSession;
use std::collections::HashMap;
use std::path::Path;
use std::{fs, iter};

/// The shape of a [`SmallModel`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Number of token ids.
    pub vocab: usize,
    /// Numbers per position between the blocks.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Attention heads per block; divides the width.
    pub heads: usize,
    /// The most tokens one row may hold.
    pub context: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { vocab: 2048, width: 128, layers: 2, heads: 4, context: 96 }
    }
}

impl Config {
    /// The number of parameters.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let block = 12 * self.width * self.width + 2 * self.width;
        (self.vocab + self.context + 1) * self.width + self.layers * block
    }

    fn head_width(&self) -> usize {
        self.width / self.heads
    }

    fn score_scale(&self) -> f32 {
        (self.head_width() as f32).sqrt().recip()
    }

    fn check(&self) -> Result<(), ModelError> {
        let invalid = |key: &str, expected| ModelError::Metadata { key: key.to_owned(), expected };
        // The bounds keep a damaged file from asking for more memory than any small model needs.
        if self.vocab == 0 || self.vocab > 1 << 18 {
            return Err(invalid("vocab", "from 1 to 262144"));
        }
        if self.width == 0 || self.width > 4096 {
            return Err(invalid("width", "from 1 to 4096"));
        }
        if self.heads == 0 || !self.width.is_multiple_of(self.heads) {
            return Err(invalid("heads", "a divisor of the width"));
        }
        if self.layers > 256 {
            return Err(invalid("layers", "at most 256"));
        }
        if self.context == 0 || self.context > 1 << 16 {
            return Err(invalid("context", "from 1 to 65536"));
        }
        Ok(())
    }
}

/// A small transformer with its weights.
#[derive(Clone, Debug)]
pub struct SmallModel {
    config: Config,
    params: Params,
}

impl SmallModel {
    /// A model with random weights: the starting point of a training from scratch.
    ///
    /// # Errors
    ///
    /// When the shape is impossible.
    pub fn random(config: Config, seed: u64) -> Result<Self, ModelError> {
        config.check()?;
        let mut params = Params::new(&config);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let depth = (2 * config.layers.max(1)) as f32;
        for (_, kind, matrix) in params.entries() {
            let deviation = match kind {
                Kind::Gain => {
                    matrix.values_mut().fill(1.0);
                    continue;
                }
                Kind::Input => 0.1,
                Kind::Weight => (matrix.rows() as f32).sqrt().recip(),
                Kind::Output => (matrix.rows() as f32 * depth).sqrt().recip(),
            };
            let bound = deviation * 3_f32.sqrt();
            for value in matrix.values_mut() {
                *value = bound * uniform(&mut rng);
            }
        }
        Ok(Self { config, params })
    }

    /// The shape.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Reads the weights file at `path`.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or as [`SmallModel::from_bytes`].
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let name = path.display().to_string();
        let bytes = fs::read(path).map_err(|source| ModelError::Io { path: name.clone(), source })?;
        Self::from_bytes(&bytes, &name)
    }

    /// Reads weights from the content of a file; `name` stands in the errors.
    ///
    /// # Errors
    ///
    /// When the content is damaged, lacks the configuration or a tensor, or has one of another shape.
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self, ModelError> {
        let damaged = |reason: String| ModelError::Truncated { path: name.to_owned(), reason };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| damaged(error.to_string()))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| damaged(error.to_string()))?;
        let config = header.metadata().as_ref().and_then(|map| map.get("config"));
        let config = config.ok_or_else(|| ModelError::MissingKey { key: "config".into() })?;
        let config: Config = serde_json::from_str(config).map_err(|error| damaged(error.to_string()))?;
        config.check()?;
        if config.parameters() > bytes.len() {
            return Err(damaged("it is too short for its configuration".to_owned()));
        }
        let mut params = Params::new(&config);
        for (name, _, matrix) in params.entries() {
            let tensor =
                tensors.tensor(&name).map_err(|_| ModelError::MissingTensor { name: name.clone() })?;
            read_tensor(name, &tensor, matrix)?;
            if !matrix.values().iter().all(|value| value.is_finite()) {
                return Err(damaged("a weight is not a finite number".to_owned()));
            }
        }
        Ok(Self { config, params })
    }

    /// The content of a weights file: safetensors with 16-bit floats, the configuration in its metadata.
    ///
    /// # Errors
    ///
    /// When the arithmetic library fails.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        let mut tensors = Vec::new();
        for (name, _, matrix) in self.params.clone().entries() {
            let tensor = Tensor::from_slice(matrix.values(), (matrix.rows(), matrix.cols()), &Device::Cpu)?;
            tensors.push((name, tensor.to_dtype(DType::F16)?));
        }
        let config = serde_json::to_string(&self.config).unwrap_or_default();
        let metadata = HashMap::from([("config".to_owned(), config)]);
        safetensors::serialize(tensors, Some(metadata))
            .map_err(|error| ModelError::Numeric(candle_core::Error::SafeTensor(error)))
    }

    /// Writes a weights file.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        fs::write(path, self.to_bytes()?)
            .map_err(|source| ModelError::Io { path: path.display().to_string(), source })
    }

    /// Calls `visit(row, position, logits)` for every position of every row, in order; `logits` score the token that
    /// follows `rows[row][..=position]`, and are free to change. Rows of about equal length are read fastest.
    ///
    /// # Errors
    ///
    /// When a row is empty, longer than the context, or has an id outside the vocabulary.
    pub fn read(
        &self,
        rows: &[&[u32]],
        visit: &mut dyn FnMut(usize, usize, &mut [f32]),
    ) -> Result<(), ModelError> {
        const TOGETHER: usize = 16;
        for (row, tokens) in rows.iter().enumerate() {
            self.check_row(row, tokens)?;
        }
        for (index, rows) in rows.chunks(TOGETHER).enumerate() {
            let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0);
            // What follows a row's end does not change what stands before it.
            let padded = |row: &&[u32]| row.iter().copied().chain(iter::repeat(0)).take(longest).collect();
            let tokens: Vec<u32> = rows.iter().flat_map::<Vec<u32>, _>(padded).collect();
            let mut logits = self.logits(&tokens, rows.len());
            let mut positions = logits.iter_rows_mut();
            for (row, tokens) in rows.iter().enumerate() {
                for (position, logits) in positions.by_ref().take(longest).enumerate() {
                    if position < tokens.len() {
                        visit(index * TOGETHER + row, position, logits);
                    }
                }
            }
        }
        Ok(())
    }

    /// The mean cross-entropy of a stream, in nats per token. It is read in windows as long as the context, none of
    /// which sees the one before; every token but the very first counts.
    ///
    /// # Errors
    ///
    /// When the stream is shorter than two tokens, or has an id outside the vocabulary.
    pub fn loss(&self, stream: &[u32]) -> Result<f64, ModelError> {
        if stream.len() < 2 {
            return Err(ModelError::TextTooShort { tokens: stream.len(), needed: 2 });
        }
        check_tokens(stream, self.config.vocab)?;
        let mut total = 0.0;
        for window in windows(stream, self.config.context) {
            let (tokens, targets) = (&window[..window.len() - 1], &window[1..]);
            total += network::loss(&self.config, &self.params, Batch { tokens, rows: 1 }, targets);
        }
        Ok(total / (stream.len() - 1) as f64)
    }

    pub(crate) fn params(&self) -> &Params {
        &self.params
    }

    pub(crate) fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }

    fn check_row(&self, row: usize, tokens: &[u32]) -> Result<(), ModelError> {
        if tokens.is_empty() {
            return Err(ModelError::EmptyPrompt { row });
        }
        if tokens.len() > self.config.context {
            return Err(ModelError::RowTooLong { row, tokens: tokens.len(), context: self.config.context });
        }
        check_tokens(tokens, self.config.vocab)
    }

    fn logits(&self, tokens: &[u32], rows: usize) -> Matrix {
        network::logits(&self.config, &self.params, Batch { tokens, rows })
    }
}

impl CausalModel for SmallModel {
    fn vocab_size(&self) -> usize {
        self.config.vocab
    }

    fn context_len(&self) -> usize {
        self.config.context
    }

    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(SmallSession::new(self))
    }

    fn logits_all(&self, tokens: &[u32]) -> Result<Vec<f32>, ModelError> {
        self.check_row(0, tokens)?;
        Ok(self.logits(tokens, 1).into_values())
    }
}

/// Windows of `context` inputs and their targets, each starting at the last target of the one before.
fn windows(stream: &[u32], context: usize) -> impl Iterator<Item = &[u32]> {
    (0..stream.len() - 1)
        .step_by(context)
        .map(move |from| &stream[from..stream.len().min(from + context + 1)])
}

fn read_tensor(name: String, tensor: &TensorView<'_>, matrix: &mut Matrix) -> Result<(), ModelError> {
    let expected = vec![matrix.rows(), matrix.cols()];
    if tensor.shape() != expected {
        return Err(ModelError::Shape { name, found: tensor.shape().to_vec(), expected });
    }
    let dtype = DType::try_from(tensor.dtype())?;
    let tensor = Tensor::from_raw_buffer(tensor.data(), dtype, tensor.shape(), &Device::Cpu)?;
    let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    matrix.values_mut().copy_from_slice(&values);
    Ok(())
}

/// Uniform in [-1, 1), from the upper 24 bits of a word.
fn uniform(rng: &mut ChaCha20Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 * (-23_f32).exp2() - 1.0
}

/// The weights, or anything that has one number for each: gradients, moments.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    pub(crate) embedding: Matrix,
    positions: Matrix,
    blocks: Vec<Block>,
    norm: Matrix,
}

/// The weights of one block; a matrix has a row per input and a column per output.
#[derive(Clone, Debug)]
struct Block {
    attention_norm: Matrix,
    qkv: Matrix,
    projection: Matrix,
    mlp_norm: Matrix,
    up: Matrix,
    down: Matrix,
}

/// What a parameter does, which decides how it starts and whether it decays.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Scales a normalised position.
    Gain,
    /// Embeds a token or a position.
    Input,
    /// Multiplies a normalised position.
    Weight,
    /// Writes into the stream between the blocks.
    Output,
}

impl Params {
    /// All zero.
    fn new(config: &Config) -> Self {
        let width = config.width;
        let block = Block {
            attention_norm: Matrix::zeros(1, width),
            qkv: Matrix::zeros(width, 3 * width),
            projection: Matrix::zeros(width, width),
            mlp_norm: Matrix::zeros(1, width),
            up: Matrix::zeros(width, 4 * width),
            down: Matrix::zeros(4 * width, width),
        };
        Self {
            embedding: Matrix::zeros(config.vocab, width),
            positions: Matrix::zeros(config.context, width),
            blocks: vec![block; config.layers],
            norm: Matrix::zeros(1, width),
        }
    }

    /// All zero, in the same shape.
    pub(crate) fn zeros_like(&self) -> Self {
        let mut zeros = self.clone();
        zeros.clear();
        zeros
    }

    /// Sets everything to zero.
    pub(crate) fn clear(&mut self) {
        for (_, _, matrix) in self.entries() {
            matrix.values_mut().fill(0.0);
        }
    }

    /// Every parameter with its name in a weights file, always in the same order.
    pub(crate) fn entries(&mut self) -> Vec<(String, Kind, &mut Matrix)> {
        let mut all = vec![
            ("embedding".to_owned(), Kind::Input, &mut self.embedding),
            ("positions".to_owned(), Kind::Input, &mut self.positions),
        ];
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let name = |part| format!("blocks.{index}.{part}");
            all.extend([
                (name("attention_norm"), Kind::Gain, &mut block.attention_norm),
                (name("qkv"), Kind::Weight, &mut block.qkv),
                (name("projection"), Kind::Output, &mut block.projection),
                (name("mlp_norm"), Kind::Gain, &mut block.mlp_norm),
                (name("up"), Kind::Weight, &mut block.up),
                (name("down"), Kind::Output, &mut block.down),
            ]);
        }
        all.push(("norm".to_owned(), Kind::Gain, &mut self.norm));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> SmallModel {
        let config = Config { vocab: 11, width: 8, layers: 2, heads: 2, context: 9 };
        let mut model = SmallModel::random(config, 7).unwrap();
        // Larger than at the start of a training, so that no gradient is close to zero.
        for (_, kind, matrix) in model.params.entries() {
            if kind == Kind::Input {
                matrix.values_mut().iter_mut().for_each(|value| *value *= 30.0);
            }
        }
        model
    }

    fn assert_close(left: &[f32], right: &[f32]) {
        assert_eq!(left.len(), right.len());
        for (left, right) in left.iter().zip(right) {
            assert!((left - right).abs() < 1e-4, "{left} {right}");
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        const STEP: f32 = 4e-3;
        let mut model = tiny();
        let tokens = [1, 4, 2, 8, 5, 7, 3, 3, 10, 0, 9, 9];
        let targets = [4, 2, 8, 5, 0, 3, 3, 10, 1, 9, 9, 6];
        let batch = Batch { tokens: &tokens, rows: 3 };
        let mut grads = model.params.zeros_like();
        network::add_gradients(&model.config, &model.params, batch, &targets, 1.0, &mut grads);
        for (tensor, (name, _, grad)) in grads.entries().into_iter().enumerate() {
            let largest = grad.values().iter().fold(0.0_f32, |a, b| a.max(b.abs()));
            assert!(largest > 1e-3, "{name} has no gradient");
            for (index, &exact) in grad.values().iter().enumerate() {
                let mut loss_at = |shift: f32| {
                    model.params.entries()[tensor].2.values_mut()[index] += shift;
                    network::loss(&model.config, &model.params, batch, &targets)
                };
                let (up, down) = (loss_at(STEP), loss_at(-2.0 * STEP));
                loss_at(STEP);
                let estimate = ((up - down) / f64::from(2.0 * STEP)) as f32;
                let error = (estimate - exact).abs() / largest;
                assert!(error < 0.01, "{name}[{index}]: {exact}, not {estimate}");
            }
        }
    }

    #[test]
    fn cached_logits_are_those_of_the_whole_row() {
        let model = tiny();
        let rows: [&[u32]; 3] = [&[1, 2, 3, 4, 5, 6, 7], &[10, 9, 8, 7, 6], &[0, 0, 5, 0, 0, 5]];
        let expect = |row: usize, len: usize| {
            let all = model.logits_all(&rows[row][..len]).unwrap();
            all[(len - 1) * 11..].to_vec()
        };
        let mut session = model.session();
        let logits = session.feed(&[&rows[0][..3], &rows[1][..1]]).unwrap().to_vec();
        assert_close(&logits, &[expect(0, 3), expect(1, 1)].concat());
        let next = [&rows[0][3..4], &rows[1][1..4], &rows[2][..2]];
        let logits = session.feed(&next).unwrap().to_vec();
        assert_close(&logits, &[expect(0, 4), expect(1, 4), expect(2, 2)].concat());
        session.retain(&[true, false, true]);
        let logits = session.feed(&[&rows[0][4..7], &rows[2][2..6]]).unwrap().to_vec();
        assert_close(&logits, &[expect(0, 7), expect(2, 6)].concat());
    }

    #[test]
    fn reading_rows_of_any_length_gives_the_logits_of_each() {
        let model = tiny();
        let rows: Vec<Vec<u32>> = (1..40).map(|len| vec![len % 11; 1 + len as usize % 9]).collect();
        let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        let mut seen = vec![Vec::new(); rows.len()];
        let mut visit = |row: usize, position: usize, logits: &mut [f32]| {
            assert_eq!(seen[row].len(), position * 11);
            seen[row].extend_from_slice(logits);
        };
        model.read(&rows, &mut visit).unwrap();
        for (row, seen) in rows.iter().zip(&seen) {
            assert_close(seen, &model.logits_all(row).unwrap());
        }
        assert!(model.read(&[&[]], &mut |_, _, _| ()).is_err());
        assert!(model.read(&[&[0; 10]], &mut |_, _, _| ()).is_err());
        assert!(model.read(&[&[11]], &mut |_, _, _| ()).is_err());
    }

    #[test]
    fn loss_is_the_mean_over_every_token_but_the_first() {
        let model = tiny();
        let stream: Vec<u32> = (0..24).map(|i| i * i % 11).collect();
        let mut total = 0.0;
        for (start, end) in [(0, 9), (9, 18), (18, 23)] {
            let logits = model.logits_all(&stream[start..end]).unwrap();
            for (row, &target) in logits.chunks(11).zip(&stream[start + 1..]) {
                let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
                total += sum.ln() - f64::from(row[target as usize]);
            }
        }
        assert!((model.loss(&stream).unwrap() - total / 23.0).abs() < 1e-5);
        assert!(matches!(model.loss(&[1]), Err(ModelError::TextTooShort { .. })));
    }

    #[test]
    fn a_session_refuses_what_does_not_fit() {
        let model = tiny();
        let mut session = model.session();
        assert!(matches!(session.feed(&[&[1], &[]]), Err(ModelError::Rows { .. })));
        assert!(matches!(session.feed(&[&[11]]), Err(ModelError::Token { .. })));
        assert!(matches!(session.feed(&[&[1; 10]]), Err(ModelError::RowTooLong { .. })));
        session.feed(&[&[1; 9], &[1]]).unwrap();
        assert!(matches!(session.feed(&[&[1]]), Err(ModelError::Rows { .. })));
        assert!(matches!(session.feed(&[&[1], &[1]]), Err(ModelError::RowTooLong { .. })));
    }

    #[test]
    fn weights_survive_a_file() {
        let model = tiny();
        let bytes = model.to_bytes().unwrap();
        let mut back = SmallModel::from_bytes(&bytes, "test").unwrap();
        assert_eq!(back.to_bytes().unwrap(), bytes);
        assert_eq!(back.config(), model.config());
        let mut params = model.params.clone();
        for ((_, _, before), (_, _, after)) in params.entries().into_iter().zip(back.params.entries()) {
            for (before, after) in before.values().iter().zip(after.values()) {
                assert!((before - after).abs() <= before.abs() / 2048.0 + 1e-7);
            }
        }
        let default = SmallModel::random(Config::default(), 0).unwrap();
        let size = default.to_bytes().unwrap().len();
        assert!(size < 2 * Config::default().parameters() + 2000);
    }

    #[test]
    fn damaged_weights_are_refused_with_a_reason() {
        let mut model = tiny();
        let bytes = model.to_bytes().unwrap();
        for len in 0..bytes.len() {
            let error = SmallModel::from_bytes(&bytes[..len], "test").unwrap_err();
            assert!(matches!(error, ModelError::Truncated { .. }), "{len}: {error}");
        }
        let edited = |from: &str, to: &str| {
            let position = bytes.windows(from.len()).position(|part| part == from.as_bytes());
            let mut bytes = bytes.clone();
            bytes[position.unwrap()..][..to.len()].copy_from_slice(to.as_bytes());
            SmallModel::from_bytes(&bytes, "test").unwrap_err()
        };
        assert!(matches!(edited("config", "cOnfig"), ModelError::MissingKey { .. }));
        assert!(matches!(edited("blocks.1.up", "blocks.1.dn"), ModelError::MissingTensor { .. }));
        assert!(matches!(edited("heads\\\":2", "heads\\\":3"), ModelError::Metadata { .. }));
        assert!(matches!(edited("vocab\\\":11", "vocab\\\":12"), ModelError::Shape { .. }));
        assert!(matches!(edited("width\\\"", "wIdth\\\""), ModelError::Truncated { .. }));
        model.params.norm.values_mut()[0] = f32::NAN;
        let nan = model.to_bytes().unwrap();
        assert!(matches!(SmallModel::from_bytes(&nan, "test"), Err(ModelError::Truncated { .. })));
        assert!(matches!(SmallModel::load(Path::new("/nonexistent")), Err(ModelError::Io { .. })));
    }
}
