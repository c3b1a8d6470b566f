//! The architecture, enforced: who may import whom, who may do input and output, where floats may be transcendental.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may stop where it stands, and its numbers are no evidence"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Module → what it may import from this crate. `ARCHITECTURE.md` says why.
const IMPORTS: &[(&str, &[&str])] = &[
    ("token", &[]),
    ("law", &[]),
    ("key", &["token"]),
    ("scheme", &["key", "law", "token"]),
    ("embed", &["key", "scheme", "token"]),
    ("score", &["key", "law", "scheme", "sort", "token"]),
    ("sort", &[]),
    ("stat", &["law"]),
    ("attribute", &["canary", "key", "law", "score", "stat"]),
    ("canary", &["key", "law", "stat"]),
    ("source", &["key", "sort", "token"]),
    ("case", &["attribute", "canary", "key", "law", "scheme", "score", "stat", "token"]),
    (
        "cli",
        &[
            "attribute",
            "canary",
            "case",
            "embed",
            "key",
            "law",
            "scheme",
            "score",
            "sort",
            "source",
            "stat",
            "token",
        ],
    ),
    ("lib", &["cli"]),
    ("main", &["cli"]),
];

/// The one file outside the rim that writes evidence, and the module it does so through.
const EXCEPTION: (&str, &str) = ("case/bundle", "source");

/// Who may touch files, the network, processes, the clock or the environment.
const RIM: &[&str] = &["case/bundle", "cli", "source"];
const INPUT_OUTPUT: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process::Command",
    "std::env",
    "SystemTime",
    "Instant",
    "File::open",
    "getrandom",
];

/// Where `libm` may be called: one module for reported numbers, the law's own value, the weight of a window, a plan's
/// response curve, the embedder's race, and where an API's logarithms become probabilities.
const LIBM: &[&str] =
    &["law", "scheme/gumbel", "score/exposure", "source/logprobs", "source/response", "stat/math"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file as (path without ending, code before its unit tests, number of lines).
fn sources() -> Vec<(String, String, usize)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(source(&path));
            }
        }
    }
    assert!(found.len() > 20, "found {} files only", found.len());
    found
}

fn source(path: &Path) -> (String, String, usize) {
    let name = path.strip_prefix(root()).unwrap().with_extension("").display().to_string();
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
    let lines = code.lines().count();
    let kept: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    (name, kept.join("\n"), lines)
}

fn module(name: &str) -> &str {
    name.split('/').next().unwrap()
}

#[test]
fn imports_run_one_way() {
    for (name, code, _) in sources() {
        let from = module(&name);
        let (_, allowed) = IMPORTS.iter().find(|(module, _)| *module == from).unwrap_or_else(|| {
            panic!("src/{name}.rs belongs to no module that tests/tidy.rs knows: say what it may import")
        });
        for reference in code.split("crate::").skip(1) {
            let to: String = reference.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            let fine =
                to == from || allowed.contains(&to.as_str()) || (name.as_str(), to.as_str()) == EXCEPTION;
            assert!(fine, "src/{name}.rs imports crate::{to}, which {from} may not know");
        }
    }
}

#[test]
fn only_the_rim_does_input_and_output() {
    for (name, code, _) in sources() {
        if RIM.iter().any(|rim| name == *rim || name.starts_with(&format!("{rim}/"))) {
            continue;
        }
        for word in INPUT_OUTPUT {
            assert!(!code.contains(word), "src/{name}.rs uses {word}; only {RIM:?} may");
        }
    }
}

#[test]
fn transcendental_functions_have_one_place() {
    for (name, code, _) in sources() {
        if !LIBM.contains(&name.as_str()) {
            assert!(!code.contains("libm::"), "src/{name}.rs calls libm; use stat::math");
        }
    }
}

#[test]
fn nothing_under_src_is_deeper_than_two_levels_or_longer_than_six_hundred_lines() {
    for (name, _, lines) in sources() {
        assert!(name.matches('/').count() <= 2, "src/{name}.rs is nested too deeply");
        assert!(lines <= 600, "src/{name}.rs has {lines} lines; split it by meaning");
    }
}

#[test]
fn secrets_never_print() {
    for (name, code, _) in sources() {
        for secret in ["EpochKey", "Keystream", "SchemeKey", "Secret", "Seed", "WindowPrf"] {
            for printing in ["Display", "LowerHex", "Serialize"] {
                assert!(
                    !code.contains(&format!("{printing} for {secret} ")),
                    "src/{name}.rs prints {secret}"
                );
            }
            let mut attributes = String::new();
            for line in code.lines() {
                if line.starts_with("#[derive") {
                    attributes = line.to_owned();
                } else if line.starts_with(&format!("pub struct {secret}")) {
                    let derives = attributes.contains("Debug") || attributes.contains("Serialize");
                    assert!(!derives, "src/{name}.rs: {secret} derives a printing trait");
                } else if line.is_empty() {
                    attributes.clear();
                }
            }
        }
    }
}

#[test]
fn every_scheme_has_known_answers() {
    for (name, _, _) in sources() {
        if let Some(scheme) = name.strip_prefix("scheme/").filter(|scheme| !scheme.contains('/')) {
            // What is put together from other schemes' words has its answers in one file.
            let file = if ["mix", "payload"].contains(&scheme) { "composite" } else { scheme };
            let vectors = root().join(format!("../tests/vectors/{file}.json"));
            assert!(vectors.exists(), "scheme {scheme} has no vectors");
        }
    }
}
