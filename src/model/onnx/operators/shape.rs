//! Shapes: constants and sizes are folded; columns are picked and given other shapes as long as each
//! row stays a row.

use std::rc::Rc;

use super::{Walk, axis, is_last, joins, kind};
use crate::model::onnx::chain::Op;
use crate::model::onnx::proto::Node;
use crate::model::onnx::tensor::{Array, Data, Element};
use crate::model::onnx::value::{Columns, Form, Inner, Size, Value};

pub(super) fn constant(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let array = if let Some(tensor) = node.tensor("value") {
        walk.graph.reader.read(tensor).map_err(|error| error.to_string())?
    } else if node.has("value_float") {
        let data = Data::Numbers(vec![node.float("value_float", 0.0)]);
        Array { shape: Vec::new(), data, element: Element::Float }
    } else if node.has("value_int") {
        Array { shape: Vec::new(), ..Array::integers(vec![node.int("value_int", 0)]) }
    } else if node.has("value_floats") {
        let values: Vec<f64> = node.floats("value_floats").iter().map(|&value| f64::from(value)).collect();
        Array { shape: vec![values.len()], data: Data::Numbers(values), element: Element::Float }
    } else if node.has("value_ints") {
        Array::integers(node.ints("value_ints").to_vec())
    } else if node.has("value_strings") {
        Array::texts(node.strings("value_strings")?)
    } else {
        return Err("its value is of a kind that weir doesn't compute with".into());
    };
    Ok(vec![Value::Constant(Rc::new(array))])
}

pub(super) fn identity(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let training = walk.optional_constant(node, 2)?;
    if training.is_some_and(|training| training.scalar() == Some(1.0)) {
        return Err("it was exported for training: call .eval() on the module before the export".into());
    }
    Ok(vec![walk.input(node, 0)?.clone()])
}

pub(super) fn shape(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let of_rows = |tail: &[usize]| [Size::Batch].into_iter().chain(tail.iter().map(|&dim| Size::Fixed(dim))).collect();
    let mut sizes: Vec<Size> = match walk.input(node, 0)? {
        Value::Constant(array) => array.shape.iter().map(|&dim| Size::Fixed(dim)).collect(),
        Value::Columns(columns) => of_rows(&columns.tail),
        Value::Inner(inner) => of_rows(&inner.tail),
        other => return Err(format!("it takes the shape of {}", kind(other))),
    };
    let bound = |name: &str, default: i64| {
        let place = node.int(name, default);
        let place = if place < 0 { place.saturating_add(sizes.len() as i64) } else { place };
        place.clamp(0, sizes.len() as i64) as usize
    };
    let (start, end) = (bound("start", 0), bound("end", sizes.len() as i64));
    sizes.truncate(end);
    sizes.drain(..start.min(end));
    Ok(vec![Value::Sizes(sizes)])
}

pub(super) fn reshape(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let target: Vec<Target> = match walk.input(node, 1)? {
        Value::Sizes(sizes) => sizes.iter().map(|&size| Target::from(size)).collect(),
        Value::Constant(array) => array.as_integers()?.iter().map(|&value| Target::Integer(value)).collect(),
        other => return Err(format!("its shape is {}", kind(other))),
    };
    let keeps_zero = node.int("allowzero", 0) != 0;
    let batch = walk.batch;
    let value = match walk.input(node, 0)? {
        Value::Constant(array) => {
            let mut shape = Vec::with_capacity(target.len());
            for (place, size) in target.iter().enumerate() {
                shape.push(match *size {
                    Target::Integer(0) if !keeps_zero => array.shape.get(place).map(|&dim| dim as i64),
                    Target::Integer(size) => Some(size),
                    Target::Batch => None,
                });
            }
            let shape: Option<Vec<i64>> = shape.into_iter().collect();
            let shape = inferred(&shape.ok_or("it gives a constant the shape of rows")?, array.len())?;
            Value::Constant(Rc::new(Array { shape, data: array.data.clone(), element: array.element }))
        }
        Value::Sizes(sizes) => Value::Sizes(sizes.clone()),
        Value::Columns(columns) => {
            Value::Columns(Columns { tail: rows(&columns.tail, &target, keeps_zero, batch)?, ..columns.clone() })
        }
        // skl2onnx lists the numbers of a regressor with several outputs below each other: row by row they are those.
        Value::Inner(inner)
            if target == [Target::Integer(-1), Target::Integer(1)]
                && node.output.iter().any(|name| walk.graph.outputs.contains(name)) =>
        {
            Value::Inner(inner.clone())
        }
        Value::Inner(inner) => {
            Value::Inner(Inner { tail: rows(&inner.tail, &target, keeps_zero, batch)?, ..inner.clone() })
        }
        // Labels are a list whatever the shape; so is one class's probability.
        Value::Answer { answer, form: Form::Probabilities } if target.len() < 2 => {
            Value::Answer { answer: *answer, form: Form::Part(None) }
        }
        answer @ Value::Answer { .. } => answer.clone(),
        other => return Err(format!("it gives another shape to {}", kind(other))),
    };
    Ok(vec![value])
}

#[derive(Clone, Copy, PartialEq)]
enum Target {
    Batch,
    /// -1: as many as are left; 0: as before.
    Integer(i64),
}

impl From<Size> for Target {
    fn from(size: Size) -> Target {
        match size {
            Size::Batch => Target::Batch,
            Size::Fixed(size) => Target::Integer(size as i64),
        }
    }
}

/// The shape of a row, if each row stays a row.
fn rows(tail: &[usize], target: &[Target], keeps_zero: bool, batch: Option<usize>) -> Result<Vec<usize>, String> {
    let width: usize = tail.iter().product();
    let refuse = || format!("it gives rows of shape {tail:?} a shape that mixes them");
    let (first, rest) = target.split_first().ok_or_else(refuse)?;
    let mut shape = Vec::with_capacity(rest.len());
    for (place, size) in rest.iter().enumerate() {
        shape.push(match *size {
            Target::Batch => return Err(refuse()),
            Target::Integer(0) if !keeps_zero => tail.get(place).copied().ok_or_else(refuse)? as i64,
            Target::Integer(size) => size,
        });
    }
    let keeps_rows = match *first {
        Target::Batch => true,
        Target::Integer(-1) => !shape.contains(&-1),
        Target::Integer(0) => !keeps_zero,
        Target::Integer(size) => batch.is_some_and(|batch| batch as i64 == size),
    };
    if !keeps_rows {
        return Err(refuse());
    }
    inferred(&shape, width)
}

/// A shape for so many elements, -1 worked out.
fn inferred(shape: &[i64], count: usize) -> Result<Vec<usize>, String> {
    let refuse = || format!("it gives {count} elements the shape {shape:?}");
    let known = shape.iter().filter(|&&dim| dim != -1);
    let known = known.map(|&dim| usize::try_from(dim).ok()).try_fold(1_usize, |product, dim| product.checked_mul(dim?));
    let known = known.ok_or_else(refuse)?;
    let left = match shape.iter().filter(|&&dim| dim == -1).count() {
        0 if known == count => 1,
        1 if known > 0 && count.is_multiple_of(known) => count / known,
        _ => return Err(refuse()),
    };
    Ok(shape.iter().map(|&dim| if dim == -1 { left } else { dim as usize }).collect())
}

/// The rows of a value with another shape.
fn reshaped(value: &Value, change: impl Fn(&[usize]) -> Result<Vec<usize>, String>) -> Result<Value, String> {
    match value {
        Value::Columns(columns) => Ok(Value::Columns(Columns { tail: change(&columns.tail)?, ..columns.clone() })),
        Value::Inner(inner) => Ok(Value::Inner(Inner { tail: change(&inner.tail)?, ..inner.clone() })),
        Value::Sizes(_) | Value::Answer { .. } => Ok(value.clone()),
        other => Err(format!("it gives another shape to {}", kind(other))),
    }
}

pub(super) fn flatten(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let from = node.int("axis", 1);
    let flat = reshaped(walk.input(node, 0)?, |tail| match axis(from, tail.len() + 1)? {
        1 => Ok(vec![tail.iter().product()]),
        _ => Err("it flattens rows into each other".into()),
    })?;
    Ok(vec![flat])
}

pub(super) fn squeeze(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let axes = walk.integers(node, 1, "axes")?;
    let squeezed = |shape: &[usize], offset: usize| -> Result<Vec<usize>, String> {
        let mut gone = Vec::new();
        for &at in axes.iter().flatten() {
            gone.push(axis(at, shape.len() + offset)?);
        }
        let kept = |place: usize, dim: usize| match &axes {
            None => dim != 1,
            Some(_) => !gone.contains(&(place + offset)),
        };
        let fits = gone.iter().all(|&place| place >= offset && shape.get(place - offset) == Some(&1));
        if !fits {
            return Err("it squeezes a dimension that isn't 1".into());
        }
        Ok(shape.iter().enumerate().filter(|&(place, &dim)| kept(place, dim)).map(|(_, &dim)| dim).collect())
    };
    let value = match walk.input(node, 0)? {
        Value::Constant(array) => {
            let shape = squeezed(&array.shape, 0)?;
            Value::Constant(Rc::new(Array { shape, data: array.data.clone(), element: array.element }))
        }
        other => reshaped(other, |tail| squeezed(tail, 1))?,
    };
    Ok(vec![value])
}

pub(super) fn unsqueeze(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let axes = walk.integers(node, 1, "axes")?.ok_or("it has no axes")?;
    let unsqueezed = |shape: &[usize], offset: usize| -> Result<Vec<usize>, String> {
        let rank = shape.len() + offset + axes.len();
        let mut places: Vec<usize> = axes.iter().map(|&at| axis(at, rank)).collect::<Result<_, _>>()?;
        places.sort_unstable();
        let mut shape = shape.to_vec();
        for place in places {
            let place = place.checked_sub(offset).ok_or("it puts a dimension before the rows")?;
            if place > shape.len() {
                return Err("it names an axis twice".into());
            }
            shape.insert(place, 1);
        }
        Ok(shape)
    };
    let value = match walk.input(node, 0)? {
        Value::Constant(array) => {
            let shape = unsqueezed(&array.shape, 0)?;
            Value::Constant(Rc::new(Array { shape, data: array.data.clone(), element: array.element }))
        }
        other => reshaped(other, |tail| unsqueezed(tail, 1))?,
    };
    Ok(vec![value])
}

/// Of constant matrices: weights.
pub(super) fn transpose(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let array = walk.constant(node, 0)?;
    let (Data::Numbers(values), &[rows, columns]) = (&array.data, &*array.shape) else {
        return Err(format!("it transposes a constant of shape {:?}, not a matrix", array.shape));
    };
    let values = match node.ints("perm") {
        [] | [1, 0] => (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])),
        other => return Err(format!("it permutes axes by {other:?}")),
    };
    let data = Data::Numbers(values.collect());
    Ok(vec![Value::Constant(Rc::new(Array { shape: vec![columns, rows], data, element: array.element }))])
}

/// Picks along an axis: by places.
fn pick(walk: &mut Walk<'_>, value: &Value, at: i64, places: &[i64], scalar: bool) -> Result<Value, String> {
    let all = |count: usize| -> Result<Vec<usize>, String> {
        places.iter().map(|&place| super::axis(place, count)).collect()
    };
    let is_all = |picked: &[usize], count: usize| !scalar && picked.iter().copied().eq(0..count);
    let other_axis = || Err("it picks along another axis than the last".to_owned());
    match value {
        Value::Columns(columns) => {
            if !is_last(at, &columns.tail)? || columns.tail.last() != Some(&columns.cells.len()) {
                return other_axis();
            }
            let cells: Vec<_> = all(columns.cells.len())?.iter().map(|&place| columns.cells[place].clone()).collect();
            let tail = picked_tail(&columns.tail, cells.len(), scalar);
            Ok(Value::Columns(Columns { cells, tail, element: columns.element }))
        }
        Value::Inner(inner) => {
            let width = walk.chain.link(inner.of).width;
            if !is_last(at, &inner.tail)? || inner.tail.last() != Some(&width) {
                return other_axis();
            }
            let places = all(width)?;
            if places.is_empty() {
                return Err("it picks nothing".into());
            }
            if is_all(&places, width) {
                return Ok(value.clone());
            }
            let (tail, settled) = (picked_tail(&inner.tail, places.len(), scalar), walk.chain.settle(inner)?);
            let count = places.len();
            Ok(Value::Inner(Inner { tail, ..walk.chain.push(settled, Op::Pick { places }, count) }))
        }
        Value::Sizes(sizes) => Ok(Value::Sizes(all(sizes.len())?.iter().map(|&place| sizes[place]).collect())),
        Value::Constant(array) if array.shape.len() == 1 => {
            let places = all(array.len())?;
            let data = match &array.data {
                Data::Numbers(values) => Data::Numbers(places.iter().map(|&place| values[place]).collect()),
                Data::Integers(values) => Data::Integers(places.iter().map(|&place| values[place]).collect()),
                Data::Texts(values) => Data::Texts(places.iter().map(|&place| values[place].clone()).collect()),
            };
            let shape = if scalar { Vec::new() } else { vec![places.len()] };
            Ok(Value::Constant(Rc::new(Array { shape, data, element: array.element })))
        }
        &Value::Answer { answer, form: Form::Probabilities } => match walk.classes(answer) {
            width if super::axis(at, 2)? == 1 && is_all(&all(width)?, width) => Ok(value.clone()),
            _ => {
                let [place] = places else {
                    return Err("it picks some of the probabilities, or in another order: export all of them".into());
                };
                let place = usize::try_from(*place).ok();
                Ok(Value::Answer { answer, form: Form::Part(place) })
            }
        },
        other => Err(format!("it picks from {}", kind(other))),
    }
}

/// The shape of a row that has so many of its last dimension.
fn picked_tail(tail: &[usize], count: usize, scalar: bool) -> Vec<usize> {
    let mut tail = tail.to_vec();
    tail.pop();
    if !scalar {
        tail.push(count);
    }
    tail
}

/// What stands at the index of the most probable class.
fn label(classes: &Value, index: &Value) -> Option<Value> {
    match (classes, index) {
        (Value::Constant(classes), &Value::Answer { answer, form: Form::Index }) => {
            Some(Value::Answer { answer, form: Form::Named(Rc::new(classes.names())) })
        }
        _ => None,
    }
}

pub(super) fn gather(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    if let Some(label) = label(walk.input(node, 0)?, walk.input(node, 1)?) {
        return Ok(vec![label]);
    }
    if let (Value::Constant(table), Value::Columns(columns)) = (walk.input(node, 0)?, walk.input(node, 1)?) {
        let (table, columns) = (Rc::clone(table), columns.clone());
        return Ok(vec![Value::Columns(joins::embedding(walk, node, &table, &columns)?)]);
    }
    let places = walk.constant(node, 1)?;
    if places.shape.len() > 1 {
        return Err("its places are no list".into());
    }
    let value = walk.input(node, 0)?.clone();
    let picked = pick(walk, &value, node.int("axis", 0), places.as_integers()?, places.shape.is_empty())?;
    Ok(vec![picked])
}

/// `ArrayFeatureExtractor`
pub(super) fn extract(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    if let Some(label) = label(walk.input(node, 0)?, walk.input(node, 1)?) {
        return Ok(vec![label]);
    }
    let places = walk.constant(node, 1)?;
    let value = walk.input(node, 0)?.clone();
    Ok(vec![pick(walk, &value, -1, places.as_integers()?, false)?])
}

/// Bounds are attributes before opset 10, inputs since.
pub(super) fn slice(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let list = |index, name| walk.integers(node, index, name);
    let starts = list(1, "starts")?.ok_or("it has no starts")?;
    let ends = list(2, "ends")?.ok_or("it has no ends")?;
    let axes = list(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("its lists differ in length".into());
    }
    let mut value = walk.input(node, 0)?.clone();
    for (((start, end), at), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
        value = slice_axis(walk, &value, at, [start, end, step])?;
    }
    Ok(vec![value])
}

/// Along one axis, from a start to an end in steps.
fn slice_axis(walk: &mut Walk<'_>, value: &Value, at: i64, [start, end, step]: [i64; 3]) -> Result<Value, String> {
    /// Nobody has so many rows: exporters write the largest numbers of 32 or 64 bits for all.
    const ALL: i64 = i32::MAX as i64;
    let width = match value {
        &Value::Answer { answer, .. } => vec![walk.classes(answer)],
        Value::Sizes(sizes) => vec![sizes.len()],
        _ => Vec::new(),
    };
    let (tail, before) = match value {
        Value::Columns(columns) => (&*columns.tail, 1),
        Value::Inner(inner) => (&*inner.tail, 1),
        Value::Answer { .. } => (&*width, 1),
        Value::Constant(array) => (&*array.shape, 0),
        Value::Sizes(_) => (&*width, 0),
        Value::Moment { .. } => return Err(format!("it slices {}", kind(value))),
    };
    let place = axis(at, tail.len() + before)?;
    let Some(place) = place.checked_sub(before) else {
        let takes_all = step == 1 && (start == 0 || start <= -ALL) && walk.batch.map_or(ALL, |rows| rows as i64) <= end;
        return if takes_all { Ok(value.clone()) } else { Err("it takes some of the rows only".into()) };
    };
    let size = tail[place] as i64;
    let from_end = |bound: i64| if bound < 0 { bound.saturating_add(size) } else { bound };
    let places: Vec<i64> = match step {
        1.. => (from_end(start).clamp(0, size)..from_end(end).clamp(0, size)).step_by(step as usize).collect(),
        0 => return Err("it goes in steps of 0".into()),
        _ => {
            let (start, end) = (from_end(start).clamp(-1, size - 1), from_end(end).clamp(-1, size - 1));
            (end + 1..=start).rev().step_by(step.unsigned_abs() as usize).collect()
        }
    };
    match places.iter().copied().eq(0..size) {
        true => Ok(value.clone()),
        false => pick(walk, value, at, &places, false),
    }
}

pub(super) fn split(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let sizes = walk.integers(node, 1, "split")?;
    let value = walk.input(node, 0)?.clone();
    let count = match &value {
        Value::Columns(columns) => columns.cells.len(),
        Value::Inner(inner) => walk.chain.link(inner.of).width,
        other => return Err(format!("it splits {}", kind(other))),
    };
    let parts = node.output.len();
    let sizes = match sizes {
        Some(sizes) => sizes,
        None if parts > 0 => {
            let size = count.div_ceil(parts);
            (0..parts).map(|part| (count.saturating_sub(part * size)).min(size) as i64).collect()
        }
        None => return Err("it has no outputs".into()),
    };
    let mut values = Vec::with_capacity(sizes.len());
    let mut start = 0_i64;
    for size in sizes {
        let end = start.checked_add(size).filter(|&end| size >= 0 && end <= count as i64);
        let end = end.ok_or_else(|| format!("its parts are not those of {count} columns"))?;
        values.push(pick(walk, &value, node.int("axis", 0), &(start..end).collect::<Vec<_>>(), false)?);
        start = end;
    }
    Ok(values)
}

/// A constant in the type of another value: the numbers stay.
pub(super) fn cast_like(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let value = match (walk.input(node, 0)?, walk.input(node, 1)?) {
        (Value::Constant(array), Value::Inner(_) | Value::Columns(_)) => {
            let element = match walk.input(node, 1)? {
                Value::Columns(columns) => columns.element,
                _ => Element::Float,
            };
            if !matches!(element, Element::Float | Element::Double) {
                return Err("it casts a constant to integers or texts".into());
            }
            let data = Data::Numbers(array.numbers()?);
            Value::Constant(Rc::new(Array { shape: array.shape.clone(), data, element }))
        }
        (value @ Value::Inner(_), Value::Inner(_)) => value.clone(),
        (value, like) => return Err(format!("it casts {} to the type of {}", kind(value), kind(like))),
    };
    Ok(vec![value])
}
