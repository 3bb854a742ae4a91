//! Integers that stand for numbers: `QuantizeLinear` and `DequantizeLinear`.

use super::array::{TypedArray, UNIT, axis, data_type};
use super::{Operands, RunValue, one};
use crate::model::onnx::proto::{DataType, Node};

/// For each element the place of its scale.
fn places(node: &Node, x: &TypedArray, scale: &TypedArray) -> Result<Vec<usize>, String> {
    if node.int("block_size", 0) != 0 {
        return Err("the reference has no scales for blocks".into());
    }
    if scale.len() == 1 {
        return Ok(vec![0; x.len()]);
    }
    let at = axis(node.int("axis", 1), x.shape.len())?;
    if scale.shape != [x.shape[at]] {
        return Err(format!("it has scales of shape {:?} for {:?}", scale.shape, x.shape));
    }
    let behind: usize = x.shape[at + 1..].iter().product();
    Ok((0..x.len()).map(|place| place / behind.max(1) % scale.len()).collect())
}

/// One for each scale.
fn zero_points(zero: Option<&TypedArray>, scale: &TypedArray) -> Result<Vec<f64>, String> {
    match zero {
        None => Ok(vec![0.0; scale.len()]),
        Some(zero) if zero.len() == scale.len() => Ok(zero.numbers()?.into_owned()),
        Some(zero) => Err(format!("it has {} zero points for {} scales", zero.len(), scale.len())),
    }
}

pub(super) fn quantize(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let (x, scale, zero) = (operands.array(0)?, operands.array(1)?, operands.optional(2)?);
    let to = match (zero, node.int("output_dtype", 0)) {
        (Some(zero), _) => zero.data_type,
        (None, 0) => DataType::Uint8,
        (None, number) => data_type(number)?,
    };
    let (low, high) = match to {
        DataType::Uint8 => (0.0, 255.0),
        DataType::Int8 => (-128.0, 127.0),
        DataType::Uint16 => (0.0, 65_535.0),
        DataType::Int16 => (-32_768.0, 32_767.0),
        other => return Err(format!("the reference doesn't quantise to {other:?}")),
    };
    let (numbers, scales, places) = (x.numbers()?, scale.numbers()?, places(node, x, scale)?);
    let zeros = zero_points(zero, scale)?;
    let (mut values, mut errors) = (Vec::with_capacity(x.len()), Vec::with_capacity(x.len()));
    for (place, &at) in places.iter().enumerate() {
        let zero = zeros[at];
        let steps = numbers[place] / scales[at];
        let of = |steps: f64| (steps.round_ties_even() + zero).clamp(low, high);
        let value = of(steps);
        // Nearly half a step may be rounded either way.
        let error = x.error(place) / scales[at] + 4.0 * UNIT * steps.abs();
        let off = (of(steps + error) - value).abs().max((of(steps - error) - value).abs());
        values.push(value as i64);
        errors.push(if off.is_nan() { f64::INFINITY } else { off });
    }
    one(TypedArray::integers(x.shape.clone(), to, values, errors))
}

pub(super) fn dequantize(node: &Node, operands: &Operands<'_>) -> Result<Vec<RunValue>, String> {
    let (x, scale, zero) = (operands.array(0)?, operands.array(1)?, operands.optional(2)?);
    let (numbers, scales, places) = (x.numbers()?, scale.numbers()?, places(node, x, scale)?);
    let zeros = zero_points(zero, scale)?;
    let (mut values, mut errors) = (Vec::with_capacity(x.len()), Vec::with_capacity(x.len()));
    for (place, &at) in places.iter().enumerate() {
        let value = (numbers[place] - zeros[at]) * scales[at];
        values.push(value);
        errors.push(x.error(place) * scales[at] + UNIT * value.abs());
    }
    one(TypedArray::floats(x.shape.clone(), scale.data_type, values, errors))
}
