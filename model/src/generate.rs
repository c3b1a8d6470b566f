//! Batched generation: the seam between a model and whoever chooses the tokens.
//!
//! A [`CausalModel`] opens a [`Session`], which holds rows of tokens and gives the logits of each row's next position.
//! [`generate`] keeps a session full of prompts, hands every row's logits to the caller's `pick`, and frees a row as
//! soon as it ends. A watermark lives entirely in `pick`; without one, use a [`Sampler`].

use crate::ModelError;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::fmt;

/// A model that gives, for a row of tokens, the logits of the next one.
pub trait CausalModel: Send + Sync {
    /// Number of token ids; logits come in rows of this length.
    fn vocab_size(&self) -> usize;

    /// The most tokens one row may hold, prompt included.
    fn context_len(&self) -> usize;

    /// Opens a session without rows.
    fn session(&self) -> Box<dyn Session + '_>;

    /// The logits at every position of one row: `tokens.len() * vocab_size` values, position after position. Those at
    /// position `i` score the token that follows `tokens[..=i]`.
    ///
    /// # Errors
    ///
    /// When `tokens` is empty, longer than the context, or has an id outside the vocabulary.
    fn logits_all(&self, tokens: &[u32]) -> Result<Vec<f32>, ModelError>;
}

/// Rows of tokens that a model continues together.
pub trait Session {
    /// Appends tokens to the rows, and gives the logits of every row's next position: one run of `vocab_size` values
    /// per row, free for the caller to change.
    ///
    /// `inputs` has one entry per row, in row order, each at least one token long; entries beyond the rows there are
    /// start new rows (their entry is the whole prompt).
    ///
    /// # Errors
    ///
    /// When `inputs` has fewer entries than there are rows or an empty one, when a row outgrows the context, or on an
    /// id outside the vocabulary.
    fn feed(&mut self, inputs: &[&[u32]]) -> Result<&mut [f32], ModelError>;

    /// Drops every row whose entry in `keep` is false; the others keep their order.
    fn retain(&mut self, keep: &[bool]);
}

/// How far [`generate`] goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most tokens an answer may have.
    pub max_tokens: usize,
    /// A row ends when one of these is picked; the stop token is not part of the answer.
    pub stop: Vec<u32>,
    /// The most rows in the model at once. More is faster per token, and takes more memory.
    pub batch: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_tokens: 200,
            stop: Vec::new(),
            batch: 64,
        }
    }
}

/// Answers `prompts`, and returns the answers in the order of the prompts.
///
/// For every next token, `pick(row, context, logits)` is called with the index of the prompt, the tokens so far (prompt
/// and answer) and the logits, which it may change; it returns the token. `finished(row, answer)` is called when a row
/// ends, in order of ending. An answer ends at a stop token, at `max_tokens`, or where the model's context is full.
///
/// The order of calls between rows depends on the batch size: a `pick` whose answer for a row must not depend on it
/// draws its randomness from the row and the length of the context, as [`Sampler`] does.
///
/// # Errors
///
/// When a prompt is empty, leaves no room in the context, or has an id outside the vocabulary; when `pick` returns such an id.
pub fn generate(
    model: &dyn CausalModel,
    prompts: &[Vec<u32>],
    options: &Options,
    pick: &mut dyn FnMut(usize, &[u32], &mut [f32]) -> u32,
    finished: &mut dyn FnMut(usize, &[u32]),
) -> Result<Vec<Vec<u32>>, ModelError> {
    for (row, prompt) in prompts.iter().enumerate() {
        check_prompt(model, row, prompt)?;
    }
    let mut answers = vec![Vec::new(); prompts.len()];
    if options.max_tokens == 0 {
        return Ok(answers);
    }
    let mut session = model.session();
    let mut live: Vec<Row> = Vec::new();
    let mut waiting = prompts.iter().enumerate();
    loop {
        let free = options.batch.max(1) - live.len();
        live.extend(
            waiting
                .by_ref()
                .take(free)
                .map(|(row, prompt)| Row::new(row, prompt)),
        );
        if live.is_empty() {
            return Ok(answers);
        }
        let inputs: Vec<&[u32]> = live.iter().map(|row| &row.tokens[row.fed..]).collect();
        let logits = session.feed(&inputs)?;
        for (row, logits) in live.iter_mut().zip(logits.chunks_exact_mut(model.vocab_size())) {
            row.advance(pick(row.index, &row.tokens, logits), options, model.context_len());
        }
        for row in live.iter_mut().filter(|row| row.done) {
            answers[row.index] = row.tokens.split_off(row.prompt_len);
            finished(row.index, &answers[row.index]);
        }
        let keep: Vec<bool> = live.iter().map(|row| !row.done).collect();
        session.retain(&keep);
        live.retain(|row| !row.done);
    }
}

/// Checks that a row can start from `prompt`.
fn check_prompt(model: &dyn CausalModel, row: usize, prompt: &[u32]) -> Result<(), ModelError> {
    let (vocab, context) = (model.vocab_size(), model.context_len());
    if prompt.is_empty() {
        return Err(ModelError::EmptyPrompt { row });
    }
    if prompt.len() >= context {
        return Err(ModelError::RowTooLong {
            row,
            tokens: prompt.len(),
            context,
        });
    }
    check_tokens(prompt, vocab)
}

/// Checks that every token is inside a vocabulary of `vocab` ids.
pub(crate) fn check_tokens(tokens: &[u32], vocab: usize) -> Result<(), ModelError> {
    match tokens.iter().find(|&&token| token as usize >= vocab) {
        Some(&token) => Err(ModelError::Token { token, vocab }),
        None => Ok(()),
    }
}

/// One prompt on its way to an answer.
struct Row {
    index: usize,
    prompt_len: usize,
    tokens: Vec<u32>,
    /// Tokens that the session has seen.
    fed: usize,
    done: bool,
}

impl Row {
    fn new(index: usize, prompt: &[u32]) -> Self {
        Self {
            index,
            prompt_len: prompt.len(),
            tokens: prompt.to_vec(),
            fed: 0,
            done: false,
        }
    }

    fn advance(&mut self, token: u32, options: &Options, context_len: usize) {
        self.fed = self.tokens.len();
        if options.stop.contains(&token) {
            self.done = true;
            return;
        }
        self.tokens.push(token);
        let answer_len = self.tokens.len() - self.prompt_len;
        self.done = answer_len >= options.max_tokens || self.tokens.len() >= context_len;
    }
}

/// Turns logits into probabilities at `temperature`, in place. The values sum to 1 up to rounding.
///
/// A temperature of 0 puts everything on the largest logit (the first, if several are equal).
pub fn softmax(logits: &mut [f32], temperature: f32) {
    let best = argmax(logits);
    let Some(&max) = logits.get(best) else { return };
    let scale = temperature.recip();
    if temperature <= 0.0 || !scale.is_finite() {
        logits.fill(0.0);
        logits[best] = 1.0;
        return;
    }
    let mut sum = 0.0_f64;
    for value in logits.iter_mut() {
        *value = ((*value - max) * scale).exp();
        sum += f64::from(*value);
    }
    let norm = sum.recip() as f32;
    logits.iter_mut().for_each(|value| *value *= norm);
}

/// Index of the largest value, the first if several are equal; 0 for an empty slice.
#[must_use]
pub fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

/// Which tokens a [`Sampler`] may draw, and how boldly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 always takes the most likely token.
    pub temperature: f32,
    /// Only the `top_k` most likely tokens; 0 for no limit.
    pub top_k: usize,
    /// Only the smallest set of most likely tokens that holds this much probability, in (0, 1].
    pub top_p: f32,
}

impl Default for Sampling {
    /// The model's own distribution.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
        }
    }
}

/// Draws tokens without a watermark, from a seeded ChaCha20 stream.
///
/// A draw is a function of the seed, the stream (say, the row), the position and the logits alone: neither the batch
/// size nor the order of rows changes it.
#[derive(Clone)]
pub struct Sampler {
    sampling: Sampling,
    rng: ChaCha20Rng,
    order: Vec<u32>,
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler")
            .field("sampling", &self.sampling)
            .finish_non_exhaustive()
    }
}

impl Sampler {
    /// A sampler for `sampling`, seeded with `seed`.
    ///
    /// # Errors
    ///
    /// When the temperature is negative or not finite, or `top_p` is outside (0, 1].
    pub fn new(sampling: Sampling, seed: u64) -> Result<Self, ModelError> {
        let Sampling {
            temperature, top_p, ..
        } = sampling;
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(out_of_range("temperature", temperature, "finite and at least 0"));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(out_of_range("top-p", top_p, "above 0 and at most 1"));
        }
        Ok(Self {
            sampling,
            rng: ChaCha20Rng::seed_from_u64(seed),
            order: Vec::new(),
        })
    }

    /// Draws a token from `logits`, which become probabilities on the way. `stream` names the independent sequence
    /// (say, the row), `position` the place in it (say, the length of the context).
    pub fn pick(&mut self, stream: u64, position: usize, logits: &mut [f32]) -> u32 {
        softmax(logits, self.sampling.temperature);
        self.order_candidates(logits);
        let mass: f64 = self
            .order
            .iter()
            .map(|&token| f64::from(logits[token as usize]))
            .sum();
        let mut left = self.uniform(stream, position) * mass;
        for &token in &self.order {
            left -= f64::from(logits[token as usize]);
            if left < 0.0 {
                return token;
            }
        }
        self.order.first().copied().unwrap_or_default()
    }

    /// Fills `order` with the tokens that may be drawn.
    fn order_candidates(&mut self, probabilities: &[f32]) {
        let Sampling { top_k, top_p, .. } = self.sampling;
        // What lies at or below the floor holds at most 1 - top_p together, so it is never needed to reach top_p.
        let floor = if top_p < 1.0 {
            (1.0 - top_p) / probabilities.len() as f32
        } else {
            0.0
        };
        self.order.clear();
        self.order.extend(
            (0_u32..)
                .zip(probabilities)
                .filter(|&(_, &p)| p > floor)
                .map(|(token, _)| token),
        );
        if top_p >= 1.0 && (top_k == 0 || top_k >= self.order.len()) {
            return;
        }
        let probability = |token: u32| probabilities[token as usize];
        self.order
            .sort_unstable_by(|&a, &b| probability(b).total_cmp(&probability(a)).then(a.cmp(&b)));
        if top_k > 0 {
            self.order.truncate(top_k);
        }
        let mut mass = 0.0_f64;
        let needed = self.order.iter().position(|&token| {
            mass += f64::from(probability(token));
            mass >= f64::from(top_p)
        });
        self.order
            .truncate(needed.map_or(self.order.len(), |last| last + 1));
    }

    /// A uniform multiple of 2^-53 in [0, 1) that belongs to this stream and position.
    fn uniform(&mut self, stream: u64, position: usize) -> f64 {
        self.rng.set_stream(stream);
        self.rng.set_word_pos(2 * position as u128);
        (self.rng.next_u64() >> 11) as f64 * (-53_f64).exp2()
    }
}

fn out_of_range(setting: &'static str, value: f32, range: &'static str) -> ModelError {
    ModelError::Sampling {
        setting,
        value: f64::from(value),
        range,
    }
}
