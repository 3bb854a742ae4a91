//! The columns of an input whose shape doesn't say how many they are: the weights that they are multiplied with do, or
//! the constants that they are scaled with.

use std::collections::{HashMap, HashSet};

use super::proto::{ML, Node};
use super::tensor::Array;

/// How many columns the input of this name has; none if the graph doesn't say.
///
/// # Errors
/// If two nodes say otherwise.
pub(super) fn width_of(
    input: &str,
    nodes: &[Node],
    constants: &HashMap<String, Array>,
) -> Result<Option<usize>, String> {
    let mut shapes: HashMap<&str, Vec<usize>> =
        constants.iter().map(|(name, array)| (&**name, array.shape.clone())).collect();
    let mut same: HashSet<&str> = [input].into();
    let (mut known, mut picked) = (None, None);
    for node in nodes {
        let Some(output) = node.output.first() else { continue };
        if let Some(shape) = constant_shape(node, &shapes) {
            shapes.insert(output, shape);
        }
        let Some(at) = node.input.iter().position(|name| same.contains(&**name)) else { continue };
        let shape = |index: usize| node.input.get(index).and_then(|name| shapes.get(&**name));
        let said = if at == 0 || node.input.len() == 2 { columns_taken(node, &shape, at) } else { None };
        match (known, said) {
            (Some(known), Some(said)) if known != said => {
                return Err(format!("has {known} columns for one node, and {said} for {}", node.label()));
            }
            (None, said) => known = said,
            _ => {}
        }
        if let Some(last) = last_picked(node, constants) {
            picked = picked.max(Some(last + 1));
        }
        if keeps_columns(node) {
            same.insert(output);
        }
    }
    Ok(known.or(picked))
}

/// The shape of a constant that a node makes of others.
fn constant_shape(node: &Node, shapes: &HashMap<&str, Vec<usize>>) -> Option<Vec<usize>> {
    let of = || shapes.get(&**node.input.first()?).cloned();
    match &*node.op_type {
        "Constant" => {
            let dims = &node.tensor("value")?.dims;
            dims.iter().map(|&dim| usize::try_from(dim).ok()).collect()
        }
        "Identity" | "Cast" => of(),
        "Transpose" => of().map(|shape| shape.into_iter().rev().collect()),
        _ => None,
    }
}

/// How many columns a node takes.
fn columns_taken<'a>(node: &Node, shape: &impl Fn(usize) -> Option<&'a Vec<usize>>, at: usize) -> Option<usize> {
    let more_than_one = |count: usize| (count > 1).then_some(count);
    match (&*node.domain, &*node.op_type) {
        (ML, "Scaler") => more_than_one(node.floats("offset").len().max(node.floats("scale").len())),
        (ML, "Imputer") => {
            more_than_one(node.floats("imputed_value_floats").len().max(node.ints("imputed_value_int64s").len()))
        }
        (ML, "LinearRegressor") => {
            let targets = usize::try_from(node.int("targets", 1)).ok()?;
            node.floats("coefficients").len().checked_div(targets)
        }
        (ML, "LinearClassifier") => {
            let texts = node.strings("classlabels_strings").map_or(0, |texts| texts.len());
            node.floats("coefficients").len().checked_div(texts.max(node.ints("classlabels_ints").len()))
        }
        (_, "MatMul") if at == 0 => shape(1)?.first().copied(),
        (_, "Gemm") if at == 0 => shape(1)?.get(usize::from(node.int("transB", 0) != 0)).copied(),
        (_, "BatchNormalization" | "LayerNormalization") => shape(1)?.last().copied(),
        (_, "Add" | "Sub" | "Mul" | "Div" | "Pow" | "PRelu") => more_than_one(*shape(1 - at)?.last()?),
        _ => None,
    }
}

/// The last column that a node picks: others behind it would never be looked at.
fn last_picked(node: &Node, constants: &HashMap<String, Array>) -> Option<usize> {
    let picks =
        node.op_type == "ArrayFeatureExtractor" || (node.op_type == "Gather" && matches!(node.int("axis", 0), 1 | -1));
    let places = constants.get(node.input.get(1)?).filter(|_| picks)?.as_integers().ok()?;
    let places: Option<Vec<usize>> = places.iter().map(|&place| usize::try_from(place).ok()).collect();
    places?.into_iter().max()
}

/// Whether a node gives as many columns as it takes.
fn keeps_columns(node: &Node) -> bool {
    matches!(
        &*node.op_type,
        "Add"
            | "Sub"
            | "Mul"
            | "Div"
            | "Pow"
            | "PRelu"
            | "Cast"
            | "Identity"
            | "Dropout"
            | "Clip"
            | "Neg"
            | "Scaler"
            | "Imputer"
            | "Normalizer"
            | "Binarizer"
            | "Relu"
            | "Tanh"
            | "Sigmoid"
            | "BatchNormalization"
            | "LayerNormalization"
    )
}
