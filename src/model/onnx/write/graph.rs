//! A graph under construction: nodes in order, constants, and names that don't clash.

use std::collections::HashMap;

use crate::model::onnx::proto::{
    Attribute, AttributeKind, DataType, Dimension, DimensionValue, Graph, ML, Node, ONNX, Tensor, TensorShape,
    TensorType, Type, TypeValue, ValueInfo,
};

/// The name of the dimension that is the batch.
const ROWS: &str = "N";

/// A graph under construction. Values are named by strings, as in the file.
#[derive(Default)]
pub(super) struct Builder {
    graph: Graph,
    /// Names, and the highest number that was put behind each.
    taken: HashMap<String, u64>,
}

impl Builder {
    /// An input of rows × 1, under this very name: no two inputs may share one, and all must come before the rest.
    pub(super) fn input(&mut self, name: &str, element: DataType) -> String {
        self.taken.insert(name.into(), 1);
        self.graph.input.push(value_info(name, element, &[rows(), columns(1)]));
        name.into()
    }

    /// A scalar constant.
    pub(super) fn double(&mut self, name: &str, value: f64) -> String {
        self.constant(name, &[], DataType::Double, value.to_le_bytes().into())
    }

    /// A constant list of numbers.
    pub(super) fn doubles(&mut self, name: &str, values: &[f64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, &[values.len()], DataType::Double, bytes)
    }

    /// A constant of these dimensions, from its values in row-major order.
    pub(super) fn floats<'a>(
        &mut self,
        name: &str,
        dims: &[usize],
        values: impl IntoIterator<Item = &'a f32>,
    ) -> String {
        let bytes = values.into_iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, dims, DataType::Float, bytes)
    }

    /// A constant list of sizes.
    pub(super) fn sizes(&mut self, name: &str, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, &[values.len()], DataType::Int64, bytes)
    }

    /// A constant list of texts.
    pub(super) fn texts(&mut self, name: &str, values: &[String]) -> String {
        let name = self.constant(name, &[values.len()], DataType::String, Vec::new());
        if let Some(tensor) = self.graph.initializer.last_mut() {
            tensor.string_data = values.iter().map(|text| text.clone().into_bytes()).collect();
        }
        name
    }

    /// A node of the default operator set with one output.
    pub(super) fn node<const N: usize>(&mut self, op: &str, inputs: [&str; N], attributes: Vec<Attribute>) -> String {
        let inputs: Vec<_> = inputs.map(String::from).into();
        self.push(ONNX, op, inputs, attributes)
    }

    /// A node of `ai.onnx.ml` with one input and one output.
    pub(super) fn ml_node(&mut self, op: &str, input: &str, attributes: Vec<Attribute>) -> String {
        self.push(ML, op, vec![input.into()], attributes)
    }

    /// The values side by side: rows × the sum of their columns.
    pub(super) fn concat(&mut self, values: Vec<String>) -> String {
        match <[String; 1]>::try_from(values) {
            Ok([only]) => only,
            Err(values) => self.push(ONNX, "Concat", values, vec![int("axis", 1)]),
        }
    }

    /// Makes a value an output of rows × `width`, or just rows for `None`, and gives the name that it got: this one, if
    /// no input has it.
    pub(super) fn output(&mut self, name: &str, value: &str, element: DataType, width: Option<usize>) -> String {
        let name = self.free(name);
        self.graph.node.push(Node {
            input: vec![value.into()],
            output: vec![name.clone()],
            name: format!("Identity:{name}"),
            op_type: "Identity".into(),
            ..Node::default()
        });
        let dims: Vec<_> = std::iter::once(rows()).chain(width.map(columns)).collect();
        self.graph.output.push(value_info(&name, element, &dims));
        name
    }

    /// The graph under a name.
    pub(super) fn finish(mut self, name: &str) -> Graph {
        self.graph.name = name.into();
        self.graph
    }

    fn push(&mut self, domain: &str, op: &str, input: Vec<String>, attribute: Vec<Attribute>) -> String {
        let output = self.free(op);
        self.graph.node.push(Node {
            input,
            output: vec![output.clone()],
            name: output.clone(),
            op_type: op.into(),
            attribute,
            domain: domain.into(),
            ..Node::default()
        });
        output
    }

    fn constant(&mut self, name: &str, dims: &[usize], element: DataType, raw_data: Vec<u8>) -> String {
        let name = self.free(name);
        self.graph.initializer.push(Tensor {
            name: name.clone(),
            dims: dims.iter().map(|&size| size as i64).collect(),
            data_type: element.into(),
            raw_data,
            ..Tensor::default()
        });
        name
    }

    /// This name, or with a number behind it that makes it free.
    fn free(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        while self.taken.contains_key(&free) {
            let count = self.taken.entry(name.into()).or_insert(1);
            *count += 1;
            free = format!("{name}_{count}");
        }
        self.taken.insert(free.clone(), 1);
        free
    }
}

pub(super) fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), i, kind: AttributeKind::Int.into(), ..Attribute::default() }
}

pub(super) fn ints(name: &str, ints: Vec<i64>) -> Attribute {
    Attribute { name: name.into(), ints, kind: AttributeKind::Ints.into(), ..Attribute::default() }
}

pub(super) fn float(name: &str, f: f32) -> Attribute {
    Attribute { name: name.into(), f, kind: AttributeKind::Float.into(), ..Attribute::default() }
}

pub(super) fn string(name: &str, s: &str) -> Attribute {
    Attribute { name: name.into(), s: s.into(), kind: AttributeKind::String.into(), ..Attribute::default() }
}

pub(super) fn strings<'a>(name: &str, strings: impl Iterator<Item = &'a str>) -> Attribute {
    let strings = strings.map(Vec::from).collect();
    Attribute { name: name.into(), strings, kind: AttributeKind::Strings.into(), ..Attribute::default() }
}

fn value_info(name: &str, element: DataType, dims: &[DimensionValue]) -> ValueInfo {
    let dim = dims.iter().map(|value| Dimension { value: Some(value.clone()) }).collect();
    let tensor = TensorType { elem_type: element.into(), shape: Some(TensorShape { dim }) };
    ValueInfo { name: name.into(), r#type: Some(Type { value: Some(TypeValue::Tensor(tensor)) }) }
}

fn rows() -> DimensionValue {
    DimensionValue::Named(ROWS.into())
}

fn columns(width: usize) -> DimensionValue {
    DimensionValue::Fixed(width as i64)
}
