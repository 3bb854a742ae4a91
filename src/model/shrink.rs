//! Smaller networks from a trained one: weights of fewer bits ([`quantize()`]) and fewer neurons ([`prune()`]).
//!
//! Layers go in and layers come out; whoever calls this makes a version of them and measures what was lost.

mod prune;
mod quantize;
#[cfg(test)]
mod tests;

use ndarray::{Array2, ArrayView2, Axis};

use super::preprocess::Preprocess;
use crate::engine::{Dtype, EngineError, Layer, Mlp, Output, Weights};

pub use prune::prune;
pub use quantize::quantize;

/// Rows that are looked at: more would say the same.
const MAX_ROWS: usize = 10_000;

/// Rows that go through a layer at a time.
const CHUNK_ROWS: usize = 1024;

/// Why a network can't be made smaller.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum ShrinkError {
    /// f16 ends at 65,504.
    #[error("layer {layer} has the weight {weight}, and f16 ends at ±65504: use bf16 or int8")]
    Overflow {
        /// Counted from 0.
        layer: usize,
        /// The first of the weights that are too large.
        weight: f32,
    },
    /// Quantized again, errors would add up.
    #[error("layer {layer} has {dtype} weights already: quantize the f32 version that this one was made from")]
    Narrow {
        /// Counted from 0.
        layer: usize,
        /// What it has.
        dtype: Dtype,
    },
    /// A share that isn't one.
    #[error("the share of neurons must be above 0 and below 1, {0} isn't")]
    Share(f64),
    /// No neuron would go.
    #[error(
        "no neuron can go: there is no hidden layer without a norm (which depends on all its neurons) and without \
         numbers that pass, that is wide enough for this share"
    )]
    NothingToPrune,
    /// The layers don't fit each other.
    #[error("the network can't be run")]
    Engine(#[from] EngineError),
}

/// Bytes of the layers' numbers: weights, biases, scales, slopes, norms.
pub fn bytes(layers: &[Layer]) -> usize {
    let of = |layer: &Layer| {
        let (each, scales) = match &layer.weights {
            Weights::F32(_) => (4, 0),
            Weights::F16(_) | Weights::Bf16(_) => (2, 0),
            Weights::Int8 { scales, .. } => (1, scales.len()),
        };
        let norm = layer.norm.as_ref().map_or(0, |norm| norm.scale.len() + norm.shift.len());
        let slopes = layer.slopes.as_ref().map_or(0, |slopes| slopes.len());
        each * layer.inputs() * layer.outputs() + size_of::<f32>() * (layer.bias.len() + scales + slopes + norm)
    };
    layers.iter().map(of).sum()
}

/// The network's input for decoded rows ([`crate::record`]) that the signature accepts: for some of them, spread over
/// all, if there are many.
pub fn inputs(preprocess: &Preprocess, rows: ArrayView2<'_, f64>) -> Array2<f32> {
    let count = rows.nrows().min(MAX_ROWS);
    let mut inputs = Array2::zeros((count, preprocess.width()));
    for (at, mut input) in inputs.outer_iter_mut().enumerate() {
        let row = rows.row(at * rows.nrows() / count).to_vec();
        if let Some(input) = input.as_slice_mut() {
            preprocess.apply(&row, input);
        }
    }
    inputs
}

/// Shows what each layer, counted from 0, gets for these inputs of the network: rows × its inputs, some rows at a time.
fn walk(
    layers: &[Layer],
    inputs: ArrayView2<'_, f32>,
    mut see: impl FnMut(usize, ArrayView2<'_, f32>),
) -> Result<(), EngineError> {
    let alone = |layer: &Layer| Mlp::new(vec![layer.clone()], Output::Identity);
    let alone = layers.iter().map(alone).collect::<Result<Vec<Mlp>, _>>()?;
    for rows in inputs.axis_chunks_iter(Axis(0), CHUNK_ROWS) {
        let mut x = rows.as_standard_layout().into_owned();
        for (index, layer) in alone.iter().enumerate() {
            see(index, x.view());
            let mut y = Array2::zeros((x.nrows(), layer.outputs()));
            layer.forward(x.view(), y.view_mut(), &mut layer.scratch());
            x = y;
        }
    }
    Ok(())
}
