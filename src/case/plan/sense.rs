//! Plans that are well formed and mean nothing, or count one thing twice.

use super::{Plan, PlanError, Planned, PlannedTest, Role, matchers_sha256, statistic_sha256};
use crate::key::Genesis;

impl Plan {
    /// Refuses a genesis other than the one that the plan names. The secret's id counts too: it is what the keys of sources
    /// are compared with.
    ///
    /// # Errors
    /// Another root, another secret's id or another tokenizer.
    pub fn check_genesis(&self, genesis: &Genesis) -> Result<(), PlanError> {
        let fields = [
            ("genesis_root", self.genesis_root.to_string(), genesis.root.to_string()),
            ("key_id", self.key_id.to_string(), genesis.key_id.to_string()),
            ("tokenizer_sha256", self.tokenizer_sha256.to_string(), genesis.tokenizer_sha256.to_string()),
        ];
        match fields.into_iter().find(|(_, planned, published)| planned != published) {
            Some((field, planned, published)) => Err(PlanError::Field(format!(
                "{field}: {planned}, and the genesis has {published}: it is not the one that the plan names"
            ))),
            None => Ok(()),
        }
    }

    /// Refuses a plan for other statistics or readers of canaries than this program's.
    ///
    /// # Errors
    /// Another hash than [`statistic_sha256`] or, where the plan has canaries, [`matchers_sha256`].
    pub fn check_version(&self) -> Result<(), PlanError> {
        let readers = match self.matchers {
            Planned::Set { value } => value,
            Planned::Absent { .. } => matchers_sha256(),
        };
        let fields = [
            ("statistic_sha256", self.statistic_sha256, statistic_sha256()),
            ("matchers", readers, matchers_sha256()),
        ];
        match fields.into_iter().find(|(_, planned, ours)| planned != ours) {
            Some((field, planned, ours)) => Err(PlanError::Field(format!(
                "{field}: {planned}, and this version has {ours} (`taggant plan version`): use the version that the plan was \
                 sealed for"
            ))),
            None => Ok(()),
        }
    }

    pub(super) fn check_sense(&self) -> Result<(), PlanError> {
        let wrong = |what: String| Err(PlanError::Field(what));
        let words = [
            ("hypothesis", &self.hypothesis),
            ("order", &self.order),
            ("stopping", &self.stopping),
            ("refusals", &self.refusals),
            ("missing_rows", &self.missing_rows),
            ("effect", &self.effect),
        ];
        if let Some((field, _)) = words.into_iter().find(|(_, words)| words.trim().is_empty()) {
            return wrong(format!("{field}: says nothing"));
        }
        if let Planned::Set { value } = self.power
            && !(value > 0.0 && value <= 1.0)
        {
            return wrong(format!("power: {value} is no probability above 0"));
        }
        if let Some((one, other)) = pairs(&self.tests).find(|(one, other)| one.looks_like(other)) {
            let what = "are one test under two names: one look counts once";
            return wrong(format!("tests, {} and {}: {what}", one.name, other.name));
        }
        match pairs(&self.tests).find(|(one, other)| one.contradicts(other)) {
            Some((one, other)) => wrong(format!(
                "tests, {} and {}: {} cannot be both {} and {}",
                one.name,
                other.name,
                one.suspect,
                one.role.name(),
                other.role.name()
            )),
            None => Ok(()),
        }
    }
}

impl PlannedTest {
    fn looks_like(&self, other: &Self) -> bool {
        let look = |test: &Self| (test.suspect.clone(), test.statistic, test.role);
        look(self) == look(other) && self.sorted_keys() == other.sorted_keys()
    }

    /// Whether one suspect is two things. The same evidence under a wrong key says nothing of what a suspect is.
    fn contradicts(&self, other: &Self) -> bool {
        let says = |test: &Self| test.role != Role::WrongKey;
        self.suspect == other.suspect && self.role != other.role && says(self) && says(other)
    }
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Student => "student",
            Self::Control => "control",
            Self::Suspect => "suspect",
            Self::WrongKey => "wrong-key",
            Self::Innocent => "innocent",
        }
    }
}

fn pairs<T>(items: &[T]) -> impl Iterator<Item = (&T, &T)> {
    (1..).zip(items).flat_map(|(next, one)| items[next..].iter().map(move |other| (one, other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::fixture;
    use crate::key::Commitment;

    fn refused(change: impl FnOnce(&mut Plan)) -> String {
        let mut plan = fixture::draft().plan;
        change(&mut plan);
        plan.seal("2026-11-23T09:00:00Z").unwrap_err().to_string()
    }

    #[test]
    fn what_says_nothing_is_refused() {
        assert!(refused(|plan| plan.hypothesis = " ".to_owned()).contains("hypothesis"));
        for power in [0.0, 7.0, f64::NAN] {
            assert!(refused(|plan| plan.power = Planned::Set { value: power }).contains("power"));
        }
    }

    #[test]
    fn a_test_counts_once_and_a_suspect_is_one_thing() {
        let twice = refused(|plan| {
            let again = PlannedTest { name: "again".to_owned(), ..plan.tests[0].clone() };
            plan.tests.push(again);
        });
        assert!(twice.contains("one look counts once"), "{twice}");
        let both = refused(|plan| {
            let role = if plan.tests[0].role == Role::Innocent { Role::Suspect } else { Role::Innocent };
            let again = PlannedTest { name: "again".to_owned(), role, ..plan.tests[0].clone() };
            plan.tests.push(again);
        });
        assert!(both.contains("cannot be both"), "{both}");
    }

    #[test]
    fn another_genesis_or_version_is_refused() {
        let draft = fixture::draft();
        assert!(draft.plan.check_genesis(&draft.genesis).is_ok());
        let mut plan = draft.plan.clone();
        plan.key_id = "0123456789abcdef".parse().unwrap();
        assert!(plan.check_genesis(&draft.genesis).unwrap_err().to_string().contains("key_id"));
        assert!(draft.plan.check_version().is_ok());
        plan.statistic_sha256 = Commitment([0; 32]);
        assert!(plan.check_version().unwrap_err().to_string().contains("statistic_sha256"));
    }
}
