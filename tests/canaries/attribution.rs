//! Attribution: known answers, the route end to end, accounts, cohorts, and how far the ladder is climbed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::Value;
use taggant::attribute::cohort::{CohortError, Period};
use taggant::attribute::{
    Accounts, Assumed, Claim, Cohorts, Exposure, FAMILY_WISE, Feasibility, Ladder, Naming, Probed,
    ROUTE_FORMAT, Registered, Route, RouteError, RouteOutcome, RoutePlan, Rungs, SealedRoute,
    SealedRouteFile, Test, Traffic,
};
use taggant::canary::{Answer, Arm, Arms, Book, Pick, Picks, embedded_book};
use taggant::key::{Commitment, EpochKey, Label, Secret};
use taggant::law::{Choices, Draws, Origin, Scale};
use taggant::stat::Rate;
use taggant::stat::strata::{Stratum, stratified_ln_sf};
use taggant::stat::verdict::Summary;

use crate::h0::{Chance, fixed_key as key};

static BOOK: LazyLock<Book> = LazyLock::new(|| embedded_book("route", &"b6".repeat(32), 0.25).unwrap());

/// Two thousand open slots of many classes.
static SLOTS: LazyLock<Vec<u64>> = LazyLock::new(|| {
    (0..BOOK.slots()).step_by(97).filter(|slot| !BOOK.is_closed(*slot)).take(2_000).collect()
});

const ARMS: Arms = Arms { campaign: 0.4, sentinel: 0.15 };

fn accounts() -> Accounts {
    let salt = "5c".repeat(32).parse().unwrap();
    Accounts { salt, ids: (0..40).map(|n| format!("acct-{n}")).collect() }
}

fn plan(probed: &[Probed]) -> RoutePlan {
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
        serve_cap: 2,
        probes: 1,
        alpha: 1e-6,
        control_alpha: 0.01,
        rungs: Rungs { exposure: Exposure::Canaries {}, campaign: None, cohorts: None, accounts: false },
    }
}

fn seal(plan: RoutePlan) -> SealedRoute {
    plan.seal("2026-11-29T12:00:00Z").unwrap()
}

/// How often an answer that is not remembered names no sibling.
const SILENT: f64 = 0.1;

/// How likely a suspect remembers a slot of each arm: (F's, ordinary, sentinel).
type Recall = (f64, f64, f64);

/// A suspect's answers to all slots, of which both kinds of accounts asked for most often enough.
fn probed(picks: &Picks<'_>, recall: Recall, seed: u64, silent: f64) -> Vec<Probed> {
    let mut chance = Chance::seeded(seed);
    let mut one = |slot: &u64| {
        let arm = picks.arm(*slot, ARMS);
        let recall = match arm {
            Arm::Campaign => recall.0,
            Arm::Ordinary => recall.1,
            Arm::Sentinel => recall.2,
        };
        let campaign: BTreeMap<String, u32> =
            (0..2).map(|_| (format!("acct-{}", chance.below(40)), 1 + chance.below(3) as u32)).collect();
        let answer = if chance.with(recall) {
            Answer::Sibling(picks.sibling(&(*slot).into()).unwrap() as usize)
        } else if chance.with(silent) {
            Answer::None
        } else {
            Answer::Sibling(chance.below(16).min(9))
        };
        let period = format!("week {}", slot % 3);
        let traffic = Traffic { slot: *slot, period, campaign, ordinary: 1 + chance.below(4) as u32 };
        Probed { traffic, answers: vec![answer] }
    };
    SLOTS.iter().map(&mut one).collect()
}

fn route(recall: Recall, seed: u64) -> Route {
    route_of(recall, seed, SILENT)
}

fn route_of(recall: Recall, seed: u64, silent: f64) -> Route {
    let key = key(seed as u8 + 1);
    let picks = BOOK.picks(&key);
    let probed = probed(&picks, recall, seed, silent);
    seal(plan(&probed)).test(&BOOK, &picks, &accounts(), &probed).unwrap()
}

fn known() -> Value {
    serde_json::from_str(include_str!("../vectors/attribution.json")).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn arms_cohorts_and_account_sets_are_the_known_ones() {
    let file = known();
    let key = Secret::from_hex(file["secret"].as_str().unwrap())
        .unwrap()
        .epoch_key(&file["epoch"].as_str().unwrap().parse().unwrap());
    for case in file["arms"].as_array().unwrap() {
        let book = &file["book_sha256"].as_str().unwrap()[..32];
        let label: Label = format!("canary/1/{book}/{}/k{}", case["slot"], case["k"]).parse().unwrap();
        let number = key.scheme_key(&label.arm_of_canary()).number();
        assert_eq!(number.to_string(), case["number"].as_str().unwrap());
        let arms = Arms {
            campaign: case["campaign"].as_f64().unwrap(),
            sentinel: case["sentinel"].as_f64().unwrap(),
        };
        assert_eq!(serde_json::to_value(arms.of(number)).unwrap(), case["arm"]);
    }
    for case in file["cohorts"].as_array().unwrap() {
        let cohorts = Cohorts::new(case["cohorts"].as_u64().unwrap() as u32).unwrap();
        let cohort = cohorts.of(&key, case["account"].as_str().unwrap());
        assert_eq!(u64::from(cohort), case["cohort"].as_u64().unwrap());
    }
    let ids = texts(&file["accounts"]["ids"]).into_iter().map(str::to_owned).collect();
    let set = Accounts { salt: file["accounts"]["salt"].as_str().unwrap().parse().unwrap(), ids };
    assert_eq!(set.commitment().to_string(), file["accounts"]["commitment"].as_str().unwrap());
}

#[test]
fn tails_of_strata_and_cohorts_are_those_of_whole_numbers() {
    let file = known();
    for case in file["strata"].as_array().unwrap() {
        let strata: Vec<[u64; 4]> = serde_json::from_value(case["strata"].clone()).unwrap();
        let strata: Vec<Stratum> = strata
            .iter()
            .map(|&[items, hits, first, first_hits]| Stratum { items, hits, first, first_hits })
            .collect();
        let (found, wanted) = (stratified_ln_sf(&strata).unwrap(), case["ln_p"].as_f64().unwrap());
        assert!((0.0..3e-9 * (1.0 + wanted.abs())).contains(&(found - wanted)), "{found} {wanted}");
    }
    for case in file["cohort_tests"].as_array().unwrap() {
        let secret = Secret::from_hex(file["secret"].as_str().unwrap()).unwrap();
        let keys: Vec<EpochKey> = case["periods"]
            .as_array()
            .unwrap()
            .iter()
            .map(|period| secret.epoch_key(&period["epoch"].as_str().unwrap().parse().unwrap()))
            .collect();
        let periods: Vec<Period<'_>> = keys
            .iter()
            .zip(case["periods"].as_array().unwrap())
            .map(|(key, period)| Period {
                key,
                scores: serde_json::from_value(period["scores"].clone()).unwrap(),
                requests: serde_json::from_value(period["requests"].clone()).unwrap(),
            })
            .collect();
        let cohorts = Cohorts::new(case["cohorts"].as_u64().unwrap() as u32).unwrap();
        let found = Summary::of(cohorts.draws(&periods).unwrap()).unwrap();
        let wanted = case["ln_p"].as_f64().unwrap();
        assert_eq!(found.statistic, case["statistic"].as_f64().unwrap());
        assert!((-1e-12..1e-6).contains(&(found.ln_p - wanted)), "{} {wanted}", found.ln_p);
    }
}

#[test]
fn a_suspect_that_used_these_accounts_is_found_and_a_crawler_is_not() {
    let thief = route((0.3, 0.02, 0.0), 1);
    assert_eq!(thief.outcome, RouteOutcome::Established, "{thief:#?}");
    assert!(thief.keyed.ln_p < -100.0 && thief.arms.ln_p < -20.0 && thief.ln_p == thief.arms.ln_p);
    assert!(thief.arms.strata > 10 && thief.sentinels.draws > 200, "{thief:#?}");
    // What the accounts of F published was crawled, and so was what others published: as much of one as of the other.
    let crawler = route((0.2, 0.2, 0.0), 2);
    assert_eq!(crawler.outcome, RouteOutcome::NotEstablished, "{crawler:#?}");
    assert!(crawler.keyed.ln_p < -100.0, "one half alone would accuse it: {:?}", crawler.keyed);
    let innocent = route((0.0, 0.0, 0.0), 3);
    assert_eq!(innocent.outcome, RouteOutcome::NotEstablished);
    let chance = innocent.keyed.hits as f64 / innocent.keyed.draws as f64;
    assert!((chance - 1.0 / 16.0).abs() < 0.03 && innocent.keyed.ln_p > -8.0, "{innocent:#?}");
}

#[test]
fn a_leak_of_the_key_blocks_the_route_whatever_the_halves_say() {
    let insider = route((0.3, 0.02, 0.3), 4);
    assert_eq!(insider.outcome, RouteOutcome::Blocked, "{insider:#?}");
    assert!(insider.ln_p < -20.0 && insider.sentinels.ln_p < -10.0);
}

#[test]
fn the_ratio_that_would_explain_it_covers_the_truth() {
    // F's answers are remembered three times as often: 0.3 against 0.1.
    let mut covered = 0;
    for seed in 0..40 {
        let found = route((0.3, 0.1, 0.0), 10 + seed).arms.leak_ratio;
        let (least, most) = (found.at_least.unwrap(), found.at_most.unwrap_or(f64::INFINITY));
        covered += u32::from((least..=most).contains(&3.0));
        assert!(least > 1.0 && least <= found.estimate.unwrap(), "{found:?}");
    }
    assert!(covered >= 37, "{covered} of 40");
    let none = route((0.3, 0.0, 0.0), 60).arms.leak_ratio;
    // An end that is missing is infinite: the lower one is where the ordinary arm hits less than chance.
    let least = none.at_least.unwrap_or(f64::INFINITY);
    assert!(none.at_most.is_none() && least > 3.0, "no ratio is too large: {none:?}");
    // Of what was remembered, whether or not the rest of the answers name a sibling.
    let (mut silent, mut estimates) = (0.9, Vec::new());
    for seed in 0..20 {
        estimates.push(route_of((0.3, 0.1, 0.0), 100 + seed, silent).arms.leak_ratio.estimate.unwrap());
        silent = 0.9 - silent;
    }
    let mean = estimates.iter().sum::<f64>() / 20.0;
    assert!((2.5..3.5).contains(&mean), "{mean}: {estimates:?}");
}

#[test]
fn accounts_with_picks_of_their_own_are_tested_by_them() {
    let key = key(77);
    let picks = BOOK.picks(&key);
    let mut all = probed(&picks, (0.0, 0.0, 0.0), 5, SILENT);
    let mut chance = Chance::seeded(6);
    // Remembers what one of the accounts was given.
    for slot in all.iter_mut().filter(|slot| picks.arm(slot.traffic.slot, ARMS) == Arm::Campaign) {
        if chance.with(0.4) {
            let account = slot.traffic.campaign.keys().next().cloned();
            let own = Pick { slot: slot.traffic.slot, account };
            slot.answers = vec![Answer::Sibling(picks.sibling(&own).unwrap() as usize)];
        }
    }
    let own = seal(RoutePlan { per_account: true, ..plan(&all) });
    let found = own.test(&BOOK, &picks, &accounts(), &all).unwrap();
    assert_eq!(found.outcome, RouteOutcome::Established, "{found:#?}");
    assert!(found.keyed.draws > found.arms.campaign.slots);
    // Each of forty accounts is a candidate, and has the slots that it asked for in its own arm.
    let naming = own.naming(&BOOK, &picks, &accounts(), &all).unwrap();
    assert_eq!((naming.candidates().len(), naming.ln_alpha()), (40, FAMILY_WISE.ln()));
    let seats: u64 = naming.candidates().iter().map(|candidate| candidate.draws).sum();
    assert_eq!(seats, found.keyed.draws);
    let shared = seal(plan(&all)).test(&BOOK, &picks, &accounts(), &all).unwrap();
    assert!(shared.keyed.ln_p > -8.0, "the common picks were not served: {:?}", shared.keyed);
}

#[test]
fn a_sealed_plan_takes_nothing_else() {
    let key = key(9);
    let picks = BOOK.picks(&key);
    let all = probed(&picks, (0.0, 0.0, 0.0), 9, SILENT);
    let sealed = seal(plan(&all));
    let fails = |accounts: &Accounts, probed: &[Probed]| {
        sealed.test(&BOOK, &picks, accounts, probed).unwrap_err().to_string()
    };
    let mut others = accounts();
    others.ids.insert("acct-40".to_owned());
    assert!(fails(&others, &all).starts_with("the account set is not"));
    let mut strange = all.clone();
    strange[3].traffic.campaign.insert("acct-40".to_owned(), 1);
    assert!(fails(&accounts(), &strange).contains("\"acct-40\" is not in the sealed set"));
    let twice: Vec<Probed> = all.iter().chain(&all[..1]).cloned().collect();
    assert!(fails(&accounts(), &twice).contains("probed twice"));
    // One slot less, or another request: the sealed traffic says which slots are probed.
    assert!(fails(&accounts(), &all[1..]).starts_with("the traffic is not"));
    let mut more = all.clone();
    more[0].traffic.ordinary += 1;
    assert!(fails(&accounts(), &more).starts_with("the traffic is not"));
    let mut closed = all.clone();
    let number = (0..).find(|slot| BOOK.is_closed(*slot) && picks.arm(*slot, ARMS) == Arm::Ordinary).unwrap();
    let campaign = [("acct-1".to_owned(), 9)].into();
    closed[0].traffic = Traffic { slot: number, period: "week 1".to_owned(), campaign, ordinary: 9 };
    let error = seal(plan(&closed)).test(&BOOK, &picks, &accounts(), &closed).unwrap_err();
    assert!(error.to_string().contains("stays closed"));
    let unprobed: Vec<Probed> =
        all.iter().filter(|slot| picks.arm(slot.traffic.slot, ARMS) != Arm::Sentinel).cloned().collect();
    let error = seal(plan(&unprobed)).test(&BOOK, &picks, &accounts(), &unprobed).unwrap_err();
    assert!(error.to_string().contains("Sentinel"));
    let other = embedded_book("other", &"b6".repeat(32), 0.25).unwrap();
    let error = sealed.test(&other, &other.picks(&key), &accounts(), &all).unwrap_err();
    assert!(matches!(error, RouteError::Other("book")));
    let rungs = |cohorts, accounts| Rungs { cohorts, accounts, ..plan(&all).rungs };
    for plan in [
        RoutePlan { alpha: 0.0, ..plan(&all) },
        RoutePlan { rate: 0.0, ..plan(&all) },
        RoutePlan { campaign_rate: 1.5, ..plan(&all) },
        RoutePlan { arms: Arms { campaign: 0.5, sentinel: 0.0 }, ..plan(&all) },
        RoutePlan { arms: Arms { campaign: 0.5, sentinel: 0.5 }, ..plan(&all) },
        RoutePlan { serve_cap: 0, ..plan(&all) },
        RoutePlan { rungs: rungs(Some(4), false), ..plan(&all) },
        RoutePlan { rungs: rungs(None, true), ..plan(&all) },
        RoutePlan { format: "route".to_owned(), ..plan(&all) },
    ] {
        assert!(plan.seal("now").is_err());
    }
    let changed = seal(RoutePlan { serve_cap: 3, ..plan(&all) });
    assert!(changed.sha256() != sealed.sha256() && sealed.sha256() == seal(plan(&all)).sha256());
    let text = serde_json::to_string(&plan(&all)).unwrap();
    assert_eq!(serde_json::from_str::<RoutePlan>(&text).unwrap(), plan(&all));
    assert!(serde_json::from_str::<RoutePlan>(&text.replace("\"probes\":1,", "")).is_err(), "no default");
    let file = SealedRouteFile::from(&sealed);
    assert_eq!(SealedRoute::try_from(file.clone()).unwrap(), sealed);
    let loosened = SealedRouteFile { plan: RoutePlan { alpha: 0.5, ..plan(&all) }, ..file };
    assert!(matches!(SealedRoute::try_from(loosened), Err(RouteError::Seal)));
}

#[test]
fn who_asked_for_what_is_committed_to_as_known() {
    let file: Value = serde_json::from_str(include_str!("../vectors/traffic.json")).unwrap();
    for case in file["cases"].as_array().unwrap() {
        let accounts: Accounts = serde_json::from_value(case["accounts"].clone()).unwrap();
        let traffic: Vec<Traffic> = serde_json::from_value(case["traffic"].clone()).unwrap();
        let turned = accounts.traffic_commitment(traffic.iter().rev());
        assert_eq!(turned.to_string(), case["commitment"].as_str().unwrap());
    }
}

#[test]
fn exposure_is_seen_in_whatever_arm_it_came_from() {
    let exposed = |recall: Recall| {
        let key = key(31);
        let picks = BOOK.picks(&key);
        let probed = probed(&picks, recall, 7, SILENT);
        seal(plan(&probed)).exposure(&BOOK, &picks, &accounts(), &probed).unwrap().0
    };
    let (of_ours, leaked, innocent) =
        (exposed((0.2, 0.0, 0.0)), exposed((0.0, 0.2, 0.0)), exposed((0.0, 0.0, 0.0)));
    assert!(of_ours.ln_p < -20.0 && leaked.ln_p < -20.0 && innocent.ln_p > -8.0);
    // Sentinels are not served: what is seen there is no exposure.
    assert!(exposed((0.0, 0.0, 0.9)).ln_p > -8.0);
}

/// Who asked for which slots: `each` a candidate.
fn seats(candidates: usize, each: usize) -> BTreeMap<String, BTreeSet<u64>> {
    let mut chance = Chance::seeded(40);
    let mut of = |_| (0..each).map(|_| SLOTS[chance.below(SLOTS.len())]).collect();
    (0..candidates).map(|n| (format!("acct-{n}"), of(n))).collect()
}

#[test]
fn an_account_that_was_memorised_is_named_and_otherwise_nobody_is() {
    let key = key(50);
    let picks = BOOK.picks(&key);
    let seats = seats(500, 12);
    let mut chance = Chance::seeded(51);
    let mut answers: BTreeMap<u64, Vec<Answer>> =
        SLOTS.iter().map(|slot| (*slot, vec![Answer::Sibling(chance.below(16))])).collect();
    let level = FAMILY_WISE.ln();
    let naming = |answers: &BTreeMap<u64, Vec<Answer>>| {
        Naming::by_canaries(&BOOK, &picks, &seats, answers, 1, level).unwrap()
    };
    let nobody = naming(&answers);
    assert!(nobody.named().is_empty() && nobody.candidates().len() == 500 && nobody.most_draws() <= 12);
    // Nine of ten slots of one account are remembered.
    for (at, slot) in seats["acct-17"].iter().enumerate().filter(|(at, _)| at % 10 != 3) {
        let own = Pick { slot: *slot, account: Some("acct-17".to_owned()) };
        answers.insert(*slot, vec![Answer::Sibling(picks.sibling(&own).unwrap() as usize)]);
        assert!(at < 12);
    }
    let one = naming(&answers);
    let named: Vec<&str> = one.named().iter().map(|candidate| candidate.id.as_str()).collect();
    assert_eq!(named, ["acct-17"]);
    // A slot that was not probed counts for nobody, and a candidate without slots still counts in the correction.
    let few: BTreeMap<u64, Vec<Answer>> = answers.iter().take(3).map(|(k, v)| (*k, v.clone())).collect();
    let unprobed = naming(&few);
    assert_eq!(unprobed.candidates().len(), 500);
    assert!(unprobed.named().is_empty());
}

/// `hits` hits of `n` slots of sixteen siblings.
fn draws(n: u32, hits: u32, origin: u8) -> Draws {
    let mut choices = Choices::new();
    let mut scores = [0.0; 16];
    scores[0] = 1.0;
    (0..n).for_each(|slot| choices.add(slot, &scores, slot).unwrap());
    choices.whole(Scale::Unit).open(Origin([origin; 32]), |slot| u32::from(*slot >= hits))
}

#[test]
fn candidates_are_corrected_for_all_and_none_enters_twice() {
    let test = |id: &str, hits| Test::of(id, draws(12, hits, 1)).unwrap();
    // Six hits of twelve have p = 4e-5: enough among ten candidates, not among a hundred.
    for (others, named) in [(9, 1), (99, 0)] {
        let mut tests: Vec<Test> = (0..others).map(|n| test(&format!("t{n}"), 0)).collect();
        tests.push(test("tenant", 6));
        let naming = Naming::of(tests, FAMILY_WISE.ln()).unwrap();
        assert_eq!(naming.named().len(), named, "{:?}", naming.candidates().last());
    }
    assert!(Naming::of(vec![test("a", 0), test("a", 6)], -1.0).is_err());
    let silent = Naming::of(vec![Test::of("a", draws(0, 0, 1)).unwrap()], -1.0).unwrap();
    assert_eq!((silent.ln_p(), silent.named().len()), (0.0, 0));
}

#[test]
fn cohorts_follow_the_key_and_the_epoch() {
    let (cohorts, first) = (Cohorts::new(16).unwrap(), key(1));
    let later = Secret::from_bytes([1; 32]).epoch_key(&"2027-q1".parse().unwrap());
    let moved = (0..400).filter(|n| {
        let account = format!("acct-{n}");
        cohorts.of(&first, &account) != cohorts.of(&later, &account)
    });
    assert!(moved.count() > 350);
    let scheme: Label = "green/1/w1/b2/t1".parse().unwrap();
    assert_ne!(Cohorts::scheme_label(&scheme, 1), Cohorts::scheme_label(&scheme, 2));
    assert!([0, 1, 17].iter().all(|n| matches!(Cohorts::new(*n), Err(CohortError::Number(_)))));
    let period = |scores: Vec<f64>| Period { key: &first, scores, requests: [("a".to_owned(), 3)].into() };
    let fails = |periods: &[Period<'_>]| cohorts.draws(periods).unwrap_err();
    assert!(matches!(fails(&[period(vec![0.0; 15])]), CohortError::Scores { scores: 15, .. }));
    assert!(matches!(fails(&[period(vec![f64::NAN; 16])]), CohortError::NotFinite(0)));
    let some = || period((0..16).map(f64::from).collect());
    assert!(matches!(fails(&[some(), some()]), CohortError::Twice(_)));
}

/// Scores of a suspect that learned from `teachers` (account → requests): the traffic of each cohort, plus noise.
fn scores_of(cohorts: Cohorts, key: &EpochKey, teachers: &BTreeMap<String, u64>, seed: u64) -> Vec<f64> {
    let mut chance = Chance::seeded(seed);
    let mut scores: Vec<f64> =
        (0..16).map(|_| (0..12).map(|_| chance.below(1_000) as f64 / 1e3).sum::<f64>() - 6.0).collect();
    for (account, requests) in teachers {
        scores[cohorts.of(key, account) as usize] += *requests as f64 / 60.0;
    }
    scores
}

#[test]
fn cohorts_show_whose_traffic_it_was() {
    let cohorts = Cohorts::new(16).unwrap();
    let traffic = |from: u64| -> BTreeMap<String, u64> {
        (from..from + 60).map(|n| (format!("acct-{n}"), 20 + 13 * (n % 9))).collect()
    };
    let keys: Vec<EpochKey> = (1..=6).map(key).collect();
    let ln_p = |teachers: &BTreeMap<String, u64>, suspects: &BTreeMap<String, u64>| {
        let period = |(seed, key)| Period {
            key,
            scores: scores_of(cohorts, key, teachers, seed),
            requests: suspects.clone(),
        };
        let periods: Vec<Period<'_>> = (0..).zip(&keys).map(period).collect();
        Summary::of(cohorts.draws(&periods).unwrap()).unwrap().ln_p
    };
    let (own, other) = (ln_p(&traffic(0), &traffic(0)), ln_p(&traffic(0), &traffic(1_000)));
    assert!(own < -20.0 && other > -6.0, "{own} {other}");
}

fn need(have: u64) -> Feasibility {
    let assumed = Assumed { accounts: 25_000, tilt: 0.01, recall: 0.01, siblings: 16, share: 0.05 };
    assumed.account_by_tokens(Rate::new(1, 2).unwrap(), FAMILY_WISE.ln(), have)
}

#[test]
fn the_ladder_stops_at_the_first_rung_that_does_not_hold() {
    let summary = |hits| Summary::of(draws(400, hits, 1)).unwrap();
    let (strong, weak) = (summary(200), summary(30));
    let (thief, insider) = (route((0.3, 0.02, 0.0), 1), route((0.3, 0.02, 0.3), 4));
    let test = Test::of("acct-3", draws(12, 12, 2)).unwrap();
    let naming = Naming::of(vec![test], FAMILY_WISE.ln()).unwrap();
    let level = (1e-6_f64).ln();
    let climb = |exposure, route, cohorts: Option<&Summary>| {
        let registered = Registered {
            exposure: Some((exposure, need(1))),
            campaign: None,
            cohorts: cohorts.map(|cohorts| (cohorts, need(2))),
            route: Some((route, need(3))),
            accounts: Some((&naming, need(4))),
        };
        Ladder::climb(registered, level)
    };
    let all = climb(&strong, &thief, None);
    assert_eq!((all.reached, all.accounts.as_slice()), (Some(Claim::Account), &["acct-3".to_owned()][..]));
    assert_eq!(climb(&strong, &thief, Some(&weak)).reached, Some(Claim::Exposure));
    assert!(climb(&strong, &thief, Some(&weak)).accounts.is_empty());
    assert_eq!(climb(&weak, &thief, None).reached, None);
    let blocked = climb(&strong, &insider, None);
    assert!(blocked.blocked && blocked.reached.is_none() && blocked.rungs.iter().all(|rung| !rung.holds));
    let text = climb(&weak, &thief, None).to_string();
    assert!(
        text.contains("naming one of 25,000 accounts needs about 7e13 scored tokens; you have 1\n"),
        "{text}"
    );
    assert!(text.ends_with("no single account is established") && text.contains("not reached"), "{text}");
    assert!(blocked.to_string().contains("blocked: "));
    let commitment: Commitment = thief.plan;
    assert!(serde_json::to_string(&thief).unwrap().contains(&commitment.to_string()));
}
