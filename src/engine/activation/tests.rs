//! The activations of every kernel that the machine has, against f64, over the whole range of f32.

use super::*;
use crate::engine::kernels;

/// ε of the error bounds.
const EPSILON: f64 = f32::EPSILON as f64;

/// erfc by its continued fraction (x ≥ 2) or the series of erf: correct to 1e-14, relative.
fn erfc(x: f64) -> f64 {
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

pub(in crate::engine) fn exact(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Relu => x.max(0.0),
        Activation::LeakyRelu => x.max(f64::from(0.01f32) * x),
        Activation::Elu => {
            if x < 0.0 {
                x.exp_m1()
            } else {
                x
            }
        }
        Activation::Tanh => x.tanh(),
        Activation::Logistic => 1.0 / (1.0 + (-x).exp()),
        Activation::Gelu => x * erfc(-x / std::f64::consts::SQRT_2) / 2.0,
        Activation::GeluTanh => x / (1.0 + (-gelu_tanh_u(x)).exp()),
        Activation::Silu => x / (1.0 + (-x).exp()),
    }
}

/// 2 √(2/π) (x + 0.044715 x³)
fn gelu_tanh_u(x: f64) -> f64 {
    2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))
}

fn exact_derivative(activation: Activation, x: f64) -> f64 {
    let positive = f64::from(u8::from(x > 0.0));
    match activation {
        Activation::Identity => 1.0,
        Activation::Relu => positive,
        Activation::LeakyRelu => positive.max(f64::from(0.01f32)),
        Activation::Elu => x.min(0.0).exp(),
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
            let sigma = 1.0 / (1.0 + (-x).exp());
            sigma * (1.0 + x * (1.0 - sigma))
        }
    }
}

/// Values of every sign and exponent, and densely where the functions bend.
fn whole_range() -> Vec<f32> {
    let mut values: Vec<f32> = (0..=u32::MAX >> 13).map(|i| f32::from_bits(i << 13 | 0x0a5a)).collect();
    values.retain(|value| value.is_finite());
    values.extend((-120_000..=120_000).map(|i| i as f32 / 1000.0));
    values.extend([0.0, -0.0, f32::MIN_POSITIVE, f32::MAX, f32::MIN, 1e-45, -1e-45]);
    values
}

fn apply(kernel: crate::engine::Kernel, activation: Activation, values: &[f32]) -> Vec<f32> {
    let mut values = values.to_vec();
    kernel.backend().unwrap().run(Apply { activation, values: &mut values });
    values
}

#[test]
fn values_keep_their_error_bounds() {
    let inputs = whole_range();
    for kernel in kernels() {
        for (activation, bound, negligible) in [
            (Activation::Identity, 0.0, 1e-36),
            (Activation::Relu, 0.0, 1e-36),
            (Activation::LeakyRelu, 0.5, 1e-36),
            (Activation::Elu, 2.0, 1e-36),
            (Activation::Tanh, 3.0, 1e-36),
            (Activation::Logistic, 2.5, 1e-36),
            (Activation::Gelu, 5.0, 1e-36),
            (Activation::GeluTanh, 5.0, 1e-7),
            (Activation::Silu, 3.0, 1e-36),
        ] {
            let mut worst = (0.0, 0.0);
            for (&x, y) in inputs.iter().zip(apply(kernel, activation, &inputs)) {
                let expected = exact(activation, f64::from(x));
                let error = (f64::from(y) - expected).abs();
                let error = if error <= negligible { 0.0 } else { error / expected.abs() / EPSILON };
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
        for activation in Activation::ALL {
            let post = apply(kernel, activation, &pre);
            let mut grad = vec![1.0; pre.len()];
            kernel.backend().unwrap().run(Derivative { activation, pre: &pre, post: &post, grad: &mut grad });
            for (&x, &actual) in pre.iter().zip(&grad) {
                let expected = exact_derivative(activation, f64::from(x));
                let error = (f64::from(actual) - expected).abs();
                assert!(error <= 1e-6, "{kernel}: {activation}'s derivative at {x:e}: {actual}, should be {expected}");
            }
        }
    }
}

#[test]
fn derivatives_multiply_the_gradient() {
    for activation in Activation::ALL {
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
        for activation in Activation::ALL {
            let (left, right) = match activation {
                Activation::Identity | Activation::LeakyRelu => (-inf, inf),
                Activation::Relu | Activation::Gelu | Activation::GeluTanh | Activation::Silu => (0.0, inf),
                Activation::Elu => (-1.0, inf),
                Activation::Tanh => (-1.0, 1.0),
                Activation::Logistic => (0.0, 1.0),
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
    for activation in Activation::ALL {
        assert_eq!(activation.as_str().parse(), Ok(activation));
        assert_eq!(serde_json::to_value(activation).unwrap(), activation.as_str());
    }
    assert_eq!("Relu".parse::<Activation>(), Err(EngineError::UnknownActivation("Relu".to_owned())));
}
