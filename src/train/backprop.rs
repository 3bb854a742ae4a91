//! The network in training: its parameters in one line of numbers, the loss of a minibatch, and its gradient.
//!
//! All in f32 with buffers that a [`Pass`] keeps, so that a step allocates nothing. For each of the three output
//! functions with its loss (softmax and logistic with log loss, identity with half the squared error) the gradient at
//! the last layer is simply the answer minus the truth (Bishop, Pattern Recognition and Machine Learning, 5.3).

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut2, aview1, s};
use rand::Rng;

use crate::engine::{Activation, Layer, Output};

/// The layers' shapes and all weights and biases.
#[derive(Clone, Debug)]
pub(super) struct Network {
    shapes: Vec<Shape>,
    output: Output,
    /// Per layer its weights, inputs × outputs row by row, then its biases.
    pub(super) parameters: Vec<f32>,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    inputs: usize,
    outputs: usize,
    activation: Activation,
    /// Where in the parameters the weights start.
    start: usize,
}

impl Shape {
    fn weights_end(&self) -> usize {
        self.start + self.inputs * self.outputs
    }

    fn end(&self) -> usize {
        self.weights_end() + self.outputs
    }

    fn weights<'a>(&self, parameters: &'a [f32]) -> ArrayView2<'a, f32> {
        let weights = &parameters[self.start..self.weights_end()];
        ArrayView2::from_shape((self.inputs, self.outputs), weights).unwrap_or_else(|_| unreachable!("cut to shape"))
    }

    fn bias<'a>(&self, parameters: &'a [f32]) -> ArrayView1<'a, f32> {
        aview1(&parameters[self.weights_end()..self.end()])
    }
}

/// What the rows should be answered.
#[derive(Clone, Debug)]
pub(super) enum Truth {
    /// The class of each row.
    Classes(Vec<usize>),
    /// The number of each row.
    Numbers(Vec<f32>),
}

impl Network {
    /// A network with random parameters after Glorot and Bengio (2010) as scikit-learn draws them: weights and biases
    /// uniform within ±√(f / (inputs + outputs)), f = 2 for the logistic function and 6 for the others.
    ///
    /// `widths`: the columns of the input, the neurons of each hidden layer, the logits or numbers at the end.
    pub(super) fn random(widths: &[usize], activation: Activation, output: Output, rng: &mut impl Rng) -> Network {
        let mut network = Network::zeros(widths, activation, output);
        let factor = if activation == Activation::Logistic { 2.0 } else { 6.0 };
        for shape in &network.shapes {
            let bound = (factor / (shape.inputs + shape.outputs) as f64).sqrt() as f32;
            network.parameters[shape.start..shape.end()].fill_with(|| rng.random_range(-bound..=bound));
        }
        network
    }

    fn zeros(widths: &[usize], activation: Activation, output: Output) -> Network {
        let mut start = 0;
        let mut shapes: Vec<Shape> = Vec::with_capacity(widths.len());
        for pair in widths.windows(2) {
            let shape = Shape { inputs: pair[0], outputs: pair[1], activation, start };
            start = shape.end();
            shapes.push(shape);
        }
        if let Some(last) = shapes.last_mut() {
            last.activation = Activation::Identity;
        }
        Network { shapes, output, parameters: vec![0.0; start] }
    }

    /// The layers for the engine.
    pub(super) fn layers(&self) -> Vec<Layer> {
        let layer = |shape: &Shape| Layer {
            weights: shape.weights(&self.parameters).to_owned(),
            bias: shape.bias(&self.parameters).to_owned(),
            activation: shape.activation,
        };
        self.shapes.iter().map(layer).collect()
    }

    /// Answers `std · answer + mean` from now on: undoes the standardisation of a regression's target.
    pub(super) fn rescale(&mut self, mean: f64, std: f64) {
        let Some(last) = self.shapes.last() else { return };
        self.parameters[last.start..last.end()].iter_mut().for_each(|value| *value = (f64::from(*value) * std) as f32);
        self.parameters[last.weights_end()..last.end()].iter_mut().for_each(|bias| *bias += mean as f32);
    }
}

/// The buffers of one forward and backward pass over up to a batch of rows.
#[derive(Debug)]
pub(super) struct Pass {
    input: Array2<f32>,
    levels: Vec<Level>,
    gradient: Vec<f32>,
}

/// What one layer computes, a row each.
#[derive(Debug)]
struct Level {
    /// Before the activation.
    pre: Array2<f32>,
    /// After it; at the last layer after the output function.
    post: Array2<f32>,
    /// The loss's gradient before the activation, not yet divided by the rows.
    delta: Array2<f32>,
}

impl Pass {
    /// Buffers for batches of up to `rows`.
    pub(super) fn new(network: &Network, rows: usize) -> Pass {
        let buffer = |width| Array2::zeros((rows, width));
        let level = |shape: &Shape| Level {
            pre: buffer(shape.outputs),
            post: buffer(shape.outputs),
            delta: buffer(shape.outputs),
        };
        Pass {
            input: buffer(network.shapes[0].inputs),
            levels: network.shapes.iter().map(level).collect(),
            gradient: vec![0.0; network.parameters.len()],
        }
    }

    /// The gradient that [`Pass::run`] found, in the order of the network's parameters.
    pub(super) fn gradient(&self) -> &[f32] {
        &self.gradient
    }

    /// The mean loss of the given rows, penalty included, and by the way its gradient.
    pub(super) fn run(
        &mut self,
        network: &Network,
        x: ArrayView2<'_, f32>,
        truth: &Truth,
        rows: &[usize],
        alpha: f64,
    ) -> f64 {
        for (mut to, &row) in self.input.rows_mut().into_iter().zip(rows) {
            to.assign(&x.row(row));
        }
        self.forward(network, rows.len());
        let loss = self.loss(network.output, truth, rows);
        self.backward(network, rows.len(), alpha as f32 / rows.len() as f32);
        loss + penalty(network, alpha) / rows.len() as f64
    }

    fn forward(&mut self, network: &Network, rows: usize) {
        for (at, shape) in network.shapes.iter().enumerate() {
            let (before, rest) = self.levels.split_at_mut(at);
            let Level { pre, post, .. } = &mut rest[0];
            let input = before.last().map_or(&self.input, |level| &level.post);
            let (mut pre, mut post) = (pre.slice_mut(s![..rows, ..]), post.slice_mut(s![..rows, ..]));
            pre.assign(&shape.bias(&network.parameters));
            general_mat_mul(1.0, &input.slice(s![..rows, ..]), &shape.weights(&network.parameters), 1.0, &mut pre);
            post.assign(&pre);
            shape.activation.apply(flat_mut(&mut post));
        }
        if let Some(last) = self.levels.last_mut() {
            apply_output(network.output, last.post.slice_mut(s![..rows, ..]));
        }
    }

    /// The mean loss; fills the last layer's delta with the answer minus the truth.
    fn loss(&mut self, output: Output, truth: &Truth, rows: &[usize]) -> f64 {
        let Some(Level { post, delta, .. }) = self.levels.last_mut() else { return 0.0 };
        let answers = post.rows().into_iter().zip(delta.rows_mut());
        let mut sum = 0.0;
        for ((answer, mut delta), &row) in answers.zip(rows) {
            delta.assign(&answer);
            match truth {
                Truth::Numbers(numbers) => {
                    delta[0] -= numbers[row];
                    sum += f64::from(delta[0]).powi(2) / 2.0;
                }
                Truth::Classes(classes) if output == Output::Logistic => {
                    let positive = classes[row] == 1;
                    sum -= clipped_ln(if positive { answer[0] } else { 1.0 - answer[0] });
                    delta[0] -= f32::from(positive);
                }
                Truth::Classes(classes) => {
                    sum -= clipped_ln(answer[classes[row]]);
                    delta[classes[row]] -= 1.0;
                }
            }
        }
        sum / rows.len() as f64
    }

    fn backward(&mut self, network: &Network, rows: usize, decay: f32) {
        let share = 1.0 / rows as f32;
        for (at, shape) in network.shapes.iter().enumerate().rev() {
            let (before, rest) = self.levels.split_at_mut(at);
            let delta = rest[0].delta.slice(s![..rows, ..]);
            let input = before.last().map_or(&self.input, |level| &level.post).slice(s![..rows, ..]);

            let weights = shape.weights(&network.parameters);
            let (to_weights, to_bias) = self.gradient[shape.start..shape.end()].split_at_mut(weights.len());
            let mut to_weights =
                ArrayViewMut2::from_shape(weights.dim(), to_weights).unwrap_or_else(|_| unreachable!("cut to shape"));
            to_weights.assign(&weights);
            general_mat_mul(share, &input.t(), &delta, decay, &mut to_weights);
            to_bias.fill(0.0);
            for row in delta.rows() {
                to_bias.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            to_bias.iter_mut().for_each(|sum| *sum *= share);

            let Some(Level { pre, post, delta: earlier }) = before.last_mut() else { continue };
            let mut earlier = earlier.slice_mut(s![..rows, ..]);
            general_mat_mul(1.0, &delta, &weights.t(), 0.0, &mut earlier);
            let (pre, post) = (pre.slice(s![..rows, ..]), post.slice(s![..rows, ..]));
            network.shapes[at - 1].activation.derivative(flat(&pre), flat(&post), flat_mut(&mut earlier));
        }
    }
}

/// `alpha / 2 · ‖W‖²` over all weights, without the biases.
fn penalty(network: &Network, alpha: f64) -> f64 {
    let square = |shape: &Shape| {
        let weights = aview1(&network.parameters[shape.start..shape.weights_end()]);
        f64::from(weights.dot(&weights))
    };
    alpha / 2.0 * network.shapes.iter().map(square).sum::<f64>()
}

fn apply_output(output: Output, mut values: ArrayViewMut2<'_, f32>) {
    match output {
        Output::Identity => {}
        Output::Logistic => values.mapv_inplace(|logit| 1.0 / (1.0 + (-logit).exp())),
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

fn flat<'a>(rows: &'a ArrayView2<'_, f32>) -> &'a [f32] {
    rows.as_slice().unwrap_or_else(|| unreachable!("the first rows of a buffer are contiguous"))
}

fn flat_mut<'a>(rows: &'a mut ArrayViewMut2<'_, f32>) -> &'a mut [f32] {
    rows.as_slice_mut().unwrap_or_else(|| unreachable!("the first rows of a buffer are contiguous"))
}

#[cfg(test)]
mod tests;
