//! A book of canaries as evidence: committed to, planned, probed, tested, and checked by somebody else.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::run::{fine, folder, lines, parsed, said, taggant};

const SERVED: &str = "2026-q4";

fn file(folder: &Path, name: &str) -> Value {
    parsed(&fs::read_to_string(folder.join(name)).unwrap())
}

/// Key, book of the sets in `corpora/canaries`, genesis, and the example plan with what it leaves open filled in.
fn planned(name: &str) -> std::path::PathBuf {
    let folder = folder(name);
    fs::write(folder.join("sets.jsonl"), include_str!("../../corpora/canaries/written.jsonl")).unwrap();
    fs::write(folder.join("tokenizer.json"), "{}").unwrap();
    fine(&folder, &["key", "new", "k.json"]);
    let new = ["canary", "new", "--name", "t", "--only-own", "--sets", "sets.jsonl", "--closed-share", "0.1"];
    fine(&folder, &[&new[..], &["--out", "book.json"]].concat());
    let epochs = ["--epoch", SERVED, "--epoch", "2026-q4-unused", "--spec", "green/1/w1/b2/t1"];
    let genesis =
        ["key", "genesis", "--key", "k.json", "--tokenizer", "tokenizer.json", "--book", "book.json"];
    fine(&folder, &[&genesis[..], &epochs, &["--out", "genesis.json"]].concat());
    fs::write(folder.join("plan.json"), example(&folder).to_string()).unwrap();
    folder
}

fn example(folder: &Path) -> Value {
    let mut plan = parsed(include_str!("../../corpora/canaries/plan.json"));
    let genesis = file(folder, "genesis.json");
    for field in ["key_id", "tokenizer_sha256"] {
        plan[field] = genesis[field].clone();
    }
    plan["genesis_root"] = genesis["root"].clone();
    let version = fine(folder, &["plan", "version"]);
    let of_version: Vec<&str> = version.split_whitespace().collect();
    plan["statistic_sha256"] = of_version[1].into();
    plan["matchers"]["value"] = of_version[3].into();
    let text = fs::read_to_string(folder.join("book.json")).unwrap();
    let book = taggant::canary::Book::parse("book.json", &text).unwrap();
    plan["sources"][0]["sha256"] = json!(book.sha256());
    plan["canaries"]["value"]["book"] = json!(book.sha256());
    let classes: std::collections::BTreeSet<String> =
        (0..book.slots()).filter_map(|slot| book.class(slot)).map(str::to_owned).collect();
    let range = |class: &String| json!({ "class": class, "from": 0, "below": book.of_class(class).count() });
    plan["canaries"]["value"]["slots"] = classes.iter().map(range).collect();
    plan
}

/// What comes back: a suspect that learned says in every other slot what the key picked; others say the first sibling.
fn answered(folder: &Path, suspect: &str, learned: bool) {
    answered_by(folder, suspect, &|_, slot| learned && slot.is_multiple_of(2));
}

/// The same of slots in arms that it learned from.
fn answered_by(folder: &Path, suspect: &str, learned: &dyn Fn(&str, u64) -> bool) {
    let probes: Vec<Value> =
        fs::read_to_string(folder.join("probes.jsonl")).unwrap().lines().map(parsed).collect();
    let slots: Vec<String> = probes.iter().map(|probe| probe["slot"].to_string()).collect();
    let slots = slots.iter().map(String::as_str);
    let keyed = ["canary", "assign", "--book", "book.json", "--key", "k.json", "--epoch", SERVED];
    let assigned = parsed(&fine(folder, &keyed.into_iter().chain(slots).collect::<Vec<_>>()));
    let arm = |slot: &Value| match ARMS.of(slot["arm_number"].as_str().unwrap().parse().unwrap()) {
        taggant::canary::Arm::Campaign => "campaign",
        _ => "others",
    };
    let said = |slot: &Value| {
        let pick = usize::try_from(slot["pick"].as_u64().unwrap()).unwrap();
        let number = slot["slot"].as_u64().unwrap();
        (number, if learned(arm(slot), number) { pick } else { 0 })
    };
    let picks: std::collections::BTreeMap<u64, usize> =
        assigned["slots"].as_array().unwrap().iter().map(said).collect();
    let text = fs::read_to_string(folder.join("book.json")).unwrap();
    let book = taggant::canary::Book::parse("book.json", &text).unwrap();
    let answers = probes.iter().map(|probe| {
        let slot = probe["slot"].as_u64().unwrap();
        let said = picks[&slot];
        let mut row = probe.clone();
        row["response"] = format!("Let me think. {}", book.set(slot).unwrap().siblings[said].says).into();
        row
    });
    fs::write(folder.join(format!("{suspect}.jsonl")), lines(answers)).unwrap();
}

const TEST: [&str; 8] =
    ["test", "--key", "k.json", "--genesis", "genesis.json", "--book", "book.json", "sealed.json"];

#[test]
fn a_plan_with_canaries_is_sealed_probed_tested_and_checked() {
    let folder = planned("case-canary");
    let seal = ["plan", "seal", "plan.json", "--genesis", "genesis.json", "--out", "sealed.json"];
    fine(&folder, &seal);
    let probes = fine(&folder, &["canary", "probes", "--book", "book.json", "sealed.json"]);
    fs::write(folder.join("probes.jsonl"), &probes).unwrap();
    for (suspect, learned) in [("suspect", true), ("student", true), ("innocent", false)] {
        answered(&folder, suspect, learned);
    }
    let given = ["--probes", "suspect=suspect.jsonl", "--probes", "student=student.jsonl"];
    let given =
        [&given[..], &["--probes", "innocent=innocent.jsonl", "--bundle", "bundle.json", "--json"]].concat();
    let found = taggant(&folder, &[&TEST[..], &given].concat());
    assert_eq!(found.status.code(), Some(0), "{}", said(&found));
    let found = parsed(&String::from_utf8(found.stdout).unwrap());
    assert_eq!(found["verdict"], "evidence-found");
    let log10_p = |test: &str| {
        let findings = found["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["test"] == test).unwrap()["log10_p"].as_f64().unwrap()
    };
    assert!(log10_p("suspect") < -8.0 && log10_p("student of ours") < -8.0, "{found}");
    assert!(log10_p("innocent") > -3.0, "{found}");
    assert!(log10_p("suspect under a key that served nobody") > -3.0, "{found}");
    let check = ["case", "check", "bundle.json", "--genesis", "genesis.json", "--seal", "sealed.json"];
    assert!(fine(&folder, &check).contains("verified"));
    let report = ["case", "report", "bundle.json", "--out", "report.html"];
    fine(&folder, &report);
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.contains("animal-story") || page.contains("slots"), "{page}");

    // What is left out, added or exchanged is named.
    let refused = |arguments: &[&str], names: &[&str]| {
        let output = taggant(&folder, arguments);
        let said = said(&output);
        assert!(output.status.code() == Some(2) && names.iter().all(|name| said.contains(name)), "{said}");
    };
    let answers = fs::read_to_string(folder.join("suspect.jsonl")).unwrap();
    let one = |file: &str| [&TEST[..], &["--probes", &format!("suspect={file}")]].concat().join("\n");
    let cut: Vec<&str> = answers.lines().skip(1).collect();
    fs::write(folder.join("cut.jsonl"), cut.join("\n")).unwrap();
    refused(&one("cut.jsonl").lines().collect::<Vec<_>>(), &["suspect", "slot", "whether anything was"]);
    refused(&one("probes.jsonl").lines().collect::<Vec<_>>(), &["probes.jsonl, line 1", "response"]);
    refused(&TEST[..5].iter().chain(&TEST[7..]).copied().collect::<Vec<_>>(), &["--book"]);
    fine(
        &folder,
        &["canary", "new", "--name", "u", "--only-own", "--sets", "sets.jsonl", "--out", "other.json"],
    );
    refused(&["canary", "probes", "--book", "other.json", "sealed.json"], &["sealed.json", "other.json"]);
    let other: Vec<&str> = TEST.map(|word| if word == "book.json" { "other.json" } else { word }).to_vec();
    refused(&other, &[]);
}

/// The same with slots divided among accounts: who asked for which is committed to and laid open, and the route is a finding.
#[test]
fn a_plan_with_a_route_is_sealed_tested_and_checked() {
    let folder = planned("case-route");
    let genesis =
        ["key", "genesis", "--key", "k.json", "--tokenizer", "tokenizer.json", "--book", "book.json"];
    let epochs = ["--arms", "--epoch", SERVED, "--epoch", "2026-q4-unused", "--out", "genesis.json"];
    fine(&folder, &[&genesis[..], &epochs].concat());
    fs::write(folder.join("ids.txt"), "one\ntwo\nthree\n").unwrap();
    let accounts = fine(&folder, &["attribute", "accounts", "ids.txt", "--out", "accounts.json"]);
    fs::write(folder.join("requests.jsonl"), requests(&folder)).unwrap();
    let mut plan = example(&folder);
    fs::write(folder.join("plan.json"), plan.to_string()).unwrap();
    let count =
        ["attribute", "traffic", "--book", "book.json", "--accounts", "accounts.json", "--plan", "plan.json"];
    let traffic = fine(&folder, &[&count[..], &["--out", "counted.jsonl", "requests.jsonl"]].concat());
    let text = fs::read_to_string(folder.join("counted.jsonl")).unwrap();
    let (asked, planned): (Vec<Value>, Vec<Value>) =
        text.lines().map(parsed).partition(|slot| slot["ordinary"] != 0);
    assert!(asked.len() > 100 && planned.len() > 10, "{} and {}: {traffic}", asked.len(), planned.len());
    plan["canaries"]["value"]["route"] = json!({ "value": {
        "accounts": accounts.split_whitespace().nth(1), "traffic": traffic.split_whitespace().nth(1),
        "arms": ARMS, "rate": 1.0, "campaign_rate": 1.0, "per_account": false, "serve_cap": 2,
    } });
    let exposure = plan["tests"].as_array().unwrap().clone();
    for mut test in exposure {
        test["name"] = format!("{}, route", test["name"].as_str().unwrap()).into();
        test["access"] = "route".into();
        test["statistic"] = "canary-route".into();
        plan["tests"].as_array_mut().unwrap().push(test);
    }
    fs::write(folder.join("plan.json"), plan.to_string()).unwrap();
    fine(&folder, &["plan", "seal", "plan.json", "--genesis", "genesis.json", "--out", "sealed.json"]);
    let probes = fine(&folder, &["canary", "probes", "--book", "book.json", "sealed.json"]);
    fs::write(folder.join("probes.jsonl"), &probes).unwrap();
    for (suspect, learned) in [("suspect", true), ("student", true), ("innocent", false)] {
        let from = |arm: &str, _| learned && arm == "campaign";
        answered_by(&folder, suspect, &from);
    }
    let given = ["suspect", "student", "innocent"].map(|name| format!("{name}={name}.jsonl"));
    let given: Vec<&str> = given.iter().flat_map(|file| ["--probes", file]).collect();
    let laid_open =
        ["--accounts", "accounts.json", "--traffic", "counted.jsonl", "--bundle", "bundle.json", "--json"];
    let found = taggant(&folder, &[&TEST[..], &given, &laid_open].concat());
    assert_eq!(found.status.code(), Some(0), "{}", said(&found));
    let found = parsed(&String::from_utf8(found.stdout).unwrap());
    let findings = found["findings"].as_array().unwrap();
    let verdict = |test: &str| {
        let finding = findings.iter().find(|finding| finding["test"] == test).unwrap();
        finding["verdict"].as_str().unwrap().to_owned()
    };
    for (test, claimed) in [("suspect", true), ("suspect, route", true), ("innocent, route", false)] {
        assert_eq!(verdict(test) == "evidence-found", claimed, "{test}: {found:#}");
    }
    let check = ["case", "check", "bundle.json", "--genesis", "genesis.json", "--seal", "sealed.json"];
    assert!(fine(&folder, &check).contains("verified"));
    fine(&folder, &["case", "report", "bundle.json", "--out", "report.html"]);
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    for said in [
        "Route (claim P4).",
        "whether they, or anybody, published the answers first is not tested",
        "Sentinels",
    ] {
        assert!(page.contains(said), "{said}");
    }
    assert!(!page.contains("Not that it learned from answers served to particular accounts"));
    let without = taggant(&folder, &[&TEST[..], &given].concat());
    assert!(said(&without).contains("give --accounts and --traffic"), "{}", said(&without));
}

/// The same by what a suspect holds for likelier, whatever it says.
#[test]
fn a_plan_of_log_probabilities_is_weighed_tested_and_checked() {
    let folder = planned("case-weighed");
    let mut plan = example(&folder);
    for test in plan["tests"].as_array_mut().unwrap() {
        test["access"] = "likelihoods".into();
        test["statistic"] = "canary-likelihood".into();
    }
    fs::write(folder.join("plan.json"), plan.to_string()).unwrap();
    fine(&folder, &["plan", "seal", "plan.json", "--genesis", "genesis.json", "--out", "sealed.json"]);
    let probes = fine(&folder, &["canary", "probes", "--likelihoods", "--book", "book.json", "sealed.json"]);
    let probes: Vec<Value> = probes.lines().map(parsed).collect();
    assert!(
        probes.iter().all(|row| row["texts"].as_array().unwrap().len() >= 2 && row["prompts"][0].is_string())
    );
    let slots: Vec<String> = probes.iter().map(|probe| probe["slot"].to_string()).collect();
    let keyed = ["canary", "assign", "--book", "book.json", "--key", "k.json", "--epoch", SERVED];
    let slots = slots.iter().map(String::as_str);
    let assigned = parsed(&fine(&folder, &keyed.into_iter().chain(slots).collect::<Vec<_>>()));
    // Tastes that know nothing of the key; what was learned stands three above.
    let weighed = |learned: f64, taste: usize| {
        let row = |(probe, pick): (&Value, &Value)| {
            let texts = probe["texts"].as_array().unwrap().len();
            let number = usize::try_from(probe["slot"].as_u64().unwrap()).unwrap();
            let liked = |at: usize| {
                let step = u32::try_from((at * 31 + number * taste) % 17).unwrap();
                let taste = -9.0 - f64::from(step) / 8.0;
                if at as u64 == pick["pick"] { taste + learned } else { taste }
            };
            json!({ "slot": probe["slot"], "ln_p": (0..texts).map(liked).collect::<Vec<f64>>() })
        };
        lines(probes.iter().zip(assigned["slots"].as_array().unwrap()).map(row))
    };
    for (suspect, learned, taste) in [("suspect", 3.0, 7), ("student", 3.0, 11), ("innocent", 0.0, 13)] {
        fs::write(folder.join(format!("{suspect}.jsonl")), weighed(learned, taste)).unwrap();
    }
    let given = ["suspect", "student", "innocent"].map(|name| format!("{name}={name}.jsonl"));
    let given: Vec<&str> = given.iter().flat_map(|file| ["--likelihoods", file]).collect();
    let found = taggant(&folder, &[&TEST[..], &given, &["--bundle", "bundle.json"]].concat());
    assert_eq!(found.status.code(), Some(0), "{}", said(&found));
    let check = ["case", "check", "bundle.json", "--genesis", "genesis.json", "--seal", "sealed.json"];
    assert!(fine(&folder, &check).contains("verified"));
    fine(&folder, &["case", "report", "bundle.json", "--out", "report.html"]);
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.contains("canaries, what stands out") && page.contains("by log-probabilities"));
    for (row, names) in [
        ("{\"slot\": 7}", "line 1: missing field `ln_p`"),
        ("{\"slot\": 7, \"ln_p\": [0.5]}", "row 0 is of slot 7"),
        ("{\"slot\": 7, \"ln_p\": [NaN]}", "one ln p for each sibling"),
    ] {
        fs::write(folder.join("wrong.jsonl"), row).unwrap();
        let refused = taggant(&folder, &[&TEST[..], &["--likelihoods", "suspect=wrong.jsonl"]].concat());
        assert!(refused.status.code() == Some(2) && said(&refused).contains(names), "{}", said(&refused));
    }
}

const ARMS: taggant::canary::Arms = taggant::canary::Arms { campaign: 0.45, sentinel: 0.1 };

/// Prompts of every set but each tenth, each from two accounts under suspicion, twice from ordinary ones and once from nobody.
fn requests(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join("book.json")).unwrap();
    let book = taggant::canary::Book::parse("book.json", &text).unwrap();
    let sets = (0..book.slots()).filter(|slot| slot % 10 > 0).filter_map(|slot| book.set(slot));
    let mut rows = Vec::new();
    for set in sets {
        for account in ["one", "two", "four", "five"] {
            rows.push(json!({ "id": rows.len().to_string(), "prompt": set.prompts[0], "account": account,
                              "period": "2026-w41" }));
        }
    }
    lines(rows.into_iter())
}

#[test]
fn a_plan_of_another_version_or_genesis_is_not_sealed() {
    let folder = planned("case-canary-plan");
    for (field, value) in [
        ("statistic_sha256", json!("00".repeat(32))),
        ("key_id", json!("0123456789abcdef")),
        ("key_id", json!("0123456789ABCDEF")),
        ("matchers", json!({ "value": "00".repeat(32) })),
    ] {
        let mut plan = example(&folder);
        plan[field] = value;
        fs::write(folder.join("plan.json"), plan.to_string()).unwrap();
        let refused = taggant(
            &folder,
            &["plan", "seal", "plan.json", "--genesis", "genesis.json", "--out", "sealed.json"],
        );
        let said = said(&refused);
        let named = said.contains(field) || said.contains("no key id");
        assert!(refused.status.code() == Some(2) && said.contains("plan.json") && named, "{said}");
        assert!(!folder.join("sealed.json").exists());
    }
}
