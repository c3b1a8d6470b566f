//! Many candidates for one text: each has coins of its own at every draw.

use std::collections::BTreeSet;

use super::{Gamma, Origin, Whole};

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
    origins: BTreeSet<Origin>,
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

    /// Adds further candidates, tested on the same draws: all together are corrected for.
    ///
    /// # Errors
    /// Another number of draws or chance of a hit, or a candidate that is there twice.
    pub fn join(mut self, others: Self) -> Result<Self, Unlike> {
        if (self.gamma, self.draws) != (others.gamma, others.draws) {
            return Err(Unlike::Text);
        }
        self.hits.extend(others.hits);
        self.hits.sort_unstable();
        if self.hits.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(Unlike::Twice);
        }
        self.origins.extend(others.origins);
        Ok(self)
    }

    /// Adds the draws of the same candidates under *unrelated* keys, such as those of another epoch: a candidate's hits are
    /// independent there, so they add up.
    ///
    /// # Errors
    /// Other candidates or chances, or a key whose draws are in already.
    pub fn pool(mut self, other: Self) -> Result<Self, Unlike> {
        let same = self.hits.iter().map(|(id, _)| id).eq(other.hits.iter().map(|(id, _)| id));
        if !same || self.gamma != other.gamma {
            return Err(Unlike::Candidates);
        }
        if !self.origins.is_disjoint(&other.origins) {
            return Err(Unlike::SameOrigin);
        }
        self.hits.iter_mut().zip(other.hits).for_each(|((_, hits), (_, more))| *hits += more);
        self.draws += other.draws;
        self.origins.extend(other.origins);
        Ok(self)
    }
}

/// Candidates that do not belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unlike {
    /// Other candidates.
    #[error("the same candidates are tested in every epoch, with one chance of a hit")]
    Candidates,
    /// The same coins again.
    #[error("draws of one key cannot be pooled with each other: the same coins would count twice")]
    SameOrigin,
    /// Another text.
    #[error("candidates are compared on the same draws")]
    Text,
    /// A candidate again.
    #[error("a candidate is there twice")]
    Twice,
}

impl<I> Whole<I> {
    /// Opens every draw for each of `candidates`, whose coins are of the keys `origins`. `hits` counts, in the candidates'
    /// order, how many of the inputs are hits.
    ///
    /// # Errors
    /// A coefficient other than 1: the exact law of a candidate is that of a count.
    pub fn open_for(
        &self,
        gamma: Gamma,
        candidates: &BTreeSet<u64>,
        origins: BTreeSet<Origin>,
        hits: impl FnOnce(&[&I]) -> Vec<u64>,
    ) -> Result<Candidates, Weighted> {
        if self.entries.iter().any(|entry| entry.coefficient != 1) {
            return Err(Weighted);
        }
        let inputs: Vec<&I> = self.entries.iter().map(|entry| &entry.input).collect();
        // A candidate for whom no hits were counted stays in the correction, without any.
        let hits = hits(&inputs).into_iter().chain(std::iter::repeat(0));
        let hits = candidates.iter().copied().zip(hits).collect();
        Ok(Candidates { gamma, draws: inputs.len() as u64, hits, origins })
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
        let fair = Gamma::new(1, 1).unwrap();
        let found = whole.open_for(fair, &(0..4).collect(), BTreeSet::new(), |_| vec![2]).unwrap();
        assert_eq!(found.hits(), [(0, 2), (1, 0), (2, 0), (3, 0)]);
    }
}
