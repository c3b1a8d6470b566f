//! `taggant generate`: prompts in, marked answers out.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use taggant_model::generate::{Options, Sampler, Sampling};

use super::output::{self, Stages};
use super::serve::{Serving, serve};
use super::{Failure, key, rows};
use crate::embed::Embedder;
use crate::key::Epoch;
use crate::scheme::Spec;
use crate::source::model::Loaded;
use crate::source::text::{BadLines, Kind, Row};
use crate::token::TokenId;

/// Rows answered before they are written out.
const TOGETHER: usize = 256;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    key: key::Key,
    /// The epoch whose key marks the answers
    #[arg(long)]
    epoch: Epoch,
    /// The scheme, such as green/1/w1/b2/t1 or gumbel/1/w4
    #[arg(long)]
    spec: Spec,
    /// What a green token's logit gains, in nats
    #[arg(long, default_value_t = 1.0)]
    delta: f32,
    /// Serve without the mark: the other half of an experiment
    #[arg(long)]
    unmarked: bool,
    /// embedded, smollm2, or a Llama-family GGUF file
    #[arg(long, default_value = "embedded")]
    model: String,
    /// Longest answer, in tokens
    #[arg(long, default_value_t = 80)]
    max_tokens: usize,
    /// Divides the logits; 0 always takes the likeliest token
    #[arg(long, default_value_t = 1.0)]
    temperature: f32,
    /// Only the k likeliest tokens; 0 for all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Only the likeliest tokens that hold this much probability
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Decides what is not keyed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Leave bad lines out and say so
    #[arg(long)]
    skip_bad: bool,
    /// Prompts as JSON lines; - reads standard input
    #[arg(value_name = "PROMPTS.jsonl")]
    file: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let secret = arguments.key.read()?.secret;
    let bad = if arguments.skip_bad { BadLines::Skip } else { BadLines::Refuse };
    let prompts = rows::read(&arguments.file, Kind::Prompts, bad)?;
    for line in &prompts.refused {
        output::talk(&format!("left out: {line}"));
    }
    let embedder = Embedder::new(arguments.spec.open(&secret.epoch_key(&arguments.epoch)), arguments.delta)?;
    let loaded = Loaded::open(&arguments.model)?;
    let (temperature, top_k, top_p) = (arguments.temperature, arguments.top_k, arguments.top_p);
    let mut serving = Serving {
        embedder: (!arguments.unmarked).then_some(&embedder),
        sampler: Sampler::new(Sampling { temperature, top_k, top_p }, arguments.seed)?,
        first_stream: 0,
        options: Options { max_tokens: arguments.max_tokens, stop: vec![loaded.end], batch: 64 },
    };
    let mut stages = Stages::new();
    stages.start("answers", prompts.rows.len() as u64);
    let mut done = 0;
    for chunk in prompts.rows.chunks(TOGETHER) {
        let contexts = chunk.iter().map(|row| context(&loaded, row)).collect::<Result<Vec<_>, _>>()?;
        let answers = serve(loaded.model.as_ref(), &contexts, &mut serving, &mut |_| {
            done += 1;
            stages.at(done);
        })?;
        serving.first_stream += chunk.len() as u64;
        for (row, answer) in chunk.iter().zip(&answers) {
            output::line(&filled(arguments, &loaded, row, &answer.prompt, &answer.response)?.to_string())?;
        }
    }
    stages.end();
    Ok(ExitCode::SUCCESS)
}

fn context(loaded: &Loaded, row: &Row) -> Result<Vec<TokenId>, Failure> {
    let prompt = row.prompt.as_ref().ok_or("a row without a prompt")?;
    loaded.context(prompt).map_err(|error| Failure(format!("line {}, field \"prompt\": {error}", row.line)))
}

/// The row with its answer, as text and as the token ids that the model saw and wrote. Unknown fields stay.
fn filled(
    arguments: &Arguments,
    loaded: &Loaded,
    row: &Row,
    prompt: &[TokenId],
    response: &[TokenId],
) -> Result<Value, Failure> {
    let mut fields = row.fields.clone();
    fields.insert("prompt_tokens".to_owned(), json!(prompt));
    fields.insert("response".to_owned(), json!(loaded.tokenizer.decode(response)?));
    fields.insert("response_tokens".to_owned(), json!(response));
    fields.insert("model".to_owned(), json!(arguments.model));
    let epoch = if arguments.unmarked { Value::Null } else { json!(arguments.epoch) };
    fields.insert("epoch".to_owned(), epoch);
    Ok(Value::Object(fields))
}
