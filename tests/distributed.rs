//! `mpirun weir train`: however many ranks there are, the training is that of one, and they end together.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};

use serde_json::Value;
use weir::model::store::Store;

use crate::support::tools::tool;
use crate::support::weir::command;

/// A folder with data and a store.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// 801 rows: with minibatches of 200 the last one has a row for one rank only.
    fn new() -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        let mut text = String::from("length,width,colour,place,price,kind\n");
        for row in 0..801 {
            let (length, width) = ((row as f64 * 1.3).sin() * 50.0 + 1000.0, (row as f64 * 0.7).cos());
            let kind = if length + 40.0 * width * width > 1020.0 { "iris" } else { "rose" };
            let (colour, town) = (["red", "blue", "white"][row % 3], row * row % 17);
            text += &format!("{length},{width},{colour},t{town},{},{kind}\n", length * width + town as f64);
        }
        fs::write(place.path("flowers.csv"), text).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self) -> String {
        format!("file:{}", self.path("models").display())
    }

    fn store(&self) -> Store {
        Store::open(&self.url()).unwrap()
    }

    /// What follows `weir`.
    fn arguments(&self, data: &Path, options: &[&str]) -> Vec<String> {
        let data = data.to_str().unwrap();
        let fixed = ["train", data, "--name", "flowers", "--store", &self.url(), "--test-size", "0", "--threads", "1"];
        fixed.iter().chain(options).map(|&word| word.to_owned()).collect()
    }

    /// The same command line on all ranks.
    fn on_ranks(&self, ranks: usize, options: &[&str]) -> Command {
        let mut command = mpirun();
        command.args(["-n", &ranks.to_string(), env!("CARGO_BIN_EXE_weir")]);
        command.args(self.arguments(&self.path("flowers.csv"), options));
        command
    }

    fn report(&self, ranks: usize, options: &[&str]) -> Value {
        json(&self.on_ranks(ranks, &[options, &["--json"]].concat()).output().unwrap())
    }

    /// A training that has just said that this epoch is done.
    fn running(&self, ranks: usize, options: &[&str], epoch: usize) -> Running {
        let mut command = self.on_ranks(ranks, options);
        let mut mpirun = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut running = Running { stderr: BufReader::new(mpirun.stderr.take().unwrap()), mpirun };
        let mut line = String::new();
        while !line.starts_with(&format!("epoch {epoch}/")) {
            line.clear();
            assert!(running.stderr.read_line(&mut line).unwrap() > 0, "it ended before epoch {epoch}");
        }
        running
    }
}

/// Killed when dropped, and its ranks with it.
struct Running {
    mpirun: Child,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    fn signal(&self, signal: &str, rank: usize) {
        let mpirun = self.mpirun.id();
        let children = fs::read_to_string(format!("/proc/{mpirun}/task/{mpirun}/children")).unwrap();
        let rank = children.split_whitespace().nth(rank).unwrap();
        assert!(Command::new("kill").args([signal, rank]).status().unwrap().success());
    }

    /// How it ended, and what it said from here on.
    fn end(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.mpirun.wait().unwrap(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.mpirun.kill();
        let _ = self.mpirun.wait();
    }
}

/// It may run as root, with more ranks than cores, and any rank may run on any core.
fn mpirun() -> Command {
    let mut command = Command::new(tool("mpirun"));
    command.args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]).env("NO_COLOR", "1");
    command
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("not one answer: {error}: {}", said(output)))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn numbers(report: &Value, name: &str) -> Vec<f64> {
    report[name].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn any_number_of_ranks_trains_what_one_would() {
    let place = Place::new();
    let kind = ["--target", "kind", "--drop", "price", "--hidden-layer-sizes", "30,20", "--max-iter", "20"];
    let early =
        [&kind[..], &["--early-stopping", "--validation-fraction", "0.3", "--class-weight", "balanced"]].concat();
    let price = ["--target", "price", "--activation", "tanh", "--solver", "sgd", "--max-iter", "20", "--alpha", "1"];
    for options in [&kind[..], &early, &price] {
        let one = command().args(place.arguments(&place.path("flowers.csv"), options)).arg("--json").output().unwrap();
        let one = json(&one);
        let losses = numbers(&one, "losses");
        for ranks in [1, 2, 3] {
            let found = place.report(ranks, options);
            assert_eq!(found["stop"], one["stop"], "{ranks} ranks");
            assert_eq!(found["losses"].as_array().unwrap().len(), losses.len());
            for (epoch, (found, expected)) in numbers(&found, "losses").into_iter().zip(&losses).enumerate() {
                assert!(
                    (found / expected - 1.0).abs() < 1e-4,
                    "{ranks} ranks, epoch {}: {found}, expected {expected}",
                    epoch + 1
                );
            }
            // The first rank alone has published.
            let versions = place.store().versions("flowers").unwrap();
            assert_eq!(found["version"], *versions.last().unwrap());
        }
    }
    assert_eq!(place.store().versions("flowers").unwrap().len(), 3 * 4);
}

#[test]
fn a_rank_that_cannot_go_on_ends_all_and_one_line_says_why() {
    let place = Place::new();
    let good = place.arguments(&place.path("flowers.csv"), &["--target", "kind"]);
    let shorter = place.path("shorter.csv");
    let text = fs::read_to_string(place.path("flowers.csv")).unwrap();
    fs::write(&shorter, text.lines().take(400).collect::<Vec<_>>().join("\n")).unwrap();
    let cases = [
        (place.arguments(&place.path("missing.csv"), &["--target", "kind"]), "missing.csv"),
        (place.arguments(&shorter, &["--target", "kind"]), "the ranks have read different data"),
        (
            place.arguments(&place.path("flowers.csv"), &["--target", "kind", "--max-iter", "3"]),
            "different data or options",
        ),
    ];
    for (bad, words) in cases {
        let weir = env!("CARGO_BIN_EXE_weir").to_owned();
        let mut mpirun = mpirun();
        mpirun.args(["-n", "1", &weir]).args(&good).args([":", "-n", "1", &weir]).args(&bad);
        let output = mpirun.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines: Vec<_> = stderr.lines().filter(|line| line.starts_with("weir: ")).collect();
        assert_eq!(lines.len(), 1, "{stderr}");
        assert!(lines[0].contains(words), "{stderr}");
    }
    assert!(place.store().versions("flowers").unwrap().is_empty());
}

#[test]
fn a_signal_to_any_rank_ends_all_after_the_same_epoch() {
    let place = Place::new();
    for rank in [0, 1] {
        let endless = ["--target", "kind", "--max-iter", "1000000", "--tol", "0", "--n-iter-no-change", "inf"];
        let running = place.running(2, &endless, 3);
        running.signal("-INT", rank);
        let (status, rest) = running.end();
        assert_eq!(status.code(), Some(130), "{rest}");
        let manifest = place.store().manifest("flowers", rank as u64 + 1).unwrap();
        assert_eq!(manifest.training.recipe["stop"], "asked");
    }
}

#[test]
fn a_killed_training_goes_on_from_its_checkpoint() {
    let place = Place::new();
    let checkpoint = place.path("state.checkpoint");
    let options = ["--target", "kind", "--tol", "0", "--n-iter-no-change", "inf", "--early-stopping"];
    let kept = [&options[..], &["--checkpoint", checkpoint.to_str().unwrap(), "--resume"]].concat();
    for (ranks, killed, epoch) in [(2, 1, 4), (3, 0, 8)] {
        let running = place.running(ranks, &[&kept[..], &["--max-iter", "1000000"]].concat(), epoch);
        running.signal("-KILL", killed);
        // What is left of them doesn't wait for ever.
        assert!(!running.end().0.success());
    }
    assert!(place.store().versions("flowers").unwrap().is_empty());
    let state = fs::read(&checkpoint).unwrap();
    let epochs = safetensors::SafeTensors::deserialize(&state).unwrap().tensor("losses").unwrap().shape()[0];
    assert!(epochs >= 8, "{epochs}");

    let until = ["--max-iter", &(epochs + 5).to_string()].map(str::to_owned);
    let until: Vec<&str> = until.iter().map(String::as_str).collect();
    let resumed = place.report(2, &[&kept[..], &until].concat());
    let whole = place.report(1, &[&options[..], &until].concat());
    for curve in ["losses", "validation_scores"] {
        let (resumed, whole) = (numbers(&resumed, curve), numbers(&whole, curve));
        assert_eq!((resumed.len(), whole.len()), (epochs + 5, epochs + 5));
        let close = |(found, expected): (&f64, &f64)| (found / expected - 1.0).abs() < 1e-3;
        assert!(resumed.iter().zip(&whole).all(close), "{curve}: {resumed:?}, expected {whole:?}");
    }
}
