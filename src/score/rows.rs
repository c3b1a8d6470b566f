//! Next-token distributions to coefficients: one coefficient a (window, token), contexts of equal windows summed.

use std::collections::HashSet;

use super::{Coin, Evidence, Provenance, ScoreError, Skipped, Windows};
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
    /// Probabilities by token id, each in 0..=1; what a truncated API does not return is 0.
    pub q: &'a [f32],
    /// The exchange the context belongs to.
    pub cluster: u32,
}

/// Green mass: a = Σ q over the contexts of a window (Xu et al. 2026, ADFP, with exact variance instead of a
/// Hoeffding bound). Few effective draws: a named baseline.
///
/// # Errors
/// A row that is no distribution, or marked inputs at width 0.
pub fn mass(width: Width, rows: &[Prediction<'_>]) -> Result<Evidence, ScoreError> {
    let table = Table::new(width, rows, |row, sums| {
        for (sum, q) in sums.iter_mut().zip(rows[row].q) {
            *sum += f64::from(*q);
        }
        Ok(())
    })?;
    Ok(table.evidence(|_| 1.0))
}

/// Reference residual: a = Σ (q − b)/√(q + b) over the contexts of a window, divided by (Σ a²)^¼ so that frequent
/// windows do not dominate. `references[i]` is b, a reference's distribution at the context of `rows[i]`.
///
/// The default for distributions. b must be the unmarked teacher or predate the key: a reference trained on marked
/// text breaks independence (an innocent reached z = 66).
///
/// # Errors
/// A row that is no distribution, references that do not fit the rows, or marked inputs at width 0.
pub fn residual(
    width: Width,
    rows: &[Prediction<'_>],
    references: &[&[f32]],
) -> Result<Evidence, ScoreError> {
    let table = Table::new(width, rows, |row, sums| {
        let q = rows[row].q;
        let b = references.get(row).filter(|b| b.len() == q.len());
        let b =
            b.ok_or(ScoreError::Row { row, what: "its reference is missing or has another vocabulary" })?;
        check(row, b)?;
        for ((sum, q), b) in sums.iter_mut().zip(q).zip(*b) {
            let (q, b) = (f64::from(*q), f64::from(*b));
            if q + b > 0.0 {
                *sum += (q - b) / (q + b).sqrt();
            }
        }
        Ok(())
    })?;
    Ok(table.evidence(|sums| {
        let square: f64 = sums.iter().map(|a| a * a).sum();
        if square > 0.0 { 1.0 / square.sqrt().sqrt() } else { 0.0 }
    }))
}

/// Sums by window and token.
struct Table {
    width: Width,
    windows: Windows,
    sums: Vec<Vec<f64>>,
    clusters: Vec<u32>,
    skipped: Skipped,
    rows: u64,
}

impl Table {
    fn new(
        width: Width,
        rows: &[Prediction<'_>],
        mut add: impl FnMut(usize, &mut [f64]) -> Result<(), ScoreError>,
    ) -> Result<Self, ScoreError> {
        let windows = Windows::default();
        let mut table = Self {
            width,
            windows,
            sums: Vec::new(),
            clusters: Vec::new(),
            skipped: Skipped::default(),
            rows: 0,
        };
        for (at, row) in rows.iter().enumerate() {
            check(at, row.q)?;
            table.rows += 1;
            let Some(window) = table.window(row)? else { continue };
            let number = table.windows.number(&window) as usize;
            if number == table.sums.len() {
                table.sums.push(vec![0.0; row.q.len()]);
                table.clusters.push(row.cluster);
            }
            if table.sums[number].len() != row.q.len() {
                return Err(ScoreError::Row { row: at, what: "its vocabulary differs from earlier rows" });
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

    fn evidence(self, weight: impl Fn(&[f64]) -> f64) -> Evidence {
        let mut tally = Tally::new();
        for ((sums, cluster), window) in self.sums.iter().zip(&self.clusters).zip(0..) {
            let weight = weight(sums);
            for (sum, token) in sums.iter().zip(0..) {
                if *sum != 0.0 {
                    tally.add(Coin { window, token }, sum * weight, *cluster);
                }
            }
        }
        let whole = tally.whole(Scale::Quantile);
        Evidence {
            width: self.width,
            windows: self.windows,
            whole,
            skipped: self.skipped,
            positions: self.rows,
        }
    }
}

fn check(row: usize, q: &[f32]) -> Result<(), ScoreError> {
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
        Prediction { prompt: &[], context, provenance: Provenance::Fresh, q, cluster: 0 }
    }

    #[test]
    fn contexts_of_one_window_are_one_set_of_draws() {
        let width = Width::new(1).unwrap();
        let (q, p) = ([0.5, 0.25, 0.25, 0.0], [0.0, 0.25, 0.25, 0.5]);
        let rows = [row(&[3, 7], &q), row(&[9, 7], &p), row(&[8], &q)];
        let evidence = mass(width, &rows).unwrap();
        let a: Vec<_> =
            evidence.coefficients().entries().iter().map(|e| (e.input.window, e.coefficient)).collect();
        assert_eq!(a, [(0, 127), (0, 127), (0, 127), (0, 127), (1, 127), (1, 64), (1, 64)]);
    }

    #[test]
    fn a_suspect_that_equals_its_reference_has_no_draws() {
        let width = Width::new(1).unwrap();
        let q = [0.5, 0.5];
        let evidence = residual(width, &[row(&[3], &q)], &[&q]).unwrap();
        assert!(evidence.coefficients().entries().is_empty());
    }

    #[test]
    fn rows_that_are_no_distributions_are_named() {
        let width = Width::new(1).unwrap();
        for bad in [[f32::NAN, 0.0], [-0.1, 0.0], [1.5, 0.0]] {
            assert!(matches!(mass(width, &[row(&[1], &bad)]), Err(ScoreError::Row { row: 0, .. })));
        }
        assert!(residual(width, &[row(&[1], &[0.5, 0.5])], &[]).is_err());
    }
}
