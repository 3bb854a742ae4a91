//! Samples as `weir model import --check` takes them: records with the outputs that are expected.

use std::fs;
use std::process::Output;

use serde_json::Value;

use super::weir::command;

/// What version 1 of a model predicts for each of the samples in a file, or what `weir predict` fails with. Some samples
/// lack most of their values.
pub(crate) fn predict(name: &str, samples: &str, store: &str) -> Result<Vec<Vec<f64>>, Output> {
    let predicted = weir(&["predict", &format!("{name}@1"), samples, "--store", store, "--min-features", "0"]);
    if !predicted.status.success() {
        return Err(predicted);
    }
    Ok(String::from_utf8_lossy(&predicted.stdout).lines().map(|line| answer(&read(line))).collect())
}

/// The outputs that the samples in a file expect.
pub(crate) fn expected(samples: &str) -> Vec<Vec<f64>> {
    fs::read_to_string(samples).unwrap().lines().map(|line| numbers(&read(line)["outputs"])).collect()
}

/// Runs weir to its end.
pub(crate) fn weir(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

/// A line of JSON.
pub(crate) fn read(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

/// What a prediction says: probabilities in the order of the classes, which here is that of their names, or numbers.
fn answer(prediction: &Value) -> Vec<f64> {
    match &prediction["probabilities"] {
        Value::Object(probabilities) => probabilities.values().map(|value| value.as_f64().unwrap()).collect(),
        _ => numbers(&prediction["prediction"]),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().map(|value| value.as_f64().unwrap()).collect(),
        value => vec![value.as_f64().unwrap()],
    }
}
