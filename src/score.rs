//! Scoring: text, or next-token distributions, to draws; and what was skipped, and why.
//!
//! Two kinds of evidence, two types that never mix (the argument is in `law`):
//!
//! - *Key-independent* ([`Evidence`]): the suspect's answers to fresh prompts, or its distributions there. Coefficients
//!   are made by [`count`], [`mass`] or [`residual`], which take no key; only then does [`Evidence::open`] ask for one.
//! - *Adaptive* ([`Reading`]): the suspect reads text marked under the scored key. It predicts; each window is opened
//!   once, after the prediction was fixed; its only verdict is an e-process.
//!
//! Text is counted by sorting its draws ([`Bulk`]), which need not fit into memory.
//!
//! Text under another engine's mark ([`Occurrences`]) is neither: its draws rest on what that engine's generator is assumed
//! to do, and no verdict is made of them.

mod accounts;
pub mod alignment;
mod bulk;
mod exposure;
mod foreign;
mod mixed;
mod pooled;
mod reading;
mod residual;
mod rows;
mod sums;
mod tenants;
mod walk;

use std::collections::BTreeSet;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use serde::{Deserialize, Serialize};

use crate::law::{Draws, Origin, SameOrigin, Scale, Tally, Weighted, Whole};
use crate::scheme::{Arm, Scheme};
use crate::token::{TokenId, Width};
use walk::{Shown, Walk};

pub use accounts::accounts;
pub use bulk::{Bulk, Progress, Sorted};
pub use exposure::{Exposure, Exposures};
pub use foreign::{ForeignSkipped, Occurrences, occurrences};
pub use mixed::{Counted, Mixed};
pub use pooled::{Pooled, Unrounded};
pub use reading::{Reading, ReadingError};
pub use residual::{Expectation, Expecting, Over, Pair, SHRINK, Text};
pub use rows::{
    Compared, Prediction, Row, RowStatistic, Weight, argmax, mass, mean_mass, residual, residual_of_known,
};
pub use sums::Sums;
pub use tenants::tenants;

/// One prompt and its answer, as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The whole context as the model saw it, or what is known of it.
    pub prompt: Vec<TokenId>,
    /// The answer.
    pub response: Vec<TokenId>,
    /// Whether `prompt` is all that the model saw. Text rows lack the chat template, so the first positions of their
    /// answers have no certain window and are not scored.
    pub whole_context: bool,
    /// Where the prompt comes from.
    pub provenance: Provenance,
}

/// Where an exchange's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provenance {
    /// Attested in a plan: derives from nothing marked. Nothing is excluded.
    Fresh,
    /// Nobody says. Windows that occur inside the row's own prompt do not count (at width 0: its tokens).
    Unknown,
    /// Some input may derive from text marked under the scored key. The exchange is dropped; width 0 refuses it.
    Marked,
}

/// How often a repeated draw counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextStatistic {
    /// Each distinct (window, token) counts once (Fernandez et al. 2023; the named baseline).
    Distinct,
    /// √n for n occurrences: the default without a reference.
    RootCount,
}

impl TextStatistic {
    /// The coefficient of a draw that occurs so often, before it is rounded.
    fn of(self, occurrences: f64) -> f64 {
        match self {
            Self::Distinct => 1.0,
            Self::RootCount => occurrences.sqrt(),
        }
    }

    /// How it is rounded.
    fn scale(self) -> Scale {
        match self {
            Self::Distinct => Scale::Unit,
            Self::RootCount => Scale::Max,
        }
    }

    /// Coefficients from the number of occurrences, and how they are rounded.
    fn coefficients(self, occurrences: Tally<Coin>) -> (Tally<Coin>, Scale) {
        (occurrences.map(|occurrences| self.of(occurrences)), self.scale())
    }
}

/// Positions of answers that gave no draw of their own, by rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Fewer than `width` known predecessors: unmarked, or an uncertain window.
    pub short_window: u64,
    /// The window (at width 0: the token) occurs inside the row's own prompt.
    pub prompt_window: u64,
    /// The same (window, token) came before: the same coin.
    pub repeated: u64,
    /// In exchanges whose input may derive from marked text.
    pub marked_input: u64,
}

impl Skipped {
    /// All positions skipped.
    pub fn total(&self) -> u64 {
        self.short_window + self.prompt_window + self.repeated + self.marked_input
    }
}

impl std::ops::AddAssign for Skipped {
    fn add_assign(&mut self, other: Self) {
        self.short_window += other.short_window;
        self.prompt_window += other.prompt_window;
        self.repeated += other.repeated;
        self.marked_input += other.marked_input;
    }
}

/// One input of the keyed function: an interned window and a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Coin {
    /// The window's number in [`Windows`].
    pub window: u32,
    /// The token after it.
    pub token: TokenId,
}

/// Windows by number, each once.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// One after the other.
    tokens: Vec<TokenId>,
    ends: Vec<usize>,
}

impl Windows {
    /// The window of a number.
    pub fn get(&self, number: u32) -> &[TokenId] {
        slice(&self.tokens, &self.ends, number)
    }

    /// The windows, by number.
    pub fn iter(&self) -> impl Iterator<Item = &[TokenId]> {
        (0..).take(self.len()).map(|number| self.get(number))
    }

    /// The number of distinct windows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no window.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Appends a window that is none of the others; gives its number.
    fn push(&mut self, window: &[TokenId]) -> u32 {
        let number = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        self.tokens.extend_from_slice(window);
        self.ends.push(self.tokens.len());
        number
    }
}

/// Gives windows their numbers, as they come.
#[derive(Clone, Debug, Default)]
pub struct Numbering {
    hasher: DefaultHashBuilder,
    numbers: HashTable<u32>,
    windows: Windows,
}

impl Numbering {
    /// The number of `window`, new or known.
    pub fn number(&mut self, window: &[TokenId]) -> u32 {
        let Self { hasher, numbers, windows } = self;
        let hash = hasher.hash_one(window);
        if let Some(number) = numbers.find(hash, |number| windows.get(*number) == window) {
            return *number;
        }
        let number = windows.push(window);
        numbers.insert_unique(hash, number, |number| hasher.hash_one(windows.get(*number)));
        number
    }

    /// The windows so far.
    pub fn windows(&self) -> &Windows {
        &self.windows
    }
}

fn slice<'t>(tokens: &'t [TokenId], ends: &[usize], number: u32) -> &'t [TokenId] {
    let number = number as usize;
    &tokens[number.checked_sub(1).map_or(0, |before| ends[before])..ends[number]]
}

/// Key-independent evidence before any key was touched: whole-number coefficients by draw.
#[derive(Clone, Debug)]
pub struct Evidence {
    width: Width,
    windows: Windows,
    whole: Whole<Coin>,
    marked_under: BTreeSet<Origin>,
    /// What gave no draw of its own.
    pub skipped: Skipped,
    /// Answer positions, or rows, looked at.
    pub positions: u64,
}

impl Evidence {
    /// The window's width that the evidence was counted for.
    pub fn width(&self) -> Width {
        self.width
    }

    /// The coefficients, sorted by window and token.
    pub fn coefficients(&self) -> &Whole<Coin> {
        &self.whole
    }

    /// The windows behind the coefficients.
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    /// Says that something the coefficients were made from (a reference, traffic) was marked under these keys: they can
    /// no longer be opened under one of them.
    #[must_use]
    pub fn marked_under(mut self, keys: impl IntoIterator<Item = Origin>) -> Self {
        self.marked_under.extend(keys);
        self
    }

    /// Opens the draws under a key, every arm of it.
    ///
    /// # Errors
    /// The scheme has another width, or is a mix, whose parts need [`Mixed`]; or something marked under its key went into
    /// the coefficients.
    pub fn open(&self, scheme: &Scheme) -> Result<Draws, ScoreError> {
        self.check(scheme)?;
        of_arms(scheme.arms().iter().map(|arm| self.open_arm(arm)), Draws::pool)
    }

    fn check(&self, scheme: &Scheme) -> Result<(), ScoreError> {
        check_scheme(self.width, scheme)?;
        if scheme.arms().iter().any(|arm| self.marked_under.contains(&arm.origin())) {
            return Err(ScoreError::DependentSource);
        }
        Ok(())
    }

    fn open_arm(&self, arm: &Arm) -> Draws {
        // Draws are opened in the order of their inputs.
        let mut words = self.words(arm).into_iter();
        self.whole.open(arm.law(), arm.origin(), |_| words.next().unwrap_or_default())
    }

    /// The words of all draws, whose coefficients are sorted by window and token.
    fn words(&self, arm: &Arm) -> Vec<u32> {
        let nonzero = self.whole.entries().iter().filter(|entry| entry.coefficient != 0);
        let coins: Vec<Coin> = nonzero.map(|entry| entry.input).collect();
        let window = |coin: &Coin, into: &mut Vec<TokenId>| into.extend(self.windows.get(coin.window));
        words(arm, &coins, |a, b| a.window == b.window, window, |coin| coin.token)
    }
}

/// Windows whose seeds are made together.
const TILE: usize = 256;
/// A window that so many tokens follow is asked for neighbouring ones, which share blocks of its stream.
const MANY: usize = 64;

/// The words of draws that stand by window; `window` adds the tokens of a draw's window to a list. Each seed is computed once.
fn words<C>(
    arm: &Arm,
    coins: &[C],
    same_window: impl Fn(&C, &C) -> bool,
    window: impl Fn(&C, &mut Vec<TokenId>),
    token: impl Fn(&C) -> TokenId,
) -> Vec<u32> {
    let mut words = Vec::with_capacity(coins.len());
    let (mut tokens, mut seeds, mut few) = (Vec::new(), Vec::new(), Vec::new());
    let after: Vec<&[C]> = coins.chunk_by(same_window).collect();
    for tile in after.chunks(TILE) {
        tokens.clear();
        seeds.clear();
        tile.iter().for_each(|coins| window(&coins[0], &mut tokens));
        let width = tokens.len() / tile.len();
        let windows: Vec<&[TokenId]> =
            (0..tile.len()).map(|at| &tokens[at * width..(at + 1) * width]).collect();
        arm.seeds(&windows, &mut seeds);
        for ((at, seed), coins) in (0..).zip(&seeds).zip(tile.iter().copied()) {
            if coins.len() < MANY {
                few.extend(coins.iter().map(|coin| (at, token(coin))));
            } else {
                arm.visit(&seeds, &few, |word| words.push(word));
                few.clear();
                let mut lanes = seed.lanes();
                words.extend(coins.iter().map(|coin| arm.word_in(&mut lanes, token(coin))));
            }
        }
        arm.visit(&seeds, &few, |word| words.push(word));
        few.clear();
    }
    words
}

/// Refuses schemes of another width, and mixes.
fn check_scheme(width: Width, scheme: &Scheme) -> Result<(), ScoreError> {
    if scheme.coin().is_some() {
        return Err(ScoreError::Mix);
    }
    let of_scheme = scheme.spec().width();
    if of_scheme != width {
        return Err(ScoreError::Width { counted: width, scheme: of_scheme });
    }
    Ok(())
}

/// The draws of a scheme's arms, whose keys are unrelated, as one set.
fn of_arms<D>(
    mut arms: impl Iterator<Item = D>,
    pool: impl Fn(D, D) -> Result<D, SameOrigin>,
) -> Result<D, ScoreError> {
    let first = arms.next().ok_or(ScoreError::NoArm)?;
    Ok(arms.try_fold(first, pool)?)
}

/// Counts the draws of `exchanges` for windows of `width`: no key is involved.
///
/// Each distinct (window, token) over all answers is one draw, whatever its count; the window reaches back into the
/// prompt. Clusters are the exchanges' positions in the slice.
///
/// # Errors
/// Marked inputs at width 0, where no exclusion helps; or more than 2³² − 1 exchanges.
pub fn count(width: Width, exchanges: &[Exchange], statistic: TextStatistic) -> Result<Evidence, ScoreError> {
    let mut bulk = Bulk::new(width, statistic);
    for (exchange, cluster) in exchanges.iter().zip(0..) {
        bulk.add(exchange, cluster)?;
    }
    Ok(bulk.evidence())
}

/// Why a position gives no draw of its own, or the coin it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// It shows this draw, for the first time or again.
    Draw(Coin, Repeat),
    /// Fewer than `width` known predecessors.
    ShortWindow,
    /// Its window is inside the row's prompt.
    PromptWindow,
    /// The exchange's input may be marked.
    MarkedInput,
}

/// Whether a draw was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// For the first time.
    First,
    /// It is the same coin again.
    Again,
}

/// How often a draw was seen, and in which exchange first.
#[derive(Clone, Copy, Debug)]
struct Count {
    seen: u32,
    cluster: u32,
}

/// Walks over exchanges and says, position by position, which draw each shows and whether it came before. (To count draws
/// alone, [`count`] is quicker.)
#[derive(Clone, Debug)]
pub struct Counter {
    width: Width,
    windows: Numbering,
    counts: HashMap<Coin, Count>,
    skipped: Skipped,
    positions: u64,
}

impl Counter {
    /// A counter for windows of `width`.
    pub fn new(width: Width) -> Self {
        Self {
            width,
            windows: Numbering::default(),
            counts: HashMap::new(),
            skipped: Skipped::default(),
            positions: 0,
        }
    }

    /// Counts one exchange and says what became of each position of its answer.
    ///
    /// # Errors
    /// Marked inputs at width 0.
    pub fn exchange(&mut self, exchange: &Exchange, cluster: u32) -> Result<Vec<Position>, ScoreError> {
        let walk = Walk::new(self.width, exchange)?;
        Ok(walk.positions().map(|at| self.position(walk.at(at), cluster)).collect())
    }

    fn position(&mut self, shown: Shown<'_>, cluster: u32) -> Position {
        self.positions += 1;
        match shown {
            Shown::Draw(window, token) => {
                let coin = Coin { window: self.windows.number(window), token };
                let count = self.counts.entry(coin).or_insert(Count { seen: 0, cluster });
                count.seen += 1;
                let repeat = if count.seen == 1 { Repeat::First } else { Repeat::Again };
                self.skipped.repeated += u64::from(repeat == Repeat::Again);
                Position::Draw(coin, repeat)
            }
            Shown::MarkedInput => {
                self.skipped.marked_input += 1;
                Position::MarkedInput
            }
            Shown::PromptWindow => {
                self.skipped.prompt_window += 1;
                Position::PromptWindow
            }
            Shown::ShortWindow => {
                self.skipped.short_window += 1;
                Position::ShortWindow
            }
        }
    }
}

/// Why rows cannot be scored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// No exclusion makes marked inputs safe at width 0.
    #[error(
        "at width 0 every token of a marked input is informative: exchanges with marked inputs are refused"
    )]
    MarkedInputAtWidth0,
    /// Coefficients were counted for another width than the scheme's.
    #[error("the draws were counted for windows of {counted} tokens, the scheme's have {scheme}")]
    Width {
        /// Width of the counted windows.
        counted: Width,
        /// The scheme's width.
        scheme: Width,
    },
    /// Draws of one key would count twice.
    #[error(transparent)]
    SameOrigin(#[from] SameOrigin),
    /// At width 0 the prompt rule excludes tokens, and a distribution speaks of all of them.
    #[error(
        "at width 0 distributions and references are scored for attested fresh prompts only: rows of unknown origin are \
         refused"
    )]
    UnknownOriginAtWidth0,
    /// Rule 2 of validity: coefficients made from text marked under a key are no evidence about that key.
    #[error(
        "something that the coefficients were made from was marked under the scored key: they are no evidence about it"
    )]
    DependentSource,
    /// Exposure was counted for other windows.
    #[error("the exposure was counted for windows of {counted} tokens, the evidence has {wanted}")]
    Exposure {
        /// Width of the counted windows.
        counted: Width,
        /// Width of the evidence.
        wanted: Width,
    },
    /// A listed window that is none of the evidence's width.
    #[error("exposure: \"{0}\" is no window of the evidence's width, written as ids with one space between")]
    ExposedWindow(String),
    /// An expectation that was made for another text.
    #[error("the expectation does not list every window of the text: it was made for another one")]
    Expectation,
    /// An expectation that no distributions add up to.
    #[error("the expectation adds up to more than the text has contexts: it was not made from distributions")]
    ExpectationTotal,
    /// An expectation that lists more draws than the rule for its width.
    #[error(
        "the expectation lists pairs that the text does not show; at widths of 2 and more only observed pairs count"
    )]
    Unobserved,
    /// Coefficients of one width for a scheme with two.
    #[error(
        "a mix has two parts with windows of their own: it is scored from text, each draw once or √n times, and by \
         nothing else yet"
    )]
    Mix,
    /// Draws for one scheme where another was counted.
    #[error("the text was counted for another mix")]
    OtherMix,
    /// Keys that were not counted for.
    #[error("the draws were counted for {counted} keys, and {schemes} are to be opened")]
    Keys {
        /// Keys counted for.
        counted: usize,
        /// Schemes given.
        schemes: usize,
    },
    /// The scheme has no key.
    #[error("the scheme has no draws of its own: choose an account, or test all of them as candidates")]
    NoArm,
    /// Candidates for a scheme that knows none.
    #[error("the scheme marks every account alike: there are no candidates to test")]
    NoAccounts,
    /// Candidates with keys of their own are compared by counts of one chance.
    #[error("keys are compared by how many draws are green under each: one green list for all of them")]
    NoLists,
    /// Candidates are compared by counts.
    #[error(transparent)]
    Weighted(#[from] Weighted),
    /// A foreign mark that is a public table, or that is none.
    #[error("a mark that is a public table is scored by its correlation, and no other mark is")]
    ForeignTable,
    /// A distribution that is none.
    #[error("row {row}: {what}")]
    Row {
        /// The row's position, from 0.
        row: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}
