//! The features as little-endian 32-bit floats, one after the other, in signature order: what `numpy.float32` and
//! `java.nio` write without a library. A record has no names, so nothing can be copied from it.

use super::features::Features;
use super::field::FieldValue;
use super::{DecodeOptions, json_hint};
use crate::model::signature::Signature;
use crate::record::{Reason, Rejection};

/// The bytes of a number.
const WIDTH: usize = size_of::<f32>();

/// Turns such records into rows.
#[derive(Debug)]
pub struct Decoder {
    features: Features,
}

impl Decoder {
    pub(super) fn new(signature: &Signature, options: &DecodeOptions) -> Decoder {
        Decoder { features: Features::new(signature, options) }
    }

    /// Fills `row`. A category is a number that one of the categories is called by. NaN is a missing value or isn't
    /// finite, as [`DecodeOptions::nan`] says.
    pub(super) fn decode(&self, payload: &[u8], row: &mut [f64], fields: &mut [FieldValue]) -> Result<(), Rejection> {
        assert_eq!(row.len(), self.features.len(), "one value per feature");
        if payload.len() != row.len() * WIDTH {
            let (bytes, features, expected, hint) = (payload.len(), row.len(), row.len() * WIDTH, json_hint(payload));
            let message =
                format!("{bytes} bytes, the model takes {expected} (4 for each of {features} features){hint}");
            return Err(Rejection::new(Reason::WrongLength, message));
        }
        fields.fill(FieldValue::Absent);
        for (feature, (value, number)) in row.iter_mut().zip(payload.as_chunks::<WIDTH>().0).enumerate() {
            *value = self.features.single(feature, f32::from_le_bytes(*number));
        }
        Ok(())
    }
}

/// The numbers, as an array.
pub(super) fn readable(payload: &[u8]) -> Option<String> {
    let (numbers, rest) = payload.as_chunks::<WIDTH>();
    let numbers = numbers.iter().map(|number| f32::from_le_bytes(*number).to_string());
    rest.is_empty().then(|| format!("[{}]", numbers.collect::<Vec<_>>().join(", ")))
}

/// The length of a record, if it is there.
pub(super) fn record_length(features: usize, bytes: &[u8]) -> Option<usize> {
    Some(features * WIDTH).filter(|&length| length <= bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::NanPolicy;
    use crate::codec::testing::{bits, signature};
    use crate::record::Gap;

    fn decode(nan: NanPolicy, numbers: &[f32]) -> Result<Vec<u64>, Reason> {
        let options = DecodeOptions { nan, ..DecodeOptions::default() };
        let payload: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let mut row = [0.0; 3];
        let decoded = Decoder::new(&signature(), &options).decode(&payload, &mut row, &mut []);
        decoded.map(|()| bits(&row)).map_err(|rejection| rejection.reason)
    }

    #[test]
    fn numbers_are_features_in_order() {
        assert_eq!(decode(NanPolicy::Reject, &[1.5, 7.0, -2.0]), Ok(bits(&[1.5, 1.0, -2.0])));
        assert_eq!(
            decode(NanPolicy::Reject, &[0.1, 8.0, -2.0]),
            Ok(bits(&[f64::from(0.1_f32), Gap::Unknown.value(), -2.0]))
        );
        assert_eq!(decode(NanPolicy::Reject, &[1.0, 7.0]), Err(Reason::WrongLength));
        assert_eq!(decode(NanPolicy::Reject, &[1.0, 7.0, 1.0, 1.0]), Err(Reason::WrongLength));
    }

    #[test]
    fn what_is_not_finite_is_a_gap() {
        let (missing, not_finite) = (Gap::Missing.value(), Gap::NotFinite.value());
        assert_eq!(decode(NanPolicy::Missing, &[f32::NAN; 3]), Ok(bits(&[missing; 3])));
        assert_eq!(decode(NanPolicy::Reject, &[f32::NAN; 3]), Ok(bits(&[not_finite; 3])));
        assert_eq!(decode(NanPolicy::Missing, &[f32::INFINITY; 3]), Ok(bits(&[not_finite; 3])));
    }

    #[test]
    fn a_record_can_be_shown() {
        assert_eq!(readable(b"\x00\x00\xc0\x3f\x00\x00\xc0\x7f").as_deref(), Some("[1.5, NaN]"));
        assert_eq!(readable(b"\x00\x00\xc0"), None);
    }
}
