//! Calibration under H0 of tournaments, mixes and account marks: 2,000 random keys over fixed, repetitive innocent text,
//! and 400 where each key costs the exact tail of a weighted sum.
//!
//! As in `calibration.rs`: rejections stay at or below the upper 99.9 % binomial limit of the level, a rule of validity is
//! then removed, and the same run must fail. Everything is seeded, so nothing here is ever flaky.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may stop where it stands, and its numbers are no evidence"
)]

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use taggant::key::Secret;
use taggant::law::{Draws, Law, Layers, Scale, Tally};
use taggant::scheme::{Arm, Scheme, Spec};
use taggant::score::{
    Coin, Counted, Exchange, Prediction, Provenance, Reading, Row, TextStatistic, Weight, accounts, count,
    mass, residual,
};
use taggant::stat::Rate;
use taggant::stat::candidates::Named;
use taggant::stat::multiple::binomial_upper_limit;
use taggant::stat::verdict::{Summary, verdict_tail};

const KEYS: u64 = 2_000;
/// Keys under which weighted sums are tested.
const FEWER: u64 = 400;
/// Levels as 1 in n.
const LEVELS: [u64; 3] = [20, 100, 1_000];

fn scheme(spec: &str, key: u64) -> Scheme {
    let mut bytes = [0; 32];
    ChaCha8Rng::seed_from_u64(key).fill_bytes(&mut bytes);
    let epoch = Secret::from_bytes(bytes).epoch_key(&"2026-q4".parse().unwrap());
    spec.parse::<Spec>().unwrap().open(&epoch)
}

/// Repetitive answers: half of the tokens have one nearly certain successor, and ten answers are given twice.
fn innocent() -> Vec<Exchange> {
    let mut chance = ChaCha8Rng::seed_from_u64(1);
    let mut text = |tokens: usize| {
        let mut text = vec![chance.next_u32() % 500];
        while text.len() < tokens {
            let last = text[text.len() - 1];
            let certain = last.is_multiple_of(2) && chance.next_u32() % 10 < 8;
            let (a, b) = (chance.next_u32() % 500, chance.next_u32() % 500);
            text.push(if certain { (last * 7 + 3) % 40 } else { a.min(b) });
        }
        text
    };
    let exchange = |prompt, response| Exchange {
        prompt,
        response,
        whole_context: true,
        provenance: Provenance::Unknown,
    };
    let mut exchanges: Vec<Exchange> = (0..30).map(|_| exchange(text(5), text(120))).collect();
    exchanges.extend_from_within(..10);
    exchanges
}

fn rejections(ln_p: &[f64]) -> [u64; 3] {
    LEVELS.map(|n| ln_p.iter().filter(|ln_p| **ln_p <= -(n as f64).ln()).count() as u64)
}

fn limits(keys: usize) -> [u64; 3] {
    LEVELS.map(|n| binomial_upper_limit(keys as u64, Rate::new(1, n).unwrap(), 0.999))
}

fn assert_valid(what: &str, ln_p: &[f64]) {
    let (found, limits) = (rejections(ln_p), limits(ln_p.len()));
    println!("{what}: {found:?} of {} rejected at 1 in {LEVELS:?}, limits {limits:?}", ln_p.len());
    assert!((0..3).all(|at| found[at] <= limits[at]), "{what}: {found:?}, limits {limits:?}");
    // A test that never rejects would be valid, and worthless.
    assert!(found[0] > 0, "{what} is blind");
}

fn assert_fails(what: &str, ln_p: &[f64]) {
    let (found, limits) = (rejections(ln_p), limits(ln_p.len()));
    println!("{what}: {found:?} of {} rejected at 1 in {LEVELS:?}, limits {limits:?}: caught", ln_p.len());
    assert!((0..3).any(|at| found[at] > limits[at]), "{what}: {found:?} stays within {limits:?}");
}

fn ln_p(draws: Draws) -> f64 {
    verdict_tail(draws).unwrap().0
}

fn over_keys(counted: &Counted, spec: &str, keys: u64) -> Vec<f64> {
    (0..keys).map(|key| ln_p(counted.open(&scheme(spec, key)).unwrap())).collect()
}

#[test]
fn tournaments_and_mixes_are_calibrated_on_repetitive_text() {
    let exchanges = innocent();
    for (spec, statistic) in [
        ("tournament/1/w0/d4", TextStatistic::Distinct),
        ("tournament/1/w1/d30", TextStatistic::Distinct),
        ("tournament/1/w1/d30", TextStatistic::RootCount),
        ("tournament/1/w4/d1", TextStatistic::RootCount),
        ("mix/1/64/green/1/w1/b2/t1/green/1/w2/b1/t1", TextStatistic::Distinct),
        ("mix/1/128/green/1/w0/b2/t1/green/1/w2/b2/t1", TextStatistic::RootCount),
        ("mix/1/200/tournament/1/w1/d30/green/1/w3/b8/t77", TextStatistic::RootCount),
        ("mix/1/128/gumbel/1/w1/gumbel/1/w2", TextStatistic::Distinct),
        ("mix/1/128/gumbel/1/w3/green/1/w1/b2/t1", TextStatistic::Distinct),
    ] {
        let counted = Counted::text(spec.parse().unwrap(), (0..).zip(&exchanges), statistic).unwrap();
        let keys = if statistic == TextStatistic::Distinct { KEYS } else { FEWER };
        assert_valid(&format!("{spec} {statistic:?}"), &over_keys(&counted, spec, keys));
    }
}

#[test]
fn weighted_layers_are_calibrated() {
    let spec = "tournament/1/w1/d10";
    let exchanges = innocent();
    let evidence =
        count(spec.parse::<Spec>().unwrap().width(), &exchanges, TextStatistic::RootCount).unwrap();
    let layers = Layers::weighted(&(1..=10).rev().collect::<Vec<u8>>()).unwrap();
    let opened = |key| {
        let scheme = scheme(spec, key);
        let arm = &scheme.arms()[0];
        evidence.coefficients().open(Law::Layers(layers), arm.origin(), |coin| {
            arm.word(&arm.seed(evidence.windows().get(coin.window)), coin.token)
        })
    };
    assert_valid("layers that count 10 to 1", &(0..FEWER).map(|key| ln_p(opened(key))).collect::<Vec<_>>());
}

#[test]
fn the_e_process_of_layers_and_mixes_is_calibrated_whenever_one_stops() {
    let exchanges = &innocent()[..15];
    for spec in ["tournament/1/w1/d30", "mix/1/128/tournament/1/w1/d8/green/1/w2/b2/t1"] {
        let counted =
            Counted::text(spec.parse().unwrap(), (0..).zip(exchanges), TextStatistic::RootCount).unwrap();
        let anytime = |key| -Summary::of(counted.open(&scheme(spec, key)).unwrap()).unwrap().ln_e_max;
        let anytime: Vec<f64> = (0..FEWER).map(anytime).collect();
        assert_valid(&format!("{spec}, e-process"), &anytime);
    }
}

/// The narrow part of a mix with its rule removed: a (window, token) counts again for every wider window it stands behind.
#[test]
fn a_narrow_draw_is_one_coin_whatever_wider_windows_it_ends() {
    let spec = "mix/1/128/green/1/w1/b2/t1/green/1/w3/b2/t1";
    let exchanges = innocent();
    let careless = |key| {
        let scheme = scheme(spec, key);
        let wide = count(scheme.spec().width(), &exchanges, TextStatistic::Distinct).unwrap();
        let (coin, arm) = (scheme.coin().unwrap(), &scheme.arms()[0]);
        let mut tally: Tally<Coin> = Tally::new();
        for entry in wide.coefficients().entries() {
            if coin.part(wide.windows().get(entry.input.window)) == 0 {
                tally.add(entry.input, 1.0, entry.cluster);
            }
        }
        ln_p(tally.whole(Scale::Unit).open(arm.law(), arm.origin(), |input| {
            arm.word(&arm.seed(&wide.windows().get(input.window)[2..]), input.token)
        }))
    };
    assert_fails("a coin for each wider window", &(0..KEYS).map(careless).collect::<Vec<_>>());
    let counted =
        Counted::text(spec.parse().unwrap(), (0..).zip(&exchanges), TextStatistic::Distinct).unwrap();
    assert_valid("one coin", &over_keys(&counted, spec, KEYS));
}

/// The coin of a mix with its rule removed: positions are chosen by the key whose draws are then counted.
#[test]
fn a_coin_under_the_key_of_a_part_is_caught() {
    let spec = "mix/1/128/green/1/w1/b2/t1/green/1/w2/b2/t1";
    let exchanges = innocent();
    let careless = |key| {
        let scheme = scheme(spec, key);
        let arm = &scheme.arms()[1];
        let evidence = count(arm.width(), &exchanges, TextStatistic::Distinct).unwrap();
        let mut tally: Tally<Coin> = Tally::new();
        for entry in evidence.coefficients().entries() {
            // The byte at the start of the window's own keystream: it holds the lanes of tokens 0 to 3.
            let seed = arm.seed(evidence.windows().get(entry.input.window));
            let byte = seed.lane(taggant::key::prf::LaneBits::BYTE, entry.input.token / 4);
            if byte < 100 {
                tally.add(entry.input, 1.0, entry.cluster);
            }
        }
        ln_p(tally.whole(Scale::Unit).open(arm.law(), arm.origin(), |input| {
            arm.word(&arm.seed(evidence.windows().get(input.window)), input.token)
        }))
    };
    assert_fails("positions chosen by the scored key", &(0..KEYS).map(careless).collect::<Vec<_>>());
}

#[test]
fn prompts_marked_by_a_mix_do_not_count() {
    let spec = "mix/1/128/green/1/w1/b1/t1/green/1/w2/b1/t1";
    let run = |provenance| -> Vec<f64> {
        (0..KEYS)
            .map(|key| {
                let scheme = scheme(spec, key);
                let exchanges = copying(&scheme, key, provenance);
                let counted =
                    Counted::text(*scheme.spec(), (0..).zip(&exchanges), TextStatistic::Distinct).unwrap();
                ln_p(counted.open(&scheme).unwrap())
            })
            .collect()
    };
    assert_valid("copying from prompts that a mix marked", &run(Provenance::Unknown));
    assert_fails("the same, attested as fresh", &run(Provenance::Fresh));
}

/// An innocent that copies from its prompts, which were marked under the key at hand.
fn copying(scheme: &Scheme, key: u64, provenance: Provenance) -> Vec<Exchange> {
    let mut chance = ChaCha8Rng::seed_from_u64(1_000_000 + key);
    let mut token = move || chance.next_u32() % 300;
    let mut exchange = || {
        let mut prompt = vec![token(), token()];
        while prompt.len() < 24 {
            let (part, window) = scheme.marking(&prompt, prompt.len()).unwrap();
            let arm = &scheme.arms()[part];
            let seed = arm.seed(window);
            let tries = [token(), token(), token()];
            prompt.push(*tries.iter().find(|token| arm.word(&seed, **token) == 1).unwrap_or(&tries[0]));
        }
        let mut response: Vec<u32> = (0..30).map(|_| token()).collect();
        let from = (token() % 10) as usize;
        response.extend(&prompt[from..from + 12]);
        response.extend((0..10).map(|_| token()));
        Exchange { prompt, response, whole_context: true, provenance }
    };
    (0..12).map(|_| exchange()).collect()
}

#[test]
fn every_innocent_account_is_tested_exactly_and_the_family_keeps_its_level() {
    const TEXTS: u64 = 400;
    let exchanges = &innocent()[..12];
    let spec = "payload/1/w1";
    let width = spec.parse::<Spec>().unwrap().width();
    let evidence = count(width, exchanges, TextStatistic::Distinct).unwrap();
    let candidates: BTreeSet<u64> = (0..1_000).collect();
    let (mut single, mut family) = (Vec::new(), Vec::new());
    for key in 0..TEXTS {
        let named = Named::of(accounts(&evidence, &scheme(spec, key), &candidates).unwrap()).unwrap();
        single.extend(named.tests().iter().take(50).map(|test| test.ln_p));
        family.push(named.tests().iter().map(|test| test.adjusted_ln_p).fold(0.0, f64::min));
    }
    assert_valid("innocent accounts, one by one", &single);
    assert_valid("the likeliest of 1,000 accounts, corrected for all", &family);
    let uncorrected: Vec<f64> = family.iter().map(|ln_p| ln_p - 1_000_f64.ln()).collect();
    assert_fails("the likeliest of 1,000 accounts, decoded and believed", &uncorrected);
}

#[test]
fn text_marked_for_one_account_says_nothing_of_another() {
    let spec = "payload/1/w1";
    let width = spec.parse::<Spec>().unwrap().width();
    let candidates: BTreeSet<u64> = (0..64).collect();
    let mut others = Vec::new();
    for key in 0..100 {
        let scheme = scheme(spec, key).for_account(7);
        let leaked = marked(&scheme.arms()[0], key);
        let evidence = count(width, &leaked, TextStatistic::Distinct).unwrap();
        let named = Named::of(accounts(&evidence, &scheme, &candidates).unwrap()).unwrap();
        assert_eq!(named.found(-13.8).iter().map(|test| test.id).collect::<Vec<_>>(), [7]);
        others.extend(named.tests().iter().filter(|test| test.id != 7).map(|test| test.ln_p));
    }
    assert_valid("the other accounts of a text marked for one", &others);
}

/// Text in which most tokens are an account's own.
fn marked(arm: &Arm, key: u64) -> Vec<Exchange> {
    let mut chance = ChaCha8Rng::seed_from_u64(2_000_000 + key);
    let mut text = vec![chance.next_u32() % 500];
    while text.len() < 300 {
        let seed = arm.seed(&text[text.len() - 1..]);
        let tries: Vec<u32> = (0..3).map(|_| chance.next_u32() % 500).collect();
        text.push(*tries.iter().find(|token| arm.word(&seed, **token) == 1).unwrap_or(&tries[0]));
    }
    let (prompt, response) = (text[..1].to_vec(), text[1..].to_vec());
    vec![Exchange { prompt, response, whole_context: true, provenance: Provenance::Fresh }]
}

#[test]
fn distributions_and_readings_under_a_tournament_are_calibrated() {
    let spec = "tournament/1/w1/d16";
    let mut chance = ChaCha8Rng::seed_from_u64(2);
    let mut row = || {
        let weights: Vec<f32> =
            (0..40).map(|v| (1 + chance.next_u32() % 9) as f32 / (1.0 + v as f32)).collect();
        let sum: f32 = weights.iter().sum();
        weights.iter().map(|w| w / sum).collect::<Vec<f32>>()
    };
    let (q, b): (Vec<Vec<f32>>, Vec<Vec<f32>>) = (0..60).map(|_| (row(), row())).unzip();
    let contexts: Vec<[u32; 1]> = (0..60).map(|at: u32| [at * at % 37]).collect();
    let rows: Vec<Prediction<'_>> = contexts
        .iter()
        .zip(&q)
        .zip(0..)
        .map(|((context, q), cluster)| Prediction {
            prompt: &[],
            context,
            provenance: Provenance::Fresh,
            q: Row::Whole(q),
            cluster,
        })
        .collect();
    let width = spec.parse::<Spec>().unwrap().width();
    let references: Vec<&[f32]> = b.iter().map(Vec::as_slice).collect();
    for (what, evidence) in [
        ("mass", mass(width, &rows).unwrap()),
        ("residual", residual(width, &rows, &references, Weight::HalfNorm).unwrap()),
    ] {
        assert_valid(&format!("{spec}, {what}"), &over_keys(&evidence.into(), spec, FEWER));
    }
    let text: Vec<u32> = innocent()[0].response.clone();
    let reading = |key| {
        let scheme = scheme(spec, key);
        let mut reading = Reading::new(&scheme).unwrap();
        let steps =
            reading.document(&text, 1, |at| vec![(text[at - 1] / 2, 800), (text[at - 1] / 3 + 1, 100)]);
        Summary::of_reading(&steps, 1_024.0).unwrap().ln_p
    };
    assert_valid("a reading under a tournament", &(0..KEYS).map(reading).collect::<Vec<_>>());
    assert!(Reading::new(&scheme("mix/1/9/green/1/w1/b1/t1/green/1/w2/b1/t1", 1)).is_err());
}
