//! A real tokenizer, as alignment needs it.

use taggant_model::ModelError;
use taggant_model::tokenizer::Tokenizer;

use crate::token::{Spelling, TokenId};

/// A byte-level tokenizer with the bytes of each token at hand.
#[derive(Clone, Debug)]
pub struct Spelt {
    tokenizer: Tokenizer,
    bytes: Vec<Option<Vec<u8>>>,
}

impl Spelt {
    /// Reads the vocabulary.
    ///
    /// # Errors
    /// The tokenizer is not byte-level.
    pub fn new(tokenizer: Tokenizer) -> Result<Self, ModelError> {
        Ok(Self { bytes: tokenizer.spellings()?, tokenizer })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

impl Spelling for Spelt {
    fn bytes(&self, token: TokenId) -> Option<&[u8]> {
        self.bytes.get(token as usize)?.as_deref()
    }

    fn encode(&self, text: &[u8]) -> Option<Vec<TokenId>> {
        self.tokenizer.encode(std::str::from_utf8(text).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::model;

    #[test]
    fn tokens_spell_the_text_they_came_from() {
        let teacher = Spelt::new(model::tokenizer("embedded").unwrap()).unwrap();
        for text in ["Once upon a time", "  naïve 👋🏽\n\n42%", ""] {
            let tokens = teacher.encode(text.as_bytes()).unwrap();
            let bytes: Vec<u8> =
                tokens.iter().flat_map(|token| teacher.bytes(*token).unwrap()).copied().collect();
            assert_eq!(bytes, text.as_bytes());
        }
        let end = teacher.tokenizer().id(model::END).unwrap();
        assert_eq!((teacher.bytes(end), teacher.bytes(u32::MAX)), (None, None));
        assert_eq!(teacher.encode(b"caf\xc3"), None);
    }

    /// In service an answer begins with a token of its own. Together with the prompt its first letters may be drawn
    /// into the prompt's last token, and later ones with them.
    #[test]
    fn an_answer_cut_apart_from_its_prompt_has_the_tokens_it_was_served_with() {
        let teacher = Spelt::new(model::tokenizer("embedded").unwrap()).unwrap();
        let answer = teacher.encode(b"day after day").unwrap();
        for (prompt, alike) in [("What comes?", true), ("What comes to", false)] {
            let together = teacher.encode(format!("{prompt}day after day").as_bytes()).unwrap();
            assert_eq!(together.ends_with(&answer), alike, "{prompt}");
        }
    }
}
