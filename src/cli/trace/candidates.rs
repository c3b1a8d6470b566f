//! Who a leaked text could be from: account numbers as a range or a file, tenant ids as a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::super::Failure;
use crate::source::files;

/// `--accounts`: a range, both ends in it, or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Accounts {
    File(PathBuf),
    Range(u64, u64),
}

/// The most candidates: more than there are customers, and few enough to be held.
const CANDIDATES_MAX: u64 = 100_000_000;

impl FromStr for Accounts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match numbers {
            None => Ok(Self::File(text.into())),
            Some((first, last)) if first > last => Err(format!("{first} is behind {last}")),
            Some((first, last)) if last - first >= CANDIDATES_MAX => {
                Err(format!("at most {CANDIDATES_MAX} accounts"))
            }
            Some((first, last)) => Ok(Self::Range(first, last)),
        }
    }
}

impl Accounts {
    /// Numbers, and the names of those that a file names.
    pub(super) fn read(&self) -> Result<BTreeMap<u64, Option<String>>, Failure> {
        match self {
            Self::Range(first, last) => Ok((*first..=*last).map(|number| (number, None)).collect()),
            Self::File(path) => {
                let mut accounts = BTreeMap::new();
                for (line, text) in lines(path)? {
                    let wrong = |what: &str| Failure(format!("{}, line {line}: {what}", path.display()));
                    let (number, name) = text.split_once(char::is_whitespace).unwrap_or((&text, ""));
                    let number: u64 = number.parse().map_err(|_| {
                        wrong("no account number: a line is a number, and perhaps a name behind it")
                    })?;
                    let name = Some(name.trim().to_owned()).filter(|name| !name.is_empty());
                    if accounts.insert(number, name).is_some() {
                        return Err(wrong(&format!("account {number} is there twice: list each once")));
                    }
                }
                Ok(accounts)
            }
        }
    }
}

/// The ids of a file, one a line, in its order.
pub(in super::super) fn ids(path: &Path) -> Result<Vec<String>, Failure> {
    let mut seen = BTreeSet::new();
    let mut ids = Vec::new();
    for (line, id) in lines(path)? {
        let wrong = |what: String| Failure(format!("{}, line {line}: {what}", path.display()));
        if id.trim() != id {
            return Err(wrong(format!(
                "{id:?} has spaces around it: an id is exactly these bytes; remove them"
            )));
        }
        if !seen.insert(id.clone()) {
            return Err(wrong(format!("{id:?} is there twice: list each once")));
        }
        ids.push(id);
    }
    Ok(ids)
}

/// Lines that are not blank, each with its number.
fn lines(path: &Path) -> Result<Vec<(usize, String)>, Failure> {
    let text = files::read_text(path)?;
    let found: Vec<(usize, String)> = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| (number, line.to_owned()))
        .collect();
    if found.is_empty() {
        return Err(Failure(format!("{} names nobody: list an id a line", path.display())));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_both_ends_and_other_words_are_files() {
        assert_eq!("3-5".parse(), Ok(Accounts::Range(3, 5)));
        assert_eq!("0-0".parse::<Accounts>().unwrap().read().unwrap().len(), 1);
        assert_eq!("accounts-2026.txt".parse(), Ok(Accounts::File("accounts-2026.txt".into())));
        assert!("5-3".parse::<Accounts>().unwrap_err().contains("behind"));
        assert!("0-100000000".parse::<Accounts>().unwrap_err().contains("at most"));
    }
}
