//! `taggant case`: bundles.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::report::{DECOYS, Page};
use super::{Failure, output, plan};
use crate::case::bundle::{self, Bundle, Check, Outside, Status};
use crate::case::plan::SealedPlan;
use crate::key::Genesis;
use crate::source::files::{self, Access};
use crate::source::model;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Re-derive every number of a bundle, offline; exit 0 verified, 1 a check failed, 3 something could not be checked
    ///
    /// A bundle cannot show that its genesis was published before service, or its plan sealed before the first probe: both
    /// could have been made up together with the rest. So give the two files, from elsewhere than the bundle's sender.
    Check(Arguments),
    /// Write a bundle as a page for people: verdicts, numbers, figures, weaknesses, method; the bundle is checked first
    Report(Report),
}

#[derive(Debug, Args)]
pub(super) struct Report {
    /// The bundle
    bundle: PathBuf,
    /// Where to write the page
    #[arg(long, value_name = "FILE.html")]
    out: PathBuf,
    /// Print answers as text: embedded, smollm2, a GGUF file or a tokenizer.json; without it as token ids
    #[arg(long, value_name = "TOKENIZER")]
    tokenizer: Option<String>,
    /// Decoy keys for the histogram of each test of text; 0 for none
    #[arg(long, value_name = "N", default_value_t = DECOYS)]
    decoys: u32,
    /// The page's title
    #[arg(long, default_value = "Taggant: was the suspect distilled from marked answers?")]
    title: String,
}

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The bundle
    bundle: PathBuf,
    /// The genesis that the operator published before service; without it the exit code is 3
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// The sealed plan as it was deposited before the first probe; without it the exit code is 3
    #[arg(long, value_name = "FILE")]
    seal: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Check(arguments) => check(arguments),
        Command::Report(arguments) => report(arguments),
    }
}

fn report(arguments: &Report) -> Result<ExitCode, Failure> {
    let wrong = |what: String| Failure(format!("{}: {what}", arguments.bundle.display()));
    let bytes = files::read(&arguments.bundle)?;
    let checks = bundle::check_bytes(&bytes, &Outside::default());
    if let Some(failed) = checks.iter().find(|check| check.status == Status::Failed) {
        return Err(wrong(format!("{}: {}; `taggant case check` says more", failed.object, failed.what)));
    }
    let bundle: Bundle = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    let plan = SealedPlan::reopen(bundle.plan.clone(), bundle.seal.time.clone(), bundle.seal.sha256)
        .map_err(|error| wrong(error.to_string()))?;
    let tokenizer = arguments.tokenizer.as_deref().map(model::tokenizer).transpose()?;
    let page = Page {
        title: &arguments.title,
        bundle_file: &arguments.bundle.display().to_string(),
        tokenizer: tokenizer.as_ref(),
        decoys: arguments.decoys,
        notes: &[],
    };
    files::write(&arguments.out, page.html(&plan, &bundle)?.as_bytes(), Access::Default)?;
    output::line(&format!("report  {}", arguments.out.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn check(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let outside = Outside {
        genesis: arguments.genesis.as_deref().map(genesis).transpose()?,
        seal: arguments.seal.as_deref().map(plan::read).transpose()?,
    };
    let checks = bundle::check(&arguments.bundle, &outside)?;
    let has = |status| checks.iter().any(|check| check.status == status);
    let (word, code) = match (has(Status::Failed), has(Status::Unchecked)) {
        (true, _) => ("FAILED", 1),
        (false, true) => ("incomplete", 3),
        (false, false) => ("verified", 0),
    };
    if arguments.json {
        output::json(
            &serde_json::json!({ "schema": "taggant/case-check/1", "result": word, "checks": checks }),
        )?;
    } else {
        checks.iter().try_for_each(|check| output::line(&said(check)))?;
        output::line(&format!("{word}: {}", arguments.bundle.display()))?;
    }
    Ok(ExitCode::from(code))
}

fn said(check: &Check) -> String {
    let mark = match check.status {
        Status::Failed => "FAILED   ",
        Status::Unchecked => "unchecked",
        Status::Verified => "verified ",
    };
    format!("{mark}  {:<12}  {}", check.object, check.what)
}

fn genesis(path: &Path) -> Result<Genesis, Failure> {
    let text = files::read_text(path)?;
    Genesis::from_json(&text).map_err(|error| Failure(format!("{}: {error}", path.display())))
}
