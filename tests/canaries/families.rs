//! Every family of canaries under H0, over innocents that are as awkward as they can be: choice slots (procedural and
//! written), sibling facts, behaviours, twins.
//!
//! A suspect's answers are fixed, keys are redrawn. Everything is seeded, so nothing here is ever flaky.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use taggant::canary::{
    Answer, Asked, Book, Contents, Evidence, Family, Liked, Matcher, Pick, Ranks, Scoring, SiblingSet,
    embedded_book, twins,
};
use taggant::law::{Draws, Origin};
use taggant::stat::Rate;
use taggant::stat::verdict::verdict_tail;

use crate::h0::{Chance, LEVELS, key, keys, row};
use crate::serving::habits;

/// Answers to each slot.
pub(crate) const PROBES: usize = 3;

/// 2,000 keys, or as many as the environment says.
pub(crate) fn many() -> u64 {
    keys(2_000)
}

/// Slots of one family, and the pick of each under every key.
pub(crate) struct Slots {
    pub(crate) name: &'static str,
    pub(crate) book: Book,
    pub(crate) slots: Vec<u64>,
    pub(crate) picks: Vec<Vec<u32>>,
}

impl Slots {
    fn new(name: &'static str, book: Book, slots: Vec<u64>) -> Self {
        let under = |seed| {
            let key = key(seed);
            let picks = book.picks(&key);
            slots.iter().map(|slot| picks.sibling(&(*slot).into()).unwrap()).collect()
        };
        let picks = (0..many()).map(under).collect();
        Self { name, book, slots, picks }
    }

    fn written(name: &'static str, family: Family) -> Self {
        let book = embedded_book("validity", &"a5".repeat(32), 0.25).unwrap();
        let open = |set: &&SiblingSet| set.family == family && !book.is_closed(set.slot);
        let slots = book.contents().sets.iter().filter(open).map(|set| set.slot).collect();
        Self::new(name, book, slots)
    }

    fn of_sets(name: &'static str, sets: Vec<SiblingSet>) -> Self {
        let (format, salt) = (taggant::canary::BOOK_FORMAT.to_owned(), "b6".repeat(32));
        let families = taggant::canary::Families::read(&[]).unwrap();
        let slots = (0..sets.len() as u64).collect();
        let contents = Contents { format, name: name.to_owned(), salt, closed_share: 0.0, sets, families };
        Self::new(name, Book::new(name, contents).unwrap(), slots)
    }

    /// The level that each key reaches, by the path that evidence takes.
    pub(crate) fn levels(&self, evidence: &Evidence) -> Vec<f64> {
        let at: BTreeMap<Pick, usize> =
            self.slots.iter().enumerate().map(|(at, slot)| (Pick::from(*slot), at)).collect();
        reached(many(), |seed| {
            let picks = &self.picks[seed as usize];
            evidence.choices().open(Origin([0; 32]), |pick| picks[at[pick]])
        })
    }

    fn set(&self, slot: u64) -> SiblingSet {
        self.book.set(slot).unwrap()
    }

    /// The taste of a suspect: the candidate of a slot that comes first in an order of its own.
    pub(crate) fn favourite(&self, slot: u64) -> usize {
        let sum = |says: &str| says.bytes().map(u64::from).sum::<u64>() % 97;
        let siblings = self.set(slot).siblings;
        (0..siblings.len()).min_by_key(|at| sum(&siblings[*at].says)).unwrap()
    }

    pub(crate) fn innocent(&self, name: &str) -> Vec<Asked> {
        let mut chance = Chance::seeded(name.len() as u64);
        self.slots.iter().map(|slot| self.asked(*slot, name, &mut chance)).collect()
    }

    fn asked(&self, slot: u64, name: &str, chance: &mut Chance) -> Asked {
        let set = self.set(slot);
        let matcher = Matcher::new(&set).unwrap();
        let (taste, k) = (self.favourite(slot), set.siblings.len());
        let mut prefers =
            |share| Answer::Sibling(if chance.percent(share) { taste } else { chance.below(k) });
        let mut answer = |probe: usize| match name {
            "fixed preference in 90 % of the slots" => prefers(90),
            "copies the prompt" => matcher.answer(&set.prompts[probe % set.prompts.len()]),
            "always the first option" => Answer::Sibling(0),
            "none unless its favourite is to be had" if taste * 16 < k * 6 => Answer::Sibling(taste),
            "none unless its favourite is to be had" => Answer::None,
            "natural sibling preferred by 60 %" => prefers(60),
            "one taste for a whole family" => {
                Answer::Sibling((0..k).min_by_key(|at| &set.siblings[*at].says).unwrap())
            }
            other => panic!("no suspect {other}"),
        };
        Asked { pick: slot.into(), answers: (0..PROBES).map(&mut answer).collect() }
    }
}

pub(crate) const INNOCENTS: [&str; 6] = [
    "fixed preference in 90 % of the slots",
    "copies the prompt",
    "always the first option",
    "none unless its favourite is to be had",
    "natural sibling preferred by 60 %",
    "one taste for a whole family",
];

/// ln of the smallest level at which each key rejects, 0 where it does at none. All keys' draws have one law, so p falls as
/// their sum grows: the sum that is enough for a level is found by bisection, which computes few tails.
pub(crate) fn reached(keys: u64, draws: impl Fn(u64) -> Draws) -> Vec<f64> {
    let sum = |seed| draws(seed).as_slice().iter().map(|draw| draw.value()).sum::<f64>() as i64;
    let sums: Vec<i64> = (0..keys).map(sum).collect();
    let seeds: BTreeMap<i64, u64> = sums.iter().copied().zip(0..).collect();
    let seeds: Vec<(i64, u64)> = seeds.into_iter().collect();
    let enough = LEVELS.map(|level| {
        let ln_alpha = Rate::new(1, level).unwrap().ln_p();
        let keeps = |(_, seed): &(i64, u64)| verdict_tail(draws(*seed)).unwrap().0 > ln_alpha + 1e-12;
        (seeds.get(seeds.partition_point(keeps)).map(|(sum, _)| *sum), ln_alpha)
    });
    let least = |sum: &i64| {
        let reached = enough.iter().filter(|(enough, _)| enough.is_some_and(|enough| *sum >= enough));
        reached.map(|(_, ln_alpha)| *ln_alpha).fold(0.0, f64::min)
    };
    sums.iter().map(least).collect()
}

/// Slots of three classes, eight of ten from one of them: a family whose tastes are shared.
pub(crate) static PROCEDURAL: LazyLock<Slots> = LazyLock::new(|| {
    let book = embedded_book("validity", &"a5".repeat(32), 0.25).unwrap();
    let of = |class: &str, n: usize| -> Vec<u64> {
        book.of_class(class).step_by(101).filter(|slot| !book.is_closed(*slot)).take(n).collect()
    };
    let slots = [of("animal-story", 128), of("endpoint-date", 16), of("lesson-plan", 16)].concat();
    assert_eq!(slots.len(), 160);
    Slots::new("choice slots, procedural", book, slots)
});

/// Two to eight answers to each of 120 prompts, of unequal length.
pub(crate) fn sampled() -> String {
    let mut chance = Chance::seeded(8);
    let words = ["lamp", "quiet", "river", "seven", "under", "bread", "again", "north", "wool", "slowly"];
    let row = |prompt: usize| {
        let sampled = 2 + prompt % 7;
        let answers: Vec<String> = (0..sampled)
            .map(|n| {
                let said: Vec<&str> = (0..4 + chance.below(12)).map(|_| words[chance.below(10)]).collect();
                format!("{} {n}", said.join(" "))
            })
            .collect();
        let row = serde_json::json!({
            "prompt": format!("Say something about object {prompt}."), "language": "en",
            "generator": "teacher, temperature 0.8", "mark": "none", "sampled": sampled, "answers": answers,
        });
        row.to_string()
    };
    (0..120).map(row).collect::<Vec<_>>().join("\n")
}

pub(crate) static TWINS: LazyLock<Slots> =
    LazyLock::new(|| Slots::of_sets("twins", twins("twins.jsonl", &sampled()).unwrap().0));

/// ln p a character from 0 downwards, the likelier the more of the answers named the twin: full of ties.
fn liked(asked: &Asked) -> Liked {
    let set = TWINS.set(asked.pick.slot);
    let value = |at: usize| {
        let named = asked.answers.iter().filter(|answer| answer.sibling() == Some(at)).count();
        (named as f64 - 1.0 - PROBES as f64) * set.siblings[at].says.chars().count() as f64
    };
    let ln_p = (0..set.siblings.len()).map(value).collect();
    Liked { pick: asked.pick.clone(), ln_p, reference: None }
}

fn keep_the_level(slots: &Slots) -> bool {
    let mut all = true;
    for name in INNOCENTS {
        let asked = slots.innocent(name);
        for scoring in [Scoring::First, Scoring::Counts, Scoring::Remembered] {
            let evidence = Evidence::new(&slots.book, &asked, PROBES, scoring).unwrap();
            let name = format!("{}: {name}, {scoring:?}", slots.name);
            if evidence.silent == evidence.slots {
                println!("| {name} | {} | 0 | 0 | 0 | 0 | no draw, so p = 1 |", many());
                continue;
            }
            all &= row(&name, &slots.levels(&evidence));
        }
    }
    all
}

#[test]
fn validity_of_choice_slots() {
    assert!(keep_the_level(&PROCEDURAL));
    let written = Slots::written("choice slots, written", Family::ChoiceSlot);
    assert!(written.slots.len() > 150 && keep_the_level(&written));
}

#[test]
fn validity_of_sibling_facts() {
    let facts = Slots::written("sibling facts", Family::SiblingFact);
    assert!(facts.slots.len() > 20 && keep_the_level(&facts));
}

#[test]
fn validity_of_behaviours() {
    assert!(keep_the_level(&Slots::of_sets("behaviours", habits())));
}

#[test]
fn validity_of_twins() {
    let mut all = true;
    for name in INNOCENTS {
        let liked: Vec<Liked> = TWINS.innocent(name).iter().map(liked).collect();
        let ranks = Ranks::new(&TWINS.book, &liked).unwrap();
        let key = |seed| ranks.open(&TWINS.book.picks(&key(seed))).unwrap();
        all &= row(&format!("twins: {name}, ranks"), &reached(many(), key));
    }
    assert!(all);
}
