//! Tails against the known answers in `tests/vectors`, which were computed independently with exact fractions
//! or at high precision.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a malformed vector is a failed test")]

use serde_json::Value;
use taggant::stat::Rate;
use taggant::stat::chernoff::chernoff_ln_sf;
use taggant::stat::cumulant::RealTerm;
use taggant::stat::lattice::{LatticeLaw, LatticeTerm, lattice_ln_sf, poisson_binomial_ln_sf};
use taggant::stat::math::{normal_ln_sf, normal_z};
use taggant::stat::tail::{binomial_ln_sf, gamma_ln_sf, hypergeometric_ln_sf};

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

#[test]
fn tails_that_are_hard_are_never_below_the_truth_and_close_to_it() {
    for case in cases(&vectors(include_str!("vectors/lattice_hard.json"))["cases"]) {
        for answer in cases(&case["tails"]) {
            let truth = real(&answer[1]);
            let tail = lattice_ln_sf(&terms(case), signed(&answer[0])).unwrap();
            let slack = tail.ln_p - truth;
            let name = format!("{}, {}: {tail:?} for {truth}", case["name"], answer[0]);
            assert!(slack >= -f64::EPSILON * truth.abs() && slack <= 1e-9 * truth.abs().max(1.0), "{name}");
            assert!(tail.ln_p <= 0.0, "{name}");
        }
    }
}

#[test]
fn chernoffs_bound_is_never_below_the_known_answers() {
    for case in cases(&vectors(include_str!("vectors/tails.json"))["weighted"]) {
        let coefficients: Vec<f64> = cases(&case["coefficients"]).iter().map(real).collect();
        let rate = Rate::nearest(real(&case["gamma"])).unwrap();
        // The statistic is centred, Σ a (hit − γ): its mean is added on both sides.
        let mean: f64 = coefficients.iter().map(|a| a * rate.p()).sum();
        let terms: Vec<RealTerm> = coefficients.iter().map(|&a| RealTerm::coin(a, rate)).collect();
        let bound = chernoff_ln_sf(&terms, real(&case["statistic"]) + mean).unwrap();
        let truth = real(&case["ln_p_exact"]);
        println!("{bound} for {truth}");
        assert!(bound >= truth, "{bound} below {truth}");
        assert!(bound <= 0.0 && bound <= truth + 2.0, "{bound} says little of {truth}");
    }
}

/// Sums of exact or 50-digit terms (mpmath 1.3), rounded once.
#[test]
fn tails_reach_further_known_answers() {
    for (n, k, rate, ln_p) in BINOMIAL {
        near(binomial_ln_sf(n, k, Rate::new(rate.0, rate.1).unwrap()), ln_p);
    }
    for (n, sum, ln_p) in GAMMA {
        near(gamma_ln_sf(n, sum), ln_p);
    }
    for (population, marked, drawn, k, ln_p) in HYPERGEOMETRIC {
        near(hypergeometric_ln_sf(population, marked, drawn, k).unwrap(), ln_p);
    }
    for (z, ln_p) in NORMAL {
        near(normal_ln_sf(z), ln_p);
        near(normal_z(ln_p), z);
    }
    for (coins, k, ln_p) in LATTICES {
        let coin = |&(a, num, den, count)| LatticeTerm::coins(a, Rate::new(num, den).unwrap(), count);
        let terms: Vec<LatticeTerm> = coins.iter().map(coin).collect();
        let tail = lattice_ln_sf(&terms, k).unwrap();
        near(tail.estimate, ln_p);
        assert!(
            tail.ln_p >= ln_p && tail.ln_p <= ln_p + LATTICE * ln_p.abs().min(1.0),
            "{tail:?} for {ln_p}"
        );
    }
}

/// n, k, γ, ln P(X ≥ k).
const BINOMIAL: [(u64, u64, (u64, u64), f64); 11] = [
    (1_000_000, 300_000, (1, 4), -6_406.999_360_161_148),
    (1_000_000, 999_000, (1, 4), -1_377_292.865_784_524_2),
    (1_000_000, 245_000, (1, 4), -2.794_002_409_921_232_5e-31),
    (1_000_000, 240_000, (1, 4), -2.285_406_236_706_971_4e-119),
    (1_000_000, 1, (1, 1 << 32), -8.365_315_632_900_646),
    (1_000_000, 3, (1, 1 << 32), -26.887_534_750_534_922),
    (7, 7, (u32::MAX as u64, 1 << 32), -1.629_814_505_766_822_8e-9),
    (7, 6, (u32::MAX as u64, 1 << 32), -1.138_412_280_226_255_4e-18),
    (1_000_000_000, 250_100_000, (1, 4), -29.589_190_075_264_21),
    (1000, 251, (77, 256), -0.000_213_032_035_989_901_6),
    (12, 1, (1, 16), -0.617_949_896_518_739_8),
];

/// n, sum, ln P(Gamma(n, 1) ≥ sum).
const GAMMA: [(u64, f64, f64); 10] = [
    (1_000_000, 1_005_000.0, -15.023_662_034_086_176),
    (1_000_000, 1_500_000.0, -94_542.025_444_550_5),
    (1_000_000, 990_000.0, -5.446_644_693_010_809e-24),
    (1_000_000, 999_000.5, -0.172_897_673_290_348_22),
    (10_000_000, 10_000_000.0, -0.693_231_288_514_367_5),
    (10_000_000, 10_100_000.0, -501.065_291_972_575_9),
    (2, 1e-8, -4.999_999_966_666_667e-17),
    (3, 0.5, -0.014_492_184_218_299_193),
    (1, 1e-300, -1e-300),
    (5, 700.0, -676.968_010_049_035_8),
];

/// Population, marked, drawn, k, ln P(X ≥ k).
const HYPERGEOMETRIC: [(u64, u64, u64, u64, f64); 9] = [
    (4000, 60, 2000, 45, -9.720_549_825_888_439),
    (4000, 60, 2000, 20, -0.002_925_326_439_364_380_6),
    (1_000_000_000, 1, 999_999_999, 1, -1.000_000_000_5e-9),
    (1_000_000, 1000, 500_000, 700, -85.399_931_874_400_2),
    (50, 5, 10, 4, -5.500_795_782_790_822),
    (20_000, 120, 10_000, 90, -17.876_425_116_195_733),
    (10, 9, 9, 9, -std::f64::consts::LN_10),
    (10, 9, 9, 8, 0.0),
    (10, 0, 5, 1, f64::NEG_INFINITY),
];

/// z, ln P(Z ≥ z).
const NORMAL: [(f64, f64); 7] = [
    (-3.0, -0.0013508099647481938),
    (1.0, -1.8410216450092636),
    (5.0, -15.064998393988725),
    (9.9, -52.226428300404045),
    (10.1, -54.24604754269363),
    (40.0, -804.6084420137538),
    (300.0, -45006.62273211866),
];

/// One coin each: coefficient, γ, count. Then k and ln P(S ≥ k), by enumeration in fractions.
type Coins = &'static [(i32, u64, u64, u64)];
const LATTICES: [(Coins, i64, f64); 6] = [
    (&[(2, 1, 4, 50), (3, 1, 4, 40), (7, 1, 4, 30)], 200, -12.056_989_430_524_208),
    (&[(2, 1, 4, 50), (3, 1, 4, 40), (7, 1, 4, 30)], 400, -117.758_162_924_458_7),
    (&[(2, 1, 4, 50), (3, 1, 4, 40), (7, 1, 4, 30)], 20, -1.329_932_133_843_630_9e-8),
    (&[(5, 77, 256, 60), (-3, 1, 2, 60), (127, 1, 65536, 2)], 150, -12.310_226_541_302_017),
    (&[(10, 1, 4, 40), (-20, 1, 2, 30), (30, 1, 8, 20)], 295, -15.965_770_214_146_698),
    (&[(1, 1, 1 << 32, 3), (46, 15, 16, 20), (47, 1, 3, 1)], 966, -2.389_382_711_419_533),
];

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

fn near(ln_p: f64, truth: f64) {
    assert!(ln_p == truth || (ln_p - truth).abs() <= CLOSED * truth.abs(), "{ln_p} for {truth}");
}

fn close(case: &Value, ln_p: f64) {
    let truth = real(&case["ln_p"]);
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
