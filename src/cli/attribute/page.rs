//! The ladder as a person reads it.

use std::fmt::Write;

use super::super::verdict::{percent, stated};
use super::climb::Report;
use crate::attribute::{ArmRate, Keyed, Ratio, RouteOutcome, Rung};
use crate::stat::math::log10_from_ln;

/// The page.
pub(super) fn page(report: &Report) -> String {
    let Report { route, ladder, .. } = report;
    let mut page = format!(
        "exploration (the plan of the route is sealed; no bundle makes this a finding)\n\
         plan        {}, sealed {}\n\
         key         {}, epoch {}\n\
         suspected   {} accounts, fixed by the plan; {} slots probed, fixed by the plan\n\
         control     {}\n            {}\n\n",
        report.plan,
        report.sealed,
        report.key_id,
        report.epoch,
        report.accounts,
        report.slots,
        hits(&route.sentinels),
        if ladder.blocked {
            "slots that nobody outside was served REJECT: keys, book or picks leaked, and no claim stands"
        } else {
            "slots that nobody outside was served are silent"
        },
    );
    for rung in &ladder.rungs {
        let _ = writeln!(page, "{}", line(rung));
        let _ = writeln!(page, "            {}", rung.feasibility);
    }
    page.push('\n');
    page.push_str(&halves(report));
    page.push_str(&nearest(report));
    page.push_str(&reached(report));
    page
}

/// One rung.
fn line(rung: &Rung) -> String {
    let word = match (rung.holds, rung.rejects) {
        (true, _) => "holds",
        (false, true) => "not reached",
        (false, false) => "abstained",
    };
    let [p, level] = [rung.ln_p, rung.ln_alpha].map(|ln| stated(log10_from_ln(ln)));
    format!("{word:<11} {} (log10 p {p}, level {level})", rung.claim)
}

/// What the route's two halves show.
fn halves(report: &Report) -> String {
    let arms = &report.route.arms;
    let [keyed, compared] = [report.route.keyed.ln_p, arms.ln_p].map(|ln| stated(log10_from_ln(ln)));
    let outcome = match report.route.outcome {
        RouteOutcome::Blocked => "blocked by the control",
        RouteOutcome::Uncontrolled => "not claimed: the control has too few slots to reject",
        RouteOutcome::Established => "both halves reject",
        RouteOutcome::NotEstablished => "both halves have to reject, and one does not",
    };
    format!(
        "route (a)   slots that these accounts alone were served: {}\n            \
         log10 p {keyed}\n\
         route (b)   {} of these accounts against {} of others, in {} strata of class and period: log10 p {compared}\n\
         rate ratio  {}\n\
         leak ratio  {}: what explains the difference if recall grows in proportion to leaked copies\n\
         route       {outcome}\n",
        hits(&report.route.keyed),
        arm(&arms.campaign),
        arm(&arms.ordinary),
        arms.strata,
        ratio(&arms.rate_ratio),
        ratio(&arms.leak_ratio),
    )
}

fn nearest(report: &Report) -> String {
    let mut text = String::new();
    let words = ["nearest", "runner-up"];
    for (word, one) in words.iter().zip(&report.nearest) {
        let [p, adjusted] = [one.ln_p, one.adjusted_ln_p].map(|ln| stated(log10_from_ln(ln)));
        let named = if report.ladder.accounts.contains(&one.id) { "" } else { ", and not named" };
        let _ = writeln!(
            text,
            "{word:<11} {}: {} slots of its own, log10 p {p}, corrected for all accounts {adjusted}{named}",
            one.id, one.draws
        );
    }
    text
}

/// What is claimed.
fn reached(report: &Report) -> String {
    let claim = match report.ladder.reached {
        Some(claim) => format!("The suspect {}{claim}.", if claim.is_learned() { "" } else { "was " }),
        None => "Nothing is claimed.".to_owned(),
    };
    let accounts = if report.ladder.accounts.is_empty() {
        "No single account is named.".to_owned()
    } else {
        format!("Accounts named: {}.", report.ladder.accounts.join(", "))
    };
    format!("\nclaimed     {claim}\n            {accounts}\n")
}

fn hits(keyed: &Keyed) -> String {
    let Keyed { slots, draws, hits, expected, .. } = keyed;
    format!(
        "of {slots} slots {draws} answers name a sibling, {hits} of them the pick, {expected:.1} by chance"
    )
}

fn arm(arm: &ArmRate) -> String {
    format!("{} of {} slots ({} above chance)", arm.hits, arm.slots, percent(arm.excess))
}

fn ratio(ratio: &Ratio) -> String {
    let end = |end: Option<f64>| end.map_or("unbounded".to_owned(), |end| format!("{end:.2}"));
    format!("{} (95 % interval {} to {})", end(ratio.estimate), end(ratio.at_least), end(ratio.at_most))
}
