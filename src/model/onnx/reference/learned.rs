//! Operators of `ai.onnx.ml`, which scikit-learn's transformers become.

use super::array::{TypedArray, UNIT, axis, count};
use super::sums::{largest_of, softmax_along};
use super::{Operands, RunValue, one};
use crate::model::onnx::proto::{DataType, Node};
use crate::model::onnx::tensor::Data;

/// `(x - offset) · scale`, in the type of the input; the result is always float.
pub(super) fn scaler(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let width = x.shape.last().copied().unwrap_or(1).max(1);
    let parameter = |name: &str, default: f64, column: usize| match node.floats(name) {
        [] => Ok(default),
        [only] => Ok(f64::from(*only)),
        values if values.len() == width => Ok(f64::from(values[column])),
        values => Err(format!("it has {} values of {name} for {width} columns", values.len())),
    };
    let is_double = x.data_type == DataType::Double;
    let round = |value: f64| if is_double { value } else { f64::from(value as f32) };
    let (mut values, mut errors) = (Vec::with_capacity(x.len()), Vec::new());
    for (place, number) in x.numbers()?.iter().enumerate() {
        let (offset, scale) = (parameter("offset", 0.0, place % width)?, parameter("scale", 1.0, place % width)?);
        values.push(round(round(round(*number) - offset) * scale));
        if !x.errors.is_empty() {
            errors.push(x.error(place) * scale.abs() + UNIT * ((number * scale).abs() + (offset * scale).abs()));
        }
    }
    one(TypedArray::floats(x.shape.clone(), DataType::Float, values, errors))
}

pub(super) fn imputer(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let width = x.shape.last().copied().unwrap_or(1).max(1);
    let fill = |values: usize, place: usize| match values {
        1 => Ok(0),
        count if count == width => Ok(place % width),
        count => Err(format!("it has {count} values for {width} columns")),
    };
    match &x.data {
        Data::Numbers(numbers) => {
            let (fills, replaced) = (node.floats("imputed_value_floats"), node.float("replaced_value_float", 0.0));
            let (mut values, mut errors) = (numbers.clone(), x.errors.clone());
            for (place, value) in values.iter_mut().enumerate() {
                if *value == replaced || (value.is_nan() && replaced.is_nan()) {
                    *value = f64::from(fills[fill(fills.len(), place)?]);
                    // Where it certainly was that number, the other one is exact.
                    if let Some(error) = errors.get_mut(place).filter(|error| error.is_finite()) {
                        *error = 0.0;
                    }
                }
            }
            one(TypedArray::floats(x.shape.clone(), x.data_type, values, errors))
        }
        Data::Integers(numbers) => {
            let (fills, replaced) = (node.ints("imputed_value_int64s"), node.int("replaced_value_int64", 0));
            let mut values = numbers.clone();
            for (place, value) in values.iter_mut().enumerate() {
                if *value == replaced {
                    *value = fills[fill(fills.len(), place)?];
                }
            }
            one(TypedArray::integers(x.shape.clone(), x.data_type, values, x.errors.clone()))
        }
        Data::Texts(_) => Err("it imputes texts".into()),
    }
}

/// A column per category in a dimension more. Numbers are cut to integers.
pub(super) fn one_hot(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let names = node.strings("cats_strings")?;
    let numbers = node.ints("cats_int64s");
    let width = names.len().max(numbers.len());
    let refuses = node.int("zeros", 1) == 0;
    let shape = [&*x.shape, &[width]].concat();
    let mut values = vec![0.0; count(&shape)?];
    // Which category it is that ONNX leaves open, as for a gap that was cast to an integer, is open as well.
    let of_place = |place: usize| if x.error(place).is_finite() { 0.0 } else { f64::INFINITY };
    let mut errors: Vec<f64> = (0..values.len()).map(|value| of_place(value / width.max(1))).collect();
    if errors.iter().all(|&error| error == 0.0) {
        errors.clear();
    }
    for place in 0..x.len() {
        let at = match &x.data {
            Data::Texts(texts) => names.iter().position(|name| *name == texts[place]),
            Data::Integers(values) => numbers.iter().position(|number| *number == values[place]),
            Data::Numbers(values) => {
                // NaN is no category, whatever a library casts it to.
                let cut = values[place].trunc();
                numbers.iter().position(|number| *number as f64 == cut)
            }
        };
        match at {
            Some(at) => values[place * width + at] = 1.0,
            None if refuses => return Err("it has no column for a category".into()),
            None => {}
        }
    }
    one(TypedArray::floats(shape, DataType::Float, values, errors))
}

/// From keys to values; keys and values are of any of three types.
pub(super) fn label_encoder(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let old = node.strings("classes_strings")?;
    if !old.is_empty() {
        return old_label_encoder(node, x, &old);
    }
    let keys = node.strings("keys_strings")?;
    let place_of = |place: usize| match &x.data {
        Data::Texts(texts) => keys.iter().position(|key| *key == texts[place]),
        Data::Integers(values) => node.ints("keys_int64s").iter().position(|key| *key == values[place]),
        Data::Numbers(values) => {
            let is_key = |&key: &f32| f64::from(key) == values[place] || (key.is_nan() && values[place].is_nan());
            node.floats("keys_floats").iter().position(is_key)
        }
    };
    let places: Vec<Option<usize>> = (0..x.len()).map(place_of).collect();
    let names = node.strings("values_strings")?;
    if !names.is_empty() {
        let default = node.string("default_string")?.unwrap_or_else(|| "_Unused".into());
        let name = |place: &Option<usize>| place.and_then(|at| names.get(at)).unwrap_or(&default).clone();
        return one(TypedArray::texts(x.shape.clone(), places.iter().map(name).collect(), x.errors.clone()));
    }
    let integers = node.ints("values_int64s");
    if !integers.is_empty() {
        let default = node.int("default_int64", -1);
        let number = |place: &Option<usize>| place.and_then(|at| integers.get(at)).copied().unwrap_or(default);
        let values = places.iter().map(number).collect();
        return one(TypedArray::integers(x.shape.clone(), DataType::Int64, values, x.errors.clone()));
    }
    let (floats, default) = (node.floats("values_floats"), node.float("default_float", -0.0));
    if floats.is_empty() {
        return Err("it has no values".into());
    }
    let number = |place: &Option<usize>| place.and_then(|at| floats.get(at)).map_or(default, |&value| f64::from(value));
    one(TypedArray::floats(x.shape.clone(), DataType::Float, places.iter().map(number).collect(), x.errors.clone()))
}

/// `ai.onnx.ml` 1: from texts to their places in a list, or back.
fn old_label_encoder(node: &Node, x: &TypedArray, classes: &[String]) -> Result<Vec<RunValue>, String> {
    match &x.data {
        Data::Texts(texts) => {
            let default = node.int("default_int64", -1);
            let place = |text: &String| classes.iter().position(|class| class == text).map_or(default, |at| at as i64);
            let values = texts.iter().map(place).collect();
            one(TypedArray::integers(x.shape.clone(), DataType::Int64, values, x.errors.clone()))
        }
        Data::Integers(values) => {
            let default = node.string("default_string")?.unwrap_or_else(|| "_Unused".into());
            let name = |&at: &i64| usize::try_from(at).ok().and_then(|at| classes.get(at)).unwrap_or(&default).clone();
            one(TypedArray::texts(x.shape.clone(), values.iter().map(name).collect(), x.errors.clone()))
        }
        Data::Numbers(_) => Err("it encodes numbers with a fraction".into()),
    }
}

/// Picks along the last axis.
pub(super) fn extract(_: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let (x, indices) = (operands.array(0)?, operands.array(1)?);
    let width = x.shape.last().copied().unwrap_or(1);
    let picked: Vec<usize> = indices.indices()?.iter().map(|&index| axis(index, width)).collect::<Result<_, _>>()?;
    let rows = x.len() / width.max(1);
    let places: Vec<usize> = (0..rows).flat_map(|row| picked.iter().map(move |at| row * width + at)).collect();
    let mut shape = x.shape.clone();
    match shape.last_mut() {
        Some(last) if x.shape.len() > 1 => *last = picked.len(),
        _ => shape = vec![1, picked.len()],
    }
    let mut extracted = x.at(&places, shape);
    if (0..indices.len()).any(|which| indices.error(which) > 0.0) {
        let error = |place: usize| {
            extracted.error(place) + if indices.error(place % picked.len()) > 0.0 { f64::INFINITY } else { 0.0 }
        };
        extracted.errors = (0..extracted.len()).map(error).collect();
    }
    one(extracted)
}

pub(super) fn zip_map(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let names = names(node, "classlabels_strings", "classlabels_int64s")?;
    if x.shape.last() != Some(&names.len()) {
        return Err(format!("it has {} names for the shape {:?}", names.len(), x.shape));
    }
    Ok(vec![RunValue::Maps { names, values: x.clone() }])
}

fn names(node: &Node, texts: &str, integers: &str) -> Result<Vec<String>, String> {
    Ok(match node.strings(texts)? {
        names if names.is_empty() => node.ints(integers).iter().map(i64::to_string).collect(),
        names => names,
    })
}

pub(super) fn normalizer(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let width = x.shape.last().copied().unwrap_or(1).max(1);
    let norm = node.string("norm")?.unwrap_or_else(|| "MAX".into());
    let numbers = x.numbers()?;
    let (mut values, mut errors) = (Vec::with_capacity(x.len()), Vec::with_capacity(x.len()));
    for (row, numbers) in numbers.chunks(width).enumerate() {
        let length = match &*norm {
            "MAX" => numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            "L1" => numbers.iter().map(|x| x.abs()).sum(),
            "L2" => numbers.iter().map(|x| x * x).sum::<f64>().sqrt(),
            other => return Err(format!("there is no norm {other:?}")),
        };
        let length = if length == 0.0 { 1.0 } else { length };
        let moved: f64 = (0..width).map(|at| x.error(row * width + at)).sum();
        for (at, number) in numbers.iter().enumerate() {
            let value = number / length;
            values.push(value);
            let error = x.error(row * width + at) + value.abs() * moved;
            errors.push(error / length.abs() + 8.0 * UNIT * value.abs());
        }
    }
    one(TypedArray::floats(x.shape.clone(), DataType::Float, values, errors))
}

pub(super) fn binarizer(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let threshold = node.float("threshold", 0.0);
    let numbers = x.numbers()?;
    let values = numbers.iter().map(|&x| f64::from(u8::from(x > threshold))).collect();
    let is_open = |(place, x_here): (usize, &f64)| f64::from(u8::from((x_here - threshold).abs() < x.error(place)));
    let errors = if x.errors.is_empty() { Vec::new() } else { numbers.iter().enumerate().map(is_open).collect() };
    one(TypedArray::floats(x.shape.clone(), x.data_type, values, errors))
}

/// Scores of a linear model: rows × `targets`.
fn linear(node: &Node, x: &TypedArray, targets: usize) -> Result<TypedArray, String> {
    let width = x.shape.last().copied().unwrap_or(1).max(1);
    let (weights, bias) = (node.floats("coefficients"), node.floats("intercepts"));
    if weights.len() != targets * width || !(bias.is_empty() || bias.len() == targets) {
        return Err(format!("it has {} coefficients for {targets} × {width}", weights.len()));
    }
    let numbers = x.numbers()?;
    let rows = numbers.len() / width;
    let shape = vec![rows, targets];
    let total = count(&shape)?;
    let rounding = UNIT * (4.0 + (width as f64).sqrt());
    let (mut values, mut errors) = (Vec::with_capacity(total), Vec::with_capacity(total));
    for row in 0..rows {
        for target in 0..targets {
            let bias = bias.get(target).map_or(0.0, |&bias| f64::from(bias));
            let (mut value, mut error) = (bias, rounding * bias.abs());
            for column in 0..width {
                let (weight, place) = (f64::from(weights[target * width + column]), row * width + column);
                value += weight * numbers[place];
                error += weight.abs() * (x.error(place) + rounding * numbers[place].abs());
            }
            values.push(value);
            errors.push(error);
        }
    }
    Ok(TypedArray::floats(shape, DataType::Float, values, errors))
}

fn transformed(node: &Node, scores: TypedArray) -> Result<TypedArray, String> {
    let width = scores.shape.last().copied().unwrap_or(1);
    Ok(match node.string("post_transform")?.as_deref() {
        None | Some("NONE") => scores,
        Some("SOFTMAX") => softmax_along(&scores, width, 1, false),
        Some("LOGISTIC") => super::elementwise::logistic_of(&scores)?,
        Some(other) => return Err(format!("the reference has no transform {other:?}")),
    })
}

pub(super) fn linear_regressor(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let targets = usize::try_from(node.int("targets", 1)).map_err(|_| "it has no targets")?;
    one(transformed(node, linear(node, operands.array(0)?, targets)?)?)
}

/// The label of the largest score, and the scores.
pub(super) fn linear_classifier(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let names = names(node, "classlabels_strings", "classlabels_ints")?;
    let width = x.shape.last().copied().unwrap_or(1).max(1);
    let targets = node.floats("coefficients").len() / width;
    if targets != names.len() {
        return Err(format!("it has scores for {targets} of {} classes", names.len()));
    }
    let scores = linear(node, x, targets)?;
    let numbers = scores.numbers()?;
    let (mut labels, mut errors) = (Vec::new(), Vec::new());
    for row in 0..numbers.len() / targets.max(1) {
        let of_row = (0..targets).map(|at| (numbers[row * targets + at], scores.error(row * targets + at)));
        let (best, is_open) = largest_of(of_row, false);
        labels.push(best);
        errors.push(f64::from(u8::from(is_open)));
    }
    let rows = labels.len();
    let label = if node.strings("classlabels_strings")?.is_empty() {
        let numbers = labels.iter().map(|&at| node.ints("classlabels_ints")[at]).collect();
        TypedArray::integers(vec![rows], DataType::Int64, numbers, errors)
    } else {
        TypedArray::texts(vec![rows], labels.iter().map(|&at| names[at].clone()).collect(), errors)
    };
    Ok(vec![label.into(), transformed(node, scores)?.into()])
}
