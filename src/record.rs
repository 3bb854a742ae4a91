//! What travels down the line: where a record came from, what its features say, and why a record can't be scored.
//!
//! A decoded record is one row of `f64`, one value per feature in signature order. A category is its index as a
//! number. Where the record gives no usable value the row holds a [`Gap`]: a NaN whose payload says why. JSON has no
//! NaN, so a gap never collides with a value, a repeated key simply overwrites what an earlier one left (the last
//! one wins, as everywhere in JSON), and a row needs no second array beside it.

use std::fmt;

/// Where a record came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The input topic.
    pub topic: &'a str,
    /// The partition of that topic.
    pub partition: i32,
    /// The record's offset in that partition.
    pub offset: i64,
}

/// Why a record can't be scored: a closed list, which is also the label of `weir_records_rejected_total` and the
/// value of the header `weir-error-reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The payload isn't the format it should be, or is absent (a tombstone).
    Malformed,
    /// The record was written with a schema that isn't known.
    UnknownSchema,
    /// A feature without imputation is absent or null.
    MissingFeature,
    /// A feature has a value of another type.
    WrongType,
    /// A number is beyond the range of an f64.
    NotFinite,
    /// A category that training didn't see, where the signature rejects those.
    UnknownCategory,
    /// An array of features has more or fewer values than the model.
    WrongLength,
    /// The payload is larger than `input.max_bytes`.
    TooLarge,
    /// The model answered NaN or an infinity.
    PredictionNotFinite,
    /// The prediction is larger than the output topic takes.
    OutputTooLarge,
    /// The output topic refuses the prediction of this record, whenever it is sent.
    OutputRefused,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Reason; 11] = [
        Reason::Malformed,
        Reason::UnknownSchema,
        Reason::MissingFeature,
        Reason::WrongType,
        Reason::NotFinite,
        Reason::UnknownCategory,
        Reason::WrongLength,
        Reason::TooLarge,
        Reason::PredictionNotFinite,
        Reason::OutputTooLarge,
        Reason::OutputRefused,
    ];

    /// The name in metrics and headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Malformed => "malformed",
            Reason::UnknownSchema => "unknown_schema",
            Reason::MissingFeature => "missing_feature",
            Reason::WrongType => "wrong_type",
            Reason::NotFinite => "not_finite",
            Reason::UnknownCategory => "unknown_category",
            Reason::WrongLength => "wrong_length",
            Reason::TooLarge => "too_large",
            Reason::PredictionNotFinite => "prediction_not_finite",
            Reason::OutputTooLarge => "output_too_large",
            Reason::OutputRefused => "output_refused",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A record that can't be scored. It goes to the dead-letter topic; it is never an error of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The reason, out of the closed list.
    pub reason: Reason,
    /// What was found and where, for a person.
    pub message: String,
}

impl Rejection {
    /// A rejection with its message.
    pub fn new(reason: Reason, message: impl Into<String>) -> Rejection {
        Rejection { reason, message: message.into() }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

/// Why a feature of a decoded row has no usable value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Gap {
    /// Absent, or `null`.
    Missing = 1,
    /// A category that the signature doesn't list.
    Unknown = 2,
    /// A number beyond the range of an f64, or a numeric string that says NaN or infinity.
    NotFinite = 3,
    /// A boolean where a category is expected and none is called so.
    Boolean = 4,
    /// A string where a number is expected.
    String = 5,
    /// An array.
    Array = 6,
    /// An object.
    Object = 7,
}

/// A quiet NaN; the gap is added to its low bits.
const QUIET_NAN: u64 = 0x7ff8_0000_0000_0000;

impl Gap {
    /// Every gap.
    pub const ALL: [Gap; 7] =
        [Gap::Missing, Gap::Unknown, Gap::NotFinite, Gap::Boolean, Gap::String, Gap::Array, Gap::Object];

    /// The row value that stands for this gap.
    pub const fn value(self) -> f64 {
        f64::from_bits(QUIET_NAN | self as u64)
    }

    /// The gap that a row value stands for; `None` for a number. A NaN of any other origin counts as `NotFinite`.
    pub fn of(value: f64) -> Option<Gap> {
        if !value.is_nan() {
            return None;
        }
        let found = Gap::ALL.into_iter().find(|gap| gap.value().to_bits() == value.to_bits());
        Some(found.unwrap_or(Gap::NotFinite))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_differs_from_every_number_and_every_other_gap() {
        for gap in Gap::ALL {
            assert_eq!(Gap::of(gap.value()), Some(gap));
        }
        for number in [0.0, -0.0, 1.5, f64::MAX, f64::INFINITY, f64::MIN_POSITIVE] {
            assert_eq!(Gap::of(number), None);
        }
        assert_eq!(Gap::of(f64::NAN), Some(Gap::NotFinite));
    }

    #[test]
    fn reasons_have_names_of_their_own() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
