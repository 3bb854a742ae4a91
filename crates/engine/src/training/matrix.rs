//! A matrix of a minibatch: its rows lie so that vectors of them are read fast.

use std::fmt;
use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};

use crate::aligned::Aligned;
use crate::kernel::MAX_LANES;

/// Rows of floats, each beginning on a cache line and with room behind it for the rest of a vector.
pub struct Matrix {
    floats: Aligned<f32>,
    rows: usize,
    columns: usize,
    stride: usize,
}

impl Matrix {
    /// All zeros.
    pub fn zeros(rows: usize, columns: usize) -> Matrix {
        // An odd number of cache lines, which are the widest vectors: with a power of two the rows would compete for the
        // same few places of the cache.
        let stride = (columns.div_ceil(MAX_LANES) | 1) * MAX_LANES;
        // ndarray wants the memory of a row for a view without rows.
        Matrix { floats: Aligned::zeros(rows.max(1) * stride), rows, columns, stride }
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns it has.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How many floats lie between the beginnings of two rows.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// A row. This and the following panic where the matrix has fewer rows.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.floats[row * self.stride..][..self.columns]
    }

    /// A row, to change it.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.floats[row * self.stride..][..self.columns]
    }

    /// The first `rows` rows.
    pub fn view(&self, rows: usize) -> ArrayView2<'_, f32> {
        let shape = (rows, self.columns).strides((self.stride, 1));
        ArrayView2::from_shape(shape, &self.floats[..rows.max(1) * self.stride])
            .unwrap_or_else(|_| unreachable!("cut to shape"))
    }

    /// The first `rows` rows, to change them.
    pub fn view_mut(&mut self, rows: usize) -> ArrayViewMut2<'_, f32> {
        let shape = (rows, self.columns).strides((self.stride, 1));
        let floats = &mut self.floats[..rows.max(1) * self.stride];
        ArrayViewMut2::from_shape(shape, floats).unwrap_or_else(|_| unreachable!("cut to shape"))
    }

    /// The memory of the first `rows` rows with what lies between them, for functions of every number alone.
    pub fn flat(&self, rows: usize) -> &[f32] {
        &self.floats[..rows * self.stride]
    }

    /// The same memory, to change it.
    pub fn flat_mut(&mut self, rows: usize) -> &mut [f32] {
        &mut self.floats[..rows * self.stride]
    }

    /// All rows in pieces of `rows` rows: which rows these are, and a view to change them.
    pub fn pieces(&mut self, rows: usize) -> impl Iterator<Item = (Range<usize>, ArrayViewMut2<'_, f32>)> {
        let (columns, stride) = (self.columns, self.stride);
        self.floats[..self.rows * stride].chunks_mut(rows * stride).enumerate().map(move |(piece, floats)| {
            let (start, count) = (piece * rows, floats.len() / stride);
            let shape = (count, columns).strides((stride, 1));
            let view = ArrayViewMut2::from_shape(shape, floats).unwrap_or_else(|_| unreachable!("cut to shape"));
            (start..start + count, view)
        })
    }
}

impl fmt::Debug for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matrix").field("rows", &self.rows).field("columns", &self.columns).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_apart_and_on_cache_lines() {
        for columns in [1, 16, 17, 100, 512] {
            let mut matrix = Matrix::zeros(5, columns);
            for row in 0..5 {
                matrix.row_mut(row).fill(row as f32);
                assert_eq!(matrix.row(row).as_ptr().align_offset(64), 0);
            }
            for (row, values) in matrix.view(5).rows().into_iter().enumerate() {
                assert!(values.iter().all(|&value| value == row as f32));
            }
            assert_eq!(matrix.view(0).dim(), (0, columns));
            let pieces: Vec<_> = matrix.pieces(2).map(|(rows, view)| (rows, view[[0, columns - 1]])).collect();
            assert_eq!(pieces, [(0..2, 0.0), (2..4, 2.0), (4..5, 4.0)]);
        }
    }
}
