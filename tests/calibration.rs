//! Calibration under H0: 2,000 random keys over fixed innocent evidence, through the whole scoring path (10,000 by
//! `make calibration`).
//!
//! Rejections must stay at or below the upper 99.9 % binomial limit of the attainable level. Each rule of validity that
//! scoring enforces is then removed, and the same run must fail: a calibration test that cannot fail proves nothing.
//! Everything is seeded, so nothing here is ever flaky.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may stop where it stands, and its numbers are no evidence"
)]

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use taggant::key::Secret;
use taggant::law::{Law, Scale, Step, Tally};
use taggant::scheme::{Arm, Scheme, Spec};
use taggant::score::{
    Counter, Evidence, Exchange, Expectation, Expecting, Exposure, Over, Position, Prediction, Provenance,
    Reading, Row, SHRINK, ScoreError, Text, TextStatistic, Weight, argmax, count, mass, residual,
};
use taggant::stat::Rate;
use taggant::stat::multiple::binomial_upper_limit;
use taggant::stat::tail::binomial_ln_sf;
use taggant::stat::verdict::{Summary, verdict_tail};

type Table = Vec<Vec<f32>>;

/// 2,000 keys, or as many as `TAGGANT_CALIBRATION_KEYS` says (`make calibration`).
fn keys() -> u64 {
    let said = std::env::var("TAGGANT_CALIBRATION_KEYS").ok();
    said.map_or(2_000, |keys| keys.parse().unwrap())
}

const VOCABULARY: u32 = 500;
/// Levels as 1 in n.
const LEVELS: [u64; 3] = [20, 100, 1_000];

fn scheme(spec: &str, key: u64) -> Scheme {
    let mut bytes = [0; 32];
    ChaCha8Rng::seed_from_u64(key).fill_bytes(&mut bytes);
    let epoch = Secret::from_bytes(bytes).epoch_key(&"2026-q4".parse().unwrap());
    spec.parse::<Spec>().unwrap().open(&epoch)
}

/// A loopy bigram language: after half of the tokens one successor is nearly certain, as in tables, lists and code.
struct Language(ChaCha8Rng);

impl Language {
    fn below(&mut self, n: u32) -> u32 {
        self.0.next_u32() % n
    }

    fn next(&mut self, token: u32) -> u32 {
        if token.is_multiple_of(2) && self.below(10) < 8 {
            return (token * 7 + 3) % 40;
        }
        let (a, b) = (self.below(VOCABULARY), self.below(VOCABULARY));
        a.min(b)
    }

    fn text(&mut self, tokens: usize) -> Vec<u32> {
        let mut text = vec![self.below(VOCABULARY)];
        while text.len() < tokens {
            let next = self.next(text[text.len() - 1]);
            text.push(next);
        }
        text
    }
}

fn exchange(prompt: Vec<u32>, response: Vec<u32>, provenance: Provenance) -> Exchange {
    Exchange { prompt, response, whole_context: true, provenance }
}

/// Fixed innocent answers, repetitive on purpose: some are given word for word more than once.
fn innocent() -> Vec<Exchange> {
    let mut language = Language(ChaCha8Rng::seed_from_u64(1));
    let mut exchanges: Vec<Exchange> =
        (0..30).map(|_| exchange(language.text(5), language.text(120), Provenance::Unknown)).collect();
    for at in 0..10 {
        exchanges.push(exchanges[at].clone());
    }
    exchanges
}

/// ln p of the evidence under one key.
fn tail(evidence: &Evidence, scheme: &Scheme) -> f64 {
    verdict_tail(evidence.open(scheme).unwrap()).unwrap().0
}

/// Rejections at each level among ln p-values.
fn rejections(ln_p: &[f64]) -> [u64; 3] {
    LEVELS.map(|n| ln_p.iter().filter(|ln_p| **ln_p <= -(n as f64).ln()).count() as u64)
}

/// How many rejections a valid test may show at the nominal levels.
fn limits() -> [u64; 3] {
    LEVELS.map(|n| binomial_upper_limit(keys(), Rate::new(1, n).unwrap(), 0.999))
}

/// The same at the levels that a binomial test of `n` draws attains, which are lower.
fn attainable_limits(n: u64, gamma: Rate) -> [u64; 3] {
    LEVELS.map(|level| {
        let k = (0..=n).find(|k| binomial_ln_sf(n, *k, gamma) <= -(level as f64).ln()).unwrap();
        let attained = (binomial_ln_sf(n, k, gamma).exp() * 1e12) as u64;
        binomial_upper_limit(keys(), Rate::new(attained, 1_000_000_000_000).unwrap(), 0.999)
    })
}

fn assert_valid(what: &str, ln_p: &[f64], limits: [u64; 3]) {
    assert_eq!(ln_p.len() as u64, keys(), "{what}");
    let found = rejections(ln_p);
    for at in 0..3 {
        assert!(found[at] <= limits[at], "{what}: {found:?} rejections at 1/{LEVELS:?}, limits {limits:?}");
    }
    println!("{what}: {found:?} rejections at 1 in {LEVELS:?}, limits {limits:?}");
}

fn assert_fails(what: &str, ln_p: &[f64]) {
    let (found, limits) = (rejections(ln_p), limits());
    assert!(
        (0..3).any(|at| found[at] > limits[at]),
        "{what}: {found:?} stays within {limits:?}: the test is blind"
    );
    println!("{what}: {found:?} rejections at 1 in {LEVELS:?}, limits {limits:?}: caught");
}

#[test]
fn distinct_scoring_of_repetitive_text_is_calibrated_for_every_width() {
    let exchanges = innocent();
    for (spec, gamma) in [("green/1/w0/b2/t1", 4), ("green/1/w1/b2/t1", 4), ("green/1/w2/b1/t1", 2)] {
        let width = spec.parse::<Spec>().unwrap().width();
        let evidence = count(width, &exchanges, TextStatistic::Distinct).unwrap();
        let n = evidence.coefficients().entries().len() as u64;
        let ln_p: Vec<f64> = (0..keys()).map(|key| tail(&evidence, &scheme(spec, key))).collect();
        assert_valid(spec, &ln_p, attainable_limits(n, Rate::new(1, gamma).unwrap()));
    }
}

#[test]
fn without_the_distinct_rule_the_same_run_fails() {
    let exchanges = innocent();
    let spec = "green/1/w1/b2/t1";
    let scored: Vec<f64> =
        (0..keys()).map(|key| counting_every_occurrence(&exchanges, &scheme(spec, key))).collect();
    assert_fails("every occurrence a draw of its own", &scored);
}

/// Distinct scoring with its rule removed: each occurrence is passed off as another input of the keyed function.
fn counting_every_occurrence(exchanges: &[Exchange], scheme: &Scheme) -> f64 {
    let mut counter = Counter::new(scheme.spec().width());
    let mut tally = Tally::new();
    let mut windows = taggant::score::Windows::default();
    for (exchange, cluster) in exchanges.iter().zip(0..) {
        let context = [&exchange.prompt[..], &exchange.response[..]].concat();
        for (at, position) in counter.exchange(exchange, cluster).unwrap().into_iter().enumerate() {
            if let Position::Draw(coin, _) = position {
                let end = exchange.prompt.len() + at;
                windows.number(&context[end - 1..end]);
                tally.add((coin, at, cluster), 1.0, cluster);
            }
        }
    }
    let arm = &scheme.arms()[0];
    let law = arm.law();
    let draws = tally
        .whole(Scale::Unit)
        .open(law, arm.origin(), |(coin, ..)| arm.word(&arm.seed(windows.get(coin.window)), coin.token));
    verdict_tail(draws).unwrap().0
}

#[test]
fn root_counts_gumbel_and_dual_gumbel_are_calibrated() {
    let exchanges = innocent();
    for (spec, statistic) in [
        ("green/1/w1/b2/t1", TextStatistic::RootCount),
        ("green/1/w0/b8/t77", TextStatistic::RootCount),
        ("gumbel/1/w1", TextStatistic::Distinct),
        ("gumbel/1/w2+2", TextStatistic::Distinct),
        ("gumbel/1/w1", TextStatistic::RootCount),
    ] {
        let evidence = count(spec.parse::<Spec>().unwrap().width(), &exchanges, statistic).unwrap();
        let ln_p: Vec<f64> = (0..keys()).map(|key| tail(&evidence, &scheme(spec, key))).collect();
        assert_valid(&format!("{spec} {statistic:?}"), &ln_p, limits());
    }
}

#[test]
fn the_e_process_is_calibrated_whenever_one_stops() {
    let exchanges = &innocent()[..20];
    for (spec, statistic) in
        [("green/1/w1/b2/t1", TextStatistic::RootCount), ("gumbel/1/w1", TextStatistic::Distinct)]
    {
        let evidence = count(spec.parse::<Spec>().unwrap().width(), exchanges, statistic).unwrap();
        let anytime: Vec<f64> = (0..keys())
            .map(|key| -Summary::of(evidence.open(&scheme(spec, key)).unwrap()).unwrap().ln_e_max)
            .collect();
        assert_valid(&format!("{spec} {statistic:?}, e-process"), &anytime, limits());
    }
}

#[test]
fn distributions_are_calibrated() {
    let (contexts, q, b) = rows(90);
    let predictions: Vec<Prediction<'_>> = contexts
        .iter()
        .zip(&q)
        .zip(0..)
        .map(|((context, q), cluster)| Prediction {
            prompt: &[],
            context,
            provenance: Provenance::Fresh,
            q: Row::Whole(q),
            cluster,
        })
        .collect();
    let likeliest: Vec<Vec<(u32, f32)>> = q
        .iter()
        .map(|row| {
            let mut pairs: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
            pairs.sort_by(|a, b| b.1.total_cmp(&a.1));
            pairs[..5].to_vec()
        })
        .collect();
    let top: Vec<Prediction<'_>> = predictions
        .iter()
        .zip(&likeliest)
        .map(|(whole, top)| Prediction { q: Row::Top(top), ..*whole })
        .collect();
    let references: Vec<&[f32]> = b.iter().map(Vec::as_slice).collect();
    let spec = "green/1/w1/b2/t1";
    let width = spec.parse::<Spec>().unwrap().width();
    for (what, evidence) in [
        ("argmax", argmax(width, &predictions).unwrap()),
        ("green mass", mass(width, &predictions).unwrap()),
        ("residual", residual(width, &predictions, &references, Weight::HalfNorm).unwrap()),
        ("residual of the likeliest 5", residual(width, &top, &references, Weight::Equal).unwrap()),
    ] {
        let ln_p: Vec<f64> = (0..keys()).map(|key| tail(&evidence, &scheme(spec, key))).collect();
        assert_valid(what, &ln_p, limits());
    }
}

/// Repetitive text over 40 tokens, most of them followed by themselves again, as rules, blanks and digits are.
fn loops(language: &mut Language, answers: usize) -> Vec<Exchange> {
    let mut answer = || {
        let mut text = vec![language.below(40)];
        while text.len() < 60 {
            let last = text[text.len() - 1];
            text.push(if language.below(10) < 6 { last } else { language.below(40) });
        }
        exchange(vec![text[0]], text[1..].to_vec(), Provenance::Fresh)
    };
    (0..answers).map(|_| answer()).collect()
}

/// What a reference expects of `text` that knows nothing of loops: every token alike, but for noise.
fn expectation(text: &Text, exchanges: &[Exchange], over: Over) -> Expectation {
    let mut language = Language(ChaCha8Rng::seed_from_u64(4));
    let mut expecting = Expecting::new(text, over);
    for (number, exchange) in exchanges.iter().enumerate() {
        let weights: Vec<f32> =
            (0..40 * exchange.response.len()).map(|_| (1 + language.below(9)) as f32 / 400.0).collect();
        expecting.expect(number, 40, &weights).unwrap();
    }
    expecting.finish().unwrap()
}

#[test]
fn text_beside_a_reference_is_calibrated_and_fails_with_exposure_counted_under_the_scored_key() {
    let mut language = Language(ChaCha8Rng::seed_from_u64(3));
    let exchanges = loops(&mut language, 12);
    let traffic = loops(&mut language, 20);
    for (spec, over, shrink, weighed) in [
        ("green/1/w1/b2/t1", Over::Vocabulary(40), 0.0, false),
        ("green/1/w1/b2/t1", Over::Vocabulary(40), SHRINK, true),
        ("green/1/w2/b1/t1", Over::Observed, SHRINK, true),
    ] {
        let width = spec.parse::<Spec>().unwrap().width();
        let text = Text::count(width, (0..).zip(&exchanges)).unwrap();
        let expectation = expectation(&text, &exchanges, over);
        let mut exposure = Exposure::new(width, []);
        traffic.iter().for_each(|answer| exposure.add(answer));
        let evidence = text.residual(&expectation, shrink, weighed.then_some(&exposure)).unwrap();
        let ln_p: Vec<f64> = (0..keys()).map(|key| tail(&evidence, &scheme(spec, key))).collect();
        assert_valid(&format!("{spec} beside a reference, shrink {shrink}"), &ln_p, limits());
    }
    let spec = "green/1/w1/b2/t1";
    let width = spec.parse::<Spec>().unwrap().width();
    let text = Text::count(width, (0..).zip(&exchanges)).unwrap();
    let expectation = expectation(&text, &exchanges, Over::Vocabulary(40));
    // Windows return to themselves more often where that is green, in the text that the scored key marks.
    let served = |key: u64, marking: &Scheme| {
        let mut language = Language(ChaCha8Rng::seed_from_u64(3_000_000 + key));
        let mut exposure = Exposure::new(width, []);
        (0..20).for_each(|_| exposure.add(&marked_returns(marking, &mut language, 60)));
        let scheme = scheme(spec, key);
        tail(&text.residual(&expectation, SHRINK, Some(&exposure)).unwrap(), &scheme)
    };
    let other: Vec<f64> = (0..keys()).map(|key| served(key, &scheme(spec, 1_000_000 + key))).collect();
    assert_valid("exposure counted under another key", &other, limits());
    let same: Vec<f64> = (0..keys()).map(|key| served(key, &scheme(spec, key))).collect();
    assert_fails("exposure counted under the scored key", &same);
}

/// Marked text whose tokens like to return: at each step the token itself is tried first.
fn marked_returns(scheme: &Scheme, language: &mut Language, tokens: usize) -> Exchange {
    let arm = &scheme.arms()[0];
    let mut text = vec![language.below(40)];
    while text.len() < tokens {
        let last = text[text.len() - 1];
        let seed = arm.seed(&[last]);
        let tries = [last, language.below(40), language.below(40)];
        text.push(*tries.iter().find(|token| arm.word(&seed, **token) == 1).unwrap_or(&tries[1]));
    }
    exchange(vec![text[0]], text[1..].to_vec(), Provenance::Fresh)
}

#[test]
fn what_was_marked_under_a_key_cannot_weigh_draws_of_that_key() {
    let (mine, other) = (scheme("green/1/w1/b2/t1", 1), scheme("green/1/w1/b2/t1", 2));
    let width = mine.spec().width();
    let exchanges = loops(&mut Language(ChaCha8Rng::seed_from_u64(3)), 2);
    let text = Text::count(width, (0..).zip(&exchanges)).unwrap();
    let expectation = expectation(&text, &exchanges, Over::Observed);
    let mut exposure = Exposure::new(width, mine.arms().iter().map(Arm::origin));
    exchanges.iter().for_each(|answer| exposure.add(answer));
    let weighed = text.residual(&expectation, SHRINK, Some(&exposure)).unwrap();
    assert_eq!(weighed.open(&mine).unwrap_err(), ScoreError::DependentSource);
    assert!(weighed.open(&other).is_ok());
    let plain = text.residual(&expectation, SHRINK, None).unwrap();
    assert!(plain.open(&mine).is_ok());
    let reference = plain.marked_under(mine.arms().iter().map(Arm::origin));
    assert_eq!(reference.open(&mine).unwrap_err(), ScoreError::DependentSource);
}

#[test]
fn at_width_0_distributions_of_unknown_origin_are_refused() {
    // Excluding tokens cannot help there: an innocent that echoes marked prompts reached z = 13 before this was refused.
    let width = "green/1/w0/b2/t1".parse::<Spec>().unwrap().width();
    let row = |provenance| Prediction {
        prompt: &[1, 2],
        context: &[3],
        provenance,
        q: Row::Whole(&[0.5, 0.5]),
        cluster: 0,
    };
    assert!(mass(width, &[row(Provenance::Unknown)]).is_err());
    assert!(mass(width, &[row(Provenance::Marked)]).is_err());
    assert!(mass(width, &[row(Provenance::Fresh)]).is_ok());
}

/// Rows that repeat their windows, with the mass on few tokens, and a reference that differs from them.
fn rows(n: usize) -> (Vec<Vec<u32>>, Table, Table) {
    let mut language = Language(ChaCha8Rng::seed_from_u64(2));
    let mut row = || {
        let weights: Vec<f32> =
            (0..40).map(|v| 1.0 / (1.0 + v as f32) * (1 + language.below(9)) as f32).collect();
        let sum: f32 = weights.iter().sum();
        weights.iter().map(|w| w / sum).collect::<Vec<f32>>()
    };
    let contexts = (0..n).map(|at| vec![(at * at % 37) as u32]).collect();
    ((contexts), (0..n).map(|_| row()).collect(), (0..n).map(|_| row()).collect())
}

#[test]
fn answers_that_copy_from_marked_prompts_are_calibrated_and_fail_without_the_prompt_rule() {
    let spec = "green/1/w1/b2/t1";
    let run = |provenance| -> Vec<f64> {
        (0..keys())
            .map(|key| {
                let scheme = scheme(spec, key);
                let exchanges = copying(&scheme, key, provenance);
                tail(&count(scheme.spec().width(), &exchanges, TextStatistic::Distinct).unwrap(), &scheme)
            })
            .collect()
    };
    assert_valid("copying from marked prompts", &run(Provenance::Unknown), limits());
    assert_fails("the same, attested as fresh", &run(Provenance::Fresh));
}

/// An innocent that copies from its prompts, which were marked under the key at hand.
fn copying(scheme: &Scheme, key: u64, provenance: Provenance) -> Vec<Exchange> {
    let mut language = Language(ChaCha8Rng::seed_from_u64(1_000_000 + key));
    (0..12)
        .map(|_| {
            let prompt = marked(scheme, &mut language, 20);
            let mut response = language.text(40);
            let from = language.below(10) as usize;
            response.extend(&prompt[from..from + 10]);
            response.extend(language.text(20));
            exchange(prompt, response, provenance)
        })
        .collect()
}

/// Text in which most tokens are green.
fn marked(scheme: &Scheme, language: &mut Language, tokens: usize) -> Vec<u32> {
    let arm = &scheme.arms()[0];
    let mut text = vec![language.below(VOCABULARY)];
    while text.len() < tokens {
        let seed = arm.seed(&text[text.len() - 1..]);
        let tries = (0..3).map(|_| language.below(VOCABULARY)).collect::<Vec<_>>();
        let green = tries.iter().find(|token| arm.word(&seed, **token) == 1);
        text.push(*green.unwrap_or(&tries[0]));
    }
    text
}

#[test]
fn reading_marked_text_is_calibrated_and_fails_where_windows_are_consulted_twice() {
    let spec = "green/1/w1/b2/t1";
    let mut with_rule = Vec::new();
    let mut without = Vec::new();
    for key in 0..keys() {
        let scheme = scheme(spec, key);
        let mut language = Language(ChaCha8Rng::seed_from_u64(2_000_000 + key));
        let mut reading = Reading::new(&scheme).unwrap();
        let (mut steps, mut careless) = (Vec::new(), Vec::new());
        for document in 0..4 {
            let text = marked_loops(&scheme, &mut language, 80);
            steps.extend(reading.document(&text, 1, |at| copied(&text[..at])));
            careless.extend(every_window(&scheme, document, &text));
        }
        with_rule.push(Summary::of_reading(&steps, 1_024.0).map_or(0.0, |summary| summary.ln_p));
        without.push(Summary::of_reading(&careless, 1_024.0).map_or(0.0, |summary| summary.ln_p));
    }
    assert_valid("reading, windows once", &with_rule, limits());
    assert_fails("reading, windows again and again", &without);
}

/// Marked text over a few tokens, so that windows return within a document.
fn marked_loops(scheme: &Scheme, language: &mut Language, tokens: usize) -> Vec<u32> {
    let arm = &scheme.arms()[0];
    let mut text = vec![language.below(60)];
    while text.len() < tokens {
        let seed = arm.seed(&text[text.len() - 1..]);
        let tries = (0..3).map(|_| language.below(60)).collect::<Vec<_>>();
        text.push(*tries.iter().find(|token| arm.word(&seed, **token) == 1).unwrap_or(&tries[0]));
    }
    text
}

/// What an innocent with in-context copying predicts: what followed the last token before; else a fixed guess.
fn copied(prefix: &[u32]) -> Vec<(u32, i32)> {
    let Some((last, before)) = prefix.split_last() else { return vec![(0, 512)] };
    let earlier = before.iter().rposition(|token| token == last);
    let guess = earlier.and_then(|at| prefix.get(at + 1)).copied().unwrap_or(last / 2);
    vec![(guess, 800), ((guess + 1) % 60, 100)]
}

/// Reading with its rule removed: every position is scored.
fn every_window(scheme: &Scheme, document: u32, text: &[u32]) -> Vec<Step> {
    let arm = &scheme.arms()[0];
    (1..text.len())
        .map(|at| {
            let seed = arm.seed(&text[at - 1..at]);
            Step::open(arm.law(), document, &copied(&text[..at]), |token| arm.word(&seed, *token))
        })
        .collect()
}

#[test]
fn green_shares_are_exactly_gamma_and_neighbouring_keys_are_unrelated() {
    // 5 sigma over 4 million lanes each; keys that differ in one bit.
    for (spec, gamma) in
        [("green/1/w1/b1/t1", 0.5), ("green/1/w1/b2/t1", 0.25), ("green/1/w1/b8/t77", 77.0 / 256.0)]
    {
        let open = |byte: u8| {
            let epoch = Secret::from_bytes([byte; 32]).epoch_key(&"2026-q4".parse().unwrap());
            spec.parse::<Spec>().unwrap().open(&epoch)
        };
        let (one, other) = (open(2), open(3));
        let (mut greens, mut both, mut lanes) = (0.0, 0.0, 0.0);
        let (mut a, mut b) = (vec![0; 4_096], vec![0; 4_096]);
        for window in 0..1_000 {
            one.arms()[0].words(&one.arms()[0].seed(&[window]), &mut a);
            other.arms()[0].words(&other.arms()[0].seed(&[window]), &mut b);
            greens += a.iter().map(|g| f64::from(*g)).sum::<f64>();
            both += a.iter().zip(&b).map(|(x, y)| f64::from(x * y)).sum::<f64>();
            lanes += a.len() as f64;
        }
        let sigma = |p: f64| (p * (1.0 - p) / lanes).sqrt();
        assert!((greens / lanes - gamma).abs() < 5.0 * sigma(gamma), "{spec}: {}", greens / lanes);
        let joint = gamma * gamma;
        assert!((both / lanes - joint).abs() < 5.0 * sigma(joint), "{spec}: {}", both / lanes);
    }
    assert_eq!(scheme("gumbel/1/w1", 0).spec().law(), Some(Law::Exponential));
}
