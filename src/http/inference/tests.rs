//! Requests beside what they must be answered with, without a server.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::admission::BODY_LIMIT;
use super::predict::{ANSWER_LIMIT, MAX_ROWS, MAX_VALUES, block_rows, row_limit, score};
use super::*;
use crate::http::ServerLimits;
use crate::model::decision::ClassDecision;
use crate::model::signature::{Feature, MIN_FEATURES, Missing, Signature, Unknown};
use crate::monitor::testing::{arithmetic, flights};

mod formats;

/// The answer to a body, or the text of the error.
fn ask(model: &Model, body: &str) -> Result<Value, String> {
    let answer = answer(model, body.as_bytes(), MIN_FEATURES, model.decision).map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&answer.json).unwrap())
}

/// `a + 0` by the model that adds, of an `a` written like this.
fn sum(datatype: &str, a: &str) -> Result<f32, String> {
    let zero = r#"{"name":"b","shape":[1],"datatype":"FP64","data":[0]}"#;
    let body = format!(r#"{{"inputs":[{{"name":"a","shape":[1],"datatype":"{datatype}","data":[{a}]}},{zero}]}}"#);
    let answer = ask(&arithmetic(1), &body)?;
    Ok(answer["outputs"][0]["data"][0].as_f64().unwrap() as f32)
}

#[test]
fn a_datatype_takes_its_values_and_no_others() {
    const HUGE: &str = "100000000000000000000000000000000000000000";
    let integers: &[(&str, i128, i128)] = &[
        ("UINT8", 0, 255),
        ("UINT16", 0, 65_535),
        ("UINT32", 0, 4_294_967_295),
        ("UINT64", 0, u64::MAX as i128),
        ("INT8", -128, 127),
        ("INT16", -32_768, 32_767),
        ("INT32", -2_147_483_648, 2_147_483_647),
        ("INT64", i64::MIN as i128, i64::MAX as i128),
    ];
    for &(datatype, from, to) in integers {
        assert_eq!(sum(datatype, &from.to_string()), Ok(from as f32));
        for (written, value) in [("3.0", 3.0), ("3e1", 30.0), ("-0.0", 0.0)] {
            assert_eq!(sum(datatype, written), Ok(value), "{datatype} {written}");
        }
        if to < 1 << 53 {
            assert_eq!(sum(datatype, &to.to_string()), Ok(to as f32));
        }
        let (below, beyond) = ((from - 1).to_string(), (to + 1).to_string());
        for wrong in [&below, &beyond, "1.5", "1e300", "-1e300", HUGE, "true", "\"1\""] {
            let error = sum(datatype, wrong).expect_err(wrong);
            let end = format!(" at index 0 is no {datatype}, which takes integers from {from} to {to}");
            assert!(error.starts_with("input \"a\": ") && error.ends_with(&end), "{error}");
        }
    }

    let half = vec![("65504", 65504.0), ("65519.9", 65519.9), ("1e-35", 0.0)];
    let double = vec![("0.5", 0.5), ("9007199254740993", 9_007_199_254_740_992.0)];
    for (datatype, good, bad, greatest) in [
        ("FP16", half, vec!["65520", "-65520", "1e300"], "65504"),
        ("FP32", vec![("-3.4028234e38", -3.4028234e38)], vec!["3.5e38", "-1e300", HUGE], "3.4028235e38"),
        ("FP64", double, vec![], "1.7976931348623157e308"),
    ] {
        for (written, value) in good {
            let sum = sum(datatype, written).unwrap();
            assert!((sum - value).abs() <= value.abs() * 1e-6 + 1e-30, "{datatype} {written}: {sum}");
        }
        for wrong in bad.into_iter().chain(["true", "\"1\""]) {
            // Of 42 digits serde_json makes a float, which is shown as one.
            let error = sum(datatype, wrong).expect_err(wrong);
            let end = format!(" at index 0 is no {datatype}, which takes numbers from -{greatest} to {greatest}");
            assert!(error.ends_with(&end), "{error}");
        }
    }

    assert_eq!(sum("BOOL", "true"), Ok(1.0));
    for wrong in ["0", "1", "2", "1.0", "\"true\""] {
        assert!(sum("BOOL", wrong).unwrap_err().ends_with("at index 0 is no BOOL, which takes true and false"));
    }
}

#[test]
fn an_integer_that_would_be_rounded_is_refused() {
    for exact in ["9007199254740992", "-9007199254740992", "1152921504606846976"] {
        assert_eq!(sum("INT64", exact), Ok(exact.parse().unwrap()));
    }
    for (datatype, inexact) in [
        ("INT64", "9007199254740993"),
        ("INT64", "-9007199254740993"),
        ("INT64", "9223372036854775807"),
        ("UINT64", "18446744073709551615"),
    ] {
        let expected = format!("input \"a\": {inexact} at index 0 is not exact as FP64");
        assert!(sum(datatype, inexact).unwrap_err().starts_with(&expected));
    }
}

#[test]
fn an_integer_that_was_rounded_when_it_was_parsed_is_refused() {
    assert_eq!(sum("INT64", "9007199254740991.0"), Ok(9_007_199_254_740_991_u64 as f32));
    for rounded in ["9007199254740993.0", "-9223372036854775809", "-9007199254740993e0"] {
        assert!(sum("INT64", rounded).unwrap_err().contains("at index 0 is no INT64"), "{rounded}");
    }
}

#[test]
fn what_is_no_number_of_json_is_refused() {
    for wrong in ["NaN", "Infinity", "-Infinity", "nan", "01", "+1", "1.", ".5", "0x1", "1e", "1_000", "--1", ""] {
        assert!(sum("FP64", wrong).is_err(), "{wrong:?}");
    }
    for (wrong, expected) in [
        ("1e999", "input \"a\": the data at index 0: number out of range"),
        ("-1e999", "input \"a\": the data at index 0: number out of range"),
        ("null", "row 0: missing_feature"),
        ("{}", "input \"a\": the data at index 0: invalid type: map"),
        ("[]", "input \"a\": the data is neither flat nor nested as its shape [1] says"),
    ] {
        let error = sum("FP64", wrong).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn data_is_flat_or_nested_as_its_shape_says() {
    let matrix = |shape: &str, data: &str| {
        let body = format!(r#"{{"inputs":[{{"name":"x","shape":{shape},"datatype":"FP64","data":{data}}}]}}"#);
        ask(&arithmetic(1), &body).map(|answer| answer["outputs"][0]["data"].to_string())
    };
    let column = |shape: &str, data: &str| {
        let tensor = |name| format!(r#"{{"name":"{name}","shape":{shape},"datatype":"FP64","data":{data}}}"#);
        ask(&arithmetic(1), &format!(r#"{{"inputs":[{},{}]}}"#, tensor("a"), tensor("b")))
            .map(|answer| answer["outputs"][0]["data"].to_string())
    };
    for data in ["[1,2,3,4]", "[[1,2],[3,4]]", " [ [1 ,2] , [3, 4] ] "] {
        assert_eq!(matrix("[2,2]", data).unwrap(), "[3.0,-1.0,7.0,-1.0]");
    }
    for (shape, data) in [("[2]", "[1,2]"), ("[2,1]", "[1,2]"), ("[2,1]", "[[1],[2]]")] {
        assert_eq!(column(shape, data).unwrap(), "[2.0,0.0,4.0,0.0]", "{shape} {data}");
    }
    let nested = "neither flat nor nested as its shape";
    for (shape, data, expected) in [
        ("[2,2]", "[[1,2,3],[4]]", nested),
        ("[2,2]", "[[1,2],[3]]", nested),
        ("[2,2]", "[[1,2],3,4]", nested),
        ("[2,2]", "[1,2,[3,4]]", nested),
        ("[2,2]", "[[1,2],[3,4],[5,6]]", nested),
        ("[2,2]", "[[],[]]", nested),
        ("[2,2]", "[[[1,2],[3,4]]]", nested),
        ("[2,2]", "[[1,2],[3,4],[]]", nested),
        ("[2,2]", "[1,2,3]", "shape [2, 2] for 3 values"),
        ("[2,2]", "[1,2,3,4,5]", "shape [2, 2] for 5 values"),
        ("[2,2]", "[]", "for 0 values"),
        ("[2,2]", "5", "expected an array of numbers"),
        ("[2,2]", "\"1,2,3,4\"", "expected an array of numbers"),
        ("[2,2]", "null", "expected an array of numbers"),
        ("[2,3]", "[1,2,3,4,5,6]", "shape [2, 3] where the model has 2 features"),
        ("[2,2,1]", "[1,2,3,4]", "the model has no feature of this name"),
        ("[-2,2]", "[1,2,3,4]", "invalid value: integer `-2`"),
        ("[2.0,2]", "[1,2,3,4]", "invalid type: floating point"),
        ("[\"2\",2]", "[1,2,3,4]", "invalid type: string"),
        ("2", "[1,2]", "a list of at most 8 entries"),
        ("[1,1,1,1,1,1,1,1,1]", "[1]", "a list of at most 8 entries"),
        ("[]", "[]", "0 rows"),
        ("[0,2]", "[]", "0 rows"),
        // The products of these wrap to 4, 0 and 2.
        ("[9223372036854775810,2]", "[1,2,3,4]", "9223372036854775810 rows"),
        ("[9223372036854775808,2]", "[]", "9223372036854775808 rows"),
        ("[2,9223372036854775809]", "[1,2]", "where the model has 2 features"),
        ("[18446744073709551616,2]", "[1,2]", "invalid type: floating point"),
    ] {
        let error = matrix(shape, data).unwrap_err();
        assert!(error.contains(expected), "{shape} {data}: {error}");
    }
    for (shape, data, expected) in [
        ("[2]", "[[1],[2]]", nested),
        ("[2,1]", "[[1,2]]", nested),
        ("[2,1]", "[[1],2]", nested),
        ("[1,2]", "[1,2]", "shape [1, 2] where [1] or [1, 1] is expected"),
    ] {
        let error = column(shape, data).unwrap_err();
        assert!(error.contains(expected), "{shape} {data}: {error}");
    }
}

#[test]
fn what_a_request_may_not_say_is_refused() {
    const A: &str = r#"{"name":"a","shape":[1],"datatype":"FP64","data":[2]}"#;
    const B: &str = r#"{"name":"b","shape":[1],"datatype":"FP64","data":[1]}"#;
    let with = |members: &str| ask(&arithmetic(1), &format!(r#"{{"inputs":[{A},{B}]{members}}}"#));
    let in_tensor = |members: &str| {
        let a = A.replace("[2]}", &format!("[2]{members}}}"));
        ask(&arithmetic(1), &format!(r#"{{"inputs":[{a},{B}]}}"#))
    };
    for good in [
        "",
        r#","id":"x","outputs":[{"name":"prediction"}]"#,
        r#","parameters":{}"#,
        r#","parameters":{"a":"text","b":-1,"c":1.5,"d":true,"e":18446744073709551615}"#,
        r#","parameters":null,"outputs":null,"id":null"#,
        r#","outputs":[{"name":"prediction","parameters":{"binary_data":false}}]"#,
    ] {
        assert_eq!(with(good).unwrap()["outputs"][0]["data"], json!([3.0, 1.0]), "{good}");
    }
    assert!(in_tensor(r#","parameters":{"content_type":"np"}"#).is_ok());
    let output = r#"{"name":"prediction"}"#;
    let many = format!(r#","outputs":[{}]"#, vec![output; 50_000].join(","));
    for (wrong, expected) in [
        (
            r#","outputs":[{"name":"prediction"},{"name":"prediction"}]"#,
            "output \"prediction\": the request names it twice",
        ),
        (many.as_str(), "a list of at most 16 entries"),
        (r#","outputs":[{"name":"zebra"}]"#, "output \"zebra\": the model has none of this name"),
        (r#","outputs":[{"name":"probabilities"}]"#, "the model has none of this name"),
        (r#","outputs":["prediction"]"#, "invalid type: string"),
        (r#","outputs":{}"#, "a list of at most 16 entries"),
        (r#","outputs":[{"name":"prediction","parameters":1}]"#, "expected parameters"),
        (r#","parameters":[]"#, "expected parameters"),
        (r#","parameters":"x""#, "expected parameters"),
        (r#","parameters":{"a":[]}"#, "expected a parameter"),
        (r#","parameters":{"a":{}}"#, "expected a parameter"),
        (r#","parameters":{"a":null}"#, "expected a parameter"),
        (r#","id":1"#, "invalid type: integer"),
        (r#","inputs":[]"#, "duplicate field `inputs`"),
    ] {
        let error = with(wrong).unwrap_err();
        assert!(error.contains(expected), "{}: {error}", &wrong[..wrong.len().min(80)]);
    }
    for (wrong, expected) in [
        (r#","parameters":7"#, "expected parameters"),
        (r#","parameters":{"a":[1]}"#, "expected a parameter"),
        (r#","data":[3]"#, "duplicate field `data`"),
        (r#","datatype":"INT8""#, "duplicate field `datatype`"),
        (r#","shape":[1]"#, "duplicate field `shape`"),
    ] {
        let error = in_tensor(wrong).unwrap_err();
        assert!(error.contains(expected), "{wrong}: {error}");
    }
    let twice = ask(&arithmetic(1), &format!(r#"{{"inputs":[{A},{B},{A}]}}"#)).unwrap_err();
    assert!(twice.contains("input \"a\": it is there twice"), "{twice}");
    let padded = A.replace("\"a\"", "\" a \"");
    assert!(ask(&arithmetic(1), &format!(r#"{{"inputs":[{padded},{B}]}}"#)).is_ok(), "{padded}");
    let twice = ask(&arithmetic(1), &format!(r#"{{"inputs":[{padded},{B},{A}]}}"#)).unwrap_err();
    assert!(twice.contains("input \"a\": it is there twice"), "{twice}");
    let many = format!(r#"{{"inputs":[{}]}}"#, vec![A; 16_385].join(","));
    assert!(ask(&arithmetic(1), &many).unwrap_err().contains("a list of at most 16384 entries"));
    for body in ["", "{}", "[]", "null", "\u{feff}{}", r#"{"inputs":{}}"#, r#"{"inputs":[1]}"#, "{\"inputs\":[]} x"] {
        assert!(ask(&arithmetic(1), body).is_err(), "{body:?}");
    }
    assert!(answer(&arithmetic(1), &[b'{', 0xff, b'}'], MIN_FEATURES, ClassDecision::default()).is_err());
}

#[test]
fn the_members_of_a_tensor_come_in_any_order() {
    let body = r#"{"inputs":[{"data":[[2,3]],"datatype":"INT8","shape":[1,2],"name":"x"}],"id":"1"}"#;
    assert_eq!(ask(&arithmetic(1), body).unwrap()["outputs"][0]["data"], json!([5.0, -1.0]));
}

#[test]
fn a_category_is_found_by_the_rules_of_records() {
    let origin = |datatype: &str, data: &str| {
        let body = format!(r#"{{"inputs":[{{"name":"origin","shape":[1],"datatype":"{datatype}","data":[{data}]}}]}}"#);
        ask(&flights(1), &body).map(|answer| answer["outputs"][0]["data"][0].as_str().unwrap().to_owned())
    };
    assert_eq!(origin("BYTES", "\"JFK\"").unwrap(), "late");
    assert_eq!(origin("BYTES", "\"J\\u0046K\"").unwrap(), "late");
    assert_eq!(origin("BYTES", "\"?\"").unwrap(), "on_time", "unknown ones are allowed");
    assert_eq!(origin("INT64", "9007199254740993").unwrap(), "on_time", "an id needn't be a number");
    assert!(origin("BYTES", "1").unwrap_err().contains("1 at index 0 is no BYTES, which takes strings"));
    assert_eq!(origin("FP64", "1.5").unwrap(), "on_time", "nor a whole one");
    assert!(origin("BOOL", "true").unwrap_err().contains("row 0: wrong_type"));
    assert!(origin("BYTES", "\"\\ud800\"").unwrap_err().contains("input \"origin\": the data at index 0"));
}

#[test]
fn an_error_quotes_little_of_its_request() {
    let name = "\u{1f}".repeat(100_000);
    let body = json!({"inputs": [{"name": name, "shape": [1], "datatype": "FP64", "data": [1]}]}).to_string();
    assert!(ask(&arithmetic(1), &body).unwrap_err().len() < 1_000);
    let failure = Failure::new(StatusCode::BAD_REQUEST, "é".repeat(5_000));
    assert_eq!(failure.error.chars().count(), 1_001);
}

/// A model with so many numbers and classes, as the limits see it.
fn shape(features: usize, classes: Vec<String>) -> Signature {
    let feature = |n| Feature { name: format!("x{n}"), kind: Kind::Numeric, missing: Missing::Reject };
    Signature {
        features: (0..features).map(feature).collect(),
        target: Target::Classification { name: "y".into(), classes },
    }
}

#[test]
fn rows_and_answer_are_bounded_whatever_the_model() {
    let classes =
        |count: usize, length: usize| (0..count).map(|n| "x".repeat(length - 1) + &n.to_string()).collect::<Vec<_>>();
    assert_eq!(row_limit(&shape(30, classes(2, 4))), MAX_ROWS);
    assert_eq!(row_limit(&shape(1_000, classes(2, 4))), MAX_VALUES / 1_000);
    assert_eq!(row_limit(&shape(MAX_VALUES + 1, classes(2, 4))), 1);
    for (count, length) in [(2, 1), (10, 10), (100, 7), (20_000, 7), (2, 100_000), (2, 5_000_000)] {
        let signature = shape(1, classes(count, length));
        let limit = row_limit(&signature);
        // The number of a class takes up to 5 digits.
        let longest_row = count * "-1.1754944e-38,".len() + length + 3;
        assert!(limit == 1 || limit * longest_row <= ANSWER_LIMIT, "{count} classes of {length}: {limit} rows");
        assert!(limit == MAX_ROWS || limit == 1 || (limit + 1) * (count * 16 + length + 8) > ANSWER_LIMIT);
    }
    // Six bytes each, once they are JSON.
    let control = vec!["\u{1}".repeat(1_000), "b".into()];
    assert!(row_limit(&shape(1, control)) * 6_000 <= ANSWER_LIMIT);
    assert_eq!(block_rows(1 << 30), 1);
    assert_eq!(block_rows(64), MAX_VALUES / 64);
}

#[test]
fn a_request_beyond_its_models_rows_takes_no_memory() {
    let rows = MAX_ROWS + 1;
    let body = format!(
        r#"{{"inputs":[{{"name":"a","shape":[{rows}],"datatype":"FP64","data":[{}0]}}]}}"#,
        "0,".repeat(BODY_LIMIT / 2 - 50)
    );
    let mut error = String::new();
    let memory = allocation_counter::measure(|| error = ask(&arithmetic(1), &body).unwrap_err());
    assert!(error.contains("8193 rows; a request for this model takes 1 to 8192"), "{error}");
    assert!(memory.bytes_max < 100_000, "{memory:?}");
    // The data is counted, and kept nowhere, also where the shape says less.
    let body = body.replace("[8193]", "[8192,2]").replace(r#""a""#, r#""x""#);
    let memory = allocation_counter::measure(|| error = ask(&arithmetic(1), &body).unwrap_err());
    assert!(error.contains("shape [8192, 2] for 2097103 values"), "{error}");
    assert!(memory.bytes_max < 300_000, "{memory:?}");
}

#[test]
fn rows_are_scored_in_blocks_with_the_same_bits() {
    let model = flights(1);
    let rows = ndarray::Array2::from_shape_fn((10, 2), |(row, column)| if column == 0 { row as f64 } else { 1.0 });
    let whole = score(&model, &rows, 10);
    for block in [1, 3, 9, 100] {
        assert_eq!(score(&model, &rows, block), whole);
    }
    assert!(matches!(model.signature().features[1].kind, Kind::Categorical { unknown: Unknown::Zeros, .. }));
}

fn limits() -> ServerLimits {
    ServerLimits { places: 1, place_wait: std::time::Duration::ZERO, ..ServerLimits::DEFAULT }
}

#[tokio::test]
async fn a_place_is_taken_until_the_answer_is_written() {
    let admission = Admission::new(limits());
    let admitted = admission.admit(Body::from("body")).await.unwrap();
    let refused = admission.admit(Body::from("body")).await.unwrap_err();
    assert_eq!((refused.status, refused.retry_after), (StatusCode::SERVICE_UNAVAILABLE, Some(1)));
    let answer = admitted.answer_with(|body| Ok::<_, ()>(body.to_vec())).await.unwrap().unwrap();
    assert_eq!(answer, "body");
    assert!(admission.admit(Body::empty()).await.is_err(), "the answer isn't written yet");
    drop(answer);
    assert!(admission.admit(Body::empty()).await.is_ok());
}

#[tokio::test]
async fn an_inference_that_panics_or_fails_gives_its_place_back() {
    let admission = Admission::new(limits());
    let admitted = admission.admit(Body::empty()).await.unwrap();
    assert_eq!(admitted.answer_with::<()>(|_| panic!("on purpose")).await, None);
    let admitted = admission.admit(Body::empty()).await.unwrap();
    assert_eq!(admitted.answer_with(|_| Err("wrong")).await, Some(Err("wrong")));
    assert!(admission.admit(Body::empty()).await.is_ok());
}

#[tokio::test]
async fn a_body_is_refused_beyond_its_limit_and_before_a_place_is_taken() {
    let admission = Admission::new(ServerLimits { places: 0, ..limits() });
    let refused = admission.admit(Body::from(vec![0; BODY_LIMIT + 1])).await.unwrap_err();
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    let admission = Admission::new(limits());
    let admitted = admission.admit(Body::from(vec![0; BODY_LIMIT])).await.unwrap();
    let length = admitted.answer_with(|body| Ok::<_, ()>(body.len().to_string().into_bytes())).await.unwrap();
    assert_eq!(length.unwrap(), BODY_LIMIT.to_string());
}

#[test]
fn the_predicted_class_follows_the_threshold() {
    let model = flights(1);
    let body = r#"{"inputs":[{"name":"delay","shape":[1],"datatype":"FP64","data":[1]},
        {"name":"origin","shape":[1],"datatype":"BYTES","data":["EWR"]}]}"#;
    let predicted = |threshold| {
        let decision = model.decision.with_threshold(threshold);
        let answer = answer(&model, body.as_bytes(), MIN_FEATURES, decision).unwrap();
        let answer: Value = serde_json::from_slice(&answer.json).unwrap();
        answer["outputs"][0]["data"][0].clone()
    };
    let classes = match &model.signature().target {
        Target::Classification { classes, .. } => classes.clone(),
        Target::Regression { .. } => unreachable!("flights are classes"),
    };
    assert_eq!((predicted(Some(0.0)), predicted(Some(1.0))), (json!(classes[1]), json!(classes[0])));
    assert_eq!(predicted(None), predicted(Some(0.5)));
}
