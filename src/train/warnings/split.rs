//! Rows that are on both sides of a test.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use ndarray::{ArrayView1, ArrayView2};

use super::warning;
use crate::model::evaluation::Warning;
use crate::train::dataset::{Table, TargetValues};

/// The share of test rows from which on they are a leak.
const LEAST_SHARE: f64 = 0.01;

/// A test whose rows were trained on.
///
/// Rows of a few coarse columns are the same by nature: then as many training rows are the same as other training rows.
pub fn of_split(train: &Table, test: &Table) -> Option<Warning> {
    let (training, tested) = (hashes(train), hashes(test));
    let mut seen = HashSet::new();
    let repeated = training.iter().filter(|&&row| !seen.insert(row)).count();
    let common = tested.iter().filter(|row| seen.contains(row)).count();
    let share = |rows: usize, of: usize| rows as f64 / of.max(1) as f64;
    let by_nature = share(repeated, training.len());
    (share(common, tested.len()) > LEAST_SHARE + 2.0 * by_nature).then(|| {
        let message = format!(
            "{common} of {} test rows are also training rows, with the same features and target: the test is too good",
            tested.len()
        );
        warning("test_rows_trained_on", None, message)
    })
}

/// The target belongs to the row: the same features with another target are another row.
fn hashes(table: &Table) -> Vec<u64> {
    let target = |row: usize| match &table.target.values {
        TargetValues::Classes { names, rows } => hash_of(&names[rows[row]]),
        TargetValues::Numbers(numbers) => numbers[row].to_bits(),
    };
    // A test file has categories of its own.
    let categories: Vec<Option<Vec<u64>>> = (table.features.iter())
        .map(|column| column.categories.as_ref().map(|names| names.iter().map(hash_of).collect()))
        .collect();
    let bits = |value: f64, categories: &Option<Vec<u64>>| match categories {
        Some(hashes) if !value.is_nan() => hashes[value as usize],
        _ => value.to_bits(),
    };
    let row_hash = |(at, row): (usize, ArrayView1<'_, f64>)| {
        let mut hasher = DefaultHasher::new();
        row.iter().zip(&categories).for_each(|(&value, categories)| bits(value, categories).hash(&mut hasher));
        target(at).hash(&mut hasher);
        hasher.finish()
    };
    table.rows.rows().into_iter().enumerate().map(row_hash).collect()
}

fn hash_of(text: &String) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// An evaluation on rows that the version was trained on: its golden rows are training rows, and most of them are there.
///
/// Both are decoded for the version's signature.
pub fn overlap(golden: &[Vec<f64>], rows: ArrayView2<'_, f64>) -> Option<Warning> {
    let key = |row: &[f64]| row.iter().map(|value| value.to_bits()).collect::<Vec<u64>>();
    let golden: HashSet<Vec<u64>> = golden.iter().map(|row| key(row)).collect();
    let mut seen = HashSet::new();
    let mut repeated = 0;
    let mut found = HashSet::new();
    for row in rows.rows() {
        let row = key(&row.to_vec());
        if golden.contains(&row) {
            found.insert(row.clone());
        }
        repeated += usize::from(!seen.insert(hash_of_key(&row)));
    }
    let is_coarse = repeated * 2 > rows.nrows();
    // One of few golden rows may be there by chance.
    (golden.len() >= 4 && found.len() * 2 > golden.len() && !is_coarse).then(|| {
        let message = format!(
            "{} of the {} training rows that the version keeps are among these rows: it was trained on them, and the \
             figures are too good",
            found.len(),
            golden.len()
        );
        warning("test_rows_trained_on", None, message)
    })
}

fn hash_of_key(key: &[u64]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
