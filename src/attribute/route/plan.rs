//! What is fixed of a route before any answer is seen, and sealed.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::RouteError;
use crate::canary::Arms;
use crate::key::{Commitment, Epoch};

/// The format of a plan.
pub const FORMAT: &str = "taggant/route-plan/1";

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
    /// [`super::Accounts::commitment`] of F.
    pub accounts: Commitment,
    /// [`super::Accounts::traffic_commitment`] of every slot that is probed: which, in which period, and who asked for it.
    pub traffic: Commitment,
    /// The arms as they were served.
    pub arms: Arms,
    /// The share of slots that was planted for ordinary accounts.
    pub rate: f64,
    /// The share that was planted for F and for sentinels. Where it is another one, the arms are compared on slots that both
    /// planted.
    pub campaign_rate: f64,
    /// Whether accounts of F had picks of their own.
    pub per_account: bool,
    /// How often a slot was planted at most, in either arm.
    pub serve_cap: u32,
    /// Answers of the suspect to a slot, of which the first is scored.
    pub probes: usize,
    /// The level of every rung but the accounts', whose family-wise level is fixed ([`super::FAMILY_WISE`]).
    pub alpha: f64,
    /// The level at which the control blocks.
    pub control_alpha: f64,
    /// Which rungs the ladder has besides the route.
    pub rungs: Rungs,
}

/// The rungs of a ladder: what is not registered is no rung.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rungs {
    /// How exposure (P3) is shown.
    pub exposure: Exposure,
    /// The key of a campaign that was marked apart; null where there is none.
    pub campaign: Option<Campaign>,
    /// How many cohorts were live, each with a key of its own for the scheme of `exposure`; null where there are none.
    pub cohorts: Option<u32>,
    /// Whether single accounts are to be named: they need picks of their own.
    pub accounts: bool,
}

/// How exposure is shown: one way, so that nobody takes the better of two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Exposure {
    /// By the same answers: slots that anybody outside was served, against the key's picks.
    Canaries {},
    /// By the suspect's text under the global key, each (window, token) once.
    Text {
        /// The scheme, such as `green/1/w1/b2/t1`.
        spec: String,
    },
}

/// A campaign with a key of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// Its id: the key is that of `<spec>/for/campaign/<hexadecimal SHA-256 of id>`.
    pub id: String,
    /// The scheme.
    pub spec: String,
}

/// A plan that was checked and hashed, and cannot be changed any more.
#[derive(Clone, Debug, PartialEq)]
pub struct SealedRoute {
    pub(super) plan: RoutePlan,
    pub(super) sha256: Commitment,
    sealed: String,
}

/// A sealed plan as it lies on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedRouteFile {
    /// The plan.
    pub plan: RoutePlan,
    /// When it was sealed, RFC 3339.
    pub sealed: String,
    /// SHA-256 of the plan's canonical JSON.
    pub sha256: Commitment,
}

impl RoutePlan {
    /// Checks and hashes the plan (SHA-256 of its canonical JSON, RFC 8785) at `time` (RFC 3339). The hash is deposited before
    /// the first probe.
    ///
    /// # Errors
    /// A field that cannot be.
    pub fn seal(self, time: &str) -> Result<SealedRoute, RouteError> {
        let level = |alpha: f64| alpha > 0.0 && alpha < 1.0;
        let share = |rate: f64| rate > 0.0 && rate <= 1.0;
        let Arms { campaign, sentinel } = self.arms;
        let by_text = matches!(self.rungs.exposure, Exposure::Text { .. });
        let rules = [
            (self.format == FORMAT, "format", "write \"taggant/route-plan/1\""),
            (campaign > 0.0 && sentinel > 0.0, "arms", "campaign and sentinels need a share each"),
            (campaign + sentinel < 1.0, "arms", "ordinary accounts need a share too"),
            (share(self.rate), "rate", "the share that was planted, above 0 and at most 1"),
            (share(self.campaign_rate), "campaign_rate", "the share that was planted, above 0 and at most 1"),
            (self.serve_cap > 0, "serve_cap", "at least 1"),
            (self.probes > 0, "probes", "at least 1"),
            (level(self.alpha), "alpha", "a level between 0 and 1"),
            (level(self.control_alpha), "control_alpha", "a level between 0 and 1"),
            (
                self.rungs.cohorts.is_none() || by_text,
                "rungs.cohorts",
                "cohorts have keys for a scheme of text: exposure has to be by text, or write null",
            ),
            (
                !self.rungs.accounts || self.per_account,
                "rungs.accounts",
                "accounts are named by picks of their own: false where per_account is false",
            ),
        ];
        if let Some((_, field, problem)) = rules.into_iter().find(|(fine, ..)| !fine) {
            return Err(RouteError::Plan { field, problem });
        }
        let sha256 = Commitment(Sha256::digest(self.canonical()).into());
        Ok(SealedRoute { plan: self, sha256, sealed: time.to_owned() })
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

    /// When it was sealed, as who sealed it says.
    pub fn sealed(&self) -> &str {
        &self.sealed
    }
}

impl From<&SealedRoute> for SealedRouteFile {
    fn from(sealed: &SealedRoute) -> Self {
        Self { plan: sealed.plan.clone(), sealed: sealed.sealed.clone(), sha256: sealed.sha256 }
    }
}

impl TryFrom<SealedRouteFile> for SealedRoute {
    type Error = RouteError;

    fn try_from(file: SealedRouteFile) -> Result<Self, RouteError> {
        let sealed = file.plan.seal(&file.sealed)?;
        if sealed.sha256 == file.sha256 { Ok(sealed) } else { Err(RouteError::Seal) }
    }
}
