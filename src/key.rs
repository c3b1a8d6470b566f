//! Secret → epoch key → scheme key: who holds what, and what each key is committed to.
//!
//! ```text
//! secret ──Expand("taggant/1/epoch/" + epoch)──▶ epoch key ──Expand(label)──▶ scheme key ──HMAC(window)──▶ seed
//!    │                                              │                            │
//!    └ commitment, key id                           └ epoch commitment           └ label commitment   (genesis)
//! ```
//!
//! The commitment of the secret is an identity only; what binds an opened key is its leaf in the [`Genesis`].

mod beacon;
mod chacha;
mod file;
mod genesis;
mod many;
mod pick;
pub mod prf;
mod scattered;

use std::fmt;
use std::str::FromStr;

use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use beacon::{BeaconError, QUICKNET, Round};
pub use file::{KeyFile, KeyFileError};
pub use genesis::{Genesis, GenesisError, Leaf, Opening};
use prf::WindowPrf;

/// Thirty-two bytes from the system's generator; never a passphrase, because its public commitment would
/// let anyone test guesses. Has no `Display` and no `Serialize`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A secret from 32 uniformly random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A secret from 64 hexadecimal digits.
    ///
    /// # Errors
    /// Other characters, or another length.
    pub fn from_hex(digits: &str) -> Result<Self, HexError> {
        Ok(Self(hex32(digits)?))
    }

    /// The secret's hexadecimal digits, for the one place that must write them: a key file.
    pub fn hazmat_to_hex(&self) -> zeroize::Zeroizing<String> {
        zeroize::Zeroizing::new(hex::encode(self.0))
    }

    /// SHA-256(`"taggant/1/commitment" ‖ 0x00 ‖ secret`): names the secret, proves nothing about an opened key.
    pub fn commitment(&self) -> Commitment {
        Commitment(digest(&[b"taggant/1/commitment\0", &self.0]))
    }

    /// The key that holds for one epoch.
    pub fn epoch_key(&self, epoch: &Epoch) -> EpochKey {
        EpochKey { epoch: epoch.clone(), key: expand(&self.0, &format!("taggant/1/epoch/{epoch}")) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

/// A SHA-256 value that commits to a key or names a secret. Prints as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Commitment(pub [u8; 32]);

impl Commitment {
    /// The first 16 hexadecimal digits.
    pub fn key_id(&self) -> KeyId {
        KeyId(hex::encode(&self.0[..8]))
    }
}

impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commitment({self})")
    }
}

impl FromStr for Commitment {
    type Err = HexError;

    fn from_str(digits: &str) -> Result<Self, HexError> {
        Ok(Self(hex32(digits)?))
    }
}

impl TryFrom<String> for Commitment {
    type Error = HexError;

    fn try_from(digits: String) -> Result<Self, HexError> {
        digits.parse()
    }
}

impl From<Commitment> for String {
    fn from(commitment: Commitment) -> Self {
        commitment.to_string()
    }
}

/// The first 16 hexadecimal digits of a secret's commitment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(String);

impl FromStr for KeyId {
    type Err = KeyIdError;

    /// One id has one spelling: rule 2 of validity compares them.
    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let lower_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        if text.len() != 16 || !text.chars().all(lower_hex) {
            return Err(KeyIdError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyIdError;

    fn try_from(text: String) -> Result<Self, KeyIdError> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.0
    }
}

/// What is no key id.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no key id: 16 lower-case hexadecimal digits, as `taggant key show` prints them")]
pub struct KeyIdError(String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The operator's name for one period of service: 1 to 128 characters of `[A-Za-z0-9._:@-]`.
///
/// It may end in `@<beacon chain>:<round>:<randomness>`, a public round drawn after the secret's commitment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Epoch(String);

impl Epoch {
    /// The string itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Epoch {
    type Err = EpochError;

    fn from_str(text: &str) -> Result<Self, EpochError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._:@-".contains(c);
        if text.is_empty() || text.len() > 128 || !text.chars().all(allowed) {
            return Err(EpochError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Epoch {
    type Error = EpochError;

    fn try_from(text: String) -> Result<Self, EpochError> {
        text.parse()
    }
}

impl From<Epoch> for String {
    fn from(epoch: Epoch) -> Self {
        epoch.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An epoch name outside `[A-Za-z0-9._:@-]{1,128}`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an epoch is 1 to 128 characters of A-Z a-z 0-9 . _ : @ -, not {0:?}")]
pub struct EpochError(String);

/// What a scheme key is for: ASCII `[a-z0-9/]`, 1 to 1,024 characters, no empty part.
///
/// Whether the text is the canonical label of a scheme is for that scheme's parser to say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

impl Label {
    /// A label from text that is known to be one.
    pub(crate) fn known(text: String) -> Self {
        Self(text)
    }

    /// The string itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This label with `/vocab/<first 16 hexadecimal digits of the tokenizer's SHA-256>` appended: for a secret
    /// that is used with a second vocabulary.
    #[must_use]
    pub fn vocabulary(&self, tokenizer_sha256: &[u8; 32]) -> Self {
        Self(format!("{}/vocab/{}", self.0, hex::encode(&tokenizer_sha256[..8])))
    }

    /// This label with `/for/<audience>/<hexadecimal SHA-256 of id>` appended.
    #[must_use]
    pub fn audience(&self, audience: Audience, id: &str) -> Self {
        Self(format!("{}/for/{audience}/{}", self.0, hex::encode(digest(&[id.as_bytes()]))))
    }

    /// This label with `/arm/<arm>` appended.
    #[must_use]
    pub fn arm(&self, arm: u8) -> Self {
        Self(format!("{}/arm/{arm}", self.0))
    }

    /// This label with `/plant` appended: whether a canary is planted at all.
    #[must_use]
    pub fn plant(&self) -> Self {
        Self(format!("{}/plant", self.0))
    }

    /// This label with `/arm` appended: whom a canary is served to.
    #[must_use]
    pub fn arm_of_canary(&self) -> Self {
        Self(format!("{}/arm", self.0))
    }

    /// This label with `/part/<part>` appended.
    #[must_use]
    pub fn part(&self, part: u8) -> Self {
        Self(format!("{}/part/{part}", self.0))
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '/';
        let whole = !text.is_empty() && text.len() <= 1024 && text.chars().all(allowed);
        if !whole || text.split('/').any(str::is_empty) {
            return Err(LabelError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Label {
    type Error = LabelError;

    fn try_from(text: String) -> Result<Self, LabelError> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A label with characters outside `[a-z0-9/]`, an empty part, or a wrong length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a label is parts of a-z and 0-9 joined by single slashes, not {0:?}")]
pub struct LabelError(String);

/// Who a separate key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// One account, in what is picked for it alone.
    Account,
    /// One campaign of harvesting accounts.
    Campaign,
    /// One of at most 16 live groups of accounts.
    Cohort,
    /// One customer.
    Tenant,
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "account",
            Self::Campaign => "campaign",
            Self::Cohort => "cohort",
            Self::Tenant => "tenant",
        })
    }
}

/// The key of one epoch, from which every scheme key of that epoch derives.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct EpochKey {
    #[zeroize(skip)]
    epoch: Epoch,
    key: [u8; 32],
}

impl EpochKey {
    /// The epoch.
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// The key of one label under this epoch.
    pub fn scheme_key(&self, label: &Label) -> SchemeKey {
        SchemeKey::new(self.epoch.clone(), label.clone(), expand(&self.key, label.as_str()))
    }

    /// SHA-256(`"taggant/1/epoch-commitment" ‖ 0x00 ‖ u32le(len) ‖ epoch ‖ epoch key`).
    pub fn commitment(&self) -> Commitment {
        epoch_commitment(&self.epoch, &self.key)
    }

    /// The key itself. Handing it over opens every label of the epoch.
    pub fn hazmat_bytes(&self) -> &[u8; 32] {
        &self.key
    }
}

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EpochKey({}, ..)", self.epoch)
    }
}

/// The key of one label in one epoch: makes the seeds of windows, or the one number of a canary, and nothing else.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SchemeKey {
    #[zeroize(skip)]
    epoch: Epoch,
    #[zeroize(skip)]
    label: Label,
    key: [u8; 32],
}

impl SchemeKey {
    /// A scheme key from its 32 bytes, as an [`Opening`] hands it over.
    pub fn new(epoch: Epoch, label: Label, key: [u8; 32]) -> Self {
        Self { epoch, label, key }
    }

    /// The epoch the key belongs to.
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// The label the key belongs to.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// SHA-256(`"taggant/1/label-commitment" ‖ 0x00 ‖ u32le(len) ‖ epoch ‖ u32le(len) ‖ label ‖ scheme key`).
    pub fn commitment(&self) -> Commitment {
        label_commitment(&self.epoch, &self.label, &self.key)
    }

    /// The function from windows to seeds.
    pub fn prf(&self) -> WindowPrf {
        WindowPrf::new(&self.key)
    }

    /// The key itself. Handing it over lets anyone forge this label's mark.
    pub fn hazmat_bytes(&self) -> &[u8; 32] {
        &self.key
    }
}

impl fmt::Debug for SchemeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SchemeKey({}, {}, ..)", self.epoch, self.label)
    }
}

/// Text that is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits (32 bytes), found {digits} characters")]
pub struct HexError {
    /// The number of characters found.
    pub digits: usize,
}

fn epoch_commitment(epoch: &Epoch, key: &[u8; 32]) -> Commitment {
    Commitment(digest(&[
        b"taggant/1/epoch-commitment\0",
        &length(epoch.as_str()),
        epoch.as_str().as_bytes(),
        key,
    ]))
}

fn label_commitment(epoch: &Epoch, label: &Label, key: &[u8; 32]) -> Commitment {
    Commitment(digest(&[
        b"taggant/1/label-commitment\0",
        &length(epoch.as_str()),
        epoch.as_str().as_bytes(),
        &length(label.as_str()),
        label.as_str().as_bytes(),
        key,
    ]))
}

/// `u32le(len)`; epochs and labels are at most 1,024 bytes long.
fn length(text: &str) -> [u8; 4] {
    u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// HKDF-Expand-SHA256 (RFC 5869 §2.3) of 32 uniform bytes, 32 bytes out.
fn expand(key: &[u8; 32], info: &str) -> [u8; 32] {
    let mut out = [0; 32];
    #[expect(clippy::expect_used, reason = "32 bytes are enough for a PRK and few enough to expand")]
    Hkdf::<Sha256>::from_prk(key)
        .and_then(|hkdf| hkdf.expand(info.as_bytes(), &mut out).map_err(|_| hkdf::InvalidPrkLength))
        .expect("HKDF-Expand takes and gives 32 bytes");
    out
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn hex32(digits: &str) -> Result<[u8; 32], HexError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| HexError { digits: digits.chars().count() })?;
    Ok(bytes)
}
