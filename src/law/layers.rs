//! Draws of several fair bits: what a tournament's layers count.

use serde::{Deserialize, Serialize};

/// What each bit of a word counts: X = Σ weight · bit over the layers, bit ℓ of the word belonging to layer ℓ.
///
/// Under H0 the bits are fair and independent, so with equal weights X ~ Binomial(m, ½), and n such draws with one
/// coefficient are a Binomial(m·n, ½). Weights are planned: chosen after a look at the bits they void the law.
///
/// Four bits a weight, layer 0 lowest: every draw holds its law, and millions are held at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Layers([u32; 4]);

impl Layers {
    /// A word has as many bits.
    pub const MAX: usize = 32;
    /// The largest weight.
    pub const HEAVIEST: u8 = 15;

    /// Each of the low `depth` bits counts 1.
    ///
    /// # Errors
    /// No layer, or more than 32.
    pub fn equal(depth: u8) -> Result<Self, LayersError> {
        Self::weighted(&vec![1; usize::from(depth)])
    }

    /// Bit ℓ counts `weights[ℓ]`, 0 to 15.
    ///
    /// # Errors
    /// No layer or more than 32, a weight above 15, or none above 0.
    pub fn weighted(weights: &[u8]) -> Result<Self, LayersError> {
        let fit = weights.len() <= Self::MAX && weights.iter().all(|weight| *weight <= Self::HEAVIEST);
        if !fit || weights.iter().all(|weight| *weight == 0) {
            return Err(LayersError { weights: weights.to_vec() });
        }
        let mut packed = [0; 4];
        for (layer, weight) in weights.iter().enumerate() {
            packed[layer / 8] |= u32::from(*weight) << (layer % 8 * 4);
        }
        Ok(Self(packed))
    }

    /// The weight of every layer, layer 0 first; 0 beyond the last one that counts.
    pub fn weights(&self) -> [u8; Self::MAX] {
        std::array::from_fn(|layer| (self.0[layer / 8] >> (layer % 8 * 4)).to_le_bytes()[0] & Self::HEAVIEST)
    }

    /// X for a word: 0 to Σ weights.
    pub fn sum(&self, word: u32) -> u32 {
        let bits = (0..).zip(self.weights());
        bits.map(|(layer, weight)| (word >> layer & 1) * u32::from(weight)).sum()
    }

    /// Each weight above 0 and how many layers have it, smallest first: X is a sum of so many fair coins.
    pub fn coins(&self) -> Vec<(u8, u8)> {
        let weights = self.weights();
        let layers = |wanted: u8| weights.iter().fold(0, |count, weight| count + u8::from(*weight == wanted));
        let all = (1..=Self::HEAVIEST).map(|weight| (weight, layers(weight)));
        all.filter(|(_, layers)| *layers > 0).collect()
    }

    /// E X = ½ Σ w.
    pub(super) fn mean(&self) -> f64 {
        0.5 * self.weights().iter().map(|weight| f64::from(*weight)).sum::<f64>()
    }

    /// Var X = ¼ Σ w².
    pub(super) fn variance(&self) -> f64 {
        0.25 * self.weights().iter().map(|weight| f64::from(*weight) * f64::from(*weight)).sum::<f64>()
    }
}

impl TryFrom<Vec<u8>> for Layers {
    type Error = LayersError;

    fn try_from(weights: Vec<u8>) -> Result<Self, LayersError> {
        Self::weighted(&weights)
    }
}

impl From<Layers> for Vec<u8> {
    fn from(layers: Layers) -> Self {
        let weights = layers.weights();
        let last = weights.iter().rposition(|weight| *weight > 0).unwrap_or(0);
        weights[..=last].to_vec()
    }
}

/// Weights that are no law of layers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("layers are 1 to 32 weights of 0 to 15, one of them above 0, not {weights:?}")]
pub struct LayersError {
    weights: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_above_the_depth_do_not_count() {
        let four = Layers::equal(4).unwrap();
        assert_eq!([0, 0b1011, 0xffff_fff0, u32::MAX].map(|word| four.sum(word)), [0, 3, 0, 4]);
        assert_eq!(Layers::equal(32).unwrap().sum(u32::MAX), 32);
        let weighted = Layers::weighted(&[10, 0, 3]).unwrap();
        assert_eq!([1, 2, 4, 7].map(|word| weighted.sum(word)), [10, 0, 3, 13]);
        assert_eq!(weighted.coins(), [(3, 1), (10, 1)]);
        assert_eq!(four.coins(), [(1, 4)]);
        let all: Vec<u8> = (0..32).map(|layer| layer % 16).collect();
        assert_eq!(Layers::weighted(&all).unwrap().weights()[..], all);
        assert_eq!(Vec::from(weighted), [10, 0, 3]);
    }

    #[test]
    fn senseless_layers_are_refused() {
        for weights in [vec![], vec![0, 0], vec![16], vec![1; 33]] {
            assert!(Layers::weighted(&weights).is_err(), "{weights:?}");
        }
        assert!(Layers::equal(0).is_err() && Layers::equal(33).is_err());
    }
}
