//! Sorting more records than memory holds, equal ones counted.
//!
//! A record is a whole number of K words, most significant first. Its lowest 32 bits are a *tag*, the rest its *key*.
//! Records with one key become one [`Entry`]: how many there were, and the smallest tag. Keys are compared whole, never
//! by a fingerprint, so none is lost to another.
//!
//! [`Sorter`] holds records until it is told to [`spill`](Sorter::spill) them, sorted, as a *run*; [`Sorter::entries`] merges all
//! runs. Where runs are kept is up to a [`Scratch`]: nothing here knows files.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fmt;
use std::io::{self, Read, Write};

/// What writes a run.
pub type Fill<'f> = &'f mut dyn FnMut(&mut dyn Write) -> io::Result<()>;

/// A place for runs, by name.
pub trait Scratch {
    /// Writes a new run. Once this has returned it is whole and will still be there after a power cut.
    ///
    /// # Errors
    /// What the place says, or `fill`; the run is then none.
    fn write(&self, name: &str, fill: Fill<'_>) -> io::Result<()>;

    /// Opens a run.
    ///
    /// # Errors
    /// What the place says.
    fn read(&self, name: &str) -> io::Result<Box<dyn Read + '_>>;
}

/// No scratch: what is sorted must fit into memory.
#[derive(Clone, Copy, Debug)]
pub struct NoScratch;

impl Scratch for NoScratch {
    fn write(&self, _: &str, _: Fill<'_>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read(&self, _: &str) -> io::Result<Box<dyn Read + '_>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Records of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<const K: usize> {
    /// The smallest of them: the key, and the smallest tag.
    pub record: [u64; K],
    /// How many there were; 2³² − 1 stands for more.
    pub count: u32,
}

impl<const K: usize> Entry<K> {
    /// The smallest tag.
    pub fn tag(&self) -> u32 {
        field(&self.record, 2 * K - 1)
    }

    /// Takes `other` in where it has the same key.
    fn absorb(&mut self, other: &Self) -> bool {
        let same = same_key(&self.record, &other.record);
        if same {
            self.record = self.record.min(other.record);
            self.count = self.count.saturating_add(other.count);
        }
        same
    }
}

/// Runs that are merged at once.
pub const FAN: usize = 64;
/// Bytes of a run that are read at once.
const STRETCH: usize = 128 << 10;

/// Puts 32-bit fields into a record, the last one lowest: the tag.
pub fn record<const K: usize>(fields: &[u32]) -> [u64; K] {
    let mut record = [0; K];
    for (at, value) in fields.iter().rev().enumerate().take(2 * K) {
        record[K - 1 - at / 2] |= u64::from(*value) << (at % 2 * 32);
    }
    record
}

/// Field `at` of a record's 2K, the most significant first.
#[expect(clippy::cast_possible_truncation, reason = "a half of a word")]
pub fn field<const K: usize>(record: &[u64; K], at: usize) -> u32 {
    (record[at / 2] >> ((1 - at % 2) * 32)) as u32
}

fn same_key<const K: usize>(a: &[u64; K], b: &[u64; K]) -> bool {
    a[..K - 1] == b[..K - 1] && a[K - 1] >> 32 == b[K - 1] >> 32
}

/// Records on their way into order.
#[derive(Debug)]
pub struct Sorter<const K: usize> {
    fresh: Vec<[u64; K]>,
    sorted: bool,
    runs: Vec<String>,
}

impl<const K: usize> Sorter<K> {
    /// No records, but the runs of an earlier sorter.
    pub fn new(runs: Vec<String>) -> Self {
        Self { fresh: Vec::new(), sorted: true, runs }
    }

    /// Adds a record.
    pub fn push(&mut self, record: [u64; K]) {
        self.fresh.push(record);
        self.sorted = false;
    }

    /// Records in memory.
    pub fn fresh(&self) -> usize {
        self.fresh.len()
    }

    /// The names of the runs.
    pub fn runs(&self) -> &[String] {
        &self.runs
    }

    /// Sorts what is in memory.
    pub fn sort(&mut self) {
        if !self.sorted {
            self.fresh.sort_unstable();
            self.sorted = true;
        }
    }

    /// Writes what is in memory as a run, and gives the memory back.
    ///
    /// # Errors
    /// What the scratch says. The records are then still in memory.
    pub fn spill(&mut self, scratch: &dyn Scratch, name: String) -> io::Result<()> {
        self.sort();
        scratch.write(&name, &mut |run| write_run(run, Groups(&self.fresh).map(Ok)))?;
        self.fresh = Vec::new();
        self.runs.push(name);
        Ok(())
    }

    /// Merges the runs into one, and gives the names of those that are no longer needed.
    ///
    /// # Errors
    /// What the scratch says. The runs are then as they were.
    pub fn merge_runs(&mut self, scratch: &dyn Scratch, name: String) -> io::Result<Vec<String>> {
        scratch.write(&name, &mut |run| write_run(run, merged::<K>(&self.runs, &[], scratch)?))?;
        Ok(std::mem::replace(&mut self.runs, vec![name]))
    }

    /// All records, by ascending key. [`sort`](Self::sort) comes first.
    ///
    /// # Errors
    /// A run that cannot be opened. The iterator gives an error where a run is damaged.
    pub fn entries<'a>(&'a self, scratch: &'a dyn Scratch) -> io::Result<Entries<'a, K>> {
        debug_assert!(self.sorted, "what is in memory is sorted first");
        merged(&self.runs, &self.fresh, scratch)
    }
}

/// What is left of sorted records, by key.
struct Groups<'a, const K: usize>(&'a [[u64; K]]);

impl<const K: usize> Iterator for Groups<'_, K> {
    type Item = Entry<K>;

    fn next(&mut self) -> Option<Entry<K>> {
        let first = self.0.first()?;
        let count = self.0.iter().take_while(|record| same_key(record, first)).count();
        self.0 = &self.0[count..];
        Some(Entry { record: *first, count: u32::try_from(count).unwrap_or(u32::MAX) })
    }
}

/// Records by ascending key, from all places.
pub struct Entries<'a, const K: usize> {
    sources: Vec<Source<'a, K>>,
    /// Of several sources the next entry of each.
    heads: BinaryHeap<Reverse<Head<K>>>,
}

/// The next record of a source, its number, and how many there are of it.
type Head<const K: usize> = ([u64; K], usize, u32);

enum Source<'a, const K: usize> {
    Memory(Groups<'a, K>),
    Run(Run<'a, K>),
}

impl<const K: usize> Source<'_, K> {
    fn next(&mut self) -> io::Result<Option<Entry<K>>> {
        match self {
            Self::Memory(groups) => Ok(groups.next()),
            Self::Run(run) => run.next(),
        }
    }
}

fn merged<'a, const K: usize>(
    runs: &[String],
    fresh: &'a [[u64; K]],
    scratch: &'a dyn Scratch,
) -> io::Result<Entries<'a, K>> {
    let mut sources = Vec::new();
    if runs.is_empty() || !fresh.is_empty() {
        sources.push(Source::Memory(Groups(fresh)));
    }
    for name in runs {
        sources.push(Source::Run(Run::new(scratch.read(name)?)));
    }
    let mut heads = BinaryHeap::new();
    let several = sources.len() > 1;
    for (number, source) in sources.iter_mut().enumerate().filter(|_| several) {
        heads.extend(source.next()?.map(|entry| Reverse((entry.record, number, entry.count))));
    }
    Ok(Entries { sources, heads })
}

impl<const K: usize> Entries<'_, K> {
    /// The smallest record, whatever the others are.
    fn pop(&mut self) -> io::Result<Option<Entry<K>>> {
        let Some(mut head) = self.heads.peek_mut() else { return Ok(None) };
        let Reverse((record, number, count)) = *head;
        match self.sources[number].next()? {
            Some(next) => *head = Reverse((next.record, number, next.count)),
            None => drop(PeekMut::pop(head)),
        }
        Ok(Some(Entry { record, count }))
    }

    fn group(&mut self) -> io::Result<Option<Entry<K>>> {
        let Some(mut entry) = self.pop()? else { return Ok(None) };
        while let Some(Reverse((record, _, count))) = self.heads.peek() {
            if !entry.absorb(&Entry { record: *record, count: *count }) {
                break;
            }
            self.pop()?;
        }
        Ok(Some(entry))
    }
}

impl<const K: usize> Iterator for Entries<'_, K> {
    type Item = io::Result<Entry<K>>;

    fn next(&mut self) -> Option<io::Result<Entry<K>>> {
        match &mut self.sources[..] {
            // Of one source each entry has another key already.
            [source] => source.next().transpose(),
            _ => self.group().transpose(),
        }
    }
}

impl<const K: usize> fmt::Debug for Entries<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entries({} sources)", self.sources.len())
    }
}

/// Writes a run. Of each record: how many leading fields are those of the one before; the rest of its key, the first field of
/// it as the difference; how many; the tag. Numbers are LEB128.
fn write_run<const K: usize>(
    run: &mut dyn Write,
    entries: impl Iterator<Item = io::Result<Entry<K>>>,
) -> io::Result<()> {
    let (mut bytes, mut before) = (Vec::with_capacity(2 * STRETCH), [0; K]);
    for entry in entries {
        let entry = entry?;
        put(&mut bytes, &entry, &before);
        before = entry.record;
        if bytes.len() >= STRETCH {
            run.write_all(&bytes)?;
            bytes.clear();
        }
    }
    run.write_all(&bytes)
}

fn put<const K: usize>(bytes: &mut Vec<u8>, entry: &Entry<K>, before: &[u64; K]) {
    let (fields, tag) = (2 * K - 1, 2 * K - 1);
    let same = (0..fields).take_while(|at| field(&entry.record, *at) == field(before, *at)).count();
    #[expect(clippy::cast_possible_truncation, reason = "a record has few fields")]
    bytes.push(same as u8);
    for at in same..fields {
        let value = field(&entry.record, at);
        put_number(bytes, if at == same { value.wrapping_sub(field(before, at)) } else { value });
    }
    put_number(bytes, entry.count);
    put_number(bytes, field(&entry.record, tag));
}

fn put_number(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// A run that is being read.
struct Run<'a, const K: usize> {
    input: Box<dyn Read + 'a>,
    bytes: Vec<u8>,
    at: usize,
    before: [u64; K],
}

impl<'a, const K: usize> Run<'a, K> {
    /// Bytes that a record has at most.
    const LONGEST: usize = 1 + 5 * (2 * K + 1);

    fn new(input: Box<dyn Read + 'a>) -> Self {
        Self { input, bytes: Vec::new(), at: 0, before: [0; K] }
    }

    fn next(&mut self) -> io::Result<Option<Entry<K>>> {
        if self.bytes.len() - self.at < Self::LONGEST {
            self.fill()?;
        }
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let first = self.before == [0; K];
        let (same, fields) = (usize::from(self.byte()?), 2 * K - 1);
        if same > fields || (same == fields && !first) {
            return Err(damaged());
        }
        let mut record = [0; 32];
        let record = &mut record[..2 * K];
        for (at, value) in record.iter_mut().enumerate().take(fields) {
            let base = if at <= same { field(&self.before, at) } else { 0 };
            let more = if at < same { 0 } else { self.number()? };
            *value = base.checked_add(more).ok_or_else(damaged)?;
        }
        let count = self.number()?;
        record[fields] = self.number()?;
        self.before = self::record(record);
        Ok(Some(Entry { record: self.before, count }))
    }

    /// Reads on, so that a whole record is there unless the run ends.
    fn fill(&mut self) -> io::Result<()> {
        self.bytes.drain(..self.at);
        self.at = 0;
        let wanted = STRETCH - self.bytes.len();
        (&mut self.input).take(wanted as u64).read_to_end(&mut self.bytes)?;
        Ok(())
    }

    fn byte(&mut self) -> io::Result<u8> {
        let byte = *self.bytes.get(self.at).ok_or_else(damaged)?;
        self.at += 1;
        Ok(byte)
    }

    fn number(&mut self) -> io::Result<u32> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(number).map_err(|_| damaged());
            }
        }
        Err(damaged())
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a run in the scratch folder is damaged; remove the folder")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Default)]
    struct Shelf(RefCell<BTreeMap<String, Vec<u8>>>);

    impl Scratch for Shelf {
        fn write(&self, name: &str, fill: Fill<'_>) -> io::Result<()> {
            let mut bytes = Vec::new();
            fill(&mut bytes)?;
            self.0.borrow_mut().insert(name.to_owned(), bytes);
            Ok(())
        }

        fn read(&self, name: &str) -> io::Result<Box<dyn Read + '_>> {
            let bytes = self.0.borrow().get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
            Ok(Box::new(io::Cursor::new(bytes)))
        }
    }

    /// Words whose low bits vary little, so that keys repeat.
    fn words(seed: u64, range: u32) -> impl FnMut() -> u32 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let word = u32::try_from(state >> 32).unwrap();
            if word.is_multiple_of(7) { u32::MAX - word % 3 } else { word % range }
        }
    }

    /// Sorts records of K words, a run for each `run`, and compares with a map.
    fn check<const K: usize>(number: u32, run: usize, merging: usize) {
        let (shelf, mut sorter, mut next) = (Shelf::default(), Sorter::<K>::new(Vec::new()), words(9, 5));
        let mut wanted: BTreeMap<Vec<u32>, (u32, u32)> = BTreeMap::new();
        for tag in 0..number {
            let mut fields: Vec<u32> = (1..2 * K).map(|_| next()).collect();
            let seen = wanted.entry(fields.clone()).or_insert((tag, 0));
            seen.1 += 1;
            fields.push(tag);
            sorter.push(record(&fields));
            if sorter.fresh() == run {
                sorter.spill(&shelf, format!("run-{tag}")).unwrap();
            }
            if sorter.runs().len() == merging {
                let old = sorter.merge_runs(&shelf, format!("merged-{tag}")).unwrap();
                assert_eq!(old.len(), merging);
                old.iter().for_each(|name| drop(shelf.0.borrow_mut().remove(name)));
            }
        }
        sorter.sort();
        let found = sorter.entries(&shelf).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let fields: Vec<u32> = (0..2 * K - 1).map(|at| field(&entry.record, at)).collect();
            (fields, (entry.tag(), entry.count))
        });
        assert_eq!(found.collect::<Vec<_>>(), wanted.into_iter().collect::<Vec<_>>(), "K = {K}, run {run}");
    }

    #[test]
    fn runs_merge_to_what_a_map_counts() {
        for run in [usize::MAX, 1_000, 37, 1] {
            check::<1>(3_000, run, 5);
            check::<2>(3_000, run, 7);
            check::<9>(300, run, 3);
        }
        check::<2>(0, 1, 2);
    }

    #[test]
    fn a_run_cut_short_or_changed_is_an_error_or_other_records_but_never_a_panic() {
        let (shelf, mut sorter, mut next) = (Shelf::default(), Sorter::<2>::new(Vec::new()), words(3, 40));
        (0..500).for_each(|tag| sorter.push(record(&[next(), next(), next(), tag])));
        sorter.spill(&shelf, "run".to_owned()).unwrap();
        let whole = shelf.0.borrow()["run"].clone();
        let read = |bytes: &[u8]| {
            shelf.0.borrow_mut().insert("run".to_owned(), bytes.to_vec());
            sorter.entries(&shelf).and_then(|entries| entries.collect::<io::Result<Vec<_>>>())
        };
        let all = read(&whole).unwrap();
        let cut = (0..whole.len()).filter(|end| read(&whole[..*end]).is_err()).count();
        assert!(cut > whole.len() / 2, "only {cut} of {} cuts were noticed", whole.len());
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x91;
            assert!(read(&changed).map_or(true, |entries| entries != all));
        }
    }
}
