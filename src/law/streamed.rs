//! Draws that are too many to hold: opened piece by piece while a test goes over them.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use super::{Draw, Kept, Law, Origin, SameOrigin, Scale, round_clipped, scale_factor};

/// How real coefficients are rounded: a scale whose factor is known already. Looks at no key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounding {
    factor: f64,
}

impl Rounding {
    /// The rounding of [`Tally::whole`](super::Tally::whole) where the largest |coefficient| is `largest`. None for
    /// [`Scale::Quantile`], which takes all coefficients.
    pub fn new(scale: Scale, largest: f64) -> Option<Self> {
        (scale != Scale::Quantile).then(|| Self { factor: scale_factor(scale, std::iter::once(largest)) })
    }
}

/// What a piece holds at most before rounding.
const PIECE: usize = 1 << 12;

/// Draws of *key-independent* evidence as [`Draws`](super::Draws) are, not yet opened, and opened once: by the test that consumes them.
///
/// Coefficients come in strictly ascending order of their inputs, so equal inputs of one key have been summed; what breaks
/// the order is an error.
#[must_use]
pub struct Streamed<'a> {
    parts: Vec<Part<'a>>,
}

struct Part<'a> {
    origin: Origin,
    pieces: Box<dyn Iterator<Item = Result<Piece, StreamError>> + 'a>,
}

/// Some draws, and what rounding kept of these and those before.
struct Piece {
    draws: Vec<Draw>,
    kept: Kept,
}

impl<'a> Streamed<'a> {
    /// The draws of one key. `coefficients`, (input, real coefficient, first exchange) in ascending order of inputs, know
    /// nothing of it; `words` is the keyed function for several inputs at once, `origin` names its key.
    pub fn new<I: Ord + Copy + 'a>(
        law: Law,
        origin: Origin,
        rounding: Rounding,
        coefficients: impl Iterator<Item = io::Result<(I, f64, u32)>> + 'a,
        words: impl FnMut(&[I]) -> Vec<u32> + 'a,
    ) -> Self {
        let pieces = Pieces { law, rounding, coefficients, words, last: None, kept: Kept::default() };
        Self { parts: vec![Part { origin, pieces: Box::new(pieces) }] }
    }

    /// Adds draws made under an *unrelated* key, as [`Draws::pool`](super::Draws::pool).
    ///
    /// # Errors
    /// A key whose draws are in already.
    pub fn pool(mut self, other: Self) -> Result<Self, SameOrigin> {
        let origins: BTreeSet<Origin> = self.parts.iter().map(|part| part.origin).collect();
        if other.parts.iter().any(|part| origins.contains(&part.origin)) {
            return Err(SameOrigin);
        }
        self.parts.extend(other.parts);
        Ok(self)
    }

    /// Opens every draw and hands it to `visit`; then the share of z that rounding kept.
    ///
    /// # Errors
    /// Coefficients that cannot be read, or that come out of order.
    pub fn visit(self, mut visit: impl FnMut(&Draw)) -> Result<f64, StreamError> {
        let mut all: Option<Kept> = None;
        for part in self.parts {
            let mut kept = Kept::default();
            for piece in part.pieces {
                let piece = piece?;
                kept = piece.kept;
                piece.draws.iter().for_each(&mut visit);
            }
            all = Some(all.map_or(kept, |all| all.with(kept)));
        }
        Ok(all.unwrap_or_default().share())
    }
}

impl fmt::Debug for Streamed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Streamed({} keys)", self.parts.len())
    }
}

/// Coefficients on their way to draws.
struct Pieces<I, C, W> {
    law: Law,
    rounding: Rounding,
    coefficients: C,
    words: W,
    last: Option<I>,
    kept: Kept,
}

impl<I: Ord + Copy, C: Iterator<Item = io::Result<(I, f64, u32)>>, W: FnMut(&[I]) -> Vec<u32>>
    Pieces<I, C, W>
{
    fn piece(&mut self) -> Result<Option<Piece>, StreamError> {
        let (mut inputs, mut whole) = (Vec::with_capacity(PIECE), Vec::with_capacity(PIECE));
        let before = self.last;
        for coefficient in self.coefficients.by_ref().take(PIECE) {
            let (input, real, cluster) = coefficient?;
            if self.last.replace(input).is_some_and(|last| last >= input) {
                return Err(StreamError::Order);
            }
            let scaled = real * self.rounding.factor;
            let a = round_clipped(scaled);
            self.kept = self.kept.with(Kept::of_one(a, scaled));
            if a != 0 {
                inputs.push(input);
                whole.push((a, cluster));
            }
        }
        if self.last == before {
            return Ok(None);
        }
        let words = (self.words)(&inputs);
        let draw = |((a, cluster), word): ((i32, u32), u32)| Draw::new(self.law, a, word, cluster);
        Ok(Some(Piece { draws: whole.into_iter().zip(words).map(draw).collect(), kept: self.kept }))
    }
}

impl<I: Ord + Copy, C: Iterator<Item = io::Result<(I, f64, u32)>>, W: FnMut(&[I]) -> Vec<u32>> Iterator
    for Pieces<I, C, W>
{
    type Item = Result<Piece, StreamError>;

    fn next(&mut self) -> Option<Result<Piece, StreamError>> {
        self.piece().transpose()
    }
}

/// Why streamed draws cannot be tested.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The coefficients cannot be read.
    #[error(transparent)]
    Coefficients(#[from] io::Error),
    /// Equal inputs that were not summed would count twice.
    #[error("the coefficients do not come in ascending order of their inputs, each once")]
    Order,
}

#[cfg(test)]
mod tests {
    use super::super::{Gamma, Tally};
    use super::*;

    fn streamed(inputs: &[u32], origin: u8) -> Streamed<'_> {
        let coefficients = inputs.iter().map(|input| Ok((*input, 1.0, 0)));
        let rounding = Rounding::new(Scale::Unit, 1.0).unwrap();
        Streamed::new(law(), Origin([origin; 32]), rounding, coefficients, |inputs| inputs.to_vec())
    }

    fn law() -> Law {
        Law::Bernoulli(Gamma::new(1, 2).unwrap())
    }

    #[test]
    fn equal_inputs_and_equal_keys_are_refused() {
        assert!(streamed(&[1, 2, 7], 1).visit(|_| ()).is_ok());
        for wrong in [&[1, 1][..], &[2, 1], &[1, 3, 2]] {
            assert!(matches!(streamed(wrong, 1).visit(|_| ()), Err(StreamError::Order)), "{wrong:?}");
        }
        // Across the end of a piece too.
        let long: Vec<u32> = (0..4_096).chain([4_095]).collect();
        assert!(matches!(streamed(&long, 1).visit(|_| ()), Err(StreamError::Order)));
        assert!(streamed(&[1], 1).pool(streamed(&[2], 1)).is_err());
        assert!(streamed(&[1], 1).pool(streamed(&[1], 2)).is_ok());
        assert!(streamed(&[1], 1).pool(streamed(&[1], 2)).unwrap().pool(streamed(&[3], 2)).is_err());
    }

    #[test]
    fn what_is_streamed_is_what_a_tally_opens() {
        let coefficient = |input: u32| f64::from(input * 7_919 % 1_000) / 3.0;
        let (number, largest) = (10_000, 333.0);
        let mut tally = Tally::new();
        (0..number).for_each(|input| tally.add(input, coefficient(input), input / 10));
        let draws = tally.whole(Scale::Max).open(law(), Origin([1; 32]), |input| input % 3);
        let coefficients = (0..number).map(|input| Ok((input, coefficient(input), input / 10)));
        let rounding = Rounding::new(Scale::Max, largest).unwrap();
        let words = |inputs: &[u32]| inputs.iter().map(|input| input % 3).collect();
        let streamed = Streamed::new(law(), Origin([1; 32]), rounding, coefficients, words);
        let parts = |draw: &Draw| (draw.law(), draw.coefficient(), draw.word(), draw.cluster());
        let mut found = Vec::new();
        let kept = streamed.visit(|draw| found.push(parts(draw))).unwrap();
        assert_eq!(found, draws.as_slice().iter().map(parts).collect::<Vec<_>>());
        assert_eq!(kept.to_bits(), draws.share_of_z_kept().to_bits());
    }
}
