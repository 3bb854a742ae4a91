//! The rows of a table as JSON records, so that they are scored by the code that scores records.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::source::{Cell, LineCounter, Source, Spot};
use super::{DatasetError, Place, ReadOptions, examples, open};
use crate::codec::json::Categories;
use crate::model::signature::{Feature, Kind, Signature};
use crate::record::Gap;

/// Whether a file is a table and not JSON lines: Parquet, and CSV unless it begins as JSON or is called so.
///
/// # Errors
///
/// A file that can't be read.
pub fn is_table(path: &Path) -> io::Result<bool> {
    if path.is_dir() {
        return Ok(true);
    }
    // A pipe can't be read twice: JSON lines come through it.
    if !std::fs::metadata(path)?.is_file() {
        return Ok(false);
    }
    let mut name = path.to_path_buf();
    if name.extension().is_some_and(|extension| extension == "gz" || extension == "zst") {
        name.set_extension("");
    }
    let extension = name.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    if matches!(extension.as_deref(), Some("json" | "jsonl" | "ndjson")) {
        return Ok(false);
    }
    let mut text = open(path)?;
    let start = text.fill_buf()?;
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    Ok(!start.is_empty() && start[0] != b'{')
}

/// Where a record is; [`TableRecords::place`] makes it readable.
#[derive(Clone, Copy, Debug)]
pub struct RecordSpot(Spot);

/// Finds the lines of records, in one pass over the file.
pub struct RecordPlaces(Option<LineCounter>);

impl RecordPlaces {
    /// Where a record is that doesn't come before the last one asked for.
    pub fn of(&mut self, spot: RecordSpot) -> Place {
        Source::place_by(&mut self.0, spot.0)
    }
}

/// A file whose rows become records.
pub struct TableRecords {
    source: Source,
    /// The columns to read, and what each becomes.
    wanted: Vec<usize>,
    members: Vec<Member>,
}

/// A member of the records.
struct Member {
    /// Its name as JSON, with the colon.
    key: String,
    kind: MemberKind,
}

enum MemberKind {
    Number,
    Time,
    Category(Categories),
    /// Copied to the prediction.
    Field,
}

impl TableRecords {
    /// Opens files with the features of a signature and with columns to copy.
    ///
    /// # Errors
    ///
    /// Files that can't be read, and columns that they lack.
    pub fn open(
        paths: &[PathBuf],
        signature: &Signature,
        fields: &[String],
        options: &ReadOptions,
    ) -> Result<Vec<TableRecords>, DatasetError> {
        let sources = Source::open_all(paths, options)?;
        sources.into_iter().map(|source| TableRecords::of(source, signature, fields)).collect()
    }

    fn of(source: Source, signature: &Signature, fields: &[String]) -> Result<TableRecords, DatasetError> {
        examples::check_features(&source, signature)?;
        let is_feature = |field: &&String| signature.features.iter().any(|feature| feature.name == **field);
        let fields: Vec<&String> = fields.iter().filter(|field| !is_feature(field)).collect();
        let find = |name: &&String| {
            let missing = || source.bad_header(format!("there is no column {name:?} to copy (--fields)"));
            source.position(name).ok_or_else(missing)
        };
        let times = signature.features.iter().filter(|feature| feature.kind == Kind::Time);
        let times: Vec<&str> = times.map(|feature| feature.name.as_str()).collect();
        // As in an evaluation, a column of times is no category and no number.
        let mut wanted = source.wanted(signature.features.iter().map(|feature| &feature.name), None, &times)?;
        wanted.extend(fields.iter().map(find).collect::<Result<Vec<_>, _>>()?);
        let key = |name: &String| format!("{}:", serde_json::Value::from(name.as_str()));
        let of_feature = |Feature { name, kind, .. }: &Feature| Member {
            key: key(name),
            kind: match kind {
                Kind::Numeric => MemberKind::Number,
                Kind::Time => MemberKind::Time,
                Kind::Categorical { categories, .. } => MemberKind::Category(Categories::new(categories)),
            },
        };
        let copied = fields.iter().map(|name| Member { key: key(name), kind: MemberKind::Field });
        let members = signature.features.iter().map(of_feature).chain(copied).collect();
        Ok(TableRecords { source, wanted, members })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.source.path
    }

    /// Reads the file: each row as a record. The error of `each` ends the reading.
    ///
    /// # Errors
    ///
    /// A file that can't be read, and the errors of `each`.
    pub fn visit<E: From<DatasetError>>(
        &self,
        mut each: impl FnMut(RecordSpot, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut record, mut failed) = (Vec::new(), None);
        let visited = self.source.visit(&self.wanted, &mut |spot, cells| {
            record.clear();
            self.write(cells, &mut record);
            each(RecordSpot(spot), &record).map_err(|error| {
                failed = Some(error);
                // Ends the reading; it is never seen.
                DatasetError::Empty { path: self.source.path.clone(), without_target: 0 }
            })
        });
        match failed {
            Some(error) => Err(error),
            None => visited.map_err(E::from),
        }
    }

    /// Says where its records are, in the order of the file.
    pub fn places(&self) -> RecordPlaces {
        RecordPlaces(self.source.lines())
    }

    fn write(&self, cells: &[Cell<'_>], record: &mut Vec<u8>) {
        for (at, (cell, member)) in cells.iter().zip(&self.members).enumerate() {
            record.push(if at == 0 { b'{' } else { b',' });
            record.extend_from_slice(member.key.as_bytes());
            match &member.kind {
                MemberKind::Number => write_number(cell, record),
                MemberKind::Time => write_time(cell, record),
                MemberKind::Category(categories) => write_category(cell, categories, record),
                MemberKind::Field => write_field(cell, record),
            }
        }
        record.push(b'}');
    }
}

fn write_number(cell: &Cell<'_>, record: &mut Vec<u8>) {
    match cell.number() {
        Ok(number) => put(format_args!("{number:?}"), record),
        Err(Gap::Missing) => put(format_args!("null"), record),
        // Beyond the range of an f64, and so an infinity for the decoder, too.
        Err(Gap::NotFinite) => put(format_args!("1e999"), record),
        Err(_) => put_text(&cell.text(), record),
    }
}

fn write_time(cell: &Cell<'_>, record: &mut Vec<u8>) {
    match (cell.time(), cell) {
        (Ok(seconds), Cell::Moment(_)) => put(format_args!("{seconds:?}"), record),
        (Ok(_), Cell::Number(_) | Cell::Integer(_)) => put(format_args!("{}", cell.text()), record),
        (Err(Gap::Missing), _) => put(format_args!("null"), record),
        (Err(Gap::NotFinite), _) => put(format_args!("1e999"), record),
        (Err(Gap::Boolean), _) => put(format_args!("{}", cell.text()), record),
        _ => put_text(&cell.text(), record),
    }
}

fn write_category(cell: &Cell<'_>, categories: &Categories, record: &mut Vec<u8>) {
    match cell {
        Cell::Missing => put(format_args!("null"), record),
        Cell::Untyped(text) | Cell::Text(text) => match cell.boolean() {
            Some(boolean) if Gap::of(categories.cell(text)) == Some(Gap::Boolean) => {
                put(format_args!("{boolean}"), record);
            }
            _ => put_text(text, record),
        },
        Cell::Moment(_) => put_text(&cell.text(), record),
        Cell::Number(number) if !number.is_finite() => put_text(&cell.text(), record),
        Cell::Number(_) | Cell::Integer(_) | Cell::Boolean(_) => put(format_args!("{}", cell.text()), record),
    }
}

fn write_field(cell: &Cell<'_>, record: &mut Vec<u8>) {
    match cell {
        Cell::Missing => put(format_args!("null"), record),
        // Only a number that JSON writes in the same way: 007 is a text.
        Cell::Untyped(text) if serde_json::from_str::<serde_json::Number>(text).is_ok() => {
            put(format_args!("{}", text.trim()), record);
        }
        Cell::Untyped(text) | Cell::Text(text) => put_text(text, record),
        Cell::Moment(seconds) => match Duration::try_from_secs_f64(*seconds) {
            Ok(since) => put(format_args!("\"{}\"", humantime::format_rfc3339_micros(UNIX_EPOCH + since)), record),
            Err(_) => put(format_args!("{seconds}"), record),
        },
        Cell::Number(number) if !number.is_finite() => put_text(&cell.text(), record),
        Cell::Number(_) | Cell::Integer(_) | Cell::Boolean(_) => put(format_args!("{}", cell.text()), record),
    }
}

fn put(text: std::fmt::Arguments<'_>, record: &mut Vec<u8>) {
    record.write_fmt(text).unwrap_or_else(|_| unreachable!("a Vec takes all bytes"));
}

fn put_text(text: &str, record: &mut Vec<u8>) {
    put(format_args!("{}", serde_json::Value::from(text)), record);
}
