//! `weir evaluate`: how good a published model is on labelled rows, or which of two is better.

mod drift;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::error::ErrorKind;
use ndarray::{Array2, Axis};
use serde_json::{Value, json};

use super::console::{self, say};
use super::data::ReadArgs;
use super::predictions;
use crate::model::Model;
use crate::model::decision::{ClassDecision, Decision};
use crate::model::evaluation::Evaluation;
use crate::model::reference::ModelRef;
use crate::model::signature::Target;
use crate::model::store::Store;
use crate::printable::harmless;
use crate::report::{self, Subject};
use crate::train::dataset::{self, Examples, Truth};
use crate::train::evaluate::{self, Comparison, Judgement, ThresholdRule};
use crate::train::warnings;

/// Measure how good a published model is on labelled rows, or compare two.
///
/// The rows are preprocessed and scored as on a topic, and the metrics are scikit-learn's. Rows that the model rejects,
/// and those whose target is missing or a class that it doesn't know, are left out and counted. A second argument that
/// reads as a model reference, and isn't a file, is the model to compare with: both are then tested on the rows that
/// both accept.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "weir evaluate [OPTIONS] MODEL_REF [MODEL_REF] DATA...",
    after_help = "Examples:\n  weir evaluate flights@production july.csv.gz --report july.html\n  weir evaluate flights@1 flights@2 july.csv.gz"
)]
pub struct Args {
    /// The model, and one to compare it with: NAME@VERSION, NAME@ALIAS or NAME@latest.
    #[arg(value_name = "MODEL_REF")]
    model: ModelRef,

    /// Files or patterns such as 'data/*.parquet', with the columns that the model was trained on.
    #[arg(value_name = "DATA", required = true)]
    data: Vec<String>,
    #[command(flatten)]
    read: ReadArgs,

    /// Where the bundles live.
    #[arg(long, value_name = "URL", default_value = "file:models")]
    store: String,

    /// Of two classes the one that metrics, curves and --threshold are about [default: the version's].
    #[arg(long, value_name = "CLASS")]
    positive: Option<String>,

    /// Predict the positive class from this probability on: a number, or precision>=0.5, recall>=0.9, f1 or
    /// cost=fp:1,fn:50, chosen on these rows. Nothing is kept: `weir model decide` does that [default: the version's].
    #[arg(long, value_name = "RULE")]
    threshold: Option<ThresholdRule>,

    /// Fail if there is a warning.
    #[arg(long, value_enum, value_name = "warning")]
    fail_on: Option<FailOn>,

    /// Print one JSON object, with the curves behind the metrics.
    #[arg(long)]
    json: bool,

    /// Write a page with metrics and plots: HTML that needs no other file.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,

    /// Write what the version answers for each row, as CSV: row (from 1, among the rows with a target), actual, predicted,
    /// probabilities.
    #[arg(long, value_name = "FILE.csv")]
    predictions: Option<PathBuf>,

    /// Compare the rows with the model's training data: the drift that `weir serve` would report for them.
    #[arg(long)]
    drift: bool,

    /// When the row happened, for --drift of a model that was trained with --baseline-by.
    #[arg(long, value_name = "COLUMN", requires = "drift")]
    time: Option<String>,
}

/// What makes a verb fail that has done its work.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum FailOn {
    Warning,
}

/// Runs the verb.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let warnings = evaluate(&args, &mut console::stdout())?;
    if warnings > 0 && args.fail_on.is_some() {
        say!("weir: {warnings} warnings, and --fail-on warning");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a report can be written there, as far as that is known before it is made.
pub(super) fn check_report(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(folder.is_dir(), "can't write {}: {} is no directory", path.display(), folder.display());
    ensure!(!path.is_dir(), "can't write {}: it is a directory", path.display());
    Ok(())
}

/// Writes a report.
pub(super) fn write_report(path: &Path, page: &str) -> anyhow::Result<()> {
    fs::write(path, page).with_context(|| format!("can't write {}", path.display()))
}

/// Gives the number of warnings.
fn evaluate(args: &Args, out: &mut dyn Write) -> anyhow::Result<usize> {
    let (second, data) = args.second()?;
    for path in args.report.iter().chain(&args.predictions) {
        check_report(path)?;
    }
    let store = Store::open(&args.store)?;
    let files = dataset::files(data)?;
    match second {
        None => evaluate_one(args, &store, &files, out),
        Some(second) => {
            ensure!(args.predictions.is_none(), "--predictions are those of one model: leave out the second one");
            ensure!(!args.drift, "--drift compares one model with its training data: leave out the second model");
            compare(args, &second, &store, &files, out)?;
            Ok(0)
        }
    }
}

impl Args {
    /// The second model, if the first word of the data is one, and the data.
    fn second(&self) -> anyhow::Result<(Option<ModelRef>, &[String])> {
        let [first, rest @ ..] = &*self.data else { return Ok((None, &self.data)) };
        match first.parse() {
            Ok(reference) if !Path::new(first).exists() => {
                if rest.is_empty() {
                    let problem =
                        format!("{first} is taken for a second model, since no such file exists: DATA is missing\n");
                    return Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, problem).into());
                }
                Ok((Some(reference), rest))
            }
            _ => Ok((None, &self.data)),
        }
    }
}

/// A model, the rows that it accepts, and its answers to them.
struct TestedModel {
    model: Model,
    examples: Examples,
    answers: Array2<f64>,
    judgement: Judgement,
}

impl TestedModel {
    fn on(files: &[PathBuf], model: Model, args: &Args) -> anyhow::Result<TestedModel> {
        let options = args.read.options_for(&model.manifest.training);
        let signature = model.signature();
        let examples = Examples::read(files, signature, options)?.taken_by(signature, &model.preprocess);
        let answers = evaluate::answers(&model, examples.rows.view());
        let judgement = judgement(args, &model, &examples.truth, &answers)?;
        Ok(TestedModel { model, examples, answers, judgement })
    }

    fn name(&self) -> String {
        format!("{}@{}", self.model.name(), self.model.version())
    }

    /// The evaluation on all its rows, with the course of the training if the bundle has it.
    fn evaluation(&self, store: &Store) -> anyhow::Result<Evaluation> {
        let target = &self.model.signature().target;
        let mut found = evaluate::evaluation(target, &self.examples.truth, self.answers.view(), self.judgement);
        found.warnings = warnings::of_evaluation(&found);
        let golden = store.golden_rows(self.model.name(), self.model.version())?;
        found.warnings.extend(warnings::overlap(&golden, self.examples.rows.view()));
        ensure!(
            found.rows > 0,
            "{} answers none of the {} rows by a finite number: its weights can't be used, or the rows are far from those \
             that it was trained on",
            self.name(),
            found.not_finite
        );
        let kept = store.evaluation(self.model.name(), self.model.version())?.unwrap_or_default();
        Ok(Evaluation { losses: kept.losses, validation_scores: kept.validation_scores, ..found })
    }

    /// What was left out, in words.
    fn left_out(&self) -> Vec<(String, String)> {
        let Examples { rejected, without_target, .. } = self.examples;
        let counts = [("rejected by the model", rejected), ("without a target that it knows", without_target)];
        counts.into_iter().filter(|&(_, rows)| rows > 0).map(|(what, rows)| (what.into(), rows.to_string())).collect()
    }

    fn json(&self, evaluation: &Evaluation) -> Value {
        let mut reported = json!(evaluation);
        reported["metrics"] = Value::Object(evaluation.metrics_json());
        json!({
            "model": self.model.name(),
            "version": self.model.version(),
            "digest": self.model.digest,
            "rejected": self.examples.rejected,
            "without_target": self.examples.without_target,
            "evaluation": reported,
        })
    }

    /// Leaves these rows only, which are indices into its own.
    fn select(&mut self, rows: &[usize]) {
        self.answers = self.answers.select(Axis(0), rows);
        self.examples.truth = match &self.examples.truth {
            Truth::Classes(classes) => Truth::Classes(rows.iter().map(|&row| classes[row]).collect()),
            Truth::Numbers(numbers) => Truth::Numbers(numbers.select(Axis(0), rows)),
        };
    }

    /// The rows whose answer is finite, by their places in the data.
    fn answered(&self) -> impl Iterator<Item = (usize, usize)> {
        let finite = |row: &usize| self.answers.row(*row).iter().all(|value| value.is_finite());
        (0..self.answers.nrows()).filter(finite).map(|row| (self.examples.places[row], row))
    }
}

/// Which class is predicted: as the version does, unless the options say otherwise.
fn judgement(args: &Args, model: &Model, truth: &Truth, answers: &Array2<f64>) -> anyhow::Result<Judgement> {
    let target = &model.signature().target;
    let (None, None) = (&args.positive, args.threshold) else {
        let of_version = || model.manifest.decision.as_ref().map(|decision| decision.positive.clone());
        let positive = args.positive.clone().or_else(of_version).or_else(|| second_class(target));
        let positive = positive.context("--positive and --threshold are for two classes")?;
        let mut decision = Decision { positive, threshold: None };
        decision.validate(target).map_err(|problem| anyhow::anyhow!("--positive and --threshold: {problem}"))?;
        let class = ClassDecision::of(target, Some(&decision)).positive();
        if let (Some(rule), Truth::Classes(actual)) = (args.threshold, truth) {
            let table = evaluate::thresholds(actual, class, &answers.column(class).to_vec(), rule);
            let chosen = rule.choose(&table).map_err(|problem| anyhow::anyhow!("--threshold: {problem}"))?;
            decision.threshold = Some(chosen);
        } else if args.positive.is_none() || decision.positive == of_version().unwrap_or_default() {
            decision.threshold = model.decision.threshold();
        }
        return Ok(Judgement { decision: ClassDecision::of(target, Some(&decision)), rule: args.threshold });
    };
    Ok(Judgement { decision: model.decision, rule: None })
}

fn second_class(target: &Target) -> Option<String> {
    match target {
        Target::Classification { classes, .. } if classes.len() == 2 => classes.get(1).cloned(),
        _ => None,
    }
}

fn evaluate_one(args: &Args, store: &Store, files: &[PathBuf], out: &mut dyn Write) -> anyhow::Result<usize> {
    let tested = TestedModel::on(files, load(store, &args.model)?, args)?;
    let evaluation = tested.evaluation(store)?;
    let drift = args.drift.then(|| drift::compared(args, files, &tested.model)).transpose()?;
    if args.json {
        let mut json = tested.json(&evaluation);
        json["data"] = json!(files);
        if let Some(drift) = &drift {
            json["drift"] = drift.iter().map(drift::json).collect();
        }
        writeln!(out, "{json}")?;
    } else {
        writeln!(out, "{} on {}", tested.name(), list(files))?;
        describe(args, files, out)?;
        for (what, rows) in tested.left_out() {
            writeln!(out, "{rows} rows left out: {what}")?;
        }
        report::write_evaluation(out, &evaluation)?;
        if let Some(drift) = &drift {
            drift::write(out, drift)?;
        }
    }
    if let Some(path) = &args.report {
        let data = [vec![("files".into(), list(files)), rows(&evaluation)], tested.left_out()].concat();
        let subject = Subject { manifest: &tested.model.manifest, evaluation: &evaluation };
        write_report(path, &report::page(subject, &data))?;
    }
    if let Some(path) = &args.predictions {
        let TestedModel { model, examples, answers, judgement } = &tested;
        predictions::write(path, model, judgement.decision, &examples.places, &examples.truth, answers.view())?;
    }
    Ok(evaluation.warnings.len())
}

fn compare(
    args: &Args,
    second: &ModelRef,
    store: &Store,
    files: &[PathBuf],
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let (first, second) = (load(store, &args.model)?, load(store, second)?);
    let names = [&first, &second].map(|model| format!("{}@{}", model.name(), model.version()));
    let order = same_outputs(&first.signature().target, &second.signature().target);
    let order = order.with_context(|| names.join(" and "))?;
    let mut first = TestedModel::on(files, first, args)?;
    let mut second = TestedModel::on(files, second, args)?;
    second.answers = second.answers.select(Axis(1), &order);
    second.judgement.decision = second.judgement.decision.reordered(&order);

    let of_second: HashMap<usize, usize> = second.answered().collect();
    let common = first.answered().filter_map(|(place, row)| Some((row, *of_second.get(&place)?)));
    let (of_first, of_second): (Vec<usize>, Vec<usize>) = common.unzip();
    ensure!(!of_first.is_empty(), "there are no rows that both {} and {} answer", names[0], names[1]);
    first.select(&of_first);
    second.select(&of_second);

    let target = &first.model.signature().target;
    let evaluations = [&first, &second]
        .map(|it| evaluate::evaluation(target, &first.examples.truth, it.answers.view(), it.judgement));
    let comparison = match &first.examples.truth {
        Truth::Classes(actual) => {
            let [a, b] = [&first, &second]
                .map(|tested| evaluate::predicted_classes(tested.answers.view(), tested.judgement.decision));
            Comparison::Classification(evaluate::disagreement(actual, &a, &b))
        }
        Truth::Numbers(_) => Comparison::Regression {
            mean_difference: (&first.answers - &second.answers).mapv(f64::abs).mean().unwrap_or(0.0),
        },
    };
    if args.json {
        let models: Vec<Value> =
            [&first, &second].iter().zip(&evaluations).map(|(tested, evaluation)| tested.json(evaluation)).collect();
        writeln!(out, "{}", json!({ "data": files, "models": models, "comparison": comparison }))?;
    } else {
        writeln!(out, "{} and {} on {}", names[0], names[1], list(files))?;
        describe(args, files, out)?;
        for tested in [&first, &second] {
            for (what, rows) in tested.left_out() {
                writeln!(out, "{rows} rows left out for {}: {what}", tested.name())?;
            }
        }
        report::write_comparison(out, names.each_ref().map(String::as_str), evaluations.each_ref(), &comparison)?;
    }
    if let Some(path) = &args.report {
        let data = [("files".into(), list(files)), rows(&evaluations[0])];
        let subject =
            |at: usize| Subject { manifest: &[&first, &second][at].model.manifest, evaluation: &evaluations[at] };
        write_report(path, &report::comparison_page([subject(0), subject(1)], &comparison, &data))?;
    }
    Ok(())
}

/// How the files are written, where that is unusual.
fn describe(args: &Args, files: &[PathBuf], out: &mut dyn Write) -> anyhow::Result<()> {
    let descriptions = dataset::describe(files, &args.read.options())?;
    Ok(descriptions.iter().try_for_each(|description| writeln!(out, "{}", harmless(description)))?)
}

fn load(store: &Store, reference: &ModelRef) -> anyhow::Result<Model> {
    Ok(store.load(&reference.name, store.resolve(reference)?)?)
}

/// Where the outputs of one target are among those of another, which must be the same but for their order.
pub(super) fn same_outputs(target: &Target, other: &Target) -> anyhow::Result<Vec<usize>> {
    let outputs = |target: &Target| match target {
        Target::Classification { classes, .. } => classes.clone(),
        Target::Regression { names } => names.clone(),
    };
    let name = |target: &Target| match target {
        Target::Classification { name, .. } => Some(name.clone()),
        Target::Regression { .. } => None,
    };
    let (wanted, found) = (outputs(target), outputs(other));
    let order: Option<Vec<usize>> =
        wanted.iter().map(|output| found.iter().position(|other| other == output)).collect();
    order.filter(|order| order.len() == found.len() && name(target) == name(other)).with_context(|| {
        let say = |target: &Target, outputs: &[String]| match name(target) {
            Some(name) => format!("{name} ({})", outputs.join(", ")),
            None => outputs.join(", "),
        };
        format!("they predict different things: {} and {}", say(target, &wanted), say(other, &found))
    })
}

fn rows(evaluation: &Evaluation) -> (String, String) {
    ("rows".into(), evaluation.rows.to_string())
}

fn list(files: &[PathBuf]) -> String {
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches};
    use tempfile::TempDir;

    use super::*;
    use crate::model::bundle::Draft;
    use crate::model::testing;

    /// A store with two versions of a classifier, a regression `y = 2x + bias` in two, and files for both.
    fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("models").to_str().unwrap()).unwrap();
        store.publish(&testing::classification("colours")).unwrap();
        let Draft { mut signature, layers, .. } = testing::classification("colours");
        // The same classes in the other order, and so other answers.
        let Target::Classification { classes, .. } = &mut signature.target else { panic!() };
        classes.reverse();
        let draft = Draft { signature, layers, ..testing::classification("colours") };
        store.publish(&draft).unwrap();
        for bias in [0.0, 1.0] {
            store.publish(&testing::regression("line", bias)).unwrap();
        }
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("colours.csv", "x,colour,y\n1,red,no\n-2.5,green,yes\n3,blue,yes\n,red,no\n4,red,maybe\n5,blue,\n");
        write("line.csv", "x,y\n1,2\n2,4\n3,7\n,1\n");
        folder
    }

    fn weir_evaluate(folder: &TempDir, arguments: &[&str]) -> anyhow::Result<String> {
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let store = at("models");
        let is_file = |word: &str| word.ends_with(".csv") || word.ends_with(".html");
        let words = arguments.iter().map(|word| if is_file(word) { at(word) } else { (*word).into() });
        let command = Args::augment_args(Command::new("evaluate"));
        let words = ["evaluate".to_owned()].into_iter().chain(words).chain(["--store".into(), store]);
        let args = Args::from_arg_matches(&command.try_get_matches_from(words)?)?;
        let mut out = Vec::new();
        evaluate(&args, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn json_of(folder: &TempDir, arguments: &[&str]) -> Value {
        serde_json::from_str(&weir_evaluate(folder, &[arguments, &["--json"]].concat()).unwrap()).unwrap()
    }

    #[test]
    fn a_model_is_evaluated_on_the_rows_that_it_takes() {
        Args::augment_args(Command::new("evaluate")).debug_assert();
        let folder = folder();
        let text = weir_evaluate(&folder, &["line@1", "line.csv", "--report", "line.html"]).unwrap();
        assert!(text.starts_with("line@1 on "), "{text}");
        assert!(
            text.contains("\n1 rows left out: rejected by the model\nreference  always answering the mean"),
            "{text}"
        );
        assert!(text.contains(": better\nmetrics on 3 rows\n"), "{text}");
        // Off by nothing, nothing, and 1.
        assert!(text.contains("  mae   0.3333\n"), "{text}");
        weir_evaluate(&folder, &["colours@1", "colours.csv", "--predictions", "rows.csv"]).unwrap();
        let rows = fs::read_to_string(folder.path().join("rows.csv")).unwrap();
        let lines: Vec<&str> = rows.lines().collect();
        assert_eq!(lines[0], "row,actual,predicted,probability of no,probability of yes");
        assert!(lines.len() == 5 && lines[4].starts_with("4,no,"), "{rows}");
        let page = fs::read_to_string(folder.path().join("line.html")).unwrap();
        assert!(page.contains("<h1>line@1</h1>") && page.contains("Residuals"));

        let json = json_of(&folder, &["colours@1", "colours.csv"]);
        assert_eq!((&json["version"], &json["without_target"], &json["rejected"]), (&json!(1), &json!(2), &json!(0)));
        let evaluation: Evaluation = serde_json::from_value(json["evaluation"].clone()).unwrap();
        assert_eq!(evaluation.rows, 4);
        assert!(evaluation.metrics.contains_key("roc_auc"));

        let all = json_of(&folder, &["colours@1", "colours.csv", "--positive", "no", "--threshold", "0"]);
        assert_eq!(all["evaluation"]["metrics"]["recall"], 1.0);
        assert_eq!(all["evaluation"]["detail"]["confusion"], json!([[2, 0], [2, 0]]));
        let chosen = json_of(&folder, &["colours@1", "colours.csv", "--threshold", "cost=fp:1,fn:50"]);
        let rows = chosen["evaluation"]["detail"]["thresholds"].as_array().unwrap();
        assert!(rows.iter().all(|row| row["cost"].is_number()), "{rows:?}");
        let error = weir_evaluate(&folder, &["line@1", "line.csv", "--threshold", "f1"]).unwrap_err().to_string();
        assert!(error.contains("--positive and --threshold are for two classes"), "{error}");
    }

    #[test]
    fn two_models_are_compared_on_the_rows_that_both_take() {
        let folder = folder();
        let text = weir_evaluate(&folder, &["line@1", "line@2", "line.csv", "--report", "both.html"]).unwrap();
        assert!(text.contains("metrics on the same 3 rows\n"), "{text}");
        assert!(text.contains("  mae   0.3333  0.6667     +0.3333  worse\n"), "{text}");
        assert!(text.ends_with("The two predictions differ by 1.0000 in the mean.\n"), "{text}");
        assert!(fs::read_to_string(folder.path().join("both.html")).unwrap().contains("<h2>line@2</h2>"));

        // Its classes are listed the other way round: it predicts the opposite of the first.
        let json = json_of(&folder, &["colours@1", "colours@2", "colours.csv"]);
        assert_eq!(json["comparison"]["agreement"], 0.0);
        let accuracy = |at: usize| json["models"][at]["evaluation"]["metrics"]["accuracy"].as_f64().unwrap();
        assert_eq!(accuracy(0) + accuracy(1), 1.0);

        let error = format!("{:#}", weir_evaluate(&folder, &["line@1", "colours@1", "colours.csv"]).unwrap_err());
        assert!(error.contains("line@1 and colours@1: they predict different things: y and y (no, yes)"), "{error}");
    }

    #[test]
    fn a_second_reference_is_a_model_unless_it_is_a_file() {
        let folder = folder();
        let usage = weir_evaluate(&folder, &["line@1", "line@2"]).unwrap_err();
        assert_eq!(usage.downcast::<clap::Error>().unwrap().exit_code(), 2);
        assert!(weir_evaluate(&folder, &["line@1"]).unwrap_err().is::<clap::Error>());
        let odd = folder.path().join("odd@1");
        fs::copy(folder.path().join("line.csv"), &odd).unwrap();
        weir_evaluate(&folder, &["line@1", odd.to_str().unwrap()]).unwrap();
    }

    #[test]
    fn drift_is_reported_or_why_not() {
        let folder = folder();
        let lines: String = (0..300).map(|at| format!("{at},{}\n", 2 * at)).collect();
        fs::write(folder.path().join("many.csv"), format!("x,y\n{lines}300,\n")).unwrap();
        let text = weir_evaluate(&folder, &["line@1", "many.csv", "--drift"]).unwrap();
        let (_, table) = text.split_once("drift from the training data (PSI)\n").unwrap();
        assert!(table.lines().all(|line| line.ends_with("few_training_rows")), "{table}");
        let report = json_of(&folder, &["line@1", "many.csv", "--drift"]);
        let found = report["drift"].as_array().unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(
            (&found[0]["feature"], &found[0]["rows"], &found[0]["psi"]),
            (&json!("x"), &json!(301), &Value::Null),
            "a row without a target has drift, too"
        );
        let two = weir_evaluate(&folder, &["line@1", "line@2", "many.csv", "--drift"]).unwrap_err().to_string();
        assert!(two.contains("leave out the second model"), "{two}");
    }

    #[test]
    fn what_cannot_be_evaluated_is_one_clear_line() {
        let folder = folder();
        let error = |arguments: &[&str]| format!("{:#}", weir_evaluate(&folder, arguments).unwrap_err());
        let other_data = error(&["line@1", "colours.csv"]);
        assert!(other_data.contains("can use no row of"), "{other_data}");
        assert!(error(&["line@9", "line.csv"]).contains("has no version 9"));
        let nowhere = error(&["line@1", "line.csv", "--report", "no/such/place.html"]);
        assert!(nowhere.contains("is no directory"), "{nowhere}");

        // Weights that are fine for the goldens, and too large for other rows.
        let store = Store::open(folder.path().join("models").to_str().unwrap()).unwrap();
        let mut draft = testing::regression("huge", 1.0);
        draft.layers[0] = crate::engine::Layer::new(
            ndarray::array![[3e38]],
            ndarray::array![1.0],
            crate::engine::Activation::Identity,
        );
        draft.golden_rows = vec![vec![0.5]];
        store.publish(&draft).unwrap();
        fs::write(folder.path().join("large.csv"), "x,y\n5,1\n6,2\n").unwrap();
        let infinite = error(&["huge@1", "large.csv"]);
        assert!(infinite.contains("huge@1 answers none of the 2 rows by a finite number"), "{infinite}");
        fs::write(folder.path().join("some.csv"), "x,y\n5,1\n0.5,1.5e38\n").unwrap();
        let some = weir_evaluate(&folder, &["huge@1", "some.csv"]).unwrap();
        assert!(some.contains("1 rows left out: the model's answer isn't finite"), "{some}");
    }
}
