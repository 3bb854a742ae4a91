//! From the bytes of a request to the bytes of its answer.

use ndarray::Array2;
use serde::Serialize;

use super::request::Request;
use super::{PREDICTION, PROBABILITIES};
use crate::engine::predicted_class;
use crate::model::Model;
use crate::model::signature::Target;
use crate::record::{Reason, Rejection};

/// Why a request can't be answered: always something about the request.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// It isn't JSON, or not a request.
    #[error("the body is not an inference request: {0}")]
    Body(#[from] serde_json::Error),
    /// It asks for what can't be.
    #[error("{0}")]
    Request(String),
    /// An input doesn't fit the model.
    #[error("input {tensor:?}: {reason}")]
    Input {
        /// Its name.
        tensor: String,
        /// Why not.
        reason: String,
    },
    /// A row can't be scored.
    #[error("row {row}: {rejection}")]
    Row {
        /// Which one, from 0.
        row: usize,
        /// Why not.
        rejection: Rejection,
    },
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<Output<'a>>,
}

#[derive(Clone, Debug, Serialize)]
struct Output<'a> {
    name: &'static str,
    datatype: &'static str,
    shape: [usize; 2],
    data: Values<'a>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Values<'a> {
    Numbers(&'a [f32]),
    Classes(Vec<&'a str>),
}

/// Scores the rows of a request. One row that can't be scored fails the request, as the protocol has no place for
/// half an answer.
pub fn answer(model: &Model, body: &[u8]) -> Result<Vec<u8>, InferError> {
    let request: Request = serde_json::from_slice(body)?;
    let signature = model.signature();
    let rows = request.rows(signature)?;
    for (row, values) in rows.rows().into_iter().enumerate() {
        let values = values.to_slice().expect(ROW_MAJOR);
        signature.check(values).map_err(|rejection| InferError::Row { row, rejection })?;
    }
    let mut scores = Array2::zeros((rows.nrows(), signature.target.outputs()));
    model.score(rows.view(), scores.view_mut(), &mut model.scratch());
    if let Some(row) = scores.rows().into_iter().position(|row| row.iter().any(|score| !score.is_finite())) {
        let rejection = Rejection::new(Reason::PredictionNotFinite, "the model's answer is NaN or infinite");
        return Err(InferError::Row { row, rejection });
    }
    let answer = Answer {
        model_name: model.name(),
        model_version: model.version().to_string(),
        id: request.id.as_deref(),
        outputs: wanted(&request, outputs(&signature.target, &scores))?,
    };
    Ok(serde_json::to_vec(&answer).expect("strings and finite numbers are always JSON"))
}

const ROW_MAJOR: &str = "ndarray makes matrices in row-major order";

fn outputs<'a>(target: &'a Target, scores: &'a Array2<f32>) -> Vec<Output<'a>> {
    let (rows, columns) = scores.dim();
    let numbers = Values::Numbers(scores.as_slice().expect(ROW_MAJOR));
    match target {
        Target::Classification { classes, .. } => {
            let predicted = scores.rows().into_iter().map(|row| classes[predicted_class(row)].as_str());
            let predicted = Values::Classes(predicted.collect());
            vec![
                Output { name: PREDICTION, datatype: "BYTES", shape: [rows, 1], data: predicted },
                Output { name: PROBABILITIES, datatype: "FP32", shape: [rows, columns], data: numbers },
            ]
        }
        Target::Regression { .. } => {
            vec![Output { name: PREDICTION, datatype: "FP32", shape: [rows, columns], data: numbers }]
        }
    }
}

/// Those outputs that the request asks for, in its order.
fn wanted<'a>(request: &Request, all: Vec<Output<'a>>) -> Result<Vec<Output<'a>>, InferError> {
    let Some(wanted) = &request.outputs else { return Ok(all) };
    let find = |name: &str| {
        let output = all.iter().find(|output| output.name == name).cloned();
        output.ok_or_else(|| InferError::Request(format!("output {name:?}: the model has none of this name")))
    };
    wanted.iter().map(|output| find(&output.name)).collect()
}
