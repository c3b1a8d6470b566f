//! A tilted tail by adding up the law itself, one draw after the other.
//!
//! All terms are positive, so nothing cancels and every value is as accurate, relatively, as the number of
//! operations allows. The work grows with draws × values: the way for small sums, among them the sparse ones on
//! which inversion loses digits.

use super::math::{Sum, UNIT, exp, exp_m1, to_f64};
use super::tilting::Tilted;

/// The number of multiplications that [`sum`] takes.
pub(super) fn work(tilted: &Tilted) -> f64 {
    let atoms = |atoms: &[(u64, f64)]| atoms.iter().fold(0.0, |n, _| n + 1.0);
    let terms: f64 = tilted.groups.iter().map(|group| group.count * atoms(&group.atoms)).sum();
    terms * to_f64(tilted.k + tilted.after + 1)
}

/// T over the window, and a bound of its rounding.
pub(super) fn sum(tilted: &Tilted) -> (f64, f64) {
    let (Ok(first), Ok(values)) = (usize::try_from(tilted.k), usize::try_from(tilted.k + tilted.after + 1))
    else {
        return (0.0, 1.0);
    };
    let mut law = vec![0.0; values];
    law[0] = 1.0;
    let mut ln_error = 8.0 * UNIT;
    for group in &tilted.groups {
        let atoms: Vec<(usize, f64)> =
            group.atoms.iter().filter_map(|&(x, p)| Some((usize::try_from(x).ok()?, p))).collect();
        let mut left = group.count;
        while left > 0.0 {
            add_draw(&mut law, &atoms);
            left -= 1.0;
        }
        let operations = atoms.iter().fold(2.0, |n, _| n + 1.0);
        ln_error += group.count * (group.error + operations * UNIT);
    }
    let total = (0_u64..).zip(&law[first..]).map(|(j, p)| p * exp(-tilted.lambda * to_f64(j)));
    let total = total.collect::<Sum>().value();
    // Products that underflow lose at most the smallest number each.
    let lost = work(tilted) * f64::MIN_POSITIVE;
    let weights = 4.0 * UNIT * (2.0 + tilted.lambda * to_f64(tilted.after).min(800.0 / tilted.lambda));
    (total, total * (exp_m1(ln_error) + weights) + lost)
}

/// The law of S + X from that of S, in place: from the top down each value needs only smaller ones.
fn add_draw(law: &mut [f64], atoms: &[(usize, f64)]) {
    for s in (0..law.len()).rev() {
        law[s] = atoms.iter().take_while(|atom| atom.0 <= s).map(|&(x, p)| p * law[s - x]).sum();
    }
}
