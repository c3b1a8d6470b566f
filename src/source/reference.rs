//! Reference models: what a language model without the mark expects of a text.

use sha2::{Digest, Sha256};
use taggant_model::ModelError;
use taggant_model::generate::{CausalModel, softmax};

use super::model::{Loaded, OpenError, weights_sha256};
use crate::token::TokenId;

/// One or several models of one vocabulary; several count as the mean of their probabilities.
///
/// Under H0 any model will do that does not depend on the key: the unmarked teacher, the suspect's declared base, a
/// student of unmarked answers. One that was trained on text marked under the scored key may accuse an innocent.
pub struct Reference {
    models: Vec<Box<dyn CausalModel>>,
    end: TokenId,
}

impl std::fmt::Debug for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reference").field("models", &self.models.len()).finish_non_exhaustive()
    }
}

impl Reference {
    /// Loads models by the names that [`Loaded::open`] knows; at least one.
    ///
    /// # Errors
    /// No name, a model that cannot be loaded, or two with different tokenizers.
    pub fn open(names: &[String]) -> Result<Self, ReferenceError> {
        let loaded: Vec<Loaded> = names.iter().map(|name| Loaded::open(name)).collect::<Result<_, _>>()?;
        let first = loaded.first().ok_or(ReferenceError::None)?;
        let (end, digest) = (first.end, first.tokenizer.digest());
        if let Some(other) = loaded.iter().position(|model| model.tokenizer.digest() != digest) {
            return Err(ReferenceError::Tokenizers(names[0].clone(), names[other].clone()));
        }
        Ok(Self { models: loaded.into_iter().map(|loaded| loaded.model).collect(), end })
    }

    /// What a plan names: SHA-256 of the weights of one model, or over those digests in the order of several.
    ///
    /// # Errors
    /// A model that cannot be read.
    pub fn sha256(names: &[String]) -> Result<[u8; 32], ReferenceError> {
        let digests: Vec<[u8; 32]> =
            names.iter().map(|name| weights_sha256(name)).collect::<Result<_, _>>()?;
        match digests[..] {
            [] => Err(ReferenceError::None),
            [one] => Ok(one),
            _ => Ok(Sha256::digest(digests.concat()).into()),
        }
    }

    /// The size of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.models[0].vocab_size()
    }

    /// The probabilities of every token before each token of `response`, one row after the other.
    ///
    /// A text longer than a model's context is read in stretches that overlap by half of it.
    ///
    /// # Errors
    /// A token id outside the vocabulary.
    pub fn rows(&self, prompt: &[TokenId], response: &[TokenId]) -> Result<Vec<f32>, ModelError> {
        let before: &[TokenId] = if prompt.is_empty() { &[self.end] } else { prompt };
        let tokens = [before, response].concat();
        let mut mean = vec![0.0; response.len() * self.vocabulary()];
        let share = self.models.iter().map(|_| 1.0_f32).sum::<f32>().recip();
        for model in &self.models {
            self.add(model.as_ref(), &tokens, before.len(), share, &mut mean)?;
        }
        Ok(mean)
    }

    fn add(
        &self,
        model: &dyn CausalModel,
        tokens: &[TokenId],
        first: usize,
        share: f32,
        sums: &mut [f32],
    ) -> Result<(), ModelError> {
        let (size, context) = (self.vocabulary(), model.context_len().max(2));
        // `next` is the first token without a row.
        let mut next = first;
        while next < tokens.len() {
            let start = if next < context { 0 } else { next - context / 2 };
            let end = (start + context).min(tokens.len() - 1);
            let mut logits = model.logits_all(&tokens[start..end])?;
            for row in logits.chunks_exact_mut(size).skip(next - start - 1) {
                softmax(row, 1.0);
                let sums = &mut sums[(next - first) * size..][..size];
                sums.iter_mut().zip(row).for_each(|(sum, p)| *sum += share * *p);
                next += 1;
            }
        }
        Ok(())
    }
}

/// Why there is no reference.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Nothing was named.
    #[error("no reference model was named")]
    None,
    /// Their rows mean different tokens.
    #[error("{0} and {1} have different tokenizers: their predictions cannot be averaged")]
    Tokenizers(String, String),
    /// A model.
    #[error(transparent)]
    Open(#[from] OpenError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_read_in_stretches_and_every_token_has_its_row() {
        let one = Reference::open(&["embedded".to_owned()]).unwrap();
        let response: Vec<TokenId> = (0..250).map(|at| 300 + at % 40).collect();
        let rows = one.rows(&[0, 300], &response).unwrap();
        let size = one.vocabulary();
        assert_eq!(rows.len(), response.len() * size);
        for row in rows.chunks_exact(size) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-3);
        }
        // As long as everything fits, the row is the model's own.
        let model = Loaded::open("embedded").unwrap().model;
        let mut logits = model.logits_all(&[0, 300, 300, 301]).unwrap();
        softmax(&mut logits[3 * size..], 1.0);
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert!(logits[3 * size..].iter().zip(&rows[2 * size..3 * size]).all(close));
        let two = Reference::open(&["embedded".to_owned(), "embedded".to_owned()]).unwrap();
        assert!(two.rows(&[0, 300], &response[..5]).unwrap().iter().zip(&rows).all(close));
        assert!(one.rows(&[], &response[..3]).is_ok());
        assert!(matches!(Reference::open(&[]), Err(ReferenceError::None)));
    }
}
