//! Where tokens, logits and keys come from: the rim that does input and output.

pub mod files;
pub mod keys;
pub mod text;
