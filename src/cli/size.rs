//! Sizes of memory, as people write them.

use std::str::FromStr;

/// Bytes: a number alone or with B, KiB, MiB, GiB, TiB, kB, MB, GB or TB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = UNITS.iter().find(|(name, _)| *name == unit.trim_start()).map(|(_, bytes)| *bytes);
        let bytes =
            unit.zip(number.parse().ok()).and_then(|(unit, number): (u64, u64)| number.checked_mul(unit));
        bytes.filter(|bytes| *bytes >= Self::LEAST).map(Self).ok_or_else(|| SizeError(text.to_owned()))
    }
}

impl Size {
    /// Less holds no rows worth sorting.
    const LEAST: u64 = 1 << 20;
}

/// No size.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no size of at least 1MiB, such as 512MiB or 2GiB")]
pub(super) struct SizeError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_written_or_not_at_all() {
        for (text, bytes) in
            [("512MiB", 512 << 20), ("2 GiB", 2 << 30), ("1048576", 1 << 20), ("3GB", 3_000_000_000)]
        {
            assert_eq!(text.parse::<Size>().unwrap(), Size(bytes));
        }
        for text in ["", "MiB", "1.5GiB", "-1GiB", "12mib", "1023KiB", "99999999999TiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
