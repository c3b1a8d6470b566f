//! Text of any size: rows are read one after the other, their draws sorted in memory or in a scratch folder.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::BinaryBytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use taggant_model::tokenizer::Tokenizer;

use super::estimate::{Estimate, estimate, length};
use super::output::{self, Stages};
use super::{Failure, rows, size::Size};
use crate::key::{Epoch, Secret};
use crate::law::Streamed;
use crate::scheme::{Scheme, Spec};
use crate::score::alignment::RoundTrip;
use crate::score::{Bulk, Progress, Skipped, Sorted, TextStatistic};
use crate::sort::{FAN, NoScratch, Scratch};
use crate::source::lines::{self, Lines};
use crate::source::scratch::{Contents, Folder, Hashed};
use crate::source::text::{BadLine, BadLines, IdDigest, Kind, Reader, Row, Seen};
use crate::stat::verdict::Summary;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Memory for the draws and what is kept of each row [default: 512MiB with --scratch, else as much as it takes]
    #[arg(long, value_name = "SIZE", requires = "scratch")]
    memory: Option<Size>,
    /// Where draws go that do not fit into --memory. An interrupted run goes on from there. Nothing that depends on the key
    /// is written
    #[arg(long, value_name = "DIR")]
    pub(super) scratch: Option<PathBuf>,
}

/// What is scored, and by what.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub(super) file: &'a Path,
    pub(super) secret: &'a Secret,
    pub(super) spec: Spec,
    pub(super) statistic: TextStatistic,
    /// The epoch of rows that name none.
    pub(super) epoch: Option<&'a Epoch>,
    pub(super) tokenizer: Option<&'a Tokenizer>,
    pub(super) bad: BadLines,
}

/// What came out.
#[derive(Debug)]
pub(super) struct Scored {
    pub(super) epochs: Vec<Epoch>,
    pub(super) rows: u64,
    pub(super) refused: Vec<BadLine>,
    pub(super) rows_without_prompt: u64,
    pub(super) positions: u64,
    pub(super) skipped: Skipped,
    pub(super) round_trip: Option<RoundTrip>,
    pub(super) summary: Summary,
}

/// Memory without --memory.
const MEMORY: Size = Size(512 << 20);
/// Bytes that a row takes: the digest of its id while rows are read, then its sums and its place on the path.
const ROW: u64 = 64;

/// Everything besides the key that decides what is written to the scratch folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Settings {
    width: usize,
    /// Of a mix: its narrower window.
    narrow: Option<usize>,
    statistic: TextStatistic,
    epoch: Option<Epoch>,
    skip_bad: bool,
    /// SHA-256 of the vocabulary.
    tokenizer: Option<String>,
}

impl Settings {
    fn of(job: &Job<'_>) -> Self {
        Self {
            width: job.spec.width().tokens(),
            narrow: if let Spec::Mix(mix) = job.spec { Some(mix.narrow().tokens()) } else { None },
            statistic: job.statistic,
            epoch: job.epoch.cloned(),
            skip_bad: job.bad == BadLines::Skip,
            tokenizer: job.tokenizer.map(|tokenizer| {
                let mut hash = Sha256::new();
                for bytes in tokenizer.spellings().unwrap_or_default() {
                    let bytes = bytes.unwrap_or_default();
                    hash.update((bytes.len() as u64).to_le_bytes());
                    hash.update(bytes);
                }
                hex::encode(hash.finalize())
            }),
        }
    }
}

/// Where an interrupted run goes on.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    settings: Settings,
    /// The input as far as it was read.
    input: Contents,
    lines: usize,
    rows: u64,
    refused: Vec<BadLine>,
    rows_without_prompt: u64,
    /// Files with digests of ids.
    ids: Vec<String>,
    epochs: BTreeMap<Epoch, Progress>,
}

/// Scores a text under one scheme.
pub(super) fn score(job: &Job<'_>, arguments: &Arguments) -> Result<Scored, Failure> {
    let Some(scratch) = &arguments.scratch else {
        let reading = Reading::start(job, None)?.read()?;
        return reading.test(&NoScratch);
    };
    let settings = Settings::of(job);
    let mut hash = Sha256::new_with_prefix(lines::name(job.file));
    hash.update(serde_json::to_vec(&settings)?);
    let folder =
        Folder::open(&scratch.join(format!("taggant-score-{}", &hex::encode(hash.finalize())[..16])))?;
    let memory = arguments.memory.unwrap_or(MEMORY);
    let outside = Outside { folder: &folder, settings, memory: memory.0 };
    let found = folder.take_up::<State>()?;
    outside.check_space(job)?;
    let reading = match found.filter(|state| state.settings == outside.settings) {
        Some(state) => Reading::resume(job, &outside, state)?,
        None => {
            folder.empty()?;
            Reading::start(job, Some(&outside))?
        }
    };
    let scored =
        reading.read().and_then(|reading| reading.test(&folder)).map_err(|failure| kept(failure, &folder))?;
    folder.clear()?;
    Ok(scored)
}

/// What went wrong, and that what was sorted is kept.
fn kept(Failure(what): Failure, folder: &Folder) -> Failure {
    if folder.bytes() == 0 {
        return Failure(what);
    }
    Failure(format!(
        "{what}\nWhat was sorted stays in {}: the same command goes on from there",
        folder.path().display()
    ))
}

/// A scratch folder and what goes there.
#[derive(Debug)]
struct Outside<'a> {
    folder: &'a Folder,
    settings: Settings,
    memory: u64,
}

impl Outside<'_> {
    /// Bytes of draws in memory. While their list grows it is there twice; the last third of the memory is for rows.
    fn budget(&self) -> u64 {
        self.memory / 3
    }

    /// Says what scratch the job may need, and refuses where that is more than is free.
    fn check_space(&self, job: &Job<'_>) -> Result<(), Failure> {
        let Some(needed) = self.needed(job)? else { return Ok(()) };
        let free = fs4::available_space(self.folder.path())?;
        let (folder, there) = (self.folder.path().display(), self.folder.bytes());
        if needed > free.saturating_add(there) {
            return Err(Failure(format!(
                "{} may need {} of scratch, and {folder} has {} free: make room, give another --scratch, or a larger --memory",
                lines::name(job.file),
                BinaryBytes(needed),
                BinaryBytes(free)
            )));
        }
        output::talk(&format!(
            "up to {} of scratch in {folder}, {} free",
            BinaryBytes(needed),
            BinaryBytes(free)
        ));
        Ok(())
    }

    /// Scratch that a file may need, by its first rows; none where all of it fits into memory, or its length is not known.
    fn needed(&self, job: &Job<'_>) -> Result<Option<u64>, Failure> {
        let Some(Estimate { positions: draws, rows }) = estimate(job.file, job.tokenizer)? else {
            return Ok(None);
        };
        let width = job.spec.width();
        let of_draws = draws * Bulk::bytes_a_draw(job.spec) as u128;
        if of_draws <= u128::from(self.budget()) {
            return Ok(None);
        }
        // A token below 2²¹ takes three bytes; besides them a draw has its exchange, its count and what it shares.
        let written = draws * (3 * (width.tokens() as u128 + 1) + 6) + 16 * rows;
        let twice = of_draws / u128::from(self.budget().max(1)) >= FAN as u128;
        Ok(u64::try_from(written * if twice { 2 } else { 1 }).ok())
    }
}

/// Rows on their way into order.
struct Reading<'a> {
    job: &'a Job<'a>,
    outside: Option<&'a Outside<'a>>,
    reader: Reader<Hashed<Box<dyn BufRead>>>,
    /// How many rows there are, where that is known.
    expected: Option<u64>,
    bulks: BTreeMap<Epoch, Bulk>,
    rows_without_prompt: u64,
    ids: Vec<String>,
    /// Rows that carry tokens and text; given up where memory is scarce.
    trips: Option<rows::Trips>,
}

impl<'a> Reading<'a> {
    fn start(job: &'a Job<'a>, outside: Option<&'a Outside<'a>>) -> Result<Self, Failure> {
        let Lines { input, format, rows: expected } = lines::open(job.file)?;
        let name = lines::name(job.file);
        let reader = Reader::new(&name, Hashed::new(input), Kind::Exchanges, job.bad).of(format);
        Ok(Self {
            job,
            outside,
            reader,
            expected,
            bulks: BTreeMap::new(),
            rows_without_prompt: 0,
            ids: Vec::new(),
            trips: rows::Trips::new(job.tokenizer),
        })
    }

    /// After what `state` says was read, where the input still begins so; else from the start.
    fn resume(job: &'a Job<'a>, outside: &'a Outside<'a>, state: State) -> Result<Self, Failure> {
        let Lines { input, format, rows: expected } = lines::open(job.file)?;
        let mut input = Hashed::new(input);
        if !input.pass(&state.input)? {
            outside.folder.empty()?;
            let what = "the input is no longer what it was when the scratch was written: starting again";
            output::talk(what);
            return Self::start(job, Some(outside));
        }
        output::talk(&format!("going on after row {}, from {}", state.rows, outside.folder.path().display()));
        let mut ids: HashSet<IdDigest> = HashSet::new();
        for name in &state.ids {
            let mut bytes = Vec::new();
            io::copy(&mut outside.folder.read(name)?, &mut bytes)?;
            ids.extend(bytes.as_chunks().0);
        }
        let seen = Seen { lines: state.lines, rows: state.rows, refused: state.refused, ids };
        let bulk = |(epoch, progress)| (epoch, Bulk::resume(job.spec, job.statistic, progress));
        Ok(Self {
            job,
            outside: Some(outside),
            reader: Reader::resume(&lines::name(job.file), input, Kind::Exchanges, job.bad, seen).of(format),
            expected,
            bulks: state.epochs.into_iter().map(bulk).collect(),
            rows_without_prompt: state.rows_without_prompt,
            ids: state.ids,
            trips: None,
        })
    }

    fn read(mut self) -> Result<Self, Failure> {
        let length = length(self.job.file).unwrap_or(0);
        let bar = Bar::start("reading", length);
        while let Some(row) = self.reader.next() {
            self.row(&row?)?;
            let held: usize = self.bulks.values().map(Bulk::bytes).sum();
            if let Some(outside) = self.outside.filter(|outside| held as u64 > outside.budget()) {
                self.spill(outside)?;
            }
            bar.at(match self.expected {
                Some(rows) => length / rows.max(1) * self.reader.seen().rows,
                None => self.reader.input().bytes(),
            });
        }
        Ok(self)
    }

    fn row(&mut self, row: &Row) -> Result<(), Failure> {
        let epoch = epoch_of(row, self.job.epoch)?;
        let exchange = rows::exchange(row, self.job.tokenizer)?;
        let cluster = u32::try_from(self.reader.seen().rows - 1);
        let cluster = cluster.map_err(|_| Failure(format!("{}: more than 2^32 rows", row.place())))?;
        self.rows_without_prompt += u64::from(row.prompt.is_none());
        if !self.bulks.contains_key(epoch) {
            self.bulks.insert(epoch.clone(), Bulk::of(self.job.spec, self.job.statistic));
        }
        if let Some(bulk) = self.bulks.get_mut(epoch) {
            bulk.add(&exchange, cluster)?;
        }
        self.trips.iter_mut().try_for_each(|trips| trips.add(row, &exchange))
    }

    /// Writes the draws in memory as runs, then the manifest that counts them.
    fn spill(&mut self, outside: &Outside<'_>) -> Result<(), Failure> {
        let rows = self.reader.seen().rows;
        if rows * ROW > outside.memory / 3 {
            return Err(Failure(format!(
                "{rows} rows need {} for their ids and sums alone: give --memory {}MiB",
                BinaryBytes(rows * ROW),
                (6 * rows * ROW).div_ceil(1 << 20)
            )));
        }
        self.trips = None;
        let mut unneeded = Vec::new();
        for (number, bulk) in self.bulks.values_mut().enumerate().filter(|(_, bulk)| bulk.bytes() > 0) {
            unneeded.extend(bulk.spill(outside.folder, &format!("{rows}-{number}"))?);
        }
        let (ids, name) = (self.reader.new_ids(), format!("{rows}.ids"));
        outside.folder.write(&name, &mut |file| file.write_all(ids.as_flattened()))?;
        self.ids.push(name);
        Ok(outside.folder.save(&self.state(outside), &unneeded)?)
    }

    fn state(&self, outside: &Outside<'_>) -> State {
        let seen = self.reader.seen();
        let epochs = self.bulks.iter().map(|(epoch, bulk)| (epoch.clone(), bulk.progress().clone()));
        State {
            settings: outside.settings.clone(),
            input: self.reader.input().contents(),
            lines: seen.lines,
            rows: seen.rows,
            refused: seen.refused.clone(),
            rows_without_prompt: self.rows_without_prompt,
            ids: self.ids.clone(),
            epochs: epochs.collect(),
        }
    }

    /// Asks the key.
    fn test(self, scratch: &dyn Scratch) -> Result<Scored, Failure> {
        let Self { job, reader, bulks, rows_without_prompt, trips, .. } = self;
        let (rows, refused) = (reader.seen().rows, reader.finish()?);
        let exchanges = u32::try_from(rows).unwrap_or(u32::MAX);
        if bulks.is_empty() {
            return Err(Failure("every line was refused: nothing to score".to_owned()));
        }
        let (epochs, bulks): (Vec<Epoch>, Vec<Bulk>) = bulks.into_iter().unzip();
        let sorted = bulks.into_iter().map(|bulk| bulk.sorted(scratch));
        let sorted: Vec<Sorted<'_>> = sorted.collect::<io::Result<_>>()?;
        let schemes: Vec<Scheme> =
            epochs.iter().map(|epoch| job.spec.open(&job.secret.epoch_key(epoch))).collect();
        let arms = schemes.first().map_or(0, |scheme| scheme.arms().len());
        let bar =
            Bar::start("opening", sorted.iter().map(|sorted| sorted.distinct).sum::<u64>() * arms as u64);
        let opened = Cell::new(0);
        let moved = |draws| {
            opened.set(opened.get() + draws);
            bar.at(opened.get());
        };
        let mut pooled: Option<Streamed<'_>> = None;
        for (sorted, scheme) in sorted.iter().zip(&schemes) {
            let draws = sorted.open(scheme, &moved)??;
            pooled = Some(match pooled {
                None => draws,
                Some(earlier) => earlier.pool(draws)?,
            });
        }
        let pooled = pooled.ok_or_else(|| Failure("there is nothing to score".to_owned()))?;
        let mut skipped = Skipped::default();
        sorted.iter().for_each(|sorted| skipped += sorted.skipped);
        Ok(Scored {
            epochs,
            rows,
            refused,
            rows_without_prompt,
            positions: sorted.iter().map(|sorted| sorted.positions).sum(),
            skipped,
            round_trip: trips.map(|trips| trips.finish(job.spec.width())).transpose()?.flatten(),
            summary: Summary::of_streamed(pooled, exchanges)?,
        })
    }
}

/// The epoch whose key a row is scored under.
pub(super) fn epoch_of<'r>(row: &'r Row, default: Option<&'r Epoch>) -> Result<&'r Epoch, Failure> {
    let epoch = row.epoch.as_ref().or(default).ok_or_else(|| {
        Failure(format!("{}: the row names no epoch; add \"epoch\" to it or give --epoch", row.place()))
    })?;
    if let Some(audience) = &row.audience {
        return Err(Failure(format!(
            "{}, field \"for\": the row was marked for {audience:?} under a key of its own; scoring such keys is not \
             supported yet: score rows without \"for\"",
            row.place()
        )));
    }
    Ok(epoch)
}

/// A bar on a terminal, for work that takes a while; elsewhere nothing.
pub(super) struct Bar(Option<Stages>);

impl Bar {
    pub(super) fn start(what: &str, length: u64) -> Self {
        /// Bytes or draws that are there at once.
        const QUICK: u64 = 8 << 20;
        Self((io::stderr().is_terminal() && length > QUICK).then(|| {
            let mut stages = Stages::new();
            stages.start(what, length);
            stages
        }))
    }

    pub(super) fn at(&self, units: u64) {
        self.0.iter().for_each(|stages| stages.at(units));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Stages::end);
    }
}
