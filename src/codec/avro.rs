//! Avro's binary encoding: one record per value, by the schema that it was written with.
//!
//! `plan` compiles a schema and what is wanted of its records into nodes, once. `read` walks the nodes along the bytes of
//! each record and puts values straight into the row: it makes no tree and allocates nothing.

mod decimal;
mod plan;
mod read;

use apache_avro::Schema;
use apache_avro::rabin::Rabin;

use super::features::Features;
use super::field::FieldValue;
use super::wanted::WantedNode;
use super::{CodecError, DecodeOptions, Framing};
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
    fingerprint: [u8; FINGERPRINT],
    scratch: Vec<u8>,
}

/// Reads a schema.
pub(super) fn parse(text: &str) -> Result<Schema, CodecError> {
    Schema::parse_str(text).map_err(|error| CodecError::Schema(format!("it isn't an Avro schema: {error}")))
}

impl Decoder {
    /// # Errors
    /// There is no schema, or it can't give the features.
    pub(super) fn new(signature: &Signature, options: &DecodeOptions) -> Result<Decoder, CodecError> {
        let schema = parse(options.schema.as_deref().unwrap_or_default())?;
        let features = Features::new(signature, options);
        let plan = Plan::new(&schema, None, &WantedNode::dotted(signature, options), &features)?;
        check_features(signature, &plan)?;
        let mut fingerprint = [0; FINGERPRINT];
        fingerprint.copy_from_slice(&schema.fingerprint::<Rabin>().bytes[..FINGERPRINT]);
        Ok(Decoder { plan, features, framing: options.framing, fingerprint, scratch: Vec::new() })
    }

    /// Fills `row` and `fields`.
    ///
    /// # Errors
    /// `malformed`: the bytes aren't a record of the schema, or more than one. `wrong_type`: the path leads to something
    /// else than features, in this record. `wrong_length`: an array with more or fewer values than there are features.
    /// `unknown_schema`: the record was written with another schema.
    pub(super) fn decode(
        &mut self,
        payload: &[u8],
        row: &mut [f64],
        fields: &mut [FieldValue],
        texts: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        assert_eq!(row.len(), self.features.len(), "one value per feature");
        let start = match self.framing {
            Framing::None => 0,
            Framing::SingleObject => self.after_fingerprint(payload)?,
        };
        let Decoder { plan, features, scratch, .. } = self;
        let read = Pass::new(plan, features, payload, start, row, fields, texts, scratch).record();
        read.map_err(|rejection| self.explained(rejection, payload))
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
        if *fingerprint != self.fingerprint {
            let [found, expected] = [fingerprint, &self.fingerprint].map(|bytes| u64::from_le_bytes(*bytes));
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
            [b'{', ..] => "; it may be JSON",
            _ => "",
        };
        Rejection { reason, message: message + hint }
    }
}

/// The schema must have every feature without which a record is rejected, and one feature at least.
fn check_features(signature: &Signature, plan: &Plan) -> Result<(), CodecError> {
    let has_none = !plan.has_feature.contains(&true);
    let lacking = signature.features.iter().zip(&plan.has_feature).filter(|(_, has)| !**has);
    let required = lacking.filter(|(feature, _)| has_none || feature.missing == Missing::Reject);
    let names: Vec<_> = required.map(|(feature, _)| feature.name.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(CodecError::Lacks { place: "input.schema", features: listed(names) })
}

#[cfg(test)]
mod tests;
