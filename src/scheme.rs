//! Schemes: what a step does to the logits, what a token's draw is, and the law of that draw.
//!
//! [`Spec`] is data: it is stored in plans and bundles, and its text is the label that derives the scheme key.
//! [`Spec::open`] gives behaviour: a [`Scheme`].

pub mod green;
pub mod gumbel;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::key::prf::{LaneBits, Lanes, Seed};
use crate::key::{EpochKey, Label, LabelError, SchemeKey};
use crate::law::{Law, Origin};
use crate::token::{TokenId, Width};
use green::Green;
use gumbel::Gumbel;

/// A scheme and its parameters: everything that changes the randomness, and nothing else.
///
/// Its text is canonical (`parse` and `to_string` are inverse) and is the label of its key. δ and temperature belong
/// to the embedder, not here.
///
/// ```
/// use taggant::scheme::Spec;
/// let spec: Spec = "green/1/w1/b2/t1".parse()?;
/// assert_eq!(spec.width().tokens(), 1);
/// assert!("green/1/w01/b2/t1".parse::<Spec>().is_err());
/// # Ok::<(), taggant::scheme::SpecError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Spec {
    /// `green/1/w<width>/b<bits>/t<threshold>`: a green list of share threshold / 2^bits.
    Green(green::Parameters),
    /// `gumbel/1/w<width>`: the Gumbel-max race, with one key or two arms.
    Gumbel(gumbel::Parameters),
}

impl Spec {
    /// The window's width.
    pub fn width(&self) -> Width {
        match self {
            Self::Green(parameters) => parameters.width,
            Self::Gumbel(parameters) => parameters.width,
        }
    }

    /// The law of one draw under H0.
    pub fn law(&self) -> Law {
        match self {
            Self::Green(parameters) => Law::Bernoulli(parameters.gamma),
            Self::Gumbel(_) => Law::Exponential,
        }
    }

    /// The label that derives the scheme key. Dual arms append `/arm/0` and `/arm/1` to it.
    pub fn label(&self) -> Label {
        Label::known(self.text())
    }

    /// Every label whose key this spec uses, given the label it was derived to (with `/vocab/…` or `/for/…` perhaps).
    /// Opening a spec opens all of them.
    pub fn labels(&self, label: &Label) -> Vec<Label> {
        match self {
            Self::Gumbel(gumbel::Parameters { arms: gumbel::Arms::Two, .. }) => {
                vec![label.arm(0), label.arm(1)]
            }
            _ => vec![label.clone()],
        }
    }

    /// This spec's behaviour under the keys of `epoch`.
    pub fn open(&self, epoch: &EpochKey) -> Scheme {
        let keys = self.labels(&self.label()).iter().map(|label| epoch.scheme_key(label)).collect();
        Scheme { spec: *self, arms: self.arms_of(keys) }
    }

    /// This spec's behaviour under opened label keys, one an arm.
    ///
    /// # Errors
    /// The number of keys, or a key's label, is not that of this spec.
    pub fn open_with(&self, keys: Vec<SchemeKey>) -> Result<Scheme, SpecError> {
        let wanted = self.labels(&self.label());
        let found: Vec<&Label> = keys.iter().map(SchemeKey::label).collect();
        let matches = wanted.len() == found.len()
            && wanted.iter().zip(&found).all(|(wanted, found)| same_purpose(wanted, found));
        let twice = keys
            .iter()
            .enumerate()
            .any(|(at, key)| keys[..at].iter().any(|earlier| earlier.hazmat_bytes() == key.hazmat_bytes()));
        if !matches || twice {
            return Err(SpecError::Keys { spec: self.text() });
        }
        Ok(Scheme { spec: *self, arms: self.arms_of(keys) })
    }

    fn arms_of(&self, keys: Vec<SchemeKey>) -> Vec<Arm> {
        let behaviour = |key: &SchemeKey| match self {
            Self::Green(parameters) => Arm::Green(Green::new(*parameters, key)),
            Self::Gumbel(parameters) => Arm::Gumbel(Gumbel::new(*parameters, key)),
        };
        keys.iter().map(behaviour).collect()
    }

    fn text(&self) -> String {
        match self {
            Self::Green(parameters) => parameters.to_string(),
            Self::Gumbel(parameters) => parameters.to_string(),
        }
    }
}

/// A key's label is the spec's own, or that with a vocabulary or an audience between scheme and arm.
fn same_purpose(wanted: &Label, found: &Label) -> bool {
    let (wanted, found) = (wanted.as_str(), found.as_str());
    let (scheme, arm) =
        wanted.split_once("/arm/").map_or((wanted, None), |(scheme, arm)| (scheme, Some(arm)));
    let Some(rest) = found.strip_prefix(scheme) else { return false };
    let rest = match arm {
        None => Some(rest),
        Some(arm) => rest.strip_suffix(arm).and_then(|rest| rest.strip_suffix("/arm/")),
    };
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("/vocab/") || rest.starts_with("/for/"))
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())?;
        if let Self::Gumbel(gumbel::Parameters { arms: gumbel::Arms::Two, .. }) = self {
            f.write_str("+2")?;
        }
        Ok(())
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let spec = match text.split('/').next() {
            Some("green") => text.parse().map(Self::Green)?,
            Some("gumbel") => text.parse().map(Self::Gumbel)?,
            _ => return Err(SpecError::Unknown(text.to_owned())),
        };
        if spec.to_string() == text { Ok(spec) } else { Err(SpecError::NotCanonical(text.to_owned())) }
    }
}

impl TryFrom<String> for Spec {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        text.parse()
    }
}

impl From<Spec> for String {
    fn from(spec: Spec) -> Self {
        spec.to_string()
    }
}

/// Why a spec is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// No scheme of this version has that name.
    #[error(
        "{0:?} names no scheme; this version knows green/1/w<width>/b<bits>/t<threshold> and gumbel/1/w<width>"
    )]
    Unknown(String),
    /// A parameter is missing, out of range or not a number.
    #[error("{spec:?}: {what}")]
    Parameter {
        /// The spec as given.
        spec: String,
        /// What is wrong and what would be right.
        what: String,
    },
    /// Another spelling of a valid spec, such as a leading zero.
    #[error("{0:?} is not in canonical form: no leading zeros, signs or further parts")]
    NotCanonical(String),
    /// Keys that belong to other labels.
    #[error("the keys given are not those of {spec}, or one of them was given twice")]
    Keys {
        /// The spec.
        spec: String,
    },
    /// Not the characters of a label.
    #[error(transparent)]
    Label(#[from] LabelError),
}

/// An opened spec: keyed behaviour, one arm a key.
#[derive(Debug)]
pub struct Scheme {
    spec: Spec,
    arms: Vec<Arm>,
}

impl Scheme {
    /// The spec.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The arms: one, or two for dual Gumbel. Their keys are unrelated, so their draws pool.
    pub fn arms(&self) -> &[Arm] {
        &self.arms
    }
}

/// One key's behaviour.
#[derive(Debug)]
#[non_exhaustive]
pub enum Arm {
    /// A green list.
    Green(Green),
    /// A Gumbel race.
    Gumbel(Gumbel),
}

impl Arm {
    /// Which key this arm holds, as the commitment to it.
    pub fn origin(&self) -> Origin {
        match self {
            Self::Green(green) => green.origin(),
            Self::Gumbel(gumbel) => gumbel.origin(),
        }
    }

    /// The seed of a window.
    pub fn seed(&self, window: &[TokenId]) -> Seed {
        match self {
            Self::Green(green) => green.seed(window),
            Self::Gumbel(gumbel) => gumbel.seed(window),
        }
    }

    /// The draw of `token` at the window of `seed`: 0 or 1 for a green list, the 32-bit lane for a Gumbel race.
    pub fn word(&self, seed: &Seed, token: TokenId) -> u32 {
        match self {
            Self::Green(green) => u32::from(green.is_green(seed, token)),
            Self::Gumbel(gumbel) => gumbel.word(seed, token),
        }
    }

    /// The draw of `token`, from the lanes of its window: as [`Arm::word`], quicker for many tokens.
    pub fn word_in(&self, lanes: &mut Lanes, token: TokenId) -> u32 {
        match self {
            Self::Green(green) => u32::from(green.is_green_in(lanes, token)),
            Self::Gumbel(_) => lanes.get(LaneBits::WORD, token),
        }
    }

    /// The draws of tokens `0..words.len()` at the window of `seed`, as [`Arm::word`] gives them.
    pub fn words(&self, seed: &Seed, words: &mut [u32]) {
        match self {
            Self::Green(green) => green.row(seed, words),
            Self::Gumbel(_) => seed.keystream().fill(words),
        }
    }

    /// Σ aX over the draws of tokens `0..coefficients.len()` at the window of `seed`.
    pub fn sum(&self, seed: &Seed, coefficients: &[i32]) -> f64 {
        match self {
            Self::Green(green) => to_f64(green.sum(seed, coefficients)),
            Self::Gumbel(gumbel) => gumbel.sum(seed, coefficients),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "sums of whole-number coefficients stay far below 2^53")]
fn to_f64(sum: i64) -> f64 {
    sum as f64
}

/// `w<width>`.
fn width(part: &str) -> Option<Width> {
    Width::new(green::number(part, 'w')?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_arms_of_one_key_are_refused() {
        let spec: Spec = "gumbel/1/w2+2".parse().unwrap();
        let keys = |bytes: [u8; 2]| {
            let labels = spec.labels(&spec.label()).into_iter().zip(bytes);
            let epoch = || "2026-q4".parse().unwrap();
            labels.map(|(label, byte)| SchemeKey::new(epoch(), label, [byte; 32])).collect::<Vec<_>>()
        };
        assert_eq!(spec.open_with(keys([1, 2])).unwrap().arms().len(), 2);
        // Their draws would be the same coins, and pooling them would count each twice.
        assert!(matches!(spec.open_with(keys([1, 1])), Err(SpecError::Keys { .. })));
        let swapped = keys([1, 2]).into_iter().rev().collect();
        assert!(matches!(spec.open_with(swapped), Err(SpecError::Keys { .. })));
    }
}
