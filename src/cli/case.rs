//! `taggant case`: bundles.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{Failure, output, plan};
use crate::case::bundle::{self, Check, Outside, Status};
use crate::key::Genesis;
use crate::source::files;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Re-derive every number of a bundle, offline; exit 0 verified, 1 a check failed, 3 something could not be checked
    ///
    /// A bundle cannot show that its genesis was published before service, or its plan sealed before the first probe: both
    /// could have been made up together with the rest. So give the two files, from elsewhere than the bundle's sender.
    Check(Arguments),
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
    let Command::Check(arguments) = command;
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
