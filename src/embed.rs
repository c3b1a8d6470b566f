//! Embedding: logits and history in; marked logits, or a marked token, out. No model and no I/O.
//!
//! One [`Embedder`] serves all answers of an epoch; one [`Answer`] follows one answer, because a window may mark only
//! once in it (context masking, the default for distortion-free schemes).

use std::collections::HashSet;

use crate::scheme::{Arm, Scheme};
use crate::token::TokenId;

/// How answers are marked: the opened scheme and what does not change its randomness.
#[derive(Debug)]
pub struct Embedder {
    scheme: Scheme,
    delta: f32,
    masking: bool,
}

impl Embedder {
    /// Marks with `scheme`. `delta` is what a green token's logit gains (nats; 1 is the serving default, 2 the
    /// demo's); a Gumbel race does not use it.
    ///
    /// # Errors
    /// `delta` is negative, infinite or not a number.
    pub fn new(scheme: Scheme, delta: f32) -> Result<Self, DeltaError> {
        if !delta.is_finite() || delta < 0.0 {
            return Err(DeltaError(delta));
        }
        let masking = scheme.arms().iter().any(|arm| matches!(arm, Arm::Gumbel(_)));
        Ok(Self { scheme, delta, masking })
    }

    /// Switches context masking on or off. Off, a distortion-free scheme repeats itself.
    #[must_use]
    pub fn masking(mut self, on: bool) -> Self {
        self.masking = on;
        self
    }

    /// The opened scheme.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Starts an answer.
    pub fn answer(&self) -> Answer<'_> {
        Answer { embedder: self, seen: HashSet::new() }
    }
}

/// A logit bias that is no finite non-negative number.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("delta is a finite number of nats, 0 or more, not {0}")]
pub struct DeltaError(f32);

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The green list's bias was added to the logits: sample from them.
    Biased,
    /// The race is run over the final distribution: truncate, then call [`Answer::choose`].
    Race,
    /// This step is unmarked: fewer tokens than the window needs, or a window that marked already.
    Unmarked,
}

/// One answer while it is written.
#[derive(Debug)]
pub struct Answer<'a> {
    embedder: &'a Embedder,
    /// Windows that marked: at most one a token of the answer.
    seen: HashSet<Box<[TokenId]>>,
}

impl Answer<'_> {
    /// Marks the step after `context` (prompt and answer so far, as the model saw them) on its row of raw logits,
    /// one a token id, in place.
    pub fn step(&mut self, context: &[TokenId], logits: &mut [f32]) -> Step {
        let Some(arm) = self.embedder.scheme.arms().first() else { return Step::Unmarked };
        match arm {
            Arm::Gumbel(_) if self.is_open(context) => Step::Race,
            Arm::Green(green) if self.is_open(context) => {
                let window = self.enter(context);
                green.bias(&green.seed(window), logits, self.embedder.delta);
                Step::Biased
            }
            Arm::Green(_) | Arm::Gumbel(_) => Step::Unmarked,
        }
    }

    /// Runs the race over `probabilities`, the final distribution after temperature and truncation, one a token id.
    /// `arm` chooses the key of a dual scheme: a fresh coin, not a keyed one. `None` where [`Answer::step`] would say
    /// unmarked, or no probability is positive.
    pub fn choose(&mut self, context: &[TokenId], probabilities: &[f32], arm: usize) -> Option<TokenId> {
        let arms = self.embedder.scheme.arms();
        let Some(Arm::Gumbel(gumbel)) = arms.get(arm.min(arms.len().saturating_sub(1))) else { return None };
        if !self.is_open(context) {
            return None;
        }
        let window = self.enter(context);
        gumbel.choose(&gumbel.seed(window), probabilities)
    }

    /// Whether the window after `context` exists and may mark.
    fn is_open(&self, context: &[TokenId]) -> bool {
        let window = self.embedder.scheme.spec().width().window(context, context.len());
        window.is_some_and(|window| !self.embedder.masking || !self.seen.contains(window))
    }

    /// The window after `context`, remembered where windows mark once.
    fn enter<'c>(&mut self, context: &'c [TokenId]) -> &'c [TokenId] {
        let window = self.embedder.scheme.spec().width().window(context, context.len()).unwrap_or(&[]);
        if self.embedder.masking {
            self.seen.insert(window.into());
        }
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Secret;
    use crate::scheme::Spec;

    fn embedder(spec: &str, delta: f32) -> Embedder {
        let spec: Spec = spec.parse().unwrap();
        let key = Secret::from_bytes([5; 32]).epoch_key(&"2026-q4".parse().unwrap());
        Embedder::new(spec.open(&key), delta).unwrap()
    }

    #[test]
    fn green_logits_rise_by_delta_and_the_scorer_agrees() {
        for spec in [
            "green/1/w0/b1/t1",
            "green/1/w1/b2/t1",
            "green/1/w1/b4/t3",
            "green/1/w2/b8/t77",
            "green/1/w2/b16/t999",
            "green/1/w4/b32/t900000000",
        ] {
            let embedder = embedder(spec, 1.5);
            // Odd, and longer than one stretch of keystream.
            let mut logits = vec![0.0; 9_001];
            assert_eq!(embedder.answer().step(&[4, 5, 6, 7], &mut logits), Step::Biased);
            let arm = &embedder.scheme().arms()[0];
            let window = embedder.scheme().spec().width().window(&[4, 5, 6, 7], 4).unwrap();
            let seed = arm.seed(window);
            for (token, logit) in (0..).zip(&logits) {
                assert_eq!(*logit == 1.5, arm.word(&seed, token) == 1, "{spec} token {token}");
            }
        }
    }

    #[test]
    fn a_window_marks_once_in_an_answer_of_a_distortion_free_scheme() {
        let embedder = embedder("gumbel/1/w1", 0.0);
        let mut answer = embedder.answer();
        let p = [0.25; 4];
        assert_eq!(answer.step(&[9], &mut [0.0; 4]), Step::Race);
        let first = answer.choose(&[9], &p, 0);
        assert!(first.is_some());
        assert_eq!(answer.step(&[1, 9], &mut [0.0; 4]), Step::Unmarked);
        assert_eq!(answer.choose(&[1, 9], &p, 0), None);
        assert_eq!(embedder.answer().choose(&[1, 9], &p, 0), first);
    }

    #[test]
    fn short_contexts_and_senseless_deltas() {
        let mut row = [0.0; 4];
        assert_eq!(embedder("green/1/w2/b2/t1", 2.0).answer().step(&[1], &mut row), Step::Unmarked);
        assert_eq!(row, [0.0; 4]);
        let scheme = "green/1/w0/b1/t1".parse::<Spec>().unwrap();
        let key = Secret::from_bytes([5; 32]).epoch_key(&"e".parse().unwrap());
        assert!(Embedder::new(scheme.open(&key), f32::NAN).is_err());
    }
}
