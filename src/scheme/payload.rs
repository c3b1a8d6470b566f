//! `payload/1`: every account has a green list of its own, so that a leaked text says whose it was.
//!
//! Account a's bit for token v is bit (a mod 512) of ChaCha20 block number v with stream id ⌊a/512⌋ under the window's
//! seed: fair, and independent over accounts, tokens and windows. The embedder raises the tokens of the account it
//! answers, among the survivors of truncation only. The verifier tests *each* account that there is, exactly, and
//! corrects for all of them; nothing is decoded.

use std::fmt;
use std::str::FromStr;

use super::SpecError;
use crate::key::SchemeKey;
use crate::key::prf::{Seed, WindowPrf};
use crate::law::{Gamma, Origin};
use crate::token::{TokenId, Width};

/// Parameters of account marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parameters {
    /// Tokens in the window.
    pub width: Width,
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "payload/1/w{}", self.width)
    }
}

impl FromStr for Parameters {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let width = text.strip_prefix("payload/1/").and_then(super::width);
        let width = width.ok_or_else(|| SpecError::Parameter {
            spec: text.to_owned(),
            what: "expected payload/1/w<width>, width 0 to 16".to_owned(),
        })?;
        Ok(Self { width })
    }
}

/// The chance of a bit.
pub(super) fn gamma() -> Gamma {
    #[expect(clippy::expect_used, reason = "one half is a probability")]
    Gamma::new(1, 1).expect("one half is a probability")
}

/// The bits of all accounts under one key.
#[derive(Clone, Debug)]
pub struct Accounts {
    width: Width,
    prf: WindowPrf,
    origin: Origin,
}

impl Accounts {
    pub(super) fn new(parameters: Parameters, key: &SchemeKey) -> Self {
        Self { width: parameters.width, prf: key.prf(), origin: Origin(key.commitment().0) }
    }

    /// The seed of a window, the same for all accounts.
    pub fn seed(&self, window: &[TokenId]) -> Seed {
        self.prf.seed(window)
    }

    /// Which key the bits are of.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The chance that an account's bit is 1.
    pub fn gamma(&self) -> Gamma {
        gamma()
    }

    pub(super) fn of(&self, account: u64) -> Payload {
        Payload { account, accounts: self.clone() }
    }
}

/// One account's bits.
#[derive(Debug)]
pub struct Payload {
    account: u64,
    accounts: Accounts,
}

impl Payload {
    /// The account.
    pub fn account(&self) -> u64 {
        self.account
    }

    /// Tokens in the window.
    pub fn width(&self) -> Width {
        self.accounts.width
    }

    /// Which key these bits are of: the same for every account.
    pub fn origin(&self) -> Origin {
        self.accounts.origin()
    }

    /// The seed of a window.
    pub fn seed(&self, window: &[TokenId]) -> Seed {
        self.accounts.seed(window)
    }

    /// The account's bit for `token`.
    pub fn bit(&self, seed: &Seed, token: TokenId) -> bool {
        seed.account_bit(self.account, token)
    }

    /// Raises the tokens whose bit is 1 by `delta` nats among the survivors: `probabilities` (by token id, zero where
    /// truncated) become p e^(δ·bit), scaled to sum to 1. Only survivors are hashed. All zero stays all zero.
    pub fn reweigh(&self, seed: &Seed, probabilities: &mut [f32], delta: f32) {
        let mut survivors: Vec<(TokenId, f32)> = super::survivors(probabilities).collect();
        self.reweigh_among(seed, &mut survivors, delta);
        for (token, p) in survivors {
            probabilities[token as usize] = p;
        }
    }

    /// The same over a list of candidates, as engines that truncate keep them: each a token and its probability, in any
    /// order, none twice.
    pub fn reweigh_among(&self, seed: &Seed, candidates: &mut [(TokenId, f32)], delta: f32) {
        let raise = delta.exp();
        let mut total = 0.0;
        for (token, p) in candidates.iter_mut().filter(|(_, p)| *p > 0.0) {
            if self.bit(seed, *token) {
                *p *= raise;
            }
            total += *p;
        }
        if total > 0.0 {
            candidates.iter_mut().for_each(|(_, p)| *p /= total);
        }
    }
}
