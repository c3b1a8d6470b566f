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

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::canary::{Answer, Arm, Arms, Asked, Book, Evidence, EvidenceError, Pick, Picks, Scoring};
use crate::key::{Commitment, Epoch};
use crate::stat::estimate::exact_limits;
use crate::stat::math::{ln, to_f64};
use crate::stat::strata::{Stratum, stratified_ln_sf};
use crate::stat::tail::HypergeometricError;
use crate::stat::verdict::{TestError, verdict_tail};

/// The format of a plan.
pub const FORMAT: &str = "taggant/route-plan/1";

/// The account set F, with the salt of its commitment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// 32 random bytes as 64 hexadecimal digits: ids could be guessed.
    pub salt: Commitment,
    /// Their ids.
    pub ids: BTreeSet<String>,
}

impl Accounts {
    /// SHA-256(`"taggant/1/accounts" ‖ 0x00 ‖ salt ‖ u64le(length of id) ‖ id ‖ …`), ids in the order of their bytes.
    pub fn commitment(&self) -> Commitment {
        let mut hash = Sha256::new();
        hash.update(b"taggant/1/accounts\0");
        hash.update(self.salt.0);
        for id in &self.ids {
            hash.update((id.len() as u64).to_le_bytes());
            hash.update(id.as_bytes());
        }
        Commitment(hash.finalize().into())
    }
}

/// What is fixed before any hit is seen. No field has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutePlan {
    /// Always [`FORMAT`].
    pub format: String,
    /// The book.
    pub book: Commitment,
    /// The epoch.
    pub epoch: Epoch,
    /// [`Accounts::commitment`] of F.
    pub accounts: Commitment,
    /// The arms as they were served.
    pub arms: Arms,
    /// Whether accounts of F had picks of their own.
    pub per_account: bool,
    /// How often a slot was planted at most, in either arm.
    pub serve_cap: u32,
    /// Answers of the suspect to a slot, of which the first is scored.
    pub probes: usize,
    /// The level that either half must reach.
    pub alpha: f64,
    /// The level at which the control blocks.
    pub control_alpha: f64,
}

/// A plan that was checked and hashed, and cannot be changed any more.
#[derive(Clone, Debug, PartialEq)]
pub struct SealedRoute {
    plan: RoutePlan,
    sha256: Commitment,
}

/// One probed slot: who asked for it, and what the suspect answered. Nothing here says what was planted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The slot.
    pub slot: u64,
    /// The period in which it was asked for, such as a week.
    pub period: String,
    /// Requests of each account of F that belonged to the slot, whatever its arm.
    pub campaign: BTreeMap<String, u32>,
    /// Requests of ordinary accounts that belonged to it, whatever its arm.
    pub ordinary: u32,
    /// The suspect's answers.
    pub answers: Vec<Answer>,
}

/// What the two halves and the control found.
#[derive(Clone, Debug, PartialEq, Serialize)]
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

/// Hits against the picks of the key.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Keyed {
    /// Slots (and accounts, where these have picks of their own) whose answer names a sibling.
    pub draws: u64,
    /// Those that name the one picked.
    pub hits: u64,
    /// Hits expected by chance.
    pub expected: f64,
    /// The exact tail.
    pub ln_p: f64,
}

/// The arms on slots for which both had enough requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Strata of class × period with slots in both arms.
    pub strata: u64,
    /// F's arm.
    pub campaign: ArmRate,
    /// The ordinary arm.
    pub ordinary: ArmRate,
    /// The stratified hypergeometric tail.
    pub ln_p: f64,
    /// Excess recall of F's arm over that of the ordinary one: leakage explains the difference if F's answers leak this
    /// many times as often as those of others.
    pub leak_ratio: LeakRatio,
}

/// Recall in one arm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ArmRate {
    /// Slots.
    pub slots: u64,
    /// Hits.
    pub hits: u64,
    /// Hits by chance: 1/K for each answer that names a sibling.
    pub expected: f64,
    /// Hits per slot less those by chance.
    pub excess: f64,
    /// Its interval, each end wrong with probability at most 0.0125.
    pub interval: [f64; 2],
}

/// A ratio of two excesses; an end that is missing is infinite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LeakRatio {
    /// The estimate.
    pub estimate: Option<f64>,
    /// The lower end of its 95 % interval.
    pub at_least: Option<f64>,
    /// The upper end.
    pub at_most: Option<f64>,
}

/// What follows for the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteOutcome {
    /// The control rejects: neither exposure nor a route can be claimed.
    Blocked,
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
    /// Another book, key or account set than the plan's.
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
    /// A sum beyond what is exact.
    #[error(transparent)]
    Test(#[from] TestError),
    /// Never: strata are counted here.
    #[error(transparent)]
    Strata(#[from] HypergeometricError),
}

impl RoutePlan {
    /// Checks and hashes the plan (SHA-256 of its canonical JSON, RFC 8785). The hash is deposited before the first probe.
    ///
    /// # Errors
    /// A field that cannot be.
    pub fn seal(self) -> Result<SealedRoute, RouteError> {
        let level = |alpha: f64| alpha > 0.0 && alpha < 1.0;
        let Arms { campaign, sentinel } = self.arms;
        let rules = [
            (self.format == FORMAT, "format", "write \"taggant/route-plan/1\""),
            (campaign > 0.0 && sentinel > 0.0, "arms", "campaign and sentinels need a share each"),
            (campaign + sentinel < 1.0, "arms", "ordinary accounts need a share too"),
            (self.serve_cap > 0, "serve_cap", "at least 1"),
            (self.probes > 0, "probes", "at least 1"),
            (level(self.alpha), "alpha", "a level between 0 and 1"),
            (level(self.control_alpha), "control_alpha", "a level between 0 and 1"),
        ];
        if let Some((_, field, problem)) = rules.into_iter().find(|(fine, ..)| !fine) {
            return Err(RouteError::Plan { field, problem });
        }
        let sha256 = Commitment(Sha256::digest(self.canonical()).into());
        Ok(SealedRoute { plan: self, sha256 })
    }

    fn canonical(&self) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "levels were checked: finite numbers, strings and objects")]
        serde_json_canonicalizer::to_vec(self).expect("a plan is JSON")
    }
}

impl SealedRoute {
    /// The plan.
    pub fn plan(&self) -> &RoutePlan {
        &self.plan
    }

    /// Its hash.
    pub fn sha256(&self) -> Commitment {
        self.sha256
    }

    /// Tests the route over all `probed` slots.
    ///
    /// *Null assumption* of (a): the suspect does not depend on what F was served. Of (b): its source does not depend on who
    /// was served; requests do not depend on the arms. Broken by an account set that was chosen with a look at hits, by
    /// probes that were, and by slots left out for what was planted or answered.
    ///
    /// # Errors
    /// Another book, key or account set than planned; a slot twice, closed or unknown; an arm without a slot.
    pub fn test(
        &self,
        book: &Book,
        picks: &Picks<'_>,
        accounts: &Accounts,
        probed: &[Probed],
    ) -> Result<Route, RouteError> {
        self.check(book, picks, accounts, probed)?;
        let of = |arm: Arm| probed.iter().filter(move |slot| picks.arm(slot.slot, self.plan.arms) == arm);
        let served = of(Arm::Campaign).filter(|slot| slot.campaign.values().any(|requests| *requests > 0));
        let keyed = self.keyed(book, picks, served.flat_map(|slot| self.own_picks(slot)))?;
        let unserved = of(Arm::Sentinel).map(|slot| (Pick::from(slot.slot), slot));
        let sentinels = self.keyed(book, picks, unserved)?;
        let (keyed, sentinels) = match (keyed, sentinels) {
            (None, _) => return Err(RouteError::Empty(Arm::Campaign)),
            (_, None) => return Err(RouteError::Empty(Arm::Sentinel)),
            (Some(keyed), Some(sentinels)) => (keyed, sentinels),
        };
        let arms = self.compare(book, picks, probed)?;
        let (ln_p, ln_alpha) = (keyed.ln_p.max(arms.ln_p), ln(self.plan.alpha));
        let outcome = if sentinels.ln_p <= ln(self.plan.control_alpha) {
            RouteOutcome::Blocked
        } else if ln_p <= ln_alpha {
            RouteOutcome::Established
        } else {
            RouteOutcome::NotEstablished
        };
        Ok(Route { plan: self.sha256, keyed, arms, sentinels, ln_p, ln_alpha, outcome })
    }

    fn check(
        &self,
        book: &Book,
        picks: &Picks<'_>,
        accounts: &Accounts,
        probed: &[Probed],
    ) -> Result<(), RouteError> {
        let same = [
            (book.sha256() == self.plan.book, "book"),
            (*picks.epoch() == self.plan.epoch, "epoch"),
            (accounts.commitment() == self.plan.accounts, "account set"),
        ];
        if let Some((_, what)) = same.into_iter().find(|(same, _)| !same) {
            return Err(RouteError::Other(what));
        }
        let mut seen = BTreeSet::new();
        for slot in probed {
            if !seen.insert(slot.slot) {
                return Err(RouteError::Twice(slot.slot));
            }
            if let Some(account) = slot.campaign.keys().find(|account| !accounts.ids.contains(*account)) {
                return Err(RouteError::Stranger { slot: slot.slot, account: account.clone() });
            }
        }
        Ok(())
    }

    /// The picks that F was served of a slot: one, or one for each account that asked.
    fn own_picks<'a>(&self, slot: &'a Probed) -> Vec<(Pick, &'a Probed)> {
        if !self.plan.per_account {
            return vec![(slot.slot.into(), slot)];
        }
        let asked = slot.campaign.iter().filter(|(_, requests)| **requests > 0);
        let pick = |(account, _): (&String, &u32)| Pick { slot: slot.slot, account: Some(account.clone()) };
        asked.map(|seat| (pick(seat), slot)).collect()
    }

    /// Hits of first answers; none without a slot.
    fn keyed<'a>(
        &self,
        book: &Book,
        picks: &Picks<'_>,
        slots: impl Iterator<Item = (Pick, &'a Probed)>,
    ) -> Result<Option<Keyed>, RouteError> {
        let asked: Vec<Asked> =
            slots.map(|(pick, slot)| Asked { pick, answers: slot.answers.clone() }).collect();
        if asked.is_empty() {
            return Ok(None);
        }
        let draws = Evidence::new(book, &asked, self.plan.probes, Scoring::First)?.open(picks)?;
        let scored = draws.as_slice().len() as u64;
        let hits = draws.as_slice().iter().filter(|draw| draw.value() > 0.0).count() as u64;
        let expected = draws.as_slice().iter().map(|draw| draw.law().mean()).sum();
        let ln_p = if scored == 0 { 0.0 } else { verdict_tail(draws)?.0 };
        Ok(Some(Keyed { draws: scored, hits, expected, ln_p }))
    }

    /// Half (b), over slots that both arms asked for at least as often as the cap.
    fn compare(&self, book: &Book, picks: &Picks<'_>, probed: &[Probed]) -> Result<Compared, RouteError> {
        let mut strata: BTreeMap<(&str, u32, &str), Stratum> = BTreeMap::new();
        let (mut campaign, mut ordinary) = (Count::default(), Count::default());
        for slot in probed.iter().filter(|slot| slot.is_comparable(self.plan.serve_cap)) {
            let arm = picks.arm(slot.slot, self.plan.arms);
            let (first, count) = match arm {
                Arm::Campaign => (1, &mut campaign),
                Arm::Ordinary => (0, &mut ordinary),
                Arm::Sentinel => continue,
            };
            let (Some(class), Some(siblings)) = (book.class(slot.slot), book.siblings(slot.slot)) else {
                return Err(EvidenceError::Unknown(slot.slot).into());
            };
            if book.is_closed(slot.slot) {
                return Err(EvidenceError::Closed(slot.slot).into());
            }
            let hit = u64::from(self.hits(picks, slot, arm));
            let named = slot.answers.first().is_some_and(|answer| answer.sibling().is_some());
            let stratum = strata.entry((class, siblings, &slot.period)).or_default();
            stratum.items += 1;
            stratum.hits += hit;
            stratum.first += first;
            stratum.first_hits += first * hit;
            count.add(hit, named.then_some(siblings));
        }
        let strata: Vec<Stratum> = strata.into_values().collect();
        let both = strata.iter().filter(|stratum| 0 < stratum.first && stratum.first < stratum.items);
        let (campaign, ordinary) = (campaign.rate(), ordinary.rate());
        Ok(Compared {
            strata: both.count() as u64,
            campaign,
            ordinary,
            ln_p: stratified_ln_sf(&strata)?,
            leak_ratio: LeakRatio::of(&campaign, &ordinary),
        })
    }

    /// Whether the first answer names the sibling picked: of F's arm with picks of their own the one of the first account, so
    /// that a slot has one chance in K in either arm.
    fn hits(&self, picks: &Picks<'_>, slot: &Probed, arm: Arm) -> bool {
        let own = if arm == Arm::Campaign { self.own_picks(slot).into_iter().next() } else { None };
        let pick = own.map_or_else(|| Pick::from(slot.slot), |(pick, _)| pick);
        let named = slot.answers.first().and_then(|answer| answer.sibling());
        named.is_some_and(|at| picks.sibling(&pick).is_some_and(|picked| picked as usize == at))
    }
}

impl Probed {
    /// Whether either arm would have been served up to the cap.
    fn is_comparable(&self, cap: u32) -> bool {
        let campaign: u64 = self.campaign.values().map(|requests| u64::from(*requests)).sum();
        campaign >= u64::from(cap) && self.ordinary >= cap
    }
}

/// Slots and hits of one arm.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    slots: u64,
    hits: u64,
    expected: f64,
}

impl Count {
    /// An answer that names none of the `siblings` cannot hit by chance. Counted as if it could, a suspect that names few would
    /// seem to know less than nothing, in the arm that it learned less from the more so, and the ratio too large.
    fn add(&mut self, hit: u64, siblings: Option<u32>) {
        *self = Self {
            slots: self.slots + 1,
            hits: self.hits + hit,
            expected: self.expected + siblings.map_or(0.0, |siblings| f64::from(siblings).recip()),
        };
    }

    fn rate(self) -> ArmRate {
        let Self { slots, hits, expected } = self;
        let n = to_f64(slots.max(1));
        let [low, high] = exact_limits(slots, hits, ln(0.0125));
        let chance = expected / n;
        ArmRate {
            slots,
            hits,
            expected,
            excess: to_f64(hits) / n - chance,
            interval: [low - chance, high - chance],
        }
    }
}

impl LeakRatio {
    fn of(campaign: &ArmRate, ordinary: &ArmRate) -> Self {
        let ratio = |above: f64, below: f64| (below > 0.0).then(|| above.max(0.0) / below);
        Self {
            estimate: ratio(campaign.excess, ordinary.excess),
            at_least: ratio(campaign.interval[0], ordinary.interval[1]),
            at_most: ratio(campaign.interval[1], ordinary.interval[0]),
        }
    }
}
