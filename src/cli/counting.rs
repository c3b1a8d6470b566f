//! What a text is counted by, before any key is touched: shared by the commands that score.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use taggant_model::tokenizer::Tokenizer;

use super::{Failure, rows};
use crate::key::{Epoch, Secret};
use crate::law::Law;
use crate::scheme::{Arm, Scheme, Spec};
use crate::score::{Counted, Exchange, Expecting, Exposure, Over, SHRINK, Text, TextStatistic};
use crate::source::reference::Reference;
use crate::source::text::{BadLines, Kind};
use crate::token::Width;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How a draw counts that occurs n times; with --reference: compared with how often it was expected
    #[arg(long, value_enum, default_value_t = Statistic::Distinct, conflicts_with = "reference")]
    statistic: Statistic,
    /// Compare with a model that the key never marked anything for: embedded, smollm2 or a GGUF file; several are averaged
    #[arg(long, value_name = "MODEL")]
    pub(super) reference: Vec<String>,
    /// Weigh windows by how often they occur in these answers, which no scored key marked (JSON lines)
    #[arg(long, value_name = "FILE.jsonl", requires = "reference")]
    exposure: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Statistic {
    /// once
    Distinct,
    /// √n times (weighted draws; the exact lattice tail)
    RootCount,
}

impl From<Statistic> for TextStatistic {
    fn from(statistic: Statistic) -> Self {
        match statistic {
            Statistic::Distinct => Self::Distinct,
            Statistic::RootCount => Self::RootCount,
        }
    }
}

/// What is counted, before any key is touched.
#[derive(Debug)]
pub(super) enum Counting {
    Text { spec: Spec, statistic: TextStatistic },
    Residual { width: Width, reference: Reference, exposure: Option<Exposure> },
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
        if arguments.reference.is_empty() {
            return Ok(Self::Text { spec, statistic: arguments.statistic.into() });
        }
        if matches!(spec, Spec::Mix(_)) {
            return Err(Failure("--reference: a mix is scored from text alone; score without".to_owned()));
        }
        if matches!(spec.law(), Some(Law::Exponential)) {
            return Err(Failure(
                "--reference: a residual has signs, and a Gumbel draw no bound below; score without"
                    .to_owned(),
            ));
        }
        let reference = Reference::open(&arguments.reference)?;
        let exposure =
            arguments.exposure.as_deref().map(|file| exposure(file, spec, secret, tokenizer)).transpose()?;
        Ok(Self::Residual { width, reference, exposure })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Text { statistic: TextStatistic::Distinct, .. } => "distinct",
            Self::Text { statistic: TextStatistic::RootCount, .. } => "root-count",
            Self::Residual { .. } => "residual",
        }
    }

    pub(super) fn evidence(&self, exchanges: &[(u32, Exchange)]) -> Result<Counted, Failure> {
        match self {
            Self::Text { spec, statistic } => {
                let exchanges = exchanges.iter().map(|(cluster, exchange)| (*cluster, exchange));
                Ok(Counted::text(*spec, exchanges, *statistic)?)
            }
            Self::Residual { width, reference, exposure } => {
                let text =
                    Text::count(*width, exchanges.iter().map(|(cluster, exchange)| (*cluster, exchange)))?;
                let size = reference.vocabulary();
                let mut expecting = Expecting::new(&text, Over::default_for(*width, size));
                for (number, (_, Exchange { prompt, response, .. })) in exchanges.iter().enumerate() {
                    expecting.expect(number, size, &reference.rows(prompt, response)?)?;
                }
                Ok(text.residual(&expecting.finish()?, SHRINK, exposure.as_ref())?.into())
            }
        }
    }
}

/// How often windows occur in the answers of `file`. A row that names an epoch was marked under that epoch's key.
fn exposure(
    file: &Path,
    spec: Spec,
    secret: Option<&Secret>,
    tokenizer: Option<&Tokenizer>,
) -> Result<Exposure, Failure> {
    let rows = rows::read(file, Kind::Exchanges, BadLines::Refuse)?.rows;
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
