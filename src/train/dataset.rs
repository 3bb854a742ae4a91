//! Files of data, CSV or Parquet, plain or compressed, as a table of decoded rows and a target.
//!
//! In CSV a column is numeric when each of its values in the rows that train is a finite number, otherwise categorical; in
//! Parquet its type says so; and [`Columns`] overrules both. What a text means is for [`crate::texts`] to say.
//!
//! The rows are those of [`crate::record`], except that a category's index counts in the table's own list of
//! categories, which may hold some that the training rows don't: [`examples`] translates them to a signature's.
//!
//! A file is a `source` of cells; `survey` reads it once to learn what the columns are, `decode` once more for the values.

pub mod examples;

mod decode;
mod error;
mod files;
mod memory;
mod options;
mod plan;
mod records;
mod sight;
mod source;
mod survey;

use std::path::PathBuf;

use ndarray::{Array2, Axis};

use self::decode::DecodedTable;
pub use self::error::{DatasetError, Place};
pub use self::examples::{Examples, Truth};
pub use self::files::{files, open};
pub use self::options::ReadOptions;
use self::plan::Plan;
pub use self::records::{RecordSpot, TableRecords, is_table};
use self::source::Source;
pub use self::survey::Outline;
use self::survey::Survey;
use super::time::Scale;
use crate::codec::json::Categories;
use crate::record::Gap;
use crate::texts;

/// A categorical column or a target with more distinct values than this is most likely an id or broken numbers.
pub const MAX_CATEGORIES: usize = 1000;

/// Where only the most frequent categories will be kept, a column may have this many different ones.
pub const MAX_RARE_CATEGORIES: usize = 1_000_000;

/// What the user says about the columns; whatever isn't named here is a feature of an inferred kind.
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
    /// Whether a feature may have more than [`MAX_CATEGORIES`], since only its most frequent ones will be kept.
    pub rare_categories: bool,
    /// How the files are read.
    pub options: ReadOptions,
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
    /// The feature columns, in the order of the (first) file.
    pub features: Vec<Column>,
    /// One row per record, one column per feature: a number, the index of a category, or
    /// [`Gap::Missing`](crate::record::Gap::Missing).
    pub rows: Array2<f64>,
    /// The column to predict.
    pub target: Target,
    /// When each row happened, if a time column was named.
    pub times: Option<Times>,
    /// How many rows were left out because their target is missing.
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

impl Times {
    /// The rows' times in seconds since 1970. A number has the unit that its size shows, as [`texts::epoch`] has it.
    pub fn unix_seconds(&self) -> Vec<i64> {
        (0..self.rows.len()).map(|row| self.unix_seconds_of(row)).collect()
    }

    /// The time of one row, as [`Times::unix_seconds`] has it.
    pub(super) fn unix_seconds_of(&self, row: usize) -> i64 {
        let time = self.rows[row];
        let seconds = if self.scale == Scale::Number { texts::epoch(time) } else { time };
        seconds.floor() as i64
    }
}

/// A table in its two parts, and what a person should know about its files.
#[derive(Debug)]
pub struct DividedTable {
    /// The rows that train.
    pub train: Table,
    /// The rows that test.
    pub test: Table,
    /// Where the test rows are among the rows of their files with a target, from 0.
    pub test_places: Vec<usize>,
    /// How the files are written, and cells that aren't like others of their column: a sentence each.
    pub notes: Vec<String>,
}

impl Table {
    /// Reads files that have the same columns, as if they were one.
    ///
    /// # Errors
    ///
    /// Files that can't be read or aren't what they seem, columns that aren't what `columns` says, and data that
    /// doesn't fit into memory.
    pub fn read(paths: &[PathBuf], columns: &Columns) -> Result<Table, DatasetError> {
        Table::read_divided(paths, columns, Outline::all_train).map(|divided| divided.train)
    }

    /// The same, in two parts: `divide` gives the rows that train and those that test. What the columns are follows from
    /// the rows that train. Where a row that tests has something else, it is a gap there, and a row without a target that
    /// can be one is left out.
    ///
    /// # Errors
    ///
    /// Those of [`Table::read`] and of `divide`.
    pub fn read_divided<E: From<DatasetError>>(
        paths: &[PathBuf],
        columns: &Columns,
        divide: impl FnOnce(&Outline) -> Result<(Vec<usize>, Vec<usize>), E>,
    ) -> Result<DividedTable, E> {
        let sources = Source::open_all(paths, &columns.options)?;
        let mut survey = Survey::of(&sources, columns)?;
        let outline = survey.outline();
        if outline.rows == 0 {
            let (path, without_target) = (paths[0].clone(), survey.without_target);
            return Err(DatasetError::Empty { path, without_target }.into());
        }
        let (train, mut test) = divide(&outline)?;
        let mut trains = vec![false; outline.rows];
        train.iter().for_each(|&row| trains[row] = true);
        let (plan, notes) = survey.plan(&sources, &trains)?;
        let name = plan.targets[0].name.clone();
        let whole = Table::of(plan.decode(&sources)?, name, paths)?;
        if let TargetValues::Numbers(numbers) = &whole.target.values {
            test.retain(|&row| !numbers[row].is_nan());
        }
        // Most often all rows train: then there is no need for a second table.
        let all = test.is_empty() && train.iter().copied().eq(0..whole.len());
        let of_test = whole.select(&test);
        let train = if all { whole } else { whole.select(&train) };
        Ok(DividedTable { train, test: of_test, test_places: test, notes })
    }

    /// Reads more files with the same features, target and time as `self`, as rows that test; their other columns are
    /// ignored.
    ///
    /// `time` is the name of the time column, if there is one.
    pub fn read_like(
        &self,
        paths: &[PathBuf],
        time: Option<&str>,
        options: impl Into<ReadOptions>,
    ) -> Result<Table, DatasetError> {
        let options = options.into();
        let sources = Source::open_all(paths, &options)?;
        Table::of(Plan::like(self, time, &options.datetime).decode(&sources)?, self.target.name.clone(), paths)
    }

    fn of(decoded: DecodedTable, target: String, paths: &[PathBuf]) -> Result<Table, DatasetError> {
        let DecodedTable { features, rows, targets, classes, times, without_target } = decoded;
        if targets.is_empty() {
            return Err(DatasetError::Empty { path: paths[0].clone(), without_target });
        }
        let values = match classes.is_empty() {
            true => TargetValues::Numbers(targets),
            false => TargetValues::Classes {
                names: classes,
                rows: targets.into_iter().map(|class| class as usize).collect(),
            },
        };
        Ok(Table { features, rows, target: Target { name: target, values }, times, without_target })
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
        survey::time(self.times.as_ref(), text)
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

/// The distinct values of a column in the order in which scikit-learn has classes: by number if all are numbers.
///
/// # Errors
///
/// Files that can't be read, that don't have the column, or that have more distinct values in it than a model may have.
pub fn classes(paths: &[PathBuf], column: &str, options: impl Into<ReadOptions>) -> Result<Vec<String>, DatasetError> {
    let sources = Source::open_all(paths, &options.into())?;
    let mut features = Plan::of_categories(column).decode(&sources)?.features;
    Ok(features.pop().and_then(|column| column.categories).unwrap_or_default())
}

/// What is unusual about how files are written: a sentence each.
///
/// # Errors
///
/// Files that can't be read, or whose headers can't be used.
pub fn describe(paths: &[PathBuf], options: &ReadOptions) -> Result<Vec<String>, DatasetError> {
    Ok(survey::descriptions(&Source::open_all(paths, options)?))
}

/// Where a class of a table is among those of a model, which may call it in another way: see [`crate::texts`].
struct ClassIndex(Categories);

impl ClassIndex {
    fn of(classes: &[String]) -> ClassIndex {
        ClassIndex(Categories::new(classes))
    }

    fn find(&self, name: &str) -> Option<usize> {
        let index = self.0.index_or(name.as_bytes(), Gap::Unknown);
        (!index.is_nan()).then_some(index as usize)
    }
}

fn pick<T: Copy>(values: &[T], rows: &[usize]) -> Vec<T> {
    rows.iter().map(|&row| values[row]).collect()
}

#[cfg(test)]
mod tests;
