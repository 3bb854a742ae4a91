//! Functions that a graph writes as a chain of elementwise operations.
//!
//! Operators that are activations of the engine, and what is affine, are kept as such, with their parameters. Others are
//! recognised by what they compute: GELU may be one node or Div · Erf · Add · Mul · Mul in any order, SiLU is
//! Sigmoid · Mul, a leaky ReLU may be a Max or a Where. So every function is followed at some points, and what is no
//! sequence of known pieces is compared there with the engine's activations.

use std::rc::Rc;

use crate::engine::Activation;

/// Pieces one after the other: each activation may take a layer of its own.
const MOST_PIECES: usize = 64;

/// A function of one number, applied to each element.
#[derive(Clone, Debug)]
pub(super) struct Function {
    /// What it does step by step, if that is known.
    pieces: Option<Vec<Piece>>,
    /// What it gives at [`points`].
    values: Rc<[f64]>,
    /// If it says of each number whether it is above a threshold, or whether it isn't: the points don't show where exactly.
    pub(super) threshold: Option<Threshold>,
}

/// What a function of 1 and 0 distinguishes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Threshold {
    pub(super) at: f64,
    /// Whether it is 1 above it, and not there and below.
    pub(super) is_above: bool,
}

/// A step that the engine has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Piece {
    /// `factor · x + shift`
    Affine {
        factor: f64,
        shift: f64,
    },
    Activation(Activation),
}

impl Function {
    pub(super) fn identity() -> Function {
        Function { pieces: Some(Vec::new()), values: points().collect(), threshold: None }
    }

    /// This function, and `then` of its result.
    pub(super) fn then(&self, then: impl Fn(f64) -> f64) -> Function {
        Function { pieces: None, values: self.values.iter().map(|&value| then(value)).collect(), threshold: None }
    }

    /// This function times a factor, plus a shift.
    pub(super) fn scaled(&self, by: f64, plus: f64) -> Function {
        let values = self.values.iter().map(|value| value * by + plus).collect();
        Function { pieces: self.with_piece(Piece::Affine { factor: by, shift: plus }), values, threshold: None }
    }

    /// This function, and an activation of its result.
    pub(super) fn activated(&self, activation: Activation) -> Function {
        let values = engines(activation, self.values.iter().copied()).collect();
        Function { pieces: self.with_piece(Piece::Activation(activation)), values, threshold: None }
    }

    /// What two functions of the same number make together.
    pub(super) fn with(&self, other: &Function, combine: impl Fn(f64, f64) -> f64) -> Function {
        let values = self.values.iter().zip(&*other.values).map(|(&a, &b)| combine(a, b)).collect();
        Function { pieces: None, values, threshold: None }
    }

    /// The steps of the engine that make this function, if there are such.
    pub(super) fn pieces(&self) -> Option<Vec<Piece>> {
        self.pieces.clone().or_else(|| self.recognised())
    }

    /// Whether it gives the number itself.
    pub(super) fn is_identity(&self) -> bool {
        self.pieces.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether it is the same for all numbers, and this.
    pub(super) fn is_constant(&self, value: f64) -> bool {
        self.values.iter().all(|&found| found == value)
    }

    /// Whether this is the engine's function.
    pub(super) fn is(&self, activation: Activation) -> bool {
        self.gives(engines(activation, points()))
    }

    /// Whether this is 1 minus the other.
    pub(super) fn is_complement_of(&self, other: &Function) -> bool {
        self.values.iter().zip(&*other.values).all(|(a, b)| (a + b - 1.0).abs() <= 1e-6)
    }

    fn with_piece(&self, next: Piece) -> Option<Vec<Piece>> {
        let mut pieces = self.pieces()?;
        append(&mut pieces, next);
        (pieces.len() <= MOST_PIECES).then_some(pieces)
    }

    /// The activation that gives the same values, with the parameters that these have if it is one with parameters.
    fn recognised(&self) -> Option<Vec<Piece>> {
        let at = |x: f64| points().position(|point| point == x).map_or(f64::NAN, |place| self.values[place]);
        let parametric = [
            Activation::LeakyRelu { slope: -at(-1.0) as f32 },
            Activation::Elu { alpha: (at(-1.0) / (-1.0_f64).exp_m1()) as f32 },
            Activation::Clamp { low: at(-FARTHEST) as f32, high: at(FARTHEST) as f32 },
        ];
        let mut candidates = Activation::ALL.into_iter().chain(parametric);
        let found = candidates.find(|activation| activation.validate().is_ok() && self.is(*activation));
        if let Some(activation) = found {
            return Some(vec![Piece::Activation(activation)]);
        }
        // Of a x, divided by a: x σ(a x) is such a silu, and PyTorch's softplus has a factor.
        let silu = (Activation::Silu, (at(1.0) / (1.0 - at(1.0))).ln());
        let softplus = (Activation::Softplus, std::f64::consts::LN_2 / at(0.0));
        let (activation, a) = [silu, softplus].into_iter().find(|&(activation, a)| {
            let scaled = || engines(activation, points().map(|x| a * x)).map(|value| value / a);
            a.is_finite() && a != 0.0 && self.gives(scaled())
        })?;
        let affine = |factor| Piece::Affine { factor, shift: 0.0 };
        Some(vec![affine(a), Piece::Activation(activation), affine(1.0 / a)])
    }

    /// Whether these are its values, within far less than what two activations differ by, and more than what constants
    /// lose in f32.
    fn gives(&self, expected: impl Iterator<Item = f64>) -> bool {
        self.values.iter().zip(expected).all(|(found, expected)| {
            // Also where both are infinite.
            *found == expected || (found - expected).abs() <= 1e-5 * expected.abs().max(1.0)
        })
    }
}

impl Piece {
    /// This and the next one as a single piece, where the engine has it.
    fn joined(self, next: Piece) -> Option<Piece> {
        if let (Piece::Affine { factor, shift }, Piece::Affine { factor: by, shift: plus }) = (self, next) {
            let product = factor * by;
            // A number and its inverse.
            let product = if (product - 1.0).abs() < 4.0 * f64::EPSILON { 1.0 } else { product };
            return Some(Piece::Affine { factor: product, shift: shift * by + plus });
        }
        // The bounds, and whether it rounds.
        let bounds = |piece| match piece {
            Piece::Activation(Activation::Relu) => Some(([0.0, f32::INFINITY], false)),
            Piece::Activation(Activation::Clamp { low, high }) => Some(([low, high], false)),
            Piece::Activation(Activation::Round { low, high }) => Some(([low, high], true)),
            _ => None,
        };
        let ((inner, rounds), (outer, rounds_next)) = (bounds(self)?, bounds(next)?);
        let [low, high] = inner.map(|bound| bound.max(outer[0]).min(outer[1]));
        if !(rounds || rounds_next) {
            return Some(clamp(low, high));
        }
        let are_whole = inner.iter().chain(&outer).all(|bound| bound.is_infinite() || bound.fract() == 0.0);
        are_whole.then_some(Piece::Activation(Activation::Round { low, high }))
    }
}

/// Adds a piece, as a single one with the last where that is possible.
fn append(pieces: &mut Vec<Piece>, next: Piece) {
    if next == (Piece::Affine { factor: 1.0, shift: 0.0 }) {
        return;
    }
    if let Some(both) = across_factor(pieces, next) {
        pieces.truncate(pieces.len() - 2);
        both.into_iter().for_each(|piece| append(pieces, piece));
        return;
    }
    match pieces.last().and_then(|last| last.joined(next)) {
        Some(joined) => {
            pieces.pop();
            append(pieces, joined);
        }
        None => pieces.push(next),
    }
}

/// The last two pieces and the next one as two: on the other side of a positive factor a ReLU is the same, and may be a
/// single piece with what is there.
fn across_factor(pieces: &[Piece], next: Piece) -> Option<[Piece; 2]> {
    const RELU: Piece = Piece::Activation(Activation::Relu);
    let [.., before, factor @ Piece::Affine { factor: by, shift: 0.0 }] = *pieces else { return None };
    match (before, next) {
        _ if by <= 0.0 => None,
        (before, RELU) => Some([before.joined(RELU)?, factor]),
        (RELU, next) => Some([factor, RELU.joined(next)?]),
        _ => None,
    }
}

/// A clamp as the simplest piece that does it.
pub(super) fn clamp(low: f32, high: f32) -> Piece {
    match (low, high) {
        (f32::NEG_INFINITY, f32::INFINITY) => Piece::Affine { factor: 1.0, shift: 0.0 },
        (0.0, f32::INFINITY) => Piece::Activation(Activation::Relu),
        (low, high) => Piece::Activation(Activation::Clamp { low, high }),
    }
}

/// What the engine's function is at these points.
fn engines(activation: Activation, points: impl Iterator<Item = f64>) -> impl Iterator<Item = f64> {
    let mut values: Vec<f32> = points.map(|x| x as f32).collect();
    activation.apply(&mut values);
    values.into_iter().map(f64::from)
}

/// The last of the points on the right.
const FARTHEST: f64 = (1_u64 << 40) as f64;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn only(activation: Activation) -> Option<Vec<Piece>> {
        Some(vec![Piece::Activation(activation)])
    }

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn a_function_is_recognised_in_whatever_order_it_is_written() {
        let x = Function::identity();
        let halves = x.scaled(f64::from(0.5_f32.sqrt()), 0.0).then(erf).scaled(0.5, 0.5);
        assert_eq!(x.with(&halves, |a, b| a * b).pieces(), only(Activation::Gelu));
        let twice = x.scaled(1.0 / f64::from(2.0_f32.sqrt()), 0.0).then(erf).scaled(1.0, 1.0);
        assert_eq!(twice.with(&x, |a, b| a * b).scaled(0.5, 0.0).pieces(), only(Activation::Gelu));
        let silu = x.with(&x.then(sigmoid), |a, b| a * b);
        assert_eq!(silu.pieces(), only(Activation::Silu));
        assert_eq!(x.then(|x| x.clamp(0.0, f64::MAX)).pieces(), only(Activation::Relu));
        let mish = x.with(&x.activated(Activation::Softplus).activated(Activation::Tanh), |a, b| a * b);
        assert_eq!(mish.pieces(), only(Activation::Mish));
        let part = x.scaled(1.0, 3.0).activated(Activation::Clamp { low: 0.0, high: 6.0 });
        assert_eq!(x.with(&part, |a, b| a * b).scaled(1.0 / 6.0, 0.0).pieces(), only(Activation::HardSwish));
        let slope = x.scaled(f64::from(0.2_f32), 0.0);
        assert_eq!(x.with(&slope, f64::max).pieces(), only(Activation::LeakyRelu { slope: 0.2 }));
        assert_eq!(x.pieces(), Some(vec![]));
    }

    #[test]
    fn what_is_nearly_an_activation_is_another() {
        let x = Function::identity();
        assert_eq!(x.then(|x| x.exp()).pieces(), None);
        assert_eq!(x.scaled(2.0, 0.0).then(f64::tanh).pieces(), None);
        assert_eq!(x.then(|x| x.powi(3)).pieces(), None);
        for high in [6.0, 20.0, 100.0, 1e6] {
            let clamp = |low: f32, high: f32| only(Activation::Clamp { low, high });
            let (low, top) = (-f64::from(high), f64::from(high));
            assert_eq!(x.then(|x| x.clamp(0.0, top)).pieces(), clamp(0.0, high), "a clamp from 0 to {high}");
            assert_eq!(x.then(|x| x.clamp(low, top)).pieces(), clamp(-high, high), "a clamp at {high} on both sides");
        }
    }

    #[test]
    fn pieces_are_kept_as_they_are_written_and_joined_where_one_does() {
        let x = Function::identity();
        let affine = |factor, shift| Piece::Affine { factor, shift };
        let tanh = Piece::Activation(Activation::Tanh);
        assert_eq!(x.scaled(2.0, 1.0).activated(Activation::Tanh).pieces(), Some(vec![affine(2.0, 1.0), tanh]));
        assert_eq!(x.scaled(2.0, 1.0).scaled(0.5, -0.5).pieces(), Some(vec![]));
        let quick = x.with(&x.scaled(1.5, 0.0).activated(Activation::Logistic), |a, b| a * b).pieces().unwrap();
        let [Piece::Affine { factor, .. }, Piece::Activation(Activation::Silu), _] = *quick else {
            panic!("{quick:?}")
        };
        assert!((factor - 1.5).abs() < 1e-6);
        let soft = x.scaled(2.0, 0.0).activated(Activation::Softplus).scaled(0.5, 0.0);
        let soft = x.with(&soft, |x, soft| if 2.0 * x > 20.0 { x } else { soft }).pieces().unwrap();
        assert_eq!(soft[1], Piece::Activation(Activation::Softplus));
        let relu6 = Activation::Clamp { low: 0.0, high: 6.0 };
        let six = Activation::Clamp { low: f32::NEG_INFINITY, high: 6.0 };
        assert_eq!(x.activated(Activation::Relu).activated(six).pieces(), only(relu6));
        assert_eq!(x.activated(six).activated(Activation::Relu).pieces(), only(relu6));
        assert_eq!(x.activated(relu6).activated(Activation::Relu).pieces(), only(relu6));
        let mut many = x;
        for _ in 0..=MOST_PIECES {
            many = many.activated(Activation::Tanh);
        }
        assert_eq!(many.pieces(), None);
    }

    #[test]
    fn the_negative_class_is_the_complement() {
        let p = Function::identity().activated(Activation::Logistic);
        assert!(p.scaled(-1.0, 1.0).is_complement_of(&p));
        assert!(!p.scaled(-1.0, 1.01).is_complement_of(&p));
    }
}
