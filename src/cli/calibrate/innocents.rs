//! The line-up: whose evidence is put before many keys.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use taggant_model::tokenizer::Tokenizer;

use super::super::counting::Counting;
use super::super::output::Stages;
use super::super::{Failure, rows};
use super::reading::Reader;
use super::{Arguments, asked};
use crate::score::Counted;
use crate::source::files;
use crate::source::line_up::{self, Answers, Entry, MANIFEST};
use crate::source::model::{self, Loaded, weights_sha256};
use crate::source::text::{BadLines, Kind, Row};

/// One innocent, counted before any key was touched.
#[derive(Debug)]
pub(super) struct Innocent {
    pub(super) name: String,
    /// The file of its rows, or the model.
    pub(super) file: String,
    /// Of that file, or of the model's weights.
    pub(super) sha256: [u8; 32],
    pub(super) released: Option<String>,
    /// Rows, answers, or documents that it reads.
    pub(super) rows: usize,
    pub(super) evidence: Evidence,
}

/// What is put before a key.
#[derive(Debug)]
pub(super) enum Evidence {
    /// The same under every key.
    Counted(Counted),
    /// Made anew under every key.
    Reads(Box<Reader>),
}

impl Evidence {
    /// Distinct draws with a coefficient other than zero; none where every key has others.
    pub(super) fn distinct(&self) -> Option<u64> {
        match self {
            Self::Counted(counted) => Some(counted.distinct()),
            Self::Reads(_) => None,
        }
    }
}

/// Every innocent that was named, in the order of files, models and line-up.
pub(super) fn all(
    arguments: &Arguments,
    counting: &Counting,
    tokenizer: Option<&Tokenizer>,
    stages: &mut Stages,
) -> Result<Vec<Innocent>, Failure> {
    let mut found = Vec::new();
    for (folder, entry) in named(arguments)? {
        let innocent = match &entry.answers {
            Answers::Rows(file) if arguments.reads => {
                return Err(Failure(format!("--reads: {file} is no model, and only a model reads")));
            }
            Answers::Model(name) if arguments.reads => that_reads(name, &entry, arguments)?,
            Answers::Rows(file) => of_file(&folder.join(file), &entry, counting, tokenizer)?,
            Answers::Model(name) => of_model(name, &entry, arguments, counting, tokenizer, stages)?,
        };
        if innocent.evidence.distinct() == Some(0) {
            return Err(Failure(format!("{}: no draw is left to score", innocent.file)));
        }
        found.push(innocent);
    }
    Ok(found)
}

/// Each with the folder that its file is relative to.
fn named(arguments: &Arguments) -> Result<Vec<(PathBuf, Entry)>, Failure> {
    let plain = |name: String, answers: Answers| Entry { name, answers, released: None };
    let mut named: Vec<(PathBuf, Entry)> = Vec::new();
    for file in &arguments.files {
        let name = file.display().to_string();
        named.push((PathBuf::new(), plain(name.clone(), Answers::Rows(name))));
    }
    for model in &arguments.asked.model {
        named.push((PathBuf::new(), plain(model.clone(), Answers::Model(model.clone()))));
    }
    if let Some(folder) = &arguments.line_up {
        named.extend(listed(folder)?.into_iter().map(|entry| (folder.clone(), entry)));
    }
    Ok(named)
}

/// What the folder's manifest names; without one every file of rows in it, by name.
fn listed(folder: &Path) -> Result<Vec<Entry>, Failure> {
    let manifest = folder.join(MANIFEST);
    if manifest.exists() {
        return Ok(line_up::parse(&manifest.display().to_string(), &files::read_text(&manifest)?)?);
    }
    let unreadable = |error: std::io::Error| Failure(format!("--line-up {}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.extension().is_some_and(|ending| ending == "jsonl") {
            found.push(Entry { name: name.clone(), answers: Answers::Rows(name), released: None });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    if found.is_empty() {
        return Err(Failure(format!("--line-up {}: holds neither {MANIFEST} nor *.jsonl", folder.display())));
    }
    Ok(found)
}

fn of_file(
    file: &Path,
    entry: &Entry,
    counting: &Counting,
    tokenizer: Option<&Tokenizer>,
) -> Result<Innocent, Failure> {
    let found = rows::read(file, Kind::Exchanges, BadLines::Refuse)?.rows;
    let sha256 = Sha256::digest(files::read(file)?).into();
    let named = |Failure(what)| Failure(format!("{}: {what}", file.display()));
    let evidence = Evidence::Counted(counting.count(&numbered(&found), tokenizer).map_err(named)?.evidence);
    let (name, released) = (entry.name.clone(), entry.released.clone());
    Ok(Innocent { name, file: file.display().to_string(), sha256, released, rows: found.len(), evidence })
}

fn of_model(
    model: &str,
    entry: &Entry,
    arguments: &Arguments,
    counting: &Counting,
    tokenizer: Option<&Tokenizer>,
    stages: &mut Stages,
) -> Result<Innocent, Failure> {
    let loaded = Loaded::open(model)?;
    let digest = loaded.tokenizer.digest();
    for reference in &arguments.counting.reference {
        let of_reference = model::tokenizer(reference)?.digest();
        if of_reference != tokenizer.map_or(digest, Tokenizer::digest) {
            return Err(Failure(format!(
                "--reference {reference}: its tokens are not those that {model} is scored in"
            )));
        }
    }
    let same = tokenizer.is_none_or(|tokenizer| tokenizer.digest() == digest);
    let answers = asked::answers(&loaded, &arguments.asked, arguments.seed, stages, model)?;
    let evidence = if !arguments.counting.of_distributions() {
        let rows = asked::as_rows(&loaded, &answers, !same)?;
        counting.count(&numbered(&rows), tokenizer)?.evidence
    } else if same {
        let top = arguments.counting.top();
        counting.of_contexts(&asked::distributions(&loaded, &answers, top, stages, model)?)?
    } else {
        let what = "its tokens are not those of --tokenizer; give what its API returned (\"logprobs\") as a file of rows";
        return Err(Failure(format!("--model {model}: {what}")));
    };
    Ok(Innocent {
        name: entry.name.clone(),
        file: model.to_owned(),
        sha256: weights_sha256(model)?,
        released: entry.released.clone(),
        rows: answers.len(),
        evidence: Evidence::Counted(evidence),
    })
}

fn that_reads(model: &str, entry: &Entry, arguments: &Arguments) -> Result<Innocent, Failure> {
    let reader = Reader::new(Loaded::open(model)?, model, arguments)?;
    Ok(Innocent {
        name: entry.name.clone(),
        file: model.to_owned(),
        sha256: weights_sha256(model)?,
        released: entry.released.clone(),
        rows: reader.documents(),
        evidence: Evidence::Reads(Box::new(reader)),
    })
}

fn numbered(rows: &[Row]) -> Vec<(u32, &Row)> {
    (0..).zip(rows).collect()
}
