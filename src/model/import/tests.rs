use ndarray::Array2;

use super::*;
use crate::model::testing;
use crate::monitor::drift::DriftStatus;

fn imported(draft: Draft) -> Imported {
    let Draft { signature, preprocessing, layers, output, .. } = draft;
    Imported { signature, preprocessing, layers, output, recipe: serde_json::Map::new(), reference: None }
}

fn samples(draft: &Draft, lines: &str) -> Result<Samples, ImportError> {
    Samples::read(lines.as_bytes(), &draft.signature, Limits::default())
}

fn check(draft: Draft, lines: &str) -> Result<Option<f64>, ImportError> {
    let samples = Some(samples(&draft, lines)?);
    Ok(imported(draft).into_draft("m", &Evidence { samples, rows: None })?.1)
}

#[test]
fn samples_decide_whether_a_model_is_taken() {
    // y = 2x + 1
    let draft = || testing::regression("m", 1.0);
    let largest = check(draft(), "{\"x\":3,\"outputs\":[7.00001]}\n\n{\"features\":[0.5],\"prediction\":2}\n").unwrap();
    assert!((largest.unwrap() - 1e-5).abs() < 1e-6, "{largest:?}");
    // The bound grows with the column's largest magnitude.
    assert!(check(draft(), "{\"x\":0,\"outputs\":[1.0005]}\n{\"x\":50,\"outputs\":101}").is_ok());
    let error = check(draft(), "{\"x\":3,\"outputs\":[7]}\n{\"x\":0,\"outputs\":[1.0005]}").unwrap_err().to_string();
    assert!(
        error.starts_with("sample 2: output y is 1, expected is 1.0005 within 7.0e-5, and 1 of 2 samples"),
        "{error}"
    );

    let draft = || testing::classification("m");
    let record = |answer: &str| format!("{{\"x\":1.0,\"colour\":\"red\",{answer}}}");
    assert!(
        check(draft(), &record("\"prediction\":\"no\"")).is_ok()
            != check(draft(), &record("\"prediction\":\"yes\"")).is_ok()
    );
    for (line, reason) in [
        (record("\"outputs\":[1]"), "has 1 numbers, the model answers 2"),
        (record("\"prediction\":\"maybe\""), "no class \"maybe\""),
        (record("\"label\":1"), "neither \"outputs\" nor \"prediction\""),
        ("{".into(), "malformed"),
        ("{\"x\":[],\"outputs\":[1,0]}".into(), "wrong_type"),
    ] {
        let error = check(draft(), &format!("\n{line}")).unwrap_err().to_string();
        assert!(error.starts_with("sample 2: ") && error.contains(reason), "{error}");
    }
    assert!(matches!(check(draft(), "\n"), Err(ImportError::NoSamples)));
    let endless = std::io::BufReader::new(std::io::repeat(b' '));
    let error = Samples::read(endless, &draft().signature, Limits::default()).unwrap_err().to_string();
    assert!(error.starts_with("sample 1: a line has more than 64 MiB"), "{error}");
}

#[test]
fn samples_with_the_names_of_before_the_export_are_called_so() {
    let renamed = || {
        let mut draft = testing::classification("m");
        draft.signature.features[0].name = "petal_length__cm_".into();
        draft
    };
    assert_eq!(imported(renamed()).replaced_names(), ["petal_length__cm_"]);
    let error =
        check(renamed(), r#"{"petal length (cm)":1,"colour":"red","prediction":"no"}"#).unwrap_err().to_string();
    for part in [
        r#""petal length (cm)" is called "petal_length__cm_" by the file"#,
        r#"--feature-names "petal length (cm),colour""#,
    ] {
        assert!(error.contains(part), "{error}");
    }
    // A sample that has the feature, or only lacks it, is like any other.
    for line in [r#"{"features":[null,"red"],"prediction":"no"}"#, r#"{"colour":"red","prediction":"no"}"#] {
        assert!(!matches!(check(renamed(), line), Err(ImportError::Renamed { .. })), "{line}");
    }
}

#[test]
fn golden_rows_are_samples_else_rows_else_made_up() {
    let lines: String = (0..100).map(|x| format!("{{\"x\":{x},\"outputs\":{}}}\n", 2 * x + 1)).collect();
    let model = || imported(testing::regression("m", 1.0));
    let evidence = Evidence { samples: Some(samples(&testing::regression("m", 1.0), &lines).unwrap()), rows: None };
    let golden_rows = model().into_draft("m", &evidence).unwrap().0.golden_rows;
    assert_eq!((golden_rows.len(), golden_rows[16][0]), (32, 50.0));

    let rows = Some(Array2::from_shape_fn((5, 1), |(row, _)| row as f64));
    let (draft, _) = model().into_draft("m", &Evidence { samples: None, rows }).unwrap();
    assert_eq!(draft.golden_rows, [[0.0], [1.0], [2.0], [3.0], [4.0]]);
    assert_eq!(draft.baseline.features[0].counts.iter().sum::<u64>(), 5);

    let (draft, _) = imported(testing::classification("m")).into_draft("m", &Evidence::default()).unwrap();
    assert_eq!(draft.golden_rows.len(), 32);
    assert!(draft.golden_rows.iter().all(|row| draft.signature.check(row).is_ok()));
    assert!(draft.golden_rows[0].iter().all(|value| value.is_nan()), "a row of gaps");
    assert!((0..3).all(|category| draft.golden_rows.iter().any(|row| row[1] == f64::from(category))));
}

#[test]
fn without_rows_there_is_no_drift() {
    let (draft, _) = imported(testing::classification("m")).into_draft("m", &Evidence::default()).unwrap();
    let plan = crate::monitor::drift::Plan::new(&draft.baseline, &draft.signature);
    for column in plan.columns() {
        let found = plan.compare(column, &vec![1_000; plan.counts()]);
        assert_eq!(found.status, DriftStatus::NoBaseline);
        assert_eq!(column.outside, None);
    }
}
