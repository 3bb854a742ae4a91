//! One layer: packed weights, and the tiles that multiply them.
//!
//! The outputs are cut into columns of one vector's width, the last one padded with zeros, and each column lies in
//! memory as the kernel reads it: the bias, then the weights of input 0, of input 1, and so on. A tile holds the sums
//! of some rows and columns in registers while it walks down the inputs. Whatever a tile's shape, each of its sums
//! starts with the bias and adds input · weight in the order of the inputs; so the shapes, which follow the number of
//! rows, don't show in the results.

use super::Layer;
use super::activation::Activation;
use super::aligned::Aligned;
use super::kernel::{Operation, Simd};

/// Rows of a tile one column wide, and the most rows of any tile.
pub(super) const TALLEST: usize = 12;

/// Columns of a tile one row high: a single row needs many to keep the multipliers busy.
const WIDEST: usize = 8;

/// A layer in the layout of one kernel.
pub(super) struct Dense {
    inputs: usize,
    outputs: usize,
    lanes: usize,
    activation: Activation,
    /// Columns × (1 + inputs) × lanes.
    packed: Aligned,
}

impl Dense {
    /// Packs a layer, whose bias fits its weights, for vectors of `lanes` floats.
    pub(super) fn pack(layer: &Layer, lanes: usize) -> Dense {
        let (inputs, outputs) = layer.weights.dim();
        let mut packed = Aligned::zeros(outputs.div_ceil(lanes) * (1 + inputs) * lanes);
        for (index, column) in packed.chunks_exact_mut((1 + inputs) * lanes).enumerate() {
            for (lane, output) in (index * lanes..outputs).take(lanes).enumerate() {
                column[lane] = layer.bias[output];
                for input in 0..inputs {
                    column[(1 + input) * lanes + lane] = layer.weights[[input, output]];
                }
            }
        }
        Dense { inputs, outputs, lanes, activation: layer.activation, packed }
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

    /// Computes the outputs of `rows` rows into `y`, rows × [`width`](Dense::width). The inputs of a row begin every
    /// `stride` floats of `x`. The padding of `y` is filled with no particular values.
    ///
    /// # Panics
    /// If the layer was packed for another kernel, or `x` or `y` is too short.
    #[inline(always)]
    pub(super) fn forward<S: Simd>(&self, s: S, x: &[f32], stride: usize, rows: usize, y: &mut [f32]) {
        if rows == 0 {
            return;
        }
        assert!(self.lanes == S::LANES, "packed for another kernel");
        assert!(stride >= self.inputs && x.len() >= (rows - 1) * stride + self.inputs, "too few inputs");
        assert!(y.len() >= rows * self.width(), "too little room for outputs");

        let columns = self.width() / S::LANES;
        let job = Job {
            inputs: self.inputs,
            activation: self.activation,
            x: x.as_ptr(),
            x_stride: stride,
            y: y.as_mut_ptr(),
            y_stride: self.width(),
            weights: self.packed.as_ptr(),
        };
        // SAFETY: the checks above cover all rows and columns, and the ranges below stay inside them.
        unsafe {
            if rows == 1 {
                for column in (0..columns).step_by(WIDEST) {
                    single_row(s, job.at_column::<S>(column), WIDEST.min(columns - column));
                }
                return;
            }
            for column in (0..columns - 1).step_by(2) {
                all_rows::<S, 2>(s, job.at_column::<S>(column), rows, S::TILE_ROWS);
            }
            if columns % 2 == 1 {
                all_rows::<S, 1>(s, job.at_column::<S>(columns - 1), rows, TALLEST);
            }
        }
    }
}

/// Where the operands begin: the inputs of a row, its outputs in a column, and the column's weights.
#[derive(Clone, Copy)]
struct Job {
    inputs: usize,
    activation: Activation,
    x: *const f32,
    x_stride: usize,
    y: *mut f32,
    y_stride: usize,
    weights: *const f32,
}

impl Job {
    /// The same from `column` on.
    #[inline(always)]
    fn at_column<S: Simd>(self, column: usize) -> Job {
        let weights = self.weights.wrapping_add(column * (1 + self.inputs) * S::LANES);
        Job { weights, y: self.y.wrapping_add(column * S::LANES), ..self }
    }

    /// The same from `row` on.
    #[inline(always)]
    fn at_row(self, row: usize) -> Job {
        let x = self.x.wrapping_add(row * self.x_stride);
        Job { x, y: self.y.wrapping_add(row * self.y_stride), ..self }
    }
}

/// The outputs of one row in `columns` columns, at most [`WIDEST`].
///
/// # Safety
/// The job's buffers have these.
#[inline(always)]
unsafe fn single_row<S: Simd>(s: S, job: Job, columns: usize) {
    match columns {
        1 => s.run(Strip::<1, 1> { job, tiles: 1 }),
        2 => s.run(Strip::<1, 2> { job, tiles: 1 }),
        3 => s.run(Strip::<1, 3> { job, tiles: 1 }),
        4 => s.run(Strip::<1, 4> { job, tiles: 1 }),
        5 => s.run(Strip::<1, 5> { job, tiles: 1 }),
        6 => s.run(Strip::<1, 6> { job, tiles: 1 }),
        7 => s.run(Strip::<1, 7> { job, tiles: 1 }),
        _ => s.run(Strip::<1, WIDEST> { job, tiles: 1 }),
    }
}

/// The outputs of all rows in `C` columns, by tiles of `tile_rows` rows and a lower one for the rest.
///
/// # Safety
/// The job's buffers have these.
#[inline(always)]
unsafe fn all_rows<S: Simd, const C: usize>(s: S, job: Job, rows: usize, tile_rows: usize) {
    let (tiles, rest) = (rows / tile_rows, rows % tile_rows);
    // SAFETY: together these are the rows that the caller vouches for.
    unsafe {
        strip::<S, C>(s, job, tile_rows, tiles);
        strip::<S, C>(s, job.at_row(tiles * tile_rows), rest, 1);
    }
}

/// `tiles` tiles of `tile_rows` rows, at most [`TALLEST`], below each other.
///
/// # Safety
/// The job's buffers have these.
#[inline(always)]
unsafe fn strip<S: Simd, const C: usize>(s: S, job: Job, tile_rows: usize, tiles: usize) {
    match tile_rows {
        0 => {}
        1 => s.run(Strip::<1, C> { job, tiles }),
        2 => s.run(Strip::<2, C> { job, tiles }),
        3 => s.run(Strip::<3, C> { job, tiles }),
        4 => s.run(Strip::<4, C> { job, tiles }),
        5 => s.run(Strip::<5, C> { job, tiles }),
        6 => s.run(Strip::<6, C> { job, tiles }),
        7 => s.run(Strip::<7, C> { job, tiles }),
        8 => s.run(Strip::<8, C> { job, tiles }),
        9 => s.run(Strip::<9, C> { job, tiles }),
        10 => s.run(Strip::<10, C> { job, tiles }),
        11 => s.run(Strip::<11, C> { job, tiles }),
        _ => s.run(Strip::<TALLEST, C> { job, tiles }),
    }
}

/// Tiles of `R` rows and `C` columns below each other. Who makes one vouches that the job's buffers have these.
struct Strip<const R: usize, const C: usize> {
    job: Job,
    tiles: usize,
}

impl<const R: usize, const C: usize> Operation for Strip<R, C> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        for tile in 0..self.tiles {
            let job = self.job.at_row(tile * R);
            // SAFETY: the maker of the strip vouches for its rows and columns.
            unsafe { multiply::<S, R, C>(s, job) };
        }
        if self.job.activation.is_costly() {
            s.run(Activate::<C> { job: self.job, rows: self.tiles * R });
        }
    }
}

/// One tile: from the bias over all inputs to the stored sums, with their activation if it is a cheap one.
///
/// # Safety
/// The job's buffers have `R` rows and `C` columns.
#[inline(always)]
unsafe fn multiply<S: Simd, const R: usize, const C: usize>(s: S, job: Job) {
    let column = (1 + job.inputs) * S::LANES;
    // Three rows share a pointer: x, x + stride and x + 2 · stride are addressing modes of x86-64.
    let mut x: [*const f32; TALLEST / 3] = std::array::from_fn(|i| job.x.wrapping_add(3 * i * job.x_stride));
    let mut w = job.weights;
    // SAFETY: the caller vouches for rows and columns; a column of weights has the bias and then every input.
    unsafe {
        let mut sums = [load_columns::<S, C>(s, w, column); R];
        for _ in 0..job.inputs {
            w = w.add(S::LANES);
            let weights = load_columns::<S, C>(s, w, column);
            for (r, sums) in sums.iter_mut().enumerate() {
                let value = s.splat(*x[r / 3].add(r % 3 * job.x_stride));
                for (sum, &weight) in sums.iter_mut().zip(&weights) {
                    *sum = s.mul_add(value, weight, *sum);
                }
            }
            for x in &mut x {
                *x = x.wrapping_add(1);
            }
        }
        job.activation.in_registers(s, &mut sums);
        for (r, sums) in sums.iter().enumerate() {
            for (c, &sum) in sums.iter().enumerate() {
                s.store(sum, job.y.add(r * job.y_stride + c * S::LANES));
            }
        }
    }
}

/// One vector of each of `C` columns, which lie `column` floats apart.
///
/// # Safety
/// These can be read.
#[inline(always)]
unsafe fn load_columns<S: Simd, const C: usize>(s: S, from: *const f32, column: usize) -> [S::V; C] {
    let mut vectors = [s.splat(0.0); C];
    for (c, vector) in vectors.iter_mut().enumerate() {
        // SAFETY: the caller vouches for them.
        *vector = unsafe { s.load(from.add(c * column)) };
    }
    vectors
}

/// A costly activation over rows of `C` columns just stored. Who makes one vouches that the job's buffers have these.
struct Activate<const C: usize> {
    job: Job,
    rows: usize,
}

impl<const C: usize> Operation for Activate<C> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        for r in 0..self.rows {
            for c in 0..C {
                // SAFETY: the maker vouches for rows and columns.
                unsafe {
                    let y = self.job.y.add(r * self.job.y_stride + c * S::LANES);
                    s.store(self.job.activation.eval(s, s.load(y)), y);
                }
            }
        }
    }
}
