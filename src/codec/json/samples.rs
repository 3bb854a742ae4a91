//! JSON texts for the property tests: well-formed ones, damaged ones, and what serde_json says about them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

use super::quoted;

pub(super) fn serde(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(text)
}

/// A number's value as serde_json sees it; infinite where it says that it is out of range.
pub(super) fn reference(text: &str) -> f64 {
    match serde(text.as_bytes()) {
        Ok(value) => value.as_f64().unwrap(),
        Err(error) => {
            assert!(error.to_string().contains("out of range"), "{text}: {error}");
            f64::INFINITY
        }
    }
}

pub(super) fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        (-1000..1000_i32).prop_map(|n| n.to_string()),
        (-1e6..1e6).prop_map(|x: f64| format!("{x}")),
        (0.0..1.0).prop_map(|x: f64| format!("{x:.6}")),
        (any::<f64>(), 0..25_usize).prop_map(|(x, digits)| {
            let x = if x.is_finite() { x } else { 1.5 };
            format!("{x:.digits$e}")
        }),
        ("-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?", "([eE][+-]?[0-9]{1,2})?").prop_map(|(a, b)| a + &b),
    ]
}

/// A string as JSON, with some characters escaped that needn't be.
fn rendered(text: &str, escapes: &[bool]) -> String {
    let mut json = String::from("\"");
    for (index, character) in text.chars().enumerate() {
        if escapes.get(index) == Some(&true) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                json.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            let quoted = quoted(&character.to_string());
            json.push_str(&quoted[1..quoted.len() - 1]);
        }
    }
    json + "\""
}

fn string() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        select(&["AA", "7", "true", "é\"x"][..]).prop_map(String::from),
        select(&["12.5", "1e999", "-7", "nan", "-Infinity", "+1", " 1", "1 ", "0x1", ""][..]).prop_map(String::from),
        any::<String>(),
    ];
    (text, vec(any::<bool>(), 0..20)).prop_map(|(text, escapes)| rendered(&text, &escapes))
}

fn key() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        8 => select(&["age", "carrier", "é", "features", "payload", "id"][..]).prop_map(String::from),
        1 => any::<String>(),
    ];
    (name, vec(prop::bool::weighted(0.1), 0..8)).prop_map(|(name, escapes)| rendered(&name, &escapes))
}

fn space() -> impl Strategy<Value = &'static str> {
    select(&["", "", "", " ", "\n", "\t\r "][..])
}

/// A JSON value whose numbers are all within range.
pub(super) fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        3 => number().prop_filter("in range", |text| reference(text).is_finite()),
        1 => select(&["null", "true", "false", "7", "7.0"][..]).prop_map(String::from),
        2 => string(),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| prop_oneof![array(inner.clone()), object(inner)])
}

fn array(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let item = (space(), inner, space()).prop_map(|(a, value, b)| format!("{a}{value}{b}"));
    vec(item, 0..5).prop_map(|items| format!("[{}]", items.join(",")))
}

fn object(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let member = (space(), key(), space(), space(), inner, space())
        .prop_map(|(a, key, b, c, value, d)| format!("{a}{key}{b}:{c}{value}{d}"));
    vec(member, 0..7).prop_map(|members| format!("{{{}}}", members.join(",")))
}

pub(super) fn record() -> impl Strategy<Value = String> {
    (space(), object(value()), space()).prop_map(|(a, object, b)| format!("{a}{object}{b}"))
}

#[derive(Clone, Debug)]
enum Damage {
    Truncate,
    Replace(u8),
    Insert(u8),
    Remove,
}

/// A record with up to three bytes wrong.
pub(super) fn damaged_record() -> impl Strategy<Value = Vec<u8>> {
    let byte = || prop_oneof![any::<u8>(), select(&b"{}[]\",:\\0123456789.eE+-u \n"[..])];
    let damage = prop_oneof![
        Just(Damage::Truncate),
        byte().prop_map(Damage::Replace),
        byte().prop_map(Damage::Insert),
        Just(Damage::Remove)
    ];
    (record(), vec((any::<Index>(), damage), 1..4)).prop_map(|(record, damages)| {
        let mut bytes = record.into_bytes();
        for (place, damage) in damages {
            if bytes.is_empty() {
                break;
            }
            let place = place.index(bytes.len());
            match damage {
                Damage::Truncate => bytes.truncate(place),
                Damage::Replace(byte) => bytes[place] = byte,
                Damage::Insert(byte) => bytes.insert(place, byte),
                Damage::Remove => drop(bytes.remove(place)),
            }
        }
        bytes
    })
}

/// Bytes that are JSON by accident only.
pub(super) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    #[rustfmt::skip]
    let tokens: &[&[u8]] = &[
        b"{", b"}", b"[", b"]", b",", b":", b"\"", b"\\", b"\\u", b"\\ud83d", b"\\ude00", b"00e9", b"null", b"true", b"false",
        b"0", b"1", b"12345678", b".", b"e", b"E", b"-", b"+", b" ", b"\n", b"\x01", b"\xc3\xa9", b"\xff", b"\"age\":", b"\"id\":",
        b"{\"age\":1", b"\"payload\":{", b"\"features\":[",
        b"NaN", b"Infinity", b"\xef\xbb\xbf", b"'", b"\"\"",
    ];
    prop_oneof![vec(any::<u8>(), 0..64), vec(select(tokens), 0..12).prop_map(|tokens| tokens.concat())]
}
