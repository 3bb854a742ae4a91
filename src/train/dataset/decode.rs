//! The second reading: the values of the planned columns, into one matrix.

use std::collections::HashMap;

use ndarray::Array2;

use super::plan::{self, Plan, PlannedColumn};
use super::source::{Cell, Source, Spot};
use super::{Column, DatasetError, MAX_CATEGORIES, Times, memory};
use crate::record::Gap;
use crate::train::time::Scale;

/// What was read, before it is known what it is for.
pub(super) struct DecodedTable {
    /// One per planned feature, with its categories in order.
    pub(super) features: Vec<Column>,
    /// Rows × features.
    pub(super) rows: Array2<f64>,
    /// Rows × targets, row by row: numbers, or indices of `classes`.
    pub(super) targets: Vec<f64>,
    /// The distinct values of a categorical target, in order.
    pub(super) classes: Vec<String>,
    pub(super) times: Option<Times>,
    /// Rows that were left out since a target of theirs is missing.
    pub(super) without_target: usize,
}

impl Plan {
    /// Reads the files.
    pub(super) fn decode(self, sources: &[Source]) -> Result<DecodedTable, DatasetError> {
        let mut reading = Reading {
            rows: Vec::new(),
            labels: self.features.iter().map(|_| Interner::default()).collect(),
            targets: Vec::new(),
            classes: Interner::default(),
            scale: None,
            times: Vec::new(),
            without_target: 0,
        };
        let (width, available) = (self.features.len() as u64, memory::available());
        memory::check(plan::rows_claimed(sources)?, width, available)?;
        for source in sources {
            let wanted = self.wanted(source)?;
            source.visit(&wanted, &mut |spot, cells| {
                reading.row(&self, source, spot, cells)?;
                memory::check(reading.rows.len() as u64 / width, width, available)
            })?;
        }
        Ok(reading.finish(self.features))
    }

    /// The number of a cell where numbers are expected.
    fn number(&self, source: &Source, spot: Spot, name: &str, cell: Cell<'_>) -> Result<f64, DatasetError> {
        match cell.number() {
            Ok(number) => Ok(number),
            Err(gap) if self.lenient || gap == Gap::Missing => Ok(gap.value()),
            Err(Gap::NotFinite) => Err(source.bad_cell(spot, name, format!("{:?} isn't finite", cell.text()))),
            Err(_) => Err(source.bad_cell(spot, name, format!("{:?} isn't a number", cell.text()))),
        }
    }
}

struct Reading {
    rows: Vec<f64>,
    /// Of each feature, if it is categorical.
    labels: Vec<Interner>,
    targets: Vec<f64>,
    classes: Interner,
    scale: Option<Scale>,
    times: Vec<f64>,
    without_target: usize,
}

impl Reading {
    fn row(&mut self, plan: &Plan, source: &Source, spot: Spot, cells: &[Cell<'_>]) -> Result<(), DatasetError> {
        let (features, cells) = cells.split_at(plan.features.len());
        let (targets, time) = cells.split_at(plan.targets.len());

        let start = self.targets.len();
        for (planned, &cell) in plan.targets.iter().zip(targets) {
            let target = self.target(plan, source, spot, planned, cell)?;
            if target.is_nan() {
                self.targets.truncate(start);
                self.without_target += 1;
                return Ok(());
            }
            self.targets.push(target);
        }
        for ((planned, &cell), labels) in plan.features.iter().zip(features).zip(&mut self.labels) {
            self.rows.push(match (planned.categorical, cell) {
                (_, Cell::Missing) => Gap::Missing.value(),
                (false, cell) => plan.number(source, spot, &planned.name, cell)?,
                (true, cell) => {
                    let text = cell.text();
                    let index = labels.index(&text);
                    if index >= plan.most_categories {
                        return Err(too_many(plan, source, spot, &planned.name, &text));
                    }
                    index as f64
                }
            });
        }
        if let (Some(name), &[cell]) = (&plan.time, time) {
            let time = self.time(cell).map_err(|problem| source.bad_cell(spot, name, problem))?;
            self.times.push(time);
        }
        Ok(())
    }

    /// A value of a target; NaN if it is missing.
    fn target(
        &mut self,
        plan: &Plan,
        source: &Source,
        spot: Spot,
        planned: &PlannedColumn,
        cell: Cell<'_>,
    ) -> Result<f64, DatasetError> {
        if cell == Cell::Missing || !planned.categorical {
            return plan.number(source, spot, &planned.name, cell);
        }
        // Adding 0 makes one class of 0 and -0.
        let number = cell.number().ok().filter(|_| plan.classes_are_numbers).map(|number| (number + 0.0).to_string());
        let text = number.map_or_else(|| cell.text(), Into::into);
        let class = self.classes.index(&text);
        if class >= MAX_CATEGORIES && !plan.lenient {
            let (path, column) = (source.path.clone(), planned.name.clone());
            let (place, example) = (source.place(spot), text.into_owned());
            return Err(DatasetError::TooManyClasses { path, column, place, example });
        }
        Ok(class as f64)
    }

    fn time(&mut self, cell: Cell<'_>) -> Result<f64, String> {
        let text = cell.text();
        let scale = *self.scale.get_or_insert_with(|| match cell {
            Cell::Moment(_) => Scale::Iso8601,
            _ => Scale::of(&text).unwrap_or(Scale::Iso8601),
        });
        let time = match (cell, scale) {
            (Cell::Missing, _) => return Err("there is no time: fill it in, or leave the row out".into()),
            (Cell::Moment(seconds), Scale::Iso8601) => Some(seconds),
            _ => scale.parse(&text),
        };
        time.ok_or_else(|| format!("{text:?} isn't {}", scale.as_str()))
    }

    fn finish(self, planned: Vec<PlannedColumn>) -> DecodedTable {
        let width = planned.len();
        let rows = Array2::from_shape_vec((self.rows.len() / width, width), self.rows);
        let mut rows = rows.unwrap_or_else(|_| unreachable!("each row brought {width} values"));
        let mut features = Vec::with_capacity(width);
        for ((planned, labels), mut values) in planned.into_iter().zip(self.labels).zip(rows.columns_mut()) {
            let categories = planned.categorical.then(|| {
                let (names, ranks) = labels.sorted();
                values.iter_mut().filter(|value| !value.is_nan()).for_each(|v| *v = ranks[*v as usize] as f64);
                names
            });
            features.push(Column { name: planned.name, categories });
        }
        let (mut targets, mut classes) = (self.targets, Vec::new());
        if !self.classes.indices.is_empty() {
            let (names, ranks) = self.classes.sorted();
            targets.iter_mut().for_each(|class| *class = ranks[*class as usize] as f64);
            classes = names;
        }
        let times = self.scale.map(|scale| Times { scale, rows: self.times });
        DecodedTable { features, rows, targets, classes, times, without_target: self.without_target }
    }
}

fn too_many(plan: &Plan, source: &Source, spot: Spot, name: &str, text: &str) -> DatasetError {
    let (path, column) = (source.path.clone(), name.to_owned());
    if plan.most_categories == MAX_CATEGORIES {
        DatasetError::TooManyCategories { path, column, place: source.place(spot), example: text.into() }
    } else {
        DatasetError::Id { path, column }
    }
}

/// Distinct texts in the order of their first appearance.
#[derive(Default)]
struct Interner {
    indices: HashMap<String, usize>,
}

impl Interner {
    fn index(&mut self, text: &str) -> usize {
        if let Some(&index) = self.indices.get(text) {
            return index;
        }
        let index = self.indices.len();
        self.indices.insert(text.into(), index);
        index
    }

    /// The texts in order, by number if all are numbers, and for each index its place in that order.
    fn sorted(self) -> (Vec<String>, Vec<usize>) {
        let mut texts: Vec<(String, usize)> = self.indices.into_iter().collect();
        let value = |text: &str| Cell::Untyped(text).number().ok();
        if texts.iter().all(|(text, _)| value(text).is_some()) {
            let value = |text: &str| value(text).unwrap_or_default();
            texts.sort_unstable_by(|(a, _), (b, _)| value(a).total_cmp(&value(b)).then_with(|| a.cmp(b)));
        } else {
            texts.sort_unstable();
        }
        let mut ranks = vec![0; texts.len()];
        for (rank, &(_, index)) in texts.iter().enumerate() {
            ranks[index] = rank;
        }
        (texts.into_iter().map(|(text, _)| text).collect(), ranks)
    }
}
