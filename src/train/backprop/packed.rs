//! A layer's weights as the products of a pass read them, written anew for each minibatch.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2};

use super::network::{Network, Shape};
use crate::engine::training::{Matrix, Team};
use crate::train::inputs::Inputs;

/// Numbers that a thread copies at a time.
const PIECE: usize = 4096;

#[derive(Debug)]
pub(super) struct PackedWeights {
    /// Inputs × outputs; of the first layer only the inputs that are numbers, and not those that choose a row.
    pub(super) forward: Matrix,
    /// Outputs × inputs: the transposed. The first layer needs none.
    pub(super) backward: Option<Matrix>,
}

impl PackedWeights {
    /// Of the layer `at` this place.
    pub(super) fn new(at: usize, shape: &Shape, x: &Inputs) -> PackedWeights {
        let inputs = if at == 0 { x.number_columns().len() } else { shape.inputs };
        let backward = (at > 0).then(|| Matrix::zeros(shape.outputs, shape.inputs));
        PackedWeights { forward: Matrix::zeros(inputs, shape.outputs), backward }
    }
}

/// Fills them with the network's weights.
pub(super) fn pack(packed: &mut [PackedWeights], network: &Network, x: &Inputs, team: &Team) {
    let mut pieces = Vec::new();
    for (at, (packed, shape)) in packed.iter_mut().zip(&network.shapes).enumerate() {
        let weights = shape.weights(&network.parameters);
        let chosen = (at == 0).then(|| x.number_columns());
        let forward = packed.forward.pieces(PIECE.div_ceil(shape.outputs));
        pieces.extend(forward.map(|(rows, to)| Piece { weights, chosen, rows, to }));
        let backward = packed.backward.iter_mut().flat_map(|matrix| matrix.pieces(PIECE.div_ceil(shape.inputs)));
        pieces.extend(backward.map(|(rows, to)| Piece { weights: weights.reversed_axes(), chosen: None, rows, to }));
    }
    team.each(&mut pieces, |_, piece| piece.copy());
}

/// Some rows of one matrix.
struct Piece<'a> {
    weights: ArrayView2<'a, f32>,
    /// Which rows of the weights the matrix has, if not all.
    chosen: Option<&'a [usize]>,
    rows: Range<usize>,
    to: ArrayViewMut2<'a, f32>,
}

impl Piece<'_> {
    fn copy(&mut self) {
        for (row, mut to) in self.rows.clone().zip(self.to.rows_mut()) {
            to.assign(&self.weights.row(self.chosen.map_or(row, |chosen| chosen[row])));
        }
    }
}
