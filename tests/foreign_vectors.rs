//! Marks of other engines against known answers that the real packages gave: `vectors/foreign.json`, made by
//! `foreign/vectors.py`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may stop where it stands, and its numbers are no evidence"
)]

use std::collections::BTreeMap;

use serde_json::Value;
use taggant::law::Law;
use taggant::scheme::foreign::{Marker, Profile, Standing, Start};
use taggant::score::{Exchange, Provenance, occurrences};
use taggant::stat::foreign::ForeignSummary;
use taggant::token::TokenId;

struct Case {
    name: String,
    json: Value,
    profile: Profile,
    marker: Marker,
    prompt: Vec<TokenId>,
    response: Vec<TokenId>,
}

fn cases() -> Vec<Case> {
    let path = format!("{}/tests/vectors/foreign.json", env!("CARGO_MANIFEST_DIR"));
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let case = |json: &Value| {
        let profile = Profile::from_json(&json["profile"].to_string()).unwrap();
        Case {
            name: format!("{} of {}", profile.name, json["made_with"]),
            marker: profile.mark.open(),
            profile,
            prompt: parse(&json["prompt"]),
            response: parse(&json["response"]),
            json: json.clone(),
        }
    };
    file["cases"].as_array().unwrap().iter().map(case).collect()
}

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

/// (window, token) at each marked position, in order, as the engine pads or reaches back.
fn positions(case: &Case) -> Vec<(Vec<TokenId>, TokenId)> {
    let reach = case.profile.mark.reach();
    let before = match reach.start {
        Start::Answer { pad } => vec![pad; reach.width],
        Start::Conversation => case.prompt.clone(),
    };
    let line = [&before[..], &case.response].concat();
    let first = before.len().max(reach.width);
    (first..line.len()).map(|at| (line[at - reach.width..at].to_vec(), line[at])).collect()
}

/// The words of one position, one an input.
fn words(case: &Case, window: &[TokenId], token: TokenId) -> Vec<u32> {
    let inputs = case.marker.inputs(window, token);
    inputs.iter().flat_map(|input| case.marker.words(&[input])).collect()
}

#[test]
fn every_word_is_the_packages() {
    let mut checked: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases() {
        let shown: Vec<Vec<u32>> =
            positions(&case).iter().map(|(window, token)| words(&case, window, *token)).collect();
        let compared = match &case.json {
            json if json["green"].is_array() => {
                let green: Vec<u32> = parse(&json["green"]);
                assert_eq!(shown.concat(), green, "{}", case.name);
                // A list that no token or every token is in would agree with anything.
                assert!(green.contains(&0) && green.contains(&1), "{}", case.name);
                green.len()
            }
            json if json["words"].is_array() => {
                let words: Vec<Vec<u32>> = parse(&json["words"]);
                assert_eq!(shown.concat(), words[0], "{}", case.name);
                words[0].len()
            }
            json if json["words24"].is_array() => {
                let words: Vec<Vec<u32>> = parse(&json["words24"]);
                for (at, shown) in shown.iter().enumerate() {
                    let wanted: Vec<u32> = words.iter().map(|of_key| of_key[at]).collect();
                    assert_eq!(
                        shown.iter().map(|word| word >> 8).collect::<Vec<_>>(),
                        wanted,
                        "{}",
                        case.name
                    );
                }
                words.len() * words[0].len()
            }
            json => layers(&case, &parse::<Vec<String>>(&json["g"])),
        };
        *checked.entry(case.profile.mark.engine()).or_default() += compared;
    }
    println!("words compared: {checked:?}");
    assert_eq!(checked.len(), 8, "an engine has no known answers: {checked:?}");
    assert!(checked.values().all(|words| *words >= 150), "{checked:?}");
}

/// Compares bit by bit, layer by layer; gives the number of bits.
fn layers(case: &Case, g: &[String]) -> usize {
    for (at, (window, token)) in positions(case).iter().enumerate() {
        let wanted: Vec<u32> = g.iter().map(|layer| u32::from(layer.as_bytes()[at] == b'1')).collect();
        let shown = match case.marker.table() {
            None => words(case, window, *token),
            Some(table) => {
                let residue = case.marker.inputs(window, *token)[0].state as usize;
                let bit = |offset: &u32| table.bits[(residue + *offset as usize) % table.bits.len()];
                table.offsets.iter().map(|offset| u32::from(bit(offset))).collect()
            }
        };
        assert_eq!(shown, wanted, "{}, position {at}", case.name);
    }
    g.len() * case.response.len()
}

fn summary(case: &Case, provenance: Provenance) -> ForeignSummary {
    let exchange = Exchange {
        prompt: case.prompt.clone(),
        response: case.response.clone(),
        whole_context: true,
        provenance,
    };
    let found = occurrences(&case.profile.mark.reach(), [&exchange]).unwrap();
    if let Some(table) = case.marker.table() {
        let correlation = found.correlate(&case.marker).unwrap();
        return ForeignSummary::of_offsets(&correlation.open(&table.offsets)).unwrap();
    }
    ForeignSummary::of(found.open(&case.marker).unwrap()).unwrap()
}

/// The races' scores and tails are those of the engines' own detectors, which count as we do.
#[test]
fn scores_of_races_are_those_the_engines_publish() {
    let mut compared = 0;
    for case in cases().iter().filter(|case| case.json["published"]["score"].is_number()) {
        // Of two keys vLLM weighs both; here the heavier one counts, or both alike.
        if case.json["profile"]["mark"]["vllm-gumbel"]["alpha"].is_number() {
            continue;
        }
        let (found, published) = (summary(case, Provenance::Fresh), &case.json["published"]);
        let ln_p = published["ln_p"].as_f64().unwrap_or_else(|| published["p"].as_f64().unwrap().ln());
        assert_eq!(Some(found.draws), published["scored"].as_u64(), "{}", case.name);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-4 * (1.0 + b.abs());
        assert!(close(found.statistic, published["score"].as_f64().unwrap()), "{}: {found:?}", case.name);
        assert!(close(found.ln_p, ln_p), "{}: {} and {ln_p}", case.name, found.ln_p);
        compared += 1;
    }
    assert_eq!(compared, 10);
}

/// Four repeating tokens under self-hash of width 4: the package counts 174 n-grams, which share sixteen coins at most.
#[test]
fn the_published_false_alarm_is_none_here() {
    let cases = cases();
    let alarm = |case: &&Case| case.json["published"]["p"].as_f64().is_some_and(|p| p < 1e-30);
    let case = cases.iter().find(alarm).unwrap();
    let found = summary(case, Provenance::Fresh);
    println!("{}: published {}, here {found:?}", case.name, case.json["published"]);
    assert!(found.draws <= 16 && found.ln_p > 1e-4_f64.ln(), "{found:?}");
    assert_eq!(case.profile.standing(), Standing::Default);
}

/// The same words, counted with the law's own values: what a sum over opened draws would be.
#[test]
fn a_sum_is_that_of_its_words() {
    let cases = cases();
    let case = cases.iter().find(|case| case.profile.mark.engine() == "sglang-gumbel").unwrap();
    let words =
        positions(case).iter().flat_map(|(window, token)| words(case, window, *token)).collect::<Vec<_>>();
    let sum: f64 = words.iter().map(|word| Law::Exponential.value(*word)).sum();
    assert!((summary(case, Provenance::Fresh).statistic - sum).abs() < 1e-9);
}
