//! HMAC-SHA256 of many windows under one key: vector registers hold a window in each lane.
//!
//! Where a text is looked at under thousands of keys, seeds are most of the cost. Sixteen windows at once (AVX-512) are
//! quicker than the processor's own SHA instructions; eight are not, and are left to those.

use pulp::{Arch, Simd, WithSimd};

use super::prf::{INITIAL, Seed, WindowPrf};
use crate::token::TokenId;

/// Lanes of the widest registers there are.
const LANES: usize = 16;
/// Words that SHA-256 takes at once (FIPS 180-4, §5.2.1).
const WORDS: usize = 16;
/// Words of a state, and of a seed.
const STATE: usize = INITIAL.len();
/// The longest window that fits into one block: behind it stand a bit and, in two words, the length.
const TOKENS_MAX: usize = WORDS - 3;

/// The seeds of `windows`, which have equally many tokens, as [`WindowPrf::seed`] gives them, in their order.
pub(super) fn seeds(prf: &WindowPrf, windows: &[&[TokenId]], seeds: &mut Vec<Seed>) {
    Arch::new().dispatch(Seeds { prf, windows, seeds });
}

struct Seeds<'a> {
    prf: &'a WindowPrf,
    windows: &'a [&'a [TokenId]],
    seeds: &'a mut Vec<Seed>,
}

impl WithSimd for Seeds<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { prf, windows, seeds } = self;
        let tokens = windows.first().map_or(0, |window| window.len());
        if S::U32_LANES < LANES || tokens > TOKENS_MAX {
            seeds.extend(windows.iter().map(|window| prf.seed(window)));
            return;
        }
        let [inner, outer] = prf.midstates();
        let (inner, outer) = (splat(simd, &inner), splat(simd, &outer));
        for group in windows.chunks(LANES) {
            let mut block = [simd.splat_u32s(0); WORDS];
            for (at, word) in block[..tokens].iter_mut().enumerate() {
                let mut lanes = [0; LANES];
                lanes.iter_mut().zip(group).for_each(|(lane, window)| *lane = window[at].swap_bytes());
                *word = simd.partial_load_u32s(&lanes);
            }
            let digest = last(simd, inner, block, tokens);
            let mut block = [simd.splat_u32s(0); WORDS];
            block[..STATE].copy_from_slice(&digest);
            let digest = last(simd, outer, block, STATE);
            let mut words = [[0; LANES]; STATE];
            for (word, vector) in words.iter_mut().zip(digest) {
                simd.partial_store_u32s(word, vector);
            }
            seeds.extend((0..group.len()).map(|lane| Seed::of_words(words.map(|word| word[lane]))));
        }
    }
}

#[inline(always)]
fn splat<S: Simd>(simd: S, state: &[u32; STATE]) -> [S::u32s; STATE] {
    let mut vectors = [simd.splat_u32s(0); STATE];
    vectors.iter_mut().zip(state).for_each(|(vector, word)| *vector = simd.splat_u32s(*word));
    vectors
}

/// The digest of a message that ends in `words` words of `block`, after the key's own block.
#[inline(always)]
fn last<S: Simd>(
    simd: S,
    midstate: [S::u32s; STATE],
    mut block: [S::u32s; WORDS],
    words: usize,
) -> [S::u32s; STATE] {
    #[expect(clippy::cast_possible_truncation, reason = "at most two blocks")]
    let bits = 32 * (WORDS + words) as u32;
    block[words] = simd.splat_u32s(1 << 31);
    block[WORDS - 1] = simd.splat_u32s(bits);
    compress(simd, midstate, block)
}

/// FIPS 180-4, §6.2.2, in every lane.
#[inline(always)]
fn compress<S: Simd>(simd: S, start: [S::u32s; STATE], mut w: [S::u32s; WORDS]) -> [S::u32s; STATE] {
    let mut s = start;
    for (rounds, constants) in K.as_chunks::<WORDS>().0.iter().enumerate() {
        for (at, constant) in constants.iter().enumerate() {
            if rounds > 0 {
                let [a, b, c] = [(at + 1) % WORDS, (at + 9) % WORDS, (at + 14) % WORDS];
                w[at] = scheduled(simd, [w[at], w[a], w[b], w[c]]);
            }
            s = round(simd, s, simd.add_u32s(w[at], simd.splat_u32s(*constant)));
        }
    }
    s.iter_mut().zip(start).for_each(|(word, start)| *word = simd.add_u32s(*word, start));
    s
}

/// A word of the schedule, from those 16, 15, 7 and 2 places back.
#[inline(always)]
fn scheduled<S: Simd>(simd: S, [w16, w15, w7, w2]: [S::u32s; 4]) -> S::u32s {
    let x = rotated(simd, w15, 7);
    let x = simd.xor_u32s(simd.xor_u32s(x, rotated(simd, w15, 18)), shifted(simd, w15, 3));
    let y = rotated(simd, w2, 17);
    let y = simd.xor_u32s(simd.xor_u32s(y, rotated(simd, w2, 19)), shifted(simd, w2, 10));
    simd.add_u32s(simd.add_u32s(w16, w7), simd.add_u32s(x, y))
}

/// One round; `word` is that of the schedule and the round's constant.
#[inline(always)]
fn round<S: Simd>(simd: S, [a, b, c, d, e, f, g, h]: [S::u32s; STATE], word: S::u32s) -> [S::u32s; STATE] {
    let choice = simd.xor_u32s(g, simd.and_u32s(e, simd.xor_u32s(f, g)));
    let majority = simd.or_u32s(simd.and_u32s(a, b), simd.and_u32s(c, simd.or_u32s(a, b)));
    let t = simd.add_u32s(simd.add_u32s(h, word), simd.add_u32s(choice, thrice(simd, e, [6, 11, 25])));
    let new = simd.add_u32s(t, simd.add_u32s(majority, thrice(simd, a, [2, 13, 22])));
    [new, a, b, c, simd.add_u32s(d, t), e, f, g]
}

/// Three rotations of a word, added bit by bit.
#[inline(always)]
fn thrice<S: Simd>(simd: S, x: S::u32s, [i, j, k]: [u32; 3]) -> S::u32s {
    simd.xor_u32s(simd.xor_u32s(rotated(simd, x, i), rotated(simd, x, j)), rotated(simd, x, k))
}

#[inline(always)]
fn shifted<S: Simd>(simd: S, x: S::u32s, by: u32) -> S::u32s {
    simd.wrapping_dyn_shr_u32s(x, simd.splat_u32s(by))
}

/// (`rotate_right_u32s` moves whole lanes.)
#[inline(always)]
fn rotated<S: Simd>(simd: S, x: S::u32s, by: u32) -> S::u32s {
    let high = simd.wrapping_dyn_shl_u32s(x, simd.splat_u32s(32 - by));
    simd.or_u32s(high, shifted(simd, x, by))
}

/// FIPS 180-4, §4.2.2.
const K: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_of_many_windows_are_those_of_each() {
        let prf = WindowPrf::new(&[0x5a; 32]);
        for tokens in 0..=16_usize {
            for count in [0, 1, 15, 16, 17, 40_u32] {
                let window = |n: u32| {
                    (0..).take(tokens).map(|at: u32| (n + 1).wrapping_mul(0x9e37_79b9) ^ at).collect()
                };
                let windows: Vec<Vec<TokenId>> = (0..count).map(window).collect();
                let windows: Vec<&[TokenId]> = windows.iter().map(Vec::as_slice).collect();
                let mut found = Vec::new();
                seeds(&prf, &windows, &mut found);
                let wanted: Vec<[u8; 32]> =
                    windows.iter().map(|window| *prf.seed(window).hazmat_bytes()).collect();
                let mut one_by_one = Vec::new();
                Seeds { prf: &prf, windows: &windows, seeds: &mut one_by_one }.with_simd(pulp::Scalar::new());
                let bytes =
                    |seeds: &[Seed]| seeds.iter().map(|seed| *seed.hazmat_bytes()).collect::<Vec<_>>();
                assert_eq!(bytes(&one_by_one), wanted, "{count} windows of {tokens}, one by one");
                assert_eq!(bytes(&found), wanted, "{count} windows of {tokens}");
            }
        }
    }
}
