use std::ops::ControlFlow;

use serde_json::json;

use super::*;
use crate::engine::{Norm, NormPlace};
use crate::train::dataset::TargetValues;
use crate::train::recipe::Recipe;
use crate::train::tests::{dropna, halves, recipe, regression, table};
use crate::train::{Session, TrainedModel, fit, fit_in};

/// A version as a store takes it apart.
fn published(table: &Table, recipe: &Recipe) -> Draft {
    let (train, test) = halves(table);
    let trained = fit(&train, &test, recipe, &mut |_| ControlFlow::Continue(())).unwrap();
    Draft { parent: Some(7), ..trained.into_draft("m", []) }
}

fn go_on(parent: Draft, table: &Table, recipe: &Recipe) -> Result<TrainedModel, TrainError> {
    let (train, test) = halves(table);
    let parent = Parent::new(parent)?;
    let session = Session { parent: Some(&parent), ..Session::default() };
    fit_in(session, &train, &test, recipe, &mut |_| ControlFlow::Continue(()))
}

/// As good as no step at all.
fn still() -> Recipe {
    Recipe { learning_rate_init: 1e-30, max_iter: 1, hidden_layer_sizes: vec![99], ..recipe() }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-5 * b.abs().max(1.0)
}

#[test]
fn it_begins_where_the_parent_ended() {
    let parent = published(&table(400), &recipe());
    let (metrics, layers) = (parent.training.metrics.clone(), parent.layers.clone());
    let trained = go_on(parent, &table(400), &still()).unwrap();
    assert!(close(trained.metrics()["log_loss"], metrics["log_loss"]), "{:?}, {metrics:?}", trained.metrics());
    let draft = trained.into_draft("m", []);
    assert_eq!(draft.layers, layers);
    assert_eq!(draft.parent, Some(7));
    assert_eq!(draft.training.recipe["from"], "m@7");
    assert_eq!(draft.training.recipe["hidden_layer_sizes"], json!([8]));
}

#[test]
fn it_learns_on() {
    let short = Recipe { max_iter: 2, ..recipe() };
    let parent = published(&table(400), &short);
    let before = parent.training.metrics["loss"];
    let trained = go_on(parent, &table(400), &short).unwrap();
    assert!(trained.losses[0] < before, "{:?} after {before}", trained.losses);
}

#[test]
fn a_version_of_another_model_is_no_parent_but_named() {
    let trained = go_on(published(&table(100), &recipe()), &table(100), &still()).unwrap();
    let draft = trained.into_draft("other", []);
    assert_eq!((draft.parent, &draft.training.recipe["from"]), (None, &json!("m@7")));
}

#[test]
fn a_regression_answers_the_same_on_another_scale() {
    let parent = published(&regression(400), &Recipe { max_iter: 60, ..recipe() });
    let (rmse, mut shifted) = (parent.training.metrics["rmse"], regression(400));
    // Only the training rows: what is tested stays the same, and so must the answers.
    let TargetValues::Numbers(numbers) = &mut shifted.target.values else { panic!() };
    numbers.iter_mut().enumerate().filter(|(row, _)| row % 4 != 3).for_each(|(_, y)| *y = *y * 3.0 - 9000.0);
    let trained = go_on(parent, &shifted, &still()).unwrap();
    assert!((trained.metrics()["rmse"] / rmse - 1.0).abs() < 1e-3, "{:?}, {rmse}", trained.metrics());
}

#[test]
fn classes_and_columns_are_found_by_name() {
    let parent = published(&table(400), &recipe());
    let metrics = parent.training.metrics.clone();
    let mut other = table(400);
    let TargetValues::Classes { names, rows } = &mut other.target.values else { panic!() };
    *names = ["yes", "no"].map(String::from).to_vec();
    rows.iter_mut().for_each(|class| *class = usize::from(*class == 0));
    other.features.swap(0, 1);
    let (x, noise) = (other.rows.column(0).to_owned(), other.rows.column(1).to_owned());
    other.rows.column_mut(0).assign(&noise);
    other.rows.column_mut(1).assign(&x);
    let trained = go_on(parent, &other, &still()).unwrap();
    assert!(close(trained.metrics()["log_loss"], metrics["log_loss"]));
    assert!(close(trained.metrics()["recall"], metrics["recall"]));
}

#[test]
fn rows_that_the_parent_rejects_are_left_out() {
    let parent = published(&table(400), &Recipe { preparation: dropna(), ..recipe() });
    let trained = go_on(parent, &table(400), &still()).unwrap();
    assert_eq!((trained.rows.train, trained.rows.incomplete), (240, 60));
    assert_eq!(trained.into_draft("m", []).training.recipe["preparation"]["dropna"], true);
}

#[test]
fn data_that_does_not_fit_is_refused() {
    let parent = || published(&table(100), &recipe());
    let refusal = |table: &Table| go_on(parent(), table, &recipe()).unwrap_err().to_string();
    let mut unknown = table(100);
    let TargetValues::Classes { rows, .. } = &mut unknown.target.values else { panic!() };
    rows[0] = 1;
    let message = refusal(&unknown);
    assert_eq!(message, r#"training can't start from m@7: it doesn't know the class "never" of the training rows"#);
    let mut absent = table(100);
    let TargetValues::Classes { names, rows } = &mut absent.target.values else { panic!() };
    names[2] = "often".into();
    rows[0] = 0;
    assert!(refusal(&absent).contains("often"));
    let mut short = table(100);
    short.features[0].name = "z".into();
    assert!(refusal(&short).contains(r#""x""#));
    assert!(refusal(&regression(100)).contains("it is a classification"));
    let message = go_on(published(&regression(100), &recipe()), &table(100), &recipe()).unwrap_err().to_string();
    assert!(message.contains("it is a regression"), "{message}");
}

#[test]
fn networks_without_a_loss_are_refused() {
    let refusal = |change: &dyn Fn(&mut Draft)| {
        let mut parent = published(&regression(100), &recipe());
        change(&mut parent);
        Parent::new(parent).unwrap_err().to_string()
    };
    assert!(refusal(&|draft| draft.layers[1].activation = Activation::Logistic).contains("activation logistic"));
    assert!(
        refusal(&|draft| draft.signature.target = Target::Regression { names: vec!["a".into(), "b".into()] })
            .contains("several numbers")
    );
    let norm = || Norm {
        scale: ndarray::Array1::ones(8),
        shift: ndarray::Array1::zeros(8),
        epsilon: 1e-5,
        place: NormPlace::BeforeActivation,
    };
    assert!(refusal(&|draft| draft.layers[0].norm = Some(norm())).contains("layer normalisation"));
    assert!(refusal(&|draft| draft.layers[0].passed = 3).contains("pass beside the activation"));
    assert!(refusal(&|draft| draft.output = Output::Normalized).contains("divided by their sum"));
}
