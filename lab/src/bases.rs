//! Trains the embedded models: a tokenizer, the teacher on half `a` of the text, the student's starting point on half
//! `b`, and openings for prompts that neither has read.
//!
//! Everything follows from the text and the seed, except that the last bits of the weights depend on the processor.

use crate::corpus::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use taggant_model::small::{Config, SmallModel};
use taggant_model::tokenizer::Tokenizer;
use taggant_model::train::{Options, pack, train};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::{byte_level::ByteLevel, digits::Digits, sequence::Sequence};
use tokenizers::{AddedToken, NormalizerWrapper, PostProcessorWrapper, TokenizerImpl};

/// Ends every text; the only control token.
const END: &str = "<|endoftext|>";
/// One text in this many is read by neither base.
const HELD_OUT: u64 = 10;

/// What to train, from which text.
pub(crate) struct Plan {
    /// Folder of `*.jsonl` shards, compressed or not.
    pub(crate) text: PathBuf,
    pub(crate) out: PathBuf,
    /// How often each base reads its text.
    pub(crate) teacher_passes: usize,
    pub(crate) student_passes: usize,
    pub(crate) seed: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Record {
    id: String,
    half: char,
    prompt: String,
    response: String,
}

/// Writes the tokenizer, both bases, the openings and the manifest.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    let records = read(&plan.text)?;
    let text = Text::of(&records);
    let (held_out, training): (Vec<_>, Vec<_>) = records.into_iter().partition(is_held_out);
    eprintln!("{} texts to learn, {} held out", training.len(), held_out.len());
    fs::create_dir_all(&plan.out)?;
    let path = |name: &str| plan.out.join(name);
    fs::write(path("tokenizer.json"), train_tokenizer(&training)?)?;
    fs::write(path("prompts.txt"), openings(&held_out, &training).join("\n") + "\n")?;
    let tokenizer = Tokenizer::from_file(&path("tokenizer.json"))?;
    let stream = |records: &mut dyn Iterator<Item = &Record>| stream(&tokenizer, records);
    let held_out = stream(&mut held_out.iter())?;
    let halves =
        ['a', 'b'].map(|half| stream(&mut training.iter().filter(move |record| record.half == half)));
    let [a, b] = halves;
    let (a, b) = (a?, b?);
    let base = |name, stream, seed, passes| Base { name, stream, held_out: &held_out, seed, passes };
    let teacher = base("teacher", &a, plan.seed, plan.teacher_passes);
    let student = base("student", &b, plan.seed + 1, plan.student_passes);
    let (teacher, student) = std::thread::scope(|scope| {
        let teacher = scope.spawn(|| teacher.train(&path("teacher.safetensors")));
        let student = student.train(&path("student.safetensors"));
        (teacher.join(), student)
    });
    let teacher = teacher.map_err(|_| "the teacher's training panicked")??;
    let manifest = manifest(plan, text, held_out.len(), [teacher, student?])?;
    Ok(fs::write(path("manifest.json"), manifest)?)
}

/// The records in an order that does not depend on the shards.
fn read(folder: &Path) -> Result<Vec<Record>> {
    let mut records = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.contains(".jsonl") {
            continue;
        }
        // A line that a kill cut off is the last of its shard, and not JSON.
        for record in unpack(&path)?.lines().map_while(|line| serde_json::from_str::<Record>(line).ok()) {
            records.insert(record.id.clone(), record);
        }
    }
    let mut seen = HashSet::new();
    let mut records: Vec<Record> = records.into_values().collect();
    records.iter_mut().for_each(|record| record.response = record.response.trim().to_owned());
    records.retain(|record| !record.response.is_empty() && seen.insert(record.response.clone()));
    Ok(records)
}

fn unpack(path: &Path) -> Result<String> {
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => "gzip",
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned()),
    };
    let output = Command::new(program).arg("-dc").arg(path).output()?;
    if !output.status.success() {
        return Err(format!("{program} -dc {} failed", path.display()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What the bases learn from, as the manifest names it.
#[derive(Serialize)]
struct Text {
    records: usize,
    /// Over every record's id and response, each followed by a zero byte.
    sha256: String,
}

impl Text {
    fn of(records: &[Record]) -> Self {
        let fields = records.iter().flat_map(|record| [&record.id, &record.response]);
        let bytes: Vec<u8> = fields.flat_map(|field| field.bytes().chain([0])).collect();
        Self { records: records.len(), sha256: sha256(&bytes) }
    }
}

/// All answers to a prompt are held out, or none.
fn is_held_out(record: &Record) -> bool {
    hash(&record.prompt).is_multiple_of(HELD_OUT)
}

fn hash(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |hash, &byte| hash << 8 | u64::from(byte))
}

/// A byte-level BPE over the texts: `END`, the 256 bytes, then merges. Digits stand alone.
fn train_tokenizer(records: &[Record]) -> Result<String> {
    let bpe = BPE::builder().build().map_err(as_error)?;
    let mut tokenizer: TokenizerImpl<BPE, NormalizerWrapper, Sequence, PostProcessorWrapper, ByteLevel> =
        TokenizerImpl::new(bpe);
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![
        Digits::new(true).into(),
        ByteLevel::new(false, true, true).into(),
    ])));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    let mut trainer = BpeTrainer::builder()
        .vocab_size(Config::default().vocab)
        .special_tokens(vec![AddedToken::from(END, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    tokenizer.train(&mut trainer, records.iter().map(|record| &record.response)).map_err(as_error)?;
    Ok(tokenizer.to_string(false).map_err(as_error)? + "\n")
}

fn as_error(error: impl std::fmt::Display) -> Box<dyn std::error::Error + Send + Sync> {
    error.to_string().into()
}

fn stream(tokenizer: &Tokenizer, records: &mut dyn Iterator<Item = &Record>) -> Result<Vec<u32>> {
    let end = tokenizer.id(END).ok_or("the tokenizer has no end of text")?;
    let texts: std::result::Result<Vec<_>, _> =
        records.map(|record| tokenizer.encode(&record.response)).collect();
    Ok(pack(&texts?, end))
}

/// One training.
struct Base<'a> {
    name: &'static str,
    stream: &'a [u32],
    held_out: &'a [u32],
    seed: u64,
    passes: usize,
}

/// What the manifest says of it.
#[derive(Serialize)]
struct Trained {
    tokens: usize,
    passes: usize,
    steps: usize,
    batch: usize,
    window: usize,
    seed: u64,
    parameters: usize,
    held_out_nats_per_token: f64,
}

impl Base<'_> {
    fn train(&self, path: &Path) -> Result<Trained> {
        let start = SmallModel::random(Config::default(), self.seed)?;
        let options = Options { seed: self.seed, ..Options::default() };
        let steps = (self.passes * self.stream.len()).div_ceil(options.batch * start.config().context);
        let options = Options { steps, warm_up: steps / 20, ..options };
        let clock = Instant::now();
        let model = train(&start, self.stream, &options, &mut |progress| {
            if progress.step.is_multiple_of(500) {
                let rate = (progress.step * options.batch * start.config().context) as f64
                    / clock.elapsed().as_secs_f64();
                let (step, loss) = (progress.step, progress.loss);
                eprintln!("{}: step {step} of {steps}, loss {loss:.3}, {rate:.0} tokens/s", self.name);
            }
        })?;
        model.save(path)?;
        let held_out = SmallModel::load(path)?.loss(self.held_out)?;
        eprintln!("{}: {held_out:.4} nats per held-out token", self.name);
        Ok(Trained {
            tokens: self.stream.len(),
            passes: self.passes,
            steps,
            batch: options.batch,
            window: start.config().context,
            seed: self.seed,
            parameters: model.config().parameters(),
            held_out_nats_per_token: (held_out * 1e4).round() / 1e4,
        })
    }
}

/// Beginnings of held-out sentences, four to six words long, that stand nowhere in the training texts. Their order is
/// random, so any number from the top is a fair sample.
fn openings(held_out: &[Record], training: &[Record]) -> Vec<String> {
    let mut openings: BTreeMap<Vec<String>, String> = BTreeMap::new();
    for sentence in held_out.iter().flat_map(|record| record.response.split_inclusive(['.', '!', '?', '\n']))
    {
        let words: Vec<&str> = sentence.split_whitespace().collect();
        let length = 4 + hash(sentence) as usize % 3;
        if words.len() > length && reads_well(&words[..length]) {
            openings.insert(plain(&words[..length]), words[..length].join(" "));
        }
    }
    for record in training {
        let words: Vec<&str> = record.response.split_whitespace().collect();
        let words = plain(&words);
        for length in 4..=6 {
            for window in words.windows(length) {
                openings.remove(window);
            }
        }
    }
    let unique: BTreeSet<(u64, String)> = openings.into_values().map(|text| (hash(&text), text)).collect();
    unique.into_iter().map(|(_, text)| text).collect()
}

/// A capital first, then words, with at most a comma after each.
fn reads_well(words: &[&str]) -> bool {
    let is_word = |word: &&str| {
        let word = word.strip_suffix(',').unwrap_or(word);
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphabetic() || c == '\'' || c == '-')
    };
    words.iter().all(is_word)
        && words[0].starts_with(|c: char| c.is_ascii_uppercase())
        && words.last().is_some_and(|word| word.ends_with(|c: char| c.is_ascii_alphabetic()))
}

/// The words without case and punctuation.
fn plain(words: &[&str]) -> Vec<String> {
    let plain = |word: &&str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    words.iter().map(plain).collect()
}

#[derive(Serialize)]
struct Manifest {
    format: &'static str,
    origin: &'static str,
    licence: &'static str,
    command: String,
    text: Text,
    held_out_tokens: usize,
    teacher: Trained,
    student: Trained,
    files: BTreeMap<&'static str, Entry>,
}

#[derive(Serialize)]
struct Entry {
    what: &'static str,
    bytes: usize,
    sha256: String,
}

fn manifest(
    plan: &Plan,
    text: Text,
    held_out_tokens: usize,
    [teacher, student]: [Trained; 2],
) -> Result<Vec<u8>> {
    let contents = [
        ("prompts.txt", "openings of held-out answers, one a line; in no text that a base has read"),
        ("student.safetensors", "the student's starting point, trained on half b of the text"),
        ("teacher.safetensors", "the teacher, trained on half a of the text"),
        ("tokenizer.json", "byte-level BPE, trained on the training texts of both halves"),
    ];
    let mut files = BTreeMap::new();
    for (name, what) in contents {
        let bytes = fs::read(plan.out.join(name))?;
        files.insert(name, Entry { what, bytes: bytes.len(), sha256: sha256(&bytes) });
    }
    let manifest = Manifest {
        format: "taggant-corpora/1",
        origin: "trained by this project on text that SmolLM2-135M-Instruct (Apache-2.0) wrote; see lab/",
        licence: "Apache-2.0",
        command: format!(
            "taggant-lab bases --teacher-passes {} --student-passes {} --seed {}",
            plan.teacher_passes, plan.student_passes, plan.seed
        ),
        text,
        held_out_tokens,
        teacher,
        student,
        files,
    };
    let mut json = serde_json::to_vec_pretty(&manifest)?;
    json.push(b'\n');
    Ok(json)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
