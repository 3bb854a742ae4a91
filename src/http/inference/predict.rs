//! From the bytes of a request to the bytes of its answer.

use ndarray::{Array2, Axis, Slice};
use serde::Serialize;

use super::error::InferError;
use super::request::Request;
use super::{PREDICTION, PROBABILITIES};
use crate::model::Model;
use crate::model::decision::ClassDecision;
use crate::model::signature::{Signature, Target};
use crate::record::{Reason, Rejection};

#[derive(Debug, Serialize)]
struct Answer<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<OutputTensor<'a>>,
}

#[derive(Debug, Serialize)]
struct OutputTensor<'a> {
    name: &'static str,
    datatype: &'static str,
    shape: [usize; 2],
    data: OutputValues<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum OutputValues<'a> {
    Numbers(&'a [f32]),
    Scaled(Vec<f64>),
    Classes(Vec<&'a str>),
}

/// The answer to a request.
#[derive(Debug)]
pub struct InferenceAnswer {
    /// Its body.
    pub json: Vec<u8>,
    /// The rows that were scored.
    pub rows: usize,
}

/// Scores the rows of a request. One row that can't be scored fails the request, as the protocol has no place for
/// half an answer. `min_features` is the share of the model's features that a row must have, from 0 to 1. `decision` says
/// which class is predicted.
pub fn answer(
    model: &Model,
    body: &[u8],
    min_features: f64,
    decision: ClassDecision,
) -> Result<InferenceAnswer, InferError> {
    let request: Request<'_> = serde_json::from_slice(body)?;
    let signature = model.signature();
    let wanted = wanted(&request, &signature.target)?;
    let rows = request.rows(signature, row_limit(signature))?;
    for (row, values) in rows.rows().into_iter().enumerate() {
        let values = values.to_slice().expect(ROW_MAJOR);
        model.check_record(values, min_features).map_err(|rejection| InferError::Row { row, rejection })?;
    }
    let scores = score(model, &rows, block_rows(model.preprocess.width()));
    let is_finite = |score: f32| model.target_scale.map_or(f64::from(score), |scale| scale.undo(score)).is_finite();
    if let Some(row) = scores.rows().into_iter().position(|row| row.iter().any(|&score| !is_finite(score))) {
        let rejection = Rejection::new(Reason::PredictionNotFinite, "the model's answer is NaN or infinite");
        return Err(InferError::Row { row, rejection });
    }
    let answer = Answer {
        model_name: model.name(),
        model_version: model.version().to_string(),
        id: request.id.as_deref(),
        outputs: wanted.into_iter().map(|name| output(name, model, decision, &scores)).collect(),
    };
    let json = serde_json::to_vec(&answer).expect("strings and finite numbers are always JSON");
    Ok(InferenceAnswer { json, rows: rows.nrows() })
}

/// The most rows of a request, whatever the model.
pub(super) const MAX_ROWS: usize = 8_192;

/// The most values that a request can make weir hold at once: its rows × features, rows × outputs, and rows × columns
/// of the network's input, of which a few bytes can ask for very many. 4 MiB of f64.
pub(super) const MAX_VALUES: usize = 1 << 19;

/// The largest answer, in bytes, but for the request's own `id`.
pub(super) const ANSWER_LIMIT: usize = 4 << 20;

/// The most bytes of an f32 in an answer, comma included: `-1.1754944e-38,`, and one to spare.
const NUMBER_BYTES: usize = 16;

/// The most rows of a request for this model, at least 1: so that rows and answer are bounded before they are made.
pub(super) fn row_limit(signature: &Signature) -> usize {
    let target = &signature.target;
    let row_bytes = target.outputs() * NUMBER_BYTES + longest_class(target);
    let values = signature.features.len().max(target.outputs());
    MAX_ROWS.min(MAX_VALUES / values).min(ANSWER_LIMIT / row_bytes).max(1)
}

/// The most bytes of a class in an answer, comma included.
fn longest_class(target: &Target) -> usize {
    let Target::Classification { classes, .. } = target else { return 0 };
    let quoted = |class: &String| serde_json::Value::from(class.as_str()).to_string().len() + 1;
    classes.iter().map(quoted).max().unwrap_or(0)
}

/// How many rows may be in the network's input, of this many columns, at once. A category is a column each, so they
/// may be many more than the features.
pub(super) fn block_rows(columns: usize) -> usize {
    (MAX_VALUES / columns.max(1)).max(1)
}

/// The outputs of all rows, computed `block` rows at a time.
pub(super) fn score(model: &Model, rows: &Array2<f64>, block: usize) -> Array2<f32> {
    let mut scores = Array2::zeros((rows.nrows(), model.signature().target.outputs()));
    let mut scratch = model.scratch();
    for start in (0..rows.nrows()).step_by(block) {
        let block = Slice::from(start..rows.nrows().min(start + block));
        model.score(rows.slice_axis(Axis(0), block), scores.slice_axis_mut(Axis(0), block), &mut scratch);
    }
    scores
}

const ROW_MAJOR: &str = "ndarray makes matrices in row-major order";

/// The outputs that the request asks for, in its order; all of them if it doesn't say.
fn wanted(request: &Request<'_>, target: &Target) -> Result<Vec<&'static str>, InferError> {
    let all: &[&'static str] = match target {
        Target::Classification { .. } => &[PREDICTION, PROBABILITIES],
        Target::Regression { .. } => &[PREDICTION],
    };
    let Some(outputs) = &request.outputs else { return Ok(all.to_vec()) };
    let mut wanted = Vec::new();
    for name in outputs.names() {
        let Some(&output) = all.iter().find(|&&output| output == name) else {
            return Err(InferError::UnknownOutput(name.into()));
        };
        if wanted.contains(&output) {
            return Err(InferError::RepeatedOutput(name.into()));
        }
        wanted.push(output);
    }
    Ok(wanted)
}

fn output<'a>(
    name: &'static str,
    model: &'a Model,
    decision: ClassDecision,
    scores: &'a Array2<f32>,
) -> OutputTensor<'a> {
    let (rows, columns) = scores.dim();
    match &model.signature().target {
        Target::Classification { classes, .. } if name == PREDICTION => {
            let predicted = scores.rows().into_iter().map(|row| classes[decision.class(row)].as_str());
            OutputTensor { name, datatype: "BYTES", shape: [rows, 1], data: OutputValues::Classes(predicted.collect()) }
        }
        _ => match model.target_scale {
            Some(scale) => {
                let numbers = scores.iter().map(|&score| scale.undo(score)).collect();
                OutputTensor { name, datatype: "FP64", shape: [rows, columns], data: OutputValues::Scaled(numbers) }
            }
            None => {
                let numbers = OutputValues::Numbers(scores.as_slice().expect(ROW_MAJOR));
                OutputTensor { name, datatype: "FP32", shape: [rows, columns], data: numbers }
            }
        },
    }
}
