//! Models that were made elsewhere: what a foreign file says, on its way to a bundle.

pub(in crate::model) mod made_up;
mod names;
mod samples;

use std::fmt;
use std::str::FromStr;

use ndarray::{Array2, ArrayView2, Axis};

use super::Model;
use super::bundle::{BundleError, Draft, Training};
use super::onnx::{Difference, Reference};
use super::preprocess::Transform;
use super::signature::Signature;
use crate::engine::{Layer, Output};
use crate::limits::Limits;
use crate::monitor::drift::Baseline;
use crate::printable::shown;

pub use samples::Samples;

/// How many rows a bundle keeps to check the model with when it is loaded.
const GOLDEN_ROWS: usize = 32;

/// How many rows an import is compared with its graph on.
const CHECKED_ROWS: usize = 2_000;

/// Rows that are scored together.
const BATCH: usize = 1024;

/// What a file of another system says, in weir's terms.
#[derive(Debug)]
pub struct Imported {
    /// What the model takes and answers.
    pub signature: Signature,
    /// What happens to each feature, in signature order.
    pub preprocessing: Vec<Transform>,
    /// The layers from the input on.
    pub layers: Vec<Layer>,
    /// What turns the last layer's values into the answer.
    pub output: Output,
    /// Where it came from, for the bundle's recipe.
    pub recipe: serde_json::Map<String, serde_json::Value>,
    /// What the model must agree with, if it came from a graph.
    pub reference: Option<Box<Reference>>,
}

/// What a person says about a model whose file leaves it open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Whether it answers classes or numbers.
    pub task: Option<Task>,
    /// The column that is predicted, in the tables that the model was made from; several for a regression of several
    /// outputs.
    pub target: Option<Vec<String>>,
    /// The classes, in the order of the outputs.
    pub classes: Option<Vec<String>>,
    /// The features, in the order of the inputs.
    pub feature_names: Option<Vec<String>>,
    /// How much the file may hold.
    pub limits: Limits,
}

/// What a model answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// One of some classes.
    Classification,
    /// One number, or several.
    Regression,
}

impl Task {
    /// All of them.
    pub const ALL: [Task; 2] = [Task::Classification, Task::Regression];

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Task::Classification => "classification",
            Task::Regression => "regression",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Task {
    type Err = String;

    fn from_str(text: &str) -> Result<Task, String> {
        let task = Task::ALL.into_iter().find(|task| task.as_str() == text);
        task.ok_or_else(|| format!("unknown task {text:?}: classification or regression"))
    }
}

/// What is known of a model beside its file.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Records with the answers that are expected.
    pub samples: Option<Samples>,
    /// Rows × features, decoded for its signature: the baseline is made of them.
    pub rows: Option<Array2<f64>>,
}

/// Why an imported model isn't taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A sample row can't be used.
    #[error("sample {line}: {reason}")]
    Sample {
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The samples use other names than the file.
    #[error("{}", renamed(columns, features))]
    Renamed {
        /// Each feature that the samples lack, with the member that it is made of.
        columns: Vec<(String, String)>,
        /// The names of all features as the samples have them, in order.
        features: Vec<String>,
    },
    /// There are no sample rows.
    #[error("there are no samples: write one JSON record a line, with what the model answers as \"outputs\"")]
    NoSamples,
    /// The model answers otherwise.
    #[error(
        "sample {line}: output {output} is {found}, expected is {expected} within {bound:.1e}, and {wrong} of {of} \
         samples differ: the samples are of another model, or weir misreads this one, which is worth a report"
    )]
    Differs {
        /// The line of the sample that differs most, from 1.
        line: usize,
        /// The name of the output.
        output: String,
        /// What the sample says.
        expected: f64,
        /// What the model answers.
        found: f32,
        /// The largest difference allowed.
        bound: f64,
        /// How many samples differ by more.
        wrong: usize,
        /// How many samples there are.
        of: usize,
    },
    /// The graph that it came from answers otherwise.
    #[error(transparent)]
    Reference(#[from] Difference),
    /// The parts don't make a bundle.
    #[error("it makes no bundle")]
    Bundle(#[from] BundleError),
}

fn renamed(columns: &[(String, String)], features: &[String]) -> String {
    let pair =
        |(feature, member): &(String, String)| format!("{} is called {} by the file", shown(member), shown(feature));
    let pairs: Vec<_> = columns.iter().take(RENAMED_SHOWN).map(pair).collect();
    let more = match columns.len().saturating_sub(RENAMED_SHOWN) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let advice = match features.iter().any(|name| name.contains(',')) {
        true => "Export it again with names of letters, digits and _, and use these in the records".into(),
        false => format!("Import it with the names of your records: --feature-names {:?}", features.join(",")),
    };
    format!(
        "the file calls columns otherwise than the samples: {}{more}; exporters such as skl2onnx replace characters of \
         names. {advice}",
        pairs.join(", ")
    )
}

/// How many renamed columns a message lists.
const RENAMED_SHOWN: usize = 10;

impl Imported {
    /// The features whose names look as if the exporter had replaced characters of them.
    pub fn replaced_names(&self) -> Vec<&str> {
        let names = self.signature.features.iter().map(|feature| feature.name.as_str());
        names.filter(|name| names::looks_replaced(name)).collect()
    }

    /// The features that the graph has as doubles and its first layer takes as they are: weir's layers compute in f32,
    /// which has 7 digits, so large numbers that differ little lose the difference.
    pub fn unscaled_doubles(&self) -> Vec<&str> {
        let doubles = self.reference.iter().flat_map(|reference| reference.doubles());
        let features = self.signature.features.iter().zip(&self.preprocessing).zip(doubles);
        let is_unscaled =
            |transform: &Transform| matches!(transform, Transform::Numeric { steps, .. } if steps.is_empty());
        let unscaled = features.filter(|((_, transform), is_double)| *is_double && is_unscaled(transform));
        unscaled.map(|((feature, _), _)| feature.name.as_str()).collect()
    }

    /// The draft of a version that agrees with the evidence; and the largest difference to the samples.
    ///
    /// Its golden rows are some of the samples, else of the rows, else made up; without rows its baseline is empty.
    pub fn into_draft(self, name: &str, evidence: &Evidence) -> Result<(Draft, Option<f64>), ImportError> {
        let reference = self.reference;
        let golden_rows = match evidence {
            Evidence { samples: Some(samples), .. } => spread(samples.rows.view()),
            Evidence { rows: Some(rows), .. } => spread(rows.view()),
            _ => made_up::rows(&self.signature, &self.preprocessing, GOLDEN_ROWS),
        };
        let no_rows = Array2::zeros((0, self.signature.features.len()));
        let no_outputs = Array2::zeros((0, self.signature.target.outputs()));
        let mut draft = Draft {
            name: name.into(),
            parent: None,
            evaluation: None,
            baseline: Baseline::fit(&self.signature, no_rows.view(), no_outputs.view()),
            signature: self.signature,
            decision: None,
            target_scale: None,
            preprocessing: self.preprocessing,
            layers: self.layers,
            output: self.output,
            training: Training { recipe: self.recipe, ..Training::default() },
            golden_rows,
        };
        let (_, files) = draft.bundle(1, String::new())?;
        let model = Model::load(&files, |_| {})?;
        if let Some(reference) = &reference {
            reference.check(&model, &draft.preprocessing, CHECKED_ROWS)?;
        }
        let largest = evidence.samples.as_ref().map(|samples| samples.check(&model)).transpose()?;
        if let Some(rows) = &evidence.rows {
            draft.baseline = Baseline::fit(&draft.signature, rows.view(), answers(&model, rows.view()).view());
        }
        Ok((draft, largest))
    }
}

/// What the model answers for decoded rows, in batches.
pub(in crate::model) fn answers(model: &Model, rows: ArrayView2<'_, f64>) -> Array2<f32> {
    let mut outputs = Array2::zeros((rows.nrows(), model.signature().target.outputs()));
    let mut scratch = model.scratch();
    let batches = rows.axis_chunks_iter(Axis(0), BATCH).zip(outputs.axis_chunks_iter_mut(Axis(0), BATCH));
    batches.for_each(|(rows, outputs)| model.score(rows, outputs, &mut scratch));
    outputs
}

/// Rows at equal distances, as many as are golden.
fn spread(rows: ArrayView2<'_, f64>) -> Vec<Vec<f64>> {
    let count = rows.nrows().min(GOLDEN_ROWS);
    (0..count).map(|at| rows.row(at * rows.nrows() / count).to_vec()).collect()
}

#[cfg(test)]
mod tests;
