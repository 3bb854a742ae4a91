//! What can be wrong with data: each of these is one line for the user, with the place and what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::{MAX_CATEGORIES, MAX_RARE_CATEGORIES};

/// Why files can't become a table.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// An argument is a pattern that isn't one.
    #[error("{pattern:?} isn't a pattern for files")]
    Pattern {
        /// The argument.
        pattern: String,
        /// What is wrong with it.
        source: glob::PatternError,
    },
    /// A pattern fits no file.
    #[error("no file matches {pattern:?}")]
    NoMatch {
        /// The pattern.
        pattern: String,
    },
    /// A folder has no files.
    #[error("{} is a directory without files; names that begin with a dot or an underscore don't count", path.display())]
    Directory {
        /// The folder.
        path: PathBuf,
    },
    /// A pipe or a device stands where a file should.
    #[error("{} is a pipe or a device, and weir reads a table several times: write it to a file first", path.display())]
    Pipe {
        /// The pipe.
        path: PathBuf,
    },
    /// One file is named twice, so its rows would count twice.
    #[error("{} is named twice", path.display())]
    Repeated {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be read.
    #[error("can't read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is compressed, and what it holds breaks off or makes no sense.
    #[error("{} is damaged or ends too early: make it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decompressor says.
        source: io::Error,
    },
    /// The file isn't UTF-8.
    #[error("{}, {place}: the text isn't UTF-8: convert the file, for instance by iconv -t UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Where the first such row begins.
        place: Place,
    },
    /// A row has more or fewer cells than the header.
    #[error(
        "{}, {place}: {found} cells, but the header has {expected}: {}",
        path.display(),
        if found > expected {
            format!("a cell with {delimiter:?} in it needs quotes, or the separator is another one (--delimiter)")
        } else {
            format!("the row ends too early, a quote isn't closed, or the separator isn't {delimiter:?} (--delimiter)")
        }
    )]
    Ragged {
        /// The file.
        path: PathBuf,
        /// The row.
        place: Place,
        /// Its cells.
        found: u64,
        /// The header's.
        expected: u64,
        /// What separates them.
        delimiter: char,
    },
    /// The file says that it is Parquet but can't be read as that.
    #[error("{} can't be read as Parquet; if it wasn't written to its end, make it again", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: parquet::errors::ParquetError,
    },
    /// The columns can't be used.
    #[error("the columns of {}: {problem}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        problem: String,
    },
    /// Features of a model that the data lacks.
    #[error("{} lacks columns that are features of the model: {}", path.display(), names.join(", "))]
    NoFeatures {
        /// The file.
        path: PathBuf,
        /// All that it lacks.
        names: Vec<String>,
    },
    /// A column is numeric in one table and categorical in the other.
    #[error("column {column:?} is of another kind than in the training data")]
    OtherKind {
        /// The column.
        column: String,
    },
    /// A cell isn't what its column is.
    #[error("{}, {place}, column {column:?}: {problem}", path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// Where the cell is.
        place: Place,
        /// The column.
        column: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A column has more distinct texts than [`MAX_CATEGORIES`].
    #[error(
        "column {column:?} of {} has more than {MAX_CATEGORIES} different texts, such as {example:?} in {place}: {}leave \
         it out (--drop or --id), keep its most frequent ones (--max-categories), or use --numeric to see which of its \
         cells isn't a number",
        path.display(),
        if crate::texts::seconds(example).is_some() {
            format!("if it is a time, name it (--time) or make features of it (--datetime {column}=hour,weekday,month), or ")
        } else {
            String::new()
        }
    )]
    TooManyCategories {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The place of the one too many.
        place: Place,
        /// The text there.
        example: String,
    },
    /// A column has more distinct texts than [`MAX_RARE_CATEGORIES`].
    #[error(
        "column {column:?} of {} has more than {MAX_RARE_CATEGORIES} different texts, which is an id rather than a \
         category: leave it out (--drop or --id)",
        path.display()
    )]
    Id {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
    },
    /// The target has more classes than [`MAX_CATEGORIES`].
    #[error(
        "the target {column:?} has more than {MAX_CATEGORIES} different values, such as {example:?} in {place} of {}: \
         is it the right --target, or a number in another notation (--task regression shows which)?",
        path.display()
    )]
    TooManyClasses {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The place of the one too many.
        place: Place,
        /// The value there.
        example: String,
    },
    /// A point in time that doesn't fit the time column.
    #[error("{text:?} isn't {expected}, as the time column has it")]
    Time {
        /// What the user wrote.
        text: String,
        /// What the column has.
        expected: &'static str,
    },
    /// No row has a target.
    #[error("{} has no rows with a target ({without_target} rows lack it)", path.display())]
    Empty {
        /// The file, or the first of several.
        path: PathBuf,
        /// How many rows have none.
        without_target: usize,
    },
    /// A model can use none of the rows.
    #[error(
        "the model can use no row of {}: it rejects {rejected}, and {without_target} have no target that it knows",
        path.display()
    )]
    Unusable {
        /// The file, or the first of several.
        path: PathBuf,
        /// How many rows it rejects.
        rejected: usize,
        /// How many rows have no target, or one that it can't answer.
        without_target: usize,
    },
    /// Several of these at once.
    #[error("{}", listed(errors))]
    Several {
        /// At least two.
        errors: Vec<DatasetError>,
    },
    /// The data doesn't fit into memory.
    #[error(
        "{rows} rows of {features} features need about {} of memory, but {} is available: use fewer rows, or leave \
         columns out (--drop)",
        super::memory::Size(*needed),
        super::memory::Size(*available)
    )]
    TooLarge {
        /// Rows with a target.
        rows: u64,
        /// Columns that are features.
        features: u64,
        /// Bytes.
        needed: u64,
        /// Bytes.
        available: u64,
    },
}

/// How many faults are named one by one.
const MAX_LISTED: usize = 20;

fn listed(errors: &[DatasetError]) -> String {
    let mut text = format!("the data can't be used, for {} reasons:", errors.len());
    errors.iter().take(MAX_LISTED).for_each(|error| text.push_str(&format!("\n  - {error}")));
    if errors.len() > MAX_LISTED {
        text.push_str(&format!("\n  - and {} more", errors.len() - MAX_LISTED));
    }
    text
}

impl DatasetError {
    /// All faults of one kind of look at the data together, if there are any.
    pub(super) fn all(mut errors: Vec<DatasetError>) -> Result<(), DatasetError> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(DatasetError::Several { errors }),
        }
    }
}

/// Where in a file a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The line of a text file, from 1, where the row begins; the header is in line 1 unless blank lines come before.
    Line(u64),
    /// The row of a table without lines, from 1.
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(line) => write!(f, "line {line}"),
            Place::Row(row) => write!(f, "row {row}"),
        }
    }
}
