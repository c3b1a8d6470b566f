//! What a calibration found, as data and as text.

use serde::Serialize;

use super::super::verdict::stated;
use super::super::{Failure, counting, now};
use super::innocents::Evidence;
use super::trial::{LEVELS, Trial};
use super::{Arguments, Innocent};
use crate::key::{Epoch, KeyId, Secret};
use crate::scheme::Spec;
use crate::stat::calibration::{Calibration, Level};
use crate::stat::estimate::{Cluster, ratio_estimate};
use crate::stat::math::{Sum, ln, log10_from_ln, sqrt, to_f64};
use crate::stat::verdict::Summary;

/// `taggant/calibrate/2`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    pub(super) date: String,
    pub(super) version: &'static str,
    pub(super) spec: Spec,
    pub(super) statistic: &'static str,
    pub(super) references: Vec<String>,
    /// Tokens that are left of a whole row; none where rows are whole, or text is scored.
    pub(super) top_k: Option<usize>,
    pub(super) keys: u32,
    pub(super) seed: u64,
    /// The comparisons that the limits are corrected for.
    pub(super) cells: u64,
    pub(super) innocents: Vec<Line>,
    /// All innocents under the same keys; none for a single one.
    pub(super) together: Option<Together>,
    /// The real key, where it was given.
    pub(super) real: Option<RealKey>,
    /// Whether no cell is above its limit.
    pub(super) valid: bool,
}

/// One innocent's evidence under all keys.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub(super) name: String,
    /// Its rows, or the model that was asked.
    pub(super) file: String,
    /// Of that file, or of the model's weights.
    pub(super) sha256: String,
    /// The day on which it was out, where the line-up says so.
    pub(super) released: Option<String>,
    pub(super) rows: usize,
    /// Distinct draws with a coefficient other than zero; none where every key has others.
    pub(super) scored: Option<u64>,
    #[serde(flatten)]
    pub(super) calibration: Calibration,
    /// The smallest ln p that any key gave: what was attained.
    pub(super) least_ln_p: f64,
    /// z over the keys: 0 but for chance.
    pub(super) mean_z: f64,
    /// z over the keys: 1 but for chance, within 1 ± 3.3/√(2·keys).
    pub(super) sd_z: f64,
    /// The same for min(1, 1/max E) of the e-process, where it was asked for.
    pub(super) anytime: Option<Calibration>,
    /// The same evidence under the real key.
    pub(super) real: Option<UnderReal>,
}

/// All innocents under the same keys. They share draws, so under one key they are not independent: keys are.
#[derive(Debug, Serialize)]
pub(super) struct Together {
    /// Keys under which at least one innocent is rejected, held against the sum of the attainable levels.
    pub(super) any: Vec<Level>,
    /// The mean share of innocents rejected, with a 95 % interval clustered by key; none where nothing varies.
    pub(super) mean: Vec<Mean>,
}

#[derive(Debug, Serialize)]
pub(super) struct Mean {
    pub(super) level: f64,
    pub(super) rate: f64,
    pub(super) interval: Option<[f64; 2]>,
}

/// The key whose luck matters.
#[derive(Debug, Serialize)]
pub(super) struct RealKey {
    pub(super) key_id: KeyId,
    pub(super) epoch: Epoch,
    pub(super) served_since: Option<String>,
    /// An innocent with p at or below this stands out: 0.01 over the number of innocents.
    pub(super) threshold: f64,
}

/// One innocent under the real key.
#[derive(Debug, Serialize)]
pub(super) struct UnderReal {
    pub(super) z: f64,
    pub(super) ln_p: f64,
    pub(super) log10_p: f64,
    /// No finding under this key is then better than inconclusive.
    pub(super) stands_out: bool,
    /// Whether it was out before the key began to mark; none where a day is missing.
    pub(super) predates_key: Option<bool>,
}

impl Report {
    pub(super) fn of(
        arguments: &Arguments,
        statistic: &'static str,
        innocents: &[Innocent],
        trials: &[Trial],
        real: Option<&(Secret, Epoch)>,
    ) -> Result<Self, Failure> {
        let several = innocents.len() > 1;
        let cells = cells(innocents.len() as u64, arguments.sequential);
        let threshold = 0.01 / to_f64(innocents.len() as u64);
        let lines = innocents
            .iter()
            .zip(trials)
            .map(|(innocent, trial)| {
                let under = |real| under_real(innocent, arguments, real, threshold);
                Ok(Line { real: real.map(under).transpose()?, ..line(innocent, trial, cells)? })
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let together = several.then(|| Together::of(trials, cells)).transpose()?;
        let valid = lines.iter().all(Line::is_valid)
            && together.iter().flat_map(|together| &together.any).all(Level::is_valid);
        Ok(Self {
            schema: "taggant/calibrate/2",
            date: now(),
            version: env!("CARGO_PKG_VERSION"),
            spec: arguments.spec,
            statistic,
            references: arguments.counting.reference.clone(),
            top_k: arguments.counting.top(),
            keys: arguments.keys,
            seed: arguments.seed,
            cells,
            innocents: lines,
            together,
            real: real.map(|(secret, epoch)| RealKey {
                key_id: secret.commitment().key_id(),
                epoch: epoch.clone(),
                served_since: arguments.real.served_since.clone(),
                threshold,
            }),
            valid,
        })
    }

    /// The statistic in words.
    pub(super) fn words(&self) -> String {
        let words = counting::words(self.statistic, &self.references);
        self.top_k.map_or(words.clone(), |top| format!("{words}, {top} likeliest tokens"))
    }

    /// What a person reads.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "exploration: how often innocents are rejected under keys that marked nothing ({})\n\
             spec        {}\n\
             statistic   {}\n\
             limits      99.9 % over the {} cells of this table, of the level that can be attained\n",
            self.date,
            self.spec,
            self.words(),
            self.cells,
        );
        for line in &self.innocents {
            text.push_str(&line.text());
        }
        if let Some(together) = &self.together {
            text.push_str(&together.text(self.innocents.len()));
        }
        if let Some(real) = &self.real {
            text.push_str(&self.under(real));
        }
        text.push_str(if self.valid {
            "\nno test rejected more often than its level allows (99.9 % limits)\n"
        } else {
            "\nA TEST REJECTED TOO OFTEN: do not use it on such text, and report this as a defect\n"
        });
        text
    }

    fn under(&self, real: &RealKey) -> String {
        let mut text = format!("\nunder key {} of epoch {}, the one that matters\n", real.key_id, real.epoch);
        for line in &self.innocents {
            let Some(under) = &line.real else { continue };
            let age = match under.predates_key {
                Some(true) => ", released before it",
                Some(false) => ", NOT released before it",
                None => "",
            };
            let remark = if under.stands_out { "   STANDS OUT: no finding under this key" } else { "" };
            text.push_str(&format!(
                "  {}: z {:.2}, log10 p {}{age}{remark}\n",
                line.name,
                under.z,
                stated(under.log10_p)
            ));
        }
        text
    }
}

/// Levels and a distance for each test of each innocent; for several, the levels of all together.
fn cells(innocents: u64, sequential: bool) -> u64 {
    let levels = LEVELS.len() as u64;
    let tests = if sequential { 2 } else { 1 };
    innocents * tests * (levels + 1) + if innocents > 1 { levels } else { 0 }
}

fn line(innocent: &Innocent, trial: &Trial, cells: u64) -> Result<Line, Failure> {
    let n = to_f64(trial.z.len() as u64);
    let mean_z = trial.z.iter().copied().collect::<Sum>().value() / n;
    let squares: Sum = trial.z.iter().map(|z| (z - mean_z) * (z - mean_z)).collect();
    let attainable: Vec<(f64, f64)> = LEVELS.into_iter().zip(trial.attainable.iter().copied()).collect();
    let anytime = |ln_p: &Vec<f64>| Calibration::of(ln_p, &LEVELS.map(|level| (level, level)), cells);
    Ok(Line {
        name: innocent.name.clone(),
        file: innocent.file.clone(),
        sha256: hex::encode(innocent.sha256),
        released: innocent.released.clone(),
        rows: innocent.rows,
        scored: innocent.evidence.distinct(),
        calibration: Calibration::of(&trial.ln_p, &attainable, cells)?,
        least_ln_p: trial.ln_p.iter().copied().fold(0.0, f64::min),
        mean_z,
        sd_z: sqrt(squares.value() / (n - 1.0)),
        anytime: trial.anytime.as_ref().map(anytime).transpose()?,
        real: None,
    })
}

fn under_real(
    innocent: &Innocent,
    arguments: &Arguments,
    (secret, epoch): &(Secret, Epoch),
    threshold: f64,
) -> Result<UnderReal, Failure> {
    let scheme = arguments.spec.open(&secret.epoch_key(epoch));
    let Evidence::Counted(counted) = &innocent.evidence else {
        return Err(Failure("--reads: what the real key marked is read by a sealed plan alone".to_owned()));
    };
    let summary = Summary::of(counted.open(&scheme)?)?;
    let days = innocent.released.as_deref().zip(arguments.real.served_since.as_deref());
    Ok(UnderReal {
        z: summary.z,
        ln_p: summary.ln_p,
        log10_p: summary.log10_p,
        stands_out: summary.ln_p <= ln(threshold),
        // Days sort as they follow each other.
        predates_key: days.map(|(released, served)| released.get(..10) < served.get(..10)),
    })
}

impl Together {
    fn of(trials: &[Trial], cells: u64) -> Result<Self, Failure> {
        let keys = trials.iter().map(|trial| trial.ln_p.len()).min().unwrap_or(0);
        let of_level = |(at, level): (usize, f64)| {
            let rejected =
                |key: usize| trials.iter().filter(|trial| trial.ln_p[key] <= ln(level)).count() as u64;
            let rejections: Vec<u64> = (0..keys).map(rejected).collect();
            let any = rejections.iter().filter(|rejected| **rejected > 0).count() as u64;
            let attainable: Sum = trials.iter().map(|trial| trial.attainable[at]).collect();
            let any = Level::of(level, attainable.value().min(1.0), any, keys as u64, cells)?;
            let weight = to_f64(trials.len() as u64);
            let cluster = |rejected: &u64| Cluster { sum: to_f64(*rejected), weight };
            let mean = ratio_estimate(&rejections.iter().map(cluster).collect::<Vec<_>>());
            let (rate, interval) = mean.map_or((0.0, None), |mean| (mean.value, mean.interval));
            let interval = interval.map(|ends| ends.map(|end| end.clamp(0.0, 1.0)));
            Ok((any, Mean { level, rate, interval }))
        };
        let levels: Vec<(Level, Mean)> =
            LEVELS.into_iter().enumerate().map(of_level).collect::<Result<_, Failure>>()?;
        let (any, mean) = levels.into_iter().unzip();
        Ok(Self { any, mean })
    }

    fn text(&self, innocents: usize) -> String {
        let mut text = format!(
            "\nall {innocents} under the same keys; they share draws, so keys are counted, not innocents\n"
        );
        text.push_str(&table("any", &self.any));
        for Mean { level, rate, interval } in &self.mean {
            let interval =
                interval.map_or("no interval".to_owned(), |[low, high]| format!("{low:.5} to {high:.5}"));
            text.push_str(&format!("  mean share at {level:<8} {rate:.5}   {interval}\n"));
        }
        text
    }
}

impl Line {
    /// How many draws, in words.
    pub(super) fn draws(&self) -> String {
        self.scored.map_or("draws of each key".to_owned(), |scored| format!("{scored} distinct draws"))
    }

    fn is_valid(&self) -> bool {
        self.calibration.is_valid() && self.anytime.as_ref().is_none_or(Calibration::is_valid)
    }

    fn text(&self) -> String {
        let Calibration { keys, levels, above, below, above_limit } = &self.calibration;
        let band = 3.3 / sqrt(2.0 * to_f64(*keys));
        let mut text = format!(
            "\n{} (sha256 {}…): {} rows, {}, {keys} keys\n",
            self.name,
            &self.sha256[..16],
            self.rows,
            self.draws()
        );
        text.push_str(&table("level", levels));
        text.push_str(&format!(
            "  z         mean {:.3}, sd {:.3} (1 ± {band:.3} but once in a thousand)\n\
             \x20 distance  {above:.4} too often at worst (limit {above_limit:.4}), {below:.4} too rarely\n\
             \x20 least p   10^{:.1}\n",
            self.mean_z,
            self.sd_z,
            log10_from_ln(self.least_ln_p),
        ));
        if let Some(anytime) = &self.anytime {
            text.push_str(&table("1/max E", &anytime.levels));
        }
        text
    }
}

/// Rejections by level.
fn table(what: &str, levels: &[Level]) -> String {
    let mut table =
        format!("  {what:<8} attainable   rejected     rate       95 % interval          limit\n");
    for level in levels {
        table.push_str(&format!(
            "  {:<8} {:>10.2e} {:>10} {:>10.5}   {:.5} to {:.5}   {:>6}{}\n",
            level.level,
            level.attainable,
            level.rejected,
            level.rate,
            level.interval[0],
            level.interval[1],
            level.limit,
            if level.is_valid() { "" } else { "   TOO OFTEN" },
        ));
    }
    table
}

/// The table of one trial that stands alone.
#[cfg(test)]
pub(super) fn table_of(trial: &Trial) -> String {
    let attainable: Vec<(f64, f64)> = LEVELS.into_iter().zip(trial.attainable.iter().copied()).collect();
    let found = Calibration::of(&trial.ln_p, &attainable, cells(1, false));
    table("level", &found.map(|found| found.levels).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn innocents_that_share_their_draws_are_counted_by_key() {
        // Two innocents with the same draws: 40 of 1,000 keys reject both at 0.1. Counted as 2,000 trials they would look
        // twice as sure.
        let ln_p: Vec<f64> = (0..1_000).map(|key| if key < 40 { ln(0.09) } else { 0.0 }).collect();
        let trial =
            || Trial { ln_p: ln_p.clone(), z: Vec::new(), anytime: None, attainable: LEVELS.to_vec() };
        let together = Together::of(&[trial(), trial()], 1).unwrap();
        assert_eq!((together.any[0].rejected, together.any[0].attainable), (40, 0.2));
        let alone = Level::of(0.1, 0.1, 40, 1_000, 1).unwrap();
        assert_eq!(together.any[0].interval, alone.interval);
        let [low, high] = together.mean[0].interval.unwrap();
        assert!((together.mean[0].rate - 0.04).abs() < 1e-12);
        // 1.96 √(0.04 · 0.96 / 1,000), not over 2,000.
        assert!((high - low - 2.0 * 0.012_15).abs() < 1e-4, "{low} {high}");
    }

    #[test]
    fn every_comparison_is_a_cell() {
        assert_eq!((cells(1, false), cells(1, true), cells(3, true)), (5, 10, 34));
    }
}
