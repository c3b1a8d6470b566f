//! Embedding: logits and history in; marked logits, a marked distribution or a marked token out. No model and no I/O.
//!
//! One [`Embedder`] serves all answers of an epoch; one [`Answer`] follows one answer, because a window may mark only
//! once in it (context masking, the default for distortion-free schemes).

use std::collections::HashSet;

#[cfg(feature = "rayon")]
use rayon::prelude::*;

use crate::key::prf::Seed;
use crate::scheme::gumbel::Gumbel;
use crate::scheme::{Arm, Scheme};
use crate::token::TokenId;

/// How answers are marked: the opened scheme and what does not change its randomness.
#[derive(Debug)]
pub struct Embedder {
    scheme: Scheme,
    delta: f32,
    /// Whether windows mark once, where that is not left to the scheme.
    masking: Option<bool>,
    history: usize,
    /// The second arm's share of 2¹⁶ tosses.
    second: u32,
}

/// Windows that one answer remembers unless told otherwise: 8 bytes each, below 2.5 MiB for answers that long.
pub const HISTORY: usize = 1 << 17;

impl Embedder {
    /// Marks with `scheme`. `delta` is what a green token's logit gains (nats; 1 is the serving default, 2 the
    /// demo's), an account's token likewise; races and tournaments do not use it.
    ///
    /// # Errors
    /// `delta` is negative, infinite or not a number; or the scheme marks accounts and none was chosen.
    pub fn new(scheme: Scheme, delta: f32) -> Result<Self, EmbedError> {
        if !delta.is_finite() || delta < 0.0 {
            return Err(EmbedError::Delta(delta));
        }
        if scheme.arms().is_empty() {
            return Err(EmbedError::NoAccount);
        }
        Ok(Self { scheme, delta, masking: None, history: HISTORY, second: 1 << 15 })
    }

    /// Switches context masking on or off, for every part of a mix. Off, a distortion-free scheme repeats itself.
    #[must_use]
    pub fn masking(mut self, on: bool) -> Self {
        self.masking = Some(on);
        self
    }

    /// Remembers at most `windows` windows of an answer, [`HISTORY`] by default. What follows once so many have marked
    /// stays unmarked: forgetting old ones instead would let a window mark twice.
    #[must_use]
    pub fn history(mut self, windows: usize) -> Self {
        self.history = windows;
        self
    }

    /// The share α of steps that the second arm of a dual scheme marks, rounded to 2⁻¹⁶; ½ by default.
    ///
    /// # Errors
    /// A share outside 0 to 1.
    pub fn second_arm_share(mut self, share: f64) -> Result<Self, EmbedError> {
        if !(0.0..=1.0).contains(&share) {
            return Err(EmbedError::Share(share));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 65,536")]
        let second = (share * 65_536.0).round() as u32;
        self.second = second;
        Ok(self)
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

/// Why nothing can be marked.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// A logit bias that is no finite non-negative number.
    #[error("delta is a finite number of nats, 0 or more, not {0}")]
    Delta(f32),
    /// Account marks without an account.
    #[error("the scheme marks each account by bits of its own: choose the account that is answered")]
    NoAccount,
    /// A share of steps that is none.
    #[error("the second arm's share lies between 0 and 1, not {0}")]
    Share(f64),
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The green list's bias was added to the logits: sample from them.
    Biased,
    /// The race is run over the final distribution: truncate, then call [`Answer::choose`].
    Race,
    /// The final distribution is changed: truncate, call [`Answer::reweigh`], then sample from what it leaves.
    Reweigh,
    /// This step is unmarked: fewer tokens than the window needs, or a window that marked already.
    Unmarked,
}

/// One answer while it is written.
#[derive(Debug)]
pub struct Answer<'a> {
    embedder: &'a Embedder,
    /// The first 8 bytes of the seeds of windows that marked, at most one a token of the answer. (Two windows that
    /// agree in them, once in 2⁶⁴, leave a step unmarked.)
    seen: HashSet<u64>,
}

impl<'a> Answer<'a> {
    /// Marks the step after `context` (prompt and answer so far, as the model saw them) on its row of raw logits,
    /// one a token id, in place.
    pub fn step(&mut self, context: &[TokenId], logits: &mut [f32]) -> Step {
        match self.marking(context) {
            None => Step::Unmarked,
            Some((_, Arm::Gumbel(_), _)) => Step::Race,
            Some((_, Arm::Payload(_) | Arm::Tournament(_), _)) => Step::Reweigh,
            Some((_, arm @ Arm::Green(green), seed)) => {
                self.enter(arm, &seed);
                green.bias(&seed, logits, self.embedder.delta);
                Step::Biased
            }
        }
    }

    /// Runs the race over `probabilities`, the final distribution after temperature and truncation, one a token id.
    /// `toss` is 16 fresh random bits, not keyed ones: they choose the arm of a dual scheme. `None` where
    /// [`Answer::step`] would not say [`Step::Race`], or no probability is positive.
    pub fn choose(&mut self, context: &[TokenId], probabilities: &[f32], toss: u16) -> Option<TokenId> {
        let (race, seed) = self.race(context, toss)?;
        race.choose(&seed, probabilities)
    }

    /// The same over a list of candidates, as engines that truncate keep them: each a token and its probability (they need
    /// not sum to 1), in any order, none twice. Quicker than a whole row that holds zeros mostly.
    pub fn choose_among(
        &mut self,
        context: &[TokenId],
        candidates: &[(TokenId, f32)],
        toss: u16,
    ) -> Option<TokenId> {
        let (race, seed) = self.race(context, toss)?;
        race.choose_among(&seed, candidates)
    }

    /// The race of the step after `context` and its seed; its window has marked from now on.
    fn race(&mut self, context: &[TokenId], toss: u16) -> Option<(&'a Gumbel, Seed)> {
        let (first, arm @ Arm::Gumbel(race), seed) = self.marking(context)? else { return None };
        self.enter(arm, &seed);
        let scheme = &self.embedder.scheme;
        let dual = scheme.coin().is_none() && u32::from(toss) < self.embedder.second;
        match scheme.arms().get(first + usize::from(dual)) {
            Some(Arm::Gumbel(second)) if dual => {
                let window = second.width().window(context, context.len())?;
                Some((second, second.seed(window)))
            }
            _ => Some((race, seed)),
        }
    }

    /// Changes `probabilities`, the final distribution after temperature and truncation, one a token id: to what the
    /// layers of a tournament leave, or in favour of an account's tokens. It then sums to 1. False, and nothing changed,
    /// where [`Answer::step`] would not say [`Step::Reweigh`].
    pub fn reweigh(&mut self, context: &[TokenId], probabilities: &mut [f32]) -> bool {
        let Some((_, arm, seed)) = self.marking(context) else { return false };
        match arm {
            Arm::Tournament(tournament) => tournament.reweigh(&seed, probabilities),
            Arm::Payload(payload) => payload.reweigh(&seed, probabilities, self.embedder.delta),
            Arm::Green(_) | Arm::Gumbel(_) => return false,
        }
        self.enter(arm, &seed);
        true
    }

    /// The same over a list of candidates, as engines that truncate keep them: each a token and its probability, in any
    /// order, none twice. Quicker than a whole row that holds zeros mostly.
    pub fn reweigh_among(&mut self, context: &[TokenId], candidates: &mut [(TokenId, f32)]) -> bool {
        let Some((_, arm, seed)) = self.marking(context) else { return false };
        match arm {
            Arm::Tournament(tournament) => tournament.reweigh_among(&seed, candidates),
            Arm::Payload(payload) => payload.reweigh_among(&seed, candidates, self.embedder.delta),
            Arm::Green(_) | Arm::Gumbel(_) => return false,
        }
        self.enter(arm, &seed);
        true
    }

    /// The arm that marks the step after `context`, its number and its window's seed; none where nothing marks it.
    fn marking(&self, context: &[TokenId]) -> Option<(usize, &'a Arm, Seed)> {
        let scheme = &self.embedder.scheme;
        let (number, window) = scheme.marking(context, context.len())?;
        let arm = scheme.arms().get(number)?;
        let seed = arm.seed(window);
        let open = !self.masks(arm)
            || self.seen.len() < self.embedder.history && !self.seen.contains(&fingerprint(&seed));
        open.then_some((number, arm, seed))
    }

    /// Remembers the window of `seed` where windows mark once. Dual arms share a window: the first one's seed stands for
    /// it. Parts of a mix have keys, so seeds, of their own.
    fn enter(&mut self, arm: &Arm, seed: &Seed) {
        if self.masks(arm) {
            self.seen.insert(fingerprint(seed));
        }
    }

    fn masks(&self, arm: &Arm) -> bool {
        self.embedder.masking.unwrap_or(arm.is_distortion_free())
    }
}

/// A step of one of the answers that an engine writes at once.
#[derive(Debug)]
pub struct Row<'r, 'a> {
    /// The answer.
    pub answer: &'r mut Answer<'a>,
    /// Prompt and answer so far, as the model saw them.
    pub context: &'r [TokenId],
    /// The row of raw logits, one a token id, marked in place.
    pub logits: &'r mut [f32],
}

/// [`Answer::step`] for each row of a batch; with the feature `rayon` on as many threads as its pool has. What a row
/// becomes does not depend on its batch.
pub fn step_all(rows: &mut [Row<'_, '_>]) -> Vec<Step> {
    let step = |row: &mut Row<'_, '_>| row.answer.step(row.context, row.logits);
    #[cfg(feature = "rayon")]
    let steps = rows.par_iter_mut().map(step).collect();
    #[cfg(not(feature = "rayon"))]
    let steps = rows.iter_mut().map(step).collect();
    steps
}

/// The first 8 bytes of a seed.
fn fingerprint(seed: &Seed) -> u64 {
    seed.hazmat_bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
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

    #[test]
    fn a_tournament_marks_a_window_once_and_reweighs_nothing_else() {
        let embedder = embedder("tournament/1/w1/d30", 0.0);
        let mut answer = embedder.answer();
        let even = [0.25; 4];
        let mut first = even;
        assert_eq!(answer.step(&[9], &mut [0.0; 4]), Step::Reweigh);
        assert!(answer.reweigh(&[9], &mut first) && first != even);
        assert!((first.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        let mut second = even;
        assert_eq!(answer.step(&[1, 9], &mut [0.0; 4]), Step::Unmarked);
        assert!(!answer.reweigh(&[1, 9], &mut second) && second == even);
        // Another answer, and one that may repeat itself, mark it again alike.
        let again = Embedder { masking: Some(false), ..embedder };
        let mut answer = again.answer();
        for _ in 0..2 {
            let mut p = even;
            assert!(answer.reweigh(&[9], &mut p) && p == first);
        }
        assert_eq!(answer.choose(&[9], &even, 0), None);
    }

    #[test]
    fn a_full_history_marks_nothing_more() {
        let short = embedder("gumbel/1/w1", 0.0).history(3);
        let mut answer = short.answer();
        let marked: Vec<bool> =
            [1, 2, 2, 3, 4, 1].iter().map(|last| answer.choose(&[*last], &[0.5; 2], 0).is_some()).collect();
        assert_eq!(marked, [true, true, false, true, false, false]);
        // A green list remembers nothing, unless it is told to.
        let green = embedder("green/1/w1/b1/t1", 1.0).history(0);
        let mut answer = green.answer();
        for _ in 0..2 {
            assert_eq!(answer.step(&[9], &mut [0.0; 4]), Step::Biased);
        }
        let once = embedder("green/1/w1/b1/t1", 1.0).masking(true);
        let mut answer = once.answer();
        assert_eq!(answer.step(&[9], &mut [0.0; 4]), Step::Biased);
        assert_eq!(answer.step(&[9], &mut [0.0; 4]), Step::Unmarked);
    }

    #[test]
    fn tosses_below_the_share_take_the_second_arm() {
        let dual = |share| embedder("gumbel/1/w1+2", 0.0).second_arm_share(share).unwrap();
        let p = [0.01; 100];
        let choice = |embedder: &Embedder, toss| embedder.answer().choose(&[9], &p, toss).unwrap();
        let none = dual(0.0);
        let arms = none.scheme().arms();
        let winner = |arm: &Arm| match arm {
            Arm::Gumbel(race) => race.choose(&race.seed(&[9]), &p).unwrap(),
            _ => panic!("no race"),
        };
        let (first, second) = (winner(&arms[0]), winner(&arms[1]));
        assert_ne!(first, second);
        assert_eq!([0, u16::MAX].map(|toss| choice(&none, toss)), [first, first]);
        assert_eq!([0, u16::MAX].map(|toss| choice(&dual(1.0), toss)), [second, second]);
        assert_eq!([6_553, 6_554].map(|toss| choice(&dual(0.1), toss)), [second, first]);
        assert!(embedder("gumbel/1/w1+2", 0.0).second_arm_share(1.5).is_err());
        // Both arms share the window: it marks once, whichever marked it.
        let embedder = dual(0.5);
        let mut answer = embedder.answer();
        assert_eq!(answer.choose(&[9], &p, 0), Some(second));
        assert_eq!(answer.choose(&[9], &p, u16::MAX), None);
    }

    #[test]
    fn an_account_must_be_chosen_and_only_survivors_rise() {
        let spec: Spec = "payload/1/w1".parse().unwrap();
        let open = || spec.open(&Secret::from_bytes([5; 32]).epoch_key(&"2026-q4".parse().unwrap()));
        assert_eq!(Embedder::new(open(), 1.0).unwrap_err(), EmbedError::NoAccount);
        let embedder = Embedder::new(open().for_account(24_999), 1.0).unwrap();
        let mut p: Vec<f32> = (0..64).map(|token| f32::from(u8::from(token % 2 == 0)) / 32.0).collect();
        assert_eq!(embedder.answer().step(&[9], &mut []), Step::Reweigh);
        assert!(embedder.answer().reweigh(&[9], &mut p));
        let arm = &embedder.scheme().arms()[0];
        let seed = arm.seed(&[9]);
        let least = p.iter().copied().filter(|p| *p > 0.0).fold(f32::INFINITY, f32::min);
        for (token, p) in (0..).zip(&p) {
            let raised = if arm.word(&seed, token) == 1 { 1_f32.exp() } else { 1.0 };
            let wanted = if token % 2 == 0 { least * raised } else { 0.0 };
            assert!((p - wanted).abs() < 1e-6, "token {token}: {p}");
        }
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }

    #[test]
    fn the_coin_of_a_mix_picks_the_part_and_each_part_remembers_for_itself() {
        let embedder = embedder("mix/1/128/gumbel/1/w1/green/1/w2/b1/t1", 2.0);
        let mut steps = [0; 3];
        let mut answer = embedder.answer();
        for token in 0..200 {
            let mut row = [0.0; 8];
            let context = [token, 7];
            let part = embedder.scheme().marking(&context, 2).unwrap().0;
            match (part, answer.step(&context, &mut row)) {
                (0, Step::Race) => {
                    assert!(answer.choose(&context, &[0.125; 8], 0).is_some());
                    steps[0] += 1;
                }
                (0, Step::Unmarked) => steps[1] += 1,
                (1, Step::Biased) => steps[2] += 1,
                other => panic!("{other:?}"),
            }
        }
        // The race's own window is always [7]: it marks once. The list's windows differ.
        assert!(steps[0] == 1 && steps[1] > 60 && steps[2] > 60, "{steps:?}");
        assert_eq!(answer.step(&[7], &mut [0.0; 8]), Step::Unmarked);
    }
}
