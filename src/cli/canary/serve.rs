//! `taggant canary respond`: what a gateway asks a book.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::super::{Failure, output, rows};
use super::Keyed;
use crate::canary::{Account, Arms, CanaryBook, Plant, Policy, Request, Role, Served};
use crate::source::files::{self, Access};
use crate::source::text::{BadLines, Kind, Prompt, Row};

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    #[command(flatten)]
    keyed: Keyed,
    /// The share of slots planted for ordinary accounts
    #[arg(long, default_value_t = 0.01)]
    rate: f64,
    /// The share planted for accounts of the campaign and for the operator's own; the common rate where it is not given
    #[arg(long)]
    campaign_rate: Option<f64>,
    /// The share of slots that only the campaign's accounts are served
    #[arg(long, default_value_t = 0.0)]
    campaign_arm: f64,
    /// The share of slots that only the operator's own accounts are served
    #[arg(long, default_value_t = 0.0)]
    sentinel_arm: f64,
    /// Accounts of the campaign have picks of their own
    #[arg(long)]
    per_account: bool,
    /// Plant each slot so often at most: what a plan of a route calls serve_cap [default: no limit]
    #[arg(long, value_name = "TIMES")]
    serve_cap: Option<u32>,
    /// How often slots were planted before, to go on from; written again at the end. Without it the cap holds for this file alone
    #[arg(long, value_name = "FILE.json", requires = "serve_cap")]
    served: Option<PathBuf>,
    /// Requests as JSON lines: id, prompt, perhaps response (the answer to be rewritten), account, and role (campaign,
    /// ordinary, sentinel); - reads standard input
    #[arg(value_name = "REQUESTS.jsonl")]
    file: PathBuf,
}

pub(in super::super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let policy = Policy {
        rate: arguments.rate,
        campaign_rate: arguments.campaign_rate.unwrap_or(arguments.rate),
        arms: Arms { campaign: arguments.campaign_arm, sentinel: arguments.sentinel_arm },
        per_account: arguments.per_account,
    };
    let key = arguments.keyed.epoch_key()?;
    let canaries = CanaryBook::new(arguments.keyed.book()?, key, policy)?;
    let mut served = served(arguments)?;
    let rows = rows::read(&arguments.file, Kind::Prompts, BadLines::Refuse)?.rows;
    let responses: Vec<Value> =
        rows.iter().map(|row| responded(&canaries, &mut served, row)).collect::<Result<_, Failure>>()?;
    // Counted before anything is said: a plant that is lost exposes nobody, and one that was not counted exposes too often.
    if let Some(path) = &arguments.served {
        files::write(path, &serde_json::to_vec(&served)?, Access::Default)?;
    }
    responses.iter().try_for_each(|response| output::line(&response.to_string()))
}

/// What was planted before.
fn served(arguments: &Arguments) -> Result<Served, Failure> {
    let none = Served::up_to(arguments.serve_cap.unwrap_or(u32::MAX));
    let Some(path) = arguments.served.as_ref().filter(|path| path.exists()) else { return Ok(none) };
    let wrong = |what: String| Failure(format!("{}: {what}", path.display()));
    let earlier: Served = serde_json::from_str(&files::read_text(path)?)
        .map_err(|error| wrong(format!("not what `canary respond --served` wrote: {error}")))?;
    if earlier.cap() != none.cap() {
        return Err(wrong(format!("its cap is {}, and --serve-cap says {}", earlier.cap(), none.cap())));
    }
    Ok(earlier)
}

fn responded(canaries: &CanaryBook, served: &mut Served, row: &Row) -> Result<Value, Failure> {
    let wrong = |field: &str, what: &str| Failure(format!("line {}, field \"{field}\": {what}", row.line));
    let text = |field: &str| row.fields.get(field).and_then(Value::as_str);
    let prompt = match &row.prompt {
        Some(Prompt::Text(prompt)) => prompt.as_str(),
        Some(Prompt::Messages(turns)) => turns.last().map_or("", |turn| turn.content.as_str()),
        _ => return Err(wrong("prompt", "canaries read text; give `prompt` or `messages`")),
    };
    let role = match text("role") {
        None | Some("ordinary") => Role::Ordinary,
        Some("campaign") => Role::Campaign,
        Some("sentinel") => Role::Sentinel,
        Some(_) => return Err(wrong("role", "campaign, ordinary or sentinel")),
    };
    let id = text("account").ok_or_else(|| wrong("account", "say whose request it is"))?;
    let request = Request { prompt, answer: text("response") };
    let response = canaries.respond_within(served, &request, &Account { id, role });
    let (instruction, answer) = match response.plant {
        Some(Plant::Instruction(instruction)) => (Some(instruction), None),
        Some(Plant::Answer(answer)) => (None, Some(answer)),
        None => (None, None),
    };
    Ok(json!({
        "schema": "taggant/canary-response/1",
        "id": row.id,
        "instruction": instruction,
        "response": answer,
        "record": response.record,
    }))
}
