//! `weir model decide`: the version with another decision threshold.

use std::io::Write;

use anyhow::{Context as _, anyhow, bail, ensure};
use serde_json::{Map, json};

use super::StoreOption;
use crate::cli::data::ReadArgs;
use crate::model::Model;
use crate::model::bundle::Draft;
use crate::model::decision::{ClassDecision, Decision};
use crate::model::evaluation::{Detail, Evaluation, ThresholdRow};
use crate::model::reference::ModelRef;
use crate::model::signature::Target;
use crate::report;
use crate::train::dataset::{self, Examples, Truth};
use crate::train::evaluate::{self, Judgement, ThresholdRule};
use crate::train::warnings;

/// Metrics that don't depend on the threshold.
const OF_PROBABILITIES: [&str; 7] =
    ["log_loss", "brier_score", "roc_auc", "average_precision", "rows", "epochs", "loss"];

#[derive(Debug, clap::Args)]
pub struct Args {
    /// NAME@VERSION, NAME@ALIAS or NAME@latest
    #[arg(value_name = "MODEL_REF")]
    reference: ModelRef,
    /// Predict the positive class from this probability on: a number, or precision>=0.5, recall>=0.9, f1 or
    /// cost=fp:1,fn:50, chosen on --data, or else on what the version knows of its test rows
    #[arg(long, value_name = "RULE")]
    threshold: ThresholdRule,
    /// Which of the two classes is positive [default: the version's, or the second in order]
    #[arg(long, value_name = "CLASS")]
    positive: Option<String>,
    /// Labelled rows to choose the threshold on: files or patterns
    #[arg(long, value_name = "DATA", num_args = 1..)]
    data: Vec<String>,
    #[command(flatten)]
    read: ReadArgs,
    /// Move this alias to the new version
    #[arg(long, value_name = "ALIAS", value_parser = super::parse_alias)]
    promote: Option<String>,
    /// Where the models are.
    #[command(flatten)]
    store: StoreOption,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let store = args.store.open()?;
    let name = &args.reference.name;
    let parent = store.resolve(&args.reference)?;
    let model = store.load(name, parent)?;
    let mut draft = store.draft(name, parent)?;
    let kept = store.evaluation(name, parent)?;
    let mut decision = Decision { positive: args.positive(&model)?, threshold: None };
    decision.validate(&model.signature().target).map_err(|problem| anyhow!("{name}@{parent}: {problem}"))?;

    let examples = match &*args.data {
        [] => None,
        data => {
            let options = args.read.options_for(&model.manifest.training);
            let examples = Examples::read(&dataset::files(data)?, model.signature(), options)?;
            Some(examples.taken_by(model.signature(), &model.preprocess))
        }
    };
    let table = match &examples {
        Some(examples) => args.table(&model, &decision, examples),
        None => kept_table(kept.as_ref(), &decision),
    };
    if args.threshold.needs_rows() && table.is_empty() {
        bail!("{name}@{parent} has no table of thresholds for {:?}: give labelled rows (--data)", decision.positive);
    }
    let threshold = args.threshold.choose(&table).map_err(|problem| anyhow!("--threshold: {problem}"))?;
    decision.threshold = Some(threshold);
    draft.training.recipe.insert("threshold".into(), json!(args.threshold));
    draft.decision = Some(decision.clone());
    let evaluation = examples.as_ref().map(|examples| args.evaluation(&model, &decision, examples));
    measured(&mut draft, evaluation.as_ref(), kept);
    let version = store.publish(&draft)?;
    if let Some(alias) = &args.promote {
        let moved = store.promote(name, alias, version);
        moved.with_context(|| format!("{name}@{version} is published, but {alias} can't be moved to it"))?;
    }

    let row = table.iter().rev().find(|row| row.threshold >= threshold);
    if args.json {
        let warnings: Vec<_> = evaluation.iter().flat_map(|evaluation| evaluation.warnings.clone()).collect();
        let metrics = evaluation.as_ref().map_or_else(Map::new, Evaluation::metrics_json);
        let summary = json!({
            "model": name, "version": version, "parent": parent, "decision": decision, "row": row, "metrics": metrics,
            "thresholds": table, "warnings": warnings, "promoted": args.promote,
        });
        writeln!(out, "{summary}")?;
        return Ok(());
    }
    writeln!(out, "{name}@{version} is {name}@{parent} that predicts {:?} from {threshold} on", decision.positive)?;
    if let Some(row) = row {
        let (precision, recall) = (report::number(row.precision), report::number(row.recall));
        let cost = row.cost.map_or_else(String::new, |cost| format!(", cost {}", report::number(cost)));
        let of = if examples.is_some() { "these rows" } else { "its test rows" };
        writeln!(out, "on {of}: precision {precision}, recall {recall}, {:.2} % flagged{cost}", row.flagged * 100.0)?;
    }
    if let Some(evaluation) = &evaluation {
        report::write_evaluation(out, evaluation)?;
    }
    if let Some(alias) = &args.promote {
        writeln!(out, "{alias} points to it")?;
    }
    Ok(())
}

impl Args {
    fn positive(&self, model: &Model) -> anyhow::Result<String> {
        let Target::Classification { classes, .. } = &model.signature().target else {
            bail!("{} is a regression: it has no classes to decide between", self.reference);
        };
        ensure!(classes.len() == 2, "{} has {} classes: a threshold is for two", self.reference, classes.len());
        let of_version = model.manifest.decision.as_ref().map(|decision| &decision.positive);
        Ok(self.positive.as_ref().or(of_version).unwrap_or(&classes[1]).clone())
    }

    /// What each threshold means on these rows.
    fn table(&self, model: &Model, decision: &Decision, examples: &Examples) -> Vec<ThresholdRow> {
        let Truth::Classes(actual) = &examples.truth else { return vec![] };
        let class = ClassDecision::of(&model.signature().target, Some(decision)).positive();
        let answers = evaluate::answers(model, examples.rows.view());
        evaluate::thresholds(actual, class, &answers.column(class).to_vec(), self.threshold)
    }

    fn evaluation(&self, model: &Model, decision: &Decision, examples: &Examples) -> Evaluation {
        let target = &model.signature().target;
        let decision = ClassDecision::of(target, Some(decision));
        let answers = evaluate::answers(model, examples.rows.view());
        let judgement = Judgement { decision, rule: Some(self.threshold) };
        let mut evaluation = evaluate::evaluation(target, &examples.truth, answers.view(), judgement);
        evaluation.warnings = warnings::of_evaluation(&evaluation);
        evaluation
    }
}

/// The table that the version has of its test rows, if it is about the same class.
fn kept_table(kept: Option<&Evaluation>, decision: &Decision) -> Vec<ThresholdRow> {
    match kept.and_then(|kept| kept.detail.as_ref()) {
        Some(Detail::Classification(classes)) if classes.positive.as_ref() == Some(&decision.positive) => {
            classes.thresholds.clone()
        }
        _ => vec![],
    }
}

/// What was measured by the old threshold isn't kept.
fn measured(draft: &mut Draft, evaluation: Option<&Evaluation>, kept: Option<Evaluation>) {
    match evaluation {
        Some(evaluation) => {
            draft.training.metrics.extend(evaluation.metrics.clone());
            let kept = kept.unwrap_or_default();
            let (losses, validation_scores) = (kept.losses, kept.validation_scores);
            draft.evaluation = Some(Evaluation { losses, validation_scores, ..evaluation.clone() });
        }
        None => draft.training.metrics.retain(|name, _| OF_PROBABILITIES.contains(&name.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::{Args as _, Command, FromArgMatches};
    use serde_json::Value;

    use super::*;
    use crate::model::store::Store;
    use crate::model::testing;

    fn decide(folder: &tempfile::TempDir, options: &[&str]) -> anyhow::Result<Value> {
        let store = folder.path().join("models");
        let words = [&["decide"], options, &["--store", store.to_str().unwrap(), "--json"]].concat();
        let command = Args::augment_args(Command::new("decide"));
        let args = Args::from_arg_matches(&command.try_get_matches_from(words)?)?;
        let mut out = Vec::new();
        run(&args, &mut out)?;
        Ok(serde_json::from_slice(&out)?)
    }

    #[test]
    fn a_version_gets_another_threshold_by_a_number_rows_or_its_own_table() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("models").to_str().unwrap()).unwrap();
        let probabilities = ndarray::array![[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]];
        let evaluation = evaluate::classification(&["no".into(), "yes".into()], &[0, 1, 1], probabilities.view());
        store.publish(&Draft { evaluation: Some(evaluation), ..testing::classification("m") }).unwrap();

        let by_number = decide(&folder, &["m@1", "--threshold", "0.3", "--promote", "live"]).unwrap();
        assert_eq!((&by_number["version"], &by_number["parent"]), (&json!(2), &json!(1)));
        assert_eq!(by_number["decision"], json!({ "positive": "yes", "threshold": 0.3 }));
        assert_eq!(store.aliases("m").unwrap()["live"], 2);
        let manifest = store.manifest("m", 2).unwrap();
        assert_eq!(manifest.decision.unwrap().threshold, Some(0.3));
        assert!(!manifest.training.metrics.contains_key("accuracy"), "it was measured by another threshold");

        let by_table = decide(&folder, &["m@1", "--threshold", "recall>=1"]).unwrap();
        assert_eq!(by_table["decision"]["threshold"], 0.2, "between the rows of 0.1 and 0.3");
        let error = decide(&folder, &["m@2", "--threshold", "f1"]).unwrap_err().to_string();
        assert!(error.contains("give labelled rows (--data)"), "{error}");

        let data = folder.path().join("rows.csv");
        fs::write(&data, "x,colour,y\n1,red,no\n2,red,yes\n3,blue,no\n4,blue,yes\n").unwrap();
        let data = data.to_str().unwrap();
        let by_rows =
            decide(&folder, &["m@1", "--positive", "no", "--threshold", "cost=fp:1,fn:9", "--data", data]).unwrap();
        assert_eq!(by_rows["decision"]["positive"], "no");
        assert!(by_rows["metrics"]["accuracy"].is_number() && by_rows["thresholds"][0]["cost"].is_number());
        assert!(store.evaluation("m", 4).unwrap().is_some());

        store.publish(&testing::regression("n", 1.0)).unwrap();
        let error = decide(&folder, &["n@1", "--threshold", "0.3"]).unwrap_err().to_string();
        assert!(error.contains("no classes to decide between"), "{error}");
    }
}
