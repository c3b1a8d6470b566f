//! Writes the text that the small embedded models learn from: answers of a real model to a grid of everyday prompts.
//!
//! The prompts are templates × topics (`lab/prompts.json`). Half of them, by a hash, teach the teacher (`a`), the rest
//! the student's starting point (`b`). Every answer is a function of the seed and its id, so a run that was cut off can
//! be resumed, and more workers give the same records.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use taggant_model::generate::{CausalModel, Options, Sampler, Sampling, generate};
use taggant_model::gguf::Gguf;
use taggant_model::llama::Llama;
use taggant_model::tokenizer::Tokenizer;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Said before every prompt. The 135 M-parameter model was tuned with a system line, and rambles without one.
pub(crate) const SYSTEM: &str = "<|im_start|>system\nYou write simple, clear English.<|im_end|>\n";
/// How each answer is drawn.
const SAMPLING: Sampling = Sampling { temperature: 0.8, top_k: 0, top_p: 0.95 };
/// The most tokens of one answer.
const MAX_TOKENS: usize = 200;
/// Answers per prompt, if that many are needed.
const ROUNDS: usize = 4;

/// What to write.
pub(crate) struct Plan {
    pub(crate) model: PathBuf,
    /// Folder of the shards.
    pub(crate) out: PathBuf,
    /// Tokens of answers wanted, both halves together.
    pub(crate) tokens: usize,
    pub(crate) seed: u64,
    /// Workers, one core each.
    pub(crate) threads: usize,
    /// Rows in the model at once, per worker.
    pub(crate) batch: usize,
}

/// One line of a shard.
#[derive(Deserialize, Serialize)]
struct Record {
    id: String,
    half: char,
    prompt: String,
    response: String,
}

#[derive(Deserialize)]
struct Group {
    name: String,
    templates: Vec<String>,
    topics: Vec<String>,
}

/// A prompt of the grid, and which of its answers this is.
struct Item {
    id: String,
    half: char,
    prompt: String,
}

/// Fills the folder until it holds `plan.tokens` tokens.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    let mut gguf = Gguf::open(&plan.model)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let model = Llama::from_gguf(&mut gguf)?;
    fs::create_dir_all(&plan.out)?;
    let done = read_done(&plan.out, &tokenizer)?;
    let items = items()?;
    eprintln!("{} answers to choose from, {} on disk", items.len(), done.len());
    let worker = |index: usize| {
        let queue = items.iter().skip(index).step_by(plan.threads).collect::<Vec<_>>();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
        pool.install(|| Worker { plan, index, model: &model, tokenizer: &tokenizer }.run(&queue, &done))
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..plan.threads).map(|index| scope.spawn(move || worker(index))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })
}

struct Worker<'a> {
    plan: &'a Plan,
    index: usize,
    model: &'a dyn CausalModel,
    tokenizer: &'a Tokenizer,
}

impl Worker<'_> {
    fn run(&self, queue: &[&Item], done: &HashMap<String, usize>) -> Result<()> {
        let target = self.plan.tokens / self.plan.threads;
        let mut tokens: usize = queue.iter().filter_map(|item| done.get(&item.id)).sum();
        let mut waiting = queue.iter().filter(|item| !done.contains_key(&item.id)).copied();
        let mut shard = File::create_new(self.shard_path()?)?;
        while tokens < target {
            // A run is long, so that slots stay full; the last ones are short, so that little is written in excess.
            let answers = ((target - tokens) / MAX_TOKENS).max(self.plan.batch);
            let items: Vec<&Item> = waiting.by_ref().take(answers).collect();
            if items.is_empty() {
                return Err("the grid has no prompts left".into());
            }
            tokens += self.answer(&items, &mut shard)?;
        }
        Ok(())
    }

    /// Answers `items` into `shard`, and returns how many tokens that gave.
    fn answer(&self, items: &[&Item], shard: &mut File) -> Result<usize> {
        let system = self.tokenizer.encode_markup(SYSTEM)?;
        let chat = |item: &&Item| Ok([system.clone(), self.tokenizer.chat(&item.prompt)?].concat());
        let prompts = items.iter().map(chat).collect::<Result<Vec<_>>>()?;
        let end = self.tokenizer.id("<|im_end|>").ok_or("the vocabulary has no <|im_end|>")?;
        let options = Options { max_tokens: MAX_TOKENS, stop: vec![end], batch: self.plan.batch };
        let streams: Vec<u64> = items.iter().map(|item| hash(&item.id)).collect();
        let mut sampler = Sampler::new(SAMPLING, self.plan.seed)?;
        let mut progress = Progress::start(self.index);
        let mut pick = |row: usize, context: &[u32], logits: &mut [f32]| {
            progress.token();
            sampler.pick(streams[row], context.len(), logits)
        };
        let (mut tokens, mut failure) = (0, Ok(()));
        let mut finished = |row: usize, answer: &[u32]| {
            tokens += answer.len();
            let written = self.write(shard, items[row], answer);
            failure = std::mem::replace(&mut failure, Ok(())).and(written);
        };
        generate(self.model, &prompts, &options, &mut pick, &mut finished)?;
        failure.map(|()| tokens)
    }

    fn write(&self, shard: &mut File, item: &Item, answer: &[u32]) -> Result<()> {
        let Item { id, half, prompt } = item;
        let response = self.tokenizer.decode(answer)?;
        let record = Record { id: id.clone(), half: *half, prompt: prompt.clone(), response };
        let mut line = serde_json::to_vec(&record)?;
        line.push(b'\n');
        Ok(shard.write_all(&line)?)
    }

    /// A file of its own for each run: a line cut off by a kill stays the last of its shard.
    fn shard_path(&self) -> Result<PathBuf> {
        let path = |n: u32| self.plan.out.join(format!("shard-{}-{n}.jsonl", self.index));
        (0..).map(path).find(|path| !path.exists()).ok_or_else(|| "too many shards".into())
    }
}

/// Says now and then how fast a worker is.
struct Progress {
    worker: usize,
    start: Instant,
    told: Instant,
    tokens: u64,
}

impl Progress {
    fn start(worker: usize) -> Self {
        Self { worker, start: Instant::now(), told: Instant::now(), tokens: 0 }
    }

    fn token(&mut self) {
        self.tokens += 1;
        if self.told.elapsed() > Duration::from_secs(10) {
            self.told = Instant::now();
            let rate = self.tokens as f64 / self.start.elapsed().as_secs_f64();
            eprintln!("worker {}: {} tokens in this run, {rate:.0} tokens/s", self.worker, self.tokens);
        }
    }
}

/// Every answer that may be asked for, prompts in hashed order, first answers first.
fn items() -> Result<Vec<Item>> {
    let groups: Vec<Group> = serde_json::from_str(include_str!("../prompts.json"))?;
    let mut prompts = Vec::new();
    for group in &groups {
        for (t, template) in group.templates.iter().enumerate() {
            for (s, topic) in group.topics.iter().enumerate() {
                prompts.push((format!("{}-{t}-{s}", group.name), template.replace("{}", topic)));
            }
        }
    }
    prompts.sort_by_key(|(name, _)| hash(name));
    let half = |place: usize| if place % 4 < 2 { 'a' } else { 'b' };
    let round = |round: usize| {
        let item = move |(place, (name, prompt)): (usize, &(String, String))| Item {
            id: format!("{name}-{round}"),
            half: half(place),
            prompt: prompt.clone(),
        };
        prompts.iter().enumerate().map(item)
    };
    Ok((0..ROUNDS).flat_map(round).collect())
}

/// Tokens of the answers that earlier runs left, by id. A line that was cut off counts as absent.
fn read_done(folder: &Path, tokenizer: &Tokenizer) -> Result<HashMap<String, usize>> {
    let mut done = HashMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        for line in BufReader::new(File::open(path)?).lines() {
            if let Ok(record) = serde_json::from_str::<Record>(&line?) {
                done.insert(record.id, tokenizer.encode(&record.response)?.len());
            }
        }
    }
    Ok(done)
}

/// A 64-bit hash that is the same everywhere: FNV-1a, then a mixing step so that like names scatter.
fn hash(text: &str) -> u64 {
    let fnv = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mix = |hash: u64| (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mix(mix(text.bytes().fold(0xcbf2_9ce4_8422_2325, fnv)))
}
