//! Reading and writing files: written aside and renamed, so that no reader sees half a file and nothing is lost.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only the owner (0600): keys.
    Owner,
    /// As the system's mask says.
    Default,
}

/// Writes `bytes` to `path`: beside it first, synced, then renamed over it.
///
/// # Errors
/// What the system says, with the path. The old file, if any, is untouched then, and the half-written one is removed.
pub fn write(path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
    let aside = aside(path);
    let written =
        write_synced(&aside, bytes, access).and_then(|()| fs::rename(&aside, path)).and_then(|()| {
            let folder =
                path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()
        });
    written.map_err(|source| {
        // The error that matters is the first one.
        let _ = fs::remove_file(&aside);
        FileError { doing: "write", path: path.to_owned(), source }
    })
}

/// Reads a whole file as bytes.
///
/// # Errors
/// What the system says, with the path.
#[expect(clippy::disallowed_methods, reason = "this is the rim")]
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|source| FileError { doing: "read", path: path.to_owned(), source })
}

/// Reads a whole file as UTF-8 text.
///
/// # Errors
/// What the system says, with the path; bytes that are not UTF-8.
#[expect(clippy::disallowed_methods, reason = "this is the rim")]
pub fn read_text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|source| FileError { doing: "read", path: path.to_owned(), source })
}

/// Makes a folder and those above it.
///
/// # Errors
/// What the system says, with the path.
pub fn make_folder(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(|source| FileError {
        doing: "create the folder",
        path: path.to_owned(),
        source,
    })
}

/// A file or folder that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}", path.display())]
pub struct FileError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

fn write_synced(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    if access == Access::Owner {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    #[cfg(not(unix))]
    let _ = access;
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
