//! `weir model quantize`: a version with weights of fewer bits.

use std::io::Write;

use super::shrink::{self, Method};
use crate::engine::{Dtype, Int8Input, Layer, Weights};

/// What is quantized, and to what.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What weights become: int8 is smallest and fastest; f16 and bf16 save half of the memory and hardly lose anything
    #[arg(long, value_name = "TYPE", value_parser = ["int8", "f16", "bf16"])]
    to: String,
    #[command(flatten)]
    common: shrink::Args,
}

/// Makes the version; what was done goes to `out`.
pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let to = match &*args.to {
        "int8" => Dtype::Int8,
        "f16" => Dtype::F16,
        _ => Dtype::Bf16,
    };
    shrink::publish(&args.common, Method::Quantize(to), out)
}

/// What each layer computes in.
pub(super) fn describe(layers: &[Layer]) -> String {
    let computed = layers.iter().map(|layer| match layer.weights {
        Weights::Int8 { input: Int8Input::Dynamic, .. } => "int8, each row by its own range",
        Weights::Int8 { input: Int8Input::Range { .. }, .. } => "int8, calibrated on the data",
        _ => "f32",
    });
    computed.collect::<Vec<_>>().join("; ")
}
