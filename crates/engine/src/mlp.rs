//! The whole network: blocks of rows walk through all layers.

use std::fmt;

use ndarray::{Array1, ArrayView2, ArrayViewMut2, s};

use super::aligned::Aligned;
use super::dense::int8::{MAX_INPUTS, Quantized};
use super::dense::{Dense, TALLEST};
use super::kernel::{Backend, Kernel, Operation, Simd};
use super::{Activation, Dtype, EngineError, Int8Input, Layer, Output, Weights};

/// Bytes of inputs and outputs of the widest layer that a block of rows should have: they stay in the first and second
/// level cache beside a few columns of weights.
const BLOCK_BYTES: usize = 64 * 1024;

/// Rows of a block, whatever its bytes: fewer would read the weights too often, more gain nothing. Multiples of all tiles'
/// rows, so that only a batch's last block has lower tiles.
const BLOCK_ROWS: std::ops::RangeInclusive<usize> = 48..=192;

/// A network, packed for a kernel of this machine. Shared by all threads; each has its own [`Scratch`].
pub struct Mlp {
    layers: Vec<Dense>,
    output: Output,
    backend: Backend,
    block_rows: usize,
}

/// Memory of one thread for [`Mlp::forward`], made by [`Mlp::scratch`] of the same network or one of the same shape.
#[derive(Default)]
pub struct Scratch {
    /// A layer reads one and writes the other.
    buffers: [Aligned<f32>; 2],
    /// What an int8 layer reads.
    quantized: Quantized,
}

impl Mlp {
    /// Packs the layers for the fastest kernel of this machine.
    ///
    /// # Errors
    /// If there are no layers, one is empty, its bias, scales, slopes or norm don't fit its weights or it doesn't fit the layer
    /// before it, or the last one has more than one output where `output` is logistic.
    pub fn new(layers: Vec<Layer>, output: Output) -> Result<Mlp, EngineError> {
        Mlp::pack(&layers, output, Backend::best())
    }

    /// Packs the layers for a chosen kernel, to compare it with others.
    ///
    /// # Errors
    /// As [`Mlp::new`], or if this machine can't run the kernel.
    pub fn with_kernel(layers: Vec<Layer>, output: Output, kernel: Kernel) -> Result<Mlp, EngineError> {
        Mlp::pack(&layers, output, kernel.backend().ok_or(EngineError::Kernel(kernel))?)
    }

    fn pack(layers: &[Layer], output: Output, backend: Backend) -> Result<Mlp, EngineError> {
        check(layers, output)?;
        let lanes = backend.run(Lanes);
        let last_quantizing = layers.iter().rposition(quantizes).unwrap_or(0);
        let pack = |(index, layer)| Dense::pack(layer, lanes, index < last_quantizing);
        let layers: Vec<Dense> = layers.iter().enumerate().map(pack).collect();

        let floats = layers.iter().map(|layer| layer.inputs() + layer.width()).max().unwrap_or(0);
        let rows = BLOCK_BYTES / (size_of::<f32>() * floats);
        let block_rows = rows.clamp(*BLOCK_ROWS.start(), *BLOCK_ROWS.end()) / TALLEST * TALLEST;
        Ok(Mlp { layers, output, backend, block_rows })
    }

    /// Columns of the input.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs()
    }

    /// Columns of the answer, behind the output function.
    pub fn outputs(&self) -> usize {
        self.output.columns(self.layers[self.layers.len() - 1].outputs())
    }

    /// The kernel in use.
    pub fn kernel(&self) -> Kernel {
        self.backend.kernel()
    }

    /// Memory for [`forward`](Mlp::forward), to be used again and again by one thread.
    pub fn scratch(&self) -> Scratch {
        let floats = self.scratch_floats();
        let buffers = [Aligned::zeros(floats), Aligned::zeros(floats)];
        Scratch { buffers, quantized: Quantized::new(self.block_rows, self.quantized_bytes()) }
    }

    fn scratch_floats(&self) -> usize {
        self.block_rows * self.layers.iter().map(Dense::width).max().unwrap_or(0)
    }

    fn quantized_bytes(&self) -> usize {
        self.layers.iter().map(Dense::quantized_bytes).max().unwrap_or(0)
    }

    /// Computes the answers `out`, rows × [`outputs`](Mlp::outputs), to `x`, rows × [`inputs`](Mlp::inputs). Allocates
    /// nothing. The same row gives the same bits in every call of this network, whatever rows come with it.
    ///
    /// # Panics
    /// If the matrices don't have these shapes, `x` isn't in standard layout, or the scratch is one of a smaller network.
    pub fn forward(&self, x: ArrayView2<'_, f32>, out: ArrayViewMut2<'_, f32>, scratch: &mut Scratch) {
        let rows = x.nrows();
        assert_eq!(x.ncols(), self.inputs(), "columns of x");
        assert_eq!(out.dim(), (rows, self.outputs()), "rows and columns of out");
        let Some(x) = x.to_slice() else { panic!("x must be in standard layout") };
        let has_room = scratch.buffers[0].len() >= self.scratch_floats()
            && scratch.quantized.holds(self.block_rows, self.quantized_bytes());
        assert!(has_room, "the scratch is one of a smaller network");
        self.backend.run(Forward { mlp: self, rows, x, out, scratch });
    }
}

impl fmt::Debug for Mlp {
    /// The shape, not the weights.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outputs: Vec<usize> = self.layers.iter().map(Dense::outputs).collect();
        f.debug_struct("Mlp")
            .field("inputs", &self.inputs())
            .field("layers", &outputs)
            .field("output", &self.output)
            .field("kernel", &self.kernel())
            .finish()
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("floats", &self.buffers[0].len()).finish()
    }
}

/// Whether a layer rounds its inputs to few bits: what differs in their last place might then differ in the first.
fn quantizes(layer: &Layer) -> bool {
    matches!(layer.weights, Weights::Int8 { input: Int8Input::Dynamic | Int8Input::Range { .. }, .. })
}

fn check(layers: &[Layer], output: Output) -> Result<(), EngineError> {
    let mut previous = None;
    for (layer, Layer { weights, bias, activation, slopes, norm, passed }) in layers.iter().enumerate() {
        let (inputs, outputs) = (weights.inputs(), weights.outputs());
        if inputs == 0 || outputs == 0 {
            return Err(EngineError::EmptyLayer { layer, inputs, outputs });
        }
        if bias.len() != outputs {
            return Err(EngineError::Bias { layer, outputs, bias: bias.len() });
        }
        if let Weights::Int8 { scales, .. } = weights
            && scales.len() != outputs
        {
            return Err(EngineError::Scales { layer, outputs, scales: scales.len() });
        }
        if weights.dtype() == Dtype::Int8 && inputs > MAX_INPUTS {
            return Err(EngineError::Int8Inputs { layer, inputs });
        }
        activation.validate()?;
        let wanted = if *activation == Activation::PRelu { outputs } else { 0 };
        let slopes = slopes.as_ref().map_or(0, Array1::len);
        if slopes != wanted {
            return Err(EngineError::Slopes { layer, wanted, slopes });
        }
        if *passed >= outputs || (*passed > 0 && wanted > 0) {
            return Err(EngineError::Passed { layer, outputs, passed: *passed });
        }
        let active = outputs - passed;
        if let Some(norm) = norm
            && (norm.scale.len(), norm.shift.len()) != (active, active)
        {
            let (scale, shift) = (norm.scale.len(), norm.shift.len());
            return Err(EngineError::Norm { layer, outputs: active, scale, shift });
        }
        match previous.replace(outputs) {
            Some(previous) if previous != inputs => return Err(EngineError::Chain { layer, inputs, previous }),
            _ => {}
        }
    }
    match (output, previous) {
        (_, None) => Err(EngineError::NoLayers),
        (Output::Logistic, Some(logits)) if logits != 1 => Err(EngineError::Logits(logits)),
        _ => Ok(()),
    }
}

/// A kernel's lanes.
struct Lanes;

impl Operation for Lanes {
    type Output = usize;

    #[inline(always)]
    fn call<S: Simd>(self, _: S) -> usize {
        S::LANES
    }
}

struct Forward<'a> {
    mlp: &'a Mlp,
    rows: usize,
    x: &'a [f32],
    out: ArrayViewMut2<'a, f32>,
    scratch: &'a mut Scratch,
}

impl Operation for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(mut self, s: S) {
        let Mlp { layers, output, block_rows, .. } = self.mlp;
        let Scratch { buffers, quantized } = self.scratch;
        let [mut here, mut there] = buffers.each_mut();
        for start in (0..self.rows).step_by(*block_rows) {
            let rows = (self.rows - start).min(*block_rows);
            layers[0].forward(s, &self.x[start * layers[0].inputs()..], layers[0].inputs(), rows, here, quantized);
            for pair in layers.windows(2) {
                pair[1].forward(s, here, pair[0].width(), rows, there, quantized);
                std::mem::swap(&mut here, &mut there);
            }
            let width = layers[layers.len() - 1].width();
            output.write(s, &here[..rows * width], width, there, self.out.slice_mut(s![start..start + rows, ..]));
        }
    }
}
