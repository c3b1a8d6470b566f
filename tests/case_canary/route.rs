//! The route (claim P4) in a plan: slots divided among accounts, both halves, the control, the bundle.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use taggant::attribute::{Accounts, RouteOutcome, Traffic};
use taggant::canary::{Arm, Arms, Pick};
use taggant::case::bundle::{Bundle, Parts};
use taggant::case::canaries::{Disclosed, Probe, labels, prompts, slots};
use taggant::case::likelihoods::SlotLikelihoods;
use taggant::case::material::{Content, Material};
use taggant::case::plan::{Canaries, Plan, SealedPlan};
use taggant::case::route::Requests;
use taggant::case::{Analysis, CaseError, Finding, Verdict, analyse};
use taggant::key::{EpochKey, Genesis, Opening, SchemeKey, Secret};
use taggant::stat::Rate;
use taggant::stat::multiple::binomial_upper_limit;

use super::{BOOK, Chance, SERVED, UNUSED, canonical, damage, failures, leaves, of, redigested, test};

pub(super) const ARMS: Arms = Arms { campaign: 0.45, sentinel: 0.1 };
const CAP: u32 = 4;

/// How often a suspect remembers a slot that F was served, ordinary accounts were, nobody was.
pub(super) type Recall = [f64; 3];
pub(super) const THIEF: Recall = [0.5, 0.0, 0.0];
const LEAK: Recall = [0.0, 0.5, 0.0];
const CRAWLER: Recall = [0.3, 0.3, 0.0];
pub(super) const NOTHING: Recall = [0.0, 0.0, 0.0];

/// A plan whose slots were divided, what is laid open, and keys for all of it.
pub(super) struct Divided {
    pub(super) plan: Value,
    pub(super) disclosed: Disclosed,
    genesis: Genesis,
    openings: Vec<Opening>,
    secret: Secret,
}

fn accounts() -> Accounts {
    Accounts { salt: "5c".repeat(32).parse().unwrap(), ids: (0..10).map(|n| format!("acct-{n}")).collect() }
}

fn traffic(canaries: &Canaries) -> Vec<Traffic> {
    let mut chance = Chance(ChaCha8Rng::seed_from_u64(9));
    let one = |slot: u64| {
        let mut campaign = BTreeMap::new();
        for _ in 0..2 {
            *campaign.entry(format!("acct-{}", chance.below(10))).or_default() += 2 + chance.below(3) as u32;
        }
        let period = format!("week {}", slot % 2);
        Traffic { slot, period, campaign, ordinary: 3 + chance.below(4) as u32 }
    };
    slots(&BOOK, &canaries.slots).unwrap().into_iter().map(one).collect()
}

pub(super) fn divided(seed: u8, below: u32, per_account: bool) -> Divided {
    let secret = Secret::from_bytes([seed; 32]);
    let mut canaries = super::canaries();
    canaries["slots"] = json!([{ "class": "animal-story", "from": 0, "below": below },
                               { "class": "lesson-plan", "from": 0, "below": below }]);
    let unfinished: Canaries = serde_json::from_value(canaries.clone()).unwrap();
    let requests = Requests { accounts: accounts(), traffic: traffic(&unfinished) };
    canaries["route"] = json!({ "value": {
        "accounts": requests.accounts.commitment(),
        "traffic": requests.accounts.traffic_commitment(&requests.traffic),
        "arms": ARMS,
        "rate": 1.0,
        "campaign_rate": 1.0,
        "per_account": per_account,
        "serve_cap": CAP,
    } });
    let planned: Canaries = serde_json::from_value(canaries.clone()).unwrap();
    let all = labels(&BOOK, &planned, Some(&requests)).unwrap();
    let epochs = [SERVED, UNUSED].map(|epoch| epoch.parse().unwrap());
    let genesis = Genesis::new(&secret, [9; 32], &epochs.clone().map(|epoch| (epoch, all.clone())));
    let wanted = epochs.iter().flat_map(|epoch| all.iter().map(move |label| (epoch, Some(label))));
    let openings = genesis.open_all(&secret, wanted).unwrap();
    let mut plan = super::plan(&genesis);
    plan["canaries"]["value"] = canaries;
    let both = |suspect: &str, role: &str, epoch: &str| {
        let mut route = test(&format!("{role}, route"), role, suspect, epoch);
        route["access"] = "route".into();
        route["statistic"] = "canary-route".into();
        [test(&format!("{role}, canaries"), role, suspect, epoch), route]
    };
    plan["tests"] = json!(
        [
            both("suspect", "suspect", SERVED),
            both("student", "student", SERVED),
            both("innocent", "innocent", SERVED),
            both("suspect", "wrong-key", UNUSED),
        ]
        .concat()
    );
    let disclosed = Disclosed { book: BOOK.contents().clone(), requests: Some(requests) };
    Divided { plan, disclosed, genesis, openings, secret }
}

impl Divided {
    fn requests(&mut self) -> &mut Requests {
        self.disclosed.requests.as_mut().unwrap()
    }

    pub(super) fn canaries(&self) -> Canaries {
        serde_json::from_value(self.plan["canaries"]["value"].clone()).unwrap()
    }

    pub(super) fn served(&self) -> EpochKey {
        self.secret.epoch_key(&SERVED.parse().unwrap())
    }

    /// What a suspect answers that remembers what it was shown, each arm as often as `recall` says.
    pub(super) fn answers(&self, recall: Recall, seed: u64) -> Vec<Probe> {
        let (key, canaries) = (self.served(), self.canaries());
        let (picks, mut chance) = (BOOK.picks(&key), Chance(ChaCha8Rng::seed_from_u64(seed)));
        let division = &self.plan["canaries"]["value"]["route"]["value"];
        let mut probes = Vec::new();
        for Traffic { slot, campaign, .. } in &self.disclosed.requests.as_ref().unwrap().traffic {
            let arm = picks.arm(*slot, ARMS);
            let recall = recall[match arm {
                Arm::Campaign => 0,
                Arm::Ordinary => 1,
                Arm::Sentinel => 2,
            }];
            let own = (arm == Arm::Campaign && division["per_account"] == true)
                .then(|| campaign.keys().next().unwrap().clone());
            let pick = picks.sibling(&Pick { slot: *slot, account: own }).unwrap() as usize;
            let set = BOOK.set(*slot).unwrap();
            let remembers = (chance.below(1_000) as f64) < 1_000.0 * recall;
            for prompt in prompts(&set, &canaries) {
                let taste = chance.below(set.siblings.len()).min(chance.below(set.siblings.len()));
                let at = if remembers { pick } else { taste };
                let response = (chance.below(20) > 0).then(|| format!("Say {}.", set.siblings[at].says));
                probes.push(Probe { slot: *slot, prompt: prompt.to_owned(), response });
            }
        }
        probes
    }

    pub(super) fn sealed(&self) -> Result<SealedPlan, String> {
        let plan: Plan = serde_json::from_value(self.plan.clone()).map_err(|error| error.to_string())?;
        plan.seal("2026-11-23T10:00:00Z").map_err(|error| error.to_string())
    }

    pub(super) fn keys(&self) -> Vec<SchemeKey> {
        self.openings.iter().filter_map(|opening| self.genesis.verify(opening).unwrap()).collect()
    }

    fn material(&self, recall: Recall) -> Vec<Material> {
        vec![
            of("suspect", self.answers(recall, 1)),
            of("student", self.answers(THIEF, 2)),
            of("innocent", self.answers(NOTHING, 3)),
        ]
    }

    fn analysed(&self, recall: Recall) -> Result<Analysis, CaseError> {
        analyse(&self.sealed().unwrap(), &self.material(recall), Some(&self.disclosed), &self.keys())
    }

    fn bundle(&self, recall: Recall) -> Value {
        let parts = Parts {
            plan: self.sealed().unwrap(),
            genesis: self.genesis.clone(),
            openings: self.openings.clone(),
            canaries: Some(self.disclosed.clone()),
            material: self.material(recall),
            analysis: self.analysed(recall).unwrap(),
            created: "2026-11-23T11:00:00Z".to_owned(),
        };
        serde_json::to_value(Bundle::new(parts).unwrap()).unwrap()
    }
}

fn verdicts(analysis: &Analysis) -> Vec<Verdict> {
    analysis.findings().iter().map(Finding::verdict).collect()
}

#[test]
fn a_thief_is_told_from_those_who_came_by_answers_otherwise() {
    let divided = divided(1, 200, false);
    // Exposure and route of the suspect: one that learned from F's answers, from those of others, from everybody's alike.
    for (recall, wanted) in
        [(THIEF, [true, true]), (LEAK, [true, false]), (CRAWLER, [true, false]), (NOTHING, [false, false])]
    {
        let analysis = divided.analysed(recall).unwrap();
        let found: Vec<bool> =
            verdicts(&analysis).into_iter().map(|verdict| verdict == Verdict::EvidenceFound).collect();
        assert_eq!(found[..2], wanted, "{recall:?}: {:#?}", analysis.findings()[1].route());
        assert_eq!(found[2..], [true, true, false, false, false, false], "{recall:?}");
        let route = analysis.findings()[1].route().unwrap();
        assert_eq!(analysis.findings()[1].verdict_ln_p(), route.keyed.ln_p.max(route.arms.ln_p));
        assert!(analysis.findings()[0].route().is_none());
    }
    // Of the crawler the first half alone says nothing: it rejects, and so the second is needed.
    let crawler = divided.analysed(CRAWLER).unwrap();
    let route = crawler.findings()[1].route().unwrap();
    assert!(route.keyed.ln_p < -14.0 && route.arms.ln_p > -7.0, "{route:?}");
}

#[test]
fn accounts_may_have_picks_of_their_own() {
    let divided = divided(2, 200, true);
    let analysis = divided.analysed(THIEF).unwrap();
    assert_eq!(verdicts(&analysis)[..4], [Verdict::EvidenceFound; 4]);
    // The picks of the slots themselves were served to nobody of F: without the accounts' own nothing is there.
    let mut alike = divided;
    alike.plan["canaries"]["value"]["route"]["value"]["per_account"] = false.into();
    let without = alike.analysed(NOTHING).unwrap();
    assert!(!verdicts(&without)[..2].contains(&Verdict::EvidenceFound));
}

#[test]
fn sentinels_that_agree_leave_nothing() {
    let divided = divided(3, 200, false);
    let analysis = divided.analysed([0.5, 0.5, 0.5]).unwrap();
    assert!(analysis.findings()[1].is_blocked());
    assert_eq!(analysis.findings()[1].route().unwrap().outcome, RouteOutcome::Blocked);
    assert!(!verdicts(&analysis).contains(&Verdict::EvidenceFound), "{:?}", verdicts(&analysis));
    // It is the sentinels that did it: with as much recall elsewhere exposure is found.
    assert_eq!(verdicts(&divided.analysed([0.5, 0.5, 0.0]).unwrap())[0], Verdict::EvidenceFound);
}

#[test]
fn a_route_is_claimed_of_nobody_whose_exposure_is_not() {
    // Exposure by what stands out, of which this suspect shows nothing, beside a route by what it says.
    let mut divided = divided(4, 200, false);
    divided.plan["tests"][0]["access"] = "likelihoods".into();
    divided.plan["tests"][0]["statistic"] = "canary-likelihood".into();
    let rows = slots(&BOOK, &divided.canaries().slots).unwrap().into_iter().map(|slot| {
        let ln_p = (0..16).map(|at| -5.0 - f64::from((at * 7 + slot as u32) % 16)).collect();
        SlotLikelihoods { slot, ln_p, reference_ln_p: None }
    });
    let mut material = divided.material(THIEF);
    material.push(Material { suspect: "suspect".to_owned(), content: Content::Likelihoods(rows.collect()) });
    let plan = divided.sealed().unwrap();
    let analysis = analyse(&plan, &material, Some(&divided.disclosed), &divided.keys()).unwrap();
    let (exposure, route) = (&analysis.findings()[0], &analysis.findings()[1]);
    assert!(route.adjusted_ln_p() < -14.0 && exposure.verdict() != Verdict::EvidenceFound);
    assert_eq!(route.verdict(), Verdict::Inconclusive);
}

#[test]
fn a_control_that_could_not_reject_leaves_nothing() {
    let few = |seed: &u8| {
        let mut divided = divided(*seed, 200, false);
        divided.plan["canaries"]["value"]["route"]["value"]["arms"]["sentinel"] = 0.004.into();
        divided
    };
    let sentinels = |divided: &Divided| {
        let route = divided.analysed(THIEF).ok()?.findings()[1].route().cloned()?;
        (route.sentinels.slots < 3).then_some(route)
    };
    let (divided, route) = (3..)
        .map(|seed| few(&seed))
        .find_map(|divided| Some((sentinels(&divided)?, divided)))
        .map(|(a, b)| (b, a))
        .unwrap();
    // Two slots of sixteen siblings reach 1/256, and the control of four tests of a route is held against 0.0025.
    assert_eq!(route.outcome, RouteOutcome::Uncontrolled);
    let found = verdicts(&divided.analysed(THIEF).unwrap());
    assert!(!found.contains(&Verdict::EvidenceFound), "{found:?}");
}

#[test]
fn accounts_traffic_and_coins_are_those_that_the_plan_commits_to() {
    let refused = |change: &dyn Fn(&mut Divided)| {
        let mut divided = divided(1, 60, false);
        let material = divided.material(THIEF);
        change(&mut divided);
        let plan = divided.sealed().unwrap();
        analyse(&plan, &material, Some(&divided.disclosed), &divided.keys()).unwrap_err().to_string()
    };
    for (said, change) in [
        (
            "the account set is not the one",
            &(|divided: &mut Divided| {
                divided.requests().accounts.ids.insert("acct-10".to_owned());
            }) as &dyn Fn(&mut Divided),
        ),
        ("the traffic is not the one", &|divided| divided.requests().traffic[7].ordinary += 1),
        // A slot where the suspect missed, left out or said not to have been asked for.
        ("is not in the sealed set", &|divided| {
            divided.requests().traffic[0].campaign.insert("acct-99".to_owned(), 1);
        }),
        ("not among the requests that were laid open", &|divided| drop(divided.requests().traffic.pop())),
        ("hold slot", &|divided| {
            let again = divided.requests().traffic[3].clone();
            divided.requests().traffic.push(again);
        }),
        ("the traffic is not the one", &|divided| {
            divided.plan["canaries"]["value"]["route"]["value"]["traffic"] = "ab".repeat(32).into();
        }),
    ] {
        let error = refused(change);
        assert!(error.contains(said), "{said:?}, but {error}");
    }
    let missing = refused(&|divided| divided.disclosed.requests = None);
    assert!(missing.contains("divides slots") && missing.contains("not laid open"), "{missing}");
    let mut alike = divided(1, 60, false);
    alike.plan["canaries"]["value"]["route"] = super::absent("everybody was served alike");
    alike.plan["tests"].as_array_mut().unwrap().retain(|test| test["access"] != "route");
    let needless = alike.analysed(NOTHING).unwrap_err().to_string();
    assert!(needless.contains("does not divide"), "{needless}");
    // A coin that was not handed over is no coin that says "ordinary".
    for end in ["/arm", "/plant"] {
        let mut divided = divided(1, 60, false);
        let at = divided
            .openings
            .iter()
            .position(|opening| opening.label.as_ref().is_some_and(|label| label.as_str().ends_with(end)));
        divided.openings.remove(at.unwrap());
        let error = divided.analysed(THIEF).unwrap_err();
        assert!(matches!(&error, CaseError::NoKey { label, .. } if label.ends_with(end)), "{error}");
    }
}

#[test]
fn a_plan_of_a_route_that_breaks_a_rule_is_not_sealed() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut divided = divided(1, 60, false);
        change(&mut divided.plan);
        divided.sealed().unwrap_err()
    };
    let first = refused(&|plan| plan["tests"].as_array_mut().unwrap().swap(0, 1));
    assert!(first.contains("a route is tested beside exposure (P3): put that first"), "{first}");
    let alone = refused(&|plan| drop(plan["tests"].as_array_mut().unwrap().remove(2)));
    assert!(alone.contains("register a test of exposure of the same suspect"), "{alone}");
    let uncontrolled = refused(&|plan| drop(plan["tests"].as_array_mut().unwrap().remove(1)));
    assert!(uncontrolled.contains("register a test of the route of the same suspect"), "{uncontrolled}");
    let elsewhere = refused(&|plan| plan["tests"][0]["keys"][0]["epoch"] = UNUSED.into());
    assert!(elsewhere.contains("in the same epoch"), "{elsewhere}");
    let pooled = refused(&|plan| {
        let other = json!({ "epoch": UNUSED, "mark": "canary/1", "weight": 1 });
        plan["tests"][0]["keys"].as_array_mut().unwrap().push(other);
    });
    assert!(pooled.contains("are tested under one key"), "{pooled}");
    let metered = refused(&|plan| plan["tests"][0]["statistic"] = "canary-metered".into());
    assert!(metered.contains("leave out metered probing"), "{metered}");
    let undivided =
        refused(&|plan| plan["canaries"]["value"]["route"] = super::absent("everybody was served alike"));
    assert!(undivided.contains("needs the field canaries, route"), "{undivided}");
    for (field, value) in [
        ("arms", json!({ "campaign": 0.9, "sentinel": 0.1 })),
        ("arms", json!({ "campaign": 0.9, "sentinel": 0.0 })),
        ("rate", json!(0.0)),
        ("campaign_rate", json!(1.5)),
        ("serve_cap", json!(0)),
    ] {
        let error = refused(&|plan| plan["canaries"]["value"]["route"]["value"][field] = value.clone());
        assert!(error.contains(&format!("canaries, route, {field}")), "{error}");
    }
}

/// One innocent's answers under many unrelated keys, exposure and route: rejections at 5 % stay below what a valid test shows
/// but once in a thousand times.
#[test]
fn an_innocent_of_divided_slots_stays_within_the_level() {
    let mut rejected = [0; 2];
    for seed in 0..60 {
        let mut divided = divided(100 + seed, 60, seed % 2 == 0);
        divided.plan["tests"].as_array_mut().unwrap().retain(|test| test["role"] == "innocent");
        let findings = divided.analysed(NOTHING).unwrap();
        for (count, finding) in rejected.iter_mut().zip(findings.findings()) {
            *count += u64::from(finding.verdict_ln_p() <= 0.05_f64.ln());
        }
    }
    let limit = binomial_upper_limit(60, Rate::new(1, 20).unwrap(), 0.999);
    assert!(rejected.iter().all(|rejected| *rejected <= limit), "{rejected:?} of 60, at most {limit}");
}

#[test]
fn a_bundle_of_a_route_verifies_and_any_damage_is_named() {
    let bundle = divided(1, 120, false).bundle(THIEF);
    assert_eq!(failures(&canonical(&bundle)), []);
    let every = |at: &str, step: usize| leaves(&bundle, at).into_iter().step_by(step).collect::<Vec<_>>();
    let fields = [
        every("/canaries/requests", 37),
        every("/plan/canaries/value/route", 1),
        every("/analysis/findings/1/route", 1),
    ];
    for at in fields.concat() {
        let mut changed = bundle.clone();
        damage(changed.pointer_mut(&at).unwrap());
        let found = failures(&redigested(changed));
        let named = found.iter().any(|check| {
            ["analysis", "plan", "canaries"].iter().any(|object| check.object.starts_with(object))
        });
        assert!(named, "{at}: {found:?}");
    }
}
