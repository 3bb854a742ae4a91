use super::*;
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
        output: Format::Json,
    };
    Scorer::new(Arc::new(store.load("colours", version).unwrap()), &options)
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
