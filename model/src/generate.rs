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
        Self { max_tokens: 200, stop: Vec::new(), batch: 64 }
    }
}

/// Picks a row's next token: given the index of its prompt, its tokens so far and the logits, which it may change.
pub type Pick<'a> = dyn FnMut(usize, &[u32], &mut [f32]) -> u32 + 'a;

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
    pick: &mut Pick<'_>,
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
        live.extend(waiting.by_ref().take(free).map(|(row, prompt)| Row::new(row, prompt)));
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
        return Err(ModelError::RowTooLong { row, tokens: prompt.len(), context });
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
        Self { index, prompt_len: prompt.len(), tokens: prompt.to_vec(), fed: 0, done: false }
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
        Self { temperature: 1.0, top_k: 0, top_p: 1.0 }
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
        f.debug_struct("Sampler").field("sampling", &self.sampling).finish_non_exhaustive()
    }
}

impl Sampler {
    /// A sampler for `sampling`, seeded with `seed`.
    ///
    /// # Errors
    ///
    /// When the temperature is negative or not finite, or `top_p` is outside (0, 1].
    pub fn new(sampling: Sampling, seed: u64) -> Result<Self, ModelError> {
        let Sampling { temperature, top_p, .. } = sampling;
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(out_of_range("temperature", temperature, "finite and at least 0"));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(out_of_range("top-p", top_p, "above 0 and at most 1"));
        }
        Ok(Self { sampling, rng: ChaCha20Rng::seed_from_u64(seed), order: Vec::new() })
    }

    /// Draws a token from `logits`, which become probabilities on the way. `stream` names the independent sequence
    /// (say, the row), `position` the place in it (say, the length of the context).
    pub fn pick(&mut self, stream: u64, position: usize, logits: &mut [f32]) -> u32 {
        softmax(logits, self.sampling.temperature);
        self.order_candidates(logits);
        self.draw(stream, position, logits)
    }

    /// Turns `logits` into the final distribution: after temperature and truncation, with zeros outside and a sum of 1.
    /// For those who choose the token themselves.
    pub fn truncate(&mut self, logits: &mut [f32]) {
        softmax(logits, self.sampling.temperature);
        self.order_candidates(logits);
        let mass: f32 = self.order.iter().map(|&token| logits[token as usize]).sum();
        let kept: Vec<f32> = self.order.iter().map(|&token| logits[token as usize] / mass).collect();
        logits.fill(0.0);
        for (&token, p) in self.order.iter().zip(kept) {
            logits[token as usize] = p;
        }
    }

    /// Draws a token from the distribution that [`Sampler::truncate`] just made.
    pub fn draw(&mut self, stream: u64, position: usize, probabilities: &[f32]) -> u32 {
        let probability = |token: u32| f64::from(probabilities[token as usize]);
        let mass: f64 = self.order.iter().map(|&token| probability(token)).sum();
        let mut left = self.uniform(stream, position) * mass;
        for &token in &self.order {
            left -= probability(token);
            if left < 0.0 {
                return token;
            }
        }
        self.order.first().copied().unwrap_or_default()
    }

    /// A fair coin with `sides` sides, from the same draw as the token at this position would be.
    pub fn coin(&mut self, stream: u64, position: usize, sides: usize) -> usize {
        (self.uniform(stream, position) * sides as f64) as usize
    }

    /// Fills `order` with the tokens that may be drawn.
    fn order_candidates(&mut self, probabilities: &[f32]) {
        let Sampling { top_k, top_p, .. } = self.sampling;
        // What lies at or below the floor holds at most 1 - top_p together, so it is never needed to reach top_p.
        let floor = if top_p < 1.0 { (1.0 - top_p) / probabilities.len() as f32 } else { 0.0 };
        self.order.clear();
        self.order.extend((0_u32..).zip(probabilities).filter(|&(_, &p)| p > floor).map(|(token, _)| token));
        if top_p >= 1.0 && (top_k == 0 || top_k >= self.order.len()) {
            return;
        }
        let probability = |token: u32| probabilities[token as usize];
        self.order.sort_unstable_by(|&a, &b| probability(b).total_cmp(&probability(a)).then(a.cmp(&b)));
        if top_k > 0 {
            self.order.truncate(top_k);
        }
        let mut mass = 0.0_f64;
        let needed = self.order.iter().position(|&token| {
            mass += f64::from(probability(token));
            mass >= f64::from(top_p)
        });
        self.order.truncate(needed.map_or(self.order.len(), |last| last + 1));
    }

    /// A uniform multiple of 2^-53 in [0, 1) that belongs to this stream and position.
    fn uniform(&mut self, stream: u64, position: usize) -> f64 {
        self.rng.set_stream(stream);
        self.rng.set_word_pos(2 * position as u128);
        (self.rng.next_u64() >> 11) as f64 * (-53_f64).exp2()
    }
}

fn out_of_range(setting: &'static str, value: f32, range: &'static str) -> ModelError {
    ModelError::Sampling { setting, value: f64::from(value), range }
}

#[cfg(test)]
mod tests {
    use super::{CausalModel, Options, Sampler, Sampling, Session, argmax, check_tokens, generate, softmax};
    use crate::ModelError;

    /// Eight ids; the logits of a row's next position are a function of all its tokens.
    struct Fake;

    const VOCAB: usize = 8;

    fn fake_logits(tokens: &[u32]) -> impl Iterator<Item = f32> {
        let state = tokens.iter().fold(1_u32, |state, token| state.wrapping_mul(31).wrapping_add(token + 1));
        (0..VOCAB as u32).map(move |token| (state.wrapping_mul(2 * token + 1) % 97) as f32 / 20.0)
    }

    impl CausalModel for Fake {
        fn vocab_size(&self) -> usize {
            VOCAB
        }

        fn context_len(&self) -> usize {
            20
        }

        fn session(&self) -> Box<dyn Session + '_> {
            Box::new(FakeSession { rows: Vec::new(), logits: Vec::new() })
        }

        fn logits_all(&self, tokens: &[u32]) -> Result<Vec<f32>, ModelError> {
            check_tokens(tokens, VOCAB)?;
            Ok((1..=tokens.len()).flat_map(|end| fake_logits(&tokens[..end])).collect())
        }
    }

    struct FakeSession {
        rows: Vec<Vec<u32>>,
        logits: Vec<f32>,
    }

    impl Session for FakeSession {
        fn feed(&mut self, inputs: &[&[u32]]) -> Result<&mut [f32], ModelError> {
            assert!(inputs.len() >= self.rows.len() && inputs.iter().all(|input| !input.is_empty()));
            self.rows.resize(inputs.len(), Vec::new());
            self.rows.iter_mut().zip(inputs).for_each(|(row, input)| row.extend_from_slice(input));
            self.logits = self.rows.iter().flat_map(|row| fake_logits(row)).collect();
            Ok(&mut self.logits)
        }

        fn retain(&mut self, keep: &[bool]) {
            let mut keep = keep.iter();
            self.rows.retain(|_| *keep.next().expect("an entry per row"));
        }
    }

    fn prompts() -> Vec<Vec<u32>> {
        (0..11).map(|i| (0..=i % 4).map(|j| (i * 3 + j) % 8).collect()).collect()
    }

    fn answers(batch: usize) -> Vec<Vec<u32>> {
        let options = Options { max_tokens: 9, stop: vec![5], batch };
        let mut sampler =
            Sampler::new(Sampling { temperature: 0.9, top_k: 6, top_p: 0.9 }, 3).expect("a sampler");
        let mut pick = |row: usize, context: &[u32], logits: &mut [f32]| {
            assert!(logits.iter().copied().eq(fake_logits(context)), "the logits belong to the context");
            sampler.pick(row as u64, context.len(), logits)
        };
        let mut ended = Vec::new();
        let mut finished = |row: usize, answer: &[u32]| ended.push((row, answer.to_vec()));
        let answers = generate(&Fake, &prompts(), &options, &mut pick, &mut finished).expect("answers");
        ended.sort();
        assert!(ended.into_iter().eq(answers.iter().cloned().enumerate()), "every row ends once");
        answers
    }

    #[test]
    fn answers_do_not_depend_on_the_batch() {
        let expected = answers(1);
        assert!(expected.iter().any(|answer| answer.len() == 9), "some answers run to the limit");
        assert!(expected.iter().any(|answer| answer.len() < 9), "some stop before");
        assert!(expected.iter().flatten().all(|&token| token != 5), "no answer holds the stop token");
        for batch in [2, 3, 8, 100] {
            assert_eq!(answers(batch), expected, "batch of {batch}");
        }
    }

    #[test]
    fn an_answer_ends_where_the_context_is_full() {
        let options = Options { max_tokens: 100, ..Options::default() };
        let prompts = [vec![1; 19], vec![1; 3]];
        let answers = generate(&Fake, &prompts, &options, &mut |_, _, _| 2, &mut |_, _| ()).expect("answers");
        assert_eq!(answers.iter().map(Vec::len).collect::<Vec<_>>(), [1, 17]);
    }

    #[test]
    fn prompts_are_checked_before_any_work() {
        let refused = |prompt: Vec<u32>| {
            let mut pick = |_: usize, _: &[u32], _: &mut [f32]| panic!("no logits were due");
            let prompts = [vec![1], prompt];
            generate(&Fake, &prompts, &Options::default(), &mut pick, &mut |_, _| ())
                .expect_err("a bad prompt")
        };
        assert!(matches!(refused(vec![]), ModelError::EmptyPrompt { row: 1 }));
        assert!(matches!(refused(vec![1; 20]), ModelError::RowTooLong { row: 1, tokens: 20, context: 20 }));
        assert!(matches!(refused(vec![1, 8]), ModelError::Token { token: 8, vocab: 8 }));
    }

    #[test]
    fn softmax_sums_to_one_at_any_temperature() {
        for temperature in [0.0, 1e-42, 1e-3, 0.5, 1.0, 100.0] {
            let mut values = [1.0, -80.0, 3.0, 3.0, 2.9];
            softmax(&mut values, temperature);
            assert!((values.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{values:?}");
            assert_eq!(argmax(&values), 2);
        }
    }

    #[test]
    fn the_sampler_keeps_to_its_set() {
        let logits = [0.0, 3.0, 1.0, 2.0];
        let drawn = |sampling: Sampling| {
            let mut sampler = Sampler::new(sampling, 1).expect("a sampler");
            let mut drawn: Vec<u32> = (0..400).map(|at| sampler.pick(0, at, &mut logits.clone())).collect();
            drawn.sort_unstable();
            drawn.dedup();
            drawn
        };
        let all = Sampling::default();
        assert_eq!(drawn(all), [0, 1, 2, 3]);
        assert_eq!(drawn(Sampling { temperature: 0.0, ..all }), [1]);
        assert_eq!(drawn(Sampling { top_k: 2, ..all }), [1, 3]);
        // The probabilities are .032, .644, .087 and .237.
        assert_eq!(drawn(Sampling { top_p: 0.64, ..all }), [1]);
        assert_eq!(drawn(Sampling { top_p: 0.88, ..all }), [1, 3]);
        assert_eq!(drawn(Sampling { top_p: 0.96, ..all }), [1, 2, 3]);
    }

    #[test]
    fn the_sampler_draws_in_proportion() {
        let mut sampler = Sampler::new(Sampling::default(), 11).expect("a sampler");
        let mut counts = [0_u32; 3];
        for at in 0..30_000 {
            counts[sampler.pick(at % 7, at as usize, &mut [0.0, 2.0_f32.ln(), 3.0_f32.ln()]) as usize] += 1;
        }
        for (count, expected) in counts.into_iter().zip([5_000.0_f64, 10_000.0, 15_000.0]) {
            // Five standard deviations: 87 at most.
            assert!((f64::from(count) - expected).abs() < 435.0, "{counts:?}");
        }
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let all = Sampling::default();
        for sampling in [
            Sampling { temperature: -0.1, ..all },
            Sampling { temperature: f32::NAN, ..all },
            Sampling { top_p: 0.0, ..all },
            Sampling { top_p: 1.1, ..all },
        ] {
            assert!(matches!(Sampler::new(sampling, 0), Err(ModelError::Sampling { .. })), "{sampling:?}");
        }
    }
}
