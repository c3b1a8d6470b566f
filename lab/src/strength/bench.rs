//! Every statistic on one suspect's text and distributions.

use super::fitted::Fitted;
use super::{Line, Run};
use crate::corpus::Result;
use crate::students::{Lab, rows, stream};
use std::collections::BTreeMap;
use std::path::Path;
use taggant::score::{
    self, Evidence, Exchange, Expectation, Expecting, Exposure, Over, Prediction, Row, Text, TextStatistic,
    Weight,
};
use taggant::stat::math::normal_z;
use taggant::stat::verdict::verdict_tail;
use taggant::token::{TokenId, Width};
use taggant_model::small::SmallModel;

/// Tokens of text at which tests are made.
const SIZES: [usize; 11] = [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 120_000, 240_000];
/// Contexts at which distributions are read: one an answer.
const CONTEXTS: [usize; 4] = [64, 250, 1_000, 4_000];
/// Answers whose references are computed together.
const TOGETHER: usize = 16;

/// b: the mean of the clean teacher and the declared base, or a control of one's own.
pub(super) struct References<'a> {
    pub(super) lab: &'a Lab,
    pub(super) own_control: Option<&'a SmallModel>,
}

impl References<'_> {
    /// For each exchange, by name, one row a token of its answer.
    fn rows(&self, exchanges: &[&Exchange]) -> Result<Vec<Named>> {
        let (teacher, base) = (rows(&self.lab.teacher, exchanges)?, rows(&self.lab.base, exchanges)?);
        let control = self.own_control.map(|control| rows(control, exchanges)).transpose()?;
        let mut control = control.map(Vec::into_iter);
        let all = teacher.into_iter().zip(base).map(|(teacher, base)| {
            let mean = teacher.iter().zip(&base).map(|(t, b)| (t + b) / 2.0).collect();
            let control = control.as_mut().and_then(Iterator::next).map(|rows| ("C", rows));
            [("T", teacher), ("TB", mean)].into_iter().chain(control).collect()
        });
        Ok(all.collect())
    }
}

pub(super) struct Bench<'a> {
    run: &'a Run,
    exposures: Vec<Exposure>,
    references: References<'a>,
    models: &'a Path,
    lines: Vec<Line>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        run: &'a Run,
        exposures: Vec<Exposure>,
        references: References<'a>,
        models: &'a Path,
    ) -> Self {
        Self { run, exposures, references, models, lines: Vec::new() }
    }

    pub(super) fn measure(mut self, suspect: &SmallModel, text: &[Exchange]) -> Result<Vec<Line>> {
        let places = self.places(text);
        let b = self.text(text, &places)?;
        self.distributions(suspect, text, &places, &b)?;
        Ok(self.lines)
    }

    /// One random position in each of the first answers.
    fn places(&self, text: &[Exchange]) -> Vec<Place> {
        let answers = (0..text.len()).filter(|answer| !text[*answer].response.is_empty());
        let place = |(number, answer): (usize, usize)| {
            let random = stream(&format!("{} {number}", self.run.purpose("context"))) as usize;
            Place { answer, at: random % text[answer].response.len() }
        };
        answers.take(CONTEXTS[CONTEXTS.len() - 1]).enumerate().map(place).collect()
    }

    /// Every text statistic at every size. Gives the references' distributions at the places.
    fn text(&mut self, text: &[Exchange], places: &[Place]) -> Result<Vec<Named>> {
        let width = Width::new(self.run.width)?;
        let sizes: Vec<(usize, usize)> =
            SIZES.iter().filter_map(|&size| Some((size, prefix(text, size)?))).collect();
        for (size, answers) in &sizes {
            let texts = &text[..*answers];
            for (name, statistic) in
                [("distinct", TextStatistic::Distinct), ("root-count", TextStatistic::RootCount)]
            {
                self.open_all("text", name, *size, &score::count(width, texts, statistic)?)?;
            }
        }
        let count = |(_, answers): &(usize, usize)| Text::count(width, (0..).zip(&text[..*answers]));
        let texts: Vec<Text> = sizes.iter().map(count).collect::<std::result::Result<_, _>>()?;
        let answers: Vec<usize> = sizes.iter().map(|(_, answers)| *answers).collect();
        let (told, at_places) = self.expect(text, &texts, &answers, places)?;
        for (name, expectations) in told {
            for ((expectation, text), (size, _)) in expectations.iter().zip(&texts).zip(&sizes) {
                self.residuals(*size, name, text, expectation)?;
            }
            if let (Some(expectation), Some(text), "TB") = (expectations.last(), texts.last(), name) {
                Fitted::on(text, expectation, &self.run.scheme(0)?)?.save(self.models, self.run)?;
            }
        }
        Ok(at_places)
    }

    /// What each reference expects of each text, and its distributions at the places.
    #[expect(clippy::type_complexity, reason = "expectations by name, and rows")]
    fn expect(
        &self,
        text: &[Exchange],
        texts: &[Text],
        answers: &[usize],
        places: &[Place],
    ) -> Result<(BTreeMap<&'static str, Vec<Expectation>>, Vec<Named>)> {
        let vocabulary = self.references.lab.teacher.config().vocab;
        let over = Over::default_for(Width::new(self.run.width)?, vocabulary);
        let mut told: BTreeMap<&str, Vec<Expecting<'_>>> = BTreeMap::new();
        let (mut at_places, mut next) = (Vec::new(), places.iter().peekable());
        let numbered: Vec<(usize, &Exchange)> = text.iter().enumerate().collect();
        for some in numbered.chunks(TOGETHER) {
            let exchanges: Vec<&Exchange> = some.iter().map(|(_, exchange)| *exchange).collect();
            for ((number, _), references) in some.iter().zip(self.references.rows(&exchanges)?) {
                let place = next.next_if(|place| place.answer == *number);
                at_places.extend(place.map(|place| {
                    let row = |rows: &[f32]| rows[place.at * vocabulary..][..vocabulary].to_vec();
                    references.iter().map(|(name, rows)| (*name, row(rows))).collect::<Named>()
                }));
                for (name, rows) in references {
                    let new = || texts.iter().map(|text| Expecting::new(text, over)).collect();
                    for (expecting, answers) in told.entry(name).or_insert_with(new).iter_mut().zip(answers) {
                        if number < answers {
                            expecting.expect(*number, vocabulary, &rows)?;
                        }
                    }
                }
            }
        }
        let finish = |(name, expecting): (&'static str, Vec<Expecting<'_>>)| {
            let all: std::result::Result<Vec<_>, _> = expecting.iter().map(Expecting::finish).collect();
            Ok((name, all?))
        };
        Ok((told.into_iter().map(finish).collect::<Result<_>>()?, at_places))
    }

    /// The residual's shapes beside one reference; those tried beyond the defaults beside the mean of T and B.
    fn residuals(
        &mut self,
        size: usize,
        reference: &str,
        text: &Text,
        expectation: &Expectation,
    ) -> Result<()> {
        for shrink in [0.0, 0.03] {
            let name = format!("residual/{shrink} {reference}");
            self.open_all("text", &name, size, &text.residual(expectation, shrink, None)?)?;
            for key in 0..if reference == "T" { 0 } else { self.run.keys() } {
                let evidence = text.residual(expectation, shrink, Some(&self.exposures[key]))?;
                self.open("text", &format!("{name} log e"), size, key, &evidence)?;
            }
        }
        if reference != "TB" {
            return Ok(());
        }
        let root = text.evidence(expectation, |n, nb| (n - nb) / (1.0 + 0.1 * nb).sqrt(), None)?;
        self.open_all("text", "residual/root TB", size, &root)?;
        let pears = |n: f64, nb: f64| if n + nb > 0.0 { (n - nb) / (n + nb).sqrt() } else { 0.0 };
        self.open_all("text", "residual/pears TB", size, &text.evidence(expectation, pears, None)?)?;
        if let Some(fitted) = Fitted::of_earlier_seed(self.models, self.run)? {
            let evidence = text.evidence(expectation, |n, nb| fitted.coefficient(n, nb), None)?;
            self.open_all("text", "residual/fitted TB", size, &evidence)?;
        }
        Ok(())
    }

    /// Every statistic on distributions at the places.
    fn distributions(
        &mut self,
        suspect: &SmallModel,
        text: &[Exchange],
        places: &[Place],
        b: &[Named],
    ) -> Result<()> {
        let width = Width::new(self.run.width)?;
        let found = contexts(suspect, text, places)?;
        for size in CONTEXTS.into_iter().filter(|size| *size <= found.len()) {
            let contexts = &found[..size];
            let whole: Vec<Prediction<'_>> = predictions(contexts, |context| Row::Whole(&context.q));
            self.open_all("rows", "argmax", size, &score::argmax(width, &whole)?)?;
            self.open_all("rows", "green mass", size, &score::mass(width, &whole)?)?;
            self.hoeffding(size, contexts)?;
            let top: Vec<Prediction<'_>> = predictions(contexts, |context| Row::Top(&context.top));
            let five: Vec<Prediction<'_>> = predictions(contexts, |context| Row::Top(&context.top[..5]));
            let likeliest =
                |k: usize| predictions(contexts, move |context| Row::Likeliest(&context.top[..k]));
            let (at_most, at_most_five) = (likeliest(20), likeliest(5));
            let kinds = [
                ("whole", &whole),
                ("top-20", &top),
                ("top-5", &five),
                ("likeliest 20", &at_most),
                ("likeliest 5", &at_most_five),
            ];
            for reference in 0..b[0].len() {
                let name = b[0][reference].0;
                let b: Vec<&[f32]> = b[..size].iter().map(|named| &named[reference].1[..]).collect();
                for (kind, rows) in kinds {
                    let name = format!("pears {kind} {name}");
                    let plain = score::residual(width, rows, &b, Weight::HalfNorm)?;
                    self.open_all("rows", &format!("{name} half-norm"), size, &plain)?;
                    for key in 0..if reference == 0 { 0 } else { self.run.keys() } {
                        let weight = Weight::Exposed(&self.exposures[key]);
                        let evidence = score::residual(width, rows, &b, weight)?;
                        self.open("rows", &format!("{name} exposed"), size, key, &evidence)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// ADFP (Xu et al. 2026): the mean green mass over distinct windows, by Hoeffding's bound. z is its equivalent.
    fn hoeffding(&mut self, size: usize, contexts: &[Context<'_>]) -> Result<()> {
        let width = usize::from(self.run.width);
        for key in 0..self.run.keys() {
            let scheme = self.run.scheme(key)?;
            let arm = &scheme.arms()[0];
            let mut windows: BTreeMap<Vec<TokenId>, (f64, f64)> = BTreeMap::new();
            for context in contexts {
                let tokens = [context.prompt, context.answer].concat();
                let window = &tokens[tokens.len() - width..];
                let mut green = vec![0; context.q.len()];
                arm.words(&arm.seed(window), &mut green);
                let mass: f64 = context.q.iter().zip(green).map(|(q, g)| f64::from(*q) * f64::from(g)).sum();
                let entry = windows.entry(window.to_vec()).or_default();
                *entry = (entry.0 + mass, entry.1 + 1.0);
            }
            let n = windows.len() as f64;
            let excess = windows.values().map(|(mass, count)| mass / count - 0.25).sum::<f64>() / n;
            let ln_p = if excess > 0.0 { -2.0 * n * excess * excess } else { 0.0 };
            let z = normal_z(ln_p.min(-1e-9));
            self.line("rows", "green mass, Hoeffding", size, key, n as u64, n, (ln_p, z));
        }
        Ok(())
    }

    fn open_all(&mut self, access: &str, name: &str, size: usize, evidence: &Evidence) -> Result<()> {
        (0..self.run.keys()).try_for_each(|key| self.open(access, name, size, key, evidence))
    }

    fn open(&mut self, access: &str, name: &str, size: usize, key: usize, evidence: &Evidence) -> Result<()> {
        let (square, fourth) = evidence.coefficients().entries().iter().fold((0.0, 0.0), |(s, f), entry| {
            let a = f64::from(entry.coefficient);
            (s + a * a, f + a * a * a * a)
        });
        let draws = evidence.open(&self.run.scheme(key)?)?;
        let number = draws.as_slice().len() as u64;
        let tail = verdict_tail(draws)?;
        self.line(access, name, size, key, number, square * square / fourth, tail);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a line")]
    fn line(
        &mut self,
        access: &str,
        name: &str,
        size: usize,
        key: usize,
        draws: u64,
        n_eff: f64,
        tail: (f64, f64),
    ) {
        let (ln_p, z) = tail;
        let (access, statistic) = (access.to_owned(), name.to_owned());
        let run = self.run.name();
        let seed = self.run.seed;
        self.lines.push(Line { run, seed, key, access, statistic, size, draws, n_eff, z, ln_p });
    }
}

/// A position of an answer.
struct Place {
    answer: usize,
    at: usize,
}

/// Distributions at one place, by the reference's name.
type Named = Vec<(&'static str, Vec<f32>)>;

/// A place in the suspect's own answers, and its distribution there.
struct Context<'a> {
    prompt: &'a [TokenId],
    answer: &'a [TokenId],
    q: Vec<f32>,
    top: Vec<(TokenId, f32)>,
}

fn contexts<'a>(suspect: &SmallModel, text: &'a [Exchange], places: &[Place]) -> Result<Vec<Context<'a>>> {
    let cut = |place: &Place| {
        let exchange = &text[place.answer];
        Exchange { response: exchange.response[..=place.at].to_vec(), ..exchange.clone() }
    };
    let mut found = Vec::new();
    for places in places.chunks(TOGETHER) {
        let cut: Vec<Exchange> = places.iter().map(cut).collect();
        for (place, rows) in places.iter().zip(rows(suspect, &cut.iter().collect::<Vec<_>>())?) {
            let (exchange, q) = (&text[place.answer], rows[rows.len() - suspect.config().vocab..].to_vec());
            let (prompt, answer) = (&exchange.prompt[..], &exchange.response[..place.at]);
            found.push(Context { prompt, answer, top: likeliest(&q, 20), q });
        }
    }
    Ok(found)
}

fn predictions<'a>(
    contexts: &'a [Context<'a>],
    q: impl Fn(&'a Context<'a>) -> Row<'a>,
) -> Vec<Prediction<'a>> {
    let prediction = |(context, cluster): (&'a Context<'a>, u32)| Prediction {
        prompt: context.prompt,
        context: context.answer,
        provenance: score::Provenance::Fresh,
        q: q(context),
        cluster,
    };
    contexts.iter().zip(0..).map(prediction).collect()
}

/// The `k` likeliest tokens, likeliest first.
fn likeliest(q: &[f32], k: usize) -> Vec<(TokenId, f32)> {
    let mut all: Vec<(TokenId, f32)> = (0..).zip(q.iter().copied()).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

/// The number of answers that hold `size` tokens; none where the text is shorter.
fn prefix(text: &[Exchange], size: usize) -> Option<usize> {
    let mut total = 0;
    let last = text.iter().position(|answer| {
        total += answer.response.len();
        total >= size
    });
    last.map(|last| last + 1)
}
