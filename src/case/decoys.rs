//! Decoy keys: the planned statistic on the same material, under keys that never marked anything.
//!
//! Under H0 the real key is one more unrelated key, so its z lies among theirs. That shows a reader what chance looks
//! like, and checks the arithmetic: a variance that is wrong makes their spread differ from 1. A check and a display,
//! never a verdict: the rank of the real key cannot fall below 1/(B + 1), and decoys say nothing about the luck of the
//! one real key, which innocents under that key are for.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::CaseError;
use super::material::Material;
use super::plan::{PlannedTest, SealedPlan};
use crate::key::Secret;
use crate::law::Draws;
use crate::scheme::{Arm, Scheme};
use crate::score::{Counted, Evidence, ScoreError};
use crate::stat::math::{Sum, sqrt, to_f64};
use crate::stat::verdict::TestError;

/// z of one planned test under decoy keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decoys {
    /// The planned test's name.
    pub test: String,
    /// z under each decoy key, in the order of the keys.
    pub z: Vec<f64>,
    /// The mean of z: 0 but for chance.
    pub mean: f64,
    /// The standard deviation of z about that mean: 1 but for chance.
    pub sd: f64,
}

impl Decoys {
    fn new(test: &str, z: Vec<f64>) -> Self {
        let n = to_f64(z.len() as u64);
        let mean = z.iter().copied().collect::<Sum>().value() / n;
        let squares: Sum = z.iter().map(|z| (z - mean) * (z - mean)).collect();
        let sd = sqrt(squares.value() / (n - 1.0));
        Self { test: test.to_owned(), z, mean, sd }
    }

    /// The number of decoy keys, B.
    pub fn count(&self) -> u64 {
        self.z.len() as u64
    }

    /// Where the standard deviation of a correct test lies but once in a thousand times: 1 ± 3.3/√(2B).
    pub fn sd_band(&self) -> [f64; 2] {
        let half = 3.3 / sqrt(2.0 * to_f64(self.count()));
        [1.0 - half, 1.0 + half]
    }

    /// The same for the mean: 0 ± 3.3/√B.
    pub fn mean_band(&self) -> [f64; 2] {
        let half = 3.3 / sqrt(to_f64(self.count()));
        [-half, half]
    }

    /// Whether mean and standard deviation lie in their bands.
    pub fn is_inside(&self) -> bool {
        let within = |x: f64, [low, high]: [f64; 2]| (low..=high).contains(&x);
        within(self.mean, self.mean_band()) && within(self.sd, self.sd_band())
    }

    /// The rank of the real key's z from the top among all keys, 1 for the largest; ties count against it.
    pub fn rank(&self, real: f64) -> u64 {
        1 + self.z.iter().filter(|z| **z >= real).count() as u64
    }

    /// 1/(B + 1): no rank among so many keys can be rarer.
    pub fn floor(&self) -> f64 {
        to_f64(self.count() + 1).recip()
    }
}

/// Scores `test` under `count` decoy keys (at least 2), on every core; the coefficients are counted once.
///
/// Decoy i is the planned epoch's key of the secret SHA-256(`"taggant decoy key"` ‖ u32le(i)): anyone can repeat it.
///
/// # Errors
/// Missing or unfit material, no draw, or a reading: text marked under one key has no meaning under another.
pub fn decoys(
    plan: &SealedPlan,
    material: &[Material],
    test: &PlannedTest,
    count: u32,
) -> Result<Decoys, CaseError> {
    let evidence = super::material_of(test, material)?.evidence(plan, test)?;
    let score = |error| CaseError::Score { test: test.name.clone(), error };
    let schemes = |number: u32| -> Vec<Scheme> {
        let secret = secret(number);
        let keys = test.keys.iter().filter_map(|key| key.mark.open(&secret.epoch_key(&key.epoch)));
        keys.collect()
    };
    let plain: Option<Vec<&Evidence>> = evidence.keys().iter().map(Counted::plain).collect();
    let z = match plain {
        Some(plain) => z_under_keys(&plain, count.max(2), schemes).map_err(score)?,
        None => {
            let z = |number| evidence.open(&schemes(number)).map(|draws| z(&draws)).map_err(score);
            (0..count.max(2)).map(z).collect::<Result<_, _>>()?
        }
    };
    let z = z.ok_or_else(|| CaseError::Test { test: test.name.clone(), error: TestError::NoDraws })?;
    Ok(Decoys::new(&test.name, z))
}

/// z of an evidence under each of `count` keys, in their order, on every core; none without a draw.
///
/// # Errors
/// As [`Evidence::open`].
pub fn z_under(
    evidence: &Evidence,
    count: u32,
    scheme: impl Fn(u32) -> Scheme + Sync,
) -> Result<Option<Vec<f64>>, ScoreError> {
    z_under_keys(&[evidence], count, |number| vec![scheme(number)])
}

/// The same of several keys' evidence in one sum, `schemes` in their order.
fn z_under_keys(
    evidence: &[&Evidence],
    count: u32,
    schemes: impl Fn(u32) -> Vec<Scheme> + Sync,
) -> Result<Option<Vec<f64>>, ScoreError> {
    let sums: Vec<_> = evidence
        .iter()
        .map(|evidence| evidence.sums())
        .map(|sums| {
            let moments = sums.moments();
            (sums, moments)
        })
        .collect();
    let z = |number: u32| {
        let (mut above, mut variance) = (0.0, 0.0);
        for ((sums, [total, squares]), scheme) in sums.iter().zip(schemes(number)) {
            let laws = || scheme.arms().iter().map(Arm::law);
            above += sums.of(&scheme)? - laws().map(|law| total * law.mean()).sum::<f64>();
            variance += laws().map(|law| squares * law.variance()).sum::<f64>();
        }
        Ok((variance > 0.0).then(|| above / sqrt(variance)))
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let numbers: Vec<u32> = (0..count).collect();
    let share = |numbers: &[u32]| numbers.iter().map(|number| z(*number)).collect::<Vec<_>>();
    let z: Vec<Result<Option<f64>, ScoreError>> = thread::scope(|scope| {
        let shares = numbers.chunks(numbers.len().div_ceil(cores).max(1));
        let workers: Vec<_> = shares.map(|numbers| scope.spawn(move || share(numbers))).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    z.into_iter().collect()
}

/// (S − E S) / sd S; none without a draw.
fn z(draws: &Draws) -> Option<f64> {
    let (mut above, mut variance) = (Sum::default(), Sum::default());
    for draw in draws.as_slice() {
        let a = f64::from(draw.coefficient());
        above.add(a * (draw.value() - draw.law().mean()));
        variance.add(a * a * draw.law().variance());
    }
    (variance.value() > 0.0).then(|| above.value() / sqrt(variance.value()))
}

fn secret(number: u32) -> Secret {
    let hash = Sha256::new().chain_update(b"taggant decoy key").chain_update(number.to_le_bytes());
    Secret::from_bytes(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::fixture::{self, Fixture};
    use crate::case::plan::Access;

    #[test]
    fn decoys_are_standard_and_the_real_key_is_none_of_them() {
        let Fixture { plan, material, analysis, .. } = fixture::fixture();
        let text = |name: &str| plan.tests().iter().find(|test| test.name == name).unwrap();
        let student = decoys(&plan, &material, text("student, text"), 200).unwrap();
        assert!(student.is_inside(), "mean {}, sd {}", student.mean, student.sd);
        assert_eq!(student.rank(analysis.findings[0].summary.z), 1);
        let control = decoys(&plan, &material, text("control, text"), 200).unwrap();
        let real = analysis.findings.iter().find(|finding| finding.test == "control, text").unwrap();
        assert!(control.rank(real.summary.z) > 2);
    }

    #[test]
    fn a_decoy_scores_as_the_same_key_would_in_an_analysis() {
        let Fixture { plan, material, .. } = fixture::fixture();
        let test = &plan.tests()[0];
        let found = decoys(&plan, &material, test, 2).unwrap();
        let key = &test.keys[0];
        let scheme = key.mark.spec().unwrap().open(&secret(1).epoch_key(&key.epoch));
        let (summary, _) = material[0].test(&plan, test, &[scheme]).unwrap();
        assert!((found.z[1] - summary.z).abs() < 1e-12);
    }

    #[test]
    fn a_reading_has_no_decoys() {
        let Fixture { plan, material, .. } = fixture::fixture();
        let reading = plan.tests().iter().find(|test| test.access == Access::Reading).unwrap();
        assert!(matches!(decoys(&plan, &material, reading, 2), Err(CaseError::Material { .. })));
    }
}
