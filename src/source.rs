//! Where tokens, logits and keys come from: the rim that does input and output.

mod distribution;
pub mod files;
pub mod keys;
pub mod line_up;
pub mod lines;
mod logprobs;
#[cfg(feature = "models")]
pub mod model;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "models")]
pub mod reference;
pub mod response;
pub mod scratch;
#[cfg(feature = "models")]
pub mod spelling;
pub mod text;
