//! From a gradient to a step of the parameters: gradient descent with momentum, and adam.
//!
//! The updates are scikit-learn's (`sklearn.neural_network._stochastic_optimizers`), epsilon included, which adam adds to
//! the uncorrected root.

use super::recipe::{Recipe, Solver};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f32 = 1e-8;

/// An optimizer's memory of the steps so far.
#[derive(Debug)]
pub(super) enum Optimizer {
    Sgd { rate: f32, momentum: f32, nesterov: bool, velocity: Vec<f32> },
    Adam { rate: f64, steps: i32, mean: Vec<f32>, square: Vec<f32> },
}

impl Optimizer {
    /// At rest, for that many parameters.
    pub(super) fn new(recipe: &Recipe, parameters: usize) -> Optimizer {
        let zeros = || vec![0.0; parameters];
        match recipe.solver {
            Solver::Sgd => Optimizer::Sgd {
                rate: recipe.learning_rate_init as f32,
                momentum: recipe.momentum as f32,
                nesterov: recipe.nesterovs_momentum,
                velocity: zeros(),
            },
            Solver::Adam => {
                Optimizer::Adam { rate: recipe.learning_rate_init, steps: 0, mean: zeros(), square: zeros() }
            }
        }
    }

    /// Moves the parameters one step.
    pub(super) fn step(&mut self, parameters: &mut [f32], gradient: &[f32]) {
        match self {
            Optimizer::Sgd { rate, momentum, nesterov, velocity } => {
                for ((parameter, &slope), velocity) in parameters.iter_mut().zip(gradient).zip(velocity) {
                    *velocity = *momentum * *velocity - *rate * slope;
                    *parameter += if *nesterov { *momentum * *velocity - *rate * slope } else { *velocity };
                }
            }
            Optimizer::Adam { rate, steps, mean, square } => {
                // Beyond 2^31 steps the corrections have long been 1.
                *steps = steps.saturating_add(1);
                let rate = (*rate * (1.0 - BETA_2.powi(*steps)).sqrt() / (1.0 - BETA_1.powi(*steps))) as f32;
                let (keep_mean, keep_square) = (BETA_1 as f32, BETA_2 as f32);
                let (add_mean, add_square) = ((1.0 - BETA_1) as f32, (1.0 - BETA_2) as f32);
                for ((parameter, &slope), (mean, square)) in
                    parameters.iter_mut().zip(gradient).zip(mean.iter_mut().zip(square))
                {
                    *mean = keep_mean * *mean + add_mean * slope;
                    *square = keep_square * *square + add_square * slope * slope;
                    *parameter -= rate * *mean / (square.sqrt() + EPSILON);
                }
            }
        }
    }
}
