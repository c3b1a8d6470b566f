//! A folder for sorted runs of text that does not fit into memory: whole files only, each with its SHA-256.
//!
//! The folder holds token ids, counts and digests of ids. Nothing in it depends on a key: the runs are made before one is
//! asked.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::files::{self, Access, FileError};
use crate::sort::{Fill, Scratch};

/// The file that says which others are whole.
const MANIFEST: &str = "manifest.json";
/// The file that one process at a time has locked.
const LOCK: &str = "lock";

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Its length.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// A scratch folder, locked.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    files: RefCell<BTreeMap<String, Contents>>,
    /// Held, not read: the lock ends with it.
    _lock: File,
}

/// What a manifest holds: the files, and what they are part of.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest<S> {
    schema: String,
    files: BTreeMap<String, Contents>,
    state: S,
}

const SCHEMA: &str = "taggant/scratch/1";

impl Folder {
    /// Opens a folder, or makes it.
    ///
    /// # Errors
    /// What the system says; another process that has it open.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        files::make_folder(path)?;
        let failed = |source| FileError::new("lock", &path.join(LOCK), source);
        let lock = File::options().write(true).create(true).truncate(false).open(path.join(LOCK));
        let lock = lock.map_err(failed)?;
        lock.try_lock().map_err(|error| failed(error.into()))?;
        Ok(Self { path: path.to_owned(), files: RefCell::default(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the files that count.
    pub fn bytes(&self) -> u64 {
        self.files.borrow().values().map(|contents| contents.bytes).sum()
    }

    /// Takes up the files of an earlier process, as far as they are whole: those that its manifest lists, if each has the
    /// bytes that it says. All others go. What `state` the manifest was saved with; none where anything is amiss.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn take_up<S: for<'d> Deserialize<'d>>(&self) -> Result<Option<S>, FileError> {
        let manifest = files::read(&self.path.join(MANIFEST)).ok();
        let manifest: Option<Manifest<S>> = manifest.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let whole = |manifest: &Manifest<S>| {
            let is_whole = |(name, contents): (&String, &Contents)| {
                File::open(self.path.join(name)).and_then(contents_of).is_ok_and(|found| found == *contents)
            };
            manifest.schema == SCHEMA && manifest.files.iter().all(is_whole)
        };
        let manifest = manifest.filter(whole);
        let (files, state) = manifest.map(|manifest| (manifest.files, manifest.state)).unzip();
        *self.files.borrow_mut() = files.unwrap_or_default();
        self.remove_strangers()?;
        Ok(state)
    }

    /// Removes all files: a new start.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn empty(&self) -> Result<(), FileError> {
        self.files.borrow_mut().clear();
        self.save(&(), &[])?;
        self.remove_strangers()
    }

    /// Saves which files count, and `state`; only then the `unneeded` ones are removed.
    ///
    /// # Errors
    /// What the system says.
    pub fn save(&self, state: &impl Serialize, unneeded: &[String]) -> Result<(), FileError> {
        let path = self.path.join(MANIFEST);
        self.files.borrow_mut().retain(|name, _| !unneeded.contains(name));
        let files = self.files.borrow().clone();
        let manifest = Manifest { schema: SCHEMA.to_owned(), files, state };
        let bytes =
            serde_json::to_vec(&manifest).map_err(|error| FileError::new("write", &path, error.into()))?;
        files::write(&path, &bytes, Access::Default)?;
        unneeded.iter().try_for_each(|name| self.remove(name))
    }

    /// Removes all files, and the folder where nothing else is in it.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn clear(self) -> Result<(), FileError> {
        self.empty()?;
        self.remove(MANIFEST)?;
        self.remove(LOCK)?;
        // Something that is not ours may keep it.
        let _ = fs::remove_dir(&self.path);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), FileError> {
        let path = self.path.join(name);
        fs::remove_file(&path).map_err(|source| FileError::new("remove", &path, source))
    }

    /// Removes runs and half-written files that do not count. Files with other endings are not ours.
    fn remove_strangers(&self) -> Result<(), FileError> {
        let listed = fs::read_dir(&self.path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for entry in listed.map_err(|source| FileError::new("list", &self.path, source))? {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = ENDINGS.iter().any(|ending| name.ends_with(ending));
            if ours && !self.files.borrow().contains_key(&name) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }
}

/// What the names of our files end in, besides the manifest and the lock.
const ENDINGS: [&str; 4] = [".run", ".merged", ".ids", ".part"];

impl Scratch for Folder {
    fn write(&self, name: &str, fill: Fill<'_>) -> io::Result<()> {
        let (path, aside) = (self.path.join(name), self.path.join(format!("{name}.part")));
        let mut output = Hashed::new(BufWriter::with_capacity(1 << 18, File::create_new(&aside)?));
        fill(&mut output)?;
        output.flush()?;
        output.inner.get_ref().sync_all()?;
        fs::rename(&aside, &path)?;
        File::open(&self.path)?.sync_all()?;
        self.files.borrow_mut().insert(name.to_owned(), output.contents());
        Ok(())
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(File::open(self.path.join(name))?))
    }
}

fn contents_of(file: File) -> io::Result<Contents> {
    let mut input = Hashed::new(BufReader::with_capacity(1 << 18, file));
    io::copy(&mut input, &mut io::sink())?;
    Ok(input.contents())
}

/// A reader or writer that knows the SHA-256 of what has passed it.
#[derive(Debug)]
pub struct Hashed<T> {
    inner: T,
    hash: Sha256,
    bytes: u64,
}

impl<T> Hashed<T> {
    /// Around `inner`, which nothing has passed yet.
    pub fn new(inner: T) -> Self {
        Self { inner, hash: Sha256::new(), bytes: 0 }
    }

    /// What has passed so far.
    pub fn contents(&self) -> Contents {
        Contents { bytes: self.bytes, sha256: hex::encode(self.hash.clone().finalize()) }
    }

    /// How many bytes have passed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn passed(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

impl<R: BufRead> Hashed<R> {
    /// Passes over the bytes that `contents` says; whether they were those.
    ///
    /// # Errors
    /// What the system says.
    pub fn pass(&mut self, contents: &Contents) -> io::Result<bool> {
        let left = contents.bytes.saturating_sub(self.bytes);
        io::copy(&mut self.take(left), &mut io::sink())?;
        Ok(self.contents() == *contents)
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.passed(&buffer[..length]);
        Ok(length)
    }
}

impl<R: BufRead> BufRead for Hashed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        // What was filled is still there, so nothing is read.
        if let Ok(buffer) = self.inner.fill_buf() {
            let passed = &buffer[..length.min(buffer.len())];
            self.hash.update(passed);
            self.bytes += passed.len() as u64;
        }
        self.inner.consume(length);
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.passed(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
