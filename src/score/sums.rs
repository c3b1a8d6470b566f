//! One evidence under many keys: its sum S, without a list of opened draws.
//!
//! Decoy keys and calibration ask the same coefficients again under thousands of keys. What does not depend on the key
//! is worked out once; a key then costs a seed for each window, the lanes that its tokens lie on, and an addition for
//! each token. No tail is computed from here: a tail takes [`Draws`](crate::law::Draws).

use super::{Coin, Evidence, ScoreError};
use crate::scheme::{Arm, Scheme};
use crate::token::TokenId;

/// A window whose tokens fill at least one in so many ids up to the last is read in order, without seeking.
const DENSE: usize = 8;

/// The coefficients of an [`Evidence`], laid out by window.
#[derive(Clone, Debug)]
pub struct Sums<'e> {
    evidence: &'e Evidence,
    windows: Vec<(u32, Coefficients)>,
}

/// Coefficients after one window.
#[derive(Clone, Debug)]
enum Coefficients {
    /// Of tokens `0..len`.
    Dense(Vec<i32>),
    /// By ascending token, without zeros.
    Sparse(Vec<(TokenId, i32)>),
}

impl Coefficients {
    fn new(sparse: Vec<(TokenId, i32)>) -> Self {
        let size = sparse.last().map_or(0, |(token, _)| *token as usize + 1);
        if sparse.len() < size.div_ceil(DENSE) {
            return Self::Sparse(sparse);
        }
        let mut dense = vec![0; size];
        sparse.into_iter().for_each(|(token, a)| dense[token as usize] = a);
        Self::Dense(dense)
    }

    fn iter(&self) -> impl Iterator<Item = i32> + '_ {
        let (dense, sparse): (&[i32], &[(TokenId, i32)]) = match self {
            Self::Dense(dense) => (dense, &[]),
            Self::Sparse(sparse) => (&[], sparse),
        };
        dense.iter().copied().chain(sparse.iter().map(|(_, a)| *a))
    }
}

impl Evidence {
    /// The same evidence, laid out for many keys.
    pub fn sums(&self) -> Sums<'_> {
        let nonzero = self.whole.entries().iter().filter(|entry| entry.coefficient != 0);
        let entries: Vec<(Coin, i32)> = nonzero.map(|entry| (entry.input, entry.coefficient)).collect();
        let of_window = |entries: &[(Coin, i32)]| {
            let sparse = entries.iter().map(|(coin, a)| (coin.token, *a)).collect();
            (entries[0].0.window, Coefficients::new(sparse))
        };
        Sums {
            evidence: self,
            windows: entries.chunk_by(|a, b| a.0.window == b.0.window).map(of_window).collect(),
        }
    }
}

impl Sums<'_> {
    /// S = Σ aX under a key, over all its arms.
    ///
    /// # Errors
    /// As [`Evidence::open`].
    pub fn of(&self, scheme: &Scheme) -> Result<f64, ScoreError> {
        self.evidence.check(scheme)?;
        Ok(scheme.arms().iter().map(|arm| self.of_arm(arm)).sum())
    }

    /// Σ a and Σ a² over the draws of one arm: with the law's mean and variance, E S and Var S.
    pub fn moments(&self) -> [f64; 2] {
        let a = || self.windows.iter().flat_map(|(_, coefficients)| coefficients.iter()).map(f64::from);
        [a().sum(), a().map(|a| a * a).sum()]
    }

    fn of_arm(&self, arm: &Arm) -> f64 {
        let law = arm.law();
        self.windows
            .iter()
            .map(|(window, coefficients)| {
                let seed = arm.seed(self.evidence.windows.get(*window));
                match coefficients {
                    Coefficients::Dense(a) => arm.sum(&seed, a),
                    Coefficients::Sparse(a) => {
                        let mut lanes = seed.lanes();
                        let term = |(token, a): &(TokenId, i32)| {
                            f64::from(*a) * law.value(arm.word_in(&mut lanes, *token))
                        };
                        a.iter().map(term).sum()
                    }
                }
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Secret;
    use crate::law::Draw;
    use crate::scheme::Spec;
    use crate::score::{Prediction, Provenance, Row, mass};
    use crate::token::Width;

    /// Two whole rows and two short ones, at width 1.
    fn evidence() -> [Evidence; 2] {
        let whole: Vec<f32> = (0..700_u16).map(|v| f32::from(v % 13) / 1_300.0).collect();
        let top: Vec<(TokenId, f32)> = vec![(3, 0.5), (90, 0.25), (4_000, 0.125)];
        [of(Row::Whole(&whole)), of(Row::Top(&top))]
    }

    fn of(q: Row<'_>) -> Evidence {
        let row = |context| Prediction { prompt: &[], context, provenance: Provenance::Fresh, q, cluster: 0 };
        mass(Width::new(1).unwrap(), &[row(&[5]), row(&[6])]).unwrap()
    }

    #[test]
    fn a_sum_is_that_of_the_opened_draws() {
        let specs = [
            "green/1/w1/b1/t1",
            "green/1/w1/b2/t1",
            "green/1/w1/b4/t3",
            "green/1/w1/b8/t200",
            "green/1/w1/b16/t9",
            "gumbel/1/w1+2",
            "tournament/1/w1/d7",
        ];
        for spec in specs.map(|spec| spec.parse::<Spec>().unwrap()) {
            let scheme = spec.open(&Secret::from_bytes([7; 32]).epoch_key(&"now".parse().unwrap()));
            for evidence in evidence() {
                let draws = evidence.open(&scheme).unwrap();
                let term = |draw: &Draw| f64::from(draw.coefficient()) * draw.value();
                let wanted: f64 = draws.as_slice().iter().map(term).sum();
                let sums = evidence.sums();
                let found = sums.of(&scheme).unwrap();
                assert!((found - wanted).abs() < 1e-9 * (1.0 + wanted.abs()), "{spec}: {found} and {wanted}");
                let arms = f64::from(u8::try_from(scheme.arms().len()).unwrap());
                let squares: f64 =
                    draws.as_slice().iter().map(|draw| f64::from(draw.coefficient()).powi(2)).sum();
                assert!((sums.moments()[1] * arms - squares).abs() <= 1e-9 * squares, "{spec}");
            }
        }
    }

    #[test]
    fn another_width_and_a_dependent_source_are_refused() {
        let open = |spec: &str| {
            spec.parse::<Spec>()
                .unwrap()
                .open(&Secret::from_bytes([7; 32]).epoch_key(&"now".parse().unwrap()))
        };
        let [evidence, _] = evidence();
        assert!(matches!(evidence.sums().of(&open("green/1/w2/b1/t1")), Err(ScoreError::Width { .. })));
        let scheme = open("green/1/w1/b1/t1");
        let marked = evidence.marked_under(scheme.arms().iter().map(Arm::origin));
        assert!(matches!(marked.sums().of(&scheme), Err(ScoreError::DependentSource)));
    }
}
