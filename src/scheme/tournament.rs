//! `tournament/1`: m layers of two-way tournaments (SynthID-Text; Dathathri et al. 2024, "Scalable watermarking for
//! identifying large language model outputs", Nature 634).
//!
//! Layer ℓ gives each token one keyed fair bit g, bit ℓ of its word. Two tokens drawn from p play; the one with g = 1
//! wins, ties are tossed. The winner's law is p_v (1 + g_v − Σ p g), and the next layer's players come from it. Over
//! random keys the winner of every layer has law p again (each E g = ½), so the mark distorts nothing. A marked token has
//! more ones than ½ m; under H0 their number is Binomial(m, ½).

use std::fmt;
use std::str::FromStr;

use super::SpecError;
use crate::key::SchemeKey;
use crate::key::prf::{LaneBits, Seed, WindowPrf};
use crate::law::{Layers, Origin};
use crate::token::{TokenId, Width};

/// Parameters of a tournament.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parameters {
    /// Tokens in the window.
    pub width: Width,
    /// Layers.
    pub depth: Depth,
}

/// A number of layers, 1 to 32: each is a bit of the token's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Depth(Layers);

impl Depth {
    /// So many layers; none outside 1 to 32.
    pub fn new(layers: u8) -> Option<Self> {
        Layers::equal(layers).ok().map(Self)
    }

    /// The number of layers.
    pub fn get(self) -> u8 {
        self.0.weights().iter().sum()
    }

    /// What a draw counts: each layer 1.
    pub fn layers(self) -> Layers {
        self.0
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tournament/1/w{}/d{}", self.width, self.depth.get())
    }
}

impl FromStr for Parameters {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let wrong = |what: &str| SpecError::Parameter { spec: text.to_owned(), what: what.to_owned() };
        let parts: Vec<&str> = text.split('/').collect();
        let ["tournament", "1", width, depth] = parts[..] else {
            return Err(wrong("expected tournament/1/w<width>/d<depth>"));
        };
        let depth = super::green::number(depth, 'd').and_then(Depth::new);
        Ok(Self {
            width: super::width(width).ok_or_else(|| wrong("the width is w0 to w16"))?,
            depth: depth.ok_or_else(|| wrong("the depth is d1 to d32"))?,
        })
    }
}

/// A tournament under one key.
#[derive(Debug)]
pub struct Tournament {
    parameters: Parameters,
    prf: WindowPrf,
    origin: Origin,
}

impl Tournament {
    pub(super) fn new(parameters: Parameters, key: &SchemeKey) -> Self {
        Self { parameters, prf: key.prf(), origin: Origin(key.commitment().0) }
    }

    /// Tokens in the window.
    pub fn width(&self) -> Width {
        self.parameters.width
    }

    /// The number of layers.
    pub fn depth(&self) -> Depth {
        self.parameters.depth
    }

    /// Which key this tournament is played under.
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

    /// The token's word; its low bits are the layers'.
    pub fn word(&self, seed: &Seed, token: TokenId) -> u32 {
        seed.lane(LaneBits::WORD, token)
    }

    /// Replaces `probabilities` (by token id; the final distribution after truncation, need not sum to 1) by the law of
    /// the token that wins all layers. Only tokens with a positive probability are hashed. All zero stays all zero.
    pub fn reweigh(&self, seed: &Seed, probabilities: &mut [f32]) {
        let mut survivors: Vec<(TokenId, f32)> = super::survivors(probabilities).collect();
        self.reweigh_among(seed, &mut survivors);
        for (token, p) in survivors {
            probabilities[token as usize] = p;
        }
    }

    /// The same over a list of candidates, as engines that truncate keep them: each a token and its probability, in any
    /// order, none twice.
    pub fn reweigh_among(&self, seed: &Seed, candidates: &mut [(TokenId, f32)]) {
        let words = super::words(seed, candidates);
        let mut laws: Vec<f64> = candidates.iter().map(|(_, p)| f64::from(p.max(0.0))).collect();
        play(self.parameters.depth, &words, &mut laws);
        for ((_, p), law) in candidates.iter_mut().zip(laws) {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a probability, rounded to what the model works in"
            )]
            let law = law as f32;
            *p = law;
        }
    }
}

/// Plays `depth` layers over survivors with these words: p becomes the law of the last winner, and sums to 1.
///
/// With G = Σ p g and H = Σ p (1 − g), both added up and G + H = 1, a one's factor 2 − G is 1 + H and a zero's 1 − G is
/// H: nothing cancels, and a law that is all ones (H = 0) stays what it is. Where all p are 0 nothing happens.
pub fn play(depth: Depth, words: &[u32], p: &mut [f64]) {
    for layer in 0..depth.get() {
        let is_one = |word: &u32| word >> layer & 1 == 1;
        let (mut ones, mut zeros) = (0.0, 0.0);
        for (word, p) in words.iter().zip(&*p) {
            // Two selections are quicker than a branch that goes either way at random.
            ones += if is_one(word) { *p } else { 0.0 };
            zeros += if is_one(word) { 0.0 } else { *p };
        }
        let total = ones + zeros;
        if total <= 0.0 {
            return;
        }
        let zero = zeros / total;
        for (word, p) in words.iter().zip(&mut *p) {
            *p *= if is_one(word) { 1.0 + zero } else { zero } / total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certainty_stays_certain_and_nothing_stays_nothing() {
        let depth = Depth::new(32).unwrap();
        for word in [0, 1, u32::MAX, 0x5555_5555] {
            let mut p = [1.0];
            play(depth, &[word], &mut p);
            assert_eq!(p, [1.0], "{word:x}");
        }
        let mut none = [0.0, 0.0];
        play(depth, &[0, 1], &mut none);
        assert_eq!(none, [0.0, 0.0]);
        play(depth, &[], &mut []);
    }

    #[test]
    fn one_layer_moves_mass_from_zeros_to_ones() {
        let mut p = [1.0, 0.6, 0.4];
        play(Depth::new(1).unwrap(), &[0, 1, 0], &mut p);
        // G = 0.3 of p/2: p (1 + g − G).
        for (found, wanted) in p.iter().zip([0.5 * 0.7, 0.3 * 1.7, 0.2 * 0.7]) {
            assert!((found - wanted).abs() < 1e-15, "{p:?}");
        }
    }
}
