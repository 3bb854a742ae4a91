//! Metrics of predicted classes, of probabilities, and of numbers.

use ndarray::{ArrayView1, ArrayView2};

/// How well one class is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// How many rows are of the class.
    pub rows: u64,
    /// The share of rows of the class among what was taken for it; 0 if nothing was.
    pub precision: f64,
    /// The share of the class's rows that were found; 0 if there are none.
    pub recall: f64,
    /// The harmonic mean of the two; 0 if both are.
    pub f1: f64,
}

/// Rows by actual class (outer) and predicted class (inner). Indices are below `classes`.
pub fn confusion(classes: usize, actual: &[usize], predicted: &[usize]) -> Vec<Vec<u64>> {
    let mut counts = vec![vec![0; classes]; classes];
    actual.iter().zip(predicted).for_each(|(&actual, &predicted)| counts[actual][predicted] += 1);
    counts
}

/// Precision, recall and F1 of each class.
pub fn detections(confusion: &[Vec<u64>]) -> Vec<Detection> {
    let ratio = |part: u64, whole: u64| if whole > 0 { part as f64 / whole as f64 } else { 0.0 };
    let detection = |class: usize| {
        let hits = confusion[class][class];
        let rows = confusion[class].iter().sum();
        let taken: u64 = confusion.iter().map(|row| row[class]).sum();
        Detection { rows, precision: ratio(hits, taken), recall: ratio(hits, rows), f1: ratio(2 * hits, rows + taken) }
    };
    (0..confusion.len()).map(detection).collect()
}

/// The share of rows whose class was predicted.
pub fn accuracy(confusion: &[Vec<u64>]) -> f64 {
    let hits: u64 = (0..confusion.len()).map(|class| confusion[class][class]).sum();
    hits as f64 / confusion.iter().flatten().sum::<u64>() as f64
}

/// The mean recall of the classes that occur.
pub fn balanced_accuracy(detections: &[Detection]) -> f64 {
    mean(detections.iter().filter(|detection| detection.rows > 0).map(|detection| detection.recall))
}

/// The mean of −ln of the probability given to the actual class, each clipped to f64's precision.
pub fn log_loss(actual: &[usize], probabilities: ArrayView2<'_, f64>) -> f64 {
    let loss = |(&class, row): (&usize, ArrayView1<'_, f64>)| -row[class].clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln();
    mean(actual.iter().zip(probabilities.rows()).map(loss))
}

/// The mean squared distance between the probabilities and the actual class, over all classes: from 0 to 2, and halved
/// for two classes, as is customary there.
pub fn brier_score(actual: &[usize], probabilities: ArrayView2<'_, f64>) -> f64 {
    let distance = |(&actual, row): (&usize, ArrayView1<'_, f64>)| {
        let truth = |class| if class == actual { 1.0 } else { 0.0 };
        row.iter().enumerate().map(|(class, p)| (truth(class) - p).powi(2)).sum::<f64>()
    };
    let score = mean(actual.iter().zip(probabilities.rows()).map(distance));
    if probabilities.ncols() == 2 { score / 2.0 } else { score }
}

/// The mean absolute error.
pub fn mae(actual: &[f64], predicted: &[f64]) -> f64 {
    mean(actual.iter().zip(predicted).map(|(a, p)| (a - p).abs()))
}

/// The root of the mean squared error.
pub fn rmse(actual: &[f64], predicted: &[f64]) -> f64 {
    mean(actual.iter().zip(predicted).map(|(a, p)| (a - p).powi(2))).sqrt()
}

/// The share of the variance that is explained; where there is none, 1 for perfect predictions and 0 for others.
/// `None` for less than two rows.
pub fn r2(actual: &[f64], predicted: &[f64]) -> Option<f64> {
    let [first, _, ..] = actual else { return None };
    let unexplained: f64 = actual.iter().zip(predicted).map(|(a, p)| (a - p).powi(2)).sum();
    // Asked of the values, since a rounded mean would leave a variance where there is none.
    if actual.iter().all(|value| value == first) {
        return Some(if unexplained > 0.0 { 0.0 } else { 1.0 });
    }
    let middle = mean(actual.iter().copied());
    let total: f64 = actual.iter().map(|a| (a - middle).powi(2)).sum();
    Some(1.0 - unexplained / total)
}

/// The mean; NaN of nothing.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    sum / count as f64
}
