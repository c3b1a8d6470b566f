//! `taggant score` on text that does not fit into its memory.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Output;

use crate::run::{folder, program, said};

/// Rows of 300 tokens that repeat a little, in two epochs.
fn rows(number: u32) -> Vec<String> {
    let mut state = 1_u64;
    let mut token = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % 97 * ((state >> 50) % 40)
    };
    let row = |id| {
        let mut row =
            format!(r#"{{"id":{id},"epoch":"e{}","prompt_tokens":[{}],"response_tokens":["#, id % 2, token());
        (0..300).for_each(|_| write!(row, "{},", token()).unwrap());
        row.pop();
        row + "]}"
    };
    (0..number).map(row).collect()
}

const GREEN: &str = "green/1/w2/b2/t1";
const MIX: &str = "mix/1/64/green/1/w1/b1/t1/green/1/w2/b1/t1";

fn score_as(spec: &str, folder: &Path, key: char, more: &[&str]) -> Output {
    let mut command = program(folder);
    command.env("TAGGANT_TEST_KEY", key.to_string().repeat(64));
    let arguments = ["score", "--key", "env:TAGGANT_TEST_KEY", "--spec", spec, "--json"];
    command.args(arguments).args(more).output().unwrap()
}

fn score(folder: &Path, key: char, more: &[&str]) -> Output {
    score_as(GREEN, folder, key, more)
}

const OUTSIDE: [&str; 5] = ["--memory", "1MiB", "--scratch", "scratch", "rows.jsonl"];

fn outside(folder: &Path, key: char) -> Output {
    score(folder, key, &OUTSIDE)
}

/// What lies in the one folder under `scratch`, by name.
fn left(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut inside = fs::read_dir(folder.join("scratch")).unwrap();
    let Some(entry) = inside.next() else { return BTreeMap::new() };
    assert!(inside.next().is_none());
    let files = fs::read_dir(entry.unwrap().path()).unwrap().map(Result::unwrap);
    files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
}

#[test]
fn what_does_not_fit_gives_the_same_report_and_leaves_nothing_behind() {
    let folder = folder("same");
    fs::write(folder.join("rows.jsonl"), rows(5_000).join("\n")).unwrap();
    for (spec, statistic) in [(GREEN, "distinct"), (MIX, "root-count")] {
        let more = ["--statistic", statistic];
        let wanted = score_as(spec, &folder, 'a', &[&["rows.jsonl"], &more[..]].concat());
        assert!(wanted.status.success(), "{}", said(&wanted));
        let found = score_as(spec, &folder, 'a', &[&OUTSIDE[..], &more].concat());
        assert!(said(&found).contains("of scratch in scratch"), "{}", said(&found));
        assert_eq!(String::from_utf8_lossy(&found.stdout), String::from_utf8_lossy(&wanted.stdout));
        assert!(left(&folder).is_empty());
    }
}

#[test]
fn an_interrupted_run_goes_on_and_its_scratch_knows_no_key() {
    for spec in [GREEN, MIX] {
        interrupted(spec);
    }
}

fn interrupted(spec: &str) {
    let folder = folder("resume");
    let outside = |folder: &Path, key| score_as(spec, folder, key, &OUTSIDE);
    let file = folder.join("rows.jsonl");
    let mut lines = rows(2_000);
    fs::write(&file, lines.join("\n")).unwrap();
    let wanted = score_as(spec, &folder, 'a', &["rows.jsonl"]).stdout;
    let good = std::mem::replace(&mut lines[1_990], "{".to_owned());
    fs::write(&file, lines.join("\n")).unwrap();
    let stopped = |key| {
        let output = outside(&folder, key);
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains("rows.jsonl, line 1991: not a JSON object"), "{}", said(&output));
        assert!(said(&output).contains("goes on from there"), "{}", said(&output));
        left(&folder)
    };
    let scratch = stopped('a');
    assert!(scratch.len() > 10 && scratch.keys().any(|name| name.ends_with(".run")));
    fs::remove_dir_all(folder.join("scratch")).unwrap();
    assert_eq!(stopped('b'), scratch, "another key, the same files");
    // Mended behind what was read: the run goes on, and a key other than the first one's changes nothing.
    lines[1_990] = good;
    fs::write(&file, lines.join("\n")).unwrap();
    let resumed = outside(&folder, 'a');
    assert!(said(&resumed).contains("going on after row 1"), "{}", said(&resumed));
    assert_eq!(resumed.stdout, wanted);
    assert!(left(&folder).is_empty());
}

#[test]
fn scratch_that_was_changed_or_belongs_to_other_text_is_not_believed() {
    let folder = folder("changed");
    let file = folder.join("rows.jsonl");
    let good = rows(1_500);
    let stop = |lines: &[String]| {
        fs::write(&file, [lines, &["{".to_owned()]].concat().join("\n")).unwrap();
        assert_eq!(outside(&folder, 'a').status.code(), Some(2));
        fs::write(&file, lines.join("\n")).unwrap();
    };
    let inside = |name: &str| {
        let place = fs::read_dir(folder.join("scratch")).unwrap().next().unwrap().unwrap().path();
        place.join(name)
    };
    fs::write(&file, good.join("\n")).unwrap();
    let wanted = score(&folder, 'a', &["rows.jsonl"]).stdout;
    for damage in ["a byte", "the end", "the file", "the manifest"] {
        stop(&good);
        let names: Vec<String> = left(&folder).into_keys().collect();
        let run = inside(names.iter().find(|name| name.ends_with(".run")).unwrap());
        let mut bytes = fs::read(&run).unwrap();
        match damage {
            "a byte" => bytes[100] ^= 1,
            "the end" => drop(bytes.pop()),
            _ => {}
        }
        fs::write(&run, bytes).unwrap();
        match damage {
            "the file" => fs::remove_file(&run).unwrap(),
            "the manifest" => fs::write(inside("manifest.json"), "{").unwrap(),
            _ => {}
        }
        fs::write(inside("half.run.part"), "half").unwrap();
        let found = outside(&folder, 'a');
        assert!(!said(&found).contains("going on"), "{damage}: {}", said(&found));
        assert_eq!(found.stdout, wanted, "{damage}: {}", said(&found));
        assert!(left(&folder).is_empty());
    }
    stop(&good);
    let mut other = good;
    other[3] = other[3].replacen('1', "2", 1);
    fs::write(&file, other.join("\n")).unwrap();
    let found = outside(&folder, 'a');
    assert!(said(&found).contains("starting again"), "{}", said(&found));
    assert_eq!(found.stdout, score(&folder, 'a', &["rows.jsonl"]).stdout);
    assert_ne!(found.stdout, wanted);
}

#[test]
fn ids_repeat_across_an_interruption() {
    let folder = folder("ids");
    let file = folder.join("rows.jsonl");
    let mut lines = rows(2_000);
    lines[1_990] = "{".to_owned();
    fs::write(&file, lines.join("\n")).unwrap();
    assert_eq!(outside(&folder, 'a').status.code(), Some(2));
    lines[1_990] = lines[5].clone();
    fs::write(&file, lines.join("\n")).unwrap();
    let found = outside(&folder, 'a');
    assert!(
        said(&found).contains("line 1991, field \"id\": \"5\" stands on an earlier line"),
        "{}",
        said(&found)
    );
}

#[test]
fn too_little_room_is_refused_with_the_figures() {
    let folder = folder("room");
    let file = folder.join("rows.jsonl");
    fs::write(&file, rows(3_000).join("\n")).unwrap();
    // A sparse file: no disk holds the scratch of so many rows.
    fs::File::options().write(true).open(&file).unwrap().set_len(8 << 40).unwrap();
    let refused = outside(&folder, 'a');
    assert_eq!(refused.status.code(), Some(2));
    let said = said(&refused);
    assert!(said.contains("rows.jsonl may need ") && said.contains("TiB of scratch"), "{said}");
    assert!(said.contains(" free: make room"), "{said}");
}

#[test]
fn more_rows_than_memory_holds_are_refused_with_what_they_need() {
    let folder = folder("rows");
    fs::write(folder.join("rows.jsonl"), rows(6_000).join("\n")).unwrap();
    let refused = outside(&folder, 'a');
    assert_eq!(refused.status.code(), Some(2));
    let said = said(&refused);
    assert!(
        said.contains("rows need ") && said.contains("for their ids and sums alone: give --memory 3MiB"),
        "{said}"
    );
}

#[test]
fn what_is_counted_in_memory_is_refused_with_what_it_needs() {
    let folder = folder("beside");
    fs::write(folder.join("rows.jsonl"), rows(3).join("\n")).unwrap();
    let beside = ["--reference", "embedded", "--scratch", "scratch", "rows.jsonl"];
    let refused = score_as("green/1/w1/b2/t1", &folder, 'a', &beside);
    assert_eq!(refused.status.code(), Some(2));
    // 900 windows at most, and 8 bytes for each of the embedded vocabulary's 16,384 tokens after each.
    assert!(
        said(&refused).contains("counted in memory") && said(&refused).contains("MiB;"),
        "{}",
        said(&refused)
    );
    let rows = ["--access", "distributions", "--scratch", "scratch", "rows.jsonl"];
    let refused = score(&folder, 'a', &rows);
    assert_eq!(refused.status.code(), Some(2));
    assert!(!folder.join("scratch").exists());
    let alone = score(&folder, 'a', &["--memory", "1MiB", "rows.jsonl"]);
    assert!(said(&alone).contains("--scratch"), "{}", said(&alone));
}
