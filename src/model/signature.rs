//! What a model takes and what it answers: its features in order, and its classes.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::printable::listed;
use crate::record::{Gap, Reason, Rejection};

/// The share of a model's features that a record must have, where nothing else is set.
pub const MIN_FEATURES: f64 = 0.5;

/// The features in the order of the model's input, and what the outputs mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The features, in the order of a positional record.
    pub features: Vec<Feature>,
    /// What the model answers.
    pub target: Target,
}

/// One input of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// The name in records; unique within the signature.
    pub name: String,
    /// A number, a time or one of some categories.
    pub kind: Kind,
    /// What happens when a record doesn't have it.
    pub missing: Missing,
}

/// What values a feature takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// A number.
    Numeric,
    /// A date or time; its row value is the seconds since 1970 in UTC.
    Time,
    /// One of these strings; its row value is the index here.
    Categorical {
        /// The categories, each once.
        categories: Vec<String>,
        /// What happens to another string.
        unknown: Unknown,
    },
}

/// What happens when a record doesn't have a feature.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum Missing {
    /// The record is rejected as `missing_feature`.
    Reject,
    /// The mean of the training data, for numeric features.
    Mean {
        /// That mean.
        value: f64,
    },
    /// The median of the training data, for numeric features.
    Median {
        /// That median.
        value: f64,
    },
    /// The most frequent number of the training data, for numeric features.
    MostFrequent {
        /// That number.
        value: f64,
    },
    /// A number chosen by the user, for numeric features.
    Constant {
        /// That number.
        value: f64,
    },
    /// One of the categories, for categorical features.
    Category {
        /// Its index in their list.
        index: usize,
    },
    /// No column of the one-hot group is set, for categorical features.
    Zeros,
}

impl Missing {
    /// The row value that stands in for a missing one, if any.
    pub fn fill(self) -> Option<f64> {
        match self {
            Missing::Mean { value }
            | Missing::Median { value }
            | Missing::MostFrequent { value }
            | Missing::Constant { value } => Some(value),
            Missing::Category { index } => Some(index as f64),
            Missing::Reject | Missing::Zeros => None,
        }
    }
}

/// What happens to a category that the signature doesn't list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// The record is rejected as `unknown_category`.
    Reject,
    /// No column of the one-hot group is set.
    Zeros,
    /// A column of its own is set, behind those of the categories: it stands for all that are too rare to have one.
    Other,
}

/// What the model answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// One of these classes, with a probability each.
    Classification {
        /// The name of the target column.
        name: String,
        /// The classes, in the order of the outputs.
        classes: Vec<String>,
    },
    /// One number, or several.
    Regression {
        /// The names of the target columns, in the order of the outputs.
        names: Vec<String>,
    },
}

impl Target {
    /// How many outputs the network has after its output function: classes, or numbers.
    pub fn outputs(&self) -> usize {
        match self {
            Target::Classification { classes, .. } => classes.len(),
            Target::Regression { names } => names.len(),
        }
    }
}

impl Signature {
    /// What is wrong with this signature, if anything: a file may say what no training would write.
    pub fn validate(&self) -> Result<(), String> {
        if self.features.is_empty() {
            return Err("the signature has no features".into());
        }
        if let Some(name) = repeated(self.features.iter().map(|feature| &feature.name)) {
            return Err(format!("feature {name:?} is listed twice"));
        }
        for feature in &self.features {
            let name = &feature.name;
            match (&feature.kind, feature.missing) {
                (Kind::Numeric | Kind::Time, Missing::Zeros | Missing::Category { .. }) => {
                    return Err(format!("feature {name:?} is numeric: a missing value can't become a category"));
                }
                (Kind::Numeric | Kind::Time, missing) if missing.fill().is_some_and(|value| !value.is_finite()) => {
                    return Err(format!("feature {name:?} is imputed by a number that is not finite"));
                }
                (
                    Kind::Categorical { .. },
                    Missing::Mean { .. }
                    | Missing::Median { .. }
                    | Missing::MostFrequent { .. }
                    | Missing::Constant { .. },
                ) => {
                    return Err(format!("feature {name:?} is categorical: it can't be imputed by a number"));
                }
                (Kind::Categorical { categories, .. }, Missing::Category { index }) if index >= categories.len() => {
                    return Err(format!("feature {name:?} is imputed by category {index} of {}", categories.len()));
                }
                (Kind::Categorical { categories, .. }, _) => {
                    if categories.is_empty() {
                        return Err(format!("feature {name:?} has no categories"));
                    }
                    if let Some(category) = repeated(categories) {
                        return Err(format!("feature {name:?} lists category {category:?} twice"));
                    }
                }
                _ => {}
            }
        }
        match &self.target {
            Target::Classification { classes, .. } if classes.len() < 2 => {
                Err("a classification needs at least two classes".into())
            }
            Target::Regression { names } if names.is_empty() => Err("a regression needs at least one output".into()),
            // They are the keys of a prediction and the labels of a metric.
            Target::Classification { classes: names, .. } | Target::Regression { names } => match repeated(names) {
                Some(name) => Err(format!("the target lists {name:?} twice")),
                None => Ok(()),
            },
        }
    }

    /// Decides whether a decoded record may be scored. It must have one feature at least, whatever is imputed, no gap that
    /// this signature doesn't forgive, and at least the share `min_features` of all features.
    ///
    /// `row` has one value per feature, as [`crate::record`] describes it.
    pub fn check_record(&self, row: &[f64], min_features: f64) -> Result<(), Rejection> {
        if row.iter().any(|value| value.is_nan()) { self.check_gaps(row, min_features) } else { Ok(()) }
    }

    fn check_gaps(&self, row: &[f64], min_features: f64) -> Result<(), Rejection> {
        let lacks = |value: &f64| value.to_bits() == Gap::Missing.value().to_bits();
        let (features, lacking) = (row.len(), row.iter().filter(|value| lacks(value)).count());
        if lacking == features {
            let message = match &self.features[..] {
                [only] => format!("feature {:?}, the only one of the model, is missing or null", only.name),
                all => {
                    let names = listed(all.iter().map(|feature| feature.name.as_str()));
                    format!("none of the model's {features} features is there ({names})")
                }
            };
            return Err(Rejection::new(Reason::MissingFeature, message));
        }
        self.check(row)?;
        // A share such as 0.7 of 10 comes out a little above 7.
        if ((features - lacking) as f64) < min_features * features as f64 - 1e-9 {
            let names = self.features.iter().zip(row).filter(|(_, value)| lacks(value));
            let names = listed(names.map(|(feature, _)| feature.name.as_str()));
            let message = format!(
                "{lacking} of the model's {features} features are missing or null, and min_features is {min_features}: \
                 {names}"
            );
            return Err(Rejection::new(Reason::MissingFeature, message));
        }
        Ok(())
    }

    /// Decides about the gaps of a decoded row: the first one that this signature doesn't forgive rejects the record.
    /// This is the whole decision for rows that belong to the model, such as its golden rows, and a part of
    /// [`check_record`](Signature::check_record) for others.
    ///
    /// `row` has one value per feature, as [`crate::record`] describes it.
    pub fn check(&self, row: &[f64]) -> Result<(), Rejection> {
        for (feature, &value) in self.features.iter().zip(row) {
            if value.is_nan() {
                feature.check_gap(value)?;
            }
        }
        Ok(())
    }
}

impl Feature {
    fn check_gap(&self, value: f64) -> Result<(), Rejection> {
        let name = &self.name;
        let Some(gap) = Gap::of(value) else { return Ok(()) };
        let expected = match self.kind {
            Kind::Numeric => "a number",
            Kind::Time => "a date or time of ISO 8601",
            Kind::Categorical { .. } => "a category",
        };
        let wrong_type = |found: &str| {
            Err(Rejection::new(Reason::WrongType, format!("feature {name:?}: expected {expected}, found {found}")))
        };
        match gap {
            Gap::Missing if self.missing == Missing::Reject => {
                Err(Rejection::new(Reason::MissingFeature, format!("feature {name:?} is missing or null")))
            }
            Gap::Missing => Ok(()),
            Gap::Unknown => match &self.kind {
                Kind::Categorical { unknown: Unknown::Zeros | Unknown::Other, .. } => Ok(()),
                _ => Err(Rejection::new(
                    Reason::UnknownCategory,
                    format!("feature {name:?}: a category that the model doesn't know"),
                )),
            },
            Gap::NotFinite => {
                Err(Rejection::new(Reason::NotFinite, format!("feature {name:?}: the number is not finite")))
            }
            Gap::Boolean => wrong_type("a boolean"),
            Gap::String => wrong_type("a string"),
            Gap::Array => wrong_type("an array"),
            Gap::Object => wrong_type("an object"),
        }
    }
}

/// The first name that was there before.
fn repeated<'a>(names: impl IntoIterator<Item = &'a String>) -> Option<&'a String> {
    let mut seen = HashSet::new();
    names.into_iter().find(|&name| !seen.insert(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature() -> Signature {
        let numeric = |name: &str, missing| Feature { name: name.into(), kind: Kind::Numeric, missing };
        let colour = |name: &str, missing, unknown| Feature {
            name: name.into(),
            kind: Kind::Categorical { categories: vec!["red".into(), "blue".into()], unknown },
            missing,
        };
        Signature {
            features: vec![
                numeric("strict", Missing::Reject),
                numeric("lenient", Missing::Mean { value: 2.5 }),
                colour("closed", Missing::Reject, Unknown::Reject),
                colour("open", Missing::Zeros, Unknown::Zeros),
            ],
            target: Target::Classification { name: "y".into(), classes: vec!["no".into(), "yes".into()] },
        }
    }

    #[test]
    fn each_gap_meets_what_the_signature_says() {
        let signature = signature();
        assert_eq!(signature.validate(), Ok(()));
        assert!(signature.check(&[1.0, 2.0, 0.0, 1.0]).is_ok());
        let reason = |column: usize, gap: Gap| {
            let mut row = [1.0, 2.0, 0.0, 1.0];
            row[column] = gap.value();
            signature.check(&row).err().map(|rejection| rejection.reason)
        };
        assert_eq!(reason(0, Gap::Missing), Some(Reason::MissingFeature));
        assert_eq!(reason(1, Gap::Missing), None);
        assert_eq!(reason(2, Gap::Unknown), Some(Reason::UnknownCategory));
        assert_eq!(reason(3, Gap::Unknown), None);
        assert_eq!(reason(3, Gap::Missing), None);
        assert_eq!(reason(1, Gap::NotFinite), Some(Reason::NotFinite));
        for gap in [Gap::String, Gap::Array, Gap::Object] {
            assert_eq!(reason(1, gap), Some(Reason::WrongType));
        }
    }

    #[test]
    fn a_record_needs_one_feature_and_the_share_that_is_asked_for() {
        let lenient =
            |name: &str| Feature { name: name.into(), kind: Kind::Numeric, missing: Missing::Median { value: 1.0 } };
        let names: Vec<String> = (0..10).map(|number| format!("f{number}")).collect();
        let signature = Signature { features: names.iter().map(|name| lenient(name)).collect(), ..signature() };
        let with = |there: usize, gap: Gap| {
            let row: Vec<f64> = (0..10).map(|at| if at < there { 1.0 } else { gap.value() }).collect();
            row
        };
        for (there, min_features, accepted) in [
            (0, 0.0, false),
            (1, 0.0, true),
            (1, 0.1, true),
            (4, 0.5, false),
            (5, 0.5, true),
            (6, 0.7, false),
            (7, 0.7, true),
            (9, 1.0, false),
            (10, 1.0, true),
        ] {
            let checked = signature.check_record(&with(there, Gap::Missing), min_features);
            assert_eq!(checked.is_ok(), accepted, "{there} of 10 with {min_features}: {checked:?}");
            if let Err(rejection) = checked {
                assert_eq!(rejection.reason, Reason::MissingFeature);
            }
        }
        let none = signature.check_record(&with(0, Gap::Missing), 0.0).unwrap_err();
        assert!(none.message.starts_with("none of the model's 10 features is there (\"f0\", \"f1\""), "{none}");
        let few = signature.check_record(&with(8, Gap::Missing), 0.9).unwrap_err();
        assert!(few.message.ends_with("min_features is 0.9: \"f8\", \"f9\""), "{few}");
        let wrong = signature.check_record(&with(1, Gap::String), 0.5).unwrap_err();
        assert_eq!(wrong.reason, Reason::WrongType, "a value of another type is there");
    }

    #[test]
    fn impossible_signatures_are_refused() {
        let mut twice = signature();
        twice.features[1].name = "strict".into();
        assert!(twice.validate().is_err());
        let mut zeros = signature();
        zeros.features[0].missing = Missing::Zeros;
        assert!(zeros.validate().is_err());
        let mut imputed = signature();
        imputed.features[2].missing = Missing::Category { index: 1 };
        assert_eq!(imputed.validate(), Ok(()));
        imputed.features[2].missing = Missing::Category { index: 2 };
        assert!(imputed.validate().is_err());
        let mut one_class = signature();
        one_class.target = Target::Classification { name: "y".into(), classes: vec!["no".into()] };
        assert!(one_class.validate().is_err());
        for names in [vec!["a".to_owned(), "b".into(), "a".into()], vec![]] {
            let mut outputs = signature();
            outputs.target = Target::Regression { names };
            assert!(outputs.validate().is_err());
        }
        let mut categories = signature();
        categories.features[2].kind =
            Kind::Categorical { categories: vec!["red".into(), "red".into()], unknown: Unknown::Reject };
        assert!(categories.validate().is_err());
    }
}
