//! Calibration of models at hand, and the table that is written of it.

use std::fs;

use serde_json::Value;

use super::run::{fine, folder, parsed, said, taggant};

const SPEC: [&str; 3] = ["calibrate", "--spec", "green/1/w1/b2/t1"];

fn calibrated(name: &str, arguments: &[&str]) -> Value {
    let folder = folder(name);
    parsed(&fine(&folder, &[&SPEC[..], &["--keys", "200", "--answers", "40", "--json"], arguments].concat()))
}

#[test]
fn a_model_at_hand_is_asked_and_every_statistic_of_its_distributions_keeps_its_level() {
    for (statistic, options) in [
        ("argmax", &["--statistic", "argmax"][..]),
        ("mass", &["--statistic", "mass"]),
        ("residual", &["--reference", "embedded"]),
        ("residual", &["--reference", "embedded", "--top-k", "20"]),
    ] {
        let access = ["--model", "student", "--access", "distributions"];
        let found = calibrated("models", &[&access, options].concat());
        assert_eq!((&found["statistic"], &found["valid"]), (&statistic.into(), &true.into()), "{found}");
        let innocent = &found["innocents"][0];
        assert!(innocent["scored"].as_u64() > Some(30), "{innocent}");
        for level in innocent["levels"].as_array().unwrap() {
            assert!(level["attainable"].as_f64() <= level["level"].as_f64(), "{level}");
        }
    }
}

#[test]
fn a_model_reads_what_is_marked_under_each_key_and_is_not_accused() {
    let found = calibrated("reads", &["--model", "student", "--reads", "--documents", "2"]);
    assert_eq!((&found["statistic"], &found["valid"]), (&"reading".into(), &true.into()), "{found}");
    assert!(found["innocents"][0]["sd_z"].as_f64().is_some_and(|sd| (0.7..1.4).contains(&sd)), "{found}");
    let folder = folder("reads no file");
    let refused = taggant(&folder, &[&SPEC[..], &["--reads", "rows.jsonl"]].concat());
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("only a model reads"), "{}", said(&refused));
}

#[test]
fn a_rate_is_held_against_what_two_hundred_coins_can_attain() {
    let folder = folder("coins");
    fs::write(folder.join("coins.jsonl"), include_str!("calibrate.in/line-up/coins.jsonl")).unwrap();
    let arguments = ["calibrate", "--spec", "green/1/w1/b1/t1", "--keys", "20000", "--json", "coins.jsonl"];
    let found = parsed(&fine(&folder, &arguments));
    let level = &found["innocents"][0]["levels"][2];
    // Σ_{k ≥ 123} C(200, k) / 2²⁰⁰. The nominal level, in a table of five cells, would let 38 of 20,000 pass.
    assert!((level["attainable"].as_f64().unwrap() - 7.008_452_893e-4).abs() < 1e-9, "{level}");
    assert_eq!(level["limit"], 29, "{level}");
}

#[test]
fn the_table_names_each_innocent_and_who_stands_out_under_the_real_key() {
    let folder = folder("line-up");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("key.json", include_str!("score.in/key.json"));
    write("marked.jsonl", include_str!("score.in/marked.jsonl"));
    write("small.jsonl", include_str!("calibrate.in/rows.jsonl"));
    let manifest = "{\"name\": \"<who> & co\", \"file\": \"small.jsonl\", \"released\": \"2024-05-01\"}\n\
                    {\"name\": \"no innocent\", \"file\": \"marked.jsonl\", \"released\": \"2026-11-01\"}\n";
    write("manifest.jsonl", manifest);
    let real = [
        "--key",
        "key.json",
        "--key-permissions",
        "mounted",
        "--epoch",
        "2026-q4",
        "--served-since",
        "2026-10-01",
    ];
    let line_up = ["--keys", "200", "--line-up", ".", "--out", "table", "--json"];
    let printed = parsed(&fine(&folder, &[&SPEC[..], &line_up, &real].concat()));
    let written = parsed(&fs::read_to_string(folder.join("table/known-error-rate.json")).unwrap());
    assert_eq!(printed, written);
    let real = |at: usize, field: &str| written["innocents"][at]["real"][field].clone();
    assert_eq!((real(0, "stands_out"), real(0, "predates_key")), (false.into(), true.into()));
    assert_eq!((real(1, "stands_out"), real(1, "predates_key")), (true.into(), false.into()));
    assert_eq!(written["cells"], 14);
    let page = fs::read_to_string(folder.join("table/known-error-rate.html")).unwrap();
    for part in ["&lt;who&gt; &amp; co", "not before the key marked", "stands out", "<svg", "not the luck of"]
    {
        assert!(page.contains(part), "{part}");
    }
    for innocent in written["innocents"].as_array().unwrap() {
        assert!(page.contains(innocent["sha256"].as_str().unwrap()));
    }
    for outside in ["http://", "https://", "<script", "NaN", "inf"] {
        assert!(!page.replace("http://www.w3.org/2000/svg", "").contains(outside), "{outside}");
    }
}

#[test]
fn published_tests_stand_beside_a_residual_over_the_same_rows() {
    let folder = folder("baselines");
    fs::write(folder.join("key.json"), include_str!("score.in/key.json")).unwrap();
    fs::write(folder.join("whole.jsonl"), include_str!("calibrate.in/whole.jsonl")).unwrap();
    let mark =
        ["--key", "key.json", "--key-permissions", "mounted", "--epoch", "e", "--spec", "green/1/w1/b2/t1"];
    let rows = ["--access", "distributions", "--statistic", "mass", "--baselines", "--json", "whole.jsonl"];
    let found = parsed(&fine(&folder, &[&["score"], &mark[..], &rows].concat()));
    let [argmax, exact, bound] = [0, 1, 2].map(|at| &found["baselines"][at]);
    // Rows are scored by what the exact-variance baseline is: the two are one number.
    assert_eq!((&exact["ln_p"], &exact["z"]), (&found["ln_p"], &found["z"]), "{found}");
    assert_eq!((&argmax["scored"], &bound["z"]), (&6.into(), &Value::Null), "{found}");
    assert!(bound["ln_p"].as_f64() > exact["ln_p"].as_f64(), "a bound knows less: {found}");
}
