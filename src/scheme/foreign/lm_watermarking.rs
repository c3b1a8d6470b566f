//! The KGW marks of lm-watermarking (`extended_watermark_processor.py`), made on a CPU.
//!
//! H(x) = table[x mod 1,000,003] + 1 with one public table, products in wrapping 64 bits:
//!
//! | scheme | width | seed |
//! |---|---|---|
//! | `simple_1`, `lefthash` (additive) | 1 | key · Σ window |
//! | minfunc | h | key · min window |
//! | `skipgram` | 5 | H(key · oldest) |
//! | anchored_skipgram | h | H(key · oldest) · H(key · last) |
//! | `minhash` | 4 | min H(key · x) |
//! | `selfhash` (anchored_minhash, self-salted) | 4 | min key · H(x) · H(last) |
//!
//! With self-salt the window ends in the candidate itself. Min-hashes leave few distinct seeds: a minimum over a table of
//! a million entries.

use std::sync::OnceLock;

use serde::Deserialize;

use super::torch::{Lists, Table, reduced};
use super::{Invalid, Reach, Rng, Seeding};
use crate::token::TokenId;

/// Parameters, by the package's names. `seeding_scheme` is one of its names or `ff-<prf>-<width>-<True|False>`, whose key
/// goes into `hash_key`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, try_from = "Fields")]
pub(super) struct Kgw {
    prf: Prf,
    width: u8,
    self_salt: bool,
    key: i64,
    pub(super) lists: Lists,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    seeding_scheme: String,
    hash_key: i64,
    gamma: f64,
    select_green_tokens: bool,
    vocab_size: u32,
    #[serde(rename = "rng")]
    _rng: Rng,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prf {
    Additive,
    AnchoredMinhash,
    AnchoredSkipgram,
    Minfunc,
    Minhash,
    Skipgram,
}

impl TryFrom<Fields> for Kgw {
    type Error = Invalid;

    fn try_from(fields: Fields) -> Result<Self, Invalid> {
        let scheme = scheme(&fields.seeding_scheme).ok_or_else(|| {
            Invalid::new(
                "seeding_scheme",
                "must be simple_1, lefthash, selfhash, minhash, skipgram or ff-<prf>-<width>-<True|False> with one of \
                 additive_prf, minfunc_prf, skipgram_prf, anchored_skipgram_prf, minhash_prf and anchored_minhash_prf",
            )
        })?;
        let (prf, width, self_salt) = scheme;
        if fields.hash_key < 0 {
            return Err(Invalid::new("hash_key", "must not be negative"));
        }
        let gamma = ("gamma", fields.gamma);
        Ok(Self {
            prf,
            width: super::width("seeding_scheme", width, 1, 64)?,
            self_salt,
            key: fields.hash_key,
            lists: super::lists(fields.vocab_size, gamma, !fields.select_green_tokens)?,
        })
    }
}

/// (hash, width, whether the candidate is in it).
fn scheme(name: &str) -> Option<(Prf, u8, bool)> {
    Some(match name {
        "simple_1" | "lefthash" => (Prf::Additive, 1, false),
        "algorithm-3" | "selfhash" => (Prf::AnchoredMinhash, 4, true),
        "minhash" => (Prf::Minhash, 4, false),
        "skipgram" => (Prf::Skipgram, 5, false),
        _ => {
            let parts: Vec<&str> = name.split('-').collect();
            let ["ff", prf, width, self_salt] = parts[..] else { return None };
            let prf = match prf {
                "additive_prf" => Prf::Additive,
                "anchored_minhash_prf" => Prf::AnchoredMinhash,
                "anchored_skipgram_prf" => Prf::AnchoredSkipgram,
                "minfunc_prf" => Prf::Minfunc,
                "minhash_prf" => Prf::Minhash,
                "skipgram_prf" => Prf::Skipgram,
                _ => return None,
            };
            let self_salt =
                [("True", true), ("False", false)].into_iter().find(|(name, _)| *name == self_salt)?.1;
            (prf, width.parse().ok()?, self_salt)
        }
    })
}

/// The package's public table.
fn public_table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| Table::new(2_971_215_073))
}

impl Kgw {
    pub(super) fn is_default_key(&self) -> bool {
        self.key == i64::from(super::MILLIONTH_PRIME)
    }

    pub(super) fn reach(&self) -> Reach {
        Reach::conversation(usize::from(self.width) - usize::from(self.self_salt))
    }

    pub(super) fn seeding(&self) -> Seeding {
        let (prf, key, self_salt, table) = (self.prf, self.key, self.self_salt, public_table());
        Box::new(move |window, token| {
            let salt: &[TokenId] = if self_salt { &[token] } else { &[] };
            let window = || window.iter().chain(salt).copied();
            reduced(seed(prf, key, table, window))
        })
    }
}

/// The seed before it is reduced. Python's whole numbers do not wrap, torch's do.
fn seed<I>(prf: Prf, key: i64, table: &Table, window: impl Fn() -> I) -> i128
where
    I: Iterator<Item = TokenId> + DoubleEndedIterator,
{
    let big = i128::from(key);
    let keyed = |x: TokenId| table.hash(key.wrapping_mul(x.into()));
    let oldest = window().next().unwrap_or(0);
    let last = window().next_back().unwrap_or(0);
    match prf {
        Prf::Additive => big * window().map(i128::from).sum::<i128>(),
        Prf::Minfunc => big * window().map(i128::from).min().unwrap_or(0),
        Prf::Skipgram => keyed(oldest).into(),
        Prf::AnchoredSkipgram => keyed(oldest).wrapping_mul(keyed(last)).into(),
        Prf::Minhash => window().map(keyed).min().unwrap_or(0).into(),
        Prf::AnchoredMinhash => {
            let anchor = table.hash(last.into());
            let pair = |x: TokenId| key.wrapping_mul(table.hash(x.into())).wrapping_mul(anchor);
            window().map(pair).min().unwrap_or(0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_named_as_in_the_package() {
        assert_eq!(scheme("selfhash"), Some((Prf::AnchoredMinhash, 4, true)));
        assert_eq!(scheme("ff-skipgram_prf-3-False"), Some((Prf::Skipgram, 3, false)));
        for wrong in
            ["", "ff", "ff-noncomm_prf-3-False", "ff-skipgram_prf-3-false", "ff-skipgram_prf-3-False-15"]
        {
            assert_eq!(scheme(wrong), None, "{wrong}");
        }
    }
}
