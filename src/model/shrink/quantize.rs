//! Weights of fewer bits.

use half::{bf16, f16};
use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::{ShrinkError, walk};
use crate::engine::{Dtype, Int8Input, Layer, Weights};

/// From so many inputs and outputs on, int8 products are at least as fast as f32's at 1 row and at 256; below, their
/// inputs' rounding and the sums' scaling cost more than is won. On AVX2 (AMD EPYC), times f32's speed at 256 and at 1
/// row: 30 × 100 0.91 and 0.98, 64 × 64 0.97 and 0.99, 128 × 32 0.87 and 1.08, 1024 × 16 0.68 and 2.1; but 96 × 96 1.09
/// and 1.17, 128 × 64 1.06 and 1.15, 256 × 256 1.4 and 1.7, 512 × 512 1.7 and 3.4.
const INT8_INPUTS: usize = 96;
const INT8_OUTPUTS: usize = 64;

/// The largest magnitude of int8 weights: there is one more on the left of 0, but not on the right.
const LARGEST: f32 = 127.0;

/// The same layers with weights of another type.
///
/// int8 has one scale per output. With `inputs` of the network, rows × columns, what int8 layers read is rounded between
/// the bounds that these rows have there, else between each row's own. Layers too small to gain from it stay f32 in
/// computation.
///
/// # Errors
/// If the weights aren't f32, or f16 can't hold one.
pub fn quantize(layers: &[Layer], to: Dtype, inputs: Option<ArrayView2<'_, f32>>) -> Result<Vec<Layer>, ShrinkError> {
    let bounds = match inputs {
        Some(inputs) if to == Dtype::Int8 => Some(bounds(layers, inputs)?),
        _ => None,
    };
    let narrow = |(index, layer): (usize, &Layer)| {
        let Weights::F32(weights) = &layer.weights else {
            return Err(ShrinkError::Narrow { layer: index, dtype: layer.weights.dtype() });
        };
        let weights = match to {
            Dtype::F32 => Weights::F32(weights.clone()),
            Dtype::F16 => to_f16(index, weights)?,
            Dtype::Bf16 => Weights::Bf16(weights.mapv(bf16::from_f32)),
            Dtype::Int8 => to_int8(weights, bounds.as_ref().map(|bounds| bounds[index])),
        };
        Ok(Layer { weights, ..layer.clone() })
    };
    layers.iter().enumerate().map(narrow).collect()
}

/// The smallest and the largest of what each layer reads, and 0. What isn't finite has no answer anyway.
fn bounds(layers: &[Layer], inputs: ArrayView2<'_, f32>) -> Result<Vec<[f32; 2]>, ShrinkError> {
    let mut bounds = vec![[0.0_f32; 2]; layers.len()];
    walk(layers, inputs, |layer, x| {
        let [low, high] = &mut bounds[layer];
        for &x in x.iter().filter(|x| x.is_finite()) {
            *low = low.min(x);
            *high = high.max(x);
        }
    })?;
    Ok(bounds)
}

fn to_f16(layer: usize, weights: &Array2<f32>) -> Result<Weights, ShrinkError> {
    let narrow = weights.mapv(f16::from_f32);
    match narrow.iter().zip(weights).find(|(narrow, _)| !narrow.is_finite()) {
        Some((_, &weight)) => Err(ShrinkError::Overflow { layer, weight }),
        None => Ok(Weights::F16(narrow)),
    }
}

fn to_int8(weights: &Array2<f32>, bounds: Option<[f32; 2]>) -> Weights {
    let scale = |largest: f32| {
        let scale = largest / LARGEST;
        // Weights of nothing but zeros, or so small that they might as well be, need some scale too.
        if scale.is_normal() { scale } else { 1.0 }
    };
    let largest =
        weights.map_axis(Axis(0), |column| column.iter().fold(0.0_f32, |most, weight| most.max(weight.abs())));
    let scales: Array1<f32> = largest.mapv(scale);
    let values = (weights / &scales).mapv(|value| value.round_ties_even() as i8);
    let (inputs, outputs) = weights.dim();
    let input = match bounds {
        _ if inputs < INT8_INPUTS || outputs < INT8_OUTPUTS => Int8Input::F32,
        Some([low, high]) if low < high && (high - low).is_finite() => Int8Input::Range { low, high },
        _ => Int8Input::Dynamic,
    };
    Weights::Int8 { values, scales, input }
}
