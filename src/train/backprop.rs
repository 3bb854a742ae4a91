//! The loss of a minibatch and its gradient.
//!
//! All in f32, with buffers that a [`Pass`] keeps. For each of the three output functions with its loss (softmax and
//! logistic with log loss, identity with half the squared error) the gradient at the last layer is simply the answer
//! minus the truth (Bishop, Pattern Recognition and Machine Learning, 5.3).
//!
//! The threads share the work in two steps. First each takes some of the rows (`part`) forward through all layers, to the
//! loss, and back to the first layer's sums; rows have nothing to do with each other there. Then each takes some of the
//! parameters (`slice`), and sums their gradient over all rows. No number is summed in an order that depends on who does
//! it, so the bits are the same with any number of threads.

mod network;
mod packed;
mod part;
mod slice;

use ndarray::{Array2, ArrayView2, Axis, s};

pub(super) use self::network::Network;
use self::packed::PackedWeights;
use self::part::Part;
use self::slice::Slice;
use super::distributed::{Ranks, Workers};
use super::inputs::Inputs;
use crate::engine::training::Team;

/// Rows that go through both steps at once: what they need stays in the second level cache, in training sets' usual
/// widths.
const BLOCK_ROWS: usize = 1024;

/// What the rows should be answered.
#[derive(Clone, Debug)]
pub(super) enum Truth {
    /// The class of each row.
    Classes(Vec<usize>),
    /// The number of each row.
    Numbers(Vec<f32>),
}

/// One forward and backward pass over the rows of a minibatch: its buffers, and who works at it.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    x: &'a Inputs,
    ranks: &'a Ranks,
    team: Team,
    packed: Vec<PackedWeights>,
    /// One for each thread.
    parts: Vec<Part>,
    /// All parameters, in their order.
    slices: Vec<Slice>,
    gradient: Vec<f32>,
    spare: Vec<f32>,
    answers: Array2<f32>,
}

impl<'a> Pass<'a> {
    /// For minibatches of up to `rows` rows of `x`.
    pub(super) fn new(network: &Network, x: &'a Inputs, rows: usize, workers: &'a Workers) -> Pass<'a> {
        let team = Team::new(workers.threads);
        let rows_of_part = rows.min(BLOCK_ROWS).div_ceil(team.threads());
        let logits = network.shapes.last().map_or(0, |shape| shape.outputs);
        Pass {
            x,
            ranks: &workers.ranks,
            packed: network.shapes.iter().enumerate().map(|(at, shape)| PackedWeights::new(at, shape, x)).collect(),
            parts: (0..team.threads()).map(|_| Part::new(network, x, rows_of_part)).collect(),
            slices: slice::all(network, x),
            gradient: vec![0.0; network.parameters.len()],
            spare: Vec::new(),
            answers: Array2::zeros((rows, logits)),
            team,
        }
    }

    /// The threads that work at it, for what comes after it too.
    pub(super) fn team(&self) -> &Team {
        &self.team
    }

    /// The gradient that [`Pass::run`] found, in the order of the network's parameters.
    pub(super) fn gradient(&self) -> &[f32] {
        &self.gradient
    }

    /// The mean loss of the minibatch of these rows, penalty included, and by the way its gradient; both as
    /// scikit-learn has them, with `sample_weight` (one for each row of the table) too: means are weighted, and the
    /// penalty is divided by the sum of the weights. Every rank gives the same rows and gets the same.
    pub(super) fn run(
        &mut self,
        network: &Network,
        truth: &Truth,
        sample_weight: Option<&[f32]>,
        rows: &[usize],
        alpha: f64,
    ) -> f64 {
        let weight = sample_weight.map_or(rows.len() as f64, |all| rows.iter().map(|&row| f64::from(all[row])).sum());
        // The penalty enters the sum over all ranks once.
        let decay = if self.ranks.is_first() { alpha as f32 } else { 0.0 };
        let share = (1.0 / weight) as f32;
        packed::pack(&mut self.packed, network, self.x, &self.team);

        let rows = self.ranks.share(rows);
        let blocks = rows.len().div_ceil(BLOCK_ROWS).max(1);
        let (mut loss, mut squares) = (0.0, 0.0);
        for block in 0..blocks {
            let rows = &rows[block * BLOCK_ROWS..rows.len().min((block + 1) * BLOCK_ROWS)];
            let Pass { x, team, packed, parts, slices, gradient, .. } = self;
            let (x, packed, rows_of_part) = (*x, &*packed, rows.len().div_ceil(parts.len()).max(1));
            team.each(parts, |index, part| {
                part.forward(network, packed, x, rows.chunks(rows_of_part).nth(index).unwrap_or_default());
                part.loss(network.output, truth, sample_weight);
                part.backward(network, packed);
            });
            loss += parts.iter().flat_map(Part::losses).sum::<f64>();

            let mut pieces = slice::cut(slices, gradient);
            team.each(&mut pieces, |_, piece| {
                piece.sum(parts, x, block == 0);
                if block + 1 == blocks {
                    piece.finish(network, decay, share);
                }
            });
            squares = pieces.iter().map(|piece| piece.squares).sum();
        }
        self.ranks.sum(&mut self.gradient, &mut self.spare);
        (self.ranks.total(loss) + alpha / 2.0 * squares) / weight
    }
    /// What the network answers for the given rows, up to as many as the buffers have: a row each, behind the output
    /// function.
    pub(super) fn answer(&mut self, network: &Network, rows: &[usize]) -> ArrayView2<'_, f32> {
        packed::pack(&mut self.packed, network, self.x, &self.team);
        let Pass { x, team, packed, parts, answers, .. } = self;
        let (x, packed) = (*x, &*packed);
        let mut answers = answers.slice_mut(s![..rows.len(), ..]);
        for (rows, mut answers) in rows.chunks(BLOCK_ROWS).zip(answers.axis_chunks_iter_mut(Axis(0), BLOCK_ROWS)) {
            let rows_of_part = rows.len().div_ceil(parts.len());
            team.each(parts, |index, part| {
                part.forward(network, packed, x, rows.chunks(rows_of_part).nth(index).unwrap_or_default());
            });
            let of_parts = answers.axis_chunks_iter_mut(Axis(0), rows_of_part);
            of_parts.zip(&*parts).for_each(|(mut to, part)| to.assign(&part.answers()));
        }
        self.answers.slice(s![..rows.len(), ..])
    }
}

#[cfg(test)]
mod tests;
