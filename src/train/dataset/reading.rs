//! Reading the file, twice: once to see which columns are numbers, once to decode them.
//!
//! So memory holds the decoded table only, and a column is never half numbers, half text.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::path::Path;

use csv::StringRecord;
use ndarray::Array2;

use super::{Column, Columns, DatasetError, MAX_CATEGORIES, Table, Target, TargetValues, Task, Times, open};
use crate::record::Gap;
use crate::train::time::Scale;

/// A target of whole numbers is taken for classes up to this many distinct values.
const MAX_INTEGER_CLASSES: usize = 20;

/// A file to read, as often as needed.
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
}

impl Source<'_> {
    fn reader(&self) -> Result<csv::Reader<impl Read + use<>>, DatasetError> {
        let file = open(self.path).map_err(|source| DatasetError::Read { path: self.path.into(), source })?;
        Ok(csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file))
    }

    fn header(&self, reader: &mut csv::Reader<impl Read>) -> Result<Vec<String>, DatasetError> {
        let header: Vec<String> = reader.headers().map_err(|e| self.csv(e))?.iter().map(String::from).collect();
        let mut seen = BTreeSet::new();
        for (at, name) in header.iter().enumerate() {
            if name.is_empty() {
                return Err(self.bad_header(format!("column {} has no name", at + 1)));
            }
            if !seen.insert(name) {
                return Err(self.bad_header(format!("two columns are called {name:?}")));
            }
        }
        if header.is_empty() { Err(self.bad_header("the file is empty".into())) } else { Ok(header) }
    }

    /// First reading: what each column is.
    pub(super) fn infer(&self, columns: &Columns) -> Result<Plan, DatasetError> {
        let mut reader = self.reader()?;
        let header = self.header(&mut reader)?;
        let roles = self.roles(&header, columns)?;
        let mut sights: Vec<Sight> = header.iter().map(|_| Sight::default()).collect();
        let mut record = StringRecord::new();
        while reader.read_record(&mut record).map_err(|e| self.csv(e))? {
            let line = record.position().map_or(0, csv::Position::line);
            for ((cell, sight), role) in record.iter().zip(&mut sights).zip(&roles) {
                if !matches!(role, Role::Ignored | Role::Time) && !is_missing(cell) {
                    sight.see(cell, line);
                }
            }
        }

        let mut plan = Plan {
            header,
            roles,
            features: Vec::new(),
            target: Planned { name: columns.target.clone(), categorical: false },
            target_is_number: false,
        };
        for ((name, sight), role) in plan.header.iter().zip(&sights).zip(&plan.roles) {
            match role {
                Role::Ignored | Role::Time => {}
                Role::Target => {
                    let task = columns.task.unwrap_or_else(|| sight.task());
                    plan.target.categorical = task == Task::Classification;
                    plan.target_is_number = sight.text.is_none();
                    if task == Task::Regression {
                        self.must_be_numeric(name, sight)?;
                    }
                }
                Role::Feature(_) => {
                    let told = |names: &[String]| names.contains(name);
                    let categorical = told(&columns.categorical) || (sight.text.is_some() && !told(&columns.numeric));
                    if !categorical {
                        self.must_be_numeric(name, sight)?;
                    }
                    plan.features.push(Planned { name: name.clone(), categorical });
                }
            }
        }
        Ok(plan)
    }

    fn roles(&self, header: &[String], columns: &Columns) -> Result<Vec<Role>, DatasetError> {
        let named = [("--target", std::slice::from_ref(&columns.target))]
            .into_iter()
            .chain(columns.id.iter().map(|name| ("--id", std::slice::from_ref(name))))
            .chain(columns.time.iter().map(|name| ("--time", std::slice::from_ref(name))))
            .chain([
                ("--drop", &*columns.drop),
                ("--categorical", &columns.categorical),
                ("--numeric", &columns.numeric),
            ]);
        for (option, names) in named {
            if let Some(name) = names.iter().find(|name| !header.contains(name)) {
                let known = header.join(", ");
                return Err(self.bad_header(format!("there is no column {name:?} ({option}); it has {known}")));
            }
        }
        if let Some(name) = columns.categorical.iter().find(|name| columns.numeric.contains(name)) {
            return Err(self.bad_header(format!("column {name:?} can't be both --categorical and --numeric")));
        }
        let mut features = 0..;
        let role = |name: &String| {
            if *name == columns.target {
                Role::Target
            } else if columns.time.as_ref() == Some(name) {
                Role::Time
            } else if columns.id.as_ref() == Some(name) || columns.drop.contains(name) {
                Role::Ignored
            } else {
                features.next().map_or(Role::Ignored, Role::Feature)
            }
        };
        let roles: Vec<Role> = header.iter().map(role).collect();
        if roles.iter().any(|role| matches!(role, Role::Feature(_))) {
            Ok(roles)
        } else {
            Err(self.bad_header("no column is left that could be a feature".into()))
        }
    }

    /// The plan of a file that must have the columns of a table.
    pub(super) fn plan_like(&self, table: &Table, time: Option<&str>) -> Result<Plan, DatasetError> {
        let header = self.header(&mut self.reader()?)?;
        let mut roles = vec![Role::Ignored; header.len()];
        let features = table.features.iter().enumerate().map(|(at, column)| (column.name.as_str(), Role::Feature(at)));
        let others =
            [(table.target.name.as_str(), Role::Target)].into_iter().chain(time.map(|name| (name, Role::Time)));
        for (name, role) in features.chain(others) {
            let Some(at) = header.iter().position(|column| column == name) else {
                return Err(self.bad_header(format!("there is no column {name:?}, which the training data has")));
            };
            roles[at] = role;
        }
        let plan = |column: &Column| Planned { name: column.name.clone(), categorical: column.categories.is_some() };
        let (categorical, target_is_number) = match &table.target.values {
            TargetValues::Classes { names, .. } => (true, names.iter().all(|name| number(name).is_some())),
            TargetValues::Numbers(_) => (false, true),
        };
        Ok(Plan {
            header,
            roles,
            features: table.features.iter().map(plan).collect(),
            target: Planned { name: table.target.name.clone(), categorical },
            target_is_number,
        })
    }

    /// Second reading: the values.
    pub(super) fn decode(&self, plan: Plan) -> Result<Table, DatasetError> {
        let mut reader = self.reader()?;
        let width = plan.features.len();
        let mut rows = Vec::new();
        let mut labels: Vec<Interner> = plan.features.iter().map(|_| Interner::default()).collect();
        let mut target = Vec::new();
        let mut classes = Interner::default();
        let mut times = Vec::new();
        let mut scale = None;
        let mut without_target = 0;
        let target_at = plan.roles.iter().position(|&role| role == Role::Target).unwrap_or_default();

        let mut record = StringRecord::new();
        while reader.read_record(&mut record).map_err(|e| self.csv(e))? {
            let line = record.position().map_or(0, csv::Position::line);
            if is_missing(&record[target_at]) {
                without_target += 1;
                continue;
            }
            let start = rows.len();
            rows.resize(start + width, Gap::Missing.value());
            for ((cell, &role), name) in record.iter().zip(&plan.roles).zip(&plan.header) {
                match role {
                    Role::Ignored => {}
                    Role::Time => {
                        let known = *scale.get_or_insert_with(|| Scale::of(cell).unwrap_or(Scale::Iso8601));
                        let time = known.parse(cell);
                        let time =
                            time.ok_or_else(|| self.cell(line, name, format!("{cell:?} isn't {}", known.as_str())))?;
                        times.push(time);
                    }
                    Role::Target if plan.target.categorical => {
                        // "1", "1.0" and "01" are one class.
                        let class = number(cell).filter(|_| plan.target_is_number).map(|number| number.to_string());
                        let class = self.intern(&mut classes, class.as_deref().unwrap_or(cell), name, line)?;
                        target.push(class as f64);
                    }
                    Role::Target => target.push(self.number(cell, name, line)?),
                    Role::Feature(_) if is_missing(cell) => {}
                    Role::Feature(at) if plan.features[at].categorical => {
                        rows[start + at] = self.intern(&mut labels[at], cell, name, line)? as f64;
                    }
                    Role::Feature(at) => rows[start + at] = self.number(cell, name, line)?,
                }
            }
        }
        if target.is_empty() {
            return Err(DatasetError::Empty { path: self.path.into(), without_target });
        }

        let rows = Array2::from_shape_vec((target.len(), width), rows);
        let mut rows = rows.unwrap_or_else(|_| unreachable!("each row brought `width` values"));
        let mut features = Vec::with_capacity(width);
        for (at, (planned, interner)) in plan.features.into_iter().zip(labels).enumerate() {
            let categories = planned.categorical.then(|| {
                let (names, ranks) = interner.sorted();
                rows.column_mut(at).iter_mut().filter(|v| !v.is_nan()).for_each(|v| *v = ranks[*v as usize] as f64);
                names
            });
            features.push(Column { name: planned.name, categories });
        }
        let values = if plan.target.categorical {
            let (names, ranks) = classes.sorted();
            TargetValues::Classes { names, rows: target.into_iter().map(|class| ranks[class as usize]).collect() }
        } else {
            TargetValues::Numbers(target)
        };
        Ok(Table {
            features,
            rows,
            target: Target { name: plan.target.name, values },
            times: scale.map(|scale| Times { scale, rows: times }),
            without_target,
        })
    }

    fn number(&self, cell: &str, column: &str, line: u64) -> Result<f64, DatasetError> {
        match number(cell) {
            Some(number) if number.is_finite() => Ok(number),
            Some(_) => Err(self.infinite(line, column, cell)),
            None => Err(self.not_a_number(line, column, cell)),
        }
    }

    fn intern(&self, to: &mut Interner, text: &str, column: &str, line: u64) -> Result<usize, DatasetError> {
        let index = to.index(text);
        if index < MAX_CATEGORIES {
            return Ok(index);
        }
        let (path, column, example) = (self.path.into(), column.into(), text.into());
        Err(DatasetError::TooManyCategories { path, column, line, example })
    }

    fn must_be_numeric(&self, name: &str, sight: &Sight) -> Result<(), DatasetError> {
        match (&sight.text, &sight.infinite) {
            (Some((line, cell)), _) => Err(self.not_a_number(*line, name, cell)),
            (None, Some((line, cell))) => Err(self.infinite(*line, name, cell)),
            (None, None) => Ok(()),
        }
    }

    fn not_a_number(&self, line: u64, column: &str, cell: &str) -> DatasetError {
        self.cell(line, column, format!("{cell:?} isn't a number"))
    }

    fn infinite(&self, line: u64, column: &str, cell: &str) -> DatasetError {
        self.cell(line, column, format!("{cell:?} isn't finite"))
    }

    fn cell(&self, line: u64, column: &str, problem: String) -> DatasetError {
        DatasetError::Cell { path: self.path.into(), line, column: column.into(), problem }
    }

    fn bad_header(&self, problem: String) -> DatasetError {
        DatasetError::Header { path: self.path.into(), problem }
    }

    fn csv(&self, source: csv::Error) -> DatasetError {
        DatasetError::Csv { path: self.path.into(), source }
    }
}

/// What each column of a file is for.
pub(super) struct Plan {
    header: Vec<String>,
    /// One per column of the header.
    roles: Vec<Role>,
    features: Vec<Planned>,
    target: Planned,
    target_is_number: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Ignored,
    Time,
    Target,
    Feature(usize),
}

struct Planned {
    name: String,
    categorical: bool,
}

/// What the first reading saw in a column.
#[derive(Default)]
struct Sight {
    /// The first cell that isn't a number, and its line.
    text: Option<(u64, String)>,
    /// The first infinite number.
    infinite: Option<(u64, String)>,
    /// Whether a number with a fraction occurs.
    fractions: bool,
    /// Distinct whole numbers, by their bits, and one more than can be classes at most.
    integers: BTreeSet<u64>,
}

impl Sight {
    fn see(&mut self, cell: &str, line: u64) {
        match number(cell) {
            None => {
                self.text.get_or_insert_with(|| (line, cell.into()));
            }
            Some(number) if number.is_infinite() => {
                self.infinite.get_or_insert_with(|| (line, cell.into()));
            }
            Some(number) => {
                self.fractions |= number.fract() != 0.0;
                if self.integers.len() <= MAX_INTEGER_CLASSES {
                    self.integers.insert(number.to_bits());
                }
            }
        }
    }

    /// Texts and few whole numbers are classes; scikit-learn leaves the choice to who calls it.
    fn task(&self) -> Task {
        let few = !self.fractions && self.infinite.is_none() && self.integers.len() <= MAX_INTEGER_CLASSES;
        if self.text.is_some() || few { Task::Classification } else { Task::Regression }
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
        let numeric = texts.iter().all(|(text, _)| number(text).is_some());
        let value = |text: &str| number(text).unwrap_or_default();
        texts.sort_unstable_by(|(a, _), (b, _)| {
            let by_number = if numeric { value(a).total_cmp(&value(b)) } else { std::cmp::Ordering::Equal };
            by_number.then_with(|| a.cmp(b))
        });
        let mut ranks = vec![0; texts.len()];
        for (rank, &(_, index)) in texts.iter().enumerate() {
            ranks[index] = rank;
        }
        (texts.into_iter().map(|(text, _)| text).collect(), ranks)
    }
}

/// The number that a cell holds, infinities included; `None` for any other text.
fn number(cell: &str) -> Option<f64> {
    fast_float2::parse(cell).ok().filter(|number: &f64| !number.is_nan())
}

fn is_missing(cell: &str) -> bool {
    matches!(cell, "" | "NA" | "NaN" | "nan" | "null")
}
