//! What attribution can do at all: the published figures from the formulas, and the formulas from simulation.

use taggant::attribute::feasibility::{averaged, channels_floor, code_lengths, tokens, tokens_of_split_keys};
use taggant::stat::Rate;
use taggant::stat::power::Hits;
use taggant::stat::tail::{binomial_ln_sf, hypergeometric_ln_sf};

use crate::h0::Chance;

fn close(found: f64, wanted: f64, relative: f64, what: &str) {
    assert!((found / wanted - 1.0).abs() <= relative, "{what}: {found} is not {wanted} within {relative}");
}

#[test]
fn tokens_that_keys_need() {
    let half = Rate::new(1, 2).unwrap();
    let tilts = [0.005, 0.01, 0.03];
    let rows: [(&str, f64, f64, [f64; 3]); 5] = [
        ("one global key", 1.0, 6.0, [3.6e5, 9e4, 1e4]),
        ("5 % of the training text", 0.05, 6.0, [1.4e8, 3.6e7, 4e6]),
        ("one of 16 cohorts", 1.0 / 16.0, 6.0, [9e7, 2.3e7, 2.6e6]),
        ("one of 64 cohorts", 1.0 / 64.0, 6.0, [1.5e9, 3.7e8, 4e7]),
        ("one of 25,000 accounts", 1.0 / 25_000.0, 6.5, [2.6e14, 6.6e13, 7e12]),
    ];
    println!("scored tokens for z, by how far the green share is raised: {tilts:?}");
    for (what, share, z, wanted) in rows {
        let found = tilts.map(|tilt| tokens(half, tilt, share, z));
        println!("{what:28} z = {z}  {:8.1e} {:8.1e} {:8.1e}", found[0], found[1], found[2]);
        found.iter().zip(wanted).for_each(|(found, wanted)| close(*found, wanted, 0.06, what));
    }
    let set = tilts.map(|tilt| tokens_of_split_keys(half, tilt, 25_000, 6.0));
    set.iter()
        .zip([9e9, 2.3e9, 2.5e8])
        .for_each(|(found, wanted)| close(*found, wanted, 0.03, "set of accounts"));
    close(channels_floor(25_000, 6.5), 1.06e6, 0.01, "channels");
    let [first, symmetric] = code_lengths(25_000, (1e-3_f64 / 25_000.0).ln());
    close(first, 1e12, 0.1, "Tardos");
    close(symmetric, 5e10, 0.1, "symmetric Tardos");
}

/// Mean z of one account, and z of all pooled, by simulation.
fn simulate_averaging(accounts: usize, channels: usize, noise: f64, seed: u64) -> [f64; 2] {
    let mut chance = Chance::seeded(seed);
    let mut scores = vec![0.0; accounts];
    let (mut squares, mut sum) = (0.0, 0.0);
    for _ in 0..channels {
        let signs: Vec<f64> = (0..accounts).map(|_| chance.sign()).collect();
        let y = signs.iter().sum::<f64>() / accounts as f64 + noise * chance.normal();
        squares += y * y;
        scores.iter_mut().zip(&signs).for_each(|(score, sign)| *score += y * sign);
        sum += y * signs.iter().sum::<f64>();
    }
    // Under redrawn signs a score has variance Σ y².
    let account = scores.iter().sum::<f64>() / accounts as f64 / squares.sqrt();
    [account, sum / (accounts as f64 * squares).sqrt()]
}

#[test]
fn a_student_averages_over_accounts() {
    for (accounts, channels, noise, wanted) in
        [(200, 2_000, 0.1, [1.83, 25.8]), (500, 4_000, 0.1, [1.15, 25.8])]
    {
        let formula = averaged(accounts as u64, channels as u64, 1.0, noise);
        let runs: Vec<[f64; 2]> =
            (0..6).map(|seed| simulate_averaging(accounts, channels, noise, seed)).collect();
        for at in 0..2 {
            close(formula[at], wanted[at], 0.01, "formula");
            let mean = runs.iter().map(|run| run[at]).sum::<f64>() / 6.0;
            println!("{accounts} accounts, {channels} channels: z {mean:.2}, formula {:.2}", formula[at]);
            close(mean, formula[at], 0.06, "simulation");
        }
    }
}

/// z of the global key, mean z of one cohort's, and z of all cohorts' pooled, where a student learned each window from one
/// of `cohorts` cohorts and shows that cohort's green list there.
fn simulate_splitting(cohorts: u64, n: u64, tilt: f64, seed: u64) -> [f64; 3] {
    let mut chance = Chance::seeded(seed);
    let (mut hits, mut global) = (vec![0_u64; cohorts as usize], 0);
    for _ in 0..n {
        let teacher = chance.below(cohorts as usize);
        for (cohort, hits) in hits.iter_mut().enumerate() {
            *hits += u64::from(chance.with(if cohort == teacher { 0.5 + tilt } else { 0.5 }));
        }
        global += u64::from(chance.with(0.5 + tilt));
    }
    let z = |hits: u64, n: u64| (hits as f64 - 0.5 * n as f64) / (0.25 * n as f64).sqrt();
    let one = hits.iter().map(|hits| z(*hits, n)).sum::<f64>() / cohorts as f64;
    [z(global, n), one, z(hits.iter().sum(), cohorts * n)]
}

#[test]
fn splitting_a_key_costs_its_square_for_one_and_its_number_for_all() {
    let (cohorts, n, tilt, runs) = (8_u64, 50_000_u64, 0.1, 20);
    let mut mean = [0.0; 3];
    for seed in 0..runs {
        let found = simulate_splitting(cohorts, n, tilt, seed);
        mean.iter_mut().zip(found).for_each(|(mean, z)| *mean += z / runs as f64);
    }
    println!("z: global {:.1}, one cohort {:.1}, all pooled {:.1}", mean[0], mean[1], mean[2]);
    let half = Rate::new(1, 2).unwrap();
    // Four standard errors of each mean z are 2, 6 and 6 % of it.
    close(tokens(half, tilt, 1.0, mean[0]), n as f64, 0.05, "global");
    close(tokens(half, tilt, 1.0 / cohorts as f64, mean[1]), n as f64, 0.12, "one cohort");
    close(tokens_of_split_keys(half, tilt, cohorts, mean[2]), n as f64, 0.12, "all pooled");
}

/// The number of slots from which on power stays at 0.9: it is a saw-tooth, and falls below again after it was reached.
fn settled(hits: Hits, excess: f64, ln_alpha: f64, first: u64) -> u64 {
    let below = |n: &u64| hits.power(*n, excess, ln_alpha) < 0.9;
    (first..first + first / 8 + 6).rev().find(below).map_or(first, |n| n + 1)
}

/// The published number lies where power reaches 0.9, or within one per cent of it.
fn check_needed(siblings: u64, excess: f64, ln_alpha: f64, published: u64) -> u64 {
    let hits = Hits::of_slots(siblings).unwrap();
    let found = hits.needed(excess, ln_alpha, 0.9).unwrap();
    let last = if found < 2_000 { settled(hits, excess, ln_alpha, found) } else { found };
    let slack = published / 50 + 1;
    let inside = (found.saturating_sub(slack)..=last + slack).contains(&published);
    assert!(inside, "K = {siblings}, excess {excess}: {published} is not between {found} and {last}");
    found
}

#[test]
fn slots_that_a_book_needs() {
    let excesses = [0.01, 0.02, 0.05, 0.10, 0.20, 0.40];
    let rows: [(u64, [u64; 6]); 5] = [
        (2, [92_377, 23_095, 3_693, 924, 228, 46]),
        (4, [69_677, 17_514, 2_902, 760, 199, 54]),
        (8, [41_817, 10_597, 1_834, 507, 145, 42]),
        (16, [23_222, 6_090, 1_094, 339, 100, 33]),
        (64, [7_177, 2_087, 447, 152, 58, 20]),
    ];
    println!("distinct slots for power 0.9 at 1e-6, by excess {excesses:?}");
    for (siblings, wanted) in rows {
        let check = |(excess, published)| check_needed(siblings, excess, (1e-6_f64).ln(), published);
        let found: Vec<u64> = excesses.into_iter().zip(wanted).map(check).collect();
        println!("K = {siblings:2}  {found:?}");
    }
}

#[test]
fn power_is_what_simulation_finds_and_plants_add_none() {
    let hits = Hits::of_slots(16).unwrap();
    let ln_alpha = (1e-6_f64).ln();
    for excess in [0.05, 0.2] {
        let n = hits.needed(excess, ln_alpha, 0.9).unwrap();
        let critical = hits.critical(n, ln_alpha).unwrap();
        let mut chance = Chance::seeded(8);
        let found = (0..2_000).filter(|_| chance.hits(n, 0.0625 + excess) >= critical).count();
        println!("excess {excess}: {n} slots, {found} of 2000 students found");
        // Three standard deviations of a binomial count.
        assert!((found as f64 - 1_800.0).abs() < 3.0 * (2_000.0_f64 * 0.09).sqrt() + 20.0, "{found}");
    }
    // Probing a slot five times instead of five slots once: the same answer five times is one draw.
    let power = |slots| hits.power(slots, 0.05, ln_alpha);
    assert!(power(1_100) > 0.89 && power(220) < 0.05);
}

#[test]
fn canaries_of_a_set_add_up() {
    let accounts = 25_000_u64;
    let excesses = [0.001, 0.003, 0.01, 0.03];
    let z = |slots: u64, excess: f64| excess * (slots as f64 / (0.0625 * 0.9375)).sqrt();
    for (each, wanted) in
        [(1, [0.7, 2.0, 6.5, 19.6]), (4, [1.3, 3.9, 13.1, 39.2]), (12, [2.3, 6.8, 22.6, 67.9])]
    {
        for (excess, wanted) in excesses.iter().zip(wanted) {
            assert!((z(each * accounts, *excess) - wanted).abs() < 0.06, "{each} each, {excess}");
        }
    }
    // ln p of the expected number of hits: 1e-10 with one each and 1 %, 1e-37 with four.
    let rate = Rate::new(1, 16).unwrap();
    let ln_p =
        |slots: u64, excess: f64| binomial_ln_sf(slots, (slots as f64 * (0.0625 + excess)) as u64, rate);
    for (slots, excess, log10) in [(25_000, 0.01, -10.0), (100_000, 0.01, -37.0), (300_000, 0.003, -11.0)] {
        let found = ln_p(slots, excess) / std::f64::consts::LN_10;
        assert!((found - log10).abs() < 1.0, "{slots} slots, {excess}: 1e{found:.1}");
    }
    let mut chance = Chance::seeded(12);
    let simulated: Vec<f64> = (0..20)
        .map(|_| (chance.hits(accounts, 0.0725) as f64 - 1_562.5) / (25_000.0_f64 * 0.0625 * 0.9375).sqrt())
        .collect();
    close(simulated.iter().sum::<f64>() / 20.0, 6.5, 0.08, "simulated z");
}

#[test]
fn canaries_that_name_one_account() {
    let ln_alpha = (1e-3_f64 / 25_000.0).ln();
    let excesses = [0.1, 0.2, 0.3, 0.5, 0.8];
    for (siblings, wanted) in [(16, [386, 122, 62, 27, 11]), (64, [191, 70, 39, 18, 9])] {
        let check = |(excess, published)| check_needed(siblings, excess, ln_alpha, published);
        let found: Vec<u64> = excesses.into_iter().zip(wanted).map(check).collect();
        println!("K = {siblings}: canaries of one account to name it among 25,000: {found:?}");
    }
    // Eleven canaries, remembered nearly all: found by simulation as often as planned; remembered by half: not.
    let hits = Hits::of_slots(16).unwrap();
    let critical = hits.critical(11, ln_alpha).unwrap();
    let mut chance = Chance::seeded(15);
    let mut found = |excess: f64| (0..2_000).filter(|_| chance.hits(11, 0.0625 + excess) >= critical).count();
    let (nearly_all, half) = (found(0.8), found(0.4));
    println!("of 2000 accounts with eleven canaries: {nearly_all} named at excess 0.8, {half} at 0.4");
    assert!(nearly_all > 1_800 && half < 400);
}

#[test]
fn the_arms_of_a_route() {
    // 50,000 slots an arm, the one with a recall above chance, the other without.
    for (excess, wanted) in [(0.005, 7e-4_f64), (0.01, 2e-10)] {
        let (own, other) = ((50_000.0 * (0.0625 + excess)) as u64, 3_125);
        let ln_p = hypergeometric_ln_sf(100_000, own + other, 50_000, own).unwrap();
        println!("excess {excess}: p = {:.1e}", ln_p.exp());
        assert!((ln_p - wanted.ln()).abs() < 0.7, "{ln_p} {}", wanted.ln());
    }
}
