//! A thousand decoy keys over one evidence, on every core, beside the bare seeds and lanes they need: `make bench`.

#![allow(
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and may stop where it stands"
)]

use std::hint::black_box;
use std::time::Instant;

use taggant::case::decoys::z_under;
use taggant::key::{Epoch, Secret};
use taggant::scheme::{Scheme, Spec};
use taggant::score::{
    Evidence, Exchange, Prediction, Provenance, Row, TextStatistic, Weight, count, residual,
};
use taggant::token::{TokenId, Width};

const KEYS: u32 = 1_000;
/// SmolLM2's.
const VOCABULARY: u32 = 49_152;

fn main() {
    let cores = std::thread::available_parallelism().unwrap();
    // The name of one line runs that alone.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    println!("{KEYS} decoy keys, green/1/w2/b2/t1, V = {VOCABULARY}, {cores} cores, default target features");
    if "text".contains(&wanted) {
        run("100,000 distinct text windows", 20.0, &text(100_000));
    }
    if "rows".contains(&wanted) {
        run("1,000 whole rows", 30.0, &rows(1_000));
    }
    if "top".contains(&wanted) {
        run("top-20 rows of 100,000 windows", 300.0, &top(100_000));
    }
}

fn run(what: &str, target: f64, evidence: &Evidence) {
    // The yardstick: one seed and one block of keystream for each window and key, measured on one core.
    let probe = scheme(0);
    let windows = evidence.windows().len();
    let clock = Instant::now();
    for window in (0..).take(windows) {
        black_box(probe.arms()[0].word(&probe.arms()[0].seed(evidence.windows().get(window)), 0));
    }
    let seeds = clock.elapsed().as_secs_f64() * f64::from(KEYS);
    let clock = Instant::now();
    let z = z_under(evidence, KEYS, scheme).unwrap().unwrap();
    let time = clock.elapsed().as_secs_f64();
    let mean = z.iter().sum::<f64>() / f64::from(KEYS);
    let sd = (z.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / f64::from(KEYS - 1)).sqrt();
    let draws = evidence.coefficients().entries().len();
    println!(
        "  {what:<31} {draws:>10} draws  {time:6.1} s (target {target:.0})  {:.2} x a bare seed and lane a window  \
         mean {mean:+.2} sd {sd:.2}",
        time / seeds
    );
}

fn scheme(number: u32) -> Scheme {
    let mut secret = [0; 32];
    secret[..4].copy_from_slice(&number.to_le_bytes());
    let epoch: Epoch = "bench".parse().unwrap();
    "green/1/w2/b2/t1".parse::<Spec>().unwrap().open(&Secret::from_bytes(secret).epoch_key(&epoch))
}

fn width() -> Width {
    Width::new(2).unwrap()
}

/// A fixed scramble in place of data.
fn scramble(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x85EB_CA6B);
    let x = (x ^ (x >> 13)).wrapping_mul(0xC2B2_AE35);
    x ^ (x >> 16)
}

fn text(windows: u32) -> Evidence {
    let token = |at| scramble(at) % VOCABULARY;
    let exchange = |number| Exchange {
        prompt: vec![number, number],
        response: (0..100).map(|at| token(number * 100 + at)).collect(),
        whole_context: true,
        provenance: Provenance::Fresh,
    };
    let exchanges: Vec<Exchange> = (0..windows / 100).map(exchange).collect();
    count(width(), &exchanges, TextStatistic::Distinct).unwrap()
}

fn rows(windows: u32) -> Evidence {
    let q = |row: u32| -> Vec<f32> {
        (0..VOCABULARY).map(|v| (scramble(v ^ row << 16) % 1_000) as f32 / 1e6).collect()
    };
    let contexts: Vec<[TokenId; 2]> = (0..windows).map(|row| [row, row + 1]).collect();
    let rows: Vec<Vec<f32>> = (0..windows).map(q).collect();
    let b: Vec<f32> = q(windows);
    let predictions: Vec<Prediction<'_>> =
        rows.iter().zip(&contexts).map(|(row, context)| prediction(context, Row::Whole(row))).collect();
    residual(width(), &predictions, &vec![&b[..]; rows.len()], Weight::HalfNorm).unwrap()
}

fn top(windows: u32) -> Evidence {
    let q = |row: u32| -> Vec<(TokenId, f32)> {
        let mut top: Vec<_> =
            (0..20).map(|at| (scramble(row * 20 + at) % VOCABULARY, 0.01 + 0.001 * at as f32)).collect();
        top.sort_by_key(|(token, _)| *token);
        top.dedup_by_key(|(token, _)| *token);
        top
    };
    let contexts: Vec<[TokenId; 2]> = (0..windows).map(|row| [row, row + 1]).collect();
    let rows: Vec<Vec<(TokenId, f32)>> = (0..windows).map(q).collect();
    let b = vec![1.0 / VOCABULARY as f32; VOCABULARY as usize];
    let predictions: Vec<Prediction<'_>> =
        rows.iter().zip(&contexts).map(|(row, context)| prediction(context, Row::Top(row))).collect();
    residual(width(), &predictions, &vec![&b[..]; rows.len()], Weight::HalfNorm).unwrap()
}

fn prediction<'a>(context: &'a [TokenId], q: Row<'a>) -> Prediction<'a> {
    Prediction { prompt: &[], context, provenance: Provenance::Fresh, q, cluster: 0 }
}
