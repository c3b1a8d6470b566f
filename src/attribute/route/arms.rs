//! Half (b) of a route: the arms against each other, within class × period; sets written one by one are a class by language.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Probed, RouteError, SealedRoute};
use crate::canary::{Arm, Book, EvidenceError, Picks};
use crate::stat::estimate::exact_limits;
use crate::stat::math::{exp, ln, to_f64};
use crate::stat::strata::{Stratum, stratified_ln_sf};

/// The arms on slots for which both had enough requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Strata of class × period with slots in both arms.
    pub strata: u64,
    /// F's arm.
    pub campaign: ArmRate,
    /// The ordinary arm.
    pub ordinary: ArmRate,
    /// The stratified hypergeometric tail.
    pub ln_p: f64,
    /// Hits per slot in F's arm over those in the ordinary one, chance included.
    pub rate_ratio: Ratio,
    /// Excess recall of F's arm over that of the ordinary one. Where recall grows in proportion to the copies that leak, F's answers
    /// would have to leak so many times as often as those of others to explain the difference; however it grows with independent
    /// copies, of which a slot has as many as the serve cap c, at least the c-th root as often (a chance that increases with the
    /// number of copies and is 0 for none grows with their share no faster than its c-th power). All this takes answers of either
    /// arm for as easily learned.
    pub leak_ratio: Ratio,
}

/// Recall in one arm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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

/// A ratio of what the arms show; an end that is missing is infinite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// The estimate.
    pub estimate: Option<f64>,
    /// The lower end of its 95 % interval.
    pub at_least: Option<f64>,
    /// The upper end.
    pub at_most: Option<f64>,
}

impl SealedRoute {
    /// Over slots that both arms asked for at least as often as the cap, and that both would have planted.
    pub(super) fn compare(
        &self,
        book: &Book,
        picks: &Picks<'_>,
        probed: &[Probed],
    ) -> Result<Compared, RouteError> {
        let mut strata: BTreeMap<(Class<'_>, u32, &str), Stratum> = BTreeMap::new();
        let (mut campaign, mut ordinary) = (Count::default(), Count::default());
        for slot in probed.iter().filter(|slot| self.is_comparable(picks, slot)) {
            let at = slot.traffic.slot;
            let arm = picks.arm(at, self.plan.arms);
            let (first, count) = match arm {
                Arm::Campaign => (1, &mut campaign),
                Arm::Ordinary => (0, &mut ordinary),
                Arm::Sentinel => continue,
            };
            let (Some(class), Some(siblings)) = (Class::of(book, at), book.siblings(at)) else {
                return Err(EvidenceError::Unknown(at).into());
            };
            if book.is_closed(at) {
                return Err(EvidenceError::Closed(at).into());
            }
            let hit = u64::from(self.hits(picks, slot, arm));
            let named = slot.answers.first().is_some_and(|answer| answer.sibling().is_some());
            let stratum = strata.entry((class, siblings, &slot.traffic.period)).or_default();
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
            rate_ratio: Ratio::of_rates(&campaign, &ordinary),
            leak_ratio: Ratio::of_excess(&campaign, &ordinary),
        })
    }

    /// Whether the slot would have been planted, and served equally often, in either arm. The coin of planting is one of its
    /// own: whether a plant succeeded has no say.
    fn is_comparable(&self, picks: &Picks<'_>, slot: &Probed) -> bool {
        let either = self.plan.rate.min(self.plan.campaign_rate);
        slot.traffic.is_comparable(self.plan.serve_cap) && picks.plants(slot.traffic.slot, either)
    }
}

/// What slots are compared within. Any classes that no key has a say in would do: the coin of each slot is one of its own. A
/// set that was written by itself is a class by itself, in which nothing could be compared, so those of a language are one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class<'a> {
    Made(&'a str),
    Written { language: &'a str },
}

impl<'a> Class<'a> {
    fn of(book: &'a Book, slot: u64) -> Option<Self> {
        let written = usize::try_from(slot).ok().and_then(|at| book.contents().sets.get(at));
        match written {
            Some(set) => Some(Self::Written { language: &set.language }),
            None => book.class(slot).map(Self::Made),
        }
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

impl Compared {
    /// How many times as often F's answers would have to leak at least to explain the difference, however recall grows with
    /// copies: the `serve_cap`-th root of the leak ratio's lower end; none where nothing is above chance.
    pub fn least_leak(&self, serve_cap: u32) -> Option<f64> {
        let least = self.leak_ratio.at_least?;
        Some(if least > 0.0 { exp(ln(least) / f64::from(serve_cap.max(1))) } else { 0.0 })
    }
}

impl Ratio {
    /// Of excess recall.
    fn of_excess(campaign: &ArmRate, ordinary: &ArmRate) -> Self {
        Self::of([campaign.excess, ordinary.excess], campaign.interval, ordinary.interval)
    }

    /// Of hits per slot.
    fn of_rates(campaign: &ArmRate, ordinary: &ArmRate) -> Self {
        let [a, b] = [campaign, ordinary].map(|arm| arm.expected / to_f64(arm.slots.max(1)));
        let with_chance = |arm: &ArmRate, chance: f64| arm.interval.map(|end| end + chance);
        let estimates = [campaign.excess + a, ordinary.excess + b];
        Self::of(estimates, with_chance(campaign, a), with_chance(ordinary, b))
    }

    fn of([above, below]: [f64; 2], campaign: [f64; 2], ordinary: [f64; 2]) -> Self {
        let ratio = |above: f64, below: f64| (below > 0.0).then(|| above.max(0.0) / below);
        Self {
            estimate: ratio(above, below),
            at_least: ratio(campaign[0], ordinary[1]),
            at_most: ratio(campaign[1], ordinary[0]),
        }
    }
}
