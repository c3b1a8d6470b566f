//! Alignment of another vocabulary with the teacher's, on toy tokenizers: held against whole texts, calibrated, and with
//! prefix stability taken away.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may stop where it stands, and its numbers are no evidence"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use taggant::key::Secret;
use taggant::scheme::{Scheme, Spec};
use taggant::score::alignment::{Aligned, Answer, Known, align};
use taggant::score::{Evidence, Prediction, Provenance, Row, Weight, argmax, mass, residual_of_known};
use taggant::stat::Rate;
use taggant::stat::multiple::binomial_upper_limit;
use taggant::stat::verdict::verdict_tail;
use taggant::token::{Spelling, TokenId, Width};

const SPEC: &str = "green/1/w1/b2/t1";

fn scheme(key: u64) -> Scheme {
    let mut bytes = [0; 32];
    ChaCha8Rng::seed_from_u64(key).fill_bytes(&mut bytes);
    let epoch = Secret::from_bytes(bytes).epoch_key(&"2026-q4".parse().unwrap());
    SPEC.parse::<Spec>().unwrap().open(&epoch)
}

fn width() -> Width {
    SPEC.parse::<Spec>().unwrap().width()
}

/// A byte-level BPE: words begin with their space; inside a word the earliest merge goes first.
struct Bpe {
    tokens: Vec<Vec<u8>>,
    merges: BTreeMap<(TokenId, TokenId), TokenId>,
}

impl Bpe {
    /// Learns `merges` merges from `text`: the most frequent pair each time, ties to the lowest ids.
    fn train(text: &str, merges: usize) -> Self {
        let bytes = (0..=u8::MAX).map(|byte| vec![byte]).collect();
        let mut bpe = Self { tokens: bytes, merges: BTreeMap::new() };
        for _ in 0..merges {
            let mut pairs: BTreeMap<(TokenId, TokenId), u32> = BTreeMap::new();
            for word in words(text) {
                for pair in bpe.word(word).windows(2) {
                    *pairs.entry((pair[0], pair[1])).or_default() += 1;
                }
            }
            let (pair, _) = pairs.into_iter().rev().max_by_key(|(_, count)| *count).unwrap();
            let id = bpe.tokens.len() as TokenId;
            bpe.tokens.push([&bpe.tokens[pair.0 as usize][..], &bpe.tokens[pair.1 as usize]].concat());
            bpe.merges.insert(pair, id);
        }
        bpe
    }

    fn word(&self, word: &str) -> Vec<TokenId> {
        let mut tokens: Vec<TokenId> = word.bytes().map(TokenId::from).collect();
        loop {
            let merged = tokens.windows(2).filter_map(|pair| self.merges.get(&(pair[0], pair[1]))).min();
            let Some(&merged) = merged else { return tokens };
            let (mut next, mut at) = (Vec::new(), 0);
            while at < tokens.len() {
                let pair = tokens.get(at + 1).map(|second| (tokens[at], *second));
                let here = pair.is_some_and(|pair| self.merges.get(&pair) == Some(&merged));
                next.push(if here { merged } else { tokens[at] });
                at += if here { 2 } else { 1 };
            }
            tokens = next;
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest.char_indices().skip(1).find(|(_, c)| *c == ' ').map_or(rest.len(), |(at, _)| at);
        let (word, more) = rest.split_at(end);
        rest = more;
        (!word.is_empty()).then_some(word)
    })
}

impl Spelling for Bpe {
    fn bytes(&self, token: TokenId) -> Option<&[u8]> {
        self.tokens.get(token as usize).map(Vec::as_slice)
    }

    fn encode(&self, text: &[u8]) -> Option<Vec<TokenId>> {
        Some(words(std::str::from_utf8(text).ok()?).flat_map(|word| self.word(word)).collect())
    }
}

/// Text of a few letters, one of them of two bytes; `taste` makes some pairs frequent.
fn text(length: usize, taste: u64, seed: u64) -> String {
    let letters = ['a', 'b', 'c', 'd', 'é', ' '];
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut last = 0;
    let mut next = || {
        let fresh = rng.next_u32() as usize % letters.len();
        last = if rng.next_u32().is_multiple_of(2) {
            (last * 3 + taste as usize) % letters.len()
        } else {
            fresh
        };
        letters[last]
    };
    (0..length).map(|_| next()).collect()
}

fn teacher() -> Bpe {
    Bpe::train(&text(2_000, 1, 1), 60)
}

fn suspect() -> Bpe {
    Bpe::train(&text(2_000, 4, 2), 40)
}

/// Random probabilities over a vocabulary, some of them 0; half a percent is not returned.
fn distribution(vocabulary: usize, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let weights: Vec<f64> =
        (0..vocabulary).map(|_| f64::from((rng.next_u32() % 8).saturating_sub(4))).collect();
    let total: f64 = weights.iter().sum::<f64>() / 0.995;
    weights.iter().map(|weight| weight / total).collect()
}

fn known<'a>(vocabulary: &'a Bpe, q: &[f64]) -> Vec<Known<'a>> {
    let token = |(token, probability): (TokenId, &f64)| Known {
        bytes: vocabulary.bytes(token),
        probability: *probability,
    };
    (0..).zip(q).map(token).collect()
}

/// The same from the definition: the whole text is tokenised for each token.
fn from_the_whole_text(teacher: &Bpe, text: &str, known: &[Known<'_>]) -> BTreeMap<TokenId, f64> {
    let before = teacher.encode(text.as_bytes()).unwrap();
    let mut row = BTreeMap::new();
    for Known { bytes, probability } in known {
        let Some(after) = bytes.and_then(|bytes| teacher.encode(&[text.as_bytes(), bytes].concat())) else {
            continue;
        };
        if let Some([token]) = after.strip_prefix(&before[..]) {
            *row.entry(*token).or_default() += probability;
        }
    }
    row
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn mass_is_conserved_and_the_row_is_that_of_the_whole_text(length in 0_usize..200, seed in any::<u64>()) {
        let (teacher, suspect) = (teacher(), suspect());
        let text = text(length, 1, seed);
        let mut known = known(&suspect, &distribution(suspect.tokens.len(), seed));
        // A control token, and one token twice.
        known[7].bytes = None;
        known[8].bytes = known[97].bytes;
        let Aligned { row, scored, lost } =
            align(&teacher, &teacher.encode(text.as_bytes()).unwrap(), &known).unwrap();
        prop_assert!((scored + lost.total() - 1.0).abs() < 1e-9);
        prop_assert!((lost.not_returned - 0.005).abs() < 1e-9);
        let expected = from_the_whole_text(&teacher, &text, &known);
        let sum: f64 = expected.values().sum();
        prop_assert!((sum - scored).abs() < 1e-9);
        let expected: Vec<(TokenId, f32)> = expected.into_iter().map(|(token, q)| (token, q as f32)).collect();
        prop_assert_eq!(row, expected);
    }

    #[test]
    fn an_identical_tokenizer_loses_nothing_of_what_it_would_write(length in 1_usize..200, seed in any::<u64>()) {
        let teacher = teacher();
        let text = text(length, 1, seed);
        let answer = Answer::of(&teacher, text.as_bytes()).unwrap();
        let mut at = 0;
        for (number, token) in answer.tokens().iter().enumerate() {
            let before = answer.before(at).unwrap();
            prop_assert_eq!(before, &answer.tokens()[..number]);
            let bytes = teacher.bytes(*token).unwrap();
            let aligned = align(&teacher, before, &[Known { bytes: Some(bytes), probability: 1.0 }]).unwrap();
            prop_assert_eq!(aligned.row, [(*token, 1.0)]);
            prop_assert_eq!(aligned.lost.total(), 0.0);
            at += bytes.len();
        }
    }
}

/// An innocent suspect's rows at every place of its answers, aligned: teacher tokens before, and the row.
type Rows = Vec<(u32, Vec<TokenId>, Vec<(TokenId, f32)>)>;

fn innocent() -> Rows {
    let (teacher, suspect) = (teacher(), suspect());
    let mut rows = Vec::new();
    for cluster in 0..12 {
        let text = text(60, 4, 100 + u64::from(cluster));
        let answer = Answer::of(&teacher, text.as_bytes()).unwrap();
        let mut at = 0;
        for token in suspect.encode(text.as_bytes()).unwrap() {
            // What it holds likely depends on its own last token only.
            let q = distribution(suspect.tokens.len(), u64::from(token));
            let aligned = answer.before(at).and_then(|before| {
                Some((before.to_vec(), align(&teacher, before, &known(&suspect, &q))?.row))
            });
            rows.extend(aligned.map(|(before, row)| (cluster, before, row)));
            at += suspect.bytes(token).unwrap().len();
        }
    }
    rows
}

fn predictions(rows: &Rows) -> Vec<Prediction<'_>> {
    let prediction = |(cluster, context, row)| Prediction {
        prompt: &[],
        context,
        provenance: Provenance::Fresh,
        q: Row::Top(row),
        cluster,
    };
    rows.iter().map(|(cluster, before, row)| prediction((*cluster, &before[..], &row[..]))).collect()
}

fn tail(evidence: &Evidence, key: u64) -> (f64, f64) {
    verdict_tail(evidence.open(&scheme(key)).unwrap()).unwrap()
}

#[test]
fn aligned_rows_of_an_innocent_are_calibrated() {
    const KEYS: u64 = 2_000;
    let rows = innocent();
    let predictions = predictions(&rows);
    let expected = |(at, size)| distribution(size, at).into_iter().map(|q| q as f32).collect::<Vec<f32>>();
    let b: Vec<Vec<f32>> = (0..).zip(rows.iter().map(|(.., row)| row.len())).map(expected).collect();
    for (what, evidence) in [
        ("argmax", argmax(width(), &predictions).unwrap()),
        ("mass", mass(width(), &predictions).unwrap()),
        ("residual", residual_of_known(width(), &predictions, &b, Weight::HalfNorm).unwrap()),
    ] {
        let draws = evidence.coefficients().entries().len();
        assert!(draws > 30, "{what}: {draws} draws");
        let ln_p: Vec<f64> = (0..KEYS).map(|key| tail(&evidence, key).0).collect();
        for level in [20_u32, 100, 1_000] {
            let found = ln_p.iter().filter(|ln_p| **ln_p <= -f64::from(level).ln()).count() as u64;
            let limit = binomial_upper_limit(KEYS, Rate::new(1, u64::from(level)).unwrap(), 0.999);
            println!("{what}: {found} of {KEYS} at 1 in {level}, limit {limit}, {draws} draws");
            assert!(found <= limit, "{what}: {found} of {KEYS} at 1 in {level}, limit {limit}");
        }
    }
}

/// Words of a space and two letters are single tokens; so are letters, with a space and without.
struct Words;

impl Words {
    fn id(text: &[u8]) -> Option<TokenId> {
        let letter = |byte: &u8| (b'a'..=b'h').contains(byte).then(|| u32::from(byte - b'a'));
        match text {
            [b' ', first, second] => Some(16 + 8 * letter(first)? + letter(second)?),
            [b' ', first] => Some(8 + letter(first)?),
            [first] => letter(first),
            _ => None,
        }
    }

    fn spelling(token: TokenId) -> Vec<u8> {
        let letter = |n: u32| b'a' + (n % 8) as u8;
        match token {
            0..8 => vec![letter(token)],
            8..16 => vec![b' ', letter(token)],
            _ => vec![b' ', letter((token - 16) / 8), letter(token)],
        }
    }
}

/// [`Words`] with its spellings at hand.
struct Spelt(Vec<Vec<u8>>);

impl Spelling for Spelt {
    fn bytes(&self, token: TokenId) -> Option<&[u8]> {
        self.0.get(token as usize).map(Vec::as_slice)
    }

    fn encode(&self, text: &[u8]) -> Option<Vec<TokenId>> {
        let mut rest = text;
        let mut tokens = Vec::new();
        while !rest.is_empty() {
            let (id, length) =
                (1..=rest.len().min(3)).rev().find_map(|n| Some((Words::id(&rest[..n])?, n)))?;
            tokens.push(id);
            rest = &rest[length..];
        }
        Some(tokens)
    }
}

/// How likely each word follows `window` in text marked under `scheme` with δ = 2: words alike but for the mark.
fn marked(scheme: &Scheme, window: TokenId) -> Vec<(TokenId, f64)> {
    let arm = &scheme.arms()[0];
    let seed = arm.seed(&[window]);
    let weight = |word| (word, (2.0 * arm.law().value(arm.word(&seed, word))).exp());
    let weights: Vec<(TokenId, f64)> = (16..80).map(weight).collect();
    let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
    weights.into_iter().map(|(word, weight)| (word, weight / total)).collect()
}

/// A suspect that has learned the marked words, and writes those from "e" on as two tokens, knows their second letters
/// at places where the teacher never stands.
#[test]
fn without_prefix_stability_the_mark_drowns() {
    let teacher = Spelt((0..80).map(Words::spelling).collect());
    let (mut stable, mut naive) = (Vec::new(), Vec::new());
    for key in 0..20 {
        let scheme = scheme(key);
        let (mut aligned_rows, mut naive_rows): (Rows, Rows) = (Vec::new(), Vec::new());
        for window in 16..80 {
            let mut first: BTreeMap<Vec<u8>, f64> = BTreeMap::new();
            let mut second: BTreeMap<TokenId, Vec<(Vec<u8>, f64)>> = BTreeMap::new();
            for (word, q) in marked(&scheme, window) {
                let spelling = Words::spelling(word);
                let whole = spelling[1] < b'e';
                *first.entry(spelling[..if whole { 3 } else { 2 }].to_vec()).or_default() += q;
                if !whole {
                    second
                        .entry(Words::id(&spelling[..2]).unwrap())
                        .or_default()
                        .push((spelling[2..].to_vec(), q));
                }
            }
            let mut places = vec![(vec![window], first.into_iter().collect::<Vec<_>>())];
            places.extend(second.into_iter().map(|(piece, letters)| {
                let total: f64 = letters.iter().map(|(_, q)| q).sum();
                (vec![window, piece], letters.into_iter().map(|(bytes, q)| (bytes, q / total)).collect())
            }));
            for (before, q) in places {
                let known: Vec<Known<'_>> =
                    q.iter().map(|(bytes, q)| Known { bytes: Some(bytes), probability: *q }).collect();
                let aligned = align(&teacher, &before, &known).unwrap();
                assert_eq!(before.len() == 2, aligned.row.is_empty(), "{before:?}");
                let spelt = q.iter().map(|(bytes, q)| (Words::id(bytes).unwrap(), *q as f32)).collect();
                aligned_rows.push((window, before.clone(), aligned.row));
                naive_rows.push((window, before, spelt));
            }
        }
        stable.push(tail(&mass(width(), &predictions(&aligned_rows)).unwrap(), key).1);
        naive.push(tail(&mass(width(), &predictions(&naive_rows)).unwrap(), key).1);
    }
    let mean = |z: &[f64]| z.iter().sum::<f64>() / z.len() as f64;
    let (stable, naive) = (mean(&stable), mean(&naive));
    println!("mean z with prefix stability {stable:.1}, without {naive:.1}");
    assert!(stable > 2.0 * naive && stable > 3.0, "{stable} {naive}");
}
