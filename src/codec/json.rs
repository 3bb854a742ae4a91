//! JSON: one object per record.
//!
//! `scan` is the grammar, `keys` finds which member is meant, `decode` puts the values into the row, `encode` renders
//! predictions.

mod decode;
mod encode;
mod keys;
mod scan;

#[cfg(test)]
mod samples;

pub(crate) use decode::Categories;
pub use decode::Decoder;
pub(in crate::codec) use decode::{Kind, json_number, not_a_number, numeric_string};
pub use encode::Encoder;

/// A string as JSON, quotes included.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
