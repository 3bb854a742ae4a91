//! Products of floats, whose weights may be stored in fewer bits: each sum starts with the bias and adds input · weight in
//! the order of the inputs.

use half::{bf16, f16};

use super::tiles::{TALLEST, Target, Tile};
use crate::kernel::Simd;

/// A weight as it is stored.
pub(super) trait Stored: Copy {
    /// Reads a vector of them.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` of them.
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::V;
}

impl Stored for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const f32) -> S::V {
        // SAFETY: the caller vouches for the memory.
        unsafe { s.load(from) }
    }
}

impl Stored for f16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const f16) -> S::V {
        // SAFETY: the caller vouches for the memory.
        unsafe { s.load_f16(from) }
    }
}

impl Stored for bf16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const bf16) -> S::V {
        // SAFETY: the caller vouches for the memory.
        unsafe { s.load_bf16(from) }
    }
}

/// Where the operands begin: the inputs of a row, a column's weights and bias, and the outputs.
#[derive(Clone, Copy)]
pub(super) struct FloatTile<W> {
    pub(super) inputs: usize,
    pub(super) x: *const f32,
    pub(super) x_stride: usize,
    pub(super) weights: *const W,
    pub(super) bias: *const f32,
    pub(super) target: Target,
}

impl<W: Stored> Tile for FloatTile<W> {
    #[inline(always)]
    fn at_column<S: Simd>(self, column: usize) -> FloatTile<W> {
        let weights = self.weights.wrapping_add(column * self.inputs * S::LANES);
        let bias = self.bias.wrapping_add(column * S::LANES);
        FloatTile { weights, bias, target: self.target.at_column::<S>(column), ..self }
    }

    #[inline(always)]
    fn at_row(self, row: usize) -> FloatTile<W> {
        FloatTile { x: self.x.wrapping_add(row * self.x_stride), target: self.target.at_row(row), ..self }
    }

    #[inline(always)]
    unsafe fn multiply<S: Simd, const R: usize, const C: usize>(self, s: S) {
        let column = self.inputs * S::LANES;
        // Three rows share a pointer: x, x + stride and x + 2 · stride are addressing modes of x86-64.
        let mut x: [*const f32; TALLEST / 3] = std::array::from_fn(|i| self.x.wrapping_add(3 * i * self.x_stride));
        let mut w = self.weights;
        // SAFETY: the caller vouches for rows and columns; a column has a weight for every input.
        unsafe {
            let mut sums = [load_columns::<S, f32, C>(s, self.bias, S::LANES); R];
            for _ in 0..self.inputs {
                let weights = load_columns::<S, W, C>(s, w, column);
                for (r, sums) in sums.iter_mut().enumerate() {
                    let value = s.splat(*x[r / 3].add(r % 3 * self.x_stride));
                    for (sum, &weight) in sums.iter_mut().zip(&weights) {
                        *sum = s.mul_add(value, weight, *sum);
                    }
                }
                for x in &mut x {
                    *x = x.wrapping_add(1);
                }
                w = w.add(S::LANES);
            }
            self.target.store(s, sums);
        }
    }

    #[inline(always)]
    fn target(self) -> Target {
        self.target
    }
}

/// One vector of each of `C` columns, which lie `column` values apart.
///
/// # Safety
/// These can be read.
#[inline(always)]
pub(super) unsafe fn load_columns<S: Simd, W: Stored, const C: usize>(
    s: S,
    from: *const W,
    column: usize,
) -> [S::V; C] {
    let mut vectors = [s.splat(0.0); C];
    for (c, vector) in vectors.iter_mut().enumerate() {
        // SAFETY: the caller vouches for them.
        *vector = unsafe { W::load(s, from.add(c * column)) };
    }
    vectors
}
