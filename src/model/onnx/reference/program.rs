//! The graph of a file and its run.

use std::collections::{HashMap, HashSet};

use super::array::{TypedArray, computed_in, data_type};
use super::{Operands, RunValue, find};
use crate::model::onnx::proto::{self, Attribute, DataType, Node};
use crate::model::onnx::tensor::Reader;

/// Functions within functions; the file could nest them without end.
const DEEPEST: usize = 32;

/// A graph that can be run on rows.
#[derive(Debug)]
pub(in crate::model::onnx) struct Program {
    nodes: Vec<Node>,
    outputs: Vec<String>,
    constants: HashMap<String, RunValue>,
    /// By domain, name and overload.
    functions: HashMap<[String; 3], proto::Function>,
    opsets: Opsets,
    reader: Reader,
}

/// The version of each operator set.
type Opsets = HashMap<String, i64>;

/// Values by their names.
pub(super) type Values = HashMap<String, RunValue>;

impl Program {
    /// The program of a file; what no output depends on is left out.
    pub(in crate::model::onnx) fn new(model: &proto::Model, reader: Reader) -> Result<Program, String> {
        let graph = model.graph.as_ref().ok_or("it has no graph")?;
        let inputs: HashSet<&str> = graph.input.iter().map(|input| &*input.name).collect();
        let (mut wanted, mut of_rows) = (HashSet::new(), HashSet::new());
        wanted.extend(graph.output.iter().map(|output| &*output.name));
        let mut nodes = Vec::new();
        for node in graph.node.iter().rev() {
            if node.output.iter().any(|name| wanted.contains(&**name)) {
                wanted.extend(node.input.iter().map(|name| &**name));
                nodes.push(node);
            }
        }
        nodes.reverse();
        let constants: HashSet<&str> = graph.initializer.iter().map(|tensor| &*tensor.name).collect();
        let is_fed = |name: &str| inputs.contains(name) && !constants.contains(name);
        for node in &nodes {
            if node.input.iter().any(|name| is_fed(name) || of_rows.contains(&**name)) {
                of_rows.extend(node.output.iter().map(|name| &**name));
            }
        }
        let outputs = graph.output.iter().map(|output| output.name.clone());
        let outputs = outputs.filter(|name| of_rows.contains(&**name) || is_fed(name)).collect();
        let mut constants = HashMap::new();
        for tensor in graph.initializer.iter().filter(|tensor| wanted.contains(&*tensor.name)) {
            constants.insert(tensor.name.clone(), TypedArray::read(tensor, &reader)?.into());
        }
        let functions = model.functions.iter();
        let key = |it: &proto::Function| [it.domain.clone(), it.name.clone(), it.overload.clone()];
        let functions = functions.map(|it| (key(it), it.clone())).collect();
        // What no row changes is computed once.
        let (per_row, fixed): (Vec<Node>, Vec<Node>) =
            nodes.iter().copied().cloned().partition(|node| node.output.iter().any(|name| of_rows.contains(&**name)));
        let opsets = opsets(&model.opset_import);
        let per_row = without_casts_to_compute(per_row);
        let mut program = Program { nodes: per_row, outputs, constants, functions, opsets, reader };
        let mut values = Values::new();
        program.run_nodes(&fixed, &mut values, &program.opsets, 0)?;
        program.constants.extend(values);
        Ok(program)
    }

    /// The first node that rounds what a row gives to 16 bits.
    pub(super) fn rounding(&self) -> Option<String> {
        let bodies = self.functions.values().flat_map(|function| &function.node);
        self.nodes.iter().chain(bodies).find(|node| casts_to_16_bits(node)).map(Node::label)
    }

    /// How many numbers of the file a row is computed with: about as many multiplications.
    pub(super) fn numbers_per_row(&self) -> usize {
        let size = |name: &String| match self.constants.get(name) {
            Some(RunValue::Array(array)) => array.len(),
            _ => 0,
        };
        self.nodes.iter().flat_map(|node| &node.input).map(size).sum()
    }

    /// The largest dimension of a constant: a row is seldom wider within the graph.
    pub(super) fn widest(&self) -> usize {
        let sizes = self.constants.values().flat_map(|value| match value {
            RunValue::Array(array) => array.shape.clone(),
            RunValue::Maps { .. } => Vec::new(),
        });
        sizes.max().unwrap_or(1)
    }

    /// All numbers that stand in the file but those of large matrices.
    pub(super) fn edges(&self) -> Vec<f64> {
        const LARGE: usize = 256;
        let mut edges = Vec::new();
        let mut take = |values: &mut dyn Iterator<Item = f64>| edges.extend(values.take(LARGE));
        let bodies = self.functions.values().flat_map(|function| &function.node);
        for attribute in self.nodes.iter().chain(bodies).flat_map(|node| &node.attribute) {
            take(&mut attribute.floats.iter().map(|&value| f64::from(value)));
            take(&mut attribute.ints.iter().map(|&value| value as f64));
            take(&mut std::iter::once(f64::from(attribute.f)));
            let tensor = attribute.t.as_ref().and_then(|tensor| TypedArray::read(tensor, &self.reader).ok());
            if let Some(Ok(numbers)) = tensor.as_ref().map(TypedArray::numbers) {
                take(&mut numbers.iter().copied());
            }
        }
        for value in self.constants.values() {
            if let RunValue::Array(array) = value
                && array.len() <= LARGE
                && let Ok(numbers) = array.numbers()
            {
                take(&mut numbers.iter().copied());
            }
        }
        edges.retain(|edge| edge.is_finite());
        edges.sort_by(f64::total_cmp);
        edges.dedup();
        edges
    }

    /// What the outputs are for these inputs; an error names the node.
    pub(super) fn run(&self, inputs: Values) -> Result<Vec<RunValue>, String> {
        let mut values = inputs;
        self.run_nodes(&self.nodes, &mut values, &self.opsets, 0)?;
        let value =
            |name: &String| values.get(name).cloned().ok_or_else(|| format!("nothing gives its output {name:?}"));
        self.outputs.iter().map(value).collect()
    }

    fn run_nodes(&self, nodes: &[Node], values: &mut Values, opsets: &Opsets, depth: usize) -> Result<(), String> {
        for node in nodes {
            let results = self.run_node(node, values, opsets, depth);
            let results = results.map_err(|reason| format!("node {}: {reason}", node.label()))?;
            values.extend(node.output.iter().cloned().zip(results));
        }
        Ok(())
    }

    fn run_node(&self, node: &Node, values: &Values, opsets: &Opsets, depth: usize) -> Result<Vec<RunValue>, String> {
        let value = |name: &String| match &**name {
            "" => Ok(None),
            name => {
                // A function sees its own values only.
                let constant = if depth == 0 { self.constants.get(name) } else { None };
                let value = values.get(name).or(constant);
                value.cloned().map(Some).ok_or_else(|| format!("nothing gives {name:?}"))
            }
        };
        let operands: Vec<_> = node.input.iter().map(value).collect::<Result<_, String>>()?;
        if let Some(function) = self.functions.get(&[node.domain.clone(), node.op_type.clone(), node.overload.clone()])
        {
            return self.call(function, node, operands, depth);
        }
        let operator = find(&node.domain, &node.op_type).ok_or("the reference doesn't run it")?;
        let domain = if node.domain == "ai.onnx" { "" } else { &*node.domain };
        let opset = opsets.get(domain).copied().unwrap_or(1);
        operator(node, &Operands { values: operands, opset, reader: &self.reader })
    }

    /// Runs a function of the file.
    fn call(
        &self,
        function: &proto::Function,
        call: &Node,
        operands: Vec<Option<RunValue>>,
        depth: usize,
    ) -> Result<Vec<RunValue>, String> {
        if depth >= DEEPEST {
            return Err(format!("functions within functions, deeper than {DEEPEST}"));
        }
        let names = function.input.iter().cloned();
        let mut values: Values = names.zip(operands).filter_map(|(name, value)| Some((name, value?))).collect();
        let mut nodes = function.node.clone();
        for node in &mut nodes {
            // An optional input that the caller leaves out.
            for name in &mut node.input {
                if function.input.contains(name) && !values.contains_key(name) {
                    name.clear();
                }
            }
            node.attribute = node.attribute.iter().filter_map(|attribute| bound(attribute, call, function)).collect();
        }
        let opsets = opsets(&function.opset_import);
        self.run_nodes(&nodes, &mut values, &opsets, depth + 1)?;
        let value = |name: &String| values.remove(name).ok_or_else(|| format!("the function doesn't give {name:?}"));
        function.output.iter().map(value).collect()
    }
}

/// Operators that round nothing: they pass numbers on, choose among them, or change their sign.
const MOVERS: [&str; 19] = [
    "Identity",
    "Dropout",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Concat",
    "Gather",
    "Slice",
    "Split",
    "Expand",
    "Where",
    "Abs",
    "Neg",
    "Relu",
    "Clip",
    "Max",
    "Min",
];

fn casts_to_16_bits(node: &Node) -> bool {
    node.op_type == "Cast" && data_type(node.int("to", 0)).is_ok_and(|to| computed_in(to) != to)
}

/// A `Cast` to 16 bits before arithmetic only says where to compute: the arithmetic is taken for that of 32 bits, as
/// weir's is. One that no arithmetic of 16 bits comes after rounds, and stays.
fn without_casts_to_compute(nodes: Vec<Node>) -> Vec<Node> {
    let (mut nodes, mut computed_with) = (nodes, HashSet::new());
    for node in nodes.iter_mut().rev() {
        let is_used = node.output.iter().any(|name| computed_with.contains(name));
        match &*node.op_type {
            "Cast" if is_used && casts_to_16_bits(node) => {
                node.attribute.iter_mut().filter(|it| it.name == "to").for_each(|to| to.i = DataType::Float as i64);
            }
            "Cast" => {}
            name if MOVERS.contains(&name) && !is_used => {}
            _ => computed_with.extend(node.input.iter().cloned()),
        }
    }
    nodes
}

/// An attribute in a function's body, with the caller's value or the default where it refers to one.
fn bound(attribute: &Attribute, call: &Node, function: &proto::Function) -> Option<Attribute> {
    if attribute.ref_attr_name.is_empty() {
        return Some(attribute.clone());
    }
    let named =
        |attributes: &[Attribute]| attributes.iter().find(|given| given.name == attribute.ref_attr_name).cloned();
    let given = named(&call.attribute).or_else(|| named(&function.attribute_proto))?;
    Some(Attribute { name: attribute.name.clone(), ..given })
}

fn opsets(imported: &[proto::OperatorSetId]) -> Opsets {
    let domain = |set: &proto::OperatorSetId| if set.domain == "ai.onnx" { String::new() } else { set.domain.clone() };
    imported.iter().map(|set| (domain(set), set.version)).collect()
}
