//! Keys, seeded chance, and what a valid test may show under many keys.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use taggant::key::{EpochKey, Secret};
use taggant::stat::Rate;
use taggant::stat::multiple::binomial_upper_limit;

/// Levels as 1 in n.
pub(crate) const LEVELS: [u64; 4] = [10, 100, 1_000, 10_000];

/// How many keys: `usual`, or as many as `TAGGANT_CALIBRATION_KEYS` says (`make validity`).
pub(crate) fn keys(usual: u64) -> u64 {
    let said = std::env::var("TAGGANT_CALIBRATION_KEYS").ok();
    said.map_or(usual, |keys| keys.parse().expect("TAGGANT_CALIBRATION_KEYS is a number of keys"))
}

/// The epoch key of a secret of 32 such bytes.
pub(crate) fn fixed_key(byte: u8) -> EpochKey {
    Secret::from_bytes([byte; 32]).epoch_key(&"2026-q4".parse().unwrap())
}

/// One of many keys.
pub(crate) fn key(seed: u64) -> EpochKey {
    let mut bytes = [0; 32];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    Secret::from_bytes(bytes).epoch_key(&"2026-q4".parse().unwrap())
}

pub(crate) struct Chance(ChaCha8Rng);

impl Chance {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n as u64) as usize
    }

    pub(crate) fn with(&mut self, chance: f64) -> bool {
        (self.0.next_u32() as f64) < chance * 4_294_967_296.0
    }

    pub(crate) fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    pub(crate) fn sign(&mut self) -> f64 {
        if self.0.next_u32() & 1 == 1 { 1.0 } else { -1.0 }
    }

    /// Nearly normal: mean 0, variance 1.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.0.next_u32() as f64 / 4_294_967_296.0).sum::<f64>() - 6.0
    }

    /// How many of `n` trials succeed.
    pub(crate) fn hits(&mut self, n: u64, chance: f64) -> u64 {
        (0..n).filter(|_| self.with(chance)).count() as u64
    }
}

/// Rejections at each level, and the most that a valid test shows but once in a thousand times.
pub(crate) fn rejections(ln_p: &[f64]) -> [(u64, u64); 4] {
    LEVELS.map(|level| {
        let alpha = Rate::new(1, level).unwrap();
        let count = ln_p.iter().filter(|p| **p <= alpha.ln_p() + 1e-12).count() as u64;
        (count, binomial_upper_limit(ln_p.len() as u64, alpha, 0.999))
    })
}

/// Prints a row of a table: test, keys, rejections at 1e-1 … 1e-4 and their limits; whether no level is exceeded more often than a valid test does but once in a thousand times.
pub(crate) fn row(name: &str, ln_p: &[f64]) -> bool {
    let found = rejections(ln_p);
    let cells: Vec<String> = found.iter().map(|(count, limit)| format!("{count} (≤ {limit})")).collect();
    let fine = found.iter().all(|(count, limit)| count <= limit);
    let verdict = if fine { "keeps its level" } else { "CONVICTS" };
    println!("| {name} | {} | {} | {verdict} |", ln_p.len(), cells.join(" | "));
    fine
}
