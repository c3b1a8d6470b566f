//! Why an analysis has no result. A negative verdict is never among the reasons.

use super::canaries::ProbeError;
use super::material::MaterialError;
use crate::scheme::SpecError;
use crate::score::{ReadingError, ScoreError};
use crate::stat::verdict::TestError;

/// Why an analysis has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaseError {
    /// A planned test without its material.
    #[error("test {0}: the plan registers it, but there is no material for it")]
    NoMaterial(String),
    /// Two pieces of material for one test: which of them counts would be a choice after the fact.
    #[error("test {0}: there are two pieces of material for its suspect and access")]
    MaterialTwice(String),
    /// A planned test whose key was not opened.
    #[error("test {test}: the key of {label} in epoch {epoch} was not opened")]
    NoKey {
        /// The test.
        test: String,
        /// Its label.
        label: String,
        /// Its epoch.
        epoch: String,
    },
    /// A coefficient source that saw text marked under the scored key.
    #[error(
        "test {test}: its source {source_name} lists the scored key {key}: coefficients made from text marked under \
             a key are no evidence about that key"
    )]
    DependentSource {
        /// The test.
        test: String,
        /// The source's name in the plan.
        source_name: String,
        /// The key it lists.
        key: String,
    },
    /// The plan's book is missing, another one, or has a fault.
    #[error("canaries: {0}")]
    Book(Box<ProbeError>),
    /// Answers to canaries that do not fit the plan.
    #[error("test {test}: {error}")]
    Canary {
        /// The test.
        test: String,
        /// What is wrong.
        error: Box<ProbeError>,
    },
    /// Material that does not fit the plan.
    #[error("test {test}: {error}")]
    Material {
        /// The test.
        test: String,
        /// What is wrong.
        error: MaterialError,
    },
    /// Prompts that carry the mark themselves: an innocent that takes up their words would show it.
    #[error(
        "test {test}: the plan's prompts carry the mark of epoch {epoch} themselves (log10 p {log10_p:.1}): an innocent that takes \
         up their words would show it; write prompts with the mark off, and plan again"
    )]
    MarkedPrompts {
        /// The test.
        test: String,
        /// The epoch whose mark they carry.
        epoch: String,
        /// log10 of their p.
        log10_p: f64,
    },
    /// Rows that cannot be scored.
    #[error("test {test}: {error}")]
    Score {
        /// The test.
        test: String,
        /// What is wrong.
        error: ScoreError,
    },
    /// Draws without a number.
    #[error("test {test}: {error}")]
    Test {
        /// The test.
        test: String,
        /// What is wrong.
        error: TestError,
    },
    /// A spec that does not open.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A reading that is refused.
    #[error(transparent)]
    Reading(#[from] ReadingError),
}
