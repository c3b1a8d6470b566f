//! A small case for tests: a language of random tokens, a student tilted to green ones, a clean control, innocents.
//!
//! Everything follows from one ChaCha seed, so its numbers are the same in every run.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

use super::bundle::{Bundle, Parts};
use super::material::{
    Answer, Beside, Content, Distributions, Material, ReadingMaterial, ReadingRow, Rows, Table,
};
use super::plan::{
    Access, ContextRule, Correction, FORMAT, FirstServed, Independence, Mark, Plan, Planned, PlannedTest,
    Pool, Role, RowRule, ScoredKey, SealedPlan, Source, Statistic, contexts, documents_sha256,
    prompts_sha256, statistic_sha256,
};
use super::{Analysis, analyse};
use crate::key::{Commitment, Epoch, Genesis, Opening, SchemeKey, Secret};
use crate::scheme::{Scheme, Spec};
use crate::score::{Expecting, Exposure, Over, Provenance, Text};
use crate::token::TokenId;

const VOCABULARY: u32 = 240;
const PROMPTS: u32 = 40;
const ANSWER: u32 = 90;

pub(super) struct Fixture {
    pub(super) plan: SealedPlan,
    pub(super) genesis: Genesis,
    pub(super) openings: Vec<Opening>,
    pub(super) material: Vec<Material>,
    pub(super) analysis: Analysis,
}

/// What the genesis of the case has keys for.
const MARKS: [&str; 4] = ["green/1/w1/b2/t1", "green/1/w2/b1/t1", "gumbel/1/w1", "tournament/1/w1/d3"];

fn secret() -> Secret {
    Secret::from_bytes([42; 32])
}

/// The case, analysed.
pub(super) fn fixture() -> Fixture {
    draft().sealed()
}

/// What a case has before it is sealed: tests change it here.
pub(super) struct Draft {
    pub(super) plan: Plan,
    pub(super) genesis: Genesis,
    pub(super) openings: Vec<Opening>,
    pub(super) material: Vec<Material>,
}

impl Draft {
    pub(super) fn keys(&self) -> Vec<SchemeKey> {
        self.openings.iter().filter_map(|opening| self.genesis.verify(opening).unwrap()).collect()
    }

    pub(super) fn sealed(self) -> Fixture {
        let keys = self.keys();
        let Self { plan, genesis, openings, material } = self;
        let plan = plan.seal("2026-11-23T10:00:00Z").unwrap();
        let analysis = analyse(&plan, &material, None, &keys).unwrap();
        Fixture { plan, genesis, openings, material, analysis }
    }

    /// Scores the tests of an access under several keys of the epoch they name, each with its weight.
    pub(super) fn pool(&mut self, access: Access, marks: &[(&str, u8)]) {
        for test in self.plan.tests.iter_mut().filter(|test| test.access == access) {
            let epoch = test.keys[0].epoch.clone();
            let key = |(mark, weight): &(&str, u8)| ScoredKey {
                epoch: epoch.clone(),
                mark: mark.parse().unwrap(),
                weight: *weight,
            };
            test.keys = marks.iter().map(key).collect();
            for label in test.keys.iter().flat_map(|key| key.mark.labels()) {
                let opening = self.genesis.open(&secret(), &epoch, Some(&label)).unwrap();
                if !self.openings.contains(&opening) {
                    self.openings.push(opening);
                }
            }
        }
    }

    /// Weighs the windows of residuals by how often they occur in the control's answers, as if those were traffic.
    pub(super) fn exposed(&mut self) {
        let width = self.plan.specs()[0].width();
        let of = |material: &&Material| material.suspect == "control" && material.access() == Access::Text;
        let Content::Beside(control) = &self.material.iter().find(of).unwrap().content else {
            panic!("text")
        };
        let exchanges: Vec<_> =
            control.answers.iter().map(|answer| answer.exchange(Provenance::Fresh)).collect();
        let mut exposure = Exposure::new(width, []);
        exchanges.iter().for_each(|exchange| exposure.add(exchange));
        let listed = exposure.listed(Text::count(width, (0..).zip(&exchanges)).unwrap().windows());
        for material in &mut self.material {
            match &mut material.content {
                Content::Beside(beside) => beside.exposure = Some(listed.clone()),
                Content::Distributions(rows) => rows.exposure = Some(listed.clone()),
                Content::Canary(_) | Content::Likelihoods(_) | Content::Reading(_) | Content::Text(_) => {}
            }
        }
        let traffic = Source { name: "traffic".to_owned(), ..self.plan.sources[0].clone() };
        self.plan.sources.push(traffic);
        self.plan.exposure = Planned::Set { value: "traffic".to_owned() };
        self.plan.tests.iter_mut().for_each(|test| test.sources.push("traffic".to_owned()));
    }

    /// Tests every text beside a reference that expects all tokens alike.
    pub(super) fn beside_a_flat_reference(&mut self) {
        let vocabulary = VOCABULARY as usize;
        let width = self.plan.specs()[0].width();
        for material in &mut self.material {
            let Content::Text(answers) = &material.content else { continue };
            let exchanges: Vec<_> = answers.iter().map(|answer| answer.exchange(Provenance::Fresh)).collect();
            let text = Text::count(width, (0..).zip(&exchanges)).unwrap();
            let mut expecting = Expecting::new(&text, Over::Vocabulary(vocabulary));
            for (number, exchange) in exchanges.iter().enumerate() {
                let rows = vec![1.0 / 240.0; exchange.response.len() * vocabulary];
                expecting.expect(number, vocabulary, &rows).unwrap();
            }
            let (answers, expectation) = (answers.clone(), expecting.finish().unwrap());
            material.content = Content::Beside(Beside { answers, expectation, exposure: None });
        }
        let texts = self.plan.tests.iter_mut().filter(|test| test.access == Access::Text);
        texts.for_each(|test| test.statistic = Statistic::TextResidual);
    }

    /// Keeps the likeliest tokens of each row, as many as `rule` says, and of the reference what belongs to them.
    pub(super) fn listed(&mut self, rule: RowRule) {
        let (RowRule::Top(most) | RowRule::Known(most)) = rule else { panic!("{rule:?}") };
        for material in &mut self.material {
            let Content::Distributions(rows) = &mut material.content else { continue };
            let whole = |rows: &Rows| match rows {
                Rows::Whole(table) => table.rows().unwrap(),
                Rows::Listed(_) => panic!("whole rows"),
            };
            let (q, b) = (whole(&rows.q), rows.b.as_ref().map(whole).unwrap());
            let listed = |row: &Vec<f32>| -> Vec<(TokenId, f32)> {
                likeliest(row, most as usize).into_iter().map(|token| (token, row[token as usize])).collect()
            };
            rows.q = Rows::listed(q.iter().map(listed));
            rows.b = Some(rows.q.reference(rule, &b));
        }
        self.plan.pool.rows = Planned::Set { value: rule };
    }

    /// Gives a suspect what another gave in some access.
    pub(super) fn copy(&mut self, access: Access, from: &str, to: &str) {
        let of =
            |material: &&mut Material, name: &str| material.suspect == name && material.access() == access;
        let content = self.material.iter_mut().find(|material| of(material, from)).unwrap().content.clone();
        self.material.iter_mut().find(|material| of(material, to)).unwrap().content = content;
    }
}

impl Fixture {
    pub(super) fn bundle(self) -> Bundle {
        let Self { plan, genesis, openings, material, analysis } = self;
        let created = "2026-11-23T11:00:00Z".to_owned();
        Bundle::new(Parts { plan, genesis, openings, canaries: None, material, analysis, created }).unwrap()
    }
}

/// The spelling of a token: mostly harmless, sometimes as hostile as text from outside can be.
pub(super) fn word(token: TokenId) -> String {
    match token {
        3 => "\n".to_owned(),
        7 => " <script>alert(1)</script>".to_owned(),
        11 | 71 | 131 | 191 => " &amp;\u{202e}".to_owned(),
        _ => {
            let syllable = |n: u32| ["ka", "lo", "mi", "ren", "su", "ta", "vo", "x"][(n % 8) as usize];
            let (first, last) = (syllable(token), syllable(token / 8));
            format!("{}{first}{last}", if token.is_multiple_of(5) { "" } else { " " })
        }
    }
}

pub(super) fn decode(tokens: &[TokenId]) -> String {
    tokens.iter().copied().map(word).collect()
}

pub(super) fn draft() -> Draft {
    draft_in("2026-q4")
}

/// A case whose answers were served in `epoch`.
pub(super) fn draft_in(epoch: &str) -> Draft {
    let spec: Spec = "green/1/w1/b2/t1".parse().unwrap();
    let (served, unused): (Epoch, Epoch) = (epoch.parse().unwrap(), "2026-q4-unused".parse().unwrap());
    let secret = secret();
    let label = spec.label();
    let labels: Vec<_> = MARKS.iter().flat_map(|mark| mark.parse::<Mark>().unwrap().labels()).collect();
    let epochs = [(served.clone(), labels.clone()), (unused.clone(), labels)];
    let genesis = Genesis::new(&secret, [9; 32], &epochs);
    let openings = [&served, &unused].map(|epoch| genesis.open(&secret, epoch, Some(&label)).unwrap()).into();

    let mark = spec.open(&secret.epoch_key(&served));
    let mut world = World(ChaCha20Rng::from_seed([1; 32]));
    let prompts: Vec<Vec<TokenId>> = (0..PROMPTS).map(|_| world.text(&[], 8, None)).collect();
    let text = |suspect: &str, answers: &[Answer]| Material {
        suspect: suspect.to_owned(),
        content: Content::Text(answers.to_vec()),
    };
    let student = world.answers(&prompts, Some((&mark, 22)));
    let control = world.answers(&prompts, None);
    let documents = world.documents(&mark);
    let material = vec![
        text("student", &student),
        text("control", &control),
        text("innocent-1", &world.answers(&prompts, None)),
        text("innocent-2", &world.answers(&prompts, None)),
        distributions("student", &student, Some(&mark)),
        distributions("control", &control, None),
        distributions("innocent-1", &world.answers(&prompts, None), None),
        read("student", &documents, Some(&mark)),
        read("innocent-1", &documents, None),
    ];
    let mut plan = plan(&genesis, &prompts, tests(spec, &served, &unused));
    plan.first_served = [&served, &unused].map(first_served).into();
    plan.pool.documents = Planned::Set { value: documents_sha256(&documents) };
    Draft { plan, genesis, openings, material }
}

fn first_served(epoch: &Epoch) -> FirstServed {
    FirstServed { epoch: epoch.clone(), time: Planned::Set { value: "2026-10-01T00:00:00Z".to_owned() } }
}

fn tests(spec: Spec, served: &Epoch, unused: &Epoch) -> Vec<PlannedTest> {
    use {Access::*, Role::*};
    let test = |name: &str, suspect: &str, role, access, epoch: &Epoch| PlannedTest {
        name: name.to_owned(),
        suspect: suspect.to_owned(),
        role,
        access,
        statistic: match access {
            Canary => Statistic::CanaryFirst,
            Likelihoods => Statistic::CanaryLikelihood,
            Route => Statistic::CanaryRoute,
            Distributions => Statistic::Residual,
            Reading => Statistic::ReadingMass,
            Text => Statistic::RootCount,
        },
        keys: vec![ScoredKey { epoch: epoch.clone(), mark: spec.into(), weight: 1 }],
        sources: vec!["teacher".to_owned()],
    };
    vec![
        test("student, text", "student", Student, Text, served),
        test("student, distributions", "student", Student, Distributions, served),
        test("student, reading", "student", Student, Reading, served),
        test("control, text", "control", Control, Text, served),
        test("control, distributions", "control", Control, Distributions, served),
        test("wrong key, text", "student", WrongKey, Text, unused),
        test("wrong key, distributions", "student", WrongKey, Distributions, unused),
        test("innocent-1, text", "innocent-1", Innocent, Text, served),
        test("innocent-2, text", "innocent-2", Innocent, Text, served),
        test("innocent-1, distributions", "innocent-1", Innocent, Distributions, served),
        test("innocent-1, reading", "innocent-1", Innocent, Reading, served),
    ]
}

fn plan(genesis: &Genesis, prompts: &[Vec<TokenId>], tests: Vec<PlannedTest>) -> Plan {
    Plan {
        format: FORMAT.to_owned(),
        number: 1,
        hypothesis: "H0: the student is independent of the key. H1: it learned from answers marked under it."
            .to_owned(),
        key_id: genesis.key_id.clone(),
        genesis_root: genesis.root,
        tokenizer_sha256: genesis.tokenizer_sha256,
        tests,
        pool: Pool {
            prompts: PROMPTS,
            sha256: prompts_sha256(prompts),
            provenance: Provenance::Fresh,
            beacon: Planned::absent("this case runs offline"),
            answer_tokens: ANSWER,
            contexts: Planned::Set { value: ContextRule::OneAnAnswer },
            rows: Planned::Set { value: RowRule::Whole },
            documents: Planned::absent("set once they are served"),
        },
        statistic_sha256: statistic_sha256(),
        first_served: Vec::new(),
        sources: vec![Source {
            name: "teacher".to_owned(),
            sha256: Commitment(Sha256::digest(b"teacher").into()),
            created: Planned::absent("made in the test"),
            independent: Independence::UnmarkedTeacher,
            keys: Vec::new(),
        }],
        reference: Planned::Set { value: "teacher".to_owned() },
        exposure: Planned::absent("windows weigh alike"),
        canaries: Planned::absent("no canaries"),
        matchers: Planned::absent("no canaries"),
        exclusions: vec!["repeated draws".to_owned(), "windows shorter than the width".to_owned()],
        lambda_grid: (0..=12).collect(),
        shares: vec![1.0, 0.1, 0.01],
        order: "prompts in pool order".to_owned(),
        alpha: 1e-6,
        correction: Correction::Holm,
        stopping: "after the last prompt".to_owned(),
        futility: Planned::absent("one batch"),
        refusals: "count as answers".to_owned(),
        missing_rows: "no analysis".to_owned(),
        effect: "that of the positive control".to_owned(),
        power: Planned::absent("the positive control's"),
    }
}

/// Probabilities of the next token after `window`: a fixed fall-off, and e^δ = 4 times as much for green tokens.
fn row(window: TokenId, tilt: Option<&Scheme>) -> Vec<f32> {
    let weight = |token: TokenId| {
        let rank = (token * 7 + window * 31) % VOCABULARY;
        let green = tilt.is_some_and(|scheme| is_green(scheme, window, token));
        f64::from(if green { 4 } else { 1 }) / f64::from(rank * rank / 8 + 2)
    };
    let weights: Vec<f64> = (0..VOCABULARY).map(weight).collect();
    let total: f64 = weights.iter().sum();
    #[expect(clippy::cast_possible_truncation, reason = "a test's probabilities")]
    weights.iter().map(|weight| (weight / total) as f32).collect()
}

fn is_green(scheme: &Scheme, window: TokenId, token: TokenId) -> bool {
    let arm = &scheme.arms()[0];
    arm.word(&arm.seed(&[window]), token) == 1
}

fn distributions(suspect: &str, answers: &[Answer], tilt: Option<&Scheme>) -> Material {
    let prompts: Vec<Vec<TokenId>> = answers.iter().map(|answer| answer.prompt.clone()).collect();
    let contexts = contexts(&prompts_sha256(&prompts), answers);
    let rows = |tilt: Option<&Scheme>| {
        let window = |&(answer, at): &(u32, u32)| {
            let answer = &answers[answer as usize];
            answer.tokens()[answer.prompt.len() + at as usize - 1]
        };
        Table::pack(VOCABULARY, contexts.iter().map(|context| row(window(context), tilt)))
    };
    // A control that equals its reference would have no draw: it is the reference read at a slightly other point.
    let q = if tilt.is_some() { rows(tilt) } else { Table::pack(VOCABULARY, shifted(answers, &contexts)) };
    let (q, b) = (Rows::Whole(q), Some(Rows::Whole(rows(None))));
    let content =
        Content::Distributions(Distributions { answers: answers.to_vec(), contexts, q, b, exposure: None });
    Material { suspect: suspect.to_owned(), content }
}

/// The `most` likeliest tokens of a row, as an interface returns them.
fn likeliest(row: &[f32], most: usize) -> Vec<TokenId> {
    let mut tokens: Vec<TokenId> = (0..VOCABULARY).collect();
    tokens.sort_by(|a, b| row[*b as usize].total_cmp(&row[*a as usize]));
    tokens.truncate(most);
    tokens
}

fn shifted(answers: &[Answer], contexts: &[(u32, u32)]) -> Vec<Vec<f32>> {
    let window = |&(answer, at): &(u32, u32)| {
        let answer = &answers[answer as usize];
        answer.tokens()[answer.prompt.len() + at as usize - 1]
    };
    contexts.iter().map(|context| row((window(context) + 1) % VOCABULARY, None)).collect()
}

struct World(ChaCha20Rng);

impl World {
    /// A number below `n`; a test's randomness may be a little uneven.
    fn below(&mut self, n: u32) -> u32 {
        self.0.next_u32() % n
    }

    /// `length` tokens after `before`; with a tilt (mark, percent), that share of tokens is drawn again until green.
    fn text(&mut self, before: &[TokenId], length: u32, tilt: Option<(&Scheme, u32)>) -> Vec<TokenId> {
        let mut last = before.last().copied().unwrap_or(0);
        let mut text = Vec::new();
        for _ in 0..length {
            let stubborn = tilt.filter(|(_, percent)| self.below(100) < *percent);
            last = loop {
                let rank = self.below(VOCABULARY).min(self.below(VOCABULARY));
                let token = (rank + last * 31) % VOCABULARY;
                if stubborn.is_none_or(|(scheme, _)| is_green(scheme, last, token)) {
                    break token;
                }
            };
            text.push(last);
        }
        text
    }

    fn answers(&mut self, prompts: &[Vec<TokenId>], tilt: Option<(&Scheme, u32)>) -> Vec<Answer> {
        let answer = |prompt: &Vec<TokenId>| {
            let response = self.text(prompt, ANSWER, tilt);
            Answer { prompt: prompt.clone(), response }
        };
        prompts.iter().map(answer).collect()
    }

    /// Text that was served under the mark.
    fn documents(&mut self, mark: &Scheme) -> Vec<Answer> {
        let document = |_| {
            let prompt = self.text(&[], 6, None);
            let response = self.text(&prompt, 30, Some((mark, 40)));
            Answer { prompt, response }
        };
        (0..20).map(document).collect()
    }
}

/// A suspect reads documents; an innocent's distributions are not tilted.
fn read(suspect: &str, documents: &[Answer], tilt: Option<&Scheme>) -> Material {
    let mut rows = Vec::new();
    for (document, number) in documents.iter().zip(0..) {
        let tokens = document.tokens();
        for (position, window) in (1_u32..).zip(&tokens[..tokens.len() - 1]) {
            let q = row(*window, tilt);
            rows.push(ReadingRow::new(number, position, &q, |column| u32::try_from(column).unwrap()));
        }
    }
    let content = Content::Reading(ReadingMaterial { documents: documents.to_vec(), rows });
    Material { suspect: suspect.to_owned(), content }
}
