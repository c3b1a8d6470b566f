//! The keys that a test scores: epochs, widths and schemes of one secret, each with a planned weight.
//!
//! Keys are unrelated, so their draws are independent given evidence that depends on none of them, and pool into one S
//! without a correction. A key that is there twice would count its coins twice.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Plan, PlanError, PlannedTest};
use crate::key::{Epoch, EpochKey, Label};
use crate::law::Law;
use crate::scheme::{Scheme, Spec, SpecError};

/// One key that a test scores.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoredKey {
    /// The epoch.
    pub epoch: Epoch,
    /// What the epoch's key marked with.
    pub mark: Mark,
    /// What its coefficients are multiplied by: 1 to 127; those of one test have no common divisor, so that a single key
    /// has 1.
    pub weight: u8,
}

/// What an epoch's key marks with: `canary/1`, or a spec, perhaps with the vocabulary or the audience of its label
/// (`green/1/w1/b2/t1/vocab/0123456789abcdef`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mark {
    text: String,
}

/// The text of the canaries' mark, and the head of their labels.
const CANARY: &str = "canary/1";

impl Mark {
    /// The picks of the plan's book of canaries. Their labels hold the book's hash, the slot and its siblings.
    pub fn canary() -> Self {
        Self { text: CANARY.to_owned() }
    }

    /// The spec, where the mark is no canary.
    pub fn spec(&self) -> Option<Spec> {
        self.split().map(|(spec, _)| spec)
    }

    /// The labels of the keys that are opened for the mark; of canaries none, because the book has them.
    pub fn labels(&self) -> Vec<Label> {
        let labels =
            |(spec, rest): (Spec, &str)| spec.labels(&Label::known(format!("{}{rest}", spec.label())));
        self.split().map_or_else(Vec::new, labels)
    }

    /// Its behaviour under an epoch's key; none for canaries.
    pub fn open(&self, epoch: &EpochKey) -> Option<Scheme> {
        let keys = self.labels().iter().map(|label| epoch.scheme_key(label)).collect();
        self.spec()?.open_with(keys).ok()
    }

    /// The vocabulary that its label names: 16 hexadecimal digits.
    pub fn vocabulary(&self) -> Option<&str> {
        self.split().and_then(|(_, rest)| rest.strip_prefix("/vocab/")).and_then(|rest| rest.get(..16))
    }

    /// The spec, and what its label appends to it.
    fn split(&self) -> Option<(Spec, &str)> {
        let (spec, rest) = split(&self.text);
        spec.parse().ok().map(|spec| (spec, rest))
    }
}

/// A mark's text at the first of `/vocab/` and `/for/`.
fn split(text: &str) -> (&str, &str) {
    let at = ["/vocab/", "/for/"].iter().filter_map(|part| text.find(part)).min();
    text.split_at(at.unwrap_or(text.len()))
}

/// What may follow a spec: `/vocab/<16 digits>`, then `/for/<cohort|tenant|campaign>/<64 digits>`, each once.
fn is_suffix(rest: &str) -> bool {
    let hex = |text: &str, digits| {
        text.len() == digits && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
    };
    let parts: Vec<&str> = rest.split('/').skip(1).collect();
    let audience = |parts: &[&str]| match parts {
        [] => true,
        ["for", "campaign" | "cohort" | "tenant", id] => hex(id, 64),
        _ => false,
    };
    match parts.as_slice() {
        ["vocab", digest, rest @ ..] => hex(digest, 16) && audience(rest),
        rest => audience(rest),
    }
}

impl From<Spec> for Mark {
    fn from(spec: Spec) -> Self {
        Self { text: spec.to_string() }
    }
}

impl FromStr for Mark {
    type Err = MarkError;

    fn from_str(text: &str) -> Result<Self, MarkError> {
        if text != CANARY {
            let (spec, rest) = split(text);
            spec.parse::<Spec>()?;
            if !is_suffix(rest) {
                return Err(MarkError::Suffix(rest.to_owned()));
            }
        }
        Ok(Self { text: text.to_owned() })
    }
}

impl TryFrom<String> for Mark {
    type Error = MarkError;

    fn try_from(text: String) -> Result<Self, MarkError> {
        text.parse()
    }
}

impl From<Mark> for String {
    fn from(mark: Mark) -> Self {
        mark.text
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is no mark.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MarkError {
    /// No spec, and not `canary/1`.
    #[error("a mark is \"canary/1\" or a spec: {0}")]
    Spec(#[from] SpecError),
    /// What follows the spec is neither a vocabulary nor an audience.
    #[error(
        "{0:?} cannot follow a spec: it takes /vocab/<16 hexadecimal digits of the tokenizer's SHA-256>, then \
         /for/<cohort|tenant|campaign>/<64 hexadecimal digits>"
    )]
    Suffix(String),
}

impl Plan {
    /// Whether a test's keys can be scored together.
    pub(super) fn check_keys(&self, test: &PlannedTest) -> Result<(), PlanError> {
        let wrong = |what: &str| Err(PlanError::Field(format!("tests, {}, keys: {what}", test.name)));
        let keys = &test.keys;
        if keys.is_empty() {
            return wrong("name at least one");
        }
        if keys.iter().any(|key| !(1..=127).contains(&key.weight)) {
            return wrong("a weight is a whole number from 1 to 127");
        }
        if keys.iter().map(|key| key.weight).reduce(gcd) != Some(1) {
            return wrong("divide the weights by their common divisor; a single key has 1");
        }
        if repeats(keys) {
            return wrong("one of them is there twice: its coins would count twice");
        }
        if keys.iter().any(|key| (key.mark == Mark::canary()) != test.access.is_of_canaries()) {
            return wrong(
                "the mark \"canary/1\" belongs to the accesses canary, likelihoods and route, a spec to the others",
            );
        }
        let specs: Vec<Spec> = keys.iter().filter_map(|key| key.mark.spec()).collect();
        if specs.iter().any(|spec| matches!(spec, Spec::Payload(_))) {
            return wrong("account marks are tested by candidate, which no statistic of a plan does yet");
        }
        let mixed = specs.iter().any(|spec| matches!(spec, Spec::Mix(_)));
        if mixed && keys.len() > 1 {
            return wrong(
                "a mix pools its own parts, whose coefficients follow from its coin: test it by itself",
            );
        }
        if mixed && test.statistic.text().is_none() {
            return wrong("a mix is scored from text, by distinct or root-count");
        }
        if test.statistic.is_signed() && specs.iter().any(|spec| spec.law() == Some(Law::Exponential)) {
            return wrong("a residual has signs, and a Gumbel draw no bound below");
        }
        self.check_vocabulary(test)
    }

    /// A secret marks its second vocabulary under labels of their own: tokens of one say nothing of the other's draws.
    fn check_vocabulary(&self, test: &PlannedTest) -> Result<(), PlanError> {
        let wrong = |what: &str| Err(PlanError::Field(format!("tests, {}, keys: {what}", test.name)));
        let named = |key: &ScoredKey| key.mark.vocabulary().map(str::to_owned);
        let first = test.keys.first().and_then(named);
        if test.keys.iter().any(|key| named(key) != first) {
            return wrong(
                "those of one test belong to one vocabulary: all of them name it with /vocab, or none does",
            );
        }
        let ours = &self.tokenizer_sha256.to_string()[..16];
        match first {
            Some(named) if named != ours => {
                wrong(&format!("/vocab/{named}, and the plan's tokenizer_sha256 begins with {ours}"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether two keys share an epoch and a label.
fn repeats(keys: &[ScoredKey]) -> bool {
    let labels = |key: &ScoredKey| match key.mark.labels() {
        labels if labels.is_empty() => vec![Label::known(CANARY.to_owned())],
        labels => labels,
    };
    let mut seen = std::collections::HashSet::new();
    let all = keys.iter().flat_map(|key| labels(key).into_iter().map(|label| (&key.epoch, label)));
    all.into_iter().any(|key| !seen.insert(key))
}

fn gcd(a: u8, b: u8) -> u8 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl PlannedTest {
    /// Its keys, in an order that does not depend on how they are listed.
    pub(in crate::case) fn sorted_keys(&self) -> Vec<&ScoredKey> {
        let mut keys: Vec<&ScoredKey> = self.keys.iter().collect();
        keys.sort_unstable();
        keys
    }

    /// The epochs of its keys, each once.
    pub(in crate::case) fn epochs(&self) -> std::collections::BTreeSet<&Epoch> {
        self.keys.iter().map(|key| &key.epoch).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::fixture;
    use crate::case::plan::{Access, Independence, MarkedUnder, Planned, Statistic};
    use crate::case::{CaseError, analyse};

    fn key(epoch: &str, mark: &str, weight: u8) -> ScoredKey {
        ScoredKey { epoch: epoch.parse().unwrap(), mark: mark.parse().unwrap(), weight }
    }

    fn sealed(statistic: Statistic, keys: &[ScoredKey]) -> Result<(), String> {
        let mut plan = fixture::draft().plan;
        plan.tests[0].statistic = statistic;
        plan.tests[0].keys = keys.to_vec();
        plan.seal("2026-11-23T09:00:00Z").map(|_| ()).map_err(|error| error.to_string())
    }

    const SERVED: &str = "2026-q4";
    const UNUSED: &str = "2026-q4-unused";
    const GREEN: &str = "green/1/w1/b2/t1";
    const WIDE: &str = "green/1/w2/b1/t1";

    #[test]
    fn epochs_widths_and_schemes_pool_and_a_key_twice_does_not() {
        let distinct = |keys: &[ScoredKey]| sealed(Statistic::Distinct, keys);
        assert_eq!(distinct(&[key(SERVED, GREEN, 1), key(UNUSED, GREEN, 1)]), Ok(()));
        assert_eq!(distinct(&[key(SERVED, GREEN, 2), key(SERVED, WIDE, 3)]), Ok(()));
        assert_eq!(distinct(&[key(SERVED, GREEN, 1), key(SERVED, "gumbel/1/w1+2", 1)]), Ok(()));
        // The arms of a dual key have labels of their own; the single key's is that of neither.
        assert_eq!(distinct(&[key(SERVED, "gumbel/1/w1", 1), key(SERVED, "gumbel/1/w1+2", 1)]), Ok(()));
        for twice in
            [[key(SERVED, GREEN, 1), key(SERVED, GREEN, 1)], [key(SERVED, GREEN, 2), key(SERVED, GREEN, 3)]]
        {
            let error = distinct(&twice).unwrap_err();
            assert!(error.contains("its coins would count twice"), "{error}");
        }
        assert!(distinct(&[]).unwrap_err().contains("name at least one"));
    }

    #[test]
    fn weights_are_whole_and_in_lowest_terms() {
        let weighed = |a, b| sealed(Statistic::RootCount, &[key(SERVED, GREEN, a), key(SERVED, WIDE, b)]);
        assert_eq!(weighed(1, 127), Ok(()));
        assert!(weighed(0, 1).unwrap_err().contains("from 1 to 127"));
        assert!(weighed(1, 128).unwrap_err().contains("from 1 to 127"));
        assert!(weighed(4, 6).unwrap_err().contains("common divisor"));
        let alone = sealed(Statistic::RootCount, &[key(SERVED, GREEN, 2)]);
        assert!(alone.unwrap_err().contains("a single key has 1"));
    }

    #[test]
    fn what_cannot_be_one_sum_is_refused() {
        let (gumbel, mix) = ("gumbel/1/w1", "mix/1/128/green/1/w1/b2/t1/green/1/w2/b1/t1");
        let signed = sealed(Statistic::TextResidual, &[key(SERVED, GREEN, 1), key(SERVED, gumbel, 1)]);
        assert!(signed.unwrap_err().contains("a Gumbel draw no bound below"));
        let mixed = sealed(Statistic::Distinct, &[key(SERVED, mix, 1), key(SERVED, GREEN, 1)]);
        assert!(mixed.unwrap_err().contains("test it by itself"));
        assert_eq!(sealed(Statistic::Distinct, &[key(SERVED, mix, 1)]), Ok(()));
        let account = sealed(Statistic::Distinct, &[key(SERVED, "payload/1/w1", 1)]);
        assert!(account.unwrap_err().contains("tested by candidate"));
        let canary = sealed(Statistic::Distinct, &[key(SERVED, "canary/1", 1)]);
        assert!(canary.unwrap_err().contains("belongs to the accesses canary"));
    }

    #[test]
    fn keys_of_one_test_belong_to_the_plans_vocabulary() {
        // The fixture's tokenizer has a SHA-256 of nines.
        let (ours, other) =
            (format!("{GREEN}/vocab/0909090909090909"), format!("{GREEN}/vocab/{}", "0a".repeat(8)));
        let wide = format!("{WIDE}/vocab/0909090909090909");
        let distinct = |keys: &[ScoredKey]| sealed(Statistic::Distinct, keys);
        assert_eq!(distinct(&[key(SERVED, &ours, 1), key(SERVED, &wide, 1)]), Ok(()));
        assert!(distinct(&[key(SERVED, &other, 1)]).unwrap_err().contains("tokenizer_sha256 begins with"));
        for mixed in [&other, &ours] {
            let error = distinct(&[key(SERVED, WIDE, 1), key(SERVED, mixed, 1)]).unwrap_err();
            assert!(error.contains("belong to one vocabulary"), "{error}");
        }
    }

    #[test]
    fn a_source_that_lists_any_scored_key_is_refused() {
        let mut draft = fixture::draft();
        draft.pool(Access::Text, &[(GREEN, 1), (WIDE, 1)]);
        draft.plan.tests[0].keys.push(key(UNUSED, GREEN, 1));
        let listed = MarkedUnder { key_id: draft.plan.key_id.clone(), epoch: UNUSED.parse().unwrap() };
        draft.plan.sources[0].keys = vec![listed];
        let refused = |draft: &fixture::Draft| {
            let plan = draft.plan.clone().seal("2026-11-23T09:00:00Z").unwrap();
            analyse(&plan, &draft.material, None, &draft.keys()).unwrap_err()
        };
        let error = refused(&draft);
        assert!(
            matches!(&error, CaseError::DependentSource { test, .. } if test == "student, text"),
            "{error}"
        );
    }

    #[test]
    fn a_reference_younger_than_any_scored_key_is_refused() {
        let mut plan = fixture::draft().plan;
        plan.sources[0].independent = Independence::PredatesKey;
        plan.sources[0].created = Planned::Set { value: "2026-09-01T00:00:00Z".to_owned() };
        plan.tests.truncate(1);
        plan.tests[0].keys.push(key(UNUSED, GREEN, 1));
        assert!(plan.clone().seal("2026-11-23T09:00:00Z").is_ok());
        plan.first_served[1].time = Planned::Set { value: "2026-08-01T00:00:00Z".to_owned() };
        let error = plan.clone().seal("2026-11-23T09:00:00Z").unwrap_err().to_string();
        assert!(error.contains("younger than the key"), "{error}");
        drop(plan.first_served.pop());
        assert!(plan.seal("2026-11-23T09:00:00Z").unwrap_err().to_string().contains("first_served"));
    }

    #[test]
    fn marks_are_read_and_written_alike() {
        let id = "ab".repeat(32);
        for (mark, first) in [
            ("canary/1".to_owned(), None),
            (GREEN.to_owned(), Some(GREEN.to_owned())),
            ("gumbel/1/w4+2".to_owned(), Some("gumbel/1/w4/arm/0".to_owned())),
            (
                format!("gumbel/1/w4+2/vocab/0123456789abcdef/for/tenant/{id}"),
                Some(format!("gumbel/1/w4/vocab/0123456789abcdef/for/tenant/{id}/arm/0")),
            ),
        ] {
            let parsed: Mark = mark.parse().unwrap();
            assert_eq!(parsed.to_string(), mark);
            assert_eq!(parsed.labels().first().map(|label| label.as_str().to_owned()), first);
        }
        for wrong in [
            "canary",
            "canary/1/vocab/0123456789abcdef",
            "green/1/w01/b2/t1",
            "green/1/w1/b2/t1/vocab/0123456789ABCDEF",
            "green/1/w1/b2/t1/vocab/0123",
            "green/1/w1/b2/t1/for/tenant/me",
            "green/1/w1/b2/t1/vocab/0123456789abcdef/arm/0",
            "green/1/w1/b2/t1/",
        ] {
            assert!(wrong.parse::<Mark>().is_err(), "{wrong}");
        }
        assert!(format!("{GREEN}/for/account/{id}").parse::<Mark>().is_err());
        assert!(format!("{GREEN}/for/tenant/{id}/vocab/0123456789abcdef").parse::<Mark>().is_err());
    }
}
