//! CSV with a header. An empty cell, `NA`, `NaN`, `nan` and `null` are missing values.

use std::io::{self, BufRead, Read};
use std::path::Path;

use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord};

use super::super::{DatasetError, open};
use super::{Cell, Heading, Holds, Spot, Visit, place, read_error};

pub(super) fn header(path: &Path) -> Result<Vec<Heading>, DatasetError> {
    let mut reader = reader(path)?;
    let names = reader.headers().map_err(|e| error(path, e))?;
    Ok(names.iter().map(|name| Heading { name: name.into(), holds: Holds::Values }).collect())
}

pub(super) fn visit(path: &Path, wanted: &[usize], visit: &mut Visit<'_>) -> Result<(), DatasetError> {
    let mut reader = reader(path)?;
    // Else the place of a first row that isn't UTF-8 would be that of the header.
    reader.byte_headers().map_err(|e| error(path, e))?;
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| error(path, e))? {
        let spot = Spot::Byte(record.position().map_or(0, csv::Position::byte));
        let cells: Vec<Cell<'_>> = wanted.iter().map(|&column| cell(&record[column])).collect();
        visit(spot, &cells)?;
    }
    Ok(())
}

fn reader(path: &Path) -> Result<Reader<impl Read + use<>>, DatasetError> {
    let file = open(path).map_err(|e| read_error(path, e))?;
    Ok(ReaderBuilder::new().trim(csv::Trim::All).from_reader(file))
}

fn cell(text: &str) -> Cell<'_> {
    if matches!(text, "" | "NA" | "NaN" | "nan" | "null") { Cell::Missing } else { Cell::Untyped(text) }
}

fn error(path: &Path, error: csv::Error) -> DatasetError {
    let spot = Spot::Byte(error.position().map_or(0, csv::Position::byte));
    match error.into_kind() {
        ErrorKind::Io(source) => read_error(path, source),
        ErrorKind::Utf8 { .. } => DatasetError::NotUtf8 { path: path.into(), place: place(path, spot) },
        ErrorKind::UnequalLengths { expected_len: expected, len: found, .. } => {
            DatasetError::Ragged { path: path.into(), place: place(path, spot), found, expected }
        }
        other => DatasetError::Read { path: path.into(), source: io::Error::other(format!("{other:?}")) },
    }
}

/// The line of the row that begins at a byte, or behind the blank lines there.
///
/// The reader's own count of lines stands before the blank lines that it skips.
pub(super) fn line(path: &Path, byte: u64) -> io::Result<u64> {
    let mut text = open(path)?;
    let mut line = 1;
    let mut at = 0;
    loop {
        let buffer = text.fill_buf()?;
        if buffer.is_empty() {
            return Ok(line);
        }
        for &character in buffer {
            if at >= byte && !matches!(character, b'\r' | b'\n') {
                return Ok(line);
            }
            line += u64::from(character == b'\n');
            at += 1;
        }
        let read = buffer.len();
        text.consume(read);
    }
}
