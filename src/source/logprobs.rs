//! Next-token probabilities in the shape that chat APIs return them in: `{"content": [{"token", "bytes", "logprob",
//! "top_logprobs": [{"token", "bytes", "logprob"}, …]}, …]}`, one entry a token of the answer.
//!
//! Tokens are named by what they spell, so a row speaks of any vocabulary. `bytes` says it exactly; without, `token` does,
//! unless it holds U+FFFD: then it is a part of a character, and nobody says which.

use serde_json::Value;

/// A token that was possible at a position.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// What it spells; `None` where that is not said.
    pub bytes: Option<Vec<u8>>,
    /// In 0..=1.
    pub probability: f64,
}

/// A position of the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// What the chosen token spells; `None` where that is not said.
    pub chosen: Option<Vec<u8>>,
    /// The likeliest tokens; together at most 1.
    pub top: Vec<Listed>,
}

/// Probabilities may pass 1 together by this much: they were rounded on their way.
const ROUNDED: f64 = 1e-3;

/// Reads the `logprobs` of a row; errors name the entry.
pub(super) fn parse(value: &Value) -> Result<Vec<Position>, String> {
    let content = value.get("content").and_then(Value::as_array);
    let content = content.ok_or(
        "must be the API's object: \"content\" with a {\"token\", \"bytes\", \"logprob\", \"top_logprobs\"} for each token",
    )?;
    content.iter().enumerate().map(|(at, entry)| position(entry, &format!("content[{at}]"))).collect()
}

/// The bytes of the answer, up to the first token that does not say what it spells.
pub fn text(positions: &[Position]) -> Vec<u8> {
    positions.iter().map_while(|position| position.chosen.as_deref()).flatten().copied().collect()
}

fn position(entry: &Value, name: &str) -> Result<Position, String> {
    let top = entry.get("top_logprobs").and_then(Value::as_array).filter(|top| !top.is_empty());
    let top =
        top.ok_or(format!("{name} has no \"top_logprobs\"; ask the API for the 20 likeliest tokens"))?;
    let listed = |(at, token)| listed(token, &format!("{name}.top_logprobs[{at}]"));
    let top: Vec<Listed> = top.iter().enumerate().map(listed).collect::<Result<_, _>>()?;
    let total: f64 = top.iter().map(|token| token.probability).sum();
    if total > 1.0 + ROUNDED {
        return Err(format!("{name}.top_logprobs adds up to probability {total:.4}, above 1"));
    }
    Ok(Position { chosen: spelling(entry, name)?, top })
}

fn listed(token: &Value, name: &str) -> Result<Listed, String> {
    let logprob = token.get("logprob").and_then(Value::as_f64);
    let logprob =
        logprob.ok_or(format!("{name} needs a \"logprob\": the natural logarithm of a probability"))?;
    if logprob > ROUNDED {
        return Err(format!("{name}.logprob is {logprob}, above 0: no logarithm of a probability"));
    }
    Ok(Listed { bytes: spelling(token, name)?, probability: libm::exp(logprob.min(0.0)) })
}

fn spelling(token: &Value, name: &str) -> Result<Option<Vec<u8>>, String> {
    let bytes = match token.get("bytes") {
        None | Some(Value::Null) => {
            let text = token.get("token").and_then(Value::as_str);
            let text = text.ok_or(format!("{name} needs a \"token\" (text) or its \"bytes\""))?;
            return Ok(Some(text.as_bytes().to_vec()).filter(|text| !text.is_empty() && !has_gap(text)));
        }
        Some(bytes) => bytes.as_array().ok_or(format!("{name}.bytes must be a list of bytes"))?,
    };
    let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
    let bytes: Option<Vec<u8>> = bytes.iter().map(byte).collect();
    bytes
        .map(|bytes| Some(bytes).filter(|bytes| !bytes.is_empty()))
        .ok_or(format!("{name}.bytes must be a list of whole numbers from 0 to 255"))
}

/// Whether a part of the text was no text.
fn has_gap(text: &[u8]) -> bool {
    text.windows(3).any(|three| three == "\u{fffd}".as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(top: &Value) -> Value {
        json!({ "content": [{ "token": "a", "bytes": [97], "logprob": -0.1, "top_logprobs": top }] })
    }

    #[test]
    fn tokens_are_known_by_their_bytes() {
        let top = json!([
            { "token": " a", "bytes": [32, 97], "logprob": -1.5 },
            { "token": "é", "logprob": -2 },
            { "token": "\u{fffd}", "bytes": [195], "logprob": -3 },
            { "token": "\u{fffd}", "bytes": null, "logprob": -4 },
            { "token": "<end>", "bytes": [], "logprob": -9999.0 },
        ]);
        let positions = parse(&with(&top)).unwrap();
        let bytes: Vec<_> = positions[0].top.iter().map(|token| token.bytes.clone()).collect();
        let expected = [Some(vec![32, 97]), Some(vec![195, 169]), Some(vec![195]), None, None];
        assert_eq!(bytes, expected);
        assert!((positions[0].top[0].probability - 0.223_130_160_148_429_83).abs() < 1e-15);
        assert_eq!(positions[0].top[4].probability, 0.0);
        assert_eq!(text(&positions), b"a");
    }

    #[test]
    fn each_fault_names_its_entry() {
        for (top, part) in [
            (json!([]), "content[0] has no \"top_logprobs\""),
            (json!([{ "token": "a" }]), "content[0].top_logprobs[0] needs a \"logprob\""),
            (json!([{ "token": "a", "logprob": 0.5 }]), "top_logprobs[0].logprob is 0.5, above 0"),
            (json!([{ "logprob": -1 }]), "top_logprobs[0] needs a \"token\""),
            (json!([{ "token": "a", "bytes": "a", "logprob": -1 }]), "bytes must be a list"),
            (json!([{ "token": "a", "bytes": [256], "logprob": -1 }]), "from 0 to 255"),
            (
                json!([{ "token": "a", "logprob": -0.1 }, { "token": "b", "logprob": -0.2 }]),
                "content[0].top_logprobs adds up to probability 1.7236, above 1",
            ),
        ] {
            let error = parse(&with(&top)).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(parse(&json!({ "content": [{}] })).unwrap_err().contains("content[0]"));
        assert!(parse(&json!([])).unwrap_err().contains("\"content\""));
    }
}
