//! Functions that a graph writes as a chain of elementwise operations, recognised by what they compute.
//!
//! GELU may be one node or Div · Erf · Add · Mul · Mul in any order, SiLU is Sigmoid · Mul, a ReLU may be a Clip. So a
//! chain isn't compared with patterns: its values at some points are followed through it, and at its end compared with
//! those of the engine's activations.

use std::rc::Rc;

use crate::engine::Activation;

/// A function of one number, applied to each element.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Function {
    /// `factor · x + shift`
    Affine { factor: f64, shift: f64 },
    /// What it gives at [`points`].
    Sampled(Rc<[f64]>),
}

impl Function {
    pub(super) const IDENTITY: Function = Function::Affine { factor: 1.0, shift: 0.0 };

    /// This function, and `then` of its result.
    pub(super) fn then(&self, then: impl Fn(f64) -> f64) -> Function {
        Function::Sampled(self.values().map(then).collect())
    }

    /// This function times a factor, plus a shift.
    pub(super) fn scaled(&self, by: f64, plus: f64) -> Function {
        match self {
            Function::Affine { factor, shift } => Function::Affine { factor: factor * by, shift: shift * by + plus },
            Function::Sampled(_) => self.then(|value| value * by + plus),
        }
    }

    /// What two functions of the same number make together.
    pub(super) fn with(&self, other: &Function, combine: impl Fn(f64, f64) -> f64) -> Function {
        Function::Sampled(self.values().zip(other.values()).map(|(a, b)| combine(a, b)).collect())
    }

    /// The activation that this is, if it is one.
    pub(super) fn activation(&self) -> Option<Activation> {
        Activation::ALL.into_iter().find(|&activation| self.is(activation))
    }

    /// Whether this is the engine's function, within far less than what two of them differ by, and more than what
    /// constants lose in f32.
    pub(super) fn is(&self, activation: Activation) -> bool {
        let mut expected: Vec<f32> = points().map(|x| x as f32).collect();
        activation.apply(&mut expected);
        self.values().zip(expected).all(|(found, expected)| {
            let expected = f64::from(expected);
            (found - expected).abs() <= 1e-5 * expected.abs().max(1.0)
        })
    }

    /// Whether this is 1 minus the other.
    pub(super) fn is_complement_of(&self, other: &Function) -> bool {
        self.values().zip(other.values()).all(|(a, b)| (a + b - 1.0).abs() <= 1e-6)
    }

    fn values(&self) -> Box<dyn Iterator<Item = f64> + '_> {
        match *self {
            Function::Affine { factor, shift } => Box::new(points().map(move |x| factor * x + shift)),
            Function::Sampled(ref values) => Box::new(values.iter().copied()),
        }
    }
}

/// Where functions are compared: they are exact in f32, dense where activations differ, and far out on both sides, where
/// a clamp may cut.
fn points() -> impl Iterator<Item = f64> {
    let far = (3..=40).flat_map(|power| [2_f64.powi(power), -2_f64.powi(power)]);
    (-28..=28).map(|x| 0.25 * f64::from(x)).chain(far)
}

/// The error function within 1.5e-7 (Abramowitz and Stegun, "Handbook of Mathematical Functions", 7.1.26).
pub(super) fn erf(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 5] = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592];
    let t = 1.0 / (1.0 + 0.3275911 * x.abs());
    let polynomial = COEFFICIENTS.iter().fold(0.0, |sum, coefficient| sum * t + coefficient) * t;
    (1.0 - polynomial * (-x * x).exp()).copysign(x)
}

/// 1 / (1 + e⁻ˣ)
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_recognised_in_whatever_order_it_is_written() {
        let x = Function::IDENTITY;
        let halves = x.scaled(f64::from(0.5_f32.sqrt()), 0.0).then(erf).scaled(0.5, 0.5);
        assert_eq!(x.with(&halves, |a, b| a * b).activation(), Some(Activation::Gelu));
        let twice = x.scaled(1.0 / f64::from(2.0_f32.sqrt()), 0.0).then(erf).scaled(1.0, 1.0);
        assert_eq!(twice.with(&x, |a, b| a * b).scaled(0.5, 0.0).activation(), Some(Activation::Gelu));
        let silu = x.with(&x.then(sigmoid), |a, b| a * b);
        assert_eq!(silu.activation(), Some(Activation::Silu));
        assert_eq!(x.then(|x| x.clamp(0.0, f64::MAX)).activation(), Some(Activation::Relu));
        assert_eq!(x.activation(), Some(Activation::Identity));
    }

    #[test]
    fn what_is_nearly_an_activation_is_none() {
        let x = Function::IDENTITY;
        let quick = x.with(&x.scaled(1.702, 0.0).then(sigmoid), |a, b| a * b);
        assert_eq!(quick.activation(), None);
        assert_eq!(x.then(|x| if x < 0.0 { 0.0101 * x } else { x }).activation(), None);
        assert_eq!(x.scaled(2.0, 0.0).then(f64::tanh).activation(), None);
        for high in [6.0, 20.0, 100.0, 1e6, 1e12] {
            assert_eq!(x.then(|x| x.clamp(0.0, high)).activation(), None, "a clamp from 0 to {high}");
            assert_eq!(x.then(|x| x.clamp(-high, high)).activation(), None, "a clamp at {high} on both sides");
        }
    }

    #[test]
    fn the_negative_class_is_the_complement() {
        let p = Function::IDENTITY.then(sigmoid);
        assert!(p.scaled(-1.0, 1.0).is_complement_of(&p));
        assert!(!p.scaled(-1.0, 1.01).is_complement_of(&p));
    }
}
