//! vLLM's Gumbel marks, `philox4x32-10-v1`, with one key or two (vLLM 0.30 to 0.32).
//!
//! The window is hashed by Philox4x32-10 (Salmon et al. 2011) into 128 bits of state, four tokens a block; a token's word
//! is one of four of the block that its id and the state select. The window holds tokens of the answer only, filled up
//! with −1 in front, so prompts play no part.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Input, Invalid, Once, Reach, Start};
use crate::token::TokenId;

/// Parameters, by the names of vLLM's `--watermark-config`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, try_from = "Fields")]
pub(super) struct Gumbel {
    keys: Vec<Key>,
    pub(super) default_key: bool,
    width: u8,
    once: Once,
    skip: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    algorithm: Algorithm,
    key: u64,
    #[serde(default)]
    alpha: Option<f64>,
    context_width: u8,
    deduplicate_contexts: Deduplicate,
    #[serde(deserialize_with = "super::nullable")]
    deduplicate_contexts_max_history: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Algorithm {
    Gumbel,
    DualKeyGumbel,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Deduplicate {
    None,
    SingleTurn,
    All,
}

/// The key of vLLM's documentation.
const DOCUMENTED: u64 = 42;

impl TryFrom<Fields> for Gumbel {
    type Error = Invalid;

    fn try_from(fields: Fields) -> Result<Self, Invalid> {
        let width = super::width("context_width", fields.context_width, 1, 64)?;
        let keys = match (fields.algorithm, fields.alpha) {
            (Algorithm::Gumbel, None) => vec![Key::new(fields.key)],
            (Algorithm::Gumbel, Some(_)) => {
                return Err(Invalid::new("alpha", "belongs to \"dual_key_gumbel\"; leave it out"));
            }
            (Algorithm::DualKeyGumbel, alpha) => {
                let alpha = alpha.filter(|alpha| (0.0..=1.0).contains(alpha));
                let alpha = alpha.ok_or_else(|| Invalid::new("alpha", "must be 0 to 1: key B's share"))?;
                counting(alpha, fields.key)
            }
        };
        let history = fields.deduplicate_contexts_max_history;
        let (once, skip) = match fields.deduplicate_contexts {
            Deduplicate::None => (Once::Never, 0),
            Deduplicate::SingleTurn => (Once::Within(history), 0),
            Deduplicate::All => (Once::Within(history), usize::from(width)),
        };
        Ok(Self { keys, default_key: fields.key == DOCUMENTED, width, once, skip })
    }
}

/// The keys whose draws are counted, a choice by the share α of key B alone: with k keys pooled z is
/// (their shares' sum)/√k of what it would be if every position had one known key, so both are counted where neither has
/// more than 1/√2 of the positions, else the larger one.
fn counting(alpha: f64, key: u64) -> Vec<Key> {
    let [a, b] = ["key_a", "key_b"].map(|domain| Key::new(derived(key, domain)));
    if alpha > std::f64::consts::FRAC_1_SQRT_2 {
        vec![b]
    } else if alpha < 1.0 - std::f64::consts::FRAC_1_SQRT_2 {
        vec![a]
    } else {
        vec![a, b]
    }
}

/// The first eight bytes of SHA-256(domain ‖ key), big-endian.
fn derived(key: u64, domain: &str) -> u64 {
    let digest: [u8; 32] =
        Sha256::new().chain_update(domain).chain_update(key.to_be_bytes()).finalize().into();
    digest[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Gumbel {
    pub(super) fn reach(&self) -> Reach {
        Reach {
            width: usize::from(self.width),
            start: Start::Answer { pad: u32::MAX },
            partial: false,
            once: self.once,
            skip: self.skip,
            most: None,
        }
    }

    /// The draws of a position: one for each key.
    pub(super) fn inputs(&self, window: &[TokenId], token: TokenId) -> Vec<Input> {
        let of = |(number, key): (u8, &Key)| Input { key: number, state: key.state(window), token };
        (0..).zip(&self.keys).map(of).collect()
    }

    pub(super) fn word(&self, input: &Input) -> u32 {
        self.keys.get(usize::from(input.key)).map_or(0, |key| key.word(input.state, input.token))
    }
}

#[derive(Clone, Copy)]
struct Key([u32; 2]);

impl Key {
    fn new(key: u64) -> Self {
        Self(halves(key))
    }

    /// The state that a window leaves, low word first. For up to four tokens no two windows share one.
    fn state(self, window: &[TokenId]) -> u128 {
        let length = u32::try_from(window.len()).unwrap_or(u32::MAX);
        let mut state = [CONTEXT, length, 0, 0];
        for (block, offset) in window.chunks(4).zip((0_u32..).step_by(4)) {
            for (at, missing) in (0..4).zip(0_u32..) {
                state[at] ^= block.get(at).copied().unwrap_or(u32::MAX - missing);
            }
            state = philox(state, [self.0[0] ^ offset, self.0[1]]);
        }
        state.iter().rev().fold(0, |packed, word| packed << 32 | u128::from(*word))
    }

    fn word(self, state: u128, token: TokenId) -> u32 {
        let [s0, s1, s2, s3] = words(state);
        let block = philox([token >> 2, s0, s1, s2], [self.0[0] ^ s3, self.0[1] ^ TOKEN]);
        block[(token & 3) as usize]
    }
}

const CONTEXT: u32 = 0x574d_4358;
const TOKEN: u32 = 0x574d_544b;

/// Philox4x32 with ten rounds: (counter, key) to a block.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let [low0, high0] = halves(u64::from(counter[0]) * 0xd251_1f53);
        let [low1, high1] = halves(u64::from(counter[2]) * 0xcd9e_8d57);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

/// [low, high].
fn halves(number: u64) -> [u32; 2] {
    [super::torch::low(number), super::torch::low(number >> 32)]
}

fn words(state: u128) -> [u32; 4] {
    let bytes = state.to_le_bytes();
    std::array::from_fn(|at| {
        bytes[4 * at..4 * at + 4].iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_answers_of_random123() {
        // kat_vectors of Random123 1.14: philox4x32 10.
        let ones = [u32::MAX; 4];
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox(ones, [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn the_lighter_key_is_left_out_where_it_would_only_add_noise() {
        let keys = |alpha| counting(alpha, 7).len();
        assert_eq!([0.0, 0.1, 0.29, 0.3, 0.5, 0.7, 0.71, 1.0].map(keys), [1, 1, 1, 2, 2, 2, 1, 1]);
        let key_b = Key::new(derived(7, "key_b")).0;
        assert_eq!((counting(0.9, 7)[0].0, counting(0.5, 7)[1].0), (key_b, key_b));
    }
}
