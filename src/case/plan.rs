//! Plans: everything that could change a number is fixed, and hashed, before the first probe.
//!
//! A plan is a closed schema. A missing field is an error, never a default; a field that has no meaning yet is written
//! as `null` with the reason.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

mod canaries;
mod keys;
mod planned;
mod registered;
mod sense;
mod sources;
mod version;

use super::CaseError;
use super::material::Answer;
use crate::key::{Commitment, KeyId};
use crate::scheme::Spec;
use crate::score::Provenance;
use crate::token::TokenId;

pub use canaries::{Canaries, Division, PromptRule, SlotRange};
pub use keys::{Mark, MarkError, ScoredKey};
pub use planned::Planned;
pub use registered::{Access, PlannedTest, Role, Statistic};
pub use sources::{FirstServed, Independence, MarkedUnder, Source};
pub use version::{matchers_sha256, statistic_sha256};

/// The format of a plan.
pub const FORMAT: &str = "taggant-plan/1";

/// The prompts that the probes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// How many.
    pub prompts: u32,
    /// SHA-256 over the prompts' token ids (each prompt: u32le length, then u32le ids), in order.
    pub sha256: Commitment,
    /// Where they come from.
    pub provenance: Provenance,
    /// The public beacon that draws the probes from the pool after the seal.
    pub beacon: Planned<String>,
    /// Most tokens asked of the suspect for each prompt.
    pub answer_tokens: u32,
    /// Where distributions are read in the answers.
    pub contexts: Planned<ContextRule>,
    /// What is asked of a distribution: every token's probability, or the likeliest tokens'.
    pub rows: Planned<RowRule>,
    /// SHA-256 over the documents that suspects read, boundaries included ([`documents_sha256`]).
    pub documents: Planned<Commitment>,
}

/// Which contexts of the suspect's answers give a row: a function of the pool and of the answers' lengths alone, so
/// that nobody chooses rows after seeing them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContextRule {
    /// One an answer that is not empty: answer i is cut before token (word i mod its length), word i of the ChaCha20
    /// keystream under SHA-256(`"taggant/1/contexts"` ‖ 0x00 ‖ the pool's SHA-256).
    OneAnAnswer,
}

/// What a row of next-token probabilities holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowRule {
    /// Every token's.
    Whole,
    /// At most so many of the likeliest tokens', as interfaces give them. The others are unknown, never 0: they are at most as
    /// likely as the least listed, which a residual uses where the reference holds them for likelier.
    Top(u32),
    /// At most so many tokens', such as those of another vocabulary that are tokens of the teacher's. Of the others nothing is
    /// known.
    Known(u32),
}

/// How several registered tests are corrected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Correction {
    /// Holm 1979 over the tests of students, controls and suspects.
    Holm,
}

/// Everything that could change a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: String,
    /// The plan's number for this secret and suspect, from 1.
    pub number: u32,
    /// H0, H1 and the claim in words.
    pub hypothesis: String,
    /// The secret's id.
    pub key_id: KeyId,
    /// The root of the genesis that commits to every key opened here.
    pub genesis_root: Commitment,
    /// SHA-256 of the tokenizer.
    pub tokenizer_sha256: Commitment,
    /// The tests, the primary one first.
    pub tests: Vec<PlannedTest>,
    /// The prompts.
    pub pool: Pool,
    /// SHA-256 of the statistics' source code.
    pub statistic_sha256: Commitment,
    /// When each scored epoch's key began to mark.
    pub first_served: Vec<FirstServed>,
    /// What coefficients are made from.
    pub sources: Vec<Source>,
    /// The reference model b of residuals: a source's name.
    pub reference: Planned<String>,
    /// The traffic in which windows are counted, to weigh those of residuals: a source's name.
    pub exposure: Planned<String>,
    /// The book of canaries, and how its slots are probed.
    pub canaries: Planned<Canaries>,
    /// SHA-256 of the source code that reads answers to canaries ([`matchers_sha256`]).
    pub matchers: Planned<Commitment>,
    /// Which positions do not count.
    pub exclusions: Vec<String>,
    /// λⱼ = 2⁻ʲ/a_max for these j.
    pub lambda_grid: Vec<u8>,
    /// ε: the shares of windows or slots that adaptive tests bet on being remembered, descending, each with every λ and the
    /// same weight. 1 bets on all of them.
    pub shares: Vec<f64>,
    /// The order in which answers enter.
    pub order: String,
    /// The family-wise level.
    pub alpha: f64,
    /// The correction for several tests.
    pub correction: Correction,
    /// When probing ends.
    pub stopping: String,
    /// When probing is given up.
    pub futility: Planned<String>,
    /// What happens with refusals.
    pub refusals: String,
    /// What happens with missing rows.
    pub missing_rows: String,
    /// The effect that the plan wants to see.
    pub effect: String,
    /// The power for that effect.
    pub power: Planned<f64>,
}

/// A plan that can no longer be changed: its canonical JSON is hashed. Only from here come findings.
#[derive(Clone, Debug, PartialEq)]
pub struct SealedPlan {
    plan: Plan,
    sealed: String,
    sha256: Commitment,
}

/// A sealed plan as it lies on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedFile {
    /// The plan.
    pub plan: Plan,
    /// When it was sealed, RFC 3339.
    pub sealed: String,
    /// SHA-256 of the plan's canonical JSON.
    pub sha256: Commitment,
}

impl From<&SealedPlan> for SealedFile {
    fn from(sealed: &SealedPlan) -> Self {
        Self { plan: sealed.plan.clone(), sealed: sealed.sealed.clone(), sha256: sealed.sha256 }
    }
}

impl TryFrom<SealedFile> for SealedPlan {
    type Error = PlanError;

    fn try_from(file: SealedFile) -> Result<Self, PlanError> {
        Self::reopen(file.plan, file.sealed, file.sha256)
    }
}

impl Plan {
    /// The specs of the marks that are scored, each once, in the order of the tests.
    pub fn specs(&self) -> Vec<Spec> {
        let mut specs = Vec::new();
        for spec in self.tests.iter().flat_map(|test| &test.keys).filter_map(|key| key.mark.spec()) {
            if !specs.contains(&spec) {
                specs.push(spec);
            }
        }
        specs
    }

    /// Seals the plan at `time` (RFC 3339).
    ///
    /// # Errors
    /// An α outside (0, 1), no test, two tests or sources of one name, a source that is not listed, or a statistic
    /// that does not fit its access.
    pub fn seal(self, time: &str) -> Result<SealedPlan, PlanError> {
        self.check()?;
        let sha256 = Commitment(Sha256::digest(canonical(&self)?).into());
        Ok(SealedPlan { plan: self, sealed: time.to_owned(), sha256 })
    }

    /// The family-wise level that this plan may spend: plan k of a secret and suspect spends 6α/(π²k²), so that all its
    /// plans together stay below α.
    pub fn level(&self) -> f64 {
        let k = f64::from(self.number);
        6.0 * self.alpha / (std::f64::consts::PI * std::f64::consts::PI * k * k)
    }

    fn check(&self) -> Result<(), PlanError> {
        let wrong = |what: &str| Err(PlanError::Field(what.to_owned()));
        if self.format != FORMAT {
            return wrong("format: this version reads taggant-plan/1 only");
        }
        if !(self.alpha > 0.0 && self.alpha < 1.0) {
            return wrong("alpha: must lie strictly between 0 and 1");
        }
        if !self.lambda_grid.iter().copied().eq(0..=12) {
            return wrong("lambda_grid: this version bets with 2^-j / a_max, j = 0 to 12");
        }
        let shares = &self.shares;
        if shares.is_empty() || !shares.iter().all(|share| *share > 0.0 && *share <= 1.0) || !descend(shares)
        {
            return wrong("shares: at least one, each above 0 and at most 1, in descending order");
        }
        if self.number == 0 {
            return wrong("number: plans are numbered from 1");
        }
        if self.tests.is_empty() {
            return wrong("tests: a plan registers at least one");
        }
        if repeats(self.tests.iter().map(|test| test.name.as_str())) {
            return wrong("tests: two of them have one name");
        }
        if repeats(self.sources.iter().map(|source| source.name.as_str())) {
            return wrong("sources: two of them have one name");
        }
        self.check_sense()?;
        if let Planned::Set { value: canaries } = &self.canaries {
            canaries.check()?;
        }
        self.tests.iter().try_for_each(|test| self.check_test(test))
    }
}

impl SealedPlan {
    /// A plan as it was sealed before, with its seal checked.
    ///
    /// # Errors
    /// The plan's hash is not `sha256`, or the plan is invalid.
    pub fn reopen(plan: Plan, sealed: String, sha256: Commitment) -> Result<Self, PlanError> {
        let again = plan.seal(&sealed)?;
        if again.sha256 == sha256 { Ok(again) } else { Err(PlanError::Seal) }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// When it was sealed.
    pub fn sealed(&self) -> &str {
        &self.sealed
    }

    /// SHA-256 of its canonical JSON.
    pub fn sha256(&self) -> Commitment {
        self.sha256
    }

    /// The registered tests.
    pub fn tests(&self) -> &[PlannedTest] {
        &self.plan.tests
    }

    /// The family-wise level that this plan may spend.
    pub fn level(&self) -> f64 {
        self.plan.level()
    }

    /// The canaries, where the plan has any.
    pub fn canaries(&self) -> Option<&Canaries> {
        match &self.plan.canaries {
            Planned::Set { value } => Some(value),
            Planned::Absent { .. } => None,
        }
    }

    /// Refuses a test whose coefficients come from something marked under one of the keys it scores: rule 2 of validity.
    pub(super) fn check_sources(&self, test: &PlannedTest) -> Result<(), CaseError> {
        let sources = self.plan.sources.iter().filter(|source| test.sources.contains(&source.name));
        for (source, key) in sources.flat_map(|source| source.keys.iter().map(move |key| (source, key))) {
            if key.key_id == self.plan.key_id && test.keys.iter().any(|scored| scored.epoch == key.epoch) {
                return Err(CaseError::DependentSource {
                    test: test.name.clone(),
                    source_name: source.name.clone(),
                    key: format!("{} of epoch {}", key.key_id, key.epoch),
                });
            }
        }
        Ok(())
    }
}

/// Why a plan is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A field is wrong.
    #[error("plan, field {0}")]
    Field(String),
    /// The plan is not the one that was sealed.
    #[error("the plan is not the one that was sealed: its SHA-256 differs")]
    Seal,
    /// It cannot be written as JSON.
    #[error("the plan has no canonical JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// SHA-256 over prompts: each its length and its ids as u32 little-endian.
pub fn prompts_sha256(prompts: &[Vec<TokenId>]) -> Commitment {
    let mut hash = Sha256::new();
    for prompt in prompts {
        hash.update(u32::try_from(prompt.len()).unwrap_or(u32::MAX).to_le_bytes());
        for token in prompt {
            hash.update(token.to_le_bytes());
        }
    }
    Commitment(hash.finalize().into())
}

/// SHA-256 over documents: each its prompt and its response, each of them its length and its ids as u32 little-endian.
pub fn documents_sha256(documents: &[Answer]) -> Commitment {
    let parts = documents.iter().flat_map(|document| [document.prompt.clone(), document.response.clone()]);
    prompts_sha256(&parts.collect::<Vec<_>>())
}

/// The contexts of `answers` by [`ContextRule::OneAnAnswer`]: (answer, tokens of it before the row).
pub fn contexts(pool: &Commitment, answers: &[Answer]) -> Vec<(u32, u32)> {
    let seed = Sha256::new().chain_update(b"taggant/1/contexts\0").chain_update(pool.0).finalize();
    let mut stream = ChaCha20Rng::from_seed(seed.into());
    let context = |(number, answer): (u32, &Answer)| {
        let word = stream.next_u32();
        let length = u32::try_from(answer.response.len()).unwrap_or(u32::MAX);
        (length > 0).then(|| (number, word % length))
    };
    (0..).zip(answers).filter_map(context).collect()
}

/// RFC 8785 bytes.
pub(super) fn canonical(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    serde_json_canonicalizer::to_vec(value)
}

fn descend(numbers: &[f64]) -> bool {
    numbers.windows(2).all(|pair| pair[0] > pair[1])
}

fn repeats<'a>(names: impl Iterator<Item = &'a str>) -> bool {
    let mut seen = std::collections::HashSet::new();
    names.into_iter().any(|name| !seen.insert(name))
}
