//! When a row happened: a number as it stands, or a date or time as seconds since 1970.
//!
//! Times only order and split rows, so all that matters is that one column uses one scale.

use crate::texts::seconds;

/// What the values of a time column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Plain numbers, of whatever unit.
    Number,
    /// Dates or times, held as seconds since 1970 in UTC.
    Iso8601,
}

impl Scale {
    /// The scale that a first value shows, or `None` for a text that is neither.
    pub fn of(text: &str) -> Option<Scale> {
        [Scale::Number, Scale::Iso8601].into_iter().find(|scale| scale.parse(text).is_some())
    }

    /// A value on this scale; `None` if the text isn't one. A time without an offset counts as UTC.
    pub fn parse(self, text: &str) -> Option<f64> {
        match self {
            Scale::Number => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
            Scale::Iso8601 => seconds(text),
        }
    }

    /// What a person should write.
    pub fn as_str(self) -> &'static str {
        match self {
            Scale::Number => "a number",
            Scale::Iso8601 => "a date or time of ISO 8601, such as 2024-01-31 or 2024-01-31T06:15:00+01:00",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_recognised_by_a_value() {
        assert_eq!(Scale::of("1372659300"), Some(Scale::Number));
        assert_eq!(Scale::of("2013-07-01"), Some(Scale::Iso8601));
        for text in [
            "",
            "July",
            "2013-13-01",
            "2023-02-29",
            "2013-07-01T25:00",
            "2013-07-01T06:15+99:00",
            "inf",
            "2013-07-0é",
            "2013-07-01T",
            "2013-07-01T06:15:",
            "2013-07-01T06:15:00.",
            "2013-07-01 06:15 CET",
            "2013-07-01Tx",
            "2013-W54-1",
            "2013-366",
            "2013-07-001",
            "01/07/2013",
        ] {
            assert_eq!(Scale::of(text), None, "{text}");
        }
    }
}
