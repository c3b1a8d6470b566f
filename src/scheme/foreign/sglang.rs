//! SGLang's Gumbel marks by MurmurHash3 (SGLang 0.5.23), with one key or two.
//!
//! All words are MurmurHash3 x86 32 (Appleby 2011, seed 0) of u32 words: of the window's tokens, without a key; then of
//! (key low, key high, that hash, token). With two keys a hash of (both keys, that hash) says which of them marks a
//! window. The window reaches back into the prompt and may be short of tokens, but never of all.
//!
//! A key has 64 bits and leaves 32: what the body of MurmurHash3 made of it. That state, mixed with window and token, is
//! the collapsed input; its finaliser is a fixed permutation.

use serde::Deserialize;

use super::{Input, Invalid, Once, Reach, Start};
use crate::token::TokenId;

/// Parameters, by the names of SGLang's `--watermark-config`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, try_from = "Fields")]
pub(super) struct Gumbel {
    a: Key,
    b: Option<Second>,
    pub(super) default_key: bool,
    width: u8,
}

#[derive(Clone, Copy)]
struct Second {
    key: Key,
    /// Of 2³² windows, how many key A marks.
    threshold: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    key: String,
    #[serde(default)]
    key_b: Option<String>,
    #[serde(default)]
    mixing_probability: Option<f64>,
    context_window: u8,
}

/// The key of SGLang's documentation.
const DOCUMENTED: Key = Key([0x89ab_cdef, 0x0123_4567]);

impl TryFrom<Fields> for Gumbel {
    type Error = Invalid;

    fn try_from(fields: Fields) -> Result<Self, Invalid> {
        let key = |field, digits: &str| {
            Key::parse(digits)
                .ok_or_else(|| Invalid::new(field, "must be 1 to 16 hexadecimal digits, as text"))
        };
        let a = key("key", &fields.key)?;
        let b = match (fields.key_b, fields.mixing_probability) {
            (None, None) => None,
            (None, Some(_)) => {
                return Err(Invalid::new("mixing_probability", "belongs to \"key_b\"; leave it out"));
            }
            (Some(digits), share) => {
                let share = share.filter(|share| *share > 0.0 && *share < 1.0);
                let what = "must be given beside \"key_b\", strictly between 0 and 1";
                let share = share.ok_or_else(|| Invalid::new("mixing_probability", what))?;
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^32")]
                let threshold = (share * 4_294_967_296.0) as u64;
                Some(Second { key: key("key_b", &digits)?, threshold })
            }
        };
        let default_key = a == DOCUMENTED || b.is_some_and(|b| b.key == DOCUMENTED);
        Ok(Self { a, b, default_key, width: super::width("context_window", fields.context_window, 1, 64)? })
    }
}

impl Gumbel {
    pub(super) fn reach(&self) -> Reach {
        Reach {
            width: usize::from(self.width),
            start: Start::Conversation,
            partial: true,
            once: Once::Within(None),
            skip: 0,
            most: Some(4_096),
        }
    }

    /// Each key leaves 32 bits.
    pub(super) fn key_bits(&self) -> u32 {
        if self.b.is_some() { 64 } else { 32 }
    }

    /// The draw of a position, under the key that its window selects.
    pub(super) fn inputs(&self, window: &[TokenId], token: TokenId) -> Vec<Input> {
        let context = finished(body(0, window), window.len());
        let key = match self.b {
            Some(b) if u64::from(coin(self.a, b.key, context)) >= b.threshold => b.key,
            _ => self.a,
        };
        let state = body(body(0, &key.0), &[context, token]);
        vec![Input { key: 0, state: u128::from(state), token: 0 }]
    }

    pub(super) fn word(&self, input: &Input) -> u32 {
        finished(u32::try_from(input.state).unwrap_or(0), 4)
    }
}

/// [low, high].
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key([u32; 2]);

impl Key {
    /// 1 to 16 hexadecimal digits, perhaps behind `0x`.
    fn parse(digits: &str) -> Option<Self> {
        let digits = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")).unwrap_or(digits);
        let fits = (1..=16).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let key = u64::from_str_radix(digits, 16).ok().filter(|_| fits)?;
        Some(Self([super::torch::low(key), super::torch::low(key >> 32)]))
    }
}

/// What says which of two keys marks a window.
fn coin(a: Key, b: Key, context: u32) -> u32 {
    finished(body(body(body(0, &a.0), &b.0), &[context]), 5)
}

/// The body of MurmurHash3 x86 32 over whole words.
fn body(state: u32, words: &[u32]) -> u32 {
    words.iter().fold(state, |state, word| {
        let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        (state ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
    })
}

/// Its end, after so many words.
fn finished(state: u32, words: usize) -> u32 {
    let mut state = state ^ u32::try_from(4 * words).unwrap_or(u32::MAX);
    state = (state ^ state >> 16).wrapping_mul(0x85eb_ca6b);
    state = (state ^ state >> 13).wrapping_mul(0xc2b2_ae35);
    state ^ state >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_murmur3() {
        // "test" as one word, and nothing at all, both under seed 0: published values of MurmurHash3_x86_32.
        assert_eq!(finished(body(0, &[u32::from_le_bytes(*b"test")]), 1), 0xba6b_d213);
        assert_eq!(finished(body(0, &[]), 0), 0);
    }

    #[test]
    fn keys_are_hexadecimal() {
        assert!(Key::parse("0x0123456789abcdef").unwrap() == DOCUMENTED);
        assert!(Key::parse("f").unwrap() == Key([15, 0]));
        for wrong in ["", "0x", "+1", "12345678901234567", "g"] {
            assert!(Key::parse(wrong).is_none(), "{wrong}");
        }
    }
}
