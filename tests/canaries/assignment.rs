//! Assignments: known answers, a public round in the epoch's name, and what a check must notice.

use serde_json::Value;
use taggant::canary::{Assigned, Assignment, AssignmentError, Book, embedded_book};
use taggant::key::{BeaconError, Commitment, Epoch, EpochKey, Secret};

const BOUND: &str = "2026-q4@quicknet:1000:fe290beca10872ef2fb164d2aa4442de4566183ec51c56ff3cd603d930e54fdd";

fn book(salt: &str) -> Book {
    embedded_book("assignment", &salt.repeat(32), 0.25).unwrap()
}

fn key(epoch: &str) -> EpochKey {
    Secret::from_bytes([9; 32]).epoch_key(&epoch.parse().unwrap())
}

#[test]
fn known_slots_are_assigned_as_known() {
    let file: Value = serde_json::from_str(include_str!("../vectors/canary.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let key =
        Secret::from_hex(&text(&file["secret"])).unwrap().epoch_key(&text(&file["epoch"]).parse().unwrap());
    let book: Commitment = text(&file["book_sha256"]).parse().unwrap();
    let account = text(&file["account"]);
    for case in file["cases"].as_array().unwrap() {
        let (slot, siblings) = (case["slot"].as_u64().unwrap(), case["k"].as_u64().unwrap() as u32);
        let everybody = Assigned::of(book, &key, slot, siblings, None);
        let own = Assigned::of(book, &key, slot, siblings, Some(&account));
        assert_eq!(u64::from(everybody.pick), case["pick"].as_u64().unwrap());
        assert_eq!(u64::from(own.pick), case["account_pick"].as_u64().unwrap());
        assert_eq!(everybody.plant_number, text(&case["plant_number"]));
        assert_eq!((&own.plant_number, &own.arm_number), (&everybody.plant_number, &everybody.arm_number));
    }
}

#[test]
fn a_check_notices_every_change() {
    let (book, key) = (book("1c"), key(BOUND));
    let assignment = Assignment::of(&book, &key, [0, 7, 300_000]).unwrap();
    let read: Assignment = serde_json::from_str(&serde_json::to_string(&assignment).unwrap()).unwrap();
    assert_eq!(read.check(&book, &key), Ok(()));
    let changed = |change: fn(&mut Assignment)| {
        let mut other = assignment.clone();
        change(&mut other);
        other.check(&book, &key).unwrap_err()
    };
    let slot = |error| matches!(error, AssignmentError::Slot { slot: 7, .. });
    assert!(slot(changed(|assignment| assignment.slots[1].pick ^= 1)));
    assert!(slot(changed(|assignment| assignment.slots[1].plant_number = "1".to_owned())));
    assert!(slot(changed(|assignment| assignment.slots[1].arm_number = "1".to_owned())));
    assert!(slot(changed(|assignment| assignment.slots[1].siblings = 2)));
    assert!(slot(changed(|assignment| assignment.slots[1].account = Some("a".to_owned()))));
    assert_eq!(changed(|assignment| assignment.slots[1].slot = u64::MAX), AssignmentError::Unknown(u64::MAX));
    let other = |error, name| matches!(error, AssignmentError::Other { field, .. } if field == name);
    assert!(other(changed(|assignment| assignment.epoch = "2026-q4".parse().unwrap()), "epoch"));
    assert!(other(changed(|assignment| assignment.epoch_key = Commitment([0; 32])), "epoch_key"));
    assert!(other(changed(|assignment| assignment.format = "1".to_owned()), "format"));
    assert!(other(assignment.check(&self::book("1d"), &key).unwrap_err(), "book"));
    // Another round gives other picks: whoever wants others must find another public round.
    let unbound = Assignment::of(&book, &self::key("2026-q4"), 0..400).unwrap();
    let bound = Assignment::of(&book, &key, 0..400).unwrap();
    let same = unbound.slots.iter().zip(&bound.slots).filter(|(a, b)| a.pick == b.pick).count();
    assert!((10..45).contains(&same), "{same} of 400 by chance");
}

#[test]
fn rounds_are_read_from_names_and_their_order_is_checked() {
    let round = |name: &str| name.parse::<Epoch>().unwrap().round();
    let bound = round(BOUND).unwrap().unwrap();
    assert_eq!((bound.chain.as_str(), bound.number), ("quicknet", 1000));
    assert_eq!(format!("2026-q4@{bound}"), BOUND);
    assert_eq!(round("2026-q4"), Ok(None));
    for wrong in [
        "e@quicknet:1000:fe29".to_owned(),
        "e@quicknet".to_owned(),
        "e@".to_owned(),
        format!("e@:1:{}", "0".repeat(64)),
        format!("e@quicknet:01:{}", "0".repeat(64)),
        format!("e@quicknet:-1:{}", "0".repeat(64)),
        format!("e@quicknet:1:{}", "A".repeat(64)),
        format!("e@quicknet:99999999999999999999:{}", "0".repeat(64)),
    ] {
        assert!(matches!(round(&wrong), Err(BeaconError::Form(_))), "{wrong}");
    }
    // Round 1 was public at 1692803367, and then one every three seconds.
    let published = 1_692_803_367 + 999 * 3;
    assert_eq!(bound.published(), Ok(published));
    assert_eq!(bound.check_order(published - 1, published), Ok(()));
    assert!(matches!(bound.check_order(published, published + 9), Err(BeaconError::Late { .. })));
    assert!(matches!(bound.check_order(published - 9, published - 1), Err(BeaconError::Early { .. })));
    let signature =
        "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39";
    let bytes: Vec<u8> =
        (0..48).map(|at| u8::from_str_radix(&signature[2 * at..2 * at + 2], 16).unwrap()).collect();
    assert_eq!(bound.check_hash(&bytes), Ok(()));
    assert_eq!(bound.check_hash(&bytes[1..]), Err(BeaconError::Randomness(1000)));
    let elsewhere = round(&BOUND.replace("quicknet", "other")).unwrap().unwrap();
    assert!(matches!(elsewhere.check_order(1, 2), Err(BeaconError::Chain(_))));
}
