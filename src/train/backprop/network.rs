//! The network in training: its layers' shapes, and its parameters in one line of numbers.

use ndarray::{ArrayView2, aview1};
use rand::Rng;

use crate::engine::{Activation, Layer, Output};

/// The layers' shapes and all weights and biases.
#[derive(Clone, Debug)]
pub(in crate::train) struct Network {
    pub(super) shapes: Vec<Shape>,
    pub(super) output: Output,
    /// Per layer its weights, inputs × outputs row by row, then its biases.
    pub(in crate::train) parameters: Vec<f32>,
}

/// A layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) activation: Activation,
    /// Where in the parameters the weights start.
    pub(super) start: usize,
}

impl Shape {
    pub(super) fn weights_end(&self) -> usize {
        self.start + self.inputs * self.outputs
    }

    pub(super) fn end(&self) -> usize {
        self.weights_end() + self.outputs
    }

    pub(super) fn weights<'a>(&self, parameters: &'a [f32]) -> ArrayView2<'a, f32> {
        let weights = &parameters[self.start..self.weights_end()];
        ArrayView2::from_shape((self.inputs, self.outputs), weights).unwrap_or_else(|_| unreachable!("cut to shape"))
    }

    pub(super) fn bias<'a>(&self, parameters: &'a [f32]) -> &'a [f32] {
        &parameters[self.weights_end()..self.end()]
    }
}

impl Network {
    /// A network with random parameters after Glorot and Bengio (2010) as scikit-learn draws them: weights and biases
    /// uniform within ±√(f / (inputs + outputs)), f = 2 for the logistic function and 6 for the others.
    ///
    /// `widths`: the columns of the input, the neurons of each hidden layer, the logits or numbers at the end.
    pub(in crate::train) fn random(
        widths: &[usize],
        activation: Activation,
        output: Output,
        rng: &mut impl Rng,
    ) -> Network {
        let mut network = Network::zeros(widths, activation, output);
        let factor = if activation == Activation::Logistic { 2.0 } else { 6.0 };
        for shape in &network.shapes {
            let bound = (factor / (shape.inputs + shape.outputs) as f64).sqrt() as f32;
            network.parameters[shape.start..shape.end()].fill_with(|| rng.random_range(-bound..=bound));
        }
        network
    }

    pub(super) fn zeros(widths: &[usize], activation: Activation, output: Output) -> Network {
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

    /// The network of these layers, which fit each other and have neither norms nor slopes.
    pub(in crate::train) fn of_layers(layers: &[Layer], output: Output) -> Network {
        let mut network = Network { shapes: Vec::with_capacity(layers.len()), output, parameters: vec![] };
        for layer in layers {
            let (inputs, outputs, start) = (layer.inputs(), layer.outputs(), network.parameters.len());
            network.shapes.push(Shape { inputs, outputs, activation: layer.activation, start });
            network.parameters.extend(layer.weights.to_f32().iter().chain(&layer.bias));
        }
        network
    }

    /// The layers for the engine.
    pub(in crate::train) fn layers(&self) -> Vec<Layer> {
        let layer = |shape: &Shape| {
            let (weights, bias) = (shape.weights(&self.parameters), shape.bias(&self.parameters));
            Layer::new(weights.to_owned(), aview1(bias).to_owned(), shape.activation)
        };
        self.shapes.iter().map(layer).collect()
    }

    /// Answers `(answer - mean) / std` from now on: undoes [`Network::rescale`].
    pub(in crate::train) fn standardise(&mut self, mean: f64, std: f64) {
        let Some(last) = self.shapes.last() else { return };
        let (weights, bias) = self.parameters[last.start..last.end()].split_at_mut(last.inputs * last.outputs);
        weights.iter_mut().for_each(|weight| *weight = (f64::from(*weight) / std) as f32);
        bias.iter_mut().for_each(|bias| *bias = ((f64::from(*bias) - mean) / std) as f32);
    }

    /// Answers `std · answer + mean` from now on: undoes the standardisation of a regression's target.
    pub(in crate::train) fn rescale(&mut self, mean: f64, std: f64) {
        let Some(last) = self.shapes.last() else { return };
        self.parameters[last.start..last.end()].iter_mut().for_each(|value| *value = (f64::from(*value) * std) as f32);
        self.parameters[last.weights_end()..last.end()].iter_mut().for_each(|bias| *bias += mean as f32);
    }
}
