//! The recorded lines as tables: mean z, tokens to p = 1e-5, and the ratios that are claimed.

use crate::corpus::Result;
use crate::strength::{Line, read};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The level at which tokens are counted.
const LEVEL: f64 = 1e-5;

/// (run, access, statistic) → size → lines.
type Cells = BTreeMap<(String, String, String), BTreeMap<usize, Vec<Line>>>;

pub(crate) fn print(path: &Path) -> Result<()> {
    let mut cells = Cells::new();
    for line in read(path)? {
        let key = (line.run.clone(), line.access.clone(), line.statistic.clone());
        cells.entry(key).or_default().entry(line.size).or_default().push(line);
    }
    for access in ["text", "rows"] {
        table(&cells, access);
    }
    calibration(&cells);
    Ok(())
}

/// Rows are statistics, columns runs: mean z at the largest size, its standard error, and where the mean of the verdict's
/// ln p passes the level.
fn table(cells: &Cells, access: &str) {
    let of_access = || cells.keys().filter(|(_, a, _)| a == access);
    let runs: BTreeSet<&String> = of_access().map(|(run, _, _)| run).collect();
    let statistics: BTreeSet<&String> = of_access().map(|(_, _, statistic)| statistic).collect();
    println!("\n## {access}: mean z at the largest size ± its standard error (size for p = {LEVEL:.0e})\n");
    let titles: Vec<String> = runs.iter().map(|run| run.to_string()).collect();
    println!("| statistic | {} |\n|---|{}", titles.join(" | "), "---|".repeat(titles.len()));
    for statistic in statistics {
        let cell = |run: &&String| {
            let sizes = cells.get(&((*run).clone(), access.to_owned(), statistic.clone()));
            sizes.and_then(|sizes| Some(summary(sizes.last_key_value()?.1, needed(sizes))))
        };
        let row: Vec<String> = runs.iter().map(|run| cell(run).unwrap_or("–".to_owned())).collect();
        println!("| {statistic} | {} |", row.join(" | "));
    }
}

fn summary(lines: &[Line], needed: Option<f64>) -> String {
    let (mean, sd) = moments(&lines.iter().map(|line| line.z).collect::<Vec<_>>());
    let error = sd / (lines.len() as f64).sqrt();
    let needed = needed.map_or("–".to_owned(), |size| format!("{:.1}k", size / 1e3));
    format!("{mean:.1} ± {error:.1} ({needed})")
}

/// The size at which the mean ln p passes the level, linear between sizes; none where it never does for good.
fn needed(sizes: &BTreeMap<usize, Vec<Line>>) -> Option<f64> {
    let mean = |lines: &Vec<Line>| lines.iter().map(|line| line.ln_p).sum::<f64>() / lines.len() as f64;
    let points: Vec<(f64, f64)> = sizes.iter().map(|(size, lines)| (*size as f64, mean(lines))).collect();
    let level = LEVEL.ln();
    let first = points.iter().position(|(_, ln_p)| *ln_p <= level)?;
    let (size, ln_p) = points[first];
    let Some((size_before, before)) = first.checked_sub(1).map(|at| points[at]) else { return Some(size) };
    Some(size_before + (size - size_before) * (level - before) / (ln_p - before))
}

/// Controls: their z is standard normal but for chance.
fn calibration(cells: &Cells) {
    println!("\n## Controls (0 % marked): z over seeds and keys, all sizes\n");
    println!("| run | access | statistic | values | mean | sd | largest |\n|---|---|---|---|---|---|---|");
    for ((run, access, statistic), sizes) in cells.iter().filter(|((run, _, _), _)| run.contains("-0pc-")) {
        let z: Vec<f64> = sizes.values().flatten().map(|line| line.z).collect();
        let (mean, sd) = moments(&z);
        let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        println!("| {run} | {access} | {statistic} | {} | {mean:.2} | {sd:.2} | {largest:.2} |", z.len());
    }
}

/// Mean and standard deviation.
pub(crate) fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>();
    (mean, (square / (n - 1.0).max(1.0)).sqrt())
}
