//! How strongly students of marked answers respond: z by share marked, tokens learned and size of the evidence, as
//! measured on the lab's students. For planning only; no verdict uses it.
//!
//! The students are small models of 0.66 million parameters, distilled from the embedded teacher (`lab/README.md`). A real
//! suspect responds otherwise: what is planned with these figures should be planned with room.

use serde::{Deserialize, Serialize};

/// What a student started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Another model, trained on other text.
    FineTuned,
    /// Random weights.
    Scratch,
}

/// One setting and statistic of the lab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// What the students started from.
    pub start: Start,
    /// Tokens that they learned from.
    pub learned: u64,
    /// The share of those that was marked under the scored key, 0 to 1.
    pub share: f64,
    /// The mark's window.
    pub width: u8,
    /// The statistic.
    pub statistic: String,
    /// By ascending size.
    pub points: Vec<Point>,
}

/// z of a statistic at one size of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Tokens of text, or contexts of which the distribution was read.
    pub size: u64,
    /// The mean over students and keys.
    pub z: f64,
    /// Their standard deviation, at least 1.
    pub sd: f64,
}

/// What is asked of the curves.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// What the student starts from.
    pub start: Start,
    /// Tokens that it learns from.
    pub learned: u64,
    /// The share marked under the scored key, above 0 to 1.
    pub share: f64,
    /// The mark's window.
    pub width: u8,
    /// The statistic.
    pub statistic: String,
}

/// The response in one setting: at each measured size, z and its standard deviation.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    points: Vec<Point>,
    /// Whether the share lies below every measured one, where z is taken to be proportional to it.
    pub extrapolated: bool,
    /// The tokens learned by the students it was measured on.
    pub learned: u64,
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// A share that is none.
    #[error("the share must lie above 0 and be at most 1, not {0}")]
    Share(f64),
    /// Fewer tokens than any measured student learned.
    #[error(
        "the least that a student of the lab learned in this setting is {least} tokens, not {asked}: nothing is known below"
    )]
    Learned {
        /// What was asked.
        asked: u64,
        /// The least measured.
        least: u64,
    },
    /// Nothing measured.
    #[error("no student of the lab was measured in this setting; there are: {0}")]
    Unmeasured(String),
    /// The program was built with a damaged file.
    #[error("corpora/response.json: {0}")]
    Damaged(String),
}

/// The measured curves.
///
/// # Errors
/// The program was built with a damaged file.
pub fn curves() -> Result<Vec<Curve>, ResponseError> {
    serde_json::from_str(include_str!("../../corpora/response.json"))
        .map_err(|error| ResponseError::Damaged(error.to_string()))
}

/// The response in a setting. Between measured shares ln z is linear in ln share; of the students that learned no more
/// than was asked those that learned most count, so that the answer is on the safe side.
///
/// # Errors
/// A share outside (0, 1], or nothing measured.
pub fn response(curves: &[Curve], setting: &Setting) -> Result<Response, ResponseError> {
    if !(setting.share > 0.0 && setting.share <= 1.0) {
        return Err(ResponseError::Share(setting.share));
    }
    let alike = |curve: &&Curve| {
        (curve.start, curve.width, &curve.statistic) == (setting.start, setting.width, &setting.statistic)
    };
    let alike: Vec<&Curve> = curves.iter().filter(alike).collect();
    let Some(least) = alike.iter().map(|curve| curve.learned).min() else {
        return Err(ResponseError::Unmeasured(measured(curves)));
    };
    let learned = alike.iter().map(|curve| curve.learned).filter(|learned| *learned <= setting.learned).max();
    let learned = learned.ok_or(ResponseError::Learned { asked: setting.learned, least })?;
    let mut shares: Vec<&Curve> = alike.into_iter().filter(|curve| curve.learned == learned).collect();
    shares.sort_by(|a, b| a.share.total_cmp(&b.share));
    let above = shares.iter().position(|curve| curve.share >= setting.share).unwrap_or(shares.len() - 1);
    let (low, high) = (shares[above.saturating_sub(1)], shares[above]);
    let sizes = high.points.iter().filter_map(|point| {
        let other = low.points.iter().find(|other| other.size == point.size)?;
        Some(between((low.share, *other), (high.share, *point), setting.share))
    });
    Ok(Response { points: sizes.collect(), extrapolated: setting.share < shares[0].share, learned })
}

/// ln z is linear in ln share; outside what was measured, and where there is no effect, z is proportional to the share.
fn between(low: (f64, Point), high: (f64, Point), share: f64) -> Point {
    let ((low_share, low), (high_share, high)) = (low, high);
    let sd = low.sd.max(high.sd);
    let inside = share > low_share && share < high_share && low.z > 0.0 && high.z > 0.0;
    let z = if inside {
        let slope = libm::log(high.z / low.z) / libm::log(high_share / low_share);
        low.z * libm::pow(share / low_share, slope)
    } else if share <= low_share {
        low.z * share / low_share
    } else {
        high.z * share / high_share
    };
    Point { z, sd, ..high }
}

fn measured(curves: &[Curve]) -> String {
    let name = |curve: &Curve| {
        let start = match curve.start {
            Start::FineTuned => "fine-tuned",
            Start::Scratch => "scratch",
        };
        format!("{} at width {}, {start}", curve.statistic, curve.width)
    };
    let names: std::collections::BTreeSet<String> = curves.iter().map(name).collect();
    names.into_iter().collect::<Vec<_>>().join("; ")
}

impl Response {
    /// z and its standard deviation at `size`, linear in ln size between measured sizes; none outside them.
    pub fn at(&self, size: u64) -> Option<(f64, f64)> {
        let after = self.points.iter().position(|point| point.size >= size)?;
        let (before, after) = (&self.points[after.saturating_sub(1)], &self.points[after]);
        if size < before.size {
            return None;
        }
        let part = |from: f64, to: f64| if to > from { (ln(size) - from) / (to - from) } else { 1.0 };
        let part = part(ln(before.size), ln(after.size));
        let mix = |a: f64, b: f64| a + part * (b - a);
        Some((mix(before.z, after.z), mix(before.sd, after.sd)))
    }

    /// The sizes that were measured.
    pub fn sizes(&self) -> impl Iterator<Item = u64> + '_ {
        self.points.iter().map(|point| point.size)
    }
}

fn ln(size: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "sizes stay far below 2^53")]
    let size = size as f64;
    libm::log(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(share: f64, z: [f64; 2]) -> Curve {
        let points = [(1_000, z[0]), (4_000, z[1])].map(|(size, z)| Point { size, z, sd: 1.0 });
        let (start, statistic) = (Start::FineTuned, "distinct".to_owned());
        Curve { start, learned: 100_000, share, width: 1, statistic, points: points.to_vec() }
    }

    fn asked(share: f64, learned: u64) -> Setting {
        Setting { start: Start::FineTuned, learned, share, width: 1, statistic: "distinct".to_owned() }
    }

    #[test]
    fn between_measured_shares_and_sizes_z_is_interpolated() {
        let curves = [curve(1.0, [8.0, 16.0]), curve(0.25, [2.0, 4.0])];
        let half = response(&curves, &asked(0.5, 100_000)).unwrap();
        let close = |found: Option<(f64, f64)>, wanted: f64| (found.unwrap().0 - wanted).abs() < 1e-9;
        assert!(close(half.at(1_000), 4.0) && close(half.at(4_000), 8.0) && close(half.at(2_000), 6.0));
        assert!(!half.extrapolated && half.at(999).is_none() && half.at(4_001).is_none());
        let little = response(&curves, &asked(0.05, 200_000)).unwrap();
        assert!(little.extrapolated && close(little.at(1_000), 0.4));
        assert!(close(response(&curves, &asked(1.0, 100_000)).unwrap().at(1_000), 8.0));
        assert!(close(response(&curves, &asked(0.25, 100_000)).unwrap().at(1_000), 2.0));
    }

    #[test]
    fn what_was_not_measured_is_said() {
        let curves = [curve(1.0, [8.0, 16.0])];
        assert!(matches!(response(&curves, &asked(0.0, 100_000)), Err(ResponseError::Share(_))));
        let refused = response(&curves, &asked(1.0, 50_000));
        assert_eq!(refused, Err(ResponseError::Learned { asked: 50_000, least: 100_000 }));
        let other = Setting { width: 2, ..asked(1.0, 100_000) };
        let Err(error) = response(&curves, &other) else { panic!("it was measured") };
        assert!(error.to_string().contains("distinct at width 1, fine-tuned"), "{error}");
    }

    #[test]
    fn the_embedded_curves_are_whole() {
        let curves = curves().unwrap();
        assert!(curves.len() > 10);
        for curve in curves {
            assert!(curve.points.is_sorted_by(|a, b| a.size < b.size) && curve.points.len() > 1);
            assert!(curve.points.iter().all(|point| point.sd >= 1.0));
        }
    }
}
