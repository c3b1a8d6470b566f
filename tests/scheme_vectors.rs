//! Known answers for schemes and text scoring: `vectors/green.json`, `gumbel.json`, `tournament.json`, `composite.json`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may stop where it stands, and its numbers are no evidence"
)]

use serde_json::Value;
use taggant::key::{EpochKey, Secret};
use taggant::law::{Law, Layers, Origin, Scale, Tally};
use taggant::scheme::gumbel::minus_ln_u;
use taggant::scheme::tournament::play;
use taggant::scheme::{Arm, Scheme, Spec};
use taggant::score::{Counted, Exchange, Provenance, TextStatistic, accounts, count};
use taggant::stat::candidates::Named;
use taggant::stat::verdict::Summary;

fn file(name: &str) -> Value {
    let path = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn cases(name: &str) -> Vec<Value> {
    file(name)["cases"].as_array().unwrap().clone()
}

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn open(case: &Value) -> Scheme {
    let spec: Spec = case["label"].as_str().unwrap().parse().unwrap();
    assert_eq!(spec.label().as_str(), case["label"].as_str().unwrap());
    spec.open(&epoch(case))
}

fn epoch(case: &Value) -> EpochKey {
    Secret::from_hex(case["secret"].as_str().unwrap()).unwrap().epoch_key(&parse(&case["epoch"]))
}

fn exchanges(case: &Value, provenance: Provenance) -> Vec<Exchange> {
    let prompts = parse::<Vec<Vec<u32>>>(&case["prompts"]).into_iter();
    let exchange = |(prompt, response)| Exchange { prompt, response, whole_context: true, provenance };
    prompts.zip(parse::<Vec<Vec<u32>>>(&case["answers"])).map(exchange).collect()
}

fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{found} is not {expected}");
}

#[test]
fn green_lists_over_answers_with_prompts() {
    for case in cases("green") {
        let scheme = open(&case);
        let exchanges = exchanges(&case, Provenance::Unknown);
        let evidence = count(scheme.spec().width(), &exchanges, TextStatistic::Distinct).unwrap();
        let summary = Summary::of(evidence.open(&scheme).unwrap()).unwrap();
        assert_eq!(summary.draws, case["scored"].as_u64().unwrap(), "{}", scheme.spec());
        assert_close(summary.statistic, case["green"].as_f64().unwrap());
        assert_close(summary.ln_p, case["ln_p"].as_f64().unwrap());
        let accounted = summary.draws + evidence.skipped.total();
        assert_eq!(accounted, evidence.positions);
    }
}

#[test]
fn gumbel_words_scores_edges_and_choice() {
    for case in cases("gumbel") {
        let scheme = open(&case);
        let Arm::Gumbel(gumbel) = &scheme.arms()[0] else { panic!("not a race") };
        for draw in case["draws"].as_array().unwrap() {
            let seed = gumbel.seed(&parse::<Vec<u32>>(&draw["window"]));
            let word = gumbel.word(&seed, parse(&draw["token"]));
            assert_eq!(word, parse::<u32>(&draw["word"]));
            assert_close(Law::Exponential.value(word), parse(&draw["score"]));
        }
        for edge in case["edges"].as_array().unwrap() {
            let word = parse(&edge["word"]);
            let score: f64 = parse(&edge["score"]);
            assert!((Law::Exponential.value(word) - score).abs() <= 1e-12 * score);
            let time: f64 = parse(&edge["minus_ln_u"]);
            assert!((minus_ln_u(word) - time).abs() <= 1e-12 * time);
        }
        let choice = &case["choice"];
        let seed = gumbel.seed(&parse::<Vec<u32>>(&choice["window"]));
        let p: Vec<f32> = parse(&choice["probabilities"]);
        assert_eq!(gumbel.choose(&seed, &p), Some(parse(&choice["token"])));
    }
}

#[test]
fn gumbel_sums_and_tails() {
    for case in cases("gumbel") {
        let scheme = open(&case);
        let answers: Vec<Exchange> = case["draws"].as_array().unwrap().iter().map(single_draw).collect();
        let evidence = count(scheme.spec().width(), &answers, TextStatistic::Distinct).unwrap();
        let summary = Summary::of(evidence.open(&scheme).unwrap()).unwrap();
        assert_eq!(summary.draws, 40);
        assert_close(summary.statistic, parse(&case["sum"]));
        assert_close(summary.ln_p, parse(&case["ln_p"]));
    }
}

/// An exchange that shows one draw: the window as a fresh prompt, the token as its answer.
fn single_draw(draw: &Value) -> Exchange {
    Exchange {
        prompt: parse(&draw["window"]),
        response: vec![parse(&draw["token"])],
        whole_context: true,
        provenance: Provenance::Fresh,
    }
}

#[test]
fn f32_word_edges_never_let_junk_win() {
    // The top 128 words round to U = 1 in plain f32; the race must still prefer a likely token with a good word.
    let junk = minus_ln_u(u32::MAX - 100) / 1e-7;
    let good = minus_ln_u(u32::MAX / 2) / 0.9;
    assert!(junk > 0.0 && minus_ln_u(u32::MAX) > 0.0 && good > 0.0);
    assert!(minus_ln_u(u32::MAX) < minus_ln_u(u32::MAX - 1));
}

#[test]
fn tournament_words_layers_and_draws() {
    for case in cases("tournament") {
        let scheme = open(&case);
        let Arm::Tournament(tournament) = &scheme.arms()[0] else { panic!("no tournament") };
        assert_eq!(u64::from(tournament.depth().get()), case["depth"].as_u64().unwrap());
        let seed = tournament.seed(&parse::<Vec<u32>>(&case["window"]));
        let words: Vec<u32> = parse(&case["words"]);
        let found: Vec<u32> = (0..).take(words.len()).map(|token| tournament.word(&seed, token)).collect();
        assert_eq!(found, words);
        let before: Vec<f64> = parse(&case["before"]);
        let after: Vec<f64> = parse(&case["after"]);
        let mut p = before.clone();
        play(tournament.depth(), &words, &mut p);
        p.iter().zip(&after).for_each(|(found, wanted)| assert_close(*found, *wanted));
        // In the numbers that a model works in, and with tokens that truncation removed in between.
        let mut row = vec![0.0_f32; 40];
        before.iter().zip(&mut row).for_each(|(p, row)| *row = *p as f32);
        tournament.reweigh(&seed, &mut row);
        for (found, wanted) in row.iter().zip(&after) {
            assert!((f64::from(*found) - wanted).abs() <= 1e-5 * wanted, "{found} is not {wanted}");
        }
        assert!(row[after.len()..].iter().all(|p| *p == 0.0));
        let ones: Vec<u32> = parse(&case["ones"]);
        let law = scheme.spec().law().unwrap();
        assert_eq!(
            words.iter().map(|word| law.whole(*word).unwrap().unsigned_abs()).collect::<Vec<_>>(),
            ones
        );
    }
}

#[test]
fn mixes_payloads_and_dual_arms() {
    let file = file("composite");
    let named = |field: &str| -> Spec { file[field].as_str().unwrap().parse().unwrap() };
    let mix = named("mix_label").open(&epoch(&file));
    let Spec::Mix(parameters) = mix.spec() else { panic!("no mix") };
    assert_eq!((parameters.share, parameters.width().tokens()), (64, 2));
    let keys = |spec: Spec| -> Vec<String> {
        let labels = spec.labels(&spec.label()).into_iter();
        labels.map(|label| hex::encode(epoch(&file).scheme_key(&label).hazmat_bytes())).collect()
    };
    assert_eq!(keys(named("mix_label"))[..2], parse::<Vec<String>>(&file["mix_part_keys"]));
    for toss in file["mix"].as_array().unwrap() {
        let window: Vec<u32> = parse(&toss["window"]);
        assert_eq!(u64::from(mix.coin().unwrap().lane(&window)), toss["coin"].as_u64().unwrap());
        let (part, narrow) = mix.marking(&window, 2).unwrap();
        assert_eq!(part as u64, toss["part"].as_u64().unwrap());
        assert_eq!(narrow, if part == 0 { &window[1..] } else { &window[..] });
    }
    let dual: Spec = format!("{}+2", named("dual_label")).parse().unwrap();
    assert_eq!(keys(dual), parse::<Vec<String>>(&file["dual_arm_keys"]));
    for bit in file["payload"].as_array().unwrap() {
        let scheme = named("payload_label").open(&epoch(&file)).for_account(parse(&bit["account"]));
        let arm = &scheme.arms()[0];
        let seed = arm.seed(&parse::<Vec<u32>>(&bit["window"]));
        let (token, account) = (parse(&bit["token"]), parse::<u64>(&bit["account"]));
        assert_eq!(u64::from(arm.word(&seed, token)), bit["bit"].as_u64().unwrap());
        assert_eq!(u64::from(arm.word_in(&mut seed.lanes(), token)), bit["bit"].as_u64().unwrap());
        let block = seed.account_block(account / 512, token);
        let at = (account % 512) as usize;
        assert_eq!(block[at / 64] >> (at % 64) & 1, bit["bit"].as_u64().unwrap());
    }
}

#[test]
fn texts_under_tournaments_and_mixes_have_their_exact_tails() {
    let file = file("scoring");
    for case in file["texts"].as_array().unwrap().iter().chain(file["mixes"].as_array().unwrap()) {
        let (scheme, exchanges) = (open(case), exchanges(case, Provenance::Fresh));
        let counted = Counted::text(*scheme.spec(), (0..).zip(&exchanges), TextStatistic::Distinct).unwrap();
        let summary = Summary::of(counted.open(&scheme).unwrap()).unwrap();
        let draws = case["draws"].as_u64().unwrap_or_else(|| parse::<[u64; 2]>(&case["draws"]).iter().sum());
        assert_eq!(summary.draws, draws, "{}", scheme.spec());
        assert_close(summary.statistic, parse(&case["sum"]));
        assert!(summary.ln_p >= parse::<f64>(&case["ln_p"]) - 1e-12, "{}", scheme.spec());
        assert!(summary.ln_p <= parse::<f64>(&case["ln_p"]) + 1e-6, "{}", scheme.spec());
    }
}

#[test]
fn layers_with_weights_have_their_exact_tails() {
    for case in file("scoring")["layers"].as_array().unwrap() {
        let (coefficients, words): (Vec<f64>, Vec<u32>) =
            (parse(&case["coefficients"]), parse(&case["words"]));
        let mut tally = Tally::new();
        (0..).zip(&coefficients).for_each(|(input, a)| tally.add(input, *a, input));
        let law = Law::Layers(Layers::weighted(&parse::<Vec<u8>>(&case["weights"])).unwrap());
        let draws = tally.whole(Scale::Unit).open(law, Origin([0; 32]), |input| words[*input as usize]);
        let summary = Summary::of(draws).unwrap();
        assert_close(summary.statistic, parse(&case["sum"]));
        let ln_p: f64 = parse(&case["ln_p"]);
        assert!((ln_p - 1e-9..ln_p + 1e-6).contains(&summary.ln_p), "{} is not {ln_p}", summary.ln_p);
    }
}

#[test]
fn leaked_text_against_every_account() {
    for case in file("scoring")["accounts"].as_array().unwrap() {
        let (scheme, exchanges) = (open(case), exchanges(case, Provenance::Fresh));
        let evidence = count(scheme.spec().width(), &exchanges, TextStatistic::Distinct).unwrap();
        let named = Named::of(accounts(&evidence, &scheme, &parse(&case["accounts"])).unwrap()).unwrap();
        assert_eq!(named.draws(), case["draws"].as_u64().unwrap());
        let wanted: Vec<(u64, u64, f64, f64)> = parse(&case["tests"]);
        assert_eq!(named.tests().len(), wanted.len());
        for (test, (id, hits, ln_p, adjusted)) in named.tests().iter().zip(wanted) {
            assert_eq!((test.id, test.hits), (id, hits));
            assert_close(test.ln_p, ln_p);
            assert_close(test.adjusted_ln_p, adjusted);
        }
    }
}
