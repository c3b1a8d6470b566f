//! Text under a foreign mark: which of the engine's draws it shows.
//!
//! Two steps, as everywhere: [`occurrences`] walks over the answers the way the engine did and looks at no key;
//! [`Occurrences::open`] then hands windows and tokens to the keyed function. One thing is different. Which positions
//! show the *same* draw depends on the key, because the engine's hash collapses windows by it, so the sum over equal
//! inputs is formed after the key is at hand. That is no choice by draws: the grouping is decided by inputs alone, each
//! group counts 1 whatever its word is, and `scheme::foreign` says under which assumption the words of distinct inputs
//! are independent of the grouping. (A mix's coin chooses positions by a key in the same way.)
//!
//! What would break it: counting n-grams instead of inputs, which lets one coin count many times; or a prompt that was
//! marked under the key and is copied. Rows of unknown origin lose what shares a window *or an input* with their prompt.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::Serialize;

use super::{Coin, Exchange, Numbering, Provenance, ScoreError};
use crate::law::{Correlation, Foreign, ForeignLaw, Scale, Tally};
use crate::scheme::foreign::{Input, Marker, Once, Reach, Start};
use crate::token::TokenId;

/// Positions of answers that cannot show a draw, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ForeignSkipped {
    /// Too few known tokens precede it, or the engine starts later.
    pub unmarked: u64,
    /// Its window came before in the answer: the engine sampled it as usual.
    pub repeated_window: u64,
    /// Its window occurs in the row's own prompt.
    pub prompt_window: u64,
    /// In exchanges whose input may derive from marked text.
    pub marked_input: u64,
}

/// Windows and the tokens after them, before any key was touched.
#[derive(Clone, Debug, Default)]
pub struct Occurrences {
    windows: Numbering,
    exchanges: Vec<Shown>,
    /// Positions that cannot show a draw.
    pub skipped: ForeignSkipped,
    /// Answer positions looked at.
    pub positions: u64,
}

/// Distinct (window, token) pairs of one exchange.
#[derive(Clone, Debug, Default)]
struct Shown {
    answer: BTreeSet<Coin>,
    /// Of a prompt of unknown origin.
    prompt: BTreeSet<Coin>,
}

/// Walks over the answers of `exchanges` as the engine did that reaches so far.
///
/// # Errors
/// Marked inputs where windows are empty.
pub fn occurrences<'e>(
    reach: &Reach,
    exchanges: impl IntoIterator<Item = &'e Exchange>,
) -> Result<Occurrences, ScoreError> {
    let mut found = Occurrences::default();
    for exchange in exchanges {
        if exchange.provenance == Provenance::Marked && reach.width == 0 {
            return Err(ScoreError::MarkedInputAtWidth0);
        }
        found.positions += exchange.response.len() as u64;
        if exchange.provenance == Provenance::Marked {
            found.skipped.marked_input += exchange.response.len() as u64;
            continue;
        }
        let shown = found.walk(reach, exchange);
        found.exchanges.push(shown);
    }
    Ok(found)
}

impl Occurrences {
    fn walk(&mut self, reach: &Reach, exchange: &Exchange) -> Shown {
        let line = Line::of(reach, exchange);
        let unknown = exchange.provenance == Provenance::Unknown;
        let prompt: &[TokenId] = if unknown { &exchange.prompt } else { &[] };
        let excluded: HashSet<&[TokenId]> = prompt.windows(reach.width.max(1)).collect();
        let mut seen: HashMap<&[TokenId], usize> = HashMap::new();
        let mut shown = Shown::default();
        for at in line.first..line.tokens.len() {
            let Some(window) = line.window(reach, at).filter(|_| at - line.first >= reach.skip) else {
                self.skipped.unmarked += 1;
                continue;
            };
            let earlier = seen.get(window).copied();
            let again = reach.once.forbids(earlier, at);
            let beyond = earlier.is_none() && reach.most.is_some_and(|most| seen.len() >= most);
            if !beyond {
                seen.insert(window, at);
            }
            let looked_up = if reach.width == 0 { &line.tokens[at..=at] } else { window };
            if again || beyond {
                self.skipped.repeated_window += 1;
            } else if excluded.contains(looked_up) {
                self.skipped.prompt_window += 1;
            } else {
                let coin = Coin { window: self.windows.number(window), token: line.tokens[at] };
                shown.answer.insert(coin);
            }
        }
        for at in reach.width..prompt.len() {
            let window = self.windows.number(&prompt[at - reach.width..at]);
            shown.prompt.insert(Coin { window, token: prompt[at] });
        }
        shown
    }

    /// Distinct (window, token) pairs: what a detector of n-grams would count.
    pub fn ngrams(&self) -> u64 {
        let all: HashSet<&Coin> = self.exchanges.iter().flat_map(|shown| &shown.answer).collect();
        all.len() as u64
    }

    /// The draws under a key.
    ///
    /// # Errors
    /// A mark that is a public table: [`Occurrences::correlate`] is for that.
    pub fn open(&self, marker: &Marker) -> Result<Foreign, ScoreError> {
        let law = marker.law().ok_or(ScoreError::ForeignTable)?;
        let mut inputs: Vec<Input> = self.kept(marker).into_iter().map(|(input, _)| input).collect();
        inputs.sort_unstable();
        inputs.dedup();
        if let ForeignLaw::Listed(_) = law {
            inputs = within_lists(inputs, marker.most());
        }
        let mut tally = Tally::new();
        inputs.into_iter().for_each(|input| tally.add(input, 1.0, 0));
        Ok(tally.whole(Scale::Unit).open_foreign(law, |inputs| marker.words(inputs))?)
    }

    /// The same for a public table: the correlation of this text's residues with its bits, in which no key is. A residue
    /// counts as often as different n-grams have it.
    ///
    /// # Errors
    /// A mark of another kind.
    pub fn correlate(&self, marker: &Marker) -> Result<Correlation, ScoreError> {
        let table = marker.table().ok_or(ScoreError::ForeignTable)?;
        let ngrams: BTreeSet<(Coin, Input)> =
            self.kept(marker).into_iter().map(|(input, coin)| (coin, input)).collect();
        let mut tally = Tally::new();
        for (_, input) in ngrams {
            tally.add(u32::try_from(input.state).unwrap_or(u32::MAX), 1.0, 0);
        }
        Ok(tally.whole(Scale::Unit).correlate(&table.bits))
    }

    /// Every input that an answer shows and its own prompt does not.
    fn kept(&self, marker: &Marker) -> Vec<(Input, Coin)> {
        let inputs = |coin: &Coin| marker.inputs(self.windows.windows().get(coin.window), coin.token);
        let mut kept = Vec::new();
        for shown in &self.exchanges {
            let told: HashSet<(u8, u128)> =
                shown.prompt.iter().flat_map(inputs).map(|input| (input.key, input.state)).collect();
            for coin in &shown.answer {
                let fresh =
                    inputs(coin).into_iter().filter(|input| !told.contains(&(input.key, input.state)));
                kept.extend(fresh.map(|input| (input, *coin)));
            }
        }
        kept
    }
}

/// At most so many tokens of one list: beyond, the bound of `stat::foreign` is not proven.
fn within_lists(inputs: Vec<Input>, most: usize) -> Vec<Input> {
    let of_seed = |inputs: &[Input]| inputs[..inputs.len().min(most)].to_vec();
    inputs.chunk_by(|a, b| a.state == b.state).flat_map(of_seed).collect()
}

impl Once {
    /// Whether a window that came at `earlier` may not mark at `at`.
    fn forbids(self, earlier: Option<usize>, at: usize) -> bool {
        match (self, earlier) {
            (Self::Never, _) | (_, None) => false,
            (Self::Within(None), Some(_)) => true,
            (Self::Within(Some(history)), Some(earlier)) => at - earlier <= history as usize,
        }
    }
}

/// The tokens that windows reach over.
struct Line {
    tokens: Vec<TokenId>,
    /// Where the answer begins.
    first: usize,
    /// From here on every token is known.
    known: usize,
}

impl Line {
    fn of(reach: &Reach, exchange: &Exchange) -> Self {
        let (before, known) = match reach.start {
            Start::Answer { pad } => (vec![pad; reach.width], 0),
            Start::Conversation if exchange.whole_context => (exchange.prompt.clone(), 0),
            Start::Conversation => (exchange.prompt.clone(), exchange.prompt.len()),
        };
        let first = before.len();
        Self { tokens: [before, exchange.response.clone()].concat(), first, known }
    }

    /// The window before `at`; none where it is not known or too short.
    fn window(&self, reach: &Reach, at: usize) -> Option<&[TokenId]> {
        let from = match at.checked_sub(reach.width) {
            Some(from) => from,
            // The conversation begins here: the window is as long as what there is.
            None if reach.partial && self.known == 0 && at > 0 => 0,
            None => return None,
        };
        (from >= self.known).then(|| &self.tokens[from..at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(width: usize, start: Start) -> Reach {
        Reach { width, start, partial: false, once: Once::Never, skip: 0, most: None }
    }

    fn exchange(prompt: &[TokenId], response: &[TokenId], whole_context: bool) -> Exchange {
        Exchange {
            prompt: prompt.to_vec(),
            response: response.to_vec(),
            whole_context,
            provenance: Provenance::Unknown,
        }
    }

    /// The windows and tokens found, and how many positions were skipped for each reason.
    fn found(reach: &Reach, exchange: &Exchange) -> (Vec<(Vec<TokenId>, TokenId)>, [u64; 3]) {
        let found = occurrences(reach, [exchange]).unwrap();
        let coins = &found.exchanges[0].answer;
        let mut pairs: Vec<_> = coins
            .iter()
            .map(|coin| (found.windows.windows().get(coin.window).to_vec(), coin.token))
            .collect();
        pairs.sort();
        let skipped = found.skipped;
        (pairs, [skipped.unmarked, skipped.repeated_window, skipped.prompt_window])
    }

    #[test]
    fn windows_begin_where_the_engine_lets_them() {
        let row = |whole| exchange(&[1, 2], &[3, 4], whole);
        let whole = reach(2, Start::Conversation);
        assert_eq!(found(&whole, &row(true)).0, [(vec![2, 3], 4)], "the prompt's own window is left out");
        assert_eq!(found(&whole, &row(false)), (vec![], [2, 0, 0]));
        let padded = reach(2, Start::Answer { pad: 0 });
        assert_eq!(found(&padded, &row(true)).0, [(vec![0, 0], 3), (vec![0, 3], 4)]);
        let partial = Reach { partial: true, ..reach(4, Start::Conversation) };
        assert_eq!(found(&partial, &row(true)).0, [(vec![1, 2], 3), (vec![1, 2, 3], 4)]);
        assert_eq!(found(&partial, &exchange(&[], &[3, 4], true)).0, [(vec![3], 4)], "never an empty window");
        assert!(found(&partial, &row(false)).0.is_empty());
        let later = Reach { skip: 1, ..padded };
        assert_eq!(found(&later, &row(true)), (vec![(vec![0, 3], 4)], [1, 0, 0]));
    }

    #[test]
    fn a_window_marks_once_as_far_as_the_history_reaches() {
        let row = exchange(&[9], &[5, 6, 5, 7, 5, 8], true);
        let tokens = |once, most| {
            let reach = Reach { once, most, ..reach(1, Start::Conversation) };
            found(&reach, &row)
                .0
                .into_iter()
                .filter(|(window, _)| window[0] == 5)
                .map(|(_, t)| t)
                .collect::<Vec<_>>()
        };
        assert_eq!(tokens(Once::Never, None), [6, 7, 8]);
        assert_eq!(tokens(Once::Within(None), None), [6]);
        assert_eq!(tokens(Once::Within(Some(2)), None), [6]);
        assert_eq!(tokens(Once::Within(Some(1)), None), [6, 7, 8]);
        assert!(tokens(Once::Never, Some(1)).is_empty());
    }

    /// Left-hash seeds by the last token, but a minimum over four has the same seed after many windows.
    #[test]
    fn what_shares_an_input_with_the_prompt_is_left_out_too() {
        let profile = r#"{"profile":"taggant/foreign/1","name":"n","key_is":"private","mark":{"lm-watermarking-kgw":{
            "seeding_scheme":"ff-minfunc_prf-2-False","hash_key":5,"gamma":0.25,"select_green_tokens":true,
            "vocab_size":1000,"rng":"torch-cpu"}}}"#;
        let mark = crate::scheme::foreign::Profile::from_json(profile).unwrap().mark;
        let draws = |prompt: &[TokenId]| {
            let found =
                occurrences(&mark.reach(), [&exchange(prompt, &[700, 3, 800, 900, 901, 902], true)]).unwrap();
            found.open(&mark.open()).unwrap().words().len()
        };
        // The prompt's own window falls; the others' minima are 600, 3, 3, 800 and 900.
        assert_eq!(draws(&[500, 600]), 5);
        // The prompt shows a seed by the minimum 3: both windows with it fall, although the prompt has neither.
        assert_eq!(draws(&[3, 44, 45, 500, 600]), 3);
    }

    #[test]
    fn no_more_tokens_of_a_list_count_than_it_leaves_entries() {
        let input = |state, token| Input { key: 0, state, token };
        let inputs = vec![input(1, 1), input(1, 2), input(1, 3), input(2, 1)];
        assert_eq!(within_lists(inputs.clone(), 3), inputs);
        assert_eq!(within_lists(inputs, 2), [input(1, 1), input(1, 2), input(2, 1)]);
    }

    #[test]
    fn marked_inputs_are_left_out_and_refused_without_a_window() {
        let row = Exchange { provenance: Provenance::Marked, ..exchange(&[1], &[2, 3], true) };
        let found = occurrences(&reach(1, Start::Conversation), [&row]).unwrap();
        assert_eq!((found.ngrams(), found.skipped.marked_input, found.positions), (0, 2, 2));
        assert!(occurrences(&reach(0, Start::Conversation), [&row]).is_err());
    }
}
