//! What the teacher serves: about as many marked as unmarked tokens, side by side.

use std::sync::atomic::{AtomicU64, Ordering};

use taggant_model::ModelError;
use taggant_model::generate::{CausalModel, Options, Sampler, Sampling};

use super::super::Failure;
use super::super::output::Stages;
use super::super::serve::{Serving, serve};
use super::Setting;
use crate::case::material::Answer;
use crate::embed::Embedder;
use crate::token::TokenId;

/// The teacher's answers, marked and unmarked, about `tokens` of each, in two threads. Prompts come round again, with
/// other randomness, until the harvest is large enough.
pub(super) fn harvest(
    setting: &Setting,
    teacher: &dyn CausalModel,
    prompts: &[Vec<TokenId>],
    options: &Options,
    tokens: usize,
    stages: &mut Stages,
) -> Result<(Vec<Answer>, Vec<Answer>), Failure> {
    let embedder = Embedder::new(setting.spec.open(&setting.epoch_key()), setting.delta)?;
    stages.start("the teacher serves answers, marked and unmarked", 2 * tokens as u64);
    let done = AtomicU64::new(0);
    let served = |embedder: Option<&Embedder>, purpose: &str| {
        let sampler = Sampler::new(Sampling::default(), setting.stream(purpose))?;
        let mut serving = Serving { embedder, sampler, first_stream: 0, options: options.clone() };
        let (mut answers, mut total) = (Vec::new(), 0);
        for chunk in prompts.chunks(options.batch).cycle() {
            if total >= tokens {
                break;
            }
            let more = serve(teacher, chunk, &mut serving, &mut |length| {
                total += length;
                done.fetch_add(length as u64, Ordering::Relaxed);
            })?;
            serving.first_stream += more.len() as u64;
            answers.extend(more);
        }
        Ok::<_, ModelError>(answers)
    };
    side_by_side(
        || served(Some(&embedder), "marked"),
        || served(None, "unmarked"),
        || stages.at(done.load(Ordering::Relaxed)),
    )
}

/// Runs two pieces of work in two threads and calls `meanwhile` a few times a second until both have ended.
pub(super) fn side_by_side<A: Send, B: Send>(
    first: impl FnOnce() -> Result<A, ModelError> + Send,
    second: impl FnOnce() -> Result<B, ModelError> + Send,
    mut meanwhile: impl FnMut(),
) -> Result<(A, B), Failure> {
    std::thread::scope(|scope| {
        let (first, second) = (scope.spawn(first), scope.spawn(second));
        while !(first.is_finished() && second.is_finished()) {
            std::thread::sleep(std::time::Duration::from_millis(50));
            meanwhile();
        }
        let panicked = |_| Failure("a thread of the demo panicked: this is a defect of taggant".to_owned());
        Ok((first.join().map_err(panicked)??, second.join().map_err(panicked)??))
    })
}
