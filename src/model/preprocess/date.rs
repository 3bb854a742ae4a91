//! Parts of a date: what `--datetime` makes of a time, in UTC.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Beyond this many seconds, some 30 million years, there is no date.
const FARTHEST: f64 = 1e15;

/// A part of a date, by the names of pandas' `Series.dt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatePart {
    /// The year.
    Year,
    /// The quarter, from 1.
    Quarter,
    /// The month, from 1.
    Month,
    /// The day of the month, from 1.
    Day,
    /// The day of the week, from 0 for Monday.
    Weekday,
    /// The hour, from 0.
    Hour,
    /// The minute, from 0.
    Minute,
}

impl DatePart {
    /// Every part.
    pub const ALL: [DatePart; 7] = [
        DatePart::Year,
        DatePart::Quarter,
        DatePart::Month,
        DatePart::Day,
        DatePart::Weekday,
        DatePart::Hour,
        DatePart::Minute,
    ];

    /// The name in options and bundles.
    pub fn as_str(self) -> &'static str {
        match self {
            DatePart::Year => "year",
            DatePart::Quarter => "quarter",
            DatePart::Month => "month",
            DatePart::Day => "day",
            DatePart::Weekday => "weekday",
            DatePart::Hour => "hour",
            DatePart::Minute => "minute",
        }
    }

    /// The least and the most of the parts that become a column for each value; `None` for those that are numbers.
    pub fn range(self) -> Option<(u32, u32)> {
        match self {
            DatePart::Quarter => Some((1, 4)),
            DatePart::Month => Some((1, 12)),
            DatePart::Weekday => Some((0, 6)),
            DatePart::Hour => Some((0, 23)),
            DatePart::Year | DatePart::Day | DatePart::Minute => None,
        }
    }

    /// The part of a time, in seconds since 1970 in UTC; NaN where there is no date.
    pub(crate) fn of(self, seconds: f64) -> f64 {
        // NaN isn't within it either.
        if !(-FARTHEST..=FARTHEST).contains(&seconds) {
            return f64::NAN;
        }
        let seconds = seconds.floor() as i64;
        let days = seconds.div_euclid(86_400);
        let (year, month, day) = civil(days);
        let part = match self {
            DatePart::Year => year,
            DatePart::Quarter => (month + 2) / 3,
            DatePart::Month => month,
            DatePart::Day => day,
            // 1970-01-01 was a Thursday.
            DatePart::Weekday => (days + 3).rem_euclid(7),
            DatePart::Hour => seconds.rem_euclid(86_400) / 3600,
            DatePart::Minute => seconds.rem_euclid(3600) / 60,
        };
        part as f64
    }
}

/// Year, month and day of a number of days since 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

impl FromStr for DatePart {
    type Err = String;

    fn from_str(text: &str) -> Result<DatePart, String> {
        let named = DatePart::ALL.into_iter().find(|part| part.as_str() == text);
        let known = || DatePart::ALL.map(DatePart::as_str).join(", ");
        named.ok_or_else(|| format!("expected some of {}", known()))
    }
}

impl fmt::Display for DatePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::texts::seconds;

    // for t in [...]: t = pd.Timestamp(t); print(t.year, t.quarter, t.month, t.day, t.dayofweek, t.hour, t.minute)
    #[test]
    fn the_parts_are_those_of_pandas() {
        for (text, expected) in [
            ("1970-01-01", [1970, 1, 1, 1, 3, 0, 0]),
            ("1969-12-31T23:59:59.5", [1969, 4, 12, 31, 2, 23, 59]),
            ("2024-02-29T06:15:30", [2024, 1, 2, 29, 3, 6, 15]),
            ("2000-03-01T23:00", [2000, 1, 3, 1, 2, 23, 0]),
            ("1900-02-28T12:34", [1900, 1, 2, 28, 2, 12, 34]),
            ("2026-11-30T00:00", [2026, 4, 11, 30, 0, 0, 0]),
        ] {
            let time = seconds(text).unwrap();
            assert_eq!(DatePart::ALL.map(|part| part.of(time) as i64), expected, "{text}");
        }
        for wrong in [f64::NAN, f64::INFINITY, 1e300] {
            assert!(DatePart::Hour.of(wrong).is_nan());
        }
        assert_eq!("hour".parse(), Ok(DatePart::Hour));
        assert!("hours".parse::<DatePart>().unwrap_err().contains("weekday"));
    }
}
