//! `taggant attribute`: how far up a ladder the evidence reaches: exposure, campaign, cohorts, route, account. An
//! exploration over a plan that was sealed before the first probe.

mod climb;
mod page;
mod traffic;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::canary::book;
use super::trace::candidates;
use super::{Failure, now, output};
use crate::attribute::{Accounts, RoutePlan, SealedRoute, SealedRouteFile, Traffic};
use crate::canary::Book;
use crate::case::canaries::prompts;
use crate::case::plan::{Canaries, Planned, PromptRule};
use crate::case::route::Requests;
use crate::key::Commitment;
use crate::source::files::{self, Access};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write the accounts under suspicion with a salt, and print what commits to them
    Accounts {
        /// Their ids, one a line
        ids: PathBuf,
        /// Where to write them; an existing file is never replaced
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// From requests to who asked for which slot: no key is asked, and no answer
    Traffic(traffic::Arguments),
    /// Check a plan of a route against what it commits to, hash it, and write it with its seal
    Seal {
        /// The plan (taggant-route-plan/1)
        plan: PathBuf,
        #[command(flatten)]
        fixed: Fixed,
        /// Where to write the sealed plan
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// The prompts of every slot of a sealed plan; the suspect's "response" is to be added to each
    Probes {
        /// The sealed plan
        sealed: PathBuf,
        #[command(flatten)]
        fixed: Fixed,
    },
    /// Climb: each rung with its p, level and what it would need, and where to abstain
    Climb(climb::Arguments),
}

/// Reads an account set and who asked for which slot, as a plan commits to them.
pub(super) fn requests(accounts: &Path, traffic: &Path) -> Result<Requests, Failure> {
    Ok(Requests { accounts: json(accounts, "an account set")?, traffic: traffic::read(traffic)? })
}

/// What a plan of a route commits to.
#[derive(Debug, Args)]
pub(super) struct Fixed {
    /// The book
    #[arg(long)]
    book: PathBuf,
    /// The accounts under suspicion, as `attribute accounts` wrote them
    #[arg(long, value_name = "FILE")]
    accounts: PathBuf,
    /// Who asked for which slot, as `attribute traffic` wrote it
    #[arg(long, value_name = "FILE")]
    traffic: PathBuf,
}

/// The same, read.
struct Known {
    book: Book,
    accounts: Accounts,
    traffic: Vec<Traffic>,
}

impl Fixed {
    fn read(&self) -> Result<Known, Failure> {
        let traffic = traffic::read(&self.traffic)?;
        Ok(Known { book: book(&self.book)?, accounts: json(&self.accounts, "an account set")?, traffic })
    }
}

impl Known {
    /// Whether a plan is about these.
    fn check(&self, plan: &RoutePlan) -> Result<(), Failure> {
        let found = [
            ("book", plan.book, self.book.sha256()),
            ("accounts", plan.accounts, self.accounts.commitment()),
            ("traffic", plan.traffic, self.accounts.traffic_commitment(&self.traffic)),
        ];
        let wrong = |(field, planned, found): (&str, Commitment, Commitment)| {
            Failure(format!("field \"{field}\": the plan says {planned}, and the file given is {found}"))
        };
        found.into_iter().find(|(_, planned, found)| planned != found).map_or(Ok(()), |it| Err(wrong(it)))
    }
}

pub(super) fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Accounts { ids, out } => accounts(ids, out)?,
        Command::Traffic(arguments) => traffic::run(arguments)?,
        Command::Seal { plan, fixed, out } => seal(plan, fixed, out)?,
        Command::Probes { sealed, fixed } => probes(sealed, fixed)?,
        Command::Climb(arguments) => climb::run(arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn accounts(ids: &Path, out: &Path) -> Result<(), Failure> {
    if out.exists() {
        return Err(Failure(format!(
            "{} exists; an account set is never replaced: choose another name",
            out.display()
        )));
    }
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).map_err(|error| Failure(format!("the system gave no randomness: {error}")))?;
    let accounts = Accounts { salt: Commitment(salt), ids: candidates::ids(ids)?.into_iter().collect() };
    files::write(out, &serde_json::to_vec_pretty(&accounts)?, Access::Owner)?;
    output::line(&format!("accounts {}  {} of them", accounts.commitment(), accounts.ids.len()))
}

fn seal(path: &Path, fixed: &Fixed, out: &Path) -> Result<(), Failure> {
    let wrong = |Failure(what)| Failure(format!("{}: {what}", path.display()));
    let plan: RoutePlan = json(path, "a plan of a route")?;
    fixed.read()?.check(&plan).map_err(wrong)?;
    let sealed = plan.seal(&now()).map_err(|error| wrong(error.into()))?;
    files::write(out, &serde_json::to_vec_pretty(&SealedRouteFile::from(&sealed))?, Access::Default)?;
    output::line(&format!("sealed {}  {}", sealed.sha256(), out.display()))?;
    output::talk(
        "Have the SHA-256 time-stamped by somebody else before the first probe: this seal's time is this machine's word.",
    );
    Ok(())
}

/// Reads a sealed plan and checks its seal.
fn sealed(path: &Path) -> Result<SealedRoute, Failure> {
    let file: SealedRouteFile = json(path, "a sealed plan of a route")?;
    SealedRoute::try_from(file).map_err(|error| Failure(format!("{}: {error}", path.display())))
}

fn json<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T, Failure> {
    serde_json::from_str(&files::read_text(path)?)
        .map_err(|error| Failure(format!("{}: not {what}: {error}", path.display())))
}

/// How a plan's slots are asked about: its prompts in turn.
fn protocol(plan: &RoutePlan) -> Result<Canaries, Failure> {
    let probes = u32::try_from(plan.probes)?;
    let route = Planned::absent("it is the plan's own");
    Ok(Canaries { book: plan.book, slots: Vec::new(), probes, prompts: PromptRule::InTurn, route })
}

fn probes(path: &Path, fixed: &Fixed) -> Result<(), Failure> {
    let (sealed, known) = (sealed(path)?, fixed.read()?);
    known.check(sealed.plan()).map_err(|Failure(what)| Failure(format!("{}: {what}", path.display())))?;
    let protocol = protocol(sealed.plan())?;
    for Traffic { slot, .. } in &known.traffic {
        let Some(set) = known.book.set(*slot) else { continue };
        for prompt in prompts(&set, &protocol) {
            output::line(&json!({ "slot": slot, "prompt": prompt }).to_string())?;
        }
    }
    Ok(())
}
