//! A suspect's probabilities along its own answers, as evidence about the teacher's tokens: in its own vocabulary
//! (`logprobs`), or already by the teacher's ids (`q`).

use taggant_model::tokenizer::Tokenizer;

use super::contexts::{Context, expected};
use super::counting::Count;
use super::{Failure, rows};
use crate::score::alignment::{Aligned, Answer, Known, Losses, align};
use crate::score::{
    self, Evidence, Exposure, Prediction, Provenance, Row as Q, ScoreError, Weight, residual_of_known,
};
use crate::source::model;
use crate::source::reference::Reference;
use crate::source::spelling::Spelt;
use crate::source::text::{Listed, Position, Row, text_of};
use crate::token::{TokenId, Width};

/// What probabilities are compared with.
#[derive(Debug)]
pub(super) enum Comparing {
    /// Nothing: the likeliest token counts.
    Argmax,
    /// Nothing: they count as they are.
    Mass,
    /// Models by name.
    Reference { names: Vec<String>, exposure: Option<Exposure> },
}

/// Counts probabilities.
#[derive(Debug)]
pub(super) struct Distributions {
    width: Width,
    /// Where it is known: only spelt tokens need it.
    teacher: Option<Spelt>,
    statistic: Statistic,
    /// Whole rows are cut to as many tokens.
    top: Option<usize>,
}

#[derive(Debug)]
enum Statistic {
    Argmax,
    Mass,
    Residual { reference: Reference, exposure: Option<Exposure> },
}

/// An answer cut by the teacher, and the rows at its boundaries.
struct Answered {
    cluster: u32,
    prompt: Vec<TokenId>,
    tokens: Vec<TokenId>,
    /// Tokens before each row, and the row.
    rows: Vec<(usize, Vec<(TokenId, f32)>)>,
}

/// What rows hold: distributions over the mark's tokens, or answers with those of another vocabulary.
enum Found {
    Contexts(Vec<Context>),
    Answers(Vec<Answered>, Losses),
}

impl Distributions {
    pub(super) fn new(
        width: Width,
        comparing: Comparing,
        tokenizer: Option<&Tokenizer>,
        top: Option<usize>,
    ) -> Result<Self, Failure> {
        let statistic = match comparing {
            Comparing::Argmax => Statistic::Argmax,
            Comparing::Mass => Statistic::Mass,
            Comparing::Reference { names, exposure } => {
                for name in &names {
                    let Some(tokenizer) = tokenizer else { continue };
                    if model::tokenizer(name)?.digest() != tokenizer.digest() {
                        return Err(Failure(format!(
                            "--reference {name}: its tokens are not those of --tokenizer"
                        )));
                    }
                }
                Statistic::Residual { reference: Reference::open(&names)?, exposure }
            }
        };
        let teacher = tokenizer.map(|tokenizer| Spelt::new(tokenizer.clone())).transpose()?;
        Ok(Self { width, teacher, statistic, top })
    }

    pub(super) fn name(&self) -> &'static str {
        match self.statistic {
            Statistic::Argmax => "argmax",
            Statistic::Mass => "mass",
            Statistic::Residual { .. } => "residual",
        }
    }

    pub(super) fn count(&self, rows: &[(u32, &Row)]) -> Result<Count, Failure> {
        let found = self.read(rows)?;
        let predictions = self.predictions(&found);
        match &found {
            Found::Contexts(contexts) => {
                let evidence = self.counted(&predictions, |reference| expected(contexts, reference))?;
                Ok(Count { evidence: evidence.into(), losses: None })
            }
            Found::Answers(answers, losses) => {
                let mut evidence =
                    self.counted(&predictions, |reference| self.expected(answers, reference))?;
                // The chat template before an answer is not in the text: its first windows are not known.
                let short =
                    answers.iter().flat_map(|answer| &answer.rows).filter(|(at, _)| !self.known(*at)).count();
                evidence.skipped.short_window += short as u64;
                evidence.positions += short as u64;
                Ok(Count { evidence: evidence.into(), losses: Some(losses.clone()) })
            }
        }
    }

    /// Counts rows by another statistic than its own.
    pub(super) fn counted_by(
        &self,
        rows: &[(u32, &Row)],
        count: impl Fn(Width, &[Prediction<'_>]) -> Result<Evidence, ScoreError>,
    ) -> Result<Evidence, Failure> {
        Ok(count(self.width, &self.predictions(&self.read(rows)?))?)
    }

    fn read(&self, rows: &[(u32, &Row)]) -> Result<Found, Failure> {
        if rows.iter().any(|(_, row)| row.q.is_some()) {
            let context = |(cluster, row): &(u32, &Row)| Context::of_row(*cluster, row, self.top);
            return Ok(Found::Contexts(rows.iter().map(context).collect::<Result<_, _>>()?));
        }
        if self.top.is_some() {
            let what = "--top-k: cuts whole rows (\"q\"); what an API returned is cut already";
            return Err(Failure(what.to_owned()));
        }
        let mut losses = Losses::default();
        let answered = |(cluster, row): &(u32, &Row)| self.answered(*cluster, row, &mut losses);
        let answers = rows.iter().map(answered).collect::<Result<_, _>>()?;
        Ok(Found::Answers(answers, losses))
    }

    fn predictions<'a>(&self, found: &'a Found) -> Vec<Prediction<'a>> {
        match found {
            Found::Contexts(contexts) => contexts.iter().map(Context::prediction).collect(),
            Found::Answers(answers, _) => answers.iter().flat_map(|answer| self.of_answer(answer)).collect(),
        }
    }

    /// Counts distributions over the mark's own tokens.
    pub(super) fn of_contexts(&self, contexts: &[Context]) -> Result<Evidence, Failure> {
        let rows: Vec<Prediction<'_>> = contexts.iter().map(Context::prediction).collect();
        self.counted(&rows, |reference| expected(contexts, reference))
    }

    /// Whether the window after `at` tokens of an answer lies inside the answer.
    fn known(&self, at: usize) -> bool {
        at >= self.width.tokens()
    }

    fn answered(&self, cluster: u32, row: &Row, losses: &mut Losses) -> Result<Answered, Failure> {
        let positions = row.logprobs.as_ref().ok_or_else(|| {
            Failure(format!(
                "line {}, field \"logprobs\": is missing, and \"q\" too; --access distributions scores nothing else",
                row.line
            ))
        })?;
        let teacher = self.teacher.as_ref().ok_or_else(|| {
            let what = "--access distributions: give --tokenizer, the one that the mark was made with";
            Failure(what.to_owned())
        })?;
        let prompt = rows::exchange(row, Some(teacher.tokenizer()))?.prompt;
        let mut found = Vec::new();
        let answer = Answer::of(teacher, &text_of(positions));
        for (at, position) in contexts(positions) {
            let before = answer.as_ref().and_then(|answer| answer.before(at));
            let aligned = before.and_then(|before| Some((before.len(), aligned(teacher, before, position)?)));
            losses.add(aligned.as_ref().map(|(_, aligned)| aligned));
            found.extend(aligned.map(|(at, aligned)| (at, aligned.row)));
        }
        let tokens = answer.map_or_else(Vec::new, |answer| answer.tokens().to_vec());
        Ok(Answered { cluster, prompt, tokens, rows: found })
    }

    /// Counts rows; `expected` gives a reference's probability of each known token of each row.
    fn counted(
        &self,
        rows: &[Prediction<'_>],
        expected: impl FnOnce(&Reference) -> Result<Vec<Vec<f32>>, Failure>,
    ) -> Result<Evidence, Failure> {
        Ok(match &self.statistic {
            Statistic::Argmax => score::argmax(self.width, rows)?,
            Statistic::Mass => score::mass(self.width, rows)?,
            Statistic::Residual { reference, exposure } => {
                let weight = exposure.as_ref().map_or(Weight::HalfNorm, Weight::Exposed);
                residual_of_known(self.width, rows, &expected(reference)?, weight)?
            }
        })
    }

    fn of_answer<'a>(&self, answer: &'a Answered) -> impl Iterator<Item = Prediction<'a>> {
        let known = answer.rows.iter().filter(|(at, _)| self.known(*at));
        known.map(|(at, row)| Prediction {
            prompt: &answer.prompt,
            context: &answer.tokens[..*at],
            provenance: Provenance::Unknown,
            q: Q::Top(row),
            cluster: answer.cluster,
        })
    }

    /// The reference's probability of each known token of each row.
    fn expected(&self, answers: &[Answered], reference: &Reference) -> Result<Vec<Vec<f32>>, Failure> {
        let mut b = Vec::new();
        for answer in answers {
            b.extend(self.expected_of(answer, reference)?);
        }
        Ok(b)
    }

    fn expected_of(&self, answer: &Answered, reference: &Reference) -> Result<Vec<Vec<f32>>, Failure> {
        // A row may stand behind the last token: any token makes the reference predict there.
        let tokens = [&answer.tokens[..], &[0]].concat();
        let (rows, size) = (reference.rows(&answer.prompt, &tokens)?, reference.vocabulary());
        let known = answer.rows.iter().filter(|(at, _)| self.known(*at));
        let of = |(at, row): &(usize, Vec<(TokenId, f32)>)| -> Result<Vec<f32>, Failure> {
            let b = rows.get(at * size..(at + 1) * size).unwrap_or_default();
            let b: Option<Vec<f32>> = row.iter().map(|(token, _)| b.get(*token as usize).copied()).collect();
            b.ok_or_else(|| {
                ScoreError::Row { row: *at, what: "a token is outside the reference's vocabulary" }.into()
            })
        };
        known.map(of).collect()
    }
}

fn aligned(teacher: &Spelt, before: &[TokenId], position: &Position) -> Option<Aligned> {
    let known: Vec<Known<'_>> = position
        .top
        .iter()
        .map(|Listed { bytes, probability }| Known { bytes: bytes.as_deref(), probability: *probability })
        .collect();
    align(teacher, before, &known)
}

/// Every position with the number of bytes before it, up to the first token that does not say what it spells.
fn contexts(positions: &[Position]) -> impl Iterator<Item = (usize, &Position)> {
    positions.iter().scan(Some(0), |at: &mut Option<usize>, position| {
        let here = (*at)?;
        *at = position.chosen.as_ref().map(|bytes| here + bytes.len());
        Some((here, position))
    })
}
