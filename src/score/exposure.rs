//! How often windows occur in traffic: where a student of the answers would have learned most.
//!
//! The counts weight coefficients, so they must not depend on the scored key: windows that return to themselves are
//! served more often where their targets are green, and weights counted in text marked under the scored key gave an
//! innocent z = 9. So they come from unmarked answers, from answers under *other* keys, or from before service.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::{Exchange, ScoreError, Windows};
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

    /// How often each of `windows` occurred, as a bundle keeps it.
    pub fn listed(&self, windows: &Windows) -> Exposures {
        let of = |number| (windows.get(number), self.of(windows.get(number)));
        let occurred = (0..).take(windows.len()).map(of).filter(|(_, count)| *count > 0);
        Exposures(occurred.map(|(window, count)| (window_name(window), count)).collect())
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

/// How often windows occurred, by their ids with spaces between; those that never did are not listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposures(BTreeMap<String, u64>);

impl Exposures {
    /// Adds counts of windows of another width, in the same traffic.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Refuses what is no window of one of these widths.
    ///
    /// # Errors
    /// A window of another width, or one that is not written as ids with spaces between.
    pub fn check(&self, widths: &[Width]) -> Result<(), ScoreError> {
        let fits = |name: &str| {
            let window = window_of(name);
            window.is_some_and(|ids| widths.iter().any(|width| width.tokens() == ids.len()))
        };
        let wrong = self.0.keys().find(|name| !fits(name));
        wrong.map_or(Ok(()), |name| Err(ScoreError::ExposedWindow(name.clone())))
    }

    /// The counts as they were, for windows of `width`, from traffic that `marked_under` marked.
    ///
    /// # Errors
    /// A window of another width, or one that is not written as ids with spaces between.
    pub fn read(
        &self,
        width: Width,
        marked_under: impl IntoIterator<Item = Origin>,
    ) -> Result<Exposure, ScoreError> {
        self.check(&[width])?;
        Ok(self.of_width(width, marked_under))
    }

    /// The counts of windows of one width among those of several.
    pub fn of_width(&self, width: Width, marked_under: impl IntoIterator<Item = Origin>) -> Exposure {
        let mut exposure = Exposure::new(width, marked_under);
        for (name, count) in &self.0 {
            if let Some(window) = window_of(name).filter(|ids| ids.len() == width.tokens()) {
                exposure.counts.insert(window.into(), *count);
            }
        }
        exposure
    }
}

/// A window as the name of a field: its ids, separated by spaces.
pub(super) fn window_name(window: &[TokenId]) -> String {
    window.iter().map(TokenId::to_string).collect::<Vec<_>>().join(" ")
}

/// The window of such a name.
fn window_of(name: &str) -> Option<Vec<TokenId>> {
    let ids: Option<Vec<TokenId>> = name.split_whitespace().map(|id| id.parse().ok()).collect();
    ids.filter(|ids| window_name(ids) == name)
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

    #[test]
    fn what_is_listed_reads_back_and_other_widths_do_not() {
        let width = Width::new(2).unwrap();
        let mut exposure = Exposure::new(width, []);
        exposure.add(&Exchange {
            prompt: vec![7, 8],
            response: vec![7, 8, 7],
            whole_context: true,
            provenance: Provenance::Fresh,
        });
        let mut windows = crate::score::Numbering::default();
        for window in [[7, 8], [8, 7], [9, 9]] {
            windows.number(&window);
        }
        let listed = exposure.listed(windows.windows());
        assert_eq!(serde_json::to_string(&listed).unwrap(), r#"{"7 8":2,"8 7":1}"#);
        let read = listed.read(width, []).unwrap();
        assert_eq!([[7, 8], [8, 7], [9, 9]].map(|window| read.of(&window)), [2, 1, 0]);
        assert!(listed.read(Width::new(1).unwrap(), []).is_err());
        for wrong in ["7  8", "7 x", "7", "07 8", ""] {
            let listed = Exposures([(wrong.to_owned(), 1)].into());
            assert_eq!(listed.read(width, []).unwrap_err(), ScoreError::ExposedWindow(wrong.to_owned()));
        }
    }
}
