//! Draws of other engines' marks: they rest on assumptions of their own, and never become [`Draws`](super::Draws).

use super::{Gamma, Weighted, Whole};

/// The law of a foreign draw under H0, as far as its engine's generator behaves like a random function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignLaw {
    /// X = −ln((c+1)/2³²) as in [`Law::Exponential`](super::Law::Exponential).
    Exponential,
    /// A fair bit.
    Fair,
    /// In a green list of its seed, with a chance of at most this. Draws of one seed are not independent: a list has a fixed
    /// size, so a token in it leaves less room for another.
    Listed(Gamma),
}

/// Opened foreign draws, each counted once: one for each input of the engine's generator.
#[derive(Debug)]
#[must_use]
pub struct Foreign {
    law: ForeignLaw,
    words: Vec<u32>,
}

impl Foreign {
    /// The law of each draw.
    pub fn law(&self) -> ForeignLaw {
        self.law
    }

    /// The words: 0 or 1 for bits and lists, else 32 bits.
    pub fn words(&self) -> &[u32] {
        &self.words
    }
}

impl<I> Whole<I> {
    /// Opens foreign draws. `words` gives the generator's words of the inputs, in their order.
    ///
    /// # Errors
    /// A coefficient other than 1: the tail of listed draws is known for counts only.
    pub fn open_foreign(
        &self,
        law: ForeignLaw,
        words: impl FnOnce(&[&I]) -> Vec<u32>,
    ) -> Result<Foreign, Weighted> {
        if self.entries.iter().any(|entry| entry.coefficient != 1) {
            return Err(Weighted);
        }
        let inputs: Vec<&I> = self.entries.iter().map(|entry| &entry.input).collect();
        Ok(Foreign { law, words: words(&inputs) })
    }
}

/// What a text shows of a public table that a key reads from secret offsets: for each offset the sum of one layer.
///
/// A table T of N public bits; residues r, which the text alone decides, with coefficients n; layer d reads T\[r + k_d\].
/// So S = Σ_d C(k_d) with C(k) = Σ_r n_r T\[(r + k) mod N\], the circular correlation of the two. No key is in C: under H0,
/// with offsets that are uniform, independent of each other and of the text, each layer's sum is uniform on the N values
/// of C. That is exact, whatever the table and however the text repeats itself; nothing is assumed of a generator.
#[derive(Clone, Debug)]
pub struct Correlation {
    draws: u64,
    sums: Vec<i32>,
}

impl Whole<u32> {
    /// The correlation of residues, each below the number of `bits`, with those bits.
    pub fn correlate(&self, bits: &[bool]) -> Correlation {
        let twice: Vec<i32> = bits.iter().chain(bits).map(|bit| i32::from(*bit)).collect();
        let mut sums = vec![0; bits.len()];
        for entry in self.entries.iter().filter(|entry| (entry.input as usize) < bits.len()) {
            let from = &twice[entry.input as usize..];
            for (sum, bit) in sums.iter_mut().zip(from) {
                *sum += entry.coefficient * bit;
            }
        }
        Correlation { draws: self.entries.len() as u64, sums }
    }
}

impl Correlation {
    /// Reads it at the key's `offsets`, one a layer. Layers with equal offsets show the same bits: they count once.
    pub fn open(&self, offsets: &[u32]) -> Offsets<'_> {
        let mut offsets: Vec<u32> =
            offsets.iter().copied().filter(|offset| (*offset as usize) < self.sums.len()).collect();
        offsets.sort_unstable();
        offsets.dedup();
        Offsets { correlation: self, offsets }
    }
}

/// A table read at a key's offsets: the draws are the offsets, one a layer.
#[derive(Debug)]
#[must_use]
pub struct Offsets<'c> {
    correlation: &'c Correlation,
    offsets: Vec<u32>,
}

impl Offsets<'_> {
    /// Residues that the text shows.
    pub fn residues(&self) -> u64 {
        self.correlation.draws
    }

    /// Layers with offsets of their own.
    pub fn layers(&self) -> u64 {
        self.offsets.len() as u64
    }

    /// One layer's sum at every offset there is: each with the same chance under H0.
    pub fn sums(&self) -> &[i32] {
        &self.correlation.sums
    }

    /// S: the layers' sums at the key's own offsets.
    pub fn statistic(&self) -> i64 {
        self.offsets.iter().map(|offset| i64::from(self.correlation.sums[*offset as usize])).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{Scale, Tally};

    fn whole(entries: &[(u32, f64)]) -> Whole<u32> {
        let mut tally = Tally::new();
        entries.iter().for_each(|(input, a)| tally.add(*input, *a, 0));
        tally.whole(Scale::Unit)
    }

    #[test]
    fn a_correlation_is_the_layers_sum_at_each_offset() {
        let bits = [true, false, false, true, true, false, true, false];
        let text = [(0, 1.0), (5, 2.0), (7, 1.0)];
        let correlation = whole(&text).correlate(&bits);
        for k in 0..8_u32 {
            let bit = |r: u32| i32::from(bits[((r + k) % 8) as usize]);
            assert_eq!(correlation.sums[k as usize], bit(0) + 2 * bit(5) + bit(7));
        }
        let opened = correlation.open(&[3, 1, 3, 900]);
        assert_eq!(opened.layers(), 2);
        assert_eq!(opened.statistic(), i64::from(correlation.sums[1] + correlation.sums[3]));
    }

    #[test]
    fn weighted_foreign_draws_are_refused() {
        let open = |whole: Whole<u32>| whole.open_foreign(ForeignLaw::Fair, |inputs| vec![1; inputs.len()]);
        assert_eq!(open(whole(&[(1, 1.0), (2, 1.0)])).unwrap().words(), [1, 1]);
        assert!(open(whole(&[(1, 1.0), (1, 1.0)])).is_err());
    }
}
