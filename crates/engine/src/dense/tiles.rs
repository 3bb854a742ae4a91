//! How a layer's rows and columns are cut into tiles.
//!
//! A tile holds the sums of some rows and columns in registers while it walks down the inputs. Whatever a tile's shape,
//! each of its sums takes the inputs in the same order; so the shapes, which follow the number of rows, don't show in
//! the results.

use crate::Activation;
use crate::kernel::{Operation, Simd};

/// Rows of a tile one column wide, and the most rows of any tile.
pub(crate) const TALLEST: usize = 12;

/// Columns of a tile one row high: a single row needs many to keep the multipliers busy.
const WIDEST: usize = 8;

/// Where a tile's operands begin, and how it multiplies them.
pub(super) trait Tile: Copy {
    /// The same from `column` on.
    fn at_column<S: Simd>(self, column: usize) -> Self;

    /// The same from `row` on.
    fn at_row(self, row: usize) -> Self;

    /// Computes the outputs of `R` rows and `C` columns, with their activation if it is a cheap one, and stores them.
    ///
    /// # Safety
    /// The tile's buffers have these rows and columns.
    unsafe fn multiply<S: Simd, const R: usize, const C: usize>(self, s: S);

    /// Where the outputs go.
    fn target(self) -> Target;
}

/// Where a tile's outputs go, and the function that is applied to them.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) y: *mut f32,
    pub(super) stride: usize,
    pub(super) activation: Activation,
}

impl Target {
    #[inline(always)]
    pub(super) fn at_column<S: Simd>(self, column: usize) -> Target {
        Target { y: self.y.wrapping_add(column * S::LANES), ..self }
    }

    #[inline(always)]
    pub(super) fn at_row(self, row: usize) -> Target {
        Target { y: self.y.wrapping_add(row * self.stride), ..self }
    }

    /// Stores a tile's outputs, with their activation if it is a cheap one.
    ///
    /// # Safety
    /// There is room for `R` rows and `C` columns.
    #[inline(always)]
    pub(super) unsafe fn store<S: Simd, const R: usize, const C: usize>(self, s: S, mut outputs: [[S::V; C]; R]) {
        self.activation.in_registers(s, &mut outputs);
        for (r, outputs) in outputs.iter().enumerate() {
            for (c, &output) in outputs.iter().enumerate() {
                // SAFETY: the caller vouches for the room.
                unsafe { s.store(output, self.y.add(r * self.stride + c * S::LANES)) };
            }
        }
    }
}

/// The outputs of all rows, at least one, in all `columns`.
///
/// # Safety
/// The tile's buffers have these.
#[inline(always)]
pub(super) unsafe fn all_columns<S: Simd, T: Tile>(s: S, tile: T, rows: usize, columns: usize) {
    // SAFETY: the ranges stay inside what the caller vouches for.
    unsafe {
        if rows == 1 {
            for column in (0..columns).step_by(WIDEST) {
                single_row(s, tile.at_column::<S>(column), WIDEST.min(columns - column));
            }
            return;
        }
        for column in (0..columns - 1).step_by(2) {
            all_rows::<S, T, 2>(s, tile.at_column::<S>(column), rows, S::TILE_ROWS);
        }
        if columns % 2 == 1 {
            all_rows::<S, T, 1>(s, tile.at_column::<S>(columns - 1), rows, TALLEST);
        }
    }
}

/// The outputs of one row in `columns` columns, at most [`WIDEST`].
///
/// # Safety
/// The tile's buffers have these.
#[inline(always)]
unsafe fn single_row<S: Simd, T: Tile>(s: S, tile: T, columns: usize) {
    match columns {
        1 => s.run(Strip::<T, 1, 1> { tile, tiles: 1 }),
        2 => s.run(Strip::<T, 1, 2> { tile, tiles: 1 }),
        3 => s.run(Strip::<T, 1, 3> { tile, tiles: 1 }),
        4 => s.run(Strip::<T, 1, 4> { tile, tiles: 1 }),
        5 => s.run(Strip::<T, 1, 5> { tile, tiles: 1 }),
        6 => s.run(Strip::<T, 1, 6> { tile, tiles: 1 }),
        7 => s.run(Strip::<T, 1, 7> { tile, tiles: 1 }),
        _ => s.run(Strip::<T, 1, WIDEST> { tile, tiles: 1 }),
    }
}

/// The outputs of all rows in `C` columns, by tiles of `tile_rows` rows and a lower one for the rest.
///
/// # Safety
/// The tile's buffers have these.
#[inline(always)]
unsafe fn all_rows<S: Simd, T: Tile, const C: usize>(s: S, tile: T, rows: usize, tile_rows: usize) {
    let (tiles, rest) = (rows / tile_rows, rows % tile_rows);
    // SAFETY: together these are the rows that the caller vouches for.
    unsafe {
        strip::<S, T, C>(s, tile, tile_rows, tiles);
        strip::<S, T, C>(s, tile.at_row(tiles * tile_rows), rest, 1);
    }
}

/// `tiles` tiles of `tile_rows` rows, at most [`TALLEST`], below each other.
///
/// # Safety
/// The tile's buffers have these.
#[inline(always)]
unsafe fn strip<S: Simd, T: Tile, const C: usize>(s: S, tile: T, tile_rows: usize, tiles: usize) {
    match tile_rows {
        0 => {}
        1 => s.run(Strip::<T, 1, C> { tile, tiles }),
        2 => s.run(Strip::<T, 2, C> { tile, tiles }),
        3 => s.run(Strip::<T, 3, C> { tile, tiles }),
        4 => s.run(Strip::<T, 4, C> { tile, tiles }),
        5 => s.run(Strip::<T, 5, C> { tile, tiles }),
        6 => s.run(Strip::<T, 6, C> { tile, tiles }),
        7 => s.run(Strip::<T, 7, C> { tile, tiles }),
        8 => s.run(Strip::<T, 8, C> { tile, tiles }),
        9 => s.run(Strip::<T, 9, C> { tile, tiles }),
        10 => s.run(Strip::<T, 10, C> { tile, tiles }),
        11 => s.run(Strip::<T, 11, C> { tile, tiles }),
        _ => s.run(Strip::<T, TALLEST, C> { tile, tiles }),
    }
}

/// Tiles of `R` rows and `C` columns below each other. Who makes one vouches that the tile's buffers have these.
struct Strip<T, const R: usize, const C: usize> {
    tile: T,
    tiles: usize,
}

impl<T: Tile, const R: usize, const C: usize> Operation for Strip<T, R, C> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        for tile in 0..self.tiles {
            let tile = self.tile.at_row(tile * R);
            // SAFETY: the maker of the strip vouches for its rows and columns.
            unsafe { tile.multiply::<S, R, C>(s) };
        }
        let target = self.tile.target();
        if target.activation.is_costly() {
            s.plain().run(Activate { target, rows: self.tiles * R, columns: C });
        }
    }
}

/// A costly activation over rows and columns just stored. Who makes one vouches that the target has these.
pub(super) struct Activate {
    pub(super) target: Target,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Operation for Activate {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        let Target { activation, .. } = self.target;
        for r in 0..self.rows {
            for c in 0..self.columns {
                // SAFETY: the maker vouches for rows and columns.
                unsafe {
                    let y = self.target.y.add(r * self.target.stride + c * S::LANES);
                    s.store(activation.eval(s, s.load(y)), y);
                }
            }
        }
    }
}
