//! Which tokens of a whole row are green, 32 at a time, in the widest registers that the processor has.
//!
//! A lane is compared where it lies in its word, with the threshold moved there: nothing is looked up, so that what is done to
//! 32 neighbours becomes plain vector instructions, whatever the size of lanes.

use std::iter::once;

use pulp::{Arch, Simd, WithSimd};

use crate::key::prf::{LaneBits, Seed};

/// Tokens that are looked at together: as many words hold their lanes as a lane has bits.
const GROUP: usize = 32;
/// Words of keystream that are made at once.
const STRETCH: usize = 64 * BLOCK;
/// Words of a block.
const BLOCK: usize = 16;

/// A window's green list: token `v` is green where its lane of `bits` bits under `seed` is below `threshold`.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) seed: &'a Seed,
    pub(super) bits: LaneBits,
    pub(super) threshold: u32,
}

impl Row<'_> {
    /// Calls `change` with each value, by token id from 0, and whether its token is green.
    pub(super) fn change<T: Copy + Default>(self, row: &mut [T], change: impl Fn(&mut T, bool) + Copy) {
        self.stretches(row.len(), |words, from, to| {
            let (groups, rest) = row[from..to].as_chunks_mut();
            let (words, last_words) = words.split_at(groups.len() * self.size());
            self.show(words, groups.iter_mut(), Change(change));
            if !rest.is_empty() {
                let mut last = [T::default(); GROUP];
                last[..rest.len()].copy_from_slice(rest);
                self.show(last_words, once(&mut last), Change(change));
                rest.copy_from_slice(&last[..rest.len()]);
            }
        });
    }

    /// The sum of the coefficients (at most 127 either way) of green tokens, by token id from 0.
    pub(super) fn sum(self, coefficients: &[i32]) -> i64 {
        let mut total = 0;
        self.stretches(coefficients.len(), |words, from, to| {
            let (groups, rest) = coefficients[from..to].as_chunks();
            let (words, last_words) = words.split_at(groups.len() * self.size());
            let mut sums = self.show(words, groups.iter(), Sums([0; GROUP]));
            if !rest.is_empty() {
                let mut last = [0; GROUP];
                last[..rest.len()].copy_from_slice(rest);
                sums = self.show(last_words, once(&last), sums);
            }
            total += sums.0.into_iter().map(i64::from).sum::<i64>();
        });
        total
    }

    /// Words a group.
    fn size(self) -> usize {
        usize::from(self.bits.get())
    }

    /// Calls `work` with stretches of keystream, and from which token to which each has the lanes, of `tokens` tokens.
    fn stretches(self, tokens: usize, mut work: impl FnMut(&[u32], usize, usize)) {
        let mut words = [0; STRETCH];
        let a_stretch = STRETCH / self.size() * GROUP;
        for (block, from) in (0..).step_by(STRETCH / BLOCK).zip((0..tokens).step_by(a_stretch)) {
            let to = tokens.min(from + a_stretch);
            let needed = (to - from).div_ceil(GROUP) * self.size();
            let words = &mut words[..needed.next_multiple_of(BLOCK)];
            self.seed.fill(block, words);
            work(words, from, to);
        }
    }

    fn show<G, V: Visitor<G>>(self, words: &[u32], groups: impl Iterator<Item = G>, visitor: V) -> V {
        let arch = Arch::new();
        let Self { threshold, .. } = self;
        match self.bits.get() {
            1 => arch.dispatch(Lanes::<1, _, _> { words, groups, threshold, visitor }),
            2 => arch.dispatch(Lanes::<2, _, _> { words, groups, threshold, visitor }),
            4 => arch.dispatch(Lanes::<4, _, _> { words, groups, threshold, visitor }),
            8 => arch.dispatch(Lanes::<8, _, _> { words, groups, threshold, visitor }),
            16 => arch.dispatch(Lanes::<16, _, _> { words, groups, threshold, visitor }),
            _ => arch.dispatch(Lanes::<32, _, _> { words, groups, threshold, visitor }),
        }
    }
}

/// What is done with a group's values; `green(i)` says whether the token of the i-th is green.
trait Visitor<G> {
    fn visit(&mut self, group: G, green: impl Fn(usize) -> bool);
}

struct Change<F>(F);

impl<T, F: Fn(&mut T, bool)> Visitor<&mut [T; GROUP]> for Change<F> {
    #[inline(always)]
    fn visit(&mut self, group: &mut [T; GROUP], green: impl Fn(usize) -> bool) {
        group.iter_mut().enumerate().for_each(|(i, value)| self.0(value, green(i)));
    }
}

/// A sum for each place in a group.
struct Sums([i32; GROUP]);

impl Visitor<&[i32; GROUP]> for Sums {
    #[inline(always)]
    fn visit(&mut self, group: &[i32; GROUP], green: impl Fn(usize) -> bool) {
        let places = self.0.iter_mut().zip(group).enumerate();
        places.for_each(|(i, (sum, a))| *sum += if green(i) { *a } else { 0 });
    }
}

struct Lanes<'a, const BITS: usize, I, V> {
    words: &'a [u32],
    groups: I,
    threshold: u32,
    visitor: V,
}

impl<const BITS: usize, G, I: Iterator<Item = G>, V: Visitor<G>> WithSimd for Lanes<'_, BITS, I, V> {
    type Output = V;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> V {
        let Self { words, groups, threshold, mut visitor } = self;
        for (group, words) in groups.zip(words.as_chunks::<BITS>().0) {
            let mut each = [0; GROUP];
            each.chunks_exact_mut(GROUP / BITS).zip(words).for_each(|(lanes, word)| lanes.fill(*word));
            visitor.visit(group, |i| {
                let shift = i * BITS % 32;
                each[i] & (u32::MAX >> (32 - BITS)) << shift < threshold << shift
            });
        }
        visitor
    }
}

#[cfg(test)]
mod tests {
    use pulp::Scalar;

    use super::*;
    use crate::key::Secret;

    /// Every size of lanes with its least, a middling and its greatest threshold.
    const LISTS: [(u8, u32); 15] = [
        (1, 1),
        (2, 1),
        (2, 2),
        (2, 3),
        (4, 1),
        (4, 7),
        (4, 15),
        (8, 1),
        (8, 77),
        (8, 255),
        (16, 1),
        (16, 40_000),
        (32, 1),
        (32, 3_000_000_000),
        (32, u32::MAX),
    ];

    fn seed() -> Seed {
        let key = Secret::from_bytes([5; 32]).epoch_key(&"2026-q4".parse().unwrap());
        key.scheme_key(&"green/1/w1/b1/t1".parse().unwrap()).prf().seed(&[7])
    }

    #[test]
    fn rows_of_any_length_agree_with_the_lane_of_each_token() {
        let seed = seed();
        for (bits, threshold) in LISTS {
            let bits = LaneBits::new(bits).unwrap();
            let row = Row { seed: &seed, bits, threshold };
            let mut lanes = seed.lanes();
            let wanted: Vec<bool> = (0..33_001).map(|token| lanes.get(bits, token) < threshold).collect();
            // None; parts of a group; whole ones and a part; more than one stretch of every size.
            for tokens in [0, 1, 31, 32, 33, 63, 64, 513, 1_024, 1_025, 9_001, 32_768, 33_001] {
                let mut found = vec![false; tokens];
                row.change(&mut found, |found, green| *found = green);
                assert!(found == wanted[..tokens], "{bits:?}, {threshold}: {tokens} tokens");
                let coefficients: Vec<i32> = (-127..=127).cycle().take(tokens).collect();
                let sum =
                    wanted.iter().zip(&coefficients).map(|(green, a)| i64::from(*green) * i64::from(*a));
                assert_eq!(
                    row.sum(&coefficients),
                    sum.sum::<i64>(),
                    "{bits:?}, {threshold}: {tokens} tokens"
                );
            }
        }
    }

    type Flag = Change<fn(&mut bool, bool)>;
    type Greens<'a, const BITS: usize> = Lanes<'a, BITS, std::slice::IterMut<'a, [bool; GROUP]>, Flag>;

    fn every_register_width_agrees<const BITS: usize>(threshold: u32) {
        let words: Vec<u32> = (1..).map(|i: u32| i.wrapping_mul(0x9e37_79b9)).take(10 * BITS).collect();
        let lane = |token: usize| words[token * BITS / 32] >> (token * BITS % 32) & (u32::MAX >> (32 - BITS));
        let wanted: Vec<bool> = (0..10 * GROUP).map(|token| lane(token) < threshold).collect();
        let check = |run: &dyn Fn(Greens<'_, BITS>) -> Flag| {
            let mut found = [[false; GROUP]; 10];
            let visitor: Flag = Change(|found, green| *found = green);
            run(Lanes { words: &words, groups: found.iter_mut(), threshold, visitor });
            assert_eq!(found.as_flattened(), wanted, "{BITS} bits below {threshold}");
        };
        check(&|lanes| lanes.with_simd(Scalar::new()));
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            check(&|lanes| Simd::vectorize(simd, lanes));
        }
        check(&|lanes| Arch::new().dispatch(lanes));
    }

    #[test]
    fn every_register_width_says_the_same() {
        for (bits, threshold) in LISTS {
            match bits {
                1 => every_register_width_agrees::<1>(threshold),
                2 => every_register_width_agrees::<2>(threshold),
                4 => every_register_width_agrees::<4>(threshold),
                8 => every_register_width_agrees::<8>(threshold),
                16 => every_register_width_agrees::<16>(threshold),
                _ => every_register_width_agrees::<32>(threshold),
            }
        }
    }
}
