//! Schemes: what a step does to the logits, what a token's draw is, and the law of that draw.
//!
//! [`Spec`] is data: it is stored in plans and bundles, and its text is the label that derives the scheme key.
//! [`Spec::open`] gives behaviour: a [`Scheme`].

pub mod foreign;
pub mod green;
pub mod gumbel;
pub mod mix;
pub mod payload;
pub mod tournament;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::key::prf::{self, LaneBits, Lanes, Seed};
use crate::key::{Audience, EpochKey, Label, LabelError, SchemeKey};
use crate::law::{Law, Origin};
use crate::token::{TokenId, Width};
use green::Green;
use gumbel::{Arms, Gumbel};
use mix::Coin;
use payload::{Accounts, Payload};
use tournament::Tournament;

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
    /// `mix/1/<share of 256>/<label>/<label>`: a share of the positions under one scheme, the rest under another.
    Mix(mix::Parameters),
    /// `payload/1/w<width>`: a green list for each account.
    Payload(payload::Parameters),
    /// `tournament/1/w<width>/d<depth>`: layers of two-way tournaments.
    Tournament(tournament::Parameters),
}

impl Spec {
    /// The window's width; of a mix the wider one, which its coin needs.
    pub fn width(&self) -> Width {
        match self {
            Self::Green(parameters) => parameters.width,
            Self::Gumbel(parameters) => parameters.width,
            Self::Mix(parameters) => parameters.width(),
            Self::Payload(parameters) => parameters.width,
            Self::Tournament(parameters) => parameters.width,
        }
    }

    /// The law of each draw under H0; none for a mix whose parts have different ones ([`Arm::law`] knows them).
    pub fn law(&self) -> Option<Law> {
        match self {
            Self::Green(parameters) => Some(Law::Bernoulli(parameters.gamma)),
            Self::Gumbel(_) => Some(Law::Exponential),
            Self::Mix(mix::Parameters { parts: [a, b], .. }) => {
                let (a, b) = (a.spec().law(), b.spec().law());
                a.filter(|law| Some(*law) == b)
            }
            Self::Payload(_) => Some(Law::Bernoulli(payload::gamma())),
            Self::Tournament(parameters) => Some(Law::Layers(parameters.depth.layers())),
        }
    }

    /// The label that derives the scheme key. What has several keys appends to it: `/arm/…`, `/part/…`, `/coin`.
    pub fn label(&self) -> Label {
        Label::known(self.text())
    }

    /// Every label whose key this spec uses, given the label it was derived to (with `/vocab/…` or `/for/…` perhaps).
    /// Opening a spec opens all of them.
    pub fn labels(&self, label: &Label) -> Vec<Label> {
        self.purposes().iter().map(|purpose| Label::known(format!("{label}{purpose}"))).collect()
    }

    /// What the labels of this spec's keys end in.
    fn purposes(&self) -> &'static [&'static str] {
        match self {
            Self::Gumbel(gumbel::Parameters { arms: Arms::Two, .. }) => &["/arm/0", "/arm/1"],
            Self::Mix(_) => &["/part/0", "/part/1", "/coin"],
            Self::Green(_) | Self::Gumbel(_) | Self::Payload(_) | Self::Tournament(_) => &[""],
        }
    }

    /// This spec's behaviour under the keys of `epoch`.
    pub fn open(&self, epoch: &EpochKey) -> Scheme {
        self.under(epoch, &self.label())
    }

    /// The same under the keys that are for `id` alone, such as a tenant.
    pub fn open_for(&self, epoch: &EpochKey, audience: Audience, id: &str) -> Scheme {
        self.under(epoch, &self.label().audience(audience, id))
    }

    fn under(&self, epoch: &EpochKey, label: &Label) -> Scheme {
        let keys: Vec<SchemeKey> = self.labels(label).iter().map(|label| epoch.scheme_key(label)).collect();
        Scheme::new(*self, &keys)
    }

    /// This spec's behaviour under opened label keys, in the order of [`Spec::labels`].
    ///
    /// # Errors
    /// The number of keys, or a key's label, is not that of this spec.
    pub fn open_with(&self, keys: Vec<SchemeKey>) -> Result<Scheme, SpecError> {
        let (scheme, purposes) = (self.text(), self.purposes());
        let found: Vec<&Label> = keys.iter().map(SchemeKey::label).collect();
        let matches = purposes.len() == found.len()
            && purposes.iter().zip(&found).all(|(purpose, found)| has_purpose(found, &scheme, purpose));
        let twice = keys
            .iter()
            .enumerate()
            .any(|(at, key)| keys[..at].iter().any(|earlier| earlier.hazmat_bytes() == key.hazmat_bytes()));
        if !matches || twice {
            return Err(SpecError::Keys { spec: self.text() });
        }
        Ok(Scheme::new(*self, &keys))
    }

    fn text(&self) -> String {
        match self {
            Self::Green(parameters) => parameters.to_string(),
            Self::Gumbel(parameters) => parameters.to_string(),
            Self::Mix(parameters) => parameters.to_string(),
            Self::Payload(parameters) => parameters.to_string(),
            Self::Tournament(parameters) => parameters.to_string(),
        }
    }
}

/// A key's label is the spec's own, or that with a vocabulary or an audience between scheme and purpose.
fn has_purpose(found: &Label, scheme: &str, purpose: &str) -> bool {
    let rest = found.as_str().strip_prefix(scheme).and_then(|rest| rest.strip_suffix(purpose));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("/vocab/") || rest.starts_with("/for/"))
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())?;
        if let Self::Gumbel(gumbel::Parameters { arms: Arms::Two, .. }) = self {
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
            Some("mix") => text.parse().map(Self::Mix)?,
            Some("payload") => text.parse().map(Self::Payload)?,
            Some("tournament") => text.parse().map(Self::Tournament)?,
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
        "{0:?} names no scheme; this version knows green/1/w<width>/b<bits>/t<threshold>, gumbel/1/w<width>, \
         tournament/1/w<width>/d<depth>, mix/1/<share of 256>/<label>/<label> and payload/1/w<width>"
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
    coin: Option<Coin>,
    accounts: Option<Accounts>,
}

impl Scheme {
    /// `keys` are those of [`Spec::labels`], in their order.
    fn new(spec: Spec, keys: &[SchemeKey]) -> Self {
        let arms =
            |spec: Spec, keys: &[SchemeKey]| keys.iter().filter_map(|key| Arm::of(spec, key)).collect();
        match (spec, keys) {
            (Spec::Mix(parameters), [a, b, coin]) => {
                let parts = parameters.parts.iter().zip([a, b]);
                let arms = parts.filter_map(|(part, key)| Arm::of(part.spec(), key)).collect();
                Self { spec, arms, coin: Some(Coin::new(parameters, coin)), accounts: None }
            }
            (Spec::Payload(parameters), [key]) => {
                let accounts = Some(Accounts::new(parameters, key));
                Self { spec, arms: Vec::new(), coin: None, accounts }
            }
            _ => Self { spec, arms: arms(spec, keys), coin: None, accounts: None },
        }
    }

    /// The spec.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The arms: one, two for dual Gumbel and a mix, none for account marks before [`Scheme::for_account`]. Their keys
    /// are unrelated, so their draws pool.
    pub fn arms(&self) -> &[Arm] {
        &self.arms
    }

    /// The coin of a mix.
    pub fn coin(&self) -> Option<&Coin> {
        self.coin.as_ref()
    }

    /// The bits of all accounts, where the scheme has them.
    pub fn accounts(&self) -> Option<&Accounts> {
        self.accounts.as_ref()
    }

    /// The marks of one account, which then are the scheme's only arm. Other schemes mark every account alike.
    #[must_use]
    pub fn for_account(mut self, account: u64) -> Self {
        if let Some(accounts) = &self.accounts {
            self.arms = vec![Arm::Payload(accounts.of(account))];
        }
        self
    }

    /// Which arm marks the position `at` of `tokens`, and the window it does so by; none where too few tokens precede it.
    /// Of dual arms, one of which a fresh coin picks in service, it is the first.
    pub fn marking<'t>(&self, tokens: &'t [TokenId], at: usize) -> Option<(usize, &'t [TokenId])> {
        let window = self.spec.width().window(tokens, at)?;
        let arm = self.coin.as_ref().map_or(0, |coin| coin.part(window));
        let width = self.arms.get(arm)?.width();
        Some((arm, &window[window.len() - width.tokens()..]))
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
    /// An account's green list.
    Payload(Payload),
    /// A tournament.
    Tournament(Tournament),
}

impl Arm {
    /// The arm of a spec that has one behaviour for each of its keys.
    fn of(spec: Spec, key: &SchemeKey) -> Option<Self> {
        match spec {
            Spec::Green(parameters) => Some(Self::Green(Green::new(parameters, key))),
            Spec::Gumbel(parameters) => Some(Self::Gumbel(Gumbel::new(parameters, key))),
            Spec::Tournament(parameters) => Some(Self::Tournament(Tournament::new(parameters, key))),
            Spec::Mix(_) | Spec::Payload(_) => None,
        }
    }

    /// The window's width, which in a mix is the arm's own.
    pub fn width(&self) -> Width {
        match self {
            Self::Green(green) => green.width(),
            Self::Gumbel(gumbel) => gumbel.width(),
            Self::Payload(payload) => payload.width(),
            Self::Tournament(tournament) => tournament.width(),
        }
    }

    /// The law of this arm's draws under H0.
    pub fn law(&self) -> Law {
        match self {
            Self::Green(green) => Law::Bernoulli(green.gamma()),
            Self::Gumbel(_) => Law::Exponential,
            Self::Payload(_) => Law::Bernoulli(payload::gamma()),
            Self::Tournament(tournament) => Law::Layers(tournament.depth().layers()),
        }
    }

    /// Whether answers keep the model's own distribution, token by token and over random keys. Then a window marks once
    /// in an answer, or the answer would repeat itself.
    pub fn is_distortion_free(&self) -> bool {
        matches!(self, Self::Gumbel(_) | Self::Tournament(_))
    }

    /// Which key this arm holds, as the commitment to it.
    pub fn origin(&self) -> Origin {
        match self {
            Self::Green(green) => green.origin(),
            Self::Gumbel(gumbel) => gumbel.origin(),
            Self::Payload(payload) => payload.origin(),
            Self::Tournament(tournament) => tournament.origin(),
        }
    }

    /// The seed of a window.
    pub fn seed(&self, window: &[TokenId]) -> Seed {
        match self {
            Self::Green(green) => green.seed(window),
            Self::Gumbel(gumbel) => gumbel.seed(window),
            Self::Payload(payload) => payload.seed(window),
            Self::Tournament(tournament) => tournament.seed(window),
        }
    }

    /// The seeds of windows of its width, added to `seeds` in their order: quicker than one by one.
    pub fn seeds(&self, windows: &[&[TokenId]], seeds: &mut Vec<Seed>) {
        match self {
            Self::Green(green) => green.seeds(windows, seeds),
            Self::Gumbel(gumbel) => gumbel.seeds(windows, seeds),
            Self::Payload(payload) => seeds.extend(windows.iter().map(|window| payload.seed(window))),
            Self::Tournament(tournament) => tournament.seeds(windows, seeds),
        }
    }

    /// The draw of `token` at the window of `seed`: 0 or 1 for a green list, the 32-bit lane for a Gumbel race or a
    /// tournament. [`Law::value`] says what it counts.
    pub fn word(&self, seed: &Seed, token: TokenId) -> u32 {
        match self {
            Self::Green(green) => u32::from(green.is_green(seed, token)),
            Self::Gumbel(gumbel) => gumbel.word(seed, token),
            Self::Payload(payload) => u32::from(payload.bit(seed, token)),
            Self::Tournament(tournament) => tournament.word(seed, token),
        }
    }

    /// The draw of `token`, from the lanes of its window: as [`Arm::word`], quicker for many tokens.
    pub fn word_in(&self, lanes: &mut Lanes, token: TokenId) -> u32 {
        match self {
            Self::Green(green) => u32::from(green.is_green_in(lanes, token)),
            Self::Gumbel(_) | Self::Tournament(_) => lanes.get(LaneBits::WORD, token),
            // An account owns a bit of a whole block, and no lane of the window's own stream.
            Self::Payload(payload) => u32::from(lanes.account_bit(payload.account(), token)),
        }
    }

    /// Shows the draws of `coins`, each the number of a seed in `seeds` and a token, in their order, as [`Arm::word`] gives
    /// them: quicker where windows are asked for few tokens each.
    ///
    /// # Panics
    /// A number beyond `seeds`.
    pub fn visit(&self, seeds: &[Seed], coins: &[(u32, TokenId)], mut see: impl FnMut(u32)) {
        match self {
            Self::Green(green) => green.visit(seeds, coins, |green| see(u32::from(green))),
            Self::Gumbel(_) | Self::Tournament(_) => prf::visit_lanes(LaneBits::WORD, seeds, coins, see),
            Self::Payload(payload) => {
                let bit = |(seed, token): &(u32, TokenId)| payload.bit(&seeds[*seed as usize], *token);
                coins.iter().for_each(|coin| see(u32::from(bit(coin))));
            }
        }
    }

    /// The draws of tokens `0..words.len()` at the window of `seed`, as [`Arm::word`] gives them.
    pub fn words(&self, seed: &Seed, words: &mut [u32]) {
        match self {
            Self::Green(green) => green.row(seed, words),
            Self::Gumbel(_) | Self::Tournament(_) => seed.keystream().fill(words),
            Self::Payload(payload) => {
                (0..).zip(words).for_each(|(token, word)| *word = u32::from(payload.bit(seed, token)));
            }
        }
    }

    /// Σ aX over the draws of tokens `0..coefficients.len()` at the window of `seed`.
    pub fn sum(&self, seed: &Seed, coefficients: &[i32]) -> f64 {
        match self {
            Self::Green(green) => to_f64(green.sum(seed, coefficients)),
            // Their words follow each other in the stream: a word a token.
            Self::Gumbel(_) | Self::Tournament(_) => {
                let (mut stream, law) = (seed.keystream(), self.law());
                coefficients.iter().map(|a| f64::from(*a) * law.value(stream.next_word())).sum()
            }
            Self::Payload(payload) => {
                let bit =
                    |(token, a): (TokenId, &i32)| if payload.bit(seed, token) { f64::from(*a) } else { 0.0 };
                (0..).zip(coefficients).map(bit).sum()
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "sums of whole-number coefficients stay far below 2^53")]
fn to_f64(sum: i64) -> f64 {
    sum as f64
}

/// Tokens with a positive probability, in order.
fn survivors(probabilities: &[f32]) -> impl Iterator<Item = (TokenId, f32)> {
    /// Probabilities that are looked at together: after a truncation nearly all hold zeros only, and a sum of bits is
    /// quicker than as many branches.
    const CHUNK: usize = 64;
    let chunks = (0..).step_by(CHUNK).zip(probabilities.chunks(CHUNK));
    chunks
        .filter(|(_, chunk)| chunk.iter().fold(0, |bits, p| bits | p.to_bits()) != 0)
        .flat_map(|(start, chunk)| (start..).zip(chunk.iter().copied()))
        .filter(|(_, p)| *p > 0.0)
}

/// The words of candidates at the window of `seed`, in their order. Few among many tokens, as after a truncation, are read
/// from blocks that are made apart from each other; else blocks follow one another.
fn words(seed: &Seed, candidates: &[(TokenId, f32)]) -> Vec<u32> {
    /// Tokens that share a block of the keystream.
    const BLOCK: usize = 16;
    let span = candidates.iter().map(|(token, _)| *token as usize + 1).max().unwrap_or(0);
    let mut words = Vec::with_capacity(candidates.len());
    if candidates.len() < span / BLOCK {
        let coins: Vec<(u32, TokenId)> = candidates.iter().map(|(token, _)| (0, *token)).collect();
        prf::visit_lanes(LaneBits::WORD, std::slice::from_ref(seed), &coins, |word| words.push(word));
    } else {
        let mut lanes = seed.lanes();
        words.extend(candidates.iter().map(|(token, _)| lanes.get(LaneBits::WORD, *token)));
    }
    words
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

    #[test]
    fn labels_are_canonical_or_refused() {
        for text in [
            "tournament/1/w4/d30",
            "tournament/1/w0/d1",
            "tournament/1/w16/d32",
            "payload/1/w2",
            "mix/1/64/green/1/w1/b1/t1/green/1/w2/b1/t1",
            "mix/1/255/gumbel/1/w4/tournament/1/w1/d4",
            "mix/1/1/green/1/w1/b2/t1/gumbel/1/w1",
        ] {
            let spec: Spec = text.parse().unwrap();
            assert_eq!((spec.to_string(), spec.label().as_str()), (text.to_owned(), text));
        }
        for text in [
            "tournament/1/w4",
            "tournament/1/w4/d0",
            "tournament/1/w4/d33",
            "tournament/1/w4/d030",
            "tournament/2/w4/d30",
            "tournament/1/w17/d30",
            "payload/1",
            "payload/1/w2/d3",
            "payload/1/w02",
            "mix/1/0/green/1/w1/b1/t1/green/1/w2/b1/t1",
            "mix/1/256/green/1/w1/b1/t1/green/1/w2/b1/t1",
            "mix/1/064/green/1/w1/b1/t1/green/1/w2/b1/t1",
            "mix/1/64/green/1/w1/b1/t1",
            "mix/1/64/green/1/w1/b1/t1/gumbel/1/w2+2",
            "mix/1/64/green/1/w1/b1/t1/payload/1/w2",
            "mix/1/64/green/1/w1/b1/t1/green/1/w02/b1/t1",
            "mix/1/64/green/1/w1/b1/t1/green/1/w2/b1/t1/gumbel/1/w1",
            "mix/1/64/mix/1/64/gumbel/1/w1/gumbel/1/w2/gumbel/1/w3",
        ] {
            assert!(text.parse::<Spec>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mix_opens_with_its_parts_and_its_coin() {
        let spec: Spec = "mix/1/64/green/1/w1/b1/t1/green/1/w2/b1/t1".parse().unwrap();
        let labels = spec.labels(&spec.label().audience(Audience::Cohort, "7"));
        let ends = ["/part/0", "/part/1", "/coin"];
        assert!(labels.iter().zip(ends).all(|(label, end)| label.as_str().ends_with(end)), "{labels:?}");
        let epoch = crate::key::Secret::from_bytes([3; 32]).epoch_key(&"e".parse().unwrap());
        let keys = |labels: &[Label]| labels.iter().map(|label| epoch.scheme_key(label)).collect::<Vec<_>>();
        assert!(spec.open_with(keys(&labels)).unwrap().coin().is_some());
        assert!(spec.open_with(keys(&labels[..2])).is_err());
        let swapped = [labels[1].clone(), labels[0].clone(), labels[2].clone()];
        assert!(spec.open_with(keys(&swapped)).is_err());
        assert_eq!((spec.width().tokens(), spec.law().is_some()), (2, true));
        let two_laws: Spec = "mix/1/64/green/1/w1/b1/t1/gumbel/1/w2".parse().unwrap();
        assert_eq!(two_laws.law(), None);
    }
}
