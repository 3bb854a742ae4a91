//! Payload to row, prediction to payload: one module per format, decoding and encoding side by side.
//!
//! The worker sees [`Decoder`] and [`Encoder`] only. A decoder is compiled once per (format, signature, options), an
//! encoder once per (format, model version, fields). Either can fail, since a model may need what the options don't give.
//! Both then run for every record without allocating, once the decoder has met the members that records bring.
//!
//! `features` turns typed values into row values, `wanted` is the tree of names that the features and the copied fields
//! make, `field` is the value of a copied field. CONTRIBUTING has the recipe for another format.

#[cfg(feature = "program")]
mod avro;
#[cfg(not(feature = "program"))]
#[path = "codec/avro_absent.rs"]
mod avro;
mod csv;
mod features;
mod field;
mod floats;
pub mod json;
mod msgpack;
#[cfg(test)]
pub(crate) mod testing;
mod wanted;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::decision::ClassDecision;
use crate::model::signature::{Signature, Target};
use crate::model::target_scale::TargetScale;
use crate::record::{Reason, Rejection};
pub use field::{FieldValue, Fields, Span};

/// The formats of a record's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "program", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object per record
    Json,
    /// One line of comma-separated values per record, without a header
    Csv,
    /// The features as little-endian 32-bit floats, in the order of the model
    F32,
    /// One MessagePack map per record
    Msgpack,
    /// One Avro record, of the schema in [`DecodeOptions::schema`]
    #[cfg_attr(feature = "program", value(skip))]
    Avro,
}

impl Format {
    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Csv => "csv",
            Format::F32 => "f32",
            Format::Msgpack => "msgpack",
            Format::Avro => "avro",
        }
    }

    /// A payload of this format as JSON, for a person. `None` of a format that is text itself or needs a schema, and of a
    /// payload that isn't of the format.
    pub fn readable(self, payload: &[u8]) -> Option<String> {
        match self {
            Format::Json | Format::Csv | Format::Avro => None,
            Format::F32 => floats::readable(payload),
            Format::Msgpack => msgpack::readable(payload),
        }
    }

    /// How many bytes the first record has, of records that follow each other in a file without anything between them. `None`
    /// if it doesn't end within `bytes`, and of a format that needs a schema. Formats of text have one record a line.
    pub fn record_length(self, features: usize, bytes: &[u8]) -> Option<usize> {
        match self {
            Format::Json | Format::Csv => memchr::memchr(b'\n', bytes).map(|length| length + 1),
            Format::F32 => floats::record_length(features, bytes),
            Format::Msgpack => msgpack::record_length(bytes),
            Format::Avro => None,
        }
    }
}

/// What becomes of `NaN`, which JSON doesn't have and Python's json writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "program", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum NanPolicy {
    /// The record is rejected: as malformed where the format has no NaN, as not finite where it has
    #[default]
    Reject,
    /// It is a missing value
    Missing,
}

/// What comes before an Avro record, and says by which schema it was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Nothing: every record has the schema of the configuration.
    #[default]
    None,
    /// Avro's single-object encoding: two bytes and the schema's fingerprint.
    SingleObject,
}

/// Why records can't be read, or predictions written, as the configuration asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The format of predictions is one that only records can have.
    #[error("format = {:?}: predictions can only be written as json", .0.as_str())]
    NotWritten(Format),
    /// The option doesn't belong to the format, or lacks a value.
    #[error("{0}")]
    Option(String),
    /// The schema isn't one.
    #[error("schema: {0}")]
    Schema(String),
    /// Neither the columns nor the schema have features without which a record is rejected.
    #[error("{place} lacks {features}, which the model requires")]
    Lacks {
        /// What lacks them: an option.
        place: &'static str,
        /// The features, in quotes.
        features: String,
    },
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
    /// Of a CSV line, the names of its columns in order; none: the features in signature order.
    pub columns: Vec<String>,
    /// What separates the columns of a CSV line; none: a comma.
    pub delimiter: Option<char>,
    /// The schema of the records, as text.
    pub schema: Option<Arc<str>>,
    /// A schema with aliases and defaults for what the records' own schema doesn't have, as text.
    pub reader_schema: Option<Arc<str>>,
    /// What comes before each record.
    pub framing: Framing,
    /// Cells of a CSV line that stand for a missing value, besides those of [`crate::texts::is_missing`].
    pub na: Vec<String>,
}

/// Turns payloads of one format into rows.
#[derive(Debug)]
pub enum Decoder {
    /// JSON.
    Json(json::Decoder),
    /// CSV.
    Csv(csv::Decoder),
    /// Little-endian 32-bit floats.
    F32(floats::Decoder),
    /// MessagePack.
    Msgpack(msgpack::Decoder),
    /// Avro.
    Avro(avro::Decoder),
}

impl Decoder {
    /// The decoder for records of this format that a model with this signature scores.
    pub fn new(format: Format, signature: &Signature, options: &DecodeOptions) -> Result<Decoder, CodecError> {
        Ok(match format {
            Format::Json => Decoder::Json(json::Decoder::new(signature, options)),
            Format::Csv => Decoder::Csv(csv::Decoder::new(signature, options)?),
            Format::F32 => Decoder::F32(floats::Decoder::new(signature, options)),
            Format::Msgpack => Decoder::Msgpack(msgpack::Decoder::new(signature, options)),
            Format::Avro => Decoder::Avro(avro::Decoder::new(signature, options)?),
        })
    }

    /// Fills `row` with one value per feature, gaps included, and `fields` with one value per [`DecodeOptions::fields`].
    /// What isn't in the payload as it must be copied is appended to `texts`.
    ///
    /// Whether the model forgives the gaps is for [`Signature::check`] to say. The error is a record that can't be read.
    ///
    /// # Panics
    /// When `row` or `fields` has another length than the signature or the options given to [`Decoder::new`].
    pub fn decode(
        &mut self,
        payload: &[u8],
        row: &mut [f64],
        fields: &mut [FieldValue],
        texts: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        if u32::try_from(payload.len()).is_err() {
            return Err(Rejection::new(Reason::TooLarge, format!("{} bytes", payload.len())));
        }
        match self {
            Decoder::Json(decoder) => decoder.decode(payload, row, fields),
            Decoder::Csv(decoder) => decoder.decode(payload, row, fields, texts),
            Decoder::F32(decoder) => decoder.decode(payload, row, fields),
            Decoder::Msgpack(decoder) => decoder.decode(payload, row, fields, texts),
            Decoder::Avro(decoder) => decoder.decode(payload, row, fields, texts),
        }
    }

    /// The features that no record can have, as far as a schema says that before the first one.
    pub fn lacking(&self) -> Vec<usize> {
        match self {
            Decoder::Avro(decoder) => decoder.lacking(),
            Decoder::Json(_) | Decoder::Csv(_) | Decoder::F32(_) | Decoder::Msgpack(_) => Vec::new(),
        }
    }

    /// What a record that was decoded has where the features were looked for, for a person.
    pub fn describe(&self, payload: &[u8]) -> String {
        match self {
            Decoder::Json(decoder) => decoder.describe(payload),
            Decoder::Csv(_) => "the cells of the line are empty".into(),
            Decoder::F32(_) => "the numbers are NaN".into(),
            Decoder::Msgpack(decoder) => decoder.describe(payload),
            Decoder::Avro(decoder) => decoder.describe(),
        }
    }
}

/// The end of a message about a payload that may be JSON and is none of the route's format.
fn json_hint(payload: &[u8]) -> &'static str {
    if payload.trim_ascii_start().starts_with(b"{") {
        ": it may be JSON, which input.format = \"json\" reads"
    } else {
        ""
    }
}

/// What is wrong with the options of a format, by name and in sentences for a person.
pub fn check_options(format: Format, options: &DecodeOptions) -> Result<(), CodecError> {
    let wrong = |message: String| Err(CodecError::Option(message));
    let belongs = |name: &str, of: &str| wrong(format!("{name} belongs to format = {of:?}, not {:?}", format.as_str()));
    if !options.columns.is_empty() && format != Format::Csv {
        return belongs("columns", "csv");
    }
    match options.delimiter {
        Some(_) if format != Format::Csv => return belongs("delimiter", "csv"),
        Some(delimiter) if !delimiter.is_ascii() || matches!(delimiter, '"' | '\r' | '\n') => {
            return wrong(format!(
                "delimiter = {delimiter:?}: must be one ASCII character, and no quote or line break"
            ));
        }
        _ => {}
    }
    if let Some(column) = options.columns.iter().enumerate().find(|(at, name)| options.columns[..*at].contains(name)) {
        return wrong(format!("columns: {:?} is listed twice", column.1));
    }
    if !options.features.is_empty() && matches!(format, Format::Csv | Format::F32) {
        return wrong(format!("features = {:?}: {} has no paths", options.features, format.as_str()));
    }
    let avro = [
        ("schema", options.schema.is_some()),
        ("reader_schema", options.reader_schema.is_some()),
        ("framing", options.framing != Framing::None),
    ];
    match avro.iter().find(|(_, is_set)| *is_set) {
        Some((name, _)) if format != Format::Avro => belongs(name, "avro"),
        _ if format == Format::Avro => check_schemas(options),
        _ => Ok(()),
    }
}

fn check_schemas(options: &DecodeOptions) -> Result<(), CodecError> {
    let Some(schema) = &options.schema else {
        let message = "format = \"avro\" needs schema, the path of a file with an Avro schema";
        return Err(CodecError::Option(message.into()));
    };
    avro::check_schema(schema)?;
    options.reader_schema.as_deref().map_or(Ok(()), avro::check_schema).map_err(|error| match error {
        CodecError::Schema(problem) => CodecError::Option(format!("reader_schema: {problem}")),
        error => error,
    })
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
    ) -> Result<Encoder, CodecError> {
        match format {
            Format::Json => Ok(Encoder::Json(json::Encoder::new(model, version, target, decision, fields))),
            Format::Csv | Format::F32 | Format::Msgpack | Format::Avro => Err(CodecError::NotWritten(format)),
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
    /// `fields` are the values that the decoder found; `outputs` is the model's answer for this row: probabilities in
    /// class order, or numbers. The error is an answer that isn't finite.
    pub fn encode(&self, fields: Fields<'_>, outputs: &[f32], out: &mut Vec<u8>) -> Result<(), Rejection> {
        match self {
            Encoder::Json(encoder) => encoder.encode(fields, outputs, out),
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
    fn options_that_belong_to_another_format_are_refused() {
        let columns = |names: &[&str]| DecodeOptions {
            columns: names.iter().map(ToString::to_string).collect(),
            ..DecodeOptions::default()
        };
        let delimiter = |delimiter| DecodeOptions { delimiter: Some(delimiter), ..DecodeOptions::default() };
        let path = || DecodeOptions { features: "payload".into(), ..DecodeOptions::default() };
        let schema = |text: &str| DecodeOptions { schema: Some(text.into()), ..DecodeOptions::default() };
        let reader = |text: &str| DecodeOptions { reader_schema: Some(text.into()), ..DecodeOptions::default() };
        let both = |writer: &str, text: &str| DecodeOptions { schema: Some(writer.into()), ..reader(text) };
        let framed = || DecodeOptions { framing: Framing::SingleObject, ..DecodeOptions::default() };
        for (format, options, expected) in [
            (Format::Json, DecodeOptions::default(), ""),
            (Format::Csv, columns(&["a", "b"]), ""),
            (Format::Csv, delimiter(';'), ""),
            (Format::Msgpack, path(), ""),
            (Format::Avro, schema("\"int\""), ""),
            (Format::Json, columns(&["a"]), "columns belongs to format = \"csv\", not \"json\""),
            (Format::Csv, columns(&["a", "b", "a"]), "columns: \"a\" is listed twice"),
            (Format::F32, delimiter(';'), "delimiter belongs to format = \"csv\""),
            (Format::Csv, delimiter('é'), "delimiter = 'é': must be one ASCII character"),
            (Format::Csv, path(), "features = \"payload\": csv has no paths"),
            (Format::Json, schema("\"int\""), "schema belongs to format = \"avro\""),
            (Format::Csv, reader("\"int\""), "reader_schema belongs to format = \"avro\""),
            (Format::Json, framed(), "framing belongs to format = \"avro\""),
            (Format::Avro, DecodeOptions::default(), "format = \"avro\" needs schema"),
            (Format::Avro, schema("int"), "schema: it isn't an Avro schema"),
            (Format::Avro, both("\"int\"", "{"), "reader_schema: it isn't an Avro schema"),
        ] {
            let found = check_options(format, &options).err().map_or(String::new(), |error| error.to_string());
            let is_as_expected = if expected.is_empty() { found.is_empty() } else { found.starts_with(expected) };
            assert!(is_as_expected, "{format:?}, {options:?}: {found:?} where {expected:?} is expected");
        }
    }

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
