//! Tails against the known answers in `tests/vectors`, which were computed independently with exact fractions or at high precision.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a malformed vector is a failed test")]

use serde_json::Value;
use taggant::stat::Rate;
use taggant::stat::lattice::{LatticeLaw, LatticeTerm, lattice_ln_sf, poisson_binomial_ln_sf};
use taggant::stat::tail::{binomial_ln_sf, gamma_ln_sf};

/// The accuracy promised for closed forms: relative, of ln p.
const CLOSED: f64 = 1e-9;
/// How far above the truth a lattice tail may lie, in ln p; near p = 1 relative.
const LATTICE: f64 = 1e-6;

#[test]
fn closed_tails_reach_the_known_answers() {
    let tails = vectors(include_str!("vectors/tails.json"));
    for case in cases(&tails["binomial"]) {
        close(case, binomial_ln_sf(whole(&case["n"]), whole(&case["k"]), rate(&case["gamma"])));
    }
    for case in cases(&tails["gamma"]) {
        close(case, gamma_ln_sf(whole(&case["n"]), real(&case["sum"])));
    }
    for case in cases(&tails["poisson_binomial"]) {
        let p: Vec<f64> = cases(&case["p"]).iter().map(real).collect();
        close(case, poisson_binomial_ln_sf(&p, whole(&case["k"])).unwrap());
    }
}

#[test]
fn lattice_tails_are_never_below_the_truth_and_close_to_it() {
    for case in cases(&vectors(include_str!("vectors/lattice.json"))["cases"]) {
        let truth = real(&case["ln_p"]);
        let tail = lattice_ln_sf(&terms(case), signed(&case["k"])).unwrap();
        let slack = tail.ln_p - truth;
        println!("{}: {tail:?}, above the truth by {slack:e}", case["name"]);
        // The known answer is itself rounded to a double.
        assert!(slack >= -f64::EPSILON * truth.abs(), "{}: {} below {truth}", case["name"], tail.ln_p);
        assert!(slack <= LATTICE * truth.abs().min(1.0), "{}: {} above {truth}", case["name"], tail.ln_p);
        assert!(tail.estimate <= tail.ln_p && tail.ln_p <= 0.0);
    }
}

/// The terms of a case in any of its three spellings.
fn terms(case: &Value) -> Vec<LatticeTerm> {
    if let Some(scores) = case["scores"].as_array() {
        return scores.iter().map(|scores| LatticeTerm::choice(coefficients(scores))).collect();
    }
    if let Some(groups) = case["groups"].as_array() {
        return groups
            .iter()
            .map(|group| LatticeTerm {
                law: LatticeLaw::Bernoulli {
                    coefficient: small(&group["coefficient"]),
                    rate: rate(&group["gamma"]),
                },
                count: whole(&group["count"]),
            })
            .collect();
    }
    let coefficients = coefficients(&case["coefficients"]);
    coefficients
        .iter()
        .zip(cases(&case["gammas"]))
        .map(|(&a, gamma)| LatticeTerm::coins(a, rate(gamma), 1))
        .collect()
}

fn close(case: &Value, ln_p: f64) {
    let truth = real(&case["ln_p"]);
    println!("{ln_p} for {truth}, off by {:e}", (ln_p - truth).abs() / truth.abs().max(f64::MIN_POSITIVE));
    assert!((ln_p - truth).abs() <= CLOSED * truth.abs(), "{ln_p} for {case}");
}

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn cases(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn coefficients(value: &Value) -> Vec<i32> {
    cases(value).iter().map(small).collect()
}

fn rate(value: &Value) -> Rate {
    Rate::new(whole(&value[0]), whole(&value[1])).unwrap()
}

fn real(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn signed(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

fn small(value: &Value) -> i32 {
    signed(value).try_into().unwrap()
}

fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap()
}
