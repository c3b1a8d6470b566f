//! Canary responses: harmless choices in answers, picked by the key, that a model distilled from them repeats.
//!
//! A *sibling set* is K alternatives that are equally right: names for an otter in a story, orders of an agenda, ways to
//! write a query. All K exist, hashed in a [`Book`], before the key picks one; that one is served, the others are
//! withheld for good. So whatever a suspect prefers, whoever wrote the siblings and however probing went: if the suspect
//! has nothing to do with the served answers, the pick J is uniform on K values that nobody could know.
//!
//! ```text
//! families, sets ─▶ Book ─hash─▶ Picks (epoch key) ─▶ J            served:  CanaryBook::respond
//!                     │                               ┆
//!                     └─▶ Matcher ─▶ Asked ─▶ f(1..K) ┴▶ X = f(J)  tested:  Evidence::open, then stat
//! ```
//!
//! There is no second kind of p-value: a slot gives one draw with the law [`crate::law::Law::Choice`], and everything
//! else is [`crate::stat`].
//!
//! # What makes it valid
//!
//! - *One pick, one draw.* However often a slot is probed, its answers become one vector f, and X = f(J) once.
//! - *Intention to serve.* Slots are tested whether or not the plant succeeded. Success can depend on the sibling, and
//!   an innocent prefers the siblings that plant well. So [`CanaryBook::respond`] plants only what it could have planted
//!   with every sibling, and [`Evidence`] has no way to ask what was planted.
//! - *"None" counts for none.* A refusal or another choice scores 0 for every sibling; it is not left out.
//! - *Probes are fixed before.* The number of probes a slot gets stands in the plan; a slot is closed once it is scored.
//!
//! Null assumption: the answers, their number, the matchers, the choice of slots and the scores do not depend on J.

mod assignment;
mod book;
mod evidence;
mod expand;
mod family;
mod fault;
mod likelihood;
#[cfg(feature = "lint")]
pub mod lint;
mod matching;
mod refuse;
mod respond;
mod set;
mod twins;
mod words;

pub use assignment::{Assigned, Assignment, AssignmentError, FORMAT as ASSIGNMENT_FORMAT};
pub use book::{Book, Contents, FORMAT as BOOK_FORMAT, OpenedKeys, Pick, Picks};
pub use evidence::{Asked, Evidence, EvidenceError, Scoring, Sequence};
pub use family::{Class, FORMAT as FAMILIES_FORMAT, Families, Source};
pub use fault::{Fault, Problem};
pub use likelihood::{Likelihoods, favourites};
pub use matching::{Answer, Matcher, second_reading};
pub use refuse::refused;
pub use respond::{
    Account, Arm, Arms, CanaryBook, Outcome, Plant, Policy, PolicyError, Record, Refusal, Request, Response,
    Role, Served,
};
pub use set::{Family, Sibling, SiblingSet};
pub use twins::{Liked, Ranks, Sampling, twins};

/// The number of siblings of a procedural slot.
pub const SIBLINGS: usize = 16;

/// The families that come with the program: their files and texts. Operators can add theirs.
pub const EMBEDDED: [(&str, &str); 4] = [
    ("corpora/canaries/lists.json", include_str!("../corpora/canaries/lists.json")),
    ("corpora/canaries/pools.json", include_str!("../corpora/canaries/pools.json")),
    ("corpora/canaries/english.json", include_str!("../corpora/canaries/english.json")),
    ("corpora/canaries/code.json", include_str!("../corpora/canaries/code.json")),
];

/// The sets that were written one by one, a line each: their file and text.
pub const WRITTEN: (&str, &str) =
    ("corpora/canaries/written.jsonl", include_str!("../corpora/canaries/written.jsonl"));

/// The embedded families and sets as a book of this name and salt (64 hexadecimal digits from the system's generator),
/// of which `closed_share` stays closed.
///
/// # Errors
/// A salt or a share that is none; the embedded data are tested.
pub fn embedded_book(name: &str, salt: &str, closed_share: f64) -> Result<Book, Fault> {
    let contents = Contents {
        format: BOOK_FORMAT.to_owned(),
        name: name.to_owned(),
        salt: salt.to_owned(),
        closed_share,
        sets: SiblingSet::parse_lines(WRITTEN.0, WRITTEN.1)?,
        families: Families::read(&EMBEDDED)?,
    };
    Book::new("book", contents)
}
