//! Bundles: everything the other side needs to re-derive every number offline, in one canonical JSON file.
//!
//! The file's bytes are the RFC 8785 form of its content, every object has a SHA-256 of its own, and a last digest
//! covers all: any changed byte is found, and the object it sits in is named.

mod outside;

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::canaries::Disclosed;
use super::material::Material;
use super::plan::{Plan, Planned, SealedPlan, canonical, matchers_sha256, statistic_sha256};
use super::{Analysis, analyse};
use crate::key::{Commitment, Genesis, Opening, SchemeKey};
use crate::source::files::{self, Access, FileError};
pub use outside::Outside;

/// The format of a bundle.
pub const FORMAT: &str = "taggant-bundle/1";

/// The parts of a bundle, as they are stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// [`FORMAT`].
    pub format: String,
    /// The program that wrote it, with its version.
    pub program: String,
    /// When, RFC 3339.
    pub created: String,
    /// The plan.
    pub plan: Plan,
    /// When the plan was sealed, and its SHA-256.
    pub seal: Seal,
    /// The commitments made before service.
    pub genesis: Genesis,
    /// The keys handed over, with their proofs.
    pub openings: Vec<Opening>,
    /// What the operator lays open of its canaries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canaries: Option<Disclosed>,
    /// The raw answers.
    pub material: Vec<Material>,
    /// The results.
    pub analysis: Analysis,
    /// SHA-256 of each object's canonical JSON.
    pub digests: BTreeMap<String, Commitment>,
    /// SHA-256 of the canonical JSON of all the above.
    pub digest: Option<Commitment>,
}

/// A plan's seal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// When, RFC 3339, by the clock of the machine that sealed it.
    pub time: String,
    /// SHA-256 of the plan's canonical JSON.
    pub sha256: Commitment,
}

/// What goes into a bundle.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The sealed plan.
    pub plan: SealedPlan,
    /// The commitments made before service.
    pub genesis: Genesis,
    /// The keys handed over.
    pub openings: Vec<Opening>,
    /// What the operator lays open of its canaries; none where the plan has none.
    pub canaries: Option<Disclosed>,
    /// The raw answers.
    pub material: Vec<Material>,
    /// The results.
    pub analysis: Analysis,
    /// When the bundle is made, RFC 3339.
    pub created: String,
}

impl Bundle {
    /// Puts a bundle together and computes its digests.
    ///
    /// # Errors
    /// A number that JSON cannot hold.
    pub fn new(parts: Parts) -> Result<Self, serde_json::Error> {
        let seal = Seal { time: parts.plan.sealed().to_owned(), sha256: parts.plan.sha256() };
        let mut bundle = Self {
            format: FORMAT.to_owned(),
            program: concat!("taggant ", env!("CARGO_PKG_VERSION")).to_owned(),
            created: parts.created,
            plan: parts.plan.plan().clone(),
            seal,
            genesis: parts.genesis,
            openings: parts.openings,
            canaries: parts.canaries,
            material: parts.material,
            analysis: parts.analysis,
            digests: BTreeMap::new(),
            digest: None,
        };
        bundle.digests = digests(&serde_json::to_value(&bundle)?)?;
        bundle.digest = Some(sha256(&bundle)?);
        Ok(bundle)
    }

    /// Writes the bundle's canonical JSON.
    ///
    /// # Errors
    /// What the system says; nothing half-written is left behind.
    pub fn write(&self, path: &Path) -> Result<(), BundleError> {
        Ok(files::write(path, &canonical(self)?, Access::Default)?)
    }
}

/// Why a bundle could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The file system.
    #[error(transparent)]
    File(#[from] FileError),
    /// JSON.
    #[error("the bundle has no canonical JSON: {0}")]
    Json(#[from] serde_json::Error),
}

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
    fn new(object: &str, ok: bool, holds: &str, fails: &str) -> Self {
        let (status, what) = if ok { (Status::Verified, holds) } else { (Status::Failed, fails) };
        Self { object: object.to_owned(), status, what: what.to_owned() }
    }

    fn failed(object: &str, what: impl Into<String>) -> Self {
        Self { object: object.to_owned(), status: Status::Failed, what: what.into() }
    }

    fn unchecked(object: &str, what: &str) -> Self {
        Self { object: object.to_owned(), status: Status::Unchecked, what: what.to_owned() }
    }
}

/// Re-derives everything in the bundle at `path`, offline, and compares it with what is known from `outside`.
///
/// # Errors
/// The file cannot be read. Whatever is wrong *in* it is a failed [`Check`].
pub fn check(path: &Path, outside: &Outside) -> Result<Vec<Check>, FileError> {
    Ok(check_bytes(&files::read(path)?, outside))
}

/// [`check`] of a bundle's bytes.
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

/// The digest of each object: the top-level parts, openings and material one by one.
fn digests(bundle: &Value) -> Result<BTreeMap<String, Commitment>, serde_json::Error> {
    let mut found = BTreeMap::new();
    for part in ["plan", "seal", "genesis", "canaries", "analysis"] {
        if let Some(value) = bundle.get(part) {
            found.insert(part.to_owned(), sha256(value)?);
        }
    }
    for list in ["openings", "material"] {
        for (number, value) in bundle.get(list).and_then(Value::as_array).into_iter().flatten().enumerate() {
            found.insert(format!("{list}/{number}"), sha256(value)?);
        }
    }
    Ok(found)
}

fn sha256(value: &impl Serialize) -> Result<Commitment, serde_json::Error> {
    Ok(Commitment(Sha256::digest(canonical(value)?).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::fixture;
    use crate::case::material::Content;
    use crate::case::plan::MarkedUnder;
    use crate::key::Secret;

    /// What somebody with a text editor and this program can do: change the content, then make every digest fit again.
    fn redigested(bundle: &Bundle) -> Vec<u8> {
        let mut bundle = Bundle { digests: BTreeMap::new(), digest: None, ..bundle.clone() };
        bundle.digests = digests(&serde_json::to_value(&bundle).unwrap()).unwrap();
        bundle.digest = Some(sha256(&bundle).unwrap());
        canonical(&bundle).unwrap()
    }

    fn failures(bytes: &[u8]) -> Vec<Check> {
        check_bytes(bytes, &Outside::default())
            .into_iter()
            .filter(|check| check.status == Status::Failed)
            .collect()
    }

    fn fail_at(bytes: &[u8], object: &str) {
        let failed = failures(bytes);
        assert!(failed.iter().any(|check| check.object == object), "{object} did not fail, but: {failed:?}");
    }

    /// The genesis and the sealed plan of a case, as others than the bundle's sender have them.
    fn outside(fixture: &fixture::Fixture) -> Outside {
        Outside { genesis: Some(fixture.genesis.clone()), seal: Some(fixture.plan.clone()) }
    }

    #[test]
    fn an_untouched_bundle_verifies_beside_the_published_genesis_and_the_deposited_plan() {
        let fixture = fixture::fixture();
        let outside = outside(&fixture);
        let bytes = canonical(&fixture.bundle()).unwrap();
        let checks = check_bytes(&bytes, &outside);
        assert!(checks.iter().all(|check| check.status == Status::Verified), "{checks:#?}");
        for object in ["analysis", "bundle", "digest", "genesis", "material/0", "openings/0", "plan", "seal"]
        {
            assert!(checks.iter().any(|check| check.object == object), "{object} was not looked at");
        }
    }

    #[test]
    fn a_bundle_alone_does_not_show_when_it_was_made() {
        let fixture = fixture::fixture();
        let outside = outside(&fixture);
        let bytes = canonical(&fixture.bundle()).unwrap();
        let unchecked = |outside: &Outside| -> Vec<(String, String)> {
            let checks = check_bytes(&bytes, outside);
            assert!(checks.iter().all(|check| check.status != Status::Failed), "{checks:#?}");
            let open = checks.into_iter().filter(|check| check.status == Status::Unchecked);
            open.map(|check| (check.object, check.what)).collect()
        };
        let alone = unchecked(&Outside::default());
        assert_eq!(alone.iter().map(|(object, _)| object.as_str()).collect::<Vec<_>>(), ["genesis", "seal"]);
        assert!(alone[0].1.contains("--genesis") && alone[1].1.contains("--seal"), "{alone:?}");
        assert_eq!(unchecked(&Outside { seal: None, ..outside.clone() })[..], alone[1..]);
        assert_eq!(unchecked(&Outside { genesis: None, ..outside })[..], alone[..1]);
    }

    #[test]
    fn a_case_made_up_as_a_whole_is_not_the_one_published_and_deposited() {
        let (mut draft, honest) = (fixture::draft(), fixture::fixture());
        let forger = Secret::from_bytes([43; 32]);
        let (epochs, label) = (
            ["2026-q4", "2026-q4-unused"].map(|epoch| epoch.parse().unwrap()),
            draft.plan.specs()[0].label(),
        );
        let keys = epochs.clone().map(|epoch| (epoch, vec![label.clone()]));
        draft.genesis = Genesis::new(&forger, draft.genesis.tokenizer_sha256.0, &keys);
        draft.openings =
            epochs.map(|epoch| draft.genesis.open(&forger, &epoch, Some(&label)).unwrap()).into();
        (draft.plan.key_id, draft.plan.genesis_root) = (draft.genesis.key_id.clone(), draft.genesis.root);
        let bytes = canonical(&draft.sealed().bundle()).unwrap();
        assert_eq!(failures(&bytes), []);
        let failed: Vec<Check> = check_bytes(&bytes, &outside(&honest))
            .into_iter()
            .filter(|check| check.status == Status::Failed)
            .collect();
        assert_eq!(failed.iter().map(|check| check.object.as_str()).collect::<Vec<_>>(), ["genesis", "seal"]);
        assert!(failed[0].what.ends_with("differs in root, key_id, leaves"), "{}", failed[0].what);
    }

    #[test]
    fn a_seal_of_another_time_and_a_genesis_of_another_tokenizer_fail() {
        let fixture = fixture::fixture();
        let mut outside = outside(&fixture);
        let plan = fixture.plan.plan().clone();
        outside.seal = Some(plan.seal("2026-11-24T10:00:00Z").unwrap());
        if let Some(genesis) = &mut outside.genesis {
            genesis.tokenizer_sha256.0[0] ^= 1;
        }
        let checks = check_bytes(&canonical(&fixture.bundle()).unwrap(), &outside);
        let failed: Vec<&str> = checks
            .iter()
            .filter(|check| check.status == Status::Failed)
            .map(|check| check.what.as_str())
            .collect();
        assert!(failed[0].ends_with("differs in tokenizer_sha256"), "{failed:?}");
        assert!(failed[1].ends_with("differs in time"), "{failed:?}");
    }

    #[test]
    fn real_numbers_survive_the_file() {
        let mut state = 1_u64;
        for _ in 0..200_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = f64::from_bits(state);
            if number.is_finite() {
                let bytes = canonical(&number).unwrap();
                let again = canonical(&serde_json::from_slice::<Value>(&bytes).unwrap()).unwrap();
                assert_eq!(again, bytes, "{number:?}");
            }
        }
    }

    #[test]
    fn any_changed_byte_fails_and_names_an_object() {
        let mut draft = fixture::draft();
        draft.plan.tests.retain(|test| test.access == crate::case::plan::Access::Text);
        let bytes = canonical(&draft.sealed().bundle()).unwrap();
        for step in 0..200 {
            let at = step * (bytes.len() - 1) / 199;
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (step % 7);
            let failed = failures(&changed);
            assert!(failed.iter().any(|check| !check.object.is_empty()), "byte {at} was changed unnoticed");
        }
    }

    #[test]
    fn a_file_that_is_no_json_any_more_names_the_part() {
        let bytes = canonical(&fixture::fixture().bundle()).unwrap();
        for (inside, part) in
            [("\"findings\":", "analysis"), ("\"response\":", "material"), ("\"hypothesis\":", "plan")]
        {
            let at = bytes.windows(inside.len()).position(|window| window == inside.as_bytes()).unwrap();
            let mut changed = bytes.clone();
            changed[at + inside.len() - 1] = b';';
            assert_eq!(failures(&changed)[0].object, part);
        }
    }

    #[test]
    fn an_invented_key_fails_however_well_the_rest_fits() {
        let mut bundle = fixture::fixture().bundle();
        let label = bundle.plan.specs()[0].label();
        let invented = Secret::from_bytes([5; 32]).epoch_key(&bundle.openings[0].epoch).scheme_key(&label);
        bundle.openings[0].key = Commitment(*invented.hazmat_bytes());
        let plan =
            SealedPlan::reopen(bundle.plan.clone(), bundle.seal.time.clone(), bundle.seal.sha256).unwrap();
        let mut keys = vec![invented];
        keys.extend(bundle.openings[1].verify(&bundle.genesis.root).unwrap());
        bundle.analysis = analyse(&plan, &bundle.material, None, &keys).unwrap();
        fail_at(&redigested(&bundle), "openings/0");
    }

    #[test]
    fn edited_answers_fail_with_every_digest_made_to_fit() {
        let mut bundle = fixture::fixture().bundle();
        let Content::Text(answers) = &mut bundle.material[0].content else {
            panic!("the first material is text")
        };
        answers[3].response[10] ^= 1;
        fail_at(&redigested(&bundle), "analysis");
    }

    #[test]
    fn an_edited_number_or_verdict_fails_with_every_digest_made_to_fit() {
        let mut bundle = fixture::fixture().bundle();
        bundle.analysis.findings[3].verdict = crate::case::Verdict::EvidenceFound;
        fail_at(&redigested(&bundle), "analysis");
        let mut bundle = fixture::fixture().bundle();
        bundle.analysis.findings[0].summary.ln_p *= 1.001;
        fail_at(&redigested(&bundle), "analysis");
    }

    #[test]
    fn a_plan_changed_after_the_seal_fails() {
        let mut bundle = fixture::fixture().bundle();
        bundle.plan.alpha = 0.01;
        fail_at(&redigested(&bundle), "plan");
    }

    #[test]
    fn a_missing_plan_field_is_an_error_and_no_default() {
        let value = serde_json::to_value(fixture::fixture().bundle()).unwrap();
        let fields: Vec<String> = value["plan"].as_object().unwrap().keys().cloned().collect();
        assert!(fields.len() > 20);
        for field in fields {
            let mut value = value.clone();
            value["plan"].as_object_mut().unwrap().remove(&field);
            let failed = failures(&canonical(&value).unwrap());
            assert!(
                failed.iter().any(|check| check.what.contains(&format!("`{field}`"))),
                "{field}: {failed:?}"
            );
        }
    }

    #[test]
    fn a_source_marked_under_the_scored_key_is_refused() {
        let draft = fixture::draft();
        let (mut plan, keys) = (draft.plan.clone(), draft.keys());
        plan.sources[0].keys =
            vec![MarkedUnder { key_id: plan.key_id.clone(), epoch: plan.tests[0].keys[0].epoch.clone() }];
        let sealed = plan.seal("2026-11-23T10:00:00Z").unwrap();
        let refused = analyse(&sealed, &draft.material, None, &keys);
        assert!(matches!(refused, Err(crate::case::CaseError::DependentSource { .. })), "{refused:?}");

        let mut bundle = fixture::fixture().bundle();
        bundle.plan = sealed.plan().clone();
        bundle.seal.sha256 = sealed.sha256();
        fail_at(&redigested(&bundle), "analysis");
    }

    #[test]
    fn a_bundle_cut_short_fails() {
        let bytes = canonical(&fixture::fixture().bundle()).unwrap();
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            assert!(!failures(&bytes[..length]).is_empty());
        }
    }
}
