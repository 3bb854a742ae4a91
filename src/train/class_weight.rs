//! How much a row counts by its class: scikit-learn's `class_weight`, which its networks lack, as the `sample_weight`
//! that would be passed to their `fit`.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::TrainError;

/// The weight of each class's rows.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassWeight {
    /// `rows / (classes · rows of the class)`: all classes count the same together.
    Balanced,
    /// These by the names of the classes, each above 0; classes that aren't named have 1.
    Named(Vec<(String, f64)>),
}

impl ClassWeight {
    /// The weight of each row.
    ///
    /// `classes` are the names, `rows` the index of each row's class.
    pub(super) fn of_rows(&self, classes: &[String], rows: &[usize]) -> Result<Vec<f32>, TrainError> {
        let weights: Vec<f64> = match self {
            ClassWeight::Balanced => {
                let mut counts = vec![0_usize; classes.len()];
                rows.iter().for_each(|&class| counts[class] += 1);
                counts.iter().map(|&count| rows.len() as f64 / (classes.len() * count.max(1)) as f64).collect()
            }
            ClassWeight::Named(named) => {
                let unknown = |(name, _): &&(String, f64)| !classes.contains(name);
                if let Some((class, _)) = named.iter().find(unknown) {
                    return Err(TrainError::UnknownClass { class: class.clone(), classes: classes.join(", ") });
                }
                let weight = |class| named.iter().find(|(name, _)| name == class).map_or(1.0, |(_, weight)| *weight);
                classes.iter().map(weight).collect()
            }
        };
        Ok(rows.iter().map(|&class| weights[class] as f32).collect())
    }
}

impl FromStr for ClassWeight {
    type Err = String;

    /// `balanced`, or `NAME:WEIGHT,…`. A name may have colons but no commas.
    fn from_str(text: &str) -> Result<ClassWeight, String> {
        if text == "balanced" {
            return Ok(ClassWeight::Balanced);
        }
        let mut named: Vec<(String, f64)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.rsplit_once(':').ok_or("expected balanced or NAME:WEIGHT,…")?;
            let weight = match weight.parse() {
                Ok(weight) if f64::is_finite(weight) && weight > 0.0 => weight,
                _ => return Err(format!("the weight of {name:?} must be a number above 0, got {weight:?}")),
            };
            if named.iter().any(|(other, _)| other == name) {
                return Err(format!("{name:?} has two weights"));
            }
            named.push((name.to_owned(), weight));
        }
        Ok(ClassWeight::Named(named))
    }
}

impl fmt::Display for ClassWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClassWeight::Balanced => f.write_str("balanced"),
            ClassWeight::Named(named) => {
                let parts: Vec<String> = named.iter().map(|(name, weight)| format!("{name}:{weight}")).collect();
                f.write_str(&parts.join(","))
            }
        }
    }
}

impl Serialize for ClassWeight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(weight: &str, rows: &[usize]) -> Vec<f32> {
        let classes = ["no", "yes", "a:b"].map(String::from);
        weight.parse::<ClassWeight>().unwrap().of_rows(&classes, rows).unwrap()
    }

    #[test]
    fn balanced_classes_count_the_same_together() {
        // compute_sample_weight("balanced", [0, 0, 0, 1, 2, 2])
        assert_eq!(weights("balanced", &[0, 0, 0, 1, 2, 2]), [2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 2.0, 1.0, 1.0]);
    }

    #[test]
    fn classes_without_a_weight_have_1() {
        assert_eq!(weights("yes:5,a:b:0.25", &[0, 1, 2]), [1.0, 5.0, 0.25]);
        assert_eq!("yes:5,a:b:0.25".parse::<ClassWeight>().unwrap().to_string(), "yes:5,a:b:0.25");
    }

    #[test]
    fn what_makes_no_weights_is_refused() {
        for text in ["", "yes", "yes:0", "yes:-1", "yes:inf", "yes:many", "yes:1,yes:2"] {
            assert!(text.parse::<ClassWeight>().is_err(), "{text:?}");
        }
        let maybe: ClassWeight = "maybe:2".parse().unwrap();
        let error = maybe.of_rows(&["no".into(), "yes".into()], &[0, 1]).unwrap_err().to_string();
        assert!(error.contains("maybe") && error.contains("no, yes"), "{error}");
    }
}
