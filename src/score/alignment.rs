//! Suspects with another vocabulary: their next-token distributions as partial distributions over the teacher's tokens.
//!
//! The keyed function is asked about the teacher's tokens. A suspect that cuts text otherwise says how likely *its* tokens
//! are; what the two have in common is bytes. A suspect's token counts as the teacher's token t where its bytes are
//! exactly those of t **and** the teacher's tokenizer, given the text so far with these bytes behind it, gives the tokens
//! so far and then t (*prefix stability*). After "hel", a suspect's "lo" spells the teacher's token "lo", but the teacher
//! writes "hello": that probability says nothing about its draw (hel, lo). Suspect's tokens of equal bytes are summed. All
//! other probability is lost and reported, by reason; a row holds what is known, and nothing in it is taken for 0.
//!
//! No key is involved. [`align`] looks at the text before the context only, so it may be used while reading as well;
//! [`Answer`] cuts a whole answer, which is for key-independent evidence: where an answer of a reading goes on is a function
//! of the key.
//!
//! A wrong alignment costs power, never validity: coefficients remain functions of the suspect and of tokenizers.
//!
//! # Limits
//! Stability speaks of the text so far. A suspect's token "hel" counts as the teacher's "hel" even if the suspect would
//! go on with "lo". And a long token of the suspect that the teacher writes as several is lost, though it says
//! something about the first of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::exposure::to_f64;
use super::{Evidence, Exchange, ScoreError, TextStatistic, count};
use crate::token::{Spelling, TokenId, Width};

/// The text before a context is tokenised again from this many tokens back; from further back only where these tokens
/// alone come out otherwise.
const TAIL: usize = 16;

/// A token of the suspect's vocabulary and its probability.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The bytes it stands for; `None` where nobody says, as for control tokens.
    pub bytes: Option<&'a [u8]>,
    /// In 0..=1; those of one context add up to at most 1.
    pub probability: f64,
}

/// A context's distribution over the teacher's tokens, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Aligned {
    /// Teacher tokens by id, each once, as [`Row::Top`](super::Row::Top) takes them.
    pub row: Vec<(TokenId, f32)>,
    /// The probability in `row`. With `lost` it adds up to 1.
    pub scored: f64,
    /// What is not in it.
    pub lost: Lost,
}

/// Probability that no single token of the teacher stands for, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Lost {
    /// On tokens that the teacher writes as several.
    pub several: f64,
    /// On tokens that would change the teacher's tokens before them.
    pub changing: f64,
    /// On tokens without bytes, or that end inside a character.
    pub no_text: f64,
    /// On tokens that were not returned.
    pub not_returned: f64,
}

impl Lost {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.several + self.changing + self.no_text + self.not_returned
    }
}

/// Maps the suspect's distribution at a context to the teacher's tokens. `before` are the teacher's tokens of the text
/// before it; only those after the last control token are looked at.
///
/// `None` where the teacher's tokenizer cuts that text otherwise, or it ends inside a character: no token after it has
/// a window that the teacher would have seen.
pub fn align(teacher: &impl Spelling, before: &[TokenId], known: &[Known<'_>]) -> Option<Aligned> {
    let (tail, mut text) = tail(teacher, before)?;
    let start = text.len();
    let mut row: BTreeMap<TokenId, f64> = BTreeMap::new();
    let (mut lost, mut returned) = (Lost::default(), 0.0);
    for Known { bytes, probability } in known {
        returned += probability;
        text.truncate(start);
        text.extend_from_slice(bytes.unwrap_or_default());
        match Next::of(teacher, tail, &text, *bytes) {
            Next::Token(token) => *row.entry(token).or_default() += probability,
            Next::Several => lost.several += probability,
            Next::Changing => lost.changing += probability,
            Next::NoText => lost.no_text += probability,
        }
    }
    lost.not_returned = (1.0 - returned).max(0.0);
    let scored = row.values().sum();
    Some(Aligned { row: row.into_iter().map(|(token, q)| (token, single(q))).collect(), scored, lost })
}

/// The last tokens before a context that come out of their own text as they stand, with this text.
fn tail<'t>(teacher: &impl Spelling, before: &'t [TokenId]) -> Option<(&'t [TokenId], Vec<u8>)> {
    let control = before.iter().rposition(|token| teacher.bytes(*token).is_none());
    let before = &before[control.map_or(0, |at| at + 1)..];
    let mut length = TAIL;
    loop {
        let tail = &before[before.len().saturating_sub(length)..];
        let text: Vec<u8> =
            tail.iter().filter_map(|token| teacher.bytes(*token)).flatten().copied().collect();
        if teacher.encode(&text).as_deref() == Some(tail) {
            return Some((tail, text));
        }
        if tail.len() == before.len() {
            return None;
        }
        length *= 2;
    }
}

/// What the teacher's tokenizer makes of a suspect's token.
enum Next {
    Token(TokenId),
    Several,
    Changing,
    NoText,
}

impl Next {
    /// `text` is that of `tail` with `bytes` behind it.
    fn of(teacher: &impl Spelling, tail: &[TokenId], text: &[u8], bytes: Option<&[u8]>) -> Self {
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else { return Self::NoText };
        let Some(tokens) = teacher.encode(text) else { return Self::NoText };
        match tokens.strip_prefix(tail) {
            Some([token]) if teacher.bytes(*token) == Some(bytes) => Self::Token(*token),
            Some([_, _, ..]) => Self::Several,
            _ => Self::Changing,
        }
    }
}

/// Sums of probabilities may pass 1 in their last bit; a row may not.
#[expect(clippy::cast_possible_truncation, reason = "a probability in single precision")]
fn single(probability: f64) -> f32 {
    probability.min(1.0) as f32
}

/// The teacher's tokens of a whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    tokens: Vec<TokenId>,
    /// Where each token ends, in bytes.
    ends: Vec<usize>,
}

impl Answer {
    /// Cuts `text`; a character that its end cuts is left out. `None` where the teacher's tokens spell another text: its
    /// tokenizer normalises, and no place in one is a place in the other.
    pub fn of(teacher: &impl Spelling, text: &[u8]) -> Option<Self> {
        let text = &text[..std::str::from_utf8(text).map_or_else(|error| error.valid_up_to(), str::len)];
        let tokens = teacher.encode(text)?;
        let (mut ends, mut rest) = (Vec::with_capacity(tokens.len()), text);
        for token in &tokens {
            rest = rest.strip_prefix(teacher.bytes(*token)?)?;
            ends.push(text.len() - rest.len());
        }
        rest.is_empty().then_some(Self { tokens, ends })
    }

    /// The tokens.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// The tokens before byte `at`; `None` inside a token or behind the end.
    pub fn before(&self, at: usize) -> Option<&[TokenId]> {
        let number = if at == 0 { 0 } else { self.ends.binary_search(&at).ok()? + 1 };
        Some(&self.tokens[..number])
    }
}

/// What alignment lost, context by context.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    unaligned: u64,
    mean: Lost,
    totals: Vec<f64>,
}

impl Losses {
    /// Adds a context; `None` where its text is not aligned.
    pub fn add(&mut self, aligned: Option<&Aligned>) {
        let Some(Aligned { lost, .. }) = aligned else {
            self.unaligned += 1;
            return;
        };
        self.mean.several += lost.several;
        self.mean.changing += lost.changing;
        self.mean.no_text += lost.no_text;
        self.mean.not_returned += lost.not_returned;
        self.totals.push(lost.total());
    }

    /// Adds the contexts of another batch.
    pub fn append(&mut self, other: Self) {
        self.unaligned += other.unaligned;
        self.mean.several += other.mean.several;
        self.mean.changing += other.mean.changing;
        self.mean.no_text += other.mean.no_text;
        self.mean.not_returned += other.mean.not_returned;
        self.totals.extend(other.totals);
    }

    /// The numbers to report.
    pub fn report(&self) -> LossReport {
        let mut totals = self.totals.clone();
        totals.sort_by(f64::total_cmp);
        let contexts = self.unaligned + totals.len() as u64;
        let n = to_f64((totals.len() as u64).max(1));
        let mean = Lost {
            several: self.mean.several / n,
            changing: self.mean.changing / n,
            no_text: self.mean.no_text / n,
            not_returned: self.mean.not_returned / n,
        };
        // The nearest rank: ⌈share · n⌉.
        let rank = |percent: usize| (totals.len() * percent).div_ceil(100).max(1) - 1;
        let quantiles = [10, 50, 90].map(|percent| totals.get(rank(percent)).copied().unwrap_or(0.0));
        LossReport { contexts, unaligned: self.unaligned, lost: mean.total(), by_reason: mean, quantiles }
    }
}

/// What alignment lost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LossReport {
    /// Contexts looked at.
    pub contexts: u64,
    /// Contexts without any score: the teacher cuts the text before them otherwise.
    pub unaligned: u64,
    /// Probability lost at the others, their mean.
    pub lost: f64,
    /// The same by reason.
    pub by_reason: Lost,
    /// The probability lost at 10, 50 and 90 % of them at most.
    #[serde(rename = "lost_at_10_50_90_percent")]
    pub quantiles: [f64; 3],
}

/// What it costs to have an answer's text instead of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RoundTrip {
    /// Answers known as both.
    pub rows: u64,
    /// Answers whose text comes out as other tokens.
    pub changed: u64,
    /// Distinct draws that the tokens show.
    pub draws_of_tokens: u64,
    /// Distinct draws that the text shows.
    pub draws_of_text: u64,
    /// Distinct draws that both show.
    pub draws_of_both: u64,
    /// The share of z that the text keeps, if a mark lies on the tokens evenly: both / √(tokens · text), because draws that
    /// only the text shows are chance. 1 where there are none.
    pub z_kept: f64,
}

/// Compares answers by their tokens with the same answers by the tokens of their text, `retokenised`.
///
/// # Errors
/// Marked inputs at width 0.
pub fn round_trip(
    width: Width,
    answers: &[Exchange],
    retokenised: &[Vec<TokenId>],
) -> Result<RoundTrip, ScoreError> {
    let pairs = || answers.iter().zip(retokenised);
    let as_text = |(exchange, tokens): (&Exchange, &Vec<TokenId>)| Exchange {
        response: tokens.clone(),
        ..exchange.clone()
    };
    let texts: Vec<Exchange> = pairs().map(as_text).collect();
    let by_tokens = count(width, answers, TextStatistic::Distinct)?;
    let by_text = count(width, &texts, TextStatistic::Distinct)?;
    let (tokens, text) = (draws(&by_tokens), draws(&by_text));
    let both = tokens.intersection(&text).count();
    Ok(RoundTrip {
        rows: answers.len() as u64,
        changed: pairs().filter(|(exchange, text)| exchange.response != **text).count() as u64,
        draws_of_tokens: tokens.len() as u64,
        draws_of_text: text.len() as u64,
        draws_of_both: both as u64,
        z_kept: kept(both, tokens.len(), text.len()),
    })
}

#[expect(clippy::cast_precision_loss, reason = "a share for a page")]
fn kept(both: usize, tokens: usize, text: usize) -> f64 {
    if both == tokens && both == text {
        1.0
    } else {
        both as f64 / (tokens.max(1) as f64 * text.max(1) as f64).sqrt()
    }
}

fn draws(evidence: &Evidence) -> BTreeSet<(&[TokenId], TokenId)> {
    let entries = evidence.coefficients().entries().iter();
    entries.map(|entry| (evidence.windows().get(entry.input.window), entry.input.token)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten letters and what they merge to, the longest spelling first; id 3 is a control token.
    struct Toy;

    const TOKENS: [&str; 9] = ["h", "e", "l", "", "o", "hel", "lo", "hello", "é"];

    impl Spelling for Toy {
        fn bytes(&self, token: TokenId) -> Option<&[u8]> {
            TOKENS.get(token as usize).map(|text| text.as_bytes()).filter(|bytes| !bytes.is_empty())
        }

        fn encode(&self, text: &[u8]) -> Option<Vec<TokenId>> {
            let mut rest = std::str::from_utf8(text).ok()?;
            let mut tokens = Vec::new();
            while !rest.is_empty() {
                let fits =
                    (0..).zip(TOKENS).filter(|(_, token)| !token.is_empty() && rest.starts_with(token));
                let (id, token) = fits.max_by_key(|(_, token)| token.len())?;
                tokens.push(id);
                rest = &rest[token.len()..];
            }
            Some(tokens)
        }
    }

    fn known<'a>(tokens: &[(&'a [u8], f64)]) -> Vec<Known<'a>> {
        tokens
            .iter()
            .map(|(bytes, probability)| Known { bytes: Some(bytes), probability: *probability })
            .collect()
    }

    #[test]
    fn each_token_is_scored_or_lost_for_its_reason() {
        let mut tokens =
            known(&[(b"lo", 0.5), (b"h", 0.0625), (b"h", 0.0625), (b"eh", 0.125), (b"\xc3", 0.0625)]);
        tokens.push(Known { bytes: None, probability: 0.0625 });
        // "hel": "lo" makes it "hello"; "eh" is two tokens; half a character is no text.
        let aligned = align(&Toy, &[5], &tokens).unwrap();
        assert_eq!(aligned.row, [(0, 0.125)]);
        let lost = Lost { several: 0.125, changing: 0.5, no_text: 0.125, not_returned: 0.125 };
        assert_eq!((aligned.scored, aligned.lost), (0.125, lost));
        // After a control token the text starts anew: "lo" is a token of its own.
        assert_eq!(align(&Toy, &[5, 3], &tokens).unwrap().row, [(0, 0.125), (6, 0.5)]);
    }

    #[test]
    fn text_that_the_teacher_cuts_otherwise_is_not_aligned() {
        assert_eq!(align(&Toy, &[5, 6], &known(&[(b"h", 1.0)])), None);
        assert!(align(&Toy, &[7], &known(&[(b"h", 1.0)])).is_some());
        let answer = Answer::of(&Toy, "hello\u{e9}".as_bytes()).unwrap();
        assert_eq!(answer.tokens(), [7, 8]);
        let before: Vec<Option<usize>> = (0..=8).map(|at| answer.before(at).map(<[_]>::len)).collect();
        let inside = None;
        assert_eq!(before, [Some(0), inside, inside, inside, inside, Some(1), inside, Some(2), None]);
        assert_eq!(Answer::of(&Toy, b"helloh\xc3").unwrap().tokens(), [7, 0]);
        assert_eq!(Answer::of(&Toy, b"help"), None);
    }

    #[test]
    fn losses_are_averaged_over_aligned_contexts_and_ranked() {
        let mut losses = Losses::default();
        losses.add(None);
        for hundredth in 1..=10 {
            let lost = Lost { several: f64::from(hundredth) / 100.0, ..Lost::default() };
            losses.add(Some(&Aligned { lost, ..Aligned::default() }));
        }
        let mut both = Losses::default();
        both.append(losses);
        let report = both.report();
        assert_eq!((report.contexts, report.unaligned), (11, 1));
        assert!((report.lost - 0.055).abs() < 1e-12);
        assert_eq!(report.quantiles, [0.01, 0.05, 0.09]);
        assert_eq!(Losses::default().report().quantiles, [0.0; 3]);
    }

    #[test]
    fn a_round_trip_counts_the_draws_that_text_keeps() {
        let answer = |response: &[TokenId]| Exchange {
            prompt: vec![0],
            response: response.to_vec(),
            whole_context: true,
            provenance: super::super::Provenance::Fresh,
        };
        let answers = [answer(&[1, 5, 6, 2]), answer(&[4, 4])];
        let trip = round_trip(Width::new(1).unwrap(), &answers, &[vec![1, 7, 2], vec![4, 4]]).unwrap();
        // (0,1) (1,5) (5,6) (6,2) (0,4) (4,4) against (0,1) (1,7) (7,2) (0,4) (4,4).
        let expected = RoundTrip {
            rows: 2,
            changed: 1,
            draws_of_tokens: 6,
            draws_of_text: 5,
            draws_of_both: 3,
            z_kept: 3.0 / 30_f64.sqrt(),
        };
        assert_eq!(trip, expected);
        let same = round_trip(Width::new(1).unwrap(), &answers[1..], &[vec![4, 4]]).unwrap();
        assert_eq!((same.changed, same.z_kept), (0, 1.0));
        let none = round_trip(Width::new(1).unwrap(), &answers[1..], &[vec![2, 2]]).unwrap();
        assert_eq!((none.changed, none.z_kept), (1, 0.0));
    }
}
