//! Canaries under H0: 2,000 keys over innocent suspects that are as awkward as they can be, and over the wrong ways to
//! test them, each of which convicts innocents.
//!
//! A suspect's answers are fixed, keys are redrawn: that is what "independent of the key" means. Everything is seeded, so
//! nothing here is ever flaky.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use taggant::canary::{
    Account, Answer, Arms, Asked, Book, CanaryBook, Evidence, Matcher, Outcome, Pick, Policy, Request, Role,
    Scoring, Sequence, embedded_book,
};
use taggant::key::EpochKey;
use taggant::law::{Choices, Origin, Scale};
use taggant::stat::Rate;
use taggant::stat::lattice::{LatticeTerm, lattice_ln_sf};
use taggant::stat::multiple::binomial_upper_limit;
use taggant::stat::power::Hits;
use taggant::stat::rank::RankScores;
use taggant::stat::tail::binomial_ln_sf;
use taggant::stat::verdict::{Summary, verdict_tail};

use crate::h0::{Chance, LEVELS, key, row};

const KEYS: u64 = 2_000;
const SLOTS: usize = 160;
const PROBES: usize = 3;
const K: usize = 16;

static BOOK: LazyLock<Book> = LazyLock::new(|| embedded_book("validity", &"a5".repeat(32), 0.25).unwrap());

/// Slots of three classes, eight of ten from one of them: a family whose tastes are shared.
static OPEN: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let of = |class: &str, n: usize| -> Vec<u64> {
        let is = |slot: &u64| BOOK.set(*slot).is_some_and(|set| set.class == class);
        (0..BOOK.slots()).step_by(101).filter(|slot| !BOOK.is_closed(*slot)).filter(is).take(n).collect()
    };
    [of("animal-story", 128), of("endpoint-date", 16), of("lesson-plan", 16)].concat()
});

/// The pick of each slot under each key.
static PICKS: LazyLock<Vec<Vec<u32>>> = LazyLock::new(|| {
    let picks = |key: EpochKey| {
        let picks = BOOK.picks(&key);
        OPEN.iter().map(|slot| picks.sibling(&(*slot).into()).unwrap()).collect()
    };
    (0..KEYS).map(|seed| picks(key(seed))).collect()
});

/// The taste of a suspect: the candidate of a slot that comes first in an order of its own.
fn favourite(slot: u64) -> usize {
    let set = BOOK.set(slot).unwrap();
    (0..K).min_by_key(|at| set.siblings[*at].says.bytes().map(u64::from).sum::<u64>() % 97).unwrap()
}

fn innocent(name: &str) -> Vec<Asked> {
    let mut chance = Chance::seeded(name.len() as u64);
    let mut asked = |slot: u64| {
        let set = BOOK.set(slot).unwrap();
        let matcher = Matcher::new(&set).unwrap();
        let taste = favourite(slot);
        let mut answer = |probe: usize| match name {
            "fixed preference in 90 % of the slots" => {
                Answer::Sibling(if chance.percent(90) { taste } else { chance.below(K) })
            }
            "copies the prompt" => matcher.answer(&set.prompts[probe % set.prompts.len()]),
            "always the first option" => Answer::Sibling(0),
            "none unless its favourite is to be had" => {
                if taste < 6 {
                    Answer::Sibling(taste)
                } else {
                    Answer::None
                }
            }
            "natural sibling preferred by 60 %" => {
                Answer::Sibling(if chance.percent(60) { taste } else { chance.below(K) })
            }
            "one taste for a whole family" => {
                let pip = set
                    .siblings
                    .iter()
                    .position(|sibling| ["Pip", "Hazel", "2031-05-14"].contains(&sibling.says.as_str()));
                pip.map_or(Answer::None, Answer::Sibling)
            }
            other => panic!("no suspect {other}"),
        };
        Asked { pick: slot.into(), answers: (0..PROBES).map(&mut answer).collect() }
    };
    OPEN.iter().map(|slot| asked(*slot)).collect()
}

const INNOCENTS: [&str; 6] = [
    "fixed preference in 90 % of the slots",
    "copies the prompt",
    "always the first option",
    "none unless its favourite is to be had",
    "natural sibling preferred by 60 %",
    "one taste for a whole family",
];

/// ln p under every key, by the path that evidence takes.
fn tails(evidence: &Evidence, at: &BTreeMap<Pick, usize>) -> Vec<f64> {
    let under = |seed: u64| {
        let picks = &PICKS[seed as usize];
        let draws = evidence.choices().open(Origin([0; 32]), |pick| picks[at[pick]]);
        verdict_tail(draws).unwrap().0
    };
    (0..KEYS).map(under).collect()
}

fn positions() -> BTreeMap<Pick, usize> {
    OPEN.iter().enumerate().map(|(at, slot)| (Pick::from(*slot), at)).collect()
}

#[test]
fn innocents_keep_the_level_whatever_they_prefer() {
    assert_eq!(OPEN.len(), SLOTS);
    let at = positions();
    let mut all = true;
    println!("{:52} rejections of {KEYS} keys at 1e-1, 1e-2, 1e-3 (limit)", "");
    for name in INNOCENTS {
        let asked = innocent(name);
        for scoring in [Scoring::First, Scoring::Counts, Scoring::Remembered] {
            let evidence = Evidence::new(&BOOK, &asked, PROBES, scoring).unwrap();
            if evidence.silent == evidence.slots {
                println!("{name}, {scoring:?}: no draw, so p = 1");
                continue;
            }
            all &= row(&format!("{name}, {scoring:?}"), &tails(&evidence, &at));
        }
    }
    assert!(all);
}

#[test]
fn hits_reject_at_most_as_often_as_the_binomial_law_attains() {
    let (at, asked) = (positions(), innocent("fixed preference in 90 % of the slots"));
    let evidence = Evidence::new(&BOOK, &asked, PROBES, Scoring::First).unwrap();
    let ln_p = tails(&evidence, &at);
    let hits = Hits::of_slots(K as u64).unwrap();
    for level in LEVELS {
        let alpha = Rate::new(1, level).unwrap();
        let critical = hits.critical(SLOTS as u64, alpha.ln_p()).unwrap();
        let attained = binomial_ln_sf(SLOTS as u64, critical, Rate::new(1, K as u64).unwrap()).exp();
        let limit = binomial_upper_limit(KEYS, Rate::nearest(attained).unwrap(), 0.999);
        let rejected = ln_p.iter().filter(|p| **p <= alpha.ln_p()).count() as u64;
        println!("1 in {level}: {rejected} of {KEYS}, attainable level {attained:.5}, limit {limit}");
        assert!(rejected <= limit);
    }
}

#[test]
fn evidence_opens_the_picks_that_the_key_made() {
    let asked = innocent("natural sibling preferred by 60 %");
    let evidence = Evidence::new(&BOOK, &asked, PROBES, Scoring::Counts).unwrap();
    let at = positions();
    for seed in 0..5 {
        let key = key(seed);
        let opened = Summary::of(evidence.open(&BOOK.picks(&key)).unwrap()).unwrap();
        let picks = &PICKS[seed as usize];
        let again = verdict_tail(evidence.choices().open(Origin([0; 32]), |pick| picks[at[pick]])).unwrap();
        assert_eq!(opened.ln_p, again.0);
        assert!((opened.expected - 1.0 / 16.0).abs() < 1e-12);
    }
}

#[test]
fn a_sequence_that_stops_when_it_likes_keeps_its_level() {
    let mut ln_p = Vec::new();
    for seed in 0..400 {
        let key = key(seed);
        let picks = BOOK.picks(&key);
        let mut sequence = Sequence::new(&BOOK, 1);
        let mut least = 0.0_f64;
        for (step, slot) in OPEN.iter().take(60).enumerate() {
            let asked = Asked { pick: (*slot).into(), answers: vec![Answer::Sibling(favourite(*slot))] };
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
    let picks = &PICKS[seed as usize];
    let hits = (0..30).filter(|at| picks[*at] as usize == favourite_at(*at)).count() as u64;
    if by_slot { binomial(hits, 30) } else { binomial(20 * hits, 600) }
}

/// Probing again until the answer hits, five times at most.
fn until_a_hit(seed: u64, again: bool) -> f64 {
    let picks = &PICKS[seed as usize];
    let mut chance = Chance::seeded(77);
    let hit = |at: usize, chance: &mut Chance| {
        let answers: Vec<usize> = (0..5).map(|_| chance.below(K)).collect();
        answers[..if again { 5 } else { 1 }].contains(&(picks[at] as usize))
    };
    binomial((0..SLOTS).filter(|at| hit(*at, &mut chance)).count() as u64, SLOTS as u64)
}

/// One pick for a family of forty slots, scored as if each had its own.
fn one_pick_a_family(seed: u64, shared: bool) -> f64 {
    let picks = &PICKS[seed as usize];
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
        let served = if by_hand { 0 } else { PICKS[seed as usize][at] as usize };
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
    println!("{:52} rejections of {KEYS} keys at 1e-1, 1e-2, 1e-3 (limit)", "");
    for (name, way, right_is) in ways {
        let (wrong, right) = name.split_once(" | ").unwrap();
        let under = |flag: bool| -> Vec<f64> { (0..KEYS).map(|seed| way(seed, flag)).collect() };
        assert!(!row(&format!("wrong: {wrong}"), &under(!right_is)), "{name}: the wrong way was not noticed");
        assert!(row(&format!("right: {right}"), &under(right_is)), "{name}: the right way rejects too often");
    }
}

#[test]
fn what_serving_plants_does_not_depend_on_the_pick() {
    // Through `respond` itself: an innocent that prefers what plants well, and slots that were planted. Because all
    // siblings plant or none does, even the planted slots keep the level.
    let policy = Policy { rate: 0.5, campaign_rate: 0.5, arms: Arms::default(), per_account: false };
    let requests: Vec<(u64, String, String)> = OPEN
        .iter()
        .take(128)
        .map(|slot| {
            let set = BOOK.set(*slot).unwrap();
            let natural = &set.siblings[favourite(*slot)].says;
            // Every third answer cannot be rewritten.
            let more = if slot % 3 == 0 { "She was glad." } else { "All were glad." };
            (*slot, set.prompts[0].clone(), format!("There was {natural}. {more}"))
        })
        .collect();
    let account = Account { id: "a", role: Role::Ordinary };
    let mut canaries = CanaryBook::new(BOOK.clone(), key(0), policy).unwrap();
    let mut ln_p = Vec::new();
    for seed in 0..500 {
        canaries = canaries.under(key(seed));
        let picks = canaries.picks();
        let (mut hits, mut planted) = (0, 0);
        for (slot, prompt, answer) in &requests {
            let record = canaries.respond(&Request { prompt, answer: Some(answer) }, &account).record;
            assert_eq!(record.pick, Some((*slot).into()));
            if record.outcome == Outcome::Planted {
                planted += 1;
                hits += u64::from(picks.sibling(&(*slot).into()).unwrap() as usize == favourite(*slot));
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
                (false, true) => favourite(*slot),
                (false, false) => chance.below(K),
            };
            Answer::Sibling(sibling)
        };
        Asked { pick: (*slot).into(), answers: (0..PROBES).map(&mut answer).collect() }
    };
    OPEN.iter().enumerate().map(&mut asked).collect()
}

#[test]
fn a_student_is_found_and_the_default_scores_find_it_best() {
    let at = positions();
    let students = 100;
    let mut powers = Vec::new();
    for scoring in [Scoring::First, Scoring::Counts, Scoring::Remembered] {
        let (mut found, mut z_sum) = (0, 0.0);
        for seed in 0..students {
            let picks = &PICKS[seed as usize];
            let evidence = Evidence::new(&BOOK, &student(picks, seed), PROBES, scoring).unwrap();
            let draws = evidence.choices().open(Origin([0; 32]), |pick| picks[at[pick]]);
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
