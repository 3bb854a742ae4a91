//! From the sums of a minibatch to the step of every parameter, a pass over memory each.
//!
//! The updates are scikit-learn's (`sklearn.neural_network._stochastic_optimizers`), in f32.

use super::Team;
use crate::kernel::{Backend, Operation, Simd};

/// Parameters of a piece of work: some microseconds.
const PIECE: usize = 8192;

/// Turns sums over a minibatch into the gradient of its mean loss, `(sum + alpha · weight) · share`, in place; and gives
/// the sum of the squared weights, for the loss's penalty. `weights` is empty where there is no penalty, on biases.
///
/// # Panics
/// If there are weights, but not as many as sums.
pub fn finish(sums: &mut [f32], weights: &[f32], alpha: f32, share: f32) -> f64 {
    assert!(weights.is_empty() || weights.len() == sums.len(), "as many weights as sums");
    Backend::best().run(Finish { sums, weights, alpha, share })
}

struct Finish<'a> {
    sums: &'a mut [f32],
    weights: &'a [f32],
    alpha: f32,
    share: f32,
}

impl Operation for Finish<'_> {
    type Output = f64;

    #[inline(always)]
    fn call<S: Simd>(self, s: S) -> f64 {
        if self.weights.is_empty() {
            self.sums.iter_mut().for_each(|sum| *sum *= self.share);
            return 0.0;
        }
        let mut sums = self.sums.chunks_exact_mut(S::LANES);
        let mut weights = self.weights.chunks_exact(S::LANES);
        let (alpha, share) = (s.splat(self.alpha), s.splat(self.share));
        let mut squares = s.splat(0.0);
        for (sum, weight) in (&mut sums).zip(&mut weights) {
            let weight = s.read(weight);
            squares = s.mul_add(weight, weight, squares);
            s.write(s.mul(s.mul_add(alpha, weight, s.read(sum)), share), sum);
        }
        let mut lanes = [0.0; crate::kernel::MAX_LANES];
        s.write(squares, &mut lanes);
        let mut squares: f64 = lanes.into_iter().map(f64::from).sum();
        for (sum, &weight) in sums.into_remainder().iter_mut().zip(weights.remainder()) {
            squares += f64::from(weight) * f64::from(weight);
            *sum = (self.alpha * weight + *sum) * self.share;
        }
        squares
    }
}

/// A step of gradient descent with momentum: `velocity = momentum · velocity - rate · gradient` is added, or in Nesterov's
/// way `momentum · velocity - rate · gradient` with the new velocity.
#[derive(Clone, Copy, Debug)]
pub struct Momentum {
    /// The step size.
    pub rate: f32,
    /// How much of the last step goes on.
    pub momentum: f32,
    /// Whether in Nesterov's way.
    pub nesterov: bool,
}

impl Momentum {
    /// Moves the parameters. All slices have the same length.
    pub fn step(self, team: &Team, parameters: &mut [f32], gradient: &[f32], velocity: &mut [f32]) {
        let pieces = parameters.chunks_mut(PIECE).zip(gradient.chunks(PIECE)).zip(velocity.chunks_mut(PIECE));
        let mut pieces: Vec<_> = pieces.map(|((p, g), v)| (p, g, v)).collect();
        team.each(&mut pieces, |_, (parameters, gradient, velocity)| {
            Backend::best().run(MomentumStep { with: self, parameters, gradient, velocity });
        });
    }
}

struct MomentumStep<'a> {
    with: Momentum,
    parameters: &'a mut [f32],
    gradient: &'a [f32],
    velocity: &'a mut [f32],
}

impl Operation for MomentumStep<'_> {
    type Output = ();

    // Plain loops here and below: the compiler makes vectors of them.
    #[inline(always)]
    fn call<S: Simd>(self, _: S) {
        let Momentum { rate, momentum, nesterov } = self.with;
        for ((parameter, &slope), velocity) in self.parameters.iter_mut().zip(self.gradient).zip(self.velocity) {
            *velocity = momentum * *velocity - rate * slope;
            *parameter += if nesterov { momentum * *velocity - rate * slope } else { *velocity };
        }
    }
}

/// A step of adam: `mean` and `square` move towards the gradient and its square, and `rate · mean / (√square + epsilon)`
/// is subtracted.
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// The step size, with both corrections of the bias.
    pub rate: f32,
    /// How much of the mean stays.
    pub beta_1: f64,
    /// How much of the square stays.
    pub beta_2: f64,
    /// Keeps the quotient finite.
    pub epsilon: f32,
}

impl Adam {
    /// Moves the parameters. All slices have the same length.
    pub fn step(self, team: &Team, parameters: &mut [f32], gradient: &[f32], mean: &mut [f32], square: &mut [f32]) {
        let state = mean.chunks_mut(PIECE).zip(square.chunks_mut(PIECE));
        let pieces = parameters.chunks_mut(PIECE).zip(gradient.chunks(PIECE)).zip(state);
        let mut pieces: Vec<_> = pieces.map(|((p, g), (m, s))| (p, g, m, s)).collect();
        team.each(&mut pieces, |_, (parameters, gradient, mean, square)| {
            Backend::best().run(AdamStep { with: self, parameters, gradient, mean, square });
        });
    }
}

struct AdamStep<'a> {
    with: Adam,
    parameters: &'a mut [f32],
    gradient: &'a [f32],
    mean: &'a mut [f32],
    square: &'a mut [f32],
}

impl Operation for AdamStep<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, _: S) {
        let Adam { rate, beta_1, beta_2, epsilon } = self.with;
        let (keep_mean, keep_square) = (beta_1 as f32, beta_2 as f32);
        let (add_mean, add_square) = ((1.0 - beta_1) as f32, (1.0 - beta_2) as f32);
        let state = self.mean.iter_mut().zip(self.square);
        for ((parameter, &slope), (mean, square)) in self.parameters.iter_mut().zip(self.gradient).zip(state) {
            *mean = keep_mean * *mean + add_mean * slope;
            *square = keep_square * *square + add_square * (slope * slope);
            *parameter -= rate * *mean / (square.sqrt() + epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_become_gradients() {
        for len in [1, 8, 19, 100] {
            let weights: Vec<f32> = (0..len).map(|i| i as f32 - 3.0).collect();
            let mut sums = vec![10.0; len];
            let squares = finish(&mut sums, &weights, 2.0, 0.25);
            assert!(sums.iter().zip(&weights).all(|(sum, weight)| *sum == (10.0 + 2.0 * weight) / 4.0));
            assert_eq!(squares, weights.iter().map(|&weight| f64::from(weight * weight)).sum::<f64>());
        }
        let mut sums = [10.0; 19];
        assert_eq!(finish(&mut sums, &[], 2.0, 0.25), 0.0);
        assert_eq!(sums, [2.5; 19]);
    }

    /// Against one number at a time, over more than a piece.
    #[test]
    fn steps_are_the_same_on_any_number_of_threads() {
        let len = 2 * PIECE + 3;
        let gradient: Vec<f32> = (0..len).map(|i| (i as f32).sin()).collect();
        let adam = Adam { rate: 0.1, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 };
        let momentum = Momentum { rate: 0.1, momentum: 0.9, nesterov: true };
        let run = |threads| {
            let team = Team::new(threads);
            let mut state = [(); 5].map(|()| vec![0.5; len]);
            let [p, q, mean, square, velocity] = &mut state;
            for _ in 0..3 {
                adam.step(&team, p, &gradient, mean, square);
                momentum.step(&team, q, &gradient, velocity);
            }
            state
        };
        let [p, q, ..] = run(1);
        assert_eq!([&p, &q], [&run(3)[0], &run(3)[1]]);
        for at in [0, 1, PIECE, len - 1] {
            let (mut adams, mut mean, mut square, mut momentums, mut velocity) = (0.5_f32, 0.5, 0.5_f32, 0.5_f32, 0.5);
            for _ in 0..3 {
                mean = 0.9 * mean + 0.1 * gradient[at];
                square = 0.999 * square + 0.001 * gradient[at] * gradient[at];
                adams -= 0.1 * mean / (square.sqrt() + 1e-8);
                velocity = 0.9 * velocity - 0.1 * gradient[at];
                momentums += 0.9 * velocity - 0.1 * gradient[at];
            }
            assert!((p[at] - adams).abs() < 1e-5 && (q[at] - momentums).abs() < 1e-5);
        }
    }
}
