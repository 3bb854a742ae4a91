//! Arithmetic: on columns it becomes steps of the preprocessing, within the network elementwise functions, scales, or
//! parts of a layer normalisation.

use super::{BRANCHES, Walk, calibrated, computed, kind};
use crate::engine::Activation;
use crate::model::onnx::chain::Op;
use crate::model::onnx::elementwise::Function;
use crate::model::onnx::proto::Node;
use crate::model::onnx::tensor::{Array, Data, Element};
use crate::model::onnx::value::{Cell, Columns, Inner, LinkId, Moment, Value};
use crate::model::preprocess::Step;

#[derive(Clone, Copy, PartialEq)]
enum Operation {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
}

impl Operation {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Operation::Add => a + b,
            Operation::Sub => a - b,
            Operation::Mul => a * b,
            Operation::Div => a / b,
            Operation::Pow => a.powf(b),
        }
    }
}

pub(super) fn add(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    binary(walk, node, Operation::Add)
}

pub(super) fn sub(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    binary(walk, node, Operation::Sub)
}

pub(super) fn mul(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    binary(walk, node, Operation::Mul)
}

pub(super) fn div(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    binary(walk, node, Operation::Div)
}

pub(super) fn pow(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    binary(walk, node, Operation::Pow)
}

fn binary(walk: &mut Walk<'_>, node: &Node, operation: Operation) -> Result<Vec<Value>, String> {
    let (a, b) = (walk.input(node, 0)?.clone(), walk.input(node, 1)?.clone());
    if let Some(computed) = computed::binary(&node.op_type, &a, &b)? {
        return Ok(vec![computed]);
    }
    let value = match (&a, &b) {
        (Value::Constant(a), Value::Constant(b)) => Value::Constant(fold(a, b, operation)?.into()),
        (Value::Moment { of, moment }, b) => moment_with(walk, *of, *moment, b, operation)?,
        (a, Value::Moment { of, moment: Moment::Mean }) if operation == Operation::Sub => {
            let a = walk.chain.inner(a)?;
            if walk.chain.settle(&a)? != *of {
                return Err("it subtracts the mean of something else".into());
            }
            Value::Moment { of: *of, moment: Moment::Centered }
        }
        (a, Value::Moment { of, moment: Moment::IsEmpty }) if operation == Operation::Add => {
            let a = walk.chain.inner(a)?;
            if walk.chain.settle(&a)? != *of {
                return Err("it adds whether the sum of something else is 0".into());
            }
            Value::Moment { of: *of, moment: Moment::Raised }
        }
        (Value::Constant(_), Value::Moment { of, moment }) if matches!(operation, Operation::Add | Operation::Mul) => {
            // Both are the same the other way round.
            moment_with(walk, *of, *moment, &a, operation)?
        }
        (Value::Constant(one), Value::Moment { of, moment: Moment::Deviation { epsilon } })
            if operation == Operation::Div && one.scalar() == Some(1.0) =>
        {
            Value::Moment { of: *of, moment: Moment::Inverse { epsilon: *epsilon } }
        }
        (Value::Columns(Columns { element: Element::Integer, .. }), Value::Constant(array))
            if operation == Operation::Div && array.element == Element::Integer =>
        {
            return Err("it divides whole numbers, which cuts fractions off: export the model with float inputs".into());
        }
        (Value::Columns(columns), Value::Constant(array)) if operation != Operation::Pow => {
            Value::Columns(columns_with(columns, array, operation)?)
        }
        (Value::Constant(array), Value::Columns(columns))
            if matches!(operation, Operation::Add | Operation::Sub | Operation::Mul) =>
        {
            let columns = match operation {
                // Exact: c - x is (-x) + c.
                Operation::Sub => {
                    columns_with(&each(columns, |_| vec![Step::Multiply { value: -1.0 }])?, array, Operation::Add)?
                }
                _ => columns_with(columns, array, operation)?,
            };
            Value::Columns(columns)
        }
        (x, Value::Constant(array)) => {
            let x = walk.chain.inner(x)?;
            Value::Inner(inner_with(walk, &x, array, operation, false)?)
        }
        (Value::Constant(array), x) => {
            let x = walk.chain.inner(x)?;
            Value::Inner(inner_with(walk, &x, array, operation, true)?)
        }
        (a, b) => {
            let (a, b) = (walk.chain.inner(a)?, walk.chain.inner(b)?);
            if a.of != b.of || a.tail != b.tail {
                return match operation {
                    Operation::Add => Ok(vec![Value::Inner(walk.chain.sum(&[(a, 1.0), (b, 1.0)])?)]),
                    Operation::Sub => Ok(vec![Value::Inner(walk.chain.sum(&[(a, 1.0), (b, -1.0)])?)]),
                    _ => Err(format!("it joins two branches by {}: {BRANCHES}", node.op_type)),
                };
            }
            let function = a.function.with(&b.function, |a, b| operation.of(a, b));
            let is_known = |function: &Function| function.pieces().is_some();
            let sign = match operation {
                Operation::Add => Some(1.0),
                Operation::Sub => Some(-1.0),
                _ => None,
            };
            match sign {
                // x + f(x): together no activation, so a branch each.
                Some(sign) if !is_known(&function) && is_known(&a.function) && is_known(&b.function) => {
                    Value::Inner(walk.chain.sum(&[(a, 1.0), (b, sign)])?)
                }
                _ => Value::Inner(Inner { function, ..a }),
            }
        }
    };
    Ok(vec![value])
}

/// Arithmetic of constants; the result is no larger than the larger of them.
fn fold(a: &Array, b: &Array, operation: Operation) -> Result<Array, String> {
    let shape = if a.len() >= b.len() { &a.shape } else { &b.shape };
    let fits = a.shape == b.shape || a.len() == 1 || b.len() == 1;
    if !fits || a.len() == 0 || b.len() == 0 {
        return Err(format!("it computes with constants of shapes {:?} and {:?}", a.shape, b.shape));
    }
    let count = a.len().max(b.len());
    let data = match (&a.data, &b.data) {
        (Data::Integers(a), Data::Integers(b)) => {
            let of = |a: i64, b: i64| match operation {
                Operation::Add => a.checked_add(b),
                Operation::Sub => a.checked_sub(b),
                Operation::Mul => a.checked_mul(b),
                Operation::Div => a.checked_div(b),
                Operation::Pow => None,
            };
            let values = (0..count).map(|at| of(a[at % a.len()], b[at % b.len()]));
            Data::Integers(values.collect::<Option<_>>().ok_or("its result is no integer")?)
        }
        _ => {
            let (a_values, b_values) = (a.numbers()?, b.numbers()?);
            let round = a.element == Element::Float && b.element == Element::Float;
            let values = (0..count).map(|at| {
                let value = operation.of(a_values[at % a_values.len()], b_values[at % b_values.len()]);
                if round { f64::from(value as f32) } else { value }
            });
            Data::Numbers(values.collect())
        }
    };
    Ok(Array { shape: shape.clone(), data, element: a.element })
}

/// One number per column, from a constant with one for all or one for each.
pub(super) fn per_column(array: &Array, tail: &[usize]) -> Result<Vec<f64>, String> {
    let width: usize = tail.iter().product();
    let values = array.numbers()?;
    let last = array.shape.last().copied().unwrap_or(1);
    match values.len() {
        1 => Ok(vec![values[0]; width]),
        count if count == width && last == tail.last().copied().unwrap_or(1) => Ok(values),
        count => Err(format!("it computes with {count} constants for {width} columns")),
    }
}

/// Steps for each column, by its place; results in f32 where the columns are.
pub(super) fn each(columns: &Columns, steps: impl Fn(usize) -> Vec<Step>) -> Result<Columns, String> {
    let mut changed = columns.clone();
    for (place, cell) in changed.cells.iter_mut().enumerate() {
        for step in steps(place) {
            apply(cell, step)?;
            if columns.element == Element::Float && !matches!(step, Step::Round | Step::Clip { .. }) {
                apply(cell, Step::Round)?;
            }
        }
    }
    Ok(changed)
}

/// Adds a step to a column, unless it changes nothing.
pub(super) fn apply(cell: &mut Cell, step: Step) -> Result<(), String> {
    match step {
        Step::Add { value: 0.0 } | Step::Multiply { value: 1.0 } | Step::Divide { value: 1.0 } => return Ok(()),
        Step::Add { value } | Step::Multiply { value } if !value.is_finite() => {
            return Err(format!("it computes with the constant {value}"));
        }
        Step::Divide { value } if !value.is_finite() || value == 0.0 => return Err(format!("it divides by {value}")),
        _ => {}
    }
    match cell {
        Cell::Number { steps, .. } | Cell::Product { steps, .. } | Cell::Normalized { steps, .. } => {
            if step != Step::Round || steps.last() != Some(&Step::Round) {
                steps.push(step);
            }
        }
        Cell::Category { special, rest, unknown, .. } => {
            let numbers = special.iter_mut().map(|(_, number)| number).chain([rest, unknown]);
            numbers.for_each(|number| *number = step.apply(*number));
        }
        Cell::Bins { values, .. } => values.iter_mut().for_each(|value| *value = step.apply(*value)),
        // It is 1 or 0.
        Cell::IsMissing { .. } if step == Step::Round => {}
        Cell::IsMissing { .. } => return Err("it computes with whether a number is missing".into()),
        // A term is compared as ONNX defines its operators.
        Cell::Computed { .. } if step == Step::Round => {}
        Cell::Computed { .. } => {
            return Err("it computes with a number that was computed in a way that weir has no step for".into());
        }
        Cell::Text { .. } | Cell::IsText { .. } | Cell::Place { .. } => return Err("it computes with text".into()),
    }
    Ok(())
}

fn columns_with(columns: &Columns, array: &Array, operation: Operation) -> Result<Columns, String> {
    let values = per_column(array, &columns.tail)?;
    each(columns, |place| {
        let value = values[place];
        vec![match operation {
            Operation::Add => Step::Add { value },
            Operation::Sub => Step::Add { value: -value },
            Operation::Mul => Step::Multiply { value },
            Operation::Div | Operation::Pow => Step::Divide { value },
        }]
    })
}

/// Within the network, with a constant before or behind the operation.
fn inner_with(
    walk: &mut Walk<'_>,
    x: &Inner,
    array: &Array,
    operation: Operation,
    constant_first: bool,
) -> Result<Inner, String> {
    let width: usize = x.tail.iter().product();
    // A constant with a shape belongs to columns, even if there is only one; without, to a function. As does the 1 of
    // SGDClassifier's 1 - p.
    let is_complement = operation == Operation::Sub && constant_first && x.function.is(Activation::Logistic);
    let elementwise = array.shape.is_empty() || (array.len() == 1 && (width != 1 || is_complement));
    if let Some(value) = array.scalar().filter(|_| elementwise) {
        let function = match (operation, constant_first) {
            (Operation::Add, _) => x.function.scaled(1.0, value),
            (Operation::Sub, false) => x.function.scaled(1.0, -value),
            (Operation::Sub, true) => x.function.scaled(-1.0, value),
            (Operation::Mul, _) => x.function.scaled(value, 0.0),
            (Operation::Div, false) => x.function.scaled(1.0 / value, 0.0),
            (Operation::Pow, false) => x.function.then(|x| x.powf(value)),
            (Operation::Div | Operation::Pow, true) => x.function.then(|x| operation.of(value, x)),
        };
        return Ok(Inner { function, ..x.clone() });
    }
    let values = per_column(array, &x.tail)?;
    let (zeros, ones) = (vec![0.0; width], vec![1.0; width]);
    let (factor, shift) = match (operation, constant_first) {
        (Operation::Add, _) => (ones, values),
        (Operation::Sub, false) => (ones, values.iter().map(|value| -value).collect()),
        (Operation::Sub, true) => (vec![-1.0; width], values),
        (Operation::Mul, _) => (values, zeros),
        (Operation::Div, false) => (values.iter().map(|value| 1.0 / value).collect(), zeros),
        (Operation::Div | Operation::Pow, _) => return Err("it isn't affine in the values of the network".into()),
    };
    let settled = walk.chain.settle(x)?;
    let scaled = walk.chain.push(settled, Op::Scale { factor, shift }, width);
    Ok(Inner { tail: x.tail.clone(), ..scaled })
}

/// The steps of layer normalisation behind its mean.
fn moment_with(
    walk: &mut Walk<'_>,
    of: LinkId,
    moment: Moment,
    other: &Value,
    operation: Operation,
) -> Result<Value, String> {
    let constant = match other {
        Value::Constant(array) => array.scalar(),
        _ => None,
    };
    let next = match (moment, operation, other) {
        (Moment::Centered, Operation::Pow, _) if constant == Some(2.0) => Moment::Squared,
        (Moment::Centered, Operation::Mul, Value::Moment { of: other, moment: Moment::Centered }) if *other == of => {
            Moment::Squared
        }
        (Moment::IsEmpty, Operation::Mul, Value::Constant(_)) if constant == Some(walk.chain.link(of).width as f64) => {
            Moment::RaisedBy
        }
        (Moment::Sum, Operation::Add, Value::Moment { of: other, moment: Moment::RaisedBy }) if *other == of => {
            Moment::RaisedSum
        }
        (Moment::Raised, Operation::Div, Value::Moment { of: other, moment: Moment::RaisedSum }) if *other == of => {
            return calibrated::shares(walk, of);
        }
        (Moment::Variance { epsilon }, Operation::Add, Value::Constant(_)) => {
            let more = constant.ok_or("it adds more than one number to a variance")?;
            Moment::Variance { epsilon: epsilon + more }
        }
        (Moment::Centered, Operation::Div, Value::Moment { of: other, moment: Moment::Deviation { epsilon } })
        | (Moment::Centered, Operation::Mul, Value::Moment { of: other, moment: Moment::Inverse { epsilon } })
            if *other == of =>
        {
            return Ok(norm(walk, of, *epsilon));
        }
        (Moment::Inverse { epsilon }, Operation::Mul, Value::Moment { of: other, moment: Moment::Centered })
            if *other == of =>
        {
            return Ok(norm(walk, of, epsilon));
        }
        _ => return Err("it makes something else than a layer normalisation of a row's mean, variance or sum".into()),
    };
    Ok(Value::Moment { of, moment: next })
}

/// The link's row without its mean, divided by its deviation.
fn norm(walk: &mut Walk<'_>, of: LinkId, epsilon: f64) -> Value {
    let width = walk.chain.link(of).width;
    Value::Inner(walk.chain.push(of, Op::Norm { epsilon }, width))
}

/// A function of each number of a constant, in f32 if it is.
pub(super) fn constant(array: &Array, function: impl Fn(f64) -> f64) -> Result<Value, String> {
    if !matches!(array.data, Data::Numbers(_)) {
        return Err("it computes with a constant that is no float".into());
    }
    let is_float = array.element == Element::Float;
    let round = |value: f64| if is_float { f64::from(value as f32) } else { value };
    let values = array.numbers()?.into_iter().map(|value| round(function(value))).collect();
    Ok(Value::Constant(Array { data: Data::Numbers(values), ..array.clone() }.into()))
}

pub(super) fn sqrt(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    match walk.input(node, 0)? {
        Value::Moment { of, moment: Moment::Variance { epsilon } } => {
            Ok(vec![Value::Moment { of: *of, moment: Moment::Deviation { epsilon: *epsilon } }])
        }
        Value::Constant(array) => Ok(vec![constant(array, f64::sqrt)?]),
        other => Err(format!("it takes the root of {}, not of a layer normalisation's variance", kind(other))),
    }
}

/// `(x - offset) · scale`, in f32 unless the input is double.
pub(super) fn scaler(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let Value::Columns(columns) = walk.input(node, 0)?.clone() else {
        return Err("it scales something else than columns before the network".into());
    };
    let width = columns.cells.len();
    let of = |name: &str, default: f64| -> Result<Vec<f64>, String> {
        match node.floats(name) {
            [] => Ok(vec![default; width]),
            [value] => Ok(vec![f64::from(*value); width]),
            values if values.len() == width => Ok(values.iter().map(|&value| f64::from(value)).collect()),
            values => Err(format!("it has {} values of {name:?} for {width} columns", values.len())),
        }
    };
    let (offset, scale) = (of("offset", 0.0)?, of("scale", 1.0)?);
    let mut columns = columns;
    if columns.element != Element::Double {
        columns.element = Element::Float;
        columns = each(&columns, |_| vec![Step::Round])?;
    }
    let mut columns =
        each(&columns, |place| vec![Step::Add { value: -offset[place] }, Step::Multiply { value: scale[place] }])?;
    // It gives f32, whatever it takes.
    columns.element = Element::Float;
    Ok(vec![Value::Columns(each(&columns, |_| vec![Step::Round])?)])
}
