//! What the training data looked like: `baseline.json`.

use ndarray::{ArrayView1, ArrayView2};
use serde::{Deserialize, Serialize};

use super::bins::{Counts, Plan, category_bins};
use super::edges::{MAX_BINS, edges};
use super::levels::{levels, without_singleton};
use crate::model::signature::{Feature, Kind, Signature, Target};

/// The format of `baseline.json` that is written. Format 1, which didn't state its number, had closed first bins and
/// one bin for all rare categories.
const FORMAT: u32 = 2;

/// Bins and frequencies of the training data, per feature and for the predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredBaseline", into = "StoredBaseline")]
pub struct Baseline {
    /// One per feature, in signature order.
    pub features: Vec<Histogram>,
    /// What the model answers for rows that it wasn't trained on: one for the class, or one per output of a regression.
    pub predictions: Vec<Histogram>,
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
        let mut baseline = Baseline { features, predictions };
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
            if let (Bins::Categorical { categories, shared }, Kind::Categorical { categories: all, .. }) =
                (&histogram.bins, &feature.kind)
            {
                let bins = category_bins(categories, shared, all);
                for (bin, rows) in bins.into_iter().zip(rows_by_category(all.len(), column)) {
                    let lent = rows - without_singleton(rows);
                    histogram.counts[bin] -= lent;
                    histogram.counts[UNKNOWN] += lent;
                }
            }
        }
        baseline
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
            histogram.validate(match &feature.kind {
                Kind::Numeric | Kind::Time => Values::Numbers,
                Kind::Categorical { categories, .. } => Values::OneOf(categories),
            })?;
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
        self.predictions.iter().zip(predictions).try_for_each(|(histogram, values)| histogram.validate(values))
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
    features: Vec<Histogram>,
    predictions: Vec<Histogram>,
}

fn first_format() -> u32 {
    1
}

impl From<Baseline> for StoredBaseline {
    fn from(Baseline { features, predictions }: Baseline) -> StoredBaseline {
        StoredBaseline { format: FORMAT, features, predictions }
    }
}

impl TryFrom<StoredBaseline> for Baseline {
    type Error = String;

    fn try_from(stored: StoredBaseline) -> Result<Baseline, String> {
        let StoredBaseline { format, features, predictions } = stored;
        let mut baseline = Baseline { features, predictions };
        match format {
            FORMAT => {}
            // The first bin was [lower, upper].
            1 => baseline.features.iter_mut().chain(&mut baseline.predictions).for_each(|histogram| {
                if let Bins::Numeric { edges } = &mut histogram.bins
                    && let Some(first) = edges.first_mut()
                {
                    *first = first.next_down().max(f64::MIN);
                }
            }),
            _ => return Err(format!("it has format {format}, and this weir reads up to {FORMAT}: upgrade weir")),
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
    fn validate(&self, values: Values<'_>) -> Result<(), String> {
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
        match self.counts.iter().try_fold(0_u64, |sum, &count| sum.checked_add(count)) {
            Some(_) => Ok(()),
            None => Err(format!("the baseline of {name:?} counts more rows than there can be")),
        }
    }
}

fn empty(name: &str, bins: Bins) -> Histogram {
    Histogram { name: name.to_owned(), bins, counts: Vec::new() }
}

fn feature_bins(feature: &Feature, column: ArrayView1<'_, f64>) -> Bins {
    match &feature.kind {
        Kind::Numeric => Bins::Numeric { edges: edges(column.iter().copied()) },
        // A later time is no drift.
        Kind::Time => Bins::Numeric { edges: Vec::new() },
        Kind::Categorical { categories, .. } => {
            let levels = levels(&rows_by_category(categories.len(), column));
            let own = levels.own.into_iter().map(|at| categories[at].clone()).collect();
            Bins::Categorical { categories: own, shared: levels.shared }
        }
    }
}

fn rows_by_category(categories: usize, column: ArrayView1<'_, f64>) -> Vec<u64> {
    let mut rows = vec![0; categories];
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
        let newer = stored.replacen('{', r#"{"format": 3, "#, 1);
        let error = serde_json::from_str::<Baseline>(&newer).unwrap_err().to_string();
        assert!(error.contains("format 3") && error.contains("upgrade weir"), "{error}");
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
