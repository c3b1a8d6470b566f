//! `taggant trace`: whose key marked a text that leaked, of all accounts or tenants; most often nobody's. An exploration.
//!
//! Every candidate has an exact test of its own, and all that could be named count in the correction. Nothing is decoded:
//! among 25,000 innocents the nearest always looks good.

pub(super) mod candidates;
mod tested;

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{Failure, detect, key, output, rows, verdict};
use crate::attribute::FAMILY_WISE;
use crate::key::{Epoch, KeyId};
use crate::scheme::Spec;
use crate::score::Skipped;
use crate::score::alignment::RoundTrip;
use crate::source::model;
use crate::source::text::{BadLines, Kind};
use crate::stat::math::{ln, log10_from_ln, to_f64};
use candidates::Accounts;
use tested::{Tested, Traced};

/// How many of the nearest candidates are listed.
const LISTED: usize = 10;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    key: key::Key,
    /// The epoch of rows that name none
    #[arg(long)]
    epoch: Option<Epoch>,
    /// The scheme: payload/1/w<width> with --accounts, another with --tenants
    #[arg(long)]
    spec: Spec,
    /// All accounts that the text could be from: FIRST-LAST, or a file with a number a line and perhaps a name behind it
    #[arg(
        long,
        value_name = "FIRST-LAST|FILE",
        conflicts_with = "tenants",
        required_unless_present = "tenants"
    )]
    accounts: Option<Accounts>,
    /// All tenants with keys of their own that it could be from: a file with an id a line
    #[arg(long, value_name = "FILE")]
    tenants: Option<PathBuf>,
    /// The chance of naming anybody wrongly, over all candidates together
    #[arg(long, default_value_t = FAMILY_WISE, value_parser = detect::level)]
    level: f64,
    /// The tokenizer that the mark was made with: embedded, smollm2, a GGUF file or a tokenizer.json
    #[arg(long, value_name = "TOKENIZER")]
    tokenizer: Option<String>,
    /// List every candidate, not the nearest ten (JSON only)
    #[arg(long, requires = "json")]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Leave bad lines out and count them
    #[arg(long)]
    skip_bad: bool,
    /// The leaked text as rows (JSON lines); - reads standard input
    #[arg(value_name = "FILE.jsonl")]
    file: PathBuf,
}

/// `taggant/trace/1`.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    exploration: &'static str,
    key_id: KeyId,
    epochs: Vec<Epoch>,
    spec: Spec,
    /// `accounts` or `tenants`.
    of: &'static str,
    /// All of them were tested, and count in the correction.
    candidates: usize,
    /// The chance of naming anybody wrongly.
    family_wise: f64,
    rows: usize,
    refused_rows: usize,
    rows_without_prompt: usize,
    positions: u64,
    skipped: Skipped,
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip: Option<RoundTrip>,
    /// Distinct draws, the same for every candidate.
    draws: u64,
    /// The hits with which the nearest candidate would be named; null where no number of hits is enough, or hits are not
    /// counted.
    needed_hits: Option<u64>,
    /// log10 of the p that the nearest of so many innocents has on average: 1 / (candidates + 1).
    nearest_by_chance_log10_p: f64,
    /// Whom the tests name; most often nobody.
    named: Vec<Tested>,
    /// The nearest candidates, or all with `--all`. Nearness names nobody.
    nearest: Vec<Tested>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let secret = arguments.key.read()?.secret;
    let bad = if arguments.skip_bad { BadLines::Skip } else { BadLines::Refuse };
    let tokenizer = arguments.tokenizer.as_deref().map(model::tokenizer).transpose()?;
    let rows = rows::read(&arguments.file, Kind::Exchanges, bad)?;
    let text = tested::Text::count(&rows.rows, arguments.epoch.as_ref(), arguments.spec, tokenizer.as_ref())?;
    let traced = match (&arguments.accounts, &arguments.tenants) {
        (Some(accounts), _) => tested::accounts(&text, &secret, &accounts.read()?)?,
        (None, Some(tenants)) => tested::tenants(&text, &secret, &candidates::ids(tenants)?)?,
        (None, None) => return Err(Failure("give --accounts or --tenants".to_owned())),
    };
    let Traced { draws, needed_hits, mut tests, .. } = traced.corrected(ln(arguments.level))?;
    tests.sort_by(|a, b| a.ln_p.total_cmp(&b.ln_p));
    let candidates = tests.len();
    let report = Report {
        schema: "taggant/trace/1",
        exploration: "not a verdict: no plan was sealed",
        key_id: secret.commitment().key_id(),
        epochs: text.epochs(),
        spec: arguments.spec,
        of: if arguments.accounts.is_some() { "accounts" } else { "tenants" },
        candidates,
        family_wise: arguments.level,
        rows: rows.rows.len(),
        refused_rows: rows.refused.len(),
        rows_without_prompt: rows.rows.iter().filter(|row| row.prompt.is_none()).count(),
        positions: text.positions,
        skipped: text.skipped,
        round_trip: rows::round_trip(&rows.rows, arguments.spec.width(), tokenizer.as_ref())?,
        draws,
        needed_hits,
        nearest_by_chance_log10_p: -log10_from_ln(ln(to_f64(candidates as u64 + 1))),
        named: tests.iter().filter(|test| test.named).cloned().collect(),
        nearest: tests.into_iter().take(if arguments.all { candidates } else { LISTED }).collect(),
    };
    rows.refused.iter().for_each(|line| output::talk(&format!("left out: {line}")));
    if arguments.json {
        output::json(&report)?
    } else {
        output::data(&page(&report))?
    }
    Ok(ExitCode::SUCCESS)
}

/// What a person reads.
fn page(report: &Report) -> String {
    let Report { of, candidates, skipped, draws, .. } = report;
    let mut page = format!(
        "exploration (no plan was sealed: not a verdict)\n\
         spec        {} under key {}\n\
         rows        {} ({} refused, {} without a prompt), {} positions\n\
         scored      {draws} distinct draws, the same for every candidate\n\
         skipped     {} repeated, {} in the prompt, {} short window\n\
         tested      {candidates} {of}, each exactly; named where p, corrected for all of them, is at most {}\n",
        report.spec,
        report.key_id,
        report.rows,
        report.refused_rows,
        report.rows_without_prompt,
        report.positions,
        skipped.repeated,
        skipped.prompt_window,
        skipped.short_window,
        report.family_wise,
    );
    if let Some(trip) = report.round_trip {
        let _ = writeln!(
            page,
            "text only   {} of {} rows come out as other tokens; of {} draws of the tokens the text shows {}",
            trip.changed, trip.rows, trip.draws_of_tokens, trip.draws_of_both
        );
    }
    let _ = writeln!(page, "needed      {}", needed(report));
    for one in &report.named {
        let _ = writeln!(page, "named       {}", said(one, *draws));
    }
    page.push_str(&conclusion(report));
    page
}

/// What naming one of so many takes.
fn needed(report: &Report) -> String {
    let Report { of, candidates, draws, needed_hits, .. } = report;
    match needed_hits {
        Some(hits) => {
            let share = 100.0 * to_f64(*hits) / to_f64((*draws).max(1));
            format!(
                "to name one of {candidates} {of}, {hits} of the {draws} draws on its list ({share:.1} %)"
            )
        }
        None if report.nearest.iter().any(|one| one.hits.is_some()) => {
            format!(
                "{draws} draws are too few to name one of {candidates} {of}, whatever they say: more text"
            )
        }
        None => format!(
            "log10 p of {:.1} for the nearest of {candidates} {of}",
            log10_from_ln(ln(report.family_wise)) - log10_from_ln(ln(to_f64(*candidates as u64)))
        ),
    }
}

fn said(one: &Tested, draws: u64) -> String {
    let name = one.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let hits = one.hits.map(|hits| format!("{hits} of {draws} draws, ")).unwrap_or_default();
    format!(
        "{}{name}: {hits}log10 p {}, corrected {}",
        one.id,
        verdict::stated(one.log10_p),
        verdict::stated(one.adjusted_log10_p)
    )
}

/// The runner-up, and what the answer says.
fn conclusion(report: &Report) -> String {
    let Report { draws, named, nearest, candidates, .. } = report;
    let next = nearest.iter().find(|one| !one.named);
    let by_chance = report.nearest_by_chance_log10_p;
    if named.is_empty() {
        let next =
            next.map(|one| format!("nearest     {}, and not named\n", said(one, *draws))).unwrap_or_default();
        return format!(
            "named       nobody\n{next}            Of {candidates} innocents the nearest has log10 p {by_chance:.1} on average: it is no clue.\n"
        );
    }
    let next =
        next.map(|one| format!("runner-up   {}, and not named\n", said(one, *draws))).unwrap_or_default();
    format!(
        "{next}            It says under whose marks the text was written, not who passed it on, nor how it came where it was found.\n"
    )
}
