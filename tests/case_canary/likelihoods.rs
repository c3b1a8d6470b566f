//! Canaries by log-probabilities in a plan: siblings that stand out, ranks of twins, the route by what stands out.

use std::sync::LazyLock;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use taggant::canary::{Arm, BOOK_FORMAT, Book, Contents, Pick, twins};
use taggant::case::canaries::{Disclosed, labels, slots};
use taggant::case::likelihoods::SlotLikelihoods;
use taggant::case::material::{Content, Material};
use taggant::case::plan::{Canaries, Plan};
use taggant::case::{Analysis, CaseError, Finding, Verdict, analyse};
use taggant::key::{Genesis, SchemeKey, Secret};
use taggant::stat::Rate;
use taggant::stat::multiple::binomial_upper_limit;

use super::route::{ARMS, NOTHING, Recall, THIEF, divided};
use super::{BOOK, Chance, SERVED, UNUSED, test};

/// ln p of each sibling: tastes of every size, and what was remembered raised by `raised` nats.
fn row(book: &Book, slot: u64, remembered: Option<u32>, raised: f64, chance: &mut Chance) -> SlotLikelihoods {
    let siblings = book.siblings(slot).unwrap();
    let ln_p = (0..siblings)
        .map(|at| {
            let taste = -5.0 - chance.below(1_000) as f64 / 250.0;
            (if Some(at) == remembered { taste + raised } else { taste }).min(-0.01)
        })
        .collect();
    SlotLikelihoods { slot, ln_p, reference_ln_p: None }
}

fn of(suspect: &str, rows: Vec<SlotLikelihoods>) -> Material {
    Material { suspect: suspect.to_owned(), content: Content::Likelihoods(rows) }
}

fn by_likelihoods(plan: &mut Value) {
    for test in plan["tests"].as_array_mut().unwrap() {
        let route = test["access"] == "route";
        test["access"] = if route { "route" } else { "likelihoods" }.into();
        test["statistic"] = if route { "likelihood-route" } else { "canary-likelihood" }.into();
    }
}

fn rows(divided: &super::route::Divided, recall: Recall, seed: u64) -> Vec<SlotLikelihoods> {
    let (key, mut chance) = (divided.served(), Chance(ChaCha8Rng::seed_from_u64(seed)));
    let picks = BOOK.picks(&key);
    let one = |slot: u64| {
        let recall = recall[match picks.arm(slot, ARMS) {
            Arm::Campaign => 0,
            Arm::Ordinary => 1,
            Arm::Sentinel => 2,
        }];
        let remembers = (chance.below(1_000) as f64) < 1_000.0 * recall;
        let pick = remembers.then(|| picks.sibling(&Pick::from(slot)).unwrap());
        row(&BOOK, slot, pick, 4.0, &mut chance)
    };
    slots(&BOOK, &divided.canaries().slots).unwrap().into_iter().map(one).collect()
}

fn analysed(
    divided: &super::route::Divided,
    of_suspect: Vec<SlotLikelihoods>,
) -> Result<Analysis, CaseError> {
    let material = [
        of("suspect", of_suspect),
        of("student", rows(divided, THIEF, 2)),
        of("innocent", rows(divided, NOTHING, 3)),
    ];
    analyse(&divided.sealed().unwrap(), &material, Some(&divided.disclosed), &divided.keys())
}

fn found(analysis: &Analysis) -> Vec<bool> {
    analysis.findings().iter().map(|finding| finding.verdict() == Verdict::EvidenceFound).collect()
}

#[test]
fn a_thief_that_says_nothing_is_found_and_its_route_told_from_a_leak() {
    let mut divided = divided(5, 200, false);
    by_likelihoods(&mut divided.plan);
    for (recall, wanted) in
        [(THIEF, [true, true]), ([0.0, 0.5, 0.0], [true, false]), (NOTHING, [false, false])]
    {
        let analysis = analysed(&divided, rows(&divided, recall, 1)).unwrap();
        assert_eq!(found(&analysis)[..2], wanted, "{recall:?}: {:?}", analysis.findings()[1].route());
        assert_eq!(found(&analysis)[2..], [true, true, false, false, false, false], "{recall:?}");
    }
    let refused = |change: &dyn Fn(&mut Vec<SlotLikelihoods>)| {
        let mut changed = rows(&divided, THIEF, 1);
        change(&mut changed);
        analysed(&divided, changed).unwrap_err().to_string()
    };
    assert!(refused(&|rows| rows.swap(3, 4)).contains("row 3 is of slot"));
    assert!(refused(&|rows| drop(rows.pop())).contains("rows of likelihoods, and the plan has"));
    assert!(refused(&|rows| rows[2].ln_p.truncate(15)).contains("log-probabilities where one for each"));
    for wild in [f64::NAN, f64::NEG_INFINITY, -1.7e308, 0.1] {
        let error = refused(&|rows| rows[2].ln_p[0] = wild);
        assert!(error.contains("logarithm of no probability"), "{error}");
    }
    let beside = refused(&|rows| rows[5].reference_ln_p = Some(vec![-1.0; 16]));
    assert!(beside.contains("reference_ln_p"), "{beside}");
}

/// A key that hits an innocent in one half of its route alone: the larger p of both would hide it.
#[test]
fn a_control_that_rejects_in_one_half_of_a_route_leaves_nothing() {
    let mut divided = divided(5, 200, false);
    for test in divided.plan["tests"].as_array_mut().unwrap() {
        if test["access"] == "canary" {
            test["access"] = "likelihoods".into();
            test["statistic"] = "canary-likelihood".into();
        }
    }
    let with_innocent = |recall: Recall| {
        let said = [("suspect", THIEF), ("student", THIEF), ("innocent", recall)];
        let mut material: Vec<Material> = vec![
            of("suspect", rows(&divided, THIEF, 1)),
            of("student", rows(&divided, THIEF, 2)),
            of("innocent", rows(&divided, NOTHING, 3)),
        ];
        material.extend(
            (1..)
                .zip(said)
                .map(|(seed, (suspect, recall))| super::of(suspect, divided.answers(recall, seed))),
        );
        let plan = divided.sealed().unwrap();
        let analysis = analyse(&plan, &material, Some(&divided.disclosed), &divided.keys()).unwrap();
        let route = analysis.findings()[5].route().unwrap().clone();
        (found(&analysis), route)
    };
    assert_eq!(with_innocent(NOTHING).0[..4], [true; 4]);
    let (found, route) = with_innocent([0.3, 0.3, 0.0]);
    assert!(route.keyed.ln_p < -14.0 && route.arms.ln_p > -5.0, "{route:?}");
    assert!(!found.contains(&true), "{found:?}");
}

/// One innocent under many keys: rejections at 5 % stay below what a valid test shows but once in a thousand times.
#[test]
fn an_innocent_weighed_stays_within_the_level() {
    let mut rejected = [0; 2];
    for seed in 0..60 {
        let mut divided = divided(100 + seed, 60, seed % 2 == 0);
        by_likelihoods(&mut divided.plan);
        divided.plan["tests"].as_array_mut().unwrap().retain(|test| test["role"] == "innocent");
        let material = [of("innocent", rows(&divided, NOTHING, 3))];
        let plan = divided.sealed().unwrap();
        let analysis = analyse(&plan, &material, Some(&divided.disclosed), &divided.keys()).unwrap();
        for (count, finding) in rejected.iter_mut().zip(analysis.findings()) {
            *count += u64::from(finding.verdict_ln_p() <= 0.05_f64.ln());
        }
    }
    let limit = binomial_upper_limit(60, Rate::new(1, 20).unwrap(), 0.999);
    assert!(rejected.iter().all(|rejected| *rejected <= limit), "{rejected:?} of 60, at most {limit}");
}

/// Four answers to each of ninety prompts.
static TWINS: LazyLock<Book> = LazyLock::new(|| {
    let line = |n: usize| {
        let answers: Vec<String> = ["north", "south", "east", "west"]
            .iter()
            .map(|way| format!("Walk {way} for {n} miles."))
            .collect();
        json!({ "prompt": format!("Where to, on day {n}?"), "language": "en", "generator": "teacher, temperature 1",
                "mark": "none", "sampled": 4, "answers": answers })
        .to_string()
    };
    let text: Vec<String> = (10..100).map(line).collect();
    let (sets, _) = twins("twins", &text.join("\n")).unwrap();
    let contents = Contents {
        format: BOOK_FORMAT.to_owned(),
        name: "twins".to_owned(),
        salt: "c7".repeat(32),
        closed_share: 0.0,
        sets,
        families: BOOK.contents().families.clone(),
    };
    Book::new("twins", contents).unwrap()
});

struct OfTwins {
    plan: Value,
    keys: Vec<SchemeKey>,
    slots: Vec<u64>,
}

fn of_twins(beside: bool) -> OfTwins {
    let secret = Secret::from_bytes([6; 32]);
    let mut canaries = super::canaries();
    canaries["book"] = json!(TWINS.sha256());
    let classes: std::collections::BTreeSet<&str> = (0..90).filter_map(|slot| TWINS.class(slot)).collect();
    let range = |class: &str| json!({ "class": class, "from": 0, "below": TWINS.of_class(class).count() });
    canaries["slots"] = classes.into_iter().map(range).collect();
    let planned: Canaries = serde_json::from_value(canaries.clone()).unwrap();
    let all = labels(&TWINS, &planned, None).unwrap();
    let epochs = [SERVED, UNUSED].map(|epoch| epoch.parse().unwrap());
    let genesis = Genesis::new(&secret, [9; 32], &epochs.clone().map(|epoch| (epoch, all.clone())));
    let wanted = epochs.iter().flat_map(|epoch| all.iter().map(move |label| (epoch, Some(label))));
    let openings = genesis.open_all(&secret, wanted).unwrap();
    let keys = openings.iter().filter_map(|opening| genesis.verify(opening).unwrap()).collect();
    let mut plan = super::plan(&genesis);
    plan["canaries"]["value"] = canaries;
    plan["sources"][0]["sha256"] = json!(TWINS.sha256());
    plan["tests"] = json!([
        test("suspect", "suspect", "suspect", SERVED),
        test("student", "student", "student", SERVED),
        test("innocent", "innocent", "innocent", SERVED),
    ]);
    for test in plan["tests"].as_array_mut().unwrap() {
        test["access"] = "likelihoods".into();
        test["statistic"] = "twin-rank".into();
    }
    if beside {
        let mut base = plan["sources"][0].clone();
        base["name"] = "base".into();
        base["sha256"] = "1b".repeat(32).into();
        plan["sources"].as_array_mut().unwrap().push(base);
        plan["reference"] = json!({ "value": "base" });
        for test in plan["tests"].as_array_mut().unwrap() {
            test["sources"].as_array_mut().unwrap().push("base".into());
        }
    }
    let slots = slots(&TWINS, &planned.slots).unwrap();
    OfTwins { plan, keys, slots }
}

impl OfTwins {
    fn rows(&self, raised: f64, beside: bool, seed: u64) -> Vec<SlotLikelihoods> {
        let key = Secret::from_bytes([6; 32]).epoch_key(&SERVED.parse().unwrap());
        let (picks, mut chance) = (TWINS.picks(&key), Chance(ChaCha8Rng::seed_from_u64(seed)));
        let one = |slot: &u64| {
            let served = picks.sibling(&Pick::from(*slot)).unwrap();
            let reference = row(&TWINS, *slot, None, 0.0, &mut chance);
            let mut own = row(&TWINS, *slot, Some(served), raised, &mut chance);
            if beside {
                // What a suspect thinks is what its base thinks, and what it learned.
                own.ln_p.iter_mut().zip(&reference.ln_p).for_each(|(own, base)| *own = 0.1 * *own + base);
                own.reference_ln_p = Some(reference.ln_p);
            }
            own
        };
        self.slots.iter().map(one).collect()
    }

    fn analysed(&self, beside: [bool; 3]) -> Result<Analysis, CaseError> {
        let plan: Plan = serde_json::from_value(self.plan.clone()).unwrap();
        let material = [
            of("suspect", self.rows(4.0, beside[0], 1)),
            of("student", self.rows(4.0, beside[1], 2)),
            of("innocent", self.rows(0.0, beside[2], 3)),
        ];
        let disclosed = Disclosed { book: TWINS.contents().clone(), requests: None };
        analyse(&plan.seal("2026-11-23T10:00:00Z").unwrap(), &material, Some(&disclosed), &self.keys)
    }
}

#[test]
fn twins_are_ranked_alone_or_beside_the_plans_reference() {
    for beside in [false, true] {
        let of_twins = of_twins(beside);
        let analysis = of_twins.analysed([beside; 3]).unwrap();
        assert_eq!(
            found(&analysis),
            [true, true, false],
            "{:?}",
            analysis.findings().iter().map(Finding::verdict_ln_p).collect::<Vec<_>>()
        );
        let other = of_twins.analysed([beside, beside, !beside]).unwrap_err().to_string();
        assert!(other.contains("the plan names one"), "{other}");
    }
}

#[test]
fn twins_belong_to_no_arm_and_rank_under_one_key() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut of_twins = of_twins(false);
        change(&mut of_twins.plan);
        let plan: Plan = serde_json::from_value(of_twins.plan).unwrap();
        plan.seal("2026-11-23T10:00:00Z").unwrap_err().to_string()
    };
    let pooled = refused(&|plan| {
        let other = json!({ "epoch": UNUSED, "mark": "canary/1", "weight": 1 });
        plan["tests"][0]["keys"].as_array_mut().unwrap().push(other);
    });
    assert!(pooled.contains("ranks of twins are tested under one key"), "{pooled}");
    let arms = refused(&|plan| {
        plan["canaries"]["value"]["route"] = divided(1, 60, false).plan["canaries"]["value"]["route"].clone();
    });
    assert!(arms.contains("ranks of twins are not tested by arms"), "{arms}");
    let access = refused(&|plan| plan["tests"][0]["access"] = "canary".into());
    assert!(access.contains("the statistic does not fit the access"), "{access}");
}
