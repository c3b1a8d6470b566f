//! `taggant canary lint`: survival by filter, and natural frequencies.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::super::{Failure, output, rows};
use super::book;
use crate::canary::lint::{self, Imbalance, Near, Specimen, Survival};
use crate::canary::{Book, SiblingSet};
use crate::key::Commitment;
use crate::source::model;
use crate::source::reference::Reference;
use crate::source::text::{BadLines, Content, Kind};

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// The book
    book: PathBuf,
    /// The operator's ordinary answers (rows with `response`): duplicates, the perplexity band and natural frequencies are
    /// held against them
    #[arg(long, value_name = "FILE.jsonl")]
    answers: Option<PathBuf>,
    /// Planted answers (rows with `slot`, `sibling` from 0, `response`) instead of texts made from the book
    #[arg(long, value_name = "FILE.jsonl")]
    planted: Option<PathBuf>,
    /// Slots to look at, evenly spread over the book
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..))]
    sample: u64,
    /// Jaccard similarity from which on the later of two texts is a near duplicate
    #[arg(long, default_value_t = 0.8)]
    similarity: f64,
    /// The model of the perplexity band: embedded, smollm2, or a Llama-family GGUF file
    #[arg(long, default_value = "embedded")]
    model: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `taggant/canary-lint/1`.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    book: Commitment,
    slots: u64,
    texts: usize,
    ordinary_answers: usize,
    /// What was looked at: planted answers, or prompts with a sibling from the book, which say less.
    made_from_the_book: bool,
    survival: Vec<Survival>,
    imbalance: Vec<Imbalance>,
    not_run: Vec<&'static str>,
}

pub(in super::super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if !(0.1..=1.0).contains(&arguments.similarity) {
        return Err(Failure("--similarity: between 0.1 and 1".to_owned()));
    }
    let book = book(&arguments.book)?;
    let ordinary = match &arguments.answers {
        Some(path) => texts(path)?,
        None => Vec::new(),
    };
    let sets: Vec<SiblingSet> = sampled(&book, arguments.sample);
    let specimens = match &arguments.planted {
        Some(path) => planted(&book, path)?,
        None => sets.iter().map(specimen).collect(),
    };
    let mut survival = lint::survival(&specimens, &ordinary, Near { similarity: arguments.similarity });
    let mut not_run = Vec::new();
    if ordinary.is_empty() {
        not_run.push("perplexity and natural frequencies: give ordinary answers with --answers");
    } else {
        let mine: Vec<String> = specimens.iter().map(|specimen| specimen.text.clone()).collect();
        let losses = Losses::open(&arguments.model)?;
        survival.extend(lint::within_band(&specimens, &losses.of(&mine)?, &losses.of(&ordinary)?));
    }
    let imbalance = if ordinary.is_empty() { Vec::new() } else { lint::imbalance(&sets, &ordinary) };
    let report = Report {
        schema: "taggant/canary-lint/1",
        book: book.sha256(),
        slots: book.slots(),
        texts: specimens.len(),
        ordinary_answers: ordinary.len(),
        made_from_the_book: arguments.planted.is_none(),
        survival,
        imbalance,
        not_run,
    };
    if arguments.json { output::json(&report) } else { say(&report) }
}

/// Every n-th slot: no key, and no look at what a slot says.
fn sampled(book: &Book, sample: u64) -> Vec<SiblingSet> {
    let step = (book.slots() / sample).max(1);
    (0..sample.min(book.slots())).filter_map(|n| book.set(n * step)).collect()
}

/// A prompt and a sibling: the least that a planted exchange consists of.
fn specimen(set: &SiblingSet) -> Specimen {
    let sibling = usize::try_from(set.slot).unwrap_or_default() % set.siblings.len();
    let text = format!("{} {}", set.prompts[0], set.siblings[sibling].says);
    Specimen { set: set.clone(), sibling, text }
}

fn texts(path: &std::path::Path) -> Result<Vec<String>, Failure> {
    let rows = rows::read(path, Kind::Exchanges, BadLines::Refuse)?.rows;
    let text = |row: crate::source::text::Row| match row.response {
        Content::Text(text) => Ok(text),
        Content::Tokens(_) => Err(Failure(format!("line {}, field \"response\": text is needed", row.line))),
    };
    rows.into_iter().map(text).collect()
}

fn planted(book: &Book, path: &std::path::Path) -> Result<Vec<Specimen>, Failure> {
    let rows = rows::read(path, Kind::Exchanges, BadLines::Refuse)?.rows;
    let one = |row: crate::source::text::Row| {
        let number = |field: &str| row.fields.get(field).and_then(serde_json::Value::as_u64);
        let wrong =
            |field: &str| Failure(format!("line {}, field \"{field}\": not one of the book's", row.line));
        let set = number("slot").and_then(|slot| book.set(slot)).ok_or_else(|| wrong("slot"))?;
        let sibling = number("sibling").and_then(|at| usize::try_from(at).ok());
        let sibling = sibling.filter(|at| *at < set.siblings.len()).ok_or_else(|| wrong("sibling"))?;
        match row.response {
            Content::Text(text) => Ok(Specimen { set, sibling, text }),
            Content::Tokens(_) => Err(wrong("response")),
        }
    };
    rows.into_iter().map(one).collect()
}

/// Mean −ln p a token under a model.
struct Losses {
    reference: Reference,
    tokenizer: taggant_model::tokenizer::Tokenizer,
}

impl Losses {
    fn open(name: &str) -> Result<Self, Failure> {
        Ok(Self { reference: Reference::open(&[name.to_owned()])?, tokenizer: model::tokenizer(name)? })
    }

    fn of(&self, texts: &[String]) -> Result<Vec<f64>, Failure> {
        texts.iter().map(|text| self.loss(text)).collect()
    }

    /// Infinite for a text without a token.
    fn loss(&self, text: &str) -> Result<f64, Failure> {
        let tokens = self.tokenizer.encode(text)?;
        let rows = self.reference.rows(&[], &tokens)?;
        let size = self.reference.vocabulary();
        let chances =
            tokens.iter().zip(rows.chunks_exact(size)).map(|(token, row)| f64::from(row[*token as usize]));
        let (mut sum, mut count) = (0.0, 0.0);
        for chance in chances {
            sum -= crate::stat::math::ln(chance.max(1e-30));
            count += 1.0;
        }
        Ok(if count > 0.0 { sum / count } else { f64::INFINITY })
    }
}

fn say(report: &Report) -> Result<(), Failure> {
    output::line(&format!("book {}  {} slots, {} texts looked at", report.book, report.slots, report.texts))?;
    if report.made_from_the_book {
        output::talk(
            "These are prompts with a sibling, made from the book. Planted answers (--planted) say more.",
        );
    }
    let mut filters: Vec<_> = report.survival.iter().map(|survival| survival.filter).collect();
    filters.dedup();
    for filter in filters {
        let of = || report.survival.iter().filter(|survival| survival.filter == filter);
        let (texts, left) = of().fold((0, 0), |sum, one| (sum.0 + one.texts, sum.1 + one.left));
        let name = serde_json::to_value(filter)?;
        output::line(&format!("{:<18} {left:>6} of {texts:<6} left", name.as_str().unwrap_or_default()))?;
        for weak in of().filter(|survival| survival.is_weak()) {
            output::line(&format!("  weak: {:<24} {} of {}", weak.class, weak.left, weak.texts))?;
        }
    }
    for one in report.imbalance.iter().filter(|one| one.named > 0) {
        let most = one.most.as_deref().unwrap_or_default();
        output::line(&format!(
            "natural            {}: {} answers name a sibling, {:.0} % of them {most:?}; as {:.1} equal ones (power, not validity)",
            one.class,
            one.named,
            100.0 * one.share,
            one.effective
        ))?;
    }
    report.not_run.iter().try_for_each(|what| output::line(&format!("not run            {what}")))
}
