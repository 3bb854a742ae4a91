//! How often drift detection is wrong: two tables, of false alarms of undrifted features and of changes that it finds.
//!
//! It draws everything from a fixed seed, so two runs print the same.
//!
//!     cargo bench --bench drift
//!
//! `WEIR_WINDOWS=100` compares fewer windows.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that can't go on panics, and it prints")]

#[path = "../tests/support/populations.rs"]
mod populations;

use populations::{alarms, changes, kinds};

/// Windows for each figure, unless WEIR_WINDOWS has another number.
const WINDOWS: u64 = 1_000;

const TRAINING_ROWS: [usize; 5] = [100, 300, 1_000, 10_000, 100_000];

/// Rows of a window, in turns.
const LIVE_ROWS: [usize; 3] = [200, 1_000, 5_000];

fn main() {
    let windows =
        std::env::var("WEIR_WINDOWS").map_or(WINDOWS, |count| count.parse().expect("WEIR_WINDOWS is a number"));
    let percent = |alarms: u64| format!("{:.1} %", 100.0 * alarms as f64 / windows as f64);
    println!("| undrifted feature | {} |", TRAINING_ROWS.map(|rows| rows.to_string()).join(" | "));
    println!("| --- |{}", " ---: |".repeat(TRAINING_ROWS.len()));
    for (name, population) in kinds() {
        let populations = (&population, &population);
        let cells = TRAINING_ROWS.map(|rows| percent(alarms(populations, (rows, &LIVE_ROWS), windows)));
        println!("| {name} | {} |", cells.join(" | "));
    }
    println!("\n| change, 2,000 training rows | found in 500 records | 1,000 | 2,000 |");
    println!("| --- | ---: | ---: | ---: |");
    for (name, before, after) in changes() {
        let cells = [500, 1_000, 2_000].map(|rows| percent(alarms((&before, &after), (2_000, &[rows]), windows)));
        println!("| {name} | {} |", cells.join(" | "));
    }
}
