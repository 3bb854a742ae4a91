//! An inference request, and how its tensors become rows.

use std::fmt;

use ndarray::{Array2, ArrayViewMut1};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use super::predict::InferError;
use crate::model::signature::{Feature, Kind, Signature};
use crate::record::Gap;

/// The most rows of a request. A few bytes can ask for a row of thousands of columns: this bounds what a request can
/// make weir hold.
pub(super) const MAX_ROWS: usize = 8_192;

/// An inference request. Members that weir has no use for (`parameters`) are passed over.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    /// Comes back with the answer.
    pub(super) id: Option<String>,
    inputs: Vec<Tensor>,
    /// The outputs to answer with; all of them if absent.
    pub(super) outputs: Option<Vec<Wanted>>,
}

/// An output that a request asks for.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
    datatype: Datatype,
    data: Data,
}

/// The tensor datatypes that JSON can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Datatype {
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

/// What a tensor holds, in row-major order, however deep the request nests it.
#[derive(Debug)]
struct Data(Vec<Cell>);

#[derive(Debug)]
enum Cell {
    Missing,
    Bool(bool),
    Number(f64),
    Text(Box<str>),
}

impl Request {
    /// The rows that the inputs stand for: rows × features, as [`crate::record`] describes them. A feature without a
    /// tensor is missing.
    pub(super) fn rows(&self, signature: &Signature) -> Result<Array2<f64>, InferError> {
        let Some(first) = self.inputs.first() else {
            return Err(InferError::Request("the request has no inputs".into()));
        };
        self.inputs.iter().try_for_each(Tensor::check_length)?;
        let features = &signature.features;
        let count = first.shape.first().copied().unwrap_or(0);
        if !(1..=MAX_ROWS).contains(&count) {
            return Err(first.error(format!("{count} rows; a request takes 1 to {MAX_ROWS}")));
        }
        let mut rows = Array2::from_elem((count, features.len()), Gap::Missing.value());
        if let ([tensor], &[_, width]) = (self.inputs.as_slice(), first.shape.as_slice())
            && width > 1
        {
            tensor.fill_matrix(&mut rows, features)?;
            return Ok(rows);
        }
        let mut filled = vec![false; features.len()];
        for tensor in &self.inputs {
            let Some(at) = features.iter().position(|feature| feature.name == tensor.name) else {
                return Err(tensor.error("the model has no feature of this name"));
            };
            if std::mem::replace(&mut filled[at], true) {
                return Err(tensor.error("it is there twice"));
            }
            if !matches!(*tensor.shape, [n] | [n, 1] if n == count) {
                return Err(tensor.error(format!(
                    "shape {:?} where [{count}] or [{count}, 1] is expected, as the first input has {count} rows",
                    tensor.shape
                )));
            }
            tensor.fill_column(rows.column_mut(at), &features[at])?;
        }
        Ok(rows)
    }
}

impl Tensor {
    fn error(&self, reason: impl Into<String>) -> InferError {
        InferError::Input { tensor: self.name.clone(), reason: reason.into() }
    }

    fn check_length(&self) -> Result<(), InferError> {
        let values = self.shape.iter().try_fold(1_usize, |values, &n| values.checked_mul(n));
        if self.shape.is_empty() || values != Some(self.data.0.len()) {
            return Err(self.error(format!("shape {:?} for {} values", self.shape, self.data.0.len())));
        }
        Ok(())
    }

    fn fill_column(&self, column: ArrayViewMut1<'_, f64>, feature: &Feature) -> Result<(), InferError> {
        let fits = match feature.kind {
            Kind::Numeric => self.datatype != Datatype::Bytes,
            Kind::Categorical { .. } => !matches!(self.datatype, Datatype::Fp16 | Datatype::Fp32 | Datatype::Fp64),
        };
        if !fits {
            let expected = match feature.kind {
                Kind::Numeric => "a number: send FP64",
                Kind::Categorical { .. } => "a category: send BYTES",
            };
            return Err(self.error(format!("{} where the feature is {expected}", self.datatype)));
        }
        for (at, (value, cell)) in column.into_iter().zip(&self.data.0).enumerate() {
            *value = self.value(at, cell, &feature.kind)?;
        }
        Ok(())
    }

    /// One tensor for all features, in signature order.
    fn fill_matrix(&self, rows: &mut Array2<f64>, features: &[Feature]) -> Result<(), InferError> {
        if let Some(feature) = features.iter().find(|feature| feature.kind != Kind::Numeric) {
            return Err(self.error(format!(
                "one tensor for all features is for models of numbers only: {:?} is a category",
                feature.name
            )));
        }
        if self.shape[1] != features.len() {
            return Err(self.error(format!("shape {:?} where the model has {} features", self.shape, features.len())));
        }
        if self.datatype == Datatype::Bytes {
            return Err(self.error("BYTES where the features are numbers: send FP64"));
        }
        for (at, (value, cell)) in rows.iter_mut().zip(&self.data.0).enumerate() {
            *value = self.value(at, cell, &Kind::Numeric)?;
        }
        Ok(())
    }

    /// The row value of a cell, by the same rules as a record's on a topic.
    fn value(&self, at: usize, cell: &Cell, kind: &Kind) -> Result<f64, InferError> {
        let fits = match cell {
            Cell::Missing => return Ok(Gap::Missing.value()),
            Cell::Bool(_) => self.datatype == Datatype::Bool,
            Cell::Number(_) => !matches!(self.datatype, Datatype::Bool | Datatype::Bytes),
            Cell::Text(_) => self.datatype == Datatype::Bytes,
        };
        if !fits {
            return Err(self.error(format!("{cell} at index {at} is no {}", self.datatype)));
        }
        Ok(match (cell, kind) {
            (Cell::Bool(value), Kind::Numeric) => f64::from(u8::from(*value)),
            (Cell::Number(value), Kind::Numeric) => *value,
            (Cell::Text(_), Kind::Numeric) => Gap::String.value(),
            (Cell::Missing, _) => Gap::Missing.value(),
            (Cell::Text(text), Kind::Categorical { categories, .. }) => index(categories, text, Gap::Unknown),
            (Cell::Number(value), Kind::Categorical { categories, .. }) => {
                index(categories, &value.to_string(), Gap::Unknown)
            }
            (Cell::Bool(value), Kind::Categorical { categories, .. }) => {
                index(categories, &value.to_string(), Gap::Boolean)
            }
        })
    }
}

fn index(categories: &[String], text: &str, otherwise: Gap) -> f64 {
    let at = categories.iter().position(|category| category == text);
    at.map_or(otherwise.value(), |at| at as f64)
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

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Missing => f.write_str("null"),
            Cell::Bool(value) => write!(f, "{value}"),
            Cell::Number(value) => write!(f, "{value}"),
            Cell::Text(_) => f.write_str("a string"),
        }
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Data, D::Error> {
        let mut cells = Vec::new();
        Flatten { cells: &mut cells, nested: false }.deserialize(deserializer)?;
        Ok(Data(cells))
    }
}

/// Appends the leaves of nested arrays.
struct Flatten<'a> {
    cells: &'a mut Vec<Cell>,
    nested: bool,
}

impl<'de> DeserializeSeed<'de> for Flatten<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.nested { deserializer.deserialize_any(self) } else { deserializer.deserialize_seq(self) }
    }
}

impl<'de> Visitor<'de> for Flatten<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of numbers, booleans, strings or nulls")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while values.next_element_seed(Flatten { cells: self.cells, nested: true })?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.cells.push(Cell::Bool(value));
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.cells.push(Cell::Number(value));
        Ok(())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.cells.push(Cell::Text(value.into()));
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.cells.push(Cell::Missing);
        Ok(())
    }
}
