//! What a verdict over ten million draws costs, as ratios in one run: `make bench`.

#![allow(
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and may stop where it stands"
)]

use std::hint::black_box;
use std::time::Instant;

use taggant::law::{Draws, Gamma, Law, Origin, Scale, Tally};
use taggant::stat::Rate;
use taggant::stat::lattice::{LatticeTerm, lattice_ln_sf};
use taggant::stat::verdict::{Summary, verdict_tail};

const KEYS: u8 = 10;
const DRAWS_PER_KEY: u32 = 1_000_000;

fn main() {
    lattice();
    draws();
}

/// The tail alone: ten million coins with |a| ≤ 127 and γ = ¼, already counted by coefficient.
fn lattice() {
    let quarter = Rate::new(1, 4).unwrap();
    let coefficients = (-127..=127).filter(|a| *a != 0);
    let terms: Vec<_> = coefficients.map(|a| LatticeTerm::coins(a, quarter, 39_370)).collect();
    println!("exact tail of 10^7 coins, |a| <= 127, 254 coefficients");
    for k in [500_000, 1_000_000, 5_000_000, 50_000_000] {
        let (tail, time) = timed(|| lattice_ln_sf(black_box(&terms), k).unwrap());
        println!("  ln p {:12.3} +- {:.1e}   {:6.3} s", tail.ln_p, tail.bound, time);
    }
}

/// From draws to the verdict, and to everything that a report shows.
fn draws() {
    let coins = Law::Bernoulli(Gamma::new(1, 2).unwrap());
    let pooled = draws_of_ten_keys(coins);
    let n = pooled.as_slice().len();
    let (sum, pass) = timed(|| {
        pooled
            .as_slice()
            .iter()
            .map(|draw| i64::from(draw.coefficient()) * i64::from(draw.word()))
            .sum::<i64>()
    });
    let ((ln_p, z), verdict) = timed(|| verdict_tail(pooled).unwrap());
    let pooled = draws_of_ten_keys(coins);
    let (summary, whole) = timed(|| Summary::of(pooled).unwrap());
    println!("{n} opened draws, S = {sum}, z = {z:.2}, ln p {ln_p:.3}");
    println!("  plain pass over the draws  {pass:6.3} s");
    println!("  verdict                    {verdict:6.3} s  {:6.1} x the pass", verdict / pass);
    println!("  summary, {} exchanges  {whole:6.3} s  {:6.1} x the pass", summary.path.len(), whole / pass);
    let races = draws_of_ten_keys(Law::Exponential);
    let ((ln_p, _), bound) = timed(|| verdict_tail(races).unwrap());
    println!("  weighted races, Chernoff   {bound:6.3} s  {:6.1} x the pass, ln p {ln_p:.3}", bound / pass);
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let clock = Instant::now();
    let result = black_box(work());
    (result, clock.elapsed().as_secs_f64())
}

fn draws_of_ten_keys(law: Law) -> Draws {
    let key = |key: u8| {
        let mut tally = Tally::new();
        // A fixed scramble in place of data; 500 draws an exchange.
        for input in 0..DRAWS_PER_KEY {
            let a = i32::from(scramble(input, u32::from(key)).to_le_bytes()[3]) - 127;
            // Races cannot count against.
            let a = if law == Law::Exponential { a.abs() } else { a };
            tally.add(input, f64::from(a.clamp(-127, 127)), input / 500);
        }
        let word = |input: &u32| scramble(*input, u32::from(key) + 100);
        tally.whole(Scale::Unit).open(law, Origin([key; 32]), |input| match law {
            Law::Exponential => word(input),
            _ => u32::from(word(input) >> 30 == 0),
        })
    };
    (1..KEYS).fold(key(0), |pooled, next| pooled.pool(key(next)).unwrap())
}

fn scramble(input: u32, salt: u32) -> u32 {
    let mut x = input.wrapping_mul(0x9E37_79B1) ^ salt.wrapping_mul(0x85EB_CA6B);
    for _ in 0..3 {
        x = (x ^ (x >> 15)).wrapping_mul(0x2C1B_3C6D);
    }
    x ^ (x >> 16)
}
