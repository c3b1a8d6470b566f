//! `taggant power`: what a test will need, or can see, before the first probe. Planning arithmetic, never a verdict.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::{Failure, output};
use crate::law::Law;
use crate::scheme::Spec;
use crate::source::response::{self, Response, Setting};
use crate::stat::Rate;
use crate::stat::math::{exp, ln, normal_ln_sf, normal_z, to_f64};
use crate::stat::power::{Hits, over_epochs};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Distinct draws of a green list, whose share of green tokens is raised by a known amount (exact)
    Coins {
        /// How much the chance of green is raised, such as 0.02
        #[arg(long)]
        shift: f64,
        /// The green list
        #[arg(long, default_value = "green/1/w1/b2/t1")]
        spec: Spec,
        #[command(flatten)]
        plan: Plan,
    },
    /// Distinct canary slots, whose served sibling is recalled more often than by chance (exact)
    Slots {
        /// Siblings of a slot
        #[arg(long, default_value_t = 16)]
        siblings: u64,
        /// How much the chance of the served sibling is raised, such as 0.05
        #[arg(long)]
        excess: f64,
        #[command(flatten)]
        plan: Plan,
    },
    /// A student of marked answers, as the lab's students responded (measured on small models: plan with room)
    Student {
        /// The statistic
        #[arg(long, value_enum, default_value_t = Statistic::TextResidual)]
        statistic: Statistic,
        /// The share of the student's training answers that the scored key marked, above 0 to 1
        #[arg(long)]
        share: f64,
        /// Tokens that the student learns from, all together
        #[arg(long)]
        learned: u64,
        /// What it starts from
        #[arg(long, value_enum, default_value_t = Start::FineTuned)]
        start: Start,
        /// The mark's window
        #[arg(long, default_value_t = 1)]
        width: u8,
        #[command(flatten)]
        plan: Plan,
    },
}

/// What every question shares.
#[derive(Debug, Args)]
struct Plan {
    /// The family-wise level of the plan
    #[arg(long, default_value_t = 1e-6)]
    alpha: f64,
    /// The plan's number for this secret and suspect: plan k may spend 6α/(π²k²)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    number: u32,
    /// Tests that Holm's correction counts
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    tests: u32,
    /// The chance of a rejection that is wanted
    #[arg(long, default_value_t = 0.9)]
    power: f64,
    /// What can be spent (distinct draws, slots, tokens or contexts): its power, and the least effect that it shows
    #[arg(long)]
    budget: Option<u64>,
    /// Epochs that the harvest spans, each with a key of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Names as in plans; `exposed` weighs windows by how often they were served.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Statistic {
    Distinct,
    RootCount,
    TextResidual,
    TextResidualExposed,
    GreenMass,
    Residual,
    ResidualExposed,
    ResidualTop20,
}

impl Statistic {
    fn name(self) -> &'static str {
        match self {
            Self::Distinct => "distinct",
            Self::RootCount => "root-count",
            Self::TextResidual => "text-residual",
            Self::TextResidualExposed => "text-residual, exposed",
            Self::GreenMass => "green-mass",
            Self::Residual => "residual",
            Self::ResidualExposed => "residual, exposed",
            Self::ResidualTop20 => "residual, top 20",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Distinct | Self::RootCount | Self::TextResidual | Self::TextResidualExposed => {
                "tokens of the suspect's text"
            }
            Self::GreenMass | Self::Residual | Self::ResidualExposed | Self::ResidualTop20 => {
                "contexts, one an answer"
            }
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Start {
    FineTuned,
    Scratch,
}

impl From<Start> for response::Start {
    fn from(start: Start) -> Self {
        match start {
            Start::FineTuned => Self::FineTuned,
            Start::Scratch => Self::Scratch,
        }
    }
}

/// `taggant/power/1`.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    /// Where the effect comes from, in words.
    basis: String,
    unit: &'static str,
    alpha: f64,
    plan_number: u32,
    tests: u32,
    epochs: u32,
    /// What one test of this plan must reach.
    level: f64,
    wanted_power: f64,
    /// None where more is needed than was measured, or can be counted.
    needed: Option<u64>,
    /// The power at the largest size that was measured, where that is too little.
    at_most: Option<At>,
    at_budget: Option<At>,
    /// The least effect (shift, excess or share) that the budget shows with the wanted power.
    detectable: Option<f64>,
    /// How the statistic shrinks when each of `epochs` keys marked a part: of one key alone, and of all pooled.
    price_of_epochs: Option<[f64; 2]>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct At {
    size: u64,
    power: f64,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (plan, report) = match &arguments.what {
        What::Coins { shift, spec, plan } => {
            let Some(Law::Bernoulli(gamma)) = spec.law() else {
                return Err(Failure(format!(
                    "{spec} has no coins: a shift is one of a green list, such as green/1/w1/b2/t1"
                )));
            };
            let rate = Rate::new(u64::from(gamma.threshold()), 1 << gamma.bits())?;
            (plan, hits(Hits::of_coins(rate), *shift, 1.0 - rate.p(), "distinct draws", plan)?)
        }
        What::Slots { siblings, excess, plan } => {
            if plan.epochs > 1 {
                let why =
                    "a slot is served in one epoch: slots of several epochs add up, so leave --epochs out";
                return Err(Failure(why.to_owned()));
            }
            let room = 1.0 - 1.0 / to_f64(*siblings);
            (plan, hits(Hits::of_slots(*siblings)?, *excess, room, "distinct slots", plan)?)
        }
        What::Student { statistic, share, learned, start, width, plan } => {
            let (start, width, learned) = ((*start).into(), *width, *learned);
            let name = statistic.name().to_owned();
            let setting = Setting { start, learned, share: *share, width, statistic: name };
            (plan, student(&setting, statistic.unit(), plan)?)
        }
    };
    if plan.json {
        output::json(&report)?
    } else {
        output::data(&page(&report))?
    }
    Ok(ExitCode::SUCCESS)
}

impl Plan {
    /// What one of the plan's tests must reach to reject whatever the others say.
    fn level(&self) -> Result<f64, Failure> {
        if !(self.alpha > 0.0 && self.alpha < 1.0 && self.power > 0.0 && self.power < 1.0) {
            return Err(Failure("--alpha and --power lie strictly between 0 and 1".to_owned()));
        }
        let k = f64::from(self.number);
        Ok(6.0 * self.alpha / (std::f64::consts::PI * std::f64::consts::PI * k * k) / f64::from(self.tests))
    }

    fn report(&self, basis: String, unit: &'static str) -> Result<Report, Failure> {
        let epochs = over_epochs(1.0, u64::from(self.epochs));
        Ok(Report {
            schema: "taggant/power/1",
            basis,
            unit,
            alpha: self.alpha,
            plan_number: self.number,
            tests: self.tests,
            epochs: self.epochs,
            level: self.level()?,
            wanted_power: self.power,
            needed: None,
            at_most: None,
            at_budget: None,
            detectable: None,
            price_of_epochs: (self.epochs > 1).then_some([epochs.one_key, epochs.pooled]),
        })
    }
}

/// Draws that are hits with one chance: exact binomial power. Each of E epochs' keys tilts its draws by a E-th of the
/// effect, and all of them are pooled.
fn hits(hits: Hits, effect: f64, room: f64, unit: &'static str, plan: &Plan) -> Result<Report, Failure> {
    if !(effect > 0.0 && effect <= room) {
        return Err(Failure(format!("the effect must lie above 0 and be at most {room}, not {effect}")));
    }
    let epochs = u64::from(plan.epochs);
    let (ln_level, part) = (ln(plan.level()?), effect / to_f64(epochs));
    let basis = format!("exact binomial power; each draw is a hit {effect} more often than by chance");
    let at = |size: u64| At { size, power: hits.power(size.saturating_mul(epochs), part, ln_level) };
    let detectable = |budget: u64| hits.detectable(budget.saturating_mul(epochs), ln_level, plan.power);
    Ok(Report {
        needed: hits.needed(part, ln_level, plan.power).map(|draws| draws.div_ceil(epochs)),
        at_budget: plan.budget.map(at),
        detectable: plan.budget.and_then(detectable).map(|least| least * to_f64(epochs)),
        ..plan.report(basis, unit)?
    })
}

/// A student as the lab's: z at a size is normal, with the spread that students and keys had.
fn student(setting: &Setting, unit: &'static str, plan: &Plan) -> Result<Report, Failure> {
    let (curves, ln_level) = (response::curves()?, ln(plan.level()?));
    let response = response::response(&curves, setting)?;
    let pooled = over_epochs(1.0, u64::from(plan.epochs)).pooled;
    let power = |response: &Response, size| {
        let (z, sd) = response.at(size)?;
        Some(exp(normal_ln_sf((normal_z(ln_level) - z * pooled) / sd)))
    };
    let (least, most) = (response.sizes().min().unwrap_or(0), response.sizes().max().unwrap_or(0));
    let enough = |size: &u64| power(&response, *size).is_some_and(|power| power >= plan.power);
    let needed = ladder(least, most).find(enough);
    let at = |size| power(&response, size).map(|power| At { size, power });
    let share = |budget| {
        least_share(&curves, setting, |response| {
            power(response, budget).is_some_and(|power| power >= plan.power)
        })
    };
    let mut basis = format!(
        "students of the lab (0.66 million parameters) that learned {} tokens; normal arithmetic with their spread",
        response.learned
    );
    if response.extrapolated {
        basis.push_str("; the share lies below every measured one, so z is taken to be proportional to it");
    }
    if let Some(budget) = plan.budget.filter(|budget| !(least..=most).contains(budget)) {
        return Err(Failure(format!(
            "--budget {budget}: measured were {least} to {most} {unit}; give one of those"
        )));
    }
    Ok(Report {
        needed,
        at_most: if needed.is_none() { at(most) } else { None },
        at_budget: plan.budget.and_then(at),
        detectable: plan.budget.and_then(share),
        ..plan.report(basis, unit)?
    })
}

/// From `least` to `most` in steps of 2 %.
fn ladder(least: u64, most: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(least.max(1)), move |size| {
        let next = (size + (size / 50).max(1)).min(most);
        (next > *size).then_some(next)
    })
}

/// The least share, to 2 %, that is found; none where not even all of the training would be.
fn least_share(
    curves: &[response::Curve],
    setting: &Setting,
    found: impl Fn(&Response) -> bool,
) -> Option<f64> {
    let shares = std::iter::successors(Some(1.0_f64), |share| Some(share / 1.02)).take(400);
    let is_found = |share: &f64| {
        let setting = Setting { share: *share, ..setting.clone() };
        response::response(curves, &setting).is_ok_and(|response| found(&response))
    };
    shares.take_while(is_found).last()
}

fn page(report: &Report) -> String {
    let mut page = format!(
        "planning arithmetic: no verdict uses it\n\
         basis       {}\n\
         level       {:.2e} (plan {} of alpha {:e}, {} test{})\n",
        report.basis,
        report.level,
        report.plan_number,
        report.alpha,
        report.tests,
        if report.tests == 1 { "" } else { "s" },
    );
    let at = |at: &At| format!("power {:.3} at {} {}", at.power, at.size, report.unit);
    page.push_str(&match (report.needed, &report.at_most) {
        (Some(needed), _) => {
            format!("needed      {needed} {} for power {}\n", report.unit, report.wanted_power)
        }
        (None, Some(most)) => format!(
            "needed      more than was measured for power {}: {}; plan for \"inconclusive\"\n",
            report.wanted_power,
            at(most)
        ),
        (None, None) => format!("needed      more than 2^32 {}: this effect cannot be seen\n", report.unit),
    });
    if let Some(budget) = &report.at_budget {
        page.push_str(&format!("budget      {}\n", at(budget)));
        page.push_str(&match report.detectable {
            Some(least) => format!(
                "least       effect {least:.4} is shown by this budget with power {}\n",
                report.wanted_power
            ),
            None => {
                format!("least       no effect is shown by this budget with power {}\n", report.wanted_power)
            }
        });
    }
    if let Some([one, pooled]) = report.price_of_epochs {
        page.push_str(&format!(
            "epochs      {}: each key alone keeps {one:.3} of z, all pooled keep {pooled:.3} (counted above)\n",
            report.epochs
        ));
    }
    page
}
