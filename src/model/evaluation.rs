//! How good a version was found to be: `evaluation.json`, and what `weir evaluate` reports.
//!
//! [`crate::train::evaluate`] makes it from predictions; here is only what it holds, so that a bundle can keep it. All
//! numbers are finite: what is undefined on the rows at hand (such as the ROC AUC where all are of one class) is left
//! out of the metrics, and listed with the reason.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
    /// Metrics that are undefined on these rows, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub undefined: BTreeMap<String, String>,
    /// What a model without features would reach. `None` without rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<ReferenceScore>,
    /// What a person who decides about the model should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// What is behind the metrics; `None` without rows.
    pub detail: Option<Detail>,
    /// The training loss of each epoch; empty where the training isn't known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<f64>,
    /// The validation score of each epoch: accuracy or R²; empty without early stopping.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validation_scores: Vec<f64>,
}

impl Evaluation {
    /// The metrics for programs: those that are undefined here are null, so that no key is absent.
    pub fn metrics_json(&self) -> Map<String, Value> {
        let defined = self.metrics.iter().map(|(name, &value)| (name.clone(), value.into()));
        defined.chain(self.undefined.keys().map(|name| (name.clone(), Value::Null))).collect()
    }
}

/// What a model without features would reach: the answer is always the commonest class, or the mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReferenceScore {
    /// `accuracy` or `r2`.
    pub metric: String,
    /// The commonest class of the rows, or `mean`.
    pub answer: String,
    /// The metric of that answer: the share of the class, or 0.
    pub value: f64,
    /// The metric of the model.
    pub model: f64,
}

/// What a person who decides about the model should know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// Which kind it is, for programs.
    pub kind: String,
    /// The column, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What was found, and what to do, for people.
    pub message: String,
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
    /// The positive class's of two; of more classes one for each of the commonest.
    pub curves: Vec<Curves>,
    /// Of two classes the one that metrics, curves and thresholds are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive: Option<String>,
    /// From which probability on the positive class was predicted. `None`: where it is the more probable one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// What other thresholds would mean, from the highest on, up to 200 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<ThresholdRow>,
}

/// What it means to predict the positive class from a probability on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdRow {
    /// That probability.
    pub threshold: f64,
    /// The share of positive rows among the flagged ones.
    pub precision: f64,
    /// The share of flagged rows among the positive ones.
    pub recall: f64,
    /// The harmonic mean of the two.
    pub f1: f64,
    /// The share of all rows that is flagged.
    pub flagged: f64,
    /// Rows that are flagged and aren't positive.
    pub false_positives: u64,
    /// Rows that are positive and aren't flagged.
    pub false_negatives: u64,
    /// What both cost together, if costs were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
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
    /// The area under the ROC curve, this class against the rest. `None` without rows of both.
    #[serde(default)]
    pub roc_auc: Option<f64>,
    /// The mean precision over recall. `None` without rows of the class.
    #[serde(default)]
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
