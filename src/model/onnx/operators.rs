//! The operators that are understood, and what each makes of the values it takes.
//!
//! An operator gives one value per output that somebody may take; what it can't do with a value it says in a few
//! words, to which the walk adds the node's name.

mod activation;
mod arithmetic;
mod calibrated;
mod combined;
mod computed;
mod discrete;
mod encoding;
mod joins;
mod network;
mod own;
mod quantized;
mod shape;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::chain::Chain;
use super::graph::{Graph, Input};
use super::proto::{ML, Node, ONNX};
use super::tensor::{Array, Element};
use super::value::{Answer, Cell, Columns, Value};
use crate::engine::Output;
use crate::model::preprocess::Step;
use crate::model::signature::{Missing, Unknown};

/// Columns, or sizes, in one value: no graph that is meant well has more, and one that isn't doubles them at each node.
const WIDEST: usize = 1 << 20;

/// What is said of branches.
const BRANCHES: &str = "weir imports branches that are added (x + f(x)) or put side by side (torch.cat along the \
                        columns): train the network with these";

/// What the walk through a graph has found so far.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    pub(super) graph: &'a Graph,
    values: HashMap<String, Value>,
    pub(super) chain: Chain,
    /// One per value of a row, in the order of the inputs.
    pub(super) features: Vec<Feature>,
    /// The number of rows, if the graph fixes it.
    batch: Option<usize>,
    /// How many weights the linear layers found so far have.
    weights: usize,
}

/// A value of a row.
#[derive(Debug)]
pub(super) struct Feature {
    pub(super) name: String,
    /// Whether it is an input of its own.
    pub(super) alone: bool,
    pub(super) element: Element,
    /// If it is one-hot encoded.
    pub(super) encoded: Option<Encoded>,
}

/// How a feature is encoded.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Encoded {
    pub(super) categories: Vec<String>,
    pub(super) unknown: Unknown,
    pub(super) missing: Missing,
}

impl Feature {
    /// It has one encoding wherever it goes in.
    fn encode(&mut self, encoded: Encoded) -> Result<(), String> {
        match &self.encoded {
            Some(before) if *before != encoded => {
                Err(format!("it encodes {:?}, which is encoded in another way too", self.name))
            }
            _ => {
                self.encoded = Some(encoded);
                Ok(())
            }
        }
    }
}

type Operator = fn(&mut Walk<'_>, &Node) -> Result<Vec<Value>, String>;

/// What is done for an operator.
fn find(domain: &str, name: &str) -> Option<Operator> {
    let operator: Operator = match (domain, name) {
        (ONNX | "ai.onnx", name) => match name {
            "Add" => arithmetic::add,
            "Sub" => arithmetic::sub,
            "Mul" => arithmetic::mul,
            "Div" => arithmetic::div,
            "Pow" => arithmetic::pow,
            "Sqrt" => arithmetic::sqrt,
            "Clip" => activation::clip,
            "Max" | "Min" => activation::extreme,
            "PRelu" => activation::prelu,
            "Relu" | "LeakyRelu" | "Elu" | "Celu" | "Selu" | "Tanh" | "Sigmoid" | "Gelu" | "Softplus" | "Softsign"
            | "Mish" | "HardSwish" | "HardSigmoid" | "ThresholdedRelu" | "Swish" | "Neg" | "Erf" | "Abs"
            | "Reciprocal" | "Round" => activation::unary,
            "Exp" => calibrated::exp,
            "Sum" => joins::sum,
            "Log" => own::log,
            "IsNaN" => own::is_nan,
            "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" => discrete::compare,
            "Not" => discrete::not,
            "Cast" => encoding::cast,
            "Where" => activation::choose,
            "MatMul" => network::matmul,
            "Gemm" => network::gemm,
            "BatchNormalization" => network::batch_norm,
            "LayerNormalization" => network::layer_norm,
            "ReduceMean" => network::reduce_mean,
            "Softmax" => network::softmax,
            "ArgMax" => discrete::arg_max,
            "Constant" => shape::constant,
            "Identity" | "Dropout" => shape::identity,
            "Shape" => shape::shape,
            "Reshape" => shape::reshape,
            "Flatten" => shape::flatten,
            "Squeeze" => shape::squeeze,
            "Unsqueeze" => shape::unsqueeze,
            "Transpose" => shape::transpose,
            "Concat" => joins::concat,
            "Gather" => shape::gather,
            "Slice" => shape::slice,
            "Split" => shape::split,
            "CastLike" => shape::cast_like,
            "QuantizeLinear" => quantized::quantize,
            "DequantizeLinear" => quantized::dequantize,
            "ReduceSum" => encoding::reduce_sum,
            "ReduceProd" => combined::reduce_prod,
            "ConstantOfShape" => combined::constant_of_shape,
            _ => return None,
        },
        (ML, name) => match name {
            "Scaler" => arithmetic::scaler,
            "Imputer" => encoding::imputer,
            "OneHotEncoder" => encoding::one_hot,
            "Binarizer" => discrete::binarizer,
            "LabelEncoder" => encoding::label_encoder,
            "ArrayFeatureExtractor" => shape::extract,
            "ZipMap" => network::zip_map,
            "Normalizer" => network::normalizer,
            "LinearRegressor" => network::linear_regressor,
            "LinearClassifier" => network::linear_classifier,
            _ => return None,
        },
        _ => return None,
    };
    Some(operator)
}

/// Whether an operator is understood.
pub(super) fn is_known(domain: &str, name: &str) -> bool {
    find(domain, name).is_some()
}

impl<'a> Walk<'a> {
    /// A walk that has seen the inputs and constants of a graph.
    pub(super) fn new(graph: &'a Graph) -> Walk<'a> {
        let constants = graph.constants.iter();
        let constants = constants.map(|(name, array)| (name.clone(), Value::Constant(Rc::new(array.clone()))));
        let mut walk = Walk {
            graph,
            values: constants.collect(),
            chain: Chain::default(),
            features: Vec::new(),
            batch: graph.inputs.iter().find_map(|input| input.batch),
            weights: 0,
        };
        for input in &graph.inputs {
            let columns = walk.take(input);
            walk.values.insert(input.name.clone(), Value::Columns(columns));
        }
        walk
    }

    /// Makes features of an input.
    fn take(&mut self, input: &Input) -> Columns {
        let width: usize = input.tail.iter().product();
        let name = self.column_names(input, width);
        let mut cells = Vec::with_capacity(width);
        for index in 0..width {
            let feature = self.features.len();
            self.features.push(Feature { name: name(index), alone: width == 1, element: input.element, encoded: None });
            cells.push(match input.element {
                Element::Text => Cell::Text { feature, replaced: None },
                // onnxruntime takes f32, so that is what a record's number becomes first.
                Element::Float => Cell::Number { feature, fill: None, steps: vec![Step::Round] },
                Element::Double | Element::Integer | Element::Boolean => {
                    Cell::Number { feature, fill: None, steps: Vec::new() }
                }
            });
        }
        Columns { cells, tail: input.tail.clone(), element: input.element }
    }

    /// The name of each column of an input. Columns of a matrix are called x0, x1, … as scikit-learn does, or x_0, x_1, …
    /// where another input has one of these names.
    fn column_names(&self, input: &Input, width: usize) -> impl Fn(usize) -> String + use<> {
        let alone = input.name.clone();
        let mut prefix = if self.graph.inputs.len() == 1 { "x".to_owned() } else { input.name.clone() };
        let inputs = self.graph.inputs.iter().map(|input| &*input.name);
        let taken: HashSet<&str> = inputs.chain(self.features.iter().map(|feature| &*feature.name)).collect();
        if width > 1 && self.graph.inputs.len() > 1 {
            while (0..width).any(|index| taken.contains(&*format!("{prefix}{index}"))) {
                prefix.push('_');
            }
        }
        move |index| if width == 1 { alone.clone() } else { format!("{prefix}{index}") }
    }

    /// Works out what a node gives.
    pub(super) fn visit(&mut self, node: &Node) -> Result<(), String> {
        let Some(operator) = find(&node.domain, &node.op_type) else { return Err("weir can't run it".into()) };
        let values = operator(self, node)?;
        for (name, value) in node.output.iter().zip(values) {
            let width = match &value {
                Value::Columns(columns) => columns.cells.len(),
                Value::Sizes(sizes) => sizes.len(),
                Value::Inner(inner) => inner.tail.iter().product(),
                _ => 0,
            };
            let widest = self.graph.limits.raise(WIDEST);
            if width > widest {
                return Err(format!("it gives {width} columns, {widest} are the limit: --limit-factor raises it"));
            }
            self.values.insert(name.clone(), value);
        }
        Ok(())
    }

    /// How many columns an answer has.
    fn classes(&self, answer: Answer) -> usize {
        match answer.output {
            Output::Logistic => 2,
            Output::Identity | Output::Softmax | Output::Normalized => self.chain.link(answer.of).width,
        }
    }

    /// The value of this name, if it has been worked out.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// An input of a node that may be left out.
    fn optional(&self, node: &Node, index: usize) -> Result<Option<&Value>, String> {
        match node.input.get(index).map(String::as_str) {
            None | Some("") => Ok(None),
            Some(name) => match self.values.get(name) {
                Some(value) => Ok(Some(value)),
                None => Err(format!("it takes {name:?}, which weir doesn't work out")),
            },
        }
    }

    fn input(&self, node: &Node, index: usize) -> Result<&Value, String> {
        self.optional(node, index)?.ok_or_else(|| format!("it lacks its input {index}"))
    }

    /// An input that must be constant.
    fn constant(&self, node: &Node, index: usize) -> Result<Rc<Array>, String> {
        self.optional_constant(node, index)?.ok_or_else(|| format!("it lacks its input {index}"))
    }

    fn optional_constant(&self, node: &Node, index: usize) -> Result<Option<Rc<Array>>, String> {
        match self.optional(node, index)? {
            None => Ok(None),
            Some(Value::Constant(array)) => Ok(Some(Rc::clone(array))),
            Some(_) => Err(format!("its input {index} isn't constant")),
        }
    }

    /// The integers of an input or, as older opsets have it, of an attribute; `None` if it is in neither.
    fn integers(&self, node: &Node, index: usize, attribute: &str) -> Result<Option<Vec<i64>>, String> {
        match self.optional_constant(node, index)? {
            Some(array) => Ok(Some(array.as_integers()?.to_vec())),
            None if node.has(attribute) => Ok(Some(node.ints(attribute).to_vec())),
            None => Ok(None),
        }
    }
}

/// The place of an axis counted from the end or the start, of so many.
fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let place = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    let place = place.and_then(|place| usize::try_from(place).ok()).filter(|&place| place < rank);
    place.ok_or_else(|| format!("there is no axis {axis} of {rank}"))
}

/// Whether an axis is the last of those of a value with the batch as first dimension.
fn is_last(axis_: i64, tail: &[usize]) -> Result<bool, String> {
    Ok(axis(axis_, tail.len() + 1)? == tail.len() && !tail.is_empty())
}

/// A value's kind, for messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Constant(_) => "a constant",
        Value::Sizes(_) => "sizes",
        Value::Columns(_) => "columns before the network",
        Value::Inner(_) => "values within the network",
        Value::Moment { .. } => "a part of a layer normalisation",
        Value::Answer { .. } => "the answer",
    }
}
