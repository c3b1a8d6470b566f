//! The registered tests: whose answers, why, what is looked at, and by which statistic.

use serde::{Deserialize, Serialize};

use super::{Plan, PlanError, Planned, Pool, RowRule, ScoredKey, canaries, sources};
use crate::canary::Scoring;
use crate::score::TextStatistic;

/// What the test looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// The suspect's answers to fresh prompts.
    Text,
    /// Its next-token distributions there.
    Distributions,
    /// Its answers to the probes of canary slots.
    Canary,
    /// What it gives the siblings of canary slots, said or not.
    Likelihoods,
    /// Its answers to canaries, or what it gives their siblings, by who was served the slots (claim P4).
    Route,
    /// Its next-token distributions while it reads text marked under the scored key (adaptive).
    Reading,
}

impl Access {
    /// Whether it looks at canaries.
    pub fn is_of_canaries(self) -> bool {
        matches!(self, Self::Canary | Self::Likelihoods | Self::Route)
    }
}

impl PlannedTest {
    /// Whether it looks at the same by the same statistic, beside the plan's reference if the other does.
    pub(in crate::case) fn looks_as(&self, other: &Self, plan: &Plan) -> bool {
        let beside =
            |test: &Self| matches!(&plan.reference, Planned::Set { value } if test.sources.contains(value));
        (self.access, self.statistic, beside(self)) == (other.access, other.statistic, beside(other))
    }

    /// The access of the material that it looks at: a route is seen in what tests of exposure by canaries see.
    pub(in crate::case) fn material(&self) -> Access {
        match (self.access, self.statistic) {
            (Access::Route, Statistic::LikelihoodRoute) => Access::Likelihoods,
            (Access::Route, _) => Access::Canary,
            (access, _) => access,
        }
    }
}

/// Why something is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A suspect that was trained on marked answers by us: the positive control.
    Student,
    /// A suspect that was trained on unmarked answers by us.
    Control,
    /// A suspect of whom nothing is known.
    Suspect,
    /// The same evidence under a key that never marked anything.
    WrongKey,
    /// A model that cannot have seen a marked answer, under the same key.
    Innocent,
}

impl Role {
    /// Whether Holm's correction counts the test.
    pub fn is_registered(self) -> bool {
        matches!(self, Self::Control | Self::Student | Self::Suspect)
    }

    /// Whether a rejection would throw doubt on every finding: nothing marked under the scored key can be behind it.
    pub fn is_negative_control(self) -> bool {
        matches!(self, Self::Control | Self::Innocent | Self::WrongKey)
    }
}

/// The statistic of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statistic {
    /// Text: each distinct (window, token) once.
    Distinct,
    /// Text: √n for n occurrences.
    RootCount,
    /// Text: (n − Nb)/(1 + 0.03 Nb) by distinct (window, token), Nb the sum of the plan's reference over the contexts.
    TextResidual,
    /// Distributions: 1 for each distinct (window, likeliest token) (Sander et al. 2024; a named baseline).
    Argmax,
    /// Distributions: Σ q by distinct window (Xu et al. 2026, with exact variance; a named baseline).
    GreenMass,
    /// Distributions: Σ (q − b)/√(q + b) by distinct window, half-normed, b the plan's reference.
    Residual,
    /// Reading: q of the unseen window, in units of 2⁻¹⁶; the e-process is the verdict.
    ReadingMass,
    /// Canaries: 1 for the sibling that a slot's first answer names.
    CanaryFirst,
    /// Canaries: how many of a slot's answers name the sibling.
    CanaryCounts,
    /// Canaries: what a suspect that remembers the sibling would answer, against what it answers in general.
    CanaryRemembered,
    /// Canaries that were served to some accounts only, against those served to others: the larger p of both halves of a
    /// route.
    CanaryRoute,
    /// Likelihoods: how much each sibling stands out in its slot ([`crate::canary::Evidence::of_likelihoods`]).
    CanaryLikelihood,
    /// Likelihoods: both halves of a route by the sibling that stands out most.
    LikelihoodRoute,
    /// Likelihoods of twins: the rank of the one that was served ([`crate::canary::Ranks`]), beside the plan's reference where
    /// the test lists it.
    TwinRank,
    /// Canaries, slot by slot in plan order, as long as one cares to ask: counts; the e-process is the verdict.
    CanaryMetered,
}

impl Statistic {
    /// As a text statistic, where it is one.
    pub fn text(self) -> Option<TextStatistic> {
        match self {
            Self::Distinct => Some(TextStatistic::Distinct),
            Self::RootCount => Some(TextStatistic::RootCount),
            _ => None,
        }
    }

    /// As scores of canary slots that are all asked before one is opened, where it is that.
    pub fn scoring(self) -> Option<Scoring> {
        match self {
            Self::CanaryFirst => Some(Scoring::First),
            Self::CanaryCounts => Some(Scoring::Counts),
            Self::CanaryRemembered => Some(Scoring::Remembered),
            _ => None,
        }
    }

    /// Whether its coefficients have both signs: what is compared with a reference.
    pub(super) fn is_signed(self) -> bool {
        matches!(self, Self::Residual | Self::TextResidual)
    }
}

/// One registered test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedTest {
    /// Unique name.
    pub name: String,
    /// Whose answers.
    pub suspect: String,
    /// Why.
    pub role: Role,
    /// What it looks at.
    pub access: Access,
    /// The statistic.
    pub statistic: Statistic,
    /// The keys that are scored, pooled into one S with their weights.
    pub keys: Vec<ScoredKey>,
    /// The names of the sources that its coefficients come from.
    pub sources: Vec<String>,
}

impl Plan {
    /// Whether a test is one that this version can run, under the plan's other fields.
    pub(super) fn check_test(&self, test: &PlannedTest) -> Result<(), PlanError> {
        let fits = matches!(
            (test.access, test.statistic),
            (Access::Text, Statistic::Distinct | Statistic::RootCount | Statistic::TextResidual)
                | (Access::Distributions, Statistic::Argmax | Statistic::GreenMass | Statistic::Residual)
                | (Access::Reading, Statistic::ReadingMass)
                | (Access::Likelihoods, Statistic::CanaryLikelihood | Statistic::TwinRank)
                | (Access::Route, Statistic::CanaryRoute | Statistic::LikelihoodRoute)
                | (
                    Access::Canary,
                    Statistic::CanaryFirst
                        | Statistic::CanaryCounts
                        | Statistic::CanaryRemembered
                        | Statistic::CanaryMetered
                )
        );
        if !fits {
            return Err(PlanError::Field(format!(
                "tests, {}: the statistic does not fit the access",
                test.name
            )));
        }
        self.check_keys(test)?;
        if test.access == Access::Distributions {
            self.pool.check_rows(test)?;
        }
        if test.access.is_of_canaries() {
            canaries::check_test(self, test)?;
        }
        if test.statistic.is_signed() {
            let listed = |name: &String| test.sources.contains(name);
            if !matches!(&self.reference, Planned::Set { value } if listed(value)) {
                let what = "a residual needs the plan's reference among its sources";
                return Err(PlanError::Field(format!("tests, {}: {what}", test.name)));
            }
            if matches!(&self.exposure, Planned::Set { value } if !listed(value)) {
                let what = "a residual weighed by exposure needs the plan's traffic among its sources";
                return Err(PlanError::Field(format!("tests, {}: {what}", test.name)));
            }
        }
        let known = |name: &String| self.sources.iter().any(|source| source.name == *name);
        match test.sources.iter().find(|name| !known(name)) {
            Some(name) => Err(PlanError::Field(format!("tests, {}: source {name} is not listed", test.name))),
            None => sources::check_ages(self, test),
        }
    }
}

impl Pool {
    /// Whether the plan says at which contexts distributions are read, and how much of them.
    fn check_rows(&self, test: &PlannedTest) -> Result<(), PlanError> {
        let wrong = |what: &str| Err(PlanError::Field(format!("pool, for the test {}: {what}", test.name)));
        if matches!(self.contexts, Planned::Absent { .. }) {
            return wrong("a test of distributions needs the field contexts");
        }
        match self.rows {
            Planned::Absent { .. } => wrong(
                "a test of distributions needs the field rows: \"whole\", {\"top\": K} or {\"known\": K}",
            ),
            Planned::Set { value: RowRule::Known(0) | RowRule::Top(0) } => wrong("rows: 0 tokens are none"),
            Planned::Set { .. } => Ok(()),
        }
    }
}
