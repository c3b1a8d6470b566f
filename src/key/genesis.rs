//! Genesis: what the operator publishes before service, so that no opened key can have been invented later.

use std::collections::HashMap;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{InclusionProof, RootHash};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use sha2::digest::Output;

use super::{
    Commitment, Epoch, EpochKey, KeyId, Label, SchemeKey, Secret, epoch_commitment, label_commitment,
};

const FORMAT: &str = "taggant-genesis/1";
const OPENING_FORMAT: &str = "taggant-opening/1";

/// Commitments of every epoch key and label key that may ever be opened, under one RFC 6962 root.
///
/// Leaf data are the 32 commitment bytes; each epoch in file order, then its labels. A key without a leaf can be
/// explored, never confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    format: String,
    /// The secret's identity.
    pub key_id: KeyId,
    /// SHA-256 of the tokenizer that the token ids belong to.
    pub tokenizer_sha256: Commitment,
    /// The committed keys, in tree order.
    pub leaves: Vec<Leaf>,
    /// RFC 6962 root over the leaves' commitments.
    pub root: Commitment,
}

/// One committed key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// The epoch.
    pub epoch: Epoch,
    /// The label, or none for the epoch key itself.
    pub label: Option<Label>,
    /// The commitment to the key.
    pub commitment: Commitment,
}

/// A key handed over, with the proof that it was committed to.
///
/// From then on anyone who holds it can forge the mark: what it is to prove must have been acquired before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    format: String,
    /// The epoch.
    pub epoch: Epoch,
    /// The label, or none where the epoch key itself is opened.
    pub label: Option<Label>,
    /// The 32 bytes of the key.
    pub key: Commitment,
    /// The leaf's position in the tree, from 0.
    pub index: u64,
    /// The number of leaves.
    pub leaves: u64,
    /// RFC 6962 inclusion path, from the leaf's sibling upwards.
    pub inclusion: Vec<Commitment>,
}

impl Genesis {
    /// Commits to every key of `plan`: the epochs in order, each with the labels that may be opened.
    pub fn new(secret: &Secret, tokenizer_sha256: [u8; 32], plan: &[(Epoch, Vec<Label>)]) -> Self {
        let leaves: Vec<Leaf> =
            plan.iter().flat_map(|(epoch, labels)| leaves(secret, epoch, labels)).collect();
        Self {
            format: FORMAT.to_owned(),
            key_id: secret.commitment().key_id(),
            tokenizer_sha256: Commitment(tokenizer_sha256),
            root: root_of(&leaves),
            leaves,
        }
    }

    /// Reads a genesis and recomputes its root.
    ///
    /// # Errors
    /// Malformed JSON, another format, or a root that does not belong to the leaves.
    pub fn from_json(json: &str) -> Result<Self, GenesisError> {
        let genesis: Self = serde_json::from_str(json).map_err(GenesisError::Json)?;
        check_format(&genesis.format, FORMAT)?;
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = genesis.leaves.iter().find(|leaf| !seen.insert((&leaf.epoch, &leaf.label))) {
            return Err(GenesisError::Twice(describe(&twice.epoch, twice.label.as_ref())));
        }
        if root_of(&genesis.leaves) == genesis.root { Ok(genesis) } else { Err(GenesisError::Root) }
    }

    /// Opens the key of `label`, or of the whole `epoch` where there is no label.
    ///
    /// # Errors
    /// The secret is another one, or the key was never committed to.
    pub fn open(
        &self,
        secret: &Secret,
        epoch: &Epoch,
        label: Option<&Label>,
    ) -> Result<Opening, GenesisError> {
        let mut openings = self.open_all(secret, [(epoch, label)])?;
        openings.pop().ok_or_else(|| GenesisError::NotCommitted(describe(epoch, label)))
    }

    /// Opens several keys, in their order: of thousands of canary slots the tree is built once.
    ///
    /// # Errors
    /// As [`Genesis::open`].
    pub fn open_all<'a>(
        &self,
        secret: &Secret,
        keys: impl IntoIterator<Item = (&'a Epoch, Option<&'a Label>)>,
    ) -> Result<Vec<Opening>, GenesisError> {
        if secret.commitment().key_id() != self.key_id {
            return Err(GenesisError::OtherSecret(self.key_id.clone()));
        }
        let tree = tree(&self.leaves);
        let places: HashMap<(&Epoch, Option<&Label>), usize> = self
            .leaves
            .iter()
            .enumerate()
            .map(|(index, leaf)| ((&leaf.epoch, leaf.label.as_ref()), index))
            .collect();
        let open = |(epoch, label): (&'a Epoch, Option<&'a Label>)| {
            let epoch_key = secret.epoch_key(epoch);
            let (key, commitment) = match label {
                None => (*epoch_key.hazmat_bytes(), epoch_key.commitment()),
                Some(label) => {
                    let key = epoch_key.scheme_key(label);
                    (*key.hazmat_bytes(), key.commitment())
                }
            };
            let index = places.get(&(epoch, label)).copied();
            let index = index.filter(|index| self.leaves[*index].commitment == commitment);
            index
                .map(|index| self.opening(&tree, index, key))
                .ok_or_else(|| GenesisError::NotCommitted(describe(epoch, label)))
        };
        keys.into_iter().map(open).collect()
    }

    /// Checks an opening against this genesis: its leaf is the one listed for its epoch and label, and its key is the one
    /// committed to there. Gives the label key (none where an epoch key was opened).
    ///
    /// # Errors
    /// Another leaf, or another key.
    pub fn verify(&self, opening: &Opening) -> Result<Option<SchemeKey>, GenesisError> {
        let leaf = usize::try_from(opening.index).ok().and_then(|index| self.leaves.get(index));
        let listed = leaf.is_some_and(|leaf| leaf.epoch == opening.epoch && leaf.label == opening.label);
        if !listed || opening.leaves != self.leaves.len() as u64 {
            return Err(GenesisError::NotIncluded(describe(&opening.epoch, opening.label.as_ref())));
        }
        opening.verify(&self.root)
    }

    fn opening(&self, tree: &Tree, index: usize, key: [u8; 32]) -> Opening {
        let proof = tree.prove_inclusion(index);
        let path = proof.as_bytes().chunks_exact(32).filter_map(|node| node.try_into().ok().map(Commitment));
        Opening {
            format: OPENING_FORMAT.to_owned(),
            epoch: self.leaves[index].epoch.clone(),
            label: self.leaves[index].label.clone(),
            key: Commitment(key),
            index: index as u64,
            leaves: self.leaves.len() as u64,
            inclusion: path.collect(),
        }
    }
}

impl Opening {
    /// Reads an opening; [`Opening::verify`] checks it.
    ///
    /// # Errors
    /// Malformed JSON or another format.
    pub fn from_json(json: &str) -> Result<Self, GenesisError> {
        let opening: Self = serde_json::from_str(json).map_err(GenesisError::Json)?;
        check_format(&opening.format, OPENING_FORMAT)?;
        Ok(opening)
    }

    /// Recomputes the commitment from the key and its inclusion under `root`, and gives the opened label key
    /// (none where the epoch key was opened).
    ///
    /// # Errors
    /// Another format, or the key is not the one that was committed to.
    pub fn verify(&self, root: &Commitment) -> Result<Option<SchemeKey>, GenesisError> {
        check_format(&self.format, OPENING_FORMAT)?;
        let commitment = match &self.label {
            None => epoch_commitment(&self.epoch, &self.key.0),
            Some(label) => label_commitment(&self.epoch, label, &self.key.0),
        };
        let path: Vec<Output<Sha256>> = self.inclusion.iter().map(|node| node.0.into()).collect();
        let root = RootHash::<Sha256>::new(root.0.into(), self.leaves);
        root.verify_inclusion(&commitment.0, self.index, &InclusionProof::from_digests(&path))
            .map_err(|_| GenesisError::NotIncluded(describe(&self.epoch, self.label.as_ref())))?;
        Ok(self.label.as_ref().map(|label| SchemeKey::new(self.epoch.clone(), label.clone(), self.key.0)))
    }

    /// The opened epoch key, where the whole epoch was opened.
    pub fn epoch_key(&self) -> Option<EpochKey> {
        self.label.is_none().then(|| EpochKey { epoch: self.epoch.clone(), key: self.key.0 })
    }
}

/// Why a genesis or an opening is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenesisError {
    /// Not the JSON of this format.
    #[error("not a genesis or opening file: {0}")]
    Json(serde_json::Error),
    /// Another format, or a later version of it.
    #[error("format {found:?} is not {expected:?}")]
    Format {
        /// The format found.
        found: String,
        /// The format this version reads.
        expected: &'static str,
    },
    /// The root does not belong to the leaves.
    #[error("the root does not belong to the leaves: the file was changed")]
    Root,
    /// The secret is not the one behind this genesis.
    #[error("this genesis belongs to key {0}, not to the key file given")]
    OtherSecret(KeyId),
    /// No leaf commits to the key.
    #[error("{0} has no leaf in this genesis: it can be explored, never confirmed")]
    NotCommitted(String),
    /// Two leaves for one epoch and label: the one that fits could be opened.
    #[error("{0} has two leaves: a genesis commits to one key for each")]
    Twice(String),
    /// The inclusion proof fails.
    #[error("{0}: the opened key is not under this root; it is not the key that was committed to")]
    NotIncluded(String),
}

fn leaves(secret: &Secret, epoch: &Epoch, labels: &[Label]) -> Vec<Leaf> {
    let key = secret.epoch_key(epoch);
    let leaf = |label: Option<Label>, commitment| Leaf { epoch: epoch.clone(), label, commitment };
    let of_label = |label: &Label| leaf(Some(label.clone()), key.scheme_key(label).commitment());
    std::iter::once(leaf(None, key.commitment())).chain(labels.iter().map(of_label)).collect()
}

/// The commitments of all leaves.
type Tree = MemoryBackedTree<Sha256, [u8; 32]>;

fn tree(leaves: &[Leaf]) -> Tree {
    let mut tree = MemoryBackedTree::new();
    for leaf in leaves {
        tree.push(leaf.commitment.0);
    }
    tree
}

fn root_of(leaves: &[Leaf]) -> Commitment {
    Commitment((*tree(leaves).root().as_bytes()).into())
}

fn check_format(found: &str, expected: &'static str) -> Result<(), GenesisError> {
    if found == expected { Ok(()) } else { Err(GenesisError::Format { found: found.to_owned(), expected }) }
}

fn describe(epoch: &Epoch, label: Option<&Label>) -> String {
    match label {
        None => format!("epoch {epoch}"),
        Some(label) => format!("label {label} of epoch {epoch}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn genesis() -> (Secret, Epoch, Label, Genesis) {
        let secret = Secret::from_bytes([7; 32]);
        let (epoch, label): (Epoch, Label) =
            ("2026-q4".parse().unwrap(), "green/1/w1/b2/t1".parse().unwrap());
        let genesis = Genesis::new(&secret, [1; 32], &[(epoch.clone(), vec![label.clone()])]);
        (secret, epoch, label, genesis)
    }

    #[test]
    fn an_invented_key_fails_however_consistent_the_rest_is() {
        let (secret, epoch, label, genesis) = genesis();
        let mut opening = genesis.open(&secret, &epoch, Some(&label)).unwrap();
        assert!(opening.verify(&genesis.root).is_ok());
        opening.key = Commitment([9; 32]);
        assert!(matches!(opening.verify(&genesis.root), Err(GenesisError::NotIncluded(_))));
    }

    #[test]
    fn an_opening_is_the_leaf_that_the_genesis_lists_and_no_label_has_two() {
        let (secret, epoch, label, mut genesis) = genesis();
        let opening = genesis.open(&secret, &epoch, Some(&label)).unwrap();
        assert!(genesis.verify(&opening).unwrap().is_some());
        genesis.leaves[1].label = Some("gumbel/1/w4".parse().unwrap());
        assert!(matches!(genesis.verify(&opening), Err(GenesisError::NotIncluded(_))));
        genesis.leaves[1].label = None;
        let json = serde_json::to_string(&genesis).unwrap();
        assert!(matches!(Genesis::from_json(&json), Err(GenesisError::Twice(_))));
    }

    #[test]
    fn only_committed_keys_open() {
        let (secret, epoch, _, genesis) = genesis();
        let other: Label = "green/1/w2/b2/t1".parse().unwrap();
        assert!(matches!(genesis.open(&secret, &epoch, Some(&other)), Err(GenesisError::NotCommitted(_))));
        let stranger = Secret::from_bytes([8; 32]);
        assert!(matches!(genesis.open(&stranger, &epoch, None), Err(GenesisError::OtherSecret(_))));
    }

    #[test]
    fn a_changed_leaf_is_noticed() {
        let (_, _, _, genesis) = genesis();
        let json = serde_json::to_string(&genesis).unwrap();
        assert_eq!(Genesis::from_json(&json).unwrap(), genesis);
        let changed = json.replace("2026-q4\",\"label\":null", "2026-q3\",\"label\":null");
        assert_ne!(changed, json);
        // The epoch's name is not in the leaf: the commitment is, and the key opened for another epoch fails there.
        let digit = json.replacen(&genesis.leaves[0].commitment.to_string()[..8], "00000000", 1);
        assert!(matches!(Genesis::from_json(&digit), Err(GenesisError::Root)));
    }
}
