//! `green/1`: a keyed green list per window (Kirchenbauer et al. 2023, "A watermark for large language models").
//!
//! Token `v` is green where its lane is below the threshold: independently over windows and tokens, with
//! probability threshold / 2^bits exactly. The embedder adds δ to the logits of green tokens.

use std::fmt;
use std::str::FromStr;

use super::SpecError;
use crate::key::SchemeKey;
use crate::key::prf::{self, LaneBits, Lanes, Seed, WindowPrf};
use crate::law::{Gamma, Origin};
use crate::token::{TokenId, Width};

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

/// Bytes of keystream that are made at once: what the widest registers hold of a block's words.
const STRETCH: usize = 1_024;

/// Stretch `number` of a window's keystream.
fn fill(seed: &Seed, number: u32, bytes: &mut [u8; STRETCH]) {
    const BLOCKS: u32 = 16;
    seed.fill(number * BLOCKS, bytes);
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

    /// The same of one token at each of four windows.
    pub fn greens(&self, coins: &[(Seed, TokenId); 4]) -> [bool; 4] {
        prf::lanes(self.bits, coins).map(|lane| lane < self.threshold)
    }

    /// The same from the lanes of a window.
    pub fn is_green_in(&self, lanes: &mut Lanes, token: TokenId) -> bool {
        lanes.get(self.bits, token) < self.threshold
    }

    /// 1 for each green token of `0..row.len()`, 0 for the others.
    pub fn row(&self, seed: &Seed, row: &mut [u32]) {
        let mut stream = seed.keystream();
        for lanes in row.chunks_mut(self.lanes_per_word()) {
            let mut word = stream.next_word();
            for lane in lanes {
                *lane = u32::from(word & self.bits.mask() < self.threshold);
                word = word.checked_shr(u32::from(self.bits.get())).unwrap_or(0);
            }
        }
    }

    /// Adds `delta` to the logits of green tokens, in place and without allocation.
    pub fn bias(&self, seed: &Seed, logits: &mut [f32], delta: f32) {
        match self.bits.get() {
            1 => self.bias_by_byte::<8>(seed, logits, delta),
            2 => self.bias_by_byte::<4>(seed, logits, delta),
            4 => self.bias_by_byte::<2>(seed, logits, delta),
            8 => self.bias_by_byte::<1>(seed, logits, delta),
            _ => self.bias_by_word(seed, logits, delta),
        }
    }

    /// The sum of the coefficients of green tokens, by token id from 0.
    pub fn sum(&self, seed: &Seed, coefficients: &[i32]) -> i64 {
        match self.bits.get() {
            1 => self.sum_by_byte::<8>(seed, coefficients),
            2 => self.sum_by_byte::<4>(seed, coefficients),
            4 => self.sum_by_byte::<2>(seed, coefficients),
            8 => self.sum_by_byte::<1>(seed, coefficients),
            _ => {
                let mut stream = seed.keystream();
                let green = |(token, a): (TokenId, &i32)| {
                    i64::from(*a) * i64::from(stream.lane(self.bits, token) < self.threshold)
                };
                (0..).zip(coefficients).map(green).sum()
            }
        }
    }

    /// As [`Green::bias`]: a table says which lanes of a byte are green, as masks.
    fn sum_by_byte<const LANES: usize>(&self, seed: &Seed, coefficients: &[i32]) -> i64 {
        let table = self.table::<LANES, i32>(-1);
        let mut bytes = [0; STRETCH];
        let mut total = 0;
        for (number, stretch) in (0..).zip(coefficients.chunks(bytes.len() * LANES)) {
            fill(seed, number, &mut bytes);
            let (whole, rest) = stretch.as_chunks::<LANES>();
            // Coefficients are at most 127: a stretch's sums fit.
            let mut sums = [0_i32; LANES];
            for (lanes, byte) in whole.iter().zip(bytes) {
                for ((sum, a), mask) in sums.iter_mut().zip(lanes).zip(table[usize::from(byte)]) {
                    *sum += a & mask;
                }
            }
            let last = table[usize::from(bytes[whole.len().min(bytes.len() - 1)])];
            let tail = rest.iter().zip(last).map(|(a, mask)| a & mask);
            total += sums.into_iter().chain(tail).map(i64::from).sum::<i64>();
        }
        total
    }

    /// For each byte of keystream `value` at the lanes that are green, and nothing at the others.
    fn table<const LANES: usize, T: Copy + Default>(&self, value: T) -> [[T; LANES]; 256] {
        let mut table = [[T::default(); LANES]; 256];
        for (byte, lanes) in (0_u32..).zip(&mut table) {
            for (at, lane) in (0_u32..).zip(lanes) {
                let word = byte >> (at * u32::from(self.bits.get())) & self.bits.mask();
                if word < self.threshold {
                    *lane = value;
                }
            }
        }
        table
    }

    /// A keystream byte holds `LANES` lanes, and a table says what each of its 256 values adds to them.
    fn bias_by_byte<const LANES: usize>(&self, seed: &Seed, logits: &mut [f32], delta: f32) {
        let table = self.table::<LANES, f32>(delta);
        let mut bytes = [0; STRETCH];
        for (number, stretch) in (0..).zip(logits.chunks_mut(bytes.len() * LANES)) {
            fill(seed, number, &mut bytes);
            let (whole, rest) = stretch.as_chunks_mut::<LANES>();
            for (lanes, byte) in whole.iter_mut().zip(bytes) {
                for (logit, add) in lanes.iter_mut().zip(table[usize::from(byte)]) {
                    *logit += add;
                }
            }
            let last = table[usize::from(bytes[whole.len().min(bytes.len() - 1)])];
            for (logit, add) in rest.iter_mut().zip(last) {
                *logit += add;
            }
        }
    }

    fn bias_by_word(&self, seed: &Seed, logits: &mut [f32], delta: f32) {
        let mut stream = seed.keystream();
        for lanes in logits.chunks_mut(self.lanes_per_word()) {
            let mut word = stream.next_word();
            for logit in lanes {
                *logit += if word & self.bits.mask() < self.threshold { delta } else { 0.0 };
                word = word.checked_shr(u32::from(self.bits.get())).unwrap_or(0);
            }
        }
    }

    fn lanes_per_word(&self) -> usize {
        32 / usize::from(self.bits.get())
    }
}
