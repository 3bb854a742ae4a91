//! The options that say which rows test.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::data;
use crate::model::evaluation::Warning;
use crate::train::dataset::{self, Columns, DividedTable, Outline, Table, files};
use crate::train::split::Split;
use crate::train::warnings::warning;

#[derive(Debug, clap::Args)]
pub(super) struct SplitArgs {
    /// The share of rows to test on.
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = share)]
    test_size: f64,
    /// Choose them at random, at random but of each class its share, or take the latest by --time: rows of the same time are
    /// all on one side.
    #[arg(long, value_enum, default_value_t = By::Random)]
    split_by: By,
    /// Test on the rows from this value of --time on.
    #[arg(long, value_name = "TIME", requires = "time", conflicts_with_all = ["test_size", "split_by"])]
    test_from: Option<String>,
    /// Test on this file, or these, and train on all of DATA.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["test_size", "split_by", "test_from"])]
    test: Vec<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum By {
    Random,
    Stratified,
    Time,
}

impl SplitArgs {
    /// Reads the training and the test rows from files with these columns.
    pub(super) fn read(&self, paths: &[PathBuf], columns: &Columns, seed: u64) -> anyhow::Result<DividedTable> {
        if !self.test.is_empty() {
            let mut divided = Table::read_divided(paths, columns, Outline::all_train)?;
            let (files, options) = (files(&self.test)?, columns.options.clone());
            divided.notes.extend(dataset::describe(&files, &options)?);
            divided.test = divided.train.read_like(&files, columns.time.as_deref(), options)?;
            divided.test_places = (0..divided.test.len()).collect();
            return Ok(divided);
        }
        let test_size = self.test_size;
        Table::read_divided(paths, columns, |outline| {
            let split = match (&self.test_from, self.split_by) {
                (Some(from), _) => Split::From(outline.time(from)?),
                (None, By::Time) => Split::Time { test_size },
                (None, By::Stratified) => Split::Stratified { test_size, seed },
                (None, By::Random) => Split::Random { test_size, seed },
            };
            Ok(split.choose(outline)?)
        })
    }

    /// A warning if rows of the future would train and rows of the past test.
    pub(super) fn warning(&self, columns: &Columns) -> Option<Warning> {
        let is_random = self.test.is_empty() && self.test_from.is_none() && !matches!(self.split_by, By::Time);
        let time = columns.time.as_ref().filter(|_| is_random && self.test_size > 0.0)?;
        let message = format!(
            "the test rows are chosen at random, so rows that happened after them train, by {time:?}: use --split-by time or \
             --test-from"
        );
        Some(warning("random_split_of_times", Some(time), message))
    }

    /// What the bundle's recipe should say about it.
    pub(super) fn note(&self) -> Value {
        if !self.test.is_empty() {
            return json!({ "test": data::note(&self.test) });
        }
        if let Some(from) = &self.test_from {
            return json!({ "test_from": from });
        }
        let by = match self.split_by {
            By::Random => "random",
            By::Stratified => "stratified",
            By::Time => "time",
        };
        json!({ "split_by": by, "test_size": self.test_size })
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to below 1".into())
}
