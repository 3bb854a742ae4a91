//! Parquet: its types say what a column is, and its nulls (and NaNs) are missing values.

use std::fs::File;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DecimalType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    AnyDictionaryArray, Array, BooleanArray, Float64Array, Int64Array, LargeStringArray, StringArray, StringViewArray,
    UInt64Array,
};
use arrow_schema::{ArrowError, DataType, FieldRef, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Type;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use super::super::{DatasetError, ReadOptions};
use super::{Cell, Heading, Holds, Role, Spot, Visit};
use crate::limits::Limits;
use crate::printable::shown;

/// Rows that are decoded at once.
const BATCH: usize = 4096;

/// Texts of a row group that decompress to more than this many bytes, and to this many times their size, aren't read: few
/// tables need that, and a file of 16 KB would take as much memory as it likes. The limits may raise the bytes.
const MOST_BYTES: usize = 64 << 20;
const MOST_RATIO: i64 = 1_000;

pub(super) fn header(path: &Path, file: &File) -> Result<Vec<Heading>, DatasetError> {
    let reader = open(path, file)?;
    let index = index_columns(reader.metadata());
    let heading = |field: &FieldRef| {
        let mut heading = Heading::new(field.name(), holds(field.data_type()));
        if index.contains(&heading.name) {
            heading.role = Role::Index;
        }
        heading
    };
    Ok(reader.schema().fields().iter().map(heading).collect())
}

/// The columns that pandas' metadata calls the index of the data frame.
fn index_columns(metadata: &ParquetMetaData) -> Vec<String> {
    let pairs = metadata.file_metadata().key_value_metadata();
    let pandas = pairs.into_iter().flatten().find(|pair| pair.key == "pandas").and_then(|pair| pair.value.as_deref());
    let pandas: serde_json::Value = pandas.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    // One that is computed, a range, is an object here.
    let columns = pandas["index_columns"].as_array().into_iter().flatten();
    columns.filter_map(|column| column.as_str().map(String::from)).collect()
}

pub(super) fn rows_claimed(path: &Path, file: &File) -> Result<u64, DatasetError> {
    let rows = open(path, file)?.metadata().file_metadata().num_rows();
    u64::try_from(rows).map_err(|_| error(path, ParquetError::General(format!("it claims {rows} rows"))))
}

pub(super) fn visit(
    path: &Path,
    file: &File,
    wanted: &[usize],
    options: &ReadOptions,
    visit: &mut Visit<'_>,
) -> Result<(), DatasetError> {
    let builder = open(path, file)?;
    check_sizes(path, &builder, wanted, options.limits)?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.iter().copied());
    let mut reader = builder.with_projection(mask).with_batch_size(BATCH).build().map_err(|e| error(path, e))?;
    // A batch has the projected columns in the order of the file.
    let mut order = wanted.to_vec();
    order.sort_unstable();
    order.dedup();
    let places: Vec<usize> = wanted.iter().map(|column| order.partition_point(|other| other < column)).collect();

    let mut row = 0;
    while let Some(batch) = guarded(path, || reader.next())? {
        let batch = batch.map_err(|e| match e {
            ArrowError::ParquetError(problem) => error(path, ParquetError::General(problem)),
            other => error(path, other.into()),
        })?;
        let columns = places.iter().map(|&place| {
            let values = Values::of(batch.column(place));
            values.map_err(|problem| not_text(path, batch.schema().field(place).name(), &problem))
        });
        let columns: Vec<Values> = columns.collect::<Result<_, _>>()?;
        for at in 0..batch.num_rows() {
            let cells: Vec<Cell<'_>> = columns.iter().map(|column| column.cell(at)).collect();
            visit(Spot::Row(row), &cells)?;
            row += 1;
        }
    }
    Ok(())
}

/// Refuses texts that are far larger than the file, by what its metadata says.
fn check_sizes(
    path: &Path,
    builder: &ParquetRecordBatchReaderBuilder<File>,
    wanted: &[usize],
    limits: Limits,
) -> Result<(), DatasetError> {
    let schema = builder.parquet_schema();
    let most = i64::try_from(limits.raise(MOST_BYTES)).unwrap_or(i64::MAX);
    for (leaf, column) in builder.metadata().row_groups().iter().flat_map(|group| group.columns().iter().enumerate()) {
        let (stored, bytes) = (column.compressed_size().max(1), column.uncompressed_size());
        let is_bomb = bytes > most && bytes / stored > MOST_RATIO && column.column_type() == Type::BYTE_ARRAY;
        if is_bomb && wanted.contains(&schema.get_column_root_idx(leaf)) {
            let name = column.column_descr().name();
            let problem = format!(
                "column {} has {stored} bytes, which decompress to {bytes}: leave it out (--drop), or raise the limit \
                 (--limit-factor)",
                shown(name)
            );
            return Err(DatasetError::Header { path: path.into(), problem });
        }
    }
    Ok(())
}

fn open(path: &Path, file: &File) -> Result<ParquetRecordBatchReaderBuilder<File>, DatasetError> {
    let cannot_read = |source| DatasetError::Read { path: path.into(), source };
    let file = file.try_clone().map_err(cannot_read)?;
    let bytes = file.metadata().map_err(cannot_read)?.len();
    let builder = guarded(path, || ParquetRecordBatchReaderBuilder::try_new(file))?.map_err(|e| error(path, e))?;
    let lie = |problem| error(path, ParquetError::General(format!("its footer contradicts the file: {problem}")));
    check_footer(builder.metadata(), bytes).map_err(lie)?;
    Ok(builder)
}

/// Whether what the footer says can be: column chunks within the file, and as many values as rows.
fn check_footer(footer: &ParquetMetaData, bytes: u64) -> Result<(), String> {
    let mut rows = 0_i64;
    for group in footer.row_groups() {
        rows = rows.saturating_add(group.num_rows());
        for column in group.columns() {
            let name = shown(column.column_descr().name());
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let end = start.checked_add(column.compressed_size()).and_then(|end| u64::try_from(end).ok());
            let is_inside = start >= 0 && column.compressed_size() >= 0 && end.is_some_and(|end| end <= bytes);
            if !is_inside || column.uncompressed_size() < 0 {
                let size = column.compressed_size();
                return Err(format!("column {name} has {size} bytes from {start} on, the file has {bytes}"));
            }
            // A column of lists may have more of them, which are never read.
            let is_flat = column.column_descr().max_rep_level() == 0;
            if is_flat && column.num_values() != group.num_rows() {
                let values = column.num_values();
                return Err(format!("column {name} has {values} values for {} rows", group.num_rows()));
            }
        }
    }
    match footer.file_metadata().num_rows() {
        claimed if claimed == rows => Ok(()),
        claimed => Err(format!("it says {claimed} rows, its parts have {rows}")),
    }
}

/// The reader trusts a file's pages: where one contradicts another, it panics.
fn guarded<T>(path: &Path, read: impl FnOnce() -> T) -> Result<T, DatasetError> {
    // After a panic the reader is dropped, so nobody sees what it left half done.
    let read = panic::catch_unwind(AssertUnwindSafe(read));
    read.map_err(|_| error(path, ParquetError::General("its pages contradict each other".into())))
}

fn not_text(path: &Path, name: &str, problem: &ArrowError) -> DatasetError {
    let name = shown(name);
    let problem = format!("column {name} holds bytes that aren't UTF-8 text ({problem}): leave it out (--drop)");
    DatasetError::Header { path: path.into(), problem }
}

fn error(path: &Path, source: ParquetError) -> DatasetError {
    DatasetError::Parquet { path: path.into(), source }
}

fn holds(of: &DataType) -> Holds {
    match of {
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => Holds::Moments,
        DataType::Dictionary(_, values) if holds(values) == Holds::Values => Holds::Values,
        DataType::Null | DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Holds::Values,
        // Texts of writers that don't say so, such as Impala and old versions of Spark.
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Holds::Values,
        numeric if numeric.is_numeric() => Holds::Values,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => Holds::Other("lists".into()),
        DataType::Struct(_) => Holds::Other("structs".into()),
        DataType::Map(..) => Holds::Other("maps".into()),
        other => Holds::Other(other.to_string()),
    }
}

/// A column of a batch, as what its cells will be.
enum Values {
    Numbers(Float64Array),
    Integers(Int64Array),
    Unsigned(UInt64Array),
    Booleans(BooleanArray),
    Moments(Float64Array),
    Texts(StringArray),
    LargeTexts(LargeStringArray),
    TextViews(StringViewArray),
    /// A category by its type, whatever the dictionary's values are.
    Names {
        keys: Vec<Option<usize>>,
        names: Vec<Option<String>>,
    },
    Nothing,
}

impl Values {
    /// The error is a text that isn't UTF-8.
    fn of(array: &dyn Array) -> Result<Values, ArrowError> {
        Ok(match array.data_type() {
            DataType::Boolean => Values::Booleans(array.as_boolean().clone()),
            DataType::Int8 => integers::<Int8Type>(array),
            DataType::Int16 => integers::<Int16Type>(array),
            DataType::Int32 => integers::<Int32Type>(array),
            DataType::Int64 => integers::<Int64Type>(array),
            DataType::UInt8 => integers::<UInt8Type>(array),
            DataType::UInt16 => integers::<UInt16Type>(array),
            DataType::UInt32 => integers::<UInt32Type>(array),
            DataType::UInt64 => Values::Unsigned(array.as_primitive::<UInt64Type>().clone()),
            DataType::Float16 => Values::Numbers(numbers::<Float16Type>(array, f64::from)),
            DataType::Float32 => Values::Numbers(numbers::<Float32Type>(array, single)),
            DataType::Float64 => Values::Numbers(numbers::<Float64Type>(array, f64::from)),
            DataType::Decimal32(..) => decimals::<Decimal32Type>(array),
            DataType::Decimal64(..) => decimals::<Decimal64Type>(array),
            DataType::Decimal128(..) => decimals::<Decimal128Type>(array),
            DataType::Decimal256(..) => decimals::<Decimal256Type>(array),
            DataType::Date32 => moments::<Date32Type>(array, |days| days * 86_400.0),
            DataType::Date64 => moments::<Date64Type>(array, |time| time / 1e3),
            DataType::Timestamp(TimeUnit::Second, _) => moments::<TimestampSecondType>(array, |time| time),
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                moments::<TimestampMillisecondType>(array, |time| time / 1e3)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                moments::<TimestampMicrosecondType>(array, |time| time / 1e6)
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                moments::<TimestampNanosecondType>(array, |time| time / 1e9)
            }
            DataType::Utf8 => Values::Texts(array.as_string::<i32>().clone()),
            DataType::LargeUtf8 => Values::LargeTexts(array.as_string::<i64>().clone()),
            DataType::Utf8View => Values::TextViews(array.as_string_view().clone()),
            DataType::Binary => Values::Texts(StringArray::try_from_binary(array.as_binary::<i32>().clone())?),
            DataType::LargeBinary => {
                Values::LargeTexts(LargeStringArray::try_from_binary(array.as_binary::<i64>().clone())?)
            }
            DataType::BinaryView => Values::TextViews(array.as_binary_view().clone().to_string_view()?),
            DataType::Dictionary(..) => Values::names(array.as_any_dictionary())?,
            // `holds` lets nothing else come here but columns of nulls.
            _ => Values::Nothing,
        })
    }

    fn names(array: &dyn AnyDictionaryArray) -> Result<Values, ArrowError> {
        let values = Values::of(array.values())?;
        let name = |at| match values.cell(at) {
            Cell::Missing => None,
            cell => Some(cell.text().into_owned()),
        };
        let names: Vec<Option<String>> = (0..array.values().len()).map(name).collect();
        // An empty dictionary has no keys to normalise.
        let keys = if names.is_empty() { vec![0; array.len()] } else { array.normalized_keys() };
        let key = |(row, key)| (array.is_valid(row) && !names.is_empty()).then_some(key);
        Ok(Values::Names { keys: keys.into_iter().enumerate().map(key).collect(), names })
    }

    fn cell(&self, row: usize) -> Cell<'_> {
        match self {
            Values::Numbers(array) => number(array, row).map_or(Cell::Missing, Cell::Number),
            Values::Moments(array) => number(array, row).map_or(Cell::Missing, Cell::Moment),
            Values::Integers(array) if array.is_valid(row) => Cell::Integer(array.value(row).into()),
            Values::Unsigned(array) if array.is_valid(row) => Cell::Integer(array.value(row).into()),
            Values::Booleans(array) if array.is_valid(row) => Cell::Boolean(array.value(row)),
            Values::Texts(array) if array.is_valid(row) => text(array.value(row)),
            Values::LargeTexts(array) if array.is_valid(row) => text(array.value(row)),
            Values::TextViews(array) if array.is_valid(row) => text(array.value(row)),
            Values::Names { keys, names } => {
                keys[row].and_then(|key| names[key].as_deref()).map_or(Cell::Missing, text)
            }
            _ => Cell::Missing,
        }
    }
}

/// A text without a character is a missing value, as an empty cell of CSV and an empty string of JSON are.
fn text(text: &str) -> Cell<'_> {
    if text.trim().is_empty() { Cell::Missing } else { Cell::Text(text) }
}

fn number(array: &Float64Array, row: usize) -> Option<f64> {
    array.is_valid(row).then(|| array.value(row)).filter(|number| !number.is_nan())
}

fn numbers<T: ArrowPrimitiveType>(array: &dyn Array, number: impl Fn(T::Native) -> f64) -> Float64Array {
    array.as_primitive::<T>().unary(number)
}

/// A float of 32 bits by its shortest decimal, which CSV, JSON and HTTP have of it: 0.1, not 0.10000000149011612.
fn single(value: f32) -> f64 {
    const WHOLE: f32 = (1 << f32::MANTISSA_DIGITS) as f32;
    let exact = f64::from(value);
    if !value.is_finite() || value.fract() == 0.0 && value.abs() <= WHOLE {
        return exact;
    }
    format!("{value:e}").parse().unwrap_or(exact)
}

fn integers<T: ArrowPrimitiveType<Native: Into<i64>>>(array: &dyn Array) -> Values {
    Values::Integers(array.as_primitive::<T>().unary(Into::into))
}

fn moments<T: ArrowPrimitiveType<Native: Into<i64>>>(array: &dyn Array, seconds: impl Fn(f64) -> f64) -> Values {
    Values::Moments(numbers::<T>(array, |value| seconds(value.into() as f64)))
}

/// The nearest f64 of each: by their decimal text, since a division by a power of ten would round twice.
fn decimals<T: DecimalType>(array: &dyn Array) -> Values {
    let decimals = array.as_primitive::<T>();
    let number = |row| decimals.is_valid(row).then(|| decimals.value_as_string(row).parse().ok()).flatten();
    Values::Numbers((0..decimals.len()).map(number).collect())
}

#[cfg(test)]
mod tests;
