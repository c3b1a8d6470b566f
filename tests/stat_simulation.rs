//! What only simulation or enumeration can show: levels of redrawn keys and of pooled laws, coverage of confidence
//! sequences, planned power. Beside each rule stands its absence, which the same test catches.
//!
//! Everything is seeded, so nothing here is ever flaky.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a value that cannot be made is a failed test")]

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use taggant::law::{Draws, Gamma, Law, Origin, Scale, Tally, Whole};
use taggant::stat::Rate;
use taggant::stat::chernoff::chernoff_ln_sf;
use taggant::stat::confidence::{Bounds, ConfidenceError, ConfidenceSequence};
use taggant::stat::cumulant::{RealLaw, RealTerm};
use taggant::stat::eprocess::{EProcess, Grid, Observed, best_bet};
use taggant::stat::estimate::{Cluster, ratio_estimate};
use taggant::stat::math::{ln, log_sum_exp, normal_z, to_f64};
use taggant::stat::multiple::binomial_upper_limit;
use taggant::stat::power::{
    Hits, check_attainable, detectable, draws_needed, over_epochs, power, z_needed, z_per_coin,
};
use taggant::stat::redraw::Redraws;
use taggant::stat::tail::{binomial_ln_pmf, binomial_ln_sf, gamma_ln_sf};
use taggant::stat::verdict::{Summary, TailMethod};

/// Rejections that a correct test of this level exceeds once in a thousand times.
fn limit(runs: u64, level: (u64, u64)) -> u64 {
    binomial_upper_limit(runs, Rate::new(level.0, level.1).unwrap(), 0.999)
}

fn share(rng: &mut ChaCha8Rng) -> f64 {
    to_f64(rng.next_u64() >> 11) / to_f64(1 << 53)
}

mod redraws {
    use super::*;

    #[test]
    fn every_attainable_level_is_exact() {
        // All patterns of exceedances. Given c among l, the next redraw exceeds with chance (c + 1)/(l + 2), so a
        // pattern of B with c ones has the chance c! (B − c)! / (B + 1)!: Pólya's urn.
        let factorial = |n: u32| (1..=n).map(f64::from).product::<f64>();
        for (enough, most) in [(1, 1), (1, 9), (3, 9), (4, 4), (2, 10)] {
            let mut outcomes = Vec::new();
            for pattern in 0_u32..1 << most {
                let ones = pattern.count_ones();
                let chance = factorial(ones) * factorial(most - ones) / factorial(most + 1);
                let statistic = |i: u64| f64::from(pattern >> i & 1) * 2.0;
                let plan = Redraws::new(enough, most.into()).unwrap();
                let found = plan.p_value(1.0, statistic);
                assert!(
                    found.p >= plan.floor() && found.exceedances <= enough && found.redraws <= most.into()
                );
                outcomes.push((found.p, chance));
            }
            for &(level, _) in &outcomes {
                let reached: f64 =
                    outcomes.iter().filter(|(p, _)| *p <= level).map(|(_, chance)| chance).sum();
                assert!((reached - level).abs() < 1e-12, "h = {enough}, B = {most}: {reached} at {level}");
            }
        }
    }

    #[test]
    fn simulated_innocents_are_rejected_as_often_as_stated() {
        let (runs, plan) = (20_000, Redraws::new(10, 999).unwrap());
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let found: Vec<_> = (0..runs)
            .map(|_| {
                let observed = share(&mut rng);
                plan.p_value(observed, |_| share(&mut rng))
            })
            .collect();
        for level in [(1, 1000), (5, 1000), (10, 1000), (10, 200), (10, 100), (10, 20)] {
            let alpha = to_f64(level.0) / to_f64(level.1);
            let rejected =
                to_f64(0) + found.iter().filter(|found| found.p <= alpha).fold(0.0, |n, _| n + 1.0);
            let least = runs - limit(runs, (level.1 - level.0, level.1));
            assert!(
                rejected <= to_f64(limit(runs, level)) && rejected >= to_f64(least),
                "{rejected} at {alpha}"
            );
        }
        let redraws = found.iter().map(|found| found.redraws).sum::<u64>() / runs;
        println!("{redraws} redraws for an innocent on average, of 999");
        assert!(redraws < 80);
    }

    #[test]
    fn stopping_when_it_looks_settled_rejects_innocents_too_often() {
        // (1 + #)/(l + 1), stopped once it is at most 1 % between 100 and 2,000 redraws: the chance to stop, exactly,
        // by Pólya's urn.
        let (mut chances, mut rejected) = (vec![1.0], 0.0);
        for l in 1..=2000_u32 {
            let mut next = vec![0.0; chances.len() + 1];
            for (c, (&chance, ones)) in chances.iter().zip(1_u32..).enumerate() {
                let up = f64::from(ones) / f64::from(l + 1);
                next[c] += chance * (1.0 - up);
                next[c + 1] += chance * up;
            }
            for (chance, ones) in next.iter_mut().zip(1_u32..) {
                if l >= 100 && f64::from(ones) <= 0.01 * f64::from(l + 1) {
                    rejected += std::mem::take(chance);
                }
            }
            chances = next;
        }
        println!("nominal 1 %, stopped early: {:.2} %", 100.0 * rejected);
        assert!(rejected > 0.014 && rejected < 0.016, "{rejected}");
    }

    #[test]
    fn ties_and_values_that_are_no_numbers_are_exceedances() {
        let plan = Redraws::new(5, 100).unwrap();
        for (observed, redrawn) in [(1.0, 1.0), (f64::NAN, 0.0), (1.0, f64::NAN), (0.0, -0.0)] {
            let found = plan.p_value(observed, |_| redrawn);
            assert_eq!((found.p, found.exceedances, found.redraws), (1.0, 5, 5), "{observed} {redrawn}");
        }
        assert_eq!(plan.p_value(1.0, |_| 0.5).p, plan.floor());
        assert_eq!(plan.p_value(1.0, |i| if i == 49 || i > 95 { 2.0 } else { 0.0 }).p, 0.05);
        assert!(Redraws::new(0, 10).is_err() && Redraws::new(11, 10).is_err());
    }
}

mod confidence {
    use super::*;

    const RATES: Bounds = Bounds { ratio: [0.0, 1.0], weight: 160.0 };

    /// Long answers are greener than short ones, and both vary from answer to answer: draws within one depend on each
    /// other, and the ratio of sums, 0.36, is not the mean rate, 0.3.
    fn exchange(rng: &mut ChaCha8Rng) -> Cluster {
        let (draws, rate) = if rng.next_u32() & 1 == 0 { (160, 0.4) } else { (40, 0.2) };
        let rate = rate + if rng.next_u32() & 1 == 0 { 0.15 } else { -0.15 };
        let hits = (0..draws).map(|_| u8::from(share(rng) < rate)).fold(0.0, |sum, hit| sum + f64::from(hit));
        Cluster { sum: hits, weight: f64::from(draws) }
    }

    #[test]
    fn the_truth_is_seldom_ever_left_out_and_the_normal_interval_often_leaves_it_out() {
        let (runs, truth) = (2000, 0.36);
        let inside = |[low, high]: [f64; 2]| low <= truth && truth <= high;
        let (mut missed, mut normal_missed, mut width, mut normal_width) = (0, 0, 0.0, 0.0);
        for seed in 0..runs {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut sequence = ConfidenceSequence::new(0.05, RATES).unwrap();
            let (mut seen, mut held, mut normal_held) = (Vec::new(), true, true);
            for _ in 0..150 {
                seen.push(exchange(&mut rng));
                sequence.add(seen[seen.len() - 1]).unwrap();
                held &= sequence.interval().is_some_and(inside);
                let normal = ratio_estimate(&seen).unwrap().interval;
                normal_held &= seen.len() < 10 || normal.is_some_and(inside);
            }
            missed += u64::from(!held);
            normal_missed += u64::from(!normal_held);
            width += sequence.interval().map_or(0.0, |[low, high]| high - low) / to_f64(runs);
            normal_width +=
                ratio_estimate(&seen).unwrap().interval.map_or(0.0, |[low, high]| high - low) / to_f64(runs);
        }
        println!(
            "ever missed: {missed} of {runs}, normal interval {normal_missed}; widths {width:.4}, {normal_width:.4}"
        );
        assert!(missed <= limit(runs, (1, 20)), "{missed} of {runs} sequences left out the truth");
        assert!(normal_missed > 2 * limit(runs, (1, 20)), "watching the normal interval should be caught");
        assert!(width < 5.0 * normal_width, "{width} against {normal_width}");
    }

    #[test]
    fn draws_fed_as_if_they_were_exchanges_leave_out_the_truth() {
        let runs = 60;
        let missed = |as_exchanges: bool| {
            let miss = |seed| {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let weight = if as_exchanges { 1.0 } else { 50.0 };
                let mut sequence =
                    ConfidenceSequence::new(0.05, Bounds { ratio: [0.0, 1.0], weight }).unwrap();
                for _ in 0..20 {
                    // Half of the answers are all green, the others never.
                    let hit = f64::from(rng.next_u32() & 1);
                    let parts = if as_exchanges { 50 } else { 1 };
                    (0..parts).for_each(|_| sequence.add(Cluster { sum: hit * weight, weight }).unwrap());
                }
                u64::from(!sequence.interval().is_some_and(|[low, high]| low <= 0.5 && 0.5 <= high))
            };
            (0..runs).map(miss).sum::<u64>()
        };
        assert!(missed(false) <= limit(runs, (1, 20)));
        assert!(
            missed(true) > 2 * limit(runs, (1, 20)),
            "dependent draws should be caught: {}",
            missed(true)
        );
    }

    #[test]
    fn the_ends_are_where_the_capital_of_a_bet_reaches_the_limit() {
        // The capital against one m, written down once more: no grid, no state.
        let refuted = |m: f64, seen: &[(f64, f64)]| {
            let stakes: Vec<f64> = (1..10).map(|j| f64::from(1 << j).recip()).chain([0.95]).collect();
            (1..=seen.len()).any(|n| {
                let capital =
                    |c: &f64| seen[..n].iter().map(|(x, w)| 1.0 + c * (x - m * w) / m).product::<f64>();
                stakes.iter().map(capital).sum::<f64>() / 10.0 >= 2.0 / 0.02
            })
        };
        let bounds = Bounds { ratio: [-1.0, 3.0], weight: 8.0 };
        for seed in 0..12 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut sequence = ConfidenceSequence::new(0.02, bounds).unwrap();
            let (mut up, mut down) = (Vec::new(), Vec::new());
            for _ in 0..60 {
                let (w, rate) = (share(&mut rng), 0.2 + 0.6 * share(&mut rng));
                up.push((w * rate, w));
                down.push((w * (1.0 - rate), w));
                // On the scale of the bounds: weights up to 8, ratios from −1 to 3.
                sequence.add(Cluster { sum: 8.0 * w * (4.0 * rate - 1.0), weight: 8.0 * w }).unwrap();
            }
            let [low, high] = sequence.interval().unwrap().map(|end| (end + 1.0) / 4.0);
            let step = 1.0 / 1024.0;
            assert!(low > 0.1 && refuted(low - 1e-9, &up) && !refuted(low + step + 1e-9, &up), "{low}");
            assert!(
                high < 0.9 && refuted(1.0 - high - 1e-9, &down) && !refuted(1.0 - high + step + 1e-9, &down),
                "{high}"
            );
        }
    }

    #[test]
    fn it_starts_with_everything_and_refuses_what_was_not_planned() {
        let cluster = |sum, weight| Cluster { sum, weight };
        let mut sequence = ConfidenceSequence::new(0.05, RATES).unwrap();
        assert_eq!(sequence.interval(), Some([0.0, 1.0]));
        let before = sequence.clone();
        let nan = f64::NAN;
        for refused in [
            cluster(1.0, 161.0),
            cluster(3.0, 2.0),
            cluster(-0.1, 2.0),
            cluster(0.0, -1.0),
            cluster(nan, 1.0),
            cluster(1.0, nan),
        ] {
            assert!(matches!(sequence.add(refused), Err(ConfidenceError::Unplanned(_))), "{refused:?}");
        }
        sequence.add(cluster(0.0, 0.0)).unwrap();
        assert_eq!(sequence, before);
        for alpha in [0.0, 1.0, -0.1, nan] {
            assert!(ConfidenceSequence::new(alpha, RATES).is_err());
        }
        for (ratio, weight) in [
            ([0.0, 0.0], 1.0),
            ([1.0, 0.0], 1.0),
            ([0.0, f64::INFINITY], 1.0),
            ([0.0, 1.0], 0.0),
            ([nan, 1.0], 1.0),
        ] {
            assert!(matches!(
                ConfidenceSequence::new(0.05, Bounds { ratio, weight }),
                Err(ConfidenceError::Bounds(_))
            ));
        }
        // All or nothing for long: the ends close in and nothing overflows.
        (0..20_000).for_each(|_| sequence.add(cluster(160.0, 160.0)).unwrap());
        let [low, high] = sequence.interval().unwrap();
        assert!(low > 0.99 && high == 1.0, "{low}");
        // Then the opposite, until no ratio fits both.
        (0..20_000).for_each(|_| sequence.add(cluster(0.0, 160.0)).unwrap());
        assert_eq!(sequence.interval(), None);
    }
}

mod planning {
    use super::*;

    /// How often the exact binomial test at e^`ln_alpha` rejects `draws` coins whose hits have this chance.
    fn rejections(runs: u32, draws: u64, chance: f64, by_chance: Rate, ln_alpha: f64) -> f64 {
        let mut rng = ChaCha8Rng::seed_from_u64(draws);
        let run = |_| {
            let hits = (0..draws).map(|_| u64::from(share(&mut rng) < chance)).sum();
            f64::from(u8::from(binomial_ln_sf(draws, hits, by_chance) <= ln_alpha))
        };
        (0..runs).map(run).sum::<f64>() / f64::from(runs)
    }

    #[test]
    fn as_many_draws_as_planned_give_the_power_that_was_planned() {
        // The last has a strong effect on few draws, where the approximation is off by a few per cent.
        for (gamma, shift, alpha, planned, runs, slack) in [
            ((1, 4), 0.02, 1e-3, 0.9, 2000, 0.025),
            ((1, 2), 0.01, 0.05, 0.8, 1500, 0.03),
            ((1, 4), 0.08, 1e-6, 0.5, 2000, 0.1),
        ] {
            let rate = Rate::new(gamma.0, gamma.1).unwrap();
            let draws = draws_needed(z_per_coin(rate, shift), ln(alpha), planned).unwrap();
            let found = rejections(runs, draws, rate.p() + shift, rate, ln(alpha));
            println!("γ = {} + {shift} at {alpha}: {draws} draws, power {found:.3} for {planned}", rate.p());
            assert!((found - planned).abs() < slack, "{found} for {planned} with {draws} draws");
            let exact = Hits::of_coins(rate).power(draws, shift, ln(alpha));
            assert!((found - exact).abs() < 0.035, "{found} for {exact} with {draws} draws");
        }
    }

    #[test]
    fn a_budget_says_what_it_detects_and_nothing_is_seen_of_nothing() {
        for (z, ln_alpha, planned) in [(0.05, ln(1e-6), 0.9), (0.003, -2000.0, 0.5), (2.0, ln(0.05), 0.99)] {
            let draws = draws_needed(z, ln_alpha, planned).unwrap();
            assert!(
                detectable(draws, ln_alpha, planned) <= z && detectable(draws - 1, ln_alpha, planned) > z
            );
        }
        assert_eq!(draws_needed(0.0, -3.0, 0.9), None);
        assert_eq!(draws_needed(-0.1, -3.0, 0.9), None);
        assert_eq!(draws_needed(f64::NAN, -3.0, 0.9), None);
        assert_eq!(detectable(0, -3.0, 0.9), f64::INFINITY);
        // A level that one has anyway costs nothing.
        assert_eq!(draws_needed(0.1, ln(0.5), 0.3), Some(0));
        assert!(check_attainable(-20.0, -13.8).is_ok() && check_attainable(-13.8, -13.8).is_ok());
        assert!(check_attainable(-13.0, -13.8).is_err() && check_attainable(f64::NAN, -13.8).is_err());
    }

    #[test]
    fn several_epochs_cost_what_is_stated() {
        // 3,000 coins of γ = ¼ under each of E unrelated keys, each with an E-th of the shift.
        let (rate, draws, shift) = (Rate::new(1, 4).unwrap(), 3000, 0.06);
        let whole = z_per_coin(rate, shift) * to_f64(draws).sqrt();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for epochs in [1, 4, 9] {
            let planned = over_epochs(whole, epochs);
            let (mut one, mut pooled) = (0.0, 0.0);
            for _ in 0..200 {
                let hits = |_| {
                    let chance = 0.25 + shift / to_f64(epochs);
                    (0..draws).map(|_| f64::from(u8::from(share(&mut rng) < chance))).sum::<f64>()
                };
                let z: Vec<f64> = (0..epochs)
                    .map(hits)
                    .map(|hits| (hits - to_f64(draws) * 0.25) / (to_f64(draws) * 0.1875).sqrt())
                    .collect();
                one += z[0] / 200.0;
                pooled += z.iter().sum::<f64>() / to_f64(epochs).sqrt() / 200.0;
            }
            println!("{epochs} epochs: one key {one:.2}, pooled {pooled:.2}, planned {planned:?}");
            assert!((one - planned.one_key).abs() < 0.3 && (pooled - planned.pooled).abs() < 0.3);
        }
        assert_eq!(over_epochs(3.0, 0), over_epochs(3.0, 1));
    }

    #[test]
    fn slots_have_the_power_that_simulation_finds() {
        let slots = Hits::of_slots(16).unwrap();
        for (n, excess, alpha, runs) in
            [(10_000, 0.019, 1e-9, 600), (300, 0.08, 1e-3, 4000), (12, 0.5, 1e-6, 4000)]
        {
            let planned = slots.power(n, excess, ln(alpha));
            let found = rejections(runs, n, 0.0625 + excess, Rate::new(1, 16).unwrap(), ln(alpha));
            println!("{n} slots, {excess} above 1/16 at {alpha}: power {planned:.3}, found {found:.3}");
            let sd = (planned * (1.0 - planned) / f64::from(runs)).sqrt();
            assert!((found - planned).abs() < 4.0 * sd + 1e-3, "{found} for {planned}");
        }
        // Power counts distinct slots: 0.3 % takes a third of a million, however often each is planted.
        let wanted = (ln(1e-9), 0.9);
        let excess = slots.detectable(10_000, wanted.0, wanted.1).unwrap();
        let needed = slots.needed(0.003, wanted.0, wanted.1).unwrap();
        println!("10,000 slots detect {excess:.4}; 0.003 needs {needed} slots");
        assert!((excess - 0.0185).abs() < 0.0002);
        assert!(
            slots.power(10_000, excess, wanted.0) >= 0.9
                && slots.power(10_000, excess - 1e-6, wanted.0) < 0.9
        );
        assert!(
            slots.power(needed, 0.003, wanted.0) >= 0.9
                && slots.power(needed - needed / 40, 0.003, wanted.0) < 0.9
        );
        assert!((340_000..360_000).contains(&needed), "{needed}");
    }

    #[test]
    fn slots_at_their_ends() {
        let slots = Hits::of_slots(16).unwrap();
        assert!(Hits::of_slots(1).is_err() && Hits::of_slots(0).is_err());
        // 16⁻⁷ = 3.7e-9 and 16⁻⁸ = 2.3e-10: below eight slots 1e-9 is out of reach.
        let one_in_a_billion = ln(1e-9);
        assert_eq!(slots.critical(7, one_in_a_billion), None);
        assert_eq!(slots.critical(8, one_in_a_billion), Some(8));
        assert_eq!(slots.power(7, 0.9375, one_in_a_billion), 0.0);
        assert_eq!(slots.power(8, 0.9375, one_in_a_billion), 1.0);
        assert_eq!(slots.detectable(7, one_in_a_billion, 0.5), None);
        assert_eq!(slots.needed(0.9375, one_in_a_billion, 0.99), Some(8));
        assert_eq!(slots.needed(0.0, one_in_a_billion, 0.9), None);
        assert_eq!(slots.needed(1e-12, one_in_a_billion, 0.9), None);
        assert_eq!(slots.power(0, 0.5, one_in_a_billion), 0.0);
        assert_eq!(slots.critical(0, 0.0), Some(0));
        // A suspect that avoids the plants is not found.
        assert_eq!(slots.power(100, -0.0625, one_in_a_billion), 0.0);
        assert!(slots.power(1000, -0.03, ln(0.05)) < 0.001);
        assert!(power(z_needed(-13.8, 0.9), -13.8) > 0.899);
    }
}

mod pooled_laws {
    use super::*;

    fn whole(coefficients: impl Iterator<Item = u32>) -> Whole<u32> {
        let mut tally = Tally::new();
        (0..).zip(coefficients).for_each(|(input, a)| tally.add(input, f64::from(a), input % 7));
        tally.whole(Scale::Unit)
    }

    fn coins(whole: &Whole<u32>, rng: &mut ChaCha8Rng, below: u32) -> Draws {
        let law = Law::Bernoulli(Gamma::new(1, 2).unwrap());
        whole.open(law, Origin([1; 32]), |_| u32::from(rng.next_u32() < below))
    }

    fn exponentials(whole: &Whole<u32>, rng: &mut ChaCha8Rng) -> Draws {
        whole.open(Law::Exponential, Origin([2; 32]), |_| rng.next_u32())
    }

    const QUARTER: u32 = 1 << 30;

    #[test]
    fn coins_and_races_pool_into_one_valid_sum() {
        let runs = 20_000;
        let (light, heavy) =
            (whole((0..60).map(|i| 1 + i % 20)), whole([40, 40, 25, 3, 3, 3, 1, 1].into_iter()));
        let (mut found, mut normal) = (Vec::new(), 0);
        for seed in 0..runs {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let draws = coins(&light, &mut rng, QUARTER).pool(exponentials(&heavy, &mut rng)).unwrap();
            let summary = Summary::of(draws).unwrap();
            assert_eq!(summary.method, TailMethod::ChernoffBound);
            normal += u64::from(summary.z >= normal_z(ln(0.01)).abs());
            found.push((summary.ln_p, -summary.ln_e_max));
        }
        for (level, least) in [((1, 20), 20), ((1, 100), 1)] {
            let reject = |ln_p: f64| u64::from(ln_p <= ln(to_f64(level.0) / to_f64(level.1)));
            let by_tail: u64 = found.iter().map(|found| reject(found.0)).sum();
            let by_bets: u64 = found.iter().map(|found| reject(found.1)).sum();
            println!(
                "level {level:?}: tail {by_tail}, e-process {by_bets} of {runs}, at most {}",
                limit(runs, level)
            );
            assert!(by_tail <= limit(runs, level) && by_bets <= limit(runs, level), "{by_tail}, {by_bets}");
            assert!(by_tail >= least, "a test that never rejects shows nothing");
        }
        println!("z as if it were normal: {normal} of {runs} at 1 %");
        assert!(normal > limit(runs, (1, 100)), "a normal tail should be caught: {normal}");
    }

    #[test]
    fn weighted_races_alone_are_valid_too() {
        let runs = 20_000;
        let heavy = whole([40, 40, 25, 3, 3, 3, 1, 1].into_iter());
        let ln_p: Vec<f64> = (0..runs)
            .map(|seed| {
                let draws = exponentials(&heavy, &mut ChaCha8Rng::seed_from_u64(seed));
                taggant::stat::verdict::verdict_tail(draws).unwrap().0
            })
            .collect();
        for (level, least) in [((1, 20), 20), ((1, 100), 1)] {
            let alpha = ln(to_f64(level.0) / to_f64(level.1));
            let rejected = ln_p.iter().map(|ln_p| u64::from(*ln_p <= alpha)).sum::<u64>();
            println!("level {level:?}: {rejected} of {runs}");
            assert!(rejected <= limit(runs, level) && rejected >= least, "{rejected} at {level:?}");
        }
    }

    #[test]
    fn the_bound_of_a_pooled_sum_is_never_below_its_exact_tail() {
        // Coins with coefficient 1 and races with coefficient 1: Σ P(C = c) P(G ≥ s − c), C binomial and G Gamma.
        let quarter = Rate::new(1, 4).unwrap();
        for (n, m) in [(40, 5), (5, 40), (200, 200), (1, 1)] {
            let coin = RealTerm { law: RealLaw::Bernoulli { coefficient: 1.0, rate: quarter }, count: n };
            let race = RealTerm { law: RealLaw::Exponential { coefficient: 1.0 }, count: m };
            let mean = to_f64(n) / 4.0 + to_f64(m);
            for excess in [0.0, 0.1, 0.5, 1.0, 2.0, 5.0] {
                let s = mean * (1.0 + excess);
                let term = |c| binomial_ln_pmf(n, c, quarter) + gamma_ln_sf(m, s - to_f64(c));
                let exact = log_sum_exp(&(0..=n).map(term).collect::<Vec<_>>());
                let bound = chernoff_ln_sf(&[coin.clone(), race.clone()], s).unwrap();
                assert!(bound >= exact && bound <= exact + 6.0, "{bound} for {exact}");
            }
        }
    }

    #[test]
    fn an_effect_on_either_is_found_and_what_is_shown_belongs_to_both() {
        let (light, races) = (whole((0..600).map(|i| 1 + i % 20)), whole((0..300).map(|_| 4)));
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let pool = |below, rng: &mut ChaCha8Rng| {
            Summary::of(coins(&light, rng, below).pool(exponentials(&races, rng)).unwrap()).unwrap()
        };
        let innocent = pool(QUARTER, &mut rng);
        let guilty = pool(QUARTER * 2, &mut rng);
        assert!(innocent.ln_p > ln(0.01) && guilty.ln_p < ln(1e-6), "{} and {}", innocent.ln_p, guilty.ln_p);
        // Σ|a| is 6,300 of coins with mean ¼ and 1,200 of races with mean 1.
        assert_eq!((innocent.draws, innocent.green, innocent.gamma), (900, None, None));
        assert!(
            (innocent.expected - (6300.0 / 4.0 + 1200.0) / 7500.0).abs() < 1e-12,
            "{}",
            innocent.expected
        );
        assert!((innocent.estimate - innocent.statistic / 7500.0).abs() < 1e-12);
        // The order of pooling changes nothing.
        let again = |seed, swap: bool| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (a, b) = (coins(&light, &mut rng, QUARTER), exponentials(&races, &mut rng));
            Summary::of(if swap { b.pool(a).unwrap() } else { a.pool(b).unwrap() }).unwrap()
        };
        let (one, other) = (again(9, false), again(9, true));
        assert!((one.ln_p - other.ln_p).abs() < 1e-9 && (one.expected - other.expected).abs() < 1e-12);
        assert_eq!((one.green, one.gamma), (other.green, other.gamma));
    }
}

mod stopping {
    use super::*;

    fn quarter() -> Rate {
        Rate::new(1, 4).unwrap()
    }

    /// Runs of a metered probing: batches of 60 coins of chance ¼ + `shift`, until the e-process passes 1/α. As shares of
    /// `fixed` draws: mean, median and 90th percentile.
    fn stopping(grid: &Grid, shift: f64, fixed: u64) -> [f64; 3] {
        let law = RealLaw::Bernoulli { coefficient: 1.0, rate: quarter() };
        let run = |seed: u64| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut process = EProcess::new(grid.clone());
            for batch in 1..=(20 * fixed).div_ceil(60) {
                let sum = (0..60).filter(|_| share(&mut rng) < 0.25 + shift).count() as u64;
                let ln_e = process.batch(&[Observed { law: &law, count: 60, sum: to_f64(sum) }]).unwrap();
                if ln_e >= ln(1e5) {
                    return to_f64(batch * 60) / to_f64(fixed);
                }
            }
            f64::INFINITY
        };
        let mut ended: Vec<f64> = (0..400).map(run).collect();
        ended.sort_unstable_by(f64::total_cmp);
        [ended.iter().sum::<f64>() / 400.0, ended[200], ended[360]]
    }

    /// The fixed number of the exact binomial test for α = 1e-5 and power 0.9.
    fn fixed(shift: f64) -> u64 {
        Hits::of_coins(quarter()).needed(shift, ln(1e-5), 0.9).unwrap()
    }

    #[test]
    fn an_e_process_costs_no_more_draws_than_a_fixed_number_on_average() {
        for shift in [0.02, 0.035, 0.05, 0.08, 0.15] {
            let fixed = fixed(shift);
            let [mean, median, ninth] = stopping(&Grid::bounded(1.0).unwrap(), shift, fixed);
            println!(
                "shift {shift}: fixed {fixed}; stopping / fixed: mean {mean:.2}, median {median:.2}, 90 % {ninth:.2}"
            );
            assert!(mean < 1.1 && ninth < 1.6, "shift {shift}: mean {mean}, 90th percentile {ninth}");
        }
    }

    #[test]
    fn bets_around_a_planned_effect_cost_fewer_draws_and_no_more_where_the_effect_is_another() {
        let default = Grid::bounded(1.0).unwrap();
        for shift in [0.02, 0.05, 0.08, 0.15] {
            let planned = default.clone().around(best_bet(quarter(), shift).unwrap()).unwrap();
            let [mean, _, ninth] = stopping(&planned, shift, fixed(shift));
            println!("planned shift {shift}: stopping / fixed: mean {mean:.2}, 90 % {ninth:.2}");
            assert!(mean <= 1.0 && ninth <= 1.6, "shift {shift}: mean {mean}, 90th percentile {ninth}");
            for other in [0.5, 2.0] {
                let (effect, fixed) = (other * shift, fixed(other * shift));
                let [around, plain] = [&planned, &default].map(|grid| stopping(grid, effect, fixed)[0]);
                println!("  an effect of {effect} instead: mean {around:.2}, by default {plain:.2}");
                assert!(around <= plain + 0.02, "planned {shift}, found {effect}: {around} and {plain}");
            }
        }
        assert_eq!(best_bet(quarter(), 0.75), None);
        assert_eq!(best_bet(quarter(), 0.0), None);
        assert!(default.around(f64::NAN).is_err());
    }
}
