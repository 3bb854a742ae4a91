//! The options that say what becomes of features on their way into the network.

use std::collections::BTreeMap;

use crate::model::signature::Unknown;
use crate::train::TrainError;
use crate::train::preparation::{DateParts, Impute, PerColumn, Preparation, Quantiles, Scale};

#[derive(Debug, clap::Args)]
pub(super) struct PreprocessingArgs {
    /// Leave rows that lack a value out of training, and reject such records in serving; nothing is imputed then.
    #[arg(long, conflicts_with_all = ["impute", "impute_categories", "indicator"])]
    dropna: bool,
    /// What a missing number becomes: mean, median, most_frequent or constant:NUMBER; for one column, of numbers or of
    /// categories, as in --impute age=median [default: mean]. Records may lack a column that has gaps in the training
    /// rows, or that is named here; all others are required in serving.
    #[arg(long, value_name = "[COLUMN=]METHOD")]
    impute: Vec<PerColumn<Impute>>,
    /// What a missing category becomes: zeros (none of its columns is set), most_frequent or constant:CATEGORY.
    #[arg(long, value_name = "METHOD", default_value_t = Impute::Zeros)]
    impute_categories: Impute,
    /// Give a column that says where it was missing to each number that is missing in some training row.
    #[arg(long)]
    indicator: bool,
    /// How numbers are scaled: standard, minmax or none.
    #[arg(long, value_name = "METHOD", default_value_t = Scale::Standard)]
    scale: Scale,
    /// Columns that are replaced by ln(1 + x), before scaling.
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    log1p: Vec<String>,
    /// Clip numbers to these quantiles of the training rows, before log1p; for one column, as in --clip fare=0,0.99.
    #[arg(long, value_name = "[COLUMN=]LOW,HIGH")]
    clip: Vec<PerColumn<Quantiles>>,
    /// Make features of a date or time: some of year, quarter, month, day, weekday, hour and minute, in UTC, as in
    /// --datetime time=hour,weekday,month. The column may be that of --time, too.
    #[arg(long, value_name = "COLUMN=PART,…")]
    datetime: Vec<PerColumn<DateParts>>,
    /// What happens to categories that the training rows don't have: zeros or reject.
    #[arg(long, value_name = "zeros|reject", default_value = "zeros", value_parser = unknown)]
    unknown: Unknown,
    /// One-hot columns of a feature at most: where there are as many categories or more, all but the most frequent share
    /// the last column, and unknown ones go there too.
    #[arg(long, value_name = "COLUMNS")]
    max_categories: Option<usize>,
}

impl PreprocessingArgs {
    pub(super) fn preparation(&self) -> Result<Preparation, TrainError> {
        let (impute, impute_columns) = per_column("--impute", &self.impute)?;
        let (clip, clip_columns) = per_column("--clip", &self.clip)?;
        let (of_all, datetime) = per_column("--datetime", &self.datetime)?;
        if let Some(DateParts(parts)) = of_all {
            let problem = format!("--datetime: which column? Write --datetime COLUMN={}", parts[0]);
            return Err(TrainError::Recipe(problem));
        }
        Ok(Preparation {
            dropna: self.dropna,
            impute: impute.unwrap_or(Impute::Mean),
            impute_categories: self.impute_categories.clone(),
            impute_columns,
            indicator: self.indicator,
            scale: self.scale,
            log1p: self.log1p.clone(),
            datetime: datetime.into_iter().map(|(column, DateParts(parts))| (column, parts)).collect(),
            clip,
            clip_columns,
            unknown: self.unknown,
            max_categories: self.max_categories,
        })
    }
}

/// What is said for all columns, and for some; nothing may be said twice.
fn per_column<T: Clone>(option: &str, said: &[PerColumn<T>]) -> Result<(Option<T>, BTreeMap<String, T>), TrainError> {
    let (mut all, mut some) = (None, BTreeMap::new());
    for PerColumn { column, value } in said {
        let before = match column {
            Some(column) => some.insert(column.clone(), value.clone()),
            None => all.replace(value.clone()),
        };
        if before.is_some() {
            let of = column.as_ref().map_or("all columns".into(), |column| format!("column {column:?}"));
            return Err(TrainError::Recipe(format!("{option} is given twice for {of}")));
        }
    }
    Ok((all, some))
}

fn unknown(text: &str) -> Result<Unknown, String> {
    match text {
        "zeros" => Ok(Unknown::Zeros),
        "reject" => Ok(Unknown::Reject),
        _ => Err("expected zeros or reject".into()),
    }
}
