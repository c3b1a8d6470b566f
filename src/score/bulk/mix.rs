//! Text of any size under a mix: one order serves both parts and the coin.
//!
//! The coin belongs to the wider window, so how often a narrow (window, token) counts is known only once the coin was asked.
//! Sorting again by then would write down what depends on a key. Instead a record begins with what the narrow draw is
//! made of, and the rest of the wider window follows: (narrow window, token, older tokens of the wider window, whether
//! the narrow window lies in the prompt, exchange). In this order all that falls to one narrow draw stands together, and
//! so does all of one wider draw; the coin is asked in passing. [`super::super::mixed`] says why it may choose.

use std::io;
use std::iter::Peekable;

use super::super::walk::{Shown, Walk, looked_up, windows_of_prompt};
use super::super::{Skipped, TextStatistic, words};
use super::{Layout, Repeated, Visit, rounding};
use crate::law::Streamed;
use crate::scheme::Scheme;
use crate::scheme::mix::{Coin, Parameters};
use crate::sort::{Entries, Entry, Scratch, Sorter, field, record};
use crate::token::{TokenId, Width};

/// Where a record's fields are.
#[derive(Clone, Copy, Debug)]
struct Fields {
    narrow: usize,
    wide: usize,
    /// The first of the narrow window.
    first: usize,
}

impl Fields {
    fn of<const K: usize>(parameters: Parameters) -> Self {
        let [a, b] = parameters.parts.map(|part| part.width().tokens());
        Self { narrow: a.min(b), wide: a.max(b), first: 2 * K - (a.max(b) + 3) }
    }

    fn token<const K: usize>(self, draw: &[u64; K]) -> TokenId {
        field(draw, self.first + self.narrow)
    }

    /// The window of `width`, either one, in the first places of a list.
    fn window<const K: usize>(self, draw: &[u64; K], width: usize) -> [TokenId; Width::MAX as usize] {
        let mut window = [0; Width::MAX as usize];
        let older = width - self.narrow;
        (0..older).for_each(|at| window[at] = field(draw, self.first + self.narrow + 1 + at));
        (0..self.narrow).for_each(|at| window[older + at] = field(draw, self.first + at));
        window
    }

    /// What a record says of a draw of `width`: the same for all records of one draw.
    fn draw<const K: usize>(self, record: &[u64; K], width: usize) -> [u64; K] {
        let kept = self.first + if width == self.wide { self.wide + 1 } else { self.narrow + 1 };
        let mut draw = *record;
        let low = u64::from(u32::MAX);
        (kept..2 * K).for_each(|at| draw[at / 2] &= if at % 2 == 0 { low } else { !low });
        draw
    }

    /// Whether the narrow window lies in the prompt.
    fn in_prompt<const K: usize>(record: &[u64; K]) -> bool {
        field(record, 2 * K - 2) == 1
    }
}

/// One draw of the wider window, wherever it occurs.
#[derive(Clone, Copy, Debug)]
struct Wide<const K: usize> {
    draw: [u64; K],
    /// How often.
    all: u32,
    /// How often where the narrow window does not lie in the prompt.
    outside: u32,
    /// The first exchange that shows it.
    cluster: u32,
}

/// The draws of the wider window, in order.
struct Wides<'a, const K: usize> {
    fields: Fields,
    entries: Peekable<Entries<'a, K>>,
}

impl<const K: usize> Iterator for Wides<'_, K> {
    type Item = io::Result<Wide<K>>;

    fn next(&mut self) -> Option<Self::Item> {
        let fields = self.fields;
        let of = |entry: &Entry<K>| {
            let outside = if Fields::in_prompt(&entry.record) { 0 } else { entry.count };
            let draw = fields.draw(&entry.record, fields.wide);
            Wide { draw, all: entry.count, outside, cluster: entry.tag() }
        };
        let mut wide = match self.entries.next()? {
            Ok(entry) => of(&entry),
            Err(error) => return Some(Err(error)),
        };
        let same = |next: &io::Result<Entry<K>>| next.as_ref().is_ok_and(|next| of(next).draw == wide.draw);
        if let Some(Ok(next)) = self.entries.next_if(same) {
            let next = of(&next);
            wide.all = wide.all.saturating_add(next.all);
            wide.outside = wide.outside.saturating_add(next.outside);
            wide.cluster = wide.cluster.min(next.cluster);
        }
        Some(Ok(wide))
    }
}

/// The draws of one part, in order: those of the wider window that the coin gives it, summed where they are one to it.
struct OfPart<'a, const K: usize> {
    fields: Fields,
    wides: Peekable<Wides<'a, K>>,
    coin: &'a Coin,
    part: usize,
    width: usize,
}

impl<const K: usize> OfPart<'_, K> {
    /// How often a wider draw counts for this part.
    fn counts(&self, wide: &Wide<K>) -> u32 {
        let window = self.fields.window(&wide.draw, self.fields.wide);
        let mine = self.coin.part(&window[..self.fields.wide]) == self.part;
        match (mine, self.width == self.fields.wide) {
            (false, _) => 0,
            (true, true) => wide.all,
            (true, false) => wide.outside,
        }
    }
}

impl<const K: usize> Iterator for OfPart<'_, K> {
    /// Draw, occurrences, first exchange.
    type Item = io::Result<([u64; K], u32, u32)>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut found: Option<([u64; K], u32, u32)> = None;
        loop {
            let (fields, width) = (self.fields, self.width);
            let other = |next: &io::Result<Wide<K>>| match (&found, next) {
                (Some((draw, ..)), Ok(next)) => fields.draw(&next.draw, width) != *draw,
                (Some(_), Err(_)) => true,
                (None, _) => false,
            };
            if self.wides.peek().is_none_or(other) {
                return found.map(Ok);
            }
            let wide = match self.wides.next()? {
                Ok(wide) => wide,
                Err(error) => return Some(Err(error)),
            };
            let count = self.counts(&wide);
            if count > 0 {
                let (draw, seen, cluster) =
                    found.unwrap_or((fields.draw(&wide.draw, width), 0, wide.cluster));
                found = Some((draw, seen.saturating_add(count), cluster.min(wide.cluster)));
            }
        }
    }
}

fn wides<'a, const K: usize>(
    mix: Parameters,
    sorter: &'a Sorter<K>,
    scratch: &'a dyn Scratch,
) -> io::Result<Wides<'a, K>> {
    Ok(Wides { fields: Fields::of::<K>(mix), entries: sorter.entries(scratch)?.peekable() })
}

fn of_part<'a, const K: usize>(
    mix: Parameters,
    sorter: &'a Sorter<K>,
    scratch: &'a dyn Scratch,
    coin: &'a Coin,
    part: usize,
) -> io::Result<OfPart<'a, K>> {
    let wides = wides(mix, sorter, scratch)?.peekable();
    let width = mix.parts[part].width().tokens();
    Ok(OfPart { fields: Fields::of::<K>(mix), wides, coin, part, width })
}

impl Layout for Parameters {
    fn take<const K: usize>(
        &self,
        sorter: &mut Sorter<K>,
        walk: &Walk<'_>,
        cluster: u32,
        skipped: &mut Skipped,
    ) -> u64 {
        let (narrow, older) = (self.narrow(), self.width().tokens() - self.narrow().tokens());
        let excluded = windows_of_prompt(narrow, walk.exchange());
        let mut shown = 0;
        for at in walk.positions() {
            match walk.at(at) {
                Shown::Draw(window, token) => {
                    let (older, recent) = window.split_at(older);
                    let in_prompt = excluded.contains(looked_up(narrow, walk.context(), at));
                    let ends = [u32::from(in_prompt), cluster];
                    sorter.push(record(&[recent, &[token], older, &ends].concat()));
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
        let fields = Fields::of::<K>(*self);
        for wide in wides(*self, sorter, scratch)? {
            let Wide { draw, all: count, cluster, .. } = wide?;
            let (window, token) = (fields.window(&draw, fields.wide), fields.token(&draw));
            visit(&window[..fields.wide], Repeated { token, count, cluster, first: true });
        }
        Ok(())
    }

    /// The coin is opened first, and of each part what its largest count is; then the part's draws.
    fn open<'a, const K: usize>(
        &'a self,
        sorter: &'a Sorter<K>,
        scratch: &'a dyn Scratch,
        (statistic, _): (TextStatistic, u32),
        (scheme, part): (&'a Scheme, usize),
        moved: &'a dyn Fn(u64),
    ) -> io::Result<Streamed<'a>> {
        let coin = scheme.coin().ok_or_else(|| io::Error::other("the scheme is no mix"))?;
        let (arm, fields) = (&scheme.arms()[part], Fields::of::<K>(*self));
        let width = arm.width().tokens();
        let mut most = 1;
        if statistic != TextStatistic::Distinct {
            for draw in of_part(*self, sorter, scratch, coin, part)? {
                most = most.max(draw?.1);
            }
        }
        let coefficients = of_part(*self, sorter, scratch, coin, part)?.map(move |draw| {
            draw.map(|(draw, seen, cluster)| (draw, statistic.of(f64::from(seen)), cluster))
        });
        let window = move |draw: &[u64; K]| fields.window(draw, width);
        let words = move |draws: &[[u64; K]]| {
            moved(draws.len() as u64);
            let tokens = |draw: &[u64; K], into: &mut Vec<TokenId>| into.extend(&window(draw)[..width]);
            words(arm, draws, |a, b| window(a) == window(b), tokens, |draw| fields.token(draw))
        };
        Ok(Streamed::new(arm.law(), arm.origin(), rounding(statistic, most)?, coefficients, words))
    }
}
