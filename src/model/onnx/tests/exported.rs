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

fn int(node: Node, name: &str, value: i64) -> Node {
    with(node, name, |attribute| attribute.i = value)
}
