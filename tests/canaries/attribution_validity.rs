//! Attribution under H0: many keys over innocents, the right way of each test and the wrong way beside it.
//!
//! Innocent means, by rung: nothing to do with the key; or a crawler that learned from whatever was published, by whomever.
//! Everything is seeded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use taggant::attribute::cohort::Period;
use taggant::attribute::{
    Accounts, Cohorts, Exposure, FAMILY_WISE, Naming, Probed, ROUTE_FORMAT, Route, RoutePlan, Rungs, Traffic,
};
use taggant::canary::{Answer, Arm, Arms, Book, Pick, embedded_book};
use taggant::stat::Rate;
use taggant::stat::strata::{Stratum, stratified_ln_sf};
use taggant::stat::tail::{binomial_ln_sf, hypergeometric_ln_sf};
use taggant::stat::verdict::verdict_tail;

use crate::h0::{Chance, key, keys, row};

const K: usize = 16;
const ARMS: Arms = Arms { campaign: 0.45, sentinel: 0.1 };

static BOOK: LazyLock<Book> = LazyLock::new(|| embedded_book("attribution", &"c7".repeat(32), 0.25).unwrap());

static SLOTS: LazyLock<Vec<u64>> = LazyLock::new(|| {
    (0..BOOK.slots()).step_by(499).filter(|slot| !BOOK.is_closed(*slot)).take(400).collect()
});

fn accounts() -> Accounts {
    Accounts { salt: "11".repeat(32).parse().unwrap(), ids: (0..10).map(|n| format!("acct-{n}")).collect() }
}

fn plan(serve_cap: u32, probed: &[Probed]) -> RoutePlan {
    RoutePlan {
        format: ROUTE_FORMAT.to_owned(),
        book: BOOK.sha256(),
        epoch: "2026-q4".parse().unwrap(),
        accounts: accounts().commitment(),
        traffic: accounts().traffic_commitment(probed.iter().map(|slot| &slot.traffic)),
        arms: ARMS,
        rate: 1.0,
        campaign_rate: 1.0,
        per_account: false,
        serve_cap,
        probes: 1,
        alpha: 1e-6,
        control_alpha: 1e-3,
        rungs: Rungs { exposure: Exposure::Canaries {}, campaign: None, cohorts: None, accounts: false },
    }
}

/// What is known of a slot without a key: requests of F, which is heavy, and of others, and the innocent's own taste.
/// Popular slots are asked for more by both, and remembered better.
struct Wanted {
    campaign: u32,
    ordinary: u32,
    popular: bool,
    taste: usize,
}

static WANTED: LazyLock<Vec<Wanted>> = LazyLock::new(|| {
    let mut chance = Chance::seeded(1);
    let mut wanted = || {
        let popular = chance.with(0.4);
        let more = if popular { 2 } else { 0 };
        Wanted {
            campaign: more + 1 + chance.below(5) as u32,
            ordinary: more + chance.below(3) as u32,
            popular,
            taste: if chance.with(0.9) { 3 } else { chance.below(K) },
        }
    };
    SLOTS.iter().map(|_| wanted()).collect()
});

/// Whether a crawler remembers a slot that was served `serves` times: it does not know to whom.
fn remembers(serves: u32, popular: bool, chance: &mut Chance) -> bool {
    let each = if popular { 0.25 } else { 0.05 };
    (0..serves).any(|_| chance.with(each))
}

/// The route test under one key. `crawls`: everything that was served, up to the cap, was published.
fn route(seed: u64, crawls: bool, cap: u32) -> (Route, Vec<(bool, bool)>) {
    let (key, mut chance) = (key(seed), Chance::seeded(seed + 100_000));
    let picks = BOOK.picks(&key);
    let mut arms = Vec::new();
    let mut probed = Vec::new();
    for (slot, wanted) in SLOTS.iter().zip(&*WANTED) {
        let arm = picks.arm(*slot, ARMS);
        let asked = match arm {
            Arm::Campaign => wanted.campaign,
            Arm::Ordinary => wanted.ordinary,
            Arm::Sentinel => 0,
        };
        let picked = picks.sibling(&(*slot).into()).unwrap() as usize;
        let recalled = crawls && remembers(asked.min(cap), wanted.popular, &mut chance);
        let answer = if recalled { picked } else { wanted.taste };
        if arm != Arm::Sentinel {
            arms.push((arm == Arm::Campaign, answer == picked));
        }
        let campaign = [(format!("acct-{}", slot % 10), wanted.campaign)].into();
        let traffic = Traffic { slot: *slot, period: "all".to_owned(), campaign, ordinary: wanted.ordinary };
        probed.push(Probed { traffic, answers: vec![Answer::Sibling(answer)] });
    }
    let sealed = plan(cap, &probed).seal("now").unwrap();
    (sealed.test(&BOOK, &picks, &accounts(), &probed).unwrap(), arms)
}

#[test]
fn the_halves_of_a_route_keep_their_levels_over_innocents_of_the_key() {
    let routes: Vec<Route> = (0..keys(1_000)).map(|seed| route(seed, false, 2).0).collect();
    let of = |p: fn(&Route) -> f64| routes.iter().map(p).collect::<Vec<f64>>();
    assert!(row("route (a): slots of F, one taste", &of(|route| route.keyed.ln_p)));
    assert!(row("route (b): arms, one taste", &of(|route| route.arms.ln_p)));
    assert!(row("route: both halves", &of(|route| route.ln_p)));
    assert!(row("control: sentinels", &of(|route| route.sentinels.ln_p)));
}

#[test]
fn a_crawler_of_what_everybody_published_is_no_thief() {
    let found: Vec<(Route, Vec<(bool, bool)>)> = (0..keys(1_000)).map(|seed| route(seed, true, 2)).collect();
    let of = |p: fn(&Route) -> f64| found.iter().map(|(route, _)| p(route)).collect::<Vec<f64>>();
    assert!(row("right: both halves, equal caps, both asked for", &of(|route| route.ln_p)));
    assert!(row("right: arms where both asked for the slot", &of(|route| route.arms.ln_p)));
    assert!(!row("wrong: half (a) alone", &of(|route| route.keyed.ln_p)));
    // The arms over all slots: F asks more often, so more of its slots reached the cap.
    let unequal = |arms: &[(bool, bool)]| {
        let count = |which: fn(&(bool, bool)) -> bool| arms.iter().filter(|slot| which(slot)).count() as u64;
        let stratum = Stratum {
            items: arms.len() as u64,
            hits: count(|slot| slot.1),
            first: count(|slot| slot.0),
            first_hits: count(|slot| slot.0 && slot.1),
        };
        stratified_ln_sf(&[stratum]).unwrap()
    };
    let all: Vec<f64> = found.iter().map(|(_, arms)| unequal(arms)).collect();
    assert!(!row("wrong: arms over all slots, unequal exposure", &all));
    assert!(found.iter().all(|(route, _)| route.arms.campaign.slots + route.arms.ordinary.slots > 100));
}

/// A crawler of everything that was planted, where ordinary accounts were planted a fifth of the slots and F all of them.
/// The plan says so, or that both were planted alike.
fn rates(seed: u64, untold: bool) -> f64 {
    let (key, mut chance) = (key(seed), Chance::seeded(seed + 700_000));
    let picks = BOOK.picks(&key);
    let probed: Vec<Probed> = SLOTS
        .iter()
        .map(|slot| {
            let rate = if picks.arm(*slot, ARMS) == Arm::Ordinary { 0.2 } else { 1.0 };
            let planted = picks.plants(*slot, rate) && picks.arm(*slot, ARMS) != Arm::Sentinel;
            let picked = picks.sibling(&(*slot).into()).unwrap() as usize;
            let answer = if planted && chance.with(0.5) { picked } else { chance.below(K) };
            let campaign = [("acct-1".to_owned(), 2)].into();
            let traffic = Traffic { slot: *slot, period: "all".to_owned(), campaign, ordinary: 2 };
            Probed { traffic, answers: vec![Answer::Sibling(answer)] }
        })
        .collect();
    let plan = RoutePlan { rate: if untold { 1.0 } else { 0.2 }, ..plan(2, &probed) };
    plan.seal("now").unwrap().test(&BOOK, &picks, &accounts(), &probed).unwrap().ln_p
}

/// Slots served to `suspects` accounts of sixty, each with picks of its own; the suspect has tastes of its own. F is fixed
/// beforehand, or chosen for its hits.
fn chosen(seed: u64, looked: bool) -> f64 {
    let mut chance = Chance::seeded(seed + 200_000);
    let mut hits: Vec<u64> =
        (0..60).map(|_| (0..30).filter(|_| chance.below(K) == 3).count() as u64).collect();
    if looked {
        hits.sort_by(|a, b| b.cmp(a));
    }
    binomial_ln_sf(300, hits[..10].iter().sum(), Rate::new(1, K as u64).unwrap())
}

/// F's 400 slots against 400 controls that were never served and whose "picks" somebody wrote by hand: less natural ones. The
/// innocent prefers what is natural.
fn controls(seed: u64, by_hand: bool) -> f64 {
    let mut chance = Chance::seeded(seed + 300_000);
    let hits = |n: usize, chance: &mut Chance, unnatural: bool| {
        let hit = |chance: &mut Chance| {
            let taste = if chance.with(0.3) { 0 } else { chance.below(K) };
            let pick = if unnatural { 1 + chance.below(K - 1) } else { chance.below(K) };
            taste == pick
        };
        (0..n).filter(|_| hit(chance)).count() as u64
    };
    let (own, control) = (hits(2_000, &mut chance, false), hits(2_000, &mut chance, by_hand));
    hypergeometric_ln_sf(4_000, own + control, 2_000, own).unwrap()
}

/// T over cohorts for forty heavy accounts among four hundred; scores are noise. The null redraws their assignments, or
/// takes other accounts in their place.
fn cohorts(seed: u64, permuted: bool) -> f64 {
    let (cohorts, key) = (Cohorts::new(16).unwrap(), key(seed));
    let mut chance = Chance::seeded(seed + 400_000);
    let scores: Vec<f64> = (0..16).map(|_| chance.normal()).collect();
    let requests = |account: usize| {
        if account < 40 { 700 + (account as u64 * 37) % 300 } else { 20 + account as u64 % 50 }
    };
    if !permuted {
        let requests = (0..40).map(|account| (format!("acct-{account}"), requests(account))).collect();
        let period = Period { key: &key, scores, requests };
        return verdict_tail(cohorts.draws(&[period]).unwrap()).unwrap().0;
    }
    let own: Vec<f64> = (0..400)
        .map(|account| {
            let cohort = if account < 40 {
                cohorts.of(&key, &format!("acct-{account}")) as usize
            } else {
                chance.below(16)
            };
            requests(account) as f64 * scores[cohort]
        })
        .collect();
    let observed: f64 = own[..40].iter().sum();
    let mut order: Vec<usize> = (0..400).collect();
    let (draws, mut reached) = (999, 0);
    for _ in 0..draws {
        for at in 0..40 {
            let other = at + chance.below(400 - at);
            order.swap(at, other);
        }
        reached += u32::from(order[..40].iter().map(|at| own[*at]).sum::<f64>() >= observed);
    }
    (f64::from(reached + 1) / f64::from(draws + 1)).ln()
}

#[test]
fn each_wrong_way_convicts_innocents_and_the_right_way_beside_it_does_not() {
    type Way = fn(u64, bool) -> f64;
    let ways: [(&str, Way); 4] = [
        ("rates: F's slots planted more often | compared where both plant", rates),
        ("F: chosen after looking | sealed before", chosen),
        ("controls: written by hand | siblings the key did not pick", controls),
        ("cohorts: accounts permuted | assignments redrawn", cohorts),
    ];
    for (name, way) in ways {
        let (wrong, right) = name.split_once(" | ").unwrap();
        let under = |wrong: bool| -> Vec<f64> { (0..keys(1_000)).map(|seed| way(seed, wrong)).collect() };
        assert!(!row(&format!("wrong: {wrong}"), &under(true)), "{name}: the wrong way was not noticed");
        assert!(row(&format!("right: {right}"), &under(false)), "{name}: the right way rejects too often");
    }
}

#[test]
fn a_suspect_that_learned_from_other_accounts_keeps_the_level_of_cohorts() {
    // Scores follow the traffic of three hundred accounts that are not under suspicion.
    let sixteen = Cohorts::new(16).unwrap();
    let ln_p: Vec<f64> = (0..keys(1_000))
        .map(|seed| {
            let (key, mut chance) = (key(seed), Chance::seeded(seed + 500_000));
            let mut scores: Vec<f64> = (0..16).map(|_| chance.normal()).collect();
            for account in 40..340 {
                scores[sixteen.of(&key, &format!("acct-{account}")) as usize] += 0.5;
            }
            let requests = (0..40).map(|n| (format!("acct-{n}"), 100 + 40 * n % 700)).collect();
            verdict_tail(sixteen.draws(&[Period { key: &key, scores, requests }]).unwrap()).unwrap().0
        })
        .collect();
    assert!(row("cohorts: learned from others", &ln_p));
}

#[test]
fn nobody_innocent_is_named_although_one_of_many_always_looks_good() {
    // A suspect with one taste, two hundred accounts with picks of their own; a fifth of the accounts are heavy.
    let answers: BTreeMap<u64, Vec<Answer>> = SLOTS
        .iter()
        .zip(&*WANTED)
        .map(|(slot, wanted)| (*slot, vec![Answer::Sibling(wanted.taste)]))
        .collect();
    let mut chance = Chance::seeded(600_000);
    let seats: BTreeMap<String, BTreeSet<u64>> = (0..200)
        .map(|n| {
            let each = if n % 5 == 0 { 24 } else { 6 };
            (format!("acct-{n}"), (0..each).map(|_| SLOTS[chance.below(SLOTS.len())]).collect())
        })
        .collect();
    let (mut corrected, mut alone) = (Vec::new(), Vec::new());
    for seed in 0..keys(1_500) / 5 {
        let key = key(seed);
        let picks = BOOK.picks(&key);
        let naming = Naming::by_canaries(&BOOK, &picks, &seats, &answers, 1, FAMILY_WISE.ln()).unwrap();
        assert!(naming.named().is_empty(), "key {seed} names {:?}", naming.named());
        corrected.push(naming.ln_p());
        alone.push(naming.candidates().iter().map(|candidate| candidate.ln_p).fold(0.0, f64::min));
    }
    assert!(row("right: corrected over all accounts", &corrected));
    assert!(!row("wrong: the account that stands out", &alone));
}

#[test]
fn an_account_keeps_its_level_when_another_was_memorised() {
    // The suspect recalls every slot of one account; the others' tests are as exact as before.
    let mut ln_p = Vec::new();
    for seed in 0..keys(1_000) {
        let key = key(seed);
        let picks = BOOK.picks(&key);
        let pick = |account: &str, slot: u64| {
            picks.sibling(&Pick { slot, account: Some(account.to_owned()) }).unwrap()
        };
        let hits = SLOTS[..60].iter().filter(|slot| pick("thief", **slot) == pick("other", **slot)).count();
        ln_p.push(binomial_ln_sf(60, hits as u64, Rate::new(1, K as u64).unwrap()));
    }
    assert!(row("accounts: another one was memorised", &ln_p));
}
