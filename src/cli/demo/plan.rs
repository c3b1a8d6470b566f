//! The demo's plan: every field, before the first probe.

use super::super::verdict;
use super::Setting;
use crate::case::plan::{
    Access, ContextRule, Correction, FORMAT, FirstServed, Independence, MarkedUnder, Plan, Planned,
    PlannedTest, Pool, Role, RowRule, ScoredKey, Source, Statistic, prompts_sha256, statistic_sha256,
};
use crate::key::{Commitment, Epoch};
use crate::score::Provenance;
use crate::token::TokenId;

/// The family-wise level.
const ALPHA: f64 = 1e-6;

/// What differs between the embedded and the real demo.
#[derive(Debug)]
pub(super) struct Design {
    /// Suspects in table order: name and role.
    pub(super) suspects: Vec<(&'static str, Role)>,
    /// The accesses, the registered primary one first, each with its statistic and sources.
    pub(super) accesses: Vec<(Access, Statistic, Vec<String>)>,
    /// What the coefficients come from.
    pub(super) sources: Vec<Source>,
    /// The reference of residuals.
    pub(super) reference: Planned<String>,
    /// Tokens asked of a suspect for each prompt.
    pub(super) answer_tokens: u32,
    /// Where distributions are read.
    pub(super) contexts: Planned<ContextRule>,
    /// What is read there.
    pub(super) rows: Planned<RowRule>,
    /// What suspects read.
    pub(super) documents: Planned<Commitment>,
    /// What the positive control was trained on.
    pub(super) effect: String,
}

pub(super) fn plan(setting: &Setting, design: Design, pool: &[Vec<TokenId>]) -> Plan {
    Plan {
        format: FORMAT.to_owned(),
        number: 1,
        hypothesis: "H0: the suspect's training and this test's inputs are independent of the key. H1 (claim P3): the \
                     suspect was exposed to answers marked under the key, by a route this test does not identify."
            .to_owned(),
        key_id: setting.genesis.key_id.clone(),
        genesis_root: setting.genesis.root,
        tokenizer_sha256: setting.genesis.tokenizer_sha256,
        tests: tests(setting, &design),
        pool: Pool {
            prompts: u32::try_from(pool.len()).unwrap_or(u32::MAX),
            sha256: prompts_sha256(pool),
            provenance: Provenance::Fresh,
            beacon: Planned::absent(
                "the demo waits for no public beacon: all prompts are used in order, so to outsiders this is exploratory",
            ),
            answer_tokens: design.answer_tokens,
            contexts: design.contexts,
            rows: design.rows,
            documents: design.documents,
        },
        statistic_sha256: statistic_sha256(),
        first_served: [&setting.epoch, &setting.unused_epoch].map(first_served).into(),
        sources: design.sources,
        reference: design.reference,
        exposure: Planned::absent("windows weigh alike: at width 1 exposure gains little"),
        canaries: Planned::absent("no canaries were planted"),
        matchers: Planned::absent("no canaries are planted"),
        exclusions: vec![
            "positions whose window is not wholly known".to_owned(),
            "repeated (window, token): the same coin is one draw".to_owned(),
            "reading: windows consulted before in the documents' order".to_owned(),
        ],
        lambda_grid: (0..=12).collect(),
        shares: vec![1.0, 0.1, 0.01],
        order: "answers in the order of the pool; documents in the order served".to_owned(),
        alpha: ALPHA,
        correction: Correction::Holm,
        stopping: "the number of prompts, contexts and documents is fixed; nothing is looked at before the end".to_owned(),
        futility: Planned::absent("the whole budget is spent in one go"),
        refusals: "an empty answer gives no draws and stays in".to_owned(),
        missing_rows: "a row that is due and missing stops the analysis".to_owned(),
        effect: design.effect,
        power: Planned::absent(
            "the positive control (student) is tested in the same run; its result is the planned power of the others",
        ),
    }
}

fn first_served(epoch: &Epoch) -> FirstServed {
    let why = "the demo serves and tests in one run, and no source of it claims to be older";
    FirstServed { epoch: epoch.clone(), time: Planned::absent(why) }
}

/// A source that nothing marked went into.
pub(super) fn unmarked(
    name: &str,
    sha256: Commitment,
    independent: Independence,
    why_no_date: &str,
) -> Source {
    Source {
        name: name.to_owned(),
        sha256,
        created: Planned::absent(why_no_date),
        independent,
        keys: Vec::<MarkedUnder>::new(),
    }
}

fn tests(setting: &Setting, design: &Design) -> Vec<PlannedTest> {
    let planned = |name: &str, suspect: &str, role, epoch: &Epoch| {
        let of = |(access, statistic, sources): &(Access, Statistic, Vec<String>)| PlannedTest {
            name: format!("{name}/{}", verdict::access(*access)),
            suspect: suspect.to_owned(),
            role,
            access: *access,
            statistic: *statistic,
            keys: vec![ScoredKey { epoch: epoch.clone(), mark: setting.spec.into(), weight: 1 }],
            sources: sources.clone(),
        };
        design.accesses.iter().map(of).collect::<Vec<_>>()
    };
    let of_role = |wanted: fn(Role) -> bool| {
        let suspects = design.suspects.iter().filter(move |(_, role)| wanted(*role));
        suspects.flat_map(|(name, role)| planned(name, name, *role, &setting.epoch))
    };
    let mut tests: Vec<PlannedTest> = of_role(Role::is_registered).collect();
    if let Some((student, _)) = design.suspects.iter().find(|(_, role)| *role == Role::Student) {
        tests.extend(planned("wrong key", student, Role::WrongKey, &setting.unused_epoch));
    }
    tests.extend(of_role(|role| role == Role::Innocent));
    tests
}
