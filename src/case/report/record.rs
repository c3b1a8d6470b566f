//! For the record: the sealed plan in full, and the hashes of everything.

use std::collections::{BTreeMap, HashMap};

use maud::{Markup, html};
use serde_json::Value;

use super::{View, access};

pub(super) fn plan(view: &View<'_>) -> Markup {
    let fields = serde_json::to_value(view.plan).unwrap_or_default();
    html! {
        section {
            h2 { "The sealed plan, in full" }
            p {
                "Everything that could change a number, fixed before the first probe. Sealed " (view.input.bundle.seal.time)
                "; SHA-256 of its canonical JSON " (hash(&view.input.bundle.seal.sha256)) ". A field without a value says why."
            }
            (field(&fields))
        }
    }
}

/// Any JSON value as lists and tables.
fn field(value: &Value) -> Markup {
    html! {
        @match value {
            Value::Object(object) if object.contains_key("reason") && object.get("value").is_some_and(Value::is_null) => {
                span.absent { "null" } " – " (object.get("reason").and_then(Value::as_str).unwrap_or_default())
            }
            Value::Object(object) if object.len() == 1 && object.contains_key("value") => {
                @for value in object.values() { (field(value)) }
            }
            Value::Object(object) => dl {
                @for (name, value) in object { dt { code { (name) } } dd { (field(value)) } }
            },
            Value::Array(rows) if rows.iter().any(Value::is_object) => (rows_of(rows)),
            Value::Array(values) if values.is_empty() => span.absent { "none" },
            Value::Array(values) => @for (at, value) in values.iter().enumerate() {
                @if at > 0 { ", " }
                (field(value))
            },
            Value::String(text) if text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit()) => (hash(text)),
            Value::String(text) => (text),
            other => (other),
        }
    }
}

fn rows_of(rows: &[Value]) -> Markup {
    let names: Vec<&String> = rows.iter().filter_map(Value::as_object).flat_map(|row| row.keys()).collect();
    let mut columns: Vec<&String> = Vec::new();
    for name in names {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    html! {
        div.scroll { table.fields {
            thead { tr { @for column in &columns { th { code { (column) } } } } }
            tbody { @for row in rows {
                tr { @for column in &columns { td { @if let Some(value) = row.get(column.as_str()) { (field(value)) } } } }
            } }
        } }
    }
}

fn hash(digits: &impl std::fmt::Display) -> Markup {
    html! { code.hash { (digits) } }
}

pub(super) fn hashes(view: &View<'_>) -> Markup {
    let bundle = view.input.bundle;
    let objects: BTreeMap<&String, String> =
        bundle.digests.iter().map(|(name, digest)| (name, digest.to_string())).collect();
    let suspects: HashMap<String, String> = bundle
        .material
        .iter()
        .enumerate()
        .map(|(at, material)| {
            (format!("material/{at}"), format!("{}, {}", material.suspect, access(material.access())))
        })
        .collect();
    html! {
        section {
            h2 { "Check it yourself" }
            p { "The bundle holds the raw answers, the opened keys and every result. This recomputes all of it, offline:" }
            pre { "taggant case check " (view.input.bundle_file) " --genesis genesis.json --seal plan.json" }
            p {
                "genesis.json is what the operator published before service, plan.json the sealed plan as it was deposited before the "
                "first probe. Have them from somebody else than the bundle: whoever makes up a bundle can make up its genesis and its "
                "seal with it. Without them these two points stay unchecked."
            }
            p {
                "It ends with 0 when everything was verified, 1 when a check failed (and names the object), 3 when something could not "
                "be checked. What it relies on: SHA-256 and RFC 6962 for the commitments, HMAC-SHA256 and ChaCha20 for the draws, the "
                "RFC 8785 form of JSON for the hashes."
            }
            dl {
                dt { "Bundle" } dd { @match &bundle.digest { Some(digest) => (hash(digest)), None => "no digest" } }
                dt { "Sealed plan" } dd { (hash(&bundle.seal.sha256)) }
                dt { "Genesis root" } dd { (hash(&bundle.genesis.root)) }
                dt { "Key id" } dd { code { (bundle.genesis.key_id) } }
                dt { "Tokenizer" } dd { (hash(&bundle.genesis.tokenizer_sha256)) }
                dt { "Statistics' source" } dd { (hash(&bundle.plan.statistic_sha256)) }
                @for opening in &bundle.openings {
                    dt { "Opened key" }
                    dd {
                        "epoch " code { (opening.epoch) } ", label "
                        code { (opening.label.as_ref().map_or("(whole epoch)", |label| label.as_str())) }
                        ", leaf " (opening.index + 1) " of " (opening.leaves)
                    }
                }
                @for (name, digest) in &objects {
                    dt { code { (name) } @if let Some(whose) = suspects.get(*name) { br; span.small { (whose) } } }
                    dd { (hash(digest)) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_fields_show_their_reason_and_text_is_escaped() {
        let shown =
            field(&json!({"beacon": {"value": null, "reason": "<offline>"}, "tests": [{"a": 1}, {"b": []}]}));
        let shown = shown.into_string();
        assert!(shown.contains("null</span> – &lt;offline&gt;"), "{shown}");
        assert!(shown.contains("<th><code>a</code></th><th><code>b</code></th>"), "{shown}");
    }
}
