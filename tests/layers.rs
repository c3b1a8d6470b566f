//! Draws of several layers in every statistic: known answers, small cases against every outcome there is, planning.
//!
//! The known answers are sums of binomial coefficients, and products of polynomials for weighted layers, made in exact
//! whole numbers outside of this crate.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may stop where it stands, and its numbers are no evidence"
)]

use taggant::law::{Draws, Law, Layers, Origin, Scale, Tally};
use taggant::stat::Rate;
use taggant::stat::chernoff::chernoff_ln_sf;
use taggant::stat::cumulant::{RealLaw, RealTerm};
use taggant::stat::power::{Hits, z_per_coin, z_per_draw};
use taggant::stat::verdict::{Summary, TailMethod, verdict_tail};

fn draws(layers: Layers, coefficients: &[i32], words: &[u32]) -> Draws {
    let mut tally = Tally::new();
    for (input, a) in coefficients.iter().enumerate() {
        tally.add(input, f64::from(*a), input as u32);
    }
    tally.whole(Scale::Unit).open(Law::Layers(layers), Origin([1; 32]), |input| words[*input])
}

fn assert_close(found: f64, wanted: f64) {
    assert!((found - wanted).abs() <= 1e-9 * wanted.abs().max(1e-9), "{found} is not {wanted}");
}

/// Words whose low `depth` bits hold `ones` ones in all; junk above them.
fn words_with(draws: usize, depth: u8, mut ones: u32) -> Vec<u32> {
    let mut word = || {
        let here = ones.min(u32::from(depth));
        ones -= here;
        let low = (1_u64 << here) - 1;
        low as u32 | if depth < 32 { 0xdead_beef_u32 << depth } else { 0 }
    };
    (0..draws).map(|_| word()).collect()
}

#[test]
fn equal_layers_are_a_binomial_of_all_layers() {
    // (draws, layers, ones, ln P(Binomial(draws · layers, ½) ≥ ones))
    for (n, depth, ones, ln_p) in [
        (10, 30, 200, -19.335_113_800_307_28),
        (40, 30, 640, -4.485_760_582_022_161),
        (100, 4, 240, -10.201_008_794_401_557),
        (7, 32, 112, -0.641_265_192_184_278_6),
        (1_000, 30, 15_600, -26.839_974_445_252_394),
    ] {
        let layers = Layers::equal(depth).unwrap();
        let words = words_with(n, depth, ones);
        // A common coefficient changes nothing, and a negative one turns the sum about.
        for a in [1, 5, 127] {
            let summary = Summary::of(draws(layers, &vec![a; n], &words)).unwrap();
            assert_eq!(summary.method, TailMethod::Binomial);
            assert_close(summary.ln_p, ln_p);
            assert_close(summary.statistic, f64::from(a) * f64::from(ones));
            assert_close(summary.expected, f64::from(depth) / 2.0);
            assert_close(summary.estimate, f64::from(ones) / n as f64);
            assert_close(summary.ln_p_min.unwrap(), -(n as f64) * f64::from(depth) * 2_f64.ln());
            assert!((summary.green, summary.gamma) == (None, None) && summary.ln_e_max >= 0.0);
        }
        let all = n as u32 * u32::from(depth);
        let inverted: Vec<u32> = words_with(n, depth, all - ones);
        let (turned, _) = verdict_tail(draws(layers, &vec![-1; n], &inverted)).unwrap();
        assert_close(turned, ln_p);
    }
}

#[test]
fn weighted_layers_far_out() {
    // Ten layers that count 10, 9, … 1; 20 draws with coefficient 1, 5 with −2 and 3 with 7.
    let weights: Vec<u8> = (1..=10).rev().collect();
    let layers = Layers::weighted(&weights).unwrap();
    let coefficients = [vec![1; 20], vec![-2; 5], vec![7; 3]].concat();
    for (k, ln_p) in [
        (1_300, -8.079_647_837_327_692),
        (1_500, -16.088_814_760_783_804),
        (1_700, -29.915_477_870_596_186),
        (2_000, -73.319_181_985_670_11),
    ] {
        let words = words_that_sum_to(k, &coefficients, &weights);
        let summary = Summary::of(draws(layers, &coefficients, &words)).unwrap();
        assert_eq!(summary.method, TailMethod::ExactLattice);
        assert_close(summary.statistic, f64::from(k));
        assert!(summary.ln_p >= ln_p - 1e-12 && summary.ln_p < ln_p + 1e-6, "{} at {k}", summary.ln_p);
    }
}

/// Words of the draws, found greedily, the heaviest layers first.
fn words_that_sum_to(k: i32, coefficients: &[i32], weights: &[u8]) -> Vec<u32> {
    let mut left = k;
    let mut words = vec![0; coefficients.len()];
    let mut terms: Vec<(i32, usize, usize)> = Vec::new();
    for (draw, a) in coefficients.iter().enumerate().filter(|(_, a)| **a > 0) {
        terms.extend(weights.iter().enumerate().map(|(layer, w)| (a * i32::from(*w), draw, layer)));
    }
    terms.sort_unstable_by(|a, b| b.cmp(a));
    for (value, draw, layer) in terms {
        if value <= left {
            left -= value;
            words[draw] |= 1 << layer;
        }
    }
    assert_eq!(left, 0, "no words sum to {k}");
    words
}

#[test]
fn every_outcome_of_small_sums_has_its_exact_tail() {
    for (weights, coefficients) in [
        (vec![1, 1, 1], vec![1, 1, 1]),
        (vec![1, 2, 3], vec![1, -2, 5]),
        (vec![4, 0, 1], vec![3, 3, 1]),
        (vec![1, 1], vec![2, -1, 1, 1]),
        (vec![15], vec![1, 2, 4, 8]),
    ] {
        let layers = Layers::weighted(&weights).unwrap();
        let (depth, n) = (weights.len(), coefficients.len());
        let words = |outcome: u32| -> Vec<u32> {
            (0..n).map(|draw| outcome >> (draw * depth) & ((1 << depth) - 1)).collect()
        };
        let sum = |outcome: u32| -> i32 {
            let terms = coefficients.iter().zip(words(outcome)).map(|(a, word)| {
                let x: i32 = (0..depth).map(|l| (word >> l & 1) as i32 * i32::from(weights[l])).sum();
                a * x
            });
            terms.sum()
        };
        let outcomes = 1_u32 << (depth * n);
        let sums: Vec<i32> = (0..outcomes).map(sum).collect();
        let mut mean_e = 0.0;
        for outcome in 0..outcomes {
            let s = sums[outcome as usize];
            let reached = sums.iter().filter(|other| **other >= s).count();
            let exact = (reached as f64 / f64::from(outcomes)).ln();
            let summary = Summary::of(draws(layers, &coefficients, &words(outcome))).unwrap();
            assert_close(summary.statistic, f64::from(s));
            assert!(summary.ln_p >= exact - 1e-13 && summary.ln_p <= exact + 1e-9, "{s}: {}", summary.ln_p);
            mean_e += summary.ln_e.exp() / f64::from(outcomes);
        }
        // The e-process is a fair game: its mean over all outcomes is 1.
        assert!((mean_e - 1.0).abs() < 1e-9, "{weights:?} {coefficients:?}: {mean_e}");
    }
}

#[test]
fn the_bound_of_chernoff_holds_over_the_exact_tail() {
    let fair = Rate::new(1, 2).unwrap();
    let law = RealLaw::Coins { coefficients: vec![3.0, 2.0, 1.0], rate: fair };
    let terms = [RealTerm { law: law.clone(), count: 4 }];
    let layers = Layers::weighted(&[3, 2, 1]).unwrap();
    for words in [[7, 7, 7, 3], [7, 7, 7, 7], [7, 7, 5, 1]] {
        let summary = Summary::of(draws(layers, &[1; 4], &words)).unwrap();
        let bound = chernoff_ln_sf(&terms, summary.statistic).unwrap();
        assert!(bound >= summary.ln_p - 1e-9 && bound < summary.ln_p + 4.0, "{bound}, {}", summary.ln_p);
    }
    let none = RealTerm { law: RealLaw::Coins { coefficients: vec![], rate: fair }, count: 1 };
    assert!(chernoff_ln_sf(&[none], 1.0).is_err());
}

#[test]
fn layers_and_races_pool_by_chernoff() {
    let layers = draws(Layers::equal(30).unwrap(), &[1; 50], &words_with(50, 30, 900));
    let mut tally = Tally::new();
    (0..50).for_each(|input| tally.add(input, 1.0, input));
    let races = tally.whole(Scale::Unit).open(Law::Exponential, Origin([2; 32]), |_| 3_500_000_000);
    let summary = Summary::of(layers.pool(races).unwrap()).unwrap();
    assert_eq!(summary.method, TailMethod::ChernoffBound);
    assert!(summary.ln_p < -20.0 && summary.ln_e > 0.0);
}

#[test]
fn planning_counts_layers_as_coins() {
    let fair = Rate::new(1, 2).unwrap();
    let law = Law::Layers(Layers::equal(30).unwrap());
    // A shift of 30 · 0.01 a draw is the √30-fold of a coin's.
    assert_close(z_per_draw(law, 0.3), 30_f64.sqrt() * z_per_coin(fair, 0.01));
    assert_close(z_per_draw(Law::Bernoulli(taggant::law::Gamma::new(1, 1).unwrap()), 0.1), 0.2);
    let power = Hits::of_coins(fair).power(30 * 1_000, 0.02, -13.8);
    assert!((0.95..1.0).contains(&power), "{power}");
}

#[test]
fn a_law_of_layers_is_stored_as_its_weights() {
    let law = Law::Layers(Layers::weighted(&[10, 0, 3]).unwrap());
    let text = serde_json::to_string(&law).unwrap();
    assert_eq!(text, r#"{"Layers":[10,0,3]}"#);
    assert_eq!(serde_json::from_str::<Law>(&text).unwrap(), law);
    assert!(serde_json::from_str::<Law>(r#"{"Layers":[16]}"#).is_err());
}
