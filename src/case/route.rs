//! The route (claim P4) in a case: did a suspect learn from answers served to *these* accounts?
//!
//! A plan that divides slots among accounts says by which shares, and commits to the accounts and to who asked for which slot.
//! Both are laid open with the book. Tests of canaries then look at slots as they were to be served: exposure (P3) at those
//! that anybody outside was served, the route at both halves and the control of [`SealedRoute::test`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::canaries::ProbeError;
use super::plan::Division;
use crate::attribute::{Accounts, Probed, Route, SealedRoute, Traffic};
use crate::canary::{Asked, Book, Pick, Picks};
use crate::key::Label;
use crate::stat::verdict::Summary;

/// Who asked for which slot. Ids are laid open with it: let them be pseudonyms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    /// The accounts under suspicion, with the salt of their commitment.
    pub accounts: Accounts,
    /// Every slot of the plan, and who asked for it.
    pub traffic: Vec<Traffic>,
}

impl Requests {
    /// Whether they are of the planned slots, each once.
    pub(super) fn check(&self, planned: &[u64]) -> Result<(), ProbeError> {
        let mut left: BTreeSet<u64> = planned.iter().copied().collect();
        match self.traffic.iter().find(|traffic| !left.remove(&traffic.slot)) {
            Some(traffic) => Err(ProbeError::OtherRequests(traffic.slot)),
            None => left.first().map_or(Ok(()), |slot| Err(ProbeError::NoRequests(*slot))),
        }
    }

    fn by_slot(&self) -> BTreeMap<u64, &Traffic> {
        self.traffic.iter().map(|traffic| (traffic.slot, traffic)).collect()
    }
}

/// Of each slot the pick, both coins, and the picks of accounts that asked for it: none of them is left out for what another
/// one says.
pub(super) fn labels(
    book: &Book,
    division: &Division,
    requests: &Requests,
    slots: &[u64],
) -> Result<Vec<Label>, ProbeError> {
    let by_slot = requests.by_slot();
    let mut labels = Vec::new();
    for slot in slots {
        let traffic = by_slot.get(slot).ok_or(ProbeError::NoRequests(*slot))?;
        let Some(label) = book.label(*slot) else { continue };
        labels.extend([label.plant(), label.arm_of_canary()]);
        if division.per_account {
            let pick = |account: &String| Pick { slot: *slot, account: Some(account.clone()) };
            labels.extend(traffic.campaign.keys().filter_map(|account| pick(account).label(book)));
        }
        labels.push(label);
    }
    Ok(labels)
}

/// A suspect's answers to slots that were divided among accounts, under one opened key.
pub(super) struct Served<'a> {
    pub(super) sealed: SealedRoute,
    pub(super) book: &'a Book,
    pub(super) picks: &'a Picks<'a>,
    pub(super) requests: &'a Requests,
}

impl Served<'_> {
    /// Both halves, and the first one with its effect.
    pub(super) fn test(&self, asked: Vec<Asked>) -> Result<(Summary, Route), ProbeError> {
        let (book, picks, accounts) = (self.book, self.picks, &self.requests.accounts);
        let probed = self.probed(asked)?;
        let route = self.sealed.test(book, picks, accounts, &probed)?;
        Ok((self.sealed.keyed_summary(book, picks, accounts, &probed)?, route))
    }

    /// What anybody outside was served, under the picks of its arm.
    pub(super) fn exposed(&self, asked: Vec<Asked>) -> Result<Vec<Asked>, ProbeError> {
        let probed = self.probed(asked)?;
        Ok(self.sealed.exposed(self.book, self.picks, &self.requests.accounts, &probed)?)
    }

    fn probed(&self, asked: Vec<Asked>) -> Result<Vec<Probed>, ProbeError> {
        let by_slot = self.requests.by_slot();
        let probed = |Asked { pick, answers }: Asked| {
            let traffic = by_slot.get(&pick.slot).ok_or(ProbeError::NoRequests(pick.slot))?;
            Ok(Probed { traffic: (*traffic).clone(), answers })
        };
        asked.into_iter().map(probed).collect()
    }
}
