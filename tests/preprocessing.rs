//! What weir makes of features and what scikit-learn makes of them: the same columns, fitted on the same rows, and never
//! on test rows.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use weir::limits::Limits;
use weir::model::bundle::Draft;
use weir::model::preprocess::Preprocess;
use weir::train::dataset::{Columns, Examples, Table};
use weir::train::preparation::{Impute, Preparation, Quantiles, Scale};
use weir::train::split::Split;
use weir::train::{Recipe, fit};

use crate::support::tools::python;

/// How far the two may be apart, relative to the larger of 1 and scikit-learn's value: weir rounds to f32 at last.
const TOLERANCE: f64 = 1e-6;

const NUMBERS: [&str; 3] = ["age", "fare", "steady"];
const CATEGORIES: [&str; 2] = ["port", "deck"];

/// Each option, and what may disturb another.
fn preparations() -> [Preparation; 8] {
    let text = |text: &str| text.parse::<Impute>().unwrap();
    let plain = plain();
    [
        plain.clone(),
        Preparation { dropna: true, ..plain.clone() },
        Preparation { impute: Impute::Median, scale: Scale::MinMax, ..plain.clone() },
        Preparation {
            impute: Impute::MostFrequent,
            impute_categories: Impute::MostFrequent,
            scale: Scale::None,
            indicator: true,
            ..plain.clone()
        },
        Preparation {
            impute: text("constant:-0.5"),
            impute_categories: text("constant:nowhere"),
            indicator: true,
            log1p: vec!["fare".into(), "age".into()],
            ..plain.clone()
        },
        Preparation {
            clip: Some(Quantiles { low: 0.05, high: 0.93 }),
            log1p: vec!["fare".into()],
            scale: Scale::MinMax,
            impute_categories: Impute::MostFrequent,
            max_categories: Some(5),
            ..plain.clone()
        },
        // As many as there are, and one more.
        Preparation { impute_categories: text("constant:d03"), max_categories: Some(12), ..plain.clone() },
        Preparation { impute_categories: text("constant:d03"), max_categories: Some(13), ..plain.clone() },
    ]
}

#[test]
fn features_become_what_scikit_learn_makes_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    let train = passengers(folder.path().join("train.csv"), 400, 12, &mut rng);
    // The test rows have categories that the training rows don't, and numbers far outside their range.
    let test = passengers(folder.path().join("test.csv"), 100, 15, &mut rng);

    let cases = preparations();
    let question = json!({
        "train": train, "test": test, "numbers": NUMBERS, "categories": CATEGORIES,
        "cases": cases.iter().map(|case| json!(case)).collect::<Vec<_>>(),
    });
    let answers = python("preprocess.py", &[], &question);
    for (case, expected) in cases.iter().zip(answers.as_array().unwrap()) {
        let found = matrix(&train, &test, case);
        let expected = expected.as_array().unwrap();
        assert_eq!(found.len(), expected.len(), "{case:?}");
        for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
            let expected: Vec<f64> = expected.as_array().unwrap().iter().map(|cell| cell.as_f64().unwrap()).collect();
            assert_eq!(found.len(), expected.len(), "{case:?}");
            for (column, (&found, expected)) in found.iter().zip(expected).enumerate() {
                let apart = (f64::from(found) - expected).abs();
                let what = format!("{case:?}, row {row}, column {column}: {found}, scikit-learn has {expected}");
                assert!(apart <= TOLERANCE * expected.abs().max(1.0), "{what}");
            }
        }
    }
}

#[test]
fn one_column_may_be_treated_otherwise_than_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let train = passengers(folder.path().join("train.csv"), 200, 5, &mut StdRng::seed_from_u64(2));
    let all = Preparation { impute: Impute::Median, clip: Some(Quantiles { low: 0.1, high: 0.9 }), ..plain() };
    let some = Preparation {
        impute_columns: BTreeMap::from([("age".into(), Impute::Median), ("port".into(), Impute::MostFrequent)]),
        clip_columns: BTreeMap::from([("age".into(), Quantiles { low: 0.1, high: 0.9 })]),
        ..plain()
    };
    let [plain, all, some] = [plain(), all, some].map(|preparation| fitted(&train, &preparation));
    let feature = |draft: &Draft, name: &str| {
        let at = draft.signature.features.iter().position(|feature| feature.name == name).unwrap();
        (draft.signature.features[at].clone(), draft.preprocessing[at].clone())
    };
    assert_eq!(feature(&some, "age"), feature(&all, "age"));
    assert_ne!(feature(&some, "age"), feature(&plain, "age"));
    for name in ["fare", "deck"] {
        assert_eq!(feature(&some, name), feature(&plain, name));
    }
    assert_ne!(feature(&some, "port").0.missing, feature(&plain, "port").0.missing);
}

/// One line of the data below.
#[derive(Clone, Debug)]
struct Line {
    x: Option<f64>,
    colour: Option<String>,
    class: &'static str,
}

/// Lines that have nothing in common with what trains: huge numbers, unheard-of colours, a class of their own.
fn strange_lines(count: usize) -> impl Strategy<Value = Vec<Line>> {
    let x = proptest::option::of(prop_oneof![-1e30..1e30_f64, Just(0.0), Just(f64::MAX), -1.0..1.0_f64]);
    let colour = proptest::option::of("[a-z]{1,3}");
    let class = prop_oneof![Just("yes"), Just("no"), Just("aardvark"), Just("zebra")];
    let line = (x, colour, class).prop_map(|(x, colour, class)| Line { x, colour, class });
    proptest::collection::vec(line, count)
}

const LINES: usize = 50;
const TEST_LINES: usize = 10;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// From the file to the weights: whatever stands in the test rows, the model is the same to the bit.
    #[test]
    fn test_rows_leave_no_trace(strange in strange_lines(TEST_LINES), by_time: bool, seed in 0..5_u64, capped: bool) {
        let split = match by_time {
            true => Split::Time { test_size: 0.2 },
            false => Split::Random { test_size: 0.2, seed },
        };
        let preparation = Preparation {
            indicator: true,
            clip: Some(Quantiles { low: 0.02, high: 0.98 }),
            impute_categories: Impute::MostFrequent,
            max_categories: capped.then_some(3),
            ..plain()
        };
        let folder = tempfile::tempdir().unwrap();
        let before = divided_and_fitted(folder.path(), &familiar_lines(), split, &preparation);
        prop_assert_eq!(before.2.len(), TEST_LINES);

        let mut lines = familiar_lines();
        before.2.iter().zip(strange).for_each(|(&line, strange)| lines[line] = strange);
        let after = divided_and_fitted(folder.path(), &lines, split, &preparation);
        prop_assert_eq!(&before.2, &after.2, "another split");
        let (before, after) = (before.0, after.0);
        prop_assert_eq!(&before.signature, &after.signature);
        prop_assert_eq!(&before.preprocessing, &after.preprocessing);
        prop_assert_eq!(&before.baseline.features, &after.baseline.features);
        let bits = |draft: &Draft| -> Vec<u32> {
            let numbers = |layer: &weir::engine::Layer| {
                let weights = layer.weights.to_f32().into_owned().into_iter();
                weights.chain(layer.bias.clone()).map(f32::to_bits).collect::<Vec<_>>()
            };
            draft.layers.iter().flat_map(numbers).collect()
        };
        prop_assert_eq!(bits(&before), bits(&after));
    }
}

fn familiar_lines() -> Vec<Line> {
    let line = |at: usize| Line {
        x: (!at.is_multiple_of(7)).then_some((at as f64 * 1.3).sin()),
        colour: (!at.is_multiple_of(11)).then(|| ["blue", "green", "red", "violet"][at * at % 4].to_owned()),
        class: if (at as f64 * 1.3).sin() > 0.2 { "yes" } else { "no" },
    };
    (0..LINES).map(line).collect()
}

/// The model, and which lines trained and tested.
fn divided_and_fitted(
    folder: &Path,
    lines: &[Line],
    split: Split,
    preparation: &Preparation,
) -> (Draft, Vec<usize>, Vec<usize>) {
    let mut csv = String::from("time,x,colour,class\n");
    for (at, Line { x, colour, class }) in lines.iter().enumerate() {
        let x = x.map_or(String::new(), |x| x.to_string());
        // Times in another order than the lines.
        let time = at * 17 % LINES;
        writeln!(csv, "{time},{x},{},{class}", colour.as_deref().unwrap_or("")).unwrap();
    }
    let path = folder.join("lines.csv");
    std::fs::write(&path, csv).unwrap();
    let columns = Columns { target: "class".into(), time: Some("time".into()), ..Columns::default() };
    let table = Table::read(&[path], &columns).unwrap();
    let (train, test) = split.divide(&table).unwrap();
    let lines = |table: &Table| {
        let line = |&time: &f64| (0..LINES).find(|line| line * 17 % LINES == time as usize).unwrap();
        table.times.as_ref().unwrap().rows.iter().map(line).collect::<Vec<_>>()
    };
    (trained(&train, &test, preparation), lines(&train), lines(&test))
}

fn plain() -> Preparation {
    Preparation::default()
}

fn trained(train: &Table, test: &Table, preparation: &Preparation) -> Draft {
    let recipe =
        Recipe { preparation: preparation.clone(), hidden_layer_sizes: vec![4], max_iter: 2, ..Recipe::default() };
    fit(train, test, &recipe, &mut |_| ControlFlow::Continue(())).unwrap().into_draft("m", [])
}

fn fitted(train: &Path, preparation: &Preparation) -> Draft {
    let columns = Columns { target: "y".into(), rare_categories: true, ..Columns::default() };
    let table = Table::read(&[train.into()], &columns).unwrap();
    trained(&table, &table.select(&[]), preparation)
}

/// The network's input for the rows of `test`, by a model of `train`.
fn matrix(train: &Path, test: &Path, preparation: &Preparation) -> Vec<Vec<f32>> {
    let draft = fitted(train, preparation);
    let preprocess = Preprocess::new(&draft.signature, &draft.preprocessing).unwrap();
    let examples = Examples::read(&[test.into()], &draft.signature, Limits::default()).unwrap();
    let input = |row: ndarray::ArrayView1<'_, f64>| {
        let mut input = vec![0.0; preprocess.width()];
        preprocess.apply(row.as_slice().unwrap(), &mut input);
        input
    };
    examples.rows.rows().into_iter().map(input).collect()
}

/// Passengers of a ship that never was: numbers with gaps, ties and outliers, categories of very different frequency.
fn passengers(path: PathBuf, rows: usize, decks: usize, rng: &mut StdRng) -> PathBuf {
    let mut csv = String::from("age,fare,steady,port,deck,y\n");
    for row in 0..rows {
        let age = if rng.random_bool(0.2) { String::new() } else { rng.random_range(0..70).to_string() };
        let fare = match rng.random_range(0..30) {
            0 => String::from("NA"),
            1 => rng.random_range(1e3..1e6).to_string(),
            _ => rng.random_range(0.0..80.0).to_string(),
        };
        let port = ["S", "S", "S", "C", "Q", ""][rng.random_range(0..6)];
        // The later the deck, the rarer; the last ones may not occur in few rows.
        let deck = (rng.random_range(0.0..1.0_f64).powi(2) * decks as f64) as usize;
        let deck = if rng.random_bool(0.05) { String::new() } else { format!("d{deck:02}") };
        writeln!(csv, "{age},{fare},3.25,{port},{deck},{}", row % 2).unwrap();
    }
    std::fs::write(&path, csv).unwrap();
    path
}
