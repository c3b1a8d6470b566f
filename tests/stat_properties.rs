//! Properties of the statistics that hold for every input: tails against brute force, e-processes against
//! Ville's inequality.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a value that cannot be made is a failed test")]

use std::ops::RangeInclusive;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Gamma};
use taggant::stat::Rate;
use taggant::stat::chernoff::chernoff_ln_sf;
use taggant::stat::cumulant::{RealLaw, RealTerm};
use taggant::stat::eprocess::{EProcess, EProcessError, Grid, Observed};
use taggant::stat::estimate::{Cluster, ratio_estimate};
use taggant::stat::importance::{ImportanceError, importance_ln_sf};
use taggant::stat::lattice::{
    LatticeError, LatticeLaw, LatticeTerm, Method, lattice_ln_sf, lattice_spread, poisson_binomial_ln_sf,
};
use taggant::stat::math::{exp, ln, ln_1m_exp, log_sum_exp, normal_ln_sf, normal_z};
use taggant::stat::multiple::{binomial_upper_limit, bonferroni, holm, mean_ln_e, product_ln_e, screen_e_bh};
use taggant::stat::power::{power, z_needed};
use taggant::stat::rank::RankScores;
use taggant::stat::saddlepoint::saddlepoint_ln_sf;
use taggant::stat::tail::{binomial_ln_sf, gamma_ln_sf, hypergeometric_ln_sf};

/// Rounding of the brute-force reference: a few hundred additions and products of positive numbers.
const REFERENCE: f64 = 1e-12;

proptest! {
    // Fixed cases: a run never fails by luck. Change the seed or PROPTEST_CASES to search further.
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn a_lattice_tail_is_never_below_brute_force_and_close_to_it(terms in any_terms(), share in 0.0..=1.0) {
        let law = BruteForce::of(&terms);
        let k = law.value_at(share);
        let (above, below) = law.tails(k);
        let tail = lattice_ln_sf(&terms, k).unwrap();
        // Compared in the tail that has the digits.
        let truth = if above < 0.5 { ln(above) } else { ln_1m_exp(ln(below)) };
        prop_assert!(tail.ln_p >= truth - REFERENCE * truth.abs().max(1.0), "{tail:?} for {truth}");
        prop_assert!(tail.ln_p <= truth + 1e-6 * truth.abs().clamp(1e-9, 1.0), "{tail:?} for {truth}");
        prop_assert!(tail.estimate <= tail.ln_p && tail.ln_p <= 0.0);
    }

    #[test]
    fn a_lattice_tail_falls_with_k_and_ends_where_the_sum_ends(terms in any_terms()) {
        let law = BruteForce::of(&terms);
        let mut last = 0.0;
        let step = 1 + law.law.len() / 24;
        for k in (law.low..=law.high()).step_by(step) {
            let tail = lattice_ln_sf(&terms, k).unwrap();
            prop_assert!(tail.estimate <= last + REFERENCE, "{tail:?} at {k} after {last}");
            last = tail.estimate;
        }
        prop_assert_eq!(lattice_ln_sf(&terms, law.low).unwrap().ln_p, 0.0);
        prop_assert_eq!(lattice_ln_sf(&terms, law.high() + 1).unwrap().ln_p, f64::NEG_INFINITY);
        prop_assert!(lattice_ln_sf(&terms, law.high()).unwrap().ln_p > f64::NEG_INFINITY);
    }

    #[test]
    fn chernoffs_bound_is_never_below_the_exact_tail(terms in any_terms(), share in 0.0..=1.0) {
        let law = BruteForce::of(&terms);
        let k = law.value_at(share);
        let real: Vec<RealTerm> = terms.iter().map(real_term).collect();
        let bound = chernoff_ln_sf(&real, whole_to_f64(k)).unwrap();
        let exact = lattice_ln_sf(&terms, k).unwrap();
        prop_assert!(bound >= exact.estimate - REFERENCE * exact.estimate.abs(), "{bound} below {exact:?}");
    }

    #[test]
    fn chernoffs_bound_of_exponentials_is_never_below_the_gamma_tail(n in 1_u64..400, excess in 0.0..8.0) {
        let sum = (1.0 + excess) * f64::from(u32::try_from(n).unwrap());
        let terms = [RealTerm { law: RealLaw::Exponential { coefficient: 1.0 }, count: n }];
        let bound = chernoff_ln_sf(&terms, sum).unwrap();
        let exact = gamma_ln_sf(n, sum);
        prop_assert!(bound >= exact && bound <= exact.min(0.0) + 5.0 + 0.02 * exact.abs(), "{bound} for {exact}");
    }

    #[test]
    fn closed_tails_agree_with_statrs_where_it_reaches(n in 1_u64..3000, share in 0.0..=1.0, num in 1_u64..256) {
        let k = ceil(share * whole_to_f64(n.try_into().unwrap()));
        let rate = Rate::new(num, 256).unwrap();
        let theirs = Binomial::new(rate.p(), n).unwrap();
        agree(binomial_ln_sf(n, k, rate), if k == 0 { 1.0 } else { theirs.sf(k - 1) })?;
        let sum = 3.0 * share * whole_to_f64(n.try_into().unwrap());
        agree(gamma_ln_sf(n, sum), Gamma::new(whole_to_f64(n.try_into().unwrap()), 1.0).unwrap().sf(sum))?;
    }

    #[test]
    fn equal_chances_make_a_poisson_binomial_a_binomial(n in 1_usize..300, share in 0.0..=1.0, num in 1_u64..64) {
        let rate = Rate::new(num, 64).unwrap();
        let k = ceil(share * f64::from(u32::try_from(n).unwrap()));
        let (general, closed) =
            (poisson_binomial_ln_sf(&vec![rate.p(); n], k).unwrap(), binomial_ln_sf(n as u64, k, rate));
        prop_assert!((general - closed).abs() <= 1e-9 * closed.abs(), "{general} for {closed}");
    }

    #[test]
    fn a_rank_with_ties_is_never_better_than_its_law(levels in prop::collection::vec(0_u8..4, 1..9), steep in any::<bool>()) {
        // A few levels of liking, so that ties abound; level 0 is no number at all.
        let values: Vec<f64> = levels.iter().map(|&l| if l == 0 { f64::NAN } else { f64::from(l) }).collect();
        let m = u16::try_from(values.len()).unwrap();
        let scores = if steep {
            RankScores::new((0..m).map(|rank| 100 / i32::from(rank + 1)).collect()).unwrap()
        } else {
            RankScores::linear(m).unwrap()
        };
        let attained: Vec<i32> = (0..values.len()).map(|served| scores.score(&values, served).unwrap()).collect();
        let untied = values.iter().enumerate().all(|(i, a)| !a.is_nan() && !values[..i].contains(a));
        for &score in &attained {
            let reached = attained.iter().filter(|&&other| other >= score).count();
            let truth = ln(whole_to_f64(reached.try_into().unwrap()) / f64::from(m));
            let stated = lattice_ln_sf(&[scores.term()], i64::from(score)).unwrap();
            prop_assert!(stated.ln_p >= truth - REFERENCE, "{stated:?} for {truth}");
            prop_assert!(!untied || stated.ln_p <= truth + 1e-9, "{stated:?} for {truth} without a tie");
        }
    }

    #[test]
    fn the_saddlepoint_is_a_probability_or_nothing_and_near_chernoffs_bound(terms in any_terms(), share in 0.0..=1.0) {
        let law = BruteForce::of(&terms);
        let s = whole_to_f64(law.low) + share * whole_to_f64(law.high() - law.low);
        let real: Vec<RealTerm> = terms.iter().map(real_term).collect();
        if let Some(ln_p) = saddlepoint_ln_sf(&real, s).unwrap() {
            let bound = chernoff_ln_sf(&real, s).unwrap();
            prop_assert!(ln_p <= 0.0 && ln_p.is_finite());
            // Where one draw dominates the formula is far off, and still no more than this.
            prop_assert!((ln_p - bound).abs() <= 3.0 + 2.0 * ln(1.0 + bound.abs()), "{ln_p} for {bound}");
        }
    }

    #[test]
    fn what_e_bh_marks_is_the_largest_set_that_supports_itself(ln_e in prop::collection::vec(-3.0..9.0, 0..12), level in 0.01..0.9) {
        let marked = screen_e_bh(&ln_e, ln(level));
        // By its definition, over all sets of the largest.
        let mut falling = ln_e.clone();
        falling.sort_by(|a, b| b.total_cmp(a));
        let m = whole_to_f64(ln_e.len().try_into().unwrap());
        let supports = |&k: &usize| {
            k == 0 || exp(falling[k - 1]) >= m / (level * whole_to_f64(k.try_into().unwrap()))
        };
        let largest = (0..=ln_e.len()).rev().find(supports).unwrap();
        prop_assert_eq!(marked.iter().filter(|marked| **marked).count(), largest);
        let least = ln_e.iter().zip(&marked).filter(|pair| *pair.1).map(|pair| *pair.0).fold(f64::INFINITY, f64::min);
        prop_assert!(ln_e.iter().zip(&marked).all(|(ln_e, marked)| *marked || *ln_e < least));
    }

    #[test]
    fn a_state_that_was_saved_goes_on_bit_for_bit(sums in prop::collection::vec(0_u32..20, 1..40), cut in 0_usize..40) {
        let law = RealLaw::Bernoulli { coefficient: 0.7, rate: Rate::new(1, 3).unwrap() };
        let grid = Grid::bounded(0.9).unwrap().with_shares(vec![1.0, 0.1]).unwrap();
        let observe = |process: &mut EProcess, hits: u32| {
            process.batch(&[Observed { law: &law, count: 20, sum: 0.7 * f64::from(hits) }]).unwrap();
        };
        let mut whole = EProcess::new(grid);
        let mut parts = whole.clone();
        for (i, &hits) in sums.iter().enumerate() {
            if i == cut {
                parts = serde_json::from_str(&serde_json::to_string(&parts).unwrap()).unwrap();
            }
            observe(&mut whole, hits);
            observe(&mut parts, hits);
        }
        prop_assert_eq!(whole.path(), parts.path());
        prop_assert_eq!(&whole, &parts);
    }
}

#[test]
fn a_million_draws_that_are_a_binomial_in_disguise() {
    // Half the coins come in pairs whose number of heads is one score: the sum is Binomial(1e6, ½), but no
    // closed form is seen.
    let half = Rate::new(1, 2).unwrap();
    let pair = LatticeTerm { law: LatticeLaw::Scores(vec![0, 1, 1, 2]), count: 250_000 };
    let terms = [LatticeTerm::coins(1, half, 500_000), pair];
    for k in [400_000, 490_000, 499_000, 500_001, 501_500, 510_000, 600_000, 900_000, 999_999, 1_000_000] {
        let tail = lattice_ln_sf(&terms, i64::try_from(k).unwrap()).unwrap();
        let truth = binomial_ln_sf(1_000_000, k, half);
        assert_eq!(tail.method, Method::Inversion);
        // Binomial deviances are good to a few roundings.
        assert!(
            tail.ln_p >= truth * (1.0 + 1e-14) && tail.ln_p <= truth + 1e-6 * truth.abs().min(1.0),
            "{tail:?} for {truth}"
        );
    }
}

#[test]
fn chernoffs_bound_has_its_closed_forms() {
    let near = |bound: f64, closed: f64| {
        assert!((bound - closed).abs() <= 1e-9 * closed.abs(), "{bound} for {closed}")
    };
    let rate = Rate::new(1, 4).unwrap();
    // −n KL(k/n ‖ γ); at k = n the probability itself.
    let coins = [RealTerm { law: RealLaw::Bernoulli { coefficient: 0.1, rate }, count: 1000 }];
    near(chernoff_ln_sf(&coins, 40.0).unwrap(), -1000.0 * (0.4 * ln(0.4 / 0.25) + 0.6 * ln(0.6 / 0.75)));
    near(chernoff_ln_sf(&coins, 100.0).unwrap(), 1000.0 * ln(0.25));
    assert!(chernoff_ln_sf(&coins, 100.1).unwrap() < 1000.0 * ln(0.25));
    // n (1 + ln x − x), x the mean draw.
    let exponential = [RealTerm { law: RealLaw::Exponential { coefficient: 2.0 }, count: 500 }];
    near(chernoff_ln_sf(&exponential, 1500.0).unwrap(), 500.0 * (1.0 + ln(1.5) - 1.5));
    // At or below the mean nothing is said, and what is no number says nothing.
    assert_eq!(chernoff_ln_sf(&coins, 25.0), Ok(0.0));
    assert_eq!(chernoff_ln_sf(&coins, f64::NAN), Ok(0.0));
    assert!(chernoff_ln_sf(&[RealTerm::exponential(-1.0)], 1.0).is_err());
    assert!(chernoff_ln_sf(&[RealTerm::coin(f64::NAN, rate)], 1.0).is_err());
}

#[test]
fn sums_without_chance_and_odd_inputs() {
    let quarter = Rate::new(1, 4).unwrap();
    let ln_p = |terms: &[LatticeTerm], k| lattice_ln_sf(terms, k).unwrap().ln_p;
    assert_eq!(ln_p(&[], 0), 0.0);
    assert_eq!(ln_p(&[], 1), f64::NEG_INFINITY);
    assert_eq!(ln_p(&[LatticeTerm::coins(0, quarter, 1000)], 0), 0.0);
    assert_eq!(ln_p(&[LatticeTerm::coins(5, quarter, 0)], 1), f64::NEG_INFINITY);
    assert_eq!(ln_p(&[LatticeTerm::choice(vec![7, 7])], 7), 0.0);
    assert_eq!(ln_p(&[LatticeTerm::choice(vec![7, 7])], 8), f64::NEG_INFINITY);
    // A common factor and a shift leave a binomial: 6 × (hits of 10) − 30 ≥ −5 needs 5 hits.
    let shifted = [LatticeTerm::coins(6, quarter, 10), LatticeTerm::choice(vec![-30])];
    let tail = lattice_ln_sf(&shifted, -5).unwrap();
    assert_eq!((tail.method, tail.estimate), (Method::Binomial, binomial_ln_sf(10, 5, quarter)));
    // A term without draws changes nothing, not even the step of the lattice.
    let absent = [LatticeTerm::coins(1, quarter, 0), LatticeTerm::coins(6, quarter, 10)];
    assert_eq!(lattice_ln_sf(&absent, 25).unwrap().estimate, binomial_ln_sf(10, 5, quarter));
    // A coin that counts against is the opposite coin, shifted: −2 × (hits of 10) ≥ −4 needs 8 misses.
    let against = lattice_ln_sf(&[LatticeTerm::coins(-2, quarter, 10)], -4).unwrap();
    assert_eq!(against.estimate, binomial_ln_sf(10, 8, quarter.complement()));

    let empty = lattice_ln_sf(&[LatticeTerm::choice(vec![])], 0);
    assert_eq!(empty, Err(LatticeError::NoScores));
    let huge = [LatticeTerm::coins(i32::MAX, quarter, 1 << 40)];
    assert_eq!(lattice_ln_sf(&huge, 0), Err(LatticeError::Overflow));
    let coarse =
        [LatticeTerm::coins(i32::MAX, quarter, 1000), LatticeTerm::coins(i32::MAX - 1, quarter, 1000)];
    assert!(matches!(lattice_ln_sf(&coarse, 1 << 40), Err(LatticeError::TooWide { .. })));
    assert_eq!(poisson_binomial_ln_sf(&[0.5, 1.5], 1), Err(LatticeError::NoChance(1.5)));
    assert_eq!(poisson_binomial_ln_sf(&[1.0, 0.0, 0.5], 2), Ok(ln(0.5)));
    assert!(hypergeometric_ln_sf(10, 11, 1, 0).is_err());
    assert!(Rate::new(0, 4).is_err() && Rate::new(4, 4).is_err() && Rate::dyadic(1, 64).is_err());
}

#[test]
fn chances_too_small_to_add_to_one_keep_their_tails() {
    // At least two hits of n: C(n,2) p² (1 − p)^(n−2) and more, to first order. The search for λ starts at 1/p.
    for p in [1e-10, 1e-14, 1e-16, 1e-20, 1e-100, 1e-300] {
        for (n, pairs) in [(3, 3.0), (10, 45.0)] {
            let (found, truth) = (poisson_binomial_ln_sf(&vec![p; n], 2).unwrap(), ln(pairs) + 2.0 * ln(p));
            assert!((found - truth).abs() <= 1e-8, "{found} for {truth}");
        }
    }
    for bits in [32, 40, 53] {
        let rate = Rate::dyadic(1, bits).unwrap();
        let terms = [LatticeTerm::coins(127, rate, 3), LatticeTerm::coins(1, rate, 30)];
        let once = rate.ln_p();
        for (k, truth) in
            [(1, once + ln(33.0)), (127, once + ln(3.0)), (254, 2.0 * once + ln(3.0)), (380, 3.0 * once)]
        {
            let tail = lattice_ln_sf(&terms, k).unwrap();
            assert!(tail.bound < 1e-8 && (tail.estimate - truth).abs() < 1e-7, "{tail:?} for {truth}");
        }
        let real: Vec<RealTerm> = terms.iter().map(real_term).collect();
        let bound = chernoff_ln_sf(&real, 381.0).unwrap();
        assert!(bound < 3.0 * once + 1e-3 && bound >= 3.0 * once - 1e-3, "{bound}");
    }
}

#[test]
fn spread_says_how_many_equal_draws_a_sum_is_worth() {
    let quarter = Rate::new(1, 4).unwrap();
    let one =
        lattice_spread(&[LatticeTerm::coins(30, quarter, 1), LatticeTerm::coins(1, quarter, 30)]).unwrap();
    // (Σa²)² / Σa⁴ = 930² / 810030.
    assert!(
        (one.n_eff - 1.067_738).abs() < 1e-6 && (one.largest_share - 900.0 / 930.0).abs() < 1e-12,
        "{one:?}"
    );
    assert!((one.mean - 15.0).abs() < 1e-12 && (one.sd - (930.0_f64 * 3.0 / 16.0).sqrt()).abs() < 1e-12);
    assert!((one.ln_p_min - 31.0 * ln(0.25)).abs() < 1e-12);
}

#[test]
fn an_e_value_has_mean_one_and_the_best_bet_in_hindsight_has_not() {
    // Every outcome of ten coins, two of which count against, and one choice among four: an exact expectation.
    let coin = |a: f64| RealLaw::Bernoulli { coefficient: a, rate: Rate::new(1, 4).unwrap() };
    let coins = [1.0, 2.0, 0.5, 1.0, 1.0, -1.0, 1.5, 1.0, -0.25, 1.0].map(coin);
    let scores = vec![2.0, 0.0, -1.0, 0.0];
    let choice = RealLaw::Scores(scores.clone());
    for shares in [vec![1.0], vec![1.0, 0.3, 0.01]] {
        let grid = Grid::bounded(2.0).unwrap().with_shares(shares).unwrap();
        let (mut average, mut hindsight) = (0.0, 0.0);
        for outcome in 0..1_u32 << coins.len() {
            for &score in &scores {
                let hit = |i: usize| f64::from(outcome >> i & 1);
                let mut batch: Vec<Observed<'_>> = coins
                    .iter()
                    .enumerate()
                    .map(|(i, law)| Observed { law, count: 1, sum: law_size(law) * hit(i) })
                    .collect();
                batch.push(Observed { law: &choice, count: 1, sum: score });
                let hits = outcome.count_ones();
                let chance = exp(f64::from(hits) * ln(0.25) + f64::from(10 - hits) * ln(0.75)) / 4.0;
                average += chance * exp(ln_e(&grid, &batch));
                hindsight += chance * exp(best_single_bet(&grid, &batch));
            }
        }
        assert!((average - 1.0).abs() < 1e-12, "E E = {average}");
        assert!(hindsight > 1.2, "the largest product has mean {hindsight}");
    }
}

#[test]
fn under_h0_an_e_process_seldom_reaches_twenty_and_the_best_bet_in_hindsight_often_does() {
    // 2,000 innocents under fixed seeds, 400 answers of ten coins each; alarm when a correct process would give
    // one in a thousand.
    let runs = 2000;
    let limit = binomial_upper_limit(runs, Rate::new(1, 20).unwrap(), 0.999);
    let law = RealLaw::Bernoulli { coefficient: 1.0, rate: Rate::new(1, 4).unwrap() };
    let grid = Grid::bounded(1.0).unwrap();
    let psi: Vec<f64> = grid.lambdas().iter().map(|&lambda| 10.0 * ln(0.75 + 0.25 * exp(lambda))).collect();
    let (mut rejected, mut hindsight) = (0, 0);
    for seed in 0..runs {
        let mut coins = ChaCha8Rng::seed_from_u64(seed);
        let mut process = EProcess::new(grid.clone());
        let (mut games, mut best) = (vec![0.0; psi.len()], 0.0_f64);
        for _ in 0..400 {
            let hits = f64::from((0..10).map(|_| u32::from(coins.next_u32() < 1 << 30)).sum::<u32>());
            process.batch(&[Observed { law: &law, count: 10, sum: hits }]).unwrap();
            for ((game, lambda), psi) in games.iter_mut().zip(grid.lambdas()).zip(&psi) {
                *game += lambda * hits - psi;
                best = best.max(*game);
            }
        }
        rejected += u64::from(process.ln_p() <= -ln(20.0));
        hindsight += u64::from(best >= ln(20.0));
    }
    println!("averaged: {rejected} of {runs} reach 20, at most {limit}; best in hindsight: {hindsight}");
    assert!(rejected <= limit, "{rejected} of {runs} innocents reached 20");
    assert!(hindsight > limit, "choosing the bet in hindsight should be caught: {hindsight} of {runs}");
}

#[test]
fn an_e_process_refuses_what_was_not_planned_and_stays_as_it_was() {
    let quarter = Rate::new(1, 4).unwrap();
    let coin = |coefficient| RealLaw::Bernoulli { coefficient, rate: quarter };
    let exponential = |coefficient| RealLaw::Exponential { coefficient };
    let mut process = EProcess::new(Grid::bounded(2.0).unwrap());
    process.batch(&[Observed { law: &coin(2.0), count: 3, sum: 4.0 }]).unwrap();
    let before = process.clone();
    let refused = [
        (coin(2.1), 1, 2.1, "too large"),
        (coin(1.0), 2, 3.0, "more hits than draws"),
        (coin(1.0), 2, f64::NAN, "no number"),
        (coin(f64::INFINITY), 1, 0.0, "no coefficient"),
        (exponential(2.0), 1, 1.0, "a bet without a price"),
        (exponential(-1.0), 1, -1.0, "exponential and against"),
        (RealLaw::Scores(vec![]), 1, 0.0, "no scores"),
    ];
    for (law, count, sum, why) in &refused {
        let good = coin(1.0);
        let batch = [Observed { law: &good, count: 1, sum: 1.0 }, Observed { law, count: *count, sum: *sum }];
        assert!(process.batch(&batch).is_err(), "{why}");
        assert_eq!(process, before, "{why}");
    }
    let law = exponential(2.0);
    let mut priced = EProcess::new(Grid::exponential(2.0).unwrap());
    assert!(priced.batch(&[Observed { law: &law, count: 1, sum: 3.0 }]).is_ok());
    assert_eq!(Grid::bounded(0.0), Err(EProcessError::Grid(0.0)));
    assert_eq!(Grid::bounded(4.0).unwrap().lambdas()[..2], [0.25, 0.125]);
    assert_eq!(Grid::exponential(4.0).unwrap().lambdas().len(), 12);
}

#[test]
fn a_saved_state_that_was_changed_is_refused() {
    let law = RealLaw::Bernoulli { coefficient: 1.0, rate: Rate::new(1, 4).unwrap() };
    let mut process = EProcess::new(Grid::new(1.0, vec![1.0, 0.5]).unwrap());
    process.batch(&[Observed { law: &law, count: 4, sum: 3.0 }]).unwrap();
    let text = serde_json::to_string(&process).unwrap();
    assert_eq!(serde_json::from_str::<EProcess>(&text).unwrap(), process);
    let ln_e = format!("{:?}", process.ln_e());
    let changed = [
        (ln_e.as_str(), "9.5", "ln E that the games do not give"),
        ("\"0.5\"", "\"0.25\",\"0.125\"", "a grid of another size"),
        ("\"0.5\"", "\"-0.5\"", "a bet on the other side"),
        ("\"path\"", "\"Path\"", "another field"),
    ];
    for (from, to, why) in changed {
        let forged = text.replacen(from, to, 1);
        assert_ne!(forged, text, "{why}");
        assert!(serde_json::from_str::<EProcess>(&forged).is_err(), "{why}: {forged}");
    }
}

#[test]
fn an_e_process_finds_an_effect_and_starts_at_one() {
    let law = RealLaw::Bernoulli { coefficient: 1.0, rate: Rate::new(1, 4).unwrap() };
    let mut process = EProcess::new(Grid::bounded(1.0).unwrap());
    assert_eq!((process.ln_e(), process.ln_p()), (0.0, 0.0));
    process.batch(&[Observed { law: &law, count: 100, sum: 10.0 }]).unwrap();
    assert!(process.ln_e() < 0.0);
    assert_eq!(process.ln_p(), 0.0);
    process.batch(&[Observed { law: &law, count: 1000, sum: 400.0 }]).unwrap();
    assert!(process.ln_p() < -20.0 && process.ln_p() > binomial_ln_sf(1000, 400, Rate::new(1, 4).unwrap()));
}

#[test]
fn several_tests_cost_what_holm_says() {
    let ln_p = [0.01, 0.04, 0.03, 0.005].map(ln);
    let adjusted: Vec<f64> = holm(&ln_p).into_iter().map(exp).collect();
    for (adjusted, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
        assert!((adjusted - expected).abs() < 1e-12, "{adjusted} for {expected}");
    }
    assert_eq!(bonferroni(-1e6, 1), -1e6);
    assert_eq!(bonferroni(-0.1, 3), 0.0);
    assert!(holm(&[]).is_empty());
    assert!((mean_ln_e(&[(1.0, ln(30.0)), (2.0, 0.0)]) - ln(32.0 / 3.0)).abs() < 1e-12);
}

#[test]
fn screening_and_products_of_e_values() {
    let marked = |e: &[f64]| screen_e_bh(&e.iter().copied().map(ln).collect::<Vec<_>>(), ln(0.05));
    // Of four at 5 % the largest needs 80, two need 40 each, three 26.7, all of them 20.
    assert_eq!(marked(&[39.0, 2.0, 79.0, 10.0]), [false; 4]);
    assert_eq!(marked(&[41.0, 2.0, 79.0, 10.0]), [true, false, true, false]);
    assert_eq!(marked(&[21.0, 21.0, 21.0, 21.0]), [true; 4]);
    assert_eq!(
        screen_e_bh(&[f64::NAN, 9.0, f64::NEG_INFINITY, f64::INFINITY], -3.0),
        [false, true, false, true]
    );
    assert!(screen_e_bh(&[], -3.0).is_empty());
    // The worst case of dependence: one e-value in twenty copies, 20 with chance 1/20. A false mark is then a
    // false discovery, and comes as often as allowed and no more.
    assert_eq!(marked(&[20.5; 20]), [true; 20]);
    assert_eq!(marked(&[19.5; 20]), [false; 20]);

    assert_eq!(product_ln_e(&[]), 0.0);
    assert!((product_ln_e(&[ln(4.0), ln(0.5), 1e6]) - (1e6 + ln(2.0))).abs() < 1e-9);
    assert_eq!(product_ln_e(&[f64::INFINITY, f64::NEG_INFINITY]), f64::NEG_INFINITY);
    // On the same draws a product is no e-value: E = 20 with chance 1/20 has E E² = 20.
    let same_draws = 0.05 * exp(product_ln_e(&[ln(20.0), ln(20.0)]));
    assert!(same_draws > 19.9 && 0.05 * exp(mean_ln_e(&[(1.0, ln(20.0)), (1.0, ln(20.0))])) < 1.0 + 1e-12);
}

#[test]
fn sums_of_ranks_are_dice() {
    // Ten slots of six twins: the sum of ranks is that of ten dice, by inclusion and exclusion in whole numbers.
    let scores = RankScores::linear(6).unwrap();
    let slots = vec![scores.term(); 10];
    for pips in 10..=60_u64 {
        // Score 7 − 2 × rank, so at most so many pips are at least this score.
        let tail = lattice_ln_sf(&slots, 70 - 2 * i64::try_from(pips).unwrap()).unwrap();
        let ways: i128 = (0..=10)
            .take_while(|j| pips >= 6 * j + 10)
            .map(|j| (1 - 2 * i128::from(j % 2)) * choose(10, j) * choose(pips - 6 * j, 10))
            .sum();
        let truth = ln(taggant::stat::math::signed_to_f64(ways)) - 10.0 * ln(6.0);
        assert!(tail.ln_p >= truth - 1e-12 && tail.ln_p <= truth + 1e-9, "{tail:?} for {truth} at {pips}");
    }
}

#[test]
fn ranks_whose_ties_do_not_count_against_the_accuser_convict_an_innocent() {
    // An innocent that likes all five twins alike, in 20 slots.
    let scores = RankScores::linear(5).unwrap();
    let slots = vec![scores.term(); 20];
    let ln_p = |score: i32| lattice_ln_sf(&slots, 20 * i64::from(score)).unwrap().ln_p;
    let values = [0.5; 5];
    assert!((0..5).all(|served| ln_p(scores.score(&values, served).unwrap()) == 0.0));
    // Rank 1 + those above, and the middle rank: the first rejects always, the second halves p for nothing.
    assert!(ln_p(4) < -30.0);
    assert!(ln_p(0) < -0.5);
}

#[test]
fn the_saddlepoint_has_its_closed_forms() {
    let formula = |w: f64, u: f64| {
        let density = exp(-0.5 * w * w) / (2.0 * std::f64::consts::PI).sqrt();
        ln(exp(normal_ln_sf(w)) + density * (u.recip() - w.recip()))
    };
    let near = |terms: &[RealTerm], s: f64, closed: f64| {
        let ln_p = saddlepoint_ln_sf(terms, s).unwrap().unwrap();
        assert!((ln_p - closed).abs() <= 1e-6 * closed.abs().max(1e-3), "{ln_p} for {closed} at {s}");
    };
    for (n, s) in [(1, 3.0), (1, 0.2), (7, 20.0), (7, 7.2), (400, 380.0), (400, 500.0), (400, 1200.0)] {
        let terms = [RealTerm { law: RealLaw::Exponential { coefficient: 2.5 }, count: n }];
        let mean = whole_to_f64(n.try_into().unwrap());
        let w = (2.0 * (s - mean - mean * ln(s / mean))).sqrt().copysign(s - mean);
        near(&terms, 2.5 * s, formula(w, (s - mean) / mean.sqrt()));
        // The Gamma law is continuous, and there the formula is good.
        let exact = gamma_ln_sf(n, s);
        near(&terms, 2.5 * s, formula(w, (s - mean) / mean.sqrt()));
        assert!((formula(w, (s - mean) / mean.sqrt()) - exact).abs() < 0.02, "{exact}");
    }
    let quarter = Rate::new(1, 4).unwrap();
    for (n, k) in [(1000, 300.0), (1000, 200.0), (30, 20.0), (1_000_000, 251_000.0)] {
        let terms = [RealTerm { law: RealLaw::Bernoulli { coefficient: 1.0, rate: quarter }, count: n }];
        let n = whole_to_f64(n.try_into().unwrap());
        let w =
            (2.0 * (k * ln(4.0 * k / n) + (n - k) * ln((n - k) / (0.75 * n)))).sqrt().copysign(k - n / 4.0);
        near(&terms, k, formula(w, ln(3.0 * k / (n - k)) * (k * (n - k) / n).sqrt()));
    }
    // At the mean its limit, and no jump beside it: ½ − κ₃/(6 √2π), κ₃ = 2/√n for the Gamma law.
    let gamma = [RealTerm { law: RealLaw::Exponential { coefficient: 1.0 }, count: 100 }];
    near(&gamma, 100.0, ln(0.5 - 0.2 / (6.0 * (2.0 * std::f64::consts::PI).sqrt())));
    for s in [99.97, 99.991, 99.999, 100.001, 100.009, 100.02] {
        let (ln_p, exact) = (saddlepoint_ln_sf(&gamma, s).unwrap().unwrap(), gamma_ln_sf(100, s));
        assert!((ln_p - exact).abs() < 1e-4, "{ln_p} for {exact} at {s}");
    }
    // Far out nothing underflows.
    let many = [RealTerm { law: RealLaw::Exponential { coefficient: 1.0 }, count: 1_000_000 }];
    let (ln_p, exact) =
        (saddlepoint_ln_sf(&many, 3_500_000.0).unwrap().unwrap(), gamma_ln_sf(1_000_000, 3_500_000.0));
    assert!(exact < -1.2e6 && (ln_p - exact).abs() < 1e-3, "{ln_p} for {exact}");
    // Beyond the ends there is no saddlepoint, nor without chance.
    let coin = [RealTerm::coin(-2.0, quarter), RealTerm::coin(3.0, quarter)];
    for s in [-2.1, -2.0, 3.0, 3.1, f64::NAN, f64::INFINITY] {
        assert_eq!(saddlepoint_ln_sf(&coin, s), Ok(None), "{s}");
    }
    assert_eq!(saddlepoint_ln_sf(&[], 0.0), Ok(None));
    assert_eq!(saddlepoint_ln_sf(&[RealTerm::coin(0.0, quarter)], 0.0), Ok(None));
    assert!(saddlepoint_ln_sf(&[RealTerm::choice(vec![])], 0.0).is_err());
}

#[test]
fn the_saddlepoint_lies_below_most_exact_tails_of_a_small_mixed_lattice() {
    // The reason why it is no verdict: one coin of weight 30 and thirty of weight 1.
    let quarter = Rate::new(1, 4).unwrap();
    let terms = [LatticeTerm::coins(30, quarter, 1), LatticeTerm::coins(1, quarter, 30)];
    let real: Vec<RealTerm> = terms.iter().map(real_term).collect();
    let exact = |k| lattice_ln_sf(&terms, k).unwrap().estimate;
    let approximate = |k| saddlepoint_ln_sf(&real, whole_to_f64(k)).unwrap().unwrap();
    // mpmath 1.3, 40 digits: 9.39421e-9, and 3.8946800372e-9 for it.
    assert!((exp(exact(52)) / 9.394_21e-9 - 1.0).abs() < 1e-5);
    assert!((exp(approximate(52)) / 3.894_680_037_2e-9 - 1.0).abs() < 1e-6);
    let below = (1..60).filter(|k| *k != 15 && approximate(*k) < exact(*k)).count();
    let worst = (1..60).map(|k| exact(k) - approximate(k)).fold(0.0, f64::max);
    println!("below the exact tail at {below} of 58 values, by a factor of up to {:.1}", exp(worst));
    assert_eq!(below, 41);
    assert!(exp(worst) > 3.0);
}

#[test]
fn sampled_tails_agree_with_verdicts_near_one_in_a_million_and_in_a_trillion() {
    let quarter = Rate::new(1, 4).unwrap();
    let coins = |a, count| LatticeTerm::coins(a, quarter, count);
    let signed = (-127..=127).step_by(2).map(|a| coins(a, 1)).collect();
    let heavy = vec![coins(127, 3), coins(-127, 2), coins(1, 400), coins(-3, 60)];
    let steep = (1..=60).map(|i| coins(127 / i, 4)).chain([coins(-127, 5)]).collect();
    let slots = (0..40_i32).map(|i| LatticeTerm::choice((0..16).map(|j| (i * j * 37) % 255 - 127).collect()));
    let mixed: Vec<LatticeTerm> = slots.chain([coins(127, 20), coins(-127, 20), coins(19, 50)]).collect();
    for (name, terms, samples) in [
        ("signed, ±127", signed, 60_000),
        ("few heavy, many light", heavy, 60_000),
        ("steep", steep, 60_000),
        ("slots and coins", mixed, 60_000),
    ] {
        for target in [1e-6, 1e-12] {
            let k = value_at_tail(&terms, ln(target));
            let tail = lattice_ln_sf(&terms, k).unwrap();
            let sampled = importance_ln_sf(&terms, k, samples, 7).unwrap();
            let apart = (tail.ln_p - sampled.ln_p) / sampled.standard_error;
            println!(
                "{name}: ln p {:.4} at {k}, sampled {sampled:?}, {apart:.2} standard errors apart",
                tail.ln_p
            );
            assert!(tail.ln_p <= ln(target) && tail.ln_p > ln(target) - 2.5, "{tail:?} is not near {target}");
            assert!(sampled.standard_error < 0.03 && sampled.reached > 1000, "{name}: {sampled:?}");
            assert!(
                tail.ln_p >= sampled.ln_p - 5.0 * sampled.standard_error,
                "{name}: {tail:?} for {sampled:?}"
            );
            assert!(apart.abs() <= 5.0, "{name}: {tail:?} for {sampled:?}");
        }
    }
}

#[test]
fn sampled_tails_have_the_error_that_they_state() {
    // Against the exact binomial: forty seeds, so the mean square of the standardised errors is about 1.
    let quarter = Rate::new(1, 4).unwrap();
    let terms = [LatticeTerm::coins(3, quarter, 100)];
    let truth = binomial_ln_sf(100, 50, quarter);
    let errors: Vec<f64> = (0..40)
        .map(|seed| {
            let sampled = importance_ln_sf(&terms, 148, 2000, seed).unwrap();
            (sampled.ln_p - truth) / sampled.standard_error
        })
        .collect();
    let mean_square = errors.iter().map(|error| error * error).sum::<f64>() / 40.0;
    assert!((0.5..1.8).contains(&mean_square), "{mean_square}: {errors:?}");
    // What is certain, impossible or empty.
    let ln_p = |terms: &[LatticeTerm], k| importance_ln_sf(terms, k, 100, 1).unwrap().ln_p;
    assert_eq!(ln_p(&terms, 0), 0.0);
    assert_eq!(ln_p(&terms, 301), f64::NEG_INFINITY);
    assert_eq!(ln_p(&[], 0), 0.0);
    assert_eq!(ln_p(&[], 1), f64::NEG_INFINITY);
    assert!((ln_p(&terms, 300) - 100.0 * ln(0.25)).abs() < 1e-6);
    assert_eq!(importance_ln_sf(&terms, 3, 0, 1).unwrap().reached, 0);
    assert_eq!(importance_ln_sf(&[LatticeTerm::choice(vec![])], 0, 1, 1), Err(ImportanceError::NoScores));
}

#[test]
fn a_sum_of_ten_million_draws_far_out_agrees_with_its_saddlepoint() {
    // With so many draws the approximation is good, and it shares nothing with the inversion but the cumulant.
    let quarter = Rate::new(1, 4).unwrap();
    let terms: Vec<LatticeTerm> =
        (-127..=127).filter(|a| *a != 0).map(|a| LatticeTerm::coins(a, quarter, 39_370)).collect();
    let real: Vec<RealTerm> = terms.iter().map(real_term).collect();
    let sd = lattice_spread(&terms).unwrap().sd;
    let about =
        [(-3, -0.00135), (0, -0.69), (5, -15.06), (40, -804.6), (1000, -505_787.0), (1500, -1_159_355.0)];
    for (z, about) in about {
        let k = i64::try_from(ceil(sd)).unwrap() * z;
        let tail = lattice_ln_sf(&terms, k).unwrap();
        let rough = saddlepoint_ln_sf(&real, whole_to_f64(k) - 0.5).unwrap().unwrap();
        println!("z = {z}: {tail:?}, saddlepoint {rough}");
        assert!((tail.ln_p / about - 1.0).abs() < 1e-2, "{tail:?} for {about}");
        assert!((tail.ln_p - rough).abs() <= 1e-10 * rough.abs().max(1.0), "{tail:?} for {rough}");
        assert!(tail.ln_p >= tail.estimate && tail.bound <= 1e-9 * tail.ln_p.abs(), "{tail:?}");
    }
}

#[test]
fn the_upper_binomial_limit_is_the_smallest_that_holds() {
    for (n, num, den, confidence) in
        [(2000, 1, 20, 0.999), (2000, 1, 1000, 0.999), (10, 1, 2, 0.5), (1, 1, 100, 0.999)]
    {
        let (level, ln_rest) = (Rate::new(num, den).unwrap(), ln(1.0 - confidence));
        let c = binomial_upper_limit(n, level, confidence);
        assert!(binomial_ln_sf(n, c + 1, level) <= ln_rest + 1e-9);
        assert!(c == 0 || binomial_ln_sf(n, c, level) > ln_rest - 1e-9);
    }
}

#[test]
fn planning_inverts_itself() {
    for ln_alpha in [-0.5, -3.0, -20.0, -2000.0] {
        assert!((normal_ln_sf(normal_z(ln_alpha)) - ln_alpha).abs() <= 1e-10 * ln_alpha.abs());
        let z = z_needed(ln_alpha, 0.9);
        assert!((power(z, ln_alpha) - 0.9).abs() < 1e-9, "{z}");
    }
    assert!((z_needed(ln(0.05), 0.8) - 2.486_474_860_245_6).abs() < 1e-9);
    assert!((power(0.0, ln(0.05)) - 0.05).abs() < 1e-12);
}

#[test]
fn an_interval_counts_exchanges_and_not_draws() {
    let cluster = |sum, weight| Cluster { sum, weight };
    let two = ratio_estimate(&[cluster(3.0, 10.0), cluster(5.0, 10.0), cluster(0.0, 0.0)]).unwrap();
    let [low, high] = two.interval.unwrap();
    assert!((two.value - 0.4).abs() < 1e-12);
    assert!((low - (0.4 - 0.195_996_398)).abs() < 1e-8 && (high - (0.4 + 0.195_996_398)).abs() < 1e-8);
    assert_eq!(ratio_estimate(&[]), None);
    assert_eq!(ratio_estimate(&[cluster(3.0, 10.0)]).unwrap().interval, None);
    // The same draws in clusters that repeat themselves carry less.
    let repeated: Vec<Cluster> = (0..20).map(|i| cluster(f64::from(i % 4), 4.0)).collect();
    let merged: Vec<Cluster> = (0..4).map(|i| cluster(5.0 * f64::from(i), 20.0)).collect();
    let width = |clusters: &[Cluster]| {
        ratio_estimate(clusters).unwrap().interval.map(|[low, high]| high - low).unwrap()
    };
    assert!(width(&merged) > 2.0 * width(&repeated));
}

#[test]
fn logarithms_keep_their_digits() {
    assert_eq!(log_sum_exp(&[]), f64::NEG_INFINITY);
    assert!((log_sum_exp(&[-1e5, -1e5]) - (-1e5 + ln(2.0))).abs() < 1e-10);
    assert!((ln_1m_exp(-1e-20) - ln(1e-20)).abs() < 1e-12);
    assert!((ln_1m_exp(-50.0) + exp(-50.0)).abs() < 1e-36);
}

/// The law of a small sum by adding one draw after the other: all terms positive, no tilting, no transform.
struct BruteForce {
    low: i64,
    law: Vec<f64>,
}

impl BruteForce {
    fn of(terms: &[LatticeTerm]) -> Self {
        let mut sum = Self { low: 0, law: vec![1.0] };
        for term in terms {
            let atoms = atoms(&term.law);
            (0..term.count).for_each(|_| sum = sum.plus(&atoms));
        }
        sum
    }

    fn plus(&self, atoms: &[(i64, f64)]) -> Self {
        let low = atoms.iter().map(|atom| atom.0).min().unwrap();
        let high = atoms.iter().map(|atom| atom.0).max().unwrap();
        let mut law = vec![0.0; self.law.len() + usize::try_from(high - low).unwrap()];
        for (s, p) in self.law.iter().enumerate() {
            atoms.iter().for_each(|(x, q)| law[s + usize::try_from(x - low).unwrap()] += p * q);
        }
        Self { low: self.low + low, law }
    }

    fn high(&self) -> i64 {
        self.low + i64::try_from(self.law.len()).unwrap() - 1
    }

    fn value_at(&self, share: f64) -> i64 {
        self.low + i64::try_from(ceil(share * whole_to_f64(self.high() - self.low))).unwrap()
    }

    /// P(S ≥ k) and P(S < k).
    fn tails(&self, k: i64) -> (f64, f64) {
        let (below, above) = self.law.split_at(usize::try_from(k - self.low).unwrap());
        (above.iter().rev().sum(), below.iter().sum())
    }
}

fn any_terms() -> impl Strategy<Value = Vec<LatticeTerm>> {
    let rate = prop_oneof![
        Just((1_u64, 4_u64)),
        Just((1, 2)),
        Just((77, 256)),
        Just((15, 16)),
        Just((1, 3)),
        Just((1, 65536)),
        Just((65535, 65536))
    ];
    let size: RangeInclusive<i32> = -127..=127;
    let coins = (size.clone(), rate, 0_u64..8)
        .prop_map(|(a, (num, den), count)| LatticeTerm::coins(a, Rate::new(num, den).unwrap(), count));
    let choice = prop::collection::vec(size, 1..17).prop_map(LatticeTerm::choice);
    prop::collection::vec(prop_oneof![3 => coins, 1 => choice], 1..8)
}

fn atoms(law: &LatticeLaw) -> Vec<(i64, f64)> {
    match law {
        LatticeLaw::Bernoulli { coefficient, rate } => {
            vec![(0, rate.complement().p()), (i64::from(*coefficient), rate.p())]
        }
        LatticeLaw::Scores(scores) => {
            let p = f64::from(u32::try_from(scores.len()).unwrap()).recip();
            scores.iter().map(|&score| (i64::from(score), p)).collect()
        }
        _ => unreachable!("every law of a lattice is listed"),
    }
}

fn real_term(term: &LatticeTerm) -> RealTerm {
    let law = match &term.law {
        LatticeLaw::Bernoulli { coefficient, rate } => {
            RealLaw::Bernoulli { coefficient: f64::from(*coefficient), rate: *rate }
        }
        LatticeLaw::Scores(scores) => RealLaw::Scores(scores.iter().map(|&score| f64::from(score)).collect()),
        _ => unreachable!("every law of a lattice is listed"),
    };
    RealTerm { law, count: term.count }
}

/// The smallest k with ln P(S ≥ k) ≤ `ln_p`.
fn value_at_tail(terms: &[LatticeTerm], ln_p: f64) -> i64 {
    let (mut low, mut high) = (-1_i64 << 20, 1_i64 << 20);
    while low < high {
        let k = low + (high - low).div_euclid(2);
        if lattice_ln_sf(terms, k).unwrap().ln_p <= ln_p { high = k } else { low = k + 1 }
    }
    low
}

fn choose(n: u64, k: u64) -> i128 {
    (0..k).fold(1, |product, i| product * i128::from(n - i) / i128::from(i + 1))
}

fn law_size(law: &RealLaw) -> f64 {
    let RealLaw::Bernoulli { coefficient, .. } = law else { unreachable!("a coin") };
    *coefficient
}

fn ln_e(grid: &Grid, batch: &[Observed<'_>]) -> f64 {
    EProcess::new(grid.clone()).batch(batch).unwrap()
}

/// What a process would report that kept the largest product in place of the average.
fn best_single_bet(grid: &Grid, batch: &[Observed<'_>]) -> f64 {
    let single = |&lambda: &f64| ln_e(&Grid::new(grid.a_max(), vec![lambda]).unwrap(), batch);
    grid.lambdas().iter().map(single).fold(f64::NEG_INFINITY, f64::max)
}

fn agree(ln_p: f64, theirs: f64) -> Result<(), TestCaseError> {
    // Their own error is near 1e-12 of p, or of 1 − p near 1; below 1e-290 they lose digits.
    prop_assert!(theirs < 1e-290 || (exp(ln_p) - theirs).abs() <= 1e-9 * theirs, "{ln_p} for {theirs}");
    Ok(())
}

fn ceil(x: f64) -> u64 {
    taggant::stat::math::ceil_to_u64(x)
}

fn whole_to_f64(x: i64) -> f64 {
    taggant::stat::math::signed_to_f64(x.into())
}
