//! Operators that a file defines itself, as torch.onnx did in its versions 2.1 to 2.4: their bodies take the place of
//! their calls.

use std::collections::HashMap;

use super::OnnxError;
use super::proto::{self, Attribute, Function, ML, Node, ONNX};

/// Functions within functions; a file could nest them without end.
const DEEPEST: usize = 32;

/// Nodes that a graph has with all bodies: a small file may double them at each level.
const MOST_NODES: usize = 1 << 17;

/// The nodes of a file's graph, with the bodies of its functions in place of their calls.
pub(super) fn inlined(model: &proto::Model, nodes: &[Node]) -> Result<Vec<Node>, OnnxError> {
    if model.functions.is_empty() {
        return Ok(nodes.to_vec());
    }
    // A runtime may take either the file's operator or its own.
    if let Some(function) = model.functions.iter().find(|it| matches!(&*it.domain, ONNX | "ai.onnx" | ML)) {
        let name = &function.name;
        return Err(OnnxError::Graph(format!(
            "it redefines the operator {name} of ONNX: give the function a domain of its own"
        )));
    }
    let functions = model.functions.iter().map(|it| ((&*it.domain, &*it.name, &*it.overload), it)).collect();
    let mut inliner = Inliner { functions, nodes: Vec::new(), calls: 0 };
    nodes.iter().try_for_each(|node| inliner.add(node.clone(), 0)).map_err(OnnxError::Graph)?;
    Ok(inliner.nodes)
}

struct Inliner<'a> {
    /// By domain, name and overload.
    functions: HashMap<(&'a str, &'a str, &'a str), &'a Function>,
    nodes: Vec<Node>,
    /// So far: the values of each call have names of their own.
    calls: usize,
}

impl Inliner<'_> {
    /// Adds a node whose names are the graph's.
    fn add(&mut self, node: Node, depth: usize) -> Result<(), String> {
        match self.functions.get(&(&*node.domain, &*node.op_type, &*node.overload)).copied() {
            Some(function) => self.call(function, &node, depth + 1),
            None if self.nodes.len() >= MOST_NODES => {
                Err(format!("with the bodies of its functions it has more than {MOST_NODES} nodes"))
            }
            None => {
                self.nodes.push(node);
                Ok(())
            }
        }
    }

    fn call(&mut self, function: &Function, call: &Node, depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("it calls functions within functions, deeper than {DEEPEST}"));
        }
        if call.input.len() > function.input.len() || call.output.len() > function.output.len() {
            return Err(format!("node {} has more inputs or outputs than its function", call.label()));
        }
        self.calls += 1;
        let own = format!("{}#{}", function.name, self.calls);
        // An optional input or output that the caller leaves out has the empty name.
        let given = |names: &[String], at: usize| names.get(at).cloned().unwrap_or_default();
        let inputs = function.input.iter().enumerate().map(|(at, name)| (&**name, given(&call.input, at)));
        let mut names: HashMap<&str, String> = inputs.collect();
        let mut copies = Vec::new();
        for (at, name) in function.output.iter().enumerate() {
            let outside = given(&call.output, at);
            // What is an input as well, or an output already, is copied.
            if names.contains_key(&**name) {
                copies.push((name, outside));
            } else if !outside.is_empty() {
                names.insert(name, outside);
            }
        }
        let renamed = |name: &String| match names.get(&**name) {
            Some(outside) => outside.clone(),
            None if name.is_empty() => String::new(),
            None => format!("{own}/{name}"),
        };
        for node in &function.node {
            let label = if node.name.is_empty() { &node.op_type } else { &node.name };
            let inner = Node {
                input: node.input.iter().map(renamed).collect(),
                output: node.output.iter().map(renamed).collect(),
                name: format!("{}/{label}", function.name),
                attribute: node.attribute.iter().filter_map(|it| bound(it, call, function)).collect(),
                ..node.clone()
            };
            self.add(inner, depth)?;
        }
        for (name, outside) in copies.into_iter().filter(|(_, outside)| !outside.is_empty()) {
            let (input, output) = (vec![renamed(name)], vec![outside]);
            self.add(Node { op_type: "Identity".into(), name: own.clone(), input, output, ..Node::default() }, depth)?;
        }
        Ok(())
    }
}

/// An attribute of a body's node; one that refers to the function's has the caller's value, or the default.
fn bound(attribute: &Attribute, call: &Node, function: &Function) -> Option<Attribute> {
    if attribute.ref_attr_name.is_empty() {
        return Some(attribute.clone());
    }
    let of = |attributes: &[Attribute]| attributes.iter().find(|it| it.name == attribute.ref_attr_name).cloned();
    let value = of(&call.attribute).or_else(|| of(&function.attribute_proto))?;
    Some(Attribute { name: attribute.name.clone(), ..value })
}
