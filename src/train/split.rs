//! Which rows train and which test.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::TrainError;
use super::dataset::Table;

/// How to divide a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Split {
    /// A random share tests.
    Random {
        /// The share, from 0 (nothing tests) to below 1; as in scikit-learn, a part of a row counts as a whole one.
        test_size: f64,
        /// The seed of the choice.
        seed: u64,
    },
    /// The rows in the order of their time; the last share tests.
    Time {
        /// The share, as above.
        test_size: f64,
    },
    /// The rows from this time on test; the time is on the scale of the table's time column.
    From(f64),
}

impl Split {
    /// The training and the test rows.
    pub fn divide(self, table: &Table) -> Result<(Table, Table), TrainError> {
        let rows = 0..table.len();
        let times = || table.times.as_ref().map(|times| &times.rows).ok_or(TrainError::NoTime);
        let (train, test) = match self {
            Split::Random { test_size, seed } => {
                let mut order: Vec<usize> = rows.collect();
                order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
                cut(order, test_size)
            }
            Split::Time { test_size } => {
                let times = times()?;
                let mut order: Vec<usize> = rows.collect();
                order.sort_by(|&a, &b| times[a].total_cmp(&times[b]));
                cut(order, test_size)
            }
            Split::From(time) => {
                let times = times()?;
                let (train, test): (Vec<usize>, Vec<usize>) = rows.partition(|&row| times[row] < time);
                if test.is_empty() {
                    return Err(TrainError::EmptySide { side: "test" });
                }
                (train, test)
            }
        };
        if train.is_empty() {
            return Err(TrainError::EmptySide { side: "training" });
        }
        Ok((table.select(&train), table.select(&test)))
    }
}

fn cut(mut order: Vec<usize>, test_size: f64) -> (Vec<usize>, Vec<usize>) {
    let test = (test_size * order.len() as f64).ceil() as usize;
    let test = order.split_off(order.len() - test.min(order.len()));
    (order, test)
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::train::dataset::{Column, Target, TargetValues, Times};
    use crate::train::time::Scale;

    fn table(times: &[f64]) -> Table {
        Table {
            features: vec![Column { name: "x".into(), categories: None }],
            rows: Array2::from_shape_fn((times.len(), 1), |(row, _)| row as f64),
            target: Target { name: "y".into(), values: TargetValues::Numbers(times.to_vec()) },
            times: Some(Times { scale: Scale::Number, rows: times.to_vec() }),
            without_target: 0,
        }
    }

    fn rows(table: &Table) -> Vec<f64> {
        table.rows.column(0).to_vec()
    }

    #[test]
    fn a_random_split_has_each_row_once_and_depends_on_the_seed_alone() {
        let table = table(&[0.0; 11]);
        let divide = |seed| {
            let (train, test) = Split::Random { test_size: 0.2, seed }.divide(&table).unwrap();
            (rows(&train), rows(&test))
        };
        let (train, test) = divide(1);
        assert_eq!((train.len(), test.len()), (8, 3));
        let mut all = [train, test].concat();
        all.sort_by(f64::total_cmp);
        assert_eq!(all, rows(&table));
        assert_eq!(divide(1), divide(1));
        assert_ne!(divide(1), divide(2));
    }

    #[test]
    fn splits_by_time_test_the_latest_rows() {
        let table = table(&[5.0, 1.0, 4.0, 2.0, 3.0]);
        let (train, test) = Split::Time { test_size: 0.4 }.divide(&table).unwrap();
        assert_eq!((rows(&train), rows(&test)), (vec![1.0, 3.0, 4.0], vec![2.0, 0.0]));
        let (train, test) = Split::From(3.0).divide(&table).unwrap();
        assert_eq!((rows(&train), rows(&test)), (vec![1.0, 3.0], vec![0.0, 2.0, 4.0]));
        assert!(matches!(Split::From(9.0).divide(&table), Err(TrainError::EmptySide { side: "test" })));
        assert!(matches!(Split::From(1.0).divide(&table), Err(TrainError::EmptySide { side: "training" })));
        let timeless = Table { times: None, ..table };
        assert!(matches!(Split::From(1.0).divide(&timeless), Err(TrainError::NoTime)));
    }

    #[test]
    fn a_share_of_nothing_tests_nothing() {
        let (train, test) = Split::Time { test_size: 0.0 }.divide(&table(&[1.0, 2.0])).unwrap();
        assert_eq!((train.len(), test.len()), (2, 0));
    }
}
