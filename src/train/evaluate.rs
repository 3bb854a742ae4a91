//! How good predictions are: scikit-learn's metrics, as pure functions over f64.
//!
//! [`classification`] and [`regression`] gather all of them in an [`Evaluation`]; each is also there by itself. They
//! return what scikit-learn returns; what it calls undefined, refuses or answers by NaN is `None` or left out. Where an
//! average is over classes, `macro` counts them alike and `weighted` by their rows, as there.

mod comparison;
mod ranking;
mod scores;
mod thin;
mod threshold;

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};

pub use self::comparison::{Comparison, Disagreement, disagreement};
pub use self::ranking::{Ranking, calibration};
use self::scores::mean;
pub use self::scores::{
    Detection, accuracy, balanced_accuracy, brier_score, confusion, detections, log_loss, mae, r2, rmse,
};
pub use self::thin::thin;
pub use self::threshold::ThresholdRule;
use self::threshold::sparse;
use super::dataset::Truth;
use crate::model::Model;
use crate::model::decision::ClassDecision;
pub use crate::model::evaluation::Evaluation;
use crate::model::evaluation::{
    ClassDetail, Classes, Curves, Detail, OutputDetail, Point, ReferenceScore, ThresholdRow,
};
use crate::model::signature::Target;
use crate::model::target_scale::TargetScale;

/// With more than two classes so many have curves: more can't be distinguished in a plot.
const MAX_CURVES: usize = 10;

/// Points that a curve keeps at most, and how far the others may be from it (both axes go from 0 to 1).
const CURVE_POINTS: usize = 300;
const CURVE_TOLERANCE: f64 = 5e-4;

/// Rows that are scored at a time.
const CHUNK_ROWS: usize = 1024;

/// Rows of which a regression's actual and predicted values are kept.
const SCATTER_POINTS: usize = 500;

/// What a model answers for rows that its signature accepts: rows × outputs.
pub fn answers(model: &Model, rows: ArrayView2<'_, f64>) -> Array2<f64> {
    scaled(outputs(model, rows), model.target_scale)
}

/// What its network answers, on the scale of [`Model::target_scale`].
pub fn outputs(model: &Model, rows: ArrayView2<'_, f64>) -> Array2<f32> {
    let mut outputs = Array2::zeros((rows.nrows(), model.mlp.outputs()));
    let mut scratch = model.scratch();
    let chunks = rows.axis_chunks_iter(Axis(0), CHUNK_ROWS).zip(outputs.axis_chunks_iter_mut(Axis(0), CHUNK_ROWS));
    for (rows, out) in chunks {
        model.score(rows.as_standard_layout().view(), out, &mut scratch);
    }
    outputs
}

/// What outputs stand for.
pub(super) fn scaled(outputs: Array2<f32>, scale: Option<TargetScale>) -> Array2<f64> {
    outputs.mapv(|output| scale.map_or(f64::from(output), |scale| scale.undo(output)))
}

/// Which class is predicted, and what thresholds are judged by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Judgement {
    /// Which class the probabilities stand for.
    pub decision: ClassDecision,
    /// Gives the table of thresholds its costs.
    pub rule: Option<ThresholdRule>,
}

/// Evaluates answers to rows of this target; an empty evaluation if the truth is of another kind.
pub fn evaluation(target: &Target, truth: &Truth, answers: ArrayView2<'_, f64>, judgement: Judgement) -> Evaluation {
    match (target, truth) {
        (Target::Classification { classes, .. }, Truth::Classes(actual)) => {
            judged_classification(classes, actual, answers, judgement)
        }
        (Target::Regression { names }, Truth::Numbers(actual)) => regression(names, actual.view(), answers),
        _ => Evaluation::default(),
    }
}

/// Evaluates a classifier. `actual`: each row's index in `classes`; `probabilities`: rows × classes. Rows with a
/// probability that isn't finite are left out and counted.
///
/// The metrics are `accuracy`, `balanced_accuracy`, `log_loss`, `brier_score`, and `precision`, `recall` and `f1` with
/// `_macro` and `_weighted`; for two classes also `precision`, `recall`, `f1`, `roc_auc` and `average_precision` of the
/// positive one, by default the second; for more `roc_auc_ovr` and `average_precision_macro` (each class against the
/// rest; undefined where a class doesn't occur), `roc_auc_ovr_weighted` and `average_precision_weighted`.
pub fn classification(classes: &[String], actual: &[usize], probabilities: ArrayView2<'_, f64>) -> Evaluation {
    judged_classification(classes, actual, probabilities, Judgement::default())
}

fn judged_classification(
    classes: &[String],
    actual: &[usize],
    probabilities: ArrayView2<'_, f64>,
    Judgement { decision, rule }: Judgement,
) -> Evaluation {
    let usable = finite_rows(probabilities);
    let not_finite = actual.len() - usable.len();
    let actual: Vec<usize> = usable.iter().map(|&row| actual[row]).collect();
    if actual.is_empty() {
        return Evaluation { not_finite, ..Evaluation::default() };
    }
    let probabilities = probabilities.select(Axis(0), &usable);
    let confusion = confusion(classes.len(), &actual, &predicted_classes(probabilities.view(), decision));
    let found = detections(&confusion);
    let mut metrics = named([
        ("accuracy", accuracy(&confusion)),
        ("balanced_accuracy", balanced_accuracy(&found)),
        ("log_loss", log_loss(&actual, probabilities.view())),
        ("brier_score", brier_score(&actual, probabilities.view())),
    ]);
    let positive = (classes.len() == 2).then_some(decision.positive());
    metrics.extend(averages(&confusion, &found, positive));

    let with_curves = positive.map_or_else(|| commonest(&found), |positive| vec![positive]);
    let (mut details, mut curves, mut thresholds) = (Vec::new(), Vec::new(), Vec::new());
    for (class, (name, found)) in classes.iter().zip(&found).enumerate() {
        let is_class: Vec<bool> = actual.iter().map(|&actual| actual == class).collect();
        let scores = probabilities.column(class).to_vec();
        let ranking = Ranking::new(&is_class, &scores);
        if positive == Some(class) {
            thresholds = sparse(ranking.thresholds(rule));
        }
        let Detection { rows, precision, recall, f1 } = *found;
        let (roc_auc, average_precision) = (ranking.roc_auc(), ranking.average_precision());
        details.push(ClassDetail { name: name.clone(), rows, precision, recall, f1, roc_auc, average_precision });
        if with_curves.contains(&class) {
            curves.push(Curves {
                class: name.clone(),
                roc: ranking.roc_curve().map(stored).unwrap_or_default(),
                precision_recall: ranking.precision_recall().map(steps).map(stored).unwrap_or_default(),
                calibration: calibration(&is_class, &scores),
            });
        }
    }
    let (ranked, undefined) = ranking_metrics(&details, positive);
    metrics.extend(ranked);
    let commonest = details.iter().max_by_key(|class| class.rows);
    let reference = commonest.map(|class| ReferenceScore {
        metric: "accuracy".into(),
        answer: class.name.clone(),
        value: class.rows as f64 / actual.len() as f64,
        model: metrics["accuracy"],
    });
    let detail = Classes {
        classes: details,
        confusion,
        curves,
        positive: positive.map(|positive| classes[positive].clone()),
        threshold: decision.threshold().filter(|_| positive.is_some()),
        thresholds,
    };
    let detail = Some(Detail::Classification(detail));
    Evaluation { rows: actual.len(), not_finite, metrics, undefined, reference, detail, ..Evaluation::default() }
}

/// What each threshold of a class means on rows, from the highest on. `actual` has each row's class, and `probabilities` are
/// those of `class`.
pub fn thresholds(actual: &[usize], class: usize, probabilities: &[f64], rule: ThresholdRule) -> Vec<ThresholdRow> {
    let is_positive: Vec<bool> = actual.iter().map(|&actual| actual == class).collect();
    Ranking::new(&is_positive, probabilities).thresholds(Some(rule))
}

/// Evaluates a regression. `actual` and `predicted`: rows × outputs, the latter with these names. Rows with a prediction
/// that isn't finite are left out and counted.
///
/// The metrics are `mae`, `rmse` and, for two rows and more, `r2`; with several outputs the means over them.
pub fn regression(names: &[String], actual: ArrayView2<'_, f64>, predicted: ArrayView2<'_, f64>) -> Evaluation {
    let usable = finite_rows(predicted);
    let not_finite = actual.nrows() - usable.len();
    if usable.is_empty() {
        return Evaluation { not_finite, ..Evaluation::default() };
    }
    let (actual, predicted) = (actual.select(Axis(0), &usable), predicted.select(Axis(0), &usable));
    let outputs = names.iter().zip(actual.columns()).zip(predicted.columns()).map(|((name, actual), predicted)| {
        let (actual, predicted) = (actual.to_vec(), predicted.to_vec());
        let mut metrics = named([("mae", mae(&actual, &predicted)), ("rmse", rmse(&actual, &predicted))]);
        metrics.extend(r2(&actual, &predicted).map(|r2| ("r2".to_owned(), r2)));
        // Errors of numbers near the end of f64's range have no finite square.
        metrics.retain(|_, value| value.is_finite());
        let shown = actual.len().min(SCATTER_POINTS);
        let spread = (0..shown).map(|at| at * actual.len() / shown);
        OutputDetail { name: name.clone(), metrics, points: spread.map(|row| [actual[row], predicted[row]]).collect() }
    });
    let outputs: Vec<OutputDetail> = outputs.collect();
    let over_outputs = |name: &str| {
        let values: Option<Vec<f64>> = outputs.iter().map(|output| output.metrics.get(name).copied()).collect();
        Some((name.to_owned(), mean(values?.into_iter())))
    };
    let metrics: BTreeMap<String, f64> = ["mae", "rmse", "r2"].into_iter().filter_map(over_outputs).collect();
    let why = |name: &str| match usable.len() {
        1 if name == "r2" => "it needs two rows",
        _ => "the errors are too large to be squared",
    };
    let undefined = ["mae", "rmse", "r2"].into_iter().filter(|&name| !metrics.contains_key(name));
    let undefined = undefined.map(|name| (name.to_owned(), why(name).to_owned())).collect();
    let reference = metrics.get("r2").map(|&model| ReferenceScore {
        metric: "r2".into(),
        answer: "mean".into(),
        value: 0.0,
        model,
    });
    let detail = Some(Detail::Regression { outputs });
    Evaluation { rows: usable.len(), not_finite, metrics, undefined, reference, detail, ..Evaluation::default() }
}

/// The class that each row is predicted to be of, as in [`ClassDecision::class`].
pub fn predicted_classes(probabilities: ArrayView2<'_, f64>, decision: ClassDecision) -> Vec<usize> {
    let highest = |row: ArrayView1<'_, f64>| {
        row.iter().enumerate().fold(0, |best, (class, value)| if *value > row[best] { class } else { best })
    };
    let class = |row: ArrayView1<'_, f64>| match decision.threshold() {
        Some(threshold) if row.len() == 2 => decision.by_threshold(row[decision.positive()], threshold),
        _ => highest(row),
    };
    probabilities.rows().into_iter().map(class).collect()
}

/// The rows that have only finite values.
fn finite_rows(answers: ArrayView2<'_, f64>) -> Vec<usize> {
    (0..answers.nrows()).filter(|&row| answers.row(row).iter().all(|value| value.is_finite())).collect()
}

fn named<const N: usize>(metrics: [(&str, f64); N]) -> BTreeMap<String, f64> {
    metrics.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Precision, recall and F1: means over the classes that occur or were predicted, and for two classes the positive one's.
fn averages(confusion: &[Vec<u64>], found: &[Detection], positive: Option<usize>) -> BTreeMap<String, f64> {
    type Share = fn(&Detection) -> f64;
    let concerns = |&class: &usize| found[class].rows > 0 || confusion.iter().any(|row| row[class] > 0);
    let classes: Vec<usize> = (0..found.len()).filter(concerns).collect();
    let rows: u64 = found.iter().map(|found| found.rows).sum();
    let kinds: [(&str, Share); 3] =
        [("precision", |found| found.precision), ("recall", |found| found.recall), ("f1", |found| found.f1)];
    let mut metrics = BTreeMap::new();
    for (name, value) in kinds {
        let weighted = found.iter().map(|found| value(found) * found.rows as f64).sum::<f64>() / rows as f64;
        metrics.insert(format!("{name}_macro"), mean(classes.iter().map(|&class| value(&found[class]))));
        metrics.insert(format!("{name}_weighted"), weighted);
        if let Some(positive) = positive {
            metrics.insert(name.to_owned(), value(&found[positive]));
        }
    }
    metrics
}

/// ROC AUC and average precision: the positive class's of two; else means over all classes. Beside them those that are
/// undefined, and why.
fn ranking_metrics(
    classes: &[ClassDetail],
    positive: Option<usize>,
) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
    let (mut metrics, mut undefined) = (BTreeMap::new(), BTreeMap::new());
    let mut add = |name: &str, value: Option<f64>, why: &str| match value {
        Some(value) => drop(metrics.insert(name.to_owned(), value)),
        None => drop(undefined.insert(name.to_owned(), why.to_owned())),
    };
    let all_rows: u64 = classes.iter().map(|class| class.rows).sum();
    let absent: Vec<String> =
        classes.iter().filter(|class| class.rows == 0).map(|class| format!("{:?}", class.name)).collect();
    let only = classes.iter().find(|class| class.rows == all_rows);
    let why = match only {
        Some(class) => format!("all rows are of class {:?}", class.name),
        None => format!("no row is of class {}", absent.join(", ")),
    };
    if let Some(positive) = positive {
        add("roc_auc", classes[positive].roc_auc, &why);
        add("average_precision", classes[positive].average_precision, &why);
        return (metrics, undefined);
    }
    type Area = fn(&ClassDetail) -> Option<f64>;
    let kinds: [(&str, &str, Area); 2] = [
        ("roc_auc_ovr", "roc_auc_ovr_weighted", |class| class.roc_auc),
        ("average_precision_macro", "average_precision_weighted", |class| class.average_precision),
    ];
    for (alike, weighted, value) in kinds {
        let mean_over = |classes: &[&ClassDetail], weight: fn(&ClassDetail) -> f64| {
            let total: f64 = classes.iter().map(|class| weight(class)).sum();
            classes.iter().map(|class| Some(value(class)? * weight(class) / total)).sum::<Option<f64>>()
        };
        let all: Vec<&ClassDetail> = classes.iter().collect();
        let occurring: Vec<&ClassDetail> = classes.iter().filter(|class| class.rows > 0).collect();
        add(alike, mean_over(&all, |_| 1.0), &why);
        add(weighted, mean_over(&occurring, |class| class.rows as f64), &why);
    }
    (metrics, undefined)
}

/// The classes with most rows, in their order.
fn commonest(found: &[Detection]) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..found.len()).collect();
    classes.sort_by_key(|&class| std::cmp::Reverse(found[class].rows));
    classes.truncate(MAX_CURVES);
    classes.sort_unstable();
    classes
}

/// The precision-recall curve as straight lines. Average precision takes a threshold's precision back to the recall of
/// the threshold before, and so does the curve, so that its area is just that.
fn steps(points: Vec<Point>) -> Vec<Point> {
    let mut last = 0.0;
    points
        .into_iter()
        .flat_map(|[recall, precision]| [[std::mem::replace(&mut last, recall), precision], [recall, precision]])
        .collect()
}

/// What an evaluation keeps of a curve.
fn stored(curve: Vec<Point>) -> Vec<Point> {
    let rounded = |value: f64| (value * 1e5).round() / 1e5;
    thin(&curve, CURVE_POINTS, CURVE_TOLERANCE).into_iter().map(|point| point.map(rounded)).collect()
}

#[cfg(test)]
mod tests;
