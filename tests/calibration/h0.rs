//! Innocent text, random keys, and what a valid test may show under them.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use taggant::key::{EpochKey, Secret};
use taggant::law::Draws;
use taggant::scheme::{Scheme, Spec};
use taggant::score::{Evidence, Exchange, Provenance};
use taggant::stat::Rate;
use taggant::stat::multiple::binomial_upper_limit;
use taggant::stat::verdict::verdict_tail;

/// 2,000 keys, or as many as `TAGGANT_CALIBRATION_KEYS` says (`make calibration`).
pub(crate) fn keys() -> u64 {
    let said = std::env::var("TAGGANT_CALIBRATION_KEYS").ok();
    said.map_or(2_000, |keys| keys.parse().unwrap())
}

/// As many keys as are tested where each costs a weighted sum's exact tail.
pub(crate) fn fewer() -> u64 {
    keys() / 5
}

pub(crate) const VOCABULARY: u32 = 500;

/// Levels as 1 in n.
pub(crate) const LEVELS: [u64; 3] = [20, 100, 1_000];

pub(crate) fn scheme(spec: &str, key: u64) -> Scheme {
    spec.parse::<Spec>().unwrap().open(&epoch_key(key))
}

/// The epoch key that schemes of `key` are opened under.
pub(crate) fn epoch_key(key: u64) -> EpochKey {
    let mut bytes = [0; 32];
    ChaCha8Rng::seed_from_u64(key).fill_bytes(&mut bytes);
    Secret::from_bytes(bytes).epoch_key(&"2026-q4".parse().unwrap())
}

/// A value for each of the first `keys` keys of `spec`.
pub(crate) fn under(spec: &str, keys: u64, f: impl Fn(&Scheme) -> f64) -> Vec<f64> {
    (0..keys).map(|key| f(&scheme(spec, key))).collect()
}

/// The verdict's ln p of text or rows under each of the first `keys` keys of `spec`.
pub(crate) fn over(evidence: &Evidence, spec: &str, keys: u64) -> Vec<f64> {
    under(spec, keys, |scheme| ln_p(evidence.open(scheme).unwrap()))
}

/// The verdict's ln p.
pub(crate) fn ln_p(draws: Draws) -> f64 {
    verdict_tail(draws).unwrap().0
}

/// A loopy bigram language: after half of the tokens one successor is nearly certain, as in tables, lists and code.
pub(crate) struct Language(ChaCha8Rng);

impl Language {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub(crate) fn below(&mut self, n: u32) -> u32 {
        self.0.next_u32() % n
    }

    pub(crate) fn next(&mut self, token: u32) -> u32 {
        if token.is_multiple_of(2) && self.below(10) < 8 {
            return (token * 7 + 3) % 40;
        }
        let (a, b) = (self.below(VOCABULARY), self.below(VOCABULARY));
        a.min(b)
    }

    pub(crate) fn text(&mut self, tokens: usize) -> Vec<u32> {
        let mut text = vec![self.below(VOCABULARY)];
        while text.len() < tokens {
            let next = self.next(text[text.len() - 1]);
            text.push(next);
        }
        text
    }
}

pub(crate) fn exchange(prompt: Vec<u32>, response: Vec<u32>, provenance: Provenance) -> Exchange {
    Exchange { prompt, response, whole_context: true, provenance }
}

/// Fixed innocent answers, repetitive on purpose: some are given word for word more than once.
pub(crate) fn innocent() -> Vec<Exchange> {
    repetitive(30, 10)
}

/// So many answers, the first of which are given `again`.
pub(crate) fn repetitive(answers: usize, again: usize) -> Vec<Exchange> {
    let mut language = Language::new(1);
    let mut exchanges: Vec<Exchange> =
        (0..answers).map(|_| exchange(language.text(5), language.text(120), Provenance::Unknown)).collect();
    exchanges.extend_from_within(..again);
    exchanges
}

/// Rejections at each level among ln p-values.
pub(crate) fn rejections(ln_p: &[f64]) -> [u64; 3] {
    LEVELS.map(|n| ln_p.iter().filter(|ln_p| **ln_p <= -(n as f64).ln()).count() as u64)
}

pub(crate) fn limits(keys: usize) -> [u64; 3] {
    LEVELS.map(|n| binomial_upper_limit(keys as u64, Rate::new(1, n).unwrap(), 0.999))
}

/// At most as many rejections as a valid test may show at the nominal levels, and not none: a test that never rejects
/// would be valid, and worthless.
pub(crate) fn assert_valid(what: &str, ln_p: &[f64]) {
    assert_within(what, ln_p, limits(ln_p.len()));
    assert!(rejections(ln_p)[0] > 0, "{what} is blind");
}

/// The same at limits of the test's own, such as those of the levels that it attains.
pub(crate) fn assert_within(what: &str, ln_p: &[f64], limits: [u64; 3]) {
    let found = rejections(ln_p);
    println!("{what}: {found:?} of {} rejected at 1 in {LEVELS:?}, limits {limits:?}", ln_p.len());
    assert!((0..3).all(|at| found[at] <= limits[at]), "{what}: {found:?}, limits {limits:?}");
}

pub(crate) fn assert_fails(what: &str, ln_p: &[f64]) {
    let (found, limits) = (rejections(ln_p), limits(ln_p.len()));
    println!("{what}: {found:?} of {} rejected at 1 in {LEVELS:?}, limits {limits:?}: caught", ln_p.len());
    assert!((0..3).any(|at| found[at] > limits[at]), "{what}: {found:?} stays within {limits:?}");
}
