//! `weir model export` writes what onnxruntime runs, and it answers as `weir predict` does.

use std::path::Path;
use std::process::Output;

use ndarray::{Array1, Array2};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};
use weir::engine::{Activation, Int8Input, Layer, Mlp, Norm, NormPlace, Output as Answer, Weights};
use weir::model::bundle::{Draft, Training};
use weir::model::preprocess::{Preprocess, Step, Transform};
use weir::model::signature::{Feature, Kind, Missing, Signature, Target, Unknown};
use weir::model::store::Store;
use weir::monitor::drift::Baseline;
use weir::train::preparation::Preparation;

use crate::support::models::{publish, year};
use crate::support::tools::python;
use crate::support::weir::command;

/// Of the larger of 1 and the column's largest magnitude.
const TOLERANCE: f64 = 1e-5;
const ROWS: usize = 300;

#[test]
fn onnxruntime_answers_as_weir_does() {
    let mut models = Models::new();
    let clamp = |low, high| Activation::Clamp { low, high };
    let more = [
        Activation::PRelu,
        Activation::LeakyRelu { slope: 0.3 },
        Activation::Elu { alpha: 0.3 },
        Activation::Celu { alpha: 0.3 },
        clamp(f32::NEG_INFINITY, 0.5),
        clamp(-0.5, f32::INFINITY),
        Activation::Round { low: -2.0, high: 3.0 },
    ];
    for (index, activation) in Activation::ALL.into_iter().chain(more).enumerate() {
        let place = [None, Some(NormPlace::BeforeActivation), Some(NormPlace::AfterActivation)][index % 3];
        let layers = models.layers(&[9, 3], activation, place);
        models.add(&format!("{}-{index}", activation.as_str().replace('_', "-")), classes(3), layers, Answer::Softmax);
    }
    let layers = models.layers(&[8, 1], Activation::Relu, None);
    models.add("logistic", classes(2), layers, Answer::Logistic);
    let layers = models.layers(&[8, 4], Activation::Tanh, Some(NormPlace::AfterActivation));
    models.add("regression", numbers(4), layers, Answer::Identity);
    for name in ["f16", "bf16", "int8"] {
        let mut layers = models.layers(&[8, 2], Activation::Silu, None);
        layers.iter_mut().for_each(|layer| layer.weights = narrow(name, &layer.weights));
        models.add(name, numbers(2), layers, Answer::Identity);
    }
    models.compare();
}

#[test]
fn a_model_of_real_flights_answers_the_same_elsewhere() {
    let mut models = Models::new();
    publish(models.store.path(), 1, Preparation::default());
    let year = year();
    let rows = year.iter().step_by(year.len() / 1000).map(|departure| serde_json::from_str(&departure.json).unwrap());
    models.published.push(("flights".into(), rows.collect()));
    models.compare();
}

#[test]
fn a_file_is_replaced_whole_or_left_alone() {
    let mut models = Models::new();
    let layers = models.layers(&[2], Activation::Relu, None);
    models.add("small", numbers(2), layers, Answer::Identity);
    let file = models.store.path().join("small.onnx");
    std::fs::write(&file, "another file").unwrap();
    let absent = models.export("small@2", &file);
    assert_eq!(absent.status.code(), Some(1), "{absent:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"another file");
    let exported = models.export("small@1", &file);
    let said = String::from_utf8(exported.stdout).unwrap();
    assert!(said.starts_with("small version 1: ") && said.ends_with(", 8 inputs, outputs variable_2\n"), "{said}");
    let inside = std::fs::read(&file).unwrap();
    assert!(inside.windows(4).any(|bytes| bytes == b"weir") && !inside.starts_with(b"another"));

    let nowhere = models.export("small@1", &models.store.path().join("absent/small.onnx"));
    assert_eq!(nowhere.status.code(), Some(1));
    let error = String::from_utf8(nowhere.stderr).unwrap();
    assert!(error.starts_with("weir: can't write ") && error.lines().count() == 1, "{error}");
    let left = std::fs::read_dir(models.store.path()).unwrap();
    assert!(left.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with(".weir-export")));
}

/// Models in a store, with the records that both are asked about.
struct Models {
    store: tempfile::TempDir,
    published: Vec<(String, Vec<Map<String, Value>>)>,
    random: StdRng,
}

impl Models {
    fn new() -> Models {
        let store = tempfile::tempdir().unwrap();
        Models { store, published: Vec::new(), random: StdRng::seed_from_u64(4) }
    }

    fn url(&self) -> String {
        format!("file:{}", self.store.path().display())
    }

    /// Layers of these widths behind [`features`]; the last one is without activation and norm.
    fn layers(&mut self, widths: &[usize], activation: Activation, norm: Option<NormPlace>) -> Vec<Layer> {
        let random = &mut self.random;
        let (signature, transforms) = features(numbers(1));
        let mut inputs = Preprocess::new(&signature, &transforms).unwrap().width();
        let mut layers = Vec::new();
        for &outputs in widths {
            let mut vector = |low, high| Array1::from_shape_fn(outputs, |_| random.random_range(low..high));
            let norm =
                norm.map(|place| Norm { scale: vector(0.5, 2.0), shift: vector(-1.0, 1.0), epsilon: 1e-5, place });
            let bias = vector(-1.0, 1.0);
            let slopes = (activation == Activation::PRelu).then(|| vector(-0.5, 1.5));
            let weights = Array2::from_shape_fn((inputs, outputs), |_| random.random_range(-1.0..1.0));
            layers.push(Layer { weights: Weights::F32(weights), bias, activation, slopes, norm, passed: 0 });
            inputs = outputs;
        }
        let last = layers.last_mut().unwrap();
        (last.activation, last.slopes, last.norm) = (Activation::Identity, None, None);
        layers
    }

    fn add(&mut self, name: &str, target: Target, layers: Vec<Layer>, output: Answer) {
        let (signature, preprocessing) = features(target);
        let golden = vec![1.7e9, 1.0, 1.0, 1.0, 0.0, 1.0, 2.0, 0.0];
        let preprocess = Preprocess::new(&signature, &preprocessing).unwrap();
        let mut input = Array2::zeros((1, preprocess.width()));
        preprocess.apply(&golden, input.as_slice_mut().unwrap());
        let mlp = Mlp::new(layers.clone(), output).unwrap();
        let mut outputs = Array2::zeros((1, mlp.outputs()));
        mlp.forward(input.view(), outputs.view_mut(), &mut mlp.scratch());
        let rows = Array2::from_shape_vec((1, golden.len()), golden.clone()).unwrap();
        let baseline = Baseline::fit(&signature, rows.view(), outputs.view());
        let draft = Draft {
            name: name.into(),
            parent: None,
            signature,
            decision: None,
            target_scale: None,
            preprocessing,
            layers,
            output,
            training: Training::default(),
            baseline,
            evaluation: None,
            golden_rows: vec![golden],
        };
        Store::open(&self.url()).unwrap().publish(&draft).unwrap();
        let rows = (0..ROWS).map(|_| record(&mut self.random)).collect();
        self.published.push((name.into(), rows));
    }

    fn export(&self, reference: &str, file: &Path) -> Output {
        let file = file.to_str().unwrap();
        command().args(["model", "export", reference, "--onnx", file, "--store", &self.url()]).output().unwrap()
    }

    /// Imports the exported file under another name.
    fn import(&self, name: &str) {
        let (file, again) = (self.store.path().join(format!("{name}.onnx")), format!("{name}-again"));
        let arguments = ["model", "import", file.to_str().unwrap(), "--name", &again, "--store", &self.url()];
        let imported = command().args(arguments).output().unwrap();
        assert!(imported.status.success(), "{name}: {}", String::from_utf8_lossy(&imported.stderr));
    }

    /// What `weir predict` answers.
    fn predict(&self, name: &str, rows: &[Map<String, Value>]) -> Vec<Value> {
        let file = self.store.path().join(format!("{name}.jsonl"));
        let lines: Vec<_> = rows.iter().map(|row| Value::from(row.clone()).to_string()).collect();
        std::fs::write(&file, lines.join("\n")).unwrap();
        let reference = format!("{name}@latest");
        // Some records lack most of their values.
        let arguments = ["predict", &reference, file.to_str().unwrap(), "--store", &self.url(), "--min-features", "0"];
        let output = command().args(arguments).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Exports all of them and asks both about the same records, and the file when it is imported again.
    fn compare(&self) {
        let mut asked = Vec::new();
        for (name, rows) in &self.published {
            let file = self.store.path().join(format!("{name}.onnx"));
            let exported = self.export(&format!("{name}@latest"), &file);
            assert!(exported.status.success(), "{name}: {}", String::from_utf8_lossy(&exported.stderr));
            let said = String::from_utf8(exported.stdout).unwrap();
            let narrow = ["f16", "bf16", "int8"].contains(&name.as_str());
            assert_eq!(said.contains("written as the f32 values"), narrow, "{said}");
            asked.push(json!({"path": file, "rows": rows}));
        }
        let answers = python("onnx_answers.py", &[], &json!({ "models": asked }));
        for ((name, rows), answers) in self.published.iter().zip(answers.as_array().unwrap()) {
            let expected = self.predict(name, rows);
            // The features take the plain names of two outputs.
            let output = |names: &[&str]| names.iter().find_map(|name| answers.get(*name)).map(|rows| rows.as_array());
            let numbers = output(&["probabilities_2", "probabilities", "variable_2", "variable"]).unwrap().unwrap();
            compare_numbers(name, numbers, expected.iter().map(answer).collect());
            self.import(name);
            let again = self.predict(&format!("{name}-again"), rows);
            compare_numbers(
                &format!("{name}, imported again"),
                &again.iter().map(answer).collect::<Vec<_>>(),
                expected.iter().map(answer).collect(),
            );
            let Some(labels) = output(&["label_2", "label"]) else { continue };
            for ((label, probabilities), record) in labels.unwrap().iter().zip(numbers).zip(&expected) {
                let mut sorted: Vec<_> = probabilities.as_array().unwrap().iter().filter_map(Value::as_f64).collect();
                sorted.sort_by(|a, b| b.total_cmp(a));
                assert!(
                    *label == record["prediction"] || sorted[0] - sorted[1] < TOLERANCE,
                    "{name}: {label} for {record}"
                );
            }
        }
    }
}

/// What a prediction says: probabilities in the order of the classes' names, or numbers.
fn answer(prediction: &Value) -> Value {
    match &prediction["probabilities"] {
        Value::Object(probabilities) => probabilities.values().cloned().collect(),
        _ => prediction["prediction"].clone(),
    }
}

fn compare_numbers(name: &str, found: &[Value], expected: Vec<Value>) {
    let row = |row: &Value| match row.as_array() {
        Some(values) => values.iter().map(|value| value.as_f64().unwrap()).collect(),
        None => vec![row.as_f64().unwrap()],
    };
    let (found, expected): (Vec<_>, Vec<Vec<f64>>) =
        (found.iter().map(row).collect(), expected.iter().map(row).collect());
    assert_eq!(found.len(), expected.len(), "{name}");
    for column in 0..expected[0].len() {
        let largest = expected.iter().map(|row| row[column].abs()).fold(1.0, f64::max);
        for (found, expected) in found.iter().zip(&expected) {
            let difference = (found[column] - expected[column]).abs() / largest;
            assert!(difference <= TOLERANCE, "{name}, output {column}: {found:?} for {expected:?}");
        }
    }
}

fn classes(count: usize) -> Target {
    // In order of the alphabet, as serde_json gives the members of a prediction's probabilities.
    let classes = ["maybe", "no", "yes"][..count].iter().map(|&name| name.into()).collect();
    Target::Classification { name: "y".into(), classes }
}

fn numbers(count: usize) -> Target {
    Target::Regression { names: (0..count).map(|index| format!("y{index}")).collect() }
}

/// Every step, every way to deal with a gap, and names that the graph would use itself.
fn features(target: Target) -> (Signature, Vec<Transform>) {
    let number = |name: &str, missing, indicator, steps: &[Step]| {
        let feature = Feature { name: name.into(), kind: Kind::Numeric, missing };
        (feature, Transform::Numeric { steps: steps.to_vec(), indicator })
    };
    let category = |name: &str, missing, unknown| {
        let categories = ["red", "green", "blue"].map(String::from).into();
        (Feature { name: name.into(), kind: Kind::Categorical { categories, unknown }, missing }, Transform::OneHot)
    };
    let rounded: Vec<_> = [Step::Add { value: -0.3 }, Step::Multiply { value: 1.7 }, Step::Divide { value: 3.3 }]
        .into_iter()
        .flat_map(|step| [Step::Round, step])
        .collect();
    let (features, transforms) = [
        // An f32 has steps of 128 s there.
        number("time", Missing::Reject, false, &[Step::Standardize { mean: 1.7e9, std: 100.0 }]),
        number(
            "variable",
            Missing::Median { value: 3.25 },
            true,
            &[Step::Clip { low: 0.0, high: 50.0 }, Step::Log1p, Step::MinMax { min: 0.0, max: 4.0 }],
        ),
        number("label", Missing::Constant { value: 0.1 }, false, &rounded),
        number("probabilities", Missing::Mean { value: 0.5 }, false, &[]),
        category("Cast", Missing::Reject, Unknown::Reject),
        category("zeros", Missing::Zeros, Unknown::Zeros),
        category("other", Missing::Zeros, Unknown::Other),
        category("usual", Missing::Category { index: 1 }, Unknown::Other),
    ]
    .into_iter()
    .unzip();
    (Signature { features, target }, transforms)
}

/// A record that [`features`] accept, with gaps and unknown categories where they are forgiven.
fn record(random: &mut StdRng) -> Map<String, Value> {
    let mut colour = |kinds| ["red", "green", "blue", "mauve"][random.random_range(0..kinds)];
    let mut record: Map<_, _> = [("Cast", 3), ("zeros", 4), ("other", 4), ("usual", 4)]
        .map(|(name, kinds)| (name.into(), colour(kinds).into()))
        .into_iter()
        .collect();
    for (name, low, high) in [("variable", -10.0, 80.0), ("label", -3.0, 3.0), ("probabilities", -3.0, 3.0)] {
        record.insert(name.into(), random.random_range(low..high).into());
    }
    for name in ["variable", "label", "probabilities", "zeros", "other", "usual"] {
        if random.random_bool(0.2) {
            record.insert(name.into(), Value::Null);
        }
    }
    record.insert("time".into(), (1.7e9 + random.random_range(-300.0..300.0)).into());
    record
}

fn narrow(name: &str, weights: &Weights) -> Weights {
    let weights = weights.to_f32();
    match name {
        "f16" => Weights::F16(weights.mapv(half::f16::from_f32)),
        "bf16" => Weights::Bf16(weights.mapv(half::bf16::from_f32)),
        _ => Weights::Int8 {
            values: weights.mapv(|weight| (weight * 100.0) as i8),
            scales: Array1::from_elem(weights.ncols(), 0.01),
            input: Int8Input::F32,
        },
    }
}
