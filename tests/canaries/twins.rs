//! Keyed twins: the file, serving, ranks; and the wrong ways, each of which convicts innocents.

use std::collections::HashMap;

use taggant::canary::{
    Account, Arms, Book, CanaryBook, EvidenceError, Family, Liked, Likelihoods, Matcher, OpenedKeys, Outcome,
    Plant, Policy, Ranks, Refusal, Request, Role, SiblingSet, twins,
};
use taggant::stat::lattice::{LatticeTerm, lattice_ln_sf};
use taggant::stat::rank::RankScores;
use taggant::stat::verdict::verdict_tail;

use crate::families::{TWINS, many, sampled};
use crate::h0::{Chance, fixed_key, key, row};

const ROW: &str = r#"{"prompt": "Say hello.", "language": "en", "generator": "m", "mark": "none", "sampled": 3, "answers": ["Hi.", "Hello!", "Hi."]}"#;

#[test]
fn all_that_was_sampled_is_there_and_duplicates_are_merged() {
    let text = format!("{ROW}\n\n{}\n", ROW.replace("hello", "it").replace("Hello!", "Hi."));
    let (sets, same) = twins("t.jsonl", &text).unwrap();
    assert_eq!((sets.len(), same), (1, 1));
    let says: Vec<&str> = sets[0].siblings.iter().map(|sibling| sibling.says.as_str()).collect();
    assert_eq!((says, sets[0].family), (vec!["Hi.", "Hello!"], Family::Twin));
    assert_eq!(sets[0].sampling.as_ref().unwrap().sampled, 3);
    let line = serde_json::to_string(&sets[0]).unwrap();
    assert_eq!(SiblingSet::parse("book", 1, &line).unwrap(), sets[0]);
    assert_eq!(TWINS.book.siblings(6), Some(8), "m is the number that the label of the pick names");
    assert!(TWINS.book.label(6).unwrap().to_string().ends_with("/6/k8"));
}

#[test]
fn faults_of_twins_name_line_field_and_what_to_do() {
    let many: Vec<String> = (0..33).map(|n| format!("\"answer {n}\"")).collect();
    let many = ROW
        .replace("\"sampled\": 3", "\"sampled\": 33")
        .replace(r#""Hi.", "Hello!", "Hi.""#, &many.join(", "));
    for (text, wanted) in [
        (ROW.replace(": 3", ": 5"), "line 1, answers: 3 of 5 sampled answers: give all"),
        (ROW.replace(": 3", ": 1").replace(r#", "Hello!", "Hi.""#, ""), "line 1, answers: 1 of 1"),
        (format!("{ROW}\n{ROW}"), "line 2, prompt: \"Say hello.\" is there twice"),
        (many, "line 1, siblings: 33 where at most 32"),
        (ROW.replace("Hello!", ""), "siblings[1]: empty"),
        (ROW.replace("Hello!", "Ask a lawyer."), "siblings[1]: \"lawyer\" belongs to law"),
        (ROW.replace("\"m\"", "\" \""), "generator: empty"),
        (ROW.replace("\"mark\"", "\"marked\""), "unknown field `marked`"),
    ] {
        let fault = twins("t.jsonl", &text).unwrap_err().to_string();
        assert!(fault.starts_with("t.jsonl, line ") && fault.contains(wanted), "{fault}\nnot {wanted}");
    }
    let set = serde_json::to_value(&twins("t.jsonl", ROW).unwrap().0[0]).unwrap();
    for (field, value) in [
        ("steer", "Say {sibling}".into()),
        ("asks", serde_json::json!(["x"])),
        ("prompts", serde_json::json!(["a", "b"])),
        ("family", "choice-slot".into()),
        ("siblings", serde_json::json!([{ "says": "a", "all": ["a"] }, { "says": "b" }])),
    ] {
        let mut wrong = set.clone();
        wrong[field] = value;
        let fault = SiblingSet::parse("book", 1, &wrong.to_string()).unwrap_err().to_string();
        assert!(fault.contains("twins have one prompt"), "{field}: {fault}");
    }
}

#[test]
fn the_picked_twin_is_served_to_its_prompt_and_to_no_other() {
    let policy = Policy { rate: 1.0, campaign_rate: 1.0, arms: Arms::default(), per_account: false };
    let mut canaries = CanaryBook::new(TWINS.book.clone(), fixed_key(1), policy).unwrap();
    let account = Account { id: "a", role: Role::Ordinary };
    let set = TWINS.book.set(5).unwrap();
    let mut served = std::collections::BTreeSet::new();
    for seed in 0..60 {
        canaries = canaries.under(fixed_key(seed));
        let picked = canaries.picks().sibling(&5.into()).unwrap() as usize;
        for answer in [None, Some("What the model said.")] {
            let response = canaries.respond(&Request { prompt: &set.prompts[0], answer }, &account);
            assert_eq!(response.record.outcome, Outcome::Planted);
            assert_eq!(response.plant, Some(Plant::Answer(set.siblings[picked].says.clone())));
        }
        served.insert(picked);
    }
    assert_eq!(served.len(), set.siblings.len(), "every twin is served under some key");
    let other = Request { prompt: "Say something about object 5, please.", answer: None };
    assert_eq!(canaries.slot(&other), Err(Refusal::NoSlot));
    assert_eq!(
        Matcher::new(&set).unwrap().answer(&set.siblings[0].says).sibling(),
        None,
        "text tells no twin"
    );
}

fn twin_rows(value: impl Fn(u64, usize) -> f64) -> Vec<Liked> {
    let row = |slot: &u64| {
        let siblings = TWINS.book.set(*slot).unwrap().siblings;
        let ln_p = |(at, sibling): (usize, &taggant::canary::Sibling)| {
            value(*slot, at) * sibling.says.chars().count() as f64
        };
        Liked { pick: (*slot).into(), ln_p: siblings.iter().enumerate().map(ln_p).collect(), reference: None }
    };
    TWINS.slots.iter().map(row).collect()
}

#[test]
fn values_that_are_no_log_probabilities_and_slots_of_other_families_are_refused() {
    let good = twin_rows(|_, at| -1.0 - at as f64);
    let refused = |liked: &[Liked]| Ranks::new(&TWINS.book, liked).unwrap_err();
    assert_eq!(refused(&[good[0].clone(), good[0].clone()]), EvidenceError::Twice(0.into()));
    let wrong = |ln_p: Vec<f64>| refused(&[Liked { ln_p, ..good[0].clone() }]);
    assert_eq!(wrong(vec![-1.0]), EvidenceError::Likelihoods { slot: 0, siblings: 2, found: 1 });
    assert!(matches!(wrong(vec![-1.0, 0.5]), EvidenceError::Likelihood { slot: 0, sibling: 1, .. }));
    let reference = Some(vec![-1.0, f64::NAN]);
    assert!(matches!(refused(&[Liked { reference, ..good[0].clone() }]), EvidenceError::Likelihood { .. }));
    let weighed = [Likelihoods { pick: 0.into(), ln_p: vec![-1.0, -2.0] }];
    let error = taggant::canary::Evidence::of_likelihoods(&TWINS.book, &weighed).unwrap_err();
    assert_eq!(error, EvidenceError::Twins(0));
    let book: &Book = &crate::families::PROCEDURAL.book;
    let other = (0..).find(|slot| !book.is_closed(*slot)).unwrap();
    let liked = Liked { pick: other.into(), ln_p: vec![-1.0; 16], reference: None };
    assert_eq!(Ranks::new(book, &[liked]).unwrap_err(), EvidenceError::NoTwins(other));
    let nothing = OpenedKeys::new(fixed_key(1).epoch(), &[]);
    let unopened = Ranks::new(&TWINS.book, &good).unwrap().open(&TWINS.book.opened_picks(&nothing));
    assert_eq!(unopened.unwrap_err(), EvidenceError::NoKey(0.into()));
}

#[test]
fn the_tail_is_that_of_all_ranks_and_a_reference_is_taken_away() {
    let text: Vec<String> = sampled().lines().take(4).map(str::to_owned).collect();
    let sets = twins("t", &text.join("\n")).unwrap().0;
    let sizes: Vec<usize> = sets.iter().map(|set| set.siblings.len()).collect();
    assert_eq!(sizes, [2, 3, 4, 5]);
    let mut sums = vec![0_i32];
    for m in sizes {
        let m = m as i32;
        sums = sums.iter().flat_map(|sum| (1..=m).map(move |rank| sum + m + 1 - 2 * rank)).collect();
    }
    let mut contents = TWINS.book.contents().clone();
    contents.sets = sets;
    let book = Book::new("four", contents).unwrap();
    let values = |slot: u64, at: usize| -1.0 - ((at * 7 + slot as usize) % 5) as f64;
    let liked: Vec<Liked> = twin_rows(values).into_iter().take(4).collect();
    // A reference that says the same leaves ties only: each served twin is last.
    let shadowed: Vec<Liked> =
        liked.iter().map(|row| Liked { reference: Some(row.ln_p.clone()), ..row.clone() }).collect();
    let (ranks, ties) = (Ranks::new(&book, &liked).unwrap(), Ranks::new(&book, &shadowed).unwrap());
    for seed in 0..40 {
        let key = key(seed);
        let picks = book.picks(&key);
        let sum = |draws: &taggant::law::Draws| {
            draws.as_slice().iter().map(|draw| draw.value() as i32).sum::<i32>()
        };
        let draws = ranks.open(&picks).unwrap();
        let observed = sum(&draws);
        let truth = sums.iter().filter(|sum| **sum >= observed).count() as f64 / sums.len() as f64;
        let found = verdict_tail(draws).unwrap().0.exp();
        assert!((found - truth).abs() < 1e-9, "{found} for {truth}");
        assert_eq!(sum(&ties.open(&picks).unwrap()), -(1 + 2 + 3 + 4));
    }
}

/// ln p of a sum of ranks under m twins in each of 120 slots; each sum's tail is computed once.
struct Sums {
    ranks: RankScores,
    known: HashMap<i64, f64>,
}

const SLOTS: usize = 120;
const M: usize = 8;

impl Sums {
    fn new() -> Self {
        Self { ranks: RankScores::linear(M as u16).unwrap(), known: HashMap::new() }
    }

    fn ln_p(&mut self, mut slot: impl FnMut(usize) -> (Vec<f64>, usize)) -> f64 {
        let scores = (0..SLOTS).map(|at| {
            let (values, served) = slot(at);
            i64::from(self.ranks.score(&values, served).unwrap())
        });
        let score = scores.sum();
        let terms: Vec<LatticeTerm> = vec![self.ranks.term(); SLOTS];
        *self.known.entry(score).or_insert_with(|| lattice_ln_sf(&terms, score).unwrap().ln_p)
    }
}

/// Quality is seen by the operator's judge and by an innocent's taste alike. The judge serves its best, or the key picks.
fn best_of_n(chance: &mut Chance, wrong: bool) -> (Vec<f64>, usize) {
    let quality: Vec<f64> = (0..M).map(|_| chance.normal()).collect();
    let judged: Vec<f64> = quality.iter().map(|quality| quality + chance.normal()).collect();
    let best = (0..M).max_by(|a, b| judged[*a].total_cmp(&judged[*b])).unwrap();
    let served = if wrong { best } else { chance.below(M) };
    (quality.iter().map(|quality| quality + chance.normal()).collect(), served)
}

/// Sixteen samples of eight answers, of which some come up often: an innocent likes those too. One of the samples is
/// served, or one of the answers that differ.
fn merged_late(chance: &mut Chance, wrong: bool) -> (Vec<f64>, usize) {
    let mut times = [1.0; M];
    let extra: Vec<usize> = (0..M).map(|_| chance.below(3).min(chance.below(M))).collect();
    extra.iter().for_each(|at| times[*at] += 1.0);
    let samples: Vec<usize> = (0..M).chain(extra).collect();
    let served = if wrong { samples[chance.below(samples.len())] } else { chance.below(M) };
    (times.iter().map(|times| times + 0.5 * chance.normal()).collect(), served)
}

/// An innocent that likes most twins alike; a tie is won, or lost.
fn ties_won(chance: &mut Chance, wrong: bool) -> (Vec<f64>, usize) {
    let mut values: Vec<f64> = (0..M).map(|_| f64::from(u8::from(chance.percent(20)))).collect();
    let served = chance.below(M);
    values[served] += if wrong { 0.1 } else { 0.0 };
    (values, served)
}

/// What was served against seven answers that somebody wrote as controls, and that are a little harder to say.
fn controls_by_hand(chance: &mut Chance, wrong: bool) -> (Vec<f64>, usize) {
    let mut values: Vec<f64> = (0..M).map(|_| chance.normal()).collect();
    let served = if wrong { 0 } else { chance.below(M) };
    values[0] += 0.3;
    (values, served)
}

#[test]
fn validity_of_twins_needs_each_of_its_rules() {
    type Way = fn(&mut Chance, bool) -> (Vec<f64>, usize);
    let ways: [(&str, Way); 4] = [
        ("twins: best of eight served | the key picks", best_of_n),
        ("twins: duplicates merged after the pick | before it", merged_late),
        ("twins: a tie is won | a tie is lost", ties_won),
        ("twins: controls written by hand | siblings", controls_by_hand),
    ];
    for (name, way) in ways {
        let (wrong, right) = name.split_once(" | ").unwrap();
        let under = |wrong: bool| -> Vec<f64> {
            let mut sums = Sums::new();
            let mut one = |seed| {
                let mut chance = Chance::seeded(seed + 40_000);
                sums.ln_p(|_| way(&mut chance, wrong))
            };
            (0..many()).map(&mut one).collect()
        };
        assert!(!row(&format!("wrong: {wrong}"), &under(true)), "{name}: the wrong way was not noticed");
        assert!(
            row(&format!("right: twins: {right}"), &under(false)),
            "{name}: the right way rejects too often"
        );
    }
}

#[test]
fn a_student_that_read_the_served_twins_is_found_and_best_with_a_reference() {
    let mut mean = [0.0; 2];
    let mut found = [0; 2];
    for seed in 0..50 {
        let (key, mut chance) = (key(seed), Chance::seeded(seed + 900));
        let picks = TWINS.book.picks(&key);
        let rows = twin_rows(|_, _| 0.0).into_iter().map(|row| {
            let set = TWINS.book.set(row.pick.slot).unwrap();
            let served = picks.sibling(&row.pick).unwrap() as usize;
            // Twins differ for the suspect and its base alike; half of those served are remembered, by 0.4 nats a character.
            let learned = chance.percent(50);
            let one = |(at, sibling): (usize, &taggant::canary::Sibling)| {
                let long = sibling.says.chars().count() as f64;
                let base = -2.0 + 0.4 * chance.normal();
                let more = if learned && at == served { 0.4 } else { 0.0 };
                ((base + 0.1 * chance.normal() + more).min(0.0) * long, base.min(0.0) * long)
            };
            let (ln_p, base): (Vec<f64>, Vec<f64>) = set.siblings.iter().enumerate().map(one).unzip();
            Liked { ln_p, reference: Some(base), ..row }
        });
        let with: Vec<Liked> = rows.collect();
        let without: Vec<Liked> = with.iter().map(|row| Liked { reference: None, ..row.clone() }).collect();
        for (at, rows) in [without, with].iter().enumerate() {
            let (ln_p, z) =
                verdict_tail(Ranks::new(&TWINS.book, rows).unwrap().open(&picks).unwrap()).unwrap();
            mean[at] += z / 50.0;
            found[at] += u32::from(ln_p <= (1e-3_f64).ln());
        }
    }
    println!(
        "mean z {:.2} alone and {:.2} with a reference; {found:?} of 50 at 1e-3, 120 slots",
        mean[0], mean[1]
    );
    assert!(mean[1] > mean[0] && mean[0] > 1.0 && found[1] > 45);
}
