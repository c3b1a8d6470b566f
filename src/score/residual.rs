//! Text beside a reference: how much more often than expected each token follows each window.
//!
//! For a window w let n(v) be the number of times the suspect wrote v after it, and Nb(v) the sum of a reference's
//! probability of v over those very contexts. The coefficient of the draw (w, v) is
//!
//! ```text
//! a = log(1 + e) · (n − Nb) / (1 + shrink · Nb),
//! ```
//!
//! e the window's exposure. Every token of the vocabulary counts at narrow windows, also those never written: tokens that
//! the suspect avoids are evidence too. The reference takes out of the sum what the language does anyway; on distilled
//! students that gives four to eight times the z of counting distinct pairs.
//!
//! H0 allows any reference that does not depend on the key: the unmarked teacher, a model from before the key, a student
//! of unmarked answers. A reference trained on text marked under the key breaks it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::exposure::window_name;
use super::{
    Coin, Count, Counter, Evidence, Exchange, Exposure, Numbering, Position, Provenance, ScoreError,
    Unrounded, Windows,
};
use crate::law::{Scale, Tally};
use crate::token::{TokenId, Width};

/// The default of [`Text::residual`]'s `shrink`.
pub const SHRINK: f64 = 0.03;

/// Nb is rounded to multiples of 2⁻¹⁰, half away from zero, so that a bundle can hold it exactly.
const UNITS: f64 = 1_024.0;

/// The draws that a text speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Every token of a vocabulary of this size, at every window seen: the default for widths 0 and 1. Needs 8 bytes a
    /// token for each distinct window.
    Vocabulary(usize),
    /// Only pairs that the suspect wrote: the default for wider windows, of which each is rare.
    Observed,
}

impl Over {
    /// The default for windows of `width`.
    pub fn default_for(width: Width, vocabulary: usize) -> Self {
        if width.tokens() <= 1 { Self::Vocabulary(vocabulary) } else { Self::Observed }
    }
}

/// A text's counts: how often which token follows which window.
#[derive(Clone, Debug)]
pub struct Text {
    counter: Counter,
    /// For each exchange the window of each position of its answer, where that shows a draw.
    shown: Vec<Vec<Option<u32>>>,
    /// For each window the first exchange that shows it.
    clusters: Vec<u32>,
}

impl Text {
    /// Counts exchanges, each with the cluster it belongs to.
    ///
    /// # Errors
    /// Marked inputs at width 0, or inputs of unknown origin there: what was expected speaks of the prompt's tokens too.
    pub fn count<'e>(
        width: Width,
        exchanges: impl IntoIterator<Item = (u32, &'e Exchange)>,
    ) -> Result<Self, ScoreError> {
        let mut counter = Counter::new(width);
        let window = |position: &Position| match position {
            Position::Draw(coin, _) => Some(coin.window),
            Position::MarkedInput | Position::PromptWindow | Position::ShortWindow => None,
        };
        let (mut shown, mut clusters): (Vec<Vec<Option<u32>>>, Vec<u32>) = (Vec::new(), Vec::new());
        for (cluster, exchange) in exchanges {
            if width.tokens() == 0 && exchange.provenance == Provenance::Unknown {
                return Err(ScoreError::UnknownOriginAtWidth0);
            }
            shown.push(counter.exchange(exchange, cluster)?.iter().map(window).collect());
            clusters.resize(counter.windows.windows().len(), cluster);
        }
        Ok(Self { counter, shown, clusters })
    }

    /// The evidence beside a reference. `shrink` divides by 1 + shrink · Nb, so that frequent pairs do not dominate (0.03
    /// is right for strong marks, 0 for weak ones); with `exposure`, windows weigh log(1 + e).
    ///
    /// # Errors
    /// An exposure or an expectation for other windows, or one that expects more than there are contexts.
    pub fn residual(
        &self,
        expectation: &Expectation,
        shrink: f64,
        exposure: Option<&Exposure>,
    ) -> Result<Evidence, ScoreError> {
        self.residuals(expectation, shrink, exposure).map(Unrounded::round)
    }

    /// The coefficients of [`residual`](Self::residual) before they are rounded, for a test under several keys.
    ///
    /// # Errors
    /// As [`residual`](Self::residual).
    pub fn residuals(
        &self,
        expectation: &Expectation,
        shrink: f64,
        exposure: Option<&Exposure>,
    ) -> Result<Unrounded, ScoreError> {
        self.coefficients(expectation, |n, nb| (n - nb) / (1.0 + shrink * nb), exposure)
    }

    /// The evidence with another coefficient: `shape(n, Nb)` in place of the residual's.
    ///
    /// # Errors
    /// As [`residual`](Self::residual).
    pub fn evidence(
        &self,
        expectation: &Expectation,
        shape: impl Fn(f64, f64) -> f64,
        exposure: Option<&Exposure>,
    ) -> Result<Evidence, ScoreError> {
        self.coefficients(expectation, shape, exposure).map(Unrounded::round)
    }

    fn coefficients(
        &self,
        expectation: &Expectation,
        shape: impl Fn(f64, f64) -> f64,
        exposure: Option<&Exposure>,
    ) -> Result<Unrounded, ScoreError> {
        let Counter { width, windows: Numbering { windows, .. }, skipped, positions, .. } = &self.counter;
        super::exposure::check(exposure, *width)?;
        let weights: Option<Vec<f64>> = exposure
            .map(|exposure| (0..).take(windows.len()).map(|w| exposure.log(windows.get(w))).collect());
        let weight = |window: u32| weights.as_ref().map_or(1.0, |weights| weights[window as usize]);
        let mut tally = Tally::new();
        self.pairs(expectation, |pair| {
            tally.add(pair.coin, weight(pair.coin.window) * shape(f64::from(pair.n), pair.nb), pair.cluster);
        })?;
        Ok(Unrounded {
            width: *width,
            windows: windows.clone(),
            tally,
            scale: Scale::Quantile,
            marked_under: exposure.into_iter().flat_map(Exposure::marked_under).collect(),
            skipped: *skipped,
            positions: *positions,
        })
    }

    /// Visits every pair that the text or the expectation names, by window and token.
    ///
    /// # Errors
    /// An expectation for another text, one that expects more than there are contexts, or, at widths of 2 and more, one
    /// that lists pairs which the suspect did not write: which of those count would be a choice.
    pub fn pairs(&self, expectation: &Expectation, mut visit: impl FnMut(Pair)) -> Result<(), ScoreError> {
        let observed_only = self.counter.width.tokens() >= 2;
        for ((window, seen), first) in (0..).zip(self.seen()).zip(&self.clusters) {
            let after = expectation.after(self.windows().get(window))?;
            check_total(&seen, after)?;
            let observed = |token: &TokenId| seen.binary_search_by_key(token, |(token, _)| *token).is_ok();
            if observed_only && !after.keys().all(observed) {
                return Err(ScoreError::Unobserved);
            }
            let mut expected =
                after.iter().map(|(token, units)| (*token, f64::from(*units) / UNITS)).peekable();
            let unseen = |(token, nb)| Pair { coin: Coin { window, token }, n: 0, nb, cluster: *first };
            for (token, count) in seen {
                while let Some(pair) = expected.next_if(|(other, _)| *other < token) {
                    visit(unseen(pair));
                }
                let nb = expected.next_if(|(other, _)| *other == token).map_or(0.0, |(_, nb)| nb);
                visit(Pair { coin: Coin { window, token }, n: count.seen, nb, cluster: count.cluster });
            }
            expected.for_each(|pair| visit(unseen(pair)));
        }
        Ok(())
    }

    /// For each window the tokens that were written after it, ascending.
    fn seen(&self) -> Vec<Vec<(TokenId, Count)>> {
        let mut seen = vec![Vec::new(); self.windows().len()];
        for (coin, count) in &self.counter.counts {
            seen[coin.window as usize].push((coin.token, *count));
        }
        seen.iter_mut().for_each(|tokens| tokens.sort_unstable_by_key(|(token, _)| *token));
        seen
    }

    /// The windows that the text shows.
    pub fn windows(&self) -> &Windows {
        self.counter.windows.windows()
    }
}

/// One draw that a text beside a reference speaks of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The window and the token.
    pub coin: Coin,
    /// How often the suspect wrote the token after the window.
    pub n: u32,
    /// How often the reference would have, over the same contexts.
    pub nb: f64,
    /// The exchange the draw belongs to: the first that wrote it, or else the first that shows the window.
    pub cluster: u32,
}

/// Probabilities of one context add to at most 1, so those after a window add to at most its contexts, but for rounding
/// (half a unit a token, and a thousandth for sums of `f32`): what claims more was not made from distributions.
fn check_total(seen: &[(TokenId, Count)], after: &BTreeMap<TokenId, u32>) -> Result<(), ScoreError> {
    let contexts: f64 = seen.iter().map(|(_, count)| f64::from(count.seen)).sum();
    let (units, roundings) =
        after.values().fold((0.0, 0.0), |(sum, n), unit| (sum + f64::from(*unit), n + 0.5));
    if units <= 1.001 * UNITS * contexts + roundings { Ok(()) } else { Err(ScoreError::ExpectationTotal) }
}

/// What a reference expects of a text: Nb by window and token, in units of 2⁻¹⁰; what rounds to 0 is not listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation(BTreeMap<String, BTreeMap<TokenId, u32>>);

impl Expectation {
    /// Adds what the reference expects at windows of another width.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    fn after(&self, window: &[TokenId]) -> Result<&BTreeMap<TokenId, u32>, ScoreError> {
        self.0.get(&window_name(window)).ok_or(ScoreError::Expectation)
    }
}

/// Sums up a reference's rows over the contexts of a text.
#[derive(Clone, Debug)]
pub struct Expecting<'t> {
    text: &'t Text,
    over: Over,
    expected: Vec<Expected>,
    told: Vec<bool>,
}

/// Nb after one window: for each token, or for those in `tokens`.
#[derive(Clone, Debug)]
struct Expected {
    /// Ascending; none for the whole vocabulary.
    tokens: Option<Vec<TokenId>>,
    sums: Vec<f64>,
}

impl<'t> Expecting<'t> {
    /// Nothing expected yet.
    pub fn new(text: &'t Text, over: Over) -> Self {
        let mut expected: Vec<Expected> = text.clusters.iter().map(|_| Expected::new(over)).collect();
        if over == Over::Observed {
            for coin in text.counter.counts.keys() {
                expected[coin.window as usize].tokens.get_or_insert_default().push(coin.token);
            }
            expected.iter_mut().for_each(Expected::sort);
        }
        Self { text, over, expected, told: vec![false; text.shown.len()] }
    }

    /// Adds the reference's distribution at each position of one exchange's answer: `rows` holds as many rows of
    /// `vocabulary` probabilities as the answer has tokens, one after the other.
    ///
    /// # Errors
    /// An exchange that is not there or was told already; rows of another number or size; no probabilities.
    pub fn expect(&mut self, exchange: usize, vocabulary: usize, rows: &[f32]) -> Result<(), ScoreError> {
        let fault = |what| ScoreError::Row { row: exchange, what };
        let shown = self.text.shown.get(exchange).ok_or(fault("there is no such exchange"))?;
        if self.told[exchange] {
            return Err(fault("its reference came before"));
        }
        if rows.len() != shown.len() * vocabulary {
            return Err(fault("the reference has not one row for each token of the answer"));
        }
        if matches!(self.over, Over::Vocabulary(size) if size != vocabulary) {
            return Err(fault("the reference has another vocabulary than was planned"));
        }
        super::rows::check(exchange, rows)?;
        for (window, row) in shown.iter().zip(rows.chunks_exact(vocabulary.max(1))) {
            if let Some(window) = *window {
                self.expected[window as usize].add(row);
            }
        }
        self.told[exchange] = true;
        Ok(())
    }

    /// What was expected.
    ///
    /// # Errors
    /// An exchange whose reference was not told.
    pub fn finish(&self) -> Result<Expectation, ScoreError> {
        if let Some(row) = self.told.iter().position(|told| !told) {
            return Err(ScoreError::Row { row, what: "its reference is missing" });
        }
        let window = |(expected, window): (&Expected, u32)| {
            (window_name(self.text.windows().get(window)), expected.units())
        };
        Ok(Expectation(self.expected.iter().zip(0..).map(window).collect()))
    }
}

impl Expected {
    fn new(over: Over) -> Self {
        match over {
            Over::Vocabulary(size) => Self { tokens: None, sums: vec![0.0; size] },
            Over::Observed => Self { tokens: Some(Vec::new()), sums: Vec::new() },
        }
    }

    fn sort(&mut self) {
        if let Some(tokens) = &mut self.tokens {
            tokens.sort_unstable();
            self.sums = vec![0.0; tokens.len()];
        }
    }

    fn add(&mut self, row: &[f32]) {
        match &self.tokens {
            None => self.sums.iter_mut().zip(row).for_each(|(sum, b)| *sum += f64::from(*b)),
            Some(tokens) => {
                for (sum, token) in self.sums.iter_mut().zip(tokens) {
                    *sum += row.get(*token as usize).map_or(0.0, |b| f64::from(*b));
                }
            }
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a sum of at most 2^22 probabilities"
    )]
    fn units(&self) -> BTreeMap<TokenId, u32> {
        let unit = |(at, sum): (TokenId, &f64)| {
            let token = self.tokens.as_ref().map_or(at, |tokens| tokens[at as usize]);
            (token, (sum * UNITS).round() as u32)
        };
        (0..).zip(&self.sums).map(unit).filter(|(_, units)| *units > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(prompt: &[TokenId], response: &[TokenId]) -> Exchange {
        let (prompt, response) = (prompt.to_vec(), response.to_vec());
        Exchange { prompt, response, whole_context: true, provenance: Provenance::Fresh }
    }

    /// Windows 0, 1 and 0 again; three tokens; the reference expects each with 1/2, 1/4, 1/4.
    fn told(over: Over, exposure: Option<&Exposure>) -> Result<Evidence, ScoreError> {
        let text = Text::count(Width::new(1).unwrap(), [(0, &exchange(&[0], &[1, 0, 1]))]).unwrap();
        let mut expecting = Expecting::new(&text, over);
        expecting.expect(0, 3, &[0.5, 0.25, 0.25].repeat(3)).unwrap();
        text.residual(&expecting.finish().unwrap(), 0.0, exposure)
    }

    fn coefficients(evidence: &Evidence) -> Vec<(TokenId, TokenId, i32)> {
        let window = |coin: Coin| evidence.windows().get(coin.window)[0];
        let entries = evidence.coefficients().entries().iter();
        entries.map(|entry| (window(entry.input), entry.input.token, entry.coefficient)).collect()
    }

    #[test]
    fn what_was_expected_and_not_written_counts_against() {
        let evidence = told(Over::Vocabulary(3), None).unwrap();
        // After 0, twice: n = (0, 2, 0), Nb = (1, 1/2, 1/2). After 1, once: n = (1, 0, 0), Nb = (1/2, 1/4, 1/4).
        let wanted = [(0, 0, -85), (0, 1, 127), (0, 2, -42), (1, 0, 42), (1, 1, -21), (1, 2, -21)];
        assert_eq!(coefficients(&evidence), wanted);
        let evidence = told(Over::Observed, None).unwrap();
        assert_eq!(coefficients(&evidence), [(0, 1, 127), (1, 0, 42)]);
    }

    #[test]
    fn exposure_weighs_windows_by_its_logarithm() {
        let mut exposure = Exposure::new(Width::new(1).unwrap(), []);
        (0..7).for_each(|_| exposure.add(&exchange(&[0], &[2])));
        exposure.add(&exchange(&[1], &[2]));
        let evidence = told(Over::Observed, Some(&exposure)).unwrap();
        // ln 8 × 3/2 and ln 2 × 1/2: nine to one.
        assert_eq!(coefficients(&evidence), [(0, 1, 127), (1, 0, 14)]);
        let other = Exposure::new(Width::new(2).unwrap(), []);
        assert!(matches!(told(Over::Observed, Some(&other)), Err(ScoreError::Exposure { .. })));
    }

    #[test]
    fn at_width_0_inputs_of_unknown_origin_are_refused() {
        let zero = Width::new(0).unwrap();
        let unknown = Exchange { provenance: Provenance::Unknown, ..exchange(&[0], &[1]) };
        assert_eq!(Text::count(zero, [(0, &unknown)]).unwrap_err(), ScoreError::UnknownOriginAtWidth0);
        assert!(Text::count(zero, [(0, &exchange(&[0], &[1]))]).is_ok());
        assert!(Text::count(Width::new(1).unwrap(), [(0, &unknown)]).is_ok());
    }

    #[test]
    fn at_wide_windows_only_pairs_that_were_written_count() {
        let evidence = |over| {
            let text = Text::count(Width::new(2).unwrap(), [(0, &exchange(&[0, 1], &[2, 0]))]).unwrap();
            let mut expecting = Expecting::new(&text, over);
            expecting.expect(0, 3, &[0.5, 0.25, 0.25].repeat(2)).unwrap();
            text.residual(&expecting.finish().unwrap(), 0.0, None)
        };
        assert_eq!(evidence(Over::Observed).unwrap().coefficients().entries().len(), 2);
        assert_eq!(evidence(Over::Vocabulary(3)).unwrap_err(), ScoreError::Unobserved);
    }

    #[test]
    fn a_reference_must_speak_of_every_position_once() {
        let exchanges = [exchange(&[0], &[1]), exchange(&[0], &[2])];
        let text = Text::count(Width::new(1).unwrap(), (0..).zip(&exchanges)).unwrap();
        let new = || Expecting::new(&text, Over::Vocabulary(3));
        let row = [0.5, 0.25, 0.25];
        let mut expecting = new();
        expecting.expect(0, 3, &row).unwrap();
        assert!(expecting.expect(0, 3, &row).is_err());
        assert!(expecting.expect(2, 3, &row).is_err());
        assert!(expecting.expect(1, 4, &[0.25; 4]).is_err());
        assert!(expecting.expect(1, 3, &[0.25; 4]).is_err());
        assert!(matches!(expecting.finish(), Err(ScoreError::Row { row: 1, .. })));
        assert!(new().expect(0, 3, &[f32::NAN, 0.5, 0.5]).is_err());
        assert!(matches!(text.residual(&Expectation::default(), 0.0, None), Err(ScoreError::Expectation)));
        // Both exchanges show window 0, so at most 2 is expected after it: 2,048 units.
        let claim = |units| serde_json::from_value(serde_json::json!({ "0": { "1": units } })).unwrap();
        assert!(text.residual(&claim(2_048), 0.0, None).is_ok());
        assert_eq!(text.residual(&claim(2_060), 0.0, None).unwrap_err(), ScoreError::ExpectationTotal);
    }
}
