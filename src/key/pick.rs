//! Keyed numbers for canaries: which of K siblings, and whether at all.
//!
//! A label's key is used as a ChaCha20 key (RFC 8439, zero nonce, counter from 0); its numbers are u64 of the keystream,
//! low word first. Each label is asked one question, so no key serves two purposes.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::SchemeKey;

impl SchemeKey {
    /// J, from 0: uniform on `siblings` values. The first number below 2⁶⁴ − (2⁶⁴ mod K), modulo K; a remainder of
    /// all numbers would favour the first siblings. Of one sibling or none it is 0.
    pub fn pick(&self, siblings: u32) -> u32 {
        let siblings = u64::from(siblings.max(1));
        // 2⁶⁴ mod K, as (2⁶⁴ − K) mod K.
        let excess = siblings.wrapping_neg() % siblings;
        let last = u64::MAX - excess;
        let mut numbers = self.numbers();
        loop {
            let number = numbers.next_u64();
            if number <= last {
                #[expect(clippy::cast_possible_truncation, reason = "a remainder of a u32 is one")]
                return (number % siblings) as u32;
            }
        }
    }

    /// The first number of the keystream: uniform on 0 … 2⁶⁴ − 1.
    pub fn number(&self) -> u64 {
        self.numbers().next_u64()
    }

    fn numbers(&self) -> ChaCha20Rng {
        ChaCha20Rng::from_seed(self.key)
    }
}

#[cfg(test)]
mod tests {
    use crate::key::{Label, Secret};

    #[test]
    fn every_sibling_is_picked_equally_often() {
        let epoch = Secret::from_bytes([5; 32]).epoch_key(&"e".parse().unwrap());
        for siblings in [3_u32, 16] {
            let mut counts = vec![0_u32; siblings as usize];
            for slot in 0..20_000 {
                let label: Label = format!("canary/1/test/{slot}/k{siblings}").parse().unwrap();
                counts[epoch.scheme_key(&label).pick(siblings) as usize] += 1;
            }
            let expected = 20_000.0 / f64::from(siblings);
            let chi_square: f64 =
                counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
            // The 99.99 % points with 2 and 15 degrees of freedom are 18.4 and 44.3.
            assert!(chi_square < if siblings == 3 { 18.4 } else { 44.3 }, "{counts:?}: {chi_square}");
        }
    }
}
