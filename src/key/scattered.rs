//! Lanes that lie in streams of their own: vector registers hold a block of another window in each lane.
//!
//! Where one key is asked about a whole text, most windows are asked for one token or two, and a generator that makes
//! several neighbouring blocks of one window makes most of them for nothing.

use pulp::{Arch, Simd, WithSimd};

use super::chacha::{LANES, SIGMA, WORDS, blocks};
use super::prf::{LaneBits, Seed};
use crate::token::TokenId;

/// How many of `coins` (the number of a seed in `seeds`, and a token) have a lane below `threshold`.
pub(super) fn count_below(bits: LaneBits, threshold: u32, seeds: &[Seed], coins: &[(u32, TokenId)]) -> u64 {
    Arch::new().dispatch(Count { bits, threshold, seeds, coins })
}

struct Count<'a> {
    bits: LaneBits,
    threshold: u32,
    seeds: &'a [Seed],
    coins: &'a [(u32, TokenId)],
}

/// Words of a seed.
const KEY: usize = 8;

impl WithSimd for Count<'_> {
    type Output = u64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> u64 {
        let size = u32::from(self.bits.get());
        let (a_word, a_block) = (32 / size, 512 / size);
        let mut start = [simd.splat_u32s(0); WORDS];
        start.iter_mut().zip(SIGMA).for_each(|(word, sigma)| *word = simd.splat_u32s(sigma));
        let (mut keys, mut numbers) = ([[0; LANES]; KEY], [0; LANES]);
        let mut words = [[0; LANES]; WORDS];
        let mut below = 0;
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
                let word = words[(at / a_word) as usize][lane] >> (at % a_word * size) & self.bits.mask();
                below += u64::from(word < self.threshold);
            }
        }
        below
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
        for (size, threshold) in [(1, 1), (2, 1), (2, 3), (4, 5), (8, 77), (16, 30_000), (32, 1 << 31)] {
            let bits = LaneBits::new(size).unwrap();
            for count in [0, 1, 7, 8, 15, 16, 17, 100_u32] {
                let coin = |n: u32| (n * 5 % 7, n.wrapping_mul(2_654_435_761) >> (n % 20));
                let coins: Vec<(u32, TokenId)> = (0..count).map(coin).collect();
                let each = coins
                    .iter()
                    .filter(|(seed, token)| seeds[*seed as usize].lane(bits, *token) < threshold)
                    .count() as u64;
                let all = || Count { bits, threshold, seeds: &seeds, coins: &coins };
                assert_eq!(count_below(bits, threshold, &seeds, &coins), each, "{size} bits, {count} coins");
                assert_eq!(all().with_simd(pulp::Scalar::new()), each, "one at a time");
                #[cfg(target_arch = "x86_64")]
                if let Some(simd) = pulp::x86::V3::try_new() {
                    assert_eq!(Simd::vectorize(simd, all()), each, "eight at a time");
                }
            }
        }
    }
}
