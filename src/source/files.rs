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

/// Writes `bytes` to `path`: beside it first, into a new file, synced, then renamed over it. A file for its owner alone
/// never replaces one.
///
/// # Errors
/// What the system says, with the path. The old file, if any, is untouched then, and the half-written one is removed.
pub fn write(path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
    let failed = |source| FileError { doing: "write", path: path.to_owned(), source };
    let aside = aside(path);
    let file = create(&aside, access).map_err(failed)?;
    fill(file, bytes).and_then(|()| put(&aside, path, access)).map_err(|source| {
        // The error that matters is the first one.
        let _ = fs::remove_file(&aside);
        failed(source)
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

impl FileError {
    pub(super) fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self { doing, path: path.to_owned(), source }
    }
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

/// A new file: one that is there, or a link, is never followed.
fn create(path: &Path, access: Access) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if access == Access::Owner {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    #[cfg(not(unix))]
    let _ = access;
    options.open(path)
}

fn fill(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

fn put(aside: &Path, path: &Path, access: Access) -> io::Result<()> {
    match access {
        Access::Default => fs::rename(aside, path)?,
        // A link never replaces: of two keys made at once none is lost.
        Access::Owner => {
            fs::hard_link(aside, path)?;
            fs::remove_file(aside)?;
        }
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of a test's own, empty.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("taggant-files-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_key_that_appeared_meanwhile_is_kept_and_nothing_is_left_aside() {
        let folder = folder("race");
        let key = folder.join("k.json");
        write(&key, b"first", Access::Owner).unwrap();
        let refused = write(&key, b"second", Access::Owner).unwrap_err();
        assert_eq!(refused.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&key).unwrap(), b"first");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        write(&key, b"third", Access::Default).unwrap();
        assert_eq!(read(&key).unwrap(), b"third");
        fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_key_is_its_owners_alone_and_no_link_is_followed() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = folder("owner");
        let (key, elsewhere, link) = (folder.join("k.json"), folder.join("elsewhere"), folder.join("link"));
        write(&key, b"secret", Access::Owner).unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        symlink(&elsewhere, &link).unwrap();
        assert!(write(&link, b"secret", Access::Owner).is_err());
        assert!(!elsewhere.exists());
        fs::remove_dir_all(folder).unwrap();
    }
}
