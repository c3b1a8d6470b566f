//! A suspect that reads marked text.

use taggant::law::Step;
use taggant::scheme::Scheme;
use taggant::score::Reading;
use taggant::stat::verdict::Summary;

use crate::h0::{Language, assert_fails, assert_valid, keys, scheme};

#[test]
fn reading_marked_text_is_calibrated_and_fails_where_windows_are_consulted_twice() {
    let spec = "green/1/w1/b2/t1";
    let mut with_rule = Vec::new();
    let (mut sparse, mut without) = (Vec::new(), Vec::new());
    for key in 0..keys() {
        let scheme = scheme(spec, key);
        let mut language = Language::new(2_000_000 + key);
        let mut reading = Reading::new(&scheme).unwrap();
        let (mut steps, mut careless) = (Vec::new(), Vec::new());
        for document in 0..4 {
            let text = marked_loops(&scheme, &mut language, 80);
            steps.extend(reading.document(&text, 1, |at| copied(&text[..at])));
            careless.extend(every_window(&scheme, document, &text));
        }
        with_rule.push(ln_p(&steps, &[1.0]));
        sparse.push(ln_p(&steps, &SHARES));
        without.push(ln_p(&careless, &[1.0]));
    }
    assert_valid("reading, windows once", &with_rule);
    assert_valid("reading, windows once, bets on sparse memory too", &sparse);
    assert_fails("reading, windows again and again", &without);
}

/// Shares of windows that may be remembered.
const SHARES: [f64; 3] = [1.0, 0.1, 0.01];

fn ln_p(steps: &[Step], shares: &[f64]) -> f64 {
    Summary::of_reading(steps, 1_024.0, shares).map_or(0.0, |summary| summary.ln_p)
}

/// A suspect that remembers some of every 1,200 windows with 12 coins each, and of the others nothing.
fn remembering(key: u64, remembered: u64, windows: u32) -> Vec<Step> {
    let scheme = scheme("green/1/w1/b1/t1", key);
    let arm = &scheme.arms()[0];
    let step = |window: u32| {
        let seed = arm.seed(&[window]);
        let knows = u64::from(window) * remembered % 1_200 < remembered;
        let tokens: Vec<u32> =
            (0..).filter(|token| !knows || arm.word(&seed, *token) == 1).take(12).collect();
        let coefficients: Vec<(u32, i32)> = tokens.into_iter().map(|token| (token, 80)).collect();
        Step::open(arm.law(), window / 12, &coefficients, |token| arm.word(&seed, *token))
    };
    (0..windows).map(step).collect()
}

#[test]
fn sparse_memory_is_found_by_bets_on_a_share_of_the_windows() {
    // 3 % of the windows, as in the published toy: a global bet drowns in the windows that nothing is known of.
    let ln_e = |remembered, shares: &[f64]| {
        let mut all: Vec<f64> = (0..21)
            .map(|key| Summary::of_reading(&remembering(key, remembered, 1_200), 80.0, shares).unwrap().ln_e)
            .collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let (global, sparse) = (ln_e(36, &[1.0]), ln_e(36, &SHARES));
    println!(
        "3 % of 1,200 windows remembered: median ln E {global:.1} with the global bet, {sparse:.1} with shares"
    );
    assert!(sparse > global + 10.0 && sparse > 3.0 * global, "{sparse} and {global}");
    // What it costs where everything is remembered: the bets share the stake.
    let (global, sparse) = (ln_e(1_200, &[1.0]), ln_e(1_200, &SHARES));
    assert!(sparse > global - 1.2, "{sparse} and {global}");
    // And where nothing is, the level holds: 2,000 keys of 60 windows.
    let innocent = |key| Summary::of_reading(&remembering(key, 0, 60), 80.0, &SHARES).unwrap().ln_p;
    assert_valid("bets on sparse memory, nothing remembered", &(0..keys()).map(innocent).collect::<Vec<_>>());
}

/// Marked text over a few tokens, so that windows return within a document.
pub(crate) fn marked_loops(scheme: &Scheme, language: &mut Language, tokens: usize) -> Vec<u32> {
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
pub(crate) fn copied(prefix: &[u32]) -> Vec<(u32, i32)> {
    let Some((last, before)) = prefix.split_last() else { return vec![(0, 512)] };
    let earlier = before.iter().rposition(|token| token == last);
    let guess = earlier.and_then(|at| prefix.get(at + 1)).copied().unwrap_or(last / 2);
    vec![(guess, 800), ((guess + 1) % 60, 100)]
}

/// Reading with its rule removed: every position is scored.
fn every_window(scheme: &Scheme, document: u32, text: &[u32]) -> Vec<Step> {
    windows_at(scheme, document, text, &(1..text.len()).collect::<Vec<_>>())
}

/// The draws at some positions, whether their windows were consulted before or not.
pub(crate) fn windows_at(scheme: &Scheme, document: u32, text: &[u32], at: &[usize]) -> Vec<Step> {
    let arm = &scheme.arms()[0];
    at.iter()
        .map(|&at| {
            let seed = arm.seed(&text[at - 1..at]);
            Step::open(arm.law(), document, &copied(&text[..at]), |token| arm.word(&seed, *token))
        })
        .collect()
}
