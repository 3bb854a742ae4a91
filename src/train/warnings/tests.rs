use ndarray::{Array2, array};

use super::*;
use crate::model::decision::{ClassDecision, Decision};
use crate::model::signature::Target;
use crate::record::Gap;
use crate::train::dataset::{Column, Table, Target as TableTarget, TargetValues, Truth};
use crate::train::evaluate::{self, Judgement};

/// Numbers in no order, from 0 to 1.
fn noise(row: usize, salt: usize) -> f64 {
    let mixed = ((row * 31 + salt * 17 + 7) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11) as f64 / (1_u64 << 53) as f64
}

fn is_fraud(row: usize) -> bool {
    noise(row, 99) < 0.02
}

type Cell = Box<dyn Fn(usize) -> f64>;

fn table(rows: usize, columns: Vec<(&str, Option<Vec<String>>, Cell)>, values: TargetValues) -> Table {
    let cells = Array2::from_shape_fn((rows, columns.len()), |(row, column)| columns[column].2(row));
    let features = columns.into_iter().map(|(name, categories, _)| Column { name: name.into(), categories }).collect();
    let target = TableTarget { name: "fraud".into(), values };
    Table { features, rows: cells, target, times: None, without_target: 0 }
}

fn classes(rows: usize) -> TargetValues {
    let names = ["no", "yes"].map(String::from).to_vec();
    TargetValues::Classes { names, rows: (0..rows).map(|row| usize::from(is_fraud(row))).collect() }
}

/// What 20,000 bookings with 2 % fraud are like.
fn bookings() -> Table {
    const ROWS: usize = 20_000;
    let days: Vec<String> = (1..=28).map(|day| format!("2026-02-{day:02}")).collect();
    let columns: Vec<(&str, Option<Vec<String>>, Cell)> = vec![
        ("amount", None, Box::new(|row| noise(row, 1) * 100.0)),
        ("shop", Some(["a", "b", "c"].map(String::from).to_vec()), Box::new(|row| (row % 3) as f64)),
        ("txn_id", None, Box::new(|row| (row + 5000) as f64)),
        ("booked_at", Some(days), Box::new(|row| (row % 28) as f64)),
        (
            "chargeback",
            None,
            Box::new(|row| match (noise(row, 2) < 0.05, is_fraud(row) && noise(row, 3) < 0.95) {
                (true, _) => Gap::Missing.value(),
                (false, true) => 10.0 + noise(row, 4),
                (false, false) => 0.0,
            }),
        ),
        ("currency", None, Box::new(|_| 7.0)),
        ("label", None, Box::new(|row| if is_fraud(row) { 5.0 } else { -1.0 })),
        ("rare", None, Box::new(|row| f64::from(u8::from(row % 4000 == 1)))),
        ("balance", None, Box::new(|row| (noise(row, 5) * 1e7).round())),
        ("due", Some((1..=28).map(|day| format!("{day:02}.02.2026")).collect()), Box::new(|row| (row % 28) as f64)),
        ("day", None, Box::new(|row| (20_260_201 + row % 28) as f64)),
        ("at", None, Box::new(|row| 1.77e12 + (noise(row, 6) * 1e10).round())),
        ("bonus", None, Box::new(|row| if noise(row, 7) < 0.5 { 5.0 } else { Gap::Missing.value() })),
        ("code", None, Box::new(|row| 1e8 + (noise(row, 8) * 3e9).round())),
    ];
    table(ROWS, columns, classes(ROWS))
}

#[test]
fn columns_that_are_no_features_are_named_and_others_are_not() {
    let found = of_columns(&bookings(), &[]);
    let found: Vec<(&str, &str)> =
        found.iter().map(|warning| (warning.column.as_deref().unwrap(), warning.kind.as_str())).collect();
    assert_eq!(
        found,
        [
            ("txn_id", "identifier"),
            ("booked_at", "date_as_category"),
            ("chargeback", "leak"),
            ("currency", "constant"),
            ("label", "target_copy"),
            ("rare", "nearly_constant"),
            ("due", "date_as_category"),
            ("day", "date_as_number"),
            ("at", "date_as_number"),
            ("bonus", "constant"),
        ]
    );
}

#[test]
fn columns_of_dates_are_no_identifiers_and_categories_of_test_rows_no_dates() {
    let mut days: Vec<String> = (1..=28).map(|day| format!("2026-02-{day:02}")).collect();
    days.extend(["a", "b"].map(String::from));
    let columns: Vec<(&str, Option<Vec<String>>, Cell)> = vec![
        ("when", None, Box::new(|row| 1.7e9 + row as f64)),
        ("shop", Some(days), Box::new(|row| (28 + row % 2) as f64)),
    ];
    let table = table(500, columns, classes(500));
    let warned = |datetime: &[String]| kinds(&of_columns(&table, datetime)).join(" ");
    assert_eq!((warned(&[]).as_str(), warned(&["when".into()]).as_str()), ("date_as_number", ""));
}

#[test]
fn columns_of_a_regression_are_measured_by_its_variance() {
    const ROWS: usize = 500;
    let price = |row: usize| 3.0 * noise(row, 1) + noise(row, 2);
    let columns: Vec<(&str, Option<Vec<String>>, Cell)> = vec![
        ("size", None, Box::new(|row| noise(row, 1))),
        ("price_in_cents", None, Box::new(move |row| -100.0 * price(row) + 7.0)),
        ("tax", None, Box::new(move |row| (price(row) * 20.0).round())),
        ("noise", None, Box::new(|row| noise(row, 3))),
    ];
    let table = table(ROWS, columns, TargetValues::Numbers((0..ROWS).map(price).collect()));
    let found = of_columns(&table, &[]);
    let found: Vec<(&str, &str)> =
        found.iter().map(|warning| (warning.column.as_deref().unwrap(), warning.kind.as_str())).collect();
    assert_eq!(found, [("price_in_cents", "target_copy"), ("tax", "leak")]);
}

fn evaluated(positives: &[f64], threshold: Option<f64>) -> evaluate::Evaluation {
    let probabilities = Array2::from_shape_fn((positives.len(), 2), |(row, column)| match column {
        0 => 1.0 - positives[row],
        _ => positives[row],
    });
    let target = Target::Classification { name: "y".into(), classes: vec!["no".into(), "yes".into()] };
    let decision = Decision { positive: "yes".into(), threshold };
    let decision = ClassDecision::of(&target, Some(&decision));
    let actual = (0..positives.len()).map(|row| usize::from(row < 2)).collect();
    evaluate::evaluation(&target, &Truth::Classes(actual), probabilities.view(), Judgement { decision, rule: None })
}

fn kinds(warnings: &[Warning]) -> Vec<&str> {
    warnings.iter().map(|warning| warning.kind.as_str()).collect()
}

#[test]
fn a_model_that_is_no_better_than_one_answer_is_warned_about() {
    let mut positives = vec![0.1; 100];
    positives[..2].fill(0.4);
    let blind = evaluated(&positives, None);
    assert_eq!(kinds(&of_evaluation(&blind)), ["not_better_than_reference", "class_never_predicted"]);
    let messages = of_evaluation(&blind);
    assert_eq!(
        messages[0].message,
        "accuracy is 0.9800, and always answering \"no\" has 0.9800: the model is no better"
    );
    assert!(messages[1].message.starts_with("class \"yes\" is never predicted, and 2 of 100 rows are of it"));
    assert!(of_evaluation(&evaluated(&positives, Some(0.3))).is_empty());

    let numbers = |predicted: [f64; 3]| {
        let target = Target::Regression { names: vec!["y".into()] };
        let truth = Truth::Numbers(array![[1.0], [2.0], [3.0]]);
        let predicted = Array2::from_shape_vec((3, 1), predicted.to_vec()).unwrap();
        evaluate::evaluation(&target, &truth, predicted.view(), Judgement::default())
    };
    assert_eq!(kinds(&of_evaluation(&numbers([3.0, 3.0, 3.0]))), ["not_better_than_reference"]);
    assert!(of_evaluation(&numbers([1.1, 2.0, 2.9])).is_empty());
}

#[test]
fn a_gap_and_a_score_that_stands_still_are_warned_about() {
    let with = |name: &str, value: f64| {
        let metrics = [(name.to_owned(), value)].into();
        evaluate::Evaluation { rows: 200, metrics, ..Default::default() }
    };
    assert_eq!(of_gap(&with("roc_auc", 0.99), &with("roc_auc", 0.8)).unwrap().kind, "overfit");
    assert_eq!(of_gap(&with("r2", 0.9), &with("r2", 0.85)), None);
    assert_eq!(of_course(&[0.98, 0.98, 0.98]).unwrap().kind, "validation_score_never_moved");
    assert_eq!((of_course(&[0.97, 0.98]), of_course(&[0.97]), of_course(&[])), (None, None, None));
}

#[test]
fn rows_on_both_sides_of_a_test_are_warned_about_unless_they_are_alike_by_nature() {
    let all = bookings();
    let (first, second): (Vec<usize>, Vec<usize>) = ((0..1000).collect(), (900..1200).collect());
    let found = of_split(&all.select(&first), &all.select(&second)).unwrap();
    assert!(found.message.starts_with("100 of 300 test rows are also training rows"), "{}", found.message);
    assert_eq!(of_split(&all.select(&first), &all.select(&(1000..1200).collect::<Vec<_>>())), None);
    let coarse = |rows: std::ops::Range<usize>| {
        let columns: Vec<(&str, Option<Vec<String>>, Cell)> = vec![("x", None, Box::new(|row| (row % 4) as f64))];
        table(rows.len(), columns, TargetValues::Numbers(rows.map(|row| (row % 2) as f64).collect()))
    };
    assert_eq!(of_split(&coarse(0..100), &coarse(100..150)), None);

    let rows = all.rows.select(ndarray::Axis(0), &first);
    let golden: Vec<Vec<f64>> = (0..32).map(|row| rows.row(row * 30).to_vec()).collect();
    assert_eq!(overlap(&golden, rows.view()).unwrap().kind, "test_rows_trained_on");
    let others = all.rows.select(ndarray::Axis(0), &(2000..3000).collect::<Vec<_>>());
    assert_eq!(overlap(&golden, others.view()), None);
}

#[test]
fn options_without_effect_and_a_training_that_was_cut_off_are_noted() {
    let adam = Recipe { momentum: 0.5, learning_rate: LearningRate::Adaptive, ..Recipe::default() };
    let found = notes(&adam, Stop::MaxIter, 200);
    assert_eq!(kinds(&found), ["not_converged", "ignored_option"]);
    assert_eq!(found[1].message, "--solver adam ignores --learning-rate, --momentum");
    let sgd = Recipe { solver: Solver::Sgd, beta_1: 0.5, ..adam };
    assert_eq!(notes(&sgd, Stop::Converged, 9)[0].message, "--solver sgd ignores --beta-1");
    assert!(notes(&Recipe::default(), Stop::Converged, 9).is_empty());
}
