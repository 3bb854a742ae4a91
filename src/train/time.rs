//! When a row happened: a number as it stands, or an ISO 8601 date or time as seconds since 1970.
//!
//! Times only order and split rows, so all that matters is that one column uses one scale.

use std::time::{Duration, UNIX_EPOCH};

/// What the values of a time column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Plain numbers, of whatever unit.
    Number,
    /// ISO 8601 dates or times, held as seconds since 1970 in UTC.
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
            Scale::Number => text.parse().ok().filter(|number: &f64| number.is_finite()),
            Scale::Iso8601 => seconds(text),
        }
    }

    /// What a person should write.
    pub fn as_str(self) -> &'static str {
        match self {
            Scale::Number => "a number",
            Scale::Iso8601 => "an ISO 8601 date or time from 1970 on",
        }
    }
}

/// `2013-07-01`, `2013-07-01T06:15`, `2013-07-01 06:15:30.25`, each with an optional `Z` or `±hh:mm`.
fn seconds(text: &str) -> Option<f64> {
    let (date, time) = text.split_at_checked(10)?;
    if time.is_empty() {
        return utc(&format!("{date}T00:00:00Z"));
    }
    let time = time.strip_prefix(['T', ' '])?;
    let time = time.strip_suffix('Z').unwrap_or(time);
    let (time, offset) = match time.find(['+', '-']) {
        Some(at) => (&time[..at], offset(&time[at..])?),
        None => (time, 0.0),
    };
    let missing_seconds = if time.len() == 5 { ":00" } else { "" };
    Some(utc(&format!("{date}T{time}{missing_seconds}Z"))? - offset)
}

fn utc(text: &str) -> Option<f64> {
    let time = humantime::parse_rfc3339(text).ok()?;
    time.duration_since(UNIX_EPOCH).ok().as_ref().map(Duration::as_secs_f64)
}

/// Seconds east of UTC, from `±hh:mm`.
fn offset(text: &str) -> Option<f64> {
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    let (hours, minutes) = text[1..].split_once(':')?;
    let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then(|| sign * (f64::from(hours) * 3600.0 + f64::from(minutes) * 60.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_8601_in_the_forms_that_tables_use() {
        // date -d 2013-07-01T06:15:00Z +%s
        let quarter_past_six = 1_372_659_300.0;
        for text in ["2013-07-01T06:15:00Z", "2013-07-01 06:15", "2013-07-01T02:15:00-04:00", "2013-07-01T08:15+02:00"]
        {
            assert_eq!(Scale::Iso8601.parse(text), Some(quarter_past_six), "{text}");
        }
        assert_eq!(Scale::Iso8601.parse("2013-07-01"), Some(quarter_past_six - 6.25 * 3600.0));
        assert_eq!(Scale::Iso8601.parse("2013-07-01T06:15:00.5"), Some(quarter_past_six + 0.5));
    }

    #[test]
    fn the_scale_is_recognised_by_a_value() {
        assert_eq!(Scale::of("1372659300"), Some(Scale::Number));
        assert_eq!(Scale::of("2013-07-01"), Some(Scale::Iso8601));
        for text in ["", "July", "2013-13-01", "2013-07-01T25:00", "2013-07-01T06:15+99:00", "inf", "2013-07-0é"] {
            assert_eq!(Scale::of(text), None, "{text}");
        }
    }
}
