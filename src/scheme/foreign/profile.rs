//! Profile files: which engine may have marked a text, how it was set up, under which key.
//!
//! ```json
//! {
//!   "profile": "taggant/foreign/1",
//!   "name": "chat, autumn",
//!   "key_is": "private",
//!   "mark": {
//!     "vllm-gumbel": {
//!       "algorithm": "gumbel",
//!       "key": 42,
//!       "context_width": 4,
//!       "deduplicate_contexts": "single_turn",
//!       "deduplicate_contexts_max_history": 8192
//!     }
//!   }
//! }
//! ```
//!
//! `key_is` is `private` or `published`; a default key is recognised whatever it says. The parameters under the engine's
//! name are called as in the engine. Fields are closed: one too many or too few is an error that names line and column.
//! Engines and parameters:
//!
//! | engine | parameters |
//! |---|---|
//! | `vllm-gumbel` | `algorithm` (gumbel, dual_key_gumbel), `key`, `alpha` (of the dual key), `context_width`, `deduplicate_contexts` (none, single_turn, all), `deduplicate_contexts_max_history` (a number or null) |
//! | `sglang-gumbel` | `key` (hexadecimal text), `key_b` and `mixing_probability` (both or neither), `context_window` |
//! | `hugging-face-kgw` | `seeding_scheme` (lefthash, selfhash), `hashing_key`, `greenlist_ratio`, `context_width`, `vocab_size`, `rng` |
//! | `hugging-face-synthid` | `keys`, `ngram_len`, `context_history_size`, `sampling_table_size`, `sampling_table_seed`, `skip_first_ngram_calls`, `rng` |
//! | `google-synthid` | `keys`, `ngram_len`, `context_history_size`, `skip_first_ngram_calls` |
//! | `tgi-kgw` | `hash_key`, `gamma`, `vocab_size`, `rng` |
//! | `lm-watermarking-kgw` | `seeding_scheme`, `hash_key`, `gamma`, `select_green_tokens`, `vocab_size`, `rng` |
//! | `markllm-kgw` | `hash_key`, `gamma`, `prefix_length`, `f_scheme` (time, additive, skip, min), `window_scheme` (left, self), `vocab_size`, `rng` |
//!
//! `rng` is `torch-cpu`: lists that were made on a GPU are others and cannot be read. `vocab_size` is that of the model's
//! logits, padding included, not the tokenizer's. vLLM's speculative decoding ignores `alpha`: give there the share of
//! tokens that key B marked.

use serde::Deserialize;

use super::{Mark, Standing};

const FORMAT: &str = "taggant/foreign/1";

/// A named foreign mark. It holds a key: no part of it is printed but its name.
#[derive(Clone, Debug)]
pub struct Profile {
    /// What people call it.
    pub name: String,
    /// What the file says of the key.
    said: Said,
    /// The mark.
    pub mark: Mark,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    profile: String,
    name: String,
    key_is: Said,
    mark: Mark,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Said {
    Private,
    Published,
}

impl Profile {
    /// Reads a profile file's JSON.
    ///
    /// # Errors
    /// Not JSON with exactly the fields of a profile, or a parameter that no engine could have run with. No error repeats
    /// a key.
    pub fn from_json(json: &str) -> Result<Self, ProfileError> {
        let stored: Stored = serde_json::from_str(json).map_err(|error| ProfileError::Json {
            line: error.line(),
            column: error.column(),
            what: without_values(&error),
        })?;
        if stored.profile != FORMAT {
            return Err(ProfileError::Format(stored.profile));
        }
        if stored.name.is_empty() || stored.name.chars().any(char::is_control) {
            return Err(ProfileError::Name);
        }
        Ok(Self { name: stored.name, said: stored.key_is, mark: stored.mark })
    }

    /// What is known about who has the key.
    pub fn standing(&self) -> Standing {
        match self.said {
            _ if self.mark.is_default_key() => Standing::Default,
            Said::Published => Standing::Published,
            Said::Private => Standing::Private,
        }
    }
}

/// serde's message without its position, and without a value it quotes: that could be a key.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    match text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: ")) {
        Some(rest) => match rest.rsplit_once(", expected ") {
            Some((_, expected)) => format!("a value of another kind, expected {expected}"),
            None => "a value of another kind".to_owned(),
        },
        None => text.to_owned(),
    }
}

/// Why a profile is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Not the fields of a profile, or a parameter out of range.
    #[error(
        "line {line}, column {column}: {what}; a profile has \"profile\", \"name\", \"key_is\" and \"mark\""
    )]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong.
        what: String,
    },
    /// Another format, or a later version of it.
    #[error("field \"profile\": this version reads \"{FORMAT}\" only, not {0:?}")]
    Format(String),
    /// No name.
    #[error("field \"name\": must be text without control characters, and not empty")]
    Name,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(mark: &str) -> Result<Profile, ProfileError> {
        let json =
            format!(r#"{{"profile":"taggant/foreign/1","name":"n","key_is":"private","mark":{{{mark}}}}}"#);
        Profile::from_json(&json)
    }

    const LEFT: &str = r#""hugging-face-kgw":{"seeding_scheme":"lefthash","hashing_key":987654321987,
        "greenlist_ratio":0.25,"context_width":1,"vocab_size":50257,"rng":"torch-cpu"}"#;

    #[test]
    fn standing_follows_the_key_before_the_file() {
        assert_eq!(profile(LEFT).unwrap().standing(), Standing::Private);
        let default = profile(&LEFT.replace("987654321987", "15485863")).unwrap();
        assert_eq!(default.standing(), Standing::Default);
        assert!(!default.standing().tells_operators_apart());
        let synthid = r#""google-synthid":{"keys":[654,400,836],"ngram_len":5,"context_history_size":1024,
            "skip_first_ngram_calls":false}"#;
        assert_eq!(profile(synthid).unwrap().standing(), Standing::Default);
    }

    #[test]
    fn each_fault_is_named_and_no_error_repeats_a_key() {
        for (from, to, part) in [
            ("torch-cpu", "torch-cuda", "torch-cpu"),
            ("\"vocab_size\":50257", "\"vocab_size\":3", "greenlist_ratio"),
            ("\"context_width\":1", "\"context_width\":0", "\"context_width\": must be 1 to 64"),
            ("\"vocab_size\"", "\"vocabulary\"", "unknown field `vocabulary`"),
            (",\"rng\":\"torch-cpu\"", "", "missing field `rng`"),
            ("hugging-face-kgw", "kgw", "unknown variant `kgw`"),
            ("987654321987", "-987654321987", "must not be negative"),
            ("987654321987", "\"987654321987\"", "expected i64"),
            ("987654321987", "987654321987987654321987", "expected i64"),
        ] {
            let error = profile(&LEFT.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(error.contains("line ") && !error.contains("987654321987"), "{error}");
        }
        let without_history = r#""vllm-gumbel":{"algorithm":"gumbel","key":7,"context_width":4,
            "deduplicate_contexts":"none"}"#;
        let error = profile(without_history).unwrap_err().to_string();
        assert!(error.contains("missing field `deduplicate_contexts_max_history`"), "{error}");
        let shown = format!("{:?}", profile(LEFT).unwrap());
        assert!(!shown.contains("987654321987"), "{shown}");
    }
}
