//! A model version as an ONNX file, for whatever else should answer as weir does.
//!
//! The graph does what weir does, in its order and precision: a feature is an input of its own, under its name, N × 1
//! (numbers in double, categories as strings); what is missing is imputed; the steps over numbers are in double; then
//! all is rounded once to float, put side by side, and goes through the layers. Their weights are written as the f32
//! values that they stand for.
//!
//! What the format can't say: a record that weir rejects. A number without a substitute stays NaN; a category that the
//! model neither knows nor forgives makes the runtime refuse the batch, as OneHotEncoder does for scikit-learn. JSON
//! distinguishes `null` from `""`, a tensor of strings doesn't: the empty string is a missing category, unless the model has a
//! category of that name.

mod combined;
mod graph;
mod steps;

use std::borrow::Cow;

use ndarray::Axis;
use prost::Message;

use super::proto::{self, DataType, OperatorSetId, StringStringEntry};
use crate::engine::{Activation, Layer, Norm, NormPlace, Output};
use crate::model::bundle::Draft;
use crate::model::decision::Decision;
use crate::model::preprocess::{Combination, Part, Step, Transform};
use crate::model::signature::{Feature, Kind, Missing, Target, Unknown};
use crate::model::target_scale::TargetScale;

use graph::{Builder, float, int, ints, string, strings};

/// The operator set: the first one with Gelu.
const OPSET: i64 = 20;
/// That of `ai.onnx.ml`.
const ML_OPSET: i64 = 3;
/// The version of the format that came with [`OPSET`].
const IR_VERSION: i64 = 9;
/// What protobuf can hold.
const MAX_BYTES: usize = i32::MAX as usize;

const DOCUMENTATION: &str = "One input per feature, N x 1. A missing number is NaN, a missing category the empty \
     string. weir rejects a record without a value that nothing stands in for: here its answer means nothing, and a \
     category that the model neither knows nor forgives makes the run fail.";

/// A model as a file.
#[derive(Debug)]
pub struct Onnx {
    /// The file.
    pub bytes: Vec<u8>,
    /// The names of its outputs: `label` and `probabilities`, or `variable`; with a number behind it where a feature has
    /// that name.
    pub outputs: Vec<String>,
}

/// Why a model can't be written as ONNX.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// protobuf counts in 31 bits.
    #[error("the ONNX file would have {bytes} bytes, its format ends at {MAX_BYTES}; prune the model first")]
    TooLarge {
        /// How many it would have.
        bytes: usize,
    },
    /// No runtime reads dates.
    #[error("feature {feature:?} is a date or time (--datetime), which ONNX has no operators for")]
    Time {
        /// Its name.
        feature: String,
    },
}

/// Writes a version as an ONNX model of opset 20.
///
/// A classifier has the outputs `label` (N strings) and `probabilities` (N × classes, float), a regression has
/// `variable` (N × outputs, float, or double where the target lies far from 0).
pub fn write(model: &Draft, version: u64) -> Result<Onnx, WriteError> {
    let mut graph = Builder::default();
    let features = &model.signature.features;
    if let Some(feature) = features.iter().find(|feature| feature.kind == Kind::Time) {
        return Err(WriteError::Time { feature: feature.name.clone() });
    }
    let inputs: Vec<_> = features.iter().map(|feature| graph.input(&feature.name, element(feature))).collect();
    let columns = features.iter().zip(&model.preprocessing).zip(inputs);
    let columns: Vec<_> = columns.flat_map(|((feature, how), input)| column(&mut graph, feature, how, input)).collect();
    let mut value = graph.concat(columns);
    let inputs = model.layers.first().map_or(0, Layer::inputs);
    let mut taken = None;
    if let Some(Transform::Combined { columns, hidden }) = model.preprocessing.last() {
        let combined: usize = columns.iter().map(Combination::width).sum();
        value = combined::write(&mut graph, columns, &value, inputs - combined);
        // What is 0 for the network is left out, with its weights.
        if !hidden.is_empty() {
            let columns: Vec<usize> = (0..inputs).filter(|column| !hidden.contains(column)).collect();
            value = combined::pick(&mut graph, &value, &columns);
            taken = Some(columns);
        }
    }
    for (index, layer) in model.layers.iter().enumerate() {
        value = dense(&mut graph, index, layer, taken.take().as_deref(), &value);
    }
    let outputs = answer(&mut graph, model, &value);

    let file = proto::Model {
        ir_version: IR_VERSION,
        producer_name: "weir".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        model_version: i64::try_from(version).unwrap_or(i64::MAX),
        doc_string: DOCUMENTATION.into(),
        graph: Some(graph.finish(&model.name)),
        opset_import: [(proto::ONNX, OPSET), (proto::ML, ML_OPSET)]
            .map(|(domain, version)| OperatorSetId { domain: domain.into(), version })
            .into(),
        metadata_props: metadata(model, version),
        ..proto::Model::default()
    };
    match file.encoded_len() {
        bytes if bytes > MAX_BYTES => Err(WriteError::TooLarge { bytes }),
        _ => Ok(Onnx { bytes: file.encode_to_vec(), outputs }),
    }
}

fn metadata(model: &Draft, version: u64) -> Vec<StringStringEntry> {
    let (key, names) = match &model.signature.target {
        Target::Classification { classes, .. } => ("classes", classes),
        Target::Regression { names } => ("targets", names),
    };
    let names = serde_json::Value::from(names.as_slice()).to_string();
    let mut pairs = vec![("model", model.name.clone()), ("version", version.to_string()), (key, names)];
    if let Some(Decision { positive, threshold: Some(threshold) }) = &model.decision {
        pairs.extend([("positive", positive.clone()), ("threshold", threshold.to_string())]);
    }
    (pairs.into_iter()).map(|(key, value)| StringStringEntry { key: key.into(), value }).collect()
}

fn element(feature: &Feature) -> DataType {
    match feature.kind {
        Kind::Numeric | Kind::Time => DataType::Double,
        Kind::Categorical { .. } => DataType::String,
    }
}

/// What a feature gives to the network's input, as [`crate::model::preprocess`] computes it.
fn column(graph: &mut Builder, feature: &Feature, transform: &Transform, input: String) -> Vec<String> {
    match (transform, &feature.kind) {
        (Transform::Numeric { steps, indicator }, _) => number(graph, feature, steps, *indicator, input),
        (Transform::Several { parts }, _) => several(graph, feature, parts, &input),
        (Transform::OneHot, Kind::Categorical { categories, unknown }) => {
            vec![one_hot(graph, categories, *unknown, feature.missing, &input)]
        }
        // No draft has it: one-hot columns of a number, or columns of several for a feature.
        (Transform::OneHot, Kind::Numeric | Kind::Time) | (Transform::Combined { .. }, _) => Vec::new(),
    }
}

fn number(graph: &mut Builder, feature: &Feature, steps: &[Step], indicator: bool, input: String) -> Vec<String> {
    let mut parts = vec![Part::Number { steps: steps.to_vec() }];
    parts.extend(indicator.then_some(Part::Indicator));
    several(graph, feature, &parts, &input)
}

/// The columns of each part of a number.
fn several(graph: &mut Builder, feature: &Feature, parts: &[Part], input: &str) -> Vec<String> {
    let mut imputed = input.to_owned();
    let fill = feature.missing.fill();
    let is_asked = fill.is_some() || parts.contains(&Part::Indicator);
    let missing = if is_asked { graph.node("IsNaN", [input], vec![]) } else { String::new() };
    if let Some(fill) = fill {
        let fill = scalar(graph, &feature.name, "fill", fill);
        imputed = graph.node("Where", [&missing, &fill, input], vec![]);
    }
    let part = |part: &Part| match part {
        Part::Number { steps } => {
            let value = steps::write(graph, &feature.name, steps, &imputed);
            cast(graph, &value, DataType::Float)
        }
        Part::Indicator => cast(graph, &missing, DataType::Float),
        Part::Bins { steps, edges } => {
            let value = steps::write(graph, &feature.name, steps, &imputed);
            steps::bins(graph, &feature.name, edges, &value)
        }
    };
    parts.iter().map(part).collect()
}

/// A category becomes its index, then its columns. -1 stands for none of them.
fn one_hot(graph: &mut Builder, categories: &[String], unknown: Unknown, missing: Missing, input: &str) -> String {
    const NONE: i64 = -1;
    const MISSING: &str = "";
    let width = categories.len() + usize::from(unknown == Unknown::Other);
    let mut indices: Vec<_> = (0..categories.len() as i64).collect();
    let mut keys: Vec<_> = categories.iter().map(String::as_str).collect();
    if !keys.contains(&MISSING) {
        keys.push(MISSING);
        indices.push(missing.fill().map_or(NONE, |index| index as i64));
    }
    let otherwise = if unknown == Unknown::Other { categories.len() as i64 } else { NONE };
    let attributes = vec![
        strings("keys_strings", keys.into_iter()),
        ints("values_int64s", indices),
        int("default_int64", otherwise),
    ];
    let index = graph.ml_node("LabelEncoder", input, attributes);
    // Without it, what has no column fails the run.
    let zeros = unknown == Unknown::Zeros || missing == Missing::Zeros;
    let attributes = vec![ints("cats_int64s", (0..width as i64).collect()), int("zeros", zeros.into())];
    let columns = graph.ml_node("OneHotEncoder", &index, attributes);
    // It puts its columns into a dimension of their own.
    let shape = graph.sizes("shape", &[-1, width as i64]);
    graph.node("Reshape", [&columns, &shape], vec![])
}

/// A layer; of its inputs all, or those that are taken.
fn dense(graph: &mut Builder, index: usize, layer: &Layer, taken: Option<&[usize]>, input: &str) -> String {
    let name = |part| format!("layers.{index}.{part}");
    let mut weights = layer.weights.to_f32();
    if let Some(taken) = taken {
        weights = Cow::Owned(weights.select(Axis(0), taken));
    }
    let dims = [weights.nrows(), layer.outputs()];
    let weights = graph.floats(&name("weight"), &dims, weights.iter());
    let bias = graph.floats(&name("bias"), &dims[1..], &layer.bias);
    let mut value = graph.node("Gemm", [input, &weights, &bias], vec![]);
    let normalize = |graph: &mut Builder, place, value: String| match &layer.norm {
        Some(norm) if norm.place == place => layer_norm(graph, index, norm, &value),
        _ => value,
    };
    let parts = (layer.passed > 0).then(|| {
        let (active, outputs) = (layer.active(), layer.outputs());
        [0..active, active..outputs].map(|columns| combined::pick(graph, &value, &columns.collect::<Vec<_>>()))
    });
    let passed = parts.map(|[active, passed]| {
        value = active;
        passed
    });
    value = normalize(graph, NormPlace::BeforeActivation, value);
    value = activate(graph, index, layer, value);
    value = normalize(graph, NormPlace::AfterActivation, value);
    graph.concat([value].into_iter().chain(passed).collect())
}

fn layer_norm(graph: &mut Builder, index: usize, norm: &Norm, value: &str) -> String {
    let scale = graph.floats(&format!("layers.{index}.norm.scale"), &[norm.scale.len()], &norm.scale);
    let shift = graph.floats(&format!("layers.{index}.norm.shift"), &[norm.shift.len()], &norm.shift);
    graph.node("LayerNormalization", [value, &scale, &shift], vec![int("axis", -1), float("epsilon", norm.epsilon)])
}

fn activate(graph: &mut Builder, index: usize, layer: &Layer, value: String) -> String {
    let (op, attributes) = match layer.activation {
        Activation::Identity => return value,
        Activation::PRelu => {
            let slopes = layer.slopes.iter().flatten();
            let slopes = graph.floats(&format!("layers.{index}.slope"), &[layer.outputs()], slopes);
            return graph.node("PRelu", [&value, &slopes], vec![]);
        }
        Activation::Clamp { low, high } => {
            // An input without a name is none.
            let mut bound = |name, value: f32| match value.is_finite() {
                true => graph.floats(&format!("layers.{index}.{name}"), &[], &[value]),
                false => String::new(),
            };
            let (low, high) = (bound("low", low), bound("high", high));
            return graph.node("Clip", [&value, &low, &high], vec![]);
        }
        Activation::Round { low, high } => {
            let mut bound = |name, value| graph.floats(&format!("layers.{index}.{name}"), &[], &[value]);
            let (low, high) = (bound("low", low), bound("high", high));
            let clamped = graph.node("Clip", [&value, &low, &high], vec![]);
            return graph.node("Round", [&clamped], vec![]);
        }
        Activation::Silu => {
            let gate = graph.node("Sigmoid", [&value], vec![]);
            return graph.node("Mul", [&value, &gate], vec![]);
        }
        Activation::Relu => ("Relu", vec![]),
        Activation::LeakyRelu { slope } => ("LeakyRelu", vec![float("alpha", slope)]),
        Activation::Elu { alpha } => ("Elu", vec![float("alpha", alpha)]),
        Activation::Selu => ("Selu", vec![]),
        Activation::Celu { alpha } => ("Celu", vec![float("alpha", alpha)]),
        Activation::Tanh => ("Tanh", vec![]),
        Activation::Logistic => ("Sigmoid", vec![]),
        Activation::Gelu => ("Gelu", vec![string("approximate", "none")]),
        Activation::GeluTanh => ("Gelu", vec![string("approximate", "tanh")]),
        Activation::Softplus => ("Softplus", vec![]),
        Activation::Mish => ("Mish", vec![]),
        Activation::Softsign => ("Softsign", vec![]),
        Activation::HardSwish => ("HardSwish", vec![]),
        Activation::HardSigmoid { alpha, beta } => ("HardSigmoid", vec![float("alpha", alpha), float("beta", beta)]),
        Activation::ThresholdedRelu { alpha } => ("ThresholdedRelu", vec![float("alpha", alpha)]),
    };
    graph.node(op, [&value], attributes)
}

/// The outputs, and what they are called.
fn answer(graph: &mut Builder, model: &Draft, value: &str) -> Vec<String> {
    let logits = match model.output {
        Output::Identity | Output::Softmax | Output::Normalized => value.to_owned(),
        // The softmax of 0 and z is 1 - p and p for p = 1 / (1 + e⁻ᶻ), and both keep their digits.
        Output::Logistic => {
            let beside_zero = graph.floats("beside_zero", &[1, 2], &[0.0, 1.0]);
            graph.node("MatMul", [value, &beside_zero], vec![])
        }
    };
    match &model.signature.target {
        Target::Regression { names } => match model.target_scale {
            None => vec![graph.output("variable", &logits, DataType::Float, Some(names.len()))],
            Some(TargetScale { mean, std }) => {
                let (double, std) = (cast(graph, &logits, DataType::Double), graph.double("target.std", std));
                let scaled = graph.node("Mul", [&double, &std], vec![]);
                let mean = graph.double("target.mean", mean);
                let scaled = graph.node("Add", [&scaled, &mean], vec![]);
                vec![graph.output("variable", &scaled, DataType::Double, Some(names.len()))]
            }
        },
        Target::Classification { classes, .. } => {
            let probabilities = match model.output {
                Output::Normalized => shares(graph, &logits, classes.len()),
                _ => graph.node("Softmax", [&logits], vec![int("axis", -1)]),
            };
            // The first of equals, as weir's own.
            let best = graph.node("ArgMax", [&probabilities], vec![int("axis", 1), int("keepdims", 0)]);
            let names = graph.texts("classes", classes);
            let label = graph.node("Gather", [&names, &best], vec![int("axis", 0)]);
            vec![
                graph.output("label", &label, DataType::String, None),
                graph.output("probabilities", &probabilities, DataType::Float, Some(classes.len())),
            ]
        }
    }
}

/// Each value divided by the sum of all; if that is 0, all have equal shares.
fn shares(graph: &mut Builder, values: &str, count: usize) -> String {
    let axis = graph.sizes("axis", &[1]);
    let sum = graph.node("ReduceSum", [values, &axis], vec![int("keepdims", 1)]);
    let has_sum = cast(graph, &sum, DataType::Bool);
    let is_empty = graph.node("Not", [&has_sum], vec![]);
    let is_empty = cast(graph, &is_empty, DataType::Float);
    let raised = graph.node("Add", [values, &is_empty], vec![]);
    let count = graph.floats("count", &[], &[count as f32]);
    let empty_sum = graph.node("Mul", [&is_empty, &count], vec![]);
    let sum = graph.node("Add", [&sum, &empty_sum], vec![]);
    graph.node("Div", [&raised, &sum], vec![])
}

fn scalar(graph: &mut Builder, name: &str, part: &str, value: f64) -> String {
    graph.double(&format!("{name}.{part}"), value)
}

fn cast(graph: &mut Builder, value: &str, to: DataType) -> String {
    graph.node("Cast", [value], vec![int("to", i32::from(to).into())])
}
