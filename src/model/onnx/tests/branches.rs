//! Branches that are added or put side by side, several inputs, and look-ups: each import answers as its graph does.

use super::exported::{agreed, in_opset, int, number};
use super::*;
use std::num::NonZeroU32;

use crate::engine::Layer;
use crate::limits::Limits;
use crate::model::signature::Kind;

/// Inputs × outputs, in which no two weights are the same.
fn weights(name: &str, inputs: i64, outputs: i64) -> Tensor {
    let values: Vec<f32> = (0..inputs * outputs).map(|at| (at as f32 * 0.7 + name.len() as f32).sin()).collect();
    tensor(name, &[inputs, outputs], &values)
}

/// The layers of a graph behind `z`, which has three numbers.
fn layers(nodes: Vec<Node>, constants: Vec<Tensor>) -> Vec<Layer> {
    agreed(&in_opset(18, network(nodes), constants)).layers
}

fn shape(layers: &[Layer]) -> Vec<(usize, usize)> {
    layers.iter().map(|layer| (layer.inputs(), layer.outputs())).collect()
}

/// x + f(x) of some numbers: a linear layer, an activation, a linear layer back to three numbers, and the sum.
fn residual(x: &str, operator: &str, sum: &str) -> Vec<Node> {
    let [wide, active, back] = ["wide", "active", "back"].map(|name| format!("{sum}.{name}"));
    vec![
        node("MatMul", &[x, "up"], &wide),
        node(operator, &[&wide], &active),
        node("MatMul", &[&active, "down"], &back),
        node("Add", &[x, &back], sum),
    ]
}

fn up_and_down() -> Vec<Tensor> {
    vec![weights("up", 3, 5), weights("down", 5, 3)]
}

#[test]
fn a_residual_block_is_two_layers_that_pass_its_input_on() {
    let nodes = [residual("z", "Relu", "s"), residual("s", "Relu", "t"), vec![node("MatMul", &["t", "v"], "y")]];
    let layers = layers(nodes.concat(), up_and_down());
    assert_eq!(shape(&layers), [(2, 3), (3, 8), (8, 3), (3, 8), (8, 1)]);
    let block = &layers[1];
    assert_eq!(block.activation, Activation::PRelu);
    assert_eq!(block.slopes.as_ref().unwrap().to_vec(), [[0.0; 5].as_slice(), &[1.0; 3]].concat());
}

#[test]
fn numbers_pass_beside_any_activation_and_beside_a_norm() {
    for operator in ["Tanh", "Gelu", "Elu", "Softplus", "Sigmoid"] {
        let nodes =
            [residual("z", operator, "s"), residual("s", operator, "t"), vec![node("MatMul", &["t", "v"], "y")]];
        let layers = agreed(&in_opset(20, network(nodes.concat()), up_and_down())).layers;
        assert_eq!(shape(&layers), [(2, 3), (3, 8), (8, 3), (3, 8), (8, 1)], "{operator}");
        assert_eq!(layers.iter().map(|layer| layer.passed).collect::<Vec<_>>(), [0, 3, 0, 3, 0], "{operator}");
    }
    // x + f(norm(x)), as transformers have it, with and without an activation right after the norm.
    let norm = || [("scale", [0.5, 2.0, -1.0]), ("shift", [1.0, 0.0, 0.5])];
    let constants = || [up_and_down(), norm().map(|(name, values)| tensor(name, &[3], &values)).to_vec()].concat();
    for after in [None, Some("Gelu")] {
        let normed = node("LayerNormalization", &["z", "scale", "shift"], "n");
        let active = after.map(|operator| node(operator, &["n"], "g"));
        let from = if after.is_some() { "g" } else { "n" };
        let rest = [
            node("MatMul", &[from, "up"], "m"),
            node("Relu", &["m"], "r"),
            node("MatMul", &["r", "down"], "back"),
            node("Add", &["z", "back"], "y"),
        ];
        let nodes: Vec<Node> = [normed].into_iter().chain(active).chain(rest).collect();
        let layers = agreed(&in_opset(20, network(nodes), constants())).layers;
        assert_eq!(shape(&layers), [(2, 3), (3, 6), (6, 8), (8, 3)], "{after:?}");
        let (norm, passed) = (layers[1].norm.as_ref().unwrap(), layers[1].passed);
        assert_eq!((norm.scale.len(), passed), (3, 3), "{after:?}");
    }
    // Branches with different activations wait for each other.
    let nodes = vec![
        node("Tanh", &["z"], "a"),
        node("Gelu", &["z"], "b"),
        int(node("Concat", &["a", "b", "z"], "c"), "axis", 1),
        node("MatMul", &["c", "nine"], "y"),
    ];
    let layers = agreed(&in_opset(20, network(nodes), vec![weights("nine", 9, 1)])).layers;
    assert_eq!(layers.iter().map(|layer| layer.passed).max(), Some(6), "{layers:?}");
}

/// What is no activation together is a branch each: tanh(x) + x, x - tanh(x), x + relu(x).
#[test]
fn numbers_pass_beside_an_activation_of_themselves() {
    for (operator, operation) in [("Tanh", "Add"), ("Tanh", "Sub"), ("Relu", "Add"), ("Gelu", "Add")] {
        for inputs in [["z", "a"], ["a", "z"]] {
            let nodes =
                vec![node(operator, &["z"], "a"), node(operation, &inputs, "s"), node("MatMul", &["s", "v"], "y")];
            let layers = agreed(&in_opset(20, network(nodes), vec![])).layers;
            assert_eq!(layers.last().unwrap().inputs(), 6, "{operation} of {operator}: {:?}", shape(&layers));
        }
    }
}

#[test]
fn what_is_added_may_be_activated_scaled_normalised_and_subtracted() {
    let norm = [("scale", [0.5, 2.0, -1.0]), ("shift", [1.0, 0.0, 0.5])];
    let norm = || norm.map(|(name, values)| tensor(name, &[3], &values));
    let constants = || [up_and_down(), norm().to_vec(), vec![number("two", 2.0)]].concat();
    let cases = [
        vec![node("Relu", &["s"], "r"), node("MatMul", &["r", "v"], "y")],
        vec![node("Mul", &["s", "two"], "r"), node("Tanh", &["r"], "y")],
        vec![node("LayerNormalization", &["s", "scale", "shift"], "n"), node("MatMul", &["n", "v"], "y")],
        vec![node("LayerNormalization", &["s", "scale", "shift"], "n"), node("Gelu", &["n"], "y")],
        vec![node("Sub", &["z", "s"], "y")],
        vec![node("Sum", &["z", "s", "s"], "y")],
        vec![node("Concat", &["s", "x", "z"], "y")].into_iter().map(|it| int(it, "axis", 1)).collect(),
    ];
    for case in cases {
        agreed(&in_opset(20, network([residual("z", "LeakyRelu", "s"), case].concat()), constants()));
    }
}

#[test]
fn a_wide_branch_beside_a_deep_one_is_passed_on_as_one_number() {
    let nodes = vec![
        node("MatMul", &["x", "wide"], "w"),
        node("MatMul", &["x", "a"], "h"),
        node("Relu", &["h"], "i"),
        node("MatMul", &["i", "b"], "j"),
        node("Relu", &["j"], "k"),
        node("MatMul", &["k", "c"], "d"),
        node("Add", &["w", "d"], "s"),
        node("Sigmoid", &["s"], "y"),
    ];
    let constants = [("wide", 2, 1), ("a", 2, 4), ("b", 4, 4), ("c", 4, 1)];
    let constants = constants.map(|(name, inputs, outputs)| weights(name, inputs, outputs)).to_vec();
    let mut model = in_opset(13, nodes, constants);
    assert_eq!(shape(&agreed(&model).layers), [(2, 5), (5, 5), (5, 1)]);
    // The same, put side by side.
    let nodes = &mut model.graph.as_mut().unwrap().node;
    nodes.truncate(6);
    nodes.extend([int(node("Concat", &["w", "d"], "s"), "axis", -1), node("Softmax", &["s"], "y")]);
    assert_eq!(shape(&agreed(&model).layers), [(2, 5), (5, 5), (5, 2)]);
}

#[test]
fn one_number_is_added_to_all() {
    let nodes = vec![node("MatMul", &["z", "one"], "n"), node("Relu", &["z"], "r"), node("Add", &["r", "n"], "y")];
    assert_eq!(shape(&layers(nodes, vec![weights("one", 3, 1)])), [(2, 6), (6, 3)]);
}

#[test]
fn what_cancels_out_is_not_computed() {
    // z + relu(z) - relu(z), at the end and before an activation.
    let nodes = || vec![node("Relu", &["z"], "r"), node("Add", &["z", "r"], "s"), node("Sub", &["s", "r"], "d")];
    let end = vec![node("MatMul", &["d", "v"], "y")];
    assert_eq!(shape(&layers([nodes(), end].concat(), vec![])), [(2, 3), (3, 1)]);
    let more = vec![node("Tanh", &["d"], "t"), node("MatMul", &["t", "v"], "y")];
    assert!(layers([nodes(), more].concat(), vec![]).iter().all(|layer| layer.outputs() <= 3));
}

#[test]
fn inputs_with_layers_of_their_own_are_one_layer() {
    let nodes = vec![
        node("MatMul", &["left", "a"], "h"),
        node("MatMul", &["right", "b"], "i"),
        node("Tanh", &["h"], "j"),
        node("Tanh", &["i"], "k"),
        int(node("Concat", &["j", "k", "left"], "c"), "axis", 1),
        node("MatMul", &["c", "d"], "y"),
    ];
    let constants = vec![weights("a", 3, 2), weights("b", 2, 4), weights("d", 9, 2)];
    let mut model = in_opset(13, nodes, constants);
    let inputs = |model: &mut Model, left: i64| {
        model.graph.as_mut().unwrap().input =
            [("left", left), ("right", 2)].map(|(name, width)| input(name, DataType::Float, Some(width))).to_vec();
    };
    inputs(&mut model, 3);
    assert_eq!(shape(&agreed(&model).layers), [(5, 9), (9, 2)]);
    let graph = model.graph.as_mut().unwrap();
    graph.node[4] = int(node("Concat", &["j", "k"], "c"), "axis", 1);
    graph.initializer.push(weights("six", 6, 2));
    graph.node[5] = node("MatMul", &["c", "six"], "y");
    let draft = agreed(&model);
    assert_eq!(shape(&draft.layers), [(5, 6), (6, 2)]);
    let names: Vec<&str> = draft.signature.features.iter().map(|feature| &*feature.name).collect();
    assert_eq!(names, ["left0", "left1", "left2", "right0", "right1"]);
}

#[test]
fn an_embedding_is_a_category() {
    let nodes = vec![
        node("Gather", &["table", "kind"], "e"),
        int(node("Concat", &["e", "x"], "c"), "axis", 1),
        node("MatMul", &["c", "w5"], "h"),
        node("Relu", &["h"], "r"),
        node("MatMul", &["r", "v"], "y"),
    ];
    let mut model = in_opset(13, nodes, vec![weights("table", 7, 3), weights("w5", 5, 3)]);
    let graph = model.graph.as_mut().unwrap();
    let mut kind = input("kind", DataType::Int64, Some(1));
    let Some(TypeValue::Tensor(tensor)) = &mut kind.r#type.as_mut().unwrap().value else { panic!("no tensor") };
    tensor.shape.as_mut().unwrap().dim.truncate(1);
    graph.input.insert(0, kind);
    let draft = agreed(&model);
    let Kind::Categorical { categories, .. } = &draft.signature.features[0].kind else { panic!("no category") };
    assert_eq!(categories, &["0", "1", "2", "3", "4", "5", "6"]);
    assert_eq!(shape(&draft.layers), [(9, 3), (3, 1)]);

    // Several columns of a matrix, by one table.
    let graph = model.graph.as_mut().unwrap();
    graph.input[0] = input("kind", DataType::Int64, Some(2));
    graph.node[0] = node("Gather", &["table", "kind"], "both");
    graph.node.insert(1, node("Flatten", &["both"], "e"));
    graph.node[3] = node("MatMul", &["c", "w8"], "h");
    graph.initializer.push(weights("w8", 8, 3));
    assert_eq!(shape(&agreed(&model).layers), [(16, 3), (3, 1)]);

    let graph = model.graph.as_mut().unwrap();
    let table = graph.initializer.iter_mut().find(|tensor| tensor.name == "table").unwrap();
    *table = weights("table", 10_001, 3);
    let error = refused(import_with(&model, &Hints::default()));
    assert!(
        error.contains("torch.nn.Embedding of 10001 rows") && error.contains("10000 rows are the limit"),
        "{error}"
    );
    let raised = Hints { limits: Limits::times(NonZeroU32::new(2).unwrap()), ..Hints::default() };
    assert_eq!(shape(&import_with(&model, &raised).unwrap().layers), [(20_004, 3), (3, 1)]);
}

#[test]
fn branches_that_need_more_are_refused_by_name() {
    let cases = [
        (vec![node("MatMul", &["z", "square"], "m"), node("Mul", &["m", "z"], "y")], "two branches by Mul"),
        (vec![node("MatMul", &["z", "up"], "m"), node("Add", &["m", "z"], "y")], "rows of shapes [3] and [5]"),
        (
            vec![node("MatMul", &["z", "square"], "m"), int(node("Concat", &["m", "z"], "y"), "axis", 0)],
            "another axis than the last",
        ),
    ];
    for (nodes, reason) in cases {
        let constants = [up_and_down(), vec![weights("square", 3, 3)]].concat();
        let error = refused(import_with(&in_opset(18, network(nodes), constants), &Hints::default()));
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn branches_as_wide_as_they_can_be_are_refused() {
    // A sum of sums of the same is one layer.
    let mut nodes = vec![node("MatMul", &["z", "square"], "s0")];
    for at in 0..40 {
        let [from, to] = [at, at + 1].map(|at| format!("s{at}"));
        nodes.push(node("Add", &[&from, if at == 0 { "z" } else { "s0" }], &to));
    }
    nodes.push(node("Relu", &["s40"], "y"));
    assert_eq!(shape(&layers(nodes, vec![weights("square", 3, 3)])), [(2, 3), (3, 6), (6, 3)]);

    let wide = vec![
        node("MatMul", &["z", "a"], "m"),
        node("Relu", &["m"], "r"),
        node("MatMul", &["r", "back"], "i"),
        int(node("Concat", &["i", "r"], "c"), "axis", 1),
        node("Relu", &["c"], "d"),
        node("MatMul", &["d", "e"], "y"),
    ];
    let constants = vec![weights("a", 3, 5000), weights("back", 5000, 3), weights("e", 5003, 1)];
    let error = refused(import_with(&in_opset(13, network(wide), constants), &Hints::default()));
    assert!(error.contains("side by side need"), "{error}");

    // Twice as wide each time: a small file would need 77 GB.
    let concat = |at: usize| int(node("Concat", &[&*format!("c{at}"); 2], &format!("c{}", at + 1)), "axis", 1);
    let nodes: Vec<Node> = [node("MatMul", &["x", "w"], "c0")].into_iter().chain((0..80).map(concat)).collect();
    let error = refused(import_with(&in_opset(13, nodes, vec![]), &Hints::default()));
    assert!(error.contains("1572864 columns, 1048576 are the limit"), "{error}");
}
