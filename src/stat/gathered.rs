//! Draws summed as far as a test needs them: by law and coefficient, and within those by exchange.
//!
//! Of millions of draws a few hundred laws and coefficients differ, and an exchange has a few of them. So a test needs no
//! list of draws: 16 bytes an exchange for each common coefficient, and one pass in the draws' order.

use std::collections::{BTreeMap, HashMap};

use super::math::{Sum, to_f64};
use crate::law::{Draw, Law};

/// Draws of one law and coefficient.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) law: Law,
    pub(super) coefficient: i32,
    /// How many.
    pub(super) count: u64,
    /// Σ X, where X is whole.
    pub(super) whole: Option<i64>,
}

/// All draws, by law and coefficient.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    groups: Vec<Group>,
    numbers: BTreeMap<(Law, i32), usize>,
    last: usize,
    sum: Sum,
}

impl Gathered {
    /// Takes a draw in; gives its group's number and aX.
    pub(super) fn add(&mut self, draw: &Draw) -> (usize, f64) {
        let number = self.number(draw);
        let group = &mut self.groups[number];
        group.count += 1;
        let x = match (&mut group.whole, draw.whole()) {
            (Some(sum), Some(x)) => {
                *sum += i64::from(x);
                f64::from(x)
            }
            _ => draw.value(),
        };
        let value = f64::from(draw.coefficient()) * x;
        self.sum.add(value);
        (number, value)
    }

    /// Neighbours are mostly alike.
    fn number(&mut self, draw: &Draw) -> usize {
        let alike = |group: &&Group| group.coefficient == draw.coefficient() && group.law == draw.law();
        if self.groups.get(self.last).as_ref().is_none_or(|group| !alike(group)) {
            let (law, coefficient) = (draw.law(), draw.coefficient());
            self.last = *self.numbers.entry((law, coefficient)).or_insert_with(|| {
                self.groups.push(Group { law, coefficient, count: 0, whole: draw.whole().map(|_| 0) });
                self.groups.len() - 1
            });
        }
        self.last
    }

    /// S = Σ aX.
    pub(super) fn sum(&self) -> f64 {
        self.sum.value()
    }

    /// S where every X is whole.
    pub(super) fn whole_sum(&self) -> Option<i64> {
        self.groups.iter().map(|group| Some(i64::from(group.coefficient) * group.whole?)).sum()
    }

    /// The groups in the order of laws and coefficients, whichever came first.
    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.numbers.values().map(|number| &self.groups[*number])
    }

    /// The groups as they came, by their numbers.
    pub(super) fn in_order_of_appearance(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter()
    }

    /// All draws.
    pub(super) fn count(&self) -> u64 {
        self.groups.iter().map(|group| group.count).sum()
    }
}

/// What an exchange has of a group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    pub(super) count: u32,
    /// Σ aX.
    pub(super) sum: f64,
}

impl Share {
    fn add(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        self.sum += value;
    }
}

/// The groups' draws by exchange.
#[derive(Debug)]
pub(super) struct Exchanges {
    number: usize,
    planes: Vec<Plane>,
}

/// One group's, by exchange: a list where it is common, else those exchanges that have any.
#[derive(Debug)]
enum Plane {
    Rare(HashMap<u32, Share>),
    Common(Vec<Share>),
}

impl Exchanges {
    /// For `number` exchanges, 0 to `number` − 1.
    pub(super) fn new(number: usize) -> Self {
        Self { number, planes: Vec::new() }
    }

    /// Takes in a draw of `group` in `exchange` that adds `value` to S.
    pub(super) fn add(&mut self, exchange: u32, group: usize, value: f64) {
        while self.planes.len() <= group {
            self.planes.push(Plane::Rare(HashMap::new()));
        }
        match &mut self.planes[group] {
            Plane::Common(shares) => {
                let at = exchange as usize;
                if at >= shares.len() {
                    shares.resize(at + 1, Share::default());
                }
                shares[at].add(value);
            }
            Plane::Rare(shares) => {
                shares.entry(exchange).or_default().add(value);
                if shares.len() > self.number / 8 {
                    self.planes[group] = Plane::common(shares, self.number);
                }
            }
        }
    }

    /// Visits each exchange that has draws, in order, with what it has of each group that it has any of, in the order of
    /// laws and coefficients.
    pub(super) fn visit<E>(
        self,
        gathered: &Gathered,
        mut visit: impl FnMut(u32, &[(Group, Share)]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut planes: Vec<_> = self.planes.into_iter().map(|plane| plane.in_order().peekable()).collect();
        let mut shares = Vec::new();
        loop {
            let next =
                planes.iter_mut().filter_map(|plane| plane.peek().map(|(exchange, _)| *exchange)).min();
            let Some(exchange) = next else { return Ok(()) };
            shares.clear();
            for number in gathered.numbers.values() {
                let of_plane = planes[*number].next_if(|(at, _)| *at == exchange);
                shares.extend(of_plane.map(|(_, share)| (gathered.groups[*number], share)));
            }
            visit(exchange, &shares)?;
        }
    }
}

impl Plane {
    fn common(rare: &HashMap<u32, Share>, number: usize) -> Self {
        let mut shares = vec![Share::default(); number];
        for (at, share) in rare {
            let at = *at as usize;
            if at >= shares.len() {
                shares.resize(at + 1, Share::default());
            }
            shares[at] = *share;
        }
        Self::Common(shares)
    }

    fn in_order(self) -> Box<dyn Iterator<Item = (u32, Share)>> {
        match self {
            Self::Common(shares) => Box::new((0..).zip(shares).filter(|(_, share)| share.count > 0)),
            Self::Rare(shares) => {
                let mut shares: Vec<_> = shares.into_iter().collect();
                shares.sort_unstable_by_key(|(at, _)| *at);
                Box::new(shares.into_iter())
            }
        }
    }
}

impl Group {
    /// How many, as a real number.
    pub(super) fn n(&self) -> f64 {
        to_f64(self.count)
    }
}
