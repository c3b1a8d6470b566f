//! Rows from files and standard input, as exchanges.

use std::io::{self, BufReader};
use std::path::Path;

use taggant_model::tokenizer::Tokenizer;

use super::Failure;
use crate::score::alignment::{self, RoundTrip};
use crate::score::{Exchange, Provenance};
use crate::source::spelling::Spelt;
use crate::source::text::{self, BadLines, Content, Kind, Prompt, Row, Rows};
use crate::token::{Spelling, TokenId, Width};

/// Reads rows; `-` is standard input.
pub(super) fn read(file: &Path, kind: Kind, bad: BadLines) -> Result<Rows, Failure> {
    if file.as_os_str() == "-" {
        return Ok(text::read("standard input", io::stdin().lock(), kind, bad)?);
    }
    let name = file.display().to_string();
    let opened =
        std::fs::File::open(file).map_err(|error| Failure(format!("cannot read {name}: {error}")))?;
    Ok(text::read(&name, BufReader::new(opened), kind, bad)?)
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
                "line {}, field \"{field}\": text needs a tokenizer; give --tokenizer, or token ids",
                row.line
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

/// Answers that are given as tokens and as text, to be compared. A token that ends an answer is no part of its text.
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

    /// Takes a row in, if it has both.
    pub(super) fn add(&mut self, row: &Row, exchange: &Exchange) -> Result<(), Failure> {
        let text = row.fields.get("response").and_then(|text| text.as_str());
        let Some(text) = text.filter(|_| matches!(row.response, Content::Tokens(_))) else { return Ok(()) };
        let mut answer = exchange.clone();
        while answer.response.pop_if(|last| self.teacher.bytes(*last).is_none()).is_some() {}
        self.answers.push(answer);
        self.texts.push(self.teacher.tokenizer().encode(text)?);
        Ok(())
    }

    /// The comparison, if any row had both.
    pub(super) fn finish(self, width: Width) -> Result<Option<RoundTrip>, Failure> {
        let Self { answers, texts, .. } = self;
        Ok(if answers.is_empty() { None } else { Some(alignment::round_trip(width, &answers, &texts)?) })
    }
}

/// The comparison of all rows that have both.
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
