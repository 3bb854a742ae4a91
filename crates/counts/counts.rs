//! How many instructions a record costs, stage by stage, held against what it cost before.
//!
//! Time is noise on a shared machine; instructions are not. This program runs itself under callgrind, each stage with
//! two numbers of batches: the difference, by record, is what the stage costs, without its start. `counts.toml`
//! has what it was; more than the tolerance above that is a regression, and below it a reason to write the new count
//! down (`-- --update`), so that it stays.
//!
//! The counts are those of one kernel, since each vector width has its own. Valgrind shows a program no AVX-512.
//!
//! It is a crate of its own, so that only what is counted builds in the profile of those who run weir: the library
//! without its feature `program`.
//!
//!     cargo bench -p weir-counts -- [--update]

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that can't go on panics, and it prints")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use ndarray::{Array1, Array2};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use weir::codec::{DecodeOptions, Format};
use weir::engine::{Activation, Layer, Output};
use weir::model::bundle::{Draft, Training};
use weir::model::preprocess::{Step, Transform};
use weir::model::signature::{Feature, Kind, Missing, Signature, Target};
use weir::model::store::Store;
use weir::monitor::drift::{Baseline, Counts, Plan};
use weir::score::{Options, Scorer};

const COUNTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/counts.toml");

const FEATURES: usize = 30;

/// The network's widths, from its input to its classes.
const WIDTHS: [usize; 4] = [FEATURES, 100, 100, 2];

/// Records in a batch.
const ROWS: usize = 256;

/// The two numbers of batches.
const BATCHES: [usize; 2] = [2, 12];

/// How much more a stage may cost, as a share.
const TOLERANCE: f64 = 0.05;

const STAGES: [&str; 5] = ["decode_named", "decode_array", "score", "encode", "drift"];

#[derive(Default, Deserialize)]
struct Known {
    kernel: String,
    /// Instructions per record, by stage.
    instructions: BTreeMap<String, f64>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, store, stage, batches] = &arguments[..]
        && flag == "--stage"
    {
        run(Path::new(store), stage, batches.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("models");
    publish_noise(&store);

    // Without the file there is nothing to compare with yet.
    let known: Known = std::fs::read_to_string(COUNTS).map(|text| toml::from_str(&text).unwrap()).unwrap_or_default();
    let kernel = callgrind(&store, "kernel", 0).1;
    let mut counts = BTreeMap::new();
    let mut worse = Vec::new();
    for stage in STAGES {
        let [few, many] = BATCHES.map(|batches| callgrind(&store, stage, batches).0);
        let count = (many - few) as f64 / ((BATCHES[1] - BATCHES[0]) * ROWS) as f64;
        counts.insert(stage, count);
        let Some(&before) = known.instructions.get(stage).filter(|_| known.kernel == kernel) else {
            println!("{stage:<14} {count:>8.0} instructions a record");
            continue;
        };
        let change = count / before - 1.0;
        println!("{stage:<14} {count:>8.0} instructions a record, {before:.0} before ({:+.1} %)", change * 100.0);
        if change.abs() > TOLERANCE {
            worse.push(format!("{stage} costs {count:.0} instructions a record, it was {before:.0}"));
        }
    }
    if arguments.iter().any(|argument| argument == "--update") {
        let mut text = String::from(
            "# What a record costs, as `cargo bench -p weir-counts` found it; `-- --update` writes this file.\n",
        );
        writeln!(text, "kernel = \"{kernel}\"\n\n[instructions]").unwrap();
        counts.iter().for_each(|(stage, count)| writeln!(text, "{stage} = {count:.1}").unwrap());
        std::fs::write(COUNTS, text).unwrap();
        return ExitCode::SUCCESS;
    }
    if known.kernel != kernel {
        println!("not compared: {COUNTS} has no counts of the kernel {kernel}");
    }
    if worse.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\n{}\nIf that is meant: cargo bench -p weir-counts -- --update", worse.join("\n"));
    ExitCode::FAILURE
}

/// Publishes a model of random weights: its answers don't matter, its cost does.
fn publish_noise(folder: &Path) {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let feature = |n| Feature { name: format!("f{n}"), kind: Kind::Numeric, missing: Missing::Reject };
    let signature = Signature {
        features: (0..FEATURES).map(feature).collect(),
        target: Target::Classification { name: "y".into(), classes: vec!["no".into(), "yes".into()] },
    };
    let mut layer = |inputs, outputs, activation| {
        let weights = Array2::from_shape_simple_fn((inputs, outputs), || rng.random_range(-0.2..0.2));
        Layer::new(weights, Array1::zeros(outputs), activation)
    };
    let layers = vec![
        layer(WIDTHS[0], WIDTHS[1], Activation::Relu),
        layer(WIDTHS[1], WIDTHS[2], Activation::Relu),
        layer(WIDTHS[2], WIDTHS[3], Activation::Identity),
    ];
    let rows = Array2::from_shape_simple_fn((2_000, FEATURES), || rng.random_range(-3.0..3.0));
    let answers = Array2::from_elem((rows.nrows(), WIDTHS[3]), 0.5);
    let standardised = vec![Step::Standardize { mean: 0.01, std: 1.7 }];
    let draft = Draft {
        name: "noise".into(),
        parent: None,
        baseline: Baseline::fit(&signature, rows.view(), answers.view()),
        signature,
        decision: None,
        target_scale: None,
        preprocessing: vec![Transform::Numeric { steps: standardised, indicator: false }; FEATURES],
        layers,
        output: Output::Softmax,
        training: Training::default(),
        golden_rows: vec![rows.row(0).to_vec()],
        evaluation: None,
    };
    Store::open(&format!("file:{}", folder.display())).unwrap().publish(&draft).unwrap();
}

/// Runs a stage under callgrind: the instructions, and what it printed.
fn callgrind(store: &Path, stage: &str, batches: usize) -> (u64, String) {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe().unwrap());
    command.arg("--stage").arg(store).args([stage, &batches.to_string()]);
    let output = command.output().expect("valgrind can be run: install it");
    let output_text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stage}: {output_text}");
    let collected =
        output_text.lines().find_map(|line| line.split_once("Collected : ")).expect("callgrind prints its count");
    (collected.1.trim().parse().unwrap(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs a stage so often, by the batch.
fn run(store: &Path, stage: &str, batches: usize) {
    let store = Store::open(&format!("file:{}", store.display())).unwrap();
    let model = Arc::new(store.load("noise", 1).unwrap());
    if stage == "kernel" {
        return println!("{}", model.mlp.kernel());
    }
    let options = Options {
        input: Format::Json,
        decode: DecodeOptions { fields: vec!["id".into()], ..DecodeOptions::default() },
        max_bytes: 1 << 20,
        min_features: 0.5,
        threshold: None,
        output: Format::Json,
    };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let records: Vec<String> = (0..ROWS).map(|number| record(number, stage == "decode_array", &mut rng)).collect();
    let payloads = || records.iter().map(|record| Some(record.as_bytes()));
    let mut scorer = Scorer::new(model.clone(), &options).unwrap();
    let plan = Plan::new(&model.baseline, model.signature());
    let mut counts = Counts::new(&plan);
    scorer.decode(payloads());
    scorer.score();
    scorer.encode(payloads());
    assert!(scorer.results().all(|result| result.is_ok()));
    for _ in 0..batches {
        match stage {
            "decode_named" | "decode_array" => scorer.decode(payloads()),
            "score" => scorer.score(),
            "encode" => scorer.encode(payloads()),
            "drift" => {
                plan.count_rows(scorer.rows(), &mut counts);
                plan.count_outputs(scorer.outputs(), &mut counts);
            }
            _ => panic!("no stage {stage:?}"),
        }
    }
}

fn record(number: usize, array: bool, rng: &mut ChaCha8Rng) -> String {
    let mut value = || format!("{:.6}", rng.random_range(-3.0..3.0));
    let features: Vec<String> = if array {
        (0..FEATURES).map(|_| value()).collect()
    } else {
        (0..FEATURES).map(|feature| format!("\"f{feature}\":{}", value())).collect()
    };
    let features = features.join(",");
    if array {
        format!("{{\"id\":{number},\"features\":[{features}]}}")
    } else {
        format!("{{\"id\":{number},{features}}}")
    }
}
