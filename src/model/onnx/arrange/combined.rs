//! Columns that are made of several others: which columns of the features they need, and where each of them is.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use super::numbers;
use crate::limits::Limits;
use crate::model::onnx::value::{Cell, Group};
use crate::model::preprocess::{Combination, Transform};

/// Columns that may be made of several others, times what the limits are raised by: all are computed for each record.
const MOST_COMBINED: usize = 10_000;

/// A cell as a sum of columns, each times a factor, and of a number.
#[derive(Clone, Debug, Default)]
pub(super) struct Linear {
    pub(super) columns: Vec<(usize, f64)>,
    pub(super) shift: f64,
}

impl Linear {
    fn of_column(column: usize) -> Linear {
        Linear { columns: vec![(column, 1.0)], shift: 0.0 }
    }
}

/// The cells of single features that these are or are made of, in their order.
pub(super) fn of_features(cells: &[Cell]) -> Vec<&Cell> {
    let mut pending: Vec<&Cell> = cells.iter().rev().collect();
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    while let Some(cell) = pending.pop() {
        match cell {
            Cell::Product { factors, .. } => pending.extend(factors.iter().rev()),
            Cell::Normalized { group, .. } if seen.insert(Rc::as_ptr(group)) => {
                pending.extend(group.cells.iter().rev());
            }
            Cell::Normalized { .. } => {}
            of_one => found.push(of_one),
        }
    }
    found
}

/// A feature's transform, its first column, and how many it has.
pub(super) type Placed = (Transform, usize, usize);

/// Columns as they are put together, behind those of the features.
pub(super) struct Combiner<'a> {
    /// By the feature's place in the graph.
    features: &'a HashMap<usize, Placed>,
    /// How many columns those of the features are.
    of_features: usize,
    /// How many columns there are.
    width: usize,
    columns: Vec<Combination>,
    /// Where each combination begins, by what it is made of.
    known: HashMap<Vec<usize>, Vec<(usize, usize)>>,
    /// Where each group begins: a group of groups would be walked through once for each of its columns.
    groups: HashMap<*const Group, usize>,
    limits: Limits,
}

impl<'a> Combiner<'a> {
    /// None yet.
    pub(super) fn new(features: &'a HashMap<usize, Placed>, of_features: usize, limits: Limits) -> Combiner<'a> {
        let (known, groups) = (HashMap::new(), HashMap::new());
        Combiner { features, of_features, width: of_features, columns: Vec::new(), known, groups, limits }
    }

    /// The columns that a cell is the sum of.
    pub(super) fn linear(&mut self, cell: &Cell) -> Result<Linear, String> {
        match cell {
            // It is the same number in all rows.
            Cell::Product { factors, steps } if factors.is_empty() => {
                let shift = steps.iter().fold(1.0, |value, step| step.apply(value));
                Ok(Linear { columns: Vec::new(), shift })
            }
            Cell::Product { factors, steps } => {
                let mut of = self.places(factors)?;
                of.sort_unstable();
                self.push(Combination::Product { of, steps: numbers::shortened(steps) }).map(Linear::of_column)
            }
            Cell::Normalized { group, at, steps } => {
                let column = self.group(group)? + at;
                match numbers::shortened(steps) {
                    steps if steps.is_empty() => Ok(Linear::of_column(column)),
                    steps => self.push(Combination::Product { of: vec![column], steps }).map(Linear::of_column),
                }
            }
            of_one => self.of_one_feature(of_one),
        }
    }

    /// The first column of cells that are divided by their length.
    fn group(&mut self, group: &Rc<Group>) -> Result<usize, String> {
        if let Some(&first) = self.groups.get(&Rc::as_ptr(group)) {
            return Ok(first);
        }
        let of = self.places(&group.cells)?;
        let first = self.push(Combination::Normalized { norm: group.norm, of })?;
        self.groups.insert(Rc::as_ptr(group), first);
        Ok(first)
    }

    /// One column for each cell.
    fn places(&mut self, cells: &[Cell]) -> Result<Vec<usize>, String> {
        let mut places = Vec::with_capacity(cells.len());
        for cell in cells {
            let Linear { columns, shift } = self.linear(cell)?;
            places.push(match (&*columns, shift) {
                (&[(column, 1.0)], 0.0) => column,
                _ => self.push(Combination::Sum { of: columns, shift })?,
            });
        }
        Ok(places)
    }

    fn of_one_feature(&self, cell: &Cell) -> Result<Linear, String> {
        let placed = cell.feature().and_then(|feature| self.features.get(&feature));
        let &(ref transform, start, width) = placed.ok_or("a column is of no feature")?;
        let Cell::Category { special, rest, unknown, .. } = cell else {
            let columns = numbers::columns(cell, transform).into_iter();
            return Ok(Linear { columns: columns.map(|(column, by)| (start + column, by)).collect(), shift: 0.0 });
        };
        // What the column is for a category that isn't known, or for a missing one, is in all rows.
        let every = if rest == unknown { 0..0 } else { 0..width };
        let every = every.map(|index| (start + index, rest - unknown));
        let special = special.iter().map(|&(index, number)| (start + index, number - rest));
        Ok(Linear { columns: every.chain(special).collect(), shift: *unknown })
    }

    /// The first column of a combination, which may be there already.
    fn push(&mut self, combination: Combination) -> Result<usize, String> {
        let same = self.known.entry(combination.sources()).or_default();
        if let Some(&(_, first)) = same.iter().find(|&&(index, _)| self.columns[index] == combination) {
            return Ok(first);
        }
        let first = self.width;
        same.push((self.columns.len(), first));
        self.width += combination.width();
        self.columns.push(combination);
        let most = self.limits.raise(MOST_COMBINED);
        if self.width - self.of_features > most {
            return Err(format!(
                "more than {most} columns are made of several others, which PolynomialFeatures or Normalizer of \
                 scikit-learn do: lower the degree, take fewer columns, or raise the limit (--limit-factor)"
            ));
        }
        Ok(first)
    }

    /// The transform that makes them, if there are any, and how many columns there are; `used` are those that the network
    /// takes.
    pub(super) fn finish(self, used: &[Linear]) -> (Option<Transform>, usize) {
        let used = used.iter().flat_map(|linear| &linear.columns).map(|&(column, _)| column);
        let used: HashSet<usize> = used.collect();
        let sources = self.columns.iter().flat_map(Combination::sources);
        let hidden: BTreeSet<usize> = sources.chain(self.of_features..self.width).collect();
        let hidden = hidden.into_iter().filter(|column| !used.contains(column)).collect();
        let is_any = !self.columns.is_empty();
        (is_any.then_some(Transform::Combined { columns: self.columns, hidden }), self.width)
    }
}
