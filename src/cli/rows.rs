//! Rows from files and standard input, as exchanges.

use std::path::Path;

use taggant_model::tokenizer::Tokenizer;

use super::Failure;
use crate::score::alignment::{self, RoundTrip};
use crate::score::{Exchange, Provenance};
use crate::source::lines::{self, Lines};
use crate::source::spelling::Spelt;
use crate::source::text::{BadLines, Content, Kind, Prompt, Reader, Row, Rows};
use crate::stat::math::to_f64;
use crate::token::{Spelling, TokenId, Width};

/// Reads rows; `-` is standard input.
pub(super) fn read(file: &Path, kind: Kind, bad: BadLines) -> Result<Rows, Failure> {
    let Lines { input, format, .. } = lines::open(file)?;
    Ok(Reader::new(&lines::name(file), input, kind, bad).of(format).all()?)
}

/// A row of unknown origin as an exchange. Text lacks the chat template, so only token prompts are whole contexts.
///
/// Prompt and answer are cut apart: in service an answer began with a token of its own, behind the template, so apart its
/// text gives back the tokens that were marked. Together, its first letters could be drawn into the prompt's last token.
/// Validity does not depend on it.
pub(super) fn exchange(row: &Row, tokenizer: Option<&Tokenizer>) -> Result<Exchange, Failure> {
    let encode = |field: &str, text: &str| -> Result<Vec<TokenId>, Failure> {
        let tokenizer = tokenizer.ok_or_else(|| {
            Failure(format!(
                "{}, field \"{field}\": text needs a tokenizer; give --tokenizer, or token ids",
                row.place()
            ))
        })?;
        Ok(tokenizer.encode(text)?)
    };
    let system = row.fields.get("system").and_then(|system| system.as_str());
    let mut prompt = match (&row.prompt, system) {
        // Token ids are the whole context already.
        (Some(Prompt::Tokens(_)), _) | (_, None) => Vec::new(),
        (_, Some(system)) => encode("system", system)?,
    };
    prompt.extend(match &row.prompt {
        None => Vec::new(),
        Some(Prompt::Tokens(tokens)) => tokens.clone(),
        Some(Prompt::Text(text)) => encode("prompt", text)?,
        Some(Prompt::Messages(turns)) => {
            let texts: Vec<&str> = turns.iter().map(|turn| turn.content.as_str()).collect();
            encode("messages", &texts.join("\n"))?
        }
    });
    let response = match &row.response {
        Content::Tokens(tokens) => tokens.clone(),
        Content::Text(text) => encode("response", text)?,
    };
    let whole_context =
        matches!(row.prompt, Some(Prompt::Tokens(_))) && matches!(row.response, Content::Tokens(_));
    Ok(Exchange { prompt, response, whole_context, provenance: Provenance::Unknown })
}

/// Answers that are given as tokens, beside what comes of their text: the text that is given too, else the one they spell. A
/// token that ends an answer is no part of its text.
#[derive(Debug)]
pub(super) struct Trips {
    teacher: Spelt,
    answers: Vec<Exchange>,
    texts: Vec<Vec<TokenId>>,
}

impl Trips {
    /// None yet; none at all without a tokenizer that spells.
    pub(super) fn new(tokenizer: Option<&Tokenizer>) -> Option<Self> {
        let teacher = Spelt::new(tokenizer?.clone()).ok()?;
        Some(Self { teacher, answers: Vec::new(), texts: Vec::new() })
    }

    /// Takes a row in, if it has tokens.
    pub(super) fn add(&mut self, row: &Row, exchange: &Exchange) -> Result<(), Failure> {
        if matches!(row.response, Content::Text(_)) {
            return Ok(());
        }
        let mut answer = exchange.clone();
        while answer.response.pop_if(|last| self.teacher.bytes(*last).is_none()).is_some() {}
        let text = match row.fields.get("response").and_then(|text| text.as_str()) {
            Some(text) => text.to_owned(),
            None => self.spelt(&answer.response),
        };
        self.answers.push(answer);
        self.texts.push(self.teacher.tokenizer().encode(&text)?);
        Ok(())
    }

    /// What the tokens say; where they end inside a character, what a client gets for it.
    fn spelt(&self, tokens: &[TokenId]) -> String {
        let bytes: Vec<u8> =
            tokens.iter().filter_map(|token| self.teacher.bytes(*token)).flatten().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The comparison, if any row had tokens.
    pub(super) fn finish(self, width: Width) -> Result<Option<RoundTrip>, Failure> {
        let Self { answers, texts, .. } = self;
        Ok(if answers.is_empty() { None } else { Some(alignment::round_trip(width, &answers, &texts)?) })
    }
}

/// The comparison of all rows that have tokens.
pub(super) fn round_trip(
    rows: &[Row],
    width: Width,
    tokenizer: Option<&Tokenizer>,
) -> Result<Option<RoundTrip>, Failure> {
    let Some(mut trips) = Trips::new(tokenizer) else { return Ok(None) };
    for row in rows.iter().filter(|row| matches!(row.response, Content::Tokens(_))) {
        trips.add(row, &exchange(row, tokenizer)?)?;
    }
    trips.finish(width)
}

/// What it would cost to have the text only, in words; `of` says which draws.
pub(super) fn text_only(trip: &RoundTrip, of: &str) -> String {
    let RoundTrip { rows, changed, draws_of_tokens, draws_of_both, z_kept, .. } = trip;
    let share = 100.0 * to_f64(*changed) / to_f64(*rows);
    format!(
        "text only   {changed} of {rows} rows ({share:.1} %) come out as other tokens; of {draws_of_tokens} draws {of} the text \
         shows {draws_of_both}: about {:.0} % of z is left\n",
        100.0 * z_kept
    )
}
