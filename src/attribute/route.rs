//! The route: did a suspect learn from answers served to *these* accounts, more than from as many served to others?
//!
//! Two halves, and both must reject. (a) On slots that only the accounts F were served, the suspect's answers are tested
//! against the key's picks: 1/K each, whoever the innocent is. (b) A coin of the key put each slot into F's arm or into that
//! of ordinary accounts. Among slots that *both* asked for at least as often as the serve cap, so that either arm would have
//! been served equally often, the arms are compared within class × period: if the suspect's source did not care who received
//! an answer, the arms are exchangeable. (a) alone rejects a suspect that crawled what F's users published; so does (b)
//! where they published more than others, and the ratio that would explain it is stated.
//!
//! Slots that nobody outside was served are a control: if they reject, keys, books or picks leaked, and no claim stands.

mod arms;
mod plan;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::naming::{FAMILY_WISE, Naming, NamingError};
use super::traffic::{Accounts, Traffic};
use crate::canary::{Answer, Arm, Asked, Book, Evidence, EvidenceError, Pick, Picks, Scoring};
use crate::key::Commitment;
use crate::stat::math::ln;
use crate::stat::tail::HypergeometricError;
use crate::stat::verdict::{Summary, TestError, verdict_tail};

pub use arms::{ArmRate, Compared, Ratio};
pub use plan::{Campaign, Exposure, FORMAT, RoutePlan, Rungs, SealedRoute, SealedRouteFile};

/// One probed slot, and what the suspect answered. Nothing here says what was planted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The slot, and who asked for it.
    pub traffic: Traffic,
    /// The suspect's answers.
    pub answers: Vec<Answer>,
}

/// What the two halves and the control found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// The hash of the sealed plan.
    pub plan: Commitment,
    /// Half (a): slots that only F was served, against the key's picks.
    pub keyed: Keyed,
    /// Half (b): the arms against each other.
    pub arms: Compared,
    /// The control: slots that nobody outside was served.
    pub sentinels: Keyed,
    /// ln of the larger p of the two halves: both must reject.
    pub ln_p: f64,
    /// ln of the level that both must reach.
    pub ln_alpha: f64,
    /// What follows.
    pub outcome: RouteOutcome,
}

impl Route {
    /// Whether the control rejects, or could not have: then nothing is claimed, neither exposure nor a route.
    pub fn is_blocked(&self) -> bool {
        matches!(self.outcome, RouteOutcome::Blocked | RouteOutcome::Uncontrolled)
    }
}

/// Hits against the picks of the key.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Keyed {
    /// Slots (and accounts, where these have picks of their own) that were to be served.
    pub slots: u64,
    /// Slots (and accounts, where these have picks of their own) whose answer names a sibling.
    pub draws: u64,
    /// Those that name the one picked.
    pub hits: u64,
    /// Hits expected by chance.
    pub expected: f64,
    /// The exact tail.
    pub ln_p: f64,
    /// The smallest that so many slots could have given, with a hit in each.
    pub ln_p_min: f64,
}

/// What follows for the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteOutcome {
    /// The control rejects: neither exposure nor a route can be claimed.
    Blocked,
    /// The control has too few slots to reject, whatever is answered: nor can they then.
    Uncontrolled,
    /// Both halves reject.
    Established,
    /// At least one half does not.
    NotEstablished,
}

/// Why there is no test of the route.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// A field that cannot be.
    #[error("{field}: {problem}")]
    Plan {
        /// The field.
        field: &'static str,
        /// What to write.
        problem: &'static str,
    },
    /// A plan that was changed after it was sealed.
    #[error("the plan is not the one that was sealed: its SHA-256 is another")]
    Seal,
    /// Another book, key, account set or traffic than the plan's.
    #[error("the {0} is not the one that the plan was sealed with")]
    Other(&'static str),
    /// An account outside F.
    #[error("slot {slot}: account {account:?} is not in the sealed set; its requests are ordinary ones")]
    Stranger {
        /// The slot.
        slot: u64,
        /// The account.
        account: String,
    },
    /// A slot that is there twice.
    #[error("slot {0} was probed twice: one slot gives one score")]
    Twice(u64),
    /// No probed slot belongs to this arm.
    #[error("no probed slot is in the arm {0:?}")]
    Empty(Arm),
    /// Answers that are no evidence.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// Accounts that cannot be tested.
    #[error(transparent)]
    Naming(#[from] NamingError),
    /// A sum beyond what is exact.
    #[error(transparent)]
    Test(#[from] TestError),
    /// Never: strata are counted here.
    #[error(transparent)]
    Strata(#[from] HypergeometricError),
}

impl SealedRoute {
    /// Tests the route over all `probed` slots.
    ///
    /// *Null assumption* of (a): the suspect does not depend on what F was served. Of (b): its source does not depend on who
    /// was served; requests do not depend on the arms. Broken by an account set that was chosen with a look at hits, by
    /// probes that were, and by slots left out for what was planted or answered.
    ///
    /// # Errors
    /// Another book, key, account set or traffic than planned; a slot twice, closed or unknown; an arm without a slot.
    pub fn test(
        &self,
        book: &Book,
        picks: &Picks<'_>,
        accounts: &Accounts,
        probed: &[Probed],
    ) -> Result<Route, RouteError> {
        self.check(book, picks, accounts, probed)?;
        let keyed = self.keyed(book, picks, self.served(picks, probed, Arm::Campaign))?;
        let sentinels = self.keyed(book, picks, self.served(picks, probed, Arm::Sentinel))?;
        let (keyed, sentinels) = match (keyed, sentinels) {
            (None, _) => return Err(RouteError::Empty(Arm::Campaign)),
            (_, None) => return Err(RouteError::Empty(Arm::Sentinel)),
            (Some(keyed), Some(sentinels)) => (keyed, sentinels),
        };
        let arms = self.compare(book, picks, probed)?;
        let (ln_p, ln_alpha) = (keyed.ln_p.max(arms.ln_p), ln(self.plan.alpha));
        let ln_control = ln(self.plan.control_alpha);
        let outcome = if sentinels.ln_p <= ln_control {
            RouteOutcome::Blocked
        } else if sentinels.ln_p_min > ln_control {
            RouteOutcome::Uncontrolled
        } else if ln_p <= ln_alpha {
            RouteOutcome::Established
        } else {
            RouteOutcome::NotEstablished
        };
        Ok(Route { plan: self.sha256, keyed, arms, sentinels, ln_p, ln_alpha, outcome })
    }

    /// Tests exposure (P3) by the same answers: slots that anybody outside was served, whoever it was. Gives their number too.
    ///
    /// *Null assumption*: the suspect does not depend on the key's picks.
    ///
    /// # Errors
    /// As [`SealedRoute::test`].
    pub fn exposure(
        &self,
        book: &Book,
        picks: &Picks<'_>,
        accounts: &Accounts,
        probed: &[Probed],
    ) -> Result<(Summary, u64), RouteError> {
        let exposed = self.exposed(book, picks, accounts, probed)?;
        let slots = exposed.len() as u64;
        Ok((self.summary(book, picks, &exposed)?, slots))
    }

    /// What exposure is tested on: slots that anybody outside would have been served, each under the pick of its arm. Coins of
    /// the key choose them, which have nothing to do with the picks, and nobody else: who asked has a say only where accounts
    /// have picks of their own.
    ///
    /// # Errors
    /// As [`SealedRoute::test`].
    pub fn exposed(
        &self,
        book: &Book,
        picks: &Picks<'_>,
        accounts: &Accounts,
        probed: &[Probed],
    ) -> Result<Vec<Asked>, RouteError> {
        self.check(book, picks, accounts, probed)?;
        let mut served = self.of_arm(picks, probed, Arm::Campaign);
        served.extend(self.of_arm(picks, probed, Arm::Ordinary));
        Ok(asked(served))
    }

    /// Half (a) with its effect and interval; its ln p is that of [`Route::keyed`].
    ///
    /// # Errors
    /// As [`SealedRoute::test`].
    pub fn keyed_summary(
        &self,
        book: &Book,
        picks: &Picks<'_>,
        accounts: &Accounts,
        probed: &[Probed],
    ) -> Result<Summary, RouteError> {
        self.check(book, picks, accounts, probed)?;
        self.summary(book, picks, &asked(self.served(picks, probed, Arm::Campaign)))
    }

    /// First answers against the picks.
    fn summary(&self, book: &Book, picks: &Picks<'_>, asked: &[Asked]) -> Result<Summary, RouteError> {
        let draws = Evidence::new(book, asked, self.plan.probes, Scoring::First)?.open(picks)?;
        let silent = draws.as_slice().is_empty();
        Ok(if silent { Summary::without_draws(None) } else { Summary::of(draws)? })
    }

    /// Tests every account of F by picks of its own, on the slots that F alone was served.
    ///
    /// *Null assumption*: as [`Naming::of`].
    ///
    /// # Errors
    /// As [`SealedRoute::test`].
    pub fn naming(
        &self,
        book: &Book,
        picks: &Picks<'_>,
        accounts: &Accounts,
        probed: &[Probed],
    ) -> Result<Naming, RouteError> {
        self.check(book, picks, accounts, probed)?;
        let mut asked_for: BTreeMap<String, BTreeSet<u64>> =
            accounts.ids.iter().map(|id| (id.clone(), BTreeSet::new())).collect();
        let mut answers = BTreeMap::new();
        for (Pick { slot, account }, probed) in self.served(picks, probed, Arm::Campaign) {
            if let Some(slots) = account.and_then(|account| asked_for.get_mut(&account)) {
                slots.insert(slot);
                answers.insert(slot, probed.answers.clone());
            }
        }
        let (probes, level) = (self.plan.probes, ln(FAMILY_WISE));
        Ok(Naming::by_canaries(book, picks, &asked_for, &answers, probes, level)?)
    }

    fn check(
        &self,
        book: &Book,
        picks: &Picks<'_>,
        accounts: &Accounts,
        probed: &[Probed],
    ) -> Result<(), RouteError> {
        let mut seen = BTreeSet::new();
        for Traffic { slot, campaign, .. } in probed.iter().map(|probed| &probed.traffic) {
            if !seen.insert(*slot) {
                return Err(RouteError::Twice(*slot));
            }
            if let Some(account) = campaign.keys().find(|account| !accounts.ids.contains(*account)) {
                return Err(RouteError::Stranger { slot: *slot, account: account.clone() });
            }
        }
        let traffic = accounts.traffic_commitment(probed.iter().map(|probed| &probed.traffic));
        let same = [
            (book.sha256() == self.plan.book, "book"),
            (*picks.epoch() == self.plan.epoch, "epoch"),
            (accounts.commitment() == self.plan.accounts, "account set"),
            (traffic == self.plan.traffic, "traffic"),
        ];
        match same.into_iter().find(|(same, _)| !same) {
            Some((_, what)) => Err(RouteError::Other(what)),
            None => Ok(()),
        }
    }

    /// The picks that an arm was to be served, of slots that it asked for.
    fn served<'a>(&self, picks: &Picks<'_>, probed: &'a [Probed], arm: Arm) -> Vec<(Pick, &'a Probed)> {
        let asked = |(_, probed): &(Pick, &Probed)| match arm {
            Arm::Campaign => probed.traffic.campaign.values().any(|requests| *requests > 0),
            Arm::Ordinary => probed.traffic.ordinary > 0,
            Arm::Sentinel => true,
        };
        self.of_arm(picks, probed, arm).into_iter().filter(asked).collect()
    }

    /// The picks of an arm's slots that the key's coin plants; of sentinels, which nobody outside is served, all.
    fn of_arm<'a>(&self, picks: &Picks<'_>, probed: &'a [Probed], arm: Arm) -> Vec<(Pick, &'a Probed)> {
        let planted = |slot: u64| match arm {
            Arm::Campaign => picks.plants(slot, self.plan.campaign_rate),
            Arm::Ordinary => picks.plants(slot, self.plan.rate),
            Arm::Sentinel => true,
        };
        let mine = |probed: &&Probed| {
            let slot = probed.traffic.slot;
            picks.arm(slot, self.plan.arms) == arm && planted(slot)
        };
        let of_slot = |slot: &'a Probed| match arm {
            Arm::Campaign => self.own_picks(slot),
            Arm::Ordinary | Arm::Sentinel => vec![(slot.traffic.slot.into(), slot)],
        };
        probed.iter().filter(mine).flat_map(of_slot).collect()
    }

    /// The picks that F was served of a slot: one, or one for each account that asked.
    fn own_picks<'a>(&self, slot: &'a Probed) -> Vec<(Pick, &'a Probed)> {
        if !self.plan.per_account {
            return vec![(slot.traffic.slot.into(), slot)];
        }
        let asked = slot.traffic.campaign.iter().filter(|(_, requests)| **requests > 0);
        let pick =
            |(account, _): (&String, &u32)| Pick { slot: slot.traffic.slot, account: Some(account.clone()) };
        asked.map(|seat| (pick(seat), slot)).collect()
    }

    /// Hits of first answers; none without a slot.
    fn keyed(
        &self,
        book: &Book,
        picks: &Picks<'_>,
        served: Vec<(Pick, &Probed)>,
    ) -> Result<Option<Keyed>, RouteError> {
        if served.is_empty() {
            return Ok(None);
        }
        let slots = served.len() as u64;
        let siblings = served.iter().filter_map(|(pick, _)| book.siblings(pick.slot));
        let ln_p_min = siblings.map(|siblings| -ln(f64::from(siblings))).sum();
        let asked = asked(served);
        let draws = Evidence::new(book, &asked, self.plan.probes, Scoring::First)?.open(picks)?;
        let scored = draws.as_slice().len() as u64;
        let hits = draws.as_slice().iter().filter(|draw| draw.value() > 0.0).count() as u64;
        let expected = draws.as_slice().iter().fold(0.0, |sum, draw| sum + draw.law().mean());
        let ln_p = if scored == 0 { 0.0 } else { verdict_tail(draws)?.0 };
        Ok(Some(Keyed { slots, draws: scored, hits, expected, ln_p, ln_p_min }))
    }

    /// Whether the first answer names the sibling picked: of F's arm with picks of their own the one of the first account, so
    /// that a slot has one chance in K in either arm.
    fn hits(&self, picks: &Picks<'_>, slot: &Probed, arm: Arm) -> bool {
        let own = if arm == Arm::Campaign { self.own_picks(slot).into_iter().next() } else { None };
        let pick = own.map_or_else(|| Pick::from(slot.traffic.slot), |(pick, _)| pick);
        let named = slot.answers.first().and_then(|answer| answer.sibling());
        named.is_some_and(|at| picks.sibling(&pick).is_some_and(|picked| picked as usize == at))
    }
}

/// The answers to what was served.
fn asked(served: Vec<(Pick, &Probed)>) -> Vec<Asked> {
    let asked = |(pick, slot): (Pick, &Probed)| Asked { pick, answers: slot.answers.clone() };
    served.into_iter().map(asked).collect()
}
