//! CSV with a header. An empty cell, `NA`, `NaN`, `nan` and `null` are missing values.

use std::io::{self, BufRead, Read};
use std::path::Path;
use std::rc::Rc;

use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord};

use super::super::{DatasetError, open};
use super::{Cell, Heading, Holds, Spot, Visit, place, read_error};
use crate::limits::{Limits, too_long};

pub(super) fn header(path: &Path, limits: Limits) -> Result<Vec<Heading>, DatasetError> {
    let (mut reader, _) = reader(path, limits)?;
    let names = reader.headers().map_err(|e| error(path, e))?;
    Ok(names.iter().map(|name| Heading { name: name.into(), holds: Holds::Values }).collect())
}

pub(super) fn visit(path: &Path, wanted: &[usize], limits: Limits, visit: &mut Visit<'_>) -> Result<(), DatasetError> {
    let (mut reader, since_row) = reader(path, limits)?;
    // Else the place of a first row that isn't UTF-8 would be that of the header.
    reader.byte_headers().map_err(|e| error(path, e))?;
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| error(path, e))? {
        since_row.set(0);
        let spot = Spot::Byte(record.position().map_or(0, csv::Position::byte));
        let cells: Vec<Cell<'_>> = wanted.iter().map(|&column| cell(&record[column])).collect();
        visit(spot, &cells)?;
    }
    Ok(())
}

/// A reader, and how much it has read since that was set to 0.
fn reader(path: &Path, limits: Limits) -> Result<(Reader<impl Read + use<>>, Rc<Cell64>), DatasetError> {
    let file = open(path).map_err(|e| read_error(path, e))?;
    let since_row = Rc::new(Cell64::new(0));
    let bounded = BoundedReader { inner: file, since_row: since_row.clone(), most: limits.row_bytes() };
    Ok((ReaderBuilder::new().trim(csv::Trim::All).from_reader(bounded), since_row))
}

type Cell64 = std::cell::Cell<u64>;

/// Refuses to go on within a row that has no end: a row is the most that is read into memory at once, however little a
/// compressed file takes on the disk.
struct BoundedReader<R> {
    inner: R,
    since_row: Rc<Cell64>,
    most: usize,
}

impl<R: Read> Read for BoundedReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.since_row.get() > self.most as u64 {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, too_long("a row", self.most)));
        }
        let read = self.inner.read(bytes)?;
        self.since_row.set(self.since_row.get() + read as u64);
        Ok(read)
    }
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
