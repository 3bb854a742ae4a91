//! ONNX Runtime in this process, by its C API: the library out of the Python package that `scripts/setup test` installs.
//!
//! It gets the network as an ONNX graph of Gemm, Relu and Softmax (which it fuses and packs as it likes), one thread, a
//! batch of fixed size, and an input and an output that stay where they are, so that a run allocates and copies nothing
//! of its own: the fastest way that it has.

use std::path::PathBuf;
use std::ptr;

use ort::AsPointer;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::Tensor;
use prost::Message;

use weir::engine::{Activation, Layer};

/// Loads the library, if it is there; otherwise says what to do.
pub(crate) fn load() -> Result<(), String> {
    let missing = "no libonnxruntime.so: `scripts/setup test` installs one";
    let library = library().ok_or(missing)?;
    let environment = ort::init_from(&library).map_err(|error| format!("{}: {error}", library.display()))?;
    environment.commit();
    Ok(())
}

/// `~/.cache/weir/python/lib/python3.*/site-packages/onnxruntime/capi/libonnxruntime.so*`
fn library() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let pattern = cache.join("weir/python/lib/python3.*/site-packages/onnxruntime/capi/libonnxruntime.so*");
    glob::glob(pattern.to_str()?).ok()?.find_map(Result::ok)
}

/// A session with its input and its output.
pub(crate) struct OnnxRuntime {
    session: Session,
    input: Tensor<f32>,
    output: Tensor<f32>,
}

impl OnnxRuntime {
    /// The network with a softmax behind it, for batches like `x`, rows × inputs.
    pub(crate) fn new(layers: &[Layer], rows: usize, x: &[f32]) -> ort::Result<OnnxRuntime> {
        let session = Session::builder()?
            .with_optimization_level(GraphOptimizationLevel::Level3)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .commit_from_memory(&graph(layers, rows).encode_to_vec())?;
        let outputs = layers.last().map_or(0, Layer::outputs);
        let input = Tensor::from_array(([rows, x.len() / rows], x.to_vec()))?;
        let output = Tensor::from_array(([rows, outputs], vec![0.0; rows * outputs]))?;
        Ok(OnnxRuntime { session, input, output })
    }

    pub(crate) fn run(&mut self) {
        let inputs = [self.input.ptr()];
        let mut outputs = [self.output.ptr_mut()];
        // SAFETY: names and values are as many as is said, and live until the call returns; the session isn't shared.
        let status = unsafe {
            (ort::api().Run)(
                self.session.ptr().cast_mut(),
                ptr::null(),
                [c"x".as_ptr()].as_ptr(),
                inputs.as_ptr(),
                1,
                [c"y".as_ptr()].as_ptr(),
                1,
                outputs.as_mut_ptr(),
            )
        };
        assert!(status.0.is_null(), "ONNX Runtime refuses to run");
    }

    /// What the last run answered, rows × outputs.
    pub(crate) fn answer(&self) -> &[f32] {
        self.output.extract_tensor().1
    }
}

/// `x` → Gemm → Relu → … → Gemm → Softmax → `y`
fn graph(layers: &[Layer], rows: usize) -> Model {
    let (mut nodes, mut constants) = (Vec::new(), Vec::new());
    let mut value = String::from("x");
    for (index, layer) in layers.iter().enumerate() {
        let [weights, bias, sums, next] = ["weights", "bias", "sums", "values"].map(|name| format!("{name}{index}"));
        let shape = vec![layer.inputs() as i64, layer.outputs() as i64];
        constants.push(Constant::new(&weights, shape, layer.weights.to_f32().iter()));
        constants.push(Constant::new(&bias, vec![layer.outputs() as i64], layer.bias.iter()));
        nodes.push(Node::new("Gemm", &[&value, &weights, &bias], &sums));
        value = match layer.activation {
            Activation::Relu => {
                nodes.push(Node::new("Relu", &[&sums], &next));
                next
            }
            _ => sums,
        };
    }
    nodes.push(Node::new("Softmax", &[&value], "y"));
    let first = layers.first().map_or(0, Layer::inputs);
    let last = layers.last().map_or(0, Layer::outputs);
    let graph = Graph {
        nodes,
        name: "mlp".into(),
        constants,
        inputs: vec![ValueInfo::new("x", rows, first)],
        outputs: vec![ValueInfo::new("y", rows, last)],
    };
    Model { ir_version: 8, graph: Some(graph), operators: vec![OperatorSet { version: 17 }] }
}

// As much of onnx.proto as that takes.

const FLOAT: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    operators: Vec<OperatorSet>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSet {
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    constants: Vec<Constant>,
    #[prost(message, repeated, tag = "11")]
    inputs: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    outputs: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    outputs: Vec<String>,
    #[prost(string, tag = "4")]
    operator: String,
}

impl Node {
    fn new(operator: &str, inputs: &[&str], output: &str) -> Node {
        let inputs = inputs.iter().map(ToString::to_string).collect();
        Node { inputs, outputs: vec![output.into()], operator: operator.into() }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Constant {
    #[prost(int64, repeated, tag = "1")]
    shape: Vec<i64>,
    #[prost(int32, tag = "2")]
    kind: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    bytes: Vec<u8>,
}

impl Constant {
    fn new<'a>(name: &str, shape: Vec<i64>, values: impl Iterator<Item = &'a f32>) -> Constant {
        Constant {
            shape,
            kind: FLOAT,
            name: name.into(),
            bytes: values.flat_map(|value| value.to_le_bytes()).collect(),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<Type>,
}

impl ValueInfo {
    /// A matrix of f32.
    fn new(name: &str, rows: usize, columns: usize) -> ValueInfo {
        let sizes = [rows, columns].map(|size| Dimension { size: size as i64 }).to_vec();
        let tensor = TensorType { kind: FLOAT, shape: Some(Shape { sizes }) };
        ValueInfo { name: name.into(), kind: Some(Type { tensor: Some(tensor) }) }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    sizes: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, tag = "1")]
    size: i64,
}
