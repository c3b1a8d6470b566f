//! Tournaments, mixes and account marks.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use taggant::law::{Law, Layers, Scale, Tally};
use taggant::scheme::{Arm, Scheme, Spec};
use taggant::score::{Coin, Counted, Exchange, Provenance, Reading, TextStatistic, accounts, count};
use taggant::stat::candidates::Named;
use taggant::stat::verdict::Summary;

use crate::h0::{assert_fails, assert_valid, fewer, innocent, keys, ln_p, scheme, under};
use crate::rows::Rows;

fn over_keys(counted: &Counted, spec: &str, keys: u64) -> Vec<f64> {
    under(spec, keys, |scheme| ln_p(counted.open(scheme).unwrap()))
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
        let keys = if statistic == TextStatistic::Distinct { keys() } else { fewer() };
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
    assert_valid("layers that count 10 to 1", &(0..fewer()).map(|key| ln_p(opened(key))).collect::<Vec<_>>());
}

#[test]
fn the_e_process_of_layers_and_mixes_is_calibrated_whenever_one_stops() {
    let exchanges = &innocent()[..15];
    for spec in ["tournament/1/w1/d30", "mix/1/128/tournament/1/w1/d8/green/1/w2/b2/t1"] {
        let counted =
            Counted::text(spec.parse().unwrap(), (0..).zip(exchanges), TextStatistic::RootCount).unwrap();
        let anytime = |key| -Summary::of(counted.open(&scheme(spec, key)).unwrap()).unwrap().ln_e_max;
        let anytime: Vec<f64> = (0..keys()).map(anytime).collect();
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
    assert_fails("a coin for each wider window", &(0..keys()).map(careless).collect::<Vec<_>>());
    let counted =
        Counted::text(spec.parse().unwrap(), (0..).zip(&exchanges), TextStatistic::Distinct).unwrap();
    assert_valid("one coin", &over_keys(&counted, spec, keys()));
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
    assert_fails("positions chosen by the scored key", &(0..keys()).map(careless).collect::<Vec<_>>());
}

#[test]
fn prompts_marked_by_a_mix_do_not_count() {
    let spec = "mix/1/128/green/1/w1/b1/t1/green/1/w2/b1/t1";
    let run = |provenance| -> Vec<f64> {
        (0..keys())
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
pub(crate) fn marked(arm: &Arm, key: u64) -> Vec<Exchange> {
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
    let width = spec.parse::<Spec>().unwrap().width();
    for (what, evidence) in Rows::new(60).statistics(width) {
        assert_valid(&format!("{spec}, {what}"), &over_keys(&evidence.into(), spec, fewer()));
    }
    let text: Vec<u32> = innocent()[0].response.clone();
    let reading = |key| {
        let scheme = scheme(spec, key);
        let mut reading = Reading::new(&scheme).unwrap();
        let steps =
            reading.document(&text, 1, |at| vec![(text[at - 1] / 2, 800), (text[at - 1] / 3 + 1, 100)]);
        Summary::of_reading(&steps, 1_024.0, &[1.0]).unwrap().ln_p
    };
    assert_valid("a reading under a tournament", &(0..keys()).map(reading).collect::<Vec<_>>());
    assert!(Reading::new(&scheme("mix/1/9/green/1/w1/b1/t1/green/1/w2/b1/t1", 1)).is_err());
}
