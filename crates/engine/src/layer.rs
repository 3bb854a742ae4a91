//! What a network is made of, before it is packed for a kernel.

use std::borrow::Cow;
use std::fmt;

use half::{bf16, f16};
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

use super::Activation;

/// One layer: `activation(norm(x · weights + bias))`, or with the norm behind the activation.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Inputs × outputs.
    pub weights: Weights,
    /// One per output.
    pub bias: Array1<f32>,
    /// The function behind the sums.
    pub activation: Activation,
    /// One per output for [`Activation::PRelu`], none for others.
    pub slopes: Option<Array1<f32>>,
    /// A layer normalisation of the row's outputs.
    pub norm: Option<Norm>,
    /// How many outputs, the last ones, are the sums as they are: they pass beside activation and norm. Fewer than all, and
    /// none beside slopes, as a slope of 1 does the same.
    pub passed: usize,
}

impl Layer {
    /// A layer of f32 weights (inputs × outputs, in any memory layout) without a norm.
    pub fn new(weights: Array2<f32>, bias: Array1<f32>, activation: Activation) -> Layer {
        Layer { weights: Weights::F32(weights), bias, activation, slopes: None, norm: None, passed: 0 }
    }

    /// How many inputs it has.
    pub fn inputs(&self) -> usize {
        self.weights.inputs()
    }

    /// How many outputs it has.
    pub fn outputs(&self) -> usize {
        self.weights.outputs()
    }

    /// How many outputs, the first ones, have the activation and the norm.
    pub fn active(&self) -> usize {
        self.outputs().saturating_sub(self.passed)
    }

    /// Replaces each of a row's outputs by its [activation](Layer::activation), but for those that [pass](Layer::passed).
    pub fn activate(&self, outputs: &mut [f32]) {
        let outputs = &mut outputs[..self.active()];
        self.activation.apply(outputs);
        for (output, slope) in outputs.iter_mut().zip(self.slopes.iter().flatten()).filter(|(output, _)| **output < 0.0)
        {
            *output *= slope;
        }
    }
}

/// The weights of a layer, inputs × outputs in any memory layout.
#[derive(Clone, Debug, PartialEq)]
pub enum Weights {
    /// As trained.
    F32(Array2<f32>),
    /// Rounded to 11 bits, up to 65,504; computed in f32.
    F16(Array2<f16>),
    /// Rounded to 8 bits, with the range of f32; computed in f32.
    Bf16(Array2<bf16>),
    /// Whole numbers from -127 to 127 with a scale for each output: the weight is `value · scale`.
    Int8 {
        /// Inputs × outputs.
        values: Array2<i8>,
        /// One per output, each above 0.
        scales: Array1<f32>,
        /// What they are multiplied with.
        input: Int8Input,
    },
}

impl Weights {
    /// Rows: the layer's inputs.
    pub fn inputs(&self) -> usize {
        self.dim().0
    }

    /// Columns: the layer's outputs.
    pub fn outputs(&self) -> usize {
        self.dim().1
    }

    /// What a weight is stored as.
    pub fn dtype(&self) -> Dtype {
        match self {
            Weights::F32(_) => Dtype::F32,
            Weights::F16(_) => Dtype::F16,
            Weights::Bf16(_) => Dtype::Bf16,
            Weights::Int8 { .. } => Dtype::Int8,
        }
    }

    /// The numbers that the weights stand for.
    ///
    /// # Panics
    /// If there isn't a scale for each output.
    pub fn to_f32(&self) -> Cow<'_, Array2<f32>> {
        match self {
            Weights::F32(weights) => Cow::Borrowed(weights),
            Weights::F16(weights) => Cow::Owned(weights.mapv(f16::to_f32)),
            Weights::Bf16(weights) => Cow::Owned(weights.mapv(bf16::to_f32)),
            Weights::Int8 { values, scales, .. } => Cow::Owned(values.mapv(f32::from) * scales),
        }
    }

    fn dim(&self) -> (usize, usize) {
        match self {
            Weights::F32(weights) => weights.dim(),
            Weights::F16(weights) => weights.dim(),
            Weights::Bf16(weights) => weights.dim(),
            Weights::Int8 { values, .. } => values.dim(),
        }
    }
}

/// What int8 weights are multiplied with. It is part of the model, not a choice of the machine: it shows in the answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Int8Input {
    /// The inputs as they are: the weights are widened to f32, which saves memory only.
    F32,
    /// The inputs in 7 bits, each row between its own smallest and largest value.
    Dynamic,
    /// The inputs in 7 bits between bounds that were calibrated on data; what lies beyond is cut.
    Range {
        /// At most 0.
        low: f32,
        /// At least 0, and above `low`.
        high: f32,
    },
}

/// What a weight is stored as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, 11 of them for the digits: [`Weights::F16`].
    F16,
    /// 16 bits, 8 of them for the digits: [`Weights::Bf16`].
    Bf16,
    /// 8 bits and a scale for each output: [`Weights::Int8`].
    Int8,
}

impl Dtype {
    /// All of them.
    pub const ALL: [Dtype; 4] = [Dtype::F32, Dtype::F16, Dtype::Bf16, Dtype::Int8];

    /// The name, as in model files.
    pub fn as_str(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
            Dtype::Int8 => "int8",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A layer normalisation over the outputs of a row: `(y - mean) / √(variance + epsilon) · scale + shift`.
///
/// The variance is the population's (the mean of the squared differences), as in torch and ONNX.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// One per output that it normalises.
    pub scale: Array1<f32>,
    /// One per output that it normalises.
    pub shift: Array1<f32>,
    /// Added to the variance; not below 0.
    pub epsilon: f32,
    /// On which side of the activation.
    pub place: NormPlace,
}

/// On which side of the activation a [`Norm`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormPlace {
    /// `activation(norm(sums))`
    BeforeActivation,
    /// `norm(activation(sums))`
    AfterActivation,
}
