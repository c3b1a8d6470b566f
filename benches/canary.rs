//! What a canary book costs a request: `cargo bench --bench canary`.

#![allow(
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and may stop where it stands"
)]

use std::hint::black_box;
use std::time::Instant;

use taggant::canary::{Account, Arms, CanaryBook, Outcome, Policy, Request, Role, embedded_book};
use taggant::key::Secret;

fn main() {
    let clock = Instant::now();
    let book = embedded_book("bench", &"5".repeat(64), 0.25).unwrap();
    let slots = book.slots();
    let key = Secret::from_bytes([7; 32]).epoch_key(&"bench".parse().unwrap());
    let policy = Policy {
        rate: 1.0,
        campaign_rate: 1.0,
        arms: Arms { campaign: 0.3, sentinel: 0.1 },
        per_account: true,
    };
    let canaries = CanaryBook::new(book, key, policy).unwrap();
    println!("{slots} slots, read and compiled in {:.0} ms", clock.elapsed().as_secs_f64() * 1e3);
    let filler =
        "It was late, and the rain had stopped; nobody spoke of what had happened at the fair. ".repeat(4);
    let story = format!("Write a funny story about an otter at the lighthouse. {filler}");
    let answer =
        format!("Once there was an otter called Biscuit. {filler}{filler}{filler}And Biscuit slept.");
    let query = format!("Write a Python script that parses CSV files for a bakery. {filler}");
    let other = format!("Why is my tomato plant turning yellow? {filler}");
    let cases = [
        ("no canary belongs here", other.as_str(), None),
        ("steered", query.as_str(), None),
        ("rewritten", story.as_str(), Some(answer.as_str())),
    ];
    for (name, prompt, answer) in cases {
        let request = Request { prompt, answer };
        // Slots are for one arm each: the account whose arm it is.
        let roles = [Role::Ordinary, Role::Campaign, Role::Sentinel];
        let account = |role| Account { id: "acct-17", role };
        let planted =
            |role: &Role| canaries.respond(&request, &account(*role)).record.outcome == Outcome::Planted;
        let role = roles.into_iter().find(planted).unwrap_or(Role::Ordinary);
        let time = best(20, 500, || {
            black_box(canaries.respond(black_box(&request), &account(role)));
        });
        let outcome = canaries.respond(&request, &account(role)).record.outcome;
        let bytes = prompt.len() + answer.map_or(0, str::len);
        println!("  {name:24} {bytes:5} bytes {time:8.1} us a request  {outcome:?}");
    }
}

/// Microseconds a call, the best of several rounds: noise only adds.
fn best(rounds: usize, calls: usize, mut work: impl FnMut()) -> f64 {
    let round = |_| {
        let clock = Instant::now();
        (0..calls).for_each(|_| work());
        clock.elapsed().as_secs_f64() * 1e6 / calls as f64
    };
    (0..rounds).map(round).fold(f64::INFINITY, f64::min)
}
