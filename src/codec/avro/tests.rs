//! The decoder by example, beside JSON over generated schemas and values that apache-avro has written, and beside
//! apache-avro's own resolution of schemas.

mod generated;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::json;

use super::{Decoder, FINGERPRINT};
use crate::codec::testing::{bits, copying, decode, signature};
use crate::codec::{CodecError, DecodeOptions, Decoder as AnyDecoder, FieldValue, Format, Framing};
use crate::model::signature::{Kind, Missing};
use crate::record::{Gap, Reason, Rejection};

fn options(schema: &str, fields: &[&str]) -> DecodeOptions {
    DecodeOptions { schema: Some(schema.into()), ..copying(fields) }
}

fn decoder(schema: &str, fields: &[&str]) -> AnyDecoder {
    AnyDecoder::new(Format::Avro, &signature(), &options(schema, fields)).unwrap()
}

fn write(schema: &str, value: Value) -> Vec<u8> {
    let schema = Schema::parse_str(schema).unwrap();
    GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()
}

fn record(fields: Vec<(&str, Value)>) -> Value {
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn some(branch: u32, value: Value) -> Value {
    Value::Union(branch, Box::new(value))
}

const FLIGHT: &str = r#"{"type": "record", "name": "Flight", "namespace": "org.flights", "fields": [
    {"name": "id", "type": "string"},
    {"name": "carrier", "type": {"type": "enum", "name": "Carrier", "symbols": ["AA", "BB"]}},
    {"name": "payload", "type": ["null", {"type": "record", "name": "Payload", "fields": [
        {"name": "age", "type": "int"},
        {"name": "other", "type": ["null", "Carrier"]}]}]},
    {"name": "more", "type": {"type": "array", "items": "Payload"}},
    {"name": "speed", "type": ["null", "double", "string"]}]}"#;

fn flight(payload: Value, speed: Value) -> Vec<u8> {
    let inner = record(vec![("age", Value::Int(1)), ("other", some(1, Value::Enum(1, "BB".into())))]);
    let fields = vec![
        ("id", Value::String("a\"".into())),
        ("carrier", Value::Enum(0, "AA".into())),
        ("payload", payload),
        ("more", Value::Array(vec![inner])),
        ("speed", speed),
    ];
    write(FLIGHT, record(fields))
}

/// The same schema, with the features by path and dotted names.
#[test]
fn features_are_found_by_name_and_by_dotted_path() {
    let mut dotted = signature();
    dotted.features[0].name = "payload.age".into();
    let options = options(FLIGHT, &["id", "payload.age", "carrier", "more"]);
    let mut decoder = AnyDecoder::new(Format::Avro, &dotted, &options).unwrap();
    let payload = || some(1, record(vec![("age", Value::Int(-7)), ("other", some(0, Value::Null))]));
    let (row, copied) = decode(&mut decoder, 4, &flight(payload(), some(1, Value::Double(2.5)))).unwrap();
    assert_eq!(row, bits(&[-7.0, 0.0, 2.5]));
    assert_eq!(copied, [r#""a\"""#, "-7", "\"AA\"", r#"[{"age":1,"other":"BB"}]"#]);
    let (row, copied) = decode(&mut decoder, 4, &flight(some(0, Value::Null), some(0, Value::Null))).unwrap();
    assert_eq!(row, bits(&[Gap::Missing.value(), 0.0, Gap::Missing.value()]));
    assert_eq!(copied[1], "");
    let text = flight(payload(), some(2, Value::String("1".into())));
    assert_eq!(decode(&mut decoder, 4, &text).unwrap().0[2], Gap::String.value().to_bits());
}

/// In the form of a schema's text, and a value's type.
#[test]
fn logical_types_are_numbers_and_texts() {
    let schema = |kind: &str| {
        format!(
            r#"{{"type": "record", "name": "R", "fields": [{{"name": "age", "type": {kind}}},
                {{"name": "carrier", "type": {kind}}}, {{"name": "speed", "type": "int"}}]}}"#
        )
    };
    let mut lenient = signature();
    lenient.features[0].missing = Missing::Constant { value: 0.0 };
    let missing = Gap::Missing.value();
    let (string, unknown) = (Gap::String.value(), Gap::Unknown.value());
    for (kind, bytes, number, category, copied) in [
        (
            r#"{"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}"#,
            &[4, 2, 0xbc][..],
            7.0,
            1.0,
            "7.00",
        ),
        (
            r#"{"type": "fixed", "name": "F", "size": 2, "logicalType": "decimal", "precision": 4, "scale": 1}"#,
            &[0, 75],
            7.5,
            unknown,
            "7.5",
        ),
        (r#"{"type": "int", "logicalType": "date"}"#, &[14], 7.0, 1.0, "7"),
        (r#"{"type": "long", "logicalType": "timestamp-micros"}"#, &[14], 7.0, 1.0, "7"),
        (r#"{"type": "int", "logicalType": "time-millis"}"#, &[13], -7.0, unknown, "-7"),
        (r#""float""#, &[0, 0, 0xe0, 0x40], 7.0, 1.0, "7.0"),
        (r#""boolean""#, &[1], 1.0, 2.0, "true"),
        (r#""null""#, &[], missing, missing, "null"),
        (r#""bytes""#, &[4, b'A', b'A'], string, 0.0, "\"QUE=\""),
        (r#"{"type": "fixed", "name": "F", "size": 2}"#, b"AA", string, 0.0, "\"QUE=\""),
        (
            r#"{"type": "map", "values": "int"}"#,
            &[2, 2, b'k', 14, 0],
            Gap::Object.value(),
            Gap::Object.value(),
            r#"{"k":7}"#,
        ),
        (r#"{"type": "array", "items": "int"}"#, &[1, 2, 14, 0], Gap::Array.value(), Gap::Array.value(), "[7]"),
        (
            r#"{"type": "fixed", "name": "F", "size": 16, "logicalType": "uuid"}"#,
            &[0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0],
            string,
            unknown,
            "\"123e4567-e89b-12d3-a456-426614174000\"",
        ),
    ] {
        // The second one refers to the first where it has a name.
        let second = if kind.contains("\"F\"") {
            schema(kind).replacen(kind, "%", 1).replace(kind, "\"F\"").replace('%', kind)
        } else {
            schema(kind)
        };
        let payload = [bytes, bytes, &[8]].concat();
        let mut decoder = AnyDecoder::new(Format::Avro, &lenient, &options(&second, &["age"])).unwrap();
        let (row, texts) = decode(&mut decoder, 1, &payload).unwrap();
        assert_eq!(row, bits(&[number, category, 4.0]), "{kind}");
        assert_eq!(texts, [copied], "{kind}");
    }
}

#[test]
fn dates_are_times_where_the_model_takes_times() {
    let mut timed = signature();
    timed.features[0].kind = Kind::Time;
    for (base, logical, value, seconds) in [
        ("int", "date", Value::Date(7), 604_800.0),
        ("long", "timestamp-millis", Value::TimestampMillis(1_500), 1.5),
        ("long", "local-timestamp-micros", Value::LocalTimestampMicros(-500_000), -0.5),
        ("long", "timestamp-nanos", Value::TimestampNanos(2_000_000_000), 2.0),
    ] {
        let schema = format!(
            r#"{{"type": "record", "name": "R", "fields": [
                {{"name": "age", "type": {{"type": "{base}", "logicalType": "{logical}"}}}}]}}"#
        );
        let mut decoder = AnyDecoder::new(Format::Avro, &timed, &options(&schema, &[])).unwrap();
        let (row, _) = decode(&mut decoder, 0, &write(&schema, record(vec![("age", value)]))).unwrap();
        assert_eq!(row[0], f64::to_bits(seconds), "{logical}");
    }
}

#[test]
fn arrays_and_maps_hold_features_too() {
    let at = |path: &str, schema: &str| {
        let options = DecodeOptions { features: path.into(), ..options(schema, &[]) };
        AnyDecoder::new(Format::Avro, &signature(), &options).unwrap()
    };
    let array = r#"{"type": "record", "name": "R", "fields": [
        {"name": "features", "type": {"type": "array", "items": ["null", "double", "string"]}}]}"#;
    // Two blocks, the first with its size: 1.0 and "AA", then null.
    let payload = [&[3, 26, 2, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 4, 4, b'A', b'A', 2, 0, 0][..]].concat();
    for path in ["", "features"] {
        let (row, _) = decode(&mut at(path, array), 0, &payload).unwrap();
        assert_eq!(row, bits(&[1.0, 0.0, Gap::Missing.value()]), "{path:?}");
        assert_eq!(decode(&mut at(path, array), 0, &[2, 0, 0]).unwrap_err().reason, Reason::WrongLength);
        assert_eq!(decode(&mut at(path, array), 0, &[8, 0, 0, 0, 0, 0]).unwrap_err().reason, Reason::WrongLength);
    }
    let map = r#"{"type": "record", "name": "R", "fields": [{"name": "m", "type": {"type": "map", "values": "int"}}]}"#;
    let payload = [&[6, 6][..], b"age", &[60, 2], b"x", &[2, 10], b"speed", &[4, 0]].concat();
    assert_eq!(decode(&mut at("m", map), 0, &payload).unwrap().0, bits(&[30.0, Gap::Missing.value(), 2.0]));
}

#[test]
fn a_schema_that_cannot_give_the_features_is_refused() {
    let refused = |schema: &str| AnyDecoder::new(Format::Avro, &signature(), &options(schema, &[])).unwrap_err();
    assert!(matches!(refused("{\"type\": \"recor"), CodecError::Schema(_)));
    let schema =
        |name: &str| format!(r#"{{"type": "record", "name": "R", "fields": [{{"name": "{name}", "type": "int"}}]}}"#);
    assert_eq!(refused(&schema("speed")).to_string(), "input.schema lacks \"age\", which the model requires");
    assert!(refused("\"int\"").to_string().contains("\"age\", \"carrier\", \"speed\""));
    let decoder = AnyDecoder::new(Format::Avro, &signature(), &options(&schema("age"), &[])).unwrap();
    assert_eq!(decoder.lacking(), [1, 2]);
}

#[test]
fn single_objects_must_be_of_the_schema() {
    let schema = r#"{"type": "record", "name": "R", "fields": [{"name": "age", "type": "int"}]}"#;
    let framed = DecodeOptions { framing: Framing::SingleObject, ..options(schema, &[]) };
    let mut decoder = AnyDecoder::new(Format::Avro, &signature(), &framed).unwrap();
    let mut payload = apache_avro::headers::HeaderBuilder::build_header(
        &apache_avro::headers::RabinFingerprintHeader::from_schema(&Schema::parse_str(schema).unwrap()),
    );
    assert_eq!(payload.len(), 2 + FINGERPRINT);
    payload.push(60);
    assert_eq!(decode(&mut decoder, 0, &payload).unwrap().0[0], 30_f64.to_bits());
    payload[5] ^= 1;
    assert_eq!(decode(&mut decoder, 0, &payload).unwrap_err().reason, Reason::UnknownSchema);
    assert_eq!(decode(&mut decoder, 0, &[60]).unwrap_err().reason, Reason::Malformed);
    let unframed = decode(&mut self::decoder(schema, &[]), 0, &payload).unwrap_err();
    assert!(unframed.message.contains("single-object encoding"), "{unframed}");
}

#[test]
fn bytes_that_are_no_record_are_rejected_whatever_they_claim() {
    let list = r#"{"type": "record", "name": "L", "fields": [
        {"name": "age", "type": "int"}, {"name": "next", "type": ["null", "L"]},
        {"name": "nothing", "type": {"type": "array", "items": "null"}}]}"#;
    let mut decoder = decoder(list, &["next"]);
    let mut read = |payload: &[u8]| decode(&mut decoder, 1, payload).map(|(row, _)| f64::from_bits(row[0]));
    assert_eq!(read(&[2, 0, 0]), Ok(1.0));
    let deep = [[2, 2].repeat(200), vec![2, 0], vec![0; 201]].concat();
    assert!(read(&deep).unwrap_err().message.contains("nested"));
    // A list of many values that take a byte and no byte each.
    let long = [&[2, 0][..], &[0x80, 0x80, 0x08], &[0]].concat();
    assert_eq!(read(&long), Ok(1.0));
    let endless: Vec<u8> = [&[2, 0][..], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], &[0]].concat();
    assert!(read(&endless).unwrap_err().message.contains("too many values"));
    for payload in
        [&[][..], &[2], &[2, 4, 0], &[2, 1, 0], &[0x80, 0x80, 0x80, 0x80, 0x20, 0, 0], &[2, 0, 0, 0], &[0xff; 12]]
    {
        let rejected: Rejection = read(payload).unwrap_err();
        assert_eq!(rejected.reason, Reason::Malformed, "{payload:?}");
    }
}

/// The writer's schema with the names that its fields have by the aliases of the reader: apache-avro takes no account of those.
fn renamed(writer: &str, reader: &str) -> String {
    let [mut writer, reader] = [writer, reader].map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
    for field in reader["fields"].as_array().unwrap() {
        let aliases = field["aliases"].as_array().into_iter().flatten();
        for alias in aliases {
            let fields = writer["fields"].as_array_mut().unwrap().iter_mut();
            fields
                .filter(|written| written["name"] == *alias)
                .for_each(|written| written["name"] = field["name"].clone());
        }
    }
    writer.to_string()
}

/// A record of `writer` as `reader` resolves it: by apache-avro into JSON's decoder, and by a plan for both schemas.
fn assert_resolved(writer: &str, reader: &str, value: Value, fields: &[&str]) {
    let payload = write(writer, value);
    let [writer_schema, reader_schema] =
        [&*renamed(writer, reader), reader].map(|schema| Schema::parse_str(schema).unwrap());
    let resolved = GenericDatumReader::builder(&writer_schema).reader_schema(&reader_schema).build().unwrap();
    let resolved = resolved.read_value(&mut payload.as_slice()).unwrap();
    let resolved: serde_json::Value = resolved.try_into().unwrap();
    let mut json = AnyDecoder::new(Format::Json, &signature(), &copying(fields)).unwrap();
    let expected = decode(&mut json, fields.len(), resolved.to_string().as_bytes()).unwrap();

    let options = DecodeOptions { reader_schema: Some(reader.into()), ..options(writer, fields) };
    let mut avro = AnyDecoder::new(Format::Avro, &signature(), &options).unwrap();
    assert_eq!(decode(&mut avro, fields.len(), &payload).unwrap(), expected, "{writer} {reader}");
}

#[test]
fn a_newer_reader_resolves_what_an_older_writer_wrote() {
    let writer = r#"{"type": "record", "name": "R", "fields": [
        {"name": "years", "type": "int"}, {"name": "dropped", "type": {"type": "map", "values": "long"}},
        {"name": "note", "type": "string"}]}"#;
    let reader = r#"{"type": "record", "name": "R", "fields": [
        {"name": "note", "type": ["null", "string"]},
        {"name": "carrier", "type": "string", "default": "AA"},
        {"name": "age", "type": "double", "aliases": ["years"]},
        {"name": "speed", "type": ["double", "null"], "default": 1.5},
        {"name": "extra", "type": {"type": "record", "name": "E", "fields": [{"name": "x", "type": "int"}]}, "default": {"x": 3}}]}"#;
    let map = [("k".to_owned(), Value::Long(1))].into_iter().collect();
    let value =
        record(vec![("years", Value::Int(30)), ("dropped", Value::Map(map)), ("note", Value::String("n".into()))]);
    assert_resolved(writer, reader, value, &["note", "carrier", "extra", "extra.x"]);
}

#[test]
fn a_schema_of_types_that_cannot_be_features_is_refused() {
    let schema =
        |kind: &str| format!(r#"{{"type": "record", "name": "R", "fields": [{{"name": "age", "type": {kind}}}]}}"#);
    let new = |kind: &str, numeric_strings| {
        let schema = schema(kind);
        let options = DecodeOptions { numeric_strings, ..options(&schema, &[]) };
        AnyDecoder::new(Format::Avro, &signature(), &options).map(drop)
    };
    for kind in ["\"string\"", "\"bytes\"", "[\"null\", \"string\"]"] {
        assert!(matches!(new(kind, false), Err(CodecError::Lacks { .. })), "{kind}");
        assert!(new(kind, true).is_ok(), "{kind}");
    }
    for kind in ["\"null\"", "{\"type\": \"array\", \"items\": \"int\"}", "{\"type\": \"map\", \"values\": \"int\"}"] {
        assert!(matches!(new(kind, true), Err(CodecError::Lacks { .. })), "{kind}");
    }
    assert!(new("[\"null\", \"string\", \"int\"]", false).is_ok());
    let wide = r#"{"type": "bytes", "logicalType": "decimal", "precision": 2000, "scale": 2000}"#;
    assert!(new(wide, false).unwrap_err().to_string().contains("digits after the point"));
}

#[test]
fn defaults_and_enums_of_the_reader_count() {
    let writer = r#"{"type": "record", "name": "R", "fields": [
        {"name": "n", "type": "long"}, {"name": "carrier", "type": {"type": "enum", "name": "C", "symbols": ["AA", "ZZ"]}}]}"#;
    let reader = r#"{"type": "record", "name": "R", "fields": [
        {"name": "age", "type": ["null", "float"], "aliases": ["n"]},
        {"name": "carrier", "type": {"type": "enum", "name": "C", "symbols": ["AA", "true"], "default": "true"}},
        {"name": "raw", "type": "bytes", "default": "\u00ff"},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, "default": "\u0001\u0000"},
        {"name": "speed", "type": "float", "default": 0.1}]}"#;
    let options = DecodeOptions { reader_schema: Some(reader.into()), ..options(writer, &["carrier", "raw", "price"]) };
    let mut decoder = AnyDecoder::new(Format::Avro, &signature(), &options).unwrap();
    // 2^24 + 1 isn't a number of 32 bits.
    let (row, copied) = decode(&mut decoder, 3, &[0x82, 0x80, 0x80, 0x10, 2]).unwrap();
    assert_eq!(row, bits(&[16_777_216.0, 2.0, f64::from(0.1_f32)]));
    assert_eq!(copied, ["\"true\"", "\"/w==\"", "2.56"]);
    let wrong = reader.replace("0.1}", "\"x\"}");
    let options = DecodeOptions { reader_schema: Some(wrong.into()), ..options };
    let error = AnyDecoder::new(Format::Avro, &signature(), &options).unwrap_err();
    assert!(error.to_string().contains("default"), "{error}");
}

#[test]
fn a_schema_with_references_reads_bytes_after_a_start() {
    let root = r#"{"type": "record", "name": "R", "fields": [{"name": "age", "type": "x.Age"}]}"#;
    let age = r#"{"type": "record", "name": "x.Age", "fields": [{"name": "years", "type": "int"}]}"#;
    let mut signature = signature();
    signature.features[0].name = "age.years".into();
    let mut decoder = Decoder::by_schema(root, &[age.into()], &signature, &DecodeOptions::default()).unwrap();
    let (mut row, mut texts) = ([0.0; 3], Vec::new());
    decoder.decode_after(5, &[0, 0, 0, 0, 7, 60], &mut row, &mut [], &mut texts).unwrap();
    assert_eq!(row[0], 30.0);
}

/// Whatever a record is made of, once the buffers have grown.
#[test]
fn decoding_allocates_nothing() {
    let mut dotted = signature();
    dotted.features[0].name = "payload.age".into();
    let options = options(FLIGHT, &["id", "payload", "more"]);
    let mut decoder = AnyDecoder::new(Format::Avro, &dotted, &options).unwrap();
    let inner = some(1, record(vec![("age", Value::Int(7)), ("other", some(1, Value::Enum(0, "AA".into())))]));
    let payload = flight(inner, some(1, Value::Double(2.5)));
    let (mut row, mut fields, mut texts) = ([0.0; 3], [FieldValue::Absent; 3], Vec::new());
    let mut run = || {
        texts.clear();
        decoder.decode(&payload, &mut row, &mut fields, &mut texts).unwrap();
    };
    run();
    assert_eq!(allocation_counter::measure(run).count_total, 0);
}

/// A few bytes can be long as JSON, with the names of a schema.
#[test]
fn copied_fields_are_bounded() {
    let name = "n".repeat(1_000);
    let schema = format!(
        r#"{{"type": "record", "name": "R", "fields": [{{"name": "age", "type": "int"}}, {{"name": "list", "type":
            {{"type": "array", "items": {{"type": "record", "name": "I", "fields": [{{"name": "{name}", "type": "boolean"}}]}}}}}}]}}"#
    );
    let mut decoder = decoder(&schema, &["list"]);
    let payload = |items: u8| [&[2, items << 1][..], &vec![0; usize::from(items)][..], &[0]].concat();
    assert!(decode(&mut decoder, 1, &payload(50)).is_ok());
    let long = [&[2, 0x80, 0x08][..], &[0; 512], &[0]].concat();
    assert_eq!(decode(&mut decoder, 1, &long).unwrap_err().reason, Reason::TooLarge);
}

#[test]
fn a_newer_writer_is_read_by_its_aliases() {
    let schema =
        r#"{"type": "record", "name": "R", "fields": [{"name": "years", "type": "long", "aliases": ["age"]}]}"#;
    let (row, copied) = decode(&mut decoder(schema, &["years", "age"]), 2, &[60]).unwrap();
    assert_eq!(row[0], 30_f64.to_bits());
    assert_eq!(copied[0], "30", "the field of that name: {}", json!(copied));
}
