//! Metrics of a score that should be high for positive rows and low for the others: ROC, precision and recall over all
//! thresholds, and calibration.

use super::scores::mean;
use crate::model::evaluation::{CalibrationBin, Point};

/// Bins of [`calibration`].
const BINS: usize = 10;

/// What each threshold finds, from the highest on.
#[derive(Debug)]
pub struct Ranking {
    /// For each distinct score: how many positive and how many other rows score as much or more.
    pub(super) found: Vec<(u64, u64)>,
    /// Those scores, from the highest on.
    pub(super) scores: Vec<f64>,
    pub(super) positives: u64,
    pub(super) negatives: u64,
}

impl Ranking {
    /// Ranks rows by their scores, which are finite.
    pub fn new(positive: &[bool], scores: &[f64]) -> Ranking {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let (mut positives, mut negatives) = (0, 0);
        let (mut found, mut distinct) = (Vec::new(), Vec::new());
        for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
            let hits = tied.iter().filter(|&&row| positive[row]).count() as u64;
            positives += hits;
            negatives += tied.len() as u64 - hits;
            found.push((positives, negatives));
            distinct.push(scores[tied[0]]);
        }
        Ranking { found, scores: distinct, positives, negatives }
    }

    /// False-positive rate to true-positive rate, from (0, 0) to (1, 1); `None` if only one kind of row occurs.
    pub fn roc_curve(&self) -> Option<Vec<Point>> {
        let (positives, negatives) = (self.positives as f64, self.negatives as f64);
        let point = |&(hits, alarms): &(u64, u64)| [alarms as f64 / negatives, hits as f64 / positives];
        (positives * negatives > 0.0).then(|| [(0, 0)].iter().chain(&self.found).map(point).collect())
    }

    /// The area under the ROC curve: how often a positive row scores higher than another one, ties counting half.
    /// `None` if only one kind of row occurs.
    pub fn roc_auc(&self) -> Option<f64> {
        let curve = self.roc_curve()?;
        Some(curve.windows(2).map(|pair| (pair[1][0] - pair[0][0]) * (pair[0][1] + pair[1][1]) / 2.0).sum())
    }

    /// Recall to precision for each threshold, from the highest on; `None` without positive rows.
    pub fn precision_recall(&self) -> Option<Vec<Point>> {
        let point =
            |&(hits, alarms): &(u64, u64)| [hits as f64 / self.positives as f64, hits as f64 / (hits + alarms) as f64];
        (self.positives > 0).then(|| self.found.iter().map(point).collect())
    }

    /// The mean precision over recall: the area under the steps of the precision-recall curve. `None` without positive
    /// rows.
    pub fn average_precision(&self) -> Option<f64> {
        let mut last = 0.0;
        let step = |[recall, precision]: Point| (recall - std::mem::replace(&mut last, recall)) * precision;
        Some(self.precision_recall()?.into_iter().map(step).sum())
    }
}

/// Rows by their score, a probability, in ten bins of equal width; empty ones are left out. A score on the edge of two
/// belongs to the lower one.
pub fn calibration(positive: &[bool], scores: &[f64]) -> Vec<CalibrationBin> {
    let bin_of = |score: f64| (1..BINS).filter(|&edge| edge as f64 * (1.0 / BINS as f64) < score).count();
    let mut bins: [Vec<usize>; BINS] = Default::default();
    scores.iter().enumerate().for_each(|(row, &score)| bins[bin_of(score)].push(row));
    let filled = bins.into_iter().filter(|rows| !rows.is_empty());
    let bin = |rows: Vec<usize>| CalibrationBin {
        predicted: mean(rows.iter().map(|&row| scores[row])),
        actual: mean(rows.iter().map(|&row| f64::from(u8::from(positive[row])))),
        rows: rows.len() as u64,
    };
    filled.map(bin).collect()
}
