//! A field of a plan that may have no value yet, and then says why.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A value, or the reason why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Planned<T> {
    /// No value yet.
    Absent {
        /// Always null.
        value: (),
        /// Why.
        reason: String,
    },
    /// A value.
    Set {
        /// The value.
        value: T,
    },
}

impl<T> Planned<T> {
    /// No value, and why.
    pub fn absent(reason: &str) -> Self {
        Self::Absent { value: (), reason: reason.to_owned() }
    }
}

/// How a [`Planned`] value is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    value: Value,
    reason: Option<String>,
}

/// By hand, so that what is wrong with a value is said, and not that it fits no variant.
impl<'de, T: DeserializeOwned> Deserialize<'de> for Planned<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Written { value, reason } = Written::deserialize(from)?;
        match (value, reason) {
            (Value::Null, Some(reason)) => Ok(Self::Absent { value: (), reason }),
            (Value::Null, None) => Err(D::Error::custom("a `value` of null needs a `reason`")),
            (_, Some(_)) => Err(D::Error::custom("a `reason` stands beside a `value` of null only")),
            (value, None) => {
                let value = serde_json::from_value(value).map_err(D::Error::custom)?;
                Ok(Self::Set { value })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_or_its_reason_and_never_both() {
        let read = |json: &str| serde_json::from_str::<Planned<u8>>(json);
        assert_eq!(read(r#"{"value": 7}"#).unwrap(), Planned::Set { value: 7 });
        assert_eq!(read(r#"{"value": null, "reason": "none yet"}"#).unwrap(), Planned::absent("none yet"));
        for (wrong, said) in [
            (r#"{"value": null}"#, "needs a `reason`"),
            (r#"{"value": 7, "reason": "none yet"}"#, "beside a `value` of null"),
            (r#"{"reason": "none yet"}"#, "missing field `value`"),
            (r#"{"value": 700}"#, "expected u8"),
            (r#"{"value": 7, "valve": 8}"#, "unknown field `valve`"),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
