//! Pipelines of scikit-learn, drawn at random from the transformers that weir imports: each is fitted, exported by
//! skl2onnx, imported, and answers as scikit-learn itself does, for rows with gaps, unknown categories and extremes.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::samples::{expected, predict, weir};
use crate::support::tools::python;

const PIPELINES: usize = 30;
const ROWS: usize = 200;

/// What answers may differ by, relative to the larger of 1 and the largest of the column: skl2onnx writes parameters in
/// f32, which scikit-learn has in f64.
const TOLERANCE: f64 = 2e-4;

#[test]
fn pipelines_of_scikit_learn_answer_as_scikit_learn_does() {
    let folder = tempfile::tempdir().unwrap();
    let request = json!({
        "folder": folder.path(), "seed": 1, "pipelines": PIPELINES, "rows": ROWS, "example": example(),
    });
    let made = python("pipelines.py", &[], &request);
    let pipelines = made.as_array().unwrap();
    assert_eq!(pipelines.len(), PIPELINES);
    let store = format!("file:{}", folder.path().join("store").display());
    let failures: Vec<String> = pipelines.iter().filter_map(|pipeline| compare(pipeline, &store).err()).collect();
    assert!(failures.is_empty(), "{} of {PIPELINES} pipelines:\n{}", failures.len(), failures.join("\n"));
}

/// The code that the help shows for scikit-learn: what it prints is what `--check` takes.
fn example() -> String {
    let help = weir(&["model", "import", "--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, after) = help.split_once("values are NaN or None:\n").unwrap();
    let lines: Vec<&str> = after.lines().map_while(|line| line.strip_prefix("  ")).collect();
    assert_eq!(lines.len(), 2, "{after}");
    lines.join("\n")
}

fn compare(pipeline: &Value, store: &str) -> Result<(), String> {
    let text = |key: &str| pipeline[key].as_str().unwrap();
    let (name, records) = (text("name"), text("records"));
    let failed = |what: &str, output: &Output| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("{name}, {what}: {said}\n  {}", text("steps")))
    };
    let imported = weir(&["model", "import", text("file"), "--name", name, "--target", "outcome", "--store", store]);
    if !imported.status.success() {
        return failed("import", &imported);
    }
    let found = match predict(name, records, store) {
        Ok(found) => found,
        Err(output) => return failed("predict", &output),
    };
    let expected = expected(records);
    assert_eq!((found.len(), expected.len()), (ROWS, ROWS), "{name}");
    for column in 0..expected[0].len() {
        let largest = expected.iter().map(|row| row[column].abs()).fold(1.0, f64::max);
        for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let difference = (found[column] - expected[column]).abs();
            if found.len() != expected.len() || difference.is_nan() || difference > TOLERANCE * largest {
                return Err(format!(
                    "{name}, row {row}, output {column}: {found:?}, scikit-learn {expected:?}\n  {}",
                    text("steps")
                ));
            }
        }
    }
    // The table that the pipeline was fitted on is one that weir evaluates it on.
    let evaluated = weir(&["evaluate", &format!("{name}@1"), text("table"), "--store", store, "--json"]);
    if !evaluated.status.success() {
        return failed("evaluate", &evaluated);
    }
    let report: Value = serde_json::from_slice(&evaluated.stdout).unwrap();
    // A row that lacks more than half of its features is rejected, as on a topic.
    match (report["rejected"].as_u64(), report["without_target"].as_u64()) {
        (Some(rejected), Some(0)) if rejected < 30 => Ok(()),
        _ => Err(format!("{name}, evaluate: {report}")),
    }
}
