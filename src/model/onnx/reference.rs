//! A graph run as ONNX defines it, to hold an import against: the walk says what a graph means, this says what it
//! answers.
//!
//! Values are computed in f64 and rounded to the type that the graph gives them, each with a bound of what arithmetic in
//! f32 may change (`array`). Nothing here is shared with the walk but the messages of the file and the reading of
//! tensors. In reading order: `program` is the graph and its run, `array` the values, `elementwise`, `sums`, `shape` and
//! `learned` the operators, `rows` what is asked, `check` the comparison.

mod array;
mod check;
mod elementwise;
mod learned;
mod program;
mod quantized;
mod rows;
mod shape;
mod sums;

use std::rc::Rc;

use self::array::TypedArray;
use super::proto::{ML, Node, ONNX};
use super::tensor::Reader;

pub use check::{Difference, Reference};
pub(super) use check::{Fed, Form, Place};
pub(super) use program::Program;

/// A value of a run.
#[derive(Clone, Debug)]
enum RunValue {
    Array(Rc<TypedArray>),
    /// What ZipMap gives: a number per name for each row.
    Maps {
        names: Vec<String>,
        values: TypedArray,
    },
}

impl From<TypedArray> for RunValue {
    fn from(array: TypedArray) -> RunValue {
        RunValue::Array(Rc::new(array))
    }
}

/// A result of one value.
fn one(array: TypedArray) -> Result<Vec<RunValue>, String> {
    Ok(vec![array.into()])
}

/// What a node takes.
struct Operands<'a> {
    values: Vec<Option<RunValue>>,
    /// The version of the operator set that the node is from.
    opset: i64,
    reader: &'a Reader,
}

impl Operands<'_> {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn value(&self, index: usize) -> Result<&RunValue, String> {
        self.values.get(index).and_then(Option::as_ref).ok_or_else(|| format!("it lacks its input {index}"))
    }

    fn array(&self, index: usize) -> Result<&TypedArray, String> {
        self.optional(index)?.ok_or_else(|| format!("it lacks its input {index}"))
    }

    /// An input that may be left out.
    fn optional(&self, index: usize) -> Result<Option<&TypedArray>, String> {
        match self.values.get(index).and_then(Option::as_ref) {
            None => Ok(None),
            Some(RunValue::Array(array)) => Ok(Some(&**array)),
            Some(RunValue::Maps { .. }) => Err(format!("its input {index} is a list of maps")),
        }
    }
}

type Operator = fn(&Node, &Operands<'_>) -> Result<Vec<RunValue>, String>;

/// What an operator does.
fn find(domain: &str, name: &str) -> Option<Operator> {
    Some(match (domain, name) {
        (ONNX | "ai.onnx", name) => match name {
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Sum" | "Mean" | "Max" | "Min" => elementwise::arithmetic,
            "Neg" | "Abs" | "Sign" | "Floor" | "Ceil" | "Round" | "Sqrt" | "Exp" | "Log" | "Reciprocal" | "Tanh"
            | "Sigmoid" | "Erf" | "Relu" | "LeakyRelu" | "Elu" | "Celu" | "Selu" | "ThresholdedRelu"
            | "HardSigmoid" | "HardSwish" | "Mish" | "Softplus" | "Softsign" | "Swish" | "Shrink" | "Gelu" => {
                elementwise::unary
            }
            "PRelu" => elementwise::prelu,
            "Clip" => elementwise::clip,
            "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "And" | "Or" | "Xor" => {
                elementwise::compare
            }
            "Not" | "IsNaN" | "IsInf" => elementwise::test,
            "Where" => elementwise::choose,
            "Cast" | "CastLike" => elementwise::cast,
            "QuantizeLinear" => quantized::quantize,
            "DequantizeLinear" => quantized::dequantize,
            "MatMul" => sums::matmul,
            "Gemm" => sums::gemm,
            "BatchNormalization" => sums::batch_norm,
            "LayerNormalization" => sums::layer_norm,
            "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1" | "ReduceL2"
            | "ReduceSumSquare" => sums::reduce,
            "Softmax" | "LogSoftmax" => sums::softmax,
            "ArgMax" | "ArgMin" => sums::arg_max,
            "Constant" => shape::constant,
            "ConstantOfShape" => shape::constant_of_shape,
            "Identity" | "Dropout" => shape::identity,
            "Shape" => shape::shape,
            "Size" => shape::size,
            "Reshape" => shape::reshape,
            "Flatten" => shape::flatten,
            "Squeeze" => shape::squeeze,
            "Unsqueeze" => shape::unsqueeze,
            "Transpose" => shape::transpose,
            "Concat" => shape::concat,
            "Gather" => shape::gather,
            "Slice" => shape::slice,
            "Split" => shape::split,
            "Expand" => shape::expand,
            _ => return None,
        },
        (ML, name) => match name {
            "Scaler" => learned::scaler,
            "Imputer" => learned::imputer,
            "OneHotEncoder" => learned::one_hot,
            "LabelEncoder" => learned::label_encoder,
            "ArrayFeatureExtractor" => learned::extract,
            "ZipMap" => learned::zip_map,
            "Normalizer" => learned::normalizer,
            "Binarizer" => learned::binarizer,
            "LinearRegressor" => learned::linear_regressor,
            "LinearClassifier" => learned::linear_classifier,
            _ => return None,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
