//! `golden.json`: some rows, and what the model answered for them when it was published.
//!
//! They go the way of a record: decoded, checked by the signature, preprocessed and scored. So whatever changes the
//! answer (weights, preprocessing, a kernel on another kind of CPU) shows before the version serves. CPUs round
//! differently, hence the tolerance.

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BundleError, GOLDEN};
use crate::model::Model;
use crate::model::signature::{Feature, Kind, Signature};
use crate::record::Gap;

/// Far above what kernels differ by (about 1e-6), far below what anyone would act on.
const TOLERANCE: f32 = 1e-4;

/// No file may allow more: its goldens would pass whatever the model answers.
const MOST_TOLERANCE: f32 = 1e-2;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Goldens {
    /// An output may differ by this, times its size where that is above 1.
    tolerance: f32,
    /// At least one.
    pub(super) rows: Vec<Golden>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Golden {
    /// As in a record: numbers, categories as strings, null for missing.
    features: Vec<Value>,
    outputs: Vec<f32>,
}

impl Goldens {
    pub(super) fn from_json(bytes: &[u8]) -> Result<Goldens, BundleError> {
        serde_json::from_slice(bytes).map_err(|source| BundleError::Json { file: GOLDEN, source })
    }

    /// Takes down what the model answers for these decoded rows.
    pub(super) fn record(model: &Model, rows: &[Vec<f64>]) -> Result<Goldens, BundleError> {
        let features = &model.signature().features;
        let mut goldens = Goldens { tolerance: TOLERANCE, rows: Vec::with_capacity(rows.len()) };
        for (index, row) in rows.iter().enumerate() {
            if row.len() != features.len() {
                return Err(invalid(index, format!("{} values for {} features", row.len(), features.len())));
            }
            let values = features.iter().zip(row).map(|(feature, &value)| {
                to_json(feature, value)
                    .ok_or_else(|| invalid(index, format!("feature {:?}: no record can say {value}", feature.name)))
            });
            goldens.rows.push(Golden { features: values.collect::<Result<_, _>>()?, outputs: Vec::new() });
        }
        let answers = goldens.answers(model)?;
        for (index, (golden, answer)) in goldens.rows.iter_mut().zip(answers.rows()).enumerate() {
            if let Some(value) = answer.iter().find(|value| !value.is_finite()) {
                return Err(invalid(index, format!("the model answers {value}, which is not finite")));
            }
            golden.outputs = answer.to_vec();
        }
        Ok(goldens)
    }

    /// Whether the model answers as recorded; gives the largest difference.
    pub(super) fn check(&self, model: &Model) -> Result<f32, BundleError> {
        if !(0.0..=MOST_TOLERANCE).contains(&self.tolerance) {
            let reason = format!("tolerance = {:e}: must be between 0 and {MOST_TOLERANCE}", self.tolerance);
            return Err(BundleError::Invalid { file: GOLDEN, reason });
        }
        let answers = self.answers(model)?;
        let mut largest = 0.0_f32;
        for (row, (golden, answer)) in self.rows.iter().zip(answers.rows()).enumerate() {
            if golden.outputs.len() != answer.len() {
                let reason = format!("{} outputs recorded, the model gives {}", golden.outputs.len(), answer.len());
                return Err(invalid(row, reason));
            }
            for (output, (&expected, &found)) in golden.outputs.iter().zip(answer).enumerate() {
                let bound = self.tolerance * expected.abs().max(1.0);
                let difference = (found - expected).abs();
                // A NaN must fail, so it is not enough that the difference isn't above the bound.
                if difference.is_nan() || difference > bound {
                    return Err(BundleError::Golden { row, output, expected, found, bound });
                }
                largest = largest.max(difference);
            }
        }
        Ok(largest)
    }

    /// What the model answers for the rows, all in one batch.
    fn answers(&self, model: &Model) -> Result<Array2<f32>, BundleError> {
        let rows = self.decoded(model.signature())?;
        let mut answers = Array2::zeros((self.rows.len(), model.mlp.outputs()));
        model.score(rows.view(), answers.view_mut(), &mut model.scratch());
        Ok(answers)
    }

    /// The rows as a record's decoding gives them; they are ones that the signature accepts.
    pub(super) fn decoded(&self, signature: &Signature) -> Result<Array2<f64>, BundleError> {
        if self.rows.is_empty() {
            let reason = "there are no rows, at least one is needed".into();
            return Err(BundleError::Invalid { file: GOLDEN, reason });
        }
        let mut rows = Array2::zeros((self.rows.len(), signature.features.len()));
        for (index, (golden, mut row)) in self.rows.iter().zip(rows.rows_mut()).enumerate() {
            if golden.features.len() != row.len() {
                return Err(invalid(index, format!("{} values for {} features", golden.features.len(), row.len())));
            }
            for ((feature, value), decoded) in signature.features.iter().zip(&golden.features).zip(&mut row) {
                *decoded = from_json(feature, value);
            }
            signature.check(&row.to_vec()).map_err(|rejection| invalid(index, rejection.to_string()))?;
        }
        Ok(rows)
    }
}

/// A decoded value as a record would say it; `None` for what no accepted record says.
fn to_json(feature: &Feature, value: f64) -> Option<Value> {
    match (&feature.kind, Gap::of(value)) {
        (_, Some(Gap::Missing)) => Some(Value::Null),
        (Kind::Numeric | Kind::Time, None) => serde_json::Number::from_f64(value).map(Value::Number),
        (Kind::Categorical { categories, .. }, None) => {
            let index = value as usize;
            let category = categories.get(index).filter(|_| index as f64 == value)?;
            Some(Value::String(category.clone()))
        }
        (Kind::Categorical { categories, .. }, Some(Gap::Unknown)) => {
            let mut other = "unknown".to_owned();
            while categories.contains(&other) {
                other.push('_');
            }
            Some(Value::String(other))
        }
        _ => None,
    }
}

/// The row value of a record's value.
fn from_json(feature: &Feature, value: &Value) -> f64 {
    match (&feature.kind, value) {
        (_, Value::Null) => Gap::Missing.value(),
        (Kind::Numeric | Kind::Time, Value::Number(number)) => number.as_f64().unwrap_or(Gap::NotFinite.value()),
        (Kind::Categorical { categories, .. }, Value::String(text)) => {
            let index = categories.iter().position(|category| category == text);
            index.map_or(Gap::Unknown.value(), |index| index as f64)
        }
        (Kind::Categorical { .. }, Value::Number(_)) => Gap::Unknown.value(),
        (_, Value::String(_)) => Gap::String.value(),
        (_, Value::Bool(_)) => Gap::Boolean.value(),
        (_, Value::Array(_)) => Gap::Array.value(),
        (_, Value::Object(_)) => Gap::Object.value(),
    }
}

fn invalid(row: usize, reason: String) -> BundleError {
    BundleError::Invalid { file: GOLDEN, reason: format!("row {row}: {reason}") }
}
