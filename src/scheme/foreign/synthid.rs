//! SynthID-Text as `transformers` has it (also `synthid-text` 0.2.1 on PyPI), and as Google's repository has it.
//!
//! Both hash an n-gram by the linear congruential step h ← (h + x)·A + 1 in 64 bits, token after token, and then each
//! layer's key onto that hash. Windows hold tokens of the answer only, filled up with zeros in front; a window that
//! occurred within the history leaves its token unmarked.
//!
//! **`transformers`** starts from 1 and looks the low 16 bits up in a table of 65,536 public bits. So only
//! *r*, the low bits of the n-gram's hash, and the low bits of the keys matter: layer d of an n-gram is bit
//! (r + k_d)·A + 1 of the table. r is no function of any key. The marks are one public table, read from one
//! keyed offset a layer: `law::Offsets` has its exact law.
//!
//! **Google's repository** starts from a hash of all keys and stirs the layer's hash twelve times before it takes one bit.
//! A draw is one layer's hash before stirring, h + k_d.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::torch::{Generator, low};
use super::{Input, Invalid, Once, Reach, Rng, Start};
use crate::token::TokenId;

const A: u64 = 6_364_136_223_846_793_005;

/// Entries of the largest table, and of the only one in use.
const TABLE: u32 = 1 << 16;

/// The keys of both packages' documentation, of which shorter lists take the first ones.
const DOCUMENTED: [i64; 30] = [
    654, 400, 836, 123, 340, 443, 597, 160, 57, 29, 590, 639, 13, 715, 468, 990, 966, 226, 324, 585, 118,
    504, 421, 521, 129, 669, 732, 225, 90, 960,
];

/// What both share.
#[derive(Clone)]
struct Layers {
    keys: Vec<i64>,
    ngram: u8,
    history: u32,
    skip: bool,
}

impl Layers {
    fn new(keys: Vec<i64>, ngram: u8, history: u32, skip: bool) -> Result<Self, Invalid> {
        if keys.is_empty() || keys.len() > 64 {
            return Err(Invalid::new("keys", "must be 1 to 64 whole numbers, one a layer"));
        }
        Ok(Self { keys, ngram: super::width("ngram_len", ngram, 2, 17)?, history, skip })
    }

    fn reach(&self) -> Reach {
        let width = usize::from(self.ngram) - 1;
        Reach {
            width,
            start: Start::Answer { pad: 0 },
            partial: false,
            once: Once::Within(Some(self.history)),
            skip: if self.skip { width } else { 0 },
            most: None,
        }
    }

    fn is_default_key(&self) -> bool {
        DOCUMENTED.starts_with(&self.keys)
    }
}

/// h after `tokens`, from `start`.
fn hash(start: u64, tokens: impl Iterator<Item = TokenId>) -> u64 {
    tokens.fold(start, |hash, token| step(hash.wrapping_add(token.into())))
}

fn step(hash: u64) -> u64 {
    hash.wrapping_mul(A).wrapping_add(1)
}

/// Parameters of `SynthIDTextWatermarkingConfig`, made on a CPU.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, try_from = "TableFields")]
pub(super) struct HuggingFace {
    layers: Layers,
    size: u32,
    seed: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFields {
    keys: Vec<i64>,
    ngram_len: u8,
    context_history_size: u32,
    sampling_table_size: u32,
    sampling_table_seed: u64,
    skip_first_ngram_calls: bool,
    #[serde(rename = "rng")]
    _rng: Rng,
}

impl TryFrom<TableFields> for HuggingFace {
    type Error = Invalid;

    fn try_from(fields: TableFields) -> Result<Self, Invalid> {
        let size = fields.sampling_table_size;
        // Another modulus mixes in the high bits, and the law of offsets would be another one.
        if !size.is_power_of_two() || !(2..=TABLE).contains(&size) {
            return Err(Invalid::new(
                "sampling_table_size",
                "must be a power of two up to 65536; others cannot be read",
            ));
        }
        let layers = Layers::new(
            fields.keys,
            fields.ngram_len,
            fields.context_history_size,
            fields.skip_first_ngram_calls,
        )?;
        Ok(Self { layers, size, seed: fields.sampling_table_seed })
    }
}

impl HuggingFace {
    pub(super) fn is_default_key(&self) -> bool {
        self.layers.is_default_key()
    }

    pub(super) fn reach(&self) -> Reach {
        self.layers.reach()
    }

    /// An offset a layer.
    pub(super) fn key_bits(&self) -> u32 {
        self.layers.keys.iter().map(|_| self.size.trailing_zeros()).sum::<u32>().min(128)
    }

    /// r of an n-gram: no key is in it.
    pub(super) fn residue(&self, window: &[TokenId], token: TokenId) -> u32 {
        low(hash(1, window.iter().copied().chain([token]))) % self.size
    }

    /// The public bits by r + k: bit (r + k)·A + 1 of the table as the engine stores it.
    pub(super) fn bits(&self) -> Vec<bool> {
        let mut generator = Generator::new(low(self.seed));
        let table: Vec<bool> = (0..self.size).map(|_| generator.word() % 2 == 1).collect();
        let bit = |x: u32| table[(low(step(x.into())) % self.size) as usize];
        (0..self.size).map(bit).collect()
    }

    /// Each layer's offset: its key, as far as it matters.
    pub(super) fn offsets(&self) -> Vec<u32> {
        let offset = |key: &i64| u32::try_from(key.rem_euclid(self.size.into())).unwrap_or(0);
        self.layers.keys.iter().map(offset).collect()
    }
}

/// Parameters of Google's `SynthIDLogitsProcessor`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, try_from = "GoogleFields")]
pub(super) struct Google {
    layers: Layers,
    start: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GoogleFields {
    keys: Vec<i64>,
    ngram_len: u8,
    context_history_size: u32,
    skip_first_ngram_calls: bool,
}

impl TryFrom<GoogleFields> for Google {
    type Error = Invalid;

    fn try_from(fields: GoogleFields) -> Result<Self, Invalid> {
        let start = start(&fields.keys);
        let layers = Layers::new(
            fields.keys,
            fields.ngram_len,
            fields.context_history_size,
            fields.skip_first_ngram_calls,
        )?;
        Ok(Self { layers, start })
    }
}

/// SHA-256 of the keys (i64, little-endian), as a big-endian number modulo 2⁶³ − 1.
fn start(keys: &[i64]) -> u64 {
    const MODULUS: u128 = (1 << 63) - 1;
    let digest = keys.iter().fold(Sha256::new(), |hash, key| hash.chain_update(key.to_le_bytes())).finalize();
    let number = digest.iter().fold(0, |number: u128, byte| (number << 8 | u128::from(*byte)) % MODULUS);
    u64::try_from(number).unwrap_or(0)
}

impl Google {
    pub(super) fn is_default_key(&self) -> bool {
        self.layers.is_default_key()
    }

    pub(super) fn reach(&self) -> Reach {
        self.layers.reach()
    }

    /// 64 bits a layer.
    pub(super) fn key_bits(&self) -> u32 {
        if self.layers.keys.len() > 1 { 128 } else { 64 }
    }

    /// The draws of a position: one for each layer.
    pub(super) fn inputs(&self, window: &[TokenId], token: TokenId) -> Vec<Input> {
        let hash = hash(self.start, window.iter().copied().chain([token]));
        let of = |key: &i64| Input { key: 0, state: hash.wrapping_add_signed(*key).into(), token: 0 };
        self.layers.keys.iter().map(of).collect()
    }

    /// The bit of a draw.
    pub(super) fn word(input: &Input) -> u32 {
        let mut hash = step(u64::try_from(input.state).unwrap_or(0)).cast_signed();
        for _ in 0..12 {
            hash = step(hash.cast_unsigned().wrapping_add(1)).cast_signed() >> 5;
        }
        u32::from((hash >> 30).rem_euclid(2) == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_seed_0_is_torchs() {
        let mut generator = Generator::new(0);
        let bits: Vec<u8> = (0..TABLE).map(|_| generator.word().to_le_bytes()[0] & 1).collect();
        assert_eq!(bits.iter().filter(|bit| **bit == 1).count(), 32_743);
        let packed: Vec<u8> =
            bits.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | bit)).collect();
        let digest = hex::encode(Sha256::digest(packed));
        assert_eq!(digest, "4b2efa3fbbaa5f77facce45f2c2af38ba36436b2b2b81f950005fa8af266fd3c");
    }

    /// The fact that the law of offsets rests on.
    #[test]
    fn a_layer_is_a_bit_at_residue_plus_offset() {
        let json = r#"{"keys":[-3,70000,654],"ngram_len":3,"context_history_size":9,"sampling_table_size":65536,
                       "sampling_table_seed":0,"skip_first_ngram_calls":false,"rng":"torch-cpu"}"#;
        let mark: HuggingFace = serde_json::from_str(json).unwrap();
        let mut generator = Generator::new(0);
        let table: Vec<bool> = (0..TABLE).map(|_| generator.word() % 2 == 1).collect();
        let (bits, offsets) = (mark.bits(), mark.offsets());
        for (window, token) in [([7, 9], 11), ([0, 0], 128_000), ([50_000, 3], 0)] {
            let whole = hash(1, window.into_iter().chain([token]));
            for (key, offset) in [-3, 70_000, 654].into_iter().zip(&offsets) {
                let index = step(whole.wrapping_add_signed(key)) % u64::from(TABLE);
                let at = (mark.residue(&window, token) + offset) % TABLE;
                assert_eq!(bits[at as usize], table[usize::try_from(index).unwrap()]);
            }
        }
    }
}
