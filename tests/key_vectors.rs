//! Known answers for keyed randomness: `vectors/prf.json`, `genesis.json`, `composite.json`, `canary.json`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may stop where it stands, and its numbers are no evidence"
)]

use serde_json::Value;
use sha2::{Digest, Sha256};
use taggant::key::prf::LaneBits;
use taggant::key::{Audience, Commitment, Epoch, EpochKey, Genesis, Label, Opening, Secret};

fn vectors(name: &str) -> Value {
    let path = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no text field {field}"))
}

fn tokens(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn epoch_key(case: &Value) -> EpochKey {
    Secret::from_hex(text(case, "secret")).unwrap().epoch_key(&text(case, "epoch").parse().unwrap())
}

#[test]
fn secrets_epochs_labels_and_tenants() {
    for case in vectors("prf")["cases"].as_array().unwrap() {
        let secret = Secret::from_hex(text(case, "secret")).unwrap();
        assert_eq!(secret.commitment().to_string(), text(case, "commitment"));
        assert_eq!(secret.commitment().key_id().to_string(), text(case, "key_id"));
        let epoch = epoch_key(case);
        assert_eq!(hex::encode(epoch.hazmat_bytes()), text(case, "epoch_key"));
        assert_eq!(epoch.commitment().to_string(), text(case, "epoch_commitment"));
        let label: Label = text(case, "label").parse().unwrap();
        let key = epoch.scheme_key(&label);
        assert_eq!(hex::encode(key.hazmat_bytes()), text(case, "scheme_key"));
        assert_eq!(key.commitment().to_string(), text(case, "label_commitment"));
        let tenant = label.audience(Audience::Tenant, text(case, "tenant"));
        assert_eq!(tenant.as_str(), text(case, "tenant_label"));
        assert_eq!(hex::encode(epoch.scheme_key(&tenant).hazmat_bytes()), text(case, "tenant_key"));
    }
}

#[test]
fn epoch_trees_and_inclusion() {
    for case in vectors("prf")["cases"].as_array().unwrap() {
        let secret = Secret::from_hex(text(case, "secret")).unwrap();
        let epochs: Vec<Epoch> = serde_json::from_value(case["epochs"].clone()).unwrap();
        let plan: Vec<_> = epochs.into_iter().map(|epoch| (epoch, Vec::new())).collect();
        let genesis = Genesis::new(&secret, [0; 32], &plan);
        assert_eq!(genesis.root.to_string(), text(case, "epoch_root"));
        let opening = genesis.open(&secret, &text(case, "epoch").parse().unwrap(), None).unwrap();
        let path: Vec<Commitment> = serde_json::from_value(case["epoch_inclusion"].clone()).unwrap();
        assert_eq!(opening.inclusion, path);
        opening.verify(&genesis.root).unwrap();
    }
}

#[test]
fn seeds_lanes_and_rows() {
    for case in vectors("prf")["cases"].as_array().unwrap() {
        let prf = epoch_key(case).scheme_key(&text(case, "label").parse().unwrap()).prf();
        let seed = prf.seed(&tokens(&case["window"]));
        assert_eq!(hex::encode(seed.hazmat_bytes()), text(case, "seed"));
        for lane in case["lanes"].as_array().unwrap() {
            let bits = LaneBits::new(lane["bits"].as_u64().unwrap().try_into().unwrap()).unwrap();
            let token = u32::try_from(lane["token"].as_u64().unwrap()).unwrap();
            assert_eq!(u64::from(seed.lane(bits, token)), lane["value"].as_u64().unwrap(), "token {token}");
        }
        for row in case["rows"].as_array().unwrap() {
            let bits = LaneBits::new(row["bits"].as_u64().unwrap().try_into().unwrap()).unwrap();
            let mut stream = seed.keystream();
            let vocabulary = u32::try_from(row["vocab"].as_u64().unwrap()).unwrap();
            let lanes = (0..vocabulary).flat_map(|token| stream.lane(bits, token).to_le_bytes());
            assert_eq!(hex::encode(Sha256::digest(lanes.collect::<Vec<u8>>())), text(row, "sha256"));
        }
    }
}

#[test]
fn genesis_and_every_opening() {
    let case = vectors("genesis");
    let secret = Secret::from_hex(text(&case, "secret")).unwrap();
    let tokenizer: Commitment = text(&case, "tokenizer_sha256").parse().unwrap();
    let mut plan: Vec<(Epoch, Vec<Label>)> = Vec::new();
    for leaf in case["leaves"].as_array().unwrap() {
        let epoch: Epoch = text(leaf, "epoch").parse().unwrap();
        match leaf["label"].as_str() {
            None => plan.push((epoch, Vec::new())),
            Some(label) => plan.last_mut().unwrap().1.push(label.parse().unwrap()),
        }
    }
    let genesis = Genesis::new(&secret, tokenizer.0, &plan);
    assert_eq!(genesis.root.to_string(), text(&case, "root"));
    for (leaf, expected) in genesis.leaves.iter().zip(case["leaves"].as_array().unwrap()) {
        assert_eq!(leaf.commitment.to_string(), text(expected, "commitment"));
        let opening = genesis.open(&secret, &leaf.epoch, leaf.label.as_ref()).unwrap();
        assert_eq!(opening.key.to_string(), text(expected, "key"));
        let path: Vec<Commitment> = serde_json::from_value(expected["inclusion"].clone()).unwrap();
        assert_eq!(opening.inclusion, path);
        let again = Opening::from_json(&serde_json::to_string(&opening).unwrap()).unwrap();
        again.verify(&genesis.root).unwrap();
    }
}

#[test]
fn composite_keys() {
    let case = vectors("composite");
    let epoch = epoch_key(&case);
    let payload = epoch.scheme_key(&text(&case, "payload_label").parse().unwrap()).prf();
    for bit in case["payload"].as_array().unwrap() {
        let seed = payload.seed(&tokens(&bit["window"]));
        let token = u32::try_from(bit["token"].as_u64().unwrap()).unwrap();
        let found = seed.account_bit(bit["account"].as_u64().unwrap(), token);
        assert_eq!(u64::from(found), bit["bit"].as_u64().unwrap());
    }
    let mix: Label = text(&case, "mix_label").parse().unwrap();
    for (part, key) in (0..).zip(case["mix_part_keys"].as_array().unwrap()) {
        assert_eq!(hex::encode(epoch.scheme_key(&mix.part(part)).hazmat_bytes()), key.as_str().unwrap());
    }
    let coin = epoch.scheme_key(&format!("{mix}/coin").parse().unwrap()).prf();
    for toss in case["mix"].as_array().unwrap() {
        let lane = coin.seed(&tokens(&toss["window"])).lane(LaneBits::new(8).unwrap(), 0);
        assert_eq!(u64::from(lane), toss["coin"].as_u64().unwrap());
        assert_eq!(u64::from(lane >= 64), toss["part"].as_u64().unwrap());
    }
    let dual: Label = text(&case, "dual_label").parse().unwrap();
    for (arm, key) in (0..).zip(case["dual_arm_keys"].as_array().unwrap()) {
        assert_eq!(hex::encode(epoch.scheme_key(&dual.arm(arm)).hazmat_bytes()), key.as_str().unwrap());
    }
}

#[test]
fn picks_and_coins_of_canaries() {
    let file = vectors("canary");
    let epoch = epoch_key(&file);
    let book = &text(&file, "book_sha256")[..32];
    for case in file["cases"].as_array().unwrap() {
        let (slot, siblings) = (case["slot"].as_u64().unwrap(), case["k"].as_u64().unwrap() as u32);
        let label: Label = format!("canary/1/{book}/{slot}/k{siblings}").parse().unwrap();
        assert_eq!(label.as_str(), text(case, "label"));
        let pick = |label: &Label| u64::from(epoch.scheme_key(label).pick(siblings));
        assert_eq!(pick(&label), case["pick"].as_u64().unwrap(), "slot {slot}");
        let number = epoch.scheme_key(&label.plant()).number();
        assert_eq!(number.to_string(), text(case, "plant_number"), "slot {slot}");
        let account = label.audience(Audience::Account, text(&file, "account"));
        assert_eq!(pick(&account), case["account_pick"].as_u64().unwrap(), "slot {slot}");
    }
}
