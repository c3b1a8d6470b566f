//! A campaign of the size that was alleged in 2026: 25,000 accounts and 28.8 million exchanges, one in a hundred with a
//! canary. `cargo run --release --no-default-features --example founding_scale`; three minutes on a slow core.
//!
//! Of a hundred exchanges one belongs to a slot of the book; what is planted there is held in memory. Then students that recall very
//! little are tested on all slots, and the planner's numbers of probes are held against simulation.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "an example prints, and may stop where it stands"
)]

use std::time::Instant;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use taggant::canary::{Answer, Asked, Book, Evidence, Picks, Scoring, embedded_book};
use taggant::key::Secret;
use taggant::stat::power::Hits;
use taggant::stat::verdict::Summary;

const ACCOUNTS: u64 = 25_000;
const EXCHANGES: u64 = 28_800_000;
const SLOTS: u64 = 288_000;

/// One canary in the answer of one exchange.
struct Planted {
    slot: u32,
    account: u32,
    sibling: u8,
}

fn main() {
    let clock = Instant::now();
    // All slots are wanted here; a book in service keeps a share of them closed.
    let book = embedded_book("founding", &"f0".repeat(32), 0.0).unwrap();
    let key = Secret::from_bytes([42; 32]).epoch_key(&"2026-q2".parse().unwrap());
    let picks = book.picks(&key);
    assert!(book.slots() >= SLOTS, "the embedded book has {} slots", book.slots());

    let planted = plant(&picks);
    let mut served = vec![0_u32; ACCOUNTS as usize];
    planted.iter().for_each(|plant| served[plant.account as usize] += 1);
    println!(
        "{EXCHANGES} exchanges of {ACCOUNTS} accounts, {} canaries on as many slots, {} to {} an account; {:.0} s",
        planted.len(),
        served.iter().min().unwrap(),
        served.iter().max().unwrap(),
        clock.elapsed().as_secs_f64()
    );

    let hits = Hits::of_slots(16).unwrap();
    let power = hits.power(planted.len() as u64, 0.003, (1e-9_f64).ln());
    println!("excess recall 0.3 %, all slots: planned power {power:.2} at 1e-9");
    let mut found = 0;
    for seed in 0..8 {
        let summary = test(&book, &picks, &planted, 0.003, seed);
        found += u32::from(summary.log10_p < -9.0);
        println!("  student {seed}: z {:.2}, p = 1e{:.1}", summary.z, summary.log10_p);
    }
    let innocent = test(&book, &picks, &planted, 0.0, 99);
    println!("  {found} of 8 below 1e-9; an innocent: z {:.2}, p = {:.2}", innocent.z, innocent.ln_p.exp());
    assert!(found >= 4 && innocent.ln_p > (1e-4_f64).ln());

    for excess in [0.01, 0.05] {
        let planned = hits.needed(excess, (1e-6_f64).ln(), 0.9).unwrap();
        let share = |slots: u64| power_by_simulation(hits, slots, excess);
        let around = [planned * 8 / 10, planned, planned * 12 / 10].map(share);
        println!(
            "excess {excess}: {planned} probes planned for power 0.9; by simulation {around:.3?} at 80, 100, 120 %"
        );
        assert!(around[0] < 0.9 && around[2] > 0.9, "more than 20 % off");
    }
    println!("peak memory {} MiB, {:.0} s", peak_mib(), clock.elapsed().as_secs_f64());
    assert!(peak_mib() < 2_048);
}

/// Runs every exchange: whose it is, the slot that it belongs to if any, the slot's coin, and the pick. Each slot is served once.
fn plant(picks: &Picks<'_>) -> Vec<Planted> {
    let mut planted = Vec::with_capacity(SLOTS as usize);
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for exchange in 0..EXCHANGES {
        let account = (random.next_u64() % ACCOUNTS) as u32;
        // One request in a hundred is of a class that a book has, and the next slot's.
        if exchange % 100 == 0 {
            let slot = exchange / 100;
            if picks.plants(slot, 1.0) {
                let sibling = picks.sibling(&slot.into()).unwrap() as u8;
                planted.push(Planted { slot: slot as u32, account, sibling });
            }
        }
    }
    planted
}

/// A student that gives the served sibling with `excess` more than by chance, else what it likes.
fn test(book: &Book, picks: &Picks<'_>, planted: &[Planted], excess: f64, seed: u64) -> Summary {
    let mut random = ChaCha8Rng::seed_from_u64(1_000 + seed);
    let recall = excess * 16.0 / 15.0;
    let asked: Vec<Asked> = planted
        .iter()
        .map(|plant| {
            let remembers = (random.next_u32() as f64) < recall * 4_294_967_296.0;
            let taste = (random.next_u32() % 20).min(15) as usize;
            let answer = if remembers { plant.sibling.into() } else { taste };
            Asked { pick: u64::from(plant.slot).into(), answers: vec![Answer::Sibling(answer)] }
        })
        .collect();
    let evidence = Evidence::new(book, &asked, 1, Scoring::First).unwrap();
    Summary::of(evidence.open(picks).unwrap()).unwrap()
}

fn power_by_simulation(hits: Hits, slots: u64, excess: f64) -> f64 {
    let critical = hits.critical(slots, (1e-6_f64).ln()).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(slots);
    let threshold = (0.0625 + excess) * 4_294_967_296.0;
    let found =
        |_: &u32| (0..slots).filter(|_| (random.next_u32() as f64) < threshold).count() as u64 >= critical;
    (0..500).filter(found).count() as f64 / 500.0
}

/// The largest resident size so far, where the system tells it (Linux), else 0.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}
