//! What coefficients are made from, and why that does not depend on the scored key.

use serde::{Deserialize, Serialize};

use super::{Plan, PlanError, Planned, PlannedTest};
use crate::key::{Commitment, Epoch, KeyId};

/// Something that coefficients are made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Unique name.
    pub name: String,
    /// SHA-256 of the file or weights.
    pub sha256: Commitment,
    /// When it was made, RFC 3339 in UTC, where that is known.
    pub created: Planned<String>,
    /// Why it does not depend on the scored key.
    pub independent: Independence,
    /// Ids of the keys of anything marked in it.
    pub keys: Vec<MarkedUnder>,
}

/// Why a source does not depend on the scored key (rule 2 of validity): one of these must hold, or it is no source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Independence {
    /// It is the served model itself, never trained on marked answers and run with the mark off.
    UnmarkedTeacher,
    /// It was made before the key marked anything: `created` is earlier than the first answer served.
    PredatesKey,
    /// The tester made it from inputs that are all known: `keys` lists every key that marked any of them.
    OwnWork,
}

/// When a key began to mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstServed {
    /// The epoch.
    pub epoch: Epoch,
    /// When the first answer under its key was served, RFC 3339 in UTC.
    pub time: Planned<String>,
}

/// A key that marked something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkedUnder {
    /// The secret's id.
    pub key_id: KeyId,
    /// The epoch.
    pub epoch: Epoch,
}

/// Refuses a source that claims to be older than the scored keys and is not: it may have learned from marked text.
pub(super) fn check_ages(plan: &Plan, test: &PlannedTest) -> Result<(), PlanError> {
    test.epochs().into_iter().try_for_each(|epoch| check_ages_in(plan, test, epoch))
}

fn check_ages_in(plan: &Plan, test: &PlannedTest, epoch: &Epoch) -> Result<(), PlanError> {
    let mut served = plan.first_served.iter().filter(|served| served.epoch == *epoch);
    let (Some(served), None) = (served.next(), served.next()) else {
        let what = "is to be named once, with the time of its first answer";
        return Err(PlanError::Field(format!("first_served: epoch {epoch} {what}")));
    };
    let older = |source: &&Source| {
        source.independent == Independence::PredatesKey && test.sources.contains(&source.name)
    };
    plan.sources.iter().filter(older).try_for_each(|source| source.check_age(served))
}

impl Source {
    fn check_age(&self, served: &FirstServed) -> Result<(), PlanError> {
        let wrong = |what: String| Err(PlanError::Field(format!("sources, {}: {what}", self.name)));
        let (Planned::Set { value: created }, Planned::Set { value: first }) = (&self.created, &served.time)
        else {
            return wrong(
                "that it predates the key takes \"created\" and the epoch's \"first_served\"".to_owned(),
            );
        };
        match [created, first].into_iter().find(|time| !is_utc(time)) {
            Some(time) => wrong(format!("{time} is no time such as 2026-11-23T09:00:00Z")),
            // Such times sort as they follow each other.
            None if created >= first => wrong(format!(
                "made {created}, and the key of epoch {} marked from {first} on: a reference younger than the key may have \
                 learned from marked text; take the unmarked teacher, or a model from before",
                served.epoch
            )),
            None => Ok(()),
        }
    }
}

/// `YYYY-MM-DDThh:mm:ssZ`.
fn is_utc(time: &str) -> bool {
    let form = "0000-00-00T00:00:00Z";
    time.len() == form.len()
        && time
            .chars()
            .zip(form.chars())
            .all(|(c, form)| if form == '0' { c.is_ascii_digit() } else { c == form })
}

/// A time such as 2026-11-23T09:00:00Z in seconds since 1970; none where it has another form or lies before.
pub(super) fn seconds(time: &str) -> Option<u64> {
    if !is_utc(time) {
        return None;
    }
    let number = |from: usize, to: usize| time.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    // Days of the proleptic Gregorian calendar, years counted from March (Richards 1998, in Hinnant's form).
    let year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year;
    let seconds =
        (days - 719_468) * 86_400 + number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?;
    u64::try_from(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::fixture;
    use crate::case::plan::{Access, Statistic};

    fn sealed(change: impl FnOnce(&mut Plan)) -> Result<(), String> {
        let mut plan = fixture::draft().plan;
        change(&mut plan);
        plan.seal("2026-11-23T09:00:00Z").map(|_| ()).map_err(|error| error.to_string())
    }

    fn made(created: Planned<String>) -> impl FnOnce(&mut Plan) {
        |plan: &mut Plan| {
            plan.sources[0].independent = Independence::PredatesKey;
            plan.sources[0].created = created;
        }
    }

    #[test]
    fn a_reference_younger_than_the_key_is_refused() {
        let time = |time: &str| Planned::Set { value: time.to_owned() };
        // The fixture's keys marked from 2026-10-01 on.
        assert_eq!(sealed(made(time("2026-09-30T23:59:59Z"))), Ok(()));
        for late in ["2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z"] {
            let error = sealed(made(time(late))).unwrap_err();
            assert!(error.contains("younger than the key"), "{error}");
        }
        for unclear in [Planned::absent("nobody knows"), time("last week"), time("2026-09-30T23:59:59+09:00")]
        {
            assert!(sealed(made(unclear)).is_err());
        }
        // The unmarked teacher may be of any age.
        assert_eq!(sealed(|plan| plan.sources[0].created = time("2027-01-01T00:00:00Z")), Ok(()));
    }

    #[test]
    fn times_are_seconds_since_1970() {
        for (time, wanted) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:01Z", Some(951_825_601)),
            ("2026-11-23T09:00:00Z", Some(1_795_424_400)),
            ("1969-12-31T23:59:59Z", None),
            ("2026-11-23T09:00:00", None),
        ] {
            assert_eq!(seconds(time), wanted, "{time}");
        }
    }

    #[test]
    fn a_residual_needs_the_reference_among_its_sources() {
        for statistic in [Statistic::TextResidual, Statistic::Residual] {
            let of = |plan: &Plan| plan.tests.iter().position(|test| test.statistic == statistic);
            let text = |plan: &mut Plan| {
                let texts = plan.tests.iter_mut().filter(|test| test.access == Access::Text);
                texts.for_each(|test| test.statistic = Statistic::TextResidual);
            };
            assert_eq!(sealed(text), Ok(()));
            let unlisted = sealed(|plan| {
                text(plan);
                let at = of(plan).unwrap();
                plan.tests[at].sources.clear();
            });
            assert!(unlisted.unwrap_err().contains("reference among its sources"), "{statistic:?}");
            let absent = sealed(|plan| {
                text(plan);
                plan.tests.retain(|test| test.statistic == statistic);
                plan.reference = Planned::absent("forgotten");
            });
            assert!(absent.unwrap_err().contains("reference among its sources"), "{statistic:?}");
        }
    }

    #[test]
    fn every_scored_epoch_says_once_when_it_began() {
        let error = sealed(|plan| drop(plan.first_served.pop())).unwrap_err();
        assert!(error.contains("first_served"), "{error}");
        assert!(sealed(|plan| plan.first_served.push(plan.first_served[0].clone())).is_err());
    }
}
