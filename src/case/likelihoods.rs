//! Canaries by log-probabilities in a case: what a suspect gives each sibling, said or not.
//!
//! A small or careful suspect may never say what it learned and still hold it for likelier. One row a slot has ln p of every
//! sibling; nothing in it depends on the pick. That the rows are what the suspect gave is the tester's word, as of all
//! distributions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::CaseError;
use super::canaries::{LaidOpen, ProbeError, fault, slots};
use super::plan::{Access, Planned, PlannedTest, SealedPlan, Statistic};
use crate::attribute::Route;
use crate::canary::{Asked, Book, Evidence, Liked, Likelihoods, Pick, Picks, Ranks, favourites};
use crate::key::SchemeKey;
use crate::law::Draws;
use crate::stat::verdict::Summary;

/// What a suspect gives the siblings of one slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotLikelihoods {
    /// The slot.
    pub slot: u64,
    /// ln of the probability of each sibling's text as the opening of an answer, in the book's order: the mean over the prompts
    /// of the plan's probes, each prompt once; of twins behind their prompt.
    pub ln_p: Vec<f64>,
    /// The same of the plan's reference, beside which twins are ranked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_ln_p: Option<Vec<f64>>,
}

/// Tests what a suspect gives the siblings of the plan's slots.
///
/// # Errors
/// Rows that are not those of the plan, or the key of a slot that was not opened.
pub(super) fn test(
    plan: &SealedPlan,
    test: &PlannedTest,
    rows: &[SlotLikelihoods],
    laid_open: Option<&LaidOpen<'_>>,
    keys: &[SchemeKey],
) -> Result<(Summary, Option<Route>), CaseError> {
    // A plan registers no test of canaries without naming them, and `laid_open` has checked that they are.
    let (Some(canaries), Some(laid_open)) = (plan.canaries(), laid_open) else {
        return Err(CaseError::NoMaterial(test.name.clone()));
    };
    let (book, fault) = (&laid_open.book, |error| fault(test, error));
    let planned = slots(book, &canaries.slots).map_err(fault)?;
    check(plan, test, rows, &planned).map_err(fault)?;
    let opened = laid_open.opened(canaries, test, planned, keys)?;
    let picks: Vec<(Picks<'_>, u8)> =
        opened.iter().zip(&test.keys).map(|(opened, key)| (book.opened_picks(opened), key.weight)).collect();
    let served = laid_open.served(plan, test, &picks)?;
    if let Some(served) = served.as_ref().filter(|_| test.access == Access::Route) {
        let (summary, route) = served.test(choices(book, rows).map_err(fault)?).map_err(fault)?;
        return Ok((summary, Some(route)));
    }
    let mut weighed: Vec<Pick> = rows.iter().map(|row| row.slot.into()).collect();
    if let Some(served) = served {
        let asked = |pick| Asked { pick, answers: Vec::new() };
        let exposed = served.exposed(weighed.into_iter().map(asked).collect()).map_err(fault)?;
        weighed = exposed.into_iter().map(|asked| asked.pick).collect();
    }
    let draws = draws(book, test, rows, weighed, &picks).map_err(fault)?;
    if draws.as_slice().is_empty() {
        return Ok((Summary::without_draws(None), None));
    }
    let summary = Summary::of(draws).map_err(|error| CaseError::Test { test: test.name.clone(), error })?;
    Ok((summary, None))
}

/// Whether rows are the planned slots in the planned order, beside a reference where the plan says so.
fn check(
    plan: &SealedPlan,
    test: &PlannedTest,
    rows: &[SlotLikelihoods],
    planned: &[u64],
) -> Result<(), ProbeError> {
    let pairs = rows.iter().map(|row| row.slot).zip(planned.iter().copied());
    if let Some((row, (found, planned))) = pairs.enumerate().find(|(_, (found, planned))| found != planned) {
        return Err(ProbeError::Row { row, found, planned });
    }
    if rows.len() != planned.len() {
        return Err(ProbeError::Rows { found: rows.len(), planned: planned.len() });
    }
    let beside = test.statistic == Statistic::TwinRank
        && matches!(&plan.plan().reference, Planned::Set { value } if test.sources.contains(value));
    match rows.iter().find(|row| row.reference_ln_p.is_some() != beside) {
        Some(row) => Err(ProbeError::Beside { slot: row.slot }),
        None => Ok(()),
    }
}

/// The sibling that stands out most in each slot, as its one answer.
fn choices(book: &Book, rows: &[SlotLikelihoods]) -> Result<Vec<Asked>, ProbeError> {
    let weighed: Vec<Likelihoods> =
        rows.iter().map(|row| Likelihoods { pick: row.slot.into(), ln_p: row.ln_p.clone() }).collect();
    let choices = favourites(book, &weighed)?.into_iter().map(|choice| vec![choice]);
    Ok(weighed.into_iter().zip(choices).map(|(slot, answers)| Asked { pick: slot.pick, answers }).collect())
}

/// One draw a pick.
fn draws(
    book: &Book,
    test: &PlannedTest,
    rows: &[SlotLikelihoods],
    weighed: Vec<Pick>,
    picks: &[(Picks<'_>, u8)],
) -> Result<Draws, ProbeError> {
    let by_slot: BTreeMap<u64, &SlotLikelihoods> = rows.iter().map(|row| (row.slot, row)).collect();
    let rows = weighed.into_iter().filter_map(|pick| Some((*by_slot.get(&pick.slot)?, pick)));
    if let (Statistic::TwinRank, [(picks, _)]) = (test.statistic, picks) {
        let liked = |(row, pick): (&SlotLikelihoods, Pick)| Liked {
            pick,
            ln_p: row.ln_p.clone(),
            reference: row.reference_ln_p.clone(),
        };
        return Ok(Ranks::new(book, &rows.map(liked).collect::<Vec<_>>())?.open(picks)?);
    }
    let weighed = rows.map(|(row, pick)| Likelihoods { pick, ln_p: row.ln_p.clone() });
    Ok(Evidence::of_likelihoods(book, &weighed.collect::<Vec<_>>())?.open_pooled(picks)?)
}
