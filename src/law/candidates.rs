//! Many candidates for one text: each has coins of its own at every draw.

use std::collections::BTreeSet;

use super::{Gamma, Whole};

/// How many of a text's distinct draws each candidate hits, every candidate that there is.
///
/// Under H0 for one candidate the text has nothing to do with *its* coins, so its hits are Binomial(draws, γ): whatever
/// the other candidates' coins did, a text that was marked for one of them included, because coins of different
/// candidates are independent. Only [`Whole::open_for`] makes it, from draws that count 1 each, and all candidates
/// enter: one that is left out because it did not hit would be missing from the correction.
#[derive(Debug)]
#[must_use]
pub struct Candidates {
    gamma: Gamma,
    draws: u64,
    hits: Vec<(u64, u64)>,
}

impl Candidates {
    /// The chance of a hit.
    pub fn gamma(&self) -> Gamma {
        self.gamma
    }

    /// Distinct draws, the same for every candidate.
    pub fn draws(&self) -> u64 {
        self.draws
    }

    /// (candidate, hits), by candidate.
    pub fn hits(&self) -> &[(u64, u64)] {
        &self.hits
    }
}

impl<I> Whole<I> {
    /// Opens every draw for each of `candidates`. `hits` counts, in their order, how many of the inputs are hits.
    ///
    /// # Errors
    /// A coefficient other than 1: the exact law of a candidate is that of a count.
    pub fn open_for(
        &self,
        gamma: Gamma,
        candidates: &BTreeSet<u64>,
        hits: impl FnOnce(&[&I]) -> Vec<u64>,
    ) -> Result<Candidates, Weighted> {
        if self.entries.iter().any(|entry| entry.coefficient != 1) {
            return Err(Weighted);
        }
        let inputs: Vec<&I> = self.entries.iter().map(|entry| &entry.input).collect();
        // A candidate for whom no hits were counted stays in the correction, without any.
        let hits = hits(&inputs).into_iter().chain(std::iter::repeat(0));
        let hits = candidates.iter().copied().zip(hits).collect();
        Ok(Candidates { gamma, draws: inputs.len() as u64, hits })
    }
}

/// Draws with coefficients, where a count was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("candidates are compared by a count of distinct draws: every coefficient must be 1")]
pub struct Weighted;

#[cfg(test)]
mod tests {
    use super::super::{Scale, Tally};
    use super::*;

    #[test]
    fn a_candidate_whose_hits_were_not_counted_stays_in_the_correction() {
        let mut tally = Tally::new();
        (0..3).for_each(|input| tally.add(input, 1.0, 0));
        let whole = tally.whole(Scale::Unit);
        let found = whole.open_for(Gamma::new(1, 1).unwrap(), &(0..4).collect(), |_| vec![2]).unwrap();
        assert_eq!(found.hits(), [(0, 2), (1, 0), (2, 0), (3, 0)]);
    }
}
