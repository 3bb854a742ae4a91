//! Arrays as the reference computes with them: each element in f64, beside a bound of what arithmetic in 32 bits may
//! have changed it by.
//!
//! A result is rounded once to the type that the graph gives it, and to f32 where that has 16 bits. The bounds are those of a running error analysis
//! (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.3): an operation passes the bounds of its
//! operands on and adds its own rounding.

use std::borrow::Cow;

use crate::model::onnx::proto::{self, DataType};
use crate::model::onnx::tensor::{Data, Reader};

/// Elements in one array: what rows of a model need is far below, and a damaged file can't take all memory.
const MOST_ELEMENTS: usize = 1 << 26;

/// An array of a run.
#[derive(Clone, Debug)]
pub(super) struct TypedArray {
    /// Empty for a scalar.
    pub(super) shape: Vec<usize>,
    pub(super) data_type: DataType,
    /// In row-major order.
    pub(super) data: Data,
    /// One bound per element; empty where all elements are exact.
    pub(super) errors: Vec<f64>,
}

impl TypedArray {
    /// Numbers, rounded to the type of their elements.
    pub(super) fn floats(shape: Vec<usize>, data_type: DataType, values: Vec<f64>, errors: Vec<f64>) -> TypedArray {
        let (mut values, mut errors) = (values, errors);
        for (place, value) in values.iter_mut().enumerate() {
            let rounded = round(*value, data_type);
            // What overflows here may fit into weir's f32: nobody can say what is right.
            if rounded.is_infinite() && value.is_finite() {
                errors.resize(errors.len().max(place + 1), 0.0);
                errors[place] = f64::INFINITY;
            }
            *value = rounded;
        }
        if !errors.is_empty() {
            errors.resize(values.len(), 0.0);
        }
        TypedArray { shape, data_type, data: Data::Numbers(values), errors }
    }

    pub(super) fn integers(shape: Vec<usize>, data_type: DataType, values: Vec<i64>, errors: Vec<f64>) -> TypedArray {
        TypedArray { shape, data_type, data: Data::Integers(values), errors }
    }

    pub(super) fn texts(shape: Vec<usize>, values: Vec<String>, errors: Vec<f64>) -> TypedArray {
        TypedArray { shape, data_type: DataType::String, data: Data::Texts(values), errors }
    }

    /// A list of sizes or indices.
    pub(super) fn list(values: Vec<i64>) -> TypedArray {
        TypedArray::integers(vec![values.len()], DataType::Int64, values, Vec::new())
    }

    /// The constant that a tensor of the file is.
    pub(super) fn read(tensor: &proto::Tensor, reader: &Reader) -> Result<TypedArray, String> {
        let array = reader.read(tensor).map_err(|error| error.to_string())?;
        let data_type = computed_in(data_type(tensor.data_type.into())?);
        Ok(TypedArray { shape: array.shape, data_type, data: array.data, errors: Vec::new() })
    }

    pub(super) fn len(&self) -> usize {
        match &self.data {
            Data::Numbers(values) => values.len(),
            Data::Integers(values) => values.len(),
            Data::Texts(values) => values.len(),
        }
    }

    pub(super) fn is_float(&self) -> bool {
        is_float(self.data_type)
    }

    /// The elements as numbers.
    pub(super) fn numbers(&self) -> Result<Cow<'_, [f64]>, String> {
        match &self.data {
            Data::Numbers(values) => Ok(values.into()),
            Data::Integers(values) => Ok(values.iter().map(|&value| value as f64).collect()),
            Data::Texts(_) => Err("it computes with texts".into()),
        }
    }

    /// The elements as sizes, indices or axes.
    pub(super) fn indices(&self) -> Result<&[i64], String> {
        match &self.data {
            Data::Integers(values) => Ok(values),
            _ => Err("it takes numbers with a fraction or texts for indices".into()),
        }
    }

    /// The only element, as a number.
    pub(super) fn scalar(&self) -> Result<f64, String> {
        match (self.len(), self.numbers()?.first()) {
            (1, Some(&value)) => Ok(value),
            (count, _) => Err(format!("it takes {count} numbers where one is needed")),
        }
    }

    pub(super) fn error(&self, place: usize) -> f64 {
        self.errors.get(place).copied().unwrap_or(0.0)
    }

    /// The elements at these places, in another shape.
    pub(super) fn at(&self, places: &[usize], shape: Vec<usize>) -> TypedArray {
        let data = match &self.data {
            Data::Numbers(values) => Data::Numbers(places.iter().map(|&place| values[place]).collect()),
            Data::Integers(values) => Data::Integers(places.iter().map(|&place| values[place]).collect()),
            Data::Texts(values) => Data::Texts(places.iter().map(|&place| values[place].clone()).collect()),
        };
        let errors = match self.errors.is_empty() {
            true => Vec::new(),
            false => places.iter().map(|&place| self.errors[place]).collect(),
        };
        TypedArray { shape, data_type: self.data_type, data, errors }
    }

    /// The same elements in another shape.
    pub(super) fn reshaped(&self, shape: Vec<usize>) -> TypedArray {
        TypedArray { shape, ..self.clone() }
    }
}

/// The type that a number in the file stands for.
pub(super) fn data_type(number: i64) -> Result<DataType, String> {
    let known = i32::try_from(number).ok().and_then(|number| DataType::try_from(number).ok());
    known.filter(|&known| known != DataType::Undefined).ok_or_else(|| format!("there is no type {number}"))
}

pub(super) fn is_float(data_type: DataType) -> bool {
    matches!(data_type, DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16)
}

/// What one rounding changes a number by at most, relative: weir computes in f32, whatever the graph has.
pub(super) const UNIT: f64 = 1.0 / 16_777_216.0;

/// The type in which numbers of this type are computed with. Arithmetic of 16 bits is that of f32, as runtimes without
/// such arithmetic have it: what rounds to 16 bits on purpose is a `Cast`.
pub(super) fn computed_in(data_type: DataType) -> DataType {
    match data_type {
        DataType::Float16 | DataType::Bfloat16 => DataType::Float,
        _ => data_type,
    }
}

/// The number nearest to this one that the type has.
pub(super) fn round(value: f64, data_type: DataType) -> f64 {
    match data_type {
        DataType::Float => f64::from(value as f32),
        DataType::Float16 => half::f16::from_f64(value).to_f64(),
        DataType::Bfloat16 => half::bf16::from_f64(value).to_f64(),
        _ => value,
    }
}

/// How many elements a shape has.
pub(super) fn count(shape: &[usize]) -> Result<usize, String> {
    let count = shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
    count.filter(|&count| count <= MOST_ELEMENTS).ok_or_else(|| format!("an array of shape {shape:?} is too large"))
}

/// The axis that a number stands for, counted from the end if it is negative.
pub(super) fn axis(number: i64, rank: usize) -> Result<usize, String> {
    let place = if number < 0 { number.checked_add(rank as i64) } else { Some(number) };
    let place = place.and_then(|place| usize::try_from(place).ok()).filter(|&place| place < rank);
    place.ok_or_else(|| format!("there is no axis {number} of {rank}"))
}

/// The shape that two shapes are broadcast to.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], place: usize| (place + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    let mut shape = Vec::with_capacity(rank);
    for place in 0..rank {
        shape.push(match (size(a, place), size(b, place)) {
            (a, b) if a == b => a,
            (1, b) => b,
            (a, 1) => a,
            _ => return Err(format!("shapes {a:?} and {b:?} don't fit each other")),
        });
    }
    count(&shape)?;
    Ok(shape)
}

/// For each element of `to` the place of the element of `from` that is broadcast to it.
pub(super) fn sources(from: &[usize], to: &[usize]) -> Vec<usize> {
    let strides = strides(from);
    let offset = to.len() - from.len();
    let steps: Vec<usize> = (0..to.len())
        .map(|place| place.checked_sub(offset).map_or(0, |at| if from[at] == 1 { 0 } else { strides[at] }))
        .collect();
    walk(to, &steps)
}

/// The places that are reached when each axis moves by its step.
pub(super) fn walk(shape: &[usize], steps: &[usize]) -> Vec<usize> {
    let mut places = vec![0];
    for (&size, &step) in shape.iter().zip(steps) {
        places = places.iter().flat_map(|&place| (0..size).map(move |index| place + index * step)).collect();
    }
    places
}

/// How far neighbours along each axis are apart.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for place in (1..shape.len()).rev() {
        strides[place - 1] = strides[place] * shape[place];
    }
    strides
}
