//! How strong each statistic is on real distilled students, all on the same tokens and windows.
//!
//! A student learns from N tokens of which a share is marked: at 100 % under one key, below that under four unrelated
//! keys, each on a share of its own, so one training gives four nearly independent values of z. A share of 0 is the
//! control; its four keys marked nothing. Each line of the output is one statistic of one key at one size.

mod bench;
mod fitted;

use crate::corpus::Result;
use crate::paraphrase::Rewriter;
use crate::students::{self, Lab, Start};
use bench::{Bench, References};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use taggant::embed::Embedder;
use taggant::scheme::{Scheme, Spec};
use taggant::score::{Exchange, Exposure};
use taggant::token::{TokenId, Width};
use taggant_model::generate::Sampling;
use taggant_model::small::SmallModel;

/// One training and everything measured on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    start: Start,
    thousands: usize,
    percent: usize,
    width: u8,
    seed: u64,
    evasion: Evasion,
}

/// What a suspect's owner does, knowingly or not, that weakens the mark.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Evasion {
    None,
    /// Answers at temperature 0.7.
    Cooler,
    /// Answers at temperature 1.3.
    Warmer,
    /// Answers from the likeliest tokens that hold 0.9.
    Truncated,
    /// Learns twice as many clean tokens of another source among the marked ones.
    Diluted,
    /// Learns as many clean tokens of another source afterwards.
    Relearned,
    /// Has a real model rewrite every answer before it learns from them.
    Paraphrased,
}

impl Evasion {
    const ALL: [Self; 6] =
        [Self::Cooler, Self::Warmer, Self::Truncated, Self::Diluted, Self::Relearned, Self::Paraphrased];

    fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Cooler => "-t0.7",
            Self::Warmer => "-t1.3",
            Self::Truncated => "-p0.9",
            Self::Diluted => "-diluted",
            Self::Relearned => "-relearned",
            Self::Paraphrased => "-paraphrased",
        }
    }

    fn sampling(self) -> Sampling {
        let plain = Sampling::default();
        match self {
            Self::Cooler => Sampling { temperature: 0.7, ..plain },
            Self::Warmer => Sampling { temperature: 1.3, ..plain },
            Self::Truncated => Sampling { top_p: 0.9, ..plain },
            Self::None | Self::Diluted | Self::Relearned | Self::Paraphrased => plain,
        }
    }
}

/// One statistic of one key at one size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) run: String,
    pub(crate) seed: u64,
    pub(crate) key: usize,
    pub(crate) access: String,
    pub(crate) statistic: String,
    /// Tokens of text, or contexts.
    pub(crate) size: usize,
    pub(crate) draws: u64,
    pub(crate) n_eff: f64,
    pub(crate) z: f64,
    /// The verdict tail.
    pub(crate) ln_p: f64,
}

impl Run {
    /// The setting without the seed.
    pub(crate) fn name(&self) -> String {
        self.learned() + self.evasion.suffix()
    }

    /// What was learned, whatever was done about it: evasions are compared on the same keys and answers.
    fn learned(&self) -> String {
        let start = match self.start {
            Start::FineTuned => "ft",
            Start::Scratch => "sc",
        };
        format!("{start}-{}k-{}pc-w{}", self.thousands, self.percent, self.width)
    }

    fn purpose(&self, what: &str) -> String {
        format!("{} seed {}: {what}", self.learned(), self.seed)
    }

    fn keys(&self) -> usize {
        if self.percent == 100 { 1 } else { 4 }
    }

    fn scheme(&self, key: usize) -> Result<Scheme> {
        let spec: Spec = format!("green/1/w{}/b2/t1", self.width).parse()?;
        students::scheme(spec, &self.purpose(&format!("key {key}")))
    }
}

/// Every run of the record, the cheap ones first, the seeds of one setting one after the other.
pub(crate) fn runs(seeds: u64) -> Vec<Run> {
    let grid = [
        (Start::FineTuned, 100, &[0, 100, 20, 5][..], 1),
        (Start::Scratch, 100, &[0, 100, 20, 5], 1),
        (Start::FineTuned, 100, &[100], 2),
        (Start::FineTuned, 400, &[0, 5, 20], 1),
        (Start::FineTuned, 400, &[100], 2),
    ];
    let of_percent = |start, thousands, percent, width| {
        let evasion = Evasion::None;
        (1..=seeds).map(move |seed| Run { start, thousands, percent, width, seed, evasion })
    };
    let of_line = |(start, thousands, percents, width): &(Start, usize, &'static [usize], u8)| {
        let (start, thousands, width) = (*start, *thousands, *width);
        percents
            .iter()
            .flat_map(move |&percent| of_percent(start, thousands, percent, width))
            .collect::<Vec<_>>()
    };
    grid.iter().flat_map(of_line).collect()
}

/// Every evasion, by students that were fine-tuned on 100k tokens of which 20 % or all were marked.
pub(crate) fn evasions(seeds: u64) -> Vec<Run> {
    let (start, thousands, width) = (Start::FineTuned, 100, 1);
    let mut runs: Vec<Run> = (1..=seeds)
        .flat_map(|seed| [20, 100].map(|percent| (seed, percent)))
        .flat_map(|(seed, percent)| {
            Evasion::ALL.map(|evasion| Run { start, thousands, percent, width, seed, evasion })
        })
        .collect();
    // A rewriting takes longer than all the others together.
    runs.sort_by_key(|run| run.evasion == Evasion::Paraphrased);
    runs
}

/// Does every run that `out` does not hold yet, `threads` at a time.
pub(crate) fn run(out: &Path, models: &Path, mut waiting: Vec<Run>, threads: usize) -> Result<()> {
    let done: HashSet<(String, u64)> = read(out)?.into_iter().map(|line| (line.run, line.seed)).collect();
    let lab = Lab::open()?;
    waiting.retain(|run| !done.contains(&(run.name(), run.seed)));
    let file = Mutex::new(fs::OpenOptions::new().append(true).create(true).open(out)?);
    let next = AtomicUsize::new(0);
    let worker = || -> Result<()> {
        while let Some(run) = waiting.get(next.fetch_add(1, Ordering::Relaxed)) {
            let clock = std::time::Instant::now();
            let lines = measure(&lab, run, models)?;
            append(&file, &lines)?;
            eprintln!("{} seed {}: {:.0} s", run.name(), run.seed, clock.elapsed().as_secs_f64());
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })
}

/// The lines of earlier runs.
pub(crate) fn read(path: &Path) -> Result<Vec<Line>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let lines = fs::read_to_string(path)?;
    lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn append(file: &Mutex<File>, lines: &[Line]) -> Result<()> {
    let mut text = String::new();
    for line in lines {
        text += &serde_json::to_string(line)?;
        text.push('\n');
    }
    Ok(file.lock().map_err(|_| "a worker panicked")?.write_all(text.as_bytes())?)
}

fn measure(lab: &Lab, run: &Run, models: &Path) -> Result<Vec<Line>> {
    let Harvest { answers, exposures } = harvest(lab, run)?;
    let control = control(lab, run, models)?;
    let student = if run.percent == 0 { None } else { Some(student(lab, run, answers, models)?) };
    let suspect = student.as_ref().unwrap_or(&control);
    let tokens = if run.percent <= 5 { 240_000 } else { 120_000 };
    let purpose = run.purpose("fresh text");
    let text = written(lab, suspect, None, tokens, run.evasion.sampling(), &purpose)?;
    // A control is no reference of its own.
    let own_control = student.is_some().then_some(&control);
    let references = References { lab, own_control };
    Bench::new(run, exposures, references, models).measure(suspect, &text)
}

fn student(lab: &Lab, run: &Run, mut answers: Vec<Exchange>, models: &Path) -> Result<SmallModel> {
    let tokens = run.thousands * 1_000;
    if run.evasion == Evasion::Paraphrased {
        let rewriter = Rewriter::open(&models.join("smollm2.gguf"))?;
        let kept = rewriter.rewrite(&mut answers, &run.purpose("paraphrase"))?;
        eprintln!("{} seed {}: {:.1} % of the pairs of tokens kept", run.name(), run.seed, 100.0 * kept);
    }
    if run.evasion == Evasion::Diluted {
        answers.extend(write(lab, &lab.base, None, 2 * tokens, &run.purpose("dilution"))?);
    }
    let student = lab.distil(run.start, &answers, &run.purpose("student"))?;
    if run.evasion != Evasion::Relearned {
        return Ok(student);
    }
    let clean = write(lab, &lab.base, None, tokens, &run.purpose("learned afterwards"))?;
    lab.tune(&student, &clean, &run.purpose("relearned"))
}

/// What a student learns, and for each key how often windows occur in unmarked answers to the prompts it marked.
struct Harvest {
    answers: Vec<Exchange>,
    exposures: Vec<Exposure>,
}

fn harvest(lab: &Lab, run: &Run) -> Result<Harvest> {
    let tokens = run.thousands * 1_000;
    // The control's keys weigh windows as if each had marked a fifth.
    let share = if run.percent == 0 { 20 } else { run.percent } * tokens / 100;
    let (mut answers, mut exposures) = (Vec::new(), Vec::new());
    for key in 0..run.keys() {
        let embedder = match run.percent {
            0 => None,
            _ => Some(Embedder::new(run.scheme(key)?, 2.0)?),
        };
        let part = write(lab, &lab.teacher, embedder.as_ref(), share, &run.purpose(&format!("part {key}")))?;
        let prompts: Vec<Vec<TokenId>> = part.iter().map(|answer| answer.prompt.clone()).collect();
        let plain = lab.answers(
            &lab.teacher,
            &prompts,
            None,
            Sampling::default(),
            &run.purpose(&format!("unmarked {key}")),
        )?;
        let mut exposure = Exposure::new(Width::new(run.width)?, []);
        plain.iter().for_each(|answer| exposure.add(answer));
        exposures.push(exposure);
        answers.extend(part);
    }
    let rest = tokens.saturating_sub(run.keys() * share);
    answers.extend(write(lab, &lab.teacher, None, rest, &run.purpose("unmarked rest"))?);
    Ok(Harvest { answers, exposures })
}

/// Answers of `model` with `tokens` tokens in all.
pub(crate) fn write(
    lab: &Lab,
    model: &SmallModel,
    embedder: Option<&Embedder>,
    tokens: usize,
    purpose: &str,
) -> Result<Vec<Exchange>> {
    written(lab, model, embedder, tokens, Sampling::default(), purpose)
}

fn written(
    lab: &Lab,
    model: &SmallModel,
    embedder: Option<&Embedder>,
    tokens: usize,
    sampling: Sampling,
    purpose: &str,
) -> Result<Vec<Exchange>> {
    let mut answers: Vec<Exchange> = Vec::new();
    let (mut total, mut round) = (0, 0);
    while total < tokens {
        let purpose = format!("{purpose}, round {round}");
        let prompts = lab.prompts((tokens - total).div_ceil(students::ANSWER), &purpose)?;
        let more = lab.answers(model, &prompts, embedder, sampling, &purpose)?;
        total += more.iter().map(|answer| answer.response.len()).sum::<usize>();
        answers.extend(more);
        round += 1;
    }
    Ok(answers)
}

/// A student of unmarked answers of the same number and start: the control, and a reference of one's own.
fn control(lab: &Lab, run: &Run, models: &Path) -> Result<SmallModel> {
    let name = Run { percent: 0, width: 1, evasion: Evasion::None, ..*run };
    let path = models.join(format!("{}-s{}.safetensors", name.name(), run.seed));
    if path.exists() {
        return Ok(SmallModel::load(&path)?);
    }
    let purpose = name.purpose("control");
    let answers = write(lab, &lab.teacher, None, run.thousands * 1_000, &purpose)?;
    let model = lab.distil(run.start, &answers, &purpose)?;
    fs::create_dir_all(models)?;
    // Two workers may train the same control: each writes the same file.
    model.save(&path)?;
    Ok(model)
}
