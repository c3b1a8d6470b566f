//! Leaked text against many keys: how many of its draws are green under each.

use std::collections::{BTreeMap, BTreeSet};

use super::{Coin, Evidence, ScoreError, Windows};
use crate::key::prf::{LaneBits, count_below};
use crate::law::{Candidates, Origin};
use crate::scheme::green::Green;
use crate::scheme::{Arm, Scheme};
use crate::token::TokenId;

/// Counts the hits of every candidate, who has a key of its own, on the text of `evidence`, which counts each draw once
/// ([`super::TextStatistic::Distinct`]). `tenants` are all that the text could be from: not those that look likely.
///
/// Time: a seed for each window and a block for each draw, for each key. Keys are unrelated, so the test of each candidate is
/// exact although the text is marked for one of them.
///
/// # Errors
/// A scheme that is no green list, has another width or share than the others, or whose key marked what the evidence was
/// made from; coefficients other than 1.
pub fn tenants(evidence: &Evidence, tenants: &BTreeMap<u64, Scheme>) -> Result<Candidates, ScoreError> {
    let mut lists = Vec::new();
    for scheme in tenants.values() {
        evidence.check(scheme)?;
        lists.push(list(scheme)?);
    }
    let gamma = lists.first().ok_or(ScoreError::NoLists)?.gamma();
    let bits = LaneBits::new(gamma.bits()).map_err(|_| ScoreError::NoLists)?;
    if lists.iter().any(|list| list.gamma() != gamma) {
        return Err(ScoreError::NoLists);
    }
    let origins: BTreeSet<Origin> = lists.iter().map(|list| list.origin()).collect();
    let count = |coins: &[&Coin]| {
        let tiles = tiles(&evidence.windows, coins);
        lists.iter().map(|list| hits(&tiles, list, bits)).collect()
    };
    Ok(evidence.whole.open_for(gamma, &tenants.keys().copied().collect(), origins, count)?)
}

/// The scheme's only list.
fn list(scheme: &Scheme) -> Result<&Green, ScoreError> {
    match scheme.arms() {
        [Arm::Green(list)] => Ok(list),
        _ => Err(ScoreError::NoLists),
    }
}

/// Windows whose seeds are made together: few enough to stay in the processor's first cache until their draws are looked up.
const TILE: usize = 256;

/// Some windows, and the draws at them: each the number of its window and a token.
#[derive(Default)]
struct Tile<'e> {
    windows: Vec<&'e [TokenId]>,
    coins: Vec<(u32, TokenId)>,
}

/// The draws, which stand by window, in tiles.
fn tiles<'e>(windows: &'e Windows, coins: &[&Coin]) -> Vec<Tile<'e>> {
    let after: Vec<&[&Coin]> = coins.chunk_by(|a, b| a.window == b.window).collect();
    let tile = |after: &[&[&Coin]]| {
        let coins = (0..).zip(after).flat_map(|(at, coins)| coins.iter().map(move |coin| (at, coin.token)));
        Tile {
            windows: after.iter().map(|coins| windows.get(coins[0].window)).collect(),
            coins: coins.collect(),
        }
    };
    after.chunks(TILE).map(tile).collect()
}

/// The draws that are green under one key.
fn hits(tiles: &[Tile<'_>], list: &Green, bits: LaneBits) -> u64 {
    let mut seeds = Vec::with_capacity(TILE);
    let mut of = |tile: &Tile<'_>| {
        seeds.clear();
        list.seeds(&tile.windows, &mut seeds);
        count_below(bits, list.gamma().threshold(), &seeds, &tile.coins)
    };
    tiles.iter().map(&mut of).sum()
}
