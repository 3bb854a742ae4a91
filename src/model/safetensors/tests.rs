use ::safetensors::tensor::TensorView;
use ndarray::Axis;
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;
use crate::engine::{Mlp, NormPlace};
use crate::model::Model;
use crate::model::import::Evidence;
use crate::model::signature::Kind;

const LAYERS: &str = include_str!("../../../tests/fixtures/safetensors/layers.toml");
const F32: &[u8] = include_bytes!("../../../tests/fixtures/safetensors/f32.safetensors");

/// What the model answers for decoded rows.
fn score(imported: Imported, rows: &[Vec<f64>]) -> Array2<f32> {
    let (draft, _) = imported.into_draft("imported", &Evidence::default()).unwrap();
    let (_, files) = draft.bundle(1, "2026-01-01T00:00:00Z".into()).unwrap();
    let model = Model::load(&files, |_| {}).unwrap();
    let flat: Vec<_> = rows.iter().flatten().copied().collect();
    let rows = Array2::from_shape_vec((rows.len(), rows[0].len()), flat).unwrap();
    let mut out = Array2::zeros((rows.nrows(), model.mlp.outputs()));
    model.score(rows.view(), out.view_mut(), &mut model.scratch());
    out
}

/// The values of a record in the order of the features.
fn decode(signature: &Signature, record: &Map<String, Value>) -> Vec<f64> {
    let value = |feature: &crate::model::signature::Feature| match &feature.kind {
        Kind::Numeric | Kind::Time => record[&feature.name].as_f64().unwrap(),
        Kind::Categorical { categories, .. } => {
            categories.iter().position(|category| *category == record[&feature.name]).unwrap() as f64
        }
    };
    signature.features.iter().map(value).collect()
}

fn file(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let bytes: Vec<_> =
        tensors.iter().map(|(.., values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes): (_, &Vec<u8>)| {
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    ::safetensors::serialize(views, None).unwrap()
}

fn mistakes(file: &[u8], description: &str) -> String {
    match import(file, description) {
        Err(SafetensorsError::Mistakes(mistakes)) => mistakes.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_state_dict_answers_as_torch_does() {
    let records = include_str!("../../../tests/fixtures/safetensors/rows.jsonl");
    for (file, answers) in [
        (F32, include_str!("../../../tests/fixtures/safetensors/f32.answers.json")),
        (
            include_bytes!("../../../tests/fixtures/safetensors/f16.safetensors"),
            include_str!("../../../tests/fixtures/safetensors/f16.answers.json"),
        ),
        (
            include_bytes!("../../../tests/fixtures/safetensors/bf16.safetensors"),
            include_str!("../../../tests/fixtures/safetensors/bf16.answers.json"),
        ),
    ] {
        let imported = import(file, LAYERS).unwrap();
        let norms: Vec<_> = imported.layers.iter().map(|layer| layer.norm.as_ref().map(|norm| norm.place)).collect();
        assert_eq!(norms, [None, Some(NormPlace::BeforeActivation), None]);
        let rows: Vec<_> =
            records.lines().map(|line| decode(&imported.signature, &serde_json::from_str(line).unwrap())).collect();
        let expected: Vec<Vec<f64>> = serde_json::from_str(answers).unwrap();
        assert_eq!(rows.len(), expected.len());
        for (found, expected) in score(imported, &rows).rows().into_iter().zip(expected) {
            for (found, expected) in found.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() <= 1e-6, "{found} for {expected}");
            }
        }
    }
}

#[test]
fn tensors_of_others_are_named_one_by_one() {
    let file = file(&[("kernel", &[2, 1], &[2.0, 3.0]), ("offset", &[1], &[0.5])]);
    let linear =
        |transposed| format!("{{ linear = {{ weight = \"kernel\", bias = \"offset\", transposed = {transposed} }} }}");
    let description = |layer| format!("features = 2\ntarget = {{ names = [\"y\"] }}\nlayers = [{layer}]");
    let imported = import(&file, &description(linear(true))).unwrap();
    assert_eq!(imported.signature.features[1].name, "x1");
    assert_eq!(score(imported, &[vec![10.0, 100.0]])[[0, 0]], 320.5);
    let message = mistakes(&file, &description(linear(false)));
    assert!(message.contains("2 × 1 (outputs × inputs), 2 inputs come to it; is it transposed = true?"), "{message}");
}

#[test]
fn activations_have_their_parameters_and_slopes_are_tensors() {
    let file = file(&[
        ("0.weight", &[2, 1], &[1.0, -1.0]),
        ("1.weight", &[2], &[0.5, 0.25]),
        ("2.weight", &[1, 2], &[1.0, 1.0]),
        ("3.weight", &[1], &[0.125]),
    ]);
    let described = |layers: &str| format!("features = 1\ntarget = {{ names = [\"y\"] }}\nlayers = [{layers}]");
    let clamp = r#"{ linear = "0" }, { prelu = "1" }, { linear = "2" }, { activation = "clamp(low=-1, high=20)" }"#;
    let imported = import(&file, &described(clamp)).unwrap();
    assert_eq!(imported.layers[1].activation, Activation::Clamp { low: -1.0, high: 20.0 });
    let rows = [vec![8.0], vec![-8.0], vec![100.0]];
    assert_eq!(score(imported, &rows), ndarray::array![[6.0], [4.0], [20.0]]);
    let one = r#"{ linear = "0" }, { prelu = "3" }, { linear = "2" }"#;
    let imported = import(&file, &described(one)).unwrap();
    assert_eq!(imported.layers[0].activation, Activation::LeakyRelu { slope: 0.125 });
    for (layers, mistake) in [
        (r#"{ linear = "0" }, { prelu = "0" }, { linear = "2" }"#, "has the shape [2, 1], [1] or [2] is needed"),
        (r#"{ linear = "0" }, { activation = "prelu" }, { linear = "2" }"#, "its slopes are a tensor"),
        (r#"{ linear = "0" }, { activation = "elu(alpha=x)" }, { linear = "2" }"#, "unknown activation"),
        (r#"{ linear = "0" }, { activation = "celu(alpha=-1)" }, { linear = "2" }"#, "alpha must be above 0"),
    ] {
        let found = mistakes(&file, &described(layers));
        assert!(found.contains(mistake), "{found}");
    }
}

#[test]
fn one_logit_gives_two_classes() {
    let file = file(&[("out.weight", &[1, 1], &[1.0])]);
    let description = r#"
        features = 1
        target = { name = "late", classes = ["no", "yes"] }
        layers = [{ linear = "out" }]
    "#;
    assert_eq!(score(import(&file, description).unwrap(), &[vec![0.0]]), ndarray::array![[0.5, 0.5]]);
    for last in ["sigmoid", "logistic", "softmax"] {
        let described = description.replace("}]", &format!("}}, {{ activation = \"{last}\" }}]"));
        assert!(mistakes(&file, &described).contains("out"), "{last}");
    }
}

#[test]
fn a_batch_norm_of_raw_numbers_keeps_their_digits() {
    let file = file(&[
        ("0.running_mean", &[3], &[1.7e9, 0.5, 0.25]),
        ("0.running_var", &[3], &[100.0, 0.25, 0.5]),
        ("1.weight", &[1, 3], &[1.0, 10.0, 100.0]),
    ]);
    let description = r#"
        target = { names = ["y"] }
        layers = [{ batch_norm = { running_mean = "0.running_mean", running_var = "0.running_var", epsilon = 0 } }, { linear = "1" }]
        [[features]]
        name = "time"
        [[features]]
        name = "kind"
        categories = ["a", "b"]
    "#;
    // f32 has the mean as it is: 1.7e9 is a multiple of 128.
    let found = score(import(&file, description).unwrap(), &[vec![1.7e9 + 3.0, 1.0]])[[0, 0]];
    let expected = 0.3 + 10.0 * (-0.5 / 0.5) + 100.0 * (0.75 / 0.5_f32.sqrt());
    assert!((found - expected).abs() <= 1e-4, "{found} for {expected}");
}

#[test]
fn every_mistake_is_reported_at_once() {
    let described = LAYERS
        .replace("\"0\"", "\"00\"")
        .replace("{ linear = \"3\" }", "{ linear = \"4\" }")
        .replace("\"7\"", "{ weight = \"7.bias\" }");
    let message = mistakes(F32, &described);
    for part in [
        "for 4 reasons:",
        "tensor \"00.weight\" isn't in the file",
        "tensor \"4.weight\" has the shape [8], a matrix is needed",
        "tensor \"7.bias\" has the shape [3], a matrix is needed",
        "the file has 13 tensors: 0.bias, 0.weight, 1.bias",
    ] {
        assert!(message.contains(part), "{part:?} is missing in:\n{message}");
    }

    let message = mistakes(
        F32,
        r#"
        target = { name = "y", names = ["y"] }
        layer = []
        layers = [{ linear = "0", bias = "b" }, { linear = { weight = "w", wieght = "w" } }, { activation = "relux" }, { dropout = "1" }]
        [[features]]
        name = "a"
        mean = 1
        [[features]]
        name = "b"
        mean = 1
        std = 0
        typ = "number"
        [[features]]
        name = "c"
        min = 0
        max = 1
        categories = ["x"]
        [[features]]
        mean = "1"
        "#,
    );
    for part in [
        "layer is none of features, target, layers",
        "feature \"a\": it has either both mean and std",
        "features, entry 2: typ is no key here",
        "feature \"c\": categories aren't scaled",
        "features, entry 4: ",
        "target: name and classes",
        "layers, entry 1: one of linear, batch_norm, layer_norm, activation",
        "layers, entry 2, linear: wieght is no key here",
        "layers, entry 3, activation: unknown activation \"relux\"",
        "layers, entry 4: one of",
    ] {
        assert!(message.contains(part), "{part:?} is missing in:\n{message}");
    }
    assert!(mistakes(F32, "").contains("features is missing"));
    assert!(mistakes(F32, "layers = []").contains("layers: at least one"));
}

#[test]
fn a_file_that_is_none_is_reported_in_a_line() {
    let huge = |header: &str| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 8]].concat();
    let elements = 1_u64 << 60;
    let files = [
        Vec::new(),
        b"{}".to_vec(),
        F32[..F32.len() - 1].to_vec(),
        F32[..100].to_vec(),
        vec![0xff; 1000],
        huge(&format!("{{\"a\":{{\"dtype\":\"F32\",\"shape\":[{elements}],\"data_offsets\":[0,8]}}}}")),
        huge(&format!("{{\"a\":{{\"dtype\":\"F32\",\"shape\":[{elements},{elements}],\"data_offsets\":[0,8]}}}}")),
        huge(&format!("{{\"a\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,{}]}}}}", elements * 4)),
    ];
    for file in files {
        let error = import(&file, LAYERS).unwrap_err();
        assert!(matches!(error, SafetensorsError::File(_)), "{error}");
        assert_eq!(error.to_string().lines().count(), 1);
    }
    assert!(matches!(import(F32, "layers = ["), Err(SafetensorsError::Toml(_))));
    let not_finite = file(&[("0.weight", &[1, 1], &[f32::NAN])]);
    let description = "features = 1\ntarget = { names = [\"y\"] }\nlayers = [{ linear = \"0\" }]";
    assert!(mistakes(&not_finite, description).contains("has the value NaN"));
}

/// A module of a stack whose width stays 3.
#[derive(Clone, Debug)]
enum Part {
    Linear(Vec<f64>),
    Affine(Vec<f64>),
    LayerNorm(Vec<f64>),
    Activation(Activation),
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let numbers = |count| proptest::collection::vec(0.1..1.0, count);
    let part = prop_oneof![
        numbers(12).prop_map(Part::Linear),
        numbers(6).prop_map(Part::Affine),
        numbers(6).prop_map(Part::LayerNorm),
        proptest::sample::select(&Activation::ALL[..]).prop_map(Part::Activation),
    ];
    proptest::collection::vec(part, 1..10)
}

fn halves(values: &[f64]) -> (Array1<f64>, Array1<f64>) {
    let (first, second) = values.split_at(3);
    (first.to_vec().into(), second.to_vec().into())
}

/// What a module gives, computed by itself.
fn naive(part: &Part, x: Array1<f64>) -> Array1<f64> {
    match part {
        Part::Linear(values) => {
            let weights = Array2::from_shape_vec((3, 3), values[3..].to_vec()).unwrap();
            x.dot(&weights) + Array1::from(values[..3].to_vec())
        }
        Part::Affine(values) => {
            let (scale, shift) = halves(values);
            x * scale - shift
        }
        Part::LayerNorm(values) => {
            let (scale, shift) = halves(values);
            let (mean, variance) = (x.sum() / 3.0, x.var_axis(Axis(0), 0.0).into_scalar());
            (x - mean) / (variance + 1e-2).sqrt() * scale - shift
        }
        Part::Activation(activation) => {
            let mut values: Vec<_> = x.iter().map(|&value| value as f32).collect();
            activation.apply(&mut values);
            values.into_iter().map(f64::from).collect()
        }
    }
}

proptest! {
    #[test]
    fn modules_in_any_order_compute_what_they_do_one_by_one(parts in parts(), x in proptest::collection::vec(-2.0..2.0, 3)) {
        let mut stack = Stack::new(3);
        for part in &parts {
            match part {
                Part::Linear(values) => {
                    let weights = Array2::from_shape_vec((3, 3), values[3..].to_vec()).unwrap();
                    stack.linear(weights, values[..3].to_vec().into());
                }
                Part::Affine(values) => {
                    let (scale, shift) = halves(values);
                    stack.affine(scale, -shift);
                }
                Part::LayerNorm(values) => {
                    let (scale, shift) = halves(values);
                    stack.layer_norm(stack::LayerNorm { scale, shift: -shift, epsilon: 1e-2 });
                }
                Part::Activation(activation) => stack.activation(*activation),
            }
        }
        let mut layers = stack.finish();
        if layers.is_empty() {
            layers = vec![crate::engine::Layer::new(Array2::eye(3), Array1::zeros(3), Activation::Identity)];
        }
        let mlp = Mlp::new(layers, Output::Identity).unwrap();
        let input = Array2::from_shape_fn((1, 3), |(_, column): (usize, usize)| x[column] as f32);
        let mut found = Array2::zeros((1, 3));
        mlp.forward(input.view(), found.view_mut(), &mut mlp.scratch());
        let expected = parts.iter().fold(Array1::from(x), |x, part| naive(part, x));
        let largest = expected.iter().fold(1.0_f64, |largest, value| largest.max(value.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            // Layer norms of almost equal columns make much of what f32 has lost.
            prop_assert!((f64::from(*found) - expected).abs() <= 1e-3 * largest, "{found} for {expected}");
        }
    }
}
