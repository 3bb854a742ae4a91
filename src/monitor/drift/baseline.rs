//! What the training data looked like: `baseline.json`.

use ndarray::{ArrayView1, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::bins::{Counts, Plan, category_bins};
use super::cycle::Cycle;
use super::edges::{MAX_BINS, edges};
use super::levels::{levels, without_singleton};
use crate::model::signature::{Feature, Kind, Signature, Target};

/// The format of `baseline.json` that is written. Format 1, which didn't state its number, had closed first bins and
/// one bin for all rare categories. Format 3 has periods, and only baselines with periods are written in it.
const FORMAT: u32 = 2;

/// The format with periods.
const FORMAT_OF_PERIODS: u32 = 3;

/// Bins and frequencies of the training data, per feature and for the predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredBaseline", into = "StoredBaseline")]
pub struct Baseline {
    /// One per feature, in signature order.
    pub features: Vec<Histogram>,
    /// What the model answers for rows that it wasn't trained on: one for the class, or one per output of a regression.
    pub predictions: Vec<Histogram>,
    /// The cycle of which each period has counts of its own, if any.
    pub cycle: Option<Cycle>,
}

/// The bins of one feature or output, and how many rows to expect in each if as many come as the training had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Histogram {
    /// The feature, or the target.
    pub name: String,
    /// Where one bin ends and the next begins.
    pub bins: Bins,
    /// The training rows in each bin, in the order that [`Bins`] says. The categories that training saw only once are
    /// counted as unknown (see `levels.rs`), since so many rows of categories that it didn't see are to be expected.
    pub counts: Vec<u64>,
    /// The same for each period of the baseline's cycle. Empty: nothing is known of the periods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub periods: Vec<Vec<u64>>,
}

/// How values fall into bins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Bins {
    /// Bins in this order: missing, up to the first edge, between the edges, above the last edge.
    Numeric {
        /// Where one bin ends and the next begins, ascending: a bin is `(lower, upper]`. All training values lie between
        /// the first and the last edge. Empty where training had no value; a number then counts as above.
        edges: Vec<f64>,
    },
    /// Bins in this order: missing, unknown, one for each of some categories, and those that the others share.
    Categorical {
        /// The categories with a bin of their own, in signature order.
        categories: Vec<String>,
        /// How many of the other categories share each of the other bins, in signature order. Empty: all share one.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shared: Vec<usize>,
    },
    /// One bin per class, in signature order.
    Classes,
}

impl Baseline {
    /// The baseline of a training set.
    ///
    /// `rows`: training rows × features, decoded as [`crate::record`] describes it, gaps included. `outputs`: rows ×
    /// outputs, what the model answers for rows that it wasn't trained on: probabilities, or numbers. The answers for
    /// training rows are more certain than those that will come.
    pub fn fit(signature: &Signature, rows: ArrayView2<'_, f64>, outputs: ArrayView2<'_, f32>) -> Baseline {
        let features = signature.features.iter().zip(rows.columns());
        let features = features.map(|(feature, column)| empty(&feature.name, feature_bins(feature, column))).collect();
        let predictions = match &signature.target {
            Target::Classification { name, .. } => vec![empty(name, Bins::Classes)],
            Target::Regression { names } => {
                let columns = names.iter().zip(outputs.columns());
                columns
                    .map(|(name, column)| {
                        empty(name, Bins::Numeric { edges: edges(column.iter().map(|&y| f64::from(y))) })
                    })
                    .collect()
            }
        };
        let mut baseline = Baseline { features, predictions, cycle: None };
        // Counted by the code that will count the live rows, so the two can't disagree about a bin.
        let plan = Plan::new(&baseline, signature);
        let mut counts = Counts::new(&plan);
        plan.count_rows(rows, &mut counts);
        plan.count_outputs(outputs, &mut counts);
        let histograms = baseline.features.iter_mut().chain(&mut baseline.predictions);
        for (histogram, column) in histograms.zip(plan.columns()) {
            histogram.counts = counts.of(column).to_vec();
        }
        for ((histogram, feature), column) in baseline.features.iter_mut().zip(&signature.features).zip(rows.columns())
        {
            let rows = rows_by_category(feature, column);
            lend_singletons(&histogram.bins, feature, (&rows, &rows), &mut histogram.counts);
        }
        baseline
    }

    /// As [`Baseline::fit`], with the counts of each period of a cycle. `rows` and `outputs` come with their times, in
    /// seconds since 1970.
    pub fn fit_by(
        cycle: Cycle,
        signature: &Signature,
        (rows, row_times): (ArrayView2<'_, f64>, &[i64]),
        (outputs, output_times): (ArrayView2<'_, f32>, &[i64]),
    ) -> Baseline {
        let mut baseline = Baseline::fit(signature, rows, outputs);
        let plan = Plan::new(&baseline, signature);
        let features = || signature.features.iter().enumerate();
        let all: Vec<_> = features().map(|(at, feature)| rows_by_category(feature, rows.column(at))).collect();
        for period in 0..cycle.periods() {
            let within = |times: &[i64]| -> Vec<usize> {
                (0..times.len()).filter(|&row| cycle.period(times[row]) == period).collect()
            };
            let rows_within = rows.select(Axis(0), &within(row_times));
            let mut counts = Counts::new(&plan);
            plan.count_rows(rows_within.view(), &mut counts);
            plan.count_outputs(outputs.select(Axis(0), &within(output_times)).view(), &mut counts);
            let histograms = baseline.features.iter_mut().chain(&mut baseline.predictions);
            for (histogram, column) in histograms.zip(plan.columns()) {
                histogram.periods.push(counts.of(column).to_vec());
            }
            for (histogram, (at, feature)) in baseline.features.iter_mut().zip(features()) {
                let here = rows_by_category(feature, rows_within.column(at));
                lend_singletons(&histogram.bins, feature, (&all[at], &here), &mut histogram.periods[period]);
            }
        }
        Baseline { cycle: Some(cycle), ..baseline }
    }

    /// What is wrong with this baseline for a model of this signature, if anything: a file may say what no training
    /// would write.
    pub fn validate(&self, signature: &Signature) -> Result<(), String> {
        if self.features.len() != signature.features.len() {
            return Err(format!(
                "the baseline has {} features, the signature {}",
                self.features.len(),
                signature.features.len()
            ));
        }
        for (histogram, feature) in self.features.iter().zip(&signature.features) {
            if histogram.name != feature.name {
                return Err(format!(
                    "the baseline has {:?} where the signature has {:?}",
                    histogram.name, feature.name
                ));
            }
            let values = match &feature.kind {
                Kind::Numeric | Kind::Time => Values::Numbers,
                Kind::Categorical { categories, .. } => Values::OneOf(categories),
            };
            histogram.validate(values, self.cycle)?;
        }
        let predictions = match &signature.target {
            Target::Classification { classes, .. } => vec![Values::Class(classes.len())],
            Target::Regression { names } => vec![Values::Numbers; names.len()],
        };
        if self.predictions.len() != predictions.len() {
            return Err(format!(
                "the baseline has {} predictions, the signature {}",
                self.predictions.len(),
                predictions.len()
            ));
        }
        self.predictions
            .iter()
            .zip(predictions)
            .try_for_each(|(histogram, values)| histogram.validate(values, self.cycle))
    }
}

/// The bin of categories that the signature doesn't list.
const UNKNOWN: usize = 1;

/// `baseline.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredBaseline {
    #[serde(default = "first_format")]
    format: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cycle: Option<Cycle>,
    features: Vec<Histogram>,
    predictions: Vec<Histogram>,
}

fn first_format() -> u32 {
    1
}

impl From<Baseline> for StoredBaseline {
    fn from(Baseline { features, predictions, cycle }: Baseline) -> StoredBaseline {
        let format = if cycle.is_some() { FORMAT_OF_PERIODS } else { FORMAT };
        StoredBaseline { format, cycle, features, predictions }
    }
}

impl TryFrom<StoredBaseline> for Baseline {
    type Error = String;

    fn try_from(stored: StoredBaseline) -> Result<Baseline, String> {
        let StoredBaseline { format, cycle, features, predictions } = stored;
        let mut baseline = Baseline { features, predictions, cycle };
        match format {
            FORMAT | FORMAT_OF_PERIODS => {}
            // The first bin was [lower, upper].
            1 => baseline.features.iter_mut().chain(&mut baseline.predictions).for_each(|histogram| {
                if let Bins::Numeric { edges } = &mut histogram.bins
                    && let Some(first) = edges.first_mut()
                {
                    *first = first.next_down().max(f64::MIN);
                }
            }),
            _ => {
                return Err(format!(
                    "it has format {format}, and this weir reads up to {FORMAT_OF_PERIODS}: upgrade weir"
                ));
            }
        }
        Ok(baseline)
    }
}

/// What the signature says about the values behind a histogram.
#[derive(Clone, Copy)]
enum Values<'a> {
    Numbers,
    OneOf(&'a [String]),
    Class(usize),
}

impl Histogram {
    fn validate(&self, values: Values<'_>, cycle: Option<Cycle>) -> Result<(), String> {
        let name = &self.name;
        let expected = match (&self.bins, values) {
            (Bins::Numeric { edges }, Values::Numbers) => {
                let ascending = edges.is_sorted_by(|lower, upper| lower < upper);
                if !ascending
                    || edges.len() == 1
                    || edges.len() > MAX_BINS + 1
                    || edges.iter().any(|edge| !edge.is_finite())
                {
                    return Err(format!("the baseline of {name:?} has impossible edges: {edges:?}"));
                }
                edges.len().saturating_sub(1) + 3
            }
            (Bins::Categorical { categories, shared }, Values::OneOf(all)) => {
                let in_order = categories.iter().map(|category| all.iter().position(|other| other == category));
                if in_order.clone().any(|at| at.is_none()) || !in_order.is_sorted_by(|a, b| a < b) {
                    return Err(format!("the baseline of {name:?} has categories that the signature doesn't have"));
                }
                let others = all.len() - categories.len();
                let sum = shared.iter().try_fold(0_usize, |sum, &categories| sum.checked_add(categories));
                if !shared.is_empty() && (sum != Some(others) || shared.contains(&0)) {
                    return Err(format!("the baseline of {name:?} shares bins among {sum:?} categories of {others}"));
                }
                2 + categories.len() + if shared.is_empty() { usize::from(others > 0) } else { shared.len() }
            }
            (Bins::Classes, Values::Class(classes)) => classes,
            _ => return Err(format!("the baseline of {name:?} is for another kind of value")),
        };
        if self.counts.len() != expected {
            return Err(format!("the baseline of {name:?} has {} counts for {expected} bins", self.counts.len()));
        }
        if self.counts.iter().try_fold(0_u64, |sum, &count| sum.checked_add(count)).is_none() {
            return Err(format!("the baseline of {name:?} counts more rows than there can be"));
        }
        let periods = cycle.map_or(0, Cycle::periods);
        if !self.periods.is_empty() && self.periods.len() != periods {
            return Err(format!("the baseline of {name:?} has {} periods of {periods}", self.periods.len()));
        }
        let rows_of = |bin: usize| self.periods.iter().map(|counts| u128::from(counts[bin])).sum::<u128>();
        if self.periods.iter().any(|counts| counts.len() != expected)
            || self.counts.iter().enumerate().any(|(bin, &count)| rows_of(bin) > u128::from(count))
        {
            return Err(format!("the baseline of {name:?} has periods that aren't parts of its counts"));
        }
        Ok(())
    }
}

fn empty(name: &str, bins: Bins) -> Histogram {
    Histogram { name: name.to_owned(), bins, counts: Vec::new(), periods: Vec::new() }
}

fn feature_bins(feature: &Feature, column: ArrayView1<'_, f64>) -> Bins {
    match &feature.kind {
        Kind::Numeric => Bins::Numeric { edges: edges(column.iter().copied()) },
        // A later time is no drift.
        Kind::Time => Bins::Numeric { edges: Vec::new() },
        Kind::Categorical { categories, .. } => {
            let levels = levels(&rows_by_category(feature, column));
            let own = levels.own.into_iter().map(|at| categories[at].clone()).collect();
            Bins::Categorical { categories: own, shared: levels.shared }
        }
    }
}

/// Counts as unknown, in the counts of some training rows, the categories that all of them have only once.
fn lend_singletons(bins: &Bins, feature: &Feature, (all_rows, some_rows): (&[u64], &[u64]), counts: &mut [u64]) {
    let (Bins::Categorical { categories, shared }, Kind::Categorical { categories: all, .. }) = (bins, &feature.kind)
    else {
        return;
    };
    for (bin, (&rows, here)) in category_bins(categories, shared, all).into_iter().zip(all_rows.iter().zip(some_rows)) {
        if without_singleton(rows) == 0 {
            counts[bin] -= here;
            counts[UNKNOWN] += here;
        }
    }
}

/// None of a feature without categories.
fn rows_by_category(feature: &Feature, column: ArrayView1<'_, f64>) -> Vec<u64> {
    let Kind::Categorical { categories, .. } = &feature.kind else { return Vec::new() };
    let mut rows = vec![0; categories.len()];
    for &value in column.iter().filter(|value| !value.is_nan()) {
        rows[value as usize] += 1;
    }
    rows
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::model::signature::{Missing, Unknown};
    use crate::record::Gap;

    fn signature(categories: usize) -> Signature {
        let categories = (0..categories).map(|at| format!("c{at}")).collect();
        Signature {
            features: vec![
                Feature { name: "x".into(), kind: Kind::Numeric, missing: Missing::Mean { value: 0.0 } },
                Feature {
                    name: "c".into(),
                    kind: Kind::Categorical { categories, unknown: Unknown::Zeros },
                    missing: Missing::Zeros,
                },
            ],
            target: Target::Regression { names: vec!["y".into()] },
        }
    }

    fn fit(signature: &Signature, rows: &[[f64; 2]]) -> Baseline {
        let flat = rows.iter().flatten().copied().collect();
        let rows = Array2::from_shape_vec((rows.len(), 2), flat).unwrap();
        let outputs = Array2::from_shape_fn((rows.nrows(), 1), |(row, _)| row as f32);
        Baseline::fit(signature, rows.view(), outputs.view())
    }

    #[test]
    fn deciles_and_categories_hold_the_training_rows() {
        let signature = signature(2);
        let mut rows: Vec<_> = (1..=200).map(|x| [f64::from(x), f64::from(x % 2)]).collect();
        rows.push([Gap::Missing.value(), Gap::Missing.value()]);
        rows.push([Gap::Missing.value(), Gap::Unknown.value()]);
        let baseline = fit(&signature, &rows);
        assert_eq!(baseline.validate(&signature), Ok(()));
        let [x, c] = baseline.features.as_slice() else { panic!("two features") };
        let edges = vec![0.5, 20.5, 40.5, 60.5, 80.5, 100.5, 120.5, 140.5, 160.5, 180.5, 200.5];
        assert_eq!(x.bins, Bins::Numeric { edges });
        assert_eq!(x.counts, [2, 0, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 0]);
        assert_eq!(c.counts, [1, 1, 100, 100]);
        assert_eq!(baseline.predictions[0].counts.iter().sum::<u64>(), 202);
        let json = serde_json::to_string(&baseline).unwrap();
        assert_eq!(serde_json::from_str::<Baseline>(&json).unwrap(), baseline);
    }

    #[test]
    fn rare_categories_share_bins_and_those_seen_once_stand_for_the_unknown() {
        let signature = signature(60);
        // c0 to c19 have a row each, c20 to c58 three, c59 has 100.
        let rows_of = |at| {
            if at < 20 {
                1
            } else if at < 59 {
                3
            } else {
                100
            }
        };
        let rows: Vec<_> = (0..60).flat_map(|at| vec![[0.0, f64::from(at)]; rows_of(at)]).collect();
        let baseline = fit(&signature, &rows);
        assert_eq!(baseline.validate(&signature), Ok(()));
        let c = &baseline.features[1];
        // Seven categories of three rows fill a bin of 20, and those seen once need no room.
        let bins = Bins::Categorical { categories: vec!["c59".into()], shared: vec![27, 7, 7, 7, 7, 4] };
        assert_eq!(c.bins, bins);
        assert_eq!(c.counts, [0, 20, 100, 21, 21, 21, 21, 21, 12]);
    }

    #[test]
    fn a_baseline_of_the_first_format_is_read() {
        let stored = r#"{"features": [
            {"name": "x", "bins": {"type": "numeric", "edges": [0.0, 0.0, 1.5]}, "counts": [1, 0, 60, 39, 0]},
            {"name": "c", "bins": {"type": "categorical", "categories": ["c1"]}, "counts": [0, 0, 70, 30]}
        ], "predictions": [{"name": "y", "bins": {"type": "numeric", "edges": [1.0, 2.0]}, "counts": [0, 0, 100, 0]}]}"#;
        let (signature, baseline) = (signature(3), serde_json::from_str::<Baseline>(stored).unwrap());
        assert_eq!(baseline.validate(&signature), Ok(()));
        let plan = Plan::new(&baseline, &signature);
        let mut counts = Counts::new(&plan);
        plan.count_rows(ndarray::aview2(&[[0.0, 0.0], [0.1, 1.0], [1.5, 2.0], [-0.1, 1.0], [1.6, 1.0]]), &mut counts);
        assert_eq!(counts.of(&plan.columns()[0]), [0, 1, 1, 2, 1]);
        assert_eq!(counts.of(&plan.columns()[1]), [0, 0, 3, 2]);
        let newer = stored.replacen('{', r#"{"format": 4, "#, 1);
        let error = serde_json::from_str::<Baseline>(&newer).unwrap_err().to_string();
        assert!(error.contains("format 4") && error.contains("upgrade weir"), "{error}");
    }

    #[test]
    fn a_later_time_is_no_drift() {
        let mut signature = signature(1);
        signature.features[0].kind = Kind::Time;
        let rows: Vec<_> = (0..200).map(|row| [1.7e9 + f64::from(row), 0.0]).collect();
        let baseline = fit(&signature, &rows);
        assert_eq!(baseline.validate(&signature), Ok(()));
        let plan = Plan::new(&baseline, &signature);
        let mut counts = Counts::new(&plan);
        let later = Array2::from_shape_fn((300, 2), |(row, column)| if column == 0 { 1.8e9 + row as f64 } else { 0.0 });
        plan.count_rows(later.view(), &mut counts);
        let column = &plan.columns()[0];
        assert_eq!((column.outside, plan.compare(column, counts.all()).psi), (None, Some(0.0)));
    }

    #[test]
    fn each_hour_has_counts_of_its_own() {
        let signature = signature(3);
        // 100 rows of c0 at midnight, 50 of c1 at noon, and one of c2 at one.
        let rows: Vec<_> = (0..151).map(|at| [f64::from(at), f64::from(at / 100 + at / 150)]).collect();
        let times: Vec<i64> = (0..151).map(|at| [0, 12, 1][(at / 100 + at / 150) as usize] * 3_600).collect();
        let flat = Array2::from_shape_fn((151, 2), |(row, column)| rows[row][column]);
        let outputs = Array2::from_shape_fn((60, 1), |(row, _)| row as f32);
        let noon = vec![12 * 3_600; 60];
        let by_hour = (flat.view(), &*times);
        let baseline = Baseline::fit_by(Cycle::Hour, &signature, by_hour, (outputs.view(), &noon));
        assert_eq!(baseline.validate(&signature), Ok(()));
        let c = &baseline.features[1];
        assert_eq!((c.periods.len(), c.counts.as_slice()), (24, [0, 1, 100, 50, 0].as_slice()));
        assert_eq!((&c.periods[0][..], &c.periods[12][..]), (&[0, 0, 100, 0, 0][..], &[0, 0, 0, 50, 0][..]));
        assert_eq!((&c.periods[1][..], &c.periods[5][..]), (&[0, 1, 0, 0, 0][..], &[0; 5][..]), "seen once: unknown");
        assert_eq!(baseline.predictions[0].periods[12], baseline.predictions[0].counts);
        let json = serde_json::to_string(&baseline).unwrap();
        assert!(json.starts_with(r#"{"format":3,"cycle":"hour","#), "{json}");
        assert_eq!(serde_json::from_str::<Baseline>(&json).unwrap(), baseline);
        let without = Baseline { cycle: None, ..baseline.clone() };
        let mut more = baseline;
        more.features[1].periods[0][2] += 1;
        for baseline in [without, more] {
            assert!(baseline.validate(&signature).is_err());
        }
    }

    #[test]
    fn impossible_baselines_are_refused() {
        let signature = signature(2);
        let good = fit(&signature, &[[1.0, 0.0], [2.0, 1.0], [3.0, 1.0]]);
        let categorical = |categories: &[&str], shared: Vec<usize>| Bins::Categorical {
            categories: categories.iter().map(|&name| name.into()).collect(),
            shared,
        };
        let breaks: [&dyn Fn(&mut Baseline); 10] = [
            &|baseline| baseline.features.truncate(1),
            &|baseline| baseline.features[0].name = "z".into(),
            &|baseline| baseline.features[0].bins = Bins::Numeric { edges: vec![2.0, 1.0, 3.0, 4.0] },
            &|baseline| baseline.features[0].bins = Bins::Classes,
            &|baseline| baseline.features[1].bins = categorical(&["c0", "zebra"], vec![]),
            &|baseline| baseline.features[1].bins = categorical(&["c1", "c0"], vec![]),
            &|baseline| baseline.features[1].bins = categorical(&[], vec![1, 2]),
            &|baseline| baseline.features[1].bins = categorical(&[], vec![2, 0]),
            &|baseline| baseline.features[1].counts.push(1),
            &|baseline| baseline.predictions.clear(),
        ];
        for (at, spoil) in breaks.into_iter().enumerate() {
            let mut baseline = good.clone();
            spoil(&mut baseline);
            assert!(baseline.validate(&signature).is_err(), "break {at}");
        }
    }
}
