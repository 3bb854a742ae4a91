//! Products with one-hot columns: a row of such zeros and ones times a matrix is the sum of the chosen rows.

use std::ops::Range;

use super::Matrix;
use crate::kernel::{Backend, Operation, Simd};

/// Chooses no row.
pub const NONE: u32 = u32::MAX;

/// Vectors that are summed at once, in registers.
const BLOCK: usize = 4;

/// Writes to each of the first rows of `out` the sum of `bias` and the chosen rows of `weights`, in their order.
///
/// `weights` has a row of `bias.len()` numbers after the other; `chosen` names `per_row` of them, or [`NONE`], for each
/// row of `out`.
///
/// # Panics
/// If a row doesn't exist or the lengths don't fit.
pub fn sum_chosen(weights: &[f32], bias: &[f32], chosen: &[u32], per_row: usize, out: &mut Matrix) {
    assert_eq!(bias.len(), out.columns(), "columns of the bias, against those of out");
    Backend::best().run(Sum { weights, bias, chosen, per_row, out });
}

/// Adds each of the first rows of `rows` to the row of `to` that is chosen for it, if it is one of `range`, the rows that
/// `to` has.
///
/// `chosen` is as of [`sum_chosen`]; of each row's choices the one `at` this place counts.
pub fn add_to_chosen(to: &mut [f32], range: Range<u32>, chosen: &[u32], per_row: usize, at: usize, rows: &Matrix) {
    Backend::best().run(AddToChosen { to, range, chosen, per_row, at, rows });
}

/// Adds the first `count` rows to `to`.
pub fn add_rows(to: &mut [f32], rows: &Matrix, count: usize) {
    Backend::best().run(AddRows { to, rows, count });
}

struct Sum<'a> {
    weights: &'a [f32],
    bias: &'a [f32],
    chosen: &'a [u32],
    per_row: usize,
    out: &'a mut Matrix,
}

impl Operation for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        let Sum { weights, bias, chosen, per_row, out } = self;
        let columns = bias.len();
        for (row, chosen) in chosen.chunks_exact(per_row).enumerate() {
            let out = out.row_mut(row);
            if columns < S::LANES {
                out.copy_from_slice(bias);
                for &one in chosen.iter().filter(|&&one| one != NONE) {
                    add(out, &weights[one as usize * columns..][..columns]);
                }
                continue;
            }
            let mut at = 0;
            while at + BLOCK * S::LANES <= columns {
                sum_block::<S, BLOCK>(s, weights, bias, chosen, at, out);
                at += BLOCK * S::LANES;
            }
            while at < columns {
                // The last vector may overlap the one before: what it writes twice is the same.
                sum_block::<S, 1>(s, weights, bias, chosen, at.min(columns - S::LANES), out);
                at += S::LANES;
            }
        }
    }
}

/// The sums of `V` vectors from column `at` on.
#[inline(always)]
fn sum_block<S: Simd, const V: usize>(s: S, weights: &[f32], bias: &[f32], chosen: &[u32], at: usize, out: &mut [f32]) {
    let width = V * S::LANES;
    let mut sums = [s.splat(0.0); V];
    for (sum, bias) in sums.iter_mut().zip(bias[at..at + width].chunks_exact(S::LANES)) {
        *sum = s.read(bias);
    }
    for &one in chosen.iter().filter(|&&one| one != NONE) {
        let weights = &weights[one as usize * bias.len() + at..][..width];
        for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(S::LANES)) {
            *sum = s.add(*sum, s.read(weights));
        }
    }
    for (&sum, out) in sums.iter().zip(out[at..at + width].chunks_exact_mut(S::LANES)) {
        s.write(sum, out);
    }
}

struct AddToChosen<'a> {
    to: &'a mut [f32],
    range: Range<u32>,
    chosen: &'a [u32],
    per_row: usize,
    at: usize,
    rows: &'a Matrix,
}

impl Operation for AddToChosen<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, _: S) {
        let columns = self.rows.columns();
        for (row, one) in self.chosen.iter().skip(self.at).step_by(self.per_row).enumerate() {
            if self.range.contains(one) {
                let start = (one - self.range.start) as usize * columns;
                add(&mut self.to[start..start + columns], self.rows.row(row));
            }
        }
    }
}

struct AddRows<'a> {
    to: &'a mut [f32],
    rows: &'a Matrix,
    count: usize,
}

impl Operation for AddRows<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, _: S) {
        for row in 0..self.count {
            add(self.to, self.rows.row(row));
        }
    }
}

#[inline(always)]
fn add(to: &mut [f32], row: &[f32]) {
    for (to, &value) in to.iter_mut().zip(row) {
        *to += value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_rows_are_summed_and_added_to() {
        for columns in [1, 3, 8, 9, 16, 33, 64, 100] {
            let weights: Vec<f32> = (0..6 * columns).map(|i| i as f32).collect();
            let bias: Vec<f32> = (0..columns).map(|i| 1000.0 * i as f32).collect();
            let chosen = [0, 4, 3, NONE, NONE, 5, NONE, NONE];
            let mut out = Matrix::zeros(5, columns);
            sum_chosen(&weights, &bias, &chosen, 2, &mut out);
            for (row, rows) in [[0, 4].as_slice(), &[3], &[5], &[]].iter().enumerate() {
                let sum = |column| bias[column] + rows.iter().map(|row| weights[row * columns + column]).sum::<f32>();
                assert!(out.row(row).iter().enumerate().all(|(column, &value)| value == sum(column)));
            }
            assert!(out.row(4).iter().all(|&value| value == 0.0));

            let mut rows = Matrix::zeros(4, columns);
            (0..4).for_each(|row| rows.row_mut(row).fill(10_f32.powi(row as i32)));
            let mut to = vec![0.5; 2 * columns];
            add_to_chosen(&mut to, 4..6, &chosen, 2, 1, &rows);
            assert!(to[..columns].iter().all(|&value| value == 1.5));
            assert!(to[columns..].iter().all(|&value| value == 100.5));
            add_rows(&mut to[..columns], &rows, 3);
            assert!(to[..columns].iter().all(|&value| value == 112.5));
        }
    }
}
