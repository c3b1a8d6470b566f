//! `taggant detect`: which mark a text carries, of all keys and formats at hand. An exploration, never a verdict.
//!
//! Every candidate is tested on the same text and all are counted, those that the text shows no draw of included: p-values
//! are corrected by Holm's method, which holds under any dependence.

mod candidate;
mod keyring;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use rayon::prelude::*;
use serde::Serialize;

use super::{Failure, key, output, rows};
use crate::key::Epoch;
use crate::scheme::Spec;
use crate::scheme::foreign::Standing;
use crate::score::alignment::RoundTrip;
use crate::source::model;
use crate::source::text::{BadLines, Content, Kind};
use crate::stat::math::{ln, log10_from_ln};
use crate::stat::multiple::holm;
use candidate::{Candidate, KeyIs, Text, Tried};
use keyring::What;

/// What our own keys are tried under without `--spec`.
const SPECS: [&str; 3] = ["green/1/w1/b2/t1", "gumbel/1/w4", "tournament/1/w4/d30"];

/// How many candidates a page shows.
const SHOWN: usize = 10;

#[derive(Debug, Args)]
#[command(after_long_help = keyring::PROFILES)]
pub(super) struct Arguments {
    /// A folder of key files and of profiles of other engines (*.json); all are tried
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// Who besides the owner may read those files
    #[arg(long, value_enum, default_value_t = key::Mode::Private)]
    key_permissions: key::Mode,
    /// An epoch to try besides those that rows name; give it once for each
    #[arg(long = "epoch", value_name = "EPOCH")]
    epochs: Vec<Epoch>,
    /// A scheme to try under our keys; give it once for each [default: green/1/w1/b2/t1, gumbel/1/w4, tournament/1/w4/d30]
    #[arg(long = "spec", value_name = "SPEC")]
    specs: Vec<Spec>,
    /// A mark is found where p, corrected for all candidates, is at most this
    #[arg(long, default_value_t = 1e-6, value_parser = level)]
    level: f64,
    /// The tokenizer of the marked model, for answers given as text: embedded, smollm2, a GGUF file or a tokenizer.json
    #[arg(long, value_name = "TOKENIZER")]
    tokenizer: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Leave bad lines out and count them
    #[arg(long)]
    skip_bad: bool,
    /// Rows as JSON lines; - reads standard input
    #[arg(value_name = "FILE.jsonl")]
    file: PathBuf,
}

pub(super) fn level(text: &str) -> Result<f64, String> {
    let level: Option<f64> = text.parse().ok();
    level.filter(|level| *level > 0.0 && *level < 1.0).ok_or_else(|| "must be between 0 and 1".to_owned())
}

/// `taggant/detect/1`.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    exploration: &'static str,
    level: f64,
    rows: usize,
    refused_rows: usize,
    rows_without_prompt: usize,
    /// Rows whose answer is text only: its tokens may not be those that were served.
    rows_of_text: usize,
    /// Where rows carry tokens, and a tokenizer is given: what it would cost to have their text only, by the width of the
    /// window.
    round_trip: Vec<Cost>,
    /// The marks found, as positions in `tried`.
    found: Vec<usize>,
    tried: Vec<Tried>,
}

#[derive(Debug, Serialize)]
struct Cost {
    width: usize,
    #[serde(flatten)]
    trip: RoundTrip,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let keyring = keyring::read(&arguments.keys, arguments.key_permissions.permissions())?;
    let bad = if arguments.skip_bad { BadLines::Skip } else { BadLines::Refuse };
    let rows = rows::read(&arguments.file, Kind::Exchanges, bad)?;
    let named = rows.rows.iter().filter_map(|row| row.epoch.clone());
    let epochs: BTreeSet<Epoch> = named.chain(arguments.epochs.iter().cloned()).collect();
    let epochs: Vec<Epoch> = epochs.into_iter().collect();
    if let Some(entry) = keyring.iter().find(|entry| matches!(entry.what, What::Key(_)) && epochs.is_empty())
    {
        return Err(Failure(format!(
            "{}: a key marks under an epoch, and no row names one; give --epoch, or move key files out of the folder",
            entry.path.display()
        )));
    }
    let specs = specs(arguments)?;
    let candidates = candidate::all(&keyring, &specs, &epochs);
    let tokenizer = arguments.tokenizer.as_deref().map(model::tokenizer).transpose()?;
    let exchanges =
        rows.rows.iter().map(|row| Ok((row.epoch.clone(), rows::exchange(row, tokenizer.as_ref())?)));
    let exchanges = exchanges.collect::<Result<Vec<_>, Failure>>()?;
    let text = Text::count(&exchanges, &candidates)?;
    let tried =
        candidates.par_iter().map(|candidate| candidate.test(&text)).collect::<Result<Vec<_>, _>>()?;
    let tried = corrected(tried, arguments.level);
    let widths: BTreeSet<_> = candidates.iter().filter_map(Candidate::width).collect();
    let cost = |width| {
        let trip = rows::round_trip(&rows.rows, width, tokenizer.as_ref());
        trip.map(|trip| trip.map(|trip| Cost { width: width.tokens(), trip })).transpose()
    };
    let report = Report {
        schema: "taggant/detect/1",
        exploration: "not a verdict: no plan was sealed",
        level: arguments.level,
        rows: rows.rows.len(),
        refused_rows: rows.refused.len(),
        rows_without_prompt: rows.rows.iter().filter(|row| row.prompt.is_none()).count(),
        rows_of_text: rows.rows.iter().filter(|row| matches!(row.response, Content::Text(_))).count(),
        round_trip: widths.into_iter().filter_map(cost).collect::<Result<_, Failure>>()?,
        found: (0..tried.len()).filter(|at| tried[*at].found).collect(),
        tried,
    };
    rows.refused.iter().for_each(|line| output::talk(&format!("left out: {line}")));
    if arguments.json {
        output::json(&report)?
    } else {
        output::data(&page(&report))?
    }
    Ok(ExitCode::SUCCESS)
}

fn specs(arguments: &Arguments) -> Result<Vec<Spec>, Failure> {
    if arguments.specs.iter().any(|spec| matches!(spec, Spec::Payload(_))) {
        return Err(Failure(
            "--spec: an account's marks are tested by account, which this command does not do".to_owned(),
        ));
    }
    if arguments.specs.is_empty() {
        return Ok(SPECS.iter().map(|spec| spec.parse()).collect::<Result<_, _>>()?);
    }
    let distinct = |(at, spec): (usize, &Spec)| (!arguments.specs[..at].contains(spec)).then_some(*spec);
    Ok(arguments.specs.iter().enumerate().filter_map(distinct).collect())
}

/// Corrects for all candidates. No p below what its key has bits for enters.
fn corrected(mut tried: Vec<Tried>, level: f64) -> Vec<Tried> {
    let limit = |tried: &Tried| tried.limit_log10_p * std::f64::consts::LN_10;
    let claimed: Vec<f64> = tried.iter().map(|tried| tried.ln_p.max(limit(tried))).collect();
    for (tried, adjusted) in tried.iter_mut().zip(holm(&claimed)) {
        tried.adjusted_log10_p = log10_from_ln(adjusted);
        tried.found = adjusted <= ln(level);
    }
    tried
}

/// What a person reads.
fn page(report: &Report) -> String {
    let mut page = format!(
        "exploration (no plan was sealed: not a verdict)\n\
         rows        {} ({} refused, {} without a prompt, {} as text only)\n\
         tried       {} marks, corrected for all of them; found where log10 p is then at most {:.1}\n",
        report.rows,
        report.refused_rows,
        report.rows_without_prompt,
        report.rows_of_text,
        report.tried.len(),
        log10_from_ln(ln(report.level)),
    );
    for Cost { width, trip } in &report.round_trip {
        page.push_str(&rows::text_only(trip, &format!("at width {width}")));
    }
    page.push_str("\n   log10 p  corrected   draws  key        mark\n");
    let mut order: Vec<&Tried> = report.tried.iter().collect();
    order.sort_by(|a, b| {
        (a.adjusted_log10_p, a.log10_p)
            .partial_cmp(&(b.adjusted_log10_p, b.log10_p))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    for tried in order.iter().take(SHOWN) {
        let _ = writeln!(page, "{}", line(tried));
    }
    if order.len() > SHOWN {
        let _ =
            writeln!(page, "   … and {} more, none of them likelier (--json lists all)", order.len() - SHOWN);
    }
    page.push('\n');
    page.push_str(&conclusion(report));
    page
}

fn line(tried: &Tried) -> String {
    let claimed = if tried.log10_p < tried.limit_log10_p {
        format!("< {:.1}", tried.limit_log10_p)
    } else {
        format!("{:.1}", tried.log10_p)
    };
    format!(
        "{:>10}  {:>9.1}  {:>6}  {:<9}  {}",
        claimed,
        tried.adjusted_log10_p,
        tried.draws,
        whose(tried.key_is),
        title(tried)
    )
}

fn whose(key: KeyIs) -> &'static str {
    match key {
        KeyIs::Own => "ours",
        KeyIs::Foreign(Standing::Default) => "default",
        KeyIs::Foreign(Standing::Published) => "published",
        KeyIs::Foreign(Standing::Private) => "private",
    }
}

fn title(tried: &Tried) -> String {
    match &tried.epoch {
        Some(epoch) => format!("{} under key {}, epoch {epoch}", tried.mark, tried.name),
        None => format!("{} {:?}", tried.mark, tried.name),
    }
}

/// What was found, and what that says.
fn conclusion(report: &Report) -> String {
    let mut text = String::new();
    for tried in report.tried.iter().filter(|tried| tried.found) {
        let says = match tried.key_is {
            KeyIs::Own => "to prove what it means, test a sealed plan",
            KeyIs::Foreign(Standing::Default) => {
                "the key is the engine's default: every operator who changed nothing marks like this, so it says nothing of \
                 whose text it is, and is never evidence of exposure to one operator's answers"
            }
            KeyIs::Foreign(Standing::Published) => {
                "the key is published: anybody can mark like this, so it says nothing of whose text it is, and is never \
                 evidence of exposure to one operator's answers"
            }
            KeyIs::Foreign(Standing::Private) => {
                "the key was not committed to before service, and the mark can be forged by whoever saw enough of it"
            }
        };
        let _ = writeln!(text, "found       {} ({})", title(tried), tried.file);
        text.push_str(&indented(says));
        text.push_str(&indented(&format!("assumes that {}", tried.assumes)));
    }
    if text.is_empty() {
        text.push_str("found       none of the marks tried\n");
        text.push_str(&indented(
            "That is no sign that the text is unmarked: other keys, set-ups and engines were not tried, nor marks that were \
             made on a GPU by a generator of its own.",
        ));
    }
    text
}

/// Text in lines of 100 characters, below what stands in the left column.
fn indented(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last().map_or(0, String::len);
        if last > 0 && last + word.len() >= 100 {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.iter().map(|line| format!("            {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(log10_p: f64, limit_log10_p: f64) -> Tried {
        Tried {
            file: String::new(),
            name: String::new(),
            mark: String::new(),
            epoch: None,
            key_is: KeyIs::Own,
            draws: 1,
            ngrams: None,
            z: 0.0,
            ln_p: log10_p * std::f64::consts::LN_10,
            log10_p,
            limit_log10_p,
            adjusted_log10_p: 0.0,
            found: false,
            assumes: "",
        }
    }

    #[test]
    fn every_candidate_counts_and_no_p_is_claimed_below_what_its_key_has_bits_for() {
        let found = |more: usize, limit: f64| {
            let nothing = std::iter::repeat_with(|| tried(0.0, -38.0)).take(more);
            let all = corrected(std::iter::once(tried(-8.0, limit)).chain(nothing).collect(), 1e-6);
            assert!(all[1..].iter().all(|tried| !tried.found));
            (all[0].found, (all[0].adjusted_log10_p * 10.0).round() / 10.0)
        };
        assert_eq!(found(0, -38.0), (true, -8.0));
        assert_eq!(found(99, -38.0), (true, -6.0));
        assert_eq!(found(999, -38.0), (false, -5.0));
        assert_eq!(found(99, -7.0), (false, -5.0));
    }

    #[test]
    fn long_sentences_are_broken_between_words() {
        let text = "word ".repeat(60);
        let lines = indented(text.trim());
        assert!(lines.lines().all(|line| line.len() <= 112 && line.starts_with("            word")));
        assert_eq!(lines.split_whitespace().count(), 60);
    }
}
