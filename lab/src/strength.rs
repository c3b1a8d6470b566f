//! How strong each statistic is on real distilled students, all on the same tokens and windows.
//!
//! A student learns from N tokens of which a share is marked: at 100 % under one key, below that under four unrelated
//! keys, each on a share of its own, so one training gives four nearly independent values of z. A share of 0 is the
//! control; its four keys marked nothing. Each line of the output is one statistic of one key at one size.

use crate::corpus::Result;
use crate::students::{self, Lab, Start, rows, stream};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use taggant::embed::Embedder;
use taggant::scheme::{Scheme, Spec};
use taggant::score::{
    self, Evidence, Exchange, Expectation, Expecting, Exposure, Over, Prediction, Row, Text, TextStatistic,
    Weight,
};
use taggant::stat::math::normal_z;
use taggant::stat::verdict::verdict_tail;
use taggant::token::{TokenId, Width};
use taggant_model::small::SmallModel;

/// Tokens of text at which tests are made.
const SIZES: [usize; 9] = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 120_000, 240_000];
/// Contexts at which distributions are read: one an answer.
const CONTEXTS: [usize; 2] = [1_000, 4_000];

/// One training and everything measured on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    start: Start,
    thousands: usize,
    percent: usize,
    width: u8,
    seed: u64,
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
        let start = match self.start {
            Start::FineTuned => "ft",
            Start::Scratch => "sc",
        };
        format!("{start}-{}k-{}pc-w{}", self.thousands, self.percent, self.width)
    }

    fn purpose(&self, what: &str) -> String {
        format!("{} seed {}: {what}", self.name(), self.seed)
    }

    fn keys(&self) -> usize {
        if self.percent == 100 { 1 } else { 4 }
    }

    fn scheme(&self, key: usize) -> Result<Scheme> {
        let spec: Spec = format!("green/1/w{}/b2/t1", self.width).parse()?;
        students::scheme(spec, &self.purpose(&format!("key {key}")))
    }
}

/// Every run of the record, the cheap ones first.
pub(crate) fn runs(seeds: u64) -> Vec<Run> {
    let grid = [
        (Start::FineTuned, 100, &[0, 100, 20, 5][..], 1),
        (Start::Scratch, 100, &[0, 100, 20, 5], 1),
        (Start::FineTuned, 100, &[100], 2),
        (Start::FineTuned, 400, &[0, 20, 5], 1),
        (Start::FineTuned, 400, &[100], 2),
    ];
    let of_seed = |seed| {
        let run = move |(start, thousands, percents, width): &(Start, usize, &'static [usize], u8)| {
            let (start, thousands, width) = (*start, *thousands, *width);
            percents
                .iter()
                .map(move |&percent| Run { start, thousands, percent, width, seed })
                .collect::<Vec<_>>()
        };
        grid.iter().flat_map(run).collect::<Vec<_>>()
    };
    (1..=seeds).flat_map(of_seed).collect()
}

/// Does every run of `seeds` seeds that `out` does not hold yet, `threads` at a time.
pub(crate) fn run(out: &Path, models: &Path, seeds: u64, threads: usize) -> Result<()> {
    let done: HashSet<(String, u64)> = read(out)?.into_iter().map(|line| (line.run, line.seed)).collect();
    let lab = Lab::open()?;
    let mut waiting = runs(seeds);
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
    let student = match run.percent {
        0 => None,
        _ => Some(lab.distil(run.start, &answers, &run.purpose("student"))?),
    };
    let suspect = student.as_ref().unwrap_or(&control);
    let tokens = if run.percent <= 5 { 240_000 } else { 120_000 };
    let text = write(lab, suspect, None, tokens, &run.purpose("fresh text"))?;
    // A control is no reference of its own.
    let own_control = student.is_some().then_some(&control);
    let bench = Bench { run, exposures, references: References { lab, own_control }, lines: Vec::new() };
    let mut bench = bench.text(&text)?;
    bench.distributions(suspect, &text)?;
    Ok(bench.lines)
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
        let plain = lab.answers(&lab.teacher, &prompts, None, &run.purpose(&format!("unmarked {key}")))?;
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
fn write(
    lab: &Lab,
    model: &SmallModel,
    embedder: Option<&Embedder>,
    tokens: usize,
    purpose: &str,
) -> Result<Vec<Exchange>> {
    let mut answers: Vec<Exchange> = Vec::new();
    let (mut total, mut round) = (0, 0);
    while total < tokens {
        let purpose = format!("{purpose}, round {round}");
        let prompts = lab.prompts((tokens - total).div_ceil(students::ANSWER), &purpose)?;
        let more = lab.answers(model, &prompts, embedder, &purpose)?;
        total += more.iter().map(|answer| answer.response.len()).sum::<usize>();
        answers.extend(more);
        round += 1;
    }
    Ok(answers)
}

/// A student of unmarked answers of the same number and start: the control, and a reference of one's own.
fn control(lab: &Lab, run: &Run, models: &Path) -> Result<SmallModel> {
    let name = Run { percent: 0, width: 1, ..*run };
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

/// b: the mean of the clean teacher and the declared base, or a control of one's own.
struct References<'a> {
    lab: &'a Lab,
    own_control: Option<&'a SmallModel>,
}

impl References<'_> {
    fn rows(&self, exchange: &Exchange) -> Result<Vec<(&'static str, Vec<f32>)>> {
        let (teacher, base) = (rows(&self.lab.teacher, exchange)?, rows(&self.lab.base, exchange)?);
        let mean = teacher.iter().zip(&base).map(|(t, b)| (t + b) / 2.0).collect();
        let mut all = vec![("T", teacher), ("TB", mean)];
        if let Some(control) = self.own_control {
            all.push(("C", rows(control, exchange)?));
        }
        Ok(all)
    }
}

struct Bench<'a> {
    run: &'a Run,
    exposures: Vec<Exposure>,
    references: References<'a>,
    lines: Vec<Line>,
}

impl Bench<'_> {
    /// Every text statistic at every size.
    fn text(mut self, text: &[Exchange]) -> Result<Self> {
        let width = Width::new(self.run.width)?;
        let sizes = SIZES.iter().filter_map(|&size| Some((size, prefix(text, size)?)));
        let sizes: Vec<(usize, usize)> = sizes.collect();
        for (size, answers) in &sizes {
            let texts = &text[..*answers];
            for (name, statistic) in
                [("distinct", TextStatistic::Distinct), ("root-count", TextStatistic::RootCount)]
            {
                self.open_all("text", name, *size, &score::count(width, texts, statistic)?)?;
            }
        }
        let vocabulary = self.references.lab.teacher.config().vocab;
        let over = Over::default_for(width, vocabulary);
        let count = |(_, answers): &(usize, usize)| Text::count(width, (0..).zip(&text[..*answers]));
        let texts: Vec<Text> = sizes.iter().map(count).collect::<std::result::Result<_, _>>()?;
        let mut told: BTreeMap<&str, Vec<Expecting<'_>>> = BTreeMap::new();
        for (number, exchange) in text.iter().enumerate() {
            for (name, rows) in self.references.rows(exchange)? {
                let new = || texts.iter().map(|text| Expecting::new(text, over)).collect();
                for (expecting, (_, answers)) in told.entry(name).or_insert_with(new).iter_mut().zip(&sizes) {
                    if number < *answers {
                        expecting.expect(number, vocabulary, &rows)?;
                    }
                }
            }
        }
        for (name, expectings) in told {
            for ((expecting, text), (size, _)) in expectings.iter().zip(&texts).zip(&sizes) {
                self.residuals(*size, name, text, &expecting.finish()?)?;
            }
        }
        Ok(self)
    }

    fn residuals(
        &mut self,
        size: usize,
        reference: &str,
        text: &Text,
        expectation: &Expectation,
    ) -> Result<()> {
        for shrink in [0.0, 0.03] {
            let name = format!("residual/{shrink} {reference}");
            self.open_all("text", &name, size, &text.residual(expectation, shrink, None)?)?;
            for key in 0..self.run.keys() {
                let evidence = text.residual(expectation, shrink, Some(&self.exposures[key]))?;
                self.open("text", &format!("{name} log e"), size, key, &evidence)?;
            }
        }
        Ok(())
    }

    /// Every statistic on distributions at one random context of each of the first answers.
    fn distributions(&mut self, suspect: &SmallModel, text: &[Exchange]) -> Result<()> {
        let width = Width::new(self.run.width)?;
        let texts: Vec<&Exchange> = text.iter().filter(|answer| !answer.response.is_empty()).collect();
        let mut found: Vec<Context<'_>> = Vec::new();
        for exchange in texts.into_iter().take(*CONTEXTS.iter().max().unwrap_or(&0)) {
            let at = stream(&format!("{} {}", self.run.purpose("context"), found.len())) as usize
                % exchange.response.len();
            let cut = Exchange { response: exchange.response[..=at].to_vec(), ..exchange.clone() };
            let last = |rows: Vec<f32>| rows[rows.len() - suspect.config().vocab..].to_vec();
            let references = self.references.rows(&cut)?;
            let b = references.into_iter().map(|(name, rows)| (name, last(rows))).collect();
            let q = last(rows(suspect, &cut)?);
            let (top, answer) = (likeliest(&q, 20), &exchange.response[..at]);
            found.push(Context { prompt: &exchange.prompt, answer, q, top, b });
        }
        for size in CONTEXTS.into_iter().filter(|size| *size <= found.len()) {
            let contexts = &found[..size];
            let whole: Vec<Prediction<'_>> = predictions(contexts, |context| Row::Whole(&context.q));
            self.open_all("rows", "argmax", size, &score::argmax(width, &whole)?)?;
            self.open_all("rows", "green mass", size, &score::mass(width, &whole)?)?;
            self.hoeffding(size, contexts)?;
            let top: Vec<Prediction<'_>> = predictions(contexts, |context| Row::Top(&context.top));
            let five: Vec<Prediction<'_>> = predictions(contexts, |context| Row::Top(&context.top[..5]));
            for reference in 0..contexts[0].b.len() {
                let name = contexts[0].b[reference].0;
                let b: Vec<&[f32]> = contexts.iter().map(|context| &context.b[reference].1[..]).collect();
                for (kind, rows) in [("whole", &whole), ("top-20", &top), ("top-5", &five)] {
                    let name = format!("pears {kind} {name}");
                    let plain = score::residual(width, rows, &b, Weight::HalfNorm)?;
                    self.open_all("rows", &format!("{name} half-norm"), size, &plain)?;
                    for key in 0..self.run.keys() {
                        let weight = Weight::Exposed(&self.exposures[key]);
                        let evidence = score::residual(width, rows, &b, weight)?;
                        self.open("rows", &format!("{name} exposed"), size, key, &evidence)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// ADFP (Xu et al. 2026): the mean green mass over distinct windows, by Hoeffding's bound. z is its equivalent.
    fn hoeffding(&mut self, size: usize, contexts: &[Context<'_>]) -> Result<()> {
        let width = usize::from(self.run.width);
        for key in 0..self.run.keys() {
            let scheme = self.run.scheme(key)?;
            let arm = &scheme.arms()[0];
            let mut windows: BTreeMap<Vec<TokenId>, (f64, f64)> = BTreeMap::new();
            for context in contexts {
                let tokens = [context.prompt, context.answer].concat();
                let window = &tokens[tokens.len() - width..];
                let mut green = vec![0; context.q.len()];
                arm.words(&arm.seed(window), &mut green);
                let mass: f64 = context.q.iter().zip(green).map(|(q, g)| f64::from(*q) * f64::from(g)).sum();
                let entry = windows.entry(window.to_vec()).or_default();
                *entry = (entry.0 + mass, entry.1 + 1.0);
            }
            let n = windows.len() as f64;
            let excess = windows.values().map(|(mass, count)| mass / count - 0.25).sum::<f64>() / n;
            let ln_p = if excess > 0.0 { -2.0 * n * excess * excess } else { 0.0 };
            let z = normal_z(ln_p.min(-1e-9));
            self.line("rows", "green mass, Hoeffding", size, key, n as u64, n, (ln_p, z));
        }
        Ok(())
    }

    fn open_all(&mut self, access: &str, name: &str, size: usize, evidence: &Evidence) -> Result<()> {
        (0..self.run.keys()).try_for_each(|key| self.open(access, name, size, key, evidence))
    }

    fn open(&mut self, access: &str, name: &str, size: usize, key: usize, evidence: &Evidence) -> Result<()> {
        let (square, fourth) = evidence.coefficients().entries().iter().fold((0.0, 0.0), |(s, f), entry| {
            let a = f64::from(entry.coefficient);
            (s + a * a, f + a * a * a * a)
        });
        let draws = evidence.open(&self.run.scheme(key)?)?;
        let number = draws.as_slice().len() as u64;
        let tail = verdict_tail(draws)?;
        self.line(access, name, size, key, number, square * square / fourth, tail);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a line")]
    fn line(
        &mut self,
        access: &str,
        name: &str,
        size: usize,
        key: usize,
        draws: u64,
        n_eff: f64,
        tail: (f64, f64),
    ) {
        let (ln_p, z) = tail;
        let (access, statistic) = (access.to_owned(), name.to_owned());
        let run = self.run.name();
        self.lines.push(Line {
            run,
            seed: self.run.seed,
            key,
            access,
            statistic,
            size,
            draws,
            n_eff,
            z,
            ln_p,
        });
    }
}

/// A place in the suspect's own answers, its distribution there and the references'.
struct Context<'a> {
    prompt: &'a [TokenId],
    answer: &'a [TokenId],
    q: Vec<f32>,
    top: Vec<(TokenId, f32)>,
    b: Vec<(&'static str, Vec<f32>)>,
}

fn predictions<'a>(
    contexts: &'a [Context<'a>],
    q: impl Fn(&'a Context<'a>) -> Row<'a>,
) -> Vec<Prediction<'a>> {
    let prediction = |(context, cluster): (&'a Context<'a>, u32)| Prediction {
        prompt: context.prompt,
        context: context.answer,
        provenance: score::Provenance::Fresh,
        q: q(context),
        cluster,
    };
    contexts.iter().zip(0..).map(prediction).collect()
}

/// The `k` likeliest tokens, likeliest first.
fn likeliest(q: &[f32], k: usize) -> Vec<(TokenId, f32)> {
    let mut all: Vec<(TokenId, f32)> = (0..).zip(q.iter().copied()).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

/// The number of answers that hold `size` tokens; none where the text is shorter.
fn prefix(text: &[Exchange], size: usize) -> Option<usize> {
    let mut total = 0;
    let last = text.iter().position(|answer| {
        total += answer.response.len();
        total >= size
    });
    last.map(|last| last + 1)
}
