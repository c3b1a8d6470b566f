//! Naming one of many, or nobody: an exact test of every candidate, corrected for all of them.
//!
//! Candidates are accounts with canaries of their own, tenants with keys of their own, or accounts whose bits leaked text
//! carries. *All* that could have been named count in the correction, those without a draw included: an accusation is
//! the extreme of a search, and the extreme of 25,000 innocents always looks good.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::canary::{Answer, Asked, Book, Evidence, EvidenceError, Pick, Picks, Scoring};
use crate::law::Draws;
use crate::stat::candidates::Named;
use crate::stat::multiple::holm;
use crate::stat::verdict::{TestError, verdict_tail};

/// The chance of naming anybody wrongly, over all candidates together.
pub const FAMILY_WISE: f64 = 1e-3;

/// One candidate's own test: made from draws only.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    id: String,
    draws: u64,
    ln_p: f64,
}

impl Test {
    /// The test of the candidate `id` on draws of its own key or picks; without a draw p = 1, and it counts.
    ///
    /// # Errors
    /// A sum beyond what is exact.
    pub fn of(id: &str, draws: Draws) -> Result<Self, TestError> {
        let scored = draws.as_slice().len() as u64;
        let ln_p = if scored == 0 { 0.0 } else { verdict_tail(draws)?.0 };
        Ok(Self { id: id.to_owned(), draws: scored, ln_p })
    }
}

/// A candidate's test after the correction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// Who.
    pub id: String,
    /// Distinct draws.
    pub draws: u64,
    /// ln p of its own test.
    pub ln_p: f64,
    /// The same after Holm's correction over all candidates.
    pub adjusted_ln_p: f64,
}

/// The tests of all candidates, and whom they name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Naming {
    ln_alpha: f64,
    candidates: Vec<Candidate>,
}

/// A candidate that is there twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is a candidate twice: pool its draws into one test")]
pub struct Twice(String);

/// Why accounts have no tests.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamingError {
    /// Answers that are no evidence.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// A sum beyond what is exact.
    #[error(transparent)]
    Test(#[from] TestError),
    /// A candidate that is there twice.
    #[error(transparent)]
    Twice(#[from] Twice),
}

impl Naming {
    /// Corrects `tests` together; e^`ln_alpha` is the family-wise level, [`FAMILY_WISE`] if nothing else was planned.
    ///
    /// *Null assumption*, for each candidate: the suspect's answers do not depend on that candidate's picks or key,
    /// whatever they depend on otherwise. Broken by candidates that were left out because they did not stand out.
    ///
    /// # Errors
    /// A candidate that is there twice.
    pub fn of(tests: Vec<Test>, ln_alpha: f64) -> Result<Self, Twice> {
        let mut seen = BTreeSet::new();
        if let Some(twice) = tests.iter().find(|test| !seen.insert(&test.id)) {
            return Err(Twice(twice.id.clone()));
        }
        let adjusted = holm(&tests.iter().map(|test| test.ln_p).collect::<Vec<_>>());
        let candidate = |(test, adjusted_ln_p): (Test, f64)| {
            let Test { id, draws, ln_p } = test;
            Candidate { id, draws, ln_p, adjusted_ln_p }
        };
        Ok(Self { ln_alpha, candidates: tests.into_iter().zip(adjusted).map(candidate).collect() })
    }

    /// Accounts by the bits of leaked text, which [`crate::score::accounts`] counts for all of them.
    #[must_use]
    pub fn of_text(named: &Named, ln_alpha: f64) -> Self {
        let candidate = |test: &crate::stat::candidates::Candidate| Candidate {
            id: test.id.to_string(),
            draws: named.draws(),
            ln_p: test.ln_p,
            adjusted_ln_p: test.adjusted_ln_p,
        };
        Self { ln_alpha, candidates: named.tests().iter().map(candidate).collect() }
    }

    /// Accounts by their own picks: `asked_for` says which slots each account asked for, *every* candidate with its slots
    /// whether anything was planted or not, and `answers` what the suspect said, `probes` answers a probed slot. A slot that
    /// was not probed counts for nobody; which are probed was fixed before a pick was looked at.
    ///
    /// # Errors
    /// A slot that stays closed, is unknown, or has another number of answers.
    pub fn by_canaries(
        book: &Book,
        picks: &Picks<'_>,
        asked_for: &BTreeMap<String, BTreeSet<u64>>,
        answers: &BTreeMap<u64, Vec<Answer>>,
        probes: usize,
        ln_alpha: f64,
    ) -> Result<Self, NamingError> {
        let test = |(account, slots): (&String, &BTreeSet<u64>)| {
            let asked: Vec<Asked> = slots
                .iter()
                .filter_map(|slot| {
                    let pick = Pick { slot: *slot, account: Some(account.clone()) };
                    Some(Asked { pick, answers: answers.get(slot)?.clone() })
                })
                .collect();
            let evidence = Evidence::new(book, &asked, probes, Scoring::First)?;
            Ok(Test::of(account, evidence.open(picks)?)?)
        };
        let tests: Result<Vec<Test>, NamingError> = asked_for.iter().map(test).collect();
        Ok(Self::of(tests?, ln_alpha)?)
    }

    /// ln of the family-wise level.
    #[must_use]
    pub fn ln_alpha(&self) -> f64 {
        self.ln_alpha
    }

    /// Every candidate, in the order given.
    #[must_use]
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Whom the tests name, the strongest first: most often nobody. The nearest candidate is then not named either.
    #[must_use]
    pub fn named(&self) -> Vec<&Candidate> {
        let mut named: Vec<&Candidate> =
            self.candidates.iter().filter(|candidate| candidate.adjusted_ln_p <= self.ln_alpha).collect();
        named.sort_by(|a, b| a.ln_p.total_cmp(&b.ln_p).then(a.id.cmp(&b.id)));
        named
    }

    /// ln of the smallest corrected p, 0 without a candidate: the test of "none of them".
    #[must_use]
    pub fn ln_p(&self) -> f64 {
        self.candidates.iter().map(|candidate| candidate.adjusted_ln_p).fold(0.0, f64::min)
    }

    /// The draws of the candidate with most.
    #[must_use]
    pub fn most_draws(&self) -> u64 {
        self.candidates.iter().map(|candidate| candidate.draws).max().unwrap_or(0)
    }
}
