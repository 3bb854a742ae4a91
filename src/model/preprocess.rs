//! From a decoded row to the network's input: imputation, standardisation, one-hot columns.
//!
//! This is the one function that training and serving share. Numbers are standardised in f64 and rounded once to
//! f32; the scaling is never folded into the weights, where it would cost the precision of large values (a Unix time
//! has an f32 step of 128 s).

use serde::{Deserialize, Serialize};

use super::signature::{Kind, Missing, Signature};

/// What happens to one feature, in signature order.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "transform", rename_all = "snake_case", deny_unknown_fields)]
pub enum Transform {
    /// `(x - mean) / std`, one column. `std` is the population's; 1 for a constant feature.
    Standardize {
        /// The mean over the training data.
        mean: f64,
        /// The population standard deviation over the training data, or 1.
        std: f64,
    },
    /// One column per category, 1 where it is that category and 0 elsewhere.
    OneHot,
}

/// The transforms of a whole signature, ready to apply.
#[derive(Clone, Debug)]
pub struct Preprocess {
    columns: Vec<Column>,
    width: usize,
}

#[derive(Clone, Copy, Debug)]
enum Column {
    Standardize { mean: f64, std: f64, fill: f64 },
    OneHot { categories: usize },
}

impl Preprocess {
    /// Pairs each feature with its transform; the error says which pair can't be.
    pub fn new(signature: &Signature, transforms: &[Transform]) -> Result<Preprocess, String> {
        if transforms.len() != signature.features.len() {
            return Err(format!("{} transforms for {} features", transforms.len(), signature.features.len()));
        }
        let mut columns = Vec::with_capacity(transforms.len());
        let mut width = 0;
        for (feature, &transform) in signature.features.iter().zip(transforms) {
            let column = match (&feature.kind, transform) {
                (Kind::Numeric, Transform::Standardize { mean, std }) => {
                    if !(mean.is_finite() && std.is_finite() && std > 0.0) {
                        return Err(format!("feature {:?}: mean {mean} or std {std} can't be", feature.name));
                    }
                    let fill = match feature.missing {
                        Missing::Mean { value } | Missing::Median { value } | Missing::Constant { value } => value,
                        Missing::Reject | Missing::Zeros => f64::NAN,
                    };
                    Column::Standardize { mean, std, fill }
                }
                (Kind::Categorical { categories, .. }, Transform::OneHot) => {
                    Column::OneHot { categories: categories.len() }
                }
                _ => return Err(format!("feature {:?}: its transform is for another kind", feature.name)),
            };
            width += column.width();
            columns.push(column);
        }
        Ok(Preprocess { columns, width })
    }

    /// How many columns the network's input has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Fills `input` (of [`Preprocess::width`] columns) from a row that [`Signature::check`] let pass.
    ///
    /// A value beyond f32's range after scaling becomes an infinity; the prediction then isn't finite and the record
    /// is rejected for that.
    pub fn apply(&self, row: &[f64], input: &mut [f32]) {
        debug_assert_eq!(row.len(), self.columns.len());
        debug_assert_eq!(input.len(), self.width);
        let mut at = 0;
        for (column, &value) in self.columns.iter().zip(row) {
            match *column {
                Column::Standardize { mean, std, fill } => {
                    let value = if value.is_nan() { fill } else { value };
                    input[at] = ((value - mean) / std) as f32;
                    at += 1;
                }
                Column::OneHot { categories } => {
                    let group = &mut input[at..at + categories];
                    group.fill(0.0);
                    // A gap is NaN, which casts to 0: it must not set the first category.
                    if !value.is_nan() {
                        group[value as usize] = 1.0;
                    }
                    at += categories;
                }
            }
        }
    }
}

impl Column {
    fn width(self) -> usize {
        match self {
            Column::Standardize { .. } => 1,
            Column::OneHot { categories } => categories,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::signature::{Feature, Target, Unknown};
    use crate::record::Gap;

    fn preprocess() -> Preprocess {
        let signature = Signature {
            features: vec![
                Feature { name: "time".into(), kind: Kind::Numeric, missing: Missing::Mean { value: 1.7e9 } },
                Feature {
                    name: "colour".into(),
                    kind: Kind::Categorical {
                        categories: vec!["red".into(), "green".into(), "blue".into()],
                        unknown: Unknown::Zeros,
                    },
                    missing: Missing::Zeros,
                },
            ],
            target: Target::Regression { names: vec!["y".into()] },
        };
        let transforms = [Transform::Standardize { mean: 1.7e9, std: 10.0 }, Transform::OneHot];
        Preprocess::new(&signature, &transforms).unwrap()
    }

    #[test]
    fn large_numbers_keep_their_precision() {
        let mut input = [0.0; 4];
        preprocess().apply(&[1.7e9 + 3.0, 2.0], &mut input);
        assert_eq!(input, [0.3, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn gaps_are_imputed_or_become_zeros() {
        let mut input = [9.0; 4];
        preprocess().apply(&[Gap::Missing.value(), Gap::Unknown.value()], &mut input);
        assert_eq!(input, [0.0; 4]);
    }
}
