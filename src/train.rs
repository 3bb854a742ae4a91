//! From a table to a bundle: `weir train`, and the demo while it serves.
//!
//! [`fit`] is the whole way: the preprocessing is fitted on the training rows, the network descends, the test rows
//! are predicted by the same code that serves, and what a bundle needs is collected. It works on one thread, knows
//! no clock and writes nothing; the same rows and [`Recipe`] give the same model on the same machine.

pub mod dataset;
pub mod evaluate;
pub mod recipe;
pub mod split;
pub mod time;

mod backprop;
mod descent;
mod optimizer;
mod preprocessing;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use ndarray::{Array2, ArrayView2, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use self::backprop::{Network, Truth};
use self::dataset::{Table, Target as TableTarget, TargetValues};
use self::recipe::Impute;
pub use self::recipe::Recipe;
use crate::engine::{EngineError, Mlp, Output};
use crate::model::bundle::{Draft, Training};
use crate::model::preprocess::Preprocess;
use crate::model::signature::{Signature, Target};
use crate::monitor::drift::Baseline;

/// How many training rows a bundle keeps to check the model with when it is loaded.
const GOLDEN_ROWS: usize = 32;

/// Rows per call of the engine where all of a table is predicted.
const PREDICT_ROWS: usize = 1024;

/// Why training failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The recipe can't be followed.
    #[error("{0}")]
    Recipe(String),
    /// A split by time of a table without times.
    #[error("a split by time needs a time column (--time)")]
    NoTime,
    /// A split left nothing on one side.
    #[error("the split leaves no {side} rows")]
    EmptySide {
        /// `training` or `test`.
        side: &'static str,
    },
    /// Every training row lacks a value, and the recipe leaves such rows out.
    #[error(
        "each of the {rows} training rows lacks a value: impute them (--impute mean) or --drop the column that lacks most"
    )]
    AllRowsDropped {
        /// How many there were.
        rows: usize,
    },
    /// All training rows are of one class.
    #[error("the training rows have only one class of {target:?}: {class:?}")]
    OneClass {
        /// The target column.
        target: String,
        /// The class.
        class: String,
    },
    /// A feature has no value in any training row.
    #[error("column {feature:?} has no value in the training rows: leave it out (--drop {feature})")]
    NoValues {
        /// The column.
        feature: String,
    },
    /// A feature's or the target's values are too large for a mean and a deviation.
    #[error("column {feature:?} has values too large to standardise: rescale it or leave it out (--drop {feature})")]
    TooLarge {
        /// The column.
        feature: String,
    },
    /// The test table lacks a feature.
    #[error("the test rows have no column {feature:?}")]
    NoFeature {
        /// The column.
        feature: String,
    },
    /// A column is numeric in one table and categorical in the other.
    #[error("column {feature:?} is of another kind in the test rows than in the training rows")]
    OtherKind {
        /// The column.
        feature: String,
    },
    /// The loss is NaN or infinite.
    #[error("the loss isn't finite after epoch {epoch}: try a smaller --learning-rate-init")]
    Diverged {
        /// The epoch, from 1.
        epoch: usize,
    },
    /// The signature that came out isn't valid.
    #[error("the table makes no valid signature: {0}")]
    Signature(String),
    /// The engine doesn't take the network.
    #[error("the engine refuses the network")]
    Engine(#[from] EngineError),
}

/// What an observer learns after each epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// Its number, from 1.
    pub number: usize,
    /// How many there are at most.
    pub of: usize,
    /// The mean training loss, penalty included, as the epoch went along.
    pub loss: f64,
    /// How many rows it had.
    pub rows: usize,
}

/// Why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The loss didn't fall any more.
    Converged,
    /// All epochs are done.
    MaxIter,
    /// The observer asked for it.
    Asked,
}

impl Stop {
    /// The name in the recipe and in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Stop::Converged => "converged",
            Stop::MaxIter => "max_iter",
            Stop::Asked => "asked",
        }
    }
}

/// How many rows went where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Trained on.
    pub train: usize,
    /// Left out of training for a missing value, where the recipe rejects those.
    pub incomplete: usize,
    /// Tested on.
    pub test: usize,
    /// Left out of the test: the model would reject them, or their class isn't in the training rows.
    pub untestable: usize,
}

/// A trained model that has no name yet.
#[derive(Debug)]
pub struct Trained {
    /// Everything that a bundle holds, with an empty name.
    draft: Draft,
    /// The training loss of each epoch.
    pub losses: Vec<f64>,
    /// Why training ended.
    pub stop: Stop,
    /// How many rows went where.
    pub rows: Rows,
}

impl Trained {
    /// The features and the target.
    pub fn signature(&self) -> &Signature {
        &self.draft.signature
    }

    /// The metrics on the test rows by name (see [`evaluate`]), with `rows`, `test_rows`, `epochs` and the last
    /// training `loss`.
    pub fn metrics(&self) -> &BTreeMap<String, f64> {
        &self.draft.training.metrics
    }

    /// What to publish. `notes` are added to the recipe that the bundle keeps, such as where the data came from.
    pub fn into_draft(self, name: &str, notes: impl IntoIterator<Item = (String, Value)>) -> Draft {
        let mut draft = Draft { name: name.into(), ..self.draft };
        draft.training.recipe.extend(notes);
        draft
    }
}

/// Trains a model on `train` and tests it on `test`; an empty `test` gives no metrics of quality.
///
/// `on_epoch` is called after each epoch and may end the training there; the model is then what it has become.
///
/// A regression trains on the standardised target, and its loss is of that; the last layer undoes it at the end.
pub fn fit(
    train: &Table,
    test: &Table,
    recipe: &Recipe,
    on_epoch: &mut dyn FnMut(&Epoch) -> ControlFlow<()>,
) -> Result<Trained, TrainError> {
    recipe.validate().map_err(TrainError::Recipe)?;
    let all_rows = train.len();
    let train = &*complete(train, recipe)?;

    let Lesson { target, truth, scale } = lesson(&train.target)?;
    let (features, preprocessing) = preprocessing::fit(train, recipe)?;
    let signature = Signature { features, target };
    signature.validate().map_err(TrainError::Signature)?;
    let preprocess = Preprocess::new(&signature, &preprocessing).map_err(TrainError::Signature)?;
    let rows = preprocessing::decode(train, &signature.features)?;
    let x = inputs(&preprocess, rows.view());

    let (output, last) = match signature.target.outputs() {
        _ if matches!(signature.target, Target::Regression { .. }) => (Output::Identity, 1),
        2 => (Output::Logistic, 1),
        classes => (Output::Softmax, classes),
    };
    let widths = [&[preprocess.width()], &*recipe.hidden_layer_sizes, &[last]].concat();
    let mut rng = ChaCha8Rng::seed_from_u64(recipe.random_state);
    let mut network = Network::random(&widths, recipe.activation, output, &mut rng);
    let (losses, stop) = descent::descend(&mut network, x.view(), &truth, recipe, &mut rng, on_epoch)?;
    if let Some((mean, std)) = scale {
        network.rescale(mean, std);
    }

    let mlp = Mlp::new(network.layers(), output)?;
    let baseline = Baseline::fit(&signature, rows.view(), predict(&mlp, x.view()).view());
    let (mut metrics, tested) = test_metrics(&mlp, &preprocess, &signature, test)?;
    let counts =
        Rows { train: train.len(), incomplete: all_rows - train.len(), test: tested, untestable: test.len() - tested };
    metrics.extend([
        ("rows".to_owned(), counts.train as f64),
        ("test_rows".to_owned(), counts.test as f64),
        ("epochs".to_owned(), losses.len() as f64),
    ]);
    metrics.extend(losses.last().map(|&loss| ("loss".to_owned(), loss)));
    let recipe = match serde_json::to_value(recipe) {
        Ok(Value::Object(recipe)) => recipe,
        _ => unreachable!("a recipe is a flat struct of numbers and names"),
    };
    let draft = Draft {
        name: String::new(),
        parent: None,
        preprocessing,
        layers: network.layers(),
        output,
        training: Training { recipe, metrics },
        baseline,
        golden_rows: golden_rows(rows.view()),
        signature,
    };
    Ok(Trained { draft, losses, stop, rows: counts })
}

/// The rows that the recipe trains on: all, or those that lack nothing.
fn complete<'a>(table: &'a Table, recipe: &Recipe) -> Result<Cow<'a, Table>, TrainError> {
    if recipe.impute != Impute::Reject {
        return Ok(Cow::Borrowed(table));
    }
    let lacks_nothing = |&row: &usize| table.rows.row(row).iter().all(|value| !value.is_nan());
    let keep: Vec<usize> = (0..table.len()).filter(lacks_nothing).collect();
    if keep.is_empty() {
        return Err(TrainError::AllRowsDropped { rows: table.len() });
    }
    Ok(Cow::Owned(table.select(&keep)))
}

/// What the network has to learn.
struct Lesson {
    target: Target,
    truth: Truth,
    /// The mean and deviation that were taken out of a regression's target.
    scale: Option<(f64, f64)>,
}

fn lesson(target: &TableTarget) -> Result<Lesson, TrainError> {
    let name = target.name.clone();
    match &target.values {
        TargetValues::Classes { names, rows } => {
            let mut indices = vec![None; names.len()];
            rows.iter().for_each(|&class| indices[class] = Some(0));
            indices.iter_mut().flatten().enumerate().for_each(|(rank, index)| *index = rank);
            let classes: Vec<String> =
                names.iter().zip(&indices).filter(|(_, index)| index.is_some()).map(|(name, _)| name.clone()).collect();
            if let [class] = &*classes {
                return Err(TrainError::OneClass { target: name, class: class.clone() });
            }
            let truth = rows.iter().filter_map(|&class| indices[class]).collect();
            let target = Target::Classification { name, classes };
            Ok(Lesson { target, truth: Truth::Classes(truth), scale: None })
        }
        TargetValues::Numbers(numbers) => {
            let (mean, std) = preprocessing::mean_and_std(numbers);
            if !(mean.is_finite() && std.is_finite()) {
                return Err(TrainError::TooLarge { feature: name });
            }
            let truth = numbers.iter().map(|number| ((number - mean) / std) as f32).collect();
            let target = Target::Regression { names: vec![name] };
            Ok(Lesson { target, truth: Truth::Numbers(truth), scale: Some((mean, std)) })
        }
    }
}

/// The network's input for each row.
fn inputs(preprocess: &Preprocess, rows: ArrayView2<'_, f64>) -> Array2<f32> {
    let mut x = Array2::zeros((rows.nrows(), preprocess.width()));
    for (row, mut input) in rows.rows().into_iter().zip(x.rows_mut()) {
        let (row, input) = (row.to_slice(), input.as_slice_mut());
        let (Some(row), Some(input)) = (row, input) else { unreachable!("rows of fresh matrices are contiguous") };
        preprocess.apply(row, input);
    }
    x
}

/// What the engine answers for each row.
fn predict(mlp: &Mlp, x: ArrayView2<'_, f32>) -> Array2<f32> {
    let mut outputs = Array2::zeros((x.nrows(), mlp.outputs()));
    let mut scratch = mlp.scratch();
    let chunks = x.axis_chunks_iter(Axis(0), PREDICT_ROWS).zip(outputs.axis_chunks_iter_mut(Axis(0), PREDICT_ROWS));
    for (x, out) in chunks {
        mlp.forward(x, out, &mut scratch);
    }
    outputs
}

/// Predicts the test rows that the model takes, and how good that is; also how many those are.
fn test_metrics(
    mlp: &Mlp,
    preprocess: &Preprocess,
    signature: &Signature,
    test: &Table,
) -> Result<(BTreeMap<String, f64>, usize), TrainError> {
    let rows = preprocessing::decode(test, &signature.features)?;
    let class_of = |row: usize| match (&test.target.values, &signature.target) {
        (TargetValues::Classes { names, rows }, Target::Classification { classes, .. }) => {
            classes.iter().position(|class| *class == names[rows[row]])
        }
        _ => None,
    };
    let regression = matches!(signature.target, Target::Regression { .. });
    let testable = |&row: &usize| {
        let accepted = rows.row(row).to_slice().is_some_and(|row| signature.check(row).is_ok());
        accepted && (regression || class_of(row).is_some())
    };
    let keep: Vec<usize> = (0..test.len()).filter(testable).collect();
    if keep.is_empty() {
        return Ok((BTreeMap::new(), 0));
    }
    let outputs = predict(mlp, inputs(preprocess, rows.select(Axis(0), &keep).view()).view());
    let metrics = match &test.target.values {
        TargetValues::Classes { .. } => {
            let actual: Vec<usize> = keep.iter().filter_map(|&row| class_of(row)).collect();
            evaluate::classification(&actual, outputs.view())
        }
        TargetValues::Numbers(numbers) => {
            let actual: Vec<f64> = keep.iter().map(|&row| numbers[row]).collect();
            let predicted: Vec<f64> = outputs.column(0).iter().map(|&value| f64::from(value)).collect();
            evaluate::regression(&actual, &predicted)
        }
    };
    Ok((metrics, keep.len()))
}

/// Rows spread over the training rows, a quarter of them (where there are so many) with missing values.
fn golden_rows(rows: ArrayView2<'_, f64>) -> Vec<Vec<f64>> {
    let (gaps, full): (Vec<usize>, Vec<usize>) =
        (0..rows.nrows()).partition(|&row| rows.row(row).iter().any(|value| value.is_nan()));
    let with_gaps = gaps.len().min(GOLDEN_ROWS / 4);
    let mut chosen = [spread(&full, GOLDEN_ROWS - with_gaps), spread(&gaps, with_gaps)].concat();
    chosen.sort_unstable();
    chosen.into_iter().map(|row| rows.row(row).to_vec()).collect()
}

/// Up to `count` of the values, at equal distances.
fn spread(values: &[usize], count: usize) -> Vec<usize> {
    let count = count.min(values.len());
    (0..count).map(|at| values[at * values.len() / count]).collect()
}

#[cfg(test)]
mod tests;
