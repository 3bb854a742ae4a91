//! The functions between the layers, and their derivatives for training.

use serde::{Deserialize, Serialize};

use super::kernel::{Backend, MAX_LANES, Operation, Simd};
use super::math;

mod exact;
mod name;
#[cfg(test)]
mod tests;

/// 2 √(2/π) and the cubic term of [`Activation::GeluTanh`]: x σ(2 √(2/π) (x + 0.044715 x³)) is the usual formula with
/// (1 + tanh u) / 2 = σ(2 u) put in, which doesn't cancel.
const GELU_TANH: [f32; 2] = [1.595_769, 0.044_715];

/// [`Activation::Selu`]'s scale, and the scale times its alpha (Klambauer and others, "Self-Normalizing Neural Networks").
const SELU: [f32; 2] = [1.050_701, 1.758_099_3];

/// Elementwise function behind a layer. NaN stays NaN, so that broken weights show; infinities give the limit.
///
/// Files and the command line write it as its name, with its parameters where they aren't the default ones:
/// `elu(alpha=0.5)`. Parameters are finite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Activation {
    /// x
    Identity,
    /// max(0, x)
    Relu,
    /// x, on the left of 0 times the slope
    LeakyRelu {
        /// 0.01 by default.
        slope: f32,
    },
    /// x, on the left of 0 times the neuron's own slope: [`Layer::slopes`](super::Layer::slopes)
    PRelu,
    /// x, on the left of 0 alpha (eˣ - 1)
    Elu {
        /// 1 by default.
        alpha: f32,
    },
    /// 1.0507 times x, on the left of 0 times 1.6733 (eˣ - 1)
    Selu,
    /// x, on the left of 0 alpha (e^(x / alpha) - 1)
    Celu {
        /// Above 0, 1 by default.
        alpha: f32,
    },
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
    /// ln(1 + eˣ)
    Softplus,
    /// x tanh(ln(1 + eˣ))
    Mish,
    /// x / (1 + |x|)
    Softsign,
    /// x min(6, max(0, x + 3)) / 6
    HardSwish,
    /// min(1, max(0, alpha x + beta))
    HardSigmoid {
        /// Not 0; 1/6 by default, as in PyTorch.
        alpha: f32,
        /// 0.5 by default.
        beta: f32,
    },
    /// x where it is above alpha, else 0
    ThresholdedRelu {
        /// 1 by default.
        alpha: f32,
    },
    /// min(high, max(low, x)); relu6 is the one from 0 to 6
    Clamp {
        /// At most `high`, or -∞.
        low: f32,
        /// +∞ if there is none.
        high: f32,
    },
    /// The nearest whole number (of two the even one), not below low and not above high: what is stored in few bits
    Round {
        /// A whole number.
        low: f32,
        /// A whole number.
        high: f32,
    },
}

impl Activation {
    /// All of them with their default parameters, but for [`Activation::PRelu`], which isn't one function, and
    /// [`Activation::Round`], which has no default.
    pub const ALL: [Activation; 18] = [
        Activation::Identity,
        Activation::Relu,
        Activation::LEAKY_RELU,
        Activation::ELU,
        Activation::Selu,
        Activation::Celu { alpha: 1.0 },
        Activation::Tanh,
        Activation::Logistic,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Softplus,
        Activation::Mish,
        Activation::Softsign,
        Activation::HardSwish,
        Activation::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
        Activation::ThresholdedRelu { alpha: 1.0 },
        Activation::Clamp { low: -1.0, high: 1.0 },
    ];

    /// leaky_relu with the default slope.
    pub const LEAKY_RELU: Activation = Activation::LeakyRelu { slope: 0.01 };

    /// elu with the default alpha.
    pub const ELU: Activation = Activation::Elu { alpha: 1.0 };

    /// Replaces every value by its function's: the very function that [`Mlp::forward`](super::Mlp::forward) computes.
    ///
    /// Errors against the exact function of the f32 value, with ε = 2⁻²³ and relative to the result: leaky_relu 0.5 ε,
    /// elu 2.5 ε, selu 3 ε, celu 3 ε, tanh 3 ε, logistic 2.5 ε, gelu 5 ε, gelu_tanh 5 ε or absolute 1e-7, silu 3 ε,
    /// softplus 3.5 ε, mish 4 ε, softsign 1.5 ε, hard_swish 1.5 ε, hard_sigmoid ε or absolute 1e-7 (1 + |beta|), the others
    /// 0; absolute errors up to 1e-36 don't count. [`Activation::PRelu`] has no slope here and changes nothing.
    pub fn apply(&self, values: &mut [f32]) {
        Backend::best().run(Apply { activation: *self, values });
    }

    /// Multiplies `grad` by the derivative at `pre`, the values before the activation; `post` are those behind it, the
    /// result of [`apply`](Activation::apply). At a kink the derivative is that of the left (for an alpha below 0 of
    /// hard_sigmoid that of the right): relu's at 0 is 0; that of round is that of the clamp. The derivative's absolute error is at most 1e-6, times the largest
    /// of 1 and the magnitudes of the parameters.
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
        !matches!(self, Activation::Identity | Activation::PRelu | Activation::Relu | Activation::LeakyRelu { .. })
    }

    /// The function of all sums of a tile, unless it is a [costly](Activation::is_costly) one. Each tile has this inside, so
    /// it doesn't come from [`eval`](Activation::eval), which has all of them.
    #[inline(always)]
    pub(super) fn in_registers<S: Simd, const R: usize, const C: usize>(self, s: S, sums: &mut [[S::V; C]; R]) {
        match self {
            Activation::Relu => {
                for sum in sums.as_flattened_mut() {
                    *sum = s.at_least(s.splat(0.0), *sum);
                }
            }
            Activation::LeakyRelu { slope } => {
                for sum in sums.as_flattened_mut() {
                    *sum = s.if_negative(*sum, s.mul(*sum, s.splat(slope)), *sum);
                }
            }
            _ => {}
        }
    }

    /// The function of one vector.
    #[inline(always)]
    pub(super) fn eval<S: Simd>(self, s: S, x: S::V) -> S::V {
        match self {
            Activation::Identity | Activation::PRelu => x,
            Activation::Relu => s.at_least(s.splat(0.0), x),
            Activation::LeakyRelu { slope } => s.if_negative(x, s.mul(x, s.splat(slope)), x),
            Activation::Elu { alpha } => {
                let below = math::exp_m1(s, s.at_most(s.splat(0.0), x));
                s.if_negative(x, s.mul(s.splat(alpha), below), x)
            }
            Activation::Selu => {
                let below = math::exp_m1(s, s.at_most(s.splat(0.0), x));
                s.if_negative(x, s.mul(s.splat(SELU[1]), below), s.mul(s.splat(SELU[0]), x))
            }
            Activation::Celu { alpha } => {
                let below = math::exp_m1(s, s.at_most(s.splat(0.0), s.div(x, s.splat(alpha))));
                s.if_negative(x, s.mul(s.splat(alpha), below), x)
            }
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
            Activation::Softplus => math::softplus(s, x),
            // As silu's bound.
            Activation::Mish => s.mul(s.at_least(s.splat(-200.0), x), math::tanh_softplus(s, x).0),
            Activation::Softsign => {
                // From 1e9 on the result rounds to 1.
                let x = s.at_most(s.splat(1e9), s.at_least(s.splat(-1e9), x));
                s.div(x, s.add(s.splat(1.0), math::abs(s, x)))
            }
            Activation::HardSwish => {
                // Below -3 the factor is 0: the bound changes no result but -∞ · 0.
                let x = s.at_least(s.splat(-4.0), x);
                let part = s.at_most(s.splat(6.0), s.at_least(s.splat(0.0), s.add(x, s.splat(3.0))));
                s.mul(x, s.div(part, s.splat(6.0)))
            }
            Activation::HardSigmoid { alpha, beta } => {
                let y = s.mul_add(s.splat(alpha), x, s.splat(beta));
                s.at_most(s.splat(1.0), s.at_least(s.splat(0.0), y))
            }
            Activation::ThresholdedRelu { alpha } => {
                // A product, so that NaN stays; of a bounded x, so that -∞ gives 0.
                let alpha = s.splat(alpha);
                let below = s.mul(s.splat(0.0), s.at_most(alpha, s.at_least(s.splat(f32::MIN), x)));
                s.if_negative(s.sub(alpha, x), x, below)
            }
            Activation::Clamp { low, high } => s.at_most(s.splat(high), s.at_least(s.splat(low), x)),
            Activation::Round { low, high } => math::round(s, s.at_most(s.splat(high), s.at_least(s.splat(low), x))),
        }
    }

    /// `grad` times the derivative, one vector of it.
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, pre: S::V, post: S::V, grad: S::V) -> S::V {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        let minus = s.sub(zero, pre);
        match self {
            Activation::Identity | Activation::PRelu => grad,
            Activation::Relu => s.if_negative(minus, grad, zero),
            Activation::LeakyRelu { slope } => s.if_negative(minus, grad, s.mul(grad, s.splat(slope))),
            // On the left, the derivative alpha eˣ is the value plus alpha.
            Activation::Elu { alpha } => s.if_negative(minus, grad, s.mul_add(grad, post, s.mul(grad, s.splat(alpha)))),
            Activation::Selu => {
                let [scale, left] = SELU.map(|factor| s.mul(grad, s.splat(factor)));
                s.if_negative(minus, scale, s.mul_add(grad, post, left))
            }
            Activation::Celu { alpha } => {
                s.if_negative(minus, grad, s.mul_add(grad, s.div(post, s.splat(alpha)), grad))
            }
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
            Activation::Softplus => s.mul(grad, math::logistic(s, pre)),
            Activation::Mish => {
                // Beyond ±200 the derivative of the factor is 0 in f32.
                let x = s.at_most(s.splat(200.0), s.at_least(s.splat(-200.0), pre));
                let (factor, slope) = math::tanh_softplus(s, x);
                s.mul(grad, s.mul_add(x, slope, factor))
            }
            Activation::Softsign => {
                let x = s.at_most(s.splat(1e9), s.at_least(s.splat(-1e9), pre));
                let inverse = s.div(one, s.add(one, math::abs(s, x)));
                s.mul(grad, s.mul(inverse, inverse))
            }
            Activation::HardSwish => {
                let three = s.splat(3.0);
                let x = s.at_most(s.splat(4.0), s.at_least(s.splat(-4.0), pre));
                let between = s.mul(grad, s.div(s.add(s.add(x, x), three), s.splat(6.0)));
                let above = s.if_negative(s.sub(three, x), grad, between);
                s.if_negative(s.sub(s.sub(zero, three), x), above, zero)
            }
            Activation::HardSigmoid { alpha, beta } => {
                let y = s.mul_add(s.splat(alpha), pre, s.splat(beta));
                inside(s, (zero, one), y, s.mul(grad, s.splat(alpha)))
            }
            Activation::ThresholdedRelu { alpha } => s.if_negative(s.sub(s.splat(alpha), pre), grad, zero),
            Activation::Clamp { low, high } | Activation::Round { low, high } => {
                inside(s, (s.splat(low), s.splat(high)), pre, grad)
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

/// `grad` where `x` is above `low` and not above `high`, else 0.
#[inline(always)]
fn inside<S: Simd>(s: S, (low, high): (S::V, S::V), x: S::V, grad: S::V) -> S::V {
    let zero = s.splat(0.0);
    let up_to_high = s.if_negative(s.sub(high, x), zero, grad);
    s.if_negative(s.sub(low, x), up_to_high, zero)
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
