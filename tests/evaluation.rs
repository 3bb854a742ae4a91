//! weir's metrics and scikit-learn's, of the same predictions: they must be the same numbers.

use std::collections::BTreeMap;

use ndarray::{Array2, Axis};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use weir::model::evaluation::{ClassDetail, Detail, Evaluation, Point};
use weir::train::evaluate::{Ranking, calibration, classification, regression};

use crate::support::tools::python;

/// How far the two may be apart, relative to the larger of 1 and scikit-learn's value.
const TOLERANCE: f64 = 1e-6;

struct Classified {
    classes: usize,
    actual: Vec<usize>,
    probabilities: Array2<f64>,
}

struct Regressed {
    actual: Array2<f64>,
    predicted: Array2<f64>,
}

#[test]
fn metrics_are_scikit_learns() {
    let mut rng = StdRng::seed_from_u64(1);
    let classified: Vec<Classified> = classifications(&mut rng);
    let regressed: Vec<Regressed> = regressions(&mut rng);
    let nested = |rows: &Array2<f64>| rows.axis_iter(Axis(0)).map(|row| row.to_vec()).collect::<Vec<_>>();
    let questions = json!({
        "classifications": classified.iter().map(|case| json!({
            "classes": case.classes, "actual": case.actual, "probabilities": nested(&case.probabilities),
        })).collect::<Vec<_>>(),
        "regressions": regressed.iter().map(|case| json!({
            "actual": nested(&case.actual), "predicted": nested(&case.predicted),
        })).collect::<Vec<_>>(),
    });
    let answers = python("evaluate.py", &[], &questions);

    for (index, (case, expected)) in classified.iter().zip(answers["classifications"].as_array().unwrap()).enumerate() {
        let what = format!("classification {index} ({} classes, {} rows)", case.classes, case.actual.len());
        compare_classification(case, expected, &what);
    }
    for (index, (case, expected)) in regressed.iter().zip(answers["regressions"].as_array().unwrap()).enumerate() {
        let what = format!("regression {index} ({:?})", case.actual.dim());
        let names: Vec<String> = (0..case.actual.ncols()).map(|output| output.to_string()).collect();
        let found = regression(&names, case.actual.view(), case.predicted.view());
        assert_metrics(&found.metrics, &expected["metrics"], &what);
        let Some(Detail::Regression { outputs }) = &found.detail else { panic!("{what}: {found:?}") };
        for (output, expected) in outputs.iter().zip(expected["outputs"].as_array().unwrap()) {
            assert_metrics(&output.metrics, expected, &format!("{what}, output {}", output.name));
        }
    }
}

fn compare_classification(case: &Classified, expected: &Value, what: &str) {
    let names: Vec<String> = (0..case.classes).map(|class| class.to_string()).collect();
    let found = classification(&names, &case.actual, case.probabilities.view());
    assert_metrics(&found.metrics, &expected["metrics"], what);
    let Some(Detail::Classification(detail)) = &found.detail else { panic!("{what}: {found:?}") };
    assert_eq!(json!(detail.confusion), expected["confusion"], "{what}");
    for (class, (detail, expected)) in detail.classes.iter().zip(expected["classes"].as_array().unwrap()).enumerate() {
        let what = format!("{what}, class {class}");
        assert_metrics(&metrics_of(detail), &expected["metrics"], &what);
        let positive: Vec<bool> = case.actual.iter().map(|&actual| actual == class).collect();
        let scores = case.probabilities.column(class).to_vec();
        let ranking = Ranking::new(&positive, &scores);
        assert_curve(ranking.roc_curve(), &expected["roc"], &format!("{what}: ROC"));
        assert_curve(ranking.precision_recall(), &expected["precision_recall"], &format!("{what}: precision, recall"));
        let bins = calibration(&positive, &scores).iter().map(|bin| [bin.predicted, bin.actual]).collect();
        assert_curve(Some(bins), &expected["calibration"], &format!("{what}: calibration"));
    }
    curves_keep_their_areas(&found, what);
}

/// What is kept of the curves must show what the exact ones do.
fn curves_keep_their_areas(evaluation: &Evaluation, what: &str) {
    let Some(Detail::Classification(detail)) = &evaluation.detail else { panic!("{what}: {evaluation:?}") };
    let area = |curve: &[Point]| curve.windows(2).map(|p| (p[1][0] - p[0][0]) * (p[0][1] + p[1][1]) / 2.0).sum::<f64>();
    assert_eq!(detail.curves.len(), if detail.classes.len() == 2 { 1 } else { detail.classes.len() }, "{what}");
    for curves in &detail.curves {
        let class = detail.classes.iter().find(|class| class.name == curves.class).unwrap();
        for (name, curve, exact) in
            [("ROC", &curves.roc, class.roc_auc), ("PR", &curves.precision_recall, class.average_precision)]
        {
            assert_eq!(curve.is_empty(), exact.is_none(), "{what}: {name}");
            assert!(curve.len() <= 300, "{what}: {name} has {} points", curve.len());
            let (found, exact) = (area(curve), exact.unwrap_or(0.0));
            assert!((found - exact).abs() < 2e-3, "{what}: the kept {name} curve's area is {found}, the exact {exact}");
        }
    }
}

fn metrics_of(class: &ClassDetail) -> BTreeMap<String, f64> {
    let ClassDetail { rows, precision, recall, f1, roc_auc, average_precision, .. } = class;
    let optional = [("roc_auc", *roc_auc), ("average_precision", *average_precision)];
    let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let always = [("rows", *rows as f64), ("precision", *precision), ("recall", *recall), ("f1", *f1)];
    always.into_iter().chain(optional).map(|(name, value)| (name.to_owned(), value)).collect()
}

fn assert_metrics(found: &BTreeMap<String, f64>, expected: &Value, what: &str) {
    let expected = expected.as_object().unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{what}");
    for (name, value) in found {
        assert_close(*value, expected[name].as_f64().unwrap(), &format!("{what}: {name}"));
    }
}

fn assert_curve(found: Option<Vec<Point>>, expected: &Value, what: &str) {
    let expected: Option<Vec<Point>> = serde_json::from_value(expected.clone()).unwrap();
    assert_eq!(found.as_ref().map(Vec::len), expected.as_ref().map(Vec::len), "{what}");
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert_close(found[0], expected[0], what);
        assert_close(found[1], expected[1], what);
    }
}

fn assert_close(found: f64, expected: f64, what: &str) {
    let bound = TOLERANCE * expected.abs().max(1.0);
    assert!((found - expected).abs() <= bound, "{what}: {found}, scikit-learn has {expected}");
}

/// Random probabilities of a skill between none and much, some of them with few distinct values, with classes that are
/// rare or absent; and predictors that are perfect, wrong, constant, or sure.
fn classifications(rng: &mut StdRng) -> Vec<Classified> {
    let mut cases = Vec::new();
    for classes in [2, 3, 10] {
        for round in 0..12 {
            let rows = [1, 2, 5, 30, 200, 400][round % 6];
            let skill = rng.random_range(0.0..4.0);
            // 1: equally common; higher: rarer and rarer.
            let imbalance = [1.0, 2.5][round / 6];
            let steps = [0.0, 10.0, 4.0][round % 3];
            let class =
                |rng: &mut StdRng| classes - 1 - (rng.random::<f64>().powf(imbalance) * classes as f64) as usize;
            let actual: Vec<usize> = (0..rows).map(|_| class(rng)).collect();
            let probabilities = probabilities(rng, classes, &actual, skill, steps);
            cases.push(Classified { classes, actual, probabilities });
        }
        let sure = |of: &dyn Fn(usize) -> usize| {
            Array2::from_shape_fn((60, classes), |(row, class)| f64::from(u8::from(class == of(row))))
        };
        let actual: Vec<usize> = (0..60).map(|row| row % classes).collect();
        let predictors: [Array2<f64>; 4] = [
            sure(&|row| row % classes),
            sure(&|row| (row + 1) % classes),
            sure(&|_| 0),
            Array2::from_elem((60, classes), 1.0 / classes as f64),
        ];
        for probabilities in predictors {
            cases.push(Classified { classes, actual: actual.clone(), probabilities });
        }
        for only in [0, classes - 1] {
            let actual = vec![only; 25];
            let probabilities = probabilities(rng, classes, &actual, 0.5, 10.0);
            cases.push(Classified { classes, actual, probabilities });
        }
    }
    let actual: Vec<usize> = (0..20_000).map(|_| usize::from(rng.random_bool(0.2))).collect();
    let probabilities = probabilities(rng, 2, &actual, 1.5, 0.0);
    cases.push(Classified { classes: 2, actual, probabilities });
    cases
}

/// A softmax of noise that favours the actual class by `skill`; the second class's probability (of two) in so many
/// `steps`, if any.
fn probabilities(rng: &mut StdRng, classes: usize, actual: &[usize], skill: f64, steps: f64) -> Array2<f64> {
    let mut values = Array2::zeros((actual.len(), classes));
    for (mut row, &actual) in values.rows_mut().into_iter().zip(actual) {
        row.iter_mut().for_each(|value| *value = f64::exp(rng.random_range(-2.0..2.0)));
        row[actual] *= f64::exp(skill);
        let sum = row.sum();
        row /= sum;
        if classes == 2 && steps > 0.0 {
            row[1] = (row[1] * steps).round() / steps;
            row[0] = 1.0 - row[1];
        }
    }
    values
}

fn regressions(rng: &mut StdRng) -> Vec<Regressed> {
    let mut cases = Vec::new();
    for round in 0..12 {
        let shape = ([1, 2, 10, 500][round % 4], [1, 1, 3][round / 4]);
        let scale = f64::powi(10.0, rng.random_range(-3..7));
        let offset = rng.random_range(-5.0..5.0);
        let actual = Array2::from_shape_fn(shape, |_| (rng.random_range(-1.0..1.0) + offset) * scale);
        let noise = rng.random_range(0.0..2.0);
        let predicted = actual.mapv(|value| value + rng.random_range(-1.0..1.0) * noise * scale);
        cases.push(Regressed { actual, predicted });
    }
    let ramp = Array2::from_shape_fn((20, 1), |(row, _)| row as f64);
    let constant = Array2::from_elem((20, 1), 3.0);
    for (actual, predicted) in [(&ramp, &ramp), (&ramp, &constant), (&constant, &constant), (&constant, &ramp)] {
        cases.push(Regressed { actual: actual.clone(), predicted: predicted.clone() });
    }
    cases
}
