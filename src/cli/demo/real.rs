//! The demo with a real teacher: a GGUF model serves marked answers to requests; two small models learn from scratch.
//!
//! Few tokens are served, so the registered test is the strong one: the student reads the marked answers and predicts
//! (adaptive evidence, e-process verdict). Fresh text is tested beside it and printed whatever it shows.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use taggant_model::ModelError;
use taggant_model::generate::Options;
use taggant_model::gguf::Gguf;
use taggant_model::llama::Llama;
use taggant_model::small::{Config, SmallModel};
use taggant_model::tokenizer::Tokenizer;
use taggant_model::train::{self, distil};

use super::super::Failure;
use super::super::output::Stages;
use super::harvest::{harvest, side_by_side};
use super::plan::{Design, plan};
use super::suspect::{Suspect, Vocabulary};
use super::{Probed, Setting, seal};
use crate::case::material::{Answer, Material};
use crate::case::plan::{Access, Planned, Role, Statistic, documents_sha256};
use crate::source::model::SMOLLM2;
use crate::token::TokenId;

const TEMPLATES: [&str; 8] = [
    "Write a short story about",
    "Explain in simple words",
    "Describe",
    "Give three pieces of advice about",
    "Write a letter to a friend about",
    "Tell a child something interesting about",
    "Write a short conversation about",
    "What should everybody know about",
];
const TOPICS: [&str; 24] = [
    "the sea",
    "a lost dog",
    "baking bread",
    "the moon",
    "an old house",
    "learning to swim",
    "the weather",
    "trains",
    "a birthday",
    "gardens",
    "bees",
    "a long walk",
    "music",
    "the library",
    "winter",
    "cooking for friends",
    "a bridge",
    "honest work",
    "mountains",
    "the market",
    "sleep",
    "a rainy day",
    "bicycles",
    "the stars",
];
/// Longest answer.
const ANSWER: usize = 63;
/// Passes over the harvested answers.
const PASSES: usize = 16;
/// Fresh prompts for the text test.
const PROBES: usize = 300;

pub(super) fn run(
    model: &str,
    seed: u64,
    tokens: usize,
    out: &Path,
    stages: &mut Stages,
) -> Result<Probed, Failure> {
    let path = model_path(model)?;
    stages.start("load the teacher", 0);
    let mut gguf = Gguf::open(&path)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let teacher = Llama::from_gguf(&mut gguf)?;
    let end = tokenizer
        .id("<|im_end|>")
        .ok_or("the model has no <|im_end|> token: only ChatML models can be the teacher")?;
    let setting = Setting::new(seed, tokenizer.digest(), out)?;

    let requests =
        TOPICS.iter().flat_map(|topic| TEMPLATES.iter().map(move |template| format!("{template} {topic}.")));
    let prompts: Vec<Vec<TokenId>> =
        requests.map(|request| tokenizer.chat(&request)).collect::<Result<_, ModelError>>()?;
    let serving = Options { max_tokens: ANSWER, stop: vec![end], batch: 64 };
    let (marked, plain) = harvest(&setting, &teacher, &prompts, &serving, tokens, stages)?;
    let cast = train_all(&setting, &marked, &plain, end, stages)?;
    let pool = pool(&plain, end);
    let sealed = seal(plan(&setting, design(&cast, &marked, tokens), &pool), out, stages)?;
    let material = probe(&setting, &cast, &marked, &pool, end, stages)?;
    let teacher = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Probed { setting, plan: sealed, material, tokenizer, teacher })
}

fn model_path(model: &str) -> Result<PathBuf, Failure> {
    if model != SMOLLM2.name {
        return Ok(model.into());
    }
    let path = SMOLLM2.path();
    if path.exists() {
        Ok(path)
    } else {
        Err(Failure("smollm2 is not here yet: run `taggant model fetch smollm2` first".to_owned()))
    }
}

/// A student of the marked answers, and two controls of the unmarked ones; each knows the tokens it was trained on.
fn train_all(
    setting: &Setting,
    marked: &[Answer],
    plain: &[Answer],
    end: TokenId,
    stages: &mut Stages,
) -> Result<Vec<Suspect>, Failure> {
    stages.start("two students and an innocent learn from scratch", 3_000);
    let done = AtomicU64::new(0);
    let learn = |name: &'static str, role: Role, answers: &[Answer]| {
        let texts: Vec<Vec<TokenId>> = answers.iter().map(|answer| answer.response.clone()).collect();
        let vocabulary = Vocabulary::seen(&texts, end);
        let config =
            Config { vocab: vocabulary.columns().unwrap_or(0), width: 96, layers: 1, heads: 4, context: 64 };
        let seed = setting.stream(name);
        let texts: Vec<Vec<u32>> = texts.iter().map(|text| vocabulary.encode(text)).collect();
        let separator = vocabulary.encode(&[end])[0];
        let options = train::Options { seed, ..train::Options::default() };
        let mut last = 0;
        let model = distil(
            &SmallModel::random(config, seed)?,
            &texts,
            separator,
            PASSES,
            &options,
            &mut |progress| {
                let now = 1_000 * progress.step as u64 / progress.steps.max(1) as u64;
                done.fetch_add(now - last, Ordering::Relaxed);
                last = now;
            },
        )?;
        Ok::<_, ModelError>(Suspect { name, role, model, vocabulary })
    };
    let (first, second) = plain.split_at(plain.len() / 2);
    let ((student, innocent), control) = side_by_side(
        || Ok((learn("student", Role::Student, marked)?, learn("second control", Role::Innocent, second)?)),
        || learn("control", Role::Control, &[first, second].concat()),
        || stages.at(done.load(Ordering::Relaxed)),
    )?;
    Ok(vec![student, control, innocent])
}

/// Fresh prompts: how unmarked answers begin.
fn pool(plain: &[Answer], end: TokenId) -> Vec<Vec<TokenId>> {
    let long = plain.iter().filter(|answer| answer.response.len() >= 4);
    long.map(|answer| [&[end][..], &answer.response[..4]].concat()).take(PROBES).collect()
}

/// Every suspect answers the pool and reads the marked answers.
fn probe(
    setting: &Setting,
    cast: &[Suspect],
    marked: &[Answer],
    pool: &[Vec<TokenId>],
    end: TokenId,
    stages: &mut Stages,
) -> Result<Vec<Material>, Failure> {
    let units = cast.len() * (pool.len() + marked.len());
    stages.start("fresh prompts to every suspect; every suspect reads the marked answers", units as u64);
    let done = AtomicU64::new(0);
    let count = || {
        done.fetch_add(1, Ordering::Relaxed);
    };
    let probe = |suspects: &[Suspect]| {
        let mut material = Vec::new();
        for suspect in suspects {
            let seed = setting.stream(&format!("answers of {}", suspect.name));
            material.push(suspect.text(suspect.answer(pool, end, ANSWER - 4, seed, &mut |_| count())?));
            material.push(suspect.reading(marked, end, setting.spec, &mut || count())?);
        }
        Ok::<_, ModelError>(material)
    };
    let (first, second) = cast.split_at(cast.len().div_ceil(2));
    let (mut material, rest) =
        side_by_side(|| probe(first), || probe(second), || stages.at(done.load(Ordering::Relaxed)))?;
    material.extend(rest);
    Ok(material)
}

fn design(cast: &[Suspect], marked: &[Answer], tokens: usize) -> Design {
    Design {
        suspects: cast.iter().map(|suspect| (suspect.name, suspect.role)).collect(),
        accesses: vec![
            (Access::Reading, Statistic::ReadingMass, Vec::new()),
            (Access::Text, Statistic::RootCount, Vec::new()),
        ],
        sources: Vec::new(),
        reference: Planned::absent("the registered statistic needs no reference"),
        answer_tokens: u32::try_from(ANSWER - 4).unwrap_or(u32::MAX),
        contexts: Planned::absent("no distributions are read at answers of the suspects' own"),
        rows: Planned::absent("no distributions are read at answers of the suspects' own"),
        documents: Planned::Set { value: documents_sha256(marked) },
        effect: format!("all of {tokens} training tokens marked with delta 2, {PASSES} passes, from scratch"),
    }
}
