//! `taggant test`: runs a sealed plan over raw material. The exit code is the primary verdict.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::canary::{self, probes};
use super::{Failure, counting, key, now, output, plan, rows, verdict};
use crate::canary::Book;
use crate::case::bundle::{Bundle, Parts};
use crate::case::canaries::{Disclosed, labels};
use crate::case::material::{Answer, Beside, Content, Material};
use crate::case::plan::{Access, Planned, PlannedTest, SealedPlan, Source, Statistic};
use crate::case::{Verdict, analyse};
use crate::key::{Commitment, Genesis, Label, Opening, SchemeKey, Secret};
use crate::law::Origin;
use crate::scheme::Arm;
use crate::score::{Exchange, Exposure, Text};
use crate::source::files;
use crate::source::reference::Reference;
use crate::source::text::{BadLines, Kind};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    key: key::Key,
    /// The genesis that was published before service
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// A suspect's answers to the plan's pool, in its order: NAME=FILE.jsonl with prompt_tokens and response_tokens
    #[arg(long = "answers", value_name = "NAME=FILE")]
    answers: Vec<String>,
    /// The plan's book of canaries
    #[arg(long, value_name = "FILE")]
    book: Option<PathBuf>,
    /// A suspect's answers to the plan's canaries: NAME=FILE.jsonl, the rows of `canary probes` each with its response
    #[arg(long = "probes", value_name = "NAME=FILE")]
    probes: Vec<String>,
    /// The plan's reference, where a statistic compares text with one: embedded, smollm2 or a GGUF file; several are
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
    let openings = openings(&sealed, &genesis, &secret, book.as_ref())?;
    let keys: Vec<SchemeKey> = openings
        .iter()
        .map(|opening| genesis.verify(opening))
        .filter_map(Result::transpose)
        .collect::<Result<_, _>>()?;
    let material = material(arguments, &sealed)?;
    let disclosed = book.map(|book| Disclosed { book: book.contents().clone() });
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
) -> Result<Vec<Opening>, Failure> {
    let marks = plan.spec().labels(&plan.spec().label());
    let slots: Vec<Label> = match (plan.canaries(), book) {
        (Some(canaries), Some(book)) => labels(book, canaries)?,
        (Some(_), None) => {
            return Err(Failure("the plan names a book of canaries: give it with --book".to_owned()));
        }
        (None, Some(_)) => return Err(Failure("--book: the plan names no canaries".to_owned())),
        (None, None) => Vec::new(),
    };
    let labels = |test: &PlannedTest| if test.access == Access::Canary { &slots } else { &marks };
    let mut seen = HashSet::new();
    let all = plan.tests().iter().flat_map(|test| labels(test).iter().map(|label| (&test.epoch, label)));
    let once = all.filter(|key| seen.insert(*key)).map(|(epoch, label)| (epoch, Some(label)));
    Ok(genesis.open_all(secret, once)?)
}

fn material(arguments: &Arguments, plan: &SealedPlan) -> Result<Vec<Material>, Failure> {
    let mut material = match &arguments.material {
        None => Vec::new(),
        Some(path) => of_bundle(path)?,
    };
    for argument in &arguments.probes {
        let (name, file) = named("--probes", argument)?;
        let content = Content::Canary(probes::read(Path::new(file))?);
        material.push(Material { suspect: name.to_owned(), content });
    }
    for argument in &arguments.answers {
        let (name, file) = named("--answers", argument)?;
        let answers = answers(Path::new(file))?;
        let beside = |test: &PlannedTest| test.suspect == name && test.statistic == Statistic::TextResidual;
        let content = match plan.tests().iter().any(beside) {
            true => Content::Beside(beside_reference(answers, arguments, plan)?),
            false => Content::Text(answers),
        };
        material.push(Material { suspect: name.to_owned(), content });
    }
    Ok(material)
}

fn named<'a>(option: &str, argument: &'a str) -> Result<(&'a str, &'a str), Failure> {
    argument.split_once('=').ok_or_else(|| Failure(format!("{option} {argument}: expected NAME=FILE")))
}

/// What the plan's reference expects of the answers. It must be the model that the plan names.
fn beside_reference(
    answers: Vec<Answer>,
    arguments: &Arguments,
    plan: &SealedPlan,
) -> Result<Beside, Failure> {
    let names = &arguments.reference;
    let planned = source(plan, &plan.plan().reference)
        .ok_or_else(|| Failure("the plan names no reference".to_owned()))?;
    if names.is_empty() {
        let what = format!("the plan compares text with {}: give it with --reference", planned.name);
        return Err(Failure(what));
    }
    let found = Commitment(Reference::sha256(names)?);
    if found != planned.sha256 {
        return Err(Failure(format!(
            "--reference {}: its SHA-256 is {found}, the plan's reference {} has {}",
            names.join(", "),
            planned.name,
            planned.sha256
        )));
    }
    let reference = Reference::open(names)?;
    let width = plan.spec().width();
    let exchanges: Vec<Exchange> =
        answers.iter().map(|answer| answer.exchange(plan.plan().pool.provenance)).collect();
    let text = Text::count(width, (0..).zip(&exchanges))?;
    let expectation = counting::expectation(width, &text, exchanges.iter(), &reference)?;
    let exposure = exposure(arguments, plan)?.map(|exposure| exposure.listed(text.windows()));
    Ok(Beside { answers, expectation, exposure })
}

/// The source that a field of the plan names.
fn source<'p>(plan: &'p SealedPlan, named: &Planned<String>) -> Option<&'p Source> {
    match named {
        Planned::Set { value } => plan.plan().sources.iter().find(|source| source.name == *value),
        Planned::Absent { .. } => None,
    }
}

/// How often windows occur in the plan's traffic. It must be the file that the plan names.
fn exposure(arguments: &Arguments, plan: &SealedPlan) -> Result<Option<Exposure>, Failure> {
    let (planned, file) = match (source(plan, &plan.plan().exposure), &arguments.exposure) {
        (None, None) => return Ok(None),
        (None, Some(file)) => {
            return Err(Failure(format!(
                "--exposure {}: the plan names no traffic to count in",
                file.display()
            )));
        }
        (Some(planned), None) => {
            let what = format!("the plan weighs windows by {}: give it with --exposure", planned.name);
            return Err(Failure(what));
        }
        (Some(planned), Some(file)) => (planned, file),
    };
    let found = Commitment(Sha256::digest(files::read(file)?).into());
    if found != planned.sha256 {
        return Err(Failure(format!(
            "--exposure {}: its SHA-256 is {found}, the plan's traffic {} has {}",
            file.display(),
            planned.name,
            planned.sha256
        )));
    }
    let secret = arguments.key.read()?.secret;
    let exposure = counting::exposure(file, plan.spec(), Some(&secret), None)?;
    let scored = plan.tests().iter().map(|test| plan.spec().open(&secret.epoch_key(&test.epoch)));
    let scored: BTreeSet<Origin> =
        scored.flat_map(|scheme| scheme.arms().iter().map(Arm::origin).collect::<Vec<_>>()).collect();
    if exposure.marked_under().any(|key| scored.contains(&key)) {
        return Err(Failure(format!(
            "--exposure {}: some of its rows were marked under a key that the plan scores (\"epoch\"): count windows in \
             unmarked answers, or in those of other epochs",
            file.display()
        )));
    }
    Ok(Some(exposure))
}

fn of_bundle(path: &Path) -> Result<Vec<Material>, Failure> {
    let wrong =
        |error: serde_json::Error| Failure(format!("{}: no bundle with material: {error}", path.display()));
    let mut bundle: Value = serde_json::from_str(&files::read_text(path)?).map_err(wrong)?;
    serde_json::from_value(bundle["material"].take()).map_err(wrong)
}

fn answers(file: &Path) -> Result<Vec<Answer>, Failure> {
    let rows = rows::read(file, Kind::Exchanges, BadLines::Refuse)?;
    let answer = |row: &crate::source::text::Row| {
        let exchange = rows::exchange(row, None)?;
        if !exchange.whole_context {
            return Err(Failure(format!(
                "{}, line {}: a plan's answers need \"prompt_tokens\" and \"response_tokens\"",
                file.display(),
                row.line
            )));
        }
        Ok(Answer { prompt: exchange.prompt, response: exchange.response })
    };
    rows.rows.iter().map(answer).collect()
}
