//! One mark that is tried: what it is, and what the text shows of it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::Serialize;

use super::super::Failure;
use super::keyring::{File, What};
use crate::key::{Epoch, Secret};
use crate::scheme::Spec;
use crate::scheme::foreign::{Profile, Reach, Standing};
use crate::score::{Counted, Exchange, Occurrences, TextStatistic, occurrences};
use crate::stat::foreign::ForeignSummary;
use crate::stat::math::log10_from_ln;
use crate::stat::verdict::{TestError, verdict_tail};
use crate::token::Width;

/// A mark to be tried.
#[derive(Debug)]
pub(super) enum Candidate<'k> {
    /// Ours: key, spec, epoch.
    Own(&'k File, &'k Secret, Spec, Epoch),
    /// Another engine's.
    Foreign(&'k File, &'k Profile),
}

/// Whose key it is, and who else has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum KeyIs {
    /// One of our secrets.
    Own,
    /// As [`Standing`] says.
    #[serde(untagged)]
    Foreign(Standing),
}

/// What became of a candidate.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Tried {
    pub(super) file: String,
    /// A key's id, or a profile's name.
    pub(super) name: String,
    /// A spec, or an engine.
    pub(super) mark: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) epoch: Option<Epoch>,
    pub(super) key_is: KeyIs,
    /// Distinct draws; 0 where the text shows none, and then p = 1.
    pub(super) draws: u64,
    /// Distinct (window, token) pairs behind them, where several can share a draw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ngrams: Option<u64>,
    pub(super) z: f64,
    pub(super) ln_p: f64,
    pub(super) log10_p: f64,
    /// No smaller p is claimed: 2^−bits of the key.
    pub(super) limit_log10_p: f64,
    /// After the limit and the correction for all candidates.
    pub(super) adjusted_log10_p: f64,
    pub(super) found: bool,
    /// What the law under H0 assumes.
    pub(super) assumes: &'static str,
}

/// Every candidate of a keyring: each key under each spec in each epoch, and each profile.
pub(super) fn all<'k>(keyring: &'k [File], specs: &[Spec], epochs: &[Epoch]) -> Vec<Candidate<'k>> {
    let mut all = Vec::new();
    for entry in keyring {
        match &entry.what {
            What::Key(key) => {
                let own =
                    |spec: &Spec, epoch: &Epoch| Candidate::Own(entry, &key.secret, *spec, epoch.clone());
                all.extend(specs.iter().flat_map(|spec| epochs.iter().map(move |epoch| own(spec, epoch))));
            }
            What::Profile(profile) => all.push(Candidate::Foreign(entry, profile)),
        }
    }
    all
}

/// The text, counted once for each way of counting that the candidates need. No key is involved.
#[derive(Debug, Default)]
pub(super) struct Text {
    own: BTreeMap<(String, Epoch), Counted>,
    foreign: Vec<(Reach, Occurrences)>,
}

impl Text {
    /// `exchanges` with the epoch that their rows name. In an epoch those of other epochs do not count.
    pub(super) fn count(
        exchanges: &[(Option<Epoch>, Exchange)],
        candidates: &[Candidate<'_>],
    ) -> Result<Self, Failure> {
        let mut text = Self::default();
        for candidate in candidates {
            match candidate {
                Candidate::Own(_, _, spec, epoch) => {
                    if let Entry::Vacant(missing) = text.own.entry((spec.to_string(), epoch.clone())) {
                        let of_epoch = |row: &Option<Epoch>| row.as_ref().is_none_or(|named| named == epoch);
                        let rows = (0_u32..).zip(exchanges).filter(|(_, (row, _))| of_epoch(row));
                        let rows = rows.map(|(cluster, (_, exchange))| (cluster, exchange));
                        missing.insert(Counted::text(*spec, rows, TextStatistic::Distinct)?);
                    }
                }
                Candidate::Foreign(_, profile) => {
                    let reach = profile.mark.reach();
                    if !text.foreign.iter().any(|(counted, _)| *counted == reach) {
                        let found = occurrences(&reach, exchanges.iter().map(|(_, exchange)| exchange))?;
                        text.foreign.push((reach, found));
                    }
                }
            }
        }
        Ok(text)
    }
}

impl Candidate<'_> {
    /// The window's width, as far as ours are that wide.
    pub(super) fn width(&self) -> Option<Width> {
        match self {
            Self::Own(_, _, spec, _) => Some(spec.width()),
            Self::Foreign(_, profile) => Width::new(u8::try_from(profile.mark.reach().width).ok()?).ok(),
        }
    }

    /// Tests the text for this mark.
    pub(super) fn test(&self, text: &Text) -> Result<Tried, Failure> {
        match self {
            Self::Own(entry, secret, spec, epoch) => {
                let counted = text.own.get(&(spec.to_string(), epoch.clone()));
                let counted =
                    counted.ok_or_else(|| Failure("the text was not counted for this spec".to_owned()))?;
                let draws = counted.open(&spec.open(&secret.epoch_key(epoch)))?;
                let number = draws.as_slice().len() as u64;
                let (ln_p, z) = match verdict_tail(draws) {
                    Ok(tail) => tail,
                    Err(TestError::NoDraws) => (0.0, 0.0),
                    Err(other) => return Err(other.into()),
                };
                let assumes = "HMAC-SHA256 is a pseudorandom function";
                let name = secret.commitment().key_id().to_string();
                let tried = Tried::new(entry, name, spec.to_string(), KeyIs::Own, assumes);
                Ok(Tried { epoch: Some(epoch.clone()), ..tried }.with(number, z, ln_p, 128))
            }
            Self::Foreign(entry, profile) => foreign(entry, profile, text),
        }
    }
}

fn foreign(entry: &File, profile: &Profile, text: &Text) -> Result<Tried, Failure> {
    let (mark, reach) = (&profile.mark, profile.mark.reach());
    let found = text.foreign.iter().find(|(counted, _)| *counted == reach);
    let (_, found) = found.ok_or_else(|| Failure("the text was not counted for this engine".to_owned()))?;
    let marker = mark.open();
    let summary = match marker.table() {
        None => ForeignSummary::of(found.open(&marker)?)?,
        Some(table) => ForeignSummary::of_offsets(&found.correlate(&marker)?.open(&table.offsets))?,
    };
    let key_is = KeyIs::Foreign(profile.standing());
    let tried = Tried::new(entry, profile.name.clone(), mark.engine().to_owned(), key_is, mark.assumes());
    let ngrams = Some(found.ngrams());
    Ok(Tried { ngrams, ..tried }.with(summary.draws, summary.z, summary.ln_p, mark.key_bits()))
}

impl Tried {
    fn new(entry: &File, name: String, mark: String, key_is: KeyIs, assumes: &'static str) -> Self {
        Self {
            file: entry.path.display().to_string(),
            name,
            mark,
            epoch: None,
            key_is,
            draws: 0,
            ngrams: None,
            z: 0.0,
            ln_p: 0.0,
            log10_p: 0.0,
            limit_log10_p: 0.0,
            adjusted_log10_p: 0.0,
            found: false,
            assumes,
        }
    }

    fn with(self, draws: u64, z: f64, ln_p: f64, key_bits: u32) -> Self {
        let limit_log10_p = log10_from_ln(-f64::from(key_bits) * std::f64::consts::LN_2);
        Self { draws, z, ln_p, log10_p: log10_from_ln(ln_p), limit_log10_p, ..self }
    }
}
