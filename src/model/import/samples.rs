//! Sample rows: records with the answers that are expected for them, one JSON object a line.
//!
//! A record is what it is on a topic; beside its features it has `outputs`, a probability per class or a number per
//! output (a single one needs no array), or `prediction`, a class or the numbers.

use std::io::BufRead;

use ndarray::{Array2, ArrayView1, ArrayView2};
use serde_json::Value;

use super::names::renamed;
use super::{ImportError, answers};
use crate::codec::DecodeOptions;
use crate::codec::json::Decoder;
use crate::engine::predicted_class;
use crate::limits::Limits;
use crate::model::Model;
use crate::model::signature::{Feature, Signature, Target};

/// What answers may differ by, times the larger of 1 and the output's largest magnitude in the samples.
const TOLERANCE: f64 = 1e-5;

/// Records and what is expected for them.
#[derive(Debug)]
pub struct Samples {
    /// Samples × features, decoded.
    pub(super) rows: Array2<f64>,
    expected: Vec<Expected>,
    /// Each sample's line, from 1.
    lines: Vec<usize>,
}

#[derive(Debug)]
enum Expected {
    /// One per output.
    Outputs(Vec<f64>),
    /// The most probable class.
    Class(usize),
}

impl Samples {
    /// Reads JSON lines; empty ones are skipped.
    pub fn read(mut input: impl BufRead, signature: &Signature, limits: Limits) -> Result<Samples, ImportError> {
        let features = signature.features.len();
        let mut decoder = Decoder::new(signature, &DecodeOptions::default());
        let mut samples = Samples { rows: Array2::zeros((0, features)), expected: Vec::new(), lines: Vec::new() };
        let mut rows = Vec::new();
        let mut row = vec![0.0; features];
        let mut line = Vec::new();
        for index in 0.. {
            let unusable = |reason: String| ImportError::Sample { line: index + 1, reason };
            line.clear();
            if limits.read_line(&mut input, &mut line).map_err(|error| unusable(error.to_string()))? == 0 {
                break;
            }
            let line = std::str::from_utf8(&line).map_err(|error| unusable(error.to_string()))?;
            if line.trim().is_empty() {
                continue;
            }
            decoder.decode(line.as_bytes(), &mut row, &mut []).map_err(|rejection| unusable(rejection.to_string()))?;
            if row.iter().any(|value| value.is_nan()) {
                check_names(line, signature)?;
            }
            signature.check(&row).map_err(|rejection| unusable(rejection.to_string()))?;
            rows.extend_from_slice(&row);
            samples.expected.push(expected(line, &signature.target).map_err(unusable)?);
            samples.lines.push(index + 1);
        }
        if samples.lines.is_empty() {
            return Err(ImportError::NoSamples);
        }
        let shape = (samples.lines.len(), features);
        samples.rows = Array2::from_shape_vec(shape, rows).unwrap_or_else(|_| unreachable!("each line gave a row"));
        Ok(samples)
    }

    /// Samples × features, decoded.
    pub fn rows(&self) -> ArrayView2<'_, f64> {
        self.rows.view()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none, which doesn't happen.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether the model answers as expected; gives the largest difference.
    pub(super) fn check(&self, model: &Model) -> Result<f64, ImportError> {
        let found = answers(model, self.rows.view());
        let mut bounds = vec![TOLERANCE; found.ncols()];
        for expected in &self.expected {
            if let Expected::Outputs(outputs) = expected {
                let scaled = outputs.iter().map(|output| TOLERANCE * output.abs());
                bounds.iter_mut().zip(scaled).for_each(|(bound, scaled)| *bound = bound.max(scaled));
            }
        }
        let names = match &model.signature().target {
            Target::Classification { classes: names, .. } | Target::Regression { names } => names,
        };
        let (mut wrong, mut largest) = (0, 0.0_f64);
        let mut worst: Option<Difference> = None;
        for ((expected, answer), &line) in self.expected.iter().zip(found.rows()).zip(&self.lines) {
            let outputs = match expected {
                Expected::Outputs(outputs) => outputs.clone(),
                Expected::Class(class) => as_probable_as_any(answer, *class),
            };
            let mut largest_here: Option<Difference> = None;
            for (output, (&expected, &found)) in outputs.iter().zip(answer).enumerate() {
                let difference = (expected - f64::from(found)).abs();
                largest = largest.max(difference);
                // A NaN must fail, so it is the largest.
                let in_bounds = if difference.is_nan() { f64::INFINITY } else { difference / bounds[output] };
                if largest_here.as_ref().is_none_or(|before| in_bounds > before.in_bounds) {
                    largest_here = Some(Difference { in_bounds, line, output, expected, found });
                }
            }
            if let Some(difference) = largest_here.filter(|difference| difference.in_bounds > 1.0) {
                wrong += 1;
                if worst.as_ref().is_none_or(|before| difference.in_bounds > before.in_bounds) {
                    worst = Some(difference);
                }
            }
        }
        match worst {
            None => Ok(largest),
            Some(Difference { line, output, expected, found, .. }) => Err(ImportError::Differs {
                line,
                output: names[output].clone(),
                expected,
                found,
                bound: bounds[output],
                wrong,
                of: self.len(),
            }),
        }
    }
}

/// A sample that lacks a feature may have it under the name that the exporter has changed.
fn check_names(line: &str, signature: &Signature) -> Result<(), ImportError> {
    let record: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap_or_default();
    if record.contains_key("features") {
        return Ok(());
    }
    let columns = renamed(&signature.features, &record.keys().cloned().collect::<Vec<_>>());
    if columns.is_empty() {
        return Ok(());
    }
    let name = |feature: &Feature| {
        let column = columns.iter().find(|(name, _)| *name == feature.name);
        column.map_or(&feature.name, |(_, member)| member).clone()
    };
    Err(ImportError::Renamed { features: signature.features.iter().map(name).collect(), columns })
}

/// How far an output is from what is expected.
struct Difference {
    in_bounds: f64,
    line: usize,
    output: usize,
    expected: f64,
    found: f32,
}

/// The answer that is expected where only the class is: this one, with that class as probable as the most probable one.
fn as_probable_as_any(answer: ArrayView1<'_, f32>, class: usize) -> Vec<f64> {
    let mut expected: Vec<f64> = answer.iter().map(|&output| f64::from(output)).collect();
    expected[class] = expected[predicted_class(answer)];
    expected
}

/// What a record says that the model must answer.
fn expected(line: &str, target: &Target) -> Result<Expected, String> {
    let record: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let (member, value) = match (record.get("outputs"), record.get("prediction")) {
        (Some(value), _) => ("outputs", value),
        (None, Some(value)) => ("prediction", value),
        (None, None) => return Err("it has neither \"outputs\" nor \"prediction\" to compare with".into()),
    };
    if let (Target::Classification { classes, .. }, "prediction") = (target, member) {
        let class = match value {
            Value::String(class) => class.clone(),
            other => other.to_string(),
        };
        let index = classes.iter().position(|name| *name == class);
        return index.map(Expected::Class).ok_or_else(|| format!("the model has no class {class:?}"));
    }
    let numbers: Option<Vec<f64>> = match value {
        Value::Array(values) => values.iter().map(Value::as_f64).collect(),
        value => value.as_f64().map(|number| vec![number]),
    };
    let numbers = numbers.ok_or_else(|| format!("{member:?} is no number and no array of numbers"))?;
    if numbers.len() != target.outputs() {
        return Err(format!("{member:?} has {} numbers, the model answers {}", numbers.len(), target.outputs()));
    }
    Ok(Expected::Outputs(numbers))
}
