//! Canaries and attribution: books, serving, reading, assignments, the ladder; and all of it over innocents.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may stop where it stands, and its numbers are no evidence"
)]

mod assignment;
mod attribution;
mod attribution_validity;
#[cfg(feature = "beacon")]
mod beacon;
mod choice;
mod families;
mod feasibility;
mod h0;
mod likelihood;
mod serving;
mod twins;
mod validity;
