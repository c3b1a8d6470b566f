//! What a file of rows holds, by its first ones.

use std::path::Path;

use taggant_model::tokenizer::Tokenizer;

use super::{Failure, rows};
use crate::source::lines::{self, Lines};
use crate::source::scratch::Hashed;
use crate::source::text::{BadLines, Kind, Reader};

/// How much there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    /// Positions of answers.
    pub(super) positions: u128,
    pub(super) rows: u128,
}

/// The length of a file, in bytes; none of what is no file.
pub(super) fn length(file: &Path) -> Option<u64> {
    std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file).map(|found| found.len())
}

/// An estimate from the first rows; none of what is no file.
pub(super) fn estimate(file: &Path, tokenizer: Option<&Tokenizer>) -> Result<Option<Estimate>, Failure> {
    /// Bytes of rows that are looked at.
    const SAMPLE: u64 = 1 << 20;
    let Some(length) = length(file) else { return Ok(None) };
    let Lines { input, rows, .. } = lines::open(file)?;
    let mut reader = Reader::new("", Hashed::new(input), Kind::Exchanges, BadLines::Skip);
    let mut positions = 0;
    while reader.input().bytes() < SAMPLE {
        let Some(row) = reader.next() else { break };
        positions += rows::exchange(&row?, tokenizer).map_or(0, |exchange| exchange.response.len() as u64);
    }
    // By rows, where their number is known: as lines they are longer than in the file.
    let (length, seen) = match rows {
        Some(rows) => (rows, reader.seen().lines as u64),
        None => (length, reader.input().bytes()),
    };
    let whole = |sampled: u64| u128::from(sampled) * u128::from(length) / u128::from(seen.max(1));
    Ok(Some(Estimate { positions: whole(positions), rows: whole(reader.seen().rows) }))
}
