//! Public randomness in an epoch's name: a key that could not have been picked to fit anything.
//!
//! Whoever chooses a secret can try many, and keep the one under which a rival's text looks marked. So the operator commits
//! to the secret, waits for a round of a public beacon that nobody could predict, and puts it into the epoch string:
//! `name@<chain>:<round>:<randomness>`. Every key of the epoch derives from that string, so every pick, plant, arm and cohort
//! does. What is left to check is the order: commitment, round, first answer served.
//!
//! The chain known here is drand's *quicknet* (League of Entropy; unchained rounds every three seconds, BLS signatures on G1,
//! RFC 9380; chain hash 52db9ba7…e971). A round's randomness is the SHA-256 of its signature, and the feature `beacon` checks
//! the signature itself.

use std::fmt;

use sha2::{Digest, Sha256};

use super::{Commitment, Epoch};

/// The name of drand's quicknet in epoch strings.
pub const QUICKNET: &str = "quicknet";

/// Quicknet's first round, in seconds since 1970, and the seconds between rounds.
const QUICKNET_GENESIS: u64 = 1_692_803_367;
const QUICKNET_PERIOD: u64 = 3;

/// Quicknet's public key, a compressed point of G2.
#[cfg(feature = "beacon")]
const QUICKNET_KEY: &str = "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a";

/// One round of a public beacon, as an epoch's name ends in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// The chain, such as [`QUICKNET`].
    pub chain: String,
    /// The round's number.
    pub number: u64,
    /// Its 32 bytes.
    pub randomness: Commitment,
}

/// What is wrong with a round.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BeaconError {
    /// An epoch that has an `@` without a round behind it.
    #[error("{0:?} ends in no round; write name@<chain>:<round>:<64 hexadecimal digits>")]
    Form(String),
    /// A chain whose rounds are not known here.
    #[error("nothing is known of the chain {0:?}; quicknet can be checked")]
    Chain(String),
    /// A signature that is not this round's.
    #[error("the signature is not that of round {0}")]
    Signature(u64),
    /// The randomness is not the hash of the signature.
    #[error("the randomness of round {0} is not the SHA-256 of its signature")]
    Randomness(u64),
    /// The secret or the book was committed to when the round was public already.
    #[error(
        "round {round} was public at {published} and the commitment is of {committed}: it could have been chosen to fit"
    )]
    Late {
        /// The round.
        round: u64,
        /// When it was published, in seconds since 1970.
        published: u64,
        /// When the commitment was made.
        committed: u64,
    },
    /// Service began before the round.
    #[error("round {round} was public at {published}, and answers were served from {served} on")]
    Early {
        /// The round.
        round: u64,
        /// When it was published, in seconds since 1970.
        published: u64,
        /// When service began.
        served: u64,
    },
}

impl Epoch {
    /// The round that the name ends in; none without an `@`.
    ///
    /// # Errors
    /// An `@` with no round behind it.
    pub fn round(&self) -> Result<Option<Round>, BeaconError> {
        let Some((_, ending)) = self.as_str().rsplit_once('@') else {
            return Ok(None);
        };
        let malformed = || BeaconError::Form(self.as_str().to_owned());
        let [chain, number, randomness] = ending.split(':').collect::<Vec<_>>()[..] else {
            return Err(malformed());
        };
        let plain =
            !chain.is_empty() && !number.starts_with('0') && number.chars().all(|c| c.is_ascii_digit());
        let number: u64 = number.parse().ok().filter(|_| plain).ok_or_else(malformed)?;
        let lower = !randomness.chars().any(|c| c.is_ascii_uppercase());
        let randomness = randomness.parse().ok().filter(|_| lower).ok_or_else(malformed)?;
        Ok(Some(Round { chain: chain.to_owned(), number, randomness }))
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.chain, self.number, self.randomness)
    }
}

impl Round {
    /// When the round became public, in seconds since 1970.
    ///
    /// # Errors
    /// An unknown chain.
    pub fn published(&self) -> Result<u64, BeaconError> {
        if self.chain == QUICKNET {
            Ok(QUICKNET_GENESIS.saturating_add(self.number.saturating_sub(1).saturating_mul(QUICKNET_PERIOD)))
        } else {
            Err(BeaconError::Chain(self.chain.clone()))
        }
    }

    /// Whether the commitment (to secret and book) came before the round, and service after it. Times in seconds since 1970;
    /// that of the commitment is its time stamp's, not the operator's word.
    ///
    /// # Errors
    /// An unknown chain, or the wrong order.
    pub fn check_order(&self, committed: u64, served: u64) -> Result<(), BeaconError> {
        let (published, round) = (self.published()?, self.number);
        if committed >= published {
            return Err(BeaconError::Late { round, published, committed });
        }
        if served < published {
            return Err(BeaconError::Early { round, published, served });
        }
        Ok(())
    }

    /// Whether the randomness is the SHA-256 of `signature`. That `signature` is the beacon's needs [`Round::verify`].
    ///
    /// # Errors
    /// Another hash.
    pub fn check_hash(&self, signature: &[u8]) -> Result<(), BeaconError> {
        let hash: [u8; 32] = Sha256::digest(signature).into();
        if hash == self.randomness.0 { Ok(()) } else { Err(BeaconError::Randomness(self.number)) }
    }

    /// Whether `signature` is the beacon's for this round (BLS12-381), and the randomness its hash.
    ///
    /// # Errors
    /// An unknown chain, another signature or hash.
    #[cfg(feature = "beacon")]
    pub fn verify(&self, signature: &[u8]) -> Result<(), BeaconError> {
        use drand_verify::{G2PubkeyRfc, Pubkey};

        if self.chain != QUICKNET {
            return Err(BeaconError::Chain(self.chain.clone()));
        }
        self.check_hash(signature)?;
        let key = hex::decode(QUICKNET_KEY).ok().and_then(|key| G2PubkeyRfc::from_variable(&key).ok());
        let valid = key.and_then(|key| key.verify(self.number, &[], signature).ok());
        if valid == Some(true) { Ok(()) } else { Err(BeaconError::Signature(self.number)) }
    }
}
