//! Counting rows into the bins of a baseline, cheaply enough to do it for every record.
//!
//! The bin of a number is found by comparing it with all of its edges (eleven, or a few more) and adding up the answers,
//! several rows at a time: no branch to mispredict, and the compiler makes vector instructions of it (for 30 numbers
//! 80 ns a row, half of what a search per value takes). A gap is NaN, every comparison with it is false, and so it
//! falls into bin 0 without being asked for.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::iter;
use std::ops::Range;

use ndarray::ArrayView2;

use super::baseline::{Baseline, Bins, Histogram};
use super::comparison::{DriftComparison, MIN_TRAINING_ROWS};
use super::cycle::{Cycle, Periods};
use crate::engine::predicted_class;
use crate::model::signature::{Kind, Signature, Target};
use crate::record::Gap;

/// A baseline made ready for counting.
#[derive(Debug)]
pub struct Plan {
    /// How to find the bin, for each feature and then for each prediction.
    finders: Vec<Find>,
    /// What the bins are called, in the same order.
    columns: Vec<Column>,
    features: usize,
    /// What is counted: the rows per bin of the columns, and after them per period.
    counts: usize,
    periods: Option<Periods>,
}

/// The bins of one feature, or of a prediction.
#[derive(Debug)]
pub struct Column {
    /// The value of the label `feature`: the feature's name; `prediction`, or `prediction.NAME` where there are several.
    pub label: String,
    /// The values of the label `bin`, each once.
    pub bins: Vec<String>,
    /// The training rows in each bin.
    pub training: Vec<u64>,
    /// The place of the bins among all bins of the plan.
    pub place: Range<usize>,
    /// The bin (of this column) of missing values; `None` for classes.
    pub missing: Option<usize>,
    /// The bin of categories that the signature doesn't list, for categorical features.
    pub unknown: Option<usize>,
    /// The bins below and above what training saw, for numbers.
    pub outside: Option<[usize; 2]>,
    /// The share of the training rows in each bin, by period and at last of all rows, if the baseline has periods and
    /// there were training rows.
    pub shares: Vec<Vec<f64>>,
}

impl Column {
    /// Whether the bins are the classes of a classification.
    pub fn is_classes(&self) -> bool {
        self.missing.is_none()
    }
}

/// Live rows per bin: one per thread. They only grow; add them up, or drain them into something shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    counts: Vec<u64>,
}

impl Plan {
    /// The plan of a baseline that [`Baseline::validate`] let pass. `signature` is the model's.
    pub fn new(baseline: &Baseline, signature: &Signature) -> Plan {
        Plan::within(baseline, signature, usize::MAX, usize::MAX)
    }

    /// As [`Plan::new`], but only of the first `max_features` features, and with bins for the `max_classes` most frequent
    /// classes; the other classes share one.
    pub fn within(baseline: &Baseline, signature: &Signature, max_features: usize, max_classes: usize) -> Plan {
        let mut plan = Plan { finders: Vec::new(), columns: Vec::new(), features: 0, counts: 0, periods: None };
        let mut taken = HashSet::new();
        for (histogram, feature) in baseline.features.iter().zip(&signature.features).take(max_features) {
            let categories = match &feature.kind {
                Kind::Numeric | Kind::Time => &[],
                Kind::Categorical { categories, .. } => categories.as_slice(),
            };
            plan.push(
                distinct(histogram.name.clone(), &mut taken),
                (histogram, baseline.cycle),
                categories,
                max_classes,
            );
            // Its baseline has no range: a later time is no drift.
            if let (Kind::Time, Some(column)) = (&feature.kind, plan.columns.last_mut()) {
                column.outside = None;
            }
        }
        plan.features = plan.columns.len();
        for histogram in &baseline.predictions {
            let (label, classes) = match &signature.target {
                Target::Classification { classes, .. } => ("prediction".to_owned(), classes.as_slice()),
                Target::Regression { names } if names.len() == 1 => ("prediction".to_owned(), [].as_slice()),
                Target::Regression { .. } => (format!("prediction.{}", histogram.name), [].as_slice()),
            };
            plan.push(distinct(label, &mut taken), (histogram, baseline.cycle), classes, max_classes);
        }
        plan.periods = Periods::of(baseline, plan.counts);
        plan.counts += plan.periods.as_ref().map_or(0, |periods| periods.place.len());
        plan
    }

    /// The features in signature order, then the predictions.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The features in signature order.
    pub fn features(&self) -> &[Column] {
        &self.columns[..self.features]
    }

    /// How many counts it needs: one for each bin of all columns, and one for each period.
    pub fn counts(&self) -> usize {
        self.counts
    }

    /// The hours or weekdays that have baselines of their own, if there are any.
    pub fn periods(&self) -> Option<&Periods> {
        self.periods.as_ref()
    }

    /// Compares a column with its training data. `live` is all that was counted by this plan.
    pub fn compare(&self, column: &Column, live: &[u64]) -> DriftComparison {
        DriftComparison::of(&self.expected(column, live), &live[column.place.clone()])
    }

    /// The training rows in each bin of a column, mixed as the periods of the live rows are.
    fn expected(&self, column: &Column, live: &[u64]) -> Vec<f64> {
        let all = || column.training.iter().map(|&rows| rows as f64);
        let Some(periods) = self.periods.as_ref().filter(|_| !column.shares.is_empty()) else { return all().collect() };
        let live = &live[periods.place.clone()];
        let rows = live.iter().sum::<u64>() as f64;
        if rows == 0.0 {
            return all().collect();
        }
        let trained = all().sum::<f64>() / periods.design_effect(live);
        let mut expected = vec![0.0; column.bins.len()];
        for (&count, shares) in live.iter().zip(&column.shares).filter(|(count, _)| **count > 0) {
            let weight = count as f64 / rows * trained;
            expected.iter_mut().zip(shares).for_each(|(bin, share)| *bin += weight * share);
        }
        expected
    }

    /// Counts when rows happened, by their timestamps in milliseconds since 1970. Only a plan with periods needs it.
    pub fn count_times(&self, timestamps_ms: impl Iterator<Item = Option<i64>>, counts: &mut Counts) {
        if let Some(periods) = &self.periods {
            timestamps_ms.for_each(|millis| counts.counts[periods.place_of(millis)] += 1);
        }
    }

    /// Counts decoded rows: rows × features, as [`crate::record`] describes them.
    pub fn count_rows(&self, rows: ArrayView2<'_, f64>, counts: &mut Counts) {
        for (at, (find, column)) in self.finders.iter().zip(self.features()).enumerate() {
            find.count(rows.column(at).iter().copied(), &mut counts.counts[column.place.clone()]);
        }
    }

    /// Counts what the model answered: rows × outputs, probabilities or numbers. A row with a NaN or an infinity is no
    /// prediction and isn't counted.
    pub fn count_outputs(&self, outputs: ArrayView2<'_, f32>, counts: &mut Counts) {
        let predictions = self.finders.iter().zip(&self.columns).skip(self.features);
        for (at, (find, column)) in predictions.enumerate() {
            let bins = &mut counts.counts[column.place.clone()];
            let finite = outputs.rows().into_iter().filter(|row| row.iter().all(|value| value.is_finite()));
            match find {
                Find::Class { bins: of } => finite.for_each(|row| bins[of[predicted_class(row)]] += 1),
                find => find.count(finite.map(|row| f64::from(row[at])), bins),
            }
        }
    }

    fn push(
        &mut self,
        label: String,
        (histogram, cycle): (&Histogram, Option<Cycle>),
        names: &[String],
        max_classes: usize,
    ) {
        let mut training = histogram.counts.clone();
        let mut by_period = histogram.periods.clone();
        if let (true, Some(cycle)) = (by_period.is_empty(), cycle) {
            by_period = vec![vec![0; training.len()]; cycle.periods()];
        }
        let (find, bins) = match &histogram.bins {
            Bins::Numeric { edges } => (Find::number(edges), number_labels(edges)),
            Bins::Categorical { categories, shared } => {
                let find = Find::Category { bins: category_bins(categories, shared, names) };
                (find, category_labels(categories, shared, names))
            }
            Bins::Classes => {
                let (of, bins) = class_bins(&histogram.counts, names, max_classes);
                if names.len() > max_classes && !training.is_empty() {
                    for counts in by_period.iter_mut().chain([&mut training]) {
                        let mut shared = vec![0; bins.len()];
                        of.iter().zip(counts.iter()).for_each(|(&bin, count)| shared[bin] += count);
                        *counts = shared;
                    }
                }
                (Find::Class { bins: of }, bins)
            }
        };
        let (missing, unknown, outside) = match find {
            // Nothing is outside of what training saw if it saw nothing.
            Find::Number { .. } if histogram.counts.iter().sum::<u64>() == 0 => (Some(0), None, None),
            Find::Number { .. } => (Some(0), None, Some([1, bins.len() - 1])),
            Find::Category { .. } => (Some(0), Some(1), None),
            Find::Class { .. } => (None, None, None),
        };
        let place = self.counts..self.counts + bins.len();
        self.counts = place.end;
        self.finders.push(find);
        let shares = shares(&training, &by_period);
        self.columns.push(Column { label, bins, training, place, missing, unknown, outside, shares });
    }
}

impl Counts {
    /// Nothing counted yet.
    pub fn new(plan: &Plan) -> Counts {
        Counts { counts: vec![0; plan.counts] }
    }

    /// The counts of one column of the plan.
    pub fn of(&self, column: &Column) -> &[u64] {
        &self.counts[column.place.clone()]
    }

    /// All counts of the plan.
    pub fn all(&self) -> &[u64] {
        &self.counts
    }

    /// Adds what another thread counted by the same plan.
    pub fn add(&mut self, other: &Counts) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
    }

    /// Hands out each count that isn't zero, with its place among all, and sets it to zero.
    pub fn drain(&mut self, mut into: impl FnMut(usize, u64)) {
        for (at, count) in self.counts.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            into(at, std::mem::take(count));
        }
    }
}

/// Rows whose bins are found at once.
const LANES: usize = 8;

/// How to find the bin of a value.
#[derive(Debug)]
enum Find {
    /// How many of the edges are less than the value, plus one; 0 for a gap.
    Number { edges: Vec<f64> },
    /// The bin of each category.
    Category { bins: Vec<usize> },
    /// The bin of each class.
    Class { bins: Vec<usize> },
}

impl Find {
    /// Counts values of one column into its bins.
    #[inline]
    fn count(&self, values: impl Iterator<Item = f64>, bins: &mut [u64]) {
        match self {
            Find::Number { edges } => count_numbers(edges, values, bins),
            Find::Category { bins: of } => values.for_each(|value| {
                // The gaps that a signature may forgive: missing, or unknown.
                let gap = || usize::from(Gap::of(value) != Some(Gap::Missing));
                bins[if value.is_nan() { gap() } else { of[value as usize] }] += 1;
            }),
            Find::Class { bins: of } => values.for_each(|class| bins[of[class as usize]] += 1),
        }
    }

    /// Without edges all numbers are above.
    fn number(edges: &[f64]) -> Find {
        Find::Number { edges: if edges.is_empty() { vec![f64::NEG_INFINITY] } else { edges.to_vec() } }
    }
}

#[inline]
fn count_numbers(edges: &[f64], mut values: impl Iterator<Item = f64>, bins: &mut [u64]) {
    loop {
        let mut block = [f64::NAN; LANES];
        let mut filled = 0;
        for (lane, value) in block.iter_mut().zip(values.by_ref()) {
            *lane = value;
            filled += 1;
        }
        let mut found = block.map(|value| u64::from(!value.is_nan()));
        for edge in edges {
            for (bin, value) in found.iter_mut().zip(&block) {
                *bin += u64::from(value > edge);
            }
        }
        for &bin in &found[..filled] {
            bins[bin as usize] += 1;
        }
        if filled < LANES {
            return;
        }
    }
}

/// See [`Column::shares`]. A period with too few rows has those of all.
fn shares(training: &[u64], by_period: &[Vec<u64>]) -> Vec<Vec<f64>> {
    let trained: u64 = training.iter().sum();
    if by_period.is_empty() || trained == 0 {
        return Vec::new();
    }
    let share = |counts: &[u64]| {
        let rows = counts.iter().sum::<u64>() as f64;
        counts.iter().map(|&count| count as f64 / rows).collect()
    };
    let is_enough = |counts: &[u64]| counts.iter().sum::<u64>() >= MIN_TRAINING_ROWS;
    let periods = by_period.iter().map(|counts| share(if is_enough(counts) { counts } else { training }));
    periods.chain([share(training)]).collect()
}

fn number_labels(edges: &[f64]) -> Vec<String> {
    let inner = edges.windows(2).map(|pair| format!("({},{}]", number(pair[0]), number(pair[1])));
    let outer = ["missing", "below"].into_iter().map(str::to_owned);
    outer.chain(inner).chain(iter::once("above".to_owned())).collect()
}

/// The shortest text that is exactly this number: two edges never look the same.
fn number(value: f64) -> String {
    let text = format!("{value:?}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// The bin of each category of a signature.
pub(super) fn category_bins(own: &[String], shared: &[usize], all: &[String]) -> Vec<usize> {
    let first = 2 + own.len();
    let mut sharing = shared.iter().enumerate().flat_map(|(at, &categories)| iter::repeat_n(first + at, categories));
    let bin = |category| match own.iter().position(|other| other == category) {
        Some(at) => 2 + at,
        None => sharing.next().unwrap_or(first),
    };
    all.iter().map(bin).collect()
}

fn category_labels(own: &[String], shared: &[usize], all: &[String]) -> Vec<String> {
    // A category may be called like one of weir's own bins: it is then shown in quotes.
    let is_other = |name: &str| name.strip_prefix("other ").is_some_and(|number| number.parse::<usize>().is_ok());
    let quoted = |category: &String| match category.as_str() {
        "missing" | "unknown" | "other" => format!("{category:?}"),
        name if name.starts_with('"') || is_other(name) => format!("{category:?}"),
        _ => category.clone(),
    };
    let outer = ["missing", "unknown"].into_iter().map(str::to_owned);
    let others = match shared.len() {
        0 | 1 => Vec::from_iter((own.len() < all.len()).then(|| "other".to_owned())),
        bins => (1..=bins).map(|bin| format!("other {bin}")).collect(),
    };
    outer.chain(own.iter().map(quoted)).chain(others).collect()
}

/// The bin of each class, and the names of the bins: the most frequent classes, in their order, and one for the others.
fn class_bins(counts: &[u64], names: &[String], max: usize) -> (Vec<usize>, Vec<String>) {
    if names.len() <= max {
        return ((0..names.len()).collect(), names.to_vec());
    }
    let mut own: Vec<usize> = (0..names.len()).collect();
    own.sort_by_key(|&class| Reverse(counts.get(class)));
    own.truncate(max);
    own.sort_unstable();
    let bins = (0..names.len()).map(|class| own.binary_search(&class).unwrap_or(max)).collect();
    let mut labels: Vec<String> = own.iter().map(|&class| names[class].clone()).collect();
    labels.push(distinct("other".to_owned(), &mut labels.iter().cloned().collect()));
    (bins, labels)
}

/// A label that no other column has: a feature may be called `prediction`.
fn distinct(label: String, taken: &mut HashSet<String>) -> String {
    let mut candidates = iter::once(label.clone()).chain((2..).map(|number| format!("{label}#{number}")));
    let free = candidates.find(|candidate| !taken.contains(candidate)).unwrap_or(label);
    taken.insert(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use ndarray::aview2;
    use proptest::prelude::*;

    use super::super::edges::MAX_BINS;
    use super::*;
    use crate::model::signature::{Feature, Missing, Unknown};

    fn signature(categories: &[&str], target: Target) -> Signature {
        let categories = categories.iter().map(|&name| name.to_owned()).collect();
        Signature {
            features: vec![
                Feature { name: "prediction".into(), kind: Kind::Numeric, missing: Missing::Reject },
                Feature {
                    name: "c".into(),
                    kind: Kind::Categorical { categories, unknown: Unknown::Zeros },
                    missing: Missing::Zeros,
                },
            ],
            target,
        }
    }

    fn plan(edges: &[f64], categories: &[&str], kept: &[&str]) -> Plan {
        let target = Target::Classification { name: "y".into(), classes: vec!["no".into(), "yes".into()] };
        let histogram = |bins| Histogram {
            name: if bins == Bins::Classes { "y" } else { "prediction" }.into(),
            bins,
            counts: vec![],
            periods: vec![],
        };
        let kept = kept.iter().map(|&name| name.to_owned()).collect();
        let baseline = Baseline {
            features: vec![
                histogram(Bins::Numeric { edges: edges.to_vec() }),
                Histogram { name: "c".into(), ..histogram(Bins::Categorical { categories: kept, shared: vec![] }) },
            ],
            predictions: vec![histogram(Bins::Classes)],
            cycle: None,
        };
        Plan::new(&baseline, &signature(categories, target))
    }

    /// The labels of the bins that one row and its output fall into.
    fn labels(plan: &Plan, row: [f64; 2], outputs: [f32; 2]) -> Vec<String> {
        let mut counts = Counts::new(plan);
        plan.count_rows(aview2(&[row]), &mut counts);
        plan.count_outputs(aview2(&[outputs]), &mut counts);
        let of = |column: &Column| {
            let counted = column.bins.iter().zip(counts.of(column)).filter(|(_, count)| **count > 0);
            counted.map(|(bin, _)| bin.clone()).collect::<Vec<_>>()
        };
        plan.columns().iter().flat_map(of).collect()
    }

    #[test]
    fn each_value_falls_into_the_bin_that_its_label_says() {
        let plan = plan(&[-5e-324, 0.0, 1.5, 1e300], &["red", "other", "pink", "grey"], &["red", "other"]);
        let number = |value| labels(&plan, [value, 0.0], [0.9, 0.1]).swap_remove(0);
        let cases = [
            (-1e-300, "below"),
            (-0.0, "(-5e-324,0]"),
            (0.0, "(-5e-324,0]"),
            (1e-300, "(0,1.5]"),
            (1.5, "(0,1.5]"),
            (1.6, "(1.5,1e300]"),
            (1e300, "(1.5,1e300]"),
            (f64::MAX, "above"),
            (Gap::Missing.value(), "missing"),
        ];
        for (value, label) in cases {
            assert_eq!(number(value), label, "{value}");
        }
        let category = |value| labels(&plan, [0.0, value], [0.9, 0.1]).swap_remove(1);
        let cases = [
            (0.0, "red"),
            (1.0, "\"other\""),
            (2.0, "other"),
            (3.0, "other"),
            (Gap::Missing.value(), "missing"),
            (Gap::Unknown.value(), "unknown"),
        ];
        for (value, label) in cases {
            assert_eq!(category(value), label, "{value}");
        }
        assert_eq!(labels(&plan, [0.0, 0.0], [0.5, 0.5])[2], "no", "the first of equals");
        assert_eq!(labels(&plan, [0.0, 0.0], [0.4, 0.6])[2], "yes");
        assert_eq!(plan.columns()[2].label, "prediction#2", "a feature has the name already");
    }

    #[test]
    fn numbers_where_training_had_none_are_above() {
        let plan = plan(&[], &["red"], &["red"]);
        assert_eq!(labels(&plan, [3.0, 0.0], [1.0, 0.0])[0], "above");
        assert_eq!(labels(&plan, [Gap::Missing.value(), 0.0], [1.0, 0.0])[0], "missing");
    }

    #[test]
    fn the_first_features_and_the_most_frequent_classes_have_bins() {
        let names = ["b", "other", "a", "c"].map(str::to_owned);
        let target = Target::Classification { name: "y".into(), classes: names.to_vec() };
        let number = |name: &str| Histogram {
            name: name.into(),
            bins: Bins::Numeric { edges: vec![0.0, 1.0] },
            counts: vec![0, 1, 2, 3],
            periods: vec![],
        };
        let baseline = Baseline {
            features: vec![number("prediction"), number("c")],
            predictions: vec![Histogram { counts: vec![1, 5, 3, 4], bins: Bins::Classes, ..number("y") }],
            cycle: None,
        };
        let plan = Plan::within(&baseline, &signature(&[], target), 1, 2);
        let [feature, prediction] = plan.columns() else { panic!("{:?}", plan.columns()) };
        assert_eq!((feature.label.as_str(), prediction.label.as_str()), ("prediction", "prediction#2"));
        assert_eq!(
            (prediction.bins.as_slice(), prediction.training.as_slice()),
            (["other", "c", "other#2"].map(str::to_owned).as_slice(), [5, 4, 4].as_slice())
        );
        let mut counts = Counts::new(&plan);
        plan.count_rows(aview2(&[[0.5, 9.0]]), &mut counts);
        plan.count_outputs(
            aview2(&[[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]),
            &mut counts,
        );
        assert_eq!(counts.of(feature), [0, 0, 1, 0]);
        assert_eq!(counts.of(prediction), [1, 1, 2]);
    }

    #[test]
    fn counts_of_two_threads_add_up_and_drain_to_zero() {
        let plan = plan(&[0.0, 1.0], &["red"], &["red"]);
        let (mut one, mut two) = (Counts::new(&plan), Counts::new(&plan));
        plan.count_rows(aview2(&[[0.5, 0.0]]), &mut one);
        plan.count_rows(aview2(&[[0.7, Gap::Missing.value()]]), &mut two);
        one.add(&two);
        assert_eq!(one.of(&plan.columns()[0]), [0, 0, 2, 0]);
        let mut drained = Vec::new();
        one.drain(|at, count| drained.push((at, count)));
        assert_eq!(drained, [(2, 2), (4, 1), (6, 1)]);
        assert_eq!(one, Counts::new(&plan));
    }

    proptest! {
        #[test]
        fn counting_is_what_a_plain_search_finds(
            mut edges in prop::collection::vec(-50_i32..50, 2..=MAX_BINS + 1),
            values in prop::collection::vec(prop::option::of(-60_i32..60), 0..30),
        ) {
            edges.sort_unstable();
            edges.dedup();
            prop_assume!(edges.len() > 1);
            let edges: Vec<f64> = edges.into_iter().map(|edge| f64::from(edge) / 4.0).collect();
            let values = values.into_iter().map(|value| value.map_or(Gap::Missing.value(), |value| f64::from(value) / 4.0));
            let values: Vec<f64> = values.collect();
            let mut plain = vec![0; edges.len() + 2];
            for &value in &values {
                plain[match edges.iter().position(|&edge| value <= edge) {
                    _ if value.is_nan() => 0,
                    Some(at) => at + 1,
                    None => edges.len() + 1,
                }] += 1;
            }
            let mut bins = vec![0; edges.len() + 2];
            Find::number(&edges).count(values.into_iter(), &mut bins);
            prop_assert_eq!(bins, plain);
        }
    }

    #[test]
    fn answers_that_are_no_numbers_are_no_predictions() {
        let plan = plan(&[0.0, 1.0], &["red"], &["red"]);
        let mut counts = Counts::new(&plan);
        plan.count_outputs(aview2(&[[f32::NAN, 0.5], [0.5, f32::INFINITY], [0.2, 0.8]]), &mut counts);
        assert_eq!(counts.of(&plan.columns()[2]), [0, 1]);
    }
}
