//! The functions between the layers, and their derivatives for training.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::EngineError;
use super::kernel::{Backend, MAX_LANES, Operation, Simd};
use super::math;

#[cfg(test)]
pub(super) mod tests;

/// [`Activation::LeakyRelu`]'s slope on the left.
const LEAKY_SLOPE: f32 = 0.01;

/// 2 √(2/π) and the cubic term of [`Activation::GeluTanh`]: x σ(2 √(2/π) (x + 0.044715 x³)) is the usual formula with
/// (1 + tanh u) / 2 = σ(2 u) put in, which doesn't cancel.
const GELU_TANH: [f32; 2] = [1.595_769, 0.044_715];

/// Elementwise function behind a layer. NaN stays NaN, so that broken weights show; infinities give the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x
    Identity,
    /// max(0, x)
    Relu,
    /// x, on the left of 0 times 0.01
    LeakyRelu,
    /// x, on the left of 0 eˣ - 1
    Elu,
    /// tanh x
    Tanh,
    /// 1 / (1 + e⁻ˣ)
    Logistic,
    /// x Φ(x) with the exact normal distribution
    Gelu,
    /// x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, the approximation of gelu
    GeluTanh,
    /// x / (1 + e⁻ˣ)
    Silu,
}

impl Activation {
    /// All of them.
    pub const ALL: [Activation; 9] = [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu,
        Activation::Elu,
        Activation::Tanh,
        Activation::Logistic,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
    ];

    /// The name, as in model files.
    pub fn as_str(self) -> &'static str {
        match self {
            Activation::Identity => "identity",
            Activation::Relu => "relu",
            Activation::LeakyRelu => "leaky_relu",
            Activation::Elu => "elu",
            Activation::Tanh => "tanh",
            Activation::Logistic => "logistic",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::Silu => "silu",
        }
    }

    /// Replaces every value by its function's: the very function that [`Mlp::forward`](super::Mlp::forward) computes.
    ///
    /// Errors against the exact function of the f32 value, with ε = 2⁻²³ and relative to the result: elu 2 ε, tanh 3 ε,
    /// logistic 2.5 ε, gelu 5 ε, gelu_tanh 5 ε or absolute 1e-7, silu 3 ε; absolute errors up to 1e-36 don't count.
    pub fn apply(&self, values: &mut [f32]) {
        Backend::best().run(Apply { activation: *self, values });
    }

    /// Multiplies `grad` by the derivative at `pre`, the values before the activation; `post` are those behind it, the
    /// result of [`apply`](Activation::apply). At a kink the derivative is that of the left: relu's at 0 is 0. The
    /// derivative's absolute error is at most 1e-6.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn derivative(&self, pre: &[f32], post: &[f32], grad: &mut [f32]) {
        assert!(pre.len() == grad.len() && post.len() == grad.len(), "pre, post and grad differ in length");
        Backend::best().run(Derivative { activation: *self, pre, post, grad });
    }

    /// Whether the function is worth a pass of its own over the tile just stored. The others are applied to the sums
    /// while they are in registers.
    #[inline(always)]
    pub(super) fn is_costly(self) -> bool {
        !matches!(self, Activation::Identity | Activation::Relu | Activation::LeakyRelu)
    }

    /// The function of all sums of a tile, unless it is a [costly](Activation::is_costly) one.
    #[inline(always)]
    pub(super) fn in_registers<S: Simd, const R: usize, const C: usize>(self, s: S, sums: &mut [[S::V; C]; R]) {
        match self {
            Activation::Relu => {
                for sum in sums.as_flattened_mut() {
                    *sum = Activation::Relu.eval(s, *sum);
                }
            }
            Activation::LeakyRelu => {
                for sum in sums.as_flattened_mut() {
                    *sum = Activation::LeakyRelu.eval(s, *sum);
                }
            }
            _ => {}
        }
    }

    /// The function of one vector.
    #[inline(always)]
    pub(super) fn eval<S: Simd>(self, s: S, x: S::V) -> S::V {
        match self {
            Activation::Identity => x,
            Activation::Relu => s.at_least(s.splat(0.0), x),
            Activation::LeakyRelu => s.if_negative(x, s.mul(x, s.splat(LEAKY_SLOPE)), x),
            Activation::Elu => s.if_negative(x, math::exp_m1(s, s.at_most(s.splat(0.0), x)), x),
            Activation::Tanh => math::tanh(s, x),
            Activation::Logistic => math::logistic(s, x),
            Activation::Gelu => {
                // Φ(-20) is 0 in f32: the bound changes no result but -∞ · 0.
                let x = s.at_least(s.splat(-20.0), x);
                s.mul(x, math::normal(s, s.at_most(s.splat(20.0), x)).0)
            }
            Activation::GeluTanh => {
                // At -20 the logistic is 0 in f32: the bound changes no result but -∞ · 0.
                let x = s.at_least(s.splat(-20.0), x);
                s.mul(x, math::logistic(s, gelu_tanh_logit(s, x)))
            }
            // The logistic of -200 is 0 in f32: the bound changes no result but -∞ · 0.
            Activation::Silu => s.mul(s.at_least(s.splat(-200.0), x), math::logistic(s, x)),
        }
    }

    /// `grad` times the derivative, one vector of it.
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, pre: S::V, post: S::V, grad: S::V) -> S::V {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        let minus = s.sub(zero, pre);
        match self {
            Activation::Identity => grad,
            Activation::Relu => s.if_negative(minus, grad, zero),
            Activation::LeakyRelu => s.if_negative(minus, grad, s.mul(grad, s.splat(LEAKY_SLOPE))),
            // On the left, the derivative eˣ is the value plus 1.
            Activation::Elu => s.if_negative(minus, grad, s.mul_add(grad, post, grad)),
            Activation::Tanh => s.mul(grad, s.sub(one, s.mul(post, post))),
            Activation::Logistic => s.mul(grad, s.mul(post, s.sub(one, post))),
            Activation::Gelu => {
                let x = s.at_most(s.splat(20.0), s.at_least(s.splat(-20.0), pre));
                let (below, density) = math::normal(s, x);
                s.mul(grad, s.mul_add(x, density, below))
            }
            Activation::GeluTanh => {
                // σ(u) + x σ(u) σ(-u) u', and beyond ±20 as there.
                let x = s.at_most(s.splat(20.0), s.at_least(s.splat(-20.0), pre));
                let [factor, cubic] = GELU_TANH;
                let slope = s.mul(s.splat(factor), s.mul_add(s.splat(3.0 * cubic), s.mul(x, x), one));
                let u = gelu_tanh_logit(s, x);
                let (sigma, rest) = (math::logistic(s, u), math::logistic(s, s.sub(zero, u)));
                s.mul(grad, s.mul_add(s.mul(x, slope), s.mul(sigma, rest), sigma))
            }
            Activation::Silu => {
                // σ + x σ (1 - σ), where x σ is the value.
                let sigma = math::logistic(s, pre);
                s.mul(grad, s.mul_add(post, s.sub(one, sigma), sigma))
            }
        }
    }
}

/// What [`Activation::GeluTanh`] takes the logistic of.
#[inline(always)]
fn gelu_tanh_logit<S: Simd>(s: S, x: S::V) -> S::V {
    let [factor, cubic] = GELU_TANH;
    s.mul(s.mul(s.splat(factor), x), s.mul_add(s.splat(cubic), s.mul(x, x), s.splat(1.0)))
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Activation {
    type Err = EngineError;

    fn from_str(name: &str) -> Result<Activation, EngineError> {
        Activation::ALL
            .into_iter()
            .find(|activation| activation.as_str() == name)
            .ok_or_else(|| EngineError::UnknownActivation(name.to_owned()))
    }
}

struct Apply<'a> {
    activation: Activation,
    values: &'a mut [f32],
}

impl Operation for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        let mut vectors = self.values.chunks_exact_mut(S::LANES);
        for vector in &mut vectors {
            s.write(self.activation.eval(s, s.read(vector)), vector);
        }
        let rest = vectors.into_remainder();
        let mut padded = [0.0; MAX_LANES];
        padded[..rest.len()].copy_from_slice(rest);
        s.write(self.activation.eval(s, s.read(&padded)), &mut padded);
        rest.copy_from_slice(&padded[..rest.len()]);
    }
}

struct Derivative<'a> {
    activation: Activation,
    pre: &'a [f32],
    post: &'a [f32],
    grad: &'a mut [f32],
}

impl Operation for Derivative<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        let whole = self.grad.len() / S::LANES * S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            let (pre, post, grad) = (s.read(&self.pre[i..]), s.read(&self.post[i..]), s.read(&self.grad[i..]));
            s.write(self.activation.backward(s, pre, post, grad), &mut self.grad[i..]);
        }
        let padded = |values: &[f32]| {
            let mut padded = [0.0; MAX_LANES];
            padded[..values.len() - whole].copy_from_slice(&values[whole..]);
            padded
        };
        let (pre, post, mut grad) = (padded(self.pre), padded(self.post), padded(self.grad));
        s.write(self.activation.backward(s, s.read(&pre), s.read(&post), s.read(&grad)), &mut grad);
        let rest = &mut self.grad[whole..];
        rest.copy_from_slice(&grad[..rest.len()]);
    }
}
