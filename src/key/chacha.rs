//! RFC 8439 ChaCha20 keystream, as many blocks at once as the processor's vector registers have lanes: 16 with AVX-512, 8 with
//! AVX2, otherwise 1.
//!
//! Of a whole row of lanes the cipher is most of the cost, and `rand_chacha`, which serves wherever a lane is sought, makes four
//! blocks at once at most. Both give the same words, which a test holds them to.

use pulp::{Arch, Simd, WithSimd};

/// "expand 32-byte k", RFC 8439, §2.3.
pub(super) const SIGMA: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
/// Words of a block.
pub(super) const WORDS: usize = 16;
/// Lanes of the widest registers there are.
pub(super) const LANES: usize = 16;

/// Fills `words`, a whole number of blocks, with the keystream of `key` under a zero nonce from block `first` on.
pub(super) fn fill(key: &[u8; 32], first: u32, words: &mut [u32]) {
    Arch::new().dispatch(Fill { key, first, words });
}

struct Fill<'a> {
    key: &'a [u8; 32],
    first: u32,
    words: &'a mut [u32],
}

impl WithSimd for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut start = [simd.splat_u32s(0); WORDS];
        start.iter_mut().zip(SIGMA).for_each(|(word, sigma)| *word = simd.splat_u32s(sigma));
        for (word, bytes) in start[4..].iter_mut().zip(self.key.as_chunks().0) {
            *word = simd.splat_u32s(u32::from_le_bytes(*bytes));
        }
        let numbers = (self.first..).step_by(S::U32_LANES);
        let [mut one, mut other] = [[0; LANES * WORDS]; 2];
        let (one, other) = (&mut one[..S::U32_LANES * WORDS], &mut other[..S::U32_LANES * WORDS]);
        for (group, first) in self.words.chunks_mut(S::U32_LANES * WORDS).zip(numbers) {
            let mut numbers = [0; LANES];
            numbers.iter_mut().zip(first..).for_each(|(number, block)| *number = block);
            start[12] = simd.partial_load_u32s(&numbers[..S::U32_LANES]);
            for (word, vector) in one.chunks_exact_mut(S::U32_LANES).zip(blocks(simd, &start)) {
                simd.partial_store_u32s(word, vector);
            }
            // From word after word, each of all blocks, to block after block. Each step moves the highest bit of a number's
            // place to its lowest, and a word's number has four bits.
            interleave(one, other);
            interleave(other, one);
            interleave(one, other);
            interleave(other, one);
            group.copy_from_slice(&one[..group.len()]);
        }
    }
}

/// Puts what is in the second half of `from` between what is in the first.
#[inline(always)]
fn interleave(from: &[u32], to: &mut [u32]) {
    let (low, high) = from.split_at(from.len() / 2);
    for ((pair, low), high) in to.as_chunks_mut().0.iter_mut().zip(low).zip(high) {
        *pair = [*low, *high];
    }
}

/// Word w of every block.
#[inline(always)]
pub(super) fn blocks<S: Simd>(simd: S, start: &[S::u32s; WORDS]) -> [S::u32s; WORDS] {
    let mut s = *start;
    for _ in 0..10 {
        quarter::<S, 0, 4, 8, 12>(simd, &mut s);
        quarter::<S, 1, 5, 9, 13>(simd, &mut s);
        quarter::<S, 2, 6, 10, 14>(simd, &mut s);
        quarter::<S, 3, 7, 11, 15>(simd, &mut s);
        quarter::<S, 0, 5, 10, 15>(simd, &mut s);
        quarter::<S, 1, 6, 11, 12>(simd, &mut s);
        quarter::<S, 2, 7, 8, 13>(simd, &mut s);
        quarter::<S, 3, 4, 9, 14>(simd, &mut s);
    }
    s.iter_mut().zip(start).for_each(|(word, start)| *word = simd.add_u32s(*word, *start));
    s
}

/// RFC 8439, §2.1.
#[inline(always)]
fn quarter<S: Simd, const A: usize, const B: usize, const C: usize, const D: usize>(
    simd: S,
    s: &mut [S::u32s; WORDS],
) {
    // (`rotate_left_u32s` moves whole lanes.)
    let rotated = |a: S::u32s, b: S::u32s, by: u32| {
        let x = simd.xor_u32s(a, b);
        let high = simd.wrapping_dyn_shl_u32s(x, simd.splat_u32s(by));
        simd.or_u32s(high, simd.wrapping_dyn_shr_u32s(x, simd.splat_u32s(32 - by)))
    };
    s[A] = simd.add_u32s(s[A], s[B]);
    s[D] = rotated(s[D], s[A], 16);
    s[C] = simd.add_u32s(s[C], s[D]);
    s[B] = rotated(s[B], s[C], 12);
    s[A] = simd.add_u32s(s[A], s[B]);
    s[D] = rotated(s[D], s[A], 8);
    s[C] = simd.add_u32s(s[C], s[D]);
    s[B] = rotated(s[B], s[C], 7);
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};

    use super::*;

    #[test]
    fn every_register_width_gives_the_library_s_words() {
        let key = *b"every token owns bits of its own";
        for first in [0, 1, 5, 16, 1 << 27] {
            for blocks in [1, 2, 7, 8, 9, 15, 16, 17, 40] {
                let mut rng = ChaCha20Rng::from_seed(key);
                rng.set_word_pos(u128::from(first) * WORDS as u128);
                let wanted: Vec<u32> = (0..blocks * WORDS).map(|_| rng.next_u32()).collect();
                let mut found = vec![0; blocks * WORDS];
                fill(&key, first, &mut found);
                assert_eq!(found, wanted, "{blocks} blocks from {first}");
                found.fill(0);
                Fill { key: &key, first, words: &mut found }.with_simd(pulp::Scalar::new());
                assert_eq!(found, wanted, "one at a time, {blocks} blocks from {first}");
                #[cfg(target_arch = "x86_64")]
                if let Some(simd) = pulp::x86::V3::try_new() {
                    found.fill(0);
                    Simd::vectorize(simd, Fill { key: &key, first, words: &mut found });
                    assert_eq!(found, wanted, "eight at a time, {blocks} blocks from {first}");
                }
            }
        }
    }
}
