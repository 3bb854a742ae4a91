//! Some rows of a minibatch on their way: forward through the layers, to the loss, and back.

use ndarray::{ArrayView2, ArrayViewMut2};

use super::Truth;
use super::network::{Network, Shape};
use super::packed::PackedWeights;
use crate::engine::training::{Matrix, Start, multiply, sum_chosen};
use crate::engine::{Activation, Output};
use crate::train::inputs::Inputs;

/// One thread's buffers.
#[derive(Debug)]
pub(super) struct Part {
    /// The rows it has now, of the table.
    rows: Vec<usize>,
    /// The network's input where it isn't one-hot.
    pub(super) numbers: Matrix,
    /// And where it is, the columns that are 1: so many for each row.
    pub(super) ones: Vec<u32>,
    pub(super) levels: Vec<Level>,
    losses: Vec<f64>,
}

/// What one layer computes, a row each.
#[derive(Debug)]
pub(super) struct Level {
    /// Before the activation, if its derivative needs that.
    pre: Option<Matrix>,
    /// After it; at the last layer after the output function.
    pub(super) post: Matrix,
    /// The loss's gradient before the activation.
    pub(super) delta: Matrix,
}

impl Part {
    /// For up to so many rows.
    pub(super) fn new(network: &Network, x: &Inputs, rows: usize) -> Part {
        let level = |shape: &Shape| Level {
            pre: needs_pre(shape.activation).then(|| Matrix::zeros(rows, shape.outputs)),
            post: Matrix::zeros(rows, shape.outputs),
            delta: Matrix::zeros(rows, shape.outputs),
        };
        Part {
            rows: Vec::with_capacity(rows),
            numbers: Matrix::zeros(rows, x.number_columns().len()),
            ones: vec![0; rows * x.one_hot_columns().len()],
            levels: network.shapes.iter().map(level).collect(),
            losses: Vec::with_capacity(rows),
        }
    }

    /// How many rows it has now.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Each row's loss, as often as it counts.
    pub(super) fn losses(&self) -> &[f64] {
        &self.losses
    }

    /// What the network answers, a row each.
    pub(super) fn answers(&self) -> ArrayView2<'_, f32> {
        self.levels.last().map_or(self.numbers.view(self.rows()), |level| level.post.view(self.rows()))
    }

    /// Takes these rows of the table through all layers.
    pub(super) fn forward(&mut self, network: &Network, packed: &[PackedWeights], x: &Inputs, rows: &[usize]) {
        self.rows.clear();
        self.rows.extend_from_slice(rows);
        x.copy(rows, &mut self.numbers, &mut self.ones);
        let rows = rows.len();
        for (at, (shape, packed)) in network.shapes.iter().zip(packed).enumerate() {
            let (before, rest) = self.levels.split_at_mut(at);
            let Level { pre, post, .. } = &mut rest[0];
            let input = before.last().map_or(&self.numbers, |level| &level.post).view(rows);
            let bias = shape.bias(&network.parameters);
            let mut start = Start::Row(bias);
            let per_row = x.one_hot_columns().len();
            if at == 0 && per_row > 0 {
                let weights = &network.parameters[shape.start..shape.weights_end()];
                sum_chosen(weights, bias, &self.ones[..rows * per_row], per_row, post);
                start = Start::There;
            }
            multiply(input, &packed.forward, start, post.view_mut(rows));
            if let Some(pre) = pre {
                pre.flat_mut(rows).copy_from_slice(post.flat(rows));
            }
            if shape.activation != Activation::Identity {
                shape.activation.apply(post.flat_mut(rows));
            }
        }
        if let Some(last) = self.levels.last_mut() {
            apply_output(network.output, last.post.view_mut(rows));
        }
    }

    /// Finds each row's loss, and the last layer's delta: the answer minus the truth. Both as often as the row counts.
    pub(super) fn loss(&mut self, output: Output, truth: &Truth, sample_weight: Option<&[f32]>) {
        self.losses.clear();
        let Some(Level { post, delta, .. }) = self.levels.last_mut() else { return };
        for (at, &row) in self.rows.iter().enumerate() {
            let (answer, delta) = (post.row(at), delta.row_mut(at));
            delta.copy_from_slice(answer);
            let mut loss = match truth {
                Truth::Numbers(numbers) => {
                    delta[0] -= numbers[row];
                    f64::from(delta[0]).powi(2) / 2.0
                }
                Truth::Classes(classes) if output == Output::Logistic => {
                    let positive = classes[row] == 1;
                    delta[0] -= f32::from(positive);
                    -clipped_ln(if positive { answer[0] } else { 1.0 - answer[0] })
                }
                Truth::Classes(classes) => {
                    delta[classes[row]] -= 1.0;
                    -clipped_ln(answer[classes[row]])
                }
            };
            if let Some(weights) = sample_weight {
                delta.iter_mut().for_each(|value| *value *= weights[row]);
                loss *= f64::from(weights[row]);
            }
            self.losses.push(loss);
        }
    }

    /// Takes the delta back to the first layer.
    pub(super) fn backward(&mut self, network: &Network, packed: &[PackedWeights]) {
        let rows = self.rows();
        for (at, packed) in packed.iter().enumerate().rev() {
            let (before, rest) = self.levels.split_at_mut(at);
            let (Some(Level { pre, post, delta }), Some(weights)) = (before.last_mut(), &packed.backward) else {
                return;
            };
            multiply(rest[0].delta.view(rows), weights, Start::Zero, delta.view_mut(rows));
            let pre = pre.as_ref().unwrap_or(post);
            let activation = network.shapes[at - 1].activation;
            activation.derivative(pre.flat(rows), post.flat(rows), delta.flat_mut(rows));
        }
    }
}

/// Whether the derivative needs more than the function's value: that and its sign are enough for the others.
fn needs_pre(activation: Activation) -> bool {
    match activation {
        Activation::Gelu
        | Activation::GeluTanh
        | Activation::Silu
        | Activation::Softplus
        | Activation::Mish
        | Activation::Softsign
        | Activation::HardSwish
        | Activation::HardSigmoid { .. }
        | Activation::ThresholdedRelu { .. }
        | Activation::Clamp { .. }
        | Activation::Round { .. } => true,
        // Below 0 they turn the sign.
        Activation::LeakyRelu { slope: factor } | Activation::Elu { alpha: factor } => factor < 0.0,
        Activation::Identity
        | Activation::Relu
        | Activation::PRelu
        | Activation::Selu
        | Activation::Celu { .. }
        | Activation::Tanh
        | Activation::Logistic => false,
    }
}

fn apply_output(output: Output, mut values: ArrayViewMut2<'_, f32>) {
    match output {
        Output::Identity => {}
        Output::Logistic => values.mapv_inplace(|logit| 1.0 / (1.0 + (-logit).exp())),
        // No training has it: there is no loss for it.
        Output::Normalized => {}
        Output::Softmax => {
            for mut row in values.rows_mut() {
                // Subtracting the largest keeps the exponentials finite. A NaN passes on: `max` alone would lose it.
                let largest = row.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
                row.mapv_inplace(|logit| (logit - largest).exp());
                let sum = row.sum();
                row.mapv_inplace(|value| value / sum);
            }
        }
    }
}

/// scikit-learn clips probabilities by the precision of their type.
fn clipped_ln(probability: f32) -> f64 {
    f64::from(probability.clamp(f32::EPSILON, 1.0 - f32::EPSILON)).ln()
}
