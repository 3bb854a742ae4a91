//! Dates and times: all of ISO 8601 and RFC 3339, and what Postgres, BigQuery, pandas, Spark and Java make of them, such as
//! `2024-01-01 03:04:05.25+00`, `2024-01-01 03:04:05 UTC`, `20240101T030405,25Z`, `2024-W01-1` and
//! `2024-01-01T04:04:05+01:00[Europe/Berlin]`.

const DAY: i64 = 86_400;

/// A date or time as seconds since 1970 in UTC, below 0 before that. One without an offset counts as UTC.
pub fn seconds(text: &str) -> Option<f64> {
    let mut rest = Rest(text.trim().as_bytes());
    let days = rest.date()?;
    let mut seconds = days as f64 * DAY as f64;
    if rest.0.is_empty() {
        return Some(seconds);
    }
    if rest.eat_any(b"Tt_") || rest.eat_spaces() {
        seconds += rest.time_of_day()?;
    }
    seconds -= rest.offset()? as f64;
    rest.0.is_empty().then_some(seconds)
}

/// What is left of a text.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn eat_any(&mut self, bytes: &[u8]) -> bool {
        let eaten = self.0.first().is_some_and(|first| bytes.contains(first));
        self.0 = &self.0[usize::from(eaten)..];
        eaten
    }

    fn eat_spaces(&mut self) -> bool {
        let before = self.0.len();
        while self.eat_any(b" \t") {}
        self.0.len() < before
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let eaten = self.0.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
        self.0 = if eaten { &self.0[word.len()..] } else { self.0 };
        eaten
    }

    /// How many digits come next.
    fn digits(&self) -> usize {
        self.0.iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    /// The number of the next so many digits.
    fn number(&mut self, digits: usize) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        let value =
            number.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')));
        value.filter(|_| digits > 0)
    }

    /// Days since 1970: `2024-01-31`, `2024-1-31`, `20240131`, `2024-01`, `2024-W05-3`, `2024W053`, `2024-031`, `2024031`.
    fn date(&mut self) -> Option<i64> {
        match self.digits() {
            8 => {
                let (year, month, day) = (self.number(4)?, self.number(2)?, self.number(2)?);
                return days(year, month, day);
            }
            7 => {
                let (year, day) = (self.number(4)?, self.number(3)?);
                return day_of_year(year, day);
            }
            4 => {}
            _ => return None,
        }
        let year = self.number(4)?;
        let extended = self.eat_any(b"-/");
        if self.eat_any(b"Ww") {
            let week = self.number(2)?;
            let day = if extended && self.eat_any(b"-") || self.digits() == 1 { self.number(1)? } else { 1 };
            return day_of_week(year, week, day);
        }
        match (extended, self.digits()) {
            (true, 3) => {
                let day = self.number(3)?;
                day_of_year(year, day)
            }
            (true, digits @ 1..=2) => {
                let month = self.number(digits)?;
                if !self.eat_any(b"-/") {
                    return days(year, month, 1);
                }
                let digits = self.digits().min(3);
                let day = self.number(digits).filter(|_| digits < 3)?;
                days(year, month, day)
            }
            _ => None,
        }
    }

    /// Seconds since midnight: `06:15:30.25`, `06:15`, `061530,25`, `0615`, `06`.
    fn time_of_day(&mut self) -> Option<f64> {
        let (hours, minutes, mut seconds) = match self.digits() {
            digits @ 1..=2 => {
                let hours = self.number(digits)?;
                let minutes = if self.eat_any(b":") { self.number(2)? } else { 0 };
                (hours, minutes, if self.eat_any(b":") { self.number(2)? } else { 0 } as f64)
            }
            4 => (self.number(2)?, self.number(2)?, 0.0),
            6 => (self.number(2)?, self.number(2)?, self.number(2)? as f64),
            _ => return None,
        };
        if self.0.len() > 1 && b".,".contains(&self.0[0]) {
            let end = 1 + self.0[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let digits = std::str::from_utf8(&self.0[1..end]).ok().filter(|digits| !digits.is_empty())?;
            seconds += format!("0.{digits}").parse::<f64>().ok()?;
            self.0 = &self.0[end..];
        }
        // A leap second is the next one's start; 24:00 is the next midnight.
        let is_midnight = hours == 24 && minutes == 0 && seconds == 0.0;
        let is_time = (hours < 24 || is_midnight) && minutes < 60 && seconds < 61.0;
        is_time.then(|| (hours * 3600 + minutes * 60) as f64 + seconds)
    }

    /// Seconds east of UTC: nothing, `Z`, `UTC`, `GMT`, `+01`, `+0100`, `+01:00`, `+01:00:30`, each with a name of RFC 9557.
    fn offset(&mut self) -> Option<i64> {
        self.eat_spaces();
        let named = self.eat_word("UTC") || self.eat_word("GMT") || self.eat_any(b"Zz");
        let mut offset = 0;
        if self.0.first().is_some_and(|sign| b"+-".contains(sign)) && !named || self.eat_word("\u{2212}") {
            let east = !self.eat_any(b"-") && self.eat_any(b"+");
            let digits = self.digits();
            let hours = self.number(digits.min(2))?;
            let minutes = if self.eat_any(b":") || digits == 4 { self.number(2)? } else { 0 };
            let seconds = if self.eat_any(b":") { self.number(2)? } else { 0 };
            if hours > 23 || minutes > 59 || seconds > 59 {
                return None;
            }
            offset = (hours * 3600 + minutes * 60 + seconds) * if east { 1 } else { -1 };
        }
        if self.0.first() == Some(&b'[') && self.0.last() == Some(&b']') {
            self.0 = &[];
        }
        Some(offset)
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar (Howard Hinnant's `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=last).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

fn day_of_year(year: i64, day: i64) -> Option<i64> {
    let (start, end) = (days(year, 1, 1)?, days(year, 12, 31)?);
    let found = start + day - 1;
    (start..=end).contains(&found).then_some(found)
}

/// Of a week of ISO 8601, whose first one has the year's first Thursday; day 1 is a Monday.
fn day_of_week(year: i64, week: i64, day: i64) -> Option<i64> {
    let fourth = days(year, 1, 4)?;
    // 1970-01-01 was a Thursday.
    let monday = fourth - (fourth + 3).rem_euclid(7);
    ((1..=53).contains(&week) && (1..=7).contains(&day)).then(|| monday + (week - 1) * 7 + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    // date -d 2013-07-01T06:15:00Z +%s
    const QUARTER_PAST_SIX: f64 = 1_372_659_300.0;

    #[test]
    fn iso_8601_in_the_forms_that_tables_use() {
        for text in [
            "2013-07-01T06:15:00Z",
            "2013-07-01 06:15",
            "2013-07-01T02:15:00-04:00",
            "2013-07-01T08:15+02:00",
            "2013-07-01t06:15:00z",
            "20130701T061500Z",
            "20130701 0615",
            "2013-W27-1T06:15",
            "2013W271T0615",
            "2013-182T06:15",
            "2013182T06:15",
            "2013-7-1 6:15",
            "2013-07-01T06:15:00.000000000",
            "2013-07-01T06:15:00,000Z",
            "  2013-07-01 06:15:00  ",
        ] {
            assert_eq!(seconds(text), Some(QUARTER_PAST_SIX), "{text}");
        }
        assert_eq!(seconds("2013-07-01"), Some(QUARTER_PAST_SIX - 6.25 * 3600.0));
        assert_eq!(seconds("2013-07"), seconds("2013-07-01"));
        assert_eq!(seconds("2013-06-30T24:00"), seconds("2013-07-01"));
        assert_eq!(seconds("2013-07-01T06:15:00.5"), Some(QUARTER_PAST_SIX + 0.5));
        assert_eq!(seconds("2016-12-31T23:59:60Z"), seconds("2017-01-01"));
    }

    #[test]
    fn what_postgres_bigquery_pandas_and_java_write() {
        for text in [
            "2013-07-01 06:15:00+00",
            "2013-07-01 07:15:00+01",
            "2013-07-01 11:45:00+0530",
            "2013-07-01 11:45:00+05:30",
            "2013-07-01 06:34:32+00:19:32",
            "2013-07-01T06:15:00+0000",
            "2013-07-01 06:15:00 UTC",
            "2013-07-01 06:15:00 GMT",
            "2013-07-01 06:15:00.000000 UTC",
            "2013-07-01 02:15:00 -04:00",
            "2013-07-01 02:15:00\u{2212}04:00",
            "2013-07-01T08:15:00+02:00[Europe/Berlin]",
            "2013-07-01T06:15:00Z[UTC]",
        ] {
            assert_eq!(seconds(text), Some(QUARTER_PAST_SIX), "{text}");
        }
        // date -d 1965-01-02 +%s; date -d 0001-01-01 +%s
        assert_eq!(seconds("1965-01-02"), Some(-157_680_000.0));
        assert_eq!(seconds("0001-01-01"), Some(-62_135_596_800.0));
        assert_eq!(seconds("2024-02-29").zip(seconds("2024-03-01")).map(|(a, b)| b - a), Some(86_400.0));
    }
}
