//! What exporters write, beyond plain layers: each graph imports and agrees with its reference, or is refused by words
//! that name what it is.

use super::*;
use crate::model::bundle::Draft;

#[test]
fn columns_of_inputs_never_share_a_name() {
    let joined = int(node("Concat", &["x", "x1"], "c"), "axis", 1);
    let mut model =
        in_opset(17, vec![joined, node("MatMul", &["c", "u"], "y")], vec![tensor("u", &[3, 1], &[1.0, 2.0, 4.0])]);
    model.graph.as_mut().unwrap().input.push(input("x1", DataType::Float, Some(1)));
    let names: Vec<_> = agreed(&model).signature.features.into_iter().map(|feature| feature.name).collect();
    assert_eq!(names, ["x_0", "x_1", "x1"]);
}

#[test]
fn operators_are_taken_from_older_opsets() {
    let cast = || int(node("Cast", &["x"], "c"), "to", 1);
    let linear = || vec![cast(), node("MatMul", &["c", "w"], "h"), node("Add", &["h", "b"], "y")];
    agreed(&in_opset(9, linear(), vec![]));
    let changed = vec![node("MatMul", &["x", "w"], "h"), node("Softmax", &["h"], "y")];
    for (opset, nodes) in [(7, linear()), (12, changed.clone()), (7, changed)] {
        agreed(&in_opset(opset, nodes, vec![]));
    }
}

#[test]
fn linear_models_are_networks_of_one_layer() {
    let floats = |node: Node, name: &'static str, values: &[f32]| {
        with(node, name, |attribute| attribute.floats = values.to_vec())
    };
    let ridge = int(learned("LinearRegressor", &["x"], &["y"]), "targets", 2);
    let ridge = floats(floats(ridge, "coefficients", &[1.0, 2.0, -3.0, 0.5]), "intercepts", &[0.25, -1.0]);
    let draft = agreed(&in_opset(17, vec![ridge], vec![]));
    assert_eq!((draft.layers.len(), draft.signature.target.outputs()), (1, 2));

    let logistic = |transform: &str, coefficients: &[f32], intercepts: &[f32]| {
        let node = learned("LinearClassifier", &["x"], &["label", "scores"]);
        let node = floats(floats(node, "coefficients", coefficients), "intercepts", intercepts);
        let names = &["no", "yes", "maybe"][..intercepts.len()];
        let node = texts(node, "classlabels_strings", names);
        let node = with(node, "post_transform", |attribute| attribute.s = transform.into());
        let normal = with(learned("Normalizer", &["scores"], &["p"]), "norm", |attribute| attribute.s = b"L1".to_vec());
        let mut model = in_opset(17, vec![node, normal], vec![]);
        let outputs = ["label", "p"].map(|name| ValueInfo { name: name.into(), r#type: None });
        model.graph.as_mut().unwrap().output = outputs.to_vec();
        model
    };
    let draft = agreed(&logistic("LOGISTIC", &[-1.0, 2.0, 1.0, -2.0], &[0.5, -0.5]));
    assert_eq!((draft.output, draft.layers[0].outputs()), (Output::Logistic, 1));
    let Target::Classification { classes, .. } = &draft.signature.target else { panic!("{:?}", draft.signature) };
    assert_eq!(classes, &["no", "yes"]);
    let draft = agreed(&logistic("SOFTMAX", &[1.0, 2.0, 3.0, -1.0, 0.5, 0.25], &[0.0, 1.0, -1.0]));
    assert_eq!((draft.output, draft.layers[0].outputs()), (Output::Softmax, 3));
    let apart = logistic("LOGISTIC", &[1.0, 2.0, 3.0, -1.0, 0.5, 0.25], &[0.0, 1.0, -1.0]);
    assert!(refused(import_with(&apart, &Hints::default())).contains("OneVsRestClassifier"));
}

/// The activation of the only hidden layer of a network, from `z` to `a` by these nodes.
fn activation(opset: i64, nodes: Vec<Node>, constants: Vec<Tensor>) -> Activation {
    let nodes = [linear(), nodes, vec![node("MatMul", &["a", "v"], "y")]].concat();
    let draft = agreed(&in_opset(opset, nodes, constants));
    assert_eq!(draft.layers.len(), 2, "{:?}", draft.layers);
    draft.layers[0].activation
}

fn float(node: Node, name: &str, value: f32) -> Node {
    with(node, name, |attribute| attribute.f = value)
}

pub(super) fn number(name: &str, value: f32) -> Tensor {
    tensor(name, &[], &[value])
}

#[test]
fn activations_keep_their_parameters() {
    let one = |operator: &str| node(operator, &["z"], "a");
    let alpha = |operator: &str, alpha: f32| float(one(operator), "alpha", alpha);
    for (found, expected) in [
        (alpha("LeakyRelu", 0.2), Activation::LeakyRelu { slope: 0.2 }),
        (one("LeakyRelu"), Activation::LEAKY_RELU),
        (alpha("Elu", 0.3), Activation::Elu { alpha: 0.3 }),
        (alpha("Celu", 0.5), Activation::Celu { alpha: 0.5 }),
        (one("Selu"), Activation::Selu),
        (alpha("Selu", 0.5), Activation::Elu { alpha: 0.5 }),
        (one("Softplus"), Activation::Softplus),
        (one("Softsign"), Activation::Softsign),
        (one("Mish"), Activation::Mish),
        (one("HardSwish"), Activation::HardSwish),
        (one("HardSigmoid"), Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }),
        (float(alpha("HardSigmoid", 0.3), "beta", 0.6), Activation::HardSigmoid { alpha: 0.3, beta: 0.6 }),
        (alpha("ThresholdedRelu", 0.4), Activation::ThresholdedRelu { alpha: 0.4 }),
        (one("Abs"), Activation::LeakyRelu { slope: -1.0 }),
    ] {
        assert_eq!(activation(20, vec![found], vec![]), expected);
    }
    let clip = |low: &str, high: &str| vec![node("Clip", &["z", low, high], "a")];
    let bounds = || vec![number("low", -0.5), number("high", 100.0)];
    let infinity = f32::INFINITY;
    for (nodes, low, high) in [
        (clip("low", "high"), -0.5, 100.0),
        (clip("low", ""), -0.5, infinity),
        (clip("", "high"), -infinity, 100.0),
        (vec![node("Min", &["high", "z"], "a")], -infinity, 100.0),
        (vec![node("Max", &["z", "low"], "m"), node("Min", &["m", "high"], "a")], -0.5, 100.0),
        (vec![node("Relu", &["z"], "r"), node("Min", &["r", "high"], "a")], 0.0, 100.0),
    ] {
        assert_eq!(activation(13, nodes, bounds()), Activation::Clamp { low, high });
    }
    let old = float(float(one("Clip"), "min", 0.0), "max", 6.0);
    assert_eq!(activation(10, vec![old], vec![]), Activation::Clamp { low: 0.0, high: 6.0 });
}

#[test]
fn activations_are_recognised_where_they_are_written_out() {
    let constants = || vec![number("three", 3.0), number("six", 6.0), number("zero", 0.0), number("slope", 0.2)];
    let leaky = vec![node("Mul", &["z", "slope"], "left"), node("Max", &["z", "left"], "a")];
    assert_eq!(activation(13, leaky, constants()), Activation::LeakyRelu { slope: 0.2 });
    let chosen = vec![
        node("Mul", &["z", "slope"], "left"),
        node("Greater", &["z", "zero"], "which"),
        node("Where", &["which", "z", "left"], "a"),
    ];
    assert_eq!(activation(13, chosen, constants()), Activation::LeakyRelu { slope: 0.2 });
    let mish = vec![node("Softplus", &["z"], "s"), node("Tanh", &["s"], "t"), node("Mul", &["z", "t"], "a")];
    assert_eq!(activation(13, mish, constants()), Activation::Mish);
    let swish = vec![
        node("Add", &["z", "three"], "s"),
        node("Clip", &["s", "zero", "six"], "c"),
        node("Mul", &["z", "c"], "m"),
        node("Div", &["m", "six"], "a"),
    ];
    assert_eq!(activation(13, swish, constants()), Activation::HardSwish);
    // PyTorch's softplus is the identity beyond a threshold.
    let softplus = vec![
        node("Softplus", &["z"], "s"),
        node("Greater", &["z", "six"], "which"),
        node("Where", &["which", "z", "s"], "a"),
    ];
    let twenty = || vec![number("six", 20.0)];
    assert_eq!(activation(13, softplus, twenty()), Activation::Softplus);
    // Beta: softplus of twice the number, halved.
    let steep = vec![node("Mul", &["z", "two"], "t"), node("Softplus", &["t"], "s"), node("Div", &["s", "two"], "a")];
    assert_eq!(activation(13, steep, vec![number("two", 2.0)]), Activation::Softplus);
    // PyTorch's threshold is a number between those that functions are compared at.
    for (operator, inputs, choice) in [
        ("LessOrEqual", ["z", "slope"], ["which", "zero", "z"]),
        ("Greater", ["z", "slope"], ["which", "z", "zero"]),
        ("Less", ["slope", "z"], ["which", "z", "zero"]),
        ("GreaterOrEqual", ["slope", "z"], ["which", "zero", "z"]),
    ] {
        let threshold = vec![node(operator, &inputs, "which"), node("Where", &choice, "a")];
        assert_eq!(activation(16, threshold, constants()), Activation::ThresholdedRelu { alpha: 0.2 });
    }
    let quick = vec![node("Mul", &["z", "factor"], "f"), node("Sigmoid", &["f"], "s"), node("Mul", &["z", "s"], "a")];
    assert_eq!(activation(13, quick, vec![number("factor", 1.702)]), Activation::Silu);
}

#[test]
fn norms_are_recognised_where_they_are_written_out() {
    let mean = |from: &str, to: &str| {
        let axes = |it: &mut Attribute| it.ints = vec![-1];
        with(node("ReduceMean", &[from], to), "axes", axes)
    };
    let start = vec![
        mean("z", "mean"),
        node("Sub", &["z", "mean"], "off"),
        node("Mul", &["off", "off"], "square"),
        mean("square", "var"),
        node("Add", &["var", "eps"], "sum"),
        node("Sqrt", &["sum"], "root"),
    ];
    let constants = || vec![number("eps", 1e-3), number("one", 1.0)];
    for end in [
        vec![node("Div", &["off", "root"], "y")],
        vec![node("Reciprocal", &["root"], "inverse"), node("Mul", &["off", "inverse"], "y")],
        vec![node("Reciprocal", &["root"], "inverse"), node("Mul", &["inverse", "off"], "y")],
        vec![node("Div", &["one", "root"], "inverse"), node("Mul", &["off", "inverse"], "y")],
    ] {
        let draft = agreed(&in_opset(13, network([start.clone(), end].concat()), constants()));
        assert!(draft.layers.iter().any(|layer| layer.norm.is_some()), "{:?}", draft.layers);
    }
    // Of something else than the row.
    let twice = vec![node("Reciprocal", &["root"], "inverse"), node("Mul", &["z", "inverse"], "y")];
    let error = refused(import_with(&in_opset(13, network([start, twice].concat()), constants()), &Hints::default()));
    assert!(error.contains("Mul") && error.contains("mean or variance"), "{error}");
}

#[test]
fn a_scale_may_be_computed_from_constants() {
    let scale = vec![
        node("Add", &["b2", "eps"], "sum"),
        node("Sqrt", &["sum"], "root"),
        node("Reciprocal", &["root"], "inverse"),
        node("Neg", &["inverse"], "scale"),
        node("Mul", &["z", "scale"], "y"),
    ];
    let constants = vec![tensor("b2", &[3], &[0.25, 1.0, 4.0]), number("eps", 1e-3)];
    assert_eq!(agreed(&in_opset(13, network(scale), constants)).layers.len(), 1);
}

#[test]
fn each_neuron_may_have_its_own_slope() {
    let prelu = |slopes: &[f32]| {
        let nodes = [linear(), vec![node("PRelu", &["z", "slopes"], "a"), node("MatMul", &["a", "v"], "y")]].concat();
        agreed(&in_opset(16, nodes, vec![tensor("slopes", &[slopes.len() as i64], slopes)])).layers.swap_remove(0)
    };
    let layer = prelu(&[0.25, -1.0, 2.0]);
    assert_eq!((layer.activation, layer.slopes), (Activation::PRelu, Some(vec![0.25, -1.0, 2.0].into())));
    for one in [&[0.25][..], &[0.25, 0.25, 0.25]] {
        let layer = prelu(one);
        assert_eq!((layer.activation, layer.slopes), (Activation::LeakyRelu { slope: 0.25 }, None));
    }
}

#[test]
fn an_activation_may_be_the_last() {
    let nodes = [linear(), vec![node("Clip", &["z", "low", "high"], "y")]].concat();
    let draft = agreed(&in_opset(13, nodes, vec![number("low", 0.0), number("high", 100.0)]));
    assert_eq!(draft.layers[0].activation, Activation::Clamp { low: 0.0, high: 100.0 });
    // Two in a row take a layer each.
    let nodes = [linear(), vec![node("Softsign", &["z"], "s"), node("Clip", &["s", "low", "high"], "y")]].concat();
    assert_eq!(agreed(&in_opset(13, nodes, vec![number("low", -0.5), number("high", 0.5)])).layers.len(), 2);
}

/// The draft of a model that answers as its graph does.
pub(super) fn agreed(model: &Model) -> Draft {
    let imported = import_with(model, &Hints::default()).unwrap();
    imported.into_draft("m", &Evidence::default()).unwrap_or_else(|error| panic!("{error}")).0
}

/// [`model`] in another opset, with more constants.
pub(super) fn in_opset(opset: i64, nodes: Vec<Node>, constants: Vec<Tensor>) -> Model {
    let mut model = model(nodes);
    model.opset_import = [("", opset), (proto::ML, 3)]
        .map(|(domain, version)| OperatorSetId { domain: domain.into(), version })
        .to_vec();
    model.graph.as_mut().unwrap().initializer.extend(constants);
    model
}

/// A node of `ai.onnx.ml`.
pub(super) fn learned(operator: &str, inputs: &[&str], outputs: &[&str]) -> Node {
    let outputs = outputs.iter().map(ToString::to_string).collect();
    Node { domain: proto::ML.into(), output: outputs, ..node(operator, inputs, "") }
}

fn texts(node: Node, name: &str, values: &[&str]) -> Node {
    with(node, name, |attribute| attribute.strings = values.iter().map(|text| text.as_bytes().to_vec()).collect())
}

pub(super) fn int(node: Node, name: &str, value: i64) -> Node {
    with(node, name, |attribute| attribute.i = value)
}
