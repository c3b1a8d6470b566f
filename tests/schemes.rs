//! Properties of every scheme: what is embedded is found, at every width and in every batch shape; distortion-free schemes
//! distort nothing; words are as random as their laws say.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may stop where it stands, and its numbers are no evidence"
)]

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use taggant::embed::{Answer, Embedder, Row, Step, step_all};
use taggant::key::Secret;
use taggant::scheme::{Arm, Scheme, Spec};
use taggant::score::{Counted, Exchange, Provenance, ScoreError, TextStatistic, accounts, count};
use taggant::stat::candidates::Named;
use taggant::stat::verdict::verdict_tail;

const VOCABULARY: usize = 96;

fn scheme(spec: &str, bytes: [u8; 32]) -> Scheme {
    let epoch = Secret::from_bytes(bytes).epoch_key(&"2026-q4".parse().unwrap());
    let scheme = spec.parse::<Spec>().unwrap().open(&epoch);
    scheme.for_account(24_999)
}

/// One answer being written by a toy model that forgets everything but its own stream of chance.
struct Writer<'a> {
    answer: Option<Answer<'a>>,
    chance: ChaCha8Rng,
    context: Vec<u32>,
    marked: usize,
}

impl<'a> Writer<'a> {
    fn new(embedder: Option<&'a Embedder>, seed: u64) -> Self {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let context = (0..16).map(|_| chance.next_u32() % VOCABULARY as u32).collect();
        Self { answer: embedder.map(Embedder::answer), chance, context, marked: 0 }
    }

    fn uniform(&mut self) -> f32 {
        (self.chance.next_u32() >> 8) as f32 / 16_777_216.0
    }

    fn logits(&mut self) -> Vec<f32> {
        (0..VOCABULARY).map(|_| 2.0 * self.uniform()).collect()
    }

    /// Goes on from logits that `step` marked.
    fn write(&mut self, logits: &[f32], step: Option<Step>) {
        let (toss, u) = ((self.chance.next_u32() >> 16) as u16, self.uniform());
        self.marked += usize::from(!matches!(step, None | Some(Step::Unmarked)));
        let total: f32 = logits.iter().map(|logit| logit.exp()).sum();
        let mut p: Vec<f32> = logits.iter().map(|logit| logit.exp() / total).collect();
        if let (Some(answer), Some(Step::Race)) = (&mut self.answer, step) {
            self.context.push(answer.choose(&self.context, &p, toss).unwrap());
            return;
        }
        if let (Some(answer), Some(Step::Reweigh)) = (&mut self.answer, step) {
            assert!(answer.reweigh(&self.context, &mut p));
        }
        let mut below = 0.0;
        let token = p.iter().position(|p| {
            below += p;
            u < below
        });
        self.context.push(token.unwrap_or(VOCABULARY - 1) as u32);
    }

    fn exchange(self) -> Exchange {
        let (prompt, response) = (self.context[..16].to_vec(), self.context[16..].to_vec());
        Exchange { prompt, response, whole_context: true, provenance: Provenance::Fresh }
    }
}

/// A token of each answer, all marked in one call.
fn write_all(writers: &mut [Writer<'_>]) {
    let mut logits: Vec<Vec<f32>> = writers.iter_mut().map(Writer::logits).collect();
    let each = writers.iter_mut().zip(&mut logits);
    let mut rows: Vec<Row<'_, '_>> = each
        .filter_map(|(writer, logits)| {
            Some(Row { answer: writer.answer.as_mut()?, context: &writer.context, logits })
        })
        .collect();
    let steps = step_all(&mut rows);
    for (at, (writer, logits)) in writers.iter_mut().zip(&logits).enumerate() {
        writer.write(logits, steps.get(at).copied());
    }
}

/// `answers` answers of 40 tokens, written `batch` at a time, and the number of marked steps.
fn written(embedder: Option<&Embedder>, answers: u64, batch: usize) -> (Vec<Exchange>, usize) {
    let mut exchanges = Vec::new();
    let mut marked = 0;
    let seeds: Vec<u64> = (0..answers).collect();
    for rows in seeds.chunks(batch) {
        let mut writers: Vec<Writer<'_>> = rows.iter().map(|seed| Writer::new(embedder, *seed)).collect();
        for _ in 0..40 {
            write_all(&mut writers);
        }
        marked += writers.iter().map(|writer| writer.marked).sum::<usize>();
        exchanges.extend(writers.into_iter().map(Writer::exchange));
    }
    (exchanges, marked)
}

fn ln_p(scheme: &Scheme, exchanges: &[Exchange]) -> f64 {
    // At width 0 every token of the small vocabulary occurs: only how often says anything.
    let counted = Counted::text(*scheme.spec(), (0..).zip(exchanges), TextStatistic::RootCount).unwrap();
    verdict_tail(counted.open(scheme).unwrap()).unwrap().0
}

#[test]
fn what_is_embedded_is_found_at_every_width_and_by_no_other_key() {
    for width in 0..=16 {
        for spec in [
            format!("green/1/w{width}/b2/t1"),
            format!("gumbel/1/w{width}"),
            format!("gumbel/1/w{width}+2"),
            format!("tournament/1/w{width}/d30"),
            format!("payload/1/w{width}"),
            format!("mix/1/100/green/1/w{width}/b2/t1/tournament/1/w1/d20"),
            format!("mix/1/200/gumbel/1/w3/green/1/w{width}/b1/t1"),
        ] {
            // The unigram race has one window, which masking would let mark once an answer.
            let embedder = Embedder::new(scheme(&spec, [1; 32]), 3.0).unwrap().masking(false);
            let (exchanges, marked) = written(Some(&embedder), 20, 7);
            assert_eq!(marked, 20 * 40, "{spec}");
            let (found, other) =
                (ln_p(embedder.scheme(), &exchanges), ln_p(&scheme(&spec, [2; 32]), &exchanges));
            // At width 0 there are no more draws than tokens of the vocabulary, and a race has but Chernoff's bound.
            let enough = if spec.contains("w0") { 0.05_f64.ln() } else { -30.0 };
            assert!(found < enough && found < other && other > -9.0, "{spec}: {found} and {other}");
        }
    }
}

#[test]
fn a_list_of_candidates_is_marked_like_the_row_that_holds_them() {
    let mut chance = ChaCha8Rng::seed_from_u64(11);
    for spec in ["gumbel/1/w1", "gumbel/1/w1+2", "tournament/1/w1/d30", "payload/1/w1"] {
        let embedder = Embedder::new(scheme(spec, [1; 32]), 2.0).unwrap();
        for (survivors, context) in [1_usize, 2, 40, 700, 5_000].into_iter().zip(0..) {
            let ids: BTreeSet<u32> = (0..survivors).map(|_| chance.next_u32() % 10_000).collect();
            let mut among: Vec<(u32, f32)> =
                ids.iter().map(|id| (*id, (chance.next_u32() % 1_000 + 1) as f32 / 1_000.0)).collect();
            let mut row = vec![0.0; 10_000];
            among.iter().for_each(|(token, p)| row[*token as usize] = *p);
            // As an engine sorts them, with one that truncation left at nothing.
            among.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
            among.push((10_001, 0.0));
            for toss in [0, u16::MAX] {
                let chosen = embedder.answer().choose(&[context], &row, toss);
                assert_eq!(embedder.answer().choose_among(&[context], &among, toss), chosen, "{spec}");
                assert_eq!(chosen.is_some(), spec.starts_with("gumbel"), "{spec}");
            }
            let changed = embedder.answer().reweigh(&[context], &mut row);
            assert_eq!(embedder.answer().reweigh_among(&[context], &mut among), changed, "{spec}");
            assert!(among.pop() == Some((10_001, 0.0)), "{spec}");
            for (token, p) in &among {
                let wanted = row[*token as usize];
                assert!((p - wanted).abs() <= 1e-5 * wanted, "{spec}, token {token}: {p} and {wanted}");
            }
        }
        // Both mark a window once in an answer.
        let mut answer = embedder.answer();
        let first = answer.choose_among(&[7], &[(3, 1.0)], 0).is_some()
            || answer.reweigh_among(&[7], &mut [(3, 1.0)]);
        assert!(first, "{spec}");
        assert_eq!(answer.choose_among(&[7], &[(3, 1.0)], 0), None, "{spec}");
    }
}

#[test]
fn answers_do_not_depend_on_the_batch_they_are_written_in() {
    for spec in [
        "green/1/w1/b2/t1",
        "gumbel/1/w2+2",
        "tournament/1/w4/d30",
        "payload/1/w1",
        "mix/1/128/gumbel/1/w1/tournament/1/w3/d8",
    ] {
        let embedder = Embedder::new(scheme(spec, [1; 32]), 2.0).unwrap();
        let alone = written(Some(&embedder), 12, 1);
        for batch in [2, 5, 12] {
            assert_eq!(written(Some(&embedder), 12, batch), alone, "{spec}, {batch} at a time");
        }
    }
}

#[test]
fn unmarked_text_is_nobodys() {
    let (exchanges, _) = written(None, 20, 20);
    for spec in
        ["green/1/w1/b2/t1", "tournament/1/w2/d30", "mix/1/64/green/1/w1/b2/t1/gumbel/1/w4", "payload/1/w1"]
    {
        let found = ln_p(&scheme(spec, [1; 32]), &exchanges);
        assert!(found > -9.0, "{spec}: {found}");
    }
}

#[test]
fn a_leaked_text_names_its_account_and_unmarked_text_names_nobody() {
    let embedder = Embedder::new(scheme("payload/1/w2", [1; 32]), 3.0).unwrap();
    let candidates: BTreeSet<u64> = (0..2_000).chain([24_999, 1 << 40]).collect();
    let named = |exchanges: &[Exchange]| {
        let width = embedder.scheme().spec().width();
        let evidence = count(width, exchanges, TextStatistic::Distinct).unwrap();
        let tested = accounts(&evidence, embedder.scheme(), &candidates).unwrap();
        assert!(tested.hits().len() == 2_002 && tested.draws() >= 790, "{} draws", tested.draws());
        // One by one, with the account's own draws.
        for account in [0, 511, 512, 24_999, 1 << 40] {
            let scheme = scheme("payload/1/w2", [1; 32]).for_account(account);
            let draws = evidence.open(&scheme).unwrap();
            let hits = draws.as_slice().iter().map(|draw| u64::from(draw.word())).sum::<u64>();
            assert!(tested.hits().contains(&(account, hits)), "account {account}");
        }
        Named::of(tested).unwrap()
    };
    let leaked = named(&written(Some(&embedder), 20, 20).0);
    let found = leaked.found(-13.8);
    assert_eq!(found.iter().map(|candidate| candidate.id).collect::<Vec<_>>(), [24_999]);
    assert!(found[0].adjusted_ln_p > found[0].ln_p + 7.5 && found[0].ln_p < -30.0, "{:?}", found[0]);
    assert!(named(&written(None, 20, 20).0).found(-13.8).is_empty());
}

#[test]
fn candidates_need_accounts_and_equal_counts() {
    let (exchanges, _) = written(None, 3, 3);
    let payload = scheme("payload/1/w1", [1; 32]);
    let width = payload.spec().width();
    let distinct = count(width, &exchanges, TextStatistic::Distinct).unwrap();
    let candidates = BTreeSet::from([1, 2]);
    let green = scheme("green/1/w1/b1/t1", [1; 32]);
    assert_eq!(accounts(&distinct, &green, &candidates).unwrap_err(), ScoreError::NoAccounts);
    let wider = scheme("payload/1/w2", [1; 32]);
    assert!(matches!(accounts(&distinct, &wider, &candidates), Err(ScoreError::Width { .. })));
    let twice = [&exchanges[..], &exchanges[..1]].concat();
    let weighted = count(width, &twice, TextStatistic::RootCount).unwrap();
    assert!(matches!(accounts(&weighted, &payload, &candidates), Err(ScoreError::Weighted(_))));
    // Without an account there is nothing to open.
    let epoch = Secret::from_bytes([1; 32]).epoch_key(&"2026-q4".parse().unwrap());
    let nobody = "payload/1/w1".parse::<Spec>().unwrap().open(&epoch);
    assert_eq!(distinct.open(&nobody).unwrap_err(), ScoreError::NoArm);
}

#[test]
fn a_mix_is_opened_as_what_it_was_counted_for() {
    let (exchanges, _) = written(None, 3, 3);
    let mix = scheme("mix/1/64/green/1/w1/b2/t1/gumbel/1/w4", [1; 32]);
    let other = scheme("mix/1/65/green/1/w1/b2/t1/gumbel/1/w4", [1; 32]);
    let counted = Counted::text(*mix.spec(), (0..).zip(&exchanges), TextStatistic::Distinct).unwrap();
    assert_eq!(counted.open(&other).unwrap_err(), ScoreError::OtherMix);
    let plain = count(mix.spec().width(), &exchanges, TextStatistic::Distinct).unwrap();
    assert_eq!(plain.open(&mix).unwrap_err(), ScoreError::Mix);
    let marked: Vec<Exchange> =
        exchanges.iter().cloned().map(|e| Exchange { provenance: Provenance::Marked, ..e }).collect();
    let unigram: Spec = "mix/1/64/green/1/w0/b2/t1/gumbel/1/w4".parse().unwrap();
    let refused = Counted::text(unigram, (0..).zip(&marked), TextStatistic::Distinct);
    assert_eq!(refused.unwrap_err(), ScoreError::MarkedInputAtWidth0);
}

#[test]
fn distortion_free_schemes_keep_every_probability() {
    const KEYS: u32 = 20_000;
    for p in [vec![0.5_f32, 0.3, 0.15, 0.04, 0.01], vec![0.2; 5], vec![0.97, 0.01, 0.01, 0.005, 0.005]] {
        for spec in [
            "tournament/1/w1/d1",
            "tournament/1/w1/d30",
            "tournament/1/w0/d32",
            "gumbel/1/w1",
            "gumbel/1/w1+2",
        ] {
            let (mut sums, mut squares) = (vec![0.0; p.len()], vec![0.0; p.len()]);
            for key in 0..KEYS {
                let mut bytes = [0; 32];
                bytes[..4].copy_from_slice(&key.to_le_bytes());
                let embedder = Embedder::new(scheme(spec, bytes), 0.0).unwrap();
                let mut after = p.clone();
                if !embedder.answer().reweigh(&[7], &mut after) {
                    let won = embedder.answer().choose(&[7], &p, key as u16).unwrap();
                    after = (0..).take(p.len()).map(|token| f32::from(u8::from(token == won))).collect();
                }
                for (at, after) in after.iter().enumerate() {
                    sums[at] += f64::from(*after);
                    squares[at] += f64::from(*after) * f64::from(*after);
                }
            }
            for (at, p) in p.iter().enumerate() {
                let mean = sums[at] / f64::from(KEYS);
                let sigma = ((squares[at] / f64::from(KEYS) - mean * mean) / f64::from(KEYS)).sqrt();
                let off = (mean - f64::from(*p)) / sigma;
                assert!(off.abs() < 5.0, "{spec}, token {at} of p = {p}: mean {mean}, {off:.1} sigma off");
            }
        }
    }
}

#[test]
fn green_shares_are_gamma_within_five_sigma_over_a_hundred_million_lanes() {
    for (spec, gamma) in [
        ("green/1/w1/b1/t1", 0.5),
        ("green/1/w1/b2/t1", 0.25),
        ("green/1/w1/b4/t3", 3.0 / 16.0),
        ("green/1/w1/b8/t77", 77.0 / 256.0),
        ("green/1/w1/b16/t999", 999.0 / 65_536.0),
        ("green/1/w1/b32/t900000000", 900_000_000.0 / 4_294_967_296.0),
        ("payload/1/w1", 0.5),
    ] {
        let scheme = scheme(spec, [2; 32]);
        let arm = &scheme.arms()[0];
        // A bit of an account costs a whole block: fewer of them.
        let (windows, row) = if spec.starts_with("payload") { (100, 10_000) } else { (1_000, 100_000) };
        let mut words = vec![0; row];
        let mut green = 0_u64;
        for window in 0..windows {
            arm.words(&arm.seed(&[window]), &mut words);
            green += words.iter().map(|word| u64::from(*word)).sum::<u64>();
        }
        let lanes = f64::from(windows) * row as f64;
        let off = (green as f64 - gamma * lanes) / (lanes * gamma * (1.0 - gamma)).sqrt();
        assert!(off.abs() < 5.0, "{spec}: {off:.2} sigma off");
        println!("{spec}: {off:.2} sigma over {lanes:.0} lanes");
    }
}

#[test]
fn keys_one_bit_apart_are_unrelated() {
    const ROW: usize = 20_000;
    for spec in ["green/1/w1/b1/t1", "gumbel/1/w1", "tournament/1/w1/d30", "payload/1/w1"] {
        for bit in [0, 1, 7, 100, 255] {
            let mut bytes = [9; 32];
            let one = scheme(spec, bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let other = scheme(spec, bytes);
            assert_ne!(one.arms()[0].origin(), other.arms()[0].origin());
            let (mut a, mut b) = (vec![0; ROW], vec![0; ROW]);
            let (mut product, mut n) = (0.0, 0.0);
            for window in 0..10 {
                let words = |arm: &Arm, words: &mut Vec<u32>| arm.words(&arm.seed(&[window]), words);
                words(&one.arms()[0], &mut a);
                words(&other.arms()[0], &mut b);
                let law = one.arms()[0].law();
                let centred = |word: u32| (law.value(word) - law.mean()) / law.variance().sqrt();
                product += a.iter().zip(&b).map(|(x, y)| centred(*x) * centred(*y)).sum::<f64>();
                n += ROW as f64;
            }
            // A product of two independent standard variables has mean 0 and variance 1.
            let off = product / n.sqrt();
            assert!(off.abs() < 5.0, "{spec}, bit {bit}: {off:.2} sigma");
        }
    }
}
