//! An inference request, and how its tensors become rows.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use ndarray::Array2;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::data::{Datatype, TensorValue, read_data};
use super::error::{InferError, TensorError};
use crate::codec::json::Categories;
use crate::model::signature::{Feature, Kind, Signature};
use crate::record::Gap;
use crate::texts;

/// The most tensors of a request. A tensor takes more memory than the fewest bytes that make one.
const MAX_INPUTS: usize = 16_384;

/// The most entries of `outputs`; no model has so many.
const MAX_OUTPUTS: usize = 16;

/// The most dimensions of a shape; no model takes more than two.
const MAX_DIMENSIONS: usize = 8;

/// The most characters of a tensor's name in an error.
const LONGEST_NAME: usize = 100;

/// An inference request. Its data stays in the body until it is read into the rows. Members that weir has no use for are
/// passed over.
#[derive(Debug, Deserialize)]
pub(super) struct Request<'a> {
    /// Comes back with the answer.
    pub(super) id: Option<String>,
    #[serde(borrow, deserialize_with = "at_most::<_, _, MAX_INPUTS>")]
    inputs: Vec<InputTensor<'a>>,
    /// The outputs to answer with; all of them if absent.
    #[serde(default)]
    pub(super) outputs: Option<RequestedOutputs>,
    #[serde(default, rename = "parameters")]
    _parameters: Option<Parameters>,
}

#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct RequestedOutputs(#[serde(deserialize_with = "at_most::<_, _, MAX_OUTPUTS>")] Vec<RequestedOutput>);

#[derive(Debug, Deserialize)]
struct RequestedOutput {
    name: String,
    #[serde(default, rename = "parameters")]
    _parameters: Option<Parameters>,
}

#[derive(Debug, Deserialize)]
struct InputTensor<'a> {
    name: String,
    #[serde(deserialize_with = "at_most::<_, _, MAX_DIMENSIONS>")]
    shape: Vec<usize>,
    datatype: Datatype,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default, rename = "parameters")]
    _parameters: Option<Parameters>,
}

impl RequestedOutputs {
    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|output| output.name.as_str())
    }
}

impl Request<'_> {
    /// The rows that the inputs stand for: rows × features, as [`crate::record`] describes them. A feature without a
    /// tensor is missing. Nothing is allocated for more than `row_limit` rows.
    pub(super) fn rows(&self, signature: &Signature, row_limit: usize) -> Result<Array2<f64>, InferError> {
        let Some(first) = self.inputs.first() else {
            return Err(InferError::NoInputs);
        };
        let count = first.shape.first().copied().unwrap_or(0);
        if !(1..=row_limit).contains(&count) {
            return Err(first.error(TensorError::Rows { rows: count, most: row_limit }));
        }
        let features = &signature.features;
        let mut rows = Array2::from_elem((count, features.len()), Gap::Missing.value());
        if let ([tensor], &[_, width]) = (self.inputs.as_slice(), first.shape.as_slice())
            && width > 1
        {
            tensor.fill_matrix(&mut rows, features)?;
            return Ok(rows);
        }
        let mut unfilled: HashMap<&str, usize> =
            features.iter().enumerate().map(|(at, feature)| (feature.name.as_str(), at)).collect();
        let mut trimmed = None;
        for tensor in &self.inputs {
            let exact = unfilled.remove(tensor.name.as_str());
            // By blanks around its name a tensor may differ, once for each feature.
            let alike = || {
                let name = trimmed.get_or_insert_with(|| without_blanks(features)).remove(tensor.name.trim())?;
                unfilled.remove(name)
            };
            let Some(at) = exact.or_else(alike) else {
                let is_feature = features.iter().any(|feature| feature.name == tensor.name);
                let error = if is_feature { TensorError::Repeated } else { TensorError::UnknownFeature };
                return Err(tensor.error(error));
            };
            if !matches!(*tensor.shape, [n] | [n, 1] if n == count) {
                return Err(tensor.error(TensorError::Column { shape: tensor.shape.clone(), rows: count }));
            }
            tensor.fill_column(&mut rows, at, &features[at])?;
        }
        Ok(rows)
    }
}

/// The features' names by what they are without blanks around them. Of several that are the same then, none is meant.
fn without_blanks(features: &[Feature]) -> HashMap<&str, &str> {
    let mut names: HashMap<&str, Option<&str>> = HashMap::new();
    for feature in features {
        let name = feature.name.as_str();
        names.entry(name.trim()).and_modify(|found| *found = None).or_insert(Some(name));
    }
    names.into_iter().filter_map(|(trimmed, name)| Some((trimmed, name?))).collect()
}

impl InputTensor<'_> {
    fn error(&self, error: TensorError) -> InferError {
        InferError::Input { tensor: self.name.chars().take(LONGEST_NAME).collect(), error }
    }

    fn fill_column(&self, rows: &mut Array2<f64>, column: usize, feature: &Feature) -> Result<(), InferError> {
        let fits = match feature.kind {
            Kind::Numeric => self.datatype != Datatype::Bytes,
            Kind::Time | Kind::Categorical { .. } => true,
        };
        if !fits {
            return Err(self.error(TensorError::TextForNumber(self.datatype)));
        }
        let categories = match &feature.kind {
            Kind::Numeric | Kind::Time => None,
            Kind::Categorical { categories, .. } => Some(Categories::new(categories)),
        };
        let is_time = feature.kind == Kind::Time;
        self.read(&mut |at, value| {
            rows[(at, column)] = match &categories {
                None if is_time => time(value),
                None => number(at, value)?,
                Some(categories) => category(value, categories),
            };
            Ok(())
        })
    }

    /// One tensor for all features, in signature order.
    fn fill_matrix(&self, rows: &mut Array2<f64>, features: &[Feature]) -> Result<(), InferError> {
        if let Some(feature) = features.iter().find(|feature| feature.kind != Kind::Numeric) {
            return Err(self.error(TensorError::MixedMatrix(feature.name.clone())));
        }
        if self.shape[1] != features.len() {
            return Err(self.error(TensorError::Matrix { shape: self.shape.clone(), features: features.len() }));
        }
        if self.datatype == Datatype::Bytes {
            return Err(self.error(TensorError::TextForNumbers));
        }
        let width = features.len();
        self.read(&mut |at, value| {
            rows[(at / width, at % width)] = number(at, value)?;
            Ok(())
        })
    }

    fn read(&self, put: &mut dyn FnMut(usize, TensorValue<'_>) -> Result<(), TensorError>) -> Result<(), InferError> {
        read_data(self.data, self.datatype, &self.shape, put).map_err(|error| self.error(error))
    }
}

/// The row value of a value for a numeric feature. An integer that an FP64 doesn't hold is an error: only the client
/// can say whether it may be rounded.
fn number(at: usize, value: TensorValue<'_>) -> Result<f64, TensorError> {
    match value {
        TensorValue::Missing => Ok(Gap::Missing.value()),
        TensorValue::Bool(value) => Ok(f64::from(u8::from(value))),
        TensorValue::Number(value) => Ok(value),
        TensorValue::Integer(value) if (value as f64) as i128 == value => Ok(value as f64),
        TensorValue::Integer(value) => Err(TensorError::Inexact { value, at }),
        TensorValue::Text(_) => Ok(Gap::String.value()),
    }
}

/// The row value of a value for a date or time, as on a topic.
fn time(value: TensorValue<'_>) -> f64 {
    match value {
        TensorValue::Missing => Gap::Missing.value(),
        TensorValue::Bool(_) => Gap::Boolean.value(),
        TensorValue::Integer(value) => texts::epoch(value as f64),
        TensorValue::Number(value) => texts::epoch(value),
        TensorValue::Text(text) => texts::moment(text).unwrap_or_else(Gap::value),
    }
}

/// The row value of a value for a categorical feature, by the same rules as a record's on a topic.
fn category(value: TensorValue<'_>, categories: &Categories) -> f64 {
    match value {
        TensorValue::Missing => Gap::Missing.value(),
        TensorValue::Bool(value) => categories.boolean(value),
        TensorValue::Integer(value) => categories.number(value.to_string().as_bytes(), value as f64),
        TensorValue::Number(value) => categories.number(value.to_string().as_bytes(), value),
        TensorValue::Text(text) => categories.index_or(text.as_bytes(), Gap::Unknown),
    }
}

/// Parameters: an object of strings, numbers and booleans. weir has a use for none of them.
#[derive(Debug)]
struct Parameters;

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Parameters, D::Error> {
        deserializer.deserialize_map(ParametersVisitor)
    }
}

struct ParametersVisitor;

impl<'de> Visitor<'de> for ParametersVisitor {
    type Value = Parameters;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("parameters: an object of strings, numbers and booleans")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut parameters: A) -> Result<Parameters, A::Error> {
        while parameters.next_entry::<IgnoredAny, Parameter>()?.is_some() {}
        Ok(Parameters)
    }
}

/// The value of a parameter.
#[derive(Debug)]
struct Parameter;

impl<'de> Deserialize<'de> for Parameter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Parameter, D::Error> {
        deserializer.deserialize_any(Parameter)
    }
}

impl<'de> Visitor<'de> for Parameter {
    type Value = Parameter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a parameter that is a string, a number or a boolean")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Parameter, E> {
        Ok(Parameter)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Parameter, E> {
        Ok(Parameter)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Parameter, E> {
        Ok(Parameter)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Parameter, E> {
        Ok(Parameter)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Parameter, E> {
        Ok(Parameter)
    }
}

/// Reads a list that is refused as soon as it is longer than `MAX`.
fn at_most<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(BoundedList::<T, MAX>(PhantomData))
}

struct BoundedList<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for BoundedList<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX} entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element()? {
            if list.len() == MAX {
                return Err(A::Error::invalid_length(MAX + 1, &self));
            }
            list.push(entry);
        }
        Ok(list)
    }
}
