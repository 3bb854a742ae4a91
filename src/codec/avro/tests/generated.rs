//! Generated schemas and values: a record means what it means in JSON.

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::{Decimal, Schema};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value as Json, json};

use super::{renamed, write};
use crate::codec::testing::{copying, decode, signature};
use crate::codec::{CodecError, DecodeOptions, Decoder, Format};
use crate::model::signature::{Missing, Signature};
use crate::record::Gap;

const NAMES: [&str; 8] = ["age", "carrier", "speed", "payload", "features", "id", "tail", "x"];

const FIELDS: [&str; 4] = ["id", "payload", "payload.tail", "age"];

const SYMBOLS: [&str; 3] = ["AA", "BB", "true"];

#[derive(Clone, Debug)]
enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed,
    Enum,
    Decimal,
    Timestamp,
    Array(Box<Type>),
    Map(Box<Type>),
    /// Or null.
    Optional(Box<Type>),
    /// A null, a number, a text, or a record.
    Several(Vec<(&'static str, Type)>),
    Record(Vec<(&'static str, Type)>),
}

fn fields(inner: impl Strategy<Value = Type>) -> impl Strategy<Value = Vec<(&'static str, Type)>> {
    vec((select(&NAMES[..]), inner), 0..6).prop_map(|mut fields| {
        fields.sort_by_key(|(name, _)| *name);
        fields.dedup_by_key(|(name, _)| *name);
        fields
    })
}

fn record() -> impl Strategy<Value = Vec<(&'static str, Type)>> {
    use Type::{Boolean, Bytes, Decimal, Double, Enum, Fixed, Float, Int, Long, Null, String, Timestamp};
    let leaves = [Null, Boolean, Int, Long, Float, Double, Bytes, String, Fixed, Enum, Decimal, Timestamp];
    let kind = select(leaves.to_vec()).prop_recursive(3, 24, 5, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        // Unions have no unions.
        let single = boxed()
            .prop_filter("a union within", |kind| !matches!(**kind, Null | Type::Optional(_) | Type::Several(_)));
        prop_oneof![
            boxed().prop_map(Type::Array),
            boxed().prop_map(Type::Map),
            single.prop_map(Type::Optional),
            fields(inner.clone()).prop_map(Type::Several),
            fields(inner).prop_map(Type::Record),
        ]
    });
    fields(kind)
}

/// The schema; `count` gives names that aren't there yet.
fn schema(kind: &Type, count: &mut usize) -> Json {
    *count += 1;
    let name = format!("T{count}");
    match kind {
        Type::Null => json!("null"),
        Type::Boolean => json!("boolean"),
        Type::Int => json!("int"),
        Type::Long => json!("long"),
        Type::Float => json!("float"),
        Type::Double => json!("double"),
        Type::Bytes => json!("bytes"),
        Type::String => json!("string"),
        Type::Fixed => json!({"type": "fixed", "name": name, "size": 3}),
        Type::Enum => json!({"type": "enum", "name": name, "symbols": SYMBOLS}),
        Type::Decimal => json!({"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}),
        Type::Timestamp => json!({"type": "long", "logicalType": "timestamp-millis"}),
        Type::Array(item) => json!({"type": "array", "items": schema(item, count)}),
        Type::Map(value) => json!({"type": "map", "values": schema(value, count)}),
        Type::Optional(kind) => json!(["null", schema(kind, count)]),
        Type::Several(fields) => json!(["null", "long", "string", schema(&Type::Record(fields.clone()), count)]),
        Type::Record(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|(name, kind)| json!({"name": name, "type": schema(kind, count)})).collect();
            json!({"type": "record", "name": name, "fields": fields})
        }
    }
}

fn base64(bytes: &[u8]) -> Json {
    let mut out = Vec::new();
    crate::codec::field::write_base64(bytes, &mut out);
    serde_json::from_slice(&out).unwrap()
}

/// A value of the type, and the same in JSON.
fn value(kind: &Type, rng: &mut ChaCha8Rng) -> (Value, Json) {
    match kind {
        Type::Null => (Value::Null, Json::Null),
        Type::Boolean => {
            let boolean = rng.random();
            (Value::Boolean(boolean), json!(boolean))
        }
        Type::Int => {
            let number = *[0, 7, i32::MIN, i32::MAX, rng.random()].choose(rng).unwrap();
            (Value::Int(number), json!(number))
        }
        Type::Long => long(rng),
        Type::Float => {
            // Those that are the same text with 32 bits and with 64.
            let number = rng.random_range(-4_000..4_000) as f32 / 8.0;
            (Value::Float(number), json!(f64::from(number)))
        }
        Type::Double => {
            let number = *[0.1, 7.0, -1e300, 5e-324, rng.random::<f64>()].choose(rng).unwrap();
            (Value::Double(number), json!(number))
        }
        Type::Bytes => {
            let bytes = vec![0xfe; rng.random_range(0..5)];
            (Value::Bytes(bytes.clone()), base64(&bytes))
        }
        Type::String => text(rng),
        Type::Fixed => (Value::Fixed(3, vec![1, 2, 3]), base64(&[1, 2, 3])),
        Type::Enum => {
            let symbol = rng.random_range(0..SYMBOLS.len());
            (Value::Enum(symbol as u32, SYMBOLS[symbol].into()), json!(SYMBOLS[symbol]))
        }
        Type::Decimal => {
            let unscaled = rng.random_range(-1_000_000..1_000_000_i64);
            let text =
                format!("{}{}.{:02}", if unscaled < 0 { "-" } else { "" }, unscaled.abs() / 100, unscaled.abs() % 100);
            (Value::Decimal(Decimal::from(unscaled.to_be_bytes())), serde_json::from_str(&text).unwrap())
        }
        Type::Timestamp => {
            let number = rng.random_range(0..1_u64 << 41);
            (Value::TimestampMillis(number as i64), json!(number))
        }
        Type::Array(item) => {
            let (values, texts): (Vec<_>, Vec<_>) = (0..rng.random_range(0..5)).map(|_| value(item, rng)).unzip();
            (Value::Array(values), Json::Array(texts))
        }
        Type::Map(item) => {
            let mut names = NAMES.to_vec();
            names.retain(|_| rng.random_bool(0.4));
            let members = names.into_iter().map(|name| {
                let (value, text) = value(item, rng);
                ((name.to_owned(), value), (name.to_owned(), text))
            });
            let (values, texts): (Vec<_>, Map<_, _>) = members.unzip();
            (Value::Map(values.into_iter().collect()), Json::Object(texts))
        }
        Type::Optional(kind) if rng.random_bool(0.7) => {
            let (value, text) = value(kind, rng);
            (Value::Union(1, Box::new(value)), text)
        }
        Type::Optional(_) => (Value::Union(0, Box::new(Value::Null)), Json::Null),
        Type::Several(fields) => {
            let branch = rng.random_range(0..4);
            let (value, text) = match branch {
                0 => (Value::Null, Json::Null),
                1 => long(rng),
                2 => text(rng),
                _ => value(&Type::Record(fields.clone()), rng),
            };
            (Value::Union(branch, Box::new(value)), text)
        }
        Type::Record(fields) => {
            let members = fields.iter().map(|(name, kind)| {
                let (value, text) = value(kind, rng);
                (((*name).to_owned(), value), ((*name).to_owned(), text))
            });
            let (values, texts): (Vec<_>, Map<_, _>) = members.unzip();
            (Value::Record(values), Json::Object(texts))
        }
    }
}

fn long(rng: &mut ChaCha8Rng) -> (Value, Json) {
    let number = *[0, 7, i64::MIN, i64::MAX, rng.random()].choose(rng).unwrap();
    (Value::Long(number), json!(number))
}

fn text(rng: &mut ChaCha8Rng) -> (Value, Json) {
    let text = *["", "AA", "7", "true", "é\"\n", "12.5"].choose(rng).unwrap();
    (Value::String(text.into()), json!(text))
}

/// One in which no feature is required.
fn lenient() -> Signature {
    let mut signature = signature();
    signature.features[0].missing = Missing::Constant { value: 0.0 };
    signature
}

fn options(path: &str, numeric_strings: bool) -> DecodeOptions {
    DecodeOptions { features: path.into(), numeric_strings, ..copying(&FIELDS) }
}

fn is_gap(value: &u64) -> bool {
    Gap::of(f64::from_bits(*value)).is_some()
}

/// Fields of types that a reader can widen.
fn leaves() -> impl Strategy<Value = Vec<(&'static str, Type)>> {
    fields(select(vec![Type::Boolean, Type::Int, Type::Long, Type::Float, Type::Double, Type::String]))
}

/// What a newer reader may make of a writer's fields: wider types, nulls, other names, and fields with defaults. One that the
/// model has no use for may be gone.
fn evolved(fields: &[(&'static str, Type)], rng: &mut ChaCha8Rng) -> Json {
    let mut unused = NAMES.to_vec();
    unused.retain(|name| fields.iter().all(|(field, _)| field != name));
    let mut evolved = Vec::new();
    for (name, kind) in fields {
        let wider = match kind {
            Type::Int => vec![Type::Int, Type::Long, Type::Float, Type::Double],
            Type::Long => vec![Type::Long, Type::Float, Type::Double],
            Type::Float => vec![Type::Float, Type::Double],
            kind => vec![kind.clone()],
        };
        let kind = schema(wider.choose(rng).unwrap(), &mut 0);
        let kind = if rng.random_bool(0.3) { json!(["null", kind]) } else { kind };
        let is_plain = matches!(*name, "x" | "tail");
        match unused.last().copied() {
            Some(new) if is_plain && rng.random() => {
                evolved.push(json!({"name": new, "type": kind, "aliases": [name]}));
                unused.pop();
            }
            _ if is_plain && rng.random() => {}
            _ => evolved.push(json!({"name": name, "type": kind})),
        }
    }
    let defaults = [
        json!({"type": "int", "default": 7}),
        json!({"type": "double", "default": 0.5}),
        json!({"type": "float", "default": 0.125}),
        json!({"type": "string", "default": "AA"}),
        json!({"type": ["null", "string"], "default": null}),
        json!({"type": ["string", "null"], "default": "7"}),
        json!({"type": "boolean", "default": true}),
    ];
    for name in unused {
        let mut field = defaults.choose(rng).unwrap().clone();
        field["name"] = json!(name);
        evolved.push(field);
    }
    evolved.reverse();
    json!({"type": "record", "name": "T1", "fields": evolved})
}

/// JSON with each number as one of 32 bits, since a reader's type may be wider than the writer's, whose numbers are copied.
fn as_floats(json: &str) -> Option<Json> {
    let value: Json = serde_json::from_str(json).ok()?;
    let number = value.as_f64().map(|number| Json::from(f64::from(number as f32)));
    Some(number.unwrap_or(value))
}

fn paths() -> impl Strategy<Value = &'static str> {
    select(&["", "payload", "payload.x"][..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_record_means_what_it_means_in_json(
        fields in record(),
        seed in any::<u64>(),
        path in paths(),
        numeric_strings in any::<bool>(),
    ) {
        let kind = Type::Record(fields);
        let schema = schema(&kind, &mut 0).to_string();
        let options = options(path, numeric_strings);
        let mut json = Decoder::new(Format::Json, &lenient(), &options).unwrap();
        let options = DecodeOptions { schema: Some(schema.as_str().into()), ..options };
        let mut avro = Decoder::new(Format::Avro, &lenient(), &options);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..4 {
            let (value, text) = value(&kind, &mut rng);
            let text = text.to_string();
            let expected = decode(&mut json, FIELDS.len(), text.as_bytes());
            let avro = match &mut avro {
                Ok(avro) => avro,
                Err(error) => {
                    prop_assert!(matches!(error, CodecError::Lacks { .. }), "{}", error);
                    // JSON's decoder finds it out record by record.
                    prop_assert!(expected.map_or(true, |(row, _)| row.iter().all(is_gap)), "{} {}", schema, text);
                    continue;
                }
            };
            match (expected, decode(avro, FIELDS.len(), &write(&schema, value))) {
                (Ok((row, copied)), Ok((found, found_copied))) => {
                    prop_assert_eq!(row, found, "{} {}", schema, text);
                    let parse = |json: &String| serde_json::from_str::<Json>(json).ok();
                    let [copied, found_copied] =
                        [copied, found_copied].map(|all| all.iter().map(parse).collect::<Vec<_>>());
                    prop_assert_eq!(copied, found_copied, "{} {}", schema, text);
                }
                (Err(expected), Err(found)) => prop_assert_eq!(expected.reason, found.reason, "{} {}", schema, text),
                (expected, found) => prop_assert!(false, "{} {}: {:?}, {:?}", schema, text, expected, found),
            }
        }
    }

    #[test]
    fn records_are_resolved_as_apache_avro_resolves_them(
        fields in leaves(),
        seed in any::<u64>(),
        numeric_strings in any::<bool>(),
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let reader = evolved(&fields, &mut rng).to_string();
        let kind = Type::Record(fields);
        let writer = schema(&kind, &mut 0).to_string();
        let schemas = [&renamed(&writer, &reader), &reader].map(|schema| Schema::parse_str(schema).unwrap());
        let resolver = GenericDatumReader::builder(&schemas[0]).reader_schema(&schemas[1]).build().unwrap();

        let options = options("", numeric_strings);
        let mut json = Decoder::new(Format::Json, &lenient(), &options).unwrap();
        let [writer_text, reader_text] = [&writer, &reader].map(|schema| Some(schema.as_str().into()));
        let options = DecodeOptions { schema: writer_text, reader_schema: reader_text, ..options };
        let mut avro = Decoder::new(Format::Avro, &lenient(), &options);
        for _ in 0..4 {
            let payload = write(&writer, value(&kind, &mut rng).0);
            let resolved = resolver.read_value(&mut payload.as_slice()).unwrap();
            let text = Json::try_from(resolved).unwrap().to_string();
            let expected = decode(&mut json, FIELDS.len(), text.as_bytes());
            match (expected, &mut avro) {
                (Ok((row, copied)), Ok(avro)) => {
                    let (found, found_copied) = decode(avro, FIELDS.len(), &payload).unwrap();
                    prop_assert_eq!(row, found, "{} {} {}", writer, reader, text);
                    let [copied, found_copied] =
                        [copied, found_copied].map(|all| all.iter().map(|json| as_floats(json)).collect::<Vec<_>>());
                    prop_assert_eq!(copied, found_copied, "{} {} {}", writer, reader, text);
                }
                (Ok((row, _)), Err(error)) => {
                    prop_assert!(matches!(error, CodecError::Lacks { .. }), "{}", error);
                    prop_assert!(row.iter().all(is_gap), "{} {} {}", writer, reader, text);
                }
                (Err(rejection), _) => prop_assert!(false, "{} {}", text, rejection),
            }
        }
    }

    /// Bytes of the schema, and such bytes with one of them changed.
    #[test]
    fn any_bytes_become_a_row_or_a_rejection(
        fields in record(),
        seed in any::<u64>(),
        payload in vec(any::<u8>(), 0..64),
        path in paths(),
    ) {
        let kind = Type::Record(fields);
        let schema = schema(&kind, &mut 0).to_string();
        let options = DecodeOptions { schema: Some(schema.as_str().into()), ..options(path, false) };
        if let Ok(mut decoder) = Decoder::new(Format::Avro, &lenient(), &options) {
            let _ = decode(&mut decoder, FIELDS.len(), &payload);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut written = write(&schema, value(&kind, &mut rng).0);
            if !written.is_empty() {
                let place = rng.random_range(0..written.len());
                written[place] = rng.random();
                let _ = decode(&mut decoder, FIELDS.len(), &written);
            }
        }
    }
}
