//! The reference against values worked out by hand, and as the judge of imports. That it answers as onnxruntime does is
//! for tests/import.rs.

use std::fs;
use std::path::Path;

use super::array::TypedArray;
use super::check::affordable_rows;
use super::elementwise::{erf, erfc};
use super::*;
use crate::engine::Weights;
use crate::model::Model;
use crate::model::import::{Evidence, Hints, Imported};
use crate::model::onnx::proto::{Attribute, DataType};
use crate::model::onnx::tensor::Data;

fn fixtures() -> Vec<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "onnx")).collect();
    paths.sort();
    paths
}

fn floats(shape: &[usize], values: &[f64]) -> TypedArray {
    TypedArray::floats(shape.to_vec(), DataType::Float, values.to_vec(), Vec::new())
}

fn integers(shape: &[usize], values: &[i64]) -> TypedArray {
    TypedArray::integers(shape.to_vec(), DataType::Int64, values.to_vec(), Vec::new())
}

fn node(operator: &str, attributes: Vec<Attribute>) -> Node {
    let domain = match operator {
        "OneHotEncoder" | "Imputer" | "Scaler" | "LabelEncoder" | "ArrayFeatureExtractor" => ML,
        _ => ONNX,
    };
    let output = vec!["y".into()];
    Node { op_type: operator.into(), domain: domain.into(), attribute: attributes, output, ..Node::default() }
}

fn attribute(name: &str, value: impl FnOnce(&mut Attribute)) -> Attribute {
    let mut attribute = Attribute { name: name.into(), ..Attribute::default() };
    value(&mut attribute);
    attribute
}

fn int(name: &str, value: i64) -> Attribute {
    attribute(name, |attribute| attribute.i = value)
}

fn run_in(opset: i64, node: &Node, operands: Vec<TypedArray>) -> Result<TypedArray, String> {
    let reader = Reader::new(Path::new("model.onnx"));
    let values = operands.into_iter().map(|array| Some(array.into())).collect();
    let operator = find(&node.domain, &node.op_type).unwrap();
    match operator(node, &Operands { values, opset, reader: &reader })?.swap_remove(0) {
        RunValue::Array(array) => Ok((*array).clone()),
        RunValue::Maps { values, .. } => Ok(values),
    }
}

fn run(node: &Node, operands: Vec<TypedArray>) -> TypedArray {
    run_in(17, node, operands).unwrap()
}

fn numbers(array: &TypedArray) -> Vec<f64> {
    array.numbers().unwrap().into_owned()
}

#[test]
fn every_fixture_imports_and_agrees_with_its_graph() {
    for path in fixtures() {
        let imported = crate::model::onnx::read(&path, &Hints::default()).unwrap();
        let (reference, model) = loaded(imported);
        let transforms = model.manifest.preprocessing.clone();
        let agreement = reference.check(&model, &transforms, 2_000).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        println!("{}: {agreement:?}", path.display());
        // Nearer than half of what is allowed: the bound has room, and isn't so wide that nothing would be found.
        assert!(agreement.rows == 2_000 && agreement.largest < 0.5, "{path:?}: {agreement:?}");
    }
}

/// The model of an import, and its graph.
fn loaded(mut imported: Imported) -> (Reference, Model) {
    let reference = *imported.reference.take().unwrap();
    let (draft, _) = imported.into_draft("m", &Evidence::default()).unwrap();
    (reference, Model::load(&draft.bundle(1, String::new()).unwrap().1, |_| {}).unwrap())
}

#[test]
fn an_import_that_answers_otherwise_is_refused() {
    for path in fixtures() {
        let mut imported = crate::model::onnx::read(&path, &Hints::default()).unwrap();
        let Weights::F32(weights) = &mut imported.layers[0].weights else { panic!("{path:?}") };
        let column = weights.ncols() / 2;
        // One weight, by a twentieth.
        weights[[0, column]] += 0.05;
        let error = imported.into_draft("m", &Evidence::default()).unwrap_err().to_string();
        assert!(error.contains("answers otherwise than the graph: for {\"x0\":"), "{path:?}: {error}");
    }
}

#[test]
fn comparisons_of_exact_numbers_are_certain() {
    let mut uncertain = floats(&[3], &[1.0, 1.0, 2.0]);
    uncertain.errors = vec![0.0, 1e-6, 1e-6];
    let equal = run(&node("Equal", vec![]), vec![uncertain, floats(&[], &[1.0])]);
    assert_eq!((numbers(&equal), equal.errors), (vec![1.0, 1.0, 0.0], vec![0.0, 1.0, 0.0]));
}

#[test]
fn the_first_of_equal_exact_numbers_is_the_largest() {
    let largest = run(&node("ArgMax", vec![int("axis", 1)]), vec![floats(&[1, 3], &[0.0, 1.0, 1.0])]);
    assert_eq!((numbers(&largest), largest.errors), (vec![1.0], vec![0.0]));
    let mut uncertain = floats(&[1, 3], &[0.0, 1.0, 1.0]);
    uncertain.errors = vec![0.0, 0.0, 1e-6];
    assert_eq!(run(&node("ArgMax", vec![int("axis", 1)]), vec![uncertain]).errors, [1.0]);
}

#[test]
fn functions_of_exact_numbers_carry_the_rounding_of_libraries() {
    for operator in ["Log", "Exp", "Tanh", "Sigmoid", "Erf", "Sqrt", "Softplus"] {
        let y = run(&node(operator, vec![]), vec![floats(&[2], &[3.0, 0.5])]);
        let is_rounding =
            |(value, error): (&f64, &f64)| *error > 2_f64.powi(-24) * value.abs() && *error < 1e-5 * value.abs();
        assert!(numbers(&y).iter().zip(&y.errors).all(is_rounding) && y.errors.len() == 2, "{operator}: {y:?}");
    }
    // Signs and bounds don't round.
    let bounds = [floats(&[], &[-1.0]), floats(&[], &[1.0])];
    for (operator, more) in [("Neg", vec![]), ("Clip", bounds.to_vec())] {
        let y = run(&node(operator, vec![]), [vec![floats(&[2], &[3.0, 0.5])], more].concat());
        assert_eq!(y.errors, [0.0; 0], "{operator}");
    }
}

#[test]
fn the_error_function_is_exact_in_f64_also_far_out() {
    // Abramowitz and Stegun, tables 7.1 and 7.3, and mpmath beyond them.
    let known = [
        (0.1, 0.112_462_916_018_284_9),
        (0.5, 0.520_499_877_813_046_5),
        (1.0, 0.842_700_792_949_714_9),
        (1.9, 0.992_790_429_235_257_5),
        (2.5, 0.999_593_047_982_555_1),
    ];
    for (x, expected) in known {
        assert!((erf(x) - expected).abs() < 1e-14 && erf(-x) == -erf(x), "{x}: {}", erf(x));
    }
    let complements = [
        (2.0, 4.677_734_981_047_266e-3),
        (3.0, 2.209_049_699_858_544e-5),
        (5.0, 1.537_459_794_428_035e-12),
        (10.0, 2.088_487_583_762_545e-45),
    ];
    for (x, expected) in complements {
        assert!((erfc(x) / expected - 1.0).abs() < 1e-12, "{x}: {}", erfc(x));
    }
}

#[test]
fn a_large_network_is_compared_on_fewer_rows() {
    let typical = 30 * 100 + 100 * 100 + 100 * 2;
    assert_eq!(affordable_rows(typical, 250), 301_274);
    assert_eq!(affordable_rows(typical, 1), 15_494);
    let large = 3 * 1_000 * 1_000;
    assert_eq!(affordable_rows(large, 250), 1_325);
    assert_eq!(affordable_rows(large, 1), 68);
    assert_eq!(affordable_rows(usize::MAX, 250), 64);
    assert!(affordable_rows(0, 250) > 2_000);
    // Weights count once for each node that takes them, also where a node computes them from others.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx/gelu-script-13.onnx");
    let imported = crate::model::onnx::read(&path, &Hints::default()).unwrap();
    let weights: usize = imported.layers.iter().map(|layer| layer.inputs() * layer.outputs()).sum();
    let counted = imported.reference.unwrap().program.numbers_per_row();
    assert!((weights..weights * 2).contains(&counted), "{counted} for {weights} weights");
}

#[test]
fn parameters_that_do_not_fit_are_refused() {
    for wrong in [floats(&[1, 2], &[1.0; 2]), floats(&[3], &[1.0; 3])] {
        let normalised = run_in(17, &node("LayerNormalization", vec![]), vec![floats(&[1, 2], &[1.0, 2.0]), wrong]);
        assert!(normalised.is_err(), "{normalised:?}");
    }
}

#[test]
fn operands_are_broadcast_along_their_last_axes() {
    let sum = run(&node("Add", vec![]), vec![floats(&[2, 1], &[1.0, 2.0]), floats(&[3], &[10.0, 20.0, 30.0])]);
    assert_eq!((sum.shape.as_slice(), numbers(&sum)), (&[2, 3][..], vec![11.0, 21.0, 31.0, 12.0, 22.0, 32.0]));
    assert!(run_in(17, &node("Add", vec![]), vec![floats(&[2], &[1.0; 2]), floats(&[3], &[1.0; 3])]).is_err());
    let quotient = run(&node("Div", vec![]), vec![integers(&[2], &[-7, 7]), integers(&[], &[2])]);
    assert_eq!(numbers(&quotient), [-3.0, 3.0], "integers are cut towards 0");
}

#[test]
fn casts_cut_fractions_off_and_leave_the_rest_open() {
    let cast = |to: DataType, values: &[f64]| {
        run(&node("Cast", vec![int("to", i64::from(to as i32))]), vec![floats(&[values.len()], values)])
    };
    let cut = cast(DataType::Int64, &[-6.556, 6.556, 0.0, f64::NAN]);
    assert_eq!(numbers(&cut)[..3], [-6.0, 6.0, 0.0]);
    assert_eq!(cut.errors[..3], [0.0; 3]);
    assert!(cut.errors[3].is_infinite(), "NaN is any integer");
    assert_eq!(numbers(&cast(DataType::Bool, &[0.5, 0.0])), [1.0, 0.0]);
    let halves = cast(DataType::Float16, &[1.0 + 2_f64.powi(-12), -3.0]);
    assert_eq!((numbers(&halves), halves.errors), (vec![1.0, -3.0], vec![]), "rounding is exact");
    // A result that may be on either side of an integer is uncertain by that much.
    let mut near = floats(&[1], &[2.0]);
    near.errors = vec![1e-6];
    let cut = run(&node("Cast", vec![int("to", 7)]), vec![near]);
    assert_eq!((numbers(&cut), cut.errors), (vec![2.0], vec![1.0]));
}

#[test]
fn defaults_are_those_of_the_opset() {
    let x = || floats(&[2, 2], &[0.0, 2_f64.ln(), 0.0, 0.0]);
    let rows = run_in(13, &node("Softmax", vec![]), vec![x()]).unwrap();
    assert!((numbers(&rows)[1] - 2.0 / 3.0).abs() < 1e-6);
    let x3 = floats(&[1, 2, 2], &[0.0; 4]);
    assert_eq!(numbers(&run_in(13, &node("Softmax", vec![]), vec![x3.clone()]).unwrap()), [0.5; 4]);
    assert_eq!(numbers(&run_in(11, &node("Softmax", vec![]), vec![x3]).unwrap()), [0.25; 4], "all axes from 1 on");
    let bounds = [("min", -1.0), ("max", 1.0)].map(|(name, bound)| attribute(name, |attribute| attribute.f = bound));
    let clipped = run_in(6, &node("Clip", bounds.into()), vec![floats(&[3], &[-5.0, 0.5, 5.0])]).unwrap();
    assert_eq!(numbers(&clipped), [-1.0, 0.5, 1.0]);
    let inputs = vec![
        floats(&[1, 1], &[3.0]),
        floats(&[1], &[1.0]),
        floats(&[1], &[0.0]),
        floats(&[1], &[1.0]),
        floats(&[1], &[4.0]),
    ];
    let normal = run_in(15, &node("BatchNormalization", vec![]), inputs.clone()).unwrap();
    assert!((numbers(&normal)[0] - 1.0).abs() < 1e-5);
    let training = run_in(15, &node("BatchNormalization", vec![int("training_mode", 1)]), inputs).unwrap();
    assert_eq!(numbers(&training), [0.0], "the mean is the batch's");
}

#[test]
fn products_of_matrices_carry_their_rounding() {
    let gemm =
        node("Gemm", vec![attribute("alpha", |it| it.f = 2.0), attribute("beta", |it| it.f = 0.5), int("transB", 1)]);
    let operands = vec![floats(&[1, 2], &[1.0, 2.0]), floats(&[1, 2], &[3.0, -1.0]), floats(&[1], &[4.0])];
    let product = run(&gemm, operands);
    assert_eq!((product.shape.as_slice(), numbers(&product)), (&[1, 1][..], vec![4.0]));
    assert!(product.errors[0] > 2_f64.powi(-24) * 10.0 && product.errors[0] < 1e-5, "{:?}", product.errors);
    let batch =
        run(&node("MatMul", vec![]), vec![floats(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0]), floats(&[2], &[1.0, 1.0])]);
    assert_eq!((batch.shape.as_slice(), numbers(&batch)), (&[2, 1][..], vec![3.0, 7.0]));
}

#[test]
fn encoders_have_the_rules_of_scikit_learns_export() {
    let zeros =
        |zeros| node("OneHotEncoder", vec![attribute("cats_int64s", |it| it.ints = vec![1, 2]), int("zeros", zeros)]);
    let columns = run(&zeros(1), vec![floats(&[3], &[1.9, 3.0, f64::NAN])]);
    assert_eq!((columns.shape.as_slice(), numbers(&columns)), (&[3, 2][..], vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
    assert!(run_in(17, &zeros(0), vec![floats(&[1], &[3.0])]).is_err());
    let fills = attribute("imputed_value_floats", |it| it.floats = vec![7.0, 8.0]);
    let imputer = node("Imputer", vec![fills, attribute("replaced_value_float", |it| it.f = f32::NAN)]);
    assert_eq!(numbers(&run(&imputer, vec![floats(&[1, 2], &[1.0, f64::NAN])])), [1.0, 8.0]);
    let scaler = node(
        "Scaler",
        vec![attribute("offset", |it| it.floats = vec![0.1]), attribute("scale", |it| it.floats = vec![3.0])],
    );
    let expected = (1e7_f32 - 0.1) * 3.0;
    assert_eq!(numbers(&run(&scaler, vec![floats(&[1, 1], &[1e7])])), [f64::from(expected)], "each step in f32");
    let texts = TypedArray::texts(vec![2], vec!["a".into(), "b".into()], vec![]);
    let encoder = node(
        "LabelEncoder",
        vec![
            attribute("keys_strings", |it| it.strings = vec![b"b".to_vec()]),
            attribute("values_int64s", |it| it.ints = vec![5]),
        ],
    );
    assert_eq!(run(&encoder, vec![texts]).data, Data::Integers(vec![-1, 5]));
}

#[test]
fn pieces_are_picked_along_any_axis() {
    let x = || integers(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    let list = |values: &[i64]| integers(&[values.len()], values);
    let slice = node("Slice", vec![]);
    let back = run(&slice, vec![x(), list(&[-1]), list(&[-100]), list(&[1]), list(&[-2])]);
    assert_eq!((back.shape.as_slice(), numbers(&back)), (&[2, 2][..], vec![3.0, 1.0, 6.0, 4.0]));
    let all = run(&slice, vec![x(), list(&[0]), list(&[i64::MAX]), list(&[0]), list(&[1])]);
    assert_eq!(numbers(&all), numbers(&x()));
    let gathered = run(&node("Gather", vec![int("axis", 1)]), vec![x(), integers(&[], &[-1])]);
    assert_eq!((gathered.shape.as_slice(), numbers(&gathered)), (&[2][..], vec![3.0, 6.0]));
    let turned = run(&node("Transpose", vec![]), vec![x()]);
    assert_eq!((turned.shape.as_slice(), numbers(&turned)), (&[3, 2][..], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
    let joined = run(&node("Concat", vec![int("axis", -1)]), vec![x(), integers(&[2, 1], &[7, 8])]);
    assert_eq!(numbers(&joined), [1.0, 2.0, 3.0, 7.0, 4.0, 5.0, 6.0, 8.0]);
}
