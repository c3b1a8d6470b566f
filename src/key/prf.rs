//! Window → seed → keystream → lanes.
//!
//! Seed = HMAC-SHA256(scheme key, window bytes); keystream = RFC 8439 ChaCha20 blocks under that seed with a
//! zero nonce; token `v` owns bits `[b·v, b·(v+1))` of it. Nothing here depends on the vocabulary's size, the
//! platform or the number of threads, and any lane is one seek away.

use std::fmt;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::compress256;
use zeroize::Zeroize;

use super::{chacha, many, scattered};
use crate::token::TokenId;

/// HMAC-SHA256 under a scheme key (RFC 2104), its two midstates kept: two compressions a window of up to 13 tokens.
#[derive(Clone, Zeroize)]
#[zeroize(drop)]
pub struct WindowPrf {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl WindowPrf {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let midstate = |pad: u8| {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            let mut state = INITIAL;
            compress(&mut state, &block);
            block.zeroize();
            state
        };
        Self { inner: midstate(0x36), outer: midstate(0x5c) }
    }

    /// The seed of a window: its token ids as `u32` little-endian, oldest first.
    pub fn seed(&self, window: &[TokenId]) -> Seed {
        let (whole, rest) = window.as_chunks::<{ BLOCK / 4 }>();
        let mut state = self.inner;
        for tokens in whole {
            compress(&mut state, &message(tokens));
        }
        let bytes = 4 * rest.len();
        let mut last = message(rest);
        last[bytes] = 0x80;
        if bytes + 1 + LENGTH > BLOCK {
            compress(&mut state, &last);
            last = [0; BLOCK];
        }
        end(&mut state, last, 4 * window.len());
        let mut digest = [0; BLOCK];
        digest.as_chunks_mut().0.iter_mut().zip(state).for_each(|(bytes, word)| *bytes = word.to_be_bytes());
        digest[32] = 0x80;
        let mut state = self.outer;
        end(&mut state, digest, 32);
        Seed::of_words(state)
    }

    /// The seeds of `windows`, which have equally many tokens, added to `seeds` in their order: quicker than one by one.
    pub fn seeds(&self, windows: &[&[TokenId]], seeds: &mut Vec<Seed>) {
        many::seeds(self, windows, seeds);
    }

    /// The states behind the key's own blocks, of the inner and the outer hash.
    pub(super) fn midstates(&self) -> [[u32; 8]; 2] {
        [self.inner, self.outer]
    }
}

impl fmt::Debug for WindowPrf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WindowPrf(..)")
    }
}

/// Bytes that SHA-256 takes at once (FIPS 180-4, §5.2.1), and those of the message's length at its end.
const BLOCK: usize = 64;
const LENGTH: usize = 8;

/// SHA-256's first state: FIPS 180-4, §5.3.3.
pub(super) const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

fn compress(state: &mut [u32; 8], block: &[u8; BLOCK]) {
    compress256(state, std::slice::from_ref(block.into()));
}

/// The last block, of a message of `bytes` bytes after the key's own block.
fn end(state: &mut [u32; 8], mut block: [u8; BLOCK], bytes: usize) {
    let bits = 8 * (BLOCK as u64 + bytes as u64);
    block[BLOCK - LENGTH..].copy_from_slice(&bits.to_be_bytes());
    compress(state, &block);
}

/// Up to 16 tokens, and zeros behind them.
fn message(tokens: &[TokenId]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block.as_chunks_mut().0.iter_mut().zip(tokens).for_each(|(bytes, token)| *bytes = token.to_le_bytes());
    block
}

/// The ChaCha20 key of one window.
#[derive(Zeroize)]
#[zeroize(drop)]
pub struct Seed([u8; 32]);

impl Seed {
    /// A seed from the words of a SHA-256 state.
    pub(super) fn of_words(state: [u32; 8]) -> Self {
        let mut seed = Self([0; 32]);
        seed.0.as_chunks_mut().0.iter_mut().zip(state).for_each(|(bytes, word)| *bytes = word.to_be_bytes());
        seed
    }

    /// The keystream of this window, at its start.
    pub fn keystream(&self) -> Keystream {
        Keystream(ChaCha20Rng::from_seed(self.0))
    }

    /// Fills `words`, a whole number of blocks of 16, with the keystream from block `first` on: the quickest way to many lanes.
    pub fn fill(&self, first: u32, words: &mut [u32]) {
        chacha::fill(&self.0, first, words);
    }

    /// The lane of `token`.
    pub fn lane(&self, bits: LaneBits, token: TokenId) -> u32 {
        self.keystream().lane(bits, token)
    }

    /// The lanes of many tokens, best in ascending order.
    pub fn lanes(&self) -> Lanes {
        Lanes { seed: Self(self.0), stream: self.keystream().0, bytes: [0; 4 * STRETCH], stretch: None }
    }

    /// Block `token` of stream `stream`: bit i, least significant first within words, is that of account
    /// 512 · `stream` + i (`payload/1`).
    pub fn account_block(&self, stream: u64, token: TokenId) -> [u64; 8] {
        let mut rng = ChaCha20Rng::from_seed(self.0);
        rng.set_stream(stream);
        rng.set_word_pos(u128::from(token) * 16);
        std::array::from_fn(|_| rng.next_u64())
    }

    /// Account `account`'s bit for `token` (`payload/1`): bit (account mod 512) of block `token`, stream id
    /// ⌊account / 512⌋. One block answers for 512 accounts.
    pub fn account_bit(&self, account: u64, token: TokenId) -> bool {
        let mut stream = ChaCha20Rng::from_seed(self.0);
        stream.set_stream(account / 512);
        let bit = account % 512;
        stream.set_word_pos(u128::from(token) * 16 + u128::from(bit / 32));
        stream.next_u32() >> (bit % 32) & 1 == 1
    }

    /// The seed itself, for checks against known answers.
    pub fn hazmat_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// RFC 8439 ChaCha20 words under a window's seed: zero nonce, counter from 0.
pub struct Keystream(ChaCha20Rng);

impl Keystream {
    /// The lane of `token`: `bits` bits at bit `bits · token`, least significant first within little-endian words.
    pub fn lane(&mut self, bits: LaneBits, token: TokenId) -> u32 {
        let bit = u64::from(bits.get()) * u64::from(token);
        self.0.set_word_pos(u128::from(bit / 32));
        let word = self.0.next_u32();
        (word >> (bit % 32)) & bits.mask()
    }

    /// The next keystream word.
    pub fn next_word(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Fills `words` with the next keystream words.
    pub fn fill(&mut self, words: &mut [u32]) {
        for word in words {
            *word = self.0.next_u32();
        }
    }
}

impl fmt::Debug for Keystream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keystream(..)")
    }
}

/// Keystream words that are read at once: what the cipher's implementation makes in one go.
const STRETCH: usize = 64;

/// One window's lanes by token; tokens whose lanes are neighbours share a stretch of keystream.
pub struct Lanes {
    seed: Seed,
    stream: ChaCha20Rng,
    bytes: [u8; 4 * STRETCH],
    stretch: Option<u64>,
}

impl Lanes {
    /// The lane of `token`, as [`Seed::lane`] gives it.
    pub fn get(&mut self, bits: LaneBits, token: TokenId) -> u32 {
        let bit = u64::from(bits.get()) * u64::from(token);
        let (stretch, at) = (bit / 32 / STRETCH as u64, (bit / 32) as usize % STRETCH);
        if self.stretch != Some(stretch) {
            self.stream.set_word_pos(u128::from(stretch) * STRETCH as u128);
            self.stream.fill_bytes(&mut self.bytes);
            self.stretch = Some(stretch);
        }
        let word = u32::from_le_bytes(self.bytes.as_chunks().0[at]);
        word >> (bit % 32) & bits.mask()
    }

    /// As [`Seed::account_bit`].
    pub fn account_bit(&self, account: u64, token: TokenId) -> bool {
        self.seed.account_bit(account, token)
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lanes(..)")
    }
}

/// How many of `coins` (the number of a seed in `seeds`, and a token) have a lane below `threshold`: the quickest way to
/// count the hits of one key on a text.
///
/// # Panics
/// A number beyond `seeds`.
pub fn count_below(bits: LaneBits, threshold: u32, seeds: &[Seed], coins: &[(u32, TokenId)]) -> u64 {
    let mut below = 0;
    scattered::visit(bits, seeds, coins, |lane| below += u64::from(lane < threshold));
    below
}

/// Shows the lanes of `coins` (the number of a seed in `seeds`, and a token) in their order, as [`Seed::lane`] gives them:
/// quicker where windows are asked for few tokens each.
///
/// # Panics
/// A number beyond `seeds`.
pub fn visit_lanes(bits: LaneBits, seeds: &[Seed], coins: &[(u32, TokenId)], see: impl FnMut(u32)) {
    scattered::visit(bits, seeds, coins, see);
}

/// Keystream bits a token owns: 1, 2, 4, 8, 16 or 32, so that no lane crosses a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneBits(u8);

impl LaneBits {
    /// One byte a token, as the coin of a mix reads it.
    pub const BYTE: Self = Self(8);
    /// One word a token, as Gumbel and tournament marks read it.
    pub const WORD: Self = Self(32);

    /// A lane of `bits` bits.
    ///
    /// # Errors
    /// Any number that does not divide 32.
    pub fn new(bits: u8) -> Result<Self, LaneBitsError> {
        match bits {
            1 | 2 | 4 | 8 | 16 | 32 => Ok(Self(bits)),
            other => Err(LaneBitsError(other)),
        }
    }

    /// The number of bits.
    pub fn get(self) -> u8 {
        self.0
    }

    /// The largest lane value.
    pub fn mask(self) -> u32 {
        u32::MAX >> (32 - u32::from(self.0))
    }
}

/// A lane width that does not divide 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a lane has 1, 2, 4, 8, 16 or 32 bits, not {0}")]
pub struct LaneBitsError(u8);

#[cfg(test)]
mod tests {
    use hmac::{Hmac, Mac};
    use sha2::Sha256;

    use super::*;

    #[test]
    fn seeds_are_hmac_whatever_the_number_of_tokens() {
        let prf = WindowPrf::new(&[0xa5; 32]);
        for tokens in 0..40_u32 {
            let window: Vec<TokenId> = (0..tokens).map(|token| token.wrapping_mul(0x9e37_79b9)).collect();
            let mut mac = Hmac::<Sha256>::new_from_slice(&[0xa5; 32]).unwrap();
            window.iter().for_each(|token| mac.update(&token.to_le_bytes()));
            let wanted: [u8; 32] = mac.finalize().into_bytes().into();
            assert_eq!(*prf.seed(&window).hazmat_bytes(), wanted, "{tokens} tokens");
        }
    }
}
