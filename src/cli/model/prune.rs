//! `weir model prune`: a version with fewer neurons.

use std::io::Write;

use super::dashed;
use super::shrink::{self, Method};
use crate::engine::Layer;

/// What is pruned, and how much of it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many of each hidden layer's neurons go, those with the smallest weights first: 0.3 is 30 %
    #[arg(long, value_parser = parse_share)]
    share: f64,
    #[command(flatten)]
    common: shrink::Args,
}

/// Makes the version; what was done goes to `out`.
pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    shrink::publish(&args.common, Method::Prune { share: args.share }, out)
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("it must be a number between 0 and 1".into()),
    }
}

/// How wide the layers are.
pub(super) fn describe(layers: &[Layer]) -> String {
    let inputs = layers.iter().take(1).map(Layer::inputs);
    dashed(&inputs.chain(layers.iter().map(Layer::outputs)).collect::<Vec<_>>())
}
