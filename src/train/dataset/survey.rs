//! The first reading of training data: what its columns are, which the rows that train decide alone.
//!
//! It ends with an [`Outline`], by which the caller divides the rows. Only then are numbers distinguished from categories, so
//! that nothing in a row that tests changes it.

use super::decode::{Clock, Interner};
use super::plan::{self, Plan, PlannedColumn};
use super::sight::{Sight, TargetSight};
use super::source::{Heading, Role, Source};
use super::{Columns, DatasetError, MAX_CATEGORIES, MAX_RARE_CATEGORIES, Task, Times, memory};
use crate::printable::listed;
use crate::record::Gap;
use crate::train::time::Scale;

/// What is known of rows before it is known which of them train.
#[derive(Debug)]
pub struct Outline {
    /// How many rows have a target.
    pub rows: usize,
    /// When each of them happened, if a time column was named.
    pub times: Option<Times>,
    /// The name of the target.
    pub target: String,
    /// The class of each row, unless the target is one of a regression.
    pub classes: Option<Vec<usize>>,
}

impl Outline {
    /// Divides the rows for [`Table::read_divided`](super::Table::read_divided) so that all of them train.
    ///
    /// # Errors
    ///
    /// None: it has the form of divisions that can fail.
    pub fn all_train(&self) -> Result<(Vec<usize>, Vec<usize>), DatasetError> {
        Ok(((0..self.rows).collect(), Vec::new()))
    }

    /// A point in time as the user writes it, on the scale of the time column.
    pub fn time(&self, text: &str) -> Result<f64, DatasetError> {
        time(self.times.as_ref(), text)
    }
}

pub(super) fn time(times: Option<&Times>, text: &str) -> Result<f64, DatasetError> {
    let scale = times.map_or(Scale::Iso8601, |times| times.scale);
    scale.parse(text).ok_or_else(|| DatasetError::Time { text: text.into(), expected: scale.as_str() })
}

/// What the first reading saw.
pub(super) struct Survey {
    columns: Columns,
    names: Vec<String>,
    sights: Vec<Sight>,
    target: TargetSight,
    clock: Clock,
    classes: Option<Interner>,
    class_of: Vec<usize>,
    /// How many rows have no target.
    pub(super) without_target: usize,
    notes: Vec<String>,
}

impl Survey {
    /// Reads the files.
    pub(super) fn of(sources: &[Source], columns: &Columns) -> Result<Survey, DatasetError> {
        let first = &sources[0];
        plan::same_columns(sources)?;
        plan::check_names(first, columns)?;
        let columns = plan::resolved(first, columns);
        let (names, notes) = features(sources, &columns);
        if names.is_empty() {
            return Err(first.bad_header("no column is left that could be a feature"));
        }
        let available = memory::available();
        memory::check(plan::rows_claimed(sources)?, names.len() as u64, available)?;

        let mut survey = Survey {
            sights: names.iter().map(|_| Sight::default()).collect(),
            names,
            columns,
            target: TargetSight::default(),
            clock: Clock::default(),
            classes: Some(Interner::default()),
            class_of: Vec::new(),
            without_target: 0,
            notes,
        };
        for (number, source) in sources.iter().enumerate() {
            survey.read(number, source)?;
        }
        memory::check(survey.target.rows() as u64, survey.names.len() as u64, available)?;
        Ok(survey)
    }

    fn read(&mut self, number: usize, source: &Source) -> Result<(), DatasetError> {
        let time = self.columns.time.clone();
        let times: Vec<&str> = self.columns.options.datetime.iter().map(String::as_str).collect();
        let wanted = source.wanted(self.names.iter().chain([&self.columns.target]), time.as_deref(), &times)?;
        source.visit(&wanted, &mut |spot, cells| {
            let (features, others) = cells.split_at(self.names.len());
            let target = others[0];
            // Such a row isn't in the table.
            if target.number() == Err(Gap::Missing) {
                self.without_target += 1;
                return Ok(());
            }
            let row = self.target.rows();
            self.target.see(target, (number, spot));
            for (&cell, sight) in features.iter().zip(&mut self.sights) {
                sight.see(row, cell, (number, spot));
            }
            if let (Some(name), [_, cell]) = (&time, others) {
                self.clock.see(source, spot, name, *cell)?;
            }
            let class = self.classes.as_mut().and_then(|classes| {
                let text = target.class_number().map_or_else(|| target.text(), Into::into);
                classes.index(&text, MAX_CATEGORIES, false)
            });
            match class {
                Some(class) => self.class_of.push(class),
                None => self.classes = None,
            }
            Ok(())
        })
    }

    /// What the rows can be divided by; once.
    pub(super) fn outline(&mut self) -> Outline {
        let rows = self.target.rows();
        let task = self.columns.task.unwrap_or_else(|| self.target.task(&vec![true; rows]));
        let class_of = std::mem::take(&mut self.class_of);
        let classes = self.classes.take().filter(|_| task == Task::Classification).map(|classes| {
            let (_, ranks) = classes.sorted();
            class_of.iter().map(|&class| ranks[class]).collect()
        });
        let times = std::mem::take(&mut self.clock).times();
        Outline { rows, times, target: self.columns.target.clone(), classes }
    }

    /// What the columns are to rows of which these train, and what a person should know of them.
    pub(super) fn plan(self, sources: &[Source], trains: &[bool]) -> Result<(Plan, Vec<String>), DatasetError> {
        let Survey { columns, names, sights, target, mut notes, .. } = self;
        let task = columns.task.unwrap_or_else(|| target.task(trains));
        let mut faults = Vec::new();
        if task == Task::Regression {
            faults.extend(target.sight.must_be_numbers(sources, &columns.target, trains).err());
        }
        notes.extend(target_note(&target, sources, &columns, task));
        let mut features = Vec::with_capacity(names.len());
        for (name, sight) in names.into_iter().zip(sights) {
            let is_listed = |names: &[String]| names.contains(&name);
            if is_listed(&columns.options.datetime) {
                features.push(PlannedColumn { name, categorical: false, time: true, boolean: false });
                continue;
            }
            let asked = is_listed(&columns.categorical);
            let categorical = asked || (sight.is_categorical(trains) && !is_listed(&columns.numeric));
            if !categorical {
                faults.extend(sight.must_be_numbers(sources, &name, trains).err());
            }
            if !asked {
                notes.extend(sight.note(sources, &name, categorical));
            }
            features.push(PlannedColumn { name, categorical, time: false, boolean: sight.is_boolean() });
        }
        DatasetError::all(faults)?;
        let planned = PlannedColumn {
            name: columns.target,
            categorical: task == Task::Classification,
            time: false,
            boolean: target.sight.is_boolean(),
        };
        let plan = Plan {
            features,
            targets: vec![planned],
            time: columns.time,
            classes_are_numbers: !target.sight.is_categorical(trains),
            most_categories: if columns.rare_categories { MAX_RARE_CATEGORIES } else { MAX_CATEGORIES },
            lenient: false,
            lenient_rows: trains.iter().map(|trains| !trains).collect(),
        };
        Ok((plan, notes))
    }
}

/// Numbers in a target of classes, or the other way around.
fn target_note(target: &TargetSight, sources: &[Source], columns: &Columns, task: Task) -> Option<String> {
    let note = target.sight.note(sources, &columns.target, task == Task::Classification)?;
    Some(format!("the target, {note}"))
}

/// The columns that are features, and notes about those that might be taken for some.
fn features(sources: &[Source], columns: &Columns) -> (Vec<String>, Vec<String>) {
    let first = &sources[0];
    let mut notes = descriptions(sources);
    let is_left_out = |name: &String| {
        *name == columns.target
            || columns.time.as_ref() == Some(name) && !columns.options.datetime.contains(name)
            || columns.id.as_ref() == Some(name)
            || columns.drop.contains(name)
    };
    let named = || columns.categorical.iter().chain(&columns.numeric).chain(&columns.options.datetime);
    let is_named = |name: &String| named().any(|other| other == name);
    let is_constant = |name: &String| sources.iter().all(|source| source.partition(name) == first.partition(name));
    let (mut names, mut index, mut constant) = (Vec::new(), Vec::new(), Vec::new());
    for Heading { name, role, .. } in first.header.iter().filter(|heading| !is_left_out(&heading.name)) {
        match role {
            Role::Index if !is_named(name) => index.push(name.as_str()),
            Role::Partition if !is_named(name) && is_constant(name) => constant.push(name.as_str()),
            _ => names.push(name.clone()),
        }
    }
    if !index.is_empty() {
        let index = listed(index);
        notes.push(format!(
            "{index}: the index of the pandas data frame, so no feature (name it in --numeric or --categorical if it is one)"
        ));
    }
    if !constant.is_empty() {
        notes.push(format!(
            "{}: the folder's name says it, and all files have the same, so no feature",
            listed(constant)
        ));
    }
    (names, notes)
}

/// What is unusual about how files are written, once for all that are written so.
pub(super) fn descriptions(sources: &[Source]) -> Vec<String> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for source in sources {
        let Some(description) = source.describe() else { continue };
        let path = source.path.display().to_string();
        match found.iter_mut().find(|(other, _)| *other == description) {
            Some((_, paths)) => paths.push(path),
            None => found.push((description, vec![path])),
        }
    }
    let files = |paths: &[String]| match paths {
        [first, .., _] => format!("{first} and {} more files", paths.len() - 1),
        [first, ..] => first.clone(),
        [] => String::new(),
    };
    found.iter().map(|(description, paths)| format!("{}: {description}", files(paths))).collect()
}
