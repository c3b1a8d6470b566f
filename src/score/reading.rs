//! Adaptive evidence: the suspect reads text that was marked under the scored key, and predicts.
//!
//! Let F_t be everything read up to position t of the documents in their fixed order. A row is scored where its window
//! was never consulted in F_t; its coefficients come from the prefix alone; then its draws are opened. So each factor of
//! the e-process has conditional mean 1 under H0, whatever the text did before. What would break it: scoring the marked
//! token itself, a window twice, or documents chosen by how they went on.

use std::collections::{BTreeSet, HashSet};

use crate::law::Step;
use crate::scheme::{Arm, Scheme};
use crate::token::{TokenId, Width};

/// Reads marked documents in order and opens each window once under each key.
#[derive(Debug)]
pub struct Reading<'a> {
    keys: Vec<Key<'a>>,
    documents: u32,
    /// Positions whose window had been consulted before, counted under each key.
    pub repeated: u64,
    /// Positions with too short a window, counted under each key.
    pub short_window: u64,
}

/// One key and the windows that were consulted under it.
#[derive(Debug)]
struct Key<'a> {
    scheme: &'a Scheme,
    weight: u8,
    consulted: HashSet<Box<[TokenId]>>,
}

impl<'a> Reading<'a> {
    /// Starts a reading under one scheme.
    ///
    /// # Errors
    /// Width 0: its one window is consulted by the first token. A mix, whose windows have two widths; and a scheme
    /// without draws of its own.
    pub fn new(scheme: &'a Scheme) -> Result<Self, ReadingError> {
        Self::pooled([(scheme, 1)])
    }

    /// Starts a reading under several unrelated keys, each with its weight. A key's window opens where *it* is new under
    /// that key; every document counts as one that the key marked.
    ///
    /// # Errors
    /// As [`Reading::new`], and a key that is there twice.
    pub fn pooled(schemes: impl IntoIterator<Item = (&'a Scheme, u8)>) -> Result<Self, ReadingError> {
        let (mut keys, mut origins) = (Vec::new(), BTreeSet::new());
        for (scheme, weight) in schemes {
            check(scheme)?;
            if !scheme.arms().iter().map(Arm::origin).all(|origin| origins.insert(origin)) {
                return Err(ReadingError::Twice);
            }
            keys.push(Key { scheme, weight, consulted: HashSet::new() });
        }
        Ok(Self { keys, documents: 0, repeated: 0, short_window: 0 })
    }

    /// Reads the next document: a first-turn exchange, `tokens` = prompt and answer. `predict(t)` gives the whole-number
    /// coefficients at position `t`, computed from `tokens[..t]` alone; it is asked only where a window is new.
    /// Returns one step a scored row and key, in order.
    pub fn document(
        &mut self,
        tokens: &[TokenId],
        prompt_len: usize,
        mut predict: impl FnMut(usize) -> Vec<(TokenId, i32)>,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        for at in 0..tokens.len() {
            let answered = u64::from(at >= prompt_len);
            let mut predicted = None;
            for key in &mut self.keys {
                let Some(window) = key.width().window(tokens, at) else {
                    self.short_window += answered;
                    continue;
                };
                if !key.consulted.insert(window.into()) {
                    self.repeated += answered;
                } else if answered > 0 {
                    let coefficients = predicted.get_or_insert_with(|| predict(at));
                    steps.extend(key.open(window, coefficients, self.documents));
                }
            }
        }
        self.documents += 1;
        steps
    }

    /// The number of documents read.
    pub fn documents(&self) -> u32 {
        self.documents
    }
}

impl Key<'_> {
    fn width(&self) -> Width {
        self.scheme.spec().width()
    }

    /// One step an arm.
    fn open(&self, window: &[TokenId], coefficients: &[(TokenId, i32)], document: u32) -> Vec<Step> {
        let weighed =
            coefficients.iter().map(|(token, a)| (*token, a.saturating_mul(i32::from(self.weight))));
        let weighed: Vec<(TokenId, i32)> = weighed.collect();
        let step = |arm: &Arm| {
            let seed = arm.seed(window);
            Step::open(arm.law(), document, &weighed, |token| arm.word(&seed, *token))
        };
        self.scheme.arms().iter().map(step).collect()
    }
}

fn check(scheme: &Scheme) -> Result<(), ReadingError> {
    if scheme.spec().width().tokens() == 0 {
        return Err(ReadingError::Width0);
    }
    if scheme.coin().is_some() || scheme.arms().is_empty() {
        return Err(ReadingError::Scheme);
    }
    Ok(())
}

/// Why a reading is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadingError {
    /// The unigram mark has one window, which the first token consults.
    #[error("reading marked text needs a window of at least one token: width 0 is refused")]
    Width0,
    /// One key there twice.
    #[error("a key is there twice: what is read under it would count twice")]
    Twice,
    /// Its windows have two widths, or no key.
    #[error(
        "marked text is read under one key and one width: a mix, and account marks without an account, are refused"
    )]
    Scheme,
}
