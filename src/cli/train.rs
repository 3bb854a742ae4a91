//! `weir train`: data in, a published model out.

mod column_options;
mod preprocessing_options;
mod progress;
mod publication;
mod session_options;
mod split_options;
mod training_options;

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::bail;
use serde_json::{Value, json};

use self::column_options::ColumnArgs;
use self::preprocessing_options::PreprocessingArgs;
use self::progress::Progress;
use self::publication::Publication;
use self::session_options::SessionArgs;
use self::split_options::SplitArgs;
use self::training_options::TrainingArgs;
use super::console::{self, say};
use super::data::{self, DataArgs, ReadArgs};
use super::evaluate::{FailOn, check_report};
use super::interrupt::{Interrupt, SignalTexts};
use crate::model::evaluation::Warning;
use crate::model::reference::{check_alias, check_name};
use crate::model::signature::{Feature, Kind, Target};
use crate::model::store::Store;
use crate::report;
use crate::train::checkpoint::{CheckpointState, Checkpoints};
use crate::train::dataset::{Columns, DividedTable, ReadOptions, Table, Task};
use crate::train::distributed::{Ranks, Workers};
use crate::train::warm::Parent;
use crate::train::warnings::{self, THRESHOLD_NOT_REACHED, warning};
use crate::train::{self, Recipe, Session, Stop, TrainError, TrainedModel};

/// Train a model on data and publish it.
///
/// Every column that isn't the target, the id or the time is a feature: in CSV numeric if all its values are numbers,
/// otherwise categorical; in Parquet what its type says. A target of texts, or of up to 20 different whole numbers, makes
/// a classification, other numbers a regression. The rows that train decide what a column is. Missing values are nulls, NaNs
/// and empty texts, and in CSV the words that pandas takes for one (NA, NULL, None, …); rows without a target are left out.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  weir train flights.csv.gz --target late --id id --time time --test-from 2013-07-01 \\\n    --name flights --store file:models --hidden-layer-sizes 100,100 --max-iter 20 --promote production"
)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    read: ReadArgs,

    /// The model's name.
    #[arg(long, value_name = "MODEL")]
    name: String,

    /// Where the bundles live.
    #[arg(long, value_name = "URL", default_value = "file:models")]
    store: String,

    /// Move this alias to the new version.
    #[arg(long, value_name = "ALIAS")]
    promote: Option<String>,

    /// How many threads train [default: the cores there are, divided by the ranks of MPI]; the result is the same with any
    /// number.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Write a page with metrics and plots: HTML that needs no other file.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,

    /// Write what the version answers for each test row, as CSV: row (from 1, among the rows with a target), actual,
    /// predicted, probabilities.
    #[arg(long, value_name = "FILE.csv")]
    predictions: Option<PathBuf>,

    /// Fail if there is a warning: about the columns before the training, about the model after it. The version is then
    /// published, and no alias moved.
    #[arg(long, value_enum, value_name = "warning")]
    fail_on: Option<FailOn>,

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
    #[command(flatten, next_help_heading = "Continuing from an earlier result")]
    session: SessionArgs,
}

/// What is written when a signal arrives.
const SIGNALS: SignalTexts = SignalTexts {
    without_result: "interrupted before the first epoch was done, nothing is published",
    first: "ending the training after this epoch, another signal stops it at once",
    second: "stopped at once by a second signal, nothing is published",
};

/// How a training ended that didn't fail.
#[derive(Debug)]
enum TrainingEnd {
    /// As the recipe says.
    Complete,
    /// By a signal. What was learnt until then is published.
    Interrupted,
    /// There are warnings, and --fail-on asks to fail then.
    Warned,
}

/// Runs the verb.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let ranks = Ranks::join()?;
    let interrupt = Interrupt::listen_until_result(ranks.is_first().then_some(SIGNALS))?;
    let mut out: Box<dyn Write> = if ranks.is_first() { Box::new(console::stdout()) } else { Box::new(io::sink()) };
    let asked = || {
        interrupt.has_result();
        interrupt.asked()
    };
    match train(&args, &ranks, &asked, &mut out) {
        Err(error) if ranks.count() > 1 => {
            ranks.fail(|| say!("weir: {error:#}"));
            Ok(ExitCode::FAILURE)
        }
        end => end.map(|end| match end {
            TrainingEnd::Complete => ExitCode::SUCCESS,
            TrainingEnd::Interrupted => interrupt.exit_code(|is_ctrl_c| ranks.any(is_ctrl_c)),
            TrainingEnd::Warned => ExitCode::FAILURE,
        }),
    }
}

/// What a training needs besides the options.
struct Material {
    recipe: Recipe,
    store: Store,
    parent: Option<Parent>,
    columns: Columns,
    train: Table,
    test: Table,
    /// Where the test rows are among the rows with a target, from 0.
    test_places: Vec<usize>,
    without_target: usize,
    /// About the files.
    notes: Vec<Warning>,
    /// About the columns and the split.
    warnings: Vec<Warning>,
}

/// `asked` says after each epoch whether to end there.
fn train(args: &Args, ranks: &Ranks, asked: &dyn Fn() -> bool, out: &mut dyn Write) -> anyhow::Result<TrainingEnd> {
    let material = ranks.agree(args.material(ranks, out))?;
    let Material { recipe, parent, train, test, .. } = &material;

    let checkpoints = args.session.checkpoints();
    let earlier = checkpoints.as_ref().filter(|_| ranks.is_first()).and_then(|checkpoints| {
        let state = checkpoints.state();
        say_of_checkpoint(checkpoints, state.as_ref());
        state.filter(|_| checkpoints.resume)
    });
    let mut progress = Progress::new(args.json || !ranks.is_first());
    let workers = Workers { threads: args.threads(ranks), ranks: ranks.clone() };
    let session = Session { parent: parent.as_ref(), checkpoints: checkpoints.as_ref(), workers };
    let mut trained_here = false;
    let mut trained = train::fit_in(session, train, test, recipe, &mut |epoch| {
        trained_here = true;
        let is_asked = asked();
        progress.show(epoch);
        if is_asked { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let seconds = progress.finish();
    trained.add_warnings(material.warnings.clone());
    let end = match trained.stop {
        Stop::Asked => TrainingEnd::Interrupted,
        _ if args.is_refused(&trained) => TrainingEnd::Warned,
        _ => TrainingEnd::Complete,
    };
    // A finished training that is started again, as after the end of a pod, is published once.
    let published = earlier.and_then(|state| state.published).filter(|_| !trained_here);
    let publication = Publication { material: &material, checkpoints: checkpoints.as_ref(), published, seconds };
    ranks.agree(if ranks.is_first() { publication.publish(args, trained, out) } else { Ok(()) })?;
    Ok(end)
}

/// Says what a checkpoint means for a training that begins now.
fn say_of_checkpoint(Checkpoints { path, resume, .. }: &Checkpoints, state: Option<&CheckpointState>) {
    match state {
        None if *resume && !path.exists() => {
            say!("weir: there is no checkpoint {} yet: starting at the beginning", path.display());
        }
        Some(CheckpointState { epochs, is_finished: true, .. }) if !resume => {
            say!("weir: replacing the checkpoint {} of a finished training of {epochs} epochs", path.display());
        }
        _ => {}
    }
}

impl Args {
    /// Reads what is there, and says so.
    fn material(&self, ranks: &Ranks, out: &mut dyn Write) -> anyhow::Result<Material> {
        // What can fail at once must not fail after the training.
        check_name(&self.name)?;
        if let Some(alias) = &self.promote {
            check_alias(alias)?;
        }
        for path in self.report.iter().chain(&self.predictions) {
            check_report(path)?;
        }
        let recipe = self.recipe()?;
        recipe.validate().map_err(TrainError::Recipe)?;
        let store = Store::open(&self.store)?;
        if ranks.is_first() {
            store.expect_writable(&self.name)?;
        }
        let parent = self.session.parent(&store)?;
        let columns = self.columns(&recipe, parent.as_ref());

        let divided = self.split.read(&self.data.files()?, &columns, recipe.random_state)?;
        let DividedTable { train, test, test_places, notes } = divided;
        let notes: Vec<Warning> = notes.into_iter().map(|note| warning("data", None, note)).collect();
        let without_target = train.without_target;
        if !self.json {
            data::show(out, &train, &columns.options.datetime)?;
            show_rows(out, &train, &test, without_target)?;
            report::write_notes(out, &notes)?;
        }
        let mut warnings = warnings::of_columns(&train, &columns.options.datetime);
        warnings.extend(self.split.warning(&columns));
        if !self.json {
            report::write_warnings(out, &warnings)?;
        }
        if self.fail_on.is_some() && !warnings.is_empty() {
            bail!("{} warnings, and --fail-on warning: nothing was trained", warnings.len());
        }
        Ok(Material { recipe, store, parent, columns, train, test, test_places, without_target, notes, warnings })
    }

    /// Whether a warning keeps the version from an alias.
    fn is_refused(&self, trained: &TrainedModel) -> bool {
        let warnings = trained.evaluation().map_or(&[][..], |evaluation| &evaluation.warnings);
        match self.fail_on {
            Some(FailOn::Warning) => !warnings.is_empty(),
            None => warnings.iter().any(|warning| warning.kind == THRESHOLD_NOT_REACHED),
        }
    }

    /// The threads of each rank: together as many as there are cores, unless the options say otherwise.
    fn threads(&self, ranks: &Ranks) -> usize {
        let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or_else(|| (cores() / ranks.here()).max(1), NonZeroUsize::get)
    }

    /// What the columns are; those that are a parent's features are what they are to it.
    fn columns(&self, recipe: &Recipe, parent: Option<&Parent>) -> Columns {
        let datetime = recipe.preparation.datetime.keys().cloned().collect();
        let options = ReadOptions { datetime, ..self.read.options() };
        let columns = self.columns.columns(recipe.preparation.max_categories.is_some(), options);
        let Some(signature) = parent.map(Parent::signature) else { return columns };
        let names = |is: &dyn Fn(&Kind) -> bool| {
            let features: &[Feature] = &signature.features;
            features.iter().filter(|feature| is(&feature.kind)).map(|feature| feature.name.clone()).collect::<Vec<_>>()
        };
        let numeric = names(&|kind| matches!(kind, Kind::Numeric));
        let categorical = names(&|kind| matches!(kind, Kind::Categorical { .. }));
        let datetime = names(&|kind| matches!(kind, Kind::Time));
        let task = match signature.target {
            Target::Classification { .. } => Task::Classification,
            Target::Regression { .. } => Task::Regression,
        };
        let options = ReadOptions { datetime, ..columns.options.clone() };
        Columns { categorical, numeric, task: Some(task), options, ..columns }
    }

    fn recipe(&self) -> Result<Recipe, TrainError> {
        let (preparation, baseline_by) = (self.preprocessing.preparation()?, self.columns.baseline_by);
        Ok(Recipe { preparation, baseline_by, ..self.training.recipe() })
    }

    /// What the bundle's recipe should say about the data.
    fn notes(&self, columns: &Columns) -> Vec<(String, Value)> {
        let mut notes = vec![
            ("data".into(), self.data.note()),
            ("split".into(), self.split.note()),
            ("time".into(), json!(columns.time)),
        ];
        if !columns.options.na.is_empty() {
            // `weir evaluate` and `weir predict` read tables by it.
            notes.push(("na".into(), json!(columns.options.na)));
        }
        notes
    }
}

fn show_rows(out: &mut dyn Write, train: &Table, test: &Table, without_target: usize) -> io::Result<()> {
    write!(out, "rows       {} to train on, {} to test on", train.len(), test.len())?;
    match without_target {
        0 => writeln!(out),
        rows => writeln!(out, ", {rows} left out without a target"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::{Args as _, Command, FromArgMatches};

    use super::*;
    use crate::monitor::drift::Histogram;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(Command::new("train"));
        Args::from_arg_matches(&command.try_get_matches_from([&["train"], arguments].concat())?)
    }

    #[test]
    fn the_options_defaults_are_the_recipes() {
        Args::augment_args(Command::new("train")).debug_assert();
        let args = parse(&["data.csv", "--target", "y", "--name", "m"]).unwrap();
        assert_eq!(args.recipe().unwrap(), Recipe::default());
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let parse = |more: &[&str]| parse(&[&["data.csv", "--target", "y", "--name", "m"], more].concat());
        assert!(parse(&["--test-from", "2013-07-01"]).is_err());
        assert!(parse(&["--baseline-by", "hour"]).is_err());
        assert!(parse(&["--baseline-by", "minute", "--time", "t"]).is_err());
        assert!(parse(&["--test", "other.csv", "--test-size", "0.5"]).is_err());
        assert!(parse(&["--test-size", "1"]).is_err());
        assert!(parse(&["--activation", "sigmoid"]).is_err());
    }

    #[test]
    fn what_scikit_learn_writes_otherwise_is_taken_or_named() {
        let parse = |more: &[&str]| parse(&[&["data.csv", "--target", "y", "--name", "m"], more].concat());
        for (sizes, expected) in [("100,", vec![100]), ("(64, 32)", vec![64, 32]), ("7", vec![7])] {
            let recipe = parse(&["--hidden-layer-sizes", sizes]).unwrap().recipe().unwrap();
            assert_eq!(recipe.hidden_layer_sizes, expected, "{sizes}");
        }
        let fails = |more: &[&str]| parse(more).unwrap_err().to_string();
        assert!(fails(&["--activation", "sigmoid"]).contains("logistic"));
        assert!(fails(&["--solver", "lbfgs"]).contains("weir has no lbfgs"));
        assert!(fails(&["--threshold", "late=0.3"]).contains("precision>=SHARE"));
        for (option, value) in [("--sample-weight", "w"), ("--loss", "poisson"), ("--target", "z")] {
            assert!(fails(&[option, value]).contains(option), "{option}");
        }
        let decision = parse(&["--positive", "late", "--threshold", "cost=fp:1,fn:50"]).unwrap().recipe().unwrap();
        assert!(decision.sets_rows_aside() && decision.positive.as_deref() == Some("late"));
    }

    #[test]
    fn a_csv_file_becomes_a_published_model() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data.csv");
        let lines: String =
            (0..200).map(|n| format!("{n},{},{}\n", n % 7, if n % 7 > 3 { "high" } else { "low" })).collect();
        fs::write(&data, format!("t,x,y\n{lines}")).unwrap();
        let store = format!("file:{}", folder.path().join("models").display());
        let report = folder.path().join("m.html");
        let predictions = folder.path().join("rows.csv");
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
            "--baseline-by",
            "weekday",
            "--learning-rate-init",
            "0.01",
            "--promote",
            "production",
            "--report",
            report.to_str().unwrap(),
            "--predictions",
            predictions.to_str().unwrap(),
            "--json",
        ];
        let mut out = Vec::new();
        train(&parse(&arguments).unwrap(), &Ranks::alone(), &|| false, &mut out).unwrap();
        let summary: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(summary["version"], 1);
        assert_eq!((&summary["metrics"]["rows"], &summary["metrics"]["test_rows"]), (&json!(150.0), &json!(50.0)));
        assert_eq!(summary["metrics"]["accuracy"], 1.0);

        let store = Store::open(&store).unwrap();
        assert_eq!(store.aliases("m").unwrap()["production"], 1);
        let model = store.load("m", 1).unwrap();
        assert_eq!(model.manifest.training.recipe["split"], json!({ "test_from": "150" }));
        assert_eq!(model.manifest.training.recipe["data"], "data.csv");
        // All rows are of the first minutes of 1970, a Thursday.
        let rows =
            |histogram: &Histogram| histogram.periods.iter().map(|counts| counts.iter().sum()).collect::<Vec<u64>>();
        assert_eq!(rows(&model.baseline.features[0]), [0, 0, 0, 150, 0, 0, 0]);
        assert_eq!(rows(&model.baseline.predictions[0]), [0, 0, 0, 50, 0, 0, 0]);

        let evaluation = store.evaluation("m", 1).unwrap().unwrap();
        assert_eq!((evaluation.rows, &json!(evaluation.losses)), (50, &summary["losses"]));
        let rows = fs::read_to_string(predictions).unwrap();
        assert_eq!(rows.lines().count(), 51);
        assert!(rows.contains("\n151,low,low,") && rows.contains("\n200,low,low,"), "{rows}");
        let page = fs::read_to_string(report).unwrap();
        assert!(page.contains("<h1>m@1</h1>") && page.contains("Confusion matrix") && page.contains("Training loss"));
    }

    /// What the files look like is reported, and the version remembers the words for missing values.
    #[test]
    fn notes_are_printed_and_words_for_nothing_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data.csv");
        let lines: String = (0..100)
            .map(|n| format!("{};{n},5;{}\n", if n % 9 == 0 { "?".into() } else { n.to_string() }, n % 2))
            .collect();
        fs::write(&data, format!("a;x;y\n{lines}")).unwrap();
        let store = format!("file:{}", folder.path().join("models").display());
        let words = [data.to_str().unwrap(), "--target", "y", "--name", "m", "--store", &store, "--max-iter", "1"];
        let run = |more: &[&str]| {
            let mut out = Vec::new();
            let args = parse(&[&words, more].concat()).unwrap();
            train(&args, &Ranks::alone(), &|| false, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let text = run(&[]);
        assert!(text.contains("data.csv: ';' separates the cells, decimals have a comma"), "{text}");
        assert!(
            text.contains("note       column \"a\" is categorical, though 88 of its 100 cells are numbers"),
            "{text}"
        );
        let summary: Value = serde_json::from_str(&run(&["--na", "?", "--json"])).unwrap();
        let kinds: Vec<&Value> = summary["notes"].as_array().unwrap().iter().map(|note| &note["kind"]).collect();
        assert_eq!(kinds, ["data", "not_converged"], "{summary}");
        let store = Store::open(&store).unwrap();
        let model = store.load("m", 2).unwrap();
        assert_eq!(model.manifest.training.recipe["na"], json!(["?"]));
        assert_eq!(model.signature().features[0].kind, Kind::Numeric);
    }

    #[test]
    fn dates_become_features_by_an_option() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data.csv");
        let lines: String =
            (0..48).map(|n| format!("2024-01-{:02} {:02}:00,{}\n", 1 + n / 24, n % 24, n / 12 % 2)).collect();
        fs::write(&data, format!("time,y\n{lines}")).unwrap();
        let store = format!("file:{}", folder.path().join("models").display());
        let words = [data.to_str().unwrap(), "--target", "y", "--name", "m", "--store", &store];
        let run = |more: &[&str]| {
            let mut out = Vec::new();
            let args = parse(&[&words, more].concat()).unwrap();
            train(&args, &Ranks::alone(), &|| false, &mut out).map(|_| String::from_utf8(out).unwrap())
        };
        let learn = ["--learning-rate-init", "0.05", "--time", "time", "--test-from", "2024-01-02"];
        let text = run(&[&learn[..], &["--datetime", "time=hour"]].concat()).unwrap();
        assert!(text.contains("time     time               0  2024-01-01T00:00:00Z to 2024-01-01T23:00:00Z"), "{text}");
        let model = Store::open(&store).unwrap().load("m", 1).unwrap();
        assert_eq!((model.signature().features[0].kind.clone(), model.preprocess.width()), (Kind::Time, 24));
        assert_eq!(model.manifest.training.metrics["accuracy"], 1.0, "the hour decides");
        for (option, expected) in [("hour", "which column"), ("x=hour", "there is no column \"x\" (--datetime)")] {
            let error = run(&["--datetime", option]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn warnings_are_reported_and_fail_who_asks_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data.csv");
        let row =
            |n: usize| format!("{},7,{}\n", (n * 37 % 101) as f64 / 7.0, if n % 20 == 3 { "rare" } else { "usual" });
        fs::write(&data, format!("x,currency,y\n{}", (0..400).map(row).collect::<String>())).unwrap();
        let store = format!("file:{}", folder.path().join("models").display());
        let run = |more: &[&str]| {
            let words = [data.to_str().unwrap(), "--target", "y", "--name", "m", "--store", &store, "--max-iter", "3"];
            let mut out = Vec::new();
            let end = train(&parse(&[&words[..], more].concat()).unwrap(), &Ranks::alone(), &|| false, &mut out);
            (end, String::from_utf8(out).unwrap())
        };
        let (end, json) = run(&["--json"]);
        assert!(matches!(end, Ok(TrainingEnd::Complete)));
        let summary: Value = serde_json::from_str(&json).unwrap();
        let kinds: Vec<&str> =
            summary["warnings"].as_array().unwrap().iter().map(|warning| warning["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["constant", "not_better_than_reference", "class_never_predicted"]);
        assert_eq!(
            (&summary["warnings"][0]["column"], &summary["reference"]["answer"]),
            (&json!("currency"), &json!("usual"))
        );
        assert_eq!(summary["notes"][0]["kind"], "not_converged");

        let (end, text) = run(&["--fail-on", "warning"]);
        assert!(end.is_err_and(|error| error.to_string().contains("nothing was trained")));
        assert!(text.contains("warning    column \"currency\" has one value in all rows"), "{text}");
        let (end, text) = run(&["--drop", "currency", "--fail-on", "warning", "--promote", "live"]);
        assert!(matches!(end, Ok(TrainingEnd::Warned)));
        assert!(text.contains("reference  always answering \"usual\" has an accuracy of"), "{text}");
        let store = Store::open(&store).unwrap();
        assert_eq!(store.versions("m").unwrap(), [1, 2]);
        assert!(store.aliases("m").unwrap().is_empty());
    }

    #[test]
    fn a_report_that_cannot_be_written_is_refused_before_the_training() {
        let words = ["no-such.csv", "--target", "y", "--name", "m", "--report", "no/such/place.html"];
        let error = train(&parse(&words).unwrap(), &Ranks::alone(), &|| false, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("can't write no/such/place.html: no/such is no directory"), "{error}");
    }
}
