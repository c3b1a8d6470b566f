//! `taggant attribute` from the accounts under suspicion to the ladder, on a simulated service of forty accounts of which
//! ten are under suspicion: whom a suspect learned from decides which rungs hold.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use taggant::key::{Audience, EpochKey, KeyFile};
use taggant::scheme::{Scheme, Spec};

use crate::run::{fine, folder, lines, parsed, said, taggant};

const EPOCH: &str = "2026-q4";
/// Answers of a slot that leave the service planted, in either arm.
const CAP: u32 = 2;
const SLOTS: usize = 900;

/// What a response that left the service planted taught: who got it, and what it says.
struct Served {
    slot: u64,
    role: &'static str,
    instruction: String,
}

/// The service after a week: a sealed plan of the route, its probes, and what was served to whom.
struct Service {
    folder: PathBuf,
    served: Vec<Served>,
    probes: Vec<Value>,
}

fn account(n: usize) -> String {
    format!("acct-{n}")
}

/// Every slot is asked for twice by accounts under suspicion, twice by ordinary ones, once by an account of the operator's.
fn requests(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("book.json")).unwrap();
    let book = taggant::canary::Book::parse("book.json", &text).unwrap();
    let sets = (0..book.slots()).step_by(109).filter_map(|slot| book.set(slot));
    let readable = sets.filter(|set| set.siblings.iter().all(|one| one.all.len() == 1)).take(SLOTS);
    let mut requests = Vec::new();
    for (at, set) in readable.enumerate() {
        let who = [at % 10, (at + 3) % 10, 10 + at % 30, 10 + (at + 7) % 30, 99];
        for account_number in who {
            let role = match account_number {
                0..10 => "campaign",
                99 => "sentinel",
                _ => "ordinary",
            };
            requests.push(json!({
                "id": requests.len().to_string(), "prompt": set.prompts[0], "account": account(account_number),
                "role": role, "period": format!("2026-w{}", 40 + at % 3),
            }));
        }
    }
    requests
}

/// In a folder of that name.
fn service(name: &str) -> Service {
    let folder = folder(name);
    fine(&folder, &["key", "new", "k.json"]);
    fine(&folder, &["canary", "new", "--name", "t", "--closed-share", "0", "--out", "book.json"]);
    let ids: Vec<String> = (0..10).map(account).collect();
    fs::write(folder.join("ids.txt"), ids.join("\n")).unwrap();
    let accounts = fine(&folder, &["attribute", "accounts", "ids.txt", "--out", "accounts.json"]);
    let requests = requests(&folder);
    fs::write(folder.join("requests.jsonl"), lines(requests.iter().cloned())).unwrap();
    let counted = ["attribute", "traffic", "--book", "book.json", "--accounts", "accounts.json"];
    let traffic = fine(&folder, &[&counted[..], &["--out", "traffic.jsonl", "requests.jsonl"]].concat());
    assert!(traffic.contains(&format!("{SLOTS} slots")), "{traffic}");
    fs::write(folder.join("plan.json"), plan(&folder, &accounts, &traffic).to_string()).unwrap();
    fine(&folder, &[&["attribute", "seal", "plan.json", "--out", "sealed.json"], &FIXED[..]].concat());
    let probes = fine(&folder, &[&["attribute", "probes", "sealed.json"], &FIXED[..]].concat());
    let served = served(&folder, &requests);
    Service { folder, served, probes: probes.lines().map(parsed).collect() }
}

const FIXED: [&str; 6] = ["--book", "book.json", "--accounts", "accounts.json", "--traffic", "traffic.jsonl"];

fn plan(folder: &Path, accounts: &str, traffic: &str) -> Value {
    let text = fs::read_to_string(folder.join("book.json")).unwrap();
    let book = taggant::canary::Book::parse("book.json", &text).unwrap();
    let word = |text: &str| text.split_whitespace().nth(1).unwrap().to_owned();
    json!({
        "format": "taggant/route-plan/1", "book": book.sha256(), "epoch": EPOCH,
        "accounts": word(accounts), "traffic": word(traffic),
        "arms": { "campaign": 0.4, "sentinel": 0.2 }, "rate": 1.0, "campaign_rate": 1.0,
        "per_account": true, "serve_cap": CAP, "probes": 1, "alpha": 1e-6, "control_alpha": 0.001,
        "rungs": { "exposure": { "by": "canaries" }, "campaign": null, "cohorts": null, "accounts": true },
    })
}

/// What left the service planted, at most so often a slot.
fn served(folder: &Path, requests: &[Value]) -> Vec<Served> {
    let respond =
        ["canary", "respond", "--book", "book.json", "--key", "k.json", "--epoch", EPOCH, "--rate", "1"];
    let arms = ["--campaign-arm", "0.4", "--sentinel-arm", "0.2", "--per-account", "requests.jsonl"];
    let responses = fine(folder, &[&respond[..], &arms].concat());
    let mut times: BTreeMap<u64, u32> = BTreeMap::new();
    let mut served = Vec::new();
    for (response, request) in responses.lines().map(parsed).zip(requests) {
        if response["record"]["outcome"] != "planted" {
            continue;
        }
        let slot = response["record"]["pick"]["slot"].as_u64().unwrap();
        let times = times.entry(slot).or_default();
        *times += 1;
        if *times <= CAP {
            let role = ["campaign", "ordinary", "sentinel"].into_iter().find(|role| request["role"] == *role);
            let instruction = response["instruction"].as_str().unwrap().to_owned();
            served.push(Served { slot, role: role.unwrap(), instruction });
        }
    }
    served
}

/// The suspect's answers: of every other response that it learned from it gives what that said, else it repeats the prompt.
fn suspect(service: &Service, name: &str, learned: &[&str]) -> String {
    let mut known: BTreeMap<u64, &str> = BTreeMap::new();
    for served in service.served.iter().filter(|served| learned.contains(&served.role)) {
        known.entry(served.slot).or_insert(&served.instruction);
    }
    let answers = service.probes.iter().map(|probe| {
        let slot = probe["slot"].as_u64().unwrap();
        let remembered = known.get(&slot).filter(|_| slot.is_multiple_of(2));
        let mut row = probe.clone();
        row["response"] = remembered.copied().or(probe["prompt"].as_str()).into();
        row
    });
    fs::write(service.folder.join(name), lines(answers)).unwrap();
    name.to_owned()
}

fn climb<'a>(answers: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let sealed = ["attribute", "climb", "sealed.json", "--key", "k.json", "--answers", answers];
    [&sealed[..], &FIXED, more].concat()
}

/// How far a suspect's answers reach.
fn ladder(service: &Service, name: &str, learned: &[&str]) -> Value {
    let answers = suspect(service, name, learned);
    let found = parsed(&fine(&service.folder, &climb(&answers, &["--json"])));
    assert_eq!((&found["schema"], &found["accounts"]), (&"taggant/attribute/1".into(), &10.into()));
    found
}

fn rungs(found: &Value) -> Vec<(&str, bool)> {
    let rungs = found["ladder"]["rungs"].as_array().unwrap().iter();
    rungs.map(|rung| (rung["claim"].as_str().unwrap(), rung["holds"].as_bool().unwrap())).collect()
}

#[test]
fn whom_a_suspect_learned_from_decides_which_rungs_hold() {
    let service = service("attribute");
    thief(&service);
    crawlers(&service);
    innocent_and_insider(&service);
    by_text(&service);
}

fn thief(service: &Service) {
    let found = ladder(service, "thief.jsonl", &["campaign"]);
    let [exposure, route, _] = rungs(&found)[..] else { panic!("{found}") };
    assert_eq!((exposure, route), (("exposure", true), ("route", true)), "{found}");
    assert_eq!(found["route"]["outcome"], "established");
    assert!(found["route"]["sentinels"]["ln_p"].as_f64() > Some(-4.0), "{found}");
    let least = &found["route"]["arms"]["leak_ratio"]["at_least"];
    assert!(least.is_null() || least.as_f64() > Some(2.0), "{found}");
    let page = fine(&service.folder, &climb("thief.jsonl", &[]));
    for words in [
        "learned from answers served to these accounts, more than from as many served to others; that they were \
         republished is not excluded",
        "slots that nobody outside was served are silent",
        "what explains the difference if recall grows in proportion to leaked copies",
        "needs about",
        "both halves reject",
    ] {
        assert!(page.contains(words), "{words}\n{page}");
    }
}

/// What others published is exposure, and no route; and so is as much of what everybody got.
fn crawlers(service: &Service) {
    let found = ladder(service, "leak.jsonl", &["ordinary"]);
    assert_eq!(rungs(&found), [("exposure", true), ("route", false), ("account", false)], "{found}");
    assert_eq!((&found["ladder"]["reached"], &found["ladder"]["accounts"]), (&"exposure".into(), &json!([])));
    assert!(found["route"]["arms"]["ln_p"].as_f64() > Some(-3.0), "{found}");
    let found = ladder(service, "all.jsonl", &["campaign", "ordinary"]);
    assert_eq!(found["ladder"]["reached"], "exposure", "{found}");
    assert!(
        found["route"]["keyed"]["ln_p"].as_f64() < Some(-50.0),
        "one half alone would accuse it: {found}"
    );
}

fn innocent_and_insider(service: &Service) {
    let found = ladder(service, "clean.jsonl", &[]);
    assert_eq!(found["ladder"]["reached"], Value::Null, "{found}");
    assert!(rungs(&found).iter().all(|(_, holds)| !holds));
    let page = fine(&service.folder, &climb("clean.jsonl", &[]));
    assert!(page.contains("Nothing is claimed.") && page.contains("No single account is named."), "{page}");
    let found = ladder(service, "insider.jsonl", &["campaign", "sentinel"]);
    assert_eq!((&found["ladder"]["blocked"], &found["ladder"]["reached"]), (&true.into(), &Value::Null));
    let page = fine(&service.folder, &climb("insider.jsonl", &[]));
    assert!(page.contains("REJECT") && page.contains("Nothing is claimed."), "{page}");
}

/// Rows of text most of whose tokens are green under one of `schemes`.
fn marked(schemes: &[Scheme]) -> String {
    let mut state = 3_u64;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((state >> 33) % n).unwrap()
    };
    let row = |(id, scheme): (usize, &Scheme)| {
        let arm = &scheme.arms()[0];
        let mut text = vec![below(500)];
        while text.len() < 400 {
            let seed = arm.seed(&text[text.len() - 1..]);
            let tries = [below(500), below(500), below(500)];
            text.push(*tries.iter().find(|token| arm.word(&seed, **token) == 1).unwrap_or(&tries[0]));
        }
        json!({ "id": id.to_string(), "prompt_tokens": text[..1], "response_tokens": text[1..] })
    };
    lines(schemes.iter().enumerate().map(row).collect::<Vec<_>>().into_iter())
}

/// Exposure, campaign and cohorts by the suspect's text; the ladder ends at the first rung that does not hold, whatever those
/// above it show.
fn by_text(service: &Service) {
    let folder = &service.folder;
    let spec: Spec = "green/1/w1/b1/t1".parse().unwrap();
    let file = KeyFile::from_json(&fs::read_to_string(folder.join("k.json")).unwrap()).unwrap();
    let key: EpochKey = file.secret.epoch_key(&EPOCH.parse().unwrap());
    let global = || spec.open(&key);
    let campaign = || spec.open_for(&key, Audience::Campaign, "hydra");
    let mut plan = parsed(&fs::read_to_string(folder.join("plan.json")).unwrap());
    plan["rungs"] = json!({
        "exposure": { "by": "text", "spec": spec }, "campaign": { "id": "hydra", "spec": spec },
        "cohorts": 4, "accounts": true,
    });
    fs::write(folder.join("text-plan.json"), plan.to_string()).unwrap();
    fine(
        folder,
        &[&["attribute", "seal", "text-plan.json", "--out", "text-sealed.json"], &FIXED[..]].concat(),
    );
    let climb = |more: &[&'static str]| {
        let sealed =
            ["attribute", "climb", "text-sealed.json", "--key", "k.json", "--answers", "thief.jsonl"];
        taggant(folder, &[&sealed[..], &FIXED, more].concat())
    };
    let ladder = |schemes: &[Scheme]| {
        fs::write(folder.join("text.jsonl"), marked(schemes)).unwrap();
        let output = climb(&["--text", "text.jsonl", "--json"]);
        assert!(output.status.success(), "{}", said(&output));
        parsed(&String::from_utf8(output.stdout).unwrap())
    };
    let cohorts = (0..4).map(|cohort| spec.open_for(&key, Audience::Cohort, &cohort.to_string()));
    let both: Vec<Scheme> = [global(), global(), campaign(), campaign()].into_iter().chain(cohorts).collect();
    let found = ladder(&both);
    assert_eq!(
        rungs(&found),
        [("exposure", true), ("campaign", true), ("cohorts", false), ("route", false), ("account", false)],
        "{found}"
    );
    assert_eq!(
        (&found["route"]["outcome"], &found["ladder"]["reached"]),
        (&"established".into(), &"campaign".into())
    );
    assert_eq!(found["cohorts"]["scored"], 10, "a draw for each account under suspicion");
    let found = ladder(&[campaign()]);
    assert_eq!(
        found["ladder"]["reached"],
        Value::Null,
        "a campaign without exposure is no rung that one stands on: {found}"
    );
    assert!(said(&climb(&[])).contains("--text"));
}

#[test]
fn what_was_sealed_is_what_is_tested() {
    let service = service("attribute-sealed");
    let folder = &service.folder;
    let refused = |arguments: &[&str], words: &[&str]| {
        let output = taggant(folder, arguments);
        let said = said(&output);
        assert!(output.status.code() == Some(2) && words.iter().all(|word| said.contains(word)), "{said}");
    };
    let answers = suspect(&service, "whole.jsonl", &[]);
    let text = fs::read_to_string(folder.join(&answers)).unwrap();
    let less: Vec<&str> = text.lines().skip(1).collect();
    fs::write(folder.join("less.jsonl"), less.join("\n")).unwrap();
    refused(&climb("less.jsonl", &[]), &["less.jsonl", "slot", "every slot of the plan is asked"]);
    fs::write(folder.join("more.jsonl"), format!("{text}\n{}", text.lines().next().unwrap())).unwrap();
    refused(&climb("more.jsonl", &[]), &["more.jsonl", "slot"]);
    refused(&climb(&answers, &["--text", "more.jsonl"]), &["--text"]);
    // Another set, other traffic, a loosened plan.
    let traffic = fs::read_to_string(folder.join("traffic.jsonl")).unwrap();
    let fewer: Vec<&str> = traffic.lines().skip(1).collect();
    fs::write(folder.join("fewer.jsonl"), fewer.join("\n")).unwrap();
    let other: Vec<&str> = climb(&answers, &[])
        .into_iter()
        .map(|word| if word == "traffic.jsonl" { "fewer.jsonl" } else { word })
        .collect();
    refused(&other, &["sealed.json", "\"traffic\""]);
    let loosened = fs::read_to_string(folder.join("sealed.json")).unwrap().replace("1e-6", "0.5");
    fs::write(folder.join("loosened.json"), loosened).unwrap();
    let other: Vec<&str> = climb(&answers, &[])
        .into_iter()
        .map(|word| if word == "sealed.json" { "loosened.json" } else { word })
        .collect();
    refused(&other, &["loosened.json", "SHA-256"]);
    refused(&["attribute", "accounts", "ids.txt", "--out", "accounts.json"], &["never replaced"]);
    fs::write(folder.join("no-period.jsonl"), r#"{"id":"1","prompt":"Hello","account":"a"}"#).unwrap();
    let counted = ["attribute", "traffic", "--book", "book.json", "--accounts", "accounts.json"];
    let counted = |file| [&counted[..], &["--out", "t.jsonl", file]].concat();
    refused(&counted("no-period.jsonl"), &["line 1", "\"period\""]);
    fs::write(folder.join("elsewhere.jsonl"), r#"{"id":"1","prompt":"Hello","account":"a","period":"w"}"#)
        .unwrap();
    refused(&counted("elsewhere.jsonl"), &["no request belongs to a slot"]);
}

/// Exposure is counted where it could have been: requests in which something could have been planted, in the period in which their
/// slot was asked for first, by the accounts that were served as what they are.
#[test]
fn requests_count_as_they_exposed_and_roles_are_those_of_the_accounts() {
    let folder = folder("attribute-traffic");
    fine(&folder, &["canary", "new", "--name", "t", "--closed-share", "0", "--out", "book.json"]);
    fs::write(folder.join("ids.txt"), "one\n").unwrap();
    fine(&folder, &["attribute", "accounts", "ids.txt", "--out", "accounts.json"]);
    let counted = [
        "attribute",
        "traffic",
        "--book",
        "book.json",
        "--accounts",
        "accounts.json",
        "--out",
        "traffic.jsonl",
    ];
    let story = "Write a funny story about an otter at the lighthouse.";
    let (named, nameless) = ("Once there was an otter called Biscuit.", "Once there was an otter.");
    let row = |account: &str, period: &str, response: Option<&str>, role: Option<&str>| {
        let mut row = json!({ "id": "1", "prompt": story, "account": account, "period": period });
        for (field, value) in [("response", response), ("role", role)] {
            if let Some(value) = value {
                row[field] = value.into();
            }
        }
        row
    };
    let rows = [
        row("one", "w1", Some(named), Some("campaign")),
        row("two", "w1", Some(named), None),
        row("two", "w1", Some(nameless), None),
        row("two", "w2", Some(named), None),
        row("our", "w1", Some(named), Some("sentinel")),
    ];
    let numbered = rows.into_iter().enumerate().map(|(id, mut row)| {
        row["id"] = id.to_string().into();
        row
    });
    fs::write(folder.join("requests.jsonl"), lines(numbered)).unwrap();
    let printed = taggant(&folder, &[&counted[..], &["requests.jsonl"]].concat());
    let talk = said(&printed);
    assert!(
        talk.contains("in 1 not every sibling could have been planted; 1 came after the period"),
        "{talk}"
    );
    let traffic = parsed(&fs::read_to_string(folder.join("traffic.jsonl")).unwrap());
    assert_eq!((&traffic["campaign"], &traffic["ordinary"]), (&json!({ "one": 1 }), &json!(1)));
    for (account, role) in [("one", "ordinary"), ("one", "sentinel"), ("two", "campaign")] {
        fs::write(
            folder.join("wrong.jsonl"),
            lines([row(account, "w1", Some(named), Some(role))].into_iter()),
        )
        .unwrap();
        let refused = said(&taggant(&folder, &[&counted[..], &["wrong.jsonl"]].concat()));
        assert!(refused.contains("line 1, field \"role\"") && refused.contains(account), "{refused}");
    }
}
