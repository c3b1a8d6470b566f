//! A suspect's probabilities along its own answers, in its own vocabulary, as evidence about the teacher's tokens.

use taggant_model::tokenizer::Tokenizer;

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
    teacher: Spelt,
    statistic: Statistic,
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

impl Distributions {
    pub(super) fn new(
        width: Width,
        comparing: Comparing,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Self, Failure> {
        let tokenizer = tokenizer.ok_or_else(|| {
            Failure(
                "--access distributions: give --tokenizer, the one that the mark was made with".to_owned(),
            )
        })?;
        let statistic = match comparing {
            Comparing::Argmax => Statistic::Argmax,
            Comparing::Mass => Statistic::Mass,
            Comparing::Reference { names, exposure } => {
                for name in &names {
                    if model::tokenizer(name)?.digest() != tokenizer.digest() {
                        return Err(Failure(format!(
                            "--reference {name}: its tokens are not those of --tokenizer"
                        )));
                    }
                }
                Statistic::Residual { reference: Reference::open(&names)?, exposure }
            }
        };
        Ok(Self { width, teacher: Spelt::new(tokenizer.clone())?, statistic })
    }

    pub(super) fn name(&self) -> &'static str {
        match self.statistic {
            Statistic::Argmax => "argmax",
            Statistic::Mass => "mass",
            Statistic::Residual { .. } => "residual",
        }
    }

    pub(super) fn count(&self, rows: &[(u32, &Row)]) -> Result<Count, Failure> {
        let mut losses = Losses::default();
        let answered = |(cluster, row): &(u32, &Row)| self.answered(*cluster, row, &mut losses);
        let answers: Vec<Answered> = rows.iter().map(answered).collect::<Result<_, _>>()?;
        let mut evidence = self.evidence(&answers)?;
        // The chat template before an answer is not in the text: its first windows are not known.
        let short = answers.iter().flat_map(|answer| &answer.rows).filter(|(at, _)| !self.known(*at)).count();
        evidence.skipped.short_window += short as u64;
        evidence.positions += short as u64;
        Ok(Count { evidence: evidence.into(), losses: Some(losses) })
    }

    /// Whether the window after `at` tokens of an answer lies inside the answer.
    fn known(&self, at: usize) -> bool {
        at >= self.width.tokens()
    }

    fn answered(&self, cluster: u32, row: &Row, losses: &mut Losses) -> Result<Answered, Failure> {
        let positions = row.logprobs.as_ref().ok_or_else(|| {
            Failure(format!(
                "line {}, field \"logprobs\": is missing; --access distributions scores nothing else",
                row.line
            ))
        })?;
        let prompt = rows::exchange(row, Some(self.teacher.tokenizer()))?.prompt;
        let mut found = Vec::new();
        let answer = Answer::of(&self.teacher, &text_of(positions));
        for (at, position) in contexts(positions) {
            let before = answer.as_ref().and_then(|answer| answer.before(at));
            let aligned = before.and_then(|before| Some((before.len(), self.aligned(before, position)?)));
            losses.add(aligned.as_ref().map(|(_, aligned)| aligned));
            found.extend(aligned.map(|(at, aligned)| (at, aligned.row)));
        }
        let tokens = answer.map_or_else(Vec::new, |answer| answer.tokens().to_vec());
        Ok(Answered { cluster, prompt, tokens, rows: found })
    }

    fn aligned(&self, before: &[TokenId], position: &Position) -> Option<Aligned> {
        let known: Vec<Known<'_>> = position
            .top
            .iter()
            .map(|Listed { bytes, probability }| Known { bytes: bytes.as_deref(), probability: *probability })
            .collect();
        align(&self.teacher, before, &known)
    }

    fn evidence(&self, answers: &[Answered]) -> Result<Evidence, Failure> {
        let rows: Vec<Prediction<'_>> = answers.iter().flat_map(|answer| self.predictions(answer)).collect();
        Ok(match &self.statistic {
            Statistic::Argmax => score::argmax(self.width, &rows)?,
            Statistic::Mass => score::mass(self.width, &rows)?,
            Statistic::Residual { reference, exposure } => {
                let mut b = Vec::with_capacity(rows.len());
                for answer in answers {
                    b.extend(self.expected(answer, reference)?);
                }
                let weight = exposure.as_ref().map_or(Weight::HalfNorm, Weight::Exposed);
                residual_of_known(self.width, &rows, &b, weight)?
            }
        })
    }

    fn predictions<'a>(&self, answer: &'a Answered) -> impl Iterator<Item = Prediction<'a>> {
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
    fn expected(&self, answer: &Answered, reference: &Reference) -> Result<Vec<Vec<f32>>, Failure> {
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

/// Every position with the number of bytes before it, up to the first token that does not say what it spells.
fn contexts(positions: &[Position]) -> impl Iterator<Item = (usize, &Position)> {
    positions.iter().scan(Some(0), |at: &mut Option<usize>, position| {
        let here = (*at)?;
        *at = position.chosen.as_ref().map(|bytes| here + bytes.len());
        Some((here, position))
    })
}
