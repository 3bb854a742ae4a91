//! The network: linear layers, norms, and what turns the last values into classes.

use std::rc::Rc;

use ndarray::{Array2, s};

use super::{Walk, axis, combined, is_last, kind};
use crate::engine::Output;
use crate::model::onnx::chain::Op;
use crate::model::onnx::proto::Node;
use crate::model::onnx::tensor::{Array, Element};
use crate::model::onnx::value::{Answer, Columns, Form, Inner, Moment, Value};
use crate::model::preprocess::Step;

/// Weights that all layers may have together: 1 GB in f32. A small file may use its largest matrix any number of times.
const MOST_WEIGHTS: usize = 1 << 28;

pub(super) fn matmul(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let weights = matrix(&*walk.constant(node, 1)?)?;
    let bias = vec![0.0; weights.ncols()];
    linear(walk, node, weights, bias)
}

pub(super) fn gemm(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    if node.int("transA", 0) != 0 {
        return Err("it transposes the rows".into());
    }
    let mut weights = matrix(&*walk.constant(node, 1)?)?;
    if node.int("transB", 0) != 0 {
        weights = weights.reversed_axes();
    }
    weights *= node.float("alpha", 1.0);
    let outputs = weights.ncols();
    let beta = node.float("beta", 1.0);
    let bias = match walk.optional_constant(node, 2)? {
        None => vec![0.0; outputs],
        Some(array) => match array.numbers()? {
            values if values.len() == outputs => values.iter().map(|value| value * beta).collect(),
            values if values.len() == 1 => vec![values[0] * beta; outputs],
            values => return Err(format!("it has {} bias values for {outputs} outputs", values.len())),
        },
    };
    linear(walk, node, weights, bias)
}

fn linear(walk: &mut Walk<'_>, node: &Node, weights: Array2<f64>, bias: Vec<f64>) -> Result<Vec<Value>, String> {
    let input = walk.input(node, 0)?.clone();
    let x = walk.chain.inner(&input)?;
    let (inputs, outputs) = weights.dim();
    if x.tail.len() != 1 || x.tail[0] != inputs {
        let shapes = format!("it multiplies rows of shape {:?} by {inputs} rows of weights", x.tail);
        let has_imputer = walk.graph.nodes.iter().any(|node| node.op_type == "Imputer");
        return Err(match *x.tail {
            // skl2onnx writes no column for what add_indicator adds.
            [width] if has_imputer && width < inputs => format!(
                "{shapes}: skl2onnx leaves out the columns of SimpleImputer(add_indicator=True): fit the pipeline \
                 without them, or train by `weir train --indicator`"
            ),
            _ => shapes,
        });
    }
    if outputs == 0 || inputs == 0 {
        return Err("it has no weights".into());
    }
    walk.weights = walk.weights.saturating_add(weights.len());
    if walk.weights > MOST_WEIGHTS {
        return Err(format!("with it the layers have {} weights, {MOST_WEIGHTS} are the limit", walk.weights));
    }
    let settled = walk.chain.settle(&x)?;
    let op = Op::Linear { weights: Rc::new(weights), bias };
    Ok(vec![Value::Inner(walk.chain.push(settled, op, outputs))])
}

fn matrix(array: &Array) -> Result<Array2<f64>, String> {
    let [rows, columns] = *array.shape else {
        return Err(format!("its weights are of shape {:?}, not a matrix", array.shape));
    };
    Array2::from_shape_vec((rows, columns), array.numbers()?).map_err(|error| format!("its weights: {error}"))
}

pub(super) fn batch_norm(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    // Before opset 14 the statistics of the batch are outputs.
    let gives_statistics = walk.graph.opset < 14 && node.output.iter().skip(1).any(|name| !name.is_empty());
    if node.int("training_mode", 0) != 0 || gives_statistics {
        return Err("it was exported for training: call .eval() on the module before the export".into());
    }
    let input = walk.input(node, 0)?.clone();
    let mut parameters = Vec::with_capacity(4);
    for index in 1..=4 {
        parameters.push(walk.constant(node, index)?.numbers()?);
    }
    let [scale, bias, mean, variance] = &*parameters else { return Err("it has no parameters".into()) };
    let epsilon = node.float("epsilon", 1e-5);
    let tail = match &input {
        Value::Columns(columns) => columns.tail.clone(),
        Value::Inner(inner) => inner.tail.clone(),
        other => return Err(format!("it normalises {}", kind(other))),
    };
    let &[width] = &*tail else { return Err(format!("it normalises rows of shape {tail:?}, not single numbers")) };
    if parameters.iter().any(|values| values.len() != width) {
        return Err(format!("it has no parameters for {width} columns"));
    }
    let value = match input {
        // As onnxruntime does it, in f32.
        Value::Columns(columns) => Value::Columns(columns_norm(columns, scale, bias, mean, variance, epsilon)?),
        other => {
            let x = walk.chain.inner(&other)?;
            let factor: Vec<f64> =
                scale.iter().zip(variance).map(|(scale, variance)| scale / (variance + epsilon).sqrt()).collect();
            let shift = bias.iter().zip(mean).zip(&factor).map(|((bias, mean), factor)| bias - mean * factor).collect();
            let settled = walk.chain.settle(&x)?;
            Value::Inner(walk.chain.push(settled, Op::Scale { factor, shift }, width))
        }
    };
    Ok(vec![value])
}

/// `x · factor + shift`, each rounded to f32 unless the columns are double.
fn columns_norm(
    mut columns: Columns,
    scale: &[f64],
    bias: &[f64],
    mean: &[f64],
    variance: &[f64],
    epsilon: f64,
) -> Result<Columns, String> {
    let double = columns.element == Element::Double;
    let round = |value: f64| if double { value } else { f64::from(value as f32) };
    for (place, cell) in columns.cells.iter_mut().enumerate() {
        let inverse = round(1.0 / round(round(variance[place] + epsilon).sqrt()));
        let factor = round(scale[place] * inverse);
        let shift = round(bias[place] - round(mean[place] * factor));
        for step in [Step::Multiply { value: factor }, Step::Add { value: shift }] {
            super::arithmetic::apply(cell, step)?;
            if !double {
                super::arithmetic::apply(cell, Step::Round)?;
            }
        }
    }
    Ok(columns)
}

pub(super) fn layer_norm(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let input = walk.input(node, 0)?.clone();
    let x = walk.chain.inner(&input)?;
    let width = single_axis(&x)?;
    if !is_last(node.int("axis", -1), &x.tail)? {
        return Err("it normalises over other axes than the last".into());
    }
    let parameter = |array: Option<Rc<Array>>, default: f64| -> Result<Vec<f64>, String> {
        match array.map(|array| array.numbers()).transpose()? {
            None => Ok(vec![default; width]),
            Some(values) if values.len() == width => Ok(values),
            Some(values) => Err(format!("it has {} parameters for {width} columns", values.len())),
        }
    };
    let factor = parameter(walk.optional_constant(node, 1)?, 1.0)?;
    let shift = parameter(walk.optional_constant(node, 2)?, 0.0)?;
    let settled = walk.chain.settle(&x)?;
    let norm = walk.chain.push(settled, Op::Norm { epsilon: node.float("epsilon", 1e-5) }, width);
    Ok(vec![Value::Inner(walk.chain.push(norm.of, Op::Scale { factor, shift }, width))])
}

pub(super) fn reduce_mean(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let axes = walk.integers(node, 1, "axes")?;
    let [axis] = axes.as_deref().unwrap_or(&[]) else {
        return Err("it takes the mean over more than a row, which no layer normalisation does".into());
    };
    if node.int("keepdims", 1) == 0 {
        return Err("it takes a mean that no layer normalisation has".into());
    }
    let value = match walk.input(node, 0)?.clone() {
        Value::Moment { of, moment: Moment::Squared } => {
            Value::Moment { of, moment: Moment::Variance { epsilon: 0.0 } }
        }
        other => {
            let x = walk.chain.inner(&other)?;
            single_axis(&x)?;
            if !is_last(*axis, &x.tail)? {
                return Err("it takes the mean over the batch: rows must not depend on each other".into());
            }
            Value::Moment { of: walk.chain.settle(&x)?, moment: Moment::Mean }
        }
    };
    Ok(vec![value])
}

fn single_axis(x: &Inner) -> Result<usize, String> {
    match *x.tail {
        [width] => Ok(width),
        _ => Err(format!("it takes rows of shape {:?}, not lists of numbers", x.tail)),
    }
}

pub(super) fn softmax(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let input = walk.input(node, 0)?.clone();
    let x = walk.chain.inner(&input)?;
    single_axis(&x)?;
    // Of a matrix both defaults are the last axis.
    let default = if walk.graph.opset < 13 { 1 } else { -1 };
    if !is_last(node.int("axis", default), &x.tail)? {
        return Err("it normalises over the batch: rows must not depend on each other".into());
    }
    let answer = Answer { of: walk.chain.settle(&x)?, output: Output::Softmax };
    Ok(vec![Value::Answer { answer, form: Form::Probabilities }])
}

/// The class, of probabilities or of logits.
pub(super) fn arg_max(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    match walk.input(node, 0)?.clone() {
        Value::Inner(x) if x.tail.len() == 1 && axis(node.int("axis", 0), 2)? == 1 => {
            let answer = Answer { of: walk.chain.settle(&x)?, output: Output::Softmax };
            Ok(vec![Value::Answer { answer, form: Form::Index }])
        }
        Value::Answer { answer, form: Form::Probabilities } if axis(node.int("axis", 0), 2)? == 1 => {
            Ok(vec![Value::Answer { answer, form: Form::Index }])
        }
        other => Err(format!("it looks for the largest of {}, not of a row's probabilities or logits", kind(&other))),
    }
}

/// scikit-learn's linear regressions are networks of one layer.
pub(super) fn linear_regressor(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    if !matches!(node.string("post_transform")?.as_deref(), None | Some("NONE")) {
        return Err("it transforms its numbers, which no regression of scikit-learn does".into());
    }
    let targets = usize::try_from(node.int("targets", 1)).map_err(|_| "it has no targets")?;
    let (weights, bias) = linear_model(node, targets)?;
    linear(walk, node, weights, bias)
}

/// The label and the scores: of one logit for two classes, else of a logit for each.
pub(super) fn linear_classifier(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let names = match node.strings("classlabels_strings")? {
        texts if texts.is_empty() => node.ints("classlabels_ints").iter().map(i64::to_string).collect(),
        texts => texts,
    };
    let (weights, bias) = linear_model(node, names.len())?;
    let transform = node.string("post_transform")?;
    let are_opposite = names.len() == 2
        && bias[0] == -bias[1]
        && weights.column(0).iter().zip(weights.column(1)).all(|(first, second)| *first == -second);
    let (weights, bias, output) = match transform.as_deref() {
        Some("SOFTMAX") if names.len() > 1 => (weights, bias, Output::Softmax),
        Some("LOGISTIC") if are_opposite => (weights.slice_move(s![.., 1..]), vec![bias[1]], Output::Logistic),
        Some("LOGISTIC") => {
            return Err(
                "it has a logistic function for each class, as LogisticRegression in a OneVsRestClassifier: fit \
                        LogisticRegression for all classes at once"
                    .into(),
            );
        }
        // Scores that something else is made of, and no label.
        None | Some("NONE") if !is_used(walk, node.output.first()) => {
            let scores = linear(walk, node, weights, bias)?;
            return Ok([vec![Value::Sizes(Vec::new())], scores].concat());
        }
        other => {
            let other = other.unwrap_or("NONE");
            return Err(format!(
                "its scores aren't probabilities (post_transform {other}), as of RidgeClassifier or LinearSVC: fit \
                 LogisticRegression"
            ));
        }
    };
    let Some(Value::Inner(inner)) = linear(walk, node, weights, bias)?.pop() else {
        return Err("it has no scores".into());
    };
    let answer = Answer { of: inner.of, output };
    Ok(vec![
        Value::Answer { answer, form: Form::Named(Rc::new(names)) },
        Value::Answer { answer, form: Form::Probabilities },
    ])
}

/// Whether a node takes this value, or the graph gives it.
fn is_used(walk: &Walk<'_>, name: Option<&String>) -> bool {
    let taken = walk.graph.nodes.iter().flat_map(|node| &node.input).chain(&walk.graph.outputs);
    name.is_some_and(|name| taken.into_iter().any(|other| other == name))
}

/// Coefficients and intercepts of so many outputs.
fn linear_model(node: &Node, outputs: usize) -> Result<(Array2<f64>, Vec<f64>), String> {
    let numbers = |name: &str| node.floats(name).iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
    let (coefficients, mut bias) = (numbers("coefficients"), numbers("intercepts"));
    if bias.is_empty() {
        bias = vec![0.0; outputs];
    }
    if bias.len() != outputs {
        return Err(format!("it has {} intercepts for {outputs} outputs", bias.len()));
    }
    let inputs = coefficients.len() / outputs.max(1);
    let weights = Array2::from_shape_vec((outputs, inputs), coefficients);
    let weights = weights.map_err(|_| format!("its coefficients aren't those of {outputs} outputs"))?;
    Ok((weights.reversed_axes(), bias))
}

/// Probabilities are divided by their sum, which is 1.
pub(super) fn normalizer(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    match (walk.input(node, 0)?, node.string("norm")?.as_deref()) {
        (answer @ Value::Answer { form: Form::Probabilities, .. }, Some("L1")) => Ok(vec![answer.clone()]),
        (Value::Columns(columns), norm) => Ok(vec![Value::Columns(combined::normalized(columns, norm)?)]),
        (other, _) => Err(format!("it divides {} by their length", kind(other))),
    }
}

pub(super) fn zip_map(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let &Value::Answer { answer, form: Form::Probabilities } = walk.input(node, 0)? else {
        return Err("it names something else than probabilities".into());
    };
    let names = match node.strings("classlabels_strings")? {
        texts if texts.is_empty() => node.ints("classlabels_int64s").iter().map(i64::to_string).collect(),
        texts => texts,
    };
    Ok(vec![Value::Answer { answer, form: Form::Named(Rc::new(names)) }])
}
