//! Parquet files as JSON lines, a line a row: all that reads lines reads them too, and says the same of them.
//!
//! A column is a field of that name. What is null is left out, as a column stands in every row. Text without its annotation, as
//! older programs write it, is text where it is UTF-8. Lists and groups may nest; a type that JSON has not is written out.

use std::fs::File;
use std::io::{self, BufRead, Read};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use serde_json::{Map, Number, Value};

/// The rows of a file, one in memory besides what the format reads at once.
pub(super) struct Parquet {
    rows: RowIter<'static>,
    number: u64,
    line: Vec<u8>,
    /// What was read of the line.
    read: usize,
}

impl Parquet {
    /// At the first row.
    ///
    /// # Errors
    /// A file that does not end as the format does, as one that was cut.
    pub(super) fn open(file: File) -> io::Result<Self> {
        let reader = SerializedFileReader::new(file).map_err(io::Error::other)?;
        let number = u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0);
        let rows = RowIter::from_file_into(Box::new(reader));
        Ok(Self { rows, number, line: Vec::new(), read: 0 })
    }

    /// How many rows the file says it has.
    pub(super) fn rows(&self) -> u64 {
        self.number
    }
}

impl BufRead for Parquet {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.read == self.line.len()
            && let Some(row) = self.rows.next()
        {
            let columns = row.map_err(io::Error::other)?.into_columns();
            self.line.clear();
            self.read = 0;
            serde_json::to_writer(&mut self.line, &object(columns))?;
            self.line.push(b'\n');
        }
        Ok(&self.line[self.read..])
    }

    fn consume(&mut self, bytes: usize) {
        self.read = self.line.len().min(self.read + bytes);
    }
}

impl Read for Parquet {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

fn object(columns: impl IntoIterator<Item = (String, Field)>) -> Map<String, Value> {
    let fields = columns.into_iter().map(|(name, field)| (name, value(&field)));
    fields.filter(|(_, value)| !value.is_null()).collect()
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => Value::from(*value),
        Field::Byte(number) => Value::from(*number),
        Field::Short(number) => Value::from(*number),
        Field::Int(number) => Value::from(*number),
        Field::Long(number) => Value::from(*number),
        Field::UByte(number) => Value::from(*number),
        Field::UShort(number) => Value::from(*number),
        Field::UInt(number) => Value::from(*number),
        Field::ULong(number) => Value::from(*number),
        Field::Float(number) => real(f64::from(*number)),
        Field::Double(number) => real(*number),
        Field::Str(text) => Value::from(text.as_str()),
        // Not UTF-8: numbers, which are no text to whoever asks for some.
        Field::Bytes(bytes) => {
            std::str::from_utf8(bytes.data()).map_or_else(|_| Value::from(bytes.data()), Value::from)
        }
        Field::Group(group) => {
            Value::Object(object(group.get_column_iter().map(|(name, field)| (name.clone(), field.clone()))))
        }
        Field::ListInternal(list) => Value::Array(list.elements().iter().map(value).collect()),
        other => Value::from(other.to_string()),
    }
}

/// JSON has no infinities.
fn real(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}
