//! Which columns are read as what. The first reading of the files distinguishes numbers from categories, so that in the second
//! a column is never half numbers, half text.

use std::collections::BTreeSet;

use super::source::{Cell, Heading, Holds, Source, Spot};
use super::{Column, Columns, DatasetError, MAX_CATEGORIES, MAX_RARE_CATEGORIES, Table, TargetValues, Task, memory};
use crate::model::signature::{Kind, Signature, Target};
use crate::printable::harmless;
use crate::record::Gap;

/// A target of whole numbers is taken for classes up to this many distinct values.
const MAX_INTEGER_CLASSES: usize = 20;

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
}

/// A column to read.
pub(super) struct PlannedColumn {
    pub(super) name: String,
    pub(super) categorical: bool,
}

impl Plan {
    /// The columns of training data: what the user says, and what the values show.
    pub(super) fn infer(sources: &[Source], columns: &Columns) -> Result<Plan, DatasetError> {
        let first = &sources[0];
        same_columns(sources)?;
        check_names(first, columns)?;
        let is_feature = |name: &String| {
            *name != columns.target
                && columns.time.as_ref() != Some(name)
                && columns.id.as_ref() != Some(name)
                && !columns.drop.contains(name)
        };
        let names: Vec<String> = first.header.iter().map(|h| h.name.clone()).filter(is_feature).collect();
        if names.is_empty() {
            return Err(first.bad_header("no column is left that could be a feature"));
        }
        let available = memory::available();
        memory::check(rows_claimed(sources)?, names.len() as u64, available)?;

        // Their cells: the features', then the target's.
        let mut sights: Vec<Sight> = (0..=names.len()).map(|_| Sight::default()).collect();
        let mut rows = 0;
        for (number, source) in sources.iter().enumerate() {
            let wanted = source.wanted(names.iter().chain([&columns.target]), columns.time.as_deref())?;
            source.visit(&wanted[..=names.len()], &mut |spot, cells| {
                rows += u64::from(cells[names.len()] != Cell::Missing);
                for (&cell, sight) in cells.iter().zip(&mut sights) {
                    sight.see(cell, (number, spot));
                }
                Ok(())
            })?;
        }
        memory::check(rows, names.len() as u64, available)?;

        let target_sight = sights.pop().unwrap_or_default();
        let task = columns.task.unwrap_or_else(|| target_sight.task());
        let mut faults = Vec::new();
        if task == Task::Regression {
            faults.extend(target_sight.must_be_numbers(sources, &columns.target).err());
        }
        let mut features = Vec::with_capacity(names.len());
        for (name, sight) in names.into_iter().zip(sights) {
            let is_listed = |names: &[String]| names.contains(&name);
            let categorical = is_listed(&columns.categorical) || (sight.category && !is_listed(&columns.numeric));
            if !categorical {
                faults.extend(sight.must_be_numbers(sources, &name).err());
            }
            features.push(PlannedColumn { name, categorical });
        }
        DatasetError::all(faults)?;
        let target = PlannedColumn { name: columns.target.clone(), categorical: task == Task::Classification };
        Ok(Plan {
            features,
            targets: vec![target],
            time: columns.time.clone(),
            classes_are_numbers: !target_sight.category,
            most_categories: if columns.rare_categories { MAX_RARE_CATEGORIES } else { MAX_CATEGORIES },
            lenient: false,
        })
    }

    /// The columns of a table.
    pub(super) fn like(table: &Table, time: Option<&str>) -> Plan {
        let plan =
            |column: &Column| PlannedColumn { name: column.name.clone(), categorical: column.categories.is_some() };
        let classes = match &table.target.values {
            TargetValues::Classes { names, .. } => Some(&**names),
            TargetValues::Numbers(_) => None,
        };
        Plan {
            features: table.features.iter().map(plan).collect(),
            targets: vec![PlannedColumn { name: table.target.name.clone(), categorical: classes.is_some() }],
            time: time.map(String::from),
            classes_are_numbers: classes.is_some_and(all_numbers),
            most_categories: MAX_RARE_CATEGORIES,
            lenient: false,
        }
    }

    /// The columns that a model takes, and those of its target if they are wanted.
    pub(super) fn of(signature: &Signature, labelled: bool) -> Plan {
        let features = signature.features.iter().map(|feature| PlannedColumn {
            name: feature.name.clone(),
            categorical: matches!(feature.kind, Kind::Categorical { .. }),
        });
        let (targets, categorical, classes): (&[String], _, &[String]) = match &signature.target {
            Target::Classification { name, classes } => (std::slice::from_ref(name), true, classes),
            Target::Regression { names } => (names, false, &[]),
        };
        let targets = targets.iter().filter(|_| labelled).map(|name| PlannedColumn { name: name.clone(), categorical });
        Plan {
            features: features.collect(),
            targets: targets.collect(),
            time: None,
            classes_are_numbers: all_numbers(classes),
            most_categories: usize::MAX,
            lenient: true,
        }
    }

    /// A column of categories, and no other.
    pub(super) fn of_categories(name: &str) -> Plan {
        Plan {
            features: vec![PlannedColumn { name: name.into(), categorical: true }],
            targets: Vec::new(),
            time: None,
            classes_are_numbers: false,
            most_categories: super::MAX_CATEGORIES,
            lenient: true,
        }
    }

    /// The indices of the plan's columns in a file: features, targets, time.
    pub(super) fn wanted(&self, source: &Source) -> Result<Vec<usize>, DatasetError> {
        let names = self.features.iter().chain(&self.targets).map(|planned| &planned.name);
        source.wanted(names, self.time.as_deref())
    }
}

impl Source {
    fn wanted<'a>(
        &self,
        names: impl Iterator<Item = &'a String>,
        time: Option<&str>,
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
                Holds::Moments => {
                    let problem = format!(
                        "column {name:?} holds points in time, which can't be a feature or a target: name it as --time, \
                         or leave it out (--drop {name})"
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

/// Files that are read as one must have the same columns, in whatever order.
fn same_columns(sources: &[Source]) -> Result<(), DatasetError> {
    let [first, others @ ..] = sources else { return Ok(()) };
    for other in others {
        for (one, two) in [(other, first), (first, other)] {
            if let Some(heading) = two.header.iter().find(|heading| one.position(&heading.name).is_none()) {
                let (name, has) = (&heading.name, two.path.display());
                return Err(one.bad_header(format!("there is no column {name:?}, which {has} has")));
            }
        }
    }
    Ok(())
}

/// Each column that the user names is there, and not for two purposes.
fn check_names(source: &Source, columns: &Columns) -> Result<(), DatasetError> {
    let named = [("--target", std::slice::from_ref(&columns.target))]
        .into_iter()
        .chain(columns.id.iter().map(|name| ("--id", std::slice::from_ref(name))))
        .chain(columns.time.iter().map(|name| ("--time", std::slice::from_ref(name))))
        .chain([("--drop", &*columns.drop), ("--categorical", &columns.categorical), ("--numeric", &columns.numeric)]);
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
    classes.iter().all(|name| Cell::Untyped(name).number().is_ok())
}

/// What the first reading saw in a column.
#[derive(Default)]
struct Sight {
    /// Whether there are categories among the cells.
    category: bool,
    /// The first cell that can't be a number, with its file's index and its place there.
    not_number: Option<((usize, Spot), String)>,
    /// The first infinite number.
    infinite: Option<((usize, Spot), String)>,
    /// Whether a number with a fraction occurs.
    fractions: bool,
    /// Distinct whole numbers, by their bits, and one more than can be classes at most.
    integers: BTreeSet<u64>,
}

impl Sight {
    fn see(&mut self, cell: Cell<'_>, at: (usize, Spot)) {
        match cell.number() {
            Ok(number) => {
                self.fractions |= number.fract() != 0.0;
                if self.integers.len() <= MAX_INTEGER_CLASSES {
                    self.integers.insert(number.to_bits());
                }
            }
            Err(Gap::Missing) => return,
            Err(Gap::NotFinite) => {
                self.infinite.get_or_insert_with(|| (at, cell.text().into()));
            }
            Err(_) => {
                self.not_number.get_or_insert_with(|| (at, cell.text().into()));
            }
        }
        self.category |= cell.is_category();
    }

    /// Categories and few whole numbers are classes; scikit-learn leaves the choice to who calls it.
    fn task(&self) -> Task {
        let few = !self.fractions && self.infinite.is_none() && self.integers.len() <= MAX_INTEGER_CLASSES;
        if self.category || few { Task::Classification } else { Task::Regression }
    }

    fn must_be_numbers(&self, sources: &[Source], name: &str) -> Result<(), DatasetError> {
        let (((file, spot), text), what) = match (&self.not_number, &self.infinite) {
            (Some(found), _) => (found, "a number"),
            (None, Some(found)) => (found, "finite: make it empty where it is unknown, or drop the row"),
            (None, None) => return Ok(()),
        };
        Err(sources[*file].bad_cell(*spot, name, format!("{text:?} isn't {what}")))
    }
}
