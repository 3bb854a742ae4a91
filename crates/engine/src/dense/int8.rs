//! Products of whole numbers: weights from -127 to 127 by inputs from 0 to 127, summed up in i32.
//!
//! A row's inputs are cut into 127 steps between its bounds, 0 being one of the steps: `input ≈ step · (q - zero)`.
//! They have 7 bits, not 8, because AVX2 adds pairs of products in i16, and saturates. Sums are exact, and what is done
//! to them afterwards is rounded in the same way by every kernel: so an int8 layer has the same bits everywhere.

use ndarray::{Array1, ArrayView2, Axis};

use super::floats::load_columns;
use super::padded;
use super::tiles::{TALLEST, Target, Tile};
use crate::aligned::Aligned;
use crate::kernel::{MAX_LANES, Operation, Simd};
use crate::math;

/// Inputs that are multiplied together, one to each byte of a lane.
const GROUP: usize = 4;

/// The largest quantized input.
const STEPS: f32 = 127.0;

/// With more inputs, sums could leave i32.
pub(crate) const MAX_INPUTS: usize = i32::MAX as usize / (127 * 128);

/// Int8 weights in the layout of one kernel.
pub(super) struct PackedInt8 {
    inputs: usize,
    /// Columns × groups of inputs × lanes × [`GROUP`].
    values: Aligned<i8>,
    /// Of the weights of each output: what an input's zero adds to the sums of products.
    sums: Aligned<i32>,
    scales: Aligned<f32>,
    /// Of the inputs, where they are not each row's own.
    bounds: Option<[f32; 2]>,
}

impl PackedInt8 {
    /// Packs values, inputs × outputs, whose scales are one per output.
    pub(super) fn pack(
        values: ArrayView2<'_, i8>,
        scales: &Array1<f32>,
        bounds: Option<[f32; 2]>,
        lanes: usize,
    ) -> PackedInt8 {
        let (inputs, outputs) = values.dim();
        let column = inputs.div_ceil(GROUP) * lanes * GROUP;
        let mut packed = Aligned::zeros(outputs.div_ceil(lanes) * column);
        for ((input, output), &value) in values.indexed_iter() {
            let group = (input / GROUP * lanes + output % lanes) * GROUP;
            packed[output / lanes * column + group + input % GROUP] = value;
        }
        let sums = values.mapv(i32::from).sum_axis(Axis(0));
        PackedInt8 { inputs, values: packed, sums: padded(&sums, lanes), scales: padded(scales, lanes), bounds }
    }
}

/// Bytes of a quantized row: whole vectors of them can be written.
pub(super) fn row_bytes(inputs: usize) -> usize {
    inputs.next_multiple_of(MAX_LANES)
}

/// Room for the quantized inputs of a block of rows.
#[derive(Default)]
pub(crate) struct Quantized {
    bytes: Aligned<u8>,
    rows: Vec<RowScale>,
}

/// What the steps of a row stand for: `input ≈ step · (q - zero)`.
#[derive(Clone, Copy, Default)]
struct RowScale {
    step: f32,
    zero: i32,
}

impl Quantized {
    /// Room for `rows` rows of up to `row_bytes` bytes; for none if these are 0.
    pub(crate) fn new(rows: usize, row_bytes: usize) -> Quantized {
        let rows = if row_bytes == 0 { 0 } else { rows };
        Quantized { bytes: Aligned::zeros(rows * row_bytes), rows: vec![RowScale::default(); rows] }
    }

    /// Whether there is as much room as in another one.
    pub(crate) fn holds(&self, rows: usize, row_bytes: usize) -> bool {
        self.bytes.len() >= rows * row_bytes && (row_bytes == 0 || self.rows.len() >= rows)
    }

    /// Quantizes `rows` rows, whose inputs begin every `stride` floats of `x`.
    ///
    /// # Panics
    /// If `x` or the room is too short.
    #[inline(always)]
    pub(super) fn quantize<S: Simd>(&mut self, s: S, packed: &PackedInt8, x: &[f32], stride: usize, rows: usize) {
        let row_bytes = row_bytes(packed.inputs);
        let (bytes, scales) = (&mut self.bytes[..rows * row_bytes], &mut self.rows[..rows]);
        s.run(QuantizeRows { inputs: packed.inputs, bounds: packed.bounds, x, stride, bytes, row_bytes, scales });
    }
}

struct QuantizeRows<'a> {
    inputs: usize,
    bounds: Option<[f32; 2]>,
    x: &'a [f32],
    stride: usize,
    bytes: &'a mut [u8],
    row_bytes: usize,
    scales: &'a mut [RowScale],
}

impl Operation for QuantizeRows<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        for (row, (bytes, scale)) in self.bytes.chunks_exact_mut(self.row_bytes).zip(self.scales).enumerate() {
            let x = &self.x[row * self.stride..][..self.inputs];
            let own = bounds(s, x);
            let [low, high] = match (self.bounds, own) {
                (Some(calibrated), Some(_)) => calibrated,
                (None, Some(own)) => own,
                // A row with a NaN or an infinity has no answer: NaN shows that.
                (_, None) => {
                    *scale = RowScale { step: f32::NAN, zero: 0 };
                    continue;
                }
            };
            let per_step = STEPS / (high - low);
            if !per_step.is_finite() {
                // All inputs are 0, or so small that they might as well be.
                *scale = RowScale { step: 0.0, zero: 0 };
                continue;
            }
            let zero = (-low * per_step).round_ties_even().min(STEPS);
            *scale = RowScale { step: (high - low) / STEPS, zero: zero as i32 };
            let quantize = |x: S::V| {
                let q = s.add(s.mul(x, s.splat(per_step)), s.splat(zero));
                math::round(s, s.at_most(s.splat(STEPS), s.at_least(s.splat(0.0), q)))
            };
            let vectors = x.chunks_exact(S::LANES);
            let rest = vectors.remainder();
            let mut padded = [0.0; MAX_LANES];
            padded[..rest.len()].copy_from_slice(rest);
            for (vector, bytes) in vectors.chain([&padded[..]]).zip(bytes.chunks_exact_mut(S::LANES)) {
                // SAFETY: the chunks have one byte per lane.
                unsafe { s.store_bytes(quantize(s.read(vector)), bytes.as_mut_ptr()) };
            }
        }
    }
}

/// The smallest and the largest of the values and 0; none if one of them isn't finite.
#[inline(always)]
fn bounds<S: Simd>(s: S, x: &[f32]) -> Option<[f32; 2]> {
    let zero = s.splat(0.0);
    let (mut low, mut high, mut finite) = (zero, zero, zero);
    let vectors = x.chunks_exact(S::LANES);
    let rest = vectors.remainder();
    let mut padded = [0.0; MAX_LANES];
    padded[..rest.len()].copy_from_slice(rest);
    for vector in vectors.chain([&padded[..]]) {
        let x = s.read(vector);
        low = s.at_most(low, x);
        high = s.at_least(high, x);
        finite = s.add(finite, s.sub(x, x)); // 0, or NaN for good
    }
    let lanes = |vector: S::V| {
        let mut lanes = [0.0; MAX_LANES];
        s.write(vector, &mut lanes);
        lanes
    };
    let is_finite = lanes(finite).iter().all(|&zero| zero == 0.0);
    is_finite.then(|| [lanes(low).into_iter().fold(0.0, f32::min), lanes(high).into_iter().fold(0.0, f32::max)])
}

/// Where the operands begin: the quantized inputs of a row, a column's weights and what belongs to it, and the outputs.
#[derive(Clone, Copy)]
pub(super) struct Int8Tile {
    groups: usize,
    x: *const u8,
    x_stride: usize,
    rows: *const RowScale,
    weights: *const i8,
    sums: *const i32,
    scales: *const f32,
    bias: *const f32,
    target: Target,
}

impl Int8Tile {
    /// For rows that have just been [quantized](Quantized::quantize).
    pub(super) fn new(packed: &PackedInt8, quantized: &Quantized, bias: &[f32], target: Target) -> Int8Tile {
        Int8Tile {
            groups: packed.inputs.div_ceil(GROUP),
            x: quantized.bytes.as_ptr(),
            x_stride: row_bytes(packed.inputs),
            rows: quantized.rows.as_ptr(),
            weights: packed.values.as_ptr(),
            sums: packed.sums.as_ptr(),
            scales: packed.scales.as_ptr(),
            bias: bias.as_ptr(),
            target,
        }
    }
}

impl Tile for Int8Tile {
    #[inline(always)]
    fn at_column<S: Simd>(self, column: usize) -> Int8Tile {
        Int8Tile {
            weights: self.weights.wrapping_add(column * self.groups * S::LANES * GROUP),
            sums: self.sums.wrapping_add(column * S::LANES),
            scales: self.scales.wrapping_add(column * S::LANES),
            bias: self.bias.wrapping_add(column * S::LANES),
            target: self.target.at_column::<S>(column),
            ..self
        }
    }

    #[inline(always)]
    fn at_row(self, row: usize) -> Int8Tile {
        let x = self.x.wrapping_add(row * self.x_stride);
        Int8Tile { x, rows: self.rows.wrapping_add(row), target: self.target.at_row(row), ..self }
    }

    #[inline(always)]
    unsafe fn multiply<S: Simd, const R: usize, const C: usize>(self, s: S) {
        let column = self.groups * S::LANES * GROUP;
        // Three rows share a pointer, as in the product of floats.
        let mut x: [*const u8; TALLEST / 3] = std::array::from_fn(|i| self.x.wrapping_add(3 * i * self.x_stride));
        let mut w = self.weights;
        // SAFETY: the caller vouches for rows and columns; rows and columns have whole groups.
        unsafe {
            let mut sums = [[s.splat_int(0); C]; R];
            for _ in 0..self.groups {
                let mut weights = [s.splat_int(0); C];
                for (c, weights) in weights.iter_mut().enumerate() {
                    *weights = s.load_int(w.add(c * column).cast());
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let group = x[r / 3].add(r % 3 * self.x_stride).cast::<i32>();
                    let inputs = s.splat_int(group.read_unaligned());
                    for (sum, &weights) in sums.iter_mut().zip(&weights) {
                        *sum = s.add_products(*sum, inputs, weights);
                    }
                }
                for x in &mut x {
                    *x = x.wrapping_add(GROUP);
                }
                w = w.add(S::LANES * GROUP);
            }

            let scales = load_columns::<S, f32, C>(s, self.scales, S::LANES);
            let bias = load_columns::<S, f32, C>(s, self.bias, S::LANES);
            let mut outputs = [[s.splat(0.0); C]; R];
            for r in 0..R {
                let RowScale { step, zero } = *self.rows.add(r);
                for c in 0..C {
                    let weights = s.load_int(self.sums.add(c * S::LANES));
                    let sum = s.to_floats(s.sub_product(sums[r][c], s.splat_int(zero), weights));
                    outputs[r][c] = s.add(s.mul(s.mul(sum, scales[c]), s.splat(step)), bias[c]);
                }
            }
            self.target.store(s, outputs);
        }
    }

    #[inline(always)]
    fn target(self) -> Target {
        self.target
    }
}
