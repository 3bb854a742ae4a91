//! Graphs of onnxruntime's quantiser: numbers that are rounded to 8 or 16 bits and computed with as floats again.

use std::rc::Rc;

use super::Walk;
use crate::engine::Activation;
use crate::model::onnx::proto::{DataType, Node};
use crate::model::onnx::tensor::{Array, Data, Element};
use crate::model::onnx::value::{Inner, Value};

/// `QuantizeLinear`: as many steps as the number is long, rounded, within the type's range.
pub(super) fn quantize(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let (scale, zero) = (one(walk.optional_constant(node, 1)?, 1.0)?, one(walk.optional_constant(node, 2)?, 0.0)?);
    let data_type = match node.input.get(2).map(String::as_str) {
        None | Some("") => Some(DataType::Uint8),
        Some(name) => walk.graph.types.get(name).copied(),
    };
    let [low, high] = match data_type {
        Some(DataType::Uint8) => [0.0, 255.0],
        Some(DataType::Int8) => [-128.0, 127.0],
        Some(DataType::Uint16) => [0.0, 65_535.0],
        Some(DataType::Int16) => [-32_768.0, 32_767.0],
        _ => return Err("it rounds to another type than integers of 8 or 16 bits".into()),
    };
    if !(scale.is_normal() && scale > 0.0 && (low..=high).contains(&zero)) {
        return Err(format!("its scale is {scale} and its zero point {zero}"));
    }
    let round = Activation::Round { low: (low - zero) as f32, high: (high - zero) as f32 };
    let input = walk.input(node, 0)?.clone();
    let x = walk.chain.inner(&input).map_err(|reason| {
        format!("{reason}; leave it out of the quantisation (nodes_to_exclude), or quantise by `weir model quantize`")
    })?;
    let function = x.function.scaled(1.0 / scale, 0.0).activated(round).scaled(1.0, zero);
    Ok(vec![Value::Inner(Inner { function, ..x })])
}

/// The only number of a constant, or what holds without it.
fn one(constant: Option<Rc<Array>>, default: f64) -> Result<f64, String> {
    match constant {
        None => Ok(default),
        Some(array) => {
            array.scalar().ok_or_else(|| "it has a scale for each column, which only weights can have".to_owned())
        }
    }
}

/// `DequantizeLinear`, of weights or of what was quantised.
pub(super) fn dequantize(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let (scale, zero) = (walk.constant(node, 1)?, walk.optional_constant(node, 2)?);
    if node.int("block_size", 0) != 0 {
        return Err("it has a scale for each block of weights: quantise by output".into());
    }
    let value = match walk.input(node, 0)?.clone() {
        Value::Constant(array) => Value::Constant(Rc::new(dequantized(&array, &scale, zero.as_deref(), node)?)),
        Value::Inner(x) => {
            let (scale, zero) = (one(Some(scale), 1.0)?, one(zero, 0.0)?);
            Value::Inner(Inner { function: x.function.scaled(scale, -zero * scale), ..x })
        }
        other => return Err(format!("it computes with {}", super::kind(&other))),
    };
    Ok(vec![value])
}

/// Weights as the floats that they stand for.
fn dequantized(array: &Array, scale: &Array, zero: Option<&Array>, node: &Node) -> Result<Array, String> {
    let (numbers, scales) = (array.numbers()?, scale.numbers()?);
    let zeros = zero.map(Array::numbers).transpose()?.unwrap_or_else(|| vec![0.0; scales.len()]);
    let (size, behind) = match scales.len() {
        1 => (1, numbers.len().max(1)),
        _ => {
            let at = super::axis(node.int("axis", 1), array.shape.len())?;
            (array.shape[at], array.shape[at + 1..].iter().product::<usize>().max(1))
        }
    };
    if scales.len() != size || zeros.len() != size {
        return Err(format!("it has {} scales and {} zero points for {size}", scales.len(), zeros.len()));
    }
    let of = |(place, number): (usize, &f64)| {
        let at = place / behind % size;
        f64::from(((number - zeros[at]) * scales[at]) as f32)
    };
    let data = Data::Numbers(numbers.iter().enumerate().map(of).collect());
    Ok(Array { shape: array.shape.clone(), data, element: Element::Float })
}
