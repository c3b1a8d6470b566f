//! From a secret to an opened key: commit before service, open one label afterwards, let the other side check it.
//!
//! Also why the commitment is needed: among enough invented keys there is always one that "finds" a mark in an innocent
//! text. Its inclusion proof fails.
//!
//! ```text
//! cargo run --release --no-default-features --example key_to_opened_label
//! ```

#![expect(clippy::print_stdout, reason = "an example tells its story on stdout")]

use std::error::Error;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};
use taggant::embed::Embedder;
use taggant::key::{Audience, Commitment, Epoch, Genesis, GenesisError, Label, Opening, SchemeKey, Secret};
use taggant::scheme::Spec;
use taggant::score::{Evidence, Exchange, Provenance, TextStatistic, count};
use taggant::stat::verdict::Summary;
use taggant::token::TokenId;

fn main() -> Result<(), Box<dyn Error>> {
    let spec: Spec = "green/1/w1/b2/t1".parse()?;
    let (this_year, next_year): (Epoch, Epoch) = ("2026-q4".parse()?, "2027-q1".parse()?);

    // The operator, before service: a secret, and a commitment to every key that may ever be opened. (In service the
    // 32 bytes come from the system's generator and stay in a key file; these are public, for the example.)
    let secret = Secret::from_bytes([42; 32]);
    let label = spec.label();
    let tenant = label.audience(Audience::Tenant, "acct-17");
    let tokenizer = Sha256::digest("the tokenizer's file").into();
    let labels = vec![label.clone(), tenant];
    let genesis =
        Genesis::new(&secret, tokenizer, &[(this_year.clone(), labels.clone()), (next_year, labels)]);
    println!("key {}: genesis with {} leaves, root {}", genesis.key_id, genesis.leaves.len(), genesis.root);

    // The root is signed, time-stamped and published now. Service begins only after that.
    let published: Commitment = genesis.root;
    let answers = serve(Some(&Embedder::new(spec.open(&secret.epoch_key(&this_year)), 2.0)?), 1);
    let innocent = serve(None, 2);

    // Later, for evidence: one label of one epoch is handed over with its proof. What else derives from the secret
    // stays closed. What is opened is burned: from now on anyone can write text that carries this mark.
    let opening = genesis.open(&secret, &this_year, Some(&label))?;
    let handed_over = serde_json::to_string(&opening)?;

    // The other side has the published root, the opening and the texts, and needs nothing else.
    let key =
        Opening::from_json(&handed_over)?.verify(&published)?.ok_or("the epoch was opened, not a label")?;
    let (marked, clean) = (evidence(&answers, spec)?, evidence(&innocent, spec)?);
    let (found, nothing) = (score(&marked, spec, key.clone())?, score(&clean, spec, key)?);
    println!(
        "opened key:    log10 p = {:.1} on served answers, {:.1} on an innocent's",
        found.log10_p, nothing.log10_p
    );
    assert!(found.log10_p < -6.0 && nothing.log10_p > -3.0);

    // An accuser without a commitment tries keys until one fits the innocent text, and calls it the key.
    let (invented, log10_p) = best_of(2_000, &clean, spec, &opening)?;
    println!("invented key:  log10 p = {log10_p:.1} on the innocent's answers, the best of 2000 keys");
    assert!(log10_p < -2.0);

    // All else in the opening is genuine, but this key is not the one that was committed to.
    let mut forged = opening;
    forged.key = Commitment(*invented.hazmat_bytes());
    match forged.verify(&published) {
        Err(error @ GenesisError::NotIncluded(_)) => println!("and is refused: {error}"),
        other => return Err(format!("an invented key was not refused: {other:?}").into()),
    }

    // Nor can the operator open what was never committed to.
    let never: Label = "green/1/w2/b2/t1".parse()?;
    assert!(matches!(genesis.open(&secret, &this_year, Some(&never)), Err(GenesisError::NotCommitted(_))));
    Ok(())
}

/// What the texts show, before any key is touched.
fn evidence(exchanges: &[Exchange], spec: Spec) -> Result<Evidence, Box<dyn Error>> {
    Ok(count(spec.width(), exchanges, TextStatistic::Distinct)?)
}

/// The same under an opened key.
fn score(evidence: &Evidence, spec: Spec, key: SchemeKey) -> Result<Summary, Box<dyn Error>> {
    Ok(Summary::of(evidence.open(&spec.open_with(vec![key])?)?)?)
}

/// The key, among `tries` invented ones, under which the text looks most marked.
fn best_of(
    tries: u32,
    evidence: &Evidence,
    spec: Spec,
    opening: &Opening,
) -> Result<(SchemeKey, f64), Box<dyn Error>> {
    let label = opening.label.clone().ok_or("a label was opened")?;
    let mut best: Option<(SchemeKey, f64)> = None;
    for number in 0..tries {
        let bytes = Sha256::digest(number.to_le_bytes()).into();
        let key = SchemeKey::new(opening.epoch.clone(), label.clone(), bytes);
        let log10_p = score(evidence, spec, key.clone())?.log10_p;
        if best.as_ref().is_none_or(|(_, least)| log10_p < *least) {
            best = Some((key, log10_p));
        }
    }
    best.ok_or_else(|| "no key was tried".into())
}

/// Answers of a model without opinions: its logits are noise, and it takes the largest. (`mark_and_score` has a toy
/// that writes words.)
fn serve(embedder: Option<&Embedder>, seed: u64) -> Vec<Exchange> {
    let mut noise = ChaCha8Rng::seed_from_u64(seed);
    let mut exchanges = Vec::new();
    for prompt in 0..10 {
        let mut context: Vec<TokenId> = vec![prompt];
        let mut answer = embedder.map(Embedder::answer);
        for _ in 0..10 {
            let mut logits: Vec<f32> =
                (0..200).map(|_| f32::from(noise.next_u32().to_le_bytes()[0]) / 4.0).collect();
            if let Some(answer) = &mut answer {
                answer.step(&context, &mut logits);
            }
            let largest =
                (0..).zip(&logits).max_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(0, |(token, _)| token);
            context.push(largest);
        }
        let response = context.split_off(1);
        exchanges.push(Exchange {
            prompt: context,
            response,
            whole_context: true,
            provenance: Provenance::Fresh,
        });
    }
    exchanges
}

#[test]
fn runs() -> Result<(), Box<dyn Error>> {
    main()
}
