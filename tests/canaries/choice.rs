//! Keyed choices through the whole of `stat`: against enumeration of every outcome, and against known answers.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::Value;
use taggant::law::{Choices, Gamma, Law, Origin, Scale, Scores, Step, Tally};
use taggant::stat::chernoff::chernoff_ln_sf;
use taggant::stat::cumulant::RealTerm;
use taggant::stat::verdict::{Summary, TailMethod, verdict_tail};

fn summary(slots: &[(Vec<i32>, u32)]) -> Summary {
    let mut choices = Choices::new();
    for (slot, (scores, _)) in (0_u32..).zip(slots) {
        let scores: Vec<f64> = scores.iter().map(|score| f64::from(*score)).collect();
        choices.add(slot, &scores, slot).unwrap();
    }
    Summary::of(choices.whole(Scale::Unit).open(Origin([0; 32]), |slot| slots[*slot as usize].1)).unwrap()
}

/// P(S ≥ s) by going through every combination of picks, and s.
fn enumerated(slots: &[(Vec<i32>, u32)]) -> (f64, i32) {
    let telling = slots.iter().filter(|(scores, _)| scores.iter().any(|score| *score != scores[0]));
    let mut sums = vec![0];
    let mut observed = 0;
    for (scores, pick) in telling {
        sums = sums.iter().flat_map(|sum| scores.iter().map(move |score| sum + score)).collect();
        observed += scores[*pick as usize];
    }
    let hits = sums.iter().filter(|sum| **sum >= observed).count();
    (hits as f64 / sums.len() as f64, observed)
}

fn slot() -> impl Strategy<Value = (Vec<i32>, u32)> {
    (2_usize..6).prop_flat_map(|k| (prop::collection::vec(-9_i32..10, k), 0..u32::try_from(k).unwrap()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn the_tail_is_that_of_all_combinations_of_picks(mut slots in prop::collection::vec(slot(), 1..7)) {
        slots.push((vec![1, 0], 1));
        let (p, observed) = enumerated(&slots);
        let found = summary(&slots);
        prop_assert_eq!(found.statistic, f64::from(observed));
        prop_assert!(found.ln_p >= p.ln() - 1e-12 && found.ln_p <= p.ln() + 1e-6, "{} for {}", found.ln_p, p.ln());
        prop_assert!(found.ln_p_min.unwrap() <= found.ln_p + 1e-9);
    }

    #[test]
    fn the_e_process_is_a_fair_game_over_all_picks(scores in prop::collection::vec(-9_i32..10, 2..6)) {
        let scores = Scores::new(&scores).unwrap();
        let steps = |pick| [Step::choice(scores, 0, pick), Step::choice(Scores::new(&[1, 0]).unwrap(), 1, 0)];
        let siblings = scores.as_slice().len() as u32;
        // The first factor averages to 1 over the picks; the second game is the same each time.
        let second = Summary::of_reading(&steps(0)[1..], 9.0, &[1.0]).unwrap().ln_e;
        let mut games = 0.0;
        for pick in 0..siblings {
            let whole = Summary::of_reading(&steps(pick)[..1], 9.0, &[1.0]);
            games += whole.map_or(1.0, |whole| whole.ln_e.exp());
        }
        prop_assert!((games / f64::from(siblings) - 1.0).abs() < 1e-9, "{games}");
        prop_assert!(second > 0.0);
    }

    #[test]
    fn chernoffs_bound_is_never_below_the_exact_tail(slots in prop::collection::vec(slot(), 2..9)) {
        let telling: Vec<_> = slots.iter().filter(|(f, _)| f.iter().any(|score| *score != f[0])).cloned().collect();
        prop_assume!(!telling.is_empty());
        let real = |(scores, _): &(Vec<i32>, u32)| RealTerm::choice(scores.iter().map(|f| f64::from(*f)).collect());
        let terms: Vec<RealTerm> = telling.iter().map(real).collect();
        let found = summary(&telling);
        prop_assert!(chernoff_ln_sf(&terms, found.statistic).unwrap() >= found.ln_p - 1e-6);
    }
}

#[test]
fn score_vectors_reach_the_known_answers() {
    let file: Value = serde_json::from_str(include_str!("../vectors/lattice.json")).unwrap();
    let mut seen = 0;
    for case in file["cases"].as_array().unwrap().iter().filter(|case| case["scores"].is_array()) {
        let scores: Vec<Vec<i32>> = serde_json::from_value(case["scores"].clone()).unwrap();
        let k = case["k"].as_i64().unwrap();
        let Some(picks) = picks_with_sum(&scores, k) else { continue };
        let slots: Vec<_> = scores.into_iter().zip(picks).collect();
        let (found, truth) = (summary(&slots).ln_p, case["ln_p"].as_f64().unwrap());
        assert!(
            found >= truth - f64::EPSILON * truth.abs() && found <= truth + 1e-6 * truth.abs().min(1.0),
            "{found} for {truth}"
        );
        seen += 1;
    }
    assert!(seen > 0, "no known answer was reached");
}

/// Picks whose scores add up to k, found greedily from the largest scores downwards, or none.
fn picks_with_sum(scores: &[Vec<i32>], k: i64) -> Option<Vec<u32>> {
    // reachable[i]: sums that slots i.. can reach.
    let mut reachable = vec![std::collections::BTreeSet::from([0_i64])];
    for f in scores.iter().rev() {
        let last = reachable.last()?;
        let next = last.iter().flat_map(|sum| f.iter().map(move |score| sum + i64::from(*score))).collect();
        reachable.push(next);
    }
    reachable.reverse();
    let mut left = k;
    let mut picks = Vec::new();
    for (f, rest) in scores.iter().zip(&reachable[1..]) {
        let pick = f.iter().position(|score| rest.contains(&(left - i64::from(*score))))?;
        left -= i64::from(f[pick]);
        picks.push(u32::try_from(pick).ok()?);
    }
    Some(picks)
}

#[test]
fn hits_are_the_binomial_tail_and_pool_with_coins() {
    let slots: Vec<_> = (0..40)
        .map(|slot| {
            let mut scores = vec![0; 16];
            scores[slot % 16] = 1;
            (scores, if slot < 12 { slot as u32 % 16 } else { (slot as u32 + 1) % 16 })
        })
        .collect();
    let found = summary(&slots);
    assert_eq!((found.statistic, found.method), (12.0, TailMethod::Binomial));
    let rate = taggant::stat::Rate::new(1, 16).unwrap();
    let truth = taggant::stat::tail::binomial_ln_sf(40, 12, rate);
    assert!((found.ln_p - truth).abs() < 1e-9 * truth.abs());
    assert!((found.expected - 0.0625).abs() < 1e-12 && (found.estimate - 0.3).abs() < 1e-12);

    let mut coins = Tally::new();
    (0..20).for_each(|token| coins.add(token, 1.0, token));
    let coins =
        coins
            .whole(Scale::Unit)
            .open(Law::Bernoulli(Gamma::new(1, 1).unwrap()), Origin([1; 32]), |token| token & 1);
    let mut choices = Choices::new();
    choices.add(0, &[1.0, 0.0], 99).unwrap();
    let pooled = coins.pool(choices.whole(Scale::Unit).open(Origin([2; 32]), |_| 0)).unwrap();
    let (ln_p, _) = verdict_tail(pooled).unwrap();
    let truth = taggant::stat::tail::binomial_ln_sf(21, 11, taggant::stat::Rate::new(1, 2).unwrap());
    assert!((ln_p - truth).abs() < 1e-9);
}
