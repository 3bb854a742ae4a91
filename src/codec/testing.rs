//! What the tests of the formats share.

use serde_json::Value;

use super::{DecodeOptions, Decoder, FieldValue, Fields, Format};
use crate::model::signature::{Feature, Kind, Missing, Signature, Target, Unknown};
use crate::record::Rejection;

pub(super) const CATEGORIES: [&str; 3] = ["AA", "7", "true"];

/// `age` and `speed` are numbers, `carrier` is a category.
pub(super) fn signature() -> Signature {
    let feature = |name: &str, kind, missing| Feature { name: name.into(), kind, missing };
    let categories = CATEGORIES.map(String::from).to_vec();
    Signature {
        features: vec![
            feature("age", Kind::Numeric, Missing::Reject),
            feature("carrier", Kind::Categorical { categories, unknown: Unknown::Zeros }, Missing::Zeros),
            feature("speed", Kind::Numeric, Missing::Mean { value: 0.0 }),
        ],
        target: Target::Regression { names: vec!["y".into()] },
    }
}

pub(super) fn bits(row: &[f64]) -> Vec<u64> {
    row.iter().map(|value| value.to_bits()).collect()
}

/// Options with these copied fields.
pub(super) fn copying(fields: &[&str]) -> DecodeOptions {
    DecodeOptions { fields: fields.iter().map(ToString::to_string).collect(), ..DecodeOptions::default() }
}

/// A decoder of rows of [`signature`].
pub(super) fn decoder(format: Format, options: &DecodeOptions) -> Decoder {
    Decoder::new(format, &signature(), options).unwrap()
}

/// The row's bits, and the copied fields as JSON: nothing for those that aren't there.
pub(super) fn decode(
    decoder: &mut Decoder,
    fields: usize,
    payload: &[u8],
) -> Result<(Vec<u64>, Vec<String>), Rejection> {
    let (mut row, mut values, mut texts) = ([0.0; 3], vec![FieldValue::Absent; fields], b"before".to_vec());
    decoder.decode(payload, &mut row, &mut values, &mut texts)?;
    let fields = Fields { payload, texts: &texts, values: &values };
    let json = |&value: &FieldValue| {
        let mut out = Vec::new();
        if !value.is_absent() {
            fields.write_json(value, &mut out);
        }
        String::from_utf8(out).unwrap()
    };
    Ok((bits(&row), values.iter().map(json).collect()))
}

/// The value in MessagePack, as the reference implementation writes it.
pub(crate) fn packed(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, &messagepack(value)).unwrap();
    out
}

fn messagepack(value: &Value) -> rmpv::Value {
    match value {
        Value::Null => rmpv::Value::Nil,
        Value::Bool(boolean) => (*boolean).into(),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.as_f64().unwrap().into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(values) => rmpv::Value::Array(values.iter().map(messagepack).collect()),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| (name.as_str().into(), messagepack(value)));
            rmpv::Value::Map(members.collect())
        }
    }
}
