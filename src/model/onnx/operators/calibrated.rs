//! CalibratedClassifierCV of scikit-learn with one model: a logistic function of its score, written operation by
//! operation.

use super::{Walk, computed, kind};
use crate::model::onnx::chain::Op;
use crate::model::onnx::elementwise::Function;
use crate::model::onnx::proto::Node;
use crate::model::onnx::value::{Inner, Value};

/// `Exp`: of `t` it is a part of `1 / (1 + exp(t))`, which is the logistic function of `-t`.
pub(super) fn exp(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let input = walk.input(node, 0)?.clone();
    if let Value::Columns(columns) = &input {
        return Ok(vec![Value::Columns(computed::function("Exp", columns)?)]);
    }
    let x = walk.chain.inner(&input)?;
    let Function::Affine { factor, shift } = x.function else {
        return Err(
            "it takes the exponential of a function within the network: retrain with an activation that weir has"
                .into(),
        );
    };
    let width = walk.chain.link(x.of).width;
    let negated = walk.chain.push(x.of, Op::Scale { factor: vec![-factor; width], shift: vec![-shift; width] }, width);
    let function = negated.function.then(|x| (-x).exp());
    Ok(vec![Value::Inner(Inner { function, of: negated.of, tail: x.tail })])
}

/// `Sum` of one value.
pub(super) fn sum(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    match node.input.len() {
        1 => Ok(vec![walk.input(node, 0)?.clone()]),
        count => Err(format!("it adds up {count} values: only layers one after the other can be imported")),
    }
}

/// Some of the scores that a linear model gives.
pub(super) fn pick(walk: &mut Walk<'_>, value: &Value, places: &[usize]) -> Result<Value, String> {
    let Value::Inner(inner) = value else { return Err(format!("it picks from {}", kind(value))) };
    let link = walk.chain.link(inner.of);
    let (Op::Linear { weights, bias }, Some(before), true) =
        (&link.op, link.before, inner.function == Function::IDENTITY)
    else {
        return Err("it picks from values within the network".into());
    };
    if inner.tail != [bias.len()] || places.iter().any(|&place| place >= bias.len()) {
        return Err("it picks from values within the network that aren't there".into());
    }
    let op = Op::Linear {
        weights: weights.select(ndarray::Axis(1), places).into(),
        bias: places.iter().map(|&place| bias[place]).collect(),
    };
    Ok(Value::Inner(walk.chain.push(before, op, places.len())))
}
