//! Minibatches, epochs, and when it is enough.

use std::ops::ControlFlow;

use ndarray::ArrayView2;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::backprop::{Network, Pass, Truth};
use super::optimizer::Optimizer;
use super::recipe::Recipe;
use super::{Epoch, Stop, TrainError};

/// What an epoch's observer says: go on, or stop after it.
pub(super) type OnEpoch<'a> = &'a mut dyn FnMut(&Epoch) -> ControlFlow<()>;

/// Trains the network in place. Returns the loss of each epoch, and why it ended.
pub(super) fn descend(
    network: &mut Network,
    x: ArrayView2<'_, f32>,
    truth: &Truth,
    recipe: &Recipe,
    rng: &mut ChaCha8Rng,
    on_epoch: OnEpoch<'_>,
) -> Result<(Vec<f64>, Stop), TrainError> {
    let rows = x.nrows();
    let batch_size = recipe.batch_size.of(rows);
    let mut pass = Pass::new(network, batch_size);
    let mut optimizer = Optimizer::new(recipe, network.parameters.len());
    let mut order: Vec<usize> = (0..rows).collect();
    let mut losses = Vec::new();
    let (mut best, mut without_improvement) = (f64::INFINITY, 0);

    for number in 1..=recipe.max_iter {
        if recipe.shuffle {
            order.shuffle(rng);
        }
        let mut sum = 0.0;
        for batch in order.chunks(batch_size) {
            sum += pass.run(network, x, truth, batch, recipe.alpha) * batch.len() as f64;
            optimizer.step(&mut network.parameters, pass.gradient());
        }
        let loss = sum / rows as f64;
        if !loss.is_finite() {
            return Err(TrainError::Diverged { epoch: number });
        }
        losses.push(loss);
        if on_epoch(&Epoch { number, of: recipe.max_iter, loss, rows }).is_break() {
            return Ok((losses, Stop::Asked));
        }
        without_improvement = if loss > best - recipe.tol { without_improvement + 1 } else { 0 };
        best = best.min(loss);
        if without_improvement > recipe.n_iter_no_change {
            return Ok((losses, Stop::Converged));
        }
    }
    Ok((losses, Stop::MaxIter))
}
