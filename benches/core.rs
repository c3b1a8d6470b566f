//! The core's costs, as ratios in one run: `make bench`. Times here are noisy; the ratios are what to compare.

#![allow(
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and may stop where it stands"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::time::Instant;

use taggant::embed::{Answer, Embedder, Row, step_all};
use taggant::key::{Audience, EpochKey, Secret};
use taggant::scheme::{Arm, Spec};
use taggant::score::{Bulk, Exchange, Provenance, TextStatistic, accounts, count, tenants};
use taggant::sort::NoScratch;
use taggant::stat::candidates::Named;
use taggant::stat::verdict::Summary;
use taggant::token::TokenId;

const VOCABULARY: usize = 131_072;

/// A part of this benchmark, by name.
type Part = (&'static str, fn(&EpochKey));

fn main() {
    let epoch = Secret::from_bytes([7; 32]).epoch_key(&"bench".parse().unwrap());
    let parts: [Part; 4] =
        [("embedding", embedding), ("scoring", scoring), ("candidates", candidates), ("tenants", of_tenants)];
    // `cargo bench --bench core -- scoring` runs one of them.
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    for (_, part) in
        parts.iter().filter(|(name, _)| asked.is_empty() || asked.iter().any(|part| part == name))
    {
        part(&epoch);
    }
}

/// Microseconds a call, the best of several rounds: noise only adds.
fn best(rounds: usize, calls: usize, mut work: impl FnMut()) -> f64 {
    let round = |_| {
        let clock = Instant::now();
        (0..calls).for_each(|_| work());
        clock.elapsed().as_secs_f64() * 1e6 / calls as f64
    };
    (0..rounds).map(round).fold(f64::INFINITY, f64::min)
}

fn embedding(epoch: &EpochKey) {
    let source = vec![0.5_f32; VOCABULARY];
    let mut row = source.clone();
    let copy = best(20, 200, || black_box(&mut row).copy_from_slice(black_box(&source)));
    println!("one row of {VOCABULARY} logits");
    println!("  copy_from_slice        {copy:8.1} us");
    for spec in [
        "green/1/w1/b1/t1",
        "green/1/w1/b2/t1",
        "green/1/w1/b4/t3",
        "green/1/w1/b8/t77",
        "green/1/w1/b16/t999",
    ] {
        let embedder = Embedder::new(spec.parse::<Spec>().unwrap().open(epoch), 2.0).unwrap();
        let mut token = 0;
        let time = best(20, 50, || {
            token += 1;
            black_box(embedder.answer().step(&[token], black_box(&mut row)));
        });
        println!("  {spec:<22} {time:8.1} us  {:5.2} x the copy", time / copy);
    }
    let scheme = "gumbel/1/w1".parse::<Spec>().unwrap().open(epoch);
    let Arm::Gumbel(gumbel) = &scheme.arms()[0] else { return };
    let mut p = vec![0.0_f32; VOCABULARY];
    (0..50).for_each(|at| p[at * 2_600] = 0.02);
    let blocks = best(20, 200, || {
        let seed = gumbel.seed(black_box(&[9]));
        (0..50).for_each(|at| {
            black_box(gumbel.word(&seed, at * 16));
        });
    });
    let time = best(20, 50, || {
        black_box(gumbel.choose(&gumbel.seed(black_box(&[9])), black_box(&p)));
    });
    let said = |name: &str, time: f64| {
        println!("  {name:<22} {time:8.1} us  {:5.2} x 50 ChaCha20 blocks ({blocks:.1} us)", time / blocks);
    };
    said("gumbel/1, 50 survivors", time);
    let scheme = "tournament/1/w1/d30".parse::<Spec>().unwrap().open(epoch);
    let Arm::Tournament(tournament) = &scheme.arms()[0] else { return };
    let time = best(20, 50, || {
        tournament.reweigh(&tournament.seed(black_box(&[9])), black_box(&mut p));
    });
    said("tournament/1 d30, 50", time);
    let survivors: Vec<(TokenId, f32)> = (0..50).map(|at| (at * 2_600, 0.02)).collect();
    let time = best(20, 50, || {
        black_box(gumbel.choose_among(&gumbel.seed(black_box(&[9])), black_box(&survivors)));
    });
    said("gumbel/1 among 50", time);
    let time = best(20, 50, || {
        let mut candidates = survivors.clone();
        tournament.reweigh_among(&tournament.seed(black_box(&[9])), black_box(&mut candidates));
        black_box(candidates);
    });
    said("tournament/1 among 50", time);
    batch(epoch);
}

/// Rows of a batch, marked one after the other and in one call.
fn batch(epoch: &EpochKey) {
    const ROWS: usize = 64;
    let embedder = Embedder::new("green/1/w1/b2/t1".parse::<Spec>().unwrap().open(epoch), 2.0).unwrap();
    let mut logits = vec![0.5_f32; ROWS * VOCABULARY];
    let contexts: Vec<TokenId> = (0..).take(ROWS).collect();
    let mut answers: Vec<Answer<'_>> = (0..ROWS).map(|_| embedder.answer()).collect();
    let (mut alone, mut together) = (f64::INFINITY, f64::INFINITY);
    // In turn: what slows one slows the other.
    for _ in 0..10 {
        let one_by_one = best(1, 1, || {
            for ((row, context), answer) in
                logits.chunks_mut(VOCABULARY).zip(contexts.chunks(1)).zip(&mut answers)
            {
                black_box(answer.step(context, row));
            }
        });
        let all = best(1, 1, || {
            let each = answers.iter_mut().zip(contexts.chunks(1)).zip(logits.chunks_mut(VOCABULARY));
            let mut rows: Vec<Row<'_, '_>> =
                each.map(|((answer, context), logits)| Row { answer, context, logits }).collect();
            black_box(step_all(&mut rows));
        });
        (alone, together) = (alone.min(one_by_one), together.min(all));
    }
    let threads = std::thread::available_parallelism().unwrap();
    println!(
        "  {ROWS} rows, {threads} thread(s)   {together:8.1} us  {:5.2} x as quick as one by one",
        alone / together
    );
}

/// Random text: `answers` answers of 500 tokens.
fn texts(answers: usize) -> Vec<Exchange> {
    let mut state = 1_u64;
    let mut token = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(state >> 49).unwrap()
    };
    let exchange = |_| Exchange {
        prompt: vec![token(), token()],
        response: (0..500).map(|_| token()).collect(),
        whole_context: true,
        provenance: Provenance::Unknown,
    };
    (0..answers).map(exchange).collect()
}

fn scoring(epoch: &EpochKey) {
    let exchanges = texts(1_000);
    println!("distinct draws of text, de-duplicated and tested, one core");
    for spec in ["green/1/w1/b2/t1", "green/1/w2/b2/t1", "green/1/w4/b2/t1", "gumbel/1/w4"] {
        let scheme = spec.parse::<Spec>().unwrap().open(epoch);
        let mut draws = 0;
        let time = best(10, 1, || {
            let mut bulk = Bulk::new(scheme.spec().width(), TextStatistic::Distinct);
            exchanges.iter().zip(0..).for_each(|(exchange, cluster)| bulk.add(exchange, cluster).unwrap());
            let sorted = bulk.sorted(&NoScratch).unwrap();
            draws = sorted.distinct;
            let opened = sorted.open(&scheme, &|_| ()).unwrap().unwrap();
            black_box(Summary::of_streamed(opened, 1_000).unwrap());
        });
        println!("  {spec:<20} {draws} draws, {:5.2} million a second", draws as f64 / time);
    }
}

/// A million leaked tokens against 25,000 accounts.
fn candidates(epoch: &EpochKey) {
    let exchanges = texts(2_000);
    let scheme = "payload/1/w2".parse::<Spec>().unwrap().open(epoch);
    let every: BTreeSet<u64> = (0..25_000).collect();
    let (mut draws, mut found) = (0, 0);
    let time = best(1, 1, || {
        let evidence = count(scheme.spec().width(), &exchanges, TextStatistic::Distinct).unwrap();
        let named = Named::of(accounts(&evidence, &scheme, &every).unwrap()).unwrap();
        draws = named.draws();
        found = named.found(-13.8).len();
    });
    println!("leaked text against {} accounts, each tested exactly, one core", every.len());
    println!("  payload/1/w2           {draws} draws, {:5.1} s, {found} named", time / 1e6);
}

/// A million leaked tokens against keys of tenants: some of them are timed, and 25,000 take that many times as long.
fn of_tenants(epoch: &EpochKey) {
    const KEYS: u32 = 20;
    let exchanges = texts(2_000);
    println!("leaked text against the keys of tenants, each tested exactly, one core");
    for spec in
        ["green/1/w1/b2/t1", "green/1/w2/b2/t1", "green/1/w4/b1/t1"].map(|spec| spec.parse::<Spec>().unwrap())
    {
        let evidence = count(spec.width(), &exchanges, TextStatistic::Distinct).unwrap();
        let schemes: BTreeMap<u64, _> =
            (0..KEYS).map(|n| (n.into(), spec.open_for(epoch, Audience::Tenant, &n.to_string()))).collect();
        let mut draws = 0;
        let time = best(2, 1, || draws = black_box(tenants(&evidence, &schemes).unwrap()).draws());
        let each = 1e3 * time / f64::from(KEYS) / draws as f64;
        println!(
            "  {spec:<20} {draws} draws, {each:5.1} ns a key and draw, {:6.0} s for 25,000",
            each * draws as f64 * 25e-6
        );
    }
}
