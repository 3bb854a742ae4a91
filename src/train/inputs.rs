//! The network's input for all rows of a table, as training wants it: numbers beside the one-hot columns that are 1.
//!
//! One-hot columns are zeros but for one of each feature's. What a row keeps of them is which one that is; the first
//! layer then adds that row of its weights instead of multiplying all of them by zeros, and its gradient is added to
//! that row alone. For the flights that is 3 numbers in place of 123 columns, and a tenth of the memory.

use std::ops::Range;

use ndarray::{Array2, ArrayView2};

use crate::engine::training::{Matrix, NONE};
use crate::model::preprocess::Preprocess;
use crate::model::signature::{Kind, Signature};

/// The input of every row, in the columns of [`Preprocess`].
#[derive(Clone, Debug)]
pub(super) struct Inputs {
    rows: usize,
    width: usize,
    number_columns: Vec<usize>,
    one_hot_columns: Vec<Range<usize>>,
    /// Rows × number columns.
    numbers: Vec<f32>,
    /// Rows × one-hot features: the column that is 1, or [`NONE`].
    ones: Vec<u32>,
}

impl Inputs {
    /// What [`Preprocess::apply`] makes of the rows, which the signature accepts: rows × features.
    pub(super) fn new(preprocess: &Preprocess, signature: &Signature, rows: ArrayView2<'_, f64>) -> Inputs {
        let (mut number_columns, mut one_hot_columns) = (Vec::new(), Vec::new());
        for (feature, columns) in signature.features.iter().zip(preprocess.columns()) {
            match feature.kind {
                Kind::Numeric | Kind::Time => number_columns.extend(columns),
                Kind::Categorical { .. } => one_hot_columns.push(columns),
            }
        }
        number_columns.extend(preprocess.combined_columns());
        let mut numbers = Vec::with_capacity(rows.nrows() * number_columns.len());
        let mut ones = Vec::with_capacity(rows.nrows() * one_hot_columns.len());
        let mut input = vec![0.0; preprocess.width()];
        let mut values = vec![0.0; rows.ncols()];
        for row in rows.rows() {
            values.iter_mut().zip(row).for_each(|(to, &value)| *to = value);
            preprocess.apply(&values, &mut input);
            numbers.extend(number_columns.iter().map(|&column| input[column]));
            let one = |columns: &Range<usize>| columns.clone().find(|&column| input[column] != 0.0);
            ones.extend(one_hot_columns.iter().map(|columns| one(columns).map_or(NONE, |column| column as u32)));
        }
        Inputs { rows: rows.nrows(), width: preprocess.width(), number_columns, one_hot_columns, numbers, ones }
    }

    /// The same of a matrix without one-hot columns.
    #[cfg(test)]
    pub(super) fn of_numbers(numbers: Array2<f32>) -> Inputs {
        let (rows, width) = numbers.dim();
        let (number_columns, numbers) = ((0..width).collect(), numbers.iter().copied().collect());
        Inputs { rows, width, number_columns, one_hot_columns: vec![], numbers, ones: vec![] }
    }

    /// Some numbers and a one-hot feature of some categories, and again: the numbers and categories that are given.
    #[cfg(test)]
    pub(super) fn testing(
        rows: usize,
        features: &[(usize, usize)],
        number: impl Fn(usize, usize) -> f32,
        category: impl Fn(usize, usize, usize) -> Option<usize>,
    ) -> Inputs {
        let mut inputs = Inputs::of_numbers(Array2::zeros((rows, 0)));
        for &(numbers, categories) in features {
            inputs.number_columns.extend(inputs.width..inputs.width + numbers);
            inputs.width += numbers;
            if categories > 0 {
                inputs.one_hot_columns.push(inputs.width..inputs.width + categories);
                inputs.width += categories;
            }
        }
        for row in 0..rows {
            inputs.numbers.extend((0..inputs.number_columns.len()).map(|column| number(row, column)));
            let one = |(feature, columns): (usize, &Range<usize>)| {
                let one = category(row, feature, columns.len());
                one.map_or(NONE, |one| (columns.start + one) as u32)
            };
            inputs.ones.extend(inputs.one_hot_columns.iter().enumerate().map(one));
        }
        inputs
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The columns that are numbers, in rising order; all between the one-hot columns are.
    pub(super) fn number_columns(&self) -> &[usize] {
        &self.number_columns
    }

    /// The columns of each one-hot feature, in rising order.
    pub(super) fn one_hot_columns(&self) -> &[Range<usize>] {
        &self.one_hot_columns
    }

    /// Copies chosen rows: their numbers into the first rows of a matrix, and which of the one-hot columns are 1, or
    /// [`NONE`], of each row behind the last one's.
    pub(super) fn copy(&self, rows: &[usize], numbers: &mut Matrix, ones: &mut [u32]) {
        let (columns, features) = (self.number_columns.len(), self.one_hot_columns.len());
        for (at, &row) in rows.iter().enumerate() {
            numbers.row_mut(at).copy_from_slice(&self.numbers[row * columns..][..columns]);
            ones[at * features..][..features].copy_from_slice(&self.ones[row * features..][..features]);
        }
    }

    /// Some rows as the engine takes them, zeros and all.
    pub(super) fn dense(&self, rows: Range<usize>) -> Array2<f32> {
        let mut dense = Array2::zeros((rows.len(), self.width));
        let (columns, features) = (self.number_columns.len(), self.one_hot_columns.len());
        for (row, mut to) in rows.zip(dense.rows_mut()) {
            let numbers = &self.numbers[row * columns..][..columns];
            self.number_columns.iter().zip(numbers).for_each(|(&column, &number)| to[column] = number);
            let ones = self.ones[row * features..][..features].iter().filter(|&&one| one != NONE);
            ones.for_each(|&one| to[one as usize] = 1.0);
        }
        dense
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{array, s};

    use super::*;
    use crate::engine::training::{Matrix, NONE};
    use crate::model::preprocess::{Combination, Transform};
    use crate::model::signature::{Feature, Missing, Target, Unknown};
    use crate::record::Gap;

    #[test]
    fn the_inputs_are_those_of_serving() {
        let number =
            |name: &str| Feature { name: name.into(), kind: Kind::Numeric, missing: Missing::Mean { value: 2.5 } };
        let colour = |unknown| Feature {
            name: "colour".into(),
            kind: Kind::Categorical { categories: ["red", "green"].map(String::from).to_vec(), unknown },
            missing: Missing::Zeros,
        };
        let signature = Signature {
            features: vec![number("a"), colour(Unknown::Other), number("b"), colour(Unknown::Zeros)],
            target: Target::Regression { names: vec!["y".into()] },
        };
        let numeric = |indicator| Transform::Numeric { steps: vec![], indicator };
        let transforms = [numeric(true), Transform::OneHot, numeric(false), Transform::OneHot];
        let preprocess = Preprocess::new(&signature, &transforms).unwrap();
        let (missing, unknown) = (Gap::Missing.value(), Gap::Unknown.value());
        let rows = array![[1.0, 0.0, 0.0, 1.0], [missing, unknown, 3.0, unknown], [4.0, missing, missing, 0.0]];
        let inputs = Inputs::new(&preprocess, &signature, rows.view());
        let expected = array![
            [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0],
            [2.5, 1.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0],
            [4.0, 0.0, 0.0, 0.0, 0.0, 2.5, 1.0, 0.0],
        ];
        assert_eq!(inputs.dense(0..3), expected);
        assert_eq!(inputs.dense(1..2), expected.slice(s![1..2, ..]));
        assert_eq!((inputs.rows(), inputs.number_columns()), (3, [0, 1, 5].as_slice()));
        let (mut numbers, mut ones) = (Matrix::zeros(2, 3), [0; 4]);
        inputs.copy(&[2, 1], &mut numbers, &mut ones);
        assert_eq!(numbers.view(2), array![[4.0, 0.0, 2.5], [2.5, 1.0, 3.0]]);
        assert_eq!(ones, [NONE, 6, 4, NONE]);

        // Columns of several features are numbers; of a hidden category no column is 1.
        let columns = vec![Combination::Product { of: vec![0, 5, 7], steps: vec![] }];
        let combined = [&transforms[..], &[Transform::Combined { columns, hidden: vec![7] }]].concat();
        let preprocess = Preprocess::new(&signature, &combined).unwrap();
        let inputs = Inputs::new(&preprocess, &signature, array![[2.0, 0.0, 3.0, 1.0]].view());
        assert_eq!(inputs.dense(0..1), array![[2.0, 0.0, 1.0, 0.0, 0.0, 3.0, 0.0, 0.0, 6.0]]);
        assert_eq!(inputs.number_columns(), [0, 1, 5, 8]);
    }
}
