//! Next-token distributions by the mark's own token ids, the `q` of a row: every token's probability in the order of ids, as
//! numbers or as base64 of f32 little-endian values; or the likeliest tokens' as `[id, probability]` pairs.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::token::TokenId;

/// What is known of a next-token distribution, probabilities in 0..=1.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// By token id, every one.
    Whole(Vec<f32>),
    /// The likeliest tokens, each once. The others are unknown, never 0.
    Top(Vec<(TokenId, f32)>),
}

/// Probabilities may add up to 1 but for this much: they were rounded on their way, to 16 bits at worst.
const ROUNDED: f64 = 1e-2;

impl Distribution {
    /// The `most` likeliest tokens, ties to the lowest id; all of it where there are no more.
    #[must_use]
    pub fn likeliest(self, most: usize) -> Self {
        let mut tokens: Vec<(TokenId, f32)> = match self {
            Self::Whole(q) if q.len() <= most => return Self::Whole(q),
            Self::Whole(q) => (0..).zip(q).collect(),
            Self::Top(tokens) => tokens,
        };
        tokens.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        tokens.truncate(most);
        Self::Top(tokens)
    }
}

/// Reads the `q` of a row; errors say what is wrong with it.
pub(super) fn parse(value: &Value) -> Result<Distribution, String> {
    let q = match value {
        Value::Array(items) if items.first().is_some_and(Value::is_array) => {
            Distribution::Top(items.iter().enumerate().map(pair).collect::<Result<_, _>>()?)
        }
        Value::Array(items) => {
            Distribution::Whole(items.iter().enumerate().map(number).collect::<Result<_, _>>()?)
        }
        Value::String(text) => Distribution::Whole(floats(text)?),
        _ => {
            let what = "must be a list of probabilities, base64 of f32 little-endian values, or a list of [id, probability]";
            return Err(what.to_owned());
        }
    };
    check(&q)?;
    Ok(q)
}

#[expect(clippy::cast_possible_truncation, reason = "probabilities are kept as f32")]
fn number((at, value): (usize, &Value)) -> Result<f32, String> {
    value.as_f64().map(|p| p as f32).ok_or(format!("entry {at} is {value}, not a probability"))
}

fn pair((at, value): (usize, &Value)) -> Result<(TokenId, f32), String> {
    let pair = value.as_array().filter(|pair| pair.len() == 2);
    let id = pair.and_then(|pair| pair[0].as_u64()).and_then(|id| TokenId::try_from(id).ok());
    let (Some(pair), Some(id)) = (pair, id) else {
        return Err(format!("entry {at} is {value}, not [id, probability]"));
    };
    Ok((id, number((at, &pair[1]))?))
}

fn floats(text: &str) -> Result<Vec<f32>, String> {
    let bytes = STANDARD.decode(text).map_err(|error| format!("is no base64: {error}"))?;
    if bytes.len() % 4 != 0 {
        return Err(format!("holds {} bytes: f32 values take four each", bytes.len()));
    }
    Ok(bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect())
}

fn check(q: &Distribution) -> Result<(), String> {
    let (all, whole): (Vec<f32>, bool) = match q {
        Distribution::Whole(q) => (q.clone(), true),
        Distribution::Top(q) => (q.iter().map(|(_, p)| *p).collect(), false),
    };
    if let Some(at) = all.iter().position(|p| !(0.0..=1.0).contains(p)) {
        let what = "no probability: give the softmax of the logits, at temperature 1";
        return Err(format!("entry {at} is {}, {what}", all[at]));
    }
    let total = all.iter().fold(0.0, |total, p| total + f64::from(*p));
    if whole && (total - 1.0).abs() > ROUNDED {
        return Err(format!("adds up to {total:.4}, not 1: every token of the vocabulary belongs in it"));
    }
    if total > 1.0 + ROUNDED {
        return Err(format!("adds up to {total:.4}, above 1"));
    }
    let mut seen = HashSet::new();
    match q {
        Distribution::Top(q) => match q.iter().find(|(token, _)| !seen.insert(*token)) {
            Some((token, _)) => Err(format!("names token {token} twice")),
            None => Ok(()),
        },
        Distribution::Whole(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_and_bytes_say_the_same() {
        let q = [0.5_f32, 0.125, 0.375];
        let bytes: Vec<u8> = q.iter().flat_map(|p| p.to_le_bytes()).collect();
        let whole = Distribution::Whole(q.to_vec());
        assert_eq!(parse(&json!(q)).unwrap(), whole);
        assert_eq!(parse(&json!(STANDARD.encode(bytes))).unwrap(), whole);
    }

    #[test]
    fn the_likeliest_tokens_are_kept_ties_to_the_lowest() {
        let whole = Distribution::Whole(vec![0.125, 0.25, 0.25, 0.375]);
        let two = Distribution::Top(vec![(3, 0.375), (1, 0.25)]);
        assert_eq!(whole.clone().likeliest(2), two);
        assert_eq!(whole.clone().likeliest(4), whole);
        let listed = parse(&json!([[1, 0.25], [3, 0.375], [2, 0.25]])).unwrap();
        assert_eq!(listed.likeliest(2), two);
    }

    #[test]
    fn what_is_no_distribution_is_named() {
        for (value, part) in [
            (json!({}), "must be a list"),
            (json!([0.5, "a"]), "entry 1 is \"a\", not a probability"),
            (json!([1.5, -0.5]), "entry 0 is 1.5, no probability"),
            (json!([0.5, 0.4]), "adds up to 0.9000, not 1"),
            (json!([]), "adds up to 0.0000"),
            (json!("!"), "is no base64"),
            (json!("AAAA"), "holds 3 bytes"),
            (json!("AADAfw=="), "entry 0 is NaN"),
            (json!([[7, 0.5], [7, 0.25]]), "names token 7 twice"),
            (json!([[7, 0.5], 0.5]), "entry 1 is 0.5, not [id, probability]"),
            (json!([[7, 0.5], [8, 0.75]]), "adds up to 1.2500, above 1"),
            (json!([[7, 1.5]]), "entry 0 is 1.5, no probability"),
        ] {
            let error = parse(&value).unwrap_err();
            assert!(error.contains(part), "{value}: {error}");
        }
    }
}
