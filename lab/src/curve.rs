//! The recorded lines as response curves, which `taggant power` reads.

use crate::corpus::Result;
use crate::strength::{Line, read};
use crate::table::moments;
use std::collections::BTreeMap;
use std::path::Path;
use taggant::source::response::{Curve, Point, Start};

/// Names in the record, and in plans.
const STATISTICS: [(&str, &str); 8] = [
    ("distinct", "distinct"),
    ("root-count", "root-count"),
    ("residual/0.03 TB", "text-residual"),
    ("residual/0.03 TB log e", "text-residual, exposed"),
    ("green mass", "green-mass"),
    ("pears whole TB half-norm", "residual"),
    ("pears whole TB exposed", "residual, exposed"),
    ("pears top-20 TB half-norm", "residual, top 20"),
];

/// Prints `corpora/response.json`.
pub(crate) fn print(path: &Path) -> Result<()> {
    let mut cells: BTreeMap<(String, &str), BTreeMap<u64, Vec<f64>>> = BTreeMap::new();
    for line in read(path)? {
        let planned = STATISTICS.iter().find(|(recorded, _)| *recorded == line.statistic);
        if let Some((_, statistic)) = planned {
            let Line { run, size, z, .. } = line;
            cells.entry((run, statistic)).or_default().entry(size as u64).or_default().push(z);
        }
    }
    let curves = cells.into_iter().filter_map(|((run, statistic), sizes)| curve(&run, statistic, &sizes));
    println!("{}", serde_json::to_string(&curves.collect::<Vec<_>>())?.replace("},{\"start", "},\n{\"start"));
    Ok(())
}

/// `ft-100k-20pc-w1` and so on; none for controls.
fn curve(run: &str, statistic: &str, sizes: &BTreeMap<u64, Vec<f64>>) -> Option<Curve> {
    let parts: Vec<&str> = run.split('-').collect();
    let [start, learned, percent, width] = parts[..] else { return None };
    let percent: f64 = percent.strip_suffix("pc")?.parse().ok()?;
    let point = |(size, z): (&u64, &Vec<f64>)| {
        let (mean, sd) = moments(z);
        let rounded = |x: f64| (x * 1_000.0).round() / 1_000.0;
        Point { size: *size, z: rounded(mean), sd: rounded(sd.max(1.0)) }
    };
    (percent > 0.0).then_some(Curve {
        start: if start == "ft" { Start::FineTuned } else { Start::Scratch },
        learned: learned.strip_suffix('k')?.parse::<u64>().ok()? * 1_000,
        share: percent / 100.0,
        width: width.strip_prefix('w')?.parse().ok()?,
        statistic: statistic.to_owned(),
        points: sizes.iter().map(point).collect(),
    })
}
