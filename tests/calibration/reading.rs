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
    let mut without = Vec::new();
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
        with_rule.push(Summary::of_reading(&steps, 1_024.0).map_or(0.0, |summary| summary.ln_p));
        without.push(Summary::of_reading(&careless, 1_024.0).map_or(0.0, |summary| summary.ln_p));
    }
    assert_valid("reading, windows once", &with_rule);
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
