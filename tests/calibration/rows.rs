//! Next-token distributions.

use taggant::scheme::Spec;
use taggant::score::{Evidence, Prediction, Provenance, Row, Weight, argmax, mass, residual};
use taggant::token::Width;

use crate::h0::{Language, assert_valid, keys, over};

/// Rows that repeat their windows, with the mass on few tokens, and a reference that differs from them.
pub(crate) struct Rows {
    contexts: Vec<[u32; 1]>,
    q: Vec<Vec<f32>>,
    b: Vec<Vec<f32>>,
    likeliest: Vec<Vec<(u32, f32)>>,
}

impl Rows {
    pub(crate) fn new(n: u32) -> Self {
        let mut language = Language::new(2);
        let mut row = || {
            let weights: Vec<f32> =
                (0..40).map(|v| 1.0 / (1.0 + v as f32) * (1 + language.below(9)) as f32).collect();
            let sum: f32 = weights.iter().sum();
            weights.iter().map(|w| w / sum).collect::<Vec<f32>>()
        };
        let likeliest = |row: &Vec<f32>| {
            let mut pairs: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
            pairs.sort_by(|a, b| b.1.total_cmp(&a.1));
            pairs[..5].to_vec()
        };
        let contexts = (0..n).map(|at| [at * at % 37]).collect();
        let q: Vec<Vec<f32>> = (0..n).map(|_| row()).collect();
        Self { contexts, likeliest: q.iter().map(likeliest).collect(), b: (0..n).map(|_| row()).collect(), q }
    }

    /// What is tested of them at `width`.
    pub(crate) fn statistics(&self, width: Width) -> [(&'static str, Evidence); 4] {
        let references: Vec<&[f32]> = self.b.iter().map(Vec::as_slice).collect();
        let whole = self.predictions(|at| Row::Whole(&self.q[at]));
        let top = self.predictions(|at| Row::Likeliest(&self.likeliest[at]));
        [
            ("argmax", argmax(width, &whole).unwrap()),
            ("green mass", mass(width, &whole).unwrap()),
            ("residual of rows", residual(width, &whole, &references, Weight::HalfNorm).unwrap()),
            ("residual of the likeliest 5", residual(width, &top, &references, Weight::Equal).unwrap()),
        ]
    }

    fn predictions<'r>(&'r self, row: impl Fn(usize) -> Row<'r>) -> Vec<Prediction<'r>> {
        let prediction = |(at, context): (usize, &'r [u32; 1])| Prediction {
            prompt: &[],
            context,
            provenance: Provenance::Fresh,
            q: row(at),
            cluster: at as u32,
        };
        self.contexts.iter().enumerate().map(prediction).collect()
    }
}

#[test]
fn distributions_are_calibrated() {
    let spec = "green/1/w1/b2/t1";
    for (what, evidence) in Rows::new(90).statistics(spec.parse::<Spec>().unwrap().width()) {
        assert_valid(what, &over(&evidence, spec, keys()));
    }
}

#[test]
fn at_width_0_distributions_of_unknown_origin_are_refused() {
    // Excluding tokens cannot help there: an innocent that echoes marked prompts reached z = 13 before this was refused.
    let width = "green/1/w0/b2/t1".parse::<Spec>().unwrap().width();
    let row = |provenance| Prediction {
        prompt: &[1, 2],
        context: &[3],
        provenance,
        q: Row::Whole(&[0.5, 0.5]),
        cluster: 0,
    };
    assert!(mass(width, &[row(Provenance::Unknown)]).is_err());
    assert!(mass(width, &[row(Provenance::Marked)]).is_err());
    assert!(mass(width, &[row(Provenance::Fresh)]).is_ok());
}
