//! Experiments behind Taggant's embedded models and recorded results.

mod bases;
mod canaries;
mod corpus;
mod curve;
mod paraphrase;
mod strength;
mod students;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// glibc's allocator returns large tensors to the system at every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "\
usage: taggant-lab corpus --model FILE.gguf --out FOLDER --tokens N --seed S [--threads T] [--batch B]
       taggant-lab bases [--text FOLDER] [--out FOLDER] [--teacher-passes N] [--student-passes N] [--seed S]
       taggant-lab strength --out FILE.jsonl --models FOLDER [--seeds N] [--threads T] [--run NAME]
       taggant-lab evasions --out FILE.jsonl --models FOLDER [--seeds N] [--threads T] [--run NAME]
       taggant-lab canaries [--seeds N] [--models FOLDER] [--only NAME]
       taggant-lab table FILE.jsonl
       taggant-lab curve FILE.jsonl

The folder of models keeps controls between runs; smollm2.gguf in it (as `taggant model fetch smollm2` leaves it) rewrites.

Set RAYON_NUM_THREADS=1 so that each worker keeps to one core.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("bases") => bases(&arguments[1..]),
        Some("canaries") => canaries(&arguments[1..]),
        Some("corpus") => corpus(&arguments[1..]),
        Some("curve") => match &arguments[1..] {
            [file] => curve::print(Path::new(file)),
            _ => Err(USAGE.into()),
        },
        Some("evasions") => strength(&arguments[1..], strength::evasions),
        Some("strength") => strength(&arguments[1..], strength::runs),
        Some("table") => match &arguments[1..] {
            [file] => table::print(Path::new(file)),
            _ => Err(USAGE.into()),
        },
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn bases(arguments: &[String]) -> corpus::Result<()> {
    let number = |name: &str, default: usize| match option(arguments, name) {
        Some(text) => text.parse().map_err(|_| format!("{name} {text}: not a whole number")),
        None => Ok(default),
    };
    let path = |name: &str, default: &str| PathBuf::from(option(arguments, name).unwrap_or(default));
    bases::run(&bases::Plan {
        text: path("--text", "lab/text"),
        out: path("--out", "corpora"),
        teacher_passes: number("--teacher-passes", 6)?,
        student_passes: number("--student-passes", 4)?,
        seed: number("--seed", 1)? as u64,
    })
}

fn corpus(arguments: &[String]) -> corpus::Result<()> {
    let number = |name: &str, default: Option<usize>| match (option(arguments, name), default) {
        (Some(text), _) => text.parse().map_err(|_| format!("{name} {text}: not a whole number")),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(format!("{name} is missing\n\n{USAGE}")),
    };
    let path = |name: &str| {
        option(arguments, name).map(PathBuf::from).ok_or(format!("{name} is missing\n\n{USAGE}"))
    };
    corpus::run(&corpus::Plan {
        model: path("--model")?,
        out: path("--out")?,
        tokens: number("--tokens", None)?,
        seed: number("--seed", None)? as u64,
        threads: number("--threads", Some(1))?.max(1),
        batch: number("--batch", Some(96))?.max(1),
    })
}

fn strength(arguments: &[String], runs: fn(u64) -> Vec<strength::Run>) -> corpus::Result<()> {
    let number = |name: &str, default: u64| match option(arguments, name) {
        Some(text) => text.parse().map_err(|_| format!("{name} {text}: not a whole number")),
        None => Ok(default),
    };
    let path = |name: &str| {
        option(arguments, name).map(PathBuf::from).ok_or(format!("{name} is missing\n\n{USAGE}"))
    };
    let (seeds, threads) = (number("--seeds", 3)?, number("--threads", 2)? as usize);
    let mut runs = runs(seeds);
    if let Some(name) = option(arguments, "--run") {
        runs.retain(|run| run.name() == name);
    }
    strength::run(&path("--out")?, &path("--models")?, runs, threads)
}

fn canaries(arguments: &[String]) -> corpus::Result<()> {
    let seeds = option(arguments, "--seeds").unwrap_or("3");
    let seeds = seeds.parse().map_err(|_| format!("--seeds {seeds}: not a whole number"))?;
    let models = option(arguments, "--models").map(Path::new);
    match (option(arguments, "--rewritten"), models) {
        (Some(number), Some(models)) => {
            let number = number.parse().map_err(|_| format!("--rewritten {number}: not a whole number"))?;
            canaries::rewritten(models, number)
        }
        _ => canaries::run(models, seeds, option(arguments, "--only")),
    }
}

/// The argument after `name`.
fn option<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.get(at + 1).map(String::as_str)
}
