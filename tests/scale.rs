//! Text that is sorted outside memory gives what the same text gives in memory, to the last bit.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test may stop where it stands, and its numbers are no evidence"
)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use taggant::key::Secret;
use taggant::law::{Draw, Law};
use taggant::scheme::{Scheme, Spec};
use taggant::score::{
    Bulk, Counted, Counter, Exchange, Position, Provenance, Repeat, ScoreError, Skipped, TextStatistic, count,
};
use taggant::sort::{Fill, NoScratch, Scratch};
use taggant::stat::verdict::{Summary, TestError};

/// Runs by name.
#[derive(Default)]
struct Shelf(RefCell<BTreeMap<String, Vec<u8>>>);

impl Shelf {
    fn remove(&self, names: &[String]) {
        names.iter().for_each(|name| assert!(self.0.borrow_mut().remove(name).is_some()));
    }
}

impl Scratch for Shelf {
    fn write(&self, name: &str, fill: Fill<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        fill(&mut bytes)?;
        assert!(self.0.borrow_mut().insert(name.to_owned(), bytes).is_none(), "{name} twice");
        Ok(())
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        let bytes = self.0.borrow().get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(io::Cursor::new(bytes)))
    }
}

const SPECS: [&str; 9] = [
    "green/1/w0/b1/t1",
    "green/1/w1/b2/t1",
    "green/1/w2/b8/t77",
    "green/1/w3/b1/t1",
    "gumbel/1/w1",
    "gumbel/1/w2+2",
    "gumbel/1/w4",
    "tournament/1/w2/d5",
    "tournament/1/w16/d30",
];

/// Equal widths; the narrower part first or second; none, and the widest there is; laws that differ.
const MIXES: [&str; 7] = [
    "mix/1/128/green/1/w1/b2/t1/gumbel/1/w3",
    "mix/1/64/tournament/1/w2/d5/green/1/w0/b1/t1",
    "mix/1/200/green/1/w2/b1/t1/green/1/w2/b8/t77",
    "mix/1/100/gumbel/1/w16/green/1/w1/b1/t1",
    "mix/1/128/green/1/w0/b1/t1/tournament/1/w0/d3",
    "mix/1/1/green/1/w4/b2/t1/green/1/w1/b2/t1",
    "mix/1/255/green/1/w5/b2/t1/green/1/w2/b2/t1",
];

fn scheme(spec: &str, key: u8) -> Scheme {
    spec.parse::<Spec>().unwrap().open(&Secret::from_bytes([key; 32]).epoch_key(&"now".parse().unwrap()))
}

/// Few different tokens, small and large, so that draws repeat.
fn token() -> impl Strategy<Value = u32> {
    prop_oneof![6 => 0..4_u32, 2 => 126..130_u32, 1 => Just(u32::MAX), 1 => Just(1 << 17)]
}

fn exchange(marked: bool) -> impl Strategy<Value = Exchange> {
    let provenance = prop_oneof![
        4 => Just(Provenance::Fresh),
        4 => Just(Provenance::Unknown),
        1 => Just(if marked { Provenance::Marked } else { Provenance::Fresh })
    ];
    (vec(token(), 0..6), vec(token(), 0..60), any::<bool>(), provenance).prop_map(
        |(prompt, response, whole_context, provenance)| Exchange {
            prompt,
            response,
            whole_context,
            provenance,
        },
    )
}

/// What a verdict is made of.
type Outcome = (Option<Summary>, Skipped, u64, u64);

fn tested(summary: Result<Summary, TestError>) -> Option<Summary> {
    match summary {
        Ok(summary) => Some(summary),
        Err(TestError::NoDraws) => None,
        Err(error) => panic!("{error}"),
    }
}

fn in_memory(exchanges: &[Exchange], scheme: &Scheme, statistic: TextStatistic) -> Outcome {
    let evidence = count(scheme.spec().width(), exchanges, statistic).unwrap();
    let distinct = evidence.coefficients().entries().len() as u64;
    let summary = tested(Summary::of(evidence.open(scheme).unwrap()));
    (summary, evidence.skipped, evidence.positions, distinct)
}

/// Spills when so many bytes are held, and starts again from what was saved then.
fn outside(exchanges: &[Exchange], scheme: &Scheme, statistic: TextStatistic, cap: usize) -> Outcome {
    let (shelf, spec) = (Shelf::default(), *scheme.spec());
    let mut bulk = Bulk::of(spec, statistic);
    for (exchange, cluster) in exchanges.iter().zip(0..) {
        bulk.add(exchange, cluster).unwrap();
        if bulk.bytes() > cap {
            shelf.remove(&bulk.spill(&shelf, &cluster.to_string()).unwrap());
            assert_eq!(bulk.bytes(), 0);
            let saved = serde_json::to_string(bulk.progress()).unwrap();
            bulk = Bulk::resume(spec, statistic, serde_json::from_str(&saved).unwrap());
        }
    }
    let sorted = bulk.sorted(&shelf).unwrap();
    let summary = {
        let draws = sorted.open(scheme, &|_| ()).unwrap().unwrap();
        tested(Summary::of_streamed(draws, exchanges.len() as u32))
    };
    (summary, sorted.skipped, sorted.positions, sorted.distinct)
}

/// Every number of a summary, bit for bit: equal `f64` may differ in the sign of zero.
fn bits(summary: Option<&Summary>) -> String {
    format!("{summary:?}")
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default()
    })]

    #[test]
    fn the_same_text_gives_the_same_summary_whatever_fits_into_memory(
        exchanges in vec(exchange(true), 1..30),
        spec in 1..SPECS.len(),
        cap in prop_oneof![Just(0), 1..4_000_usize, Just(usize::MAX)],
        root in any::<bool>(),
    ) {
        let statistic = if root { TextStatistic::RootCount } else { TextStatistic::Distinct };
        let scheme = scheme(SPECS[spec], 3);
        let wanted = in_memory(&exchanges, &scheme, statistic);
        let found = outside(&exchanges, &scheme, statistic, cap);
        prop_assert_eq!(bits(found.0.as_ref()), bits(wanted.0.as_ref()));
        prop_assert_eq!((found.1, found.2, found.3), (wanted.1, wanted.2, wanted.3));
    }

    #[test]
    fn a_mix_in_order_has_the_draws_that_it_has_when_looked_up(
        exchanges in vec(exchange(true), 1..30),
        spec in 0..MIXES.len(),
        cap in prop_oneof![Just(0), 1..4_000_usize],
        root in any::<bool>(),
    ) {
        let statistic = if root { TextStatistic::RootCount } else { TextStatistic::Distinct };
        let scheme = scheme(MIXES[spec], 3);
        let unigram = MIXES[spec].contains("w0");
        let exchanges: Vec<Exchange> =
            exchanges.into_iter().filter(|e| !unigram || e.provenance != Provenance::Marked).collect();
        let counted = Counted::text(*scheme.spec(), (0..).zip(&exchanges), statistic).unwrap();
        let parts = |draw: &Draw| (draw.law(), draw.coefficient(), draw.word(), draw.cluster());
        let mut wanted: Vec<_> = counted.open(&scheme).unwrap().as_slice().iter().map(parts).collect();
        let mut bulk = Bulk::of(*scheme.spec(), statistic);
        (0..).zip(&exchanges).for_each(|(cluster, exchange)| bulk.add(exchange, cluster).unwrap());
        let sorted = bulk.sorted(&NoScratch).unwrap();
        let mut found = Vec::new();
        sorted.open(&scheme, &|_| ()).unwrap().unwrap().visit(|draw| found.push(parts(draw))).unwrap();
        let order = |draw: &(Law, i32, u32, u32)| (format!("{:?}", draw.0), draw.1, draw.2, draw.3);
        wanted.sort_by_key(order);
        found.sort_by_key(order);
        prop_assert_eq!(found, wanted);
        prop_assert_eq!(sorted.skipped, counted.skipped());
        prop_assert_eq!((sorted.positions, sorted.distinct), (counted.positions(), counted.distinct()));
        // Outside memory in the same order, so with the same sums to the last bit.
        let whole = outside(&exchanges, &scheme, statistic, usize::MAX);
        let spilled = outside(&exchanges, &scheme, statistic, cap);
        prop_assert_eq!(bits(spilled.0.as_ref()), bits(whole.0.as_ref()));
        prop_assert_eq!((spilled.1, spilled.2, spilled.3), (whole.1, whole.2, whole.3));
    }

    #[test]
    fn sorting_counts_what_looking_up_counts(
        exchanges in vec(exchange(false), 1..30),
        spec in 0..SPECS.len(),
    ) {
        let width = SPECS[spec].parse::<Spec>().unwrap().width();
        let evidence = count(width, &exchanges, TextStatistic::Distinct).unwrap();
        let windows = evidence.windows();
        let found = evidence.coefficients().entries().iter();
        let found: BTreeMap<_, _> = found
            .map(|entry| ((windows.get(entry.input.window).to_vec(), entry.input.token), entry.cluster))
            .collect();
        let (mut counter, mut wanted, mut repeated) = (Counter::new(width), BTreeMap::new(), 0);
        for (exchange, cluster) in exchanges.iter().zip(0..) {
            let context = [&exchange.prompt[..], &exchange.response[..]].concat();
            let positions = counter.exchange(exchange, cluster).unwrap();
            for (at, position) in (exchange.prompt.len()..).zip(positions) {
                match position {
                    Position::Draw(_, Repeat::First) => {
                        let window = context[at - width.tokens()..at].to_vec();
                        wanted.insert((window, context[at]), cluster);
                    }
                    Position::Draw(_, Repeat::Again) => repeated += 1,
                    _ => {}
                }
            }
        }
        prop_assert_eq!(found.len(), evidence.coefficients().entries().len());
        prop_assert_eq!(found, wanted);
        prop_assert_eq!(evidence.skipped.repeated, repeated);
    }
}

#[test]
fn runs_beyond_those_merged_at_once_are_merged_first() {
    let exchange = |first: u32| Exchange {
        prompt: vec![first % 7],
        response: (0..40).map(|at| (first * 31 + at * at) % 11).collect(),
        whole_context: true,
        provenance: Provenance::Fresh,
    };
    let exchanges: Vec<Exchange> = (0..200).map(exchange).collect();
    for statistic in [TextStatistic::Distinct, TextStatistic::RootCount] {
        let scheme = scheme("green/1/w2/b2/t1", 9);
        let wanted = in_memory(&exchanges, &scheme, statistic);
        assert_eq!(outside(&exchanges, &scheme, statistic, 0), wanted);
    }
}

#[test]
fn what_is_spilled_is_the_same_whatever_key_is_asked_later() {
    let exchange = |first: u32| Exchange {
        prompt: Vec::new(),
        response: (first..first + 50).collect(),
        whole_context: true,
        provenance: Provenance::Fresh,
    };
    let spilled = |spec: &str, key: u8| {
        let (shelf, scheme) = (Shelf::default(), scheme(spec, key));
        let mut bulk = Bulk::of(*scheme.spec(), TextStatistic::RootCount);
        for cluster in 0..20 {
            bulk.add(&exchange(cluster * 20), cluster).unwrap();
            bulk.spill(&shelf, &cluster.to_string()).unwrap();
        }
        let sorted = bulk.sorted(&shelf).unwrap();
        let summary = Summary::of_streamed(sorted.open(&scheme, &|_| ()).unwrap().unwrap(), 20).unwrap();
        let files = shelf.0.borrow().clone();
        (files, summary.statistic.to_bits())
    };
    for spec in ["gumbel/1/w2", MIXES[0]] {
        let [(one, statistic), (other, of_other)] = [spilled(spec, 1), spilled(spec, 2)];
        assert_eq!(one, other, "{spec}");
        assert_ne!(statistic, of_other, "the keys differ");
    }
}

#[test]
fn mixes_other_widths_and_marked_inputs_at_width_0_are_refused() {
    let mut bulk = Bulk::new("green/1/w0/b1/t1".parse::<Spec>().unwrap().width(), TextStatistic::Distinct);
    let marked = Exchange {
        prompt: Vec::new(),
        response: vec![1],
        whole_context: true,
        provenance: Provenance::Marked,
    };
    assert_eq!(bulk.add(&marked, 0).unwrap_err(), ScoreError::MarkedInputAtWidth0);
    let shelf = Shelf::default();
    let sorted = bulk.sorted(&shelf).unwrap();
    let open = |spec| sorted.open(&scheme(spec, 1), &|_| ()).map(drop).unwrap_err();
    assert!(matches!(open("green/1/w1/b1/t1"), ScoreError::Width { .. }));
    assert_eq!(open("mix/1/64/green/1/w0/b1/t1/gumbel/1/w0"), ScoreError::Mix);
    assert_eq!(open("payload/1/w0"), ScoreError::NoArm);
    // A part of a mix may have width 0, and a mix is opened as what it was counted for.
    let mut bulk = Bulk::of(MIXES[1].parse().unwrap(), TextStatistic::Distinct);
    assert_eq!(bulk.add(&marked, 0).unwrap_err(), ScoreError::MarkedInputAtWidth0);
    let sorted = bulk.sorted(&shelf).unwrap();
    let open = |spec| sorted.open(&scheme(spec, 1), &|_| ()).map(drop).unwrap_err();
    assert_eq!(open("mix/1/65/tournament/1/w2/d5/green/1/w0/b1/t1"), ScoreError::OtherMix);
    assert_eq!(open("tournament/1/w2/d5"), ScoreError::OtherMix);
}
