//! Whole next-token distributions in rows: `q`, every token's probability by id, as a JSON array or as base64 of f32
//! little-endian values.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Probabilities may add up to 1 but for this much: they were rounded on their way, to 16 bits at worst.
const ROUNDED: f64 = 1e-2;

/// Reads the `q` of a row; errors say what is wrong with it.
pub(super) fn parse(value: &Value) -> Result<Vec<f32>, String> {
    let q = match value {
        Value::Array(items) => items.iter().enumerate().map(number).collect::<Result<_, _>>()?,
        Value::String(text) => floats(text)?,
        _ => return Err("must be a list of probabilities, or base64 of f32 little-endian values".to_owned()),
    };
    check(&q)?;
    Ok(q)
}

#[expect(clippy::cast_possible_truncation, reason = "probabilities are kept as f32")]
fn number((at, value): (usize, &Value)) -> Result<f32, String> {
    value.as_f64().map(|p| p as f32).ok_or(format!("entry {at} is {value}, not a probability"))
}

fn floats(text: &str) -> Result<Vec<f32>, String> {
    let bytes = STANDARD.decode(text).map_err(|error| format!("is no base64: {error}"))?;
    if bytes.len() % 4 != 0 {
        return Err(format!("holds {} bytes: f32 values take four each", bytes.len()));
    }
    Ok(bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect())
}

fn check(q: &[f32]) -> Result<(), String> {
    if let Some(at) = q.iter().position(|p| !(0.0..=1.0).contains(p)) {
        let what = "no probability: give the softmax of the logits, at temperature 1";
        return Err(format!("entry {at} is {}, {what}", q[at]));
    }
    let total: f64 = q.iter().map(|p| f64::from(*p)).sum();
    if (total - 1.0).abs() > ROUNDED {
        return Err(format!("adds up to {total:.4}, not 1: every token of the vocabulary belongs in it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_and_bytes_say_the_same() {
        let q = [0.5_f32, 0.125, 0.375];
        let bytes: Vec<u8> = q.iter().flat_map(|p| p.to_le_bytes()).collect();
        assert_eq!(parse(&json!(q)).unwrap(), q);
        assert_eq!(parse(&json!(STANDARD.encode(bytes))).unwrap(), q);
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
        ] {
            let error = parse(&value).unwrap_err();
            assert!(error.contains(part), "{value}: {error}");
        }
    }
}
