//! What another tokenizer costs: students of the same marked answers, from random weights, one with the teacher's
//! vocabulary and others with byte-pair vocabularies of their own, learned from other text.
//!
//! Each student writes answers to fresh prompts. Its text is cut by the teacher's tokenizer; its distributions, one an
//! answer, are aligned. z is under the key that marked the answers.

use crate::bases;
use crate::corpus::Result;
use crate::strength::{likeliest, write};
use crate::students::{self, Lab, rows, stream};
use std::path::Path;
use taggant::embed::Embedder;
use taggant::scheme::{Scheme, Spec};
use taggant::score::alignment::{Answer, Known, Losses, align};
use taggant::score::{
    self, Evidence, Exchange, Prediction, Provenance, Row, TextStatistic, Weight, residual_of_known,
};
use taggant::source::model::{END, tokenizer};
use taggant::source::spelling::Spelt;
use taggant::stat::verdict::verdict_tail;
use taggant::token::{Spelling, TokenId};
use taggant_model::generate::{Options, Sampler, Sampling, generate};
use taggant_model::small::{Config, SmallModel};
use taggant_model::tokenizer::Tokenizer;
use taggant_model::train::{self, distil};

const SPEC: &str = "green/1/w1/b2/t1";
/// Tokens of marked answers that a student learns.
const HARVEST: usize = 100_000;
/// Answers of a student; a distribution is read in each.
const ANSWERS: usize = 1_000;

/// Prints a table with a line a student.
pub(crate) fn run(text: &Path, seeds: u64) -> Result<()> {
    let (lab, teacher) = (Lab::open()?, Spelt::new(tokenizer("embedded")?)?);
    println!(
        "| seed | vocabulary | text: distinct, √n | contexts aligned | lost, of them top 20 | argmax, mass, residual | top 20 |"
    );
    println!("|---|---|---|---|---|---|---|");
    for seed in 1..=seeds {
        let purpose = format!("alignment, seed {seed}");
        let scheme = students::scheme(SPEC.parse::<Spec>()?, &purpose)?;
        let embedder = Embedder::new(students::scheme(SPEC.parse::<Spec>()?, &purpose)?, 2.0)?;
        let harvest = write(&lab, &lab.teacher, Some(&embedder), HARVEST, &format!("{purpose}, harvest"))?;
        let texts: Vec<String> = harvest
            .iter()
            .map(|answer| teacher.tokenizer().decode(&[&answer.prompt[1..], &answer.response].concat()))
            .collect::<std::result::Result<_, _>>()?;
        let prompts = lab.prompts(ANSWERS, &format!("{purpose}, fresh"))?;
        for size in [0, 2_048, 1_024] {
            let vocabulary = match size {
                0 => teacher.clone(),
                size => Spelt::new(Tokenizer::from_bytes(bases::other_tokenizer(text, size)?.as_bytes())?)?,
            };
            let name = if size == 0 { "the teacher's".to_owned() } else { format!("{size} of its own") };
            let student = Student::of(vocabulary, &texts, &format!("{purpose}, {name}"))?;
            let bench = Bench { lab: &lab, teacher: &teacher, scheme: &scheme, student: &student };
            println!("| {seed} | {name} | {}", bench.measure(&prompts, size == 0)?);
        }
    }
    Ok(())
}

struct Student {
    model: SmallModel,
    vocabulary: Spelt,
    end: TokenId,
    seed: u64,
}

impl Student {
    /// From random weights, six passes, as in the other runs.
    fn of(vocabulary: Spelt, texts: &[String], purpose: &str) -> Result<Self> {
        let encode = |text: &String| vocabulary.tokenizer().encode(text);
        let texts: Vec<Vec<TokenId>> = texts.iter().map(encode).collect::<std::result::Result<_, _>>()?;
        let end = vocabulary.tokenizer().id(END).ok_or("the vocabulary has no end of text")?;
        let seed = stream(purpose);
        let config = Config { vocab: vocabulary.tokenizer().vocab_size(), ..Config::default() };
        let options = train::Options { seed, rate: 3e-3, ..train::Options::default() };
        let model = distil(&SmallModel::random(config, seed)?, &texts, end, 6, &options, &mut |_| {})?;
        Ok(Self { model, vocabulary, end, seed })
    }

    /// Its answers to texts, in its own tokens.
    fn answers(&self, prompts: &[String]) -> Result<Vec<Exchange>> {
        let encode = |text: &String| Ok([vec![self.end], self.vocabulary.tokenizer().encode(text)?].concat());
        let prompts: Vec<Vec<TokenId>> = prompts.iter().map(encode).collect::<Result<_>>()?;
        let mut sampler = Sampler::new(Sampling::default(), self.seed)?;
        let mut pick = |row: usize, context: &[TokenId], logits: &mut [f32]| {
            sampler.pick(row as u64, context.len(), logits)
        };
        let options = Options { max_tokens: students::ANSWER, stop: vec![self.end], batch: 64 };
        let responses = generate(&self.model, &prompts, &options, &mut pick, &mut |_, _| {})?;
        Ok(prompts.into_iter().zip(responses).map(|(prompt, response)| fresh(prompt, response)).collect())
    }

    fn bytes(&self, tokens: &[TokenId]) -> Vec<u8> {
        tokens.iter().filter_map(|token| self.vocabulary.bytes(*token)).flatten().copied().collect()
    }
}

fn fresh(prompt: Vec<TokenId>, response: Vec<TokenId>) -> Exchange {
    Exchange { prompt, response, whole_context: true, provenance: Provenance::Fresh }
}

/// A context in the teacher's tokens, and what is known there.
struct Context {
    prompt: Vec<TokenId>,
    before: Vec<TokenId>,
    row: Vec<(TokenId, f32)>,
    b: Vec<f32>,
}

struct Bench<'a> {
    lab: &'a Lab,
    teacher: &'a Spelt,
    scheme: &'a Scheme,
    student: &'a Student,
}

impl Bench<'_> {
    /// The rest of a line of the table.
    fn measure(&self, prompts: &[Vec<TokenId>], direct: bool) -> Result<String> {
        let decode = |prompt: &Vec<TokenId>| self.teacher.tokenizer().decode(&prompt[1..]);
        let openings: Vec<String> = prompts.iter().map(decode).collect::<std::result::Result<_, _>>()?;
        let answers = self.student.answers(&openings)?;
        let mut line = format!("{} | ", self.text(prompts, &answers, direct)?);
        let (mut whole, mut top) = ((Vec::new(), Losses::default()), (Vec::new(), Losses::default()));
        let mut unaligned = Vec::new();
        for (number, (prompt, answer)) in prompts.iter().zip(&answers).enumerate() {
            if answer.response.is_empty() {
                continue;
            }
            let at = stream(&format!("context {number}")) as usize % answer.response.len();
            let cut = fresh(answer.prompt.clone(), answer.response[..=at].to_vec());
            let q = rows(&self.student.model, &cut)?;
            let q = &q[q.len() - self.student.model.config().vocab..];
            let every: Vec<(TokenId, f32)> = (0..).zip(q.iter().copied()).collect();
            for (known, (found, losses)) in [(&every, &mut whole), (&likeliest(q, 20), &mut top)] {
                found.extend(self.context(prompt, answer, at, known, losses)?);
            }
            if direct {
                unaligned.push(self.with_reference(prompt, &answer.response[..at], every)?);
            }
        }
        let (all, some) = (whole.1.report(), top.1.report());
        let aligned = all.contexts - all.unaligned;
        line += &format!("{aligned} of {} | {:.3}, {:.3} | ", all.contexts, all.lost, some.lost);
        line += &format!("{} | {} |", self.rows(&whole.0)?, self.rows(&top.0)?);
        if direct {
            line += &format!(" without alignment: {}", self.rows(&unaligned)?);
        }
        Ok(line)
    }

    fn text(&self, prompts: &[Vec<TokenId>], answers: &[Exchange], direct: bool) -> Result<String> {
        let cut = |(prompt, answer): (&Vec<TokenId>, &Exchange)| {
            let text = self.student.vocabulary.tokenizer().decode(&answer.response)?;
            Ok(fresh(prompt.clone(), self.teacher.tokenizer().encode(&text)?))
        };
        let texts: Vec<Exchange> = prompts.iter().zip(answers).map(cut).collect::<Result<_>>()?;
        let both = |texts: &[Exchange]| -> Result<String> {
            let width = self.scheme.spec().width();
            let z = |statistic| self.z(&score::count(width, texts, statistic)?);
            Ok(format!("{:.1}, {:.1}", z(TextStatistic::Distinct)?, z(TextStatistic::RootCount)?))
        };
        let line = both(&texts)?;
        Ok(if direct { format!("{line} (its tokens: {})", both(answers)?) } else { line })
    }

    fn context(
        &self,
        prompt: &[TokenId],
        answer: &Exchange,
        at: usize,
        q: &[(TokenId, f32)],
        losses: &mut Losses,
    ) -> Result<Option<Context>> {
        let known = |(token, q): &(TokenId, f32)| Known {
            bytes: self.student.vocabulary.bytes(*token),
            probability: f64::from(*q),
        };
        let known: Vec<Known<'_>> = q.iter().map(known).collect();
        let whole = Answer::of(self.teacher, &self.student.bytes(&answer.response));
        let before =
            whole.as_ref().and_then(|whole| whole.before(self.student.bytes(&answer.response[..at]).len()));
        let aligned = before.and_then(|before| align(self.teacher, before, &known));
        losses.add(aligned.as_ref());
        let Some((before, aligned)) = before.zip(aligned) else { return Ok(None) };
        self.with_reference(prompt, before, aligned.row).map(Some)
    }

    /// The unmarked teacher beside a row.
    fn with_reference(
        &self,
        prompt: &[TokenId],
        before: &[TokenId],
        row: Vec<(TokenId, f32)>,
    ) -> Result<Context> {
        let all = rows(&self.lab.teacher, &fresh(prompt.to_vec(), [before, &[0]].concat()))?;
        let b = &all[all.len() - self.lab.teacher.config().vocab..];
        let b = row.iter().map(|(token, _)| b[*token as usize]).collect();
        Ok(Context { prompt: prompt.to_vec(), before: before.to_vec(), row, b })
    }

    fn rows(&self, contexts: &[Context]) -> Result<String> {
        let rows: Vec<Prediction<'_>> = contexts
            .iter()
            .zip(0..)
            .map(|(context, cluster)| Prediction {
                prompt: &context.prompt,
                context: &context.before,
                provenance: Provenance::Fresh,
                q: Row::Top(&context.row),
                cluster,
            })
            .collect();
        let b: Vec<Vec<f32>> = contexts.iter().map(|context| context.b.clone()).collect();
        let width = self.scheme.spec().width();
        let argmax = self.z(&score::argmax(width, &rows)?)?;
        let mass = self.z(&score::mass(width, &rows)?)?;
        let residual = self.z(&residual_of_known(width, &rows, &b, Weight::HalfNorm)?)?;
        Ok(format!("{argmax:.1}, {mass:.1}, {residual:.1}"))
    }

    fn z(&self, evidence: &Evidence) -> Result<f64> {
        Ok(verdict_tail(evidence.open(self.scheme)?)?.1)
    }
}
