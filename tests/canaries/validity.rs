//! Canaries under H0: what serving plants and where a test stops, and the wrong ways to test, each of which convicts
//! innocents. The innocents themselves are in `families`.
//!
//! A suspect's answers are fixed, keys are redrawn: that is what "independent of the key" means. Everything is seeded, so
//! nothing here is ever flaky.

use taggant::canary::{
    Account, Answer, Arms, Asked, CanaryBook, Evidence, Outcome, Pick, Policy, Request, Role, Scoring,
    Sequence,
};
use taggant::law::{Choices, Origin, Scale};
use taggant::stat::Rate;
use taggant::stat::lattice::{LatticeTerm, lattice_ln_sf};
use taggant::stat::multiple::binomial_upper_limit;
use taggant::stat::power::Hits;
use taggant::stat::rank::RankScores;
use taggant::stat::tail::binomial_ln_sf;
use taggant::stat::verdict::{Summary, verdict_tail};

use crate::families::{PROBES, PROCEDURAL, many};
use crate::h0::{Chance, LEVELS, key, row};

const SLOTS: usize = 160;
const K: usize = 16;

#[test]
fn hits_reject_at_most_as_often_as_the_binomial_law_attains() {
    let asked = PROCEDURAL.innocent("fixed preference in 90 % of the slots");
    let evidence = Evidence::new(&PROCEDURAL.book, &asked, PROBES, Scoring::First).unwrap();
    let ln_p = PROCEDURAL.levels(&evidence);
    let hits = Hits::of_slots(K as u64).unwrap();
    for level in LEVELS {
        let alpha = Rate::new(1, level).unwrap();
        let critical = hits.critical(SLOTS as u64, alpha.ln_p()).unwrap();
        let attained = binomial_ln_sf(SLOTS as u64, critical, Rate::new(1, K as u64).unwrap()).exp();
        let limit = binomial_upper_limit(many(), Rate::nearest(attained).unwrap(), 0.999);
        let rejected = ln_p.iter().filter(|p| **p <= alpha.ln_p()).count() as u64;
        println!("1 in {level}: {rejected} of {}, attainable level {attained:.5}, limit {limit}", many());
        assert!(rejected <= limit);
    }
}

#[test]
fn evidence_opens_the_picks_that_the_key_made() {
    let asked = PROCEDURAL.innocent("natural sibling preferred by 60 %");
    let evidence = Evidence::new(&PROCEDURAL.book, &asked, PROBES, Scoring::Counts).unwrap();
    for seed in 0..5 {
        let opened = Summary::of(evidence.open(&PROCEDURAL.book.picks(&key(seed))).unwrap()).unwrap();
        let picks = PROCEDURAL.slots.iter().zip(&PROCEDURAL.picks[seed as usize]);
        let named: Vec<f64> = picks
            .zip(&asked)
            .map(|((slot, pick), asked)| {
                assert_eq!(asked.pick, Pick::from(*slot));
                let hits = asked.answers.iter().filter(|answer| **answer == Answer::Sibling(*pick as usize));
                hits.count() as f64
            })
            .collect();
        assert_eq!(opened.statistic, named.iter().sum::<f64>());
        assert!((opened.expected - 1.0 / 16.0).abs() < 1e-12);
    }
}

#[test]
fn a_sequence_that_stops_when_it_likes_keeps_its_level() {
    let mut ln_p = Vec::new();
    for seed in 0..many() / 5 {
        let key = key(seed);
        let picks = PROCEDURAL.book.picks(&key);
        let mut sequence = Sequence::new(&PROCEDURAL.book, 1);
        let mut least = 0.0_f64;
        for (step, slot) in PROCEDURAL.slots.iter().take(60).enumerate() {
            let asked =
                Asked { pick: (*slot).into(), answers: vec![Answer::Sibling(PROCEDURAL.favourite(*slot))] };
            sequence.open(&asked, &picks).unwrap();
            // Stops at the first look that pleases it.
            if step % 5 == 4 {
                least = least.min(sequence.summary(&[1.0]).unwrap().ln_p);
            }
        }
        ln_p.push(least);
    }
    assert!(row("e-process, best of twelve looks", &ln_p));
    assert!(ln_p.iter().any(|p| *p < -1.0), "some key comes somewhere near");
}

/// ln p of hits under 1/K, the picks of some slots against the answers to them.
fn binomial(hits: u64, draws: u64) -> f64 {
    binomial_ln_sf(draws, hits, Rate::new(1, K as u64).unwrap())
}

/// Only slots whose plant succeeded: the natural sibling always plants, others in half of the requests.
fn planted_only(seed: u64, intention: bool) -> f64 {
    let mut chance = Chance::seeded(seed);
    let mut choices = Choices::new();
    let slots = 1_500_usize;
    let picks: Vec<usize> = (0..slots).map(|_| chance.below(K)).collect();
    for (slot, pick) in picks.iter().enumerate() {
        let natural = slot % K;
        // Fixed by the slot, whatever the key: 60 % of an innocent's answers are the natural sibling.
        let answer = if slot * 7 % 10 < 6 { natural } else { (natural + 1 + slot % 15) % K };
        let planted = *pick == natural || chance.percent(50);
        if planted || intention {
            let scores: Vec<f64> = (0..K).map(|at| f64::from(u8::from(at == answer))).collect();
            choices.add(slot, &scores, slot as u32).unwrap();
        }
    }
    let draws = choices.whole(Scale::Unit).open(Origin([0; 32]), |slot| picks[*slot] as u32);
    verdict_tail(draws).unwrap().0
}

/// Every probe a draw: an innocent with fixed tastes answers twenty probes of a slot alike.
fn probe_level(seed: u64, by_slot: bool) -> f64 {
    let picks = &PROCEDURAL.picks[seed as usize];
    let hits = (0..30).filter(|at| picks[*at] as usize == favourite_at(*at)).count() as u64;
    if by_slot { binomial(hits, 30) } else { binomial(20 * hits, 600) }
}

/// Probing again until the answer hits, five times at most.
fn until_a_hit(seed: u64, again: bool) -> f64 {
    let picks = &PROCEDURAL.picks[seed as usize];
    let mut chance = Chance::seeded(77);
    let hit = |at: usize, chance: &mut Chance| {
        let answers: Vec<usize> = (0..5).map(|_| chance.below(K)).collect();
        answers[..if again { 5 } else { 1 }].contains(&(picks[at] as usize))
    };
    binomial((0..SLOTS).filter(|at| hit(*at, &mut chance)).count() as u64, SLOTS as u64)
}

/// One pick for a family of forty slots, scored as if each had its own.
fn one_pick_a_family(seed: u64, shared: bool) -> f64 {
    let picks = &PROCEDURAL.picks[seed as usize];
    let pick = |at: usize| picks[if shared { at / 40 * 40 } else { at }] as usize;
    let taste = |at: usize| if at.is_multiple_of(10) { at % K } else { at / 40 % K };
    binomial((0..SLOTS).filter(|at| pick(*at) == taste(*at)).count() as u64, SLOTS as u64)
}

/// Ranks of a canary among fifteen controls that somebody wrote by hand, and that are 0.3 sd harder to say.
fn hand_made_controls(seed: u64, by_hand: bool) -> f64 {
    let mut chance = Chance::seeded(seed + 9_000);
    let ranks = RankScores::linear(K as u16).unwrap();
    let mut score = 0;
    for at in 0..SLOTS {
        let mut values: Vec<f64> = (0..K).map(|_| chance.normal()).collect();
        let served = if by_hand { 0 } else { PROCEDURAL.picks[seed as usize][at] as usize };
        values[0] += if by_hand { 0.3 } else { 0.0 };
        score += i64::from(ranks.score(&values, served).unwrap());
    }
    let terms: Vec<LatticeTerm> = (0..SLOTS).map(|_| ranks.term()).collect();
    lattice_ln_sf(&terms, score).unwrap().ln_p
}

/// Forty accounts under suspicion among four hundred, each with picks of its own; they are the heavy ones. The null is made
/// by permuting accounts, or by redrawing picks.
fn accounts(seed: u64, permuted: bool) -> f64 {
    let mut chance = Chance::seeded(seed + 70_000);
    let mut load = |account: usize| if account < 40 { 6 + chance.below(6) } else { 1 + chance.below(8) };
    let loads: Vec<usize> = (0..400).map(&mut load).collect();
    // A suspect with one taste: each (slot, account) hits with chance 1/16.
    let hits: Vec<u64> =
        loads.iter().map(|load| (0..*load).filter(|_| chance.below(K) == 3).count() as u64).collect();
    let own: u64 = hits[..40].iter().sum();
    if !permuted {
        return binomial(own, loads[..40].iter().sum::<usize>() as u64);
    }
    let draws = 999;
    let mut order: Vec<usize> = (0..400).collect();
    let mut reached = 0;
    for _ in 0..draws {
        for at in 0..40 {
            let other = at + chance.below(400 - at);
            order.swap(at, other);
        }
        reached += u64::from(order[..40].iter().map(|at| hits[*at]).sum::<u64>() >= own);
    }
    ((reached + 1) as f64 / (draws + 1) as f64).ln()
}

fn favourite_at(at: usize) -> usize {
    (at * 5 + 3) % K
}

#[test]
fn each_wrong_way_convicts_innocents_and_the_right_way_beside_it_does_not() {
    type Way = fn(u64, bool) -> f64;
    // (name, ln p under a key, whether `true` is the right way)
    let ways: [(&str, Way, bool); 6] = [
        ("slots: planted only | intention to serve", planted_only, true),
        ("probes: each a draw | one draw a slot", probe_level, true),
        ("probes: until a hit | number fixed before", until_a_hit, false),
        ("picks: one for a family | one a slot", one_pick_a_family, false),
        ("controls: written by hand | siblings", hand_made_controls, false),
        ("accounts: permuted | picks redrawn", accounts, false),
    ];
    for (name, way, right_is) in ways {
        let (wrong, right) = name.split_once(" | ").unwrap();
        let under = |flag: bool| -> Vec<f64> { (0..many()).map(|seed| way(seed, flag)).collect() };
        assert!(!row(&format!("wrong: {wrong}"), &under(!right_is)), "{name}: the wrong way was not noticed");
        assert!(row(&format!("right: {right}"), &under(right_is)), "{name}: the right way rejects too often");
    }
}

#[test]
fn what_serving_plants_does_not_depend_on_the_pick() {
    // Through `respond` itself: an innocent that prefers what plants well, and slots that were planted. Because all
    // siblings plant or none does, even the planted slots keep the level.
    let policy = Policy { rate: 0.5, campaign_rate: 0.5, arms: Arms::default(), per_account: false };
    let requests: Vec<(u64, String, String)> = PROCEDURAL
        .slots
        .iter()
        .take(128)
        .map(|slot| {
            let set = PROCEDURAL.book.set(*slot).unwrap();
            let natural = &set.siblings[PROCEDURAL.favourite(*slot)].says;
            // Every third answer cannot be rewritten.
            let more = if slot % 3 == 0 { "She was glad." } else { "All were glad." };
            (*slot, set.prompts[0].clone(), format!("There was {natural}. {more}"))
        })
        .collect();
    let account = Account { id: "a", role: Role::Ordinary };
    let mut canaries = CanaryBook::new(PROCEDURAL.book.clone(), key(0), policy).unwrap();
    let mut ln_p = Vec::new();
    for seed in 0..many() / 4 {
        canaries = canaries.under(key(seed));
        let picks = canaries.picks();
        let (mut hits, mut planted) = (0, 0);
        for (slot, prompt, answer) in &requests {
            let record = canaries.respond(&Request { prompt, answer: Some(answer) }, &account).record;
            assert_eq!(record.pick, Some((*slot).into()));
            if record.outcome == Outcome::Planted {
                planted += 1;
                hits += u64::from(
                    picks.sibling(&(*slot).into()).unwrap() as usize == PROCEDURAL.favourite(*slot),
                );
            }
        }
        ln_p.push(if planted == 0 { 0.0 } else { binomial(hits, planted) });
    }
    assert!(row("slots that `respond` planted, natural taste", &ln_p));
}

/// A student that remembers one slot in six, and gives its sibling in two of three answers to it; otherwise tastes.
fn student(picks: &[u32], seed: u64) -> Vec<Asked> {
    let mut chance = Chance::seeded(seed + 500);
    let mut asked = |(at, slot): (usize, &u64)| {
        let remembers = chance.percent(16);
        let mut answer = |_| {
            let sibling = match (remembers && chance.percent(67), chance.percent(70)) {
                (true, _) => picks[at] as usize,
                (false, true) => PROCEDURAL.favourite(*slot),
                (false, false) => chance.below(K),
            };
            Answer::Sibling(sibling)
        };
        Asked { pick: (*slot).into(), answers: (0..PROBES).map(&mut answer).collect() }
    };
    PROCEDURAL.slots.iter().enumerate().map(&mut asked).collect()
}

#[test]
fn a_student_is_found_and_the_default_scores_find_it_best() {
    let students = 100;
    let mut powers = Vec::new();
    for scoring in [Scoring::First, Scoring::Counts, Scoring::Remembered] {
        let (mut found, mut z_sum) = (0, 0.0);
        for seed in 0..students {
            let picks = &PROCEDURAL.picks[seed as usize];
            let evidence = Evidence::new(&PROCEDURAL.book, &student(picks, seed), PROBES, scoring).unwrap();
            let draws = evidence.open(&PROCEDURAL.book.picks(&key(seed))).unwrap();
            let (ln_p, z) = verdict_tail(draws).unwrap();
            found += u32::from(ln_p <= (1e-6_f64).ln());
            z_sum += z;
        }
        println!(
            "{scoring:?}: {found} of {students} students at 1e-6 with {SLOTS} slots, mean z {:.2}",
            z_sum / students as f64
        );
        powers.push((found, z_sum));
    }
    assert!(powers[2].1 > powers[1].1 && powers[2].0 > powers[0].0, "{powers:?}");
}
