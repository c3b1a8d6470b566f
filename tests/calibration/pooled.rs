//! One test under several keys, each drawn anew: epochs, widths and schemes in one sum.

use taggant::law::{Draws, Origin};
use taggant::scheme::{Scheme, Spec};
use taggant::score::{
    Evidence, Exchange, Over, Pooled, Reading, SHRINK, Text, TextStatistic, Unrounded, count,
};
use taggant::stat::verdict::Summary;

use crate::h0::{Language, assert_fails, assert_valid, fewer, innocent, keys, ln_p, scheme};
use crate::reading::{copied, marked_loops};
use crate::text::{expectation, loops};

/// Keys that pool: spec, weight, and whether the secret is another than the first key's.
type Keys<'k> = &'k [(&'k str, u8, bool)];

/// Two epochs and two widths of one mark, and a width with a scheme of another law.
const POOLS: [(&str, TextStatistic, Keys<'_>); 3] = [
    (
        "two epochs, distinct",
        TextStatistic::Distinct,
        &[("green/1/w1/b2/t1", 1, false), ("green/1/w1/b2/t1", 1, true)],
    ),
    (
        "three keys of two widths, root counts",
        TextStatistic::RootCount,
        &[("green/1/w1/b2/t1", 2, false), ("green/1/w2/b1/t1", 3, false), ("green/1/w2/b1/t1", 1, true)],
    ),
    (
        "coins, layers and races, root counts",
        TextStatistic::RootCount,
        &[("green/1/w1/b2/t1", 4, false), ("gumbel/1/w1", 1, false), ("tournament/1/w2/d3", 1, true)],
    ),
];

fn pooled(keys: Keys<'_>, statistic: TextStatistic, exchanges: &[Exchange]) -> Pooled {
    let of = |(spec, weight, _): &(&str, u8, bool)| {
        let width = spec.parse::<Spec>().unwrap().width();
        (Unrounded::text(width, (0..).zip(exchanges), statistic).unwrap(), *weight)
    };
    Pooled::new(keys.iter().map(of).collect())
}

fn schemes(keys: Keys<'_>, number: u64) -> Vec<Scheme> {
    let secret = |other: bool| if other { 5_000_000 + number } else { number };
    keys.iter().map(|(spec, _, other)| scheme(spec, secret(*other))).collect()
}

#[test]
fn pooled_keys_are_calibrated_on_repetitive_text() {
    let exchanges = innocent();
    for (what, statistic, pool) in POOLS {
        let counted = pooled(pool, statistic, &exchanges);
        let n = if statistic == TextStatistic::Distinct { keys() } else { fewer() };
        let of = |number| ln_p(counted.open(&schemes(pool, number)).unwrap());
        assert_valid(what, &(0..n).map(of).collect::<Vec<_>>());
    }
}

#[test]
fn the_e_process_of_pooled_keys_is_calibrated_whenever_one_stops() {
    let exchanges = &innocent()[..12];
    let (what, statistic, pool) = POOLS[1];
    let counted = pooled(pool, statistic, exchanges);
    let of = |number| -Summary::of(counted.open(&schemes(pool, number)).unwrap()).unwrap().ln_e_max;
    assert_valid(&format!("{what}, e-process"), &(0..keys()).map(of).collect::<Vec<_>>());
}

#[test]
fn text_beside_a_reference_is_calibrated_under_pooled_widths() {
    let exchanges = loops(&mut Language::new(3), 12);
    let pool = [("green/1/w1/b2/t1", 1, Over::Vocabulary(40)), ("green/1/w2/b1/t1", 2, Over::Observed)];
    let of = |(spec, weight, over): &(&str, u8, Over)| {
        let width = spec.parse::<Spec>().unwrap().width();
        let text = Text::count(width, (0..).zip(&exchanges)).unwrap();
        let expected = expectation(&text, &exchanges, *over);
        (text.residuals(&expected, SHRINK, None).unwrap(), *weight)
    };
    let counted = Pooled::new(pool.iter().map(of).collect());
    let of = |number| {
        let schemes: Vec<Scheme> = pool.iter().map(|(spec, ..)| scheme(spec, number)).collect();
        ln_p(counted.open(&schemes).unwrap())
    };
    assert_valid("residuals of two widths", &(0..fewer()).map(of).collect::<Vec<_>>());
}

#[test]
fn one_key_under_two_names_fails() {
    let exchanges = innocent();
    let evidence =
        count("green/1/w1/b2/t1".parse::<Spec>().unwrap().width(), &exchanges, TextStatistic::Distinct);
    let evidence = evidence.unwrap();
    let of = |number| ln_p(twice(&evidence, &scheme("green/1/w1/b2/t1", number)));
    assert_fails("one key under two names", &(0..keys()).map(of).collect::<Vec<_>>());
    // Under its own name it is refused.
    let same = scheme("green/1/w1/b2/t1", 1);
    assert!(evidence.open(&same).unwrap().pool(evidence.open(&same).unwrap()).is_err());
    assert!(Reading::pooled([(&same, 1), (&same, 1)]).is_err());
}

/// Pooling with its rule removed: the same coins are passed off as those of another key.
fn twice(evidence: &Evidence, scheme: &Scheme) -> Draws {
    let arm = &scheme.arms()[0];
    let open = |name: u8| {
        evidence.coefficients().open(arm.law(), Origin([name; 32]), |coin| {
            arm.word(&arm.seed(evidence.windows().get(coin.window)), coin.token)
        })
    };
    open(1).pool(open(2)).unwrap()
}

#[test]
fn reading_under_pooled_keys_is_calibrated_and_fails_where_one_memory_serves_both() {
    // Text is marked under the first key; the second, at another width, is opened too.
    let (mut with_rule, mut without) = (Vec::new(), Vec::new());
    for number in 0..keys() {
        let (narrow, wide) = (scheme("green/1/w1/b2/t1", number), scheme("green/1/w2/b1/t1", number));
        let mut language = Language::new(6_000_000 + number);
        let mut reading = Reading::pooled([(&narrow, 2), (&wide, 1)]).unwrap();
        let mut by_width_two = Reading::pooled([(&wide, 1)]).unwrap();
        let (mut steps, mut careless) = (Vec::new(), Vec::new());
        for document in 0..4 {
            let text = marked_loops(&narrow, &mut language, 80);
            steps.extend(reading.document(&text, 1, |at| copied(&text[..at])));
            // Where the wider window is new, the narrower one mostly is not.
            let mut new = Vec::new();
            careless.extend(by_width_two.document(&text, 1, |at| {
                new.push(at);
                copied(&text[..at])
            }));
            careless.extend(crate::reading::windows_at(&narrow, document, &text, &new));
        }
        let ln_p = |steps: &[_], a_max| {
            Summary::of_reading(steps, a_max, &[1.0, 0.1]).map_or(0.0, |summary| summary.ln_p)
        };
        with_rule.push(ln_p(&steps, 2_048.0));
        without.push(ln_p(&careless, 1_024.0));
    }
    assert_valid("reading under two keys", &with_rule);
    assert_fails("reading under two keys, windows new under the wider one only", &without);
}
