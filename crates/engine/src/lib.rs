//! The engine: a multi-layer perceptron, from a matrix of features to a matrix of answers.
//!
//! [`Mlp::new`] packs the weights once, for the fastest kernel that this machine has ([`kernels`]); [`Mlp::forward`]
//! sends blocks of rows through all layers while they are in cache, and allocates nothing. A row's answer depends on
//! that row alone, down to its bits: every sum starts with the bias and adds its products in the order of the inputs,
//! in whatever batch and at whatever place the row comes. Kernels round differently, so the bits may differ from one
//! kind of CPU to another.
//!
//! In reading order: `layer` is what a network is made of, `mlp` walks through the layers, `dense` is one layer (packed
//! weights and the tiles that multiply them), `norm`, `activation` and `output` are the functions behind the layers,
//! `math` their approximations, and `kernel` is the vector unit that all of it is written against.

mod activation;
mod aligned;
mod dense;
mod kernel;
mod layer;
mod math;
mod mlp;
mod norm;
mod output;
#[cfg(test)]
mod tests;
pub mod training;

pub use activation::Activation;
pub use kernel::{Kernel, kernels};
pub use layer::{Dtype, Int8Input, Layer, Norm, NormPlace, Weights};
pub use mlp::{Mlp, Scratch};
pub use output::Output;

/// The class that a classifier's answer for a row stands for: the most probable one, the first of equals (as
/// `numpy.argmax`); 0 without outputs.
pub fn predicted_class<'a>(outputs: impl IntoIterator<Item = &'a f32>) -> usize {
    let better = |best: (usize, &'a f32), next: (usize, &'a f32)| if next.1 > best.1 { next } else { best };
    outputs.into_iter().enumerate().reduce(better).map_or(0, |(class, _)| class)
}

/// Why layers don't make a network, or not one that this machine can run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// There is no layer.
    #[error("a network needs at least one layer")]
    NoLayers,
    /// A layer, counted from 0, without inputs or without outputs.
    #[error("layer {layer} has {inputs} inputs and {outputs} outputs: neither may be 0")]
    EmptyLayer {
        /// Counted from 0.
        layer: usize,
        /// Rows of its weights.
        inputs: usize,
        /// Columns of its weights.
        outputs: usize,
    },
    /// A layer whose bias doesn't fit its weights.
    #[error("layer {layer} has {outputs} outputs but {bias} bias values")]
    Bias {
        /// Counted from 0.
        layer: usize,
        /// Columns of its weights.
        outputs: usize,
        /// Length of its bias.
        bias: usize,
    },
    /// A layer whose scales don't fit its int8 weights.
    #[error("layer {layer} has {outputs} outputs but {scales} scales")]
    Scales {
        /// Counted from 0.
        layer: usize,
        /// Columns of its weights.
        outputs: usize,
        /// How many scales there are.
        scales: usize,
    },
    /// A layer with more inputs than int8 sums have room for.
    #[error("layer {layer} has {inputs} inputs, too many for int8 weights (at most {})", dense::int8::MAX_INPUTS)]
    Int8Inputs {
        /// Counted from 0.
        layer: usize,
        /// Rows of its weights.
        inputs: usize,
    },
    /// A layer whose norm doesn't fit its weights.
    #[error("layer {layer} has {outputs} outputs but its norm has {scale} scales and {shift} shifts")]
    Norm {
        /// Counted from 0.
        layer: usize,
        /// Columns of its weights, without those that pass.
        outputs: usize,
        /// Length of the norm's scale.
        scale: usize,
        /// Length of the norm's shift.
        shift: usize,
    },
    /// A layer that passes all of its outputs, or some beside slopes.
    #[error("layer {layer} passes {passed} of {outputs} outputs: it must be fewer, and none beside slopes")]
    Passed {
        /// Counted from 0.
        layer: usize,
        /// Columns of its weights.
        outputs: usize,
        /// How many of them pass.
        passed: usize,
    },
    /// A layer with slopes that its activation doesn't take, or without those that it does.
    #[error("layer {layer} has {slopes} slopes where its activation takes {wanted}")]
    Slopes {
        /// Counted from 0.
        layer: usize,
        /// Its outputs for a PReLU, else 0.
        wanted: usize,
        /// How many slopes there are.
        slopes: usize,
    },
    /// A layer that doesn't fit the one before it.
    #[error("layer {layer} has {inputs} inputs but the layer before it has {previous} outputs")]
    Chain {
        /// Counted from 0.
        layer: usize,
        /// Rows of its weights.
        inputs: usize,
        /// Columns of the weights before it.
        previous: usize,
    },
    /// [`Output::Logistic`] behind more than one logit.
    #[error("the logistic output needs exactly 1 logit, the last layer has {0} outputs")]
    Logits(usize),
    /// A text that names no activation.
    #[error(
        "unknown activation {0:?}: expected one of {names}, with parameters as in leaky_relu(slope=0.2)",
        names = Activation::ALL.map(Activation::as_str).join(", ")
    )]
    UnknownActivation(String),
    /// A parameter that a function can't be computed with.
    #[error("activation {activation}: {reason}")]
    Activation {
        /// With its parameters.
        activation: String,
        /// Which values it can have.
        reason: &'static str,
    },
    /// A kernel for another CPU.
    #[error("this machine can't run the {0} kernel")]
    Kernel(Kernel),
}
