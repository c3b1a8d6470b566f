//! Several suspects under one key: which to look at more closely. Never whom to accuse.

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::score::Report;
use super::{Failure, output, verdict};
use crate::stat::math::{ln, log10_from_ln};
use crate::stat::multiple::screen_e_bh;

/// The share of false ones among those picked, on average.
const LEVEL: f64 = 0.05;

/// `taggant/screen/1`.
#[derive(Debug, Serialize)]
struct Screen<'r> {
    schema: &'static str,
    exploration: &'static str,
    false_discovery_rate: f64,
    suspects: Vec<Suspect<'r>>,
}

#[derive(Debug, Serialize)]
struct Suspect<'r> {
    file: &'r str,
    look_closer: bool,
    score: &'r Report,
}

/// Prints the suspects in the order given. Their e-values may depend on each other, as values under one key do.
pub(super) fn print(reports: &[(String, Report)], json: bool) -> Result<(), Failure> {
    let ln_e: Vec<f64> = reports.iter().map(|(_, report)| report.summary.ln_e).collect();
    let picked = screen_e_bh(&ln_e, ln(LEVEL));
    let suspects = reports.iter().zip(picked).map(|((file, score), look_closer)| (file, look_closer, score));
    if json {
        let suspects =
            suspects.map(|(file, look_closer, score)| Suspect { file, look_closer, score }).collect();
        return output::json(&Screen {
            schema: "taggant/screen/1",
            exploration: "not a verdict: no plan was sealed, and the correction bounds a share of false ones only",
            false_discovery_rate: LEVEL,
            suspects,
        });
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["suspect", "draws", "z", "log10 p", "log10 e", "look closer"]);
    for (file, look_closer, score) in suspects {
        let summary = &score.summary;
        table.add_row([
            file.clone(),
            summary.draws.to_string(),
            format!("{:.2}", summary.z),
            verdict::stated(summary.log10_p),
            format!("{:.1}", log10_from_ln(summary.ln_e)),
            if look_closer { "yes" } else { "no" }.to_owned(),
        ]);
    }
    output::data(&format!(
        "exploration (no plan was sealed: not a verdict)\n{table}\n\
         Of those to look at more closely, on average at most {:.0} % are there by chance (e-BH). Test them on fresh draws under a \
         sealed plan.\n",
        100.0 * LEVEL
    ))
}
