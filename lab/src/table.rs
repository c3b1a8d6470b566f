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
    ratios(&cells);
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
            sizes.and_then(|sizes| Some(summary(sizes.last_key_value()?.1, &needed(sizes))))
        };
        let row: Vec<String> = runs.iter().map(|run| cell(run).unwrap_or("–".to_owned())).collect();
        println!("| {statistic} | {} |", row.join(" | "));
    }
}

fn summary(lines: &[Line], needed: &str) -> String {
    let (mean, sd) = moments(&lines.iter().map(|line| line.z).collect::<Vec<_>>());
    let error = sd / (lines.len() as f64).sqrt();
    format!("{mean:.1} ± {error:.1} ({needed})")
}

/// The size at which the mean ln p passes the level, linear between sizes; ≤ the smallest that was tried, – where it
/// passes at none.
fn needed(sizes: &BTreeMap<usize, Vec<Line>>) -> String {
    let mean = |lines: &Vec<Line>| lines.iter().map(|line| line.ln_p).sum::<f64>() / lines.len() as f64;
    let points: Vec<(f64, f64)> = sizes.iter().map(|(size, lines)| (*size as f64, mean(lines))).collect();
    let level = LEVEL.ln();
    let Some(first) = points.iter().position(|(_, ln_p)| *ln_p <= level) else { return "–".to_owned() };
    let (size, ln_p) = points[first];
    let Some((size_before, before)) = first.checked_sub(1).map(|at| points[at]) else {
        return format!("≤ {size}");
    };
    let size = size_before + (size - size_before) * (level - before) / (ln_p - before);
    if size < 1_000.0 { format!("{size:.0}") } else { format!("{:.1}k", size / 1e3) }
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

/// z of our statistics by that of the baselines, on the same tokens or contexts, at the largest size.
fn ratios(cells: &Cells) {
    const PAIRS: [(&str, &str, &str); 7] = [
        ("text", "residual/0.03 TB", "distinct"),
        ("text", "residual/0.03 TB log e", "residual/0.03 TB"),
        ("rows", "pears whole TB exposed", "argmax"),
        ("rows", "pears whole TB exposed", "green mass"),
        ("rows", "pears whole TB exposed", "pears whole TB half-norm"),
        ("rows", "pears top-20 TB exposed", "pears whole TB exposed"),
        ("rows", "pears top-5 TB exposed", "pears whole TB exposed"),
    ];
    println!("\n## Ratios of mean z at the largest size, on the same tokens and contexts\n");
    let runs: BTreeSet<&String> =
        cells.keys().map(|(run, _, _)| run).filter(|run| !run.contains("-0pc-")).collect();
    let titles: Vec<String> = runs.iter().map(|run| run.to_string()).collect();
    println!("| ours / theirs | {} |\n|---|{}", titles.join(" | "), "---|".repeat(titles.len()));
    for (access, ours, theirs) in PAIRS {
        let z = |run: &str, statistic: &str| {
            let sizes = cells.get(&(run.to_owned(), access.to_owned(), statistic.to_owned()))?;
            let z: Vec<f64> = sizes.last_key_value()?.1.iter().map(|line| line.z).collect();
            Some(moments(&z).0)
        };
        let cell = |run: &&String| Some(z(run, ours)? / z(run, theirs)?);
        let row: Vec<String> =
            runs.iter().map(|run| cell(run).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"))).collect();
        println!("| {access}: {ours} / {theirs} | {} |", row.join(" | "));
    }
}

/// Mean and standard deviation.
pub(crate) fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>();
    (mean, (square / (n - 1.0).max(1.0)).sqrt())
}
