//! `weights.safetensors`: `layers.N.weight` (inputs × outputs, row by row) and `layers.N.bias`, f32.
//!
//! Nothing is allocated that the file's own length doesn't cover, whatever its header claims.

use ndarray::{Array1, Array2};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{BundleError, LayerShape, WEIGHTS};
use crate::engine::Layer;

/// The file's bytes.
pub(super) fn encode(layers: &[Layer]) -> Result<Vec<u8>, BundleError> {
    let mut tensors = Vec::with_capacity(2 * layers.len());
    for (index, layer) in layers.iter().enumerate() {
        let (weight, bias) = names(index);
        tensors.push((weight, layer.weights.shape().to_vec(), to_bytes(layer.weights.iter())));
        tensors.push((bias, layer.bias.shape().to_vec(), to_bytes(layer.bias.iter())));
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, BundleError>>()?;
    Ok(safetensors::serialize(views, None)?)
}

/// The layers, which must be exactly those of `shapes`.
pub(super) fn decode(bytes: &[u8], shapes: &[LayerShape]) -> Result<Vec<Layer>, BundleError> {
    let file = SafeTensors::deserialize(bytes)?;
    if file.len() != 2 * shapes.len() {
        return Err(invalid(format!("{} tensors for {} layers, two each are needed", file.len(), shapes.len())));
    }
    let mut layers = Vec::with_capacity(shapes.len());
    for (index, shape) in shapes.iter().enumerate() {
        let (weight, bias) = names(index);
        let weights = numbers(&file, &weight, &[shape.inputs, shape.outputs])?;
        let weights = Array2::from_shape_vec((shape.inputs, shape.outputs), weights)
            .map_err(|error| invalid(format!("tensor {weight:?}: {error}")))?;
        let bias = Array1::from_vec(numbers(&file, &bias, &[shape.outputs])?);
        layers.push(Layer { weights, bias, activation: shape.activation });
    }
    Ok(layers)
}

/// Whether each layer has one bias per output, and finite numbers only.
pub(super) fn check(layers: &[Layer]) -> Result<(), BundleError> {
    for (index, layer) in layers.iter().enumerate() {
        let (weight, bias) = names(index);
        if layer.bias.len() != layer.weights.ncols() {
            let (found, expected) = (layer.bias.len(), layer.weights.ncols());
            return Err(invalid(format!("tensor {bias:?} has {found} values for {expected} outputs")));
        }
        let not_finite = |name, value| invalid(format!("tensor {name:?} has the value {value}, which is not finite"));
        if let Some(value) = layer.weights.iter().find(|value| !value.is_finite()) {
            return Err(not_finite(weight, value));
        }
        if let Some(value) = layer.bias.iter().find(|value| !value.is_finite()) {
            return Err(not_finite(bias, value));
        }
    }
    Ok(())
}

fn numbers(file: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>, BundleError> {
    let tensor = file.tensor(name)?;
    if tensor.dtype() != Dtype::F32 {
        return Err(invalid(format!("tensor {name:?} is {}, not F32", tensor.dtype())));
    }
    if tensor.shape() != shape {
        return Err(invalid(format!("tensor {name:?} has shape {:?}, model.json says {shape:?}", tensor.shape())));
    }
    let (values, _) = tensor.data().as_chunks();
    Ok(values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

fn names(index: usize) -> (String, String) {
    (format!("layers.{index}.weight"), format!("layers.{index}.bias"))
}

fn to_bytes<'a>(values: impl Iterator<Item = &'a f32>) -> Vec<u8> {
    values.flat_map(|value| value.to_le_bytes()).collect()
}

fn invalid(reason: String) -> BundleError {
    BundleError::Invalid { file: WEIGHTS, reason }
}
