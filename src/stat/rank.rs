//! Ranks as draws: where the answer that was served stands among those that were not.
//!
//! Several sampled answers to one prompt (*twins*) are made first, by one generator and through the same
//! filters, exact duplicates merged; then the key picks the one to serve. Later the suspect is asked how it
//! likes each of the m siblings, and the draw is the rank of the one that was served.
//!
//! *Null assumption*: the m values were computed without knowing which sibling was served, and the key picks
//! each with probability 1/m. Then the rank is uniform on 1 … m, whatever the values are, and its score is one
//! [`LatticeTerm::choice`]: the tail of a sum over slots is [`super::lattice::lattice_ln_sf`]. Broken by a value
//! that saw the pick (a prompt that contains the served twin), by serving the best of n instead of the picked
//! one, and by slots that are kept or dropped by what was served or how it ranked.
//!
//! (Given the values, ties included, the m scores that the siblings would get are an exact law too, and a less
//! conservative one. The law used here is the same for every slot and stands in the plan before there are values.)

use super::lattice::LatticeTerm;

/// What each rank counts, planned before any key is touched: rank 1, the best, first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RankScores(Vec<i32>);

impl RankScores {
    /// Scores for the ranks 1 … m. None may be larger than that of a better rank: that a tie moves the rank
    /// *against* the accuser keeps the test valid only where a worse rank never counts more.
    ///
    /// # Errors
    /// No scores, or scores that rise.
    pub fn new(scores: Vec<i32>) -> Result<Self, RankError> {
        if scores.is_empty() {
            return Err(RankError::NoSiblings);
        }
        if let Some(rank) = scores.windows(2).position(|pair| pair[0] < pair[1]) {
            return Err(RankError::Rising { rank: rank + 1 });
        }
        Ok(Self(scores))
    }

    /// The sum of ranks, centred: m + 1 − 2r, that is m − 1, m − 3, … 1 − m (Wilcoxon 1945).
    ///
    /// # Errors
    /// No siblings.
    pub fn linear(siblings: u16) -> Result<Self, RankError> {
        let m = i32::from(siblings);
        Self::new((1..=m).map(|rank| m + 1 - 2 * rank).collect())
    }

    /// The law of one slot under H0: each score with probability 1/m.
    #[must_use]
    pub fn term(&self) -> LatticeTerm {
        LatticeTerm::choice(self.0.clone())
    }

    /// The scores of the ranks 1 … m.
    #[must_use]
    pub fn as_slice(&self) -> &[i32] {
        &self.0
    }

    /// X: the score of the served sibling's rank among all `values`, larger is better.
    ///
    /// # Errors
    /// A number of values other than m, or a sibling that is not among them.
    pub fn score(&self, values: &[f64], served: usize) -> Result<i32, RankError> {
        Ok(self.0[self.rank(values, served)? - 1])
    }

    /// The rank of the served sibling among all `values`, 1 for the largest, a tie lost.
    ///
    /// # Errors
    /// As [`RankScores::score`].
    pub fn rank(&self, values: &[f64], served: usize) -> Result<usize, RankError> {
        if values.len() != self.0.len() || served >= values.len() {
            return Err(RankError::Siblings { planned: self.0.len(), values: values.len(), served });
        }
        Ok(rank_against(values, served))
    }
}

/// The rank of sibling `served` among `values`, from 1 for the largest: how many are *not below* it, itself
/// included. A tie counts as lost, and so does a value that is no number, on either side.
///
/// Break ties by any fixed order of the siblings (NaN above all): that rank is exactly uniform, and this one is
/// never better. With the opposite rule an innocent that likes all siblings alike would be first every time.
fn rank_against(values: &[f64], served: usize) -> usize {
    let below = values.iter().filter(|&&value| value < values[served]).count();
    values.len() - below
}

/// Why a rank has no score.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RankError {
    /// A rank needs at least one sibling.
    #[error("there are no siblings to rank")]
    NoSiblings,
    /// A worse rank counts more than a better one.
    #[error("rank {} counts more than rank {rank}: ties would then favour the accuser", rank + 1)]
    Rising {
        /// The better rank.
        rank: usize,
    },
    /// The slot is not the one that was planned.
    #[error(
        "{values} values and served sibling {served} (from 0) do not belong to {planned} planned siblings"
    )]
    Siblings {
        /// How many siblings the scores are for.
        planned: usize,
        /// How many values were given.
        values: usize,
        /// The index given for the served one.
        served: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_and_values_that_are_no_numbers_count_against_the_accuser() {
        let nan = f64::NAN;
        for (values, served, rank) in [
            (vec![3.0, 1.0, 2.0], 0, 1),
            (vec![3.0, 1.0, 2.0], 1, 3),
            (vec![2.0, 1.0, 2.0], 0, 2),
            (vec![0.0, -0.0, 0.0], 1, 3),
            (vec![nan, 1.0, 2.0], 2, 2),
            (vec![nan, 1.0, 2.0], 0, 3),
            (vec![f64::NEG_INFINITY, f64::NEG_INFINITY], 0, 2),
            (vec![7.0], 0, 1),
        ] {
            assert_eq!(rank_against(&values, served), rank, "{values:?} with {served} served");
        }
    }

    #[test]
    fn scores_that_a_tie_could_exploit_are_refused() {
        assert_eq!(RankScores::new(vec![]), Err(RankError::NoSiblings));
        assert_eq!(RankScores::linear(0), Err(RankError::NoSiblings));
        assert_eq!(RankScores::new(vec![2, 0, 1]), Err(RankError::Rising { rank: 2 }));
        assert_eq!(RankScores::linear(4).unwrap(), RankScores(vec![3, 1, -1, -3]));
        let scores = RankScores::linear(3).unwrap();
        assert!(scores.score(&[1.0, 2.0], 0).is_err() && scores.score(&[1.0, 2.0, 3.0], 3).is_err());
    }
}
