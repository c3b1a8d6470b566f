//! `taggant canary probes`: what a sealed plan sends for its canaries; and the answers that come back.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::super::{Failure, output, plan};
use super::{book, json_lines};
use crate::case::canaries::{Probe, prompts, slots};
use crate::case::likelihoods::SlotLikelihoods;

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// The book that the plan names
    #[arg(long)]
    book: PathBuf,
    /// Print what is to be weighed instead, a row a slot: the siblings' texts, and the prompts behind which the suspect's ln p of each
    /// is to be taken; their means are the row's "ln_p" (`test --likelihoods`)
    #[arg(long)]
    likelihoods: bool,
    /// The sealed plan
    plan: PathBuf,
}

/// One row a probe, in the plan's order; the suspect's "response" is to be added to each.
pub(in super::super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let sealed = plan::read(&arguments.plan)?;
    let book = book(&arguments.book)?;
    let wrong = |what: String| Failure(format!("{}: {what}", arguments.plan.display()));
    let canaries = sealed.canaries().ok_or_else(|| wrong("the plan names no canaries".to_owned()))?;
    if canaries.book != book.sha256() {
        return Err(wrong(format!(
            "it names the book {}, and {} is {}",
            canaries.book,
            arguments.book.display(),
            book.sha256()
        )));
    }
    for slot in slots(&book, &canaries.slots).map_err(|error| wrong(error.to_string()))? {
        let Some(set) = book.set(slot) else { continue };
        if arguments.likelihoods {
            let texts: Vec<&str> = set.siblings.iter().map(|sibling| sibling.says.as_str()).collect();
            let mut sent: Vec<&str> = prompts(&set, canaries).collect();
            sent.truncate(set.prompts.len());
            output::line(&json!({ "slot": slot, "prompts": sent, "texts": texts }).to_string())?;
            continue;
        }
        for prompt in prompts(&set, canaries) {
            output::line(&json!({ "slot": slot, "prompt": prompt }).to_string())?;
        }
    }
    Ok(())
}

/// What a suspect gives the siblings of slots, a JSON line each.
///
/// # Errors
/// The line that is none.
pub(in super::super) fn likelihoods(file: &Path) -> Result<Vec<SlotLikelihoods>, Failure> {
    json_lines(
        file,
        "a row is {\"slot\": 7, \"ln_p\": [-12.5, …]}, one ln p for each sibling of the slot in the book's order",
    )
}

/// Probes with their answers, a JSON line each.
///
/// # Errors
/// The line that is no probe with an answer.
pub(in super::super) fn read(file: &Path) -> Result<Vec<Probe>, Failure> {
    json_lines(
        file,
        "a row is a line of `taggant canary probes` with \"response\", what came back (a refusal too), or null where nothing did",
    )
}
