//! Rows: one exchange a JSON line, parsed into checked types once.
//!
//! `id`; `prompt`, `prompt_tokens` or `messages`; `response` or `response_tokens`; `logprobs`. Token ids are always those of
//! the tokenizer that the mark was made with. A suspect with another one gives text, and probabilities in `logprobs`, where
//! tokens are named by what they spell. `q` is the next-token distribution after prompt and answer, by token id.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{BufRead, Read};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{distribution, logprobs};
use crate::key::Epoch;
use crate::token::TokenId;

pub use super::distribution::Distribution;
pub use super::logprobs::{Listed, Position, text as text_of};

/// The longest line read: a guard against a file that is no JSONL at all.
const LINE_MAX: u64 = 64 << 20;

/// One exchange.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Unique in its file.
    pub id: String,
    /// What the model was asked; `None` where the row does not say.
    pub prompt: Option<Prompt>,
    /// What it answered; where the row does not say, the text of its `logprobs`.
    pub response: Content,
    /// `logprobs`: next-token probabilities of the suspect, one entry a token of its answer, in its own vocabulary.
    pub logprobs: Option<Vec<Position>>,
    /// `q`: the suspect's next-token distribution after prompt and answer, by token id.
    pub q: Option<Distribution>,
    /// The epoch it was served in.
    pub epoch: Option<Epoch>,
    /// Whose key marked it: `"<cohort|tenant|campaign>:<id>"`.
    pub audience: Option<String>,
    /// The whole line but for `q`, unknown fields included.
    pub fields: Map<String, Value>,
    /// Line or row in the file, from 1.
    pub line: usize,
    /// What the file is.
    pub format: Format,
}

impl Row {
    /// Where it stands, in words.
    pub fn place(&self) -> String {
        self.format.place(self.line)
    }
}

/// The prompt, in one of three forms.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// `prompt`: text, without the chat template.
    Text(String),
    /// `prompt_tokens`: the whole context as the model saw it.
    Tokens(Vec<TokenId>),
    /// `messages`: chat turns, joined by the tokenizer's template.
    Messages(Vec<Message>),
}

/// One chat turn.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Its text.
    pub content: String,
}

/// Text or tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text, to be tokenised.
    Text(String),
    /// Token ids.
    Tokens(Vec<TokenId>),
}

/// What a row must hold besides its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An answer: rows to be scored.
    Exchanges,
    /// A prompt: rows to be answered. What they say of an answer is not read.
    Prompts,
}

/// What happens to lines that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLines {
    /// The first one ends the reading.
    Refuse,
    /// They are counted and left out.
    Skip,
}

/// The rows of a file, and the lines that were refused.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The rows, in file order.
    pub rows: Vec<Row>,
    /// The lines left out under [`BadLines::Skip`].
    pub refused: Vec<BadLine>,
}

/// What rows stand in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A row a line; blank lines count.
    #[default]
    JsonLines,
    /// Rows of columns.
    Parquet,
}

impl Format {
    /// Where row `line` stands, in words.
    pub fn place(self, line: usize) -> String {
        match self {
            Self::JsonLines => format!("line {line}"),
            Self::Parquet => format!("row {line}"),
        }
    }

    /// What it calls a value of a row.
    fn field(self) -> &'static str {
        match self {
            Self::JsonLines => "field",
            Self::Parquet => "column",
        }
    }
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[error("{file}, {}{}: {what}", format.place(*line), field.as_ref().map(|field| format!(", {} \"{field}\"", format.field())).unwrap_or_default())]
pub struct BadLine {
    /// The file's name.
    pub file: String,
    /// What it is.
    #[serde(default)]
    pub format: Format,
    /// Line or row, from 1.
    pub line: usize,
    /// The field, where one is at fault.
    pub field: Option<Cow<'static, str>>,
    /// What is wrong, and what to do.
    pub what: String,
}

/// Reads JSONL rows. Blank lines are passed over; `name` is what errors call the file.
///
/// # Errors
/// A file without rows, one that cannot be read, or its first bad line under [`BadLines::Refuse`].
pub fn read(name: &str, input: impl BufRead, kind: Kind, bad: BadLines) -> Result<Rows, BadLine> {
    Reader::new(name, input, kind, bad).all()
}

/// Rows one after the other, none held: as [`read`], which see. After an error nothing more comes.
#[derive(Debug)]
pub struct Reader<R> {
    name: String,
    format: Format,
    input: R,
    kind: Kind,
    bad: BadLines,
    line: Vec<u8>,
    ended: bool,
    seen: Seen,
    new_ids: Vec<IdDigest>,
}

/// What a reader knows of the lines before: enough to go on in the middle of a file.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Lines, blank ones included.
    pub lines: usize,
    /// Rows.
    pub rows: u64,
    /// Lines left out under [`BadLines::Skip`].
    pub refused: Vec<BadLine>,
    /// The rows' ids, by the first 16 bytes of their SHA-256.
    pub ids: HashSet<IdDigest>,
}

/// The first 16 bytes of an id's SHA-256.
pub type IdDigest = [u8; 16];

impl<R: BufRead> Reader<R> {
    /// At the start of `input`.
    pub fn new(name: &str, input: R, kind: Kind, bad: BadLines) -> Self {
        Self::resume(name, input, kind, bad, Seen::default())
    }

    /// At the start of the line after those that were seen.
    pub fn resume(name: &str, input: R, kind: Kind, bad: BadLines, seen: Seen) -> Self {
        let (name, line, new_ids) = (name.to_owned(), Vec::new(), Vec::new());
        Self { name, format: Format::default(), input, kind, bad, line, ended: false, seen, new_ids }
    }

    /// What its lines were before they were lines.
    #[must_use]
    pub fn of(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// All rows at once.
    ///
    /// # Errors
    /// As [`read`].
    pub fn all(mut self) -> Result<Rows, BadLine> {
        let rows = self.by_ref().collect::<Result<_, _>>()?;
        Ok(Rows { rows, refused: self.finish()? })
    }

    /// What was seen so far.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The ids since this was last asked, by their digests.
    pub fn new_ids(&mut self) -> Vec<IdDigest> {
        std::mem::take(&mut self.new_ids)
    }

    /// What is read from.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// The lines left out.
    ///
    /// # Errors
    /// Neither rows nor lines left out.
    pub fn finish(self) -> Result<Vec<BadLine>, BadLine> {
        if self.seen.rows == 0 && self.seen.refused.is_empty() {
            let what = match self.format {
                Format::JsonLines => "the file holds no rows; expected one JSON object with an \"id\" a line",
                Format::Parquet => "the file holds no rows",
            };
            let (file, format) = (self.name, self.format);
            return Err(BadLine { file, format, line: 1, field: None, what: what.to_owned() });
        }
        Ok(self.seen.refused)
    }

    fn row(&mut self) -> Result<Option<Row>, BadLine> {
        loop {
            self.line.clear();
            let length = self.input.by_ref().take(LINE_MAX).read_until(b'\n', &mut self.line);
            let number = self.seen.lines + 1;
            let at = |field: Option<&'static str>, what: String| BadLine {
                file: self.name.clone(),
                format: self.format,
                line: number,
                field: field.map(Cow::Borrowed),
                what,
            };
            match length {
                Err(error) => return Err(at(None, format!("cannot be read: {error}"))),
                Ok(0) => return Ok(None),
                Ok(_) => self.seen.lines = number,
            }
            if self.line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match parse(&self.line, number, self.kind, &mut self.seen.ids) {
                Ok(row) => {
                    self.new_ids.push(digest(&row.id));
                    self.seen.rows += 1;
                    return Ok(Some(Row { format: self.format, ..row }));
                }
                Err(Fault { field, what }) if self.bad == BadLines::Skip => {
                    self.seen.refused.push(at(field, what));
                }
                Err(Fault { field, what }) => {
                    return Err(at(field, format!("{what}; or leave such lines out with --skip-bad")));
                }
            }
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Row, BadLine>;

    fn next(&mut self) -> Option<Result<Row, BadLine>> {
        if self.ended {
            return None;
        }
        let row = self.row().transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}

struct Fault {
    field: Option<&'static str>,
    what: String,
}

fn fault<T>(field: &'static str, what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { field: Some(field), what: what.into() })
}

fn parse(line: &[u8], number: usize, kind: Kind, ids: &mut HashSet<IdDigest>) -> Result<Row, Fault> {
    let all = |what: String| Fault { field: None, what };
    // The newline would be a character inside a string that does not end.
    let text = std::str::from_utf8(line.trim_ascii_end()).map_err(|error| {
        all(format!("not UTF-8 at byte {}; save the file as UTF-8", error.valid_up_to() + 1))
    })?;
    let mut fields: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        all(format!("not a JSON object (column {}): {}", error.column(), without_position(&error)))
    })?;
    // Read once and not kept twice: a row may have 10⁵ numbers.
    let q = fields.remove("q").filter(|q| kind == Kind::Exchanges && !q.is_null());
    let q = q.map(|q| distribution::parse(&q)).transpose().or_else(|what| fault("q", what))?;
    let (response, logprobs) = match kind {
        Kind::Exchanges => answer(&fields)?,
        Kind::Prompts => (Content::Tokens(Vec::new()), None),
    };
    let row = Row {
        id: id(&fields)?,
        prompt: prompt(&fields)?,
        response,
        logprobs,
        q,
        epoch: epoch(&fields)?,
        audience: text_field(&fields, "for")?,
        line: number,
        format: Format::default(),
        fields,
    };
    if kind == Kind::Prompts && row.prompt.is_none() {
        return fault("prompt", "is missing; give \"prompt\", \"prompt_tokens\" or \"messages\"");
    }
    if !ids.insert(digest(&row.id)) {
        return fault("id", format!("{:?} stands on an earlier line too; ids are unique", row.id));
    }
    Ok(row)
}

fn digest(id: &str) -> IdDigest {
    let whole: [u8; 32] = Sha256::digest(id.as_bytes()).into();
    *whole.first_chunk().unwrap_or(&[0; 16])
}

/// serde_json's message without its own "at line 1 column …": a JSONL line is always line 1 to it.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

fn id(fields: &Map<String, Value>) -> Result<String, Fault> {
    match fields.get("id") {
        Some(Value::String(id)) => Ok(id.clone()),
        Some(Value::Number(id)) => Ok(id.to_string()),
        Some(_) => fault("id", "must be text or a number"),
        None => fault("id", "is missing; every row needs a unique id"),
    }
}

/// Token ids win over text: they are what the model saw.
fn prompt(fields: &Map<String, Value>) -> Result<Option<Prompt>, Fault> {
    if fields.contains_key("prompt") && fields.contains_key("messages") {
        return fault("prompt", "give one of \"prompt\" and \"messages\"");
    }
    if let Some(tokens) = fields.get("prompt_tokens") {
        return token_ids(tokens, "prompt_tokens").map(|tokens| Some(Prompt::Tokens(tokens)));
    }
    if let Some(messages) = fields.get("messages") {
        let turns = serde_json::from_value(messages.clone());
        let what = "must be a list of {\"role\", \"content\"} objects with text";
        return turns.map(|turns| Some(Prompt::Messages(turns))).or_else(|_| fault("messages", what));
    }
    Ok(text_field(fields, "prompt")?.map(Prompt::Text))
}

/// What it answered, and how likely it held each of its tokens.
fn answer(fields: &Map<String, Value>) -> Result<(Content, Option<Vec<Position>>), Fault> {
    let Some(value) = fields.get("logprobs").filter(|value| !value.is_null()) else {
        return Ok((response(fields)?, None));
    };
    let positions = logprobs::parse(value).or_else(|what| fault("logprobs", what))?;
    let spelt = logprobs::text(&positions);
    if !["response", "response_tokens"].iter().any(|field| fields.contains_key(*field)) {
        let end = std::str::from_utf8(&spelt).map_or_else(|error| error.valid_up_to(), str::len);
        return Ok((Content::Text(String::from_utf8_lossy(&spelt[..end]).into_owned()), Some(positions)));
    }
    let response = response(fields)?;
    // The last token may be one that ends the answer, which is no part of its text.
    match fields.get("response") {
        Some(Value::String(text)) if !spelt.starts_with(text.as_bytes()) => {
            let at = text.bytes().zip(&spelt).take_while(|(a, b)| a == *b).count();
            fault(
                "logprobs",
                format!(
                    "its tokens spell another text than \"response\" from byte {at} on; leave \"response\" out to take theirs"
                ),
            )
        }
        _ => Ok((response, Some(positions))),
    }
}

/// Token ids win over text: they are what the model wrote.
fn response(fields: &Map<String, Value>) -> Result<Content, Fault> {
    if let Some(tokens) = fields.get("response_tokens") {
        return token_ids(tokens, "response_tokens").map(Content::Tokens);
    }
    match fields.get("response") {
        Some(Value::String(text)) => Ok(Content::Text(text.clone())),
        Some(_) => fault("response", "must be text; token ids go into \"response_tokens\""),
        None => fault("response", "is missing; give \"response\" (text) or \"response_tokens\" (ids)"),
    }
}

fn epoch(fields: &Map<String, Value>) -> Result<Option<Epoch>, Fault> {
    let Some(text) = text_field(fields, "epoch")? else { return Ok(None) };
    text.parse().map(Some).or_else(|error: crate::key::EpochError| fault("epoch", error.to_string()))
}

fn text_field(fields: &Map<String, Value>, field: &'static str) -> Result<Option<String>, Fault> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => fault(field, "must be text"),
    }
}

fn token_ids(value: &Value, field: &'static str) -> Result<Vec<TokenId>, Fault> {
    let Value::Array(items) = value else { return fault(field, "must be a list of token ids") };
    let id = |(at, item): (usize, &Value)| match item.as_u64().map(TokenId::try_from) {
        Some(Ok(id)) => Ok(id),
        Some(Err(_)) => fault(field, format!("entry {at} is {item}, above 2^32 - 1; token ids are u32")),
        None => fault(field, format!("entry {at} is {item}, not a token id (a whole number from 0)")),
    };
    items.iter().enumerate().map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Result<Row, String> {
        read("rows.jsonl", line.as_bytes(), Kind::Exchanges, BadLines::Refuse)
            .map(|rows| rows.rows[0].clone())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn each_form_is_read_and_unknown_fields_are_kept() {
        let row =
            one(r#"{"id":7,"prompt_tokens":[1,2],"response_tokens":[3],"epoch":"2026-q4","extra":{"a":1}}"#)
                .unwrap();
        assert_eq!((row.id.as_str(), row.prompt), ("7", Some(Prompt::Tokens(vec![1, 2]))));
        assert_eq!(row.fields["extra"]["a"], 1);
        let chat = one(r#"{"id":"x","messages":[{"role":"user","content":"hi"}],"response":"yo"}"#).unwrap();
        assert!(matches!(chat.prompt, Some(Prompt::Messages(turns)) if turns[0].role == "user"));
    }

    #[test]
    fn each_fault_names_line_and_field() {
        for (line, part) in [
            (r#"{"response":"x"}"#, "line 1, field \"id\": is missing"),
            (r#"{"id":"a"}"#, "field \"response\": is missing"),
            (
                r#"{"id":"a","response_tokens":[4294967296]}"#,
                "field \"response_tokens\": entry 0 is 4294967296, above",
            ),
            (r#"{"id":"a","response_tokens":[-1]}"#, "entry 0 is -1, not a token id"),
            (r#"{"id":"a","response":"x","prompt":"y","messages":[]}"#, "give one of"),
            (r#"{"id":"a","response":"x","epoch":"a b"}"#, "field \"epoch\""),
            (r#"{"id":"a","response":"#, "not a JSON object"),
            ("{\"id\":\"a\",\"response\":\"cut\n", "(column 25): EOF while parsing a string"),
            ("[]", "not a JSON object"),
        ] {
            let error = one(line).unwrap_err();
            assert!(error.contains(part), "{error}");
            assert!(error.contains("rows.jsonl"), "{error}");
        }
        assert!(one("").unwrap_err().contains("no rows"));
        let twice = "{\"id\":1,\"response\":\"\"}\n\n{\"id\":\"1\",\"response\":\"\"}";
        assert!(one(twice).unwrap_err().contains("line 3, field \"id\""));
    }

    #[test]
    fn an_answer_may_be_given_by_its_log_probabilities() {
        let token = |token| format!(r#"{{"token":{token:?},"logprob":-1}}"#);
        let entry = |t| format!(r#"{{"token":{t:?},"logprob":-1,"top_logprobs":[{}]}}"#, token(t));
        let list = format!(r#""logprobs":{{"content":[{},{}]}}"#, entry("ab"), entry("c<end>"));
        let row = one(&format!(r#"{{"id":1,{list}}}"#)).unwrap();
        assert_eq!(row.response, Content::Text("abc<end>".to_owned()));
        assert_eq!(row.logprobs.unwrap().len(), 2);
        assert!(one(&format!(r#"{{"id":1,"response":"abc",{list}}}"#)).is_ok());
        assert!(one(r#"{"id":1,"response":"abc","logprobs":null}"#).unwrap().logprobs.is_none());
        let error = one(&format!(r#"{{"id":1,"response":"abd",{list}}}"#)).unwrap_err();
        assert!(error.contains("line 1, field \"logprobs\"") && error.contains("from byte 2 on"), "{error}");
        let error = one(r#"{"id":1,"logprobs":{"tokens":[]}}"#).unwrap_err();
        assert!(error.contains("field \"logprobs\"") && error.contains("\"content\""), "{error}");
    }

    #[test]
    fn a_distribution_stands_behind_its_context() {
        let row = one(r#"{"id":1,"prompt_tokens":[5],"response_tokens":[],"q":[0.25,0.75]}"#).unwrap();
        assert_eq!(
            (row.q, row.fields.contains_key("q")),
            (Some(Distribution::Whole(vec![0.25, 0.75])), false)
        );
        let error = one(r#"{"id":1,"response_tokens":[],"q":[0.25]}"#).unwrap_err();
        assert!(error.contains("line 1, field \"q\": adds up to 0.2500"), "{error}");
    }

    #[test]
    fn invalid_utf8_names_the_byte_and_skipping_counts_it() {
        let bytes = b"{\"id\":1,\"response\":\"ok\"}\n{\"id\":2,\"response\":\"\xff\"}\n";
        let error = read("r", &bytes[..], Kind::Exchanges, BadLines::Refuse).unwrap_err().to_string();
        assert!(error.contains("line 2: not UTF-8 at byte 21"), "{error}");
        let rows = read("r", &bytes[..], Kind::Exchanges, BadLines::Skip).unwrap();
        assert_eq!((rows.rows.len(), rows.refused.len()), (1, 1));
    }
}
