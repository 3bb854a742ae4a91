//! The data of a tensor: JSON values that are checked against datatype and shape while they are read, and kept nowhere.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::TensorError;

/// The tensor datatypes that JSON can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Fp32,
    Fp64,
    Bytes,
}

/// A value of a tensor that is one of its datatype's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TensorValue<'a> {
    /// `null`, which every datatype takes.
    Missing,
    Bool(bool),
    Integer(i128),
    Number(f64),
    Text(&'a str),
}

/// Reads `data` and hands each value with its index, in row-major order, to `put`.
///
/// The data is flat or nested as `shape` says. The product of `shape` must have been checked to be a `usize`. The error
/// names the first value that is wrong, or says how the data differs from its shape.
pub(super) fn read_data(
    data: &RawValue,
    datatype: Datatype,
    shape: &[usize],
    put: &mut dyn FnMut(usize, TensorValue<'_>) -> Result<(), TensorError>,
) -> Result<(), TensorError> {
    let expected: usize = shape.iter().product();
    let mut reader = DataReader { datatype, shape, expected, put, read: 0, nested: None, error: None };
    let mut json = serde_json::Deserializer::from_str(data.get());
    let read = DataLevel { reader: &mut reader, depth: 0 }.deserialize(&mut json);
    match (reader.error, read) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(TensorError::Json { at: reader.read, error }),
        (None, Ok(())) if reader.read != expected => {
            Err(TensorError::Count { shape: shape.to_vec(), values: reader.read })
        }
        (None, Ok(())) => Ok(()),
    }
}

struct DataReader<'t> {
    datatype: Datatype,
    shape: &'t [usize],
    /// The product of the shape.
    expected: usize,
    put: &'t mut dyn FnMut(usize, TensorValue<'_>) -> Result<(), TensorError>,
    /// The values that have been read.
    read: usize,
    /// Whether the data is nested, once the first value has shown it.
    nested: Option<bool>,
    /// What is wrong. serde_json would add a place within the data to it.
    error: Option<TensorError>,
}

impl DataReader<'_> {
    /// Takes the next value, which stands within `depth` arrays.
    fn take<E: Error>(&mut self, depth: usize, value: TensorValue<'_>) -> Result<(), E> {
        let nested = *self.nested.get_or_insert(depth > 1);
        if depth != if nested { self.shape.len() } else { 1 } {
            return self.fail(self.otherwise_nested());
        }
        let at = self.read;
        self.read += 1;
        // The rest is only counted.
        if at >= self.expected {
            return Ok(());
        }
        let put = self.datatype.check(at, value).and_then(|value| (self.put)(at, value));
        put.or_else(|error| self.fail(error))
    }

    /// Checks an array within `depth` others that has ended.
    fn end<E: Error>(&mut self, depth: usize, length: usize) -> Result<(), E> {
        let nested = self.nested.unwrap_or(self.shape.len() == 1);
        if nested && self.shape.get(depth) != Some(&length) || !nested && depth > 0 {
            return self.fail(self.otherwise_nested());
        }
        Ok(())
    }

    fn otherwise_nested(&self) -> TensorError {
        TensorError::Nesting(self.shape.to_vec())
    }

    fn fail<E: Error>(&mut self, error: TensorError) -> Result<(), E> {
        self.error = Some(error);
        Err(E::custom("reported by the reader"))
    }
}

/// What stands within `depth` arrays of the data.
struct DataLevel<'r, 't> {
    reader: &'r mut DataReader<'t>,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for DataLevel<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.depth == 0 { deserializer.deserialize_seq(self) } else { deserializer.deserialize_any(self) }
    }
}

impl<'de> Visitor<'de> for DataLevel<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of numbers, booleans, strings or nulls")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        if self.depth >= self.reader.shape.len() {
            return self.reader.fail(self.reader.otherwise_nested());
        }
        let mut length = 0;
        while values.next_element_seed(DataLevel { reader: self.reader, depth: self.depth + 1 })?.is_some() {
            length += 1;
        }
        self.reader.end(self.depth, length)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.reader.take(self.depth, TensorValue::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.reader.take(self.depth, TensorValue::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.reader.take(self.depth, TensorValue::Integer(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.reader.take(self.depth, TensorValue::Number(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.reader.take(self.depth, TensorValue::Text(value))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.reader.take(self.depth, TensorValue::Missing)
    }
}

/// From here on a number that JSON's parser made a float may be another integer than the one that was written.
const INEXACT: f64 = (1_u64 << 53) as f64;

impl Datatype {
    /// The value as one of this datatype. An integer may be written as `3.0` or `3e2`.
    fn check(self, at: usize, value: TensorValue<'_>) -> Result<TensorValue<'_>, TensorError> {
        let checked = match (value, self.integers()) {
            (TensorValue::Missing, _) => Some(value),
            (TensorValue::Bool(_), _) => (self == Datatype::Bool).then_some(value),
            (TensorValue::Text(_), _) => (self == Datatype::Bytes).then_some(value),
            (TensorValue::Integer(integer), Some((from, to))) => (from..=to).contains(&integer).then_some(value),
            (TensorValue::Number(number), Some((from, to))) => Some(number as i128)
                .filter(|integer| number.fract() == 0.0 && number.abs() < INEXACT && (from..=to).contains(integer))
                .map(TensorValue::Integer),
            // A datatype of floating point takes the nearest of its numbers.
            (TensorValue::Integer(integer), None) => {
                self.can_hold(integer as f64).then_some(TensorValue::Number(integer as f64))
            }
            (TensorValue::Number(number), None) => self.can_hold(number).then_some(value),
        };
        checked.ok_or_else(|| TensorError::Value { value: value.to_string(), at, datatype: self })
    }

    /// The least and the greatest integer, of the datatypes of integers.
    fn integers(self) -> Option<(i128, i128)> {
        match self {
            Datatype::Uint8 => Some((0, u8::MAX.into())),
            Datatype::Uint16 => Some((0, u16::MAX.into())),
            Datatype::Uint32 => Some((0, u32::MAX.into())),
            Datatype::Uint64 => Some((0, u64::MAX.into())),
            Datatype::Int8 => Some((i8::MIN.into(), i8::MAX.into())),
            Datatype::Int16 => Some((i16::MIN.into(), i16::MAX.into())),
            Datatype::Int32 => Some((i32::MIN.into(), i32::MAX.into())),
            Datatype::Int64 => Some((i64::MIN.into(), i64::MAX.into())),
            Datatype::Bool | Datatype::Fp16 | Datatype::Fp32 | Datatype::Fp64 | Datatype::Bytes => None,
        }
    }

    /// Whether a datatype of floating point holds the number, rounded.
    fn can_hold(self, number: f64) -> bool {
        match self {
            Datatype::Fp16 => half::f16::from_f64(number).is_finite(),
            Datatype::Fp32 => (number as f32).is_finite(),
            Datatype::Fp64 => number.is_finite(),
            _ => false,
        }
    }

    /// The values that it takes, for messages.
    pub(super) fn range(self) -> String {
        let up_to = |greatest: &str| format!("numbers from -{greatest} to {greatest}");
        match (self, self.integers()) {
            (_, Some((from, to))) => format!("integers from {from} to {to}"),
            (Datatype::Fp16, _) => up_to("65504"),
            (Datatype::Fp32, _) => up_to("3.4028235e38"),
            (Datatype::Fp64, _) => up_to("1.7976931348623157e308"),
            (Datatype::Bool, _) => "true and false".into(),
            _ => "strings".into(),
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Datatype::Bool => "BOOL",
            Datatype::Uint8 => "UINT8",
            Datatype::Uint16 => "UINT16",
            Datatype::Uint32 => "UINT32",
            Datatype::Uint64 => "UINT64",
            Datatype::Int8 => "INT8",
            Datatype::Int16 => "INT16",
            Datatype::Int32 => "INT32",
            Datatype::Int64 => "INT64",
            Datatype::Fp16 => "FP16",
            Datatype::Fp32 => "FP32",
            Datatype::Fp64 => "FP64",
            Datatype::Bytes => "BYTES",
        })
    }
}

impl fmt::Display for TensorValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TensorValue::Missing => f.write_str("null"),
            TensorValue::Bool(value) => write!(f, "{value}"),
            TensorValue::Integer(value) => write!(f, "{value}"),
            // As JSON writes it: 1e300 and not 301 digits.
            TensorValue::Number(value) => write!(f, "{value:?}"),
            TensorValue::Text(_) => f.write_str("a string"),
        }
    }
}
