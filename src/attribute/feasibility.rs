//! What an attribution would need, and what there is: arithmetic of plans, printed beside every answer.
//!
//! A student learns from all accounts together, so a mark that belongs to one of n accounts reaches it diluted n-fold, and
//! z for that account falls by n: n² times the tokens. Canaries lie on prompts of their own and are not averaged; what
//! limits them is how many slots one account saw. Each number is an *approximation* of [`crate::stat::power`]'s kind.

use std::fmt;

use serde::Serialize;

use crate::stat::math::{ln, to_f64};
use crate::stat::power::{Hits, z_needed};
use crate::stat::{Rate, RateError};

/// What a plan assumes of a suspect. Nothing of it enters a test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Assumed {
    /// Accounts that may have fed the suspect.
    pub accounts: u64,
    /// How far the share of green tokens in the suspect's text lies above γ.
    pub tilt: f64,
    /// How far the chance of a served sibling lies above 1/K.
    pub recall: f64,
    /// K.
    pub siblings: u64,
    /// The share of the suspect's training answers that the campaign's key marked.
    pub share: f64,
}

/// The unit that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Distinct (window, token) pairs of the suspect's text.
    ScoredTokens,
    /// Distinct slots that were probed.
    Slots,
    /// Distinct slots that one account was served.
    SlotsAnAccount,
}

/// What one answer would need and what there is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Feasibility {
    /// What is to be done, such as "naming one of 25,000 accounts".
    pub what: String,
    /// How much it needs; none where nothing is enough.
    pub needed: Option<f64>,
    /// In what.
    pub unit: Unit,
    /// How much there is.
    pub have: u64,
}

impl Feasibility {
    /// Whether there is enough.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.needed.is_some_and(|needed| to_f64(self.have) >= needed)
    }
}

impl fmt::Display for Feasibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, needed, unit, have } = self;
        let have = grouped(to_f64(*have));
        match needed {
            Some(needed) => write!(f, "{what} needs about {} {unit}; you have {have}", grouped(*needed)),
            None => write!(f, "{what} is beyond any number of {unit}; you have {have}"),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ScoredTokens => "scored tokens",
            Self::Slots => "slots",
            Self::SlotsAnAccount => "slots of that account",
        })
    }
}

/// The distinct draws of chance γ with which a key that marked a `share` of what the suspect learned from reaches `z`, when
/// one that marked everything would raise the chance by `tilt`: γ(1−γ)(z / (share · tilt))².
#[must_use]
pub fn tokens(rate: Rate, tilt: f64, share: f64, z: f64) -> f64 {
    let ratio = z / (share * tilt);
    rate.p() * rate.complement().p() * ratio * ratio
}

/// The same for `accounts` keys of one account each, all pooled: their n statistics add to √n times one account's z, so
/// splitting a key n ways costs a factor n.
#[must_use]
pub fn tokens_of_split_keys(rate: Rate, tilt: f64, accounts: u64, z: f64) -> f64 {
    to_f64(accounts) * tokens(rate, tilt, 1.0, z)
}

/// z of one account, and of all pooled, when `channels` fair signs of each of `accounts` accounts are averaged by the
/// student: it shows yᵢ = ω · mean of the accounts' signs + noise of sd s, and an account's score is Σ yᵢ · its sign.
#[must_use]
pub fn averaged(accounts: u64, channels: u64, omega: f64, noise: f64) -> [f64; 2] {
    let n = to_f64(accounts);
    let account = to_f64(channels).sqrt() * (omega / n) / (omega * omega / n + noise * noise).sqrt();
    [account, n.sqrt() * account]
}

/// The fewest channels with which an account of `accounts` reaches `z` in [`averaged`] without any noise: n z².
#[must_use]
pub fn channels_floor(accounts: u64, z: f64) -> f64 {
    to_f64(accounts) * z * z
}

/// The length of a code that names one of c colluders of text with an error of e^`ln_miss`: 100 c² ln(1/ε) as first
/// given (Tardos 2003), and π²/2 · c² ln(1/ε) for the symmetric score (Škorić et al. 2008). A student is no such text.
#[must_use]
pub fn code_lengths(colluders: u64, ln_miss: f64) -> [f64; 2] {
    let square = to_f64(colluders) * to_f64(colluders) * -ln_miss;
    [100.0 * square, 0.5 * std::f64::consts::PI * std::f64::consts::PI * square]
}

impl Assumed {
    /// Whether `have` scored tokens of a green list show exposure to the global key at e^`ln_alpha`, with power 0.9.
    #[must_use]
    pub fn exposure(&self, rate: Rate, ln_alpha: f64, have: u64) -> Feasibility {
        let needed = Some(tokens(rate, self.tilt, 1.0, z_needed(ln_alpha, POWER)));
        Feasibility { what: "showing exposure".to_owned(), needed, unit: Unit::ScoredTokens, have }
    }

    /// The same for the campaign's own key.
    #[must_use]
    pub fn campaign(&self, rate: Rate, ln_alpha: f64, have: u64) -> Feasibility {
        let needed = Some(tokens(rate, self.tilt, self.share, z_needed(ln_alpha, POWER)));
        let what = format!("showing a campaign with {:.0} % of the training answers", 100.0 * self.share);
        Feasibility { what, needed, unit: Unit::ScoredTokens, have }
    }

    /// The same for one of `cohorts` cohorts of equal traffic.
    #[must_use]
    pub fn cohort(&self, rate: Rate, cohorts: u32, ln_alpha: f64, have: u64) -> Feasibility {
        let z = z_needed(ln_alpha, POWER);
        let needed = Some(tokens(rate, self.tilt, f64::from(cohorts).recip(), z));
        Feasibility { what: format!("one of {cohorts} cohorts"), needed, unit: Unit::ScoredTokens, have }
    }

    /// Whether `have` slots that anybody was served show exposure: recall above 1/K.
    ///
    /// # Errors
    /// Fewer than two siblings.
    pub fn exposure_by_canaries(&self, ln_alpha: f64, have: u64) -> Result<Feasibility, RateError> {
        self.by_slots("showing exposure", ln_alpha, have)
    }

    /// Whether `have` slots of the campaign's arm show a route, half (a): recall above 1/K.
    ///
    /// # Errors
    /// Fewer than two siblings.
    pub fn route(&self, ln_alpha: f64, have: u64) -> Result<Feasibility, RateError> {
        self.by_slots("showing the route", ln_alpha, have)
    }

    fn by_slots(&self, what: &str, ln_alpha: f64, have: u64) -> Result<Feasibility, RateError> {
        let needed = Hits::of_slots(self.siblings)?.needed(self.recall, ln_alpha, POWER).map(to_f64);
        Ok(Feasibility { what: what.to_owned(), needed, unit: Unit::Slots, have })
    }

    /// Whether one account of all is named by token statistics at the family-wise level e^`ln_alpha`.
    #[must_use]
    pub fn account_by_tokens(&self, rate: Rate, ln_alpha: f64, have: u64) -> Feasibility {
        let each = ln_alpha - ln(to_f64(self.accounts.max(1)));
        let share = to_f64(self.accounts.max(1)).recip();
        let needed = Some(tokens(rate, self.tilt, share, z_needed(each, POWER)));
        Feasibility { what: self.naming(), needed, unit: Unit::ScoredTokens, have }
    }

    /// Whether one account of all is named by its canaries; `have` is what the account with most slots was served.
    ///
    /// # Errors
    /// Fewer than two siblings.
    pub fn account_by_canaries(&self, ln_alpha: f64, have: u64) -> Result<Feasibility, RateError> {
        let each = ln_alpha - ln(to_f64(self.accounts.max(1)));
        let needed = Hits::of_slots(self.siblings)?.needed(self.recall, each, POWER).map(to_f64);
        Ok(Feasibility { what: self.naming(), needed, unit: Unit::SlotsAnAccount, have })
    }

    fn naming(&self) -> String {
        format!("naming one of {} accounts", grouped(to_f64(self.accounts)))
    }
}

/// The chance of success that a need is stated for.
const POWER: f64 = 0.9;

/// `25,000`, and `7e12` from ten million on.
fn grouped(number: f64) -> String {
    if number >= 1e7 {
        return format!("{number:.0e}");
    }
    let digits = format!("{:.0}", number.ceil());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_said_in_words() {
        let assumed = Assumed { accounts: 25_000, tilt: 0.03, recall: 0.01, siblings: 16, share: 0.05 };
        let half = Rate::new(1, 2).unwrap();
        let line = assumed.account_by_tokens(half, ln(1e-3), 2_000_000).to_string();
        assert_eq!(line, "naming one of 25,000 accounts needs about 8e12 scored tokens; you have 2,000,000");
        let route = assumed.route(ln(1e-6), 999).unwrap();
        assert!(route.to_string().ends_with("slots; you have 999") && !route.is_met(), "{route}");
        let none = Assumed { recall: 0.0, ..assumed }.route(ln(1e-6), 999).unwrap();
        assert_eq!(none.to_string(), "showing the route is beyond any number of slots; you have 999");
        assert!(assumed.exposure(half, ln(1e-6), 20_000).is_met());
    }
}
