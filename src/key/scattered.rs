//! Lanes that lie in streams of their own: vector registers hold a block of another window in each lane.
//!
//! Where one key is asked about a whole text, most windows are asked for one token or two, and a generator that makes
//! several neighbouring blocks of one window makes most of them for nothing.

use pulp::{Arch, Simd, WithSimd};

use super::chacha::{LANES, SIGMA, WORDS, blocks};
use super::prf::{LaneBits, Seed};
use crate::token::TokenId;

/// Shows the lanes of `coins` (the number of a seed in `seeds`, and a token), in their order.
pub(super) fn visit(bits: LaneBits, seeds: &[Seed], coins: &[(u32, TokenId)], see: impl FnMut(u32)) {
    Arch::new().dispatch(Visit { bits, seeds, coins, see });
}

struct Visit<'a, F> {
    bits: LaneBits,
    seeds: &'a [Seed],
    coins: &'a [(u32, TokenId)],
    see: F,
}

/// Words of a seed.
const KEY: usize = 8;

impl<F: FnMut(u32)> WithSimd for Visit<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let size = u32::from(self.bits.get());
        let (a_word, a_block) = (32 / size, 512 / size);
        let mut start = [simd.splat_u32s(0); WORDS];
        start.iter_mut().zip(SIGMA).for_each(|(word, sigma)| *word = simd.splat_u32s(sigma));
        let (mut keys, mut numbers) = ([[0; LANES]; KEY], [0; LANES]);
        let mut words = [[0; LANES]; WORDS];
        for group in self.coins.chunks(S::U32_LANES) {
            for (lane, (seed, token)) in group.iter().enumerate() {
                let bytes = self.seeds[*seed as usize].hazmat_bytes().as_chunks().0;
                keys.iter_mut().zip(bytes).for_each(|(word, bytes)| word[lane] = u32::from_le_bytes(*bytes));
                numbers[lane] = token / a_block;
            }
            for (word, key) in start[4..].iter_mut().zip(&keys) {
                *word = simd.partial_load_u32s(&key[..S::U32_LANES]);
            }
            start[12] = simd.partial_load_u32s(&numbers[..S::U32_LANES]);
            for (word, vector) in words.iter_mut().zip(blocks(simd, &start)) {
                simd.partial_store_u32s(&mut word[..S::U32_LANES], vector);
            }
            for (lane, (_, token)) in group.iter().enumerate() {
                let at = token % a_block;
                (self.see)(words[(at / a_word) as usize][lane] >> (at % a_word * size) & self.bits.mask());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::prf::WindowPrf;

    #[test]
    fn scattered_lanes_are_those_of_each_window_at_every_register_width() {
        let prf = WindowPrf::new(&[9; 32]);
        let seeds: Vec<Seed> = (0..7).map(|window| prf.seed(&[window])).collect();
        for size in [1, 2, 4, 8, 16, 32] {
            let bits = LaneBits::new(size).unwrap();
            for count in [0, 1, 7, 8, 15, 16, 17, 100_u32] {
                let coin = |n: u32| (n * 5 % 7, n.wrapping_mul(2_654_435_761) >> (n % 20));
                let coins: Vec<(u32, TokenId)> = (0..count).map(coin).collect();
                let lane = |(seed, token): &(u32, TokenId)| seeds[*seed as usize].lane(bits, *token);
                let each: Vec<u32> = coins.iter().map(lane).collect();
                let seen = |work: &dyn Fn(&mut Vec<u32>)| {
                    let mut seen = Vec::new();
                    work(&mut seen);
                    seen
                };
                let found = seen(&|seen| visit(bits, &seeds, &coins, |lane| seen.push(lane)));
                assert_eq!(found, each, "{size} bits, {count} coins");
                let scalar = seen(&|seen| {
                    Visit { bits, seeds: &seeds, coins: &coins, see: |lane| seen.push(lane) }
                        .with_simd(pulp::Scalar::new());
                });
                assert_eq!(scalar, each, "one at a time");
                #[cfg(target_arch = "x86_64")]
                if let Some(simd) = pulp::x86::V3::try_new() {
                    let eight = seen(&|seen| {
                        let see = |lane| seen.push(lane);
                        Simd::vectorize(simd, Visit { bits, seeds: &seeds, coins: &coins, see });
                    });
                    assert_eq!(eight, each, "eight at a time");
                }
            }
        }
    }
}
