//! The decoder by example, and against a naive model on top of serde_json.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::Decoder;
use crate::codec::json::samples::{bytes, damaged_record, record, serde};
use crate::codec::{DecodeOptions, FieldValue, NanPolicy};
use crate::model::signature::{Feature, Kind, Missing, Signature, Target, Unknown};
use crate::record::{Gap, Reason, Rejection};
use crate::texts;

mod meaning;

const CATEGORIES: [&str; 5] = ["AA", "7", "true", "é\"x", ""];

const FIELDS: [&str; 3] = ["id", "age", "payload"];

const MISSING: f64 = Gap::Missing.value();

fn numeric(name: &str) -> Feature {
    Feature { name: name.into(), kind: Kind::Numeric, missing: Missing::Reject }
}

fn categorical(name: &str) -> Feature {
    let categories = CATEGORIES.map(String::from).to_vec();
    Feature {
        name: name.into(),
        kind: Kind::Categorical { categories, unknown: Unknown::Zeros },
        missing: Missing::Zeros,
    }
}

fn signature(features: Vec<Feature>) -> Signature {
    Signature { features, target: Target::Regression { names: vec!["y".into()] } }
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// `age` and `é` are numbers, `carrier` is a category.
fn sample() -> Signature {
    signature(vec![numeric("age"), categorical("carrier"), numeric("é")])
}

fn options(path: &str) -> DecodeOptions {
    DecodeOptions { features: path.into(), fields: strings(&FIELDS), ..DecodeOptions::default() }
}

/// The row and the copied bytes.
fn decode_with(decoder: &mut Decoder, payload: &[u8]) -> Result<(Vec<u64>, Vec<Vec<u8>>), Rejection> {
    let (mut row, mut fields) = ([0.0; 3], [FieldValue::Absent; 3]);
    decoder.decode(payload, &mut row, &mut fields)?;
    let bits = row.iter().map(|value| value.to_bits()).collect();
    Ok((bits, fields.iter().map(|field| field.json_in(payload).to_vec()).collect()))
}

fn decode_at(path: &str, payload: impl AsRef<[u8]>) -> Result<Vec<u64>, Rejection> {
    decode_with(&mut Decoder::new(&sample(), &options(path)), payload.as_ref()).map(|(row, _)| row)
}

fn decode(payload: impl AsRef<[u8]>) -> Result<Vec<u64>, Rejection> {
    decode_at("", payload)
}

fn bits(row: [f64; 3]) -> Result<Vec<u64>, Rejection> {
    Ok(row.map(f64::to_bits).to_vec())
}

#[test]
fn errors_say_what_was_expected_and_where() {
    for (payload, message) in [
        ("", "expected an object at byte 0: the value is empty"),
        (" [0.1,2]", "expected an object at byte 1: it is an array; give it a name, as in {\"features\":[…]}"),
        (r#"{"age":1 "id":2}"#, "expected `,` or `}` at byte 9"),
        (r#"{"age":1,}"#, "expected a name in quotes at byte 9: JSON has no comma before a closing bracket"),
        (r#"{"age" 1}"#, "expected `:` at byte 7"),
        (r#"{"age":}"#, "expected a value at byte 7"),
        (r#"{"age":-}"#, "expected a digit at byte 8"),
        (
            r#"{"id":[1"#,
            "expected `,` or `]` at byte 8: the value ends here; it was cut off, or it is a line of a pretty-printed file \
             (jq -c writes one record a line)",
        ),
        (r#"{"id":1e999}"#, "expected a number within the range of an f64 at byte 6"),
        (r#"{"id":"\ud800"}"#, "expected a pair of surrogates at byte 7"),
        (
            "{} {}",
            "expected the end of the record at byte 3: there is more than one record; send each as a value of its own",
        ),
    ] {
        let rejection = decode(payload).unwrap_err();
        assert_eq!(rejection, Rejection::new(Reason::Malformed, message), "{payload}");
    }
    let rejection = decode(b"{\"id\":\"abc\xff\"}").unwrap_err();
    assert_eq!(rejection, Rejection::new(Reason::Malformed, "expected UTF-8 at byte 10"));
}

#[test]
fn a_record_by_name_at_the_top_level() {
    let row = [42.5, 1.0, -0.0];
    assert_eq!(decode(r#"{"id":"x","age":42.5,"carrier":"7","é":-0.0}"#), bits(row));
    assert_eq!(decode("{\"\\u00e9\" : -0 ,\n\"carrier\" : \"\\u0037\" , \"\\u0061ge\" : 425e-1}"), bits(row));
    assert_eq!(decode(r#"{"é":null,"unknown":{"age":1},"carrier":"AA"}"#), bits([MISSING, 0.0, MISSING]));
    assert_eq!(decode("{}"), bits([MISSING; 3]));
}

#[test]
fn a_record_by_position() {
    assert_eq!(decode(r#"{"id":"x","features":[1,"AA",3]}"#), bits([1.0, 0.0, 3.0]));
    assert_eq!(decode(r#"{"age":9,"features":[1,null,3],"é":9}"#), bits([1.0, MISSING, 3.0]));
    assert_eq!(decode(r#"{"age":9,"features":"of another kind"}"#), bits([9.0, MISSING, MISSING]));
    for (values, count) in [("", 0), ("1,\"AA\"", 2), ("1,\"AA\",3,[4]", 4)] {
        let rejection = decode(format!(r#"{{"features":[{values}]}}"#)).unwrap_err();
        let message = format!("the array of features has {count} values, the model takes 3");
        assert_eq!(rejection, Rejection::new(Reason::WrongLength, message));
    }
    let rejection = decode(r#"{"features":[1],"#).unwrap_err();
    assert_eq!(rejection.reason, Reason::Malformed, "the grammar comes first");
}

#[test]
fn a_feature_called_features_is_that_feature() {
    let signature = signature(vec![numeric("features"), numeric("age")]);
    let mut decoder = Decoder::new(&signature, &DecodeOptions::default());
    let mut row = [0.0; 2];
    decoder.decode(br#"{"features":5,"age":6}"#, &mut row, &mut []).unwrap();
    assert_eq!(row, [5.0, 6.0]);
    decoder.decode(br#"{"features":[5,6],"age":6}"#, &mut row, &mut []).unwrap();
    assert_eq!(row.map(Gap::of), [Some(Gap::Array), None]);
}

#[test]
fn features_under_a_path() {
    let at = |payload: &str| decode_at("payload.features", payload);
    assert_eq!(at(r#"{"age":9,"payload":{"age":9,"features":{"age":1}}}"#), bits([1.0, MISSING, MISSING]));
    assert_eq!(at(r#"{"payload":{"features":[1,"AA",3]}}"#), bits([1.0, 0.0, 3.0]));
    for absent in ["{}", r#"{"payload":null}"#, r#"{"payload":{}}"#, r#"{"payload":{"features":null}}"#] {
        assert_eq!(at(absent), bits([MISSING; 3]), "{absent}");
    }
    for (payload, message) in [
        (r#"{"payload":5}"#, r#""payload": expected an object, found a number"#),
        (r#"{"payload":[]}"#, r#""payload": expected an object, found an array"#),
        (r#"{"payload":{"features":"x"}}"#, r#""payload.features": expected an object or an array, found a string"#),
    ] {
        assert_eq!(at(payload), Err(Rejection::new(Reason::WrongType, message)));
    }
    assert_eq!(at(r#"{"payload":{"features":[1]}}"#).unwrap_err().reason, Reason::WrongLength);
}

#[test]
fn what_comes_last_counts() {
    assert_eq!(decode(r#"{"age":1,"age":"x","age":2}"#), bits([2.0, MISSING, MISSING]));
    assert_eq!(decode(r#"{"age":1,"age":null}"#), bits([MISSING; 3]));
    assert_eq!(decode(r#"{"features":[1],"features":[1,"AA",3]}"#), bits([1.0, 0.0, 3.0]));
    assert_eq!(decode(r#"{"age":5,"features":[1,"AA",3],"features":0}"#), bits([5.0, MISSING, MISSING]));
    assert_eq!(decode(r#"{"features":[1],"age":5,"features":0}"#), bits([5.0, MISSING, MISSING]));
    let at = |payload: &str| decode_at("payload", payload);
    assert_eq!(at(r#"{"payload":{"age":1},"payload":{"é":2}}"#), bits([MISSING, MISSING, 2.0]));
    assert_eq!(at(r#"{"payload":[1],"payload":{"é":2}}"#), bits([MISSING, MISSING, 2.0]));
    assert_eq!(at(r#"{"payload":[1,"AA",3],"payload":null}"#), bits([MISSING; 3]));
    assert_eq!(at(r#"{"payload":{"age":1},"payload":1}"#).unwrap_err().reason, Reason::WrongType);
    let (_, copied) = decode_with(&mut Decoder::new(&sample(), &options("")), br#"{"id":1,"id":"2"}"#).unwrap();
    assert_eq!(copied[0], b"\"2\"");
}

#[test]
fn every_kind_of_value_has_its_place() {
    let value = |json: &str, feature: usize, numeric_strings: bool| {
        let mut decoder = Decoder::new(&sample(), &DecodeOptions { numeric_strings, ..options("") });
        let name = ["age", "carrier"][feature];
        let (row, _) = decode_with(&mut decoder, format!("{{{name:?}:{json}}}").as_bytes()).unwrap();
        f64::from_bits(row[feature])
    };
    for (json, gap) in [
        ("null", Gap::Missing),
        ("\"1\"", Gap::String),
        ("[1]", Gap::Array),
        ("{\"age\":1}", Gap::Object),
        ("1e999", Gap::NotFinite),
        ("-1e999", Gap::NotFinite),
    ] {
        assert_eq!(Gap::of(value(json, 0, false)), Some(gap), "{json}");
    }
    assert_eq!([value("true", 0, false), value("false", 0, false)], [1.0, 0.0]);
    assert_eq!([value("\"12.5\"", 0, true), value("\"-1\\u0065\\u0031\"", 0, true)], [12.5, -10.0]);
    for (json, gap) in [
        ("\"\"", Gap::Missing),
        ("\" 1\"", Gap::String),
        ("\"1 \"", Gap::String),
        ("\"01\"", Gap::String),
        ("\"+1\"", Gap::String),
        ("\"nano\"", Gap::String),
        ("\"NaN\"", Gap::NotFinite),
        ("\"inf\"", Gap::NotFinite),
        ("\"-Infinity\"", Gap::NotFinite),
        ("\"1e999\"", Gap::NotFinite),
    ] {
        assert_eq!(Gap::of(value(json, 0, true)), Some(gap), "{json}");
    }
    assert_eq!([value("7", 1, false), value("true", 1, false), value("\"\"", 1, false)], [1.0, 2.0, 4.0]);
    assert_eq!(value("\"\\u00e9\\\"x\"", 1, false), 3.0);
    for (json, gap) in [
        ("null", Gap::Missing),
        ("\"aa\"", Gap::Unknown),
        ("7.5", Gap::Unknown),
        ("1e999", Gap::Unknown),
        ("false", Gap::Boolean),
        ("[\"AA\"]", Gap::Array),
        ("{}", Gap::Object),
    ] {
        assert_eq!(Gap::of(value(json, 1, false)), Some(gap), "{json}");
    }
}

#[test]
fn a_number_is_a_category_that_is_the_same_number() {
    let categories = strings(&["3", "2.50", "-0", "1e2", "9007199254740993", "x", "03", "3.0"]);
    let feature = Feature {
        name: "level".into(),
        kind: Kind::Categorical { categories, unknown: Unknown::Reject },
        missing: Missing::Reject,
    };
    let mut decoder = Decoder::new(&signature(vec![feature]), &DecodeOptions::default());
    let mut index = |json: &str| {
        let mut row = [0.0];
        decoder.decode(format!("{{\"level\":{json}}}").as_bytes(), &mut row, &mut []).unwrap();
        if row[0].is_nan() { None } else { Some(row[0]) }
    };
    for (json, expected) in [
        ("3", Some(0.0)),
        ("3.00", Some(0.0)),
        ("30e-1", Some(0.0)),
        ("3.0", Some(7.0)),
        ("\"3.00\"", Some(0.0)),
        ("\"2.5\"", Some(1.0)),
        ("\"x \"", Some(5.0)),
        ("2.5", Some(1.0)),
        ("0", Some(2.0)),
        ("-0.0", Some(2.0)),
        ("100", Some(3.0)),
        ("9007199254740993", Some(4.0)),
        // The same f64, but another number.
        ("9007199254740992", None),
        ("4", None),
    ] {
        assert_eq!(index(json), expected, "{json}");
    }
}

#[test]
fn features_may_nest_as_deep_as_serde_json_lets_them() {
    for depth in 125..130 {
        let payload = format!("{{\"age\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        match serde(payload.as_bytes()) {
            Ok(_) => assert_eq!(decode(payload), bits([Gap::Array.value(), MISSING, MISSING])),
            Err(_) => assert_eq!(decode(payload).unwrap_err().reason, Reason::Malformed),
        }
    }
}

#[test]
fn what_is_malformed_does_not_depend_on_the_order_of_members() {
    for payload in [r#"{"age":1e999,"features":[1,"AA",3]}"#, r#"{"features":[1,"AA",3],"age":1e999}"#] {
        assert_eq!(decode(payload), bits([1.0, 0.0, 3.0]), "{payload}");
    }
}

#[test]
fn fields_are_copied_byte_for_byte() {
    let mut decoder = Decoder::new(&sample(), &options("payload"));
    let payload = br#" { "payload" : {"age": 1.50, "x": [ 1 ,2 ]} , "id":"\u00e9\/" ,"age": -0.10e+01 }"#;
    let (row, copied) = decode_with(&mut decoder, payload).unwrap();
    assert_eq!(row[0], 1.5_f64.to_bits());
    assert_eq!(copied, [&br#""\u00e9\/""#[..], b"-0.10e+01", br#"{"age": 1.50, "x": [ 1 ,2 ]}"#]);
    let (_, copied) = decode_with(&mut decoder, b"{}").unwrap();
    assert_eq!(copied, [b"", b"", b""], "nothing is left of the record before");
}

#[test]
fn what_is_no_record_is_called_by_its_name() {
    for (payload, what) in [
        (&b"\x1f\x8b\x08\x00\x00"[..], "it is compressed by gzip; let the producer compress"),
        (b"\x28\xb5\x2f\xfd\x04", "compressed by Zstandard"),
        (b"\x82SNAPPY\x00", "compressed by Snappy"),
        (b"\x04\x22\x4d\x18d", "compressed by LZ4"),
        (b"\xff\xfe{\0\"\0", "it is UTF-16"),
        (b"\xfe\xff\0{", "it is UTF-16"),
        (b"{\0\"\0a\0\"\0", "it is UTF-16"),
        (b"\0{\0\"\0a\0", "it is UTF-16"),
        (b"\0", "it is UTF-16"),
        (b"\0\0\0\x01\x07{\"age\":1}", "the five bytes of a schema registry (schema 263)"),
        (b"Obj\x01\x04\x14avro.codec", "it is an Avro file"),
        (b"\xc3\x01\x8f\x5c\x39\x3f\x1a\xd5\x75\x72\x06", "it may be Avro"),
        (b"PAR1\x15", "it is a Parquet file"),
        (b"<a>1</a>", "it may be XML"),
        (b"[{\"age\":1},{\"age\":2}]", "it is an array of records; send each as a value of its own"),
        (b" [ {\"age\":1} ]", "it is an array of records"),
        (b"[1,2]", "it is an array; give it a name"),
        (b"\"{\\\"age\\\":1}\"", "it is a string with JSON in it; it was encoded twice"),
        (b"\"abc\"", "it is a string"),
        (b"null", "it is null; send a tombstone, or a record"),
        (b"1,2,3", "it is a number, or CSV, which input.format = \"csv\" reads"),
        (b"\x81\xa3age\x07", "it may be MessagePack, which input.format = \"msgpack\" reads"),
        (b"\xde\0\x01\xa3age\x07", "it may be MessagePack"),
        (b" \n", "the value is empty"),
        (b"\xef\xbb\xbf", "the value is empty"),
        (b"\xef\xbb\xbf[{}]", "it is an array of records"),
        // The lines of a pretty-printed file, one by one.
        (b"{", "a line of a pretty-printed file (jq -c writes one record a line)"),
        (b"  \"age\": 1,", "a line of a pretty-printed file"),
        (b"},", "a line of a pretty-printed file"),
        (b"[", "a line of a pretty-printed file"),
        (b"{\"age\":1},", "it is a line of an array of records"),
        (b"{\"age\":1}]", "it is a line of an array of records"),
        // What other languages write.
        (b"{\"age\":1}\0", "it has a NUL byte"),
        (b"{\"age\":1,\0\"x\":1}", "it has a NUL byte"),
        (b"{\"age\":1,}", "no comma before a closing bracket"),
        (b"{\"other\":[1,]}", "no comma before a closing bracket"),
        (b"{\"age\":1, // years\"", "JSON has no comments"),
        (b"# age", "it is a comment"),
        (b"{\"age\":undefined}", "null, true and false, in lower case"),
        (b"{\"age\":NULL}", "null, true and false, in lower case"),
        (b"{age:1}", "JSON has names in double quotes"),
        (b"{\"carrier\":AA}", "JSON has texts in double quotes"),
        ("{\u{201c}age\u{201d}:1}".as_bytes(), "JSON has straight quotes only"),
        (b"{\"age\":+1}", "a JSON number starts with a digit or a minus sign"),
        (b"{\"age\":.5}", "a JSON number starts with a digit or a minus sign"),
        (b"eyJhZ2UiOjF9", "it is JSON in base64"),
        (b"\x0a\x03age", "it is binary"),
        (b"\x08\x01\x12\x03age", "it is binary"),
        (b"\x78\x9c\xab\x56", "it is compressed by zlib"),
        (b"BZh91AY&SY", "it is compressed by bzip2"),
        (b"\x1e{\"age\":1}", "it starts with a record separator"),
        // What Python writes.
        (
            b"{\"age\":NaN}",
            "NaN isn't JSON, though Python's json writes it; write null, or set input.nan = \"missing\"",
        ),
        (b"{\"other\":[NaN]}", "NaN isn't JSON"),
        (b"{\"age\":Infinity}", "Infinity isn't JSON"),
        (b"{\"age\":-Infinity}", "Infinity isn't JSON"),
        (b"{\"other\":-Infinity}", "Infinity isn't JSON"),
        (b"{\"age\":nan}", "JSON has only finite numbers"),
        (b"{'age': 1}", "the text of a Python dict"),
        (b"{\"age\": None}", "the text of a Python dict"),
        (b"{\"age\":1}{\"age\":2}", "there is more than one record"),
    ] {
        let rejection = decode(payload).unwrap_err();
        assert_eq!(rejection.reason, Reason::Malformed);
        assert!(rejection.message.contains(what), "{}: {rejection}", payload.escape_ascii());
    }
}

#[test]
fn a_byte_order_mark_before_a_record_is_skipped() {
    let mark = |text: &str| format!("\u{feff}{text}");
    let mut decoder = Decoder::new(&sample(), &options(""));
    let (row, copied) = decode_with(&mut decoder, mark(r#" {"id":"x","age":42.5,"carrier":"7"}"#).as_bytes()).unwrap();
    assert_eq!((f64::from_bits(row[0]), copied[0].as_slice()), (42.5, &b"\"x\""[..]));
    assert_eq!(decode(mark(r#"{"features":[1,"AA",3]}"#)), bits([1.0, 0.0, 3.0]));
    for wrong in [mark(&mark("{}")), format!(" {}", mark("{}")), format!("{{{}}}", mark(""))] {
        assert_eq!(decode(&wrong).unwrap_err().reason, Reason::Malformed, "{wrong:?}");
    }
}

#[test]
fn an_empty_string_is_missing_unless_a_category_is_called_so() {
    let category = |categories: &[&str]| Feature {
        kind: Kind::Categorical { categories: strings(categories), unknown: Unknown::Zeros },
        ..categorical("port")
    };
    let value = |feature: Feature, json: &str| {
        let mut decoder = Decoder::new(&signature(vec![feature]), &DecodeOptions::default());
        let mut row = [0.0];
        decoder.decode(format!("{{\"port\":{json}}}").as_bytes(), &mut row, &mut []).unwrap();
        Gap::of(row[0]).ok_or(row[0])
    };
    // In a long record as at the end of a short one: these are read in two ways.
    for behind in ["", ",\"a long name\":\"and a long value\""] {
        let empty = format!("\"\"{behind}");
        assert_eq!(value(category(&["A", "B"]), &empty), Ok(Gap::Missing));
        assert_eq!(value(category(&["A", "B"]), &format!("\" \"{behind}")), Ok(Gap::Missing));
        assert_eq!(value(category(&["A", "B"]), &format!("\"B\"{behind}")), Err(1.0));
        assert_eq!(value(category(&["A", ""]), &empty), Err(1.0));
        assert_eq!(value(numeric("port"), &empty), Ok(Gap::Missing));
        assert_eq!(value(numeric("port"), &format!("\" \"{behind}")), Ok(Gap::Missing));
    }
}

#[test]
fn nan_is_missing_where_that_is_asked_for() {
    let decoder = |numeric_strings| {
        Decoder::new(&sample(), &DecodeOptions { nan: NanPolicy::Missing, numeric_strings, ..options("") })
    };
    let gaps = |payload: &str, numeric_strings| {
        let (row, _) = decode_with(&mut decoder(numeric_strings), payload.as_bytes()).unwrap();
        row.into_iter().map(|bits| Gap::of(f64::from_bits(bits))).collect::<Vec<_>>()
    };
    let (missing, not_finite) = (Some(Gap::Missing), Some(Gap::NotFinite));
    assert_eq!(gaps(r#"{"age":NaN,"carrier":NaN,"é":1}"#, false), [missing, missing, None]);
    assert_eq!(gaps(r#"{"age":Infinity,"carrier":-Infinity,"é":-Infinity}"#, false), [not_finite; 3]);
    assert_eq!(
        gaps(r#"{"features":[NaN,"AA",-Infinity],"other":{"a":[NaN,-Infinity,Infinity]}}"#, false),
        [missing, None, not_finite]
    );
    assert_eq!(gaps(r#"{"age":"NaN","carrier":"AA","é":"-inf"}"#, true), [missing, None, not_finite]);
    let copied = |payload: &str| decode_with(&mut decoder(false), payload.as_bytes()).unwrap().1;
    assert_eq!(copied(r#"{"id":NaN,"age":2,"payload":{"x":[-Infinity]}}"#), [&b""[..], b"2", b""]);
    for wrong in [
        "{\"age\":NaNa}",
        "{\"age\":+Infinity}",
        "{\"age\":1.Infinity}",
        "{\"age\":1e-Infinity}",
        "{\"x\":1-Infinity}",
        "{\"age\":nan}",
        "NaN",
    ] {
        let rejection = decode_with(&mut decoder(false), wrong.as_bytes()).unwrap_err();
        assert_eq!(rejection.reason, Reason::Malformed, "{wrong}");
    }
}

#[test]
fn fields_are_copied_by_dotted_path_too() {
    let fields = ["id", "payload.tail", "payload", "payload.deep.er", "payload.features.age", "age.unit", "a.b"];
    let copied = |path: &str, payload: &str| {
        let options = DecodeOptions { features: path.into(), fields: strings(&fields), ..DecodeOptions::default() };
        let mut decoder = Decoder::new(&sample(), &options);
        let mut values = [FieldValue::Absent; 7];
        for _ in 0..2 {
            decoder.decode(payload.as_bytes(), &mut [0.0; 3], &mut values).unwrap();
        }
        values.map(|value| String::from_utf8(value.json_in(payload.as_bytes()).to_vec()).unwrap())
    };
    let inner = r#"{"x":1,"tail":"N1","features":{"age":7},"deep":{"er":[2]}}"#;
    let payload = format!(r#"{{"id":1,"payload":{inner},"age":{{"unit":"y"}}}}"#);
    let expected = ["1", "\"N1\"", inner, "[2]", "7", "\"y\"", ""];
    for path in ["", "payload", "payload.features", "payload.deep"] {
        assert_eq!(copied(path, &payload), expected, "{path}");
    }
    // What comes last counts, and a path through something else leads nowhere.
    for path in ["", "payload"] {
        let twice = r#"{"payload":{"tail":1,"deep":{"er":2}},"payload":{"deep":{"er":3},"deep":4}}"#;
        assert_eq!(copied(path, twice), ["", "", r#"{"deep":{"er":3},"deep":4}"#, "", "", "", ""], "{path}");
        assert_eq!(copied(path, r#"{"payload":null}"#), ["", "", "null", "", "", "", ""], "{path}");
    }
    assert_eq!(copied("", r#"{"a.b":5}"#)[6], "5", "a member may have a dot in its name");
    assert_eq!(copied("", r#"{"a":{"b":6}}"#)[6], "6");
}

/// What the documentation of the decoder says, on a parsed record.
fn model_row(record: &Value, options: &DecodeOptions) -> Result<Vec<u64>, Reason> {
    let features = sample().features;
    let mut found = Some(record);
    let mut positional = record.get("features").filter(|value| options.features.is_empty() && value.is_array());
    if !options.features.is_empty() {
        for step in options.features.split('.') {
            match found {
                Some(Value::Object(object)) => found = object.get(step),
                None | Some(Value::Null) => found = None,
                Some(_) => return Err(Reason::WrongType),
            }
        }
        match found {
            Some(value @ Value::Array(_)) => positional = Some(value),
            None | Some(Value::Null) => found = None,
            Some(Value::Object(_)) => {}
            Some(_) => return Err(Reason::WrongType),
        }
    }
    let positional = positional.and_then(Value::as_array);
    if positional.is_some_and(|values| values.len() != features.len()) {
        return Err(Reason::WrongLength);
    }
    let value_of = |(index, feature): (usize, &Feature)| {
        let value = match positional {
            Some(values) => Some(&values[index]),
            None => found.and_then(|object| object.get(&feature.name)),
        };
        model_value(value.unwrap_or(&Value::Null), &feature.kind, options.numeric_strings).to_bits()
    };
    Ok(features.iter().enumerate().map(value_of).collect())
}

fn model_value(value: &Value, kind: &Kind, numeric_strings: bool) -> f64 {
    let index = |text: &str| CATEGORIES.iter().position(|category| *category == text).map(|index| index as f64);
    match (value, kind) {
        (Value::Null, _) => Gap::Missing.value(),
        (Value::Array(_), _) => Gap::Array.value(),
        (Value::Object(_), _) => Gap::Object.value(),
        (_, Kind::Time) => unreachable!("the sample has no times"),
        (Value::Bool(value), Kind::Numeric) => f64::from(u8::from(*value)),
        (Value::Number(number), Kind::Numeric) => number.as_f64().unwrap(),
        (Value::String(text), Kind::Numeric) if numeric_strings && !text.is_empty() => {
            let spelt = ["nan", "inf", "infinity"].contains(&text.to_lowercase().trim_start_matches(['-', '+']));
            match serde(text.as_bytes()) {
                // serde_json lets whitespace stand around a number.
                Ok(Value::Number(number)) if text.trim() == text => number.as_f64().unwrap(),
                Err(error) if error.to_string().contains("out of range") => Gap::NotFinite.value(),
                _ if spelt => Gap::NotFinite.value(),
                _ => Gap::String.value(),
            }
        }
        (Value::String(text), Kind::Numeric) if text.is_empty() => Gap::Missing.value(),
        (Value::String(_), Kind::Numeric) => Gap::String.value(),
        (Value::String(text), Kind::Categorical { .. }) => {
            let number = texts::number(text).filter(|number| number.abs() < 2_f64.powi(53));
            let same = |category: &&str| number.is_some() && texts::number(category) == number;
            let same = || CATEGORIES.iter().position(same).map(|index| index as f64);
            let trimmed = || CATEGORIES.iter().position(|category| category.trim() == text.trim()).map(|at| at as f64);
            let unknown = if texts::is_missing(text) { Gap::Missing } else { Gap::Unknown };
            index(text).or_else(trimmed).or_else(same).unwrap_or(unknown.value())
        }
        (Value::Number(number), Kind::Categorical { .. }) => {
            let same =
                |category: &&str| category.parse::<f64>().is_ok_and(|category| number.as_f64() == Some(category));
            let same = || CATEGORIES.iter().position(same).map(|index| index as f64);
            index(&number.to_string()).or_else(same).unwrap_or(Gap::Unknown.value())
        }
        (Value::Bool(value), Kind::Categorical { .. }) => index(&value.to_string()).unwrap_or(Gap::Boolean.value()),
    }
}

/// Decodes like the model says, whatever the payload is.
fn assert_record(decoder: &mut Decoder, options: &DecodeOptions, payload: &[u8]) {
    let decoded = decode_with(decoder, payload);
    let shown = || payload.escape_ascii().to_string();
    // serde_json doesn't skip a byte order mark, weir does.
    let record = match serde(payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload)) {
        Ok(record) if record.is_object() => record,
        // A feature out of range is no grammatical mistake for the decoder.
        Err(error) if error.to_string().contains("out of range") => return,
        _ => return assert_eq!(decoded.unwrap_err().reason, Reason::Malformed, "{}", shown()),
    };
    match model_row(&record, options) {
        Err(reason) => assert_eq!(decoded.unwrap_err().reason, reason, "{}", shown()),
        Ok(row) => {
            let (decoded, copied) = decoded.unwrap();
            assert_eq!(decoded, row, "{}", shown());
            for (name, copy) in FIELDS.iter().zip(copied) {
                assert_eq!(record.get(name).cloned(), serde(&copy).ok(), "{name} of {}", shown());
                assert_eq!(copy.trim_ascii(), copy, "{name} of {}", shown());
            }
        }
    }
}

fn any_options() -> impl Strategy<Value = DecodeOptions> {
    let path = select(&["", "payload", "payload.features", "payload.payload.features"][..]);
    (path, any::<bool>()).prop_map(|(path, numeric_strings)| DecodeOptions { numeric_strings, ..options(path) })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn records_are_what_the_model_says(options in any_options(), records in vec(record(), 1..4)) {
        let mut decoder = Decoder::new(&sample(), &options);
        // Each record comes again after the others have left their order of members behind.
        for record in records.iter().chain(&records) {
            assert_record(&mut decoder, &options, record.as_bytes());
        }
    }

    #[test]
    fn whatever_comes_is_decoded_or_refused_as_the_model_says(
        options in any_options(),
        payload in prop_oneof![damaged_record(), bytes()],
    ) {
        assert_record(&mut Decoder::new(&sample(), &options), &options, &payload);
    }
}
