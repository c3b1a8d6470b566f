//! Token ids, windows and vocabularies: the alphabet that keys, schemes and scores share.

use std::fmt;

/// A token's number in its tokenizer's vocabulary. Every `u32` is a valid id.
pub type TokenId = u32;

/// The number of preceding tokens that select a step's randomness: 0 to 16.
///
/// Width 0 is the unigram mark: one window, the empty one, serves every position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Width(u8);

impl Width {
    /// The widest window.
    pub const MAX: u8 = 16;

    /// A width in tokens.
    ///
    /// # Errors
    /// More than [`Width::MAX`] tokens.
    pub fn new(tokens: u8) -> Result<Self, WidthError> {
        if tokens > Self::MAX { Err(WidthError(tokens)) } else { Ok(Self(tokens)) }
    }

    /// The width in tokens.
    pub fn tokens(self) -> usize {
        usize::from(self.0)
    }

    /// The window before `position` of `tokens`, oldest token first; `None` where fewer than `self` tokens
    /// precede it (such a position is unmarked).
    pub fn window(self, tokens: &[TokenId], position: usize) -> Option<&[TokenId]> {
        let start = position.checked_sub(self.tokens())?;
        tokens.get(start..position)
    }
}

/// A tokenizer, as far as text has to be held against tokens.
pub trait Spelling {
    /// The bytes that a token stands for; `None` for control tokens and ids without a token.
    fn bytes(&self, token: TokenId) -> Option<&[u8]>;

    /// The tokens of `text`, markup taken as text; `None` where it ends inside a character, is no text, or cannot be spelt.
    fn encode(&self, text: &[u8]) -> Option<Vec<TokenId>>;
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A window wider than 16 tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a window of {0} tokens is wider than 16")]
pub struct WidthError(u8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_reach_back_and_never_short() {
        let tokens = [5, 6, 7, 8];
        let two = Width::new(2).unwrap();
        assert_eq!(two.window(&tokens, 1), None);
        assert_eq!(two.window(&tokens, 2), Some(&tokens[0..2]));
        assert_eq!(two.window(&tokens, 4), Some(&tokens[2..4]));
        assert_eq!(Width::new(0).unwrap().window(&tokens, 0), Some(&[][..]));
        assert!(Width::new(17).is_err());
    }
}
