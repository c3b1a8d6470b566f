//! `mix/1`: a share of the positions carries one mark, the rest another, as a rule at another width.
//!
//! A narrow window is learnt from less text, a wide one shows less in a single answer; a mix serves both. Which part
//! marks a position is a keyed coin at the wider of the two windows, so embedder and verifier agree on it without a
//! word between them. Coin and parts have keys of their own.

use std::fmt;
use std::str::FromStr;

use super::{Spec, SpecError, green, gumbel, tournament};
use crate::key::SchemeKey;
use crate::key::prf::{LaneBits, WindowPrf};
use crate::token::{TokenId, Width};

/// Parameters of a mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parameters {
    /// Of 256 positions, how many part 0 marks: 1 to 255.
    pub share: u8,
    /// What marks them.
    pub parts: [Part; 2],
}

/// What can be a part: a scheme with one key, and draws that need no more than a window and a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// A green list.
    Green(green::Parameters),
    /// A Gumbel race with one arm.
    Gumbel(Width),
    /// A tournament.
    Tournament(tournament::Parameters),
}

impl Part {
    /// The same scheme on its own.
    pub fn spec(self) -> Spec {
        match self {
            Self::Green(parameters) => Spec::Green(parameters),
            Self::Gumbel(width) => Spec::Gumbel(gumbel::Parameters { width, arms: gumbel::Arms::One }),
            Self::Tournament(parameters) => Spec::Tournament(parameters),
        }
    }

    /// The window's width.
    pub fn width(self) -> Width {
        self.spec().width()
    }

    fn of(spec: Spec) -> Option<Self> {
        match spec {
            Spec::Green(parameters) => Some(Self::Green(parameters)),
            Spec::Gumbel(gumbel::Parameters { width, arms: gumbel::Arms::One }) => Some(Self::Gumbel(width)),
            Spec::Tournament(parameters) => Some(Self::Tournament(parameters)),
            Spec::Gumbel(_) | Spec::Mix(_) | Spec::Payload(_) => None,
        }
    }
}

impl Parameters {
    /// The wider of the two windows: the coin's.
    pub fn width(&self) -> Width {
        self.parts[0].width().max(self.parts[1].width())
    }

    /// The narrower of them.
    pub fn narrow(&self) -> Width {
        self.parts[0].width().min(self.parts[1].width())
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = self.parts.map(Part::spec);
        write!(f, "mix/1/{}/{a}/{b}", self.share)
    }
}

impl FromStr for Parameters {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let wrong = |what: &str| SpecError::Parameter { spec: text.to_owned(), what: what.to_owned() };
        let rest = text.strip_prefix("mix/1/").and_then(|rest| rest.split_once('/'));
        let (share, labels) =
            rest.ok_or_else(|| wrong("expected mix/1/<share of 256>/<label A>/<label B>"))?;
        let share = share.parse().ok().filter(|share| *share > 0);
        // A label says itself how many parts it has, so at most one cut gives two of them.
        let cut = |(at, _)| Some([part(&labels[..at])?, part(&labels[at + 1..])?]);
        let parts = labels.match_indices('/').find_map(cut);
        Ok(Self {
            share: share.ok_or_else(|| wrong("the share is 1 to 255, of 256"))?,
            parts: parts
                .ok_or_else(|| wrong("the parts are green, tournament or one-armed gumbel labels"))?,
        })
    }
}

/// A part from its label. No label of a mix is looked into further: mixes do not nest.
fn part(label: &str) -> Option<Part> {
    if label.starts_with("mix/") { None } else { label.parse().ok().and_then(Part::of) }
}

/// The coin that says which part marks a position.
#[derive(Debug)]
pub struct Coin {
    share: u8,
    prf: WindowPrf,
}

impl Coin {
    pub(super) fn new(parameters: Parameters, key: &SchemeKey) -> Self {
        Self { share: parameters.share, prf: key.prf() }
    }

    /// The part that marks the position after `window`, which has the wider width: 0 or 1.
    pub fn part(&self, window: &[TokenId]) -> usize {
        usize::from(self.lane(window) >= self.share)
    }

    /// The coin itself, 0 to 255: lane 0 of 8 bits.
    pub fn lane(&self, window: &[TokenId]) -> u8 {
        self.prf.seed(window).lane(LaneBits::BYTE, 0).to_le_bytes()[0]
    }
}
