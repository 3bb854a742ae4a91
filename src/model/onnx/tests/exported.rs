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
fn operators_that_never_changed_are_taken_from_older_opsets() {
    let cast = || int(node("Cast", &["x"], "c"), "to", 1);
    let linear = || vec![cast(), node("MatMul", &["c", "w"], "h"), node("Add", &["h", "b"], "y")];
    agreed(&in_opset(9, linear(), vec![]));
    let changed = vec![node("MatMul", &["x", "w"], "h"), node("Softmax", &["h"], "y")];
    for (opset, nodes) in [(8, linear()), (12, changed)] {
        let error = refused(import_with(&in_opset(opset, nodes, vec![]), &Hints::default()));
        assert!(error.contains("opset 13 or later"), "opset {opset}: {error}");
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

/// The draft of a model that answers as its graph does.
fn agreed(model: &Model) -> Draft {
    let imported = import_with(model, &Hints::default()).unwrap();
    imported.into_draft("m", &Evidence::default()).unwrap_or_else(|error| panic!("{error}")).0
}

/// [`model`] in another opset, with more constants.
fn in_opset(opset: i64, nodes: Vec<Node>, constants: Vec<Tensor>) -> Model {
    let mut model = model(nodes);
    model.opset_import = [("", opset), (proto::ML, 3)]
        .map(|(domain, version)| OperatorSetId { domain: domain.into(), version })
        .to_vec();
    model.graph.as_mut().unwrap().initializer.extend(constants);
    model
}

/// A node of `ai.onnx.ml`.
fn learned(operator: &str, inputs: &[&str], outputs: &[&str]) -> Node {
    let outputs = outputs.iter().map(ToString::to_string).collect();
    Node { domain: proto::ML.into(), output: outputs, ..node(operator, inputs, "") }
}

fn texts(node: Node, name: &str, values: &[&str]) -> Node {
    with(node, name, |attribute| attribute.strings = values.iter().map(|text| text.as_bytes().to_vec()).collect())
}

fn int(node: Node, name: &str, value: i64) -> Node {
    with(node, name, |attribute| attribute.i = value)
}
