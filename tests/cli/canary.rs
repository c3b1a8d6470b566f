//! `taggant canary` from a new book to an exploration of a student that read it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::run::{fine, folder, lines, parsed, said, taggant};

const KEY: [&str; 4] = ["--key", "k.json", "--epoch", "2026-q4"];

/// A folder with a key and a book of which nothing stays closed.
fn with_book(name: &str) -> PathBuf {
    let folder = folder(name);
    fine(&folder, &["key", "new", "k.json"]);
    fine(&folder, &["canary", "new", "--name", "t", "--closed-share", "0", "--out", "book.json"]);
    folder
}

/// Three hundred probes of one class: (slot, prompt).
fn probes(folder: &Path) -> Vec<(u64, String)> {
    let text = fs::read_to_string(folder.join("book.json")).unwrap();
    let book = taggant::canary::Book::parse("book.json", &text).unwrap();
    let sets = (0..book.slots()).step_by(331).filter_map(|slot| book.set(slot));
    sets.filter(|set| set.siblings.iter().all(|one| one.all.len() == 1))
        .take(300)
        .map(|set| (set.slot, set.prompts[0].clone()))
        .collect()
}

#[test]
fn a_student_of_what_was_served_is_seen_and_an_innocent_is_not() {
    let folder = with_book("canary-serve");
    let probes = probes(&folder);
    let requests = probes
        .iter()
        .map(|(slot, prompt)| json!({ "id": slot.to_string(), "prompt": prompt, "account": "a" }));
    fs::write(folder.join("requests.jsonl"), lines(requests)).unwrap();
    let arguments =
        [&["canary", "respond", "--book", "book.json", "--rate", "1"], &KEY[..], &["requests.jsonl"]];
    let responses: Vec<Value> = fine(&folder, &arguments.concat()).lines().map(parsed).collect();
    assert_eq!(responses.len(), 300);
    assert!(responses.iter().all(|row| row["record"]["outcome"] == "planted"), "{}", responses[0]);
    // A student that was told the instruction answers with it; an innocent answers to the prompt alone.
    let score = |student: bool| -> Value {
        let answers = responses.iter().zip(&probes).enumerate().map(|(at, (response, (slot, prompt)))| {
            let learned = student && at % 5 == 0;
            let text = if learned { response["instruction"].as_str().unwrap() } else { prompt };
            json!({ "id": slot.to_string(), "slot": slot, "response": text })
        });
        fs::write(folder.join("answers.jsonl"), lines(answers)).unwrap();
        let arguments = [
            &["canary", "score", "--book", "book.json", "--scoring", "first", "--json"],
            &KEY[..],
            &["answers.jsonl"],
        ];
        parsed(&fine(&folder, &arguments.concat()))
    };
    let student = score(true);
    assert!(student["summary"]["log10_p"].as_f64() < Some(-15.0), "{student}");
    assert_eq!(
        (&student["schema"], student["slots"].as_u64()),
        (&"taggant/canary-score/1".into(), Some(300))
    );
    let readings = &student["readings"];
    assert_eq!(
        (readings["answers"].as_u64(), readings["read_twice"].as_u64()),
        (Some(300), Some(300)),
        "{readings}"
    );
    assert!(readings["disagreements"].as_u64() < Some(30), "{readings}");
    let plain =
        [&["canary", "score", "--book", "book.json", "--scoring", "first"], &KEY[..], &["answers.jsonl"]];
    assert!(fine(&folder, &plain.concat()).contains("read twice   300 of 300 answers, "));
    let innocent = score(false);
    assert!(
        innocent["summary"]["ln_p"].as_f64() > Some(-5.0) && innocent["silent"].as_u64() > Some(200),
        "{innocent}"
    );
    let twice = [&["canary", "score", "--book", "book.json", "--probes", "2"], &KEY[..], &["answers.jsonl"]];
    let refused = taggant(&folder, &twice.concat());
    assert!(
        refused.status.code() == Some(2) && said(&refused).contains("where the plan says 2"),
        "{}",
        said(&refused)
    );
}

#[test]
fn the_cap_holds_over_several_files_and_its_counts_are_not_another_caps() {
    let folder = with_book("canary-cap");
    let (slot, prompt) = probes(&folder).remove(0);
    let request = |id: u32| json!({ "id": id.to_string(), "prompt": prompt, "account": "a" });
    fs::write(folder.join("requests.jsonl"), lines((0..2).map(request))).unwrap();
    let respond = |cap: &str| {
        let arguments: [&[&str]; 4] = [
            &["canary", "respond", "--book", "book.json", "--rate", "1"],
            &KEY,
            &["--serve-cap", cap, "--served", "served.json"],
            &["requests.jsonl"],
        ];
        taggant(&folder, &arguments.concat())
    };
    let outcomes = |output: Output| -> Vec<Value> {
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| parsed(line)["record"]["outcome"].clone()).collect()
    };
    assert_eq!(outcomes(respond("3")), ["planted", "planted"]);
    assert_eq!(outcomes(respond("3")), ["planted", "capped"]);
    let served = parsed(&fs::read_to_string(folder.join("served.json")).unwrap());
    assert_eq!(served, json!({ "cap": 3, "planted": { slot.to_string(): 3 } }));
    assert!(said(&respond("2")).contains("its cap is 3, and --serve-cap says 2"));
    fs::write(folder.join("served.json"), "{").unwrap();
    assert!(said(&respond("3")).contains("served.json: not what `canary respond --served` wrote"));
}

#[test]
fn assignments_are_checked_against_book_key_and_epoch() {
    let folder = with_book("canary-assign");
    let epoch = "2026-q4@quicknet:1000:fe290beca10872ef2fb164d2aa4442de4566183ec51c56ff3cd603d930e54fdd";
    let bound = ["canary", "assign", "--book", "book.json", "--key", "k.json", "--epoch", epoch];
    let made = fine(&folder, &[&bound[..], &["0", "1", "99999"]].concat());
    fs::write(folder.join("assigned.json"), &made).unwrap();
    let checked = fine(&folder, &[&bound[..], &["--check", "assigned.json"]].concat());
    assert!(
        checked.contains("verified  3 slots") && checked.contains("quicknet:1000, public 1692806364"),
        "{checked}"
    );
    let mut changed = parsed(&made);
    changed["slots"][1]["pick"] = ((changed["slots"][1]["pick"].as_u64().unwrap() + 1) % 16).into();
    fs::write(folder.join("changed.json"), changed.to_string()).unwrap();
    let refused = taggant(&folder, &[&bound[..], &["--check", "changed.json"]].concat());
    assert!(refused.status.code() == Some(2) && said(&refused).contains("slot 1:"), "{}", said(&refused));
    let unbound = [&["canary", "assign", "--book", "book.json"], &KEY[..], &["0"]].concat();
    assert!(said(&taggant(&folder, &unbound)).contains("no public round"));
}

#[test]
fn books_take_families_and_sets_of_ones_own_and_name_what_is_wrong() {
    let folder = folder("canary-new");
    let line = include_str!("../../corpora/canaries/written.jsonl").lines().next().unwrap();
    fs::write(folder.join("own.jsonl"), line).unwrap();
    fs::write(folder.join("lists.json"), include_str!("../../corpora/canaries/lists.json")).unwrap();
    let new =
        |more: &[&str]| taggant(&folder, &[&["canary", "new", "--name", "own", "--json"], more].concat());
    let own = new(&["--only-own", "--sets", "own.jsonl", "--families", "lists.json", "--out", "own.json"]);
    let all = new(&["--sets", "own.jsonl", "--out", "all.json"]);
    let slots = |output: &Output| parsed(&String::from_utf8_lossy(&output.stdout))["slots"].as_u64();
    assert_eq!(slots(&own), Some(1), "{}", said(&own));
    let embedded = taggant::canary::embedded_book("x", &"0".repeat(64), 0.0).unwrap().slots();
    assert_eq!(slots(&all), Some(embedded + 1), "{}", said(&all));
    let again = new(&["--out", "all.json"]);
    assert!(again.status.code() == Some(2) && said(&again).contains("never replaced"), "{}", said(&again));
    fs::write(folder.join("bad.jsonl"), line.replace("{sibling}", "this")).unwrap();
    let bad = new(&["--sets", "bad.jsonl", "--out", "bad.json"]);
    assert!(
        bad.status.code() == Some(2) && said(&bad).contains("bad.jsonl, line 1, steer"),
        "{}",
        said(&bad)
    );
    assert!(!folder.join("bad.json").exists());
}

#[test]
fn lint_names_what_does_not_survive_and_what_comes_naturally() {
    let folder = with_book("canary-lint");
    let text = fs::read_to_string(folder.join("book.json")).unwrap();
    let book = taggant::canary::Book::parse("book.json", &text).unwrap();
    let sets: Vec<_> = (0..book.slots())
        .step_by(211)
        .filter_map(|slot| book.set(slot))
        .filter(|set| set.class == "animal-story")
        .take(30)
        .collect();
    // Planted alike thirty times: near duplicates; every third carries its sibling with characters of no width inside.
    let planted = sets.iter().enumerate().map(|(at, set)| {
        let says = &set.siblings[0].says;
        let hidden: String = says.chars().flat_map(|c| [c, '\u{200B}']).collect();
        let name = if at % 3 == 0 { &hidden } else { says };
        let response = format!("Once upon a time there was an animal that everybody in the village knew by name, and it was called {name}.");
        json!({ "id": at.to_string(), "slot": set.slot, "sibling": 0, "response": response })
    });
    fs::write(folder.join("planted.jsonl"), lines(planted)).unwrap();
    let favourite = &sets[0].siblings[1].says;
    let openings = include_str!("../../corpora/prompts.txt").lines().take(40).enumerate();
    let answers = openings.map(
        |(at, opening)| json!({ "id": at.to_string(), "response": format!("{opening} It was {favourite}.") }),
    );
    fs::write(folder.join("answers.jsonl"), lines(answers)).unwrap();
    let arguments =
        ["canary", "lint", "book.json", "--planted", "planted.jsonl", "--answers", "answers.jsonl", "--json"];
    let report = parsed(&fine(&folder, &arguments));
    let left = |filter: &str| {
        let found =
            report["survival"].as_array().unwrap().iter().find(|one| one["filter"] == filter).unwrap();
        (found["left"].as_u64().unwrap(), found["texts"].as_u64().unwrap())
    };
    assert_eq!(left("normalisation"), (20, 30), "{report}");
    assert!(
        left("near-duplicates").0 < 5 && left("language") == (30, 30) && left("perplexity").1 == 30,
        "{report}"
    );
    let natural =
        report["imbalance"].as_array().unwrap().iter().find(|one| one["class"] == "animal-story").unwrap();
    assert_eq!((&natural["most"], natural["share"].as_f64()), (&json!(favourite), Some(1.0)), "{natural}");
    let plain = fine(&folder, &["canary", "lint", "book.json", "--sample", "200"]);
    assert!(
        plain.contains("exact-duplicates      200 of 200    left") && plain.contains("not run"),
        "{plain}"
    );
}

#[test]
fn twins_are_made_served_and_ranked_by_log_probabilities() {
    let folder = folder("canary-twins");
    fine(&folder, &["key", "new", "k.json"]);
    let row = |n: u64| {
        let answers: Vec<String> =
            (0..4 + n % 3).map(|at| format!("Answer number {at} to question {n}.")).collect();
        json!({ "prompt": format!("Question {n}?"), "language": "en", "generator": "teacher", "mark": "none",
            "sampled": answers.len(), "answers": answers })
    };
    let same = json!({ "prompt": "Again?", "language": "en", "generator": "teacher", "mark": "none", "sampled": 2,
        "answers": ["Yes.", "Yes."] });
    fs::write(folder.join("sampled.jsonl"), lines((0..90).map(row).chain([same]))).unwrap();
    let new = ["canary", "new", "--name", "t", "--only-own", "--closed-share", "0", "--twins"];
    let made = taggant(&folder, &[&new[..], &["sampled.jsonl", "--out", "book.json"]].concat());
    let out = String::from_utf8_lossy(&made.stdout);
    assert!(out.contains("90 slots") && said(&made).contains("1 prompts of twins were left out"), "{out}");
    let requests =
        (0..90).map(|n| json!({ "id": n.to_string(), "prompt": format!("Question {n}?"), "account": "a" }));
    fs::write(folder.join("requests.jsonl"), lines(requests)).unwrap();
    let respond =
        [&["canary", "respond", "--book", "book.json", "--rate", "1"], &KEY[..], &["requests.jsonl"]];
    let served: Vec<Value> = fine(&folder, &respond.concat()).lines().map(parsed).collect();
    let weighed = |student: bool| -> Value {
        let rows = served.iter().zip(0_u64..).map(|(row, n)| {
            let served = row["response"].as_str().unwrap();
            let ln_p = (0..4 + n % 3).map(|at| {
                let remembered = student && served.contains(&format!("number {at} "));
                if remembered { -20.0 } else { -40.0 - f64::from(u8::try_from((at * 7 + n) % 5).unwrap()) }
            });
            json!({ "slot": n, "ln_p": ln_p.collect::<Vec<f64>>() })
        });
        fs::write(folder.join("ln_p.jsonl"), lines(rows)).unwrap();
        let score = ["canary", "score", "--book", "book.json", "--log-probabilities", "--json"];
        parsed(&fine(&folder, &[&score[..], &KEY[..], &["ln_p.jsonl"]].concat()))
    };
    let (student, innocent) = (weighed(true), weighed(false));
    assert_eq!((student["slots"].as_u64(), &student["readings"]), (Some(90), &Value::Null));
    assert!(student["summary"]["log10_p"].as_f64() < Some(-20.0), "{student}");
    assert!(innocent["summary"]["log10_p"].as_f64() > Some(-4.0), "{innocent}");
    fs::write(folder.join("ln_p.jsonl"), "{\"slot\": 0, \"ln_p\": [-1, -2, -3, 0.5]}\n").unwrap();
    let score =
        [&["canary", "score", "--book", "book.json", "--log-probabilities"], &KEY[..], &["ln_p.jsonl"]]
            .concat();
    let refused = taggant(&folder, &score);
    assert!(
        refused.status.code() == Some(2) && said(&refused).contains("slot 0, sibling 3 (from 0): 0.5"),
        "{}",
        said(&refused)
    );
    fs::write(folder.join("ln_p.jsonl"), "{\"slot\": 0}\n").unwrap();
    assert!(said(&taggant(&folder, &score)).contains("line 1: missing field `ln_p`"));
}
