//! What is tested: files of answers, distributions and readings, and earlier bundles, as a plan's raw material.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::canary::probes;
use super::super::contexts::{Context, whole};
use super::super::{Failure, counting};
use super::Arguments;
use super::due::{self, Due};
use crate::case::material::{
    Answer, Beside, Content, Distributions, Material, ReadingMaterial, ReadingRow, Rows, Table,
};
use crate::case::plan::{Access, Planned, PlannedTest, RowRule, SealedPlan, Source, Statistic};
use crate::key::Commitment;
use crate::law::Origin;
use crate::scheme::{Arm, Spec};
use crate::score::{Exchange, Expectation, Exposure, Exposures, Numbering, Text, Windows};
use crate::source::files;
use crate::source::reference::Reference;
use crate::token::Width;

/// Everything that was given, by suspect and access.
pub(super) fn material(arguments: &Arguments, plan: &SealedPlan) -> Result<Vec<Material>, Failure> {
    let mut material = match &arguments.material {
        None => Vec::new(),
        Some(path) => of_bundle(path)?,
    };
    for argument in &arguments.probes {
        let (name, file) = named("--probes", argument)?;
        let content = Content::Canary(probes::read(Path::new(file))?);
        material.push(Material { suspect: name.to_owned(), content });
    }
    for argument in &arguments.likelihoods {
        let (name, file) = named("--likelihoods", argument)?;
        let content = Content::Likelihoods(probes::likelihoods(Path::new(file))?);
        material.push(Material { suspect: name.to_owned(), content });
    }
    let mut rows = by_name("--rows", &arguments.rows)?;
    for argument in &arguments.answers {
        let (name, file) = named("--answers", argument)?;
        let answers = due::answers(Path::new(file))?;
        if let Some(file) = rows.remove(name) {
            let content =
                Content::Distributions(distributions(name, answers.clone(), file, arguments, plan)?);
            material.push(Material { suspect: name.to_owned(), content });
        }
        let of_text = |test: &&PlannedTest| test.suspect == name && test.access == Access::Text;
        let tests: Vec<&PlannedTest> = plan.tests().iter().filter(of_text).collect();
        if tests.is_empty() && plan.tests().iter().any(|test| test.suspect == name) {
            // The answers are where its rows were read, and nothing else is asked of them.
            continue;
        }
        let beside = |test: &PlannedTest| test.suspect == name && test.statistic == Statistic::TextResidual;
        let content = match plan.tests().iter().any(beside) {
            true => Content::Beside(beside_reference(answers, arguments, plan, &widths(plan, beside))?),
            false => Content::Text(answers),
        };
        material.push(Material { suspect: name.to_owned(), content });
    }
    if let Some((name, _)) = rows.first_key_value() {
        return Err(Failure(format!(
            "--rows {name}: give the answers that its contexts are drawn from, --answers {name}=FILE"
        )));
    }
    for argument in &arguments.readings {
        let (name, file) = named("--readings", argument)?;
        let content = Content::Reading(reading(file, arguments, plan)?);
        material.push(Material { suspect: name.to_owned(), content });
    }
    Ok(material)
}

/// NAME=FILE, each name once.
fn by_name<'a>(option: &str, arguments: &'a [String]) -> Result<BTreeMap<&'a str, &'a str>, Failure> {
    let mut files = BTreeMap::new();
    for argument in arguments {
        let (name, file) = named(option, argument)?;
        if files.insert(name, file).is_some() {
            return Err(Failure(format!("{option} {name}: is given twice")));
        }
    }
    Ok(files)
}

/// A suspect's whole rows at the contexts that the plan draws from its answers, beside the plan's reference where a test asks
/// for one.
fn distributions(
    suspect: &str,
    answers: Vec<Answer>,
    file: &str,
    arguments: &Arguments,
    plan: &SealedPlan,
) -> Result<Distributions, Failure> {
    let due = due::of_answers(plan, &answers)?;
    let Planned::Set { value: rule } = plan.plan().pool.rows else {
        return Err(Failure(
            "--rows: the plan does not say how much of a distribution it asks for".to_owned(),
        ));
    };
    let found = due::rows_of(Path::new(file), &due, &answers, rule)?;
    let beside = |test: &PlannedTest| test.suspect == suspect && test.statistic == Statistic::Residual;
    let size = found.first().map_or(0, |context| due::whole(context).len());
    let columns = u32::try_from(size).unwrap_or(u32::MAX);
    let q = match rule {
        RowRule::Whole => Rows::Whole(Table::pack(columns, found.iter().map(due::whole))),
        RowRule::Known(_) | RowRule::Top(_) => Rows::listed(found.iter().map(due::listed)),
    };
    let (mut b, mut exposures) = (None, None);
    if plan.tests().iter().any(beside) {
        let reference = reference(arguments, plan)?;
        let named = |Failure(what)| Failure(format!("--rows {suspect}={file}: {what}"));
        b = Some(q.reference(rule, &whole(&found, &reference).map_err(named)?));
        for (width, spec) in widths(plan, beside) {
            if let Some(exposure) = exposure(arguments, plan, spec)? {
                let listed = exposure.listed(&windows(width, &found));
                exposures.get_or_insert_with(Exposures::default).extend(listed);
            }
        }
    }
    Ok(Distributions {
        contexts: due.iter().map(|due| (due.number, u32::try_from(due.before).unwrap_or(u32::MAX))).collect(),
        q,
        b,
        answers,
        exposure: exposures,
    })
}

/// The windows before these contexts.
fn windows(width: Width, contexts: &[Context]) -> Windows {
    let mut numbering = Numbering::default();
    for Context { prompt, before, .. } in contexts {
        let context = [&prompt[..], before].concat();
        if let Some(window) = width.window(&context, context.len()) {
            numbering.number(window);
        }
    }
    numbering.windows().clone()
}

/// A suspect's predictions while it reads the plan's documents.
fn reading(file: &str, arguments: &Arguments, plan: &SealedPlan) -> Result<ReadingMaterial, Failure> {
    let documents = arguments.documents.as_deref().ok_or_else(|| {
        Failure("--readings: give the documents that the plan commits to with --documents".to_owned())
    })?;
    let documents = due::answers(documents)?;
    let due = due::of_documents(plan, &documents)?;
    let found = due::rows_of(Path::new(file), &due, &documents, RowRule::Whole)?;
    let id = |column: usize| u32::try_from(column).unwrap_or(u32::MAX);
    let row = |(context, due): (&Context, &Due)| {
        let position = documents[due.number as usize].prompt.len() + due.before;
        ReadingRow::new(due.number, id(position), due::whole(context), id)
    };
    let rows = found.iter().zip(&due).map(row).collect();
    Ok(ReadingMaterial { documents, rows })
}

fn named<'a>(option: &str, argument: &'a str) -> Result<(&'a str, &'a str), Failure> {
    argument.split_once('=').ok_or_else(|| Failure(format!("{option} {argument}: expected NAME=FILE")))
}

/// The plan's reference. It must be the model that the plan names.
fn reference(arguments: &Arguments, plan: &SealedPlan) -> Result<Reference, Failure> {
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
    Ok(Reference::open(names)?)
}

/// The widths of the keys of some tests, each once, with a spec of that width.
fn widths(plan: &SealedPlan, of: impl Fn(&PlannedTest) -> bool) -> BTreeMap<Width, Spec> {
    let keys = plan.tests().iter().filter(|test| of(test)).flat_map(|test| &test.keys);
    keys.filter_map(|key| key.mark.spec()).map(|spec| (spec.width(), spec)).collect()
}

/// What the plan's reference expects of the answers at windows of some widths.
fn beside_reference(
    answers: Vec<Answer>,
    arguments: &Arguments,
    plan: &SealedPlan,
    widths: &BTreeMap<Width, Spec>,
) -> Result<Beside, Failure> {
    let reference = reference(arguments, plan)?;
    let exchanges: Vec<Exchange> =
        answers.iter().map(|answer| answer.exchange(plan.plan().pool.provenance)).collect();
    let (mut expectation, mut listed) = (Expectation::default(), None);
    for (width, spec) in widths {
        let text = Text::count(*width, (0..).zip(&exchanges))?;
        expectation.extend(counting::expectation(*width, &text, exchanges.iter(), &reference)?);
        if let Some(exposure) = exposure(arguments, plan, *spec)? {
            listed.get_or_insert_with(Exposures::default).extend(exposure.listed(text.windows()));
        }
    }
    Ok(Beside { answers, expectation, exposure: listed })
}

/// The source that a field of the plan names.
fn source<'p>(plan: &'p SealedPlan, named: &Planned<String>) -> Option<&'p Source> {
    match named {
        Planned::Set { value } => plan.plan().sources.iter().find(|source| source.name == *value),
        Planned::Absent { .. } => None,
    }
}

/// How often windows occur in the plan's traffic. It must be the file that the plan names.
fn exposure(arguments: &Arguments, plan: &SealedPlan, spec: Spec) -> Result<Option<Exposure>, Failure> {
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
    let exposure = counting::exposure(file, spec, Some(&secret), None)?;
    // Whatever an epoch's key marked with, its rows count as marked under every key of that epoch.
    let scored = plan.tests().iter().flat_map(|test| &test.keys);
    let scored = scored.map(|key| spec.open(&secret.epoch_key(&key.epoch)));
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
