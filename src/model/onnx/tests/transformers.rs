//! Pipelines of scikit-learn, as skl2onnx writes them: each imports and agrees with its graph, or is refused by the name
//! that scikit-learn has for it. The files are made by tests/fixtures/sklearn/make.py.

use ndarray::Array2;

use super::*;
use crate::engine::Weights;
use crate::model::preprocess::{Combination, Part, RowNorm};
use crate::model::signature::Feature;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sklearn")
}

fn imported(name: &str) -> Imported {
    read(&folder().join(format!("{name}.onnx")), &Hints::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn files() -> Vec<PathBuf> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "onnx")).collect();
    files.sort();
    assert!(files.len() >= 44, "{files:?}");
    files
}

#[test]
fn pipelines_agree_with_their_graphs() {
    for path in files() {
        let import = || read(&path, &Hints::default()).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        import().into_draft("m", &Evidence::default()).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        // One weight by a tenth, and it is another model.
        let mut misread = import();
        let Weights::F32(weights) = &mut misread.layers[0].weights else { panic!("{path:?}") };
        let (row, column) = (weights.nrows() - 1, weights.ncols() - 1);
        weights[[row, column]] += 0.1;
        let error =
            misread.into_draft("m", &Evidence::default()).map(|_| ()).expect_err(&format!("{path:?}")).to_string();
        assert!(error.contains("answers otherwise than the graph"), "{path:?}: {error}");
    }
}

/// What weir writes of an imported model is held against the model as an import is against its graph.
#[test]
fn an_export_of_an_import_answers_the_same() {
    for path in files() {
        let imported = read(&path, &Hints::default()).unwrap();
        let (draft, _) = imported.into_draft("m", &Evidence::default()).unwrap();
        let model = crate::model::Model::load(&draft.bundle(1, String::new()).unwrap().1, |_| {}).unwrap();
        let file = Model::decode(&*write(&draft, 1).unwrap().bytes).unwrap();
        let fed = |feature: &Feature| Fed {
            name: feature.name.clone(),
            data_type: if feature.kind == Kind::Numeric { DataType::Double } else { DataType::String },
            batch: None,
            tail: vec![1],
        };
        let exported = Reference {
            program: Program::new(&file, Reader::new(&path)).unwrap(),
            inputs: draft.signature.features.iter().map(fed).collect(),
            places: (0..draft.signature.features.len()).map(|input| Place { input, column: 0 }).collect(),
            form: reference::Form::AsIs,
            classes: match &draft.signature.target {
                Target::Classification { classes, .. } => Some(classes.clone()),
                Target::Regression { .. } => None,
            },
        };
        let agreement = exported.check(&model, &draft.preprocessing, 500);
        assert_eq!(agreement.unwrap_or_else(|error| panic!("{path:?}: {error}")).rows, 500);
    }
}

/// A step that is a little off is found, so the graph's own answers for it are certain enough.
#[test]
fn a_misread_step_is_found() {
    for (name, off) in [("yeo_johnson", 1e-3), ("yeo_johnson-plain", 1e-3), ("box_cox", 1e-3), ("imputer-999", 0.1)] {
        let mut misread = imported(name);
        let Transform::Numeric { steps, .. } = &mut misread.preprocessing[0] else { panic!("{name}") };
        let changed = steps.iter_mut().filter_map(|step| match step {
            Step::YeoJohnson { lambda } | Step::BoxCox { lambda } => Some(lambda),
            Step::Replace { by, .. } => Some(by),
            _ => None,
        });
        let numbers: Vec<&mut f64> = changed.collect();
        assert_eq!(numbers.len(), 1, "{name}");
        numbers.into_iter().for_each(|number| *number += off);
        let error = misread.into_draft("m", &Evidence::default()).map(|_| ()).expect_err(name).to_string();
        assert!(error.contains("answers otherwise than the graph"), "{name}: {error}");
    }
    for name in ["bins-one_hot", "bins-ordinal", "bins-scaled", "binarizer"] {
        let mut misread = imported(name);
        let Transform::Several { parts } = &mut misread.preprocessing[0] else { panic!("{name}") };
        let [Part::Bins { edges, .. }] = &mut **parts else { panic!("{name}") };
        edges[0] += 1e-5;
        let error = misread.into_draft("m", &Evidence::default()).map(|_| ()).expect_err(name).to_string();
        assert!(error.contains("answers otherwise than the graph"), "{name}: {error}");
    }
}

#[test]
fn categories_are_numbered_as_ordinal_encoder_does() {
    let signature = imported("ordinal-unknown").signature;
    let kinds = |name: &str| signature.features.iter().find(|feature| feature.name == name).unwrap().clone();
    for (name, first) in [("colour", "blue"), ("level", "0")] {
        let Kind::Categorical { categories, unknown } = kinds(name).kind else { panic!("{name}") };
        assert_eq!((&*categories[0], unknown, kinds(name).missing), (first, Unknown::Zeros, Missing::Zeros), "{name}");
    }
    let closed = imported("ordinal-closed").signature;
    assert!(closed.features.iter().all(|feature| feature.missing == Missing::Reject));
    let imputed = imported("ordinal-imputed").signature.features.pop().unwrap();
    assert!(matches!(imputed.missing, Missing::Category { .. }), "{imputed:?}");
}

#[test]
fn a_column_may_go_in_by_several_ways() {
    let column = imported("column-twice").preprocessing.remove(0);
    let Transform::Several { parts } = column else { panic!("{column:?}") };
    assert!(
        matches!(&*parts, [Part::Number { .. }, Part::Number { .. }, Part::Bins { edges, .. }] if edges.len() == 3),
        "{parts:?}"
    );
}

#[test]
fn columns_of_several_features_are_made_once() {
    let several = |name: &str| match imported(name).preprocessing.pop() {
        Some(Transform::Combined { columns, hidden }) => (columns, hidden),
        other => panic!("{name}: {other:?}"),
    };
    // Of three numbers six products; what is multiplied goes into the network too, as the products of degree 1.
    let (columns, hidden) = several("polynomial");
    assert!(columns.len() == 6 && hidden.is_empty(), "{columns:?}, {hidden:?}");
    assert!(columns.contains(&Combination::Product { of: vec![0, 2], steps: vec![] }));
    // Scaled after the products, these are other columns.
    let (columns, hidden) = several("polynomial-interactions");
    assert_eq!((columns.len(), hidden.len()), (3, 3));
    // Rows are divided by their length once, then each column is scaled.
    let (columns, hidden) = several("normalizer-scaled");
    let [Combination::Normalized { norm: RowNorm::L2, of }, scaled @ ..] = &*columns else { panic!("{columns:?}") };
    assert_eq!((of.len(), scaled.len(), hidden.len()), (3, 3, 6), "{columns:?}");
    // A category's number is a sum of its columns.
    let (columns, _) = several("polynomial-categories");
    let sums = columns.iter().filter(|column| matches!(column, Combination::Sum { .. }));
    assert_eq!(sums.count(), 1, "{columns:?}");
}

/// A factor or a length that is a little off is found.
#[test]
fn a_misread_column_of_several_features_is_found() {
    type Change = fn(&mut Combination);
    let changes: [(&str, Change); 3] = [
        ("polynomial", |column| {
            let Combination::Product { of, .. } = column else { panic!("{column:?}") };
            of.push(0);
        }),
        ("normalizer-l1", |column| {
            let Combination::Normalized { norm, .. } = column else { panic!("{column:?}") };
            *norm = RowNorm::L2;
        }),
        ("normalizer-max-clipped", |column| {
            let Combination::Normalized { norm, .. } = column else { panic!("{column:?}") };
            *norm = RowNorm::L1;
        }),
    ];
    for (name, change) in changes {
        let mut misread = imported(name);
        let Some(Transform::Combined { columns, .. }) = misread.preprocessing.last_mut() else { panic!("{name}") };
        change(&mut columns[0]);
        let error = misread.into_draft("m", &Evidence::default()).map(|_| ()).expect_err(name).to_string();
        assert!(error.contains("answers otherwise than the graph"), "{name}: {error}");
    }
}

/// A group of groups is walked through once, and what would take too many columns is refused.
#[test]
fn groups_of_groups_cost_no_more_than_their_columns() {
    let normalized = |from: &str, to: &str| {
        with(exported::learned("Normalizer", &[from], &[to]), "norm", |attribute| attribute.s = b"L1".to_vec())
    };
    let wide = exported::int(node("Concat", &["x"; 8], "n0"), "axis", 1);
    let names: Vec<String> = (0..=20).map(|index| format!("n{index}")).collect();
    let nodes = |depth: usize| {
        let groups = names.windows(2).take(depth).map(|pair| normalized(&pair[0], &pair[1]));
        let last = node("MatMul", &[&names[depth], "sixteen"], "y");
        [wide.clone()].into_iter().chain(groups).chain([last]).collect::<Vec<_>>()
    };
    let weights = || vec![tensor("sixteen", &[16, 1], &[1.0, -2.0, 0.5, 3.0].repeat(4))];
    let draft = exported::agreed(&exported::in_opset(17, nodes(12), weights()));
    let Some(Transform::Combined { columns, .. }) = draft.preprocessing.last() else { panic!("{draft:?}") };
    assert_eq!(columns.len(), 12);
    let error = refused(import_with(&exported::in_opset(17, nodes(20), weights()), &Hints::default()));
    assert!(error.contains("normalises columns after 16 such operations"), "{error}");
}

#[test]
fn calibrated_models_are_layers_with_probabilities_of_their_own() {
    let layers = |name: &str| {
        let Imported { layers, output, .. } = imported(name);
        (layers.iter().map(|it| (it.inputs(), it.outputs(), it.activation)).collect::<Vec<_>>(), output)
    };
    let (logistic, identity) = (Activation::Logistic, Activation::Identity);
    // The mean of three models, each of which has both classes.
    assert_eq!(layers("calibrated-ensemble"), (vec![(3, 6, logistic), (6, 2, identity)], Output::Normalized));
    assert_eq!(layers("calibrated-three"), (vec![(3, 3, logistic)], Output::Normalized));
    assert_eq!(layers("sgd-three"), (vec![(3, 3, logistic)], Output::Normalized));
    // Both probabilities keep their digits near 0, and are never below.
    let (draft, _) = imported("calibrated-ensemble-svc").into_draft("m", &Evidence::default()).unwrap();
    let model = crate::model::Model::load(&draft.bundle(1, String::new()).unwrap().1, |_| {}).unwrap();
    let rows = Array2::from_shape_fn((80, 3), |(row, _)| (row as f64 - 40.0) / 2.0);
    let answers = crate::model::import::answers(&model, rows.view());
    assert!(answers.iter().all(|p| *p >= 0.0), "{answers}");
    for column in answers.columns() {
        assert!(column.iter().any(|p| 0.0 < *p && *p < 1e-8), "{column}");
    }
}

#[test]
fn refusals_have_the_names_of_scikit_learn() {
    let cases = [
        ("quantile", "GreaterOrEqual", "QuantileTransformer"),
        ("indicator", "LinearClassifier", "SimpleImputer(add_indicator=True)"),
        ("yeo_johnson-imputed_after", "Imputer", "imputes after PowerTransformer"),
        ("calibrated-ensemble-three", "Sum", "CalibratedClassifierCV of scikit-learn takes the mean of 3 models"),
        ("calibrated-network-three", "Mul", "CalibratedClassifierCV of a network can be imported for two classes"),
        ("calibrated-isotonic", "ArgMin", "isotonic"),
        ("normalizer-max", "Normalizer", "Normalizer of scikit-learn with norm=\"max\""),
        ("normalizer-doubles", "Div", "Normalizer of scikit-learn does over doubles"),
        ("polynomial-integers", "Cast", "PolynomialFeatures of scikit-learn multiplies integers"),
        ("polynomial-binarizer", "Binarizer", "PolynomialFeatures or Normalizer of scikit-learn"),
        ("multilabel", "Binarizer", "labels that don't exclude each other"),
        ("one_vs_rest", "LinearClassifier", "OneVsRestClassifier"),
    ];
    let mut failures = Vec::new();
    for (name, node, words) in cases {
        let result = read(&folder().join(format!("refused/{name}.onnx")), &Hints::default());
        let error = refused(result);
        if !error.starts_with(&format!("node {node}")) || !error.contains(words) {
            failures.push(format!("{name}: {error}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
