//! Payload to row, prediction to payload: one file per format, decoding and encoding side by side.
//!
//! The worker sees [`Decoder`] and [`Encoder`] only, so a new format is a new variant here and nothing elsewhere. A
//! decoder is compiled once per (format, signature, options), an encoder once per (format, model version, fields);
//! both then run for every record without allocating, once the decoder has met the members that records bring.

pub mod json;

use serde::{Deserialize, Serialize};

use crate::model::decision::ClassDecision;
use crate::model::signature::{Signature, Target};
use crate::model::target_scale::TargetScale;
use crate::record::Rejection;

/// The formats of a record's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object per record: [`json`].
    Json,
}

/// What becomes of `NaN`, which JSON doesn't have and Python's json writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "program", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum NanPolicy {
    /// The record is rejected as malformed
    #[default]
    Reject,
    /// It is a missing value
    Missing,
}

/// The place of one value in a payload, in bytes: start and end; empty when the record doesn't have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte behind the last one.
    pub end: u32,
}

impl Span {
    /// Whether the record doesn't have the value.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The bytes of `payload` at this place.
    ///
    /// # Panics
    /// When the span comes from a longer payload.
    pub fn of(self, payload: &[u8]) -> &[u8] {
        &payload[self.start as usize..self.end as usize]
    }
}

/// How the records of a route say their features.
#[derive(Clone, Debug, Default)]
pub struct DecodeOptions {
    /// Dotted path of the object (or array) that holds the features; empty: the top level.
    pub features: String,
    /// A number may come as a string.
    pub numeric_strings: bool,
    /// What becomes of `NaN`.
    pub nan: NanPolicy,
    /// Members to copy to the output: names at the top level, or dotted paths.
    pub fields: Vec<String>,
}

/// Turns payloads of one format into rows.
#[derive(Debug)]
pub enum Decoder {
    /// JSON.
    Json(json::Decoder),
}

impl Decoder {
    /// The decoder for records of this format that a model with this signature scores.
    pub fn new(format: Format, signature: &Signature, options: &DecodeOptions) -> Decoder {
        match format {
            Format::Json => Decoder::Json(json::Decoder::new(signature, options)),
        }
    }

    /// Fills `row` with one value per feature, gaps included, and `fields` with one span per [`DecodeOptions::fields`].
    ///
    /// Whether the model forgives the gaps is for [`Signature::check`] to say. The error is a record that can't be read.
    ///
    /// # Panics
    /// When `row` or `fields` has another length than the signature or the options given to [`Decoder::new`].
    pub fn decode(&mut self, payload: &[u8], row: &mut [f64], fields: &mut [Span]) -> Result<(), Rejection> {
        match self {
            Decoder::Json(decoder) => decoder.decode(payload, row, fields),
        }
    }

    /// What a record that was decoded has where the features were looked for, for a person.
    pub fn describe(&self, payload: &[u8]) -> String {
        match self {
            Decoder::Json(decoder) => decoder.describe(payload),
        }
    }
}

/// Turns predictions into payloads of one format.
#[derive(Debug)]
pub enum Encoder {
    /// JSON.
    Json(json::Encoder),
}

impl Encoder {
    /// The encoder for the predictions of this model version; `fields` are the names of the copied members.
    pub fn new(
        format: Format,
        model: &str,
        version: u64,
        target: &Target,
        decision: ClassDecision,
        fields: &[String],
    ) -> Encoder {
        match format {
            Format::Json => Encoder::Json(json::Encoder::new(model, version, target, decision, fields)),
        }
    }

    /// For numbers on this scale.
    pub fn with_scale(self, scale: Option<TargetScale>) -> Encoder {
        match self {
            Encoder::Json(encoder) => Encoder::Json(encoder.with_scale(scale)),
        }
    }

    /// Replaces `out` by the prediction record.
    ///
    /// `fields` are the places in `payload` that the decoder found; `outputs` is the model's answer for this row:
    /// probabilities in class order, or numbers. The error is an answer that isn't finite.
    pub fn encode(&self, payload: &[u8], fields: &[Span], outputs: &[f32], out: &mut Vec<u8>) -> Result<(), Rejection> {
        match self {
            Encoder::Json(encoder) => encoder.encode(payload, fields, outputs, out),
        }
    }
}

/// The members that every prediction record has of its own.
const RESERVED: [&str; 4] = ["prediction", "probabilities", "model", "version"];

/// Whether members with these names can be copied to the output; the error says which one can't, and why.
pub fn validate_fields(fields: &[String]) -> Result<(), String> {
    for (index, field) in fields.iter().enumerate() {
        if field.is_empty() {
            return Err("a field needs a name".into());
        }
        if RESERVED.contains(&field.as_str()) {
            return Err(format!("field {field:?} would collide with the prediction's own member of that name"));
        }
        if fields[..index].contains(field) {
            return Err(format!("field {field:?} is listed twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_cannot_be_copied_are_refused() {
        let check = |names: &[&str]| validate_fields(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["id", "time"]), Ok(()));
        for reserved in ["prediction", "probabilities", "model", "version"] {
            assert!(check(&["id", reserved]).unwrap_err().contains(reserved));
        }
        assert!(check(&["id", "time", "id"]).unwrap_err().contains("twice"));
        assert!(check(&[""]).is_err());
    }
}
