//! How good a version was found to be: `evaluation.json`, and what `weir evaluate` reports.
//!
//! [`crate::train::evaluate`] makes it from predictions; here is only what it holds, so that a bundle can keep it. All
//! numbers are finite: what is undefined on the rows at hand (such as the ROC AUC where all are of one class) is left
//! out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A point of a curve: x and y.
pub type Point = [f64; 2];

/// The quality of a model on some rows, and how its training went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// How many rows were predicted and compared.
    pub rows: usize,
    /// How many more were left out because the model's answer was NaN or infinite.
    pub not_finite: usize,
    /// Metric name to value.
    pub metrics: BTreeMap<String, f64>,
    /// What is behind the metrics; `None` without rows.
    pub detail: Option<Detail>,
    /// The training loss of each epoch; empty where the training isn't known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<f64>,
    /// The validation score of each epoch: accuracy or R²; empty without early stopping.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validation_scores: Vec<f64>,
}

/// What is behind the metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Detail {
    /// Of a classification.
    Classification(Classes),
    /// Of a regression: its outputs, in order.
    Regression {
        /// One per output.
        outputs: Vec<OutputDetail>,
    },
}

/// The classes of a classification, one by one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Classes {
    /// One per class, in the signature's order.
    pub classes: Vec<ClassDetail>,
    /// Rows by actual class (outer) and predicted class (inner), in the signature's order.
    pub confusion: Vec<Vec<u64>>,
    /// The second class's of two; of more classes one for each of the commonest.
    pub curves: Vec<Curves>,
}

/// How well one class is distinguished from the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassDetail {
    /// Its name.
    pub name: String,
    /// How many rows are of this class.
    pub rows: u64,
    /// The share of rows of this class among those that were predicted to be; 0 if none was.
    pub precision: f64,
    /// The share of this class's rows that were predicted to be; 0 if there are none.
    pub recall: f64,
    /// The harmonic mean of the two; 0 if both are.
    pub f1: f64,
    /// The area under the ROC curve, this class against the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roc_auc: Option<f64>,
    /// The mean precision over recall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_precision: Option<f64>,
}

/// What choosing a threshold for a class means. The curves are thinned to a few hundred points and drawn by straight
/// lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// The class.
    pub class: String,
    /// False-positive rate to true-positive rate, from (0, 0) to (1, 1); empty if only one kind of row occurs.
    pub roc: Vec<Point>,
    /// Recall to precision, from recall 0 on, the corners of the steps included; empty without rows of the class.
    pub precision_recall: Vec<Point>,
    /// Rows by the probability that was given to the class: ten bins of equal width, empty ones left out.
    pub calibration: Vec<CalibrationBin>,
}

/// Rows whose probability is about the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// The mean probability.
    pub predicted: f64,
    /// The share of rows that are of the class.
    pub actual: f64,
    /// How many rows.
    pub rows: u64,
}

/// How good one output of a regression is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputDetail {
    /// Its name.
    pub name: String,
    /// Metric name to value, as in [`Evaluation::metrics`].
    pub metrics: BTreeMap<String, f64>,
    /// Actual and predicted values of some rows, spread evenly over all.
    pub points: Vec<Point>,
}
