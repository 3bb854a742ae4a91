//! ONNX: models of scikit-learn (skl2onnx) and PyTorch (torch.onnx) become bundles.
//!
//! A graph isn't run, it is understood: a walk through its nodes keeps for every value what it stands for (a constant,
//! columns that preprocessing makes of the features, something within the network, the answer), and each operator says
//! what it makes of that. At the end there is one chain from columns to an answer, which is put in the order of a
//! bundle.
//!
//! In reading order: `graph` is the file (with `functions` in place of their calls and the `width` of inputs), `refusals`
//! what is known not to be importable, `value` what values stand for, `operators` the walk, `term` what a number goes
//! through where that are no steps, `chain` the network as it is found, `branches` what makes one chain of it where it
//! joins branches, `layers` and `arrange` what becomes of it.
//! `reference` runs the graph, and every import is held against it.
//! `write` goes the other way.

mod arrange;
mod branches;
mod chain;
mod elementwise;
mod functions;
mod graph;
mod layers;
mod operators;
pub(crate) mod proto;
mod reference;
mod refusals;
mod tensor;
mod term;
mod value;
mod width;
mod write;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use self::arrange::{Arranged, Found};
use self::graph::{Graph, Input};
use self::operators::Walk;
use self::reference::{Fed, Place, Program};
use self::tensor::Reader;
use self::value::{Answer, Form, Value};
use crate::engine::Output;
use crate::model::import::{Hints, Imported};

pub use reference::{Difference, Reference};
pub use write::{Onnx, WriteError, write};

/// Why an ONNX file can't be imported.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The file system refuses.
    #[error("can't read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The bytes aren't those of an ONNX model.
    #[error("{} is no ONNX model, or only a part of one: export or copy it anew", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong where.
        source: prost::DecodeError,
    },
    /// The graph as a whole can't be imported.
    #[error("the graph can't be imported: {0}")]
    Graph(String),
    /// A constant can't be read.
    #[error("tensor {name:?}: {reason}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Operators that aren't understood, each with how often it is there.
    #[error("weir can't run {}", describe(.0))]
    Operators(BTreeMap<String, usize>),
    /// A node does something that weir can't.
    #[error("node {node}: {reason}")]
    Node {
        /// The node.
        node: String,
        /// What it does.
        reason: String,
    },
}

/// Reads the model in an ONNX file, and the tensors that it keeps in files beside it.
pub fn read(path: &Path, hints: &Hints) -> Result<Imported, OnnxError> {
    let model = graph::open(path)?;
    let reader = Reader::new(path);
    let graph = Graph::new(&model, reader.clone(), hints.limits)?;
    let mut walk = Walk::new(&graph);
    for node in &graph.nodes {
        walk.visit(node).map_err(|reason| OnnxError::Node { node: node.label(), reason })?;
    }
    let found = answer(&mut walk)?;
    let classes = found.classes.clone();
    let Walk { chain, features, .. } = walk;
    let arranged = arrange::arrange(&chain, features, found, hints);
    let Arranged { mut imported, kept, form } = arranged.map_err(OnnxError::Graph)?;
    let program = Program::new(&model, reader).map_err(OnnxError::Graph)?;
    let places = places(&graph);
    imported.reference = Some(Box::new(Reference {
        program,
        places: kept.iter().map(|&at| places[at]).collect(),
        inputs: graph.inputs.iter().map(fed).collect(),
        form,
        classes,
    }));
    let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let recipe = [("imported_from", file.into()), ("producer", graph.producer.into()), ("opset", graph.opset.into())];
    imported.recipe.extend(recipe.map(|(key, value): (&str, serde_json::Value)| (key.to_owned(), value)));
    Ok(imported)
}

/// The places of all values of a row, in the order of the features.
fn places(graph: &Graph) -> Vec<Place> {
    let inputs = graph.inputs.iter().enumerate();
    let of_input =
        |(input, it): (usize, &Input)| (0..it.width().unwrap_or(0)).map(move |column| Place { input, column });
    inputs.flat_map(of_input).collect()
}

fn fed(input: &Input) -> Fed {
    let Input { name, data_type, batch, tail, .. } = input;
    Fed { name: name.clone(), data_type: *data_type, batch: *batch, tail: tail.clone() }
}

/// The one answer that the outputs have in their forms.
fn answer(walk: &mut Walk<'_>) -> Result<Found, OnnxError> {
    let mut found: Option<Found> = None;
    for name in &walk.graph.outputs {
        let refused = |reason: &str| OnnxError::Graph(format!("its output {name:?} {reason}"));
        let (answer, classes, is_class) = match walk.value(name).cloned() {
            None => return Err(refused("is given by no node")),
            // The names of the classes, beside the answer.
            Some(Value::Constant(_)) => continue,
            Some(Value::Answer { answer, form: Form::Named(classes) }) => (answer, Some(classes.to_vec()), true),
            Some(Value::Answer { answer, form }) => (answer, None, matches!(form, Form::Index)),
            Some(Value::Inner(inner)) => {
                let of =
                    walk.chain.settle(&inner).map_err(|reason| refused(&format!("can't be imported: {reason}")))?;
                (Answer { of, output: Output::Identity }, None, false)
            }
            Some(Value::Columns(_)) => return Err(refused("is no answer of a network: there is no layer before it")),
            Some(Value::Sizes(_) | Value::Moment { .. }) => return Err(refused("is no answer of a network")),
        };
        match &mut found {
            None => found = Some(Found { answer, classes, has_class: is_class }),
            // Logits, and the class that they stand for.
            Some(found)
                if found.answer.of == answer.of
                    && [found.answer.output, answer.output].contains(&Output::Identity)
                    && (is_class || found.has_class) =>
            {
                let classes = found.classes.take().or(classes);
                let answer = Answer { output: Output::Identity, ..answer };
                *found = Found { answer, classes, has_class: true };
            }
            Some(found) if found.answer != answer => {
                return Err(refused(
                    "is another answer than that of the output before it: export the model with one of them",
                ));
            }
            Some(found) => found.classes = found.classes.take().or(classes),
        }
    }
    found.ok_or_else(|| OnnxError::Graph("it has no output".into()))
}

/// The operators, how often each is there, and what to do about them.
fn describe(operators: &BTreeMap<String, usize>) -> String {
    let mut text = String::new();
    for (index, (name, count)) in operators.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
        // Writing to a String can't fail.
        _ = write!(text, "{comma}{name} ({times})");
    }
    let mut advice: Vec<&str> = operators.keys().map(|name| advice(name)).collect();
    advice.sort_unstable();
    advice.dedup();
    format!("{text}: {}", advice.join("; "))
}

fn advice(operator: &str) -> &'static str {
    match operator {
        "LogSoftmax" => {
            "leave LogSoftmax out of the export, as the logits are enough: --task classification gives probabilities"
        }
        "DynamicQuantizeLinear" | "MatMulInteger" | "QLinearMatMul" | "QGemm" | "com.microsoft.QGemm" => {
            "export the model before it is quantised, and quantise it by `weir model quantize`"
        }
        "ReduceSumSquare" => {
            "Normalizer of scikit-learn can be imported where the inputs of the export are floats (FloatTensorType)"
        }
        "Hardmax" | "Shrink" | "Sin" | "Cos" | "Floor" | "Sign" => {
            "retrain with relu, leaky_relu, elu, tanh, logistic, gelu or silu as activation"
        }
        "Conv" | "ConvTranspose" | "MaxPool" | "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool" => {
            "convolutions and pooling (torch.nn.Conv1d, Conv2d, MaxPool1d) work on series and images: weir imports \
             networks of torch.nn.Linear"
        }
        "LSTM" | "GRU" | "RNN" => {
            "torch.nn.LSTM, GRU and RNN keep a state from one step to the next: weir imports networks of torch.nn.Linear"
        }
        "Attention" | "MultiHeadAttention" | "com.microsoft.MultiHeadAttention" => {
            "torch.nn.MultiheadAttention works on sequences: weir imports networks of torch.nn.Linear"
        }
        operator if operator.starts_with("com.microsoft.") => {
            "operators of com.microsoft are written by onnxruntime's optimiser: import the file that it was given"
        }
        "If" | "Loop" | "Scan" => "export the model by tracing, for one kind of input",
        _ => {
            "only multi-layer perceptrons, and the scalers, imputers and one-hot encoders before them, can be imported"
        }
    }
}

#[cfg(test)]
mod tests;
