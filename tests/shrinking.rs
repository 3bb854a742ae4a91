//! `weir model quantize` and `weir model prune` on a model of the flights, as a data scientist runs them.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::weir::command;

const FLIGHTS: &str = "examples/flights/sample.csv.gz";

fn weir(store: &Path, words: &[&str]) -> Output {
    command().args(words).arg("--store").arg(store).output().unwrap()
}

fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn flights_lose_nothing_that_matters() {
    let folder = tempfile::tempdir().unwrap();
    let train = ["train", FLIGHTS, "--target", "late", "--id", "id", "--time", "time", "--impute", "mean"];
    let options = ["--name", "flights", "--hidden-layer-sizes", "128,128", "--max-iter", "3", "--random-state", "1"];
    let trained = weir(folder.path(), &[&train[..], &options].concat());
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));

    for (to, bytes, points) in [("int8", 3.6, 0.3), ("f16", 1.9, 0.05), ("bf16", 1.9, 0.2)] {
        let words = ["model", "quantize", "flights@1", "--to", to, "--json", "--data", FLIGHTS];
        let report = report(&weir(folder.path(), &words));
        let number = |pointer: &str| report.pointer(pointer).unwrap().as_f64().unwrap();
        let smaller = number("/weight_bytes/before") / number("/weight_bytes/after");
        assert!(smaller >= bytes, "{to}: {report}");
        assert!(number("/quality/lost_points").abs() <= points, "{to}: {report}");
        assert!(number("/quality/before") > 0.85, "{to}: {report}");
    }
    let words = ["model", "prune", "flights@1", "--share", "0.25", "--json", "--data", FLIGHTS];
    assert_eq!(report(&weir(folder.path(), &words))["layers"].as_str().unwrap().split_once('-').unwrap().1, "96-96-1");

    let words = ["model", "prune", "flights@1", "--share", "0.98", "--data", FLIGHTS];
    let refused = weir(folder.path(), &words);
    assert_eq!(refused.status.code(), Some(1));
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains("points of accuracy") && error.contains("--force"), "{error}");

    let verified = weir(folder.path(), &["model", "verify", "flights@2"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}
