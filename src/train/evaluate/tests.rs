use ndarray::{Array1, array};

use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.into()).collect()
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-7, "{found}, expected {expected}");
}

fn classes(evaluation: &Evaluation) -> &Classes {
    let Some(Detail::Classification(classes)) = &evaluation.detail else { panic!("{evaluation:?}") };
    classes
}

/// Columns for two classes from the second one's probabilities, which an engine gives as f32.
fn binary(probabilities: &[f32]) -> ndarray::Array2<f64> {
    let p = Array1::from_vec(probabilities.to_vec());
    ndarray::stack![Axis(1), p.mapv(|p| f64::from(1.0 - p)), p.mapv(f64::from)]
}

// tests/evaluation.rs asks scikit-learn itself about many cases; these few need no Python.
// from sklearn.metrics import *
// y = [0, 0, 1, 1, 1, 0, 1, 0]
// p = np.float32([.1, .4, .35, .8, .4, .4, .9, 1]); pred = p > .5; P = np.c_[1 - p, p].astype(float)
// accuracy_score(y, pred), log_loss(y, P), roc_auc_score(y, p), precision_score(y, pred), recall_score(y, pred), f1_score(y, pred)
#[test]
fn binary_metrics_are_scikit_learns() {
    let probabilities = binary(&[0.1, 0.4, 0.35, 0.8, 0.4, 0.4, 0.9, 1.0]);
    let found = classification(&names(&["no", "yes"]), &[0, 0, 1, 1, 1, 0, 1, 0], probabilities.view());
    for (name, expected) in [
        ("accuracy", 0.625),
        ("log_loss", 4.933_160_254_548_557),
        ("roc_auc", 0.5625),
        ("precision", 2.0 / 3.0),
        ("recall", 0.5),
        ("f1", 0.571_428_571_428_571_4),
    ] {
        close(found.metrics[name], expected);
    }
    assert_eq!(classes(&found).confusion, [[3, 1], [2, 2]]);
    assert_eq!(classes(&found).curves.len(), 1);
    assert_eq!(classes(&found).curves[0].class, "yes");
}

// P = np.float32([[.7, .2, .1], [.3, .3, .4], [.25, .5, .25], [.1, .6, .3]]).astype(float); y = [0, 2, 1, 2]
// accuracy_score(y, P.argmax(1)), log_loss(y, P, labels=[0, 1, 2])
#[test]
fn metrics_of_three_classes_are_scikit_learns() {
    let outputs = array![[0.7_f32, 0.2, 0.1], [0.3, 0.3, 0.4], [0.25, 0.5, 0.25], [0.1, 0.6, 0.3]].mapv(f64::from);
    let found = classification(&names(&["a", "b", "c"]), &[0, 2, 1, 2], outputs.view());
    close(found.metrics["accuracy"], 0.75);
    close(found.metrics["log_loss"], 0.792_521_405_772_769_4);
    assert!(!found.metrics.contains_key("precision") && found.metrics.contains_key("precision_macro"));
}

// y, p = [3, -0.5, 2, 7], [2.5, 0.0, 2, 8]
// mean_absolute_error(y, p), root_mean_squared_error(y, p), r2_score(y, p)
#[test]
fn regression_metrics_are_scikit_learns() {
    let (actual, predicted) = (array![[3.0], [-0.5], [2.0], [7.0]], array![[2.5], [0.0], [2.0], [8.0]]);
    let found = regression(&names(&["y"]), actual.view(), predicted.view());
    close(found.metrics["mae"], 0.5);
    close(found.metrics["rmse"], 0.612_372_435_695_794_5);
    close(found.metrics["r2"], 0.948_608_137_044_967_9);
    let Some(Detail::Regression { outputs }) = found.detail else { panic!() };
    assert_eq!(outputs[0].points, [[3.0, 2.5], [-0.5, 0.0], [2.0, 2.0], [7.0, 8.0]]);
    // A mean that rounds is no variance.
    assert_eq!(r2(&[0.1; 3], &[0.1, 0.1, 0.2]), Some(0.0));
}

#[test]
fn what_is_undefined_is_left_out() {
    let of_one_class = classification(&names(&["no", "yes"]), &[0, 0], binary(&[0.1, 0.9]).view());
    assert!(!of_one_class.metrics.contains_key("roc_auc") && !of_one_class.metrics.contains_key("average_precision"));
    assert_eq!(of_one_class.undefined["roc_auc"], r#"all rows are of class "no""#);
    let json = of_one_class.metrics_json();
    assert!(json["roc_auc"].is_null() && json["accuracy"] == 0.5, "{json:?}");
    let outputs = array![[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]];
    let without_b = classification(&names(&["a", "b", "c"]), &[0, 2], outputs.view());
    assert_eq!(without_b.undefined["roc_auc_ovr"], r#"no row is of class "b""#);
    assert!(without_b.metrics.contains_key("roc_auc_ovr_weighted"));
    assert_eq!(of_one_class.metrics["recall"], 0.0);
    let curves = &classes(&of_one_class).curves[0];
    assert!(curves.roc.is_empty() && curves.precision_recall.is_empty() && curves.calibration.len() == 2);

    assert_eq!(classes(&without_b).classes[1].roc_auc, None);

    let one_row = regression(&names(&["y"]), array![[1.0]].view(), array![[2.0]].view());
    assert_eq!(one_row.metrics, named([("mae", 1.0), ("rmse", 1.0)]));
    let too_large = regression(&names(&["y"]), array![[1e300], [1.0]].view(), array![[2.0], [1.0]].view());
    assert_eq!(too_large.metrics.keys().collect::<Vec<_>>(), ["mae"]);
    for nothing in [
        classification(&names(&["no", "yes"]), &[], binary(&[]).view()),
        regression(&names(&["y"]), ndarray::Array2::zeros((0, 1)).view(), ndarray::Array2::zeros((0, 1)).view()),
    ] {
        assert_eq!(nothing, Evaluation::default());
    }
}

#[test]
fn answers_that_are_not_finite_are_counted_and_left_out() {
    let some = classification(&names(&["no", "yes"]), &[0, 1, 1], binary(&[0.1, f32::NAN, 0.9]).view());
    assert_eq!((some.rows, some.not_finite, some.metrics["accuracy"]), (2, 1, 1.0));
    let all = regression(&names(&["y"]), array![[1.0], [2.0]].view(), array![[f64::NAN], [f64::INFINITY]].view());
    assert_eq!(all, Evaluation { not_finite: 2, ..Evaluation::default() });
}

#[test]
fn the_commonest_classes_have_curves() {
    let all: Vec<String> = (0..14).map(|class| format!("c{class}")).collect();
    // Class n has n rows, so the first four are the rarest.
    let actual: Vec<usize> = (0..14).flat_map(|class| std::iter::repeat_n(class, class)).collect();
    let probabilities = ndarray::Array2::from_elem((actual.len(), 14), 1.0 / 14.0);
    let found = classification(&all, &actual, probabilities.view());
    let with_curves: Vec<&str> = classes(&found).curves.iter().map(|curves| &*curves.class).collect();
    assert_eq!(with_curves, all[4..].iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(classes(&found).classes.len(), 14);
}
