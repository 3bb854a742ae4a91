//! `weir train`: a CSV file in, a published model out.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::engine::Activation;
use crate::model::reference::{check_alias, check_name};
use crate::model::signature::{Target, Unknown};
use crate::model::store::Store;
use crate::train::dataset::{Columns, Table, Task};
use crate::train::recipe::{BatchSize, Impute, Solver};
use crate::train::split::Split;
use crate::train::{self, Epoch, Recipe, Rows, Trained};

/// Train a model on a CSV file and publish it.
///
/// Every column that isn't the target, the id or the time is a feature: numeric if all its values are numbers,
/// otherwise categorical. A target of texts, or of up to 20 different whole numbers, makes a classification, other
/// numbers a regression. Empty cells, NA, NaN and null are missing values; rows without a target are left out.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  weir train flights.csv.gz --target late --id id --time time --test-from 2013-07-01 \\\n    --name flights --store file:models --hidden-layer-sizes 100,100 --max-iter 20 --promote production"
)]
pub struct Args {
    /// CSV with a header, plain or gzipped.
    data: PathBuf,

    /// The column to predict.
    #[arg(long, value_name = "COLUMN")]
    target: String,

    /// The model's name.
    #[arg(long, value_name = "MODEL")]
    name: String,

    /// Where the bundles live.
    #[arg(long, value_name = "URL", default_value = "file:models")]
    store: String,

    /// Move this alias to the new version.
    #[arg(long, value_name = "ALIAS")]
    promote: Option<String>,

    /// Print one JSON object instead of text and progress.
    #[arg(long)]
    json: bool,

    #[command(flatten, next_help_heading = "Columns")]
    columns: ColumnArgs,
    #[command(flatten, next_help_heading = "Test rows")]
    split: SplitArgs,
    #[command(flatten, next_help_heading = "Preprocessing")]
    preprocessing: PreprocessingArgs,
    #[command(flatten, next_help_heading = "Training, as in scikit-learn")]
    training: TrainingArgs,
}

#[derive(Debug, clap::Args)]
struct ColumnArgs {
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
    /// When the row happened, a number or ISO 8601; not a feature.
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// What the target is [default: as its values suggest].
    #[arg(long, value_parser = task)]
    task: Option<Task>,
}

#[derive(Debug, clap::Args)]
struct SplitArgs {
    /// The share of rows to test on.
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = share)]
    test_size: f64,
    /// Choose them at random, or take the latest by --time.
    #[arg(long, value_name = "random|time", default_value = "random", value_parser = ["random", "time"])]
    split_by: String,
    /// Test on the rows from this value of --time on.
    #[arg(long, value_name = "TIME", requires = "time", conflicts_with_all = ["test_size", "split_by"])]
    test_from: Option<String>,
    /// Test on this file, and train on all of DATA.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["test_size", "split_by", "test_from"])]
    test: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct PreprocessingArgs {
    /// What a missing number becomes: mean, median, constant:VALUE, or reject (the row is left out).
    #[arg(long, default_value_t = Impute::Mean)]
    impute: Impute,
    /// What happens to categories that the training rows don't have: zeros or reject.
    #[arg(long, default_value = "zeros", value_parser = unknown)]
    unknown: Unknown,
}

#[derive(Debug, clap::Args)]
struct TrainingArgs {
    /// Neurons of each hidden layer.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "100")]
    hidden_layer_sizes: Vec<usize>,
    /// identity, relu, leaky_relu, elu, tanh, logistic, gelu or silu.
    #[arg(long, default_value = "relu")]
    activation: Activation,
    /// sgd or adam.
    #[arg(long, default_value = "adam")]
    solver: Solver,
    /// L2 penalty.
    #[arg(long, default_value_t = Recipe::default().alpha)]
    alpha: f64,
    /// Rows per step; auto is 200.
    #[arg(long, default_value_t = BatchSize::Auto)]
    batch_size: BatchSize,
    /// The step size.
    #[arg(long, default_value_t = Recipe::default().learning_rate_init)]
    learning_rate_init: f64,
    /// How much of the last step goes on into the next (sgd).
    #[arg(long, default_value_t = Recipe::default().momentum)]
    momentum: f64,
    /// Nesterov's momentum instead of the plain one (sgd).
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    nesterovs_momentum: bool,
    /// Epochs at most.
    #[arg(long, default_value_t = Recipe::default().max_iter)]
    max_iter: usize,
    /// By how much an epoch's loss must be lower than the best one.
    #[arg(long, default_value_t = Recipe::default().tol)]
    tol: f64,
    /// Stop after more than this many epochs in a row that weren't.
    #[arg(long, default_value_t = Recipe::default().n_iter_no_change)]
    n_iter_no_change: usize,
    /// Whether each epoch takes the rows in a new order.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    shuffle: bool,
    /// The seed of the weights, the order of the rows, and the random split.
    #[arg(long, default_value_t = Recipe::default().random_state)]
    random_state: u64,
}

fn task(text: &str) -> Result<Task, String> {
    let named = [Task::Classification, Task::Regression].into_iter().find(|task| task.as_str() == text);
    named.ok_or_else(|| "expected classification or regression".into())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to below 1".into())
}

fn unknown(text: &str) -> Result<Unknown, String> {
    match text {
        "zeros" => Ok(Unknown::Zeros),
        "reject" => Ok(Unknown::Reject),
        _ => Err("expected zeros or reject".into()),
    }
}

/// Runs the verb.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    train(&args, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn train(args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    // What can fail at once must not fail after the training.
    check_name(&args.name)?;
    if let Some(alias) = &args.promote {
        check_alias(alias)?;
    }
    let store = Store::open(&args.store)?;
    let columns = args.columns();

    let table = Table::read(&args.data, &columns)?;
    let (train, test) = args.divide(&table)?;
    if !args.json {
        show_data(out, &table, &train, &test)?;
    }

    let mut progress = Progress { quiet: args.json, started: Instant::now(), bar: None };
    let trained = train::fit(&train, &test, &args.recipe(), &mut |epoch| {
        progress.show(epoch);
        ControlFlow::Continue(())
    })?;
    let seconds = progress.finish();
    if !args.json {
        show_trained(out, &trained, seconds)?;
    }

    let (rows, losses, stop) = (trained.rows, trained.losses.clone(), trained.stop);
    let draft = trained.into_draft(&args.name, args.notes(&columns));
    let version = store.publish(&draft)?;
    if let Some(alias) = &args.promote {
        let moved = store.promote(&args.name, alias, version);
        moved.with_context(|| format!("{}@{version} is published, but {alias} can't be moved to it", args.name))?;
    }
    if args.json {
        let summary = json!({
            "model": args.name,
            "version": version,
            "promoted": args.promote,
            "signature": draft.signature,
            "recipe": draft.training.recipe,
            "metrics": draft.training.metrics,
            "left_out": {
                "without_target": table.without_target,
                "incomplete": rows.incomplete,
                "untestable": rows.untestable,
            },
            "losses": losses,
            "stop": stop.as_str(),
            "seconds": seconds,
        });
        writeln!(out, "{summary}")?;
    } else {
        match &args.promote {
            Some(alias) => writeln!(out, "\npublished {}@{version}, and {alias} points to it", draft.name)?,
            None => writeln!(out, "\npublished {}@{version}", draft.name)?,
        }
    }
    Ok(())
}

impl Args {
    fn columns(&self) -> Columns {
        Columns {
            target: self.target.clone(),
            id: self.columns.id.clone(),
            time: self.columns.time.clone(),
            drop: self.columns.drop.clone(),
            categorical: self.columns.categorical.clone(),
            numeric: self.columns.numeric.clone(),
            task: self.columns.task,
        }
    }

    fn recipe(&self) -> Recipe {
        let TrainingArgs { hidden_layer_sizes, activation, solver, alpha, batch_size, .. } = &self.training;
        Recipe {
            impute: self.preprocessing.impute,
            unknown: self.preprocessing.unknown,
            hidden_layer_sizes: hidden_layer_sizes.clone(),
            activation: *activation,
            solver: *solver,
            alpha: *alpha,
            batch_size: *batch_size,
            learning_rate_init: self.training.learning_rate_init,
            momentum: self.training.momentum,
            nesterovs_momentum: self.training.nesterovs_momentum,
            max_iter: self.training.max_iter,
            tol: self.training.tol,
            n_iter_no_change: self.training.n_iter_no_change,
            shuffle: self.training.shuffle,
            random_state: self.training.random_state,
        }
    }

    /// The training and the test rows.
    fn divide(&self, table: &Table) -> anyhow::Result<(Table, Table)> {
        let SplitArgs { test_size, split_by, test_from, test } = &self.split;
        if let Some(path) = test {
            let test = table.read_like(path, self.columns.time.as_deref())?;
            return Ok((table.clone(), test));
        }
        let split = match (test_from, split_by.as_str()) {
            (Some(from), _) => Split::From(table.time(from)?),
            (None, "time") => Split::Time { test_size: *test_size },
            (None, _) => Split::Random { test_size: *test_size, seed: self.training.random_state },
        };
        Ok(split.divide(table)?)
    }

    /// What the bundle's recipe should say about the data.
    fn notes(&self, columns: &Columns) -> Vec<(String, Value)> {
        let file_name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let split = match &self.split {
            SplitArgs { test: Some(path), .. } => json!({ "test": file_name(path) }),
            SplitArgs { test_from: Some(from), .. } => json!({ "test_from": from }),
            SplitArgs { split_by, test_size, .. } => json!({ "split_by": split_by, "test_size": test_size }),
        };
        vec![
            ("data".into(), json!(file_name(&self.data))),
            ("split".into(), split),
            ("time".into(), json!(columns.time)),
        ]
    }
}

/// What was inferred.
fn show_data(out: &mut dyn Write, table: &Table, train: &Table, test: &Table) -> io::Result<()> {
    writeln!(out, "target     {}, {}", table.target.name, table.task().as_str())?;
    write!(out, "rows       {} to train on, {} to test on", train.len(), test.len())?;
    match table.without_target {
        0 => writeln!(out)?,
        rows => writeln!(out, ", {rows} left out without a target")?,
    }
    let width = table.features.iter().map(|column| column.name.chars().count()).max().unwrap_or(0).max(7);
    writeln!(out, "\n{:width$}  kind         missing  values", "feature")?;
    for (column, values) in table.features.iter().zip(table.rows.columns()) {
        let missing = values.iter().filter(|value| value.is_nan()).count();
        let (kind, shown) = match &column.categories {
            Some(categories) => ("categorical", first_few(categories)),
            None => ("numeric", range(values.iter().copied())),
        };
        writeln!(out, "{:width$}  {kind:11}  {missing:7}  {shown}", column.name)?;
    }
    writeln!(out)
}

fn show_trained(out: &mut dyn Write, trained: &Trained, seconds: f64) -> io::Result<()> {
    writeln!(out, "trained    {} epochs in {seconds:.1} s, {}", trained.losses.len(), trained.stop.as_str())?;
    let Rows { incomplete, untestable, .. } = trained.rows;
    if incomplete > 0 {
        writeln!(out, "           {incomplete} rows left out of training that lack a value")?;
    }
    if untestable > 0 {
        writeln!(
            out,
            "           {untestable} test rows left out that the model rejects or whose class it doesn't know"
        )?;
    }
    if let Target::Classification { classes, .. } = &trained.signature().target {
        writeln!(out, "classes    {}", first_few(classes))?;
        if let [_, positive] = &**classes {
            writeln!(out, "           precision, recall and f1 are those of {positive:?}")?;
        }
    }
    for (name, value) in trained.metrics() {
        match name.as_str() {
            "rows" | "test_rows" | "epochs" => writeln!(out, "{name:10} {value}")?,
            _ => writeln!(out, "{name:10} {value:.4}")?,
        }
    }
    Ok(())
}

/// The first few of some names.
fn first_few(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let first = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn range(values: impl Iterator<Item = f64>) -> String {
    let widen = |range: Option<(f64, f64)>, value: f64| {
        Some(range.map_or((value, value), |(least, most)| (least.min(value), most.max(value))))
    };
    match values.filter(|value| !value.is_nan()).fold(None, widen) {
        Some((least, most)) => format!("{least} to {most}"),
        None => "none".into(),
    }
}

/// How far the training is, on stderr: a bar on a terminal, a line per epoch elsewhere.
struct Progress {
    quiet: bool,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    fn show(&mut self, epoch: &Epoch) {
        if self.quiet {
            return;
        }
        let rate = (epoch.number * epoch.rows) as f64 / self.started.elapsed().as_secs_f64();
        if io::stderr().is_terminal() {
            let bar = self.bar.get_or_insert_with(|| {
                let style = ProgressStyle::with_template("epoch {pos}/{len} {wide_bar} {msg}");
                ProgressBar::new(epoch.of as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            });
            bar.set_position(epoch.number as u64);
            bar.set_message(format!("loss {:.6}, {rate:.0} rows/s", epoch.loss));
        } else {
            eprintln!("epoch {}/{}: loss {:.6}, {rate:.0} rows/s", epoch.number, epoch.of, epoch.loss);
        }
    }

    /// Takes the bar away; the seconds since the beginning.
    fn finish(self) -> f64 {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        self.started.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::{Args as _, Command, FromArgMatches};

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(Command::new("train"));
        Args::from_arg_matches(&command.try_get_matches_from([&["train"], arguments].concat())?)
    }

    #[test]
    fn the_options_defaults_are_the_recipes() {
        Args::augment_args(Command::new("train")).debug_assert();
        let args = parse(&["data.csv", "--target", "y", "--name", "m"]).unwrap();
        assert_eq!(args.recipe(), Recipe::default());
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let parse = |more: &[&str]| parse(&[&["data.csv", "--target", "y", "--name", "m"], more].concat());
        assert!(parse(&["--test-from", "2013-07-01"]).is_err());
        assert!(parse(&["--test", "other.csv", "--test-size", "0.5"]).is_err());
        assert!(parse(&["--test-size", "1"]).is_err());
        assert!(parse(&["--activation", "sigmoid"]).is_err());
    }

    #[test]
    fn a_csv_file_becomes_a_published_model() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data.csv");
        let lines: String =
            (0..200).map(|n| format!("{n},{},{}\n", n % 7, if n % 7 > 3 { "high" } else { "low" })).collect();
        fs::write(&data, format!("t,x,y\n{lines}")).unwrap();
        let store = format!("file:{}", folder.path().join("models").display());
        let arguments = [
            data.to_str().unwrap(),
            "--target",
            "y",
            "--name",
            "m",
            "--store",
            &store,
            "--time",
            "t",
            "--test-from",
            "150",
            "--learning-rate-init",
            "0.01",
            "--promote",
            "production",
            "--json",
        ];
        let mut out = Vec::new();
        train(&parse(&arguments).unwrap(), &mut out).unwrap();
        let summary: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(summary["version"], 1);
        assert_eq!((&summary["metrics"]["rows"], &summary["metrics"]["test_rows"]), (&json!(150.0), &json!(50.0)));
        assert_eq!(summary["metrics"]["accuracy"], 1.0);

        let store = Store::open(&store).unwrap();
        assert_eq!(store.aliases("m").unwrap()["production"], 1);
        let model = store.load("m", 1).unwrap();
        assert_eq!(model.manifest.training.recipe["split"], json!({ "test_from": "150" }));
        assert_eq!(model.manifest.training.recipe["data"], "data.csv");
    }
}
