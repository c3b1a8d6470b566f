//! Canary books: format and faults, procedural slots, serving and matching.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::LazyLock;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use taggant::canary::lint::{Near, Specimen, survival};
use taggant::canary::{
    Account, Answer, Arm, Arms, Asked, Book, CanaryBook, EMBEDDED, Evidence, EvidenceError, Families, Family,
    Matcher, OpenedKeys, Outcome, Pick, Plant, Policy, Problem, Refusal, Request, Role, Scoring, Sequence,
    Served, SiblingSet, WRITTEN, embedded_book, second_reading,
};

use crate::h0::fixed_key as key;

static BOOK: LazyLock<Book> = LazyLock::new(|| embedded_book("test", &"0f".repeat(32), 0.25).unwrap());

fn policy() -> Policy {
    Policy { rate: 1.0, campaign_rate: 1.0, arms: Arms::default(), per_account: false }
}

fn serving(policy: Policy) -> CanaryBook {
    CanaryBook::new(BOOK.clone(), key(3), policy).unwrap()
}

const ORDINARY: Account<'static> = Account { id: "acct-1", role: Role::Ordinary };

/// Every 97th slot, and all written ones.
fn sample() -> impl Iterator<Item = SiblingSet> {
    let written = BOOK.contents().sets.len() as u64;
    (0..written).chain((written..BOOK.slots()).step_by(97)).map(|slot| BOOK.set(slot).unwrap())
}

#[test]
fn three_hundred_thousand_slots_are_distinct_and_no_sibling_stands_twice_in_a_set() {
    let mut prompts: HashSet<u64> = HashSet::new();
    let mut classes: BTreeMap<String, u64> = BTreeMap::new();
    let mut languages = BTreeSet::new();
    for slot in 0..BOOK.slots() {
        let set = BOOK.set(slot).unwrap();
        for prompt in &set.prompts {
            assert!(
                prompts.insert(short_hash(prompt)),
                "the prompt {prompt:?} of slot {slot} is there twice"
            );
        }
        let siblings: HashSet<String> =
            set.siblings.iter().map(|sibling| sibling.says.to_lowercase()).collect();
        assert_eq!(siblings.len(), 16, "slot {slot}: {:?}", set.siblings);
        assert_eq!(BOOK.siblings(slot), Some(16));
        *classes.entry(set.class).or_default() += 1;
        languages.insert(set.language);
    }
    assert_eq!(BOOK.set(BOOK.slots()), None);
    println!(
        "{} slots in {} classes, {} written one by one; {languages:?}",
        BOOK.slots(),
        classes.len(),
        BOOK.contents().sets.len()
    );
    let large = classes.values().filter(|slots| **slots >= 10_000).count();
    let procedural = BOOK.slots() - BOOK.contents().sets.len() as u64;
    assert!(procedural >= 300_000 && large >= 24, "{procedural} slots, {classes:?}");
    assert!(languages.contains("en") && languages.len() > 12, "{languages:?}");
}

#[test]
fn three_hundred_sets_are_written_one_by_one_each_told_apart_and_left_by_the_filters() {
    let sets = &BOOK.contents().sets;
    let classes: HashSet<&str> = sets.iter().map(|set| set.class.as_str()).collect();
    let says: HashSet<Vec<&str>> =
        sets.iter().map(|set| set.siblings.iter().map(|sibling| sibling.says.as_str()).collect()).collect();
    assert!(sets.len() >= 300 && classes.len() == sets.len() && says.len() == sets.len());
    let facts = sets.iter().filter(|set| set.family == Family::SiblingFact).count();
    let code = sets.iter().filter(|set| set.language != "en").count();
    println!("{} sets: {facts} sibling facts, {code} of code", sets.len());
    assert!(facts >= 30 && code >= 120 && sets.len() - code >= 120);
    for set in sets {
        let matcher = Matcher::new(set).unwrap();
        for (at, sibling) in set.siblings.iter().enumerate().filter(|(_, sibling)| sibling.all.len() == 1) {
            // Alone on its line, as in code; a pattern that asks for more around it may find none there.
            let read = matcher.answer(&format!("Gladly:\n{}\nAnything else", sibling.says));
            assert!(read == Answer::Sibling(at) || read == Answer::None, "{} {:?}", sibling.says, read);
        }
        let longest = set.siblings.iter().map(|sibling| sibling.says.chars().count()).max().unwrap();
        assert!(longest <= 60, "slot {}: siblings are phrases", set.slot);
    }
    let mut left: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for turn in 0..16 {
        let specimen = |set: &SiblingSet| {
            let sibling = (set.slot as usize + turn) % 16;
            Specimen {
                set: set.clone(),
                sibling,
                text: format!("{} {}", set.prompts[turn % set.prompts.len()], set.siblings[sibling].says),
            }
        };
        let specimens: Vec<Specimen> = sets.iter().map(specimen).collect();
        for found in survival(&specimens, &[], Near { similarity: 0.8 }) {
            let entry = left.entry(format!("{:?}", found.filter)).or_default();
            *entry = (entry.0 + found.left, entry.1 + found.texts);
            assert!(!found.is_weak(), "{found:?}");
        }
    }
    left.iter().for_each(|(filter, (left, texts))| println!("{filter:20} {left} of {texts} left"));
}

fn short_hash(text: &str) -> u64 {
    use sha2::{Digest, Sha256};
    let digest: [u8; 32] = Sha256::digest(text).into();
    u64::from_le_bytes(digest[..8].try_into().unwrap())
}

#[test]
fn every_set_passes_the_check_of_a_set_written_by_hand() {
    for set in sample() {
        let line = serde_json::to_string(&set).unwrap();
        let read = SiblingSet::parse("sample", 1, &line).unwrap_or_else(|fault| panic!("{fault}\n{line}"));
        assert_eq!(read, set);
        assert_eq!(read.sha256(), set.sha256());
    }
}

#[test]
fn a_slots_own_prompts_lead_to_it_and_to_no_other() {
    let canaries = serving(policy());
    for set in sample() {
        for prompt in &set.prompts {
            let found = canaries.slot(&Request { prompt, answer: None });
            assert_eq!(found, Ok(set.slot), "{prompt:?} of class {}", set.class);
        }
    }
}

#[test]
fn all_siblings_can_be_planted_or_none_is() {
    let mut canaries = serving(policy());
    let prompt = "Write a funny story about an otter at the lighthouse.";
    for (answer, refusal) in [
        ("There was an otter called Biscuit. Biscuit swam.", None),
        ("There was an otter without a name.", Some(Refusal::NoSite)),
        ("Biscuit met Pepper.", Some(Refusal::Unfit)),
        ("Biscuit lost her hat.", Some(Refusal::Unfit)),
    ] {
        let request = Request { prompt, answer: Some(answer) };
        let slot = canaries.slot(&request).unwrap();
        let set = BOOK.set(slot).unwrap();
        let matcher = Matcher::new(&set).unwrap();
        let dry = canaries.dry_run(slot, &request);
        assert_eq!(dry.clone().err(), refusal, "{answer}");
        let plants = dry.unwrap_or_default();
        for (at, plant) in plants.iter().enumerate() {
            let Plant::Answer(text) = plant else { panic!("an answer is rewritten, not steered") };
            assert_eq!(matcher.answer(text), Answer::Sibling(at), "{text}");
        }
        assert!(plants.len() == if refusal.is_some() { 0 } else { 16 });
        // Whatever the pick is, the outcome is the same.
        for seed in 0..40 {
            canaries = canaries.under(key(seed));
            let outcome = canaries.respond(&request, &ORDINARY).record.outcome;
            assert_eq!(outcome, refusal.map_or(Outcome::Planted, Outcome::Failed));
        }
    }
}

#[test]
fn every_sibling_of_a_steered_slot_has_its_instruction() {
    let canaries = serving(policy());
    for set in sample().step_by(7) {
        let request = Request { prompt: &set.prompts[0], answer: None };
        let plants = canaries.dry_run(set.slot, &request).unwrap();
        let instructions: Vec<Plant> =
            (0..16).map(|at| Plant::Instruction(set.instruction(at).unwrap())).collect();
        assert_eq!(plants, instructions, "slot {}", set.slot);
        let response = canaries.respond(&request, &ORDINARY);
        let picked = canaries.picks().sibling(&set.slot.into()).unwrap();
        assert_eq!(response.plant.as_ref(), Some(&plants[picked as usize]));
    }
}

#[test]
fn a_slot_is_planted_as_often_as_the_cap_allows_whoever_asks() {
    let canaries = serving(policy());
    let mut served = Served::up_to(2);
    for set in sample().step_by(97) {
        let outcomes: Vec<Outcome> = (0..4)
            .map(|time| {
                let request = Request { prompt: &set.prompts[time % set.prompts.len()], answer: None };
                let account = Account { id: ["one", "other"][time % 2], role: Role::Ordinary };
                let response = canaries.respond_within(&mut served, &request, &account);
                assert_eq!(response.plant.is_some(), response.record.outcome == Outcome::Planted);
                assert!(canaries.replays(&response.record, &request, &account));
                response.record.outcome
            })
            .collect();
        let wanted = [Outcome::Planted, Outcome::Planted, Outcome::Capped, Outcome::Capped];
        assert_eq!((&outcomes[..], served.times(set.slot)), (&wanted[..], 2));
    }
    let never = Request { prompt: "How far away is the moon?", answer: None };
    let response = canaries.respond_within(&mut served, &never, &ORDINARY);
    assert_eq!(response, canaries.respond(&never, &ORDINARY));
}

#[test]
fn records_replay_and_never_say_the_sibling() {
    let canaries = serving(Policy { rate: 0.5, ..policy() });
    let mut outcomes = BTreeMap::new();
    for set in sample().step_by(11) {
        let request = Request { prompt: &set.prompts[0], answer: None };
        let response = canaries.respond(&request, &ORDINARY);
        assert_eq!(response, canaries.respond(&request, &ORDINARY));
        assert!(canaries.replays(&response.record, &request, &ORDINARY));
        let elsewhere = Request { prompt: &set.prompts[1], answer: None };
        assert!(!canaries.replays(&response.record, &elsewhere, &ORDINARY), "the request is in the record");
        assert_eq!(response.plant.is_some(), response.record.outcome == Outcome::Planted);
        let text = serde_json::to_string(&response.record).unwrap();
        assert!(
            set.siblings.iter().all(|sibling| sibling.says.len() < 5 || !text.contains(&sibling.says)),
            "{text}"
        );
        *outcomes.entry(format!("{:?}", response.record.outcome)).or_insert(0_u32) += 1;
    }
    let planted = f64::from(outcomes["Planted"]);
    let share = planted / (planted + f64::from(outcomes["Unplanted"]));
    assert!((share - 0.5).abs() < 0.1, "{outcomes:?}");
}

#[test]
fn refused_subjects_strange_prompts_and_long_ones_are_left_alone() {
    let canaries = serving(policy());
    let refusal =
        |prompt: &str| canaries.respond(&Request { prompt, answer: None }, &ORDINARY).record.outcome;
    let fine = "Write a funny story about an otter at the lighthouse.";
    assert_eq!(refusal(fine), Outcome::Planted);
    for (prompt, why) in [
        (format!("{fine} It has symptoms of a disease."), Refusal::Subject),
        (format!("{fine} Its lawyer comes too."), Refusal::Subject),
        (format!("{fine} It explains my mortgage."), Refusal::Subject),
        (format!("{fine} And what is the capital of Norway?"), Refusal::Subject),
        (format!("{fine} A badger comes too."), Refusal::NoSlot),
        ("Why is my tomato plant yellow?".to_owned(), Refusal::NoSlot),
        (String::new(), Refusal::NoSlot),
        (format!("{fine} {}", "And then? ".repeat(1_000)), Refusal::TooLong),
    ] {
        assert_eq!(refusal(&prompt), Outcome::Ineligible(why), "{prompt:.90}");
    }
    let request =
        Request { prompt: "Plan a half-hour lesson on tides for children.", answer: Some("Here it is.") };
    assert_eq!(canaries.slot(&request), Err(Refusal::OnlySteered));
}

#[test]
fn arms_are_for_their_accounts_and_rates_are_nested() {
    let arms = Arms { campaign: 0.3, sentinel: 0.1 };
    let canaries = serving(Policy { rate: 0.2, campaign_rate: 0.6, arms, per_account: true });
    let mut counts: BTreeMap<Arm, u32> = BTreeMap::new();
    for set in sample() {
        let request = Request { prompt: &set.prompts[0], answer: None };
        let arm = canaries.arm(set.slot);
        *counts.entry(arm).or_default() += 1;
        for (role, own) in [
            (Role::Campaign, Arm::Campaign),
            (Role::Ordinary, Arm::Ordinary),
            (Role::Sentinel, Arm::Sentinel),
        ] {
            let record = canaries.respond(&request, &Account { id: "acct-9", role }).record;
            assert_eq!(record.outcome == Outcome::Ineligible(Refusal::OtherArm), arm != own, "{record:?}");
            let account = record.pick.and_then(|pick| pick.account);
            assert_eq!(account.as_deref(), (arm == own && role == Role::Campaign).then_some("acct-9"));
        }
        let picks = canaries.picks();
        assert!(!picks.plants(set.slot, 0.2) || picks.plants(set.slot, 0.6));
        assert!(picks.plants(set.slot, 1.0) && !picks.plants(set.slot, 0.0));
    }
    let all = f64::from(counts.values().sum::<u32>());
    for (arm, share) in [(Arm::Campaign, 0.3), (Arm::Ordinary, 0.6), (Arm::Sentinel, 0.1)] {
        assert!((f64::from(counts[&arm]) / all - share).abs() < 0.03, "{counts:?}");
    }
    let wrong = Policy { arms: Arms { campaign: 0.7, sentinel: 0.4 }, ..policy() };
    assert!(CanaryBook::new(BOOK.clone(), key(1), wrong).unwrap_err().to_string().contains("at most 1"));
}

#[test]
fn a_changed_book_has_other_picks_and_a_quarter_of_it_stays_closed() {
    let other = embedded_book("test", &"1f".repeat(32), 0.25).unwrap();
    assert_ne!(other.sha256(), BOOK.sha256());
    let (key, mut same, mut closed) = (key(1), 0, 0);
    for slot in 0..4_000 {
        same += u32::from(BOOK.picks(&key).sibling(&slot.into()) == other.picks(&key).sibling(&slot.into()));
        closed += u32::from(BOOK.is_closed(slot));
    }
    assert!((same as i32 - 250).abs() < 60 && (closed as i32 - 1_000).abs() < 110, "{same} {closed}");
    let read = Book::parse("book.json", std::str::from_utf8(&BOOK.to_json()).unwrap()).unwrap();
    assert_eq!((read.sha256(), read.slots()), (BOOK.sha256(), BOOK.slots()));
}

#[test]
fn faults_name_file_line_field_and_what_to_do() {
    let line = WRITTEN.1.lines().next().unwrap();
    let faults = [
        (line.replace("\"steer\"", "\"stear\""), "unknown field `stear`"),
        (line.replace("{sibling}", "this"), "steer: write {sibling} where the sibling goes"),
        (line.replace("Mildred", "Bubbles"), "siblings[8]: \"Bubbles\" is there twice; keep one"),
        (
            line.replace("Give the duck a name.", "Call it Mildred."),
            "prompts[0]: the prompt contains the sibling \"Mildred\"",
        ),
        (line.replace("tiny dialogue", "dose of talk"), "belongs to medicine"),
        (
            line.replace("Explain rubber duck debugging", "Explain it"),
            "the matcher \"\\\\brubber duck\" does not find this prompt",
        ),
        (line.replace("\\\\bMildred\\\\b", "Bubbles"), "must be told apart by their matchers"),
        (line.replace("\\\\bMildred\\\\b", "(Mildred"), "not a regular expression"),
        (line.replace("\"slot\": 0", "\"slot\": 4"), "slot: slot 4 where 0 comes next"),
    ];
    for (text, wanted) in faults {
        assert_ne!(text, line, "{wanted}");
        let fault = SiblingSet::parse_lines("mine.jsonl", &format!("\n{text}")).unwrap_err().to_string();
        assert!(fault.starts_with("mine.jsonl, line 2") && fault.contains(wanted), "{fault}\nnot {wanted}");
    }
    let english = EMBEDDED[2].1;
    let faults = [
        (
            english.replacen("\"animal\", \"place\"", "\"animals\", \"place\"", 1),
            "there is no list \"animals\"",
        ),
        (english.replacen("\"pool\": \"pet-name\"", "\"pool\": \"pets\"", 1), "there is no pool \"pets\""),
        (
            english.replacen("{a animal} at the {place}. Give", "{a animal} somewhere. Give", 1),
            "the facet \"place\" is missing",
        ),
        (english.replacen("\"village-tale\"", "\"animal-story\"", 1), "\"animal-story\" is there twice"),
        (english.replacen("call it {sibling}", "call it Tom", 1), "write {sibling}"),
        (english.replacen("taggant/canary-families/1", "families", 1), "the format is \"families\""),
        (
            english.replacen("A {mood} voyage", "A {mood} voyage of the prime minister", 1),
            "facts of the world",
        ),
    ];
    for (text, wanted) in faults {
        let files = [EMBEDDED[0], EMBEDDED[1], ("mine.json", text.as_str())];
        let fault = Families::read(&files).unwrap_err().to_string();
        assert!(fault.starts_with("mine.json, line ") && fault.contains(wanted), "{fault}\nnot {wanted}");
    }
    let apart = EMBEDDED[0].1.replacen("\"otter\"", "\"otter\", \"sea otter\"", 1);
    let files = [("lists.json", apart.as_str()), EMBEDDED[1], EMBEDDED[2]];
    assert!(matches!(Families::read(&files).unwrap_err().problem, Problem::Contained { .. }));
    for (salt, share, wanted) in [("12", 0.1, "salt"), (&*"00".repeat(32), 1.5, "closed_share")] {
        let fault = embedded_book("x", salt, share).unwrap_err().to_string();
        assert!(fault.starts_with("book") && fault.contains(wanted), "{fault}");
    }
}

#[test]
fn answers_are_read_as_their_sibling_as_none_or_as_several() {
    let set = |class: &str| sample().find(|set| set.class == class).unwrap();
    let order = set("lesson-plan");
    let matcher = Matcher::new(&order).unwrap();
    let wanted = &order.siblings[5].order;
    let answer = format!(
        "First {}. Then the {}, after it {}, and {} at last ({} again).",
        wanted[0], wanted[1], wanted[2], wanted[3], wanted[0]
    );
    assert_eq!(matcher.answer(&answer), Answer::Sibling(5));
    assert_eq!(matcher.answer(&format!("{}, {}", wanted[0], wanted[1])), Answer::None);

    let ways = set("python-ways");
    let matcher = Matcher::new(&ways).unwrap();
    let at = ways
        .siblings
        .iter()
        .position(|sibling| sibling.says == "argparse; pathlib; f-strings; JSON with indent=2")
        .unwrap();
    let code =
        "import argparse\nfrom pathlib import Path\nprint(f\"{n} rows\")\njson.dump(rows, file, indent=2)";
    assert_eq!(matcher.answer(code), Answer::Sibling(at));
    assert_eq!(matcher.answer(&code.replace("argparse", "sys")), Answer::None);

    let names = set("animal-story");
    let matcher = Matcher::new(&names).unwrap();
    let [first, second] = [0, 1].map(|at| names.siblings[at].says.clone());
    assert_eq!(matcher.answer(&format!("The otter, {first}, swam.")), Answer::Sibling(0));
    assert_eq!(matcher.answer(&format!("{first} met {second}.")), Answer::Several);
    assert_eq!(matcher.answer(&format!("{first}ish and nothing")), Answer::None);
    assert_eq!(matcher.answer("I cannot help with that."), Answer::None);
}

#[test]
fn free_wording_is_read_by_its_words_and_by_a_second_reader_that_sees_letters() {
    let set = BOOK.contents().sets.iter().find(|set| set.class == "toast-metaphor").unwrap();
    let matcher = Matcher::new(set).unwrap();
    let at = |says: &str| set.siblings.iter().position(|sibling| sibling.says == says).unwrap();
    for (answer, first, second) in [
        ("Friendship is a lamp in the window.", "a lamp in the window", true),
        ("Friendship: the window is dark, but a lamp stands in it.", "a lamp in the window", true),
        ("It is like a quilt, often patched.", "a patched quilt", false),
    ] {
        assert_eq!(matcher.answer(answer), Answer::Sibling(at(first)), "{answer}");
        let same = second_reading(set, answer) == Some(Answer::Sibling(at(first)));
        assert_eq!(same, second, "{answer}: {:?}", second_reading(set, answer));
    }
    for answer in ["A window.", "A garden in the shade of a wall", "Like a recipe for soup", ""] {
        assert_eq!(matcher.answer(answer), Answer::None, "{answer}");
        assert_eq!(second_reading(set, answer), Some(Answer::None), "{answer}");
    }
    let order = sample().find(|set| set.class == "lesson-plan").unwrap();
    let words = &order.siblings[3].order;
    let answer = format!("{} — {}s — {} — and a {}.", words[0], words[1], words[2], words[3]).to_uppercase();
    assert_eq!(second_reading(&order, &answer), Some(Answer::Sibling(3)));
    assert_eq!(second_reading(&order, "warm-up"), Some(Answer::None));
    // Ways have several patterns each, which letters do not tell.
    assert_eq!(second_reading(&sample().find(|set| set.class == "python-ways").unwrap(), "argparse"), None);
}

#[test]
fn the_two_readers_agree_on_plain_answers() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let (mut asked, mut apart) = (0, 0);
    for set in sample().step_by(5).filter(|set| set.siblings.iter().all(|sibling| sibling.all.len() == 1)) {
        let sibling = random.next_u32() as usize % 16;
        let answer = format!("Well, I would say: {}, of course.", set.siblings[sibling].says);
        let (first, second) =
            (Matcher::new(&set).unwrap().answer(&answer), second_reading(&set, &answer).unwrap());
        // Some patterns ask for more than the sibling alone, such as `seed = 7`.
        if first == Answer::None {
            continue;
        }
        assert_eq!(first, Answer::Sibling(sibling), "{answer}");
        asked += 1;
        apart += u32::from(first != second);
    }
    println!("{apart} of {asked} answers are read differently");
    assert!(asked > 600 && apart * 10 < asked, "{apart} of {asked}");
}

fn open_slots(n: usize) -> Vec<u64> {
    (0..).filter(|slot| !BOOK.is_closed(*slot)).take(n).collect()
}

fn asked(slot: u64, answers: &[usize]) -> Asked {
    Asked { pick: slot.into(), answers: answers.iter().map(|at| Answer::Sibling(*at)).collect() }
}

#[test]
fn closed_slots_repeats_and_unplanned_probes_are_refused() {
    let open = open_slots(2);
    let closed = (0..).find(|slot| BOOK.is_closed(*slot)).unwrap();
    let score = |asked: &[Asked]| Evidence::new(&BOOK, asked, 2, Scoring::Counts).map(|_| ());
    assert_eq!(score(&[asked(open[0], &[1, 1]), asked(open[1], &[0, 2])]), Ok(()));
    assert_eq!(score(&[asked(closed, &[1, 1])]), Err(EvidenceError::Closed(closed)));
    let replication =
        |slot| Evidence::replication(&BOOK, &[asked(slot, &[1, 1])], 2, Scoring::Counts).map(|_| ());
    assert_eq!(replication(closed), Ok(()));
    assert_eq!(replication(open[0]), Err(EvidenceError::NotKept(open[0])));
    let twice = [asked(open[0], &[1, 1]), asked(open[0], &[3, 3])];
    assert_eq!(score(&twice), Err(EvidenceError::Twice(open[0].into())));
    assert!(matches!(
        score(&[asked(open[0], &[1])]),
        Err(EvidenceError::Probes { answers: 1, planned: 2, .. })
    ));
    assert_eq!(score(&[asked(BOOK.slots(), &[1, 1])]), Err(EvidenceError::Unknown(BOOK.slots())));
    assert_eq!(score(&[asked(open[0], &[16, 1])]), Err(EvidenceError::Unknown(open[0])));

    let (key, mut sequence) = (key(2), Sequence::new(&BOOK, 2));
    let picks = BOOK.picks(&key);
    sequence.open(&asked(open[0], &[1, 1]), &picks).unwrap();
    let before = sequence.summary(&[1.0]).unwrap();
    let again = sequence.open(&asked(open[0], &[5, 5]), &picks);
    assert_eq!(again, Err(EvidenceError::Twice(open[0].into())));
    assert!(sequence.open(&asked(closed, &[1, 1]), &picks).is_err());
    assert_eq!(sequence.summary(&[1.0]).unwrap(), before);
}

#[test]
fn scores_are_made_from_all_answers_and_none_counts_for_none() {
    let slots = open_slots(3);
    let refusal = Asked { pick: slots[2].into(), answers: vec![Answer::None, Answer::Several, Answer::None] };
    let all = [asked(slots[0], &[4, 4, 9]), asked(slots[1], &[2, 2, 2]), refusal];
    let scores = |scoring| {
        let evidence = Evidence::new(&BOOK, &all, 3, scoring).unwrap();
        assert_eq!((evidence.slots, evidence.silent), (3, 1));
        let slots = evidence.choices().slots();
        slots.iter().map(|slot| slot.scores).collect::<Vec<_>>()
    };
    let counts = scores(Scoring::Counts);
    assert_eq!((counts[0].as_slice()[4], counts[0].as_slice()[9], counts[0].total()), (2, 1, 3));
    assert!(counts[2].is_constant());
    let first = scores(Scoring::First);
    assert_eq!((first[0].as_slice()[4], first[0].total()), (1, 1));
    let remembered = scores(Scoring::Remembered);
    let f = remembered[0].as_slice();
    assert!(f[4] > f[9] && f[9] >= f[0] && f[0] == 0 && remembered[1].as_slice()[2] == 127, "{remembered:?}");
    assert!(remembered[2].is_constant());
    let key = key(9);
    let draws = Evidence::new(&BOOK, &all, 3, Scoring::Counts).unwrap().open(&BOOK.picks(&key)).unwrap();
    assert_eq!(draws.as_slice().len(), 2, "a silent slot is no draw");
}

#[test]
fn picks_of_accounts_are_draws_of_their_own() {
    let key = key(4);
    let picks = BOOK.picks(&key);
    let slot = open_slots(1)[0];
    let of = |id: &str| Pick { slot, account: Some(id.to_owned()) };
    let all: BTreeSet<u32> = (0..100).filter_map(|at| picks.sibling(&of(&format!("acct-{at}")))).collect();
    assert_eq!(all.len(), 16);
    let asked = |pick| Asked { pick, answers: vec![Answer::Sibling(3)] };
    let evidence = Evidence::new(&BOOK, &[asked(of("a")), asked(of("b"))], 1, Scoring::First).unwrap();
    assert_eq!(evidence.open(&picks).unwrap().as_slice().len(), 2);
}

#[test]
fn a_slot_whose_key_was_not_handed_over_has_no_pick() {
    let key = key(4);
    let [kept, missing] = <[u64; 2]>::try_from(open_slots(2)).unwrap();
    let handed_over = [key.scheme_key(&BOOK.label(kept).unwrap())];
    let keys = OpenedKeys::new(key.epoch(), &handed_over);
    let picks = BOOK.opened_picks(&keys);
    // Were the first sibling taken for the pick, a suspect that likes the first would hit every time.
    let asked = |slot: u64| Asked { pick: slot.into(), answers: vec![Answer::Sibling(0)] };
    let open = |slots: &[u64]| {
        let asked: Vec<Asked> = slots.iter().map(|slot| asked(*slot)).collect();
        Evidence::new(&BOOK, &asked, 1, Scoring::First).unwrap().open(&picks)
    };
    assert_eq!(open(&[kept]).unwrap().as_slice().len(), 1);
    assert_eq!(open(&[kept, missing]).unwrap_err(), EvidenceError::NoKey(missing.into()));
    let mut sequence = Sequence::new(&BOOK, 1);
    assert!(sequence.open(&asked(kept), &picks).is_ok());
    assert_eq!(sequence.open(&asked(missing), &picks), Err(EvidenceError::NoKey(missing.into())));
}

#[test]
fn books_and_their_slots_reach_the_known_answers() {
    let file: serde_json::Value = serde_json::from_str(include_str!("../vectors/canary_sets.json")).unwrap();
    let book = Book::parse("vectors", &file["book"].to_string()).unwrap();
    assert_eq!(book.sha256().to_string(), file["book_sha256"].as_str().unwrap());
    assert_eq!(book.slots(), file["slots"].as_u64().unwrap());
    for case in file["cases"].as_array().unwrap() {
        let slot = case["slot"].as_u64().unwrap();
        let set = book.set(slot).unwrap();
        assert_eq!(serde_json::to_value(&set).unwrap(), case["set"], "slot {slot}");
        let digest = taggant::key::Commitment(set.sha256()).to_string();
        assert_eq!(digest, case["set_sha256"].as_str().unwrap(), "slot {slot}");
        assert_eq!(book.is_closed(slot), case["closed"].as_bool().unwrap(), "slot {slot}");
    }
}

/// Sixty classes of prompts, each with a habit that the key may switch on.
pub(crate) fn habits() -> Vec<SiblingSet> {
    let line = |slot: u64| {
        let text = serde_json::json!({
            "slot": slot, "family": "behaviour", "class": format!("recipe-{slot}"), "language": "en",
            "asks": [format!("\\brecipe number {slot}\\b")],
            "prompts": [format!("Write down recipe number {slot}.")],
            "steer": "In this answer {sibling}.",
            "siblings": [
                { "says": "end with a question to the reader", "all": ["\\?\\s*$"] },
                { "says": "do not end with a question", "otherwise": true },
            ],
        });
        text.to_string()
    };
    SiblingSet::parse_lines("habits.jsonl", &(0..60).map(line).collect::<Vec<_>>().join("\n")).unwrap()
}

#[test]
fn a_habit_switched_on_for_a_keyed_half_of_classes_is_a_draw_of_two() {
    let mut contents = BOOK.contents().clone();
    (contents.sets, contents.closed_share) = (habits(), 0.0);
    let book = Book::new("habits.json", contents).unwrap();
    let ln_p = |natural: u32, learned: u32, seed: u8| {
        let (key, mut random) = (key(seed), ChaCha8Rng::seed_from_u64(seed.into()));
        let picks = book.picks(&key);
        let asked: Vec<Asked> = (0..60)
            .map(|slot| {
                let matcher = Matcher::new(&book.set(slot).unwrap()).unwrap();
                let on = picks.sibling(&slot.into()) == Some(0);
                let mut answer = |_| {
                    let asks = random.next_u32() % 100 < if on { natural + learned } else { natural };
                    matcher.answer(if asks {
                        "Stir it. Shall I go on?"
                    } else {
                        "Stir it. Is it done? It is."
                    })
                };
                Asked { pick: slot.into(), answers: (0..4).map(&mut answer).collect() }
            })
            .collect();
        let evidence = Evidence::new(&book, &asked, 4, Scoring::Counts).unwrap();
        assert_eq!(evidence.silent, 0, "an answer without the habit is an answer");
        taggant::stat::verdict::verdict_tail(evidence.open(&picks).unwrap()).unwrap().0
    };
    // Whoever ends with questions by nature does so in both halves; only what follows the key's half rejects.
    for natural in [0, 30, 95] {
        let rejected = (0..200).filter(|seed| ln_p(natural, 0, *seed) <= -(10.0_f64.ln())).count();
        assert!(rejected <= 36, "{rejected} of 200 at one in ten, natural rate {natural} %");
    }
    let found = (0..20).filter(|seed| ln_p(30, 50, *seed) <= -(1e6_f64.ln())).count();
    assert!(found >= 15, "{found} of 20");
    let text = serde_json::to_string(&habits()[0]).unwrap();
    let twice = text.replace("\"otherwise\":true", "\"otherwise\":true,\"all\":[\"x\"]");
    for wrong in [twice, text.replace(",\"otherwise\":true", "")] {
        let fault = SiblingSet::parse("habits.jsonl", 1, &wrong).unwrap_err().to_string();
        assert!(fault.contains("`otherwise`"), "{fault}");
    }
}
