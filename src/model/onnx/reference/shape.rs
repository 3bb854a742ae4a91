//! Operators that move elements.

use super::array::{TypedArray, axis, broadcast, count, sources, strides, walk};
use super::{Operands, RunValue, one};
use crate::model::onnx::proto::{DataType, Node};
use crate::model::onnx::tensor::Data;

pub(super) fn constant(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    if let Some(tensor) = node.tensor("value") {
        return one(TypedArray::read(tensor, operands.reader)?);
    }
    let floats = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
    one(match node.attribute.first().map(|attribute| &*attribute.name) {
        Some("value_float") => {
            TypedArray::floats(vec![], DataType::Float, vec![node.float("value_float", 0.0)], vec![])
        }
        Some("value_int") => TypedArray::integers(vec![], DataType::Int64, vec![node.int("value_int", 0)], vec![]),
        Some("value_floats") => {
            let values: Vec<f64> = floats(node.floats("value_floats"));
            TypedArray::floats(vec![values.len()], DataType::Float, values, vec![])
        }
        Some("value_ints") => TypedArray::list(node.ints("value_ints").to_vec()),
        Some("value_strings") => {
            let texts = node.strings("value_strings")?;
            TypedArray::texts(vec![texts.len()], texts, vec![])
        }
        Some("value_string") => {
            TypedArray::texts(vec![], vec![node.string("value_string")?.unwrap_or_default()], vec![])
        }
        _ => return Err("it has no value".into()),
    })
}

pub(super) fn constant_of_shape(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let shape = sizes(operands.array(0)?.indices()?)?;
    let total = count(&shape)?;
    let value = match node.tensor("value") {
        Some(tensor) => TypedArray::read(tensor, operands.reader)?,
        None => TypedArray::floats(vec![1], DataType::Float, vec![0.0], vec![]),
    };
    if value.len() != 1 {
        return Err("it has more than one value".into());
    }
    one(value.at(&vec![0; total], shape))
}

fn sizes(numbers: &[i64]) -> Result<Vec<usize>, String> {
    numbers.iter().map(|&size| usize::try_from(size).map_err(|_| format!("{size} is no size"))).collect()
}

/// Identity; and Dropout, which at inference is one.
pub(super) fn identity(_: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    if operands.optional(2)?.is_some_and(|training| training.scalar() == Ok(1.0)) {
        return Err("it drops values at random, as in training".into());
    }
    Ok(vec![operands.value(0)?.clone()])
}

pub(super) fn shape(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let sizes: Vec<i64> = operands.array(0)?.shape.iter().map(|&size| size as i64).collect();
    let rank = sizes.len() as i64;
    let bound = |number: i64| (if number < 0 { number.saturating_add(rank) } else { number }).clamp(0, rank) as usize;
    let (start, end) = (bound(node.int("start", 0)), bound(node.int("end", rank)));
    one(TypedArray::list(sizes[start.min(end)..end].to_vec()))
}

pub(super) fn size(_: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    one(TypedArray::integers(vec![], DataType::Int64, vec![operands.array(0)?.len() as i64], vec![]))
}

pub(super) fn reshape(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let target = operands.array(1)?.indices()?;
    let keeps_zero = node.int("allowzero", 0) != 0;
    let mut shape = Vec::with_capacity(target.len());
    let mut open = None;
    for (place, &size) in target.iter().enumerate() {
        shape.push(match size {
            -1 if open.is_none() => {
                open = Some(place);
                1
            }
            0 if !keeps_zero => *x.shape.get(place).ok_or("it keeps a size that isn't there")?,
            size => usize::try_from(size).map_err(|_| format!("{size} is no size"))?,
        });
    }
    let known = count(&shape)?;
    if let Some(place) = open {
        shape[place] = x.len().checked_div(known).unwrap_or(0);
    }
    if count(&shape)? != x.len() {
        return Err(format!("it gives {:?} the shape {target:?}", x.shape));
    }
    one(x.reshaped(shape))
}

pub(super) fn flatten(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let from = node.int("axis", 1);
    let from = if from == x.shape.len() as i64 { x.shape.len() } else { axis(from, x.shape.len())? };
    let rows = count(&x.shape[..from])?;
    let columns = count(&x.shape[from..])?;
    one(x.reshaped(vec![rows, columns]))
}

fn axes(node: &Node, operands: &Operands<'_>) -> Result<Option<Vec<i64>>, String> {
    match operands.optional(1)? {
        Some(axes) => Ok(Some(axes.indices()?.to_vec())),
        None if node.has("axes") => Ok(Some(node.ints("axes").to_vec())),
        None => Ok(None),
    }
}

pub(super) fn squeeze(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let rank = x.shape.len();
    let gone: Vec<usize> = match axes(node, operands)? {
        Some(axes) => axes.iter().map(|&number| axis(number, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).filter(|&place| x.shape[place] == 1).collect(),
    };
    if gone.iter().any(|&place| x.shape[place] != 1) {
        return Err(format!("it squeezes the shape {:?}", x.shape));
    }
    let kept = (0..rank).filter(|place| !gone.contains(place)).map(|place| x.shape[place]);
    one(x.reshaped(kept.collect()))
}

pub(super) fn unsqueeze(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let axes = axes(node, operands)?.ok_or("it has no axes")?;
    let rank = x.shape.len() + axes.len();
    let new: Vec<usize> = axes.iter().map(|&number| axis(number, rank)).collect::<Result<_, _>>()?;
    let mut old = x.shape.iter();
    let size = |place: usize| if new.contains(&place) { Some(1) } else { old.next().copied() };
    let shape: Vec<usize> = (0..rank).map_while(size).collect();
    if count(&shape)? != x.len() {
        return Err("it names an axis twice".into());
    }
    one(x.reshaped(shape))
}

pub(super) fn transpose(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let rank = x.shape.len();
    let order: Vec<usize> = match node.ints("perm") {
        [] => (0..rank).rev().collect(),
        perm => perm.iter().map(|&number| axis(number, rank)).collect::<Result<_, _>>()?,
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(format!("it orders {rank} axes by {order:?}"));
    }
    let steps = strides(&x.shape);
    let shape: Vec<usize> = order.iter().map(|&place| x.shape[place]).collect();
    let steps: Vec<usize> = order.iter().map(|&place| steps[place]).collect();
    one(x.at(&walk(&shape, &steps), shape))
}

pub(super) fn concat(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let first = operands.array(0)?;
    let at = axis(node.int("axis", 1), first.shape.len())?;
    let outer = count(&first.shape[..at])?;
    let mut shape = first.shape.clone();
    shape[at] = 0;
    let mut parts = Vec::with_capacity(operands.len());
    for index in 0..operands.len() {
        let part = operands.array(index)?;
        let fits = part.shape.len() == shape.len()
            && part.shape.iter().zip(&shape).enumerate().all(|(place, (a, b))| place == at || a == b);
        if !fits || part.data_type != first.data_type {
            return Err(format!("it joins {:?} of {:?} to {:?}", part.data_type, part.shape, first.shape));
        }
        shape[at] += part.shape[at];
        parts.push(part);
    }
    count(&shape)?;
    // All elements one part after the other, then their places in the whole.
    let mut whole = parts[0].clone();
    let is_exact = parts.iter().all(|part| part.errors.is_empty());
    let mut starts = vec![0];
    for part in &parts[1..] {
        starts.push(whole.len());
        match (&mut whole.data, &part.data) {
            (Data::Numbers(all), Data::Numbers(more)) => all.extend(more),
            (Data::Integers(all), Data::Integers(more)) => all.extend(more),
            (Data::Texts(all), Data::Texts(more)) => all.extend(more.iter().cloned()),
            _ => return Err("it joins values of different types".into()),
        }
    }
    if !is_exact {
        whole.errors = parts.iter().flat_map(|part| (0..part.len()).map(|place| part.error(place))).collect();
    }
    let mut places = Vec::with_capacity(whole.len());
    for row in 0..outer {
        for (part, start) in parts.iter().zip(&starts) {
            let size = part.len() / outer.max(1);
            places.extend((0..size).map(|offset| start + row * size + offset));
        }
    }
    one(whole.at(&places, shape))
}

pub(super) fn gather(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let (x, indices) = (operands.array(0)?, operands.array(1)?);
    let at = axis(node.int("axis", 0), x.shape.len())?;
    let picked = indices.indices()?;
    let picked: Vec<usize> = picked.iter().map(|&index| axis(index, x.shape[at])).collect::<Result<_, _>>()?;
    let (outer, inner) = (count(&x.shape[..at])?, count(&x.shape[at + 1..])?);
    let shape = [&x.shape[..at], &indices.shape, &x.shape[at + 1..]].concat();
    count(&shape)?;
    let mut places = Vec::new();
    let mut errors = Vec::new();
    for row in 0..outer {
        for (which, index) in picked.iter().enumerate() {
            places.extend((0..inner).map(|offset| (row * x.shape[at] + index) * inner + offset));
            // Another index may mean anything.
            let error = if indices.error(which) > 0.0 { f64::INFINITY } else { 0.0 };
            errors.extend(vec![error; inner]);
        }
    }
    let mut gathered = x.at(&places, shape);
    if errors.iter().any(|&error| error > 0.0) {
        gathered.errors = errors.iter().enumerate().map(|(place, error)| error + gathered.error(place)).collect();
    }
    one(gathered)
}

/// Bounds are attributes before opset 10, inputs since.
pub(super) fn slice(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let list = |index: usize, name: &str| -> Result<Option<Vec<i64>>, String> {
        match operands.optional(index)? {
            Some(list) => Ok(Some(list.indices()?.to_vec())),
            None if node.has(name) => Ok(Some(node.ints(name).to_vec())),
            None => Ok(None),
        }
    };
    let starts = list(1, "starts")?.ok_or("it has no starts")?;
    let ends = list(2, "ends")?.ok_or("it has no ends")?;
    let axes = list(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("its lists differ in length".into());
    }
    let mut places: Vec<Vec<usize>> = x.shape.iter().map(|&size| (0..size).collect()).collect();
    for (((&start, &end), &number), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let at = axis(number, x.shape.len())?;
        let size = x.shape[at] as i64;
        let from_end = |bound: i64| if bound < 0 { bound.saturating_add(size) } else { bound };
        places[at] = match step {
            1.. => {
                let (start, end) = (from_end(start).clamp(0, size), from_end(end).clamp(0, size));
                (start..end).step_by(step as usize).map(|place| place as usize).collect()
            }
            0 => return Err("it goes in steps of 0".into()),
            _ => {
                let (start, end) = (from_end(start).clamp(-1, size - 1), from_end(end).clamp(-1, size - 1));
                let back = step.unsigned_abs() as usize;
                (end + 1..=start).rev().step_by(back).map(|place| place as usize).collect()
            }
        };
    }
    let mut flat = vec![0];
    for (picked, step) in places.iter().zip(strides(&x.shape)) {
        flat = flat.iter().flat_map(|&place| picked.iter().map(move |index| place + index * step)).collect();
    }
    one(x.at(&flat, places.iter().map(Vec::len).collect()))
}

pub(super) fn split(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let at = axis(node.int("axis", 0), x.shape.len())?;
    let total = x.shape[at];
    let given = match operands.optional(1)? {
        Some(list) => Some(list.indices()?.to_vec()),
        None if node.has("split") => Some(node.ints("split").to_vec()),
        None => None,
    };
    let parts = node.output.len().max(1);
    let sizes = match given {
        Some(list) => sizes(&list)?,
        None => {
            let size = total.div_ceil(parts);
            (0..parts).map(|part| total.saturating_sub(part * size).min(size)).collect()
        }
    };
    if sizes.iter().sum::<usize>() != total {
        return Err(format!("it splits {total} into {sizes:?}"));
    }
    let (outer, inner) = (count(&x.shape[..at])?, count(&x.shape[at + 1..])?);
    let mut values = Vec::with_capacity(sizes.len());
    let mut start = 0;
    for size in sizes {
        let places =
            (0..outer).flat_map(|row| (0..size * inner).map(move |offset| (row * total + start) * inner + offset));
        let mut shape = x.shape.clone();
        shape[at] = size;
        values.extend(one(x.at(&places.collect::<Vec<_>>(), shape))?);
        start += size;
    }
    Ok(values)
}

pub(super) fn expand(_: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let x = operands.array(0)?;
    let shape = broadcast(&x.shape, &sizes(operands.array(1)?.indices()?)?)?;
    one(x.at(&sources(&x.shape, &shape), shape))
}
