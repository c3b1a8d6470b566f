//! The KGW marks of `transformers` (`WatermarkingConfig`, 5.23), made on a CPU.
//!
//! Left-hash: the seed is key × last token, whatever `context_width` says. Self-hash: of the last `context_width` tokens,
//! the candidate among them, the least of key·a·b in wrapping 64 bits, a a token's table entry and b the candidate's.
//! Both are taken modulo 2⁶⁴ − 1, of which mt19937 keeps 32 bits. So many windows share a seed: with four distinct
//! tokens and width 4 at most ten pairs exist.

use serde::Deserialize;

use super::torch::{Lists, Table, reduced};
use super::{Invalid, Reach, Rng, Seeding};
use crate::token::TokenId;

/// Parameters, by the names of `WatermarkingConfig` (`bias` changes no list and is left out), and the *model's*
/// `vocab_size`, padding included.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, try_from = "Fields")]
pub(super) struct Kgw {
    scheme: Scheme,
    key: i64,
    width: u8,
    pub(super) lists: Lists,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    seeding_scheme: Scheme,
    hashing_key: i64,
    greenlist_ratio: f64,
    context_width: u8,
    vocab_size: u32,
    #[serde(rename = "rng")]
    _rng: Rng,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scheme {
    Lefthash,
    Selfhash,
}

impl TryFrom<Fields> for Kgw {
    type Error = Invalid;

    fn try_from(fields: Fields) -> Result<Self, Invalid> {
        if fields.hashing_key < 0 {
            return Err(Invalid::new("hashing_key", "must not be negative"));
        }
        Ok(Self {
            scheme: fields.seeding_scheme,
            key: fields.hashing_key,
            width: super::width("context_width", fields.context_width, 1, 64)?,
            lists: super::lists(fields.vocab_size, ("greenlist_ratio", fields.greenlist_ratio), false)?,
        })
    }
}

impl Kgw {
    pub(super) fn is_default_key(&self) -> bool {
        self.key == i64::from(super::MILLIONTH_PRIME)
    }

    /// Tokens before the one that is marked.
    pub(super) fn reach(&self) -> Reach {
        Reach::conversation(match self.scheme {
            Scheme::Lefthash => 1,
            Scheme::Selfhash => usize::from(self.width) - 1,
        })
    }

    pub(super) fn seeding(&self) -> Seeding {
        let key = self.key;
        match self.scheme {
            Scheme::Lefthash => Box::new(move |window, _| reduced(i128::from(key) * super::last(window, 0))),
            Scheme::Selfhash => {
                let table = Table::new(key.unsigned_abs());
                Box::new(move |window, token| selfhash(key, &table, window, token))
            }
        }
    }
}

/// The least of key·H(x)·H(token) over the window and the token itself, in wrapping 64 bits.
pub(super) fn selfhash(key: i64, table: &Table, window: &[TokenId], token: TokenId) -> u32 {
    let anchor = table.hash(token.into());
    let seed = |x: TokenId| key.wrapping_mul(table.hash(x.into())).wrapping_mul(anchor);
    let least = window.iter().map(|x| seed(*x)).fold(seed(token), i64::min);
    reduced(least.into())
}
