//! Raw material: the suspect's answers and distributions as they were acquired, from which every number is re-derived.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::CaseError;
use super::canaries::Probe;
use super::plan::{
    Access, ContextRule, Planned, PlannedTest, SealedPlan, Statistic, contexts, documents_sha256,
    prompts_sha256,
};
use crate::key::Commitment;
use crate::law::Step;
use crate::scheme::Scheme;
use crate::score::{
    self, Counted, Exchange, Expectation, Exposure, Exposures, Prediction, Provenance, Reading, Row, SHRINK,
    Skipped, Text, Weight,
};
use crate::stat::verdict::{Summary, TestError};
use crate::token::TokenId;

/// Probabilities are kept as whole multiples of 2⁻¹⁶: what was tested is what is stored, to the last bit.
pub const PROBABILITY_UNIT: f32 = 1.0 / 65_536.0;
/// Reading coefficients are whole multiples of 2⁻¹⁰ of probability: bets need no lattice, and few tokens matter.
pub const READING_UNIT: f32 = 1.0 / 1_024.0;

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
    /// The suspect's rows.
    pub q: Table,
    /// The reference's rows, where the statistic needs one.
    pub b: Option<Table>,
    /// How often each context's window occurs in the plan's traffic, where it weighs windows by that.
    pub exposure: Option<Exposures>,
}

/// Rows of probabilities over one vocabulary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    vocabulary: u32,
    /// Base64 of u16 little-endian multiples of 2⁻¹⁶, row after row.
    rows: String,
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

impl Table {
    /// Packs rows of probabilities.
    ///
    /// Values are rounded to multiples of 2⁻¹⁶; [`Table::rows`] gives back what is stored.
    pub fn pack(vocabulary: u32, rows: impl IntoIterator<Item = impl AsRef<[f32]>>) -> Self {
        let mut bytes = Vec::new();
        for row in rows {
            bytes.extend(row.as_ref().iter().flat_map(|p| stored(*p).to_le_bytes()));
        }
        Self { vocabulary, rows: STANDARD.encode(bytes) }
    }

    /// The rows as they are tested.
    ///
    /// # Errors
    /// Damaged base64, or no whole number of rows.
    pub fn rows(&self) -> Result<Vec<Vec<f32>>, MaterialError> {
        let wrong = || MaterialError::Table(self.vocabulary);
        let bytes = STANDARD.decode(&self.rows).map_err(|_| wrong())?;
        let row_bytes = self.vocabulary as usize * 2;
        if row_bytes == 0 || bytes.len() % row_bytes != 0 {
            return Err(wrong());
        }
        let value = |pair: &[u8]| f32::from(u16::from_le_bytes([pair[0], pair[1]])) * PROBABILITY_UNIT;
        Ok(bytes.chunks_exact(row_bytes).map(|row| row.chunks_exact(2).map(value).collect()).collect())
    }
}

/// A probability as it is stored: the nearest multiple of 2⁻¹⁶ below 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=65535 first")]
pub fn stored(probability: f32) -> u16 {
    (probability / PROBABILITY_UNIT).round().clamp(0.0, 65_535.0) as u16
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
        }
    }

    /// Runs a planned test over the material.
    ///
    /// # Errors
    /// Material that does not fit the plan, or without a draw.
    pub(super) fn test(
        &self,
        plan: &SealedPlan,
        test: &PlannedTest,
        scheme: &Scheme,
    ) -> Result<(Summary, Skipped), CaseError> {
        if let Content::Reading(reading) = &self.content {
            reading.check_documents(plan).map_err(|error| fault(test, error))?;
            return reading.evaluate(test, scheme);
        }
        let evidence = self.evidence(plan, test)?;
        let draws =
            evidence.open(scheme).map_err(|error| CaseError::Score { test: test.name.clone(), error })?;
        Ok((summarised(test, scheme, Summary::of(draws))?, evidence.skipped()))
    }

    /// The coefficients of a key-independent test, before any key was touched: what every key is then scored on.
    ///
    /// # Errors
    /// Material that does not fit the plan; readings, whose coefficients have no meaning without their key's text.
    pub(super) fn evidence(&self, plan: &SealedPlan, test: &PlannedTest) -> Result<Counted, CaseError> {
        let fault = |error| CaseError::Material { test: test.name.clone(), error };
        let provenance = plan.plan().pool.provenance;
        let width = plan.spec().width();
        let evidence = match &self.content {
            Content::Beside(Beside { answers, expectation, exposure })
                if test.statistic == Statistic::TextResidual =>
            {
                let exchanges = exchanges(plan, answers).map_err(fault)?;
                let exposure = exposed(plan, test, exposure.as_ref())?;
                Text::count(width, (0..).zip(&exchanges))
                    .and_then(|text| text.residual(expectation, SHRINK, exposure.as_ref()))
                    .map(Counted::from)
            }
            Content::Beside(Beside { answers, .. }) | Content::Text(answers) => {
                let statistic = test.statistic.text().ok_or_else(|| fault(MaterialError::Statistic))?;
                let exchanges = exchanges(plan, answers).map_err(fault)?;
                Counted::text(plan.spec(), (0..).zip(&exchanges), statistic)
            }
            Content::Distributions(rows) => {
                check_pool(plan, &rows.answers).map_err(fault)?;
                rows.check_contexts(plan).map_err(fault)?;
                let q = rows.q.rows().map_err(fault)?;
                let b = rows.b.as_ref().map(Table::rows).transpose().map_err(fault)?;
                let predictions = rows.predictions(&q, provenance).map_err(fault)?;
                match (test.statistic, b) {
                    (Statistic::GreenMass, _) => score::mass(width, &predictions).map(Counted::from),
                    (Statistic::Residual, Some(b)) => {
                        let b: Vec<&[f32]> = b.iter().map(Vec::as_slice).collect();
                        let exposure = exposed(plan, test, rows.exposure.as_ref())?;
                        let weight = exposure.as_ref().map_or(Weight::HalfNorm, Weight::Exposed);
                        score::residual(width, &predictions, &b, weight).map(Counted::from)
                    }
                    _ => return Err(fault(MaterialError::Statistic)),
                }
            }
            Content::Canary(_) | Content::Reading(_) => return Err(fault(MaterialError::Statistic)),
        };
        evidence.map_err(|error| CaseError::Score { test: test.name.clone(), error })
    }
}

/// The weights of a residual's windows, where the plan names traffic to count them in. (That the scored key marked none of
/// it is checked in the plan's sources.)
fn exposed(
    plan: &SealedPlan,
    test: &PlannedTest,
    listed: Option<&Exposures>,
) -> Result<Option<Exposure>, CaseError> {
    if matches!(plan.plan().exposure, Planned::Set { .. }) != listed.is_some() {
        return Err(CaseError::Material { test: test.name.clone(), error: MaterialError::Exposure });
    }
    let read = listed.map(|listed| listed.read(plan.spec().width(), []));
    read.transpose().map_err(|error| CaseError::Score { test: test.name.clone(), error })
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
    fn check_contexts(&self, plan: &SealedPlan) -> Result<(), MaterialError> {
        let pool = &plan.plan().pool;
        let drawn = matches!(pool.contexts, Planned::Set { value: ContextRule::OneAnAnswer })
            && self.contexts == contexts(&pool.sha256, &self.answers);
        if drawn { Ok(()) } else { Err(MaterialError::Contexts) }
    }

    fn predictions<'a>(
        &'a self,
        q: &'a [Vec<f32>],
        provenance: Provenance,
    ) -> Result<Vec<Prediction<'a>>, MaterialError> {
        if q.len() != self.contexts.len() {
            return Err(MaterialError::Context(q.len().min(self.contexts.len())));
        }
        let row = |(at, (q, (answer, before))): (usize, (&'a Vec<f32>, &(u32, u32)))| {
            let source = self.answers.get(*answer as usize).ok_or(MaterialError::Context(at))?;
            let before = *before as usize;
            let context = source.response.get(..before).ok_or(MaterialError::Context(at))?;
            Ok(Prediction { prompt: &source.prompt, context, provenance, q: Row::Whole(q), cluster: *answer })
        };
        q.iter().zip(&self.contexts).enumerate().map(row).collect()
    }
}

impl ReadingMaterial {
    fn check_documents(&self, plan: &SealedPlan) -> Result<(), MaterialError> {
        let committed = Planned::Set { value: documents_sha256(&self.documents) };
        if plan.plan().pool.documents == committed { Ok(()) } else { Err(MaterialError::Documents) }
    }

    fn evaluate(&self, test: &PlannedTest, scheme: &Scheme) -> Result<(Summary, Skipped), CaseError> {
        let fault = |error| CaseError::Material { test: test.name.clone(), error };
        let mut rows = HashMap::new();
        for row in &self.rows {
            if row.coefficients.iter().any(|(_, a)| !(0..=1_024).contains(a)) {
                return Err(fault(MaterialError::Coefficient(row.document)));
            }
            let mut tokens = std::collections::HashSet::new();
            if !row.coefficients.iter().all(|(token, _)| tokens.insert(token)) {
                return Err(fault(MaterialError::TokenTwice(row.document)));
            }
            let (document, position) = (row.document, row.position);
            if rows.insert((document as usize, position as usize), &row.coefficients).is_some() {
                return Err(fault(MaterialError::RowTwice { document, position }));
            }
        }
        let mut reading = Reading::new(scheme)?;
        let mut missing = None;
        let mut steps: Vec<Step> = Vec::new();
        for (number, document) in self.documents.iter().enumerate() {
            steps.extend(reading.document(&document.tokens(), document.prompt.len(), |position| {
                rows.get(&(number, position)).map(|row| (*row).clone()).unwrap_or_else(|| {
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
        Ok((summarised(test, scheme, Summary::of_reading(&steps, 1_024.0))?, skipped))
    }
}

/// A suspect without a draw has p = 1.
fn summarised(
    test: &PlannedTest,
    scheme: &Scheme,
    summary: Result<Summary, TestError>,
) -> Result<Summary, CaseError> {
    match summary {
        Err(TestError::NoDraws) => Ok(Summary::without_draws(scheme.spec().law())),
        other => other.map_err(|error| CaseError::Test { test: test.name.clone(), error }),
    }
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
