//! The defaults of a reader's schema, which are JSON: what they are as row values and as copied fields.

use apache_avro::Schema;
use apache_avro::schema::UuidSchema;
use serde_json::Value as Json;

use super::{Compiler, Record, field_named, resolve};
use crate::codec::CodecError;
use crate::codec::avro::decimal::{self, MAX_SCALE};
use crate::codec::avro::schema::DEFAULT;
use crate::codec::field::write_base64;
use crate::codec::wanted::WantedNode;
use crate::record::Gap;

impl<'s> Compiler<'s> {
    /// Adds what a default gives of what is wanted.
    pub(super) fn default(
        &mut self,
        schema: &'s Schema,
        default: &'s Json,
        wanted: &WantedNode,
        plan: &mut Record,
    ) -> Result<(), CodecError> {
        let schema = self.branch(schema, default)?;
        if let Some(feature) = wanted.feature {
            let value = self.row_value(feature, schema, default);
            self.has_feature[feature] |= Gap::of(value).is_none_or(|gap| gap == Gap::Unknown);
            plan.defaults.push((feature, value));
        }
        if let Some(field) = wanted.field {
            plan.default_fields.push((field, copied(schema, default).into()));
        }
        for (name, member) in &wanted.members {
            let within = match schema {
                Schema::Map(map) => default.get(name).map(|value| (&*map.types, value)),
                Schema::Record(record) => field_named(&record.fields, name).and_then(|field| {
                    let value = default.get(&field.name).or_else(|| field.custom_attributes.get(DEFAULT));
                    value.map(|value| (&field.schema, value))
                }),
                _ => None,
            };
            if let Some((schema, value)) = within {
                self.default(schema, value, member, plan)?;
            }
        }
        Ok(())
    }

    /// The schema of a default: of a union the first branch that has such values.
    fn branch(&self, schema: &'s Schema, default: &Json) -> Result<&'s Schema, CodecError> {
        let schema = resolve(&self.reader_names, schema)?;
        let mut branches = match schema {
            Schema::Union(union) => union.variants().iter().collect(),
            schema => vec![schema],
        }
        .into_iter();
        let found = branches.find_map(|branch| {
            let branch = resolve(&self.reader_names, branch).ok()?;
            is_of(default, branch).then_some(branch)
        });
        found.ok_or_else(|| CodecError::Schema(format!("the default {default} isn't of its field's type")))
    }

    fn row_value(&self, feature: usize, schema: &Schema, default: &Json) -> f64 {
        let features = self.features;
        match (schema, default) {
            (Schema::Float, Json::Number(number)) => {
                features.single(feature, number.as_f64().unwrap_or(f64::NAN) as f32)
            }
            (Schema::Double, Json::Number(number)) => features.double(feature, number.as_f64().unwrap_or(f64::NAN)),
            (Schema::Decimal(decimal), Json::String(text)) => {
                features.double(feature, decimal::number(&bytes_of(text), decimal.scale, &mut Vec::new()))
            }
            (_, Json::Number(number)) => features.integer(feature, number.as_i64().unwrap_or_default()),
            (_, Json::Null) => Gap::Missing.value(),
            (_, Json::Bool(boolean)) => features.boolean(feature, *boolean),
            (schema, Json::String(text)) if is_binary(schema) => features.text(feature, &bytes_of(text)),
            (_, Json::String(text)) => features.text(feature, text.as_bytes()),
            (_, Json::Array(_)) => Gap::Array.value(),
            (_, Json::Object(_)) => Gap::Object.value(),
        }
    }
}

/// Whether a default is a value of a type, by its form.
fn is_of(default: &Json, schema: &Schema) -> bool {
    match schema {
        Schema::Null => default.is_null(),
        Schema::Boolean => default.is_boolean(),
        Schema::Float | Schema::Double => default.is_number(),
        Schema::Array(_) => default.is_array(),
        Schema::Map(_) | Schema::Record(_) => default.is_object(),
        Schema::Decimal(decimal) => decimal.scale <= MAX_SCALE && default.is_string(),
        Schema::String | Schema::Enum(_) | Schema::Uuid(_) => default.is_string(),
        schema if is_binary(schema) => default.is_string(),
        // Whole numbers, and what they stand for.
        _ => default.is_i64(),
    }
}

fn is_binary(schema: &Schema) -> bool {
    matches!(
        schema,
        Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) | Schema::Fixed(_) | Schema::Duration(_)
    )
}

/// The bytes that a default of bytes is written as: one for each of the first 256 characters.
fn bytes_of(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?')).collect()
}

/// A default as a copied field. Parts of one with parts stay as the schema writes them.
fn copied(schema: &Schema, default: &Json) -> Vec<u8> {
    let mut out = Vec::new();
    match (schema, default) {
        (Schema::Decimal(decimal), Json::String(text)) => decimal::write(&bytes_of(text), decimal.scale, &mut out),
        (schema, Json::String(text)) if is_binary(schema) => write_base64(&bytes_of(text), &mut out),
        (_, default) => out.extend_from_slice(default.to_string().as_bytes()),
    }
    out
}
