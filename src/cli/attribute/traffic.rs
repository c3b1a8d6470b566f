//! `taggant attribute traffic`: requests by slot, period and account.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::super::canary::book;
use super::super::{Failure, output, rows};
use crate::attribute::{Accounts, Traffic};
use crate::canary::{Arms, Book, CanaryBook, Policy, Request};
use crate::case::canaries::slots;
use crate::case::plan::SlotRange;
use crate::key::Secret;
use crate::source::files::{self, Access};
use crate::source::text::{BadLines, Kind, Prompt, Row};

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// The book
    #[arg(long)]
    book: PathBuf,
    /// The accounts under suspicion, as `attribute accounts` wrote them
    #[arg(long, value_name = "FILE")]
    accounts: PathBuf,
    /// List the slots of this plan (taggant-plan/1, whatever else is still open in it), those too that nobody asked for, and no
    /// others: what its field canaries, route commits to
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Where to write who asked for which slot
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Requests as JSON lines: id, prompt, perhaps response (the model's own answer, where answers were rewritten), account, period
    /// (such as a week), and perhaps the role under which it was served: campaign, ordinary or sentinel; - reads standard input
    #[arg(value_name = "REQUESTS.jsonl")]
    file: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let accounts: Accounts = super::json(&arguments.accounts, "an account set")?;
    let rows = rows::read(&arguments.file, Kind::Prompts, BadLines::Refuse)?.rows;
    // Which slot a request belongs to depends on no key; this one serves nobody.
    let nobody = Secret::from_bytes([0; 32]).epoch_key(&"none".parse()?);
    let policy = Policy { rate: 0.0, campaign_rate: 0.0, arms: Arms::default(), per_account: false };
    let canaries = CanaryBook::new(book(&arguments.book)?, nobody, policy)?;
    let mut asked_for: BTreeMap<u64, Traffic> = BTreeMap::new();
    let (mut elsewhere, mut closed, mut unplantable, mut later) = (0, 0, 0, 0);
    for row in &rows {
        let asked = Asked::of(row, &accounts)?;
        match canaries.slot(&asked.request) {
            Err(_) => elsewhere += 1,
            Ok(slot) if canaries.book().is_closed(slot) => closed += 1,
            // Nothing would have been planted, whoever asked: such a request exposes nobody.
            Ok(slot) if canaries.dry_run(slot, &asked.request).is_err() => unplantable += 1,
            Ok(slot) => later += u64::from(!asked.count(slot, &mut asked_for)),
        }
    }
    let mut unplanned = 0;
    if let Some(plan) = &arguments.plan {
        let mut planned = BTreeMap::new();
        for slot in planned_slots(canaries.book(), plan)? {
            planned.insert(slot, asked_for.remove(&slot).unwrap_or_else(|| asked_by_nobody(slot, "none")));
        }
        unplanned = asked_for.len();
        asked_for = planned;
    }
    let traffic: Vec<Traffic> = asked_for.into_values().collect();
    if traffic.is_empty() {
        return Err(Failure(format!(
            "{}: no request belongs to a slot of the book",
            arguments.file.display()
        )));
    }
    let lines = traffic.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    files::write(&arguments.out, format!("{}\n", lines.join("\n")).as_bytes(), Access::Owner)?;
    output::line(&format!("traffic {}  {} slots", accounts.traffic_commitment(&traffic), traffic.len()))?;
    output::talk(&format!(
        "{elsewhere} of {} requests belong to no slot, {closed} to slots that stay closed for a court's replication; in {unplantable} not \
         every sibling could have been planted; {later} came after the period in which their slot was asked for first.",
        rows.len()
    ));
    if unplanned > 0 {
        output::talk(&format!("{unplanned} slots that were asked for are not among those of the plan."));
    }
    Ok(())
}

/// The open slots of a plan's ranges.
fn planned_slots(book: &Book, plan: &Path) -> Result<Vec<u64>, Failure> {
    let wrong = |what: String| Failure(format!("{}: {what}", plan.display()));
    let text = files::read_text(plan)?;
    let mut draft: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let ranges = draft.pointer_mut("/canaries/value/slots").map(Value::take).unwrap_or_default();
    let ranges: Vec<SlotRange> = serde_json::from_value(ranges)
        .map_err(|error| wrong(format!("field canaries, value, slots: {error}")))?;
    slots(book, &ranges).map_err(|error| wrong(error.to_string()))
}

fn asked_by_nobody(slot: u64, period: &str) -> Traffic {
    Traffic { slot, period: period.to_owned(), campaign: BTreeMap::new(), ordinary: 0 }
}

/// One request.
struct Asked<'a> {
    request: Request<'a>,
    period: &'a str,
    who: Who<'a>,
}

/// Whose request it was.
enum Who<'a> {
    /// One of the accounts under suspicion.
    Suspected(&'a str),
    Ordinary,
    /// The operator.
    Sentinel,
}

impl<'a> Asked<'a> {
    fn of(row: &'a Row, accounts: &Accounts) -> Result<Self, Failure> {
        let text = |field: &str| row.fields.get(field).and_then(Value::as_str);
        let needed = |field: &str, what: &str| {
            text(field).ok_or_else(|| Failure(format!("line {}, field \"{field}\": {what}", row.line)))
        };
        let prompt = match &row.prompt {
            Some(Prompt::Text(prompt)) => prompt.as_str(),
            Some(Prompt::Messages(turns)) => turns.last().map_or("", |turn| turn.content.as_str()),
            _ => needed("prompt", "canaries read text; give `prompt` or `messages`")?,
        };
        let account = needed("account", "say whose request it was")?;
        // Slots were served by role: an account that was served as another one would be counted for the wrong arm.
        let who = match (text("role"), accounts.ids.contains(account)) {
            (None | Some("campaign"), true) => Who::Suspected(account),
            (None | Some("ordinary"), false) => Who::Ordinary,
            (Some("sentinel"), false) => Who::Sentinel,
            (Some(role), suspected) => {
                let is = if suspected { "is" } else { "is not" };
                let what = format!(
                    "{account:?} was served as {role:?}, and {is} among the accounts under suspicion"
                );
                return Err(Failure(format!("line {}, field \"role\": {what}", row.line)));
            }
        };
        Ok(Self {
            request: Request { prompt, answer: text("response") },
            period: needed(
                "period",
                "say when it was, such as \"2026-w41\": slots are compared within periods",
            )?,
            who,
        })
    }

    /// A slot belongs to the period in which it was asked for first: the order of requests decides, and no key. Later requests
    /// do not count (false): by then the suspect may have read what the first ones got.
    fn count(&self, slot: u64, slots: &mut BTreeMap<u64, Traffic>) -> bool {
        let traffic = slots.entry(slot).or_insert_with(|| asked_by_nobody(slot, self.period));
        if traffic.period != self.period {
            return false;
        }
        match self.who {
            Who::Suspected(id) => *traffic.campaign.entry(id.to_owned()).or_default() += 1,
            Who::Ordinary => traffic.ordinary += 1,
            Who::Sentinel => {}
        }
        true
    }
}

/// Reads what [`run`] wrote.
pub(super) fn read(path: &Path) -> Result<Vec<Traffic>, Failure> {
    let text = files::read_text(path)?;
    let wrong = |line: usize, what: String| Failure(format!("{}, line {line}: {what}", path.display()));
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let parse = |(line, text): (usize, &str)| {
        serde_json::from_str(text).map_err(|error| {
            wrong(line, format!("{error}: a line is one of those that `attribute traffic` writes"))
        })
    };
    let traffic = lines.map(parse).collect::<Result<Vec<Traffic>, Failure>>()?;
    if traffic.is_empty() { Err(wrong(1, "no slot is there".to_owned())) } else { Ok(traffic) }
}
