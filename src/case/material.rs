//! Raw material: the suspect's answers and distributions as they were acquired, from which every number is re-derived.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

mod coefficients;
mod rows;

use super::CaseError;
use super::canaries::Probe;
use super::likelihoods::SlotLikelihoods;
use super::plan::{
    Access, ContextRule, Planned, PlannedTest, SealedPlan, contexts, documents_sha256, prompts_sha256,
};
use crate::key::Commitment;
use crate::law::{Law, Step};
use crate::scheme::Scheme;
use crate::score::{
    Exchange, Expectation, Exposures, Pooled, Prediction, Provenance, Reading, Row, ScoreError, Skipped,
};
use crate::stat::verdict::{Summary, TestError};
use crate::token::TokenId;
use rows::Numbers;

pub use rows::{ListedRow, PROBABILITY_UNIT, Rows, Table, stored};

/// Reading coefficients are whole multiples of 2⁻¹⁰ of probability: bets need no lattice, and few tokens matter.
pub const READING_UNIT: f32 = 1.0 / 1_024.0;
/// Probability 1 in those.
const READING_MOST: f64 = 1_024.0;

/// What one suspect gave, in one access.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Material {
    /// The suspect's name in the plan.
    pub suspect: String,
    /// The material itself.
    pub content: Content,
}

/// Material by access.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Content {
    /// Answers to the pool's prompts, in plan order.
    Text(Vec<Answer>),
    /// Next-token distributions at positions of those answers.
    Distributions(Distributions),
    /// Distributions while reading marked documents.
    Reading(ReadingMaterial),
    /// Answers to the pool's prompts, and what the plan's reference expects of them.
    Beside(Beside),
    /// Answers to the probes of canary slots, in plan order.
    Canary(Vec<Probe>),
    /// What the suspect gives the siblings of canary slots, in plan order.
    Likelihoods(Vec<SlotLikelihoods>),
}

/// One prompt and its answer, as token ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The whole context as the model saw it.
    pub prompt: Vec<TokenId>,
    /// The answer.
    pub response: Vec<TokenId>,
}

/// Answers beside a reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    /// The answers, in plan order.
    pub answers: Vec<Answer>,
    /// The reference's probabilities, summed over the contexts of each window.
    pub expectation: Expectation,
    /// How often each window of the answers occurs in the plan's traffic, where it weighs windows by that.
    pub exposure: Option<Exposures>,
}

/// Distributions at contexts of the suspect's own answers, with the reference's beside them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distributions {
    /// The answers whose prefixes are the contexts.
    pub answers: Vec<Answer>,
    /// Each row's context: (answer, tokens of it that precede the row).
    pub contexts: Vec<(u32, u32)>,
    /// The suspect's rows: whole ones, or of the likeliest tokens, as the plan says.
    pub q: Rows,
    /// The reference's, where the statistic needs one: whole beside whole rows, else of the same tokens as the suspect's, in
    /// their order; beside the likeliest tokens, then of those others that it holds for likelier than the suspect's least.
    pub b: Option<Rows>,
    /// How often each context's window occurs in the plan's traffic, where it weighs windows by that.
    pub exposure: Option<Exposures>,
}

/// A reading: the marked documents in ledger order, and the suspect's coefficients where a window was new.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadingMaterial {
    /// First-turn exchanges that were served under the scored key.
    pub documents: Vec<Answer>,
    /// One entry a scored row.
    pub rows: Vec<ReadingRow>,
}

/// The coefficients of one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadingRow {
    /// The document.
    pub document: u32,
    /// Tokens of prompt and answer before the row.
    pub position: u32,
    /// (token, multiples of 2⁻¹⁰), without zeros.
    pub coefficients: Vec<(TokenId, i32)>,
    /// SHA-256 of the row they came from, as u16 little-endian multiples of 2⁻¹⁶.
    pub row_sha256: Commitment,
}

/// Why material does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaterialError {
    /// The prompts are not those of the pool.
    #[error("the prompts are not those of the plan's pool, in plan order")]
    Prompts,
    /// A table that is damaged.
    #[error("its rows are not base64 of whole rows of {0} probabilities")]
    Table(u32),
    /// Rows of another kind than the plan asked for.
    #[error(
        "the plan and the material differ in whether rows are whole or of the likeliest tokens (\"pool\", \"rows\")"
    )]
    RowKind,
    /// A row of more tokens than the plan asked for.
    #[error("row {row}: {tokens} tokens, and the plan asks for {most} at most")]
    RowTooLong {
        /// The row.
        row: usize,
        /// Its tokens.
        tokens: usize,
        /// The plan's K.
        most: u32,
    },
    /// A reference that is not that of the suspect's rows.
    #[error(
        "row {0}: the reference is not given for the suspect's tokens, in their order, and beside the likeliest for those \
         that it holds for likelier than the suspect's least"
    )]
    Reference(usize),
    /// A context that is not there.
    #[error("row {0}: its context lies outside the answers")]
    Context(usize),
    /// A reading without a row where one is due.
    #[error("document {document}, position {position}: the window is new there, but the material has no row")]
    MissingRow {
        /// The document.
        document: usize,
        /// The position.
        position: usize,
    },
    /// A coefficient above probability 1.
    #[error("document {0}: a coefficient is negative or above 1,024 (probability 1)")]
    Coefficient(u32),
    /// An answer longer than the plan asked for.
    #[error("answer {0} is longer than the plan's answer_tokens")]
    TooLong(usize),
    /// Contexts that the plan's rule does not give.
    #[error("its contexts are not those that the plan's rule draws from these answers")]
    Contexts,
    /// Documents that the plan does not commit to.
    #[error("its documents are not those that the plan commits to")]
    Documents,
    /// A row that names a token twice.
    #[error("document {0}: a row names a token twice")]
    TokenTwice(u32),
    /// Two rows at one position: which of them counts would be a choice after the fact.
    #[error("document {document} has two rows at position {position}")]
    RowTwice {
        /// The document, from 0.
        document: u32,
        /// The position.
        position: u32,
    },
    /// Counts of windows that the plan does not ask for, or none where it does.
    #[error("the plan and the material differ in whether windows are weighed by exposure")]
    Exposure,
    /// A statistic for another access.
    #[error("the planned statistic does not fit this material")]
    Statistic,
}

impl ReadingRow {
    /// A row's coefficients and digest from its probabilities; `token` maps a column to a token id.
    pub fn new(document: u32, position: u32, row: &[f32], token: impl Fn(usize) -> TokenId) -> Self {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(row.iter().flat_map(|p| stored(*p).to_le_bytes()).collect::<Vec<u8>>());
        let coefficient = |p: f32| i32::from((stored(p) + 32) / 64);
        let all = row.iter().enumerate().map(|(column, p)| (token(column), coefficient(*p)));
        let coefficients = all.filter(|(_, a)| *a != 0).collect();
        Self { document, position, coefficients, row_sha256: Commitment(digest.into()) }
    }
}

impl Material {
    /// The access it belongs to.
    pub fn access(&self) -> Access {
        match self.content {
            Content::Distributions(_) => Access::Distributions,
            Content::Reading(_) => Access::Reading,
            Content::Beside(_) | Content::Text(_) => Access::Text,
            Content::Canary(_) => Access::Canary,
            Content::Likelihoods(_) => Access::Likelihoods,
        }
    }

    /// Runs a planned test over the material, `schemes` opened by the test's keys in their order.
    ///
    /// # Errors
    /// Material that does not fit the plan, or without a draw.
    pub(super) fn test(
        &self,
        plan: &SealedPlan,
        test: &PlannedTest,
        schemes: &[Scheme],
    ) -> Result<(Summary, Skipped), CaseError> {
        if let Content::Reading(reading) = &self.content {
            reading.check_documents(plan).map_err(|error| fault(test, error))?;
            return reading.evaluate(test, schemes, &plan.plan().shares);
        }
        let evidence = self.evidence(plan, test)?;
        let draws = evidence.open(schemes).map_err(|error| unscored(test, error))?;
        Ok((summarised(test, Summary::of(draws))?, evidence.skipped()))
    }

    /// The coefficients of a key-independent test, before any key was touched: what every key is then scored on.
    ///
    /// # Errors
    /// Material that does not fit the plan; readings, whose coefficients have no meaning without their key's text.
    pub(super) fn evidence(&self, plan: &SealedPlan, test: &PlannedTest) -> Result<Pooled, CaseError> {
        coefficients::of(&self.content, plan, test)
    }
}

impl Answer {
    /// The answer as an exchange whose whole context is known.
    pub fn exchange(&self, provenance: Provenance) -> Exchange {
        let (prompt, response) = (self.prompt.clone(), self.response.clone());
        Exchange { prompt, response, whole_context: true, provenance }
    }

    /// Prompt and answer, one after the other.
    pub fn tokens(&self) -> Vec<TokenId> {
        [&self.prompt[..], &self.response[..]].concat()
    }
}

impl Distributions {
    /// Whether answers, contexts and rows are those that the plan asked for.
    fn check(&self, plan: &SealedPlan) -> Result<(), MaterialError> {
        check_pool(plan, &self.answers)?;
        self.check_contexts(plan)?;
        self.q.check(plan)
    }

    fn check_contexts(&self, plan: &SealedPlan) -> Result<(), MaterialError> {
        let pool = &plan.plan().pool;
        let drawn = matches!(pool.contexts, Planned::Set { value: ContextRule::OneAnAnswer })
            && self.contexts == contexts(&pool.sha256, &self.answers);
        if drawn { Ok(()) } else { Err(MaterialError::Contexts) }
    }

    fn predictions<'a>(
        &'a self,
        q: &'a Numbers,
        provenance: Provenance,
    ) -> Result<Vec<Prediction<'a>>, MaterialError> {
        if q.len() != self.contexts.len() {
            return Err(MaterialError::Context(q.len().min(self.contexts.len())));
        }
        let row = |(at, (q, (answer, before))): (usize, (Row<'a>, &(u32, u32)))| {
            let source = self.answers.get(*answer as usize).ok_or(MaterialError::Context(at))?;
            let before = *before as usize;
            let context = source.response.get(..before).ok_or(MaterialError::Context(at))?;
            Ok(Prediction { prompt: &source.prompt, context, provenance, q, cluster: *answer })
        };
        q.iter().zip(&self.contexts).enumerate().map(row).collect()
    }
}

impl ReadingMaterial {
    fn check_documents(&self, plan: &SealedPlan) -> Result<(), MaterialError> {
        let committed = Planned::Set { value: documents_sha256(&self.documents) };
        if plan.plan().pool.documents == committed { Ok(()) } else { Err(MaterialError::Documents) }
    }

    fn evaluate(
        &self,
        test: &PlannedTest,
        schemes: &[Scheme],
        shares: &[f64],
    ) -> Result<(Summary, Skipped), CaseError> {
        let fault = |error| fault(test, error);
        let rows = self.by_position().map_err(fault)?;
        let weights = || test.keys.iter().map(|key| key.weight);
        let mut reading = Reading::pooled(schemes.iter().zip(weights()))?;
        let mut missing = None;
        let mut steps: Vec<Step> = Vec::new();
        for (number, document) in self.documents.iter().enumerate() {
            steps.extend(reading.document(&document.tokens(), document.prompt.len(), |position| {
                rows.get(&(number, position)).map(|row| row.to_vec()).unwrap_or_else(|| {
                    missing.get_or_insert(MaterialError::MissingRow { document: number, position });
                    Vec::new()
                })
            }));
        }
        if let Some(error) = missing {
            return Err(fault(error));
        }
        let skipped =
            Skipped { repeated: reading.repeated, short_window: reading.short_window, ..Skipped::default() };
        let a_max = READING_MOST * weights().map(f64::from).fold(1.0, f64::max);
        Ok((summarised(test, Summary::of_reading(&steps, a_max, shares))?, skipped))
    }

    /// The coefficients by document and position.
    fn by_position(&self) -> Result<ByPosition<'_>, MaterialError> {
        let mut rows = HashMap::new();
        for row in &self.rows {
            if row.coefficients.iter().any(|(_, a)| !(0..=1_024).contains(a)) {
                return Err(MaterialError::Coefficient(row.document));
            }
            let mut tokens = std::collections::HashSet::new();
            if !row.coefficients.iter().all(|(token, _)| tokens.insert(token)) {
                return Err(MaterialError::TokenTwice(row.document));
            }
            let (document, position) = (row.document, row.position);
            if rows.insert((document as usize, position as usize), row.coefficients.as_slice()).is_some() {
                return Err(MaterialError::RowTwice { document, position });
            }
        }
        Ok(rows)
    }
}

/// Coefficients by document and position.
type ByPosition<'m> = HashMap<(usize, usize), &'m [(TokenId, i32)]>;

/// A suspect without a draw has p = 1.
fn summarised(test: &PlannedTest, summary: Result<Summary, TestError>) -> Result<Summary, CaseError> {
    match summary {
        Err(TestError::NoDraws) => Ok(Summary::without_draws(law(test))),
        other => other.map_err(|error| CaseError::Test { test: test.name.clone(), error }),
    }
}

/// The law of all its draws, where its keys share one.
fn law(test: &PlannedTest) -> Option<Law> {
    let mut laws = test.keys.iter().map(|key| key.mark.spec().and_then(|spec| spec.law()));
    let first = laws.next()?;
    first.filter(|_| laws.all(|law| law == first))
}

fn unscored(test: &PlannedTest, error: ScoreError) -> CaseError {
    CaseError::Score { test: test.name.clone(), error }
}

fn fault(test: &PlannedTest, error: MaterialError) -> CaseError {
    CaseError::Material { test: test.name.clone(), error }
}

/// The answers as exchanges, checked against the plan's pool.
fn exchanges(plan: &SealedPlan, answers: &[Answer]) -> Result<Vec<Exchange>, MaterialError> {
    check_pool(plan, answers)?;
    Ok(answers.iter().map(|answer| answer.exchange(plan.plan().pool.provenance)).collect())
}

fn check_pool(plan: &SealedPlan, answers: &[Answer]) -> Result<(), MaterialError> {
    let prompts: Vec<Vec<TokenId>> = answers.iter().map(|answer| answer.prompt.clone()).collect();
    let pool = &plan.plan().pool;
    if prompts_sha256(&prompts) != pool.sha256 || prompts.len() != pool.prompts as usize {
        return Err(MaterialError::Prompts);
    }
    let longest = pool.answer_tokens as usize;
    match answers.iter().position(|answer| answer.response.len() > longest) {
        Some(at) => Err(MaterialError::TooLong(at)),
        None => Ok(()),
    }
}
