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
use crate::model::target_scale::TargetScale;

/// Parameters beyond this are those of a training that diverges: a product of a few is no f32 any more.
const MOST_SIZE: f64 = 1e30;

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
    /// The mean and deviation that were taken out of a regression's target.
    pub(super) target_scale: Option<(f64, f64)>,
}

impl TrainingData<'_> {
    /// What the last layer is multiplied by and added to at the end. A scale that isn't the layer's is undone in f64.
    fn scale_of_layer(&self) -> (f64, f64) {
        let of_layer = |&(mean, std): &(f64, f64)| TargetScale::of(mean, std).is_none();
        self.target_scale.filter(of_layer).unwrap_or((0.0, 1.0))
    }
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
    /// An epoch whose loss, score or parameters aren't finite ends it too and leaves no trace. The network then has the
    /// last parameters that answer all rows by finite numbers, or the best with early stopping. [`TrainError::Diverged`]
    /// if there are none.
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
        // After the epoch before this one, and after the one before that.
        let mut earlier = [Vec::new(), Vec::new()];
        let ranks = &workers.ranks;
        let (_, std) = training_data.scale_of_layer();
        let is_sane = |parameter: f32| (f64::from(parameter) * std).abs() < MOST_SIZE;
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
            earlier.reverse();
            earlier[0].clone_from(&self.network.parameters);
            // Always from the same order: so a checkpoint needs none.
            order.clone_from(&training_data.division.learn);
            // All ranks go by the first one's figures: theirs may differ in the last digit.
            let loss = ranks.of_first(self.epoch(training_data, recipe, &mut pass, batch_size, &mut order));
            let mut is_finite = loss.is_finite() && self.network.parameters.iter().all(|&value| is_sane(value));
            let mut score = None;
            if recipe.early_stopping && !ranks.any(!is_finite) {
                let found = ranks.of_first(validation::score(&self.network, training_data, &mut pass, batch_size));
                is_finite = found.is_finite();
                score = Some(found);
            }
            if ranks.any(!is_finite) {
                self.fall_back(earlier, training_data, recipe, workers, &mut pass)?;
                break Stop::Diverged;
            }
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

    /// Back to the last epoch whose parameters answer all rows by finite numbers, or to the best one with early stopping.
    ///
    /// A loss is the mean of an epoch as it went along. Parameters can thus be the outcome of an epoch with a finite loss,
    /// and answer no row.
    fn fall_back(
        &mut self,
        earlier: [Vec<f32>; 2],
        training_data: &TrainingData<'_>,
        recipe: &Recipe,
        workers: &Workers,
        pass: &mut Pass<'_>,
    ) -> Result<(), TrainError> {
        let batch_size = recipe.batch_size.of(training_data.division.learn.len());
        let done = self.losses.len();
        let candidates: Vec<(usize, Vec<f32>)> = match recipe.early_stopping {
            true if self.best_figure.is_finite() => vec![(done, self.best.clone())],
            true => vec![],
            // Those before the first epoch have learnt nothing.
            false => (0..done.min(2)).map(|back| done - back).zip(earlier).collect(),
        };
        for (epochs, parameters) in candidates.into_iter().filter(|(_, parameters)| !parameters.is_empty()) {
            self.network.parameters = parameters;
            if !workers.ranks.any(!is_usable(&self.network, training_data, pass, batch_size)) {
                self.losses.truncate(epochs);
                self.scores.truncate(epochs);
                return Ok(());
            }
        }
        Err(TrainError::Diverged { epoch: done + 1 })
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

/// Whether the network answers all rows by finite numbers, on the target's own scale too.
fn is_usable(network: &Network, training_data: &TrainingData<'_>, pass: &mut Pass<'_>, batch_size: usize) -> bool {
    let (mean, std) = training_data.scale_of_layer();
    let mut rescaled = network.clone();
    rescaled.rescale(mean, std);
    let is_finite = |answer: &f32| ((f64::from(*answer) * std + mean) as f32).is_finite();
    let Division { learn, validate } = training_data.division;
    rescaled.parameters.iter().all(|value| value.is_finite())
        && [learn, validate].iter().flat_map(|rows| rows.chunks(batch_size)).all(|batch| {
            let answers = pass.answer(network, batch);
            answers.iter().all(is_finite)
        })
}
