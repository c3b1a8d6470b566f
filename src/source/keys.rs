//! Secrets from files, environment variables and commands.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::files::{self, FileError};
use crate::key::{HexError, KeyFile, KeyFileError, Secret};

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A key file.
    File(PathBuf),
    /// `env:NAME`: an environment variable that holds 64 hexadecimal digits or a key file's JSON.
    Environment(String),
    /// `command:LINE`: the output of a shell command, in the same two forms.
    Command(String),
}

impl FromStr for KeySource {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once(':') {
            Some(("env", name)) => Self::Environment(name.to_owned()),
            Some(("command", line)) => Self::Command(line.to_owned()),
            _ => Self::File(text.into()),
        })
    }
}

/// Who may read a key file besides its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permissions {
    /// Nobody: 0600 or stricter.
    Private,
    /// Group and others may read, as in a mounted secret; nobody else may write.
    Mounted,
}

/// Reads a secret.
///
/// # Errors
/// The source cannot be read, its permissions are too wide, or what it holds is no key.
pub fn read(source: &KeySource, permissions: Permissions) -> Result<KeyFile, KeyError> {
    match source {
        KeySource::File(path) if Secret::from_hex(&path.to_string_lossy()).is_ok() => Err(KeyError::Digits64),
        KeySource::File(path) => {
            let json = read_text(path, permissions)?;
            KeyFile::from_json(&json)
                .map_err(|error| KeyError::Content { of: path.display().to_string(), error })
        }
        KeySource::Environment(name) => {
            let text = std::env::var(name).map_err(|_| KeyError::NoVariable(name.clone()))?;
            from_text(&Zeroizing::new(text), &format!("variable {name}"))
        }
        KeySource::Command(line) => from_text(&output_of(line)?, "the key command's output"),
    }
}

/// The text of a file that holds a key of any kind, in wiped memory.
///
/// # Errors
/// It cannot be read, or its permissions are too wide.
pub fn read_text(path: &Path, permissions: Permissions) -> Result<Zeroizing<String>, KeyError> {
    check_permissions(path, permissions)?;
    Ok(Zeroizing::new(files::read_text(path)?))
}

/// Either a key file's JSON or the bare digits.
fn from_text(text: &str, of: &str) -> Result<KeyFile, KeyError> {
    let text = text.trim();
    if text.starts_with('{') {
        return KeyFile::from_json(text).map_err(|error| KeyError::Content { of: of.to_owned(), error });
    }
    let secret = Secret::from_hex(text).map_err(|error| KeyError::Digits { of: of.to_owned(), error })?;
    Ok(KeyFile { created: String::new(), note: None, secret })
}

fn output_of(line: &str) -> Result<Zeroizing<String>, KeyError> {
    let failed = KeyError::Command;
    let output = Command::new("sh").args(["-c", line]).output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(format!("it ended with {}", output.status)));
    }
    String::from_utf8(output.stdout)
        .map(Zeroizing::new)
        .map_err(|_| failed("its output is not UTF-8".to_owned()))
}

#[cfg(unix)]
fn check_permissions(path: &Path, permissions: Permissions) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt;
    // A file that is not there is reported by the read that follows.
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(()) };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(KeyError::Writable { path: path.to_owned(), mode });
    }
    if mode & 0o044 != 0 && permissions == Permissions::Private {
        return Err(KeyError::Readable { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_permissions(_: &Path, _: Permissions) -> Result<(), KeyError> {
    Ok(())
}

/// Why no secret could be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Others may change the file.
    #[error("{} is writable by others (mode {mode:o}): anyone could have replaced the key; make sure it is yours, then chmod 600 it", path.display())]
    Writable {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others may read the file.
    #[error("{} is readable by others (mode {mode:o}): chmod 600 it, or say --key-permissions mounted", path.display())]
    Readable {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What was read is no key file.
    #[error("{of}: {error}")]
    Content {
        /// Where it was read.
        of: String,
        /// What is wrong.
        error: KeyFileError,
    },
    /// What was read is neither a key file nor 64 digits.
    #[error("{of}: {error}")]
    Digits {
        /// Where it was read.
        of: String,
        /// What is wrong.
        error: HexError,
    },
    /// Digits where a source belongs: arguments are visible to everybody on the machine.
    #[error(
        "--key takes a file, env:NAME or command:LINE, not the secret itself: everybody on this machine can read arguments"
    )]
    Digits64,
    /// The environment variable is not set.
    #[error("the environment variable {0} is not set or not UTF-8")]
    NoVariable(String),
    /// The key command failed.
    #[error("the key command failed: {0}")]
    Command(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_an_error_nor_debug_output_repeats_a_secret() {
        let digits = "c0ffee".repeat(10) + "c0ff";
        let silent = |shown: String| assert!(!shown.contains("c0ffee"), "{shown}");
        let key = from_text(&digits, "variable K").unwrap();
        let epoch = key.secret.epoch_key(&"2026-q4".parse().unwrap());
        let scheme = epoch.scheme_key(&"green/1/w1/b2/t1".parse().unwrap());
        let shown = format!("{key:?} {epoch:?} {scheme:?}");
        for bytes in [&[0xc0, 0xff, 0xee], &epoch.hazmat_bytes()[..3], &scheme.hazmat_bytes()[..3]] {
            let list = format!("{bytes:?}");
            assert!(
                !shown.contains(&hex::encode(bytes)) && !shown.contains(list.trim_matches(['[', ']'])),
                "{shown}"
            );
        }
        for text in [format!("{digits}0"), format!("0x{digits}"), format!("{{\"secret\":\"{digits}\"}}")] {
            let error = from_text(&text, "variable K").unwrap_err();
            silent(format!("{error} {error:?}"));
        }
        // A secret where its source belongs is neither opened as a file nor repeated.
        let error = read(&digits.parse().unwrap(), Permissions::Private).unwrap_err();
        assert!(matches!(error, KeyError::Digits64));
        silent(format!("{error} {error:?}"));
        let failing = KeySource::Command(format!("echo {digits} 1>&2; echo {digits}; false"));
        let error = read(&failing, Permissions::Private).unwrap_err();
        silent(format!("{error} {error:?}"));
    }
}
