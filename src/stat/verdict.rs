//! From draws to numbers: the one statistic S = Σ aX, its verdict tail, and what a reader needs to judge it.
//!
//! Which tail is the verdict is fixed by the type of the draws: an exact lattice for coins, layers of coins and choices,
//! the Gamma tail for unweighted exponential draws, the Chernoff bound for what has neither. Never the smaller of two.

use serde::{Deserialize, Serialize};

use super::chernoff::chernoff_ln_sf;
use super::cumulant::{LawError, RealLaw, RealTerm};
use super::eprocess::{EProcess, EProcessError, Grid, Observed};
use super::estimate::{Cluster, ratio_estimate};
use super::gathered::{Exchanges, Gathered, Group, Share};
use super::lattice::{LatticeError, LatticeLaw, LatticeTerm, Method, lattice_ln_sf, lattice_spread};
use super::math::{Sum, log10_from_ln, to_f64};
use super::tail::gamma_ln_sf;
use super::{Rate, RateError};
use crate::law::{Draw, Draws, Gamma, Law, Step, StreamError, Streamed};

/// How the verdict tail was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TailMethod {
    /// Equal coefficients of coins: the binomial tail.
    Binomial,
    /// The sum cannot be smaller, or cannot be larger.
    Certain,
    /// Chernoff's bound from the exact cumulant.
    ChernoffBound,
    /// Exponentially tilted Fourier inversion with its outward error bound.
    ExactLattice,
    /// Unweighted exponential draws: the Gamma tail.
    Gamma,
    /// Adaptive draws have no tail: the e-process alone is the verdict, p = min(1, 1/max E).
    EProcess,
}

/// What a test of one set of draws found. Making it consumes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Distinct draws with a coefficient other than zero.
    #[serde(rename = "scored")]
    pub draws: u64,
    /// S = Σ aX.
    #[serde(rename = "sum")]
    pub statistic: f64,
    /// Draws with X = 1, where all draws are coins of one γ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub green: Option<u64>,
    /// γ as [threshold, 2^bits], where all draws are coins of one γ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gamma: Option<[u64; 2]>,
    /// E X + Σ a(X − E X) / Σ|a|: for positive coefficients the weighted mean of X (the green rate). Of choices the share
    /// of scores on the sibling picked: Σ|f| stands for 1 in the denominators.
    pub estimate: f64,
    /// Its 95 % interval, clustered by exchange; none with fewer than two exchanges.
    pub interval: Option<[f64; 2]>,
    /// E X under H0; of draws with several laws Σ |a| E X / Σ |a|.
    pub expected: f64,
    /// (S − E S) / sd S under H0: for comparison, never a verdict.
    pub z: f64,
    /// Effective draws, (Σa²)² / Σa⁴.
    pub n_eff: f64,
    /// The largest share of the variance that one draw has.
    pub largest_share: f64,
    /// The share of z that rounding to whole coefficients kept.
    pub share_of_z_kept: f64,
    /// The verdict tail, ln P(S ≥ s) under H0; never below the true value.
    pub ln_p: f64,
    /// The same to base 10.
    pub log10_p: f64,
    /// ln of the smallest p that these draws could give, where that has a closed form.
    pub ln_p_min: Option<f64>,
    /// How the tail was computed.
    pub method: TailMethod,
    /// The e-process over the exchanges in order: ln of its last value.
    pub ln_e: f64,
    /// ln of its largest value; min(0, −this) is an anytime-valid ln p.
    pub ln_e_max: f64,
    /// ln E after each exchange that has draws: (exchange, ln E).
    #[serde(skip)]
    pub path: Vec<(u32, f64)>,
}

impl Summary {
    /// Tests `draws`: H0 is that the suspect, and all that chose these draws, is independent of the key.
    ///
    /// # Errors
    /// No draws at all, or a sum beyond what is exact.
    pub fn of(draws: Draws) -> Result<Self, TestError> {
        let mut found = Found::listed(draws.as_slice().iter());
        found.kept = draws.share_of_z_kept();
        found.tested()
    }

    /// Tests draws that are opened meanwhile, as [`Summary::of`] would; `exchanges` is how many there are, numbered from 0.
    ///
    /// # Errors
    /// As [`Summary::of`], and what the stream says.
    pub fn of_streamed(draws: Streamed<'_>, exchanges: u32) -> Result<Self, TestError> {
        let mut found = Found::new(None, exchanges as usize);
        found.kept = draws.visit(|draw| found.add(draw.cluster(), draw))?;
        found.tested()
    }

    /// Tests adaptive `steps` in their order, one batch a document: the e-process is the only verdict, with bets
    /// planned for coefficients up to `a_max` and for `shares` of the steps that are remembered: 1 bets on all of them,
    /// 0.01 on one in a hundred.
    ///
    /// H0: given what was read before, the draws of a window not yet consulted are independent of the suspect's
    /// prediction there. Broken by a window consulted before and by documents chosen for how they went on.
    ///
    /// # Errors
    /// No draws at all, a coefficient above `a_max`, or shares that are none.
    pub fn of_reading(steps: &[Step], a_max: f64, shares: &[f64]) -> Result<Self, TestError> {
        let found = Found::listed(steps.iter().flat_map(|step| step.as_slice()));
        let moments = Moments::of(&found.all)?;
        let grid = grid(&found.all, a_max)?.with_shares(shares.to_vec())?;
        // Where bets are on all of them, draws of one law and coefficient enter a document together.
        let (mut documents, sparse) = (Documents::of(steps), shares != [1.0]);
        let bet = |e_process: &mut EProcess, exchange: &[(Group, Share)]| {
            if sparse { documents.bet(e_process) } else { bet(e_process, exchange) }
        };
        found.summary(moments, grid, bet, |e_process| {
            Ok(Tail { ln_p: e_process.ln_p().min(0.0), ln_p_min: None, method: TailMethod::EProcess })
        })
    }

    /// A test without a draw: p = 1 and e = 1. A suspect that answers nothing is no reason to lose the others' results.
    ///
    /// `law` is that of all its draws, had there been any; none where there are several.
    pub fn without_draws(law: Option<Law>) -> Self {
        let (gamma, mean) = (law.and_then(gamma_of), law.map_or(0.0, |law| law.mean() / law.weight()));
        Self {
            draws: 0,
            statistic: 0.0,
            green: gamma.map(|_| 0),
            gamma,
            estimate: mean,
            interval: None,
            expected: mean,
            z: 0.0,
            n_eff: 0.0,
            largest_share: 1.0,
            share_of_z_kept: 1.0,
            ln_p: 0.0,
            log10_p: 0.0,
            ln_p_min: Some(0.0),
            method: TailMethod::Certain,
            ln_e: 0.0,
            ln_e_max: 0.0,
            path: Vec::new(),
        }
    }
}

/// The verdict tail of `draws` and nothing else, as (ln p, z): for calibration over many keys and for decoys, where
/// [`Summary::of`] would spend most of its time on the e-process.
///
/// # Errors
/// As [`Summary::of`].
pub fn verdict_tail(draws: Draws) -> Result<(f64, f64), TestError> {
    let mut all = Gathered::default();
    for draw in draws.as_slice() {
        all.add(draw);
    }
    let moments = Moments::of(&all)?;
    Ok((Tail::of(&all, &moments)?.ln_p, (moments.sum - moments.mean) / moments.sd))
}

/// Why draws have no number.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestError {
    /// Every position was skipped, or there was none.
    #[error("no draw is left to score: every position was skipped or there was none")]
    NoDraws,
    /// A probability that is none.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// A sum beyond what is exact.
    #[error(transparent)]
    Lattice(#[from] LatticeError),
    /// An e-process that was planned for other draws.
    #[error(transparent)]
    EProcess(#[from] EProcessError),
    /// A law without a bound, such as an exponential draw that counts against the statistic.
    #[error(transparent)]
    Law(#[from] LawError),
    /// Draws that could not be opened.
    #[error(transparent)]
    Streamed(#[from] StreamError),
}

/// Draws on their way into a summary.
struct Found {
    all: Gathered,
    exchanges: Exchanges,
    /// The exchanges' numbers, where they are not 0, 1, 2 and so on.
    numbers: Option<Vec<u32>>,
    kept: f64,
}

impl Found {
    fn new(numbers: Option<Vec<u32>>, exchanges: usize) -> Self {
        Self { all: Gathered::default(), exchanges: Exchanges::new(exchanges), numbers, kept: 1.0 }
    }

    /// Draws at hand, whose exchanges may have any numbers.
    fn listed<'d>(draws: impl Iterator<Item = &'d Draw> + Clone) -> Self {
        let mut numbers: Vec<u32> = draws.clone().map(Draw::cluster).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut found = Self::new(None, numbers.len());
        for draw in draws {
            let at = numbers.partition_point(|number| *number < draw.cluster());
            found.add(u32::try_from(at).unwrap_or(u32::MAX), draw);
        }
        Self { numbers: Some(numbers), ..found }
    }

    fn add(&mut self, exchange: u32, draw: &Draw) {
        let (group, value) = self.all.add(draw);
        self.exchanges.add(exchange, group, value);
    }

    /// The verdict tail that belongs to these draws, and everything beside it.
    fn tested(self) -> Result<Summary, TestError> {
        let moments = Moments::of(&self.all)?;
        let tail = Tail::of(&self.all, &moments)?;
        let reach = |group: &Group| f64::from(group.coefficient).abs() * group.law.reach();
        let a_max = self.all.groups().map(reach).fold(1.0, f64::max);
        let grid = grid(&self.all, a_max)?;
        self.summary(moments, grid, bet, |_| Ok(tail))
    }

    /// `bet` takes one exchange's shares in; `tail` gives the verdict.
    fn summary(
        self,
        moments: Moments,
        grid: Grid,
        mut bet: impl FnMut(&mut EProcess, &[(Group, Share)]) -> Result<f64, TestError>,
        tail: impl FnOnce(&EProcess) -> Result<Tail, TestError>,
    ) -> Result<Summary, TestError> {
        let Self { all, exchanges, numbers, kept } = self;
        let law = common_law(&all);
        let gamma = law.and_then(gamma_of);
        let expected = law.map_or_else(|| weighted_mean(&all), |law| law.mean() / law.weight());
        let mut e_process = EProcess::new(grid);
        let (mut clusters, mut path) = (Vec::new(), Vec::new());
        exchanges.visit(&all, |exchange, shares| {
            let ln_e = bet(&mut e_process, shares)?;
            clusters.push(cluster(shares));
            path.push((numbers.as_ref().map_or(exchange, |numbers| numbers[exchange as usize]), ln_e));
            Ok::<(), TestError>(())
        })?;
        let tail = tail(&e_process)?;
        let (estimate, interval) = estimate(&clusters, expected);
        Ok(Summary {
            draws: all.count(),
            statistic: moments.sum,
            green: gamma.and_then(|_| all.groups().map(|group| u64::try_from(group.whole?).ok()).sum()),
            gamma,
            estimate,
            interval,
            expected,
            z: (moments.sum - moments.mean) / moments.sd,
            n_eff: moments.n_eff,
            largest_share: moments.largest_share,
            share_of_z_kept: kept,
            ln_p: tail.ln_p,
            log10_p: log10_from_ln(tail.ln_p),
            ln_p_min: tail.ln_p_min,
            method: tail.method,
            ln_e: e_process.ln_e(),
            ln_e_max: e_process.max_ln_e(),
            path,
        })
    }
}

struct Moments {
    sum: f64,
    mean: f64,
    sd: f64,
    n_eff: f64,
    largest_share: f64,
}

impl Moments {
    fn of(draws: &Gathered) -> Result<Self, TestError> {
        let (mut mean, mut variance, mut squares) = (Sum::default(), Sum::default(), Sum::default());
        let mut largest = 0.0_f64;
        for group in draws.groups() {
            let a = f64::from(group.coefficient);
            let v = a * a * group.law.variance();
            mean.add(group.n() * a * group.law.mean());
            variance.add(group.n() * v);
            squares.add(group.n() * v * v);
            largest = largest.max(v);
        }
        let variance = variance.value();
        if variance <= 0.0 {
            return Err(TestError::NoDraws);
        }
        let n_eff = variance * variance / squares.value();
        Ok(Self {
            sum: draws.sum(),
            mean: mean.value(),
            sd: variance.sqrt(),
            n_eff,
            largest_share: largest / variance,
        })
    }
}

struct Tail {
    ln_p: f64,
    ln_p_min: Option<f64>,
    method: TailMethod,
}

impl Tail {
    /// The verdict tail for the laws and coefficients at hand.
    fn of(draws: &Gathered, moments: &Moments) -> Result<Self, TestError> {
        if let Some(k) = draws.whole_sum() {
            return Self::lattice(draws, k);
        }
        if draws.groups().all(|group| group.law == Law::Exponential && group.coefficient == 1) {
            let (n, most) = (draws.count(), Law::Exponential.value(u32::MAX));
            let ln_p_min = Some(gamma_ln_sf(n, most * to_f64(n)));
            return Ok(Self { ln_p: gamma_ln_sf(n, moments.sum), ln_p_min, method: TailMethod::Gamma });
        }
        Self::chernoff(draws, moments)
    }

    fn lattice(draws: &Gathered, k: i64) -> Result<Self, TestError> {
        let mut terms = Vec::new();
        for group in draws.groups() {
            terms.extend(lattice_terms(group.law, group.coefficient, group.count)?);
        }
        let tail = lattice_ln_sf(&terms, k)?;
        let method = match tail.method {
            Method::Binomial => TailMethod::Binomial,
            Method::Certain => TailMethod::Certain,
            Method::Inversion => TailMethod::ExactLattice,
        };
        Ok(Self { ln_p: tail.ln_p, ln_p_min: Some(lattice_spread(&terms)?.ln_p_min), method })
    }

    fn chernoff(draws: &Gathered, moments: &Moments) -> Result<Self, TestError> {
        let term = |group: &Group| real_term(group.law, group.coefficient, group.count);
        let terms: Vec<RealTerm> = draws.groups().map(term).collect::<Result<_, TestError>>()?;
        let ln_p = chernoff_ln_sf(&terms, moments.sum)?;
        Ok(Self { ln_p, ln_p_min: None, method: TailMethod::ChernoffBound })
    }
}

/// The bets for these draws.
fn grid(draws: &Gathered, a_max: f64) -> Result<Grid, TestError> {
    let exponential = draws.groups().any(|group| group.law == Law::Exponential);
    Ok(if exponential { Grid::exponential(a_max)? } else { Grid::bounded(a_max)? })
}

/// Bets on one exchange; ln E after it. Draws of one law and coefficient enter together: Σ aX and their number are all
/// that a bet depends on.
fn bet(e_process: &mut EProcess, shares: &[(Group, Share)]) -> Result<f64, TestError> {
    let term = |(group, share): &(Group, Share)| {
        Ok((real_term(group.law, group.coefficient, u64::from(share.count))?, share.sum))
    };
    let terms: Vec<(RealTerm, f64)> = shares.iter().map(term).collect::<Result<_, TestError>>()?;
    Ok(e_process.batch(&observed(&terms))?)
}

fn observed(terms: &[(RealTerm, f64)]) -> Vec<Observed<'_>> {
    terms.iter().map(|(RealTerm { law, count }, sum)| Observed { law, count: *count, sum: *sum }).collect()
}

/// Steps by document, for bets on each step as one unit.
struct Documents<'s> {
    steps: std::iter::Peekable<std::slice::Iter<'s, Step>>,
}

impl<'s> Documents<'s> {
    fn of(steps: &'s [Step]) -> Self {
        Self { steps: steps.iter().peekable() }
    }

    /// Bets on the next document that has draws; ln E after it.
    fn bet(&mut self, e_process: &mut EProcess) -> Result<f64, TestError> {
        let document = |step: &&Step| step.as_slice().first().map(Draw::cluster);
        let mut units: Vec<Vec<(RealTerm, f64)>> = Vec::new();
        let mut here = None;
        while let Some(step) = self.steps.next_if(|step| {
            let at = document(step);
            at.is_none() || here.is_none() || at == here
        }) {
            here = here.or(document(&step));
            units.push(unit(step)?);
        }
        let observed: Vec<Vec<Observed<'_>>> = units.iter().map(|unit| observed(unit)).collect();
        Ok(e_process.batch_of_units(observed.iter().map(Vec::as_slice))?)
    }
}

/// The draws of one step, those of one law and coefficient together.
fn unit(step: &Step) -> Result<Vec<(RealTerm, f64)>, TestError> {
    let mut all = Gathered::default();
    let mut sums = Vec::new();
    for draw in step.as_slice() {
        let (group, value) = all.add(draw);
        sums.resize(sums.len().max(group + 1), 0.0);
        sums[group] += value;
    }
    let term = |(group, sum): (&Group, f64)| Ok((real_term(group.law, group.coefficient, group.count)?, sum));
    all.in_order_of_appearance().zip(sums).map(term).collect()
}

/// The law of all draws, unless keys with several laws were pooled.
fn common_law(draws: &Gathered) -> Option<Law> {
    let law = draws.groups().next()?.law;
    draws.groups().all(|group| group.law == law).then_some(law)
}

/// γ as [threshold, 2^bits].
fn gamma_of(law: Law) -> Option<[u64; 2]> {
    match law {
        Law::Bernoulli(gamma) => Some([u64::from(gamma.threshold()), 1 << gamma.bits()]),
        Law::Choice(_) | Law::Exponential | Law::Layers(_) => None,
    }
}

/// Σ |a| E X / Σ |a|, with Σ|f| for 1 where the draw is a choice.
fn weighted_mean(draws: &Gathered) -> f64 {
    let size = |group: &Group| group.n() * f64::from(group.coefficient).abs();
    let mean: Sum = draws.groups().map(|group| size(group) * group.law.mean()).collect();
    mean.value() / draws.groups().map(|group| size(group) * group.law.weight()).collect::<Sum>().value()
}

/// Σ a(X − E X) and Σ|a| of one exchange.
fn cluster(shares: &[(Group, Share)]) -> Cluster {
    let mut cluster = Cluster::default();
    for (group, share) in shares {
        let (n, a) = (f64::from(share.count), f64::from(group.coefficient));
        cluster.sum += share.sum - n * a * group.law.mean();
        cluster.weight += n * a.abs() * group.law.weight();
    }
    cluster
}

/// E X + Σ a(X − E X) / Σ|a| with its interval, clustered by exchange.
fn estimate(clusters: &[Cluster], expected: f64) -> (f64, Option<[f64; 2]>) {
    ratio_estimate(clusters).map_or((expected, None), |found| {
        (expected + found.value, found.interval.map(|ends| ends.map(|end| expected + end)))
    })
}

/// `count` draws of one law and coefficient as coins: those of a tournament are its layers, which are independent, so n
/// draws of m equal layers are m·n coins, and their tail is the binomial one.
pub(super) fn lattice_terms(law: Law, coefficient: i32, count: u64) -> Result<Vec<LatticeTerm>, TestError> {
    Ok(match law {
        Law::Bernoulli(gamma) => vec![LatticeTerm::coins(coefficient, rate(gamma)?, count)],
        Law::Choice(scores) => {
            let scores = scores.as_slice().iter().map(|f| coefficient * i32::from(*f)).collect();
            vec![LatticeTerm { law: LatticeLaw::Scores(scores), count }]
        }
        Law::Exponential => Vec::new(),
        Law::Layers(layers) => {
            let fair = fair()?;
            let term = |(weight, layers): (u8, u8)| {
                LatticeTerm::coins(coefficient * i32::from(weight), fair, count * u64::from(layers))
            };
            layers.coins().into_iter().map(term).collect()
        }
    })
}

/// The same as real terms: equal layers as coins, others as draws of several coins.
fn real_term(law: Law, coefficient: i32, count: u64) -> Result<RealTerm, TestError> {
    let coefficient = f64::from(coefficient);
    Ok(match law {
        Law::Bernoulli(gamma) => {
            RealTerm { law: RealLaw::Bernoulli { coefficient, rate: rate(gamma)? }, count }
        }
        Law::Choice(scores) => {
            let scores = scores.as_slice().iter().map(|f| coefficient * f64::from(*f)).collect();
            RealTerm { law: RealLaw::Scores(scores), count }
        }
        Law::Exponential => RealTerm { law: RealLaw::Exponential { coefficient }, count },
        Law::Layers(layers) => match layers.coins()[..] {
            [(weight, layers)] => {
                let coin = RealLaw::Bernoulli { coefficient: coefficient * f64::from(weight), rate: fair()? };
                RealTerm { law: coin, count: count * u64::from(layers) }
            }
            _ => {
                let weights = layers.weights().into_iter().filter(|weight| *weight > 0);
                let coefficients = weights.map(|weight| coefficient * f64::from(weight)).collect();
                RealTerm { law: RealLaw::Coins { coefficients, rate: fair()? }, count }
            }
        },
    })
}

fn rate(gamma: Gamma) -> Result<Rate, RateError> {
    Rate::dyadic(u64::from(gamma.threshold()), u32::from(gamma.bits()))
}

/// The chance of a layer.
fn fair() -> Result<Rate, RateError> {
    Rate::dyadic(1, 1)
}
