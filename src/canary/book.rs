//! A book of canaries: every sibling set of an epoch, fixed and hashed before a key picks.
//!
//! The book is one JSON file. Its hash, SHA-256 of the canonical JSON (RFC 8785), names its slots in the labels of
//! picks: a book that is changed afterwards gets other picks. A salt in it makes the hash a commitment that can be
//! published without letting anybody guess the canaries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::expand::Expander;
use super::family::Families;
use super::fault::{Fault, Place, Problem, json_fault};
use super::set::{Family, SiblingSet, canonical};
use crate::key::{Audience, Commitment, Epoch, EpochKey, Label, SchemeKey};
use crate::law::Origin;

/// The format of a book.
pub const FORMAT: &str = "taggant/canary-book/1";

/// What a book says; checked and hashed it is a [`Book`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// Always [`FORMAT`].
    pub format: String,
    /// The operator's name for it.
    pub name: String,
    /// 64 hexadecimal digits from the system's generator.
    pub salt: String,
    /// The share of slots that stays closed for a court's own replication.
    pub closed_share: f64,
    /// Slots 0, 1, 2, …: sets that were written one by one.
    pub sets: Vec<SiblingSet>,
    /// Then the slots of each class in order.
    pub families: Families,
}

/// A checked book with its hash: it can be committed to, and only then be picked from.
#[derive(Clone, Debug)]
pub struct Book {
    contents: Contents,
    sha256: [u8; 32],
    classes: Vec<Expander>,
    /// The first slot of each class, and at last the number of all slots.
    starts: Vec<u64>,
}

impl Book {
    /// Checks and hashes `contents`; `file` names it in errors.
    ///
    /// # Errors
    /// The first fault.
    pub fn new(file: &str, contents: Contents) -> Result<Self, Fault> {
        let place = Place { file, line: 0 };
        if contents.format != FORMAT {
            let problem = Problem::Format { found: contents.format, expected: FORMAT };
            return Err(place.fault("format", problem));
        }
        contents.salt.parse::<Commitment>().map_err(|_| place.fault("salt", Problem::Salt))?;
        if !(0.0..=1.0).contains(&contents.closed_share) {
            return Err(place.fault("closed_share", Problem::Share(contents.closed_share.to_string())));
        }
        for (expected, set) in (0..).zip(&contents.sets) {
            if set.slot != expected {
                let problem = Problem::SlotNumber { expected, found: set.slot };
                return Err(place.fault(format!("sets[{expected}].slot"), problem));
            }
            set.check(place)?;
        }
        contents.families.check(|_| place)?;
        let expander = |class| Expander::new(&contents.families, class);
        let classes: Result<Vec<Expander>, Problem> =
            contents.families.classes.iter().map(expander).collect();
        let classes = classes.map_err(|problem| place.fault("families", problem))?;
        let mut starts = vec![contents.sets.len() as u64];
        for class in &classes {
            starts.push(starts[starts.len() - 1] + class.slots());
        }
        let sha256 = Sha256::digest(canonical(&contents)).into();
        Ok(Self { contents, sha256, classes, starts })
    }

    /// Reads a book.
    ///
    /// # Errors
    /// Not JSON of this shape, or the first fault.
    pub fn parse(file: &str, text: &str) -> Result<Self, Fault> {
        let contents = serde_json::from_str(text).map_err(|error| json_fault(file, 0, &error))?;
        Self::new(file, contents)
    }

    /// The canonical JSON: the bytes that are hashed, and the file to keep.
    pub fn to_json(&self) -> Vec<u8> {
        canonical(&self.contents)
    }

    /// What the book says.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// SHA-256 of the canonical JSON: to be published before a key picks.
    pub fn sha256(&self) -> Commitment {
        Commitment(self.sha256)
    }

    /// The number of slots.
    pub fn slots(&self) -> u64 {
        self.starts[self.starts.len() - 1]
    }

    /// The sibling set of a slot; none beyond the last.
    pub fn set(&self, slot: u64) -> Option<SiblingSet> {
        if let Some(set) = usize::try_from(slot).ok().and_then(|at| self.contents.sets.get(at)) {
            return Some(set.clone());
        }
        let (class, n) = self.locate(slot)?;
        Some(self.classes[class].set(n, slot))
    }

    /// The number of siblings of a slot.
    pub fn siblings(&self, slot: u64) -> Option<u32> {
        let at = usize::try_from(slot).ok()?;
        let siblings = match self.contents.sets.get(at) {
            Some(set) => set.siblings.len(),
            None => self.locate(slot).map(|_| super::SIBLINGS)?,
        };
        u32::try_from(siblings).ok()
    }

    /// The class of a slot.
    pub fn class(&self, slot: u64) -> Option<&str> {
        if let Some(set) = usize::try_from(slot).ok().and_then(|at| self.contents.sets.get(at)) {
            return Some(&set.class);
        }
        let (class, _) = self.locate(slot)?;
        Some(&self.classes[class].class().class)
    }

    /// The family of a slot.
    pub fn family(&self, slot: u64) -> Option<Family> {
        let at = usize::try_from(slot).ok()?;
        let written = self.contents.sets.get(at).map(|set| set.family);
        written.or_else(|| self.locate(slot).map(|_| Family::ChoiceSlot))
    }

    /// The slots of a class, in order; none where the book does not have it.
    pub fn of_class(&self, class: &str) -> impl Iterator<Item = u64> {
        let written = self.contents.sets.iter().filter(move |set| set.class == class).map(|set| set.slot);
        let is = move |(_, expander): &(usize, &Expander)| expander.class().class == class;
        let made = self.classes.iter().enumerate().filter(is);
        written.chain(made.flat_map(|(at, _)| self.starts[at]..self.starts[at + 1]))
    }

    /// Whether a slot stays closed for a court's replication: SHA-256(`"taggant/1/canary-closed" ‖ 0x00 ‖ book's SHA-256 ‖
    /// u64le(slot)`), its first u64 (little-endian), is below ⌊share·2⁶⁴⌋. Chosen by the book's hash, so by nobody.
    pub fn is_closed(&self, slot: u64) -> bool {
        let mut hash = Sha256::new();
        hash.update(b"taggant/1/canary-closed\0");
        hash.update(self.sha256);
        hash.update(slot.to_le_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        below_share(u64::from_le_bytes(first), self.contents.closed_share)
    }

    /// The picks of one epoch's key. A book has its hash by now, so siblings exist before anything is picked.
    pub fn picks<'a>(&'a self, key: &'a EpochKey) -> Picks<'a> {
        Picks { book: self, keys: Keys::Epoch(key) }
    }

    /// The same from label keys that were handed over one by one.
    pub fn opened_picks<'a>(&'a self, keys: &'a OpenedKeys) -> Picks<'a> {
        Picks { book: self, keys: Keys::Opened(keys) }
    }

    /// The classes, each with its first slot.
    pub(super) fn classes(&self) -> impl Iterator<Item = (u64, &Expander)> {
        self.starts.iter().copied().zip(&self.classes)
    }

    /// Each sibling's text as (first slot of its class, candidate): what slots of one class share.
    pub(super) fn texts(&self, slot: u64) -> Vec<(u64, usize)> {
        match self.locate(slot) {
            Some((class, n)) => {
                self.classes[class].chosen(n).into_iter().map(|at| (self.starts[class], at)).collect()
            }
            None => (0..self.siblings(slot).unwrap_or_default() as usize).map(|at| (slot, at)).collect(),
        }
    }

    /// The class of a procedural slot, and the slot's number within it.
    pub(super) fn locate(&self, slot: u64) -> Option<(usize, u64)> {
        let class = self.starts.partition_point(|start| *start <= slot).checked_sub(1)?;
        (class < self.classes.len()).then(|| (class, slot - self.starts[class]))
    }

    /// The label of a slot's pick: `canary/1/<first 32 hexadecimal digits of the book's SHA-256>/<slot>/k<K>`.
    pub fn label(&self, slot: u64) -> Option<Label> {
        let book = hex::encode(&self.sha256[..16]);
        Some(Label::known(format!("canary/1/{book}/{slot}/k{}", self.siblings(slot)?)))
    }
}

/// One pick of the key: that of a slot for everybody, or of a slot for one account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pick {
    /// The slot.
    pub slot: u64,
    /// The account's id, where accounts have picks of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

impl Pick {
    /// The label of this pick in `book`; none for a slot that the book does not have.
    pub fn label(&self, book: &Book) -> Option<Label> {
        let label = book.label(self.slot)?;
        Some(match &self.account {
            Some(account) => label.audience(Audience::Account, account),
            None => label,
        })
    }
}

impl From<u64> for Pick {
    fn from(slot: u64) -> Self {
        Self { slot, account: None }
    }
}

/// Everything that one epoch's key says about a book.
#[derive(Clone, Copy, Debug)]
pub struct Picks<'a> {
    book: &'a Book,
    keys: Keys<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Keys<'a> {
    Epoch(&'a EpochKey),
    Opened(&'a OpenedKeys),
}

/// Keys of single labels of one epoch, as an operator hands them over: slots that stay closed are not among them.
#[derive(Clone, Debug)]
pub struct OpenedKeys {
    epoch: Epoch,
    keys: BTreeMap<Label, SchemeKey>,
}

impl OpenedKeys {
    /// Those of `keys` that belong to `epoch`.
    pub fn new(epoch: &Epoch, keys: &[SchemeKey]) -> Self {
        let mine = keys.iter().filter(|key| key.epoch() == epoch);
        Self { epoch: epoch.clone(), keys: mine.map(|key| (key.label().clone(), key.clone())).collect() }
    }

    /// The key of a label, if it was handed over.
    pub fn get(&self, label: &Label) -> Option<&SchemeKey> {
        self.keys.get(label)
    }
}

impl<'a> Picks<'a> {
    /// The epoch.
    pub fn epoch(&self) -> &'a Epoch {
        match self.keys {
            Keys::Epoch(key) => key.epoch(),
            Keys::Opened(keys) => &keys.epoch,
        }
    }

    /// J, from 0; none for a slot that the book does not have, and for one whose key was not handed over.
    pub fn sibling(&self, pick: &Pick) -> Option<u32> {
        let siblings = self.book.siblings(pick.slot)?;
        self.with_key(&pick.label(self.book)?, |key| key.pick(siblings))
    }

    /// Whether a slot is planted at a rate in [0, 1]: its number is below ⌊rate·2⁶⁴⌋. A higher rate plants the same slots
    /// and more.
    pub fn plants(&self, slot: u64, rate: f64) -> bool {
        self.plant_number(slot).is_some_and(|number| below_share(number, rate))
    }

    /// The slot's number in [0, 2⁶⁴) that says whether it is planted.
    pub fn plant_number(&self, slot: u64) -> Option<u64> {
        self.with_key(&self.book.label(slot)?.plant(), SchemeKey::number)
    }

    /// The slot's number in [0, 2⁶⁴) that assigns it to an arm.
    pub fn arm_number(&self, slot: u64) -> Option<u64> {
        self.with_key(&self.book.label(slot)?.arm_of_canary(), SchemeKey::number)
    }

    /// Names the coins of this book under this key: they cannot be pooled with themselves. Of keys that were handed over one
    /// by one SHA-256(`"taggant/1/canary-origin" ‖ 0x00 ‖ epoch ‖ 0x00 ‖ book's SHA-256`).
    pub fn origin(&self) -> Origin {
        match self.keys {
            Keys::Epoch(key) => {
                let book = hex::encode(&self.book.sha256[..16]);
                Origin(key.scheme_key(&Label::known(format!("canary/1/{book}"))).commitment().0)
            }
            Keys::Opened(keys) => {
                let mut hash = Sha256::new();
                hash.update(b"taggant/1/canary-origin\0");
                hash.update(keys.epoch.as_str());
                hash.update([0]);
                hash.update(self.book.sha256);
                Origin(hash.finalize().into())
            }
        }
    }

    fn with_key<T>(&self, label: &Label, of: impl FnOnce(&SchemeKey) -> T) -> Option<T> {
        match self.keys {
            Keys::Epoch(key) => Some(of(&key.scheme_key(label))),
            Keys::Opened(keys) => keys.get(label).map(of),
        }
    }
}

/// Whether `number` is below ⌊share·2⁶⁴⌋: a share of 1 holds for every number.
pub(super) fn below_share(number: u64, share: f64) -> bool {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and the floor is meant"
    )]
    let threshold = (share * 18_446_744_073_709_551_616.0) as u128;
    u128::from(number) < threshold
}
