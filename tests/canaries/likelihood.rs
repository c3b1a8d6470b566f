//! Reading by log-probabilities: what counts, what is refused, and its level over innocents.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use taggant::canary::{Answer, Book, Evidence, EvidenceError, Likelihoods, Pick, embedded_book, favourites};
use taggant::stat::Rate;
use taggant::stat::tail::binomial_ln_sf;
use taggant::stat::verdict::verdict_tail;

use crate::h0::{Chance, key, row};

const KEYS: u64 = 1_000;
const SLOTS: usize = 160;
const K: usize = 16;

static BOOK: LazyLock<Book> = LazyLock::new(|| embedded_book("likelihood", &"e2".repeat(32), 0.25).unwrap());

/// Open slots of few classes, so that texts stand in many of them.
static OPEN: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let of_sixteen = |slot: &u64| !BOOK.is_closed(*slot) && BOOK.siblings(*slot) == Some(K as u32);
    (20_000..20_000 + 3 * SLOTS as u64).filter(of_sixteen).take(SLOTS).collect()
});

fn weighed(slot: u64, ln_p: Vec<f64>) -> Likelihoods {
    Likelihoods { pick: slot.into(), ln_p }
}

/// The siblings' texts of every slot.
static SAYS: LazyLock<Vec<Vec<String>>> = LazyLock::new(|| {
    let says =
        |slot: &u64| BOOK.set(*slot).unwrap().siblings.into_iter().map(|sibling| sibling.says).collect();
    OPEN.iter().map(says).collect()
});

/// A suspect of strong tastes: texts differ by several nats wherever they stand, and a little more in each slot.
fn innocent(seed: u64) -> Vec<Likelihoods> {
    let mut chance = Chance::seeded(seed);
    let mut tastes: BTreeMap<&str, f64> = BTreeMap::new();
    let mut weigh = |says: &'static String| {
        let taste = *tastes.entry(says).or_insert_with(|| -12.0 + 3.0 * chance.normal());
        taste + chance.normal()
    };
    let mut of_slot =
        |(slot, says): (&u64, &'static Vec<String>)| weighed(*slot, says.iter().map(&mut weigh).collect());
    OPEN.iter().zip(&*SAYS).map(&mut of_slot).collect()
}

#[test]
fn what_stands_out_in_its_slot_counts_and_what_is_liked_everywhere_does_not() {
    // One text of a slot raised by 3 nats; then the same text liked in every slot where it stands.
    let plain: Vec<Likelihoods> = OPEN.iter().map(|slot| weighed(*slot, vec![-9.0; K])).collect();
    let mut one = plain.clone();
    one[7].ln_p[5] += 3.0;
    assert_eq!(favourites(&BOOK, &one).unwrap()[7], Answer::Sibling(5));
    let evidence = Evidence::of_likelihoods(&BOOK, &one).unwrap();
    assert_eq!((evidence.slots, evidence.silent), (SLOTS as u64, 0));
    let slots = evidence.choices().slots();
    let raised = slots.iter().find(|slot| slot.input == Pick::from(OPEN[7])).unwrap();
    let best = raised.scores.as_slice().iter().max().unwrap();
    assert_eq!(raised.scores.as_slice()[5], *best);
    let mut liked = plain;
    for (slot, says) in liked.iter_mut().zip(&*SAYS) {
        for at in (0..K).filter(|at| says[*at] == SAYS[7][5]) {
            slot.ln_p[at] += 3.0;
        }
    }
    assert!(
        Evidence::of_likelihoods(&BOOK, &liked)
            .unwrap()
            .open(&BOOK.picks(&key(1)))
            .unwrap()
            .as_slice()
            .is_empty()
    );
}

#[test]
fn closed_slots_repeats_and_other_numbers_are_refused() {
    let refused = |slots: &[Likelihoods]| Evidence::of_likelihoods(&BOOK, slots).unwrap_err();
    let good = weighed(OPEN[0], vec![-1.0; K]);
    let closed = (0..).find(|slot| BOOK.is_closed(*slot)).unwrap();
    assert_eq!(refused(&[weighed(closed, vec![-1.0; K])]), EvidenceError::Closed(closed));
    assert_eq!(refused(&[weighed(BOOK.slots(), vec![])]), EvidenceError::Unknown(BOOK.slots()));
    assert_eq!(refused(&[good.clone(), good]), EvidenceError::Twice(OPEN[0].into()));
    for bad in [vec![-1.0; K - 1], vec![f64::NEG_INFINITY; K], vec![f64::NAN; K]] {
        assert_eq!(refused(&[weighed(OPEN[0], bad)]), EvidenceError::Likelihoods(OPEN[0], K));
    }
}

#[test]
fn innocents_keep_the_level_and_prompts_chosen_after_the_pick_do_not() {
    let suspect = innocent(1);
    // Two prompts a slot; the wrong way weighs the one that favours the pick.
    let other = innocent(2);
    let evidence = Evidence::of_likelihoods(&BOOK, &suspect).unwrap();
    let favourite = favourites(&BOOK, &suspect).unwrap();
    let (mut right, mut forced, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 0..KEYS {
        let key = key(seed);
        let picks = BOOK.picks(&key);
        right.push(verdict_tail(evidence.open(&picks).unwrap()).unwrap().0);
        let served: Vec<usize> =
            OPEN.iter().map(|slot| picks.sibling(&(*slot).into()).unwrap() as usize).collect();
        let hits = favourite.iter().zip(&served).filter(|(a, j)| **a == Answer::Sibling(**j)).count();
        forced.push(binomial_ln_sf(SLOTS as u64, hits as u64, Rate::new(1, K as u64).unwrap()));
        if seed < KEYS / 10 {
            let better = |((a, b), j): ((&Likelihoods, &Likelihoods), &usize)| {
                if a.ln_p[*j] >= b.ln_p[*j] { a.clone() } else { b.clone() }
            };
            let chosen: Vec<Likelihoods> = suspect.iter().zip(&other).zip(&served).map(better).collect();
            let evidence = Evidence::of_likelihoods(&BOOK, &chosen).unwrap();
            wrong.push(verdict_tail(evidence.open(&picks).unwrap()).unwrap().0);
        }
    }
    assert!(row("log-probabilities, strong tastes", &right));
    assert!(row("log-probabilities, forced choice", &forced));
    assert!(!row("wrong: of two prompts the one that favours the pick", &wrong));
}

#[test]
fn students_whose_answers_never_name_a_sibling_are_found() {
    let found = |seed: &u64| {
        let key = key(*seed);
        let picks = BOOK.picks(&key);
        let mut student = innocent(seed + 100);
        let mut chance = Chance::seeded(seed + 200);
        for slot in student.iter_mut().filter(|_| chance.with(0.4)) {
            slot.ln_p[picks.sibling(&slot.pick).unwrap() as usize] += 2.5;
        }
        let draws = Evidence::of_likelihoods(&BOOK, &student).unwrap().open(&picks).unwrap();
        verdict_tail(draws).unwrap().0 <= (1e-6_f64).ln()
    };
    let found = (0..50).filter(found).count();
    println!("{found} of 50 students at 1e-6, two slots of five raised by 2.5 nats");
    assert!(found > 45);
}
