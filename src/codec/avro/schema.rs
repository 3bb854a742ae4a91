//! Schemas: read by apache-avro, and named by their fingerprints as Avro's specification computes them.
//!
//! A schema may come from a registry that others can write to. apache-avro checks the default of a field against its type, which
//! takes time without bound for some schemas and panics for others. So defaults are put aside before it reads a schema, and
//! `plan` reads them. The canonical form is weir's own too: that of apache-avro 0.22 differs from the specification wherever
//! a schema has a logical type.

use std::collections::HashSet;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, Name, UuidSchema};
use serde_json::{Map, Value as Json};

use crate::codec::CodecError;

/// The attribute that keeps the default of a field.
pub(super) const DEFAULT: &str = "weir_default";

/// The bytes of a schema's text, and those of all that it refers to.
const MAX_BYTES: usize = 1 << 20;

/// The levels of JSON of a schema, and those of all that it refers to: the parser goes from one to the next.
const MAX_LEVELS: usize = 512;

/// The aliases of types. The parser copies a type for each.
const MAX_ALIASES: usize = 1 << 8;

/// Reads a schema.
pub(super) fn parse(text: &str) -> Result<Schema, CodecError> {
    parse_with(text, &[]).map(|(schema, _)| schema)
}

/// Reads a schema and those that it refers to, in any order.
pub(super) fn parse_with(text: &str, references: &[String]) -> Result<(Schema, Vec<Schema>), CodecError> {
    if text.len() + references.iter().map(String::len).sum::<usize>() > MAX_BYTES {
        return Err(CodecError::Schema(format!("it has more than {MAX_BYTES} bytes")));
    }
    let mut aliases = 0;
    let root = prepared(text, &mut aliases)?;
    let mut levels = levels_of(&root);
    if references.is_empty() {
        return Ok((Schema::parse(&root).map_err(not_a_schema)?, Vec::new()));
    }
    let mut others = Vec::new();
    for text in references {
        let schema = prepared(text, &mut aliases)?;
        // The parser panics where the type of a named schema is a schema itself.
        if !schema.get("type").is_some_and(Json::is_string) {
            return Err(CodecError::Schema("it refers to a schema that isn't a record, an enum or a fixed".into()));
        }
        levels += levels_of(&schema);
        if levels > MAX_LEVELS {
            return Err(CodecError::Schema(format!("with all that it refers to it has more than {MAX_LEVELS} levels")));
        }
        others.push(schema.to_string());
    }
    Schema::parse_str_with_list(&root.to_string(), others).map_err(not_a_schema)
}

fn not_a_schema(error: impl std::fmt::Display) -> CodecError {
    CodecError::Schema(format!("it isn't an Avro schema: {error}"))
}

fn prepared(text: &str, aliases: &mut usize) -> Result<Json, CodecError> {
    let mut schema = serde_json::from_str(text).map_err(not_a_schema)?;
    prepare(&mut schema, aliases);
    if *aliases > MAX_ALIASES {
        return Err(CodecError::Schema(format!("its types have more than {MAX_ALIASES} aliases")));
    }
    Ok(schema)
}

/// How deep the parts of a value are nested. serde_json has bounded it for one text.
fn levels_of(value: &Json) -> usize {
    let within = match value {
        Json::Array(items) => items.iter().map(levels_of).max(),
        Json::Object(members) => members.values().map(levels_of).max(),
        _ => return 0,
    };
    1 + within.unwrap_or(0)
}

/// Puts the defaults of fields aside, and counts the aliases of types. serde_json has bounded the depth.
fn prepare(schema: &mut Json, aliases: &mut usize) {
    match schema {
        Json::Array(variants) => variants.iter_mut().for_each(|variant| prepare(variant, aliases)),
        Json::Object(members) => {
            *aliases += members.get("aliases").and_then(Json::as_array).map_or(0, Vec::len);
            for name in ["type", "items", "values"] {
                if let Some(inner) = members.get_mut(name) {
                    prepare(inner, aliases);
                }
            }
            let fields = members.get_mut("fields").and_then(Json::as_array_mut);
            for field in fields.into_iter().flatten().filter_map(Json::as_object_mut) {
                prepare_field(field, aliases);
            }
        }
        _ => {}
    }
}

fn prepare_field(field: &mut Map<String, Json>, aliases: &mut usize) {
    field.remove(DEFAULT);
    if let Some(default) = field.remove("default") {
        field.insert(DEFAULT.into(), default);
    }
    if let Some(inner) = field.get_mut("type") {
        prepare(inner, aliases);
    }
}

/// CRC-64-AVRO of the schema's canonical form. In single-object encoding it comes with its least significant byte first.
pub(super) fn fingerprint(schema: &Schema) -> u64 {
    let mut form = String::new();
    write_canonical(schema, &mut HashSet::new(), &mut form);
    form.bytes().fold(EMPTY, |crc, byte| {
        let low = (crc ^ u64::from(byte)) & 0xff;
        let entry = (0..8).fold(low, |entry, _| (entry >> 1) ^ if entry & 1 == 1 { EMPTY } else { 0 });
        (crc >> 8) ^ entry
    })
}

/// The fingerprint of nothing, which is also the polynomial.
const EMPTY: u64 = 0xc15d_213a_a4d7_a795;

/// The canonical form: what decoding depends on, without logical types, aliases, defaults and documentation.
fn write_canonical(schema: &Schema, defined: &mut HashSet<String>, out: &mut String) {
    match schema {
        Schema::Null => write_name("null", out),
        Schema::Boolean => write_name("boolean", out),
        Schema::Int | Schema::Date | Schema::TimeMillis => write_name("int", out),
        Schema::Long
        | Schema::TimeMicros
        | Schema::TimestampMillis
        | Schema::TimestampMicros
        | Schema::TimestampNanos
        | Schema::LocalTimestampMillis
        | Schema::LocalTimestampMicros
        | Schema::LocalTimestampNanos => write_name("long", out),
        Schema::Float => write_name("float", out),
        Schema::Double => write_name("double", out),
        Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => write_name("bytes", out),
        Schema::String | Schema::Uuid(UuidSchema::String) => write_name("string", out),
        Schema::Ref { name } => write_name(&name.fullname(None), out),
        Schema::Array(array) => {
            out.push_str(r#"{"type":"array","items":"#);
            write_canonical(&array.items, defined, out);
            out.push('}');
        }
        Schema::Map(map) => {
            out.push_str(r#"{"type":"map","values":"#);
            write_canonical(&map.types, defined, out);
            out.push('}');
        }
        Schema::Union(union) => {
            write_list(union.variants(), out, |variant, out| write_canonical(variant, defined, out))
        }
        Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
            write_fixed(&fixed.name, fixed.size, defined, out);
        }
        Schema::Decimal(decimal) => match &decimal.inner {
            InnerDecimalSchema::Bytes => write_name("bytes", out),
            InnerDecimalSchema::Fixed(fixed) => write_fixed(&fixed.name, fixed.size, defined, out),
        },
        Schema::Enum(symbols) => {
            if begin_named(&symbols.name, "enum", defined, out) {
                out.push_str(r#","symbols":"#);
                write_list(&symbols.symbols, out, |symbol, out| write_name(symbol, out));
                out.push('}');
            }
        }
        Schema::Record(record) => {
            if begin_named(&record.name, "record", defined, out) {
                out.push_str(r#","fields":"#);
                write_list(&record.fields, out, |field, out| {
                    out.push_str(r#"{"name":"#);
                    write_name(&field.name, out);
                    out.push_str(r#","type":"#);
                    write_canonical(&field.schema, defined, out);
                    out.push('}');
                });
                out.push('}');
            }
        }
    }
}

fn write_fixed(name: &Name, size: usize, defined: &mut HashSet<String>, out: &mut String) {
    if begin_named(name, "fixed", defined, out) {
        out.push_str(&format!(r#","size":{size}}}"#));
    }
}

/// Begins the definition of a named type. Returns whether it has to be ended: elsewhere it is defined already, and only named.
fn begin_named(name: &Name, kind: &str, defined: &mut HashSet<String>, out: &mut String) -> bool {
    let full_name = name.fullname(None);
    if defined.contains(&full_name) {
        write_name(&full_name, out);
        return false;
    }
    out.push_str(r#"{"name":"#);
    write_name(&full_name, out);
    out.push_str(r#","type":"#);
    write_name(kind, out);
    defined.insert(full_name)
}

/// Appends a name in quotes. Names have none of their own.
fn write_name(name: &str, out: &mut String) {
    out.push('"');
    out.push_str(name);
    out.push('"');
}

fn write_list<'i, T: 'i>(
    items: impl IntoIterator<Item = &'i T>,
    out: &mut String,
    mut write: impl FnMut(&'i T, &mut String),
) {
    out.push('[');
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLIGHT: &str = r#"{"type": "record", "name": "Flight", "namespace": "org.flights", "doc": "x", "fields": [
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "order": "ignore"},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}},
        {"name": "code", "type": {"type": "fixed", "name": "Code", "size": 3, "aliases": ["Old"]}, "default": "abc"},
        {"name": "other", "type": ["null", "Code", {"type": "enum", "name": "x.Kind", "symbols": ["A", "B"]}]},
        {"name": "more", "type": {"type": "array", "items": {"type": "map", "values": {"type": "string"}}}}]}"#;

    #[test]
    fn the_canonical_form_is_that_of_the_specification() {
        let mut form = String::new();
        write_canonical(&parse(FLIGHT).unwrap(), &mut HashSet::new(), &mut form);
        let expected = r#"{"name":"org.flights.Flight","type":"record","fields":[{"name":"at","type":"long"},"#
            .to_owned()
            + r#"{"name":"price","type":"bytes"},{"name":"code","type":{"name":"org.flights.Code","type":"fixed","size":3}},"#
            + r#"{"name":"other","type":["null","org.flights.Code",{"name":"x.Kind","type":"enum","symbols":["A","B"]}]},"#
            + r#"{"name":"more","type":{"type":"array","items":{"type":"map","values":"string"}}}]}"#;
        assert_eq!(form, expected);
    }

    /// Those of Avro's own tests (share/test/data/schema-tests.txt).
    #[test]
    fn fingerprints_are_those_of_other_implementations() {
        for (schema, expected) in [
            (r#""null""#, 0x63dd_24e7_cc25_8f8a_u64),
            (r#""int""#, 0x7275_d51a_3f39_5c8f),
            (r#""long""#, 0xd054_e144_93f4_1db7),
            (r#"{"type": "int", "logicalType": "date"}"#, 0x7275_d51a_3f39_5c8f),
            (r#""string""#, 0x8f01_4872_6345_03c7),
        ] {
            assert_eq!(fingerprint(&parse(schema).unwrap()), expected, "{schema}");
        }
    }

    #[test]
    fn schemas_that_are_made_to_harm_are_refused() {
        let field = |kind: &str, default: &str| {
            format!(
                r#"{{"type": "record", "name": "R", "fields": [{{"name": "f", "type": {kind}, "default": {default}}}]}}"#
            )
        };
        // apache-avro itself panics at this one.
        assert!(parse(&field(r#"{"type": "fixed", "name": "F", "size": 18446744073709551615}"#, "1")).is_ok());
        let aliases: Vec<_> = (0..300).map(|number| format!("A{number}")).collect();
        let named = serde_json::json!({"type": "fixed", "name": "F", "size": 1, "aliases": aliases}).to_string();
        let deep = r#"{"type": "array", "items": "#.repeat(200) + "1" + &"}".repeat(200);
        let long = "\"int\"".to_owned() + &" ".repeat(MAX_BYTES);
        let aliased = field(&named, "1");
        for schema in [&*aliased, &*deep, &*long, "{", "[[\"int\"]]", r#"{"type": "fixed", "name": "F", "size": -1}"#] {
            assert!(parse(schema).is_err(), "{}", &schema[..schema.len().min(200)]);
        }
    }

    #[test]
    fn schemas_may_refer_to_others_in_any_order() {
        let root = r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "x.A"}]}"#;
        let outer = r#"{"type": "record", "name": "x.A", "fields": [{"name": "b", "type": "B"}]}"#;
        let inner = r#"{"type": "enum", "name": "x.B", "symbols": ["C"]}"#;
        for references in [[outer, inner], [inner, outer]] {
            assert_eq!(parse_with(root, &references.map(String::from)).unwrap().1.len(), 2);
        }
        assert!(parse_with(root, &[inner.into()]).is_err());
        let chain = |number: usize| {
            format!(
                r#"{{"type": "record", "name": "C{number}", "fields": [{{"name": "c", "type": "C{}"}}]}}"#,
                number + 1
            )
        };
        let error = parse_with(root, &(0..400).map(chain).collect::<Vec<_>>()).unwrap_err();
        assert!(error.to_string().contains("levels"), "{error}");
        let strange = r#"{"name": "x.A", "type": {"type": "enum", "name": "y.A", "symbols": []}}"#;
        assert!(parse_with(root, &[strange.into()]).is_err());
    }
}
