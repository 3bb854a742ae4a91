//! The second reading: the values of the planned columns, into one matrix.

use std::borrow::Cow;
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
            clock: Clock::default(),
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
    fn number(
        &self,
        source: &Source,
        spot: Spot,
        name: &str,
        cell: Cell<'_>,
        lenient: bool,
    ) -> Result<f64, DatasetError> {
        match cell.number() {
            Ok(number) => Ok(number),
            Err(gap) if lenient || gap == Gap::Missing => Ok(gap.value()),
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
    clock: Clock,
    without_target: usize,
}

/// The time column, value by value.
#[derive(Debug, Default)]
pub(super) struct Clock {
    scale: Option<Scale>,
    times: Vec<f64>,
}

impl Clock {
    pub(super) fn see(&mut self, source: &Source, spot: Spot, name: &str, cell: Cell<'_>) -> Result<(), DatasetError> {
        let time = self.time(cell).map_err(|problem| source.bad_cell(spot, name, problem))?;
        self.times.push(time);
        Ok(())
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

    /// All of them, if there were any.
    pub(super) fn times(self) -> Option<Times> {
        self.scale.map(|scale| Times { scale, rows: self.times })
    }
}

impl PlannedColumn {
    fn text<'a>(&self, cell: &'a Cell<'_>) -> Cow<'a, str> {
        match cell.boolean().filter(|_| self.boolean) {
            Some(boolean) => Cow::Borrowed(if boolean { "true" } else { "false" }),
            None => cell.text(),
        }
    }
}

impl Reading {
    fn row(&mut self, plan: &Plan, source: &Source, spot: Spot, cells: &[Cell<'_>]) -> Result<(), DatasetError> {
        let (features, cells) = cells.split_at(plan.features.len());
        let (targets, time) = cells.split_at(plan.targets.len());

        let start = self.targets.len();
        let lenient = plan.lenient || plan.lenient_rows.get(start).is_some_and(|lenient| *lenient);
        for (planned, &cell) in plan.targets.iter().zip(targets) {
            let target = self.target(plan, source, spot, planned, cell)?;
            if target.is_nan() && (plan.lenient || cell.number() == Err(Gap::Missing)) {
                self.targets.truncate(start);
                self.without_target += 1;
                return Ok(());
            }
            self.targets.push(target);
        }
        for ((planned, &cell), labels) in plan.features.iter().zip(features).zip(&mut self.labels) {
            self.rows.push(match (planned.categorical, cell) {
                (_, Cell::Missing) => Gap::Missing.value(),
                (_, cell) if planned.time => match cell.time() {
                    Ok(time) => time,
                    Err(gap) if lenient || gap == Gap::Missing => gap.value(),
                    Err(_) => {
                        let problem = format!("{:?} isn't {}", cell.text(), Scale::Iso8601.as_str());
                        return Err(source.bad_cell(spot, &planned.name, problem));
                    }
                },
                (false, cell) => plan.number(source, spot, &planned.name, cell, lenient)?,
                (true, cell) => {
                    let text = planned.text(&cell);
                    match labels.index(&text, plan.most_categories, lenient) {
                        Some(index) => index as f64,
                        None if lenient => Gap::Unknown.value(),
                        None => return Err(too_many(plan, source, spot, &planned.name, &text)),
                    }
                }
            });
        }
        if let (Some(name), &[cell]) = (&plan.time, time) {
            self.clock.see(source, spot, name, cell)?;
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
        let lenient = plan.lenient || plan.lenient_rows.get(self.targets.len()).is_some_and(|lenient| *lenient);
        if !planned.categorical || cell.number() == Err(Gap::Missing) {
            return plan.number(source, spot, &planned.name, cell, lenient);
        }
        let number = Some(()).filter(|()| plan.classes_are_numbers).and_then(|()| cell.class_number());
        let text = number.map_or_else(|| planned.text(&cell), Into::into);
        let most = if lenient { usize::MAX } else { MAX_CATEGORIES };
        match self.classes.index(&text, most, lenient) {
            Some(class) => Ok(class as f64),
            None => {
                let (path, column) = (source.path.clone(), planned.name.clone());
                let (place, example) = (source.place(spot), text.into_owned());
                Err(DatasetError::TooManyClasses { path, column, place, example })
            }
        }
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
        let times = self.clock.times();
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
pub(super) struct Interner {
    indices: HashMap<String, usize>,
    /// Which of them rows have that train.
    trained: Vec<bool>,
    /// How many of them.
    count: usize,
}

impl Interner {
    /// Its index; `None` if rows that train would have more than `most`. What other rows have on top doesn't count, but there
    /// may only be as many of that again.
    pub(super) fn index(&mut self, text: &str, most: usize, lenient: bool) -> Option<usize> {
        let index = match self.indices.get(text) {
            Some(&index) => index,
            None if lenient && self.indices.len() >= most.saturating_mul(2) => return None,
            None => {
                let index = self.indices.len();
                self.indices.insert(text.into(), index);
                self.trained.push(false);
                index
            }
        };
        if !lenient && !self.trained[index] {
            self.trained[index] = true;
            self.count += 1;
        }
        (self.count <= most).then_some(index)
    }

    /// The texts in order, by number if all are numbers, and for each index its place in that order.
    pub(super) fn sorted(self) -> (Vec<String>, Vec<usize>) {
        let mut texts: Vec<(String, usize)> = self.indices.into_iter().collect();
        let value = |text: &str| crate::texts::number(text).filter(|number| number.is_finite());
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
