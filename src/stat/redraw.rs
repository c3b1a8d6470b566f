//! Sequential Monte-Carlo p-values: the statistic under redrawn keys, where its law has no closed form.
//!
//! Under H0 the key that was used is one among keys that could have been: the observed statistic and those
//! under redrawn keys are exchangeable, so its rank among them is uniform. That alone makes the p-value exact;
//! its price is a floor of 1/(B + 1), far above what evidence needs. It checks a verdict and is never one.
//!
//! Redrawing until the answer looks settled is not valid, however natural: "(1 + #)/(l + 1), stop as soon as it
//! is at most 1 %", from 100 to 2,000 redraws, rejects 1.6 % of innocents. Besag and Clifford's rule stops early
//! only in favour of H0.

use super::math::to_f64;

/// A plan for redraws: stop at the `enough`-th exceedance, or after `most` redraws.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Redraws {
    enough: u64,
    most: u64,
}

/// What redrawing found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Redrawn {
    /// The p-value: h/l when the h-th exceedance came at redraw l, else (1 + #)/(B + 1).
    pub p: f64,
    /// How many redraws reached the observed statistic.
    pub exceedances: u64,
    /// How many redraws were made.
    pub redraws: u64,
}

/// A plan without a redraw, or that stops before the first.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("redrawing needs 1 ≤ exceedances ≤ redraws, and not {enough} of {most}")]
pub struct RedrawError {
    enough: u64,
    most: u64,
}

impl Redraws {
    /// Stops at `enough` exceedances (h) or after `most` redraws (B). Both are fixed in the plan: chosen after a
    /// look at some redraws they void the p-value.
    ///
    /// # Errors
    /// Unless 1 ≤ `enough` ≤ `most`.
    pub fn new(enough: u64, most: u64) -> Result<Self, RedrawError> {
        if 1 <= enough && enough <= most {
            Ok(Self { enough, most })
        } else {
            Err(RedrawError { enough, most })
        }
    }

    /// The smallest p-value that can come out, 1/(B + 1).
    #[must_use]
    pub fn floor(self) -> f64 {
        (to_f64(self.most) + 1.0).recip()
    }

    /// The p-value of the `observed` statistic, given the `statistic` under redraw number 0, 1, 2, …
    ///
    /// Every attainable level α = h/l or i/(B + 1) has P(p ≤ α) = α exactly when ties have no chance, and less
    /// when they have: a tie is an exceedance, and so is a statistic that is no number, on either side.
    ///
    /// *Null assumption*: the observed statistic and the redrawn ones are exchangeable, that is the redrawn keys
    /// come from the law of the true one and everything else in the statistic is the same. Broken by evidence
    /// that depends on the true key, and by a key that was itself chosen among several. Source: Besag and
    /// Clifford 1991, *Sequential Monte Carlo p-values*.
    pub fn p_value(self, observed: f64, mut statistic: impl FnMut(u64) -> f64) -> Redrawn {
        let mut exceedances = 0;
        for redraw in 0..self.most {
            let below = statistic(redraw) < observed;
            exceedances += u64::from(!below);
            if exceedances == self.enough {
                let redraws = redraw + 1;
                return Redrawn { p: to_f64(exceedances) / to_f64(redraws), exceedances, redraws };
            }
        }
        let p = to_f64(exceedances + 1) / (to_f64(self.most) + 1.0);
        Redrawn { p, exceedances, redraws: self.most }
    }
}
