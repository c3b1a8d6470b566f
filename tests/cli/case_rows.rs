//! Distributions as evidence: a plan says where they are due, a suspect gives them as rows, anybody checks the bundle.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use taggant::case::material::Answer;
use taggant::case::plan::{documents_sha256, prompts_sha256};
use taggant::scheme::{Scheme, Spec};
use taggant::source::model::weights_sha256;
use taggant::source::reference::Reference;

use crate::run::{fine, folder, lines, parsed, said, taggant};

const SPEC: &str = "green/1/w1/b2/t1";
const SERVED: &str = "2026-q4";
const KEY: [&str; 4] = ["--key", "k.json", "--key-permissions", "mounted"];
const TEST: [&str; 3] = ["--genesis", "genesis.json", "sealed.json"];

fn answers(text: &str) -> Vec<Answer> {
    let tokens = |row: &Value, field: &str| serde_json::from_value(row[field].clone()).unwrap();
    let answer = |row: Value| Answer {
        prompt: tokens(&row, "prompt_tokens"),
        response: tokens(&row, "response_tokens"),
    };
    text.lines().map(|line| answer(parsed(line))).collect()
}

/// Key, genesis, answers, marked documents, and a sealed plan over them.
fn planned(name: &str) -> PathBuf {
    let folder = folder(name);
    let write = |file: &str, text: &str| fs::write(folder.join(file), text).unwrap();
    write("k.json", include_str!("score.in/key.json"));
    write("tokenizer.json", "{}");
    let openings = include_str!("../../corpora/prompts.txt").lines().take(40).enumerate();
    write("prompts.jsonl", &lines(openings.map(|(id, opening)| json!({ "id": id, "prompt": opening }))));
    let epochs =
        ["--epoch", SERVED, "--spec", SPEC, "--out", "genesis.json", "--tokenizer", "tokenizer.json"];
    fine(&folder, &[&["key", "genesis"], &KEY[..], &epochs].concat());
    let generate =
        [&["generate"], &KEY[..], &["--epoch", SERVED, "--spec", SPEC, "--max-tokens", "30"]].concat();
    let unmarked = fine(&folder, &[&generate[..], &["--unmarked", "prompts.jsonl"]].concat());
    write("answers.jsonl", &unmarked);
    let marked = fine(&folder, &[&generate[..], &["prompts.jsonl"]].concat());
    let documents = marked.lines().take(8).collect::<Vec<_>>().join("\n");
    write("documents.jsonl", &documents);
    write("plan.json", &plan(&folder, &answers(&unmarked), &answers(&documents)).to_string());
    fine(&folder, &["plan", "seal", "plan.json", "--genesis", "genesis.json", "--out", "sealed.json"]);
    folder
}

fn plan(folder: &Path, answers: &[Answer], documents: &[Answer]) -> Value {
    let mut plan = parsed(include_str!("../../corpora/canaries/plan.json"));
    let genesis = parsed(&fs::read_to_string(folder.join("genesis.json")).unwrap());
    for (field, of_genesis) in
        [("key_id", "key_id"), ("tokenizer_sha256", "tokenizer_sha256"), ("genesis_root", "root")]
    {
        plan[field] = genesis[of_genesis].clone();
    }
    plan["statistic_sha256"] = fine(folder, &["plan", "version"]).split_whitespace().nth(1).unwrap().into();
    let test = |suspect: &str, access: &str, statistic: &str, sources: &[&str]| {
        json!({ "name": format!("{suspect}/{access}"), "suspect": suspect, "role": suspect, "access": access,
                "statistic": statistic, "sources": sources,
                "keys": [{ "epoch": SERVED, "mark": SPEC, "weight": 1 }] })
    };
    plan["tests"] = json!([
        test("suspect", "distributions", "residual", &["teacher"]),
        test("suspect", "reading", "reading-mass", &[]),
        test("innocent", "distributions", "residual", &["teacher"]),
        test("innocent", "reading", "reading-mass", &[]),
    ]);
    let prompts: Vec<Vec<u32>> = answers.iter().map(|answer| answer.prompt.clone()).collect();
    plan["pool"] = json!({
        "prompts": prompts.len(), "sha256": prompts_sha256(&prompts), "provenance": "fresh", "answer_tokens": 30,
        "beacon": { "value": null, "reason": "all prompts are used" },
        "contexts": { "value": "one-an-answer" }, "rows": { "value": "whole" }, "documents": { "value": documents_sha256(documents) },
    });
    plan["first_served"] = json!([{ "epoch": SERVED, "time": { "value": "2026-10-01T00:00:00Z" } }]);
    let weights: String =
        weights_sha256("embedded").unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    plan["sources"] = json!([{ "name": "teacher", "sha256": weights, "independent": "unmarked-teacher", "keys": [],
                               "created": { "value": null, "reason": "it travels with the program" } }]);
    plan["reference"] = json!({ "value": "teacher" });
    for absent in ["canaries", "matchers"] {
        plan[absent] = json!({ "value": null, "reason": "no canaries" });
    }
    plan
}

fn scheme() -> Scheme {
    let key = taggant::key::KeyFile::from_json(include_str!("score.in/key.json")).unwrap();
    SPEC.parse::<Spec>().unwrap().open(&key.secret.epoch_key(&SERVED.parse().unwrap()))
}

/// What is asked, with what a model says there: the student, or one that likes green tokens four times as much.
fn answered(asked: &str, learned: bool) -> Vec<Value> {
    let (model, scheme) = (Reference::open(&["student".to_owned()]).unwrap(), scheme());
    let arm = &scheme.arms()[0];
    let row = |mut row: Value| {
        let [prompt, before] = ["prompt_tokens", "response_tokens"]
            .map(|field| serde_json::from_value::<Vec<u32>>(row[field].clone()).unwrap());
        let all = model.rows(&prompt, &[&before[..], &[0]].concat()).unwrap();
        let mut q = all[before.len() * model.vocabulary()..].to_vec();
        if learned {
            let seed = arm.seed(&[*before.last().or(prompt.last()).unwrap()]);
            (0..)
                .zip(&mut q)
                .for_each(|(token, q)| *q *= if arm.word(&seed, token) == 1 { 4.0 } else { 1.0 });
            let total: f32 = q.iter().sum();
            q.iter_mut().for_each(|q| *q /= total);
        }
        row["q"] = json!(q);
        row
    };
    asked.lines().map(|line| row(parsed(line))).collect()
}

#[test]
fn a_plan_is_run_over_rows_from_files() {
    let folder = planned("case-rows");
    let contexts = fine(&folder, &["plan", "contexts", "sealed.json", "--answers", "answers.jsonl"]);
    let documents = fine(&folder, &["plan", "documents", "sealed.json", "--documents", "documents.jsonl"]);
    assert!((30..=40).contains(&contexts.lines().count()) && documents.lines().count() > 30, "{documents}");
    let write =
        |file: &str, rows: &[Value]| fs::write(folder.join(file), lines(rows.iter().cloned())).unwrap();
    let rows: BTreeMap<&str, [Vec<Value>; 2]> = [("suspect", true), ("innocent", false)]
        .map(|(name, learned)| (name, [&contexts, &documents].map(|asked| answered(asked, learned))))
        .into();
    for (name, [rows, readings]) in &rows {
        write(&format!("{name}-rows.jsonl"), rows);
        write(&format!("{name}-readings.jsonl"), readings);
    }
    let of = |name: &str| {
        let given = |option: &str, file: &str| [option.to_owned(), format!("{name}={file}")];
        let rows = [format!("{name}-rows.jsonl"), format!("{name}-readings.jsonl")];
        [given("--answers", "answers.jsonl"), given("--rows", &rows[0]), given("--readings", &rows[1])]
            .concat()
    };
    let given = [of("suspect"), of("innocent")].concat();
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let beside =
        ["--reference", "embedded", "--documents", "documents.jsonl", "--bundle", "bundle.json", "--json"];
    let found = taggant(&folder, &[&["test"], &KEY[..], &TEST, &given, &beside].concat());
    assert_eq!(found.status.code(), Some(0), "{}", said(&found));
    let found = parsed(&String::from_utf8(found.stdout).unwrap());
    let log10_p: Vec<f64> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["log10_p"].as_f64().unwrap())
        .collect();
    assert!(log10_p[0] < -20.0 && log10_p[1] < -3.0, "{log10_p:?}");
    assert!(log10_p[2] > -3.0 && log10_p[3] > -3.0, "{log10_p:?}");
    let check = ["case", "check", "bundle.json", "--genesis", "genesis.json", "--seal", "sealed.json"];
    assert!(fine(&folder, &check).contains("verified"));

    // What is left out, exchanged or no distribution is named.
    let refused = |file: &str, rows: Vec<Value>, parts: &[&str]| {
        write(file, &rows);
        let given =
            ["--answers", "suspect=answers.jsonl", "--rows", "suspect=bad.jsonl", "--reference", "embedded"];
        let output = taggant(&folder, &[&["test"], &KEY[..], &TEST, &given].concat());
        let said = said(&output);
        assert!(output.status.code() == Some(2) && parts.iter().all(|part| said.contains(part)), "{said}");
    };
    let good = &rows["suspect"][0];
    let changed = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut rows = good.clone();
        change(&mut rows);
        rows
    };
    refused("bad.jsonl", changed(&|rows| drop(rows.pop())), &["bad.jsonl", "are due", "plan contexts"]);
    refused("bad.jsonl", changed(&|rows| rows.swap(0, 1)), &["bad.jsonl, line 1, field \"prompt_tokens\""]);
    refused(
        "bad.jsonl",
        changed(&|rows| rows[2]["q"] = json!([0.5, 0.5])),
        &["line 3, field \"q\"", "another number"],
    );
    refused(
        "bad.jsonl",
        changed(&|rows| rows[3]["q"] = json!("x")),
        &["bad.jsonl, line 4, field \"q\"", "base64"],
    );
    refused(
        "bad.jsonl",
        changed(&|rows| rows[4]["q"] = Value::Null),
        &["bad.jsonl, line 5, field \"q\": is missing"],
    );
    let small = |rows: &mut Vec<Value>| rows.iter_mut().for_each(|row| row["q"] = json!([0.5, 0.5]));
    refused("bad.jsonl", changed(&small), &["suspect=bad.jsonl", "vocabularies differ"]);

    for (arguments, part) in [
        (&["plan", "contexts", "sealed.json", "--answers", "documents.jsonl"][..], "plan's pool"),
        (&["plan", "documents", "sealed.json", "--documents", "answers.jsonl"], "commits to"),
    ] {
        let output = taggant(&folder, arguments);
        assert!(output.status.code() == Some(2) && said(&output).contains(part), "{}", said(&output));
    }
    let alone =
        taggant(&folder, &[&["test"], &KEY[..], &TEST, &["--rows", "suspect=suspect-rows.jsonl"]].concat());
    assert!(said(&alone).contains("--answers suspect=FILE"), "{}", said(&alone));
    likeliest_tokens(&folder, &rows);
}

/// The same in the 20 likeliest tokens, which another plan asks for.
fn likeliest_tokens(folder: &Path, rows: &BTreeMap<&str, [Vec<Value>; 2]>) {
    let mut plan = parsed(&fs::read_to_string(folder.join("plan.json")).unwrap());
    plan["pool"]["rows"] = json!({ "value": { "top": 20 } });
    plan["tests"].as_array_mut().unwrap().retain(|test| test["access"] == "distributions");
    fs::write(folder.join("top.json"), plan.to_string()).unwrap();
    fine(folder, &["plan", "seal", "top.json", "--genesis", "genesis.json", "--out", "top-sealed.json"]);
    let likeliest = |row: &Value, most: usize| {
        let mut row = row.clone();
        let q: Vec<f64> = serde_json::from_value(row["q"].take()).unwrap();
        let mut tokens: Vec<usize> = (0..q.len()).collect();
        tokens.sort_by(|a, b| q[*b].total_cmp(&q[*a]));
        row["q"] = tokens[..most].iter().map(|token| json!([token, q[*token]])).collect();
        row
    };
    let tested = |most: usize| {
        for (name, [rows, _]) in rows {
            let rows = rows.iter().map(|row| likeliest(row, most));
            fs::write(folder.join(format!("{name}-top.jsonl")), lines(rows)).unwrap();
        }
        let of = ["--answers", "suspect=answers.jsonl", "--rows", "suspect=suspect-top.jsonl", "--answers"];
        let given =
            ["innocent=answers.jsonl", "--rows", "innocent=innocent-top.jsonl", "--reference", "embedded"];
        let rest = ["--json", "--genesis", "genesis.json", "top-sealed.json"];
        taggant(folder, &[&["test"], &KEY[..], &of, &given, &rest].concat())
    };
    let found = tested(20);
    assert_eq!(found.status.code(), Some(0), "{}", said(&found));
    let found = parsed(&String::from_utf8(found.stdout).unwrap());
    let log10_p = [0, 1].map(|at: usize| found["findings"][at]["log10_p"].as_f64().unwrap());
    assert!(log10_p[0] < -8.0 && log10_p[1] > -3.0, "{log10_p:?}");
    let long = tested(21);
    assert!(said(&long).contains("holds 21 tokens, and the plan asks for 20 at most"), "{}", said(&long));
}
