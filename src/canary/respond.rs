//! Serving: which slot a request belongs to, whether to plant, and planting it.
//!
//! Eligibility is a function of the prompt, the account and the epoch, never of the pick. A plant is made only if it could
//! have been made with every one of the K siblings. The same request gives the same response, so a record can be
//! replayed; what it does not hold is the sibling, which only the key knows.

use std::collections::{BTreeMap, HashMap};

use regex::{Regex, RegexSet, RegexSetBuilder};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::book::{Book, Pick, Picks, below_share};
use super::fault::Problem;
use super::refuse::refused;
use super::set::{Family, SIBLING};
use super::words::{Dictionary, Said};
use crate::key::{Commitment, Epoch, EpochKey};

/// Longer prompts are left alone.
const PROMPT_MAX: usize = 8_192;

/// How canaries are served in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The share of slots planted for ordinary accounts.
    pub rate: f64,
    /// The share of slots planted for accounts of the campaign and for sentinels. Slots planted at a lower rate are among
    /// them.
    pub campaign_rate: f64,
    /// Whom slots are for.
    pub arms: Arms,
    /// Whether accounts of the campaign have picks of their own.
    pub per_account: bool,
}

/// The shares of slots that belong to an arm other than the ordinary one, by a keyed number of each slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arms {
    /// Served to accounts of the campaign only.
    pub campaign: f64,
    /// Served to the operator's own accounts only: a negative control.
    pub sentinel: f64,
}

/// Whom a slot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arm {
    /// Accounts of the campaign.
    Campaign,
    /// Ordinary accounts; all accounts where the campaign has no arm.
    Ordinary,
    /// Nobody outside.
    Sentinel,
}

/// What an account is, as far as the operator knew before the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// One of the accounts under suspicion.
    Campaign,
    /// Any other.
    Ordinary,
    /// The operator's own, whose answers never leave.
    Sentinel,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account<'a> {
    /// The account's id.
    pub id: &'a str,
    /// What it is.
    pub role: Role,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The user's prompt.
    pub prompt: &'a str,
    /// The model's answer, to be rewritten; none before the model is asked, when it can be steered.
    pub answer: Option<&'a str>,
}

/// What to serve, and what to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// What is planted; none where the answer stays as it is.
    pub plant: Option<Plant>,
    /// For the ledger.
    pub record: Record,
}

/// What is planted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plant {
    /// The rewritten answer.
    Answer(String),
    /// An instruction to add to the model's own.
    Instruction(String),
}

/// What became of a request. It does not say which sibling was picked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The epoch.
    pub epoch: Epoch,
    /// The book.
    pub book: Commitment,
    /// SHA-256 of prompt, 0x00, answer; of eligible requests only.
    pub request: Option<Commitment>,
    /// The pick that the request belongs to.
    pub pick: Option<Pick>,
    /// Whom the slot is for.
    pub arm: Option<Arm>,
    /// What was done.
    pub outcome: Outcome,
}

/// How often each slot was planted, and how often it may be: arms are compared at equal exposure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Served {
    /// The cap.
    cap: u32,
    /// By slot.
    planted: BTreeMap<u64, u32>,
}

impl Served {
    /// Nothing planted yet; each slot may be `cap` times, whoever asks.
    pub fn up_to(cap: u32) -> Self {
        Self { cap, planted: BTreeMap::new() }
    }

    /// How often each slot may be planted.
    pub fn cap(&self) -> u32 {
        self.cap
    }

    /// How often a slot was planted.
    pub fn times(&self, slot: u64) -> u32 {
        self.planted.get(&slot).copied().unwrap_or(0)
    }
}

/// What was done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Eligible and chosen, but not all siblings could have been planted; so none was.
    Failed(Refusal),
    /// No canary belongs here.
    Ineligible(Refusal),
    /// Eligible and chosen, but planted as often as the cap allows already.
    Capped,
    /// Planted.
    Planted,
    /// Eligible, and the key's coin says no.
    Unplanted,
}

/// Why nothing was planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Refusal {
    /// The slot is for other accounts.
    OtherArm,
    /// No slot's prompts look like this one.
    NoSlot,
    /// The answer contains no sibling of the pool to replace.
    NoSite,
    /// The class is planted by instruction only, and the answer is there already.
    OnlySteered,
    /// Medicine, law, money, facts of the world.
    Subject,
    /// The answer contains several siblings of the pool, or says what would not fit all of them.
    Unfit,
    /// The prompt is too long.
    TooLong,
}

/// Why a policy cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A share outside [0, 1], or arms that add up to more than 1.
    #[error("{field} = {value} is no share between 0 and 1 (arms add up to at most 1)")]
    Share {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// A pattern of the book that does not compile together with the others.
    #[error(transparent)]
    Pattern(#[from] Problem),
}

/// A book under an epoch's key and a policy: answers requests.
#[derive(Debug)]
pub struct CanaryBook {
    book: Book,
    key: EpochKey,
    policy: Policy,
    asks: RegexSet,
    /// The owner of each pattern of `asks`: sets first, then classes.
    owners: Vec<usize>,
    /// How many patterns each owner has.
    needed: Vec<u32>,
    dictionary: Dictionary,
    lists: usize,
    /// The lists that are the facets of each class.
    facets: Vec<Vec<usize>>,
    sites: Vec<Option<Site>>,
    /// The slots of twins by their prompts.
    twins: HashMap<String, u64>,
}

/// Where a class's siblings stand in answers.
#[derive(Debug)]
struct Site {
    pool: Regex,
    unless: RegexSet,
}

impl CanaryBook {
    /// Prepares `book` for service.
    ///
    /// # Errors
    /// A share that is none, patterns that do not compile together.
    pub fn new(book: Book, key: EpochKey, policy: Policy) -> Result<Self, PolicyError> {
        policy.check()?;
        let contents = book.contents();
        let asks_of_sets = contents.sets.iter().map(|set| &set.asks);
        let all_asks: Vec<&Vec<String>> =
            asks_of_sets.chain(contents.families.classes.iter().map(|class| &class.asks)).collect();
        let owners =
            all_asks.iter().enumerate().flat_map(|(owner, asks)| asks.iter().map(move |_| owner)).collect();
        let needed = all_asks.iter().map(|asks| asks.iter().fold(0, |n, _| n + 1)).collect();
        let asks = RegexSetBuilder::new(all_asks.iter().copied().flatten())
            .case_insensitive(true)
            .dot_matches_new_line(true)
            .build()
            .map_err(pattern)?;
        let mut dictionary = Dictionary::default();
        for (list, values) in (0..).zip(contents.families.lists.values()) {
            for (value, alternatives) in (0..).zip(values) {
                alternatives.split('|').for_each(|phrase| dictionary.add(phrase, list, value));
            }
        }
        let lists: Vec<&String> = contents.families.lists.keys().collect();
        let facets_of = |names: &Vec<String>| {
            names.iter().filter_map(|name| lists.iter().position(|list| *list == name)).collect()
        };
        let facets = contents.families.classes.iter().map(|class| facets_of(&class.facets)).collect();
        let lists = lists.len();
        let sites = book.classes().map(|(_, class)| Site::of(class)).collect::<Result<_, _>>()?;
        let twins = contents.sets.iter().filter(|set| set.family == Family::Twin);
        let twins = twins.rev().map(|set| (set.prompts[0].trim().to_owned(), set.slot)).collect();
        Ok(Self { book, key, policy, asks, owners, needed, dictionary, lists, facets, sites, twins })
    }

    /// The same book and policy under another epoch's key.
    #[must_use]
    pub fn under(self, key: EpochKey) -> Self {
        Self { key, ..self }
    }

    /// The book.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// What the epoch's key says about the book.
    pub fn picks(&self) -> Picks<'_> {
        self.book.picks(&self.key)
    }

    /// Answers `request` of `account`: the same again for the same again.
    pub fn respond(&self, request: &Request<'_>, account: &Account<'_>) -> Response {
        let nothing = |outcome, pick, arm, digest| Response {
            plant: None,
            record: self.record(outcome, pick, arm, digest),
        };
        let slot = match self.slot(request) {
            Ok(slot) => slot,
            Err(refusal) => return nothing(Outcome::Ineligible(refusal), None, None, None),
        };
        let arm = self.arm(slot);
        if !self.serves(arm, account.role) {
            return nothing(Outcome::Ineligible(Refusal::OtherArm), None, None, None);
        }
        let pick = self.pick(slot, account);
        let digest = Some(digest(request));
        let rate = if account.role == Role::Ordinary { self.policy.rate } else { self.policy.campaign_rate };
        if !self.picks().plants(slot, rate) {
            return nothing(Outcome::Unplanted, Some(pick), Some(arm), digest);
        }
        let mut plants = match self.dry_run(slot, request) {
            Ok(plants) => plants,
            Err(refusal) => return nothing(Outcome::Failed(refusal), Some(pick), Some(arm), digest),
        };
        let sibling = self.picks().sibling(&pick).unwrap_or_default();
        let plant = Some(plants.swap_remove(sibling as usize));
        Response { plant, record: self.record(Outcome::Planted, Some(pick), Some(arm), digest) }
    }

    /// The same, unless the slot was planted as often as `served` allows: then the answer stays as it is. What is planted is
    /// counted.
    pub fn respond_within(
        &self,
        served: &mut Served,
        request: &Request<'_>,
        account: &Account<'_>,
    ) -> Response {
        let mut response = self.respond(request, account);
        if let (Outcome::Planted, Some(pick)) = (response.record.outcome, &response.record.pick) {
            let planted = served.planted.entry(pick.slot).or_default();
            if *planted < served.cap {
                *planted += 1;
            } else {
                response.plant = None;
                response.record.outcome = Outcome::Capped;
            }
        }
        response
    }

    /// Whether `record` is what this book, key and policy make of the request. Of a slot that had been planted often enough they
    /// say what would have been done otherwise.
    pub fn replays(&self, record: &Record, request: &Request<'_>, account: &Account<'_>) -> bool {
        let mut again = self.respond(request, account).record;
        if record.outcome == Outcome::Capped && again.outcome == Outcome::Planted {
            again.outcome = Outcome::Capped;
        }
        again == *record
    }

    /// The slot that a request belongs to: no key, no account, no pick.
    ///
    /// # Errors
    /// Why it belongs to none.
    pub fn slot(&self, request: &Request<'_>) -> Result<u64, Refusal> {
        if request.prompt.len() > PROMPT_MAX {
            return Err(Refusal::TooLong);
        }
        if let Some(slot) = self.twins.get(request.prompt.trim()) {
            return if refused(request.prompt).is_some() { Err(Refusal::Subject) } else { Ok(*slot) };
        }
        let mut hits = vec![0; self.needed.len()];
        for pattern in self.asks.matches(request.prompt) {
            hits[self.owners[pattern]] += 1;
        }
        // Twins ask for nothing and are no class.
        let asked = |owner: usize| self.needed[owner] > 0 && hits[owner] == self.needed[owner];
        let written = self.book.contents().sets.len();
        let slot = (0..written).find(|owner| asked(*owner)).map(|owner| owner as u64);
        let slot = slot.or_else(|| {
            let classes: Vec<usize> = (0..self.facets.len()).filter(|class| asked(written + class)).collect();
            if classes.is_empty() { None } else { self.procedural(request.prompt, &classes) }
        });
        let slot = slot.ok_or(Refusal::NoSlot)?;
        if refused(request.prompt).is_some() {
            return Err(Refusal::Subject);
        }
        let steered = self.book.locate(slot).is_none_or(|(class, _)| self.sites[class].is_none());
        if request.answer.is_some() && steered { Err(Refusal::OnlySteered) } else { Ok(slot) }
    }

    /// The plants of all K siblings, in their order: all of them, or the reason why there is none.
    ///
    /// # Errors
    /// Some sibling cannot be planted.
    pub fn dry_run(&self, slot: u64, request: &Request<'_>) -> Result<Vec<Plant>, Refusal> {
        let (steer, siblings) = self.texts(slot).ok_or(Refusal::NoSlot)?;
        if self.book.family(slot) == Some(Family::Twin) {
            return Ok(siblings.iter().map(|says| Plant::Answer((*says).to_owned())).collect());
        }
        let Some(answer) = request.answer else {
            let instruction = |says: &&str| Plant::Instruction(steer.replace(SIBLING, says));
            return Ok(siblings.iter().map(instruction).collect());
        };
        let class = self.book.locate(slot).map(|(class, _)| class);
        let site = class.and_then(|class| self.sites[class].as_ref()).ok_or(Refusal::OnlySteered)?;
        let parts = site.parts(answer)?;
        siblings.iter().map(|says| site.planted(&parts, says).map(Plant::Answer)).collect()
    }

    /// Whom a slot is for.
    pub fn arm(&self, slot: u64) -> Arm {
        self.picks().arm(slot, self.policy.arms)
    }

    fn serves(&self, arm: Arm, role: Role) -> bool {
        match (arm, role) {
            (Arm::Campaign, Role::Campaign)
            | (Arm::Ordinary, Role::Ordinary)
            | (Arm::Sentinel, Role::Sentinel) => true,
            (Arm::Ordinary, Role::Campaign) => self.policy.arms.campaign <= 0.0,
            _ => false,
        }
    }

    fn pick(&self, slot: u64, account: &Account<'_>) -> Pick {
        let own = self.policy.per_account && account.role == Role::Campaign;
        Pick { slot, account: own.then(|| account.id.to_owned()) }
    }

    /// The first of `classes` of whose facets the prompt names one value each.
    fn procedural(&self, prompt: &str, classes: &[usize]) -> Option<u64> {
        let said = self.dictionary.said(prompt, self.lists);
        let value = |list: &usize| match said[*list] {
            Said::One(value) => Some(value),
            Said::Nothing | Said::Several => None,
        };
        let mut starts = self.book.classes();
        let mut before = 0;
        classes.iter().find_map(|&at| {
            let (start, class) = starts.nth(at - before)?;
            before = at + 1;
            let values: Option<Vec<u16>> = self.facets[at].iter().map(value).collect();
            Some(start + class.slot_of(&values?))
        })
    }

    /// The steering text of a slot, and its siblings.
    fn texts(&self, slot: u64) -> Option<(String, Vec<&str>)> {
        if let Some(set) = usize::try_from(slot).ok().and_then(|at| self.book.contents().sets.get(at)) {
            return Some((
                set.steer.clone(),
                set.siblings.iter().map(|sibling| sibling.says.as_str()).collect(),
            ));
        }
        let (class, n) = self.book.locate(slot)?;
        let (_, class) = self.book.classes().nth(class)?;
        let candidates = class.candidates();
        Some((class.steer(n), class.chosen(n).into_iter().map(|at| candidates[at].says.as_str()).collect()))
    }

    fn record(
        &self,
        outcome: Outcome,
        pick: Option<Pick>,
        arm: Option<Arm>,
        request: Option<Commitment>,
    ) -> Record {
        let (epoch, book) = (self.key.epoch().clone(), self.book.sha256());
        Record { epoch, book, request, pick, arm, outcome }
    }
}

impl Arms {
    /// The arm of a slot with this number ([`Picks::arm_number`]): the operator's below ⌊sentinel·2⁶⁴⌋, the campaign's below
    /// ⌊(sentinel + campaign)·2⁶⁴⌋, else the ordinary one.
    pub fn of(self, number: u64) -> Arm {
        if below_share(number, self.sentinel) {
            Arm::Sentinel
        } else if below_share(number, self.sentinel + self.campaign) {
            Arm::Campaign
        } else {
            Arm::Ordinary
        }
    }
}

impl Picks<'_> {
    /// Whom a slot is for.
    pub fn arm(&self, slot: u64, arms: Arms) -> Arm {
        if arms.campaign + arms.sentinel <= 0.0 {
            return Arm::Ordinary;
        }
        self.arm_number(slot).map_or(Arm::Ordinary, |number| arms.of(number))
    }
}

impl Policy {
    fn check(&self) -> Result<(), PolicyError> {
        let shares = [
            ("rate", self.rate),
            ("campaign_rate", self.campaign_rate),
            ("arms.campaign", self.arms.campaign),
            ("arms.sentinel", self.arms.sentinel),
            ("arms", self.arms.campaign + self.arms.sentinel),
        ];
        let wrong = shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share));
        wrong.map_or(Ok(()), |(field, value)| Err(PolicyError::Share { field, value: value.to_string() }))
    }
}

impl Site {
    /// Where siblings of a class may be replaced; none where the class is only steered.
    fn of(class: &super::expand::Expander) -> Result<Option<Self>, PolicyError> {
        if !class.class().rewrite {
            return Ok(None);
        }
        let patterns: Vec<&str> =
            class.candidates().iter().flat_map(|sibling| sibling.all.iter().map(String::as_str)).collect();
        let pool = Regex::new(&patterns.join("|")).map_err(pattern)?;
        let unless =
            RegexSetBuilder::new(&class.class().unless).case_insensitive(true).build().map_err(pattern)?;
        Ok(Some(Self { pool, unless }))
    }

    /// What stands between the places where one sibling of the pool stands.
    fn parts<'a>(&self, answer: &'a str) -> Result<Vec<&'a str>, Refusal> {
        if self.unless.is_match(answer) {
            return Err(Refusal::Unfit);
        }
        let (mut parts, mut after, mut name) = (Vec::new(), 0, None);
        for found in self.pool.find_iter(answer) {
            if *name.get_or_insert(found.as_str()) != found.as_str() {
                return Err(Refusal::Unfit);
            }
            parts.push(&answer[after..found.start()]);
            after = found.end();
        }
        parts.push(&answer[after..]);
        if name.is_some() { Ok(parts) } else { Err(Refusal::NoSite) }
    }

    /// The answer with `says` in all places, if that is what a reader finds there.
    fn planted(&self, parts: &[&str], says: &str) -> Result<String, Refusal> {
        let text = parts.join(says);
        let mut places = 1;
        for found in self.pool.find_iter(&text) {
            if found.as_str() != says {
                return Err(Refusal::Unfit);
            }
            places += 1;
        }
        if places == parts.len() { Ok(text) } else { Err(Refusal::Unfit) }
    }
}

fn pattern(error: regex::Error) -> Problem {
    Problem::Pattern(error.to_string())
}

fn digest(request: &Request<'_>) -> Commitment {
    let mut hash = Sha256::new();
    hash.update(request.prompt.as_bytes());
    hash.update([0]);
    hash.update(request.answer.unwrap_or_default().as_bytes());
    Commitment(hash.finalize().into())
}
