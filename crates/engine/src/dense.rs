//! One layer: packed weights, and what happens to a block of rows in it.
//!
//! The outputs are cut into columns of one vector's width, the last one padded with zeros, and each column lies in
//! memory as the kernel reads it: the weights of input 0, of input 1, and so on. `tiles` walks through rows and columns,
//! `floats` multiplies by weights of 32 or 16 bits, `int8` by whole ones. `dots` is for layers with few outputs, whose
//! weights lie in memory output by output.

mod beside;
mod dots;
mod floats;
pub(super) mod int8;
mod slopes;
mod tiles;

use half::{bf16, f16};
use ndarray::{Array1, ArrayView2};

use super::activation::Activation;
use super::aligned::Aligned;
use super::kernel::{Simd, Unfused};
use super::norm::{Normalize, PackedNorm};
use super::{Int8Input, Layer, NormPlace, Weights};

use beside::Beside;
use dots::Dots;
use floats::FloatTile;
use int8::{Int8Tile, PackedInt8, Quantized};
use slopes::PRelu;
use tiles::{Target, all_columns};

pub(super) use tiles::TALLEST;

/// From this size on, weights of 16 bits stay so in memory, in f32's bytes: smaller ones are widened when they are
/// packed, since they are in the cache anyway.
const NARROW_BYTES: usize = 512 * 1024;

/// A layer in the layout of one kernel.
pub(super) struct Dense {
    inputs: usize,
    outputs: usize,
    lanes: usize,
    activation: Activation,
    /// Padded to whole vectors.
    slopes: Option<Aligned<f32>>,
    norm: Option<PackedNorm>,
    /// How many outputs, the last ones, pass beside activation and norm.
    passed: usize,
    /// Padded to whole vectors.
    bias: Aligned<f32>,
    product: Product,
}

/// The weights, columns × inputs × lanes if nothing else is said, and the way to multiply by them.
enum Product {
    F32(Aligned<f32>),
    /// Outputs × inputs: there are few outputs.
    Dots(Aligned<f32>),
    /// By [`Unfused`]: the same bits on every kernel.
    Unfused(Aligned<f32>),
    F16(Aligned<f16>),
    Bf16(Aligned<bf16>),
    Int8(PackedInt8),
}

impl Dense {
    /// Packs a layer, whose parts fit each other, for vectors of `lanes` floats. With `same_bits`, its outputs for the
    /// same inputs have the same bits on every kernel.
    pub(super) fn pack(layer: &Layer, lanes: usize, same_bits: bool) -> Dense {
        let (inputs, outputs) = (layer.inputs(), layer.outputs());
        let is_large = size_of::<f32>() * inputs * outputs >= NARROW_BYTES;
        let product = match &layer.weights {
            Weights::Int8 { values, scales, input: Int8Input::Dynamic } => {
                Product::Int8(PackedInt8::pack(values.view(), scales, None, lanes))
            }
            Weights::Int8 { values, scales, input: Int8Input::Range { low, high } } => {
                Product::Int8(PackedInt8::pack(values.view(), scales, Some([*low, *high]), lanes))
            }
            weights if same_bits => Product::Unfused(columns(weights.to_f32().view(), lanes)),
            Weights::F16(weights) if is_large => Product::F16(columns(weights.view(), lanes)),
            Weights::Bf16(weights) if is_large => Product::Bf16(columns(weights.view(), lanes)),
            weights if !is_large && dots::is_for(inputs, outputs, lanes) => {
                Product::Dots(columns(weights.to_f32().view(), 1))
            }
            weights => Product::F32(columns(weights.to_f32().view(), lanes)),
        };
        Dense {
            inputs,
            outputs,
            lanes,
            activation: layer.activation,
            slopes: layer.slopes.as_ref().map(|slopes| padded(slopes, lanes)),
            norm: layer.norm.as_ref().map(|norm| PackedNorm::pack(norm, lanes)),
            passed: layer.passed,
            bias: padded(&layer.bias, lanes),
            product,
        }
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Outputs rounded up to whole vectors: the width of a row that [`forward`](Dense::forward) writes.
    pub(super) fn width(&self) -> usize {
        self.outputs.next_multiple_of(self.lanes)
    }

    /// Bytes that a row needs in [`Quantized`].
    pub(super) fn quantized_bytes(&self) -> usize {
        match self.product {
            Product::Int8(_) => int8::row_bytes(self.inputs),
            _ => 0,
        }
    }

    /// Computes the outputs of `rows` rows into `y`, rows × [`width`](Dense::width). The inputs of a row begin every
    /// `stride` floats of `x`. The padding of `y` is filled with no particular values. `quantized` is room for the rows,
    /// where the layer [needs](Dense::quantized_bytes) it.
    ///
    /// # Panics
    /// If the layer was packed for another kernel, or `x`, `y` or `quantized` is too short.
    #[inline(always)]
    pub(super) fn forward<S: Simd>(
        &self,
        s: S,
        x: &[f32],
        stride: usize,
        rows: usize,
        y: &mut [f32],
        quantized: &mut Quantized,
    ) {
        if rows == 0 {
            return;
        }
        assert!(self.lanes == S::LANES, "packed for another kernel");
        assert!(stride >= self.inputs && x.len() >= (rows - 1) * stride + self.inputs, "too few inputs");
        assert!(y.len() >= rows * self.width(), "too little room for outputs");

        let (before_norm, behind_norm) = match self.norm.as_ref().map(|norm| norm.place) {
            _ if self.passed > 0 => (Activation::Identity, Activation::Identity),
            Some(NormPlace::BeforeActivation) => (Activation::Identity, self.activation),
            Some(NormPlace::AfterActivation) | None => (self.activation, Activation::Identity),
        };
        let target = Target { y: y.as_mut_ptr(), stride: self.width(), activation: before_norm };
        let columns = self.width() / S::LANES;
        let plain = s.plain();
        // SAFETY: the checks above and those of `quantize` cover all rows and columns; `pack` made the rest.
        unsafe {
            match &self.product {
                Product::F32(weights) => all_columns(plain, self.tile(x, stride, weights, target), rows, columns),
                Product::Dots(weights) => plain.run(Dots {
                    inputs: self.inputs,
                    x: x.as_ptr(),
                    x_stride: stride,
                    rows,
                    weights,
                    bias: &self.bias[..self.outputs],
                    target,
                }),
                Product::F16(weights) => all_columns(plain, self.tile(x, stride, weights, target), rows, columns),
                Product::Bf16(weights) => all_columns(plain, self.tile(x, stride, weights, target), rows, columns),
                Product::Unfused(weights) => {
                    all_columns(Unfused(plain), self.tile(x, stride, weights, target), rows, columns);
                }
                Product::Int8(packed) => {
                    let s = Unfused(s);
                    quantized.quantize(s.plain(), packed, x, stride, rows);
                    all_columns(s, Int8Tile::new(packed, quantized, &self.bias, target), rows, columns);
                }
            }
        }
        let y = &mut y[..rows * self.width()];
        if self.passed > 0 {
            return self.beside(plain, y);
        }
        let is_norm_first = self.norm.as_ref().is_some_and(|norm| norm.place == NormPlace::BeforeActivation);
        if let (Some(slopes), false) = (&self.slopes, is_norm_first) {
            plain.run(PRelu { slopes, y });
        }
        if let Some(norm) = &self.norm {
            let normalize = Normalize { norm, activation: behind_norm, y };
            match self.product {
                Product::Unfused(_) | Product::Int8(_) => Unfused(plain).run(normalize),
                Product::F32(_) | Product::Dots(_) | Product::F16(_) | Product::Bf16(_) => plain.run(normalize),
            }
        }
        if let (Some(slopes), true) = (&self.slopes, is_norm_first) {
            plain.run(PRelu { slopes, y });
        }
    }

    /// Activation and norm of the outputs that don't pass.
    #[inline(always)]
    fn beside<S: Simd>(&self, s: S, y: &mut [f32]) {
        let (active, activation, norm) = (self.outputs - self.passed, self.activation, self.norm.as_ref());
        let beside = Beside { active, activation, norm, width: self.width(), y };
        match self.product {
            Product::Unfused(_) | Product::Int8(_) => Unfused(s).run(beside),
            Product::F32(_) | Product::Dots(_) | Product::F16(_) | Product::Bf16(_) => s.run(beside),
        }
    }

    #[inline(always)]
    fn tile<W>(&self, x: &[f32], x_stride: usize, weights: &[W], target: Target) -> FloatTile<W> {
        let (weights, bias) = (weights.as_ptr(), self.bias.as_ptr());
        FloatTile { inputs: self.inputs, x: x.as_ptr(), x_stride, weights, bias, target }
    }
}

/// Values, inputs × outputs, in columns × inputs × lanes.
fn columns<T: Copy + Default>(values: ArrayView2<'_, T>, lanes: usize) -> Aligned<T> {
    let (inputs, outputs) = values.dim();
    let mut packed = Aligned::zeros(outputs.div_ceil(lanes) * inputs * lanes);
    for (index, column) in packed.chunks_exact_mut(inputs * lanes).enumerate() {
        for (lane, output) in (index * lanes..outputs).take(lanes).enumerate() {
            let to = column[lane..].iter_mut().step_by(lanes);
            to.zip(values.column(output)).for_each(|(to, &value)| *to = value);
        }
    }
    packed
}

/// Values, padded to whole vectors.
pub(super) fn padded<T: Copy + Default>(values: &Array1<T>, lanes: usize) -> Aligned<T> {
    let mut padded = Aligned::zeros(values.len().next_multiple_of(lanes));
    padded.iter_mut().zip(values).for_each(|(to, &value)| *to = value);
    padded
}
