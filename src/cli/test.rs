//! `taggant test`: runs a sealed plan over raw material. The exit code is the primary verdict.

pub(super) mod due;
mod material;

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{Failure, attribute, canary, key, now, output, plan, verdict};
use crate::canary::Book;
use crate::case::bundle::{Bundle, Parts};
use crate::case::canaries::{Disclosed, labels};
use crate::case::plan::{Canaries, Mark, Planned, ScoredKey, SealedPlan};
use crate::case::route::Requests;
use crate::case::{Verdict, analyse};
use crate::key::{Epoch, Genesis, Label, Opening, SchemeKey, Secret};
use crate::source::files;
use clap::Args;

/// How distributions are given.
const ROWS: &str = r#"Distributions:
  `taggant plan contexts PLAN --answers FILE` and `taggant plan documents PLAN --documents FILE` print
  what is to be asked, a context a line. Add to each line what the suspect expects next, and change
  nothing else:

    {"id": "0:17", "prompt_tokens": [0, 311], "response_tokens": [52, 8], "q": [0.0012, 0.25, 0]}

  q holds the probability of every token of the mark's vocabulary, by id, at temperature 1 and without
  truncation: as numbers, or as base64 of f32 little-endian values. Where the plan asks for the likeliest
  tokens ("rows": {"top": K}) or for some that are known, it holds pairs [id, probability] of at most K
  tokens. It is kept and tested as multiples of 2^-16."#;

#[derive(Debug, Args)]
#[command(after_long_help = ROWS)]
pub(super) struct Arguments {
    #[command(flatten)]
    key: key::Key,
    /// The genesis that was published before service
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// A suspect's answers to the plan's pool, in its order: NAME=FILE.jsonl with prompt_tokens and response_tokens
    #[arg(long = "answers", value_name = "NAME=FILE")]
    answers: Vec<String>,
    /// A suspect's next-token distributions at the plan's contexts: NAME=FILE.jsonl, the rows of `plan contexts` each with its
    /// "q"
    #[arg(long = "rows", value_name = "NAME=FILE")]
    rows: Vec<String>,
    /// A suspect's next-token distributions while it reads the plan's documents: NAME=FILE.jsonl, the rows of `plan documents`
    /// each with its "q"
    #[arg(long = "readings", value_name = "NAME=FILE")]
    readings: Vec<String>,
    /// The documents that the plan commits to, in the order served: JSONL with prompt_tokens and response_tokens
    #[arg(long, value_name = "FILE")]
    documents: Option<PathBuf>,
    /// The plan's book of canaries
    #[arg(long, value_name = "FILE")]
    book: Option<PathBuf>,
    /// The accounts that slots were divided for, as `attribute accounts` wrote them: their ids go into the bundle
    #[arg(long, value_name = "FILE", requires = "traffic")]
    accounts: Option<PathBuf>,
    /// Who asked for which slot of the plan, as `attribute traffic` wrote it
    #[arg(long, value_name = "FILE", requires = "accounts")]
    traffic: Option<PathBuf>,
    /// A suspect's answers to the plan's canaries: NAME=FILE.jsonl, the rows of `canary probes` each with its response
    #[arg(long = "probes", value_name = "NAME=FILE")]
    probes: Vec<String>,
    /// What a suspect gives the siblings of the plan's canaries: NAME=FILE.jsonl, a row a slot with slot, ln_p and, of twins beside
    /// the plan's reference, reference_ln_p (`canary probes --likelihoods`)
    #[arg(long = "likelihoods", value_name = "NAME=FILE")]
    likelihoods: Vec<String>,
    /// The plan's reference, where a statistic compares with one: embedded, smollm2 or a GGUF file; several are
    /// averaged
    #[arg(long, value_name = "MODEL")]
    reference: Vec<String>,
    /// The plan's traffic, where windows are weighed by how often they occur in it: JSONL with prompt_tokens,
    /// response_tokens and epoch (null where unmarked)
    #[arg(long, value_name = "FILE")]
    exposure: Option<PathBuf>,
    /// Material of an earlier bundle
    #[arg(long, value_name = "BUNDLE")]
    material: Option<PathBuf>,
    /// Where to write the new bundle
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The sealed plan
    plan: PathBuf,
}

/// Exit 0: evidence found; 1: no evidence; 3: inconclusive. The first test of the plan is the primary one.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let sealed = plan::read(&arguments.plan)?;
    let genesis = Genesis::from_json(&files::read_text(&arguments.genesis)?)?;
    sealed.plan().check_genesis(&genesis)?;
    sealed.plan().check_version()?;
    let secret = arguments.key.read()?.secret;
    let book = arguments.book.as_deref().map(canary::book).transpose()?;
    let requests = match (&arguments.accounts, &arguments.traffic) {
        (Some(accounts), Some(traffic)) => Some(attribute::requests(accounts, traffic)?),
        _ => None,
    };
    let openings = openings(&sealed, &genesis, &secret, book.as_ref(), requests.as_ref())?;
    let keys: Vec<SchemeKey> = openings
        .iter()
        .map(|opening| genesis.verify(opening))
        .filter_map(Result::transpose)
        .collect::<Result<_, _>>()?;
    let material = material::material(arguments, &sealed)?;
    let disclosed = book.map(|book| Disclosed { book: book.contents().clone(), requests });
    let analysis = analyse(&sealed, &material, disclosed.as_ref(), &keys)?;
    let primary = analysis.primary();
    if let Some(path) = &arguments.bundle {
        let parts = Parts {
            plan: sealed,
            genesis,
            openings,
            canaries: disclosed,
            material,
            analysis: analysis.clone(),
            created: now(),
        };
        Bundle::new(parts)?.write(path)?;
    }
    if arguments.json {
        let result = serde_json::json!({ "schema": "taggant/test/1", "verdict": primary, "findings": analysis.findings() });
        output::json(&result)?;
    } else {
        output::data(&format!(
            "{}\n\nprimary test: {}\n",
            verdict::table(analysis.findings()),
            verdict::words(primary)
        ))?;
    }
    Ok(ExitCode::from(match primary {
        Verdict::EvidenceFound => 0,
        Verdict::NoEvidence => 1,
        Verdict::Inconclusive => 3,
    }))
}

/// The keys that the plan's tests need, each once.
fn openings(
    plan: &SealedPlan,
    genesis: &Genesis,
    secret: &Secret,
    book: Option<&Book>,
    requests: Option<&Requests>,
) -> Result<Vec<Opening>, Failure> {
    let slots: Vec<Label> = match (plan.canaries(), book) {
        (Some(Canaries { route: Planned::Set { .. }, .. }), Some(_)) if requests.is_none() => {
            return Err(Failure(
                "the plan divides slots among accounts: give --accounts and --traffic".to_owned(),
            ));
        }
        (Some(canaries), Some(book)) => labels(book, canaries, requests)?,
        (Some(_), None) => {
            return Err(Failure("the plan names a book of canaries: give it with --book".to_owned()));
        }
        (None, Some(_)) => return Err(Failure("--book: the plan names no canaries".to_owned())),
        (None, None) => Vec::new(),
    };
    let keys = plan.tests().iter().flat_map(|test| &test.keys);
    let labels = |key: &ScoredKey| if key.mark == Mark::canary() { slots.clone() } else { key.mark.labels() };
    let all: Vec<(&Epoch, Label)> =
        keys.flat_map(|key| labels(key).into_iter().map(|label| (&key.epoch, label))).collect();
    let mut seen = HashSet::new();
    let once = all.iter().filter(|key| seen.insert(*key)).map(|(epoch, label)| (*epoch, Some(label)));
    Ok(genesis.open_all(secret, once)?)
}
