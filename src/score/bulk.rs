//! Text of any size: its draws are sorted, in memory or outside it, instead of looked up one by one.
//!
//! Every position that shows a draw leaves a record of fixed size: window, token, exchange. Sorted, equal draws stand
//! beside each other, the first exchange first, and so do the draws of a window, whose seed is then computed once. What does
//! not fit into memory is spilled as sorted runs ([`crate::sort`]).
//!
//! Records hold token ids and counts: they are made without a key, and nothing that depends on one is ever spilled. A scratch
//! folder that leaks shows the suspect's text and no more.

mod mix;

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use super::walk::{Shown, Walk, check_input};
use super::{
    Coin, Evidence, Exchange, ScoreError, Skipped, TextStatistic, Unrounded, Windows, of_arms, words,
};
use crate::law::{Rounding, Streamed, Tally};
use crate::scheme::mix::Parameters;
use crate::scheme::{Scheme, Spec};
use crate::sort::{Entry, FAN, NoScratch, Scratch, Sorter, field};
use crate::token::{TokenId, Width};

/// Text on its way into order, one exchange at a time. No key is involved.
#[derive(Debug)]
pub struct Bulk {
    width: Width,
    mix: Option<Parameters>,
    statistic: TextStatistic,
    records: Box<dyn Records>,
    progress: Progress,
}

/// What a [`Bulk`] knows besides the records in memory: after [`Bulk::spill`], all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The names of its runs.
    pub runs: Vec<String>,
    /// Answer positions looked at.
    pub positions: u64,
    /// Those that show a draw, for the first time or again.
    pub shown: u64,
    /// What showed none. Repeats are known in the end only.
    pub skipped: Skipped,
}

impl Bulk {
    /// Nothing yet, for windows of `width`.
    pub fn new(width: Width, statistic: TextStatistic) -> Self {
        let (records, progress) = (records(width.tokens() + 2, width, Vec::new()), Progress::default());
        Self { width, mix: None, statistic, records, progress }
    }

    /// Nothing yet, for a spec, which may be a mix.
    pub fn of(spec: Spec, statistic: TextStatistic) -> Self {
        Self::resume(spec, statistic, Progress::default())
    }

    /// What an earlier one for the same spec and statistic had spilled.
    pub fn resume(spec: Spec, statistic: TextStatistic, progress: Progress) -> Self {
        let mix = if let Spec::Mix(parameters) = spec { Some(parameters) } else { None };
        let records = records_of(spec, progress.runs.clone());
        Self { width: spec.width(), mix, statistic, records, progress }
    }

    /// Takes in one exchange: the draws that its positions show.
    ///
    /// # Errors
    /// Marked inputs at width 0, which a part of a mix may have.
    pub fn add(&mut self, exchange: &Exchange, cluster: u32) -> Result<(), ScoreError> {
        self.mix.map_or(Ok(()), |mix| check_input(mix.narrow(), exchange))?;
        let walk = Walk::new(self.width, exchange)?;
        self.progress.positions += walk.positions().len() as u64;
        self.progress.shown += self.records.take(&walk, cluster, &mut self.progress.skipped);
        Ok(())
    }

    /// Bytes of the records in memory. (While it grows, the list is there twice.)
    pub fn bytes(&self) -> usize {
        self.records.bytes()
    }

    /// Bytes that one draw has in memory.
    pub fn bytes_a_draw(spec: Spec) -> usize {
        records_of(spec, Vec::new()).size()
    }

    /// Writes what is in memory as a run, whose name starts with `name`, and gives the memory back. Merges the runs into one
    /// where there are many; the names of those that are no longer needed come back.
    ///
    /// # Errors
    /// What the scratch says.
    pub fn spill(&mut self, scratch: &dyn Scratch, name: &str) -> io::Result<Vec<String>> {
        let unneeded = self.records.spill(scratch, name)?;
        self.progress.runs = self.records.runs().to_vec();
        Ok(unneeded)
    }

    /// All but the records in memory.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Ends the counting: which draws there are, how often each.
    ///
    /// # Errors
    /// A run that cannot be read.
    pub fn sorted<'s>(mut self, scratch: &'s dyn Scratch) -> io::Result<Sorted<'s>> {
        self.records.sort();
        let Progress { positions, shown, mut skipped, .. } = self.progress;
        let (mut distinct, mut most) = (0, 0);
        self.records.visit(scratch, &mut |_, shown| {
            distinct += 1;
            most = most.max(shown.count);
        })?;
        skipped.repeated = shown - distinct;
        let Self { width, mix, statistic, records, .. } = self;
        Ok(Sorted { width, mix, statistic, records, scratch, skipped, positions, distinct, most })
    }

    /// The evidence, where all of it is in memory. Windows are numbered in ascending order.
    pub(super) fn evidence(self) -> Evidence {
        self.unrounded().round()
    }

    /// The same before rounding.
    pub(super) fn unrounded(mut self) -> Unrounded {
        self.records.sort();
        let Progress { positions, shown, mut skipped, .. } = self.progress;
        let (mut windows, mut tally) = (Windows::default(), Tally::new());
        let mut number = 0;
        let read =
            self.records.visit(&NoScratch, &mut |window, Repeated { token, count, cluster, first }| {
                if first {
                    number = windows.push(window);
                }
                tally.add(Coin { window: number, token }, f64::from(count), cluster);
            });
        debug_assert!(read.is_ok(), "memory is always read");
        skipped.repeated = shown - tally.distinct() as u64;
        let (tally, scale) = self.statistic.coefficients(tally);
        let marked_under = std::collections::BTreeSet::new();
        Unrounded { width: self.width, windows, tally, scale, marked_under, skipped, positions }
    }
}

/// Text in order, before any key was touched: what [`Evidence`] is for text that need not fit into memory.
pub struct Sorted<'s> {
    width: Width,
    mix: Option<Parameters>,
    statistic: TextStatistic,
    records: Box<dyn Records>,
    scratch: &'s dyn Scratch,
    most: u32,
    /// What gave no draw of its own.
    pub skipped: Skipped,
    /// Answer positions looked at.
    pub positions: u64,
    /// Distinct draws. Of a mix (wider window, token) pairs: how many distinct draws they make depends on the coin.
    pub distinct: u64,
}

impl Sorted<'_> {
    /// The draws under a key, every arm of it; they are opened by the test that takes them. `moved` hears of each window's
    /// draws how many they are: of as many as `distinct` for each arm.
    ///
    /// # Errors
    /// As [`Evidence::open`], and a run that cannot be opened.
    pub fn open<'a>(
        &'a self,
        scheme: &'a Scheme,
        moved: &'a dyn Fn(u64),
    ) -> Result<io::Result<Streamed<'a>>, ScoreError> {
        match self.mix {
            None => super::check_scheme(self.width, scheme)?,
            Some(mix) if *scheme.spec() == Spec::Mix(mix) => {}
            Some(_) => return Err(ScoreError::OtherMix),
        }
        let counts = (self.statistic, self.most);
        let open = |arm| self.records.open(self.scratch, counts, (scheme, arm), moved);
        match (0..scheme.arms().len()).map(open).collect::<io::Result<Vec<_>>>() {
            Ok(arms) => of_arms(arms.into_iter(), Streamed::pool).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }
}

impl fmt::Debug for Sorted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sorted").field("width", &self.width).field("distinct", &self.distinct).finish()
    }
}

/// A draw that the text shows.
struct Repeated {
    token: TokenId,
    count: u32,
    /// The first exchange that shows it.
    cluster: u32,
    /// Whether it is the first of its window.
    first: bool,
}

/// What hears of each draw and its window.
type Visit<'v> = &'v mut dyn FnMut(&[TokenId], Repeated);

/// A sorter, whatever the size of its records and what they hold.
trait Records: fmt::Debug {
    fn take(&mut self, walk: &Walk<'_>, cluster: u32, skipped: &mut Skipped) -> u64;
    fn size(&self) -> usize;
    fn bytes(&self) -> usize;
    fn runs(&self) -> &[String];
    fn spill(&mut self, scratch: &dyn Scratch, name: &str) -> io::Result<Vec<String>>;
    fn sort(&mut self);
    fn visit(&self, scratch: &dyn Scratch, visit: Visit<'_>) -> io::Result<()>;
    fn open<'a>(
        &'a self,
        scratch: &'a dyn Scratch,
        counts: (TextStatistic, u32),
        arm: (&'a Scheme, usize),
        moved: &'a dyn Fn(u64),
    ) -> io::Result<Streamed<'a>>;
}

/// What records hold, besides the exchange in their lowest field.
trait Layout: fmt::Debug {
    /// Pushes a record for each draw that an exchange shows; how many.
    fn take<const K: usize>(
        &self,
        sorter: &mut Sorter<K>,
        walk: &Walk<'_>,
        cluster: u32,
        skipped: &mut Skipped,
    ) -> u64;

    /// Shows every distinct draw.
    fn visit<const K: usize>(
        &self,
        sorter: &Sorter<K>,
        scratch: &dyn Scratch,
        visit: Visit<'_>,
    ) -> io::Result<()>;

    /// The draws of one arm, by its number; of a statistic, and the most occurrences of a draw.
    fn open<'a, const K: usize>(
        &'a self,
        sorter: &'a Sorter<K>,
        scratch: &'a dyn Scratch,
        counts: (TextStatistic, u32),
        arm: (&'a Scheme, usize),
        moved: &'a dyn Fn(u64),
    ) -> io::Result<Streamed<'a>>;
}

fn records_of(spec: Spec, runs: Vec<String>) -> Box<dyn Records> {
    match spec {
        Spec::Mix(mix) => records(mix.width().tokens() + 3, mix, runs),
        _ => records(spec.width().tokens() + 2, spec.width(), runs),
    }
}

/// Records of the fewest words that hold so many fields.
fn records<L: Layout + 'static>(fields: usize, layout: L, runs: Vec<String>) -> Box<dyn Records> {
    match fields.div_ceil(2) {
        1 => Box::new(Of { layout, sorter: Sorter::<1>::new(runs) }),
        2 => Box::new(Of { layout, sorter: Sorter::<2>::new(runs) }),
        3 => Box::new(Of { layout, sorter: Sorter::<3>::new(runs) }),
        4 => Box::new(Of { layout, sorter: Sorter::<4>::new(runs) }),
        5 => Box::new(Of { layout, sorter: Sorter::<5>::new(runs) }),
        6 => Box::new(Of { layout, sorter: Sorter::<6>::new(runs) }),
        7 => Box::new(Of { layout, sorter: Sorter::<7>::new(runs) }),
        8 => Box::new(Of { layout, sorter: Sorter::<8>::new(runs) }),
        9 => Box::new(Of { layout, sorter: Sorter::<9>::new(runs) }),
        _ => Box::new(Of { layout, sorter: Sorter::<10>::new(runs) }),
    }
}

/// Records of K words.
#[derive(Debug)]
struct Of<const K: usize, L> {
    layout: L,
    sorter: Sorter<K>,
}

impl<const K: usize, L: Layout> Records for Of<K, L> {
    fn take(&mut self, walk: &Walk<'_>, cluster: u32, skipped: &mut Skipped) -> u64 {
        self.layout.take(&mut self.sorter, walk, cluster, skipped)
    }

    fn size(&self) -> usize {
        size_of::<[u64; K]>()
    }

    fn bytes(&self) -> usize {
        self.sorter.fresh() * self.size()
    }

    fn runs(&self) -> &[String] {
        self.sorter.runs()
    }

    fn spill(&mut self, scratch: &dyn Scratch, name: &str) -> io::Result<Vec<String>> {
        self.sorter.spill(scratch, format!("{name}.run"))?;
        let many = self.sorter.runs().len() >= FAN;
        if many { self.sorter.merge_runs(scratch, format!("{name}.merged")) } else { Ok(Vec::new()) }
    }

    fn sort(&mut self) {
        self.sorter.sort();
    }

    fn visit(&self, scratch: &dyn Scratch, visit: Visit<'_>) -> io::Result<()> {
        self.layout.visit(&self.sorter, scratch, visit)
    }

    fn open<'a>(
        &'a self,
        scratch: &'a dyn Scratch,
        counts: (TextStatistic, u32),
        arm: (&'a Scheme, usize),
        moved: &'a dyn Fn(u64),
    ) -> io::Result<Streamed<'a>> {
        self.layout.open(&self.sorter, scratch, counts, arm, moved)
    }
}

/// Window and token of a record, without its exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key<const K: usize>([u64; K]);

impl<const K: usize> Key<K> {
    fn of(record: [u64; K]) -> Self {
        let mut key = record;
        key[K - 1] &= !u64::from(u32::MAX);
        Self(key)
    }

    fn token(&self) -> TokenId {
        field(&self.0, 2 * K - 2)
    }

    /// The window, in the first places of a list.
    fn window(&self, width: Width) -> [TokenId; Width::MAX as usize] {
        let mut window = [0; Width::MAX as usize];
        let first = 2 * K - 2 - width.tokens();
        (0..width.tokens()).for_each(|at| window[at] = field(&self.0, first + at));
        window
    }

    /// Whether two keys have one window: all above the last word.
    fn same_window(&self, other: &Self) -> bool {
        self.0[..K - 1] == other.0[..K - 1]
    }
}

/// Draws of one width: window and token.
impl Layout for Width {
    fn take<const K: usize>(
        &self,
        sorter: &mut Sorter<K>,
        walk: &Walk<'_>,
        cluster: u32,
        skipped: &mut Skipped,
    ) -> u64 {
        let mut shown = 0;
        for at in walk.positions() {
            match walk.at(at) {
                Shown::Draw(window, token) => {
                    let mut record = [0; K];
                    record[K - 1] = u64::from(token) << 32 | u64::from(cluster);
                    for (at, token) in window.iter().rev().enumerate() {
                        record[K - 2 - at / 2] |= u64::from(*token) << (at % 2 * 32);
                    }
                    sorter.push(record);
                    shown += 1;
                }
                other => other.skip(skipped),
            }
        }
        shown
    }

    fn visit<const K: usize>(
        &self,
        sorter: &Sorter<K>,
        scratch: &dyn Scratch,
        visit: Visit<'_>,
    ) -> io::Result<()> {
        let mut before: Option<Key<K>> = None;
        for entry in sorter.entries(scratch)? {
            let entry = entry?;
            let key = Key::of(entry.record);
            let first = before.replace(key).is_none_or(|before| !before.same_window(&key));
            let (token, count, cluster) = (key.token(), entry.count, entry.tag());
            visit(&key.window(*self)[..self.tokens()], Repeated { token, count, cluster, first });
        }
        Ok(())
    }

    fn open<'a, const K: usize>(
        &'a self,
        sorter: &'a Sorter<K>,
        scratch: &'a dyn Scratch,
        (statistic, most): (TextStatistic, u32),
        (scheme, arm): (&'a Scheme, usize),
        moved: &'a dyn Fn(u64),
    ) -> io::Result<Streamed<'a>> {
        let arm = &scheme.arms()[arm];
        let coefficient = move |entry: io::Result<Entry<K>>| {
            let entry = entry?;
            Ok((Key::of(entry.record), statistic.of(f64::from(entry.count)), entry.tag()))
        };
        let coefficients = sorter.entries(scratch)?.map(coefficient);
        let window = |key: &Key<K>, into: &mut Vec<TokenId>| into.extend(&key.window(*self)[..self.tokens()]);
        let words = move |keys: &[Key<K>]| {
            moved(keys.len() as u64);
            words(arm, keys, Key::same_window, window, Key::token)
        };
        Ok(Streamed::new(arm.law(), arm.origin(), rounding(statistic, most)?, coefficients, words))
    }
}

/// How counts are rounded, of which the largest is `most`.
fn rounding(statistic: TextStatistic, most: u32) -> io::Result<Rounding> {
    Rounding::new(statistic.scale(), statistic.of(f64::from(most)))
        .ok_or_else(|| io::Error::other("the scale needs all coefficients at once"))
}
