//! `taggant key`: make, show, commit to and open keys.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::trace::candidates;
use super::{Failure, canary, now, output};
use crate::key::{Audience, Epoch, Genesis, KeyFile, Label, Secret};
use crate::scheme::Spec;
use crate::source::files::{self, Access};
use crate::source::keys::{self, KeySource, Permissions};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key file from the system's generator
    New {
        /// Where to write it; an existing file is never replaced
        file: PathBuf,
        /// A note to keep in the file
        #[arg(long)]
        note: Option<String>,
    },
    /// Show a key's public identity; never its secret
    Show {
        #[command(flatten)]
        key: Key,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Commit, before service, to every key that may ever be opened
    Genesis {
        #[command(flatten)]
        key: Key,
        /// The tokenizer whose ids the windows hold (its file is hashed)
        #[arg(long, value_name = "FILE")]
        tokenizer: PathBuf,
        /// An epoch to commit to; give it once for each
        #[arg(long = "epoch", value_name = "EPOCH", required = true)]
        epochs: Vec<Epoch>,
        /// A spec whose labels are committed to in every epoch; give it once for each
        #[arg(long = "spec", value_name = "SPEC")]
        specs: Vec<Spec>,
        /// A further label, such as green/1/w1/b2/t1/for/tenant/…; give it once for each
        #[arg(long = "label", value_name = "LABEL")]
        labels: Vec<Label>,
        /// A book of canaries: the key of each of its slots is committed to, in every epoch
        #[arg(long, value_name = "FILE")]
        book: Option<PathBuf>,
        /// Of the book's slots, commit to the coins too that divide them among accounts: a plan of a route opens them
        #[arg(long, requires = "book")]
        arms: bool,
        /// Of the book's slots, commit to the picks of these accounts too, one id a line: as many leaves as both multiply to
        #[arg(long, value_name = "FILE", requires = "arms")]
        accounts: Option<PathBuf>,
        /// Where to write genesis.json
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Hand over a committed key with its proof; this burns it
    Open {
        #[command(flatten)]
        key: Key,
        /// The published genesis
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
        /// The epoch
        #[arg(long)]
        epoch: Epoch,
        /// The label to open; without it the whole epoch is opened
        #[arg(long)]
        label: Option<Label>,
    },
}

/// Where the secret comes from.
#[derive(Debug, Args)]
pub(super) struct Key {
    /// Key file, env:NAME, or command:LINE
    #[arg(long, value_name = "KEY")]
    key: KeySource,
    /// Who besides the owner may read the key file
    #[arg(long, value_enum, default_value_t = Mode::Private)]
    key_permissions: Mode,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Mode {
    /// Nobody
    Private,
    /// Others may read it, as in a mounted secret
    Mounted,
}

impl Mode {
    pub(super) fn permissions(self) -> Permissions {
        match self {
            Self::Private => Permissions::Private,
            Self::Mounted => Permissions::Mounted,
        }
    }
}

impl Key {
    pub(super) fn read(&self) -> Result<KeyFile, Failure> {
        Ok(keys::read(&self.key, self.key_permissions.permissions())?)
    }
}

pub(super) fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::New { file, note } => new(file, note.clone())?,
        Command::Show { key, json } => show(key, *json)?,
        Command::Genesis { key, tokenizer, epochs, specs, labels, book, arms, accounts, out } => {
            let tokenizer = Sha256::digest(files::read(tokenizer)?).into();
            let labels: Vec<Label> = specs
                .iter()
                .flat_map(|spec| spec.labels(&spec.label()))
                .chain(labels.iter().cloned())
                .chain(slot_labels(book.as_deref(), *arms, accounts.as_deref())?)
                .collect();
            let plan: Vec<_> = epochs.iter().map(|epoch| (epoch.clone(), labels.clone())).collect();
            let genesis = Genesis::new(&key.read()?.secret, tokenizer, &plan);
            files::write(out, serde_json::to_string_pretty(&genesis)?.as_bytes(), Access::Default)?;
            output::line(&format!("root {}  {} leaves", genesis.root, genesis.leaves.len()))?;
            output::talk(
                "Sign the root, have it time-stamped and publish it before the first answer is served.",
            );
        }
        Command::Open { key, genesis, epoch, label } => {
            let genesis = Genesis::from_json(&files::read_text(genesis)?)?;
            output::json(&genesis.open(&key.read()?.secret, epoch, label.as_ref())?)?;
            output::talk(&burned(label.as_ref()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The labels of all slots of a book, those too that stay closed for a court; their coins and the picks of accounts where
/// slots are divided.
fn slot_labels(book: Option<&Path>, arms: bool, accounts: Option<&Path>) -> Result<Vec<Label>, Failure> {
    let Some(book) = book.map(canary::book).transpose()? else { return Ok(Vec::new()) };
    let ids = accounts.map_or_else(|| Ok(Vec::new()), candidates::ids)?;
    let mut labels = Vec::new();
    for label in (0..book.slots()).filter_map(|slot| book.label(slot)) {
        if arms {
            labels.extend([label.plant(), label.arm_of_canary()]);
        }
        labels.extend(ids.iter().map(|id| label.audience(Audience::Account, id)));
        labels.push(label);
    }
    Ok(labels)
}

fn new(file: &Path, note: Option<String>) -> Result<(), Failure> {
    if file.exists() {
        return Err(Failure(format!(
            "{} exists; a key is never replaced: choose another name",
            file.display()
        )));
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure(format!("the system gave no randomness: {error}")))?;
    let created = now();
    let key = KeyFile { created, note, secret: Secret::from_bytes(bytes) };
    files::write(file, key.to_json().as_bytes(), Access::Owner)?;
    output::line(&format!("key {}  {}", key.secret.commitment().key_id(), file.display()))?;
    output::talk("Back it up: without it no mark made under it can ever be shown.");
    Ok(())
}

fn show(key: &Key, json: bool) -> Result<(), Failure> {
    let key = key.read()?;
    let commitment = key.secret.commitment();
    if json {
        return output::json(&json!({
            "schema": "taggant/key/1",
            "key_id": commitment.key_id(),
            "commitment": commitment,
            "created": key.created,
            "note": key.note,
        }));
    }
    output::line(&format!("key         {}", commitment.key_id()))?;
    output::line(&format!("commitment  {commitment}"))?;
    output::line(&format!("created     {}", key.created))?;
    key.note.map_or(Ok(()), |note| output::line(&format!("note        {note}")))
}

fn burned(label: Option<&Label>) -> String {
    let what = label.map_or("every label of this epoch".to_owned(), |label| format!("label {label}"));
    format!(
        "Once handed over, {what} is burned: anyone who holds it can forge and remove the mark.\n\
         What it is to prove must have been acquired before."
    )
}
