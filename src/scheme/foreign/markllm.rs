//! The KGW marks of MarkLLM (`markllm` 0.1.5), made on a CPU.
//!
//! prf is a permutation of the vocabulary seeded by the key; f is one entry of it, by the last `prefix_length` tokens.
//! Left: seed = (key · f) mod V. Self: seed = (f · prf\[candidate\]) mod V, the key outside. Either way there are at most
//! V seeds.

use serde::Deserialize;

use super::torch::{Lists, low, permutation};
use super::{Invalid, Reach, Rng, Seeding};
use crate::token::TokenId;

/// Parameters, by the names of `config/KGW.json`, and the `vocab_size` of `TransformersConfig`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, try_from = "Fields")]
pub(super) struct Kgw {
    key: i64,
    prefix: u8,
    f: F,
    window: Window,
    pub(super) lists: Lists,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    hash_key: i64,
    gamma: f64,
    prefix_length: u8,
    f_scheme: F,
    window_scheme: Window,
    vocab_size: u32,
    #[serde(rename = "rng")]
    _rng: Rng,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum F {
    Additive,
    Min,
    Skip,
    Time,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Window {
    Left,
    #[serde(rename = "self")]
    Itself,
}

impl TryFrom<Fields> for Kgw {
    type Error = Invalid;

    fn try_from(fields: Fields) -> Result<Self, Invalid> {
        if fields.hash_key < 0 {
            return Err(Invalid::new("hash_key", "must not be negative"));
        }
        Ok(Self {
            key: fields.hash_key,
            prefix: super::width("prefix_length", fields.prefix_length, 1, 64)?,
            f: fields.f_scheme,
            window: fields.window_scheme,
            lists: super::lists(fields.vocab_size, ("gamma", fields.gamma), false)?,
        })
    }
}

impl Kgw {
    pub(super) fn is_default_key(&self) -> bool {
        self.key == i64::from(super::MILLIONTH_PRIME)
    }

    pub(super) fn reach(&self) -> Reach {
        Reach::conversation(usize::from(self.prefix))
    }

    pub(super) fn seeding(&self) -> Seeding {
        let (key, f, scheme) = (self.key, self.f, self.window);
        let size = self.lists.vocabulary();
        let prf = permutation(size, low(key.unsigned_abs()));
        let entry = move |x: u64| {
            let at = usize::try_from(x % u64::from(size)).ok();
            i64::from(at.and_then(|at| prf.get(at)).copied().unwrap_or(0))
        };
        Box::new(move |window, token| {
            let f = match f {
                F::Additive => entry(window.iter().map(|x| u64::from(*x)).sum()),
                F::Min => window.iter().map(|x| entry((*x).into())).min().unwrap_or(0),
                F::Skip => entry(window.first().copied().unwrap_or(0).into()),
                F::Time => entry(product(window, size)),
            };
            let seed = match scheme {
                Window::Left => key.wrapping_mul(f),
                Window::Itself => f.wrapping_mul(entry(token.into())),
            };
            u32::try_from(seed.rem_euclid(size.into())).unwrap_or(0)
        })
    }
}

/// Π x mod `size`.
fn product(window: &[TokenId], size: u32) -> u64 {
    window.iter().fold(1, |product, x| product * (u64::from(*x) % u64::from(size)) % u64::from(size))
}
