//! How good predictions are: scikit-learn's metrics, as pure functions over f64.
//!
//! [`classification`] and [`regression`] gather all of them in an [`Evaluation`]; each is also there by itself. They
//! return what scikit-learn returns; what it calls undefined, refuses or answers by NaN is `None` or left out. Where an
//! average is over classes, `macro` counts them alike and `weighted` by their rows, as there.

mod comparison;
mod ranking;
mod scores;
mod thin;

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};

pub use self::comparison::{Comparison, Disagreement, disagreement};
pub use self::ranking::{Ranking, calibration};
use self::scores::mean;
pub use self::scores::{
    Detection, accuracy, balanced_accuracy, brier_score, confusion, detections, log_loss, mae, r2, rmse,
};
pub use self::thin::thin;
use super::dataset::Truth;
use crate::model::Model;
pub use crate::model::evaluation::Evaluation;
use crate::model::evaluation::{ClassDetail, Classes, Curves, Detail, OutputDetail, Point};
use crate::model::signature::Target;

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
    let mut answers = Array2::zeros((rows.nrows(), model.mlp.outputs()));
    let mut scratch = model.scratch();
    let chunks = rows.axis_chunks_iter(Axis(0), CHUNK_ROWS).zip(answers.axis_chunks_iter_mut(Axis(0), CHUNK_ROWS));
    for (rows, mut answers) in chunks {
        let mut out = Array2::zeros(answers.raw_dim());
        model.score(rows.as_standard_layout().view(), out.view_mut(), &mut scratch);
        answers.assign(&out.mapv(f64::from));
    }
    answers
}

/// Evaluates answers to rows of this target; an empty evaluation if the truth is of another kind.
pub fn evaluation(target: &Target, truth: &Truth, answers: ArrayView2<'_, f64>) -> Evaluation {
    match (target, truth) {
        (Target::Classification { classes, .. }, Truth::Classes(actual)) => classification(classes, actual, answers),
        (Target::Regression { names }, Truth::Numbers(actual)) => regression(names, actual.view(), answers),
        _ => Evaluation::default(),
    }
}

/// Evaluates a classifier. `actual`: each row's index in `classes`; `probabilities`: rows × classes. Rows with a
/// probability that isn't finite are left out and counted.
///
/// The metrics are `accuracy`, `balanced_accuracy`, `log_loss`, `brier_score`, and `precision`, `recall` and `f1` with
/// `_macro` and `_weighted`; for two classes also `precision`, `recall`, `f1`, `roc_auc` and `average_precision` of the
/// second one; for more `roc_auc_ovr` and `average_precision_macro` (each class against the rest; left out where a
/// class doesn't occur), `roc_auc_ovr_weighted` and `average_precision_weighted`.
pub fn classification(classes: &[String], actual: &[usize], probabilities: ArrayView2<'_, f64>) -> Evaluation {
    let usable = finite_rows(probabilities);
    let not_finite = actual.len() - usable.len();
    let actual: Vec<usize> = usable.iter().map(|&row| actual[row]).collect();
    if actual.is_empty() {
        return Evaluation { not_finite, ..Evaluation::default() };
    }
    let probabilities = probabilities.select(Axis(0), &usable);
    let confusion = confusion(classes.len(), &actual, &predicted_classes(probabilities.view()));
    let found = detections(&confusion);
    let mut metrics = named([
        ("accuracy", accuracy(&confusion)),
        ("balanced_accuracy", balanced_accuracy(&found)),
        ("log_loss", log_loss(&actual, probabilities.view())),
        ("brier_score", brier_score(&actual, probabilities.view())),
    ]);
    metrics.extend(averages(&confusion, &found));

    let with_curves = if classes.len() == 2 { vec![1] } else { commonest(&found) };
    let (mut details, mut curves) = (Vec::new(), Vec::new());
    for (class, (name, found)) in classes.iter().zip(&found).enumerate() {
        let positive: Vec<bool> = actual.iter().map(|&actual| actual == class).collect();
        let scores = probabilities.column(class).to_vec();
        let ranking = Ranking::new(&positive, &scores);
        let Detection { rows, precision, recall, f1 } = *found;
        let (roc_auc, average_precision) = (ranking.roc_auc(), ranking.average_precision());
        details.push(ClassDetail { name: name.clone(), rows, precision, recall, f1, roc_auc, average_precision });
        if with_curves.contains(&class) {
            curves.push(Curves {
                class: name.clone(),
                roc: ranking.roc_curve().map(stored).unwrap_or_default(),
                precision_recall: ranking.precision_recall().map(steps).map(stored).unwrap_or_default(),
                calibration: calibration(&positive, &scores),
            });
        }
    }
    metrics.extend(ranking_metrics(&details));
    let detail = Detail::Classification(Classes { classes: details, confusion, curves });
    Evaluation { rows: actual.len(), not_finite, metrics, detail: Some(detail), ..Evaluation::default() }
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
    let metrics = ["mae", "rmse", "r2"].into_iter().filter_map(over_outputs).collect();
    let detail = Some(Detail::Regression { outputs });
    Evaluation { rows: usable.len(), not_finite, metrics, detail, ..Evaluation::default() }
}

/// The class with the highest probability in each row, the first of those that share it: as in
/// [`crate::engine::predicted_class`].
pub fn predicted_classes(probabilities: ArrayView2<'_, f64>) -> Vec<usize> {
    let highest = |row: ArrayView1<'_, f64>| {
        row.iter().enumerate().fold(0, |best, (class, value)| if *value > row[best] { class } else { best })
    };
    probabilities.rows().into_iter().map(highest).collect()
}

/// The rows that have only finite values.
fn finite_rows(answers: ArrayView2<'_, f64>) -> Vec<usize> {
    (0..answers.nrows()).filter(|&row| answers.row(row).iter().all(|value| value.is_finite())).collect()
}

fn named<const N: usize>(metrics: [(&str, f64); N]) -> BTreeMap<String, f64> {
    metrics.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Precision, recall and F1: means over the classes that occur or were predicted, and for two classes the second one's.
fn averages(confusion: &[Vec<u64>], found: &[Detection]) -> BTreeMap<String, f64> {
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
        if let [_, second] = found {
            metrics.insert(name.to_owned(), value(second));
        }
    }
    metrics
}

/// ROC AUC and average precision: the second class's of two; else means over all classes.
fn ranking_metrics(classes: &[ClassDetail]) -> BTreeMap<String, f64> {
    if let [_, second] = classes {
        let both = [("roc_auc", second.roc_auc), ("average_precision", second.average_precision)];
        return both.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    }
    type Area = fn(&ClassDetail) -> Option<f64>;
    let mut metrics = BTreeMap::new();
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
        metrics.extend(mean_over(&all, |_| 1.0).map(|mean| (alike.to_owned(), mean)));
        metrics.extend(mean_over(&occurring, |class| class.rows as f64).map(|mean| (weighted.to_owned(), mean)));
    }
    metrics
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
