//! CalibratedClassifierCV of scikit-learn with one model: a logistic function of its score, written operation by
//! operation.

use super::{Walk, computed};
use crate::model::onnx::chain::Op;
use crate::model::onnx::elementwise::Piece;
use crate::model::onnx::proto::Node;
use crate::model::onnx::value::{Inner, Value};

/// `Exp`: of `t` it is a part of `1 / (1 + exp(t))`, which is the logistic function of `-t`.
pub(super) fn exp(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let input = walk.input(node, 0)?.clone();
    if let Value::Columns(columns) = &input {
        return Ok(vec![Value::Columns(computed::function("Exp", columns)?)]);
    }
    let x = walk.chain.inner(&input)?;
    let (factor, shift) = match x.function.pieces().as_deref() {
        Some([Piece::Affine { factor, shift }]) if [*factor, *shift] != [-1.0, 0.0] => (*factor, *shift),
        _ => return Ok(vec![Value::Inner(Inner { function: x.function.then(f64::exp), ..x })]),
    };
    let width = walk.chain.link(x.of).width;
    let negated = walk.chain.push(x.of, Op::Scale { factor: vec![-factor; width], shift: vec![-shift; width] }, width);
    let function = negated.function.then(|x| (-x).exp());
    Ok(vec![Value::Inner(Inner { function, of: negated.of, tail: x.tail })])
}
