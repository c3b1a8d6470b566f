//! The command line: arguments in two stages (parsed, then checked), data on stdout, talk on stderr.

mod attribute;
mod baselines;
mod bulk;
mod calibrate;
mod canary;
mod case;
mod contexts;
mod counting;
mod demo;
mod detect;
mod distributions;
mod estimate;
mod generate;
mod key;
mod model;
mod output;
mod plan;
mod power;
mod report;
mod rows;
mod score;
mod screen;
mod serve;
mod size;
mod test;
mod trace;
mod verdict;

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

const GROUPS: &str = "\
{about}

{usage-heading} {usage}

start
  demo      Mark, distil, test and write the evidence, in about a minute
  model     Get a real model
  generate  Answer prompts with the mark in the answers

look (explorations; exit 0, or 2 when the work could not be done)
  score     Score text for a key's mark
  detect    Which mark a text carries, of all keys and formats at hand
  trace     Whose marks a leaked text carries, of all accounts or tenants; most often nobody's
  attribute How far the evidence reaches: exposure, campaign, route, account; and where to abstain
  calibrate How often a test rejects innocent text, under many keys
  power     What a test will need, or can see, before the first probe

prove (exit 0 evidence found or verified, 1 no evidence or a failed check, 3 inconclusive or unchecked, 2 not done)
  plan      Seal a plan before the first probe
  test      Run a sealed plan over a suspect's answers
  case      Check an evidence bundle

set up
  key       Make, show, commit to and open keys
  canary    Books of canaries: make, lint, assign, serve, look at answers

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
    /// How far up a ladder the evidence reaches, over a sealed plan of a route: an exploration, never a verdict
    #[command(subcommand)]
    Attribute(attribute::Command),
    /// Run a test on innocent text under many keys that marked nothing: how often does it reject?
    Calibrate(calibrate::Arguments),
    /// Books of canaries: make, lint, assign, serve, look at answers
    #[command(subcommand)]
    Canary(canary::Command),
    /// Check an evidence bundle
    #[command(subcommand)]
    Case(case::Command),
    /// Mark a model's answers, distil them, test the students and write the evidence
    Demo(demo::Arguments),
    /// Try every key and format at hand on a text: an exploration, never a verdict
    Detect(detect::Arguments),
    /// Answer prompts with the mark in the answers
    Generate(generate::Arguments),
    /// Make, show, commit to and open keys
    #[command(subcommand)]
    Key(key::Command),
    /// Get a real model
    #[command(subcommand)]
    Model(model::Command),
    /// Score text for a key's mark: an exploration, never a verdict
    Score(score::Arguments),
    /// Seal a plan before the first probe
    #[command(subcommand)]
    Plan(plan::Command),
    /// What a test will need, or can see, before the first probe: planning, never a verdict
    Power(power::Arguments),
    /// Test a leaked text for every account's or tenant's marks: an exploration, never a verdict
    Trace(trace::Arguments),
    /// Run a sealed plan over a suspect's answers; exit 0 evidence found, 1 no evidence, 3 inconclusive
    Test(test::Arguments),
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
        Command::Attribute(command) => attribute::run(&command),
        Command::Calibrate(arguments) => calibrate::run(&arguments),
        Command::Canary(command) => canary::run(&command),
        Command::Case(command) => case::run(&command),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Detect(arguments) => detect::run(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Key(command) => key::run(&command),
        Command::Model(command) => model::run(&command),
        Command::Plan(command) => plan::run(&command),
        Command::Power(arguments) => power::run(&arguments),
        Command::Score(arguments) => score::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Trace(arguments) => trace::run(&arguments),
    };
    done.unwrap_or_else(|Failure(message)| {
        output::talk(&format!("taggant: {message}"));
        ExitCode::from(2)
    })
}

/// The time, RFC 3339: the command line is where the clock is read.
fn now() -> String {
    #[expect(clippy::disallowed_methods, reason = "the command line is where the clock is read")]
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}
