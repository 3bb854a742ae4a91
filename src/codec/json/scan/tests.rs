//! The grammar and the numbers against serde_json.

use proptest::prelude::*;

use super::{Cursor, Malformed};
use crate::codec::json::samples::{bytes, damaged_record, number, record, reference, serde};

/// What the scanner says about a whole text.
fn scan(text: &[u8]) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(text);
    cursor.whitespace();
    cursor.skip()?;
    cursor.end()
}

#[test]
fn the_corners_of_the_grammar_are_those_of_serde_json() {
    #[rustfmt::skip]
    let texts: &[&[u8]] = &[
        b"", b" ", b"{}", b"[]", b" { } ", b"{\"a\":1,}", b"[1,]", b"[,]", b"{,}", b"{\"a\"}", b"{\"a\":}", b"{a:1}",
        b"\xef\xbb\xbf{}", b"{}\xef\xbb\xbf", b"{} x", b"{}{}", b"{}\0", b"\0", b"1 2", b"nul", b"nullx", b"True",
        b"-", b"-0", b"00", b"01", b"-01", b"1.", b".5", b"1.e5", b"1e", b"1e+", b"1e-7", b"1E+07", b"+1", b"0x10",
        b"1e999", b"-1e999", b"0e999", b"[1e999]", b"1e-999", b"0e99999999999999999999", b"1e99999999999999999999",
        b"1e-99999999999999999999", b"NaN", b"Infinity", b"-Infinity", b"1_0",
        b"\"", b"\"\\", b"\"\\\"", b"\"\\x\"", b"\"\\u\"", b"\"\\u12\"", b"\"\\u12g4\"", b"\"\\u0000\"", b"\"\0\"",
        b"\"\x1f\"", b"\"\x7f\"", b"\"\n\"", b"\"\t\"", b"\"\\/\\b\\f\\n\\r\\t\"", b"\"\\uABCD\\uabcd\"",
        b"\"\\ud83d\\ude00\"", b"\"\\ud83d\"", b"\"\\ude00\"", b"\"\\ud83d\\n\"", b"\"\\ud83dx\"",
        b"\"\\ud83d\\ud83d\"", b"\"\\ud83d\\u0041\"", b"\"\\ud83d\\", b"\"\\ud83d\\u\"", b"\"\\uD83D\\uDE0\"",
        b"\"\xc3\xa9\"", b"\"\xc3\"", b"\"\xc3\\u00a9\"", b"\"\xff\"", b"\"\xed\xa0\x80\"", b"\"\xf4\x90\x80\x80\"",
        b"\"\xc0\x80\"", b"[\"12345678\xe2\x82\"]", b"{\"\xff\":1}", b"\xc2\xa0{}", b"'a'", b"/**/1", b"[1 2]", b"{1:2}",
        b"{\"a\" : 1 , \"a\" : 2}", b"{\"a\" 1}", b"[}", b"{]", b"]", b":", b",", b"\x0b1", b"\x0c1", b"\r\n\t 1",
    ];
    for text in texts {
        let (ours, theirs) = (scan(text), serde(text));
        assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?}: {ours:?}, {theirs:?}", text.escape_ascii().to_string());
    }
}

#[test]
fn nesting_is_refused_where_serde_json_refuses_it() {
    for (open, inner, close) in [("[", "", "]"), ("[", "1", "]"), ("{\"a\":", "[]", "}"), ("{\"a\":", "1", "}")] {
        for depth in 125..130 {
            let text = format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
            assert_eq!(scan(text.as_bytes()).is_ok(), serde(text.as_bytes()).is_ok(), "{open} {depth}");
        }
    }
    let siblings = format!("[{}1]", "[[]],{\"a\":{}},".repeat(1_000));
    assert_eq!(scan(siblings.as_bytes()), Ok(()));
    for bomb in ["[", "{\"a\":"] {
        assert!(scan(bomb.repeat(1_000_000).as_bytes()).is_err());
    }
}

fn assert_number(text: &str) {
    let mut cursor = Cursor::new(text.as_bytes());
    let number = cursor.number().unwrap();
    assert_eq!(cursor.position(), text.len(), "{text}");
    let expected = reference(text);
    let same = number.to_bits() == expected.to_bits() || (number.is_infinite() && expected.is_infinite());
    assert!(same, "{text}: {number:e}, not {expected:e}");
    assert_eq!(scan(text.as_bytes()).is_ok(), expected.is_finite(), "{text}");
}

#[test]
fn hard_numbers_are_rounded_correctly() {
    #[rustfmt::skip]
    let texts = [
        "0", "-0", "-0.0", "-0e5", "0e999", "7", "9007199254740992", "9007199254740993", "9007199254740995",
        "18446744073709551615", "18446744073709551616", "-9223372036854775808", "-9223372036854775809",
        "123456789012345678901234567890", "0.1", "0.123456", "1e22", "1e23", "9007199254740991e22", "1e-22", "1e-23",
        "2.2250738585072011e-308", "2.2250738585072014e-308", "5e-324", "2.4703282292062327e-324",
        "2.4703282292062328e-324", "1.7976931348623157e308", "1.7976931348623158e308", "1.7976931348623159e308",
        "1e308", "1e309", "-1e309", "0.000000000000000000000000000001", "1.00000000000000000000000000000000000001",
        "6929495644600919.5", "3.7455744005952583e15", "12345678", "123456789", "1234567.8", "0.12345678e8",
    ];
    for text in texts {
        assert_number(text);
        assert_number(&format!("-{}", text.trim_start_matches('-')));
    }
    let zeros = "0".repeat(700_000);
    assert_number(&format!("0.{zeros}1e700001"));
    assert_number(&format!("1{zeros}e-700000"));
    assert_number(&format!("1{zeros}"));
    assert_number(&format!("0.{zeros}"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_refused_where_serde_json_refuses_them(bytes in bytes()) {
        prop_assert_eq!(scan(&bytes).is_ok(), serde(&bytes).is_ok(), "{}", bytes.escape_ascii());
    }

    #[test]
    fn records_are_accepted(text in record()) {
        prop_assert_eq!(scan(text.as_bytes()), Ok(()), "{}", text);
    }

    #[test]
    fn damaged_records_are_refused_where_serde_json_refuses_them(bytes in damaged_record()) {
        prop_assert_eq!(scan(&bytes).is_ok(), serde(&bytes).is_ok(), "{}", bytes.escape_ascii());
    }

    #[test]
    fn numbers_are_those_of_serde_json(text in number()) {
        assert_number(&text);
    }

    #[test]
    fn numbers_of_many_digits_are_those_of_serde_json(text in "-?(0|[1-9][0-9]{0,6})\\.[0-9]{8,18}") {
        assert_number(&text);
    }

    #[test]
    fn numbers_near_the_limits_are_those_of_serde_json(text in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?[eE]-?[0-9]{1,3}") {
        assert_number(&text);
    }
}
