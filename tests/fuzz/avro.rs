//! Avro: records of a schema that has everything, and schemas themselves.

use weir::codec::{DecodeOptions, Decoder, FieldValue, Format};

use super::driver::{TEXT, Target, fuzz};
use super::models;
use super::records::score;

/// One that refers to itself, and has values without bytes.
const SCHEMA: &str = r#"{"type": "record", "name": "R", "fields": [
    {"name": "id", "type": "string"},
    {"name": "x", "type": ["null", "double", "long", "string"]},
    {"name": "y", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    {"name": "colour", "type": {"type": "enum", "name": "Colour", "symbols": ["red", "blue"]}},
    {"name": "payload", "type": {"type": "map", "values": ["null", "int", {"type": "array", "items": "null"}]}},
    {"name": "more", "type": {"type": "array", "items": "R"}}]}"#;

/// `id` a, `x` 1.5, `y` 12.50, `colour` red, `payload` {"k": 7}, `more` [].
const RECORD: &[u8] = b"\x02a\x02\0\0\0\0\0\0\xf8\x3f\x04\x04\xe2\0\x02\x02k\x02\x0e\0\0";

/// The same, with such a record in `more`.
const NESTED: &[u8] = b"\x02a\x04\x0e\0\x02\0\x02\x02a\0\0\0\0\0\0";

/// Numbers and lengths as they shouldn't be, and blocks with their sizes.
const WORDS: &[&[u8]] = &[
    b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xfe\xff\xff\xff\x0f",
    b"\x01\x02",
    b"\x03\x00",
    b"\x02\x04\xfe\xff\xff\x0f\0\0",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xc3\x01",
    RECORD,
];

fn options(schema: &str) -> DecodeOptions {
    let fields = ["id", "payload", "more", "y"].map(String::from).to_vec();
    DecodeOptions { schema: Some(schema.into()), fields, ..DecodeOptions::default() }
}

#[test]
fn any_bytes_become_one_prediction_or_one_rejection_as_avro() {
    score(Format::Avro, "score-avro", 80, options(SCHEMA), vec![RECORD.to_vec(), NESTED.to_vec()], WORDS);
}

/// Whatever the schema, it makes a decoder or an error, and the decoder takes any bytes.
#[test]
fn any_text_is_a_schema_or_an_error() {
    let words: &[&[u8]] = &[
        b"{\"type\":\"array\",\"items\":",
        b"{\"type\":\"fixed\",\"name\":\"F\",\"size\":18446744073709551615}",
        b"\"default\":{\"x\":[1]},",
        b"\"aliases\":[\"x\"],",
        b"\"logicalType\":\"decimal\",\"precision\":4294967296,\"scale\":4294967296",
        b"\"logicalType\":\"timestamp-nanos\"",
        b"[\"null\",\"R\"]",
        b"\"items\":\"R\"",
        b"\"long\"",
        b"\"name\":\"x\",",
    ];
    let words = [TEXT, words].concat();
    let model = models::classification();
    let mut run = |input: &[u8]| {
        let Ok(schema) = std::str::from_utf8(input) else { return Ok("no text".into()) };
        let options = DecodeOptions { reader_schema: Some(schema.into()), ..options(schema) };
        let mut decoder = match Decoder::new(Format::Avro, model.signature(), &options) {
            Ok(decoder) => decoder,
            Err(error) => return Ok(error.to_string()),
        };
        let (mut row, mut fields) = (vec![0.0; model.signature().features.len()], [FieldValue::Absent; 4]);
        let read = decoder.decode(RECORD, &mut row, &mut fields, &mut Vec::new());
        Ok(read.map_or_else(|rejection| rejection.to_string(), |()| "a row".into()))
    };
    let seeds = vec![SCHEMA.as_bytes().to_vec(), br#"{"type":"record","name":"R","fields":[]}"#.to_vec()];
    fuzz(Target { name: "avro_schema", share: 10, seeds, words: &words, run: &mut run });
}
