//! Recorded rounds of drand's quicknet: signatures that verify, and every way in which they must not.

use taggant::key::{BeaconError, Epoch, QUICKNET, Round};

/// Round, randomness, signature, as the public interface of quicknet gives them.
const ROUNDS: [(u64, &str, &str); 2] = [
    (
        123,
        "fb8f7bc29bf24db51871ec8c79f3a1e4bd0557bc0dfcee9ed1d924e69d1c60dc",
        "b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482e26cd02df835d3546d23c4b13e0dfc92",
    ),
    (
        1000,
        "fe290beca10872ef2fb164d2aa4442de4566183ec51c56ff3cd603d930e54fdd",
        "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39",
    ),
];

fn round(at: usize) -> (Round, Vec<u8>) {
    let (number, randomness, signature) = ROUNDS[at];
    let epoch: Epoch = format!("2026-q4@{QUICKNET}:{number}:{randomness}").parse().unwrap();
    (epoch.round().unwrap().unwrap(), hex(signature))
}

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn recorded_rounds_verify_and_changed_ones_do_not() {
    for at in 0..ROUNDS.len() {
        let (round, signature) = round(at);
        assert_eq!(round.verify(&signature), Ok(()), "round {}", round.number);
        let later = Round { number: round.number + 1, ..round.clone() };
        assert_eq!(later.verify(&signature), Err(BeaconError::Signature(round.number + 1)));
        let mut changed = signature.clone();
        changed[20] ^= 1;
        assert_eq!(round.verify(&changed), Err(BeaconError::Randomness(round.number)));
        // Randomness that fits a signature which is none of the beacon's.
        let epoch: Epoch = format!("e@quicknet:{}:{}", round.number, sha256(&changed)).parse().unwrap();
        let forged = epoch.round().unwrap().unwrap();
        assert_eq!(forged.check_hash(&changed), Ok(()));
        assert_eq!(forged.verify(&changed), Err(BeaconError::Signature(round.number)));
        let elsewhere = Round { chain: "default".to_owned(), ..round };
        assert!(matches!(elsewhere.verify(&signature), Err(BeaconError::Chain(_))));
    }
    let ((first, _), (_, other)) = (round(0), round(1));
    assert!(first.verify(&other).is_err() && first.verify(&[]).is_err());
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
