//! Procedural families: lists, pools and classes of prompts, from which slots are made by number.
//!
//! A class has some facets, each a list of things that a prompt may say. One value of each facet is one slot: "an otter,
//! at the lighthouse, funny". So a class with three facets of 24 values has 13,824 slots, all in one page of data.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::SIBLINGS;
use super::fault::{Fault, Place, Problem, json_fault};
use super::matching::Matcher;
use super::set::{Family, SIBLING, Sibling, SiblingSet, asking, check_subjects};
use super::words::{contains_phrase, words};

/// The format of a file of families.
pub const FORMAT: &str = "taggant/canary-families/1";

/// Lists, pools, forms and classes of one or several files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Families {
    /// Always [`FORMAT`].
    pub format: String,
    /// Facets: what a prompt may say. Alternatives of one value are joined by `|`, the one to be printed first.
    #[serde(default)]
    pub lists: BTreeMap<String, Vec<String>>,
    /// Siblings to choose from.
    #[serde(default)]
    pub pools: BTreeMap<String, Vec<String>>,
    /// Siblings with matchers of their own, such as formats of a date.
    #[serde(default)]
    pub forms: BTreeMap<String, Vec<Sibling>>,
    /// Classes of prompts.
    #[serde(default)]
    pub classes: Vec<Class>,
}

/// One class of prompts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Its name, which enters what is derived from its slots.
    pub class: String,
    /// The language: `en`, `python`, …
    pub language: String,
    /// Regular expressions, case aside, all of which a request must match.
    pub asks: Vec<String>,
    /// The lists of which a request must name one value each.
    pub facets: Vec<String>,
    /// Templates of probes: `{animal}` is a facet, `{a animal}` with its article, `{verb 2}` its second alternative.
    pub prompts: Vec<String>,
    /// The instruction that plants a sibling; may use facets.
    pub steer: String,
    /// Where siblings come from.
    pub siblings: Source,
    /// Whether a sibling of the pool that an answer contains may be replaced by another.
    pub rewrite: bool,
    /// Regular expressions, case aside, none of which an answer to be rewritten may match (such as "he" and "she").
    pub unless: Vec<String>,
}

/// Where the siblings of a class come from: exactly one of the four.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A pool by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// How a sibling of the pool stands in an answer; `{sibling}` is it, escaped. Whole words by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Forms by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forms: Option<String>,
    /// Things whose order is free.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<String>,
    /// Several pairs (or more) of equally right ways; a sibling takes one of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ways: Vec<Vec<Sibling>>,
}

impl Families {
    /// Reads one file. What other files define is looked up by [`Families::read`].
    ///
    /// # Errors
    /// Not JSON of this shape, or another format.
    pub fn parse(file: &str, text: &str) -> Result<Self, Fault> {
        let families: Self = serde_json::from_str(text).map_err(|error| json_fault(file, 0, &error))?;
        if families.format != FORMAT {
            let problem = Problem::Format { found: families.format, expected: FORMAT };
            return Err(Place { file, line: line_of(text, "\"format\"") }.fault("format", problem));
        }
        Ok(families)
    }

    /// Several files, each (name, text), as one, checked.
    ///
    /// # Errors
    /// A file that is wrong, a name that two files define, a class that does not work.
    pub fn read(files: &[(&str, &str)]) -> Result<Self, Fault> {
        let mut all = Self { format: FORMAT.to_owned(), ..Self::default() };
        let mut origins = Vec::new();
        for (file, text) in files {
            let families = Self::parse(file, text)?;
            origins.extend(families.classes.iter().map(|class| {
                let line = line_of(text, &format!("\"class\": {:?}", class.class));
                (*file, line)
            }));
            all.merge(families).map_err(|name| {
                let line = line_of(text, &format!("{name:?}"));
                Place { file, line }.fault("", Problem::Duplicate(name))
            })?;
        }
        let file = files.first().map_or("", |file| file.0);
        all.check(|at| {
            origins.get(at).map_or(Place { file, line: 0 }, |&(file, line)| Place { file, line })
        })?;
        Ok(all)
    }

    /// The name that both define, if any.
    fn merge(&mut self, other: Self) -> Result<(), String> {
        insert_all(&mut self.lists, other.lists)?;
        insert_all(&mut self.pools, other.pools)?;
        insert_all(&mut self.forms, other.forms)?;
        for class in other.classes {
            if self.classes.iter().any(|known| known.class == class.class) {
                return Err(class.class);
            }
            self.classes.push(class);
        }
        Ok(())
    }

    /// Whether every class works; `place` says where the class of an index is written.
    pub(super) fn check<'a>(&self, place: impl Fn(usize) -> Place<'a>) -> Result<(), Fault> {
        let entries = self.lists.iter().chain(&self.pools);
        for (name, values) in entries {
            let texts = values.iter().map(|value| (name.clone(), value));
            check_subjects(place(usize::MAX), texts)?;
            let mut seen = BTreeSet::new();
            if let Some(twice) = values.iter().find(|value| !seen.insert(value.to_lowercase())) {
                return Err(place(usize::MAX).fault(name.clone(), Problem::Duplicate(twice.clone())));
            }
        }
        self.classes.iter().enumerate().try_for_each(|(at, class)| self.check_class(place(at), at, class))
    }

    fn check_class(&self, place: Place<'_>, at: usize, class: &Class) -> Result<(), Fault> {
        let field = |name: &str| format!("classes[{at}].{name}");
        let texts = class.prompts.iter().chain([&class.class, &class.steer]);
        check_subjects(place, texts.map(|text| (field("prompts"), text)))?;
        for patterns in [&class.asks, &class.unless] {
            for pattern in patterns {
                asking(pattern).map_err(|problem| place.fault(field("asks"), problem))?;
            }
        }
        if class.asks.is_empty() {
            return Err(place.fault(field("asks"), Problem::Empty));
        }
        if !class.steer.contains(SIBLING) {
            return Err(place.fault(field("steer"), Problem::NoSibling));
        }
        let values = self.values(class).map_err(|problem| place.fault(field("facets"), problem))?;
        check_apart(&values).map_err(|problem| place.fault(field("facets"), problem))?;
        let found = class.prompts.len();
        if found < 2 {
            return Err(place.fault(field("prompts"), Problem::TooFew { found, needed: 2 }));
        }
        for (at, prompt) in class.prompts.iter().enumerate() {
            check_template(prompt, &class.facets, true)
                .map_err(|problem| place.fault(field(&format!("prompts[{at}]")), problem))?;
        }
        check_template(&class.steer, &class.facets, false)
            .map_err(|problem| place.fault(field("steer"), problem))?;
        let candidates =
            self.candidates(&class.siblings).map_err(|problem| place.fault(field("siblings"), problem))?;
        if candidates.len() < SIBLINGS {
            let problem = Problem::TooFew { found: candidates.len(), needed: SIBLINGS };
            return Err(place.fault(field("siblings"), problem));
        }
        check_candidates(candidates, class, &values)
            .map_err(|problem| place.fault(field("siblings"), problem))
    }

    /// The values of each facet of a class, each a list of alternatives.
    pub(super) fn values(&self, class: &Class) -> Result<Vec<Vec<Vec<&str>>>, Problem> {
        if class.facets.is_empty() {
            return Err(Problem::Empty);
        }
        let list = |name: &String| {
            let unknown = || Problem::Unknown { kind: "list", name: name.clone() };
            let values = self.lists.get(name).ok_or_else(unknown)?;
            Ok(values.iter().map(|value| value.split('|').collect()).collect())
        };
        class.facets.iter().map(list).collect()
    }

    /// All siblings that a slot of this source may get, before 16 of them are chosen.
    pub(super) fn candidates(&self, source: &Source) -> Result<Vec<Sibling>, Problem> {
        let given = [
            source.pool.is_some(),
            source.forms.is_some(),
            !source.order.is_empty(),
            !source.ways.is_empty(),
        ];
        if given.into_iter().filter(|given| *given).count() != 1 {
            return Err(Problem::ExactlyOne("`pool`, `forms`, `order` and `ways`"));
        }
        if let Some(name) = &source.pool {
            let unknown = || Problem::Unknown { kind: "pool", name: name.clone() };
            let pattern = source.pattern.as_deref();
            return Ok(self
                .pools
                .get(name)
                .ok_or_else(unknown)?
                .iter()
                .map(|says| of_pool(says, pattern))
                .collect());
        }
        if let Some(name) = &source.forms {
            let unknown = || Problem::Unknown { kind: "forms", name: name.clone() };
            return Ok(self.forms.get(name).ok_or_else(unknown)?.clone());
        }
        if source.order.is_empty() { Ok(combinations(&source.ways)) } else { Ok(orders(&source.order)) }
    }
}

fn insert_all<T>(known: &mut BTreeMap<String, T>, new: BTreeMap<String, T>) -> Result<(), String> {
    for (name, value) in new {
        if known.contains_key(&name) {
            return Err(name);
        }
        known.insert(name, value);
    }
    Ok(())
}

/// A sibling of a pool, found as whole words unless a pattern says how.
fn of_pool(says: &str, pattern: Option<&str>) -> Sibling {
    let escaped = regex::escape(says);
    let boundary =
        |c: Option<char>| if c.is_some_and(|c| c.is_alphanumeric() || c == '_') { r"\b" } else { "" };
    let whole = || format!("{}{escaped}{}", boundary(says.chars().next()), boundary(says.chars().last()));
    let pattern = pattern.map_or_else(whole, |pattern| pattern.replace(SIBLING, &escaped));
    Sibling { says: says.to_owned(), all: vec![pattern], order: Vec::new(), otherwise: false }
}

/// Every order of the things, in lexicographic order of their positions.
fn orders(things: &[String]) -> Vec<Sibling> {
    fn extend(left: &[String], taken: &mut Vec<String>, found: &mut Vec<Sibling>) {
        if left.is_empty() {
            found.push(Sibling {
                says: taken.join(", "),
                all: Vec::new(),
                order: taken.clone(),
                otherwise: false,
            });
        }
        for at in 0..left.len() {
            let mut rest = left.to_vec();
            taken.push(rest.remove(at));
            extend(&rest, taken, found);
            taken.pop();
        }
    }
    let mut found = Vec::new();
    // Six things have 720 orders; more would be no data that somebody means.
    extend(&things[..things.len().min(6)], &mut Vec::new(), &mut found);
    found
}

/// Every combination of one way of each, the last varying fastest.
fn combinations(ways: &[Vec<Sibling>]) -> Vec<Sibling> {
    let none = Sibling { says: String::new(), all: Vec::new(), order: Vec::new(), otherwise: false };
    ways.iter().fold(vec![none], |found, ways| {
        let with = |taken: &Sibling, way: &Sibling| {
            let says = if taken.says.is_empty() {
                way.says.clone()
            } else {
                format!("{}; {}", taken.says, way.says)
            };
            Sibling {
                says,
                all: [taken.all.as_slice(), way.all.as_slice()].concat(),
                order: Vec::new(),
                otherwise: false,
            }
        };
        found.iter().flat_map(|taken| ways.iter().map(move |way| with(taken, way))).collect()
    })
}

/// Whether each candidate is read as itself and no other, and none stands in a prompt or a facet.
fn check_candidates(
    candidates: Vec<Sibling>,
    class: &Class,
    values: &[Vec<Vec<&str>>],
) -> Result<(), Problem> {
    let set = SiblingSet {
        slot: 0,
        family: Family::ChoiceSlot,
        sampling: None,
        class: class.class.clone(),
        language: class.language.clone(),
        asks: Vec::new(),
        prompts: Vec::new(),
        steer: String::new(),
        siblings: candidates,
    };
    let matcher = Matcher::new(&set)?;
    set.check_readable(&matcher)?;
    let prompts = class.prompts.iter().map(String::as_str);
    for text in prompts.chain(values.iter().flatten().flatten().copied()) {
        if let Some(sibling) = matcher.mentioned(text) {
            return Err(Problem::PromptNames(set.siblings[sibling].says.clone()));
        }
    }
    Ok(())
}

/// Whether no phrase of a class stands within a phrase of another value of it.
fn check_apart(values: &[Vec<Vec<&str>>]) -> Result<(), Problem> {
    let mut all: Vec<(usize, &str, Vec<String>)> = Vec::new();
    for (value, alternatives) in values.iter().flatten().enumerate() {
        all.extend(alternatives.iter().map(|phrase| (value, *phrase, words(phrase).collect())));
    }
    for (value, first, inner) in &all {
        let within =
            |(other, _, outer): &&(usize, &str, Vec<String>)| value != other && contains_phrase(outer, inner);
        if let Some((_, second, _)) = all.iter().find(within) {
            return Err(Problem::Contained { first: (*first).to_owned(), second: (*second).to_owned() });
        }
    }
    Ok(())
}

/// Whether a template uses known facets only, and each one where `each` says so.
fn check_template(template: &str, facets: &[String], each: bool) -> Result<(), Problem> {
    let used: Vec<&str> = Pieces::of(template).filter_map(|piece| piece.facet()).collect();
    let unknown = used.iter().find(|name| facets.iter().all(|facet| facet != *name));
    if let Some(name) = unknown {
        return Err(Problem::Placeholder((*name).to_owned()));
    }
    let missing = facets.iter().find(|facet| each && !used.contains(&facet.as_str()));
    missing.map_or(Ok(()), |facet| Err(Problem::Placeholder(facet.clone())))
}

/// A part of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text as it is; `{sibling}` belongs to it.
    Text(&'a str),
    /// A facet: its name, whether with an article, which alternative (from 0).
    Facet { name: &'a str, article: bool, alternative: usize },
}

impl<'a> Piece<'a> {
    fn facet(self) -> Option<&'a str> {
        match self {
            Self::Text(_) => None,
            Self::Facet { name, .. } => Some(name),
        }
    }
}

/// The parts of a template, in order.
#[derive(Clone, Debug)]
pub(super) struct Pieces<'a>(&'a str);

impl<'a> Pieces<'a> {
    pub(super) fn of(template: &'a str) -> Self {
        Self(template)
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let rest = self.0;
        if rest.is_empty() {
            return None;
        }
        let braces = rest.starts_with('{').then(|| rest.find('}')).flatten();
        if let Some(end) = braces {
            self.0 = &rest[end + 1..];
            let inner = &rest[1..end];
            if inner == "sibling" {
                return Some(Piece::Text(&rest[..=end]));
            }
            let (article, inner) = inner.strip_prefix("a ").map_or((false, inner), |inner| (true, inner));
            let (name, number) = inner.rsplit_once(' ').unwrap_or((inner, "1"));
            let alternative = number.parse().map_or(0, |number: usize| number.saturating_sub(1));
            return Some(Piece::Facet { name, article, alternative });
        }
        let end = rest[1..].find('{').map_or(rest.len(), |at| at + 1);
        self.0 = &rest[end..];
        Some(Piece::Text(&rest[..end]))
    }
}

/// The line of `text` that contains `needle`, from 1, or 0.
fn line_of(text: &str, needle: &str) -> usize {
    text.lines().position(|line| line.contains(needle)).map_or(0, |at| at + 1)
}
