//! Next-token distributions to coefficients: one coefficient a (window, token), contexts of equal windows summed.
//!
//! Everything here chooses by q, the suspect's own distribution, and by a reference b: under H0 neither depends on the
//! key. Where an API returns only its K likeliest tokens, what is not returned is not taken for 0: those tokens give draws,
//! and in a residual those that the reference holds for likelier than the least of them, at no more than that one's q.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{Coin, Evidence, Exposure, Numbering, Provenance, ScoreError, Skipped, Unrounded, exposure};
use crate::law::{Scale, Tally};
use crate::token::{TokenId, Width};

/// The suspect's next-token distribution at one context.
#[derive(Clone, Copy, Debug)]
pub struct Prediction<'a> {
    /// The whole prompt as the model saw it.
    pub prompt: &'a [TokenId],
    /// The answer so far.
    pub context: &'a [TokenId],
    /// Where the prompt comes from.
    pub provenance: Provenance,
    /// The distribution, as far as it is known.
    pub q: Row<'a>,
    /// The exchange the context belongs to.
    pub cluster: u32,
}

/// A next-token distribution, probabilities in 0..=1.
#[derive(Clone, Copy, Debug)]
pub enum Row<'a> {
    /// By token id, every one.
    Whole(&'a [f32]),
    /// Some tokens, each once; of the others nothing is known.
    Top(&'a [(TokenId, f32)]),
    /// The likeliest tokens, as an API returns them (ask for 20), each once: no other token is likelier than the least of
    /// them. A residual uses that too.
    Likeliest(&'a [(TokenId, f32)]),
}

/// What a window's coefficients are multiplied by.
#[derive(Clone, Copy, Debug)]
pub enum Weight<'a> {
    /// 1.
    Equal,
    /// 1/(Σ a²)^¼, so that frequent windows do not dominate: the default.
    HalfNorm,
    /// The same times e/(e + 20) at widths 0 and 1, √e at wider ones, e the window's exposure.
    Exposed(&'a Exposure),
}

/// What rows are scored by.
#[derive(Clone, Copy, Debug)]
pub enum RowStatistic<'a> {
    /// As [`argmax`].
    Argmax,
    /// As [`mass`].
    Mass,
    /// As [`residual`].
    Residual(&'a [Vec<f32>], Weight<'a>),
    /// The residual of so much of each row: tokens, each with q and b.
    ResidualOf(&'a [Vec<Compared>], Weight<'a>),
}

impl RowStatistic<'_> {
    /// The coefficients before they are rounded, for a test under several keys.
    ///
    /// # Errors
    /// A row that is no distribution, references that do not fit the rows, an exposure for other windows, or marked inputs
    /// at width 0.
    pub fn coefficients(self, width: Width, rows: &[Prediction<'_>]) -> Result<Unrounded, ScoreError> {
        match self {
            Self::Argmax => likeliest(width, rows),
            Self::Mass => masses(width, rows),
            Self::Residual(references, weight) => residuals(width, rows, references, weight),
            Self::ResidualOf(pairs, weight) => beside(width, rows, weight, |row, _| {
                pairs.get(row).cloned().ok_or(ScoreError::Row { row, what: "its reference is missing" })
            }),
        }
    }
}

/// Argmax: a = 1 for each distinct (window, likeliest token), ties to the lowest id (Sander et al. 2024, open model).
/// A named baseline.
///
/// # Errors
/// A row that is no distribution, or marked inputs at width 0.
pub fn argmax(width: Width, rows: &[Prediction<'_>]) -> Result<Evidence, ScoreError> {
    likeliest(width, rows).map(Unrounded::round)
}

fn likeliest(width: Width, rows: &[Prediction<'_>]) -> Result<Unrounded, ScoreError> {
    let table = Table::new(
        width,
        rows,
        |_| Sums::Sparse(BTreeMap::new()),
        |row, sums| {
            let likelier = |best: (TokenId, f32), next: (TokenId, f32)| {
                if next.1 > best.1 || next.1 == best.1 && next.0 < best.0 { next } else { best }
            };
            if let Some((token, _)) = rows[row].q.iter().reduce(likelier) {
                sums.set(token, 1.0);
            }
            Ok(())
        },
    )?;
    table.coefficients(Weight::Equal, Scale::Unit)
}

/// Green mass: a = Σ q over the contexts of a window (Xu et al. 2026, ADFP, with exact variance instead of a
/// Hoeffding bound). Few effective draws: a named baseline.
///
/// # Errors
/// A row that is no distribution, or marked inputs at width 0.
pub fn mass(width: Width, rows: &[Prediction<'_>]) -> Result<Evidence, ScoreError> {
    masses(width, rows).map(Unrounded::round)
}

fn masses(width: Width, rows: &[Prediction<'_>]) -> Result<Unrounded, ScoreError> {
    let table = Table::new(width, rows, Sums::like, |row, sums| {
        for (token, q) in rows[row].q.iter() {
            sums.add(token, f64::from(q));
        }
        Ok(())
    })?;
    table.coefficients(Weight::Equal, Scale::Quantile)
}

/// The same for the mean of q over the contexts of each window, scaled so that a window's coefficients add up to the same
/// everywhere, and each window a cluster of its own: what the published bound takes (ADFP; Hoeffding 1963). A named baseline.
///
/// # Errors
/// A row that is no distribution, or marked inputs at width 0.
pub fn mean_mass(width: Width, rows: &[Prediction<'_>]) -> Result<Evidence, ScoreError> {
    let mut table = Table::new(width, rows, Sums::like, |row, sums| {
        for (token, q) in rows[row].q.iter() {
            sums.add(token, f64::from(q));
        }
        Ok(())
    })?;
    table.sums.iter_mut().for_each(Sums::normalise);
    table.clusters = (0..).take(table.sums.len()).collect();
    table.coefficients(Weight::Equal, Scale::Max).map(Unrounded::round)
}

/// Reference residual: a = Σ (q − b)/√(q + b) over the contexts of a window, times the window's `weight`.
/// `references[i]` is b, a reference's whole distribution at the context of `rows[i]`.
///
/// The default for distributions. b must be the unmarked teacher or predate the key: a reference trained on marked
/// text breaks independence (an innocent reached z = 66).
///
/// # Errors
/// A row that is no distribution, references that do not fit the rows, an exposure for other windows, or marked inputs
/// at width 0.
pub fn residual(
    width: Width,
    rows: &[Prediction<'_>],
    references: &[&[f32]],
    weight: Weight<'_>,
) -> Result<Evidence, ScoreError> {
    residuals(width, rows, references, weight).map(Unrounded::round)
}

fn residuals(
    width: Width,
    rows: &[Prediction<'_>],
    references: &[impl AsRef<[f32]>],
    weight: Weight<'_>,
) -> Result<Unrounded, ScoreError> {
    beside(width, rows, weight, |row, known| {
        let fault = |what| ScoreError::Row { row, what };
        let b = references.get(row).ok_or(fault("its reference is missing"))?.as_ref();
        check(row, b)?;
        if matches!(known, Row::Whole(q) if q.len() != b.len()) {
            return Err(fault("its reference has another vocabulary"));
        }
        let of = |(token, q)| b.get(token as usize).map(|b| (token, q, *b));
        let pairs: Option<Vec<Compared>> = known.iter().map(of).collect();
        let mut pairs = pairs.ok_or(fault("a token is outside the reference's vocabulary"))?;
        pairs.extend(known.at_most(b));
        Ok(pairs)
    })
}

/// A token, the suspect's probability of it (or what that is at most, where b is more), and the reference's.
pub type Compared = (TokenId, f32, f32);

/// The same where b is known for the tokens of the rows only: `references[i][j]` is that of the `j`-th token of
/// `rows[i]`.
///
/// # Errors
/// A row that is no distribution, references that do not fit the rows, an exposure for other windows, or marked inputs
/// at width 0.
pub fn residual_of_known(
    width: Width,
    rows: &[Prediction<'_>],
    references: &[Vec<f32>],
    weight: Weight<'_>,
) -> Result<Evidence, ScoreError> {
    let compared = beside(width, rows, weight, |row, known| {
        let b = references.get(row).filter(|b| b.len() == known.iter().count());
        let b = b.ok_or(ScoreError::Row { row, what: "its reference is missing" })?;
        check(row, b)?;
        Ok(known.iter().zip(b).map(|((token, q), b)| (token, q, *b)).collect())
    });
    compared.map(Unrounded::round)
}

/// The residual of what `pairs` compares in each row.
fn beside(
    width: Width,
    rows: &[Prediction<'_>],
    weight: Weight<'_>,
    pairs: impl Fn(usize, Row<'_>) -> Result<Vec<Compared>, ScoreError>,
) -> Result<Unrounded, ScoreError> {
    let table = Table::new(width, rows, Sums::like, |row, sums| {
        for (token, q, b) in pairs(row, rows[row].q)? {
            let (q, b) = (f64::from(q), f64::from(b));
            if q + b > 0.0 {
                sums.add(token, (q - b) / (q + b).sqrt());
            }
        }
        Ok(())
    })?;
    table.coefficients(weight, Scale::Quantile)
}

impl<'a> Row<'a> {
    /// The known tokens and their probabilities.
    fn iter(self) -> impl Iterator<Item = (TokenId, f32)> + 'a {
        let (whole, top): (&[f32], &[(TokenId, f32)]) = match self {
            Self::Whole(row) => (row, &[]),
            Self::Top(row) | Self::Likeliest(row) => (&[], row),
        };
        (0..).zip(whole.iter().copied()).chain(top.iter().copied())
    }

    /// The tokens that a list of the likeliest lacks although `b` gives them more than its least: q is at most that.
    fn at_most(self, b: &[f32]) -> Vec<Compared> {
        let Self::Likeliest(listed) = self else { return Vec::new() };
        let Some(least) = listed.iter().map(|(_, q)| *q).reduce(f32::min) else { return Vec::new() };
        let listed: HashSet<TokenId> = listed.iter().map(|(token, _)| *token).collect();
        let others = (0..).zip(b).filter(|(token, b)| **b > least && !listed.contains(token));
        others.map(|(token, b)| (token, least, *b)).collect()
    }

    /// Refuses what is no distribution.
    fn check(self, row: usize) -> Result<(), ScoreError> {
        match self {
            Self::Whole(q) => check(row, q),
            Self::Top(q) | Self::Likeliest(q) => {
                let mut seen = HashSet::new();
                if !q.iter().all(|(token, _)| seen.insert(*token)) {
                    return Err(ScoreError::Row { row, what: "a token stands in it twice" });
                }
                q.iter().try_for_each(|(_, q)| check(row, &[*q]))
            }
        }
    }
}

/// Sums over the contexts of one window, by token.
enum Sums {
    /// Of every token of a vocabulary.
    Dense(Vec<f64>),
    /// Of the tokens that were named.
    Sparse(BTreeMap<TokenId, f64>),
}

impl Sums {
    fn like(row: Row<'_>) -> Self {
        match row {
            Row::Whole(q) => Self::Dense(vec![0.0; q.len()]),
            Row::Top(_) | Row::Likeliest(_) => Self::Sparse(BTreeMap::new()),
        }
    }

    fn slot(&mut self, token: TokenId) -> &mut f64 {
        match self {
            Self::Dense(sums) => &mut sums[token as usize],
            Self::Sparse(sums) => sums.entry(token).or_default(),
        }
    }

    fn add(&mut self, token: TokenId, value: f64) {
        *self.slot(token) += value;
    }

    fn set(&mut self, token: TokenId, value: f64) {
        *self.slot(token) = value;
    }

    /// Scales them to add up to 1.
    fn normalise(&mut self) {
        let total: f64 = self.iter().map(|(_, sum)| sum).sum();
        let scale = |sum: &mut f64| *sum /= if total > 0.0 { total } else { 1.0 };
        match self {
            Self::Dense(sums) => sums.iter_mut().for_each(scale),
            Self::Sparse(sums) => sums.values_mut().for_each(scale),
        }
    }

    /// Those that are not 0, by ascending token.
    fn iter(&self) -> impl Iterator<Item = (TokenId, f64)> + '_ {
        let dense = match self {
            Self::Dense(sums) => Some((0..).zip(sums.iter().copied())),
            Self::Sparse(_) => None,
        };
        let sparse = match self {
            Self::Dense(_) => None,
            Self::Sparse(sums) => Some(sums.iter().map(|(token, sum)| (*token, *sum))),
        };
        dense.into_iter().flatten().chain(sparse.into_iter().flatten()).filter(|(_, sum)| *sum != 0.0)
    }
}

/// Sums by window and token.
struct Table {
    width: Width,
    windows: Numbering,
    sums: Vec<Sums>,
    clusters: Vec<u32>,
    skipped: Skipped,
    rows: u64,
}

impl Table {
    fn new(
        width: Width,
        rows: &[Prediction<'_>],
        none: impl Fn(Row<'_>) -> Sums,
        mut add: impl FnMut(usize, &mut Sums) -> Result<(), ScoreError>,
    ) -> Result<Self, ScoreError> {
        let windows = Numbering::default();
        let mut table = Self {
            width,
            windows,
            sums: Vec::new(),
            clusters: Vec::new(),
            skipped: Skipped::default(),
            rows: 0,
        };
        let size = |row: &Prediction<'_>| match row.q {
            Row::Whole(q) => Some(q.len()),
            Row::Top(_) | Row::Likeliest(_) => None,
        };
        for (at, row) in rows.iter().enumerate() {
            row.q.check(at)?;
            if size(row) != size(&rows[0]) {
                return Err(ScoreError::Row { row: at, what: "its vocabulary differs from the first row's" });
            }
            table.rows += 1;
            let Some(window) = table.window(row)? else { continue };
            let number = table.windows.number(&window) as usize;
            if number == table.sums.len() {
                table.sums.push(none(row.q));
                table.clusters.push(row.cluster);
            }
            add(at, &mut table.sums[number])?;
        }
        Ok(table)
    }

    /// The row's window, unless a rule skips it.
    fn window(&mut self, row: &Prediction<'_>) -> Result<Option<Vec<TokenId>>, ScoreError> {
        if row.provenance == Provenance::Marked {
            if self.width.tokens() == 0 {
                return Err(ScoreError::MarkedInputAtWidth0);
            }
            self.skipped.marked_input += 1;
            return Ok(None);
        }
        if row.provenance == Provenance::Unknown && self.width.tokens() == 0 {
            return Err(ScoreError::UnknownOriginAtWidth0);
        }
        let context = [row.prompt, row.context].concat();
        let Some(window) = self.width.window(&context, context.len()) else {
            self.skipped.short_window += 1;
            return Ok(None);
        };
        if self.width.tokens() > 0 && self.excluded(row).contains(window) {
            self.skipped.prompt_window += 1;
            return Ok(None);
        }
        Ok(Some(window.to_vec()))
    }

    /// The windows inside the prompt of a row of unknown origin.
    fn excluded<'r>(&self, row: &Prediction<'r>) -> HashSet<&'r [TokenId]> {
        if row.provenance != Provenance::Unknown {
            return HashSet::new();
        }
        row.prompt.windows(self.width.tokens()).collect()
    }

    fn coefficients(self, weight: Weight<'_>, scale: Scale) -> Result<Unrounded, ScoreError> {
        let exposure = match weight {
            Weight::Equal | Weight::HalfNorm => None,
            Weight::Exposed(exposure) => Some(exposure),
        };
        exposure::check(exposure, self.width)?;
        let mut tally = Tally::new();
        for ((sums, cluster), window) in self.sums.iter().zip(&self.clusters).zip(0..) {
            let weight = weight.of(self.windows.windows.get(window), sums);
            for (token, sum) in sums.iter() {
                tally.add(Coin { window, token }, sum * weight, *cluster);
            }
        }
        let marked_under: BTreeSet<_> = exposure.into_iter().flat_map(Exposure::marked_under).collect();
        Ok(Unrounded {
            width: self.width,
            windows: self.windows.windows,
            tally,
            scale,
            marked_under,
            skipped: self.skipped,
            positions: self.rows,
        })
    }
}

impl Weight<'_> {
    fn of(self, window: &[TokenId], sums: &Sums) -> f64 {
        let square: f64 = sums.iter().map(|(_, a)| a * a).sum();
        let half_norm = if square > 0.0 { 1.0 / square.sqrt().sqrt() } else { 0.0 };
        match self {
            Self::Equal => 1.0,
            Self::HalfNorm => half_norm,
            Self::Exposed(exposure) => {
                let e = exposure::to_f64(exposure.of(window));
                half_norm * if window.len() <= 1 { e / (e + 20.0) } else { e.sqrt() }
            }
        }
    }
}

/// Refuses numbers that are no probabilities.
pub(super) fn check(row: usize, q: &[f32]) -> Result<(), ScoreError> {
    if q.iter().all(|q| (0.0..=1.0).contains(q)) {
        Ok(())
    } else {
        Err(ScoreError::Row { row, what: "a probability is below 0, above 1 or not a number" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(context: &'a [TokenId], q: &'a [f32]) -> Prediction<'a> {
        Prediction { prompt: &[], context, provenance: Provenance::Fresh, q: Row::Whole(q), cluster: 0 }
    }

    fn top<'a>(context: &'a [TokenId], q: &'a [(TokenId, f32)]) -> Prediction<'a> {
        Prediction { prompt: &[], context, provenance: Provenance::Fresh, q: Row::Top(q), cluster: 0 }
    }

    fn width() -> Width {
        Width::new(1).unwrap()
    }

    fn coefficients(evidence: &Evidence) -> Vec<(u32, TokenId, i32)> {
        let entries = evidence.coefficients().entries().iter();
        entries.map(|e| (e.input.window, e.input.token, e.coefficient)).collect()
    }

    #[test]
    fn contexts_of_one_window_are_one_set_of_draws() {
        let (q, p) = ([0.5, 0.25, 0.25, 0.0], [0.0, 0.25, 0.25, 0.5]);
        let rows = [row(&[3, 7], &q), row(&[9, 7], &p), row(&[8], &q)];
        let evidence = mass(width(), &rows).unwrap();
        let a: Vec<_> = coefficients(&evidence).iter().map(|(window, _, a)| (*window, *a)).collect();
        assert_eq!(a, [(0, 127), (0, 127), (0, 127), (0, 127), (1, 127), (1, 64), (1, 64)]);
    }

    #[test]
    fn the_mean_mass_of_each_window_adds_up_to_the_same() {
        let (q, p) = ([0.5, 0.25, 0.25, 0.0], [0.0, 0.25, 0.25, 0.5]);
        let rows = [row(&[3, 7], &q), row(&[9, 7], &p), row(&[8], &q)];
        let evidence = mean_mass(width(), &rows).unwrap();
        let a: Vec<_> = coefficients(&evidence).iter().map(|(window, _, a)| (*window, *a)).collect();
        assert_eq!(a, [(0, 64), (0, 64), (0, 64), (0, 64), (1, 127), (1, 64), (1, 64)]);
        let clusters: Vec<u32> = evidence.coefficients().entries().iter().map(|e| e.cluster).collect();
        assert_eq!(clusters, [0, 0, 0, 0, 1, 1, 1]);
    }

    #[test]
    fn argmax_counts_a_window_and_its_likeliest_token_once() {
        let (q, p) = ([0.5, 0.25, 0.25], [0.25, 0.375, 0.375]);
        let rows = [row(&[7], &q), row(&[7], &q), row(&[7], &p), row(&[8], &p)];
        assert_eq!(coefficients(&argmax(width(), &rows).unwrap()), [(0, 0, 1), (0, 1, 1), (1, 1, 1)]);
    }

    #[test]
    fn a_suspect_that_equals_its_reference_has_no_draws() {
        let q = [0.5, 0.5];
        let evidence = residual(width(), &[row(&[3], &q)], &[&q], Weight::HalfNorm).unwrap();
        assert!(evidence.coefficients().entries().is_empty());
    }

    #[test]
    fn rows_weighed_by_marked_traffic_cannot_be_opened_under_its_key() {
        use crate::key::Secret;
        use crate::scheme::{Arm, Spec};
        let key = |byte| {
            let epoch = Secret::from_bytes([byte; 32]).epoch_key(&"now".parse().unwrap());
            "green/1/w1/b1/t1".parse::<Spec>().unwrap().open(&epoch)
        };
        let mut exposure = Exposure::new(width(), key(1).arms().iter().map(Arm::origin));
        let answer = crate::score::Exchange {
            prompt: vec![7],
            response: vec![0],
            whole_context: true,
            provenance: Provenance::Fresh,
        };
        exposure.add(&answer);
        let (q, b) = ([0.75, 0.25], [0.5, 0.5]);
        let evidence = residual(width(), &[row(&[7], &q)], &[&b], Weight::Exposed(&exposure)).unwrap();
        assert!(matches!(evidence.open(&key(1)), Err(ScoreError::DependentSource)));
        assert!(evidence.open(&key(2)).is_ok());
    }

    #[test]
    fn what_an_api_does_not_return_gives_no_draw() {
        let b = [0.4, 0.3, 0.2, 0.1];
        let rows = [top(&[3], &[(2, 0.6), (0, 0.2)])];
        let evidence = residual(width(), &rows, &[&b], Weight::Equal).unwrap();
        let tokens: Vec<_> =
            coefficients(&evidence).iter().map(|(_, token, a)| (*token, a.signum())).collect();
        assert_eq!(tokens, [(0, -1), (2, 1)]);
        let known = [vec![b[2], b[0]]];
        let same = residual_of_known(width(), &rows, &known, Weight::Equal).unwrap();
        assert_eq!(coefficients(&same), coefficients(&evidence));
        for missing in [&[][..], &[vec![0.2]]] {
            assert!(residual_of_known(width(), &rows, missing, Weight::Equal).is_err());
        }
        for bad in [&[(4, 0.5)][..], &[(1, 0.5), (1, 0.2)], &[(1, 2.0)]] {
            assert!(residual(width(), &[top(&[3], bad)], &[&b], Weight::Equal).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_a_list_of_the_likeliest_lacks_is_at_most_its_least() {
        let b = [0.4_f32, 0.3, 0.15, 0.1, 0.05];
        let q = [(2, 0.6), (0, 0.2)];
        let likeliest = Prediction { q: Row::Likeliest(&q), ..top(&[3], &q) };
        let evidence = residual(width(), &[likeliest], &[&b], Weight::Equal).unwrap();
        // Token 1 has at most 0.2 where b has 0.3; of tokens 3 and 4 nothing is known.
        let of = |q: f64, b: f64| (q - b) / (q + b).sqrt();
        let scale = 127.0 / of(0.6, 0.15);
        let a = |q, b| (of(q, b) * scale).round();
        let found: Vec<_> = coefficients(&evidence).iter().map(|(_, v, a)| (*v, f64::from(*a))).collect();
        assert_eq!(found, [(0, a(0.2, 0.4)), (1, a(0.2, 0.3)), (2, 127.0)]);
        // Without a reference the list says what any list of known tokens does.
        let listed = mass(width(), &[top(&[3], &q)]).unwrap();
        assert_eq!(coefficients(&mass(width(), &[likeliest]).unwrap()), coefficients(&listed));
        let none = Prediction { q: Row::Likeliest(&[]), ..top(&[3], &[]) };
        assert!(
            coefficients(&residual(width(), &[none], &[&b], Weight::Equal).unwrap()).is_empty(),
            "nothing is known of an empty list"
        );
        for bad in [&[(5, 0.5)][..], &[(1, 0.5), (1, 0.2)], &[(1, 2.0)]] {
            let row = Prediction { q: Row::Likeliest(bad), ..top(&[3], bad) };
            assert!(residual(width(), &[row], &[&b], Weight::Equal).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rows_that_are_no_distributions_are_named() {
        for bad in [[f32::NAN, 0.0], [-0.1, 0.0], [1.5, 0.0]] {
            assert!(matches!(mass(width(), &[row(&[1], &bad)]), Err(ScoreError::Row { row: 0, .. })));
        }
        assert!(residual(width(), &[row(&[1], &[0.5, 0.5])], &[], Weight::Equal).is_err());
        assert!(mass(width(), &[row(&[1], &[0.5, 0.5]), row(&[1], &[1.0])]).is_err());
    }
}
