//! Marks a toy model's answers, then scores them: with the right key, with a wrong one, and against unmarked answers.
//!
//! ```text
//! cargo run --release --no-default-features --example mark_and_score
//! ```

#![expect(clippy::print_stdout, reason = "an example tells its story on stdout")]

use std::error::Error;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use taggant::embed::Embedder;
use taggant::key::{EpochKey, Secret};
use taggant::scheme::Spec;
use taggant::score::{Exchange, Provenance, TextStatistic, count};
use taggant::stat::math::log10_from_ln;
use taggant::stat::verdict::Summary;
use taggant::token::TokenId;

fn main() -> Result<(), Box<dyn Error>> {
    // A secret is 32 bytes from the system's generator (`taggant key new` makes one). This one is public: a toy.
    let secret = Secret::from_bytes([7; 32]);

    // An epoch is one period of service. Each has a key of its own, and knowing one says nothing about another.
    let served = secret.epoch_key(&"2026-q4".parse()?);
    let never_used = secret.epoch_key(&"2027-q1".parse()?);

    // A green list: the token before the position (w1) selects it, and lanes of 2 bits below 1 (b2, t1) are green, so
    // a quarter of all tokens is. The text of a spec is also the label that derives its key.
    let spec: Spec = "green/1/w1/b2/t1".parse()?;

    // Serving. A green token's logit gains 2 nats; the model itself knows nothing of it.
    let embedder = Embedder::new(spec.open(&served), 2.0)?;
    let marked = serve(Some(&embedder), 1);
    let unmarked = serve(None, 2);
    println!("marked:    {}", text(&marked[0]));
    println!("unmarked:  {}\n", text(&unmarked[0]));

    // Scoring. The text alone decides what is counted; the key is asked only afterwards.
    let found = score(&marked, spec, &served)?;
    let wrong_key = score(&marked, spec, &never_used)?;
    let clean = score(&unmarked, spec, &served)?;
    println!("                         draws  green rate  log10 p  log10 e");
    for (what, summary) in
        [("marked, its key", &found), ("marked, another key", &wrong_key), ("unmarked, the key", &clean)]
    {
        let (rate, ln_e) = (100.0 * summary.estimate, log10_from_ln(summary.ln_e));
        println!("{what:<22} {:>7}  {rate:>8.1} %  {:>7.1}  {ln_e:>7.1}", summary.draws, summary.log10_p);
    }

    // One chance in a million is the usual level. It is reached with the right key and nowhere else.
    assert!(found.log10_p < -6.0 && log10_from_ln(found.ln_e) > 3.0);
    assert!(wrong_key.log10_p > -3.0 && clean.log10_p > -3.0);
    // Chance gives a quarter, exactly: not because of the language, but because the lanes are made that way.
    assert!(found.expected == 0.25 && found.estimate > 0.35);
    Ok(())
}

/// What the texts show under one key.
fn score(exchanges: &[Exchange], spec: Spec, key: &EpochKey) -> Result<Summary, Box<dyn Error>> {
    // No key here: which (window, token) pairs occur. However often one occurs, it is one coin and counts once.
    let evidence = count(spec.width(), exchanges, TextStatistic::Distinct)?;
    // Now the coins are opened. A test consumes them: they cannot enter a second one.
    Ok(Summary::of(evidence.open(&spec.open(key))?)?)
}

/// Answers the toy prompts, with the mark or without it.
fn serve(embedder: Option<&Embedder>, seed: u64) -> Vec<Exchange> {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let mut exchanges = Vec::new();
    for prompt in (0..WORDS.len()).cycle().take(16) {
        // A prompt is one word. None was made from marked text, and all that the model saw is known.
        let prompt = vec![id(prompt)];
        let mut context = prompt.clone();
        let mut answer = embedder.map(Embedder::answer);
        for _ in 0..24 {
            let mut logits = bigram(context[context.len() - 1]);
            if let Some(answer) = &mut answer {
                answer.step(&context, &mut logits);
            }
            context.push(sample(&logits, &mut chance));
        }
        let response = context.split_off(prompt.len());
        exchanges.push(Exchange { prompt, response, whole_context: true, provenance: Provenance::Fresh });
    }
    exchanges
}

/// The toy's words, by kind: what may begin a noun, what describes one, nouns, verbs, prepositions, the end.
const WORDS: [&str; 44] = [
    "the", "a", "every", "some", "this", "no", "old", "bright", "quiet", "cold", "green", "small", "strange",
    "golden", "river", "stone", "bird", "lantern", "garden", "child", "ship", "letter", "winter", "house",
    "song", "bridge", "baker", "clock", "finds", "carries", "forgets", "follows", "paints", "keeps",
    "watches", "leaves", "turns", "under", "beside", "behind", "without", "across", "above", ".",
];
/// Where each kind of word ends in [`WORDS`].
const ENDS: [usize; 6] = [6, 14, 28, 37, 43, 44];
/// Logits of the kind that follows (columns) a kind (rows).
const FOLLOWS: [[f32; 6]; 6] = [
    [-9.0, 1.0, 1.0, -9.0, -9.0, -9.0],
    [-9.0, -1.0, 2.0, -9.0, -9.0, -9.0],
    [-9.0, -9.0, -9.0, 2.0, 1.0, 1.0],
    [2.0, -1.0, -9.0, -9.0, 0.0, 0.0],
    [2.0, 0.0, -1.0, -9.0, -9.0, -9.0],
    [2.0, 0.0, 0.0, -9.0, -9.0, -9.0],
];

/// The toy model: a table of bigrams.
fn bigram(previous: TokenId) -> Vec<f32> {
    let kind = |word: usize| ENDS.iter().filter(|end| word >= **end).count();
    let row = FOLLOWS[kind(previous as usize)];
    (0..WORDS.len()).map(|word| row[kind(word)]).collect()
}

/// Draws a token from the softmax of the logits: temperature 1, nothing truncated.
fn sample(logits: &[f32], chance: &mut ChaCha8Rng) -> TokenId {
    let weights: Vec<f32> = logits.iter().map(|logit| logit.exp()).collect();
    let uniform = f64::from(chance.next_u32()) / 4_294_967_296.0;
    let mut left = uniform * weights.iter().copied().map(f64::from).sum::<f64>();
    for (word, weight) in weights.iter().enumerate() {
        left -= f64::from(*weight);
        if left < 0.0 {
            return id(word);
        }
    }
    id(weights.len() - 1)
}

fn id(word: usize) -> TokenId {
    TokenId::try_from(word).unwrap_or(0)
}

fn text(exchange: &Exchange) -> String {
    let words = exchange.prompt.iter().chain(&exchange.response).map(|token| WORDS[*token as usize]);
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn runs() -> Result<(), Box<dyn Error>> {
    main()
}
