//! Columns that are made of several others.

use super::graph::{Builder, int, string};
use super::{cast, scalar, steps};
use crate::model::onnx::proto::DataType;
use crate::model::preprocess::{Combination, Step};

/// The name of what belongs to no feature.
const NAME: &str = "combined";

/// All columns, from those of the features: rows × `of_features`.
pub(super) fn write(graph: &mut Builder, columns: &[Combination], features: &str, of_features: usize) -> String {
    // Those that wait to be put beside the others, for a combination that is made of them.
    let (mut whole, mut width, mut waiting) = (features.to_owned(), of_features, vec![features.to_owned()]);
    let mut precise = cast(graph, &whole, DataType::Double);
    let mut start = of_features;
    for combination in columns {
        let sources = combination.sources();
        if sources.iter().any(|&column| column >= width) {
            whole = graph.concat(waiting);
            waiting = vec![whole.clone()];
            precise = cast(graph, &whole, DataType::Double);
            width = start;
        }
        match combination {
            Combination::Product { of, steps } => waiting.push(product(graph, &precise, of, steps)),
            Combination::Sum { of, shift } => waiting.push(sum(graph, &precise, of, *shift)),
            Combination::Normalized { norm, .. } => {
                let row = pick(graph, &whole, &sources);
                waiting.push(graph.ml_node("Normalizer", &row, vec![string("norm", norm.as_str())]));
            }
        }
        start += combination.width();
    }
    graph.concat(waiting)
}

/// Some columns of rows.
pub(super) fn pick(graph: &mut Builder, value: &str, columns: &[usize]) -> String {
    let places: Vec<i64> = columns.iter().map(|&column| column as i64).collect();
    let places = graph.sizes("columns", &places);
    graph.node("Gather", [value, &places], vec![int("axis", 1)])
}

fn product(graph: &mut Builder, value: &str, of: &[usize], after: &[Step]) -> String {
    let factors = pick(graph, value, of);
    let axis = graph.sizes("axis", &[1]);
    let product = graph.node("ReduceProd", [&factors, &axis], vec![int("keepdims", 1)]);
    let value = steps::write(graph, NAME, after, &product);
    cast(graph, &value, DataType::Float)
}

fn sum(graph: &mut Builder, value: &str, of: &[(usize, f64)], shift: f64) -> String {
    let (columns, factors): (Vec<usize>, Vec<f64>) = of.iter().copied().unzip();
    let addends = pick(graph, value, &columns);
    let factors = graph.doubles("factors", &factors);
    let addends = graph.node("Mul", [&addends, &factors], vec![]);
    let axis = graph.sizes("axis", &[1]);
    let sum = graph.node("ReduceSum", [&addends, &axis], vec![int("keepdims", 1)]);
    let shift = scalar(graph, NAME, "shift", shift);
    let sum = graph.node("Add", [&sum, &shift], vec![]);
    cast(graph, &sum, DataType::Float)
}
