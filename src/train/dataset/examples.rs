//! Rows for a model that exists: to evaluate it, to calibrate it, to give it a baseline.
//!
//! They are decoded as the codecs decode records, so what serving would reject is counted here and not an error.

use std::path::PathBuf;

use ndarray::{Array2, ArrayView2, Axis};

use super::decode::DecodedTable;
use super::plan::Plan;
use super::source::Source;
use super::{ClassIndex, Column, DatasetError, ReadOptions, Table, TargetValues};
use crate::codec::json::Categories;
use crate::model::preprocess::Preprocess;
use crate::model::signature::{Feature, Kind, MIN_FEATURES, Signature, Target};
use crate::texts;

/// Rows that a model accepts, and what they should be predicted as.
#[derive(Clone, Debug, PartialEq)]
pub struct Examples {
    /// Rows × features in signature order, as [`crate::record`] describes them: gaps that the signature forgives are
    /// still there.
    pub rows: Array2<f64>,
    /// One per row.
    pub truth: Truth,
    /// Which of the rows with a target each one is, from 0, ascending: it distinguishes rows for models with the same
    /// target, which may reject different ones.
    pub places: Vec<usize>,
    /// How many rows were left out since the signature rejects them.
    pub rejected: usize,
    /// How many were left out since they have no target, or one that the model can't answer.
    pub without_target: usize,
}

/// What rows should be predicted as.
#[derive(Clone, Debug, PartialEq)]
pub enum Truth {
    /// The index of each row's class in the signature.
    Classes(Vec<usize>),
    /// Rows × outputs.
    Numbers(Array2<f64>),
}

/// Rows that a model accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct UnlabelledRows {
    /// As in [`Examples`].
    pub rows: Array2<f64>,
    /// When they happened, in seconds since 1970, if a time column was named.
    pub times: Option<Vec<i64>>,
    /// How many rows were left out since the signature rejects them.
    pub rejected: usize,
}

impl Examples {
    /// Reads the features and the target of a signature; other columns are ignored.
    ///
    /// # Errors
    ///
    /// A feature or target that has no column, and data of which the model can use no row.
    pub fn read(
        paths: &[PathBuf],
        signature: &Signature,
        options: impl Into<ReadOptions>,
    ) -> Result<Examples, DatasetError> {
        let decoded = read(paths, Plan::of(signature, true), signature, &options.into())?;
        let rows = decode(&decoded.features, decoded.rows.view(), &signature.features)?;
        let truth = match &signature.target {
            Target::Classification { classes, .. } => {
                let index = ClassIndex::of(classes);
                let named: Vec<Option<usize>> = decoded.classes.iter().map(|name| index.find(name)).collect();
                let class = |&class: &f64| named[class as usize];
                Labels::Classes(decoded.targets.iter().map(class).collect())
            }
            Target::Regression { names } => {
                let shape = (rows.nrows(), names.len());
                let numbers = Array2::from_shape_vec(shape, decoded.targets);
                Labels::Numbers(numbers.unwrap_or_else(|_| unreachable!("each row brought all of its targets")))
            }
        };
        let examples = Examples::accepted(signature, rows, &truth, decoded.without_target);
        match examples.len() {
            0 => Err(DatasetError::Unusable {
                path: paths[0].clone(),
                rejected: examples.rejected,
                without_target: examples.without_target,
            }),
            _ => Ok(examples),
        }
    }

    /// Reads the features of a signature, and the time column of this name; other columns are ignored.
    ///
    /// # Errors
    ///
    /// A feature that has no column, and data of which the model can use no row.
    pub fn read_unlabelled(
        paths: &[PathBuf],
        signature: &Signature,
        time: Option<&str>,
        options: impl Into<ReadOptions>,
    ) -> Result<UnlabelledRows, DatasetError> {
        let plan = Plan { time: time.map(String::from), ..Plan::of(signature, false) };
        let decoded = read(paths, plan, signature, &options.into())?;
        let rows = decode(&decoded.features, decoded.rows.view(), &signature.features)?;
        let keep: Vec<usize> = (0..rows.nrows()).filter(|&row| accepts(signature, &rows, row)).collect();
        let rejected = rows.nrows() - keep.len();
        match keep.len() {
            0 => Err(DatasetError::Unusable { path: paths[0].clone(), rejected, without_target: 0 }),
            _ => {
                let times = decoded.times.map(|times| keep.iter().map(|&row| times.unix_seconds_of(row)).collect());
                Ok(UnlabelledRows { rows: rows.select(Axis(0), &keep), times, rejected })
            }
        }
    }

    /// Those rows of a table that a model can be tested on; there may be none.
    pub(in crate::train) fn of(table: &Table, signature: &Signature) -> Result<Examples, DatasetError> {
        let rows = decode(&table.features, table.rows.view(), &signature.features)?;
        let truth = match (&table.target.values, &signature.target) {
            (TargetValues::Classes { names, rows }, Target::Classification { classes, .. }) => {
                let index = ClassIndex::of(classes);
                let named: Vec<Option<usize>> = names.iter().map(|name| index.find(name)).collect();
                Labels::Classes(rows.iter().map(|&class| named[class]).collect())
            }
            (TargetValues::Numbers(numbers), Target::Regression { .. }) => {
                let numbers = Array2::from_shape_vec((numbers.len(), 1), numbers.clone());
                Labels::Numbers(numbers.unwrap_or_else(|_| unreachable!("one column")))
            }
            _ => return Err(DatasetError::OtherKind { column: table.target.name.clone() }),
        };
        Ok(Examples::accepted(signature, rows, &truth, 0))
    }

    /// Leaves out rows that the preprocessing rejects though the signature doesn't, and counts them.
    pub fn taken_by(mut self, signature: &Signature, preprocess: &Preprocess) -> Examples {
        let takes = |row: &[f64]| preprocess.check(signature, row).is_ok();
        let accepted = |&row: &usize| self.rows.row(row).to_slice().is_some_and(takes);
        let keep: Vec<usize> = (0..self.len()).filter(accepted).collect();
        if keep.len() == self.len() {
            return self;
        }
        self.rejected += self.len() - keep.len();
        self.truth = match &self.truth {
            Truth::Classes(classes) => Truth::Classes(keep.iter().map(|&row| classes[row]).collect()),
            Truth::Numbers(numbers) => Truth::Numbers(numbers.select(Axis(0), &keep)),
        };
        self.places = keep.iter().map(|&row| self.places[row]).collect();
        self.rows = self.rows.select(Axis(0), &keep);
        self
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.nrows()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn accepted(signature: &Signature, rows: Array2<f64>, labels: &Labels, without_target: usize) -> Examples {
        let (mut keep, mut rejected, mut unknown) = (Vec::new(), 0, 0);
        for row in 0..rows.nrows() {
            if matches!(labels, Labels::Classes(classes) if classes[row].is_none()) {
                unknown += 1;
            } else if accepts(signature, &rows, row) {
                keep.push(row);
            } else {
                rejected += 1;
            }
        }
        let truth = match labels {
            Labels::Classes(classes) => Truth::Classes(keep.iter().filter_map(|&row| classes[row]).collect()),
            Labels::Numbers(numbers) => Truth::Numbers(numbers.select(Axis(0), &keep)),
        };
        let without_target = without_target + unknown;
        Examples { rows: rows.select(Axis(0), &keep), truth, places: keep, rejected, without_target }
    }
}

/// Targets in the terms of the signature.
enum Labels {
    /// `None` for a class that it doesn't have.
    Classes(Vec<Option<usize>>),
    Numbers(Array2<f64>),
}

fn read(
    paths: &[PathBuf],
    plan: Plan,
    signature: &Signature,
    options: &ReadOptions,
) -> Result<DecodedTable, DatasetError> {
    let sources = Source::open_all(paths, options)?;
    sources.iter().try_for_each(|source| check_features(source, signature))?;
    plan.decode(&sources)
}

/// The error names all features that a file lacks.
pub(super) fn check_features(source: &Source, signature: &Signature) -> Result<(), DatasetError> {
    let names = signature.features.iter().map(|feature| &feature.name);
    let lacking: Vec<String> = names.filter(|name| source.position(name).is_none()).cloned().collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(DatasetError::NoFeatures { path: source.path.clone(), names: lacking })
}

/// Rows as a codec would decode them for these features: columns by name, categories by the features' own lists.
pub(in crate::train) fn decode(
    columns: &[Column],
    rows: ArrayView2<'_, f64>,
    features: &[Feature],
) -> Result<Array2<f64>, DatasetError> {
    let mut decoded = Array2::zeros((rows.nrows(), features.len()));
    for (feature, mut to) in features.iter().zip(decoded.columns_mut()) {
        let other_kind = || DatasetError::OtherKind { column: feature.name.clone() };
        let at = texts::position(columns.iter().map(|column| column.name.as_str()), &feature.name);
        let at = at.ok_or_else(other_kind)?;
        match (&feature.kind, &columns[at].categories) {
            (Kind::Numeric | Kind::Time, None) => to.assign(&rows.column(at)),
            (Kind::Categorical { categories, .. }, Some(names)) => {
                let index = Categories::new(categories);
                let translated: Vec<f64> = names.iter().map(|name| index.cell(name)).collect();
                let translate = |&value: &f64| if value.is_nan() { value } else { translated[value as usize] };
                to.assign(&rows.column(at).map(translate));
            }
            _ => return Err(other_kind()),
        }
    }
    Ok(decoded)
}

fn accepts(signature: &Signature, rows: &Array2<f64>, row: usize) -> bool {
    rows.row(row).to_slice().is_some_and(|row| signature.check_record(row, MIN_FEATURES).is_ok())
}

#[cfg(test)]
mod tests;
