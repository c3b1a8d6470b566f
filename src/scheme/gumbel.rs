//! `gumbel/1`: the Gumbel-max race (Aaronson 2022; Fernandez et al. 2023 for the exact Gamma tail).
//!
//! The embedder picks argmax ln(U_v)/p_v over the final distribution (after temperature, top-k and top-p), with
//! U = (word + ½)/2³²; over random keys the choice has law p exactly up to the words' 2⁻³² grain. A marked token has a
//! large word, so its score X = −ln((c+1)/2³²), c = 2³² − 1 − word, is large; under H0 X never exceeds Exp(1).

use std::fmt;
use std::str::FromStr;

use super::SpecError;
use crate::key::SchemeKey;
use crate::key::prf::{LaneBits, Seed, WindowPrf};
use crate::law::Origin;
use crate::token::{TokenId, Width};

/// How many unrelated keys share the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arms {
    /// The key of the label itself.
    One,
    /// The keys of `/arm/0` and `/arm/1`: more diverse answers; the verifier pools both arms' draws.
    Two,
}

/// Parameters of a Gumbel race. Two arms print as a trailing `+2`, which is no part of the label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parameters {
    /// Tokens in the window.
    pub width: Width,
    /// One key or two.
    pub arms: Arms,
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gumbel/1/w{}", self.width)
    }
}

impl FromStr for Parameters {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (label, arms) = text.strip_suffix("+2").map_or((text, Arms::One), |label| (label, Arms::Two));
        let width =
            label.strip_prefix("gumbel/1/").and_then(super::width).ok_or_else(|| SpecError::Parameter {
                spec: text.to_owned(),
                what: "expected gumbel/1/w<width>, width 0 to 16, with +2 for two arms".to_owned(),
            })?;
        Ok(Self { width, arms })
    }
}

/// A Gumbel race under one key.
#[derive(Debug)]
pub struct Gumbel {
    width: Width,
    prf: WindowPrf,
    origin: Origin,
}

impl Gumbel {
    pub(super) fn new(parameters: Parameters, key: &SchemeKey) -> Self {
        Self { width: parameters.width, prf: key.prf(), origin: Origin(key.commitment().0) }
    }

    /// Tokens in the window.
    pub fn width(&self) -> Width {
        self.width
    }

    /// Which key this race is run under.
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

    /// The token's word.
    pub fn word(&self, seed: &Seed, token: TokenId) -> u32 {
        seed.lane(LaneBits::WORD, token)
    }

    /// The token that wins the race over `probabilities` (by token id; need not sum to 1), or `None` where all
    /// are zero. Ties go to the lowest id.
    pub fn choose(&self, seed: &Seed, probabilities: &[f32]) -> Option<TokenId> {
        let mut stream = seed.keystream();
        let mut race = Race::default();
        for (token, p) in super::survivors(probabilities) {
            race.enter(token, p, stream.lane(LaneBits::WORD, token));
        }
        race.winner()
    }

    /// The same over a list of candidates, as engines that truncate keep them: each a token and its probability (they need
    /// not sum to 1), in any order, none twice.
    pub fn choose_among(&self, seed: &Seed, candidates: &[(TokenId, f32)]) -> Option<TokenId> {
        let mut race = Race::default();
        for ((token, p), word) in candidates.iter().zip(super::words(seed, candidates)) {
            race.enter(*token, *p, word);
        }
        race.winner()
    }
}

/// The least time so far, and whose it is.
#[derive(Default)]
struct Race(Option<(f64, TokenId)>);

impl Race {
    fn enter(&mut self, token: TokenId, p: f32, word: u32) {
        if p > 0.0 {
            let time = minus_ln_u(word) / f64::from(p);
            if self.0.is_none_or(|(least, first)| time < least || time == least && token < first) {
                self.0 = Some((time, token));
            }
        }
    }

    fn winner(self) -> Option<TokenId> {
        self.0.map(|(_, token)| token)
    }
}

/// −ln U, U = (word + ½)/2³², without the cancellation near U = 1 that lets a careless `f32` race pick junk.
///
/// Range: 1.2e-10 to 22.9, never 0 and never infinite.
pub fn minus_ln_u(word: u32) -> f64 {
    const SCALE: f64 = 1.0 / 4_294_967_296.0;
    let c = u32::MAX - word;
    if c < 1 << 31 {
        -libm::log1p(-(f64::from(c) + 0.5) * SCALE)
    } else {
        -libm::log((f64::from(word) + 0.5) * SCALE)
    }
}
