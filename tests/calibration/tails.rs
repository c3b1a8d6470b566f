//! Small levels: rejections at 1 in 10⁴, 10⁶ and 10¹² by importance sampling, for every kind of tail.
//!
//! No number of keys shows a level of 10⁻¹². Here the keyed function is replaced by draws of its law under H0, tilted:
//! with q(x) ∝ p(x) e^{λax} about half of the samples reject, and each counts with p/q. They go through the verdict as the
//! draws of a key do. The rejection rate may not exceed the level, and where the tail is exact it is the level attained.
//! (That HMAC and ChaCha follow the law is for the keys of the other modules and for the vectors to show.)

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use taggant::law::{Draws, Law, Layers, Origin, Scale, Step, Tally, WholeEntry};
use taggant::scheme::Spec;
use taggant::score::{Coin, Counter, Evidence, Over, Position, SHRINK, Text, TextStatistic, count};
use taggant::stat::verdict::Summary;

use crate::h0::{Language, innocent, ln_p};
use crate::rows::Rows;
use crate::text::{expectation, loops};

const SAMPLES: u64 = 2_000;
const LEVELS: [f64; 3] = [1e-4, 1e-6, 1e-12];

/// From a word for each coin to the draws.
type Open<'a> = Box<dyn Fn(&[u32]) -> Draws + 'a>;

/// Draws whose words are sampled: the coins, each with the sum of its coefficients, and how to open them.
struct Case<'a> {
    what: &'a str,
    exact: bool,
    coins: Vec<(Law, i32)>,
    open: Open<'a>,
}

impl<'a> Case<'a> {
    /// Each draw a coin of its own. `parts` are pooled.
    fn new(what: &'a str, exact: bool, parts: Vec<(Evidence, Law)>) -> Self {
        let of_part = |(evidence, law): &(Evidence, Law)| {
            let nonzero = |a: &i32| *a != 0;
            let coefficients = evidence.coefficients().entries().iter().map(|entry| entry.coefficient);
            coefficients.filter(nonzero).map(|a| (*law, a)).collect::<Vec<_>>()
        };
        let coins = parts.iter().flat_map(of_part).collect();
        let open = move |words: &[u32]| {
            let mut words = words.iter();
            let mut opened = parts.iter().zip(0..).map(|((evidence, law), number)| {
                // Draws are opened in the order of their inputs.
                evidence.coefficients().open(*law, Origin([number; 32]), |_| *words.next().unwrap())
            });
            let first = opened.next().unwrap();
            opened.fold(first, |pooled, part| pooled.pool(part).unwrap())
        };
        Self { what, exact, coins, open: Box::new(open) }
    }

    /// The tilt under which the mean of S is where Chernoff's bound reaches `level`: past where half reject.
    fn lambda(&self, level: f64) -> f64 {
        let largest = self.coins.iter().map(|(_, a)| *a).max().unwrap();
        // An exponential draw has no moment e^{tx} from t = 1 on.
        let unbounded = self.coins.iter().any(|(law, _)| *law == Law::Exponential);
        let (mut low, mut high) = (0.0, if unbounded { 0.999 } else { 20.0 } / f64::from(largest));
        for _ in 0..60 {
            let lambda = f64::midpoint(low, high);
            let bound: f64 = self.coins.iter().map(|(law, a)| ln_m(*law, lambda * f64::from(*a)).bound).sum();
            *(if bound > level.ln() { &mut low } else { &mut high }) = lambda;
        }
        high
    }

    /// A word for each coin, and its ln p/q.
    fn words(&self, lambda: f64, sample: u64) -> (Vec<u32>, Vec<f64>) {
        let mut chance = ChaCha8Rng::seed_from_u64(sample);
        self.coins.iter().map(|(law, a)| tilted(*law, lambda * f64::from(*a), &mut chance)).unzip()
    }

    /// The rejection rate over the level, its relative standard error, and the largest p rejected over the level.
    fn rejected(&self, level: f64) -> (f64, f64, f64) {
        let lambda = self.lambda(level);
        let value = |words: &[u32]| -> f64 {
            self.coins.iter().zip(words).map(|((law, a), word)| f64::from(*a) * law.value(*word)).sum()
        };
        let mut samples: Vec<(f64, f64, u64)> = (0..SAMPLES)
            .map(|sample| {
                let (words, weights) = self.words(lambda, sample);
                (value(&words), weights.iter().sum(), sample)
            })
            .collect();
        // The verdict falls as S grows, so that a search needs eleven of the verdicts.
        samples.sort_by(|a, b| a.0.total_cmp(&b.0));
        let verdict = |sample: u64| ln_p((self.open)(&self.words(lambda, sample).0));
        let first = samples.partition_point(|(.., sample)| verdict(*sample) > level.ln());
        let (rate, error) = estimate(samples[first..].iter().map(|(_, weight, _)| weight - level.ln()));
        (rate, error, (verdict(samples[first].2) - level.ln()).exp())
    }

    fn assert_valid(&self) {
        for level in LEVELS {
            let (rate, error, attained) = self.rejected(level);
            println!("{}: {rate:.3} (1 ± {error:.3}) of {level:e}, attained {attained:.3}", self.what);
            assert!(rate <= 1.0 + 4.0 * error, "{}: {rate} of {level:e}", self.what);
            assert!(attained <= 1.0 && rate > 0.01, "{} is blind at {level:e}: {rate}", self.what);
            let off = (rate / attained - 1.0).abs();
            assert!(!self.exact || off <= 4.0 * error, "{}: {rate}, attained {attained}", self.what);
        }
    }
}

/// The mean of e^w over all samples, those that do not reject being 0, and its relative standard error.
fn estimate(ln_weights: impl Iterator<Item = f64>) -> (f64, f64) {
    let (n, (mut sum, mut squares)) = (SAMPLES as f64, (0.0, 0.0));
    for weight in ln_weights.map(f64::exp) {
        sum += weight;
        squares += weight * weight;
    }
    let mean = sum / n;
    (mean, ((squares / n - mean * mean) / n).sqrt() / mean)
}

/// The cumulant of a draw at t = λa, and its share K(t) − t K′(t) of the exponent of Chernoff's bound.
struct Cumulant {
    ln_m: f64,
    bound: f64,
}

fn ln_m(law: Law, t: f64) -> Cumulant {
    let coin = |p: f64, t: f64| {
        let m = 1.0 - p + p * t.exp();
        Cumulant { ln_m: m.ln(), bound: m.ln() - t * p * t.exp() / m }
    };
    match law {
        Law::Bernoulli(gamma) => coin(gamma.value(), t),
        Law::Exponential => Cumulant { ln_m: -(1.0 - t).ln(), bound: -(1.0 - t).ln() - t / (1.0 - t) },
        Law::Layers(layers) => {
            let layers = layers.weights().map(|weight| coin(0.5, t * f64::from(weight)));
            Cumulant {
                ln_m: layers.iter().map(|layer| layer.ln_m).sum(),
                bound: layers.iter().map(|layer| layer.bound).sum(),
            }
        }
        _ => unreachable!("no such draws here"),
    }
}

/// A word of the tilted law, and ln p/q = ln m(t) − t x of it.
fn tilted(law: Law, t: f64, chance: &mut ChaCha8Rng) -> (u32, f64) {
    let mut uniform = || (chance.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let word = match law {
        Law::Bernoulli(gamma) => {
            let green = gamma.value() * t.exp();
            u32::from(uniform() * (1.0 - gamma.value() + green) < green)
        }
        Law::Layers(layers) => (0..).zip(layers.weights()).fold(0, |word, (layer, weight)| {
            let odds = (t * f64::from(weight)).exp();
            word | u32::from(uniform() * (1.0 + odds) < odds) << layer
        }),
        // The lane c is ⌊u 2³²⌋ of a real u, whose density under q is (1 − t) u^{−t}.
        Law::Exponential => {
            let u = (1.0 - uniform()).powf(1.0 / (1.0 - t));
            let lane = (u * 4_294_967_296.0).min(4_294_967_295.0) as u32;
            return (u32::MAX - lane, -(1.0 - t).ln() + t * u.ln());
        }
        _ => unreachable!("no such draws here"),
    };
    (word, ln_m(law, t).ln_m - t * law.value(word))
}

fn law(spec: &str) -> Law {
    spec.parse::<Spec>().unwrap().law().unwrap()
}

fn counted(spec: &str, statistic: TextStatistic) -> (Evidence, Law) {
    (count(spec.parse::<Spec>().unwrap().width(), &innocent(), statistic).unwrap(), law(spec))
}

#[test]
fn counts_keep_their_levels_however_small() {
    let green = "green/1/w1/b2/t1";
    Case::new("green, distinct", true, vec![counted(green, TextStatistic::Distinct)]).assert_valid();
    Case::new("green, √n", true, vec![counted(green, TextStatistic::RootCount)]).assert_valid();
    let uneven = counted("green/1/w0/b8/t77", TextStatistic::RootCount);
    Case::new("green of width 0, √n", true, vec![uneven]).assert_valid();
    let gumbel = counted("gumbel/1/w1", TextStatistic::Distinct);
    Case::new("gumbel, distinct", true, vec![gumbel]).assert_valid();
    let layers = counted("tournament/1/w1/d30", TextStatistic::Distinct);
    Case::new("layers, distinct", true, vec![layers]).assert_valid();
    let (evidence, _) = counted("tournament/1/w1/d30", TextStatistic::RootCount);
    let weighted = Law::Layers(Layers::weighted(&[10, 7, 5, 3, 2, 1]).unwrap());
    Case::new("weighted layers, √n", true, vec![(evidence, weighted)]).assert_valid();
}

#[test]
fn bounds_keep_their_levels_however_small() {
    let gumbel = counted("gumbel/1/w1", TextStatistic::RootCount);
    Case::new("gumbel, √n (a bound)", false, vec![gumbel]).assert_valid();
    let pooled = ["green/1/w1/b2/t1", "gumbel/1/w2"].map(|spec| counted(spec, TextStatistic::Distinct));
    Case::new("green with gumbel (a bound)", false, pooled.into()).assert_valid();
}

#[test]
fn residuals_and_distributions_keep_their_levels_however_small() {
    let green = "green/1/w1/b2/t1";
    let width = green.parse::<Spec>().unwrap().width();
    let exchanges = loops(&mut Language::new(3), 12);
    let text = Text::count(width, (0..).zip(&exchanges)).unwrap();
    let expected = expectation(&text, &exchanges, Over::Vocabulary(40));
    let beside = text.residual(&expected, SHRINK, None).unwrap();
    Case::new("text beside a reference", true, vec![(beside, law(green))]).assert_valid();

    for (what, evidence) in Rows::new(90).statistics(width) {
        Case::new(what, true, vec![(evidence, law(green))]).assert_valid();
    }
}

#[test]
fn a_coin_that_counts_as_several_is_caught() {
    let spec = "green/1/w1/b2/t1";
    let exchanges = innocent();
    let mut counter = Counter::new(spec.parse::<Spec>().unwrap().width());
    let mut tally = Tally::new();
    for (exchange, cluster) in exchanges.iter().zip(0..) {
        for (at, position) in counter.exchange(exchange, cluster).unwrap().into_iter().enumerate() {
            if let Position::Draw(coin, _) = position {
                tally.add((coin, at, cluster), 1.0, cluster);
            }
        }
    }
    let occurrences = tally.whole(Scale::Unit);
    let same =
        |a: &WholeEntry<(Coin, usize, u32)>, b: &WholeEntry<(Coin, usize, u32)>| a.input.0 == b.input.0;
    let numbers: Vec<usize> = occurrences.entries().chunk_by(same).map(<[_]>::len).collect();
    let coins = numbers.iter().map(|n| (law(spec), i32::try_from(*n).unwrap())).collect();
    let open = |words: &[u32]| {
        let mut each = words.iter().zip(&numbers).flat_map(|(word, n)| std::iter::repeat_n(*word, *n));
        occurrences.open(law(spec), Origin([0; 32]), |_| each.next().unwrap())
    };
    let wrong = Case { what: "every occurrence", exact: false, coins, open: Box::new(open) };
    for level in LEVELS {
        let (rate, error, _) = wrong.rejected(level);
        println!("every occurrence a draw: {rate:.1} (1 ± {error:.3}) times {level:e}: caught");
        assert!(rate > 10.0, "{rate} times {level:e}");
    }
}

/// The e-process is no function of S: each sample counts with p/q of the draws up to where it crosses 1/α.
#[test]
fn an_e_process_keeps_its_levels_however_small() {
    let (evidence, law) = counted("green/1/w1/b2/t1", TextStatistic::RootCount);
    let clusters: Vec<u32> = evidence.coefficients().entries().iter().map(|entry| entry.cluster).collect();
    let case = Case::new("e-process", false, vec![(evidence, law)]);
    for level in LEVELS {
        let lambda = case.lambda(level);
        let crossed = |sample: u64| {
            let (words, weights) = case.words(lambda, sample);
            let last = *clusters.iter().max().unwrap();
            let steps: Vec<Step> = (0..=last)
                .map(|cluster| {
                    let mine = (0..).zip(&clusters).filter(|(_, of)| **of == cluster);
                    let coefficients: Vec<(usize, i32)> =
                        mine.map(|(at, _)| (at, case.coins[at].1)).collect();
                    Step::open(law, cluster, &coefficients, |at| words[*at])
                })
                .collect();
            let summary = Summary::of_reading(&steps, 127.0, &[1.0]).unwrap();
            let (stop, _) = *summary.path.iter().find(|(_, ln_e)| *ln_e >= -level.ln())?;
            Some(weights.iter().zip(&clusters).filter(|(_, of)| **of <= stop).map(|(w, _)| w).sum::<f64>())
        };
        let (rate, error) = estimate((0..SAMPLES).filter_map(crossed).map(|weight| weight - level.ln()));
        println!("e-process, √n: {rate:.3} (1 ± {error:.3}) of {level:e}");
        assert!(rate <= 1.0 + 4.0 * error && rate > 0.001, "e-process: {rate} of {level:e}");
    }
}
