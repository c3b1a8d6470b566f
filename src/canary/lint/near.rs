//! Near duplicates as training pipelines remove them: MinHash signatures, banded so that likely pairs meet.
//!
//! A text is the set of its runs of five words. Of each of 128 hash functions the smallest value over the set is kept; two
//! texts agree in a share of them that estimates their Jaccard similarity. Signatures are cut into bands; texts that agree
//! in a whole band are compared exactly. Source: Broder 1997, *On the resemblance and containment of documents*; Lee et
//! al. 2022, *Deduplicating training data makes language models better*.

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};

use super::text::plain;
use crate::stat::math::to_f64;

/// Hash functions of a signature.
const HASHES: usize = 128;
/// Words of a run.
const RUN: usize = 5;

/// What counts as a near duplicate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// The Jaccard similarity from which on the later of two texts is removed: 0.7 to 0.9 are in use.
    pub similarity: f64,
}

impl Near {
    /// The rows of a band: with r rows and 128/r bands, pairs of similarity (r/128)^(1/r) meet half of the time. The largest r
    /// whose such point lies below the similarity by a tenth.
    fn rows(self) -> usize {
        let meets = |rows: usize| {
            let rows = to_f64(rows as u64);
            crate::stat::math::exp(crate::stat::math::ln(rows / 128.0) / rows)
        };
        [16, 8, 4, 2].into_iter().find(|rows| meets(*rows) <= self.similarity - 0.1).unwrap_or(1)
    }
}

/// For each text, whether it is kept: no text before it is a near duplicate.
#[must_use]
pub fn near_duplicates(texts: &[&str], near: Near) -> Vec<bool> {
    let sets: Vec<BTreeSet<u64>> = texts.iter().map(|text| runs(text)).collect();
    let rows = near.rows();
    let mut bands: HashMap<(usize, Vec<u64>), Vec<usize>> = HashMap::new();
    let mut kept = Vec::with_capacity(texts.len());
    for (at, set) in sets.iter().enumerate() {
        let signature = signature(set);
        let keys: Vec<(usize, Vec<u64>)> =
            signature.chunks(rows).enumerate().map(|(band, rows)| (band, rows.to_vec())).collect();
        let met: BTreeSet<usize> = keys.iter().filter_map(|key| bands.get(key)).flatten().copied().collect();
        let twin = |other: &usize| kept[*other] && similarity(set, &sets[*other]) >= near.similarity;
        let keep = !met.iter().any(twin);
        kept.push(keep);
        keys.into_iter().for_each(|key| bands.entry(key).or_default().push(at));
    }
    kept
}

/// The Jaccard similarity of two texts: shared runs of five words over all.
#[must_use]
pub fn jaccard(a: &str, b: &str) -> f64 {
    similarity(&runs(a), &runs(b))
}

fn similarity(a: &BTreeSet<u64>, b: &BTreeSet<u64>) -> f64 {
    let shared = a.intersection(b).count() as u64;
    let all = (a.len() + b.len()) as u64 - shared;
    to_f64(shared) / to_f64(all.max(1))
}

/// Hashes of the text's runs; of a text shorter than one run the hash of it all.
fn runs(text: &str) -> BTreeSet<u64> {
    let plain = plain(text);
    let words: Vec<&str> = plain.split(' ').collect();
    words.windows(RUN.min(words.len())).map(|run| first_u64(&Sha256::digest(run.join(" ")))).collect()
}

/// The smallest value of each hash function; functions are odd multiplications and xors of one hash (universal hashing).
fn signature(set: &BTreeSet<u64>) -> Vec<u64> {
    let mut smallest = vec![u64::MAX; HASHES];
    for value in set {
        for (hash, smallest) in (0_u64..).zip(&mut smallest) {
            *smallest = (*smallest).min(mixed(value ^ mixed(hash + 1)));
        }
    }
    smallest
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mixed(value: u64) -> u64 {
    let z = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

fn first_u64(digest: &[u8]) -> u64 {
    digest[..8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(from: u32, to: u32) -> String {
        (from..to).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn similar_texts_are_removed_after_the_first_and_others_are_kept() {
        let base = numbered(0, 100);
        let (close, far) = (format!("{} end", numbered(0, 97)), format!("{} end", numbered(0, 60)));
        assert!(jaccard(&base, &close) > 0.9 && jaccard(&base, &far) < 0.6);
        assert_eq!(jaccard(&base, &base.to_uppercase()), 1.0);
        let texts = [base.as_str(), &far, &close, "something else entirely, and short", &base, ""];
        let kept = near_duplicates(&texts, Near { similarity: 0.8 });
        assert_eq!(kept, [true, true, false, true, false, true]);
        assert!(near_duplicates(&texts, Near { similarity: 0.99 })[2]);
    }

    #[test]
    fn bands_miss_hardly_a_pair_at_the_threshold() {
        // Pairs of similarity 0.8 to 0.85, each pair of words of its own.
        let mut missed = 0;
        for pair in 0..200 {
            let a = numbered(pair * 1_000, pair * 1_000 + 100);
            let b = format!("{} x{pair}", numbered(pair * 1_000, pair * 1_000 + 86));
            let similarity = jaccard(&a, &b);
            assert!((0.8..0.9).contains(&similarity), "{similarity}");
            missed += u32::from(near_duplicates(&[&a, &b], Near { similarity: 0.8 })[1]);
        }
        assert!(missed <= 10, "{missed} of 200");
    }
}
