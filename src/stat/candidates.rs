//! One of many candidates, or none: an exact test of each, corrected for all of them.
//!
//! A decoder would read the likeliest candidate from a text and believe it; among 25,000 innocents the luckiest always
//! looks good. Here every candidate has its own exact p-value, and *all* that could have been named count in the
//! correction, whoever proposed to look at one.

use super::multiple::holm;
use super::rate::{Rate, RateError};
use super::tail::binomial_ln_sf;
use crate::law::Candidates;

/// One candidate's test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Who.
    pub id: u64,
    /// Draws that are hits of this candidate.
    pub hits: u64,
    /// ln P(Binomial(draws, γ) ≥ hits): exact under H0 for this candidate, whoever the text was marked for.
    pub ln_p: f64,
    /// The same after Holm's correction over all candidates.
    pub adjusted_ln_p: f64,
}

/// The tests of all candidates on one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    draws: u64,
    tests: Vec<Candidate>,
}

impl Named {
    /// Tests every candidate.
    ///
    /// *Null assumption*, for each candidate: the text does not depend on this candidate's coins. Broken by text that was
    /// written with a look at them, and by prompts that derive from text marked for the candidate.
    ///
    /// # Errors
    /// Never for laws of keyed coins: their chances are exact fractions.
    pub fn of(candidates: Candidates) -> Result<Self, RateError> {
        let (gamma, draws) = (candidates.gamma(), candidates.draws());
        let rate = Rate::dyadic(u64::from(gamma.threshold()), u32::from(gamma.bits()))?;
        let ln_p: Vec<f64> =
            candidates.hits().iter().map(|(_, hits)| binomial_ln_sf(draws, *hits, rate)).collect();
        let adjusted = holm(&ln_p);
        let tests = candidates.hits().iter().zip(ln_p.into_iter().zip(adjusted));
        let test = |(&(id, hits), (ln_p, adjusted_ln_p))| Candidate { id, hits, ln_p, adjusted_ln_p };
        Ok(Self { draws, tests: tests.map(test).collect() })
    }

    /// Distinct draws.
    pub fn draws(&self) -> u64 {
        self.draws
    }

    /// Every test, by candidate.
    pub fn tests(&self) -> &[Candidate] {
        &self.tests
    }

    /// The candidates with a corrected p of at most e^`ln_alpha`, the strongest first. Most often nobody: then the tool
    /// abstains, and the nearest candidate is not named.
    pub fn found(&self, ln_alpha: f64) -> Vec<Candidate> {
        let mut found: Vec<Candidate> =
            self.tests.iter().copied().filter(|test| test.adjusted_ln_p <= ln_alpha).collect();
        found.sort_by(|a, b| a.ln_p.total_cmp(&b.ln_p).then(a.id.cmp(&b.id)));
        found
    }
}
