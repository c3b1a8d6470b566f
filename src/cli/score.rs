//! `taggant score`: what a text shows under one key, or which of several suspects to look at more closely. An exploration:
//! it prints numbers, never a verdict.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use taggant_model::tokenizer::Tokenizer;

use super::baselines::{self, Baseline};
use super::bulk::{self, Job, Scored};
use super::counting::{self, Count, Counting};
use super::{Failure, key, output, rows, screen, verdict};
use crate::key::{Epoch, KeyId, Secret};
use crate::law::{Draws, Law};
use crate::scheme::Spec;
use crate::score::Skipped;
use crate::score::alignment::{LossReport, Losses, RoundTrip};
use crate::source::model;
use crate::source::text::{BadLines, Kind, Row};
use crate::stat::math::log10_from_ln;
use crate::stat::verdict::{Summary, TailMethod};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    key: key::Key,
    /// The epoch of rows that name none
    #[arg(long)]
    epoch: Option<Epoch>,
    /// The scheme, such as green/1/w1/b2/t1 or gumbel/1/w4
    #[arg(long)]
    spec: Spec,
    #[command(flatten)]
    counting: counting::Arguments,
    #[command(flatten)]
    bulk: bulk::Arguments,
    /// Show published tests of the same distributions beside it: argmax, and green mass with its exact variance and by
    /// Hoeffding's bound
    #[arg(long)]
    baselines: bool,
    /// The tokenizer that the mark was made with: embedded, smollm2, a GGUF file or a tokenizer.json
    #[arg(long, value_name = "TOKENIZER")]
    tokenizer: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Leave bad lines out and count them
    #[arg(long)]
    skip_bad: bool,
    /// Rows as JSON lines; - reads standard input. Several files are several suspects, screened by e-BH
    #[arg(value_name = "FILE.jsonl", required = true)]
    files: Vec<PathBuf>,
}

/// `taggant/score/1`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    exploration: &'static str,
    key_id: KeyId,
    epochs: Vec<Epoch>,
    spec: Spec,
    statistic: &'static str,
    references: Vec<String>,
    rows: u64,
    refused_rows: usize,
    /// Rows that do not say what was asked: marked text in their prompts would go unnoticed.
    rows_without_prompt: u64,
    positions: u64,
    skipped: Skipped,
    /// Where rows carry tokens, and a tokenizer is given: what it would cost to have their text only.
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip: Option<RoundTrip>,
    /// What was lost where the suspect's vocabulary is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    alignment: Option<LossReport>,
    /// Published tests of the same rows, where they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    baselines: Vec<Baseline>,
    #[serde(flatten)]
    pub(super) summary: Summary,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let secret = arguments.key.read()?.secret;
    if let [file] = &arguments.files[..] {
        let report = report(arguments, &secret, file)?;
        if arguments.json {
            output::json(&report)?
        } else {
            output::data(&page(&report))?
        }
        return Ok(ExitCode::SUCCESS);
    }
    let of = |file: &PathBuf| {
        let named = file.display().to_string();
        let with_name =
            |Failure(what)| Failure(if what.starts_with(&named) { what } else { format!("{named}: {what}") });
        Ok((named.clone(), report(arguments, &secret, file).map_err(with_name)?))
    };
    let reports: Vec<(String, Report)> = arguments.files.iter().map(of).collect::<Result<_, Failure>>()?;
    screen::print(&reports, arguments.json)?;
    Ok(ExitCode::SUCCESS)
}

fn report(arguments: &Arguments, secret: &Secret, file: &Path) -> Result<Report, Failure> {
    let bad = if arguments.skip_bad { BadLines::Skip } else { BadLines::Refuse };
    let tokenizer = arguments.tokenizer.as_deref().map(model::tokenizer).transpose()?;
    let tokenizer = tokenizer.as_ref();
    let counting = Counting::new(&arguments.counting, arguments.spec, Some(secret), tokenizer)?;
    let (epoch, spec) = (arguments.epoch.as_ref(), arguments.spec);
    if arguments.baselines && !matches!(counting, Counting::Distributions(_)) {
        return Err(Failure("--baselines: those need --access distributions".to_owned()));
    }
    let (scored, Beside { losses, baselines }) = match counting.sorted() {
        Some(statistic) => {
            let job = Job { file, secret, spec, statistic, epoch, tokenizer, bad };
            (bulk::score(&job, &arguments.bulk)?, Beside::default())
        }
        None if arguments.bulk.scratch.is_some() => return Err(counting.in_memory(file, tokenizer)),
        None => at_once(arguments, secret, &counting, file, tokenizer, bad)?,
    };
    for line in &scored.refused {
        output::talk(&format!("left out: {line}"));
    }
    Ok(Report {
        schema: "taggant/score/1",
        exploration: "not a verdict: no plan was sealed",
        key_id: secret.commitment().key_id(),
        epochs: scored.epochs,
        spec,
        statistic: counting.name(),
        references: arguments.counting.reference.clone(),
        rows: scored.rows,
        refused_rows: scored.refused.len(),
        rows_without_prompt: scored.rows_without_prompt,
        positions: scored.positions,
        skipped: scored.skipped,
        round_trip: scored.round_trip,
        alignment: losses.map(|losses| losses.report()),
        baselines,
        summary: scored.summary,
    })
}

/// What distributions show beside their score.
#[derive(Default)]
struct Beside {
    losses: Option<Losses>,
    baselines: Vec<Baseline>,
}

/// Scores rows that have to be looked at together: mixes, text beside a reference, distributions.
fn at_once(
    arguments: &Arguments,
    secret: &Secret,
    counting: &Counting,
    file: &Path,
    tokenizer: Option<&Tokenizer>,
    bad: BadLines,
) -> Result<(Scored, Beside), Failure> {
    let rows = rows::read(file, Kind::Exchanges, bad)?;
    let by_epoch = by_epoch(&rows.rows, arguments.epoch.as_ref())?;
    let mut pooled: Option<Draws> = None;
    let mut alignment: Option<Losses> = None;
    let (mut skipped, mut positions) = (Skipped::default(), 0);
    for (epoch, rows) in &by_epoch {
        let Count { evidence, losses } = counting.count(rows, tokenizer)?;
        losses.into_iter().for_each(|more| alignment.get_or_insert_default().append(more));
        let draws = evidence.open(&arguments.spec.open(&secret.epoch_key(epoch)))?;
        skipped += evidence.skipped();
        positions += evidence.positions();
        pooled = Some(match pooled {
            None => draws,
            Some(earlier) => earlier.pool(draws)?,
        });
    }
    let draws = pooled.ok_or_else(|| Failure("every line was refused: nothing to score".to_owned()))?;
    let baselines = match counting {
        Counting::Distributions(distributions) if arguments.baselines => {
            let epochs = by_epoch.iter();
            let by_epoch: Vec<_> = epochs
                .map(|(epoch, rows)| (arguments.spec.open(&secret.epoch_key(epoch)), rows.clone()))
                .collect();
            baselines::of(distributions, &by_epoch)?
        }
        _ => Vec::new(),
    };
    let scored = Scored {
        epochs: by_epoch.into_keys().cloned().collect(),
        rows: rows.rows.len() as u64,
        rows_without_prompt: rows.rows.iter().filter(|row| row.prompt.is_none()).count() as u64,
        refused: rows.refused,
        positions,
        skipped,
        round_trip: rows::round_trip(&rows.rows, arguments.spec.width(), tokenizer)?,
        summary: Summary::of(draws)?,
    };
    Ok((scored, Beside { losses: alignment, baselines }))
}

/// Rows by epoch, each with its number in the file.
type ByEpoch<'a> = BTreeMap<&'a Epoch, Vec<(u32, &'a Row)>>;

/// The rows by epoch, each with its number in the file.
fn by_epoch<'a>(rows: &'a [Row], default: Option<&'a Epoch>) -> Result<ByEpoch<'a>, Failure> {
    let mut by_epoch = ByEpoch::new();
    for (row, cluster) in rows.iter().zip(0..) {
        by_epoch.entry(bulk::epoch_of(row, default)?).or_default().push((cluster, row));
    }
    Ok(by_epoch)
}

/// What a person reads.
fn page(report: &Report) -> String {
    let summary = &report.summary;
    let what = match report.spec.law() {
        Some(Law::Bernoulli(_)) => "green",
        Some(Law::Choice(_)) => "share on the siblings picked",
        Some(Law::Exponential | Law::Layers(_)) | None => "mean score",
    };
    let skipped = &report.skipped;
    let interval =
        summary.interval.map_or("no interval from fewer than two rows".to_owned(), |[low, high]| {
            format!("95 % interval {low:.4} to {high:.4}")
        });
    format!(
        "exploration (no plan was sealed: not a verdict)\n\
         spec        {} under key {}\n\
         rows        {} ({} refused, {} without a prompt), {} positions\n\
         statistic   {}\n\
         scored      {} distinct draws (n_eff {:.0}, largest share of variance {:.2} %)\n\
         skipped     {} repeated, {} in the prompt, {} short window\n\
         {}{}\
         {what:<11} {:.4}, {interval}, expected {:.4} under H0\n\
         log10 p     {} (smallest attainable: {}; {})\n\
         {}",
        report.spec,
        report.key_id,
        report.rows,
        report.refused_rows,
        report.rows_without_prompt,
        report.positions,
        counting::words(report.statistic, &report.references),
        summary.draws,
        summary.n_eff,
        100.0 * summary.largest_share,
        skipped.repeated,
        skipped.prompt_window,
        skipped.short_window,
        report.round_trip.map_or_else(String::new, |trip| rows::text_only(&trip, "of the tokens")),
        report.alignment.map_or_else(String::new, lost),
        summary.estimate,
        summary.expected,
        verdict::stated(summary.log10_p),
        summary.ln_p_min.map_or("no closed form".to_owned(), |least| verdict::stated(log10_from_ln(least))),
        method(summary.method),
        baselines::text(&report.baselines),
    )
}

/// What aligning the suspect's vocabulary lost.
fn lost(loss: LossReport) -> String {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let [low, middle, high] = loss.quantiles.map(percent);
    format!(
        "aligned     {} of {} contexts; before the others the tokenizer cuts the text otherwise\n\
         lost there  {} of the probability (10, 50, 90 % of contexts: {low}, {middle}, {high}): {} on tokens that are several \
         of the tokenizer's,\n            \
         {} on tokens that change those before them, {} on no text, {} not returned\n",
        loss.contexts - loss.unaligned,
        loss.contexts,
        percent(loss.lost),
        percent(loss.by_reason.several),
        percent(loss.by_reason.changing),
        percent(loss.by_reason.no_text),
        percent(loss.by_reason.not_returned),
    )
}

/// How a tail was computed, in words.
fn method(method: TailMethod) -> &'static str {
    match method {
        TailMethod::Binomial => "exact binomial tail",
        TailMethod::Certain => "certain",
        TailMethod::ChernoffBound => "Chernoff's bound",
        TailMethod::EProcess => "e-process",
        TailMethod::ExactLattice => "exact lattice tail",
        TailMethod::Gamma => "Gamma tail",
    }
}
