//! The demo at a fifth of its size: evidence in the marked student, none in the others, a bundle that verifies and
//! that a flipped byte breaks. Verdicts are asserted with room, never digits: model arithmetic differs between machines.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may stop where it stands")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

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
