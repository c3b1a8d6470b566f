//! Published tests over the same rows, under their names: what a statistic is to be compared with. Explorations all.

use serde::Serialize;

use super::Failure;
use super::distributions::Distributions;
use super::verdict::stated;
use crate::law::Draws;
use crate::scheme::Scheme;
use crate::score::{self, Evidence, Prediction, ScoreError};
use crate::source::text::Row;
use crate::stat::hoeffding::hoeffding_ln_sf;
use crate::stat::math::log10_from_ln;
use crate::stat::verdict::Summary;
use crate::token::Width;

/// How a published test counts rows.
type Counting = fn(Width, &[Prediction<'_>]) -> Result<Evidence, ScoreError>;

/// Each with its source, how it counts, and whether Hoeffding's bound takes the place of the exact tail.
const TESTS: [(&str, &str, Counting, bool); 3] = [
    ("argmax", "Sander et al. 2024", score::argmax, false),
    ("green mass, exact variance", "ADFP, Xu et al. 2026", score::mass, false),
    ("green mass, Hoeffding's bound", "ADFP, Xu et al. 2026", score::mean_mass, true),
];

/// What a published test says.
#[derive(Debug, Serialize)]
pub(super) struct Baseline {
    name: &'static str,
    source: &'static str,
    /// Distinct draws with a coefficient other than zero.
    scored: u64,
    /// None where a bound knows no variance.
    z: Option<f64>,
    ln_p: f64,
    log10_p: f64,
}

/// Rows of the same distributions, by epoch, each with the scheme under that epoch's key.
pub(super) fn of(
    distributions: &Distributions,
    by_epoch: &[(Scheme, Vec<(u32, &Row)>)],
) -> Result<Vec<Baseline>, Failure> {
    let mut found = Vec::new();
    for (name, source, count, bound) in TESTS {
        let mut pooled: Option<Draws> = None;
        for (scheme, rows) in by_epoch {
            let draws = distributions.counted_by(rows, count)?.open(scheme)?;
            pooled = Some(match pooled {
                None => draws,
                Some(earlier) => earlier.pool(draws)?,
            });
        }
        let Some(draws) = pooled else { continue };
        found.extend(baseline(name, source, draws, bound)?);
    }
    Ok(found)
}

/// None where a bound does not know such draws.
fn baseline(
    name: &'static str,
    source: &'static str,
    draws: Draws,
    bound: bool,
) -> Result<Option<Baseline>, Failure> {
    let scored = draws.as_slice().len() as u64;
    let (z, ln_p) = if bound {
        let Some(ln_p) = hoeffding_ln_sf(draws) else { return Ok(None) };
        (None, ln_p)
    } else {
        let summary = Summary::of(draws)?;
        (Some(summary.z), summary.ln_p)
    };
    Ok(Some(Baseline { name, source, scored, z, ln_p, log10_p: log10_from_ln(ln_p) }))
}

/// What a person reads.
pub(super) fn text(baselines: &[Baseline]) -> String {
    let mut text = String::new();
    for (number, Baseline { name, source, scored, z, log10_p, .. }) in baselines.iter().enumerate() {
        let z = z.map_or("no z".to_owned(), |z| format!("z {z:.2}"));
        let head = if number == 0 { "baselines" } else { "" };
        text.push_str(&format!(
            "{head:<12}{name}: {scored} draws, {z}, log10 p {} ({source})\n",
            stated(*log10_p)
        ));
    }
    text
}
