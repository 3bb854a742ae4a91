//! From the typed values of a record to row values: what a number, a text or a boolean means as a feature is the same in
//! every format.

use std::io::Write;

use super::NanPolicy;
use super::json::{Categories, numeric_string};
use crate::codec::DecodeOptions;
use crate::model::signature::{Kind, Signature};
use crate::record::Gap;

/// The features of a signature, as far as values are concerned.
#[derive(Debug)]
pub(super) struct Features {
    /// The categories of each feature; none of a numeric one.
    kinds: Vec<Option<Categories>>,
    numeric_strings: bool,
    nan: NanPolicy,
}

impl Features {
    pub(super) fn new(signature: &Signature, options: &DecodeOptions) -> Features {
        let categories = |kind: &Kind| match kind {
            Kind::Numeric => None,
            Kind::Categorical { categories, .. } => Some(Categories::new(categories)),
        };
        Features {
            kinds: signature.features.iter().map(|feature| categories(&feature.kind)).collect(),
            numeric_strings: options.numeric_strings,
            nan: options.nan,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// The categories of a feature that has some.
    pub(super) fn categories(&self, feature: usize) -> Option<&Categories> {
        self.kinds[feature].as_ref()
    }

    #[inline]
    pub(super) fn integer(&self, feature: usize, value: i64) -> f64 {
        match &self.kinds[feature] {
            None => value as f64,
            Some(categories) => as_written(value, |written| categories.number(written, value as f64)),
        }
    }

    pub(super) fn unsigned(&self, feature: usize, value: u64) -> f64 {
        match &self.kinds[feature] {
            None => value as f64,
            Some(categories) => as_written(value, |written| categories.number(written, value as f64)),
        }
    }

    #[inline]
    pub(super) fn single(&self, feature: usize, value: f32) -> f64 {
        match &self.kinds[feature] {
            Some(categories) if value.is_finite() => {
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
            None => value,
            Some(categories) => {
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

    pub(super) fn boolean(&self, feature: usize, value: bool) -> f64 {
        match &self.kinds[feature] {
            None => f64::from(u8::from(value)),
            Some(categories) => categories.index_or(if value { b"true" } else { b"false" }, Gap::Boolean),
        }
    }

    /// Of a text, and of bytes that may be one.
    #[inline]
    pub(super) fn text(&self, feature: usize, value: &[u8]) -> f64 {
        match &self.kinds[feature] {
            Some(categories) => categories.index_or(value, Gap::Unknown),
            None if value.is_empty() => Gap::Missing.value(),
            None if self.numeric_strings => numeric_string(value, self.nan),
            None => Gap::String.value(),
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
    use crate::model::signature::{Feature, Missing, Target, Unknown};

    #[test]
    fn values_mean_what_they_mean_in_json() {
        let category = Kind::Categorical {
            categories: ["red", "7", "true", "1.5"].map(String::from).to_vec(),
            unknown: Unknown::Zeros,
        };
        let feature = |name: &str, kind| Feature { name: name.into(), kind, missing: Missing::Reject };
        let signature = Signature {
            features: vec![feature("number", Kind::Numeric), feature("category", category)],
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
    }
}
