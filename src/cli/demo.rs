//! `taggant demo`: marks a model's answers, distils them, tests the students and writes the evidence.

mod harvest;
mod plan;
mod real;
mod small;
mod suspect;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::output::Stages;
use super::report::{DECOYS, Page};
use super::{Failure, now, output, verdict};
use crate::case::bundle::{Bundle, Parts};
use crate::case::material::Material;
use crate::case::plan::{Access, Role, SealedPlan};
use crate::case::{Analysis, Finding, Verdict, analyse};
use crate::key::{Epoch, EpochKey, Genesis, Opening, SchemeKey, Secret};
use crate::scheme::Spec;
use crate::source::files::{self, Access as Readers};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where to write plan, report and bundle
    #[arg(long, value_name = "DIR", default_value = "taggant-demo")]
    out: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Decides the key, the answers and the trainings
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A real teacher instead of the embedded one: smollm2, or a Llama-family GGUF file
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Tokens that the teacher serves to each student [default: 100000; with --model 12000]
    #[arg(long)]
    tokens: Option<usize>,
}

/// What is fixed before anything is served.
#[derive(Debug)]
struct Setting {
    seed: u64,
    secret: Secret,
    spec: Spec,
    delta: f32,
    epoch: Epoch,
    /// An epoch under whose key nothing was ever served: the wrong key.
    unused_epoch: Epoch,
    genesis: Genesis,
}

impl Setting {
    /// Makes the keys and commits to them in `genesis.json`, before anything is served.
    fn new(seed: u64, tokenizer_sha256: [u8; 32], out: &Path) -> Result<Self, Failure> {
        let spec: Spec = "green/1/w1/b2/t1".parse()?;
        let (epoch, unused_epoch): (Epoch, Epoch) = ("demo".parse()?, "demo-never-served".parse()?);
        let secret =
            Sha256::new().chain_update("taggant demo, never for service").chain_update(seed.to_le_bytes());
        let secret = Secret::from_bytes(secret.finalize().into());
        let labels = spec.labels(&spec.label());
        let plan = [(epoch.clone(), labels.clone()), (unused_epoch.clone(), labels)];
        let genesis = Genesis::new(&secret, tokenizer_sha256, &plan);
        files::write(&out.join("genesis.json"), &serde_json::to_vec_pretty(&genesis)?, Readers::Default)?;
        Ok(Self { seed, secret, spec, delta: 2.0, epoch, unused_epoch, genesis })
    }

    fn epoch_key(&self) -> EpochKey {
        self.secret.epoch_key(&self.epoch)
    }

    /// The label keys of both epochs, opened with their proofs.
    fn openings(&self) -> Result<Vec<Opening>, Failure> {
        let labels = self.spec.labels(&self.spec.label());
        let epochs = [&self.epoch, &self.unused_epoch];
        let pairs = epochs.iter().flat_map(|epoch| labels.iter().map(move |label| (*epoch, label)));
        pairs.map(|(epoch, label)| Ok(self.genesis.open(&self.secret, epoch, Some(label))?)).collect()
    }

    /// A seed of its own for each purpose.
    fn stream(&self, purpose: &str) -> u64 {
        let digest = Sha256::new().chain_update(self.seed.to_le_bytes()).chain_update(purpose).finalize();
        digest.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
    }
}

/// What a demo's cast hands over: a plan that was sealed before its probes, and what the probes gave.
#[derive(Debug)]
struct Probed {
    setting: Setting,
    plan: SealedPlan,
    material: Vec<Material>,
    tokenizer: taggant_model::tokenizer::Tokenizer,
    teacher: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    files::make_folder(&arguments.out)?;
    let mut stages = Stages::new();
    let probed = match &arguments.model {
        None => small::run(arguments.seed, arguments.tokens.unwrap_or(100_000), &arguments.out, &mut stages)?,
        Some(model) => {
            real::run(model, arguments.seed, arguments.tokens.unwrap_or(12_000), &arguments.out, &mut stages)?
        }
    };
    stages.start("open the keys, test, and write the evidence", 0);
    let openings = probed.setting.openings()?;
    let keys: Vec<SchemeKey> = openings
        .iter()
        .map(|opening| probed.setting.genesis.verify(opening))
        .filter_map(Result::transpose)
        .collect::<Result<_, _>>()?;
    let analysis = analyse(&probed.plan, &probed.material, None, &keys)?;
    let written = write(arguments, probed, openings, analysis)?;
    stages.end();
    if arguments.json { output::json(&written.report_json()) } else { output::data(&written.page()?) }?;
    Ok(ExitCode::SUCCESS)
}

/// Writes `plan.json` the moment the plan is sealed, and says so.
fn seal(plan: crate::case::plan::Plan, out: &Path, stages: &mut Stages) -> Result<SealedPlan, Failure> {
    let sealed = plan.seal(&now())?;
    super::plan::write(&sealed, &out.join("plan.json"))?;
    stages.say(&format!("plan sealed before the first probe: SHA-256 {}", sealed.sha256()));
    Ok(sealed)
}

/// What was written, and where.
#[derive(Debug)]
struct Written {
    analysis: Analysis,
    teacher: String,
    genesis: PathBuf,
    plan: PathBuf,
    report: PathBuf,
    bundle: PathBuf,
}

fn write(
    arguments: &Arguments,
    probed: Probed,
    openings: Vec<Opening>,
    analysis: Analysis,
) -> Result<Written, Failure> {
    let path = |name: &str| arguments.out.join(name);
    let bundle = Bundle::new(Parts {
        plan: probed.plan.clone(),
        genesis: probed.setting.genesis.clone(),
        openings,
        canaries: None,
        material: probed.material,
        analysis: analysis.clone(),
        created: now(),
    })?;
    bundle.write(&path("bundle.json"))?;
    let page = Page {
        title: "Taggant demo: was the student distilled from marked answers?",
        bundle_file: "bundle.json",
        tokenizer: Some(&probed.tokenizer),
        decoys: DECOYS,
        notes: &[NOTE.to_owned()],
    };
    files::write(&path("report.html"), page.html(&probed.plan, &bundle)?.as_bytes(), Readers::Default)?;
    Ok(Written {
        analysis,
        teacher: probed.teacher,
        genesis: path("genesis.json"),
        plan: path("plan.json"),
        report: path("report.html"),
        bundle: path("bundle.json"),
    })
}

const NOTE: &str =
    "Made by `taggant demo`: the key is derived from the demo's seed and must never be used for service.";

/// One line of `--json`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    name: &'a str,
    role: Role,
    access: Access,
    scored: u64,
    estimate: f64,
    interval: Option<[f64; 2]>,
    ln_p: f64,
    ln_e: f64,
    verdict: Verdict,
}

impl<'a> Line<'a> {
    fn new(finding: &'a Finding) -> Self {
        let summary = finding.summary();
        Self {
            name: verdict::name(finding),
            role: finding.role(),
            access: finding.access(),
            scored: summary.draws,
            estimate: summary.estimate,
            interval: summary.interval,
            ln_p: finding.verdict_ln_p(),
            ln_e: summary.ln_e,
            verdict: finding.verdict(),
        }
    }
}

impl Written {
    fn report_json(&self) -> serde_json::Value {
        let lines = |innocent: bool| -> Vec<Line<'_>> {
            let of = self
                .analysis
                .findings()
                .iter()
                .filter(|finding| (finding.role() == Role::Innocent) == innocent);
            of.map(Line::new).collect()
        };
        serde_json::json!({
            "schema": "taggant/demo/1",
            "teacher": self.teacher,
            "suspects": lines(false),
            "innocents": lines(true),
            "genesis": self.genesis,
            "plan": self.plan,
            "report": self.report,
            "bundle": self.bundle,
        })
    }

    fn page(&self) -> Result<String, Failure> {
        let table = verdict::table(self.analysis.findings());
        let (report, bundle) = (self.report.display(), self.bundle.display());
        let (genesis, plan) = (self.genesis.display(), self.plan.display());
        Ok(format!(
            "\n{table}\n\nGreen tokens are {} of all by chance. p and e speak of chance alone; what they do not say is in the \
             report.\n\nreport   {report}\nbundle   {bundle}\ngenesis  {genesis}   in earnest: published before service\n\
             plan     {plan}   in earnest: deposited before the first probe\n\
             check    taggant case check {bundle} --genesis {genesis} --seal {plan}\n",
            verdict::percent(
                self.analysis.findings().first().map_or(0.0, |finding| finding.summary().expected)
            ),
        ))
    }
}
