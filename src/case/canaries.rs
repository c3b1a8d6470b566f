//! Canaries in a case: raw answers to the plan's slots, read without the picks, then opened.
//!
//! ```text
//! Probe rows ─check against the plan─▶ Asked (blind) ─▶ scores ─▶ keys of the slots ─▶ draws ─▶ Summary
//!                                        └─▶ a second reader, for the rate of disagreement
//! ```
//!
//! Every slot of the plan's ranges is there, planted or not, and neither the material nor the plan can say what was
//! planted. Keys are those of single slots, each with its leaf in the genesis: a label holds the book's hash, so a leaf
//! shows that the book is as old as the genesis. An opened epoch key would not show that, and is not used.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::CaseError;
use super::plan::{Access, Canaries, Planned, PlannedTest, ScoredKey, SealedPlan, SlotRange, Statistic};
use super::route::{self, Requests, Served};
use crate::attribute::{Route, RouteError};
use crate::canary::{
    Answer, Asked, Book, Contents, Evidence, EvidenceError, Fault, Matcher, OpenedKeys, Picks, Problem,
    Sequence, SiblingSet, second_reading,
};
use crate::key::{Commitment, Label, SchemeKey};
use crate::stat::verdict::{Summary, TestError};

/// What the operator lays open beside keys, so that answers can be read again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disclosed {
    /// The book of sibling sets.
    pub book: Contents,
    /// Who asked for which slot; only where the plan divides slots among accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
}

/// The same, checked against the plan.
pub(super) struct LaidOpen<'a> {
    pub(super) book: Book,
    requests: Option<&'a Requests>,
    /// Each suspect's answers, read once for all tests.
    read: RefCell<BTreeMap<String, Rc<Read>>>,
}

/// One probe of a slot and what came back, as acquired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The slot.
    pub slot: u64,
    /// What was sent.
    pub prompt: String,
    /// What came back, refusals included; null where nothing did. A row without it is no answer yet, and refused.
    #[serde(deserialize_with = "Option::deserialize")]
    pub response: Option<String>,
}

/// How a suspect's answers to canaries were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Readings {
    /// Slots asked.
    pub slots: u64,
    /// Slots none of whose answers names a sibling.
    pub silent: u64,
    /// Answers.
    pub answers: u64,
    /// Answers that the second reader could read too.
    pub read_twice: u64,
    /// Those that it read otherwise. Printed, and never used to choose.
    pub disagreements: u64,
}

impl Readings {
    /// Counts one answer: how it was read, and how a second reader read it if it could. It changes nothing but the count.
    pub(crate) fn count(&mut self, first: Answer, second: Option<Answer>) {
        self.answers += 1;
        self.read_twice += u64::from(second.is_some());
        self.disagreements += u64::from(second.is_some_and(|second| second != first));
    }
}

/// Why answers to canaries do not fit the plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// A plan with canaries whose book was not laid open.
    #[error("the plan names the book {0}, and it was not laid open")]
    NoBook(Commitment),
    /// A book that the plan does not name.
    #[error("the book laid open is {found}, and the plan names {planned}")]
    OtherBook {
        /// The plan's.
        planned: String,
        /// The one laid open.
        found: Commitment,
    },
    /// A book with a fault.
    #[error(transparent)]
    Book(#[from] Fault),
    /// A range beyond its class.
    #[error("the plan's range of {class:?} goes to slot {below}, and the book has {slots} of that class")]
    Range {
        /// The class.
        class: String,
        /// The range's end.
        below: u32,
        /// The class's slots.
        slots: u64,
    },
    /// No slot is left of the plan's ranges.
    #[error("all slots of the plan's ranges stay closed for a court's replication")]
    AllClosed,
    /// A slot that stays closed.
    #[error("slot {0} stays closed for a court's replication: leave it out")]
    Closed(u64),
    /// A slot that is not in the plan.
    #[error("slot {0} is in none of the plan's ranges")]
    Unplanned(u64),
    /// A slot with more answers than planned.
    #[error("slot {0} is there again: it has one pick, and as many answers as the plan says")]
    Twice(u64),
    /// A slot with fewer answers than planned, or none.
    #[error(
        "slot {slot} has {answers} answers where the plan asks for {planned}: each slot is tested whether anything was \
         planted there or not; record refusals as answered, and missing answers as null"
    )]
    Missing {
        /// The slot.
        slot: u64,
        /// Its answers.
        answers: usize,
        /// The planned number.
        planned: usize,
    },
    /// Another prompt than the plan's.
    #[error("slot {slot}, probe {probe}: the prompt is not the one that the plan's rule takes from the book")]
    Prompt {
        /// The slot.
        slot: u64,
        /// The probe, from 0.
        probe: usize,
    },
    /// A set whose matchers do not work.
    #[error("slot {slot}: {problem}")]
    Matcher {
        /// The slot.
        slot: u64,
        /// What is wrong.
        problem: Problem,
    },
    /// A plan that divides slots whose requests were not laid open, or the reverse.
    #[error(
        "the plan {} slots among accounts, and who asked for which slot was {} laid open",
        if *.planned { "divides" } else { "does not divide" },
        if *.planned { "not" } else { "nevertheless" }
    )]
    Requests {
        /// Whether the plan does.
        planned: bool,
    },
    /// Requests of a slot that is not the plan's, or is there twice.
    #[error("the requests that were laid open hold slot {0} twice, or it is not in the plan")]
    OtherRequests(u64),
    /// A planned slot that nobody is said to have asked for.
    #[error(
        "slot {0} is in the plan, and not among the requests that were laid open: a slot that nobody asked for has 0"
    )]
    NoRequests(u64),
    /// Likelihoods of other slots than planned, or in another order.
    #[error(
        "row {row} is of slot {found}, and the plan has slot {planned} there: every open slot of its ranges, in their order"
    )]
    Row {
        /// The row, from 0.
        row: usize,
        /// Its slot.
        found: u64,
        /// The plan's.
        planned: u64,
    },
    /// Fewer rows of likelihoods than slots, or more.
    #[error("{found} rows of likelihoods, and the plan has {planned} slots")]
    Rows {
        /// The rows.
        found: usize,
        /// The slots.
        planned: usize,
    },
    /// A reference that the plan does not name, or none where it does.
    #[error(
        "slot {slot}: twins are ranked beside a reference if, and only if, the plan names one and the test lists it (\"reference_ln_p\"); \
         other slots are not"
    )]
    Beside {
        /// The slot.
        slot: u64,
    },
    /// Requests that are not the plan's, or no test of a route.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Scores that are no evidence.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
}

/// What the plan's canaries need, checked; none where it has none.
///
/// # Errors
/// A book that was not laid open, is another one, or has a fault; requests that are missing, or not asked for.
pub(super) fn laid_open<'d>(
    plan: &SealedPlan,
    disclosed: Option<&'d Disclosed>,
) -> Result<Option<LaidOpen<'d>>, CaseError> {
    let Some(book) = book(plan, disclosed)? else { return Ok(None) };
    let requests = disclosed.and_then(|disclosed| disclosed.requests.as_ref());
    let planned = plan.canaries().is_some_and(|canaries| matches!(canaries.route, Planned::Set { .. }));
    let fault = |error| CaseError::Book(Box::new(error));
    if planned != requests.is_some() {
        return Err(fault(ProbeError::Requests { planned }));
    }
    if let (Some(canaries), Some(requests)) = (plan.canaries(), requests) {
        requests.check(&slots(&book, &canaries.slots).map_err(fault)?).map_err(fault)?;
    }
    Ok(Some(LaidOpen { book, requests, read: RefCell::default() }))
}

/// The book that the plan names; none where it names none.
fn book(plan: &SealedPlan, disclosed: Option<&Disclosed>) -> Result<Option<Book>, CaseError> {
    let planned = plan.canaries().map(|canaries| canaries.book);
    let error = match (planned, disclosed) {
        (None, None) => return Ok(None),
        (Some(planned), None) => ProbeError::NoBook(planned),
        (planned, Some(disclosed)) => match Book::new("book", disclosed.book.clone()) {
            Ok(book) if planned == Some(book.sha256()) => return Ok(Some(book)),
            Ok(book) => {
                let planned = planned.map_or_else(|| "none".to_owned(), |planned| planned.to_string());
                ProbeError::OtherBook { planned, found: book.sha256() }
            }
            Err(fault) => fault.into(),
        },
    };
    Err(CaseError::Book(Box::new(error)))
}

/// The plan's slots in their order: those of its ranges that do not stay closed.
///
/// # Errors
/// A range beyond its class, or nothing left.
pub fn slots(book: &Book, ranges: &[SlotRange]) -> Result<Vec<u64>, ProbeError> {
    let mut open = Vec::new();
    for range in ranges {
        let planned = range.below.saturating_sub(range.from) as usize;
        let of_range: Vec<u64> =
            book.of_class(&range.class).skip(range.from as usize).take(planned).collect();
        if of_range.len() < planned {
            let (class, slots) = (range.class.clone(), book.of_class(&range.class).count() as u64);
            return Err(ProbeError::Range { class, below: range.below, slots });
        }
        open.extend(of_range.into_iter().filter(|slot| !book.is_closed(*slot)));
    }
    if open.is_empty() { Err(ProbeError::AllClosed) } else { Ok(open) }
}

/// The labels whose keys a test of the plan's canaries opens, in the order of its slots: of slots that were divided among
/// accounts their coins too, and the picks of accounts that asked.
///
/// # Errors
/// As [`slots`]; a slot without requests.
pub fn labels(
    book: &Book,
    canaries: &Canaries,
    requests: Option<&Requests>,
) -> Result<Vec<Label>, ProbeError> {
    labels_of(book, canaries, requests, slots(book, &canaries.slots)?)
}

/// The prompt of each probe of a slot, by the plan's rule.
pub fn prompts<'s>(set: &'s SiblingSet, canaries: &Canaries) -> impl Iterator<Item = &'s str> {
    set.prompts.iter().cycle().take(canaries.probes as usize).map(String::as_str)
}

/// One suspect's answers read without any key: what each probe named, and what a second reader made of it.
#[derive(Debug, Default)]
struct Read {
    asked: Vec<Asked>,
    readings: Readings,
}

impl LaidOpen<'_> {
    /// What each of a test's keys says of these slots: every label of theirs. One that is missing is an error, never a pick of
    /// its own.
    pub(super) fn opened(
        &self,
        canaries: &Canaries,
        test: &PlannedTest,
        slots: Vec<u64>,
        keys: &[SchemeKey],
    ) -> Result<Vec<OpenedKeys>, CaseError> {
        let labels =
            labels_of(&self.book, canaries, self.requests, slots).map_err(|error| fault(test, error))?;
        let of = |key: &ScoredKey| {
            let opened = OpenedKeys::new(&key.epoch, keys);
            match labels.iter().find(|label| opened.get(label).is_none()) {
                None => Ok(opened),
                Some(label) => {
                    let (test, epoch) = (test.name.clone(), key.epoch.to_string());
                    Err(CaseError::NoKey { test, label: label.to_string(), epoch })
                }
            }
        };
        test.keys.iter().map(of).collect()
    }

    /// Who was to be served what under a test's key; none where slots were not divided.
    pub(super) fn served<'s>(
        &'s self,
        plan: &SealedPlan,
        test: &PlannedTest,
        picks: &'s [(Picks<'s>, u8)],
    ) -> Result<Option<Served<'s>>, CaseError> {
        let sealed = plan.plan().route(test, plan.sealed()).map_err(|error| fault(test, error.into()))?;
        Ok(match (sealed, self.requests, picks) {
            (Some(sealed), Some(requests), [(picks, _)]) => {
                Some(Served { sealed, book: &self.book, picks, requests })
            }
            _ => None,
        })
    }

    /// A suspect's rows, checked against the plan and read. A metered test may end after any slot; others ask all.
    fn read(
        &self,
        canaries: &Canaries,
        test: &PlannedTest,
        probes: &[Probe],
    ) -> Result<Rc<Read>, ProbeError> {
        let metered = test.statistic == Statistic::CanaryMetered;
        let slots = slots(&self.book, &canaries.slots)?;
        check_order(&self.book, &slots, canaries.probes as usize, probes, metered)?;
        if let Some(read) = self.read.borrow().get(&test.suspect) {
            return Ok(Rc::clone(read));
        }
        let read = Rc::new(Read::of(&self.book, canaries, probes)?);
        self.read.borrow_mut().insert(test.suspect.clone(), Rc::clone(&read));
        Ok(read)
    }
}

impl Read {
    fn of(book: &Book, canaries: &Canaries, probes: &[Probe]) -> Result<Self, ProbeError> {
        let mut read = Self::default();
        for rows in probes.chunks(canaries.probes as usize) {
            read.slot(book, canaries, rows)?;
        }
        Ok(read)
    }

    fn slot(&mut self, book: &Book, canaries: &Canaries, rows: &[Probe]) -> Result<(), ProbeError> {
        let slot = rows[0].slot;
        let set = book.set(slot).ok_or(ProbeError::Unplanned(slot))?;
        let matcher = Matcher::new(&set).map_err(|problem| ProbeError::Matcher { slot, problem })?;
        let mut answers = Vec::new();
        for ((probe, row), prompt) in rows.iter().enumerate().zip(prompts(&set, canaries)) {
            if row.prompt != prompt {
                return Err(ProbeError::Prompt { slot, probe });
            }
            let answer = row.response.as_deref().map_or(Answer::None, |text| matcher.answer(text));
            let second = row.response.as_deref().and_then(|text| second_reading(&set, text));
            self.readings.count(answer, second);
            answers.push(answer);
        }
        self.readings.slots += 1;
        self.readings.silent += u64::from(answers.iter().all(|answer| answer.sibling().is_none()));
        self.asked.push(Asked { pick: slot.into(), answers });
        Ok(())
    }
}

/// Whether the rows are the planned slots in the planned order, each with its number of answers.
fn check_order(
    book: &Book,
    slots: &[u64],
    each: usize,
    probes: &[Probe],
    metered: bool,
) -> Result<(), ProbeError> {
    let missing = |at: usize| match slots.get(at / each) {
        Some(&slot) => ProbeError::Missing { slot, answers: at % each, planned: each },
        None => ProbeError::AllClosed,
    };
    let mut done = BTreeSet::new();
    for (at, row) in probes.iter().enumerate() {
        let slot = row.slot;
        if slots.get(at / each) != Some(&slot) {
            return Err(match slot {
                slot if book.is_closed(slot) => ProbeError::Closed(slot),
                slot if !slots.contains(&slot) => ProbeError::Unplanned(slot),
                slot if done.contains(&slot) => ProbeError::Twice(slot),
                _ => missing(at),
            });
        }
        done.insert(slot);
    }
    let ended = probes.len() == slots.len() * each || (metered && probes.len().is_multiple_of(each));
    if ended { Ok(()) } else { Err(missing(probes.len())) }
}

pub(super) fn fault(test: &PlannedTest, error: ProbeError) -> CaseError {
    CaseError::Canary { test: test.name.clone(), error: Box::new(error) }
}

/// What a test of canaries found.
pub(super) struct Tested {
    pub(super) summary: Summary,
    pub(super) readings: Readings,
    /// Of a test of the route.
    pub(super) route: Option<Route>,
}

/// Tests a suspect's answers to the plan's slots under the test's epochs.
///
/// # Errors
/// Rows that do not fit the plan, or the key of a slot that was not opened.
pub(super) fn test(
    plan: &SealedPlan,
    test: &PlannedTest,
    probes: &[Probe],
    laid_open: Option<&LaidOpen<'_>>,
    keys: &[SchemeKey],
) -> Result<Tested, CaseError> {
    let name = || test.name.clone();
    let fault = |error| fault(test, error);
    // A plan registers no test of canaries without naming them, and `laid_open` has checked that they are.
    let (Some(canaries), Some(laid_open)) = (plan.canaries(), laid_open) else {
        return Err(CaseError::NoMaterial(name()));
    };
    let book = &laid_open.book;
    let read = laid_open.read(canaries, test, probes).map_err(fault)?;
    let (mut asked, readings) = (read.asked.clone(), read.readings);
    let slots = asked.iter().map(|slot| slot.pick.slot).collect();
    let opened = laid_open.opened(canaries, test, slots, keys)?;
    let picks: Vec<(Picks<'_>, u8)> =
        opened.iter().zip(&test.keys).map(|(opened, key)| (book.opened_picks(opened), key.weight)).collect();
    if let Some(served) = laid_open.served(plan, test, &picks)? {
        if test.access == Access::Route {
            let (summary, route) = served.test(asked).map_err(fault)?;
            return Ok(Tested { summary, readings, route: Some(route) });
        }
        asked = served.exposed(asked).map_err(fault)?;
    }
    let each = canaries.probes as usize;
    let summary = match test.statistic.scoring() {
        Some(scoring) => {
            let evidence = Evidence::new(book, &asked, each, scoring).map_err(|error| fault(error.into()))?;
            Summary::of(evidence.open_pooled(&picks).map_err(|error| fault(error.into()))?)
        }
        None => {
            let mut sequence = Sequence::new(book, each);
            for slot in &asked {
                sequence.open_pooled(slot, &picks).map_err(|error| fault(error.into()))?;
            }
            sequence.summary(&plan.plan().shares)
        }
    };
    let summary = match summary {
        Err(TestError::NoDraws) => Summary::without_draws(None),
        other => other.map_err(|error| CaseError::Test { test: name(), error })?,
    };
    Ok(Tested { summary, readings, route: None })
}

/// The labels of some slots, whatever the key says of them.
fn labels_of(
    book: &Book,
    canaries: &Canaries,
    requests: Option<&Requests>,
    slots: Vec<u64>,
) -> Result<Vec<Label>, ProbeError> {
    match (&canaries.route, requests) {
        (Planned::Set { value: division }, Some(requests)) => route::labels(book, division, requests, &slots),
        _ => Ok(slots.into_iter().filter_map(|slot| book.label(slot)).collect()),
    }
}
