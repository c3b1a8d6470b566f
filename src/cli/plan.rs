//! `taggant plan`: plans, sealed before the first probe.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::{Failure, now, output};
use crate::case::plan::{Plan, SealedFile, SealedPlan};
use crate::source::files::{self, Access};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check a plan's fields, hash it, and write it with its seal
    Seal {
        /// The plan (taggant-plan/1)
        plan: PathBuf,
        /// Where to write the sealed plan
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

pub(super) fn run(command: &Command) -> Result<ExitCode, Failure> {
    let Command::Seal { plan, out } = command;
    let parsed: Plan = serde_json::from_str(&files::read_text(plan)?)
        .map_err(|error| Failure(format!("{}: {error}", plan.display())))?;
    let sealed = parsed.seal(&now())?;
    write(&sealed, out)?;
    output::line(&format!("sealed {}  {}", sealed.sha256(), out.display()))?;
    output::talk(
        "Have the SHA-256 time-stamped by somebody else before the first probe: this seal's time is this machine's word.",
    );
    Ok(ExitCode::SUCCESS)
}

/// Writes a sealed plan.
pub(super) fn write(sealed: &SealedPlan, path: &Path) -> Result<(), Failure> {
    Ok(files::write(path, &serde_json::to_vec_pretty(&SealedFile::from(sealed))?, Access::Default)?)
}

/// Reads a sealed plan and checks its seal.
pub(super) fn read(path: &Path) -> Result<SealedPlan, Failure> {
    let file: SealedFile = serde_json::from_str(&files::read_text(path)?)
        .map_err(|error| Failure(format!("{}: not a sealed plan: {error}", path.display())))?;
    SealedPlan::try_from(file).map_err(|error| Failure(format!("{}: {error}", path.display())))
}
