//! What the training data looked like: `baseline.json`.

use ndarray::{ArrayView1, ArrayView2};
use serde::{Deserialize, Serialize};

use super::bins::{Counts, Plan};
use crate::model::signature::{Feature, Kind, Signature, Target};

/// How many bins a numeric feature has between the smallest and the largest training value: deciles.
pub(super) const INNER_BINS: usize = 10;

/// How many categories have a bin of their own; the rest share one.
const MAX_CATEGORIES: usize = 20;

/// Bins and frequencies of the training data, per feature and for the predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// One per feature, in signature order.
    pub features: Vec<Histogram>,
    /// What the model answers for the training data: one for the class, or one per output of a regression.
    pub predictions: Vec<Histogram>,
}

/// The bins of one feature or output, and how many training rows fell into each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Histogram {
    /// The feature, or the target.
    pub name: String,
    /// Where one bin ends and the next begins.
    pub bins: Bins,
    /// One count per bin, in the order that [`Bins`] says.
    pub counts: Vec<u64>,
}

/// How values fall into bins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Bins {
    /// Bins in this order: missing, below the first edge, between the edges, above the last edge.
    Numeric {
        /// The smallest training value, its deciles and the largest one, each once: the first inner bin is
        /// `[e0, e1]`, the others `(e1, e2]` and so on. Where a tenth or more of the values are the smallest one, the
        /// first two edges are equal, and that value has a bin of its own. Empty where training had no value; a
        /// number then counts as above.
        edges: Vec<f64>,
    },
    /// Bins in this order: missing, unknown, one per category, and one for all others if there are any.
    Categorical {
        /// The most frequent categories in training, in signature order.
        categories: Vec<String>,
    },
    /// One bin per class, in signature order.
    Classes,
}

impl Baseline {
    /// The baseline of a training set.
    ///
    /// `rows`: n × features, decoded as [`crate::record`] describes it, gaps included. `outputs`: n × outputs, what
    /// the model answers for them: probabilities, or numbers.
    pub fn fit(signature: &Signature, rows: ArrayView2<'_, f64>, outputs: ArrayView2<'_, f32>) -> Baseline {
        let features = signature.features.iter().zip(rows.columns());
        let features = features.map(|(feature, column)| empty(&feature.name, feature_bins(feature, column))).collect();
        let predictions = match &signature.target {
            Target::Classification { name, .. } => vec![empty(name, Bins::Classes)],
            Target::Regression { names } => {
                let columns = names.iter().zip(outputs.columns());
                columns.map(|(name, column)| empty(name, numeric(column.iter().map(|&y| f64::from(y))))).collect()
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
                Kind::Numeric => Values::Numbers,
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
                let ascending = match edges.as_slice() {
                    [] => true,
                    [_] => false,
                    [first, rest @ ..] => first <= &rest[0] && rest.windows(2).all(|pair| pair[0] < pair[1]),
                };
                if !ascending || edges.len() > INNER_BINS + 1 || edges.iter().any(|edge| !edge.is_finite()) {
                    return Err(format!("the baseline of {name:?} has edges that can't be: {edges:?}"));
                }
                edges.len().saturating_sub(1) + 3
            }
            (Bins::Categorical { categories }, Values::OneOf(all)) => {
                let in_order = categories.iter().map(|category| all.iter().position(|other| other == category));
                if in_order.clone().any(|at| at.is_none()) || !in_order.is_sorted_by(|a, b| a < b) {
                    return Err(format!("the baseline of {name:?} has categories that the signature doesn't have"));
                }
                2 + categories.len() + usize::from(categories.len() < all.len())
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
        Kind::Numeric => numeric(column.iter().copied()),
        Kind::Categorical { categories, .. } => {
            let mut rows = vec![0_u64; categories.len()];
            for &value in column.iter().filter(|value| !value.is_nan()) {
                rows[value as usize] += 1;
            }
            let mut kept: Vec<usize> = (0..categories.len()).collect();
            kept.sort_by_key(|&category| std::cmp::Reverse(rows[category]));
            kept.truncate(MAX_CATEGORIES);
            kept.sort_unstable();
            Bins::Categorical { categories: kept.into_iter().map(|at| categories[at].clone()).collect() }
        }
    }
}

/// Edges at the deciles, as the smallest value that is not less than that tenth of the values: an edge is a value
/// that occurs, so a heap of equal values falls on one side of it.
fn numeric(values: impl Iterator<Item = f64>) -> Bins {
    // Adding zero makes 0 of -0, which is equal to it but looks different.
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).map(|value| value + 0.0).collect();
    values.sort_unstable_by(f64::total_cmp);
    let Some(&smallest) = values.first() else { return Bins::Numeric { edges: Vec::new() } };
    let mut edges: Vec<f64> =
        (1..=INNER_BINS).map(|tenths| values[(values.len() * tenths).div_ceil(INNER_BINS) - 1]).collect();
    edges.dedup();
    edges.insert(0, smallest);
    Bins::Numeric { edges }
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
        let mut rows: Vec<_> = (1..=100).map(|x| [f64::from(x), f64::from(x % 2)]).collect();
        rows.push([Gap::Missing.value(), Gap::Missing.value()]);
        rows.push([Gap::Missing.value(), Gap::Unknown.value()]);
        let baseline = fit(&signature, &rows);
        assert_eq!(baseline.validate(&signature), Ok(()));
        let [x, c] = baseline.features.as_slice() else { panic!("two features") };
        let edges = vec![1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0];
        assert_eq!(x.bins, Bins::Numeric { edges });
        assert_eq!(x.counts, [2, 0, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 0]);
        assert_eq!(c.counts, [1, 1, 50, 50]);
        assert_eq!(baseline.predictions[0].counts.iter().sum::<u64>(), 102);
        let json = serde_json::to_string(&baseline).unwrap();
        assert_eq!(serde_json::from_str::<Baseline>(&json).unwrap(), baseline);
    }

    #[test]
    fn heaps_of_equal_values_have_a_bin_of_their_own() {
        let signature = signature(1);
        let rain: Vec<_> = (0..100).map(|at| [if at < 95 { 0.0 } else { f64::from(at) }, 0.0]).collect();
        let baseline = fit(&signature, &rain);
        assert_eq!(baseline.features[0].bins, Bins::Numeric { edges: vec![0.0, 0.0, 99.0] });
        assert_eq!(baseline.features[0].counts, [0, 0, 95, 5, 0]);
        let constant = fit(&signature, &[[7.0, 0.0]; 9]);
        assert_eq!(constant.features[0].counts, [0, 0, 9, 0]);
        let absent = fit(&signature, &[[Gap::Missing.value(), 0.0]]);
        assert_eq!(absent.features[0].counts, [1, 0, 0]);
        for baseline in [baseline, constant, absent] {
            assert_eq!(baseline.validate(&signature), Ok(()));
        }
    }

    #[test]
    fn rare_categories_share_a_bin() {
        let signature = signature(25);
        // The later a category the more frequent: c0 to c4 are the rare ones.
        let rows: Vec<_> = (0..25).flat_map(|at| vec![[0.0, f64::from(at)]; at as usize + 1]).collect();
        let baseline = fit(&signature, &rows);
        assert_eq!(baseline.validate(&signature), Ok(()));
        let Bins::Categorical { categories } = &baseline.features[1].bins else { panic!("categorical") };
        assert_eq!((categories.len(), categories[0].as_str()), (MAX_CATEGORIES, "c5"));
        assert_eq!(baseline.features[1].counts.last(), Some(&(1 + 2 + 3 + 4 + 5)));
    }

    #[test]
    fn impossible_baselines_are_refused() {
        let signature = signature(2);
        let good = fit(&signature, &[[1.0, 0.0], [2.0, 1.0], [3.0, 1.0]]);
        let breaks: [fn(&mut Baseline); 8] = [
            |baseline| baseline.features.truncate(1),
            |baseline| baseline.features[0].name = "z".into(),
            |baseline| baseline.features[0].bins = Bins::Numeric { edges: vec![2.0, 1.0, 3.0, 4.0] },
            |baseline| baseline.features[0].bins = Bins::Classes,
            |baseline| baseline.features[1].bins = Bins::Categorical { categories: vec!["c0".into(), "zebra".into()] },
            |baseline| baseline.features[1].bins = Bins::Categorical { categories: vec!["c1".into(), "c0".into()] },
            |baseline| baseline.features[1].counts.push(1),
            |baseline| baseline.predictions.clear(),
        ];
        for (at, spoil) in breaks.into_iter().enumerate() {
            let mut baseline = good.clone();
            spoil(&mut baseline);
            assert!(baseline.validate(&signature).is_err(), "break {at}");
        }
    }
}
