//! CalibratedClassifierCV of scikit-learn: a logistic function of each score, written operation by operation; of several
//! classes each has its own, and they are divided by their sum, as in SGDClassifier; of several models their mean.

use std::rc::Rc;

use ndarray::Array2;

use super::{Walk, computed, is_last};
use crate::engine::{Activation, Output};
use crate::model::onnx::chain::Op;
use crate::model::onnx::elementwise::Piece;
use crate::model::onnx::proto::Node;
use crate::model::onnx::value::{Answer, Form, Inner, LinkId, Moment, Value};

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

/// The sum of a row within the network.
pub(super) fn row_sum(walk: &mut Walk<'_>, node: &Node, axes: Option<&[i64]>) -> Result<Vec<Value>, String> {
    let value = walk.input(node, 0)?.clone();
    let row = walk.chain.inner(&value)?;
    let is_row = match axes {
        Some([axis]) => row.tail.len() == 1 && is_last(*axis, &row.tail)? && node.int("keepdims", 1) != 0,
        _ => false,
    };
    if !is_row {
        return Err("it sums something else than the numbers of a row".into());
    }
    Ok(vec![Value::Moment { of: walk.chain.settle(&row)?, moment: Moment::Sum }])
}

/// Probabilities of each class for itself, divided by their sum.
pub(super) fn shares(walk: &Walk<'_>, of: LinkId) -> Result<Value, String> {
    let is_logistic = |of: LinkId| matches!(walk.chain.link(of).op, Op::Activation(Activation::Logistic));
    let are_probabilities = match &walk.chain.link(of).op {
        Op::Concat { parts } => parts.iter().all(|&part| is_logistic(part)),
        _ => is_logistic(of),
    };
    if !are_probabilities {
        return Err("it divides something else than logistic functions by their sum".into());
    }
    Ok(Value::Answer { answer: Answer { of, output: Output::Normalized }, form: Form::Probabilities })
}

/// The probabilities of several models for two classes, added up.
pub(super) fn mean(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let count = node.input.len();
    let mut models = Vec::with_capacity(count);
    for index in 0..count {
        let &Value::Answer { answer: Answer { of, output: Output::Logistic }, form: Form::Probabilities } =
            walk.input(node, index)?
        else {
            return Err(format!(
                "CalibratedClassifierCV of scikit-learn takes the mean of {count} models, which weir has for two classes: \
                 calibrate with ensemble=False"
            ));
        };
        // A logistic function for each class: what is left of 1 would lose its digits.
        let twice = walk.chain.push(of, Op::Pick { places: vec![0, 0] }, 2);
        let both = walk.chain.push(twice.of, Op::Scale { factor: vec![-1.0, 1.0], shift: vec![0.0; 2] }, 2);
        models.push(Inner { function: both.function.activated(Activation::Logistic), ..both });
    }
    let models = walk.chain.concat(&models)?;
    let share = |(row, class): (usize, usize)| if row % 2 == class { 1.0 / count as f64 } else { 0.0 };
    let weights = Rc::new(Array2::from_shape_fn((2 * count, 2), share));
    let mean = walk.chain.push(models.of, Op::Linear { weights, bias: vec![0.0; 2] }, 2);
    let answer = Answer { of: mean.of, output: Output::Normalized };
    Ok(vec![Value::Answer { answer, form: Form::Times(count) }])
}
