//! The KGW mark of text-generation-inference (`server/text_generation_server/utils/watermark.py`), made on a CPU.
//!
//! The seed is key × last token, the prompt's last one before the first of the answer; γ and the key come from the
//! environment of the server (`WATERMARK_GAMMA`), the list's size is that of the logits.

use serde::Deserialize;

use super::torch::{Lists, reduced};
use super::{Invalid, Reach, Rng, Seeding};

/// Parameters; `vocab_size` is the width of the logits.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, try_from = "Fields")]
pub(super) struct Kgw {
    key: i64,
    pub(super) lists: Lists,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    hash_key: i64,
    gamma: f64,
    vocab_size: u32,
    #[serde(rename = "rng")]
    _rng: Rng,
}

impl TryFrom<Fields> for Kgw {
    type Error = Invalid;

    fn try_from(fields: Fields) -> Result<Self, Invalid> {
        // Above 2^40 the product could leave 64 bits, and torch would refuse to be seeded.
        if !(0..1 << 40).contains(&fields.hash_key) {
            return Err(Invalid::new("hash_key", "must be 0 to 2^40 - 1"));
        }
        Ok(Self {
            key: fields.hash_key,
            lists: super::lists(fields.vocab_size, ("gamma", fields.gamma), false)?,
        })
    }
}

impl Kgw {
    pub(super) fn is_default_key(&self) -> bool {
        self.key == i64::from(super::MILLIONTH_PRIME)
    }

    pub(super) fn reach(&self) -> Reach {
        Reach::conversation(1)
    }

    pub(super) fn seeding(&self) -> Seeding {
        let key = self.key;
        Box::new(move |window, _| reduced(i128::from(key) * super::last(window, 0)))
    }
}
