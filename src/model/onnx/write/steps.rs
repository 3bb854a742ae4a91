//! The steps of a number, in double.

use super::graph::Builder;
use super::{cast, scalar};
use crate::model::onnx::proto::DataType;
use crate::model::preprocess::Step;

/// What these steps make of a value.
pub(super) fn write(graph: &mut Builder, name: &str, steps: &[Step], value: &str) -> String {
    steps.iter().fold(value.to_owned(), |value, step| apply(graph, name, *step, &value))
}

fn apply(graph: &mut Builder, name: &str, step: Step, value: &str) -> String {
    let with = |graph: &mut Builder, op, value: &str, part, operand| {
        let operand = scalar(graph, name, part, operand);
        graph.node(op, [value, &operand], vec![])
    };
    match step {
        Step::Clip { low, high } => {
            let (low, high) = (scalar(graph, name, "low", low), scalar(graph, name, "high", high));
            graph.node("Clip", [value, &low, &high], vec![])
        }
        Step::Log1p => {
            let plus_one = with(graph, "Add", value, "one", 1.0);
            graph.node("Log", [&plus_one], vec![])
        }
        Step::Standardize { mean, std } => {
            let centred = with(graph, "Sub", value, "mean", mean);
            with(graph, "Div", &centred, "std", std)
        }
        Step::MinMax { min, max } => {
            let from_min = with(graph, "Sub", value, "min", min);
            with(graph, "Div", &from_min, "range", max - min)
        }
        Step::Add { value: addend } => with(graph, "Add", value, "addend", addend),
        Step::Multiply { value: factor } => with(graph, "Mul", value, "factor", factor),
        Step::Divide { value: divisor } => with(graph, "Div", value, "divisor", divisor),
        Step::Replace { value: replaced, by } => {
            let is_replaced = with(graph, "Equal", value, "replaced", replaced);
            let by = scalar(graph, name, "by", by);
            graph.node("Where", [&is_replaced, &by, value], vec![])
        }
        Step::YeoJohnson { lambda } => {
            // Each side is 0 where the other one is meant.
            let zero = scalar(graph, name, "zero", 0.0);
            let positive = graph.node("Max", [value, &zero], vec![]);
            let negative = graph.node("Min", [value, &zero], vec![]);
            let negative = graph.node("Neg", [&negative], vec![]);
            let up = with(graph, "Add", &positive, "one", 1.0);
            let down = with(graph, "Add", &negative, "one", 1.0);
            let (up, down) = (power(graph, name, lambda, &up), power(graph, name, 2.0 - lambda, &down));
            graph.node("Sub", [&up, &down], vec![])
        }
        Step::BoxCox { lambda } => power(graph, name, lambda, value),
        // A model with dates isn't written.
        Step::Date { .. } => value.to_owned(),
        Step::Round => {
            let rounded = cast(graph, value, DataType::Float);
            cast(graph, &rounded, DataType::Double)
        }
    }
}

/// `(x^lambda - 1) / lambda`, or the logarithm for 0. A logarithm of a negative number is NaN; a power may not be.
fn power(graph: &mut Builder, name: &str, lambda: f64, value: &str) -> String {
    let logarithm = graph.node("Log", [value], vec![]);
    if lambda == 0.0 {
        return logarithm;
    }
    let exponent = scalar(graph, name, "lambda", lambda);
    let multiplied = graph.node("Mul", [&logarithm, &exponent], vec![]);
    let power = graph.node("Exp", [&multiplied], vec![]);
    let one = scalar(graph, name, "one", 1.0);
    let less = graph.node("Sub", [&power, &one], vec![]);
    graph.node("Div", [&less, &exponent], vec![])
}

/// A column per bin: how many edges are not above the number, taken apart.
pub(super) fn bins(graph: &mut Builder, name: &str, edges: &[f64], value: &str) -> String {
    let name = |part| format!("{name}.{part}");
    let edge_values = graph.doubles(&name("edges"), edges);
    let reached = graph.node("GreaterOrEqual", [value, &edge_values], vec![]);
    let reached = cast(graph, &reached, DataType::Float);
    let (count, bins) = (edges.len(), edges.len() + 1);
    // The number has reached the bin's own edge and not the next one's.
    let factor = |edge: usize, bin: usize| f32::from(u8::from(bin == edge + 1)) - f32::from(u8::from(bin == edge));
    let factors: Vec<f32> = (0..count).flat_map(|edge| (0..bins).map(move |bin| factor(edge, bin))).collect();
    let factors = graph.floats(&name("bins"), &[count, bins], &factors);
    let first: Vec<f32> = (0..bins).map(|bin| f32::from(u8::from(bin == 0))).collect();
    let first = graph.floats(&name("first_bin"), &[bins], &first);
    graph.node("Gemm", [&reached, &factors, &first], vec![])
}
