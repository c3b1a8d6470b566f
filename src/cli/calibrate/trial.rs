//! One innocent under every key.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::super::Failure;
use super::super::output::Stages;
use super::innocents::Evidence;
use super::{Arguments, Innocent};
use crate::key::{Epoch, Secret};
use crate::law::Draws;
use crate::scheme::{Scheme, Spec};
use crate::score::Counted;
use crate::stat::attainable::attainable;
use crate::stat::verdict::{Summary, TestError, verdict_tail};

/// The levels that are looked at.
pub(super) const LEVELS: [f64; 4] = [1e-1, 1e-2, 1e-3, 1e-4];

/// What the keys gave, in their order.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) ln_p: Vec<f64>,
    pub(super) z: Vec<f64>,
    /// min(0, −ln max E) of the same draws, answer by answer.
    pub(super) anytime: Option<Vec<f64>>,
    /// P(p ≤ level) for each of [`LEVELS`].
    pub(super) attainable: Vec<f64>,
}

/// The throwaway keys of a calibration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Throwaway {
    pub(super) seed: u64,
    pub(super) spec: Spec,
}

/// What one key gave.
struct Outcome {
    ln_p: f64,
    z: f64,
    anytime: Option<f64>,
}

impl Throwaway {
    /// The scheme under key `number`.
    pub(super) fn scheme(self, number: u32) -> Result<Scheme, Failure> {
        let epoch: Epoch = "calibration".parse()?;
        let secret = Sha256::new()
            .chain_update("taggant calibration, never for service\0")
            .chain_update(self.seed.to_le_bytes())
            .chain_update(number.to_le_bytes());
        Ok(self.spec.open(&Secret::from_bytes(secret.finalize().into()).epoch_key(&epoch)))
    }
}

impl Trial {
    pub(super) fn of(
        innocent: &Innocent,
        arguments: &Arguments,
        stages: &mut Stages,
    ) -> Result<Self, Failure> {
        let Arguments { keys, sequential, .. } = *arguments;
        let throwaway = Throwaway { seed: arguments.seed, spec: arguments.spec };
        stages.start(&format!("{} under {keys} keys", innocent.name), u64::from(keys));
        let at = |done| stages.at(done);
        match &innocent.evidence {
            Evidence::Reads(reader) => {
                let test = |number| Ok(Outcome::of_reading(&reader.read(throwaway, number)?));
                Self::under(keys, LEVELS.to_vec(), test, &at)
            }
            Evidence::Counted(counted) => {
                // A mix chooses coefficients by a coin of each key: there the level itself is the limit of what is attained.
                let attainable = match counted {
                    Counted::Plain(evidence) => attainable(&evidence.open(&throwaway.scheme(0)?)?, &LEVELS)?,
                    Counted::Mixed(_) => LEVELS.to_vec(),
                };
                let test = |number| Ok(Outcome::of(counted.open(&throwaway.scheme(number)?)?, sequential)?);
                Self::under(keys, attainable, test, &at)
            }
        }
    }

    /// A test under each key, as a suspect's evidence would be tested.
    fn under(
        keys: u32,
        attainable: Vec<f64>,
        test: impl Fn(u32) -> Result<Outcome, Failure> + Sync,
        at: &(impl Fn(u64) + Sync),
    ) -> Result<Self, Failure> {
        let done = AtomicU64::new(0);
        let outcome = |number: u32| {
            let outcome = test(number)?;
            at(done.fetch_add(1, Ordering::Relaxed) + 1);
            Ok(outcome)
        };
        let outcomes: Vec<Outcome> =
            (0..keys).into_par_iter().map(outcome).collect::<Result<_, Failure>>()?;
        Ok(Self {
            ln_p: outcomes.iter().map(|outcome| outcome.ln_p).collect(),
            z: outcomes.iter().map(|outcome| outcome.z).collect(),
            anytime: outcomes.iter().map(|outcome| outcome.anytime).collect(),
            attainable,
        })
    }
}

impl Outcome {
    /// The verdict tail; the e-process costs more, and is made where it is asked for.
    fn of(draws: Draws, sequential: bool) -> Result<Self, TestError> {
        if !sequential {
            let (ln_p, z) = verdict_tail(draws)?;
            return Ok(Self { ln_p, z, anytime: None });
        }
        let summary = Summary::of(draws)?;
        Ok(Self { ln_p: summary.ln_p, z: summary.z, anytime: Some((-summary.ln_e_max).min(0.0)) })
    }

    /// Of a reading the e-process is the verdict itself.
    fn of_reading(summary: &Summary) -> Self {
        Self { ln_p: summary.ln_p, z: summary.z, anytime: None }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::table_of;
    use super::*;
    use crate::law::{Scale, Tally};
    use crate::score::{Exchange, Numbering, Provenance, TextStatistic, count};

    const SPEC: &str = "green/1/w1/b2/t1";

    /// Text over 20 tokens, so that (window, token) return.
    fn repetitive() -> Vec<Exchange> {
        let mut state = 7_u32;
        let mut token = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) % 20
        };
        let exchange = |_| {
            let response = (0..150).map(|_| token()).collect();
            Exchange { prompt: vec![99], response, whole_context: true, provenance: Provenance::Fresh }
        };
        (0..6).map(exchange).collect()
    }

    fn under(open: impl Fn(&Scheme) -> Draws + Sync) -> Trial {
        let throwaway = Throwaway { seed: 0, spec: SPEC.parse().unwrap() };
        let test = |number| Ok(Outcome::of(open(&throwaway.scheme(number)?), false)?);
        Trial::under(400, LEVELS.to_vec(), test, &|_| {}).unwrap()
    }

    #[test]
    fn a_test_that_counts_every_occurrence_as_a_draw_is_flagged() {
        let exchanges = repetitive();
        let evidence =
            count(SPEC.parse::<Spec>().unwrap().width(), &exchanges, TextStatistic::Distinct).unwrap();
        let right = under(|scheme| evidence.open(scheme).unwrap());
        assert!(!table_of(&right).contains("TOO OFTEN"), "{}", table_of(&right));
        // Each occurrence passed off as another input of the keyed function.
        let mut windows = Numbering::default();
        let mut tally = Tally::new();
        for (number, exchange) in exchanges.iter().enumerate() {
            let context = [&exchange.prompt[..], &exchange.response[..]].concat();
            for (at, pair) in context.windows(2).enumerate() {
                tally.add((windows.number(&pair[..1]), pair[1], at, number), 1.0, 0);
            }
        }
        let every = tally.whole(Scale::Unit);
        let wrong = under(|scheme| {
            let arm = &scheme.arms()[0];
            let word = |(window, token, ..): &(u32, u32, usize, usize)| {
                arm.word(&arm.seed(windows.windows().get(*window)), *token)
            };
            every.open(arm.law(), arm.origin(), word)
        });
        assert_eq!(table_of(&wrong).matches("TOO OFTEN").count(), LEVELS.len(), "{}", table_of(&wrong));
    }
}
