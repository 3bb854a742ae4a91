//! The functions in f64.

use super::Activation;

/// erfc by its continued fraction (x ≥ 2) or the series of erf: correct to 1e-14, relative.
pub(super) fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    let scale = std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp();
    if x < 2.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..100 {
            term *= 2.0 * x * x / (2 * n + 1) as f64;
            sum += term;
        }
        return 1.0 - scale * sum;
    }
    let fraction = (1..200).rev().fold(0.0, |rest, n| n as f64 / 2.0 / (x + rest));
    scale / 2.0 / (x + fraction)
}

impl Activation {
    /// The function in f64, by its definition. Slow: what approximations are compared with.
    pub fn exact(self, x: f64) -> f64 {
        match self {
            Activation::Identity | Activation::PRelu => x,
            Activation::Relu => x.max(0.0),
            Activation::LeakyRelu { slope } => left(x, |x| f64::from(slope) * x),
            Activation::Elu { alpha } => left(x, |x| f64::from(alpha) * x.exp_m1()),
            Activation::Selu => SCALE * left(x, |x| ALPHA * x.exp_m1()),
            Activation::Celu { alpha } => left(x, |x| f64::from(alpha) * (x / f64::from(alpha)).exp_m1()),
            Activation::Tanh => x.tanh(),
            Activation::Logistic => logistic(x),
            Activation::Gelu => x * erfc(-x / std::f64::consts::SQRT_2) / 2.0,
            Activation::GeluTanh => x / (1.0 + (-gelu_tanh_u(x)).exp()),
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Softplus => softplus(x),
            Activation::Mish => x * softplus(x).tanh(),
            Activation::Softsign => x / (1.0 + x.abs()),
            Activation::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::HardSigmoid { alpha, beta } => (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0),
            Activation::ThresholdedRelu { alpha } => {
                if x > f64::from(alpha) {
                    x
                } else {
                    0.0
                }
            }
            Activation::Clamp { low, high } => x.max(low.into()).min(high.into()),
            Activation::Round { low, high } => x.max(low.into()).min(high.into()).round_ties_even(),
        }
    }
}

/// selu's constants, from "Self-Normalizing Neural Networks".
pub(super) const ALPHA: f64 = 1.673_263_242_354_377_2;
pub(super) const SCALE: f64 = 1.050_700_987_355_480_5;

fn left(x: f64, function: impl Fn(f64) -> f64) -> f64 {
    if x < 0.0 { function(x) } else { x }
}

pub(super) fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// 2 √(2/π) (x + 0.044715 x³)
pub(super) fn gelu_tanh_u(x: f64) -> f64 {
    2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))
}
