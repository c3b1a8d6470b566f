//! A tail by simulation, however small: an independent check of the exact ones.
//!
//! A probability of 1e-12 cannot be simulated as it stands. Here every draw is made under the *tilted* law
//! q(x) ∝ p(x) e^{λx}, under which S ≥ k is an even chance, and each sample counts with the weight p/q that this
//! costs:
//!
//! ```text
//! P(S ≥ k) = E_q [1{S ≥ k} Π p(xᵢ)/q(xᵢ)] = Π m(λ) · E_q [1{S ≥ k} e^{−λS}],      m(λ) = Σ p(x) e^{λx} of a draw.
//! ```
//!
//! The mean is right for any λ; a good one makes it precise. (Siegmund 1976, *Importance sampling in the Monte
//! Carlo study of sequential tests*.) It shares no code with [`super::lattice`] but the search for λ. It is an
//! estimate with an error on both sides: a verdict is computed, not sampled.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::cumulant::{finite, saddle, total};
use super::lattice::{LatticeLaw, LatticeTerm};
use super::math::{Sum, exp, ln, signed_to_f64, sqrt, to_f64};

/// What the samples say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// The estimate of ln P(S ≥ k); −∞ when no sample reached k.
    pub ln_p: f64,
    /// Its standard error; infinite when fewer than two samples reached k. Trust it from some hundred samples in
    /// the tail on.
    pub standard_error: f64,
    /// How many samples reached k.
    pub reached: u64,
}

/// Why nothing was sampled.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportanceError {
    /// A score vector without scores.
    #[error("a score vector is empty")]
    NoScores,
}

/// ln P(S ≥ `k`) for the sum S of all `terms`, from `samples` samples. The same seed gives the same number on
/// every machine. Time is samples × draws.
///
/// *Assumption*: independent draws with the stated laws.
///
/// # Errors
/// An empty score vector.
pub fn importance_ln_sf(
    terms: &[LatticeTerm],
    k: i64,
    samples: u64,
    seed: u64,
) -> Result<Sampled, ImportanceError> {
    let laws: Vec<Atoms> = terms.iter().map(atoms).collect::<Result<_, _>>()?;
    let target = signed_to_f64(i128::from(k));
    let cumulant =
        |lambda| total(laws.iter().map(|law| (law.count, finite(law.atoms.iter().copied(), lambda))));
    let lambda = saddle(cumulant, target, f64::INFINITY);
    let tilted: Vec<Tilted> = laws.iter().map(|law| law.tilted(lambda)).collect();
    let ln_m: Sum = tilted.iter().map(|law| to_f64(law.count) * law.ln_m).collect();

    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let (mut sum, mut squares, mut reached) = (Sum::default(), Sum::default(), 0);
    for _ in 0..samples {
        // Whole numbers below 2⁵³: exact.
        let s: f64 = tilted.iter().map(|law| law.sample(&mut rng)).sum();
        if s >= target {
            let weight = exp(-lambda * (s - target));
            sum.add(weight);
            squares.add(weight * weight);
            reached += 1;
        }
    }
    let (n, sum) = (to_f64(samples), sum.value());
    if reached == 0 {
        return Ok(Sampled { ln_p: f64::NEG_INFINITY, standard_error: f64::INFINITY, reached });
    }
    let ln_p = ln_m.value() - lambda * target + ln(sum / n);
    // Delta method: the relative variance of the mean weight.
    let variance = (n * squares.value() / (sum * sum) - 1.0) / (n - 1.0);
    let standard_error = if reached < 2 { f64::INFINITY } else { sqrt(variance.max(0.0)) };
    Ok(Sampled { ln_p, standard_error, reached })
}

/// `count` copies of a law, as (value, probability).
struct Atoms {
    atoms: Vec<(f64, f64)>,
    count: u64,
}

/// The same under q, as (value, cumulated probability), and ln m(λ) of one copy.
struct Tilted {
    steps: Vec<(f64, f64)>,
    ln_m: f64,
    count: u64,
}

fn atoms(term: &LatticeTerm) -> Result<Atoms, ImportanceError> {
    let atoms = match &term.law {
        LatticeLaw::Bernoulli { coefficient, rate } => {
            vec![(0.0, rate.complement().p()), (f64::from(*coefficient), rate.p())]
        }
        LatticeLaw::Scores(scores) if scores.is_empty() => return Err(ImportanceError::NoScores),
        LatticeLaw::Scores(scores) => {
            let p = to_f64(scores.len() as u64).recip();
            scores.iter().map(|&score| (f64::from(score), p)).collect()
        }
    };
    Ok(Atoms { atoms, count: term.count })
}

impl Atoms {
    fn tilted(&self, lambda: f64) -> Tilted {
        let highest = self.atoms.iter().map(|atom| lambda * atom.0).fold(f64::NEG_INFINITY, f64::max);
        let weights = self.atoms.iter().map(|&(x, p)| (x, p * exp(lambda * x - highest)));
        let m: f64 = weights.clone().map(|weight| weight.1).sum();
        let mut below = 0.0;
        let steps = weights.map(|(x, weight)| {
            below += weight / m;
            (x, below)
        });
        Tilted { steps: steps.collect(), ln_m: highest + ln(m), count: self.count }
    }
}

impl Tilted {
    /// The sum of all copies.
    fn sample(&self, rng: &mut ChaCha20Rng) -> f64 {
        let one = |_| {
            // 53 bits: the first step that lies above them; rounding may leave the last one just below 1.
            let share = to_f64(rng.next_u64() >> 11) / to_f64(1 << 53);
            let step = self.steps.iter().find(|step| share < step.1).or(self.steps.last());
            step.map_or(0.0, |step| step.0)
        };
        (0..self.count).map(one).sum()
    }
}
