//! Models: bundles, aliases, and files of other systems. What comes out is an error, or a model that can be used.

use std::fs;
use std::path::Path;

use ndarray::{Array1, Array2, array};
use serde_json::Value;
use sha2::{Digest, Sha256};
use weir::engine::{Activation, Layer, Output};
use weir::http::inference;
use weir::model::Model;
use weir::model::bundle::{BASELINE, Draft, Files, GOLDEN, Manifest, Training, WEIGHTS};
use weir::model::import::{Hints, Imported};
use weir::model::onnx::{self, Difference};
use weir::model::preprocess::{Step, Transform};
use weir::model::reference::ModelRef;
use weir::model::safetensors;
use weir::model::signature::{Feature, Kind, Missing, Signature, Target as Answer, Unknown};
use weir::model::store::Store;
use weir::monitor::drift::Baseline;
use weir::record::Gap;

use super::driver::{TEXT, Target, fuzz};

/// Rows on which an import is compared with its graph: a few, since each input is another import.
const CHECKED_ROWS: usize = 8;
/// A graph may fix the number of rows, and then takes memory for them.
const MOST_ROWS_AT_ONCE: usize = 1_000;

/// What the files of a bundle are made of.
const BUNDLE_WORDS: &[&[u8]] = &[
    b"\"inputs\": 1,",
    b"\"outputs\": 18446744073709551615",
    b"\"dtype\": \"int8\"",
    b"\"F32\"",
    b"\"I8\"",
    b"\"BF16\"",
    b"\"data_offsets\":[0,9999999999999]",
    b"\"shape\":[4294967296,4294967296]",
    b"\"layers\": []",
    b"\"activation\": \"relu\"",
    b"\"norm\": {\"epsilon\": 1e-5, \"place\": \"before_activation\"}",
    b"\x00\x00\x80\x7f",
    b"\x00\x00\xc0\x7f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\"version\": 0",
    b"\"std\": 0.0",
    b"\"categories\": []",
];

/// A bundle with one of its files changed loads and answers, or is refused. The digests are set right again: they would
/// refuse everything, and whoever changes a file can change them too.
#[test]
fn a_bundle_loads_and_answers_or_is_refused() {
    let good = [draft_of_classes(), draft_of_numbers(array![[1.0, 0.5], [2.0, -1.0]])].map(|draft| files(&draft));
    let mut seeds = Vec::new();
    for (at, files) in good.iter().enumerate() {
        for (file, bytes) in [&files.manifest, &files.weights, &files.baseline, &files.golden].into_iter().enumerate() {
            // The first byte says which file of which bundle the rest is.
            seeds.push([&[(at * 4 + file) as u8][..], bytes].concat());
        }
    }
    let mut run = |input: &[u8]| {
        let Some((&which, bytes)) = input.split_first() else { return Ok("nothing".into()) };
        let mut files = good[usize::from(which / 4) % 2].clone();
        match which % 4 {
            0 => files.manifest = bytes.to_vec(),
            1 => files.weights = bytes.to_vec(),
            2 => files.baseline = bytes.to_vec(),
            _ => files.golden = bytes.to_vec(),
        }
        correct_digests(&mut files);
        match Model::load(&files, |_| {}) {
            Ok(model) => use_model(&model),
            Err(error) => Ok(chain(&error)),
        }
    };
    let words = [TEXT, BUNDLE_WORDS].concat();
    fuzz(Target { name: "bundle", share: 20, seeds, words: &words, run: &mut run });
}

/// The file of the aliases is read, or refused; so is a reference.
#[test]
fn aliases_and_references_are_read_or_refused() {
    let folder = tempfile::tempdir_in(memory()).unwrap();
    let store = Store::open(&folder.path().display().to_string()).unwrap();
    let version = store.publish(&draft_of_classes()).unwrap();
    store.promote("colours", "production", version).unwrap();
    let path = folder.path().join("colours/aliases.json");
    let seeds = vec![
        fs::read(&path).unwrap(),
        b"colours@production".to_vec(),
        b"colours@latest".to_vec(),
        b"colours@1".to_vec(),
    ];
    let mut run = |input: &[u8]| {
        fs::write(&path, input).unwrap();
        let read = match store.aliases("colours") {
            Ok(aliases) => format!("{} aliases", aliases.len().min(2)),
            Err(error) => chain(&error),
        };
        let Some(reference) = std::str::from_utf8(input).ok().map(str::parse::<ModelRef>) else { return Ok(read) };
        Ok(read
            + &match reference.map(|reference| (store.resolve(&reference), reference)) {
                Ok((Ok(0), reference)) => return Err(format!("{reference} is version 0")),
                Ok((Ok(_), _)) => "a version".to_owned(),
                Ok((Err(error), _)) => chain(&error),
                Err(error) => error.to_string(),
            })
    };
    let words = [TEXT, &[&b"\"production\": 1"[..], b"\"canary\": 99", b"@", b"../", b"latest"]].concat();
    fuzz(Target { name: "aliases", share: 10, seeds, words: &words, run: &mut run });
}

/// An ONNX file is understood, or refused.
#[test]
fn an_onnx_file_is_understood_or_refused() {
    let folder = tempfile::tempdir_in(memory()).unwrap();
    let path = folder.path().join("model.onnx");
    let seeds = fixtures("onnx", "onnx");
    let words: &[&[u8]] = &[
        b"Gemm",
        b"MatMul",
        b"Relu",
        b"Reshape",
        b"LayerNormalization",
        b"Identity",
        b"Concat",
        b"Softmax",
        b"ZipMap",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x80\x80\x80\x80\x10",
        b"\x0a\x00",
        b"\x00\x00\x80\x7f",
    ];
    let mut run = |input: &[u8]| {
        fs::write(&path, input).unwrap();
        match onnx::read(&path, &Hints::default()) {
            Ok(imported) => check_imported(imported),
            Err(error) => Ok(chain(&error)),
        }
    };
    fuzz(Target { name: "onnx", share: 10, seeds, words, run: &mut run });
}

/// Tensors and the TOML that names the layers are understood, or refused.
#[test]
fn safetensors_are_understood_or_refused() {
    let description = fs::read(fixture("safetensors").join("layers.toml")).unwrap();
    let tensors = fixtures("safetensors", "safetensors");
    let mut seeds = vec![[&[0][..], &description].concat()];
    seeds.extend(tensors.iter().map(|file| [&[1][..], file].concat()));
    let description = String::from_utf8(description).unwrap();
    let words: &[&[u8]] = &[
        b"\"F32\"",
        b"\"F16\"",
        b"\"I64\"",
        b"\"shape\":[4294967296,4294967296]",
        b"\"data_offsets\":[0,9999999999999]",
        b"[[layers]]\n",
        b"linear = \"",
        b"activation = \"relu\"\n",
        b"batch_norm = ",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    let mut run = |input: &[u8]| {
        let imported = match input.split_first() {
            Some((0, text)) => match std::str::from_utf8(text) {
                Ok(text) => safetensors::import(&tensors[0], text),
                Err(_) => return Ok("no text".into()),
            },
            Some((_, file)) => safetensors::import(file, &description),
            None => return Ok("nothing".into()),
        };
        match imported {
            Ok(imported) => check_imported(imported),
            Err(error) => Ok(chain(&error)),
        }
    };
    let words = [TEXT, words].concat();
    fuzz(Target { name: "safetensors", share: 10, seeds, words: &words, run: &mut run });
}

/// Two classes from a number and a colour.
pub(super) fn classification() -> Model {
    Model::load(&files(&draft_of_classes()), |_| {}).unwrap()
}

/// Numbers from as many numbers as `weights` has rows.
pub(super) fn regression(weights: Array2<f32>) -> Model {
    Model::load(&files(&draft_of_numbers(weights)), |_| {}).unwrap()
}

fn draft_of_classes() -> Draft {
    let features = vec![
        Feature { name: "x".into(), kind: Kind::Numeric, missing: Missing::Mean { value: 1.5 } },
        Feature {
            name: "colour".into(),
            kind: Kind::Categorical { categories: vec!["red".into(), "7".into()], unknown: Unknown::Zeros },
            missing: Missing::Zeros,
        },
    ];
    let target = Answer::Classification { name: "y".into(), classes: vec!["no".into(), "yes".into()] };
    let layers = vec![
        Layer::new(array![[1.0, -1.0], [0.25, 0.5], [-0.75, 1.0]], array![0.1, 0.2], Activation::Relu),
        Layer::new(array![[1.0, -1.0], [0.5, 0.25]], array![0.0, 0.125], Activation::Identity),
    ];
    let standardize = Step::Standardize { mean: 1.5, std: 2.0 };
    let preprocessing = vec![Transform::Numeric { steps: vec![standardize], indicator: false }, Transform::OneHot];
    draft("colours", Signature { features, target }, preprocessing, layers, Output::Softmax)
}

fn draft_of_numbers(weights: Array2<f32>) -> Draft {
    let (inputs, outputs) = weights.dim();
    let features = (0..inputs).map(|at| {
        let name = ["a", "b", "c"][at].into();
        Feature { name, kind: Kind::Numeric, missing: Missing::Reject }
    });
    let names = (0..outputs).map(|at| format!("y{at}")).collect();
    let signature = Signature { features: features.collect(), target: Answer::Regression { names } };
    let transform = Transform::Numeric { steps: vec![Step::Standardize { mean: 0.0, std: 1.0 }], indicator: false };
    let layers = vec![Layer::new(weights, Array1::zeros(outputs), Activation::Identity)];
    draft("numbers", signature, vec![transform; inputs], layers, Output::Identity)
}

fn draft(name: &str, signature: Signature, preprocessing: Vec<Transform>, layers: Vec<Layer>, output: Output) -> Draft {
    let golden_rows: Vec<Vec<f64>> =
        (0..3).map(|row| (0..signature.features.len()).map(|at| f64::from(u8::from(row > at))).collect()).collect();
    let rows = Array2::from_shape_fn((3, signature.features.len()), |(row, at)| golden_rows[row][at]);
    let baseline =
        Baseline::fit(&signature, rows.view(), Array2::from_elem((3, signature.target.outputs()), 0.5).view());
    Draft {
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
        golden_rows,
        evaluation: None,
    }
}

fn files(draft: &Draft) -> Files {
    draft.bundle(1, "2026-01-01T00:00:00Z".into()).unwrap().1
}

fn correct_digests(files: &mut Files) {
    let Ok(mut manifest) = Manifest::from_json(&files.manifest) else { return };
    for (name, bytes) in [(WEIGHTS, &files.weights), (BASELINE, &files.baseline), (GOLDEN, &files.golden)] {
        manifest.files.insert(name.into(), format!("{:x}", Sha256::digest(bytes)));
    }
    if let Ok(json) = manifest.to_json() {
        files.manifest = json;
    }
}

/// A model that has passed its checks takes a row of gaps and one of numbers, and gives as many outputs as it says.
fn use_model(model: &Model) -> Result<String, String> {
    let features = &model.signature().features;
    let mut scratch = model.scratch();
    for value in [Gap::Missing.value(), 0.0, 1e300] {
        // A decoded category is a gap or an index that there is.
        let cell = |(_, at): (usize, usize)| match features[at].kind {
            Kind::Categorical { .. } if value > 0.0 => 0.0,
            Kind::Categorical { .. } | Kind::Numeric | Kind::Time => value,
        };
        let rows = Array2::from_shape_fn((2, features.len()), cell);
        let mut outputs = Array2::zeros((2, model.signature().target.outputs()));
        model.score(rows.view(), outputs.view_mut(), &mut scratch);
    }
    // What it answers to a request must be JSON, whatever its names are.
    let answered = inference::answer(
        model,
        br#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]}]}"#,
        0.5,
        model.decision,
    );
    if let Ok(answer) = answered {
        serde_json::from_slice::<Value>(&answer.json).map_err(|error| format!("its answer isn't JSON: {error}"))?;
    }
    Ok("a model".into())
}

/// What was imported fits together, or the bundle says what doesn't: nothing else is asked of it.
fn check_imported(imported: Imported) -> Result<String, String> {
    let widths: Vec<_> = imported.layers.iter().map(|layer| (layer.inputs(), layer.outputs())).collect();
    if widths.windows(2).any(|pair| pair[0].1 != pair[1].0) {
        return Err(format!("its layers don't fit each other: {widths:?}"));
    }
    let Imported { signature, preprocessing, layers, output, reference, .. } = imported;
    if signature.features.len() > 1_000 {
        return Ok("a wide model".into());
    }
    let draft = draft("imported", signature, preprocessing, layers, output);
    match draft.bundle(1, "2026-01-01T00:00:00Z".into()) {
        Ok((_, files)) => match Model::load(&files, |_| {}) {
            Ok(model) => {
                // A changed graph may be one that weir misreads, but running it ends.
                let reference = reference.filter(|reference| reference.batch() <= MOST_ROWS_AT_ONCE);
                match reference.map(|reference| reference.check(&model, &draft.preprocessing, CHECKED_ROWS)) {
                    Some(Err(Difference::Answer { .. })) => Ok("a model that differs from its graph".into()),
                    Some(Err(error @ Difference::Run(_))) => Ok(chain(&error)),
                    Some(Ok(_)) | None => use_model(&model),
                }
            }
            Err(error) => Err(format!("it makes a bundle that doesn't load: {}", chain(&error))),
        },
        Err(error) => Ok(chain(&error)),
    }
}

/// An error and its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A folder that is memory where there is one: a file is written for each input.
pub(super) fn memory() -> std::path::PathBuf {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { shm.into() } else { std::env::temp_dir() }
}

fn fixture(folder: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder)
}

/// The fixtures with this ending that are small enough to be changed often.
fn fixtures(folder: &str, ending: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(fixture(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == ending));
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).filter(|bytes| bytes.len() < 32_768).collect()
}
