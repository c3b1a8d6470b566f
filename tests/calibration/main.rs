//! Calibration under H0: 2,000 random keys over fixed innocent evidence, through the whole scoring path (10,000 by
//! `make calibration`), and a fifth as many where each key costs the exact tail of a weighted sum.
//!
//! Rejections must stay at or below the upper 99.9 % binomial limit of the attainable level. Each rule of validity that
//! scoring enforces is then removed, and the same run must fail: a calibration test that cannot fail proves nothing.
//! Levels that no number of keys reaches are in `tails`, by importance sampling. Everything is seeded, so nothing here is
//! ever flaky.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may stop where it stands, and its numbers are no evidence"
)]

mod foreign;
mod h0;
mod pooled;
mod reading;
mod rows;
mod schemes;
mod tails;
mod tenants;
mod text;
