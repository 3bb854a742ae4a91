//! Networks drawn from a seed out of all operators that are understood: each imports, and answers as its graph does.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::model::onnx::proto::Function;

/// Of each kind of row some: the draft's own check takes 2,000.
const ROWS: usize = 24;

/// A graph under construction.
struct Drawn {
    random: ChaCha8Rng,
    opset: i64,
    nodes: Vec<Node>,
    constants: Vec<Tensor>,
    /// The name of the value that is the last so far, and its width.
    last: (String, usize),
    /// Whether it comes from a linear layer: an activation of several operators is recognised there only.
    is_linear: bool,
}

impl Drawn {
    fn new(seed: u64) -> Drawn {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (opset, width) = (random.random_range(7..=22), random.random_range(1..=5));
        Drawn { random, opset, nodes: Vec::new(), constants: Vec::new(), last: ("x".into(), width), is_linear: false }
    }

    fn chance(&mut self, share: f64) -> bool {
        self.random.random_bool(share)
    }

    fn numbers(&mut self, count: usize, low: f32, high: f32) -> Vec<f32> {
        (0..count).map(|_| self.random.random_range(low..high)).collect()
    }

    fn constant(&mut self, dims: &[usize], values: Vec<f32>) -> String {
        let name = format!("c{}", self.constants.len());
        let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        self.constants.push(tensor(&name, &dims, &values));
        name
    }

    fn scalar(&mut self, value: f32) -> String {
        self.constant(&[], vec![value])
    }

    fn integers(&mut self, values: &[i64]) -> String {
        let name = format!("c{}", self.constants.len());
        self.constants.push(Tensor {
            name: name.clone(),
            dims: vec![values.len() as i64],
            data_type: DataType::Int64 as i32,
            int64_data: values.to_vec(),
            ..Tensor::default()
        });
        name
    }

    /// A node whose first inputs these are, and the name of what it gives.
    fn push(&mut self, operator: &str, inputs: &[&str]) -> String {
        let output = format!("v{}", self.nodes.len());
        self.nodes.push(node(operator, inputs, &output));
        output
    }

    fn attribute(&mut self, name: &str, value: impl FnOnce(&mut Attribute)) {
        let last = self.nodes.pop().unwrap();
        self.nodes.push(with(last, name, value));
    }

    /// A node of the last value, which it is the next of.
    fn then(&mut self, operator: &str, more: &[&str]) {
        let last = self.last.0.clone();
        let inputs: Vec<&str> = [&*last].into_iter().chain(more.iter().copied()).collect();
        self.last.0 = self.push(operator, &inputs);
    }

    fn alpha(&mut self, low: f32, high: f32) {
        let alpha = self.random.random_range(low..high);
        self.attribute("alpha", |attribute| attribute.f = alpha);
    }

    fn linear(&mut self, outputs: usize) {
        let inputs = self.last.1;
        let weights = self.numbers(inputs * outputs, -1.0, 1.0);
        let bias = self.numbers(outputs, -1.0, 1.0);
        if self.chance(0.5) {
            let weights = self.constant(&[inputs, outputs], weights);
            let bias = self.constant(&[outputs], bias);
            self.then("MatMul", &[&weights]);
            self.then("Add", &[&bias]);
        } else {
            let turned = self.chance(0.5);
            let dims = if turned { [outputs, inputs] } else { [inputs, outputs] };
            let weights = self.constant(&dims, weights);
            let bias = self.constant(&[outputs], bias);
            self.then("Gemm", &[&weights, &bias]);
            self.attribute("transB", |attribute| attribute.i = turned.into());
            if self.chance(0.3) {
                self.alpha(0.5, 2.0);
            }
        }
        self.last.1 = outputs;
        self.is_linear = true;
    }

    fn norm(&mut self) {
        let width = self.last.1;
        let mut vector = |low, high| {
            let values = self.numbers(width, low, high);
            self.constant(&[width], values)
        };
        let [scale, shift, mean, variance] =
            [(0.5, 2.0), (-1.0, 1.0), (-1.0, 1.0), (0.5, 2.0)].map(|(a, b)| vector(a, b));
        if self.opset >= 17 && width > 1 && self.chance(0.4) {
            self.then("LayerNormalization", &[&scale, &shift]);
        } else {
            self.then("BatchNormalization", &[&scale, &shift, &mean, &variance]);
        }
    }

    fn activation(&mut self) {
        let x = self.last.0.clone();
        let is_linear = std::mem::take(&mut self.is_linear);
        let simple = ["Relu", "Tanh", "Sigmoid", "Softplus", "Softsign", "Selu", "Abs", "Identity"];
        match self.random.random_range(0..16) {
            at @ 0..8 => self.then(simple[at], &[]),
            8 => {
                self.then("LeakyRelu", &[]);
                self.alpha(-0.5, 1.5);
            }
            9 => {
                self.then("Elu", &[]);
                self.alpha(0.1, 2.0);
            }
            10 if self.opset >= 12 => {
                self.then("Celu", &[]);
                self.alpha(0.1, 2.0);
            }
            11 => {
                self.then("HardSigmoid", &[]);
                self.alpha(0.1, 0.5);
            }
            12 => {
                let (low, high) = (self.random.random_range(-2.0..0.0), self.random.random_range(0.0..100.0));
                if self.opset < 11 {
                    self.then("Clip", &[]);
                    self.attribute("min", |attribute| attribute.f = low);
                    self.attribute("max", |attribute| attribute.f = high);
                } else {
                    let (low, high) = (self.scalar(low), self.scalar(high));
                    let low = if self.chance(0.3) { String::new() } else { low };
                    self.then("Clip", &[&low, &high]);
                }
            }
            13 => {
                let width = self.last.1;
                let count = if self.chance(0.3) { 1 } else { width };
                let slopes = self.numbers(count, -0.5, 1.5);
                let slopes = self.constant(&[count], slopes);
                self.then("PRelu", &[&slopes]);
            }
            _ if !is_linear => self.then("Tanh", &[]),
            14 => {
                // silu, or quick gelu
                let factor = self.random.random_range(0.5..2.0);
                let factor = self.scalar(factor);
                let scaled = if self.chance(0.5) { self.push("Mul", &[&x, &factor]) } else { x.clone() };
                let gate = self.push("Sigmoid", &[&scaled]);
                self.last.0 = self.push("Mul", &[&gate, &x]);
            }
            _ => self.newer_activation(&x),
        }
    }

    /// An operator of its own where the opset has it, else written out.
    fn newer_activation(&mut self, x: &str) {
        match self.random.random_range(0..4) {
            0 if self.opset >= 18 => self.then("Mish", &[]),
            0 => {
                let softplus = self.push("Softplus", &[x]);
                let tanh = self.push("Tanh", &[&softplus]);
                self.last.0 = self.push("Mul", &[x, &tanh]);
            }
            1 if self.opset >= 14 => self.then("HardSwish", &[]),
            1 if self.opset >= 11 => {
                let [three, zero, six] = [3.0, 0.0, 6.0].map(|value| self.scalar(value));
                let moved = self.push("Add", &[x, &three]);
                let part = self.push("Clip", &[&moved, &zero, &six]);
                let product = self.push("Mul", &[x, &part]);
                self.last.0 = self.push("Div", &[&product, &six]);
            }
            2 if self.opset >= 20 => {
                self.then("Gelu", &[]);
                let how = if self.chance(0.5) { "tanh" } else { "none" };
                self.attribute("approximate", |attribute| attribute.s = how.into());
            }
            2 if self.opset >= 9 => {
                let [root, one, half] = [std::f32::consts::SQRT_2, 1.0, 0.5].map(|value| self.scalar(value));
                let scaled = self.push("Div", &[x, &root]);
                let erf = self.push("Erf", &[&scaled]);
                let above = self.push("Add", &[&erf, &one]);
                let product = self.push("Mul", &[x, &above]);
                self.last.0 = self.push("Mul", &[&product, &half]);
            }
            3 if self.opset >= 10 => {
                self.then("ThresholdedRelu", &[]);
                self.alpha(-1.0, 1.0);
            }
            _ => {
                let slope = self.random.random_range(0.05..0.9);
                let slope = self.scalar(slope);
                let left = self.push("Mul", &[x, &slope]);
                self.last.0 = self.push("Max", &[x, &left]);
            }
        }
    }

    /// Integers and back, as onnxruntime's quantiser writes it.
    fn quantised(&mut self) {
        self.is_linear = false;
        let zero = self.random.random_range(0..=255);
        let scale = self.random.random_range(0.01..0.1);
        let scale = self.scalar(scale);
        let point = format!("c{}", self.constants.len());
        let data_type = DataType::Uint8 as i32;
        self.constants.push(Tensor { name: point.clone(), data_type, int32_data: vec![zero], ..Tensor::default() });
        self.then("QuantizeLinear", &[&scale, &point]);
        self.then("DequantizeLinear", &[&scale, &point]);
    }

    /// Some of the last value's columns, or all of them.
    fn picked(&mut self) {
        let width = self.last.1 as i64;
        if self.opset >= 10 && self.chance(0.5) {
            let start = self.random.random_range(0..width);
            let [start, end, axis] = [start, i64::MAX, 1].map(|value| self.integers(&[value]));
            let [zero, rows] = [0, 0].map(|value| self.integers(&[value]));
            self.then("Slice", &[&zero, &end, &rows]);
            self.then("Slice", &[&start, &end, &axis]);
            self.last.1 = self.left_from(&start, width);
        } else {
            let places: Vec<i64> =
                (0..self.random.random_range(1..=4)).map(|_| self.random.random_range(0..width)).collect();
            self.last.1 = places.len();
            let places = self.integers(&places);
            self.then("Gather", &[&places]);
            self.attribute("axis", |attribute| attribute.i = 1);
        }
    }

    /// How many columns are left from the start that a constant says.
    fn left_from(&self, start: &str, width: i64) -> usize {
        let start = self.constants.iter().find(|tensor| tensor.name == start).map_or(0, |tensor| tensor.int64_data[0]);
        (width - start) as usize
    }

    /// Some of the nodes as functions of the file, their attributes as the caller's.
    fn functions(&mut self) -> Vec<Function> {
        let mut functions = Vec::new();
        for at in 0..self.nodes.len() {
            if !self.chance(0.1) {
                continue;
            }
            let call = &mut self.nodes[at];
            let (name, inputs) = (format!("f{at}"), (0..call.input.len()).map(|input| format!("v{input}")));
            let input: Vec<String> = inputs.collect();
            let refer = |it: &Attribute| Attribute {
                name: it.name.clone(),
                ref_attr_name: it.name.clone(),
                ..Attribute::default()
            };
            let given =
                input.iter().zip(&call.input).map(|(name, given)| if given.is_empty() { "" } else { name.as_str() });
            let body = Node {
                input: given.map(String::from).collect(),
                output: vec!["result".into()],
                attribute: call.attribute.iter().map(refer).collect(),
                ..call.clone()
            };
            functions.push(Function {
                name: name.clone(),
                domain: "local".into(),
                input,
                output: vec!["result".into()],
                node: vec![body],
                opset_import: vec![OperatorSetId { domain: String::new(), version: self.opset }],
                ..Function::default()
            });
            (call.op_type, call.domain) = (name, "local".into());
        }
        functions
    }

    /// A node that changes no number of a row.
    fn nothing(&mut self) {
        match self.random.random_range(0..4) {
            0 => self.then("Identity", &[]),
            1 => self.then("Dropout", &[]),
            2 => self.then("Flatten", &[]),
            _ => {
                let shape = [0, self.last.1 as i64];
                let shape = self.integers(&shape);
                self.then("Reshape", &[&shape]);
            }
        }
    }

    /// What a branch does, while numbers may pass by it.
    fn function_of_branch(&mut self) {
        match self.random.random_range(0..5) {
            0 => self.norm(),
            1 => {
                self.norm();
                self.activation();
            }
            2 => self.activation(),
            _ => self.passable_activation(),
        }
    }

    /// Something that other numbers pass by in a layer that has slopes.
    fn passable_activation(&mut self) {
        let width = self.last.1;
        match self.random.random_range(0..4) {
            0 => {
                self.then("LeakyRelu", &[]);
                self.alpha(-0.5, 1.5);
            }
            1 => {
                let slopes = self.numbers(width, -0.5, 1.5);
                let slopes = self.constant(&[width], slopes);
                self.then("PRelu", &[&slopes]);
            }
            2 => {}
            _ => self.then("Relu", &[]),
        }
    }

    /// Two branches of the last value, which are added or put side by side.
    fn branches(&mut self) {
        let start = self.last.clone();
        let is_sum = self.chance(0.6);
        let width = if is_sum && self.chance(0.2) { 1 } else { self.random.random_range(1..=6) };
        let hidden = self.random.random_range(1..=8);
        match self.random.random_range(0..3) {
            // x and f(x)
            0 => {
                self.linear(hidden);
                self.function_of_branch();
                self.linear(if is_sum { start.1 } else { width });
                self.join(&start, is_sum);
            }
            // A branch of one layer and one of two.
            1 => {
                self.linear(width);
                let shallow = std::mem::replace(&mut self.last, start);
                self.linear(hidden);
                self.function_of_branch();
                self.linear(if is_sum { shallow.1 } else { width });
                self.function_of_branch();
                self.join(&shallow, is_sum);
            }
            // Both with the same activation, or each with its own.
            _ => {
                let operators = ["Tanh", "Sigmoid", "Relu", "Elu", "Softplus"];
                let operator = operators[self.random.random_range(0..operators.len())];
                self.linear(hidden);
                self.then(operator, &[]);
                let first = std::mem::replace(&mut self.last, start);
                self.linear(if is_sum { hidden } else { width });
                let other = operators[self.random.random_range(0..operators.len())];
                let is_same = self.chance(0.5);
                self.then(if is_same { operator } else { other }, &[]);
                self.join(&first, is_sum);
            }
        }
        self.is_linear = true;
    }

    /// The last value and another one.
    fn join(&mut self, other: &(String, usize), is_sum: bool) {
        if is_sum {
            let operator = ["Add", "Sub", "Sum"][self.random.random_range(0..3)];
            self.then(operator, &[&other.0]);
            return;
        }
        self.then("Concat", &[&other.0]);
        self.attribute("axis", |attribute| attribute.i = 1);
        self.last.1 += other.1;
    }

    fn end(&mut self) {
        match self.random.random_range(0..6) {
            0 if self.last.1 > 1 => {
                self.then("Softmax", &[]);
                self.attribute("axis", |attribute| attribute.i = 1);
            }
            1 => self.then("Sigmoid", &[]),
            2 => self.activation(),
            _ => {}
        }
    }

    fn model(mut self) -> Model {
        let inputs = self.last.1;
        let layers = self.random.random_range(1..=3);
        for _ in 0..layers {
            let outputs = self.random.random_range(1..=7);
            self.linear(outputs);
            if self.chance(0.25) {
                self.branches();
            }
            for share in [0.3, 0.1] {
                if self.chance(share) {
                    self.norm();
                }
                if self.chance(0.8) {
                    self.activation();
                }
                if self.chance(share) {
                    self.nothing();
                }
                if self.chance(share / 3.0) {
                    self.picked();
                }
                if self.opset >= 10 && self.chance(share / 3.0) {
                    self.quantised();
                }
            }
        }
        let outputs = self.random.random_range(1..=4);
        self.linear(outputs);
        self.end();
        let functions = self.functions();
        let output = self.last.0.clone();
        let mut model = model(self.nodes);
        model.functions = functions;
        model.opset_import[0].version = self.opset;
        let graph = model.graph.as_mut().unwrap();
        graph.input = vec![input("x", DataType::Float, Some(inputs as i64))];
        graph.initializer = self.constants;
        graph.output[0].name = output;
        model
    }
}

/// Imports a drawn graph and compares it on some rows.
fn compare(seed: u64) -> Result<(), String> {
    let model = Drawn::new(seed).model();
    let mut imported =
        import_with(&model, &Hints::default()).map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
    let reference = imported.reference.take().unwrap();
    let (draft, _) = imported.into_draft("m", &Evidence::default()).map_err(|error| error.to_string())?;
    let (_, files) = draft.bundle(1, String::new()).map_err(|error| error.to_string())?;
    let model = crate::model::Model::load(&files, |_| {}).map_err(|error| error.to_string())?;
    reference.check(&model, &draft.preprocessing, ROWS).map_err(|error| error.to_string())?;
    Ok(())
}

/// 500 of the 2,000 graphs: the tests run beside each other.
fn compare_quarter(quarter: u64) {
    for seed in quarter * 500..(quarter + 1) * 500 {
        if let Err(reason) = compare(seed) {
            let model = Drawn::new(seed).model();
            let nodes: Vec<_> = model.graph.unwrap().node.into_iter().map(|node| node.op_type).collect();
            panic!("seed {seed}, opset {}, {nodes:?}: {reason}", model.opset_import[0].version);
        }
    }
}

#[test]
fn random_graphs_answer_as_their_reference_1() {
    compare_quarter(0);
}

#[test]
fn random_graphs_answer_as_their_reference_2() {
    compare_quarter(1);
}

#[test]
fn random_graphs_answer_as_their_reference_3() {
    compare_quarter(2);
}

#[test]
fn random_graphs_answer_as_their_reference_4() {
    compare_quarter(3);
}
