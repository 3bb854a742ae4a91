//! Fitting the preprocessing: what the training rows say about imputation, scale and categories.
//!
//! Everything here sees the training rows only. What it finds goes into the signature and the transforms, and from
//! then on [`Preprocess`](crate::model::preprocess::Preprocess) applies it, in training as in serving.

use ndarray::{Array2, ArrayView1};

use super::TrainError;
use super::dataset::{Column, Table};
use super::recipe::{Impute, Recipe};
use crate::model::preprocess::{Step, Transform};
use crate::model::signature::{Feature, Kind, Missing, Unknown};
use crate::record::Gap;

/// The features of the signature and their transforms, from the training rows.
///
/// The rows must not lack values if the recipe rejects those.
pub(super) fn fit(table: &Table, recipe: &Recipe) -> Result<(Vec<Feature>, Vec<Transform>), TrainError> {
    let fit_one = |(column, values)| fit_column(column, values, recipe.impute, recipe.unknown);
    table.features.iter().zip(table.rows.columns()).map(fit_one).collect()
}

fn fit_column(
    column: &Column,
    values: ArrayView1<'_, f64>,
    impute: Impute,
    unknown: Unknown,
) -> Result<(Feature, Transform), TrainError> {
    let present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    if present.is_empty() {
        return Err(TrainError::NoValues { feature: column.name.clone() });
    }
    let (kind, missing, transform) = match &column.categories {
        Some(categories) => {
            let mut seen = vec![false; categories.len()];
            present.iter().for_each(|&category| seen[category as usize] = true);
            let categories = categories.iter().zip(seen).filter(|(_, seen)| *seen).map(|(name, _)| name.clone());
            let missing = if impute == Impute::Reject { Missing::Reject } else { Missing::Zeros };
            (Kind::Categorical { categories: categories.collect(), unknown }, missing, Transform::OneHot)
        }
        None => {
            let missing = match impute {
                Impute::Mean => Missing::Mean { value: mean(&present) },
                Impute::Median => Missing::Median { value: median(&present) },
                Impute::Constant(value) => Missing::Constant { value },
                Impute::Reject => Missing::Reject,
            };
            let step = standardize(&values, missing);
            let step = step.ok_or_else(|| TrainError::TooLarge { feature: column.name.clone() })?;
            (Kind::Numeric, missing, Transform::Numeric { steps: vec![step], indicator: false })
        }
    };
    Ok((Feature { name: column.name.clone(), kind, missing }, transform))
}

/// Mean and deviation of the column as the network will see it, that is after imputation; `None` if they aren't finite.
fn standardize(values: &ArrayView1<'_, f64>, missing: Missing) -> Option<Step> {
    let fill = missing.fill().unwrap_or(f64::NAN);
    let filled: Vec<f64> = values.iter().map(|&value| if value.is_nan() { fill } else { value }).collect();
    let (mean, std) = mean_and_std(&filled);
    (mean.is_finite() && std.is_finite()).then_some(Step::Standardize { mean, std })
}

/// Mean and population standard deviation; 1 for the latter where the values are constant but for rounding, by the
/// bound that scikit-learn's `StandardScaler` takes for the rounding.
pub(super) fn mean_and_std(values: &[f64]) -> (f64, f64) {
    let (n, mean) = (values.len() as f64, mean(values));
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
    let rounding = n * f64::EPSILON * variance + (n * mean * f64::EPSILON).powi(2);
    (mean, if variance <= rounding { 1.0 } else { variance.sqrt() })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The middle value, or the mean of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// The rows of a table as a codec would decode them for these features: columns by name, categories by the features'
/// own lists.
pub(super) fn decode(table: &Table, features: &[Feature]) -> Result<Array2<f64>, TrainError> {
    let mut rows = Array2::zeros((table.len(), features.len()));
    for (feature, mut to) in features.iter().zip(rows.columns_mut()) {
        let Some(at) = table.features.iter().position(|column| column.name == feature.name) else {
            return Err(TrainError::NoFeature { feature: feature.name.clone() });
        };
        let from = table.rows.column(at);
        match (&feature.kind, &table.features[at].categories) {
            (Kind::Numeric, None) => to.assign(&from),
            (Kind::Categorical { categories, .. }, Some(names)) => {
                let index = |name| categories.iter().position(|category| category == name);
                let known = |name| index(name).map_or(Gap::Unknown.value(), |index| index as f64);
                let translated: Vec<f64> = names.iter().map(known).collect();
                let translate = |&value: &f64| if value.is_nan() { value } else { translated[value as usize] };
                to.assign(&from.map(translate));
            }
            _ => return Err(TrainError::OtherKind { feature: feature.name.clone() }),
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::train::dataset::{Target, TargetValues};

    const GAP: f64 = Gap::Missing.value();

    fn table(rows: Array2<f64>) -> Table {
        let colours = ["blue", "green", "red"].map(String::from).to_vec();
        Table {
            features: vec![
                Column { name: "x".into(), categories: None },
                Column { name: "colour".into(), categories: Some(colours) },
            ],
            target: Target { name: "y".into(), values: TargetValues::Numbers(vec![0.0; rows.nrows()]) },
            rows,
            times: None,
            without_target: 0,
        }
    }

    #[test]
    fn imputation_comes_before_the_scale() {
        // from sklearn.impute import SimpleImputer; from sklearn.preprocessing import StandardScaler
        // x = np.array([[1], [np.nan], [2], [9]])
        // for kw in dict(strategy="mean"), dict(strategy="median"), dict(strategy="constant", fill_value=-3):
        //     i = SimpleImputer(**kw).fit(x); s = StandardScaler().fit(i.transform(x)); print(i.statistics_, s.mean_, s.scale_)
        let table = table(array![[1.0, 0.0], [GAP, 0.0], [2.0, 0.0], [9.0, 0.0]]);
        let cases = [
            (Impute::Mean, Missing::Mean { value: 4.0 }, 4.0, 3.082_207_001_484_488),
            (Impute::Median, Missing::Median { value: 2.0 }, 3.5, 3.201_562_118_716_424_3),
            (Impute::Constant(-3.0), Missing::Constant { value: -3.0 }, 2.25, 4.322_904_116_447_645),
        ];
        for (impute, missing, mean, std) in cases {
            let (features, transforms) = fit(&table, &Recipe { impute, ..Recipe::default() }).unwrap();
            assert_eq!(features[0].missing, missing);
            let Transform::Numeric { steps, .. } = &transforms[0] else { panic!() };
            let [Step::Standardize { mean: found_mean, std: found_std }] = **steps else { panic!() };
            assert_eq!(found_mean, mean);
            assert!((found_std - std).abs() < 1e-12, "{impute}: {found_std}");
        }
    }

    #[test]
    fn a_constant_column_keeps_its_scale() {
        assert_eq!(mean_and_std(&[0.1; 1000]).1, 1.0);
        assert_eq!(mean_and_std(&[1e9, 1e9 + 1.0]), (1e9 + 0.5, 0.5));
    }

    #[test]
    fn categories_are_those_of_the_training_rows() {
        let all = table(array![[1.0, 2.0], [2.0, 0.0], [3.0, 2.0], [GAP, 1.0], [5.0, GAP]]);
        let (features, _) = fit(&all.select(&[0, 1, 2]), &Recipe::default()).unwrap();
        let Kind::Categorical { categories, .. } = &features[1].kind else { panic!() };
        assert_eq!(categories, &["blue", "red"]);
        let rows = decode(&all, &features).unwrap();
        assert_eq!(rows.column(1).to_vec()[..3], [1.0, 0.0, 1.0]);
        assert_eq!(Gap::of(rows[[3, 1]]), Some(Gap::Unknown));
        assert_eq!(Gap::of(rows[[4, 1]]), Some(Gap::Missing));
        assert_eq!(Gap::of(rows[[3, 0]]), Some(Gap::Missing));
    }

    #[test]
    fn a_column_that_says_nothing_is_an_error() {
        let empty = fit(&table(array![[GAP, 0.0], [GAP, 0.0]]), &Recipe::default());
        assert!(matches!(empty, Err(TrainError::NoValues { feature }) if feature == "x"));
        let huge = fit(&table(array![[f64::MAX, 0.0], [f64::MAX, 0.0]]), &Recipe::default());
        assert!(matches!(huge, Err(TrainError::TooLarge { feature }) if feature == "x"));
    }
}
