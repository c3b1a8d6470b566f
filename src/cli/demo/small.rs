//! The embedded demo: a small teacher, students that start from another small model.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use taggant_model::ModelError;
use taggant_model::generate::Options;
use taggant_model::small::SmallModel;
use taggant_model::train::{self, distil};

use super::super::Failure;
use super::super::output::Stages;
use super::harvest::{harvest, side_by_side};
use super::plan::{Design, plan, unmarked};
use super::suspect::{Suspect, Vocabulary};
use super::{Probed, Setting, seal};
use crate::case::material::{Answer, Material};
use crate::case::plan::{
    Access, ContextRule, Independence, Planned, Role, RowRule, Statistic, prompts_sha256,
};
use crate::key::Commitment;
use crate::source::model::{END, Embedded, embedded, weights_sha256};
use crate::token::TokenId;

/// Answers asked of each suspect. Prompts come round again where there are fewer: repeats were fixed beforehand.
const PROBES: usize = 600;
/// One opening in this many is kept for the probes.
const KEPT: usize = 4;
/// Longest answer.
const ANSWER: usize = 60;
/// Passes over the harvested answers.
const PASSES: usize = 3;

pub(super) fn run(seed: u64, tokens: usize, out: &Path, stages: &mut Stages) -> Result<Probed, Failure> {
    let models = embedded()?;
    let end = models.tokenizer.id(END).ok_or("the embedded tokenizer has no end of text")?;
    let setting = Setting::new(seed, models.tokenizer.digest(), out)?;
    let mut prompts = prompts(&models, end, setting.stream("prompts"))?;
    let kept = prompts.split_off(prompts.len() - prompts.len() / KEPT);
    let pool: Vec<Vec<TokenId>> = kept.into_iter().cycle().take(PROBES).collect();

    let serving = Options { max_tokens: ANSWER, stop: vec![end], batch: 128 };
    let (marked, plain) = harvest(&setting, &models.teacher, &prompts, &serving, tokens, stages)?;
    let (student, control) = train_both(&setting, &models.student, [&marked, &plain], end, stages)?;
    let suspect = |name, role, model| Suspect { name, role, model, vocabulary: Vocabulary::Whole };
    let cast = [
        suspect("student", Role::Student, student),
        suspect("control", Role::Control, control),
        suspect("student's base", Role::Innocent, models.student.clone()),
    ];
    let sealed = seal(plan(&setting, design(&cast, tokens)?, &pool), out, stages)?;
    let material = probe(&setting, &cast, &models.teacher, &pool, end, stages)?;
    let teacher = format!("embedded teacher ({} parameters)", models.teacher.config().parameters());
    Ok(Probed { setting, plan: sealed, material, tokenizer: models.tokenizer, teacher })
}

/// The openings as prompts, in an order of the seed's.
fn prompts(models: &Embedded, end: TokenId, seed: u64) -> Result<Vec<Vec<TokenId>>, Failure> {
    let encode = |opening: &&str| Ok([vec![end], models.tokenizer.encode(opening)?].concat());
    let mut prompts: Vec<Vec<TokenId>> =
        models.openings.iter().map(encode).collect::<Result<_, ModelError>>()?;
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    for at in (1..prompts.len()).rev() {
        let other = usize::try_from(rng.next_u64() % (at as u64 + 1)).unwrap_or(0);
        prompts.swap(at, other);
    }
    Ok(prompts)
}

/// The student learns the marked answers, the control the unmarked ones, one thread each.
fn train_both(
    setting: &Setting,
    base: &SmallModel,
    [marked, plain]: [&Vec<Answer>; 2],
    end: TokenId,
    stages: &mut Stages,
) -> Result<(SmallModel, SmallModel), Failure> {
    stages.start("two students learn, one from marked and one from unmarked answers", 2_000);
    let done = [AtomicU64::new(0), AtomicU64::new(0)];
    let learn = |answers: &[Answer], purpose: &str, done: &AtomicU64| {
        let texts: Vec<Vec<TokenId>> = answers.iter().map(|answer| answer.tokens()[1..].to_vec()).collect();
        let options =
            train::Options { seed: setting.stream(purpose), rate: 1e-3, ..train::Options::default() };
        distil(base, &texts, end, PASSES, &options, &mut |progress| {
            done.store(1_000 * progress.step as u64 / progress.steps.max(1) as u64, Ordering::Relaxed);
        })
    };
    side_by_side(
        || learn(marked, "student", &done[0]),
        || learn(plain, "control", &done[1]),
        || {
            stages.at(done.iter().map(|done| done.load(Ordering::Relaxed)).sum());
        },
    )
}

/// Every suspect answers the pool and shows its distributions, two at a time.
fn probe(
    setting: &Setting,
    cast: &[Suspect],
    teacher: &SmallModel,
    pool: &[Vec<TokenId>],
    end: TokenId,
    stages: &mut Stages,
) -> Result<Vec<Material>, Failure> {
    stages.start("fresh prompts to every suspect", (cast.len() * pool.len()) as u64);
    let done = AtomicU64::new(0);
    let drawn_from = prompts_sha256(pool);
    let probe = |suspects: &[Suspect]| {
        let mut material = Vec::new();
        for suspect in suspects {
            let seed = setting.stream(suspect.name);
            let answers = suspect.answer(pool, end, ANSWER, seed, &mut |_| {
                done.fetch_add(1, Ordering::Relaxed);
            })?;
            material.push(suspect.text(answers.clone()));
            material.push(suspect.distributions(answers, teacher, &drawn_from)?);
        }
        Ok::<_, ModelError>(material)
    };
    let (first, second) = cast.split_at(cast.len().div_ceil(2));
    let (mut material, rest) = side_by_side(
        || probe(first),
        || probe(second),
        || {
            stages.at(done.load(Ordering::Relaxed));
        },
    )?;
    material.extend(rest);
    Ok(material)
}

fn design(cast: &[Suspect], tokens: usize) -> Result<Design, Failure> {
    let reference = "teacher with the mark off";
    let built_in = "embedded in the program, from before this key existed";
    Ok(Design {
        suspects: cast.iter().map(|suspect| (suspect.name, suspect.role)).collect(),
        accesses: vec![
            (Access::Text, Statistic::RootCount, Vec::new()),
            (Access::Distributions, Statistic::Residual, vec![reference.to_owned()]),
        ],
        sources: vec![unmarked(
            reference,
            Commitment(weights_sha256("embedded")?),
            Independence::UnmarkedTeacher,
            built_in,
        )],
        reference: Planned::Set { value: reference.to_owned() },
        answer_tokens: u32::try_from(ANSWER).unwrap_or(u32::MAX),
        contexts: Planned::Set { value: ContextRule::OneAnAnswer },
        rows: Planned::Set { value: RowRule::Whole },
        documents: Planned::absent("nobody reads marked documents in this plan"),
        effect: format!(
            "all of {tokens} training tokens marked with delta 2, {PASSES} passes, from another base"
        ),
    })
}
