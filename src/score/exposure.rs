//! How often windows occur in traffic: where a student of the answers would have learned most.
//!
//! The counts weight coefficients, so they must not depend on the scored key: windows that return to themselves are
//! served more often where their targets are green, and weights counted in text marked under the scored key gave an
//! innocent z = 9. So they come from unmarked answers, from answers under *other* keys, or from before service.

use std::collections::{BTreeSet, HashMap};

use super::{Exchange, ScoreError};
use crate::law::Origin;
use crate::token::{TokenId, Width};

/// Counts of windows before the tokens of answers.
#[derive(Clone, Debug)]
pub struct Exposure {
    width: Width,
    counts: HashMap<Box<[TokenId]>, u64>,
    marked_under: BTreeSet<Origin>,
}

impl Exposure {
    /// No counts yet, for windows of `width`. `marked_under` lists every key that marked anything in the traffic to be
    /// counted: coefficients weighted by it cannot be opened under one of them.
    pub fn new(width: Width, marked_under: impl IntoIterator<Item = Origin>) -> Self {
        Self { width, counts: HashMap::new(), marked_under: marked_under.into_iter().collect() }
    }

    /// Counts the windows before each token of an answer.
    pub fn add(&mut self, exchange: &Exchange) {
        let context = [&exchange.prompt[..], &exchange.response[..]].concat();
        for at in exchange.prompt.len()..context.len() {
            if let Some(window) = self.width.window(&context, at) {
                *self.counts.entry(window.into()).or_default() += 1;
            }
        }
    }

    /// How often `window` occurred.
    pub fn of(&self, window: &[TokenId]) -> u64 {
        self.counts.get(window).copied().unwrap_or(0)
    }

    /// ln(1 + e): the shape in which the effect on a student grows with exposure.
    pub fn log(&self, window: &[TokenId]) -> f64 {
        libm::log1p(to_f64(self.of(window)))
    }

    /// The window's width.
    pub fn width(&self) -> Width {
        self.width
    }

    /// The keys that marked anything in the traffic.
    pub fn marked_under(&self) -> impl Iterator<Item = Origin> + '_ {
        self.marked_under.iter().copied()
    }
}

/// Refuses counts of other windows.
pub(super) fn check(exposure: Option<&Exposure>, wanted: Width) -> Result<(), ScoreError> {
    match exposure.map(Exposure::width) {
        Some(counted) if counted != wanted => Err(ScoreError::Exposure { counted, wanted }),
        _ => Ok(()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) fn to_f64(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::Provenance;

    #[test]
    fn windows_before_answer_tokens_count() {
        let exchange = Exchange {
            prompt: vec![1, 2],
            response: vec![2, 2],
            whole_context: true,
            provenance: Provenance::Fresh,
        };
        let mut exposure = Exposure::new(Width::new(1).unwrap(), []);
        exposure.add(&exchange);
        assert_eq!([1, 2, 3].map(|token| exposure.of(&[token])), [0, 2, 0]);
    }
}
