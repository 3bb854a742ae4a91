//! Columns that are made of several others: products, and rows divided by their length.
//!
//! They come after the columns of the features and are computed from these as the network gets them, in f64 and rounded
//! once to f32. So a product costs a few multiplications, whatever its factors went through, and a row needs no memory
//! beside the network's input.

use serde::{Deserialize, Serialize};

use super::{Step, after, check_steps};

/// Columns that are made of columns before them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "combination", rename_all = "snake_case", deny_unknown_fields)]
pub enum Combination {
    /// One column: the product of others, then steps. Of no column it is 1.
    Product {
        /// The factors, each by its place; one that is there twice is squared.
        of: Vec<usize>,
        /// The steps, in order.
        steps: Vec<Step>,
    },
    /// One column: the sum of others, each times a factor, and of a number.
    Sum {
        /// The places and the factors.
        of: Vec<(usize, f64)>,
        /// The number.
        shift: f64,
    },
    /// A column for each of others: divided by the length of them all.
    Normalized {
        /// What their length is.
        norm: RowNorm,
        /// The places.
        of: Vec<usize>,
    },
}

/// The length of a row, as `Normalizer` of ONNX defines it. A length of 0 counts as 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowNorm {
    /// The sum of the magnitudes.
    L1,
    /// The root of the sum of the squares.
    L2,
    /// The largest number. scikit-learn takes the largest magnitude: imports have it of columns that are never negative.
    Max,
}

impl RowNorm {
    /// All of them.
    pub const ALL: [RowNorm; 3] = [RowNorm::L1, RowNorm::L2, RowNorm::Max];

    /// The name in ONNX.
    pub fn as_str(self) -> &'static str {
        match self {
            RowNorm::L1 => "L1",
            RowNorm::L2 => "L2",
            RowNorm::Max => "MAX",
        }
    }

    fn length(self, row: impl Iterator<Item = f64>) -> f64 {
        let length = match self {
            RowNorm::L1 => row.map(f64::abs).sum(),
            RowNorm::L2 => row.map(|x| x * x).sum::<f64>().sqrt(),
            // A number that is none makes the length none.
            RowNorm::Max => row.fold(f64::NEG_INFINITY, |most, x| if x > most || x.is_nan() { x } else { most }),
        };
        if length == 0.0 { 1.0 } else { length }
    }
}

impl Combination {
    /// How many columns it has.
    pub(crate) fn width(&self) -> usize {
        match self {
            Combination::Product { .. } | Combination::Sum { .. } => 1,
            Combination::Normalized { of, .. } => of.len(),
        }
    }

    /// The columns that it is made of.
    pub(crate) fn sources(&self) -> Vec<usize> {
        match self {
            Combination::Product { of, .. } | Combination::Normalized { of, .. } => of.clone(),
            Combination::Sum { of, .. } => of.iter().map(|&(column, _)| column).collect(),
        }
    }

    /// Fills its columns, which are behind `before`.
    fn apply(&self, before: &[f32], input: &mut [f32]) {
        let number = |&column: &usize| f64::from(before[column]);
        match self {
            Combination::Product { of, steps } => {
                input[0] = after(steps, of.iter().map(number).product()) as f32;
            }
            Combination::Sum { of, shift } => {
                let sum: f64 = of.iter().map(|(column, factor)| number(column) * factor).sum();
                input[0] = (sum + shift) as f32;
            }
            Combination::Normalized { norm, of } => {
                let length = norm.length(of.iter().map(number));
                input.iter_mut().zip(of).for_each(|(to, from)| *to = (number(from) / length) as f32);
            }
        }
    }

    /// What can't be, if `before` columns are before it.
    fn check(&self, before: usize) -> Result<(), String> {
        const NAME: &str = "of several";
        if let Some(column) = self.sources().into_iter().find(|&column| column >= before) {
            return Err(format!("a column is made of column {column}, and only {before} are before it"));
        }
        match self {
            Combination::Product { steps, .. } => check_steps(NAME, steps),
            Combination::Sum { of, shift } if shift.is_finite() && of.iter().all(|(_, factor)| factor.is_finite()) => {
                Ok(())
            }
            Combination::Sum { .. } => Err("a sum of columns has a factor that is not finite".into()),
            Combination::Normalized { of, .. } if of.is_empty() => Err("no columns are normalised".into()),
            Combination::Normalized { .. } => Ok(()),
        }
    }
}

/// All combinations of a model, ready to apply.
#[derive(Clone, Debug, Default)]
pub(super) struct Combined {
    columns: Vec<Combination>,
    hidden: Vec<usize>,
}

impl Combined {
    /// Checks them against the columns of the features; gives the width of all columns too.
    pub(super) fn new(
        columns: &[Combination],
        hidden: &[usize],
        of_features: usize,
    ) -> Result<(Combined, usize), String> {
        let mut width = of_features;
        for column in columns {
            column.check(width)?;
            width += column.width();
        }
        match hidden.iter().find(|&&column| column >= width) {
            Some(column) => Err(format!("column {column} of {width} is hidden")),
            None => Ok((Combined { columns: columns.to_vec(), hidden: hidden.to_vec() }, width)),
        }
    }

    /// Fills what is behind the columns of the features.
    pub(super) fn apply(&self, of_features: usize, input: &mut [f32]) {
        let mut at = of_features;
        for column in &self.columns {
            let (before, rest) = input.split_at_mut(at);
            column.apply(before, rest);
            at += column.width();
        }
        self.hidden.iter().for_each(|&column| input[column] = 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preprocess::{Preprocess, Transform};
    use crate::model::signature::{Feature, Kind, Missing, Signature, Target, Unknown};
    use crate::record::Gap;

    fn number(name: &str) -> Feature {
        Feature { name: name.into(), kind: Kind::Numeric, missing: Missing::Reject }
    }

    fn numeric(steps: &[Step]) -> Transform {
        Transform::Numeric { steps: steps.to_vec(), indicator: false }
    }

    /// Two numbers and a colour, which is imputed, and columns that are made of all of them.
    fn combined(columns: &[Combination], hidden: &[usize]) -> Result<Preprocess, String> {
        let categories = ["red", "green", "blue"].map(String::from).to_vec();
        let colour = Kind::Categorical { categories, unknown: Unknown::Zeros };
        let features = vec![
            Feature { missing: Missing::Constant { value: 2.0 }, ..number("x") },
            number("y"),
            Feature { name: "colour".into(), kind: colour, missing: Missing::Zeros },
        ];
        let signature = Signature { features, target: Target::Regression { names: vec!["y".into()] } };
        let shifted = numeric(&[Step::Add { value: 1.0 }]);
        let several = Transform::Combined { columns: columns.to_vec(), hidden: hidden.to_vec() };
        Preprocess::new(&signature, &[numeric(&[]), shifted, Transform::OneHot, several])
    }

    #[test]
    fn columns_may_be_made_of_several_others() {
        let product = |of: &[usize], steps: &[Step]| Combination::Product { of: of.to_vec(), steps: steps.to_vec() };
        let normalized = |norm| Combination::Normalized { norm, of: vec![0, 1] };
        let columns = [
            product(&[0, 0, 1], &[Step::Add { value: 0.5 }]),
            product(&[1, 3], &[]),
            product(&[], &[]),
            Combination::Sum { of: vec![(2, 1.0), (3, 2.0), (4, 3.0)], shift: -1.0 },
            normalized(RowNorm::L1),
            normalized(RowNorm::L2),
            normalized(RowNorm::Max),
            product(&[0, 9], &[]),
            product(&[10], &[Step::Multiply { value: 10.0 }]),
        ];
        let preprocess = combined(&columns, &[1]).unwrap();
        assert_eq!((preprocess.width(), preprocess.combined_columns()), (17, 5..17));
        let mut input = vec![9.0; 17];
        let mut apply = |row: [f64; 3]| {
            preprocess.apply(&row, &mut input);
            assert_eq!(input[1], 0.0, "it is hidden, and others are made of it");
            input.clone()
        };
        let row = apply([3.0, -5.0, 1.0]);
        assert_eq!(row[..9], [3.0, 0.0, 0.0, 1.0, 0.0, -35.5, -4.0, 1.0, 1.0]);
        let l1 = [3.0_f32 / 7.0, -4.0 / 7.0];
        let product = (3.0 * f64::from(l1[0])) as f32;
        assert_eq!(row[9..15], [l1[0], l1[1], 0.6, -0.8, 1.0, -4.0 / 3.0]);
        assert_eq!(row[15..], [product, (10.0 * f64::from(l1[1])) as f32]);
        let imputed = apply([Gap::Missing.value(), 0.0, Gap::Unknown.value()]);
        assert_eq!(imputed[..9], [2.0, 0.0, 0.0, 0.0, 0.0, 4.5, 0.0, 1.0, -1.0]);
        let zeros = apply([0.0, -1.0, 0.0]);
        assert_eq!(zeros[9..], [0.0; 8], "a row of length 0 stays as it is");
        assert_eq!(apply([-3.0, -1.0, 0.0])[13..15], [-3.0, 0.0], "the largest of -3 and 0 counts as 1");
    }

    #[test]
    fn combinations_that_cannot_be_are_refused() {
        let product = |of: &[usize], steps: &[Step]| Combination::Product { of: of.to_vec(), steps: steps.to_vec() };
        let normalized = |of: &[usize]| Combination::Normalized { norm: RowNorm::L2, of: of.to_vec() };
        for wrong in [
            product(&[5], &[]),
            product(&[0], &[Step::Divide { value: 0.0 }]),
            Combination::Sum { of: vec![(0, f64::NAN)], shift: 0.0 },
            Combination::Sum { of: vec![(9, 1.0)], shift: 0.0 },
            normalized(&[]),
            normalized(&[7]),
        ] {
            assert!(combined(std::slice::from_ref(&wrong), &[]).is_err(), "{wrong:?}");
        }
        assert!(combined(&[], &[5]).is_err());
        let first = [Transform::Combined { columns: vec![], hidden: vec![] }, numeric(&[])];
        let features = vec![number("x")];
        let signature = Signature { features, target: Target::Regression { names: vec!["y".into()] } };
        assert!(Preprocess::new(&signature, &first).is_err(), "features come first");
    }
}
