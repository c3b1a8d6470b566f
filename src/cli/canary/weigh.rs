//! Log-probabilities of siblings, as `taggant canary score --log-probabilities` reads them.

use std::path::Path;

use serde::Deserialize;

use super::super::Failure;
use super::json_lines;
use crate::canary::{Book, Evidence, Family, Liked, Likelihoods, Pick, Picks, Ranks};
use crate::law::Draws;

/// What a suspect gives the siblings of one slot.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    slot: u64,
    account: Option<String>,
    ln_p: Vec<f64>,
    reference_ln_p: Option<Vec<f64>>,
}

const ROW: &str =
    "a row is {\"slot\": 7, \"ln_p\": [-12.5, …]}, one ln p for each sibling of the slot in the book's order";

/// One draw a slot: of twins by the rank of the served one, of other slots by what stands out; and the number of slots. The
/// rows are scored before a pick is opened.
///
/// # Errors
/// A line that is none, or values that are no evidence; twins and other slots together.
pub(super) fn draws(book: &Book, file: &Path, picks: &Picks<'_>) -> Result<(Draws, u64), Failure> {
    let rows: Vec<Row> = json_lines(file, ROW)?;
    let twins = rows.first().is_some_and(|row| book.family(row.slot) == Some(Family::Twin));
    let slots = rows.len() as u64;
    if twins {
        let liked = |Row { slot, account, ln_p, reference_ln_p }| Liked {
            pick: Pick { slot, account },
            ln_p,
            reference: reference_ln_p,
        };
        let liked: Vec<Liked> = rows.into_iter().map(liked).collect();
        return Ok((Ranks::new(book, &liked)?.open(picks)?, slots));
    }
    if let Some(row) = rows.iter().find(|row| row.reference_ln_p.is_some()) {
        return Err(Failure(format!(
            "{}: slot {}: only twins take reference_ln_p",
            file.display(),
            row.slot
        )));
    }
    let weighed = |Row { slot, account, ln_p, .. }| Likelihoods { pick: Pick { slot, account }, ln_p };
    let weighed: Vec<Likelihoods> = rows.into_iter().map(weighed).collect();
    Ok((Evidence::of_likelihoods(book, &weighed)?.open(picks)?, slots))
}
