//! `weir train` as a person runs it: options, interruptions, and continuing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use weir::model::store::Store;

use crate::support::weir::command;

/// A folder with data and a store.
struct Place {
    folder: tempfile::TempDir,
}

/// Options for a training of some seconds that nobody waits for.
const ENDLESS: [&str; 6] = ["--max-iter", "1000000", "--tol", "0", "--n-iter-no-change", "inf"];

impl Place {
    /// With a file of numbers and two kinds of flowers, some of them incomplete.
    fn new() -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        let mut text = String::from("id,length,width,colour,kind\n");
        for row in 0..400 {
            let (length, width) = ((row as f64 * 1.3).sin() * 50.0 + 1000.0, (row as f64 * 0.7).cos());
            let kind = if length + 40.0 * width * width > 1020.0 { "iris" } else { "rose" };
            let length = if row % 40 == 7 { String::new() } else { length.to_string() };
            text += &format!("{row},{length},{width},{},{kind}\n", ["red", "blue", "white"][row % 3]);
        }
        fs::write(place.data(), text).unwrap();
        place
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("flowers.csv")
    }

    fn store(&self) -> Store {
        Store::open(&self.url()).unwrap()
    }

    fn url(&self) -> String {
        format!("file:{}", self.folder.path().join("models").display())
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = command();
        command.arg("train").arg(self.data()).args(["--target", "kind", "--id", "id", "--name", "flowers"]);
        command.args(["--store", &self.url()]).args(options);
        command
    }

    fn train(&self, options: &[&str]) -> Output {
        self.command(options).output().unwrap()
    }

    /// What a training reports that succeeds.
    fn report(&self, options: &[&str]) -> Value {
        let output = self.train(&[options, &["--json"]].concat());
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A training that is running, and has just said that this epoch is done.
    fn running(&self, options: &[&str], epoch: usize) -> Running {
        let mut process = self.command(options).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut running = Running { stderr: BufReader::new(process.stderr.take().unwrap()), process };
        running.read_until(&format!("epoch {epoch}/"));
        running
    }
}

/// Killed when dropped.
struct Running {
    process: Child,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Running {
    fn read_until(&mut self, start: &str) {
        let mut line = String::new();
        while !line.starts_with(start) {
            line.clear();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "it ended before {start:?}");
        }
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// The exit code, and what it said from here on.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.stderr, &mut rest).unwrap();
        (self.process.wait().unwrap().code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_example_of_the_first_hour_runs_as_it_stands() {
    let place = Place::new();
    let report = place.report(&[
        "--dropna",
        "--hidden-layer-sizes",
        "100,100",
        "--max-iter",
        "1000",
        "--alpha",
        "0.0001",
        "--solver",
        "sgd",
        "--random-state",
        "1",
        "--test-size",
        "0.2",
    ]);
    let (rows, left_out) = (&report["metrics"]["rows"], &report["left_out"]);
    assert_eq!(rows.as_f64().unwrap() + left_out["incomplete"].as_f64().unwrap(), 320.0);
    assert!(report["metrics"]["accuracy"].as_f64().unwrap() > 0.9, "{}", report["metrics"]);
    let losses = report["losses"].as_array().unwrap();
    assert!(losses.last().unwrap().as_f64() < losses[0].as_f64());
    place.store().load("flowers", 1).unwrap();
}

#[test]
fn a_killed_training_goes_on_as_if_nothing_had_happened() {
    let place = Place::new();
    let checkpoint = place.folder.path().join("state.checkpoint");
    let options = ["--early-stopping", "--class-weight", "balanced", "--tol", "0", "--n-iter-no-change", "inf"];
    let kept = [&options[..], &["--checkpoint", checkpoint.to_str().unwrap()]].concat();
    let resumed = [&kept[..], &["--resume"]].concat();

    // The first time there is nothing to resume yet: one command line serves for all starts.
    let mut done = 0;
    for _ in 0..2 {
        let running = place.running(&[&resumed[..], &["--max-iter", "1000000"]].concat(), done + 5);
        running.signal("-KILL");
        assert_eq!(running.end().0, None);
        let refused = place.train(&kept);
        assert_eq!(refused.status.code(), Some(1));
        let message = said(&refused);
        let epoch = message.split("isn't finished (epoch ").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
        let epoch: usize = epoch.parse().unwrap();
        assert!(epoch >= done + 5, "{epoch}");
        done = epoch;
    }
    let other = place.train(&[&resumed[..], &["--alpha", "0.5"]].concat());
    assert_eq!(other.status.code(), Some(1));
    assert!(said(&other).contains("--alpha is 0.0001, here it is 0.5"), "{}", said(&other));
    assert!(place.store().versions("flowers").unwrap().is_empty(), "nothing is published yet");

    let until = (done + 10).to_string();
    let report = place.report(&[&resumed[..], &["--max-iter", &until]].concat());
    let whole = place.report(&[&options[..], &["--max-iter", &until]].concat());
    for part in ["losses", "validation_scores", "metrics", "stop"] {
        assert_eq!(report[part], whole[part], "{part}");
    }
    let weights = |version: u64| place.store().draft("flowers", version).unwrap().layers;
    assert_eq!(weights(1), weights(2));
}

#[test]
fn an_interrupted_training_publishes_what_it_has_learnt() {
    let place = Place::new();
    for (signal, expected, expected_code) in [("-INT", 1, 130), ("-TERM", 2, 143)] {
        let running = place.running(&ENDLESS, 5);
        running.signal(signal);
        let (code, rest) = running.end();
        assert_eq!(code, Some(expected_code), "{rest}");
        let manifest = place.store().manifest("flowers", expected).unwrap();
        assert_eq!(manifest.training.recipe["stop"], "asked");
        assert!(manifest.training.metrics["epochs"] >= 5.0);
    }
    // Half a training isn't promoted: that is for somebody to decide.
    let running = place.running(&[&ENDLESS[..], &["--promote", "production"]].concat(), 2);
    running.signal("-INT");
    let (code, rest) = running.end();
    assert_eq!(code, Some(130), "{rest}");
    assert!(rest.contains("weir model promote flowers@3 production"), "{rest}");
    assert!(place.store().aliases("flowers").unwrap().is_empty());
}

#[test]
fn an_interrupted_training_with_early_stopping_keeps_its_best() {
    let place = Place::new();
    // Steps of this size make the score jump about.
    let options = ["--early-stopping", "--solver", "sgd", "--learning-rate-init", "0.9", "--random-state", "3"];
    let running = place.running(&[&ENDLESS[..], &options].concat(), 30);
    running.signal("-INT");
    assert_eq!(running.end().0, Some(130));
    let interrupted = place.store().draft("flowers", 1).unwrap();
    let epochs = interrupted.training.metrics["epochs"].to_string();

    let uninterrupted = [&options[..], &["--max-iter", &epochs, "--tol", "0", "--n-iter-no-change", "inf"]].concat();
    let report = place.report(&uninterrupted);
    let scores: Vec<f64> =
        report["validation_scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect();
    let best = scores.iter().copied().fold(0.0, f64::max);
    // Otherwise the last weights would be the best: of equal scores the first counts.
    assert!(scores.iter().position(|&score| score == best) < Some(scores.len() - 1), "{scores:?}");
    assert_eq!(interrupted.training.metrics["validation_score"], best);
    assert_eq!(interrupted.layers, place.store().draft("flowers", 2).unwrap().layers);
}

/// Epochs that take longer than two signals.
const SLOW: [&str; 4] = ["--hidden-layer-sizes", "1000,1000,1000", "--batch-size", "1"];

#[test]
fn a_signal_before_the_first_epoch_is_done_publishes_nothing() {
    let place = Place::new();
    let mut process =
        place.command(&[&ENDLESS[..], &SLOW].concat()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    let running = Running { stderr: BufReader::new(process.stderr.take().unwrap()), process };
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    running.signal("-TERM");
    let (code, rest) = running.end();
    assert_eq!(code, Some(143), "{rest}");
    assert!(rest.contains("before the first epoch was done, nothing is published"), "{rest}");
    assert!(place.store().versions("flowers").unwrap().is_empty());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let place = Place::new();
    let mut running = place.running(&[&ENDLESS[..], &SLOW].concat(), 1);
    running.signal("-INT");
    running.read_until("weir: ending the training after this epoch");
    running.signal("-INT");
    let (code, rest) = running.end();
    assert_eq!(code, Some(130), "{rest}");
    assert!(place.store().versions("flowers").unwrap().is_empty());
}

#[test]
fn an_evicted_training_continues_and_is_published_once() {
    let place = Place::new();
    let checkpoint = place.folder.path().join("state.checkpoint");
    let kept = ["--checkpoint", checkpoint.to_str().unwrap(), "--resume", "--tol", "0", "--n-iter-no-change", "inf"];
    let running = place.running(&[&kept[..], &["--max-iter", "1000000"]].concat(), 3);
    running.signal("-TERM");
    let (code, rest) = running.end();
    assert_eq!(code, Some(143), "{rest}");
    assert!(rest.contains("--resume continues from"), "{rest}");
    let epochs = place.store().manifest("flowers", 1).unwrap().training.metrics["epochs"] as usize;

    let until = (epochs + 3).to_string();
    let longer = [&kept[..], &["--max-iter", &until]].concat();
    let report = place.report(&longer);
    assert_eq!((&report["version"], &report["stop"]), (&json!(2), &json!("max_iter")));
    assert_eq!(report["losses"].as_array().unwrap().len(), epochs + 3);
    // What a restart finds that comes after the end: nothing to train, and the version is there. An alias is still moved.
    let again = place.report(&[&longer[..], &["--promote", "production"]].concat());
    assert_eq!((&again["version"], &again["promoted"]), (&json!(2), &json!("production")));
    assert_eq!(place.store().versions("flowers").unwrap(), [1, 2]);
    let fewer = place.train(&[&kept[..], &["--max-iter", "2"]].concat());
    assert_eq!(fewer.status.code(), Some(1));
    assert!(said(&fewer).contains("epochs, more than --max-iter 2"), "{}", said(&fewer));
    let anew = place.train(&["--checkpoint", checkpoint.to_str().unwrap(), "--max-iter", "1"]);
    assert!(said(&anew).contains("replacing the checkpoint"), "{}", said(&anew));
    assert_eq!(place.store().versions("flowers").unwrap(), [1, 2, 3]);
}

#[test]
fn a_store_that_cannot_be_written_is_found_before_the_training() {
    let place = Place::new();
    let mut unwritable = command();
    unwritable.arg("train").arg(place.data()).args(["--target", "kind", "--id", "id", "--name", "flowers"]);
    let output = unwritable.args(["--store", "file:/proc/no-store"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("can't write a version of a model to /proc/no-store/flowers"), "{}", said(&output));
    assert!(!said(&output).contains("epoch"), "{}", said(&output));
}

#[test]
fn a_warm_start_goes_on_from_a_version() {
    let place = Place::new();
    let first = place.report(&[
        "--hidden-layer-sizes",
        "12,6",
        "--activation",
        "tanh",
        "--max-iter",
        "30",
        "--promote",
        "production",
    ]);
    let from = ["--from", "flowers@production", "--max-iter", "5"];
    let second = place.report(&from);
    assert!(second["losses"][0].as_f64().unwrap() < first["losses"][0].as_f64().unwrap() * 0.9);
    let manifest = place.store().manifest("flowers", 2).unwrap();
    assert_eq!(manifest.parent, Some(1));
    assert_eq!(manifest.training.recipe["from"], "flowers@1");
    assert_eq!(manifest.training.recipe["hidden_layer_sizes"], json!([12, 6]));
    assert_eq!(manifest.training.recipe["activation"], "tanh");
    let old = place.store().manifest("flowers", 1).unwrap();
    assert_eq!((manifest.preprocessing, manifest.signature.features), (old.preprocessing, old.signature.features));

    let fails = |options: &[&str], code, words: &str| {
        let output = place.train(options);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(words), "{}", said(&output));
    };
    fails(&["--from", "flowers@9"], 1, "version 9");
    fails(&["--from", "flowers@production", "--hidden-layer-sizes", "3"], 2, "--hidden-layer-sizes");
    let text = fs::read_to_string(place.data()).unwrap();
    fs::write(place.data(), text.replace("rose", "tulip")).unwrap();
    fails(&["--from", "flowers@production"], 1, "tulip");
    fs::write(place.data(), text.replace("width", "breadth")).unwrap();
    fails(&["--from", "flowers@production"], 1, "width");
    assert_eq!(place.store().versions("flowers").unwrap(), [1, 2]);
}

#[test]
fn a_training_that_diverges_says_so_and_keeps_what_was_good() {
    let place = Place::new();
    let wild = ["--target", "length", "--solver", "sgd", "--learning-rate-init", "0.9", "--momentum", "0.99"];
    let options = [&wild[..], &["--activation", "identity", "--promote", "production"]].concat();
    let output = command()
        .arg("train")
        .arg(place.data())
        .args(["--id", "id", "--name", "flowers", "--store", &place.url()])
        .args(options)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let error = String::from_utf8_lossy(&output.stderr).lines().last().unwrap().to_owned();
    assert!(error.contains("isn't finite") && error.contains("--learning-rate-init"), "{error}");
    assert!(error.contains("flowers@1 has what was learnt until then"), "{error}");
    let manifest = place.store().manifest("flowers", 1).unwrap();
    assert_eq!(manifest.training.recipe["stop"], "diverged");
    assert!(place.store().aliases("flowers").unwrap().is_empty());
    place.store().load("flowers", 1).unwrap();
}

/// A regression of unscaled numbers whose first steps leave nothing that is finite.
#[test]
fn a_loss_that_explodes_at_once_leaves_nothing_and_says_so() {
    let place = Place::new();
    let number = |row: usize, factor: f64| ((row as f64 * factor).sin() * 1e8).round() / 1e4;
    let rows = (0..300).map(|row| (number(row, 1.3), number(row, 0.7)));
    let rows: String = rows.map(|(a, b)| format!("{a},{b},{:e}\n", (a * b).powi(3))).collect();
    fs::write(place.data(), format!("a,b,y\n{rows}")).unwrap();
    for early_stopping in [None, Some("--early-stopping")] {
        let mut train = command();
        train.arg("train").arg(place.data()).args(["--target", "y", "--name", "flowers", "--store", &place.url()]);
        train.args(["--task", "regression", "--scale", "none", "--solver", "sgd", "--learning-rate-init", "0.5"]);
        let output = train.args(["--promote", "production"]).args(early_stopping).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let error = String::from_utf8_lossy(&output.stderr).lines().last().unwrap().to_owned();
        assert!(error.contains("isn't finite") && error.contains("nothing is published"), "{error}");
        assert!(place.store().versions("flowers").unwrap().is_empty());
    }
}

#[test]
fn values_out_of_their_ranges_are_wrong_usage() {
    let place = Place::new();
    for (option, value) in [
        ("--momentum", "1.5"),
        ("--alpha=-1", ""),
        ("--beta-1", "1"),
        ("--max-iter", "0"),
        ("--validation-fraction", "1"),
        ("--learning-rate", "fast"),
        ("--class-weight", "iris:0"),
        ("--n-iter-no-change", "few"),
        ("--resume", ""),
    ] {
        let output = place.train(&[option, value].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2), "{option}: {}", said(&output));
        let name = option.split('=').next().unwrap();
        assert!(said(&output).contains(name), "{option}: {}", said(&output));
    }
    assert!(!Path::new(place.url().trim_start_matches("file:")).exists());
}
