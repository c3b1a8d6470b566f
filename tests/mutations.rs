//! Damaged input: whatever bytes arrive, a parser gives a value or says what is wrong; it never panics, and what a
//! commitment covers never changes unnoticed. Mutations are seeded, so a failure can be repeated.

#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may stop where it stands")]

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::json;
use taggant::case::plan::{Plan, SealedFile, SealedPlan};
use taggant::key::{Genesis, KeyFile, Opening, Secret};
use taggant::source::text::{self, BadLines, Kind};

const MUTATIONS: u64 = 4_000;

/// What damaged or hostile JSON tends to hold.
const PIECES: &[&[u8]] = &[
    b"null",
    b"true",
    b"-1",
    b"-0.0",
    b"1e999",
    b"4294967296",
    b"18446744073709551616",
    b"0.1",
    b"{}",
    b"[",
    b"]",
    b"{\"",
    b"\"",
    b"\\",
    b"\\ud800",
    b"\\u0000",
    b",",
    b":",
    b"\n",
    b"\r",
    b" ",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    "é\u{202e}".as_bytes(),
];

struct Mutator(ChaCha8Rng);

impl Mutator {
    fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n.max(1) as u64) as usize
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let from = self.below(length + 1);
        from..from + self.below((length - from).min(40) + 1)
    }

    fn mutate_once(&mut self, bytes: &mut Vec<u8>) {
        let (length, range) = (bytes.len(), self.range(bytes.len()));
        match self.below(7) {
            0 if length > 0 => bytes[self.below(length)] ^= 1 << self.below(8),
            1 if length > 0 => bytes[self.below(length)] = b"0123456789abcdef"[self.below(16)],
            2 => drop(bytes.drain(range)),
            3 => {
                let (copy, at) = (bytes[range].to_vec(), self.below(length + 1));
                drop(bytes.splice(at..at, copy));
            }
            4 => drop(bytes.splice(range, PIECES[self.below(PIECES.len())].iter().copied())),
            5 => {
                drop(bytes.splice(range.start..range.start, PIECES[self.below(PIECES.len())].iter().copied()))
            }
            _ => bytes.truncate(range.end),
        }
    }
}

/// Calls `check` with damaged copies of `bytes`, each with one to four mutations.
fn damaged(seed: u64, bytes: &[u8], mut check: impl FnMut(&[u8])) {
    let mut mutator = Mutator(ChaCha8Rng::seed_from_u64(seed));
    for _ in 0..MUTATIONS {
        let mut copy = bytes.to_vec();
        for _ in 0..=mutator.below(4) {
            mutator.mutate_once(&mut copy);
        }
        check(&copy);
    }
}

/// The same for parsers of text: bytes that are none never reach them.
fn damaged_text(seed: u64, text: &str, mut check: impl FnMut(&str)) {
    let mut reached = 0;
    damaged(seed, text.as_bytes(), |bytes| {
        if let Ok(text) = std::str::from_utf8(bytes) {
            reached += 1;
            check(text);
        }
    });
    assert!(reached > MUTATIONS / 2, "only {reached} mutations were text");
}

#[test]
fn damaged_rows_are_read_or_named() {
    let rows = [
        r#"{"id":"a","prompt_tokens":[1,2,3],"response_tokens":[4,5,6],"epoch":"2026-q4","for":null}"#,
        r#"{"id":7,"messages":[{"role":"user","content":"hi"}],"response":"an \"answer\" \u00e9"}"#,
        "",
        r#"{"id":"c","prompt":"what?","response":"this","system":"be kind","meta":{"deep":[[1.5e3]]}}"#,
    ]
    .join("\n");
    let (mut read, mut refused) = (0, 0);
    damaged(1, rows.as_bytes(), |bytes| {
        for kind in [Kind::Exchanges, Kind::Prompts] {
            match text::read("rows.jsonl", bytes, kind, BadLines::Refuse) {
                Ok(rows) => read += u64::from(!rows.rows.is_empty()),
                Err(error) => {
                    refused += 1;
                    let said = error.to_string();
                    assert!(said.starts_with("rows.jsonl, line ") && !error.what.is_empty(), "{said}");
                }
            }
            // With --skip-bad no line is lost: each is a row or is counted.
            let lines =
                bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
            let kept = text::read("rows.jsonl", bytes, kind, BadLines::Skip);
            assert_eq!(kept.map_or(0, |rows| rows.rows.len() + rows.refused.len()), lines);
        }
    });
    assert!(read > 100 && refused > 1_000, "{read} read, {refused} refused");
}

#[test]
fn a_damaged_key_file_is_refused_without_a_word_of_its_secret() {
    let digits = "9f3c1a7be2d4506899a0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3e4f506";
    let secret = Secret::from_hex(digits).unwrap();
    let file = KeyFile { created: "2026-11-23T00:00:00Z".to_owned(), note: Some("spare".to_owned()), secret };
    let mut refused = 0;
    damaged_text(2, &file.to_json(), |json| {
        let shown = match KeyFile::from_json(json) {
            Ok(read) => format!("{:?}", read.secret),
            Err(error) => {
                refused += 1;
                format!("{error} {error:?}")
            }
        };
        let repeated =
            digits.as_bytes().windows(8).find(|part| shown.as_bytes().windows(8).any(|seen| seen == *part));
        assert!(!shown.is_empty() && repeated.is_none(), "{shown}");
    });
    assert!(refused > 1_000, "{refused} refused");
}

#[test]
fn a_damaged_sealed_plan_is_refused_or_is_the_plan_that_was_sealed() {
    let sealed = plan().seal("2026-11-23T10:00:00Z").unwrap();
    let file = serde_json::to_string(&SealedFile::from(&sealed)).unwrap();
    let (mut same, mut other) = (0, 0);
    let mut reopen = |json: &str| match serde_json::from_str::<SealedFile>(json).map(SealedPlan::try_from) {
        // The time is not under the hash: it is the sealing machine's word.
        Ok(Ok(again)) => {
            same += 1;
            assert_eq!((again.plan(), again.sha256()), (sealed.plan(), sealed.sha256()), "{json}");
        }
        Ok(Err(error)) => {
            other += 1;
            let said = error.to_string();
            assert!(
                said.starts_with("the plan is not the one that was sealed")
                    || said.starts_with("plan, field ")
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    };
    damaged_text(3, &file, &mut reopen);
    for at in 0..file.len() {
        for bit in [1, 2, 32] {
            let mut bytes = file.clone().into_bytes();
            bytes[at] ^= bit;
            if let Ok(json) = std::str::from_utf8(&bytes) {
                reopen(json);
            }
        }
    }
    assert!(same > 20 && other > 1_000, "{same} the same, {other} not the sealed one");
}

#[test]
fn a_damaged_plan_is_sealed_as_what_it_says_or_refused() {
    let plan = serde_json::to_string_pretty(&plan()).unwrap();
    damaged_text(4, &plan, |json| {
        let Ok(parsed) = serde_json::from_str::<Plan>(json) else { return };
        if let Ok(sealed) = parsed.clone().seal("2026-11-23T10:00:00Z") {
            assert!(*sealed.plan() == parsed && sealed.level() > 0.0 && sealed.level() < 1.0, "{json}");
        }
    });
}

#[test]
fn a_damaged_genesis_or_opening_never_gives_another_key() {
    let secret = Secret::from_bytes([7; 32]);
    let (epoch, label) = ("2026-q4".parse().unwrap(), "green/1/w1/b2/t1".parse().unwrap());
    let genesis = Genesis::new(&secret, [1; 32], &[(epoch, vec![label])]);
    let (epoch, label) = (&genesis.leaves[1].epoch, genesis.leaves[1].label.as_ref());
    let opening = genesis.open(&secret, epoch, label).unwrap();
    let commitments =
        |genesis: &Genesis| genesis.leaves.iter().map(|leaf| leaf.commitment).collect::<Vec<_>>();
    let mut read = 0;
    damaged_text(5, &serde_json::to_string(&genesis).unwrap(), |json| match Genesis::from_json(json) {
        Ok(again) => {
            read += 1;
            assert_eq!((again.root, commitments(&again)), (genesis.root, commitments(&genesis)), "{json}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    });
    assert!(read > 20, "{read} read");
    let key = genesis.verify(&opening).unwrap().unwrap();
    damaged_text(6, &serde_json::to_string(&opening).unwrap(), |json| {
        let Ok(again) = Opening::from_json(json) else { return };
        if let Ok(opened) = genesis.verify(&again) {
            let opened = opened.unwrap();
            assert_eq!((opened.epoch(), opened.label()), (key.epoch(), key.label()), "{json}");
            assert_eq!(opened.hazmat_bytes(), key.hazmat_bytes(), "{json}");
        }
    });
}

/// A plan with something in every field.
fn plan() -> Plan {
    let hash = |digit: &str| digit.repeat(64);
    let test = |name: &str, role: &str, statistic: &str| {
        let access = if statistic == "residual" { "distributions" } else { "text" };
        json!({ "name": name, "suspect": if role == "innocent" { "i" } else { "s" }, "role": role, "access": access, "statistic": statistic,
                "keys": [{ "epoch": "2026-q4", "mark": "green/1/w1/b2/t1", "weight": 2 },
                         { "epoch": "2026-q4", "mark": "green/1/w2/b1/t1", "weight": 3 }], "sources": ["teacher"] })
    };
    let absent = |reason: &str| json!({ "value": null, "reason": reason });
    serde_json::from_value(json!({
        "format": "taggant-plan/1",
        "number": 2,
        "hypothesis": "H0: independent of the key. H1: exposed to marked answers.",
        "key_id": "bb8a8d592659429b",
        "genesis_root": hash("a"),
        "tokenizer_sha256": hash("b"),
        "tests": [test("primary", "suspect", "residual"), test("innocent", "innocent", "root-count")],
        "pool": {
            "prompts": 600,
            "sha256": hash("c"),
            "provenance": "fresh",
            "beacon": absent("runs offline"),
            "answer_tokens": 60,
            "contexts": { "value": "one-an-answer" },
            "rows": { "value": { "top": 20 } },
            "documents": absent("nobody reads"),
        },
        "statistic_sha256": hash("d"),
        "first_served": [{ "epoch": "2026-q4", "time": { "value": "2026-10-01T00:00:00Z" } }],
        "sources": [{ "name": "teacher", "sha256": hash("e"), "created": { "value": "2026-01-01T00:00:00Z" },
                      "independent": "predates-key",
                      "keys": [{ "key_id": "bb8a8d592659429b", "epoch": "2025-q4" }] }],
        "reference": { "value": "teacher" },
        "exposure": absent("windows weigh alike"),
        "canaries": absent("no canaries"),
        "matchers": absent("no canaries"),
        "exclusions": ["repeated draws"],
        "lambda_grid": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        "shares": [1.0, 0.1, 0.01],
        "order": "pool order",
        "alpha": 1e-6,
        "correction": "holm",
        "stopping": "after the last prompt",
        "futility": absent("one batch"),
        "refusals": "count as answers",
        "missing_rows": "no analysis",
        "effect": "that of the positive control",
        "power": { "value": 0.95 },
    }))
    .unwrap()
}
