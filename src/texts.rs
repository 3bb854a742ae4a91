//! What a text means: one rule for tables, records and requests, so that a row gets the same answer from each of them.
//!
//! A text is kept as it was written, as pandas keeps it: nothing is trimmed. Only where no category, class or column has
//! exactly that name, blanks around it don't count, `True` is `true`, and `3.0` is `3`.

mod time;

use std::collections::HashMap;

pub use self::time::seconds;
use crate::record::Gap;

/// What stands for a missing value: the default list of `pandas.read_csv`, `\N` of Postgres, MySQL and Hive, and `NaT` of
/// pandas. An empty text is missing, too.
pub const MISSING: [&str; 19] = [
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null", "\\N",
];

/// Whether a text stands for a missing value. Blanks around it don't count.
pub fn is_missing(text: &str) -> bool {
    let text = text.trim();
    match text.as_bytes().last() {
        None => true,
        // None of the words ends so, and most cells of a table do.
        Some(b'0'..=b'9') => false,
        Some(_) => text == "NaT" || MISSING.contains(&text),
    }
}

/// The number that a text says. Blanks around it don't count. It may be infinite, but isn't NaN.
pub fn number(text: &str) -> Option<f64> {
    fast_float2::parse(text.trim()).ok().filter(|number: &f64| !number.is_nan())
}

/// Whether a text is NaN in any spelling that pandas reads as one.
pub fn is_nan(text: &str) -> bool {
    text.trim().trim_start_matches(['-', '+']).eq_ignore_ascii_case("nan")
}

/// The number that a cell of a table says, where columns have no types: a boolean is 1 or 0, since JSON has true and false for
/// what Python writes as True and False.
///
/// # Errors
///
/// The gap that another cell is.
pub fn cell_number(text: &str) -> Result<f64, Gap> {
    let boolean = || boolean(text).map(|boolean| f64::from(u8::from(boolean)));
    match number(text).or_else(boolean) {
        Some(number) if number.is_finite() => Ok(number),
        Some(_) => Err(Gap::NotFinite),
        None => Err(if is_nan(text) { Gap::Missing } else { Gap::String }),
    }
}

/// A time that a number says, in seconds since 1970: it may be in seconds, milliseconds (`DataFrame.to_json`), microseconds or
/// nanoseconds. Which one is clear for times from 1973 to 5138. `20240131` is a date.
pub fn epoch(number: f64) -> f64 {
    const SECONDS: f64 = 1e11;
    if let Some(date) = calendar_date(number) {
        return date;
    }
    [1.0, 1e3, 1e6].into_iter().find(|unit| number.abs() < SECONDS * unit).map_or(number / 1e9, |unit| number / unit)
}

/// The date that a number such as `20240131` is, in seconds since 1970, from 1900 to 2100.
pub fn calendar_date(number: f64) -> Option<f64> {
    let may_be = number.fract() == 0.0 && (19_000_101.0..=21_001_231.0).contains(&number);
    if may_be { seconds(&(number as u64).to_string()) } else { None }
}

/// Whether a text is a date as people write it, which isn't ISO 8601: `31.01.2024 10:30`, `1/31/2024`, `31-Jan-24`.
pub fn is_written_date(text: &str) -> bool {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let date = text.trim().split([' ', ',']).next().unwrap_or_default();
    let parts: Vec<&str> = date.split(['.', '/', '-']).collect();
    let [first, second, year] = *parts else { return false };
    let is_day = |part: &str| part.len() < 3 && part.parse::<u8>().is_ok_and(|day| (1..=31).contains(&day));
    let is_month = is_day(second) || MONTHS.iter().any(|month| second.eq_ignore_ascii_case(month));
    let is_year = matches!(year.len(), 2 | 4) && year.bytes().all(|byte| byte.is_ascii_digit());
    // With two digits for the year and points it may be a version.
    is_day(first) && is_month && is_year && (year.len() == 4 || !date.contains('.'))
}

/// The time that a text says, as a date or as a number, in seconds since 1970.
///
/// # Errors
///
/// The gap that another text is.
pub fn moment(text: &str) -> Result<f64, Gap> {
    if is_missing(text) {
        return Err(Gap::Missing);
    }
    match number(text) {
        Some(number) if number.is_finite() => Ok(epoch(number)),
        Some(_) => Err(Gap::NotFinite),
        None => seconds(text).ok_or(Gap::String),
    }
}

/// The boolean that a text says, as pandas (`True`), JSON, Spark (`true`), R and Excel (`TRUE`) write it.
pub fn boolean(text: &str) -> Option<bool> {
    let text = text.trim();
    [("true", true), ("false", false)].into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, is)| is)
}

/// The same, and Postgres' `t` and `f`: only where all values of a column are booleans.
pub fn short_boolean(text: &str) -> Option<bool> {
    match text.trim() {
        "t" | "T" => Some(true),
        "f" | "F" => Some(false),
        other => boolean(other),
    }
}

/// Where a name is among others: see [`PaddedNames`].
pub fn position<'a>(names: impl Iterator<Item = &'a str> + Clone, name: &str) -> Option<usize> {
    let exact = |text: &str| names.clone().position(|other| other == text);
    let alike = names.clone().enumerate().filter(|(_, other)| other.trim() == name.trim());
    exact(name).or_else(|| PaddedNames::new(alike.map(|(at, other)| (other, at)), exact).find(name, exact))
}

/// Which of several names a text means: the one that is exactly so, or else the only one that differs by blanks around it.
/// Whoever looks up has the exact names, and here are those that have blanks around them.
#[derive(Debug)]
pub struct PaddedNames<T> {
    /// By what they are without blanks. None is meant where that is several names.
    trimmed: HashMap<Box<str>, Option<T>>,
}

impl<T: Copy> PaddedNames<T> {
    /// All names, each with what is found by it. `exact` finds it by the whole name.
    pub fn new<'a>(names: impl IntoIterator<Item = (&'a str, T)>, exact: impl Fn(&str) -> Option<T>) -> PaddedNames<T> {
        let mut trimmed: HashMap<Box<str>, Option<T>> = HashMap::new();
        for (name, found) in names.into_iter().filter(|(name, _)| name.trim() != *name) {
            let only = Some(found).filter(|_| exact(name.trim()).is_none());
            trimmed.entry(name.trim().into()).and_modify(|only| *only = None).or_insert(only);
        }
        PaddedNames { trimmed }
    }

    /// What is found by the name that the text means.
    pub fn find(&self, text: &str, exact: impl Fn(&str) -> Option<T>) -> Option<T> {
        exact(text).or_else(|| self.find_alike(text, exact))
    }

    /// The same for a text that no name is exactly.
    pub fn find_alike(&self, text: &str, exact: impl Fn(&str) -> Option<T>) -> Option<T> {
        match self.trimmed.get(text.trim()) {
            Some(&only) => only,
            None if text.trim() == text => None,
            None => exact(text.trim()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_pandas_are_missing_and_nothing_else() {
        for word in ["", "  ", "NA", " NA", "<NA>", "NaN", "n/a", "None", "NULL", "\\N", "NaT"] {
            assert!(is_missing(word), "{word:?}");
        }
        assert!(MISSING.iter().all(|word| is_missing(word)));
        for word in ["na", "-", "?", "none", "0", "N A", "missing"] {
            assert!(!is_missing(word), "{word:?}");
        }
    }

    #[test]
    fn numbers_and_booleans_are_what_others_write() {
        assert_eq!(
            [" 1.5", "-3 ", "1e3", "+7", "x", "1 000"].map(number),
            [Some(1.5), Some(-3.0), Some(1000.0), Some(7.0), None, None]
        );
        assert_eq!(["nan", "NAN", "-NaN", "nano"].map(is_nan), [true, true, true, false]);
        assert_eq!(number("NaN"), None);
        assert_eq!(
            ["True", "TRUE", "false", "t", "yes"].map(boolean),
            [Some(true), Some(true), Some(false), None, None]
        );
        assert_eq!(["t", "F", "true", "y"].map(short_boolean), [Some(true), Some(false), Some(true), None]);
    }

    #[test]
    fn a_time_may_be_a_number_of_any_unit() {
        for text in ["2024-01-31T06:15:00Z", "1706681700", "1706681700000", "1706681700000000", "1706681700000000000"] {
            assert_eq!(moment(text), Ok(1_706_681_700.0), "{text}");
        }
        for text in ["20240131", "2024-01-31", "20240131.0"] {
            assert_eq!(moment(text), Ok(1_706_659_200.0), "{text}");
        }
        assert_eq!(moment("20241331"), Ok(20_241_331.0), "no date");
        assert_eq!(moment("NaT"), Err(Gap::Missing));
        assert_eq!(moment("inf"), Err(Gap::NotFinite));
        assert_eq!(moment("July"), Err(Gap::String));
    }

    #[test]
    fn dates_as_people_write_them_are_recognised() {
        for text in ["31.01.2024", "1/31/2024", "31/1/24 10:30", "31-Jan-2024", "01.02.2024 06:15:00"] {
            assert!(is_written_date(text), "{text}");
        }
        for text in ["1.2.24", "2024.1", "10.0.0.1", "1.2.345", "32.32.2024", "a/b/2024", "12", "1-2-3", ""] {
            assert!(!is_written_date(text), "{text}");
        }
    }

    #[test]
    fn a_name_is_found_whatever_blanks_are_around_it() {
        let find = |names: &[&str], name| position(names.iter().copied(), name);
        assert_eq!(find(&["a", " b"], "b"), Some(1));
        assert_eq!(find(&["a", "b"], " b "), Some(1));
        assert_eq!(find(&[" b", "b"], "b"), Some(1), "the exact one counts");
        assert_eq!(find(&[" b", "b "], "b"), None, "neither of two is meant");
        assert_eq!(find(&[" b", "b"], "b "), None, "neither of two, though one has no blanks");
    }
}
