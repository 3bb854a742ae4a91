//! What the verbs that read data have in common: how files are named, and how a table looks to a person.

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::limits::Limits;
use crate::model::bundle::Training;
use crate::printable::harmless;
use crate::texts;
use crate::train::dataset::{DatasetError, ReadOptions, Table, files};

/// The files to read.
#[derive(Clone, Debug, clap::Args)]
pub struct DataArgs {
    /// CSV with a header, or Parquet; plain, gzip or zstd. Several files, a folder, or a pattern such as 'data/*.parquet', are
    /// read as one: they must have the same columns. Folders such as year=2024 are a column.
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

/// How tables are read, where they don't show it themselves.
#[derive(Clone, Debug, clap::Args)]
pub struct ReadArgs {
    /// What separates the cells of CSV: a character, or tab [default: comma, semicolon, tab or bar, as the file shows].
    #[arg(long, value_name = "CHARACTER", value_parser = delimiter)]
    delimiter: Option<u8>,
    /// What decimals in CSV have: . or , [default: as the file shows].
    #[arg(long, value_name = ".|,", value_parser = decimal)]
    decimal: Option<char>,
    /// Texts in CSV that stand for a missing value, besides empty cells, \N and those of pandas (NA, NaN, NULL, None, N/A, …).
    #[arg(long, value_name = "WORD,…", value_delimiter = ',', allow_hyphen_values = true)]
    na: Vec<String>,
    #[command(flatten)]
    limits: LimitArgs,
}

impl ReadArgs {
    /// What the options say.
    pub fn options(&self) -> ReadOptions {
        let ReadArgs { delimiter, decimal, ref na, limits } = *self;
        ReadOptions { limits: limits.limits(), delimiter, decimal, na: na.clone(), datetime: Vec::new() }
    }

    /// The same for rows of a model of this training, which may have named words for missing values.
    pub fn options_for(&self, training: &Training) -> ReadOptions {
        let mut options = self.options();
        if options.na.is_empty() {
            options.na = training.na();
        }
        options
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    match (text, text.as_bytes()) {
        ("tab" | "\\t", _) => Ok(b'\t'),
        (_, &[byte]) if !byte.is_ascii_alphanumeric() && !b"\"'\r\n".contains(&byte) => Ok(byte),
        _ => Err("expected one character of ASCII that is no letter, digit or quote, or tab".into()),
    }
}

fn decimal(text: &str) -> Result<char, String> {
    match text {
        "." | "point" => Ok('.'),
        "," | "comma" => Ok(','),
        _ => Err("expected . or ,".into()),
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
pub fn show(out: &mut dyn Write, table: &Table, datetime: &[String]) -> io::Result<()> {
    writeln!(out, "target     {}, {}", harmless(&table.target.name), table.task().as_str())?;
    let width = table.features.iter().map(|column| brief(&column.name).chars().count()).max().unwrap_or(0).max(7);
    writeln!(out, "\n{:width$}  kind         missing  values", "feature")?;
    for (column, values) in table.features.iter().zip(table.rows.columns()) {
        let missing = values.iter().filter(|value| value.is_nan()).count();
        let (kind, shown) = match &column.categories {
            Some(categories) => ("categorical", first_few(categories)),
            None if texts::position(datetime.iter().map(String::as_str), &column.name).is_some() => (
                "time",
                bounds(values.iter().copied())
                    .map_or("none".into(), |(first, last)| format!("{} to {}", date(first), date(last))),
            ),
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

/// A time for a person, to the second.
fn date(seconds: f64) -> String {
    let after = Duration::try_from_secs_f64(seconds.floor()).ok().and_then(|since| UNIX_EPOCH.checked_add(since));
    after.map_or_else(|| format!("{seconds} s"), |time| humantime::format_rfc3339_seconds(time).to_string())
}

fn range(values: impl Iterator<Item = f64>) -> String {
    bounds(values).map_or("none".into(), |(least, most)| format!("{least} to {most}"))
}

/// The least and the most of what isn't missing.
fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let widen = |range: Option<(f64, f64)>, value: f64| {
        Some(range.map_or((value, value), |(least, most)| (least.min(value), most.max(value))))
    };
    values.filter(|value| !value.is_nan()).fold(None, widen)
}
