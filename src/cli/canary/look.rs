//! `taggant canary score`: a suspect's answers to probes, matched without the key and then opened. An exploration.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::super::{Failure, output, rows};
use super::{Keyed, weigh};
use crate::attribute::{Assumed, Feasibility};
use crate::canary::{Asked, Book, Evidence, Matcher, Pick, Scoring, SiblingSet, second_reading};
use crate::case::canaries::Readings;
use crate::key::{Commitment, Epoch, KeyId};
use crate::source::text::{BadLines, Content, Kind, Row};
use crate::stat::math::ln;
use crate::stat::verdict::Summary;

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    #[command(flatten)]
    keyed: Keyed,
    /// Answers that every slot got: fixed before any pick is opened
    #[arg(long, default_value_t = 1)]
    probes: usize,
    /// How answers become scores
    #[arg(long, value_enum, default_value_t = Scores::Remembered)]
    scoring: Scores,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The rows hold log-probabilities instead of answers: slot, ln_p (one for each sibling, in the book's order), perhaps
    /// account; of twins perhaps reference_ln_p too
    #[arg(long, conflicts_with_all = ["probes", "scoring"])]
    log_probabilities: bool,
    /// Rows as JSON lines: id, slot, response, perhaps account (whose pick is meant); the rows of a slot in the order they were
    /// planned, refusals included; - reads standard input
    #[arg(value_name = "ANSWERS.jsonl")]
    file: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Scores {
    First,
    Counts,
    Remembered,
}

/// `taggant/canary-score/1`.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    exploration: &'static str,
    key_id: KeyId,
    epoch: Epoch,
    book: Commitment,
    slots: u64,
    silent: u64,
    /// How answers were read, and how often a second reader, which saw neither the key nor the first one's result, read
    /// otherwise; none where log-probabilities were weighed.
    readings: Option<Readings>,
    summary: Summary,
    /// What an excess recall of one in a hundred would need at 1e-6.
    feasibility: Feasibility,
}

pub(in super::super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let book = arguments.keyed.book()?;
    let secret = arguments.keyed.key.read()?.secret;
    let key = secret.epoch_key(&arguments.keyed.epoch);
    let picks = book.picks(&key);
    let (draws, slots, readings) = if arguments.log_probabilities {
        let (draws, slots) = weigh::draws(&book, &arguments.file, &picks)?;
        (draws, slots, None)
    } else {
        let (evidence, readings) = read(&book, arguments)?;
        (evidence.open(&picks)?, evidence.slots, Some(readings))
    };
    let summary =
        if draws.as_slice().is_empty() { Summary::without_draws(None) } else { Summary::of(draws)? };
    let assumed = Assumed { accounts: 1, tilt: 0.0, recall: 0.01, siblings: 16, share: 1.0 };
    let report = Report {
        schema: "taggant/canary-score/1",
        exploration: "not a verdict: no plan was sealed",
        key_id: secret.commitment().key_id(),
        epoch: arguments.keyed.epoch.clone(),
        book: book.sha256(),
        slots,
        silent: readings.map_or(0, |readings| readings.silent),
        readings,
        summary,
        feasibility: assumed.route(ln(1e-6), slots)?,
    };
    if arguments.json { output::json(&report) } else { output::line(&said(&report)) }
}

/// Answers as score vectors, and how they were read; no key is at hand.
fn read(book: &Book, arguments: &Arguments) -> Result<(Evidence, Readings), Failure> {
    let rows = rows::read(&arguments.file, Kind::Exchanges, BadLines::Refuse)?.rows;
    let (asked, readings) = asked(book, &rows)?;
    let scoring = match arguments.scoring {
        Scores::First => Scoring::First,
        Scores::Counts => Scoring::Counts,
        Scores::Remembered => Scoring::Remembered,
    };
    let evidence = Evidence::new(book, &asked, arguments.probes, scoring)?;
    let (slots, silent) = (evidence.slots, evidence.silent);
    Ok((evidence, Readings { slots, silent, ..readings }))
}

/// Rows by slot and account, in the order of their first rows.
fn asked(book: &Book, rows: &[Row]) -> Result<(Vec<Asked>, Readings), Failure> {
    let mut at: BTreeMap<Pick, usize> = BTreeMap::new();
    let mut matchers: BTreeMap<u64, (SiblingSet, Matcher)> = BTreeMap::new();
    let mut asked: Vec<Asked> = Vec::new();
    let mut readings = Readings::default();
    for row in rows {
        let wrong =
            |field: &str, what: &str| Failure(format!("line {}, field \"{field}\": {what}", row.line));
        let slot = row.fields.get("slot").and_then(Value::as_u64);
        let slot = slot.ok_or_else(|| wrong("slot", "the number of the slot that was probed"))?;
        let Content::Text(response) = &row.response else {
            return Err(wrong("response", "canaries are read in text"));
        };
        let (set, matcher) = match matchers.entry(slot) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let set = book.set(slot).ok_or_else(|| wrong("slot", "the book has no such slot"))?;
                let matcher = Matcher::new(&set)?;
                new.insert((set, matcher))
            }
        };
        let answer = matcher.answer(response);
        readings.count(answer, second_reading(set, response));
        let account = row.fields.get("account").and_then(Value::as_str).map(str::to_owned);
        let pick = Pick { slot, account };
        let index = *at.entry(pick.clone()).or_insert_with(|| {
            asked.push(Asked { pick, answers: Vec::new() });
            asked.len() - 1
        });
        asked[index].answers.push(answer);
    }
    Ok((asked, readings))
}

fn said(report: &Report) -> String {
    let Summary { draws, estimate, expected, z, log10_p, .. } = report.summary;
    let readings = report.readings.map_or(String::new(), |readings| {
        let Readings { answers, read_twice, disagreements, .. } = readings;
        format!("read twice   {read_twice} of {answers} answers, {disagreements} of them otherwise by the second reader\n")
    });
    format!(
        "exploration (no plan was sealed: not a verdict)\n\
         slots        {} asked, {} silent, {draws} draws\n\
         {readings}\
         on the pick  {estimate:.4} of the scores, {expected:.4} by chance\n\
         z            {z:.2}\n\
         p            1e{log10_p:.2} (exact)\n\
         note         {}",
        report.slots, report.silent, report.feasibility
    )
}
