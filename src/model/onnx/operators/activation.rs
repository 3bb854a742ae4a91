//! Activations, and the elementwise functions that they are written with.

use super::arithmetic::{constant, each, per_column};
use super::{BRANCHES, Walk, computed, encoding};
use crate::engine::Activation;
use crate::model::onnx::chain::Op;
use crate::model::onnx::elementwise::{Function, Piece, Threshold, clamp, erf};
use crate::model::onnx::proto::Node;
use crate::model::onnx::tensor::Array;
use crate::model::onnx::value::{Cell, Inner, Moment, Value};
use crate::model::preprocess::Step;

/// Bounds are attributes before opset 11, inputs since.
pub(super) fn clip(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let mut bounds = [f64::NEG_INFINITY, f64::INFINITY];
    for (index, (bound, name)) in bounds.iter_mut().zip(["min", "max"]).enumerate() {
        if let Some(array) = walk.optional_constant(node, index + 1)? {
            *bound = array.scalar().ok_or("a bound isn't one number")?;
        } else if node.has(name) {
            *bound = node.float(name, 0.0);
        }
    }
    let [low, high] = bounds;
    if low.is_nan() || high.is_nan() || low > high {
        return Err(format!("its bounds are {low} and {high}"));
    }
    Ok(vec![clipped(walk, node, 0, low, high)?])
}

fn clipped(walk: &mut Walk<'_>, node: &Node, index: usize, low: f64, high: f64) -> Result<Value, String> {
    match walk.input(node, index)?.clone() {
        Value::Columns(columns) => {
            let [low, high] = [low, high].map(|bound| bound.clamp(-f64::MAX, f64::MAX));
            Ok(Value::Columns(each(&columns, |_| vec![Step::Clip { low, high }])?))
        }
        other => {
            let x = walk.chain.inner(&other)?;
            // The largest numbers of the format stand for no bound.
            let [low, high] = [low, high].map(|bound| match bound as f32 {
                f32::MAX => f32::INFINITY,
                f32::MIN => f32::NEG_INFINITY,
                bound => bound,
            });
            let function = match clamp(low, high) {
                Piece::Affine { .. } => x.function,
                Piece::Activation(activation) => activated(&x.function, activation)?,
            };
            Ok(Value::Inner(Inner { function, ..x }))
        }
    }
}

/// Max and Min: of a number for all it is a bound, of two functions of the same values another function.
pub(super) fn extreme(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let is_max = node.op_type == "Max";
    if node.input.len() != 2 {
        return Err(format!("it takes {} values, not two", node.input.len()));
    }
    for (index, other) in [(0, 1), (1, 0)] {
        let Value::Constant(array) = walk.input(node, index)? else { continue };
        let bound = array.scalar().filter(|bound| !bound.is_nan()).ok_or("its bound isn't one number")?;
        let (low, high) = if is_max { (bound, f64::INFINITY) } else { (f64::NEG_INFINITY, bound) };
        return Ok(vec![clipped(walk, node, other, low, high)?]);
    }
    let combine = if is_max { f64::max } else { f64::min };
    Ok(vec![Value::Inner(together(walk, node, [0, 1], combine)?)])
}

/// Two functions of the same values.
fn together(
    walk: &mut Walk<'_>,
    node: &Node,
    indices: [usize; 2],
    combine: impl Fn(f64, f64) -> f64,
) -> Result<Inner, String> {
    let [a, b] = function_operands(walk, node, indices)?;
    Ok(Inner { function: a.function.with(&b.function, combine), ..a })
}

/// Functions of the same values; a number for all is a function that is constant.
fn function_operands<const N: usize>(
    walk: &mut Walk<'_>,
    node: &Node,
    indices: [usize; N],
) -> Result<[Inner; N], String> {
    let mut values = Vec::with_capacity(N);
    for index in indices {
        values.push(walk.input(node, index)?.clone());
    }
    let first = values.iter().find(|value| !matches!(value, Value::Constant(_))).ok_or("it takes constants only")?;
    let first = walk.chain.inner(first)?;
    let mut operands = Vec::with_capacity(N);
    for value in &values {
        operands.push(match value {
            Value::Constant(array) => {
                let value = array.scalar().ok_or("it takes more than one number for all values")?;
                Inner { function: first.function.then(|_| value), ..first.clone() }
            }
            value => walk.chain.inner(value)?,
        });
    }
    if operands.iter().any(|operand| operand.of != first.of || operand.tail != first.tail) {
        return Err(format!("it joins two branches by {}: {BRANCHES}", node.op_type));
    }
    operands.try_into().map_err(|_| "it takes another number of values".into())
}

/// Within the network, a function whose results are 1 and 0: a part of one that is written with Where.
pub(super) fn compare(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let holds: fn(f64, f64) -> bool = match &*node.op_type {
        "Greater" => |a, b| a > b,
        "GreaterOrEqual" => |a, b| a >= b,
        "Less" => |a, b| a < b,
        _ => |a, b| a <= b,
    };
    let mut compared = together(walk, node, [0, 1], |a, b| f64::from(u8::from(holds(a, b))))?;
    compared.function.threshold = threshold(walk, node)?;
    Ok(vec![Value::Inner(compared)])
}

/// The threshold that numbers of the network themselves are compared with; `None` for those that a number may reach.
fn threshold(walk: &mut Walk<'_>, node: &Node) -> Result<Option<Threshold>, String> {
    let (a, b) = (walk.input(node, 0)?.clone(), walk.input(node, 1)?.clone());
    let (x, array, is_above) = match (&*node.op_type, &a, &b) {
        ("Greater", x, Value::Constant(array)) | ("Less", Value::Constant(array), x) => (x, array, true),
        ("LessOrEqual", x, Value::Constant(array)) | ("GreaterOrEqual", Value::Constant(array), x) => (x, array, false),
        _ => return Ok(None),
    };
    let is_itself = walk.chain.inner(x)?.function.is_identity();
    Ok(array.scalar().filter(|_| is_itself).map(|at| Threshold { at, is_above }))
}

/// Where: within the network between two functions, before it another value for some.
pub(super) fn choose(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let Value::Inner(_) = walk.input(node, 0)? else { return encoding::replace(walk, node) };
    let [which, a, b] = function_operands(walk, node, [0, 1, 2])?;
    if let Some(Threshold { at, is_above }) = which.function.threshold {
        let (above, below) = if is_above { (&a, &b) } else { (&b, &a) };
        if above.function.is_identity() && below.function.is_constant(0.0) && at != 0.0 {
            let function = activated(&above.function, Activation::ThresholdedRelu { alpha: at as f32 })?;
            return Ok(vec![Value::Inner(Inner { function, ..which })]);
        }
    }
    let chosen = which.function.with(&a.function, |which, a| if which == 0.0 { f64::NAN } else { a });
    // What is chosen where it doesn't hold.
    let function = which.function.with(&b.function, |which, b| if which == 0.0 { b } else { f64::NAN });
    let function = chosen.with(&function, |a, b| if a.is_nan() { b } else { a });
    Ok(vec![Value::Inner(Inner { function, ..which })])
}

pub(super) fn unary(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let input = walk.input(node, 0)?.clone();
    match (&*node.op_type, &input) {
        ("Neg", Value::Constant(array)) => return Ok(vec![constant(array, |x| -x)?]),
        ("Reciprocal", Value::Constant(array)) => return Ok(vec![constant(array, f64::recip)?]),
        ("Reciprocal", Value::Moment { of, moment: Moment::Deviation { epsilon } }) => {
            return Ok(vec![Value::Moment { of: *of, moment: Moment::Inverse { epsilon: *epsilon } }]);
        }
        _ => {}
    }
    if let ("Neg", Value::Columns(columns)) = (&*node.op_type, &input) {
        if columns.cells.iter().any(|cell| matches!(cell, Cell::Computed { .. })) {
            return Ok(vec![Value::Columns(computed::function("Neg", columns)?)]);
        }
        return Ok(vec![Value::Columns(each(columns, |_| vec![Step::Multiply { value: -1.0 }])?)]);
    }
    let x = walk.chain.inner(&input)?;
    let function = function(node, &x.function)?;
    Ok(vec![Value::Inner(Inner { function, ..x })])
}

/// The operator's function of another one.
fn function(node: &Node, x: &Function) -> Result<Function, String> {
    let float = |name, default| node.float(name, default) as f32;
    let activation = match &*node.op_type {
        "Relu" => Activation::Relu,
        "LeakyRelu" => return leaky(x, float("alpha", 0.01)),
        "Elu" => Activation::Elu { alpha: float("alpha", 1.0) },
        "Celu" => Activation::Celu { alpha: float("alpha", 1.0) },
        "Selu" => {
            let (alpha, gamma) = (float("alpha", SELU[0]), float("gamma", SELU[1]));
            if [alpha, gamma] != SELU {
                return Ok(activated(x, Activation::Elu { alpha })?.scaled(gamma.into(), 0.0));
            }
            Activation::Selu
        }
        "Tanh" => Activation::Tanh,
        "Sigmoid" => Activation::Logistic,
        "Gelu" => match node.string("approximate")?.as_deref() {
            Some("tanh") => Activation::GeluTanh,
            _ => Activation::Gelu,
        },
        "Softplus" => Activation::Softplus,
        "Softsign" => Activation::Softsign,
        "Mish" => Activation::Mish,
        "HardSwish" => Activation::HardSwish,
        "HardSigmoid" => Activation::HardSigmoid { alpha: float("alpha", 0.2), beta: float("beta", 0.5) },
        "ThresholdedRelu" => Activation::ThresholdedRelu { alpha: float("alpha", 1.0) },
        "Swish" => {
            // x σ(a x) is silu of a x, divided by a.
            let alpha = node.float("alpha", 1.0);
            if alpha == 0.0 {
                return Ok(x.scaled(0.5, 0.0));
            }
            return Ok(activated(&x.scaled(alpha, 0.0), Activation::Silu)?.scaled(1.0 / alpha, 0.0));
        }
        "Neg" => return Ok(x.scaled(-1.0, 0.0)),
        "Erf" => return Ok(x.then(erf)),
        "Abs" => return leaky(x, -1.0),
        "Round" => {
            let round = Activation::Round { low: f32::NEG_INFINITY, high: f32::INFINITY };
            let rounded = x.activated(round);
            return match rounded.pieces().and_then(|pieces| pieces.last().copied()) {
                Some(Piece::Activation(Activation::Round { low, high })) if low.is_finite() && high.is_finite() => {
                    Ok(rounded)
                }
                _ => Err("it rounds numbers of any size: clamp them to whole numbers before it".into()),
            };
        }
        "Reciprocal" => return Ok(x.then(|x| 1.0 / x)),
        other => return Err(format!("weir has no function {other}")),
    };
    activated(x, activation)
}

/// The defaults of Selu: its alpha and gamma.
const SELU: [f32; 2] = [1.673_263_2, 1.050_701];

fn activated(x: &Function, activation: Activation) -> Result<Function, String> {
    activation.validate().map_err(|error| format!("weir doesn't compute it: {error}"))?;
    Ok(x.activated(activation))
}

fn leaky(x: &Function, slope: f32) -> Result<Function, String> {
    match slope {
        0.0 => activated(x, Activation::Relu),
        1.0 => Ok(x.clone()),
        slope => activated(x, Activation::LeakyRelu { slope }),
    }
}

/// PRelu: a slope for all columns, or one for each.
pub(super) fn prelu(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let input = walk.input(node, 0)?.clone();
    let x = walk.chain.inner(&input)?;
    let array: &Array = &*walk.constant(node, 1)?;
    let slopes = per_column(array, &x.tail)?;
    if slopes.iter().all(|slope| *slope == slopes[0]) {
        let function = leaky(&x.function, slopes.first().copied().unwrap_or(1.0) as f32)?;
        return Ok(vec![Value::Inner(Inner { function, ..x })]);
    }
    let settled = walk.chain.settle(&x)?;
    let link = walk.chain.push(settled, Op::PRelu { slopes: slopes.clone() }, slopes.len());
    Ok(vec![Value::Inner(Inner { tail: x.tail, ..link })])
}
