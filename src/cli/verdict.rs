//! Findings as a table that a person understands.

use comfy_table::{ContentArrangement, Table, presets};

use crate::case::plan::Access;
use crate::case::{Finding, Verdict};
use crate::stat::math::log10_from_ln;

/// One line a finding.
pub(super) fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["suspect", "seen through", "draws", "rate (95 %)", "log10 p", "log10 e", "verdict"]);
    for finding in findings {
        table.add_row(row(finding));
    }
    table
}

/// A verdict in the words of a report.
pub(super) fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::EvidenceFound => "evidence found",
        Verdict::Inconclusive => "inconclusive",
        Verdict::NoEvidence => "no evidence",
    }
}

/// The suspect's part of a test's name.
pub(super) fn name(finding: &Finding) -> &str {
    finding.test().split('/').next().unwrap_or(finding.test())
}

/// A share as a percentage.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn row(finding: &Finding) -> [String; 7] {
    let summary = finding.summary();
    let interval = summary.interval.map(|[low, high]| format!(" ({} to {})", percent(low), percent(high)));
    [
        name(finding).to_owned(),
        access(finding.access()).to_owned(),
        summary.draws.to_string(),
        format!("{}{}", percent(summary.estimate), interval.unwrap_or_default()),
        stated(log10_from_ln(finding.verdict_ln_p())),
        format!("{:.1}", log10_from_ln(summary.ln_e)),
        words(finding.verdict()).to_owned(),
    ]
}

/// log10 p as it is stated: below 2⁻¹²⁸ nothing more is claimed, because HMAC-SHA256 is assumed to be a PRF no further.
pub(super) fn stated(log10_p: f64) -> String {
    const LIMIT: f64 = -38.531_839_444_989_59;
    if log10_p < LIMIT { "< -38.5".to_owned() } else { format!("{log10_p:.1}") }
}

/// An access as one word.
pub(super) fn access(access: Access) -> &'static str {
    match access {
        Access::Canary => "canaries",
        Access::Distributions => "distributions",
        Access::Likelihoods => "likelihoods",
        Access::Reading => "reading",
        Access::Route => "route (P4)",
        Access::Text => "text",
    }
}
