//! Lint: which training-data filters a canary survives, before it is served.
//!
//! A distiller cleans what it harvests. For each filter that is commonly used, lint says how many planted texts are left, by
//! class, and names the weak ones. None of this touches validity: a canary that is filtered out is a slot that nobody
//! learned. It decides *power*, and so it is looked at before the key picks; what is served and tested never depends on it
//! slot by slot.

mod near;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;

pub use near::{Near, jaccard, near_duplicates};
pub use text::{code_share, foreign, normalised, repetition, url_share};

use super::matching::{Answer, Matcher};
use super::set::SiblingSet;

/// A text with a canary in it, as a distiller would find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Specimen {
    /// Its slot, as a set of its own.
    pub set: SiblingSet,
    /// Which sibling is planted.
    pub sibling: usize,
    /// The text.
    pub text: String,
}

/// A filter of training data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Equal texts, spaces and case aside: the first is kept.
    ExactDuplicates,
    /// Texts that share most of their runs of five words ([`Near`]): the first is kept.
    NearDuplicates,
    /// NFKC, and characters without width removed: what is read of the text afterwards must be the same.
    Normalisation,
    /// Too much of the text is the same few words or lines again ([`repetition`]).
    Repetition,
    /// The text is in another language than its class says ([`foreign`]).
    Language,
    /// More than a fifth of the text is links ([`url_share`]).
    Links,
    /// Code where the class is prose ([`code_share`]).
    Code,
    /// The text is less or more likely to a model than nine of ten of the operator's ordinary answers.
    Perplexity,
}

/// Every filter that needs no model.
pub const PLAIN: [Filter; 7] = [
    Filter::ExactDuplicates,
    Filter::NearDuplicates,
    Filter::Normalisation,
    Filter::Repetition,
    Filter::Language,
    Filter::Links,
    Filter::Code,
];

/// A class under one filter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Survival {
    /// The class.
    pub class: String,
    /// The filter.
    pub filter: Filter,
    /// Texts looked at.
    pub texts: u64,
    /// Texts left.
    pub left: u64,
}

impl Survival {
    /// Whether fewer than nine in ten are left.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.left * 10 < self.texts * 9
    }
}

/// How unequal the siblings of a class are in ordinary answers: power, never validity, because the key picks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Imbalance {
    /// The class.
    pub class: String,
    /// Ordinary answers that name one of its siblings.
    pub named: u64,
    /// The sibling named most.
    pub most: Option<String>,
    /// Its share of them.
    pub share: f64,
    /// (Σn)² / Σn²: as many equal siblings would be as unequal.
    pub effective: f64,
}

/// Runs every plain filter over `specimens`; `ordinary` answers count for duplicates, and come first. `near` says what a near
/// duplicate is.
#[must_use]
pub fn survival(specimens: &[Specimen], ordinary: &[String], near: Near) -> Vec<Survival> {
    let texts: Vec<&str> = specimens.iter().map(|specimen| specimen.text.as_str()).collect();
    let all: Vec<&str> = ordinary.iter().map(String::as_str).chain(texts.iter().copied()).collect();
    let plain: Vec<String> = all.iter().map(|text| text::plain(text)).collect();
    let mut seen = std::collections::HashSet::new();
    let first: Vec<bool> = plain.iter().map(|text| seen.insert(text)).collect();
    let unlike = near_duplicates(&all, near);
    let skip = ordinary.len();
    let passes = |at: usize, filter: Filter| {
        let Specimen { set, text, .. } = &specimens[at];
        match filter {
            Filter::ExactDuplicates => first[skip + at],
            Filter::NearDuplicates => unlike[skip + at],
            Filter::Normalisation => reads_the_same(set, text),
            Filter::Repetition => !repetition(text),
            Filter::Language => !foreign(text, &set.language),
            Filter::Links => url_share(text) <= 0.2,
            Filter::Code => !text::is_prose(&set.language) || code_share(text) <= 0.1,
            // Needs a model: [`within_band`].
            Filter::Perplexity => true,
        }
    };
    PLAIN.into_iter().flat_map(|filter| count(specimens, filter, |at| passes(at, filter))).collect()
}

/// The perplexity filter: `specimens` and `ordinary` are mean −ln p a token under one model, in the order of the texts. What
/// lies between the 5 % and the 95 % quantile of the ordinary answers is kept; without any, nothing can be said.
#[must_use]
pub fn within_band(specimens: &[Specimen], losses: &[f64], ordinary: &[f64]) -> Vec<Survival> {
    let mut ordinary: Vec<f64> = ordinary.iter().copied().filter(|loss| loss.is_finite()).collect();
    if ordinary.is_empty() || losses.len() != specimens.len() {
        return Vec::new();
    }
    ordinary.sort_by(f64::total_cmp);
    let last = ordinary.len() - 1;
    let (low, high) = (ordinary[last / 20], ordinary[last - last / 20]);
    count(specimens, Filter::Perplexity, |at| (low..=high).contains(&losses[at]))
}

/// How often ordinary answers name each sibling of the classes of `sets`.
#[must_use]
pub fn imbalance(sets: &[SiblingSet], ordinary: &[String]) -> Vec<Imbalance> {
    let mut classes: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for set in sets {
        let named = classes.entry(&set.class).or_default();
        let Ok(matcher) = Matcher::new(set) else { continue };
        let read = ordinary.iter().filter_map(|answer| matcher.answer(answer).sibling());
        read.for_each(|at| *named.entry(&set.siblings[at].says).or_default() += 1);
    }
    let one = |(class, named): (&str, BTreeMap<&str, u64>)| {
        let all: u64 = named.values().sum();
        let most = named.iter().max_by_key(|(_, count)| **count);
        let number = crate::stat::math::to_f64;
        let squares: f64 = named.values().map(|count| number(*count) * number(*count)).sum();
        Imbalance {
            class: class.to_owned(),
            named: all,
            most: most.map(|(says, _)| (*says).to_owned()),
            share: most.map_or(0.0, |(_, count)| number(*count) / number(all)),
            effective: if all > 0 { number(all) * number(all) / squares } else { 0.0 },
        }
    };
    classes.into_iter().map(one).collect()
}

/// Whether the planted text is read alike before and after normalisation.
fn reads_the_same(set: &SiblingSet, text: &str) -> bool {
    let Ok(matcher) = Matcher::new(set) else { return false };
    let before = matcher.answer(text);
    before == matcher.answer(&normalised(text)) && before != Answer::Several
}

/// By class, in the order of classes.
fn count(specimens: &[Specimen], filter: Filter, passes: impl Fn(usize) -> bool) -> Vec<Survival> {
    let mut classes: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (at, specimen) in specimens.iter().enumerate() {
        let (texts, left) = classes.entry(&specimen.set.class).or_default();
        *texts += 1;
        *left += u64::from(passes(at));
    }
    let survival = |(class, (texts, left)): (&str, (u64, u64))| Survival {
        class: class.to_owned(),
        filter,
        texts,
        left,
    };
    classes.into_iter().map(survival).collect()
}
