//! Avro in a library without the feature `program`: there is no parser of schemas, and so no decoder. The library that only
//! scores is built for the counts of instructions, which have to build soon.

use super::{CodecError, DecodeOptions, FieldValue};
use crate::model::signature::Signature;
use crate::record::Rejection;

/// There is none.
#[derive(Debug)]
pub enum Decoder {}

pub(super) fn check_schema(_: &str) -> Result<(), CodecError> {
    Err(absent())
}

impl Decoder {
    pub(super) fn new(_: &Signature, _: &DecodeOptions) -> Result<Decoder, CodecError> {
        Err(absent())
    }

    pub(super) fn decode(
        &mut self,
        _: &[u8],
        _: &mut [f64],
        _: &mut [FieldValue],
        _: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        match *self {}
    }

    pub(super) fn lacking(&self) -> Vec<usize> {
        match *self {}
    }

    pub(super) fn describe(&self) -> String {
        match *self {}
    }
}

fn absent() -> CodecError {
    CodecError::Schema("this build reads no Avro".into())
}
