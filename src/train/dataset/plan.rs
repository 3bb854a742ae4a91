//! Which columns are read as what. The first reading of the files distinguishes numbers from categories, so that in the second
//! a column is never half numbers, half text.

use super::source::{Heading, Holds, Role, Source};
use super::{Column, Columns, DatasetError, MAX_CATEGORIES, MAX_RARE_CATEGORIES, ReadOptions, Table, TargetValues};
use crate::model::signature::{Kind, Signature, Target};
use crate::printable::harmless;
use crate::texts;

/// How many columns a message lists.
const KNOWN: usize = 50;

/// The columns to read.
pub(super) struct Plan {
    pub(super) features: Vec<PlannedColumn>,
    pub(super) targets: Vec<PlannedColumn>,
    pub(super) time: Option<String>,
    /// Whether all classes of a categorical target are numbers: then "1", "1.0" and "01" are one.
    pub(super) classes_are_numbers: bool,
    /// How many different texts a feature may have.
    pub(super) most_categories: usize,
    /// Whether a value that its column can't have is a gap of the row, as for a codec, and not an error.
    pub(super) lenient: bool,
    /// Of the rows with a target, those that are read in the same way since they don't train.
    pub(super) lenient_rows: Vec<bool>,
}

/// A column to read.
pub(super) struct PlannedColumn {
    pub(super) name: String,
    pub(super) categorical: bool,
    /// Whether it holds dates or times.
    pub(super) time: bool,
    /// Whether all values are booleans, which are called true and false then, however they are spelt.
    pub(super) boolean: bool,
}

impl PlannedColumn {
    fn new(name: &str, categorical: bool) -> PlannedColumn {
        PlannedColumn { name: name.into(), categorical, time: false, boolean: false }
    }
}

impl Plan {
    /// The columns of a table.
    pub(super) fn like(table: &Table, time: Option<&str>, datetime: &[String]) -> Plan {
        let plan = |column: &Column| PlannedColumn {
            time: texts::position(datetime.iter().map(String::as_str), &column.name).is_some(),
            ..PlannedColumn::new(&column.name, column.categories.is_some())
        };
        let classes = match &table.target.values {
            TargetValues::Classes { names, .. } => Some(&**names),
            TargetValues::Numbers(_) => None,
        };
        Plan {
            features: table.features.iter().map(plan).collect(),
            targets: vec![PlannedColumn::new(&table.target.name, classes.is_some())],
            time: time.map(String::from),
            classes_are_numbers: classes.is_some_and(all_numbers),
            most_categories: MAX_RARE_CATEGORIES,
            lenient: true,
            lenient_rows: Vec::new(),
        }
    }

    /// The columns that a model takes, and those of its target if they are wanted.
    pub(super) fn of(signature: &Signature, labelled: bool) -> Plan {
        let features = signature.features.iter().map(|feature| PlannedColumn {
            time: feature.kind == Kind::Time,
            ..PlannedColumn::new(&feature.name, matches!(feature.kind, Kind::Categorical { .. }))
        });
        let (targets, categorical, classes): (&[String], _, &[String]) = match &signature.target {
            Target::Classification { name, classes } => (std::slice::from_ref(name), true, classes),
            Target::Regression { names } => (names, false, &[]),
        };
        let targets = targets.iter().filter(|_| labelled).map(|name| PlannedColumn::new(name, categorical));
        Plan {
            features: features.collect(),
            targets: targets.collect(),
            time: None,
            classes_are_numbers: all_numbers(classes),
            most_categories: usize::MAX,
            lenient: true,
            lenient_rows: Vec::new(),
        }
    }

    /// A column of categories, and no other.
    pub(super) fn of_categories(name: &str) -> Plan {
        Plan {
            features: vec![PlannedColumn::new(name, true)],
            targets: Vec::new(),
            time: None,
            classes_are_numbers: false,
            most_categories: MAX_CATEGORIES,
            lenient: true,
            lenient_rows: Vec::new(),
        }
    }

    /// The indices of the plan's columns in a file: features, targets, time.
    pub(super) fn wanted(&self, source: &Source) -> Result<Vec<usize>, DatasetError> {
        let names = self.features.iter().chain(&self.targets).map(|planned| &planned.name);
        let times: Vec<&str> = self.features.iter().filter(|it| it.time).map(|it| it.name.as_str()).collect();
        source.wanted(names, self.time.as_deref(), &times)
    }
}

impl Source {
    pub(super) fn wanted<'a>(
        &self,
        names: impl Iterator<Item = &'a String>,
        time: Option<&str>,
        times: &[&str],
    ) -> Result<Vec<usize>, DatasetError> {
        let (mut wanted, mut faults) = (Vec::new(), Vec::new());
        for name in names {
            let at = match self.find(name) {
                Ok(at) => at,
                Err(fault) => {
                    faults.push(fault);
                    continue;
                }
            };
            match &self.header[at].holds {
                Holds::Values => wanted.push(at),
                Holds::Moments if times.contains(&name.as_str()) => wanted.push(at),
                Holds::Moments => {
                    let problem = format!(
                        "column {name:?} holds points in time, which can't be a feature or a target: name it as --time, \
                         make features of it (--datetime {name}=hour,weekday,month), or leave it out (--drop {name})"
                    );
                    faults.push(self.bad_header(problem));
                }
                Holds::Other(what) => {
                    let problem = format!(
                        "column {name:?} holds {what}, neither numbers nor texts: leave it out (--drop {name})"
                    );
                    faults.push(self.bad_header(problem));
                }
            }
        }
        if let Some(time) = time {
            match self.find(time) {
                Ok(at) => wanted.push(at),
                Err(fault) => faults.push(fault),
            }
        }
        DatasetError::all(faults).map(|()| wanted)
    }

    fn find(&self, name: &str) -> Result<usize, DatasetError> {
        self.position(name)
            .ok_or_else(|| self.bad_header(format!("there is no column {name:?}, which the training data has")))
    }
}

/// How many rows those files have together that say so.
pub(super) fn rows_claimed(sources: &[Source]) -> Result<u64, DatasetError> {
    sources.iter().try_fold(0_u64, |rows, source| Ok(rows.saturating_add(source.rows_claimed()?.unwrap_or(0))))
}

/// Files that are read as one must have the same columns, in whatever order. An index may be in some of them.
pub(super) fn same_columns(sources: &[Source]) -> Result<(), DatasetError> {
    let [first, others @ ..] = sources else { return Ok(()) };
    for other in others {
        for (one, two) in [(other, first), (first, other)] {
            if let Some(heading) =
                two.header.iter().find(|it| it.role != Role::Index && one.position(&it.name).is_none())
            {
                let (name, has) = (&heading.name, two.path.display());
                return Err(one.bad_header(format!("there is no column {name:?}, which {has} has")));
            }
        }
    }
    Ok(())
}

/// What the user says, by the names that the header has.
pub(super) fn resolved(source: &Source, columns: &Columns) -> Columns {
    let name = |name: &String| source.position(name).map_or_else(|| name.clone(), |at| source.header[at].name.clone());
    let names = |names: &[String]| names.iter().map(name).collect();
    Columns {
        target: name(&columns.target),
        id: columns.id.as_ref().map(name),
        time: columns.time.as_ref().map(name),
        drop: names(&columns.drop),
        categorical: names(&columns.categorical),
        numeric: names(&columns.numeric),
        options: ReadOptions { datetime: names(&columns.options.datetime), ..columns.options.clone() },
        ..columns.clone()
    }
}

/// Each column that the user names is there, and not for two purposes.
pub(super) fn check_names(source: &Source, columns: &Columns) -> Result<(), DatasetError> {
    let named = [("--target", std::slice::from_ref(&columns.target))]
        .into_iter()
        .chain(columns.id.iter().map(|name| ("--id", std::slice::from_ref(name))))
        .chain(columns.time.iter().map(|name| ("--time", std::slice::from_ref(name))))
        .chain([("--drop", &*columns.drop), ("--categorical", &columns.categorical), ("--numeric", &columns.numeric)])
        .chain([("--datetime", &*columns.options.datetime)]);
    let mut problems = Vec::new();
    for (option, names) in named {
        for name in names.iter().filter(|name| source.position(name).is_none()) {
            let known = source.header.iter().take(KNOWN).map(|Heading { name, .. }| harmless(name));
            let known = known.collect::<Vec<_>>().join(", ");
            let more = source.header.len().saturating_sub(KNOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            problems.push(format!("there is no column {name:?} ({option}); it has {known}{more}"));
        }
    }
    for name in columns.categorical.iter().filter(|name| columns.numeric.contains(name)) {
        problems.push(format!("column {name:?} can't be both --categorical and --numeric"));
    }
    let others = columns.id.iter().chain(&columns.time).chain(&columns.drop);
    if others.into_iter().any(|name| *name == columns.target) {
        let target = &columns.target;
        problems.push(format!("column {target:?} can't be the --target and be left out"));
    }
    DatasetError::all(problems.into_iter().map(|problem| source.bad_header(problem)).collect())
}

fn all_numbers(classes: &[String]) -> bool {
    classes.iter().all(|name| texts::number(name).is_some_and(f64::is_finite))
}
