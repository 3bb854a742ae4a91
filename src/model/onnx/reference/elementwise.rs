//! Operators on single elements.

use super::array::{TypedArray, UNIT, broadcast, computed_in, data_type, is_float, round, sources};
use super::{Operands, RunValue, one};
use crate::model::onnx::proto::{DataType, Node};
use crate::model::onnx::tensor::Data;

/// What an activation of a library may be off by, in roundings of its result.
const ACTIVATION_ROUNDINGS: f64 = 16.0;

/// Arithmetic on two operands, or on any number of them for Sum, Mean, Max and Min.
pub(super) fn arithmetic(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let mut result = operands.array(0)?.clone();
    for index in 1..operands.len() {
        result = binary(&node.op_type, &result, operands.array(index)?)?;
    }
    if node.op_type == "Mean" {
        let share = 1.0 / operands.len() as f64;
        let values = result.numbers()?.iter().map(|value| value * share).collect();
        let errors = result.errors.iter().map(|error| error * share).collect();
        result = TypedArray::floats(result.shape, result.data_type, values, errors);
    }
    one(result)
}

fn binary(operator: &str, a: &TypedArray, b: &TypedArray) -> Result<TypedArray, String> {
    let shape = broadcast(&a.shape, &b.shape)?;
    let (from_a, from_b) = (sources(&a.shape, &shape), sources(&b.shape, &shape));
    if let (Data::Integers(left), Data::Integers(right)) = (&a.data, &b.data) {
        let of = |(&at_a, &at_b): (&usize, &usize)| integer(operator, left[at_a], right[at_b]);
        let values: Option<Vec<i64>> = from_a.iter().zip(&from_b).map(of).collect();
        let values = values.ok_or_else(|| format!("{operator} has no integer as result"))?;
        let errors = if a.errors.is_empty() && b.errors.is_empty() {
            Vec::new()
        } else {
            let uncertain = |(&at_a, &at_b): (&usize, &usize)| (a.error(at_a) + b.error(at_b)) * f64::INFINITY;
            from_a.iter().zip(&from_b).map(uncertain).map(|error| if error.is_nan() { 0.0 } else { error }).collect()
        };
        return Ok(TypedArray::integers(shape, a.data_type, values, errors));
    }
    let (left, right) = (a.numbers()?, b.numbers()?);
    // What is exact stays so, as weir takes the same steps in the same precision before its network.
    let is_exact = a.errors.is_empty()
        && b.errors.is_empty()
        && matches!(a.data_type, DataType::Float | DataType::Double)
        && matches!(operator, "Add" | "Sub" | "Mul" | "Div");
    let mut values = Vec::with_capacity(from_a.len());
    let mut errors = Vec::new();
    for (&at_a, &at_b) in from_a.iter().zip(&from_b) {
        let (x, y) = (left[at_a], right[at_b]);
        let (value, slack) = float(operator, (x, a.error(at_a)), (y, b.error(at_b)))?;
        values.push(value);
        if !is_exact {
            errors.push(match value.is_nan() {
                true => of_nan(operator, (x, a.error(at_a)), (y, b.error(at_b))),
                false => slack + UNIT * value.abs(),
            });
        }
    }
    Ok(TypedArray::floats(shape, a.data_type, values, errors))
}

/// What a result that is no number may be off by: nothing where it is none in any case, such as a power of a negative
/// number, and anything else. Of infinities nothing is certain: what overflows depends on the runtime.
fn of_nan(operator: &str, (a, error_a): (f64, f64), (b, error_b): (f64, f64)) -> f64 {
    let is_known =
        [a, b, error_a, error_b].iter().all(|value| !value.is_infinite()) && !error_a.is_nan() && !error_b.is_nan();
    let is_certain = a.is_nan() || b.is_nan() || error_a + error_b == 0.0 || (operator == "Pow" && a + error_a < 0.0);
    if is_known && is_certain { 0.0 } else { f64::INFINITY }
}

fn integer(operator: &str, a: i64, b: i64) -> Option<i64> {
    match operator {
        "Add" | "Sum" => a.checked_add(b),
        "Sub" => a.checked_sub(b),
        "Mul" => a.checked_mul(b),
        "Div" => a.checked_div(b),
        "Pow" => a.checked_pow(u32::try_from(b).ok()?),
        "Max" => Some(a.max(b)),
        "Min" => Some(a.min(b)),
        _ => None,
    }
}

/// A result, and what the errors of the operands make of it.
fn float(operator: &str, (a, error_a): (f64, f64), (b, error_b): (f64, f64)) -> Result<(f64, f64), String> {
    let either_nan = |value: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { value };
    Ok(match operator {
        "Add" | "Sum" | "Mean" => (a + b, error_a + error_b + UNIT * (a.abs() + b.abs())),
        "Sub" => (a - b, error_a + error_b + UNIT * (a.abs() + b.abs())),
        "Mul" => (a * b, spread(a, error_b) + spread(b, error_a) + error_a * error_b),
        "Div" => {
            let divisor = (b.abs() - error_b).max(0.0);
            let slack = error_a + spread(a / b, error_b);
            (a / b, if slack == 0.0 { 0.0 } else { slack / divisor })
        }
        "Pow" => {
            let value = a.powf(b);
            let off = |other: f64| if other == value { 0.0 } else { (other - value).abs() };
            let slack = [(a + error_a).powf(b), (a - error_a).powf(b), a.powf(b + error_b), a.powf(b - error_b)];
            (value, slack.map(off).into_iter().fold(0.0, f64::max) + ACTIVATION_ROUNDINGS * UNIT * value.abs())
        }
        "Max" => (either_nan(a.max(b)), error_a.max(error_b)),
        "Min" => (either_nan(a.min(b)), error_a.max(error_b)),
        other => return Err(format!("{other} isn't for numbers with a fraction")),
    })
}

/// `|factor| · error`, where an exact operand is exact even times an infinity.
fn spread(factor: f64, error: f64) -> f64 {
    if error == 0.0 { 0.0 } else { factor.abs() * error }
}

/// A function of one element.
pub(super) fn unary(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    if let (Data::Integers(values), "Neg" | "Abs" | "Sign" | "Relu") = (&x.data, &*node.op_type) {
        let of = |&value: &i64| match &*node.op_type {
            "Neg" => value.wrapping_neg(),
            "Abs" => value.wrapping_abs(),
            "Sign" => value.signum(),
            _ => value.max(0),
        };
        return one(TypedArray::integers(
            x.shape.clone(),
            x.data_type,
            values.iter().map(of).collect(),
            x.errors.clone(),
        ));
    }
    let function = function(node)?;
    one(apply(x, function, node.op_type == "Neg")?)
}

/// 1 / (1 + e⁻ˣ) of each element.
pub(super) fn logistic_of(x: &TypedArray) -> Result<TypedArray, String> {
    apply(x, logistic, false)
}

/// A function of each element; `keeps_exact` where an exact operand gives an exact result.
fn apply(x: &TypedArray, function: impl Fn(f64) -> f64, keeps_exact: bool) -> Result<TypedArray, String> {
    if !x.is_float() {
        return Err(format!("it takes {:?}", x.data_type));
    }
    let numbers = x.numbers()?;
    let values: Vec<f64> = numbers.iter().map(|&x| function(x)).collect();
    let errors = if keeps_exact && x.errors.is_empty() {
        Vec::new()
    } else {
        let error = |(place, (&x_here, &value)): (usize, (&f64, &f64))| {
            let error = x.error(place);
            if value.is_nan() {
                let is_certain = function(x_here + error).is_nan() && function(x_here - error).is_nan();
                return if is_certain && error.is_finite() { 0.0 } else { f64::INFINITY };
            }
            let off = |other: f64| if other == value || error == 0.0 { 0.0 } else { (other - value).abs() };
            let slack = off(function(x_here + error)).max(off(function(x_here - error)));
            slack + ACTIVATION_ROUNDINGS * UNIT * value.abs() + 2.0 * UNIT * x_here.abs().min(1.0)
        };
        numbers.iter().zip(&values).enumerate().map(error).collect()
    };
    Ok(TypedArray::floats(x.shape.clone(), x.data_type, values, errors))
}

/// The function that an operator is, from the definitions of the ONNX operators.
fn function(node: &Node) -> Result<Box<dyn Fn(f64) -> f64>, String> {
    let alpha = |default: f32| node.float("alpha", default);
    Ok(match &*node.op_type {
        "Neg" => Box::new(|x| -x),
        "Abs" => Box::new(f64::abs),
        "Sign" => Box::new(|x| if x == 0.0 || x.is_nan() { x } else { x.signum() }),
        "Floor" => Box::new(f64::floor),
        "Ceil" => Box::new(f64::ceil),
        "Round" => Box::new(f64::round_ties_even),
        "Sqrt" => Box::new(f64::sqrt),
        "Exp" => Box::new(f64::exp),
        "Log" => Box::new(f64::ln),
        "Reciprocal" => Box::new(|x| 1.0 / x),
        "Tanh" => Box::new(f64::tanh),
        "Sigmoid" => Box::new(logistic),
        "Erf" => Box::new(erf),
        "Relu" => Box::new(|x| if x < 0.0 { 0.0 } else { x }),
        "LeakyRelu" => {
            let alpha = alpha(0.01);
            Box::new(move |x| if x < 0.0 { alpha * x } else { x })
        }
        "Elu" => {
            let alpha = alpha(1.0);
            Box::new(move |x| if x < 0.0 { alpha * x.exp_m1() } else { x })
        }
        "Celu" => {
            let alpha = alpha(1.0);
            Box::new(move |x| if x < 0.0 { alpha * (x / alpha).exp_m1() } else { x })
        }
        "Selu" => {
            let (alpha, gamma) = (alpha(1.673_263_2), node.float("gamma", 1.050_701));
            Box::new(move |x| gamma * if x <= 0.0 { alpha * x.exp_m1() } else { x })
        }
        "ThresholdedRelu" => {
            let alpha = alpha(1.0);
            Box::new(move |x| if x > alpha || x.is_nan() { x } else { 0.0 })
        }
        "HardSigmoid" => {
            let (alpha, beta) = (alpha(0.2), node.float("beta", 0.5));
            Box::new(move |x| (alpha * x + beta).clamp(0.0, 1.0))
        }
        "HardSwish" => Box::new(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        "Mish" => Box::new(|x| x * softplus(x).tanh()),
        "Softplus" => Box::new(softplus),
        "Softsign" => Box::new(|x| x / (1.0 + x.abs())),
        "Swish" => {
            let alpha = alpha(1.0);
            Box::new(move |x| x * logistic(alpha * x))
        }
        "Shrink" => {
            let (lambda, bias) = (node.float("lambd", 0.5), node.float("bias", 0.0));
            Box::new(move |x| {
                if x < -lambda {
                    x + bias
                } else if x > lambda {
                    x - bias
                } else {
                    x * 0.0
                }
            })
        }
        "Gelu" => match node.string("approximate")?.as_deref() {
            Some("tanh") => Box::new(|x| {
                let inside = std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044715 * x.powi(3));
                // (1 + tanh u) / 2 = σ(2 u), which doesn't cancel.
                x * logistic(2.0 * inside)
            }),
            _ => Box::new(|x| 0.5 * x * erfc(-x * std::f64::consts::FRAC_1_SQRT_2)),
        },
        other => return Err(format!("the reference has no function {other}")),
    })
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// ln(1 + eˣ)
fn softplus(x: f64) -> f64 {
    if x.is_nan() { x } else { x.max(0.0) + (-x.abs()).exp().ln_1p() }
}

/// The error function: its series for |x| < 2, else by its complement's continued fraction (Abramowitz and Stegun,
/// 7.1.6 and 7.1.14); within 1e-14.
pub(super) fn erf(x: f64) -> f64 {
    if x.abs() >= 2.0 {
        return 1.0_f64.copysign(x) - erfc(x.abs()).copysign(x);
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..80 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
        if term.abs() < f64::EPSILON / 4.0 * sum.abs() {
            break;
        }
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// 1 - erf(x)
pub(super) fn erfc(x: f64) -> f64 {
    if x.is_nan() || x < 2.0 {
        return 1.0 - erf(x);
    }
    // After n steps it is off by about e^(-2 x √(2 n)), relative.
    let steps = (240.0 / (x * x)) as i32 + 4;
    let fraction = (1..=steps).rev().fold(0.0, |rest, n| f64::from(n) / 2.0 / (x + rest));
    std::f64::consts::FRAC_2_SQRT_PI / 2.0 * (-x * x).exp() / (x + fraction)
}

/// A slope per element, broadcast, on the left of 0.
pub(super) fn prelu(_: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let (x, slope) = (operands.array(0)?, operands.array(1)?);
    if broadcast(&x.shape, &slope.shape)? != x.shape {
        return Err(format!("it has slopes of shape {:?} for {:?}", slope.shape, x.shape));
    }
    let (numbers, slopes, from) = (x.numbers()?, slope.numbers()?, sources(&slope.shape, &x.shape));
    let mut values = Vec::with_capacity(numbers.len());
    let mut errors = Vec::with_capacity(numbers.len());
    for (place, (&x_here, &at)) in numbers.iter().zip(&from).enumerate() {
        let value = if x_here < 0.0 { slopes[at] * x_here } else { x_here };
        values.push(value);
        errors.push(x.error(place) * slopes[at].abs().max(1.0) + 4.0 * UNIT * value.abs());
    }
    one(TypedArray::floats(x.shape.clone(), x.data_type, values, errors))
}

/// Bounds are attributes before opset 11, inputs since.
pub(super) fn clip(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let bound = |index: usize, name: &str| match operands.optional(index)? {
        Some(bound) => Ok::<_, String>(Some(bound.scalar()?)),
        None if node.has(name) => Ok(Some(node.float(name, 0.0))),
        None => Ok(None),
    };
    let (low, high) = (bound(1, "min")?, bound(2, "max")?);
    let clipped = |x: f64| {
        if x.is_nan() {
            return x;
        }
        let x = low.map_or(x, |low| x.max(low));
        high.map_or(x, |high| x.min(high))
    };
    if let Data::Integers(values) = &x.data {
        let values = values.iter().map(|&value| clipped(value as f64) as i64).collect();
        return one(TypedArray::integers(x.shape.clone(), x.data_type, values, x.errors.clone()));
    }
    one(apply(x, clipped, true)?)
}

/// Equal, Less, Greater and their like; And, Or, Xor.
pub(super) fn compare(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let (a, b) = (operands.array(0)?, operands.array(1)?);
    let shape = broadcast(&a.shape, &b.shape)?;
    let (from_a, from_b) = (sources(&a.shape, &shape), sources(&b.shape, &shape));
    let pairs = from_a.iter().zip(&from_b);
    if let (Data::Texts(left), Data::Texts(right)) = (&a.data, &b.data) {
        let values = pairs.map(|(&a, &b)| i64::from(left[a] == right[b])).collect();
        return one(TypedArray::integers(shape, DataType::Bool, values, Vec::new()));
    }
    let (left, right) = (a.numbers()?, b.numbers()?);
    let holds = |x: f64, y: f64| match &*node.op_type {
        "Equal" => x == y,
        "Less" => x < y,
        "LessOrEqual" => x <= y,
        "Greater" => x > y,
        "GreaterOrEqual" => x >= y,
        "And" => x != 0.0 && y != 0.0,
        "Or" => x != 0.0 || y != 0.0,
        _ => (x != 0.0) != (y != 0.0),
    };
    let (mut values, mut errors) = (Vec::with_capacity(from_a.len()), Vec::new());
    let is_exact = a.errors.is_empty() && b.errors.is_empty();
    for (&at_a, &at_b) in pairs {
        let (x, y) = (left[at_a], right[at_b]);
        values.push(i64::from(holds(x, y)));
        if !is_exact {
            // Within both errors it may go either way; without errors it is certain, also for equal numbers.
            let error = a.error(at_a) + b.error(at_b);
            errors.push(f64::from(u8::from(error > 0.0 && (x - y).abs() <= error)));
        }
    }
    one(TypedArray::integers(shape, DataType::Bool, values, errors))
}

/// Not, IsNaN and IsInf.
pub(super) fn test(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let (positive, negative) = (node.int("detect_positive", 1) != 0, node.int("detect_negative", 1) != 0);
    let holds = |&x: &f64| match &*node.op_type {
        "Not" => x == 0.0,
        "IsNaN" => x.is_nan(),
        _ => x.is_infinite() && if x > 0.0 { positive } else { negative },
    };
    let values = x.numbers()?.iter().map(|x| i64::from(holds(x))).collect();
    let errors = if node.op_type == "Not" { x.errors.clone() } else { Vec::new() };
    one(TypedArray::integers(x.shape.clone(), DataType::Bool, values, errors))
}

pub(super) fn choose(_: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let (which, a, b) = (operands.array(0)?, operands.array(1)?, operands.array(2)?);
    let shape = broadcast(&broadcast(&which.shape, &a.shape)?, &b.shape)?;
    let [which_at, a_at, b_at] = [which, a, b].map(|array| sources(&array.shape, &shape));
    let chosen = which.numbers()?;
    let uncertain = |place: usize| which.error(which_at[place]) > 0.0;
    if let (Data::Texts(left), Data::Texts(right)) = (&a.data, &b.data) {
        let of = |place: usize| if chosen[which_at[place]] != 0.0 { &left[a_at[place]] } else { &right[b_at[place]] };
        let texts = (0..which_at.len()).map(|place| of(place).clone()).collect();
        return one(TypedArray::texts(shape, texts, Vec::new()));
    }
    let (left, right) = (a.numbers()?, b.numbers()?);
    let (mut values, mut errors) = (Vec::with_capacity(which_at.len()), Vec::with_capacity(which_at.len()));
    for place in 0..which_at.len() {
        let (x, y) = (left[a_at[place]], right[b_at[place]]);
        let (value, error) = match chosen[which_at[place]] != 0.0 {
            true => (x, a.error(a_at[place])),
            false => (y, b.error(b_at[place])),
        };
        values.push(value);
        errors.push(if uncertain(place) { error + (x - y).abs() } else { error });
    }
    if errors.iter().all(|&error| error == 0.0) {
        errors.clear();
    }
    if is_float(a.data_type) {
        return one(TypedArray::floats(shape, a.data_type, values, errors));
    }
    one(TypedArray::integers(shape, a.data_type, values.into_iter().map(|value| value as i64).collect(), errors))
}

pub(super) fn cast(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let to = match node.op_type.as_str() {
        "CastLike" => operands.array(1)?.data_type,
        _ => data_type(node.int("to", 0))?,
    };
    one(cast_to(operands.array(0)?, to)?)
}

/// Fractions are cut off; what lies beyond the type is left open, as in ONNX.
pub(super) fn cast_to(x: &TypedArray, to: DataType) -> Result<TypedArray, String> {
    let shape = x.shape.clone();
    if to == DataType::String {
        let text = |value: f64| if value == value.trunc() { (value as i64).to_string() } else { value.to_string() };
        let texts = match &x.data {
            Data::Texts(texts) => texts.clone(),
            Data::Integers(values) => values.iter().map(i64::to_string).collect(),
            Data::Numbers(values) => values.iter().map(|&value| text(value)).collect(),
        };
        return Ok(TypedArray::texts(shape, texts, x.errors.clone()));
    }
    let (numbers, mut errors) = match &x.data {
        Data::Texts(texts) => {
            let parsed = texts.iter().map(|text| text.trim().parse::<f64>());
            let parsed: Vec<f64> = parsed.map(|number| number.unwrap_or(f64::NAN)).collect();
            (parsed.into(), Vec::new())
        }
        _ => (x.numbers()?, x.errors.clone()),
    };
    if is_float(to) {
        if computed_in(to) == to {
            return Ok(TypedArray::floats(shape, to, numbers.into_owned(), errors));
        }
        // What is nearly between two numbers of 16 bits may be rounded either way.
        let off = |(place, &value): (usize, &f64)| {
            let [least, most] = [-1.0, 1.0].map(|sign| round(value + sign * x.error(place), to));
            let off = (most - round(value, to)).max(round(value, to) - least);
            if off.is_nan() { x.error(place) } else { off }
        };
        errors = match x.errors.is_empty() {
            true => Vec::new(),
            false => numbers.iter().enumerate().map(off).collect(),
        };
        let rounded = numbers.iter().map(|&value| round(value, to)).collect();
        return Ok(TypedArray::floats(shape, computed_in(to), rounded, errors));
    }
    if let (Data::Integers(values), true) = (&x.data, to != DataType::Bool) {
        return Ok(TypedArray::integers(shape, to, values.iter().map(|&value| wrap(value, to)).collect(), errors));
    }
    let of = |value: f64| if to == DataType::Bool { f64::from(u8::from(value != 0.0)) } else { value.trunc() };
    let limit = match to {
        DataType::Bool => f64::INFINITY,
        DataType::Int32 | DataType::Uint32 => 2_f64.powi(31),
        DataType::Int64 | DataType::Uint64 => 2_f64.powi(63),
        DataType::Int16 | DataType::Uint16 => 2_f64.powi(15),
        _ => 2_f64.powi(7),
    };
    let is_open = |value: f64| to != DataType::Bool && (value.is_nan() || value.abs() >= limit);
    let error = |(place, &value): (usize, &f64)| {
        let error = x.error(place);
        let off = (of(value + error) - of(value)).abs().max((of(value - error) - of(value)).abs());
        if is_open(value) || off.is_nan() { f64::INFINITY } else { off }
    };
    errors = numbers.iter().enumerate().map(error).collect();
    if errors.iter().all(|&error| error == 0.0) {
        errors.clear();
    }
    let values = numbers.iter().map(|&value| wrap(of(value) as i64, to)).collect();
    Ok(TypedArray::integers(shape, to, values, errors))
}

fn wrap(value: i64, to: DataType) -> i64 {
    match to {
        DataType::Int32 => i64::from(value as i32),
        DataType::Uint32 => i64::from(value as u32),
        DataType::Int16 => i64::from(value as i16),
        DataType::Uint16 => i64::from(value as u16),
        DataType::Int8 => i64::from(value as i8),
        DataType::Uint8 => i64::from(value as u8),
        _ => value,
    }
}
