//! The CPU generator of torch, as far as green lists and tables need it.
//!
//! mt19937 (Matsumoto and Nishimura 1998) seeded by the *low 32 bits* of `manual_seed`; `randperm` is a Fisher–Yates
//! shuffle that keeps the bias of its remainder; `randint(0, 2)` is a word's lowest bit. CUDA's generator is another one:
//! lists made on a GPU cannot be read with this.

use crate::law::Gamma;
use crate::token::TokenId;

/// mt19937.
#[derive(Clone, Debug)]
pub(super) struct Generator {
    state: [u32; 624],
    at: usize,
}

impl Generator {
    /// As after `manual_seed`, of which torch keeps the low 32 bits.
    pub(super) fn new(seed: u32) -> Self {
        let mut state = [seed; 624];
        for (at, number) in (1..624).zip(1_u32..) {
            let last = state[at - 1];
            state[at] = (last ^ last >> 30).wrapping_mul(1_812_433_253).wrapping_add(number);
        }
        Self { state, at: 624 }
    }

    /// The next word.
    pub(super) fn word(&mut self) -> u32 {
        if self.at == 624 {
            self.refill();
        }
        let mut word = self.state[self.at];
        self.at += 1;
        word ^= word >> 11;
        word ^= word << 7 & 0x9d2c_5680;
        word ^= word << 15 & 0xefc6_0000;
        word ^ word >> 18
    }

    fn refill(&mut self) {
        for at in 0..624 {
            let mixed = self.state[at] & 0x8000_0000 | self.state[(at + 1) % 624] & 0x7fff_ffff;
            let odd = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[at] = self.state[(at + 397) % 624] ^ mixed >> 1 ^ odd;
        }
        self.at = 0;
    }
}

/// The permutation of 0..`size` that `randperm` makes after `manual_seed(seed)`; exact for sizes below 214,748,364.
pub(super) fn permutation(size: u32, seed: u32) -> Vec<u32> {
    let mut order = Vec::new();
    shuffle(&mut order, size, size.saturating_sub(1), seed);
    order
}

/// The first `steps` steps of the shuffle: they settle as many of the first entries.
fn shuffle(order: &mut Vec<u32>, size: u32, steps: u32, seed: u32) {
    order.clear();
    order.extend(0..size);
    let mut generator = Generator::new(seed);
    for at in 0..steps {
        let other = at + generator.word() % (size - at);
        order.swap(at as usize, other as usize);
    }
}

/// The largest vocabulary read: far above any that exists, far below where torch changes its algorithm.
pub(super) const VOCABULARY_MAX: u32 = 1 << 24;

/// Green lists: of one seed exactly `green` of `vocabulary` tokens, the first or the last of a permutation.
///
/// # Law
/// Assume that the words of one seed are uniform and those of different seeds independent. The hits among k tokens of
/// one seed are then hypergeometric but for the remainder's bias; [`Lists::rate`] bounds a token's chance with that bias
/// in it, and `stat::foreign` says why a binomial tail with this rate is an upper bound for hits under many seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lists {
    vocabulary: u32,
    green: u32,
    last: bool,
}

impl Lists {
    /// ⌊γ·vocabulary⌋ green tokens, computed as Python does. None unless that is 1 to vocabulary − 1, at most
    /// [`VOCABULARY_MAX`]. `last`: the end of the permutation is green instead of its beginning.
    pub(super) fn new(vocabulary: u32, gamma: f64, last: bool) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates; checked below"
        )]
        let green = (f64::from(vocabulary) * gamma) as u32;
        let fits = green > 0 && green < vocabulary && vocabulary <= VOCABULARY_MAX;
        fits.then_some(Self { vocabulary, green, last })
    }

    /// Token ids below this one have a place in the lists.
    pub(super) fn vocabulary(&self) -> u32 {
        self.vocabulary
    }

    /// Entries that are left when the list is settled.
    pub(super) fn left(&self) -> u32 {
        self.vocabulary - self.steps()
    }

    /// Steps of the shuffle that settle the list: the green entries, or all others.
    fn steps(&self) -> u32 {
        if self.last { self.vocabulary - self.green } else { self.green }
    }

    /// An upper bound of a token's chance to be green, within 10⁻⁴ of it relatively.
    ///
    /// At a step with m entries left each is picked with a chance within ε = 2⁻³² of 1/m, so a token survives s steps
    /// with a chance within a factor 1 ± ε Σ m/(m−1) (to first order) of (V−s)/V, and m/(m−1) ≤ 2. Two steps' worth on
    /// each are added, rounded up to 2⁻³².
    pub(super) fn rate(&self) -> Gamma {
        let (vocabulary, green) = (u64::from(self.vocabulary), u64::from(self.green));
        let steps = u64::from(self.steps());
        let threshold = (green << 32).div_ceil(vocabulary) + 2 * steps + 2;
        let threshold = u32::try_from(threshold).unwrap_or(u32::MAX);
        #[expect(clippy::expect_used, reason = "1 to 2^32 - 1 of 2^32")]
        Gamma::new(threshold, 32).expect("a probability strictly between 0 and 1")
    }

    /// Which of `tokens` are green under `seed`, in their order. `order` is working memory.
    pub(super) fn are_green(
        &self,
        order: &mut Vec<u32>,
        seed: u32,
        tokens: impl Iterator<Item = TokenId>,
    ) -> Vec<bool> {
        let steps = self.steps();
        shuffle(order, self.vocabulary, steps, seed);
        let mut settled = vec![0_u64; self.vocabulary as usize / 64 + 1];
        for token in &order[..steps as usize] {
            settled[*token as usize / 64] |= 1 << (token % 64);
        }
        let is_settled = |token: TokenId| settled[token as usize / 64] >> (token % 64) & 1 == 1;
        tokens.map(|token| token < self.vocabulary && is_settled(token) != self.last).collect()
    }
}

/// `table[x mod size]` of a permutation, the way KGW schemes hash integers.
#[derive(Clone, Debug)]
pub(super) struct Table(Vec<u32>);

impl Table {
    /// The size that `transformers` and lm-watermarking use.
    const SIZE: u32 = 1_000_003;

    /// Their table after `manual_seed(seed)`.
    pub(super) fn new(seed: u64) -> Self {
        Self(permutation(Self::SIZE, low(seed)))
    }

    /// table[x mod size] + 1, the remainder never negative.
    pub(super) fn hash(&self, x: i64) -> i64 {
        let at = x.rem_euclid(i64::from(Self::SIZE)).unsigned_abs();
        i64::from(usize::try_from(at).ok().and_then(|at| self.0.get(at)).copied().unwrap_or(0)) + 1
    }
}

/// The low 32 bits, which are all that `manual_seed` keeps.
pub(super) fn low(seed: u64) -> u32 {
    let [a, b, c, d, ..] = seed.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The low 32 bits of an integer reduced modulo 2⁶⁴ − 1, never negative, as Python's `%` does.
pub(super) fn reduced(seed: i128) -> u32 {
    const MODULUS: i128 = (1 << 64) - 1;
    low(u64::try_from(seed.rem_euclid(MODULUS)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_mt19937() {
        // The reference code's init_genrand(5489): its first output, and the ten thousandth (C++ [rand.predef]).
        let mut generator = Generator::new(5489);
        assert_eq!(generator.word(), 3_499_211_612);
        assert_eq!((1..10_000).map(|_| generator.word()).last(), Some(4_123_659_995));
    }

    #[test]
    fn lists_are_the_ends_of_the_permutation() {
        let (vocabulary, seed) = (1_000, 77);
        let order = permutation(vocabulary, seed);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..vocabulary));
        for (last, wanted) in [(false, &order[..250]), (true, &order[750..])] {
            let lists = Lists::new(vocabulary, 0.25, last).unwrap();
            assert_eq!(lists.green, 250);
            let green = lists.are_green(&mut Vec::new(), seed, 0..1_005);
            assert_eq!(green.iter().filter(|green| **green).count(), 250);
            assert!(wanted.iter().all(|token| green[*token as usize]));
        }
    }

    #[test]
    fn a_rate_is_above_the_share_by_little() {
        for (vocabulary, gamma, last) in [(50_257, 0.25, false), (128_256, 0.5, true), (2, 0.5, false)] {
            let lists = Lists::new(vocabulary, gamma, last).unwrap();
            let share = f64::from(lists.green) / f64::from(vocabulary);
            let rate = lists.rate().value();
            assert!(rate > share && rate < share * 1.000_1, "{rate} and {share}");
        }
        // The chance itself, if words are uniform: each step picks an entry with at most ⌈2³²/m⌉ of 2³² words.
        for (vocabulary, gamma) in [(50_257, 0.25), (1_000, 0.5), (7, 0.5)] {
            let lists = Lists::new(vocabulary, gamma, false).unwrap();
            let missed: f64 = (0..lists.green)
                .map(|step| u32::try_from((1_u64 << 32).div_ceil((vocabulary - step).into())).unwrap())
                .map(|words| 1.0 - f64::from(words) / 4_294_967_296.0)
                .product();
            assert!(lists.rate().value() >= 1.0 - missed, "{vocabulary}");
        }
        for (vocabulary, gamma) in [(0, 0.5), (1, 0.5), (10, 0.01), (10, 1.0), (10, f64::NAN), (1 << 25, 0.5)]
        {
            assert!(Lists::new(vocabulary, gamma, false).is_none(), "{gamma} of {vocabulary}");
        }
    }

    #[test]
    fn seeds_are_reduced_as_python_does() {
        assert_eq!(reduced(-1), u32::MAX - 1);
        assert_eq!(reduced(i128::from(u64::MAX)), 0);
        assert_eq!(reduced((1 << 64) + 5), 6);
        assert_eq!(low(u64::MAX - 1), u32::MAX - 1);
    }
}
