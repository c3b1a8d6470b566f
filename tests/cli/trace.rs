//! `taggant trace` over innocent text: whom it names, and whom it would name without the correction.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use taggant::stat::Rate;
use taggant::stat::multiple::binomial_upper_limit;

use crate::run::{folder, lines, parsed, program, said};

const KEYS: u64 = 120;

/// Innocent text whose tokens follow each other as in a language of few words, repetitive.
fn innocent(folder: &Path) {
    let mut state = 5_u64;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut answer = |id: u64| {
        let tokens: Vec<u64> = (0..80).map(|_| below(60).min(below(60))).collect();
        json!({ "id": id.to_string(), "prompt_tokens": [id], "response_tokens": tokens })
    };
    let mut rows: Vec<Value> = (0..12).map(&mut answer).collect();
    let again: Vec<Value> = (0..4)
        .map(|at| json!({ "id": format!("{at} again"), "response_tokens": rows[at]["response_tokens"] }))
        .collect();
    rows.extend(again);
    fs::write(folder.join("leaked.jsonl"), lines(rows.into_iter())).unwrap();
    let tenants: Vec<String> = (0..1_000).map(|n| format!("tenant {n}")).collect();
    fs::write(folder.join("tenants.txt"), tenants.join("\n")).unwrap();
}

/// What the command says under each of many keys that marked nothing.
fn under_keys(folder: &Path, candidates: [&str; 4]) -> Vec<Value> {
    let traced = |key: u64| {
        let mut command = program(folder);
        command.args(["trace", "--key", "env:TAGGANT_TEST_KEY", "--epoch", "e", "--level", "0.1", "--json"]);
        command.args(candidates).arg("leaked.jsonl");
        command.env("TAGGANT_TEST_KEY", format!("{key:016x}").repeat(4));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        parsed(&String::from_utf8(output.stdout).unwrap())
    };
    (1..=KEYS).map(traced).collect()
}

#[test]
fn nobody_innocent_is_named_more_often_than_the_level_says_although_the_nearest_always_looks_good() {
    let folder = folder("trace");
    innocent(&folder);
    for candidates in [
        ["--spec", "payload/1/w1", "--accounts", "0-999"],
        ["--spec", "green/1/w1/b1/t1", "--tenants", "tenants.txt"],
    ] {
        let found = under_keys(&folder, candidates);
        let count =
            |rejects: &dyn Fn(&Value) -> bool| found.iter().filter(|report| rejects(report)).count() as u64;
        let nearest = |report: &Value, field: &str| report["nearest"][0][field].as_f64().unwrap();
        let limit = |one_in| binomial_upper_limit(KEYS, Rate::new(1, one_in).unwrap(), 0.999);
        let named = count(&|report| !report["named"].as_array().unwrap().is_empty());
        assert_eq!(named, count(&|report| nearest(report, "adjusted_log10_p") <= -1.0));
        assert!(named <= limit(10), "{candidates:?}: {named} of {KEYS} texts name somebody at 1 in 10");
        let rarely = count(&|report| nearest(report, "adjusted_log10_p") <= -2.0);
        assert!(rarely <= limit(100), "{candidates:?}: {rarely} of {KEYS} at 1 in 100");
        // The wrong way: the nearest candidate, believed for its own p.
        let believed = count(&|report| nearest(report, "log10_p") <= -2.0);
        assert!(believed > KEYS / 2 && believed > limit(100), "{candidates:?}: {believed} of {KEYS}");
        assert!(
            found.iter().all(|report| report["candidates"] == 1_000 && report["schema"] == "taggant/trace/1")
        );
    }
}
