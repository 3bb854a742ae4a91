use std::fs;
use std::path::PathBuf;

use clap::Parser;
use ndarray::{Array1, Array2};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tempfile::TempDir;

use super::super::{ModelCommand, run};
use crate::engine::{Activation, Layer};
use crate::model::store::Store;
use crate::model::testing;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: ModelCommand,
}

/// A store with `delay@1`, a curve by hidden layers of `width` neurons, `late@1`, a classifier of 3 hidden neurons, and
/// rows that both answer without an error.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new(width: usize) -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut layer = |inputs: usize, outputs: usize, activation| {
            let scale = 2.0 / (inputs as f32).sqrt();
            let weights = Array2::from_shape_simple_fn((inputs, outputs), || rng.random_range(-scale..scale));
            Layer::new(weights, Array1::from_shape_simple_fn(outputs, || rng.random_range(-1.0..1.0)), activation)
        };
        let mut curve = testing::regression("delay", 1.0);
        curve.layers = vec![
            layer(1, width, Activation::Relu),
            layer(width, width, Activation::Relu),
            layer(width, 1, Activation::Identity),
        ];
        place.store().publish(&curve).unwrap();
        place.store().publish(&testing::classification("late")).unwrap();

        let rows = Array2::from_shape_fn((300, 1), |(row, _)| row as f64 / 50.0 - 3.0);
        let curve = place.store().load("delay", 1).unwrap();
        let mut answers = Array2::zeros((300, 1));
        curve.score(rows.view(), answers.view_mut(), &mut curve.scratch());
        let lines = rows.iter().zip(&answers).map(|(x, y)| format!("{x},{y}\n"));
        fs::write(place.data("delay"), format!("x,y\n{}", lines.collect::<String>())).unwrap();

        let late = place.store().load("late", 1).unwrap();
        let rows = Array2::from_shape_fn((300, 2), |(row, column)| [row as f64 / 20.0 - 7.0, (row % 3) as f64][column]);
        let mut answers = Array2::zeros((300, 2));
        late.score(rows.view(), answers.view_mut(), &mut late.scratch());
        let lines = rows.outer_iter().zip(answers.outer_iter()).map(|(row, p)| {
            let (colour, class) = (["red", "green", "blue"][row[1] as usize], if p[1] > p[0] { "yes" } else { "no" });
            format!("{},{colour},{class}\n", row[0])
        });
        fs::write(place.data("late"), format!("x,colour,y\n{}", lines.collect::<String>())).unwrap();
        place
    }

    fn store(&self) -> Store {
        Store::open(self.folder.path().join("models").to_str().unwrap()).unwrap()
    }

    fn data(&self, model: &str) -> PathBuf {
        self.folder.path().join(format!("{model}.csv"))
    }

    /// What `weir model` prints, with the data of `model` if it's named.
    fn weir_model(&self, arguments: &[&str], model: Option<&str>) -> anyhow::Result<String> {
        let store = self.folder.path().join("models");
        let mut words = vec!["model", arguments[0], arguments[1], "--store", store.to_str().unwrap()];
        words.extend(&arguments[2..]);
        let data = model.map(|model| self.data(model));
        words.extend(data.iter().flat_map(|data| ["--data", data.to_str().unwrap()]));
        let cli = Cli::try_parse_from(words)?;
        let mut out = Vec::new();
        run(&cli.command, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn refusal(&self, arguments: &[&str], model: Option<&str>) -> String {
        format!("{:#}", self.weir_model(arguments, model).unwrap_err())
    }
}

#[test]
fn quantized_versions_say_what_they_cost() {
    let place = Place::new(128);
    let before = place.store().load("delay", 1).unwrap();
    let report = place
        .weir_model(&["quantize", "delay@1", "--to", "int8", "--promote", "small", "--json"], Some("delay"))
        .unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["model"], &report["version"], &report["parent"]), (&"delay".into(), &2.into(), &1.into()));
    assert_eq!(report["layers"], "f32; int8, calibrated on the data; f32");
    let bytes = &report["weight_bytes"];
    assert_eq!(bytes["before"], 4 * (128 + 128 + 128 * 128 + 128 + 128 + 1));
    assert_eq!(bytes["after"], 128 + 128 * 128 + 128 + 4 * 2 * (128 + 128 + 1));
    assert!(report["rows_per_second"]["before"].as_f64().unwrap() > 0.0);
    assert!(report["rows_per_second"]["after"].as_f64().unwrap() > 0.0);
    let quality = &report["quality"];
    assert_eq!((&quality["metric"], &quality["rows"], &quality["left_out"]), (&"r2".into(), &300.into(), &0.into()));
    assert!(quality["before"].as_f64().unwrap() > 1.0 - 1e-9, "{quality}");
    assert!(quality["rmse"]["before"].as_f64().unwrap() < 1e-5, "{quality}");
    let lost = quality["lost_points"].as_f64().unwrap();
    assert!(lost > 0.0 && lost < 0.5, "{quality}");

    let after = place.store().load("delay", 2).unwrap();
    assert_eq!(place.store().aliases("delay").unwrap()["small"], 2);
    assert_eq!((after.manifest.parent, &after.manifest.training.recipe["quantize"]), (Some(1), &"int8".into()));
    assert_eq!(after.manifest.training.metrics["r2"], quality["after"].as_f64().unwrap());
    assert_eq!(after.manifest.training.metrics["test_rows"], 300.0);
    assert_eq!(after.baseline.features, before.baseline.features);
    assert_eq!(after.baseline.predictions[0].counts.iter().sum::<u64>(), 300);
    let evaluation = place.store().evaluation("delay", 2).unwrap().unwrap();
    assert_eq!(evaluation.metrics["r2"], quality["after"].as_f64().unwrap());

    let refusal = place.refusal(&["quantize", "delay@2", "--to", "f16"], None);
    assert!(refusal.contains("layer 0 has int8 weights already: quantize the f32 version"), "{refusal}");
}

#[test]
fn without_data_nothing_is_said_of_accuracy() {
    let place = Place::new(128);
    for (to, layers) in
        [("int8", "f32; int8, each row by its own range; f32"), ("f16", "f32; f32; f32"), ("bf16", "f32")]
    {
        let report = place.weir_model(&["quantize", "delay@1", "--to", to], None).unwrap();
        assert!(report.contains(&format!("version 1 with {to} weights\n  layers    {layers}")), "{report}");
        assert!(report.contains("accuracy  not measured: give labelled rows by --data"), "{report}");
    }
    let manifest = place.store().manifest("delay", 4).unwrap();
    assert!(manifest.training.metrics.is_empty());
    assert_eq!(place.store().load("delay", 4).unwrap().baseline, place.store().load("delay", 1).unwrap().baseline);
}

#[test]
fn what_costs_too_much_is_refused_unless_forced() {
    let place = Place::new(16);
    let prune = ["prune", "delay@1", "--share", "0.75"];
    let refusal = place.refusal(&prune, Some("delay"));
    assert!(refusal.starts_with("delay@1 stays as it is: 75 % fewer hidden neurons would lose "), "{refusal}");
    assert!(refusal.contains(" points of r2 (1.0000 → ") && refusal.contains("--max-accuracy-loss 0.5"), "{refusal}");
    assert_eq!(place.store().versions("delay").unwrap(), [1]);

    let report = place.weir_model(&[&prune[..], &["--force"]].concat(), Some("delay")).unwrap();
    assert!(report.contains("delay version 2: version 1 with 75 % fewer hidden neurons\n"), "{report}");
    assert!(report.contains("  layers   1-4-4-1\n"), "{report}");
    place.weir_model(&[&prune[..], &["--max-accuracy-loss", "1e9"]].concat(), Some("delay")).unwrap();
    assert_eq!(place.store().versions("delay").unwrap(), [1, 2, 3]);
    assert_eq!(place.store().manifest("delay", 3).unwrap().training.recipe["prune"], 0.75);

    // A classifier loses points of accuracy.
    let prune = ["prune", "late@1", "--share", "0.7"];
    let refusal = place.refusal(&prune, Some("late"));
    assert!(refusal.contains(" points of accuracy (1.0000 → "), "{refusal}");
    assert_eq!(place.store().versions("late").unwrap(), [1]);
    let report = place.weir_model(&["quantize", "late@1", "--to", "bf16"], Some("late")).unwrap();
    assert!(report.contains(" points, on 300 rows\n"), "{report}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let place = Place::new(16);
    for arguments in [
        &["prune", "delay@1", "--share", "1.5"][..],
        &["prune", "delay@1", "--share", "NaN"],
        &["prune", "delay@1"],
        &["quantize", "delay@1", "--to", "f32"],
        &["quantize", "delay@1", "--to", "int8", "--max-accuracy-loss", "-1"],
        &["quantize", "delay@1", "--to", "int8", "--max-accuracy-loss", "NaN"],
    ] {
        assert!(place.weir_model(arguments, None).unwrap_err().is::<clap::Error>(), "{arguments:?}");
    }
    let refusal = place.refusal(&["prune", "delay@1", "--share", "0.01"], None);
    assert!(refusal.starts_with("delay@1 stays as it is: no neuron can go"), "{refusal}");
    let refusal = place.refusal(&["quantize", "delay@1", "--to", "int8"], Some("nothing"));
    assert!(refusal.contains("nothing.csv"), "{refusal}");
    let refusal = place.refusal(&["quantize", "delay@1", "--to", "int8"], Some("late"));
    assert!(refusal.contains("have no target that it knows"), "{refusal}");
    fs::write(place.data("delay"), "x,y\n1,1\n").unwrap();
    let refusal = place.refusal(&["quantize", "delay@1", "--to", "int8"], Some("delay"));
    assert!(refusal.contains("1 rows are too few to measure what is lost"), "{refusal}");
    assert_eq!(place.store().versions("delay").unwrap(), [1]);
}
