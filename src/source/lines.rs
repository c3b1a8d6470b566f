//! Where rows come from: a file or standard input, as JSON lines whatever they are there.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::path::Path;

use super::files::FileError;
use super::text::Format;

/// The bytes that a Parquet file begins and ends with.
const PARQUET: &[u8] = b"PAR1";
const BUFFER: usize = 1 << 18;

/// Rows as JSON lines.
pub struct Lines {
    /// The lines.
    pub input: Box<dyn BufRead>,
    /// What they were, which is what messages call their numbers.
    pub format: Format,
    /// How many there are, where that is known before they are read.
    pub rows: Option<u64>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("format", &self.format).field("rows", &self.rows).finish()
    }
}

/// Opens a file; `-` is standard input. A Parquet file is known by its first bytes, whatever its name.
///
/// # Errors
/// A file that cannot be opened, or a Parquet file where none can be read: in a build without it, or on standard input.
pub fn open(path: &Path) -> Result<Lines, FileError> {
    let failed = |source| FileError::new("read", path, source);
    if path.as_os_str() == "-" {
        let mut input = BufReader::with_capacity(BUFFER, io::stdin());
        if input.fill_buf().map_err(failed)?.starts_with(PARQUET) {
            let what = "it is Parquet, which begins at its end: give it as a file";
            return Err(failed(io::Error::other(what)));
        }
        return Ok(Lines { input: Box::new(input), format: Format::JsonLines, rows: None });
    }
    let mut input = BufReader::with_capacity(BUFFER, File::open(path).map_err(failed)?);
    if input.fill_buf().map_err(failed)?.starts_with(PARQUET) {
        input.rewind().map_err(failed)?;
        return parquet(input.into_inner()).map_err(failed);
    }
    Ok(Lines { input: Box::new(input), format: Format::JsonLines, rows: None })
}

/// What messages call a file.
pub fn name(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}

#[cfg(feature = "parquet")]
fn parquet(file: File) -> io::Result<Lines> {
    let input = super::parquet::Parquet::open(file)?;
    let rows = Some(input.rows());
    Ok(Lines { input: Box::new(input), format: Format::Parquet, rows })
}

#[cfg(not(feature = "parquet"))]
fn parquet(_: File) -> io::Result<Lines> {
    Err(io::Error::other(
        "it is Parquet, which this build does not read: build with --features parquet, or write the rows as JSON lines",
    ))
}
