//! The options that say what the columns are.

use crate::monitor::drift::Cycle;
use crate::train::dataset::{Columns, ReadOptions, Task};

#[derive(Debug, clap::Args)]
pub(super) struct ColumnArgs {
    /// The column to predict.
    #[arg(long, value_name = "COLUMN")]
    target: String,
    /// Columns that are categories even where they look like numbers.
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    categorical: Vec<String>,
    /// Columns that must be numbers.
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    numeric: Vec<String>,
    /// Columns to leave out.
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    drop: Vec<String>,
    /// A column that names the row; not a feature.
    #[arg(long, value_name = "COLUMN")]
    id: Option<String>,
    /// When the row happened, a number, a date or a time in any form of ISO 8601, Postgres, BigQuery or pandas; not a feature.
    #[arg(long, value_name = "COLUMN")]
    pub(super) time: Option<String>,
    /// Compute drift by hour of day or day of week, in UTC: hour or weekday. Live rows are then compared with the training
    /// rows of the same hours or weekdays, so that a cycle in the training data is no drift.
    #[arg(long, value_name = "CYCLE", value_parser = cycle, requires = "time")]
    pub(super) baseline_by: Option<Cycle>,
    /// What the target is: classification or regression [default: as its values suggest].
    #[arg(long, value_parser = task)]
    task: Option<Task>,
}

impl ColumnArgs {
    pub(super) fn columns(&self, rare_categories: bool, options: ReadOptions) -> Columns {
        Columns {
            target: self.target.clone(),
            id: self.id.clone(),
            time: self.time.clone(),
            drop: self.drop.clone(),
            categorical: self.categorical.clone(),
            numeric: self.numeric.clone(),
            task: self.task,
            rare_categories,
            options,
        }
    }
}

fn cycle(text: &str) -> Result<Cycle, String> {
    let named = [Cycle::Hour, Cycle::Weekday].into_iter().find(|cycle| cycle.as_str() == text);
    named.ok_or_else(|| "expected hour or weekday".into())
}

fn task(text: &str) -> Result<Task, String> {
    let named = [Task::Classification, Task::Regression].into_iter().find(|task| task.as_str() == text);
    named.ok_or_else(|| "expected classification or regression".into())
}
