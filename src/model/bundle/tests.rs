use ndarray::{Array2, array};
use proptest::prelude::*;
use safetensors::{Dtype, tensor::TensorView};

use super::*;
use crate::engine::Norm;
use crate::model::testing;
use crate::record::Gap;

const CREATED: &str = "2013-07-01T00:00:00Z";

fn files(draft: &Draft) -> Files {
    draft.bundle(7, CREATED.into()).unwrap().1
}

fn load(files: &Files) -> Result<Model, BundleError> {
    Model::load(files, |_| {})
}

/// Changes `model.json` as JSON.
fn edit(files: &mut Files, change: impl FnOnce(&mut serde_json::Value)) {
    let mut manifest = serde_json::from_slice(&files.manifest).unwrap();
    change(&mut manifest);
    files.manifest = serde_json::to_vec(&manifest).unwrap();
}

/// Brings the digests up to date, as one would who forges a bundle.
fn sign(files: &mut Files) {
    let digests: Vec<_> = files.described().map(|(name, bytes)| (name, sha256(bytes))).collect();
    edit(files, |manifest| {
        for (name, digest) in digests {
            manifest["files"][name] = digest.into();
        }
    });
}

/// What the load says about a bundle whose weights are these.
fn refusal_of_weights(weights: Vec<u8>) -> String {
    let mut files = files(&testing::regression("m", 1.0));
    files.weights = weights;
    sign(&mut files);
    load(&files).unwrap_err().to_string()
}

fn safetensors(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
    let views = tensors
        .iter()
        .map(|&(name, dtype, shape, bytes)| (name, TensorView::new(dtype, shape.to_vec(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

/// A safetensors file of this header, with `data` behind it.
fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn a_loaded_model_is_what_was_drafted() {
    let draft = testing::classification("flights");
    let files = files(&draft);
    let mut checks = Vec::new();
    let model = Model::load(&files, |check| checks.push(check)).unwrap();

    assert_eq!((model.name(), model.version()), ("flights", 7));
    assert_eq!(model.manifest.created, CREATED);
    assert_eq!(model.signature(), &draft.signature);
    assert_eq!(model.manifest.preprocessing, draft.preprocessing);
    assert_eq!(model.manifest.training, draft.training);
    assert_eq!(model.baseline, draft.baseline);
    assert_eq!(model.digest, sha256(&files.manifest));
    assert_eq!(model.short_digest(), &model.digest[..12]);
    assert_eq!(checks.len(), 6);
    assert_eq!(checks[4], Check::Network { parameters: 4 * 3 + 3 + 3 * 2 + 2 });
    assert_eq!(checks[5], Check::Goldens { rows: 5, largest: 0.0 });

    let again = Draft::of(&files).unwrap();
    assert_eq!(again.parent, Some(7));
    assert_eq!(again.layers, draft.layers);
    assert_eq!(format!("{again:?}"), format!("{:?}", Draft { parent: Some(7), ..draft }));
}

/// A layer in every form that it may have in a file.
fn layer_forms() -> Vec<Layer> {
    let plain = Layer::new(array![[1.0, -2.0], [0.5, 0.25], [3.0, 127.0]], array![0.5, -0.5], Activation::GeluTanh);
    let weights = plain.weights.to_f32().into_owned();
    let int8 = |input| Weights::Int8 { values: weights.mapv(|w| w as i8), scales: array![0.5, 0.25], input };
    let norm = |place| Some(Norm { scale: array![1.0, 2.0], shift: array![0.0, 0.1], epsilon: 1e-5, place });
    let one_norm = |place| Some(Norm { scale: array![2.0], shift: array![0.1], epsilon: 1e-5, place });
    vec![
        Layer { weights: Weights::F16(weights.mapv(half::f16::from_f32)), ..plain.clone() },
        Layer { weights: Weights::Bf16(weights.mapv(half::bf16::from_f32)), ..plain.clone() },
        Layer { weights: int8(Int8Input::F32), ..plain.clone() },
        Layer { weights: int8(Int8Input::Dynamic), ..plain.clone() },
        Layer { weights: int8(Int8Input::Range { low: -0.1, high: 1e30 }), ..plain.clone() },
        Layer { norm: norm(NormPlace::BeforeActivation), ..plain.clone() },
        Layer { norm: norm(NormPlace::AfterActivation), weights: int8(Int8Input::Dynamic), ..plain.clone() },
        Layer { norm: one_norm(NormPlace::BeforeActivation), passed: 1, ..plain.clone() },
        Layer { activation: Activation::PRelu, slopes: Some(array![0.25, -1.5]), ..plain.clone() },
        Layer { activation: Activation::Clamp { low: 0.0, high: 6.5 }, ..plain.clone() },
        plain,
    ]
}

#[test]
fn layers_of_every_form_come_back_as_they_were() {
    let layers = layer_forms();
    let shapes: Vec<_> = layers.iter().map(LayerShape::of).collect();
    let json = serde_json::to_string(&shapes).unwrap();
    assert_eq!(serde_json::from_str::<Vec<LayerShape>>(&json).unwrap(), shapes, "{json}");
    weights::check(&layers).unwrap();
    assert_eq!(weights::decode(&weights::encode(&layers).unwrap(), &shapes).unwrap(), layers);
    // Versions without parameters of activations stay readable.
    let old = r#"{"inputs":3,"outputs":2,"activation":"leaky_relu"}"#;
    assert_eq!(serde_json::from_str::<LayerShape>(old).unwrap().activation, Activation::LEAKY_RELU);
    let clamp = serde_json::to_string(&shapes[shapes.len() - 2]).unwrap();
    assert!(clamp.contains(r#""activation":"clamp(low=0, high=6.5)""#), "{clamp}");
    // A plain layer is written as it always was.
    let plain = serde_json::to_string(&shapes[shapes.len() - 1]).unwrap();
    assert_eq!(plain, r#"{"inputs":3,"outputs":2,"activation":"gelu_tanh"}"#);
}

#[test]
fn layers_that_can_not_be_computed_are_refused() {
    let form = |index: usize| layer_forms().swap_remove(index);
    let with = |mut layer: Layer, change: fn(&mut Layer)| {
        change(&mut layer);
        weights::check(&[layer]).unwrap_err().to_string()
    };
    fn scales(layer: &mut Layer) -> &mut ndarray::Array1<f32> {
        let Weights::Int8 { scales, .. } = &mut layer.weights else { panic!("not int8") };
        scales
    }
    fn set_range(layer: &mut Layer, bounds: [f32; 2]) {
        let Weights::Int8 { input, .. } = &mut layer.weights else { panic!("not int8") };
        *input = Int8Input::Range { low: bounds[0], high: bounds[1] };
    }
    fn norm(layer: &mut Layer) -> &mut Norm {
        layer.norm.as_mut().unwrap()
    }
    for (message, reason) in [
        (with(form(0), |it| it.weights = Weights::F16(array![[half::f16::INFINITY]])), "0.weight\" has the value inf"),
        (with(form(1), |it| it.weights = Weights::Bf16(array![[half::bf16::NAN]])), "0.weight\" has the value NaN"),
        (with(form(3), |it| scales(it)[1] = 0.0), "layers.0.scale\" has the value 0, a scale must be above 0"),
        (with(form(3), |it| scales(it)[1] = -1.0), "the value -1, a scale must be above 0"),
        (with(form(3), |it| scales(it)[0] = f32::NAN), "layers.0.scale\" has the value NaN"),
        (with(form(3), |it| *scales(it) = array![1.0]), "layers.0.scale\" has 1 values for 2 outputs"),
        (with(form(3), |it| set_range(it, [0.5, 1.0])), "inputs from 0.5 to 1: a range must include 0"),
        (with(form(3), |it| set_range(it, [0.0, 0.0])), "a range must include 0"),
        (with(form(3), |it| set_range(it, [f32::NAN, 1.0])), "a range must include 0"),
        (with(form(3), |it| set_range(it, [f32::MIN, f32::MAX])), "a range must include 0"),
        (with(form(5), |it| norm(it).epsilon = -1.0), "a norm whose epsilon is -1"),
        (with(form(5), |it| norm(it).scale[0] = f32::INFINITY), "layers.0.norm.scale\" has the value inf"),
        (with(form(5), |it| norm(it).shift = array![0.0]), "layers.0.norm.shift\" has 1 values"),
    ] {
        assert!(message.contains(reason), "{reason}: {message}");
    }

    // A file that isn't what model.json says.
    let layers = [form(3)];
    let bytes = weights::encode(&layers).unwrap();
    let decode = |change: fn(&mut LayerShape)| {
        let mut shape = LayerShape::of(&layers[0]);
        change(&mut shape);
        weights::decode(&bytes, &[shape]).unwrap_err().to_string()
    };
    for (message, reason) in [
        (decode(|it| it.input = None), "model.json: layer 0 is int8: \"input\" belongs to int8"),
        (decode(|it| it.dtype = super::Dtype::F16), "3 tensors for 1 layers, 2 are needed"),
        (decode(|it| it.outputs = 3), "has shape [3, 2], model.json says [3, 3]"),
    ] {
        assert!(message.contains(reason), "{reason}: {message}");
    }
    for length in 0..bytes.len() {
        weights::decode(&bytes[..length], &[LayerShape::of(&layers[0])]).unwrap_err();
    }
}

#[test]
fn scoring_is_preprocessing_and_the_network() {
    let model = load(&files(&testing::regression("m", 0.5))).unwrap();
    let mut scratch = model.scratch();
    // Growing and shrinking batches with the same scratch.
    for rows in [vec![1.0], vec![1.0, -2.0, 3.0], vec![4.0, 5.0]] {
        let rows = Array2::from_shape_vec((rows.len(), 1), rows).unwrap();
        let mut out = Array2::zeros((rows.nrows(), 1));
        model.score(rows.view(), out.view_mut(), &mut scratch);
        assert_eq!(out, rows.mapv(|x| (2.0 * x + 0.5) as f32));
    }
}

#[test]
fn goldens_are_rows_as_a_record_says_them() {
    let golden: serde_json::Value = serde_json::from_slice(&files(&testing::classification("m")).golden).unwrap();
    let features: Vec<_> = golden["rows"].as_array().unwrap().iter().map(|row| row["features"].to_string()).collect();
    assert_eq!(
        features,
        [r#"[1.0,"red"]"#, r#"[-2.5,"green"]"#, r#"[1000000.0,"blue"]"#, "[null,null]", r#"[0.1,"unknown"]"#]
    );
}

#[test]
fn a_changed_file_is_found_by_its_digest() {
    let whole = files(&testing::classification("m"));
    for (change, name) in [
        ((|files: &mut Files| &mut files.weights) as fn(&mut Files) -> &mut Vec<u8>, WEIGHTS),
        (|files| &mut files.baseline, BASELINE),
        (|files| &mut files.golden, GOLDEN),
    ] {
        let mut files = whole.clone();
        let bytes = change(&mut files);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(matches!(load(&files), Err(BundleError::Digest { file, .. }) if file == name), "{name}");
    }
    let mut files = whole;
    edit(&mut files, |manifest| {
        manifest["files"].as_object_mut().unwrap().remove(BASELINE);
    });
    assert!(load(&files).unwrap_err().to_string().contains("no sha256 for baseline.json"));
}

#[test]
fn a_model_that_answers_otherwise_is_refused_by_its_goldens() {
    // The weights of one model with the goldens of another: each file is fine by itself.
    let mut files = files(&testing::regression("m", 1.0));
    files.weights = self::files(&testing::regression("m", 1.01)).weights;
    sign(&mut files);
    let error = load(&files).unwrap_err();
    assert!(matches!(error, BundleError::Golden { row: 0, output: 0, expected: 1.0, found: 1.01, .. }), "{error}");

    // Preprocessing counts as well as weights.
    let mut files = self::files(&testing::regression("m", 1.0));
    edit(&mut files, |manifest| manifest["preprocessing"][0]["steps"][0]["std"] = 0.9.into());
    assert!(matches!(load(&files), Err(BundleError::Golden { row: 1, .. })));

    // What kernels differ by is no difference.
    let mut files = self::files(&testing::regression("m", 1.0));
    files.weights = self::files(&testing::regression("m", 1.000_01)).weights;
    sign(&mut files);
    load(&files).unwrap();
}

#[test]
fn weights_that_are_no_weights_are_refused() {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    let (one, nan) = (bytes(&[1.0]), bytes(&[f32::NAN]));
    let (weight, bias) = ("layers.0.weight", "layers.0.bias");
    let refusals = [
        (vec![(weight, Dtype::F32, &[1, 1][..], &one[..])], "1 tensors for 1 layers"),
        (vec![(weight, Dtype::F32, &[1, 1], &one), ("bias", Dtype::F32, &[1], &one)], "safetensors can't be read"),
        (vec![(weight, Dtype::F32, &[1], &one), (bias, Dtype::F32, &[1], &one)], "has shape [1]"),
        (vec![(weight, Dtype::I32, &[1, 1], &one), (bias, Dtype::F32, &[1], &one)], "is I32, not F32"),
        (vec![(weight, Dtype::F32, &[1, 1], &nan), (bias, Dtype::F32, &[1], &one)], "the value NaN"),
        (vec![(weight, Dtype::F32, &[1, 1], &one), (bias, Dtype::F32, &[1], &nan)], "layers.0.bias\" has the value"),
    ];
    for (tensors, reason) in refusals {
        let message = refusal_of_weights(safetensors(&tensors));
        assert!(message.contains(reason) && message.contains("publish anew"), "{message}");
    }
}

#[test]
fn headers_that_lie_about_their_size_are_refused() {
    let whole = files(&testing::regression("m", 1.0)).weights;
    for length in 0..whole.len() {
        refusal_of_weights(whole[..length].to_vec());
    }
    refusal_of_weights(u64::MAX.to_le_bytes().to_vec());
    let huge = |elements: u64, bytes: u64| {
        format!(r#"{{"layers.0.weight":{{"dtype":"F32","shape":[{elements},1],"data_offsets":[0,{bytes}]}}}}"#)
    };
    for (elements, bytes) in [(1 << 60, 1 << 62), (1 << 58, 1 << 60), (1 << 60, 4), (0, 0)] {
        refusal_of_weights(with_header(&huge(elements, bytes), &[0; 8]));
    }
    // The manifest may claim as much.
    let mut files = files(&testing::regression("m", 1.0));
    edit(&mut files, |manifest| manifest["network"]["layers"][0]["outputs"] = (1_u64 << 60).into());
    assert!(load(&files).unwrap_err().to_string().contains("has shape [1, 1]"));
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let refusal = |change: fn(&mut serde_json::Value)| {
        let mut files = files(&testing::classification("m"));
        edit(&mut files, change);
        let error = load(&files).unwrap_err();
        std::error::Error::source(&error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
    };
    for (change, reason) in [
        ((|it| it["signature"]["features"][1]["name"] = "x".into()) as fn(&mut serde_json::Value), "listed twice"),
        (|it| it["preprocessing"][1] = serde_json::json!({"transform": "numeric", "steps": []}), "another kind"),
        (|it| it["preprocessing"] = serde_json::json!([]), "0 transforms for 2 features"),
        (|it| it["preprocessing"][0]["steps"][0]["std"] = 0.into(), "std: 0.0 }"),
        (|it| it["network"]["output"] = "identity".into(), "can't give probabilities"),
        (|it| it["network"]["output"] = "logistic".into(), "last layer has 2 outputs, the target needs 1"),
        (|it| it["signature"]["target"]["classes"] = serde_json::json!(["a", "b", "c"]), "the target needs 3"),
        (
            |it| it["signature"]["target"] = serde_json::json!({"task": "regression", "names": ["a", "b"]}),
            "not for a regression",
        ),
        (|it| it["network"]["layers"] = serde_json::json!([]), "4 tensors for 0 layers, 0 are needed"),
        (
            |it| it["signature"]["features"][1]["kind"]["categories"] = serde_json::json!(["red"]),
            "layer 0 has 4 inputs, the preprocessing gives 2",
        ),
        (|it| it["later"] = 1.into(), "unknown field `later`"),
        (|it| it["version"] = "7".into(), "invalid type"),
    ] {
        let message = refusal(change);
        assert!(message.contains(reason), "{reason}: {message}");
    }
}

#[test]
fn a_baseline_of_other_features_is_refused() {
    let mut files = files(&testing::classification("m"));
    files.baseline = self::files(&testing::regression("m", 1.0)).baseline;
    sign(&mut files);
    let error = load(&files).unwrap_err();
    assert!(matches!(error, BundleError::Invalid { file: BASELINE, .. }), "{error}");
}

#[test]
fn drafts_that_could_not_be_loaded_are_refused() {
    let refusal = |change: fn(&mut Draft)| {
        let mut draft = testing::classification("m");
        change(&mut draft);
        draft.bundle(1, CREATED.into()).unwrap_err().to_string()
    };
    for (change, reason) in [
        ((|it| it.golden_rows.clear()) as fn(&mut Draft), "there are no rows"),
        (|it| it.golden_rows[2] = vec![1.0], "row 2: 1 values for 2 features"),
        (|it| it.golden_rows[1][1] = 3.0, "row 1: feature \"colour\": no record can say 3"),
        (|it| it.golden_rows[1][1] = 0.5, "no record can say 0.5"),
        (|it| it.golden_rows[1][0] = f64::INFINITY, "no record can say inf"),
        (|it| it.golden_rows[1][0] = Gap::String.value(), "feature \"x\": no record can say NaN"),
        (|it| it.signature.features[0].missing = crate::model::signature::Missing::Reject, "row 3: missing_feature"),
        (|it| it.golden_rows[1][0] = 1e300, "not finite"),
        (
            |it| it.layers[1].weights = Weights::F32(Array2::from_elem((3, 2), f32::INFINITY)),
            "layers.1.weight\" has the value inf",
        ),
        (|it| it.layers[1].bias = array![1.0], "layers.1.bias\" has 1 values for 2 outputs"),
        (|it| it.layers.truncate(1), "last layer has 3 outputs"),
        (|it| it.layers.clear(), "no layers"),
        (
            |it| {
                it.training.metrics.insert("auc".into(), f64::NAN);
            },
            "metric \"auc\" is NaN",
        ),
    ] {
        let message = refusal(change);
        assert!(message.contains(reason), "{reason}: {message}");
    }
}

#[test]
fn one_logit_answers_for_two_classes() {
    let mut draft = testing::classification("m");
    draft.output = Output::Logistic;
    draft.layers[1] = Layer::new(array![[1.0], [0.5], [-2.0]], array![0.25], Activation::Identity);
    let model = load(&files(&draft)).unwrap();
    assert_eq!(model.mlp.outputs(), 2);
}

#[test]
fn weights_of_any_memory_layout_are_written_row_by_row() {
    let weights = Array2::from_shape_fn((2, 3), |(row, column)| (10 * row + column) as f32);
    let layer = |weights| Layer::new(weights, array![0.0, 0.0, 0.0], Activation::Identity);
    let transposed = weights.t().as_standard_layout().into_owned().reversed_axes();
    assert!(!transposed.is_standard_layout());
    assert_eq!(weights::encode(&[layer(transposed)]).unwrap(), weights::encode(&[layer(weights)]).unwrap());
}

proptest! {
    /// Whatever the files hold, a load ends in a model or an error.
    #[test]
    fn random_damage_never_panics(
        file in 0..4_usize,
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut files = files(&testing::classification("m"));
        let target = match file {
            0 => &mut files.manifest,
            1 => &mut files.weights,
            2 => &mut files.baseline,
            _ => &mut files.golden,
        };
        let at = at.index(target.len());
        let end = (at + bytes.len()).min(target.len());
        target.splice(at..end, bytes);
        if file > 0 {
            sign(&mut files);
        }
        let _ = load(&files);
    }
}
