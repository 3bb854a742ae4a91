//! The value of a copied field, between the decoder that finds it and the encoder that writes it.

use std::io::Write;

/// A place in a payload or a text, in bytes: start and end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte behind the last one.
    pub end: u32,
}

impl Span {
    /// The bytes of `payload` at this place.
    ///
    /// # Panics
    /// When the span comes from a longer payload.
    pub fn of(self, payload: &[u8]) -> &[u8] {
        &payload[self.start as usize..self.end as usize]
    }
}

/// What a record has at the place of a copied field.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum FieldValue {
    /// Nothing.
    #[default]
    Absent,
    /// JSON, at this place in the payload.
    Json(Span),
    /// JSON that the decoder has written, at this place in the batch's texts: values of several parts.
    Written(Span),
    /// Text in UTF-8, at this place in the payload.
    Text(Span),
    /// A null.
    Null,
    /// A boolean.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A whole number that may be beyond the range of an i64.
    Unsigned(u64),
    /// A number of 32 bits.
    Single(f32),
    /// A number of 64 bits.
    Double(f64),
}

impl FieldValue {
    /// Whether the record doesn't have the field.
    pub fn is_absent(self) -> bool {
        self == FieldValue::Absent
    }

    /// The JSON of a field that is such in the payload. Empty of any other.
    pub fn json_in(self, payload: &[u8]) -> &[u8] {
        match self {
            FieldValue::Json(span) => span.of(payload),
            _ => &[],
        }
    }
}

/// The copied fields of one record.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// The record.
    pub payload: &'a [u8],
    /// What decoders have written.
    pub texts: &'a [u8],
    /// One per field.
    pub values: &'a [FieldValue],
}

impl Fields<'_> {
    /// Appends a value as JSON. A number that isn't finite is null, since JSON has none.
    pub(super) fn write_json(&self, value: FieldValue, out: &mut Vec<u8>) {
        match value {
            FieldValue::Json(span) => out.extend_from_slice(span.of(self.payload)),
            FieldValue::Written(span) => out.extend_from_slice(span.of(self.texts)),
            FieldValue::Text(span) => write_quoted(&String::from_utf8_lossy(span.of(self.payload)), out),
            FieldValue::Absent | FieldValue::Null => out.extend_from_slice(b"null"),
            FieldValue::Boolean(boolean) => out.extend_from_slice(if boolean { b"true" } else { b"false" }),
            FieldValue::Integer(number) => write_display(number, out),
            FieldValue::Unsigned(number) => write_display(number, out),
            FieldValue::Single(number) if number.is_finite() => {
                out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
            }
            FieldValue::Double(number) if number.is_finite() => {
                out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
            }
            FieldValue::Single(_) | FieldValue::Double(_) => out.extend_from_slice(b"null"),
        }
    }
}

fn write_display(number: impl std::fmt::Display, out: &mut Vec<u8>) {
    write!(out, "{number}").unwrap_or_else(|_| unreachable!("a Vec takes all bytes"));
}

/// Appends a string as JSON, quotes included.
pub(super) fn write_quoted(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).unwrap_or_else(|_| unreachable!("a Vec takes all bytes, and JSON all texts"));
}

/// Appends bytes as a JSON string in base64, with padding.
pub(super) fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push(b'"');
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = (at(0) << 16) | (at(1) << 8) | at(2);
        for letter in 0..4 {
            let letters = (group >> (18 - 6 * letter)) & 63;
            out.push(if letter <= chunk.len() { LETTERS[letters as usize] } else { b'=' });
        }
    }
    out.push(b'"');
}

/// What has been appended to `texts` since they had `start` bytes.
pub(super) fn written_since(start: usize, texts: &[u8]) -> FieldValue {
    // A batch is bounded by far less, and so is what is written of it.
    let place = |at: usize| u32::try_from(at).unwrap_or_else(|_| unreachable!("texts of a batch below 4 GiB"));
    FieldValue::Written(Span { start: place(start), end: place(texts.len()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: FieldValue) -> String {
        let mut out = Vec::new();
        Fields { payload: "a\"é".as_bytes(), texts: b"x[1]", values: &[] }.write_json(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_kind_of_value_is_written_as_json() {
        for (value, expected) in [
            (FieldValue::Text(Span { start: 0, end: 4 }), r#""a\"é""#),
            (FieldValue::Written(Span { start: 1, end: 4 }), "[1]"),
            (FieldValue::Null, "null"),
            (FieldValue::Boolean(true), "true"),
            (FieldValue::Integer(i64::MIN), "-9223372036854775808"),
            (FieldValue::Unsigned(u64::MAX), "18446744073709551615"),
            (FieldValue::Single(0.1), "0.1"),
            (FieldValue::Double(0.1), "0.1"),
            (FieldValue::Double(f64::NAN), "null"),
            (FieldValue::Single(f32::INFINITY), "null"),
        ] {
            assert_eq!(json(value), expected, "{value:?}");
        }
    }

    #[test]
    fn bytes_are_written_in_base64() {
        let base64 = |bytes: &[u8]| {
            let mut out = Vec::new();
            write_base64(bytes, &mut out);
            String::from_utf8(out).unwrap()
        };
        // RFC 4648, section 10.
        for (bytes, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), format!("{expected:?}"));
        }
    }
}
