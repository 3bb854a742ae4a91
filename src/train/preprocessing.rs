//! Fitting the preprocessing: what the training rows say about imputation, outliers, scale and categories.
//!
//! Everything here sees the training rows only. What it finds goes into the signature and the transforms, and from
//! then on [`Preprocess`](crate::model::preprocess::Preprocess) applies it, in training as in serving.

use ndarray::ArrayView1;

use super::TrainError;
use super::dataset::{Column, Table};
use super::preparation::{Impute, Preparation, Scale};
use crate::model::preprocess::{DatePart, Part, Step, Transform};
use crate::model::signature::{Feature, Kind, Missing, Unknown};

/// The features of the signature and their transforms, from the training rows.
///
/// The rows must not lack values if such rows are to be left out.
pub(super) fn fit(table: &Table, preparation: &Preparation) -> Result<(Vec<Feature>, Vec<Transform>), TrainError> {
    check_columns(table, preparation)?;
    let fit_one = |(column, values): (&Column, ArrayView1<'_, f64>)| {
        if values.iter().all(|value| value.is_nan()) {
            return Err(TrainError::NoValues { feature: column.name.clone() });
        }
        if let Some(parts) = preparation.datetime.get(&column.name) {
            return Ok(fit_time(&column.name, values, parts, preparation));
        }
        match &column.categories {
            Some(categories) => Ok(fit_categories(&column.name, categories, values, preparation)),
            None => fit_numbers(&column.name, values, preparation),
        }
    };
    table.features.iter().zip(table.rows.columns()).map(fit_one).collect()
}

/// What is said for a column is said for one that there is, and of its kind.
fn check_columns(table: &Table, preparation: &Preparation) -> Result<(), TrainError> {
    let column = |option: &str, name: &str| {
        let found = table.features.iter().find(|column| column.name == name);
        found.ok_or_else(|| TrainError::Recipe(format!("{option}: there is no feature {name:?}")))
    };
    let of_numbers = preparation.log1p.iter().map(|name| ("--log1p", name));
    for (option, name) in of_numbers.chain(preparation.clip_columns.keys().map(|name| ("--clip", name))) {
        if column(option, name)?.categories.is_some() {
            let problem = format!("{option}: column {name:?} is categorical (if it shouldn't be: --numeric {name})");
            return Err(TrainError::Recipe(problem));
        }
    }
    preparation.datetime.keys().try_for_each(|name| column("--datetime", name).map(drop))?;
    for (name, impute) in &preparation.impute_columns {
        let checked = match column("--impute", name)?.categories {
            Some(_) => impute.of_categories(),
            None => impute.of_numbers().map(|_| ()),
        };
        checked.map_err(|problem| TrainError::Recipe(format!("--impute {name}={impute}: {problem}")))?;
    }
    Ok(())
}

fn fit_numbers(
    name: &str,
    values: ArrayView1<'_, f64>,
    preparation: &Preparation,
) -> Result<(Feature, Transform), TrainError> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    let (mean_of_present, lacking) = (mean(&sorted), sorted.len() < values.len());
    sorted.sort_unstable_by(f64::total_cmp);
    let named = preparation.impute_columns.get(name);
    let impute = named.unwrap_or(&preparation.impute);
    let missing = match impute {
        _ if preparation.dropna || is_required(lacking, named) => Missing::Reject,
        Impute::Mean => Missing::Mean { value: mean_of_present },
        Impute::Median => Missing::Median { value: median(&sorted) },
        Impute::MostFrequent => Missing::MostFrequent { value: most_frequent(&sorted) },
        Impute::Constant(_) | Impute::Zeros => {
            let problem = |problem| TrainError::Recipe(format!("--impute {impute}: {problem}"));
            Missing::Constant { value: impute.of_numbers().map_err(problem)?.unwrap_or_default() }
        }
    };

    // Each step is fitted to what the steps before it made of the column.
    let fill = missing.fill().unwrap_or(f64::NAN);
    let mut numbers: Vec<f64> = values.iter().map(|&value| if value.is_nan() { fill } else { value }).collect();
    let mut steps = Vec::new();
    let mut take = |step: Step, numbers: &mut Vec<f64>| {
        numbers.iter_mut().for_each(|number| *number = step.apply(*number));
        steps.push(step);
    };
    let too_large = || TrainError::TooLarge { feature: name.to_owned() };
    if let Some(quantiles) = preparation.clip_columns.get(name).or(preparation.clip.as_ref()) {
        let (low, high) = (quantile(&sorted, quantiles.low), quantile(&sorted, quantiles.high));
        if low.is_nan() || high.is_nan() {
            return Err(too_large());
        }
        take(Step::Clip { low, high }, &mut numbers);
    }
    if preparation.log1p.iter().any(|column| column == name) {
        if let Some(&value) = numbers.iter().find(|&&number| number <= -1.0) {
            return Err(TrainError::Log1p { feature: name.to_owned(), value });
        }
        take(Step::Log1p, &mut numbers);
    }
    match preparation.scale {
        Scale::Standard => {
            let (mean, std) = mean_and_std(&numbers);
            take(Step::Standardize { mean, std }, &mut numbers);
        }
        Scale::MinMax => take(min_max(&numbers), &mut numbers),
        Scale::None => {}
    }
    if !numbers.iter().all(|&number| (number as f32).is_finite()) {
        return Err(too_large());
    }
    let feature = Feature { name: name.to_owned(), kind: Kind::Numeric, missing };
    Ok((feature, Transform::Numeric { steps, indicator: preparation.indicator && lacking }))
}

/// The parts of a date: those of a few values become a column each, as categories do, the others are scaled numbers.
fn fit_time(
    name: &str,
    values: ArrayView1<'_, f64>,
    parts: &[DatePart],
    preparation: &Preparation,
) -> (Feature, Transform) {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let rejects = preparation.dropna || is_required(sorted.len() < values.len(), preparation.impute_columns.get(name));
    // A mean of times is no time that there was.
    let missing = if rejects { Missing::Reject } else { Missing::Median { value: sorted[sorted.len() / 2] } };
    let part = |&part: &DatePart| {
        let mut steps = vec![Step::Date { part }];
        if let Some((least, most)) = part.range() {
            return Part::Bins { steps, edges: (least + 1..=most).map(f64::from).collect() };
        }
        let numbers: Vec<f64> = sorted.iter().map(|&time| steps[0].apply(time)).collect();
        match preparation.scale {
            Scale::Standard => {
                let (mean, std) = mean_and_std(&numbers);
                steps.push(Step::Standardize { mean, std });
            }
            Scale::MinMax => steps.push(min_max(&numbers)),
            Scale::None => {}
        }
        Part::Number { steps }
    };
    let transform = Transform::Several { parts: parts.iter().map(part).collect() };
    (Feature { name: name.to_owned(), kind: Kind::Time, missing }, transform)
}

fn fit_categories(
    name: &str,
    categories: &[String],
    values: ArrayView1<'_, f64>,
    preparation: &Preparation,
) -> (Feature, Transform) {
    // A category and how many rows have it, once what is missing is imputed.
    let mut counted: Vec<(&str, usize)> = categories.iter().map(|category| (category.as_str(), 0)).collect();
    let mut lacking = 0;
    for &value in values {
        match value.is_nan() {
            true => lacking += 1,
            false => counted[value as usize].1 += 1,
        }
    }
    let named = preparation.impute_columns.get(name);
    let impute = named.unwrap_or(&preparation.impute_categories);
    let rejects = preparation.dropna || is_required(lacking > 0, named);
    let fill = match impute {
        _ if rejects => None,
        Impute::MostFrequent => counted.iter().rev().max_by_key(|(_, rows)| rows).map(|(category, _)| *category),
        Impute::Constant(category) => Some(category.as_str()),
        Impute::Mean | Impute::Median | Impute::Zeros => None,
    };
    if let Some(fill) = fill {
        match counted.iter_mut().find(|(category, _)| *category == fill) {
            Some((_, rows)) => *rows += lacking,
            None => counted.insert(counted.partition_point(|(category, _)| *category < fill), (fill, lacking)),
        }
    }
    counted.retain(|&(category, rows)| rows > 0 || fill == Some(category));

    let mut unknown = preparation.unknown;
    if let Some(most) = preparation.max_categories.filter(|&most| counted.len() >= most) {
        unknown = Unknown::Other;
        keep_most_frequent(&mut counted, most - 1, fill);
    }
    let missing = match fill.and_then(|fill| counted.iter().position(|(category, _)| *category == fill)) {
        Some(index) => Missing::Category { index },
        None if rejects => Missing::Reject,
        None => Missing::Zeros,
    };
    let categories = counted.into_iter().map(|(category, _)| category.to_owned()).collect();
    (Feature { name: name.to_owned(), kind: Kind::Categorical { categories, unknown }, missing }, Transform::OneHot)
}

/// Whether records must have a column: it had no gaps in the training rows, so the model has never seen what an imputed
/// value means, and nobody named it to be imputed all the same.
fn is_required(lacking: bool, named: Option<&Impute>) -> bool {
    !lacking && named.is_none()
}

/// Of equally frequent categories the later ones stay, as in scikit-learn; `fill` stays in any case, since what is
/// missing becomes that.
fn keep_most_frequent(counted: &mut Vec<(&str, usize)>, most: usize, fill: Option<&str>) {
    let mut order: Vec<usize> = (0..counted.len()).collect();
    order.sort_by_key(|&at| (fill == Some(counted[at].0), counted[at].1));
    let rare = &order[..counted.len().saturating_sub(most)];
    let mut at = 0..;
    counted.retain(|_| at.next().is_some_and(|at| !rare.contains(&at)));
}

/// From the least of the numbers to the most; a range of rounding errors counts as none, by scikit-learn's bound.
fn min_max(numbers: &[f64]) -> Step {
    let min = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let max = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let is_constant = max - min < 10.0 * f64::EPSILON;
    Step::MinMax { min, max: if is_constant { (min + 1.0).max(min.next_up()) } else { max } }
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

/// The middle of sorted values, or the mean of the two in the middle.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// The most frequent of sorted values, and the least of several.
fn most_frequent(sorted: &[f64]) -> f64 {
    let runs = sorted.chunk_by(|a, b| a == b);
    runs.fold((0, f64::NAN), |best, run| if run.len() > best.0 { (run.len(), run[0]) } else { best }).1
}

/// A quantile of sorted values, between two of them linearly, as numpy rounds it.
fn quantile(sorted: &[f64], quantile: f64) -> f64 {
    let place = quantile * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    let part = place.fract();
    if part < 0.5 { below + (above - below) * part } else { above - (above - below) * (1.0 - part) }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;
    use crate::record::Gap;
    use crate::train::dataset::examples::decode;
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
            (Impute::Constant("-3".into()), Missing::Constant { value: -3.0 }, 2.25, 4.322_904_116_447_645),
        ];
        for (impute, missing, mean, std) in cases {
            let (features, transforms) =
                fit(&table, &Preparation { impute: impute.clone(), ..Preparation::default() }).unwrap();
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
        let (features, _) = fit(&all.select(&[0, 1, 2]), &Preparation::default()).unwrap();
        let Kind::Categorical { categories, .. } = &features[1].kind else { panic!() };
        assert_eq!(categories, &["blue", "red"]);
        let rows = decode(&all.features, all.rows.view(), &features).unwrap();
        assert_eq!(rows.column(1).to_vec()[..3], [1.0, 0.0, 1.0]);
        assert_eq!(Gap::of(rows[[3, 1]]), Some(Gap::Unknown));
        assert_eq!(Gap::of(rows[[4, 1]]), Some(Gap::Missing));
        assert_eq!(Gap::of(rows[[3, 0]]), Some(Gap::Missing));
    }

    #[test]
    fn a_column_without_gaps_is_required_unless_it_is_named() {
        let full = table(array![[1.0, 0.0], [2.0, 2.0], [9.0, 0.0]]);
        let gappy = table(array![[1.0, 0.0], [GAP, GAP], [9.0, 0.0]]);
        let general =
            Preparation { impute: Impute::Median, impute_categories: Impute::MostFrequent, ..Preparation::default() };
        let missing = |table: &Table, preparation: &Preparation| {
            let (features, _) = fit(table, preparation).unwrap();
            [features[0].missing, features[1].missing]
        };
        assert_eq!(missing(&full, &general), [Missing::Reject; 2]);
        assert_eq!(missing(&gappy, &general), [Missing::Median { value: 5.0 }, Missing::Category { index: 0 }]);
        for (column, expected) in [
            ("x", [Missing::Median { value: 2.0 }, Missing::Reject]),
            ("colour", [Missing::Reject, Missing::Category { index: 0 }]),
        ] {
            let named = if column == "x" { Impute::Median } else { Impute::MostFrequent };
            let preparation = Preparation { impute_columns: [(column.into(), named)].into(), ..Preparation::default() };
            assert_eq!(missing(&full, &preparation), expected, "{column}");
        }
        // A category that is filled in is one of the model's only if something is filled in.
        let constant = Preparation { impute_categories: Impute::Constant("none".into()), ..Preparation::default() };
        let categories = |table: &Table| fit(table, &constant).unwrap().0.swap_remove(1).kind;
        let named = |names: &[&str]| Kind::Categorical {
            categories: names.iter().map(ToString::to_string).collect(),
            unknown: Unknown::Zeros,
        };
        assert_eq!(categories(&full), named(&["blue", "red"]));
        assert_eq!(categories(&gappy), named(&["blue", "none"]));
    }

    #[test]
    fn a_column_that_says_nothing_is_an_error() {
        let empty = fit(&table(array![[GAP, 0.0], [GAP, 0.0]]), &Preparation::default());
        assert!(matches!(empty, Err(TrainError::NoValues { feature }) if feature == "x"));
        let huge = fit(&table(array![[f64::MAX, 0.0], [f64::MAX, 0.0]]), &Preparation::default());
        assert!(matches!(huge, Err(TrainError::TooLarge { feature }) if feature == "x"));
    }
}
