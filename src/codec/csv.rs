//! One line of comma-separated values (RFC 4180) per record. It has no header: the columns are named in the configuration,
//! or they are the model's features in order. Cells mean what they mean in a table, see [`crate::texts`], and a copied cell
//! appears in the prediction as `weir predict` copies it from a table.

use super::features::Features;
use super::field::{FieldValue, Span, write_quoted, written_since};
use super::json::json_number;
use super::{CodecError, DecodeOptions, json_hint};
use crate::model::signature::{Missing, Signature};
use crate::printable::listed;
use crate::record::{Gap, Reason, Rejection};
use crate::texts;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Turns lines into rows.
#[derive(Debug)]
pub struct Decoder {
    columns: Vec<Column>,
    delimiter: u8,
    features: Features,
    /// Words for a missing value, besides those of [`texts::is_missing`].
    na: Vec<String>,
    /// A cell without its quotes.
    scratch: String,
}

/// What a column is for.
#[derive(Clone, Copy, Debug, Default)]
struct Column {
    feature: Option<usize>,
    field: Option<usize>,
}

/// A cell as it stands in the line, without the quotes around it.
#[derive(Clone, Copy)]
struct Cell {
    start: usize,
    end: usize,
    /// Whether it has quotes within, each of them twice.
    has_quotes: bool,
}

impl Decoder {
    /// # Errors
    /// A feature without which a record is rejected is none of the columns.
    pub(super) fn new(signature: &Signature, options: &DecodeOptions) -> Result<Decoder, CodecError> {
        let features = || signature.features.iter().map(|feature| feature.name.as_str());
        let names: Vec<&str> = match options.columns.as_slice() {
            [] => features().collect(),
            columns => columns.iter().map(String::as_str).collect(),
        };
        let position = |name: &str| texts::position(names.iter().copied(), name);
        let mut columns = vec![Column::default(); names.len()];
        let mut lacking = Vec::new();
        for (index, feature) in signature.features.iter().enumerate() {
            match position(&feature.name) {
                Some(column) => columns[column].feature = Some(index),
                None if feature.missing == Missing::Reject => lacking.push(feature.name.as_str()),
                None => {}
            }
        }
        if !lacking.is_empty() {
            return Err(CodecError::Lacks { place: "input.columns", features: listed(lacking) });
        }
        for (index, field) in options.fields.iter().enumerate() {
            if let Some(column) = position(field) {
                columns[column].field = Some(index);
            }
        }
        Ok(Decoder {
            columns,
            delimiter: options.delimiter.map_or(b',', |delimiter| delimiter as u8),
            features: Features::new(signature, options),
            na: options.na.clone(),
            scratch: String::new(),
        })
    }

    /// Fills `row` and `fields`. A copied cell is a number if JSON writes it in the same way, null if it is a missing value, and
    /// a text elsewhere.
    pub(super) fn decode(
        &mut self,
        payload: &[u8],
        row: &mut [f64],
        fields: &mut [FieldValue],
        texts: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        assert_eq!(row.len(), self.features.len(), "one value per feature");
        row.fill(Gap::Missing.value());
        fields.fill(FieldValue::Absent);
        let line = match std::str::from_utf8(payload) {
            Ok(text) => text.strip_suffix('\n').unwrap_or(text),
            Err(error) => return Err(malformed(format!("it isn't UTF-8 at byte {}", error.valid_up_to()))),
        };
        let line = line.strip_suffix('\r').unwrap_or(line);
        let mut at = if line.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
        if at == line.len() {
            return Err(malformed("the line is empty".into()));
        }
        let mut count = 0;
        loop {
            let (cell, next) = cell(line.as_bytes(), at, self.delimiter)?;
            if let Some(&column) = self.columns.get(count) {
                self.take(line, cell, column, row, fields, texts);
            }
            count += 1;
            match next {
                Some(next) => at = next,
                None => break,
            }
        }
        if count == self.columns.len() {
            return Ok(());
        }
        let (expected, hint) = (self.columns.len(), json_hint(payload));
        Err(Rejection::new(Reason::WrongLength, format!("the line has {count} cells, {expected} are expected{hint}")))
    }

    /// Takes the value of a cell.
    fn take(
        &mut self,
        line: &str,
        cell: Cell,
        Column { feature, field }: Column,
        row: &mut [f64],
        fields: &mut [FieldValue],
        texts: &mut Vec<u8>,
    ) {
        let Decoder { features, scratch, na, .. } = self;
        // A cell begins and ends beside bytes of ASCII.
        let text = &line[cell.start..cell.end];
        let text = if cell.has_quotes { unquote(text, scratch) } else { text };
        let trimmed = text.trim();
        let is_missing = texts::is_missing(trimmed) || na.iter().any(|word| word.trim() == trimmed);
        if let Some(feature) = feature.filter(|_| !is_missing) {
            row[feature] = features.cell(feature, text);
        }
        if let Some(field) = field {
            // The caller has bounded the payload.
            let span = |start: usize, length: usize| Span { start: start as u32, end: (start + length) as u32 };
            fields[field] = if is_missing {
                FieldValue::Null
            } else if cell.has_quotes {
                let before = texts.len();
                write_quoted(text, texts);
                written_since(before, texts)
            } else if json_number(trimmed.as_bytes()).is_some_and(f64::is_finite) {
                FieldValue::Json(span(cell.start + text.len() - text.trim_start().len(), trimmed.len()))
            } else {
                FieldValue::Text(span(cell.start, text.len()))
            };
        }
    }
}

/// The cell at `at`, and where the next one begins if there is one.
fn cell(line: &[u8], at: usize, delimiter: u8) -> Result<(Cell, Option<usize>), Rejection> {
    if line.get(at) == Some(&b'"') {
        return quoted_cell(line, at + 1, delimiter);
    }
    let ends = |byte: &u8| *byte == delimiter || matches!(byte, b'\n' | b'\r');
    let end = line[at..].iter().position(ends).map_or(line.len(), |length| at + length);
    match line.get(end) {
        Some(&byte) if byte != delimiter => {
            Err(malformed(format!("there is more than one line (byte {end}); send each as a value of its own")))
        }
        found => Ok((Cell { start: at, end, has_quotes: false }, found.map(|_| end + 1))),
    }
}

/// The same of a cell in quotes, whose text begins at `start`.
fn quoted_cell(line: &[u8], start: usize, delimiter: u8) -> Result<(Cell, Option<usize>), Rejection> {
    let (mut end, mut has_quotes) = (start, false);
    loop {
        let quote = memchr::memchr(b'"', &line[end..]).map(|length| end + length);
        let Some(quote) = quote else {
            return Err(malformed(format!("the quote at byte {} is never closed", start - 1)));
        };
        match line.get(quote + 1) {
            Some(b'"') => (end, has_quotes) = (quote + 2, true),
            None => return Ok((Cell { start, end: quote, has_quotes }, None)),
            Some(&byte) if byte == delimiter => {
                return Ok((Cell { start, end: quote, has_quotes }, Some(quote + 2)));
            }
            Some(_) => return Err(malformed(format!("text after a closing quote at byte {}", quote + 1))),
        }
    }
}

/// The text with one quote where it has two, in `out`.
fn unquote<'o>(text: &str, out: &'o mut String) -> &'o str {
    out.clear();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        out.push(character);
        if character == '"' {
            characters.next();
        }
    }
    out
}

#[cold]
fn malformed(message: String) -> Rejection {
    Rejection::new(Reason::Malformed, message)
}

#[cfg(test)]
mod tests;
