//! `taggant calibrate`: how often a test rejects innocents, under many keys that marked nothing.
//!
//! The user's own innocent text is scored under throwaway keys. That shows whether the test keeps its word on this kind of
//! text. It says nothing about the luck of one real key, which is what innocents under that key are for.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};
use taggant_model::tokenizer::Tokenizer;

use super::counting::{self, Counting};
use super::output::Stages;
use super::{Failure, now, output, rows};
use crate::case::figure::p_quantiles;
use crate::key::{Epoch, Secret};
use crate::scheme::Spec;
use crate::score::Counted;
use crate::source::text::{BadLines, Kind, Row};
use crate::source::{files, model};
use crate::stat::calibration::Calibration;
use crate::stat::math::{Sum, ln, sqrt, to_f64};
use crate::stat::verdict::verdict_tail;

/// The levels that are looked at.
const LEVELS: [f64; 4] = [1e-1, 1e-2, 1e-3, 1e-4];

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
    /// Decides the keys
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The tokenizer of text rows: embedded, smollm2, a GGUF file or a tokenizer.json
    #[arg(long, value_name = "TOKENIZER")]
    tokenizer: Option<String>,
    /// Write a plot of the p-values, ranks against uniform ones, an SVG file an innocent: FOLDER/1.svg and so on
    #[arg(long, value_name = "FOLDER")]
    plot: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Innocent rows as JSON lines, a file an innocent: together they are the line-up
    #[arg(value_name = "FILE.jsonl", required = true)]
    files: Vec<PathBuf>,
}

/// `taggant/calibrate/1`.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    date: String,
    spec: Spec,
    statistic: &'static str,
    references: Vec<String>,
    seed: u64,
    innocents: Vec<Innocent>,
    valid: bool,
}

/// One innocent's text under all keys.
#[derive(Debug, Serialize)]
struct Innocent {
    file: String,
    sha256: String,
    rows: usize,
    /// Distinct draws with a coefficient other than zero.
    scored: u64,
    #[serde(flatten)]
    calibration: Calibration,
    /// The smallest ln p that any key gave: what was attained.
    least_ln_p: f64,
    /// z over the keys: 0 but for chance.
    mean_z: f64,
    /// z over the keys: 1 but for chance, within 1 ± 3.3/√(2·keys).
    sd_z: f64,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let tokenizer = arguments.tokenizer.as_deref().map(model::tokenizer).transpose()?;
    let counting = Counting::new(&arguments.counting, arguments.spec, None, tokenizer.as_ref())?;
    let mut stages = Stages::new();
    let innocents = arguments
        .files
        .iter()
        .enumerate()
        .map(|(at, file)| {
            let (innocent, ln_p) = innocent(file, arguments, &counting, tokenizer.as_ref(), &mut stages)?;
            if let Some(folder) = &arguments.plot {
                plot(&folder.join(format!("{}.svg", at + 1)), &ln_p)?;
            }
            Ok(innocent)
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    stages.end();
    let report = Report {
        schema: "taggant/calibrate/1",
        date: now(),
        spec: arguments.spec,
        statistic: counting.name(),
        references: arguments.counting.reference.clone(),
        seed: arguments.seed,
        valid: innocents.iter().all(|innocent| innocent.calibration.is_valid()),
        innocents,
    };
    if arguments.json {
        output::json(&report)?
    } else {
        output::data(&page(&report))?
    }
    Ok(ExitCode::SUCCESS)
}

fn innocent(
    file: &Path,
    arguments: &Arguments,
    counting: &Counting,
    tokenizer: Option<&Tokenizer>,
    stages: &mut Stages,
) -> Result<(Innocent, Vec<f64>), Failure> {
    let found = rows::read(file, Kind::Exchanges, BadLines::Refuse)?.rows;
    let numbered: Vec<(u32, &Row)> = (0..).zip(&found).collect();
    let digest = Sha256::digest(files::read(file)?);
    let evidence = counting.count(&numbered, tokenizer)?.evidence;
    let scored = evidence.distinct();
    if scored == 0 {
        return Err(Failure(format!("{}: no draw is left to score", file.display())));
    }
    stages.start(&format!("{} under {} keys", file.display(), arguments.keys), u64::from(arguments.keys));
    let tails = tails(&evidence, arguments, stages)?;
    let (ln_p, z): (Vec<f64>, Vec<f64>) = tails.into_iter().unzip();
    let n = to_f64(z.len() as u64);
    let mean_z = z.iter().copied().collect::<Sum>().value() / n;
    let squares: Sum = z.iter().map(|z| (z - mean_z) * (z - mean_z)).collect();
    let innocent = Innocent {
        file: file.display().to_string(),
        sha256: hex::encode(digest),
        rows: found.len(),
        scored,
        calibration: Calibration::of(&ln_p, &LEVELS)?,
        least_ln_p: ln_p.iter().copied().fold(0.0, f64::min),
        mean_z,
        sd_z: sqrt(squares.value() / (n - 1.0)),
    };
    Ok((innocent, ln_p))
}

/// A plot that a browser shows on white, whatever its own background.
fn plot(path: &Path, ln_p: &[f64]) -> Result<(), Failure> {
    let figure = p_quantiles(ln_p).into_string();
    let figure = figure.replacen("<svg ", "<svg style=\"background: white; font-family: sans-serif\" ", 1);
    Ok(files::write(path, figure.as_bytes(), files::Access::Default)?)
}

/// (ln p, z) under each key, in the order of the keys.
fn tails(evidence: &Counted, arguments: &Arguments, stages: &Stages) -> Result<Vec<(f64, f64)>, Failure> {
    let epoch: Epoch = "calibration".parse()?;
    let done = std::sync::atomic::AtomicU64::new(0);
    let tail = |number: u32| {
        let secret = Sha256::new()
            .chain_update("taggant calibration, never for service\0")
            .chain_update(arguments.seed.to_le_bytes())
            .chain_update(number.to_le_bytes());
        let secret = Secret::from_bytes(secret.finalize().into());
        let tail = verdict_tail(evidence.open(&arguments.spec.open(&secret.epoch_key(&epoch)))?)?;
        stages.at(done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1);
        Ok(tail)
    };
    (0..arguments.keys).into_par_iter().map(tail).collect()
}

/// What a person reads.
fn page(report: &Report) -> String {
    let mut page = format!(
        "exploration: how often innocents are rejected under keys that marked nothing ({})\n\
         spec        {}\n\
         statistic   {}\n",
        report.date,
        report.spec,
        counting::words(report.statistic, &report.references),
    );
    for innocent in &report.innocents {
        page.push_str(&about(innocent));
    }
    page.push_str(if report.valid {
        "\nno test rejected more often than its level allows (99.9 % limits)\n"
    } else {
        "\nA TEST REJECTED TOO OFTEN: do not use it on such text, and report this as a defect\n"
    });
    page
}

fn about(innocent: &Innocent) -> String {
    let Calibration { keys, levels, above, below, above_limit } = &innocent.calibration;
    let band = 3.3 / sqrt(2.0 * to_f64(*keys));
    let mut about = format!(
        "\n{} (sha256 {}…): {} rows, {} distinct draws, {keys} keys\n",
        innocent.file,
        &innocent.sha256[..16],
        innocent.rows,
        innocent.scored
    );
    about.push_str("  level     rejected     rate       95 % interval          limit\n");
    for level in levels {
        about.push_str(&format!(
            "  {:<8} {:>9} {:>10.5}   {:.5} to {:.5}   {:>6}{}\n",
            level.level,
            level.rejected,
            level.rate,
            level.interval[0],
            level.interval[1],
            level.limit,
            if level.rejected > level.limit { "   TOO OFTEN" } else { "" },
        ));
    }
    about.push_str(&format!(
        "  z         mean {:.3}, sd {:.3} (1 ± {band:.3} but once in a thousand)\n\
         \x20 distance  {above:.4} too often at worst (limit {above_limit:.4}), {below:.4} too rarely\n\
         \x20 least p   10^{:.1}\n",
        innocent.mean_z,
        innocent.sd_z,
        innocent.least_ln_p / ln(10.0),
    ));
    about
}
