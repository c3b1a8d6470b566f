//! Leaked text against tenants with keys of their own.

use std::collections::BTreeMap;
use std::ops::Range;

use taggant::key::Audience;
use taggant::law::{Candidates, Unlike};
use taggant::scheme::{Scheme, Spec};
use taggant::score::{ScoreError, TextStatistic, count, tenants};
use taggant::stat::candidates::Named;

use crate::h0::{assert_fails, assert_valid, epoch_key, innocent, scheme};
use crate::schemes::marked;

/// Keys of tenants, numbered from 0, of an operator's key.
fn tenants_of(spec: &Spec, key: u64, number: u64) -> BTreeMap<u64, Scheme> {
    let epoch = epoch_key(key);
    let scheme = |tenant: u64| spec.open_for(&epoch, Audience::Tenant, &tenant.to_string());
    (0..number).map(|tenant| (tenant, scheme(tenant))).collect()
}

#[test]
fn every_innocent_tenant_is_tested_exactly_and_the_family_keeps_its_level() {
    const TEXTS: u64 = 100;
    let spec: Spec = "green/1/w1/b1/t1".parse().unwrap();
    let evidence = count(spec.width(), &innocent()[..12], TextStatistic::Distinct).unwrap();
    let (mut single, mut family) = (Vec::new(), Vec::new());
    for key in 0..TEXTS {
        let named = Named::of(tenants(&evidence, &tenants_of(&spec, key, 1_000)).unwrap()).unwrap();
        single.extend(named.tests().iter().take(50).map(|test| test.ln_p));
        family.push(named.tests().iter().map(|test| test.adjusted_ln_p).fold(0.0, f64::min));
    }
    assert_valid("innocent tenants, one by one", &single);
    assert_valid("the likeliest of 1,000 tenants, corrected for all", &family);
    let believed: Vec<f64> = family.iter().map(|ln_p| ln_p - 1_000_f64.ln()).collect();
    assert_fails("the likeliest of 1,000 tenants, believed without the correction", &believed);
}

#[test]
fn text_marked_for_one_tenant_says_nothing_of_another() {
    let spec: Spec = "green/1/w1/b1/t1".parse().unwrap();
    let mut others = Vec::new();
    for key in 0..100 {
        let keys = tenants_of(&spec, key, 64);
        let leaked = marked(&keys[&7].arms()[0], key);
        let evidence = count(spec.width(), &leaked, TextStatistic::Distinct).unwrap();
        let named = Named::of(tenants(&evidence, &keys).unwrap()).unwrap();
        assert_eq!(named.found(-13.8).iter().map(|test| test.id).collect::<Vec<_>>(), [7]);
        others.extend(named.tests().iter().filter(|test| test.id != 7).map(|test| test.ln_p));
    }
    assert_valid("the other tenants of a text marked for one", &others);
}

/// Tenants `range` of a key, on six of the innocent answers.
fn part(from: usize, range: Range<u64>, key: u64) -> Candidates {
    let spec: Spec = "green/1/w1/b1/t1".parse().unwrap();
    let evidence = count(spec.width(), &innocent()[from..from + 6], TextStatistic::Distinct).unwrap();
    let all = tenants_of(&spec, key, range.end);
    tenants(&evidence, &all.into_iter().filter(|(id, _)| range.contains(id)).collect()).unwrap()
}

#[test]
fn counts_are_those_of_opened_draws() {
    for spec in ["green/1/w0/b2/t1", "green/1/w1/b1/t1", "green/1/w3/b8/t77", "green/1/w14/b2/t3"] {
        let spec: Spec = spec.parse().unwrap();
        let evidence = count(spec.width(), &innocent(), TextStatistic::Distinct).unwrap();
        let keys = tenants_of(&spec, 3, 5);
        for (id, hits) in tenants(&evidence, &keys).unwrap().hits() {
            let draws = evidence.open(&keys[id]).unwrap();
            assert_eq!(
                *hits,
                draws.as_slice().iter().filter(|draw| draw.word() == 1).count() as u64,
                "{spec}"
            );
        }
    }
}

#[test]
fn candidates_join_on_one_text_and_pool_over_unrelated_keys() {
    assert_eq!(part(0, 4..9, 1).join(part(0, 0..4, 1)).unwrap().hits(), part(0, 0..9, 1).hits());
    assert_eq!(part(0, 3..5, 1).join(part(0, 4..6, 1)).unwrap_err(), Unlike::Twice);
    assert_eq!(part(0, 3..5, 1).join(part(6, 5..7, 1)).unwrap_err(), Unlike::Text);
    assert_eq!(part(0, 3..5, 1).pool(part(6, 3..5, 1)).unwrap_err(), Unlike::SameOrigin);
    assert_eq!(part(0, 3..5, 1).pool(part(6, 2..4, 2)).unwrap_err(), Unlike::Candidates);
    let pooled = part(0, 3..5, 1).pool(part(6, 3..5, 2)).unwrap();
    let (a, b) = (part(0, 3..5, 1), part(6, 3..5, 2));
    assert_eq!(pooled.draws(), a.draws() + b.draws());
    assert_eq!(pooled.hits()[1].1, a.hits()[1].1 + b.hits()[1].1);
}

#[test]
fn lists_of_other_shares_and_races_are_no_candidates() {
    let refused = |spec: &str| {
        let spec: Spec = spec.parse().unwrap();
        let evidence = count(spec.width(), &innocent(), TextStatistic::Distinct).unwrap();
        let keys = [(0, scheme("green/1/w1/b1/t1", 1)), (1, scheme(&spec.to_string(), 1))].into();
        tenants(&evidence, &keys).unwrap_err()
    };
    assert_eq!(refused("green/1/w1/b2/t1"), ScoreError::NoLists);
    assert_eq!(refused("gumbel/1/w1"), ScoreError::NoLists);
}
