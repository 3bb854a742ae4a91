//! How far the live data is from the training data.
//!
//! A model version carries its [`Baseline`]: for each feature, and for the predictions, a few bins and how many
//! training rows fell into each. A [`Plan`] is the baseline made ready for counting live rows into the same bins
//! ([`Counts`]). With a [`Cycle`], a baseline has such bins for each hour of day or day of week. A [`DriftComparison`] of the two histograms is the population stability index ([`psi`]) over a sliding
//! [`Window`], beside the threshold that it must exceed to be drift.
//!
//! Nothing here reads a clock: time is passed in.

mod baseline;
mod bins;
mod comparison;
mod cycle;
mod edges;
mod levels;
mod window;

pub use baseline::{Baseline, Bins, Histogram};
pub use bins::{Column, Counts, Plan};
pub use comparison::{DriftComparison, DriftStatus, MIN_ROWS, MIN_TRAINING_ROWS, THRESHOLD, psi, threshold};
pub use cycle::{Cycle, Periods};
pub use window::{DriftWindow, Window, WindowSpan};
