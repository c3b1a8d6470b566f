//! Adaptive evidence: the suspect reads text that was marked under the scored key, and predicts.
//!
//! Let F_t be everything read up to position t of the documents in their fixed order. A row is scored where its window
//! was never consulted in F_t; its coefficients come from the prefix alone; then its draws are opened. So each factor of
//! the e-process has conditional mean 1 under H0, whatever the text did before. What would break it: scoring the marked
//! token itself, a window twice, or documents chosen by how they went on.

use std::collections::HashSet;

use crate::law::Step;
use crate::scheme::Scheme;
use crate::token::TokenId;

/// Reads marked documents in order and opens each window once.
#[derive(Debug)]
pub struct Reading<'a> {
    scheme: &'a Scheme,
    consulted: HashSet<Box<[TokenId]>>,
    documents: u32,
    /// Positions whose window had been consulted before.
    pub repeated: u64,
    /// Positions with too short a window.
    pub short_window: u64,
}

impl<'a> Reading<'a> {
    /// Starts a reading under one arm's scheme.
    ///
    /// # Errors
    /// Width 0: its one window is consulted by the first token. A mix, whose windows have two widths; and a scheme
    /// without draws of its own.
    pub fn new(scheme: &'a Scheme) -> Result<Self, ReadingError> {
        if scheme.spec().width().tokens() == 0 {
            return Err(ReadingError::Width0);
        }
        if scheme.coin().is_some() || scheme.arms().is_empty() {
            return Err(ReadingError::Scheme);
        }
        Ok(Self { scheme, consulted: HashSet::new(), documents: 0, repeated: 0, short_window: 0 })
    }

    /// Reads the next document: a first-turn exchange, `tokens` = prompt and answer. `predict(t)` gives the whole-number
    /// coefficients at position `t`, computed from `tokens[..t]` alone; it is asked only where a window is new.
    /// Returns one step a scored row, in order.
    pub fn document(
        &mut self,
        tokens: &[TokenId],
        prompt_len: usize,
        mut predict: impl FnMut(usize) -> Vec<(TokenId, i32)>,
    ) -> Vec<Step> {
        let width = self.scheme.spec().width();
        let mut steps = Vec::new();
        for at in 0..tokens.len() {
            let Some(window) = width.window(tokens, at) else {
                self.short_window += u64::from(at >= prompt_len);
                continue;
            };
            if !self.consulted.insert(window.into()) {
                self.repeated += u64::from(at >= prompt_len);
                continue;
            }
            if at < prompt_len {
                continue;
            }
            let coefficients = predict(at);
            for arm in self.scheme.arms() {
                let seed = arm.seed(window);
                steps.push(Step::open(arm.law(), self.documents, &coefficients, |token| {
                    arm.word(&seed, *token)
                }));
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

/// Why a reading is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadingError {
    /// The unigram mark has one window, which the first token consults.
    #[error("reading marked text needs a window of at least one token: width 0 is refused")]
    Width0,
    /// Its windows have two widths, or no key.
    #[error(
        "marked text is read under one key and one width: a mix, and account marks without an account, are refused"
    )]
    Scheme,
}
