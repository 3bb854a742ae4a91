//! `weir train`: data in, a published model out.

mod column_options;
mod preprocessing_options;
mod progress;
mod session_options;
mod split_options;
mod training_options;

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::Context;
use serde_json::{Value, json};

use self::column_options::ColumnArgs;
use self::preprocessing_options::PreprocessingArgs;
use self::progress::Progress;
use self::session_options::SessionArgs;
use self::split_options::SplitArgs;
use self::training_options::TrainingArgs;
use super::console::{self, say};
use super::data::{self, DataArgs, ReadArgs, first_few};
use super::evaluate::{check_report, write_report};
use super::interrupt::Interrupt;
use crate::model::bundle::{Draft, Manifest};
use crate::model::reference::{check_alias, check_name};
use crate::model::signature::{Feature, Kind, Target};
use crate::model::store::Store;
use crate::printable::harmless;
use crate::report;
use crate::train::checkpoint::Checkpoints;
use crate::train::dataset::{Columns, DividedTable, ReadOptions, Table, Task};
use crate::train::distributed::{Ranks, Workers};
use crate::train::warm::Parent;
use crate::train::{self, Recipe, Rows, Session, Stop, TrainError, TrainedModel};

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

/// What is said at the first signal, and at the second.
const SIGNALS: [&str; 2] = [
    "ending the training after this epoch; once more stops it at once",
    "stopped at once by a second signal; nothing is published",
];

/// Runs the verb.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let ranks = Ranks::join()?;
    let interrupt = Interrupt::listen(ranks.is_first().then_some(SIGNALS))?;
    let mut out: Box<dyn Write> = if ranks.is_first() { Box::new(console::stdout()) } else { Box::new(io::sink()) };
    match train(&args, &ranks, &|| interrupt.asked(), &mut out) {
        Err(error) if ranks.count() > 1 => {
            ranks.fail(|| say!("weir: {error:#}"));
            Ok(ExitCode::FAILURE)
        }
        outcome => outcome.map(|()| ExitCode::SUCCESS),
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
    without_target: usize,
    notes: Vec<String>,
}

/// `asked` says after each epoch whether to end there.
fn train(args: &Args, ranks: &Ranks, asked: &dyn Fn() -> bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let material = ranks.agree(args.material(out))?;
    let Material { recipe, parent, train, test, .. } = &material;

    let checkpoints = args.session.checkpoints();
    if let Some(Checkpoints { path, .. }) = checkpoints.as_ref().filter(|found| found.resume && !found.path.exists())
        && ranks.is_first()
    {
        say!("weir: there is no checkpoint {} yet: starting at the beginning", path.display());
    }
    let mut progress = Progress::new(args.json || !ranks.is_first());
    let workers = Workers { threads: args.threads(ranks), ranks: ranks.clone() };
    let session = Session { parent: parent.as_ref(), checkpoints: checkpoints.as_ref(), workers };
    let trained = train::fit_in(session, train, test, recipe, &mut |epoch| {
        progress.show(epoch);
        if asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let seconds = progress.finish();
    ranks.agree(if ranks.is_first() { publish(args, &material, trained, seconds, out) } else { Ok(()) })
}

/// Publishes what was learnt, and reports it.
fn publish(
    args: &Args,
    material: &Material,
    trained: TrainedModel,
    seconds: f64,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if !args.json {
        show_trained(out, &trained, seconds)?;
    }

    let Material { store, columns, without_target, notes, .. } = material;
    let (rows, losses, scores, stop) = (trained.rows, trained.losses.clone(), trained.scores.clone(), trained.stop);
    let cut_short = cut_short(stop, losses.len());
    let draft = trained.into_draft(&args.name, args.notes(columns));
    let published = store.publish(&draft);
    let version = match &cut_short {
        Some(reason) => published.with_context(|| format!("{reason}, and what was learnt can't be published"))?,
        None => published?,
    };
    if let Some(path) = &args.report {
        let manifest = store.manifest(&args.name, version)?;
        let written = write_report(path, &report_of(&draft, &manifest, rows));
        written.with_context(|| format!("{}@{version} is published, but not its report", args.name))?;
    }
    // Nobody has decided yet that a model of half a training should serve.
    let promote = args.promote.as_ref().filter(|_| cut_short.is_none());
    if let Some(alias) = promote {
        let moved = store.promote(&args.name, alias, version);
        moved.with_context(|| format!("{}@{version} is published, but {alias} can't be moved to it", args.name))?;
    }
    if args.json {
        let summary = json!({
            "model": args.name,
            "version": version,
            "promoted": promote,
            "signature": draft.signature,
            "recipe": draft.training.recipe,
            "metrics": draft.training.metrics,
            "left_out": {
                "without_target": without_target,
                "incomplete": rows.incomplete,
                "untestable": rows.untestable,
            },
            "losses": losses,
            "notes": notes,
            "validation_scores": scores,
            "stop": stop.as_str(),
            "seconds": seconds,
        });
        writeln!(out, "{summary}")?;
    } else {
        match promote {
            Some(alias) => writeln!(out, "\npublished {}@{version}, and {alias} points to it", draft.name)?,
            None => writeln!(out, "\npublished {}@{version}", draft.name)?,
        }
    }
    match (cut_short, &args.promote) {
        (Some(reason), Some(alias)) => {
            let name = &args.name;
            anyhow::bail!(
                "{reason}; {name}@{version} has what was learnt until then, and {alias} wasn't moved to it: do it by \
                 `weir model promote {name}@{version} {alias}` if it is good enough"
            )
        }
        (Some(reason), None) if stop == Stop::Diverged => {
            anyhow::bail!("{reason}; {}@{version} has what was learnt until then", args.name)
        }
        _ => Ok(()),
    }
}

/// Why a training ended before it was done, if it did.
fn cut_short(stop: Stop, epochs: usize) -> Option<String> {
    match stop {
        Stop::Converged | Stop::MaxIter => None,
        Stop::Asked => Some(format!("interrupted after epoch {epochs}")),
        Stop::Diverged => {
            Some(format!("the loss isn't finite in epoch {} (try a smaller --learning-rate-init)", epochs + 1))
        }
    }
}

impl Args {
    /// Reads what is there, and says so.
    fn material(&self, out: &mut dyn Write) -> anyhow::Result<Material> {
        // What can fail at once must not fail after the training.
        check_name(&self.name)?;
        if let Some(alias) = &self.promote {
            check_alias(alias)?;
        }
        if let Some(path) = &self.report {
            check_report(path)?;
        }
        let recipe = self.recipe()?;
        recipe.validate().map_err(TrainError::Recipe)?;
        let store = Store::open(&self.store)?;
        let parent = self.session.parent(&store)?;
        let columns = self.columns(&recipe, parent.as_ref());

        let divided = self.split.read(&self.data.files()?, &columns, recipe.random_state)?;
        let DividedTable { train, test, notes } = divided;
        let without_target = train.without_target;
        if !self.json {
            data::show(out, &train, &columns.options.datetime)?;
            show_rows(out, &train, &test, without_target)?;
            notes.iter().try_for_each(|note| writeln!(out, "note       {}", harmless(note)))?;
        }
        Ok(Material { recipe, store, parent, columns, train, test, without_target, notes })
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
        Ok(Recipe { preparation: self.preprocessing.preparation()?, ..self.training.recipe() })
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

/// The page about a model that was just trained.
fn report_of(draft: &Draft, manifest: &Manifest, rows: Rows) -> String {
    let Rows { train, incomplete, test, untestable } = rows;
    let counts = [
        ("rows trained on", train),
        ("left out for a missing value", incomplete),
        ("rows tested on", test),
        ("left out of the test", untestable),
    ];
    let counted = counts.into_iter().filter(|&(_, rows)| rows > 0);
    let data: Vec<(String, String)> = counted.map(|(what, rows)| (what.into(), rows.to_string())).collect();
    let evaluation = draft.evaluation.clone().unwrap_or_default();
    report::page(report::Subject { manifest, evaluation: &evaluation }, &data)
}

fn show_rows(out: &mut dyn Write, train: &Table, test: &Table, without_target: usize) -> io::Result<()> {
    write!(out, "rows       {} to train on, {} to test on", train.len(), test.len())?;
    match without_target {
        0 => writeln!(out),
        rows => writeln!(out, ", {rows} left out without a target"),
    }
}

fn show_trained(out: &mut dyn Write, trained: &TrainedModel, seconds: f64) -> io::Result<()> {
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
    writeln!(out, "\nmetrics")?;
    report::write_metrics(out, trained.metrics())?;
    trained.evaluation().map_or(Ok(()), |evaluation| report::write_detail(out, evaluation))
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
        assert_eq!(args.recipe().unwrap(), Recipe::default());
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
        let report = folder.path().join("m.html");
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
            "--report",
            report.to_str().unwrap(),
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

        let evaluation = store.evaluation("m", 1).unwrap().unwrap();
        assert_eq!((evaluation.rows, &json!(evaluation.losses)), (50, &summary["losses"]));
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
        assert_eq!(summary["notes"].as_array().unwrap().len(), 1, "{summary}");
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
            train(&args, &Ranks::alone(), &|| false, &mut out).map(|()| String::from_utf8(out).unwrap())
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
    fn a_report_that_cannot_be_written_is_refused_before_the_training() {
        let words = ["no-such.csv", "--target", "y", "--name", "m", "--report", "no/such/place.html"];
        let error = train(&parse(&words).unwrap(), &Ranks::alone(), &|| false, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("can't write no/such/place.html: no/such is no directory"), "{error}");
    }
}
