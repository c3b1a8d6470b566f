//! What is tried: every key file and every profile of a folder.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::Failure;
use crate::key::KeyFile;
use crate::scheme::foreign::Profile;
use crate::source::keys::{self, Permissions};

/// How profile files look. `scheme::foreign::Profile` reads them.
pub(super) const PROFILES: &str = r#"Profiles of other engines:
  A profile says which engine may have marked the text, how it was set up and under which key:

    { "profile": "taggant/foreign/1", "name": "chat, autumn", "key_is": "private",
      "mark": { "vllm-gumbel": {
        "algorithm": "gumbel", "key": 42, "context_width": 4,
        "deduplicate_contexts": "single_turn", "deduplicate_contexts_max_history": 8192 } } }

  key_is is private or published; a default key is recognised whatever it says. In "mark":

    vllm-gumbel           algorithm (gumbel, dual_key_gumbel), key, context_width,
                          alpha (of dual_key_gumbel: key B's share), deduplicate_contexts
                          (none, single_turn, all), deduplicate_contexts_max_history
    sglang-gumbel         key (hexadecimal text), context_window,
                          key_b and mixing_probability (both or neither)
    hugging-face-kgw      seeding_scheme (lefthash, selfhash), hashing_key,
                          greenlist_ratio, context_width, vocab_size, rng
    hugging-face-synthid  keys, ngram_len, context_history_size, sampling_table_size,
                          sampling_table_seed, skip_first_ngram_calls, rng
    google-synthid        keys, ngram_len, context_history_size, skip_first_ngram_calls
    tgi-kgw               hash_key, gamma, vocab_size, rng
    lm-watermarking-kgw   seeding_scheme (simple_1, lefthash, selfhash, minhash, skipgram,
                          ff-<prf>-<width>-<True|False>), hash_key, gamma,
                          select_green_tokens, vocab_size, rng
    markllm-kgw           hash_key, gamma, prefix_length, vocab_size, rng,
                          f_scheme (time, additive, skip, min), window_scheme (left, self)

  Every parameter is needed. rng is torch-cpu: what was drawn on a GPU cannot be read.
  vocab_size is that of the model's logits, padding included. Rows are read best by their
  token ids (prompt_tokens, response_tokens)."#;

/// A file of the folder.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) what: What,
}

/// Ours, or another engine's.
#[derive(Debug)]
pub(super) enum What {
    Key(Box<KeyFile>),
    Profile(Box<Profile>),
}

/// Tells the two kinds of file apart.
#[derive(Deserialize)]
struct Kind {
    format: Option<IgnoredAny>,
    profile: Option<IgnoredAny>,
}

/// Reads every `*.json` of a folder, by name. One that cannot be read ends it: a mark left out without a word would be
/// missing from the answer.
pub(super) fn read(folder: &Path, permissions: Permissions) -> Result<Vec<File>, Failure> {
    let unreadable = |error| Failure(format!("--keys: cannot read {}: {error}", folder.display()));
    let listed = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut files = Vec::new();
    for entry in listed {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Failure(format!(
            "--keys: {} holds no *.json file; put key files (taggant key new) or profiles of other engines there",
            folder.display()
        )));
    }
    files.into_iter().map(|path| entry(path, permissions)).collect()
}

fn entry(path: PathBuf, permissions: Permissions) -> Result<File, Failure> {
    let name = path.display();
    let json = keys::read_text(&path, permissions)?;
    let kind: Kind = serde_json::from_str(&json).map_err(|error| {
        Failure(format!("{name}, line {}, column {}: not a JSON object", error.line(), error.column()))
    })?;
    let what = match kind {
        Kind { format: Some(_), profile: None } => {
            KeyFile::from_json(&json).map(|key| What::Key(Box::new(key))).map_err(|error| error.to_string())
        }
        Kind { format: None, profile: Some(_) } => Profile::from_json(&json)
            .map(|profile| What::Profile(Box::new(profile)))
            .map_err(|error| error.to_string()),
        _ => Err("neither a key file (\"format\") nor a profile (\"profile\"); move it out of the folder"
            .to_owned()),
    };
    what.map_err(|error| Failure(format!("{name}: {error}"))).map(|what| File { path, what })
}
