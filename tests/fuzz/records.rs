//! Records: the decoder beside serde_json, a batch of each format from bytes to predictions, and requests for inference.

use std::sync::Arc;

use ndarray::array;
use serde_json::Value;
use weir::codec::json::Decoder;
use weir::codec::{DecodeOptions, FieldValue, Format, NanPolicy};
use weir::http::inference;
use weir::model::signature::{Feature, Kind, Missing, Signature, Target as Answer, Unknown};
use weir::record::{Gap, Reason};
use weir::score::{Options, Scorer};
use weir::texts;

use super::driver::{TEXT, Target, fuzz};
use super::models;

const PATHS: [&str; 3] = ["", "payload", "payload.features"];
const CATEGORIES: [&str; 4] = ["red", "7", "true", "é\"x"];

/// What records are made of, beside what all JSON is.
const WORDS: &[&[u8]] = &[
    b"\"x\":1.5,",
    b"\"y\":",
    b"\"colour\":\"red\",",
    b"\"features\":[1,2,\"red\"]",
    b"\"payload\":{",
    b"\"id\":",
    b"\"7\"",
    b"\\u0078",
    b"123456789012345678901234567890",
    b"2.2250738585072011e-308",
    b"5e-324",
    b"1e22",
    b"9007199254740993",
];

const RECORDS: &[&str] = &[
    r#"{"id":"a","x":1.5,"y":-2e3,"colour":"red"}"#,
    r#"{"x":0.1,"colour":7,"y":null,"more":{"x":[1,{"y":2}]}}"#,
    r#"{"id":7,"features":[1,2,"red"]}"#,
    r#"{"payload":{"x":1,"y":true,"colour":"\u00e9\"x"},"id":[1,2]}"#,
    r#"{"payload":{"features":{"x":1,"y":2,"colour":"7"},"x":3},"features":0}"#,
    r#"{"payload":[1,2,null]}"#,
    "{}",
];

/// The decoder accepts what serde_json takes for an object, and reads the same values.
#[test]
fn records_are_read_as_serde_json_reads_them() {
    let feature = |name: &str| Feature { name: name.into(), kind: Kind::Numeric, missing: Missing::Reject };
    let colour = Feature {
        name: "colour".into(),
        kind: Kind::Categorical { categories: CATEGORIES.map(String::from).to_vec(), unknown: Unknown::Zeros },
        missing: Missing::Zeros,
    };
    let features = vec![feature("x"), feature("y"), colour];
    let signature = Signature { features, target: Answer::Regression { names: vec!["z".into()] } };
    let mut decoders = PATHS.map(|path| {
        let options = DecodeOptions { features: path.into(), fields: vec!["id".into()], ..DecodeOptions::default() };
        Decoder::new(&signature, &options)
    });
    let mut run = |input: &[u8]| {
        // serde_json doesn't skip a byte order mark, the decoder does.
        let parsed = serde_json::from_slice::<Value>(input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input));
        let mut answers = String::new();
        for (path, decoder) in PATHS.iter().zip(&mut decoders) {
            let (mut row, mut id) = ([0.0; 3], [FieldValue::Absent]);
            let decoded =
                decoder.decode(input, &mut row, &mut id).map_err(|rejection| (rejection.reason, rejection.message));
            match (&parsed, decoded) {
                // A feature whose number is out of range is no mistake of grammar for the decoder.
                (Err(error), Ok(())) if error.to_string().contains("out of range") => {}
                (Err(_), Err((Reason::Malformed, message))) => answers.push_str(&message),
                (Err(error), decoded) if error.to_string().contains("out of range") => {
                    answers.push_str(&format!("{decoded:?}"))
                }
                (Ok(value), Err((Reason::Malformed, message))) if !value.is_object() => answers.push_str(&message),
                // Which of several members counts that differ by blanks is held by the decoder's own tests.
                (Ok(value), decoded) if has_padded_names(value) => answers.push_str(&format!("{decoded:?}")),
                (Ok(value), decoded) if value.is_object() => {
                    let expected = expected_row(value, path);
                    let same = match (&expected, &decoded) {
                        (Ok(expected), Ok(())) => expected.map(f64::to_bits) == row.map(f64::to_bits),
                        (Err(expected), Err((reason, _))) => expected == reason,
                        _ => false,
                    };
                    if !same {
                        return Err(format!("under {path:?}: {decoded:?} and {row:?}, where {expected:?} is expected"));
                    }
                    if decoded.is_ok() && value.get("id").cloned() != serde_json::from_slice(id[0].json_in(input)).ok()
                    {
                        return Err("the copied id is another".into());
                    }
                    answers.push_str(&format!("{decoded:?}{:?}", row.map(Gap::of)));
                }
                (parsed, decoded) => return Err(format!("under {path:?}: {decoded:?}, serde_json says {parsed:?}")),
            }
        }
        Ok(answers)
    };
    let seeds = RECORDS.iter().map(|record| record.as_bytes().to_vec()).collect();
    let words = [TEXT, WORDS].concat();
    fuzz(Target { name: "record", share: 430, seeds, words: &words, run: &mut run });
}

/// Whether a member's name has blanks around it, here or further in.
fn has_padded_names(record: &Value) -> bool {
    let Value::Object(members) = record else { return false };
    members.iter().any(|(name, value)| name.trim() != name || has_padded_names(value))
}

/// What the record says about `x`, `y` and `colour`, by its parsed form.
fn expected_row(record: &Value, path: &str) -> Result<[f64; 3], Reason> {
    let mut found = Some(record);
    let mut positional = record.get("features").filter(|value| path.is_empty() && value.is_array());
    for step in path.split('.').filter(|step| !step.is_empty()) {
        found = match found {
            Some(Value::Object(object)) => object.get(step),
            None | Some(Value::Null) => None,
            Some(_) => return Err(Reason::WrongType),
        };
    }
    match found {
        Some(Value::Array(_)) => positional = found,
        None | Some(Value::Null | Value::Object(_)) => {}
        Some(_) => return Err(Reason::WrongType),
    }
    let positional = positional.and_then(Value::as_array);
    if positional.is_some_and(|values| values.len() != 3) {
        return Err(Reason::WrongLength);
    }
    let value = |at: usize, name: &str| match positional {
        Some(values) => &values[at],
        None => found.and_then(|object| object.get(name)).unwrap_or(&Value::Null),
    };
    Ok([number(value(0, "x")), number(value(1, "y")), category(value(2, "colour"))])
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Null => Gap::Missing.value(),
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Number(number) => number.as_f64().unwrap(),
        Value::String(text) if text.trim().is_empty() => Gap::Missing.value(),
        Value::String(_) => Gap::String.value(),
        Value::Array(_) => Gap::Array.value(),
        Value::Object(_) => Gap::Object.value(),
    }
}

fn category(value: &Value) -> f64 {
    let index = |text: &str| CATEGORIES.iter().position(|category| *category == text).map(|at| at as f64);
    match value {
        Value::Null => Gap::Missing.value(),
        Value::Bool(value) => index(&value.to_string()).unwrap_or(Gap::Boolean.value()),
        // The one category that is a number is that number however it is written.
        Value::Number(number) if number.as_f64() == Some(7.0) => 1.0,
        Value::Number(_) => Gap::Unknown.value(),
        Value::String(text) if texts::is_missing(text) => Gap::Missing.value(),
        Value::String(text) if texts::number(text) == Some(7.0) => 1.0,
        Value::String(text) => index(text.trim()).unwrap_or(Gap::Unknown.value()),
        Value::Array(_) => Gap::Array.value(),
        Value::Object(_) => Gap::Object.value(),
    }
}

/// Whatever is on the input topic becomes one prediction or one rejection for a reason of the list, and the same alone
/// as in company.
#[test]
fn any_bytes_become_one_prediction_or_one_rejection() {
    let options = DecodeOptions { numeric_strings: true, fields: vec!["id".into()], ..DecodeOptions::default() };
    let seeds = RECORDS.iter().map(|record| record.as_bytes().to_vec()).collect();
    score(Format::Json, "score", 240, options, seeds, &[TEXT, WORDS].concat());
}

#[test]
fn any_bytes_become_one_prediction_or_one_rejection_as_a_csv_line() {
    let words: &[&[u8]] =
        &[b",", b"\"", b"\"\"", b"\"a,\"\"b\",", b"\r\n", b" 1.5 ", b"NA", b"True", b"red", b"\xef\xbb\xbf", b"1e999"];
    let columns = ["id", "x", "y", "colour"].map(String::from).to_vec();
    let options = DecodeOptions { columns, fields: vec!["id".into(), "colour".into()], ..DecodeOptions::default() };
    let seeds = [&b"a,1.5,-2e3,red"[..], b"\"a \"\"b\"\", c\",1,2, 7 \r\n", b"7,,True,\"red\"\n"];
    score(Format::Csv, "score-csv", 30, options, seeds.map(<[u8]>::to_vec).to_vec(), &[TEXT, words].concat());
}

#[test]
fn any_bytes_become_one_prediction_or_one_rejection_as_floats() {
    let words: &[&[u8]] = &[&[0, 0, 0xc0, 0x7f], &[0, 0, 0x80, 0x7f], &[0, 0, 0xe0, 0x40], &[0; 4], &[1, 0, 0, 0]];
    let record = |numbers: [f32; 2]| numbers.map(f32::to_le_bytes).concat();
    let seeds = vec![record([1.5, 7.0]), record([f32::MIN_POSITIVE, 8.0])];
    let options = DecodeOptions { nan: NanPolicy::Missing, fields: vec!["id".into()], ..DecodeOptions::default() };
    score(Format::F32, "score-f32", 5, options, seeds, words);
}

#[test]
fn any_bytes_become_one_prediction_or_one_rejection_as_messagepack() {
    // Heads of all kinds of values, some of them with lengths that nothing follows.
    let words: &[&[u8]] = &[
        b"\x81\xa1x",
        b"\x84",
        b"\xa1y\xcb",
        b"\xa6colour\xa3red",
        b"\xa8features\x93",
        b"\xa7payload",
        b"\xa2id",
        b"\x91",
        b"\xc0",
        b"\xc1",
        b"\xc3",
        b"\xc4\x02AB",
        b"\xc6\xff\xff\xff\xff",
        b"\xc7\x0c\xff",
        b"\xca\x7f\xc0\x00\x00",
        b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xd6\xff\x65\x92\x06\x28",
        b"\xd9\x03red",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\x7f\xff\xff\xff",
        b"\xff",
    ];
    let seeds = RECORDS.iter().map(|record| {
        let (record, mut packed) = (serde_json::from_str::<Value>(record).unwrap(), Vec::new());
        rmpv::encode::write_value(&mut packed, &messagepack(&record)).unwrap();
        packed
    });
    let options = DecodeOptions { fields: vec!["id".into(), "more".into()], ..DecodeOptions::default() };
    score(Format::Msgpack, "score-msgpack", 25, options, seeds.collect(), words);
}

fn messagepack(value: &Value) -> rmpv::Value {
    match value {
        Value::Null => rmpv::Value::Nil,
        Value::Bool(boolean) => (*boolean).into(),
        Value::Number(number) if number.is_i64() => number.as_i64().unwrap().into(),
        Value::Number(number) => number.as_f64().unwrap().into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(values) => rmpv::Value::Array(values.iter().map(messagepack).collect()),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| (name.as_str().into(), messagepack(value)));
            rmpv::Value::Map(members.collect())
        }
    }
}

/// Fuzzes records of a format, between two good ones: the first of the seeds.
pub(super) fn score(
    input: Format,
    name: &'static str,
    share: u64,
    decode: DecodeOptions,
    seeds: Vec<Vec<u8>>,
    words: &[&[u8]],
) {
    let options = Options { input, decode, max_bytes: 4_096, min_features: 0.5, threshold: None, output: Format::Json };
    let mut scorer = Scorer::new(Arc::new(models::classification()), &options).unwrap();
    let good = seeds[0].clone();
    let mut run = |bytes: &[u8]| {
        let payloads = [Some(good.as_slice()), Some(bytes), None, Some(good.as_slice())];
        scorer.decode(payloads);
        scorer.score();
        scorer.encode(payloads);
        let results: Vec<_> = scorer.results().collect();
        let [Ok(first), middle, Err(tombstone), Ok(last)] = results.as_slice() else {
            return Err(format!("its neighbours suffer: {results:?}"));
        };
        if first.record != last.record || tombstone.reason != Reason::Malformed {
            return Err(format!("its neighbours change: {results:?}"));
        }
        match middle {
            Ok(prediction) => {
                let parsed: Value =
                    serde_json::from_slice(prediction.record).map_err(|e| format!("the prediction: {e}"))?;
                let sum =
                    parsed["probabilities"].as_object().map(|p| p.values().filter_map(Value::as_f64).sum::<f64>());
                match sum {
                    Some(sum) if (sum - 1.0).abs() < 1e-4 => Ok("a prediction".into()),
                    _ => Err(format!("the prediction is {parsed}")),
                }
            }
            Err(rejection) if Reason::ALL.contains(&rejection.reason) => Ok(format!("{rejection}")),
            Err(rejection) => Err(format!("{rejection} isn't a reason of the list")),
        }
    };
    fuzz(Target { name, share, seeds, words, run: &mut run });
}

/// A request is answered, in JSON, or refused.
#[test]
fn an_inference_request_is_answered_or_refused() {
    let numbers = models::regression(array![[1.0], [2.0], [3.0]]);
    let classes = models::classification();
    let words: &[&[u8]] = &[
        b"\"name\":\"x\"",
        b"\"shape\":[2,1]",
        b"\"shape\":[18446744073709551615,2]",
        b"\"datatype\":\"FP64\"",
        b"\"BYTES\"",
        b"\"BOOL\"",
        b"\"INT64\"",
        b"\"data\":[1,2]",
        b"\"outputs\":[{\"name\":\"prediction\"}]",
        b"\"inputs\":[",
        b"[[[[[[",
    ];
    let seeds: &[&str] = &[
        r#"{"id":"7","inputs":[{"name":"x","shape":[2,1],"datatype":"FP64","data":[1,2.5]},{"name":"colour","shape":[2],"datatype":"BYTES","data":["red",null]}]}"#,
        r#"{"inputs":[{"name":"all","shape":[2,3],"datatype":"FP32","data":[[1,2,3],[4,5,6]]}],"outputs":[{"name":"prediction"}]}"#,
        r#"{"inputs":[{"name":"a","shape":[1],"datatype":"INT64","data":[1]},{"name":"b","shape":[1,1],"datatype":"BOOL","data":[[true]]},{"name":"c","shape":[1],"datatype":"FP16","data":[1e3]}],"parameters":{"x":1}}"#,
    ];
    let mut run = |input: &[u8]| {
        let mut answers = String::new();
        for model in [&numbers, &classes] {
            match inference::answer(model, input, 0.5, model.decision) {
                Ok(answer) => {
                    let parsed: Value =
                        serde_json::from_slice(&answer.json).map_err(|error| format!("the answer: {error}"))?;
                    answers.push_str(if parsed["outputs"].is_array() {
                        "an answer"
                    } else {
                        "an answer without outputs"
                    });
                }
                Err(error) => answers.push_str(&error.to_string()),
            }
        }
        Ok(answers)
    };
    let seeds = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    let words = [TEXT, words].concat();
    fuzz(Target { name: "inference", share: 100, seeds, words: &words, run: &mut run });
}
