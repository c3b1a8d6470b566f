//! Draws and their tails: everything that Taggant knows about chance.

mod inversion;
pub mod lattice;
pub mod math;
mod rate;
pub mod tail;

pub use rate::{Rate, RateError};
