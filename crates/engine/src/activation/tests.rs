//! The activations of every kernel that the machine has, against f64, over the whole range of f32.

use super::exact::{ALPHA, SCALE, erfc, gelu_tanh_u, logistic, softplus};
use super::*;
use crate::{EngineError, kernels};

/// ε of the error bounds.
const EPSILON: f64 = f32::EPSILON as f64;

fn exact_derivative(activation: Activation, x: f64) -> f64 {
    let positive = f64::from(u8::from(x > 0.0));
    let right = |slope: f64, other: f64| if x > 0.0 { slope } else { other };
    match activation {
        Activation::Identity | Activation::PRelu => 1.0,
        Activation::Relu => positive,
        Activation::LeakyRelu { slope } => right(1.0, slope.into()),
        Activation::Elu { alpha } => right(1.0, f64::from(alpha) * x.exp()),
        Activation::Selu => SCALE * right(1.0, ALPHA * x.exp()),
        Activation::Celu { alpha } => right(1.0, (x / f64::from(alpha)).exp()),
        Activation::Tanh => 1.0 - x.tanh().powi(2),
        Activation::Logistic => 1.0 / (2.0 + x.exp() + (-x).exp()),
        Activation::Gelu => {
            erfc(-x / std::f64::consts::SQRT_2) / 2.0 + x * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
        }
        Activation::GeluTanh => {
            let (u, slope) =
                (gelu_tanh_u(x), 2.0 * (2.0 / std::f64::consts::PI).sqrt() * (1.0 + 3.0 * 0.044715 * x * x));
            let bell = 1.0 / (2.0 + u.exp() + (-u).exp());
            1.0 / (1.0 + (-u).exp()) + if bell > 0.0 { x * slope * bell } else { 0.0 }
        }
        Activation::Silu => {
            let sigma = logistic(x);
            sigma * (1.0 + x * (1.0 - sigma))
        }
        Activation::Softplus => logistic(x),
        Activation::Mish => {
            let bell = softplus(x).cosh().powi(-2);
            softplus(x).tanh() + if bell > 0.0 { x * bell * logistic(x) } else { 0.0 }
        }
        Activation::Softsign => (1.0 + x.abs()).powi(-2),
        Activation::HardSwish => match x {
            x if x <= -3.0 => 0.0,
            x if x <= 3.0 => (2.0 * x + 3.0) / 6.0,
            _ => 1.0,
        },
        Activation::HardSigmoid { alpha, beta } => {
            // Rounded, as the kernels have it: at a kink that decides.
            let y = f64::from((f64::from(alpha) * x + f64::from(beta)) as f32);
            if y > 0.0 && y <= 1.0 { alpha.into() } else { 0.0 }
        }
        Activation::ThresholdedRelu { alpha } => f64::from(u8::from(x > f64::from(alpha))),
        Activation::Clamp { low, high } | Activation::Round { low, high } => {
            f64::from(u8::from(x > low.into() && x <= high.into()))
        }
    }
}

/// Those with other parameters, whose kinks are numbers that f32 has.
const PARAMETRIC: [Activation; 15] = [
    Activation::LeakyRelu { slope: 0.2 },
    Activation::LeakyRelu { slope: -1.5 },
    Activation::Elu { alpha: 0.3 },
    Activation::Elu { alpha: -2.0 },
    Activation::Celu { alpha: 0.25 },
    Activation::Celu { alpha: 7.0 },
    Activation::HardSigmoid { alpha: 0.25, beta: 0.5 },
    Activation::HardSigmoid { alpha: -0.5, beta: 3.0 },
    Activation::ThresholdedRelu { alpha: -0.5 },
    Activation::ThresholdedRelu { alpha: 20.0 },
    Activation::Clamp { low: 0.0, high: 6.0 },
    Activation::Clamp { low: -100.0, high: f32::INFINITY },
    Activation::Clamp { low: f32::NEG_INFINITY, high: 0.5 },
    Activation::Round { low: -3.0, high: 252.0 },
    Activation::Round { low: -32_768.0, high: 32_767.0 },
];

/// Each activation, those with parameters with several.
fn all() -> impl Iterator<Item = Activation> {
    Activation::ALL.into_iter().chain(PARAMETRIC)
}

/// What [`Activation::apply`] promises: ε relative to the result, and what doesn't count.
fn bound(activation: Activation) -> (f64, f64) {
    let negligible = match activation {
        Activation::GeluTanh => 1e-7,
        Activation::HardSigmoid { beta, .. } => 1e-7 * (1.0 + f64::from(beta.abs())),
        _ => 1e-36,
    };
    let bound = match activation {
        Activation::Identity
        | Activation::PRelu
        | Activation::Relu
        | Activation::ThresholdedRelu { .. }
        | Activation::Clamp { .. }
        | Activation::Round { .. } => 0.0,
        Activation::LeakyRelu { .. } => 0.5,
        Activation::HardSigmoid { .. } => 1.0,
        Activation::Softsign | Activation::HardSwish => 1.5,
        Activation::Elu { .. } | Activation::Logistic => 2.5,
        Activation::Selu | Activation::Celu { .. } | Activation::Tanh | Activation::Silu => 3.0,
        Activation::Softplus => 3.5,
        Activation::Mish => 4.0,
        Activation::Gelu | Activation::GeluTanh => 5.0,
    };
    (bound, negligible)
}

/// Values of every sign and exponent, and densely where the functions bend.
fn whole_range() -> Vec<f32> {
    let mut values: Vec<f32> = (0..=u32::MAX >> 13).map(|i| f32::from_bits(i << 13 | 0x0a5a)).collect();
    values.retain(|value| value.is_finite());
    values.extend((-120_000..=120_000).map(|i| i as f32 / 1000.0));
    values.extend([0.0, -0.0, f32::MIN_POSITIVE, f32::MAX, f32::MIN, 1e-45, -1e-45]);
    values
}

fn apply(kernel: crate::Kernel, activation: Activation, values: &[f32]) -> Vec<f32> {
    let mut values = values.to_vec();
    kernel.backend().unwrap().run(Apply { activation, values: &mut values });
    values
}

#[test]
fn values_keep_their_error_bounds() {
    let inputs = whole_range();
    for kernel in kernels() {
        for activation in all() {
            let (bound, negligible) = bound(activation);
            let mut worst = (0.0, 0.0);
            for (&x, y) in inputs.iter().zip(apply(kernel, activation, &inputs)) {
                let expected = activation.exact(f64::from(x));
                let error = (f64::from(y) - expected).abs();
                // An infinity is right where the exact value rounds to it.
                let is_right = error <= negligible || y == expected as f32;
                let error = if is_right { 0.0 } else { error / expected.abs() / EPSILON };
                assert!(!error.is_nan(), "{kernel} {activation}({x:e}) = {y}");
                if error > worst.0 {
                    worst = (error, x);
                }
            }
            println!("{kernel} {activation}: error up to {:.2} ε", worst.0);
            assert!(worst.0 <= bound, "{kernel} {activation}: {} ε at {:e}", worst.0, worst.1);
        }
    }
}

#[test]
fn derivatives_keep_their_error_bounds() {
    let pre = whole_range();
    for kernel in kernels() {
        for activation in all() {
            let scale = match activation {
                Activation::LeakyRelu { slope } => slope.abs(),
                Activation::Elu { alpha } | Activation::HardSigmoid { alpha, .. } => alpha.abs(),
                _ => 1.0,
            };
            let allowed = 1e-6 * f64::from(scale.max(1.0));
            let post = apply(kernel, activation, &pre);
            let mut grad = vec![1.0; pre.len()];
            kernel.backend().unwrap().run(Derivative { activation, pre: &pre, post: &post, grad: &mut grad });
            for (&x, &actual) in pre.iter().zip(&grad) {
                let expected = exact_derivative(activation, f64::from(x));
                let error = (f64::from(actual) - expected).abs();
                assert!(
                    error <= allowed,
                    "{kernel}: {activation}'s derivative at {x:e}: {actual}, should be {expected}"
                );
            }
        }
    }
}

#[test]
fn derivatives_multiply_the_gradient() {
    for activation in all() {
        for len in 0..40 {
            let pre: Vec<f32> = (0..len).map(|i| i as f32 / 7.0 - 2.0).collect();
            let mut post = pre.clone();
            activation.apply(&mut post);
            let (mut once, mut thrice) = (vec![1.0; len], vec![3.0; len]);
            activation.derivative(&pre, &post, &mut once);
            activation.derivative(&pre, &post, &mut thrice);
            for (once, thrice) in once.iter().zip(thrice) {
                assert!((3.0 * once - thrice).abs() < 1e-6, "{activation}: {once} and {thrice}");
            }
        }
    }
}

#[test]
fn relu_has_no_slope_at_0() {
    let mut grad = [1.0, 1.0];
    Activation::Relu.derivative(&[0.0, -0.0], &[0.0, -0.0], &mut grad);
    assert_eq!(grad, [0.0, 0.0]);
}

#[test]
fn nan_stays_and_infinities_give_limits() {
    let inf = f32::INFINITY;
    for kernel in kernels() {
        for activation in all() {
            let (left, right) = match activation {
                Activation::Identity | Activation::PRelu => (-inf, inf),
                Activation::LeakyRelu { slope } => (-inf * slope, inf),
                Activation::Elu { alpha } | Activation::Celu { alpha } => (-alpha, inf),
                Activation::Selu => (-SELU[1], inf),
                Activation::Tanh | Activation::Softsign => (-1.0, 1.0),
                Activation::Logistic => (0.0, 1.0),
                Activation::HardSigmoid { alpha, .. } => {
                    if alpha > 0.0 {
                        (0.0, 1.0)
                    } else {
                        (1.0, 0.0)
                    }
                }
                Activation::Clamp { low, high } | Activation::Round { low, high } => (low, high),
                _ => (0.0, inf),
            };
            // Every lane and the padded rest.
            for len in 1..40 {
                assert!(
                    apply(kernel, activation, &vec![f32::NAN; len]).iter().all(|y| y.is_nan()),
                    "{kernel} {activation}"
                );
                assert!(
                    apply(kernel, activation, &vec![-f32::NAN; len]).iter().all(|y| y.is_nan()),
                    "{kernel} {activation}"
                );
            }
            assert_eq!(apply(kernel, activation, &[-inf, inf]), [left, right], "{kernel} {activation}");
        }
    }
}

#[test]
fn names_are_the_same_everywhere() {
    for activation in all().chain([Activation::PRelu]) {
        let text = activation.to_string();
        assert_eq!(text.parse(), Ok(activation));
        assert_eq!(serde_json::to_value(activation).unwrap(), text);
        assert_eq!(serde_json::from_value::<Activation>(text.into()).unwrap(), activation);
    }
    for (text, activation) in [
        ("leaky_relu", Activation::LEAKY_RELU),
        ("elu", Activation::ELU),
        ("leaky_relu(slope=0.2)", Activation::LeakyRelu { slope: 0.2 }),
        ("hard_sigmoid( beta = 0.25 )", Activation::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.25 }),
        ("clamp(low=-1e6)", Activation::Clamp { low: -1e6, high: f32::INFINITY }),
        ("relu6", Activation::Clamp { low: 0.0, high: 6.0 }),
    ] {
        assert_eq!(text.parse(), Ok(activation));
    }
    assert_eq!(Activation::LEAKY_RELU.to_string(), "leaky_relu");
    assert_eq!(Activation::Clamp { low: 0.0, high: 6.5 }.to_string(), "clamp(low=0, high=6.5)");
}

#[test]
fn what_is_no_activation_is_refused() {
    for text in ["Relu", "", "relu(", "relu(slope=1)", "elu(alpha)", "elu(alpha=x)", "elu(slope=1)", "elu(alpha=1"] {
        assert_eq!(text.parse::<Activation>(), Err(EngineError::UnknownActivation(text.to_owned())), "{text}");
    }
    for (text, reason) in [
        ("elu(alpha=inf)", "its parameters must be finite"),
        ("leaky_relu(slope=nan)", "its parameters must be finite"),
        ("celu(alpha=0)", "alpha must be above 0"),
        ("hard_sigmoid(alpha=0)", "alpha must not be 0"),
        ("clamp", "it needs low, high or both"),
        ("round(low=0)", "low must not be above high, and both within a million"),
        ("round(low=0, high=0.5)", "bounds must be whole numbers"),
        ("clamp(low=1, high=0)", "low must not be above high"),
        ("clamp(low=inf, high=inf)", "bounds must be finite"),
        ("clamp(low=nan)", "low must not be above high"),
    ] {
        let error = text.parse::<Activation>().unwrap_err();
        assert!(matches!(&error, EngineError::Activation { reason: found, .. } if *found == reason), "{text}: {error}");
    }
}
