//! From the bytes of a file to a graph that can be walked: nodes in order, each with what it takes known before it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use prost::Message;

use super::OnnxError;
use super::functions;
use super::proto::{self, Attribute, AttributeKind, DataType, DimensionValue, Node, ONNX, TypeValue};
use super::tensor::{Array, Element, Reader, text};
use super::width::width_of;
use crate::limits::{Limits, read_file};

/// The oldest version of the default operator set whose nodes are understood: from here on operands are broadcast as in
/// NumPy. Where an operator has changed since, the walk takes both forms.
const OLDEST_OPSET: i64 = 7;

/// Values that one row may have, times what the limits are raised by. It bounds what a header can make weir allocate.
const MAX_FEATURES: usize = 100_000;

/// Reads a file.
pub(super) fn open(path: &Path) -> Result<proto::Model, OnnxError> {
    let bytes = read_file(path).map_err(|source| OnnxError::Read { path: path.into(), source })?;
    let undecodable = |source| OnnxError::Decode { path: path.into(), source };
    proto::Model::decode(&*bytes).map_err(undecodable)
}

/// What is needed of an ONNX file.
#[derive(Debug)]
pub(super) struct Graph {
    /// What the outputs depend on, in an order in which it can be computed.
    pub(super) nodes: Vec<Node>,
    pub(super) inputs: Vec<Input>,
    /// Names of values.
    pub(super) outputs: Vec<String>,
    /// The constants that the nodes take.
    pub(super) constants: HashMap<String, Array>,
    /// The types of their elements.
    pub(super) types: HashMap<String, DataType>,
    pub(super) reader: Reader,
    pub(super) limits: Limits,
    pub(super) opset: i64,
    /// Name and version.
    pub(super) producer: String,
}

/// What a graph takes.
#[derive(Debug, PartialEq)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) element: Element,
    pub(super) data_type: DataType,
    /// The number of rows, if the graph fixes it.
    pub(super) batch: Option<usize>,
    /// The other dimensions: one for a matrix, none for a list of numbers.
    pub(super) tail: Vec<usize>,
}

impl Graph {
    /// The graph of a file's message.
    pub(super) fn new(model: &proto::Model, reader: Reader, limits: Limits) -> Result<Graph, OnnxError> {
        let opset = opset(model)?;
        let producer = format!("{} {}", model.producer_name, model.producer_version).trim().to_owned();
        let graph = model.graph.as_ref().ok_or_else(|| OnnxError::Graph("it has no graph".into()))?;

        let outputs: Vec<String> = graph.output.iter().map(|output| output.name.clone()).collect();
        let nodes = needed(&functions::inlined(model, &graph.node)?, &outputs)?;
        super::refusals::check(&nodes)?;
        check_operators(&nodes)?;
        check_attributes(&nodes)?;
        if !graph.sparse_initializer.is_empty() {
            return Err(OnnxError::Graph("it has sparse tensors: export them as dense ones".into()));
        }
        let used: HashSet<&str> =
            nodes.iter().flat_map(|node| &node.input).chain(&outputs).map(|name| &**name).collect();
        let (mut constants, mut types) = (HashMap::new(), HashMap::new());
        for tensor in graph.initializer.iter().filter(|tensor| used.contains(&*tensor.name)) {
            constants.insert(tensor.name.clone(), reader.read(tensor)?);
            types.insert(tensor.name.clone(), tensor.data_type());
        }
        let mut inputs = Vec::new();
        for info in graph.input.iter().filter(|info| !constants.contains_key(&info.name)) {
            inputs.push(input(info, &nodes, &constants)?);
        }
        let width = inputs.iter().try_fold(0_usize, |sum, input| sum.checked_add(input.width()?));
        let most = limits.raise(MAX_FEATURES);
        if width.is_none_or(|width| width > most) {
            let problem = format!("its inputs have more than {most} values in a row: --limit-factor raises the limit");
            return Err(OnnxError::Graph(problem));
        }
        check_order(&nodes, &inputs, &constants)?;
        Ok(Graph { nodes, inputs, outputs, constants, types, reader, limits, opset, producer })
    }
}

impl Input {
    /// Values in a row; `None` if they can't be counted.
    pub(super) fn width(&self) -> Option<usize> {
        self.tail.iter().try_fold(1_usize, |width, &dim| width.checked_mul(dim))
    }
}

impl Node {
    /// How messages name it.
    pub(super) fn label(&self) -> String {
        match (&*self.name, self.output.first()) {
            ("", Some(output)) => format!("{} that gives {output:?}", self.op_type),
            ("", None) => self.op_type.clone(),
            (name, _) => format!("{} {name:?}", self.op_type),
        }
    }

    fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn float(&self, name: &str, default: f32) -> f64 {
        self.attribute(name).map_or(f64::from(default), |attribute| match attribute.kind() {
            AttributeKind::Int => attribute.i as f64,
            _ => f64::from(attribute.f),
        })
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |attribute| attribute.i)
    }

    /// Empty if it isn't there.
    pub(super) fn floats(&self, name: &str) -> &[f32] {
        self.attribute(name).map_or(&[], |attribute| &attribute.floats)
    }

    /// Empty if it isn't there.
    pub(super) fn ints(&self, name: &str) -> &[i64] {
        self.attribute(name).map_or(&[], |attribute| &attribute.ints)
    }

    /// Empty if it isn't there.
    pub(super) fn strings(&self, name: &str) -> Result<Vec<String>, String> {
        let values = self.attribute(name).map_or(&[][..], |attribute| &attribute.strings);
        values.iter().map(|value| text(value)).collect()
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<String>, String> {
        self.attribute(name).map(|attribute| text(&attribute.s)).transpose()
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&proto::Tensor> {
        self.attribute(name)?.t.as_ref()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }
}

fn opset(model: &proto::Model) -> Result<i64, OnnxError> {
    let is_default = |domain: &str| domain == ONNX || domain == "ai.onnx";
    let default = model.opset_import.iter().find(|set| is_default(&set.domain));
    match default.map(|set| set.version) {
        Some(version) if version >= OLDEST_OPSET => Ok(version),
        Some(version) => Err(OnnxError::Graph(format!(
            "it is of opset {version}: export it with opset {OLDEST_OPSET} or later (opset_version of torch.onnx, \
             target_opset of skl2onnx)"
        ))),
        None => Err(OnnxError::Graph("it names no version of the operators: it is no ONNX model, or damaged".into())),
    }
}

/// The nodes that the outputs depend on; the order stays.
fn needed(nodes: &[Node], outputs: &[String]) -> Result<Vec<Node>, OnnxError> {
    let mut wanted: HashSet<String> = outputs.iter().cloned().collect();
    let mut made = HashSet::new();
    let mut kept = Vec::new();
    for node in nodes.iter().rev() {
        if let Some(twice) = node.output.iter().find(|name| !name.is_empty() && !made.insert((*name).clone())) {
            return Err(OnnxError::Graph(format!("two nodes give the value {twice:?}")));
        }
        if node.output.iter().any(|name| wanted.contains(name)) {
            wanted.extend(node.input.iter().cloned());
            kept.push(node.clone());
        }
    }
    kept.reverse();
    Ok(kept)
}

/// Names all operators at once that can't be run.
fn check_operators(nodes: &[Node]) -> Result<(), OnnxError> {
    let mut unknown = BTreeMap::new();
    for node in nodes.iter().filter(|node| !super::operators::is_known(&node.domain, &node.op_type)) {
        let name =
            if node.domain.is_empty() { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) };
        *unknown.entry(name).or_insert(0_usize) += 1;
    }
    if unknown.is_empty() { Ok(()) } else { Err(OnnxError::Operators(unknown)) }
}

/// Whether it is certain which value each attribute has.
fn check_attributes(nodes: &[Node]) -> Result<(), OnnxError> {
    for node in nodes {
        let mut known = HashSet::new();
        if let Some(twice) = node.attribute.iter().find(|attribute| !known.insert(&*attribute.name)) {
            let reason = format!("it has the attribute {:?} twice: the file is damaged", twice.name);
            return Err(OnnxError::Node { node: node.label(), reason });
        }
    }
    Ok(())
}

/// Whether each node takes only what is there before it.
fn check_order(nodes: &[Node], inputs: &[Input], constants: &HashMap<String, Array>) -> Result<(), OnnxError> {
    let mut known: HashSet<&str> = inputs.iter().map(|input| &*input.name).collect();
    known.extend(constants.keys().map(|name| &**name));
    for node in nodes {
        if let Some(name) = node.input.iter().find(|name| !name.is_empty() && !known.contains(&***name)) {
            let reason = format!("nothing before it gives {name:?}, which it takes: the file is damaged");
            return Err(OnnxError::Node { node: node.label(), reason });
        }
        known.extend(node.output.iter().map(|name| &**name));
    }
    Ok(())
}

fn input(info: &proto::ValueInfo, nodes: &[Node], constants: &HashMap<String, Array>) -> Result<Input, OnnxError> {
    let name = info.name.clone();
    let refuse = |reason: String| Err(OnnxError::Graph(format!("its input {:?} {reason}", info.name)));
    let Some(TypeValue::Tensor(tensor)) = info.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else {
        return refuse("is no tensor".into());
    };
    let Some(element) = Element::of(tensor.elem_type) else {
        return refuse(format!("has elements of type {}: export it with float or double", tensor.elem_type));
    };
    let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    let fixed = |value: Option<&DimensionValue>| match value {
        Some(&DimensionValue::Fixed(size)) => usize::try_from(size).ok().filter(|&size| size > 0),
        _ => None,
    };
    let (batch, tail) = match dims {
        [] if tensor.shape.is_some() => {
            return refuse("has no shape with rows: export it with one of (rows, columns)".into());
        }
        [] => (None, None),
        [rows, columns @ ..] => {
            (fixed(rows.value.as_ref()), columns.iter().map(|dim| fixed(dim.value.as_ref())).collect())
        }
    };
    let tail = match tail {
        Some(tail) => tail,
        None if dims.len() > 2 => {
            return refuse("has more than one dimension without a size: export it with sizes".into());
        }
        None => match width_of(&name, nodes, constants) {
            Ok(Some(width)) => vec![width],
            Ok(None) => {
                return refuse(
                    "has no fixed number of columns, and no weights say it: export it with one (only the rows may vary)"
                        .into(),
                );
            }
            Err(reason) => return refuse(reason),
        },
    };
    Ok(Input { name, element, data_type: tensor.elem_type(), batch, tail })
}
