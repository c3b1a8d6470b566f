//! Reading by log-probabilities: what counts, what is refused, and its level over innocents.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use taggant::canary::{Answer, Book, Evidence, EvidenceError, Likelihoods, Pick, embedded_book, favourites};
use taggant::stat::Rate;
use taggant::stat::tail::binomial_ln_sf;
use taggant::stat::verdict::verdict_tail;

use crate::families::reached;
use crate::h0::{Chance, key, keys, row};

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

/// Open sets that were written one by one: no text stands in two of them.
static WRITTEN: LazyLock<Vec<u64>> =
    LazyLock::new(|| (0..BOOK.contents().sets.len() as u64).filter(|slot| !BOOK.is_closed(*slot)).collect());

fn says(slot: u64) -> Vec<String> {
    BOOK.set(slot).unwrap().siblings.into_iter().map(|sibling| sibling.says).collect()
}

/// A suspect of strong tastes: texts differ by several nats wherever they stand, and a little more in each slot.
fn innocent(slots: &[u64], seed: u64) -> Vec<Likelihoods> {
    let mut chance = Chance::seeded(seed);
    let mut tastes: BTreeMap<String, f64> = BTreeMap::new();
    let mut weigh = |says: String| {
        let taste = *tastes.entry(says).or_insert_with(|| -16.0 + 3.0 * chance.normal());
        (taste + chance.normal()).min(0.0)
    };
    let mut of_slot = |slot: &u64| weighed(*slot, says(*slot).into_iter().map(&mut weigh).collect());
    slots.iter().map(&mut of_slot).collect()
}

/// The same after learning `share` of the slots: their picked sibling is raised by `nats`.
fn student(slots: &[u64], seed: u64, share: f64, nats: f64) -> Vec<Likelihoods> {
    let key = key(seed);
    let picks = BOOK.picks(&key);
    let mut student = innocent(slots, seed + 100);
    let mut chance = Chance::seeded(seed + 200);
    for slot in student.iter_mut().filter(|_| chance.with(share)) {
        let ln_p = &mut slot.ln_p[picks.sibling(&slot.pick).unwrap() as usize];
        *ln_p = (*ln_p + nats).min(0.0);
    }
    student
}

/// How many of fifty students are found at 1e-6, and their mean z.
fn found(name: &str, slots: &[u64], nats: f64, spoil: fn(&mut [Likelihoods])) -> (u32, f64) {
    let (mut found, mut sum) = (0, 0.0);
    for seed in 0..50 {
        let mut student = student(slots, seed, 0.4, nats);
        spoil(&mut student);
        let draws = Evidence::of_likelihoods(&BOOK, &student).unwrap().open(&BOOK.picks(&key(seed))).unwrap();
        let (ln_p, z) = if draws.as_slice().is_empty() { (0.0, 0.0) } else { verdict_tail(draws).unwrap() };
        found += u32::from(ln_p <= (1e-6_f64).ln());
        sum += z;
    }
    println!(
        "{name}: {found} of 50 students at 1e-6, mean z {:.2}; two of five of {} slots raised by {nats} nats",
        sum / 50.0,
        slots.len()
    );
    (found, sum / 50.0)
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
    let liked_text = &says(OPEN[7])[5];
    for slot in &mut liked {
        let says = says(slot.pick.slot);
        for at in (0..K).filter(|at| says[*at] == *liked_text) {
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
    let few = refused(&[weighed(OPEN[0], vec![-1.0; K - 1])]);
    assert_eq!(few, EvidenceError::Likelihoods { slot: OPEN[0], siblings: K, found: K - 1 });
    for bad in [f64::NEG_INFINITY, f64::INFINITY, f64::NAN, 1e-9, 0.5] {
        let mut ln_p = vec![0.0; K];
        ln_p[3] = bad;
        let said = refused(&[weighed(OPEN[0], ln_p)]).to_string();
        assert!(said.contains("sibling 3 (from 0)") && said.contains("ln p, from -1,000,000 to 0"), "{said}");
    }
    assert!(Evidence::of_likelihoods(&BOOK, &[weighed(OPEN[0], vec![0.0; K])]).is_ok());
}

#[test]
fn ties_favour_no_sibling() {
    let favourite = |ln_p: Vec<f64>| favourites(&BOOK, &[weighed(WRITTEN[0], ln_p)]).unwrap()[0];
    assert_eq!(favourite(vec![-3.0; K]), Answer::None);
    let with = |raised: &[usize]| (0..K).map(|at| if raised.contains(&at) { -2.0 } else { -3.0 }).collect();
    assert_eq!(favourite(with(&[9])), Answer::Sibling(9));
    assert_eq!(favourite(with(&[0, 9])), Answer::None);
    // Everything beyond eight units stands out alike.
    let mut spread: Vec<f64> = (0..K).map(|at| -50.0 - at as f64 / 16.0).collect();
    (spread[4], spread[11]) = (-2.0, -1.0);
    assert_eq!(favourite(spread), Answer::None);
}

#[test]
fn one_wild_value_tells_on_its_own_sibling_only() {
    let plain = innocent(&OPEN, 3);
    let mut wild = plain.clone();
    wild[20].ln_p[2] = -9_999.0;
    let scores = |weighed: &[Likelihoods]| {
        let evidence = Evidence::of_likelihoods(&BOOK, weighed).unwrap();
        evidence.choices().slots().iter().map(|slot| slot.scores.as_slice().to_vec()).collect::<Vec<_>>()
    };
    let pairs = scores(&plain).into_iter().flatten().zip(scores(&wild).into_iter().flatten());
    let moved = pairs.filter(|(a, b)| a.abs_diff(*b) > 4).count();
    println!("{moved} of {} scores move by more than 4 of 127", SLOTS * K);
    assert!(moved < K, "{moved}");
}

#[test]
fn accounts_of_one_slot_are_no_other_slots_to_compare_with() {
    let slot = WRITTEN[0];
    let mut ln_p = vec![-9.0; K];
    ln_p[5] = -4.0;
    let of = |account: &str| Likelihoods {
        pick: Pick { slot, account: Some(account.to_owned()) },
        ln_p: ln_p.clone(),
    };
    assert_eq!(favourites(&BOOK, &[of("a"), of("b"), of("c")]).unwrap(), [Answer::Sibling(5); 3]);
}

#[test]
fn innocents_keep_the_level_and_prompts_chosen_after_the_pick_do_not() {
    let suspect = innocent(&OPEN, 1);
    // Two prompts a slot; the wrong way weighs the one that favours the pick.
    let other = innocent(&OPEN, 2);
    let evidence = Evidence::of_likelihoods(&BOOK, &suspect).unwrap();
    let favourite = favourites(&BOOK, &suspect).unwrap();
    let right = reached(keys(1_000), |seed| evidence.open(&BOOK.picks(&key(seed))).unwrap());
    let (mut forced, mut wrong) = (Vec::new(), Vec::new());
    for seed in 0..keys(1_000) {
        let key = key(seed);
        let picks = BOOK.picks(&key);
        let served: Vec<usize> =
            OPEN.iter().map(|slot| picks.sibling(&(*slot).into()).unwrap() as usize).collect();
        let hits = favourite.iter().zip(&served).filter(|(a, j)| **a == Answer::Sibling(**j)).count();
        forced.push(binomial_ln_sf(SLOTS as u64, hits as u64, Rate::new(1, K as u64).unwrap()));
        if seed < 100 {
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
fn innocents_of_sets_written_one_by_one_keep_the_level_too() {
    // Nothing is known of a text but its own slot, so tastes are all that stands out; a hostile suspect sends extremes.
    let suspect = innocent(&WRITTEN, 5);
    let mut hostile = suspect.clone();
    for (slot, at) in hostile.iter_mut().zip((0..K).cycle()) {
        slot.ln_p[at] = -9_999.0;
        slot.ln_p[(at * 7 + 3) % K] = 0.0;
    }
    for (name, suspect) in [("strong tastes", &suspect), ("hostile", &hostile)] {
        let evidence = Evidence::of_likelihoods(&BOOK, suspect).unwrap();
        assert!(evidence.choices().slots().iter().all(|slot| !slot.scores.is_constant()));
        let ln_p = reached(keys(1_000), |seed| evidence.open(&BOOK.picks(&key(seed))).unwrap());
        assert!(row(&format!("log-probabilities, written sets, {name}"), &ln_p));
    }
}

#[test]
fn students_whose_answers_never_name_a_sibling_are_found() {
    let wild = |student: &mut [Likelihoods]| student[20].ln_p[2] = -9_999.0;
    let prompts = |student: &mut [Likelihoods]| {
        // Slots whose prompts make any sibling likelier or less likely.
        for (slot, at) in student.iter_mut().zip(0..) {
            let shift = f64::from(at % 7) * 3.0;
            slot.ln_p.iter_mut().for_each(|ln_p| *ln_p -= shift);
        }
    };
    let plain = found("procedural slots", &OPEN, 2.5, |_| ());
    let shifted = found("procedural slots, prompts that differ", &OPEN, 2.5, prompts);
    let spoiled = found("procedural slots, one value of -9999", &OPEN, 2.5, wild);
    let written = found("written sets", &WRITTEN, 6.0, |_| ());
    assert!(plain.0 > 45 && shifted.0 > 45 && spoiled.0 > 45 && written.0 > 45);
}
