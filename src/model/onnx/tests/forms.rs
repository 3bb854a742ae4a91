//! What newer and older exporters write around a network: local functions, inputs without a width, slices, floats of 16
//! bits, and classes instead of probabilities.

use half::{bf16, f16};

use super::exported::{agreed, in_opset, int, number};
use super::*;
use crate::model::onnx::proto::Function;

fn called(domain: &str, operator: &str, inputs: &[&str], output: &str) -> Node {
    Node { domain: domain.into(), ..node(operator, inputs, output) }
}

fn function(name: &str, inputs: &[&str], outputs: &[&str], node: Vec<Node>) -> Function {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let (input, output) = (names(inputs), names(outputs));
    Function { name: name.into(), domain: "local".into(), input, output, node, ..Function::default() }
}

/// An attribute that has the value of the function's attribute of this name.
fn referring(node: Node, name: &str, to: &str) -> Node {
    with(node, name, |attribute| attribute.ref_attr_name = to.into())
}

#[test]
fn functions_of_the_file_are_put_in_the_place_of_their_calls() {
    // The inner names are those of the graph: they must not be mixed up.
    let dense = vec![called("local", "product", &["x", "w"], "h"), node("Add", &["h", "b"], "z")];
    let product = vec![node("MatMul", &["x", "w"], "h")];
    let leaky = vec![referring(node("LeakyRelu", &["x"], "y"), "alpha", "slope")];
    let calls = |slope: bool| {
        let leaky = called("local", "leaky", &["z"], "a");
        let leaky = if slope { with(leaky, "slope", |it| it.f = 0.2) } else { leaky };
        vec![
            called("local", "dense", &["x", "w", "b"], "z"),
            leaky,
            called("local", "product", &["a", "v"], "same"),
            called("local", "nothing", &["same"], "y"),
        ]
    };
    let import = |slope: bool| {
        let mut model = in_opset(18, calls(slope), vec![]);
        let mut leaky = function("leaky", &["x"], &["y"], leaky.clone());
        leaky.attribute_proto.push(Attribute { name: "slope".into(), f: 0.3, ..Attribute::default() });
        model.functions = vec![
            function("dense", &["x", "w", "b"], &["z"], dense.clone()),
            function("product", &["x", "w"], &["h"], product.clone()),
            leaky,
            function("nothing", &["x"], &["x"], vec![]),
        ];
        agreed(&model)
    };
    let inlined = agreed(&in_opset(
        18,
        network(vec![with(node("LeakyRelu", &["z"], "a"), "alpha", |it| it.f = 0.2), node("MatMul", &["a", "v"], "y")]),
        vec![],
    ));
    assert_eq!(import(true).layers, inlined.layers);
    assert_eq!(import(false).layers[0].activation, Activation::LeakyRelu { slope: 0.3 }, "the default");
}

#[test]
fn functions_that_nest_without_end_are_refused() {
    let import = |body: Vec<Node>| {
        let mut model = in_opset(18, network(vec![called("local", "f", &["z"], "y")]), vec![]);
        model.functions = vec![function("f", &["x"], &["y"], body)];
        refused(import_with(&model, &Hints::default()))
    };
    let again = |from: &str, to: &str| called("local", "f", &[from], to);
    assert!(import(vec![again("x", "y")]).contains("functions within functions"));
    assert!(import(vec![again("x", "h"), again("h", "y")]).contains("functions within functions"));
    let error = import(vec![node("Conv", &["x"], "y")]);
    assert!(error.starts_with("weir can't run Conv (once)"), "{error}");
    // Each level doubles the nodes.
    let mut model = in_opset(18, network(vec![called("local", "f0", &["z"], "y")]), vec![]);
    let double = |level: usize| {
        let inner = format!("f{}", level + 1);
        let body = match level {
            25 => vec![node("Identity", &["x"], "y")],
            _ => vec![called("local", &inner, &["x"], "h"), called("local", &inner, &["h"], "y")],
        };
        function(&format!("f{level}"), &["x"], &["y"], body)
    };
    model.functions = (0..=25).map(double).collect();
    assert!(refused(import_with(&model, &Hints::default())).contains("more than 131072 nodes"));
}

#[test]
fn a_width_that_the_input_does_not_say_is_that_of_the_weights() {
    let without_width = |nodes: Vec<Node>, constants: Vec<Tensor>| {
        let mut model = in_opset(13, nodes, constants);
        model.graph.as_mut().unwrap().input[0] = input("x", DataType::Float, None);
        model
    };
    let scaler = with(node("Scaler", &["x"], "s"), "scale", |it| it.floats = vec![0.5, 2.0]);
    let turned = || int(node("Gemm", &["x", "turned"], "y"), "transB", 1);
    let cases = [
        vec![node("MatMul", &["x", "w"], "y")],
        vec![node("Identity", &["x"], "i"), node("Transpose", &["turned"], "t"), node("MatMul", &["i", "t"], "y")],
        vec![turned()],
        vec![scaler, node("Cast", &["s"], "c"), node("MatMul", &["c", "w"], "y")],
    ];
    for mut nodes in cases {
        if let Some(cast) = nodes.iter_mut().find(|node| node.op_type == "Cast") {
            *cast = int(cast.clone(), "to", 1);
        }
        let model = without_width(nodes, vec![tensor("turned", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])]);
        assert_eq!(agreed(&model).signature.features.len(), 2);
    }
    let mut shapeless = without_width(vec![node("MatMul", &["x", "w"], "y")], vec![]);
    let Some(TypeValue::Tensor(tensor)) =
        &mut shapeless.graph.as_mut().unwrap().input[0].r#type.as_mut().unwrap().value
    else {
        panic!("no tensor")
    };
    tensor.shape = None;
    assert_eq!(agreed(&shapeless).signature.features.len(), 2);
    let twice = vec![node("MatMul", &["x", "w"], "h"), node("MatMul", &["x", "v"], "i"), node("Add", &["h", "i"], "y")];
    let error = refused(import_with(&without_width(twice, vec![]), &Hints::default()));
    assert!(error.contains("has 2 columns for one node, and 3 for MatMul that gives \"i\""), "{error}");
    let error = refused(import_with(&without_width(vec![node("Relu", &["x"], "y")], vec![]), &Hints::default()));
    assert!(error.contains("no fixed number of columns, and no weights say it"), "{error}");
}

fn list(name: &str, values: &[i64]) -> Tensor {
    let (dims, data_type) = (vec![values.len() as i64], DataType::Int64 as i32);
    Tensor { name: name.into(), dims, data_type, int64_data: values.to_vec(), ..Tensor::default() }
}

#[test]
fn what_is_sliced_whole_stays_and_parts_are_picked() {
    let constants = || {
        let lists =
            [("zero", 0), ("one", 1), ("two", 2), ("three", 3), ("all", i64::MAX), ("most", i64::from(i32::MAX))];
        let lists = lists.map(|(name, value)| list(name, &[value]));
        let pair =
            [list("axes", &[0, 1]), list("starts", &[0, -2]), list("ends", &[i64::MAX, 3]), list("back", &[2, 0])];
        [lists.to_vec(), pair.to_vec(), vec![tensor("u", &[2, 1], &[1.0, -2.0])]].concat()
    };
    let slice = |inputs: &[&str], output| node("Slice", inputs, output);
    // All rows, then all columns.
    let whole = vec![slice(&["x", "zero", "all", "zero", "one"], "r"), slice(&["r", "zero", "two", "one"], "c")];
    let plain = agreed(&in_opset(13, [whole, vec![node("MatMul", &["c", "w"], "y")]].concat(), constants()));
    assert_eq!(plain.layers, agreed(&in_opset(13, vec![node("MatMul", &["x", "w"], "y")], vec![])).layers);
    // Neurons, by a slice of both axes and by their places in another order.
    for picked in [
        slice(&["a", "starts", "ends", "axes"], "p"),
        int(node("Gather", &["a", "back"], "p"), "axis", 1),
        slice(&["a", "zero", "most", "one", "two"], "p"),
    ] {
        let nodes = network(vec![node("Tanh", &["z"], "a"), picked, node("MatMul", &["p", "u"], "y")]);
        let draft = agreed(&in_opset(13, nodes, constants()));
        assert_eq!((draft.layers.len(), draft.layers[0].outputs()), (2, 2));
    }
    // Behind a norm they are picked by a layer of their own.
    let norm = node("LayerNormalization", &["z", "b"], "n");
    let nodes = network(vec![norm, slice(&["n", "one", "three", "one"], "p"), node("MatMul", &["p", "u"], "y")]);
    assert_eq!(agreed(&in_opset(17, nodes, constants())).layers.len(), 3);
    // One of the outputs; and old slices, whose bounds are attributes.
    let one = agreed(&in_opset(13, network(vec![slice(&["z", "one", "two", "one"], "y")]), constants()));
    assert_eq!(one.signature.target.outputs(), 1);
    let old = node("Slice", &["z"], "y");
    let old = [("starts", vec![1]), ("ends", vec![3]), ("axes", vec![1])]
        .into_iter()
        .fold(old, |node, (name, values)| with(node, name, |it| it.ints = values));
    assert_eq!(agreed(&in_opset(9, network(vec![old]), vec![])).signature.target.outputs(), 2);
    let rows = slice(&["z", "zero", "three", "zero"], "y");
    let error = refused(import_with(&in_opset(13, network(vec![rows]), constants()), &Hints::default()));
    assert!(error.contains("Slice that gives \"y\": it takes some of the rows only"), "{error}");
}

/// The model with its constants and input in 16 bits.
fn halved(mut model: Model, to: DataType) -> Model {
    let graph = model.graph.as_mut().unwrap();
    for tensor in graph.initializer.iter_mut().filter(|tensor| tensor.data_type == DataType::Float as i32) {
        let values = std::mem::take(&mut tensor.float_data);
        tensor.data_type = to as i32;
        let bits = |value: f32| match to {
            DataType::Float16 => f16::from_f32(value).to_bits(),
            _ => bf16::from_f32(value).to_bits(),
        };
        // Both ways to store them.
        if values.len() > 3 {
            tensor.raw_data = values.iter().flat_map(|&value| bits(value).to_le_bytes()).collect();
        } else {
            tensor.int32_data = values.iter().map(|&value| bits(value).into()).collect();
        }
    }
    graph.input[0] = input("x", to, Some(2));
    model
}

#[test]
fn floats_of_16_bits_are_computed_in_32() {
    let nodes = network(vec![node("Gelu", &["z"], "a"), node("MatMul", &["a", "v"], "y")]);
    let wide = in_opset(20, nodes, vec![]);
    for to in [DataType::Float16, DataType::Bfloat16] {
        let draft = agreed(&halved(wide.clone(), to));
        assert_eq!(draft.layers, agreed(&wide).layers, "the weights are exact in 16 bits");
    }
    // With inputs and outputs in 32 bits, as converters keep them.
    let casts = vec![
        int(node("Cast", &["x"], "half"), "to", DataType::Float16 as i64),
        node("MatMul", &["half", "w"], "h"),
        node("Add", &["h", "b"], "s"),
        int(node("Cast", &["s"], "y"), "to", DataType::Float as i64),
    ];
    let mut model = halved(in_opset(13, casts, vec![]), DataType::Float16);
    model.graph.as_mut().unwrap().input[0] = input("x", DataType::Float, Some(2));
    agreed(&model);
    // Rounding to 16 bits excuses no other answer.
    let mut misread = import_with(&halved(wide.clone(), DataType::Float16), &Hints::default()).unwrap();
    misread.layers[0].bias[0] += 1e-4;
    assert!(misread.into_draft("m", &Evidence::default()).unwrap_err().to_string().contains("answers otherwise"));
}

/// A cast to 16 bits that no arithmetic of 16 bits comes after changes the numbers, which weir's network doesn't.
#[test]
fn roundings_to_16_bits_are_refused_by_the_name_of_their_node() {
    let cast = |from: &str, to: &str, data_type: DataType| int(node("Cast", &[from], to), "to", data_type as i64);
    for half in [DataType::Float16, DataType::Bfloat16] {
        let rounded = |from: &str, to: &str| vec![cast(from, "half", half), cast("half", to, DataType::Float)];
        let moved = vec![
            cast("z", "half", half),
            node("Relu", &["half"], "r"),
            node("Identity", &["r"], "i"),
            cast("i", "a", DataType::Float),
        ];
        let last = || vec![node("MatMul", &["a", "v"], "y")];
        for nodes in [
            [rounded("x", "q"), vec![node("MatMul", &["q", "w"], "y")]].concat(),
            network([rounded("z", "a"), last()].concat()),
            network([moved, last()].concat()),
            network(rounded("z", "y")),
            network(vec![cast("z", "half", half)]),
        ] {
            let imported = import(nodes).unwrap();
            let error = imported.into_draft("m", &Evidence::default()).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("node Cast that gives \"half\": it rounds to 16 bits"), "{error}");
        }
        // Weights that are rounded in the graph are rounded by the import.
        let weights = vec![cast("w", "w16", half), cast("w16", "w32", DataType::Float)];
        let mut model = in_opset(17, [weights, vec![node("MatMul", &["x", "w32"], "y")]].concat(), vec![]);
        model.graph.as_mut().unwrap().initializer[0].float_data = vec![0.1, -0.3, 2.7, 1e-3, 33.3, -1.1];
        agreed(&model);
    }
}

/// What isn't certain, or can't be read, is refused by its name.
#[test]
fn what_runtimes_may_read_in_two_ways_is_refused() {
    let refused_with = |change: &dyn Fn(&mut Model), nodes: Vec<Node>| {
        let mut model = in_opset(18, network(nodes), vec![]);
        change(&mut model);
        refused(import_with(&model, &Hints::default()))
    };
    let relu = || vec![node("Relu", &["z"], "a"), node("MatMul", &["a", "v"], "y")];
    let error = refused_with(
        &|model| {
            let body = vec![node("Neg", &["x"], "y")];
            model.functions = vec![Function { domain: String::new(), ..function("Relu", &["x"], &["y"], body) }];
        },
        relu(),
    );
    assert!(error.contains("it redefines the operator Relu of ONNX"), "{error}");
    let error = refused_with(&|model| model.graph.as_mut().unwrap().sparse_initializer = vec![vec![]], relu());
    assert!(error.contains("it has sparse tensors"), "{error}");
    let slope = |node: Node, slope: f32| with(node, "alpha", |it| it.f = slope);
    let twice = slope(slope(node("LeakyRelu", &["z"], "y"), 0.1), 0.9);
    assert!(refused_with(&|_| (), vec![twice]).contains("it has the attribute \"alpha\" twice"));
    let picked = vec![
        int(node("Softmax", &["z"], "p"), "axis", -1),
        node("Constant", &[], "places"),
        int(node("Gather", &["p", "places"], "y"), "axis", 1),
    ];
    let places = |model: &mut Model| {
        let constant = &mut model.graph.as_mut().unwrap().node[3];
        constant.attribute.push(Attribute { name: "value_ints".into(), ints: vec![2, 0, 1], ..Attribute::default() });
    };
    let error = refused_with(&places, picked);
    assert!(error.contains("node Gather that gives \"y\": it picks some of the probabilities"), "{error}");
    let error = refused_with(&|_| (), vec![called("com.microsoft", "QuickGelu", &["z"], "y")]);
    assert!(error.contains("written by onnxruntime's optimiser"), "{error}");
    // An integer where a number with a fraction is expected is that number.
    let whole = with(node("LeakyRelu", &["z"], "a"), "alpha", |it| (it.i, it.kind) = (2, AttributeKind::Int as i32));
    let draft = agreed(&in_opset(18, network(vec![whole, node("MatMul", &["a", "v"], "y")]), vec![]));
    assert_eq!(draft.layers[0].activation, Activation::LeakyRelu { slope: 2.0 });
    // Whole numbers are divided without a rest.
    let mut model = model(vec![
        node("Div", &["x", "divisor"], "q"),
        int(node("Cast", &["q"], "f"), "to", DataType::Float as i64),
        node("MatMul", &["f", "w"], "y"),
    ]);
    let graph = model.graph.as_mut().unwrap();
    graph.input[0] = input("x", DataType::Int64, Some(2));
    let (data_type, int64_data) = (DataType::Int64 as i32, vec![7, 2]);
    graph.initializer.push(Tensor {
        name: "divisor".into(),
        dims: vec![2],
        data_type,
        int64_data,
        ..Tensor::default()
    });
    assert!(refused(import_with(&model, &Hints::default())).contains("it divides whole numbers"));
}

/// A layer in f32 loses what two Unix times differ by, which a graph of doubles keeps.
#[test]
fn doubles_that_no_scaler_takes_are_named() {
    let doubles = |name: &str, dims: &[i64], values: &[f64]| Tensor {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: DataType::Double as i32,
        double_data: values.to_vec(),
        ..Tensor::default()
    };
    let unscaled = |nodes: Vec<Node>, data_type: DataType| {
        let mut model = model(nodes);
        let graph = model.graph.as_mut().unwrap();
        graph.input[0] = input("x", data_type, Some(2));
        graph.initializer.extend([doubles("w64", &[2, 1], &[1.0, -1.0]), doubles("mean", &[2], &[1.6e9, 1.6e9])]);
        let imported = import_with(&model, &Hints::default()).unwrap();
        imported.unscaled_doubles().into_iter().map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(unscaled(vec![node("MatMul", &["x", "w64"], "y")], DataType::Double), ["x0", "x1"]);
    let scaled = vec![node("Sub", &["x", "mean"], "s"), node("MatMul", &["s", "w64"], "y")];
    assert_eq!(unscaled(scaled, DataType::Double), [""; 0]);
    assert_eq!(unscaled(linear(), DataType::Float), [""; 0]);
}

#[test]
fn the_largest_logit_is_the_class() {
    let class = || int(node("ArgMax", &["z"], "class"), "axis", 1);
    let mut model = in_opset(13, network(vec![class()]), vec![]);
    let draft = agreed(&model);
    assert_eq!((draft.output, draft.signature.target.outputs()), (Output::Softmax, 3));
    // Beside the logits, in any order.
    for names in [["z", "class"], ["class", "z"]] {
        let outputs = names.map(|name| ValueInfo { name: name.into(), r#type: None });
        model.graph.as_mut().unwrap().output = outputs.to_vec();
        assert_eq!(agreed(&model).output, Output::Softmax);
    }
}

/// A network as onnxruntime's quantiser writes it: weights as int8 with a scale for each output, numbers rounded to uint8
/// before and behind each product.
fn quantised(zero: i32, activation: &str) -> Model {
    let round = |from: &str, to: &str, scale: &str| {
        let whole = format!("{to}_whole");
        let inputs = [from, scale, "zero"];
        vec![node("QuantizeLinear", &inputs, &whole), node("DequantizeLinear", &[&whole, scale, "zero"], to)]
    };
    let weights = int(node("DequantizeLinear", &["w8", "w_scale", "w_zero"], "wide"), "axis", 1);
    let nodes = [
        round("x", "x_again", "x_scale"),
        vec![weights, node("MatMul", &["x_again", "wide"], "h"), node("Add", &["h", "b"], "s")],
        round("s", "z", "z_scale"),
        vec![node(activation, &["z"], "a")],
        round("a", "a_again", "z_scale"),
        vec![node("MatMul", &["a_again", "v"], "y")],
    ]
    .concat();
    let bytes = |name: &str, data_type: DataType, dims: &[i64], values: &[i32]| Tensor {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: data_type as i32,
        int32_data: values.to_vec(),
        ..Tensor::default()
    };
    let constants = vec![
        bytes("w8", DataType::Int8, &[2, 3], &[127, -50, 30, 5, 90, -128]),
        bytes("w_zero", DataType::Int8, &[3], &[0, 0, 2]),
        tensor("w_scale", &[3], &[0.01, 0.02, 0.015]),
        bytes("zero", DataType::Uint8, &[], &[zero]),
        number("x_scale", 0.05),
        number("z_scale", 0.03),
    ];
    in_opset(13, nodes, constants)
}

#[test]
fn rounding_to_few_bits_is_an_activation() {
    let draft = agreed(&quantised(100, "Tanh"));
    let round = Activation::Round { low: -100.0, high: 155.0 };
    let found: Vec<_> = draft.layers.iter().map(|layer| layer.activation).collect();
    assert_eq!(found, [round, round, Activation::Tanh, round, Activation::Identity]);
    let weights = draft.layers[1].weights.to_f32();
    let step = weights[[0, 0]] / (1.27 * 0.05 / 0.03);
    assert!((step - 1.0).abs() < 1e-5, "{weights}");
    // A ReLU between two roundings is a bound of theirs.
    let draft = agreed(&quantised(100, "Relu"));
    let found: Vec<_> = draft.layers.iter().map(|layer| layer.activation).collect();
    assert_eq!(found, [round, Activation::Round { low: 0.0, high: 155.0 }, Activation::Identity]);

    let mut per_column = quantised(100, "Relu");
    let scale = per_column.graph.as_mut().unwrap().initializer.iter_mut().find(|it| it.name == "z_scale").unwrap();
    (scale.dims, scale.float_data) = (vec![3], vec![0.1, 0.2, 0.3]);
    let error = refused(import_with(&per_column, &Hints::default()));
    assert!(error.contains("QuantizeLinear") && error.contains("only weights can have"), "{error}");
    let nodes = network(vec![node("Softmax", &["z"], "p"), node("QuantizeLinear", &["p", "scale", "zero"], "y")]);
    let zero =
        Tensor { name: "zero".into(), data_type: DataType::Uint8 as i32, int32_data: vec![0], ..Tensor::default() };
    let error = refused(import_with(&in_opset(13, nodes, vec![number("scale", 0.1), zero]), &Hints::default()));
    assert!(error.contains("nodes_to_exclude"), "{error}");
}
