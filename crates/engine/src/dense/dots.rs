//! Products of layers with few outputs: in columns most lanes of these would be padding. Here a vector holds inputs in place
//! of outputs. Each lane sums its share of input · weight in the order of the inputs; then the lanes are added up, in pairs,
//! and what is left of the inputs is added in their order. That is the same for each row, however many there are.

use super::tiles::{Activate, Target};
use crate::Activation;
use crate::aligned::Aligned;
use crate::kernel::{MAX_LANES, Operation, Simd};

/// Rows that are summed at a time, so that one sum doesn't wait for itself.
const ROWS: usize = 4;

/// The most outputs, and the fewest vectors of inputs, for which this takes less time than a column.
const MOST_OUTPUTS: usize = 4;
const FEWEST_VECTORS: usize = 2;

/// Whether a layer is to be multiplied this way.
pub(super) fn is_for(inputs: usize, outputs: usize, lanes: usize) -> bool {
    outputs <= MOST_OUTPUTS && outputs < lanes && inputs >= FEWEST_VECTORS * lanes
}

/// A layer's outputs of all rows. Who makes one vouches that there are `rows` rows of `inputs` inputs, every `x_stride`
/// floats, room for as many outputs as `bias` has, weights of `inputs` for each of them, and a vector at the target.
pub(super) struct Dots<'a> {
    pub(super) inputs: usize,
    pub(super) x: *const f32,
    pub(super) x_stride: usize,
    pub(super) rows: usize,
    pub(super) weights: &'a Aligned<f32>,
    pub(super) bias: &'a [f32],
    pub(super) target: Target,
}

impl Operation for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        // SAFETY: whoever made this vouches for rows, inputs and outputs.
        unsafe {
            match self.bias.len() {
                1 => self.all_rows::<S, 1>(s),
                2 => self.all_rows::<S, 2>(s),
                3 => self.all_rows::<S, 3>(s),
                _ => self.all_rows::<S, MOST_OUTPUTS>(s),
            }
        }
        if !matches!(self.target.activation, Activation::Identity | Activation::PRelu) {
            s.run(Activate { target: self.target, rows: self.rows, columns: 1 });
        }
    }
}

impl Dots<'_> {
    /// # Safety
    /// There are as many rows and inputs, and room for `C` outputs.
    #[inline(always)]
    unsafe fn all_rows<S: Simd, const C: usize>(&self, s: S) {
        let whole = self.rows - self.rows % ROWS;
        // SAFETY: together these are the rows that the caller vouches for.
        unsafe {
            (0..whole).step_by(ROWS).for_each(|row| self.some_rows::<S, ROWS, C>(s, row));
            (whole..self.rows).for_each(|row| self.some_rows::<S, 1, C>(s, row));
        }
    }

    /// # Safety
    /// There are `R` rows from `row` on, and room for `C` outputs.
    #[inline(always)]
    unsafe fn some_rows<S: Simd, const R: usize, const C: usize>(&self, s: S, row: usize) {
        let x = self.x.wrapping_add(row * self.x_stride);
        let vectors = self.inputs - self.inputs % S::LANES;
        let mut sums = [[s.splat(0.0); C]; R];
        for input in (0..vectors).step_by(S::LANES) {
            for c in 0..C {
                // SAFETY: the caller vouches for the rows; each output has a weight per input.
                let weight = unsafe { s.load(self.weights.as_ptr().add(c * self.inputs + input)) };
                for (r, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: as above.
                    let x = unsafe { s.load(x.add(r * self.x_stride + input)) };
                    sums[c] = s.mul_add(x, weight, sums[c]);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (c, sum) in sums.into_iter().enumerate() {
                let mut sum = of_lanes(s, sum) + self.bias[c];
                for input in vectors..self.inputs {
                    // SAFETY: as above.
                    sum += unsafe { *x.add(r * self.x_stride + input) } * self.weights[c * self.inputs + input];
                }
                // SAFETY: the caller vouches for the room.
                unsafe { *self.target.at_row(row + r).y.add(c) = sum };
            }
        }
    }
}

/// The sum of a vector's lanes, added in pairs.
#[inline(always)]
fn of_lanes<S: Simd>(s: S, vector: S::V) -> f32 {
    let mut lanes = [0.0; MAX_LANES];
    s.write(vector, &mut lanes);
    let mut half = MAX_LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}
