//! The manifest of a line-up: which innocents there are, and since when each of them is what it is.
//!
//! One JSON object a line: `name`; `file` (rows, beside the manifest) or `model` (a model at hand); optional `released`, a day
//! (2024-05-01) on which it was out or its data ended.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::text::{BadLine, Format};

/// The manifest's name in its folder.
pub const MANIFEST: &str = "manifest.jsonl";

/// One innocent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What a table calls it.
    pub name: String,
    /// Where its answers come from.
    pub answers: Answers,
    /// The day on which it was out, or its data ended.
    pub released: Option<String>,
}

/// Where an innocent's answers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answers {
    /// A file of rows, relative to the folder.
    Rows(String),
    /// A model, by the names that [`Loaded::open`](super::model::Loaded::open) knows.
    Model(String),
}

/// Reads a manifest; `name` is what errors call it. Blank lines are passed over.
///
/// # Errors
/// The first bad line: what is no object, lacks a name or a source, has an unknown field, or repeats a name.
pub fn parse(name: &str, text: &str) -> Result<Vec<Entry>, BadLine> {
    let mut entries: Vec<Entry> = Vec::new();
    let bad = |line: usize, field: Option<Cow<'static, str>>, what: String| BadLine {
        file: name.to_owned(),
        format: Format::JsonLines,
        line,
        field,
        what,
    };
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let fields: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| bad(line, None, format!("not a JSON object: {error}")))?;
        let entry = entry(&fields).map_err(|(field, what)| bad(line, Some(field), what))?;
        if entries.iter().any(|earlier| earlier.name == entry.name) {
            let what = format!("{:?} stands on an earlier line too; names are unique", entry.name);
            return Err(bad(line, Some("name".into()), what));
        }
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err(bad(
            1,
            None,
            "names no innocent; expected {\"name\", \"file\", \"released\"} a line".to_owned(),
        ));
    }
    Ok(entries)
}

/// Whether this is a day such as 2024-05-01, or a time that begins with one.
pub fn is_day(text: &str) -> bool {
    let form =
        |(at, byte): (usize, &u8)| if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() };
    let day = text.as_bytes().get(..10).unwrap_or_default();
    let number = |from: usize| text.get(from..from + 2).and_then(|two| two.parse::<u8>().ok()).unwrap_or(0);
    let ends = text.len() == 10 || text.as_bytes().get(10) == Some(&b'T');
    day.len() == 10
        && ends
        && day.iter().enumerate().all(form)
        && (1..=12).contains(&number(5))
        && (1..=31).contains(&number(8))
}

type Fault = (Cow<'static, str>, String);

fn entry(fields: &Map<String, Value>) -> Result<Entry, Fault> {
    let known = ["name", "file", "model", "released"];
    if let Some(unknown) = fields.keys().find(|field| !known.contains(&field.as_str())) {
        return Err((unknown.clone().into(), format!("is unknown; known are {}", known.join(", "))));
    }
    let name =
        text(fields, "name")?.ok_or(("name".into(), "is missing; every innocent has one".to_owned()))?;
    let answers = match (text(fields, "file")?, text(fields, "model")?) {
        (Some(file), None) => Answers::Rows(file),
        (None, Some(model)) => Answers::Model(model),
        _ => {
            return Err((
                "file".into(),
                "give one of \"file\" (rows) and \"model\" (a model at hand)".to_owned(),
            ));
        }
    };
    let released = text(fields, "released")?;
    match released.as_deref().filter(|day| !is_day(day)) {
        Some(day) => Err(("released".into(), format!("{day:?} is no day such as 2024-05-01"))),
        None => Ok(Entry { name, answers, released }),
    }
}

fn text(fields: &Map<String, Value>, field: &'static str) -> Result<Option<String>, Fault> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text.clone())),
        Some(_) => Err((field.into(), "must be text".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_models_are_named_with_their_days() {
        let text = "{\"name\":\"a\",\"file\":\"a.jsonl\",\"released\":\"2024-05-01\"}\n\n{\"name\":\"b\",\"model\":\"student\"}\n";
        let entries = parse("m", text).unwrap();
        assert_eq!(entries[0].answers, Answers::Rows("a.jsonl".to_owned()));
        assert_eq!(entries[0].released.as_deref(), Some("2024-05-01"));
        assert_eq!(
            (&entries[1].answers, &entries[1].released),
            (&Answers::Model("student".to_owned()), &None)
        );
    }

    #[test]
    fn each_fault_names_line_and_field() {
        for (text, part) in [
            ("", "m, line 1: names no innocent"),
            ("[]", "m, line 1: not a JSON object"),
            ("{\"file\":\"a\"}", "line 1, field \"name\": is missing"),
            ("{\"name\":\"a\"}", "field \"file\": give one of"),
            ("{\"name\":\"a\",\"file\":\"a\",\"model\":\"b\"}", "field \"file\": give one of"),
            ("{\"name\":\"a\",\"file\":7}", "field \"file\": must be text"),
            (
                "{\"name\":\"a\",\"file\":\"a\",\"released\":\"May 2024\"}",
                "field \"released\": \"May 2024\" is no day",
            ),
            (
                "{\"name\":\"a\",\"file\":\"a\",\"date\":\"\"}",
                "field \"date\": is unknown; known are name, file",
            ),
            (
                "{\"name\":\"a\",\"file\":\"a\"}\n{\"name\":\"a\",\"file\":\"b\"}",
                "line 2, field \"name\": \"a\" stands on",
            ),
        ] {
            let error = parse("m", text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(is_day("2024-02-29") && is_day("2024-02-29T00:00:00Z"));
        assert!(
            !is_day("2024-13-01") && !is_day("2024-1-1") && !is_day("2024-02-29x") && !is_day("ähnlich...")
        );
    }
}
