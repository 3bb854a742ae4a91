//! Model references: how configuration and commands name a version, `flights@7`, `flights@production`,
//! `flights@latest`.
//!
//! Names become directories and label values, so they are kept to letters, digits, `.`, `_` and `-`, and start with a
//! letter or digit: no name is hidden, climbs out of the store or needs quoting in a shell.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name of a model and which of its versions is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelRef {
    /// The model's name.
    pub name: String,
    /// Which version.
    pub selector: Selector,
}

/// Which version of a model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// This one, for ever.
    Version(u64),
    /// The one that the alias names at the time.
    Alias(String),
    /// The highest one.
    Latest,
}

/// A text that isn't a model reference, a name or an alias.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// There is no `@`.
    #[error("model reference {0:?} has no \"@\": write NAME@VERSION, NAME@ALIAS or NAME@latest")]
    NoSelector(String),
    /// The model's name can't be one.
    #[error(
        "model name {0:?} can't be: use 1 to {MAX_LENGTH} letters, digits, \".\", \"_\" and \"-\", the first a letter or digit"
    )]
    Name(String),
    /// The alias can't be one.
    #[error(
        "alias {0:?} can't be: use 1 to {MAX_LENGTH} letters, digits, \".\", \"_\" and \"-\", the first a letter or \
         digit, not digits only and not \"latest\""
    )]
    Alias(String),
    /// The version can't be one.
    #[error("version {0:?} can't be: versions are whole numbers from 1, without leading zeros")]
    Version(String),
}

/// Longer names would meet the limits of file systems.
const MAX_LENGTH: usize = 128;
const LATEST: &str = "latest";

impl FromStr for ModelRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<ModelRef, ReferenceError> {
        let (name, selector) = text.split_once('@').ok_or_else(|| ReferenceError::NoSelector(text.into()))?;
        check_name(name)?;
        let selector = if selector == LATEST {
            Selector::Latest
        } else if selector.bytes().all(|byte| byte.is_ascii_digit()) && !selector.is_empty() {
            Selector::Version(parse_version(selector).ok_or_else(|| ReferenceError::Version(selector.into()))?)
        } else {
            check_alias(selector)?;
            Selector::Alias(selector.into())
        };
        Ok(ModelRef { name: name.into(), selector })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.selector {
            Selector::Version(version) => write!(f, "{name}@{version}"),
            Selector::Alias(alias) => write!(f, "{name}@{alias}"),
            Selector::Latest => write!(f, "{name}@{LATEST}"),
        }
    }
}

impl TryFrom<String> for ModelRef {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<ModelRef, ReferenceError> {
        text.parse()
    }
}

impl From<ModelRef> for String {
    fn from(reference: ModelRef) -> String {
        reference.to_string()
    }
}

/// Whether this can be the name of a model.
pub fn check_name(name: &str) -> Result<(), ReferenceError> {
    if is_plain(name) { Ok(()) } else { Err(ReferenceError::Name(name.into())) }
}

/// Whether this can be the name of an alias.
pub fn check_alias(alias: &str) -> Result<(), ReferenceError> {
    let is_number = alias.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain(alias) && !is_number && alias != LATEST { Ok(()) } else { Err(ReferenceError::Alias(alias.into())) }
}

/// A version as it is written in references and directory names: exactly one spelling a number.
pub(crate) fn parse_version(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if canonical { text.parse().ok() } else { None }
}

fn is_plain(text: &str) -> bool {
    text.len() <= MAX_LENGTH
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ModelRef, ReferenceError> {
        text.parse()
    }

    #[test]
    fn the_three_forms_are_read_and_written_alike() {
        for (text, selector) in [
            ("flights@7", Selector::Version(7)),
            ("flights@18446744073709551615", Selector::Version(u64::MAX)),
            ("flights@production", Selector::Alias("production".into())),
            ("flights@2024-q1", Selector::Alias("2024-q1".into())),
            ("flights@latest", Selector::Latest),
        ] {
            let reference = parse(text).unwrap();
            assert_eq!(reference, ModelRef { name: "flights".into(), selector });
            assert_eq!(reference.to_string(), text);
            let json = serde_json::to_string(&reference).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<ModelRef>(&json).unwrap(), reference);
        }
    }

    #[test]
    fn what_could_leave_the_store_or_be_read_in_two_ways_is_refused() {
        assert!(matches!(parse("flights"), Err(ReferenceError::NoSelector(_))));
        for name in ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "-flag", "ü", "a b", "a\0", &"x".repeat(129)] {
            assert!(matches!(parse(&format!("{name}@1")), Err(ReferenceError::Name(_))), "{name:?}");
        }
        for alias in ["", "..", "a/b", "a@b", "prod ", "-x", ".x"] {
            assert!(matches!(parse(&format!("m@{alias}")), Err(ReferenceError::Alias(_))), "{alias:?}");
        }
        for version in ["0", "01", "18446744073709551616"] {
            assert!(matches!(parse(&format!("m@{version}")), Err(ReferenceError::Version(_))), "{version:?}");
        }
        for alias in ["latest", "12", "", "a/b"] {
            assert!(check_alias(alias).is_err(), "{alias:?}");
        }
        assert!(serde_json::from_str::<ModelRef>("\"flights\"").is_err());
    }
}
