//! From draws to numbers: the one statistic S = Σ aX, its verdict tail, and what a reader needs to judge it.
//!
//! Which tail is the verdict is fixed by the type of the draws: an exact lattice for coins, layers of coins and choices,
//! the Gamma tail for unweighted exponential draws, the Chernoff bound for what has neither. Never the smaller of two.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::chernoff::chernoff_ln_sf;
use super::cumulant::{LawError, RealLaw, RealTerm};
use super::eprocess::{EProcess, EProcessError, Grid, Observed};
use super::estimate::{Cluster, ratio_estimate};
use super::lattice::{LatticeError, LatticeLaw, LatticeTerm, Method, lattice_ln_sf, lattice_spread};
use super::math::{Sum, log10_from_ln, to_f64};
use super::tail::gamma_ln_sf;
use super::{Rate, RateError};
use crate::law::{Draw, Draws, Gamma, Law, Step};

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
        let kept = draws.share_of_z_kept();
        let draws: Vec<&Draw> = draws.as_slice().iter().collect();
        let moments = Moments::of(&draws)?;
        let tail = Tail::of(&draws, &moments)?;
        let reach = |draw: &&Draw| f64::from(draw.coefficient()).abs() * draw.law().reach();
        let a_max = draws.iter().map(reach).fold(1.0, f64::max);
        let clusters = by_cluster(&draws);
        let e_process = bet(&clusters, a_max)?;
        Ok(Self::from_parts(&draws, &clusters, kept, &moments, tail, &e_process))
    }

    /// Tests adaptive `steps` in their order, one batch a document: the e-process is the only verdict, with bets
    /// planned for coefficients up to `a_max`.
    ///
    /// H0: given what was read before, the draws of a window not yet consulted are independent of the suspect's
    /// prediction there. Broken by a window consulted before and by documents chosen for how they went on.
    ///
    /// # Errors
    /// No draws at all, or a coefficient above `a_max`.
    pub fn of_reading(steps: &[Step], a_max: f64) -> Result<Self, TestError> {
        let draws: Vec<&Draw> = steps.iter().flat_map(|step| step.as_slice()).collect();
        let clusters = by_cluster(&draws);
        let e_process = bet(&clusters, a_max)?;
        let tail = Tail { ln_p: e_process.ln_p().min(0.0), ln_p_min: None, method: TailMethod::EProcess };
        Ok(Self::from_parts(&draws, &clusters, 1.0, &Moments::of(&draws)?, tail, &e_process))
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

    fn from_parts(
        draws: &[&Draw],
        clusters: &Clusters<'_>,
        kept: f64,
        moments: &Moments,
        tail: Tail,
        e_process: &EProcess,
    ) -> Self {
        let law = common_law(draws);
        let gamma = law.and_then(gamma_of);
        let expected = law.map_or_else(|| weighted_mean(draws), |law| law.mean() / law.weight());
        let (estimate, interval) = estimate(clusters, expected);
        Self {
            draws: draws.len() as u64,
            statistic: moments.sum,
            green: gamma.map(|_| draws.iter().filter(|draw| draw.word() == 1).count() as u64),
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
            path: clusters.keys().copied().zip(e_process.path().iter().copied()).collect(),
        }
    }
}

/// The verdict tail of `draws` and nothing else, as (ln p, z): for calibration over many keys and for decoys, where
/// [`Summary::of`] would spend most of its time on the e-process.
///
/// # Errors
/// As [`Summary::of`].
pub fn verdict_tail(draws: Draws) -> Result<(f64, f64), TestError> {
    let draws: Vec<&Draw> = draws.as_slice().iter().collect();
    let moments = Moments::of(&draws)?;
    let ln_p = Tail::of(&draws, &moments)?.ln_p;
    Ok((ln_p, (moments.sum - moments.mean) / moments.sd))
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
}

struct Moments {
    sum: f64,
    mean: f64,
    sd: f64,
    n_eff: f64,
    largest_share: f64,
}

impl Moments {
    fn of(draws: &[&Draw]) -> Result<Self, TestError> {
        let (mut sum, mut mean) = (Sum::default(), Sum::default());
        let (mut variance, mut squares, mut largest) = (Sum::default(), Sum::default(), 0.0_f64);
        for draw in draws {
            let a = f64::from(draw.coefficient());
            let v = a * a * draw.law().variance();
            sum.add(a * draw.value());
            mean.add(a * draw.law().mean());
            variance.add(v);
            squares.add(v * v);
            largest = largest.max(v);
        }
        let variance = variance.value();
        if variance <= 0.0 {
            return Err(TestError::NoDraws);
        }
        let n_eff = variance * variance / squares.value();
        Ok(Self {
            sum: sum.value(),
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
    fn of(draws: &[&Draw], moments: &Moments) -> Result<Self, TestError> {
        let whole = draws.iter().all(|draw| draw.whole().is_some());
        let unweighted = draws.iter().all(|draw| draw.law() == Law::Exponential && draw.coefficient() == 1);
        if whole {
            Self::lattice(draws)
        } else if unweighted {
            let (n, most) = (draws.len() as u64, Law::Exponential.value(u32::MAX));
            let ln_p_min = Some(gamma_ln_sf(n, most * to_f64(n)));
            Ok(Self { ln_p: gamma_ln_sf(n, moments.sum), ln_p_min, method: TailMethod::Gamma })
        } else {
            Self::chernoff(draws, moments)
        }
    }

    fn lattice(draws: &[&Draw]) -> Result<Self, TestError> {
        let value = |draw: &&Draw| Some(i64::from(draw.coefficient()) * i64::from(draw.whole()?));
        let k = draws.iter().filter_map(value).sum();
        let mut terms = Vec::new();
        for ((law, a), count) in counts(draws) {
            terms.extend(lattice_terms(law, a, count)?);
        }
        let tail = lattice_ln_sf(&terms, k)?;
        let method = match tail.method {
            Method::Binomial => TailMethod::Binomial,
            Method::Certain => TailMethod::Certain,
            Method::Inversion => TailMethod::ExactLattice,
        };
        Ok(Self { ln_p: tail.ln_p, ln_p_min: Some(lattice_spread(&terms)?.ln_p_min), method })
    }

    fn chernoff(draws: &[&Draw], moments: &Moments) -> Result<Self, TestError> {
        let term = |((law, a), count)| real_term(law, a, count);
        let terms: Vec<RealTerm> = counts(draws).into_iter().map(term).collect::<Result<_, TestError>>()?;
        let ln_p = chernoff_ln_sf(&terms, moments.sum)?;
        Ok(Self { ln_p, ln_p_min: None, method: TailMethod::ChernoffBound })
    }
}

/// How many draws have each law and coefficient: of millions, a few hundred differ.
fn counts(draws: &[&Draw]) -> BTreeMap<(Law, i32), u64> {
    let mut counts = BTreeMap::new();
    // Neighbours are mostly alike.
    for alike in draws.chunk_by(|a, b| a.coefficient() == b.coefficient() && a.law() == b.law()) {
        *counts.entry((alike[0].law(), alike[0].coefficient())).or_default() += alike.len() as u64;
    }
    counts
}

/// The draws of each exchange, in the order of exchanges.
type Clusters<'d> = BTreeMap<u32, Vec<&'d Draw>>;

fn by_cluster<'d>(draws: &[&'d Draw]) -> Clusters<'d> {
    let mut clusters = Clusters::new();
    for draw in draws {
        clusters.entry(draw.cluster()).or_default().push(draw);
    }
    clusters
}

/// The e-process over exchanges, one batch each.
fn bet(clusters: &Clusters<'_>, a_max: f64) -> Result<EProcess, TestError> {
    let exponential = clusters.values().flatten().any(|draw| draw.law() == Law::Exponential);
    let grid = if exponential { Grid::exponential(a_max)? } else { Grid::bounded(a_max)? };
    let mut e_process = EProcess::new(grid);
    for draws in clusters.values() {
        // Draws of one law and coefficient enter together: Σ aX and their number are all that a bet depends on.
        let mut groups: BTreeMap<(Law, i32), (u64, f64)> = BTreeMap::new();
        for draw in draws {
            let group = groups.entry((draw.law(), draw.coefficient())).or_default();
            *group = (group.0 + 1, group.1 + f64::from(draw.coefficient()) * draw.value());
        }
        let terms = groups.iter().map(|((law, a), (count, sum))| Ok((real_term(*law, *a, *count)?, *sum)));
        let terms: Vec<(RealTerm, f64)> = terms.collect::<Result<_, TestError>>()?;
        let batch: Vec<Observed<'_>> = terms
            .iter()
            .map(|(RealTerm { law, count }, sum)| Observed { law, count: *count, sum: *sum })
            .collect();
        e_process.batch(&batch)?;
    }
    Ok(e_process)
}

/// The law of all `draws`, unless keys with several laws were pooled.
fn common_law(draws: &[&Draw]) -> Option<Law> {
    let law = draws.first()?.law();
    draws.iter().all(|draw| draw.law() == law).then_some(law)
}

/// γ as [threshold, 2^bits].
fn gamma_of(law: Law) -> Option<[u64; 2]> {
    match law {
        Law::Bernoulli(gamma) => Some([u64::from(gamma.threshold()), 1 << gamma.bits()]),
        Law::Choice(_) | Law::Exponential | Law::Layers(_) => None,
    }
}

/// Σ |a| E X / Σ |a|, with Σ|f| for 1 where the draw is a choice.
fn weighted_mean(draws: &[&Draw]) -> f64 {
    let size = |draw: &&Draw| f64::from(draw.coefficient()).abs();
    let mean: Sum = draws.iter().map(|draw| size(draw) * draw.law().mean()).collect();
    mean.value() / draws.iter().map(|draw| size(draw) * draw.law().weight()).collect::<Sum>().value()
}

/// E X + Σ a(X − E X) / Σ|a| with its interval, clustered by exchange.
fn estimate(clusters: &Clusters<'_>, expected: f64) -> (f64, Option<[f64; 2]>) {
    let cluster = |draws: &Vec<&Draw>| {
        let term = |draw: &&Draw| f64::from(draw.coefficient()) * (draw.value() - draw.law().mean());
        let weight = |draw: &&Draw| f64::from(draw.coefficient()).abs() * draw.law().weight();
        Cluster { sum: draws.iter().map(term).sum(), weight: draws.iter().map(weight).sum() }
    };
    let clusters: Vec<Cluster> = clusters.values().map(cluster).collect();
    ratio_estimate(&clusters).map_or((expected, None), |found| {
        (expected + found.value, found.interval.map(|ends| ends.map(|end| expected + end)))
    })
}

/// `count` draws of one law and coefficient as coins: those of a tournament are its layers, which are independent, so n
/// draws of m equal layers are m·n coins, and their tail is the binomial one.
fn lattice_terms(law: Law, coefficient: i32, count: u64) -> Result<Vec<LatticeTerm>, TestError> {
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
