//! Key files: `{"format":"taggant-key/1","created":RFC 3339,"secret":64 hex digits}` and an optional `"note"`.

use serde::Deserialize;
use zeroize::Zeroizing;

use super::{HexError, Secret};

const FORMAT: &str = "taggant-key/1";

/// A secret as it lies on disk. Reading and writing the file is the caller's; permissions are checked there.
#[derive(Clone, Debug)]
pub struct KeyFile {
    /// When the secret was made, RFC 3339.
    pub created: String,
    /// What the operator wrote beside it.
    pub note: Option<String>,
    /// The secret.
    pub secret: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: String,
    created: String,
    secret: Zeroizing<String>,
    #[serde(default)]
    note: Option<String>,
}

impl KeyFile {
    /// Reads the JSON of a key file.
    ///
    /// # Errors
    /// Malformed JSON, another format, or a secret that is not 32 bytes. No error repeats any of the content.
    pub fn from_json(json: &str) -> Result<Self, KeyFileError> {
        let stored: Stored = serde_json::from_str(json)
            .map_err(|error| KeyFileError::Json { line: error.line(), column: error.column() })?;
        if stored.format != FORMAT {
            return Err(KeyFileError::Format);
        }
        let secret = Secret::from_hex(&stored.secret).map_err(KeyFileError::Secret)?;
        Ok(Self { created: stored.created, note: stored.note, secret })
    }

    /// The JSON of a key file, in wiped memory.
    pub fn to_json(&self) -> Zeroizing<String> {
        let note = self.note.as_ref().map(|note| format!(",\n  \"note\": {}", serde_json::json!(note)));
        let created = serde_json::json!(self.created);
        let secret = self.secret.hazmat_to_hex();
        let note = note.unwrap_or_default();
        Zeroizing::new(format!(
            "{{\n  \"format\": \"{FORMAT}\",\n  \"created\": {created},\n  \"secret\": \"{}\"{note}\n}}\n",
            secret.as_str()
        ))
    }
}

/// Why a key file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Not JSON with exactly the fields of a key file.
    #[error(
        "line {line}, column {column}: not a key file; it holds \"format\", \"created\", \"secret\" and perhaps \"note\""
    )]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Another format, or a later version of it.
    #[error("field \"format\": this version reads \"{FORMAT}\" only")]
    Format,
    /// The secret is not 32 bytes in hexadecimal.
    #[error(
        "field \"secret\": {0}; restore the file from its backup, or make a new key with `taggant key new`"
    )]
    Secret(HexError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_keeps_everything() {
        let file = KeyFile {
            created: "2026-11-23T00:00:00Z".to_owned(),
            note: Some("a \"quoted\" note".to_owned()),
            secret: Secret::from_bytes([3; 32]),
        };
        let read = KeyFile::from_json(&file.to_json()).unwrap();
        assert_eq!((read.created, read.note), (file.created, file.note));
        assert!(read.secret == file.secret);
    }

    #[test]
    fn a_secret_of_31_bytes_is_refused_without_repeating_it() {
        let json =
            format!("{{\"format\":\"{FORMAT}\",\"created\":\"x\",\"secret\":\"{}\"}}", "ab".repeat(31));
        let error = KeyFile::from_json(&json).unwrap_err();
        assert_eq!(error, KeyFileError::Secret(HexError { digits: 62 }));
        assert!(!error.to_string().contains("abab"));
    }

    #[test]
    fn no_error_repeats_what_it_read() {
        let digits = "c0ffee".repeat(10) + "c0ff";
        for json in [
            format!("{{\"format\":\"{digits}\",\"created\":\"x\",\"secret\":\"{digits}\"}}"),
            format!("{{\"format\":\"{FORMAT}\",\"created\":\"x\",\"secret\":\"{digits}0\"}}"),
            format!("{{\"format\":\"{FORMAT}\",\"created\":\"x\",\"{digits}\":1}}"),
            format!("{{\"format\":\"{FORMAT}\",\"created\":\"x\",\"secret\":[\"{digits}\"]}}"),
            format!("{{\"format\":{{\"{digits}\":1}},\"created\":\"x\",\"secret\":\"x\"}}"),
            format!("\"{digits}\""),
            digits.clone(),
        ] {
            let error = KeyFile::from_json(&json).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("c0ffee"), "{error}");
        }
    }

    #[test]
    fn nothing_prints_a_secret() {
        let file = KeyFile { created: String::new(), note: None, secret: Secret::from_bytes([0xab; 32]) };
        assert!(!format!("{file:?}").contains("ab, ab") && !format!("{file:?}").contains("abab"));
        assert!(!format!("{file:?}").contains("171"));
    }
}
