use std::io::Write;

use ndarray::array;
use tempfile::NamedTempFile;

use super::super::{Column, Target as TableTarget};
use super::*;
use crate::limits::Limits;
use crate::model::signature::{Missing, Unknown};
use crate::record::Gap;

const GAP: f64 = Gap::Missing.value();

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn signature(target: Target, unknown: Unknown) -> Signature {
    let categories = ["red", "7"].map(String::from).to_vec();
    Signature {
        features: vec![
            Feature { name: "colour".into(), kind: Kind::Categorical { categories, unknown }, missing: Missing::Zeros },
            Feature { name: "x".into(), kind: Kind::Numeric, missing: Missing::Mean { value: 1.0 } },
            Feature { name: "z".into(), kind: Kind::Numeric, missing: Missing::Reject },
        ],
        target,
    }
}

fn classes(classes: &[&str]) -> Target {
    Target::Classification { name: "y".into(), classes: classes.iter().map(|class| class.to_string()).collect() }
}

#[test]
fn rows_are_decoded_as_records_are() {
    let signature = signature(classes(&["yes", "no"]), Unknown::Zeros);
    let data = file(
        "z,y,note,x,colour\n\
         1,no,a,2.5,7.0\n\
         2,yes,b,,green\n\
         3,no,c,oops,red\n\
         ,no,d,1,red\n\
         5,no,e,1e999,red\n\
         6,maybe,f,1,red\n\
         7,,g,1,red\n",
    );
    let examples = Examples::read(&[data.path().into()], &signature, Limits::default()).unwrap();
    assert_eq!(examples.truth, Truth::Classes(vec![1, 0]));
    assert_eq!(examples.rows.row(0).to_vec(), [1.0, 2.5, 1.0]);
    assert_eq!(Gap::of(examples.rows[[1, 0]]), Some(Gap::Unknown));
    assert_eq!(Gap::of(examples.rows[[1, 1]]), Some(Gap::Missing));
    // A text, a missing z and an infinity; no target, and one that the model doesn't know.
    assert_eq!((examples.rejected, examples.without_target), (3, 2));

    let unlabelled = Examples::read_unlabelled(
        &[file("colour,z,x\nred,1,2\nred,,2\n").path().into()],
        &signature,
        None,
        Limits::default(),
    );
    assert_eq!(unlabelled.unwrap(), UnlabelledRows { rows: array![[0.0, 2.0, 1.0]], times: None, rejected: 1 });
    // 2013-07-01T06:15, the row that is left.
    let (data, timed) = (file("t,colour,z,x\n1372659300000,red,1,2\n1,red,,2\n"), Some("t"));
    let timed = Examples::read_unlabelled(&[data.path().into()], &signature, timed, Limits::default());
    assert_eq!(timed.unwrap().times, Some(vec![1_372_659_300]));
}

#[test]
fn what_training_forgives_is_the_signatures_to_say() {
    let strict = signature(classes(&["yes", "no"]), Unknown::Reject);
    let data = file("z,y,x,colour\n1,no,2.5,7\n2,yes,1,green\n");
    let examples = Examples::read(&[data.path().into()], &strict, Limits::default()).unwrap();
    assert_eq!((examples.len(), examples.rejected), (1, 1));
    let none =
        Examples::read(&[file("z,y,x,colour\n2,yes,1,green\n1,,2.5,7\n").path().into()], &strict, Limits::default())
            .unwrap_err();
    assert!(none.to_string().contains("it rejects 1, and 1 have no target that it knows"), "{none}");
}

#[test]
fn classes_of_numbers_are_recognised_by_their_value() {
    let signature = signature(classes(&["0", "1"]), Unknown::Zeros);
    let data = file("z,y,x,colour\n1,1.0,1,red\n1,0,1,red\n1,01,1,red\n1,2,1,red\n1,x,1,red\n");
    let examples = Examples::read(&[data.path().into()], &signature, Limits::default()).unwrap();
    assert_eq!((examples.truth, examples.without_target), (Truth::Classes(vec![1, 0, 1]), 2));
}

#[test]
fn a_regression_may_have_several_targets() {
    let target = Target::Regression { names: vec!["a".into(), "b".into()] };
    let signature = signature(target, Unknown::Zeros);
    let data = file("b,colour,a,x,z\n10,red,1,1,1\n,red,2,1,1\n30,red,none,1,1\n40,red,4,1,1\n");
    let examples = Examples::read(&[data.path().into()], &signature, Limits::default()).unwrap();
    assert_eq!(examples.truth, Truth::Numbers(array![[1.0, 10.0], [4.0, 40.0]]));
    assert_eq!((examples.rejected, examples.without_target), (0, 2));
}

#[test]
fn all_lacking_columns_are_named() {
    let signature = signature(classes(&["yes", "no"]), Unknown::Zeros);
    let error =
        Examples::read(&[file("x,y\n1,yes\n").path().into()], &signature, Limits::default()).unwrap_err().to_string();
    assert!(error.ends_with("lacks columns that are features of the model: colour, z"), "{error}");
    let error = Examples::read(&[file("x,colour,z\n1,red,1\n").path().into()], &signature, Limits::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains(r#"there is no column "y""#), "{error}");
}

#[test]
fn a_table_gives_what_its_file_gives() {
    let signature = signature(classes(&["yes", "no"]), Unknown::Zeros);
    let table = Table {
        features: vec![
            Column { name: "x".into(), categories: None },
            Column { name: "z".into(), categories: None },
            Column { name: "colour".into(), categories: Some(vec!["7".into(), "green".into()]) },
        ],
        rows: array![[2.5, 1.0, 0.0], [GAP, 2.0, 1.0], [1.0, GAP, 0.0], [1.0, 1.0, GAP]],
        target: TableTarget {
            name: "y".into(),
            values: TargetValues::Classes {
                names: ["maybe", "no", "yes"].map(String::from).to_vec(),
                rows: vec![1, 2, 1, 0],
            },
        },
        times: None,
        without_target: 9,
    };
    let data = file("z,y,x,colour\n1,no,2.5,7\n2,yes,,green\n,no,1,7\n1,maybe,1,\n");
    let (of_table, of_file) = (
        Examples::of(&table, &signature).unwrap(),
        Examples::read(&[data.path().into()], &signature, Limits::default()).unwrap(),
    );
    let bits = |examples: &Examples| examples.rows.map(|value| value.to_bits());
    assert_eq!(bits(&of_table), bits(&of_file));
    assert_eq!((of_table.truth, of_table.rejected, of_table.without_target), (of_file.truth, 1, 1));
}
