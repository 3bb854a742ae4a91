//! `weights.safetensors`: the numbers of the layers, as they are stored in memory too.
//!
//! | tensor | holds |
//! | --- | --- |
//! | `layers.N.weight` | inputs × outputs, row by row: F32, F16, BF16 or I8 |
//! | `layers.N.scale` | for I8: what a weight is multiplied with, F32, one per output |
//! | `layers.N.bias` | F32, one per output |
//! | `layers.N.slope` | for prelu: F32, one per output |
//! | `layers.N.norm.scale`, `layers.N.norm.shift` | where the layer has a norm: F32, one per output that doesn't pass |
//!
//! Nothing is allocated that the file's own length doesn't cover, whatever its header claims.

use half::{bf16, f16};
use ndarray::{Array1, Array2, ArrayBase, ArrayRef, Dimension};
use safetensors::{Dtype as Stored, SafeTensors, tensor::TensorView};

use super::{BundleError, LayerShape, WEIGHTS};
use crate::engine::{Activation, Dtype, Int8Input, Layer, Norm, Weights};

/// The file's bytes.
pub(super) fn encode(layers: &[Layer]) -> Result<Vec<u8>, BundleError> {
    let mut tensors = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let mut add = |part, tensor| tensors.push((name(index, part), tensor));
        match &layer.weights {
            Weights::F32(weights) => add("weight", StoredTensor::new(weights)),
            Weights::F16(weights) => add("weight", StoredTensor::new(weights)),
            Weights::Bf16(weights) => add("weight", StoredTensor::new(weights)),
            Weights::Int8 { values, scales, .. } => {
                add("weight", StoredTensor::new(values));
                add("scale", StoredTensor::new(scales));
            }
        }
        add("bias", StoredTensor::new(&layer.bias));
        if let Some(slopes) = &layer.slopes {
            add("slope", StoredTensor::new(slopes));
        }
        if let Some(norm) = &layer.norm {
            add("norm.scale", StoredTensor::new(&norm.scale));
            add("norm.shift", StoredTensor::new(&norm.shift));
        }
    }
    let views = tensors
        .iter()
        .map(|(name, tensor)| Ok((name, TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)?)))
        .collect::<Result<Vec<_>, BundleError>>()?;
    Ok(safetensors::serialize(views, None)?)
}

/// The layers, which must be exactly those of `shapes`.
pub(super) fn decode(bytes: &[u8], shapes: &[LayerShape]) -> Result<Vec<Layer>, BundleError> {
    let file = SafeTensors::deserialize(bytes)?;
    let needed: usize = shapes.iter().map(tensors_of).sum();
    if file.len() != needed {
        return Err(invalid(format!("{} tensors for {} layers, {needed} are needed", file.len(), shapes.len())));
    }
    shapes.iter().enumerate().map(|(index, shape)| decode_layer(&file, index, shape)).collect()
}

fn decode_layer(file: &SafeTensors<'_>, index: usize, shape: &LayerShape) -> Result<Layer, BundleError> {
    let numbers_of = |part, count: usize| numbers(file, &name(index, part), &[count]).map(Array1::from_vec);
    let vector = |part| numbers_of(part, shape.outputs);
    let active = |part| numbers_of(part, shape.outputs.saturating_sub(shape.passed));
    let weights = match (shape.dtype, shape.input) {
        (Dtype::F32, None) => Weights::F32(matrix(file, index, shape)?),
        (Dtype::F16, None) => Weights::F16(matrix(file, index, shape)?),
        (Dtype::Bf16, None) => Weights::Bf16(matrix(file, index, shape)?),
        (Dtype::Int8, Some(input)) => {
            Weights::Int8 { values: matrix(file, index, shape)?, scales: vector("scale")?, input }
        }
        (dtype, _) => {
            let reason = format!("layer {index} is {dtype}: \"input\" belongs to int8, and to nothing else");
            return Err(BundleError::Invalid { file: super::MANIFEST, reason });
        }
    };
    let norm = match shape.norm {
        Some(norm) => Some(Norm {
            scale: active("norm.scale")?,
            shift: active("norm.shift")?,
            epsilon: norm.epsilon,
            place: norm.place,
        }),
        None => None,
    };
    let slopes = if has_slopes(shape) { Some(vector("slope")?) } else { None };
    Ok(Layer { weights, bias: vector("bias")?, activation: shape.activation, slopes, norm, passed: shape.passed })
}

/// Whether each layer has one bias, scale and so on per output, and numbers that can be computed with.
pub(super) fn check(layers: &[Layer]) -> Result<(), BundleError> {
    for (index, layer) in layers.iter().enumerate() {
        let vector = |part: &str, values: &Array1<f32>| {
            let expected = if part.starts_with("norm") { layer.active() } else { layer.outputs() };
            if values.len() != expected {
                let found = values.len();
                return Err(invalid(format!(
                    "tensor {:?} has {found} values for {expected} outputs",
                    name(index, part)
                )));
            }
            all_finite(index, part, values)
        };
        match &layer.weights {
            Weights::F32(weights) => all_finite(index, "weight", weights)?,
            Weights::F16(weights) => all_finite(index, "weight", weights)?,
            Weights::Bf16(weights) => all_finite(index, "weight", weights)?,
            Weights::Int8 { scales, input, .. } => {
                vector("scale", scales)?;
                if let Some(scale) = scales.iter().find(|&&scale| scale <= 0.0) {
                    let tensor = name(index, "scale");
                    return Err(invalid(format!("tensor {tensor:?} has the value {scale}, a scale must be above 0")));
                }
                if let Int8Input::Range { low, high } = *input
                    && !(low <= 0.0 && 0.0 <= high && low < high && (high - low).is_finite())
                {
                    let reason = format!("layer {index} has inputs from {low} to {high}: a range must include 0");
                    return Err(BundleError::Invalid { file: super::MANIFEST, reason });
                }
            }
        }
        vector("bias", &layer.bias)?;
        if let Some(slopes) = &layer.slopes {
            vector("slope", slopes)?;
        }
        if let Some(norm) = &layer.norm {
            vector("norm.scale", &norm.scale)?;
            vector("norm.shift", &norm.shift)?;
            if !(norm.epsilon >= 0.0 && norm.epsilon.is_finite()) {
                let reason = format!("layer {index} has a norm whose epsilon is {}", norm.epsilon);
                return Err(BundleError::Invalid { file: super::MANIFEST, reason });
            }
        }
    }
    Ok(())
}

/// How many tensors a layer is.
fn tensors_of(shape: &LayerShape) -> usize {
    let (scale, slope) = (shape.dtype == Dtype::Int8, has_slopes(shape));
    2 + usize::from(scale) + usize::from(slope) + 2 * usize::from(shape.norm.is_some())
}

fn has_slopes(shape: &LayerShape) -> bool {
    shape.activation == Activation::PRelu
}

/// A number as it lies in the file.
trait Number: Copy {
    const STORED: Stored;
    fn to_bytes(self) -> impl IntoIterator<Item = u8>;
    fn from_bytes(bytes: &[u8]) -> Vec<Self>;
    fn not_finite(self) -> Option<f32>;
}

/// Writes [`Number`] for a type with little-endian bytes.
macro_rules! number {
    ($type:ty, $stored:expr, $to_f32:expr) => {
        impl Number for $type {
            const STORED: Stored = $stored;

            fn to_bytes(self) -> impl IntoIterator<Item = u8> {
                self.to_le_bytes()
            }

            fn from_bytes(bytes: &[u8]) -> Vec<Self> {
                bytes.as_chunks().0.iter().map(|&bytes| <$type>::from_le_bytes(bytes)).collect()
            }

            fn not_finite(self) -> Option<f32> {
                let value: f32 = $to_f32(self);
                (!value.is_finite()).then_some(value)
            }
        }
    };
}

number!(f32, Stored::F32, std::convert::identity);
number!(f16, Stored::F16, f32::from);
number!(bf16, Stored::BF16, f32::from);
number!(i8, Stored::I8, f32::from);

/// A tensor to be written.
struct StoredTensor {
    dtype: Stored,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl StoredTensor {
    fn new<T: Number, D: Dimension>(values: &ArrayRef<T, D>) -> StoredTensor {
        let bytes = values.iter().flat_map(|value| value.to_bytes()).collect();
        StoredTensor { dtype: T::STORED, shape: values.shape().to_vec(), bytes }
    }
}

fn matrix<T: Number>(file: &SafeTensors<'_>, index: usize, shape: &LayerShape) -> Result<Array2<T>, BundleError> {
    let name = name(index, "weight");
    let values = numbers(file, &name, &[shape.inputs, shape.outputs])?;
    ArrayBase::from_shape_vec((shape.inputs, shape.outputs), values)
        .map_err(|error| invalid(format!("tensor {name:?}: {error}")))
}

fn numbers<T: Number>(file: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<T>, BundleError> {
    let tensor = file.tensor(name)?;
    if tensor.dtype() != T::STORED {
        return Err(invalid(format!("tensor {name:?} is {}, not {}", tensor.dtype(), T::STORED)));
    }
    if tensor.shape() != shape {
        return Err(invalid(format!("tensor {name:?} has shape {:?}, model.json says {shape:?}", tensor.shape())));
    }
    Ok(T::from_bytes(tensor.data()))
}

fn all_finite<T: Number, D: Dimension>(index: usize, part: &str, values: &ArrayRef<T, D>) -> Result<(), BundleError> {
    match values.iter().find_map(|value| value.not_finite()) {
        None => Ok(()),
        Some(value) => {
            Err(invalid(format!("tensor {:?} has the value {value}, which is not finite", name(index, part))))
        }
    }
}

fn name(index: usize, part: &str) -> String {
    format!("layers.{index}.{part}")
}

fn invalid(reason: String) -> BundleError {
    BundleError::Invalid { file: WEIGHTS, reason }
}
