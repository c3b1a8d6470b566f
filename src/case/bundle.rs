//! Bundles: everything the other side needs to re-derive every number offline, in one canonical JSON file.
//!
//! The file's bytes are the RFC 8785 form of its content, every object has a SHA-256 of its own, and a last digest
//! covers all: any changed byte is found, and the object it sits in is named.

mod check;
mod outside;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Analysis;
use super::canaries::Disclosed;
use super::material::Material;
use super::plan::{Plan, SealedPlan, canonical};
use crate::key::{Commitment, Genesis, Opening};
use crate::source::files::{self, Access, FileError};
pub use check::{Check, Status, check_bytes};
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

/// Re-derives everything in the bundle at `path`, offline, and compares it with what is known from `outside`.
///
/// # Errors
/// The file cannot be read. Whatever is wrong *in* it is a failed [`Check`].
pub fn check(path: &Path, outside: &Outside) -> Result<Vec<Check>, FileError> {
    Ok(check_bytes(&files::read(path)?, outside))
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
    use crate::case::material::Content;
    use crate::case::plan::MarkedUnder;
    use crate::case::{analyse, fixture};
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
