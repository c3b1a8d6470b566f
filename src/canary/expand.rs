//! From a slot's number to its sibling set: part of the format, so a book's hash fixes every set.
//!
//! Slot n of a class has the digits of n in the mixed radix of its facets' lengths, the last facet varying fastest. Its
//! siblings are 16 of the class's candidates: ChaCha20 under SHA-256(`"taggant/1/canary-siblings" ‖ 0x00 ‖ class ‖ 0x00 ‖
//! u64le(n)`) gives u64 numbers, low word first; step i = 0 … 15 swaps candidate i with candidate i + r mod (N − i), r the
//! next number below 2⁶⁴ − (2⁶⁴ mod (N − i)). No key enters: siblings exist before one picks.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

use super::SIBLINGS;
use super::family::{Class, Families, Piece, Pieces};
use super::fault::Problem;
use super::set::{Family, Sibling, SiblingSet};
use super::words::phrase_pattern;

/// A class, ready to give any of its slots.
#[derive(Clone, Debug)]
pub(super) struct Expander {
    class: Class,
    /// Facet → value → alternatives.
    values: Vec<Vec<Vec<String>>>,
    candidates: Vec<Sibling>,
}

/// The most slots of a class.
const SLOTS_MAX: u64 = 1 << 28;

impl Expander {
    pub(super) fn new(families: &Families, class: &Class) -> Result<Self, Problem> {
        let owned = |alternatives: Vec<&str>| alternatives.into_iter().map(str::to_owned).collect();
        let values = families.values(class)?;
        let values: Vec<Vec<Vec<String>>> =
            values.into_iter().map(|list| list.into_iter().map(owned).collect()).collect();
        let slots = values.iter().try_fold(1_u64, |slots, list| slots.checked_mul(list.len() as u64));
        if slots.is_none_or(|slots| slots > SLOTS_MAX) {
            return Err(Problem::TooManySlots { class: class.class.clone(), most: SLOTS_MAX });
        }
        Ok(Self { class: class.clone(), values, candidates: families.candidates(&class.siblings)? })
    }

    pub(super) fn class(&self) -> &Class {
        &self.class
    }

    /// All candidates, in the order of the data.
    pub(super) fn candidates(&self) -> &[Sibling] {
        &self.candidates
    }

    /// How many slots the class has.
    pub(super) fn slots(&self) -> u64 {
        self.values.iter().map(|list| list.len() as u64).product()
    }

    /// The slot of one value for each facet.
    pub(super) fn slot_of(&self, values: &[u16]) -> u64 {
        self.values
            .iter()
            .zip(values)
            .fold(0, |slot, (list, value)| slot * list.len() as u64 + u64::from(*value))
    }

    /// The value of each facet of slot `n`.
    fn digits(&self, n: u64) -> Vec<usize> {
        let mut rest = n;
        let mut digits: Vec<usize> = Vec::with_capacity(self.values.len());
        for list in self.values.iter().rev() {
            let length = list.len() as u64;
            digits.push(usize::try_from(rest % length).unwrap_or_default());
            rest /= length;
        }
        digits.reverse();
        digits
    }

    /// Which candidates are the siblings of slot `n`, in their order.
    pub(super) fn chosen(&self, n: u64) -> Vec<usize> {
        let mut hash = Sha256::new();
        hash.update(b"taggant/1/canary-siblings\0");
        hash.update(self.class.class.as_bytes());
        hash.update([0]);
        hash.update(n.to_le_bytes());
        let mut numbers = ChaCha20Rng::from_seed(hash.finalize().into());
        let mut all: Vec<usize> = (0..self.candidates.len()).collect();
        let siblings = SIBLINGS.min(all.len());
        for at in 0..siblings {
            let left = (all.len() - at) as u64;
            let last = u64::MAX - left.wrapping_neg() % left;
            let number = std::iter::repeat_with(|| numbers.next_u64()).find(|number| *number <= last);
            let step = number.map_or(0, |number| number % left);
            all.swap(at, at + usize::try_from(step).unwrap_or_default());
        }
        all.truncate(siblings);
        all
    }

    /// The instruction of slot `n`, with `{sibling}` still in it.
    pub(super) fn steer(&self, n: u64) -> String {
        self.filled(&self.class.steer, &self.digits(n))
    }

    /// Slot `n` as a set of its own, numbered `slot` in the book.
    pub(super) fn set(&self, n: u64, slot: u64) -> SiblingSet {
        let digits = self.digits(n);
        let facet = |(list, digit): (&Vec<Vec<String>>, &usize)| {
            let alternatives: Vec<&str> = list[*digit].iter().map(String::as_str).collect();
            phrase_pattern(&alternatives)
        };
        let facets = self.values.iter().zip(&digits).map(facet);
        SiblingSet {
            slot,
            family: Family::ChoiceSlot,
            class: self.class.class.clone(),
            language: self.class.language.clone(),
            asks: self.class.asks.iter().cloned().chain(facets).collect(),
            prompts: self.class.prompts.iter().map(|prompt| self.filled(prompt, &digits)).collect(),
            steer: self.filled(&self.class.steer, &digits),
            siblings: self.chosen(n).into_iter().map(|at| self.candidates[at].clone()).collect(),
            sampling: None,
        }
    }

    /// A template with its facets filled in.
    fn filled(&self, template: &str, digits: &[usize]) -> String {
        let mut text = String::with_capacity(template.len() + 32);
        for piece in Pieces::of(template) {
            match piece {
                Piece::Text(words) => text.push_str(words),
                Piece::Facet { name, article, alternative } => {
                    let value = self.value(name, digits);
                    let says = value.get(alternative).or_else(|| value.first()).map_or("", String::as_str);
                    if article {
                        text.push_str(if says.starts_with(['a', 'e', 'i', 'o', 'u']) { "an " } else { "a " });
                    }
                    text.push_str(says);
                }
            }
        }
        text
    }

    fn value(&self, facet: &str, digits: &[usize]) -> &[String] {
        let at = self.class.facets.iter().position(|name| name == facet);
        at.map_or(&[], |at| &self.values[at][digits[at]])
    }
}
