//! The parameters in slices, and the gradient of each: a sum over all rows of the minibatch.

use std::ops::Range;

use ndarray::{ArrayViewMut2, s};

use super::network::Network;
use super::part::Part;
use crate::engine::training::{Start, add_rows, add_to_chosen, finish, multiply};
use crate::train::inputs::Inputs;

/// Weights of a slice: 12 rows of the flights' hidden layers, which are whole tiles on all kernels and some microseconds
/// of work with a minibatch of 200.
const WEIGHTS: usize = 1024;
const ROWS: usize = 12;

/// Weights of a slice for inputs that only choose a row.
const CHOSEN_WEIGHTS: usize = 8192;

/// Some parameters of a layer that lie behind each other.
#[derive(Debug)]
pub(super) struct Slice {
    layer: usize,
    parameters: Range<usize>,
    what: What,
}

#[derive(Debug)]
enum What {
    /// The weights of these inputs; in the first layer, of those among the inputs that are numbers.
    Weights(Range<usize>),
    /// The weights of these one-hot columns, of the feature that is so many-th.
    Chosen(Range<u32>, usize),
    Bias,
}

/// All parameters, in their order.
pub(super) fn all(network: &Network, x: &Inputs) -> Vec<Slice> {
    let mut slices = Slices(Vec::new());
    for (layer, shape) in network.shapes.iter().enumerate() {
        let outputs = shape.outputs;
        if layer == 0 {
            let (mut column, mut number) = (0, 0);
            for (feature, columns) in x.one_hot_columns().iter().enumerate() {
                let numbers = number..number + columns.start - column;
                (column, number) = (columns.end, numbers.end);
                slices.weights(layer, outputs, numbers);
                slices.chosen(outputs, columns, feature);
            }
            slices.weights(layer, outputs, number..number + shape.inputs - column);
        } else {
            slices.weights(layer, outputs, 0..shape.inputs);
        }
        slices.push(layer, outputs, What::Bias);
    }
    slices.0
}

struct Slices(Vec<Slice>);

impl Slices {
    fn push(&mut self, layer: usize, parameters: usize, what: What) {
        let start = self.0.last().map_or(0, |slice| slice.parameters.end);
        self.0.push(Slice { layer, parameters: start..start + parameters, what });
    }

    fn weights(&mut self, layer: usize, outputs: usize, inputs: Range<usize>) {
        let rows = WEIGHTS.div_ceil(outputs).next_multiple_of(ROWS);
        for start in inputs.clone().step_by(rows) {
            let some = start..inputs.end.min(start + rows);
            self.push(layer, some.len() * outputs, What::Weights(some));
        }
    }

    fn chosen(&mut self, outputs: usize, columns: &Range<usize>, feature: usize) {
        let rows = CHOSEN_WEIGHTS.div_ceil(outputs);
        for start in columns.clone().step_by(rows) {
            let some = start..columns.end.min(start + rows);
            self.push(0, some.len() * outputs, What::Chosen(some.start as u32..some.end as u32, feature));
        }
    }
}

/// A slice at work.
pub(super) struct Piece<'a> {
    slice: &'a Slice,
    sums: &'a mut [f32],
    /// The sum of the squared weights.
    pub(super) squares: f64,
}

/// The slices with their places in the gradient.
pub(super) fn cut<'a>(slices: &'a [Slice], mut gradient: &'a mut [f32]) -> Vec<Piece<'a>> {
    let piece = |slice: &'a Slice| {
        let (sums, rest) = std::mem::take(&mut gradient).split_at_mut(slice.parameters.len());
        gradient = rest;
        Piece { slice, sums, squares: 0.0 }
    };
    slices.iter().map(piece).collect()
}

impl Piece<'_> {
    /// Sums the gradient over the rows of the parts, after what it is already unless this is the `beginning`.
    pub(super) fn sum(&mut self, parts: &[Part], x: &Inputs, beginning: bool) {
        let layer = self.slice.layer;
        if beginning {
            self.sums.fill(0.0);
        }
        for part in parts {
            let (rows, delta) = (part.rows(), &part.levels[layer].delta);
            match &self.slice.what {
                What::Weights(inputs) => {
                    let values = if layer == 0 { &part.numbers } else { &part.levels[layer - 1].post };
                    let values = values.view(rows).reversed_axes();
                    let sums = ArrayViewMut2::from_shape((inputs.len(), delta.columns()), &mut *self.sums);
                    let sums = sums.unwrap_or_else(|_| unreachable!("cut to shape"));
                    multiply(values.slice(s![inputs.clone(), ..]), delta, Start::There, sums);
                }
                What::Chosen(columns, feature) => {
                    let features = x.one_hot_columns().len();
                    let chosen = &part.ones[..rows * features];
                    add_to_chosen(self.sums, columns.clone(), chosen, features, *feature, delta);
                }
                What::Bias => add_rows(self.sums, delta, rows),
            }
        }
    }

    /// Makes of the sums the gradient of the mean loss with its penalty.
    pub(super) fn finish(&mut self, network: &Network, decay: f32, share: f32) {
        let weights = match self.slice.what {
            What::Bias => &[],
            What::Weights(_) | What::Chosen(..) => &network.parameters[self.slice.parameters.clone()],
        };
        self.squares = finish(self.sums, weights, decay, share);
    }
}
