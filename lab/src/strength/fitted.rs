//! Coefficients fitted on another student of the lab, under its throwaway key: a trial beyond the residual.
//!
//! Pairs fall into cells by how often the suspect wrote them and how often the reference would have. A cell's
//! coefficient is how much more often than γ its pairs were green, shrunk towards 0 where pairs are few. The fit comes
//! from the run of the seed before (another student, other text, another key), so it does not depend on the scored key.

use super::Run;
use crate::corpus::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use taggant::scheme::Scheme;
use taggant::score::{Expectation, Text};

/// Pairs that each cell is taken to have had on the null side.
const PRIOR: f64 = 200.0;
/// γ of the lab's marks.
const GAMMA: f64 = 0.25;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Fitted(BTreeMap<String, f64>);

impl Fitted {
    pub(super) fn on(text: &Text, expectation: &Expectation, scheme: &Scheme) -> Result<Self> {
        let arm = &scheme.arms()[0];
        let mut cells: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        let mut lanes = None;
        text.pairs(expectation, |pair| {
            let (_, lanes) = match &mut lanes {
                Some((window, lanes)) if *window == pair.coin.window => (*window, lanes),
                other => {
                    let seed = arm.seed(text.windows().get(pair.coin.window));
                    let (window, lanes) = other.insert((pair.coin.window, seed.lanes()));
                    (*window, lanes)
                }
            };
            let green = f64::from(arm.word_in(lanes, pair.coin.token));
            let cell = cells.entry(cell(f64::from(pair.n), pair.nb)).or_default();
            *cell = (cell.0 + green - GAMMA, cell.1 + 1.0);
        })?;
        Ok(Self(cells.into_iter().map(|(cell, (excess, pairs))| (cell, excess / (pairs + PRIOR))).collect()))
    }

    pub(super) fn coefficient(&self, n: f64, nb: f64) -> f64 {
        self.0.get(&cell(n, nb)).copied().unwrap_or(0.0)
    }

    pub(super) fn save(&self, models: &Path, run: &Run) -> Result<()> {
        Ok(fs::write(path(models, run), serde_json::to_string(self)?)?)
    }

    /// The fit of the seed before, where it was made.
    pub(super) fn of_earlier_seed(models: &Path, run: &Run) -> Result<Option<Self>> {
        let path = path(models, &Run { seed: run.seed - 1, ..*run });
        Ok(if path.exists() { Some(serde_json::from_str(&fs::read_to_string(path)?)?) } else { None })
    }
}

fn path(models: &Path, run: &Run) -> PathBuf {
    models.join(format!("{}-s{}.fit.json", run.name(), run.seed))
}

/// n exactly up to 4 and by powers of 2 above; Nb by powers of 2 from 2⁻⁴.
fn cell(n: f64, nb: f64) -> String {
    let n = if n <= 4.0 { n } else { 3.0 + n.log2().floor() };
    format!("{n} {}", nb.max(1.0 / 32.0).log2().floor())
}
