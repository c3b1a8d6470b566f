//! Draws and their tails: everything that Taggant knows about chance. It knows no scheme, no text and no model.
//!
//! # One statistic
//!
//! Every claim rests on one kind of number,
//!
//! ```text
//! S = Σ aᵢ Xᵢ ,
//! ```
//!
//! a sum over *draws*: random variables that a secret key made. Nothing has to be assumed about them, because
//! we made them. If the suspect has nothing to do with the key (this is H0), then each Xᵢ has a known law, they
//! are independent, and the coefficients aᵢ were fixed without the key. So P(S ≥ s) has one exact value: no
//! model of language, no asymptotics, no calibration set.
//!
//! # Which tail
//!
//! The type of the sum decides, never the smaller number:
//!
//! | draws | coefficients | tail |
//! |---|---|---|
//! | keyed coins, keyed choices | whole numbers | exact: [`lattice::lattice_ln_sf`], for equal ones the binomial in closed form |
//! | layers of m fair coins | whole numbers | the same: n of them with one coefficient are m·n coins |
//! | exponential (never above Exp(1)) | 1 | that of the Gamma law: [`tail::gamma_ln_sf`] |
//! | exponential, or mixed with others | real | Chernoff's bound: [`chernoff::chernoff_ln_sf`] |
//! | assigned to one of two arms by the key, within strata | – | hypergeometric: [`strata::stratified_ln_sf`] |
//! | any, looked at while they come in | real | [`eprocess::EProcess`], valid whenever one stops |
//!
//! Everything is a natural logarithm, because p-values far below 1e-308 occur; and everything is the same on
//! every machine, because [`math`] does not use the platform's functions.
//!
//! ```
//! use taggant::stat::Rate;
//! use taggant::stat::lattice::{LatticeTerm, lattice_ln_sf};
//!
//! // Fair coins: a thousand that count once and ten that count thirty times; the sum reached 800.
//! let fair = Rate::new(1, 2)?;
//! let terms = [LatticeTerm::coins(1, fair, 1000), LatticeTerm::coins(30, fair, 10)];
//! let tail = lattice_ln_sf(&terms, 800)?;
//! assert!(tail.ln_p < -7.0 && tail.ln_p >= tail.estimate);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Around it
//!
//! [`rank`] makes a draw of where the served one of several answers stands. [`estimate`] says how large an effect
//! is, [`confidence`] the same for somebody who looks after every exchange, [`multiple`] what several tests at
//! once cost, [`candidates`] names one of many accounts or nobody,
//! [`foreign`] bounds what other engines' marks show, [`power`] says how much is needed to see
//! anything. [`cumulant`] and the tilting behind [`lattice`] are the machinery.
//!
//! Four modules give numbers that are never a verdict: [`hoeffding`] bounds as published tests do, [`redraw`] and [`importance`] check one by simulation, of
//! the key or of the draws, and [`saddlepoint`] is quick and close, for plans and displays. [`verdict`] uses none
//! of them.

pub mod attainable;
pub mod calibration;
pub mod candidates;
pub mod chernoff;
pub mod confidence;
mod convolution;
pub mod cumulant;
pub mod eprocess;
pub mod estimate;
pub mod foreign;
mod gathered;
pub mod hoeffding;
pub mod importance;
mod inversion;
pub mod lattice;
pub mod math;
pub mod multiple;
pub mod power;
pub mod rank;
mod rate;
pub mod redraw;
pub mod saddlepoint;
pub mod strata;
pub mod tail;
mod tilting;
pub mod verdict;

pub use rate::{Rate, RateError};
