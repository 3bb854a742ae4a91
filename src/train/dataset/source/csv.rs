//! CSV with a header, in the [`Dialect`] that it shows. A text that [`crate::texts`] calls missing is a missing value.

use std::io::{self, BufRead, Read};
use std::path::Path;
use std::rc::Rc;

use csv::{ErrorKind, Reader, StringRecord};

use super::super::{DatasetError, ReadOptions, open};
use super::dialect::{Dialect, SAMPLE, comma_number};
use super::{Cell, Heading, Holds, Spot, Visit, place, read_error};
use crate::limits::too_long;

pub(super) fn dialect(path: &Path, options: &ReadOptions) -> Result<Dialect, DatasetError> {
    let unreadable = |source| read_error(path, source);
    let mut sample = Vec::new();
    open(path).map_err(unreadable)?.take(SAMPLE as u64).read_to_end(&mut sample).map_err(unreadable)?;
    Ok(Dialect::detect(&sample, sample.len() < SAMPLE, options))
}

pub(super) fn header(path: &Path, dialect: Dialect, options: &ReadOptions) -> Result<Vec<Heading>, DatasetError> {
    let (mut reader, _) = reader(path, dialect, options)?;
    let names = reader.headers().map_err(|e| error(path, dialect, e))?;
    Ok(names.iter().map(|name| Heading::new(name, Holds::Values)).collect())
}

pub(super) fn visit(
    path: &Path,
    dialect: Dialect,
    wanted: &[usize],
    options: &ReadOptions,
    visit: &mut Visit<'_>,
) -> Result<(), DatasetError> {
    let (mut reader, since_row) = reader(path, dialect, options)?;
    // Else the place of a first row that isn't UTF-8 would be that of the header.
    reader.byte_headers().map_err(|e| error(path, dialect, e))?;
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| error(path, dialect, e))? {
        since_row.set(0);
        let spot = spot(dialect, record.position());
        let cells: Vec<Cell<'_>> = wanted.iter().map(|&column| cell(&record[column], dialect, options)).collect();
        visit(spot, &cells)?;
    }
    Ok(())
}

/// A reader, and how much it has read since that was set to 0.
fn reader(
    path: &Path,
    dialect: Dialect,
    options: &ReadOptions,
) -> Result<(Reader<impl Read + use<>>, Rc<Cell64>), DatasetError> {
    let mut file = open(path).map_err(|e| read_error(path, e))?;
    io::copy(&mut (&mut file).take(dialect.skip as u64), &mut io::sink()).map_err(|e| read_error(path, e))?;
    let since_row = Rc::new(Cell64::new(0));
    let bounded = BoundedReader { inner: file, since_row: since_row.clone(), most: options.limits.row_bytes() };
    Ok((dialect.reader().from_reader(bounded), since_row))
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

fn cell<'a>(text: &'a str, dialect: Dialect, options: &ReadOptions) -> Cell<'a> {
    if options.is_missing(text) {
        return Cell::Missing;
    }
    let number = if dialect.decimal_comma { comma_number(text) } else { None };
    number.map_or(Cell::Untyped(text), Cell::Number)
}

fn spot(dialect: Dialect, position: Option<&csv::Position>) -> Spot {
    Spot::Byte(position.map_or(0, csv::Position::byte) + dialect.skip as u64)
}

fn error(path: &Path, dialect: Dialect, error: csv::Error) -> DatasetError {
    let spot = spot(dialect, error.position());
    match error.into_kind() {
        ErrorKind::Io(source) => read_error(path, source),
        ErrorKind::Utf8 { .. } => DatasetError::NotUtf8 { path: path.into(), place: place(path, spot) },
        ErrorKind::UnequalLengths { expected_len: expected, len: found, .. } => {
            let (path, place, delimiter) = (path.to_path_buf(), place(path, spot), char::from(dialect.delimiter));
            DatasetError::Ragged { path, place, found, expected, delimiter }
        }
        other => DatasetError::Read { path: path.into(), source: io::Error::other(format!("{other:?}")) },
    }
}

/// The line of the row that begins at a byte, or behind the blank lines there.
///
/// The reader's own count of lines stands before the blank lines that it skips.
pub(super) fn line(path: &Path, byte: u64) -> io::Result<u64> {
    LineCounter::open(path)?.line(byte)
}

/// Counts the lines of a file, forward only.
pub(in super::super) struct LineCounter {
    text: Box<dyn BufRead>,
    line: u64,
    at: u64,
}

impl LineCounter {
    pub(in super::super) fn open(path: &Path) -> io::Result<LineCounter> {
        Ok(LineCounter { text: open(path)?, line: 1, at: 0 })
    }

    /// The line of the row that begins at this byte, or behind the blank lines there; not before the last one asked for.
    pub(in super::super) fn line(&mut self, byte: u64) -> io::Result<u64> {
        loop {
            let buffer = self.text.fill_buf()?;
            if buffer.is_empty() {
                return Ok(self.line);
            }
            let mut read = 0;
            for &character in buffer {
                if self.at >= byte && !matches!(character, b'\r' | b'\n') {
                    self.text.consume(read);
                    return Ok(self.line);
                }
                self.line += u64::from(character == b'\n');
                self.at += 1;
                read += 1;
            }
            self.text.consume(read);
        }
    }
}
