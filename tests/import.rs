//! Models of scikit-learn and PyTorch, imported: weir answers as onnxruntime does, on 1,000 random rows each.

use std::fs;
use std::io::BufReader;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use weir::limits::Limits;
use weir::model::import::{Hints, Samples};
use weir::model::onnx;

use crate::support::samples::{expected, predict, read, weir};
use crate::support::tools::python;

const ROWS: usize = 1_000;

#[test]
fn imported_models_answer_as_onnxruntime_does() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx");
    let fixtures = fs::read_dir(&fixtures).unwrap().map(|entry| entry.unwrap().path());
    let mut fixtures: Vec<_> = fixtures.filter(|path| path.extension().is_some_and(|end| end == "onnx")).collect();
    fixtures.sort();
    let made = python("onnx_models.py", &[], &json!({"folder": folder.path(), "fixtures": fixtures, "rows": ROWS}));
    let models = made.as_array().unwrap();
    assert!(models.len() >= 246 && fixtures.len() >= 90, "{} models", models.len());

    let store = format!("file:{}", folder.path().join("store").display());
    let mut failures = Vec::new();
    for model in models {
        let [name, file, samples] = ["name", "file", "samples"].map(|key| model[key].as_str().unwrap());
        let imported = weir(&["model", "import", file, "--name", name, "--store", &store]);
        if !imported.status.success() {
            failures.push(format!("{name}: {}", text(&imported)));
            continue;
        }
        if let Err(difference) = compare(name, samples, &store) {
            failures.push(difference);
        }
        if let Err(difference) = compare_reference(name, file, samples) {
            failures.push(difference);
        }
    }
    assert!(failures.is_empty(), "{} of {} models:\n{}", failures.len(), models.len(), failures.join("\n"));
    the_import_checks_samples_itself(&models[0], &store);
}

/// Scores the samples by `weir predict` and compares with what onnxruntime answered.
fn compare(name: &str, samples: &str, store: &str) -> Result<(), String> {
    let found = predict(name, samples, store)
        .map_err(|failed| format!("{name}: {}", String::from_utf8_lossy(&failed.stderr)))?;
    agree(name, &found, &expected(samples))
}

/// Whether the answers to all rows agree; of a quantised model to all but a few, where rounding went the other way.
fn agree(name: &str, found: &[Vec<f64>], expected: &[Vec<f64>]) -> Result<(), String> {
    assert_eq!((found.len(), expected.len()), (ROWS, ROWS), "{name}");
    let columns = expected[0].len();
    let largest = |column: usize| expected.iter().map(|row| row[column].abs()).fold(1.0, f64::max);
    let largest: Vec<f64> = (0..columns).map(largest).collect();
    let is_near = |found: &[f64], expected: &[f64]| {
        let mut numbers = found.iter().zip(expected).zip(&largest);
        found.len() == columns && numbers.all(|((found, expected), largest)| (found - expected).abs() <= 1e-5 * largest)
    };
    let rows = found.iter().zip(expected).enumerate();
    let wrong: Vec<_> = rows.filter(|(_, (found, expected))| !is_near(found, expected)).collect();
    let forgiven =
        if name.starts_with("quantised") || name.starts_with("reference of quantised") { ROWS / 50 } else { 0 };
    match wrong.first() {
        Some((row, (found, expected))) if wrong.len() > forgiven => {
            Err(format!("{name}, row {row} and {} more: {found:?}, onnxruntime {expected:?}", wrong.len() - 1))
        }
        _ => Ok(()),
    }
}

/// What the reference that imports are checked against answers for the samples.
fn compare_reference(name: &str, file: &str, samples: &str) -> Result<(), String> {
    let imported = onnx::read(Path::new(file), &Hints::default()).unwrap();
    let read = Samples::read(BufReader::new(fs::File::open(samples).unwrap()), &imported.signature, Limits::default())
        .unwrap();
    let reference = imported.reference.unwrap();
    let found = reference.answers(&imported.signature, read.rows()).map_err(|error| format!("{name}: {error}"))?;
    let found: Vec<Vec<f64>> = found.rows().into_iter().map(|row| row.to_vec()).collect();
    agree(&format!("reference of {name}"), &found, &expected(samples))
}

/// The features of samples as a table with the columns `x0`, `x1` and so on.
fn csv(samples: &[Value]) -> String {
    let width = samples[0]["features"].as_array().unwrap().len();
    let mut csv = (0..width).map(|index| format!("x{index}")).collect::<Vec<_>>().join(",");
    for sample in samples {
        let row: Vec<_> = sample["features"].as_array().unwrap().iter().map(Value::to_string).collect();
        csv += &format!("\n{}", row.join(","));
    }
    csv
}

/// `--check`, `--baseline` and `--promote`, on a model whose samples are there.
fn the_import_checks_samples_itself(model: &Value, store: &str) {
    let [file, samples] = ["file", "samples"].map(|key| model[key].as_str().unwrap());
    let import = |options: &[&str]| {
        let arguments = ["model", "import", file, "--name", "checked", "--store", store, "--json"];
        weir(&[&arguments, options].concat())
    };
    let records: Vec<Value> = fs::read_to_string(samples).unwrap().lines().map(read).collect();
    let table = format!("{samples}.csv");
    fs::write(&table, csv(&records)).unwrap();
    let output = import(&["--check", samples, "--baseline", &table, "--promote", "canary"]);
    assert!(output.status.success(), "{}", text(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["checked"]["rows"], ROWS);
    assert!(report["checked"]["largest_difference"].as_f64().unwrap() < 1e-5);
    assert_eq!((&report["golden_rows"], &report["baseline"]["rows"]), (&json!(32), &json!(ROWS)));
    let verified = weir(&["model", "verify", "checked@canary", "--store", store]);
    assert!(verified.status.success(), "{}", text(&verified));

    // One answer that isn't the model's, and nothing is published.
    let wrong = format!("{samples}.wrong");
    let mut lines: Vec<String> = fs::read_to_string(samples).unwrap().lines().map(String::from).collect();
    let mut record = records[7].clone();
    record["outputs"][0] = json!(record["outputs"][0].as_f64().unwrap() + 2e-5);
    lines[7] = record.to_string();
    fs::write(&wrong, lines.join("\n")).unwrap();
    let output = import(&["--check", &wrong, "--promote", "canary"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("sample 8: output") && text(&output).contains("1 of 1000 samples differ"),
        "{}",
        text(&output)
    );
    assert!(!weir(&["model", "show", "checked@2", "--store", store]).status.success());

    assert_eq!(import(&["--task", "clustering"]).status.code(), Some(2));
    let torn = format!("{file}.torn");
    fs::write(&torn, &fs::read(file).unwrap()[..500]).unwrap();
    let output = weir(&["model", "import", &torn, "--name", "torn", "--store", store]);
    assert_eq!((output.status.code(), text(&output).lines().count()), (Some(1), 1), "{}", text(&output));
}

#[test]
fn an_import_names_columns_that_the_exporter_renamed() {
    let folder = tempfile::tempdir().unwrap();
    let import = |options: &[&str]| import_exported(folder.path(), options);
    let [store, rows] = ["store", "rows.jsonl"].map(|name| folder.path().join(name).display().to_string());
    export_of_three_classes(folder.path());
    fs::write(&rows, "{\"petal length (cm)\":1.5,\"width\":2,\"prediction\":\"a\"}").unwrap();

    let plain = import(&[]);
    assert!(plain.status.success(), "{}", text(&plain));
    let said = String::from_utf8_lossy(&plain.stdout).into_owned();
    assert!(said.contains("names     \"petal_length__cm_\" may have had other characters"), "{said}");
    let refused = import(&["--check", &rows]);
    assert_eq!(refused.status.code(), Some(1));
    let both = "\"petal length (cm)\" is called \"petal_length__cm_\" by the file";
    assert!(text(&refused).contains(both), "{}", text(&refused));
    let predicted = weir(&["predict", "i@1", &rows, "--store", &store]);
    assert!(text(&predicted).contains("missing_feature"), "{}", text(&predicted));

    let named = import(&["--feature-names", "petal length (cm),width"]);
    assert!(named.status.success() && !String::from_utf8_lossy(&named.stdout).contains("names  "), "{}", text(&named));
    assert!(weir(&["predict", "i@2", &rows, "--store", &store]).status.success());
}

#[test]
fn an_import_with_more_outputs_than_expected_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    export_of_three_classes(folder.path());
    let refused = import_exported(folder.path(), &["--max-outputs", "2"]);
    assert_eq!(refused.status.code(), Some(1));
    let problem = "it answers 3 classes or numbers, and at most 2 are accepted";
    assert!(text(&refused).contains(problem), "{}", text(&refused));
    assert!(import_exported(folder.path(), &["--max-outputs", "3"]).status.success());
}

#[test]
fn an_import_works_on_the_table_that_it_was_fitted_on() {
    let folder = tempfile::tempdir().unwrap();
    export_of_three_classes(folder.path());
    let [store, table] = ["store", "t.csv"].map(|name| folder.path().join(name).display().to_string());
    let without = import_exported(folder.path(), &["--classes-from", &table]);
    assert!(without.status.code() == Some(2) && text(&without).contains("--target"), "{}", text(&without));
    let options = ["--target", "y", "--classes-from", &table, "--description", "Grown from seeds."];
    let imported = import_exported(folder.path(), &options);
    assert!(imported.status.success(), "{}", text(&imported));

    let words = [
        &["model", "show", "i@1"][..],
        &["evaluate", "i@1", &table],
        &["model", "quantize", "i@1", "--to", "f16", "--data", &table],
        &["model", "prune", "i@1", "--share", "0.01", "--force", "--data", &table],
        &["train", &table, "--target", "y", "--name", "j", "--from", "i@1", "--max-iter", "1"],
    ];
    for words in words {
        let output = weir(&[words, &["--store", &store]].concat());
        assert!(output.status.success(), "{words:?}: {}", text(&output));
        let shows = words.contains(&"show");
        assert!(!shows || text(&output).contains("Grown from seeds."), "{}", text(&output));
    }
}

/// Trains a model of three classes and exports it, with a column as skl2onnx would name it.
fn export_of_three_classes(folder: &Path) {
    let [store, table, file] = ["store", "t.csv", "m.onnx"].map(|name| folder.join(name).display().to_string());
    let rows: String = (0..40).map(|row| format!("{}.5,{},{}\n", row, row % 7, ["a", "b", "c"][row % 3])).collect();
    fs::write(&table, format!("petal_length__cm_,width,y\n{rows}")).unwrap();
    let trained = weir(&["train", &table, "--target", "y", "--name", "m", "--max-iter", "2", "--store", &store]);
    assert!(trained.status.success(), "{}", text(&trained));
    let exported = weir(&["model", "export", "m@1", "--onnx", &file, "--store", &store]);
    assert!(exported.status.success(), "{}", text(&exported));
}

fn import_exported(folder: &Path, options: &[&str]) -> Output {
    let [store, file] = ["store", "m.onnx"].map(|name| folder.join(name).display().to_string());
    weir(&[&["model", "import", &file, "--name", "i", "--store", &store][..], options].concat())
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
