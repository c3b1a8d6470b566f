//! `taggant case`: bundles.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::{Failure, output};
use crate::case::bundle::{self, Status};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Re-derive every number of a bundle, offline; exit 0 verified, 1 a check failed, 3 something could not be checked
    Check {
        /// The bundle
        bundle: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: &Command) -> Result<ExitCode, Failure> {
    let Command::Check { bundle, json } = command;
    let checks = bundle::check(bundle)?;
    let has = |status| checks.iter().any(|check| check.status == status);
    let (word, code) = match (has(Status::Failed), has(Status::Unchecked)) {
        (true, _) => ("FAILED", 1),
        (false, true) => ("incomplete", 3),
        (false, false) => ("verified", 0),
    };
    if *json {
        output::json(
            &serde_json::json!({ "schema": "taggant/case-check/1", "result": word, "checks": checks }),
        )?;
        return Ok(ExitCode::from(code));
    }
    for check in &checks {
        let mark = match check.status {
            Status::Failed => "FAILED   ",
            Status::Unchecked => "unchecked",
            Status::Verified => "verified ",
        };
        output::line(&format!("{mark}  {:<12}  {}", check.object, check.what))?;
    }
    output::line(&format!("{word}: {}", bundle.display()))?;
    Ok(ExitCode::from(code))
}
