//! A file as rows of cells: all that is known of its format ends here.
//!
//! A file is read as often as its reader likes, and each time in one pass, so that nothing of it needs to stay in
//! memory.

mod csv;
mod dialect;
mod parquet;
mod partitions;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub(super) use self::csv::LineCounter;
use self::dialect::Dialect;
use self::partitions::Partition;
use super::{DatasetError, Place, ReadOptions, open};
use crate::printable::shown;
use crate::record::Gap;
use crate::texts;

/// The first bytes of Parquet.
const PARQUET: &[u8] = b"PAR1";

/// The longest text that a column may hold, times what the limits are raised by: more is no category, and it would be in
/// every message that quotes it.
const MOST_TEXT_BYTES: usize = 64 << 10;

/// A file to read.
pub(super) struct Source {
    pub(super) path: PathBuf,
    format: Format,
    /// Its columns, in their order; each name once.
    pub(super) header: Vec<Heading>,
    /// Where each of them is.
    places: HashMap<String, usize>,
    /// The values of the last columns, which the path has and the file hasn't.
    partitions: Vec<Partition>,
    options: ReadOptions,
}

enum Format {
    Csv(Dialect),
    /// An open file, since one that was compressed as a whole is read from a decompressed copy.
    Parquet(File),
}

/// A column of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Heading {
    pub(super) name: String,
    pub(super) holds: Holds,
    pub(super) role: Role,
}

/// Why a column may be there that nobody means to be a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Column,
    /// The index of a data frame of pandas, which its metadata or its name says.
    Index,
    /// It is in the file's path.
    Partition,
}

impl Heading {
    pub(super) fn new(name: &str, holds: Holds) -> Heading {
        // pandas calls an index so that was written without a name and read again.
        let is_index = name == "Unnamed: 0" || name.starts_with("__index_level_") && name.ends_with("__");
        Heading { name: name.into(), holds, role: if is_index { Role::Index } else { Role::Column } }
    }
}

/// What the cells of a column are, as far as the format says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Holds {
    /// Numbers, texts, booleans: what [`Cell`] can be.
    Values,
    /// Dates or points in time.
    Moments,
    /// Something else, in the format's own word.
    Other(String),
}

/// One value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    /// None.
    Missing,
    /// A text that may mean a number, as everything in CSV.
    Untyped(&'a str),
    /// A text by its type.
    Text(&'a str),
    /// A number; not NaN.
    Number(f64),
    /// A whole number.
    Integer(i128),
    /// True or false.
    Boolean(bool),
    /// A point in time, in seconds since 1970.
    Moment(f64),
}

/// Where a row is, as a format knows it at no cost; [`Source::place`] makes it readable.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spot {
    /// A byte of the (decompressed) text at which the row or the blank lines before it begin.
    Byte(u64),
    /// The row's number, from 0.
    Row(u64),
}

/// Takes the rows of a file one by one; the cells are the wanted ones, in the order wanted.
pub(super) type Visit<'a> = dyn FnMut(Spot, &[Cell<'_>]) -> Result<(), DatasetError> + 'a;

impl Source {
    /// Opens files, recognises their formats and reads their headers.
    pub(super) fn open_all(paths: &[PathBuf], options: &ReadOptions) -> Result<Vec<Source>, DatasetError> {
        let partitions = partitions::of(paths);
        paths.iter().zip(partitions).map(|(path, partitions)| Source::open(path, partitions, options)).collect()
    }

    fn open(path: &Path, mut partitions: Vec<Partition>, options: &ReadOptions) -> Result<Source, DatasetError> {
        let unreadable = |source| read_error(path, source);
        let mut text = open(path).map_err(unreadable)?;
        let (format, mut header) = if text.fill_buf().map_err(unreadable)?.starts_with(PARQUET) {
            let mut file = File::open(path).map_err(unreadable)?;
            if !starts_with(&mut file, PARQUET).map_err(unreadable)? {
                file = tempfile::tempfile().map_err(unreadable)?;
                io::copy(&mut text, &mut file).map_err(unreadable)?;
            }
            let header = parquet::header(path, &file)?;
            (Format::Parquet(file), header)
        } else {
            let dialect = csv::dialect(path, options)?;
            (Format::Csv(dialect), csv::header(path, dialect, options)?)
        };
        // What the file has itself is more exact.
        partitions.retain(|partition| header.iter().all(|heading| heading.name != partition.name));
        let named = partitions.iter().map(|partition| partition.name.clone());
        header.extend(named.map(|name| Heading { name, holds: Holds::Values, role: Role::Partition }));
        let places = header.iter().enumerate().map(|(at, heading)| (heading.name.clone(), at)).collect();
        let source = Source { path: path.into(), format, header, places, partitions, options: options.clone() };
        source.check_header()?;
        Ok(source)
    }

    /// What is unusual about the way in which the file is written, for a person.
    pub(super) fn describe(&self) -> Option<String> {
        match &self.format {
            Format::Csv(dialect) => dialect.describe(),
            Format::Parquet(_) => None,
        }
    }

    /// The value that all rows of the file have in a column of its path.
    pub(super) fn partition(&self, name: &str) -> Option<&str> {
        self.partitions.iter().find(|partition| partition.name == name).and_then(|found| found.value.as_deref())
    }

    fn check_header(&self) -> Result<(), DatasetError> {
        if self.header.is_empty() {
            return Err(self.bad_header("the file is empty"));
        }
        let (mut problems, mut seen) = (Vec::new(), HashSet::new());
        for (at, Heading { name, .. }) in self.header.iter().enumerate() {
            if name.is_empty() {
                problems.push(format!(
                    "column {} has no name: give it one, or leave it out (pandas writes its index so: \
                     to_csv(…, index=False) doesn't)",
                    at + 1
                ));
            } else if let Err(problem) = self.options.limits.check_name(name) {
                problems.push(format!("column {}: {problem}", at + 1));
            } else if !seen.insert(name) {
                problems.push(format!("two columns are called {}", shown(name)));
            }
        }
        DatasetError::all(problems.into_iter().map(|problem| self.bad_header(problem)).collect())
    }

    /// How many rows the file says it has, if it does.
    pub(super) fn rows_claimed(&self) -> Result<Option<u64>, DatasetError> {
        match &self.format {
            Format::Csv(_) => Ok(None),
            Format::Parquet(file) => parquet::rows_claimed(&self.path, file).map(Some),
        }
    }

    /// The place of a column in the header: see [`texts::position`].
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        let exact = self.places.get(name).copied();
        exact.or_else(|| texts::position(self.header.iter().map(|heading| heading.name.as_str()), name))
    }

    /// Reads the file; `wanted` are indices of the header.
    pub(super) fn visit(&self, wanted: &[usize], visit: &mut Visit<'_>) -> Result<(), DatasetError> {
        let most = self.options.limits.raise(MOST_TEXT_BYTES);
        let mut bounded = |spot, cells: &[Cell<'_>]| match cells.iter().position(|cell| cell.is_longer_than(most)) {
            Some(at) => Err(self.too_long(spot, &self.header[wanted[at]].name)),
            None => visit(spot, cells),
        };
        let own = self.header.len() - self.partitions.len();
        if wanted.iter().all(|&at| at < own) {
            return self.visit_file(wanted, &mut bounded);
        }
        let of_file: Vec<usize> = wanted.iter().copied().filter(|&at| at < own).collect();
        let of_path = |at: usize| self.partitions[at - own].value.as_deref();
        self.visit_file(&of_file, &mut |spot, cells| {
            let mut cells = cells.iter().copied();
            let cell = |&at: &usize| match at < own {
                true => cells.next().unwrap_or(Cell::Missing),
                false => of_path(at).filter(|text| !self.options.is_missing(text)).map_or(Cell::Missing, Cell::Untyped),
            };
            let all: Vec<Cell<'_>> = wanted.iter().map(cell).collect();
            bounded(spot, &all)
        })
    }

    fn visit_file(&self, wanted: &[usize], visit: &mut Visit<'_>) -> Result<(), DatasetError> {
        match &self.format {
            Format::Csv(dialect) => csv::visit(&self.path, *dialect, wanted, &self.options, visit),
            Format::Parquet(file) => parquet::visit(&self.path, file, wanted, &self.options, visit),
        }
    }

    /// Counts lines for [`Source::place_by`].
    pub(super) fn lines(&self) -> Option<LineCounter> {
        LineCounter::open(&self.path).ok()
    }

    /// Where a row is that doesn't come before the last one asked for.
    pub(super) fn place_by(lines: &mut Option<LineCounter>, spot: Spot) -> Place {
        match spot {
            Spot::Byte(byte) => Place::Line(lines.as_mut().and_then(|lines| lines.line(byte).ok()).unwrap_or(0)),
            Spot::Row(row) => Place::Row(row + 1),
        }
    }

    fn too_long(&self, spot: Spot, column: &str) -> DatasetError {
        let problem = format!(
            "its text is longer than {} bytes, so it is no category: leave the column out (--drop {column}), or raise \
             the limit (--limit-factor)",
            self.options.limits.raise(MOST_TEXT_BYTES)
        );
        self.bad_cell(spot, column, problem)
    }

    /// Where a row is, for a person.
    pub(super) fn place(&self, spot: Spot) -> Place {
        place(&self.path, spot)
    }

    pub(super) fn bad_header(&self, problem: impl Into<String>) -> DatasetError {
        DatasetError::Header { path: self.path.clone(), problem: problem.into() }
    }

    pub(super) fn bad_cell(&self, spot: Spot, column: &str, problem: String) -> DatasetError {
        DatasetError::Cell { path: self.path.clone(), place: self.place(spot), column: column.into(), problem }
    }
}

impl Cell<'_> {
    fn is_longer_than(&self, bytes: usize) -> bool {
        matches!(self, Cell::Untyped(text) | Cell::Text(text) if text.len() > bytes)
    }

    /// The number that this is or says; for anything else the gap that a codec would leave.
    pub(super) fn number(self) -> Result<f64, Gap> {
        let number = match self {
            Cell::Missing => return Err(Gap::Missing),
            Cell::Untyped(text) => texts::cell_number(text)?,
            Cell::Text(text) => texts::number(text).ok_or_else(|| not_a_number(text))?,
            Cell::Number(number) => number,
            Cell::Integer(number) => number as f64,
            Cell::Boolean(boolean) => f64::from(u8::from(boolean)),
            Cell::Moment(_) => return Err(Gap::String),
        };
        if number.is_finite() { Ok(number) } else { Err(Gap::NotFinite) }
    }

    /// The whole number that this is or says, however large.
    pub(super) fn whole(&self) -> Option<i128> {
        match self {
            Cell::Integer(number) => Some(*number),
            Cell::Untyped(text) | Cell::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// What this is called as a class, if that is a number: 7 for 7.0 and 07.
    pub(super) fn class_number(&self) -> Option<String> {
        let whole = self.whole().map(|number| number.to_string());
        // Adding 0 makes one class of 0 and -0.
        whole.or_else(|| self.number().ok().map(|number| (number + 0.0).to_string()))
    }

    /// The time that this is or says, in seconds since 1970; for anything else the gap that a codec would leave.
    pub(super) fn time(self) -> Result<f64, Gap> {
        match self {
            Cell::Missing => Err(Gap::Missing),
            Cell::Moment(seconds) => Ok(seconds),
            Cell::Untyped(text) | Cell::Text(text) => texts::moment(text),
            Cell::Boolean(_) => Err(Gap::Boolean),
            Cell::Number(_) | Cell::Integer(_) => self.number().map(texts::epoch),
        }
    }

    /// The boolean that this is or says; see [`texts::boolean`].
    pub(super) fn boolean(&self) -> Option<bool> {
        match self {
            Cell::Boolean(boolean) => Some(*boolean),
            Cell::Untyped(text) | Cell::Text(text) => texts::boolean(text),
            _ => None,
        }
    }

    /// What this is called as a category.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Cell::Missing => Cow::Borrowed(""),
            Cell::Untyped(text) | Cell::Text(text) => Cow::Borrowed(text),
            Cell::Number(number) | Cell::Moment(number) => Cow::Owned(number.to_string()),
            Cell::Integer(number) => Cow::Owned(number.to_string()),
            Cell::Boolean(boolean) => Cow::Borrowed(if *boolean { "true" } else { "false" }),
        }
    }
}

/// What a text is that says no number.
fn not_a_number(text: &str) -> Gap {
    if texts::is_nan(text) { Gap::Missing } else { Gap::String }
}

fn place(path: &Path, spot: Spot) -> Place {
    match spot {
        // A file that has just been read and can't be any more is not worth an error of its own.
        Spot::Byte(byte) => Place::Line(csv::line(path, byte).unwrap_or(0)),
        Spot::Row(row) => Place::Row(row + 1),
    }
}

/// What failed reading is the system's or the data's own fault.
fn read_error(path: &Path, source: io::Error) -> DatasetError {
    let path = path.into();
    match source.kind() {
        io::ErrorKind::IsADirectory => DatasetError::Directory { path },
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            DatasetError::Damaged { path, source }
        }
        // Zstandard's own errors have no code of the system.
        io::ErrorKind::Other if source.raw_os_error().is_none() => DatasetError::Damaged { path, source },
        _ => DatasetError::Read { path, source },
    }
}

fn starts_with(file: &mut File, magic: &[u8]) -> io::Result<bool> {
    use io::{Read, Seek};
    let mut start = vec![0; magic.len()];
    let read = file.read(&mut start)?;
    file.rewind()?;
    Ok(start[..read] == *magic)
}
