//! One leaked text, and the exact test of every candidate on it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use serde::Serialize;
use taggant_model::tokenizer::Tokenizer;

use super::super::bulk::Bar;
use super::super::{Failure, rows};
use crate::key::{Audience, Epoch, EpochKey, Secret};
use crate::law::{Candidates, Draws};
use crate::scheme::{Scheme, Spec};
use crate::score::{self, Counted, Exchange, Skipped, TextStatistic};
use crate::source::text::Row;
use crate::stat::Rate;
use crate::stat::math::{ln, log10_from_ln, to_f64};
use crate::stat::multiple::holm;
use crate::stat::power::Hits;
use crate::stat::tail::binomial_ln_sf;
use crate::stat::verdict::verdict_tail;

/// Accounts of one keystream block, counted together.
const BLOCK: u64 = 512;
/// Tenants that one piece of work is about.
const TENANTS: usize = 32;

/// A text by epoch, counted without a key.
#[derive(Debug)]
pub(super) struct Text {
    spec: Spec,
    by_epoch: BTreeMap<Epoch, Counted>,
    pub(super) positions: u64,
    pub(super) skipped: Skipped,
}

impl Text {
    /// Counts the draws that rows show. Whom a row says it was marked for is not read: all candidates are tested.
    pub(super) fn count(
        rows: &[Row],
        default: Option<&Epoch>,
        spec: Spec,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Self, Failure> {
        let mut exchanges: BTreeMap<Epoch, Vec<(u32, Exchange)>> = BTreeMap::new();
        for (cluster, row) in (0..).zip(rows) {
            let epoch = row.epoch.as_ref().or(default).ok_or_else(|| {
                Failure(format!(
                    "line {}: the row names no epoch; add \"epoch\" to it or give --epoch",
                    row.line
                ))
            })?;
            exchanges.entry(epoch.clone()).or_default().push((cluster, rows::exchange(row, tokenizer)?));
        }
        if exchanges.is_empty() {
            return Err(Failure("every line was refused: nothing to trace".to_owned()));
        }
        let count = |(epoch, exchanges): (Epoch, Vec<(u32, Exchange)>)| {
            let exchanges = exchanges.iter().map(|(cluster, exchange)| (*cluster, exchange));
            Ok((epoch, Counted::text(spec, exchanges, TextStatistic::Distinct)?))
        };
        let by_epoch: BTreeMap<Epoch, Counted> =
            exchanges.into_iter().map(count).collect::<Result<_, Failure>>()?;
        let mut skipped = Skipped::default();
        by_epoch.values().for_each(|counted| skipped += counted.skipped());
        Ok(Self { spec, positions: by_epoch.values().map(Counted::positions).sum(), skipped, by_epoch })
    }

    /// The epochs it was served in.
    pub(super) fn epochs(&self) -> Vec<Epoch> {
        self.by_epoch.keys().cloned().collect()
    }

    fn draws(&self) -> u64 {
        self.by_epoch.values().map(Counted::distinct).sum()
    }
}

/// One candidate's test.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Tested {
    /// The account's number, or the tenant's id.
    pub(super) id: String,
    /// What a file calls the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Draws on its list; null where draws are no coins.
    pub(super) hits: Option<u64>,
    /// ln p of its own test.
    pub(super) ln_p: f64,
    /// The same as a power of ten.
    pub(super) log10_p: f64,
    /// log10 p after Holm's correction over all candidates.
    pub(super) adjusted_log10_p: f64,
    /// Whether that is at most the family-wise level.
    pub(super) named: bool,
}

/// The tests of all candidates.
#[derive(Debug)]
pub(super) struct Traced {
    pub(super) draws: u64,
    /// The hits with which the nearest would be named.
    pub(super) needed_hits: Option<u64>,
    pub(super) tests: Vec<Tested>,
    /// The chance of a hit, where draws are coins.
    rate: Option<Rate>,
}

/// p cannot be claimed below this: HMAC-SHA256 is assumed to be a PRF no further.
const LIMIT_LN_P: f64 = -128.0 * std::f64::consts::LN_2;

impl Traced {
    /// Corrects for all candidates, at the family-wise level e^`ln_alpha`.
    pub(super) fn corrected(mut self, ln_alpha: f64) -> Result<Self, Failure> {
        let ln_p: Vec<f64> = self.tests.iter().map(|test| test.ln_p.max(LIMIT_LN_P)).collect();
        for (test, adjusted) in self.tests.iter_mut().zip(holm(&ln_p)) {
            test.adjusted_log10_p = log10_from_ln(adjusted);
            test.named = adjusted <= ln_alpha;
        }
        let each = ln_alpha - ln(to_f64(self.tests.len() as u64));
        self.needed_hits = self.rate.and_then(|rate| Hits::of_coins(rate).critical(self.draws, each));
        Ok(self)
    }

    fn of_counts(
        candidates: &Candidates,
        name: impl Fn(u64) -> (String, Option<String>),
    ) -> Result<Self, Failure> {
        let (gamma, draws) = (candidates.gamma(), candidates.draws());
        let rate = Rate::dyadic(u64::from(gamma.threshold()), u32::from(gamma.bits()))?;
        // Few counts occur, and each has one tail.
        let mut tails: BTreeMap<u64, f64> = BTreeMap::new();
        let test = |&(id, hits): &(u64, u64)| {
            let ln_p = *tails.entry(hits).or_insert_with(|| binomial_ln_sf(draws, hits, rate));
            let (id, name) = name(id);
            Tested::new(id, name, Some(hits), ln_p)
        };
        let tests = candidates.hits().iter().map(test).collect();
        Ok(Self { draws, needed_hits: None, tests, rate: Some(rate) })
    }
}

impl Tested {
    fn new(id: String, name: Option<String>, hits: Option<u64>, ln_p: f64) -> Self {
        let log10_p = log10_from_ln(ln_p);
        Self { id, name, hits, ln_p, log10_p, adjusted_log10_p: 0.0, named: false }
    }
}

/// Every account's test under `payload/1`.
pub(super) fn accounts(
    text: &Text,
    secret: &Secret,
    accounts: &BTreeMap<u64, Option<String>>,
) -> Result<Traced, Failure> {
    if !matches!(text.spec, Spec::Payload(_)) {
        return Err(Failure(format!(
            "--accounts: {} marks every account alike; accounts have marks under payload/1/w<width>, tenants with keys of their \
             own are given by --tenants",
            text.spec
        )));
    }
    let numbers: Vec<u64> = accounts.keys().copied().collect();
    let blocks: Vec<&[u64]> = numbers.chunk_by(|a, b| a / BLOCK == b / BLOCK).collect();
    let of = |scheme: &Scheme, evidence: &score::Evidence, block: &[u64]| {
        Ok(score::accounts(evidence, scheme, &block.iter().copied().collect())?)
    };
    let open = |key: &EpochKey| text.spec.open(key);
    let candidates = counted(text, secret, &blocks, open, of)?;
    let name = |number: u64| (number.to_string(), accounts.get(&number).cloned().flatten());
    Traced::of_counts(&candidates, name)
}

/// Every tenant's test, each under a key of its own.
pub(super) fn tenants(text: &Text, secret: &Secret, tenants: &[String]) -> Result<Traced, Failure> {
    match text.spec {
        Spec::Payload(_) => Err(Failure(format!(
            "--tenants: {} marks accounts by number under one key; list them with --accounts",
            text.spec
        ))),
        Spec::Green(_) => {
            let numbers: Vec<usize> = (0..tenants.len()).collect();
            let blocks: Vec<&[usize]> = numbers.chunks(TENANTS).collect();
            let of = |key: &EpochKey, evidence: &score::Evidence, block: &[usize]| {
                let scheme =
                    |at: &usize| (*at as u64, text.spec.open_for(key, Audience::Tenant, &tenants[*at]));
                let schemes: BTreeMap<u64, Scheme> = block.iter().map(scheme).collect();
                Ok(score::tenants(evidence, &schemes)?)
            };
            let candidates = counted(text, secret, &blocks, EpochKey::clone, of)?;
            let name = |at: u64| {
                (usize::try_from(at).ok().and_then(|at| tenants.get(at)).cloned().unwrap_or_default(), None)
            };
            Traced::of_counts(&candidates, name)
        }
        _ => by_draws(text, secret, tenants),
    }
}

/// The hits of all candidates over all epochs, a block of candidates at a time.
fn counted<K: Sync, B: Sync>(
    text: &Text,
    secret: &Secret,
    blocks: &[&[B]],
    open: impl Fn(&EpochKey) -> K,
    of: impl Fn(&K, &score::Evidence, &[B]) -> Result<Candidates, Failure> + Sync,
) -> Result<Candidates, Failure> {
    let work: usize = blocks.iter().map(|block| block.len()).sum();
    let bar = Bar::start("testing every candidate", text.draws() * work as u64);
    let moved = AtomicU64::new(0);
    let mut pooled: Option<Candidates> = None;
    for (epoch, counted) in &text.by_epoch {
        let Counted::Plain(evidence) = counted else { continue };
        let (key, draws) = (open(&secret.epoch_key(epoch)), counted.distinct());
        let one = |block: &&[B]| {
            let candidates = of(&key, evidence, block);
            bar.at(moved.fetch_add(draws * block.len() as u64, Ordering::Relaxed));
            candidates
        };
        let blocks = blocks.par_iter().map(one).collect::<Result<Vec<Candidates>, Failure>>()?;
        let mut blocks = blocks.into_iter();
        let first = blocks.next().ok_or_else(|| Failure("nobody is to be tested".to_owned()))?;
        let all = blocks.try_fold(first, Candidates::join)?;
        pooled = Some(match pooled {
            None => all,
            Some(earlier) => earlier.pool(all)?,
        });
    }
    pooled.ok_or_else(|| Failure("every line was refused: nothing to trace".to_owned()))
}

/// Every tenant's test where draws are no coins: the tail of its own sum.
fn by_draws(text: &Text, secret: &Secret, tenants: &[String]) -> Result<Traced, Failure> {
    let keys: Vec<(EpochKey, &Counted)> =
        text.by_epoch.iter().map(|(epoch, counted)| (secret.epoch_key(epoch), counted)).collect();
    let bar = Bar::start("testing every candidate", text.draws() * tenants.len() as u64);
    let moved = AtomicU64::new(0);
    let test = |tenant: &String| {
        let mut pooled: Option<Draws> = None;
        for (key, counted) in &keys {
            let draws = counted.open(&text.spec.open_for(key, Audience::Tenant, tenant))?;
            pooled = Some(match pooled {
                None => draws,
                Some(earlier) => earlier.pool(draws)?,
            });
        }
        bar.at(moved.fetch_add(text.draws(), Ordering::Relaxed));
        let ln_p = match pooled.filter(|draws| !draws.as_slice().is_empty()) {
            Some(draws) => verdict_tail(draws)?.0,
            None => 0.0,
        };
        Ok(Tested::new(tenant.clone(), None, None, ln_p))
    };
    let tests = tenants.par_iter().map(test).collect::<Result<Vec<Tested>, Failure>>()?;
    Ok(Traced { draws: text.draws(), needed_hits: None, tests, rate: None })
}
