//! What a text is counted by, before any key is touched: shared by the commands that score.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use indicatif::BinaryBytes;
use taggant_model::tokenizer::Tokenizer;

use super::contexts::Context;
use super::distributions::{Comparing, Distributions};
use super::estimate::{Estimate, estimate};
use super::{Failure, rows};
use crate::key::{Epoch, Secret};
use crate::law::Law;
use crate::scheme::{Arm, Scheme, Spec};
use crate::score::alignment::Losses;
use crate::score::{
    Counted, Evidence, Exchange, Expectation, Expecting, Exposure, Over, SHRINK, Text, TextStatistic,
};
use crate::source::reference::Reference;
use crate::source::text::{BadLines, Kind, Row};
use crate::token::Width;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What of a row is scored: its answer, or the suspect's probabilities along it
    #[arg(long, value_enum, default_value_t = Access::Text)]
    access: Access,
    /// How a draw counts [default: distinct for text, argmax for distributions]; with --reference: compared with what was
    /// expected
    #[arg(long, value_enum, conflicts_with = "reference")]
    statistic: Option<Statistic>,
    /// Compare with a model that the key never marked anything for: embedded, smollm2 or a GGUF file; several are averaged
    #[arg(long, value_name = "MODEL")]
    pub(super) reference: Vec<String>,
    /// Weigh windows by how often they occur in these answers, which no scored key marked (JSON lines, each with its "epoch",
    /// or null where it was not marked)
    #[arg(long, value_name = "FILE.jsonl", requires = "reference")]
    exposure: Option<PathBuf>,
    /// Cut whole rows to their K likeliest tokens, as an API would
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Access {
    /// "response" or "response_tokens"
    Text,
    /// "logprobs", as chat APIs return them, in any vocabulary; or "q", whole rows by the mark's token ids
    Distributions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Statistic {
    /// text: once
    Distinct,
    /// text: √n times for n occurrences (weighted draws; the exact lattice tail)
    RootCount,
    /// distributions: once where it is the likeliest after its window
    Argmax,
    /// distributions: by its probability
    Mass,
}

/// What is counted, before any key is touched.
#[derive(Debug)]
pub(super) enum Counting {
    Text { spec: Spec, statistic: TextStatistic },
    Residual { width: Width, reference: Reference, exposure: Option<Exposure> },
    Distributions(Box<Distributions>),
}

/// What was counted.
#[derive(Debug)]
pub(super) struct Count {
    pub(super) evidence: Counted,
    /// What aligning the suspect's vocabulary lost.
    pub(super) losses: Option<Losses>,
}

impl Counting {
    /// `secret` is that of the key to be scored: exposure from rows of its epochs is marked as such.
    pub(super) fn new(
        arguments: &Arguments,
        spec: Spec,
        secret: Option<&Secret>,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Self, Failure> {
        if matches!(spec, Spec::Payload(_)) {
            return Err(Failure(
                "--spec: an account's marks are tested by account, which this command does not do".to_owned(),
            ));
        }
        let width = spec.width();
        if !arguments.reference.is_empty() && matches!(spec, Spec::Mix(_)) {
            return Err(Failure("--reference: a mix is scored from text alone; score without".to_owned()));
        }
        if !arguments.reference.is_empty() && matches!(spec.law(), Some(Law::Exponential)) {
            return Err(Failure(
                "--reference: a residual has signs, and a Gumbel draw no bound below; score without"
                    .to_owned(),
            ));
        }
        let exposure =
            arguments.exposure.as_deref().map(|file| exposure(file, spec, secret, tokenizer)).transpose()?;
        if arguments.access == Access::Distributions {
            let comparing = arguments.comparing(exposure)?;
            return Ok(Self::Distributions(Box::new(Distributions::new(
                width,
                comparing,
                tokenizer,
                arguments.top(),
            )?)));
        }
        if arguments.top_k.is_some() {
            return Err(Failure("--top-k: that one needs --access distributions".to_owned()));
        }
        if !arguments.reference.is_empty() {
            let reference = Reference::open(&arguments.reference)?;
            return Ok(Self::Residual { width, reference, exposure });
        }
        let statistic = match arguments.statistic.unwrap_or(Statistic::Distinct) {
            Statistic::Distinct => TextStatistic::Distinct,
            Statistic::RootCount => TextStatistic::RootCount,
            Statistic::Argmax | Statistic::Mass => {
                return Err(Failure("--statistic: that one needs --access distributions".to_owned()));
            }
        };
        Ok(Self::Text { spec, statistic })
    }

    /// How draws are counted that can be sorted, one row after the other; none where rows have to be looked at together.
    pub(super) fn sorted(&self) -> Option<TextStatistic> {
        match self {
            Self::Text { statistic, .. } => Some(*statistic),
            Self::Residual { .. } | Self::Distributions(_) => None,
        }
    }

    /// Why none of this is sorted outside memory, and how much of it that takes.
    pub(super) fn in_memory(&self, file: &Path, tokenizer: Option<&Tokenizer>) -> Failure {
        let Self::Residual { width, reference, .. } = self else {
            return Failure(
                "--scratch: distributions are looked at together, in memory; score without".to_owned(),
            );
        };
        let needed = match estimate(file, tokenizer) {
            Ok(Some(Estimate { positions, .. })) => beside_needs(*width, positions, reference.vocabulary()),
            Ok(None) => None,
            Err(failure) => return failure,
        };
        let needed = needed.map(|bytes| format!(", for {} up to {}", file.display(), BinaryBytes(bytes)));
        Failure(format!(
            "--scratch: text beside a reference is counted in memory, as every token after a window counts{}; score without \
             --scratch where there is so much, or without --reference",
            needed.unwrap_or_default()
        ))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Text { statistic: TextStatistic::Distinct, .. } => "distinct",
            Self::Text { statistic: TextStatistic::RootCount, .. } => "root-count",
            Self::Residual { .. } => "residual",
            Self::Distributions(distributions) => distributions.name(),
        }
    }

    /// Counts distributions over the mark's own tokens.
    ///
    /// # Errors
    /// A counting of text.
    pub(super) fn of_contexts(&self, contexts: &[Context]) -> Result<Counted, Failure> {
        match self {
            Self::Distributions(distributions) => Ok(distributions.of_contexts(contexts)?.into()),
            _ => Err(Failure("text is counted, and these are distributions".to_owned())),
        }
    }

    /// Counts rows, each with the number of its cluster.
    pub(super) fn count(
        &self,
        rows: &[(u32, &Row)],
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Count, Failure> {
        let evidence = match self {
            Self::Text { spec, statistic } => {
                let exchanges = exchanges(rows, tokenizer)?;
                let exchanges = exchanges.iter().map(|(cluster, exchange)| (*cluster, exchange));
                Counted::text(*spec, exchanges, *statistic)?
            }
            Self::Residual { width, reference, exposure } => {
                beside(*width, &exchanges(rows, tokenizer)?, reference, exposure.as_ref())?.into()
            }
            Self::Distributions(distributions) => return distributions.count(rows),
        };
        Ok(Count { evidence, losses: None })
    }
}

fn exchanges(rows: &[(u32, &Row)], tokenizer: Option<&Tokenizer>) -> Result<Vec<(u32, Exchange)>, Failure> {
    rows.iter().map(|(cluster, row)| Ok((*cluster, rows::exchange(row, tokenizer)?))).collect()
}

fn beside(
    width: Width,
    exchanges: &[(u32, Exchange)],
    reference: &Reference,
    exposure: Option<&Exposure>,
) -> Result<Evidence, Failure> {
    let text = Text::count(width, exchanges.iter().map(|(cluster, exchange)| (*cluster, exchange)))?;
    let exchanges = exchanges.iter().map(|(_, exchange)| exchange);
    let expectation = expectation(width, &text, exchanges, reference)?;
    Ok(text.residual(&expectation, SHRINK, exposure)?)
}

/// Bytes that counting beside a reference takes at most: [`Over`] says what a window takes, and what was written and expected
/// of a pair is some 64 bytes.
fn beside_needs(width: Width, positions: u128, vocabulary: usize) -> Option<u64> {
    let vocabulary = vocabulary as u128;
    let windows = match Over::default_for(width, 0) {
        Over::Vocabulary(_) => positions.min(vocabulary.pow(u32::from(width.tokens() > 0))),
        Over::Observed => 0,
    };
    u64::try_from(windows * vocabulary * 8 + positions * 64).ok()
}

impl Arguments {
    /// Whether probabilities are scored, not text.
    pub(super) fn of_distributions(&self) -> bool {
        self.access == Access::Distributions
    }

    /// The tokens that are left of a whole row.
    pub(super) fn top(&self) -> Option<usize> {
        self.top_k.map(|top| usize::try_from(top).unwrap_or(usize::MAX))
    }

    /// What distributions are compared with.
    fn comparing(&self, exposure: Option<Exposure>) -> Result<Comparing, Failure> {
        if !self.reference.is_empty() {
            return Ok(Comparing::Reference { names: self.reference.clone(), exposure });
        }
        match self.statistic.unwrap_or(Statistic::Argmax) {
            Statistic::Argmax => Ok(Comparing::Argmax),
            Statistic::Mass => Ok(Comparing::Mass),
            Statistic::Distinct | Statistic::RootCount => {
                Err(Failure("--statistic: that one needs --access text".to_owned()))
            }
        }
    }
}

/// What a reference expects of a text that was counted from these exchanges.
pub(super) fn expectation<'e>(
    width: Width,
    text: &Text,
    exchanges: impl Iterator<Item = &'e Exchange>,
    reference: &Reference,
) -> Result<Expectation, Failure> {
    let size = reference.vocabulary();
    let mut expecting = Expecting::new(text, Over::default_for(width, size));
    for (number, Exchange { prompt, response, .. }) in exchanges.enumerate() {
        expecting.expect(number, size, &reference.rows(prompt, response)?)?;
    }
    Ok(expecting.finish()?)
}

/// How often windows occur in the answers of `file`. Each row says under which epoch's key it was marked, or that it was not
/// (`"epoch": null`): a row that says neither may be what was served under the scored key.
pub(super) fn exposure(
    file: &Path,
    spec: Spec,
    secret: Option<&Secret>,
    tokenizer: Option<&Tokenizer>,
) -> Result<Exposure, Failure> {
    let rows = rows::read(file, Kind::Exchanges, BadLines::Refuse)?.rows;
    if let Some(row) = rows.iter().find(|row| !row.fields.contains_key("epoch")) {
        return Err(Failure(format!(
            "{}, line {}, field \"epoch\": missing; say under which epoch's key the answer was marked, or null if it was not \
             marked",
            file.display(),
            row.line
        )));
    }
    let epochs: BTreeSet<&Epoch> = rows.iter().filter_map(|row| row.epoch.as_ref()).collect();
    let schemes: Vec<Scheme> = secret
        .iter()
        .flat_map(|secret| epochs.iter().map(|epoch| spec.open(&secret.epoch_key(epoch))))
        .collect();
    let keys = schemes.iter().flat_map(Scheme::arms).map(Arm::origin);
    let mut exposure = Exposure::new(spec.width(), keys);
    for row in &rows {
        exposure.add(&rows::exchange(row, tokenizer)?);
    }
    Ok(exposure)
}

/// The statistic, in words.
pub(super) fn words(statistic: &str, references: &[String]) -> String {
    match references.join(", ") {
        references if references.is_empty() => statistic.to_owned(),
        references => format!("{statistic} beside {references}"),
    }
}
