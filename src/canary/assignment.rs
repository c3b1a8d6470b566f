//! What a key assigned, as a document that anybody can check once the epoch is opened.
//!
//! Book first: its hash is in every label. Then the secret's commitment, then a public round in the epoch's name
//! ([`crate::key::Epoch::round`]). From these the assignment follows, and nothing in it can be chosen.

use serde::{Deserialize, Serialize};

use super::book::Book;
use crate::key::{Audience, Commitment, Epoch, EpochKey, Label};

/// The format of an assignment.
pub const FORMAT: &str = "taggant/canary-assignment/1";

/// The assignment of some slots of a book under one epoch's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// Always [`FORMAT`].
    pub format: String,
    /// The book.
    pub book: Commitment,
    /// The epoch, with its public round.
    pub epoch: Epoch,
    /// The commitment of the epoch's key, as the genesis holds it.
    pub epoch_key: Commitment,
    /// The slots.
    pub slots: Vec<Assigned>,
}

/// What the key says of one slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assigned {
    /// The slot.
    pub slot: u64,
    /// K.
    pub siblings: u32,
    /// The account that has a pick of its own; none for everybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// J, from 0.
    pub pick: u32,
    /// Planted at a rate when below ⌊rate·2⁶⁴⌋; decimal, because JSON numbers are not that long.
    pub plant_number: String,
    /// In an arm by [`super::Arms::of`]; decimal.
    pub arm_number: String,
}

/// Why an assignment is not what the key says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssignmentError {
    /// Another format, book, epoch or key.
    #[error("{field}: the assignment says {found}, and here it is {expected}")]
    Other {
        /// The field.
        field: &'static str,
        /// What the assignment says.
        found: String,
        /// What it would have to say.
        expected: String,
    },
    /// A slot with another pick, plant or arm.
    #[error("slot {slot}: the key does not say that; it says {expected:?}")]
    Slot {
        /// The slot.
        slot: u64,
        /// What the key says.
        expected: Box<Assigned>,
    },
    /// A slot that the book does not have.
    #[error("slot {0} is not in the book")]
    Unknown(u64),
}

impl Assigned {
    /// What `key` says of a slot of `siblings` siblings in the book with this hash.
    pub fn of(book: Commitment, key: &EpochKey, slot: u64, siblings: u32, account: Option<&str>) -> Self {
        let label = Label::known(format!("canary/1/{}/{slot}/k{siblings}", hex::encode(&book.0[..16])));
        let own = account.map_or_else(|| label.clone(), |id| label.audience(Audience::Account, id));
        Self {
            slot,
            siblings,
            account: account.map(str::to_owned),
            pick: key.scheme_key(&own).pick(siblings),
            plant_number: key.scheme_key(&label.plant()).number().to_string(),
            arm_number: key.scheme_key(&label.arm_of_canary()).number().to_string(),
        }
    }
}

impl Assignment {
    /// Everybody's picks of `slots`.
    ///
    /// # Errors
    /// A slot that the book does not have.
    pub fn of(
        book: &Book,
        key: &EpochKey,
        slots: impl IntoIterator<Item = u64>,
    ) -> Result<Self, AssignmentError> {
        let assigned = |slot| {
            let siblings = book.siblings(slot).ok_or(AssignmentError::Unknown(slot))?;
            Ok(Assigned::of(book.sha256(), key, slot, siblings, None))
        };
        Ok(Self {
            format: FORMAT.to_owned(),
            book: book.sha256(),
            epoch: key.epoch().clone(),
            epoch_key: key.commitment(),
            slots: slots.into_iter().map(assigned).collect::<Result<_, _>>()?,
        })
    }

    /// Derives everything again from the book and the opened key. That the key's commitment is a leaf of the genesis, and that
    /// the round lies between commitment and service, is for [`crate::key::Genesis`] and [`crate::key::Round`] to say.
    ///
    /// # Errors
    /// The first thing that is not so.
    pub fn check(&self, book: &Book, key: &EpochKey) -> Result<(), AssignmentError> {
        let heads = [
            ("format", self.format.clone(), FORMAT.to_owned()),
            ("book", self.book.to_string(), book.sha256().to_string()),
            ("epoch", self.epoch.to_string(), key.epoch().to_string()),
            ("epoch_key", self.epoch_key.to_string(), key.commitment().to_string()),
        ];
        for (field, found, expected) in heads {
            if found != expected {
                return Err(AssignmentError::Other { field, found, expected });
            }
        }
        for said in &self.slots {
            let siblings = book.siblings(said.slot).ok_or(AssignmentError::Unknown(said.slot))?;
            let expected = Assigned::of(self.book, key, said.slot, siblings, said.account.as_deref());
            if *said != expected {
                return Err(AssignmentError::Slot { slot: said.slot, expected: Box::new(expected) });
            }
        }
        Ok(())
    }
}
