//! How the answers of two versions to the same records differ. Pure; its memory doesn't grow with the records.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::decision::ClassDecision;
use crate::model::signature::Target;
use crate::record::Origin;

/// Records that are kept for having changed most.
const MOST_CHANGED: usize = 10;

/// What is known of the differences so far.
#[derive(Debug)]
pub struct VersionDifference {
    classes: bool,
    /// Which class each version predicts, in the order of the first one's classes.
    decisions: [ClassDecision; 2],
    compared: u64,
    agreeing: u64,
    identical: u64,
    outputs: Vec<(String, Changes)>,
    /// By the classes that the first and the second version predict.
    moves: BTreeMap<(usize, usize), u64>,
    most_changed: Vec<ChangedAnswer>,
}

/// What is reported of the differences.
#[derive(Debug, Serialize)]
pub struct DifferenceReport<'d> {
    /// Records that both versions predicted.
    pub compared: u64,
    /// The share of them with the same class; `None` in a regression, or where there are none.
    pub agreement: Option<f64>,
    /// The share of them with the same outputs, to the bit.
    pub identical: Option<f64>,
    /// How much each output changed.
    pub outputs: Vec<OutputChange<'d>>,
    /// How often one class became which, in the order of the classes.
    pub classes: Vec<ClassMove<'d>>,
    /// The records that changed most, the most changed first.
    pub most_changed: &'d [ChangedAnswer],
}

/// How much an output changed: a class's probability, or the number of a regression. The changes are absolute.
#[derive(Debug, Serialize)]
pub struct OutputChange<'d> {
    /// The class, or the target column.
    pub name: &'d str,
    /// The mean.
    pub mean: f64,
    /// 99 % of the changes are not larger; at most 1 % too large itself.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// Records that went from one class to another, or stayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClassMove<'d> {
    /// What the first version predicts.
    pub first: &'d str,
    /// What the second version predicts.
    pub second: &'d str,
    /// How many records.
    pub records: u64,
}

/// A record whose answer changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedAnswer {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The largest change of an output.
    pub change: f64,
    /// The first version's outputs.
    pub first: Vec<f32>,
    /// The second version's, in the same order.
    pub second: Vec<f32>,
}

impl VersionDifference {
    /// Nothing yet, of versions with this target.
    pub fn new(target: &Target) -> VersionDifference {
        let (classes, names) = match target {
            Target::Classification { classes, .. } => (true, classes),
            Target::Regression { names } => (false, names),
        };
        VersionDifference {
            classes,
            decisions: [ClassDecision::default(); 2],
            compared: 0,
            agreeing: 0,
            identical: 0,
            outputs: names.iter().map(|name| (name.clone(), Changes::default())).collect(),
            moves: BTreeMap::new(),
            most_changed: Vec::new(),
        }
    }

    /// With what each version decides, the second one in the order of the first one's classes.
    pub fn deciding(self, decisions: [ClassDecision; 2]) -> VersionDifference {
        VersionDifference { decisions, ..self }
    }

    /// The decision of each version.
    pub fn decisions(&self) -> [ClassDecision; 2] {
        self.decisions
    }

    /// Adds both versions' finite outputs for a record, in the order of the target.
    ///
    /// # Panics
    /// When there are more or fewer outputs than the target has.
    pub fn add(&mut self, origin: Origin<'_>, first: &[f32], second: &[f32]) {
        assert!(
            first.len() == self.outputs.len() && second.len() == self.outputs.len(),
            "an output per class or number"
        );
        self.compared += 1;
        self.identical += u64::from(first.iter().zip(second).all(|(a, b)| a.to_bits() == b.to_bits()));
        if self.classes {
            let (from, to) = (self.decisions[0].class(first), self.decisions[1].class(second));
            self.agreeing += u64::from(from == to);
            *self.moves.entry((from, to)).or_default() += 1;
        }
        let mut largest = 0.0_f64;
        for ((_, changes), (&a, &b)) in self.outputs.iter_mut().zip(first.iter().zip(second)) {
            let change = (f64::from(a) - f64::from(b)).abs();
            changes.add(change);
            largest = largest.max(change);
        }
        let at = self.most_changed.partition_point(|kept| kept.change >= largest);
        if at < MOST_CHANGED && largest > 0.0 {
            self.most_changed.truncate(MOST_CHANGED - 1);
            let Origin { topic, partition, offset } = origin;
            let (first, second) = (first.to_vec(), second.to_vec());
            self.most_changed
                .insert(at, ChangedAnswer { topic: topic.into(), partition, offset, change: largest, first, second });
        }
    }

    /// The differences, summed up.
    pub fn report(&self) -> DifferenceReport<'_> {
        let share = |records: u64| (self.compared > 0).then(|| records as f64 / self.compared as f64);
        let name = |output: usize| self.outputs[output].0.as_str();
        DifferenceReport {
            compared: self.compared,
            agreement: share(self.agreeing).filter(|_| self.classes),
            identical: share(self.identical),
            outputs: (self.outputs.iter())
                .map(|(name, changes)| OutputChange {
                    name,
                    mean: changes.mean(),
                    p99: changes.p99(),
                    max: changes.max,
                })
                .collect(),
            classes: (self.moves.iter())
                .map(|(&(from, to), &records)| ClassMove { first: name(from), second: name(to), records })
                .collect(),
            most_changed: &self.most_changed,
        }
    }

    /// The classes or target columns, in the order of the outputs.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.outputs.iter().map(|(name, _)| name.as_str())
    }

    /// Whether the outputs are probabilities of classes.
    pub fn is_classification(&self) -> bool {
        self.classes
    }
}

/// Sizes of changes, none of them negative.
#[derive(Debug, Default)]
struct Changes {
    count: u64,
    sum: f64,
    max: f64,
    /// How many there are by the leading bits of their size.
    buckets: BTreeMap<u64, u64>,
}

/// Bits of an f64's mantissa that a bucket doesn't distinguish: 7 are left, so that a bucket is at most 1/128 wide.
const BUCKET_SHIFT: u32 = 52 - 7;

impl Changes {
    fn add(&mut self, change: f64) {
        self.count += 1;
        self.sum += change;
        self.max = self.max.max(change);
        // Of numbers that aren't negative, the bits are in the order of the numbers.
        *self.buckets.entry(change.to_bits() >> BUCKET_SHIFT).or_default() += 1;
    }

    fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// The upper end of the bucket that holds the smallest change of which 99 % are no larger.
    fn p99(&self) -> f64 {
        let mut larger = self.count / 100;
        for (&bucket, &count) in self.buckets.iter().rev() {
            if count > larger {
                return if bucket == 0 { 0.0 } else { f64::from_bits((bucket + 1) << BUCKET_SHIFT).min(self.max) };
            }
            larger -= count;
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLASSES: [&str; 3] = ["early", "on time", "late"];

    fn classes() -> VersionDifference {
        let classes = CLASSES.map(String::from).to_vec();
        VersionDifference::new(&Target::Classification { name: "y".into(), classes })
    }

    fn regression() -> VersionDifference {
        VersionDifference::new(&Target::Regression { names: vec!["y".into()] })
    }

    fn at(offset: i64) -> Origin<'static> {
        Origin { topic: "t", partition: 1, offset }
    }

    #[test]
    fn classes_are_counted_by_where_they_go() {
        let mut difference = classes();
        difference.add(at(0), &[0.5, 0.25, 0.25], &[0.5, 0.25, 0.25]);
        difference.add(at(1), &[0.5, 0.25, 0.25], &[0.5, 0.0, 0.5]);
        difference.add(at(2), &[0.0, 0.25, 0.75], &[0.5, 0.25, 0.25]);
        difference.add(at(3), &[0.0, 0.25, 0.75], &[0.25, 0.25, 0.5]);
        let report = difference.report();
        assert_eq!((report.compared, report.agreement, report.identical), (4, Some(0.75), Some(0.25)));
        let moved = |first, second, records| ClassMove { first, second, records };
        assert_eq!(report.classes, [moved("early", "early", 2), moved("late", "early", 1), moved("late", "late", 1)]);
        assert_eq!((report.outputs[1].mean, report.outputs[1].max), (0.0625, 0.25));
        let most: Vec<_> = report.most_changed.iter().map(|changed| (changed.offset, changed.change)).collect();
        assert_eq!(most, [(2, 0.5), (1, 0.25), (3, 0.25)]);
    }

    #[test]
    fn nothing_compared_has_no_shares() {
        let difference = regression();
        let report = difference.report();
        assert_eq!((report.compared, report.agreement, report.identical), (0, None, None));
        assert_eq!((report.outputs[0].mean, report.outputs[0].p99, report.outputs[0].max), (0.0, 0.0, 0.0));
    }

    proptest! {
        #[test]
        fn changes_are_summed_up_as_a_sorted_list_of_them_would(
            pairs in prop::collection::vec((-1e3_f32..1e3, prop::num::f32::NORMAL | prop::num::f32::ZERO), 1..400)
        ) {
            let mut difference = regression();
            let mut changes = Vec::new();
            for (offset, (a, b)) in pairs.iter().enumerate() {
                difference.add(at(offset as i64), &[*a], &[*b]);
                changes.push(((f64::from(*a) - f64::from(*b)).abs(), offset as i64));
            }
            changes.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let report = difference.report();
            let most: Vec<_> = report.most_changed.iter().map(|changed| (changed.change, changed.offset)).collect();
            let expected: Vec<_> = changes.iter().copied().filter(|(change, _)| *change > 0.0).take(MOST_CHANGED).collect();
            prop_assert_eq!(most, expected);
            prop_assert_eq!(report.outputs[0].max, changes[0].0);
            let exact = changes[changes.len() / 100].0;
            let p99 = report.outputs[0].p99;
            prop_assert!(exact <= p99 && p99 <= exact * 1.01, "{} {}", exact, p99);
        }
    }
}
