//! `green/1`: a keyed green list per window (Kirchenbauer et al. 2023, "A watermark for large language models").
//!
//! Token `v` is green where its lane is below the threshold: independently over windows and tokens, with
//! probability threshold / 2^bits exactly. The embedder adds δ to the logits of green tokens.

use std::fmt;
use std::str::FromStr;

use self::row::Row;
use super::SpecError;
use crate::key::SchemeKey;
use crate::key::prf::{self, LaneBits, Lanes, Seed, WindowPrf};
use crate::law::{Gamma, Origin};
use crate::token::{TokenId, Width};

mod row;

/// Parameters of a green list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parameters {
    /// Tokens in the window.
    pub width: Width,
    /// The share of green tokens.
    pub gamma: Gamma,
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "green/1/w{}/b{}/t{}", self.width, self.gamma.bits(), self.gamma.threshold())
    }
}

impl FromStr for Parameters {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let wrong = |what: &str| SpecError::Parameter { spec: text.to_owned(), what: what.to_owned() };
        let parts: Vec<&str> = text.split('/').collect();
        let ["green", "1", width, bits, threshold] = parts[..] else {
            return Err(wrong("expected green/1/w<width>/b<bits>/t<threshold>"));
        };
        let bits: u8 = number(bits, 'b').ok_or_else(|| wrong("bits are b1, b2, b4, b8, b16 or b32"))?;
        LaneBits::new(bits).map_err(|error| wrong(&error.to_string()))?;
        let threshold = number(threshold, 't').ok_or_else(|| wrong("the threshold is t<number>"))?;
        Ok(Self {
            width: super::width(width).ok_or_else(|| wrong("the width is w0 to w16"))?,
            gamma: Gamma::new(threshold, bits).map_err(|error| wrong(&error.to_string()))?,
        })
    }
}

pub(super) fn number<T: FromStr>(part: &str, prefix: char) -> Option<T> {
    part.strip_prefix(prefix)?.parse().ok()
}

/// A green list under one key.
#[derive(Debug)]
pub struct Green {
    parameters: Parameters,
    bits: LaneBits,
    threshold: u32,
    prf: WindowPrf,
    origin: Origin,
}

impl Green {
    pub(super) fn new(parameters: Parameters, key: &SchemeKey) -> Self {
        #[expect(clippy::expect_used, reason = "a parsed spec has lanes that divide a word")]
        let bits =
            LaneBits::new(parameters.gamma.bits()).expect("a parsed spec has lanes that divide a word");
        Self {
            parameters,
            bits,
            threshold: parameters.gamma.threshold(),
            prf: key.prf(),
            origin: Origin(key.commitment().0),
        }
    }

    /// Tokens in the window.
    pub fn width(&self) -> Width {
        self.parameters.width
    }

    /// The share of green tokens.
    pub fn gamma(&self) -> Gamma {
        self.parameters.gamma
    }

    /// Which key this list is of.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The seed of a window.
    pub fn seed(&self, window: &[TokenId]) -> Seed {
        self.prf.seed(window)
    }

    /// The seeds of windows of its width, added to `seeds` in their order.
    pub fn seeds(&self, windows: &[&[TokenId]], seeds: &mut Vec<Seed>) {
        self.prf.seeds(windows, seeds);
    }

    /// Whether `token` is green at the window of `seed`.
    pub fn is_green(&self, seed: &Seed, token: TokenId) -> bool {
        seed.lane(self.bits, token) < self.threshold
    }

    /// The same of `coins`, each the number of a seed in `seeds` and a token, shown in their order.
    pub(super) fn visit(&self, seeds: &[Seed], coins: &[(u32, TokenId)], mut see: impl FnMut(bool)) {
        prf::visit_lanes(self.bits, seeds, coins, |lane| see(lane < self.threshold));
    }

    /// The same from the lanes of a window.
    pub fn is_green_in(&self, lanes: &mut Lanes, token: TokenId) -> bool {
        lanes.get(self.bits, token) < self.threshold
    }

    /// 1 for each green token of `0..row.len()`, 0 for the others.
    pub fn row(&self, seed: &Seed, row: &mut [u32]) {
        self.at(seed).change(row, |word, green| *word = u32::from(green));
    }

    /// Adds `delta` to the logits of green tokens, in place and without allocation.
    pub fn bias(&self, seed: &Seed, logits: &mut [f32], delta: f32) {
        // (Moved: a δ that is borrowed would be looked up for every lane.)
        self.at(seed).change(logits, move |logit, green| *logit += if green { delta } else { 0.0 });
    }

    /// The sum of the coefficients (at most 127 either way) of green tokens, by token id from 0.
    pub fn sum(&self, seed: &Seed, coefficients: &[i32]) -> i64 {
        self.at(seed).sum(coefficients)
    }

    fn at<'a>(&self, seed: &'a Seed) -> Row<'a> {
        Row { seed, bits: self.bits, threshold: self.threshold }
    }
}
