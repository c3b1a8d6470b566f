//! How much is needed to see an effect: planning only. No verdict uses these numbers.
//!
//! A draw with effect δ has a standardised mean of z₁ = δ / sd; n independent draws have √n z₁. What counts is the
//! number of *distinct draws*: a slot that is probed again, or a token pair that is seen again, adds none. Weighted
//! draws count as [`super::lattice::Spread::n_eff`] equal ones.

use super::math::{ceil_to_u64, exp, ln, normal_ln_sf, normal_z, sqrt, to_f64};
use super::rate::{Rate, RateError};
use super::tail::binomial_ln_sf;
use crate::law::Law;

/// The chance that a test at level e^`ln_alpha` rejects when its standardised statistic has mean `expected_z`
/// and unit variance: P(Z ≥ z_α − `expected_z`).
#[must_use]
pub fn power(expected_z: f64, ln_alpha: f64) -> f64 {
    exp(normal_ln_sf(normal_z(ln_alpha) - expected_z))
}

/// The mean standardised statistic that a test at level e^`ln_alpha` needs to reject with probability `power`:
/// z_α + z_{1−power}.
///
/// `power` lies strictly between 0 and 1. z grows as the square root of the number of draws: with an observed z₁
/// from n₁ draws, n₁ (z / z₁)² are needed.
#[must_use]
pub fn z_needed(ln_alpha: f64, power: f64) -> f64 {
    normal_z(ln_alpha) - normal_z(ln(power))
}

/// z of one coin whose chance of a hit is `shift` above `rate`.
#[must_use]
pub fn z_per_coin(rate: Rate, shift: f64) -> f64 {
    shift / sqrt(rate.p() * rate.complement().p())
}

/// z of one draw whose mean is `shift` above that of its `law`: for a tournament of m layers whose bits are ones with ½ + ε
/// a shift of mε, and 2ε√m. Layers of one draw that follow each other need more draws than this says.
#[must_use]
pub fn z_per_draw(law: Law, shift: f64) -> f64 {
    shift / sqrt(law.variance())
}

/// The distinct draws of mean z `z_per_draw` with which a test at level e^`ln_alpha` has this `power`. None when there
/// is no effect to see.
///
/// *Approximation*: a normal statistic whose variance is that under H0. Good to a few per cent where the effect on one
/// draw is small, and too hopeful far out: 662 coins of ¼ + 0.08 at 1e-6 have power 0.42 where it says 0.5. For
/// equal coins [`Hits`] is exact.
#[must_use]
pub fn draws_needed(z_per_draw: f64, ln_alpha: f64, power: f64) -> Option<u64> {
    let ratio = z_needed(ln_alpha, power).max(0.0) / z_per_draw;
    (z_per_draw > 0.0).then(|| ceil_to_u64(ratio * ratio))
}

/// The smallest mean z of one draw that a budget of `draws` detects at level e^`ln_alpha` with this `power`; infinite
/// without a draw. The inverse of [`draws_needed`].
#[must_use]
pub fn detectable(draws: u64, ln_alpha: f64, power: f64) -> f64 {
    z_needed(ln_alpha, power).max(0.0) / sqrt(to_f64(draws))
}

/// What remains of z when a harvest spans several epochs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OverEpochs {
    /// Of each epoch's own key: a factor E less.
    pub one_key: f64,
    /// Of all keys pooled: a factor √E less.
    pub pooled: f64,
}

/// The price of cutting a harvest into `epochs` keys, given the z that one key over all of it would have.
///
/// A student that saw 1/E of the answers under a key has learned a E-th of that key's tilt, on the same windows:
/// z/E for each key. The E keys are unrelated, so their draws pool into one sum with √E times that.
///
/// *Approximation*: the response is proportional to exposure, which holds for weak marks and underrates strong ones
/// (a student saturates); epochs have equal shares. 0 epochs count as 1.
#[must_use]
pub fn over_epochs(z: f64, epochs: u64) -> OverEpochs {
    let epochs = to_f64(epochs.max(1));
    OverEpochs { one_key: z / epochs, pooled: z / sqrt(epochs) }
}

/// Whether draws whose smallest attainable p is e^`ln_p_min` can reach level e^`ln_alpha` at all.
///
/// # Errors
/// When they cannot: such a plan ends in *inconclusive* whatever the suspect did, and is refused before it is sealed.
pub fn check_attainable(ln_p_min: f64, ln_alpha: f64) -> Result<(), Unattainable> {
    if ln_p_min <= ln_alpha { Ok(()) } else { Err(Unattainable { ln_p_min, ln_alpha }) }
}

/// A level that the planned draws can never reach.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "the smallest attainable ln p is {ln_p_min:.2}, above the level's {ln_alpha:.2}: plan more distinct draws"
)]
pub struct Unattainable {
    /// ln of the smallest p that these draws can give.
    pub ln_p_min: f64,
    /// ln of the level.
    pub ln_alpha: f64,
}

/// Draws that are hits with one chance under H0, counted: canary slots with K siblings (1/K), or the coins of a green
/// list with equal coefficients (γ). Their test is the binomial one, so planning needs no approximation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hits {
    by_chance: Rate,
}

impl Hits {
    /// Coins that hit with chance `rate`.
    #[must_use]
    pub fn of_coins(rate: Rate) -> Self {
        Self { by_chance: rate }
    }

    /// Slots whose served sibling is one of `siblings`.
    ///
    /// # Errors
    /// Fewer than two siblings, or more than 2⁵³.
    pub fn of_slots(siblings: u64) -> Result<Self, RateError> {
        Ok(Self { by_chance: Rate::new(1, siblings)? })
    }

    /// The fewest hits among `draws` whose exact p is at most e^`ln_alpha`; none when even all of them are too few.
    #[must_use]
    pub fn critical(self, draws: u64, ln_alpha: f64) -> Option<u64> {
        let rejects = |hits| binomial_ln_sf(draws, hits, self.by_chance) <= ln_alpha;
        let (mut low, mut high) = (0, draws);
        while low < high {
            let hits = low + (high - low) / 2;
            if rejects(hits) { high = hits } else { low = hits + 1 }
        }
        rejects(low).then_some(low)
    }

    /// The exact chance that the binomial test at level e^`ln_alpha` rejects when each of `draws` distinct draws is a hit
    /// with `excess` more than by chance.
    ///
    /// *Assumption*: draws hit independently of each other. Slots whose facts a model learns together need more.
    #[must_use]
    pub fn power(self, draws: u64, excess: f64, ln_alpha: f64) -> f64 {
        let Some(hits) = self.critical(draws, ln_alpha) else { return 0.0 };
        let chance = self.by_chance.p() + excess;
        match Rate::nearest(chance) {
            Ok(chance) => exp(binomial_ln_sf(draws, hits, chance)),
            Err(_) => f64::from(u8::from(chance > 0.5 || hits == 0)),
        }
    }

    /// The distinct draws with which an `excess` is detected at level e^`ln_alpha` with this `power`, to within 1 %: exact
    /// power is a saw-tooth in the number of draws, and this is the first on a ladder of such steps. None without
    /// an effect, or beyond 2³² draws.
    #[must_use]
    pub fn needed(self, excess: f64, ln_alpha: f64, power: f64) -> Option<u64> {
        let enough = |draws: u64| self.power(draws, excess, ln_alpha) >= power;
        let rough = draws_needed(z_per_coin(self.by_chance, excess), ln_alpha, power)?;
        let steps =
            std::iter::successors(Some((rough / 2).max(1)), |draws| Some(draws + (draws / 100).max(1)));
        steps.take_while(|draws| *draws <= 1 << 32).find(|draws| enough(*draws))
    }

    /// The smallest excess that `draws` distinct draws detect at level e^`ln_alpha` with this `power`; none when even a
    /// suspect that always hits is missed.
    #[must_use]
    pub fn detectable(self, draws: u64, ln_alpha: f64, power: f64) -> Option<f64> {
        let enough = |excess: f64| self.power(draws, excess, ln_alpha) >= power;
        let (mut low, mut high) = (0.0, self.by_chance.complement().p());
        // Sixty halvings reach the last digit.
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if enough(middle) { high = middle } else { low = middle }
        }
        enough(high).then_some(high)
    }
}
