//! The product that forward and backward pass are made of.
//!
//! With the values x of a layer's inputs, its weights W and the loss's gradient δ at its sums, training needs x · W,
//! δ · Wᵀ and xᵀ · δ. All three are one product: its left factor is read number by number, so it may lie in memory
//! either way; its right factor is read by vectors of a row, so only Wᵀ has to be written down. As in serving, a tile
//! holds its sums in registers, and each sum adds its products in their order whatever the tile. So who computes which
//! rows makes no difference to the bits.

use ndarray::{ArrayView2, ArrayViewMut2};

use super::Matrix;
use crate::kernel::{Backend, MAX_LANES, Operation, Simd};

/// Rows of a tile one vector wide, and the most rows of any tile.
const TALLEST: usize = 12;

/// Rows of tiles: a few heights that leave no rest, since each is compiled for each kernel.
const HEIGHTS: [usize; 6] = [TALLEST, 8, 6, 4, 2, 1];

/// What a product is added to.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// Nothing.
    Zero,
    /// This row, for each row.
    Row(&'a [f32]),
    /// What is there.
    There,
}

/// Writes `start + a · b` to `out`. `a` is m × p in any layout, `b` has at least p rows of n columns, `out` is m × n.
///
/// # Panics
/// If the shapes don't fit, or a row of `out` doesn't lie in one piece.
pub fn multiply(a: ArrayView2<'_, f32>, b: &Matrix, start: Start<'_>, mut out: ArrayViewMut2<'_, f32>) {
    let (rows, columns) = out.dim();
    assert_eq!((a.nrows(), b.columns()), (rows, columns), "rows of a and columns of b, against those of out");
    assert!(a.ncols() <= b.rows(), "columns of a, against rows of b");
    assert!(columns <= 1 || out.strides()[1] == 1, "a row of out in pieces");
    if let Start::Row(row) = start {
        assert_eq!(row.len(), columns, "columns of the start, against those of out");
    }
    if rows == 0 || columns == 0 {
        return;
    }
    let forward = |stride: isize| usize::try_from(stride).unwrap_or_else(|_| panic!("a matrix read backwards"));
    let job = Job {
        depth: a.ncols(),
        a: a.as_ptr(),
        a_row: forward(a.strides()[0]),
        a_step: forward(a.strides()[1]),
        b: b.flat(b.rows()).as_ptr(),
        b_step: b.stride(),
        start: match start {
            Start::Zero => From::Zero,
            Start::Row(row) => From::Row(row.as_ptr()),
            Start::There => From::There,
        },
        out: out.as_mut_ptr(),
        out_row: forward(out.strides()[0]),
        columns,
    };
    Backend::best().run(Product { job, rows });
}

/// Where the operands begin, and how far apart their numbers are. Who makes one vouches for that.
#[derive(Clone, Copy)]
struct Job {
    depth: usize,
    a: *const f32,
    a_row: usize,
    a_step: usize,
    b: *const f32,
    b_step: usize,
    start: From,
    out: *mut f32,
    out_row: usize,
    /// How many there are from here on.
    columns: usize,
}

#[derive(Clone, Copy)]
enum From {
    Zero,
    Row(*const f32),
    There,
}

impl Job {
    /// The same from `column` on.
    #[inline(always)]
    fn at_column(self, column: usize) -> Job {
        let start = match self.start {
            From::Row(row) => From::Row(row.wrapping_add(column)),
            other => other,
        };
        let (b, out) = (self.b.wrapping_add(column), self.out.wrapping_add(column));
        Job { b, start, out, columns: self.columns - column, ..self }
    }

    /// The same from `row` on.
    #[inline(always)]
    fn at_row(self, row: usize) -> Job {
        let (a, out) = (self.a.wrapping_add(row * self.a_row), self.out.wrapping_add(row * self.out_row));
        Job { a, out, ..self }
    }
}

struct Product {
    job: Job,
    rows: usize,
}

impl Operation for Product {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        let Product { job, rows } = self;
        let (vectors, rest) = (job.columns / S::LANES, job.columns % S::LANES);
        for pair in 0..vectors / 2 {
            all_rows::<S, 2, false>(s, job.at_column(pair * 2 * S::LANES), rows, S::TILE_ROWS);
        }
        if vectors % 2 == 1 {
            all_rows::<S, 1, false>(s, job.at_column((vectors - 1) * S::LANES), rows, TALLEST);
        }
        if rest > 0 {
            all_rows::<S, 1, true>(s, job.at_column(vectors * S::LANES), rows, TALLEST);
        }
    }
}

/// `rows` rows of `C` vectors, by tiles of `tile_rows` rows and lower ones for the rest. The last vector has fewer
/// numbers if it is `PARTIAL`.
#[inline(always)]
fn all_rows<S: Simd, const C: usize, const PARTIAL: bool>(s: S, job: Job, rows: usize, tile_rows: usize) {
    let mut done = 0;
    for height in HEIGHTS.into_iter().filter(|&height| height <= tile_rows) {
        let tiles = (rows - done) / height;
        strip::<S, C, PARTIAL>(s, job.at_row(done), height, tiles);
        done += tiles * height;
    }
}

/// `tiles` tiles of `height` rows, one of [`HEIGHTS`], below each other.
#[inline(always)]
fn strip<S: Simd, const C: usize, const PARTIAL: bool>(s: S, job: Job, height: usize, tiles: usize) {
    match height {
        _ if tiles == 0 => {}
        1 => s.run(Strip::<1, C, PARTIAL> { job, tiles }),
        2 => s.run(Strip::<2, C, PARTIAL> { job, tiles }),
        4 => s.run(Strip::<4, C, PARTIAL> { job, tiles }),
        6 => s.run(Strip::<6, C, PARTIAL> { job, tiles }),
        8 => s.run(Strip::<8, C, PARTIAL> { job, tiles }),
        TALLEST => s.run(Strip::<TALLEST, C, PARTIAL> { job, tiles }),
        _ => unreachable!("a height of a tile"),
    }
}

/// Tiles of `R` rows and `C` vectors below each other.
struct Strip<const R: usize, const C: usize, const PARTIAL: bool> {
    job: Job,
    tiles: usize,
}

impl<const R: usize, const C: usize, const PARTIAL: bool> Operation for Strip<R, C, PARTIAL> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        for tile in 0..self.tiles {
            // SAFETY: the maker of the job vouches for its rows and columns, of which the strip has no others.
            unsafe { tile_of::<S, R, C, PARTIAL>(s, self.job.at_row(tile * R)) };
        }
    }
}

/// One tile, from the start over all products to the stored sums.
///
/// # Safety
/// The operands have `R` rows and `C` vectors, the last of which has `job.columns - (C - 1) · LANES` numbers if it is
/// `PARTIAL`.
#[inline(always)]
unsafe fn tile_of<S: Simd, const R: usize, const C: usize, const PARTIAL: bool>(s: S, job: Job) {
    let numbers = |c: usize| if PARTIAL { job.columns - c * S::LANES } else { S::LANES };
    // Three rows share a pointer: a, a + row and a + 2 · row are addressing modes of x86-64.
    let mut a: [*const f32; TALLEST / 3] = std::array::from_fn(|i| job.a.wrapping_add(3 * i * job.a_row));
    let mut b = job.b;
    let mut sums = [[s.splat(0.0); C]; R];
    // SAFETY: the caller vouches for rows and columns, and a row of `b` goes on to the end of a vector.
    unsafe {
        for (r, sums) in sums.iter_mut().enumerate() {
            for (c, sum) in sums.iter_mut().enumerate() {
                match job.start {
                    From::Zero => {}
                    From::Row(row) => *sum = load::<S, PARTIAL>(s, row.add(c * S::LANES), numbers(c)),
                    From::There => {
                        *sum = load::<S, PARTIAL>(s, job.out.add(r * job.out_row + c * S::LANES), numbers(c));
                    }
                }
            }
        }
        for _ in 0..job.depth {
            let mut factors = [s.splat(0.0); C];
            for (c, factor) in factors.iter_mut().enumerate() {
                *factor = s.load(b.add(c * S::LANES));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let value = s.splat(*a[r / 3].add(r % 3 * job.a_row));
                for (sum, &factor) in sums.iter_mut().zip(&factors) {
                    *sum = s.mul_add(value, factor, *sum);
                }
            }
            b = b.wrapping_add(job.b_step);
            for a in &mut a {
                *a = a.wrapping_add(job.a_step);
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (c, &sum) in sums.iter().enumerate() {
                let to = job.out.add(r * job.out_row + c * S::LANES);
                if PARTIAL {
                    let mut vector = [0.0; MAX_LANES];
                    s.write(sum, &mut vector);
                    to.copy_from_nonoverlapping(vector.as_ptr(), numbers(c));
                } else {
                    s.store(sum, to);
                }
            }
        }
    }
}

/// A vector of the next numbers, the rest of it 0 if there are fewer.
///
/// # Safety
/// So many can be read.
#[inline(always)]
unsafe fn load<S: Simd, const PARTIAL: bool>(s: S, from: *const f32, numbers: usize) -> S::V {
    // SAFETY: the caller vouches for them.
    unsafe {
        if !PARTIAL {
            return s.load(from);
        }
        let mut vector = [0.0; MAX_LANES];
        vector.as_mut_ptr().copy_from_nonoverlapping(from, numbers);
        s.read(&vector)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    /// Small whole numbers, whose products and sums are exact.
    fn numbers(rows: usize, columns: usize, seed: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, columns), |(r, c)| ((seed + r * 7 + c * 5 + r * c) % 9) as f32 - 4.0)
    }

    fn matrix(numbers: &Array2<f32>) -> Matrix {
        let mut matrix = Matrix::zeros(numbers.nrows(), numbers.ncols());
        matrix.view_mut(numbers.nrows()).assign(numbers);
        matrix
    }

    #[test]
    fn products_of_all_shapes_and_layouts_are_right() {
        for rows in (1..15).chain([29, 50]) {
            for (depth, columns) in [(0, 3), (1, 1), (3, 8), (7, 16), (2, 33), (13, 24), (5, 100), (40, 47)] {
                let (a, b, there) = (numbers(rows, depth, 1), numbers(depth, columns, 2), numbers(rows, columns, 3));
                let row: Vec<f32> = (0..columns).map(|c| c as f32).collect();
                let transposed = a.t().to_owned();
                let longer = matrix(&ndarray::concatenate![ndarray::Axis(0), b, numbers(2, columns, 8)]);
                for a in [a.view(), transposed.t()] {
                    let product = a.dot(&b);
                    let broadcast = ndarray::aview1(&row);
                    let cases = [
                        (Start::Zero, product.clone()),
                        (Start::Row(&row), &product + &broadcast),
                        (Start::There, &product + &there),
                    ];
                    for (start, expected) in cases {
                        // As rows with room behind them, and without any.
                        let mut roomy = matrix(&there);
                        multiply(a, &longer, start, roomy.view_mut(rows));
                        assert_eq!(roomy.view(rows), expected, "{start:?} {rows} × {depth} × {columns}");
                        let mut tight = there.clone();
                        multiply(a, &longer, start, tight.view_mut());
                        assert_eq!(tight, expected, "{start:?} {rows} × {depth} × {columns}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_rows_bits_are_the_same_in_any_tile() {
        let a = Array2::from_shape_fn((53, 31), |(r, c)| (r as f32 * 1.7 + c as f32).sin());
        let b = matrix(&Array2::from_shape_fn((31, 29), |(r, c)| (r as f32 * 0.3 - c as f32).cos()));
        let mut all = Array2::zeros((53, 29));
        multiply(a.view(), &b, Start::Zero, all.view_mut());
        for (first, count) in [(0, 1), (7, 2), (11, 5), (20, 12), (30, 23)] {
            let mut some = Array2::zeros((count, 29));
            multiply(a.slice(ndarray::s![first..first + count, ..]), &b, Start::Zero, some.view_mut());
            assert_eq!(some, all.slice(ndarray::s![first..first + count, ..]));
        }
    }

    #[test]
    #[should_panic(expected = "rows of a and columns of b")]
    fn shapes_that_do_not_fit_are_refused() {
        multiply(numbers(2, 3, 0).view(), &matrix(&numbers(3, 4, 0)), Start::Zero, numbers(2, 5, 0).view_mut());
    }
}
