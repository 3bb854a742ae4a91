//! From a table to a bundle: `weir train`, and the demo while it serves.
//!
//! [`fit`] is the whole way: the preprocessing is fitted on the training rows, the network descends, the test rows
//! are predicted by the same code that serves, and what a bundle needs is collected. It knows no clock and writes
//! nothing but checkpoints; the same rows and [`Recipe`] give the same model on the same machine, by however many
//! threads.

pub mod checkpoint;
pub mod class_weight;
pub mod dataset;
pub mod distributed;
pub mod evaluate;
pub mod preparation;
pub mod recipe;
pub mod split;
pub mod time;
pub mod warm;
pub mod warnings;

mod backprop;
mod decision;
mod descent;
mod error;
mod inputs;
mod optimizer;
mod preprocessing;
mod validation;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use ndarray::{Array2, ArrayView2, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};

use self::backprop::{Network, Truth};
use self::checkpoint::{Checkpoints, Identity, Keeper};
use self::dataset::examples::{self, Examples};
use self::dataset::{Table, Target as TableTarget, TargetValues, Times};
use self::descent::{Descent, TrainingData};
use self::distributed::Workers;
pub use self::error::TrainError;
use self::evaluate::{Evaluation, Judgement};
use self::inputs::Inputs;
pub use self::recipe::Recipe;
use self::recipe::TargetScaling;
use self::validation::Division;
use self::warm::Parent;
use crate::engine::{Mlp, Output};
use crate::model::Model;
use crate::model::bundle::{Draft, Training};
use crate::model::decision::{ClassDecision, Decision};
use crate::model::evaluation::Warning;
use crate::model::preprocess::{Preprocess, Transform};
use crate::model::signature::{Signature, Target};
use crate::model::target_scale::TargetScale;
use crate::monitor::drift::Baseline;

/// How many training rows a bundle keeps to check the model with when it is loaded.
const GOLDEN_ROWS: usize = 32;

/// Training rows that are predicted at most, to compare them with the test rows.
const GAP_ROWS: usize = 5000;

/// Rows per call of the engine where all of a table is predicted.
const PREDICT_ROWS: usize = 1024;

/// What an observer learns after each epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// Its number, from 1.
    pub number: usize,
    /// How many there are at most.
    pub of: usize,
    /// The mean training loss, penalty included, as the epoch went along.
    pub loss: f64,
    /// The score on the validation rows after it, with early stopping: accuracy, or R².
    pub score: Option<f64>,
    /// How many rows it trained on.
    pub rows: usize,
}

/// What an epoch's observer says: go on, or stop after it.
pub type OnEpoch<'a> = &'a mut dyn FnMut(&Epoch) -> ControlFlow<()>;

/// What a training begins with, and what it leaves on its way.
#[derive(Debug, Default)]
pub struct Session<'a> {
    /// Start from this version instead of random weights. Features, preprocessing and the network's shape are then its
    /// own, whatever the recipe says.
    pub parent: Option<&'a Parent>,
    /// Keep the state in a file, from which another training can go on.
    pub checkpoints: Option<&'a Checkpoints>,
    /// Who does the work of each minibatch together. How many threads there are makes no difference to the bits.
    pub workers: Workers,
}

/// Why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The loss didn't fall, or the validation score rise, any more.
    Converged,
    /// All epochs are done.
    MaxIter,
    /// The observer asked for it.
    Asked,
    /// The loss or a weight wasn't finite any more; the last epoch before it counts.
    Diverged,
}

impl Stop {
    /// The name in the recipe and in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Stop::Converged => "converged",
            Stop::MaxIter => "max_iter",
            Stop::Asked => "asked",
            Stop::Diverged => "diverged",
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
pub struct TrainedModel {
    /// Everything that a bundle holds; name and parent are those of the version that it started from, if any.
    draft: Draft,
    /// The training loss of each epoch.
    pub losses: Vec<f64>,
    /// The validation score after each epoch, with early stopping.
    pub scores: Vec<f64>,
    /// Why training ended.
    pub stop: Stop,
    /// How many rows went where.
    pub rows: Rows,
    /// The deviation that the target of a regression was divided by, so that the loss has no unit.
    pub target_std: Option<f64>,
    /// What is good to know about the training, and no warning.
    pub notes: Vec<Warning>,
}

impl TrainedModel {
    /// Adds warnings about the data before those about the model.
    pub fn add_warnings(&mut self, warnings: Vec<Warning>) {
        let evaluation = self.draft.evaluation.get_or_insert_default();
        let about_model = std::mem::replace(&mut evaluation.warnings, warnings);
        evaluation.warnings.extend(about_model);
    }

    /// The features and the target.
    pub fn signature(&self) -> &Signature {
        &self.draft.signature
    }

    /// The metrics on the test rows by name (see [`evaluate`]), with `rows`, `test_rows`, `epochs` and the last
    /// training `loss`, and the best `validation_score` with early stopping.
    pub fn metrics(&self) -> &BTreeMap<String, f64> {
        &self.draft.training.metrics
    }

    /// The same, and what is behind them.
    pub fn evaluation(&self) -> Option<&Evaluation> {
        self.draft.evaluation.as_ref()
    }

    /// What to publish. `notes` are added to the recipe that the bundle keeps, such as where the data came from.
    ///
    /// If it started from a version with the same name, that is the `parent`.
    pub fn into_draft(self, name: &str, notes: impl IntoIterator<Item = (String, Value)>) -> Draft {
        // The number of a version only means something beside its name.
        let parent = self.draft.parent.filter(|_| self.draft.name == name);
        let mut draft = Draft { name: name.into(), parent, ..self.draft };
        draft.training.recipe.extend(notes);
        draft
    }
}

/// Trains a model on `train` and tests it on `test`; an empty `test` gives no metrics of quality.
///
/// `on_epoch` is called after each epoch and may end the training there; the model is then what it has become.
///
/// A regression trains on the standardised target, and its loss is of that; the last layer undoes it at the end, or the
/// draft's target scale where an f32 couldn't.
pub fn fit(train: &Table, test: &Table, recipe: &Recipe, on_epoch: OnEpoch<'_>) -> Result<TrainedModel, TrainError> {
    fit_in(Session::default(), train, test, recipe, on_epoch)
}

/// [`fit`], from a version's weights or from a checkpoint, and by more than one thread or process: of several ranks all
/// do the same, with the same arguments, and get the same model.
pub fn fit_in(
    session: Session<'_>,
    train: &Table,
    test: &Table,
    recipe: &Recipe,
    on_epoch: OnEpoch<'_>,
) -> Result<TrainedModel, TrainError> {
    if recipe.baseline_by.is_some() && (train.times.is_none() || test.times.is_none()) {
        return Err(TrainError::NoTimeOfBaseline);
    }
    let ranks = &session.workers.ranks;
    let ready = ranks.agree(Ready::new(&session, train, recipe))?;
    let Ready { material, preprocess, x, output, division, sample_weight, positive, mut described, mut descent } =
        ready;
    let Material { signature, preprocessing, rows, times, truth, scale } = &material;

    let identity = || Identity::new(described.clone(), signature, preprocessing, rows.view(), truth);
    if ranks.count() > 1 && !ranks.have_same(identity().fingerprint(recipe.max_iter)) {
        return ranks.agree(Err(TrainError::RanksDiffer));
    }
    let keeper = session.checkpoints.map(|checkpoints| Keeper::new(checkpoints, identity(), recipe.max_iter));
    if let Some(keeper) = &keeper {
        // The others may not even have the file.
        let file = ranks.agree(if ranks.is_first() { keeper.read().map_err(TrainError::from) } else { Ok(None) })?;
        let resumed = ranks.bytes_of_first(file).map_or(Ok(()), |file| keeper.resume(&file, &mut descent));
        ranks.agree(resumed.map_err(TrainError::from))?;
    }
    let training_data = TrainingData {
        x: &x,
        truth,
        sample_weight: sample_weight.as_deref(),
        division: &division,
        target_scale: *scale,
    };
    let stop = descent.run(&training_data, recipe, &session.workers, keeper.as_ref(), on_epoch)?;
    let Descent { mut network, losses, scores, best_figure, .. } = descent;
    let target_scale = scale.and_then(|(mean, std)| TargetScale::of(mean, std));
    if let (Some((mean, std)), None) = (*scale, target_scale) {
        network.rescale(mean, std);
    }

    let mlp = Mlp::new(network.layers(), output)?;
    let (decision, unreached) = decision::decide(recipe, &signature.target, positive, &mlp, &x, truth, &division);
    let decision_of = decision.as_ref();
    let tested =
        Tested { mlp: &mlp, preprocess: &preprocess, signature, recipe, decision: decision_of, scale: target_scale };
    let TestedRows { mut evaluation, outputs: answers, times: test_times } = tested.on_table(test)?;
    evaluation.warnings = unreached.into_iter().chain(tested.warnings(&x, truth, &evaluation)).collect();
    evaluation.warnings.extend(warnings::of_split(train, test));
    evaluation.warnings.extend(warnings::of_course(&scores));
    let baseline = match (recipe.baseline_by, times, &test_times) {
        (Some(cycle), Some(times), Some(test_times)) => {
            Baseline::fit_by(cycle, signature, (rows.view(), times), (answers.view(), test_times))
        }
        _ => Baseline::fit(signature, rows.view(), answers.view()),
    };
    evaluation.losses.clone_from(&losses);
    evaluation.validation_scores.clone_from(&scores);
    let counts = Rows {
        train: rows.nrows(),
        incomplete: train.len() - rows.nrows(),
        test: evaluation.rows,
        untestable: test.len() - evaluation.rows,
    };
    let mut metrics = evaluation.metrics.clone();
    metrics.extend([
        ("rows".to_owned(), counts.train as f64),
        ("test_rows".to_owned(), counts.test as f64),
        ("epochs".to_owned(), losses.len() as f64),
    ]);
    metrics.extend(losses.last().map(|&loss| ("loss".to_owned(), loss)));
    if recipe.early_stopping && best_figure.is_finite() {
        metrics.insert("validation_score".to_owned(), best_figure);
    }
    described.insert("stop".to_owned(), stop.as_str().into());
    let mut notes = warnings::notes(recipe, stop, losses.len());
    notes.extend(session.parent.and_then(|parent| parent.lost_threshold(decision.as_ref())));
    let (name, parent) = session.parent.map(Parent::version).unwrap_or_default();
    let target_std = scale.map(|(_, std)| std);
    let draft = Draft {
        name,
        parent,
        layers: network.layers(),
        output,
        training: Training { recipe: described, metrics },
        baseline,
        golden_rows: golden_rows(rows.view()),
        evaluation: Some(evaluation),
        preprocessing: material.preprocessing,
        signature: material.signature,
        decision,
        target_scale,
    };
    Ok(TrainedModel { draft, losses, scores, stop, rows: counts, target_std, notes })
}

/// A training that can begin.
struct Ready {
    material: Material,
    preprocess: Preprocess,
    x: Inputs,
    output: Output,
    division: Division,
    sample_weight: Option<Vec<f32>>,
    /// The class that was named as the positive one, or the second one if only a threshold was.
    positive: Option<String>,
    /// The recipe, as the bundle has it.
    described: Map<String, Value>,
    descent: Descent,
}

impl Ready {
    fn new(session: &Session<'_>, train: &Table, recipe: &Recipe) -> Result<Ready, TrainError> {
        recipe.validate().map_err(TrainError::Recipe)?;
        let material = match session.parent {
            Some(parent) => parent.material(train, recipe)?,
            None => material(train, recipe)?,
        };
        let Material { signature, preprocessing, rows, scale, .. } = &material;
        signature.validate().map_err(TrainError::Signature)?;
        let preprocess = Preprocess::new(signature, preprocessing).map_err(TrainError::Signature)?;
        let x = Inputs::new(&preprocess, signature, rows.view());

        let mut rng = ChaCha8Rng::seed_from_u64(recipe.random_state);
        let (network, output) = match session.parent {
            Some(parent) => (parent.network(*scale), parent.output()),
            None => random_network(&preprocess, &signature.target, recipe, &mut rng),
        };
        let division = division(&material, recipe, &mut rng)?;
        let sample_weight = sample_weight(&material, recipe)?;
        let positive = decision::positive(&signature.target, recipe, session.parent)?;
        let mut described = match serde_json::to_value(recipe) {
            Ok(Value::Object(recipe)) => recipe,
            _ => unreachable!("a recipe is a flat struct of numbers and names"),
        };
        if let Some(parent) = session.parent {
            parent.amend(&mut described);
        }
        let descent = Descent::new(network, recipe, rng);
        Ok(Ready { material, preprocess, x, output, division, sample_weight, positive, described, descent })
    }
}

/// What a training works on.
struct Material {
    signature: Signature,
    preprocessing: Vec<Transform>,
    /// The training rows, decoded for the signature.
    rows: Array2<f64>,
    /// When they happened, in seconds since 1970, if the table says so.
    times: Option<Vec<i64>>,
    truth: Truth,
    /// The mean and deviation that were taken out of a regression's target.
    scale: Option<(f64, f64)>,
}

/// The training rows, and the preprocessing that they give.
fn material(train: &Table, recipe: &Recipe) -> Result<Material, TrainError> {
    let train = &*complete(train, recipe)?;
    let TrainingTarget { target, truth, scale } = taught(&train.target, recipe)?;
    let (features, preprocessing) = preprocessing::fit(train, &recipe.preparation)?;
    let rows = examples::decode(&train.features, train.rows.view(), &features)?;
    let times = train.times.as_ref().map(Times::unix_seconds);
    Ok(Material { signature: Signature { features, target }, preprocessing, rows, times, truth, scale })
}

fn random_network(
    preprocess: &Preprocess,
    target: &Target,
    recipe: &Recipe,
    rng: &mut ChaCha8Rng,
) -> (Network, Output) {
    let (output, last) = match target {
        Target::Regression { .. } => (Output::Identity, 1),
        Target::Classification { classes, .. } if classes.len() == 2 => (Output::Logistic, 1),
        Target::Classification { classes, .. } => (Output::Softmax, classes.len()),
    };
    let widths = [&[preprocess.width()], &*recipe.hidden_layer_sizes, &[last]].concat();
    (Network::random(&widths, recipe.activation, output, rng), output)
}

/// Which rows train, and which are set aside to stop early by or to choose a threshold by.
fn division(material: &Material, recipe: &Recipe, rng: &mut ChaCha8Rng) -> Result<Division, TrainError> {
    if !recipe.sets_rows_aside() {
        return Ok(Division { learn: (0..material.rows.nrows()).collect(), validate: vec![] });
    }
    let classes: &[String] = match &material.signature.target {
        Target::Classification { classes, .. } => classes,
        Target::Regression { .. } => &[],
    };
    validation::divide(&material.truth, classes, recipe.validation_fraction, rng)
}

/// How much each row counts, if not all the same.
fn sample_weight(material: &Material, recipe: &Recipe) -> Result<Option<Vec<f32>>, TrainError> {
    match (&recipe.class_weight, &material.truth, &material.signature.target) {
        (None, ..) => Ok(None),
        (Some(weight), Truth::Classes(rows), Target::Classification { classes, .. }) => {
            weight.of_rows(classes, rows).map(Some)
        }
        (Some(_), _, Target::Regression { names }) => Err(TrainError::NoClasses { target: names.join(", ") }),
        (Some(_), Truth::Numbers(_), Target::Classification { name, .. }) => {
            Err(TrainError::NoClasses { target: name.clone() })
        }
    }
}

/// The rows that the recipe trains on: all, or those that lack nothing.
fn complete<'a>(table: &'a Table, recipe: &Recipe) -> Result<Cow<'a, Table>, TrainError> {
    if !recipe.preparation.dropna {
        return Ok(Cow::Borrowed(table));
    }
    let lacks_nothing = |&row: &usize| table.rows.row(row).iter().all(|value| !value.is_nan());
    let keep: Vec<usize> = (0..table.len()).filter(lacks_nothing).collect();
    if keep.is_empty() {
        return Err(TrainError::AllRowsDropped { rows: table.len() });
    }
    Ok(Cow::Owned(table.select(&keep)))
}

/// What the training rows should be answered.
struct TrainingTarget {
    target: Target,
    truth: Truth,
    /// The mean and deviation that were taken out of a regression's target.
    scale: Option<(f64, f64)>,
}

fn taught(target: &TableTarget, recipe: &Recipe) -> Result<TrainingTarget, TrainError> {
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
            Ok(TrainingTarget { target, truth: Truth::Classes(truth), scale: None })
        }
        TargetValues::Numbers(numbers) => {
            let (mean, std) = preprocessing::mean_and_std(numbers);
            if !(mean.is_finite() && std.is_finite()) {
                return Err(TrainError::TooLarge { feature: name });
            }
            let scale = (recipe.target_scale == TargetScaling::Standard).then_some((mean, std));
            let (mean, std) = scale.unwrap_or((0.0, 1.0));
            let truth: Vec<f32> = numbers.iter().map(|number| ((number - mean) / std) as f32).collect();
            if truth.iter().any(|number| !number.is_finite()) {
                return Err(TrainError::TooLarge { feature: name });
            }
            let target = Target::Regression { names: vec![name] };
            Ok(TrainingTarget { target, truth: Truth::Numbers(truth), scale })
        }
    }
}

/// What the engine answers for each row.
fn predict(mlp: &Mlp, x: &Inputs) -> Array2<f32> {
    let mut outputs = Array2::zeros((x.rows(), mlp.outputs()));
    let mut scratch = mlp.scratch();
    for (chunk, out) in outputs.axis_chunks_iter_mut(Axis(0), PREDICT_ROWS).enumerate() {
        let start = chunk * PREDICT_ROWS;
        mlp.forward(x.dense(start..start + out.nrows()).view(), out, &mut scratch);
    }
    outputs
}

/// Those rows of a table that a version takes and whose class it knows, and its answers for them.
pub fn answered(model: &Model, table: &Table) -> Result<(Examples, Array2<f64>), TrainError> {
    let examples = Examples::of(table, model.signature())?.taken_by(model.signature(), &model.preprocess);
    let answers = evaluate::answers(model, examples.rows.view());
    Ok((examples, answers))
}

/// A model that is measured.
struct Tested<'a> {
    mlp: &'a Mlp,
    preprocess: &'a Preprocess,
    signature: &'a Signature,
    recipe: &'a Recipe,
    decision: Option<&'a Decision>,
    scale: Option<TargetScale>,
}

/// What a model makes of the test rows that it takes.
struct TestedRows {
    evaluation: Evaluation,
    outputs: Array2<f32>,
    /// When they happened, in seconds since 1970.
    times: Option<Vec<i64>>,
}

impl Tested<'_> {
    fn judgement(&self) -> Judgement {
        let decision = ClassDecision::of(&self.signature.target, self.decision);
        Judgement { decision, rule: self.recipe.threshold }
    }

    /// How good the model is on those test rows that it takes and whose class it knows.
    fn on_table(&self, test: &Table) -> Result<TestedRows, TrainError> {
        let Tested { mlp, preprocess, signature, .. } = self;
        let examples = Examples::of(test, signature)?.taken_by(signature, preprocess);
        let outputs = predict(mlp, &Inputs::new(preprocess, signature, examples.rows.view()));
        let answers = evaluate::scaled(outputs.clone(), self.scale);
        let evaluation = evaluate::evaluation(&signature.target, &examples.truth, answers.view(), self.judgement());
        let times = test.times.as_ref().map(Times::unix_seconds);
        let times = times.map(|times| examples.places.iter().map(|&row| times[row]).collect());
        Ok(TestedRows { evaluation, outputs, times })
    }

    /// What the test rows show, alone and beside training rows.
    fn warnings(&self, x: &Inputs, truth: &Truth, test: &Evaluation) -> Vec<Warning> {
        let mut warnings = warnings::of_evaluation(test);
        // A regression's truth is standardised, its answers aren't: classes are compared, numbers by their own R².
        if let (Truth::Classes(classes), true) = (truth, test.rows > 0) {
            let rows: Vec<usize> = (0..classes.len()).step_by(classes.len().div_ceil(GAP_ROWS)).collect();
            let actual = dataset::Truth::Classes(rows.iter().map(|&row| classes[row]).collect());
            let answers = predict_rows(self.mlp, x, &rows).mapv(f64::from);
            let training = evaluate::evaluation(&self.signature.target, &actual, answers.view(), self.judgement());
            warnings.extend(warnings::of_gap(&training, test));
        }
        if let (Truth::Numbers(numbers), true) = (truth, test.rows > 0) {
            let rows: Vec<usize> = (0..numbers.len()).step_by(numbers.len().div_ceil(GAP_ROWS)).collect();
            let answers = predict_rows(self.mlp, x, &rows);
            let actual: Vec<f64> = rows.iter().map(|&row| f64::from(numbers[row])).collect();
            let answers: Vec<f64> = answers.column(0).iter().map(|&answer| f64::from(answer)).collect();
            let r2 = warnings::correlation(&actual, &answers).powi(2);
            let training = Evaluation { metrics: [("r2".to_owned(), r2)].into(), ..Evaluation::default() };
            warnings.extend(warnings::of_gap(&training, test));
        }
        warnings
    }
}

/// What the engine answers for some of the rows.
fn predict_rows(mlp: &Mlp, x: &Inputs, rows: &[usize]) -> Array2<f32> {
    let mut outputs = Array2::zeros((rows.len(), mlp.outputs()));
    let mut scratch = mlp.scratch();
    for (&row, out) in rows.iter().zip(outputs.axis_chunks_iter_mut(Axis(0), 1)) {
        mlp.forward(x.dense(row..row + 1).view(), out, &mut scratch);
    }
    outputs
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
