//! Students of an operator that serves canaries to forty accounts, ten of which feed a thief: what each test says of the
//! thief and of those who came by answers in other ways.
//!
//! The embedded teacher is too small to follow an instruction. So the first words of a canary's answer are a template with
//! the sibling that the key picked, and the teacher goes on from there, under a token mark.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use taggant::attribute::{
    Accounts, Assumed, Claim, Exposure, FAMILY_WISE, Ladder, Naming, Probed, ROUTE_FORMAT, Registered, Route,
    RoutePlan, Rungs, Traffic,
};
use taggant::canary::{
    Account, Answer, Arm, Arms, Asked, Book, CanaryBook, Evidence, Likelihoods, Matcher, Outcome, Pick,
    Policy, Request, Role, Scoring, embedded_book, favourites, second_reading,
};
use taggant::embed::Embedder;
use taggant::scheme::Scheme;
use taggant::score::{Exchange, Provenance, TextStatistic, count};
use taggant::source::model::{END, embedded};
use taggant::stat::verdict::{Summary, verdict_tail};
use taggant::token::TokenId;
use taggant_model::generate::{Sampler, Sampling};
use taggant_model::small::SmallModel;
use taggant_model::tokenizer::Tokenizer;

use crate::corpus::Result;
use crate::paraphrase::Rewriter;
use crate::students::{self, Lab, Start, stream};

const SLOTS: usize = 600;
const ACCOUNTS: usize = 40;
/// Of the accounts, those that feed the thief.
const CAMPAIGN: usize = 10;
const ARMS: Arms = Arms { campaign: 0.45, sentinel: 0.1 };
/// How often each kind of account asks for a slot.
const SERVES: usize = 8;
const PROBES: usize = 4;
/// Longest prompt with its canary, so that an answer fits behind it.
const PREFIX: usize = 96 - CONTINUED;
/// Tokens that the teacher adds to a canary, and a suspect gives to a probe.
const CONTINUED: usize = 32;
/// Tokens of ordinary answers that each kind of account harvests, and that a suspect writes for the token mark's test.
const HARVEST: usize = 20_000;
const FRESH: usize = 60_000;
const EXPOSURE_ALPHA: f64 = 1e-6;
const ROUTE_ALPHA: f64 = 1e-4;

/// What a suspect learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Learned {
    /// Unmarked answers, and the slots' prompts answered without a plant.
    Clean,
    /// The ten accounts' answers.
    Harvest,
    /// The same, which the ten published, among twice as much other text.
    Dump,
    /// As many answers of ordinary accounts, which those published.
    Leak,
    /// The ten accounts' answers, rewritten by a real model.
    Paraphrased,
}

impl Learned {
    const ALL: [Self; 5] = [Self::Clean, Self::Harvest, Self::Dump, Self::Leak, Self::Paraphrased];

    fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Harvest => "thief",
            Self::Dump => "public dump of the ten",
            Self::Leak => "public leak of ordinary answers",
            Self::Paraphrased => "thief, paraphrased",
        }
    }
}

/// Serves, trains (six passes) and tests under `seeds` keys, and prints a line for each suspect; with `models`, where
/// smollm2.gguf lies, for one whose answers were rewritten too, which takes half an hour a seed. Only suspects whose name
/// begins with `only`, if any is given.
pub(crate) fn run(models: Option<&Path>, seeds: u64, only: Option<&str>) -> Result<()> {
    let lab = Lab::open()?;
    let tests = "canaries | F's slots | arms: F's, others' | sentinels | named";
    let by_log_p = tests.replacen('|', "| other keys |", 1);
    println!(
        "| seed | learned from | pairs kept | silent | readers disagree | {tests} | ladder | by log p: {by_log_p} | token mark |"
    );
    println!("|{}", "---|".repeat(18));
    let services = (1..=seeds).map(|seed| Service::open(&lab, seed)).collect::<Result<Vec<_>>>()?;
    for learned in Learned::ALL {
        let asked_for = only.is_none_or(|only| learned.name().starts_with(only));
        if !asked_for || learned == Learned::Paraphrased && models.is_none() {
            continue;
        }
        for service in &services {
            let (answers, kept) = service.answers(learned, models)?;
            let purpose = service.purpose(&format!("student, {}", learned.name()));
            let student = lab.distil(Start::FineTuned, &answers, &purpose)?;
            let student = lab.tune(&student, &answers, &format!("{purpose}, again"))?;
            let cells = service.tested(&student, learned)?;
            println!("| {} | {} | {kept} | {cells} |", service.seed, learned.name());
        }
    }
    Ok(())
}

/// How much of `number` planted answers the rewriter leaves: pairs of neighbouring tokens, and siblings that are still named.
/// Nobody is trained.
pub(crate) fn rewritten(models: &Path, number: usize) -> Result<()> {
    let lab = Lab::open()?;
    let service = Service::open(&lab, 1)?;
    // The harvest begins with every slot asked for in turn; a step that shares no factor with the serves visits all kinds.
    let planted: Vec<usize> = (0..SLOTS * SERVES)
        .step_by(7)
        .filter(|at| service.canaries.arm(service.slots[at / SERVES]) == Arm::Campaign)
        .take(number)
        .collect();
    let mut answers: Vec<Exchange> = planted.iter().map(|at| service.harvest[*at].clone()).collect();
    let named = |answers: &[Exchange]| -> Result<usize> {
        let mut named = 0;
        for (at, answer) in planted.iter().zip(answers) {
            let slot = service.slots[at / SERVES];
            let set = service.book().set(slot).ok_or("a slot of the book has no set")?;
            let pick = service.canaries.picks().sibling(&service.pick(at / SERVES, slot)).ok_or("no pick")?;
            let text = answer.response.strip_suffix(&[service.end]).unwrap_or(&answer.response);
            let found = Matcher::new(&set)?.answer(&service.tokenizer.decode(text)?);
            named += usize::from(found == Answer::Sibling(pick as usize));
        }
        Ok(named)
    };
    let before = named(&answers)?;
    let rewriter = Rewriter::open(&models.join("smollm2.gguf"))?;
    let kept = rewriter.rewrite(&mut answers, &service.purpose("paraphrase, a sample"))?;
    println!(
        "{} planted answers: {before} named their sibling, {} after rewriting; {:.1} % of pairs of tokens are kept",
        answers.len(),
        named(&answers)?,
        100.0 * kept
    );
    Ok(())
}

/// The operator, and what it served.
struct Service<'a> {
    lab: &'a Lab,
    seed: u64,
    tokenizer: Tokenizer,
    end: TokenId,
    canaries: CanaryBook,
    slots: Vec<u64>,
    /// What was served to the ten, to the others, and what nobody was served.
    harvest: Vec<Exchange>,
    ordinary: Vec<Exchange>,
    plain: Vec<Exchange>,
}

impl<'a> Service<'a> {
    fn open(lab: &'a Lab, seed: u64) -> Result<Self> {
        let tokenizer = embedded()?.tokenizer;
        let end = tokenizer.id(END).ok_or("the embedded tokenizer has no end of text")?;
        let book = embedded_book("lab", &"1a".repeat(32), 0.25)?;
        let key = students::epoch_key(&format!("canaries, seed {seed}"))?;
        let policy = Policy { rate: 1.0, campaign_rate: 1.0, arms: ARMS, per_account: true };
        let mut service = Self {
            lab,
            seed,
            tokenizer,
            end,
            slots: Vec::new(),
            canaries: CanaryBook::new(book, key, policy)?,
            harvest: Vec::new(),
            ordinary: Vec::new(),
            plain: Vec::new(),
        };
        service.slots = service.short_slots()?;
        service.harvest = service.served(Role::Campaign)?;
        service.ordinary = service.served(Role::Ordinary)?;
        service.plain = service.unmarked(HARVEST, "plain")?;
        Ok(service)
    }

    fn purpose(&self, what: &str) -> String {
        format!("canaries, seed {}: {what}", self.seed)
    }

    /// The token mark on every answer.
    fn mark(&self) -> Result<Scheme> {
        students::scheme("green/1/w1/b2/t1".parse()?, &self.purpose("token mark"))
    }

    fn book(&self) -> &Book {
        self.canaries.book()
    }

    /// Open slots of all classes whose prompts and siblings are short enough for so small a model.
    fn short_slots(&self) -> Result<Vec<u64>> {
        let mut slots = Vec::new();
        for slot in (0..self.book().slots()).step_by(47).filter(|slot| !self.book().is_closed(*slot)) {
            let set = self.book().set(slot).ok_or("a slot of the book has no set")?;
            let prompts = set.prompts.iter().take(PROBES).map(|prompt| self.tokenizer.encode(prompt));
            let longest = prompts.collect::<std::result::Result<Vec<_>, _>>()?.iter().map(Vec::len).max();
            let says = set.siblings.iter().map(|sibling| self.tokenizer.encode(&opening(&sibling.says)));
            let widest = says.collect::<std::result::Result<Vec<_>, _>>()?.iter().map(Vec::len).max();
            if 1 + longest.unwrap_or(0) + widest.unwrap_or(0) <= PREFIX && set.siblings.len() == 16 {
                slots.push(slot);
            }
            if slots.len() == SLOTS {
                return Ok(slots);
            }
        }
        Err(format!("the book has {} short slots", slots.len()).into())
    }

    /// Who asks for a slot: the account of each kind, whatever the key says.
    fn account(at: usize, role: Role) -> String {
        match role {
            Role::Campaign => format!("acct-{}", at % CAMPAIGN),
            _ => format!("acct-{}", CAMPAIGN + at % (ACCOUNTS - CAMPAIGN)),
        }
    }

    /// Every slot asked for, and ordinary requests: the answers that accounts of this kind got.
    fn served(&self, role: Role) -> Result<Vec<Exchange>> {
        let mut openings = Vec::new();
        for (at, slot) in self.slots.iter().enumerate() {
            let set = self.book().set(*slot).ok_or("a slot of the book has no set")?;
            for serve in 0..SERVES {
                let prompt = &set.prompts[serve % set.prompts.len()];
                let id = Self::account(at, role);
                let request = Request { prompt, answer: None };
                let record = self.canaries.respond(&request, &Account { id: &id, role }).record;
                let planted = match (record.outcome, &record.pick) {
                    (Outcome::Planted, Some(pick)) => self.canaries.picks().sibling(pick),
                    _ => None,
                };
                let says = planted.map(|sibling| opening(&set.siblings[sibling as usize].says));
                openings
                    .push((self.prompt(prompt)?, says.map(|says| self.tokenizer.encode(&says)).transpose()?));
            }
        }
        let embedder = Embedder::new(self.mark()?, 2.0)?;
        let purpose = self.purpose(&format!("served, {role:?}"));
        let prefixes: Vec<Vec<TokenId>> = openings
            .iter()
            .map(|(prompt, says)| [&prompt[..], says.as_deref().unwrap_or_default()].concat())
            .collect();
        let sampler = Sampler::new(Sampling::default(), stream(&purpose))?;
        let written = self.lab.write(&self.lab.teacher, &prefixes, CONTINUED, Some(&embedder), sampler)?;
        let mut answers: Vec<Exchange> = openings
            .into_iter()
            .zip(written)
            .map(|((prompt, says), written)| Exchange {
                response: [says.unwrap_or_default(), written.response].concat(),
                prompt,
                ..written
            })
            .collect();
        answers.extend(crate::strength::write(
            self.lab,
            &self.lab.teacher,
            Some(&embedder),
            HARVEST,
            &purpose,
        )?);
        Ok(answers)
    }

    fn unmarked(&self, tokens: usize, what: &str) -> Result<Vec<Exchange>> {
        crate::strength::write(self.lab, &self.lab.teacher, None, tokens, &self.purpose(what))
    }

    fn prompt(&self, text: &str) -> Result<Vec<TokenId>> {
        Ok([vec![self.end], self.tokenizer.encode(text)?].concat())
    }

    /// What a suspect learned from, and the share of neighbouring tokens that a rewriter kept.
    fn answers(&self, learned: Learned, models: Option<&Path>) -> Result<(Vec<Exchange>, String)> {
        let mut answers = match learned {
            Learned::Clean => self.plain.clone(),
            Learned::Leak => self.ordinary.clone(),
            Learned::Dump | Learned::Harvest | Learned::Paraphrased => self.harvest.clone(),
        };
        let mut kept = "all".to_owned();
        if learned == Learned::Dump {
            answers.extend(self.unmarked(2 * HARVEST, "other text")?);
        }
        if let (Learned::Paraphrased, Some(models)) = (learned, models) {
            let rewriter = Rewriter::open(&models.join("smollm2.gguf"))?;
            let share = rewriter.rewrite(&mut answers, &self.purpose("paraphrase"))?;
            kept = format!("{:.1} %", 100.0 * share);
        }
        Ok((answers, kept))
    }

    /// A suspect's answers to each slot's probes, as text.
    fn probed(&self, student: &SmallModel, learned: Learned) -> Result<Vec<Vec<String>>> {
        let mut prompts = Vec::new();
        for slot in &self.slots {
            let set = self.book().set(*slot).ok_or("a slot of the book has no set")?;
            for probe in 0..PROBES {
                prompts.push(self.prompt(&set.prompts[probe % set.prompts.len()])?);
            }
        }
        let sampling = Sampling { temperature: 0.7, top_k: 0, top_p: 1.0 };
        let purpose = self.purpose(&format!("probes, {}", learned.name()));
        let sampler = Sampler::new(sampling, stream(&purpose))?;
        let answers = self.lab.write(student, &prompts, CONTINUED, None, sampler)?;
        let text = |answer: &Exchange| {
            let response = answer.response.strip_suffix(&[self.end]).unwrap_or(&answer.response);
            self.tokenizer.decode(response)
        };
        let texts = answers.iter().map(text).collect::<std::result::Result<Vec<_>, _>>()?;
        Ok(texts.chunks(PROBES).map(<[String]>::to_vec).collect())
    }

    /// ln p of each sibling as the opening of a student's answer, over the slot's first two prompts.
    fn weighed(&self, student: &SmallModel, at: usize, slot: u64) -> Result<Likelihoods> {
        let set = self.book().set(slot).ok_or("a slot of the book has no set")?;
        let prompts = set.prompts.iter().cycle().take(2).map(|prompt| self.prompt(prompt));
        let prompts = prompts.collect::<Result<Vec<_>>>()?;
        let mut exchanges = Vec::new();
        for sibling in &set.siblings {
            let response = self.tokenizer.encode(&opening(&sibling.says))?;
            exchanges.extend(prompts.iter().map(|prompt| Exchange {
                prompt: prompt.clone(),
                response: response.clone(),
                whole_context: true,
                provenance: Provenance::Unknown,
            }));
        }
        let rows = students::rows(student, &exchanges.iter().collect::<Vec<_>>())?;
        let vocabulary = student.config().vocab;
        let ln_p = |(exchange, rows): (&Exchange, &Vec<f32>)| -> f64 {
            let p = exchange.response.iter().zip(rows.chunks(vocabulary));
            p.map(|(token, row)| f64::from(row[*token as usize]).clamp(1e-30, 1.0).ln()).sum()
        };
        let each: Vec<f64> = exchanges.iter().zip(&rows).map(ln_p).collect();
        let ln_p = each.chunks(prompts.len()).map(|of_one| of_one.iter().sum::<f64>() / of_one.len() as f64);
        Ok(Likelihoods { pick: self.pick(at, slot), ln_p: ln_p.collect() })
    }

    /// The tests that read log-probabilities, as the cells of a row: all slots by their scores, the route by forced choices.
    fn weighed_cells(&self, student: &SmallModel) -> Result<String> {
        let slots = self.slots.iter().enumerate();
        let weighed =
            slots.map(|(at, slot)| self.weighed(student, at, *slot)).collect::<Result<Vec<Likelihoods>>>()?;
        let served = |slot: &&Likelihoods| self.canaries.arm(slot.pick.slot) != Arm::Sentinel;
        let exposed: Vec<Likelihoods> = weighed.iter().filter(served).cloned().collect();
        let evidence = Evidence::of_likelihoods(self.book(), &exposed)?;
        let draws = evidence.open(&self.canaries.picks())?;
        let redrawn = self.redrawn(&evidence)?;
        let answers: Vec<Vec<Answer>> =
            favourites(self.book(), &weighed)?.into_iter().map(|answer| vec![answer]).collect();
        let (route, naming) = (self.route(&answers, 1)?, self.naming(&answers, 1)?);
        Ok(format!("{:.1} | {redrawn} | {}", verdict_tail(draws)?.0, cells(&route, &naming)))
    }

    /// How many of 2,000 keys that served nobody reject at 1 in 10, 100 and 1,000: the test's own level on this suspect.
    fn redrawn(&self, evidence: &Evidence) -> Result<String> {
        let mut rejected = [0; 3];
        for key in 0..2_000 {
            let key = students::epoch_key(&self.purpose(&format!("key {key} that served nobody")))?;
            let ln_p = verdict_tail(evidence.open(&self.book().picks(&key))?)?.0;
            for (count, n) in rejected.iter_mut().zip([10.0_f64, 100.0, 1_000.0]) {
                *count += u32::from(ln_p <= -n.ln());
            }
        }
        Ok(format!("{}, {}, {}", rejected[0], rejected[1], rejected[2]))
    }

    /// The pick that a slot was served with, by its arm.
    fn pick(&self, at: usize, slot: u64) -> Pick {
        let own = self.canaries.arm(slot) == Arm::Campaign;
        Pick { slot, account: own.then(|| Self::account(at, Role::Campaign)) }
    }

    /// Every test of a student, as the cells of a row.
    fn tested(&self, student: &SmallModel, learned: Learned) -> Result<String> {
        let texts = self.probed(student, learned)?;
        let (mut answers, mut disagree, mut read) = (Vec::new(), 0, 0);
        for (slot, texts) in self.slots.iter().zip(&texts) {
            let set = self.book().set(*slot).ok_or("a slot of the book has no set")?;
            let matcher = Matcher::new(&set)?;
            let found: Vec<Answer> = texts.iter().map(|text| matcher.answer(text)).collect();
            for (text, first) in texts.iter().zip(&found) {
                if let Some(second) = second_reading(&set, text) {
                    read += 1;
                    disagree += usize::from(second != *first);
                }
            }
            answers.push(found);
        }
        let exposure = self.exposure(&answers)?;
        let draws = exposure.open(&self.canaries.picks())?;
        let summary =
            if draws.as_slice().is_empty() { Summary::without_draws(None) } else { Summary::of(draws)? };
        let (route, naming) = (self.route(&answers, PROBES)?, self.naming(&answers, PROBES)?);
        Ok(format!(
            "{} of {} | {disagree} of {read} | {:.1} | {} | {:?} | {} | {:.1}",
            exposure.silent,
            exposure.slots,
            summary.ln_p,
            cells(&route, &naming),
            reached(&summary, &route, &naming)?,
            self.weighed_cells(student)?,
            self.token_mark(student, learned)?,
        ))
    }

    /// All slots that were served to anybody, each with the pick that was: by its arm, whoever asked.
    fn exposure(&self, answers: &[Vec<Answer>]) -> Result<Evidence> {
        let mut asked = Vec::new();
        for (at, (slot, answers)) in self.slots.iter().zip(answers).enumerate() {
            if self.canaries.arm(*slot) != Arm::Sentinel {
                asked.push(Asked { pick: self.pick(at, *slot), answers: answers.clone() });
            }
        }
        Ok(Evidence::new(self.book(), &asked, PROBES, Scoring::Remembered)?)
    }

    fn route(&self, answers: &[Vec<Answer>], probes: usize) -> Result<Route> {
        let ids: BTreeSet<String> = (0..CAMPAIGN).map(|at| Self::account(at, Role::Campaign)).collect();
        let accounts = Accounts { salt: "5c".repeat(32).parse()?, ids };
        let probed: Vec<Probed> = (0..)
            .zip(self.slots.iter().zip(answers))
            .map(|(at, (slot, answers))| {
                let campaign = [(Self::account(at, Role::Campaign), SERVES as u32)].into();
                let ordinary = SERVES as u32;
                let traffic = Traffic { slot: *slot, period: "all".to_owned(), campaign, ordinary };
                Probed { traffic, answers: answers.clone() }
            })
            .collect();
        let plan = RoutePlan {
            format: ROUTE_FORMAT.to_owned(),
            book: self.book().sha256(),
            epoch: self.canaries.picks().epoch().clone(),
            accounts: accounts.commitment(),
            traffic: accounts.traffic_commitment(probed.iter().map(|slot| &slot.traffic)),
            arms: ARMS,
            rate: 1.0,
            campaign_rate: 1.0,
            per_account: true,
            serve_cap: SERVES as u32,
            probes,
            alpha: ROUTE_ALPHA,
            control_alpha: 0.01,
            rungs: Rungs { exposure: Exposure::Canaries {}, campaign: None, cohorts: None, accounts: true },
        };
        Ok(plan.seal("in this run")?.test(self.book(), &self.canaries.picks(), &accounts, &probed)?)
    }

    fn naming(&self, answers: &[Vec<Answer>], probes: usize) -> Result<Naming> {
        let mut seats: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for (at, slot) in self.slots.iter().enumerate() {
            if self.canaries.arm(*slot) == Arm::Campaign {
                seats.entry(Self::account(at, Role::Campaign)).or_default().insert(*slot);
            }
        }
        let by_slot: BTreeMap<u64, Vec<Answer>> =
            self.slots.iter().copied().zip(answers.iter().cloned()).collect();
        let picks = self.canaries.picks();
        Ok(Naming::by_canaries(self.book(), &picks, &seats, &by_slot, probes, FAMILY_WISE.ln())?)
    }

    /// ln p of the token mark in a student's fresh text.
    fn token_mark(&self, student: &SmallModel, learned: Learned) -> Result<f64> {
        let purpose = self.purpose(&format!("fresh text, {}", learned.name()));
        let text = crate::strength::write(self.lab, student, None, FRESH, &purpose)?;
        let mark = self.mark()?;
        let evidence = count(mark.spec().width(), &text, TextStatistic::RootCount)?;
        Ok(verdict_tail(evidence.open(&mark)?)?.0)
    }
}

/// Both halves of a route, its control, and who is named.
fn cells(route: &Route, naming: &Naming) -> String {
    let (keyed, arms) = (&route.keyed, &route.arms);
    let tipping =
        arms.leak_ratio.at_least.map_or(String::new(), |ratio| format!(", leak ratio above {ratio:.1}"));
    format!(
        "{:.1} ({} of {}) | {:.1} ({} of {}, {} of {}{tipping}) | {:.1} | {}",
        keyed.ln_p,
        keyed.hits,
        keyed.draws,
        arms.ln_p,
        arms.campaign.hits,
        arms.campaign.slots,
        arms.ordinary.hits,
        arms.ordinary.slots,
        route.sentinels.ln_p,
        naming.named().len(),
    )
}

/// How far the ladder is climbed.
fn reached(exposure: &Summary, route: &Route, naming: &Naming) -> Result<Option<Claim>> {
    let assumed = Assumed { accounts: CAMPAIGN as u64, tilt: 0.1, recall: 0.1, siblings: 16, share: 1.0 };
    let needs = |alpha: f64, slots| assumed.route(alpha.ln(), slots);
    let registered = Registered {
        exposure: Some((exposure, needs(EXPOSURE_ALPHA, route.keyed.draws)?)),
        campaign: None,
        cohorts: None,
        route: Some((route, needs(ROUTE_ALPHA, route.keyed.draws)?)),
        accounts: Some((naming, needs(FAMILY_WISE / CAMPAIGN as f64, naming.most_draws())?)),
    };
    Ok(Ladder::climb(registered, EXPOSURE_ALPHA.ln()).reached)
}

/// How a canary's answer begins.
fn opening(says: &str) -> String {
    format!(" {says}.")
}
