//! Decision thresholds of a classifier with two classes: what each of them means on some rows, and which one to take.
//!
//! As scikit-learn's `FixedThresholdClassifier` and `TunedThresholdClassifierCV` have it: the positive class is predicted
//! where its probability is at least the threshold.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::Ranking;
use crate::model::decision::check_threshold;
use crate::model::evaluation::ThresholdRow;

/// Rows that a table of thresholds has at most.
const TABLE_ROWS: usize = 200;

/// How a threshold is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ThresholdRule {
    /// This one.
    Fixed(f64),
    /// The one with the highest recall among those with at least this precision.
    Precision(f64),
    /// The one with the highest precision among those with at least this recall.
    Recall(f64),
    /// The one with the highest F1.
    F1,
    /// The one with the lowest cost: this much for each false positive and each false negative.
    Cost {
        /// Of a row that is flagged and shouldn't be.
        false_positive: f64,
        /// Of a row that should be flagged and isn't.
        false_negative: f64,
    },
}

impl ThresholdRule {
    /// Whether it takes rows to choose the threshold.
    pub fn needs_rows(self) -> bool {
        !matches!(self, ThresholdRule::Fixed(_))
    }

    /// The cost of a row of a table, if the rule is about costs.
    fn cost(self, false_positives: u64, false_negatives: u64) -> Option<f64> {
        let ThresholdRule::Cost { false_positive, false_negative } = self else { return None };
        Some(false_positives as f64 * false_positive + false_negatives as f64 * false_negative)
    }

    /// The threshold among the rows of a table.
    ///
    /// # Errors
    ///
    /// No rows, or none that has what the rule asks for.
    pub fn choose(self, table: &[ThresholdRow]) -> Result<f64, String> {
        if let ThresholdRule::Fixed(threshold) = self {
            return Ok(threshold);
        }
        // By the second figure where the first is the same.
        let figures = |row: &ThresholdRow| match self {
            ThresholdRule::Fixed(_) => None,
            ThresholdRule::Precision(least) => (row.precision >= least).then_some((row.recall, row.precision)),
            ThresholdRule::Recall(least) => (row.recall >= least).then_some((row.precision, row.recall)),
            ThresholdRule::F1 => Some((row.f1, row.precision)),
            ThresholdRule::Cost { .. } => Some((-self.cost(row.false_positives, row.false_negatives)?, row.precision)),
        };
        let fitting = table.iter().filter_map(|row| Some((figures(row)?, row.threshold)));
        let best = fitting.max_by(|(a, _), (b, _)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        best.map(|(_, threshold)| threshold).ok_or_else(|| {
            let highest = |value: fn(&ThresholdRow) -> f64| table.iter().map(value).fold(0.0, f64::max);
            match self {
                _ if table.is_empty() => "there is no row of the positive class to choose a threshold by".into(),
                ThresholdRule::Precision(_) => {
                    format!("no threshold has the {self}, the highest is {:.4}", highest(|row| row.precision))
                }
                _ => format!("no threshold has the {self}, the highest is {:.4}", highest(|row| row.recall)),
            }
        })
    }
}

impl FromStr for ThresholdRule {
    type Err = String;

    /// `0.3`, `precision>=0.5`, `recall>=0.9`, `f1` or `cost=fp:1,fn:50`.
    fn from_str(text: &str) -> Result<ThresholdRule, String> {
        const EXPECTED: &str = "expected a probability, precision>=SHARE, recall>=SHARE, f1 or cost=fp:COST,fn:COST";
        let share = |text: &str| match text.parse::<f64>() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
            _ => Err(format!("{text:?} must be a share between 0 and 1")),
        };
        if text == "f1" {
            return Ok(ThresholdRule::F1);
        }
        if let Some(least) = text.strip_prefix("precision>=") {
            return share(least).map(ThresholdRule::Precision);
        }
        if let Some(least) = text.strip_prefix("recall>=") {
            return share(least).map(ThresholdRule::Recall);
        }
        if let Some(costs) = text.strip_prefix("cost=") {
            return costs_of(costs);
        }
        let threshold = text.parse::<f64>().map_err(|_| EXPECTED.to_owned())?;
        check_threshold(threshold).map(|()| ThresholdRule::Fixed(threshold))
    }
}

/// `fp:1,fn:50`, in either order.
fn costs_of(text: &str) -> Result<ThresholdRule, String> {
    const EXPECTED: &str = "expected cost=fp:COST,fn:COST";
    let (mut false_positive, mut false_negative) = (None, None);
    for part in text.split(',') {
        let (name, cost) = part.split_once(':').ok_or(EXPECTED)?;
        let cost = match cost.parse() {
            Ok(cost) if f64::is_finite(cost) && cost >= 0.0 => cost,
            _ => return Err(format!("the cost {cost:?} must be a number of at least 0")),
        };
        let slot = match name {
            "fp" => &mut false_positive,
            "fn" => &mut false_negative,
            _ => return Err(EXPECTED.into()),
        };
        if slot.replace(cost).is_some() {
            return Err(format!("{name} has two costs"));
        }
    }
    match (false_positive, false_negative) {
        (Some(positive), Some(negative)) if positive + negative > 0.0 => {
            Ok(ThresholdRule::Cost { false_positive: positive, false_negative: negative })
        }
        (Some(_), Some(_)) => Err("one of the costs must be above 0".into()),
        _ => Err(EXPECTED.into()),
    }
}

impl fmt::Display for ThresholdRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ThresholdRule::Fixed(threshold) => write!(f, "{threshold}"),
            ThresholdRule::Precision(least) => write!(f, "precision>={least}"),
            ThresholdRule::Recall(least) => write!(f, "recall>={least}"),
            ThresholdRule::F1 => f.write_str("f1"),
            ThresholdRule::Cost { false_positive, false_negative } => {
                write!(f, "cost=fp:{false_positive},fn:{false_negative}")
            }
        }
    }
}

impl Serialize for ThresholdRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Ranking {
    /// What every threshold means that answers otherwise than the others, from the highest on. None without positive rows.
    ///
    /// `rule` gives the costs, if it is about costs.
    pub fn thresholds(&self, rule: Option<ThresholdRule>) -> Vec<ThresholdRow> {
        if self.positives == 0 {
            return vec![];
        }
        let rows = (self.positives + self.negatives) as f64;
        let scores_below = self.scores.iter().skip(1).copied().chain([0.0]);
        let each = self.found.iter().zip(&self.scores).zip(scores_below);
        each.map(|((&(hits, alarms), &score), below)| {
            let (flagged, misses) = (hits + alarms, self.positives - hits);
            ThresholdRow {
                threshold: between(below, score),
                precision: hits as f64 / flagged as f64,
                recall: hits as f64 / self.positives as f64,
                f1: 2.0 * hits as f64 / (flagged + self.positives) as f64,
                flagged: flagged as f64 / rows,
                false_positives: alarms,
                false_negatives: misses,
                cost: rule.and_then(|rule| rule.cost(alarms, misses)),
            }
        })
        .collect()
    }
}

/// Some rows of a table, the first and the last among them: half of them evenly over the rows, half over the recall.
pub(super) fn sparse(table: Vec<ThresholdRow>) -> Vec<ThresholdRow> {
    if table.len() <= TABLE_ROWS {
        return table;
    }
    let half = TABLE_ROWS / 2;
    let mut kept: Vec<usize> = (0..half).map(|at| at * (table.len() - 1) / (half - 1)).collect();
    kept.extend((1..=half).map(|at| {
        let recall = at as f64 / half as f64;
        table.partition_point(|row| row.recall < recall).min(table.len() - 1)
    }));
    kept.sort_unstable();
    kept.dedup();
    kept.into_iter().map(|at| table[at].clone()).collect()
}

/// A number above `low` and up to `high` with few digits.
fn between(low: f64, high: f64) -> f64 {
    let middle = low + (high - low) / 2.0;
    let mut rounded = (2..=16).map(|digits| {
        let scale = 10_f64.powi(digits);
        (middle * scale).round() / scale
    });
    rounded.find(|&number| low < number && number <= high).unwrap_or(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rule: Option<ThresholdRule>) -> Vec<ThresholdRow> {
        let positive = [true, true, false, true, false, false, false, false, false, false];
        let scores = [0.9, 0.8, 0.7, 0.4, 0.35, 0.3, 0.2, 0.1, 0.05, 0.01];
        Ranking::new(&positive, &scores).thresholds(rule)
    }

    #[test]
    fn each_rule_chooses_by_its_figure() {
        let choose = |rule: &str| {
            let rule: ThresholdRule = rule.parse().unwrap();
            rule.choose(&table(Some(rule)))
        };
        assert_eq!(choose("0.3"), Ok(0.3));
        assert_eq!(choose("f1"), Ok(0.38), "3 of 4 flagged are right, none is missed");
        assert_eq!(choose("precision>=0.9"), Ok(0.75));
        assert_eq!(choose("precision>=0.7"), Ok(0.38));
        assert_eq!(choose("recall>=0.6"), Ok(0.75));
        assert_eq!(choose("recall>=1"), Ok(0.38));
        assert_eq!(choose("cost=fp:10,fn:1"), Ok(0.75));
        assert_eq!(choose("cost=fp:1,fn:50"), Ok(0.38));
        let cost: ThresholdRule = "cost=fn:50,fp:1".parse().unwrap();
        let costs: Vec<_> = table(Some(cost)).iter().map(|row| row.cost).collect();
        assert_eq!(costs[..4], [Some(100.0), Some(50.0), Some(51.0), Some(1.0)]);
        let impossible = Ranking::new(&[false, true], &[0.9, 0.1]).thresholds(None);
        let error = ThresholdRule::Precision(0.9).choose(&impossible).unwrap_err();
        assert_eq!(error, "no threshold has the precision>=0.9, the highest is 0.5000");
        assert!(ThresholdRule::F1.choose(&Ranking::new(&[false], &[0.5]).thresholds(None)).is_err());
    }

    #[test]
    fn a_threshold_decides_as_its_row_says() {
        for row in table(None) {
            let flagged = [0.9, 0.8, 0.7, 0.4, 0.35, 0.3, 0.2, 0.1, 0.05, 0.01];
            let flagged = flagged.iter().filter(|&&score| score >= row.threshold).count();
            assert!((flagged as f64 / 10.0 - row.flagged).abs() < 1e-12, "{row:?}");
        }
        assert_eq!(between(0.1, 0.1_f64.next_up()), 0.1_f64.next_up());
        assert_eq!(between(0.0, 1e-30), 1e-30);
    }

    #[test]
    fn a_long_table_keeps_its_ends_and_the_recalls() {
        let positive: Vec<bool> = (0..5000).map(|row| row % 50 == 0).collect();
        let scores: Vec<f64> = (0..5000).map(|row| 1.0 - f64::from(row) / 5001.0).collect();
        let all = Ranking::new(&positive, &scores).thresholds(None);
        let few = sparse(all.clone());
        assert!(few.len() <= TABLE_ROWS && few.len() > 150, "{}", few.len());
        assert_eq!((few.first(), few.last()), (all.first(), all.last()));
        assert!(few.iter().any(|row| (row.recall - 0.5).abs() < 1e-9));
    }

    #[test]
    fn rules_are_written_as_they_are_read() {
        for text in ["0.3", "precision>=0.5", "recall>=0.9", "f1", "cost=fp:1,fn:50"] {
            assert_eq!(text.parse::<ThresholdRule>().unwrap().to_string(), text);
        }
        for text in ["", "late=0.3", "1.2", "precision>=2", "cost=fp:1", "cost=fp:1,fn:x", "cost=fp:0,fn:0", "nan"] {
            assert!(text.parse::<ThresholdRule>().is_err(), "{text}");
        }
    }
}
