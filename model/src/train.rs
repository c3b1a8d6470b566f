//! Training a [`SmallModel`] on one processor core.
//!
//! [`train`] continues from any model, fresh or trained; [`distil`] is the same over answers of another model. Every
//! random choice comes from the seed, so a training repeats exactly on one machine. A training stays in the thread that
//! calls it; start a second one in another thread to use a second core.

use crate::ModelError;
use crate::generate::check_tokens;
use crate::small::{Batch, Kind, Params, SmallModel, add_gradients};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Windows whose activations are in memory at once; few enough to stay in the processor's cache.
const TOGETHER: usize = 4;

/// How a training goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Number of updates.
    pub steps: usize,
    /// Windows per update, each as long as the context; at least 1.
    pub batch: usize,
    /// Largest learning rate. It rises to it over `warm_up` updates, then falls linearly to a twentieth.
    pub rate: f32,
    /// Updates until the learning rate is largest.
    pub warm_up: usize,
    /// Pulls weights (not embeddings or gains) towards zero, times the learning rate.
    pub decay: f32,
    /// Largest Euclidean norm of a gradient; larger ones are scaled down.
    pub clip: f32,
    /// Decides the order of the windows.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { steps: 1000, batch: 4, rate: 3e-3, warm_up: 50, decay: 0.1, clip: 1.0, seed: 0 }
    }
}

/// Where a training is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Updates done.
    pub step: usize,
    /// Updates in all.
    pub steps: usize,
    /// Mean cross-entropy of the latest batch before its update, in nats per token.
    pub loss: f64,
}

/// Trains a copy of `start` on a stream of tokens, and reports every update to `progress`.
///
/// # Errors
///
/// When the stream is shorter than one window and its target, when it has an id outside the vocabulary, or when the
/// loss stops being a number.
pub fn train(
    start: &SmallModel,
    stream: &[u32],
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<SmallModel, ModelError> {
    check_tokens(stream, start.config().vocab)?;
    let mut windows = Windows::new(stream, start.config().context, options.seed)?;
    let mut model = start.clone();
    let mut optimiser = AdamW::new(&model, options);
    let mut grads = model.params().zeros_like();
    for step in 0..options.steps {
        let (tokens, targets) = windows.batch(options.batch.max(1));
        grads.clear();
        let loss = add_batch(&model, &tokens, &targets, &mut grads);
        if !loss.is_finite() {
            return Err(ModelError::Diverged { step });
        }
        optimiser.update(&mut model, &mut grads, learning_rate(options, step));
        let (step, steps) = (step + 1, options.steps);
        progress(Progress { step, steps, loss });
    }
    Ok(model)
}

/// Trains a copy of `base` for `passes` over the answers of another model, each ended by `separator`; `steps` of the
/// options does not count.
///
/// # Errors
///
/// As [`train`].
pub fn distil(
    base: &SmallModel,
    answers: &[Vec<u32>],
    separator: u32,
    passes: usize,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<SmallModel, ModelError> {
    let stream = pack(answers, separator);
    let steps = (passes * stream.len()).div_ceil(options.batch.max(1) * base.config().context);
    let options = Options { steps, ..options.clone() };
    train(base, &stream, &options, progress)
}

/// One stream of all texts, with a separator before the first and after each.
#[must_use]
pub fn pack(texts: &[Vec<u32>], separator: u32) -> Vec<u32> {
    let mut stream = vec![separator];
    for text in texts {
        stream.extend(text);
        stream.push(separator);
    }
    stream
}

/// The mean loss over a batch of windows; adds its gradients to `grads`.
fn add_batch(model: &SmallModel, tokens: &[u32], targets: &[u32], grads: &mut Params) -> f64 {
    let scale = (targets.len() as f32).recip();
    let window = model.config().context;
    let mut loss = 0.0;
    for (tokens, targets) in tokens.chunks(TOGETHER * window).zip(targets.chunks(TOGETHER * window)) {
        let rows = tokens.len() / window;
        let batch = Batch { tokens, rows };
        loss += add_gradients(model.config(), model.params(), batch, targets, scale, grads);
    }
    loss / targets.len() as f64
}

fn learning_rate(options: &Options, step: usize) -> f32 {
    const FLOOR: f32 = 0.05;
    let warm = (step + 1) as f32 / (options.warm_up + 1) as f32;
    let left = options.steps.saturating_sub(step) as f32;
    let fall = left / options.steps.saturating_sub(options.warm_up).max(1) as f32;
    options.rate * warm.min(FLOOR + (1.0 - FLOOR) * fall).min(1.0)
}

/// Windows of a stream in random order. Every pass starts at another offset, so windows differ between passes.
struct Windows<'a> {
    stream: &'a [u32],
    len: usize,
    rng: ChaCha20Rng,
    starts: Vec<usize>,
}

impl<'a> Windows<'a> {
    fn new(stream: &'a [u32], len: usize, seed: u64) -> Result<Self, ModelError> {
        if stream.len() <= len {
            let (tokens, needed) = (stream.len(), len + 1);
            return Err(ModelError::TextTooShort { tokens, needed });
        }
        Ok(Self { stream, len, rng: ChaCha20Rng::seed_from_u64(seed), starts: Vec::new() })
    }

    /// Inputs and targets of `rows` windows.
    fn batch(&mut self, rows: usize) -> (Vec<u32>, Vec<u32>) {
        let (mut tokens, mut targets) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let start = self.next_start();
            tokens.extend_from_slice(&self.stream[start..][..self.len]);
            targets.extend_from_slice(&self.stream[start + 1..][..self.len]);
        }
        (tokens, targets)
    }

    fn next_start(&mut self) -> usize {
        if self.starts.is_empty() {
            let last = self.stream.len() - self.len - 1;
            let offset = below(&mut self.rng, last.min(self.len - 1) + 1);
            self.starts.extend((offset..=last).step_by(self.len));
            for index in (1..self.starts.len()).rev() {
                let other = below(&mut self.rng, index + 1);
                self.starts.swap(index, other);
            }
        }
        self.starts.pop().unwrap_or(0)
    }
}

/// Uniform below `bound`, up to a bias of `bound / 2^64`.
fn below(rng: &mut ChaCha20Rng, bound: usize) -> usize {
    ((u128::from(rng.next_u64()) * bound as u128) >> 64) as usize
}

/// Adam with decoupled weight decay.
struct AdamW {
    first: Params,
    second: Params,
    decay: f32,
    clip: f32,
    /// `1 - beta^t` for both moments.
    corrections: (f32, f32),
}

impl AdamW {
    const BETAS: (f32, f32) = (0.9, 0.98);
    const EPSILON: f32 = 1e-8;

    fn new(model: &SmallModel, options: &Options) -> Self {
        Self {
            first: model.params().zeros_like(),
            second: model.params().zeros_like(),
            decay: options.decay,
            clip: options.clip,
            corrections: (0.0, 0.0),
        }
    }

    fn update(&mut self, model: &mut SmallModel, grads: &mut Params, rate: f32) {
        let (beta1, beta2) = Self::BETAS;
        let (c1, c2) = self.corrections;
        self.corrections = (1.0 - beta1 * (1.0 - c1), 1.0 - beta2 * (1.0 - c2));
        let scale = clip_scale(grads, self.clip);
        let params = model.params_mut().entries().into_iter();
        let moments = self.first.entries().into_iter().zip(self.second.entries());
        for (((_, kind, weights), (_, _, grads)), ((_, _, first), (_, _, second))) in
            params.zip(grads.entries()).zip(moments)
        {
            let decays = matches!(kind, Kind::Weight | Kind::Output);
            let keep = if decays { 1.0 - rate * self.decay } else { 1.0 };
            let rates = (rate / self.corrections.0, self.corrections.1.recip());
            let moments = first.values_mut().iter_mut().zip(second.values_mut());
            let grads = grads.values().iter().map(|grad| grad * scale);
            for ((weight, grad), (m, v)) in weights.values_mut().iter_mut().zip(grads).zip(moments) {
                *m = beta1 * *m + (1.0 - beta1) * grad;
                *v = beta2 * *v + (1.0 - beta2) * grad * grad;
                *weight = *weight * keep - rates.0 * *m / ((*v * rates.1).sqrt() + Self::EPSILON);
            }
        }
    }
}

/// What to multiply gradients by so that their Euclidean norm is at most `clip`.
fn clip_scale(grads: &mut Params, clip: f32) -> f32 {
    let squares = grads.entries().into_iter().map(|(_, _, grads)| grads.sum_of_squares());
    let norm = squares.sum::<f64>().sqrt() as f32;
    if norm > clip { clip / norm } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::small::Config;

    fn start() -> SmallModel {
        let config = Config { vocab: 16, width: 16, layers: 1, heads: 2, context: 12 };
        SmallModel::random(config, 1).unwrap()
    }

    /// Each token follows from the two before.
    fn stream() -> Vec<u32> {
        let mut stream = vec![1, 2];
        for index in 0..600 {
            stream.push((stream[index] * 3 + stream[index + 1]) % 16);
        }
        stream
    }

    fn options() -> Options {
        Options { steps: 120, batch: 6, rate: 1e-2, warm_up: 10, ..Options::default() }
    }

    #[test]
    fn the_loss_falls_and_the_training_repeats() {
        let (start, stream) = (start(), stream());
        let mut losses = Vec::new();
        let mut progress = |p: Progress| losses.push(p.loss);
        let model = train(&start, &stream, &options(), &mut progress).unwrap();
        assert_eq!(losses.len(), 120);
        assert!((losses[0] - 16_f64.ln()).abs() < 0.3, "{}", losses[0]);
        assert!(model.loss(&stream).unwrap() < 0.5 * losses[0]);
        let again = train(&start, &stream, &options(), &mut |_| ()).unwrap();
        assert_eq!(again.to_bytes().unwrap(), model.to_bytes().unwrap());
        let other = Options { seed: 1, ..options() };
        let other = train(&start, &stream, &other, &mut |_| ()).unwrap();
        assert_ne!(other.to_bytes().unwrap(), model.to_bytes().unwrap());
    }

    #[test]
    fn every_pass_reads_every_window_once() {
        let stream: Vec<u32> = (0..100).collect();
        let mut windows = Windows::new(&stream, 10, 0).unwrap();
        for _ in 0..5 {
            let (first, _) = windows.batch(1);
            let left = windows.starts.len();
            let (rest, targets) = windows.batch(left);
            let mut all = [first, rest].concat();
            all.sort_unstable();
            assert!(all.windows(2).all(|pair| pair[1] == pair[0] + 1));
            assert!(all.len() >= 90 && targets.len() == 10 * left);
            assert!(windows.starts.is_empty());
        }
    }

    #[test]
    fn distillation_moves_a_model_towards_the_answers() {
        let start = start();
        let answers = vec![vec![3, 4, 5, 6, 7]; 40];
        let model = distil(&start, &answers, 0, 20, &options(), &mut |_| ()).unwrap();
        let text = pack(&answers[..2], 0);
        assert_eq!(text, [0, 3, 4, 5, 6, 7, 0, 3, 4, 5, 6, 7, 0]);
        assert!(model.loss(&text).unwrap() < 0.3 * start.loss(&text).unwrap());
    }

    #[test]
    fn the_learning_rate_rises_then_falls() {
        let rates: Vec<f32> = (0..120).map(|step| learning_rate(&options(), step)).collect();
        assert!(rates[..10].is_sorted());
        assert!(rates[11..].iter().rev().is_sorted());
        assert!(rates.iter().all(|&rate| rate > 0.0 && rate <= 1e-2));
        assert!(rates[11] > 0.98e-2 && rates[119] < 0.1e-2);
    }

    #[test]
    fn bad_input_is_an_error() {
        let start = start();
        let error = train(&start, &[1; 12], &options(), &mut |_| ()).unwrap_err();
        assert!(matches!(error, ModelError::TextTooShort { needed: 13, .. }));
        let error = train(&start, &[16; 100], &options(), &mut |_| ()).unwrap_err();
        assert!(matches!(error, ModelError::Token { token: 16, .. }));
        let wild = Options { rate: 1e30, warm_up: 0, ..options() };
        let error = train(&start, &stream(), &wild, &mut |_| ()).unwrap_err();
        assert!(matches!(error, ModelError::Diverged { .. }));
    }
}
