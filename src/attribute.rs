//! Attribution: how far up a ladder the evidence reaches, and where it stops.
//!
//! ```text
//! exposure ─▶ campaign ─▶ cohorts ─▶ route ─▶ account        each rung only if all below it that were planned hold
//!     └──────────┴───────────┴─────────┴────────┴──▶ abstain
//! ```
//!
//! A student averages over the accounts that fed it, so a mark that is split among n accounts loses n² in tokens for
//! each ([`feasibility`]). One global key at full power shows exposure; the campaign that was re-keyed, at most sixteen
//! [`cohort`]s and canaries, which lie on prompts of their own, carry identity. [`Route`] asks which accounts the answers
//! went to, [`Naming`] who it was, and most often the answer is nobody.
//!
//! *Error*: rungs are tested in a fixed order and climbing stops at the first that does not hold, so the chance of any
//! false claim at all is at most the largest level on the ladder: the rungs' α, and the accounts' family-wise level. A
//! control that rejects blocks everything.

pub mod cohort;
pub mod feasibility;
mod naming;
mod route;
mod traffic;

use std::fmt;

use serde::Serialize;

pub use cohort::Cohorts;
pub use feasibility::{Assumed, Feasibility};
pub use naming::{Candidate, FAMILY_WISE, Naming, NamingError, Test, Twice};
pub use route::{
    ArmRate, Campaign, Compared, Exposure, FORMAT as ROUTE_FORMAT, Keyed, Probed, Ratio, Route, RouteError,
    RouteOutcome, RoutePlan, Rungs, SealedRoute, SealedRouteFile,
};
pub use traffic::{Accounts, Traffic};

use crate::stat::verdict::Summary;

/// The tests that the plan registers; what it does not register is no rung.
#[derive(Clone, Debug, Default)]
pub struct Registered<'a> {
    /// Under the global key (P3).
    pub exposure: Option<(&'a Summary, Feasibility)>,
    /// Under the key of the re-keyed campaign.
    pub campaign: Option<(&'a Summary, Feasibility)>,
    /// T over the cohorts of the accounts under suspicion.
    pub cohorts: Option<(&'a Summary, Feasibility)>,
    /// The route (P4), at the level of its own plan.
    pub route: Option<(&'a Route, Feasibility)>,
    /// Accounts, at their family-wise level.
    pub accounts: Option<(&'a Naming, Feasibility)>,
}

/// What a rung claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// Exposed to marked answers, by a route that this does not identify (P3).
    Exposure,
    /// Exposed to answers under the campaign's key.
    Campaign,
    /// Exposed to answers of the cohorts that the accounts under suspicion were in.
    Cohorts,
    /// It learned from answers served to these accounts, more than from as many served to others (P4).
    Route,
    /// Single accounts.
    Account,
}

/// One rung of the ladder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rung {
    /// What it claims.
    pub claim: Claim,
    /// ln p of its test; of the route the larger of two, of accounts the smallest after correction.
    pub ln_p: f64,
    /// ln of its level.
    pub ln_alpha: f64,
    /// Whether its own test rejects.
    pub rejects: bool,
    /// Whether it rejects, and so do all below it, and no control does.
    pub holds: bool,
    /// What it would need.
    pub feasibility: Feasibility,
}

/// How far the evidence reaches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ladder {
    /// The rungs that were registered, from the bottom.
    pub rungs: Vec<Rung>,
    /// Whether the control of the route rejects, or could not have, which blocks every claim.
    pub blocked: bool,
    /// The highest claim that holds; none where the answer is to abstain from all.
    pub reached: Option<Claim>,
    /// The accounts that are named; none unless the rung of accounts holds.
    pub accounts: Vec<String>,
}

impl Ladder {
    /// Climbs. `ln_alpha` is the level of exposure, campaign and cohorts.
    #[must_use]
    pub fn climb(registered: Registered<'_>, ln_alpha: f64) -> Self {
        let blocked = registered.route.as_ref().is_some_and(|(route, _)| route.is_blocked());
        let rung = |claim, ln_p: f64, ln_alpha: f64, rejects, feasibility| Rung {
            claim,
            ln_p,
            ln_alpha,
            rejects,
            holds: false,
            feasibility,
        };
        let plain = |claim, test: Option<(&Summary, Feasibility)>| {
            test.map(|(test, feasibility)| {
                rung(claim, test.ln_p, ln_alpha, test.ln_p <= ln_alpha, feasibility)
            })
        };
        let named = registered.accounts.as_ref().map(|(naming, _)| naming.named()).unwrap_or_default();
        let accounts: Vec<String> = named.iter().map(|candidate| candidate.id.clone()).collect();
        let rungs = [
            plain(Claim::Exposure, registered.exposure),
            plain(Claim::Campaign, registered.campaign),
            plain(Claim::Cohorts, registered.cohorts),
            registered.route.map(|(route, feasibility)| {
                let rejects = route.outcome == RouteOutcome::Established;
                rung(Claim::Route, route.ln_p, route.ln_alpha, rejects, feasibility)
            }),
            registered.accounts.map(|(naming, feasibility)| {
                rung(Claim::Account, naming.ln_p(), naming.ln_alpha(), !accounts.is_empty(), feasibility)
            }),
        ];
        let mut rungs: Vec<Rung> = rungs.into_iter().flatten().collect();
        let mut reached = None;
        for rung in rungs.iter_mut().take_while(|rung| rung.rejects && !blocked) {
            rung.holds = true;
            reached = Some(rung.claim);
        }
        let accounts = if reached == Some(Claim::Account) { accounts } else { Vec::new() };
        Self { rungs, blocked, reached, accounts }
    }
}

impl Claim {
    /// Whether it says what the suspect learned, not only what it was exposed to.
    #[must_use]
    pub fn is_learned(self) -> bool {
        matches!(self, Self::Route | Self::Account)
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exposure => "exposed to marked answers, by a route that this does not identify",
            Self::Campaign => "exposed to answers under the campaign's key",
            Self::Cohorts => "exposed to answers of the cohorts that these accounts were in",
            Self::Route => {
                "learned from answers served to these accounts, more than from as many served to others; that they \
                 were republished is not excluded"
            }
            Self::Account => {
                "learned from answers served to the accounts named; that they were republished is not excluded"
            }
        })
    }
}

/// One line a rung with what it would need, and what is abstained from.
impl fmt::Display for Ladder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rung in &self.rungs {
            let word = match (rung.holds, rung.rejects) {
                (true, _) => "holds      ",
                (false, true) => "not reached",
                (false, false) => "abstained  ",
            };
            writeln!(f, "{word}  {} (ln p {:.2}, level {:.2})", rung.claim, rung.ln_p, rung.ln_alpha)?;
            writeln!(f, "             {}", rung.feasibility)?;
        }
        if self.blocked {
            writeln!(
                f,
                "blocked: slots that nobody outside was served reject too, so keys or picks leaked; or there are too few of them to tell"
            )?;
        }
        if self.accounts.is_empty() {
            f.write_str("no single account is established")
        } else {
            write!(f, "accounts: {}", self.accounts.join(", "))
        }
    }
}
