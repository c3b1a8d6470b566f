//! The demo at a fifth of its size: evidence in the marked student, none in the others, a bundle that verifies and
//! that a flipped byte breaks. Verdicts are asserted with room, never digits: model arithmetic differs between machines.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may stop where it stands")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use sha2::{Digest, Sha256};
use taggant::case::plan::prompts_sha256;

fn taggant(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_taggant")).args(arguments).output().unwrap()
}

/// Checks a bundle beside the genesis and the sealed plan that lie in its folder, or by itself.
fn check(bundle: &Path, outside: bool) -> (Option<i32>, String) {
    let beside = |name: &str| bundle.with_file_name(name).to_str().unwrap().to_owned();
    let (genesis, plan) = (beside("genesis.json"), beside("plan.json"));
    let mut arguments = vec!["case", "check", bundle.to_str().unwrap()];
    if outside {
        arguments.extend(["--genesis", &genesis, "--seal", &plan]);
    }
    let output = taggant(&arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn of<'a>(lines: &'a Value, name: &str, access: &str) -> &'a Value {
    lines.as_array().unwrap().iter().find(|line| line["name"] == name && line["access"] == access).unwrap()
}

#[test]
fn the_marked_student_is_found_and_nobody_else() {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("demo");
    let _ = fs::remove_dir_all(&out);
    let output =
        taggant(&["demo", "--tokens", "20000", "--seed", "7", "--json", "--out", out.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let suspects = &result["suspects"];
    let student = of(suspects, "student", "distributions");
    assert_eq!(student["verdict"], "evidence-found", "{student}");
    assert!(student["ln_p"].as_f64().unwrap() < -20.0 && student["ln_e"].as_f64().unwrap() > 14.0);
    for access in ["text", "distributions"] {
        for name in ["control", "wrong key"] {
            assert_ne!(of(suspects, name, access)["verdict"], "evidence-found", "{name} {access}");
        }
        assert_ne!(of(&result["innocents"], "student's base", access)["verdict"], "evidence-found");
    }

    let bundle = PathBuf::from(result["bundle"].as_str().unwrap());
    let (code, verified) = check(&bundle, true);
    assert_eq!(code, Some(0), "{verified}");
    let (code, alone) = check(&bundle, false);
    assert_eq!(code, Some(3), "{alone}");
    assert!(alone.contains("unchecked  genesis") && alone.contains("unchecked  seal"), "{alone}");
    let report = fs::read_to_string(result["report"].as_str().unwrap()).unwrap();
    assert!(report.contains("evidence found") && report.contains("<svg") && !report.contains("<script"));

    let mut bytes = fs::read(&bundle).unwrap();
    let at = String::from_utf8_lossy(&bytes).find("\"response\":[").unwrap() + 12;
    bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
    let broken = out.join("broken.json");
    fs::write(&broken, &bytes).unwrap();
    let (code, said) = check(&broken, true);
    assert_eq!(code, Some(1));
    assert!(said.contains("FAILED     material/0") && said.contains("FAILED     analysis"), "{said}");
}

#[test]
fn a_sealed_plan_gives_its_verdict_as_an_exit_code() {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("demo-test");
    let _ = fs::remove_dir_all(&out);
    let demo = taggant(&["demo", "--tokens", "4000", "--out", out.to_str().unwrap()]);
    assert!(demo.status.success(), "{}", String::from_utf8_lossy(&demo.stderr));
    let path = |name: &str| out.join(name).to_str().unwrap().to_owned();
    // A changed plan is not the sealed plan.
    let plan = fs::read_to_string(path("plan.json")).unwrap();
    fs::write(path("changed.json"), plan.replacen("1e-6", "1e-2", 1).replacen("0.000001", "0.01", 1))
        .unwrap();
    let wrong_key = format!("command:echo {}", "ab".repeat(32));
    let arguments = |plan: &str| {
        [
            "test",
            "--key",
            &wrong_key,
            "--genesis",
            &path("genesis.json"),
            "--material",
            &path("bundle.json"),
            plan,
        ]
        .map(str::to_owned)
    };
    let run = |plan: &str| {
        let arguments = arguments(plan);
        taggant(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let changed = run(&path("changed.json"));
    assert_eq!(changed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&changed.stderr).contains("not the one that was sealed"));
    let stranger = run(&path("plan.json"));
    assert_eq!(stranger.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&stranger.stderr).contains("belongs to key"));
}

/// A plan of one's own, after the demo's: text beside a reference, from a key file to an exit code.
#[test]
fn text_beside_the_planned_reference_gives_a_verdict() {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("beside");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).unwrap();
    let path = |name: &str| out.join(name).to_str().unwrap().to_owned();
    let run = |arguments: &[&str]| {
        let arguments: Vec<String> = arguments.iter().map(|part| part.replace("OUT/", &path(""))).collect();
        taggant(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let done = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    done(&["demo", "--tokens", "4000", "--out", "OUT/demo"]);
    done(&["key", "new", "OUT/k.json"]);
    let spec = "green/1/w1/b2/t1";
    let tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/corpora/tokenizer.json");
    let mark = ["--key", "OUT/k.json", "--epoch", "e", "--spec", spec];
    done(&[&["key", "genesis", "--tokenizer", tokenizer, "--out", "OUT/genesis.json"][..], &mark].concat());
    let prompts = include_str!("../corpora/prompts.txt").lines().take(200).enumerate();
    let rows: Vec<String> = prompts
        .map(|(id, prompt)| serde_json::json!({ "id": id.to_string(), "prompt": prompt }).to_string())
        .collect();
    fs::write(path("prompts.jsonl"), rows.join("\n")).unwrap();
    let generate = |more: &[&str]| done(&[&["generate"], &mark[..], more, &["OUT/prompts.jsonl"]].concat());
    fs::write(path("marked.jsonl"), generate(&[])).unwrap();
    fs::write(path("plain.jsonl"), generate(&["--unmarked", "--seed", "1"])).unwrap();

    fs::write(path("plan.json"), own_plan(&out).to_string()).unwrap();
    done(&["plan", "seal", "OUT/plan.json", "--genesis", "OUT/genesis.json", "--out", "OUT/sealed.json"]);
    let test = |more: &[&str]| {
        let answers = ["--answers", "suspect=OUT/marked.jsonl", "--answers", "innocent=OUT/plain.jsonl"];
        let key = ["test", "--key", "OUT/k.json", "--genesis", "OUT/genesis.json", "--json"];
        run(&[&key[..], &answers, more, &["OUT/sealed.json"]].concat())
    };
    let found = test(&["--reference", "embedded", "--bundle", "OUT/bundle.json"]);
    let said = String::from_utf8_lossy(&found.stdout).into_owned() + &String::from_utf8_lossy(&found.stderr);
    assert_eq!(found.status.code(), Some(0), "{said}");
    let missing = test(&[]);
    assert!(
        missing.status.code() == Some(2) && String::from_utf8_lossy(&missing.stderr).contains("--reference")
    );
    // Another model, or a mean of several, is not what the plan names.
    let other = test(&["--reference", "embedded", "--reference", "embedded"]);
    assert!(other.status.code() == Some(2) && String::from_utf8_lossy(&other.stderr).contains("SHA-256"));
    let checked = run(&[
        "case",
        "check",
        "--genesis",
        "OUT/genesis.json",
        "--seal",
        "OUT/sealed.json",
        "OUT/bundle.json",
    ]);
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));

    // The same with windows weighed by how often they occur in unmarked answers; marked ones are refused.
    fs::write(path("traffic.jsonl"), generate(&["--unmarked", "--seed", "2"])).unwrap();
    for (traffic, refused) in
        [("traffic.jsonl", None), ("marked.jsonl", Some("marked under a key that the plan scores"))]
    {
        fs::write(path("plan.json"), exposed(own_plan(&out), &out.join(traffic)).to_string()).unwrap();
        done(&["plan", "seal", "OUT/plan.json", "--genesis", "OUT/genesis.json", "--out", "OUT/sealed.json"]);
        let exposure = format!("OUT/{traffic}");
        let found = test(&["--reference", "embedded", "--exposure", &exposure]);
        let said = String::from_utf8_lossy(&found.stderr);
        assert_eq!(found.status.code(), Some(if refused.is_some() { 2 } else { 0 }), "{said}");
        assert!(said.contains(refused.unwrap_or_default()), "{said}");
    }
    let other = test(&["--reference", "embedded", "--exposure", "OUT/plain.jsonl"]);
    assert!(other.status.code() == Some(2) && String::from_utf8_lossy(&other.stderr).contains("SHA-256"));
    let missing = test(&["--reference", "embedded"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("give it with --exposure"));
}

/// The plan with `traffic` as the source of its exposure.
fn exposed(mut plan: Value, traffic: &Path) -> Value {
    let sha256: String =
        Sha256::digest(fs::read(traffic).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
    let source = serde_json::json!({ "name": "traffic", "sha256": sha256, "independent": "own-work", "keys": [],
        "created": { "value": null, "reason": "a test" } });
    plan["sources"].as_array_mut().unwrap().push(source);
    plan["exposure"] = serde_json::json!({ "value": "traffic" });
    for test in plan["tests"].as_array_mut().unwrap() {
        test["sources"].as_array_mut().unwrap().push("traffic".into());
    }
    plan
}

/// The demo's plan, for one suspect and one innocent, under the key that `out` holds.
fn own_plan(out: &Path) -> Value {
    let json = |name: &str| -> Value { serde_json::from_slice(&fs::read(out.join(name)).unwrap()).unwrap() };
    let genesis = json("genesis.json");
    let mut plan = json("demo/plan.json")["plan"].take();
    let marked = fs::read_to_string(out.join("marked.jsonl")).unwrap();
    let prompt = |line: &str| serde_json::from_str::<Value>(line).unwrap()["prompt_tokens"].take();
    let prompts: Vec<Vec<u32>> =
        marked.lines().map(|line| serde_json::from_value(prompt(line)).unwrap()).collect();
    let source = plan["sources"][0]["name"].clone();
    let test = |name: &str, role: &str| {
        serde_json::json!({ "name": name, "suspect": name, "role": role, "access": "text",
            "statistic": "text-residual", "sources": [source.clone()],
            "keys": [{ "epoch": "e", "mark": "green/1/w1/b2/t1", "weight": 1 }] })
    };
    plan["tests"] = serde_json::json!([test("suspect", "suspect"), test("innocent", "innocent")]);
    plan["first_served"] =
        serde_json::json!([{ "epoch": "e", "time": { "value": null, "reason": "a test" } }]);
    plan["key_id"] = genesis["key_id"].clone();
    plan["genesis_root"] = genesis["root"].clone();
    plan["tokenizer_sha256"] = genesis["tokenizer_sha256"].clone();
    plan["pool"]["prompts"] = prompts.len().into();
    plan["pool"]["sha256"] = serde_json::to_value(prompts_sha256(&prompts)).unwrap();
    plan["pool"]["answer_tokens"] = 10_000.into();
    plan
}
