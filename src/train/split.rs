//! Which rows train and which test.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::TrainError;
use super::dataset::{Outline, Table, TargetValues};

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
    /// A random share of each class tests, so that both sides have the classes in the proportions of the whole.
    Stratified {
        /// The share of all rows, as above.
        test_size: f64,
        /// The seed of the choice.
        seed: u64,
    },
    /// The rows in the order of their time; the last share tests. Rows of the same time are all on one side, that of the
    /// test unless nothing would train then.
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
        let classes = match &table.target.values {
            TargetValues::Classes { rows, .. } => Some(rows.clone()),
            TargetValues::Numbers(_) => None,
        };
        let (rows, times, target) = (table.len(), table.times.clone(), table.target.name.clone());
        let (train, test) = self.choose(&Outline { rows, times, target, classes })?;
        Ok((table.select(&train), table.select(&test)))
    }

    /// The indices of the training and of the test rows.
    pub fn choose(self, outline: &Outline) -> Result<(Vec<usize>, Vec<usize>), TrainError> {
        let rows = 0..outline.rows;
        let times = || outline.times.as_ref().map(|times| &times.rows).ok_or(TrainError::NoTime);
        let (train, test) = match self {
            Split::Random { test_size, seed } => {
                let mut order: Vec<usize> = rows.collect();
                order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
                cut(order, test_size)
            }
            Split::Stratified { test_size, seed } => {
                let Some(classes) = &outline.classes else {
                    return Err(TrainError::NoStrata { target: outline.target.clone() });
                };
                let count = classes.iter().max().map_or(0, |most| most + 1);
                stratify(classes, count, test_size, &mut ChaCha8Rng::seed_from_u64(seed))
            }
            Split::Time { test_size } => {
                let times = times()?;
                let mut order: Vec<usize> = rows.collect();
                order.sort_by(|&a, &b| times[a].total_cmp(&times[b]));
                cut_by_time(order, times, test_size)
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
        Ok((train, test))
    }
}

/// As scikit-learn's `StratifiedShuffleSplit` chooses: first how many of each class train, then how many of the others
/// test, and which they are.
pub(super) fn stratify(
    classes: &[usize],
    count: usize,
    test_size: f64,
    rng: &mut ChaCha8Rng,
) -> (Vec<usize>, Vec<usize>) {
    let mut members = vec![Vec::new(); count];
    classes.iter().enumerate().for_each(|(row, &class)| members[class].push(row));
    let wanted = test_rows(classes.len(), test_size);
    let counts: Vec<usize> = members.iter().map(Vec::len).collect();
    let training = proportions(&counts, classes.len() - wanted, rng);
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (mut members, training) in members.into_iter().zip(training) {
        members.shuffle(rng);
        test.extend(members.split_off(training));
        train.extend(members);
    }
    train.shuffle(rng);
    test.shuffle(rng);
    (train, test)
}

/// How many of each class are drawn when `draws` are drawn of all, each as near to its proportion as whole numbers can
/// be; ties are broken by the generator (scikit-learn's `_approximate_mode`).
fn proportions(counts: &[usize], draws: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let total: usize = counts.iter().sum();
    let exact: Vec<f64> = counts.iter().map(|&count| count as f64 / total as f64 * draws as f64).collect();
    let mut drawn: Vec<usize> = exact.iter().map(|share| share.floor() as usize).collect();
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.shuffle(rng);
    // The sort keeps the order of equals: that is the tie, broken.
    order.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()));
    let missing = draws.saturating_sub(drawn.iter().sum());
    order.into_iter().take(missing).for_each(|class| drawn[class] += 1);
    drawn
}

/// The last rows of an order test.
pub(super) fn cut(mut order: Vec<usize>, test_size: f64) -> (Vec<usize>, Vec<usize>) {
    let test = order.split_off(order.len() - test_rows(order.len(), test_size));
    (order, test)
}

/// The last rows of an order by time test: no time is on both sides.
fn cut_by_time(mut order: Vec<usize>, times: &[f64], test_size: f64) -> (Vec<usize>, Vec<usize>) {
    let mut start = order.len() - test_rows(order.len(), test_size);
    if let Some(&first) = order.get(start) {
        let time = times[first];
        start = order.partition_point(|&row| times[row] < time);
        if start == 0 {
            start = order.partition_point(|&row| times[row] <= time);
        }
    }
    // All rows have the same time, and some are to test.
    if start == order.len() && test_rows(order.len(), test_size) > 0 {
        start = 0;
    }
    let test = order.split_off(start);
    (order, test)
}

/// How many of so many rows test.
pub(super) fn test_rows(rows: usize, test_size: f64) -> usize {
    rows.min((test_size * rows as f64).ceil() as usize)
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::train::dataset::{Column, Target, Times};
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
    fn equal_times_are_on_one_side() {
        let split = |times: &[f64], test_size: f64| {
            let divided = Split::Time { test_size }.divide(&table(times));
            divided.map(|(train, test)| (rows(&train), rows(&test)))
        };
        // Two of six rows would test, and the cut would go through the rows of time 3.
        let halves = (vec![1.0, 5.0, 3.0], vec![0.0, 2.0, 4.0]);
        assert_eq!(split(&[3.0, 1.0, 3.0, 2.0, 3.0, 1.0], 0.3).unwrap(), halves);
        // Nothing would train: the rows of time 1 do, then.
        assert_eq!(split(&[1.0, 1.0, 1.0, 2.0], 0.5).unwrap(), (vec![0.0, 1.0, 2.0], vec![3.0]));
        assert!(matches!(split(&[1.0, 1.0], 0.5), Err(TrainError::EmptySide { side: "training" })));
        assert_eq!(split(&[1.0, 1.0], 0.0).unwrap().0, [0.0, 1.0]);
    }

    // for counts in [62, 30, 10], [51, 27, 23], [5, 3, 2]:
    //     y = np.repeat([0, 1, 2], counts)
    //     train, test = train_test_split(y, test_size=0.25, stratify=y); print(np.bincount(test), np.bincount(train))
    #[test]
    fn a_stratified_split_keeps_the_proportions_of_the_classes() {
        let cases = [
            ([62, 30, 10], [16, 8, 2], [46, 22, 8]),
            ([51, 27, 23], [13, 7, 6], [38, 20, 17]),
            ([5, 3, 2], [1, 1, 1], [4, 2, 1]),
        ];
        for (counts, expected_test, expected_train) in cases {
            let classes: Vec<usize> = (0..3).flat_map(|class| vec![class; counts[class]]).collect();
            let names = ["a", "b", "c"].map(String::from).to_vec();
            let values = TargetValues::Classes { names, rows: classes };
            let table = Table { target: Target { name: "y".into(), values }, ..table(&vec![0.0; counts.iter().sum()]) };
            let (train, test) = Split::Stratified { test_size: 0.25, seed: 1 }.divide(&table).unwrap();
            let count = |table: &Table| {
                let TargetValues::Classes { rows, .. } = &table.target.values else { panic!() };
                [0, 1, 2].map(|class| rows.iter().filter(|&&row| row == class).count())
            };
            assert_eq!((count(&test), count(&train)), (expected_test, expected_train), "{counts:?}");
            let mut all = [rows(&train), rows(&test)].concat();
            all.sort_by(f64::total_cmp);
            assert_eq!(all, rows(&table));
        }
        let numbers = Split::Stratified { test_size: 0.25, seed: 1 }.divide(&table(&[0.0; 4]));
        assert!(matches!(numbers, Err(TrainError::NoStrata { .. })));
    }

    #[test]
    fn a_share_of_nothing_tests_nothing() {
        let (train, test) = Split::Time { test_size: 0.0 }.divide(&table(&[1.0, 2.0])).unwrap();
        assert_eq!((train.len(), test.len()), (2, 0));
    }

    #[test]
    fn ties_fall_to_either_side() {
        // _approximate_mode([2, 2, 2, 1], n_draws=2) may be [0, 1, 1, 0] or any other two of the first three.
        let drawn: Vec<Vec<usize>> =
            (0..20).map(|seed| proportions(&[2, 2, 2, 1], 2, &mut ChaCha8Rng::seed_from_u64(seed))).collect();
        assert!(drawn.iter().all(|drawn| drawn.iter().sum::<usize>() == 2 && drawn[3] == 0), "{drawn:?}");
        assert!(drawn.iter().any(|other| *other != drawn[0]));
        assert_eq!(proportions(&[5, 2], 4, &mut ChaCha8Rng::seed_from_u64(0)), [3, 1]);
    }
}
