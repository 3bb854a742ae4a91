//! From the typed values of a record to row values: what a number, a text or a boolean means as a feature is the same in
//! every format.

use std::io::Write;

use super::NanPolicy;
use super::json::{Kind, not_a_number, numeric_string};
use crate::codec::DecodeOptions;
use crate::model::signature::Signature;
use crate::record::Gap;
use crate::texts;

/// The features of a signature, as far as values are concerned.
#[derive(Debug)]
pub(super) struct Features {
    kinds: Vec<Kind>,
    numeric_strings: bool,
    nan: NanPolicy,
}

impl Features {
    pub(super) fn new(signature: &Signature, options: &DecodeOptions) -> Features {
        Features {
            kinds: signature.features.iter().map(|feature| Kind::new(&feature.kind)).collect(),
            numeric_strings: options.numeric_strings,
            nan: options.nan,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    #[inline]
    pub(super) fn integer(&self, feature: usize, value: i64) -> f64 {
        match &self.kinds[feature] {
            Kind::Numeric => value as f64,
            Kind::Time => texts::epoch(value as f64),
            Kind::Categorical(categories) => as_written(value, |written| categories.number(written, value as f64)),
        }
    }

    pub(super) fn unsigned(&self, feature: usize, value: u64) -> f64 {
        match &self.kinds[feature] {
            Kind::Numeric => value as f64,
            Kind::Time => texts::epoch(value as f64),
            Kind::Categorical(categories) => as_written(value, |written| categories.number(written, value as f64)),
        }
    }

    /// Of a number of 32 bits. It is another number than the one of 64 bits that is written in the same way.
    #[inline]
    pub(super) fn single(&self, feature: usize, value: f32) -> f64 {
        match &self.kinds[feature] {
            Kind::Categorical(categories) if value.is_finite() => {
                let mut buffer = zmij::Buffer::new();
                categories.number(buffer.format_finite(value).as_bytes(), f64::from(value))
            }
            _ => self.double(feature, f64::from(value)),
        }
    }

    #[inline]
    pub(super) fn double(&self, feature: usize, value: f64) -> f64 {
        if !value.is_finite() {
            return self.not_finite(value);
        }
        match &self.kinds[feature] {
            Kind::Numeric => value,
            Kind::Time => texts::epoch(value),
            Kind::Categorical(categories) => {
                let mut buffer = zmij::Buffer::new();
                categories.number(buffer.format_finite(value).as_bytes(), value)
            }
        }
    }

    #[cold]
    fn not_finite(&self, value: f64) -> f64 {
        let is_missing = value.is_nan() && self.nan == NanPolicy::Missing;
        if is_missing { Gap::Missing.value() } else { Gap::NotFinite.value() }
    }

    /// Of a date and time that the format has as a type of its own, in seconds since 1970.
    pub(super) fn time(&self, feature: usize, seconds: f64) -> f64 {
        if matches!(self.kinds[feature], Kind::Time) { seconds } else { Gap::Object.value() }
    }

    pub(super) fn boolean(&self, feature: usize, value: bool) -> f64 {
        match &self.kinds[feature] {
            Kind::Numeric => f64::from(u8::from(value)),
            Kind::Time => Gap::Boolean.value(),
            Kind::Categorical(categories) => categories.boolean(value),
        }
    }

    /// Of a text, and of bytes that may be one.
    #[inline]
    pub(super) fn text(&self, feature: usize, value: &[u8]) -> f64 {
        match &self.kinds[feature] {
            Kind::Numeric if self.numeric_strings => numeric_string(value, self.nan),
            Kind::Numeric => not_a_number(value).value(),
            Kind::Time => {
                let moment = std::str::from_utf8(value).map_err(|_| Gap::String).and_then(texts::moment);
                moment.unwrap_or_else(Gap::value)
            }
            Kind::Categorical(categories) => categories.index_or(value, Gap::Unknown),
        }
    }

    /// Of a cell of CSV that isn't a missing value, as [`texts`] says for tables: `numeric_strings` and `nan` are for formats with
    /// types.
    #[inline]
    pub(super) fn cell(&self, feature: usize, cell: &str) -> f64 {
        match &self.kinds[feature] {
            Kind::Numeric => texts::cell_number(cell).unwrap_or_else(Gap::value),
            Kind::Time => texts::moment(cell).unwrap_or_else(Gap::value),
            Kind::Categorical(categories) => categories.cell(cell),
        }
    }
}

/// Calls `with` with the number as it is written in decimal.
fn as_written(number: impl std::fmt::Display, with: impl FnOnce(&[u8]) -> f64) -> f64 {
    let mut buffer = [0; 24];
    let mut rest = &mut buffer[..];
    write!(rest, "{number}").unwrap_or_else(|_| unreachable!("64 bits have 20 digits and a sign"));
    let free = rest.len();
    with(&buffer[..24 - free])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing;
    use crate::model::signature::{Feature, Kind, Missing, Target, Unknown};

    #[test]
    fn values_mean_what_they_mean_in_json() {
        let category = Kind::Categorical {
            categories: ["red", "7", "true", "1.5"].map(String::from).to_vec(),
            unknown: Unknown::Zeros,
        };
        let feature = |name: &str, kind| Feature { name: name.into(), kind, missing: Missing::Reject };
        let signature = Signature {
            features: vec![
                feature("number", Kind::Numeric),
                feature("category", category),
                feature("time", Kind::Time),
            ],
            target: Target::Regression { names: vec!["y".into()] },
        };
        let strict = Features::new(&signature, &DecodeOptions::default());
        let options = DecodeOptions { numeric_strings: true, nan: NanPolicy::Missing, ..DecodeOptions::default() };
        let lenient = Features::new(&signature, &options);
        let same = |found: f64, expected: f64| assert_eq!(found.to_bits(), expected.to_bits(), "{found} {expected}");
        let (missing, unknown) = (Gap::Missing.value(), Gap::Unknown.value());

        same(strict.integer(0, -3), -3.0);
        same(strict.integer(1, 7), 1.0);
        same(strict.unsigned(1, u64::MAX), unknown);
        same(strict.double(1, 7.0), 1.0);
        same(strict.single(1, 1.5), 3.0);
        same(strict.double(0, f64::NAN), Gap::NotFinite.value());
        same(lenient.double(0, f64::NAN), missing);
        same(lenient.single(1, f32::NAN), missing);
        same(lenient.single(0, f32::INFINITY), Gap::NotFinite.value());
        same(strict.boolean(0, true), 1.0);
        same(strict.boolean(1, true), 2.0);
        same(strict.boolean(1, false), Gap::Boolean.value());
        same(strict.text(0, b"1.5"), Gap::String.value());
        same(lenient.text(0, b"1.5"), 1.5);
        same(strict.text(0, b""), missing);
        same(strict.text(1, b""), missing);
        same(strict.text(1, b"red"), 0.0);
        same(strict.text(1, b"blue"), unknown);

        same(strict.text(0, b" "), missing);
        same(lenient.text(0, b" "), missing);
        same(strict.integer(2, 1_704_069_000_000), 1_704_069_000.0);
        same(strict.double(2, 1_704_069_000.5), 1_704_069_000.5);
        same(strict.text(2, b"2024-01-01T00:30:00Z"), 1_704_069_000.0);
        same(strict.text(2, b"July"), Gap::String.value());
        same(strict.text(2, b"\xff"), Gap::String.value());
        same(strict.time(2, 1.5), 1.5);
        same(strict.time(0, 1.5), Gap::Object.value());
        same(strict.boolean(2, true), Gap::Boolean.value());
    }

    #[test]
    fn cells_mean_what_they_mean_in_a_table() {
        let signature = testing::signature();
        let features = Features::new(&signature, &DecodeOptions::default());
        let (missing, string) = (Gap::Missing.value(), Gap::String.value());
        for (feature, cell, expected) in [
            (0, " 1.5 ", 1.5),
            (0, "True", 1.0),
            (0, "1e999", Gap::NotFinite.value()),
            (0, "x", string),
            (0, "-nan", missing),
            (0, "-NAN", missing),
            (1, " AA", 0.0),
            (1, "7.0", 1.0),
            (1, "TRUE", Gap::Boolean.value()),
            (1, "true", 2.0),
            (1, "BB", Gap::Unknown.value()),
        ] {
            assert_eq!(features.cell(feature, cell).to_bits(), expected.to_bits(), "{cell:?}");
        }
    }
}
