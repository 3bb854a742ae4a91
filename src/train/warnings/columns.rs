//! Columns that are probably no features: they are constant, name the row, are dates as texts, or give the target away.
//!
//! Whether a column gives the target away is measured: every second row says what each of its values (or of 64 ranges
//! of numbers) means, and the others say how much of the target's uncertainty that takes away. So a column that has
//! another value in each row gives nothing away.

use std::collections::{BTreeSet, HashMap};

use super::warning;
use crate::model::evaluation::Warning;
use crate::texts;
use crate::train::dataset::{Column, Table, TargetValues};

/// Rows below which nothing can be said.
const LEAST_ROWS: usize = 50;

/// The share of rows, of so many at least, from which on one value is as good as constant.
const NEARLY_ALL: f64 = 0.999;
const LEAST_ROWS_TO_VARY: usize = 1000;

/// The share of the target's entropy, or of its variance, from which on a column alone gives it away.
const LEAK_OF_CLASSES: f64 = 0.75;
const LEAK_OF_NUMBERS: f64 = 0.98;

/// Rows that are looked at, spread over all.
const MAX_ROWS: usize = 10_000;

/// Different numbers from which on they may be dates.
const LEAST_DATES: usize = 10;

/// Ranges that numbers are divided into, and how many rows each has at least.
const RANGES: usize = 64;
const ROWS_OF_RANGE: usize = 10;

/// Warnings about the columns of the training rows. `datetime` names those of dates or times, of which only parts are features.
pub fn of_columns(table: &Table, datetime: &[String]) -> Vec<Warning> {
    let is_time = |name: &str| texts::position(datetime.iter().map(String::as_str), name).is_some();
    let sample = match table.len() > MAX_ROWS {
        true => &table.select(&(0..MAX_ROWS).map(|at| at * table.len() / MAX_ROWS).collect::<Vec<_>>()),
        false => table,
    };
    let each = table.features.iter().enumerate();
    each.filter_map(|(at, column)| of_column(table, sample, column, at, is_time(&column.name))).collect()
}

/// The worst that is to say about a column, by a sample of the rows.
fn of_column(table: &Table, sample: &Table, column: &Column, at: usize, is_time: bool) -> Option<Warning> {
    let name = column.name.as_str();
    let warn = |kind: &str, message: String| Some(warning(kind, Some(name), message));
    let all = || table.rows.column(at).into_iter().copied();
    if all().next().is_some_and(|first| all().all(|value| value == first)) {
        return warn("constant", format!("column {name:?} has one value in all rows: leave it out (--drop {name})"));
    }
    // Each row may have a time of its own, and a late time its own target: the parts that are features have neither.
    if is_time || sample.len() < LEAST_ROWS {
        return None;
    }
    let values: &[f64] = &sample.rows.column(at).to_vec();
    let there: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    let mut counts: HashMap<u64, usize> = HashMap::new();
    there.iter().for_each(|value| *counts.entry((value + 0.0).to_bits()).or_default() += 1);
    if copies(sample, column, values) {
        return warn(
            "target_copy",
            format!("column {name:?} says the same as the target: leave it out (--drop {name})"),
        );
    }
    let gives_away = match &sample.target.values {
        TargetValues::Classes { names, rows } => share_of_entropy(values, column, rows, names.len()),
        TargetValues::Numbers(numbers) => share_of_variance(values, column, numbers),
    };
    let least =
        if matches!(table.target.values, TargetValues::Classes { .. }) { LEAK_OF_CLASSES } else { LEAK_OF_NUMBERS };
    if gives_away >= least {
        let message = format!(
            "column {name:?} alone nearly gives the target ({:.0} % of it): if it is known only after the target is, it is \
             a leak (--drop {name})",
            gives_away * 100.0
        );
        return warn("leak", message);
    }
    if let Some(categories) = &column.categories {
        // The table has those of the test rows, too.
        let trained: BTreeSet<usize> = all().filter(|value| !value.is_nan()).map(|value| value as usize).collect();
        let trained: Vec<&str> = trained.into_iter().map(|at| categories[at].as_str()).collect();
        let is_iso = is_mostly(&trained, |text| texts::seconds(text).is_some());
        if is_iso || is_mostly(&trained, texts::is_written_date) {
            let rewrite = if is_iso { "" } else { "write them by ISO 8601, such as 2024-01-31, and " };
            let message = format!(
                "column {name:?} has dates, and each of its {} is a category of its own: {rewrite}name it as --time, make \
                 features of it (--datetime {name}=hour,weekday,month), or leave it out (--drop {name})",
                trained.len()
            );
            return warn("date_as_category", message);
        }
    } else if counts.len() >= LEAST_DATES && are_dates(&there) {
        let message = format!(
            "column {name:?} has dates or times as numbers: name it as --time, make features of it (--datetime \
             {name}=hour,weekday,month), or leave it out (--drop {name})"
        );
        return warn("date_as_number", message);
    } else if counts.len() == 1 && all().filter(|value| !value.is_nan()).all(|value| value == there[0]) {
        let message = format!(
            "column {name:?} has one value in all rows that have any: only its gaps can teach anything (--indicator), so \
             keep those or leave it out (--drop {name})"
        );
        return warn("constant", message);
    }
    if is_identifier(name, column, &there, counts.len(), table.len()) {
        let message = format!(
            "column {name:?} has another value in nearly every row, as an identifier has: name it as --id, or leave it out \
             (--drop {name})"
        );
        return warn("identifier", message);
    }
    let (&most, _) = counts.iter().max_by_key(|(_, count)| **count)?;
    let share = all().filter(|value| (value + 0.0).to_bits() == most).count() as f64 / table.len() as f64;
    if share >= NEARLY_ALL && table.len() >= LEAST_ROWS_TO_VARY {
        let message = format!(
            "column {name:?} has one value in {:.2} % of the rows: it can hardly teach anything",
            share * 100.0
        );
        return warn("nearly_constant", message);
    }
    None
}

/// Whether all numbers are dates such as 20240131, or times from 2000 to 2040 in a unit of [`texts::epoch`].
fn are_dates(numbers: &[f64]) -> bool {
    const TIMES: std::ops::Range<f64> = 946_684_800.0..2_208_988_800.0;
    let are_times = |unit: f64| numbers.iter().all(|number| TIMES.contains(&(number / unit)));
    numbers.iter().all(|&number| texts::calendar_date(number).is_some())
        || [1.0, 1e3, 1e6, 1e9].into_iter().any(are_times)
}

fn is_mostly(texts: &[&str], is_so: impl Fn(&str) -> bool) -> bool {
    texts.len() > 1 && texts.iter().filter(|text| is_so(text)).count() * 20 >= texts.len() * 19
}

/// Whether each value stands for one class and each class for one value, or numbers are the target's, scaled.
fn copies(table: &Table, column: &Column, values: &[f64]) -> bool {
    match &table.target.values {
        TargetValues::Classes { rows, .. } => {
            let (mut of_value, mut of_class) = (HashMap::new(), HashMap::new());
            let one_to_one = values.iter().zip(rows).filter(|(value, _)| !value.is_nan()).all(|(value, &class)| {
                let value = (value + 0.0).to_bits();
                *of_value.entry(value).or_insert(class) == class && *of_class.entry(class).or_insert(value) == value
            });
            // A gap says nothing.
            one_to_one && of_class.len() > 1 && values.iter().filter(|value| value.is_nan()).count() * 10 < values.len()
        }
        TargetValues::Numbers(numbers) if column.categories.is_none() => {
            let (there, numbers): (Vec<f64>, Vec<f64>) =
                values.iter().zip(numbers).filter(|(value, _)| !value.is_nan()).map(|(&a, &b)| (a, b)).unzip();
            there.len() >= LEAST_ROWS && correlation(&there, &numbers).abs() >= 1.0 - 1e-9
        }
        TargetValues::Numbers(_) => false,
    }
}

/// Pearson's correlation of pairs; 0 if one of both doesn't vary.
pub fn correlation(first: &[f64], second: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (of_first, of_second) = (mean(first), mean(second));
    let sums = first.iter().zip(second).fold((0.0, 0.0, 0.0), |(xx, yy, xy), (a, b)| {
        let (x, y) = (a - of_first, b - of_second);
        (xx + x * x, yy + y * y, xy + x * y)
    });
    let of_both = (sums.0 * sums.1).sqrt();
    if of_both > 0.0 && of_both.is_finite() { sums.2 / of_both } else { 0.0 }
}

/// Whether a column names the row: texts, or whole numbers that are close together or called so.
fn is_identifier(name: &str, column: &Column, there: &[f64], distinct: usize, rows: usize) -> bool {
    if there.len() < LEAST_ROWS || (distinct as f64) < 0.95 * there.len() as f64 {
        return false;
    }
    if column.categories.is_some() {
        return true;
    }
    if there.iter().any(|value| value.fract() != 0.0) {
        return false;
    }
    let range = |(low, high): (f64, f64), value: &f64| (low.min(*value), high.max(*value));
    let (low, high) = there.iter().fold((f64::INFINITY, f64::NEG_INFINITY), range);
    let is_called_so = name
        .to_lowercase()
        .split(['_', '-', ' ', '.'])
        .any(|word| matches!(word, "id" | "key" | "uuid" | "guid" | "index" | "row" | "nr" | "no" | "number"))
        || name.ends_with("Id")
        || name.ends_with("ID");
    is_called_so || high - low < 3.0 * rows as f64
}

/// The bin of each value: a category, a range of numbers of about as many rows, or the gaps. And how many there are.
fn bins(values: &[f64], column: &Column) -> (Vec<usize>, usize) {
    let gap = |bin_of: &dyn Fn(f64) -> usize, count: usize| -> (Vec<usize>, usize) {
        (values.iter().map(|&value| if value.is_nan() { count } else { bin_of(value) }).collect(), count + 1)
    };
    if let Some(categories) = &column.categories {
        return gap(&|value| value as usize, categories.len());
    }
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let ranges = (sorted.len() / ROWS_OF_RANGE).clamp(2, RANGES);
    let mut edges: Vec<f64> = (1..ranges).filter_map(|at| sorted.get(at * sorted.len() / ranges).copied()).collect();
    // A value that most rows have is a range of its own, or what is above it would be in it.
    edges.extend(edges.clone().windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].next_up()));
    edges.sort_unstable_by(f64::total_cmp);
    edges.dedup();
    gap(&|value| edges.partition_point(|&edge| edge <= value), edges.len() + 1)
}

/// By how much a column lowers the uncertainty about the class: 1 − the log loss with it ÷ the log loss without.
fn share_of_entropy(values: &[f64], column: &Column, classes: &[usize], names: usize) -> f64 {
    let (bins, count) = bins(values, column);
    let mut of_bins = vec![0.0; count * names];
    let mut of_all = vec![0.0; names];
    let learnt = || (0..classes.len()).step_by(2);
    let measured = || (1..classes.len()).step_by(2);
    for row in learnt() {
        of_bins[bins[row] * names + classes[row]] += 1.0;
        of_all[classes[row]] += 1.0;
    }
    let total: f64 = of_all.iter().sum();
    let share: Vec<f64> = of_all.iter().map(|rows| (rows + 0.5) / (total + 0.5 * names as f64)).collect();
    let (mut with, mut without) = (0.0, 0.0);
    for row in measured() {
        let bin = &of_bins[bins[row] * names..][..names];
        let rows: f64 = bin.iter().sum();
        // A bin of few rows says what all rows say.
        let probability = (bin[classes[row]] + share[classes[row]]) / (rows + 1.0);
        with -= probability.ln();
        without -= share[classes[row]].ln();
    }
    if without > 0.0 { 1.0 - with / without } else { 0.0 }
}

/// The same for numbers: the share of the variance that the mean of each bin explains.
fn share_of_variance(values: &[f64], column: &Column, numbers: &[f64]) -> f64 {
    let (bins, count) = bins(values, column);
    let (mut sums, mut rows) = (vec![0.0; count], vec![0.0; count]);
    for row in (0..numbers.len()).step_by(2) {
        sums[bins[row]] += numbers[row];
        rows[bins[row]] += 1.0;
    }
    let mean = sums.iter().sum::<f64>() / rows.iter().sum::<f64>().max(1.0);
    // Where a range has no row, the one below it stands in. Categories have none below them.
    let mut below = mean;
    let means = sums.iter().zip(&rows).map(|(sum, &rows)| {
        if rows > 0.0 {
            below = sum / rows;
        }
        if rows > 0.0 || column.categories.is_none() { below } else { mean }
    });
    let means: Vec<f64> = means.collect();
    let (mut unexplained, mut total) = (0.0, 0.0);
    for row in (1..numbers.len()).step_by(2) {
        unexplained += (numbers[row] - means[bins[row]]).powi(2);
        total += (numbers[row] - mean).powi(2);
    }
    if total > 0.0 && total.is_finite() { 1.0 - unexplained / total } else { 0.0 }
}
