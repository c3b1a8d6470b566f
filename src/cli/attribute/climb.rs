//! `taggant attribute climb`: the rungs that a sealed plan registers, tested.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::super::canary::probes;
use super::super::{Failure, key, output, rows};
use super::{Fixed, Known, page, protocol, sealed};
use crate::attribute::cohort::Period;
use crate::attribute::{
    Assumed, Candidate, Cohorts, Exposure, FAMILY_WISE, Ladder, Naming, Probed, Registered, Route, RoutePlan,
    SealedRoute,
};
use crate::canary::{Answer, Matcher};
use crate::case::canaries::{Probe, prompts};
use crate::key::{Audience, Commitment, Epoch, EpochKey, KeyId};
use crate::law::Gamma;
use crate::scheme::{Scheme, Spec};
use crate::score::{Evidence, Exchange, TextStatistic, count};
use crate::source::model;
use crate::source::text::{BadLines, Kind};
use crate::stat::math::ln;
use crate::stat::verdict::Summary;
use crate::stat::{Rate, RateError};

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    #[command(flatten)]
    key: key::Key,
    /// The sealed plan
    sealed: PathBuf,
    #[command(flatten)]
    fixed: Fixed,
    /// The suspect's answers: the lines of `attribute probes`, each with "response", null where nothing came back
    #[arg(long, value_name = "FILE.jsonl")]
    answers: PathBuf,
    /// The suspect's text as rows, for the rungs that the plan tests by text
    #[arg(long, value_name = "FILE.jsonl")]
    text: Option<PathBuf>,
    /// The tokenizer that the mark was made with, where rows of --text hold text
    #[arg(long, value_name = "TOKENIZER", requires = "text")]
    tokenizer: Option<String>,
    #[command(flatten)]
    assumed: Assumptions,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the lines on feasibility assume; no test uses it.
#[derive(Debug, Args)]
struct Assumptions {
    /// Feasibility only: how far the chance of a served sibling would lie above 1/K
    #[arg(long, default_value_t = 0.05, value_name = "SHARE")]
    assume_recall: f64,
    /// Feasibility only: how far the green share of the suspect's text would lie above γ
    #[arg(long, default_value_t = 0.03, value_name = "SHARE")]
    assume_tilt: f64,
    /// Feasibility only: the share of training answers that the campaign's key marked
    #[arg(long, default_value_t = 0.05, value_name = "SHARE")]
    assume_share: f64,
    /// Feasibility only: accounts that the suspect may have learned from [default: those of the sealed set]
    #[arg(long, value_name = "NUMBER")]
    assume_accounts: Option<u64>,
}

/// `taggant/attribute/1`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    exploration: &'static str,
    pub(super) key_id: KeyId,
    pub(super) epoch: Epoch,
    pub(super) book: Commitment,
    /// SHA-256 of the sealed plan, and when it was sealed, as who sealed it says.
    pub(super) plan: Commitment,
    pub(super) sealed: String,
    /// Accounts in the sealed set.
    pub(super) accounts: usize,
    /// Slots probed.
    pub(super) slots: usize,
    pub(super) exposure: Summary,
    pub(super) campaign: Option<Summary>,
    pub(super) cohorts: Option<Summary>,
    pub(super) route: Route,
    /// The accounts nearest to being named; nearness names nobody.
    pub(super) nearest: Vec<Candidate>,
    pub(super) ladder: Ladder,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let sealed = sealed(&arguments.sealed)?;
    let known = arguments.fixed.read()?;
    let named = |Failure(what)| Failure(format!("{}: {what}", arguments.sealed.display()));
    known.check(sealed.plan()).map_err(named)?;
    let secret = arguments.key.read()?.secret;
    let probed = probed(&known, &sealed, &arguments.answers)?;
    let text = text(arguments, sealed.plan())?;
    let tested =
        Tested::of(&known, &sealed, &secret.epoch_key(&sealed.plan().epoch), &probed, text.as_deref())?;
    let ladder = tested.ladder(&arguments.assumed, &known, sealed.plan())?;
    let Tested { exposure, campaign, cohorts, route, naming } = tested;
    let mut nearest = naming.map(|naming| naming.candidates().to_vec()).unwrap_or_default();
    nearest.sort_by(|a, b| a.ln_p.total_cmp(&b.ln_p));
    nearest.truncate(2);
    let report = Report {
        schema: "taggant/attribute/1",
        exploration: "not a verdict: the plan of the route is sealed, and no bundle makes this a finding",
        key_id: secret.commitment().key_id(),
        epoch: sealed.plan().epoch.clone(),
        book: sealed.plan().book,
        plan: sealed.sha256(),
        sealed: sealed.sealed().to_owned(),
        accounts: known.accounts.ids.len(),
        slots: probed.len(),
        exposure: exposure.test,
        campaign: campaign.map(|tested| tested.test),
        cohorts,
        route,
        nearest,
        ladder,
    };
    if arguments.json { output::json(&report) } else { output::data(&page::page(&report)) }
}

/// The answers by slot, read without the key.
fn probed(known: &Known, sealed: &SealedRoute, path: &Path) -> Result<Vec<Probed>, Failure> {
    let wrong = |what: String| Failure(format!("{}: {what}", path.display()));
    let protocol = protocol(sealed.plan())?;
    let mut by_slot: BTreeMap<u64, Vec<Probe>> = BTreeMap::new();
    for probe in probes::read(path)? {
        by_slot.entry(probe.slot).or_default().push(probe);
    }
    let mut probed = Vec::new();
    for traffic in &known.traffic {
        let slot = traffic.slot;
        let set =
            known.book.set(slot).ok_or_else(|| wrong(format!("slot {slot}: the book has no such slot")))?;
        let said = by_slot.remove(&slot).unwrap_or_default();
        let asked = said.iter().map(|probe| probe.prompt.as_str());
        if !asked.eq(prompts(&set, &protocol)) {
            return Err(wrong(format!(
                "slot {slot}: its {} rows are not the {} lines of `attribute probes`, in their order: every slot of the plan is \
                 asked as planned, whatever came back",
                said.len(),
                protocol.probes
            )));
        }
        let matcher = Matcher::new(&set)?;
        let read =
            |probe: &Probe| probe.response.as_deref().map_or(Answer::None, |text| matcher.answer(text));
        probed.push(Probed { traffic: traffic.clone(), answers: said.iter().map(read).collect() });
    }
    match by_slot.keys().next() {
        Some(slot) => Err(wrong(format!("slot {slot} is not in the sealed traffic"))),
        None => Ok(probed),
    }
}

/// The suspect's text, where the plan tests some rung by it.
fn text(arguments: &Arguments, plan: &RoutePlan) -> Result<Option<Vec<Exchange>>, Failure> {
    let needed = plan.rungs.campaign.is_some() || plan.rungs.exposure != Exposure::Canaries {};
    match (&arguments.text, needed) {
        (None, true) => {
            Err(Failure("the plan tests rungs by the suspect's text: give it with --text".to_owned()))
        }
        (Some(_), false) => Err(Failure("--text: the plan tests no rung by text: leave it out".to_owned())),
        (None, false) => Ok(None),
        (Some(file), true) => {
            let tokenizer = arguments.tokenizer.as_deref().map(model::tokenizer).transpose()?;
            let rows = rows::read(file, Kind::Exchanges, BadLines::Refuse)?.rows;
            rows.iter().map(|row| rows::exchange(row, tokenizer.as_ref())).collect::<Result<_, _>>().map(Some)
        }
    }
}

/// A test of text, and the chance of its coins where it has one; of slots their number.
struct ByText {
    test: Summary,
    rate: Option<Rate>,
    have: u64,
}

/// Every test that the plan registers.
struct Tested {
    exposure: ByText,
    campaign: Option<ByText>,
    cohorts: Option<Summary>,
    route: Route,
    naming: Option<Naming>,
}

impl Tested {
    fn of(
        known: &Known,
        sealed: &SealedRoute,
        key: &EpochKey,
        probed: &[Probed],
        text: Option<&[Exchange]>,
    ) -> Result<Self, Failure> {
        let (book, accounts, rungs) = (&known.book, &known.accounts, &sealed.plan().rungs);
        let (picks, text) = (book.picks(key), text.unwrap_or_default());
        let (exposure, cohorts) = match &rungs.exposure {
            Exposure::Canaries {} => {
                let (test, have) = sealed.exposure(book, &picks, accounts, probed)?;
                (ByText { test, rate: None, have }, None)
            }
            Exposure::Text { spec } => {
                let spec: Spec = spec.parse()?;
                let evidence = count(spec.width(), text, TextStatistic::Distinct)?;
                let cohorts = rungs.cohorts.map(|number| cohorts(number, &evidence, spec, key, known));
                (ByText::of(&evidence, &spec.open(key))?, cohorts.transpose()?)
            }
        };
        let campaign = rungs.campaign.as_ref().map(|campaign| {
            let spec: Spec = campaign.spec.parse()?;
            let evidence = count(spec.width(), text, TextStatistic::Distinct)?;
            ByText::of(&evidence, &spec.open_for(key, Audience::Campaign, &campaign.id))
        });
        let naming = rungs.accounts.then(|| sealed.naming(book, &picks, accounts, probed));
        Ok(Self {
            exposure,
            campaign: campaign.transpose()?,
            cohorts,
            route: sealed.test(book, &picks, accounts, probed)?,
            naming: naming.transpose()?,
        })
    }

    /// Climbs, each rung beside what it would need.
    fn ladder(&self, said: &Assumptions, known: &Known, plan: &RoutePlan) -> Result<Ladder, Failure> {
        let assumed = Assumed {
            accounts: said.assume_accounts.unwrap_or(known.accounts.ids.len() as u64),
            tilt: said.assume_tilt,
            recall: said.assume_recall,
            siblings: siblings(known),
            share: said.assume_share,
        };
        let ln_alpha = ln(plan.alpha);
        let exposure = match self.exposure.rate {
            Some(rate) => assumed.exposure(rate, ln_alpha, self.exposure.have),
            None => assumed.exposure_by_canaries(ln_alpha, self.exposure.have)?,
        };
        let half = Rate::new(1, 2)?;
        let campaign = self.campaign.as_ref().map(|tested| {
            let needs = assumed.campaign(tested.rate.unwrap_or(half), ln_alpha, tested.test.draws);
            (&tested.test, needs)
        });
        let cohorts = self.cohorts.as_ref().map(|test| {
            let number = plan.rungs.cohorts.unwrap_or_default();
            let rate = self.exposure.rate.unwrap_or(half);
            (test, assumed.cohort(rate, number, ln_alpha, self.exposure.test.draws))
        });
        let accounts = self.naming.as_ref().map(|naming| {
            Ok::<_, RateError>((naming, assumed.account_by_canaries(ln(FAMILY_WISE), naming.most_draws())?))
        });
        let registered = Registered {
            exposure: Some((&self.exposure.test, exposure)),
            campaign,
            cohorts,
            route: Some((&self.route, assumed.route(ln_alpha, self.route.keyed.slots)?)),
            accounts: accounts.transpose()?,
        };
        Ok(Ladder::climb(registered, ln_alpha))
    }
}

impl ByText {
    fn of(evidence: &Evidence, scheme: &Scheme) -> Result<Self, Failure> {
        let test = Summary::of(evidence.open(scheme)?)?;
        let rate = |gamma: Gamma| Rate::dyadic(u64::from(gamma.threshold()), u32::from(gamma.bits()));
        let gamma = match scheme.spec() {
            Spec::Green(parameters) => Some(parameters.gamma),
            _ => None,
        };
        Ok(Self { have: test.draws, test, rate: gamma.map(rate).transpose()? })
    }
}

/// T over the cohorts of F's accounts: the suspect's z under each cohort's key, weighted by requests.
fn cohorts(
    number: u32,
    evidence: &Evidence,
    spec: Spec,
    key: &EpochKey,
    known: &Known,
) -> Result<Summary, Failure> {
    let cohorts = Cohorts::new(number)?;
    let score = |cohort: u32| {
        let scheme = spec.open_for(key, Audience::Cohort, &cohort.to_string());
        Ok(Summary::of(evidence.open(&scheme)?)?.z)
    };
    let scores = (0..number).map(score).collect::<Result<Vec<f64>, Failure>>()?;
    let mut requests: BTreeMap<String, u64> = BTreeMap::new();
    for (account, asked) in known.traffic.iter().flat_map(|traffic| &traffic.campaign) {
        *requests.entry(account.clone()).or_default() += u64::from(*asked);
    }
    let draws = cohorts.draws(&[Period { key, scores, requests }])?;
    Ok(if draws.as_slice().is_empty() { Summary::without_draws(None) } else { Summary::of(draws)? })
}

/// The fewest siblings of a probed slot.
fn siblings(known: &Known) -> u64 {
    let of = known.traffic.iter().filter_map(|traffic| known.book.siblings(traffic.slot));
    of.min().map_or(2, u64::from)
}
