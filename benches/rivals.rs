//! Our side of `make rivals`: nanoseconds a call, as JSON lines. `benches/rivals.py` runs the other side around it.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and may stop where it stands"
)]

use std::hint::black_box;
use std::time::Instant;

use taggant::embed::{Embedder, Step};
use taggant::key::{EpochKey, Secret};
use taggant::scheme::Spec;
use taggant::score::{Exchange, Provenance, TextStatistic, count};
use taggant::stat::verdict::verdict_tail;
use taggant::token::TokenId;

const TOP_K: usize = 40;
/// Logits that are looked at together.
const CHUNK: usize = 64;

fn main() {
    let epoch = Secret::from_bytes([7; 32]).epoch_key(&"bench".parse().unwrap());
    for vocabulary in [50_257, 128_256] {
        green(&epoch, vocabulary);
        tournament(&epoch, vocabulary);
    }
    for spec in ["green/1/w1/b2/t1", "green/1/w2/b2/t1"] {
        score(&epoch, spec);
    }
}

/// Nanoseconds a call, the best of several rounds: noise only adds.
fn best(rounds: u32, calls: u32, mut work: impl FnMut()) -> f64 {
    let round = |_| {
        let clock = Instant::now();
        (0..calls).for_each(|_| work());
        clock.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
    };
    (0..rounds).map(round).fold(f64::INFINITY, f64::min)
}

fn print(name: &str, vocabulary: usize, nanoseconds: f64) {
    println!("{}", serde_json::json!({ "name": name, "vocabulary": vocabulary, "ns": nanoseconds }));
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(((self.0 >> 32) * u64::from(n)) >> 32).unwrap()
    }
}

/// The whole step on a row of logits: window, seed, list, boost.
fn green(epoch: &EpochKey, vocabulary: usize) {
    let embedder = Embedder::new("green/1/w1/b2/t1".parse::<Spec>().unwrap().open(epoch), 2.0).unwrap();
    let mut row = vec![0.5_f32; vocabulary];
    let mut token = 0;
    let time = best(20, 100, || {
        token += 1;
        black_box(embedder.answer().step(&[token], black_box(&mut row)));
    });
    print("embed green", vocabulary, time);
}

/// The step with the engine's part: the 40 best of a row of logits, their softmax, then thirty layers over them. What
/// comes out are the 40 with their new probabilities, as the rival's.
fn tournament(epoch: &EpochKey, vocabulary: usize) {
    let embedder = Embedder::new("tournament/1/w4/d30".parse::<Spec>().unwrap().open(epoch), 0.0).unwrap();
    let mut random = Random(3);
    let mut logits: Vec<f32> =
        (0..vocabulary).map(|_| f32::from(u16::try_from(random.below(1_000)).unwrap()) / 100.0).collect();
    let mut token = 0;
    let time = best(10, 50, || {
        token += 1;
        let context = [1, 2, 3, token];
        let mut answer = embedder.answer();
        assert_eq!(answer.step(&context, &mut logits), Step::Reweigh);
        let kept = largest(&logits);
        let total: f32 = kept.iter().map(|at| logits[*at].exp()).sum();
        let survivor = |at: &usize| (u32::try_from(*at).unwrap(), logits[*at].exp() / total);
        let mut survivors: Vec<(TokenId, f32)> = kept.iter().map(survivor).collect();
        assert!(answer.reweigh_among(black_box(&context), &mut survivors));
        black_box(survivors);
    });
    print("embed tournament", vocabulary, time);
}

/// Where the 40 largest logits lie, ties to the first. As many chunks as are wanted have a largest one that is no less than
/// the least of these, so nothing below it can be among them.
fn largest(logits: &[f32]) -> Vec<usize> {
    let chunks: Vec<f32> = logits.chunks(CHUNK).map(maximum).collect();
    let least = *chunks.clone().select_nth_unstable_by(TOP_K - 1, |a, b| b.total_cmp(a)).1;
    let at_least = chunks.iter().enumerate().filter(|(_, largest)| **largest >= least);
    let mut kept: Vec<usize> = at_least
        .flat_map(|(chunk, _)| (chunk * CHUNK..logits.len()).take(CHUNK))
        .filter(|at| logits[*at] >= least)
        .collect();
    kept.select_nth_unstable_by(TOP_K - 1, |a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
    kept.truncate(TOP_K);
    kept
}

/// The largest of a chunk, lane by lane, as a compiler makes vectors of it.
fn maximum(chunk: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (rows, rest) = chunk.as_chunks::<16>();
    for row in rows {
        lanes.iter_mut().zip(row).for_each(|(lane, x)| *lane = if *x > *lane { *x } else { *lane });
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Text from tokens to a p-value: windows, de-duplication, draws, exact tail. Nanoseconds a token.
fn score(epoch: &EpochKey, spec: &str) {
    let scheme = spec.parse::<Spec>().unwrap().open(epoch);
    let mut random = Random(1);
    let mut text = |tokens: u32| (0..tokens).map(|_| random.below(50_257)).collect();
    let exchange = |_| Exchange {
        prompt: Vec::new(),
        response: text(1_000),
        whole_context: true,
        provenance: Provenance::Unknown,
    };
    let exchanges: Vec<Exchange> = (0..500).map(exchange).collect();
    let time = best(3, 1, || {
        let evidence = count(scheme.spec().width(), &exchanges, TextStatistic::Distinct).unwrap();
        black_box(verdict_tail(evidence.open(&scheme).unwrap()).unwrap());
    });
    print(&format!("score {spec}"), 50_257, time / 500_000.0);
}
