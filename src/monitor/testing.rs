//! Small models made by hand, for tests of what looks at models.

use ndarray::{Array2, array};

use crate::engine::{Activation, Layer, Mlp, Output};
use crate::model::Model;
use crate::model::bundle::{LayerShape, Manifest, Network, Training};
use crate::model::decision::ClassDecision;
use crate::model::preprocess::{Preprocess, Step, Transform};
use crate::model::signature::{Feature, Kind, Missing, Signature, Target, Unknown};
use crate::monitor::drift::{Baseline, Cycle};

/// `late` from `delay` (a number that may be missing: it is then 0) and `origin` (EWR or JFK; missing is rejected,
/// another one is neither). The logit is `delay`, and 100 more from JFK. Trained, so to say, on the delays 0 to 99,
/// from EWR and JFK in turns.
pub(crate) fn flights(version: u64) -> Model {
    let categories = vec!["EWR".into(), "JFK".into()];
    let signature = Signature {
        features: vec![
            Feature { name: "delay".into(), kind: Kind::Numeric, missing: Missing::Constant { value: 0.0 } },
            Feature {
                name: "origin".into(),
                kind: Kind::Categorical { categories, unknown: Unknown::Zeros },
                missing: Missing::Reject,
            },
        ],
        target: Target::Classification { name: "late".into(), classes: vec!["on_time".into(), "late".into()] },
    };
    let rows = Array2::from_shape_fn((100, 2), |(row, column)| if column == 0 { row } else { row % 2 } as f64);
    let layer = Layer::new(array![[1.0], [0.0], [100.0]], array![0.0], Activation::Identity);
    let transforms = vec![
        Transform::Numeric { steps: vec![Step::Standardize { mean: 0.0, std: 1.0 }], indicator: false },
        Transform::OneHot,
    ];
    model("flights", version, signature, transforms, layer, Output::Logistic, &rows)
}

/// [`flights`] with a baseline by hour: 200 rows in each hour, from EWR before noon and then from JFK.
pub(crate) fn flights_by_hour(version: u64) -> Model {
    let mut model = flights(version);
    let hour = |row: usize| row / 200;
    let value = |(row, column): (usize, usize)| if column == 0 { row % 100 } else { hour(row) / 12 } as f64;
    let (rows, outputs) = (Array2::from_shape_fn((4_800, 2), value), Array2::from_elem((4_800, 2), 0.5));
    let times: Vec<i64> = (0..4_800).map(|row| 3_600 * hour(row) as i64).collect();
    let (rows, outputs) = ((rows.view(), &*times), (outputs.view(), &*times));
    model.baseline = Baseline::fit_by(Cycle::Hour, model.signature(), rows, outputs);
    model.baseline.validate(model.signature()).unwrap();
    model
}

/// `sum = a + b` and `difference = a - b` from two numbers that must be there.
pub(crate) fn arithmetic(version: u64) -> Model {
    let feature = |name: &str| Feature { name: name.into(), kind: Kind::Numeric, missing: Missing::Reject };
    let signature = Signature {
        features: vec![feature("a"), feature("b")],
        target: Target::Regression { names: vec!["sum".into(), "difference".into()] },
    };
    let rows = Array2::from_shape_fn((50, 2), |(row, column)| (row * (column + 1)) as f64);
    let layer = Layer::new(array![[1.0, 1.0], [1.0, -1.0]], array![0.0, 0.0], Activation::Identity);
    let transforms =
        vec![Transform::Numeric { steps: vec![Step::Standardize { mean: 0.0, std: 1.0 }], indicator: false }; 2];
    model("arithmetic", version, signature, transforms, layer, Output::Identity, &rows)
}

fn model(
    name: &str,
    version: u64,
    signature: Signature,
    preprocessing: Vec<Transform>,
    layer: Layer,
    output: Output,
    rows: &Array2<f64>,
) -> Model {
    let preprocess = Preprocess::new(&signature, &preprocessing).unwrap();
    let shape = LayerShape::of(&layer);
    let mlp = Mlp::new(vec![layer], output).unwrap();
    let mut inputs = Array2::zeros((rows.nrows(), preprocess.width()));
    for (row, mut input) in rows.rows().into_iter().zip(inputs.rows_mut()) {
        preprocess.apply(row.as_slice().unwrap(), input.as_slice_mut().unwrap());
    }
    let mut outputs = Array2::zeros((rows.nrows(), mlp.outputs()));
    mlp.forward(inputs.view(), outputs.view_mut(), &mut mlp.scratch());
    let baseline = Baseline::fit(&signature, rows.view(), outputs.view());
    baseline.validate(&signature).unwrap();
    let manifest = Manifest {
        name: name.into(),
        version,
        created: "2013-07-01T00:00:00Z".into(),
        parent: None,
        signature,
        decision: None,
        target_scale: None,
        preprocessing,
        network: Network { layers: vec![shape], output },
        training: Training::default(),
        files: Default::default(),
    };
    let decision = ClassDecision::default();
    Model { manifest, digest: format!("{version:064x}"), preprocess, mlp, baseline, decision, target_scale: None }
}
