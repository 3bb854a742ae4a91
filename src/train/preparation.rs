//! What happens to features on their way into the network, as the user asks for it: the part of a
//! [`Recipe`](super::Recipe) that `preprocessing` fits to the training rows.
//!
//! A number is imputed, clipped, taken the logarithm of, and scaled, in this order. A category is imputed and becomes
//! one-hot columns.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::model::preprocess::DatePart;
use crate::model::signature::Unknown;

/// How features are prepared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preparation {
    /// Whether rows that lack a value are left out of training and rejected in serving; then nothing is imputed.
    pub dropna: bool,
    /// What a missing number becomes; not [`Impute::Zeros`].
    pub impute: Impute,
    /// What a missing category becomes; not [`Impute::Mean`] or [`Impute::Median`].
    pub impute_categories: Impute,
    /// What a missing value of these columns becomes instead, and in serving also where training lacked none. Of other
    /// columns that have no gaps in the training rows, none may be missing in serving.
    pub impute_columns: BTreeMap<String, Impute>,
    /// Whether a second column says where a number was missing, for those features that lack some in training.
    pub indicator: bool,
    /// How numbers are scaled at last.
    pub scale: Scale,
    /// Columns of numbers that are replaced by `ln(1 + x)`.
    pub log1p: Vec<String>,
    /// Columns of dates or times, and the parts of them that become columns of the network's input.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub datetime: BTreeMap<String, Vec<DatePart>>,
    /// The quantiles that all numbers are clipped to.
    pub clip: Option<Quantiles>,
    /// The quantiles that these columns are clipped to instead.
    pub clip_columns: BTreeMap<String, Quantiles>,
    /// What happens to categories that the training rows don't have.
    pub unknown: Unknown,
    /// How many one-hot columns a feature gets at most, as scikit-learn's `OneHotEncoder` has it: where there are as
    /// many categories or more, all but the most frequent share the last column, and so do unknown ones.
    pub max_categories: Option<usize>,
}

impl Default for Preparation {
    fn default() -> Preparation {
        Preparation {
            dropna: false,
            impute: Impute::Mean,
            impute_categories: Impute::Zeros,
            impute_columns: BTreeMap::new(),
            indicator: false,
            scale: Scale::Standard,
            log1p: Vec::new(),
            datetime: BTreeMap::new(),
            clip: None,
            clip_columns: BTreeMap::new(),
            unknown: Unknown::Zeros,
            max_categories: None,
        }
    }
}

impl Preparation {
    /// What is wrong with these values, if anything, in the words of the options.
    pub fn validate(&self) -> Result<(), String> {
        self.impute.of_numbers().map_err(|problem| format!("--impute {}: {problem}", self.impute))?;
        let of_categories = self.impute_categories.of_categories();
        of_categories.map_err(|problem| format!("--impute-categories {}: {problem}", self.impute_categories))?;
        match self.max_categories {
            Some(0 | 1) => Err("--max-categories must be at least 2: one for the most frequent, one for others".into()),
            _ => Ok(()),
        }
    }
}

/// What a missing value becomes.
#[derive(Clone, Debug, PartialEq)]
pub enum Impute {
    /// The mean of the training rows.
    Mean,
    /// The median of the training rows.
    Median,
    /// What most training rows have, the least of several.
    MostFrequent,
    /// This number, or this category.
    Constant(String),
    /// No category: none of the one-hot columns is set.
    Zeros,
}

impl Impute {
    /// What is wrong with this for numbers; the constant, if it is one.
    pub(super) fn of_numbers(&self) -> Result<Option<f64>, String> {
        match self {
            Impute::Constant(text) => match text.parse() {
                Ok(number) if f64::is_finite(number) => Ok(Some(number)),
                _ => Err(format!("{text:?} isn't a finite number")),
            },
            Impute::Zeros => Err("a number can become mean, median, most_frequent or constant:NUMBER".into()),
            _ => Ok(None),
        }
    }

    /// What is wrong with this for categories.
    pub(super) fn of_categories(&self) -> Result<(), String> {
        match self {
            Impute::Mean | Impute::Median => {
                Err("a category can become zeros, most_frequent or constant:CATEGORY".into())
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for Impute {
    type Err = String;

    fn from_str(text: &str) -> Result<Impute, String> {
        match (text, text.strip_prefix("constant:")) {
            ("mean", _) => Ok(Impute::Mean),
            ("median", _) => Ok(Impute::Median),
            ("most_frequent", _) => Ok(Impute::MostFrequent),
            ("zeros", _) => Ok(Impute::Zeros),
            (_, Some(value)) => Ok(Impute::Constant(value.into())),
            ("reject", _) => Err("rows that lack a value are left out by --dropna".into()),
            _ => Err("expected mean, median, most_frequent, constant:VALUE or zeros".into()),
        }
    }
}

impl fmt::Display for Impute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Impute::Mean => f.write_str("mean"),
            Impute::Median => f.write_str("median"),
            Impute::MostFrequent => f.write_str("most_frequent"),
            Impute::Constant(value) => write!(f, "constant:{value}"),
            Impute::Zeros => f.write_str("zeros"),
        }
    }
}

impl Serialize for Impute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How numbers are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// To mean 0 and standard deviation 1 over the training rows.
    Standard,
    /// From 0 for the least to 1 for the most of the training rows.
    MinMax,
    /// Not at all.
    None,
}

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Scale, String> {
        match text {
            "standard" => Ok(Scale::Standard),
            "minmax" => Ok(Scale::MinMax),
            "none" => Ok(Scale::None),
            _ => Err("expected standard, minmax or none".into()),
        }
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scale::Standard => "standard",
            Scale::MinMax => "minmax",
            Scale::None => "none",
        })
    }
}

/// Two quantiles of a column's training values, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiles {
    /// That of the least that passes.
    pub low: f64,
    /// That of the most that passes; above `low`.
    pub high: f64,
}

impl FromStr for Quantiles {
    type Err = String;

    fn from_str(text: &str) -> Result<Quantiles, String> {
        let bounds = text.split_once(',').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
        match bounds {
            Some((low, high)) if 0.0 <= low && low < high && high <= 1.0 => Ok(Quantiles { low, high }),
            _ => Err("expected two quantiles from 0 to 1, the lower one first, such as 0.01,0.99".into()),
        }
    }
}

impl Serialize for Quantiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.low, self.high].serialize(serializer)
    }
}

/// Parts of a date, in an option.
#[derive(Clone, Debug, PartialEq)]
pub struct DateParts(pub Vec<DatePart>);

impl FromStr for DateParts {
    type Err = String;

    fn from_str(text: &str) -> Result<DateParts, String> {
        let parts: Vec<DatePart> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let twice = parts.iter().enumerate().find(|(at, part)| parts[..*at].contains(part));
        match twice {
            Some((_, part)) => Err(format!("{part} is there twice")),
            None => Ok(DateParts(parts)),
        }
    }
}

/// What an option says for all columns (`mean`) or for one (`age=median`).
#[derive(Clone, Debug, PartialEq)]
pub struct PerColumn<T> {
    /// The column, or `None` for all.
    pub column: Option<String>,
    /// What is said.
    pub value: T,
}

impl<T: FromStr<Err = String>> FromStr for PerColumn<T> {
    type Err = String;

    /// A name may contain `=` too: it ends at the first one behind which there is a value.
    fn from_str(text: &str) -> Result<PerColumn<T>, String> {
        let problem = match text.parse() {
            Ok(value) => return Ok(PerColumn { column: None, value }),
            Err(problem) => problem,
        };
        let splits = text.match_indices('=').map(|(at, _)| (&text[..at], &text[at + 1..]));
        let found = splits.filter_map(|(name, value)| Some((name, value.parse().ok()?))).next();
        found.map(|(name, value)| PerColumn { column: Some(name.into()), value }).ok_or(problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_may_be_for_one_column() {
        let parse = |text: &str| text.parse::<PerColumn<Impute>>().map(|said| (said.column, said.value));
        let of = |name: &str| Some(name.to_owned());
        assert_eq!(parse("median"), Ok((None, Impute::Median)));
        assert_eq!(parse("age=median"), Ok((of("age"), Impute::Median)));
        assert_eq!(parse("a=b=constant:x=y"), Ok((of("a=b"), Impute::Constant("x=y".into()))));
        assert_eq!(parse("constant:a=mean"), Ok((None, Impute::Constant("a=mean".into()))));
        assert!(parse("age=mode").unwrap_err().contains("most_frequent"));
        assert!(parse("reject").unwrap_err().contains("--dropna"));
        let clip: PerColumn<Quantiles> = "fare=0,0.99".parse().unwrap();
        assert_eq!((clip.column, clip.value), (of("fare"), Quantiles { low: 0.0, high: 0.99 }));
        for wrong in ["0.5", "0.9,0.1", "-0.1,1", "0,1.1", "nan,1"] {
            assert!(wrong.parse::<Quantiles>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn impossible_values_are_named() {
        assert_eq!(Preparation::default().validate(), Ok(()));
        let wrong = [
            (Preparation { impute: Impute::Zeros, ..Preparation::default() }, "--impute zeros"),
            (Preparation { impute: Impute::Constant("inf".into()), ..Preparation::default() }, "--impute constant:inf"),
            (Preparation { impute_categories: Impute::Mean, ..Preparation::default() }, "--impute-categories mean"),
            (Preparation { max_categories: Some(1), ..Preparation::default() }, "--max-categories"),
        ];
        for (preparation, option) in wrong {
            assert!(preparation.validate().unwrap_err().starts_with(option), "{option}");
        }
    }

    #[test]
    fn preparation_is_written_in_the_words_of_the_options() {
        let preparation = Preparation {
            impute_columns: BTreeMap::from([("age".into(), Impute::Constant("-1.5".into()))]),
            clip: Some(Quantiles { low: 0.0, high: 0.9 }),
            scale: Scale::MinMax,
            ..Preparation::default()
        };
        let json = serde_json::to_value(&preparation).unwrap();
        assert_eq!((&json["impute"], &json["impute_columns"]["age"]), (&"mean".into(), &"constant:-1.5".into()));
        assert_eq!((&json["scale"], &json["clip"]), (&"minmax".into(), &serde_json::json!([0.0, 0.9])));
    }
}
