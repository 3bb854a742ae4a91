//! Minibatches, epochs, and when it is enough.
//!
//! The order of things at the end of an epoch is scikit-learn's: the loss or the score decides whether there was an
//! improvement, the step size changes, and only then may the training end.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::backprop::{Network, Pass, Truth};
use super::checkpoint::Keeper;
use super::distributed::Workers;
use super::inputs::Inputs;
use super::optimizer::Optimizer;
use super::recipe::Recipe;
use super::validation::{self, Division};
use super::{Epoch, OnEpoch, Stop, TrainError};

/// What is to be learnt.
#[derive(Clone, Copy)]
pub(super) struct TrainingData<'a> {
    /// The network's input for each row.
    pub(super) x: &'a Inputs,
    pub(super) truth: &'a Truth,
    /// How much each row counts; `None`: all the same.
    pub(super) sample_weight: Option<&'a [f32]>,
    /// Which rows train, and which validate where the training stops early.
    pub(super) division: &'a Division,
}

/// A training between two epochs: all that the next one depends on.
#[derive(Debug)]
pub(super) struct Descent {
    pub(super) network: Network,
    pub(super) optimizer: Optimizer,
    /// Where the next order of the rows comes from.
    pub(super) rng: ChaCha8Rng,
    /// The training loss of each epoch.
    pub(super) losses: Vec<f64>,
    /// The validation score after each epoch, with early stopping.
    pub(super) scores: Vec<f64>,
    /// The lowest loss, or with early stopping the highest score.
    pub(super) best_figure: f64,
    /// The parameters with the best score, with early stopping.
    pub(super) best: Vec<f32>,
    /// For how many epochs there was no improvement.
    pub(super) without_improvement: usize,
    /// Whether that was long enough.
    pub(super) converged: bool,
}

impl Descent {
    /// Before the first epoch.
    pub(super) fn new(network: Network, recipe: &Recipe, rng: ChaCha8Rng) -> Descent {
        let optimizer = Optimizer::new(recipe, network.parameters.len());
        let (best_figure, best) = match recipe.early_stopping {
            true => (f64::NEG_INFINITY, network.parameters.clone()),
            false => (f64::INFINITY, vec![]),
        };
        Descent {
            network,
            optimizer,
            rng,
            losses: vec![],
            scores: vec![],
            best_figure,
            best,
            without_improvement: 0,
            converged: false,
        }
    }

    /// Goes on until it is enough. The network then has its last parameters, or with early stopping the best.
    ///
    /// An epoch whose loss or parameters aren't finite ends it too and leaves no trace; with [`TrainError::Diverged`] if
    /// it is the first, since there is nothing to keep then.
    pub(super) fn run(
        &mut self,
        training_data: &TrainingData<'_>,
        recipe: &Recipe,
        workers: &Workers,
        keeper: Option<&Keeper<'_>>,
        on_epoch: OnEpoch<'_>,
    ) -> Result<Stop, TrainError> {
        let rows = training_data.division.learn.len();
        let batch_size = recipe.batch_size.of(rows);
        let mut pass = Pass::new(&self.network, training_data.x, batch_size, workers);
        let mut order = Vec::with_capacity(rows);
        let mut good = Vec::new();
        let ranks = &workers.ranks;
        let keep = |keeper: &Keeper<'_>, descent: &Descent| {
            ranks.agree(if ranks.is_first() { keeper.keep(descent).map_err(TrainError::from) } else { Ok(()) })
        };
        let stop = loop {
            if self.converged {
                break Stop::Converged;
            }
            if self.losses.len() >= recipe.max_iter {
                break Stop::MaxIter;
            }
            good.clone_from(&self.network.parameters);
            // Always from the same order: so a checkpoint needs none.
            order.clone_from(&training_data.division.learn);
            // All ranks go by the first one's figures: theirs may differ in the last digit.
            let loss = ranks.of_first(self.epoch(training_data, recipe, &mut pass, batch_size, &mut order));
            if ranks.any(!loss.is_finite() || self.network.parameters.iter().any(|value| !value.is_finite())) {
                if self.losses.is_empty() {
                    return Err(TrainError::Diverged { epoch: 1 });
                }
                self.network.parameters = good;
                break Stop::Diverged;
            }
            let score = || ranks.of_first(validation::score(&self.network, training_data, &mut pass, batch_size));
            let score = recipe.early_stopping.then(score);
            self.epoch_ends(loss, score, recipe, rows);

            let number = self.losses.len();
            let over = self.converged || number >= recipe.max_iter;
            let kept = match keeper {
                Some(keeper) if over || keeper.is_due(number) => {
                    keep(keeper, self)?;
                    true
                }
                _ => false,
            };
            let epoch = Epoch { number, of: recipe.max_iter, loss, score, rows };
            if ranks.any(on_epoch(&epoch).is_break()) && !over {
                if let (Some(keeper), false) = (keeper, kept) {
                    keep(keeper, self)?;
                }
                break Stop::Asked;
            }
        };
        if recipe.early_stopping {
            self.network.parameters.clone_from(&self.best);
        }
        Ok(stop)
    }

    /// One pass over the rows; the mean loss as it went along.
    fn epoch(
        &mut self,
        training_data: &TrainingData<'_>,
        recipe: &Recipe,
        pass: &mut Pass<'_>,
        batch_size: usize,
        order: &mut [usize],
    ) -> f64 {
        if recipe.shuffle {
            order.shuffle(&mut self.rng);
        }
        let TrainingData { truth, sample_weight, .. } = *training_data;
        let mut sum = 0.0;
        for batch in order.chunks(batch_size) {
            sum += pass.run(&self.network, truth, sample_weight, batch, recipe.alpha) * batch.len() as f64;
            self.optimizer.step(pass.team(), &mut self.network.parameters, pass.gradient());
        }
        sum / order.len() as f64
    }

    /// Was it an improvement? With early stopping the score says so, else the loss.
    fn epoch_ends(&mut self, loss: f64, score: Option<f64>, recipe: &Recipe, rows: usize) {
        let best = self.best_figure;
        let worse = match score {
            Some(score) => {
                if score > best {
                    self.best_figure = score;
                    self.best.clone_from(&self.network.parameters);
                }
                self.scores.push(score);
                score < best + recipe.tol
            }
            None => {
                self.best_figure = best.min(loss);
                loss > best - recipe.tol
            }
        };
        self.losses.push(loss);
        self.without_improvement = if worse { self.without_improvement + 1 } else { 0 };
        self.optimizer.epoch_ends(self.losses.len() * rows);
        if self.without_improvement > recipe.n_iter_no_change {
            self.converged = !self.optimizer.can_go_finer();
            self.without_improvement = 0;
        }
    }
}
