//! What can't be imported, and what people say about a model. That the answers are onnxruntime's is for tests/import.rs.

mod branches;
mod exported;
mod forms;
mod random;
mod transformers;

use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;
use prost::Message;

use super::proto::{
    Attribute, AttributeKind, DataLocation, DataType, Dimension, DimensionValue, Graph, Model, Node, OperatorSetId,
    StringStringEntry, Tensor, TensorShape, TensorType, Type, TypeValue, ValueInfo,
};
use super::*;
use crate::engine::Activation;
use crate::model::import::{Evidence, Task};
use crate::model::preprocess::{Step, Transform};
use crate::model::signature::{Kind, Missing, Target, Unknown};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx").join(name)
}

fn node(operator: &str, inputs: &[&str], output: &str) -> Node {
    let domain = if matches!(operator, "Scaler" | "Imputer" | "OneHotEncoder" | "ZipMap") { proto::ML } else { "" };
    Node {
        op_type: operator.into(),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        domain: domain.into(),
        ..Node::default()
    }
}

fn with(mut node: Node, name: &str, value: impl FnOnce(&mut Attribute)) -> Node {
    let mut attribute = Attribute { name: name.into(), kind: AttributeKind::Float as i32, ..Attribute::default() };
    value(&mut attribute);
    node.attribute.push(attribute);
    node
}

fn tensor(name: &str, dims: &[i64], values: &[f32]) -> Tensor {
    Tensor {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        float_data: values.to_vec(),
        ..Tensor::default()
    }
}

fn input(name: &str, data_type: DataType, columns: Option<i64>) -> ValueInfo {
    let dims = [None, columns.map(DimensionValue::Fixed)];
    let shape = TensorShape { dim: dims.map(|value| Dimension { value }).to_vec() };
    let tensor = TensorType { elem_type: data_type as i32, shape: Some(shape) };
    ValueInfo { name: name.into(), r#type: Some(Type { value: Some(TypeValue::Tensor(tensor)) }) }
}

/// A graph from `x` (two columns of f32) to the output of the last node. Its constants: `w` (2 × 3), `v` (3 × 1), `b` (3).
fn model(nodes: Vec<Node>) -> Model {
    let output = nodes.last().map_or("x".into(), |node| node.output[0].clone());
    let graph = Graph {
        node: nodes,
        input: vec![input("x", DataType::Float, Some(2))],
        output: vec![ValueInfo { name: output, r#type: None }],
        initializer: vec![
            tensor("w", &[2, 3], &[1.0, -0.5, 2.0, 0.25, 3.0, -1.0]),
            tensor("v", &[3, 1], &[1.0, 0.5, -2.0]),
            tensor("b", &[3], &[0.5, -1.0, 0.25]),
        ],
        ..Graph::default()
    };
    let opset_import = vec![OperatorSetId { domain: String::new(), version: 17 }];
    Model { ir_version: 8, producer_name: "test".into(), graph: Some(graph), opset_import, ..Model::default() }
}

fn import_with(model: &Model, hints: &Hints) -> Result<Imported, OnnxError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    read(&path, hints)
}

fn import(nodes: Vec<Node>) -> Result<Imported, OnnxError> {
    import_with(&model(nodes), &Hints::default())
}

/// The error's one line, causes included.
fn refused(result: Result<Imported, OnnxError>) -> String {
    let error = result.expect_err("it should be refused");
    let line = format!("{:#}", anyhow::Error::from(error));
    assert!(!line.contains('\n'), "{line}");
    line
}

fn linear() -> Vec<Node> {
    vec![node("MatMul", &["x", "w"], "h"), node("Add", &["h", "b"], "z")]
}

fn network(nodes: Vec<Node>) -> Vec<Node> {
    linear().into_iter().chain(nodes).collect()
}

#[test]
fn operators_that_cannot_be_run_are_all_named() {
    let nodes = [("Conv", "z", "c"), ("Hardmax", "c", "d"), ("Conv", "d", "e"), ("LogSoftmax", "e", "y")];
    let error = refused(import(network(nodes.map(|(name, from, to)| node(name, &[from], to)).to_vec())));
    assert!(error.starts_with("weir can't run Conv (2 times), Hardmax (once), LogSoftmax (once): "), "{error}");
    assert!(error.contains("--task classification") && error.contains("retrain with relu"), "{error}");
    // What no output depends on doesn't matter.
    let mut nodes = vec![node("Conv", &["x"], "unused")];
    nodes.extend(linear());
    assert!(import(nodes).is_ok());
}

#[test]
fn what_a_node_cannot_do_is_said_with_its_name() {
    let cases = [
        (
            vec![with(node("Celu", &["z"], "y"), "alpha", |attribute| attribute.f = -1.0)],
            "Celu that gives \"y\": ",
            "activation celu(alpha=-1): alpha must be above 0",
        ),
        (
            vec![node("Relu", &["z"], "a"), node("Mul", &["a", "z"], "s"), node("MatMul", &["s", "v"], "y")],
            "MatMul",
            "no activation",
        ),
        (vec![node("MatMul", &["z", "v"], "s"), node("Mul", &["s", "z"], "y")], "Mul", "joins two branches by Mul"),
        (vec![node("MatMul", &["z", "w"], "y")], "MatMul", "rows of shape [3] by 2 rows"),
        (vec![node("Add", &["z", "nowhere"], "y")], "Add", "nothing before it gives \"nowhere\""),
        (vec![node("Add", &["z", "y"], "q"), node("Relu", &["q"], "y")], "Add", "nothing before it gives \"y\""),
        (vec![node("Clip", &["z"], "a"), node("Reshape", &["a", "b"], "y")], "Reshape", "no integer"),
        (vec![with(node("Softmax", &["z"], "y"), "axis", |a| a.i = 0)], "Softmax", "over the batch"),
    ];
    for (nodes, place, reason) in cases {
        let error = refused(import(network(nodes)));
        assert!(error.starts_with("node ") && error.contains(place) && error.contains(reason), "{error}");
    }
}

#[test]
fn a_graph_that_cannot_be_is_refused() {
    let mut old = model(network(vec![node("Softmax", &["z"], "y")]));
    old.opset_import[0].version = 6;
    assert!(refused(import_with(&old, &Hints::default())).contains("opset 7 or later"));

    let mut wide = model(linear());
    wide.graph.as_mut().unwrap().input[0] = input("x", DataType::Float, Some(1 << 60));
    assert!(refused(import_with(&wide, &Hints::default())).contains("more than 100000 values"));

    for (dims, reason) in [
        (vec![1 << 60, 16], "more elements than there can be"),
        (vec![1 << 60], "6 elements where its shape has"),
        (vec![-2, 3], "-2 can't be"),
        (vec![2, 2], "6 elements where its shape has 4"),
    ] {
        let mut tensor = model(linear());
        tensor.graph.as_mut().unwrap().initializer[0].dims = dims;
        let error = refused(import_with(&tensor, &Hints::default()));
        assert!(error.starts_with("tensor \"w\": ") && error.contains(reason), "{error}");
    }

    assert!(refused(import(vec![node("Relu", &["nothing"], "y")])).contains("nothing before it"));
    let twice = network(vec![node("Relu", &["z"], "h")]);
    assert!(refused(import(twice)).contains("two nodes give the value \"h\""));
    assert!(refused(import(vec![node("Identity", &["b"], "y")])).contains("no output"));
    assert!(refused(import(vec![node("Identity", &["x"], "y")])).contains("no layer before it"));
}

#[test]
fn columns_that_double_at_each_node_are_refused() {
    let name = |index: usize| if index == 0 { "x".to_owned() } else { format!("x{index}") };
    let double = |index: usize| {
        with(node("Concat", &[&name(index), &name(index)], &name(index + 1)), "axis", |attribute| attribute.i = 1)
    };
    assert!(refused(import((0..60).map(double).collect())).contains("are the limit"));
}

#[test]
fn a_file_that_is_cut_off_is_no_model() {
    let bytes = fs::read(fixture("gelu-script-13.onnx")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.onnx");
    for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = refused(read(&path, &Hints::default()));
        assert!(error.contains("no ONNX model") || error.contains("names no version"), "{length}: {error}");
    }
    assert!(refused(read(&folder.path().join("absent.onnx"), &Hints::default())).starts_with("can't read "));
}

#[test]
fn data_beside_the_file_is_read_from_its_own_folder_only() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("models");
    fs::create_dir(&folder).unwrap();
    let numbers: Vec<u8> = [1.0_f32, -0.5, 2.0, 0.25, 3.0, -1.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    for path in [folder.join("model.data"), root.path().join("outside.data")] {
        fs::write(path, [&[9; 8][..], &numbers].concat()).unwrap();
    }
    symlink(root.path().join("outside.data"), folder.join("link.data")).unwrap();
    let import = |location: &str, length: &str| {
        let mut model = model(linear());
        let weights = &mut model.graph.as_mut().unwrap().initializer[0];
        weights.float_data.clear();
        weights.data_location = DataLocation::External as i32;
        let entries = [("location", location), ("offset", "8"), ("length", length)];
        weights.external_data =
            entries.map(|(key, value)| StringStringEntry { key: key.into(), value: value.into() }).to_vec();
        let path = folder.join("model.onnx");
        fs::write(&path, model.encode_to_vec()).unwrap();
        read(&path, &Hints::default())
    };
    let layer = &import("model.data", "24").unwrap().layers[0];
    assert_eq!(layer.weights.to_f32().iter().copied().collect::<Vec<_>>(), [1.0, -0.5, 2.0, 0.25, 3.0, -1.0]);
    let outside = root.path().join("outside.data");
    assert!(std::process::Command::new("mkfifo").arg(folder.join("pipe.data")).status().unwrap().success());
    for (location, length, reason) in [
        ("../outside.data", "24", "not in the ONNX file's own folder"),
        (outside.to_str().unwrap(), "24", "not in the ONNX file's own folder"),
        ("", "24", "not in the ONNX file's own folder"),
        ("link.data", "24", "a link out of"),
        ("absent.data", "24", "can't be read"),
        ("model.data", "32", "should have 24 bytes"),
        (".", "24", "is no regular file"),
        ("pipe.data", "24", "is no regular file"),
    ] {
        let error = refused(import(location, length));
        assert!(error.contains(reason) || error.contains("bytes"), "{location:?}: {error}");
    }
    fs::write(folder.join("model.data"), &numbers[..20]).unwrap();
    assert!(refused(import("model.data", "24")).contains("has 20 bytes, 24 from 8 on are needed"));
}

#[test]
fn what_a_person_says_decides_where_the_file_leaves_it_open() {
    let names = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<Vec<_>>());
    let classification = Hints { task: Some(Task::Classification), ..Hints::default() };
    let outcome = |file: &str, hints: &Hints| read(&fixture(file), hints).map(|it| (it.output, it.signature.target));

    let (output, target) = outcome("relu-logits-script-13.onnx", &Hints::default()).unwrap();
    assert_eq!((output, target.outputs()), (Output::Identity, 3));
    let (output, target) = outcome("relu-logits-script-13.onnx", &classification).unwrap();
    assert_eq!(output, Output::Softmax);
    assert_eq!(target, Target::Classification { name: "class".into(), classes: names(&["0", "1", "2"]).unwrap() });
    let named = Hints { classes: names(&["a", "b", "c"]), ..Hints::default() };
    let (_, target) = outcome("softmax-dropout-dynamo-18.onnx", &named).unwrap();
    assert_eq!(target, Target::Classification { name: "class".into(), classes: named.classes.clone().unwrap() });

    // One sigmoid is a number, unless it is said to be a probability; then the logit is what the network answers.
    let imported = read(&fixture("sigmoid_output-script-17.onnx"), &Hints::default()).unwrap();
    assert_eq!(
        (imported.output, imported.layers[1..].last().unwrap().activation),
        (Output::Identity, Activation::Logistic)
    );
    let imported = read(&fixture("sigmoid_output-script-17.onnx"), &classification).unwrap();
    assert_eq!((imported.output, imported.layers.last().unwrap().activation), (Output::Logistic, Activation::Identity));
    assert_eq!(imported.signature.target.outputs(), 2);
    assert_eq!(outcome("silu-script-13.onnx", &classification).unwrap().0, Output::Logistic);

    let regression = Hints { task: Some(Task::Regression), ..Hints::default() };
    assert!(outcome("softmax-dropout-dynamo-18.onnx", &regression).unwrap_err().to_string().contains("classification"));
    let too_few = Hints { classes: names(&["a", "b"]), ..Hints::default() };
    assert!(outcome("relu-logits-script-13.onnx", &too_few).unwrap_err().to_string().contains("2 names for 3 classes"));

    let features = Hints { feature_names: names(&["a", "b", "c", "d", "e", "f"]), ..Hints::default() };
    let imported = read(&fixture("relu-logits-script-13.onnx"), &features).unwrap();
    assert_eq!(imported.signature.features[5].name, "f");
    let imported = read(&fixture("relu-logits-script-13.onnx"), &Hints::default()).unwrap();
    assert_eq!(imported.signature.features[5].name, "x5");
    assert_eq!(imported.recipe["producer"], "pytorch 2.15.0");
    let too_many = Hints { feature_names: names(&["a"; 7]), ..Hints::default() };
    assert!(read(&fixture("relu-logits-script-13.onnx"), &too_many).unwrap_err().to_string().contains("7 names for 6"));
}

#[test]
fn preprocessing_goes_where_weir_has_it() {
    let floats = |name: &'static str, values: &'static [f32]| {
        move |node: Node| with(node, name, move |attribute: &mut Attribute| attribute.floats = values.to_vec())
    };
    let imputer = floats("imputed_value_floats", &[7.0, 8.0])(node("Imputer", &["x"], "i"));
    let imputer = with(imputer, "replaced_value_float", |attribute| attribute.f = f32::NAN);
    let scaler = floats("offset", &[1.5, 0.0])(node("Scaler", &["i"], "s"));
    let scaler = floats("scale", &[2.0, 4.0])(scaler);
    let one_hot = with(node("OneHotEncoder", &["colour"], "o"), "cats_strings", |attribute| {
        attribute.strings = vec![b"red".to_vec(), b"blue".to_vec()];
    });
    // The colour goes in first; the features stay in the order of the inputs.
    let join = with(node("Concat", &["o2", "s"], "c"), "axis", |attribute| attribute.i = 1);
    let flat = node("Flatten", &["o"], "o2");
    let mut model = model(vec![imputer, scaler, one_hot, flat, join, node("MatMul", &["c", "weights"], "y")]);
    let graph = model.graph.as_mut().unwrap();
    graph.input.push(input("colour", DataType::String, Some(1)));
    graph.initializer.push(tensor("weights", &[4, 1], &[10.0, 20.0, 30.0, 40.0]));

    let imported = import_with(&model, &Hints::default()).unwrap();
    let [x0, x1, colour] = &*imported.signature.features else { panic!("{:?}", imported.signature) };
    assert_eq!((&*x0.name, x0.missing), ("x0", Missing::Constant { value: 7.0 }));
    assert_eq!(x1.missing, Missing::Constant { value: 8.0 });
    let categories = vec!["red".into(), "blue".into()];
    assert_eq!(colour.kind, Kind::Categorical { categories, unknown: Unknown::Zeros });
    assert_eq!(imported.layers[0].weights.to_f32().iter().copied().collect::<Vec<_>>(), [30.0, 40.0, 10.0, 20.0]);
    let steps = [Step::Round, Step::Add { value: -1.5 }, Step::Round, Step::Multiply { value: 2.0 }].to_vec();
    assert_eq!(imported.preprocessing[0], Transform::Numeric { steps, indicator: false });
    let steps = [Step::Round, Step::Multiply { value: 4.0 }].to_vec();
    assert_eq!(imported.preprocessing[1], Transform::Numeric { steps, indicator: false });
    assert_eq!(imported.preprocessing[2], Transform::OneHot);
}

/// A node that changes the numbers of a network in a way that weir hasn't is no activation, and no part of one.
#[test]
fn casts_and_training_are_refused() {
    let casts = [
        (DataType::Int64, "cuts fractions off"),
        (DataType::Int32, "cuts fractions off"),
        (DataType::Bool, "to booleans"),
    ];
    for (to, why) in casts {
        let mut nodes = network(vec![with(node("Cast", &["z"], "whole"), "to", |it| it.i = to as i64)]);
        let end = refused(import(nodes.clone()));
        nodes.push(with(node("Cast", &["whole"], "a"), "to", |it| it.i = DataType::Float as i64));
        nodes.push(node("MatMul", &["a", "v"], "y"));
        let within = refused(import(nodes));
        assert!([&end, &within].iter().all(|error| error.contains("Cast") && error.contains(why)), "{end}, {within}");
    }
    let cut = [("x", "whole", DataType::Int64), ("whole", "cut", DataType::Float)];
    let cut = cut.map(|(from, to, data_type)| with(node("Cast", &[from], to), "to", |it| it.i = data_type as i64));
    let first = refused(import([cut.to_vec(), vec![node("MatMul", &["cut", "w"], "y")]].concat()));
    assert!(first.contains("Cast") && first.contains("cuts fractions off"), "{first}");
    for (opset, trained) in [(13, norm(true)), (15, with(norm(false), "training_mode", |it| it.i = 1))] {
        let mut model = model(network(vec![trained, node("MatMul", &["a", "v"], "y")]));
        model.opset_import[0].version = opset;
        let error = refused(import_with(&model, &Hints::default()));
        assert!(error.contains("exported for training"), "opset {opset}: {error}");
    }
}

/// Batch norm; before opset 14 the statistics are outputs in training.
fn norm(gives_statistics: bool) -> Node {
    let mut norm = node("BatchNormalization", &["z", "b", "b", "b", "b"], "a");
    if gives_statistics {
        norm.output.extend(["mean", "variance", "saved_mean", "saved_variance"].map(String::from));
    }
    norm
}

/// The comparison finds what a walk could misread: each model is held against a graph that differs from its own.
#[test]
fn an_import_is_refused_if_its_graph_has_another_node() {
    let last = || vec![node("MatMul", &["a", "v"], "y")];
    let one = |operator: &str| network([vec![node(operator, &["z"], "a")], last()].concat());
    let with_alpha = |operator: &str, alpha: f32| {
        network([vec![with(node(operator, &["z"], "a"), "alpha", |it| it.f = alpha)], last()].concat())
    };
    let clip = |low: &str, high: &str| network([vec![node("Clip", &["z", low, high], "a")], last()].concat());
    let cut = |from: &str, to: &str| {
        let whole = with(node("Cast", &[from], "whole"), "to", |to| to.i = DataType::Int64 as i64);
        vec![whole, with(node("Cast", &["whole"], to), "to", |to| to.i = DataType::Float as i64)]
    };
    let plain = || one("Identity");
    let gelu = |approximate: &'static str| {
        let text = |it: &mut Attribute| it.s = approximate.into();
        network([vec![with(node("Gelu", &["z"], "a"), "approximate", text)], last()].concat())
    };
    let first = [cut("x", "cut"), vec![node("MatMul", &["cut", "w"], "y")]].concat();
    let normalised = |gives_statistics| network([vec![norm(gives_statistics)], last()].concat());
    let cases = [
        ("a clamp from 0 to 100", one("Relu"), clip("zero", "hundred")),
        ("a clamp from 0 to 1e6", one("Relu"), clip("zero", "million")),
        ("a clamp at 100 on both sides", plain(), clip("minus", "hundred")),
        ("a clamp below", plain(), clip("minus", "")),
        ("a cast within", plain(), network([cut("z", "a"), last()].concat())),
        ("a cast at the end", linear(), network(cut("z", "y"))),
        ("a cast of the input", vec![node("MatMul", &["x", "w"], "y")], first),
        ("a slope", one("LeakyRelu"), with_alpha("LeakyRelu", 0.0101)),
        ("an alpha", one("Elu"), with_alpha("Elu", 1.001)),
        ("an approximation", gelu("none"), gelu("tanh")),
        ("another function", one("Sigmoid"), one("HardSigmoid")),
        ("batch norm in training", normalised(false), normalised(true)),
    ];
    for (what, taken, given) in cases {
        let [taken, given] = [taken, given].map(|nodes| {
            let mut model = model(nodes);
            model.opset_import[0].version = if what.starts_with("batch norm") { 13 } else { 20 };
            let bounds = [("zero", 0.0), ("minus", -100.0), ("hundred", 100.0), ("million", 1e6)];
            let tensors = bounds.map(|(name, bound)| tensor(name, &[], &[bound]));
            model.graph.as_mut().unwrap().initializer.extend(tensors);
            // Variances must be positive.
            model.graph.as_mut().unwrap().initializer[2].float_data = vec![0.5, 1.0, 0.25];
            model
        });
        let import = || import_with(&taken, &Hints::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
        import().into_draft("m", &Evidence::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut misread = import();
        let program = Program::new(&given, Reader::new(Path::new("model.onnx"))).unwrap();
        misread.reference.as_mut().unwrap().program = program;
        let error = misread.into_draft("m", &Evidence::default()).expect_err(what).to_string();
        assert!(error.contains("answers otherwise than the graph: for {\"x0\":"), "{what}: {error}");
    }
}

/// Whether the answers agree doesn't matter here, only that running the graph ends.
fn check_on_a_few_rows(mut imported: Imported) {
    let reference = imported.reference.take().unwrap();
    let Ok((draft, _)) = imported.into_draft("m", &Evidence::default()) else { return };
    let Ok((_, files)) = draft.bundle(1, String::new()) else { return };
    let model = crate::model::Model::load(&files, |_| {}).unwrap();
    if reference.batch() <= 1_000 {
        _ = reference.check(&model, &draft.preprocessing, 8);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever bytes a file has: a model or one line, never a panic.
    #[test]
    fn damaged_files_are_refused_or_imported(
        file in prop::sample::select(vec!["gelu-script-13.onnx", "layernorm_after-script-13.onnx", "fixed_batch-dynamo-18.onnx", "module-leaky-script-15.onnx"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = fs::read(fixture(file)).unwrap();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(cut.map_or(usize::MAX, |cut| cut.index(bytes.len())));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.onnx");
        fs::write(&path, bytes).unwrap();
        match read(&path, &Hints::default()) {
            Ok(imported) => check_on_a_few_rows(imported),
            Err(error) => prop_assert!(!error.to_string().contains('\n')),
        }
    }
}
