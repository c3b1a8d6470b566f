//! Marks of other engines, read-only.
//!
//! A [`Profile`] says which engine marked a text, how it was set up and under which key; a [`Marker`] then gives the
//! generator's input and word for a window and a token, bit for bit as the engine does. Nothing here embeds a mark.
//!
//! # What a draw is
//!
//! These engines hash windows by arithmetic that lets many of them collapse: a product modulo 2⁶⁴, a minimum over a
//! table, 32 bits of state. **The draw is the collapsed input**, [`Input`]: positions with equal inputs show one coin,
//! however different their text. Published detectors count n-grams instead, and reject innocents for it (four repeating
//! tokens under self-hash of width 4: p = 6e-44).
//!
//! # What each law assumes
//!
//! Our own marks rest on HMAC-SHA256. These rest on less; [`Mark::assumes`] says on what, for every output to print. In
//! short: with E the text and all that chose it, and K the key, let c_K be the collapse and F the engine's public
//! generator, so that a word is F(c_K(window, token)). Which positions share a draw is a function of (E, K). *If* F were a
//! random function, unknown to whoever made E and K, its values at distinct inputs would be independent and uniform
//! given (E, K), so S had its stated law although the key chose the grouping. F is a fixed function and the assumption is
//! that it behaves so; no proof exists for Philox, MurmurHash3, mt19937 or a congruential hash. One format needs no such
//! assumption: the table of `transformers`' SynthID has an exact law over uniform keys (`law::Offsets`).
//!
//! # What it can never show
//!
//! There is no path from here to a finding: plans take a [`Spec`](super::Spec), and no foreign mark has one. A default or
//! published key marks everybody's text alike ([`Standing`]), so it never supports P3 about us; a private one was not
//! committed to before service, and anybody who saw enough text can forge the mark.

mod huggingface;
mod lm_watermarking;
mod markllm;
mod profile;
mod sglang;
mod synthid;
mod tgi;
mod torch;
mod vllm;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::law::ForeignLaw;
use crate::token::TokenId;
use torch::Lists;

pub use profile::{Profile, ProfileError};

/// The engine that marked, its set-up and its key.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Mark(Engine);

#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Engine {
    /// SynthID-Text of Google's repository.
    GoogleSynthid(synthid::Google),
    /// KGW of `transformers`.
    HuggingFaceKgw(huggingface::Kgw),
    /// SynthID-Text of `transformers` and of `synthid-text` 0.2.1.
    HuggingFaceSynthid(synthid::HuggingFace),
    /// KGW of lm-watermarking.
    LmWatermarkingKgw(lm_watermarking::Kgw),
    /// KGW of MarkLLM.
    MarkllmKgw(markllm::Kgw),
    /// Gumbel of SGLang.
    SglangGumbel(sglang::Gumbel),
    /// KGW of text-generation-inference.
    TgiKgw(tgi::Kgw),
    /// Gumbel of vLLM.
    VllmGumbel(vllm::Gumbel),
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mark({})", self.engine())
    }
}

impl Mark {
    /// The engine's name in profiles.
    pub fn engine(&self) -> &'static str {
        match &self.0 {
            Engine::GoogleSynthid(_) => "google-synthid",
            Engine::HuggingFaceKgw(_) => "hugging-face-kgw",
            Engine::HuggingFaceSynthid(_) => "hugging-face-synthid",
            Engine::LmWatermarkingKgw(_) => "lm-watermarking-kgw",
            Engine::MarkllmKgw(_) => "markllm-kgw",
            Engine::SglangGumbel(_) => "sglang-gumbel",
            Engine::TgiKgw(_) => "tgi-kgw",
            Engine::VllmGumbel(_) => "vllm-gumbel",
        }
    }

    /// Which positions carry a mark, and by which window. No key is in it.
    pub fn reach(&self) -> Reach {
        match &self.0 {
            Engine::GoogleSynthid(mark) => mark.reach(),
            Engine::HuggingFaceKgw(mark) => mark.reach(),
            Engine::HuggingFaceSynthid(mark) => mark.reach(),
            Engine::LmWatermarkingKgw(mark) => mark.reach(),
            Engine::MarkllmKgw(mark) => mark.reach(),
            Engine::SglangGumbel(mark) => mark.reach(),
            Engine::TgiKgw(mark) => mark.reach(),
            Engine::VllmGumbel(mark) => mark.reach(),
        }
    }

    /// Whether the key is one that the engine's code or documentation gives.
    pub fn is_default_key(&self) -> bool {
        match &self.0 {
            Engine::GoogleSynthid(mark) => mark.is_default_key(),
            Engine::HuggingFaceKgw(mark) => mark.is_default_key(),
            Engine::HuggingFaceSynthid(mark) => mark.is_default_key(),
            Engine::LmWatermarkingKgw(mark) => mark.is_default_key(),
            Engine::MarkllmKgw(mark) => mark.is_default_key(),
            Engine::SglangGumbel(mark) => mark.default_key,
            Engine::TgiKgw(mark) => mark.is_default_key(),
            Engine::VllmGumbel(mark) => mark.default_key,
        }
    }

    /// How many bits of the key make a difference, 128 at most. Of n keys none can make a p below 1/n mean anything: what is
    /// claimed ends at 2^−bits.
    pub fn key_bits(&self) -> u32 {
        match &self.0 {
            Engine::GoogleSynthid(mark) => mark.key_bits(),
            Engine::HuggingFaceKgw(_) | Engine::LmWatermarkingKgw(_) | Engine::MarkllmKgw(_) => 63,
            Engine::HuggingFaceSynthid(mark) => mark.key_bits(),
            Engine::SglangGumbel(mark) => mark.key_bits(),
            // The product's low 32 bits are those of the key's.
            Engine::TgiKgw(_) => 32,
            Engine::VllmGumbel(_) => 64,
        }
    }

    /// What the law under H0 assumes, and what breaks it.
    pub fn assumes(&self) -> &'static str {
        match &self.0 {
            Engine::GoogleSynthid(_) => {
                "twelve rounds of a congruential step make fair independent bits of distinct 64-bit hashes; unproven, and \
                 windows collide regardless of the key where the hash does"
            }
            Engine::HuggingFaceSynthid(_) => {
                "each layer's key is uniform modulo the table's size, and independent of the text: then the law is exact, \
                 whatever the table; keys picked from a small range break it"
            }
            Engine::HuggingFaceKgw(_)
            | Engine::LmWatermarkingKgw(_)
            | Engine::MarkllmKgw(_)
            | Engine::TgiKgw(_) => {
                "mt19937 makes independent green lists of distinct 32-bit seeds, although the seeds of one key are related; \
                 unproven, and the key can be recovered from marked text"
            }
            Engine::SglangGumbel(_) => {
                "MurmurHash3 makes independent words of distinct 32-bit states; unproven: all keys share 2^32 states, and \
                 some pairs of inputs collide under every key"
            }
            Engine::VllmGumbel(_) => {
                "Philox4x32-10 makes independent words of distinct windows and tokens; it is no cryptographic function, \
                 and its key has 64 bits"
            }
        }
    }

    /// The keyed behaviour.
    pub fn open(&self) -> Marker {
        let lists = |lists, seeding| Marker(Kind::Lists(lists, seeding));
        match &self.0 {
            Engine::GoogleSynthid(mark) => Marker(Kind::Google(mark.clone())),
            Engine::HuggingFaceKgw(mark) => lists(mark.lists, mark.seeding()),
            Engine::HuggingFaceSynthid(mark) => Marker(Kind::Table(mark.clone())),
            Engine::LmWatermarkingKgw(mark) => lists(mark.lists, mark.seeding()),
            Engine::MarkllmKgw(mark) => lists(mark.lists, mark.seeding()),
            Engine::SglangGumbel(mark) => Marker(Kind::Sglang(mark.clone())),
            Engine::TgiKgw(mark) => lists(mark.lists, mark.seeding()),
            Engine::VllmGumbel(mark) => Marker(Kind::Vllm(mark.clone())),
        }
    }
}

/// What is known about who has the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// One that the engine's code or documentation gives: whoever changed nothing has it.
    Default,
    /// Anybody can know it: shared, leaked, behind a public detector.
    Published,
    /// Whoever wrote the profile says that nobody else has it. Nothing proves it.
    Private,
}

impl Standing {
    /// Whether a mark under such a key could ever tell one operator's text from another's.
    pub fn tells_operators_apart(self) -> bool {
        self == Self::Private
    }
}

/// Which positions an engine marks, and the window it marks them by: no key is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Tokens before the position.
    pub width: usize,
    /// Where windows begin.
    pub start: Start,
    /// Whether a window may have fewer tokens where the conversation begins; never none.
    pub partial: bool,
    /// Whether a window that comes again in an answer leaves its position unmarked.
    pub once: Once,
    /// So many tokens at the beginning of an answer are unmarked.
    pub skip: usize,
    /// At most so many different windows of an answer mark.
    pub most: Option<usize>,
}

impl Reach {
    /// Full windows over prompt and answer, every time they occur: KGW's.
    fn conversation(width: usize) -> Self {
        Self { width, start: Start::Conversation, partial: false, once: Once::Never, skip: 0, most: None }
    }
}

/// Where windows begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the answer, which `pad` fills up in front.
    Answer {
        /// What stands in for tokens before the answer.
        pad: TokenId,
    },
    /// With the prompt.
    Conversation,
}

/// Whether a window marks once in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once {
    /// Every occurrence is marked.
    Never,
    /// Not again within so many positions; none: never again.
    Within(Option<u32>),
}

/// One input of an engine's generator, after everything has collapsed that the engine lets collapse: one draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Input {
    /// Which of two keys, counted from 0.
    pub key: u8,
    /// A seed, a state or a hash.
    pub state: u128,
    /// The token where the state does not have it in it; else 0.
    pub token: TokenId,
}

/// A green list's seed, by window and token.
type Seeding = Box<dyn Fn(&[TokenId], TokenId) -> u32 + Send + Sync>;

/// A mark under its key.
pub struct Marker(Kind);

enum Kind {
    Google(synthid::Google),
    Lists(Lists, Seeding),
    Sglang(sglang::Gumbel),
    Table(synthid::HuggingFace),
    Vllm(vllm::Gumbel),
}

impl fmt::Debug for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Marker(..)")
    }
}

/// A public table that a key reads from one offset a layer.
#[derive(Clone, Debug)]
pub struct Table {
    /// The bits, by residue + offset.
    pub bits: Vec<bool>,
    /// The key's offset of each layer.
    pub offsets: Vec<u32>,
}

impl Marker {
    /// The law of each draw; none for a table, whose layers are draws of another kind.
    pub fn law(&self) -> Option<ForeignLaw> {
        match &self.0 {
            Kind::Google(_) => Some(ForeignLaw::Fair),
            Kind::Lists(lists, _) => Some(ForeignLaw::Listed(lists.rate())),
            Kind::Sglang(_) | Kind::Vllm(_) => Some(ForeignLaw::Exponential),
            Kind::Table(_) => None,
        }
    }

    /// The draws that `token` after `window` shows: none where its id is beyond the vocabulary of a list. Of a table the
    /// residue, which is the state of one input.
    pub fn inputs(&self, window: &[TokenId], token: TokenId) -> Vec<Input> {
        match &self.0 {
            Kind::Google(mark) => mark.inputs(window, token),
            Kind::Lists(lists, seeding) if token < lists.vocabulary() => {
                vec![Input { key: 0, state: seeding(window, token).into(), token }]
            }
            Kind::Lists(..) => Vec::new(),
            Kind::Sglang(mark) => mark.inputs(window, token),
            Kind::Table(mark) => {
                vec![Input { key: 0, state: mark.residue(window, token).into(), token: 0 }]
            }
            Kind::Vllm(mark) => mark.inputs(window, token),
        }
    }

    /// The words of sorted `inputs`: 0 or 1 for lists and bits, 32 bits for a race. Each list is made once.
    pub fn words(&self, inputs: &[&Input]) -> Vec<u32> {
        match &self.0 {
            Kind::Google(_) => inputs.iter().map(|input| synthid::Google::word(input)).collect(),
            Kind::Lists(lists, _) => {
                let mut order = Vec::new();
                let mut of_seed = |inputs: &[&Input]| {
                    let seed = u32::try_from(inputs[0].state).unwrap_or(0);
                    lists.are_green(&mut order, seed, inputs.iter().map(|input| input.token))
                };
                let seeds = inputs.chunk_by(|a, b| a.state == b.state);
                seeds.flat_map(&mut of_seed).map(u32::from).collect()
            }
            Kind::Sglang(mark) => inputs.iter().map(|input| mark.word(input)).collect(),
            Kind::Table(_) => vec![0; inputs.len()],
            Kind::Vllm(mark) => inputs.iter().map(|input| mark.word(input)).collect(),
        }
    }

    /// How many tokens of one list may be counted: as many entries as its last step leaves. Without lists there is no limit.
    pub fn most(&self) -> usize {
        match &self.0 {
            Kind::Lists(lists, _) => lists.left() as usize,
            Kind::Google(_) | Kind::Sglang(_) | Kind::Table(_) | Kind::Vllm(_) => usize::MAX,
        }
    }

    /// The table, where the mark is one.
    pub fn table(&self) -> Option<Table> {
        match &self.0 {
            Kind::Table(mark) => Some(Table { bits: mark.bits(), offsets: mark.offsets() }),
            Kind::Google(_) | Kind::Lists(..) | Kind::Sglang(_) | Kind::Vllm(_) => None,
        }
    }
}

/// A parameter that no engine could have run with, or that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field \"{field}\": {what}")]
pub struct Invalid {
    field: &'static str,
    what: String,
}

impl Invalid {
    fn new(field: &'static str, what: &str) -> Self {
        Self { field, what: what.to_owned() }
    }
}

/// Where the engine drew its randomness. CUDA's generator makes other lists, which nothing here re-derives.
#[derive(Clone, Copy, Debug, Deserialize)]
enum Rng {
    #[serde(rename = "torch-cpu")]
    TorchCpu,
}

/// A number or null, but there: serde takes a field that is missing for null.
fn nullable<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Option::deserialize(deserializer)
}

/// The key that the KGW packages come with.
const MILLIONTH_PRIME: u32 = 15_485_863;

fn width(field: &'static str, width: u8, least: u8, most: u8) -> Result<u8, Invalid> {
    if (least..=most).contains(&width) {
        Ok(width)
    } else {
        Err(Invalid::new(field, &format!("must be {least} to {most}, not {width}")))
    }
}

fn lists(vocabulary: u32, gamma: (&'static str, f64), last: bool) -> Result<Lists, Invalid> {
    let (field, share) = gamma;
    let what = "times \"vocab_size\" must leave at least one green and one other token, of at most 2^24";
    Lists::new(vocabulary, share, last).ok_or_else(|| Invalid::new(field, what))
}

/// The window's token so far back, 0 the last one; 0 where there is none.
fn last(window: &[TokenId], back: usize) -> i128 {
    window.iter().rev().nth(back).copied().unwrap_or(0).into()
}
