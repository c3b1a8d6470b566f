//! `taggant score`: what a text shows under one key. An exploration: it prints numbers, never a verdict.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use taggant_model::tokenizer::Tokenizer;

use super::{Failure, key, output, rows, verdict};
use crate::key::{Epoch, KeyId};
use crate::law::{Draws, Law};
use crate::scheme::Spec;
use crate::score::{
    Counter, Evidence, Exchange, Expecting, Exposure, Over, SHRINK, Skipped, Text, TextStatistic,
};
use crate::source::model;
use crate::source::reference::Reference;
use crate::source::text::{BadLines, Kind, Row};
use crate::stat::math::log10_from_ln;
use crate::stat::verdict::{Summary, TailMethod};
use crate::token::Width;

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
    /// How a draw counts that occurs n times; with --reference: compared with how often it was expected
    #[arg(long, value_enum, default_value_t = Statistic::Distinct, conflicts_with = "reference")]
    statistic: Statistic,
    /// Compare with a model that the key never marked anything for: embedded, smollm2 or a GGUF file; several are averaged
    #[arg(long, value_name = "MODEL")]
    reference: Vec<String>,
    /// Weigh windows by how often they occur in these answers, which no scored key marked (JSON lines)
    #[arg(long, value_name = "FILE.jsonl", requires = "reference")]
    exposure: Option<PathBuf>,
    /// The tokenizer of text rows: embedded, smollm2, a GGUF file or a tokenizer.json
    #[arg(long, value_name = "TOKENIZER")]
    tokenizer: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Leave bad lines out and count them
    #[arg(long)]
    skip_bad: bool,
    /// Rows as JSON lines; - reads standard input
    #[arg(value_name = "FILE.jsonl")]
    file: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Statistic {
    /// once
    Distinct,
    /// √n times (weighted draws; the exact lattice tail)
    RootCount,
}

impl From<Statistic> for TextStatistic {
    fn from(statistic: Statistic) -> Self {
        match statistic {
            Statistic::Distinct => Self::Distinct,
            Statistic::RootCount => Self::RootCount,
        }
    }
}

/// `taggant/score/1`.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    exploration: &'static str,
    key_id: KeyId,
    epochs: Vec<Epoch>,
    spec: Spec,
    statistic: &'static str,
    references: Vec<String>,
    rows: usize,
    refused_rows: usize,
    /// Rows that do not say what was asked: marked text in their prompts would go unnoticed.
    rows_without_prompt: usize,
    positions: u64,
    skipped: Skipped,
    #[serde(flatten)]
    summary: Summary,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let secret = arguments.key.read()?.secret;
    let bad = if arguments.skip_bad { BadLines::Skip } else { BadLines::Refuse };
    let rows = rows::read(&arguments.file, Kind::Exchanges, bad)?;
    let tokenizer = arguments.tokenizer.as_deref().map(model::tokenizer).transpose()?;
    let counting = Counting::new(arguments, tokenizer.as_ref())?;
    let by_epoch = exchanges_by_epoch(&rows.rows, arguments, tokenizer.as_ref())?;
    let mut pooled: Option<Draws> = None;
    let (mut skipped, mut positions) = (Skipped::default(), 0);
    for (epoch, exchanges) in &by_epoch {
        let evidence = counting.evidence(exchanges)?;
        let draws = evidence.open(&arguments.spec.open(&secret.epoch_key(epoch)))?;
        skipped += evidence.skipped;
        positions += evidence.positions;
        pooled = Some(match pooled {
            None => draws,
            Some(earlier) => earlier.pool(draws)?,
        });
    }
    let draws = pooled.ok_or_else(|| Failure("every line was refused: nothing to score".to_owned()))?;
    let report = Report {
        schema: "taggant/score/1",
        exploration: "not a verdict: no plan was sealed",
        key_id: secret.commitment().key_id(),
        epochs: by_epoch.into_keys().collect(),
        spec: arguments.spec,
        statistic: counting.name(),
        references: arguments.reference.clone(),
        rows: rows.rows.len(),
        refused_rows: rows.refused.len(),
        rows_without_prompt: rows.rows.iter().filter(|row| row.prompt.is_none()).count(),
        positions,
        skipped,
        summary: Summary::of(draws)?,
    };
    for line in &rows.refused {
        output::talk(&format!("left out: {line}"));
    }
    if arguments.json {
        output::json(&report)?
    } else {
        output::data(&page(&report))?
    }
    Ok(ExitCode::SUCCESS)
}

/// What is counted, before any key is touched.
#[derive(Debug)]
enum Counting {
    Text { width: Width, statistic: TextStatistic },
    Residual { width: Width, reference: Reference, exposure: Option<Exposure> },
}

impl Counting {
    fn new(arguments: &Arguments, tokenizer: Option<&Tokenizer>) -> Result<Self, Failure> {
        let width = arguments.spec.width();
        if arguments.reference.is_empty() {
            return Ok(Self::Text { width, statistic: arguments.statistic.into() });
        }
        if matches!(arguments.spec.law(), Law::Exponential) {
            return Err(Failure(
                "--reference: a residual has signs, and a Gumbel draw no bound below; score without"
                    .to_owned(),
            ));
        }
        let reference = Reference::open(&arguments.reference)?;
        let exposure =
            arguments.exposure.as_deref().map(|file| exposure(file, width, tokenizer)).transpose()?;
        Ok(Self::Residual { width, reference, exposure })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Text { statistic: TextStatistic::Distinct, .. } => "distinct",
            Self::Text { statistic: TextStatistic::RootCount, .. } => "root-count",
            Self::Residual { .. } => "residual",
        }
    }

    fn evidence(&self, exchanges: &[(u32, Exchange)]) -> Result<Evidence, Failure> {
        match self {
            Self::Text { width, statistic } => {
                let mut counter = Counter::new(*width);
                for (cluster, exchange) in exchanges {
                    counter.exchange(exchange, *cluster)?;
                }
                Ok(counter.finish(*statistic))
            }
            Self::Residual { width, reference, exposure } => {
                let text =
                    Text::count(*width, exchanges.iter().map(|(cluster, exchange)| (*cluster, exchange)))?;
                let size = reference.vocabulary();
                let mut expecting = Expecting::new(&text, Over::default_for(*width, size));
                for (number, (_, Exchange { prompt, response, .. })) in exchanges.iter().enumerate() {
                    expecting.expect(number, size, &reference.rows(prompt, response)?)?;
                }
                Ok(text.residual(&expecting.finish()?, SHRINK, exposure.as_ref())?)
            }
        }
    }
}

/// How often windows occur in the answers of `file`.
fn exposure(file: &Path, width: Width, tokenizer: Option<&Tokenizer>) -> Result<Exposure, Failure> {
    let mut exposure = Exposure::new(width, []);
    for row in rows::read(file, Kind::Exchanges, BadLines::Refuse)?.rows {
        exposure.add(&rows::exchange(&row, tokenizer)?);
    }
    Ok(exposure)
}

/// The rows as exchanges, by epoch, each with its number in the file.
fn exchanges_by_epoch(
    rows: &[Row],
    arguments: &Arguments,
    tokenizer: Option<&Tokenizer>,
) -> Result<BTreeMap<Epoch, Vec<(u32, Exchange)>>, Failure> {
    let mut by_epoch: BTreeMap<Epoch, Vec<(u32, Exchange)>> = BTreeMap::new();
    for (row, cluster) in rows.iter().zip(0..) {
        let epoch = row.epoch.as_ref().or(arguments.epoch.as_ref());
        let epoch = epoch.ok_or_else(|| {
            Failure(format!("line {}: the row names no epoch; add \"epoch\" to it or give --epoch", row.line))
        })?;
        if let Some(audience) = &row.audience {
            return Err(Failure(format!(
                "line {}, field \"for\": the row was marked for {audience:?} under a key of its own; scoring such keys is \
                 not supported yet: score rows without \"for\"",
                row.line
            )));
        }
        by_epoch.entry(epoch.clone()).or_default().push((cluster, rows::exchange(row, tokenizer)?));
    }
    Ok(by_epoch)
}

/// What a person reads.
fn page(report: &Report) -> String {
    let summary = &report.summary;
    let what = match report.spec.law() {
        Law::Bernoulli(_) => "green",
        Law::Exponential => "mean score",
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
         {what:<11} {:.4}, {interval}, expected {:.4} under H0\n\
         log10 p     {} (smallest attainable: {}; {})\n",
        report.spec,
        report.key_id,
        report.rows,
        report.refused_rows,
        report.rows_without_prompt,
        report.positions,
        statistic(report),
        summary.draws,
        summary.n_eff,
        100.0 * summary.largest_share,
        skipped.repeated,
        skipped.prompt_window,
        skipped.short_window,
        summary.estimate,
        summary.expected,
        verdict::stated(summary.log10_p),
        summary.ln_p_min.map_or("no closed form".to_owned(), |least| verdict::stated(log10_from_ln(least))),
        method(summary.method),
    )
}

/// The statistic, in words.
fn statistic(report: &Report) -> String {
    match report.references.join(", ") {
        references if references.is_empty() => report.statistic.to_owned(),
        references => format!("{} beside {references}", report.statistic),
    }
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
