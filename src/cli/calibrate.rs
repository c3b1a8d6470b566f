//! `taggant calibrate`: how often a test rejects innocents, under many keys that marked nothing.
//!
//! An innocent's text or distributions are scored under throwaway keys. That shows whether the test keeps its word on this
//! kind of evidence. It says nothing about the luck of one real key, which is what innocents under that key are for.

mod asked;
mod innocents;
mod page;
mod reading;
mod report;
mod trial;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::counting::{self, Counting};
use super::output::Stages;
use super::{Failure, key, output};
use crate::case::figure::p_quantiles;
use crate::key::{Epoch, Secret};
use crate::scheme::Spec;
use crate::source::keys::{self, KeySource};
use crate::source::{files, model};
use innocents::Innocent;
use report::Report;
use trial::Trial;

/// The table's files in the folder of `--out`.
const TABLE: &str = "known-error-rate";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The scheme, such as green/1/w1/b2/t1 or gumbel/1/w4
    #[arg(long)]
    spec: Spec,
    #[command(flatten)]
    counting: counting::Arguments,
    /// The number of throwaway keys
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    keys: u32,
    /// Decides the keys, and how models answer
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The tokenizer of text rows: embedded, smollm2, a GGUF file or a tokenizer.json
    #[arg(long, value_name = "TOKENIZER")]
    tokenizer: Option<String>,
    /// Also bet answer by answer: how often 1/max E comes to a level, for somebody who looks after every answer
    #[arg(long)]
    sequential: bool,
    #[command(flatten)]
    asked: asked::Arguments,
    /// Models read what the embedded teacher marks anew under every key, and bet on what comes next
    #[arg(long, conflicts_with_all = ["sequential", "reference", "statistic", "top_k", "key"])]
    reads: bool,
    /// Marked answers that a model reads under each key
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    documents: u32,
    /// A folder of innocents: those that its manifest.jsonl names ({"name", "file" or "model", "released"} a line), or else
    /// every *.jsonl in it
    #[arg(long, value_name = "FOLDER")]
    line_up: Option<PathBuf>,
    /// Write the dated table, known-error-rate.html and .json, into this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    real: Real,
    /// Write a plot of the p-values, ranks against uniform ones, an SVG file an innocent: FOLDER/1.svg and so on
    #[arg(long, value_name = "FOLDER")]
    plot: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Innocent rows as JSON lines, a file an innocent: together they are the line-up
    #[arg(value_name = "FILE.jsonl", required_unless_present_any = ["model", "line_up"])]
    files: Vec<PathBuf>,
}

/// The one key that matters, for the luck that many keys do not show.
#[derive(Debug, Args)]
struct Real {
    /// The real key, under which each innocent is shown too: key file, env:NAME, or command:LINE
    #[arg(long, value_name = "KEY", requires = "epoch")]
    key: Option<KeySource>,
    /// Who besides the owner may read the key file
    #[arg(long, value_enum, default_value_t = key::Mode::Private)]
    key_permissions: key::Mode,
    /// The real key's epoch
    #[arg(long, requires = "key")]
    epoch: Option<Epoch>,
    /// The day on which that key began to mark, such as 2026-10-01: innocents released earlier cannot have seen it
    #[arg(long, value_name = "DAY", requires = "key", value_parser = day)]
    served_since: Option<String>,
}

fn day(text: &str) -> Result<String, String> {
    let day = Some(text).filter(|text| crate::source::line_up::is_day(text));
    day.map(str::to_owned).ok_or_else(|| "is no day such as 2026-10-01".to_owned())
}

impl Real {
    fn read(&self) -> Result<Option<(Secret, Epoch)>, Failure> {
        let (Some(key), Some(epoch)) = (&self.key, &self.epoch) else { return Ok(None) };
        let secret = keys::read(key, self.key_permissions.permissions())?.secret;
        Ok(Some((secret, epoch.clone())))
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let real = arguments.real.read()?;
    let tokenizer = arguments.tokenizer.as_deref().map(model::tokenizer).transpose()?;
    let secret = real.as_ref().map(|(secret, _)| secret);
    let counting = Counting::new(&arguments.counting, arguments.spec, secret, tokenizer.as_ref())?;
    let mut stages = Stages::new();
    let innocents = innocents::all(arguments, &counting, tokenizer.as_ref(), &mut stages)?;
    let trials = innocents
        .iter()
        .map(|innocent| Trial::of(innocent, arguments, &mut stages))
        .collect::<Result<Vec<_>, Failure>>()?;
    stages.end();
    let statistic = if arguments.reads { "reading" } else { counting.name() };
    let report = Report::of(arguments, statistic, &innocents, &trials, real.as_ref())?;
    written(arguments, &report, &trials)?;
    if arguments.json {
        output::json(&report)?
    } else {
        output::data(&report.text())?
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the plots and the table.
fn written(arguments: &Arguments, report: &Report, trials: &[Trial]) -> Result<(), Failure> {
    if let Some(folder) = &arguments.plot {
        files::make_folder(folder)?;
        for (trial, number) in trials.iter().zip(1..) {
            plot(&folder.join(format!("{number}.svg")), &trial.ln_p)?;
        }
    }
    if let Some(folder) = &arguments.out {
        files::make_folder(folder)?;
        let write = |ending: &str, text: &str| {
            files::write(&folder.join(format!("{TABLE}.{ending}")), text.as_bytes(), files::Access::Default)
        };
        write("json", &format!("{}\n", serde_json::to_string_pretty(report)?))?;
        write("html", &page::render(report, trials))?;
    }
    Ok(())
}

/// A plot that a browser shows on white, whatever its own background.
fn plot(path: &Path, ln_p: &[f64]) -> Result<(), Failure> {
    let figure = p_quantiles(ln_p).into_string();
    let figure = figure.replacen("<svg ", "<svg style=\"background: white; font-family: sans-serif\" ", 1);
    Ok(files::write(path, figure.as_bytes(), files::Access::Default)?)
}
