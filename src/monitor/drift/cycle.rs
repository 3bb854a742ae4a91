//! Baselines by hour of day or day of week.
//!
//! A feature that follows the hour of day differs from all of training in each ten minutes. With a cycle, the training
//! rows of each period are counted apart, and live rows are compared with the mix of periods that they came from.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::baseline::Baseline;
use super::comparison::MIN_TRAINING_ROWS;

/// A cycle of time, whose periods have baselines of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cycle {
    /// The hours of a day, in UTC.
    Hour,
    /// The days of a week from Monday on, in UTC.
    Weekday,
}

const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// The label of rows that are compared with all of training.
const OTHER: &str = "other";

impl Cycle {
    /// How many periods it has.
    pub fn periods(self) -> usize {
        match self {
            Cycle::Hour => 24,
            Cycle::Weekday => WEEKDAYS.len(),
        }
    }

    /// The period of a time in seconds since 1970.
    pub fn period(self, seconds: i64) -> usize {
        let period = match self {
            Cycle::Hour => seconds.div_euclid(HOUR_S).rem_euclid(24),
            // 1970 began on a Thursday.
            Cycle::Weekday => (seconds.div_euclid(DAY_S) + 3).rem_euclid(7),
        };
        period as usize
    }

    /// The option `--baseline-by`.
    pub fn as_str(self) -> &'static str {
        match self {
            Cycle::Hour => "hour",
            Cycle::Weekday => "weekday",
        }
    }

    fn label(self, period: usize) -> String {
        match self {
            Cycle::Hour => format!("{period:02}"),
            Cycle::Weekday => WEEKDAYS[period].to_owned(),
        }
    }
}

/// The periods of a baseline, made ready for counting live rows.
#[derive(Debug)]
pub struct Periods {
    cycle: Cycle,
    /// By period, and at last for the rows that are compared with all of training: the share of the training rows.
    pub ratios: Vec<f64>,
    /// The place of their counts among all counts of a plan.
    pub place: Range<usize>,
}

impl Periods {
    /// Those of a baseline with a cycle, whose counts begin at `start`.
    pub(super) fn of(baseline: &Baseline, start: usize) -> Option<Periods> {
        let (cycle, feature) = (baseline.cycle?, baseline.features.first()?);
        let all: u64 = feature.counts.iter().sum();
        let mut ratios: Vec<f64> = vec![0.0; cycle.periods()];
        for (ratio, counts) in ratios.iter_mut().zip(&feature.periods) {
            let rows: u64 = counts.iter().sum();
            // Fewer are no baseline.
            if rows >= MIN_TRAINING_ROWS {
                *ratio = rows as f64 / all as f64;
            }
        }
        ratios.push(1.0);
        Some(Periods { cycle, place: start..start + ratios.len(), ratios })
    }

    /// The values of the label `period`.
    pub fn labels(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.cycle.periods()).map(|period| self.cycle.label(period)).chain([OTHER.to_owned()])
    }

    /// The place of a row with this timestamp, in milliseconds since 1970.
    pub(super) fn place_of(&self, timestamp_ms: Option<i64>) -> usize {
        let period = timestamp_ms.map(|millis| self.cycle.period(millis.div_euclid(1_000)));
        let period = period.filter(|&period| self.ratios[period] > 0.0);
        self.place.start + period.unwrap_or(self.ratios.len() - 1)
    }

    /// By how much fewer training rows a mix of periods stands for than there were, given the live rows of each period:
    /// the design effect `Σ w² / r` (Kish, "Survey Sampling", 1965), `w` the share of a period in the live rows and `r`
    /// in the training rows.
    pub(super) fn design_effect(&self, live: &[u64]) -> f64 {
        let rows = live.iter().sum::<u64>() as f64;
        let terms = live.iter().zip(&self.ratios).filter(|(rows, _)| **rows > 0);
        terms.map(|(&count, ratio)| (count as f64 / rows).powi(2) / ratio).sum()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;
    use crate::model::signature::{Feature, Kind, Missing, Signature, Target};
    use crate::monitor::drift::{Counts, DriftComparison, Plan};

    /// The value of a row at an hour: a cycle of a day, and 100 values around it.
    fn value(row: usize, hour: usize) -> f64 {
        100.0 * (std::f64::consts::TAU * hour as f64 / 24.0).sin() + (row % 100) as f64
    }

    /// Compares 1,000 rows with the values of `live_hours`, which come at `hours`, with training rows of all 24 hours.
    fn compare(live_hours: &[usize], hours: &[usize], training_rows: usize) -> DriftComparison {
        let feature = Feature { name: "x".into(), kind: Kind::Numeric, missing: Missing::Reject };
        let signature = Signature { features: vec![feature], target: Target::Regression { names: vec!["y".into()] } };
        let rows = Array2::from_shape_fn((training_rows, 1), |(row, _)| value(row / 24, row % 24));
        let times: Vec<i64> = (0..training_rows).map(|row| HOUR_S * (row % 24) as i64).collect();
        let no_outputs = (Array2::zeros((0, 1)), Vec::new());
        let no_outputs = (no_outputs.0.view(), &*no_outputs.1);
        let baseline = Baseline::fit_by(Cycle::Hour, &signature, (rows.view(), &times), no_outputs);
        let plan = Plan::new(&baseline, &signature);
        let mut counts = Counts::new(&plan);
        for row in 0..1_000 {
            plan.count_rows(array![[value(row, live_hours[row % live_hours.len()])]].view(), &mut counts);
            let at = hours.get(row % hours.len().max(1)).map(|&hour| 1_000 * HOUR_S * hour as i64 + 5);
            plan.count_times([at].into_iter(), &mut counts);
        }
        plan.compare(&plan.columns()[0], counts.all())
    }

    #[test]
    fn rows_are_compared_with_those_of_their_hours() {
        for hours in [&[3][..], &[3, 15], &[0, 1, 2, 3, 4, 5]] {
            let as_usual = compare(hours, hours, 24_000);
            assert!(!as_usual.is_drift() && as_usual.psi < Some(0.01), "{hours:?}: {as_usual:?}");
        }
        let (of_night, of_all) = (compare(&[3], &[15], 24_000), compare(&[3], &[], 24_000));
        assert!(of_night.is_drift() && of_all.is_drift(), "{of_night:?} {of_all:?}");
        // 24 hours mixed are all of training.
        let day: Vec<usize> = (0..24).collect();
        assert!((compare(&day, &day, 2_400).threshold - compare(&day, &[], 2_400).threshold).abs() < 1e-4);
        // One hour is one of 24 parts: it has the threshold of 100 training rows.
        assert!(compare(&[3], &[3], 2_400).threshold > 0.3);
        // With fewer rows an hour has no baseline of its own.
        assert!(compare(&[3], &[3], 2_300).is_drift());
    }

    #[test]
    fn hours_and_weekdays_are_those_of_utc() {
        // date -u -d @1372659300: Mon Jul  1 06:15:00 UTC 2013
        assert_eq!((Cycle::Hour.period(1_372_659_300), Cycle::Weekday.period(1_372_659_300)), (6, 0));
        // date -u -d @-1: Wed Dec 31 23:59:59 UTC 1969
        assert_eq!((Cycle::Hour.period(-1), Cycle::Weekday.period(-1)), (23, 2));
        assert_eq!((Cycle::Hour.label(6), Cycle::Weekday.label(2)), ("06".to_owned(), "wednesday".to_owned()));
    }
}
