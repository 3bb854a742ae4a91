//! Small models for tests.

use ndarray::{Array2, array};

use super::bundle::{Draft, Training};
use super::preprocess::{Preprocess, Step, Transform};
use super::signature::{Feature, Kind, Missing, Signature, Target, Unknown};
use crate::engine::{Activation, Layer, Mlp, Output};
use crate::monitor::drift::Baseline;
use crate::record::Gap;

/// Two classes ("no", "yes") from `x` (a number; missing ones become 1.5) and `colour` (red, green or blue; missing
/// and unknown ones become zeros), by two layers.
pub(crate) fn classification(name: &str) -> Draft {
    let signature = Signature {
        features: vec![
            Feature { name: "x".into(), kind: Kind::Numeric, missing: Missing::Mean { value: 1.5 } },
            Feature {
                name: "colour".into(),
                kind: Kind::Categorical {
                    categories: vec!["red".into(), "green".into(), "blue".into()],
                    unknown: Unknown::Zeros,
                },
                missing: Missing::Zeros,
            },
        ],
        target: Target::Classification { name: "y".into(), classes: vec!["no".into(), "yes".into()] },
    };
    let layers = vec![
        Layer::new(
            array![[1.0, -1.0, 0.5], [0.25, 0.5, -0.5], [-0.75, 1.0, 0.0], [0.0, -0.25, 2.0]],
            array![0.1, 0.2, -0.3],
            Activation::Relu,
        ),
        Layer::new(array![[1.0, -1.0], [0.5, 0.25], [-2.0, 1.0]], array![0.0, 0.125], Activation::Identity),
    ];
    let rows = vec![
        vec![1.0, 0.0],
        vec![-2.5, 1.0],
        vec![1e6, 2.0],
        vec![Gap::Missing.value(), Gap::Missing.value()],
        vec![0.1, Gap::Unknown.value()],
    ];
    let preprocessing = vec![
        Transform::Numeric { steps: vec![Step::Standardize { mean: 1.5, std: 2.0 }], indicator: false },
        Transform::OneHot,
    ];
    draft(name, signature, preprocessing, layers, Output::Softmax, rows)
}

/// `y = 2x + bias` from `x`, a number that a record must have. Versions with different biases are easy to distinguish.
pub(crate) fn regression(name: &str, bias: f32) -> Draft {
    let signature = Signature {
        features: vec![Feature { name: "x".into(), kind: Kind::Numeric, missing: Missing::Reject }],
        target: Target::Regression { names: vec!["y".into()] },
    };
    let layers = vec![Layer::new(array![[2.0]], array![bias], Activation::Identity)];
    let rows = vec![vec![0.0], vec![-1.0], vec![3.5]];
    draft(
        name,
        signature,
        vec![Transform::Numeric { steps: vec![Step::Standardize { mean: 0.0, std: 1.0 }], indicator: false }],
        layers,
        Output::Identity,
        rows,
    )
}

fn draft(
    name: &str,
    signature: Signature,
    preprocessing: Vec<Transform>,
    layers: Vec<Layer>,
    output: Output,
    golden_rows: Vec<Vec<f64>>,
) -> Draft {
    let preprocess = Preprocess::new(&signature, &preprocessing).unwrap();
    let mlp = Mlp::new(layers.clone(), output).unwrap();
    let rows =
        Array2::from_shape_fn((golden_rows.len(), signature.features.len()), |(row, column)| golden_rows[row][column]);
    let mut input = Array2::zeros((golden_rows.len(), preprocess.width()));
    for (row, mut columns) in golden_rows.iter().zip(input.rows_mut()) {
        preprocess.apply(row, columns.as_slice_mut().unwrap());
    }
    let mut outputs = Array2::zeros((golden_rows.len(), mlp.outputs()));
    mlp.forward(input.view(), outputs.view_mut(), &mut mlp.scratch());
    let baseline = Baseline::fit(&signature, rows.view(), outputs.view());
    let mut training = Training::default();
    training.recipe.insert("solver".into(), "by hand".into());
    training.metrics.insert("accuracy".into(), 0.75);
    Draft {
        name: name.into(),
        parent: None,
        signature,
        decision: None,
        target_scale: None,
        preprocessing,
        layers,
        output,
        training,
        baseline,
        golden_rows,
        evaluation: None,
    }
}
