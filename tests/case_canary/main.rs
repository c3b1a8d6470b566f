//! Canaries in a case: a plan that names a book, raw answers, findings, a bundle that others check.
//!
//! A distilled suspect repeats what was served, an innocent has tastes of its own. Everything is seeded.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test may stop where it stands, and its numbers are no evidence"
)]

mod likelihoods;
mod route;

use std::sync::LazyLock;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use taggant::canary::{BOOK_FORMAT, Book, Contents, EMBEDDED, Families};
use taggant::case::bundle::{Bundle, Check, Outside, Parts, Status, check_bytes};
use taggant::case::canaries::{Disclosed, Probe, labels, prompts, slots};
use taggant::case::material::{Content, Material};
use taggant::case::plan::{Canaries, Plan, SealedPlan, matchers_sha256, prompts_sha256, statistic_sha256};
use taggant::case::{Analysis, CaseError, Verdict, analyse};
use taggant::key::{Epoch, EpochKey, Genesis, Opening, SchemeKey, Secret};
use taggant::stat::Rate;
use taggant::stat::multiple::binomial_upper_limit;

/// Two of the embedded classes: a whole book is expanded in a second, for each of the many keys below.
static BOOK: LazyLock<Book> = LazyLock::new(|| {
    let kept = |(name, text): (&'static str, &str)| {
        let mut families: Value = serde_json::from_str(text).unwrap();
        if let Some(classes) = families.get_mut("classes").and_then(Value::as_array_mut) {
            classes
                .retain(|class| ["animal-story", "lesson-plan"].contains(&class["class"].as_str().unwrap()));
        }
        (name, families.to_string())
    };
    let files = EMBEDDED.map(kept);
    let contents = Contents {
        format: BOOK_FORMAT.to_owned(),
        name: "case".to_owned(),
        salt: "c7".repeat(32),
        closed_share: 0.25,
        sets: Vec::new(),
        families: Families::read(&files.each_ref().map(|(name, text)| (*name, text.as_str()))).unwrap(),
    };
    Book::new("book", contents).unwrap()
});

const SERVED: &str = "2026-q4";
const UNUSED: &str = "2026-q4-unused";
const SPEC: &str = "green/1/w1/b2/t1";

fn canaries() -> Value {
    json!({
        "book": BOOK.sha256(),
        "slots": [{ "class": "animal-story", "from": 40, "below": 160 },
                  { "class": "lesson-plan", "from": 0, "below": 40 }],
        "probes": 2,
        "prompts": "in-turn",
        "route": absent("everybody was served alike"),
    })
}

fn planned() -> Canaries {
    serde_json::from_value(canaries()).unwrap()
}

fn absent(reason: &str) -> Value {
    json!({ "value": null, "reason": reason })
}

fn test(name: &str, role: &str, suspect: &str, epoch: &str) -> Value {
    json!({ "name": name, "suspect": suspect, "role": role, "access": "canary",
            "statistic": "canary-remembered", "sources": ["book"],
            "keys": [{ "epoch": epoch, "mark": "canary/1", "weight": 1 }] })
}

fn first_served(epoch: &str) -> Value {
    json!({ "epoch": epoch, "time": { "value": "2026-10-01T00:00:00Z" } })
}

fn plan(genesis: &Genesis) -> Value {
    json!({
        "format": "taggant-plan/1",
        "number": 1,
        "hypothesis": "H0: the suspect is independent of the key. H1 (P3): it was exposed to what the key picked.",
        "key_id": genesis.key_id,
        "genesis_root": genesis.root,
        "tokenizer_sha256": genesis.tokenizer_sha256,
        "tests": [
            test("suspect, canaries", "suspect", "suspect", SERVED),
            test("student, canaries", "student", "student", SERVED),
            test("innocent, canaries", "innocent", "innocent", SERVED),
            test("wrong key, canaries", "wrong-key", "suspect", UNUSED),
        ],
        "pool": {
            "prompts": 0,
            "sha256": prompts_sha256(&[]),
            "provenance": "fresh",
            "beacon": absent("a test waits for no beacon"),
            "answer_tokens": 0,
            "contexts": absent("no distributions"),
            "rows": absent("no distributions"),
            "documents": absent("nobody reads"),
        },
        "statistic_sha256": statistic_sha256(),
        "first_served": [first_served(SERVED), first_served(UNUSED)],
        "sources": [{ "name": "book", "sha256": BOOK.sha256(), "created": { "value": "2026-09-01T00:00:00Z" },
                      "independent": "predates-key", "keys": [] }],
        "reference": absent("no residual"),
        "exposure": absent("no residual"),
        "canaries": { "value": canaries() },
        "matchers": { "value": matchers_sha256() },
        "exclusions": [],
        "lambda_grid": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        "shares": [1.0, 0.1, 0.01],
        "order": "slots in the order of the plan's ranges",
        "alpha": 1e-6,
        "correction": "holm",
        "stopping": "after the last slot",
        "futility": absent("one batch"),
        "refusals": "count as answers that name no sibling",
        "missing_rows": "no analysis",
        "effect": "that of the positive control",
        "power": absent("the positive control's"),
    })
}

struct Case {
    plan: Value,
    genesis: Genesis,
    openings: Vec<Opening>,
    material: Vec<Material>,
}

struct Chance(ChaCha8Rng);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n as u64) as usize
    }
}

/// What a suspect answers: in `percent` of the slots what `served` picked, elsewhere by taste, and sometimes nothing.
fn answers(served: &EpochKey, percent: usize, seed: u64) -> Vec<Probe> {
    let mut chance = Chance(ChaCha8Rng::seed_from_u64(seed));
    let picks = BOOK.picks(served);
    let mut probes = Vec::new();
    for slot in slots(&BOOK, &planned().slots).unwrap() {
        let set = BOOK.set(slot).unwrap();
        let remembers = chance.below(100) < percent;
        for prompt in prompts(&set, &planned()) {
            let taste = chance.below(set.siblings.len()).min(chance.below(set.siblings.len()));
            let at = if remembers { picks.sibling(&slot.into()).unwrap() as usize } else { taste };
            let response = match chance.below(20) {
                0 => None,
                1 => Some("I would rather not say.".to_owned()),
                _ => Some(format!("How about this: {}. It fits well.", set.siblings[at].says)),
            };
            probes.push(Probe { slot, prompt: prompt.to_owned(), response });
        }
    }
    probes
}

fn of(suspect: &str, probes: Vec<Probe>) -> Material {
    Material { suspect: suspect.to_owned(), content: Content::Canary(probes) }
}

/// A case under the secret of this seed, whose suspect remembers `percent` of the slots.
fn case(seed: u8, percent: usize) -> Case {
    let secret = Secret::from_bytes([seed; 32]);
    let epochs: [Epoch; 2] = [SERVED, UNUSED].map(|epoch| epoch.parse().unwrap());
    let mut all = vec![SPEC.parse().unwrap()];
    all.extend(labels(&BOOK, &planned(), None).unwrap());
    let genesis = Genesis::new(&secret, [9; 32], &epochs.clone().map(|epoch| (epoch, all.clone())));
    let wanted = epochs.iter().flat_map(|epoch| all[1..].iter().map(move |label| (epoch, Some(label))));
    let openings = genesis.open_all(&secret, wanted).unwrap();
    let served = secret.epoch_key(&epochs[0]);
    let material = vec![
        of("suspect", answers(&served, percent, 1)),
        of("student", answers(&served, 50, 2)),
        of("innocent", answers(&served, 0, 3)),
    ];
    Case { plan: plan(&genesis), genesis, openings, material }
}

fn disclosed() -> Disclosed {
    Disclosed { book: BOOK.contents().clone(), requests: None }
}

impl Case {
    fn sealed(&self) -> Result<SealedPlan, String> {
        let plan: Plan = serde_json::from_value(self.plan.clone()).map_err(|error| error.to_string())?;
        plan.seal("2026-11-23T10:00:00Z").map_err(|error| error.to_string())
    }

    fn keys(&self) -> Vec<SchemeKey> {
        self.openings.iter().filter_map(|opening| self.genesis.verify(opening).unwrap()).collect()
    }

    fn analysed(&self) -> Result<Analysis, CaseError> {
        analyse(&self.sealed().unwrap(), &self.material, Some(&disclosed()), &self.keys())
    }

    fn bundle(&self) -> Value {
        let parts = Parts {
            plan: self.sealed().unwrap(),
            genesis: self.genesis.clone(),
            openings: self.openings.clone(),
            canaries: Some(disclosed()),
            material: self.material.clone(),
            analysis: self.analysed().unwrap(),
            created: "2026-11-23T11:00:00Z".to_owned(),
        };
        serde_json::to_value(Bundle::new(parts).unwrap()).unwrap()
    }

    fn probes(&mut self, at: usize) -> &mut Vec<Probe> {
        let Content::Canary(probes) = &mut self.material[at].content else { panic!("canaries") };
        probes
    }

    /// What an analysis says to a case that was changed like this.
    fn refused(change: impl FnOnce(&mut Self)) -> String {
        let mut case = case(1, 50);
        change(&mut case);
        case.analysed().unwrap_err().to_string()
    }
}

#[test]
fn a_distilled_suspect_is_found_and_controls_stay_quiet() {
    let analysis = case(1, 50).analysed().unwrap();
    let verdicts: Vec<Verdict> = analysis.findings().iter().map(taggant::case::Finding::verdict).collect();
    assert_eq!(verdicts[..2], [Verdict::EvidenceFound, Verdict::EvidenceFound]);
    for control in &analysis.findings()[2..] {
        assert!(control.verdict_ln_p() > -7.0 && control.summary().draws > 80, "{control:?}");
    }
    let readings = analysis.findings()[0].readings().unwrap();
    assert_eq!(readings.answers, 2 * readings.slots);
    assert!(readings.read_twice > 150 && readings.disagreements * 10 < readings.read_twice, "{readings:?}");
    assert!(readings.silent < 10, "{readings:?}");
}

#[test]
fn a_suspect_that_remembers_nothing_is_no_evidence() {
    let analysis = case(2, 0).analysed().unwrap();
    assert_eq!(analysis.primary(), Verdict::NoEvidence, "{:?}", analysis.findings()[0]);
}

/// One innocent's answers under sixty unrelated keys: rejections at 5 % stay below what a valid test shows but once in a
/// thousand times, for every statistic.
#[test]
fn an_innocent_stays_within_the_level_under_many_keys() {
    let mut planned = planned();
    planned.slots[0].below = 60;
    let few = slots(&BOOK, &planned.slots).unwrap();
    for statistic in ["canary-first", "canary-counts", "canary-remembered", "canary-metered"] {
        let mut rejected = 0;
        for seed in 0..60 {
            let mut case = case(100 + seed, 0);
            case.plan["tests"] = json!([test("innocent", "innocent", "innocent", SERVED)]);
            case.plan["tests"][0]["statistic"] = statistic.into();
            case.plan["canaries"]["value"]["slots"][0]["below"] = 60.into();
            case.probes(2).retain(|probe| few.contains(&probe.slot));
            let analysis = case.analysed().unwrap();
            rejected += u64::from(analysis.findings()[0].verdict_ln_p() <= 0.05_f64.ln());
        }
        let limit = binomial_upper_limit(60, Rate::new(1, 20).unwrap(), 0.999);
        assert!(rejected <= limit, "{statistic}: {rejected} of 60, at most {limit}");
    }
}

#[test]
fn metered_probing_may_end_after_any_slot_and_others_not() {
    let mut case = case(3, 60);
    for test in case.plan["tests"].as_array_mut().unwrap() {
        test["statistic"] = "canary-metered".into();
    }
    let all = case.analysed().unwrap();
    assert_eq!(all.primary(), Verdict::EvidenceFound);
    for at in 0..3 {
        case.probes(at).truncate(120);
    }
    let few = case.analysed().unwrap();
    assert_eq!(few.findings()[0].readings().unwrap().slots, 60);
    assert!(few.findings()[0].verdict_ln_p() > all.findings()[0].verdict_ln_p());
    case.probes(0).truncate(119);
    assert!(case.analysed().unwrap_err().to_string().contains("has 1 answers where the plan asks for 2"));
}

#[test]
fn a_plan_that_breaks_a_rule_is_not_sealed() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut case = case(1, 0);
        change(&mut case.plan);
        case.sealed().unwrap_err()
    };
    for (said, change) in [
        (
            "sources, book: the book was committed to 2026-10-02T00:00:00Z, and the key of epoch 2026-q4 marked from",
            &(|plan: &mut Value| plan["sources"][0]["created"]["value"] = "2026-10-02T00:00:00Z".into())
                as &dyn Fn(&mut Value),
        ),
        ("sources, book: a book has to be older than the key", &|plan| {
            plan["sources"][0]["independent"] = "own-work".into();
        }),
        ("sources, book: a book needs the time of its commitment", &|plan| {
            plan["sources"][0]["created"] = absent("forgotten");
        }),
        ("tests, suspect, canaries: it lists no source that is the book", &|plan| {
            plan["sources"][0]["sha256"] = "00".repeat(32).into();
        }),
        ("tests, suspect, canaries: it lists no source that is the book", &|plan| {
            plan["tests"][0]["sources"] = json!([]);
        }),
        ("tests, suspect, canaries: a test of canaries needs the field canaries", &|plan| {
            plan["canaries"] = absent("none");
        }),
        ("tests, suspect, canaries: a test of canaries needs the field matchers", &|plan| {
            plan["matchers"] = absent("none");
        }),
        ("canaries, slots, animal-story: two ranges share slots", &|plan| {
            plan["canaries"]["value"]["slots"][1] =
                json!({ "class": "animal-story", "from": 100, "below": 170 });
        }),
        ("canaries, probes", &|plan| plan["canaries"]["value"]["probes"] = 0.into()),
        ("the statistic does not fit the access", &|plan| plan["tests"][0]["statistic"] = "distinct".into()),
        // Only what was planted, or only what was asked for with a look at that: there is no word for it.
        ("unknown field `planted`", &|plan| plan["canaries"]["value"]["planted"] = true.into()),
        ("unknown field `only`", &|plan| plan["canaries"]["value"]["slots"][0]["only"] = json!([41, 43])),
    ] {
        let error = refused(change);
        assert!(error.contains(said), "{said:?}, but {error}");
    }
    for field in ["book", "slots", "probes", "prompts", "route"] {
        let error = refused(&|plan| drop(plan["canaries"]["value"].as_object_mut().unwrap().remove(field)));
        assert!(error.contains(&format!("missing field `{field}`")), "{error}");
    }
    // The picks of an epoch that ends in a public round were nobody's before it: the book must be older than that.
    let round = format!("2026-q4@quicknet:1:{}", "ab".repeat(32));
    let late = refused(&|plan| {
        plan["tests"] = json!([test("suspect", "suspect", "suspect", &round)]);
        plan["first_served"][0]["epoch"] = round.clone().into();
    });
    assert!(late.contains("when the public round of epoch"), "{late}");
}

#[test]
fn a_source_that_lists_the_scored_key_is_refused() {
    let refused = Case::refused(|case| {
        let key = json!({ "key_id": case.genesis.key_id, "epoch": SERVED });
        case.plan["sources"][0]["keys"] = json!([key]);
    });
    assert!(refused.contains("its source book lists the scored key"), "{refused}");
}

#[test]
fn answers_are_those_of_every_planned_slot_in_order() {
    let closed = BOOK.of_class("animal-story").find(|slot| BOOK.is_closed(*slot)).unwrap();
    // Leaving out slots where nothing was planted, or where the answer does not suit, is what convicts innocents.
    let dropped = Case::refused(|case| drop(case.probes(0).drain(20..22)));
    assert!(dropped.contains("has 0 answers where the plan asks for 2"), "{dropped}");
    let short = Case::refused(|case| drop(case.probes(0).pop()));
    assert!(short.contains("has 1 answers where the plan asks for 2"), "{short}");
    let again = Case::refused(|case| {
        let first = case.probes(0)[..2].to_vec();
        case.probes(0).extend(first);
    });
    assert!(again.contains("is there again"), "{again}");
    let other = Case::refused(|case| case.probes(0)[0].slot = closed);
    assert!(other.contains("stays closed for a court's replication"), "{other}");
    let stranger =
        Case::refused(|case| case.probes(0)[0].slot = BOOK.of_class("lesson-plan").nth(50).unwrap());
    assert!(
        stranger.contains("stays closed") || stranger.contains("in none of the plan's ranges"),
        "{stranger}"
    );
    let prompt = Case::refused(|case| case.probes(0)[1].prompt.push('!'));
    assert!(prompt.contains("probe 1: the prompt is not the one"), "{prompt}");
    let swapped = Case::refused(|case| case.probes(0).swap(0, 4));
    assert!(swapped.contains("has 0 answers"), "{swapped}");
    let planted = json!({ "slot": 3, "prompt": "p", "response": null, "planted": true });
    assert!(serde_json::from_value::<Probe>(planted).is_err());
}

#[test]
fn book_and_keys_are_the_plans() {
    let case = case(1, 50);
    let (plan, keys) = (case.sealed().unwrap(), case.keys());
    let missing = analyse(&plan, &case.material, None, &keys).unwrap_err().to_string();
    assert!(missing.contains("it was not laid open"), "{missing}");
    let mut other = disclosed();
    other.book.salt = "c8".repeat(32);
    let other = analyse(&plan, &case.material, Some(&other), &keys).unwrap_err().to_string();
    assert!(other.contains("and the plan names"), "{other}");
    // A slot whose key was not handed over is an error, never a pick.
    let few = analyse(&plan, &case.material, Some(&disclosed()), &keys[1..]).unwrap_err();
    assert!(matches!(&few, CaseError::NoKey { label, .. } if label.starts_with("canary/1/")), "{few}");
    let beyond = Case::refused(|case| {
        case.plan["canaries"]["value"]["slots"][0]["below"] = 4_000_000_000_u32.into();
    });
    assert!(beyond.contains("the plan's range of \"animal-story\""), "{beyond}");
}

fn canonical(value: &Value) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value).unwrap()
}

fn sha256(value: &Value) -> Value {
    let digest = Sha256::digest(canonical(value));
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// What somebody with a text editor and this program can do: change the content, then make every digest fit again.
fn redigested(mut bundle: Value) -> Vec<u8> {
    let names: Vec<String> = bundle["digests"].as_object().unwrap().keys().cloned().collect();
    for name in names {
        let digest = sha256(bundle.pointer(&format!("/{name}")).unwrap());
        bundle["digests"][name.as_str()] = digest;
    }
    bundle["digest"] = Value::Null;
    bundle["digest"] = sha256(&bundle);
    canonical(&bundle)
}

fn failures(bytes: &[u8]) -> Vec<Check> {
    let checks = check_bytes(bytes, &Outside::default());
    checks.into_iter().filter(|check| check.status == Status::Failed).collect()
}

/// Every value below `at`, as JSON pointers.
fn leaves(bundle: &Value, at: &str) -> Vec<String> {
    let below: Vec<String> = match bundle.pointer(at).unwrap() {
        Value::Object(fields) => fields.keys().map(|name| format!("{at}/{name}")).collect(),
        Value::Array(items) => (0..items.len()).map(|item| format!("{at}/{item}")).collect(),
        _ => return vec![at.to_owned()],
    };
    below.iter().flat_map(|at| leaves(bundle, at)).collect()
}

fn damage(value: &mut Value) {
    *value = match value.take() {
        Value::Bool(flag) => (!flag).into(),
        Value::Number(number) => match number.as_u64() {
            Some(number) => (number + 1).into(),
            None => (number.as_f64().unwrap() * 1.01 + 1e-3).into(),
        },
        Value::String(text) if text.len() == 64 => {
            let digit = if text.starts_with('0') { "1" } else { "0" };
            format!("{digit}{}", &text[1..]).into()
        }
        Value::String(text) => format!("{text}x").into(),
        _ => 7.into(),
    };
}

#[test]
fn a_bundle_verifies_and_any_damaged_field_is_named() {
    let bundle = case(1, 50).bundle();
    assert_eq!(failures(&canonical(&bundle)), []);
    assert_eq!(redigested(bundle.clone()), canonical(&bundle));
    let every = |at: &str, step: usize| leaves(&bundle, at).into_iter().step_by(step).collect::<Vec<_>>();
    let fields = [
        every("/canaries", 61),
        every("/material/0", 43),
        every("/plan/canaries", 1),
        every("/plan/matchers", 1),
        every("/analysis/findings/0/readings", 1),
        every("/openings/7", 1),
    ];
    for at in fields.concat() {
        let mut changed = bundle.clone();
        damage(changed.pointer_mut(&at).unwrap());
        let part = at.split('/').nth(1).unwrap();
        let plain = failures(&canonical(&changed));
        assert!(plain.iter().any(|check| check.object.starts_with(part)), "{at}: {plain:?}");
        // A word more or less in an answer need not change what it names: its digest alone covers it.
        if !at.ends_with("/response") {
            let found = failures(&redigested(changed));
            let named = found.iter().any(|check| {
                [part, "analysis", "plan"].iter().any(|object| check.object.starts_with(object))
                    && !check.what.is_empty()
                    || check.what.contains("field")
            });
            assert!(named, "{at}: {found:?}");
        }
    }
}

#[test]
fn what_an_editor_would_change_is_found_with_every_digest_made_to_fit() {
    let bundle = case(1, 50).bundle();
    let picked = BOOK.set(slots(&BOOK, &planned().slots).unwrap()[0]).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut bundle = bundle.clone();
        change(&mut bundle);
        let found = failures(&redigested(bundle));
        found.iter().map(|check| format!("{}: {}", check.object, check.what)).collect::<Vec<_>>().join("\n")
    };
    let answer = changed(&|bundle| {
        for at in 0..2 {
            bundle["material"][2]["content"]["canary"][at]["response"] =
                format!("It is {}.", picked.siblings[3].says).into();
        }
    });
    assert!(answer.contains("analysis: analysis/findings/"), "{answer}");
    let unasked = changed(&|bundle| {
        bundle["material"][0]["content"]["canary"].as_array_mut().unwrap().drain(0..2);
    });
    assert!(unasked.contains("cannot be recomputed") && unasked.contains("has 0 answers"), "{unasked}");
    let disagreement =
        changed(&|bundle| bundle["analysis"]["findings"][0]["readings"]["disagreements"] = 0.into());
    let was = bundle["analysis"]["findings"][0]["readings"]["disagreements"].as_u64();
    assert!(was == Some(0) || disagreement.contains("readings/disagreements is not what"), "{disagreement}");
    let book = changed(&|bundle| bundle["canaries"]["book"]["closed_share"] = 0.into());
    assert!(book.contains("the book laid open is"), "{book}");
    let none = changed(&|bundle| {
        bundle.as_object_mut().unwrap().remove("canaries");
        bundle["digests"].as_object_mut().unwrap().remove("canaries");
    });
    assert!(none.contains("it was not laid open"), "{none}");
    let key = changed(&|bundle| bundle["openings"][0]["key"] = "ab".repeat(32).into());
    assert!(key.contains("openings/0: ") && key.contains("was not opened"), "{key}");
}
