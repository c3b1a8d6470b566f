//! Scoring text that memory does not hold: `cargo bench --bench scale -- 1e6 1e7 1e8 [--memory MiB] [--scratch DIR]`.
//!
//! Synthetic text, tokens by Zipf's law, is made as it is scored and never held. Without a size nothing is run: the largest
//! curve, to 1e9, takes minutes and gigabytes.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and may stop where it stands"
)]

use std::path::PathBuf;
use std::time::Instant;
use std::{env, fs};

use taggant::key::Secret;
use taggant::scheme::Spec;
use taggant::score::{Bulk, Exchange, Provenance, TextStatistic};
use taggant::source::scratch::Folder;
use taggant::stat::verdict::Summary;

/// Tokens of an answer.
const ANSWER: u64 = 500;
/// Token ids.
const VOCABULARY: f64 = 131_072.0;

struct Asked {
    sizes: Vec<u64>,
    memory: usize,
    scratch: PathBuf,
    specs: Vec<String>,
}

fn asked() -> Asked {
    let mut asked = Asked {
        sizes: Vec::new(),
        memory: 512,
        scratch: PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
        specs: Vec::new(),
    };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {}
            "--memory" => asked.memory = arguments.next().unwrap().parse().unwrap(),
            "--scratch" => asked.scratch = arguments.next().unwrap().into(),
            "--spec" => asked.specs.push(arguments.next().unwrap()),
            size => asked.sizes.push(size.parse::<f64>().unwrap() as u64),
        }
    }
    if asked.specs.is_empty() {
        asked.specs = vec!["green/1/w1/b2/t1".to_owned(), "green/1/w2/b2/t1".to_owned()];
    }
    asked
}

fn main() {
    let asked = asked();
    println!(
        "(window, token) draws of Zipf text, de-duplicated and tested within {} MiB, one core",
        asked.memory
    );
    for spec in &asked.specs {
        for size in &asked.sizes {
            curve(spec, *size, &asked);
        }
    }
}

fn curve(spec: &str, tokens: u64, asked: &Asked) {
    // Linux counts the peak anew from here; elsewhere the peak is that of the run so far.
    let _ = fs::write("/proc/self/clear_refs", "5");
    let scheme =
        spec.parse::<Spec>().unwrap().open(&Secret::from_bytes([7; 32]).epoch_key(&"bench".parse().unwrap()));
    let folder = Folder::open(&asked.scratch.join(format!("bench-scale-{}", std::process::id()))).unwrap();
    let (clock, busy, mut text) = (Instant::now(), busy(), Zipf(1));
    let mut bulk = Bulk::new(scheme.spec().width(), TextStatistic::Distinct);
    let exchanges = u32::try_from(tokens / ANSWER).unwrap();
    for cluster in 0..exchanges {
        bulk.add(&text.exchange(), cluster).unwrap();
        if bulk.bytes() > (asked.memory << 20) / 3 {
            let unneeded = bulk.spill(&folder, &cluster.to_string()).unwrap();
            folder.save(bulk.progress(), &unneeded).unwrap();
        }
    }
    let sorted = bulk.sorted(&folder).unwrap();
    let counted = clock.elapsed().as_secs_f64();
    let summary = Summary::of_streamed(sorted.open(&scheme, &|_| ()).unwrap().unwrap(), exchanges).unwrap();
    let all = clock.elapsed().as_secs_f64();
    println!(
        "  {spec:<18} {tokens:>10} draws: {:5.0} ns each, {:4.0} of the processor ({:4.0} to count), {:>10} distinct, {:4.0} \
         ns each to test; peak {} MiB, scratch {} MB, z = {:.2}",
        1e9 * all / tokens as f64,
        (self::busy() - busy) as f64 / tokens as f64,
        1e9 * counted / tokens as f64,
        sorted.distinct,
        1e9 * (all - counted) / sorted.distinct as f64,
        peak() >> 10,
        folder.bytes() / 1_000_000,
        summary.z,
    );
    drop(sorted);
    folder.clear().unwrap();
}

/// Nanoseconds that the processor worked for this thread; 0 where the system does not say.
fn busy() -> u64 {
    let state = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    state.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0)
}

/// VmHWM, KiB; 0 where the system does not say.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Text whose k-th most frequent token has a share of about 1/k.
struct Zipf(u64);

impl Zipf {
    fn token(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = (self.0 >> 11) as f64 / (1_u64 << 53) as f64;
        VOCABULARY.powf(uniform) as u32
    }

    fn exchange(&mut self) -> Exchange {
        Exchange {
            prompt: vec![self.token(), self.token()],
            response: (0..ANSWER).map(|_| self.token()).collect(),
            whole_context: true,
            provenance: Provenance::Fresh,
        }
    }
}
