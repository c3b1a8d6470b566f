//! Taggant.

#[cfg(feature = "cli")]
pub mod cli;
pub mod case;
pub mod embed;
pub mod key;
pub mod law;
pub mod scheme;
pub mod score;
pub mod source;
pub mod stat;
pub mod token;
