//! Who asked for which slots: the accounts under suspicion and their traffic, fixed before any answer is seen.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::key::Commitment;

/// The account set F, with the salt of its commitment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// 32 random bytes as 64 hexadecimal digits: ids could be guessed.
    pub salt: Commitment,
    /// Their ids.
    pub ids: BTreeSet<String>,
}

/// One slot and who asked for it. Known without the key, and before any answer of the suspect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// The slot.
    pub slot: u64,
    /// The period in which it was asked for, such as a week.
    pub period: String,
    /// Requests of each account of F that belonged to the slot, whatever its arm.
    pub campaign: BTreeMap<String, u32>,
    /// Requests of ordinary accounts that belonged to it, whatever its arm.
    pub ordinary: u32,
}

impl Accounts {
    /// SHA-256(`"taggant/1/accounts" ‖ 0x00 ‖ salt ‖ u64le(length of id) ‖ id ‖ …`), ids in the order of their bytes.
    pub fn commitment(&self) -> Commitment {
        let mut hash = Sha256::new();
        hash.update(b"taggant/1/accounts\0");
        hash.update(self.salt.0);
        for id in &self.ids {
            hash.update((id.len() as u64).to_le_bytes());
            hash.update(id.as_bytes());
        }
        Commitment(hash.finalize().into())
    }

    /// SHA-256(`"taggant/1/traffic" ‖ 0x00 ‖ salt ‖ u64le(slot) ‖ u64le(length of period) ‖ period ‖ u32le(ordinary requests) ‖
    /// u64le(number of accounts) ‖ (u64le(length of id) ‖ id ‖ u32le(requests)) … ‖ …`): slots ascending, ids in the order of
    /// their bytes. Which slots are probed is among what it fixes.
    pub fn traffic_commitment<'t>(&self, traffic: impl IntoIterator<Item = &'t Traffic>) -> Commitment {
        let mut slots: Vec<&Traffic> = traffic.into_iter().collect();
        slots.sort_by_key(|traffic| traffic.slot);
        let mut hash = Sha256::new();
        hash.update(b"taggant/1/traffic\0");
        hash.update(self.salt.0);
        let sized = |hash: &mut Sha256, text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        for Traffic { slot, period, campaign, ordinary } in slots {
            hash.update(slot.to_le_bytes());
            sized(&mut hash, period);
            hash.update(ordinary.to_le_bytes());
            hash.update((campaign.len() as u64).to_le_bytes());
            for (id, requests) in campaign {
                sized(&mut hash, id);
                hash.update(requests.to_le_bytes());
            }
        }
        Commitment(hash.finalize().into())
    }
}

impl Traffic {
    /// Whether either arm would have been served up to the cap.
    pub(super) fn is_comparable(&self, cap: u32) -> bool {
        let campaign: u64 = self.campaign.values().map(|requests| u64::from(*requests)).sum();
        campaign >= u64::from(cap) && self.ordinary >= cap
    }
}
