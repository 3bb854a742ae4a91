//! A CSV file, plain or gzipped, as a table of decoded rows and a target.
//!
//! A column is numeric when each of its values is a finite number, otherwise categorical, unless [`Columns`] says what
//! it is. An empty cell, `NA`, `NaN`, `nan` and `null` are missing values.
//!
//! The rows are those of [`crate::record`], except that a category's index counts in the table's own list of
//! categories, which may hold some that the training rows don't: `preprocessing` translates them to the signature's.

mod reading;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use ndarray::{Array2, Axis};

use self::reading::Source;
use super::time::Scale;

/// A categorical column or a target with more distinct values than this is most likely an id or broken numbers.
pub const MAX_CATEGORIES: usize = 1000;

/// What the user says about a file's columns; whatever isn't named here is a feature of an inferred kind.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// The column to predict.
    pub target: String,
    /// A column that names the row; not a feature.
    pub id: Option<String>,
    /// When the row happened, a number or ISO 8601: for order and splits; not a feature.
    pub time: Option<String>,
    /// Columns to leave out.
    pub drop: Vec<String>,
    /// Columns that are categories even where they look like numbers.
    pub categorical: Vec<String>,
    /// Columns that must be numbers; a cell that isn't is an error.
    pub numeric: Vec<String>,
    /// What the target is; `None` infers it.
    pub task: Option<Task>,
}

/// What is to be predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// One of some classes.
    Classification,
    /// A number.
    Regression,
}

impl Task {
    /// The name in options and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Task::Classification => "classification",
            Task::Regression => "regression",
        }
    }
}

/// Decoded rows and what they should have been predicted as.
#[derive(Clone, Debug)]
pub struct Table {
    /// The feature columns, in the order of the file.
    pub features: Vec<Column>,
    /// One row per record, one column per feature: a number, the index of a category, or
    /// [`Gap::Missing`](crate::record::Gap::Missing).
    pub rows: Array2<f64>,
    /// The column to predict.
    pub target: Target,
    /// When each row happened, if a time column was named.
    pub times: Option<Times>,
    /// How many rows of the file were left out because their target is missing.
    pub without_target: usize,
}

/// A feature column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name in the header.
    pub name: String,
    /// The distinct values of a categorical column, in order; `None` for a numeric one.
    pub categories: Option<Vec<String>>,
}

/// The target column; it has no missing values.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name in the header.
    pub name: String,
    /// One value per row.
    pub values: TargetValues,
}

/// The values of a target column.
#[derive(Clone, Debug, PartialEq)]
pub enum TargetValues {
    /// Classification.
    Classes {
        /// The distinct values, in order.
        names: Vec<String>,
        /// The index of each row's class.
        rows: Vec<usize>,
    },
    /// Regression.
    Numbers(Vec<f64>),
}

/// The time column.
#[derive(Clone, Debug)]
pub struct Times {
    /// What its values are.
    pub scale: Scale,
    /// One per row.
    pub rows: Vec<f64>,
}

/// Why a file can't become a table.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The file can't be read.
    #[error("can't read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file isn't CSV.
    #[error("{} isn't valid CSV", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        source: csv::Error,
    },
    /// The header can't be used.
    #[error("the header of {}: {problem}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A cell isn't what its column is.
    #[error("{}, line {line}, column {column:?}: {problem}", path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// The line in the file, from 1; the header is line 1.
        line: u64,
        /// The column.
        column: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A column has more distinct texts than [`MAX_CATEGORIES`].
    #[error(
        "column {column:?} of {} has more than {MAX_CATEGORIES} different texts, such as {example:?} in line {line}: \
         leave it out with --drop or --id, or use --numeric to see which of its cells isn't a number",
        path.display()
    )]
    TooManyCategories {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The line that brought one too many.
        line: u64,
        /// The text there.
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
        /// The file.
        path: PathBuf,
        /// How many rows have none.
        without_target: usize,
    },
}

/// Opens a file for reading; one that starts with gzip's magic number is decompressed on the way.
pub fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    if file.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file))))
    } else {
        Ok(Box::new(file))
    }
}

impl Table {
    /// Reads a CSV file with a header.
    pub fn read(path: &Path, columns: &Columns) -> Result<Table, DatasetError> {
        let source = Source { path };
        let plan = source.infer(columns)?;
        source.decode(plan)
    }

    /// Reads another CSV file with the same features, target and time as `self`; its other columns are ignored.
    ///
    /// `time` is the name of the time column, if there is one.
    pub fn read_like(&self, path: &Path, time: Option<&str>) -> Result<Table, DatasetError> {
        let source = Source { path };
        let plan = source.plan_like(self, time)?;
        source.decode(plan)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.nrows()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is to be predicted.
    pub fn task(&self) -> Task {
        match self.target.values {
            TargetValues::Classes { .. } => Task::Classification,
            TargetValues::Numbers(_) => Task::Regression,
        }
    }

    /// A point in time as the user writes it, on the scale of the time column.
    pub fn time(&self, text: &str) -> Result<f64, DatasetError> {
        let scale = self.times.as_ref().map_or(Scale::Iso8601, |times| times.scale);
        scale.parse(text).ok_or_else(|| DatasetError::Time { text: text.into(), expected: scale.as_str() })
    }

    /// The rows with these indices, in that order.
    pub fn select(&self, rows: &[usize]) -> Table {
        let values = match &self.target.values {
            TargetValues::Classes { names, rows: classes } => {
                TargetValues::Classes { names: names.clone(), rows: pick(classes, rows) }
            }
            TargetValues::Numbers(numbers) => TargetValues::Numbers(pick(numbers, rows)),
        };
        Table {
            features: self.features.clone(),
            rows: self.rows.select(Axis(0), rows),
            target: Target { name: self.target.name.clone(), values },
            times: self.times.as_ref().map(|times| Times { scale: times.scale, rows: pick(&times.rows, rows) }),
            without_target: self.without_target,
        }
    }
}

fn pick<T: Copy>(values: &[T], rows: &[usize]) -> Vec<T> {
    rows.iter().map(|&row| values[row]).collect()
}

#[cfg(test)]
mod tests;
