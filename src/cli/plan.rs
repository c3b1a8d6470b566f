//! `taggant plan`: plans, sealed before the first probe.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::test::due::{self, Due};
use super::{Failure, now, output};
use crate::case::material::Answer;
use crate::case::plan::{Plan, SealedFile, SealedPlan, matchers_sha256, statistic_sha256};
use crate::key::Genesis;
use crate::source::files::{self, Access};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check a plan's fields, hash it, and write it with its seal
    Seal {
        /// The plan (taggant-plan/1)
        plan: PathBuf,
        /// The genesis that the plan names: its key id, root and tokenizer are compared
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
        /// Where to write the sealed plan
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print the contexts at which a suspect's distributions are due, a row each; its "q" is to be added (`test --rows`)
    Contexts {
        /// The sealed plan
        plan: PathBuf,
        /// The suspect's answers to the plan's pool: JSONL with prompt_tokens and response_tokens
        #[arg(long, value_name = "FILE")]
        answers: PathBuf,
    },
    /// Print where a suspect that reads the plan's documents is to say what it expects, a row each; its "q" is to be added
    /// (`test --readings`)
    Documents {
        /// The sealed plan
        plan: PathBuf,
        /// The documents that the plan commits to, in the order served: JSONL with prompt_tokens and response_tokens
        #[arg(long, value_name = "FILE")]
        documents: PathBuf,
    },
    /// Print what a plan says of this version: the SHA-256 of the source of its statistics and of its readers of canaries
    Version,
}

pub(super) fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Seal { plan, genesis, out } => seal(plan, genesis, out)?,
        Command::Contexts { plan, answers } => {
            let (sealed, answers) = (read(plan)?, due::answers(answers)?);
            asked(&due::of_answers(&sealed, &answers)?, &answers)?;
        }
        Command::Documents { plan, documents } => {
            let (sealed, documents) = (read(plan)?, due::answers(documents)?);
            asked(&due::of_documents(&sealed, &documents)?, &documents)?;
        }
        Command::Version => {
            output::line(&format!("statistic_sha256  {}", statistic_sha256()))?;
            output::line(&format!("matchers          {}", matchers_sha256()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn asked(due: &[Due], answers: &[Answer]) -> Result<(), Failure> {
    due::asked(due, answers).try_for_each(|row| output::line(&row.to_string()))
}

fn seal(plan: &Path, genesis: &Path, out: &Path) -> Result<(), Failure> {
    let wrong = |error: String| Failure(format!("{}: {error}", plan.display()));
    let parsed: Plan =
        serde_json::from_str(&files::read_text(plan)?).map_err(|error| wrong(error.to_string()))?;
    let genesis = Genesis::from_json(&files::read_text(genesis)?)?;
    parsed
        .check_genesis(&genesis)
        .and_then(|()| parsed.check_version())
        .map_err(|error| wrong(error.to_string()))?;
    let sealed = parsed.seal(&now()).map_err(|error| wrong(error.to_string()))?;
    write(&sealed, out)?;
    output::line(&format!("sealed {}  {}", sealed.sha256(), out.display()))?;
    output::talk(
        "Have the SHA-256 time-stamped by somebody else before the first probe: this seal's time is this machine's word.",
    );
    Ok(())
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
