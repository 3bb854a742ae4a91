//! How good predictions are: scikit-learn's metrics, as pure functions.
//!
//! All of them take at least one row, and return what scikit-learn returns; where that is "undefined", `None`.

use std::collections::BTreeMap;

use ndarray::ArrayView2;

use crate::engine::predicted_class;

/// The metrics of a classifier by name. `outputs`: a row of probabilities per row of `actual`.
///
/// Always `accuracy` and `log_loss`; with two classes also `precision`, `recall` and `f1` of the second one, and
/// `roc_auc` where both occur.
pub fn classification(actual: &[usize], outputs: ArrayView2<'_, f32>) -> BTreeMap<String, f64> {
    let predicted: Vec<usize> = outputs.rows().into_iter().map(predicted_class).collect();
    let mut metrics = BTreeMap::from([
        ("accuracy".to_owned(), accuracy(actual, &predicted)),
        ("log_loss".to_owned(), log_loss(actual, outputs)),
    ]);
    if outputs.ncols() == 2 {
        let positive: Vec<bool> = actual.iter().map(|&class| class == 1).collect();
        let found: Vec<bool> = predicted.iter().map(|&class| class == 1).collect();
        let Detection { precision, recall, f1 } = detection(&positive, &found);
        metrics.extend([("precision".to_owned(), precision), ("recall".to_owned(), recall), ("f1".to_owned(), f1)]);
        let scores: Vec<f64> = outputs.column(1).iter().map(|&score| f64::from(score)).collect();
        metrics.extend(roc_auc(&positive, &scores).map(|area| ("roc_auc".to_owned(), area)));
    }
    metrics
}

/// The metrics of a regression by name: `mae`, `rmse` and `r2`.
pub fn regression(actual: &[f64], predicted: &[f64]) -> BTreeMap<String, f64> {
    let mean_of = |error: fn(f64) -> f64| {
        actual.iter().zip(predicted).map(|(a, p)| error(a - p)).sum::<f64>() / actual.len() as f64
    };
    BTreeMap::from([
        ("mae".to_owned(), mean_of(f64::abs)),
        ("rmse".to_owned(), mean_of(|error| error * error).sqrt()),
        ("r2".to_owned(), r2(actual, predicted)),
    ])
}

/// The share of rows whose class was predicted.
pub fn accuracy(actual: &[usize], predicted: &[usize]) -> f64 {
    actual.iter().zip(predicted).filter(|(a, p)| a == p).count() as f64 / actual.len() as f64
}

/// The mean of −ln of the probability given to the actual class, each clipped to f64's precision.
pub fn log_loss(actual: &[usize], outputs: ArrayView2<'_, f32>) -> f64 {
    let loss = |(&class, row): (&usize, ndarray::ArrayView1<'_, f32>)| {
        -f64::from(row[class]).clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
    };
    actual.iter().zip(outputs.rows()).map(loss).sum::<f64>() / actual.len() as f64
}

/// How well the positive rows are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// The share of positives among what was found; 0 if nothing was.
    pub precision: f64,
    /// The share of positives that were found; 0 if there are none.
    pub recall: f64,
    /// The harmonic mean of the two; 0 if both are.
    pub f1: f64,
}

/// Precision, recall and F1.
pub fn detection(positive: &[bool], found: &[bool]) -> Detection {
    let hits = positive.iter().zip(found).filter(|(p, f)| **p && **f).count() as f64;
    let count = |flags: &[bool]| flags.iter().filter(|flag| **flag).count() as f64;
    let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let (positives, founds) = (count(positive), count(found));
    Detection {
        precision: ratio(hits, founds),
        recall: ratio(hits, positives),
        f1: ratio(2.0 * hits, positives + founds),
    }
}

/// The area under the ROC curve: how often a positive row scores higher than a negative one, ties counting half
/// (the Mann–Whitney statistic). `None` if only one kind occurs.
pub fn roc_auc(positive: &[bool], scores: &[f64]) -> Option<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    // Each positive wins against the negatives below it and half of those beside it.
    let (mut wins, mut negatives_below) = (0.0, 0.0);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let positives = tied.iter().filter(|&&row| positive[row]).count() as f64;
        let negatives = tied.len() as f64 - positives;
        wins += positives * (negatives_below + negatives / 2.0);
        negatives_below += negatives;
    }
    let positives = scores.len() as f64 - negatives_below;
    let pairs = positives * negatives_below;
    (pairs > 0.0).then(|| wins / pairs)
}

/// The share of the variance that is explained; where there is none, 1 for perfect predictions and 0 for others.
pub fn r2(actual: &[f64], predicted: &[f64]) -> f64 {
    let mean = actual.iter().sum::<f64>() / actual.len() as f64;
    let total: f64 = actual.iter().map(|a| (a - mean).powi(2)).sum();
    let unexplained: f64 = actual.iter().zip(predicted).map(|(a, p)| (a - p).powi(2)).sum();
    match (total > 0.0, unexplained > 0.0) {
        (true, _) => 1.0 - unexplained / total,
        (false, false) => 1.0,
        (false, true) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-7, "{found}, expected {expected}");
    }

    // from sklearn.metrics import *
    // y = [0, 0, 1, 1, 1, 0, 1, 0]
    // p = np.float32([.1, .4, .35, .8, .4, .4, .9, 1]); pred = p > .5; P = np.c_[1 - p, p].astype(float)
    // accuracy_score(y, pred), log_loss(y, P), roc_auc_score(y, p), precision_score(y, pred), recall_score(y, pred), f1_score(y, pred)
    #[test]
    fn binary_metrics_are_scikit_learns() {
        let p = array![0.1_f32, 0.4, 0.35, 0.8, 0.4, 0.4, 0.9, 1.0];
        let outputs = ndarray::stack![ndarray::Axis(1), p.mapv(|p| 1.0 - p), p];
        let metrics = classification(&[0, 0, 1, 1, 1, 0, 1, 0], outputs.view());
        for (name, expected) in [
            ("accuracy", 0.625),
            ("log_loss", 4.933_160_254_548_557),
            ("roc_auc", 0.5625),
            ("precision", 2.0 / 3.0),
            ("recall", 0.5),
            ("f1", 0.571_428_571_428_571_4),
        ] {
            close(metrics[name], expected);
        }
    }

    // P = np.float32([[.7, .2, .1], [.3, .3, .4], [.25, .5, .25], [.1, .6, .3]]).astype(float); y = [0, 2, 1, 2]
    // accuracy_score(y, P.argmax(1)), log_loss(y, P, labels=[0, 1, 2])
    #[test]
    fn multiclass_metrics_are_scikit_learns() {
        let outputs = array![[0.7_f32, 0.2, 0.1], [0.3, 0.3, 0.4], [0.25, 0.5, 0.25], [0.1, 0.6, 0.3]];
        let metrics = classification(&[0, 2, 1, 2], outputs.view());
        close(metrics["accuracy"], 0.75);
        close(metrics["log_loss"], 0.792_521_405_772_769_4);
        assert_eq!(metrics.len(), 2);
    }

    // y, p = [3, -0.5, 2, 7], [2.5, 0.0, 2, 8]
    // mean_absolute_error(y, p), root_mean_squared_error(y, p), r2_score(y, p)
    #[test]
    fn regression_metrics_are_scikit_learns() {
        let metrics = regression(&[3.0, -0.5, 2.0, 7.0], &[2.5, 0.0, 2.0, 8.0]);
        close(metrics["mae"], 0.5);
        close(metrics["rmse"], 0.612_372_435_695_794_5);
        close(metrics["r2"], 0.948_608_137_044_967_9);
        // r2_score([1, 1], [1, 2]), r2_score([1, 1], [1, 1])
        assert_eq!((r2(&[1.0, 1.0], &[1.0, 2.0]), r2(&[1.0, 1.0], &[1.0, 1.0])), (0.0, 1.0));
    }

    #[test]
    fn what_is_undefined_is_left_out_or_zero() {
        assert_eq!(roc_auc(&[true, true], &[0.1, 0.9]), None);
        assert_eq!(detection(&[true, false], &[false, false]), Detection { precision: 0.0, recall: 0.0, f1: 0.0 });
    }
}
