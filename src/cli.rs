//! The command line: arguments in two stages (parsed, then checked), data on stdout, talk on stderr.

mod case;
mod demo;
mod key;
mod model;
mod output;
mod score;
mod serve;

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

const GROUPS: &str = "\
{about}

{usage-heading} {usage}

start
  demo      Mark, distil, test and write the evidence, in about a minute
  model     Get a real model

look (explorations; exit 0, or 2 when the work could not be done)
  score     Score text for a key's mark

prove (exit 0 evidence found or verified, 1 no evidence or a failed check, 3 inconclusive or unchecked, 2 not done)
  case      Check an evidence bundle

set up
  key       Make, show, commit to and open keys

Options:
{options}

Only commands that take a sealed plan print verdicts. `taggant <command> --help` says more.";

/// Marks a language model's answers, and gathers evidence that a suspect model was distilled from them.
#[derive(Debug, Parser)]
#[command(name = "taggant", version, help_template = GROUPS, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check an evidence bundle
    #[command(subcommand)]
    Case(case::Command),
    /// Mark a model's answers, distil them, test the students and write the evidence
    Demo(demo::Arguments),
    /// Make, show, commit to and open keys
    #[command(subcommand)]
    Key(key::Command),
    /// Get a real model
    #[command(subcommand)]
    Model(model::Command),
    /// Score text for a key's mark: an exploration, never a verdict
    Score(score::Arguments),
}

/// Why the work could not be done: what happened, and what to do.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl<E: Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Runs the program on the process's arguments and gives its exit code.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            // Nothing is left to do where even the message cannot be printed.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let done = match arguments.command {
        Command::Case(command) => case::run(&command),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Key(command) => key::run(&command),
        Command::Model(command) => model::run(&command),
        Command::Score(arguments) => score::run(&arguments),
    };
    done.unwrap_or_else(|Failure(message)| {
        output::talk(&format!("taggant: {message}"));
        ExitCode::from(2)
    })
}
