//! What the verbs that read data have in common: how files are named, and how a table looks to a person.

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::limits::Limits;
use crate::printable::harmless;
use crate::train::dataset::{DatasetError, Table, files};

/// The files to read.
#[derive(Clone, Debug, clap::Args)]
pub struct DataArgs {
    /// CSV with a header, or Parquet; plain, gzip or zstd. Several files, or a pattern such as 'data/*.parquet', are read
    /// as one: they must have the same columns.
    #[arg(required = true, value_name = "DATA")]
    data: Vec<String>,
}

impl DataArgs {
    /// The files that the arguments name; see [`files`].
    pub fn files(&self) -> Result<Vec<PathBuf>, DatasetError> {
        files(&self.data)
    }

    /// What a bundle should say about where its data came from.
    pub fn note(&self) -> Value {
        note(&self.data)
    }
}

/// How much the files may hold.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct LimitArgs {
    /// Multiply the limits on what a file may hold by this. docs/reference/limits.md lists them.
    #[arg(long, value_name = "N", default_value_t = NonZeroU32::MIN)]
    limit_factor: NonZeroU32,
}

impl LimitArgs {
    /// The limits.
    pub fn limits(self) -> Limits {
        Limits::times(self.limit_factor)
    }
}

/// Names of files without their folders, which mean nothing elsewhere.
pub fn note(arguments: &[String]) -> Value {
    let name = |argument: &String| Path::new(argument).file_name().map(|name| name.to_string_lossy().into_owned());
    match arguments {
        [one] => json!(name(one)),
        several => json!(several.iter().map(name).collect::<Vec<_>>()),
    }
}

/// Prints what was taken for what.
pub fn show(out: &mut dyn Write, table: &Table) -> io::Result<()> {
    writeln!(out, "target     {}, {}", harmless(&table.target.name), table.task().as_str())?;
    let width = table.features.iter().map(|column| brief(&column.name).chars().count()).max().unwrap_or(0).max(7);
    writeln!(out, "\n{:width$}  kind         missing  values", "feature")?;
    for (column, values) in table.features.iter().zip(table.rows.columns()) {
        let missing = values.iter().filter(|value| value.is_nan()).count();
        let (kind, shown) = match &column.categories {
            Some(categories) => ("categorical", first_few(categories)),
            None => ("numeric", range(values.iter().copied())),
        };
        writeln!(out, "{:width$}  {kind:11}  {missing:7}  {shown}", harmless(brief(&column.name)))?;
    }
    writeln!(out)
}

/// Not more of a name than a line has room for.
fn brief(name: &str) -> &str {
    name.char_indices().nth(200).map_or(name, |(end, _)| &name[..end])
}

/// The first few of some names.
pub fn first_few(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let first: Vec<_> = names.iter().take(SHOWN).map(|name| harmless(brief(name))).collect();
    let first = first.join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn range(values: impl Iterator<Item = f64>) -> String {
    let widen = |range: Option<(f64, f64)>, value: f64| {
        Some(range.map_or((value, value), |(least, most)| (least.min(value), most.max(value))))
    };
    match values.filter(|value| !value.is_nan()).fold(None, widen) {
        Some((least, most)) => format!("{least} to {most}"),
        None => "none".into(),
    }
}
