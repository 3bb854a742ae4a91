//! Avro's binary encoding: one record per value, by the schema that it was written with.
//!
//! `plan` compiles a schema and what is wanted of its records into nodes, once. `read` walks the nodes along the bytes of
//! each record and puts values straight into the row: it makes no tree and allocates nothing.

mod decimal;
mod plan;
mod read;
mod schema;

use apache_avro::Schema;

use super::features::Features;
use super::field::FieldValue;
use super::wanted::WantedNode;
use super::{CodecError, DecodeOptions, Framing, json_hint};
use crate::model::signature::{Missing, Signature};
use crate::printable::listed;
use crate::record::{Reason, Rejection};
use plan::Plan;
use read::Pass;

/// What the single-object encoding begins with.
const SINGLE_OBJECT: [u8; 2] = [0xc3, 0x01];

/// The bytes of a schema's fingerprint.
const FINGERPRINT: usize = 8;

/// Turns such records into rows. Compiled once per (schema, options, signature).
#[derive(Debug)]
pub struct Decoder {
    plan: Plan,
    features: Features,
    framing: Framing,
    fingerprint: u64,
    scratch: Vec<u8>,
}

/// Whether a text is a schema.
pub(super) fn check_schema(text: &str) -> Result<(), CodecError> {
    schema::parse(text).map(drop)
}

impl Decoder {
    /// A decoder for records of the schema in the options.
    ///
    /// # Errors
    /// There is no schema, or it can't give the features.
    pub(super) fn new(signature: &Signature, options: &DecodeOptions) -> Result<Decoder, CodecError> {
        let writer = schema::parse(options.schema.as_deref().unwrap_or_default())?;
        Decoder::compile(&writer, &[], "input.schema", signature, options)
    }

    /// A decoder for records of a schema that refers to these others.
    ///
    /// # Errors
    /// The schemas can't be read, or can't give the features.
    #[cfg_attr(not(test), allow(dead_code, reason = "for schemas of a registry, which has no client yet"))]
    pub(super) fn by_schema(
        schema: &str,
        references: &[String],
        signature: &Signature,
        options: &DecodeOptions,
    ) -> Result<Decoder, CodecError> {
        let (writer, references) = schema::parse_with(schema, references)?;
        Decoder::compile(&writer, &references, "it", signature, options)
    }

    fn compile(
        writer: &Schema,
        references: &[Schema],
        place: &'static str,
        signature: &Signature,
        options: &DecodeOptions,
    ) -> Result<Decoder, CodecError> {
        let features = Features::new(signature, options);
        let reader = options.reader_schema.as_deref().map(schema::parse).transpose()?;
        let wanted = WantedNode::dotted(signature, options);
        let plan = Plan::new(writer, references, reader.as_ref(), &wanted, &features)?;
        check_features(signature, &plan, place)?;
        let fingerprint = schema::fingerprint(writer);
        Ok(Decoder { plan, features, framing: options.framing, fingerprint, scratch: Vec::new() })
    }

    /// Fills `row` and `fields`.
    ///
    /// # Errors
    /// `malformed`: the bytes aren't a record of the schema, or more than one. `wrong_type`: the path leads to something
    /// else than features, in this record. `wrong_length`: an array with more or fewer values than there are features.
    /// `too_large`: the copied fields are far larger as JSON. `unknown_schema`: the record was written with another schema.
    pub(super) fn decode(
        &mut self,
        payload: &[u8],
        row: &mut [f64],
        fields: &mut [FieldValue],
        texts: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        let start = match self.framing {
            Framing::None => 0,
            Framing::SingleObject => self.after_fingerprint(payload)?,
        };
        let read = self.decode_after(start, payload, row, fields, texts);
        read.map_err(|rejection| self.explained(rejection, payload))
    }

    /// The same of a record that begins at `start`, whatever comes before it.
    ///
    /// # Errors
    /// Those of [`Decoder::decode`] but for the last.
    ///
    /// # Panics
    /// When the payload ends before `start`.
    pub(super) fn decode_after(
        &mut self,
        start: usize,
        payload: &[u8],
        row: &mut [f64],
        fields: &mut [FieldValue],
        texts: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        assert_eq!(row.len(), self.features.len(), "one value per feature");
        assert!(start <= payload.len(), "the record begins within the payload");
        let Decoder { plan, features, scratch, .. } = self;
        let before = texts.len();
        let read = Pass::new(plan, features, payload, start, row, fields, texts, scratch).record();
        if read.is_err() {
            texts.truncate(before);
        }
        read
    }

    /// The features that no record of the schema can have.
    pub(super) fn lacking(&self) -> Vec<usize> {
        (0..self.features.len()).filter(|feature| !self.plan.has_feature[*feature]).collect()
    }

    /// The fields of the schema.
    pub(super) fn describe(&self) -> String {
        self.plan.describe()
    }

    /// Where the record begins.
    fn after_fingerprint(&self, payload: &[u8]) -> Result<usize, Rejection> {
        let Some(fingerprint) = payload.strip_prefix(&SINGLE_OBJECT).and_then(|rest| rest.first_chunk()) else {
            let message = "it doesn't begin as Avro's single-object encoding does, with the bytes c3 01";
            return Err(Rejection::new(Reason::Malformed, message));
        };
        let (found, expected) = (u64::from_le_bytes(*fingerprint), self.fingerprint);
        if found != expected {
            let message = format!("the schema's fingerprint is {found:016x}, that of input.schema is {expected:016x}");
            return Err(Rejection::new(Reason::UnknownSchema, message));
        }
        Ok(SINGLE_OBJECT.len() + FINGERPRINT)
    }

    /// Bytes that aren't a record of the schema may have something before it.
    #[cold]
    fn explained(&self, Rejection { reason, message }: Rejection, payload: &[u8]) -> Rejection {
        let hint = match payload {
            _ if reason != Reason::Malformed || self.framing != Framing::None => "",
            [0xc3, 0x01, ..] => "; it may be in single-object encoding: set input.framing = \"single_object\"",
            [0, _, _, _, _, ..] => "; it may begin with the five bytes of a schema registry, which aren't read yet",
            [b'O', b'b', b'j', 1, ..] => "; it is an Avro file",
            _ => json_hint(payload),
        };
        Rejection { reason, message: message + hint }
    }
}

/// The schema must have every feature without which a record is rejected, and one feature at least.
fn check_features(signature: &Signature, plan: &Plan, place: &'static str) -> Result<(), CodecError> {
    let has_none = !plan.has_feature.contains(&true);
    let lacking = signature.features.iter().zip(&plan.has_feature).filter(|(_, has)| !**has);
    let required = lacking.filter(|(feature, _)| has_none || feature.missing == Missing::Reject);
    let names: Vec<_> = required.map(|(feature, _)| feature.name.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(CodecError::Lacks { place, features: listed(names) })
}

#[cfg(test)]
mod tests;
