//! `taggant canary`: books of canaries: make, lint, assign, serve, and look at answers.

mod lint;
mod look;
pub(super) mod probes;
mod serve;
mod weigh;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Failure, key, output};
use crate::canary::{
    Assignment, BOOK_FORMAT, Book, Contents, EMBEDDED, Families, SiblingSet, WRITTEN, twins,
};
use crate::key::{Epoch, EpochKey};
use crate::source::files::{self, Access};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a book of sibling sets and print its hash: before a key picks from it
    New(New),
    /// Which training-data filters its canaries survive, and which siblings come naturally
    Lint(lint::Arguments),
    /// What an epoch's key assigns, as JSON; with --check, whether a document says so
    Assign(Assign),
    /// Serve: requests in, an instruction or a rewritten answer and a record out (JSON lines)
    Respond(serve::Arguments),
    /// The prompts of a sealed plan, in its order; `test --probes` reads them with the answers
    Probes(probes::Arguments),
    /// What a suspect's answers show: an exploration, never a verdict
    Score(look::Arguments),
}

/// A book, and the key that picks from it.
#[derive(Debug, Args)]
struct Keyed {
    /// The book
    #[arg(long)]
    book: PathBuf,
    #[command(flatten)]
    key: key::Key,
    /// The epoch, such as 2026-q4@quicknet:<round>:<randomness>
    #[arg(long)]
    epoch: Epoch,
}

impl Keyed {
    fn book(&self) -> Result<Book, Failure> {
        book(&self.book)
    }

    fn epoch_key(&self) -> Result<EpochKey, Failure> {
        Ok(self.key.read()?.secret.epoch_key(&self.epoch))
    }
}

#[derive(Debug, Args)]
pub(super) struct New {
    /// The operator's name for the book
    #[arg(long)]
    name: String,
    /// A file of families of one's own (corpora/canaries/README.md says how they look); give it once for each
    #[arg(long = "families", value_name = "FILE.json")]
    families: Vec<PathBuf>,
    /// Sets of one's own, written one by one; their slots follow those of the embedded ones
    #[arg(long = "sets", value_name = "FILE.jsonl")]
    sets: Vec<PathBuf>,
    /// Keyed twins: prompts with all answers that were sampled for each, of which the key picks the one to serve; their slots
    /// follow those of the sets
    #[arg(long = "twins", value_name = "FILE.jsonl")]
    twins: Vec<PathBuf>,
    /// Leave the embedded families and sets out: anybody can read them
    #[arg(long)]
    only_own: bool,
    /// The share of slots that stays closed for a court's own replication
    #[arg(long, default_value_t = 0.25)]
    closed_share: f64,
    /// Where to write the book; an existing file is never replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Assign {
    #[command(flatten)]
    keyed: Keyed,
    /// Check this document instead of making one
    #[arg(long, value_name = "FILE.json")]
    check: Option<PathBuf>,
    /// The slots
    #[arg(required_unless_present = "check")]
    slots: Vec<u64>,
}

pub(super) fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::New(arguments) => new(arguments)?,
        Command::Lint(arguments) => lint::run(arguments)?,
        Command::Assign(arguments) => assign(arguments)?,
        Command::Respond(arguments) => serve::run(arguments)?,
        Command::Probes(arguments) => probes::run(arguments)?,
        Command::Score(arguments) => look::run(arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a book.
pub(super) fn book(path: &Path) -> Result<Book, Failure> {
    Ok(Book::parse(&path.display().to_string(), &files::read_text(path)?)?)
}

/// Rows of one shape, a JSON line each; `hint` says which in errors.
fn json_lines<T: DeserializeOwned>(file: &Path, hint: &str) -> Result<Vec<T>, Failure> {
    let text = files::read_text(file)?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let row = |(number, line): (usize, &str)| {
        let wrong =
            |error: serde_json::Error| Failure(format!("{}, line {number}: {error}: {hint}", file.display()));
        serde_json::from_str(line).map_err(wrong)
    };
    lines.map(row).collect()
}

fn new(arguments: &New) -> Result<(), Failure> {
    let out = arguments.out.display();
    if arguments.out.exists() {
        return Err(Failure(format!("{out} exists; a book is never replaced: choose another name")));
    }
    let mut sets = sets(arguments)?;
    let same = add_twins(arguments, &mut sets)?;
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).map_err(|error| Failure(format!("the system gave no randomness: {error}")))?;
    let contents = Contents {
        format: BOOK_FORMAT.to_owned(),
        name: arguments.name.clone(),
        salt: hex::encode(salt),
        closed_share: arguments.closed_share,
        sets,
        families: families(arguments)?,
    };
    let book = Book::new(&out.to_string(), contents)?;
    files::write(&arguments.out, &book.to_json(), Access::Owner)?;
    if arguments.json {
        let (sha256, slots) = (book.sha256(), book.slots());
        output::json(&json!({ "schema": "taggant/canary-new/1", "sha256": sha256, "slots": slots }))?;
    } else {
        output::line(&format!("book {}  {} slots", book.sha256(), book.slots()))?;
    }
    if same > 0 {
        output::talk(&format!("{same} prompts of twins were left out: all their answers are the same."));
    }
    output::talk(
        "Publish the hash and have it time-stamped, then take an epoch whose name ends in a later public round \
         (name@quicknet:<round>:<randomness>). Keep the book: who has it knows the canaries.",
    );
    Ok(())
}

fn families(arguments: &New) -> Result<Families, Failure> {
    let named = |path: &PathBuf| Ok((path.display().to_string(), files::read_text(path)?));
    let own: Vec<(String, String)> = arguments.families.iter().map(named).collect::<Result<_, Failure>>()?;
    let embedded: &[(&str, &str)] = if arguments.only_own { &[] } else { &EMBEDDED };
    let files = embedded.iter().copied().chain(own.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    Ok(Families::read(&files.collect::<Vec<_>>())?)
}

/// Embedded and own sets, numbered on.
fn sets(arguments: &New) -> Result<Vec<SiblingSet>, Failure> {
    let mut all =
        if arguments.only_own { Vec::new() } else { SiblingSet::parse_lines(WRITTEN.0, WRITTEN.1)? };
    for path in &arguments.sets {
        let own = SiblingSet::parse_lines(&path.display().to_string(), &files::read_text(path)?)?;
        let first = all.len() as u64;
        all.extend(own.into_iter().map(|set| SiblingSet { slot: first + set.slot, ..set }));
    }
    Ok(all)
}

/// Adds the twins, numbered on; how many prompts were left out because their answers do not differ.
fn add_twins(arguments: &New, sets: &mut Vec<SiblingSet>) -> Result<u64, Failure> {
    let mut left_out = 0;
    for path in &arguments.twins {
        let (twins, same) = twins(&path.display().to_string(), &files::read_text(path)?)?;
        let first = sets.len() as u64;
        sets.extend(twins.into_iter().map(|set| SiblingSet { slot: first + set.slot, ..set }));
        left_out += same;
    }
    Ok(left_out)
}

fn assign(arguments: &Assign) -> Result<(), Failure> {
    let book = arguments.keyed.book()?;
    let key = arguments.keyed.epoch_key()?;
    let round = arguments.keyed.epoch.round()?;
    if round.is_none() {
        output::talk("The epoch's name ends in no public round: the key could have been picked to fit.");
    }
    let Some(path) = &arguments.check else {
        return output::json(&Assignment::of(&book, &key, arguments.slots.iter().copied())?);
    };
    let said: Assignment = serde_json::from_str(&files::read_text(path)?)
        .map_err(|error| Failure(format!("{}: {error}", path.display())))?;
    said.check(&book, &key)?;
    output::line(&format!("verified  {} slots under book and key", said.slots.len()))?;
    round.map_or(Ok(()), |round| {
        let known = round.published().map_or(String::new(), |time| format!(", public {time} s after 1970"));
        output::line(&format!("round     {}:{}{known}", round.chain, round.number))
    })
}
