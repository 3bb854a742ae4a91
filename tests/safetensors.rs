//! `weir model import FILE.safetensors --layers FILE.toml`: a state_dict becomes a model that answers as torch does.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Map, Value};

use crate::support::weir::command;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/safetensors").join(name)
}

fn import(file: &Path, layers: &Path, store: &Path, more: &[&str]) -> Output {
    let (file, layers, store) = (file.to_str().unwrap(), layers.to_str().unwrap(), store.to_str().unwrap());
    let arguments = ["model", "import", file, "--layers", layers, "--name", "titanic", "--store", store];
    command().args(arguments).args(more).output().unwrap()
}

fn rows() -> Vec<Map<String, Value>> {
    let text = std::fs::read_to_string(fixture("rows.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_state_dict_is_imported_checked_and_predicts() {
    let store = tempfile::tempdir().unwrap();
    for (version, precision) in (1..).zip(["f32", "f16", "bf16"]) {
        let answers = std::fs::read_to_string(fixture(&format!("{precision}.answers.json"))).unwrap();
        let answers: Vec<Vec<f64>> = serde_json::from_str(&answers).unwrap();
        let samples = store.path().join("samples.jsonl");
        let with_outputs = rows().into_iter().zip(&answers).map(|(mut row, outputs)| {
            row.insert("outputs".into(), outputs.as_slice().into());
            Value::from(row).to_string() + "\n"
        });
        std::fs::write(&samples, with_outputs.collect::<String>()).unwrap();
        let file = fixture(&format!("{precision}.safetensors"));
        let imported = import(&file, &fixture("layers.toml"), store.path(), &["--check", samples.to_str().unwrap()]);
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
        let said = String::from_utf8(imported.stdout).unwrap();
        assert!(said.starts_with(&format!("titanic version {version}: 4 features")), "{said}");
        assert!(said.contains("50 samples answered as expected"), "{said}");

        let reference = format!("titanic@{version}");
        let rows = fixture("rows.jsonl");
        let predict = ["predict", &reference, rows.to_str().unwrap(), "--store", store.path().to_str().unwrap()];
        let predicted = command().args(predict).output().unwrap();
        let lines = String::from_utf8(predicted.stdout).unwrap();
        assert_eq!(lines.lines().count(), answers.len());
        for (line, expected) in lines.lines().zip(answers) {
            let line: Value = serde_json::from_str(line).unwrap();
            for (class, expected) in ["first", "second", "third"].into_iter().zip(expected) {
                let found = line["probabilities"][class].as_f64().unwrap();
                assert!((found - expected).abs() <= 1e-5, "{precision}: {line} for {expected} of {class}");
            }
        }
    }
}

#[test]
fn what_is_wrong_is_reported_and_nothing_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let (store, layers) = (folder.path().join("models"), fixture("layers.toml"));
    let refused = |file: &Path, layers: &Path, more: &[&str]| {
        let output = import(file, layers, &store, more);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(!store.join("titanic").exists());
        String::from_utf8(output.stderr).unwrap()
    };
    let whole = std::fs::read(fixture("f32.safetensors")).unwrap();
    let truncated = folder.path().join("truncated.safetensors");
    std::fs::write(&truncated, &whole[..whole.len() / 2]).unwrap();
    let header = format!("{{\"a\":{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[0,8]}}}}", 1_u64 << 60);
    let claims = folder.path().join("claims.safetensors");
    std::fs::write(&claims, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 8]].concat()).unwrap();
    for file in [&truncated, &claims] {
        let message = refused(file, &layers, &[]);
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(
            message.contains(file.to_str().unwrap()) && message.contains("not all of it: write it again"),
            "{message}"
        );
    }

    let wrong = folder.path().join("layers.toml");
    let described = std::fs::read_to_string(&layers).unwrap();
    std::fs::write(&wrong, described.replace("\"7\"", "\"9\"").replace("kin", "age").replace("std", "sd")).unwrap();
    let message = refused(&fixture("f32.safetensors"), &wrong, &[]);
    assert!(message.contains("entry 1: sd is no key here"), "{message}");
    let absent = refused(&fixture("f32.safetensors"), Path::new("no-such.toml"), &[]);
    assert!(absent.contains("can't read no-such.toml"), "{absent}");
}

#[test]
fn tensors_alone_are_not_enough() {
    let store = tempfile::tempdir().unwrap();
    let (file, store) = (fixture("f32.safetensors"), store.path().to_str().unwrap());
    let arguments = ["model", "import", file.to_str().unwrap(), "--name", "titanic", "--store", store];
    let output = command().args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("say by --layers FILE"));
    let conflict = command().args(arguments).args(["--layers", "x.toml", "--task", "regression"]).output().unwrap();
    assert_eq!(conflict.status.code(), Some(2));
}
