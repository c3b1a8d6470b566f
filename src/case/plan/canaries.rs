//! The canaries of a plan: which book, which slots, and how each is probed.
//!
//! Slots are named by class and range, never one by one: every open slot of a range is tested, whether anything was planted
//! there or not. A plan has no word for "planted", because a choice of slots by what was planted convicts innocents.

use serde::{Deserialize, Serialize};

use super::sources::seconds;
use super::{Access, Independence, Plan, PlanError, Planned, PlannedTest, Source, Statistic};
use crate::attribute::{Exposure, ROUTE_FORMAT, RouteError, RoutePlan, Rungs, SealedRoute};
use crate::canary::Arms;
use crate::key::{Commitment, Epoch};
use crate::stat::math::to_f64;

/// The book and the probing protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canaries {
    /// SHA-256 of the book, committed to before the key picked from it.
    pub book: Commitment,
    /// The slots, in the order in which they enter: all of each range but those that the book keeps closed.
    pub slots: Vec<SlotRange>,
    /// Answers asked of a suspect for each slot: 1 to 1,000.
    pub probes: u32,
    /// The prompt of each probe.
    pub prompts: PromptRule,
    /// How slots were divided among accounts, where some were served apart. Then tests of canaries look at slots as they were
    /// to be served, each under the pick of its arm.
    pub route: Planned<Division>,
}

/// How slots were divided among the accounts under suspicion F, ordinary accounts and nobody; and what commits to F and to
/// who asked for which slot, before the first probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Division {
    /// [`crate::attribute::Accounts::commitment`] of F.
    pub accounts: Commitment,
    /// [`crate::attribute::Accounts::traffic_commitment`] of every slot of the plan.
    pub traffic: Commitment,
    /// The arms as they were served.
    pub arms: Arms,
    /// The share of slots that was planted for ordinary accounts.
    pub rate: f64,
    /// The share that was planted for F and for sentinels.
    pub campaign_rate: f64,
    /// Whether accounts of F had picks of their own.
    pub per_account: bool,
    /// How often a slot was planted at most, in either arm.
    pub serve_cap: u32,
}

/// Slots of one class, counted from 0 in the order of the book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotRange {
    /// The class.
    pub class: String,
    /// The first.
    pub from: u32,
    /// The one after the last.
    pub below: u32,
}

/// Which prompt of a slot's set a probe sends: fixed, so that nobody tries others in private.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptRule {
    /// Probe i sends prompt (i mod their number) of the set, as the book has it.
    InTurn,
}

/// The most answers for a slot.
const PROBES_MAX: u32 = 1_000;

impl Canaries {
    /// # Errors
    /// No slot, a slot twice, or no probe.
    pub(super) fn check(&self) -> Result<(), PlanError> {
        let wrong = |what: String| Err(PlanError::Field(format!("canaries, {what}")));
        if !(1..=PROBES_MAX).contains(&self.probes) {
            return wrong(format!("probes: 1 to {PROBES_MAX} for each slot"));
        }
        if self.slots.is_empty() {
            return wrong("slots: name at least one class and range".to_owned());
        }
        for (at, range) in self.slots.iter().enumerate() {
            let SlotRange { class, from, below } = range;
            if from >= below {
                return wrong(format!("slots, {class}: from {from} below {below} holds no slot"));
            }
            if self.slots[..at].iter().any(|other| other.shares_with(range)) {
                return wrong(format!(
                    "slots, {class}: two ranges share slots; a slot has one pick, and counts once"
                ));
            }
        }
        Ok(())
    }
}

impl Division {
    /// The plan of a route under the key of `epoch`: exposure by the same answers, and nobody is named.
    fn route(
        &self,
        canaries: &Canaries,
        epoch: &Epoch,
        alpha: f64,
        control_alpha: f64,
        probes: usize,
    ) -> RoutePlan {
        RoutePlan {
            format: ROUTE_FORMAT.to_owned(),
            book: canaries.book,
            epoch: epoch.clone(),
            accounts: self.accounts,
            traffic: self.traffic,
            arms: self.arms,
            rate: self.rate,
            campaign_rate: self.campaign_rate,
            per_account: self.per_account,
            serve_cap: self.serve_cap,
            probes,
            alpha,
            control_alpha,
            rungs: Rungs { exposure: Exposure::Canaries {}, campaign: None, cohorts: None, accounts: false },
        }
    }
}

impl SlotRange {
    fn shares_with(&self, other: &Self) -> bool {
        self.class == other.class && self.from < other.below && other.from < self.below
    }
}

impl Plan {
    /// The route of a test's key, sealed with this plan; none where slots were not divided. A control rejects at 0.01 over all
    /// tests of a route.
    pub(in crate::case) fn route(
        &self,
        test: &PlannedTest,
        sealed: &str,
    ) -> Result<Option<SealedRoute>, RouteError> {
        let (Planned::Set { value: canaries }, Some(key)) = (&self.canaries, test.keys.first()) else {
            return Ok(None);
        };
        let Planned::Set { value: division } = &canaries.route else { return Ok(None) };
        let routes = self.tests.iter().filter(|test| test.access == Access::Route).count().max(1);
        let control = 0.01 / to_f64(routes as u64);
        // Of what stands out in a slot there is one choice.
        let probes = if test.material() == Access::Likelihoods { 1 } else { canaries.probes as usize };
        division.route(canaries, &key.epoch, self.level(), control, probes).seal(sealed).map(Some)
    }
}

/// What a test of canaries needs of its plan.
pub(super) fn check_test(plan: &Plan, test: &PlannedTest) -> Result<(), PlanError> {
    let wrong = |what: &str| Err(PlanError::Field(format!("tests, {}: {what}", test.name)));
    let Planned::Set { value: canaries } = &plan.canaries else {
        return wrong("a test of canaries needs the field canaries");
    };
    if matches!(plan.matchers, Planned::Absent { .. }) {
        return wrong("a test of canaries needs the field matchers");
    }
    if test.statistic == Statistic::TwinRank && test.keys.len() > 1 {
        return wrong("ranks of twins are tested under one key");
    }
    check_division(plan, test, canaries)?;
    let is_book = |source: &&Source| source.sha256 == canaries.book && test.sources.contains(&source.name);
    match plan.sources.iter().find(is_book) {
        None => wrong("it lists no source that is the book (by SHA-256): say when that was committed to"),
        Some(book) => test.epochs().into_iter().try_for_each(|epoch| check_book(plan, book, epoch)),
    }
}

/// Divided slots are tested under one key, all at once; a route beside exposure, and never in its place.
fn check_division(plan: &Plan, test: &PlannedTest, canaries: &Canaries) -> Result<(), PlanError> {
    let wrong = |what: &str| Err(PlanError::Field(format!("tests, {}: {what}", test.name)));
    if matches!(canaries.route, Planned::Absent { .. }) {
        return match test.access {
            Access::Route => wrong("a test of the route needs the field canaries, route"),
            _ => Ok(()),
        };
    }
    if test.statistic == Statistic::TwinRank {
        return wrong("ranks of twins are not tested by arms: plan them without the field canaries, route");
    }
    if test.keys.len() > 1 {
        return wrong("slots that were divided into arms are tested under one key: each has arms of its own");
    }
    if test.statistic == Statistic::CanaryMetered {
        return wrong("slots that were divided into arms are probed to the last: leave out metered probing");
    }
    if let Err(error) = plan.route(test, "") {
        return Err(PlanError::Field(format!("canaries, route, {error}")));
    }
    let same = |other: &PlannedTest| {
        (&other.suspect, other.role) == (&test.suspect, test.role)
            && other.epochs().is_superset(&test.epochs())
    };
    let exposure = |other: &PlannedTest| other.access != Access::Route && same(other);
    let route = |other: &PlannedTest| other.access == Access::Route && same(other);
    match test.access {
        Access::Route if plan.tests.first() == Some(test) => wrong(
            "the first test is the primary one, and a route is tested beside exposure (P3): put that first",
        ),
        Access::Route if !plan.tests.iter().any(exposure) => wrong(
            "a route is tested beside exposure (P3): register a test of exposure of the same suspect, in the same epoch",
        ),
        Access::Canary | Access::Likelihoods
            if test.role.is_registered() && !plan.tests.iter().any(route) =>
        {
            wrong(
                "slots that nobody was served are the control of divided ones: register a test of the route of the same suspect, in the \
                 same epoch",
            )
        }
        _ => Ok(()),
    }
}

/// A book that is younger than the key can be made until the picks suit: its hash is in every pick's label.
fn check_book(plan: &Plan, book: &Source, epoch: &Epoch) -> Result<(), PlanError> {
    let wrong = |what: String| Err(PlanError::Field(format!("sources, {}: {what}", book.name)));
    if book.independent != Independence::PredatesKey {
        return wrong("a book has to be older than the key: write independent \"predates-key\"".to_owned());
    }
    let Planned::Set { value: created } = &book.created else {
        return wrong("a book needs the time of its commitment, \"created\"".to_owned());
    };
    let Some(committed) = seconds(created) else {
        return wrong(format!("{created} is no time such as 2026-11-23T09:00:00Z"));
    };
    let served = plan.first_served.iter().find(|served| served.epoch == *epoch).map(|served| &served.time);
    if let Some(Planned::Set { value: first }) = served
        && seconds(first).is_some_and(|first| committed >= first)
    {
        return wrong(format!(
            "the book was committed to {created}, and the key of epoch {epoch} marked from {first} on: commit to the book \
             first, or its canaries could have been chosen for what the key picks"
        ));
    }
    let round = epoch.round().ok().flatten().and_then(|round| round.published().ok());
    if round.is_some_and(|published| committed >= published) {
        return wrong(format!(
            "the book was committed to {created}, when the public round of epoch {epoch} was out already: commit to the \
             book first"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canaries(ranges: &[(&str, u32, u32)]) -> Canaries {
        let range = |(class, from, below): &(&str, u32, u32)| SlotRange {
            class: (*class).to_owned(),
            from: *from,
            below: *below,
        };
        Canaries {
            book: Commitment([1; 32]),
            slots: ranges.iter().map(range).collect(),
            probes: 1,
            prompts: PromptRule::InTurn,
            route: Planned::absent("everybody was served alike"),
        }
    }

    #[test]
    fn a_slot_is_named_once() {
        let check = |ranges: &[_]| canaries(ranges).check().map_err(|error| error.to_string());
        assert_eq!(check(&[("a", 0, 5), ("a", 5, 9), ("b", 0, 5)]), Ok(()));
        for twice in [[("a", 0, 5), ("a", 4, 9)], [("a", 3, 4), ("a", 0, 9)], [("a", 0, 9), ("a", 3, 4)]] {
            assert!(check(&twice).unwrap_err().contains("canaries, slots, a: two ranges share slots"));
        }
        assert!(check(&[]).unwrap_err().contains("canaries, slots"));
        assert!(check(&[("a", 5, 5)]).unwrap_err().contains("holds no slot"));
        for probes in [0, 1_001] {
            let error = Canaries { probes, ..canaries(&[("a", 0, 5)]) }.check().unwrap_err();
            assert!(error.to_string().contains("canaries, probes"), "{error}");
        }
    }
}
