//! Which version of the arithmetic a plan was written for.

use sha2::{Digest, Sha256};

use crate::key::Commitment;

/// SHA-256 over the source of everything that turns answers into numbers and verdicts.
pub fn statistic_sha256() -> Commitment {
    const SOURCES: &[&str] = &[
        include_str!("../../case.rs"),
        include_str!("../canaries.rs"),
        include_str!("../judge.rs"),
        include_str!("../likelihoods.rs"),
        include_str!("../material.rs"),
        include_str!("../prompts.rs"),
        include_str!("../route.rs"),
        include_str!("../../attribute/route.rs"),
        include_str!("../../attribute/route/arms.rs"),
        include_str!("../../attribute/route/plan.rs"),
        include_str!("../../attribute/traffic.rs"),
        include_str!("../material/coefficients.rs"),
        include_str!("../material/rows.rs"),
        include_str!("../../key/prf.rs"),
        include_str!("../../key.rs"),
        include_str!("../../key/genesis.rs"),
        include_str!("../plan.rs"),
        include_str!("canaries.rs"),
        include_str!("keys.rs"),
        include_str!("planned.rs"),
        include_str!("registered.rs"),
        include_str!("sense.rs"),
        include_str!("sources.rs"),
        include_str!("version.rs"),
        include_str!("../../canary/evidence.rs"),
        include_str!("../../canary/likelihood.rs"),
        include_str!("../../canary/twins.rs"),
        include_str!("../../canary/respond.rs"),
        include_str!("../../key/pick.rs"),
        include_str!("../../law/choice.rs"),
        include_str!("../../law.rs"),
        include_str!("../../law/layers.rs"),
        include_str!("../../law/streamed.rs"),
        include_str!("../../scheme.rs"),
        include_str!("../../scheme/green.rs"),
        include_str!("../../scheme/gumbel.rs"),
        include_str!("../../scheme/mix.rs"),
        include_str!("../../scheme/payload.rs"),
        include_str!("../../scheme/tournament.rs"),
        include_str!("../../score.rs"),
        include_str!("../../score/alignment.rs"),
        include_str!("../../score/bulk.rs"),
        include_str!("../../score/exposure.rs"),
        include_str!("../../score/mixed.rs"),
        include_str!("../../score/pooled.rs"),
        include_str!("../../score/reading.rs"),
        include_str!("../../score/residual.rs"),
        include_str!("../../score/rows.rs"),
        include_str!("../../score/walk.rs"),
        include_str!("../../sort.rs"),
        include_str!("../../stat.rs"),
        include_str!("../../stat/chernoff.rs"),
        include_str!("../../stat/convolution.rs"),
        include_str!("../../stat/cumulant.rs"),
        include_str!("../../stat/eprocess.rs"),
        include_str!("../../stat/estimate.rs"),
        include_str!("../../stat/gathered.rs"),
        include_str!("../../stat/inversion.rs"),
        include_str!("../../stat/lattice.rs"),
        include_str!("../../stat/math.rs"),
        include_str!("../../stat/multiple.rs"),
        include_str!("../../stat/rank.rs"),
        include_str!("../../stat/rate.rs"),
        include_str!("../../stat/strata.rs"),
        include_str!("../../stat/tail.rs"),
        include_str!("../../stat/tilting.rs"),
        include_str!("../../stat/verdict.rs"),
        include_str!("../../token.rs"),
    ];
    sha256_of(SOURCES)
}

/// SHA-256 over the source of the readers of canary answers: patterns, words, and the second reader.
pub fn matchers_sha256() -> Commitment {
    sha256_of(&[
        include_str!("../../canary/book.rs"),
        include_str!("../../canary/expand.rs"),
        include_str!("../../canary/family.rs"),
        include_str!("../../canary/matching.rs"),
        include_str!("../../canary/set.rs"),
        include_str!("../../canary/words.rs"),
    ])
}

fn sha256_of(sources: &[&str]) -> Commitment {
    let mut hash = Sha256::new();
    for source in sources {
        hash.update(Sha256::digest(source.as_bytes()));
    }
    Commitment(hash.finalize().into())
}
