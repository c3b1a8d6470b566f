//! Data on stdout, talk on stderr.

use std::io::Write;

use indicatif::{ProgressBar, ProgressStyle};
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

/// Long work, stage by stage: a bar with the time left on a terminal, a line a stage elsewhere.
#[derive(Debug)]
pub(super) struct Stages {
    bar: ProgressBar,
    number: u32,
}

impl Stages {
    /// No stage yet.
    pub(super) fn new() -> Self {
        Self { bar: ProgressBar::hidden(), number: 0 }
    }

    /// Ends the stage before and starts one of `length` units; 0 where that is not known.
    pub(super) fn start(&mut self, what: &str, length: u64) {
        self.end();
        self.number += 1;
        let what = format!("{}. {what}", self.number);
        self.bar = if length == 0 { ProgressBar::new_spinner() } else { ProgressBar::new(length) };
        if self.bar.is_hidden() {
            talk(&what);
        }
        let form = "{elapsed:>4} {wide_bar} {percent:>3} %, {eta} left  {msg}";
        let form = if length == 0 { "{elapsed:>4} {spinner} {msg}" } else { form };
        if let Ok(style) = ProgressStyle::with_template(form) {
            self.bar.set_style(style);
        }
        self.bar.set_message(what);
    }

    /// Moves the bar.
    pub(super) fn at(&self, units: u64) {
        self.bar.set_position(units.min(self.bar.length().unwrap_or(units)));
    }

    /// Says something between the bars.
    pub(super) fn say(&self, text: &str) {
        self.bar.suspend(|| talk(text));
    }

    /// Ends the stage.
    pub(super) fn end(&mut self) {
        self.bar.finish();
    }
}
