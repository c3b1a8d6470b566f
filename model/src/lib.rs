//! Models for Taggant: where tokens and logits come from.
//!
//! This crate knows no keys and no statistics. It offers one seam, [`generate`]: a [`generate::CausalModel`] scores
//! rows of tokens, and a caller's function picks every next token, which is where a watermark acts.
//!
//! - [`gguf`] opens a GGUF file and gives its metadata and its weights in `f32`.
//! - [`llama`] runs the Llama family from such a file, many rows at a time.
//! - [`small`] is a small transformer of our own, and [`train`] teaches it.
//! - [`tokenizer`] turns text into tokens and back.

pub mod generate;
pub mod gguf;
pub mod llama;
mod math;
pub mod small;
pub mod tokenizer;
pub mod train;

use std::io;

/// Why a model, a tokenizer or a generation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file describes a model of another family.
    #[error("the model architecture is `{found}`; only `llama` is supported")]
    Architecture {
        /// What the file says.
        found: String,
    },
    /// The loss of a training stopped being a number.
    #[error("the training diverged at step {step}: lower the learning rate")]
    Diverged {
        /// The update that was not made.
        step: usize,
    },
    /// Every row needs at least one token to start from.
    #[error("prompt {row} is empty: give it at least one token")]
    EmptyPrompt {
        /// Index of the prompt.
        row: usize,
    },
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A metadata value has another type or lies out of range.
    #[error("the metadata key `{key}` is not {expected}")]
    Metadata {
        /// The key.
        key: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// A metadata key that the model needs is absent.
    #[error("the metadata key `{key}` is missing")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A tensor that the model needs is absent.
    #[error("the tensor `{name}` is missing")]
    MissingTensor {
        /// The tensor.
        name: String,
    },
    /// The file does not start like a GGUF file.
    #[error("{path} is not a GGUF file: it does not start with `GGUF`")]
    NotGguf {
        /// The file.
        path: String,
    },
    /// The arithmetic library refused an operation.
    #[error("a tensor operation failed: {0}")]
    Numeric(#[from] candle_core::Error),
    /// A row holds more tokens than the model can attend to.
    #[error("row {row} has {tokens} tokens, and the model's context is {context}: shorten the prompt")]
    RowTooLong {
        /// Index of the row.
        row: usize,
        /// Its tokens.
        tokens: usize,
        /// The model's context length, in tokens.
        context: usize,
    },
    /// A session was fed a different number of rows than it holds, or a row without tokens.
    #[error("the session holds {live} rows, and the input does not fit them: {reason}")]
    Rows {
        /// Rows in the session.
        live: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// A tensor has another shape than the metadata says.
    #[error("the tensor `{name}` has shape {found:?} instead of {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its dimensions in the file.
        found: Vec<usize>,
        /// The dimensions that follow from the metadata.
        expected: Vec<usize>,
    },
    /// A sampling setting is out of range.
    #[error("{setting} is {value}, and must be {range}")]
    Sampling {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        range: &'static str,
    },
    /// There is less text than a training or a measurement needs.
    #[error("the text has {tokens} tokens, and at least {needed} are needed")]
    TextTooShort {
        /// Tokens there are.
        tokens: usize,
        /// The fewest that do.
        needed: usize,
    },
    /// A token is not in the vocabulary.
    #[error(
        "token {token} is outside the model's vocabulary of {vocab}: was the text encoded with another tokenizer?"
    )]
    Token {
        /// The token.
        token: u32,
        /// Vocabulary size.
        vocab: usize,
    },
    /// The tokenizer cannot be built, or cannot encode or decode.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The file ends before its data do.
    #[error("{path} is cut short or damaged: {reason}")]
    Truncated {
        /// The file.
        path: String,
        /// Where it breaks off.
        reason: String,
    },
    /// The file holds a tensor that the forward pass would ignore.
    #[error(
        "the tensor `{name}` is not part of a supported model, and leaving it out would change the answers"
    )]
    UnknownTensor {
        /// The tensor.
        name: String,
    },
}
