//! Text: counts, text beside a reference, and answers that copy from marked prompts.

use taggant::key::Secret;
use taggant::law::{Law, Scale, Tally};
use taggant::scheme::{Arm, Scheme, Spec};
use taggant::score::{
    Counter, Exchange, Expectation, Expecting, Exposure, Over, Position, Provenance, SHRINK, ScoreError,
    Text, TextStatistic, count,
};
use taggant::stat::Rate;
use taggant::stat::multiple::binomial_upper_limit;
use taggant::stat::tail::binomial_ln_sf;
use taggant::stat::verdict::Summary;

use crate::h0::{
    LEVELS, Language, VOCABULARY, assert_fails, assert_valid, assert_within, exchange, innocent, keys, ln_p,
    over, scheme, under,
};

/// The same at the levels that a binomial test of `n` draws attains, which are lower.
fn attainable_limits(n: u64, gamma: Rate) -> [u64; 3] {
    LEVELS.map(|level| {
        let k = (0..=n).find(|k| binomial_ln_sf(n, *k, gamma) <= -(level as f64).ln()).unwrap();
        let attained = (binomial_ln_sf(n, k, gamma).exp() * 1e12) as u64;
        binomial_upper_limit(keys(), Rate::new(attained, 1_000_000_000_000).unwrap(), 0.999)
    })
}

#[test]
fn distinct_scoring_of_repetitive_text_is_calibrated_for_every_width() {
    let exchanges = innocent();
    for (spec, gamma) in [("green/1/w0/b2/t1", 4), ("green/1/w1/b2/t1", 4), ("green/1/w2/b1/t1", 2)] {
        let width = spec.parse::<Spec>().unwrap().width();
        let evidence = count(width, &exchanges, TextStatistic::Distinct).unwrap();
        let n = evidence.coefficients().entries().len() as u64;
        assert_within(
            spec,
            &over(&evidence, spec, keys()),
            attainable_limits(n, Rate::new(1, gamma).unwrap()),
        );
    }
}

#[test]
fn without_the_distinct_rule_the_same_run_fails() {
    let exchanges = innocent();
    let spec = "green/1/w1/b2/t1";
    let scored = under(spec, keys(), |scheme| counting_every_occurrence(&exchanges, scheme));
    assert_fails("every occurrence a draw of its own", &scored);
}

/// Distinct scoring with its rule removed: each occurrence is passed off as another input of the keyed function.
fn counting_every_occurrence(exchanges: &[Exchange], scheme: &Scheme) -> f64 {
    let mut counter = Counter::new(scheme.spec().width());
    let mut tally = Tally::new();
    let mut windows = taggant::score::Numbering::default();
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
    let draws = tally.whole(Scale::Unit).open(law, arm.origin(), |(coin, ..)| {
        arm.word(&arm.seed(windows.windows().get(coin.window)), coin.token)
    });
    ln_p(draws)
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
        assert_valid(&format!("{spec} {statistic:?}"), &over(&evidence, spec, keys()));
    }
}

#[test]
fn the_e_process_is_calibrated_whenever_one_stops() {
    let exchanges = &innocent()[..20];
    for (spec, statistic) in
        [("green/1/w1/b2/t1", TextStatistic::RootCount), ("gumbel/1/w1", TextStatistic::Distinct)]
    {
        let evidence = count(spec.parse::<Spec>().unwrap().width(), exchanges, statistic).unwrap();
        let anytime =
            under(spec, keys(), |scheme| -Summary::of(evidence.open(scheme).unwrap()).unwrap().ln_e_max);
        assert_valid(&format!("{spec} {statistic:?}, e-process"), &anytime);
    }
}

/// Repetitive text over 40 tokens, most of them followed by themselves again, as rules, blanks and digits are.
pub(crate) fn loops(language: &mut Language, answers: usize) -> Vec<Exchange> {
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
pub(crate) fn expectation(text: &Text, exchanges: &[Exchange], over: Over) -> Expectation {
    let mut language = Language::new(4);
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
    let mut language = Language::new(3);
    let exchanges = loops(&mut language, 12);
    let traffic = loops(&mut language, 20);
    for (spec, tokens, shrink, weighed) in [
        ("green/1/w1/b2/t1", Over::Vocabulary(40), 0.0, false),
        ("green/1/w1/b2/t1", Over::Vocabulary(40), SHRINK, true),
        ("green/1/w2/b1/t1", Over::Observed, SHRINK, true),
    ] {
        let width = spec.parse::<Spec>().unwrap().width();
        let text = Text::count(width, (0..).zip(&exchanges)).unwrap();
        let expectation = expectation(&text, &exchanges, tokens);
        let mut exposure = Exposure::new(width, []);
        traffic.iter().for_each(|answer| exposure.add(answer));
        let evidence = text.residual(&expectation, shrink, weighed.then_some(&exposure)).unwrap();
        assert_valid(&format!("{spec} beside a reference, shrink {shrink}"), &over(&evidence, spec, keys()));
    }
    let spec = "green/1/w1/b2/t1";
    let width = spec.parse::<Spec>().unwrap().width();
    let text = Text::count(width, (0..).zip(&exchanges)).unwrap();
    let expectation = expectation(&text, &exchanges, Over::Vocabulary(40));
    // Windows return to themselves more often where that is green, in the text that the scored key marks.
    let served = |key: u64, marking: &Scheme| {
        let mut language = Language::new(3_000_000 + key);
        let mut exposure = Exposure::new(width, []);
        (0..20).for_each(|_| exposure.add(&marked_returns(marking, &mut language, 60)));
        let scheme = scheme(spec, key);
        ln_p(text.residual(&expectation, SHRINK, Some(&exposure)).unwrap().open(&scheme).unwrap())
    };
    let other: Vec<f64> = (0..keys()).map(|key| served(key, &scheme(spec, 1_000_000 + key))).collect();
    assert_valid("exposure counted under another key", &other);
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
    let exchanges = loops(&mut Language::new(3), 2);
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
fn answers_that_copy_from_marked_prompts_are_calibrated_and_fail_without_the_prompt_rule() {
    let spec = "green/1/w1/b2/t1";
    let run = |provenance| -> Vec<f64> {
        (0..keys())
            .map(|key| {
                let scheme = scheme(spec, key);
                let exchanges = copying(&scheme, key, provenance);
                ln_p(
                    count(scheme.spec().width(), &exchanges, TextStatistic::Distinct)
                        .unwrap()
                        .open(&scheme)
                        .unwrap(),
                )
            })
            .collect()
    };
    assert_valid("copying from marked prompts", &run(Provenance::Unknown));
    assert_fails("the same, attested as fresh", &run(Provenance::Fresh));
}

/// An innocent that copies from its prompts, which were marked under the key at hand.
fn copying(scheme: &Scheme, key: u64, provenance: Provenance) -> Vec<Exchange> {
    let mut language = Language::new(1_000_000 + key);
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
