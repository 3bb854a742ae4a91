//! The decoder by example, and beside JSON: a record means the same in both.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{readable, record_length};
use crate::codec::testing::{bits, copying, decode, decoder, packed, signature};
use crate::codec::{DecodeOptions, Decoder, Format};
use crate::model::signature::Kind;
use crate::record::{Gap, Reason, Rejection};

fn options(path: &str) -> DecodeOptions {
    DecodeOptions { features: path.into(), ..copying(&["id", "payload.tail", "age"]) }
}

fn read(path: &str, payload: &[u8]) -> Result<(Vec<u64>, Vec<String>), Rejection> {
    decode(&mut decoder(Format::Msgpack, &options(path)), 3, payload)
}

#[test]
fn members_are_found_by_name_whatever_their_order() {
    let mut decoder = decoder(Format::Msgpack, &options(""));
    for _ in 0..2 {
        for record in [
            json!({"id": "a\"", "age": 30, "carrier": "AA", "speed": 1.5, "note": [1, {"x": 2}]}),
            json!({"speed": 1.5, "zzz": null, "carrier": "AA", "age": 30, "id": "a\""}),
        ] {
            let (row, copied) = decode(&mut decoder, 3, &packed(&record)).unwrap();
            assert_eq!(row, bits(&[30.0, 0.0, 1.5]), "{record}");
            assert_eq!(copied, [r#""a\"""#, "", "30"]);
        }
    }
}

#[test]
fn features_come_by_path_and_in_arrays() {
    let nested = json!({"id": 7, "payload": {"tail": {"n": [1, null]}, "age": 1, "carrier": 7, "speed": true}});
    let (row, copied) = read("payload", &packed(&nested)).unwrap();
    assert_eq!((row, copied), (bits(&[1.0, 1.0, 1.0]), vec!["7".into(), r#"{"n":[1,null]}"#.into(), String::new()]));
    assert_eq!(
        read("payload", &packed(&json!({"payload": [1, "AA", null]}))).unwrap().0,
        bits(&[1.0, 0.0, Gap::Missing.value()])
    );
    let (row, _) = read("", &packed(&json!({"age": 5, "features": [1, "AA", 2], "speed": 9}))).unwrap();
    assert_eq!(row, bits(&[1.0, 0.0, 2.0]), "an array outranks names");
    assert_eq!(read("payload", &packed(&json!({"payload": null}))).unwrap().0, bits(&[Gap::Missing.value(); 3]));
}

#[test]
fn what_is_no_record_is_rejected() {
    for (path, payload, reason) in [
        ("", &b""[..], Reason::Malformed),
        ("", b"{\"age\":1}", Reason::Malformed),
        ("", b"\x81\xa3age", Reason::Malformed),
        ("", b"\x80\x80", Reason::Malformed),
        ("", b"\xc1", Reason::Malformed),
        ("", b"\xdf\xff\xff\xff\xff", Reason::Malformed),
        ("", b"\x93\x01\x02\x03", Reason::Malformed),
        ("", b"\x81\xa8features\x91\x01", Reason::WrongLength),
        ("payload", b"\x81\xa7payload\x01", Reason::WrongType),
        ("", b"\x81\xa2id\xa1\xff", Reason::Malformed),
    ] {
        assert_eq!(read(path, payload).unwrap_err().reason, reason, "{payload:?}");
    }
    let deep: Vec<u8> = [&b"\x81\xa2id"[..], &[0x91; 1_000], b"\x01"].concat();
    assert!(read("", &deep).unwrap_err().message.contains("nested too deeply"));
    let skipped: Vec<u8> = [&b"\x81\xa1x"[..], &[0x91; 1_000_000], b"\x01"].concat();
    assert!(read("", &skipped).is_ok());
}

#[test]
fn bytes_extensions_and_short_numbers_have_their_place() {
    let payload =
        b"\x84\xa2id\xc4\x02hi\xa3age\xca\x3f\xc0\x00\x00\xa7carrier\xc4\x02AA\xa5speed\xd6\xff\x00\x00\x00\x00";
    let (row, copied) = read("", payload).unwrap();
    assert_eq!(row, bits(&[1.5, 0.0, Gap::Object.value()]));
    assert_eq!(copied, ["\"aGk=\"", "", "1.5"]);
    for (number, expected) in [
        (&b"\xcc\xff"[..], 255.0),
        (b"\xcd\x01\x00", 256.0),
        (b"\xce\x00\x01\x00\x00", 65_536.0),
        (b"\xd0\xff", -1.0),
        (b"\xd1\xff\x00", -256.0),
        (b"\xd2\xff\xff\xff\xff", -1.0),
        (b"\xe0", -32.0),
        (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", u64::MAX as f64),
    ] {
        let (row, _) = read("", &[&b"\x81\xa3age"[..], number].concat()).unwrap();
        assert_eq!(f64::from_bits(row[0]), expected);
    }
}

#[test]
fn a_timestamp_is_a_time_in_each_of_its_sizes() {
    let mut timed = signature();
    timed.features[0].kind = Kind::Time;
    let mut decoder = Decoder::new(Format::Msgpack, &timed, &options("")).unwrap();
    for (timestamp, expected) in [
        (&b"\xd6\xff\x65\x92\x06\x28"[..], 1_704_068_648.0),
        // Half a second: 500,000,000 in the upper 30 bits.
        (b"\xd7\xff\x77\x35\x94\x00\x65\x92\x06\x28", 1_704_068_648.5),
        (b"\xc7\x0c\xff\x1d\xcd\x65\x00\xff\xff\xff\xff\xff\xff\xff\xff", -0.5),
        (b"\xcf\x00\x00\x01\x8c\xc2\x51\xf4\x00", 1_704_067_200.0),
        (b"\xd6\x01\x65\x92\x06\x28", Gap::Object.value()),
        (b"\xc7\x03\xff\x65\x92\x06", Gap::Object.value()),
    ] {
        let (row, copied) = decode(&mut decoder, 3, &[&b"\x81\xa3age"[..], timestamp].concat()).unwrap();
        assert_eq!(row[0], expected.to_bits(), "{timestamp:x?}: {}", f64::from_bits(row[0]));
        assert!(timestamp[0] == 0xcf || copied[2] == "null", "{copied:?}");
    }
}

#[test]
fn a_member_that_comes_again_counts_as_it_came_last() {
    let record = [
        &b"\x83\xa7payload"[..],
        &packed(&json!({"age": 1, "speed": 2})),
        b"\xa7payload",
        &packed(&json!({"age": 3})),
        b"\xa2id",
        &packed(&json!(1)),
    ]
    .concat();
    assert_eq!(read("payload", &record).unwrap().0, bits(&[3.0, Gap::Missing.value(), Gap::Missing.value()]));
}

#[test]
fn a_record_is_shown_as_json() {
    let record = json!({"a": [1, -2.5, null, true], "b": {"c": "é"}});
    assert_eq!(readable(&packed(&record)).unwrap(), record.to_string());
    assert_eq!(readable(b"\x81\xa1a"), None);
    assert_eq!(readable(b"\x01\x01"), None);
}

#[test]
fn a_record_of_another_kind_is_described() {
    let decoder = decoder(Format::Msgpack, &options(""));
    assert_eq!(decoder.describe(&packed(&json!({"a": [1], "b": 2}))), "the record has \"a\", \"b\"");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-200..200_i64).prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |number| number.is_finite()).prop_map(Value::from),
        prop_oneof![Just("AA"), Just("7"), Just("true"), Just(""), Just(" "), Just("NA")].prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let name = prop_oneof![
            Just("age"),
            Just(" age"),
            Just("carrier"),
            Just("speed"),
            Just("payload"),
            Just("tail"),
            Just("id")
        ];
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((name.prop_map(String::from), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_record_means_what_it_means_in_json(
        members in vec(
            (prop_oneof![Just("age"), Just("carrier"), Just("carrier "), Just("speed"), Just("payload"), Just("id")], value()),
            0..6,
        ),
        path in prop_oneof![Just(""), Just("payload")],
    ) {
        let record: Value = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<serde_json::Map<_, _>>().into();
        let text = record.to_string();
        let expected = decode(&mut decoder(Format::Json, &options(path)), 3, text.as_bytes());
        let found = read(path, &packed(&record));
        match (expected, found) {
            (Ok((row, copied)), Ok((found, found_copied))) => {
                prop_assert_eq!(row, found, "{}", text);
                let parse = |json: &String| serde_json::from_str::<Value>(json).ok();
                let [copied, found_copied] = [copied, found_copied].map(|all| all.iter().map(parse).collect::<Vec<_>>());
                prop_assert_eq!(copied, found_copied, "{}", text);
            }
            (Err(expected), Err(found)) => prop_assert_eq!(expected.reason, found.reason),
            (expected, found) => prop_assert!(false, "{}: {:?}, {:?}", text, expected, found),
        }
    }

    #[test]
    fn any_bytes_become_a_row_or_a_rejection(payload in vec(any::<u8>(), 0..64), path in prop_oneof![Just(""), Just("payload")]) {
        let _ = read(path, &payload);
        let map = [&[0x81, 0xa3, b'a', b'g', b'e'][..], &payload].concat();
        let _ = read(path, &map);
        let _ = readable(&payload);
    }

    /// Beside the reference implementation, which takes 0xc1 for a nil.
    #[test]
    fn values_end_where_the_reference_implementation_ends_them(payload in vec(any::<u8>().prop_filter("never used", |&byte| byte != 0xc1), 0..32)) {
        let mut rest = payload.as_slice();
        let expected = rmpv::decode::read_value(&mut rest).ok().map(|_| payload.len() - rest.len());
        prop_assert_eq!(record_length(&payload), expected);
    }
}
