//! `weir model import`: a version from another system's file.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;

use super::{StoreOption, answers, describe_network, parse_alias};
use crate::cli::data::LimitArgs;
use crate::model::bundle::{LayerShape, Network};
use crate::model::import::{Evidence, Hints, Samples, Task};
use crate::model::reference::{ReferenceError, check_name};
use crate::model::signature::Target;
use crate::model::{onnx, safetensors};
use crate::printable::listed;
use crate::train::dataset::{self, Examples};

/// What `--help` ends with.
pub(super) const EXAMPLE: &str = "Example:
  weir model import flights.onnx --name flights --target late --check rows.jsonl --promote canary

The rows to check are records, each with what the model must answer. From scikit-learn, for a DataFrame X whose missing
values are NaN or None:
  for row, p in zip(X.astype(object).where(X.notna(), None).to_dict(\"records\"), pipeline.predict_proba(X)):
      print(json.dumps({**row, \"outputs\": p.tolist()}))
A model whose input is a matrix takes {\"features\": [...], \"outputs\": [...]} instead.";

/// What is imported, and how it is checked.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An ONNX file, made by skl2onnx or torch.onnx, or a safetensors file with --layers
    file: PathBuf,
    /// The TOML file that says what the tensors of a safetensors file are for; docs/guides/import.md shows one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["task", "target", "classes", "classes_from", "feature_names"])]
    layers: Option<PathBuf>,
    /// The model's name in the store
    #[arg(long, value_name = "MODEL", value_parser = parse_name)]
    name: String,
    /// Where the models are.
    #[command(flatten)]
    store: StoreOption,
    /// classification or regression, where the file leaves it open
    #[arg(long)]
    task: Option<Task>,
    /// The column that is predicted, as the table calls it that the model was made from: `weir evaluate` and others look
    /// for it in your tables. Several names for a regression of several outputs
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    target: Option<Vec<String>>,
    /// The classes, in the order of the outputs
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    classes: Option<Vec<String>>,
    /// A table to take the classes from: the distinct values of its --target column, in scikit-learn's order
    #[arg(long, value_name = "FILE", requires = "target", conflicts_with = "classes")]
    classes_from: Option<String>,
    /// A sentence about the model, which `weir model show` prints
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The features, in the order of the inputs; without them a matrix takes records with an array
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    feature_names: Option<Vec<String>>,
    /// JSON lines: records with the outputs that are expected; some of them become the golden rows
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Tables that look like the training data, to measure drift from
    #[arg(long, value_name = "FILE", num_args = 1..)]
    baseline: Vec<String>,
    /// The most classes or numbers that the model may answer: each of them is in every prediction
    #[arg(long, value_name = "N", default_value_t = 32_768)]
    max_outputs: usize,
    #[command(flatten)]
    limits: LimitArgs,
    /// Point this alias to the new version
    #[arg(long, value_name = "ALIAS", value_parser = parse_alias)]
    promote: Option<String>,
    /// Print JSON instead of lines
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct ImportReport {
    model: String,
    version: u64,
    network: Network,
    features: usize,
    answers: String,
    /// Names of features of which the exporter seems to have replaced characters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    replaced_names: Vec<String>,
    checked: Option<CheckReport>,
    golden_rows: usize,
    baseline: Option<BaselineReport>,
    promoted: Option<String>,
}

#[derive(Serialize)]
struct CheckReport {
    rows: usize,
    largest_difference: f64,
}

#[derive(Serialize)]
struct BaselineReport {
    rows: usize,
    rejected: usize,
}

/// Makes the version; what was done goes to `out`.
pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let store = args.store.open()?;
    let (hints, limits) = (args.hints()?, args.limits.limits());
    let cannot_import = || format!("can't import {}", args.file.display());
    let mut imported = match &args.layers {
        Some(layers) => safetensors::read(&args.file, layers).with_context(cannot_import)?,
        None if args.file.extension().is_some_and(|extension| extension == "safetensors") => {
            bail!("{}: it has tensors only, say by --layers FILE what they are for", cannot_import())
        }
        None => onnx::read(&args.file, &hints).with_context(cannot_import)?,
    };

    let outputs = imported.signature.target.outputs();
    if outputs > args.max_outputs {
        bail!(
            "{}: it answers {outputs} classes or numbers, and at most {} are accepted: if it should, raise --max-outputs",
            cannot_import(),
            args.max_outputs
        );
    }

    let target = match &imported.signature.target {
        Target::Classification { classes: names, .. } | Target::Regression { names } => names.iter(),
    };
    for name in imported.signature.features.iter().map(|feature| &feature.name).chain(target) {
        limits.check_name(name).map_err(|problem| anyhow!("{}: {problem}", cannot_import()))?;
    }
    if let Some(description) = &args.description {
        imported.recipe.insert("description".into(), description.as_str().into());
    }
    let mut evidence = Evidence::default();
    if let Some(path) = &args.check {
        let file = dataset::open(path).with_context(|| format!("can't read {}", path.display()))?;
        let samples = Samples::read(file, &imported.signature, limits);
        evidence.samples = Some(samples.with_context(|| format!("can't use {}", path.display()))?);
    }
    let mut baseline = None;
    if !args.baseline.is_empty() {
        let found = Examples::read_unlabelled(&dataset::files(&args.baseline)?, &imported.signature, None, limits)?;
        baseline = Some(BaselineReport { rows: found.rows.nrows(), rejected: found.rejected });
        evidence.rows = Some(found.rows);
    }
    // Samples with other names are an error, so with samples the names are right.
    let replaced_names = match (&args.check, &args.feature_names) {
        (None, None) => imported.replaced_names().into_iter().map(String::from).collect(),
        _ => Vec::new(),
    };
    let (draft, largest) = imported.into_draft(&args.name, &evidence).with_context(cannot_import)?;

    let version = store.publish(&draft)?;
    if let Some(alias) = &args.promote {
        store.promote(&args.name, alias, version)?;
    }
    let checked = evidence.samples.as_ref().zip(largest);
    let report = ImportReport {
        model: draft.name.clone(),
        version,
        network: Network { layers: draft.layers.iter().map(LayerShape::of).collect(), output: draft.output },
        features: draft.signature.features.len(),
        answers: answers(&draft.signature),
        replaced_names,
        checked: checked.map(|(samples, largest_difference)| CheckReport { rows: samples.len(), largest_difference }),
        golden_rows: draft.golden_rows.len(),
        baseline,
        promoted: args.promote.clone(),
    };
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
        return Ok(());
    }
    write(&report, out)
}

impl Args {
    /// What the file leaves open.
    fn hints(&self) -> anyhow::Result<Hints> {
        let mut classes = self.classes.clone();
        if let (Some(table), Some([target])) = (&self.classes_from, self.target.as_deref()) {
            let files = dataset::files(std::slice::from_ref(table))?;
            classes = Some(dataset::classes(&files, target, self.limits.limits())?);
        } else if self.classes_from.is_some() {
            bail!("--classes-from takes the classes from one column: give --target one name");
        }
        Ok(Hints {
            task: self.task,
            target: self.target.clone(),
            classes,
            feature_names: self.feature_names.clone(),
            limits: self.limits.limits(),
        })
    }
}

fn parse_name(text: &str) -> Result<String, ReferenceError> {
    check_name(text)?;
    Ok(text.into())
}

fn write(report: &ImportReport, out: &mut impl Write) -> anyhow::Result<()> {
    let ImportReport { model, version, features, answers, network, golden_rows, .. } = report;
    writeln!(out, "{model} version {version}: {features} features, answers {answers}")?;
    writeln!(out, "  network   {}", describe_network(network))?;
    if !report.replaced_names.is_empty() {
        let names = listed(report.replaced_names.iter().map(String::as_str));
        writeln!(
            out,
            "  names     {names} may have had other characters before the export: records must use the names of the \
             file, or import it with the names of your records (--feature-names)"
        )?;
    }
    match &report.checked {
        Some(CheckReport { rows, largest_difference }) => {
            writeln!(
                out,
                "  checked   {rows} samples answered as expected, largest difference {largest_difference:.1e}"
            )?;
        }
        None => writeln!(out, "  checked   no samples: give some by --check, to be sure of the answers")?,
    }
    writeln!(out, "  goldens   {golden_rows} rows")?;
    match report.baseline {
        Some(BaselineReport { rows, rejected: 0 }) => writeln!(out, "  baseline  {rows} rows")?,
        Some(BaselineReport { rows, rejected }) => {
            writeln!(out, "  baseline  {rows} rows, {rejected} left out: the model rejects them")?
        }
        None => writeln!(out, "  baseline  none: drift isn't measured (--baseline)")?,
    }
    if let Some(alias) = &report.promoted {
        writeln!(out, "  alias     {model}@{alias} is now version {version}")?;
    }
    Ok(())
}
