use super::*;
use crate::model::decision::Decision;
use crate::model::store::Store;
use crate::model::testing;

fn scorer(fields: &[&str]) -> Scorer {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().display().to_string()).unwrap();
    let version = store.publish(&testing::classification("colours")).unwrap();
    let options = Options {
        input: Format::Json,
        decode: DecodeOptions {
            fields: fields.iter().map(|field| field.to_string()).collect(),
            ..DecodeOptions::default()
        },
        max_bytes: 60,
        min_features: 0.5,
        threshold: None,
        output: Format::Json,
    };
    Scorer::new(Arc::new(store.load("colours", version).unwrap()), &options).unwrap()
}

/// Each payload's prediction as text, or the name of the reason.
fn run(scorer: &mut Scorer, payloads: &[Option<&str>]) -> Vec<Result<String, &'static str>> {
    let payloads = || payloads.iter().map(|payload| payload.map(str::as_bytes));
    scorer.decode(payloads());
    scorer.score();
    scorer.encode(payloads());
    let text = |prediction: Prediction<'_>| String::from_utf8(prediction.record.to_vec()).unwrap();
    scorer.results().map(|result| result.map(text).map_err(|rejection| rejection.reason.as_str())).collect()
}

#[test]
fn each_payload_meets_its_own_fate() {
    let mut scorer = scorer(&["id"]);
    let long = format!(r#"{{"x":1,"note":"{}"}}"#, "-".repeat(60));
    let results = run(
        &mut scorer,
        &[
            Some(r#"{"id":1,"x":2,"colour":"red"}"#),
            None,
            Some(r#"{"id":2,"x":2,"#),
            Some(&long),
            Some(r#"{"id":3,"x":"two","colour":"red"}"#),
            // Twice 1e38 is more than an f32 holds, somewhere on the way through the network.
            Some(r#"{"id":4,"x":1e39,"colour":"red"}"#),
            Some(r#"{"id":5,"colour":"mauve"}"#),
        ],
    );
    let reasons: Vec<_> = results.iter().map(|result| result.as_ref().err().copied()).collect();
    let expected = [
        None,
        Some("malformed"),
        Some("malformed"),
        Some("too_large"),
        Some("wrong_type"),
        Some("prediction_not_finite"),
        None,
    ];
    assert_eq!(reasons, expected);
    assert!(results[0].as_ref().unwrap().starts_with(r#"{"id":1,"prediction":"#));
    assert!(results[6].as_ref().unwrap().starts_with(r#"{"id":5,"prediction":"#));
    // The row whose prediction isn't finite was decoded and scored like the others.
    assert_eq!(scorer.rows().dim(), (3, 2));
    assert_eq!(scorer.outputs().dim(), (3, 2));
    assert_eq!(scorer.rows()[[0, 0]], 2.0);
}

#[test]
fn a_record_alone_gets_what_it_gets_among_others() {
    let mut scorer = scorer(&[]);
    let records: Vec<String> = (0..50)
        .map(|n| match n % 3 {
            0 => format!(r#"{{"x":{n},"colour":"blue"}}"#),
            1 => format!(r#"{{"colour":"green","x":-{n}.5}}"#),
            _ => "broken".to_owned(),
        })
        .collect();
    let payloads: Vec<Option<&str>> = records.iter().map(|record| Some(record.as_str())).collect();
    let together = run(&mut scorer, &payloads);
    let alone: Vec<_> = payloads.iter().flat_map(|&payload| run(&mut scorer, &[payload])).collect();
    assert_eq!(together, alone);
    assert_eq!(together.iter().filter(|result| result.is_ok()).count(), 34);
}

#[test]
fn an_empty_batch_and_one_of_rejections_are_no_trouble() {
    let mut scorer = scorer(&["id"]);
    assert!(run(&mut scorer, &[]).is_empty());
    assert_eq!(run(&mut scorer, &[None, Some("?")]), [Err("malformed"), Err("malformed")]);
    assert_eq!(scorer.rows().nrows(), 0);
    assert_eq!(scorer.outputs().nrows(), 0);
}

#[test]
fn predictions_come_with_the_outputs_of_their_row() {
    let mut scorer = scorer(&[]);
    let payloads = [None, Some(r#"{"x":1}"#.as_bytes()), Some(b"?".as_slice()), Some(br#"{"x":9}"#.as_slice())];
    scorer.decode(payloads);
    scorer.score();
    scorer.encode(payloads);
    let rows: Vec<Vec<f32>> = scorer.results().flatten().map(|prediction| prediction.outputs.to_vec()).collect();
    assert_eq!(rows, scorer.outputs().rows().into_iter().map(|row| row.to_vec()).collect::<Vec<_>>());
    assert_ne!(rows[0], rows[1]);
}

/// A model of two numbers, which records may lack, and its scorer for records as `decode` describes them.
fn lenient(decode: DecodeOptions) -> Scorer {
    let mut draft = testing::classification("colours");
    let missing = crate::model::signature::Missing::Category { index: 0 };
    draft.signature.features[1].missing = missing;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().display().to_string()).unwrap();
    let version = store.publish(&draft).unwrap();
    let options = Options {
        input: Format::Json,
        decode,
        max_bytes: 1 << 20,
        min_features: 0.5,
        threshold: None,
        output: Format::Json,
    };
    Scorer::new(Arc::new(store.load("colours", version).unwrap()), &options).unwrap()
}

#[test]
fn a_record_without_a_feature_is_rejected_with_what_it_has() {
    let under = |path: &str| DecodeOptions { features: path.into(), ..DecodeOptions::default() };
    let members = (0..12).map(|number| format!("\"m{number}\":0")).collect::<Vec<_>>().join(",");
    let many = format!("{{{members}}}");
    for (path, payload, expected) in [
        ("", "{}", "the record has no members"),
        ("", r#"{"payload":{"x":1,"colour":"red"}}"#, r#"the record has "payload""#),
        ("", r#"{"X":1,"Colour":"red"}"#, r#"the record has "X", "Colour""#),
        ("", r#"{"x":null,"colour":null}"#, r#"the record has only nulls: "x", "colour""#),
        ("", r#"{"a\u001b[31m\n":1}"#, r#"the record has "a\u{1b}[31m\n""#),
        ("", many.as_str(), r#""m9" and 2 more"#),
        ("", r#"{"features":[null,null]}"#, r#"the record has "features""#),
        (
            "after",
            r#"{"before":{"x":1},"after":null,"op":"d"}"#,
            r#""after" is null, the record has "before", "after", "op""#,
        ),
        ("after", r#"{"op":"t"}"#, r#"there is no "after", the record has "op""#),
        ("payload.after", r#"{"payload":{"op":"t"}}"#, r#"there is no "payload.after", "payload" has "op""#),
        ("payload.after", r#"{"payload":{"after":{"id":7}}}"#, r#""payload.after" has "id""#),
        ("after", r#"{"after":[null,null]}"#, r#""after" is an array of nulls"#),
        ("data.row", r#"{"x":1,"colour":"red"}"#, r#"there is no "data", the record has "x", "colour""#),
    ] {
        let mut scorer = lenient(under(path));
        scorer.decode([Some(payload.as_bytes())]);
        let rejection = scorer.results().next().unwrap().unwrap_err().clone();
        assert_eq!(rejection.reason, Reason::MissingFeature, "{payload}");
        let expected = format!("none of the model's 2 features is there (\"x\", \"colour\"); {expected}");
        assert!(
            rejection.message.ends_with(&expected)
                || payload == many && rejection.message.ends_with(r#""m9" and 2 more"#),
            "{rejection}"
        );
    }
    assert!(run(&mut lenient(under("")), &[Some(r#"{"x":1}"#)])[0].is_ok(), "half of the features are enough");
}

#[test]
fn what_all_of_the_first_thousand_records_lack_is_reported_once() {
    let fields = vec!["id".to_owned(), "key".into()];
    let mut scorer = lenient(DecodeOptions { fields, ..DecodeOptions::default() });
    let one = |scorer: &mut Scorer, payload: &str| scorer.decode([Some(payload.as_bytes())]);
    for _ in 0..998 {
        one(&mut scorer, r#"{"colour":"red"}"#);
    }
    one(&mut scorer, "not counted");
    assert_eq!(scorer.take_lacking(), None, "too few yet");
    one(&mut scorer, r#"{"id":7}"#);
    assert_eq!(scorer.take_lacking(), None);
    one(&mut scorer, r#"{"colour":"red"}"#);
    let lacking = Lacking { records: 1_000, features: vec!["x".into()], fields: vec!["key".into()] };
    assert_eq!(scorer.take_lacking(), Some(lacking.clone()));
    assert_eq!(scorer.take_lacking(), None, "once");
    one(&mut scorer, r#"{"x":1,"key":1}"#);
    assert_eq!(scorer.lacking(), Some(lacking.clone()), "those were the first ones");
    assert_eq!(
        lacking.to_string(),
        "none of the first 1000 records has the feature \"x\" (a name or input.features may be wrong), nor the field \
         \"key\" to copy (output.fields)"
    );
}

#[test]
fn a_feature_that_one_record_has_is_no_cause_for_a_warning() {
    let mut scorer = lenient(DecodeOptions::default());
    for number in 0..1_000 {
        let payload = if number == 500 { r#"{"x":1}"# } else { r#"{"colour":"red"}"# };
        scorer.decode([Some(payload.as_bytes())]);
    }
    assert_eq!(scorer.take_lacking(), None);
    assert_eq!(scorer.lacking(), None);
}

#[test]
fn a_threshold_of_the_route_stands_in_for_the_models() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().display().to_string()).unwrap();
    let draft = testing::classification("colours");
    store.publish(&draft).unwrap();
    let decision = Decision { positive: "no".into(), threshold: Some(0.0) };
    store.publish(&crate::model::bundle::Draft { decision: Some(decision), ..draft }).unwrap();
    let predicted = |version, threshold| {
        let decode = DecodeOptions::default();
        let options = Options {
            input: Format::Json,
            decode,
            max_bytes: 1 << 20,
            min_features: 0.5,
            threshold,
            output: Format::Json,
        };
        let mut scorer = Scorer::new(Arc::new(store.load("colours", version).unwrap()), &options).unwrap();
        let record = run(&mut scorer, &[Some(r#"{"x":2,"colour":"red"}"#)]).remove(0).unwrap();
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        record["prediction"].as_str().unwrap().to_owned()
    };
    let more_probable = predicted(1, None);
    assert_eq!((predicted(1, Some(0.0)), predicted(1, Some(1.0))), ("yes".into(), "no".into()));
    // The class that the version calls positive is what the threshold is about.
    assert_eq!((predicted(2, None), predicted(2, Some(1.0))), ("no".into(), "yes".into()));
    assert_eq!(predicted(1, Some(0.5)), more_probable);
}
