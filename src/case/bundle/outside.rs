//! What a bundle cannot show of itself: that its genesis was published, and its plan deposited, beforehand.
//!
//! Genesis and seal in a bundle agree with the rest of it whoever made them, and whenever. A checker who has the genesis
//! that the operator published, and the sealed plan as it was deposited, compares them.

use super::{Bundle, Check};
use crate::case::plan::SealedPlan;
use crate::key::Genesis;

/// Files that the checker has from elsewhere than the bundle's sender.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// The genesis that the operator published before service.
    pub genesis: Option<Genesis>,
    /// The sealed plan as it was deposited before the first probe.
    pub seal: Option<SealedPlan>,
}

impl Outside {
    /// Compares the bundle with each file; without the file, says what is not shown.
    pub(super) fn compare(&self, bundle: &Bundle) -> [Check; 2] {
        [
            self.genesis.as_ref().map_or_else(no_genesis, |genesis| same_genesis(bundle, genesis)),
            self.seal.as_ref().map_or_else(no_seal, |seal| same_seal(bundle, seal)),
        ]
    }
}

fn same_genesis(bundle: &Bundle, published: &Genesis) -> Check {
    let stated = &bundle.genesis;
    let parts = [
        ("root", stated.root == published.root),
        ("key_id", stated.key_id == published.key_id),
        ("tokenizer_sha256", stated.tokenizer_sha256 == published.tokenizer_sha256),
        ("leaves", stated.leaves == published.leaves),
    ];
    let same = "is the one given by --genesis; when that was published is for whoever published it to show";
    compared("genesis", &parts, same, "is not the one given by --genesis")
}

fn same_seal(bundle: &Bundle, deposited: &SealedPlan) -> Check {
    let parts = [
        ("sha256", bundle.seal.sha256 == deposited.sha256()),
        ("time", bundle.seal.time == deposited.sealed()),
    ];
    let same =
        "is the one given by --seal; its time is the sealing machine's clock, and no time stamp binds it";
    compared("seal", &parts, same, "is not the one given by --seal")
}

/// One check of several fields; where it fails it names those that differ.
fn compared(object: &str, parts: &[(&str, bool)], same: &str, other: &str) -> Check {
    let differing: Vec<&str> = parts.iter().filter(|(_, same)| !same).map(|(field, _)| *field).collect();
    Check::new(
        object,
        differing.is_empty(),
        same,
        &format!("{other}, which differs in {}", differing.join(", ")),
    )
}

fn no_genesis() -> Check {
    Check::unchecked(
        "genesis",
        "not shown: that it was published before service; compare with the operator's published genesis by --genesis",
    )
}

fn no_seal() -> Check {
    Check::unchecked(
        "seal",
        "not shown: that the plan was sealed before the first probe; compare with the deposited plan by --seal. Its time \
         is the sealing machine's clock, and no time stamp binds it",
    )
}
