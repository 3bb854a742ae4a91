//! Operators that sum: products of matrices, normalisations, reductions, softmax.

use std::borrow::Cow;

use ndarray::{Array2, ArrayView2, CowArray, Ix2};

use super::array::{TypedArray, UNIT, axis, broadcast, count, sources, strides, walk};
use super::{Operands, RunValue, one};
use crate::model::onnx::proto::{DataType, Node};

pub(super) fn matmul(_: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let (a, b) = (operands.array(0)?, operands.array(1)?);
    let (left, right) = (as_matrices(a, true), as_matrices(b, false));
    let ([.., rows, inner], [.., same, columns]) = (&*left, &*right) else { return Err("it has no matrices".into()) };
    if inner != same {
        return Err(format!("it multiplies shapes {:?} and {:?}", a.shape, b.shape));
    }
    let batch = broadcast(&left[..left.len() - 2], &right[..right.len() - 2])?;
    let mut shape = batch.clone();
    shape.extend([*rows, *columns]);
    count(&shape)?;
    let (from_a, from_b) = (sources(&left[..left.len() - 2], &batch), sources(&right[..right.len() - 2], &batch));
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for (&at_a, &at_b) in from_a.iter().zip(&from_b) {
        let (x, w) = (Matrix::of(a, at_a, *rows, *inner)?, Matrix::of(b, at_b, *inner, *columns)?);
        let (product, error) = x.dot(&w);
        values.extend(product);
        errors.extend(error);
    }
    // A vector has no rows, or no columns.
    if a.shape.len() == 1 {
        shape.remove(shape.len() - 2);
    }
    if b.shape.len() == 1 {
        shape.pop();
    }
    one(TypedArray::floats(shape, a.data_type, values, errors))
}

fn as_matrices(array: &TypedArray, left: bool) -> Vec<usize> {
    match *array.shape {
        [size] if left => vec![1, size],
        [size] => vec![size, 1],
        _ => array.shape.clone(),
    }
}

/// A matrix with the errors of its elements; weights aren't copied.
struct Matrix<'a> {
    values: CowArray<'a, f64, Ix2>,
    errors: Option<ArrayView2<'a, f64>>,
}

impl<'a> Matrix<'a> {
    fn of(array: &'a TypedArray, place: usize, rows: usize, columns: usize) -> Result<Matrix<'a>, String> {
        let places = place * rows * columns..(place + 1) * rows * columns;
        let misfit = || format!("an array of shape {:?} has no matrix {place} of {rows} x {columns}", array.shape);
        let view = |numbers: &'a [f64]| {
            let part = numbers.get(places.clone()).ok_or_else(misfit)?;
            ArrayView2::from_shape((rows, columns), part).map_err(|_| misfit())
        };
        let values = match array.numbers()? {
            Cow::Borrowed(numbers) => view(numbers)?.into(),
            Cow::Owned(numbers) => {
                let part = numbers.get(places.clone()).ok_or_else(misfit)?.to_vec();
                Array2::from_shape_vec((rows, columns), part).map_err(|_| misfit())?.into()
            }
        };
        let errors = if array.errors.is_empty() { None } else { Some(view(&array.errors)?) };
        Ok(Matrix { values, errors })
    }

    fn transposed(self) -> Matrix<'a> {
        Matrix { values: self.values.reversed_axes(), errors: self.errors.map(ArrayView2::reversed_axes) }
    }

    /// The product and its errors. Roundings of a sum of n products add up to about √n of them (Higham and Mary, "A new
    /// approach to probabilistic rounding error analysis", 2019).
    fn dot(&self, other: &Matrix<'_>) -> (Vec<f64>, Vec<f64>) {
        let product = self.values.dot(&other.values);
        let roundings = (4.0 + (self.values.ncols() as f64).sqrt()) * UNIT;
        let left = self.values.mapv(f64::abs);
        // What each |weight| is multiplied by: an error of the left side, or a rounding.
        let mut per_weight = &left * roundings;
        if let Some(own) = &self.errors {
            per_weight += own;
        }
        let mut errors = per_weight.dot(&other.values.mapv(f64::abs));
        if let Some(of_weights) = &other.errors {
            let largest = self.errors.as_ref().map_or_else(|| left.clone(), |own| &left + own);
            errors += &largest.dot(of_weights);
        }
        (product.into_iter().collect(), errors.into_iter().collect())
    }
}

pub(super) fn gemm(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let (a, b) = (operands.array(0)?, operands.array(1)?);
    let (&[a_rows, a_columns], &[b_rows, b_columns]) = (&*a.shape, &*b.shape) else {
        return Err(format!("it multiplies shapes {:?} and {:?}", a.shape, b.shape));
    };
    let mut x = Matrix::of(a, 0, a_rows, a_columns)?;
    let mut w = Matrix::of(b, 0, b_rows, b_columns)?;
    if node.int("transA", 0) != 0 {
        x = x.transposed();
    }
    if node.int("transB", 0) != 0 {
        w = w.transposed();
    }
    if x.values.ncols() != w.values.nrows() {
        return Err(format!("it multiplies {} columns by {} rows", x.values.ncols(), w.values.nrows()));
    }
    let (alpha, beta) = (node.float("alpha", 1.0), node.float("beta", 1.0));
    let shape = vec![x.values.nrows(), w.values.ncols()];
    count(&shape)?;
    let (mut values, mut errors) = x.dot(&w);
    let bias = operands.optional(2)?;
    let added = match bias {
        Some(bias) if broadcast(&bias.shape, &shape)? == shape => Some((bias.numbers()?, sources(&bias.shape, &shape))),
        Some(bias) => return Err(format!("it adds a bias of shape {:?} to {shape:?}", bias.shape)),
        None => None,
    };
    for (place, (value, error)) in values.iter_mut().zip(&mut errors).enumerate() {
        *value *= alpha;
        *error *= alpha.abs();
        if let (Some((numbers, from)), Some(bias)) = (&added, bias) {
            let term = beta * numbers[from[place]];
            *error += beta.abs() * bias.error(from[place]) + UNIT * (2.0 * term.abs() + value.abs());
            *value += term;
        }
    }
    one(TypedArray::floats(shape, a.data_type, values, errors))
}

/// With the statistics of the file, or with those of the batch where the graph was exported for training.
pub(super) fn batch_norm(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let trains = match operands.opset {
        ..14 => node.output.iter().filter(|name| !name.is_empty()).count() > 1,
        _ => node.int("training_mode", 0) != 0,
    };
    let &[rows, channels, ref tail @ ..] = &*x.shape else {
        return Err(format!("it normalises the shape {:?}", x.shape));
    };
    let parameters: Vec<Cow<'_, [f64]>> =
        (1..5).map(|index| operands.array(index)?.numbers()).collect::<Result<_, String>>()?;
    if parameters.iter().any(|values| values.len() != channels) {
        return Err(format!("it has no parameters for {channels} channels"));
    }
    let (inner, numbers) = (count(tail)?, x.numbers()?);
    let epsilon = node.float("epsilon", 1e-5);
    let (mut values, mut errors) = (vec![0.0; numbers.len()], vec![0.0; numbers.len()]);
    let of_channel = |channel: usize| [0, 1, 2, 3].map(|which| parameters[which][channel]);
    for channel in 0..channels {
        let places =
            || (0..rows).flat_map(move |row| (0..inner).map(move |at| (row * channels + channel) * inner + at));
        let [scale, bias, mut mean, mut variance] = of_channel(channel);
        if trains {
            let size = (rows * inner) as f64;
            mean = places().map(|place| numbers[place]).sum::<f64>() / size;
            variance = places().map(|place| (numbers[place] - mean).powi(2)).sum::<f64>() / size;
        }
        let factor = scale / (variance + epsilon).sqrt();
        for place in places() {
            let x_here = numbers[place];
            values[place] = (x_here - mean) * factor + bias;
            let terms = (x_here * factor).abs() + (mean * factor).abs() + bias.abs();
            errors[place] = x.error(place) * factor.abs() + 4.0 * UNIT * terms;
        }
    }
    one(TypedArray::floats(x.shape.clone(), x.data_type, values, errors))
}

pub(super) fn layer_norm(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let from = axis(node.int("axis", -1), x.shape.len())?;
    let width = count(&x.shape[from..])?;
    let (numbers, epsilon) = (x.numbers()?, node.float("epsilon", 1e-5));
    let of_row = |index: usize| -> Result<Option<Vec<f64>>, String> {
        let Some(array) = operands.optional(index)? else { return Ok(None) };
        let tail = &x.shape[from..];
        if broadcast(&array.shape, tail)? != tail {
            return Err(format!("it has parameters of shape {:?} for {tail:?}", array.shape));
        }
        let values = array.numbers()?;
        Ok(Some(sources(&array.shape, tail).into_iter().map(|place| values[place]).collect()))
    };
    let (scale, shift) = (of_row(1)?, of_row(2)?);
    let (mut values, mut errors) = (Vec::with_capacity(numbers.len()), Vec::with_capacity(numbers.len()));
    for (row, numbers) in numbers.chunks(width.max(1)).enumerate() {
        let mean = numbers.iter().sum::<f64>() / width as f64;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        let deviation = (variance + epsilon).sqrt();
        let largest = (0..width).map(|at| x.error(row * width + at)).fold(0.0, f64::max);
        let magnitude = numbers.iter().map(|x| x.abs()).fold(0.0, f64::max);
        for (at, number) in numbers.iter().enumerate() {
            let scale = scale.as_ref().map_or(1.0, |scale| scale[at]);
            let shift = shift.as_ref().map_or(0.0, |shift| shift[at]);
            let normal = (number - mean) / deviation;
            values.push(normal * scale + shift);
            let moved = (2.0 * largest + 8.0 * UNIT * magnitude) / deviation * (1.0 + normal.abs());
            errors.push(scale.abs() * (moved + 8.0 * UNIT * normal.abs()) + UNIT * shift.abs());
        }
    }
    one(TypedArray::floats(x.shape.clone(), x.data_type, values, errors))
}

/// ReduceMean, ReduceSum and their like.
pub(super) fn reduce(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let rank = x.shape.len();
    let given: Option<Vec<i64>> = match operands.optional(1)? {
        Some(axes) => Some(axes.indices()?.to_vec()),
        None if node.has("axes") => Some(node.ints("axes").to_vec()),
        None => None,
    };
    let given = given.filter(|axes| !axes.is_empty());
    if given.is_none() && node.int("noop_with_empty_axes", 0) != 0 {
        return one(x.clone());
    }
    let axes: Vec<usize> = match given {
        Some(axes) => axes.iter().map(|&number| axis(number, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).collect(),
    };
    let keeps = node.int("keepdims", 1) != 0;
    let (mut shape, mut kept, mut kept_steps, mut gone, mut gone_steps) = (vec![], vec![], vec![], vec![], vec![]);
    for ((place, &size), step) in x.shape.iter().enumerate().zip(strides(&x.shape)) {
        if axes.contains(&place) {
            gone.push(size);
            gone_steps.push(step);
            shape.extend(keeps.then_some(1));
        } else {
            kept.push(size);
            kept_steps.push(step);
            shape.push(size);
        }
    }
    let (starts, offsets) = (walk(&kept, &kept_steps), walk(&gone, &gone_steps));
    let numbers = x.numbers()?;
    let size = offsets.len() as f64;
    let (mut values, mut errors) = (Vec::with_capacity(starts.len()), Vec::with_capacity(starts.len()));
    for start in starts {
        let part = || offsets.iter().map(|offset| numbers[start + offset]);
        let total_error: f64 = offsets.iter().map(|offset| x.error(start + offset)).sum();
        let largest_error = offsets.iter().map(|offset| x.error(start + offset)).fold(0.0, f64::max);
        let magnitudes: f64 = part().map(f64::abs).sum();
        let roundings = (4.0 + size.sqrt()) * UNIT;
        let (value, error) = match &*node.op_type {
            "ReduceMean" => (part().sum::<f64>() / size, (total_error + roundings * magnitudes) / size),
            "ReduceSum" => (part().sum(), total_error + roundings * magnitudes),
            "ReduceMax" => (part().fold(f64::NEG_INFINITY, f64::max), largest_error),
            "ReduceMin" => (part().fold(f64::INFINITY, f64::min), largest_error),
            "ReduceL1" => (magnitudes, total_error + roundings * magnitudes),
            "ReduceL2" => (part().map(|x| x * x).sum::<f64>().sqrt(), total_error + roundings * magnitudes),
            "ReduceSumSquare" => {
                let squares: f64 = part().map(|x| x * x).sum();
                (squares, 2.0 * magnitudes * largest_error + total_error * largest_error + roundings * squares)
            }
            "ReduceProd" => {
                let product: f64 = part().product();
                let relative: f64 =
                    offsets.iter().map(|offset| x.error(start + offset) / numbers[start + offset].abs()).sum();
                (product, product.abs() * (roundings + if relative.is_nan() { 0.0 } else { relative }))
            }
            other => return Err(format!("the reference has no reduction {other}")),
        };
        values.push(value);
        errors.push(error);
    }
    if !x.is_float() {
        let values = values.into_iter().map(|value| value as i64).collect();
        return one(TypedArray::integers(
            shape,
            x.data_type,
            values,
            if x.errors.is_empty() { Vec::new() } else { errors },
        ));
    }
    one(TypedArray::floats(shape, x.data_type, values, errors))
}

/// Before opset 13 over all axes from one on together, since then over one axis.
pub(super) fn softmax(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let is_old = operands.opset < 13;
    let at = axis(node.int("axis", if is_old { 1 } else { -1 }), x.shape.len())?;
    let (width, step) = match is_old {
        true => (count(&x.shape[at..])?, 1),
        false => (x.shape[at], count(&x.shape[at + 1..])?),
    };
    one(softmax_along(x, width, step, node.op_type == "LogSoftmax"))
}

/// Over groups of `width` elements that are `step` apart.
pub(super) fn softmax_along(x: &TypedArray, width: usize, step: usize, takes_log: bool) -> TypedArray {
    let numbers = x.numbers().unwrap_or_default();
    let (mut values, mut errors) = (vec![0.0; numbers.len()], vec![0.0; numbers.len()]);
    let groups = numbers.len() / width.max(1);
    for group in 0..groups {
        let start = group / step * step * width + group % step;
        let places = || (0..width).map(move |at| start + at * step);
        let largest = places().map(|place| numbers[place]).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = places().map(|place| (numbers[place] - largest).exp()).sum();
        let moved = places().map(|place| x.error(place)).fold(0.0, f64::max);
        for place in places() {
            let distance = numbers[place] - largest;
            // The exponential of a distance that is rounded is off by that rounding, relative.
            let relative = (2.0 * moved + 4.0 * UNIT * distance.abs()).exp_m1() + 16.0 * UNIT;
            if takes_log {
                values[place] = distance - sum.ln();
                errors[place] = 2.0 * moved + 8.0 * UNIT * (distance.abs() + sum.ln());
            } else {
                values[place] = distance.exp() / sum;
                errors[place] = (values[place] * relative).min(1.0);
            }
        }
    }
    TypedArray::floats(x.shape.clone(), x.data_type, values, errors)
}

/// The first, or the last, of the largest; or of the smallest.
pub(super) fn arg_max(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let at = axis(node.int("axis", 0), x.shape.len())?;
    let (width, step) = (x.shape[at], count(&x.shape[at + 1..])?);
    let sign = if node.op_type == "ArgMin" { -1.0 } else { 1.0 };
    let takes_last = node.int("select_last_index", 0) != 0;
    let numbers = x.numbers()?;
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for group in 0..numbers.len() / width.max(1) {
        let start = group / step * step * width + group % step;
        let (best, is_open) = largest_of(
            (0..width).map(|at| {
                let place = start + at * step;
                (sign * numbers[place], x.error(place))
            }),
            takes_last,
        );
        values.push(best as i64);
        errors.push(f64::from(u8::from(is_open)));
    }
    let mut shape = x.shape.clone();
    if node.int("keepdims", 1) != 0 {
        shape[at] = 1;
    } else {
        shape.remove(at);
    }
    one(TypedArray::integers(shape, DataType::Int64, values, errors))
}

/// Where the largest value is, and whether another one may be as large within the errors.
pub(super) fn largest_of(values: impl Iterator<Item = (f64, f64)>, takes_last: bool) -> (usize, bool) {
    let values: Vec<(f64, f64)> = values.collect();
    let mut best = 0;
    for (at, &(value, _)) in values.iter().enumerate() {
        if value > values[best].0 || (takes_last && value == values[best].0) {
            best = at;
        }
    }
    let Some(&(largest, error)) = values.get(best) else { return (0, true) };
    // Of equal numbers without errors one is certainly the first.
    let is_close = |(at, &(value, other)): (usize, &(f64, f64))| {
        at != best && error + other > 0.0 && largest - value <= 4.0 * (error + other)
    };
    let is_open = largest.is_nan() || values.iter().enumerate().any(is_close);
    (best, is_open)
}
