use super::dataset::{Column, Target as TableTarget};
use super::preparation::Preparation;
use super::recipe::{BatchSize, LearningRate, Solver};
use super::*;
use crate::monitor::drift::Histogram;
use crate::record::Gap;

const GAP: f64 = Gap::Missing.value();

/// Rows on whose first feature and category the class depends; the second feature is noise with gaps.
pub(super) fn table(rows: usize) -> Table {
    let features = vec![
        Column { name: "x".into(), categories: None },
        Column { name: "noise".into(), categories: None },
        Column { name: "colour".into(), categories: Some(vec!["blue".into(), "red".into()]) },
    ];
    let values = Array2::from_shape_fn((rows, 3), |(row, column)| match column {
        0 => 1e6 + (row as f64 * 1.3).sin() * 50.0,
        1 if row % 5 == 0 => GAP,
        1 => (row as f64 * 7.7).cos(),
        _ => (row % 2) as f64,
    });
    let score = |row: usize| (row as f64 * 1.3).sin() + (row % 2) as f64;
    let classes = (0..rows).map(|row| if score(row) > 0.5 { 2 } else { 0 }).collect();
    let names = ["no", "never", "yes"].map(String::from).to_vec();
    Table {
        features,
        rows: values,
        target: TableTarget { name: "y".into(), values: TargetValues::Classes { names, rows: classes } },
        times: None,
        without_target: 0,
    }
}

pub(super) fn regression(rows: usize) -> Table {
    let numbers = (0..rows).map(|row| 5000.0 + 300.0 * (row as f64 * 1.3).sin()).collect();
    let target = TableTarget { name: "price".into(), values: TargetValues::Numbers(numbers) };
    Table { target, ..table(rows) }
}

pub(super) fn recipe() -> Recipe {
    Recipe {
        hidden_layer_sizes: vec![8],
        solver: Solver::Sgd,
        learning_rate_init: 0.1,
        batch_size: BatchSize::Rows(20),
        max_iter: 30,
        random_state: 1,
        ..Recipe::default()
    }
}

pub(super) fn dropna() -> Preparation {
    Preparation { dropna: true, ..Preparation::default() }
}

pub(super) fn halves(table: &Table) -> (Table, Table) {
    let (train, test): (Vec<usize>, Vec<usize>) = (0..table.len()).partition(|row| row % 4 != 3);
    (table.select(&train), table.select(&test))
}

fn train(table: &Table, recipe: &Recipe) -> Result<TrainedModel, TrainError> {
    let (train, test) = halves(table);
    fit(&train, &test, recipe, &mut |_| ControlFlow::Continue(()))
}

#[test]
fn a_classifier_learns_what_can_be_learnt() {
    let trained = train(&table(400), &recipe()).unwrap();
    assert!(trained.metrics()["accuracy"] > 0.95, "{:?}", trained.metrics());
    assert!(trained.metrics()["roc_auc"] > 0.98, "{:?}", trained.metrics());
    assert_eq!(trained.rows, Rows { train: 300, incomplete: 0, test: 100, untestable: 0 });
    assert_eq!(trained.metrics()["epochs"], trained.losses.len() as f64);
    // The class that no row has isn't one.
    let Target::Classification { classes, .. } = &trained.signature().target else { panic!() };
    assert_eq!(classes, &["no", "yes"]);
}

#[test]
fn a_regression_answers_in_the_targets_own_units() {
    let trained = train(&regression(400), &Recipe { max_iter: 100, tol: 0.0, ..recipe() }).unwrap();
    assert!(trained.metrics()["r2"] > 0.98, "{:?}", trained.metrics());
    assert!(trained.metrics()["rmse"] < 40.0, "{:?}", trained.metrics());
}

#[test]
fn a_model_without_hidden_layers_and_one_of_three_classes_train_too() {
    let mut three = table(400);
    let TargetValues::Classes { rows, .. } = &mut three.target.values else { panic!() };
    rows.iter_mut().enumerate().for_each(|(row, class)| *class += usize::from(row % 2 == 1 && *class == 0));
    let trained = train(&three, &Recipe { hidden_layer_sizes: vec![], ..recipe() }).unwrap();
    assert!(trained.metrics()["accuracy"] > 0.8, "{:?}", trained.metrics());
    assert_eq!(trained.signature().target.outputs(), 3);
}

#[test]
fn test_rows_leave_no_trace_in_the_model() {
    let (train, mut test) = halves(&table(200));
    let fit_on = |test: &Table| {
        let trained = fit(&train, test, &recipe(), &mut |_| ControlFlow::Continue(())).unwrap();
        trained.into_draft("m", [])
    };
    let before = fit_on(&test);
    test.rows.column_mut(0).fill(-1e9);
    test.features[2].categories = Some(vec!["aquamarine".into(), "blue".into()]);
    let after = fit_on(&test);
    assert_eq!(before.signature, after.signature);
    assert_eq!(before.preprocessing, after.preprocessing);
    assert_eq!(before.baseline.features, after.baseline.features);
    assert_eq!(before.layers[0].weights, after.layers[0].weights);
    assert_ne!(before.training.metrics["log_loss"], after.training.metrics["log_loss"]);
}

#[test]
fn predictions_are_compared_with_those_of_the_test_rows() {
    let (train, test) = halves(&table(200));
    let rows = |test: &Table| {
        let trained = fit(&train, test, &recipe(), &mut |_| ControlFlow::Continue(())).unwrap();
        let baseline = trained.into_draft("m", []).baseline;
        let rows = |histogram: &Histogram| histogram.counts.iter().sum::<u64>();
        (rows(&baseline.features[0]), rows(&baseline.predictions[0]))
    };
    assert_eq!(rows(&test), (150, 50));
    assert_eq!(rows(&test.select(&[])), (150, 0), "the answers for training rows don't stand in");
}

#[test]
fn the_same_seed_gives_the_same_model() {
    let weights = |random_state| {
        train(&table(100), &Recipe { random_state, ..recipe() }).unwrap().into_draft("m", []).layers[0].weights.clone()
    };
    assert_eq!(weights(1), weights(1));
    assert_ne!(weights(1), weights(2));
}

#[test]
fn rows_that_lack_a_value_are_left_out_where_they_are_rejected() {
    let trained = train(&table(400), &Recipe { preparation: dropna(), ..recipe() }).unwrap();
    assert_eq!(trained.rows, Rows { train: 240, incomplete: 60, test: 80, untestable: 20 });
    let mut all_lacking = table(40);
    all_lacking.rows.column_mut(1).fill(GAP);
    let error = train(&all_lacking, &Recipe { preparation: dropna(), ..recipe() }).unwrap_err();
    assert!(matches!(error, TrainError::AllRowsDropped { rows: 30 }));
}

#[test]
fn golden_rows_are_spread_and_some_lack_values() {
    let draft = train(&table(400), &recipe()).unwrap().into_draft("m", []);
    assert_eq!(draft.golden_rows.len(), 32);
    assert_eq!(draft.golden_rows.iter().filter(|row| row[1].is_nan()).count(), 8);
    let few = train(&table(12), &recipe()).unwrap().into_draft("m", []);
    assert_eq!(few.golden_rows.len(), 9);
}

#[test]
fn the_observer_can_end_it() {
    let (train, test) = halves(&table(100));
    let mut seen = Vec::new();
    let mut third = |epoch: &Epoch| {
        seen.push(epoch.number);
        if epoch.number == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let trained = fit(&train, &test, &recipe(), &mut third).unwrap();
    assert_eq!((trained.stop, trained.losses.len()), (Stop::Asked, 3));
    assert_eq!(seen, [1, 2, 3]);
}

#[test]
fn training_stops_after_more_than_n_iter_no_change_bad_epochs() {
    // No epoch improves by so much but the first.
    let trained = train(&table(100), &Recipe { tol: 1e9, n_iter_no_change: 4, ..recipe() }).unwrap();
    assert_eq!((trained.stop, trained.losses.len()), (Stop::Converged, 6));
}

#[test]
fn what_cannot_be_trained_is_named() {
    let diverged = train(&regression(100), &Recipe { learning_rate_init: 1e6, ..recipe() });
    assert!(matches!(diverged, Err(TrainError::Diverged { .. })), "{diverged:?}");
    let mut one_class = table(100);
    let TargetValues::Classes { rows, .. } = &mut one_class.target.values else { panic!() };
    rows.fill(2);
    let error = train(&one_class, &recipe()).unwrap_err().to_string();
    assert_eq!(error, r#"the training rows have only one class of "y": "yes"; it takes two to learn something"#);
    let error = train(&table(100), &Recipe { alpha: -1.0, ..recipe() }).unwrap_err().to_string();
    assert!(error.contains("--alpha"));
}

#[test]
fn the_draft_carries_recipe_metrics_and_notes() {
    let draft = train(&table(100), &recipe()).unwrap().into_draft("colours", [("data".into(), "x.csv".into())]);
    assert_eq!(draft.name, "colours");
    assert_eq!(draft.training.recipe["data"], "x.csv");
    assert_eq!(draft.training.recipe["hidden_layer_sizes"], serde_json::json!([8]));
    assert_eq!(draft.training.metrics["rows"], 75.0);
    assert_eq!(draft.layers.len(), 2);
}

#[test]
fn early_stopping_keeps_the_weights_of_the_best_epoch() {
    let early = Recipe { early_stopping: true, max_iter: 40, learning_rate_init: 0.5, n_iter_no_change: 8, ..recipe() };
    for table in [table(400), regression(400)] {
        let fitted = train(&table, &early).unwrap();
        let best = fitted.scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let best_epoch = fitted.scores.iter().position(|&score| score == best).unwrap() + 1;
        assert!(best_epoch < fitted.losses.len(), "{:?}", fitted.scores);
        assert_eq!(fitted.metrics()["validation_score"], best);
        assert_eq!(fitted.scores.len(), fitted.losses.len());
        let until_best = train(&table, &Recipe { max_iter: best_epoch, ..early.clone() }).unwrap();
        assert_eq!(fitted.into_draft("m", []).layers, until_best.into_draft("m", []).layers);
    }
}

#[test]
fn early_stopping_stops_when_the_score_does_not_rise_by_tol() {
    let early = Recipe { early_stopping: true, tol: 1e9, n_iter_no_change: 4, ..recipe() };
    let trained = train(&table(400), &early).unwrap();
    // Even the first score isn't above minus infinity by a billion; six bad epochs are more than four... by one.
    assert_eq!((trained.stop, trained.losses.len()), (Stop::Converged, 6));
    assert!(
        train(&table(8), &Recipe { early_stopping: true, ..recipe() }).unwrap_err().to_string().contains("validation")
    );
}

#[test]
fn without_early_stopping_the_last_weights_stay() {
    let trained = train(&table(100), &recipe()).unwrap();
    assert!(trained.scores.is_empty() && !trained.metrics().contains_key("validation_score"));
    let shorter = train(&table(100), &Recipe { max_iter: trained.losses.len() - 1, ..recipe() }).unwrap();
    assert_ne!(trained.into_draft("m", []).layers, shorter.into_draft("m", []).layers);
}

#[test]
fn an_adaptive_rate_goes_finer_before_it_stops() {
    let adaptive = Recipe {
        learning_rate: LearningRate::Adaptive,
        learning_rate_init: 1e-5,
        tol: 1e9,
        n_iter_no_change: 1,
        ..recipe()
    };
    // Two bad epochs, 1e-5 / 5; three more times as many until 8e-8 is too small to be divided: 2e-6, 4e-7.
    let trained = train(&table(100), &adaptive).unwrap();
    assert_eq!((trained.stop, trained.losses.len()), (Stop::Converged, 7));
}

#[test]
fn a_training_that_diverges_keeps_the_last_good_weights() {
    let wild =
        Recipe { learning_rate_init: 2.5, momentum: 0.99, max_iter: 1000, n_iter_no_change: usize::MAX, ..recipe() };
    let trained = train(&regression(100), &wild).unwrap();
    assert_eq!(trained.stop, Stop::Diverged);
    let epochs = trained.losses.len();
    assert!((1..1000).contains(&epochs) && trained.losses.iter().all(|loss| loss.is_finite()), "{epochs}");
    let until_then = train(&regression(100), &Recipe { max_iter: epochs, ..wild }).unwrap();
    assert_eq!(until_then.stop, Stop::MaxIter);
    assert_eq!(trained.draft.layers, until_then.draft.layers);
}

#[test]
fn classes_that_weigh_more_are_predicted_more() {
    let recall = |class_weight: &str| {
        let class_weight = Some(class_weight.parse().unwrap());
        let weighted = Recipe { class_weight, learning_rate_init: 0.01, max_iter: 2, ..recipe() };
        train(&table(400), &weighted).unwrap().metrics()["recall"]
    };
    assert!(recall("yes:20") > recall("no:20"));
    let named = Recipe { class_weight: Some("maybe:2".parse().unwrap()), ..recipe() };
    assert!(matches!(train(&table(100), &named), Err(TrainError::UnknownClass { .. })));
    let error = train(&regression(100), &named).unwrap_err().to_string();
    assert!(error.contains("--class-weight is for a classification"), "{error}");
}

/// One row in 25 is of the class `yes`, which the first feature gives away but for noise.
fn imbalanced(rows: usize) -> Table {
    let mut table = table(rows);
    let is_yes = |row: usize| row % 25 == 4;
    table.rows = Array2::from_shape_fn((rows, 3), |(row, column)| match column {
        0 => (row as f64 * 1.3).sin() + if is_yes(row) { 0.5 } else { 0.0 },
        1 => (row as f64 * 7.7).cos(),
        _ => (row % 2) as f64,
    });
    let names = ["no", "yes"].map(String::from).to_vec();
    table.target.values =
        TargetValues::Classes { names, rows: (0..rows).map(|row| usize::from(is_yes(row))).collect() };
    table
}

#[test]
fn a_threshold_is_chosen_on_rows_that_are_set_aside_and_kept() {
    let (train, mut test) = halves(&imbalanced(2000));
    let fit_with = |test: &Table, positive: &str, rule: &str| {
        let recipe = Recipe {
            positive: Some(positive.into()),
            threshold: Some(rule.parse().unwrap()),
            validation_fraction: 0.3,
            ..recipe()
        };
        fit(&train, test, &recipe, &mut |_| ControlFlow::Continue(()))
    };
    let plain = fit(&train, &test, &recipe(), &mut |_| ControlFlow::Continue(())).unwrap();
    let chosen = fit_with(&test, "yes", "cost=fp:1,fn:50").unwrap();
    let (with, without) = (chosen.metrics()["recall"], plain.metrics()["recall"]);
    assert!(with > 0.75 && with > without + 0.2, "{with}, {without}");
    let draft = chosen.into_draft("m", []);
    let decision = draft.decision.clone().unwrap();
    assert!(decision.positive == "yes" && decision.threshold.unwrap() < 0.3, "{decision:?}");
    assert_eq!(draft.training.recipe["threshold"], "cost=fp:1,fn:50");
    let (manifest, files) = draft.bundle(1, "2026-01-01T00:00:00Z".into()).unwrap();
    assert_eq!(crate::model::Model::load(&files, |_| {}).unwrap().decision.threshold(), decision.threshold);
    assert_eq!(manifest.decision, Some(decision.clone()));

    // The test rows have no part in it.
    test.rows.column_mut(0).fill(-5.0);
    assert_eq!(fit_with(&test, "yes", "cost=fp:1,fn:50").unwrap().into_draft("m", []).decision, Some(decision));

    let other = fit_with(&test, "no", "0.9").unwrap();
    let Some(crate::model::evaluation::Detail::Classification(classes)) = &other.evaluation().unwrap().detail else {
        panic!("classes")
    };
    assert_eq!((classes.positive.as_deref(), classes.threshold), (Some("no"), Some(0.9)));
    assert!(!classes.thresholds.is_empty() && classes.curves[0].class == "no");
}

#[test]
fn a_decision_that_cannot_be_ends_the_training_before_it_begins() {
    let fails = |table: &Table, positive: Option<&str>, rule: &str| {
        let threshold = Some(rule.parse().unwrap());
        let recipe = Recipe { positive: positive.map(String::from), threshold, ..recipe() };
        train(table, &recipe).unwrap_err().to_string()
    };
    assert!(fails(&table(100), Some("maybe"), "f1").contains("--positive names the class \"maybe\""));
    assert!(fails(&regression(100), None, "f1").contains("are for two classes, and \"price\" has numbers"));
    let threshold = Some("precision>=1".parse().unwrap());
    let mut flat = imbalanced(1000);
    flat.rows.fill(0.0);
    let trained = train(&flat, &Recipe { threshold, max_iter: 1, ..recipe() }).unwrap();
    let warning = &trained.evaluation().unwrap().warnings[0];
    assert_eq!(warning.kind, warnings::THRESHOLD_NOT_REACHED);
    assert!(warning.message.contains("no threshold has the precision>=1, the highest is"), "{}", warning.message);
    assert_eq!(trained.into_draft("m", []).decision.unwrap().threshold, None);
}

#[test]
fn a_training_that_diverges_leaves_what_can_be_published_or_one_line() {
    let mut unscaled = table(200);
    unscaled.target = regression(200).target;
    let (mut published, mut refused) = (0, 0);
    for learning_rate_init in [1e-9, 1e-7, 1e-5, 1e-3, 0.5, 10.0, 1e6] {
        for early_stopping in [false, true] {
            let preparation = Preparation { scale: preparation::Scale::None, ..Preparation::default() };
            let wild = Recipe {
                preparation,
                learning_rate_init,
                early_stopping,
                n_iter_no_change: usize::MAX,
                max_iter: 60,
                ..recipe()
            };
            match train(&unscaled, &wild) {
                Ok(trained) => {
                    published += usize::from(trained.stop == Stop::Diverged);
                    assert!(trained.losses.iter().chain(&trained.scores).all(|value| value.is_finite()));
                    let bundle = trained.into_draft("m", []).bundle(1, "2026-01-01T00:00:00Z".into());
                    assert!(bundle.is_ok(), "{learning_rate_init}, {early_stopping}: {bundle:?}");
                }
                Err(error) => {
                    refused += 1;
                    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
                }
            }
        }
    }
    assert!(published > 0 && refused > 0, "{published} and {refused}");
}

#[test]
fn a_target_far_from_0_is_learnt_and_answered_as_well_as_one_near_it() {
    let at = |offset: f64, deviation: f64| {
        let mut table = table(400);
        let number = |row: usize| offset + deviation * (row as f64 * 1.3).sin();
        table.target =
            TableTarget { name: "eta".into(), values: TargetValues::Numbers((0..400).map(number).collect()) };
        let trained = train(&table, &Recipe { max_iter: 100, tol: 0.0, ..recipe() }).unwrap();
        let r2 = trained.metrics()["r2"];
        let (_, files) = trained.into_draft("m", []).bundle(1, "2026-01-01T00:00:00Z".into()).unwrap();
        let model = crate::model::Model::load(&files, |_| {}).unwrap();
        let answers = evaluate::answers(&model, table.rows.view());
        let actual: Vec<f64> = (0..400).map(number).collect();
        let served = evaluate::r2(&actual, &answers.column(0).to_vec()).unwrap();
        (r2, served, model.target_scale.is_some())
    };
    let (near, served, is_separate) = at(0.0, 100.0);
    assert!(near > 0.95 && served > 0.95 && !is_separate, "{near}, {served}");
    for (offset, deviation) in [(1.7e9, 600.0), (1.7e10, 100.0), (-1e12, 1.0), (0.0, 1e-40)] {
        let (tested, served, is_separate) = at(offset, deviation);
        assert!(tested > near - 0.02 && served > near - 0.02 && is_separate, "{offset}: {tested}, {served}");
    }
}

#[test]
fn a_target_may_be_learnt_as_it_is() {
    let raw = Recipe { target_scale: TargetScaling::None, learning_rate_init: 1e-6, max_iter: 2, ..recipe() };
    let trained = train(&regression(200), &raw).unwrap();
    assert!(trained.losses[0] > 1e6 && trained.target_std.is_none(), "half the squared error of about 5000");
    assert_eq!(trained.into_draft("m", []).training.recipe["target_scale"], "none");
    let standard = train(&regression(200), &Recipe { max_iter: 2, ..recipe() }).unwrap();
    assert!(standard.losses[0] < 10.0 && standard.target_std.is_some());
}
