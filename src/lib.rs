//! Keyed watermarks for served language-model answers, and evidence that a suspect model was distilled from them.
//!
//! A provider marks answers while they are served. Later a suspect model turns up. Taggant tests whether the suspect
//! was exposed to those answers, and writes evidence that the other side can re-run offline.
//!
//! ```text
//!   secret ─▶ epoch key ─▶ scheme key           key     committed to in a genesis, before service
//!                               │
//!   logits ─▶ embed ◀───────────┤               embed   the mark, in service
//!               │               │
//!               ▼               │
//!        marked answers         │
//!               ┆               │
//!               ┆ exposed?      │
//!               ▼               ▼
//!            suspect ─▶ score ─▶ draws ─▶ stat          counted without the key, then opened by it
//!                                           │
//!   plan ─▶ sealed plan ─▶ case ◀───────────┘           findings, verdicts, bundle, report
//! ```
//!
//! # One idea
//!
//! A secret key tosses a coin for every (window, token): the few tokens before a position, and the token that follows.
//! Service leans towards one side of the coins. A model that learned from the answers leans with it; a model that did
//! not has no way to know the coins. So under "no exposure" each coin has a known law, whatever the language, the topic
//! or the model, *because we made it*; and the probability of the agreement that was found is computed, not estimated.
//!
//! # What it refuses to do
//!
//! - *To count one coin twice.* Coefficients of equal inputs are summed before anything is opened ([`law::Tally`]),
//!   and opened draws are consumed by the one test they enter ([`law::Draws`]).
//! - *To let the key choose its evidence.* What is counted is fixed before a key is asked for ([`score::Evidence`]).
//!   A suspect that reads marked text gives another type, with another verdict ([`score::Reading`]).
//! - *To call an exploration a finding.* [`case::analyse`] makes findings, and it takes a [`case::plan::SealedPlan`].
//! - *To say "guilty".* A verdict is evidence found, no evidence, or inconclusive ([`case::Verdict`]).
//! - *To print a secret.* Secrets have no `Display`, no `Serialize`, and a `Debug` that shows nothing.
//!
//! # A first example
//!
//! Marks one row of logits and asks for the draws behind it. The README goes on from here: it marks an answer and
//! scores it.
//!
//! ```
//! use taggant::embed::{Embedder, Step};
//! use taggant::key::Secret;
//! use taggant::law::Law;
//! use taggant::scheme::Spec;
//!
//! // In service: 32 bytes from the system's generator. The epoch is the operator's name for a period of service.
//! let key = Secret::from_bytes([7; 32]).epoch_key(&"2026-q4".parse()?);
//! // A green list: one preceding token selects it, and 1 in 2² tokens is on it.
//! let spec: Spec = "green/1/w1/b2/t1".parse()?;
//!
//! // Service: after token 17, every green token's logit gains δ = 2 nats.
//! let embedder = Embedder::new(spec.open(&key), 2.0)?;
//! let mut logits = vec![0.0; 1_000];
//! assert_eq!(embedder.answer().step(&[17], &mut logits), Step::Biased);
//!
//! // Verification: the same key gives the same coins, one token at a time, without the model and its vocabulary.
//! let scheme = spec.open(&key);
//! let arm = &scheme.arms()[0];
//! let seed = arm.seed(&[17]);
//! for (token, logit) in (0..).zip(&logits) {
//!     assert_eq!(arm.word(&seed, token) == 1, *logit == 2.0);
//! }
//!
//! // Without the key they are coins that show "green" with probability exactly 1/4.
//! assert!(matches!(spec.law(), Some(Law::Bernoulli(gamma)) if gamma.value() == 0.25));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/` has two longer stories, and `taggant demo` runs the whole way to a bundle.
//!
//! # Modules, in reading order
//!
//! 1. [`token`]: token ids and windows.
//! 2. [`key`]: secret, epoch key, scheme key; genesis and openings. [`key::prf`]: window to seed to lanes.
//! 3. [`law`]: what a draw is. The seam between schemes and statistics; short, and the one to read carefully.
//! 4. [`scheme`]: green lists and Gumbel races. [`scheme::Spec`] is data, [`scheme::Scheme`] has the key.
//! 5. [`embed`]: logits and history in, marked logits or a marked token out.
//! 6. [`score`]: text or distributions to draws, and what was skipped and why.
//! 7. [`stat`]: exact tails, bounds, e-processes. It knows draws and nothing else.
//! 8. [`canary`]: canary responses: books of sibling sets, serving them, matching answers to them.
//! 9. [`attribute`]: which accounts a suspect learned from, as far as that can be said, and when to abstain.
//! 10. [`case`]: sealed plans, findings, verdicts, bundles, reports.
//! 11. [`sort`]: sorting more records than memory holds.
//! 12. [`source`]: files, keys, rows and models: the rim that does input and output.
//! 13. `cli`: the `taggant` program (feature `cli`).
//!
//! `ARCHITECTURE.md` says what may import what, and what never happens where.
//!
//! # Features
//!
//! - `cli` (default): the command-line program. Brings `models`.
//! - `beacon`: checks the signature of a public round that an epoch's name ends in, by the crate `drand-verify`.
//! - `lint`: which training-data filters a canary survives; `cli` brings it.
//! - `models` (default): the embedded models and GGUF files, by the crate `taggant-model`.
//! - `parquet`: rows from Parquet files, by the crate of that name.
//!
//! Without default features the library is pure Rust with few dependencies: keys, schemes, embedding, scoring,
//! statistics and cases. A feature adds items; none changes what others do.

#![forbid(unsafe_code)]

pub mod attribute;
pub mod canary;
pub mod case;
#[cfg(feature = "cli")]
pub mod cli;
pub mod embed;
pub mod key;
pub mod law;
pub mod scheme;
pub mod score;
pub mod sort;
pub mod source;
pub mod stat;
pub mod token;

/// The examples of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
