//! Data on stdout, talk on stderr.

use std::io::Write;

use serde::Serialize;

use super::Failure;

/// Prints data.
pub(super) fn data(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    match written {
        // The reader has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Prints a line of data.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    data(&format!("{text}\n"))
}

/// Prints a value as one JSON document.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string_pretty(value)?)
}

/// Says something to whoever watches.
pub(super) fn talk(text: &str) {
    // Where stderr is closed nobody watches.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
