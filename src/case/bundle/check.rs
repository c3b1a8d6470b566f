//! Checking a bundle: every digest, proof and number again, from nothing but the file.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Bundle, FORMAT, Outside, digests, sha256};
use crate::case::canaries::Disclosed;
use crate::case::material::Material;
use crate::case::plan::{Plan, Planned, SealedPlan, canonical, matchers_sha256, statistic_sha256};
use crate::case::{Analysis, analyse};
use crate::key::{Commitment, Genesis, Opening, SchemeKey};

/// What became of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It holds.
    Verified,
    /// It does not.
    Failed,
    /// It cannot be decided from what was given.
    Unchecked,
}

/// One check of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The object looked at.
    pub object: String,
    /// The outcome.
    pub status: Status,
    /// What was checked, or what is wrong.
    pub what: String,
}

impl Check {
    pub(super) fn new(object: &str, ok: bool, holds: &str, fails: &str) -> Self {
        let (status, what) = if ok { (Status::Verified, holds) } else { (Status::Failed, fails) };
        Self { object: object.to_owned(), status, what: what.to_owned() }
    }

    pub(super) fn failed(object: &str, what: impl Into<String>) -> Self {
        Self { object: object.to_owned(), status: Status::Failed, what: what.into() }
    }

    pub(super) fn unchecked(object: &str, what: &str) -> Self {
        Self { object: object.to_owned(), status: Status::Unchecked, what: what.to_owned() }
    }
}

/// Re-derives everything in a bundle, offline, and compares it with what is known from `outside`. Whatever is wrong is a failed
/// [`Check`].
pub fn check_bytes(bytes: &[u8], outside: &Outside) -> Vec<Check> {
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) => {
            return vec![Check::failed(part_at(bytes, &error), format!("not JSON any more: {error}"))];
        }
    };
    let mut checks = check_digests(&value, bytes);
    match serde_json::from_value::<Bundle>(value.clone()) {
        Ok(bundle) => {
            check_content(&bundle, &value, &mut checks);
            checks.extend(outside.compare(&bundle));
        }
        Err(error) => checks.push(unreadable(&value, &error)),
    }
    checks
}

/// What no bundle has, named by the part that it is in.
fn unreadable(bundle: &Value, error: &serde_json::Error) -> Check {
    fn part<T: DeserializeOwned>(bundle: &Value, name: &str) -> Option<Check> {
        let error = serde_json::from_value::<T>(bundle.get(name)?.clone()).err()?;
        Some(Check::failed(name, format!("not that of a {FORMAT} bundle: {error}")))
    }
    part::<Plan>(bundle, "plan")
        .or_else(|| part::<Genesis>(bundle, "genesis"))
        .or_else(|| part::<Vec<Opening>>(bundle, "openings"))
        .or_else(|| part::<Disclosed>(bundle, "canaries"))
        .or_else(|| part::<Vec<Material>>(bundle, "material"))
        .or_else(|| part::<Analysis>(bundle, "analysis"))
        .unwrap_or_else(|| Check::failed("bundle", format!("not a {FORMAT} bundle: {error}")))
}

/// The part of the bundle in which a reader of JSON stopped. Canonical JSON is one line, its parts sorted by name.
fn part_at(bytes: &[u8], error: &serde_json::Error) -> &'static str {
    const PARTS: [&str; 12] = [
        "analysis", "canaries", "created", "digest", "digests", "format", "genesis", "material", "openings",
        "plan", "program", "seal",
    ];
    let read = &bytes[..bytes.len().min(error.column())];
    let (mut last, mut from) = ("bundle", 0);
    for part in PARTS {
        let next = |part: &str| {
            let name = format!("\"{part}\":");
            read[from..].windows(name.len()).position(|window| window == name.as_bytes())
        };
        // Canaries may be missing, and the plan has a field of that name.
        let found = match part {
            "canaries" => next(part).filter(|at| next("created").is_none_or(|after| *at < after)),
            _ => next(part),
        };
        match found {
            Some(at) => (last, from) = (part, from + at),
            None if part == "canaries" => {}
            None => break,
        }
    }
    last
}

fn check_digests(value: &Value, bytes: &[u8]) -> Vec<Check> {
    let same_bytes = canonical(value).is_ok_and(|again| again == bytes);
    let mut checks = vec![Check::new(
        "bundle",
        same_bytes,
        "the file is canonical JSON",
        "the file is not the canonical JSON that was written: a byte outside the values was changed",
    )];
    let found = digests(value).unwrap_or_default();
    let stated: BTreeMap<String, Commitment> = value
        .get("digests")
        .and_then(|stated| serde_json::from_value(stated.clone()).ok())
        .unwrap_or_default();
    for (object, digest) in &found {
        let ok = stated.get(object) == Some(digest);
        checks.push(Check::new(object, ok, "SHA-256 agrees", "SHA-256 differs: this object was changed"));
    }
    for object in stated.keys().filter(|object| !found.contains_key(*object)) {
        checks.push(Check::failed(object, "has a digest, but is not in the bundle"));
    }
    let mut header = value.clone();
    if let Some(digest) = header.get_mut("digest") {
        *digest = Value::Null;
    }
    let whole = sha256(&header).ok().map(|digest| Value::String(digest.to_string()));
    let ok = whole.is_some() && value.get("digest") == whole.as_ref();
    checks.push(Check::new(
        "digest",
        ok,
        "covers all of the bundle",
        "differs: the bundle or its digest was changed",
    ));
    checks
}

fn check_content(bundle: &Bundle, value: &Value, checks: &mut Vec<Check>) {
    let plan = &bundle.plan;
    checks.push(Check::new(
        "bundle",
        bundle.format == FORMAT,
        "format is read by this version",
        "another format",
    ));
    let sealed = SealedPlan::reopen(plan.clone(), bundle.seal.time.clone(), bundle.seal.sha256);
    let genesis = serde_json::to_string(&bundle.genesis).map_err(|error| error.to_string());
    let genesis = genesis.and_then(|json| Genesis::from_json(&json).map_err(|error| error.to_string()));
    checks.push(match &genesis {
        Ok(_) => Check::new("genesis", true, "its root belongs to its leaves", ""),
        Err(error) => Check::failed("genesis", error.clone()),
    });
    let same_root = plan.genesis_root == bundle.genesis.root && plan.key_id == bundle.genesis.key_id;
    checks.push(Check::new(
        "genesis",
        same_root,
        "is the one the plan names",
        "is not the one the plan names",
    ));
    let same_vocabulary = plan.tokenizer_sha256 == bundle.genesis.tokenizer_sha256;
    checks.push(Check::new(
        "genesis",
        same_vocabulary,
        "names the plan's tokenizer",
        "names another tokenizer",
    ));
    let keys = opened(bundle, checks);
    match sealed {
        Err(error) => checks.push(Check::failed("plan", error.to_string())),
        Ok(sealed) => {
            checks.push(Check::new("plan", true, "is the one that was sealed", ""));
            check_analysis(bundle, &sealed, &keys, value, checks);
        }
    }
}

fn opened(bundle: &Bundle, checks: &mut Vec<Check>) -> Vec<SchemeKey> {
    let mut keys = Vec::new();
    for (number, opening) in bundle.openings.iter().enumerate() {
        let object = format!("openings/{number}");
        match bundle.genesis.verify(opening) {
            Ok(key) => {
                checks.push(Check::new(&object, true, "the key is the one that was committed to", ""));
                keys.extend(key);
            }
            Err(error) => checks.push(Check::failed(&object, error.to_string())),
        }
    }
    keys
}

fn check_analysis(
    bundle: &Bundle,
    plan: &SealedPlan,
    keys: &[SchemeKey],
    value: &Value,
    checks: &mut Vec<Check>,
) {
    if bundle.plan.statistic_sha256 != statistic_sha256() {
        let what = "this program's statistics are not the version that the plan names: the numbers are recomputed with \
                    this version";
        checks.push(Check::unchecked("plan", what));
    }
    let readers = Planned::Set { value: matchers_sha256() };
    if plan.canaries().is_some() && bundle.plan.matchers != readers {
        let what = "this program's readers of canary answers are not the version that the plan names: the answers are read \
                    with this version";
        checks.push(Check::unchecked("plan", what));
    }
    let analysis = match analyse(plan, &bundle.material, bundle.canaries.as_ref(), keys) {
        Ok(analysis) => analysis,
        Err(error) => {
            return checks.push(Check::failed("analysis", format!("cannot be recomputed: {error}")));
        }
    };
    let Ok(again) = serde_json::to_value(&analysis) else {
        return checks.push(Check::failed("analysis", "cannot be written as JSON"));
    };
    let difference = value.get("analysis").and_then(|stored| difference(stored, &again, "analysis"));
    checks.push(match difference {
        None => Check::new("analysis", true, "every number recomputed from the raw answers", ""),
        Some(at) => Check::failed("analysis", format!("{at} is not what the raw answers give")),
    });
}

/// Where two JSON values differ; real numbers agree to 1e-9, because transforms round differently between processors.
fn difference(stored: &Value, again: &Value, at: &str) -> Option<String> {
    match (stored, again) {
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => a.iter().find_map(|(key, value)| {
            b.get(key)
                .map_or(Some(format!("{at}/{key}")), |other| difference(value, other, &format!("{at}/{key}")))
        }),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            (0..a.len()).find_map(|i| difference(&a[i], &b[i], &format!("{at}/{i}")))
        }
        (Value::Number(a), Value::Number(b)) => {
            let (Some(a), Some(b)) = (a.as_f64(), b.as_f64()) else { return Some(at.to_owned()) };
            ((a - b).abs() > 1e-9 * a.abs().max(b.abs())).then(|| at.to_owned())
        }
        _ => (stored != again).then(|| at.to_owned()),
    }
}
