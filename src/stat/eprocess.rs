//! E-processes: evidence that stays valid whenever one stops.
//!
//! Under H0 each draw has E e^{λaX − ψ(λ)} ≤ 1, so for a fixed λ the product over draws is a nonnegative
//! supermartingale that starts at 1: a fair game in which betting against H0 gains nothing. [`EProcess`] plays
//! one game for each λ of a planned [`Grid`] and averages *the products*; an average of martingales is one
//! again. By Ville's inequality (1939; Ramdas et al. 2023, *Game-theoretic statistics and safe anytime-valid
//! inference*)
//!
//! ```text
//! P(E ever reaches 1/α) ≤ α,      so      p = min(1, 1 / max E)      at any time, however the time was chosen.
//! ```
//!
//! The *largest* of the products is not a martingale, and reporting it would be choosing λ after the fact.
//!
//! *Null assumption*: given everything seen before, each draw has the stated law; its coefficient, the choice
//! of the draw and the decision to go on were fixed before it was opened; λ and `a_max` were planned. Broken by
//! a draw that enters twice, by coefficients that saw the draw, and by a grid that was changed on the way. A process knows
//! no draws: who resumes a saved one keeps, with the state, which were opened (a new reading would open their windows
//! again), and goes on once: of two continuations of one state the better one is a choice after the fact.

use serde::{Deserialize, Serialize};

use super::cumulant::{LawError, RealLaw};
use super::math::{exp, exp_m1, ln, ln_1p, log_sum_exp, to_f64};
use super::rate::Rate;

/// The bets of an e-process, planned beforehand: each (λ, share) plays its own game, all with the same weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "saved::Grid")]
pub struct Grid {
    #[serde(with = "exact::one")]
    a_max: f64,
    #[serde(with = "exact::many")]
    lambdas: Vec<f64>,
    #[serde(with = "exact::many")]
    shares: Vec<f64>,
}

/// What was observed of `count` draws of one law: `sum` = Σ aX over them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed<'a> {
    /// The law of each term aX under H0.
    pub law: &'a RealLaw,
    /// How many draws.
    pub count: u64,
    /// The sum of their terms.
    pub sum: f64,
}

/// An e-process: ln E after each batch of draws. Its state can be saved and resumed bit for bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "saved::Process")]
pub struct EProcess {
    grid: Grid,
    /// ln of the product of each game, in the order of the grid: for each λ all shares.
    #[serde(with = "exact::many")]
    games: Vec<f64>,
    #[serde(with = "exact::many")]
    path: Vec<f64>,
}

/// Why a grid or a batch was refused. A refused batch leaves the process as it was.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EProcessError {
    /// The law of a draw does not exist.
    #[error(transparent)]
    Law(#[from] LawError),
    /// A grid needs a positive finite `a_max`, at least one positive finite λ, and shares in (0, 1].
    #[error("not a grid: {0} is out of range")]
    Grid(f64),
    /// A coefficient is larger than planned.
    #[error("the coefficient {coefficient} exceeds the planned {a_max}")]
    Unplanned {
        /// The largest |coefficient| of the draw.
        coefficient: f64,
        /// The plan's limit.
        a_max: f64,
    },
    /// λa must stay below 1 for an exponential draw, or its bet has no fair price.
    #[error("an exponential draw with coefficient {coefficient} cannot be bet on with lambda = {lambda}")]
    Unpriced {
        /// The coefficient of the draw.
        coefficient: f64,
        /// The largest λ of the grid.
        lambda: f64,
    },
    /// A saved state that no process can have.
    #[error("the saved state does not belong to one e-process")]
    State,
    /// The sum cannot come from so many draws of this law.
    #[error("{sum} is not a sum of {count} draws of the stated law")]
    Impossible {
        /// The number of draws.
        count: u64,
        /// The sum given.
        sum: f64,
    },
}

impl Grid {
    /// The default for coins and choices: λⱼ = 2⁻ʲ / `a_max`, j = 0 … 12.
    ///
    /// # Errors
    /// An `a_max` that is not positive and finite.
    pub fn bounded(a_max: f64) -> Result<Self, EProcessError> {
        Self::dyadic(a_max, 0)
    }

    /// The default where any draw is exponential: λⱼ = 2⁻ʲ / `a_max`, j = 1 … 12. At j = 0 a draw with the
    /// coefficient `a_max` would have λa = 1, where E e^{λX} is infinite.
    ///
    /// # Errors
    /// As [`Grid::bounded`].
    pub fn exponential(a_max: f64) -> Result<Self, EProcessError> {
        Self::dyadic(a_max, 1)
    }

    /// A grid of one's own, for coefficients up to `a_max`.
    ///
    /// # Errors
    /// No λ, or a number that is not positive and finite.
    pub fn new(a_max: f64, lambdas: Vec<f64>) -> Result<Self, EProcessError> {
        let positive = |x: f64| x > 0.0 && x.is_finite();
        if let Some(&x) = [&a_max].into_iter().chain(&lambdas).find(|&&x| !positive(x)) {
            return Err(EProcessError::Grid(x));
        }
        if lambdas.is_empty() {
            return Err(EProcessError::Grid(0.0));
        }
        Ok(Self { a_max, lambdas, shares: vec![1.0] })
    }

    /// The same with bets on sparse memory: for each share ε, every [`Observed`] enters as 1 − ε + ε e^{λΣaX −
    /// ψ}, so that a few remembered ones among many others are found. An `Observed` is then one unit that is
    /// remembered or not, a window or a slot.
    ///
    /// # Errors
    /// No share, or one outside (0, 1].
    pub fn with_shares(self, shares: Vec<f64>) -> Result<Self, EProcessError> {
        if let Some(&x) = shares.iter().find(|&&x| !(x > 0.0 && x <= 1.0)) {
            return Err(EProcessError::Grid(x));
        }
        if shares.is_empty() {
            return Err(EProcessError::Grid(0.0));
        }
        Ok(Self { shares, ..self })
    }

    /// The same with as many bets again around the one that suits a *planned* effect: 4, 5 and 4 games at 0.7, 1 and 1.4 times
    /// `lambda` beside the 13 of the default. An effect as planned is found with a tenth fewer draws on average, half or
    /// twice as large a one with no more than before: what it can cost is ln 2 of ln E, against the ln 13 that the
    /// default spends on not knowing the effect. [`best_bet`] says which λ suits a coin.
    ///
    /// # Errors
    /// A λ that is not positive and finite.
    pub fn around(self, lambda: f64) -> Result<Self, EProcessError> {
        let near = [(0.7, 4), (1.0, 5), (1.4, 4)].map(|(part, games)| vec![part * lambda; games]);
        let lambdas = self.lambdas.into_iter().chain(near.into_iter().flatten()).collect();
        Self::new(self.a_max, lambdas)?.with_shares(self.shares)
    }

    /// The largest |coefficient| that was planned.
    #[must_use]
    pub fn a_max(&self) -> f64 {
        self.a_max
    }

    /// The bets λ.
    #[must_use]
    pub fn lambdas(&self) -> &[f64] {
        &self.lambdas
    }

    /// The shares ε.
    #[must_use]
    pub fn shares(&self) -> &[f64] {
        &self.shares
    }

    fn dyadic(a_max: f64, first: u8) -> Result<Self, EProcessError> {
        Self::new(a_max, (first..=12).map(|j| (f64::from(1_u16 << j) * a_max).recip()).collect())
    }

    fn check(&self, observed: &Observed<'_>) -> Result<(), EProcessError> {
        let &Observed { law, count, sum } = observed;
        law.check()?;
        let coefficient = law.size();
        if coefficient > self.a_max {
            return Err(EProcessError::Unplanned { coefficient, a_max: self.a_max });
        }
        let lambda = self.lambdas.iter().copied().fold(0.0, f64::max);
        if lambda >= law.domain() {
            return Err(EProcessError::Unpriced { coefficient, lambda });
        }
        // The caller's sum of many products carries roundings.
        let (low, high) = law.range();
        let slack = 1e-9 * to_f64(count) * coefficient;
        let possible = sum >= low * to_f64(count) - slack
            && (count == 0 && sum <= slack || sum <= high * to_f64(count) + slack);
        if possible { Ok(()) } else { Err(EProcessError::Impossible { count, sum }) }
    }
}

/// The λ under which ln E of a coin with coefficient 1 grows fastest when its chance lies `shift` above `rate`: the log of the
/// odds ratio (Kelly 1956). None unless the chance is then strictly between `rate` and 1.
#[must_use]
pub fn best_bet(rate: Rate, shift: f64) -> Option<f64> {
    let chance = rate.p() + shift;
    (shift > 0.0 && chance < 1.0).then(|| ln(chance / (1.0 - chance) / rate.odds()))
}

impl EProcess {
    /// E = 1, before any draw.
    #[must_use]
    pub fn new(grid: Grid) -> Self {
        let games = vec![0.0; grid.lambdas.len() * grid.shares.len()];
        Self { grid, games, path: Vec::new() }
    }

    /// Takes one batch: everything that was opened before one could stop again, normally one answer. Each [`Observed`] is
    /// one unit that is remembered or not. Gives ln E after it.
    ///
    /// # Errors
    /// A draw outside the plan or with an impossible value; the process is then unchanged.
    pub fn batch(&mut self, batch: &[Observed<'_>]) -> Result<f64, EProcessError> {
        self.batch_of_units(batch.chunks(1))
    }

    /// The same where a unit that is remembered or not, such as a window, has draws of several laws or coefficients.
    ///
    /// # Errors
    /// As [`EProcess::batch`].
    pub fn batch_of_units<'u>(
        &mut self,
        units: impl Iterator<Item = &'u [Observed<'u>]> + Clone,
    ) -> Result<f64, EProcessError> {
        units.clone().flatten().try_for_each(|observed| self.grid.check(observed))?;
        let Grid { lambdas, shares, .. } = &self.grid;
        for (games, &lambda) in self.games.chunks_mut(shares.len()).zip(lambdas) {
            for unit in units.clone() {
                let x: f64 = unit.iter().map(|observed| observed.gain(lambda)).sum();
                games.iter_mut().zip(shares).for_each(|(game, share)| *game += ln_factor(x, *share));
            }
        }
        let ln_e = self.average();
        self.path.push(ln_e);
        Ok(ln_e)
    }

    /// ln E now; 0 at the start.
    #[must_use]
    pub fn ln_e(&self) -> f64 {
        self.path.last().copied().unwrap_or(0.0)
    }

    /// The largest ln E so far, at least 0 because E starts at 1.
    #[must_use]
    pub fn max_ln_e(&self) -> f64 {
        self.path.iter().copied().fold(0.0, f64::max)
    }

    /// The anytime-valid ln p: −`max_ln_e`.
    #[must_use]
    pub fn ln_p(&self) -> f64 {
        -self.max_ln_e()
    }

    /// ln E after each batch.
    #[must_use]
    pub fn path(&self) -> &[f64] {
        &self.path
    }

    /// The plan it runs under.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    fn average(&self) -> f64 {
        let games = self.games.iter().fold(0, |n, _| n + 1);
        log_sum_exp(&self.games) - ln(to_f64(games))
    }
}

impl Observed<'_> {
    /// λΣaX − Σψ(λ).
    fn gain(&self, lambda: f64) -> f64 {
        lambda * self.sum - to_f64(self.count) * self.law.cumulant(lambda).value
    }
}

/// ln (1 − ε + ε e^x), x the gain of a unit.
fn ln_factor(x: f64, share: f64) -> f64 {
    if share == 1.0 {
        x
    } else if x > 0.0 {
        x + ln(share + (1.0 - share) * exp(-x))
    } else {
        ln_1p(share * exp_m1(x))
    }
}

/// States as they are read back: checked like new ones.
mod saved {
    use serde::Deserialize;

    use super::{EProcess, EProcessError, exact};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Grid {
        #[serde(with = "exact::one")]
        a_max: f64,
        #[serde(with = "exact::many")]
        lambdas: Vec<f64>,
        #[serde(with = "exact::many")]
        shares: Vec<f64>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Process {
        grid: super::Grid,
        #[serde(with = "exact::many")]
        games: Vec<f64>,
        #[serde(with = "exact::many")]
        path: Vec<f64>,
    }

    impl TryFrom<Grid> for super::Grid {
        type Error = EProcessError;

        fn try_from(saved: Grid) -> Result<Self, EProcessError> {
            Self::new(saved.a_max, saved.lambdas)?.with_shares(saved.shares)
        }
    }

    impl TryFrom<Process> for EProcess {
        type Error = EProcessError;

        fn try_from(saved: Process) -> Result<Self, EProcessError> {
            let Process { grid, games, path } = saved;
            let process = Self { games, ..Self::new(grid) };
            let consistent = process.games.len() == process.grid.lambdas.len() * process.grid.shares.len();
            // Where E stands is the average of the games, and both were saved.
            let last = path.last().copied().unwrap_or(0.0);
            if consistent && process.average().to_bits() == last.to_bits() {
                Ok(Self { path, ..process })
            } else {
                Err(EProcessError::State)
            }
        }
    }
}

/// Numbers as decimal strings that parse back to the same bits. (JSON numbers may not: some readers round the
/// last digit.)
mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    fn parse<E: Error>(text: &str) -> Result<f64, E> {
        text.parse().map_err(|_| E::custom(format_args!("{text:?} is not a number")))
    }

    pub(super) mod one {
        use super::{Deserialize, Deserializer, Serializer, parse};

        pub(in super::super) fn serialize<S: Serializer>(x: &f64, to: S) -> Result<S::Ok, S::Error> {
            to.collect_str(&format_args!("{x:?}"))
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
            parse(&String::deserialize(from)?)
        }
    }

    pub(super) mod many {
        use super::{Deserialize, Deserializer, Serializer, parse};

        pub(in super::super) fn serialize<S: Serializer>(xs: &[f64], to: S) -> Result<S::Ok, S::Error> {
            to.collect_seq(xs.iter().map(|x| format!("{x:?}")))
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Vec<f64>, D::Error> {
            Vec::<String>::deserialize(from)?.iter().map(|text| parse(text)).collect()
        }
    }
}
