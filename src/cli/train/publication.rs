//! What a training leaves: a version, an alias, a report, and what a person or a program reads of it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::{Args, Material};
use crate::cli::console::say;
use crate::cli::data::first_few;
use crate::cli::evaluate::write_report;
use crate::cli::predictions;
use crate::model::bundle::{Draft, Manifest};
use crate::model::evaluation::{Classes, Detail, Evaluation, Warning};
use crate::model::signature::Target;
use crate::report;
use crate::train::checkpoint::{Checkpoints, PublishedVersion};
use crate::train::{self, Rows, Stop, TrainedModel};

/// A training that is done.
pub(super) struct Publication<'a> {
    pub(super) material: &'a Material,
    pub(super) checkpoints: Option<&'a Checkpoints>,
    /// The version that was published of this training already.
    pub(super) published: Option<PublishedVersion>,
    /// How long it took.
    pub(super) seconds: f64,
}

impl Publication<'_> {
    /// Publishes what was learnt, and reports it.
    pub(super) fn publish(self, args: &Args, trained: TrainedModel, out: &mut dyn Write) -> anyhow::Result<()> {
        if !args.json {
            show_trained(out, &trained, self.seconds)?;
        }
        let Material { columns, without_target, notes, .. } = self.material;
        let (rows, losses, scores, stop) = (trained.rows, trained.losses.clone(), trained.scores.clone(), trained.stop);
        let is_refused = args.is_refused(&trained);
        let notes: Vec<Warning> = notes.iter().chain(&trained.notes).cloned().collect();
        let cut_short = cut_short(stop, losses.len());
        let draft = trained.into_draft(&args.name, args.notes(columns));
        let (version, is_new) = self.version(&draft, cut_short.as_deref())?;
        if let Some(path) = &args.report {
            let manifest = self.material.store.manifest(&args.name, version)?;
            let written = write_report(path, &report_of(&draft, &manifest, rows));
            written.with_context(|| format!("{}@{version} is published, but not its report", args.name))?;
        }
        let evaluation = draft.evaluation.clone().unwrap_or_default();
        if let Some(path) = &args.predictions {
            let written = self.write_predictions(path, &args.name, version);
            written.with_context(|| format!("{}@{version} is published, but not its predictions", args.name))?;
        }
        // Nobody has decided yet that a model of half a training should serve.
        let promote = args.promote.as_ref().filter(|_| cut_short.is_none() && !is_refused);
        if let Some(alias) = promote {
            let moved = self.material.store.promote(&args.name, alias, version);
            moved.with_context(|| format!("{}@{version} is published, but {alias} can't be moved to it", args.name))?;
        }
        if args.json {
            let summary = json!({
                "model": args.name,
                "version": version,
                "promoted": promote,
                "signature": draft.signature,
                "recipe": draft.training.recipe,
                "decision": draft.decision,
                "reference": evaluation.reference,
                "metrics": metrics_json(&draft.training.metrics, &evaluation),
                "warnings": evaluation.warnings,
                "notes": notes,
                "left_out": {
                    "without_target": without_target,
                    "incomplete": rows.incomplete,
                    "untestable": rows.untestable,
                },
                "losses": losses,
                "validation_scores": scores,
                "stop": stop.as_str(),
                "seconds": self.seconds,
            });
            writeln!(out, "{summary}")?;
        } else {
            let published = if is_new { "published" } else { "nothing left to train, already published:" };
            match promote {
                Some(alias) => writeln!(out, "\n{published} {}@{version}, and {alias} points to it", draft.name)?,
                None => writeln!(out, "\n{published} {}@{version}", draft.name)?,
            }
        }
        match cut_short {
            None if is_refused => {
                let warnings = evaluation.warnings.len();
                say!("weir: {warnings} warnings: {}@{version} is published, and no alias moved", args.name);
                Ok(())
            }
            None => Ok(()),
            Some(reason) => self.end_early(args, version, stop, &reason),
        }
    }

    /// The version that has what was learnt, and whether it is a new one.
    fn version(&self, draft: &Draft, cut_short: Option<&str>) -> anyhow::Result<(u64, bool)> {
        let store = &self.material.store;
        let is_there = |published: &&PublishedVersion| {
            published.name == draft.name
                && store.digest(&draft.name, published.version).is_ok_and(|digest| digest == published.digest)
        };
        if let Some(published) = self.published.as_ref().filter(is_there) {
            return Ok((published.version, false));
        }
        let published = store.publish(draft);
        let Some(reason) = cut_short else {
            let version = published?;
            if let Some(checkpoints) = self.checkpoints {
                let digest = store.digest(&draft.name, version)?;
                let marked = checkpoints.mark_published(PublishedVersion { name: draft.name.clone(), version, digest });
                marked.with_context(|| {
                    format!("{}@{version} is published, but --resume would do it again", draft.name)
                })?;
            }
            return Ok((version, true));
        };
        Ok((published.with_context(|| format!("{reason}, and what was learnt can't be published"))?, true))
    }

    /// Writes what the version answers for each test row that it takes.
    fn write_predictions(&self, path: &Path, name: &str, version: u64) -> anyhow::Result<()> {
        let Material { store, test, test_places, .. } = self.material;
        let model = store.load(name, version)?;
        let (examples, answers) = train::answered(&model, test)?;
        let places: Vec<usize> = examples.places.iter().map(|&row| test_places[row]).collect();
        predictions::write(path, &model, model.decision, &places, &examples.truth, answers.view())
    }

    /// Says what a training has left that was ended before it was done.
    fn end_early(&self, args: &Args, version: u64, stop: Stop, reason: &str) -> anyhow::Result<()> {
        let name = &args.name;
        let mut message = format!("{reason}; {name}@{version} has what was learnt until then");
        if let Some(alias) = &args.promote {
            message += &format!(
                ", and {alias} wasn't moved to it: do it by `weir model promote {name}@{version} {alias}` if it is good \
                 enough"
            );
        }
        if stop == Stop::Diverged {
            anyhow::bail!("{message}");
        }
        if let Some(Checkpoints { path, .. }) = self.checkpoints {
            message += &format!("; --resume continues from {}", path.display());
        }
        say!("weir: {message}");
        Ok(())
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

fn show_trained(out: &mut dyn Write, trained: &TrainedModel, seconds: f64) -> io::Result<()> {
    writeln!(out, "trained    {} epochs in {seconds:.1} s, {}", trained.losses.len(), trained.stop.as_str())?;
    if let Some(std) = trained.target_std {
        writeln!(
            out,
            "           the loss is half the squared error of the standardised target, whose deviation is {}",
            report::number(std)
        )?;
    }
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
    }
    let Some(evaluation) = trained.evaluation() else { return report::write_metrics(out, trained.metrics()) };
    if let Some(Detail::Classification(Classes { positive: Some(positive), threshold, .. })) = &evaluation.detail {
        let rule = threshold.map_or_else(String::new, |threshold| format!(", predicted from {threshold} on"));
        writeln!(out, "           positive is {positive:?}{rule}: precision, recall and f1 are its own")?;
    }
    report::write_reference(out, evaluation)?;
    // Those about the columns came before the training.
    let about_model: Vec<Warning> =
        evaluation.warnings.iter().filter(|warning| warning.column.is_none()).cloned().collect();
    report::write_warnings(out, &about_model)?;
    report::write_notes(out, &trained.notes)?;
    writeln!(out, "\nmetrics")?;
    report::write_metrics(out, trained.metrics())?;
    report::write_undefined(out, evaluation)?;
    report::write_detail(out, evaluation)
}

/// The metrics of the bundle and those that are undefined on the test rows, which are null.
fn metrics_json(metrics: &BTreeMap<String, f64>, evaluation: &Evaluation) -> Map<String, Value> {
    let undefined =
        Evaluation { metrics: metrics.clone(), undefined: evaluation.undefined.clone(), ..Default::default() };
    undefined.metrics_json()
}
