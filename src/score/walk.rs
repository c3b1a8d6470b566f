//! From an answer's positions to the draws they show: the rules that need no key and no memory of other answers.

use std::ops::Range;

use hashbrown::HashSet;

use super::{Exchange, Provenance, ScoreError, Skipped};
use crate::token::{TokenId, Width};

/// What a position shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown<'c> {
    /// This token after this window.
    Draw(&'c [TokenId], TokenId),
    /// Nothing: the exchange's input may be marked.
    MarkedInput,
    /// Nothing: its window lies inside the row's prompt.
    PromptWindow,
    /// Nothing: fewer than `width` known predecessors.
    ShortWindow,
}

impl Shown<'_> {
    /// Counts what shows nothing.
    pub(super) fn skip(self, skipped: &mut Skipped) {
        match self {
            Self::Draw(..) => {}
            Self::MarkedInput => skipped.marked_input += 1,
            Self::PromptWindow => skipped.prompt_window += 1,
            Self::ShortWindow => skipped.short_window += 1,
        }
    }
}

/// One exchange, position by position.
#[derive(Debug)]
pub(super) struct Walk<'e> {
    width: Width,
    exchange: &'e Exchange,
    context: Vec<TokenId>,
    excluded: HashSet<&'e [TokenId]>,
}

impl<'e> Walk<'e> {
    /// Of an exchange at a width.
    ///
    /// # Errors
    /// Marked inputs at width 0.
    pub(super) fn new(width: Width, exchange: &'e Exchange) -> Result<Self, ScoreError> {
        check_input(width, exchange)?;
        let context = [&exchange.prompt[..], &exchange.response[..]].concat();
        Ok(Self { width, exchange, context, excluded: windows_of_prompt(width, exchange) })
    }

    /// The exchange.
    pub(super) fn exchange(&self) -> &'e Exchange {
        self.exchange
    }

    /// Prompt and answer.
    pub(super) fn context(&self) -> &[TokenId] {
        &self.context
    }

    /// The answer's positions.
    pub(super) fn positions(&self) -> Range<usize> {
        self.exchange.prompt.len()..self.context.len()
    }

    /// What a position shows.
    pub(super) fn at(&self, at: usize) -> Shown<'_> {
        if self.exchange.provenance == Provenance::Marked {
            return Shown::MarkedInput;
        }
        let first_known = if self.exchange.whole_context { 0 } else { self.exchange.prompt.len() };
        let known = |_: &&[TokenId]| at - self.width.tokens() >= first_known;
        let Some(window) = self.width.window(&self.context, at).filter(known) else {
            return Shown::ShortWindow;
        };
        if !self.excluded.is_empty() && self.excluded.contains(looked_up(self.width, &self.context, at)) {
            return Shown::PromptWindow;
        }
        Shown::Draw(window, self.context[at])
    }
}

/// At width 0 no exclusion makes a marked input safe.
pub(super) fn check_input(width: Width, exchange: &Exchange) -> Result<(), ScoreError> {
    if exchange.provenance == Provenance::Marked && width.tokens() == 0 {
        return Err(ScoreError::MarkedInputAtWidth0);
    }
    Ok(())
}

/// What the prompt rule looks up at position `at`: the window of `width`, at width 0 the token.
pub(super) fn looked_up(width: Width, context: &[TokenId], at: usize) -> &[TokenId] {
    if width.tokens() == 0 { &context[at..=at] } else { width.window(context, at).unwrap_or_default() }
}

/// What the prompt rule excludes in rows of unknown origin: every window of `width` that lies inside the prompt, the one
/// at its very end included; at width 0 its tokens.
pub(super) fn windows_of_prompt(width: Width, exchange: &Exchange) -> HashSet<&[TokenId]> {
    if exchange.provenance != Provenance::Unknown {
        return HashSet::new();
    }
    exchange.prompt.windows(width.tokens().max(1)).collect()
}
