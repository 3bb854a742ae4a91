//! From a gradient to a step of the parameters: gradient descent with momentum, adam, and how their step size changes.
//!
//! The updates are scikit-learn's (`sklearn.neural_network._stochastic_optimizers`), epsilon included, which adam adds to
//! the uncorrected root.

use super::recipe::{LearningRate, Recipe, Solver};
use crate::engine::training::{Adam, Momentum, Team};

/// [`LearningRate::Adaptive`] divides the step size by this.
const SHRINK: f64 = 5.0;

/// [`LearningRate::Adaptive`] ends the training where the step size would fall below this once more.
const LEAST_RATE: f64 = 1e-6;

/// A way to follow the gradient, and the memory of the steps so far.
#[derive(Debug)]
pub(super) struct Optimizer {
    rule: Rule,
    pub(super) memory: OptimizerState,
}

/// What an optimizer knows of the steps so far: all that a checkpoint has to keep of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OptimizerState {
    /// The step size now; adam corrects it in each step.
    pub(super) rate: f64,
    /// How many steps there were, as far as adam needs to know.
    pub(super) steps: i32,
    /// Of each parameter: sgd's velocity, or adam's mean of the gradient.
    pub(super) first: Vec<f32>,
    /// Of each parameter: adam's mean of the gradient's square; empty with sgd.
    pub(super) second: Vec<f32>,
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    Sgd { learning_rate: LearningRate, rate_init: f64, power_t: f64, momentum: f32, nesterov: bool },
    Adam { beta_1: f64, beta_2: f64, epsilon: f32 },
}

impl Optimizer {
    /// At rest, for that many parameters.
    pub(super) fn new(recipe: &Recipe, parameters: usize) -> Optimizer {
        let (rule, second) = match recipe.solver {
            Solver::Sgd => {
                let rule = Rule::Sgd {
                    learning_rate: recipe.learning_rate,
                    rate_init: recipe.learning_rate_init,
                    power_t: recipe.power_t,
                    momentum: recipe.momentum as f32,
                    nesterov: recipe.nesterovs_momentum,
                };
                (rule, vec![])
            }
            Solver::Adam => {
                let Recipe { beta_1, beta_2, epsilon, .. } = *recipe;
                (Rule::Adam { beta_1, beta_2, epsilon: epsilon as f32 }, vec![0.0; parameters])
            }
        };
        let memory = OptimizerState { rate: recipe.learning_rate_init, steps: 0, first: vec![0.0; parameters], second };
        Optimizer { rule, memory }
    }

    /// Moves the parameters one step.
    pub(super) fn step(&mut self, team: &Team, parameters: &mut [f32], gradient: &[f32]) {
        let OptimizerState { rate, steps, first, second } = &mut self.memory;
        match self.rule {
            Rule::Sgd { momentum, nesterov, .. } => {
                Momentum { rate: *rate as f32, momentum, nesterov }.step(team, parameters, gradient, first);
            }
            Rule::Adam { beta_1, beta_2, epsilon } => {
                // Beyond 2^31 steps the corrections have long been 1.
                *steps = steps.saturating_add(1);
                let rate = (*rate * (1.0 - beta_2.powi(*steps)).sqrt() / (1.0 - beta_1.powi(*steps))) as f32;
                Adam { rate, beta_1, beta_2, epsilon }.step(team, parameters, gradient, first, second);
            }
        }
    }

    /// An epoch is over; `seen` rows were trained on so far, counting each as often as it was.
    pub(super) fn epoch_ends(&mut self, seen: usize) {
        if let Rule::Sgd { learning_rate: LearningRate::Invscaling, rate_init, power_t, .. } = self.rule {
            self.memory.rate = rate_init / (seen as f64 + 1.0).powf(power_t);
        }
    }

    /// The training doesn't get any better: whether smaller steps may help, which are then taken.
    pub(super) fn can_go_finer(&mut self) -> bool {
        let adaptive = matches!(self.rule, Rule::Sgd { learning_rate: LearningRate::Adaptive, .. });
        let finer = adaptive && self.memory.rate > LEAST_RATE;
        if finer {
            self.memory.rate /= SHRINK;
        }
        finer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sgd(learning_rate: LearningRate) -> Optimizer {
        let recipe =
            Recipe { solver: Solver::Sgd, learning_rate, learning_rate_init: 0.5, power_t: 0.25, ..Recipe::default() };
        Optimizer::new(&recipe, 1)
    }

    #[test]
    fn invscaling_changes_once_an_epoch_with_the_rows_seen() {
        let mut optimizer = sgd(LearningRate::Invscaling);
        optimizer.step(&Team::new(1), &mut [0.0], &[1.0]);
        assert_eq!(optimizer.memory.rate, 0.5);
        optimizer.epoch_ends(15);
        assert_eq!(optimizer.memory.rate, 0.25);
        optimizer.epoch_ends(80);
        assert_eq!(optimizer.memory.rate, 0.5 / 3.0);
        assert!(!optimizer.can_go_finer());
    }

    #[test]
    fn adaptive_divides_by_5_down_to_a_millionth() {
        let mut optimizer = sgd(LearningRate::Adaptive);
        optimizer.epoch_ends(1000);
        let mut rates = vec![];
        while optimizer.can_go_finer() {
            rates.push(optimizer.memory.rate);
        }
        assert_eq!(rates[..2], [0.1, 0.02]);
        // 0.5 / 5^8 = 1.28e-6 is above the least, so one division more.
        assert_eq!(rates.len(), 9);
    }

    #[test]
    fn only_sgd_has_a_schedule() {
        for learning_rate in [LearningRate::Invscaling, LearningRate::Adaptive] {
            let mut adam = Optimizer::new(&Recipe { learning_rate, ..Recipe::default() }, 1);
            adam.epoch_ends(1000);
            assert!(!adam.can_go_finer());
            assert_eq!(adam.memory.rate, 1e-3);
        }
        assert!(!sgd(LearningRate::Constant).can_go_finer());
    }
}
